"""Outer headers of outbound SAs, made once and copied in front of every packet: IP, AH, UDP, ESP, in this order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
HEADER_MAX = 96  # bytes of the `hdr` field
IPPROTO_UDP, IPPROTO_ESP, IPPROTO_AH = 17, 50, 51
NO_AH = 255
OUTER_TTL, OUTER_HOP_LIMIT = 255, 64  # what IOS writes into outer headers that it originates


@dataclass(frozen=True)
class Shape:
    """Which headers stand in a template, and where: bytes from the outer IP header."""

    family: int
    esp: bool
    ah_icv: int = 0  # bytes of the AH ICV field (IV of GMAC included), 0 = no AH
    udp: bool = False

    @property
    def ip(self) -> int:
        return 20 if self.family == 4 else 40

    @property
    def ah_len(self) -> int:
        """AH header with its ICV, padded to 4 bytes over IPv4 and to 8 over IPv6 (RFC 4302 section 3.3.3.2.1)."""
        if not self.ah_icv:
            return 0
        unit = 4 if self.family == 4 else 8
        return (12 + self.ah_icv + unit - 1) // unit * unit

    @property
    def ah_at(self) -> int:
        return self.ip if self.ah_icv else NO_AH

    @property
    def udp_at(self) -> int:
        return self.ip + self.ah_len

    @property
    def esp_at(self) -> int:
        return self.udp_at + (8 if self.udp else 0)

    @property
    def length(self) -> int:
        return self.esp_at + (8 if self.esp else 0)

    @property
    def first_protocol(self) -> int:
        if self.ah_icv:
            return IPPROTO_AH
        return IPPROTO_UDP if self.udp else IPPROTO_ESP


def _be(array: Array, at: int, width: int, value: Any) -> None:
    """Write a number, or a column of numbers, big-endian into bytes at.. of every row."""
    v = np.asarray(value, np.uint64)
    for k in range(width):
        array[:, at + k] = (v >> np.uint64(8 * (width - 1 - k))) & np.uint64(0xFF)


def templates(shape: Shape, src: Array, dst: Array, esp_spi: Any, ah_spi: Any, ports: tuple[int, int]) -> Array:
    """uint8[n, HEADER_MAX]: one template a row. src, dst: uint64[n, 2] (high, low words); SPIs: uint32[n] or 0."""
    out = np.zeros((len(src), HEADER_MAX), np.uint8)
    if shape.family == 4:
        out[:, 0] = 0x45
        out[:, 8] = OUTER_TTL
        out[:, 9] = shape.first_protocol
        _be(out, 12, 4, src[:, 1])
        _be(out, 16, 4, dst[:, 1])
    else:
        out[:, 0] = 0x60
        out[:, 6] = shape.first_protocol
        out[:, 7] = OUTER_HOP_LIMIT
        for at, words in ((8, src), (24, dst)):
            _be(out, at, 8, words[:, 0])
            _be(out, at + 8, 8, words[:, 1])
    if shape.ah_icv:
        out[:, shape.ah_at] = IPPROTO_ESP  # a lone AH's next header is written by packet
        out[:, shape.ah_at + 1] = shape.ah_len // 4 - 2
        _be(out, shape.ah_at + 4, 4, ah_spi)
    if shape.udp:
        _be(out, shape.udp_at, 2, ports[0])
        _be(out, shape.udp_at + 2, 2, ports[1])  # the checksum stays zero (RFC 3948 section 2.1)
    if shape.esp:
        _be(out, shape.esp_at, 4, esp_spi)
    return out


def constant_sum(hdr: Array) -> Array:
    """uint32[n]: sum of the 16-bit words of the IPv4 templates as memory holds them (what differs by packet is 0)."""
    words = np.ascontiguousarray(hdr[:, :20]).view("<u2").astype(np.uint32)
    return np.asarray(words.sum(axis=1), np.uint32)
