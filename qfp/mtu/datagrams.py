"""Datagrams of every size as a source host sends them: whole, or in fragments of the host's own making.

A host cuts what is longer than its own MTU itself, the longest fragments first, and leaves DF clear on these even where
it sets DF on everything else: path MTU discovery ends at its own interface (RFC 1191 section 6.5 speaks of datagrams;
Linux and Windows send so). So above the host's MTU "DF set" is the same traffic as "DF clear".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from qfp.batch import RAW_IP, Array, Batch
from qfp.sizes import FRAGMENT_UNIT, IP_HEADER

Address = IPv4Address | IPv6Address
ICMP, TCP, UDP, GRE, ICMPV6 = 1, 6, 17, 47, 58
UPPER = {UDP: 8, TCP: 20, ICMP: 8, ICMPV6: 8}  # bytes of header that are built; other protocols: payload alone
ECHO = {ICMP: 8, ICMPV6: 128}  # type of an echo request
FRAGMENT6, NEXT_FRAGMENT = 8, 44
DONT, MORE = 0x4000, 0x2000
TTL = 64
LONGEST = 65535
ARENA = 24 << 20  # bytes of frames built at a time: bounds the memory of a sweep
PATTERN = np.random.default_rng(1).integers(0, 256, LONGEST + 1, np.uint8)  # what all payloads begin with
SUMS = np.concatenate([[0], np.cumsum(PATTERN.reshape(-1, 2) @ np.array([256, 1]))])  # of its first k 16-bit words


@dataclass(frozen=True)
class Flow:
    """Who talks to whom. Ports of ICMP are type and code, as in selectors."""

    family: int
    src: Address
    dst: Address
    protocol: int = UDP
    sport: int = 40000
    dport: int = 40000

    @property
    def least(self) -> int:
        """Bytes of the shortest IP packet of this flow."""
        return IP_HEADER[self.family] + UPPER.get(self.protocol, 8)


@dataclass(frozen=True)
class Frames:
    """Packets of some datagrams: `batch` in order of departure, `owner` the datagram of each (place in the sweep)."""

    batch: Batch
    owner: Array


def counts(sizes: Array, family: int, mtu: int) -> Array:
    """How many packets a host with this MTU sends for datagrams of these sizes (IP bytes)."""
    room, unit = _room(family, mtu)
    more = np.maximum(0, -((room - (sizes - IP_HEADER[family])) // unit))
    return np.where(sizes <= mtu, 1, 1 + more)


def _room(family: int, mtu: int) -> tuple[int, int]:
    """(payload bytes of the last fragment at most, of every other)."""
    room = mtu - IP_HEADER[family] - (0 if family == 4 else FRAGMENT6)
    return room, room // FRAGMENT_UNIT * FRAGMENT_UNIT


def build(flow: Flow, sizes: Array, df: bool, mtu: int, times: Array, first: int = 0) -> Iterator[Frames]:
    """The packets of datagrams of `sizes` IP bytes, in parts of about ARENA bytes. mtu: the host's. times: ns of each
    datagram. first: number of the first datagram, for identifications."""
    step = max(1, ARENA // max(1, int(sizes.max())))
    for start in range(0, len(sizes), step):
        part = slice(start, start + step)
        yield _part(flow, sizes[part], df, mtu, times[part], start, first + start)


def _part(flow: Flow, sizes: Array, df: bool, mtu: int, times: Array, start: int, number: int) -> Frames:
    many = counts(sizes, flow.family, mtu)
    owner = np.repeat(np.arange(len(sizes)), many)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(many) - many, many)
    _, unit = _room(flow.family, mtu)
    payload = sizes[owner] - IP_HEADER[flow.family]
    at = rank * unit
    last = rank == many[owner] - 1
    length = np.where(last, payload - at, unit)
    heads = _heads4 if flow.family == 4 else _heads6
    cut = many[owner] > 1
    head = heads(flow, length, at // FRAGMENT_UNIT, cut, ~last, df, number + owner)
    size = np.where(cut, head.shape[1], IP_HEADER[flow.family]) + length
    offset = np.cumsum(size) - size
    arena = _arena(flow, sizes, head, offset, size, at, rank == 0)
    columns = {
        "offset": offset, "length": size, "wire": size, "ts": times[owner], "in_if": np.zeros(len(owner)),
        "link": np.full(len(owner), RAW_IP), "frame": np.arange(len(owner)),
    }  # fmt: skip
    return Frames(Batch(arena, columns), start + owner)


def _arena(flow: Flow, sizes: Array, head: Array, offset: Array, size: Array, at: Array, leads: Array) -> Array:
    """Headers and payloads of all packets. The copy of a payload is a loop: an index a byte would cost ten times it."""
    arena = np.empty(int(size.sum()), np.uint8)
    upper = _upper(flow, sizes)
    gap = upper.shape[1]
    short = IP_HEADER[flow.family]
    begins = np.where(leads, gap, 0)  # the first packet holds the upper header
    body = offset + np.where(_whole(head, flow.family), short, head.shape[1])
    source = np.where(leads, 0, at - gap)
    for to, end, come in zip((body + begins).tolist(), (offset + size).tolist(), source.tolist(), strict=True):
        arena[to:end] = PATTERN[come : come + end - to]
    arena[offset[:, None] + np.arange(short)] = head[:, :short]
    cut = ~_whole(head, flow.family)
    if head.shape[1] > short:
        arena[offset[cut, None] + np.arange(short, head.shape[1])] = head[cut, short:]
    arena[body[leads][:, None] + np.arange(gap)] = upper
    return arena


def _whole(head: Array, family: int) -> Array:
    """Which packets are no fragments, by their headers: those of IPv4 all have the plain header's length."""
    whole: Array = np.ones(len(head), bool) if family == 4 else head[:, 6] != NEXT_FRAGMENT
    return whole


# --------------------------------------------------------------------------------------------------- headers
def words(values: Array, width: int) -> Array:
    """Low `width` bytes of integers, big-endian: (n,) to (n, width)."""
    digits = np.ascontiguousarray(values, ">u8").view(np.uint8).reshape(-1, 8)
    return np.asarray(digits[:, 8 - width :])


def _complement(sums: Array) -> Array:
    """One's complement of sums of 16-bit words (RFC 1071)."""
    for _ in range(3):
        sums = (sums & 0xFFFF) + (sums >> 16)
    return 0xFFFF - sums


def _sum(rows: Array) -> Array:
    total: Array = rows[:, 0::2].sum(axis=1, dtype=np.int64) * 256 + rows[:, 1::2].sum(axis=1, dtype=np.int64)
    return total


def _heads4(flow: Flow, length: Array, units: Array, cut: Array, more: Array, df: bool, number: Array) -> Array:
    head = np.zeros((len(length), 20), np.uint8)
    head[:, 0], head[:, 8], head[:, 9] = 0x45, TTL, flow.protocol
    head[:, 2:4], head[:, 4:6] = words(20 + length, 2), words(number & 0xFFFF, 2)
    head[:, 6:8] = words(np.where(cut, units | np.where(more, MORE, 0), DONT if df else 0), 2)
    head[:, 12:20] = np.frombuffer(flow.src.packed + flow.dst.packed, np.uint8)
    head[:, 10:12] = words(_complement(_sum(head)), 2)
    return head


def _heads6(flow: Flow, length: Array, units: Array, cut: Array, more: Array, df: bool, number: Array) -> Array:
    """IPv6 headers, each with room for a fragment header (RFC 8200 section 4.5), which a whole packet leaves out."""
    head = np.zeros((len(length), 48), np.uint8)
    head[:, 0], head[:, 7] = 0x60, TTL
    head[:, 4:6] = words(length + np.where(cut, FRAGMENT6, 0), 2)
    head[:, 6] = np.where(cut, NEXT_FRAGMENT, flow.protocol)
    head[:, 8:40] = np.frombuffer(flow.src.packed + flow.dst.packed, np.uint8)
    head[:, 40], head[:, 42:44], head[:, 44:48] = flow.protocol, words(units << 3 | more, 2), words(number, 4)
    return head


def _upper(flow: Flow, sizes: Array) -> Array:
    """Upper-layer header of each datagram, checksum included."""
    length = sizes - IP_HEADER[flow.family]
    size = UPPER.get(flow.protocol, 0)
    head = np.zeros((len(sizes), size), np.uint8)
    if not size:
        return head
    if flow.protocol in ECHO:
        head[:, 0], head[:, 1] = flow.sport, flow.dport
    else:
        head[:, 0:2], head[:, 2:4] = words(np.array(flow.sport), 2), words(np.array(flow.dport), 2)
    if flow.protocol == UDP:
        head[:, 4:6] = words(length, 2)
    if flow.protocol == TCP:
        head[:, 12], head[:, 13], head[:, 14:16] = 0x50, 0x10, 255
    place = {UDP: 6, TCP: 16}.get(flow.protocol, 2)
    value = _complement(_sum(head) + _payload_sum(length - size) + _pseudo(flow, length))
    head[:, place : place + 2] = words(np.where((value == 0) & (flow.protocol == UDP), 0xFFFF, value), 2)
    return head


def _payload_sum(length: Array) -> Array:
    """Sum of the 16-bit words of payloads of these lengths; an odd byte counts as the high one."""
    odd = np.where(length & 1, PATTERN[length - (length & 1)].astype(np.int64) << 8, 0)
    total: Array = SUMS[length >> 1] + odd
    return total


def _pseudo(flow: Flow, length: Array) -> Array:
    """Sum of the pseudo-header; ICMP has none."""
    if flow.protocol == ICMP:
        return np.zeros(len(length), np.int64)
    ends = np.frombuffer(flow.src.packed + flow.dst.packed, np.uint8)[None]
    return _sum(ends) + flow.protocol + length
