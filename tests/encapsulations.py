"""Every way in which a capture may carry an IP packet, by name: link type, and what wraps the packet.

Plain bytes, no library. `tshark`: whether tshark looks there with its defaults, too (it guesses what a
pseudo-wire holds by other means, and knows fewer link types).
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from naive import with_checksum

NEAR, FAR = "203.0.113.1", "203.0.113.2"
SPI, KEY = 0x1001, bytes(range(20))
MACS = bytes.fromhex("020000000001020000000002")
Wrap = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Form:
    """One form. `outer`: IP headers in front of the packet's own."""

    name: str
    link: int
    wrap: Wrap
    tshark: bool = True
    outer: int = 0


# -------------------------------------------------------------------------------------------------- packets
def ip4(payload: bytes, proto: int, src: str = NEAR, dst: str = FAR, flags: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, flags, 64, proto, 0)
    return with_checksum(head + ip_address(src).packed + ip_address(dst).packed) + payload


def ip6(payload: bytes, proto: int, src: str = "2001:db8::1", dst: str = "2001:db8::2") -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), proto, 64)
        + ip_address(src).packed
        + ip_address(dst).packed
        + payload
    )


def udp(dport: int, data: bytes, sport: int = 50000) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def esp(number: int, payload: bytes = b"") -> bytes:
    """ESP with NULL and HMAC-SHA1-96 over a small IPv4 packet."""
    inner = payload or ip4(udp(40000 + number, bytes(16)), 17, "10.0.0.1", "10.0.0.2")
    pad = -(len(inner) + 2) % 4
    text = struct.pack("!II", SPI, number) + inner + bytes(range(1, pad + 1)) + bytes([pad, 4])
    return text + hmac.digest(KEY, text, hashlib.sha1)[:12]


def esp_packets(count: int = 4) -> list[bytes]:
    return [ip4(esp(k + 1), 50) for k in range(count)]


# ---------------------------------------------------------------------------------------------------- layers
def of(packet: bytes) -> bytes:
    """EtherType of an IP packet."""
    return b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"


def ether(kind: bytes, rest: bytes) -> bytes:
    return MACS + kind + rest


def ethernet(packet: bytes) -> bytes:
    return ether(of(packet), packet)


def llc_snap(packet: bytes) -> bytes:
    return b"\xaa\xaa\x03\0\0\0" + of(packet) + packet


def vlan(kind: bytes, rest: bytes, tag: int = 7) -> bytes:
    """What comes behind an EtherType 0x8100."""
    return struct.pack("!H", tag) + kind + rest


def ppp_of(packet: bytes) -> bytes:
    return (b"\0\x21" if packet[0] >> 4 == 4 else b"\0\x57") + packet


def pppoe(packet: bytes) -> bytes:
    body = ppp_of(packet)
    return struct.pack("!BBHH", 0x11, 0, 9, len(body)) + body


def labels(rest: bytes, count: int = 1) -> bytes:
    stack = b"".join(struct.pack("!I", (100 + k) << 12 | (k == count - 1) << 8 | 64) for k in range(count))
    return stack + rest


def gre(kind: int, rest: bytes, flags: int = 0) -> bytes:
    words = b"".join(bytes([0, 0, 0, n]) for n, bit in ((1, 0x8000), (2, 0x2000), (3, 0x1000)) if flags & bit)
    return struct.pack("!HH", flags, kind) + words + rest


def pptp(packet: bytes, acknowledged: bool = False) -> bytes:
    body = b"\xff\x03" + ppp_of(packet)
    words = struct.pack("!I", 5) + (struct.pack("!I", 4) if acknowledged else b"")
    return struct.pack("!HHHH", 0x3081 if acknowledged else 0x3001, 0x880B, len(body), 1) + words + body


def vxlan(rest: bytes, flags: int = 8, last: int = 0) -> bytes:
    return struct.pack("!BHBI", flags, 0, last, 42 << 8) + rest


def geneve(kind: int, rest: bytes, options: bytes = b"") -> bytes:
    return struct.pack("!BBHI", len(options) // 4, 0, kind, 42 << 8) + options + rest


def gtpu(rest: bytes, extensions: bool = False) -> bytes:
    more = struct.pack("!HBB", 1, 0, 0x85) + bytes([1, 0x10, 1, 0]) if extensions else b""
    return struct.pack("!BBHI", 0x34 if extensions else 0x30, 255, len(more) + len(rest), 1) + more + rest


def nsh(rest: bytes, kind: int) -> bytes:
    return struct.pack("!BBBBI", 0x0F, 0xC6, 1, kind, 1 << 8) + bytes(16) + rest


def tunnelled(proto: int, head: Callable[[bytes], bytes], link: Wrap = ethernet) -> Wrap:
    """An outer IPv4 header with what `head` makes of the packet."""
    return lambda packet: link(ip4(head(packet), proto, "192.0.2.1", "192.0.2.2"))


def over_udp(port: int, head: Callable[[bytes], bytes]) -> Wrap:
    return tunnelled(17, lambda packet: udp(port, head(packet)))


def wlan(packet: bytes, qos: bool = False, pad: bool = False, four: bool = False) -> bytes:
    head = struct.pack("<BBH", 0x88 if qos else 0x08, 3 if four else 1, 0) + bytes(18) + b"\x10\0"
    head += bytes(6) if four else b""
    head += b"\0\0" if qos else b""
    head += bytes(-len(head) % 4) if pad else b""
    return head + llc_snap(packet)


def radiotap(rest: bytes, pad: bool = False) -> bytes:
    return struct.pack("<BBHI", 0, 0, 17, 0b11) + bytes(8) + (b"\x20" if pad else b"\0") + rest


def amsdu(packet: bytes) -> bytes:
    inside = llc_snap(packet)
    head = struct.pack("<BBH", 0x88, 1, 0) + bytes(20) + b"\x80\0"
    return head + MACS + struct.pack("!H", len(inside)) + inside


def nflog(packet: bytes, order: str = "<") -> bytes:
    out = struct.pack("!BBH", 2, 0, 1) + struct.pack(order + "HH", 8, 1) + b"\x08\0\0\0"
    out += struct.pack(order + "HH", 5, 10) + b"\0" + bytes(3)
    return out + struct.pack(order + "HH", 4 + len(packet), 9) + packet + bytes(-len(packet) % 4)


def pflog(packet: bytes, size: int = 61) -> bytes:
    return (bytes([size, 2]) + bytes((size + 3 & ~3) - 2)) + packet


def sll(hardware: int, kind: bytes, rest: bytes) -> bytes:
    return struct.pack("!HHH8s", 0, hardware, 6, b"") + kind + rest


def sll2(hardware: int, kind: bytes, rest: bytes) -> bytes:
    return kind + struct.pack("!HIHBB8s", 0, 2, hardware, 0, 6, b"") + rest


def pktap(link: int, rest: bytes) -> bytes:
    return struct.pack("<III", 108, 1, link) + bytes(96) + rest


def ppi(link: int, rest: bytes) -> bytes:
    return struct.pack("<BBHI", 0, 0, 8, link) + rest


def tzsp(kind: int, rest: bytes) -> bytes:
    return struct.pack("!BBH", 1, 0, kind) + b"\0\x0a\x01\x21\x01" + rest


def capwap(rest: bytes, wireless: bool = False) -> bytes:
    return struct.pack("!I", 2 << 19 | (1 << 9 | 1 << 8 if wireless else 0)) + bytes(4) + rest


def _mac_ppp(packet: bytes) -> bytes:
    return b"\xff\x03" + ppp_of(packet)


def _short_ppp(packet: bytes) -> bytes:
    return (b"\x21" if packet[0] >> 4 == 4 else b"\x57") + packet


def _prism(packet: bytes) -> bytes:
    return struct.pack("<II", 0x44, 144) + bytes(136) + wlan(packet)


def _avs(packet: bytes) -> bytes:
    return struct.pack("!II", 0x80211001, 64) + bytes(56) + wlan(packet)


LINK_FORMS = (
    Form("ethernet", 1, ethernet),
    Form("raw IP 101", 101, bytes), Form("raw IP 12", 12, bytes), Form("raw IPv4 228", 228, bytes),
    Form("VLAN", 1, lambda p: ether(b"\x81\0", vlan(of(p), p))),
    Form("VLAN in 802.1ad in 0x9100", 1,
         lambda p: ether(b"\x91\0", vlan(b"\x88\xa8", vlan(b"\x81\0", vlan(of(p), p))))),
    Form("six VLAN tags", 1, lambda p: ether(b"\x81\0", vlan(b"\x81\0", vlan(b"\x81\0", vlan(
        b"\x81\0", vlan(b"\x81\0", vlan(of(p), p))))))),
    Form("802.3 SNAP", 1, lambda p: ether(struct.pack("!H", len(p) + 8), llc_snap(p))),
    Form("802.3 SNAP behind a VLAN tag", 1,
         lambda p: ether(b"\x81\0", vlan(struct.pack("!H", len(p) + 8), llc_snap(p)))),
    Form("802.2 SAP of IP", 1, lambda p: ether(struct.pack("!H", len(p) + 3), b"\x06\x06\x03" + p)),
    Form("MAC in MAC", 1, lambda p: ether(b"\x88\xe7", b"\0\0\0\7" + ethernet(p))),
    Form("Cisco metadata", 1, lambda p: ether(b"\x89\x09", bytes([1, 1, 0, 1, 0, 9]) + of(p) + p)),
    Form("VN-tag", 1, lambda p: ether(b"\x89\x26", bytes(4) + of(p) + p)),
    Form("SLL", 113, lambda p: sll(1, of(p), p)),
    Form("SLL with VLAN", 113, lambda p: sll(1, b"\x81\0", vlan(of(p), p))),
    Form("SLL with two VLANs", 113, lambda p: sll(1, b"\x88\xa8", vlan(b"\x81\0", vlan(of(p), p)))),
    Form("SLL with PPPoE", 113, lambda p: sll(1, b"\x88\x64", pppoe(p))),
    Form("SLL with LLC", 113, lambda p: sll(1, b"\0\x04", llc_snap(p))),
    Form("SLL of a monitor interface", 113, lambda p: sll(803, b"\0\x04", radiotap(wlan(p)))),
    Form("SLL2", 276, lambda p: sll2(1, of(p), p)),
    Form("SLL2 with VLAN", 276, lambda p: sll2(1, b"\x81\0", vlan(of(p), p))),
    Form("SLL2 with MPLS", 276, lambda p: sll2(1, b"\x88\x47", labels(p))),
    Form("PPP", 9, lambda p: _mac_ppp(p)), Form("PPP without address", 9, ppp_of),
    Form("PPP, short protocol", 9, _short_ppp), Form("PPP in HDLC", 50, _mac_ppp),
    Form("Cisco HDLC as PPP", 50, lambda p: b"\x0f\0" + of(p) + p),
    Form("PPPoE link", 51, pppoe),
    Form("PPP of pppd", 166, lambda p: b"\1\x03" + ppp_of(p), tshark=False),
    Form("PPP with direction", 204, lambda p: b"\1" + _mac_ppp(p)),
    Form("Cisco HDLC", 104, lambda p: b"\x0f\0" + of(p) + p),
    Form("Cisco HDLC with direction", 205, lambda p: b"\0\x0f\0" + of(p) + p, tshark=False),
    Form("frame relay NLPID", 107, lambda p: b"\x18\x41\x03\xcc" + p),
    Form("frame relay SNAP", 107, lambda p: b"\x18\x41\x03\0\x80\0\0\0" + of(p) + p),
    Form("frame relay Cisco", 107, lambda p: b"\x18\x41" + of(p) + p),
    Form("frame relay, four bytes of address", 107, lambda p: b"\x18\x40\x40\x41\x03\xcc" + p),
    Form("frame relay bridged", 107, lambda p: b"\x18\x41\x03\0\x80\0\x80\xc2\0\x07" + ethernet(p)),
    Form("frame relay with direction", 206, lambda p: b"\0\x18\x41\x03\xcc" + p, tshark=False),
    Form("NFLOG", 239, nflog), Form("NFLOG big endian", 239, lambda p: nflog(p, ">"), tshark=False),
    Form("BSD null", 0, lambda p: b"\2\0\0\0" + p), Form("BSD null, other order", 0, lambda p: b"\0\0\0\2" + p),
    Form("BSD loop", 108, lambda p: b"\0\0\0\2" + p),
    Form("enc", 109, lambda p: struct.pack("<III", 2, SPI, 0) + p),
    Form("enc big endian", 109, lambda p: struct.pack(">III", 2, SPI, 0) + p),
    Form("pflog", 117, pflog), Form("pflog of 100 bytes", 117, lambda p: pflog(p, 100)),
    Form("PKTAP", 258, lambda p: pktap(1, ethernet(p))), Form("PKTAP raw", 149, lambda p: pktap(12, p)),
    Form("802.11", 105, wlan), Form("802.11 QoS", 105, lambda p: wlan(p, qos=True)),
    Form("802.11 WDS", 105, lambda p: wlan(p, four=True)), Form("802.11 A-MSDU", 105, amsdu),
    Form("radiotap", 127, lambda p: radiotap(wlan(p))),
    Form("radiotap padded", 127, lambda p: radiotap(wlan(p, qos=True, pad=True), pad=True)),
    Form("PPI", 192, lambda p: ppi(105, wlan(p))), Form("PPI Ethernet", 192, lambda p: ppi(1, ethernet(p))),
    Form("Prism", 119, _prism), Form("AVS", 163, _avs), Form("AVS as Prism", 119, _avs),
    Form("IP over IEEE 1394", 138, lambda p: bytes(16) + of(p) + p),
    Form("IP over InfiniBand", 242, lambda p: bytes(40) + of(p) + b"\0\0" + p),
    Form("FDDI", 10, lambda p: b"\x50" + MACS + llc_snap(p)),
    Form("token ring", 6, lambda p: b"\x10\x40" + MACS + llc_snap(p)),
    Form("RFC 1483", 100, llc_snap), Form("MPLS link", 219, labels, tshark=False),
    Form("netANALYZER", 240, lambda p: bytes(4) + ethernet(p), tshark=False),
)  # fmt: skip
# Carried over Ethernet, or over IPv4 over Ethernet
TUNNEL_FORMS = (
    Form("PPPoE", 1, lambda p: ether(b"\x88\x64", pppoe(p))),
    Form("PPPoE behind a VLAN tag", 1, lambda p: ether(b"\x81\0", vlan(b"\x88\x64", pppoe(p)))),
    Form("MPLS", 1, lambda p: ether(b"\x88\x47", labels(p))),
    Form("MPLS, three labels", 1, lambda p: ether(b"\x88\x48", labels(p, 3))),
    Form("MPLS pseudo-wire", 1, lambda p: ether(b"\x88\x47", labels(ethernet(p), 2)), tshark=False),
    Form("MPLS pseudo-wire with control word", 1,
         lambda p: ether(b"\x88\x47", labels(bytes(4) + ethernet(p))), tshark=False),
    Form("GRE", 1, tunnelled(47, lambda p: gre(int.from_bytes(of(p)), p)), outer=1),
    Form("GRE with checksum, key, number", 1, tunnelled(47, lambda p: gre(int.from_bytes(of(p)), p, 0xB000)), outer=1),
    Form("GRE with Ethernet", 1, tunnelled(47, lambda p: gre(0x6558, ethernet(p), 0x2000)), outer=1),
    Form("GRE with MPLS", 1, tunnelled(47, lambda p: gre(0x8847, labels(p))), outer=1),
    Form("PPTP", 1, tunnelled(47, pptp), outer=1),
    Form("PPTP with ack", 1, tunnelled(47, lambda p: pptp(p, True)), outer=1),
    Form("ERSPAN I", 1, tunnelled(47, lambda p: gre(0x88BE, ethernet(p))), outer=1),
    Form("ERSPAN II", 1, tunnelled(47, lambda p: gre(0x88BE, b"\x10\x01" + bytes(6) + ethernet(p), 0x1000)), outer=1),
    Form("ERSPAN III", 1, tunnelled(47, lambda p: gre(0x22EB, b"\x20\x01" + bytes(10) + ethernet(p), 0x1000)), outer=1),
    Form("ERSPAN III with subheader", 1,
         tunnelled(47, lambda p: gre(0x22EB, b"\x20\x01" + bytes(8) + b"\0\1" + bytes(8) + ethernet(p), 0x1000)),
         outer=1),
    Form("WCCP", 1, tunnelled(47, lambda p: gre(0x883E, b"\0\0\0\0" + p)), outer=1),
    Form("IP in IP", 1, tunnelled(4, bytes), outer=1),
    Form("IP in IP in IP in GRE", 1, tunnelled(47, lambda p: gre(0x0800, ip4(ip4(p, 4), 4))), outer=3),
    Form("4in6", 1, lambda p: ethernet(ip6(p, 4)), outer=1),
    Form("GRE over IPv6", 1, lambda p: ethernet(ip6(gre(int.from_bytes(of(p)), p), 47)), outer=1),
    Form("EtherIP", 1, tunnelled(97, lambda p: b"\x30\0" + ethernet(p)), outer=1),
    Form("MPLS in IP", 1, tunnelled(137, labels), outer=1),
    Form("L2TPv3", 1, tunnelled(115, lambda p: b"\0\0\0\5" + ethernet(p)), tshark=False, outer=1),
    Form("L2TPv3 with cookie and sublayer", 1,
         tunnelled(115, lambda p: b"\0\0\0\5" + bytes(12) + ethernet(p)), tshark=False, outer=1),
    Form("VXLAN", 1, over_udp(4789, lambda p: vxlan(ethernet(p))), outer=1),
    Form("VXLAN on 8472", 1, over_udp(8472, lambda p: vxlan(ethernet(p))), tshark=False, outer=1),
    Form("VXLAN with VLAN inside", 1, over_udp(4789, lambda p: vxlan(ether(b"\x81\0", vlan(of(p), p)))), outer=1),
    Form("VXLAN-GPE IP", 1, over_udp(4790, lambda p: vxlan(p, 0x0C, 1)), outer=1),
    Form("VXLAN-GPE Ethernet", 1, over_udp(4790, lambda p: vxlan(ethernet(p), 0x0C, 3)), outer=1),
    Form("VXLAN-GPE NSH", 1, over_udp(4790, lambda p: vxlan(nsh(p, 1), 0x0C, 4)), outer=1),
    Form("NSH", 1, lambda p: ether(b"\x89\x4f", nsh(ethernet(p), 3))),
    Form("GENEVE", 1, over_udp(6081, lambda p: geneve(0x6558, ethernet(p))), outer=1),
    Form("GENEVE with options", 1,
         over_udp(6081, lambda p: geneve(0x6558, ethernet(p), bytes([1, 2, 3, 1]) + bytes(4))),
         outer=1),
    Form("GENEVE IP", 1, over_udp(6081, lambda p: geneve(int.from_bytes(of(p)), p)), outer=1),
    Form("GTP-U", 1, over_udp(2152, gtpu), outer=1),
    Form("GTP-U with extensions", 1, over_udp(2152, lambda p: gtpu(p, True)), outer=1),
    Form("TZSP", 1, over_udp(37008, lambda p: tzsp(1, ethernet(p))), outer=1),
    Form("TZSP wireless", 1, over_udp(37008, lambda p: tzsp(18, wlan(p))), outer=1),
    Form("L2TPv2", 1, over_udp(1701, lambda p: struct.pack("!HHH", 2, 1, 1) + _mac_ppp(p)), outer=1),
    Form("L2TPv2 with length and numbers", 1, over_udp(1701, lambda p: struct.pack(
        "!HHHHHH", 0x4802, 12 + len(p) + 4, 1, 1, 0, 0) + _mac_ppp(p)), outer=1),
    Form("L2TPv3 over UDP", 1,
         over_udp(1701, lambda p: struct.pack("!HHI", 3, 0, 5) + ethernet(p)), tshark=False, outer=1),
    Form("LISP", 1, over_udp(4341, lambda p: b"\x80" + bytes(7) + p), outer=1),
    Form("GRE in UDP", 1, over_udp(4754, lambda p: gre(int.from_bytes(of(p)), p)), outer=1),
    Form("MPLS in UDP", 1, over_udp(6635, labels), outer=1),
    Form("CAPWAP", 1, over_udp(5247, lambda p: capwap(ethernet(p))), outer=1),
    Form("CAPWAP wireless", 1, over_udp(5247, lambda p: capwap(wlan(p), True)), tshark=False, outer=1),
    Form("PPPoE in VXLAN in MPLS", 1, lambda p: ether(b"\x88\x47", labels(ip4(udp(4789, vxlan(
        ether(b"\x88\x64", pppoe(p)))), 17))), outer=1),
)  # fmt: skip
# Those that carry IPv6 alone
SIX_FORMS = (
    Form("6in4", 1, tunnelled(41, bytes), outer=1),
    Form("Teredo", 1, over_udp(3544, bytes), outer=1),
    Form("Teredo with indications", 1,
         over_udp(3544, lambda p: b"\0\1\0\0" + bytes(9) + b"\0\0" + bytes(6) + p), outer=1),
)  # fmt: skip
FORMS = LINK_FORMS + TUNNEL_FORMS
