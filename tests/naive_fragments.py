"""Packets cut in pieces and put together again: RFC 791 section 3.2, RFC 8200 section 4.5, RFC 5722.

Sizes first (`largest`, `equal`), then pieces of those sizes (`cut4`, `cut6`), then the other way (`Reassembler`).
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from naive import FRAGMENT, Bad, Ip, read_ip, with_length

DF, MF = 0x4000, 0x2000
LONGEST = 65535
PATIENCE = 30 * 10**9  # ns that a datagram waits for the rest
HEADER6 = 40
FRAGMENT_HEADER = 8


# -------------------------------------------------------------------------------------------------------- cutting
def largest(payload: int, first: int, later: int) -> list[int]:
    """Each piece as large as fits; all but the last carry a multiple of 8 bytes (RFC 791 section 2.3)."""
    sizes: list[int] = []
    room = first
    while payload > room:
        sizes.append(room // 8 * 8)
        payload -= sizes[-1]
        room = later
    return [*sizes, payload]


def equal(payload: int, room: int) -> list[int]:
    """The fewest pieces, then as equal as units of 8 bytes allow (PF-3)."""
    count = -(-payload // (room // 8 * 8))
    each = -(-payload // count)
    each = -(-each // 8) * 8
    return [each] * (count - 1) + [payload - each * (count - 1)]


def copied_options(options: bytes) -> bytes:
    """RFC 791 section 3.1: the options whose first bit says that they go into every fragment."""
    out, k = b"", 0
    while k < len(options) and options[k] != 0:
        size = 1 if options[k] == 1 else options[k + 1] if k + 1 < len(options) else 0
        if size < 1 or k + size > len(options) or (size == 1 and options[k] != 1):
            break
        if options[k] & 0x80:
            out += options[k : k + size]
        k += size
    return out + bytes(-len(out) % 4)


def heads4(data: bytes) -> tuple[bytes, bytes]:
    """Headers of the first piece of an IPv4 packet and of the others."""
    size = (data[0] & 15) * 4
    options = copied_options(data[20:size])
    return data[:size], bytes([0x40 | (20 + len(options)) // 4]) + data[1:20] + options


def cut4(data: bytes, sizes: list[int]) -> list[bytes]:
    """An IPv4 packet in pieces with `sizes` bytes of payload. Offset, MF and DF of a fragment are kept."""
    payload = data[(data[0] & 15) * 4 :]
    where = int.from_bytes(data[6:8])
    out, at = [], 0
    for head in [heads4(data)[0]] + [heads4(data)[1]] * (len(sizes) - 1):
        size = sizes[len(out)]
        more = where & MF if at + size == len(payload) else MF
        word = where & ~(MF | 0x1FFF) | more | (where & 0x1FFF) + at // 8
        out.append(with_length(head[:6] + struct.pack("!H", word) + head[8:] + payload[at : at + size]))
        at += size
    return out


def cut6(data: bytes, sizes: list[int], ident: int) -> list[bytes]:
    """An IPv6 packet without extension headers in pieces, as its source cuts it (RFC 8200 section 4.5)."""
    head, payload = data[:HEADER6], data[HEADER6:]
    out, at = [], 0
    for size in sizes:
        more = int(at + size < len(payload))
        fragment = struct.pack("!BBHI", head[6], 0, at | more, ident & 0xFFFFFFFF)
        packet = head[:6] + bytes([FRAGMENT]) + head[7:] + fragment + payload[at : at + size]
        out.append(with_length(packet))
        at += size
    return out


def by_equal(data: bytes, limit: int, ident: int = 0) -> list[bytes]:
    """A packet in the fewest and most equal pieces of at most `limit` bytes."""
    if data[0] >> 4 == 6:
        return cut6(data, equal(len(data) - HEADER6, limit - HEADER6 - FRAGMENT_HEADER), ident)
    size = (data[0] & 15) * 4
    return cut4(data, equal(len(data) - size, limit - size))


def by_largest(data: bytes, limit: int, ident: int = 0) -> list[bytes]:
    """A packet in pieces of at most `limit` bytes, each as large as it may be."""
    if data[0] >> 4 == 6:
        room = limit - HEADER6 - FRAGMENT_HEADER
        return cut6(data, largest(len(data) - HEADER6, room, room), ident)
    first, later = heads4(data)
    return cut4(data, largest(len(data) - len(first), limit - len(first), limit - len(later)))


# ----------------------------------------------------------------------------------------------- putting together
@dataclass
class Piece:
    """A fragment: where it belongs, and the header that the whole packet gets if it is the first."""

    key: tuple[Any, ...]
    offset: int
    more: bool
    head: bytes
    payload: bytes


def piece4(ip: Ip) -> Piece:
    head = bytearray(ip.data[: ip.upper])
    where = int.from_bytes(head[6:8])
    head[6:8] = struct.pack("!H", where & ~(MF | 0x1FFF))
    key = (4, ip.src, ip.dst, int.from_bytes(head[4:6]), ip.proto)
    return Piece(key, (where & 0x1FFF) * 8, bool(where & MF), bytes(head), ip.data[ip.upper :])


def piece6(ip: Ip) -> Piece:
    """RFC 8200 section 4.5: the fragment header goes, its next header moves to the header before it."""
    names, at = 6, HEADER6
    while ip.data[names] != FRAGMENT:
        names, at = at, at + 8 * (ip.data[at + 1] + 1)
    head = bytearray(ip.data[:at])
    head[names] = ip.data[at]
    where, ident = struct.unpack("!HI", ip.data[at + 2 : at + 8])
    key = (6, ip.src, ip.dst, ident)
    return Piece(key, where & 0xFFF8, bool(where & 1), bytes(head), ip.data[at + FRAGMENT_HEADER :])


@dataclass
class Waiting:
    """A datagram of which a part is there."""

    since: int
    parts: dict[int, bytes] = field(default_factory=dict)
    head: bytes = b""
    total: int | None = None

    def refuses(self, p: Piece) -> str | None:
        """The cause for which a piece does not fit."""
        end = p.offset + len(p.payload)
        if p.offset in self.parts and len(self.parts[p.offset]) == len(p.payload):
            return "FRAGMENT_DUPLICATE"
        if any(a < end and p.offset < a + len(part) for a, part in self.parts.items()):
            return "FRAGMENT_OVERLAP"
        ends = [a + len(part) for a, part in self.parts.items()]
        if self.total is not None and (end > self.total or not p.more):
            return "FRAGMENT_OVERLAP"
        return "FRAGMENT_OVERLAP" if not p.more and max(ends, default=0) > end else None


class Reassembler:
    """Fragments of any order. `take` keeps one, and returns the packet that it completes."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[Any, ...], Waiting] = {}

    def take(self, ip: Ip, ts: int, *where: Any) -> Ip | None:
        """`where`: what else tells datagrams apart (VRF, SA). Raises Bad."""
        p = piece4(ip) if ip.family == 4 else piece6(ip)
        key = (*p.key, *where)
        size = len(p.head) - (HEADER6 if ip.family == 6 else 0)
        if not p.payload or (p.more and len(p.payload) % 8) or size + p.offset + len(p.payload) > LONGEST:
            raise Bad("FRAGMENT_BAD")
        found = self.waiting.get(key)
        if found is None or ts - found.since > PATIENCE:
            found = self.waiting[key] = Waiting(ts)
        cause = found.refuses(p)
        if cause == "FRAGMENT_OVERLAP":  # RFC 5722: the whole datagram is given up
            del self.waiting[key]
        if cause is not None:
            raise Bad(cause)
        return self._add(found, p, key)

    def _add(self, found: Waiting, p: Piece, key: tuple[Any, ...]) -> Ip | None:
        found.parts[p.offset] = p.payload
        if p.offset == 0:
            found.head = p.head
        if not p.more:
            found.total = p.offset + len(p.payload)
        if sum(map(len, found.parts.values())) != found.total:
            return None
        del self.waiting[key]
        payload = b"".join(found.parts[k] for k in sorted(found.parts))
        return read_ip(with_length(found.head + payload))
