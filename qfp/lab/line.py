"""One direction of a link: the queue before it, its rate, and what happens on the way."""

from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import Array, Flow, pick
from qfp.lab.holding import Holding
from qfp.lab.journeys import Journeys
from qfp.lab.model import LinkSpec
from qfp.lab.queueing import Seen
from qfp.lab.series import Series

DRAWS = 5  # random numbers a packet: loss, jitter, duplication, jitter of the copy, reordering
LINK_MTU, LINK_DOWN, LINK_LOSS = "LINK_MTU", "LINK_DOWN", "LINK_LOSS"


class Line(Holding):
    """From one interface of a link to the other.

    The random numbers depend on the lab's seed, the link, the direction, and how many packets came before: not on how
    time is cut into rounds.
    """

    def __init__(self, spec: LinkSpec, backwards: bool, queues: Any, seed: int, journeys: Journeys,
                 series: Series):  # fmt: skip
        source, target = spec.ends[::-1] if backwards else spec.ends
        super().__init__(f"{spec.name}: {source.router} to {target.router}", queues, journeys, series)
        self.spec = spec
        self._chance = bool(spec.jitter or spec.loss or spec.duplicate or spec.reorder or spec.down)
        self._random = np.random.Generator(np.random.Philox(key=[seed, 2 * spec.number + backwards]))
        self.stats |= {"carried": 0, "copies": 0}

    def offer(self, flow: Flow, seen: Seen | None = None) -> None:
        """Packets that a router sends, in order of time, and what else an output policy looks at."""
        self.stats["packets"] += len(flow)
        self.stats["bytes"] += int(flow.batch.length.sum(dtype=np.int64))
        draws = self._random.random((len(flow), DRAWS)) if self._chance else np.empty((len(flow), 0))
        if self.spec.mtu and (long := flow.batch.length > self.spec.mtu).any():
            self.lose(flow.take(np.flatnonzero(long)), flow.batch.ts[long], LINK_MTU, "")
            fits = np.flatnonzero(~long)
            flow, draws = flow.take(fits), draws[fits]
            seen = None if seen is None else seen.take(fits)
        self.admit(flow, seen, draws)

    def release(self, horizon: int) -> Flow:
        """What was sent before a time, as it arrives at the far end."""
        flow, depart, draws = self.leave(horizon)
        if not len(flow):
            return flow
        return self._travel(flow, depart, draws) if self._chance else self._arrives(flow, depart)

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
                self.lose(flow.take(np.flatnonzero(gone)), depart[gone], cause, "")
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
