"""What the network told about the way to a peer (PF-2, RFC 4301 section 8.2): SAs learn smaller path MTUs, and forget
them again.

The data plane has checked the ICMP error (qfp_kernels.pathmtu) and stopped behind it. What was learned holds for
AGE in packet time (RFC 1191 section 6.3, RFC 8201 section 4), then the interface's MTU is tried again.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from qfp.tables.store import Tables
from qfp_kernels.layout import NEVER, STOP_MTU

AGE = 600 * 10**9  # ns


@dataclass(frozen=True)
class Learned:
    """One change, for the log and the show commands."""

    ts: int
    sa: int
    mtu: int
    told: bool  # False: aged out


class PathMtus:
    """Path MTUs of outbound SAs. `resize(handle, mtu)` writes an SA's sizes; `home(handle)` is its interface's MTU."""

    SAVED = ("_ages", "history")  # see qfp.checkpoint

    def __init__(self, tables: Tables, resize: Callable[[int, int], None], home: Callable[[int], int]):
        self._t = tables.t
        self._resize, self._home = resize, home
        self._ages: list[tuple[int, int]] = []  # (ns, handle), a heap
        self.history: list[Learned] = []
        self._held = False

    def state(self) -> tuple[list[tuple[int, int]], list[Learned]]:
        """What is known now, for `restore`."""
        return list(self._ages), list(self.history)

    def restore(self, state: tuple[list[tuple[int, int]], list[Learned]]) -> None:
        """Know what was known then."""
        self._ages, self.history = list(state[0]), list(state[1])
        self._held = False

    def hold(self) -> None:
        """Let nothing age out until `restore`."""
        self._held = True

    def on_stop(self, why: int, handle: int, mtu: int, ts: int) -> None:
        """An ICMP error told a smaller MTU for an outbound SA."""
        if why != STOP_MTU:
            return
        over = self._t.sa["next"] == handle  # an AH SA over others: sizes are kept with these
        rows = over.nonzero()[0].tolist() if self._t.sa["proto"][handle] == 51 and over.any() else [handle]
        for row in rows:
            self._resize(row, mtu)
            heapq.heappush(self._ages, (ts + AGE, row))
            self.history.append(Learned(ts, row, mtu, True))

    def learned(self, handle: int) -> tuple[int, int] | None:
        """(MTU, ns at which it ages out) of what was learned for an SA, None for nothing."""
        at = max((ts for ts, row in self._ages if row == handle), default=None)
        return None if at is None else (int(self._t.sa["path_mtu"][handle]), at)

    def learn(self, handle: int, mtu: int, until: int) -> None:
        """Know that of an SA."""
        self._resize(handle, min(mtu, self._home(handle)))
        heapq.heappush(self._ages, (until, handle))

    def next_due(self) -> int:
        """ns at which something ages out, NEVER for nothing."""
        return self._ages[0][0] if self._ages and not self._held else NEVER

    def fire(self, now: int) -> None:
        """Let age out what was learned long enough ago; a later error about the same SA starts its time anew."""
        while self._ages and self._ages[0][0] <= now:
            ts, row = heapq.heappop(self._ages)
            if not any(other == row for _, other in self._ages):
                self._resize(row, self._home(row))
                self.history.append(Learned(ts, row, self._home(row), False))

    def hand_on(self, old: int, new: int) -> None:
        """What is known of the way of an SA holds for the one that follows it."""
        self._ages = [(ts, new if row == old else row) for ts, row in self._ages]
        heapq.heapify(self._ages)
