"""dissect: find the IP packet that matters behind whatever a capture puts in front of it.

The usual frames never come here: `parse` and `observe` know Ethernet, VLAN tags and raw IP themselves and ask for the
rest (STEP_DISSECT, compiled when the first such frame comes). One walk serves all commands that read captures:
1. `TABLE` says which dissector goes on after a link type, EtherType, IP protocol, UDP port, PPP protocol, NLPID
2. `_turn` calls it: a small function of `dissect_link` or `dissect_tunnel`, or none where skipping bytes will do
3. a dissector answers with what comes next (a space and a number, for the next look into `TABLE`) and where
4. `dissect` ends at ESP, AH or UDP on the NAT-T port; at something that holds no IP; or at something that is not
   known, which is the answer then, to be counted by space and number

To add an encapsulation, add a row; where skipping bytes is not enough, a function and its line in `_turn`.
A router is only shown what its capture put in front of a packet: it does not look into tunnels (see K_TUNNELS).
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.dissect_link import (
    avs,
    bsd,
    cooked,
    cooked2,
    enc,
    frame_relay,
    llc,
    nflog,
    pflog,
    pktap,
    ppi,
    ppp,
    ppp_bridged,
    ppp_hdlc,
    ppp_multilink,
    ppp_pppd,
    prism,
    radiotap,
    snap,
    token_ring,
    wlan,
)
from qfp_kernels.dissect_tunnel import (
    capwap,
    erspan3,
    geneve,
    gre,
    gtpu,
    l2tp,
    l2tp3,
    mpls,
    nsh,
    pppoe,
    teredo,
    tzsp,
    vxlan,
)
from qfp_kernels.dissect_words import (
    CUT,
    DEEP,
    ETHERTYPE,
    FRAGMENT_OF,
    GO,
    K_AVS,
    K_BSD,
    K_CAPWAP,
    K_COOKED,
    K_COOKED2,
    K_ENC,
    K_ERSPAN3,
    K_ETHERNET,
    K_FRAME_RELAY,
    K_GENEVE,
    K_GRE,
    K_GTPU,
    K_IP,
    K_L2TP,
    K_L2TP3,
    K_LLC,
    K_MPLS,
    K_NFLOG,
    K_NSH,
    K_PFLOG,
    K_PKTAP,
    K_PPI,
    K_PPP,
    K_PPP_BRIDGED,
    K_PPP_HDLC,
    K_PPP_MULTILINK,
    K_PPP_PPPD,
    K_PPPOE,
    K_PRISM,
    K_RADIOTAP,
    K_SAID,
    K_SNAP,
    K_TEREDO,
    K_TOKEN_RING,
    K_TUNNELS,
    K_TYPED,
    K_TYPED_PAD,
    K_TZSP,
    K_VXLAN,
    K_WLAN,
    K_WLAN_PADDED,
    LINK,
    MALFORMED,
    NLPID,
    NOT,
    NSH_NEXT,
    PLAIN,
    PPP,
    PROTOCOL,
    TCP_PORT,
    UDP_PORT,
    typed,
    u8,
    u16,
)
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import CTL_MODE, CTL_NATT_FROM, MODE_DECRYPT, ST_NOTED, ST_RESULT

DEPTH_MAX = 24  # dissectors that one frame may pass through: QinQ, MPLS, GRE and IP in IP come to a dozen
HEADERS_MAX = 8  # IPv6 extension headers that are walked, as in `parse`
FOUND = -2  # what `dissect` says of ESP, AH and UDP on the NAT-T port
SOURCE = 1 << 32  # bit of `which`: the frame is read where it lies in the source, not in the arena
ESP, AH, UDP, TCP, NATT = 50, 51, 17, 6, 4500

# (space, number, dissector, bytes to skip before it). K_SAID: known to carry packets, not looked into, and counted.
_ROWS = (
    (LINK, 0, K_BSD, 0), (LINK, 108, K_BSD, 0),
    (LINK, 1, K_ETHERNET, 0), (LINK, 240, K_ETHERNET, 4), (LINK, 241, K_ETHERNET, 12), (LINK, 274, K_ETHERNET, 8),
    (LINK, 6, K_TOKEN_RING, 0), (LINK, 8, K_IP, 16), (LINK, 10, K_LLC, 13), (LINK, 100, K_LLC, 0),
    (LINK, 122, K_LLC, 16), (LINK, 123, K_LLC, 4), (LINK, 138, K_TYPED, 16), (LINK, 242, K_TYPED_PAD, 40),
    (LINK, 9, K_PPP_HDLC, 0), (LINK, 50, K_PPP_HDLC, 0), (LINK, 51, K_PPPOE, 0), (LINK, 166, K_PPP_PPPD, 0),
    (LINK, 204, K_PPP, 1), (LINK, 104, K_TYPED, 2), (LINK, 205, K_TYPED, 3),
    (LINK, 107, K_FRAME_RELAY, 0), (LINK, 206, K_FRAME_RELAY, 1), (LINK, 219, K_MPLS, 0),
    (LINK, 12, K_IP, 0), (LINK, 14, K_IP, 0), (LINK, 101, K_IP, 0), (LINK, 228, K_IP, 0), (LINK, 229, K_IP, 0),
    (LINK, 105, K_WLAN, 0), (LINK, 119, K_PRISM, 0), (LINK, 127, K_RADIOTAP, 0), (LINK, 163, K_AVS, 0),
    (LINK, 192, K_PPI, 0), (LINK, 109, K_ENC, 0), (LINK, 117, K_PFLOG, 0), (LINK, 113, K_COOKED, 0),
    (LINK, 276, K_COOKED2, 0), (LINK, 149, K_PKTAP, 0), (LINK, 258, K_PKTAP, 0), (LINK, 239, K_NFLOG, 0),
    (ETHERTYPE, 0x0800, K_IP, 0), (ETHERTYPE, 0x86DD, K_IP, 0),
    (ETHERTYPE, 0x8100, K_TYPED, 2), (ETHERTYPE, 0x88A8, K_TYPED, 2), (ETHERTYPE, 0x9100, K_TYPED, 2),
    (ETHERTYPE, 0x9200, K_TYPED, 2), (ETHERTYPE, 0x9300, K_TYPED, 2),
    (ETHERTYPE, 0x8864, K_PPPOE, 0), (ETHERTYPE, 0x8847, K_MPLS, 0), (ETHERTYPE, 0x8848, K_MPLS, 0),
    (ETHERTYPE, 0x6558, K_ETHERNET, 0), (ETHERTYPE, 0x88E7, K_ETHERNET, 4),  # TEB; 802.1ah
    (ETHERTYPE, 0x8909, K_TYPED, 6), (ETHERTYPE, 0x893F, K_TYPED, 6), (ETHERTYPE, 0x8926, K_TYPED, 4),  # CMD, tags
    (ETHERTYPE, 0x880B, K_PPP, 0), (ETHERTYPE, 0x22EB, K_ERSPAN3, 0), (ETHERTYPE, 0x894F, K_NSH, 0),
    (PROTOCOL, 4, K_IP, 0), (PROTOCOL, 41, K_IP, 0), (PROTOCOL, 94, K_IP, 0), (PROTOCOL, 47, K_GRE, 0),
    (PROTOCOL, 97, K_ETHERNET, 2), (PROTOCOL, 115, K_L2TP3, 0), (PROTOCOL, 137, K_MPLS, 0),
    (UDP_PORT, 1701, K_L2TP, 0), (UDP_PORT, 2152, K_GTPU, 0), (UDP_PORT, 3544, K_TEREDO, 0),
    (UDP_PORT, 4341, K_IP, 8), (UDP_PORT, 4754, K_GRE, 0), (UDP_PORT, 4789, K_VXLAN, 0), (UDP_PORT, 4790, K_VXLAN, 0),
    (UDP_PORT, 5247, K_CAPWAP, 0), (UDP_PORT, 6081, K_GENEVE, 0), (UDP_PORT, 6343, K_SAID, 0),
    (UDP_PORT, 6635, K_MPLS, 0), (UDP_PORT, 8472, K_VXLAN, 0), (UDP_PORT, 37008, K_TZSP, 0),
    (UDP_PORT, 51820, K_SAID, 0),
    (TCP_PORT, 4500, K_SAID, 0),  # RFC 8229: the stream would have to be put together
    (PPP, 0x0021, K_IP, 0), (PPP, 0x0057, K_IP, 0), (PPP, 0x0281, K_MPLS, 0), (PPP, 0x0283, K_MPLS, 0),
    (PPP, 0x003D, K_PPP_MULTILINK, 0), (PPP, 0x0031, K_PPP_BRIDGED, 0),
    (NLPID, 0xCC, K_IP, 0), (NLPID, 0x8E, K_IP, 0), (NLPID, 0x80, K_SNAP, 0), (NLPID, 0xCF, K_PPP, 0),
    (NSH_NEXT, 1, K_IP, 0), (NSH_NEXT, 2, K_IP, 0), (NSH_NEXT, 3, K_ETHERNET, 0), (NSH_NEXT, 4, K_NSH, 0),
    (NSH_NEXT, 5, K_MPLS, 0),
)  # fmt: skip
TABLE = np.array(sorted((space << 16 | number, kind, skip) for space, number, kind, skip in _ROWS), np.int64)
ROWS = len(TABLE)
CARRIER_PORTS = tuple(number for space, number, _, _ in _ROWS if space == UDP_PORT)
LOW_BITS = np.uint64(sum({1 << (port & 63) for port in CARRIER_PORTS}))
HIGH_BITS = np.uint64(sum({1 << (port >> 6 & 63) for port in CARRIER_PORTS}))
U0, U1, U6, U63 = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)
# IP protocols that hold no packet of another host: ICMP, IGMP, RSVP, OSPF, … Any other is counted as not looked into.
PLAIN_PROTOCOLS = (1, 2, 6, 17, 33, 46, 58, 59, 88, 89, 103, 112, 132, 136)


@inlined
def _row_of(what):
    """Row of TABLE for a space and number, -1 = none."""
    low, high = 0, ROWS
    while low < high:
        middle = (low + high) >> 1
        if TABLE[middle, 0] < what:
            low = middle + 1
        else:
            high = middle
    return low if low < ROWS and TABLE[low, 0] == what else -1


@inlined
def _maybe(port):
    """Whether a port may be one of CARRIER_PORTS: two looks into a word each, 4 % of all ports pass."""
    return (LOW_BITS >> (port & U63)) & (HIGH_BITS >> (port >> U6 & U63)) & U1


@inlined
def may_carry(proto, sport, dport):
    """A quick no for clear packets of TCP and UDP to what `carries` tells exactly."""
    if proto == UDP:
        return (_maybe(np.uint64(sport)) | _maybe(np.uint64(dport))) != U0
    return proto != TCP or sport == NATT or dport == NATT


@outlined
def carries(proto, sport, dport):
    """Whether a packet without ESP or AH of its own is one that `dissect` has something to say about."""
    if proto == UDP:
        return sport in CARRIER_PORTS or dport in CARRIER_PORTS
    if proto == TCP:
        return sport == NATT or dport == NATT
    return proto not in PLAIN_PROTOCOLS


# -------------------------------------------------------------------------------------------------------- IP
@outlined
def _ip4(at, k, end):
    """(what the IPv4 header at k names, where that begins, end of the packet, fragment: 0 none, 1 first, 2 later)."""
    if k + 20 > end:
        return CUT, k, end, 0
    ihl, total = (u8(at, k, end) & 15) * 4, u16(at, k + 2, end)
    if ihl < 20 or (total < ihl and total != 0):
        return MALFORMED, k, end, 0
    if total != 0:  # 0: segmentation offload, the frame is the packet
        end = min(end, k + total)
    word = u16(at, k + 6, end)
    fragment = 2 if word & 0x1FFF else 1 if word & 0x2000 else 0
    return PROTOCOL << 16 | u8(at, k + 9, end), k + ihl, end, fragment


@outlined
def _ip6(at, k, end):
    """The same of an IPv6 header, behind its extension headers."""
    if k + 40 > end:
        return CUT, k, end, 0
    total, proto, fragment = u16(at, k + 4, end), u8(at, k + 6, end), 0
    if total != 0:
        end = min(end, k + 40 + total)
    k += 40
    for _ in range(HEADERS_MAX):
        if proto != 0 and proto != 43 and proto != 44 and proto != 60 and proto != 135:
            break
        if k + 8 > end:
            return CUT, k, end, 0
        size = 8 if proto == 44 else (u8(at, k + 1, end) + 1) * 8
        if proto == 44:
            word = u16(at, k + 2, end)
            fragment = 2 if word & 0xFFF8 else 1 if word & 1 else 0
        proto = u8(at, k, end)
        k += size
        if fragment == 2:
            break
    return PROTOCOL << 16 | proto, k, end, fragment


@outlined
def _ip(at, k, end):
    version = u8(at, k, end) >> 4
    if version == 4:
        return _ip4(at, k, end)
    if version == 6:
        return _ip6(at, k, end)
    return CUT if k >= end else MALFORMED, k, end, 0


@outlined
def _upper(at, k, end, what, fragment, natt):
    """(FOUND, PLAIN or what comes next, and where) behind an IP header that names `what`."""
    proto = what & 0xFFFF
    if proto in (ESP, AH):
        return FOUND, k
    if fragment == 2:
        return PLAIN if proto in PLAIN_PROTOCOLS else FRAGMENT_OF << 16 | proto, k
    if proto in (UDP, TCP):
        sport, dport = u16(at, k, end), u16(at, k + 2, end)
        if dport < 0:
            return CUT, k
        if proto == TCP:
            return TCP_PORT << 16 | NATT if sport == NATT or dport == NATT else PLAIN, k
        if sport == natt or dport == natt:
            return FOUND, k
        what = UDP_PORT << 16 | dport
        if _row_of(what) < 0:
            what = UDP_PORT << 16 | sport
        length = u16(at, k + 4, end)
        return what if _row_of(what) >= 0 and length >= 8 else PLAIN, k + 8
    return PLAIN if proto in PLAIN_PROTOCOLS else what, k


# ------------------------------------------------------------------------------------------------------ walk
@outlined
def _turn_link(kind, at, k, end):
    """What comes behind the header of a link layer at k: (what, where, end)."""
    if kind == K_ETHERNET:
        return typed(at, k + 12, k + 14, end)
    if kind == K_TYPED:
        return typed(at, k, k + 2, end)
    if kind == K_TYPED_PAD:
        return typed(at, k, k + 4, end)
    if kind == K_LLC:
        return llc(at, k, end)
    if kind == K_SNAP:
        return snap(at, k, end)
    if kind == K_PPP:
        return ppp(at, k, end)
    if kind == K_PPP_HDLC:
        return ppp_hdlc(at, k, end)
    if kind == K_PPP_PPPD:
        return ppp_pppd(at, k, end)
    if kind == K_PPP_MULTILINK:
        return ppp_multilink(at, k, end)
    if kind == K_PPP_BRIDGED:
        return ppp_bridged(at, k, end)
    if kind == K_FRAME_RELAY:
        return frame_relay(at, k, end)
    if kind == K_BSD:
        return bsd(at, k, end)
    if kind == K_ENC:
        return enc(at, k, end)
    if kind == K_PFLOG:
        return pflog(at, k, end)
    if kind == K_COOKED:
        return cooked(at, k, end)
    if kind == K_COOKED2:
        return cooked2(at, k, end)
    return _turn_radio(kind, at, k, end)


@outlined
def _turn_radio(kind, at, k, end):
    """The same of pseudo-headers and wireless LANs."""
    if kind == K_PKTAP:
        return pktap(at, k, end)
    if kind == K_NFLOG:
        return nflog(at, k, end)
    if kind == K_PPI:
        return ppi(at, k, end)
    if kind == K_RADIOTAP:
        return radiotap(at, k, end)
    if kind == K_PRISM:
        return prism(at, k, end)
    if kind == K_AVS:
        return avs(at, k, end)
    if kind == K_TOKEN_RING:
        return token_ring(at, k, end)
    return wlan(at, k, end, kind == K_WLAN_PADDED)


@outlined
def _turn_tunnel(kind, at, k, end):
    """The same of what carries the packets of others."""
    if kind == K_PPPOE:
        return pppoe(at, k, end)
    if kind == K_MPLS:
        return mpls(at, k, end)
    if kind == K_GRE:
        return gre(at, k, end)
    if kind == K_ERSPAN3:
        return erspan3(at, k, end)
    if kind == K_VXLAN:
        return vxlan(at, k, end)
    if kind == K_NSH:
        return nsh(at, k, end)
    if kind == K_GENEVE:
        return geneve(at, k, end)
    if kind == K_GTPU:
        return gtpu(at, k, end)
    if kind == K_TZSP:
        return tzsp(at, k, end)
    if kind == K_L2TP:
        return l2tp(at, k, end)
    if kind == K_L2TP3:
        return l2tp3(at, k, end)
    if kind == K_TEREDO:
        return teredo(at, k, end)
    return capwap(at, k, end)


@outlined
def dissect(at, link, cap, deep, natt):
    """Walk a frame of `cap` bytes at an address.

    Returns (outcome, offset of the IP header, end of what it may take, offset of the outermost IP header or -1, its
    end). outcome: FOUND; PLAIN; or a space and number that were not looked into. deep: look into tunnels; without it
    the outermost IP header is what is sought. natt: UDP port of ESP.
    """
    what, k, end = LINK << 16 | np.int64(link), np.int64(0), np.int64(cap)
    first, first_end, partial = np.int64(-1), np.int64(0), np.int64(0)
    for _ in range(DEPTH_MAX):
        kind = what & 0xFFFF
        if what >> 16 != GO:
            row = _row_of(what)
            if row < 0:
                return what, k, end, first, first_end
            kind, k = TABLE[row, 1], k + TABLE[row, 2]
        if kind == K_SAID or (not deep and kind >= K_TUNNELS):
            return what, k, end, first, first_end
        if k >= end:
            return np.int64(CUT), k, end, first, first_end
        if kind == K_IP:
            here, here_end = k, end
            what, k, end, fragment = _ip(at, k, end)
            proto = what & 0xFFFF
            if first < 0 and what >> 16 == PROTOCOL:
                first, first_end = here, here_end
            if not deep:
                return FOUND if first >= 0 else what, here, here_end, first, first_end
            if what >> 16 == PROTOCOL:
                what, k = _upper(at, k, end, what, fragment, natt)
                if what == FOUND:
                    return partial if partial != 0 else FOUND, here, here_end, first, first_end
            if fragment == 1 and what >= 0 and partial == 0:
                partial = FRAGMENT_OF << 16 | proto
        elif kind >= K_TUNNELS:
            what, k, end = _turn_tunnel(kind, at, k, end)
        else:
            what, k, end = _turn_link(kind, at, k, end)
        if what < 0 or what & NOT:
            return np.int64(PLAIN) if what < 0 else what ^ NOT, k, end, first, first_end
    return np.int64(DEEP), k, end, first, first_end


# ---------------------------------------------------------------------------------------------------- the step
@inlined
def note(p, i, what):
    """Have `deliver` count something about row i: a space and number (dissect_words)."""
    n = p.st[ST_NOTED]
    p.noted_row[n] = np.int32(i)
    p.noted[n] = np.int32(what)
    p.st[ST_NOTED] = n + 1


def dissect_row(p, t, which):
    """The step: find the IP header to look at in the frame of a row (`which`; SOURCE: where it lies in the source).

    Returns its offset in the frame, -1 when there is none; -2 - offset for the outermost header of a clear packet.
    st[ST_RESULT]: end of what the packet may take. What was not looked into is noted, unless this is a router.
    """
    i = which & 0xFFFFFFFF
    at = np.int64(p.src_at[i]) if which & SOURCE else base(p.arena) + np.int64(p.off[i])
    deep = t.ctl[CTL_MODE] == MODE_DECRYPT
    outcome, k, end, first, first_end = dissect(at, p.link[i], p.cap[i], deep, t.ctl[CTL_NATT_FROM])
    if outcome == FOUND:
        p.st[ST_RESULT] = end
        return k
    if deep and outcome >= 0:
        note(p, i, outcome)
    p.st[ST_RESULT] = first_end
    return -2 - first if first >= 0 else np.int64(-1)
