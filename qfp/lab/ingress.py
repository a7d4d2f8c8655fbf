"""What happens at a router before it does anything with a packet: input policies, then the queues of its crypto engine.

The engine's queues stand before the router and not inside it. A packet gets its sequence number when its encryption
begins, so what overtakes in these queues overtakes before it is numbered, and no replay window ever sees it. Packets
that are to be decrypted take the same engine. All others pass by without time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.config.model import Configuration
from qfp.lab.ahead import Ahead, ahead
from qfp.lab.flow import NEVER, Array, Flow, merge, merge_in_order
from qfp.lab.model import EngineSpec
from qfp.lab.series import OUT, Series
from qfp.qos.classes import Classifier
from qfp.qos.crypto import CryptoQueue
from qfp.qos.headers import LAYER2
from qfp.qos.port import InputPolicy
from qfp.qos.scheduler import Departures
from qfp.result import CAUSE_WORDS
from qfp.router import Router
from qfp_kernels.drops import Drop

POLICED = "POLICED"


@dataclass(frozen=True)
class Lost:
    """Packets that were dropped: their ids, ns, bytes, and the cause."""

    ids: Array
    ts: Array
    length: Array
    cause: str


class Inputs:
    """The input policies of a router, by row of its interfaces. rates: bit/s of those by which anything comes in, for
    policers in per cent. layer2: bytes of header of the frames there, where it is not that of Ethernet."""

    def __init__(self, router: Router, rates: dict[str, int], layer2: dict[str, int]):
        names = {name: each.service_policy_in for name, each in router.config.interfaces.items()}
        self._policies = {
            router.interfaces.row[name]: InputPolicy(
                router.config, policy, rates[name], layer2=layer2.get(name, LAYER2)
            )
            for name, policy in names.items() if policy is not None and name in rates
        }  # fmt: skip

    def __bool__(self) -> bool:
        return bool(self._policies)

    def apply(self, flows: Sequence[Flow], lost: list[Lost]) -> list[Flow]:
        """Police and mark what has arrived, one interface a flow. What is policed goes to `lost`."""
        by_interface: dict[int, list[Flow]] = {}
        for flow in flows:
            by_interface.setdefault(int(flow.batch.in_if[0]), []).append(flow)
        return [self._one(row, merge(each), lost) for row, each in by_interface.items()]

    def _one(self, row: int, flow: Flow, lost: list[Lost]) -> Flow:
        policy = self._policies.get(row)
        if policy is None:
            return flow
        arena = flow.batch.arena.view()
        arena.flags.writeable = False  # captures have seen these bytes: marks go into a copy
        passed = policy.apply(Batch(arena, flow.batch.columns, flow.batch.interfaces))
        groups = np.maximum(passed.treated.qos_group, 0).astype(np.uint8)
        out = Flow(passed.batch, flow.ids, groups)
        gone = passed.treated.policed != 0
        if not gone.any():
            return out
        batch = flow.batch
        lost.append(Lost(flow.ids[gone], batch.ts[gone], batch.length[gone], POLICED))
        return out.take(np.flatnonzero(~gone))


class Egress:
    """Which packets the output policy of an interface gives priority."""

    def __init__(self, config: Configuration, policy: str):
        self._classifier = Classifier(config, policy)
        self._priority = np.array([any(each.priority for each in leaf.path) for leaf in self._classifier.classes])

    def priority(self, headers: Array, groups: Array | None) -> Array:
        """By row of headers from before encryption."""
        found: Array = self._priority[self._classifier.classify(headers, groups)]
        return found


class CryptoEngine:
    """The queues before a router's engine, and what waits in them or is being worked on. name: in series."""

    def __init__(self, router: Router, spec: EngineSpec, name: str, series: Series):
        self._name, self._series = name, series
        groups = router.config.platform.llq_qos_groups
        self._queue = CryptoQueue(spec.rate, spec.packets, groups, limit=spec.queue, llq_limit=spec.llq)
        self._look_at(router)
        self._offered = 0
        self._held = Flow.empty()  # in the queues
        self._rows = np.empty(0, np.int64)  # their numbers
        self._worked = Flow.empty()  # left the queues; done at `ts`
        self._until = 0
        self.stats: dict[str, Any] = {"packets": 0, "bytes": 0, "wait_max": 0}

    def _look_at(self, router: Router) -> None:
        """The router whose policies say what needs the engine, and what is of low latency."""
        self._tables, config = router.tables, router.config
        policies = {name: each.service_policy_out for name, each in config.interfaces.items()}
        self._egress = {router.interfaces.row[n]: Egress(config, p) for n, p in policies.items() if p is not None}
        self._queue.set_groups(config.platform.llq_qos_groups)

    def follow(self, router: Router, rows: Array) -> None:
        """The router has another configuration; row k of its interfaces is now row `rows[k]`. What waits goes on."""
        self._look_at(router)
        self._held, self._worked = self._held.renumbered(rows), self._worked.renumbered(rows)

    def through(self, flow: Flow, horizon: int, lost: list[Lost]) -> list[Flow]:
        """Packets that arrive before a time, in order; returns what reaches the router before it: what needs no engine,
        and what the engine is done with. What finds its queue full goes to `lost`."""
        plain = flow
        if len(flow):
            seen = ahead(self._tables, flow.batch)
            mine = np.flatnonzero(seen.needs)
            if mine.size:
                self._offer(flow, seen, mine)
                plain = flow.take(np.flatnonzero(~seen.needs))
        self._until = horizon
        return [plain, self._done(horizon, lost)]

    def _offer(self, flow: Flow, seen: Ahead, mine: Array) -> None:
        rows = np.arange(self._offered, self._offered + mine.size)
        self._offered += mine.size
        wanted = flow.take(mine)
        length = seen.length[mine]
        self._queue.offer(wanted.batch.ts, length, self._low_latency(seen, mine, wanted.groups), rows)
        self._held = merge_in_order([self._held, wanted])
        self._rows = np.concatenate([self._rows, rows])
        self.stats["packets"] += mine.size
        self.stats["bytes"] += int(length.sum(dtype=np.int64))

    def _low_latency(self, seen: Ahead, mine: Array, groups: Array | None) -> Array:
        """The queue of each packet."""
        headers, out_if = seen.headers[mine], seen.out_if[mine]
        priority = np.zeros(mine.size, bool)
        for row, egress in self._egress.items():
            here = np.flatnonzero(out_if == row)
            if here.size:
                some = None if groups is None else groups[here]
                priority[here] = egress.priority(np.ascontiguousarray(headers[here]), some)
        return self._queue.queue_of(None, groups, seen.own[mine], headers["tos"], priority)

    def _done(self, horizon: int, lost: list[Lost]) -> Flow:
        """What is encrypted or decrypted before a time."""
        gone = self._queue.run(horizon)
        dropped = gone.dropped
        self._count(gone)
        for cause in np.unique(dropped.cause).tolist():
            rows = dropped.cause == cause
            ids = self._held.ids[self._at(dropped.row[rows])]
            lost.append(Lost(ids, dropped.ts[rows], dropped.length[rows], CAUSE_WORDS[cause]))
        if len(gone):
            at = self._at(gone.row)
            flow = self._held.take(at)
            self.stats["wait_max"] = max(self.stats["wait_max"], int((gone.start - gone.arrival).max()))
            self._worked = merge_in_order([self._worked, flow.at(gone.end)])
        if len(gone) or len(dropped):
            stay = np.ones(self._rows.size, bool)
            stay[self._at(gone.row)] = False
            stay[self._at(dropped.row)] = False
            self._held, self._rows = self._held.take(np.flatnonzero(stay)), self._rows[stay]
        ready = int(np.searchsorted(self._worked.batch.ts, horizon))
        out, self._worked = self._worked.take(slice(0, ready)), self._worked.take(slice(ready, None))
        return out

    def _count(self, gone: Departures) -> None:
        """Series of both queues. What is dropped is dropped as it comes."""
        dropped = gone.dropped
        for number, queue in enumerate(self._queue.scheduler.policy.classes):
            rows, lost = gone.cls == number, dropped.cls == number
            self._series.waited(self._name, queue, gone.arrival[rows], gone.end[rows], gone.length[rows])
            self._series.count(self._name, OUT, gone.end[rows], gone.length[rows], queue)
            at, length = dropped.ts[lost], dropped.length[lost]
            self._series.waited(self._name, queue, at, at, length)
            self._series.count(self._name, CAUSE_WORDS[Drop.CRYPTO_TAIL_DROP], at, length, queue)

    def _at(self, rows: Array) -> Array:
        return np.searchsorted(self._rows, rows)

    @property
    def next(self) -> int:
        """No packet leaves the engine before this."""
        done = int(self._worked.batch.ts[0]) if len(self._worked) else NEVER
        waits = max(self._until, int(self._queue.scheduler.busy_until)) if self._rows.size else NEVER
        return min(done, waits)

    @property
    def waiting(self) -> int:
        """Packets in the queues."""
        return self._rows.size

    def counters(self) -> dict[str, Any]:
        """What came, how long a packet waited at most, and by queue what `show policy-map interface` counts."""
        return {**self.stats, "queues": dict(self._queue.scheduler.counters())}
