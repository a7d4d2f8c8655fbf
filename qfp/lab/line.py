"""One direction of a link: the queue before it, its rate, and what happens on the way."""

from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import Array, Flow, pick
from qfp.lab.journeys import Journeys
from qfp.lab.model import LinkSpec
from qfp_kernels.line import STATE, fifo

DRAWS = 5  # random numbers a packet: loss, jitter, duplication, jitter of the copy, reordering
CAUSES = ("QUEUE_FULL", "LINK_MTU", "LINK_DOWN", "LINK_LOSS")


class Line:
    """From interface `source` to interface `target` of a link.

    The random numbers depend on the lab's seed, the link, the direction, and how many packets came before: not on how
    time is cut into rounds.
    """

    def __init__(self, spec: LinkSpec, backwards: bool, seed: int, number: int, journeys: Journeys):
        self.spec = spec
        self.source, self.target = spec.ends[::-1] if backwards else spec.ends
        self.name = f"{spec.name}: {self.source.router} to {self.target.router}"
        self._random = np.random.Generator(np.random.Philox(key=[seed, 2 * number + backwards]))
        self._state = np.zeros(STATE, np.int64)
        self._waiting = np.zeros(spec.queue if spec.rate else 0, np.int64)
        self._journeys = journeys
        self.stats: dict[str, int] = dict.fromkeys(
            ("packets", "bytes", "carried", "copies", "wait_max", *CAUSES), 0
        )  # fmt: skip

    def carry(self, flow: Flow) -> Flow:
        """Packets offered in order of time: how they arrive at the far end."""
        spec, batch = self.spec, flow.batch
        draws = self._random.random((len(flow), DRAWS))
        fits = np.flatnonzero(batch.length <= spec.mtu) if spec.mtu else np.arange(len(flow))
        self.stats["packets"] += len(flow)
        self.stats["bytes"] += int(batch.length.sum(dtype=np.int64))
        depart = np.full(len(flow), -1, np.int64)
        depart[fits] = self._sent(batch.ts[fits], batch.length[fits].astype(np.int64) + spec.overhead)
        cause = np.where(depart < 0, 0, -1)
        if spec.mtu:
            cause[batch.length > spec.mtu] = 1
        cause[(cause < 0) & self._down(depart)] = 2
        cause[(cause < 0) & (draws[:, 0] < spec.loss)] = 3
        for k, word in enumerate(CAUSES):
            lost = np.flatnonzero(cause == k)
            if lost.size:
                when = batch.ts[lost] if k < 2 else depart[lost]
                self.stats[word] += lost.size
                self._journeys.lost(flow.ids[lost], when, self.name, word)
        return self._arrivals(flow, depart, draws, np.flatnonzero(cause < 0))

    def _sent(self, ts: Array, size: Array) -> Array:
        """When the last bit of each has left; -1 = the queue was full."""
        depart = np.empty(ts.size, np.int64)
        fifo(ts, size, self.spec.rate, self._state, self._waiting, depart)
        if ts.size:
            self.stats["wait_max"] = max(self.stats["wait_max"], int((depart - ts).max()))
        return depart

    def _down(self, when: Array) -> Array:
        out = np.zeros(when.size, bool)
        for start, stop in self.spec.down:
            out |= (when >= start) & (when < stop)
        return out

    def _arrivals(self, flow: Flow, depart: Array, draws: Array, kept: Array) -> Flow:
        """What gets through: with its delay, twice or late where the dice say so, in order of arrival."""
        spec = self.spec
        late = np.where(draws[kept, 4] < spec.reorder, spec.reorder_by, 0)
        arrive = depart[kept] + late + self._delay(draws[kept, 1])
        twice = kept[draws[kept, 2] < spec.duplicate]
        rows = np.concatenate([kept, twice])
        times = np.concatenate([arrive, depart[twice] + self._delay(draws[twice, 3])])
        self.stats["carried"] += kept.size
        self.stats["copies"] += twice.size
        order = np.argsort(times, kind="stable")
        batch = pick(flow.batch, rows[order])
        columns: dict[str, Any] = {**batch.columns, "ts": times[order]}
        return Flow(Batch(batch.arena, columns, batch.interfaces), flow.ids[rows[order]])

    def _delay(self, draws: Array) -> Array:
        spread: Array = np.floor(draws * (2 * self.spec.jitter + 1)).astype(np.int64)
        return spread + (self.spec.delay - self.spec.jitter)
