"""All tables of a router: numpy arrays behind one Columns object, grown by doubling, addressed by handle."""

from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.unpicklable import Unpicklable
from qfp_kernels import drops
from qfp_kernels.awaited import NOT_ASKED
from qfp_kernels.columns import Columns
from qfp_kernels.dissect_words import SPACES
from qfp_kernels.drive import TICKET_STRIDE
from qfp_kernels.gcm import COUNTERS
from qfp_kernels.icmp import CLASSES
from qfp_kernels.layout import (
    CONTEXT,
    CTL_AWAITED,
    CTL_BUDGET,
    CTL_DUE,
    CTL_GEN,
    CTL_NATT,
    CTL_NATT_FROM,
    CTL_ROOM,
    CTL_SNS_BITS,
    CTL_SPAN,
    CTL_VFR_MASK,
    FRAME_MAX,
    KEYS,
    LEADS,
    NEVER,
    NO_BUDGET,
    STAT_N,
    STEPS,
    TABLE_TYPES,
    aligned,
)
from qfp_kernels.reassemble import INSTANCES

Array = npt.NDArray[Any]

SA_TABLES = ("sa", "sa_out", "sa_in", "life", "told_out", "told_in", "ctx", "keys")
BYTES_A_ROW = {"ctx": CONTEXT, "keys": KEYS}
NATT_PORT = 4500
NO_PORT = -1
SNS_BITS = 4  # of the selector: 16 sequence-number spaces, as the guide prints (`Total SNS: 16`)
CTL_WORDS = 64
KIND_WORDS = 64 * 4
FIA_MAX = 64


class Tables(Unpicklable):
    """Owns the arrays; `t` is what kernels receive. Growing replaces an array, so no kernel may be running."""

    def __init__(self) -> None:
        sizes = {
            "ctl": CTL_WORDS, "seal": KIND_WORDS, "open": KIND_WORDS, "fia": FIA_MAX, "fia_list": FIA_MAX,
            "fia_serial": FIA_MAX, "ticket": FIA_MAX * TICKET_STRIDE, "walk": 64, "causes": len(drops.CAUSES),
            "cause_bytes": len(drops.CAUSES), "verdicts": len(drops.Verdict), "stats": STAT_N,
            "counters": COUNTERS.nbytes, "late": len(drops.CAUSES), "pieces": len(drops.CAUSES),
            "noted": SPACES << 16, "icmp": CLASSES, "rsm": INSTANCES,
            "steps": STEPS, "makers": STEPS + FIA_MAX, "fib_root": 2,
        }  # fmt: skip
        arrays = {name: aligned(sizes.get(name, 1), dtype) for name, dtype in TABLE_TYPES.items()}
        for name in LEADS:
            arrays[name][:] = blank(name)
        arrays["counters"][:] = COUNTERS.view(np.uint8).ravel()
        arrays["sad"]["sa"] = -1
        arrays["spdh"][:] = -1
        arrays["sad_out"]["sa"] = -1
        arrays["tunh"][:] = -1
        self.t = Columns("T", arrays)
        self.t.ctl[CTL_GEN] = 1
        self.t.ctl[CTL_NATT], self.t.ctl[CTL_NATT_FROM] = NATT_PORT, NO_PORT
        self.t.ctl[CTL_DUE] = self.t.ctl[CTL_SPAN] = NEVER
        self.t.ctl[CTL_BUDGET] = NO_BUDGET
        self.t.ctl[CTL_AWAITED] = NOT_ASKED
        self.t.ctl[CTL_ROOM] = FRAME_MAX
        self.t.ctl[CTL_VFR_MASK] = -1
        self.t.ctl[CTL_SNS_BITS] = SNS_BITS

    def grow(self, name: str, rows: int) -> None:
        """Make room for at least `rows` rows, keeping what is there; new rows are blank (see `blank`)."""
        per_row = BYTES_A_ROW.get(name, 1)
        old = getattr(self.t, name)
        if old.size >= rows * per_row:
            return
        new = aligned(max(rows, 2 * (old.size // per_row)) * per_row, old.dtype)
        new[: old.size] = old
        for field in LEADS.get(name, ()):
            (new[field] if field else new)[old.size :] = -1
        self.t.rebind(name, new)

    def fresh(self, name: str, rows: int) -> None:
        """A table of `rows` zeroed rows in the place of an old one."""
        self.t.rebind(name, aligned(rows, TABLE_TYPES[name]))

    def replace(self, name: str, array: Array) -> None:
        """Put a freshly built array in the place of a table."""
        fresh = aligned(max(array.size, 1), TABLE_TYPES[name])
        fresh[: array.size] = array
        self.t.rebind(name, fresh)

    def changed(self) -> None:
        """Tell the flow caches that earlier decisions may no longer hold."""
        self.t.ctl[CTL_GEN] += 1


def blank(name: str) -> Array:
    """A row of a table that nobody has taken: zero, and leading nowhere."""
    row = np.zeros(1, TABLE_TYPES[name])
    for field in LEADS.get(name, ()):
        (row[field] if field else row)[:] = -1
    return row


def words(address: Any) -> tuple[int, int]:
    """An IP address as (high, low) 64-bit words; IPv4 in the low word alone."""
    value = int(address)
    return value >> 64, value & 0xFFFFFFFFFFFFFFFF
