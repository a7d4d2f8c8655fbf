"""Errors that a router sends: RFC 792, RFC 1812 section 4.3, RFC 4443, and how many of them."""

import struct
from dataclasses import dataclass
from typing import Any

from naive import ICMP, ICMP6, Ip, checksum, with_checksum

ERRORS4 = (3, 4, 5, 11, 12)  # RFC 1122 section 3.2.2
INFORMATION6 = 128  # RFC 4443 section 2.1: errors are below
MESSAGES = {  # cause -> (type, code) over IPv4, over IPv6
    "NO_ROUTE": ((3, 0), (1, 0)), "IF_DOWN": ((3, 1), (1, 3)), "TTL_EXPIRED": ((11, 0), (3, 0)),
    "FRAG_NEEDED": ((3, 4), (2, 0)),
}  # fmt: skip
WHOLE = {4: 576, 6: 1280}  # RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c)
TOS = 0xC0  # RFC 1812 section 4.3.2.5
MILLISECOND = 10**6


def may_answer(ip: Ip, cause: str) -> bool:
    """Whether an error about this packet may be sent at all (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e))."""
    if cause not in MESSAGES or ip.later or is_error(ip):
        return False
    if ip.family == 4:
        first = ip.src >> 24
        return first not in (0, 127) and first < 224 and not 224 <= ip.dst >> 24 < 240
    if ip.src >> 120 == 0xFF or ip.src in (0, 1):
        return False
    return ip.dst >> 120 != 0xFF or cause == "FRAG_NEEDED"


def is_error(ip: Ip) -> bool:
    """By the type; an ICMPv6 packet too short to have one counts as an error."""
    if ip.family == 4:
        return ip.proto == ICMP and ip.sport in ERRORS4
    return ip.proto == ICMP6 and ip.sport < INFORMATION6


def error4(source: int, ip: Ip, kind: tuple[int, int], mtu: int, ident: int) -> bytes:
    """`mtu` is that of RFC 1191, 0 in other errors."""
    body = struct.pack("!BBHHH", *kind, 0, 0, mtu) + ip.data[: WHOLE[4] - 28]
    body = body[:2] + struct.pack("!H", checksum(body + bytes(len(body) % 2))) + body[4:]
    ends = struct.pack("!II", source, ip.src)
    return (
        with_checksum(struct.pack("!BBHHHBBH", 0x45, TOS, 20 + len(body), ident & 0xFFFF, 0, 255, 1, 0) + ends) + body
    )


def error6(source: int, ip: Ip, kind: tuple[int, int], mtu: int) -> bytes:
    body = struct.pack("!BBHI", *kind, 0, mtu) + ip.data[: WHOLE[6] - 48]
    ends = source.to_bytes(16) + ip.src.to_bytes(16)
    pseudo = ends + struct.pack("!II", len(body), ICMP6) + body  # RFC 8200 section 8.1
    body = body[:2] + struct.pack("!H", checksum(pseudo + bytes(len(body) % 2))) + body[4:]
    return struct.pack("!IHBB", 6 << 28 | TOS << 20, len(body), ICMP6, 255) + ends + body


@dataclass
class Bucket:
    """Tokens that come back one an interval (ns; 0: no limit). The clock stands still while the bucket is full."""

    interval: int
    size: int
    since: int = 0

    def __post_init__(self) -> None:
        self.tokens = self.size

    def take(self, ts: int) -> bool:
        if self.interval == 0:
            return True
        if self.tokens < self.size:
            came = max(0, (ts - self.since) // self.interval)
            self.tokens = min(self.size, self.tokens + came)
            self.since += came * self.interval
        if self.tokens == self.size:
            self.since = ts
        if self.tokens == 0:
            return False
        self.tokens -= 1
        return True


def buckets(limits: Any) -> dict[str, Bucket]:
    """Of a configuration: unreachable, fragmentation needed, time exceeded, and all of ICMPv6."""
    return {
        "unreachable": Bucket(limits.unreachable * MILLISECOND, 1),
        "df": Bucket(limits.unreachable_df * MILLISECOND, 1),
        "ttl": Bucket(100 * MILLISECOND, 10),
        "v6": Bucket(limits.interval6 * MILLISECOND, limits.bucket6),
    }


def bucket_of(family: int, cause: str) -> str:
    if family == 6:
        return "v6"
    return {"TTL_EXPIRED": "ttl", "FRAG_NEEDED": "df"}.get(cause, "unreachable")


def silenced(interface: Any, family: int, kind: tuple[int, int]) -> bool:
    """`no ip unreachables` is about type 3 of ICMP, `no ipv6 unreachables` about type 1 of ICMPv6."""
    if family == 4:
        return not interface.unreachables and kind[0] == 3
    return not interface.unreachables6 and kind[0] == 1
