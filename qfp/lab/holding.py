"""What packets wait in before they go on: queues, the packets in them, and what is counted of both."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from qfp.lab.flow import Array, Flow, merge_in_order, numbers_in, rows_of
from qfp.lab.journeys import Journeys
from qfp.lab.queueing import Left, Seen
from qfp.lab.series import OUT, Series


class Holding:
    """Queues (see queueing.py) with the packets that wait in them. name: in series and journeys."""

    def __init__(self, name: str, queues: Any, journeys: Journeys, series: Series):
        self.name, self.queues = name, queues
        self._journeys, self._series = journeys, series
        self.past: list[dict[str, Any]] = []  # counters of queues that were replaced, and until when they were there
        self._offered = 0
        self._held = Flow.empty()  # packets in the queues, their numbers, and what else belongs to each
        self._rows = np.empty(0, np.int64)
        self._extra = np.empty((0, 0))
        self.stats: dict[str, Any] = {"packets": 0, "bytes": 0, "wait_max": 0, "lost": {}}

    def admit(self, flow: Flow, seen: Seen | None = None, extra: Array | None = None) -> None:
        """Packets that come, in order of time; what else an output policy looks at; what is to be kept with each."""
        if not len(flow):
            return
        rows = np.arange(self._offered, self._offered + len(flow))
        self._offered += len(flow)
        extra = np.empty((len(flow), 0)) if extra is None else extra
        batch = self.queues.offer(rows, flow.batch, seen)
        first = not self._rows.size
        self._held = merge_in_order([self._held, Flow(batch, flow.ids)])
        self._rows = rows if first else np.concatenate([self._rows, rows])
        self._extra = extra if first else np.concatenate([self._extra, extra])

    def leave(self, horizon: int) -> tuple[Flow, Array, Array]:
        """What starts to leave before a time: packets, ns at which the last bit of each has left, what was kept."""
        if not self._rows.size:
            return Flow.empty(), np.empty(0, np.int64), self._extra
        left = self.queues.run(horizon)
        if left.lost.size:
            self._dropped(left)
        at = self._at(left.rows)
        flow, extra = self._held.take(at), self._extra[at]
        if len(flow):
            self._sent(flow, left)
        stay = np.ones(self._rows.size, bool)
        stay[at] = False
        stay[self._at(left.lost)] = False
        some = np.flatnonzero(stay)
        if some.size < stay.size:
            self._held, self._rows, self._extra = self._held.take(some), self._rows[some], self._extra[some]
        return flow, left.depart, extra

    @property
    def next(self) -> int:
        """Nothing leaves before this."""
        return int(self.queues.next)

    def change(self, queues: Any, at: int) -> tuple[Array, list[str]]:
        """Other queues from `at` (ns) on. Returns what waits in the present ones, in order of arrival: its numbers, and
        the classes that it waits in; see `readmit`. What is being sent goes on."""
        self.past.append({"until": at, "classes": self.queues.counters()})
        waiting: tuple[Array, list[str]] = self.queues.waiting()
        queues.begin(self.queues.free)
        self.queues = queues
        return waiting

    def readmit(self, rows: Array, classes: list[str], at: int) -> None:
        """Packets that waited elsewhere come into these queues at `at` (ns)."""
        if len(rows):
            self.queues.readmit(rows, self._held.batch.length[self._at(rows)], classes, at)

    def _at(self, rows: Array) -> Any:
        """Where rows stand among those held: all of them as a slice."""
        if np.array_equal(rows, self._rows):
            return slice(None)
        return np.searchsorted(self._rows, rows)

    def _sent(self, flow: Flow, left: Left) -> None:
        self._waited(flow, left.depart, left.queue)
        for queue, rows in self._by_queue(left.queue):
            self._series.count(self.name, OUT, left.depart[rows], flow.batch.length[rows], queue)
        self.stats["wait_max"] = max(self.stats["wait_max"], int((left.depart - flow.batch.ts).max()))

    def _dropped(self, left: Left) -> None:
        """What found its queue full, or was policed."""
        flow = self._held.take(self._at(left.lost))
        self._waited(flow, left.lost_at, left.lost_queue)
        for cause in np.unique(left.causes).tolist():
            mine = np.flatnonzero(left.causes == cause)
            for queue, rows in self._by_queue(left.lost_queue[mine]):
                self.lose(flow.take(mine[rows]), left.lost_at[mine[rows]], cause, queue)

    def _by_queue(self, queue: Array) -> Iterator[tuple[str, Any]]:
        """(name of a queue, rows that are its own) of those that there are."""
        for number in numbers_in(queue):
            yield self.queues.names[number], rows_of(queue, number)

    def _waited(self, flow: Flow, until: Array, queue: Array) -> None:
        for name, rows in self._by_queue(queue):
            self._series.waited(self.name, name, flow.batch.ts[rows], until[rows], flow.batch.length[rows])

    def lose(self, flow: Flow, ts: Array, cause: str, queue: str) -> None:
        self._series.count(self.name, cause, ts, flow.batch.length, queue)
        lost = self.stats["lost"]
        lost[cause] = lost.get(cause, 0) + len(flow)
        self._journeys.lost(flow.ids, ts, self.name, cause)
