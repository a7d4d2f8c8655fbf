"""Traces as files: recognised by content, whole and damaged, compressed, converted, in bounded memory."""

import gzip
import json
import os
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import naive_capture as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qfp.batch import Batch
from qfp.trace import DamagedTrace, TraceError, convert, open_source, read_trace, write_trace
from qfp.trace.source import MappedSource, TableSource
from qfp.trace.synth import imix, office_traffic, uniform
from qfp.trace.walker import Walker
from qfp_kernels.capture import DAMAGED

pytestmark = pytest.mark.req("USE-1")
SHARED = Path(__file__).parents[2] / "shared" / "vectors"
SUFFIXES = [".pcap", ".pcapng", ".parquet", ".arrow", ".pcap.gz", ".pcapng.zst", ".pcapng.gz", ".pcap.zst"]


def equal(batch: Batch, reading: naive.Reading) -> None:
    columns = (batch.frame_no, batch.ts, batch.wire, batch.in_if, batch.link)
    ours = list(zip(*(c.tolist() for c in columns), batch.frames(), strict=True))
    assert ours == [(r.frame, r.ts, r.wire, r.in_if, r.link, r.data) for r in reading.rows]


def shared_captures() -> list[Path]:
    return sorted(p for p in SHARED.rglob("*.pcap*") if p.is_file()) if SHARED.is_dir() else []


# -------------------------------------------------------------------------------------------- real captures
@pytest.mark.skipif(not shared_captures(), reason="the shared vectors are not beside this checkout")
@pytest.mark.parametrize("path", shared_captures(), ids=lambda p: p.name)
def test_real_captures_read_as_the_slow_twin_reads_them(path):
    equal(read_trace(path), naive.read(path.read_bytes()))


@pytest.mark.skipif(not (SHARED / "traces" / "index.json").exists(), reason="the shared traces are not here")
def test_real_captures_have_the_frames_that_their_index_says():
    for entry in json.loads((SHARED / "traces" / "index.json").read_text())["traces"]:
        batch = read_trace(SHARED / "traces" / entry["file"])
        assert (len(batch), set(batch.link.tolist())) == (entry["frames"], {entry["linktype"]})


# ------------------------------------------------------------------------------------------------ formats
def sample() -> bytes:
    """Two sections in two byte orders, three link types, named interfaces."""
    out = naive.shb("<") + naive.idb("<", 1, name="lan") + naive.idb("<", 101, res=9, name="wan")
    out += naive.epb("<", 1, 1_700_000_000_000_000_001, b"\x45" * 60)
    out += naive.epb("<", 0, 1_700_000_000_000_002, b"e" * 70)
    out += naive.shb(">") + naive.idb(">", 113, res=0x8A) + naive.epb(">", 0, 1_700_000_000 << 10, b"s" * 33, wire=900)
    return out


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if not s.startswith(".pcap") or "ng" in s])
def test_conversion_keeps_links_times_lengths_and_names(tmp_path, suffix):
    (tmp_path / "in").write_bytes(sample())
    done = convert(tmp_path / "in", tmp_path / ("out" + suffix))
    assert (done.frames, done.bytes, done.damage) == (3, 163, None)
    before, after = read_trace(tmp_path / "in"), read_trace(tmp_path / ("out" + suffix))
    equal(before, naive.read(sample()))
    assert after == before
    assert before.interfaces == after.interfaces == ("lan", "wan", "")
    with open_source(tmp_path / "in") as source:
        list(Walker(source))
        assert source.interfaces == ["lan", "wan", "if2"]


def test_several_link_types_do_not_fit_into_pcap(tmp_path):
    (tmp_path / "in").write_bytes(sample())
    with pytest.raises(TraceError, match=r"out\.pcap: .*101 and 1: write \.pcapng instead"):
        convert(tmp_path / "in", tmp_path / "out.pcap")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("stamp", [-1, 1 << 62])
def test_times_that_a_format_cannot_hold_are_refused(tmp_path, stamp):
    batch = Batch.from_frames([b"x"], ts=stamp)
    with pytest.raises(TraceError, match=r"record 0 .*write \.parquet instead"):
        write_trace(tmp_path / "o.pcap", batch)
    write_trace(tmp_path / "o.parquet", batch)
    assert read_trace(tmp_path / "o.parquet") == batch


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_of_a_batch(tmp_path, suffix):
    traces = {"imix": imix(700, seed=2), "office": office_traffic(3, 500), "none": Batch.from_frames([])}
    for name, batch in traces.items():
        path = tmp_path / (name + suffix)
        write_trace(path, batch)
        assert read_trace(path) == batch
        assert convert(path, tmp_path / "again.pcapng").frames == len(batch)


def test_the_link_type_of_an_empty_capture_is_kept(tmp_path):
    (tmp_path / "in.pcap").write_bytes(naive.pcap([], link=113))
    convert(tmp_path / "in.pcap", tmp_path / "out.pcap")
    assert (tmp_path / "out.pcap").read_bytes()[20:24] == b"\x71\0\0\0"


def test_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "really.pcap").write_bytes(gzip.compress(sample()))
    assert len(read_trace(tmp_path / "really.pcap")) == 3


def test_pipes_are_read_compressed_or_not(tmp_path):
    for data in (sample(), gzip.compress(sample()), zstandard.compress(sample())):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        thread = threading.Thread(target=pipe.write_bytes, args=(data,))
        thread.start()
        equal(read_trace(pipe), naive.read(sample()))
        thread.join()
        pipe.unlink()


# ------------------------------------------------------------------------------------------- compressed data
def test_gzip_members_and_padding(tmp_path):
    data = naive.pcap([bytes([k]) * 50 for k in range(30)])
    packed = gzip.compress(data[:100]) + gzip.compress(b"") + gzip.compress(data[100:]) + bytes(700)
    (tmp_path / "x").write_bytes(packed)
    equal(read_trace(tmp_path / "x"), naive.read(data))


def test_zstd_frames_and_skippable_frames(tmp_path):
    data = naive.pcap([bytes([k]) * 50 for k in range(30)])
    skip = b"\x5a\x2a\x4d\x18\x05\0\0\0hello"
    packer = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compressobj()
    packed = skip + zstandard.compress(data[:100]) + skip + packer.compress(data[100:]) + packer.flush()
    (tmp_path / "x").write_bytes(packed)
    equal(read_trace(tmp_path / "x"), naive.read(data))


PACKERS = {"gzip": lambda d: gzip.compress(d, mtime=0), "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}


RANDOM = naive.pcap([np.random.default_rng(k).bytes(100 + k % 900) for k in range(600)])  # cannot be compressed
SOME = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_damaged(path: Path) -> Batch | None:
    """What can be read of a damaged file, None when it is nothing at all."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            batch = read_trace(path)
        except TraceError as error:
            assert str(path) in str(error)
            return None
    assert batch.damage is not None and [w.category for w in heard] == [DamagedTrace]
    return batch


@pytest.mark.parametrize("packer", PACKERS)
@SOME
@given(at=st.integers(40, len(RANDOM) - 100))
def test_cut_compressed_data_gives_all_that_is_intact(tmp_path, packer, at):
    packed = PACKERS[packer](RANDOM)[:at]
    (tmp_path / "x").write_bytes(packed)
    batch = read_damaged(tmp_path / "x")
    frames = batch.frames() if batch else []
    whole = [r.data for r in naive.read(RANDOM).rows]
    assert frames == whole[: len(frames)]
    unfinished = 1000 if packer == "gzip" else 1 << 17  # bytes of a block: zstd gives whole ones only
    assert sum(len(f) + 16 for f in whole[: len(frames) + 1]) >= at - unfinished


@pytest.mark.parametrize("packer", PACKERS)
@SOME
@given(at=st.integers(40, len(RANDOM) - 100), flip=st.integers(1, 255))
def test_changed_compressed_data_is_always_noticed(tmp_path, packer, at, flip):
    packed = bytearray(PACKERS[packer](RANDOM))
    packed[at % len(packed)] ^= flip
    (tmp_path / "x").write_bytes(packed)
    read_damaged(tmp_path / "x")


def test_a_gzip_stream_that_is_cut_gives_every_byte_before_the_cut(tmp_path):
    rng = np.random.default_rng(1)
    plain = naive.pcap([rng.bytes(100) for k in range(3000)])
    packed = gzip.compress(plain)[:-1000]
    (tmp_path / "x").write_bytes(packed)
    decoded = zlib.decompressobj(31).decompress(packed)
    with pytest.warns(DamagedTrace, match="stops before its end"):
        batch = read_trace(tmp_path / "x")
    assert len(batch) == (len(decoded) - 24) // 116


def test_a_small_file_that_expands_hugely_is_read_in_bounded_memory(tmp_path):
    record = naive.pcap([bytes(65000)] * 8)[24:]
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(naive.pcap([]))] + [packer.compress(record) for _ in range(400)] + [packer.flush()]
    (tmp_path / "x.gz").write_bytes(b"".join(parts))
    grown = _peak_growth(tmp_path / "x.gz")
    assert grown < 60 << 20


# --------------------------------------------------------------------------------------------- bounded memory
MEASURE = """
import resource, sys
from qfp.trace import convert, open_source
from qfp.trace.walker import Walker
from qfp.trace.synth import uniform
convert(uniform(100, 10), '/dev/null')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = convert(sys.argv[1], '/dev/null')
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _peak_growth(path: Path) -> int:
    """Bytes by which the peak of resident memory grows while a trace is converted, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )  # fmt: skip
    return int(ran.stdout) * 1024


def test_a_mapped_file_keeps_one_window_resident(tmp_path):
    part = naive.pcap([bytes(1400)] * 1000)[24:]
    with (tmp_path / "big.pcap").open("wb") as file:
        file.write(naive.pcap([]))
        for _ in range(220):
            file.write(part)
    assert (tmp_path / "big.pcap").stat().st_size > 290 << 20
    assert _peak_growth(tmp_path / "big.pcap") < 110 << 20


@pytest.mark.parametrize("window", [4096, 5000, 70_000])
def test_windows_of_a_mapped_file_change_nothing(tmp_path, window):
    data = naive.pcap([bytes([k % 251]) * (k * 37 % 9000) for k in range(300)])
    (tmp_path / "x").write_bytes(data)
    file = (tmp_path / "x").open("rb")
    source = MappedSource(file, "x", "pcap", data[:24], window)
    walker = Walker(source)
    assert sum(walker) == 300
    assert source.position(walker.t) == source.total_bytes == len(data)
    source.close()


def test_tables_are_read_group_by_group(tmp_path):
    batch = uniform(40, 200_000)
    for suffix in (".parquet", ".arrow"):
        write_trace(tmp_path / ("x" + suffix), batch)
        with open_source(tmp_path / ("x" + suffix)) as source:
            assert isinstance(source, TableSource)
            seen = [(int(w.p.frame[0]), int(w.p.rec_at[0])) for w in [Walker(source)] for _ in w]
            assert all(frame == at for frame, at in seen) and len(seen) > 195


# ----------------------------------------------------------------------------------------------- complaints
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no capture at all", "68656c6c"),
    "short": (naive.pcap([])[:20], "24-byte"),
    "modified": (b"\x34\xcd\xb2\xa1" + bytes(40), "editcap"),
    "version": (b"\xd4\xc3\xb2\xa1\x09\0" + bytes(40), "version 9"),
    "parquet": (b"PAR1" + bytes(60), "parquet"),
    "arrow": (b"ARROW1" + bytes(60), "arrow"),
    "gzip of text": (gzip.compress(b"hello, this is no capture at all"), "inside the gzip"),
    "gzip of gzip": (gzip.compress(gzip.compress(sample())), "inside the gzip"),
    "cut gzip": (gzip.compress(sample())[:15], "copy"),
    "cut zstd": (zstandard.compress(sample())[:7], "copy"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_no_traces_are_refused_with_name_and_remedy(tmp_path, name):
    path = tmp_path / "bad"
    path.write_bytes(BAD[name][0])
    with pytest.raises(TraceError, match=BAD[name][1]) as error:
        read_trace(path)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_files_directories_and_foreign_tables_are_refused(tmp_path):
    with pytest.raises(TraceError, match="no such file"):
        open_source(tmp_path / "none")
    with pytest.raises(TraceError, match="directory"):
        open_source(tmp_path)
    table = pa.table({"a": [1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(TraceError, match="does not hold a trace"):
        open_source(tmp_path / "x.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(sample())
    (tmp_path / "x").chmod(0)
    with pytest.raises(TraceError, match="permissions"):
        open_source(tmp_path / "x")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_damage_names_record_and_byte_and_keeps_what_is_before(tmp_path, pack):
    data = naive.pcap([b"a" * 30, b"b" * 30, b"c" * 30])
    (tmp_path / "x").write_bytes(pack(data[:-5]))
    with pytest.warns(DamagedTrace, match="record 2 at byte 116: the file ends inside this record"):
        batch = read_trace(tmp_path / "x")
    assert batch.frames() == [b"a" * 30, b"b" * 30]
    assert "record 2 at byte 116" in batch.damage
    done = convert(tmp_path / "x", tmp_path / "out.pcapng")
    assert (done.frames, done.damage.record, done.damage.offset) == (2, 2, 116)
    with open_source(tmp_path / "x") as source:
        walker = Walker(source)
        assert source.damage(walker.t) is None
        assert sum(walker) == 2
        assert source.state[5] == DAMAGED
