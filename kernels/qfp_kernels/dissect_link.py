"""Dissectors of link layers and of what capture tools put in front of them. See dissect_words for the contract."""

from qfp_kernels.dissect_words import (
    CUT,
    ENCRYPTED,
    ETHERTYPE,
    FAMILY,
    K_AVS,
    K_ETHERNET,
    K_IP,
    K_LLC,
    K_PPP,
    K_SNAP,
    K_TYPED,
    K_WLAN_PADDED,
    LINK,
    LLC,
    MALFORMED,
    NLPID,
    PLAIN,
    PPP,
    behind,
    go,
    le16,
    le32,
    looks_like_ethernet,
    said,
    u8,
    u16,
    u32,
)
from qfp_kernels.jit import inlined, outlined

AF_INET, AF_INET6 = 2, (10, 24, 28, 30)  # Linux; NetBSD and OpenBSD, FreeBSD, Darwin
ARPHRD_80211, ARPHRD_PRISM, ARPHRD_RADIOTAP = 801, 802, 803
ETH_P_802_2 = 4  # protocol of a Linux cooked header: LLC follows
DLT_80211, DLT_PRISM, DLT_RADIOTAP = 105, 119, 127
NFULA_PAYLOAD = 9


# ----------------------------------------------------------------------------------------------- IEEE 802.2
@outlined
def llc(at, k, end):
    """LLC (IEEE 802.2): SNAP, IP itself (SAP 6), ISO network layers (RFC 2427 uses their NLPIDs)."""
    saps, control = u16(at, k, end), u8(at, k + 2, end)
    if control < 0:
        return behind(CUT, k, end)
    if control == 3:
        if saps == 0xAAAA:
            return go(K_SNAP, k + 3, end)
        if saps == 0x0606:
            return go(K_IP, k + 3, end)
        if saps == 0xFEFE and u8(at, k + 3, end) >= 0:
            return behind(NLPID << 16 | u8(at, k + 3, end), k + 4, end)
    return said(LLC << 16 | saps, k, end)


@outlined
def snap(at, k, end):
    """OUI and protocol (RFC 1042); OUI 00-80-C2: a bridged frame (RFC 2427, RFC 2684: with two bytes of padding)."""
    oui, pid = u8(at, k, end) << 16 | u16(at, k + 1, end), u16(at, k + 3, end)
    if pid < 0:
        return behind(CUT, k, end)
    if oui == 0 or oui == 0xF8:
        return behind(ETHERTYPE << 16 | pid, k + 5, end)
    if oui == 0x80C2 and (pid == 1 or pid == 7):
        return go(K_ETHERNET, k + 5 if looks_like_ethernet(at, k + 5, end) else k + 7, end)
    return said(LLC << 16 | 0xAAAA, k, end)


@outlined
def token_ring(at, k, end):
    """IEEE 802.5, with the routing field that the top bit of the source address announces."""
    routed = u8(at, k + 8, end)
    route = u8(at, k + 14, end) & 31 if routed & 0x80 else 0
    return behind(CUT, k, end) if routed < 0 or u8(at, k + 14, end) < 0 else go(K_LLC, k + 14 + route, end)


# ----------------------------------------------------------------------------------------------- serial lines
@outlined
def ppp(at, k, end):
    """PPP (RFC 1661, 1662): address and control may be left out, the protocol field may be one byte."""
    if u16(at, k, end) == 0xFF03:
        k += 2
    kind, size = u8(at, k, end), 1
    if kind >= 0 and kind & 1 == 0:
        kind, size = u16(at, k, end), 2
    if kind < 0:
        return behind(CUT, k, end)
    return behind(PLAIN if kind >= 0x8000 else PPP << 16 | kind, k + size, end)  # from 8000 on: control protocols


@outlined
def ppp_hdlc(at, k, end):
    """PPP in HDLC-like framing, or Cisco HDLC: the address tells (LINKTYPE_PPP_HDLC)."""
    address = u8(at, k, end)
    if address == 0x0F or address == 0x8F:
        return go(K_TYPED, k + 2, end)
    return go(K_PPP, k, end)


@outlined
def ppp_pppd(at, k, end):
    """As pppd on Linux captures it: the direction in place of the address."""
    return go(K_PPP, k + 2 if u8(at, k + 1, end) == 3 else k + 1, end)


@outlined
def ppp_multilink(at, k, end):
    """Multilink PPP with long sequence numbers (RFC 1990): packets that are whole in one fragment."""
    return go(K_PPP, k + 4, end) if u8(at, k, end) & 0xC0 == 0xC0 and end > k + 4 else said(PPP << 16 | 0x3D, k, end)


@outlined
def ppp_bridged(at, k, end):
    """Bridging control protocol (RFC 3518): an Ethernet frame behind flags and MAC type."""
    return go(K_ETHERNET, k + 2, end) if u8(at, k + 1, end) == 1 else said(PPP << 16 | 0x31, k, end)


@outlined
def frame_relay(at, k, end):
    """Q.922 address of two to four bytes, then NLPID (RFC 2427) or an EtherType as Cisco puts it."""
    size = 2
    while size < 4 and u8(at, k + size - 1, end) & 1 == 0:
        size += 1
    k += size
    control = u8(at, k, end)
    if control != 3:
        kind = u16(at, k, end)
        return behind(CUT if kind < 0 else ETHERTYPE << 16 | kind, k + 2, end)
    k += 2 if u8(at, k + 1, end) == 0 else 1  # a pad byte aligns SNAP and OSI
    kind = u8(at, k, end)
    return behind(CUT if kind < 0 else NLPID << 16 | kind, k + 1, end)


# -------------------------------------------------------------------------------------------- pseudo-headers
@inlined
def _family(family, k, end):
    """IP behind an address family of some BSD or of Linux."""
    if family == AF_INET or family in AF_INET6:
        return go(K_IP, k, end)
    return behind(CUT if family < 0 else FAMILY << 16 | (family & 0xFFFF), k, end)


@inlined
def _any_order(at, k, end):
    """An address family of 32 bits in the byte order of whoever captured it."""
    family = le32(at, k, end)
    return u32(at, k, end) if family > 0xFFFF else family


@outlined
def bsd(at, k, end):
    """LINKTYPE_NULL, LINKTYPE_LOOP."""
    return _family(_any_order(at, k, end), k + 4, end)


@outlined
def enc(at, k, end):
    """OpenBSD enc(4): family, SPI, flags."""
    return _family(_any_order(at, k, end), k + 12, end)


@outlined
def pflog(at, k, end):
    """OpenBSD pflog(4): its first byte is the header's length before padding to words."""
    size = u8(at, k, end)
    return _family(u8(at, k + 1, end), k + ((size + 3) & ~3), end)


@inlined
def _by_hardware(at, hardware, k_type, k, end):
    """What a Linux cooked header names: what the interface is comes first, then its protocol field."""
    if hardware == ARPHRD_RADIOTAP:
        return behind(LINK << 16 | DLT_RADIOTAP, k, end)
    if hardware == ARPHRD_80211:
        return behind(LINK << 16 | DLT_80211, k, end)
    if hardware == ARPHRD_PRISM:
        return behind(LINK << 16 | DLT_PRISM, k, end)
    kind = u16(at, k_type, end)
    if kind == ETH_P_802_2:
        return go(K_LLC, k, end)
    return behind(CUT if kind < 0 else ETHERTYPE << 16 | kind, k, end)


@outlined
def cooked(at, k, end):
    """LINKTYPE_LINUX_SLL."""
    return _by_hardware(at, u16(at, k + 2, end), k + 14, k + 16, end)


@outlined
def cooked2(at, k, end):
    """LINKTYPE_LINUX_SLL2."""
    return _by_hardware(at, u16(at, k + 8, end), k, k + 20, end)


@inlined
def _linked(link, k, end):
    """Another link type inside a pseudo-header."""
    return behind(CUT if link < 0 else LINK << 16 | (link & 0xFFFF), k, end)


@outlined
def pktap(at, k, end):
    """Darwin: length of the header, then record type and link type."""
    size = le32(at, k, end)
    return behind(MALFORMED, k, end) if size < 12 else _linked(le32(at, k + 8, end), k + size, end)


@outlined
def ppi(at, k, end):
    """Per-packet information: version, flags, length, link type; little endian."""
    size = le16(at, k + 2, end)
    return behind(MALFORMED, k, end) if size < 8 else _linked(le32(at, k + 4, end), k + size, end)


@outlined
def nflog(at, k, end):
    """Linux netfilter log: TLVs in host order; type numbers are small, which tells the order."""
    k += 4
    swapped = le16(at, k + 2, end) & 0x3FFF > 255
    for _ in range(64):
        size, kind = (u16(at, k, end), u16(at, k + 2, end)) if swapped else (le16(at, k, end), le16(at, k + 2, end))
        if size < 0 or kind < 0:
            return behind(CUT, k, end)
        if size < 4:
            return behind(MALFORMED, k, end)
        if kind & 0x3FFF == NFULA_PAYLOAD:
            return go(K_IP, k + 4, min(end, k + size))
        k += (size + 3) & ~3
    return behind(MALFORMED, k, end)


# ----------------------------------------------------------------------------------------------- wireless LAN
@inlined
def _has_pad(at, k, end):
    """Whether the flags of a radiotap header say that the MAC header is padded to words."""
    word, q = le32(at, k + 4, end), k + 8
    present = word
    for _ in range(8):
        if word < 0 or word & 0x80000000 == 0:
            break
        word = le32(at, q, end)
        q += 4
    if present & 2 == 0:
        return False
    if present & 1:  # TSFT, on a multiple of eight from the header's start
        q = k + ((q - k + 7) & ~7) + 8
    return u8(at, q, end) & 0x20 != 0 if q < end else False


@outlined
def radiotap(at, k, end):
    size = le16(at, k + 2, end)
    if size < 8:
        return behind(MALFORMED, k, end)
    if _has_pad(at, k, min(end, k + size)):
        return go(K_WLAN_PADDED, k + size, end)
    return behind(LINK << 16 | DLT_80211, k + size, end)


@outlined
def prism(at, k, end):
    """Prism monitor header, whose length follows its message code in host order; or AVS under the same number."""
    if u32(at, k, end) >> 12 == 0x80211:
        return go(K_AVS, k, end)
    size = le32(at, k + 4, end)
    if size > 0xFFFF:
        size = u32(at, k + 4, end)
    return behind(MALFORMED, k, end) if size < 8 else behind(LINK << 16 | DLT_80211, k + size, end)


@outlined
def avs(at, k, end):
    size = u32(at, k + 4, end)
    return behind(MALFORMED, k, end) if size < 8 else behind(LINK << 16 | DLT_80211, k + size, end)


@outlined
def wlan(at, k, end, padded):
    """IEEE 802.11 data frames; of an A-MSDU the first packet."""
    control, flags = u8(at, k, end), u8(at, k + 1, end)
    if flags < 0:
        return behind(CUT, k, end)
    if control & 0x0C != 0x08 or control & 0x40:
        return behind(PLAIN, k, end)  # management, control, and data frames without data
    if flags & 0x40:
        return behind(ENCRYPTED, k, end)
    size = 30 if flags & 3 == 3 else 24
    together = False
    if control & 0x80:  # QoS control, then HT control
        together = u8(at, k + size, end) & 0x80 != 0
        size += 6 if flags & 0x80 else 2
    if padded:
        size = (size + 3) & ~3
    if together:
        length = u16(at, k + size + 12, end)
        return go(K_LLC, k + size + 14, min(end, k + size + 14 + length)) if length >= 0 else behind(CUT, k, end)
    return go(K_LLC, k + size, end)
