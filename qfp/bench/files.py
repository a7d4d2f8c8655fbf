"""File to file: captures read and written, `qfp decrypt` and `qfp run` with verdicts, as the command line does it."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from qfp.batch import Batch
from qfp.bench import traffic
from qfp.bench.paths import DECRYPT, OUTBOUND
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM, NAMES, Site
from qfp.bench.track import BenchError
from qfp.decrypt import CAPTURE, Decryptor
from qfp.fia import router
from qfp.result import words
from qfp.router import EMITTERS
from qfp.sa import SecurityAssociation
from qfp.trace import TraceWriter, VerdictWriter, open_source
from qfp.trace.source import BatchSource
from qfp.trace.walker import Walker
from qfp_kernels import capture
from qfp_kernels.drops import Verdict
from qfp_kernels.jit import compile_stage

MEMORY = Path("/dev/shm")
ROOM = 8 << 30  # bytes; a million packets of 1420 bytes are there three times
CHUNK = 1 << 16  # packets that one pass of a repeated batch writes
Sample = Callable[[], dict[str, float]]


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder that is deleted afterwards: in memory where there is room for it, so that no disk is measured."""
    where = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None
    with tempfile.TemporaryDirectory(prefix="qfp-bench-", dir=where) as name:
        yield Path(name)


def write_repeated(path: Path, batch: Batch, packets: int) -> int:
    """Write a batch again and again into a pcapng file; returns its bytes."""
    with TraceWriter(path, [CAPTURE]) as out:
        walker = Walker(BatchSource(batch))
        left = packets
        while left > 0:
            walker.rebind(BatchSource(batch))
            for rows in walker:
                out.write(walker.run(capture.copy_pcapng, min(rows, left)))
                left -= min(rows, left)
                if not left:
                    break
        written = out.written
    return written


def wire_file(path: Path, size: int | str, packets: int) -> None:
    """A capture of `packets` protected packets with rising sequence numbers."""
    chunk = min(packets, CHUNK)
    batch = traffic.load(size, chunk, 16)
    hub = Site(GCM, 16)
    left = packets
    with TraceWriter(path, NAMES) as out:
        while left > 0:
            rows = min(left, chunk)
            part = Batch(batch.arena, {name: column[:rows] for name, column in batch.columns.items()})
            hub.engine.run(BatchSource(part), hub.stages(out.kind), out)
            left -= rows


def _timed(run: Callable[[], int], packets: int, work: str) -> Sample:
    """Sampler over a run that returns how many packets it did."""

    def sample() -> dict[str, float]:
        start = time.perf_counter_ns()
        done = run()
        taken = time.perf_counter_ns() - start
        if done != packets:
            raise BenchError(f"{work}: {done} packets of {packets}")
        return {work: taken / packets}

    return sample


def _decrypt(source: Path, out: Path, verdicts: Path, keys: list[SecurityAssociation]) -> int:
    """As `qfp decrypt SOURCE --keys … -o OUT --verdicts V`, keys already read."""
    opener = Decryptor(keys)
    table = VerdictWriter(verdicts, words([CAPTURE]))
    with open_source(source) as trace, TraceWriter(out, [CAPTURE]) as sink, table:
        opener.run(trace, sink, table.write)
    return int(opener.tables.t.verdicts[Verdict.FORWARDED])


def decrypt_cases(folder: Path, packets: int, sizes: tuple[int, ...] = (64, 1420)) -> Iterator[Case]:
    """Decryption from file to file with verdicts as Parquet and as Arrow, and packets to nowhere."""
    keys = Site(GCM, 16).keys()
    for size in sizes:
        source = folder / f"wire-{size}.pcapng"
        wire_file(source, size, packets)
        for work, out, verdicts in (
            ("file to file, verdicts .parquet", "clear.pcapng", "v.parquet"),
            ("file to file, verdicts .arrow", "clear.pcapng", "v.arrow"),
            ("file to /dev/null, verdicts .parquet", "/dev/null", "v.parquet"),
        ):

            def run(source: Path = source, out: str = out, verdicts: str = verdicts) -> int:
                return _decrypt(source, folder / out, folder / verdicts, keys)

            yield _case(run, packets, work, DECRYPT, size)


def run_case(folder: Path, packets: int) -> Case:
    """`qfp run` over the Internet mix: clear capture in, protected capture and verdicts out."""
    source = folder / "clear-imix.pcapng"
    write_repeated(source, traffic.load("imix", min(packets, CHUNK), 16), packets)

    def run() -> int:
        hub = Site(GCM, 16)
        table = VerdictWriter(folder / "run.parquet", words(NAMES))
        with open_source(source) as trace, TraceWriter(folder / "wire.pcapng", NAMES) as sink, table:
            hub.engine.run(trace, router(trace.walk, EMITTERS[sink.kind]), sink, table.write)
        return int(hub.tables.t.verdicts[Verdict.FORWARDED])

    return _case(run, packets, "file to file, verdicts .parquet", OUTBOUND, "imix")


def _case(run: Callable[[], int], packets: int, work: str, direction: str, size: int | str) -> Case:
    label = Label("", direction, GCM, size, 16, 256)
    return Case(label, _timed(run, packets, work), traffic.mean_bytes(size))


def capture_cases(folder: Path, packets: int, size: int = 1420) -> Iterator[Case]:
    """Captures read into the arena and written, 1420-byte packets, page cache warm; gbit_s counts file bytes."""
    source = folder / "capture.pcapng"
    batch = traffic.load(size, 2048, 16)
    record = write_repeated(source, batch, packets) / packets

    def read() -> int:
        fill = compile_stage(capture.fill)
        with open_source(source) as trace:
            walker = Walker(trace, 256)
            return sum(int(fill(walker.p, walker.t, rows)) for rows in walker)

    def write() -> int:
        write_repeated(folder / "written.pcapng", batch, packets)
        return packets

    label = Label("", size=size)
    yield Case(label, _timed(read, packets, "capture read"), record)
    yield Case(label, _timed(write, packets, "capture written"), record)


def copy_case(size: int = 64 << 20) -> Case:
    """Copying memory that no cache holds, for comparison: ns for 64 bytes."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)

    def sample() -> dict[str, float]:
        start = time.perf_counter_ns()
        np.copyto(target, source)
        return {"memory copy": (time.perf_counter_ns() - start) / (size / 64)}

    sample()
    return Case(Label("", size=64, engine="numpy"), sample, 64)
