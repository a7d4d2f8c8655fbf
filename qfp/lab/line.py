"""One direction of a link: the queue before it, its rate, and what happens on the way."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import Array, Flow, merge_in_order, numbers_in, pick, rows_of
from qfp.lab.journeys import Journeys
from qfp.lab.model import LinkSpec
from qfp.lab.queueing import Left, Seen
from qfp.lab.series import OUT, Series

DRAWS = 5  # random numbers a packet: loss, jitter, duplication, jitter of the copy, reordering
LINK_MTU, LINK_DOWN, LINK_LOSS = "LINK_MTU", "LINK_DOWN", "LINK_LOSS"


class Line:
    """From one interface of a link to the other.

    The random numbers depend on the lab's seed, the link, the direction, and how many packets came before: not on how
    time is cut into rounds.
    """

    def __init__(self, spec: LinkSpec, backwards: bool, queues: Any, seed: int, journeys: Journeys,
                 series: Series):  # fmt: skip
        self.spec = spec
        source, target = spec.ends[::-1] if backwards else spec.ends
        self.name = f"{spec.name}: {source.router} to {target.router}"
        self.queues = queues
        self._chance = bool(spec.jitter or spec.loss or spec.duplicate or spec.reorder or spec.down)
        self._random = np.random.Generator(np.random.Philox(key=[seed, 2 * spec.number + backwards]))
        self._journeys, self._series = journeys, series
        self.past: list[dict[str, Any]] = []  # counters of queues that were replaced, and until when they were there
        self._offered = 0
        self._held = Flow.empty()  # packets in the queues, their numbers, and their random numbers, if any are needed
        self._rows = np.empty(0, np.int64)
        self._draws = np.empty((0, DRAWS))
        self.stats: dict[str, Any] = {"packets": 0, "bytes": 0, "carried": 0, "copies": 0, "wait_max": 0, "lost": {}}

    def offer(self, flow: Flow, seen: Seen | None = None) -> None:
        """Packets that a router sends, in order of time, and what else an output policy looks at."""
        self.stats["packets"] += len(flow)
        self.stats["bytes"] += int(flow.batch.length.sum(dtype=np.int64))
        rows = np.arange(self._offered, self._offered + len(flow))
        self._offered += len(flow)
        draws = self._random.random((len(flow), DRAWS)) if self._chance else np.empty((len(flow), 0))
        if self.spec.mtu and (long := flow.batch.length > self.spec.mtu).any():
            self._lost(flow.take(np.flatnonzero(long)), flow.batch.ts[long], LINK_MTU, "")
            fits = np.flatnonzero(~long)
            flow, rows, draws = flow.take(fits), rows[fits], draws[fits]
            seen = None if seen is None else seen.take(fits)
        if len(flow):
            batch = self.queues.offer(rows, flow.batch, seen)
            first = not self._rows.size
            self._held = merge_in_order([self._held, Flow(batch, flow.ids)])
            self._rows = rows if first else np.concatenate([self._rows, rows])
            self._draws = draws if first else np.concatenate([self._draws, draws])

    def release(self, horizon: int) -> Flow:
        """What was sent before a time, as it arrives at the far end."""
        if not self._rows.size:
            return Flow.empty()
        left = self.queues.run(horizon)
        if left.lost.size:
            self._dropped(left)
        at = self._at(left.rows)
        flow, draws = self._held.take(at), self._draws[at]
        if len(flow):
            self._sent(flow, left)
        stay = np.ones(self._rows.size, bool)
        stay[at] = False
        stay[self._at(left.lost)] = False
        some = np.flatnonzero(stay)
        if some.size < stay.size:
            self._held, self._rows, self._draws = self._held.take(some), self._rows[some], self._draws[some]
        if self._chance:
            return self._travel(flow, left.depart, draws)
        return self._arrives(flow, left.depart)

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
                self._lost(flow.take(mine[rows]), left.lost_at[mine[rows]], cause, queue)

    def _by_queue(self, queue: Array) -> Iterator[tuple[str, Any]]:
        """(name of a queue, rows that are its own) of those that there are."""
        for number in numbers_in(queue):
            yield self.queues.names[number], rows_of(queue, number)

    def _waited(self, flow: Flow, until: Array, queue: Array) -> None:
        for name, rows in self._by_queue(queue):
            self._series.waited(self.name, name, flow.batch.ts[rows], until[rows], flow.batch.length[rows])

    def _lost(self, flow: Flow, ts: Array, cause: str, queue: str) -> None:
        self._series.count(self.name, cause, ts, flow.batch.length, queue)
        lost = self.stats["lost"]
        lost[cause] = lost.get(cause, 0) + len(flow)
        self._journeys.lost(flow.ids, ts, self.name, cause)

    def _arrives(self, flow: Flow, depart: Array) -> Flow:
        """On a line that does nothing but delay."""
        self.stats["carried"] += len(flow)
        ts = depart + self.spec.delay
        if (ts[1:] < ts[:-1]).any():
            return Flow.ordered(flow.at(ts).batch, flow.ids)
        return flow.at(ts)

    def _travel(self, flow: Flow, depart: Array, draws: Array) -> Flow:
        """From the last bit sent to arrival: failed links, loss, delay, copies, lateness."""
        spec = self.spec
        down = np.zeros(depart.size, bool)
        for start, stop in spec.down:
            down |= (depart >= start) & (depart < stop)
        unlucky = ~down & (draws[:, 0] < spec.loss)
        for gone, cause in ((down, LINK_DOWN), (unlucky, LINK_LOSS)):
            if gone.any():
                self._lost(flow.take(np.flatnonzero(gone)), depart[gone], cause, "")
        kept = np.flatnonzero(~(down | unlucky))
        late = np.where(draws[kept, 4] < spec.reorder, spec.reorder_by, 0)
        twice = kept[draws[kept, 2] < spec.duplicate]
        rows = np.concatenate([kept, twice])
        times = np.concatenate(
            [depart[kept] + self._delay(draws[kept, 1]) + late, depart[twice] + self._delay(draws[twice, 3])]
        )
        self.stats["carried"] += kept.size
        self.stats["copies"] += twice.size
        order = np.argsort(times, kind="stable")
        batch = pick(flow.batch, rows[order])
        return Flow(Batch(batch.arena, {**batch.columns, "ts": times[order]}), flow.ids[rows[order]])

    def _delay(self, draws: Array) -> Array:
        spread: Array = np.floor(draws * (2 * self.spec.jitter + 1)).astype(np.int64)
        return spread + (self.spec.delay - self.spec.jitter)
