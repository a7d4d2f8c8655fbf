"""join: what INBOUND leaves meets the clear packets again, in order."""

import numpy as np

from qfp_kernels.drops import STAGES, Verdict
from qfp_kernels.layout import (
    CTL_KEEP_CLEAR,
    CTL_MODE,
    MODE_DECRYPT,
    ST_ROWS,
    ST_RX_SEEN,
    ST_TX,
)

STAGE_JOIN = STAGES.index("join")
FORWARDED, BYPASSED = np.uint8(Verdict.FORWARDED), np.uint8(Verdict.BYPASSED)


def join(p, t, n):
    """Rows without a verdict become the OUTBOUND list, in row order."""
    rows = p.st[ST_ROWS]
    if p.st[ST_RX_SEEN] > 0:
        k = 0
        for i in range(rows):
            p.tx[k] = i
            k += p.verdict[i] == 0
        p.st[ST_TX] = k
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        keep = np.int32(t.ctl[CTL_KEEP_CLEAR])
        for k in range(p.st[ST_TX]):
            i = p.tx[k]
            opened = p.lv_n[i] > 0
            p.verdict[i] = FORWARDED if opened else BYPASSED
            p.n_out[i] = np.int32(1) if opened else keep
            p.stage[i] = np.uint8(STAGE_JOIN)
        p.st[ST_TX] = 0
    return n
