"""Packet: an IP packet taken apart into the pieces that a case is made of and that shrinking removes."""

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

FRAGMENT_BITS = 0x3FFF  # more-fragments and offset
DF = 0x4000
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)


class PacketError(ValueError):
    """Bytes that are no IP packet."""


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 or IPv6 packet; addresses are integers.

    `fragment`: flags and offset of IPv4 as on the wire. `options`: IPv4 options, a multiple of 4 bytes. `extensions`:
    IPv6 extension headers as (kind, whole header); their first byte is overwritten when the packet is built.
    """

    family: int
    src: int
    dst: int
    protocol: int
    payload: bytes = b""
    tos: int = 0
    hops: int = 64
    ident: int = 0
    fragment: int = 0
    label: int = 0
    options: bytes = b""
    extensions: tuple[tuple[int, bytes], ...] = ()

    def build(self) -> bytes:
        """The bytes of the packet."""
        return self._build4() if self.family == 4 else self._build6()

    def _build4(self) -> bytes:
        size = 20 + len(self.options)
        head = struct.pack(
            "!BBHHHBBHII", 0x40 | size // 4, self.tos, size + len(self.payload), self.ident, self.fragment, self.hops,
            self.protocol, 0, self.src, self.dst,
        )  # fmt: skip
        head += self.options
        return head[:10] + checksum(head).to_bytes(2) + head[12:] + self.payload

    def _build6(self) -> bytes:
        kinds = [kind for kind, _ in self.extensions] + [self.protocol]
        chain = b"".join(bytes([nh]) + body[1:] for nh, (_, body) in zip(kinds[1:], self.extensions, strict=True))
        first = 6 << 28 | self.tos << 20 | self.label
        head = struct.pack("!IHBB", first, len(chain) + len(self.payload), kinds[0], self.hops)
        return head + self.src.to_bytes(16) + self.dst.to_bytes(16) + chain + self.payload

    def forwarded(self) -> "Packet":
        """The packet after one hop: what a router protects."""
        return replace(self, hops=self.hops - 1)

    @property
    def is_fragment(self) -> bool:
        """A piece of a larger packet (an IPv6 fragment header with offset 0 and no more to come is none)."""
        if self.family == 4:
            return bool(self.fragment & FRAGMENT_BITS)
        return any(kind == FRAGMENT and int.from_bytes(body[2:4]) & 0xFFF9 for kind, body in self.extensions)

    @property
    def dont_fragment(self) -> bool:
        """DF as it is copied to an outer IPv4 header; IPv6 packets count as having it."""
        return self.family == 6 or bool(self.fragment & DF)

    def addresses(self) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
        """Source and destination."""
        kind = IPv4Address if self.family == 4 else IPv6Address
        return kind(self.src), kind(self.dst)

    @classmethod
    def parse(cls, data: bytes) -> "Packet":
        """Take a packet apart; bytes behind its length are ignored. Raises PacketError."""
        try:
            if data and data[0] >> 4 == 4:
                return cls._parse4(data)
            if data and data[0] >> 4 == 6:
                return cls._parse6(data)
        except (struct.error, IndexError):
            pass
        raise PacketError("not an IP packet")

    @classmethod
    def _parse4(cls, data: bytes) -> "Packet":
        first, tos, total, ident, fragment, hops, protocol, _, src, dst = struct.unpack_from("!BBHHHBBHII", data)
        size = (first & 15) * 4
        if not 20 <= size <= total <= len(data):
            raise PacketError("the lengths of the IPv4 header do not fit")
        return cls(4, src, dst, protocol, data[size:total], tos, hops, ident, fragment, options=data[20:size])

    @classmethod
    def _parse6(cls, data: bytes) -> "Packet":
        first, length, kind, hops = struct.unpack_from("!IHBB", data)
        total = 40 + length
        if total > len(data):
            raise PacketError("the IPv6 packet is cut")
        at, chain, later = 40, [], False
        while kind in EXTENSIONS and not later and at + 8 <= total:
            size = 8 if kind == FRAGMENT else (data[at + 1] + 1) * 8
            later = kind == FRAGMENT and bool(int.from_bytes(data[at + 2 : at + 4]) & 0xFFF8)
            chain.append((kind, data[at : at + size]))
            kind, at = data[at], at + size
        if at > total:
            raise PacketError("an IPv6 extension header is cut")
        src, dst = int.from_bytes(data[8:24]), int.from_bytes(data[24:40])
        return cls(
            6, src, dst, kind, data[at:total], first >> 20 & 0xFF, hops, label=first & 0xFFFFF,
            extensions=tuple(chain),
        )  # fmt: skip
