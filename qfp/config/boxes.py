"""Sets of packets as boxes: ranges of source, destination, protocol and ports, and what an access list does with them.

A box is five inclusive ranges. What an access list permits of a box is found by walking its entries in order and
cutting away what each of them takes: the first entry that matches a packet decides about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

from .model import AccessList, Ace

ANY_PORTS = (0, 65535)
ANY_PROTOCOL = (0, 255)
WILD_BITS = 8  # bits of a wildcard that stand apart and are counted out: 256 ranges
FEW = 64  # boxes of an access list that are compared one by one
BOXES_MAX = 4096  # that one box may be cut into
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ahp", 58: "icmp"}

Range = tuple[int, int]


class Box(NamedTuple):
    """Packets whose five fields lie in these inclusive ranges."""

    src: Range
    dst: Range
    protocol: Range = ANY_PROTOCOL
    sport: Range = ANY_PORTS
    dport: Range = ANY_PORTS

    def meet(self, other: Box) -> Box | None:
        """What lies in both, or None."""
        out = []
        for (low, high), (first, last) in zip(self, other, strict=True):
            if low > last or first > high:
                return None
            out.append((max(low, first), min(high, last)))
        return Box._make(out)

    def minus(self, other: Box) -> list[Box]:
        """What lies in this one alone, as boxes that do not overlap."""
        if self.meet(other) is None:
            return [self]
        out, rest = [], list(self)
        for k, (first, last) in enumerate(other):
            low, high = rest[k]
            for part in ((low, first - 1), (last + 1, high)):
                if part[0] <= part[1]:
                    out.append(Box._make([*rest[:k], part, *rest[k + 1 :]]))
            rest[k] = (max(low, first), min(high, last))
        return out

    def __str__(self) -> str:
        ends = (_addresses(self.src), _ports(self.sport), _addresses(self.dst), _ports(self.dport))
        return " ".join(filter(None, (_protocol(self.protocol), *ends)))


def minus(boxes: Iterable[Box], others: Iterable[Box]) -> list[Box]:
    """What lies in some of the first and in none of the others."""
    left = list(boxes)
    for other in others:
        left = [part for box in left for part in box.minus(other)]
    return left


def _protocol(values: Range) -> str:
    if values == ANY_PROTOCOL:
        return "ip"
    return _NAMES.get(values[0], str(values[0])) if values[0] == values[1] else f"protocols {values[0]}-{values[1]}"


def _dotted(value: int) -> str:
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _addresses(values: Range) -> str:
    """As prefix where it is one."""
    low, high = values
    size = high - low + 1
    if (low, high) == (0, 0xFFFFFFFF):
        return "any"
    if size == 1:
        return _dotted(low)
    if size & (size - 1) == 0 and low % size == 0:
        return f"{_dotted(low)}/{33 - size.bit_length()}"
    return f"{_dotted(low)}-{_dotted(high)}"


def _ports(values: Range) -> str:
    if values == ANY_PORTS:
        return ""
    return f"port {values[0]}" if values[0] == values[1] else f"ports {values[0]}-{values[1]}"


# --- access lists


def port_ranges(ace: Any, side: str) -> list[Range]:
    """Inclusive port ranges of one side of a rule; ICMP type and code stand in the place of ports."""
    if ace.protocol in (1, 58):
        value = ace.icmp_type if side == "sport" else ace.icmp_code
        return [ANY_PORTS] if value is None else [(value, value)]
    match = getattr(ace, side)
    if match is None:
        return [ANY_PORTS]
    if match.op == "eq":
        return [(p, p) for p in (match.ports or (match.low,))]
    if match.op == "neq":
        holes = sorted(match.ports or (match.low,))
        edges = [-1, *holes, 65536]
        return [(a + 1, b - 1) for a, b in pairwise(edges) if a + 1 <= b - 1]
    return [(match.low, match.high)]


def address_ranges(value: int, mask: int, bits: int = 32) -> tuple[list[Range], bool]:
    """(ranges of the addresses whose bits under the mask equal the value's, whether they are no more than those).

    A wildcard whose free bits stand apart is many ranges; beyond WILD_BITS of them it is the range around all.
    """
    free = ~mask & ((1 << bits) - 1)
    tail = (free + 1 & ~free).bit_length() - 1  # free bits at the low end: within one range
    apart = [1 << k for k in range(tail, bits) if free >> k & 1]
    base = value & mask
    if len(apart) > WILD_BITS:
        return [(base, base | free)], False
    firsts = sorted(base + sum(chosen) for chosen in product(*((0, bit) for bit in apart)))
    return [(first, first + (1 << tail) - 1) for first in firsts], True


class Entry(NamedTuple):
    """What one entry of an access list matches. exact: no less and no more than these boxes."""

    permit: bool
    boxes: list[Box]
    exact: bool


def entry_of(ace: Ace) -> Entry:
    """An access list entry as boxes. Conditions beyond them are not looked at: then it matches less than it seems."""
    sources, one = address_ranges(*ace.src)
    destinations, other = address_ranges(*ace.dst)
    protocol = ANY_PROTOCOL if ace.protocol is None else (ace.protocol, ace.protocol)
    ways = product(sources, destinations, port_ranges(ace, "sport"), port_ranges(ace, "dport"))
    boxes = [Box(src, dst, protocol, sport, dport) for src, dst, sport, dport in ways]
    return Entry(ace.permit, boxes, one and other and not ace.beyond_selectors)


class Part(NamedTuple):
    """A part of a box that an access list permits. exact: surely, not just perhaps."""

    box: Box
    exact: bool


class Filter:
    """An access list, ready to be asked about many boxes."""

    def __init__(self, entries: Sequence[Entry]):
        self.entries = entries
        self._rows = [(k, *box.src, *box.dst) for k, entry in enumerate(entries) for box in entry.boxes]
        self._columns: Any = None
        if len(self._rows) > FEW:
            import numpy as np  # only here: reading an ordinary configuration must not wait for it

            self._columns = np.array(self._rows, np.int64).T.copy()

    @classmethod
    def of(cls, acl: AccessList) -> Filter:
        return cls([entry_of(ace) for ace in acl.entries])

    def _near(self, box: Box) -> list[int]:
        """Entries that may match something of a box, in order."""
        (low, high), (first, last) = box.src, box.dst
        if self._columns is None:
            near = (k for k, src0, src1, dst0, dst1 in self._rows
                    if src0 <= high and src1 >= low and dst0 <= last and dst1 >= first)  # fmt: skip
            return list(dict.fromkeys(near))
        k, src0, src1, dst0, dst1 = self._columns
        hit = (src0 <= high) & (src1 >= low) & (dst0 <= last) & (dst1 >= first)
        return list(dict.fromkeys(k[hit].tolist()))

    def permitted(self, box: Box) -> list[Part]:
        """What the list permits of a box.

        An entry that is not exact is taken for what it matches at most if it permits, and for nothing if it denies;
        what it would have decided about is then permitted just perhaps. So nothing that is permitted is missing.
        """
        left, found = [Part(box, True)], []
        for k in self._near(box):
            permit, boxes, exact = self.entries[k]
            for cut in boxes:
                still: list[Part] = []
                for part in left:
                    common = part.box.meet(cut)
                    if common is None:
                        still.append(part)
                        continue
                    if permit:
                        found.append(Part(common, part.exact and exact))
                    if exact:
                        still += [Part(rest, part.exact) for rest in part.box.minus(cut)]
                    else:  # what it leaves goes on to the entries behind it
                        still += [Part(common, False), *(Part(rest, part.exact) for rest in part.box.minus(cut))]
                left = still
            if not left or len(left) > BOXES_MAX:
                break
        return _once(found)


def _once(parts: list[Part]) -> list[Part]:
    """Without what is there twice, the sure one first."""
    seen: dict[Box, bool] = {}
    for box, exact in parts:
        seen[box] = seen.get(box, False) or exact
    return [Part(box, exact) for box, exact in seen.items()]
