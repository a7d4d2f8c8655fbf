"""Numbering and writing of outgoing packets, the writer of traces, and what other programs read in them."""

import shutil
import struct
import subprocess
import sys

import naive_capture as naive
import numpy as np
import pyarrow.parquet as pq
import pytest
from capture_help import Guarded

from qfp.batch import Batch
from qfp.trace import TraceError, TraceWriter, read_trace
from qfp.trace.source import BatchSource
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import (
    CTL_OUT_KIND,
    CTL_OUT_POS,
    CTL_OUT_SEQ,
    OUT_NONE,
    OUT_PCAP,
    OUT_PCAPNG,
    ST_OUT_AT,
    ST_ROWS,
)

pytestmark = pytest.mark.req("USE-1")
ROOM = 1480  # bytes of payload of a fragment: nothing is cut here
SIZES = [20, 63, 64, 65, 127, 128, 129, 1420, 0, 1, 2, 3, 1500]


def emitted(kind: int, at: int = 0) -> tuple[bytes, list[bytes], Walker]:
    """Fill frames, send every second one (and the last) into a block that ends at a guard page."""
    rng = np.random.default_rng(3)
    sent = [rng.bytes(size) for size in SIZES * 3]
    batch = Batch.from_frames(sent, ts=np.arange(len(sent)) * 10**9 + 7)
    walker = Walker(BatchSource(batch))
    rows = next(iter(walker))
    p, t = walker.p, walker.t
    compile_stage(C.fill)(p, t, rows)
    p.l3[:rows], p.ip_len[:rows], p.out_if[:rows] = p.off[:rows], p.cap[:rows], np.arange(rows) % 3 - 1
    p.n_out[:rows], p.more[:rows] = np.arange(rows) % 2 == 0, -1
    p.st[ST_ROWS], t.ctl[CTL_OUT_KIND], t.ctl[CTL_OUT_SEQ], t.ctl[CTL_OUT_POS] = rows, kind, 40, at
    assert compile_stage(C.reserve)(p, t, rows) == rows
    assert p.st[ST_OUT_AT] == at
    size = int(t.ctl[CTL_OUT_POS])
    assert size - at <= C.worst_case(len(sent[::2]), sum(map(len, sent[::2])), ROOM)
    guarded = Guarded(b"\xa5" * size)
    t._table[t.names().index("out")] = guarded.address  # the stage sees a block with no byte to spare
    compile_stage({OUT_PCAP: C.emit_pcap, OUT_PCAPNG: C.emit_pcapng}[kind])(p, t, rows)
    return guarded.content(), sent[::2], walker


def test_reserve_numbers_packets_in_row_order():
    _, sent, walker = emitted(OUT_PCAP)
    numbers = walker.p.first_out[: 2 * len(sent) - 1].tolist()
    assert numbers[::2] == list(range(40, 40 + len(sent)))
    assert set(numbers[1::2]) == {-1}
    assert walker.t.ctl[CTL_OUT_SEQ] == 40 + len(sent)


def test_reserve_numbers_without_an_output_and_takes_no_bytes():
    walker = Walker(BatchSource(Batch.from_frames([b"abc"] * 3)))
    p, t = walker.p, walker.t
    p.more[:3] = -1
    p.n_out[:3], p.ip_len[:3], p.st[ST_ROWS], t.ctl[CTL_OUT_KIND] = 1, 3, 3, OUT_NONE
    compile_stage(C.reserve)(p, t, 3)
    assert (t.ctl[CTL_OUT_SEQ], t.ctl[CTL_OUT_POS], p.first_out[:3].tolist()) == (3, 0, [0, 1, 2])


def test_emit_pcap_writes_exactly_its_records():
    block, sent, _ = emitted(OUT_PCAP, at=11)
    assert block[:11] == b"\xa5" * 11
    expected = b"".join(struct.pack("<IIII", 2 * k, 7, len(x), len(x)) + x for k, x in enumerate(sent))
    assert block[11:] == expected


def test_emit_pcapng_writes_exactly_its_blocks():
    block, sent, _ = emitted(OUT_PCAPNG)
    interfaces = [max(2 * k % 3 - 1, 0) for k in range(len(sent))]
    stamped = [2 * k * 10**9 + 7 for k in range(len(sent))]
    assert block == b"".join(map(naive.epb, "<" * len(sent), interfaces, stamped, sent))


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".parquet", ".arrow", ".pcap.gz", ".pcapng.zst"])
def test_trace_writer(tmp_path, suffix):
    path = tmp_path / ("out" + suffix)
    with TraceWriter(path, ["Gi1", "Tunnel0", "Gi2"]) as writer:
        block, sent, _ = emitted(writer.kind)
        writer.write(memoryview(block))
        writer.write(memoryview(block))
        assert not path.exists()
    batch = read_trace(path)
    assert batch.frames() == sent * 2
    assert set(batch.link.tolist()) == {101}
    assert batch.ts.tolist() == [2 * k * 10**9 + 7 for k in range(len(sent))] * 2
    if ".pcap" not in suffix or ".pcapng" in suffix:
        assert batch.interfaces == ("Gi1", "Tunnel0", "Gi2")
        assert batch.in_if.tolist() == [max(2 * k % 3 - 1, 0) for k in range(len(sent))] * 2
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".parquet", ".arrow"])
def test_trace_writer_without_a_packet_is_a_readable_file(tmp_path, suffix):
    with TraceWriter(tmp_path / ("o" + suffix), ["a"]):
        pass
    assert len(read_trace(tmp_path / ("o" + suffix))) == 0


@pytest.mark.parametrize("suffix", [".pcapng", ".parquet", ".pcap.gz"])
def test_failed_output_leaves_nothing_and_keeps_the_old_file(tmp_path, suffix):
    path = tmp_path / ("out" + suffix)
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), TraceWriter(path, ["a"]) as writer:
        writer.write(writer.header if suffix != ".parquet" else b"")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


def test_devices_are_written_directly():
    with TraceWriter("/dev/null", ["a"]) as writer:
        assert writer.kind == OUT_PCAPNG
        writer.write(b"abc")
    assert writer.written == len(writer.header) + 3


@pytest.mark.parametrize(
    ("name", "word"),
    [("out.txt", "ends in"), ("out", "ends in"), ("none/out.pcap", "folder"), (".", "ends in"), ("o.arrow.gz", "off")],
)
def test_impossible_outputs_are_refused_with_a_remedy(tmp_path, name, word):
    with pytest.raises(TraceError, match=word) as error:
        TraceWriter(tmp_path / name, ["a"])
    assert str(tmp_path) in str(error.value)


def test_writing_through_a_symbolic_link_keeps_the_link(tmp_path):
    (tmp_path / "link.pcap").symlink_to(tmp_path / "real.pcap")
    with TraceWriter(tmp_path / "link.pcap", []):
        pass
    assert (tmp_path / "link.pcap").is_symlink() and (tmp_path / "real.pcap").exists()


def test_parquet_groups_are_readable_elsewhere(tmp_path):
    with TraceWriter(tmp_path / "o.parquet", ["Gi1", "Gi2"]) as writer:
        writer.write(emitted(OUT_PCAPNG)[0])
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column_names == ["frame", "ts", "in_if", "link", "wire", "data"]
    assert table.schema.metadata[b"qfp.schema"] == b"qfp-trace/1"


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".pcapng.gz"])
@pytest.mark.parametrize("tool", ["tshark", "tcpdump"])
def test_other_tools_read_our_captures(tmp_path, suffix, tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    if tool == "tcpdump" and suffix.endswith(".gz"):
        pytest.skip("tcpdump reads no compressed captures")
    from qfp.trace import write_trace
    from qfp.trace.synth import imix

    batch = imix(60, seed=5)
    batch.interfaces = ("GigabitEthernet0/0/1",)
    path = tmp_path / ("o" + suffix)
    write_trace(path, batch)
    fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "ip.len", "-e", "udp.checksum.status"]
    args = [*fields, "-o", "udp.check_checksum:TRUE"] if tool == "tshark" else ["-n", "-q"]
    ran = subprocess.run([tool, "-r", path, *args], capture_output=True, text=True, timeout=60, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 60
    if tool == "tshark":
        for i, line in enumerate(lines):
            when, size, checksum = line.split("\t")
            seconds, _, part = when.partition(".")
            assert int(seconds) * 10**9 + int(part.ljust(9, "0")) == batch.ts[i]
            assert (int(size), checksum) == (batch.length[i], "1")


SCAPY = """
import sys
from scapy.utils import rdpcap
packets = rdpcap(sys.argv[1])
print(len(packets), sum(len(bytes(p)) for p in packets))
"""


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
def test_scapy_reads_our_captures(tmp_path, suffix):
    from qfp.trace import write_trace
    from qfp.trace.synth import office_traffic

    batch = office_traffic(2, 300)
    write_trace(tmp_path / ("o" + suffix), batch)
    found = subprocess.run([sys.executable, "-c", "import scapy"], capture_output=True)
    if found.returncode:
        pytest.skip("scapy is not installed")
    command = [sys.executable, "-c", SCAPY, tmp_path / ("o" + suffix)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.split() == ["300", str(int(batch.length.sum()))]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a Linux device")
def test_a_full_disk_is_an_error_that_names_the_file():
    with pytest.raises(TraceError, match=r"/dev/full: writing failed \(No space left on device\)"):
        TraceWriter("/dev/full", ["a"])
