"""The walk over captures against its slow twin: formats, damage, chunks, restarts, and no read outside the bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import naive_capture as naive
import pytest
from capture_help import Memory, rows_of, walk_bytes, walk_pieces
from hypothesis import given, settings
from hypothesis import strategies as st

from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.layout import ARENA, CTL_IN_IF, FRAME_MAX, HEADROOM, ST_L3_ALIGN, TAILROOM

pytestmark = pytest.mark.req("USE-1")
QUICK = settings(max_examples=60, deadline=None, derandomize=True)

frames = st.lists(st.binary(max_size=200), max_size=12)
orders = st.sampled_from("<>")


@st.composite
def pcaps(draw) -> bytes:
    return naive.pcap(draw(frames), draw(orders), draw(st.booleans()), draw(st.sampled_from([1, 101, 0x1000065])))


@st.composite
def sections(draw) -> bytes:
    order = draw(orders)
    out = naive.shb(order)
    count = draw(st.integers(1, 3))
    for k in range(count):
        res = draw(st.sampled_from([None, 0, 3, 6, 9, 12, 0x80, 0x8A, 0xA0, 0xBF]))
        offset = draw(st.sampled_from([0, 5, -5, 2**62]))
        snap = draw(st.sampled_from([0, 40, 65535]))
        out += naive.idb(order, draw(st.sampled_from([1, 101, 113])), snap, res, offset, f"eth{k}" if k else "")
    for data in draw(frames):
        interface, ticks = draw(st.integers(0, count - 1)), draw(st.integers(0, 2**64 - 1))
        kind = draw(st.sampled_from(["epb", "pb", "spb", "other"]))
        if kind == "epb":
            out += naive.epb(order, interface, ticks, data, len(data) + 3)
        elif kind == "pb":
            out += naive.pb(order, interface, ticks, data)
        elif kind == "spb":
            out += naive.spb(order, data)
        else:
            out += naive.block(draw(st.sampled_from([4, 5, 10, 0xBAD])), data, order)
    return out


pcapngs = st.lists(sections(), min_size=1, max_size=3).map(b"".join)
captures = st.one_of(pcaps(), pcapngs)


def same(ours: naive.Reading, theirs: naive.Reading) -> None:
    assert ours.rows == theirs.rows
    assert ours.damage == theirs.damage


@QUICK
@given(captures)
def test_walk_equals_slow_twin(data):
    ours, theirs = walk_bytes(data), naive.read(data)
    same(ours, theirs)
    if data[:4] == b"\n\r\r\n":
        assert [x["name"] for x in ours.interfaces] == [x["name"] for x in theirs.interfaces]


@st.composite
def mutated(draw) -> bytes:
    data = bytearray(draw(captures))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(24, max(len(data) - 1, 24)))
        if at < len(data):
            data[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])))
    return bytes(data[: draw(st.integers(24, len(data)))])


@settings(QUICK, max_examples=150)
@given(mutated(), st.booleans())
def test_damaged_capture_ends_where_the_slow_twin_ends_and_reads_nothing_outside(data, at_end):
    same(walk_bytes(data, at_end), naive.read(data))


@QUICK
@given(st.sampled_from([naive.pcap([]), naive.pcap([], ">"), naive.shb("<"), naive.shb(">")]), st.binary(max_size=300))
def test_random_bytes_behind_a_header_never_crash(head, tail):
    data = head + tail
    same(walk_bytes(data), naive.read(data))


@QUICK
@given(st.one_of(captures, mutated()), st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(1, 64))
def test_any_piece_and_buffer_size_gives_the_same_rows(data, sizes, buffer):
    same(walk_pieces(data, sizes, buffer), naive.read(data))


@QUICK
@given(captures)
def test_walk_can_go_back_to_any_row(data):
    whole = naive.read(data)
    source = Memory(data)
    walker = Walker(source)
    assert list(rows_of(walker)) == whole.rows
    for row in reversed(whole.rows):
        source.state[C.W_POS], source.state[C.W_FRAME] = row.rec_at, row.frame
        assert list(rows_of(walker)) == whole.rows[row.frame :]


@pytest.mark.parametrize("align", [0, 32, 46])
@pytest.mark.parametrize(("link", "lead"), [(1, 14), (101, 0), (0, 4), (113, 16), (276, 20)])
def test_slots_are_apart_and_the_ip_header_is_aligned(link, lead, align):
    data = naive.pcap([bytes([k % 251]) * (k * 7 % 1600) for k in range(600)], link=link)
    source = Memory(data)
    walker = Walker(source)
    walker.p.st[ST_L3_ALIGN] = align
    total = 0
    for n in walker:
        p, end = walker.p, 0
        for i in range(n):
            off, cap = int(p.off[i]), int(p.cap[i])
            assert off - HEADROOM >= end and (off + lead) % 64 == align
            end = off + cap + TAILROOM
        assert end <= ARENA
        total += n
    assert total == 600


@pytest.mark.parametrize("size", [FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 250_000])
def test_long_frames_are_rows_with_a_bounded_slot(size):
    data = naive.pcap([b"a" * 60, bytes(range(256)) * 977, b"b" * size, b"c" * 3], snap=300_000)
    same(walk_bytes(data), naive.read(data))


def test_the_ingress_interface_can_be_given():
    data = naive.shb("<") + naive.idb("<") + naive.idb("<") + naive.epb("<", 1, 5, b"x")
    source = Memory(data)
    walker = Walker(source)
    walker.t.ctl[CTL_IN_IF] = 7
    assert [r.in_if for r in rows_of(walker)] == [7]


def test_more_interfaces_than_the_table_holds_at_first():
    data = naive.shb(">") + b"".join(naive.idb(">", 101, name=f"if{k}") for k in range(100))
    data += b"".join(naive.epb(">", k, k, b"x" * k) for k in range(100))
    ours = walk_bytes(data)
    same(ours, naive.read(data))
    assert len(ours.interfaces) == 100
    same(walk_pieces(data, [13], 32), naive.read(data))


DAMAGE = {
    "truncated": (naive.shb("<") + naive.idb("<") + naive.epb("<", 0, 1, b"abcd")[:-3], C.D_TRUNCATED),
    "length": (naive.shb("<") + b"\6\0\0\0\x0d\0\0\0" + bytes(30), C.D_LENGTH),
    "trailer": (naive.shb("<") + naive.idb("<")[:-1] + b"\1", C.D_TRAILER),
    "byte order": (naive.shb("<") + b"\n\r\r\n" + bytes(30), C.D_BYTE_ORDER),
    "interface": (naive.shb("<") + naive.epb("<", 0, 1, b"abcd"), C.D_INTERFACE),
    "interface of the section before": (
        naive.shb("<") + naive.idb("<") + naive.shb(">") + naive.epb(">", 0, 1, b"ab"), C.D_INTERFACE),
    "captured length": (naive.pcap([b"abc"])[:-11] + b"\xff\xff\xff\x7f" + bytes(30), C.D_CAPLEN),
    "resolution": (naive.shb("<") + naive.idb("<", res=0xFF), C.D_RESOLUTION),
    "resolution of ten": (naive.shb("<") + naive.idb("<", res=28), C.D_RESOLUTION),
    "option": (naive.shb("<") + naive.block(1, bytes(8) + b"\2\0\xff\0" + bytes(4), "<"), C.D_OPTION),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_each_kind_of_damage_is_named(name):
    data, code = DAMAGE[name]
    ours = walk_bytes(data)
    assert ours.damage is not None and ours.damage[0] == code
    same(ours, naive.read(data))


def test_the_guard_pages_guard():
    code = (
        "import ctypes, capture_help as h\n"
        "g = h.Guarded(b'x' * 100, {end})\nprint(len(ctypes.string_at(g.address, 100)), flush=True)\n"
        "ctypes.string_at(g.address {step}, 1)"
    )
    for end, step in ((True, "+ 100"), (False, "- 1")):
        ran = subprocess.run(
            [sys.executable, "-c", code.format(end=end, step=step)], capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        )  # fmt: skip
        assert (ran.returncode, ran.stdout) == (-signal.SIGSEGV, b"100\n")
