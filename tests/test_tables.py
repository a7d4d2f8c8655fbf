"""Tables of frames by whoever wrote them: columns by name, cast where nothing is lost; what is crafted is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qfp.batch import ARROW_SCHEMA, Batch
from qfp.tabular import TableError
from qfp.trace import TraceError, read_trace

FRAMES = [bytes([69, k]) * 20 for k in range(4)]
TIMES = [10**18 + k * 10**9 for k in range(4)]


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


DATA = [
    pa.array(FRAMES, pa.binary()), pa.array(FRAMES, pa.large_binary()), pa.array(FRAMES, pa.binary(40)),
    pa.array(FRAMES, pa.binary_view()), pa.array(FRAMES, pa.binary()).dictionary_encode(),
    pa.chunked_array([pa.array(FRAMES[:1], pa.binary()), pa.array(FRAMES[1:], pa.binary())]),
]  # fmt: skip


@pytest.mark.parametrize("data", DATA, ids=lambda d: str(d.type))
def test_data_alone_is_enough(data: Any) -> None:
    batch = Batch.from_arrow(pa.table({"other": ["x"] * 4, "data": data}))
    assert batch.frames() == FRAMES
    assert batch.link.tolist() == [101] * 4 and batch.ts.tolist() == [0] * 4 and batch.frame_no.tolist() == [0, 1, 2, 3]
    assert batch.wire.tolist() == [40] * 4 and batch.in_if.tolist() == [0] * 4


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    ts = pa.array(TIMES, pa.int64()).view(pa.timestamp("ns", zone)).cast(pa.timestamp(unit, zone))
    assert Batch.from_arrow(pa.table({"ts": ts, "data": DATA[0]})).ts.tolist() == TIMES
    assert Batch.from_arrow(pa.table({"data": DATA[0], "ts": pa.array(TIMES, pa.int64())})).ts.tolist() == TIMES


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int16(), pa.uint64(), pa.float64(), pa.decimal128(20, 0)], ids=str)
def test_integers_of_any_width(kind: pa.DataType, tmp_path: Path) -> None:
    columns = {name: pa.array([1, 2, 3, 4], pa.int64()).cast(kind) for name in ("wire", "link", "in_if", "frame")}
    path = write(tmp_path / "t.parquet", pa.table({**columns, "data": DATA[0]}))
    batch = read_trace(path)
    assert all(batch.columns[name].tolist() == [1, 2, 3, 4] for name in columns)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": [1]}, "not a trace table"), ({"data": [FRAMES[0], None]}, "column data has nulls, the first in row 1"),
        ({"data": FRAMES[:2], "ts": pa.array([1, None], pa.int64())}, "column ts has nulls, the first in row 1"),
        ({"data": ["text"]}, "column data is of type string"),
        ({"data": FRAMES[:1], "link": ["a"]}, "column link is of"),
        ({"data": FRAMES[:3], "link": [1, 2, 65536]}, "column link has a value in row 2"),
        ({"data": FRAMES[:2], "wire": [1.0, 1.5]}, "column wire has a value in row 1"),
        ({"data": FRAMES[:1], "ts": pa.array([2**40], pa.timestamp("s"))}, "before 1677 or after 2262"),
        ({"data": FRAMES[:1], "ts": [1.5]}, "column ts is of type double"),
        ({"data": pa.nulls(1)}, "column data has nulls"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused_by_column_and_row(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=said):
        Batch.from_arrow(pa.table(columns))
    with pytest.raises(TraceError, match=said):
        read_trace(write(tmp_path / "t.arrow", pa.table(columns)))


def test_numbers_go_on_over_the_groups_of_a_file(tmp_path: Path) -> None:
    table = pa.table({"data": pa.array([b"\x45" * 20] * 70000, pa.binary())})
    for suffix in (".parquet", ".arrow"):
        batch = read_trace(write(tmp_path / f"t{suffix}", table))
        assert np.array_equal(batch.frame_no, np.arange(70000))


@pytest.mark.parametrize(
    "meta",
    [b"5", b"[1,2]", b"{}", b'"abc"', b"[" * 100_000, b"\xff\xfe", b"[null]", b'[["a"]]', b'["\\ud800"]', b"", b"nan"],
    ids=lambda m: repr(m[:12]),
)
@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_metadata_is_data(meta: bytes, suffix: str, tmp_path: Path) -> None:
    schema = ARROW_SCHEMA.with_metadata({b"qfp.schema": b"qfp-trace/1", b"qfp.interfaces": meta})
    table = Batch.from_frames(FRAMES).to_arrow().replace_schema_metadata(schema.metadata)
    with pytest.raises(TraceError, match="list of names"):
        read_trace(write(tmp_path / f"t{suffix}", table))


@pytest.mark.parametrize(
    "offsets",
    [[2**63 - 1, -(2**63) + 9], [2**62, 2**62 + 28], [-8, 20], [0, 1 << 40], [0, 20, 5000], [20, 0, 10], [2**32, 5, 10],
     [0, 5 - 2**32], [3, 2, 4]],
)  # fmt: skip
def test_offsets_that_lie_are_refused(offsets: list[int], tmp_path: Path) -> None:
    """Sums that wrap around 64 bits, and differences that wrap around 32. Arrow files are believed by pyarrow."""
    count = len(offsets) - 1
    path = write(tmp_path / "t.arrow", pa.table({"data": pa.array([b"\x45" * 28] * count, pa.large_binary())}))
    there = (np.arange(count + 1, dtype=np.int64) * 28).tobytes()
    assert path.read_bytes().count(there) == 1
    path.write_bytes(path.read_bytes().replace(there, np.array(offsets, np.int64).tobytes()))
    with pytest.raises(TraceError, match=r"damaged|outside"):
        read_trace(path)


def test_columns_shorter_than_they_say_are_refused(tmp_path: Path) -> None:
    count = 5003
    columns = {"ts": pa.array(range(count), pa.int64()), "data": pa.array([b"x"] * count, pa.large_binary())}
    path = write(tmp_path / "t.arrow", pa.table(columns))
    raw = path.read_bytes()
    assert raw.count((8 * count).to_bytes(8, "little")) >= 1  # the length of the buffer, in the message's header
    path.write_bytes(raw.replace((8 * count).to_bytes(8, "little"), (8).to_bytes(8, "little")))
    with pytest.raises(TraceError, match="column ts is damaged"):
        read_trace(path)


def test_a_batch_checks_its_frames_without_wrapping() -> None:
    columns = dict.fromkeys(("wire", "ts", "in_if", "link", "frame"), np.zeros(1, np.int64))
    for offset, length in ((2**63 - 1, 10), (2**63 - 11, 2**31 - 1), (5, 6), (-1, 1)):
        with pytest.raises(ValueError, match="outside"):
            Batch(b"x" * 10, {**columns, "offset": [offset], "length": [length]})


def test_interfaces_are_read_back(tmp_path: Path) -> None:
    batch = Batch.from_frames(FRAMES, interfaces=["a", "b"])
    assert read_trace(write(tmp_path / "t.parquet", batch.to_arrow())).interfaces == ("a", "b")
    assert json.loads(batch.to_arrow().schema.metadata[b"qfp.interfaces"]) == ["a", "b"]
