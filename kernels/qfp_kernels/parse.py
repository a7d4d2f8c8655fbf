"""parse: find the IP header behind the link layer, check it, and fill the columns that later stages trust.

Usual link layers are known here (`link_length`), rare ones and, with key files alone, tunnels to `dissect`.

After this stage every offset and length in the columns lies inside the frame; no later stage believes a length taken
from packet bytes again (decapsulated packets come back through `parse_ip`). Rows that carry ESP, AH or UDP on the
NAT-T port go on the INBOUND list, the others on the OUTBOUND list; fragments wait for `reassemble`, on a list of their
own, because only there it is known whether they are for this router.
"""

import numpy as np

from qfp_kernels.checksum import fold, header_sum
from qfp_kernels.columns import base
from qfp_kernels.dissect import carries, may_carry, note
from qfp_kernels.dissect_words import ETHERTYPE, FRAGMENT_OF, LENGTH_MAX, NO_CHECKSUM, NO_LENGTH
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.jit import inlined, outlined, run_step
from qfp_kernels.layout import (
    CTL_MODE,
    CTL_NATT,
    CTL_NATT_FROM,
    CTL_OFFLOAD,
    CTL_UDP_WHOLE,
    FRAG,
    FRAG_DF,
    FRAG_LATER,
    FRAME_MAX,
    MODE_DECRYPT,
    NOTE_FRAGMENT,
    ROWS_MAX,
    ST_AH,
    ST_ASK_ROW,
    ST_ER,
    ST_FR,
    ST_IC,
    ST_NOTED,
    ST_RESULT,
    ST_ROWS,
    ST_RX,
    ST_RX0,
    ST_RX_SEEN,
    ST_TU,
    ST_TX,
    STEP_DISSECT,
)
from qfp_kernels.rows import merge
from qfp_kernels.simd import bswap16i, bswap32i, bswap64i, ld8, ld16, ld32, ld64, st16

DROPPED, PUNTED = np.uint8(Verdict.DROPPED), np.uint8(Verdict.PUNTED)
CUT_SHORT, BAD_HEADER = int(Drop.CUT_SHORT), int(Drop.BAD_HEADER)
BAD_CHECKSUM, TOO_LONG = int(Drop.BAD_CHECKSUM), int(Drop.TOO_LONG)
U8, U15, U16, U32, U48 = np.uint64(8), np.uint64(15), np.uint64(16), np.uint64(32), np.uint64(48)
U32_8, U32_16, U32_255 = np.uint32(8), np.uint32(16), np.uint32(255)
M32 = np.uint64(0xFFFFFFFF)
STAGE_PARSE = STAGES.index("parse")
LINK_NULL, LINK_ETHERNET, LINK_LOOP, LINK_SLL, LINK_SLL2 = 0, 1, 108, 113, 276
VLAN_TAGS_MAX = 4
HEADERS_MAX = 8  # IPv6 extension headers that are walked
# Of Ethernet frames, those that come with nearly every capture and hold no IP: ARP, LLDP, EAPOL, slow protocols, loops
NO_IP = (0x0806, 0x88CC, 0x888E, 0x8809, 0x9000)
NOTHING = -2  # what `_inside` says of a packet that carries no ESP or AH
LENGTH_ZERO = -1  # what `_parse6` says of a packet without payload in front of many bytes: the length may not be set
PADDING = 10  # bytes that may follow an IPv6 header in the shortest Ethernet frame, FCS included
HOP_BY_HOP, NO_NEXT_HEADER = 0, 59
M16 = np.uint64(0xFFFF)


@inlined
def be16(at):
    return np.int64(bswap16i(ld16(at)))


@inlined
def drop(p, i, cause, stage):
    """The one way a packet leaves the path without being sent."""
    p.verdict[i] = DROPPED
    p.cause[i] = np.uint8(cause)
    p.n_out[i] = 0
    p.stage[i] = np.uint8(stage)


@inlined
def owe(p, i, error, mtu):
    """The row's source is to be told why: `icmp` decides whether it is, and sends it."""
    p.icmp[i] = np.uint8(error)
    p.mtu[i] = mtu
    p.st[ST_ER] += 1


@inlined
def link_length(link, at, cap):
    """Bytes of link-layer header before IP, or -1 when the frame carries something else."""
    if link == LINK_ETHERNET:
        k = 12
        for _ in range(VLAN_TAGS_MAX + 1):
            if cap < k + 2:
                return -1
            kind = be16(at + k)
            if kind == 0x0800 or kind == 0x86DD:
                return k + 2
            if kind != 0x8100 and kind != 0x88A8 and kind != 0x9100:
                return -1
            k += 4  # 802.1Q tag, 802.1ad or older QinQ
        return -1
    if link == 101 or link == 12 or link == 14 or link == 228 or link == 229:
        return 0
    if link in (LINK_NULL, LINK_LOOP):
        if cap < 4:
            return -1
        family = np.int64(ld32(at))
        if family > 0xFFFF:  # the other byte order than ours, or LOOP's network order
            family = be16(at + 2)
        is_ip = family == 2 or family == 24 or family == 28 or family == 30 or family == 10
        return 4 if is_ip else -1
    if link == LINK_SLL:
        if cap < 16:
            return -1
        kind = be16(at + 14)
        return 16 if kind == 0x0800 or kind == 0x86DD else -1
    if link == LINK_SLL2:
        if cap < 20:
            return -1
        kind = be16(at)
        return 20 if kind == 0x0800 or kind == 0x86DD else -1
    return -1


@inlined
def _ports(p, i, at, room):
    """Ports, or ICMP type and code, when the upper-layer header is there to be read."""
    proto = p.proto[i]
    sport, dport = np.uint16(0), np.uint16(0)
    if room >= 4 and (p.frag[i] & FRAG_LATER) == 0:
        word = ld32(at)
        if proto == 17 or proto == 6 or proto == 132 or proto == 33 or proto == 136:
            sport, dport = bswap16i(np.uint16(word)), bswap16i(np.uint16(word >> U32_16))
        elif proto == 1 or proto == 58:
            sport, dport = np.uint16(word & U32_255), np.uint16((word >> U32_8) & U32_255)
    p.sport[i] = sport
    p.dport[i] = dport


@inlined
def _parse4(p, i, at, off, room):
    """IPv4 (RFC 791) at address `at`, arena offset `off`, with `room` bytes there; returns a drop cause or 0.

    The 20 bytes are read in three words, and everything is taken from these.
    """
    if room < 20:
        return CUT_SHORT
    w0, w1, w2 = ld64(at), ld64(at + 8), np.uint64(ld32(at + 16))
    ihl = np.int64(w0 & U15) * 4
    total = np.int64(bswap16i(np.uint16(w0 >> U16)))
    if ihl < 20 or total < ihl:
        return BAD_HEADER
    if total > room:
        return CUT_SHORT
    checked = fold((w0 & M32) + (w0 >> U32) + (w1 & M32) + (w1 >> U32) + w2)
    if ihl != 20:
        checked = header_sum(at, ihl >> 2)
    if checked != np.uint64(0xFFFF):
        return BAD_CHECKSUM
    word = np.int64(bswap16i(np.uint16(w0 >> U48)))
    frag = FRAG_DF if word & 0x4000 else 0
    if word & 0x3FFF:
        frag |= FRAG | (FRAG_LATER if word & 0x1FFF else 0)
    p.frag[i] = np.uint8(frag)
    p.fam[i] = np.uint8(4)
    p.tos[i] = np.uint8(w0 >> U8)
    p.ttl[i] = np.uint8(w1)
    p.proto[i] = np.uint8(w1 >> U8)
    p.src0[i] = np.uint64(0)
    p.dst0[i] = np.uint64(0)
    p.src1[i] = np.uint64(bswap32i(np.uint32(w1 >> U32)))
    p.dst1[i] = np.uint64(bswap32i(np.uint32(w2)))
    p.l3[i] = off
    p.ip_len[i] = total
    p.l4[i] = off + ihl  # nh_at, tr_nh and tr_at follow from l3 and l4: see next_header_at and insertion_point
    _ports(p, i, at + ihl, total - ihl)
    return 0


@outlined
def _parse6(p, i, at, off, room):
    """IPv6 (RFC 8200) with its extension headers; returns a drop cause, 0 or LENGTH_ZERO."""
    if room < 40:
        return CUT_SHORT
    total = be16(at + 4) + 40
    if total > room:
        return CUT_SHORT
    p.fam[i] = np.uint8(6)
    p.tos[i] = np.uint8((be16(at) >> 4) & 255)
    p.ttl[i] = ld8(at + 7)
    p.src0[i] = bswap64i(ld64(at + 8))
    p.src1[i] = bswap64i(ld64(at + 16))
    p.dst0[i] = bswap64i(ld64(at + 24))
    p.dst1[i] = bswap64i(ld64(at + 32))
    frag = FRAG_DF  # IPv6 routers never fragment: as if DF were set
    nh = np.int64(ld8(at + 6))
    nh_at = 6
    k = 40
    tr_nh, tr_at = 6, 40
    for _ in range(HEADERS_MAX):
        if nh != 0 and nh != 43 and nh != 44 and nh != 60 and nh != 135:
            break
        if k + 8 > total:
            return BAD_HEADER
        size = 8
        if nh == 44:
            word = be16(at + k + 2)
            frag |= (FRAG if (word & 0xFFF9) != 0 else 0) | (FRAG_LATER if (word & 0xFFF8) != 0 else 0)
        else:
            size = (np.int64(ld8(at + k + 1)) + 1) * 8
        if k + size > total:
            return BAD_HEADER
        if nh == 0 or nh == 43 or nh == 44:  # RFC 4303 section 3.1.1: ESP goes behind these
            tr_nh, tr_at = k, k + size
        nh_at = k
        nh = np.int64(ld8(at + k))
        k += size
        if frag & FRAG_LATER:
            break
    p.frag[i] = np.uint8(frag)
    p.proto[i] = np.uint8(nh)
    p.l3[i] = off
    p.ip_len[i] = total
    p.l4[i] = off + k
    p.nh_at[i] = off + nh_at
    p.tr_nh[i] = off + tr_nh
    p.tr_at[i] = off + tr_at
    _ports(p, i, at + k, total - k)
    bare = total == 40 and room > 40 + PADDING and nh != HOP_BY_HOP and nh != NO_NEXT_HEADER
    return LENGTH_ZERO if bare else 0


@inlined
def _parse(p, i, off, room):
    """As `parse_ip`, or LENGTH_ZERO: what was parsed then is right if the length is."""
    p.fam[i] = np.uint8(0)
    if room < 1:
        return BAD_HEADER
    at = base(p.arena) + off
    version = ld8(at) >> 4
    if version == 4:
        return _parse4(p, i, at, off, room)
    if version == 6:
        return _parse6(p, i, at, off, room)
    return BAD_HEADER


@inlined
def parse_ip(p, i, off, room):
    """Check the IP packet at arena offset `off` with `room` bytes and fill the row; returns a drop cause or 0."""
    return max(_parse(p, i, off, room), 0)


@inlined
def next_header_at(p, i):
    """Arena offset of the octet that names the upper-layer protocol."""
    return np.int64(p.l3[i]) + 9 if p.fam[i] == 4 else np.int64(p.nh_at[i])


@inlined
def insertion_point(p, i):
    """(arena offset where transport mode inserts ESP or AH, offset of the next-header octet before it)."""
    if p.fam[i] == 4:
        return np.int64(p.l4[i]), np.int64(p.l3[i]) + 9
    return np.int64(p.tr_at[i]), np.int64(p.tr_nh[i])


@inlined
def is_inbound(p, t, i):
    """Whether a packet may be for the INBOUND path: ESP, AH, or UDP to the NAT-T port (RFC 3948).

    At a router the destination port alone decides: from port 4500 anything may come. A capture holds both directions,
    and a NAT in between has moved the port of one end, so key files look at the source port too.
    """
    proto = p.proto[i]
    if proto == 50 or proto == 51:
        return True
    if proto != 17 or (p.frag[i] & FRAG_LATER) != 0:
        return False
    return np.int64(p.dport[i]) == t.ctl[CTL_NATT] or np.int64(p.sport[i]) == t.ctl[CTL_NATT_FROM]


@inlined
def tells_size(p, i):
    """Whether a packet is an ICMP error about the size of another: fragmentation needed, packet too big."""
    proto = p.proto[i]
    return (proto == 1 and p.sport[i] == 3 and p.dport[i] == 4) or (proto == 58 and p.sport[i] == 2)


@inlined
def sort_in(p, t, i, rx, tx):
    """Put a row on the INBOUND or the OUTBOUND list, of rx and tx rows so far; returns the new lengths."""
    if is_inbound(p, t, i):
        p.rx[rx] = i
        return rx + 1, tx
    p.tx[tx] = i
    return rx, tx + 1


# ------------------------------------------------------------------------------------- offload, rare link layers
@outlined
def _mend4(at, room):
    """Fill in what a sending host left to its network card: returns what that was (NO_ numbers), 0 = nothing.

    A checksum or total length of 0 on a header that is sound otherwise; with segmentation offload the frame is the
    packet. A checksum that is there must be right, for either length.
    """
    ihl = np.int64(ld8(at) & 15) * 4 if room >= 20 else np.int64(0)
    total = be16(at + 2) if ihl >= 20 else np.int64(0)
    if ihl < 20 or ihl >= room or room > 65535 or (total != 0 and (total < ihl or total > room or ld16(at + 10) != 0)):
        return 0
    right = ld16(at + 10) == 0 or header_sum(at, ihl >> 2) == np.uint64(0xFFFF)
    if total == 0:
        st16(at + 2, bswap16i(np.uint16(room)))
        if not right and header_sum(at, ihl >> 2) != np.uint64(0xFFFF):
            st16(at + 2, np.uint16(0))
            return 0
    st16(at + 10, np.uint16(0))
    st16(at + 10, np.uint16(~header_sum(at, ihl >> 2) & M16))
    return NO_LENGTH if total == 0 else NO_CHECKSUM


@outlined
def _mend6(at, room):
    """The same for the payload length of IPv6."""
    if room - 40 > 65535:
        return 0
    st16(at + 4, bswap16i(np.uint16(room - 40)))
    return NO_LENGTH


@outlined
def _again(p, i, off, room):
    """`_parse` for rare callers, which need no copy of it."""
    return _parse(p, i, off, room)


@outlined
def _odd(p, t, i, off, room, cause):
    """What becomes of a packet that `_parse` objected to: a drop cause, or 0 and the row is filled."""
    cut = p.wire[i] > p.cap[i]
    at = base(p.arena) + off
    version = ld8(at) >> 4 if room > 0 else 0
    offload = t.ctl[CTL_MODE] == MODE_DECRYPT or t.ctl[CTL_OFFLOAD] != 0
    mended = 0
    if offload and cause == LENGTH_ZERO:
        mended = 0 if cut else _mend6(at, room)
        if mended == 0:
            return CUT_SHORT if cut else BAD_HEADER
    elif offload and version == 4 and cause in (BAD_CHECKSUM, BAD_HEADER):
        if cut and room >= 4 and ld16(at + 2) == 0:
            return CUT_SHORT  # nobody knows how long it was
        mended = _mend4(at, room)
    if mended != 0:
        cause = _again(p, i, off, room)
        if cause == 0:
            note(p, i, mended)
    if cause == CUT_SHORT and not cut:
        return BAD_HEADER  # nothing was cut: the length field is wrong
    return max(cause, 0)


@outlined
def _rare(p, t, i, cap):
    """Bytes before IP in a frame that `link_length` does not know, -1 = it holds none; st[ST_RESULT]: where the packet
    must end. With key files alone this is the packet that matters, behind tunnels."""
    deep = t.ctl[CTL_MODE] == MODE_DECRYPT
    if p.link[i] == LINK_ETHERNET and cap >= 14:
        kind = be16(base(p.arena) + np.int64(p.off[i]) + 12)
        if kind in NO_IP:
            if deep:
                note(p, i, ETHERTYPE << 16 | kind)
            return np.int64(-1)
        if not deep and kind > LENGTH_MAX and kind not in (0x8100, 0x88A8, 0x9100):
            return np.int64(-1)
    found = run_step(p, t, STEP_DISSECT, i)
    return -2 - found if found <= -2 else found


@outlined
def _note_fragment(p, t, i):
    """Note a fragment of a tunnel's packet: what it carries is not looked into."""
    proto = p.proto[i]
    whole = proto == 50 or proto == 51 or (proto == 17 and t.ctl[CTL_UDP_WHOLE] != 0)
    if not whole and carries(proto, p.sport[i], p.dport[i]):
        note(p, i, FRAGMENT_OF << 16 | np.int64(proto))


@outlined
def _inside(p, t, i):
    """Look into a clear packet that may carry others: where there is ESP or AH in it, that packet becomes the row's.
    Returns a drop cause, 0, or NOTHING."""
    off, cap = np.int64(p.off[i]), np.int64(p.cap[i])
    l2 = link_length(p.link[i], base(p.arena) + off, cap)
    if l2 < 0 or l2 >= cap or not carries(p.proto[i], p.sport[i], p.dport[i]):
        return NOTHING  # or `_rare` has looked there already
    k = run_step(p, t, STEP_DISSECT, i)
    if k < 0:
        return NOTHING
    room = p.st[ST_RESULT] - k
    cause = _again(p, i, off + k, room)
    return _odd(p, t, i, off + k, room, cause) if cause != 0 else 0


@outlined
def _look_inside(p, t):
    """With key files alone: clear packets that carry ESP or AH move from the OUTBOUND list to the INBOUND one, or to
    the fragments. In a pass of its own, so that others do not pay for it."""
    for k in range(p.st[ST_FR]):
        _note_fragment(p, t, np.int64(p.fr[k]))
    kept, rx, fr = 0, 0, 0
    for k in range(p.st[ST_TX]):
        i = np.int64(p.tx[k])
        cause = _inside(p, t, i) if may_carry(p.proto[i], p.sport[i], p.dport[i]) else NOTHING
        if cause == NOTHING:
            p.tx[kept] = i
            kept += 1
        elif cause != 0:
            drop(p, i, cause, STAGE_PARSE)
        elif (p.frag[i] & FRAG) != 0:
            p.notes[i] = np.uint8(NOTE_FRAGMENT)
            p.tu[fr] = i
            fr += 1
        else:
            p.work[rx] = i
            rx += 1
    p.st[ST_TX] = kept
    if rx + fr > 0:
        p.st[ST_RX] = merge(p.rx, p.st[ST_RX], p.work, rx)
        p.st[ST_FR] = merge(p.fr, p.st[ST_FR], p.tu, fr)
        p.st[ST_RX_SEEN] = p.st[ST_RX]


@inlined
def _set(column, n, value):
    for i in range(n):
        column[i] = value


@inlined
def _fresh(p, n):
    """Columns that a stage may read without having written them: one short loop each, which vectorises."""
    _set(p.vif, n, np.int32(-1))
    _set(p.flags, n, np.uint8(0))
    _set(p.more, n, np.int32(-1))
    _set(p.lim, n, np.int32(0))
    _set(p.icmp, n, np.uint8(0))
    _set(p.nxt, n, np.uint8(0))
    _set(p.out_if, n, np.int32(-1))
    _set(p.sp, n, np.int32(-1))
    _set(p.sa, n, np.int32(-1))
    _set(p.spi, n, np.uint32(0))
    _set(p.seq, n, np.uint64(0))
    _set(p.seq2, n, np.uint64(0))
    _set(p.sns, n, np.uint8(0))
    _set(p.cls, n, np.uint8(0))
    _set(p.lv_n, n, np.uint8(0))
    _set(p.notes, n, np.uint8(0))
    _set(p.verdict, n, np.uint8(0))
    _set(p.cause, n, np.uint8(0))
    _set(p.stage, n, np.uint8(STAGE_PARSE))
    _set(p.first_out, n, np.int64(-1))
    _set(p.n_out, n, np.int32(0))


def parse(p, t, n):
    arena = base(p.arena)
    rx, tx, fr, ic = 0, 0, 0, 0
    p.st[ST_NOTED] = 0
    _fresh(p, n)
    for i in range(n):
        cap = np.int64(p.cap[i])
        off = np.int64(p.off[i])
        if cap > FRAME_MAX:
            drop(p, i, TOO_LONG, STAGE_PARSE)
            continue
        l2 = link_length(p.link[i], arena + off, cap)
        room = cap - l2
        if l2 < 0 or room <= 0:
            l2 = _rare(p, t, i, cap)
            room = p.st[ST_RESULT] - l2
            if l2 < 0:
                p.verdict[i] = PUNTED
                p.fam[i] = np.uint8(0)
                continue
        cause = _parse(p, i, off + l2, room)
        if cause != 0:
            cause = _odd(p, t, i, off + l2, room, cause)
            if cause != 0:
                drop(p, i, cause, STAGE_PARSE)
                continue
        if (p.frag[i] & FRAG) != 0:
            p.notes[i] = np.uint8(NOTE_FRAGMENT)
            p.fr[fr] = i
            fr += 1
            continue
        if tells_size(p, i):
            p.ic[ic] = i
            ic += 1
        rx, tx = sort_in(p, t, i, rx, tx)
    p.st[ST_ROWS] = n
    p.st[ST_RX] = rx
    p.st[ST_TX] = tx
    p.st[ST_FR] = fr
    p.st[ST_IC] = ic
    p.st[ST_TU] = 0
    p.st[ST_ER] = 0
    p.st[ST_RX0] = 0
    p.st[ST_RX_SEEN] = rx
    p.st[ST_AH] = 0
    p.st[ST_ASK_ROW] = ROWS_MAX
    if t.ctl[CTL_MODE] == MODE_DECRYPT and tx + fr > 0:
        _look_inside(p, t)
    return n
