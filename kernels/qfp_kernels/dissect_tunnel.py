"""Dissectors of what carries packets of other hosts. See dissect_words for the contract."""

from qfp_kernels.dissect_words import (
    CUT,
    ETHERTYPE,
    K_ETHERNET,
    K_IP,
    K_PPP,
    LINK,
    MALFORMED,
    NSH_NEXT,
    PLAIN,
    PROTOCOL,
    UDP_PORT,
    behind,
    go,
    looks_like_ethernet,
    said,
    u8,
    u16,
    u32,
)
from qfp_kernels.jit import inlined, outlined

LABELS_MAX = 16  # of an MPLS stack
ERSPAN, WCCP = 0x88BE, 0x883E
TZSP_LINKS = (18, 105), (119, 119), (127, 163)  # encapsulated protocol, link type


@outlined
def pppoe(at, k, end):
    """A PPPoE session (RFC 2516)."""
    head, code, size = u8(at, k, end), u8(at, k + 1, end), u16(at, k + 4, end)
    if size < 0:
        return behind(CUT, k, end)
    if head != 0x11 or code != 0:
        return behind(PLAIN, k, end)
    return go(K_PPP, k + 6, min(end, k + 6 + size))


@outlined
def mpls(at, k, end):
    """Labels down to the bottom of the stack; then IP by its version, or a pseudo-wire (RFC 4385, 4448)."""
    bottom = 0
    for _ in range(LABELS_MAX):
        bottom = u8(at, k + 2, end) & 1
        if u32(at, k, end) < 0:
            return behind(CUT, k, end)
        k += 4
        if bottom:
            break
    if bottom == 0:
        return said(ETHERTYPE << 16 | 0x8847, k, end)
    first = u8(at, k, end) >> 4
    wire = looks_like_ethernet(at, k, end)
    if first == 6 or first == 4:
        total = u16(at, k + 2, end)
        foreign = first == 4 and wire and (total < 20 or total > end - k)  # a MAC address that begins with 4
        return go(K_ETHERNET if foreign else K_IP, k, end)
    if first == 0 and looks_like_ethernet(at, k + 4, end):
        return go(K_ETHERNET, k + 4, end)  # behind a control word
    if first == 1 and not wire:
        return behind(PLAIN, k, end)  # associated channel: OAM
    return go(K_ETHERNET, k, end) if wire else said(ETHERTYPE << 16 | 0x8847, k, end)


@outlined
def gre(at, k, end):
    """GRE (RFC 2784, 2890), of version 1 as PPTP uses it (RFC 2637); ERSPAN I and II; WCCP."""
    flags, kind = u16(at, k, end), u16(at, k + 2, end)
    if kind < 0:
        return behind(CUT, k, end)
    words = (flags >> 12 & 1) + (flags >> 7 & 1 if flags & 7 == 1 else (flags >> 15 & 1) + (flags >> 13 & 1))
    if flags & 7 == 1:
        size = u16(at, k + 4, end)
        start = k + 8 + 4 * words
        return go(K_PPP, start, min(end, start + size)) if size > 0 else behind(PLAIN, k, end)
    if flags & 7 != 0 or flags & 0x4000:  # source routing (RFC 1701) is gone
        return said(PROTOCOL << 16 | 47, k, end)
    start = k + 4 + 4 * words
    if kind == 0:
        return behind(PLAIN, k, end)  # a keepalive
    if kind == ERSPAN:
        return go(K_ETHERNET, start + (8 if flags & 0x1000 else 0), end)  # type I has no header of its own
    if kind == WCCP:
        return go(K_IP, start if u8(at, start, end) >> 4 == 4 else start + 4, end)
    return behind(ETHERTYPE << 16 | kind, start, end)


@outlined
def erspan3(at, k, end):
    """ERSPAN III: twelve bytes, eight more where the last bit says so; the frame type is Ethernet or IP."""
    word = u32(at, k + 8, end)
    if word < 0:
        return behind(CUT, k, end)
    start, kind = k + 12 + 8 * (word & 1), word >> 10 & 31
    if kind == 0:
        return go(K_ETHERNET, start, end)
    return go(K_IP, start, end) if kind == 2 else said(ETHERTYPE << 16 | 0x22EB, k, end)


@outlined
def vxlan(at, k, end):
    """VXLAN (RFC 7348), and with the P flag VXLAN-GPE, whose last byte names what follows."""
    flags, kind = u8(at, k, end), u8(at, k + 3, end)
    if kind < 0:
        return behind(CUT, k, end)
    if flags & 0x08 == 0:
        return said(UDP_PORT << 16 | 4789, k, end)
    return behind(NSH_NEXT << 16 | kind, k + 8, end) if flags & 0x04 else go(K_ETHERNET, k + 8, end)


@outlined
def nsh(at, k, end):
    """Network service header (RFC 8300)."""
    size, kind = (u8(at, k + 1, end) & 0x3F) * 4, u8(at, k + 3, end)
    if kind < 0:
        return behind(CUT, k, end)
    return behind(MALFORMED, k, end) if size < 8 else behind(NSH_NEXT << 16 | kind, k + size, end)


@outlined
def geneve(at, k, end):
    """GENEVE (RFC 8926) with its options."""
    head, kind = u8(at, k, end), u16(at, k + 2, end)
    if kind < 0:
        return behind(CUT, k, end)
    if head >> 6 != 0:
        return said(UDP_PORT << 16 | 6081, k, end)
    return behind(ETHERTYPE << 16 | kind, k + 8 + 4 * (head & 0x3F), end)


@outlined
def gtpu(at, k, end):
    """GTP-U (3GPP TS 29.281) with its extension headers: IP, or an Ethernet PDU session."""
    flags, kind, size = u8(at, k, end), u8(at, k + 1, end), u16(at, k + 2, end)
    if size < 0:
        return behind(CUT, k, end)
    if flags & 0xF0 != 0x30 or kind != 255:
        return behind(PLAIN, k, end)
    end = min(end, k + 8 + size)
    start = k + 8
    if flags & 7:
        start = k + 12
        more = u8(at, k + 11, end) if flags & 4 else 0
        for _ in range(16):
            if more <= 0:
                break
            length = 4 * u8(at, start, end)
            if length < 4:
                return behind(MALFORMED, start, end)
            start += length
            more = u8(at, start - 1, end)
    version = u8(at, start, end) >> 4
    if version == 4 or version == 6:
        return go(K_IP, start, end)
    return go(K_ETHERNET, start, end) if looks_like_ethernet(at, start, end) else said(UDP_PORT << 16 | 2152, k, end)


@outlined
def tzsp(at, k, end):
    """TaZmen sniffer protocol: tagged fields, then Ethernet or a wireless frame."""
    head, kind = u8(at, k + 1, end), u16(at, k + 2, end)
    if kind < 0:
        return behind(CUT, k, end)
    if head > 1:
        return behind(PLAIN, k, end)
    k += 4
    for _ in range(256):
        tag = u8(at, k, end)
        if tag < 0:
            return behind(CUT, k, end)
        k += 1 if tag <= 1 else 2 + max(u8(at, k + 1, end), 0)
        if tag == 1:
            break
    if kind == 1:
        return go(K_ETHERNET, k, end)
    for number, link in TZSP_LINKS:
        if kind == number:
            return behind(LINK << 16 | link, k, end)
    return said(UDP_PORT << 16 | 37008, k, end)


@inlined
def _session(at, k, end):
    """L2TPv3 data behind the session id: cookie (0, 4 or 8 bytes) and sublayer (0 or 4) are agreed on in signalling, so
    the first place is taken where an Ethernet header makes sense."""
    for skip in range(0, 16, 4):
        if looks_like_ethernet(at, k + skip, end):
            return go(K_ETHERNET, k + skip, end)
    return said(PROTOCOL << 16 | 115, k, end)


@outlined
def l2tp3(at, k, end):
    """L2TPv3 over IP (RFC 3931): session 0 is the control channel."""
    session = u32(at, k, end)
    return behind(CUT, k, end) if session < 0 else behind(PLAIN, k, end) if session == 0 else _session(at, k + 4, end)


@outlined
def l2tp(at, k, end):
    """L2TP data over UDP: version 2 carries PPP (RFC 2661), version 3 as over IP."""
    flags = u16(at, k, end)
    if flags < 0:
        return behind(CUT, k, end)
    if flags & 0x8000:
        return behind(PLAIN, k, end)
    if flags & 15 == 3:
        return _session(at, k + 8, end)
    if flags & 15 != 2:
        return said(UDP_PORT << 16 | 1701, k, end)
    k += 6 + 2 * (flags >> 14 & 1) + 4 * (flags >> 11 & 1)
    if flags & 0x0200:
        k += 2 + max(u16(at, k, end), 0)
    return go(K_PPP, k, end)


@outlined
def teredo(at, k, end):
    """Teredo (RFC 4380): authentication and origin indications, then IPv6."""
    if u16(at, k, end) == 1:
        k += 13 + max(u8(at, k + 2, end), 0) + max(u8(at, k + 3, end), 0)
    if u16(at, k, end) == 0:
        k += 8
    if k >= end:
        return behind(CUT, k, end)
    return go(K_IP, k, end) if u8(at, k, end) >> 4 == 6 else behind(PLAIN, k, end)


@outlined
def capwap(at, k, end):
    """CAPWAP data (RFC 5415): a wireless frame or Ethernet; DTLS, keepalives and fragments are not looked into."""
    word = u32(at, k, end)
    if word < 0:
        return behind(CUT, k, end)
    if word >> 24 != 0 or word & 0x80:
        return said(UDP_PORT << 16 | 5247, k, end)
    if word & 0x08:
        return behind(PLAIN, k, end)
    start = k + 4 * (word >> 19 & 31)
    return behind(LINK << 16 | 105, start, end) if word & 0x100 else go(K_ETHERNET, start, end)
