"""Static routes as columns: the list of a configuration that holds a million of them.

A plain route (a prefix, an address as next hop, a distance, nothing else) is a row of integers; any other is an object.
Rows become objects when somebody asks for them, and stay objects from then on, so that what is changed in one is not
lost: the list behaves as a list of StaticRoute.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, MutableSequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, NamedTuple, overload

from .static_route import StaticRoute


class PlainRoute(NamedTuple):
    """A row: IP version, network address, prefix length in bits, next hop, administrative distance, line."""

    family: int
    network: int
    length: int
    hop: int
    distance: int
    line: int


class PlainRows:
    """Plain routes of one family, a column a field."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.networks: MutableSequence[int] = array("I") if family == 4 else []  # 128 bits fit no machine word
        self.hops: MutableSequence[int] = array("I") if family == 4 else []
        self.lengths, self.distances, self.lines = array("B"), array("B"), array("I")

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, network: int, length: int, hop: int, distance: int, line: int) -> None:
        self.networks.append(network)
        self.lengths.append(length)
        self.hops.append(hop)
        self.distances.append(distance)
        self.lines.append(line)

    def extend(self, other: PlainRows) -> None:
        self.networks.extend(other.networks)
        self.hops.extend(other.hops)
        self.lengths.extend(other.lengths)
        self.distances.extend(other.distances)
        self.lines.extend(other.lines)

    def row(self, at: int) -> PlainRoute:
        return PlainRoute(self.family, self.networks[at], self.lengths[at], self.hops[at], self.distances[at],
                          self.lines[at])  # fmt: skip

    def keys(self) -> Iterator[int]:
        """What tells each route from others to IOS: its prefix and its next hop, as one number."""
        bits = 32 if self.family == 4 else 128
        mark = self.family << 2 * bits + 8
        for network, length, hop in zip(self.networks, self.lengths, self.hops, strict=True):
            yield mark | (network << 8 | length) << bits | hop


def route_of(row: PlainRoute) -> StaticRoute:
    """The object that a row stands for."""
    if row.family == 4:
        prefix: IPv4Network | IPv6Network = IPv4Network((row.network, row.length))
        hop: IPv4Address | IPv6Address = IPv4Address(row.hop)
    else:
        prefix, hop = IPv6Network((row.network, row.length)), IPv6Address(row.hop)
    return StaticRoute(row.family, prefix, next_hop=hop, distance=row.distance, line=row.line)


class Routes(MutableSequence["StaticRoute"]):
    """A list of StaticRoute, of which the plain ones are rows until they are asked for."""

    def __init__(self, routes: Iterable[StaticRoute] = ()) -> None:
        self._plain = {4: PlainRows(4), 6: PlainRows(6)}
        self._objects: list[StaticRoute] = list(routes)
        # by position: 2 * row, and 1 more for IPv6; or -1 - object
        self._order = array("q", (-1 - at for at in range(len(self._objects))))

    @classmethod
    def of(cls, routes: Iterable[StaticRoute]) -> Routes:
        """The same routes as Routes; those that are Routes already stay what they are."""
        return routes if isinstance(routes, Routes) else cls(routes)

    @classmethod
    def ordered(cls, plain: dict[int, PlainRows], objects: list[StaticRoute], order: Iterable[int]) -> Routes:
        """Routes of rows and objects in the order of codes, as RouteBook has them."""
        made = cls()
        made._plain, made._objects, made._order = plain, objects, array("q", order)
        return made

    def rows(self) -> Iterator[PlainRoute | StaticRoute]:
        """Every route in order, rows as rows: nothing becomes an object for it."""
        four, six = self._plain[4], self._plain[6]
        for code in self._order:
            if code < 0:
                yield self._objects[-1 - code]
            else:
                yield (six if code & 1 else four).row(code >> 1)

    def _at(self, position: int) -> StaticRoute:
        code = self._order[position]
        if code >= 0:
            self._objects.append(route_of(self._plain[6 if code & 1 else 4].row(code >> 1)))
            code = self._order[position] = -len(self._objects)
        return self._objects[-1 - code]

    @overload
    def __getitem__(self, index: int) -> StaticRoute: ...
    @overload
    def __getitem__(self, index: slice) -> list[StaticRoute]: ...
    def __getitem__(self, index: int | slice) -> StaticRoute | list[StaticRoute]:
        if isinstance(index, slice):
            return [self._at(position) for position in range(len(self))[index]]
        return self._at(index)

    @overload
    def __setitem__(self, index: int, value: StaticRoute) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[StaticRoute]) -> None: ...
    def __setitem__(self, index: int | slice, value: StaticRoute | Iterable[StaticRoute]) -> None:
        if isinstance(index, slice):
            self._splice(index, value)  # type: ignore[arg-type]
            return
        code = self._take(value)  # type: ignore[arg-type]
        self._order[index] = code

    def _splice(self, index: slice, values: Iterable[StaticRoute]) -> None:
        whole = list(self._order)
        whole[index] = [self._take(each) for each in values]
        self._order = array("q", whole)

    def _take(self, route: StaticRoute) -> int:
        self._objects.append(route)
        return -len(self._objects)

    def __delitem__(self, index: int | slice) -> None:
        del self._order[index]

    def insert(self, index: int, value: StaticRoute) -> None:
        """Put a route in front of a position."""
        self._order.insert(index, self._take(value))

    def __len__(self) -> int:
        return len(self._order)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Routes | list):
            return NotImplemented
        if len(self) != len(other):
            return False
        theirs = other.rows() if isinstance(other, Routes) else other
        return all(_alike(mine, each) for mine, each in zip(self.rows(), theirs, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Routes({len(self)} static routes)"


def _alike(one: PlainRoute | StaticRoute, other: PlainRoute | StaticRoute) -> bool:
    if isinstance(one, PlainRoute) and isinstance(other, PlainRoute):
        return one[:5] == other[:5]
    one, other = (route_of(each) if isinstance(each, PlainRoute) else each for each in (one, other))
    return one == other


class RouteBook:
    """The static routes while a configuration is read: a line may replace an earlier one, or take some back.

    A route that is written again keeps its place and takes the new line's values, as in a dictionary.
    """

    def __init__(self) -> None:
        self._plain = {4: PlainRows(4), 6: PlainRows(6)}
        self._objects: list[StaticRoute] = []
        self._codes: dict[object, int] = {}  # key of a route -> as in Routes
        self._to: dict[object, dict[object, None]] | None = None  # (VRF, prefix) -> keys; from the first `no` on

    def add_plain(self, rows: PlainRows) -> None:
        """Add rows in the order of their lines."""
        mine = self._plain[rows.family]
        first, six = len(mine), rows.family == 6
        mine.extend(rows)
        last = len(mine)
        self._codes.update(zip(rows.keys(), range(2 * first + six, 2 * last + six, 2), strict=True))
        if self._to is not None:
            self._file(rows.keys(), range(2 * first + six, 2 * last + six, 2))

    def add(self, route: StaticRoute) -> None:
        """Add one route."""
        self._objects.append(route)
        key, code = _key_of(route), -len(self._objects)
        self._codes[key] = code
        if self._to is not None:
            self._file([key], [code])

    def remove(self, route: StaticRoute) -> None:
        """Take back the route that a `no` line names, or all to its prefix when it names no way."""
        if self._to is None:
            self._to = {}
            self._file(self._codes, self._codes.values())
        there = self._to.get((route.vrf, route.prefix), {})
        every = route.next_hop is None and route.interface is None
        for key in list(there) if every else [_key_of(route)]:
            there.pop(key, None)
            self._codes.pop(key, None)

    def _file(self, keys: Iterable[object], codes: Iterable[int]) -> None:
        assert self._to is not None
        for key, code in zip(keys, codes, strict=True):
            route = self._objects[-1 - code] if code < 0 else route_of(self._plain[4 + 2 * (code & 1)].row(code >> 1))
            self._to.setdefault((route.vrf, route.prefix), {})[key] = None

    def routes(self) -> Routes:
        """The routes that are left, in the order of their lines."""
        return Routes.ordered(self._plain, self._objects, self._codes.values())


def _key_of(route: StaticRoute) -> object:
    """As PlainRows.keys where a row could stand for a route of the same key, else a tuple."""
    by_address = isinstance(route.next_hop, IPv4Address | IPv6Address)
    if route.vrf is not None or route.interface is not None or not by_address:
        return (route.vrf, route.prefix, route.next_hop, route.interface)
    rows = PlainRows(route.family)
    hop: Any = route.next_hop
    rows.add(int(route.prefix.network_address), route.prefix.prefixlen, int(hop), 1, 0)
    return next(rows.keys())


def book_of(load: Any) -> RouteBook:
    """The static routes that a Load has read."""
    found: RouteBook = load.index.setdefault("routes", RouteBook())
    return found
