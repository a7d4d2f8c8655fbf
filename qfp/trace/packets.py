"""Building single packets and frames for synthetic traffic: headers with valid lengths and checksums."""

from __future__ import annotations

import struct

ETHERNET = 1
IPV4, IPV6, ARP, LLDP = 0x0800, 0x86DD, 0x0806, 0x88CC
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
EF, AF11 = 46, 10  # DSCP: voice, bulk data
SYN, ACK, PSH, FIN = 0x02, 0x10, 0x08, 0x01


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071). A number modulo 65535 is the one's complement sum of its 16-bit digits."""
    padded = data + b"\0" * (len(data) & 1)
    total = int.from_bytes(padded, "big")
    rest = total % 65535
    return 0xFFFF - (rest if rest or not total else 0xFFFF)


def _pseudo(src: bytes, dst: bytes, proto: int, size: int) -> bytes:
    if len(src) == 4:
        return src + dst + struct.pack(">BBH", 0, proto, size)
    return src + dst + struct.pack(">IHBB", size, 0, 0, proto)


def udp(src: bytes, dst: bytes, sport: int, dport: int, payload: bytes) -> bytes:
    """UDP datagram (RFC 768); a checksum of 0 is sent as ffff."""
    size = 8 + len(payload)
    header = struct.pack(">HHH", sport, dport, size)
    value = checksum(_pseudo(src, dst, UDP, size) + header + b"\0\0" + payload) or 0xFFFF
    return header + struct.pack(">H", value) + payload


def tcp(
    src: bytes, dst: bytes, ports: tuple[int, int], seq: int, ack: int, flags: int, payload: bytes = b"",
    options: bytes = b"",
) -> bytes:  # fmt: skip
    """TCP segment (RFC 9293); `options` are whole 32-bit words."""
    words = 5 + len(options) // 4
    numbers = struct.pack(">HHIIBBH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words << 4, flags, 65000)
    body = options + payload
    size = 20 + len(body)
    value = checksum(_pseudo(src, dst, TCP, size) + numbers + b"\0\0\0\0" + body)
    return numbers + struct.pack(">HH", value, 0) + body


def icmp(src: bytes, dst: bytes, kind: int, rest: bytes) -> bytes:
    """ICMP or ICMPv6 message of a type (code 0); ICMPv6 has a pseudo-header, ICMP none."""
    size = 4 + len(rest)
    pseudo = _pseudo(src, dst, ICMPV6, size) if len(src) == 16 else b""
    value = checksum(pseudo + struct.pack(">BBH", kind, 0, 0) + rest)
    return struct.pack(">BBH", kind, 0, value) + rest


def ip(
    src: bytes, dst: bytes, proto: int, payload: bytes, dscp: int = 0, ident: int = 0, df: bool = False, ttl: int = 64
) -> bytes:
    """IPv4 or IPv6 packet, by the length of the addresses."""
    if len(src) == 16:
        return struct.pack(">IHBB", 6 << 28 | dscp << 22, len(payload), proto, ttl) + src + dst + payload
    head = struct.pack(
        ">BBHHHBBH", 0x45, dscp << 2, 20 + len(payload), ident & 0xFFFF, 0x4000 if df else 0, ttl, proto, 0
    )
    value = checksum(head + src + dst)
    return head[:10] + struct.pack(">H", value) + src + dst + payload


def ethernet(dst: bytes, src: bytes, kind: int, payload: bytes) -> bytes:
    """Ethernet II frame, padded to 60 bytes as on the wire (no FCS)."""
    return (dst + src + struct.pack(">H", kind) + payload).ljust(60, b"\0")


def around(packet: bytes, dst: bytes, src: bytes) -> bytes:
    """Ethernet frame around an IP packet of either version."""
    return ethernet(dst, src, IPV6 if packet[0] >> 4 == 6 else IPV4, packet)
