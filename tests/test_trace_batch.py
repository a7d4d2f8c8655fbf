"""Batches, synthetic traffic, and verdict files."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfp.batch import Batch
from qfp.trace import TraceError, VerdictWriter, packets, read_trace, synth, write_trace
from qfp.trace.packets import checksum
from qfp_kernels.drops import CAUSES
from qfp_kernels.layout import VERDICT_FIELDS

pytestmark = pytest.mark.req("USE-1")
FRAMES = [b"abc", b"", b"defgh", b"x" * 100]


# -------------------------------------------------------------------------------------------------- batches
def test_a_batch_keeps_its_frames_and_columns():
    batch = Batch.from_frames(FRAMES, ts=[5, 6, 7, 8], link=1, in_if=2)
    assert len(batch) == 4 and batch.frames() == FRAMES and batch.frame(-1) == FRAMES[-1]
    assert batch.length.tolist() == batch.wire.tolist() == [3, 0, 5, 100]
    assert batch.ts.tolist() == [5, 6, 7, 8] and batch.frame_no.tolist() == [0, 1, 2, 3]
    assert set(batch.link.tolist()) == {1} and set(batch.in_if.tolist()) == {2}
    assert repr(batch) == "Batch(4 frames, 108 bytes)"
    with pytest.raises(AttributeError):
        _ = batch.nonsense


@given(st.lists(st.binary(max_size=30), max_size=8), st.lists(st.binary(max_size=30), max_size=8))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_concat_arrow_and_equality(one, two):
    a, b = Batch.from_frames(one, interfaces=["lan"]), Batch.from_frames(two, ts=9)
    both = Batch.concat([a, b])
    assert both.frames() == one + two
    assert both.ts.tolist() == [0] * len(one) + [9] * len(two)
    back = Batch.from_arrow(both.to_arrow())
    assert back == both and back.interfaces == ("lan",)
    assert (a == b) == (one == two == [])
    assert Batch.from_arrow(pa.concat_tables([a.to_arrow(), a.to_arrow()])).frames() == one * 2


def test_arrow_shares_memory_where_frames_lie_one_behind_the_other():
    batch = Batch.from_frames([b"a" * 1000] * 10)
    table = batch.to_arrow()
    assert table["data"].chunk(0).buffers()[2].address == batch.arena.ctypes.data
    assert Batch.from_arrow(table).arena.ctypes.data == batch.arena.ctypes.data
    gaps = Batch(batch.arena, {**batch.columns, "length": batch.length - 1})
    assert gaps.to_arrow()["data"].to_pylist() == [b"a" * 999] * 10


def test_impossible_batches_are_refused():
    good = Batch.from_frames(FRAMES).columns
    for change in ({"offset": good["offset"] + 50}, {"offset": -1 - good["offset"]}, {"length": -good["length"]}):
        with pytest.raises(ValueError, match="outside"):
            Batch(b"x" * 108, {**good, **change})
    with pytest.raises(ValueError, match="differ"):
        Batch(b"x" * 108, {**good, "ts": good["ts"][:-1]})
    with pytest.raises(ValueError, match="not a trace table"):
        Batch.from_arrow(pa.table({"a": [1]}))


def test_a_batch_outlives_the_source_that_it_was_read_from(tmp_path):
    write_trace(tmp_path / "x.pcap", Batch.from_frames(FRAMES))
    batch = read_trace(tmp_path / "x.pcap")
    (tmp_path / "x.pcap").unlink()
    assert batch.frames() == FRAMES


# -------------------------------------------------------------------------------------------- synthetic traffic
def valid(packet: bytes) -> bool:
    """Whether lengths and checksums of an IP packet (UDP, TCP, ICMP) are right; a header with its sum folds to 0."""
    if packet[0] >> 4 == 4:
        if checksum(packet[:20]) != 0 or int.from_bytes(packet[2:4], "big") != len(packet):
            return False
        addresses, proto, body = packet[12:20], packet[9], packet[20:]
    else:
        addresses, proto, body = packet[8:40], packet[6], packet[40:]
        if int.from_bytes(packet[4:6], "big") != len(body):
            return False
    if proto == packets.ICMP:
        return checksum(body) == 0
    return checksum(addresses + len(body).to_bytes(4, "big") + bytes([0, 0, 0, proto]) + body) == 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [48, 49, 51, 64, 65, 576, 1420])
def test_uniform_packets_are_valid(family, size):
    batch = synth.uniform(size, 50, flows=5, seed=size, family=family)
    assert all(len(f) == size and valid(f) for f in batch.frames())
    assert batch == synth.uniform(size, 50, flows=5, seed=size, family=family)
    assert len({f[8:40] if family == 6 else f[12:20] for f in batch.frames()}) == 5


def test_packets_with_little_payload_are_valid():
    assert all(valid(f) for size in (28, 29, 30, 35) for f in synth.uniform(size, 20).frames())


def test_imix_has_its_shares_in_order_of_time():
    batch = synth.imix(12 * 50, flows=100_000)
    sizes, counts = np.unique(batch.length, return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == {64: 350, 576: 200, 1420: 50}
    assert all(map(valid, batch.frames()))
    assert (np.diff(batch.ts) == synth.GAP).all() and batch.frame_no.tolist() == list(range(600))
    assert (np.diff(batch.offset) > 0).all()


@pytest.mark.parametrize("arguments", [(27, 1), (65536, 1), (64, 0), (64, 1, 0)])
def test_impossible_loads_are_refused(arguments):
    with pytest.raises(ValueError):
        synth.uniform(*arguments)


def test_office_traffic_is_what_it_says():
    batch = synth.office_traffic(4, 4000)
    assert len(batch) == 4000 and set(batch.link.tolist()) == {1}
    assert (np.diff(batch.ts) >= 0).all()
    kinds, dscp, df = set(), set(), 0
    for frame in batch.frames():
        kind = int.from_bytes(frame[12:14], "big")
        kinds.add(kind)
        if kind not in (packets.IPV4, packets.IPV6):
            continue
        six = kind == packets.IPV6
        size = 40 + int.from_bytes(frame[18:20], "big") if six else int.from_bytes(frame[16:18], "big")
        packet = frame[14 : 14 + size]
        assert size <= 1400 and valid(packet)
        dscp.add(((packet[0] << 8 | packet[1]) >> 6 & 0x3F) if six else packet[1] >> 2)
        df += not six and packet[6] == 0x40
    assert kinds == {packets.IPV4, packets.IPV6, packets.ARP, packets.LLDP}
    assert {0, packets.EF} <= dscp and df > 500


def test_office_directions_and_seeds():
    out, back = synth.office_traffic(1, 500, "out"), synth.office_traffic(1, 500, "in")
    router = bytes.fromhex("020000000001")
    assert all(f[6:12] != router for f in out.frames()) and all(f[6:12] == router for f in back.frames())
    assert synth.office_traffic(1, 300) == synth.office_traffic(1, 300) != synth.office_traffic(2, 300)


def test_office_traffic_is_the_same_in_every_process():
    code = (
        "import hashlib\nfrom qfp.trace.synth import office_traffic\n"
        "print(hashlib.sha256(b''.join(office_traffic(1, 300).frames())).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


# ------------------------------------------------------------------------------------------------- verdicts
WORDS = {
    "in_if": ["lan", "wan"],
    "out_if": ["lan", "wan"],
    "verdict": ["none", "forwarded", "dropped"],
    "cause": [c.name for c in CAUSES],
    "stage": ["parse", "route"],
}


def verdicts(size: int) -> dict[str, np.ndarray]:
    k = np.arange(size)
    values = {
        "frame": k, "ts": 1_700_000_000_000_000_000 + k, "in_if": k % 2, "out_if": k % 3 - 1,
        "verdict": 1 + (k % 5 == 0),
        "cause": (k % 5 == 0) * (1 + k % 7), "stage": k % 2, "sa": k - 1, "spi": k + 256,
        "seq": k.astype(np.uint64) + np.uint64(2**63), "sns": k % 16, "cls": k % 3,
        "len_in": k, "len_out": k + 60, "first_out": k - 1, "n_out": k % 2,
    }  # fmt: skip
    return {f.name: np.asarray(values[f.name]).astype(f.dtype) for f in VERDICT_FIELDS}


def as_rows(columns: dict[str, np.ndarray]) -> list[dict]:
    rows = []
    for i in range(len(columns["frame"])):
        row = {name: int(c[i]) for name, c in columns.items()}
        row |= {n: ["-", *WORDS[n]][row[n] + 1] for n in ("in_if", "out_if")}
        row |= {n: WORDS[n][row[n]] for n in ("verdict", "stage")}
        row["cause"] = WORDS["cause"][row["cause"]] if row["cause"] else None
        rows.append(row)
    return rows


def read_table(path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("step", [1, 77, 1000])
def test_verdicts_read_back(tmp_path, suffix, step):
    path = tmp_path / ("v" + suffix)
    columns = verdicts(300)
    with VerdictWriter(path, WORDS) as writer:
        for a in range(0, 300, step):
            part = {n: c[a : a + step].copy() for n, c in columns.items()}
            writer.write(part)
            for c in part.values():
                c[:] = 0  # the engine uses its columns again
        writer.write({n: c[:0] for n, c in columns.items()})
    assert writer.rows == 300
    table = read_table(path)
    assert table.schema.metadata[b"qfp.schema"] == b"qfp-verdicts/1"
    assert [f.nullable for f in table.schema] == [f.name == "cause" for f in VERDICT_FIELDS]
    assert table.schema.field("ts").type == pa.timestamp("ns")
    assert all(pa.types.is_dictionary(table.schema.field(n).type) for n in WORDS)
    plain = table.set_column(1, "ts", table["ts"].cast(pa.int64()))
    assert plain.to_pylist() == as_rows(columns)


def test_verdict_groups_hold_a_million_rows(tmp_path):
    columns = verdicts(700_000)
    with VerdictWriter(tmp_path / "v.parquet", WORDS) as writer:
        writer.write(columns)
        writer.write(columns)
    found = pq.ParquetFile(tmp_path / "v.parquet").metadata
    assert [found.row_group(k).num_rows for k in range(found.num_row_groups)] == [1 << 20, 1_400_000 - (1 << 20)]
    assert found.row_group(0).column(0).compression == "UNCOMPRESSED"


def test_an_empty_verdict_file_has_its_columns(tmp_path):
    for suffix in (".parquet", ".arrow"):
        with VerdictWriter(tmp_path / ("v" + suffix), WORDS):
            pass
        assert read_table(tmp_path / ("v" + suffix)).num_rows == 0


def test_verdict_writer_refuses_and_cleans_up(tmp_path):
    with pytest.raises(TraceError, match=r"v\.pcap: .*change the suffix"):
        VerdictWriter(tmp_path / "v.pcap", WORDS)
    with pytest.raises(ValueError, match="without a word"), VerdictWriter(tmp_path / "v.parquet", WORDS) as writer:
        writer.write({**verdicts(3), "stage": np.array([0, 9, 0], np.uint8)})
        writer.close()
    assert list(tmp_path.iterdir()) == []
