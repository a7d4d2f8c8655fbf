"""icmp: errors for what could not be forwarded, as packets (RFC 792, 1812 section 4.3; RFC 4443).

Serial, because errors are rate-limited: a token bucket a class, in the packets' own time. An error is a row of its own
behind the one that it is about; it is routed and protected like any packet that the router makes. Never about an
error, a later fragment, or a packet whose source is not one host.
"""

import numpy as np

from qfp_kernels.checksum import byte_sum, fold, header_sum
from qfp_kernels.columns import base
from qfp_kernels.forward import mtu_of, too_long
from qfp_kernels.jit import inlined, outlined, run_step
from qfp_kernels.layout import (
    CTL_ICMP_ID,
    CTL_ICMP_ID6,
    ERR_BIG,
    ERR_HOST,
    ERR_TTL,
    FRAG_LATER,
    IS_ERROR,
    ORIGIN,
    ROWS_MAX,
    ST_ADDED,
    ST_ER,
    ST_ROWS,
    ST_SPARE,
    STAT_ICMP_LIMITED,
    STEP_CLASSIFY,
    STEP_SIZE,
    STEP_THROUGH,
)
from qfp_kernels.move import copy
from qfp_kernels.parse import parse_ip
from qfp_kernels.rows import ingress, reorder, slot, spare, spare_left
from qfp_kernels.simd import bswap16i, bswap32i, bswap64i, ld8, st8, st16, st32, st64
from qfp_kernels.spd import KEEP, TUNNEL, vrf_of

CLASS_UNREACHABLE, CLASS_DF, CLASS_TTL, CLASS_V6 = range(4)  # rows of `icmp`
CLASSES = 4
TOS_ERROR = 0xC0  # precedence internetwork control (RFC 1812 section 4.3.2.5)
LENGTH_MAX4, LENGTH_MAX6 = 576, 1280  # RFC 1812 section 4.3.2.3, RFC 4443 section 2.4
TTL = 255
M16 = np.uint64(0xFFFF)


# ----------------------------------------------------------------------------------------------------- whether
@inlined
def _host4(address):
    """Whether an IPv4 address can be one host's: not of 0/8, 127/8, multicast, reserved, broadcast."""
    first = address >> np.uint64(24)
    return first != np.uint64(0) and first != np.uint64(127) and first < np.uint64(224)


@inlined
def _multicast6(high):
    return high >> np.uint64(56) == np.uint64(0xFF)


@inlined
def _may_answer(p, i):
    """RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e): whether an error about row i's packet may be sent at all."""
    if (p.flags[i] & ORIGIN) != 0 or (p.frag[i] & FRAG_LATER) != 0:
        return False
    kind = p.sport[i]
    if p.fam[i] == 4:
        if p.proto[i] == 1 and (kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12):
            return False
        return _host4(p.src1[i]) and p.dst1[i] >> np.uint64(24) < np.uint64(224)
    if p.proto[i] == 58 and kind < 128:
        return False
    if _multicast6(p.src0[i]) or (p.src0[i] == np.uint64(0) and p.src1[i] <= np.uint64(1)):
        return False
    return not _multicast6(p.dst0[i]) or p.icmp[i] == ERR_BIG  # RFC 4443: multicast may be too big


@inlined
def _class_of(p, i):
    if p.fam[i] == 6:
        return CLASS_V6
    error = p.icmp[i]
    return CLASS_DF if error == ERR_BIG else CLASS_TTL if error == ERR_TTL else CLASS_UNREACHABLE


@outlined
def _allowed(t, k, ts):
    """Take a token of class k at time ts (ns), if there is one."""
    bucket = t.icmp[k]
    if bucket.interval == 0:
        return True
    if bucket.started == 0:
        bucket.started, bucket.tokens, bucket.since = 1, bucket.burst, ts
    gained = max(np.int64(0), ts - bucket.since) // bucket.interval
    if gained > 0:
        bucket.tokens = min(bucket.burst, bucket.tokens + gained)
        bucket.since += gained * bucket.interval
    if bucket.tokens == 0:
        return False
    if bucket.tokens == bucket.burst:
        bucket.since = max(bucket.since, ts)
    bucket.tokens -= 1
    return True


@inlined
def _is_silent(t, port, p, i):
    """`no ip unreachables` and no address of its own keep an interface silent; time exceeded is no unreachable."""
    if p.fam[i] == 4:
        return port.own4 == 0 or (port.errors4 == 0 and p.icmp[i] != ERR_TTL)
    none = port.own6h == np.uint64(0) and port.own6l == np.uint64(0)
    return none or (port.errors6 == 0 and p.icmp[i] != ERR_TTL and p.icmp[i] != ERR_BIG)


# ----------------------------------------------------------------------------------------------------- the packet
@inlined
def _as_received(p, i, at):
    """Undo this router's hop in the copy of row i's packet at address `at`."""
    if p.icmp[i] != ERR_BIG:
        return  # refused before the hop
    if p.fam[i] == 4:
        st8(at + 8, p.ttl[i] + np.uint8(1))
        st16(at + 10, np.uint16(0))
        st16(at + 10, np.uint16(~header_sum(at, np.int64(ld8(at) & np.uint8(15))) & M16))
    else:
        st8(at + 7, p.ttl[i] + np.uint8(1))


@inlined
def _type4(error):
    if error == ERR_TTL:
        return 11, 0
    return 3, (4 if error == ERR_BIG else 1 if error == ERR_HOST else 0)


@inlined
def _write4(p, t, i, at, quote):
    """An ICMP error about row i at address `at`."""
    port = t.ifs[ingress(p, i)]
    size = 28 + quote
    st32(at, np.uint32(0x45 | TOS_ERROR << 8))
    st16(at + 2, bswap16i(np.uint16(size)))
    st32(at + 4, np.uint32(bswap16i(np.uint16(t.ctl[CTL_ICMP_ID]))))
    t.ctl[CTL_ICMP_ID] += 1
    st32(at + 8, np.uint32(TTL | 1 << 8))
    st32(at + 12, bswap32i(port.own4))
    st32(at + 16, bswap32i(np.uint32(p.src1[i])))
    st16(at + 10, np.uint16(~header_sum(at, 5) & M16))
    kind, code = _type4(p.icmp[i])
    st32(at + 20, np.uint32(kind | code << 8))
    st32(at + 24, np.uint32(0))
    if p.icmp[i] == ERR_BIG:
        st16(at + 26, bswap16i(np.uint16(p.mtu[i])))
    _as_received(p, i, at + 28)
    st16(at + 22, np.uint16(~byte_sum(at + 20, 8 + quote) & M16))


@inlined
def _type6(error):
    if error == ERR_BIG:
        return 2, 0
    return (3, 0) if error == ERR_TTL else (1, 3 if error == ERR_HOST else 0)


@inlined
def _write6(p, t, i, at, quote):
    """An ICMPv6 error about row i at address `at`."""
    port = t.ifs[ingress(p, i)]
    size = 8 + quote
    st32(at, bswap32i(np.uint32(6 << 28 | TOS_ERROR << 20)))
    st16(at + 4, bswap16i(np.uint16(size)))
    st8(at + 6, np.uint8(58))
    st8(at + 7, np.uint8(TTL))
    st64(at + 8, bswap64i(port.own6h))
    st64(at + 16, bswap64i(port.own6l))
    st64(at + 24, bswap64i(p.src0[i]))
    st64(at + 32, bswap64i(p.src1[i]))
    kind, code = _type6(p.icmp[i])
    st32(at + 40, np.uint32(kind | code << 8))
    st32(at + 44, bswap32i(np.uint32(p.mtu[i]) if p.icmp[i] == ERR_BIG else np.uint32(0)))
    _as_received(p, i, at + 48)
    pseudo = byte_sum(at + 8, 32) + np.uint64(bswap16i(np.uint16(size))) + np.uint64(bswap16i(np.uint16(58)))
    st16(at + 42, np.uint16(~fold(pseudo + byte_sum(at + 40, size)) & M16))


@inlined
def _ident(t, fam):
    """Identification of an ICMPv6 error, should it be fragmented (RFC 8200 section 4.5); IPv4's is in its header."""
    if fam == 4:
        return np.uint32(0)
    ident = np.uint32(t.ctl[CTL_ICMP_ID6])
    t.ctl[CTL_ICMP_ID6] += 1
    return ident


@outlined
def _make(p, t, i):
    """The error about row i as a row behind it; the row, or -1."""
    head, longest = (28, LENGTH_MAX4) if p.fam[i] == 4 else (48, LENGTH_MAX6)
    quote = min(np.int64(p.ip_len[i]), longest - head)
    off = slot(p, head + quote)
    if off < 0 or spare_left(p) == 0:
        return np.int64(-1)
    at = base(p.arena) + off
    copy(at + head, base(p.arena) + p.l3[i], quote)
    if p.fam[i] == 4:
        _write4(p, t, i, at, quote)
    else:
        _write6(p, t, i, at, quote)
    vrf = vrf_of(p, t, i)
    c = spare(p, i)
    p.vrf[c], p.vif[c], p.in_if[c] = vrf, np.int32(-1), p.in_if[i]
    p.flags[c] = np.uint8(ORIGIN | IS_ERROR)
    p.verdict[c], p.n_out[c], p.lv_n[c], p.lim[c] = np.uint8(0), np.int32(0), np.uint8(0), np.int32(0)
    p.sa[c], p.sp[c], p.out_if[c] = np.int32(-1), np.int32(-1), np.int32(-1)
    p.off[c] = off
    p.ip_id[c] = _ident(t, p.fam[i])
    parse_ip(p, c, off, head + quote)
    return np.int64(c)


# ------------------------------------------------------------------------------------------------------ the stage
@outlined
def _sized(p, t, c, added):
    """The last step of `forward` and `plan` for row c; it and its pieces, when they want numbers, are put into `work`
    behind `added` rows."""
    if p.verdict[c] != 0:
        mtu = mtu_of(t, np.int64(p.out_if[c]), p.fam[c])
        if p.ip_len[c] > mtu:
            too_long(p, c, mtu)
        return added
    first = p.st[ST_SPARE]
    sa = t.sa[p.sa[c]]
    fits = sa.mode == 0 and p.ip_len[c] <= np.int64(sa.fit)
    if not fits and run_step(p, t, STEP_SIZE, c) == 0:
        return added
    p.work[added] = c
    added += 1
    for r in range(first, p.st[ST_SPARE]):
        p.work[added] = r
        added += 1
    return added


@inlined
def _send(p, t, c, added):
    """Route, protect and size one error; returns how many rows `work` then has."""
    became = run_step(p, t, STEP_CLASSIFY, c)
    if became == KEEP:
        return _sized(p, t, c, added)
    if became != TUNNEL:
        return added
    p.st[ST_ADDED] = added
    end = run_step(p, t, STEP_THROUGH, c)
    count = end - added
    for k in range(count):  # out of the way: `through_row` is done with the upper half
        p.work[ROWS_MAX + k] = p.work[added + k]
    for k in range(count):
        added = _sized(p, t, np.int64(p.work[ROWS_MAX + k]), added)
    return added


def icmp(p, t, n):
    """The errors that are due for the rows of a vector."""
    added = 0
    for i in range(p.st[ST_ROWS]):
        r = np.int64(i)
        while r >= 0:
            after = np.int64(p.more[r])
            if p.icmp[r] != 0 and _may_answer(p, r) and not _is_silent(t, t.ifs[ingress(p, r)], p, r):
                if _allowed(t, _class_of(p, r), p.ts[r]):
                    c = _make(p, t, r)
                    if c >= 0:
                        added = _send(p, t, c, added)
                else:
                    t.stats[STAT_ICMP_LIMITED] += np.uint64(1)
            r = after
    p.st[ST_ER] = 0
    if added > 0:
        reorder(p, p.work, added)
    return n
