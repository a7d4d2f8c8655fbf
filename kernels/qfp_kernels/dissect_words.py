"""What the dissectors share: names of what may come next, and loads that cannot leave the frame.

A dissector is a function (at, k, end) -> (what, k, end): `at` is the address of the frame, k the offset of the header
to read, `end` the offset behind the last byte that may belong to it. `what` is a space and a number, looked up in
`dissect.TABLE`; GO and the number of a dissector; PLAIN; or `said`: a space and a number to be counted. Offsets only
grow, and every load is checked against `end` and gives -1 beyond it, so no length that is taken from a packet can lead
out of the frame.
"""

import numpy as np

from qfp_kernels.jit import inlined
from qfp_kernels.simd import bswap16i, bswap32i, ld8, ld16, ld32

# Spaces of numbers, the upper half of `what`. Their order is that of qfp.trace.noted.SPACES.
(LINK, ETHERTYPE, PROTOCOL, UDP_PORT, TCP_PORT, PPP, LLC, NLPID, NSH_NEXT, FAMILY, FRAGMENT_OF, WHY, OFFLOAD,
 GO) = range(14)  # fmt: skip
SPACES = GO  # that something is counted in
PLAIN = -1  # holds no IP packet, and is not said: management frames, session control, keepalives
CUT, MALFORMED, DEEP, ENCRYPTED = (WHY << 16 | n for n in range(4))
NO_CHECKSUM, NO_LENGTH = OFFLOAD << 16 | 1, OFFLOAD << 16 | 2

(K_SAID, K_IP, K_ETHERNET, K_TYPED, K_TYPED_PAD, K_LLC, K_SNAP, K_PPP, K_PPP_HDLC, K_PPP_PPPD, K_PPP_MULTILINK,
 K_PPP_BRIDGED, K_FRAME_RELAY, K_BSD, K_ENC, K_PFLOG, K_COOKED, K_COOKED2, K_PKTAP, K_NFLOG, K_PPI, K_RADIOTAP,
 K_PRISM, K_AVS, K_TOKEN_RING, K_WLAN, K_WLAN_PADDED,
 K_PPPOE, K_MPLS, K_GRE, K_ERSPAN3, K_VXLAN, K_NSH, K_GENEVE, K_GTPU, K_TZSP, K_L2TP, K_L2TP3, K_TEREDO,
 K_CAPWAP) = range(40)  # fmt: skip
K_TUNNELS = K_PPPOE  # from here on: what a router does not look into
NOT = 1 << 32  # bit of an answer: this is where the walk ends, though the number is known
LENGTH_MAX = 1500  # of an IEEE 802.3 length field; larger values are EtherTypes


@inlined
def u8(at, k, end):
    return np.int64(ld8(at + k)) if k + 1 <= end else np.int64(-1)


@inlined
def u16(at, k, end):
    return np.int64(bswap16i(ld16(at + k))) if k + 2 <= end else np.int64(-1)


@inlined
def u32(at, k, end):
    return np.int64(bswap32i(ld32(at + k))) if k + 4 <= end else np.int64(-1)


@inlined
def le16(at, k, end):
    return np.int64(ld16(at + k)) if k + 2 <= end else np.int64(-1)


@inlined
def le32(at, k, end):
    return np.int64(ld32(at + k)) if k + 4 <= end else np.int64(-1)


@inlined
def typed(at, k, after, end):
    """What the EtherType at k names, behind it at `after`; a length instead of a type: LLC (IEEE 802.3)."""
    kind = u16(at, k, end)
    if kind < 0:
        return np.int64(CUT), after, end
    if kind <= LENGTH_MAX:
        return np.int64(GO << 16 | K_LLC), after, min(end, after + kind)
    return ETHERTYPE << 16 | kind, after, end


@inlined
def behind(what, k, end):
    """A dissector's answer."""
    return np.int64(what), np.int64(k), np.int64(end)


@inlined
def said(what, k, end):
    """A dissector's answer: known, but not looked into."""
    return np.int64(what | NOT), np.int64(k), np.int64(end)


@inlined
def go(kind, k, end):
    """A dissector's answer: that dissector next."""
    return np.int64(GO << 16 | kind), np.int64(k), np.int64(end)


@inlined
def looks_like_ethernet(at, k, end):
    """Whether an Ethernet header may begin at k: its EtherType is one that carries IP, and what follows agrees.
    For pseudo-wires, which say nothing about what they carry (RFC 4448)."""
    kind, byte = u16(at, k + 12, end), u8(at, k + 14, end)
    if kind == 0x0800 or kind == 0x86DD:
        return byte >> 4 == (4 if kind == 0x0800 else 6)
    if kind == 0x8864:
        return byte == 0x11
    return kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x8847 or kind == 0x0806
