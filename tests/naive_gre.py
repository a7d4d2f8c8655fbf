"""Generic routing encapsulation: RFC 2784, with the key and sequence number of RFC 2890."""

import struct
from dataclasses import dataclass
from typing import Any

from naive import Bad, Ip, checksum, with_checksum

IPV4, IPV6 = 0x0800, 0x86DD  # ether types (RFC 2784 section 2.4)
CHECKSUM, KEY, SEQUENCE = 0x8000, 0x2000, 0x1000
# RFC 2784 section 2.3: bits 1 to 5 must be zero but for those of RFC 2890, 6 to 12 are ignored, 13 to 15 the version
REFUSED = 0x4000 | 0x0C00 | 0x0007
GRE = 47


@dataclass
class Tunnel:
    """A GRE tunnel: its configuration, and the numbers that it keeps."""

    name: str
    local: Any
    peer: Any
    config: Any  # TunnelConfig
    vrf: str | None
    up: bool
    next_number: int = 0
    last: int | None = None  # number that was taken; there may have been others before the first that is seen
    clear: bool = False  # `df-bit clear`
    entry: Any = None  # what protects it
    hops: tuple[Any, ...] = ()  # of a multipoint tunnel: the next hops that NHRP maps to this peer
    multicast: bool = False
    anyone: bool = False  # stands for peers that are not mapped: it takes packets, and sends none

    @property
    def family(self) -> int:
        return int(self.peer.version)


def even(data: bytes) -> bytes:
    """With a zero behind an odd number of bytes, for the checksum alone."""
    return data + bytes(len(data) % 2)


def encapsulate(tunnel: Tunnel, ip: Ip, ident: int) -> bytes:
    """The delivery packet around a packet."""
    c = tunnel.config
    flags = CHECKSUM * c.checksum | KEY * (c.key is not None) | SEQUENCE * c.sequence
    head = struct.pack("!HH", flags, IPV4 if ip.family == 4 else IPV6)
    rest = b"" if c.key is None else struct.pack("!I", c.key)
    if c.sequence:
        rest += struct.pack("!I", tunnel.next_number & 0xFFFFFFFF)
        tunnel.next_number += 1
    rest += ip.data
    if c.checksum:
        head += struct.pack("!HH", checksum(even(head + bytes(4) + rest)), 0)
    return delivery(tunnel, ip, ident, head + rest)


def delivery(tunnel: Tunnel, ip: Ip, ident: int, payload: bytes) -> bytes:
    """The packet that carries GRE: TTL, TOS and DF by the tunnel's configuration."""
    c = tunnel.config
    tos = ip.tos if c.tos is None else c.tos
    ends = tunnel.local.packed + tunnel.peer.packed
    if tunnel.family == 6:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), GRE, c.ttl or 64) + ends + payload
    copied = c.path_mtu_discovery and not tunnel.clear
    df = 0x4000 if copied and ip.family == 4 and ip.df else 0  # IPv6 has no such bit
    words = (0x45, tos, 20 + len(payload), ident & 0xFFFF, df, c.ttl or 255, GRE, 0)
    return with_checksum(struct.pack("!BBHHHBBH", *words) + ends) + payload


@dataclass
class Gre:
    """What a GRE header says."""

    protocol: int
    key: int | None
    number: int | None
    payload: bytes
    sound: bool  # the checksum is right, or there is none


def read(data: bytes) -> Gre:
    """Raises Bad."""
    if len(data) < 4:
        raise Bad("GRE_HEADER")
    flags, protocol = struct.unpack("!HH", data[:4])
    size = 4 + 4 * bool(flags & CHECKSUM) + 4 * bool(flags & KEY) + 4 * bool(flags & SEQUENCE)
    if flags & REFUSED or len(data) < size:
        raise Bad("GRE_HEADER")
    at = 8 if flags & CHECKSUM else 4
    words = [int.from_bytes(data[k : k + 4]) for k in range(at, size, 4)]
    key = words.pop(0) if flags & KEY else None
    number = words.pop(0) if flags & SEQUENCE else None
    sound = not flags & CHECKSUM or checksum(even(data)) == 0
    return Gre(protocol, key, number, data[size:], sound)


def is_late(number: int, last: int | None) -> bool:
    """RFC 2890 section 2.2: the last number and the 2^31 - 1 before it."""
    return last is not None and (last - number) % 2**32 < 2**31
