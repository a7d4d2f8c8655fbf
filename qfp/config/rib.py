"""The routing information base: candidates for every prefix, and which of them are in force.

A static route with a next hop alone is in force when the longest other prefix that holds the next hop leads, over
further ones if need be, to an interface. What is in force does not depend on the order of the lines, but for a tie:

1. `_cover`: every distinct next hop is looked up once, in all prefixes that there are.
2. `_reach`: whatever can be reached from the connected networks on is taken, step by step.
3. `_settle`: by longest prefix some of it leads back to itself, which IOS takes out of the table ("self-recursive").
   Of several routes in a circle the last one goes. What stood on it is looked at again.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator

MAX_DISTANCE = 255  # of a route that is never used
NONE = -1


class Rib:
    """Prefixes, candidates and next hops, each a number; columns by that number. A table is one VRF and family.

    Candidates are added in order of preference among equal distances.
    """

    def __init__(self) -> None:
        self._by_length: dict[int, dict[int, dict[int, int]]] = defaultdict(dict)  # table -> length -> net -> prefix
        self._sorted: dict[int, list[tuple[int, dict[int, int]]]] = {}  # the same, longest first
        self.nets: list[int] = []  # by prefix, as the next three
        self.lengths, self.tables = array("B"), array("L")  # bits; VRF and family
        self.best = array("q")  # candidate in force, or NONE
        self._rivals: dict[int, list[int]] = {}  # all candidates of a prefix, where there are several
        self._first = array("q")
        self.prefixes, self.distances = array("L"), array("B")  # by candidate, as the next two
        self.hops = array("q")  # next hop to look up, or NONE where the interface is known
        self.alive = bytearray()  # whether its next hop leads to an interface
        self._hop_ids: dict[tuple[int, int], int] = {}  # (table, address) -> next hop
        self._hops: list[tuple[int, int]] = []
        self.over: list[list[int]] = []  # by next hop, as the next two: candidates
        self._covers: list[tuple[int, ...]] = []  # prefixes that hold it, the longest first
        self.parents = array("q")  # the longest of them in force, or NONE

    def prefix(self, table: int, length: int, net: int) -> int:
        """Number of a prefix."""
        lengths = self._by_length[table]
        known = lengths.get(length)
        if known is None:
            known = lengths[length] = {}
            self._sorted[table] = sorted(lengths.items(), key=lambda each: -each[0])
        number = known.get(net)
        if number is None:
            number = known[net] = len(self.nets)
            self.nets.append(net)
            self.lengths.append(length)
            self.tables.append(table)
            self.best.append(NONE)
            self._first.append(NONE)
        return number

    def add(self, prefix: int, distance: int, hop: int | None = None, up: bool = True, table: int | None = None) -> int:
        """Add a candidate: to the next hop with an address, or (None) by an interface that is `up` or not. table: where
        the next hop is looked up, if not in that of the prefix."""
        number = len(self.prefixes)
        self.prefixes.append(prefix)
        self.distances.append(distance)
        self.alive.append(hop is None and up)
        if self._first[prefix] == NONE:
            self._first[prefix] = number
        else:
            self._rivals.setdefault(prefix, [self._first[prefix]]).append(number)
        if hop is None:
            self.hops.append(NONE)
            if up:
                self._prefer(number)
            return number
        key = (self.tables[prefix] if table is None else table, hop)
        known = self._hop_ids.setdefault(key, len(self.over))
        if known == len(self.over):
            self.over.append([])
        self.over[known].append(number)
        self.hops.append(known)
        return number

    def resolve(self) -> None:
        """Find out which candidates are in force."""
        self._hops = list(self._hop_ids)
        self._covers = [tuple(self.holding(table, address)) for table, address in self._hops]
        self._reach()
        self._settle()

    def hop(self, number: int) -> tuple[int, int]:
        """(table, address) of a next hop."""
        return self._hops[number]

    def holding(self, table: int, address: int) -> Iterator[int]:
        """Prefixes that hold an address, in force or not, the longest first."""
        bits = 128 if table & 1 else 32
        for length, known in self._sorted.get(table, ()):
            found = known.get(address >> bits - length << bits - length)
            if found is not None:
                yield found

    def longest(self, table: int, address: int) -> int:
        """The longest prefix in force that holds an address, or NONE."""
        return next((prefix for prefix in self.holding(table, address) if self.best[prefix] != NONE), NONE)

    def _prefer(self, candidate: int) -> bool:
        """Let a candidate be the best of its prefix if it is; tells whether the prefix had none."""
        if self.distances[candidate] >= MAX_DISTANCE:
            return False
        prefix = self.prefixes[candidate]
        other = self.best[prefix]
        if other == NONE or (self.distances[candidate], candidate) < (self.distances[other], other):
            self.best[prefix] = candidate
        return bool(other == NONE)

    def _reach(self) -> None:
        """Take everything that the connected networks lead to."""
        waiting: dict[int, list[int]] = defaultdict(list)  # prefix that is not in force -> next hops in it
        todo = []
        for hop, cover in enumerate(self._covers):
            if any(self.best[prefix] != NONE for prefix in cover):
                todo.append(hop)
            else:
                for prefix in cover:
                    waiting[prefix].append(hop)
        reached = bytearray(len(self._covers))
        while todo:
            hop = todo.pop()
            if reached[hop]:
                continue
            reached[hop] = 1
            for candidate in self.over[hop]:
                self.alive[candidate] = 1
                if self._prefer(candidate):
                    todo += waiting.pop(self.prefixes[candidate], ())

    def _settle(self) -> None:
        """Take out what leads back to itself, until nothing does."""
        self.parents = array("q", map(self._parent, range(len(self._covers))))
        gone = [candidate for hop in range(len(self.over)) for candidate in self._lost(hop)]
        gone = gone or self._circles()
        users = self._users() if gone else {}
        while gone:
            self._bury(gone, users)
            gone = self._circles()
        for candidate, distance in enumerate(self.distances):
            hop = self.hops[candidate]
            if distance >= MAX_DISTANCE and hop != NONE:  # never in force, so that nothing hangs on it
                self.alive[candidate] = self.parents[hop] not in (NONE, self.prefixes[candidate])

    def _users(self) -> dict[int, list[int]]:
        """Next hops that each prefix holds."""
        users: dict[int, list[int]] = defaultdict(list)
        for hop, cover in enumerate(self._covers):
            for prefix in cover:
                users[prefix].append(hop)
        return users

    def _parent(self, hop: int) -> int:
        return next((prefix for prefix in self._covers[hop] if self.best[prefix] != NONE), NONE)

    def _lost(self, hop: int) -> list[int]:
        """Candidates over a next hop that leads nowhere, or back into their own prefix."""
        parent = self.parents[hop]
        return [each for each in self.over[hop]
                if self.alive[each] and (parent == NONE or parent == self.prefixes[each])
                and self.distances[each] < MAX_DISTANCE]  # fmt: skip

    def _bury(self, gone: list[int], users: dict[int, list[int]]) -> None:
        """Take candidates out, and whatever has no way without them."""
        while gone:
            candidate = gone.pop()
            prefix = self.prefixes[candidate]
            self.alive[candidate] = 0
            if self.best[prefix] != candidate:
                continue
            self.best[prefix] = NONE
            for rival in self._rivals.get(prefix, ()):
                if self.alive[rival]:
                    self._prefer(rival)
            if self.best[prefix] != NONE:
                continue
            for hop in users.get(prefix, ()):
                if self.parents[hop] == prefix:
                    self.parents[hop] = self._parent(hop)
                    gone += self._lost(hop)

    def _circles(self) -> list[int]:
        """The last candidate of every circle of prefixes that lead to one another."""
        found = []
        seen = array("q", [0]) * len(self.nets)  # the walk that came by
        for start in set(self.parents) - {NONE}:
            at = start
            while at != NONE and not seen[at]:
                seen[at] = start + 1
                at = self._onward(at)
            if at != NONE and seen[at] == start + 1:
                found.append(max(self.best[prefix] for prefix in self._ring(at)))
        return found

    def _ring(self, start: int) -> Iterator[int]:
        at = start
        while True:
            yield at
            at = self._onward(at)
            if at == start:
                return

    def _onward(self, prefix: int) -> int:
        """The prefix that one leads over, or NONE at an interface."""
        best = self.best[prefix]
        hop = self.hops[best] if best != NONE else NONE
        return self.parents[hop] if hop != NONE else NONE

    def ends(self) -> list[tuple[int, int]]:
        """By next hop: (next hop, prefix) at the end of the way over it, where that prefix leads to an interface.

        (NONE, NONE) where it leads nowhere.
        """
        found: list[tuple[int, int] | None] = [None] * len(self.parents)
        for start in range(len(found)):
            way, hop, end = [], start, None
            while end is None:
                end = found[hop]
                if end is None:
                    way.append(hop)
                    prefix = self.parents[hop]
                    onward = self.hops[self.best[prefix]] if prefix != NONE else NONE
                    if onward == NONE:
                        end = (hop, prefix) if prefix != NONE else (NONE, NONE)
                    hop = onward
            for each in way:
                found[each] = end
        return [end or (NONE, NONE) for end in found]
