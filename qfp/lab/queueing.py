"""What packets wait in before a line: one queue, or those of the interface's output policy.

Both take packets in order of time (`offer`), tell what has left and what was dropped before a time (`run`), and from
when on something may leave (`next`). Rows are numbers of the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import NEVER, Array, pick
from qfp.result import CAUSE_WORDS
from qfp.router import Router
from qfp_kernels.line import FREE, REST, STATE, fifo

NONE = np.empty(0, np.int64)
WORDS = np.array(CAUSE_WORDS)
QUEUE_FULL = "QUEUE_FULL"


@dataclass(frozen=True)
class Left:
    """Rows that left and the ns at which their last bit did; rows that were dropped, when, and why."""

    rows: Array
    depart: Array
    lost: Array
    lost_at: Array
    causes: Array  # words
    queue: Array  # number of the queue or class of each row that left: into `names`
    lost_queue: Array


class Fifo:
    """One queue of `limit` packets (0 = no limit) before a line of `rate` bit/s (0 = packets take no time)."""

    def __init__(self, rate: int, limit: int, overhead: int):
        self._rate, self._overhead = rate, overhead
        self._state = np.zeros(STATE, np.int64)
        self._waiting = np.zeros(limit if rate else 0, np.int64)
        self._done: list[tuple[Array, Array, Array]] = []
        self.next = NEVER  # what leaves is known at once
        self.names = [""]

    def offer(self, rows: Array, batch: Batch, seen: "Seen | None" = None) -> Batch:
        depart = np.empty(rows.size, np.int64)
        fifo(batch.ts, batch.length.astype(np.int64) + self._overhead, self._rate, self._state, self._waiting, depart)
        self._done.append((rows, batch.ts, depart))
        return batch

    def run(self, until: int) -> Left:
        if not self._done:
            return Left(NONE, NONE, NONE, NONE, WORDS[NONE], NONE, NONE)
        rows, ts, depart = (np.concatenate(parts) for parts in zip(*self._done, strict=True))
        self._done = []
        sent, lost = depart >= 0, depart < 0
        here = np.zeros(rows.size, np.int64)
        causes = np.full(int(lost.sum()), QUEUE_FULL)
        return Left(rows[sent], depart[sent], rows[lost], ts[lost], causes, here[sent], here[lost])

    @property
    def free(self) -> int:
        """ns at which the line has sent everything."""
        return int(self._state[FREE]) + int(self._state[REST] > 0)

    def begin(self, free: int) -> None:
        """The line is busy until `free` (ns)."""
        self._state[FREE] = free

    def waiting(self) -> tuple[Array, list[str]]:
        """Nothing: what leaves is known as it comes."""
        return NONE, []

    def readmit(self, rows: Array, length: Array, classes: list[str], at: int) -> None:
        """Packets that waited in other queues, as if they came at `at`."""
        ts, depart = np.full(rows.size, at), np.empty(rows.size, np.int64)
        fifo(ts, length.astype(np.int64) + self._overhead, self._rate, self._state, self._waiting, depart)
        self._done.append((rows, ts, depart))

    def counters(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Seen:
    """What an output policy looks at beside the packets themselves. clear: the packets as they came into the router;
    pre: whether classes look at those (`qos pre-classify`). groups: QoS groups, None = none."""

    clear: Batch | None = None
    pre: Array | None = None
    groups: Array | None = None

    @staticmethod
    def joined(parts: Sequence[tuple[Batch, "Seen | None"]]) -> "Seen | None":
        """Of several offers, one behind the other; where there is nothing, packets are seen as they are."""
        if all(seen is None for _, seen in parts):
            return None
        found = [(batch, seen or Seen()) for batch, seen in parts]
        clear = Batch.concat([batch if seen.clear is None else seen.clear for batch, seen in found])
        pre = np.concatenate([np.zeros(len(batch), bool) if seen.pre is None else seen.pre for batch, seen in found])
        groups = [np.zeros(len(b), np.uint8) if seen.groups is None else seen.groups for b, seen in found]
        return Seen(clear, pre, np.concatenate(groups))

    def take(self, rows: Array) -> "Seen":
        clear = None if self.clear is None else pick(self.clear, rows)
        return Seen(clear, *(None if each is None else each[rows] for each in (self.pre, self.groups)))


class PolicyQueues:
    """The queues of an output policy. overhead: bytes on the line beside the IP packet: of these the layer 2 header
    counts like the packet, the others only take time."""

    def __init__(self, config: Any, policy: str, rate: int, overhead: int):
        from qfp.qos.classes import Classifier
        from qfp.qos.policy import compile_queues
        from qfp.qos.scheduler import Scheduler
        from qfp.qos.treatment import Treatment

        self._classifier = Classifier(config, policy)
        self._treatment = Treatment(self._classifier, rate)
        self._layer2 = layer2_of(overhead)
        queues = compile_queues(config, policy, rate, classifier=self._classifier)
        self._scheduler = Scheduler(queues, overhead - self._layer2)
        self.names = self._scheduler.policy.classes
        self._until = 0

    def offer(self, rows: Array, batch: Batch, seen: Seen | None = None) -> Batch:
        """Returns the packets with the DSCPs that the policy sets."""
        from qfp.qos.headers import headers_of, mark

        own = headers_of(batch)
        seen = seen or Seen()
        classes = self._classifier.classify(_looked_at(own, seen), seen.groups)
        length = batch.length.astype(np.int64) + self._layer2
        treated = self._treatment.treat(batch.ts, length, classes)
        self._scheduler.offer(batch.ts, length, classes, rows, treated.policed)
        if not (treated.dscp >= 0).any():
            return batch
        copied = Batch(batch.arena.copy(), batch.columns, batch.interfaces)  # captures have seen these bytes
        return mark(copied, own, treated.dscp)

    def run(self, until: int) -> Left:
        self._until = until
        gone = self._scheduler.run(until)
        lost = gone.dropped
        return Left(gone.row, gone.end, lost.row, lost.ts, WORDS[lost.cause], gone.cls, lost.cls)

    @property
    def free(self) -> int:
        """ns at which the line has sent what it has begun."""
        return self._scheduler.free

    def begin(self, free: int) -> None:
        """The line is busy until `free` (ns)."""
        self._scheduler.begin(free)

    def waiting(self) -> tuple[Array, list[str]]:
        """Packets in the queues, in order of arrival, and their classes."""
        rows, classes = self._scheduler.waiting()
        return rows, [self.names[k] for k in classes.tolist()]

    def readmit(self, rows: Array, length: Array, classes: list[str], at: int) -> None:
        """Packets that waited in other queues, as if they came at `at`: to the class of the same name, else to
        class-default."""
        known = {name: k for k, name in enumerate(self.names)}
        numbers = np.array([known.get(name, len(known) - 1) for name in classes])
        self._scheduler.offer(np.full(rows.size, at), length + self._layer2, numbers, rows)

    @property
    def next(self) -> int:
        """From when on something that waits may leave: no earlier than this."""
        return max(self._until, int(self._scheduler.busy_until)) if self._scheduler.queued else NEVER

    def counters(self) -> dict[str, Any]:
        """By class, as `show policy-map interface` counts."""
        return dict(self._scheduler.counters())


def layer2_of(overhead: int) -> int:
    """Bytes of layer 2 header on a line with so many bytes beside the IP packet; 0 on one that has none at all."""
    from qfp.qos.headers import LAYER2

    return min(overhead, LAYER2)


def _looked_at(own: Array, seen: Seen) -> Array:
    """Header rows that classes look at. What came in as IPsec was another packet then: its own header counts."""
    from qfp.qos.headers import headers_of

    if seen.clear is None or seen.pre is None or not seen.pre.any():
        return own
    clear = headers_of(seen.clear)
    came_protected = np.isin(clear["proto"], (50, 51))
    came_protected |= (clear["proto"] == 17) & ((clear["sport"] == 4500) | (clear["dport"] == 4500))
    rows = seen.pre & ~came_protected
    out = own.copy()
    out[rows] = clear[rows]
    return out


class PreClassify:
    """Which packets that leave by an interface are classified as they came: those of a crypto map with an entry that
    has `qos pre-classify`, or of a tunnel interface that has it."""

    def __init__(self, router: Router, interface: Any):
        config, self._tables = router.config, router.tables
        maps = [config.crypto_maps.get(name) for name in (interface.crypto_map, interface.ipv6_crypto_map)]
        entries = [entry for each in maps if each is not None for entry in each.entries]
        self._maps = bool(interface.qos_pre_classify or any(entry.qos_pre_classify for entry in entries))
        self._tunnels = np.array([config.interfaces[name].qos_pre_classify for name in router.interfaces.names], bool)

    def __bool__(self) -> bool:
        return bool(self._maps or self._tunnels.any())

    def rows(self, sa: Array) -> Array:
        """By the SA (-1 = none) of each packet. A packet without one is the same before and after, but for GRE."""
        t = self._tables.t
        entry = np.where(sa >= 0, t.sa["sp"][np.maximum(sa, 0)], -1)
        tunnel = np.where(entry >= 0, t.sp["tun"][np.maximum(entry, 0)], -1)
        out: Array = np.where(tunnel >= 0, self._tunnels[np.maximum(tunnel, 0)], self._maps)
        return np.where(sa >= 0, out, True)
