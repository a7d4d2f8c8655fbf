"""The interface table: one row an interface, in the order of the configuration."""

from collections.abc import Sequence

from qfp.tables.store import Tables
from qfp_kernels.layout import IF_PHYSICAL

DEFAULTS = {
    "spd4": -1, "spd6": -1, "vrf": 0, "under": -1, "kind": IF_PHYSICAL, "up": 1, "errors4": 1, "errors6": 1,
    "mtu4": 65535, "mtu6": 65535, "mss4": 0, "mss6": 0, "own4": 0, "own6h": 0, "own6l": 0, "tun": -1, "policy": -1,
}  # fmt: skip


class Interfaces:
    """Names and rows of interfaces. Row numbers are the interface numbers of captures and verdicts."""

    def __init__(self, tables: Tables, names: Sequence[str]):
        self.names = list(names)
        self.row = {name: k for k, name in enumerate(self.names)}
        tables.grow("ifs", max(1, len(self.names)))
        self._t = tables.t
        for k in range(len(self.names)):
            self.set(k)

    def set(self, row: int, **fields: int) -> None:
        """Write fields of one row (see IFS in layout.py); those not given get DEFAULTS, counters stay."""
        for field, value in {**DEFAULTS, **fields}.items():
            self._t.ifs[field][row] = value
