"""What packets say about themselves: headers of whole batches at once, and the ICMP errors among them."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np

from qfp.batch import Array, Batch
from qfp.mtu.datagrams import FRAGMENT6, GRE, ICMP, ICMPV6, NEXT_FRAGMENT

ETHER = {0x0800: 4, 0x86DD: 6}
GRE_CSUM, GRE_KEY, GRE_SEQ = 0x8000, 0x2000, 0x1000
ERRORS4 = (3, 11, 12)  # ICMP types that are errors about a packet; ICMPv6: all below 128
NAMES = {
    (4, 3, 0): "net unreachable", (4, 3, 1): "host unreachable", (4, 3, 4): "fragmentation needed and DF set",
    (4, 11, 0): "time exceeded", (6, 1, 0): "no route", (6, 1, 3): "address unreachable", (6, 2, 0): "packet too big",
    (6, 3, 0): "time exceeded",
}  # fmt: skip


@dataclass(frozen=True)
class Headers:
    """IP headers of n packets, one array a field. body: arena offset behind them. length: bytes of the whole packet.
    first: no later fragment."""

    family: Array
    length: Array
    protocol: Array
    fragment: Array
    first: Array
    body: Array
    payload: Array  # bytes behind the headers


def _byte(arena: Array, at: Array) -> Array:
    got: Array = arena[np.minimum(at, arena.size - 1)].astype(np.int64)
    return got


def _be16(arena: Array, at: Array) -> Array:
    return _byte(arena, at) << 8 | _byte(arena, at + 1)


def _be32(arena: Array, at: Array) -> Array:
    return _be16(arena, at) << 16 | _be16(arena, at + 2)


def headers(arena: Array, at: Array) -> Headers:
    """The IP headers at these arena offsets; of IPv6 extension headers only a fragment header is known."""
    if not len(at):
        none = np.zeros(0, np.int64)
        return Headers(none, none, none, none > 0, none > 0, none, none)
    family = _byte(arena, at) >> 4
    four = family == 4
    inserted = ~four & (_byte(arena, at + 6) == NEXT_FRAGMENT)
    head = np.where(four, (_byte(arena, at) & 15) * 4, np.where(inserted, 40 + FRAGMENT6, 40))
    length = np.where(four, _be16(arena, at + 2), _be16(arena, at + 4) + 40)
    upper = np.where(four, at + 9, np.where(inserted, at + 40, at + 6))
    word = np.where(four, _be16(arena, at + 6), np.where(inserted, _be16(arena, at + 42), 0))
    offset = np.where(four, (word & 0x1FFF) << 3, word & 0xFFF8)
    more = np.where(four, word & 0x2000, word & 1) != 0
    return Headers(family, length, _byte(arena, upper), more | (offset > 0), offset == 0, at + head, length - head)


def of_batch(batch: Batch) -> Headers:
    """Headers of the packets of a batch of raw IP."""
    return headers(batch.arena, batch.columns["offset"].astype(np.int64))


def inside_gre(arena: Array, found: Headers) -> tuple[Array, Headers]:
    """(which of these packets start a GRE packet, the IP headers inside of those)."""
    starts = (found.protocol == GRE) & found.first
    at = found.body[starts]
    flags = _be16(arena, at) if len(at) else np.zeros(0, np.int64)
    options = sum((flags & bit != 0).astype(np.int64) for bit in (GRE_CSUM, GRE_KEY, GRE_SEQ))
    return starts, headers(arena, at + 4 + 4 * options)


def is_error(batch: Batch, found: Headers) -> Array:
    """Which packets of a batch are ICMP errors."""
    kind = _byte(batch.arena, found.body) if len(batch) else np.zeros(0, np.int64)
    error4 = (found.family == 4) & (found.protocol == ICMP) & np.isin(kind, ERRORS4)
    error6 = (found.family == 6) & (found.protocol == ICMPV6) & (kind < 128)
    found_errors: Array = found.first & (error4 | error6)
    return found_errors


def errors(batch: Batch, found: Headers, rows: Array) -> Array:
    """(n, 3): type, code and the MTU told (0 = none) of the ICMP errors in these rows."""
    at = found.body[rows]
    if not len(at):
        return np.zeros((0, 3), np.int64)
    told4 = np.where(_byte(batch.arena, at) == 3, _be16(batch.arena, at + 6), 0)
    told6 = np.where(_byte(batch.arena, at) == 2, _be32(batch.arena, at + 4), 0)
    told = np.where(found.family[rows] == 4, told4, told6)
    return np.stack([_byte(batch.arena, at), _byte(batch.arena, at + 1), told], axis=1)


def ends(batch: Batch, row: int) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """(source, destination) of a packet."""
    packet = batch.frame(row)
    if packet[0] >> 4 == 4:
        return ip_address(packet[12:16]), ip_address(packet[16:20])
    return ip_address(packet[8:24]), ip_address(packet[24:40])
