"""What a packet row is, and what every table row is: each column and field once, with type, unit and meaning.

The Arrow schema, the generated docs and the kernels' types all come from these declarations. Numbers are in host
order unless a comment says otherwise. Addresses are two 64-bit words, most significant first; an IPv4 address is
word 1 alone (word 0 is zero), so one code path serves both families.
"""

from dataclasses import dataclass

import numpy as np

from qfp_kernels.columns import Block, table_type

# ---------------------------------------------------------------------------------------------------- sizes
VECTOR = 256  # rows of a vector by default
VECTOR_MAX = 1024  # frames of a vector, at most
ROWS_MAX = 16384  # rows that a workspace holds: the frames, then spare rows for fragments and ICMP errors
ARENA = 512 * 1024  # bytes of frames in a vector: with columns and contexts it fits L2
HEADROOM = 192  # bytes before a frame: outer IPv6 40 + UDP 8 + AH 12+32 + ESP 8 + IV 16 = 116, and GRE 56 in it
TAILROOM = 128  # bytes behind a frame: padding 15 + 2, ICV 32, and 64 that vector stores may overrun
FRAME_MAX = 65535 + 64  # a longer frame is not an IP packet that a router can send
SLOT_EXTRA = HEADROOM + TAILROOM + 128  # bytes that a frame takes in the arena beyond its own
ARENA_SLACK = FRAME_MAX + SLOT_EXTRA  # so that a vector's last frame always fits
# Reassembled and decompressed packets have slots of their own; a vector is cut before they would overflow this.
JUMBO = 24 << 20
JUMBO_OUTER = 8 << 20  # of which what is reassembled in front of decryption may take this
# Behind them, slots for fragments and ICMP errors: together no longer than what they are cut from, and one slot's
# extra bytes for each row. So spare rows run out first, and the walk sees to it that they do not. Untouched memory of
# the arena costs nothing.
ARENA_ALL = 2 * (ARENA + ARENA_SLACK + JUMBO) + ROWS_MAX * SLOT_EXTRA
CONTEXT = 640  # bytes of a crypto context row
SAVE = 256  # bytes of IP headers in front of AH that are kept while its MAC is computed
LEVELS = 4  # nested SAs that are opened in one packet
KEYS = 112  # bytes of key material an SA: cipher key 32, salt 4, integrity key up to 64 (and 12 spare)


# What a field is besides its type: who writes it, and what becomes of it. qfp/tables/state.py derives from this what is
# taken over, kept for explain, cleared and added up. A field without a word is CONFIG.
CONFIG = "config"  # the control plane writes it
STATE = "state"  # packets and timers change it, and what becomes of later packets depends on it
COUNTER = "counter"  # packets change it, and nothing depends on it
SCRATCH = "scratch"  # of one turn of the driver, or of one run
KINDS = (CONFIG, STATE, COUNTER, SCRATCH)

# Fields that lead to another row: -1 = to none. So they stand in rows that nobody has taken yet, too.
LEADS = {
    "sa": ("sp", "next"), "sa_out": ("sns_at",), "sa_in": ("sns_at",), "life": ("heir", "pair", "moved_at"),
    "sel_of": ("",),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A column of the packet table or a field of a table row."""

    name: str
    dtype: str
    meaning: str
    per_row: int = 1  # elements a packet row (columns only); 0 = the size stands in `size`
    size: int = 0


def _f(name: str, dtype: str, meaning: str, per_row: int = 1, size: int = 0) -> Field:
    return Field(name, dtype, meaning, per_row, size)


# ------------------------------------------------------------------------------- columns of the workspace
PACKET_FIELDS = (
    # written by the walk over the capture
    _f("frame", "i8", "record number in the source, from 0"),
    _f("ts", "i8", "ns since 1970-01-01 UTC, as captured"),
    _f("src_at", "i8", "address of the frame's first byte in the source"),
    _f("rec_at", "i8", "byte position of the record in the source, to go back to"),
    _f("cap", "i4", "bytes captured"),
    _f("wire", "i4", "bytes that were on the wire"),
    _f("in_if", "i4", "ingress interface (row of `ifs`)"),
    _f("link", "u2", "link type of the record (LINKTYPE_ numbers)"),
    # written by fill and parse
    _f("off", "i4", "arena offset of the frame"),
    _f("l3", "i4", "arena offset of the outermost IP header as the packet stands now"),
    _f("ip_len", "i4", "bytes from l3 to the packet's end, checked against `cap`"),
    _f("l4", "i4", "arena offset of the upper-layer header (of the ESP or AH header inbound)"),
    _f("fam", "u1", "IP version: 4, 6, 0 = not IP"),
    _f("proto", "u1", "upper-layer protocol"),
    _f("tos", "u1", "DSCP and ECN octet"),
    _f("ttl", "u1", "TTL or hop limit"),
    _f("frag", "u1", "bit 0 fragment, bit 1 not the first one, bit 2 DF set"),
    _f("nh_at", "i4", "IPv6: arena offset of the octet that names the upper-layer protocol"),
    _f("tr_at", "i4", "IPv6: arena offset where transport mode inserts ESP or AH"),
    _f("tr_nh", "i4", "IPv6: arena offset of the next-header octet before tr_at"),
    _f("sport", "u2", "source port; ICMP type; 0 without ports"),
    _f("dport", "u2", "destination port; ICMP code; 0 without ports"),
    _f("src0", "u8", "source address, high word"),
    _f("src1", "u8", "source address, low word"),
    _f("dst0", "u8", "destination address, high word"),
    _f("dst1", "u8", "destination address, low word"),
    # decisions
    _f("tun", "i4", "way into a GRE tunnel (row of `tun`), -1 = none; set where a route leads into one"),
    _f("vif", "i4", "tunnel interface that the packet came out of (row of `ifs`), -1 = none"),
    _f("vrf", "u2", "routing table of a packet that the router makes itself (others: that of its interface)"),
    _f(
        "flags",
        "u1",
        "bit 0: made by the router itself; bit 1: an ICMP error; bit 2: came out of a GRE tunnel; "
        "bit 3: a later fragment whose ports are known",
    ),
    _f("more", "i4", "next row that leaves for the same frame, -1 = none"),
    _f("lim", "i4", "bytes of the longest packet that leaves whole: longer ones are fragmented last, 0 = no limit"),
    _f("icmp", "u1", "ICMP error that is due for this row: ERR_ number, 0 = none"),
    _f("mtu", "i4", "MTU that it tells"),
    _f("nxt", "u1", "what the ESP trailer names instead of the packet's protocol: 108 = compressed, 0 = nothing else"),
    _f("out_if", "i4", "egress interface (row of `ifs`), -1 = none yet"),
    _f("sp", "i4", "SPD entry (row of `sp`), -1 = none"),
    _f("sa", "i4", "SA handle: the SA next to the payload, -1 = none"),
    _f("spi", "u4", "SPI of the outermost SA that was used"),
    _f("seq", "u8", "sequence number of that SA, high half included"),
    _f("seq2", "u8", "sequence number of the AH SA of a bundle"),
    _f("ip_id", "u4", "identification of the outer header: IPv4 16 bits, an IPv6 fragment 32"),
    _f("sns", "u1", "sequence-number space"),
    _f("cls", "u1", "class of the egress policy: its queue"),
    # inbound levels, outermost first
    _f(
        "notes",
        "u1",
        "bit 0: ECN codepoints that RFC 6040 calls dangerous; 1: came in as a fragment; "
        "2: was reassembled; 3: compressed; 4: did not get smaller; 5: decompressed",
    ),
    _f("lv_n", "u1", "levels opened or tried"),
    _f("lv_sa", "i4", "SA of each level", LEVELS),
    _f("lv_seq", "u8", "sequence number of each level, high half as inferred", LEVELS),
    _f(
        "lv_len",
        "i4",
        "bytes that the SA of each level counts: those of the packet without its protection",
        LEVELS,
    ),
    _f("lv_ok", "u1", "outcome of each level: 1 opened, 0 bad ICV, 2 refused by the early replay check", LEVELS),
    # what the sealers and openers work on
    _f("c_sa", "i4", "SA of the crypto job at hand"),
    _f("c_off", "i4", "arena offset of the ESP header (AH: of the IP header)"),
    _f("c_len", "i4", "bytes between IV and ICV (AH: bytes of the whole packet)"),
    _f("c_icv", "i4", "arena offset of the ICV"),
    _f("c_iv", "i4", "arena offset of the IV (GMAC)"),
    _f("m_off", "i4", "arena offset of what the MAC covers"),
    _f("m_len", "i4", "bytes that the MAC covers"),
    _f("c_hi", "u4", "high half of the sequence number (ESN)"),
    _f("c_ok", "u1", "state of the job: 2 due, 1 done (opening: the ICV verified), 0 the ICV did not verify"),
    _f("mac", "u1", "a computed or received ICV", 64),
    _f("save", "u1", "AH: the outer header as it was, mutable fields included", SAVE),
    # outcome
    _f("verdict", "u1", "see drops.Verdict"),
    _f("cause", "u1", "see drops.Drop; 0 = none"),
    _f("stage", "u1", "number of the stage that decided"),
    _f("first_out", "i8", "record number of the first frame sent for this row, -1 = none"),
    _f("n_out", "i4", "frames sent for this row"),
    # lists of rows
    _f("rx", "i4", "rows on the INBOUND list, in order"),
    _f("rx0", "i4", "rows with at least one SA found, in order: what `commit` looks at"),
    _f("tx", "i4", "rows on the OUTBOUND list, in order"),
    _f("ah", "i4", "rows that still need AH"),
    _f("fr", "i4", "rows that are fragments, in order: some are for this router"),
    _f("ic", "i4", "rows with an ICMP error about a packet's size, in order"),
    _f("tu", "i4", "rows that enter or leave a GRE tunnel, in order"),
    _f("noted_row", "i4", "rows about which something is counted: see `noted`"),
    _f("noted", "i4", "what: a space and a number (dissect_words)"),
    _f("mark", "u1", "1 = on the list that is being put in order"),
    _f("work", "i4", "rows of the crypto job at hand, sorted by sealer", 2),
    _f("key", "u4", "sort keys of the crypto job at hand", 2),
    # not by row
    _f("arena", "u1", "frames, each with head-room and tail-room", 0, ARENA_ALL),
    _f("scratch", "u1", "lanes, key schedules and tails of the lockstep kernels", 0, 32768),
    _f("lzs", "u1", "tables of the compressor, zero at first", 0, 16448),
    _f("st", "i8", "state of the vector: see ST_ numbers", 0, 64),
    _f("flow", "flow", "flow cache, one 64-byte line a flow", 0, 16384),
)

(ST_ROWS, ST_RX, ST_TX, ST_AH, ST_VECTOR, ST_LIMIT, ST_OUT_AT, ST_OUT_SEQ, ST_WORK, ST_RX0, ST_L3_ALIGN, ST_FLOW_HIT,
 ST_FLOW_MISS, ST_RX_SEEN, ST_FLOW_MASK, ST_SPARE, ST_SLOT, ST_JUMBO, ST_FR, ST_IC, ST_TU, ST_ER, ST_END_POS,
 ST_END_FRAME, ST_CUT_VECTOR, ST_CUT_POS, ST_CUT_FRAME, ST_STOP, ST_STOP_A, ST_STOP_B, ST_STOP_TS,
 ST_LEFT, ST_ADDED, ST_ARG, ST_RESULT, ST_ASK_ROW, ST_ASK, ST_NOTED) = range(38)  # fmt: skip

JOB_BAD, JOB_DONE, JOB_DUE = 0, 1, 2  # column `c_ok`
FRAG, FRAG_LATER, FRAG_DF = 1, 2, 4
NOTE_ECN, NOTE_FRAGMENT, NOTE_REASSEMBLED, NOTE_COMPRESSED, NOTE_INCOMPRESSIBLE, NOTE_EXPANDED = 1, 2, 4, 8, 16, 32
ORIGIN, IS_ERROR, FROM_GRE, PORTS_KNOWN, IS_PIECE = 1, 2, 4, 8, 16  # bits of `flags`
CLASSES_ROW = 128  # 64 DSCPs of IPv4, then of IPv6
ERR_NONE, ERR_BIG, ERR_TTL, ERR_NO_ROUTE, ERR_HOST = range(5)  # column `icmp`
EV_BORN, EV_HALFWAY, EV_MOVED, EV_SOFT = 1, 2, 4, 8
STOP_NONE, STOP_MTU, STOP_SPI = 0, 1, 2  # why a run ends at a row: the control plane has something to do first

# --------------------------------------------------------------------------------------------- struct rows
FLOW = [
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),
    ("ports", "u8"),  # sport << 48 | dport << 32 | proto << 24 | family << 16 | frag bits << 8
    ("where", "u4"),  # ingress interface
    ("gen", "u4"),  # ctl[CTL_GEN] at the time of the look-up; another value = stale
    ("via", "i4"),  # SPD entry of the SA that the packet came through, -1 = it came in the clear
    ("sp", "i4"),  # SPD entry; where the action is SP_TUNNEL, row of `tun`
    ("sa", "i4"), ("out_if", "i2"),
    ("action", "u1"), ("pad", "u1"),
]  # fmt: skip

SA = [  # 192 bytes: what INBOUND needs stands in the first cache line
    ("spi", "u4"),
    ("generation", "u4"),  # of the handle: a freed row gets another one
    ("sp", "i4"),  # SPD entry, -1 = none
    ("next", "i4"),  # AH SA over this ESP SA (outbound bundle); -1 = none
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),  # outer addresses
    ("proto", "u1"),  # 50 ESP, 51 AH
    ("mode", "u1"),  # 0 tunnel, 1 transport, 2 as the next header says
    ("fam", "u1"),  # of the outer header
    ("valid", "u1"),  # 1 in use
    ("sealer", "u2"),  # kind: which row of `seal` (outbound) or `open` (inbound); see seal.LOCKSTEP
    ("iv_len", "u1"),  # bytes
    ("block", "u1"),  # padding unit of the trailer, bytes
    ("icv_len", "u1"),  # bytes
    ("esn", "u1"),
    ("natt", "u1"),  # 1 RFC 3948 UDP encapsulation, 2 with and without
    ("checks", "u1"),  # 1 = the decapsulated packet must match `sp`
    ("rounds", "u1"),  # AES rounds, for single blocks
    ("nonce", "u1"),  # 0 none, 1 the 64-bit number, 2 CBC: nonce block, 16 bytes, 3 the same, 8 bytes
    ("df", "u1"),  # 0 copy, 1 clear, 2 set
    ("copy_label", "u1"),  # IPv6 in IPv6: copy the flow label
    # second line
    ("hdr_len", "u1"),  # bytes of `hdr` in use
    ("esp_at", "u1"),  # offset of the ESP header in hdr
    ("udp_at", "u1"),  # offset of the UDP header in hdr (natt)
    ("ah_at", "u1"),  # offset of the AH header in hdr; 255 = none
    ("fit", "u2", STATE),  # longest inner packet that goes on as it is: plain_mtu, or the VTI's own MTU where less
    ("udp_sport", "u2"), ("udp_dport", "u2"),
    ("id_row", "i4"),  # row of `ip_id`: one counter a (source, destination)
    ("csum", "u4"),  # sum of the constant 16-bit words of an IPv4 header
    ("flow_id", "u4"),  # IOS flow id
    ("profile", "u4"),  # row of the control plane's list of algorithm profiles
    ("plain_mtu", "u2", STATE),  # longest inner packet whose protected form fits `path_mtu`; see qfp/sizes.py
    ("path_mtu", "u2", STATE),  # of the way to the peer: the egress interface's, or what an ICMP error told
    ("before", "u1"),  # 1 = fragment before encryption, 0 = after
    ("comp", "u1"),  # 1 = IPComp with LZS before ESP
    ("hdr", "u1", (96,)),  # outer headers as sent: IP, [AH], [UDP], ESP; network order
]  # fmt: skip

SA_OUT = [
    ("next_seq", "u8", STATE),  # next number to hand out
    ("last_seq", "u8", STATE),  # the largest before `limits` is asked; in the end 2^32-1, or 2^64-1 with ESN
    ("packets", "u8", COUNTER),
    ("bytes", "u8", STATE),  # of plaintext
    ("limit", "u8", STATE),  # bytes at which `limits` is asked: 0 = not in use yet
    ("last", "i8", STATE),  # ns: latest time at which it was used
    ("errors", "u4", COUNTER),
    ("compressed", "u4", COUNTER),  # packets that comp-lzs made smaller
    ("incompressible", "u4", COUNTER),  # packets that it did not
    ("sns_at", "i4"),  # first of its numbers in `sns_out`, one a sequence-number space; -1 = it has one space
]

SA_IN = [
    ("top", "u8", STATE),  # highest authenticated number
    ("window", "u4"),  # N in packets; 0 = no check
    ("win_at", "u4"),  # first word of `win`
    ("packets", "u8", COUNTER),
    ("bytes", "u8", STATE),  # of the packets that carried it, outer header included: so the platform counts
    ("limit", "u8", STATE), ("last", "i8", STATE),  # as in SA_OUT
    ("replays", "u4", COUNTER), ("bad_icv", "u4", COUNTER),
    ("ring", "u4"),  # bits of the bitmap: N, or for the odd N of a key file the next power of two from 64 up
    ("sns_at", "i4"),  # first of its rows of `sns_in`; -1 = it has one sequence-number space
]  # fmt: skip

LIFE = [  # of an SA: its limits, what has happened to it, and what is seldom counted
    ("soft", "u8", STATE), ("hard", "u8", STATE),  # bytes; 2^64-1 = none
    ("soft_seq", "u8", STATE),  # a number above this one asks for a new SA
    ("last_seq", "u8", STATE),  # the largest number that it may use
    ("born", "i8", STATE), ("born_at", "i8", STATE),  # first use: ns, and frame number
    ("moved", "i8", STATE), ("moved_at", "i8", STATE),  # the packet from which on `heir` sends: ns, and frame number
    ("heir", "i4"),  # outbound: the SA that follows at the soft limit; -1 = none
    ("pair", "i4"),  # whose SA it is: see qfp/control/lifetimes.py; -1 = it has no lifetime
    ("fresh", "u1", STATE),  # 1 = not in use yet
    ("coming", "u1", STATE),  # 1 = inbound SA of the next generation: the peer may use it first
    ("events", "u1", STATE),  # what the control plane has not been told yet: EV_ bits
    ("stale", "u1", STATE),  # 1 = made under settings that no longer hold: SA_STALE until it is cleared
    ("generation", "u4"),  # of its pair
    ("errors", "u4", COUNTER), ("decompressed", "u4", COUNTER), ("comp_failed", "u4", COUNTER),  # inbound
]  # fmt: skip

AWAITED = [  # what the control plane may be asked about an SPI that nobody knows: see awaited.py
    ("key", "u8"),  # hash of two ends, or of these, an SPI and a protocol; 0 = empty
    ("pair", "i4"),  # pair of SAs of this SPI, or a word of awaited.py
    ("generation", "u4"),
]  # fmt: skip

SEL = [  # selectors of an inbound SA, as a key file states them: ranges, both ends included
    ("src_first0", "u8"), ("src_first1", "u8"), ("src_last0", "u8"), ("src_last1", "u8"),
    ("dst_first0", "u8"), ("dst_first1", "u8"), ("dst_last0", "u8"), ("dst_last1", "u8"),
    ("sport_lo", "u2"), ("sport_hi", "u2"), ("dport_lo", "u2"), ("dport_hi", "u2"),  # ICMP: type and code
    ("proto", "i2"),  # -1 = any
    ("fam", "u1"),  # 0 = any
]  # fmt: skip

SNS_IN = [  # the history of one sequence-number space of an inbound SA; fields as in SA_IN
    ("top", "u8", STATE),  # highest authenticated number of the space
    ("window", "u4"), ("win_at", "u4"), ("ring", "u4"),
    ("replays", "u4", COUNTER),
]  # fmt: skip

SAD_SLOT = [  # open addressing on (SPI, destination, protocol)
    ("dst0", "u8"), ("dst1", "u8"),
    ("spi", "u4"), ("sa", "i4"),  # -1 = empty, -2 = deleted
    ("proto", "u1"), ("fam", "u1"), ("pad", "u1", (6,)),
]  # fmt: skip

ACE = [  # one rule: a hash-chain member of its tuple
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),  # masked values
    ("sport_lo", "u2"), ("sport_hi", "u2"), ("dport_lo", "u2"), ("dport_hi", "u2"),
    ("prio", "u4"),  # position among all rules of the SPD: the smaller wins
    ("resume", "u4"),  # a deny goes on at this position (first rule of the next map entry)
    ("tuple", "i4"),
    ("next", "i4"),  # chain, ascending prio; -1 ends
    ("sp", "i4"),  # SPD entry
    ("proto", "u1"), ("permit", "u1"), ("ports", "u1"), ("pad", "u1"),
]  # fmt: skip

TUPLE = [  # rules that compare the same bits share a tuple: one hash probe for all of them
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),  # masks, 1 = compare
    ("prio", "u4"),  # smallest of its rules
    ("fam", "u1"), ("proto", "u1"), ("pad", "u1", (2,)),  # proto: 1 = compared
]  # fmt: skip

SPD = [("tuples", "i4"), ("n", "i4")]  # its tuples, ascending by smallest prio

SP = [  # SPD entry: counters and what to do
    ("sa_out", "i4"),  # SA handle, -1 = none yet
    ("action", "u1"),
    ("levels", "u1"),  # SAs that an inbound packet of this entry must have come through (2 = a bundle)
    ("tun", "i2"),  # tunnel interface that this entry protects (row of `ifs`), -1 = none: a crypto map's
    ("packets", "u8", COUNTER), ("drops", "u8", COUNTER),
    ("bytes", "u8", COUNTER),  # of the frames, link layer included
]  # fmt: skip

FIB_ROOT = [  # one row a (VRF, family): 2 * VRF for IPv4, 2 * VRF + 1 for IPv6; a row of zeros has no routes
    ("direct", "u4"),  # first entry of `fib_direct`
    ("bits", "u4"),  # leading address bits that choose one of its 2**bits entries
]  # fmt: skip

FIB_NODE = [  # six address bits choose one of 64 slots, each a further node or a leaf; or some are compared
    ("inner", "u8"),  # bit k: slot k holds a node. Comparing: bits wanted, from the top; how many in FIB_COUNT
    ("runs", "u8"),  # bit k: a run of equal leaves begins in slot k, past slots with nodes. 0 = a node that compares
    ("node", "u4"),  # row of `fib_node` of the first slot with a node, others follow. Comparing: entry when equal
    ("leaf", "u4"),  # row of `fib_leaf` of the first run, others follow. Comparing: entry when not
]  # fmt: skip

ADJ = [  # adjacency: where a route leads
    ("hop0", "u8"), ("hop1", "u8"),  # next hop; zero = the destination is connected directly
    ("out_if", "i4"),  # egress interface (row of `ifs`), HELD = none
    ("local", "u1"),  # 1 = an address of the router itself
    ("fam", "u1"),  # of the routes that lead here
    ("pad", "u1", (2,)),
]  # fmt: skip

IFS = [
    ("spd4", "i4"), ("spd6", "i4"),  # SPD of the crypto map on this interface, -1 = none
    ("vrf", "i4"),
    ("under", "i4"),  # tunnel: egress interface of its destination; -1 = not a tunnel
    ("kind", "u1"),  # 0 physical, 1 IPsec VTI, 2 GRE, 3 a tunnel of another mode
    ("up", "u1"),
    ("errors4", "u1"), ("errors6", "u1"),  # 1 = sends ICMP unreachables (`ip unreachables`)
    ("mtu4", "u2"), ("mtu6", "u2"),  # longest IPv4, IPv6 packet that leaves whole (`ip mtu`, `ipv6 mtu`)
    ("mss4", "u2"), ("mss6", "u2"),  # `ip tcp adjust-mss`, 0 = none
    ("own4", "u4"),  # its own address, source of its ICMP errors; 0 = none
    ("own6h", "u8"), ("own6l", "u8"),
    ("tun", "i4"),  # row of `tun` of a GRE tunnel, of a multipoint one its head; -1 = none
    ("policy", "i4"),  # output policy: row of `classes`, -1 = none
    ("in_packets", "u8", COUNTER), ("in_bytes", "u8", COUNTER),
    ("out_packets", "u8", COUNTER), ("out_bytes", "u8", COUNTER),
    ("drops", "u8", COUNTER),
    ("process_in", "u8", COUNTER),  # packets that were reassembled: process-switched, as IOS counts them
]  # fmt: skip

TUN = [  # a GRE tunnel (RFC 2784, 2890). A multipoint one has a head, whose destination is zero, and a row a peer
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),  # its own ends
    ("iface", "i4"),  # row of `ifs`
    ("sp", "i4"),  # SPD entry of its protection, -1 = unprotected; head: PEERS_ONLY = each peer has its own
    ("under", "i4"),  # egress interface of its destination (row of `ifs`)
    ("id_row", "i4"),  # row of `ip_id`; errors that this router makes take the row behind it
    ("key", "u4"),
    ("next_seq", "u4", STATE), ("top_seq", "u4", STATE),  # next to send; highest received
    ("vrf", "u2"),  # front-door VRF: where its own packets are routed and come from
    ("fam", "u1"),  # of the delivery header
    ("options", "u1"),  # bit 0 checksum, 1 key, 2 sequence numbers
    ("hdr_len", "u1"),  # bytes of `hdr` in use
    ("copy_tos", "u1"), ("copy_df", "u1"),  # `tunnel path-mtu-discovery` copies DF
    ("df", "u1"),  # 0 copy, 1 clear, 2 set: `crypto ipsec df-bit` of a protected tunnel
    ("started", "u1", STATE),  # a sequence number was received
    ("multi", "u1"),  # 1 = head of a multipoint tunnel: `nbma` says which row a packet goes by
    ("cast", "i4"),  # head: row that multicast goes by, -1 = none
    ("lens", "i4"), ("lens_n", "i4"),  # head: its rows of `nbma_len`, longest prefixes first
    ("next", "i4"),  # chain of its hash bucket, -1 ends
    ("hdr", "u1", (64,)),  # delivery header and GRE header as sent, network order
]  # fmt: skip

NBMA = [  # an `ip nhrp map` entry: next hops in a prefix are reached by one peer
    ("hop0", "u8"), ("hop1", "u8"),  # address of the prefix, host bits zero
    ("head", "i4"),  # row of `tun` of its interface
    ("tun", "i4"),  # row of `tun` of the peer
    ("len", "i4"),  # row of `nbma_len`
    ("next", "i4"),  # chain of its hash bucket, -1 ends
]  # fmt: skip

NBMA_LEN = [("mask0", "u8"), ("mask1", "u8"), ("fam", "i8")]  # a prefix length that a multipoint tunnel has maps of

ICMP_LIMIT = [  # token bucket of one class of ICMP errors, in packet time
    ("interval", "i8"),  # ns for a token, 0 = no limit
    ("burst", "i8"),  # tokens that it holds
    ("tokens", "i8", STATE),
    ("since", "i8", STATE),  # ns: when `tokens` was right
    ("started", "i8", STATE),
]  # fmt: skip

RSM = [  # a reassembly table: see reassemble.py
    ("head", "i8", STATE), ("tail", "i8", STATE),  # bytes ever appended to, and freed from, the ring of fragments
    ("ctx_head", "i8", STATE), ("ctx_tail", "i8", STATE),  # datagrams ever begun; oldest that may be waiting
    ("now", "i8", STATE),  # latest ns seen
    ("waiting", "i8", STATE),  # datagrams that wait for fragments
    ("held", "i8", STATE),  # fragments that wait
    ("merged", "i8", COUNTER), ("whole", "i8", COUNTER),  # fragments that were put together, into so many datagrams
    ("turn", "i8", SCRATCH),  # `head` when the turn of the driver began
    ("timeout", "i8"),  # ns
    ("per_source", "i8"), ("per_datagram", "i8"),  # limits: waiting datagrams a source, fragments a datagram
    ("ring_at", "i8"), ("ring_size", "i8"),  # its bytes of `rsm_ring`
    ("ctx_at", "i8"), ("ctx_n", "i8"),  # its rows of `rsm_ctx`
    ("hash_at", "i8"), ("hash_n", "i8"),  # its words of `rsm_hash`
    ("src_at", "i8"), ("src_n", "i8"),  # its words of `rsm_src`
]  # fmt: skip

RSM_CTX = [  # one datagram that waits for fragments
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),
    ("id", "u4"), ("where", "u4"),  # identification; protocol, family and routing table in one word
    ("begun", "i8"),  # ns
    ("first", "i8"), ("last", "i8"),  # ring positions of its fragments by offset, -1 = none
    ("number", "i8"),  # ctx_head when it began: tells a reused row from its former self
    ("have", "i4"), ("total", "i4"),  # payload bytes there; in all, -1 = the last fragment is not there
    ("next", "i4"),  # chain of its hash bucket, -1 ends
    ("count", "i4"),  # fragments
    ("state", "i4"),  # 0 free, 1 waiting
    ("pad", "i4"),
]  # fmt: skip

VFR = [  # ports of a datagram whose first fragment went by, for those that follow
    ("src0", "u8"), ("src1", "u8"), ("dst0", "u8"), ("dst1", "u8"),
    ("id", "u4"), ("where", "u4"),
    ("ts", "i8"),
    ("sport", "u2"), ("dport", "u2"), ("used", "u4"),
]  # fmt: skip

VERDICT_FIELDS = (  # one row an input frame, gathered by `deliver`; the Arrow schema is made from this
    _f("frame", "i8", "record number in the source, from 0"),
    _f("ts", "i8", "ns since 1970-01-01 UTC"),
    _f("in_if", "i4", "ingress interface"),
    _f("out_if", "i4", "egress interface, -1 = none"),
    _f("verdict", "u1", "forwarded, dropped, consumed, punted, bypassed, queued"),
    _f("cause", "u1", "name from drops.py, null unless dropped"),
    _f("stage", "u1", "stage that decided"),
    _f("sa", "i4", "SA handle: the SA that numbered or opened a packet, -1 = none"),
    _f("spi", "u4", "SPI, 0 = none"),
    _f("seq", "u8", "sequence number with the inferred high half, 0 = none"),
    _f("sns", "u1", "sequence-number space"),
    _f("cls", "u1", "class of the egress policy: its queue"),
    _f("len_in", "u4", "bytes of the frame on the wire"),
    _f("len_out", "u4", "bytes of IP sent"),
    _f("first_out", "i8", "record number of the first output frame, -1 = none"),
    _f("n_out", "i4", "output frames"),
)

# ------------------------------------------------------------------------------------- tables, all of them
TABLES: dict[str, object] = {  # rows; or (rows, what all of a row is)
    "ctl": ("i8", STATE),  # see CTL_ numbers
    "sa": SA,
    "sa_out": SA_OUT,
    "sa_in": SA_IN,
    "life": LIFE,
    "told_out": ("i4", SCRATCH),  # outbound SAs with events
    "told_in": ("i4", SCRATCH),  # inbound ones: apart, because `commit` of the next vectors may run beside `sequence`
    "win": ("u8", STATE),  # replay bitmaps, N/64 words an inbound SA
    "ctx": "u1",  # crypto contexts, CONTEXT bytes each
    "keys": "u1",  # key material, KEYS bytes each
    "classes": "u1",  # class of an output policy by family and DSCP: CLASSES_ROW bytes a policy
    "sns_out": ("u8", STATE),  # next number of each space of an outbound SA
    "sns_in": SNS_IN,
    "awaited": AWAITED,
    "sel_of": "i4",  # row of `sel` of an SA, -1 = it states none; with key files alone
    "sel": SEL,
    "sad": SAD_SLOT,
    "spd": SPD,
    "tup": TUPLE,
    "ace": ACE,
    "spdh": "i4",  # hash buckets: first rule of a chain, -1 = empty
    "sp": SP,
    "fib_root": FIB_ROOT,
    "fib_direct": "u4",  # entries: FIB_INNER and a row of `fib_node`, or as in `fib_leaf`
    "fib_node": FIB_NODE,
    "fib_leaf": "u4",  # 1 + row of `adj`; 0 = no route
    "adj": ADJ,
    "ifs": IFS,
    "ip_id": ("u4", STATE),
    "tun": TUN,
    "tunh": "i4",  # hash buckets of tunnels: first row, -1 = empty
    "nbma": NBMA,
    "nbmah": "i4",  # hash buckets of `nbma`: first row, -1 = empty
    "nbma_len": NBMA_LEN,
    "sad_out": SAD_SLOT,  # outbound SAs by (SPI, peer, protocol): whom an ICMP error is about
    "icmp": ICMP_LIMIT,  # rows: see icmp.CLASS_
    "rsm": RSM,  # rows: 0 in front of decryption, 1 behind it
    "rsm_ctx": (RSM_CTX, STATE),
    "rsm_hash": ("i4", STATE),  # first row of `rsm_ctx` in a bucket, -1 = empty
    "rsm_src": ("u2", STATE),  # waiting datagrams by hash of their source
    "rsm_ring": ("u1", STATE),  # fragments: see reassemble.py
    "rsm_undo": ("i8", SCRATCH),  # journal of the turn: what to put back when rows are given back to the source
    "vfr": (VFR, STATE),
    "counters": "u1",  # AES counter blocks 1, 2, 3 ..., 16 bytes each, big-endian
    "seal": ("i8", SCRATCH),  # stage addresses by sealer number
    "open": ("i8", SCRATCH),
    "fia": ("i8", SCRATCH),  # addresses of the stages in order
    "steps": ("i8", SCRATCH),  # addresses of what several stages do to one row: see STEP_
    "makers": ("i8", SCRATCH),  # callbacks that compile what `steps`, then `fia`, do not hold yet: see jit.made
    "fia_list": ("i8", SCRATCH),  # LIST_ number of the list that each stage walks
    "fia_serial": ("i8", SCRATCH),  # ticket number of a serial stage, -1 = may run in any order
    "ticket": ("i8", SCRATCH),  # 8 words apart: next vector that each serial part admits
    "walk": ("i8", SCRATCH),  # state of the walk over the source: see capture.W_
    "links": ("i8", SCRATCH),  # pcapng interfaces: see capture.L_
    "out": ("u1", SCRATCH),  # output block
    "causes": ("u8", COUNTER),  # packets by drop cause
    "pieces": ("u8", COUNTER),  # by cause: packets dropped beyond the one that a frame's verdict counts
    "late": ("u8", COUNTER),  # fragments by the cause for which they were lost after they had been taken in
    "cause_bytes": ("u8", COUNTER),
    "verdicts": ("u8", COUNTER),  # packets by verdict
    "noted": ("u8", COUNTER),  # frames by space and number (dissect_words): what was not looked into, and offload
    "stats": ("u8", COUNTER),  # see STAT_
    **{"v_" + f.name: (f.dtype, SCRATCH) for f in VERDICT_FIELDS},
}

(CTL_GEN, CTL_SAD_MASK, CTL_SPDH_MASK, CTL_FIA_N, CTL_ROWS, CTL_OUT_POS, CTL_OUT_SEQ, CTL_OUT_KIND, CTL_V_POS,
 CTL_V_ON, CTL_CUT_VECTOR, CTL_NEXT, CTL_LAST, CTL_WILD,
 CTL_MODE, CTL_IN_IF, CTL_NATT, CTL_KEEP_CLEAR,
 CTL_OUT_LIMIT, CTL_PREFETCH, CTL_ROOM, CTL_MSS, CTL_FRAME_ROWS, CTL_DUE, CTL_V6_OFF, CTL_TUNS, CTL_VFR_MASK, CTL_UNDO,
 CTL_SAD_OUT_MASK, CTL_ICMP_ID, CTL_UDP_WHOLE, CTL_TUNH_MASK, CTL_SNS_BITS, CTL_SNS_LSB,
 CTL_POLICIES, CTL_ICMP_ID6, CTL_TOLD_OUT, CTL_TOLD_IN, CTL_SPAN, CTL_BUDGET, CTL_FRAME_COST, CTL_NATT_FROM,
 CTL_AWAITED, CTL_FAILED, CTL_NBMA_MASK, CTL_OFFLOAD) = range(46)  # fmt: skip

NEVER = 2**63 - 1  # ns in ctl[CTL_DUE]: no timer
NO_BUDGET = 2**62  # bytes in ctl[CTL_BUDGET]: a turn may take any number
NO_LIMIT = 2**64 - 1  # bytes that no SA gets to
STEP_CLASSIFY, STEP_HOLD, STEP_SIZE, STEP_THROUGH, STEP_EXPAND, STEP_DISSECT = range(6)
STEPS = 8
FAILED_STAGE, FAILED_CRYPTO, FAILED_UNSEALED = 1, 2, 3  # ctl[CTL_FAILED]: why the run cannot go on; 0 = it can
LIST_ROWS, LIST_RX, LIST_TX, LIST_AH, LIST_SOURCE, LIST_FR, LIST_IC, LIST_TU, LIST_ER = range(9)
MODE_ROUTER, MODE_DECRYPT = 0, 1
OUT_NONE, OUT_PCAP, OUT_PCAPNG, OUT_MEMORY = 0, 1, 2, 3
LINE = 64  # bytes of a cache line
IF_PHYSICAL, IF_VTI, IF_GRE, IF_OTHER, IF_HELD = 0, 1, 2, 3, 4
PEERS_ONLY = -2  # of `tun.sp`
HELD = -1  # `adj.out_if` where no packet may go: see qfp.config.held
FIB_INNER, FIB_COUNT = 1 << 31, 63  # bit of an entry that leads to a node; bits of `inner` that hold a number
(SP_PROTECT, SP_BYPASS, SP_DISCARD, SP_NO_ROUTE, SP_NO_SA, SP_LOCAL, SP_UNSUPPORTED, SP_MISMATCH,
 SP_NOT_IPSEC, SP_TUNNEL, SP_GRE, SP_V6_OFF, SP_MARTIAN, SP_NO_PEER, SP_HELD) = range(15)  # fmt: skip

(STAT_IN, STAT_IN_BYTES, STAT_OUT, STAT_OUT_BYTES, STAT_FRAGMENTS, STAT_ECN_ALARM, STAT_DUMMY, STAT_ICMP,
 STAT_MADE, STAT_ICMP_LOST, STAT_ICMP_LIMITED, STAT_MSS, STAT_HELD_BEFORE) = range(13)  # fmt: skip
STAT_N = 16


def struct(fields: list) -> np.dtype:
    """Packed dtype of a struct row, its size rounded up to whole 64-bit words."""
    packed = np.dtype([f[:-1] if f[-1] in KINDS else f for f in fields])
    spare = -packed.itemsize % 8
    return np.dtype([*packed.descr, ("spare", "u1", (spare,))]) if spare else packed


STRUCTS = {
    "flow": struct(FLOW), "sa": struct(SA), "sa_out": struct(SA_OUT), "sa_in": struct(SA_IN), "sad": struct(SAD_SLOT),
    "ace": struct(ACE), "tup": struct(TUPLE), "spd": struct(SPD), "sp": struct(SP),
    "fib_root": struct(FIB_ROOT), "fib_node": struct(FIB_NODE), "adj": struct(ADJ), "ifs": struct(IFS),
    "tun": struct(TUN), "nbma": struct(NBMA), "nbma_len": struct(NBMA_LEN),
    "icmp": struct(ICMP_LIMIT), "rsm": struct(RSM), "rsm_ctx": struct(RSM_CTX), "vfr": struct(VFR),
    "sns_in": struct(SNS_IN), "life": struct(LIFE), "sel": struct(SEL),
    "awaited": struct(AWAITED),
}  # fmt: skip


def _kinds(spec: object) -> dict[str, str]:
    """What each field of a table is; "" names the rows of a table without fields, or all of them."""
    if isinstance(spec, tuple):
        return {"": spec[1]}
    if isinstance(spec, list):
        return {f[0]: f[-1] if f[-1] in KINDS else CONFIG for f in spec}
    return {"": CONFIG}


def _dtype(spec: object) -> np.dtype:
    if isinstance(spec, tuple):
        spec = spec[0]
    if isinstance(spec, str) and spec in STRUCTS:
        return STRUCTS[spec]
    return struct(spec) if isinstance(spec, list) else np.dtype(spec)  # type: ignore[call-overload]


PACKET_DTYPES = {f.name: _dtype(f.dtype) for f in PACKET_FIELDS}
TABLE_TYPES = {k: _dtype(v) for k, v in TABLES.items()}
TABLE_KINDS = {k: _kinds(v) for k, v in TABLES.items()}


GAP = 192  # bytes between columns: guards, and a step that spreads rows over the cache's sets


def _packet_offsets() -> tuple[dict[str, int], int]:
    """Offset of every column of ROWS_MAX rows behind the start of the block, and the block's size."""
    at = 2 * 8 * len(PACKET_FIELDS) + GAP  # the table of addresses and lengths comes first
    offsets = {}
    for f in PACKET_FIELDS:
        if f.per_row:
            at += -at % 64
            offsets[f.name] = at
            at += ROWS_MAX * f.per_row * PACKET_DTYPES[f.name].itemsize + GAP
    return offsets, at


PACKET_OFFSETS, PACKET_BLOCK = _packet_offsets()
PACKETS_TYPE = table_type("P", PACKET_DTYPES, PACKET_OFFSETS)
TABLES_TYPE = table_type("T", TABLE_TYPES)


def aligned(count: int, dtype: np.dtype | str, align: int = 64) -> np.ndarray:
    """Zeroed array whose first byte lies on a multiple of `align` (64-byte alignment is worth 6 % to GCM)."""
    d = np.dtype(dtype)
    raw = np.zeros(count * d.itemsize + align, np.uint8)
    start = -raw.ctypes.data % align
    return raw[start : start + count * d.itemsize].view(d)


def workspace(flows: int = 16384) -> Block:
    """A fresh workspace: columns of ROWS_MAX rows, arena, scratch, state, and a flow cache of `flows` lines."""
    block = aligned(PACKET_BLOCK, "u1")
    arrays = {}
    for f in PACKET_FIELDS:
        dtype = PACKET_DTYPES[f.name]
        if f.per_row:
            start = PACKET_OFFSETS[f.name]
            arrays[f.name] = block[start : start + ROWS_MAX * f.per_row * dtype.itemsize].view(dtype)
        else:
            arrays[f.name] = aligned(flows if f.name == "flow" else f.size, dtype)
    return Block("P", arrays, block, PACKET_OFFSETS)
