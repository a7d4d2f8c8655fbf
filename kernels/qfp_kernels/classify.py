"""classify: the headers of a batch as columns, and which class of a policy each row belongs to.

`read_headers` takes from the frames what class maps look at; `qos pre-classify` is to keep these rows from before
encryption. `classify` asks a policy's classes in order. Every condition on DSCP, protocol or QoS group is a set of
values, so three look-ups give one word with the truth of all of them; a class is a list of (mask, value) pairs for that
word. Access lists are searched only where the rest of a pair holds.
"""

import numpy as np

from qfp_kernels.checksum import adjust
from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, kernel, outlined
from qfp_kernels.layout import FRAG, FRAG_LATER, struct
from qfp_kernels.parse import HEADERS_MAX, LINK_ETHERNET, be16, link_length
from qfp_kernels.simd import bswap32i, bswap64i, ctz64, ld8, ld16, ld32, ld64, st8, st16

HEADER = [
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),  # addresses, two words each; IPv4 in the second
    ("l3", "i4"),  # bytes before the IP header in the frame
    ("sport", "u2"), ("dport", "u2"),  # ports; ICMP type and code; 0 without
    ("fam", "u1"),  # 4, 6, 0 = not IP
    ("proto", "u1"),  # upper-layer protocol; 1 with fam 0: ARP
    ("tos", "u1"),  # DSCP and ECN octet
    ("frag", "u1"),  # bit 0 fragment, bit 1 not the first one
    ("tcp", "u1"),  # flags of TCP
]  # fmt: skip

ACE = [  # an access-list entry with one range of ports a side
    ("src0", "u8"), ("src1", "u8"), ("smask0", "u8"), ("smask1", "u8"),
    ("dst0", "u8"), ("dst1", "u8"), ("dmask0", "u8"), ("dmask1", "u8"),  # bits set in a mask must be equal
    ("sport_lo", "i8"), ("sport_hi", "i8"), ("dport_lo", "i8"), ("dport_hi", "i8"),  # ICMP: type and code
    ("proto", "i8"), ("dscp", "i8"), ("precedence", "i8"),  # -1 = any
    ("permit", "i8"), ("established", "i8"), ("fragments", "i8"),  # 1 = yes
    ("deep", "i8"),  # 1 = looks at what only first fragments have
]  # fmt: skip

LIST = [("first4", "i8"), ("n4", "i8"), ("first6", "i8"), ("n6", "i8")]  # entries of a list, by family

TERM = [  # a row is of class `cls` if these bits of the word have these values, and so have its lists
    ("mask", "u8"), ("want", "u8"), ("lists", "u8"), ("permits", "u8"), ("cls", "i8"),
]  # fmt: skip

HEADERS_TYPES = {
    "arena": np.dtype("u1"), "offset": np.dtype("i8"), "length": np.dtype("i4"), "link": np.dtype("u2"),
    "head": struct(HEADER),
}  # fmt: skip
CLASSIFY_TYPES = {
    "head": struct(HEADER),
    "group": np.dtype("u1"),  # QoS group of each row, 0 = none
    "tos_bits": np.dtype("u8"), "proto_bits": np.dtype("u8"), "group_bits": np.dtype("u8"),  # conditions that hold
    "term": struct(TERM), "list": struct(LIST), "ace": struct(ACE),
    "cls": np.dtype("u1"),  # the result
}  # fmt: skip
ARP = 1
ETHERTYPE_ARP = 0x0806
ACK_OR_RST = np.uint8(0x14)
ZERO = np.uint64(0)
ONE = np.uint64(1)


# ------------------------------------------------------------------------------------------------- headers
@kernel
def read_headers(b, n):
    """Fill `head` for n frames; what is no IP packet, or too short for one, has fam 0."""
    arena = base(b.arena)
    for i in range(n):
        at, cap = arena + b.offset[i], np.int64(b.length[i])
        h = b.head[i]
        h.fam, h.proto, h.tos, h.frag, h.tcp = np.uint8(0), np.uint8(0), np.uint8(0), np.uint8(0), np.uint8(0)
        h.sport, h.dport = np.uint16(0), np.uint16(0)
        l2 = link_length(b.link[i], at, cap)
        if l2 < 0:
            if b.link[i] == LINK_ETHERNET and cap >= 14 and be16(at + 12) == ETHERTYPE_ARP:
                h.proto = np.uint8(ARP)
            continue
        h.l3 = np.int32(l2)
        room = cap - l2
        if room >= 20 and ld8(at + l2) >> 4 == 4:
            read4(h, at + l2, room)
        elif room >= 40 and ld8(at + l2) >> 4 == 6:
            read6(h, at + l2, room)


@inlined
def read4(h, at, room):
    h.fam = np.uint8(4)
    h.tos = ld8(at + 1)
    h.proto = ld8(at + 9)
    word = be16(at + 6)
    if word & 0x3FFF:
        h.frag = np.uint8(FRAG | (FRAG_LATER if word & 0x1FFF else 0))
    h.src0 = ZERO
    h.dst0 = ZERO
    h.src1 = np.uint64(bswap32i(ld32(at + 12)))
    h.dst1 = np.uint64(bswap32i(ld32(at + 16)))
    read_ports(h, at, np.int64(ld8(at) & 15) * 4, room)


@outlined
def read6(h, at, room):
    h.fam = np.uint8(6)
    h.tos = np.uint8((be16(at) >> 4) & 255)
    h.src0, h.src1 = bswap64i(ld64(at + 8)), bswap64i(ld64(at + 16))
    h.dst0, h.dst1 = bswap64i(ld64(at + 24)), bswap64i(ld64(at + 32))
    nh = np.int64(ld8(at + 6))
    k = 40
    for _ in range(HEADERS_MAX):
        if (nh != 0 and nh != 43 and nh != 44 and nh != 60 and nh != 135) or k + 8 > room:
            break
        size = 8
        if nh == 44:
            word = be16(at + k + 2)
            if word & 0xFFF9:
                h.frag = np.uint8(FRAG | (FRAG_LATER if word & 0xFFF8 else 0))
        else:
            size = (np.int64(ld8(at + k + 1)) + 1) * 8
        nh = np.int64(ld8(at + k))
        k += size
        if h.frag & FRAG_LATER:
            break
    h.proto = np.uint8(nh)
    read_ports(h, at, k, room)


@inlined
def read_ports(h, at, k, room):
    """Ports, or ICMP type and code, or nothing where they are not there to be read."""
    if h.frag & FRAG_LATER or k + 4 > room:
        return
    proto = h.proto
    if proto == 17 or proto == 6 or proto == 132 or proto == 33 or proto == 136:
        h.sport, h.dport = np.uint16(be16(at + k)), np.uint16(be16(at + k + 2))
        if proto == 6 and k + 14 <= room:
            h.tcp = ld8(at + k + 13)
    elif proto == 1 or proto == 58:
        h.sport, h.dport = np.uint16(ld8(at + k)), np.uint16(ld8(at + k + 1))


# ------------------------------------------------------------------------------------------------- classes
@kernel
def classify(c, n, terms):
    """Class of each of n rows: that of the first of `terms` pairs that holds. The last one always does."""
    for i in range(n):
        h = c.head[i]
        fam = np.int64(h.fam) >> 1  # 0, 2, 3
        word = c.tos_bits[fam * 64 + np.int64(h.tos >> 2)] | c.proto_bits[fam * 256 + np.int64(h.proto)]
        word |= c.group_bits[np.int64(c.group[i])]
        known, permits = ZERO, ZERO
        for k in range(terms):
            t = c.term[k]
            if word & t.mask != t.want:
                continue
            if t.lists != ZERO:
                ask = t.lists & ~known
                permits |= search(c, h, ask)
                known |= ask
                if permits & t.lists != t.permits:
                    continue
            c.cls[i] = np.uint8(t.cls)
            break


@outlined
def search(c, h, lists):
    """Bits of those of some lists that permit a packet."""
    permits = ZERO
    while lists != ZERO:
        bit = ctz64(lists)
        row = c.list[np.int64(bit)]
        first, n = (row.first4, row.n4) if h.fam == 4 else (row.first6, row.n6)
        for k in range(first, first + n if h.fam != 0 else first):
            if holds(c.ace[k], h):
                permits |= np.uint64(c.ace[k].permit) << bit
                break
        lists &= lists - ONE
    return permits


@inlined
def holds(a, h):
    """Whether an entry is about a packet.

    Later fragments have no ports. Entries that ask for ports then permit by addresses and protocol, and never deny
    (Cisco, "Access Control Lists and IP Fragments").
    """
    differs = (h.src0 ^ a.src0) & a.smask0 | (h.src1 ^ a.src1) & a.smask1
    differs |= (h.dst0 ^ a.dst0) & a.dmask0 | (h.dst1 ^ a.dst1) & a.dmask1
    if differs != ZERO or (a.proto >= 0 and a.proto != np.int64(h.proto)):
        return False
    if a.dscp >= 0 and a.dscp != np.int64(h.tos >> 2):
        return False
    if a.precedence >= 0 and a.precedence != np.int64(h.tos >> 5):
        return False
    if h.frag & FRAG_LATER:
        return a.deep == 0 or a.permit != 0
    if a.fragments != 0 or (a.established != 0 and h.tcp & ACK_OR_RST == 0):
        return False
    sport, dport = np.int64(h.sport), np.int64(h.dport)
    return a.sport_lo <= sport and sport <= a.sport_hi and a.dport_lo <= dport and dport <= a.dport_hi


# ------------------------------------------------------------------------------------------------- marking
@kernel
def mark(b, dscp, n):
    """Write dscp.r_dscp[i], unless negative, into frame i: the octet, and the checksum of IPv4 (RFC 1624)."""
    arena = base(b.arena)
    for i in range(n):
        h = b.head[i]
        value = np.int64(dscp.r_dscp[i])
        if value < 0 or h.fam == 0:
            continue
        tos = value << 2 | np.int64(h.tos & 3)
        at = arena + b.offset[i] + np.int64(h.l3)
        if h.fam == 4:
            before = ld16(at)
            st8(at + 1, np.uint8(tos))
            st16(at + 10, adjust(ld16(at + 10), before, ld16(at)))
        else:
            st8(at, np.uint8(0x60 | tos >> 4))
            st8(at + 1, np.uint8((tos & 15) << 4 | np.int64(ld8(at + 1) & 15)))
        h.tos = np.uint8(tos)
