"""Two threads against one, through the real driver: run by `child` in a process of its own that may use every core."""

import time
from collections.abc import Callable

from qfp.batch import Batch
from qfp.bench import traffic
from qfp.bench.paths import DIRECTIONS, OUTBOUND, TRACKS, wire_of
from qfp.bench.rows import Label, Row
from qfp.bench.runner import Case, interleaved
from qfp.bench.site import GCM
from qfp.bench.track import BenchError, BlockSink, Track
from qfp.trace.source import BatchSource


def _sampler(track: Track, batch: Batch) -> Callable[[], dict[str, float]]:
    engine, verdicts = track.router.engine, track.router.tables.t.verdicts

    def sample() -> dict[str, float]:
        track.forget()
        before = int(verdicts[track.expect])
        start = time.perf_counter_ns()
        engine.run(BatchSource(batch), track.stages, BlockSink())
        taken = time.perf_counter_ns() - start
        if int(verdicts[track.expect]) - before != len(batch):
            raise BenchError("packets went astray")
        return {"driver, no output": taken / len(batch)}

    return sample


def thread_rows(threads: int, rounds: int, packets: int, directions: tuple[str, ...] = DIRECTIONS[:2]) -> list[Row]:
    """Whole runs from a batch in memory, walk and fill included, with one and with several threads."""
    cases = []
    for size in traffic.SIZES:
        count = packets if traffic.mean_bytes(size) < 1000 else packets // 4
        batch = traffic.load(size, count, 16)
        wire = wire_of(batch)
        for direction in directions:
            source = batch if direction == OUTBOUND else wire
            for number in (1, threads):
                track = TRACKS[direction](source, GCM, 16, threads=number)
                label = Label("", direction, GCM, size, 16, track.router.engine.vector, number)
                cases.append(Case(label, _sampler(track, source), traffic.mean_bytes(size)))
    return interleaved(cases, rounds)
