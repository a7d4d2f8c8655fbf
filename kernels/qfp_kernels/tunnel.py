"""tunnel: packets enter and leave GRE tunnels (RFC 2784, 2890, 7676).

Entering is a hop like any other, through an interface with an MTU of its own: what is too long is fragmented before it
is encapsulated, or refused. The GRE packet is then one that this router makes: it is routed in the tunnel's front-door
VRF and meets the policy of that way, or the tunnel's own protection. Leaving is the reverse: a GRE packet for this
router (reassembled, decrypted) is stripped, and what was inside comes in by the tunnel interface and is routed again.
A packet may pass through several tunnels; a way that leads back into itself ends after TUNNELS_MAX.

Serial, because GRE's sequence numbers, identifications and reassembly follow packet order. The list is empty for all
that has nothing to do with GRE.
"""

import numpy as np

from qfp_kernels.atomics import fetch_add
from qfp_kernels.checksum import byte_sum, header_sum
from qfp_kernels.columns import base
from qfp_kernels.decap import combine_ecn
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.forward import hop, mtu_of
from qfp_kernels.fragment import MTU_MIN4, MTU_MIN6, split
from qfp_kernels.jit import inlined, outlined, run_step
from qfp_kernels.layout import (
    CTL_MSS,
    CTL_TUNH_MASK,
    ERR_BIG,
    ERR_HOST,
    FRAG,
    FRAG_DF,
    FROM_GRE,
    HEADROOM,
    IF_GRE,
    IS_ERROR,
    NOTE_ECN,
    ORIGIN,
    ROWS_MAX,
    ST_ADDED,
    ST_SPARE,
    STEP_CLASSIFY,
    STEP_HOLD,
    STEP_THROUGH,
    STRUCTS,
)
from qfp_kernels.move import copy
from qfp_kernels.parse import be16, drop, owe, parse_ip
from qfp_kernels.reassemble import INNER, WHOLE
from qfp_kernels.rows import reorder, slot
from qfp_kernels.simd import bswap16i, bswap32i, ld32, st8, st16, st32
from qfp_kernels.spd import DONE, KEEP, TUNNEL, mix, vrf_of

STAGE_TUNNEL = STAGES.index("tunnel")
PUNTED = np.uint8(Verdict.PUNTED)
FRAG_NEEDED, NO_BUFFERS, OUT_TOO_LONG = int(Drop.FRAG_NEEDED), int(Drop.NO_BUFFERS), int(Drop.OUT_TOO_LONG)
TUNNEL_LOOP, IF_DOWN, NO_SA_OUT = int(Drop.TUNNEL_LOOP), int(Drop.IF_DOWN), int(Drop.NO_SA_OUT)
NO_TUNNEL, BAD_HEADER, BAD_CHECKSUM = int(Drop.GRE_NO_TUNNEL), int(Drop.GRE_HEADER), int(Drop.GRE_CHECKSUM)
NO_ROUTE = int(Drop.NO_ROUTE)
BAD_SEQUENCE, BAD_INNER, NESTED = int(Drop.GRE_SEQUENCE), int(Drop.BAD_INNER), int(Drop.NESTED_TOO_DEEP)
NOT_IPSEC, POLICY_MISMATCH = int(Drop.NOT_IPSEC), int(Drop.POLICY_MISMATCH)
TUNNELS_MAX = 4
# Of the flags word. GRE_OTHER: bits 1, 4 and 5 and the version must be zero; 6 to 12 are ignored (RFC 2784 section 2.3)
GRE_CSUM, GRE_KEY, GRE_SEQ, GRE_OTHER = 0x8000, 0x2000, 0x1000, 0x4C07
WITH_CSUM, WITH_KEY, WITH_SEQ = 1, 2, 4  # of `options`
ETHER_IP4, ETHER_IP6 = 0x0800, 0x86DD
PROTECTED_MAX = 116  # bytes that IPsec may still put in front
IP_MAX = 65535
CLEAR = 1  # `df`
OUT_PACKETS, OUT_BYTES = (STRUCTS["ifs"].fields[name][1] for name in ("out_packets", "out_bytes"))  # offsets in a row
M16 = np.uint64(0xFFFF)
U1 = np.uint64(1)


# ------------------------------------------------------------------------------------------------------- entering
@inlined
def _room(t, p, i, tun):
    """MTU of the tunnel for row i's packet. With path MTU discovery its DF goes outside, so protection counts too,
    unless `df-bit clear` lets the GRE packet be fragmented all the same."""
    mtu = mtu_of(t, np.int64(tun.iface), p.fam[i])
    if tun.copy_df != 0 and tun.df != CLEAR and tun.sp >= 0 and (p.frag[i] & FRAG_DF) != 0:
        s = t.sp[tun.sp].sa_out
        if s >= 0:
            mtu = max(min(mtu, np.int64(t.sa[s].plain_mtu) - tun.hdr_len), MTU_MIN4)
    return mtu


@outlined
def _fit(p, t, i, tun):
    """Fragment what is too long for the tunnel, or refuse it; a drop cause or 0."""
    mtu = _room(t, p, i, tun)
    if p.ip_len[i] <= mtu:
        return 0
    own = (p.flags[i] & ORIGIN) != 0
    if p.fam[i] == 6 and not own:
        if p.ip_len[i] <= MTU_MIN6:
            return 0  # what every link must carry is fragmented outside
        owe(p, i, ERR_BIG, max(mtu, MTU_MIN6))
        return FRAG_NEEDED
    if p.fam[i] == 4 and (p.frag[i] & FRAG_DF) != 0 and tun.df != CLEAR:
        owe(p, i, ERR_BIG, mtu)
        return FRAG_NEEDED
    return 0 if split(p, i, mtu) > 0 else NO_BUFFERS


@inlined
def _head_room(p, i, need):
    """Whether `need` bytes are free in front of row i's packet; it moves where they are not."""
    if p.l3[i] - need >= p.off[i] - HEADROOM:
        return True
    size = np.int64(p.ip_len[i])
    off = slot(p, size + HEADROOM)
    if off < 0:
        return False
    arena = base(p.arena)
    copy(arena + off + HEADROOM, arena + p.l3[i], size)
    p.l3[i] = off + HEADROOM
    p.off[i] = off + HEADROOM
    return True


@inlined
def _next_id(t, tun, error):
    """Identification of a GRE packet. This router's own errors enter when the packets behind them in a vector have
    entered already: they have numbers of their own, so that no packet's depends on where a vector ends."""
    row = np.int64(tun.id_row) + (1 if error else 0)
    ident = t.ip_id[row]
    t.ip_id[row] = ident + np.uint32(1)
    return ident


@inlined
def _delivery(p, i, at, tun, size, ident):
    """Length, identification, TOS and DF of the delivery header."""
    tos = p.tos[i] if tun.copy_tos != 0 else np.uint8(be16(at) >> 4 if tun.fam == 6 else be16(at)) & np.uint8(255)
    df = tun.copy_df != 0 and tun.df != CLEAR and p.fam[i] == 4 and (p.frag[i] & FRAG_DF) != 0
    if tun.fam == 4:
        st8(at + 1, tos)
        st16(at + 2, bswap16i(np.uint16(size)))
        st16(at + 4, bswap16i(np.uint16(ident)))
        st16(at + 6, bswap16i(np.uint16(0x4000 if df else 0)))
        st16(at + 10, np.uint16(~header_sum(at, 5) & M16))
    else:
        st32(at, bswap32i(np.uint32(6) << np.uint32(28) | np.uint32(tos) << np.uint32(20)))
        st16(at + 4, bswap16i(np.uint16(size - 40)))
    p.tos[i] = tos
    p.frag[i] = np.uint8(FRAG_DF if df or tun.fam == 6 else 0)


@inlined
def _gre_fields(at, tun, fam, size):
    """Protocol, sequence number and checksum of the GRE header at `at`, `size` bytes with its payload."""
    st16(at + 2, bswap16i(np.uint16(ETHER_IP4 if fam == 4 else ETHER_IP6)))
    if tun.options & WITH_SEQ:
        after = (4 if tun.options & WITH_CSUM else 0) + (4 if tun.options & WITH_KEY else 0)
        st32(at + 4 + after, bswap32i(tun.next_seq))
        tun.next_seq += np.uint32(1)
    if tun.options & WITH_CSUM:
        st16(at + 4, np.uint16(~byte_sum(at, size) & M16))


@inlined
def _as_gre(p, i, tun, size, ident):
    """The columns of a row that is now the GRE packet."""
    ip = 20 if tun.fam == 4 else 40
    l3 = np.int64(p.l3[i])
    p.fam[i], p.proto[i], p.ttl[i] = tun.fam, np.uint8(47), np.uint8(255)
    p.sport[i], p.dport[i] = np.uint16(0), np.uint16(0)
    p.src0[i], p.src1[i], p.dst0[i], p.dst1[i] = tun.src0, tun.src1, tun.dst0, tun.dst1
    p.ip_len[i], p.l4[i], p.ip_id[i] = size, l3 + ip, ident
    p.nh_at[i], p.tr_nh[i], p.tr_at[i] = l3 + 6, l3 + 6, l3 + ip
    p.vrf[i] = tun.vrf
    p.flags[i] = np.uint8((p.flags[i] & ~np.uint8(FROM_GRE)) | np.uint8(ORIGIN))
    p.sa[i], p.sp[i] = np.int32(-1), np.int32(-1)


@outlined
def _encapsulate(p, t, i, tun):
    """Delivery header and GRE header in front of row i's packet; a drop cause or 0."""
    head = np.int64(tun.hdr_len)
    size = head + p.ip_len[i]
    if size - (40 if tun.fam == 6 else 0) > IP_MAX:
        return OUT_TOO_LONG
    if not _head_room(p, i, head + PROTECTED_MAX):
        return NO_BUFFERS
    p.l3[i] -= np.int32(head)
    at = base(p.arena) + p.l3[i]
    copy(at, tun.hdr, head)
    ident = _next_id(t, tun, (p.flags[i] & IS_ERROR) != 0)
    fam = p.fam[i]
    _delivery(p, i, at, tun, size, ident)
    ip = 20 if tun.fam == 4 else 40
    _gre_fields(at + ip, tun, fam, size - ip)
    _as_gre(p, i, tun, size, ident)
    port = base(t.ifs[tun.iface])  # errors are counted at the same time by another thread
    fetch_add(port + OUT_PACKETS, 1)
    fetch_add(port + OUT_BYTES, size - head)
    return 0


@inlined
def _dispatch(p, t, i, tun):
    """Where a GRE packet goes: to the tunnel's protection, or by the front-door VRF; DONE, KEEP or TUNNEL."""
    if tun.sp < 0:
        became = run_step(p, t, STEP_CLASSIFY, i)
        if (became == DONE and p.verdict[i] == PUNTED) or (became == TUNNEL and p.out_if[i] < 0):
            drop(p, i, TUNNEL_LOOP, STAGE_TUNNEL)  # the destination is this router itself
            return DONE
        return became
    p.sp[i] = tun.sp
    p.sa[i] = t.sp[tun.sp].sa_out
    p.out_if[i] = tun.under
    if p.sa[i] < 0:
        drop(p, i, NO_SA_OUT, STAGE_TUNNEL)
        return DONE
    return KEEP


@outlined
def _enter(p, t, i, mss):
    """Row i's packet is routed into a tunnel: hop and size; returns whether it goes on."""
    tun = t.tun[p.tun[i]]
    if t.ifs[tun.iface].up == 0:
        owe(p, i, ERR_HOST, 0)
        drop(p, i, IF_DOWN, STAGE_TUNNEL)
        return False
    if (p.flags[i] & ORIGIN) == 0 and not hop(p, t, i, mss, STAGE_TUNNEL):
        return False
    cause = NO_ROUTE if tun.under < 0 else _fit(p, t, i, tun)
    if cause != 0:
        drop(p, i, cause, STAGE_TUNNEL)
    return cause == 0


# -------------------------------------------------------------------------------------------------------- leaving
@inlined
def tunnel_hash(src0, src1, dst0, dst1, key, vrf):
    """Bucket hash of a tunnel by its own ends, its key (0 without one) and its front-door VRF."""
    return mix(src0, src1, dst0, dst1, np.uint64(key) << np.uint64(16) | np.uint64(vrf))


@outlined
def _row_of(p, t, i, keyed, key, peer0, peer1):
    """Row of the tunnel from this packet's destination to a peer, or -1."""
    vrf = vrf_of(p, t, i)
    h = tunnel_hash(p.dst0[i], p.dst1[i], peer0, peer1, key, vrf)
    row = np.int64(t.tunh[np.int64(h & np.uint64(t.ctl[CTL_TUNH_MASK]))])
    while row >= 0:
        tun = t.tun[row]
        same = tun.src1 == p.dst1[i] and tun.dst1 == peer1 and tun.src0 == p.dst0[i] and tun.dst0 == peer0
        if same and tun.vrf == vrf and ((tun.options & WITH_KEY) != 0) == keyed and tun.key == key:
            return row
        row = np.int64(tun.next)
    return row


@inlined
def _find(p, t, i, keyed, key):
    """Row of the tunnel that a GRE packet belongs to, or -1. A multipoint tunnel takes what comes from anybody."""
    row = _row_of(p, t, i, keyed, key, p.src0[i], p.src1[i])
    return row if row >= 0 else _row_of(p, t, i, keyed, key, np.uint64(0), np.uint64(0))


@inlined
def _in_order(tun, seq):
    """RFC 2890 section 2.2: late are the last number received and the 2^31 - 1 before it."""
    behind = np.uint32(tun.top_seq - seq)
    if tun.started != 0 and behind < np.uint32(1 << 31):
        return False
    tun.started, tun.top_seq = np.uint8(1), seq
    return True


@inlined
def _protected_as_asked(p, t, i, tun):
    """A drop cause when a packet did not come with the protection that its tunnel has, else 0."""
    if tun.sp == -1:
        return 0
    if p.lv_n[i] == 0 or (p.flags[i] & FROM_GRE) != 0:
        return NOT_IPSEC
    return 0 if t.sa[p.sa[i]].sp == tun.sp else POLICY_MISMATCH


@inlined
def _header(p, i):
    """(bytes of the GRE header, flags word, key, sequence number) of row i's packet; 0 bytes = malformed."""
    at = base(p.arena) + p.l4[i]
    room = np.int64(p.l3[i]) + p.ip_len[i] - p.l4[i]
    flags = be16(at) if room >= 4 else np.int64(GRE_OTHER)
    size = 4
    key, seq = np.uint32(0), np.uint32(0)
    if flags & GRE_CSUM:
        size += 4
    if flags & GRE_KEY:
        key = bswap32i(ld32(at + size)) if room >= size + 4 else key
        size += 4
    if flags & GRE_SEQ:
        seq = bswap32i(ld32(at + size)) if room >= size + 4 else seq
        size += 4
    if flags & GRE_OTHER or room < size:
        size = 0
    return size, flags, key, seq


@outlined
def _leave(p, t, i):
    """Strip GRE from row i's packet, which is for this router; a drop cause, -1 = punted, or 0."""
    size, flags, key, seq = _header(p, i)
    if size == 0:
        return BAD_HEADER
    at = base(p.arena) + p.l4[i]
    row = _find(p, t, i, flags & GRE_KEY != 0, key)
    if row < 0:
        return NO_TUNNEL
    tun = t.tun[row]
    cause = _protected_as_asked(p, t, i, tun)
    if cause != 0:
        return cause
    port = t.ifs[tun.iface]
    if port.up == 0:
        return IF_DOWN
    room = np.int64(p.l3[i]) + p.ip_len[i] - p.l4[i]
    if flags & GRE_CSUM and byte_sum(at, room) != M16:
        return BAD_CHECKSUM
    kind = be16(at + 2)
    if kind != ETHER_IP4 and kind != ETHER_IP6:
        return -1  # a keepalive, or what this router does not carry
    if flags & GRE_SEQ and tun.options & WITH_SEQ and not _in_order(tun, seq):
        return BAD_SEQUENCE
    outer = p.tos[i] & np.uint8(3)
    if parse_ip(p, i, np.int64(p.l4[i]) + size, room - size) != 0:
        return BAD_INNER
    if (p.fam[i] == 4) != (kind == ETHER_IP4):
        return BAD_HEADER
    p.vif[i] = tun.iface
    p.flags[i] = np.uint8((p.flags[i] & ~np.uint8(ORIGIN)) | np.uint8(FROM_GRE))
    port.in_packets += U1
    port.in_bytes += np.uint64(p.ip_len[i])
    return _congestion(p, i, outer)


@inlined
def _congestion(p, i, outer):
    """ECN of the delivery header and of the packet inside become one (RFC 6040); a drop cause or 0."""
    if outer == p.tos[i] & np.uint8(3):
        return 0
    cause, alarm = combine_ecn(p, i, np.int64(p.l3[i]), outer)
    p.notes[i] |= np.uint8(NOTE_ECN if alarm else 0)
    return cause


@outlined
def _out_of(p, t, i):
    """A GRE packet for this router: whole, stripped, routed; DONE, KEEP or TUNNEL."""
    if (p.frag[i] & FRAG) != 0 and run_step(p, t, STEP_HOLD, INNER << 32 | i) != WHOLE:
        return DONE
    cause = _leave(p, t, i)
    if cause == -1:
        p.verdict[i] = PUNTED
        p.stage[i] = np.uint8(STAGE_TUNNEL)
        return DONE
    if cause != 0:
        drop(p, i, cause, STAGE_TUNNEL)
        return DONE
    became = run_step(p, t, STEP_CLASSIFY, i)
    if became == DONE and p.verdict[i] == PUNTED and (p.proto[i] == 50 or p.proto[i] == 51):
        drop(p, i, NESTED, STAGE_TUNNEL)  # IPsec inside GRE would have to go back to INBOUND
    return became


# ------------------------------------------------------------------------------------------------------ the stage
@inlined
def _into(p, t, i, mss, top):
    """Row i enters a tunnel; what it became is pushed on the stack of `top` rows, the first of it uppermost."""
    first = p.st[ST_SPARE]
    deep = p.mark[i]
    if not _enter(p, t, i, mss):
        return top
    for c in range(p.st[ST_SPARE] - 1, first - 1, -1):
        p.work[ROWS_MAX + top] = c
        p.mark[c] = deep | np.uint8(0x80)  # still to be encapsulated
        p.lv_n[c], p.vif[c], p.in_if[c] = p.lv_n[i], p.vif[i], p.in_if[i]  # what `spd` asks of a row
        p.out_if[c], p.tun[c] = p.out_if[i], p.tun[i]
        top += 1
    p.work[ROWS_MAX + top] = i
    p.mark[i] = deep | np.uint8(0x80)
    return top + 1


def through_row(p, t, i):
    """The step: take row i's packet through its tunnels; rows that then go on are put into `work`, behind the
    st[ST_ADDED] rows that are there. Returns how many there are then."""
    added = p.st[ST_ADDED]
    mss = t.ctl[CTL_MSS] != 0
    p.work[ROWS_MAX] = i
    p.mark[i] = np.uint8(0)
    top = 1
    while top > 0:
        top -= 1
        r = np.int64(p.work[ROWS_MAX + top])
        gre = p.out_if[r] >= 0 and t.ifs[p.out_if[r]].kind == IF_GRE
        if p.mark[r] & np.uint8(0x80):
            p.mark[r] &= np.uint8(0x7F)
            tun = t.tun[p.tun[r]]
            cause = _encapsulate(p, t, r, tun)
            if cause != 0:
                drop(p, r, cause, STAGE_TUNNEL)
                continue
            became = _dispatch(p, t, r, tun)
        elif p.mark[r] >= TUNNELS_MAX:
            drop(p, r, TUNNEL_LOOP, STAGE_TUNNEL)
            continue
        elif gre:
            p.mark[r] += np.uint8(1)
            top = _into(p, t, r, mss, top)
            continue
        else:
            p.mark[r] += np.uint8(1)
            became = _out_of(p, t, r)
        if became == KEEP:
            p.work[added] = r
            added += 1
        elif became == TUNNEL:
            p.work[ROWS_MAX + top] = r
            top += 1
    return added


def tunnel(p, t, n):
    p.st[ST_ADDED] = 0
    for k in range(n):
        p.st[ST_ADDED] = run_step(p, t, STEP_THROUGH, np.int64(p.tu[k]))
    reorder(p, p.work, p.st[ST_ADDED])
    return n
