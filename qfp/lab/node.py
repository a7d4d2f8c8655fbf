"""A router of the lab: what waits at its interfaces, and a round of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.config import Configuration
from qfp.lab.flow import NEVER, Array, Flow, merge
from qfp.lab.ingress import CryptoEngine, Inputs, Lost
from qfp.lab.model import EngineSpec
from qfp.lab.passing import Passage, Passed
from qfp.lab.series import Series
from qfp.result import counters
from qfp.router import Router

ROWS = 1 << 16  # packets that one flow may give to a round: bounds memory


@dataclass(frozen=True)
class Round:
    """A router's round. `arrived`: what came to its interfaces; `flow`: what then entered the router (less what was
    lost before, at the times at which the crypto engine was done with it). `result`: what the router made of `flow`,
    None when nothing entered. `ids`: injected packet of each packet sent, -1 = made here. `lost`: before the router."""

    arrived: Flow
    flow: Flow
    result: Passed | None
    ids: Any
    lost: list[Lost]


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
    """`router`, flows that have yet to arrive at its interfaces, and what packets meet before they enter it."""

    def __init__(self, name: str, router: Router, series: Series, engine: EngineSpec | None = None):
        self.name, self.router = name, router
        self.inputs: Inputs | None = None
        self.engine = CryptoEngine(router, engine, f"{name} crypto engine", series) if engine is not None else None
        self._waiting: list[Waiting] = []
        self._passage = Passage(router)
        self._ran = False

    def arrive(self, flow: Flow, interface: str) -> None:
        """Packets on their way to an interface, in order of time."""
        if len(flow):
            row = np.full(len(flow), self.router.interfaces.row[interface], np.int32)
            batch = Batch(flow.batch.arena, {**flow.batch.columns, "in_if": row})
            self._waiting.append(Waiting(Flow(batch, flow.ids)))

    def reconfigure(self, config: Configuration, at: int, idle_for_all: bool = False) -> Array:
        """The router has another configuration from `at` (ns) on; what was row k of its interfaces is now row
        `result[k]`. idle_for_all: see Router.reconfigured."""
        names = self.router.interfaces.names
        self.router = self.router.reconfigured(config, at, idle_for_all=idle_for_all)
        self._passage = Passage(self.router)
        rows = np.array([self.router.interfaces.row[name] for name in names], np.int32)
        for each in self._waiting:
            each.flow = each.flow.renumbered(rows)
        if self.engine is not None:
            self.engine.follow(self.router, rows)
        return rows

    @property
    def next(self) -> int:
        """ns before which nothing happens here: the next packet arrives, or may leave the crypto engine."""
        engine = self.engine.next if self.engine is not None else NEVER
        return min([engine, *(each.next for each in self._waiting)])

    @property
    def bound(self) -> int:
        """A time before which no flow has many more than ROWS packets."""
        return min((each.bound for each in self._waiting), default=NEVER)

    @property
    def totals(self) -> dict[str, Any]:
        """Counters of the router, what became of its SAs, and its crypto engine's counters where it has one; empty when
        nothing has come here."""
        engine = {"engine": self.engine.counters()} if self.engine is not None else {}
        sas: dict[str, Any] = {"lifetimes": told} if (told := self.router.lifetimes.summary()) else {}
        if "lzs" in self.router.features:
            sas["compression"] = _compression(self.router.tables.t)
        return {**(counters(self.router.tables) if self._ran else {}), **sas, **engine}

    def close(self) -> None:
        """End the router's threads, and give memory back."""
        self.router.engine.close()
        self._passage.close()

    def run(self, horizon: int) -> Round | None:
        """Everything that arrives or leaves the crypto engine before a time, as one batch; None when nothing does."""
        if self.next >= horizon:
            return None
        now = [each.before(horizon) for each in self._waiting if each.next < horizon]
        self._waiting = [each for each in self._waiting if each.next < NEVER]
        arrived = merge(now)
        flow, lost = arrived, list[Lost]()
        if self.inputs and now:
            flow = merge(self.inputs.apply(now, lost))
        if self.engine is not None:
            flow = merge(self.engine.through(flow, horizon, lost))
        if not len(flow):
            return Round(arrived, flow, None, None, lost)
        columns = {**flow.batch.columns, "frame": np.arange(len(flow))}
        flow = Flow(Batch(flow.batch.arena, columns), flow.ids, flow.groups)
        result = self._passage.exchange(flow.batch)
        self._ran = True
        ids = flow.ids[result.came_from]
        errors = result.verdicts["cause"][result.came_from] != 0  # what leaves for a dropped packet is an ICMP error
        return Round(arrived, flow, result, np.where(errors, -1, ids), lost)


def _compression(t: Any) -> dict[str, int]:
    """Packets of all SAs: made smaller or not, expanded or malformed (comp-lzs)."""
    counts = {name: int(t.sa_out[name].sum()) for name in ("compressed", "incompressible")}
    return counts | {name: int(t.life[name].sum()) for name in ("decompressed", "comp_failed")}
