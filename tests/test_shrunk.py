"""A capture that becomes shorter while it is read: everything whole before the new end, then damage; never a crash.

The kinds: the file is cut within a record, at a record's end, within the page that the walk is in, within the last
page, to nothing; while a run, a conversion, a study or a batch in memory reads it; on one thread and on several.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import config
from packets import ip4, udp

from qfp.antireplay.columns import observe
from qfp.batch import Batch
from qfp.router import Router
from qfp.trace import DamagedTrace, convert, open_source, read_trace, write_trace
from qfp.trace.errors import Shrunk
from qfp.trace.mapping import Mapping
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels import faults

pytestmark = pytest.mark.skipif(not faults.SUPPORTED, reason="mappings are watched on 64-bit Linux only")
COUNT = 3000
INSIDE = "GigabitEthernet0/0/1"
KINDS = (".pcap", ".pcapng", ".arrow")


@pytest.fixture(scope="module")
def batch() -> Batch:
    frames = [ip4("10.1.0.5", "10.2.0.7", udp(1, k % 60000, bytes([k % 251]) * (k * 37 % 900))) for k in range(COUNT)]
    return Batch.from_frames(frames, ts=np.arange(COUNT) * 1000)


@pytest.fixture(params=KINDS)
def trace(request: Any, tmp_path: Path, batch: Batch) -> Path:
    path = tmp_path / f"t{request.param}"
    write_trace(path, batch)
    return path


class Cut:
    """Cuts a file when it is called for the nth time."""

    def __init__(self, path: Path, size: int, at: int):
        self.path, self.size, self.left = path, size, at

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.truncate(self.path, self.size)


def sizes(path: Path) -> list[int]:
    whole = path.stat().st_size
    return [0, 100, 4096 * 50, 4096 * 50 + 1, whole // 2, whole // 2 + 333, whole - 5000, whole - 1]


def ends_of(path: Path) -> list[int]:
    """Byte behind each frame of a capture."""
    with open_source(path) as source:
        walker = Walker(source)
        return [
            int(a) + int(c) - int(source.state[C.W_BASE])
            for rows in walker for a, c in zip(walker.p.src_at[:rows], walker.p.cap[:rows], strict=True)
        ]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_ends_at_the_first_record_that_is_gone(trace: Path, batch: Batch, tmp_path: Path, threads: int) -> None:
    """Cut between two turns, at many places: what came out is that of the whole file, up to the damage."""
    whole = trace.read_bytes()
    for size in sizes(trace):
        trace.write_bytes(whole)
        router = Router.loads(config(1), threads=threads, batch=64)
        seen: list[Any] = []
        sink = Kept()
        with open_source(trace) as source:
            cut = Cut(trace, size, 1)
            router.run(source, INSIDE, sink, lambda v, seen=seen: seen.append(v["frame"].copy()), cut)
            damage = source.damage(router.tables.t)
        router.engine.close()
        frames = np.concatenate(seen) if seen else np.empty(0, np.int64)
        assert np.array_equal(frames, np.arange(len(frames)))
        assert damage is not None or len(frames) == COUNT, (trace, size)
        if damage is not None:
            assert damage.record == len(frames) and "shorter" in damage.message, (trace, size, damage)
        if trace.suffix != ".arrow":
            trace.write_bytes(whole)
            least = sum(end <= size for end in ends_of(trace))
            assert len(frames) >= least and (size != whole or len(frames) == COUNT), (size, least, len(frames))
    trace.write_bytes(whole)
    reference = Router.loads(config(1), batch=64)
    sink2 = Kept()
    with open_source(trace) as source:
        reference.run(source, INSIDE, sink2)
    assert bytes(sink2.data).startswith(bytes(sink.data)) and len(sink.data) > 0


class Kept:
    kind = 1

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, block: Any) -> None:
        self.data += block


def test_zeros_behind_a_new_end_are_no_packets(tmp_path: Path) -> None:
    """Within the page of the new end the kernel gives zeros without a fault, and sixteen of them are a pcap record."""
    path = tmp_path / "t.pcap"
    write_trace(path, Batch.from_frames([bytes([69]) * 100] * 40))
    router = Router.loads(config(1), batch=4)
    with open_source(path) as source:
        source.state[C.W_END], source.state[C.W_EOF] = 24 + 116 * 3, 0  # three records are shown at first
        os.truncate(path, 24 + 116 * 5)
        frames: list[Any] = []
        router.run(source, INSIDE, Kept(), lambda v: frames.extend(v["frame"].tolist()))
        damage = source.damage(router.tables.t)
    assert frames == [0, 1, 2, 3, 4] and damage is not None and (damage.record, damage.offset) == (5, 24 + 116 * 5)


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
def test_conversion_and_study_stop_there_too(tmp_path: Path, batch: Batch, suffix: str) -> None:
    path, out = tmp_path / f"t{suffix}", tmp_path / "o.parquet"
    write_trace(path, batch)
    size = 4096 * 60 + 77
    least = sum(end <= size for end in ends_of(path))
    done = convert(path, out, Cut(path, size, 1))
    assert done.damage is not None and done.damage.record == done.frames >= least
    back = read_trace(out)
    assert len(back) == done.frames and back.frames() == [batch.frame(i) for i in range(done.frames)]
    path.unlink()
    write_trace(path, batch)
    found = observe(path, Cut(path, size, 1))
    assert found.damage is not None and found.counts.frames == found.damage.record >= least


def test_a_batch_over_a_file_that_shrank(tmp_path: Path, batch: Batch) -> None:
    """No zeros are passed off as frames: an error names record and byte, and what is whole can be read."""
    path = tmp_path / "t.pcap"
    write_trace(path, batch)
    ends = ends_of(path)
    mapped = read_trace(path)
    size = 4096 * 70 + 5
    os.truncate(path, size)
    whole = sum(end <= size for end in ends)
    assert mapped.frame(whole - 1) == batch.frame(whole - 1)
    for use in (mapped.frames, lambda: mapped.frame(whole), lambda: Batch.concat([mapped, mapped]),
                lambda: Router.loads(config(1), batch=64).forward(mapped, INSIDE),
                lambda: write_trace(tmp_path / "o.pcap", mapped)):  # fmt: skip
        with pytest.raises(Shrunk, match=f"record {whole} at byte"):
            use()
    with pytest.warns(DamagedTrace):
        assert len(read_trace(path)) == whole  # opened anew it is a file that ends early


def test_other_faults_stay_faults(tmp_path: Path) -> None:
    """A mapping of somebody else, and a signal that was sent, end the process as before; faulthandler is asked too."""
    body = """
import mmap, os, sys, signal, faulthandler
from qfp_kernels import faults
path = sys.argv[1]
file = open(path, "w+b"); file.write(b"x" * 40960); file.flush()
ours = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
if sys.argv[2] == "before": faulthandler.enable()
import numpy as np
faults.watch(np.frombuffer(ours, np.uint8).ctypes.data, 40960, file.fileno())
if sys.argv[2] == "after": faulthandler.enable()
other = open(path + "2", "w+b"); other.write(b"x" * 40960); other.flush()
theirs = mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ)
os.ftruncate(other.fileno(), 0)
if sys.argv[2] == "sent": os.kill(os.getpid(), signal.SIGBUS)
print(theirs[5])
"""
    for how in ("plain", "before", "after", "sent"):
        done = subprocess.run([sys.executable, "-c", body, str(tmp_path / "f"), how], capture_output=True, timeout=120)
        assert done.returncode == -signal.SIGBUS, (how, done)
        assert (b"Fatal Python error" in done.stderr) == (how in ("before", "after"))


def test_slots_are_given_back(tmp_path: Path, batch: Batch) -> None:
    path = tmp_path / "t.pcap"
    write_trace(path, batch)
    free, handles = len(faults._free), len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with open_source(path):
            pass
        read_trace(path)
    assert (len(faults._free), len(os.listdir("/proc/self/fd"))) == (free, handles)


def test_batches_can_be_pickled(batch: Batch) -> None:
    """They hold no keys and no addresses."""
    assert pickle.loads(pickle.dumps(batch)) == batch


def test_a_mapping_may_die_while_another_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's collector comes by wherever objects are made, also where the watched mappings are locked: what it finds
    there must not wait for that lock (the process stood still for good)."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)
    old: list[Mapping] = []
    with open(path, "rb") as file:
        old.append(Mapping(file))
        arm, died = faults._arm, []

        def arm_and_collect() -> None:
            died.append(old.pop().record)
            gc.collect()
            arm()

        monkeypatch.setattr(faults, "_arm", arm_and_collect)
        made: list[Mapping] = []
        maker = threading.Thread(target=lambda: made.append(Mapping(file)), daemon=True)
        maker.start()
        maker.join(60)
    assert not maker.is_alive() and len(died) == 1
    assert made[0].bytes[:3].tobytes() == b"xxx" and made[0].intact(5000) == 5000
