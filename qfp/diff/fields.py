"""Names of the fields of plain and protected packets, so that a difference can say where it lies."""

from collections.abc import Generator, Iterator

from qfp.diff.packet import EXTENSIONS, FRAGMENT
from qfp.sa import SecurityAssociation

ESP, AH, UDP = 50, 51, 17
Field = tuple[str, int]  # name, bytes
IPV4: tuple[Field, ...] = (
    ("version and header length", 1), ("DSCP and ECN", 1), ("total length", 2), ("identification", 2),
    ("flags and fragment offset", 2), ("TTL", 1), ("protocol", 1), ("header checksum", 2), ("source address", 4),
    ("destination address", 4),
)  # fmt: skip
IPV6: tuple[Field, ...] = (
    ("version, traffic class, flow label", 4), ("payload length", 2), ("next header", 1), ("hop limit", 1),
    ("source address", 16), ("destination address", 16),
)  # fmt: skip
UDP_HEADER: tuple[Field, ...] = (
    ("UDP source port", 2), ("UDP destination port", 2), ("UDP length", 2), ("UDP checksum", 2),
)  # fmt: skip
AH_HEADER: tuple[Field, ...] = (
    ("AH next header", 1), ("AH payload length", 1), ("AH reserved", 2), ("AH SPI", 4), ("AH sequence number", 4),
)  # fmt: skip


def _ip(packet: bytes) -> Generator[Field, None, int]:
    """IP header with options or extension headers; returns the protocol that follows."""
    if packet[0] >> 4 == 4:
        yield from IPV4
        options = (packet[0] & 15) * 4 - 20
        if options > 0:
            yield "IPv4 options", options
        return packet[9]
    yield from IPV6
    kind, at = packet[6], 40
    while kind in EXTENSIONS and at + 2 <= len(packet):
        size = 8 if kind == FRAGMENT else (packet[at + 1] + 1) * 8
        yield f"IPv6 extension header {kind}", size
        kind, at = packet[at], at + size
    return kind


def layout(packet: bytes, sa: SecurityAssociation | None) -> Iterator[Field]:
    """Fields of a packet in order; with an SA, those of its protection too."""
    at = 0
    walk = _ip(packet)
    while True:
        try:
            field = next(walk)
        except StopIteration as end:
            kind = end.value
            break
        at += field[1]
        yield field
    if sa is not None and sa.natt is not None and kind == UDP:
        yield from UDP_HEADER
        at, kind = at + 8, ESP
    if sa is not None and kind == ESP:
        yield from (("ESP SPI", 4), ("ESP sequence number", 4))
        if sa.iv_len:
            yield "IV", sa.iv_len
        yield "ciphertext", max(0, len(packet) - at - 8 - sa.iv_len - sa.icv_len)
        yield "ICV", sa.icv_len
    elif sa is not None and kind == AH:
        yield from AH_HEADER
        yield from (("ICV", sa.icv_length), ("ICV padding", (packet[at + 1] + 2) * 4 - 12 - sa.icv_length))
    yield "payload", len(packet)


def first_difference(a: bytes, b: bytes) -> int:
    """Offset of the first byte in which two packets differ (one may just be longer), or -1."""
    if a == b:
        return -1
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def field_at(packet: bytes, offset: int, sa: SecurityAssociation | None) -> str:
    """Name of the field that holds a byte of a packet."""
    at = 0
    if offset >= len(packet):
        return "behind the end"
    for name, size in layout(packet, sa):
        if offset < at + size:
            return name
        at += size
    return "payload"


def offset_of(name: str, packet: bytes, sa: SecurityAssociation) -> int:
    """Where a field of a protected packet starts, or -1."""
    at = 0
    for field, size in layout(packet, sa):
        if field == name:
            return at
        at += size
    return -1
