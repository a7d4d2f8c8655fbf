"""The interface table: one row an interface, in the order of the configuration."""

from collections.abc import Sequence

from qfp.tables.store import Tables
from qfp_kernels.layout import IF_PHYSICAL


class Interfaces:
    """Names and rows of interfaces. Row numbers are the interface numbers of captures and verdicts."""

    def __init__(self, tables: Tables, names: Sequence[str]):
        self.names = list(names)
        self.row = {name: k for k, name in enumerate(self.names)}
        tables.grow("ifs", max(1, len(self.names)))
        self._t = tables.t
        for k in range(len(self.names)):
            self.set(k)

    def set(
        self, row: int, *, spd4: int = -1, spd6: int = -1, vrf: int = 0, under: int = -1, kind: int = IF_PHYSICAL,
        up: bool = True,
    ) -> None:  # fmt: skip
        """Write one row (counters stay)."""
        values = {"spd4": spd4, "spd6": spd6, "vrf": vrf, "under": under, "kind": kind, "up": up}
        for field, value in values.items():
            self._t.ifs[field][row] = value
