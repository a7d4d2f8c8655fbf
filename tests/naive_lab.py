"""The lab once more, one event at a time: a heap of arrivals, every packet alone through its router, plain lines."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.model import LabSpec, LinkSpec
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
class NaiveLab:
    """`delivered`: (ns, router, interface, bytes) of everything that leaves the lab, in order of time."""

    spec: LabSpec

    def __post_init__(self) -> None:
        self.routers = {name: Router.loads(r.text(), seed=self.spec.seed) for name, r in self.spec.routers.items()}
        self.lines: dict[tuple[str, str], tuple[NaiveLine, tuple[str, str]]] = {}
        for link in self.spec.links:
            ends = [(end.router, self.routers[end.router].interface(end.interface)) for end in link.ends]
            for back in (0, 1):
                random = np.random.Generator(np.random.Philox(key=[self.spec.seed, 2 * link.number + back]))
                self.lines[ends[back]] = NaiveLine(link, random), ends[1 - back]
        self.delivered: list[tuple[int, str, str, bytes]] = []

    def run(self) -> None:
        heap: list[Any] = []
        count = 0
        for injection in self.spec.injections:
            batch = read_trace(Path(injection.trace))
            name = self.routers[injection.at.router].interface(injection.at.interface)
            for k, frame in enumerate(batch.frames()):
                ts = injection.start + int(batch.ts[k] - batch.ts.min())
                heapq.heappush(heap, (ts, injection.at.router, name, count, frame, int(batch.link[k])))
                count += 1
        while heap:
            ts, router, interface, _, frame, link = heapq.heappop(heap)
            machine = self.routers[router]
            sent = machine.forward(Batch.from_frames([frame], ts=ts, link=link), interface).packets
            for k, packet in enumerate(sent.frames()):
                here = (router, machine.interfaces.names[int(sent.in_if[k])])
                if here not in self.lines:
                    self.delivered.append((ts, *here, packet))
                    continue
                line, there = self.lines[here]
                for when in line.arrivals(ts, len(packet)):
                    heapq.heappush(heap, (when, *there, count, packet, 101))
                    count += 1
