"""Timers in packet time: who is due next, and a wheel for deadlines by the million (IDLE-4).

The data plane stops before the first packet that is not before `ctl[CTL_DUE]`, and the control plane does what is due.
"""

import heapq
from collections.abc import Callable
from typing import Protocol

import numpy as np

from qfp.batch import Array
from qfp.tables.store import Tables
from qfp_kernels.layout import CTL_DUE, NEVER

SLOT = 10**9  # ns of a slot of the wheel


# What a wheel holds: slots, the least deadline of each, their order, and the deadlines at hand with their numbers
Entered = tuple[dict[int, list[tuple[Array, Array]]], dict[int, int], list[int], Array, Array]


class Client(Protocol):
    """Someone with timers."""

    def next_due(self) -> int:
        """ns of the next timer, NEVER for none."""

    def fire(self, now: int) -> None:
        """Do everything that is due at `now`."""


class Timers:
    """Fires the timers of several clients in order of time."""

    def __init__(self, tables: Tables, clients: list[Client]):
        self._t, self._clients = tables.t, clients
        self.arm()

    def arm(self) -> None:
        """Tell the data plane when to stop next."""
        self._t.ctl[CTL_DUE] = min(client.next_due() for client in self._clients)

    def advance(self, now: int) -> None:
        """Fire everything up to `now`, each at its own time; at one time in the clients' order."""
        while True:
            due, k = min((client.next_due(), k) for k, client in enumerate(self._clients))
            if due > now or due == NEVER:
                break
            self._clients[k].fire(due)
        self.arm()


class Wheel:
    """Deadlines of numbered things, kept by the second in which they fall.

    `actual(numbers)` gives the deadlines that hold now, int64 ns: they may have moved back since they were entered
    (an SA was used), never forward. So nothing is done for a thing that is used; when its second comes, all of that
    second are looked at once, as columns, and most of them move on.
    """

    SAVED = ("_slots", "_least", "_order", "_at", "_numbers")  # see qfp.checkpoint

    def __init__(self, actual: Callable[[Array], Array]):
        self._actual = actual
        self._slots: dict[int, list[tuple[Array, Array]]] = {}
        self._least: dict[int, int] = {}  # earliest deadline of each slot
        self._order: list[int] = []  # heap of slots
        self._at = self._numbers = np.empty(0, np.int64)  # the second at hand, looked at and in order

    def add(self, numbers: Array, at: Array) -> None:
        """Enter deadlines; those at NEVER are left out."""
        kept = at != NEVER
        numbers, at = numbers[kept], at[kept]
        slots = at // SLOT
        for slot in np.unique(slots).tolist():
            here = slots == slot
            if slot not in self._slots:
                self._slots[slot], self._least[slot] = [], NEVER
                heapq.heappush(self._order, slot)
            self._slots[slot].append((at[here], numbers[here]))
            self._least[slot] = min(self._least[slot], int(at[here].min()))

    def next_due(self) -> int:
        """A time before which nothing falls due; NEVER when the wheel is empty."""
        first = self._least[self._order[0]] if self._order else NEVER
        return min(first, int(self._at[0])) if self._at.size else first

    def due(self, now: int) -> Array:
        """Numbers whose deadline is not after `now`, in order of (deadline, number); they are taken out."""
        at = numbers = np.empty(0, np.int64)
        while self.next_due() <= now:
            if self._order and self._least[self._order[0]] <= now:
                self._look_at(self._order[0])
            count = int(np.searchsorted(self._at, now, "right"))
            late, self._at, self._numbers = self._numbers[:count], self._at[count:], self._numbers[count:]
            holds = self._actual(late)
            over = holds <= now
            at, numbers = np.concatenate([at, holds[over]]), np.concatenate([numbers, late[over]])
            self.add(late[~over], holds[~over])
        order: Array = np.lexsort((numbers, at))
        return numbers[order]

    def _look_at(self, slot: int) -> None:
        """Put a second in order, by the deadlines that hold now."""
        heapq.heappop(self._order)
        del self._least[slot]
        numbers = np.concatenate([numbers for _, numbers in self._slots.pop(slot)])
        holds = self._actual(numbers)
        here = holds // SLOT <= slot
        self.add(numbers[~here], holds[~here])
        at, numbers = np.concatenate([self._at, holds[here]]), np.concatenate([self._numbers, numbers[here]])
        order = np.lexsort((numbers, at))
        self._at, self._numbers = at[order], numbers[order]

    def state(self) -> Entered:
        """A copy of what is entered, for `restore`."""
        slots = {slot: list(parts) for slot, parts in self._slots.items()}
        return slots, dict(self._least), list(self._order), self._at, self._numbers

    def restore(self, state: Entered) -> None:
        """Put it back."""
        slots, least, order, self._at, self._numbers = state
        self._slots, self._least = {slot: list(parts) for slot, parts in slots.items()}, dict(least)
        self._order = list(order)
