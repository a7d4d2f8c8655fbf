"""forward: the router's own hop: one off the TTL or hop limit, the MSS of TCP, whether a clear packet fits its line.

The IPv4 checksum and TCP's are kept right incrementally. What the router made itself (GRE, ICMP) has made no hop yet.
"""

import numpy as np

from qfp_kernels.checksum import adjust, less_one_hop
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.fragment import MTU_MIN6
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import CTL_MSS, ERR_BIG, ERR_TTL, FRAG_DF, FRAG_LATER, ORIGIN, STAT_MSS
from qfp_kernels.parse import be16, drop, owe
from qfp_kernels.rows import ingress
from qfp_kernels.simd import bswap16i, ld8, ld16, st8, st16

TTL_EXPIRED, FRAG_NEEDED = int(Drop.TTL_EXPIRED), int(Drop.FRAG_NEEDED)
STAGE_FORWARD = STAGES.index("forward")
TCP, SYN, OPTION_MSS = 6, 2, 2
NO_LIMIT = 65535


@inlined
def _mss_of(t, row, fam):
    value = np.int64(t.ifs[row].mss4) if fam == 4 else np.int64(t.ifs[row].mss6)
    return value if value > 0 else NO_LIMIT


@inlined
def _set_mss(tcp, k, limit):
    """Lower the MSS option at tcp + k, if it is larger; True when it was."""
    at = tcp + k + 2
    if be16(at) <= limit:
        return False
    old = ld16(at)
    st16(at, bswap16i(np.uint16(limit)))
    new = ld16(at)
    if k & 1:  # the option lies across two 16-bit words of the checksum: as if its bytes were swapped
        old, new = bswap16i(old), bswap16i(new)
    st16(tcp + 16, adjust(ld16(tcp + 16), old, new))
    return True


@outlined
def clamp_mss(p, t, i):
    """`ip tcp adjust-mss` of the interfaces that a SYN passes, tunnel interfaces included (RFC 9293 section 3.7.1)."""
    tcp = base(p.arena) + p.l4[i]
    room = np.int64(p.l3[i]) + p.ip_len[i] - p.l4[i]
    if room < 20 or (p.frag[i] & FRAG_LATER) != 0 or (ld8(tcp + 13) & np.uint8(SYN)) == 0:
        return
    out = np.int64(p.out_if[i])
    if p.sp[i] >= 0 and t.sp[p.sp[i]].tun >= 0:
        out = np.int64(t.sp[p.sp[i]].tun)
    fam = p.fam[i]
    limit = _mss_of(t, ingress(p, i), fam)
    if out >= 0:
        limit = min(limit, _mss_of(t, out, fam))
    end = min((np.int64(ld8(tcp + 12)) >> 4) * 4, room)
    k = 20
    while k + 1 < end:
        kind = np.int64(ld8(tcp + k))
        length = 1 if kind == 1 else np.int64(ld8(tcp + k + 1))
        if kind == 0 or length < 1 or (kind != 1 and length < 2) or k + length > end:
            return
        if kind == OPTION_MSS and length == 4:
            if _set_mss(tcp, k, limit):
                t.stats[STAT_MSS] += np.uint64(1)
            return
        k += length


@inlined
def hop(p, t, i, mss, stage):
    """One hop of a packet on its way through, in this stage; False when it ends here."""
    ttl = p.ttl[i]
    if ttl <= 1:
        owe(p, i, ERR_TTL, 0)
        drop(p, i, TTL_EXPIRED, stage)
        return False
    at = base(p.arena) + p.l3[i]
    p.ttl[i] = ttl - np.uint8(1)
    if p.fam[i] == 4:
        st8(at + 8, ttl - np.uint8(1))
        st16(at + 10, less_one_hop(ld16(at + 10)))
    else:
        st8(at + 7, ttl - np.uint8(1))
    if mss and p.proto[i] == TCP:
        clamp_mss(p, t, i)
    return True


@inlined
def mtu_of(t, row, fam):
    return np.int64(t.ifs[row].mtu4) if fam == 4 else np.int64(t.ifs[row].mtu6)


@outlined
def too_long(p, i, mtu):
    """A clear packet beyond its line's MTU: fragments while it is written, or an error; True when it goes on."""
    origin = (p.flags[i] & ORIGIN) != 0
    if (p.fam[i] == 4 and (p.frag[i] & FRAG_DF) == 0) or (p.fam[i] == 6 and origin):
        p.lim[i] = mtu
        return True
    owe(p, i, ERR_BIG, mtu if p.fam[i] == 4 else max(mtu, MTU_MIN6))
    drop(p, i, FRAG_NEEDED, STAGE_FORWARD)
    return False


def forward(p, t, n):
    kept = 0
    mss = t.ctl[CTL_MSS] != 0
    for k in range(n):
        i = np.int64(p.tx[k])
        if (p.flags[i] & ORIGIN) == 0 and not hop(p, t, i, mss, STAGE_FORWARD):
            continue
        if p.verdict[i] != 0:  # what goes out in the clear has its verdict and is done
            mtu = mtu_of(t, np.int64(p.out_if[i]), p.fam[i])
            if p.ip_len[i] > mtu:
                too_long(p, i, mtu)
            continue
        p.tx[kept] = i
        kept += 1
    return kept
