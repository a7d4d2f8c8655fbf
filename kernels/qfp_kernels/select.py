"""select: with key files alone, whether a decrypted packet is one that its SAs may carry (RFC 4301 section 5.2).

A router asks its policy (`spd`). Here the key file says what an SA is for: ranges of addresses, a protocol, ranges of
ports. An SA is judged by the packet that it carries; where that is IPsec of the same two ends (ESP under AH, a
bundle), by what comes out of that in the end. The cause is tentative, as all before `commit`. The stages are there only
when an SA has selectors.
"""

import numpy as np

from qfp_kernels.drops import Drop
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import FRAG_LATER, LEVELS, ST_RX0

SELECTOR_MISMATCH = np.uint8(Drop.SELECTOR_MISMATCH)
ESP = 50
OPENED = 1  # lv_ok


@inlined
def _within(high, low, first0, first1, last0, last1):
    """first <= (high, low) <= last, as 128-bit numbers."""
    from_first = high > first0 or (high == first0 and low >= first1)
    return from_first and (high < last0 or (high == last0 and low <= last1))


@inlined
def _carries(p, i, s):
    """Whether selectors s let row i's packet through. Later fragments have no ports to look at."""
    if (s.fam != 0 and s.fam != p.fam[i]) or (s.proto >= 0 and s.proto != p.proto[i]):
        return False
    if not _within(p.src0[i], p.src1[i], s.src_first0, s.src_first1, s.src_last0, s.src_last1):
        return False
    if not _within(p.dst0[i], p.dst1[i], s.dst_first0, s.dst_first1, s.dst_last0, s.dst_last1):
        return False
    if (p.frag[i] & FRAG_LATER) != 0:
        return True
    return s.sport_lo <= p.sport[i] <= s.sport_hi and s.dport_lo <= p.dport[i] <= s.dport_hi


@outlined
def _judge(p, t, i, first, last):
    """Ask the SAs of levels first .. last of row i; a mismatch is its cause."""
    for level in range(first, last + 1):
        row = np.int64(t.sel_of[p.lv_sa[i * LEVELS + level]])
        if row >= 0 and not _carries(p, i, t.sel[row]):
            p.cause[i] = SELECTOR_MISMATCH
            p.sa[i] = p.lv_sa[i * LEVELS + level]
            return


@inlined
def _has_own_header(p, i, sa):
    """Whether the packet under the level just stripped has an IP header of its own: it starts behind what was stripped,
    and no header has moved up to it."""
    if sa.proto == ESP:
        return p.l3[i] >= p.c_off[i] + 8 + sa.iv_len
    return p.l3[i] >= p.c_icv[i] + sa.icv_len


def select_nested(p, t, n):
    """INBOUND list behind `decap`: packets that are protected again. `mark`: how many levels have been judged."""
    kept = 0
    for k in range(n):
        i = np.int64(p.rx[k])
        level = np.int64(p.lv_n[i]) - 1
        if level == 0:
            p.mark[i] = np.uint8(0)
        if _has_own_header(p, i, t.sa[p.lv_sa[i * LEVELS + level]]):
            _judge(p, t, i, np.int64(p.mark[i]), level)
            p.mark[i] = np.uint8(level + 1)
        p.rx[kept] = i
        kept += p.cause[i] == 0
    return kept


def select(p, t, n):
    """What came out in the end: rows with at least one SA, before `commit`."""
    for k in range(p.st[ST_RX0]):
        i = np.int64(p.rx0[k])
        last = np.int64(p.lv_n[i]) - 1
        if p.cause[i] == 0 and p.lv_ok[i * LEVELS + last] == OPENED:
            _judge(p, t, i, np.int64(p.mark[i]) if last > 0 else 0, last)
    return n
