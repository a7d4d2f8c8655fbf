"""Track: an engine, a batch and an FIA bound together, run pass after pass with every segment timed, and counted."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from qfp import fia
from qfp.batch import Batch
from qfp.bench import loop, machine
from qfp.engine import Engine, NullSink
from qfp.trace.source import BatchSource
from qfp_kernels.drops import CAUSES, Verdict
from qfp_kernels.layout import OUT_NONE

SOURCE_STAGES, SINK_STAGES = ("walk", "fill"), ("reserve", "emit_pcap", "emit")
SAMPLE_NS = 5e6  # of work in a sample


class BenchError(AssertionError):
    """What was timed did not do its work: the figure would mean nothing."""


class Router(Protocol):
    """What can be put on a track: Site, Decryptor."""

    tables: Any
    sad: Any
    engine: Engine


class BlockSink(NullSink):
    """Packets are formed into output blocks, which are thrown away. `kind`: OUT_ number."""

    def __init__(self, kind: int = OUT_NONE):
        self.kind = kind


class Track:
    """One thing to time. `expect`: the verdict that every packet must get. reset: bits of loop.REWIND and so on."""

    def __init__(
        self, router: Router, batch: Batch, stages: Sequence[fia.Stage], *, kind: int = OUT_NONE,
        reset: int = loop.REWIND, expect: Verdict = Verdict.FORWARDED,
    ):  # fmt: skip
        self.router, self.stages, self.reset, self.expect = router, tuple(stages), reset, expect
        self.packets = len(batch)
        self._source = BatchSource(batch)
        self._stamp = np.zeros(2, np.int64)
        self._clock, self._which = machine.clock()
        self.forget()
        router.engine.run(self._source, self.stages, BlockSink(kind))  # binds, loads, sizes the output, warms up
        self._checked(self._counted(), self.packets)
        self._passes = 0

    def _counted(self) -> Any:
        return self.router.tables.t.verdicts.copy()

    def _checked(self, after: Any, packets: int) -> None:
        """Every packet got the verdict that it should have. Raises BenchError."""
        t = self.router.tables.t
        good = int(after[self.expect])
        if good != int(after.sum()) or good < packets:
            causes = {c.name: int(t.causes[c.number]) for c in CAUSES if t.causes[c.number]}
            raise BenchError(f"{int(after.sum())} packets: {good} {self.expect.name.lower()}, drops {causes}")

    def forget(self) -> None:
        """Windows as before the first packet (between runs that do not go through `run`)."""
        if self.reset & loop.FORGET_WINDOWS:
            t = self.router.tables.t
            t.sa_in["top"] = 0
            t.win[:] = 0

    def run(self, segment: Sequence[int], passes: int) -> tuple[Any, float]:
        """(ns of every segment, packets) of so many passes. Raises BenchError when packets went astray."""
        t, p = self.router.tables.t, self.router.engine.workspaces[0]
        ns = np.zeros(loop.SEGMENTS, np.int64)
        before = self._counted()
        packets = loop.lap(
            p, t, passes, self.reset, self.router.sad.rows, t.win.size, np.array(segment, np.int64), ns, self._stamp,
            self._stamp.ctypes.data, self._clock, self._which,
        )  # fmt: skip
        if packets != passes * self.packets:
            raise BenchError(f"{packets} packets were run, not {passes * self.packets}")
        self._checked(self._counted() - before, packets)
        return ns, float(packets)

    def sample(self, segment: Sequence[int]) -> Any:
        """ns a packet of every segment: a pass to warm the caches, then about SAMPLE_NS of work."""
        ns, packets = self.run(segment, 1)
        if not self._passes:
            self._passes = max(1, round(SAMPLE_NS / max(1, int(ns.sum()))))
        ns, packets = self.run(segment, self._passes)
        return ns / packets

    def parts(self) -> list[int]:
        """Segments of the whole path: 0 walk and fill, 1 parse to deliver, 2 reserve and emit."""
        return [0 if s.name in SOURCE_STAGES else 2 if s.name in SINK_STAGES else 1 for s in self.stages]

    def each(self) -> list[int]:
        """A segment a stage; those of one name (levels of nesting) share one."""
        names = self.names()
        return [names.index(s.name) for s in self.stages]

    def names(self) -> list[str]:
        """Names of the stages in order, each once."""
        return list(dict.fromkeys(s.name for s in self.stages))


def whole(track: Track) -> dict[str, float]:
    """ns a packet: path, source (walk and fill), sink (reserve and emit)."""
    source, path, sink = track.sample(track.parts())[:3].tolist()
    return {"path": path, "source": source, "sink": sink}


def by_stage(track: Track) -> dict[str, float]:
    """ns a packet of every stage."""
    ns = track.sample(track.each())
    return {name: float(ns[k]) for k, name in enumerate(track.names())}
