"""pathmtu: ICMP errors about the size of our own protected packets (RFC 1191, 8201; RFC 4301 section 8.2).

Such an error is not authenticated, so it counts only when what it quotes can have been ours: the outer addresses and
SPI of an outbound SA, a sequence number that this SA has handed out lately, and an MTU below the one in use. Then the
run stops behind the row: the control plane takes the new MTU in (qfp/control/pathmtu.py), and everything from the next
packet on is sized by it, whatever the vector size. The packet itself goes on and is punted like any for the router.
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    CTL_SAD_OUT_MASK,
    ST_ROWS,
    ST_STOP,
    ST_STOP_A,
    ST_STOP_B,
    ST_STOP_TS,
    STOP_MTU,
)
from qfp_kernels.local import is_local
from qfp_kernels.lookup import sad_hash
from qfp_kernels.parse import be16
from qfp_kernels.rows import cut
from qfp_kernels.simd import bswap32i, bswap64i, ld8, ld32, ld64

RECENT = np.uint64(1 << 20)  # numbers back that a quoted packet may be: what a second of traffic sends
FLOOR4, FLOOR6 = 576, 1280  # smaller MTUs are not believed: 576 as a guard, 1280 is IPv6's minimum
PLATEAUS = np.array([65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 576], np.int64)  # RFC 1191 section 7.1
ICMP_HEADER = 8


@inlined
def _be32(at):
    return bswap32i(ld32(at))


@outlined
def _find_out(t, dst0, dst1, spi, proto):
    """Outbound SA of (SPI, peer, protocol), or -1."""
    mask = np.uint64(t.ctl[CTL_SAD_OUT_MASK])
    j = np.int64(sad_hash(dst0, dst1, spi, proto) & mask)
    while t.sad_out[j].sa != -1:
        slot = t.sad_out[j]
        if slot.sa >= 0 and slot.spi == spi and slot.dst1 == dst1 and slot.dst0 == dst0 and slot.proto == proto:
            return np.int64(slot.sa)
        j = np.int64(np.uint64(j + 1) & mask)
    return np.int64(-1)


@inlined
def _told(at, fam, size):
    """The MTU that the error at `at` tells about a packet of `size` bytes; old routers tell none (RFC 1191 5)."""
    if fam == 6:
        return np.int64(_be32(at + 4))
    mtu = be16(at + 6)
    k = 0
    while mtu == 0:
        if PLATEAUS[k] < size or k == PLATEAUS.size - 1:
            mtu = PLATEAUS[k]
        k += 1
    return mtu


@inlined
def _quoted_sa(t, at, room, fam):
    """(SA, bytes) of the packet quoted at `at`, of which `room` bytes are there; SA -1 when it cannot be ours."""
    head = (np.int64(ld8(at)) & 15) * 4 if fam == 4 else 40
    none = np.int64(-1)
    if room < 20 or np.int64(ld8(at)) >> 4 != fam or head < 20 or room < head + 8:
        return none, 0
    if fam == 4:
        src0, src1, dst0, dst1 = np.uint64(0), np.uint64(_be32(at + 12)), np.uint64(0), np.uint64(_be32(at + 16))
        proto, size = ld8(at + 9), be16(at + 2)
    else:
        src0, src1 = bswap64i(ld64(at + 8)), bswap64i(ld64(at + 16))
        dst0, dst1 = bswap64i(ld64(at + 24)), bswap64i(ld64(at + 32))
        proto, size = ld8(at + 6), be16(at + 4) + 40
    if proto == 44 and room >= head + 16:  # an IPv6 fragment of it: the first one names the SPI
        if be16(at + head + 2) & 0xFFF8 != 0:
            return none, 0
        proto = ld8(at + head)
        head += 8
    if proto == 17:
        head += 8
        proto = np.uint8(50)
    if (proto != 50 and proto != 51) or room < head + (8 if proto == 50 else 12):
        return none, 0
    spi_at = at + head + (0 if proto == 50 else 4)
    s = _find_out(t, dst0, dst1, _be32(spi_at), proto)
    if s < 0 or t.sa[s].src0 != src0 or t.sa[s].src1 != src1:
        return none, 0
    back = (t.sa_out[s].next_seq - np.uint64(1) - np.uint64(_be32(spi_at + 4))) & np.uint64(0xFFFFFFFF)
    return (s if back < RECENT else none), size


@outlined
def _one(p, t, i):
    """(SA that must learn a smaller path MTU or -1, that MTU)."""
    at = base(p.arena) + p.l4[i]
    room = np.int64(p.l3[i]) + p.ip_len[i] - p.l4[i]
    fam = np.int64(p.fam[i])
    if room < ICMP_HEADER + 20 or not is_local(p, t, i):
        return np.int64(-1), np.int64(0)
    s, size = _quoted_sa(t, at + ICMP_HEADER, room - ICMP_HEADER, fam)
    if s < 0:
        return s, np.int64(0)
    mtu = max(_told(at, fam, size), FLOOR4 if fam == 4 else FLOOR6)
    return (s if mtu < t.sa[s].path_mtu else np.int64(-1)), mtu


def pathmtu(p, t, n):
    """The errors of a vector, in order, up to the first that changes something."""
    for k in range(n):
        i = np.int64(p.ic[k])
        if i >= p.st[ST_ROWS]:
            break
        s, mtu = _one(p, t, i)
        if s >= 0:
            cut(p, t, i + 1)
            p.st[ST_STOP], p.st[ST_STOP_A], p.st[ST_STOP_B], p.st[ST_STOP_TS] = STOP_MTU, s, mtu, p.ts[i]
            break
    return n
