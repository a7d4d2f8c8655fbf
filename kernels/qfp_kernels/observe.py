"""observe: the ESP and AH headers of a capture as columns, without keys: what an observer of the wire sees of an SA.

In travel order:
1. `observe`: rows that a walk made, read where they lie in the source: IP, AH in front of ESP, ESP in UDP; one row of
   the columns for every ESP or AH header. Rare link layers and tunnels are left to `dissect`
2. `identify`: rows of a table that holds them already (what `qfp strip` wrote)
Both number the SAs (destination, SPI, protocol) in order of appearance, in a hash table that `rehash` rebuilds when
Python has made it larger.

Unlike `parse` this must read packets of which only the headers were captured, so nothing here believes that a packet is
there as far as its header says: every load is checked against the captured bytes. IPv4 checksums are not looked at: a
sender that captures its own packets may not have filled them in yet.
"""

import numpy as np

from qfp_kernels.dissect import SOURCE, carries, may_carry, note
from qfp_kernels.dissect_words import ETHERTYPE, NO_CHECKSUM, NO_LENGTH
from qfp_kernels.jit import call, inlined, kernel, outlined
from qfp_kernels.layout import ST_NOTED, ST_RESULT, STEP_DISSECT
from qfp_kernels.parse import HEADERS_MAX, LINK_ETHERNET, NO_IP, PADDING, be16, link_length
from qfp_kernels.simd import bswap32i, bswap64i, ld8, ld16, ld32, ld64

OBSERVED = {  # columns of what was observed; row by row up to `sa`, SA by SA from `sa_dst0`
    "ts": "i8",  # ns
    "seq": "u4",  # number field, host order
    "len": "u4",  # bytes of the outer IP packet, of a fragment what its own header says
    "tos": "u1",  # DSCP and ECN of the outer header
    "sa": "i4",  # SA, from 0 in order of appearance
    "sa_dst0": "u8", "sa_dst1": "u8",  # destination, high and low half; hashed: 0 and the hash
    "sa_spi": "u8",  # SPI, or its hash
    "sa_kind": "i4",  # protocol << 8 | address family, 0 = hashed
    "slots": "i4",  # hash table: 1 + SA, 0 = empty
    "ctl": "i8",  # O_ numbers
}  # fmt: skip
ROW_COLUMNS = ("ts", "seq", "len", "tos", "sa")
(O_ROWS, O_SAS, O_MASK, O_FRAMES, O_LATER, O_SHORT, O_OTHER) = range(7)
O_N = 8
LEVELS = 4  # headers that are followed in one packet: AH, AH, … ESP
ESP, AH, UDP, TCP, NATT = 50, 51, 17, 6, 4500
# what `_find` says of a packet that shows no header; CARRIER: another may be in it
PLAIN, SHORT, LATER, CARRIER = -1, -2, -3, -4
M1, M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
U16, U27, U30, U31 = np.uint64(16), np.uint64(27), np.uint64(30), np.uint64(31)


# -------------------------------------------------------------------------------------------------------- SAs
@inlined
def _mixed(dst0, dst1, spi, kind):
    """A hash of an SA's name (the finisher of splitmix64, twice)."""
    h = (dst0 ^ (spi << U16) ^ np.uint64(kind)) * M1
    h = ((h ^ (h >> U30)) + dst1) * M2
    h = (h ^ (h >> U27)) * M1
    return h ^ (h >> U31)


@inlined
def _slot(o, dst0, dst1, spi, kind):
    """Slot of an SA, or the empty one where it belongs. The table is never full."""
    mask = o.ctl[O_MASK]
    k = np.int64(_mixed(dst0, dst1, spi, kind) & np.uint64(mask))
    while o.slots[k] != 0:
        s = np.int64(o.slots[k]) - 1
        if o.sa_dst1[s] == dst1 and o.sa_spi[s] == spi and o.sa_dst0[s] == dst0 and o.sa_kind[s] == kind:
            break
        k = (k + 1) & mask
    return k


@inlined
def _sa_of(o, dst0, dst1, spi, kind):
    """Number of an SA, a new one where it was not seen before."""
    k = _slot(o, dst0, dst1, spi, kind)
    if o.slots[k] == 0:
        s = o.ctl[O_SAS]
        o.sa_dst0[s] = dst0
        o.sa_dst1[s] = dst1
        o.sa_spi[s] = spi
        o.sa_kind[s] = kind
        o.slots[k] = np.int32(s + 1)
        o.ctl[O_SAS] = s + 1
    return np.int32(o.slots[k]) - np.int32(1)


@kernel
def rehash(o):
    """Put every SA into a fresh, larger table of slots."""
    for s in range(o.ctl[O_SAS]):
        o.slots[_slot(o, o.sa_dst0[s], o.sa_dst1[s], o.sa_spi[s], o.sa_kind[s])] = np.int32(s + 1)


@kernel
def identify(o, spi, dst, proto, first, count):
    """SAs of `count` rows from row `first` of the columns; their hashes and protocols are in arrays of that length."""
    for k in range(count):
        o.sa[first + k] = _sa_of(o, np.uint64(0), dst[k], spi[k], np.int32(proto[k]) << np.int32(8))


# ---------------------------------------------------------------------------------------------------- packets
@inlined
def _clear(proto, sport, dport):
    """What a packet without ESP or AH of its own is."""
    return CARRIER if may_carry(proto, sport, dport) and carries(proto, sport, dport) else PLAIN


@inlined
def _later(proto):
    """What a later fragment is."""
    if proto in (ESP, AH, UDP):
        return LATER
    return _clear(proto, 0, 0)


@inlined
def _find4(at, room):
    """(protocol or what `_find` says, offset of its header) of an IPv4 packet with `room` captured bytes."""
    if room < 20:
        return SHORT, 0
    ihl = np.int64(ld8(at) & 15) * 4
    proto = np.int64(ld8(at + 9))
    total = be16(at + 2)
    if ihl < 20 or (total < ihl and total != 0):
        return PLAIN, 0
    if be16(at + 6) & 0x1FFF:
        return _later(proto), 0
    return proto, ihl


@inlined
def _find6(at, room):
    """The same of an IPv6 packet, behind its extension headers."""
    if room < 40:
        return SHORT, 0
    proto = np.int64(ld8(at + 6))
    k = 40
    for _ in range(HEADERS_MAX):
        if proto != 0 and proto != 43 and proto != 44 and proto != 60 and proto != 135:
            break
        if k + 8 > room:
            return SHORT, 0
        size = 8 if proto == 44 else (np.int64(ld8(at + k + 1)) + 1) * 8
        later = proto == 44 and be16(at + k + 2) & 0xFFF8 != 0
        proto = np.int64(ld8(at + k))
        if later:
            return _later(proto), 0
        k += size
    return proto, k


@inlined
def _row(o, ts, seq, size, tos, sa):
    k = o.ctl[O_ROWS]
    o.ts[k] = ts
    o.seq[k] = seq
    o.len[k] = size
    o.tos[k] = tos
    o.sa[k] = sa
    o.ctl[O_ROWS] = k + 1


@inlined
def _headers(o, ts, at, room, proto, k, size, tos, dst0, dst1, family):
    """Rows for the ESP or AH header at offset k, and for those that an AH names behind it; 0 or what `_find` says."""
    for level in range(LEVELS):
        need = 12 if proto == AH else 8
        if k + need > np.int64(size):  # a runt: what may lie behind it is padding of the link layer
            return PLAIN if level == 0 else 0
        if k + need > room:
            return SHORT if level == 0 else 0
        spi = bswap32i(ld32(at + k + (4 if proto == AH else 0)))
        if spi == 0:  # RFC 4303 section 2.1: never on the wire
            return PLAIN if level == 0 else 0
        seq = bswap32i(ld32(at + k + need - 4))
        kind = np.int32(proto << 8 | family)
        _row(o, ts, seq, size, tos, _sa_of(o, dst0, dst1, np.uint64(spi), kind))
        if proto != AH:
            return 0
        proto = np.int64(ld8(at + k))
        k += (np.int64(ld8(at + k + 1)) + 2) * 4
        if proto != AH and proto != ESP:
            return 0
    return 0


@outlined
def _offload(p, i, at, wire, size):
    """Length of an IPv4 packet of which `wire` bytes were sent; what the sender left to its network card is noted."""
    if size == 0:
        note(p, i, NO_LENGTH)
        return min(wire, 65535)
    note(p, i, NO_CHECKSUM)
    return size


@outlined
def _offload6(p, i, wire, size):
    """The same of IPv6: no length in front of more bytes than the link layer pads with."""
    if wire <= 40 + PADDING:
        return size
    note(p, i, NO_LENGTH)
    return min(wire, 65575)


@inlined
def _packet(p, o, i, ts, at, room, wire):
    """Rows of the IP packet at an address, of which `wire` bytes were sent; 0, or why there are none."""
    if room < 1:
        return PLAIN
    version = ld8(at) >> 4
    if version != 4 and version != 6:
        return PLAIN
    proto, k = _find4(at, room) if version == 4 else _find6(at, room)
    if proto == UDP:
        if k + 4 > room:
            return PLAIN
        if be16(at + k) != NATT and be16(at + k + 2) != NATT:
            return _clear(UDP, be16(at + k), be16(at + k + 2))
        if k + 8 > room:
            return SHORT
        if be16(at + k + 4) < 16:
            return PLAIN  # a keepalive (RFC 3948 section 2.3) or less
        proto, k = ESP, k + 8  # IKE has a marker of zeros where ESP has its SPI
    if proto == TCP and k + 4 <= room:
        return _clear(TCP, be16(at + k), be16(at + k + 2))
    if proto != ESP and proto != AH:
        return proto if proto < 0 else _clear(proto, 0, 0)
    if version == 4:
        dst, size = np.uint64(bswap32i(ld32(at + 16))), be16(at + 2)
        if size == 0 or ld16(at + 10) == 0:
            size = _offload(p, i, at, wire, size)
        return _headers(o, ts, at, room, proto, k, np.uint32(size), ld8(at + 1), np.uint64(0), dst, 4)
    dst0, dst1 = bswap64i(ld64(at + 24)), bswap64i(ld64(at + 32))
    tos, size = np.uint8((be16(at) >> 4) & 255), be16(at + 4) + 40
    if size == 40:
        size = _offload6(p, i, wire, size)
    return _headers(o, ts, at, room, proto, k, np.uint32(size), tos, dst0, dst1, 6)


@outlined
def _dissected(p, t, o, i, at):
    """Rows of what `dissect` finds in a frame; 0, or why there are none. Its step must have been compiled."""
    k = call(t.steps[STEP_DISSECT], p, t, SOURCE | i)
    end = p.st[ST_RESULT]
    if k < 0 or k >= end:
        return PLAIN
    cut = np.int64(p.wire[i]) - np.int64(p.cap[i]) if end == np.int64(p.cap[i]) else 0
    why = _packet(p, o, i, np.int64(p.ts[i]), at + k, end - k, end - k + max(cut, 0))
    return PLAIN if why == CARRIER else why


@inlined
def _no_ip(p, i, at, cap):
    """Whether a frame is one of those that come with nearly every capture and hold no IP."""
    if p.link[i] != LINK_ETHERNET or cap < 14 or be16(at + 12) not in NO_IP:
        return False
    note(p, i, ETHERTYPE << 16 | be16(at + 12))
    return True


@kernel
def observe(p, t, o, first, n):
    """Rows for what the frames of rows first..n-1 carry. The columns have room for LEVELS rows a frame, the SAs too.

    Returns the row behind the last that was looked at: less than n when that needs the step of `dissect`, which the
    caller puts into t.steps then. What was not looked into is noted in `p`, as in the packet path; `p` starts afresh
    with `first` = 0.
    """
    if first == 0:
        p.st[ST_NOTED] = 0
    for i in range(first, n):
        cap = np.int64(p.cap[i])
        at = np.int64(p.src_at[i])
        l2 = link_length(p.link[i], at, cap)
        why = CARRIER
        if l2 >= 0 and l2 < cap:
            why = _packet(p, o, i, np.int64(p.ts[i]), at + l2, cap - l2, np.int64(p.wire[i]) - l2)
        elif _no_ip(p, i, at, cap):
            why = PLAIN
        if why == CARRIER:
            if t.steps[STEP_DISSECT] == 0:
                o.ctl[O_FRAMES] += i - first
                return i
            why = _dissected(p, t, o, i, at)
        if why == SHORT:
            o.ctl[O_SHORT] += 1
        elif why == LATER:
            o.ctl[O_LATER] += 1
        elif why == PLAIN:
            o.ctl[O_OTHER] += 1
    o.ctl[O_FRAMES] += n - first
    return n
