"""A router of the lab: what waits at its interfaces, and a round of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import NEVER, Flow, merge
from qfp.result import Result
from qfp.router import Router

ROWS = 1 << 16  # packets that one flow may give to a round: bounds memory


@dataclass(frozen=True)
class Round:
    """What went in and what the router made of it. `ids`: injected packet of each packet sent, -1 = made here."""

    flow: Flow
    result: Result
    ids: Any


class Waiting:
    """A flow of which the packets before `at` have been taken."""

    def __init__(self, flow: Flow):
        self.flow, self.at = flow, 0

    @property
    def next(self) -> int:
        return int(self.flow.batch.ts[self.at]) if self.at < len(self.flow) else NEVER

    @property
    def bound(self) -> int:
        """A time before which it has not many more than ROWS packets."""
        far = self.at + ROWS
        return int(self.flow.batch.ts[far]) + 1 if far < len(self.flow) else NEVER

    def before(self, horizon: int) -> Flow:
        """Take what comes before a time."""
        start = self.at
        self.at = int(np.searchsorted(self.flow.batch.ts, horizon, "left"))
        return self.flow.take(slice(start, self.at))


class Node:
    """`router`, and flows that have yet to arrive at its interfaces."""

    def __init__(self, name: str, router: Router):
        self.name, self.router = name, router
        self._waiting: list[Waiting] = []
        self.totals: dict[str, Any] = {}

    def arrive(self, flow: Flow, interface: str) -> None:
        """Packets on their way to an interface, in order of time."""
        if len(flow):
            row = np.full(len(flow), self.router.interfaces.row[interface], np.int32)
            batch = Batch(flow.batch.arena, {**flow.batch.columns, "in_if": row})
            self._waiting.append(Waiting(Flow(batch, flow.ids)))

    @property
    def next(self) -> int:
        """ns at which the next packet arrives."""
        return min((each.next for each in self._waiting), default=NEVER)

    @property
    def bound(self) -> int:
        """A time before which no flow has many more than ROWS packets."""
        return min((each.bound for each in self._waiting), default=NEVER)

    def run(self, horizon: int) -> Round | None:
        """Everything that arrives before a time, as one batch; None when nothing does."""
        now = [each.before(horizon) for each in self._waiting if each.next < horizon]
        self._waiting = [each for each in self._waiting if each.next < NEVER]
        if not now:
            return None
        flow = merge(now)
        columns = {**flow.batch.columns, "frame": np.arange(len(flow))}
        flow = Flow(Batch(flow.batch.arena, columns), flow.ids)
        result = self.router.exchange(flow.batch)
        self.totals = result.counters
        ids = flow.ids[result.came_from]
        errors = result.verdicts["cause"][result.came_from] != 0  # what leaves for a dropped packet is an ICMP error
        return Round(flow, result, np.where(errors, -1, ids))
