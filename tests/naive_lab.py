"""The lab once more, one event at a time: a heap of arrivals, every packet alone through its router, plain lines."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.config import loads
from qfp.lab.model import EngineSpec, LabSpec, LinkSpec
from qfp.router import Router
from qfp.trace import read_trace

NS = 10**9


@dataclass
class NaiveLine:
    """A queue of `spec.queue` packets, a rate, and the dice."""

    spec: LinkSpec
    random: np.random.Generator
    free: Fraction = Fraction(0)
    begins: list[Fraction] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def arrivals(self, ts: int, size: int) -> list[int]:
        """When a packet of `size` bytes that is offered at `ts` arrives: not at all, once, or twice."""
        loss, jitter, twice, jitter2, reorder = self.random.random(5)
        s = self.spec
        if s.mtu and size > s.mtu:
            return self._gone("LINK_MTU")
        if s.rate and s.queue and sum(begin > ts for begin in self.begins) >= s.queue:
            return self._gone("QUEUE_FULL")
        begin = max(Fraction(ts), self.free)
        if s.rate:
            self.begins = [b for b in self.begins if b > ts] + [Fraction(int(begin))]
            self.free = begin + Fraction(8 * (size + s.overhead) * NS, s.rate)
        depart = int(self.free) if s.rate else ts
        if any(a <= depart < b for a, b in s.down):
            return self._gone("LINK_DOWN")
        if loss < s.loss:
            return self._gone("LINK_LOSS")
        spread = 2 * s.jitter + 1
        out = [depart + s.delay - s.jitter + int(jitter * spread) + (s.reorder_by if reorder < s.reorder else 0)]
        if twice < s.duplicate:
            out.append(depart + s.delay - s.jitter + int(jitter2 * spread))
        return out

    def _gone(self, cause: str) -> list[int]:
        self.lost[cause] += 1
        return []


@dataclass
class NaiveEngine:
    """Two lists before a crypto engine, low latency and best effort, and when it is free."""

    spec: EngineSpec
    queues: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))
    free: Fraction = Fraction(0)
    starting: bool = False  # an event for the next start is in the heap
    lost: int = 0

    def arrives(self, low: bool, packet: Any) -> None:
        queue, limit = self.queues[not low], self.spec.llq if low else self.spec.queue
        if limit is not None and len(queue) >= limit:
            self.lost += 1
        else:
            queue.append(packet)

    def start(self, ts: int) -> tuple[int, Any]:
        """The next packet begins: (ns when it is done, packet)."""
        packet = (self.queues[0] or self.queues[1]).pop(0)
        bits = Fraction(8 * len(packet[0]) * NS, self.spec.rate)
        if self.spec.packets:
            least = -(-self.spec.rate * NS // self.spec.packets)  # in bits / 10^9, as the engine counts
            bits = max(bits, Fraction(least, self.spec.rate))
        self.free = max(Fraction(ts), self.free) + bits
        return int(self.free), packet


@dataclass
class NaiveLab:
    """`delivered`: (ns, router, interface, bytes) of everything that leaves the lab, in order of time.

    low: whether a router's packet (router, bytes) is of low latency. Which packets need a crypto engine is what a
    second router, that sees each of them beforehand, does with an SA.
    """

    spec: LabSpec
    low: Callable[[str, bytes], bool] = lambda router, packet: False

    def __post_init__(self) -> None:
        self.routers = {name: Router.loads(r.text(), seed=self.spec.seed) for name, r in self.spec.routers.items()}
        self.lines: dict[tuple[str, str], tuple[NaiveLine, tuple[str, str]]] = {}
        for link in self.spec.links:
            ends = [(end.router, self.routers[end.router].interface(end.interface)) for end in link.ends]
            for back in (0, 1):
                random = np.random.Generator(np.random.Philox(key=[self.spec.seed, 2 * link.number + back]))
                self.lines[ends[back]] = NaiveLine(link, random), ends[1 - back]
        self.delivered: list[tuple[int, str, str, bytes]] = []
        self.engines = {name: NaiveEngine(r.engine) for name, r in self.spec.routers.items() if r.engine}
        self.scouts = {name: Router.loads(self.spec.routers[name].text(), seed=self.spec.seed) for name in self.engines}
        self.heap: list[Any] = []
        self.count = 0

    def _push(self, ts: int, late: int, where: tuple[str, str], done: int, what: Any = None) -> None:
        """late: 1 = behind all packets of this ns, the start of an engine; -1 = before them, an event. done: 1 = the
        engine is done with it."""
        heapq.heappush(self.heap, (ts, late, *where, done, self.count, what))
        self.count += 1

    def run(self) -> None:
        for injection in self.spec.injections:
            batch = read_trace(Path(injection.trace))
            name = self.routers[injection.at.router].interface(injection.at.interface)
            for k, frame in enumerate(batch.frames()):
                ts = injection.start + int(batch.ts[k] - batch.ts.min())
                self._push(ts, 0, (injection.at.router, name), 0, (frame, int(batch.link[k])))
        self._texts = {name: spec.text() for name, spec in self.spec.routers.items()}
        for event in self.spec.events:
            self._push(event.at, -1, (event.router, ""), 0, event)
        while self.heap:
            ts, late, router, interface, done, _, what = heapq.heappop(self.heap)
            if late < 0:
                self._happens(ts, router, what)
                continue
            engine = self.engines.get(router)
            if late and engine is not None:
                self._start(ts, router, engine)
            elif engine is not None and not done and self._needs(router, interface, ts, *what):
                engine.arrives(self.low(router, what[0]), (*what, interface))
                self._plan(ts, router, engine)
            else:
                self._forward(ts, router, interface, *what)

    def _happens(self, ts: int, router: str, event: Any) -> None:
        if event.what == "clear":
            self.routers[router].clear(ts, event.value)
            return
        self._texts[router] = event.text(self._texts[router])
        for known in (self.routers, self.scouts):
            if router in known:
                known[router] = known[router].reconfigured(loads(self._texts[router]), ts)

    def _needs(self, router: str, interface: str, ts: int, frame: bytes, link: int) -> bool:
        scout = self.scouts[router]
        found = scout.forward(Batch.from_frames([frame], ts=ts, link=link), interface).verdicts["sa"]
        return bool(found[0] >= 0 or scout.engine.workspaces[0].sp[0] >= 0)  # one that was dropped names no SA

    def _plan(self, ts: int, router: str, engine: NaiveEngine) -> None:
        if not engine.starting and any(engine.queues):
            engine.starting = True
            self._push(max(ts, int(engine.free)), 1, (router, ""), 0)

    def _start(self, ts: int, router: str, engine: NaiveEngine) -> None:
        engine.starting = False
        end, (frame, link, interface) = engine.start(ts)
        self._push(end, 0, (router, interface), 1, (frame, link))
        self._plan(ts, router, engine)

    def _forward(self, ts: int, router: str, interface: str, frame: bytes, link: int) -> None:
        machine = self.routers[router]
        sent = machine.forward(Batch.from_frames([frame], ts=ts, link=link), interface).packets
        for k, packet in enumerate(sent.frames()):
            here = (router, machine.interfaces.names[int(sent.in_if[k])])
            if here not in self.lines:
                self.delivered.append((ts, *here, packet))
                continue
            line, there = self.lines[here]
            for when in line.arrivals(ts, len(packet)):
                self._push(when, 0, there, 0, (packet, 101))
