"""Rows that are not frames of the source: fragments, ICMP errors, and slots of the arena for packets made on the way.

The rows of a vector's frames come first; spare rows are taken behind them, slots of the arena behind the frames' own.
What leaves for one frame is a chain through `more`, in the order in which it leaves, so output records of a frame lie
together whatever the vector size. The walk ends a vector while worst cases still fit (`capture.worst_rows`).
"""

import numpy as np

from qfp_kernels.atomics import fetch_umin
from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    ARENA_ALL,
    CTL_CUT_VECTOR,
    HEADROOM,
    JUMBO,
    ROWS_MAX,
    SLOT_EXTRA,
    ST_CUT_FRAME,
    ST_CUT_POS,
    ST_CUT_VECTOR,
    ST_END_FRAME,
    ST_END_POS,
    ST_JUMBO,
    ST_L3_ALIGN,
    ST_ROWS,
    ST_RX,
    ST_RX0,
    ST_SLOT,
    ST_SPARE,
    ST_STOP,
    ST_TX,
    ST_VECTOR,
    STOP_NONE,
    TAILROOM,
)


@inlined
def slot(p, size):
    """Arena offset for a packet of `size` bytes with its own head-room and tail-room, or -1 when the arena is full."""
    at = p.st[ST_SLOT]
    off = at + HEADROOM + ((p.st[ST_L3_ALIGN] - HEADROOM) & 63)
    end = (off + size + TAILROOM + 63) & ~63
    if end > ARENA_ALL:
        return np.int64(-1)
    p.st[ST_SLOT] = end
    return off


@inlined
def jumbo_slot(p, size):
    """As `slot`, for a packet that is longer than the frame it came in (reassembled, decompressed)."""
    if p.st[ST_JUMBO] + size + SLOT_EXTRA > JUMBO:
        return np.int64(-1)
    p.st[ST_JUMBO] += size + SLOT_EXTRA
    return slot(p, size)


@inlined
def ingress(p, i):
    """Row of `ifs` that a packet came in by: the tunnel that it came out of, else the interface of its frame."""
    return np.int64(p.vif[i]) if p.vif[i] >= 0 else np.int64(p.in_if[i])


@inlined
def spare_left(p):
    """Rows that can still be taken."""
    return ROWS_MAX - p.st[ST_SPARE]


@inlined
def spare(p, i):
    """A fresh row that leaves directly behind row i, for the same frame. There must be one: see spare_left.

    It has what stages read of any row; addresses, ports and offsets are for the caller to write.
    """
    c = p.st[ST_SPARE]
    p.st[ST_SPARE] = c + 1
    p.more[c] = p.more[i]
    p.more[i] = np.int32(c)
    p.frame[c] = p.frame[i]
    p.ts[c] = p.ts[i]
    p.flags[c] = p.flags[i]
    p.out_if[c] = p.out_if[i]
    p.sp[c] = p.sp[i]
    p.sa[c] = p.sa[i]
    p.lim[c] = p.lim[i]
    p.icmp[c] = np.uint8(0)
    p.nxt[c] = np.uint8(0)
    p.notes[c] = np.uint8(0)
    p.verdict[c] = p.verdict[i]
    p.cause[c] = np.uint8(0)
    p.n_out[c] = p.n_out[i]
    p.ip_id[c] = p.ip_id[i]
    p.cls[c] = p.cls[i]
    return c


@outlined
def reorder(p, added, count):
    """Put `count` rows of list `added` (a column) into the OUTBOUND list, which then stands in order of departure."""
    for r in range(p.st[ST_SPARE]):
        p.mark[r] = np.uint8(0)
    for k in range(p.st[ST_TX]):
        p.mark[p.tx[k]] = np.uint8(1)
    for k in range(count):
        p.mark[added[k]] = np.uint8(1)
    kept = 0
    for i in range(p.st[ST_ROWS]):
        r = np.int64(i)
        while r >= 0:
            p.tx[kept] = r
            kept += p.mark[r] != 0
            r = np.int64(p.more[r])
    p.st[ST_TX] = kept


@outlined
def merge(column, n, added, count):
    """Merge two ascending lists of rows into the first; returns its length."""
    a, b, to = n - 1, count - 1, n + count - 1
    while b >= 0:
        if a >= 0 and column[a] > added[b]:
            column[to] = column[a]
            a -= 1
        else:
            column[to] = added[b]
            b -= 1
        to -= 1
    return n + count


@outlined
def below(column, n, i):
    """How many rows of an ascending list come before row i."""
    while n > 0 and column[n - 1] >= i:
        n -= 1
    return n


@outlined
def cut(p, t, i):
    """Give row i and everything behind it back to the source; vectors behind this one are abandoned.

    What the caller must see to: no state but that of the walk, and what `reassemble.undo` puts back, has changed for
    these rows, and the caller's own lists end before row i. Vectors before this one may still be under way, and the
    earliest cut counts.
    """
    rows = p.st[ST_ROWS]
    p.st[ST_STOP] = STOP_NONE  # a reason to stop that was found behind this row will be found again
    p.st[ST_CUT_VECTOR] = p.st[ST_VECTOR]
    p.st[ST_CUT_POS] = p.rec_at[i] if i < rows else p.st[ST_END_POS]
    p.st[ST_CUT_FRAME] = p.frame[i] if i < rows else p.st[ST_END_FRAME]
    p.st[ST_ROWS] = i
    p.st[ST_TX] = below(p.tx, p.st[ST_TX], i)
    p.st[ST_RX] = below(p.rx, p.st[ST_RX], i)
    p.st[ST_RX0] = below(p.rx0, p.st[ST_RX0], i)
    fetch_umin(base(t.ctl) + 8 * CTL_CUT_VECTOR, p.st[ST_VECTOR])
