"""LZS: the kernels against bit strings, on real payloads and on streams that mean harm.

The codes below are worked out by hand from the format's tables (RFC 1974, RFC 2395), not copied from an example.
"""

import os
import subprocess
import sys
from pathlib import Path

import naive_lzs as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfp.trace import read_trace
from qfp_kernels import lzs
from qfp_kernels.layout import aligned

pytestmark = pytest.mark.req("PF-9")

TRACES = Path(__file__).parents[2] / "shared" / "vectors" / "traces"
PCAPS = sorted(TRACES.glob("*.pcap")) if TRACES.is_dir() else []
GUARD = 96  # bytes on both sides of every buffer: more than any load or store of the kernels
WORK = aligned(lzs.SCRATCH_BYTES, "u1")  # one for all tests: what came before must not matter
TAIL = bytes(range(0x80, 0x87))  # seven bytes that the compressor sends as literals


def between_guards(content: bytes, fill: int) -> np.ndarray:
    """Some bytes with guard bytes on both sides."""
    side = np.full(GUARD, fill, np.uint8)
    return np.concatenate([side, np.frombuffer(content, np.uint8), side])


def call(fn: object, source: bytes, room: int, *more: int) -> bytes | None:
    """What a kernel makes of `source` in `room` bytes; None for -1. Twice, with other bytes around the buffers."""
    results = []
    for fill in (0x00, 0xFF):
        buffer = between_guards(source, fill)
        out = between_guards(bytes([fill]) * room, 0x5A)
        before = buffer.copy()
        n = fn(buffer.ctypes.data + GUARD, len(source), out.ctypes.data + GUARD, room, *more)  # type: ignore[operator]
        assert (buffer == before).all(), "the input was written to"
        assert (out[:GUARD] == 0x5A).all() and (out[GUARD + room :] == 0x5A).all(), "written outside the room"
        assert -1 <= n <= room
        results.append(None if n < 0 else out[GUARD : GUARD + n].tobytes())
    assert results[0] == results[1], "bytes outside the input matter"
    return results[0]


def compress(data: bytes, room: int | None = None, work: np.ndarray = WORK) -> bytes | None:
    """`compress` with room for anything, unless given."""
    return call(lzs.compress, data, 2 * len(data) + 16 if room is None else room, work.ctypes.data)


def expand(stream: bytes, room: int) -> bytes | None:
    return call(lzs.expand, stream, room)


def stream_of(data: bytes) -> bytes:
    """The kernel's stream of data that it does not give up."""
    stream = compress(data)
    assert stream is not None
    return stream


def check_both_ways(data: bytes) -> int:
    """Kernel and twin read what the kernel writes, and no room more than needed is needed. The size, -1 = given up."""
    stream = compress(data)
    if stream is None:
        assert len(data) >= lzs.TRIAL
        return -1
    assert expand(stream, len(data)) == data == naive.expand(stream, len(data))
    assert expand(stream, len(data) + 100) == data
    assert len(data) == 0 or expand(stream, len(data) - 1) is None
    assert stream == naive.encode(naive.tokens_of(stream))  # offsets in their short form, zero bits at the end
    assert compress(data, len(stream)) == stream
    assert compress(data, len(stream) - 1) is None
    return len(stream)


def words(rng: np.random.Generator, size: int) -> bytes:
    """Text-like data: words of a small vocabulary."""
    vocabulary = [bytes(rng.integers(97, 123, rng.integers(2, 10), np.uint8)) for _ in range(60)]
    out = b""
    while len(out) < size:
        out += vocabulary[int(rng.zipf(1.4)) % 60] + b" "
    return out[:size]


def samples(rng: np.random.Generator, size: int) -> list[bytes]:
    """Data of one size, of several kinds."""
    return [
        bytes(size), rng.bytes(size), words(rng, size), bytes(rng.integers(0, 3, size, np.uint8)),
        (rng.bytes(rng.integers(1, 40)) * size)[:size], bytes(rng.integers(0, 16, size, np.uint8)),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- format
@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (b"", "110000000"),
        (b"A", "0 01000001 110000000"),
        (b"AB", "0 01000001 0 01000010 110000000"),
        # 15 = 8 + 0111, one byte back
        (b"A" * 16, "0 01000001  1 1 0000001 1111 0111  110000000"),
        # 23 = 8 + 15 + 0, so both nibbles are there; 38 needs three
        (b"A" * 24, "0 01000001  1 1 0000001 1111 1111 0000  110000000"),
        (b"A" * 39, "0 01000001  1 1 0000001 1111 1111 1111 0000  110000000"),
        # two literals, then 14 bytes from two back
        (b"AB" * 8, "0 01000001 0 01000010  1 1 0000010 1111 0110  110000000"),
    ],
)
def test_codes_worked_out_by_hand(data: bytes, bits: str) -> None:
    stream = naive.pack(bits.replace(" ", ""))
    assert compress(data) == stream
    assert expand(stream, len(data)) == data


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (2, "00"), (3, "01"), (4, "10"), (5, "1100"), (6, "1101"), (7, "1110"), (8, "11110000"), (9, "11110001"),
        (22, "11111110"), (23, "111111110000"), (37, "111111111110"), (38, "1111111111110000"),
        (52, "1111111111111110"), (53, "11111111111111110000"),
    ],
)  # fmt: skip
def test_length_codes(length: int, code: str) -> None:
    bits = naive.token_code(0) + "11" + "0000001" + code + "".join(map(naive.token_code, TAIL)) + naive.END
    data = bytes(1 + length) + TAIL
    assert compress(data) == naive.pack(bits)
    assert expand(naive.pack(bits), len(data)) == data


def test_every_length_to_beyond_the_longest_run_of_nibbles_in_a_word() -> None:
    for length in range(2, 700):
        stream = naive.encode([0, (1, length), *TAIL])
        assert compress(bytes(1 + length) + TAIL) == stream
        assert expand(stream, 8 + length) == bytes(1 + length) + TAIL


@pytest.mark.parametrize("offset", [8, 9, 126, 127, 128, 129, 1000, 2046, 2047])
def test_offsets_within_reach_are_found(offset: int) -> None:
    mark = b"\xd1\x5e\xa5\xed\xc0\xff\xee\x11"
    data = mark + bytes(offset - 8) + mark
    assert naive.tokens_of(stream_of(data))[-1] == (offset, 8)
    check_both_ways(data)


def test_offsets_out_of_reach_are_not_used() -> None:
    mark = b"\xd1\x5e\xa5\xed\xc0\xff\xee\x11"
    tokens = naive.tokens_of(stream_of(mark + bytes(2040) + mark))
    assert tokens[-8:] == list(mark)


def test_the_reader_takes_every_offset_and_both_forms_of_the_near_ones() -> None:
    rng = np.random.default_rng(3)
    past = rng.bytes(naive.REACH)
    literals = "".join(map(naive.token_code, past))
    for offset in range(1, naive.REACH + 1):
        for length in (2, 17, 40):
            bits = literals + "10" + f"{offset:011b}" + naive.length_code(length) + naive.END
            data = past + (past[-offset:] * length)[:length]
            assert expand(naive.pack(bits), len(data)) == data
            if offset < 128:
                bits = literals + naive.token_code((offset, length)) + naive.END
                assert expand(naive.pack(bits), len(data) + 7) == data


def test_what_follows_the_end_marker_is_padding() -> None:
    bits = "".join(map(naive.token_code, b"abc")) + naive.END
    for padding in ("0" * 4, "1" * 4, "0" * 20, "1" * 108):
        assert expand(naive.pack(bits + padding), 3) == b"abc"


# ------------------------------------------------------------------------------------------------ both ways
def test_every_size_to_70() -> None:
    rng = np.random.default_rng(70)
    for size in range(71):
        for data in samples(rng, size):
            assert check_both_ways(data) >= 0
            assert expand(naive.compress(data), size) == data


@pytest.mark.parametrize("size", [71, 191, 192, 193, 255, 256, 1400, 2047, 2048, 2049, 5000, 65535])
def test_larger_sizes(size: int) -> None:
    rng = np.random.default_rng(size)
    for data in samples(rng, size):
        check_both_ways(data)


def test_the_twins_streams_are_read() -> None:
    rng = np.random.default_rng(9)
    for size in (100, 700, 1400, 3000):
        for data in (words(rng, size), bytes(size), rng.bytes(size)):
            stream = naive.compress(data)
            assert expand(stream, size) == data
            assert expand(stream, size - 1) is None


def test_the_ratio_comes_near_the_brute_force_twin() -> None:
    data = words(np.random.default_rng(1), 1400)
    best = len(naive.compress(data))
    assert len(stream_of(data)) <= 1.15 * best
    assert len(stream_of(bytes(1400))) == len(naive.compress(bytes(1400)))


pieces = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda unit, count: unit * count, st.binary(min_size=1, max_size=9), st.integers(1, 60)),
    st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(1, 300)),
)
data_of_pieces = st.lists(pieces, max_size=8).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(data_of_pieces)
def test_expanding_undoes_compressing(data: bytes) -> None:
    check_both_ways(data)


@settings(deadline=None, max_examples=150)
@given(data_of_pieces, st.integers(0, 20))
def test_no_stream_exceeds_its_room(data: bytes, less: int) -> None:
    room = max(len(data) - less, 0)
    stream = compress(data, room)
    whole = compress(data)
    assert stream == (whole if whole is not None and len(whole) <= room else None)


tokens_lists = st.lists(
    st.one_of(st.integers(0, 255), st.tuples(st.integers(1, naive.REACH), st.integers(2, 400))), max_size=60
)


@settings(deadline=None, max_examples=300)
@given(tokens_lists, st.integers(0, 3000))
def test_any_tokens_read_as_the_twin_reads_them(tokens: list[naive.Token], room: int) -> None:
    stream = naive.encode(tokens)
    assert expand(stream, room) == naive.expand(stream, room)


# ----------------------------------------------------------------------------------------------- work area
def test_earlier_packets_leave_no_trace() -> None:
    rng = np.random.default_rng(4)
    used = aligned(lzs.SCRATCH_BYTES, "u1")
    for size in (64, 300, 1400, 1400, 9000):
        for data in samples(rng, size):
            fresh = aligned(lzs.SCRATCH_BYTES, "u1")
            for again in (data, data[1:], data):
                assert compress(again, work=used) == compress(again, work=fresh)
                fresh[:] = 0


@pytest.mark.parametrize("before", [1, 2, 1399, 1400, 1401, 1402, 2800, 2801, 5000])
def test_position_numbers_start_again_before_they_overflow(before: int) -> None:
    data = words(np.random.default_rng(5), 1400)
    work = aligned(lzs.SCRATCH_BYTES, "u1")
    numbers = work[: lzs.AT_FOURS].view(np.uint64)
    tables = work[lzs.AT_FOURS :].view(np.uint32)
    numbers[0] = lzs.POSITIONS - before
    tables[:] = lzs.POSITIONS - before - 1  # as full as they can be with positions of earlier packets
    for _ in range(4):
        assert compress(data, work=work) == stream_of(data)
        assert numbers[0] < lzs.POSITIONS and tables.max() < numbers[0]


# --------------------------------------------------------------------------------------------- hard to pack
def test_random_data_are_given_up_early() -> None:
    data = np.random.default_rng(6).bytes(1400)
    source, out = np.frombuffer(data, np.uint8), np.full(1399, 0x5A, np.uint8)
    assert lzs.compress(source.ctypes.data, 1400, out.ctypes.data, 1399, WORK.ctypes.data) == -1
    assert (out[9 * lzs.TRIAL // 8 + 8 :] == 0x5A).all()  # long before the room was used up


def test_data_that_start_badly_are_not_given_up_within_the_trial() -> None:
    rng = np.random.default_rng(7)
    data = rng.bytes(lzs.TRIAL - 2) + bytes(1200)
    assert len(stream_of(data)) < 1.2 * lzs.TRIAL + 50


def test_the_counting_bytes_of_a_ping_are_packed() -> None:
    assert check_both_ways((bytes(range(8, 256)) + bytes(range(256)) * 5)[:1400]) < 400


def test_no_room_at_all() -> None:
    assert compress(b"", 0) is None
    assert compress(b"", 1) is None
    assert compress(b"", 2) == b"\xc0\x00"
    assert compress(bytes(100), 0) is None
    assert expand(b"\xc0\x00", 0) == b""
    assert expand(b"\x20\xf0\x00", 0) is None


# -------------------------------------------------------------------------------------------------- hostile
def test_random_bytes_read_as_the_twin_reads_them() -> None:
    rng = np.random.default_rng(8)
    taken = 0
    for _ in range(4000):
        stream = rng.bytes(rng.integers(0, 60))
        room = int(rng.integers(0, 400))
        ours = expand(stream, room)
        assert ours == naive.expand(stream, room)
        taken += ours is not None
    assert taken > 5  # some are streams by accident


def test_a_flipped_bit_reads_as_the_twin_reads_it() -> None:
    data = words(np.random.default_rng(10), 300)
    stream = stream_of(data)
    for k in range(8 * len(stream)):
        bad = bytearray(stream)
        bad[k // 8] ^= 0x80 >> k % 8
        assert expand(bytes(bad), 400) == naive.expand(bytes(bad), 400)


@pytest.mark.parametrize("data", [b"abcabcabc-abcabcabc-0123456789" * 3, bytes(900), bytes(range(60))])
def test_streams_cut_off_at_every_bit(data: bytes) -> None:
    bits = naive.unpack(stream_of(data))
    end = bits.rindex(naive.END) + len(naive.END)
    for k in range(end):
        for fill in "01":
            cut = bits[:k] + fill * (-k % 8)
            assert expand(naive.pack(cut), 2000) == naive.expand(cut, 2000)
        assert expand(naive.pack(bits[: k - k % 8]), 2000) is None
    assert expand(naive.pack(bits[:end]), 2000) == data


def test_an_end_marker_needs_all_its_bits() -> None:
    assert expand(b"\xc0", 10) is None  # 11 and six of seven zeros
    assert expand(b"", 10) is None
    assert expand(b"\xc0\x00", 10) == b""


def test_offsets_to_before_the_start_are_damage() -> None:
    for count in (0, 1, 2, 126, 127, 128, 2046):
        for offset in {count + 1, 127, 128, 2047}:
            tokens: list[naive.Token] = [*bytes(count), (offset, 2)]
            expected = bytes(count + 2) if offset <= count else None
            assert expand(naive.encode(tokens), 4000) == expected


def test_an_offset_of_zero_in_11_bits_is_damage() -> None:
    assert expand(naive.pack(naive.token_code(65) + "10" + "0" * 11 + "00" + naive.END), 100) is None
    assert expand(naive.pack(naive.token_code(65) + "10" + "0" * 11), 100) is None


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 100, 65535])
@pytest.mark.parametrize("room", [0, 1, 2000, 70000])
def test_all_ones_are_damage(size: int, room: int) -> None:
    assert expand(b"\xff" * size, room) is None


@pytest.mark.parametrize("nibbles", [1, 7, 8, 9, 100, 20000])
def test_huge_lengths_never_exceed_the_room(nibbles: int) -> None:
    length = 8 + 15 * nibbles + 3
    bits = naive.token_code(65) + "110000001" + "1111" * (1 + nibbles) + "0011" + naive.END
    stream = naive.pack(bits)
    assert expand(stream, 1 + length) == b"A" * (1 + length)
    assert expand(stream, length) is None
    assert expand(stream, 10) is None
    assert expand(naive.pack(bits[:-12]), 1 + length) is None


# ------------------------------------------------------------------------------------------------ no access
EDGE = 16384  # bytes of the part that may be touched
KEPT: list[object] = []  # maps, so that they stay


def fenced() -> int:
    """Address of EDGE bytes of memory of which the pages before and behind may not be touched."""
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    area = mmap.mmap(-1, EDGE + 2 * page)
    at = ctypes.addressof(ctypes.c_char.from_buffer(area))
    KEPT.append(area)
    for fence in (at, at + page + EDGE):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
    return at + page


def walk_along_the_fences() -> int:
    """Inputs and outputs that begin or end where the memory does; how many calls came back."""
    import ctypes

    rng = np.random.default_rng(11)
    source, target, calls = fenced(), fenced(), 0

    def run(fn: object, data: bytes, room: int, *more: int) -> int:
        n = -1
        for at, to in ((source, target), (source + EDGE - len(data), target + EDGE - room)):
            ctypes.memmove(at, data, len(data))
            n = fn(at, len(data), to, room, *more)  # type: ignore[operator]
        return n

    for size in [*range(71), 500, 1400, 5000]:
        for data in samples(rng, size):
            for room in {0, size // 2, max(size - 1, 0), size + 2}:
                n = run(lzs.compress, data, room, WORK.ctypes.data)
                calls += 1
                if n >= 0:
                    stream = ctypes.string_at(target + EDGE - room, n)
                    for short in (0, 1, 3):
                        for left in (size, size + 5, size // 2):
                            run(lzs.expand, stream[: n - short], left)
                            calls += 1
    for _ in range(3000):
        run(lzs.expand, rng.bytes(rng.integers(0, 80)), int(rng.integers(0, 300)))
        calls += 1
    return calls


@pytest.mark.skipif(sys.platform != "linux", reason="fences are made with mprotect")
def test_no_access_outside_input_and_room() -> None:
    """In a process of its own, since an access outside kills it."""
    here = Path(__file__)
    ran = subprocess.run(
        [sys.executable, "-c", "import test_lzs; print(test_lzs.walk_along_the_fences())"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), *filter(None, sys.path)])},
    )
    assert ran.returncode == 0, f"exit {ran.returncode}: {ran.stderr}"
    assert int(ran.stdout) > 5000


# ------------------------------------------------------------------------------------------- real payloads
@pytest.mark.skipif(not PCAPS, reason=f"no captures in {TRACES}")
@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.name)
def test_payloads_of_real_captures(path: Path) -> None:
    before, after = 0, 0
    for k, frame in enumerate(read_trace(path).frames()):
        data = frame[34:]  # what follows Ethernet and IPv4 without options, about
        stream = compress(data, max(len(data) - 1, 0))
        before += len(data)
        after += len(data if stream is None else stream)
        if stream is not None:
            assert expand(stream, len(data)) == data
            if k % 20 == 0:
                assert naive.expand(stream, len(data)) == data
    assert after < before  # each of them has something to pack
