"""Replay windows over observed numbers: schemes and windows against plain sets, by packet; RFC 4737 by definition."""

from collections.abc import Sequence
from typing import Any

import naive_replay as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_help import SCHEMES, as_packets, disordered, studied, words

from qfp.antireplay.columns import ReplayLabError
from qfp.antireplay.numbers import Classes, Selector
from qfp.antireplay.study import DOUBLINGS, Receiver, checked, histogram

TURN = 2**32
streams = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0, 10, 46])), min_size=1, max_size=60)


def agree(seq: np.ndarray, dscp: np.ndarray, windows: Sequence[int], schemes: Sequence[str] = SCHEMES) -> None:
    """Kernels and sets say the same of every packet, and the counts are those of the packets."""
    packets = as_packets(seq, dscp)
    for n, facts, found in studied(seq, dscp, windows):
        if n.scheme not in schemes:
            continue
        for k, window in enumerate(windows):
            wanted = naive.verdicts(packets, n.scheme, window)
            got = words(found[k])
            assert got == wanted, (n.scheme, window, next(i for i in range(len(got)) if got[i] != wanted[i]))
            assert facts["drops"][k] == {"window": window, "late": wanted.count("late")}
        assert (facts["duplicates"], facts["zeros"]) == (wanted.count("duplicate"), wanted.count("zero"))
        assert facts["packets"] == len(packets)


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("reach, first", [(40, 1), (700, 1), (20_000, 1), (700, TURN - 9_000), (6_000, TURN - 3)])
def test_every_window_and_scheme_against_sets(reach: int, first: int) -> None:
    seq, dscp = disordered(20_000, reach, reach, first)
    agree(seq, dscp, DOUBLINGS)


@pytest.mark.req("AR-2")
@pytest.mark.slow
@pytest.mark.parametrize("reach, first", [(500, 1), (12_000, TURN - 400_000)])
def test_a_million_packets_against_sets(reach: int, first: int) -> None:
    seq, dscp = disordered(1_000_000, reach, reach, first)
    agree(seq, dscp, DOUBLINGS)


@pytest.mark.req("AR-2")
def test_windows_of_any_size() -> None:
    seq, dscp = disordered(5_000, 3, 150)
    agree(seq, dscp, [1, 2, 7, 31, 33, 63, 64, 65, 100, 1000, 4097])


@pytest.mark.req("AR-2", "AR-7")
def test_the_figure_of_the_guide_packet_by_packet() -> None:
    """101 and 102 overtake 1 .. 100: after 101 a window of 64 is 38 .. 101 (the guide's 30 is a slip), after 102 it is
    39 .. 102, and packet 1 is dropped. With a space for each class nothing is."""
    voice, data = 46, 0
    for before, lost, kept in (([101], 37, 38), ([101, 102], 38, 39)):
        for number, wanted in ((lost, "late"), (kept, "accepted")):
            seq = [*before, number]
            (_, facts, found), *_ = studied(seq, [voice] * len(before) + [data], [64])
            assert words(found[0]) == ["accepted"] * len(before) + [wanted]
            assert facts["loss_free_window"] == before[-1] - number + 1
    seq, dscp = [101, 102, *range(1, 101)], [voice] * 2 + [data] * 100
    outcome = {n.scheme: (facts, words(found[0])) for n, facts, found in studied(seq, dscp, [64])}
    for scheme in ("plain", "esn"):
        facts, verdicts = outcome[scheme]
        assert verdicts == ["accepted"] * 2 + ["late"] * 38 + ["accepted"] * 62  # 1 .. 38, then 39 .. 100
        assert facts["loss_free_window"] == 102 and facts["reordering"]["extent"]["max"] == 101
    for scheme in ("sns", "rfc9611"):
        facts, verdicts = outcome[scheme]
        assert verdicts == ["accepted"] * 102
        assert facts["loss_free_window"] == 1 and facts["spaces"] == 2 and facts["reordering"]["late"] == 0


@pytest.mark.req("AR-2", "BASE-8")
@pytest.mark.parametrize("window", [1, 32, 64, 1000, 8192])
def test_numbers_around_two_to_the_32(window: int) -> None:
    """The window lies before, across and behind the turn; then what is just in it and just too old arrives."""
    for top in (TURN - 1, TURN, TURN + 1, TURN + window - 2, TURN + window - 1, TURN + window, TURN + 2 * window):
        for back in (0, 1, window - 1, window, window + 1, 2 * window):
            numbers = [TURN - 2 * window - 7, top, top - back, top + 1, top + window + 1]
            seq = [n % TURN for n in numbers]
            esn = next(row for n, _, row in studied(seq, [0] * 5, [window]) if n.scheme == "esn")
            late = "duplicate" if back == 0 or top - back == numbers[0] else "late" if back >= window else "accepted"
            assert words(esn[0]) == ["accepted", "accepted", late, "accepted", "accepted"], (top - TURN, back)
            agree(np.array(seq, np.uint32), np.zeros(5, np.uint8), [window])


def test_a_turn_costs_plain_numbers_everything_and_esn_nothing() -> None:
    seq = (np.arange(TURN - 500, TURN + 500) % TURN).astype(np.uint32)
    facts = {n.scheme: f for n, f, _ in studied(seq, np.zeros(1000), [64])}
    assert facts["plain"]["drops"][0]["late"] == 499 and facts["plain"]["zeros"] == 1
    assert facts["plain"]["loss_free_window"] == TURN - 1
    assert facts["esn"]["drops"][0]["late"] == 0 and facts["esn"]["loss_free_window"] == 1
    assert (facts["esn"]["zeros"], facts["esn"]["gaps"]) == (0, 0)


@pytest.mark.req("AR-2")
@settings(max_examples=150, deadline=None)
@given(streams)
def test_the_smallest_window_without_loss(packets: list[naive.Packet]) -> None:
    """It loses nothing, one less loses something, and trying all windows finds the same."""
    seq, dscp = zip(*packets, strict=True)
    for n, facts, _ in studied(seq, dscp, [64]):
        least = facts["loss_free_window"]
        assert least == naive.loss_free(packets, n.scheme)
        sizes = sorted({max(1, least - 1), least})
        counts = next(f for m, f, _ in studied(seq, dscp, sizes) if m.scheme == n.scheme)["drops"]
        assert counts[-1]["late"] == 0
        assert least == 1 or counts[0]["late"] > 0


@pytest.mark.parametrize("reach", [50, 3000])
def test_the_smallest_window_is_minimal_on_long_streams(reach: int) -> None:
    seq, dscp = disordered(20_000, 11, reach)
    least = {n.scheme: f["loss_free_window"] for n, f, _ in studied(seq, dscp, [64])}
    assert least["plain"] > least["rfc9611"] > 1
    for scheme, window in least.items():
        drops = next(f for n, f, _ in studied(seq, dscp, [window - 1, window]) if n.scheme == scheme)["drops"]
        assert drops[0]["late"] > 0 == drops[1]["late"]


@settings(max_examples=150, deadline=None)
@given(streams, st.lists(st.integers(0, 9), min_size=60, max_size=60))
def test_reordering_by_the_definitions(packets: list[naive.Packet], steps: list[int]) -> None:
    """RFC 4737, copies and zeros left out, each space by itself."""
    seq, dscp = zip(*packets, strict=True)
    ts = np.cumsum(steps[: len(seq)]) * 1000
    for n, facts, _ in studied(seq, dscp, [64], ts=ts):
        places = naive.numbered(packets, n.scheme)
        fresh = [not c for c in naive.seen_before(places)]
        wanted: list[dict[str, int]] = []
        runs: list[int] = []
        for space in sorted({s for s, _ in places}):
            at = [k for k, (s, number) in enumerate(places) if s == space and fresh[k] and (number or n.esn)]
            found = naive.reordering([places[k][1] for k in at], [int(ts[k]) for k in at])
            late = {row["at"] for row in found}
            runs += [next(m for m in range(99) if k + m not in late) for k in late if k - 1 not in late]
            wanted += found
        got = facts["reordering"]
        assert got["late"] == len(wanted)
        for key, column in (("age", "age"), ("extent", "extent"), ("delay_ns", "delay"), ("n_reordering", "n")):
            told = {k: v for k, v in got[key].items() if k != "three_or_more"}
            assert told == histogram(np.array([row[column] for row in wanted], np.int64)), key
        assert got["n_reordering"]["three_or_more"] == sum(row["n"] >= 3 for row in wanted)
        assert got["bursts"] == histogram(np.array(runs, np.int64))
        distinct = {p for p in places if p[1] or n.esn}
        if n.scheme in ("plain", "esn"):
            numbers = [number for _, number in distinct] or [1]
            assert facts["gaps"] == max(numbers) - min(numbers) + 1 - len(numbers)
        else:
            assert facts["gaps"] is None


def test_histograms() -> None:
    values = np.array([0, 1, 1, 2, 3, 4, 7, 8, 2**53 - 1, 2**53, 2**62], np.int64)
    got = histogram(values)
    assert [(b["from"], b["to"], b["count"]) for b in got["bins"]] == [
        (0, 0, 1), (1, 1, 2), (2, 3, 2), (4, 7, 2), (8, 15, 1), (2**52, 2**53 - 1, 1), (2**53, 2**54 - 1, 1),
        (2**62, 2**63 - 1, 1),
    ]  # fmt: skip
    assert (got["count"], got["median"], got["p99"], got["max"]) == (11, 4, 2**62, 2**62)
    assert histogram(np.arange(1, 201))["p99"] == 198 and histogram(np.arange(1, 201))["median"] == 100


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("bits, where", [(4, "msb"), (4, "lsb"), (1, "msb"), (8, "lsb")])
def test_captures_with_selectors(bits: int, where: str) -> None:
    """Spaces that come interleaved, each with its own counter: a plain receiver jumps to the highest space."""
    rng = np.random.default_rng(bits)
    space = rng.integers(0, 2**bits, 4000)
    counter = np.zeros(4000, np.int64)
    for k in range(2**bits):
        at = np.flatnonzero(space == k)
        counter[at] = np.argsort(np.arange(len(at)) + rng.integers(0, 40, len(at)), kind="stable")  # zero among them
    seq = space << (32 - bits) | counter if where == "msb" else counter << bits | space
    packets = as_packets(seq, np.zeros(4000, int))
    rows = {n.scheme: (f, found) for n, f, found in studied(seq, np.zeros(4000), [16, 64],
                                                            Selector(bits, where == "msb"))}  # fmt: skip
    assert list(rows) == ["plain", "selector"]
    for scheme, (facts, found) in rows.items():
        for k, window in enumerate((16, 64)):
            assert words(found[k]) == naive.verdicts(packets, scheme, window, (bits, where)), scheme
        assert facts["spaces"] == (1 if scheme == "plain" else 2**bits)
    assert rows["selector"][0]["drops"][1]["late"] == 0
    if where == "msb":
        assert rows["plain"][0]["drops"][1]["late"] > 1000


def test_far_and_few_numbers_and_files_in_place_of_memory() -> None:
    """Sparse numbers take another way to the same answers; so do arrays that lie in files."""
    rng = np.random.default_rng(4)
    seq = rng.integers(0, 2**32, 300).astype(np.uint32)
    agree(np.append(seq, seq[:50]), np.arange(350).astype(np.uint8) % 20, [64, 8192])
    seq, dscp = disordered(3_000, 5, 200)
    in_memory = [(f, found.tolist()) for _, f, found in studied(seq, dscp, [64, 100])]
    in_files = [(f, found.tolist()) for _, f, found in studied(seq, dscp, [64, 100], limit=10)]
    assert in_memory == in_files


def test_a_copy_has_the_class_of_its_first() -> None:
    """A copy whose DSCP was changed on the way is a copy all the same."""
    for n, facts, found in studied([1, 2, 2, 3], [46, 46, 0, 0], [64]):
        assert words(found[0]) == ["accepted", "accepted", "duplicate", "accepted"], n.scheme
        assert facts["duplicates"] == 1
        assert [s["packets"] for s in facts["by_space"]] == ([] if n.scheme in ("plain", "esn") else [1, 3])


def test_more_classes_than_spaces() -> None:
    """The 17th class shares the space of the first; an SA a class does not mind."""
    seq = np.arange(1, 1001)
    dscp = np.arange(1000) % 20
    facts = {n.scheme: f for n, f, _ in studied(seq, dscp, [64])}
    assert facts["sns"]["spaces"] == 16 and facts["rfc9611"]["spaces"] == 20
    assert facts["sns"]["by_space"][0]["classes"] == ["default", "cs2"]
    assert sum(s["packets"] for s in facts["sns"]["by_space"]) == 1000


@pytest.mark.parametrize("windows", [[], [0], [-1], [2**20 + 1]])
def test_windows_that_cannot_be(windows: list[int]) -> None:
    with pytest.raises(ReplayLabError, match="give sizes from 1 to 1048576"):
        checked(windows)


def test_kernels_are_given_checked_arrays_only() -> None:
    n = next(studied([1, 2, 3], [0] * 3, [64]))[0]
    bad: list[dict[str, Any]] = [
        {"numbers": n.numbers.astype(np.int64)}, {"numbers": np.zeros(6, np.uint64)[::2]}, {"state": n.state[:2]},
        {"starts": np.array([0, 4])}, {"starts": np.array([1, 3])}, {"starts": np.array([0, 2, 3])},
        {"starts": np.array([0, 3, 2, 3]), "spaces": [(0, [])] * 3},
    ]  # fmt: skip
    for fields in bad:
        with pytest.raises(ValueError, match=r"not contiguous|do not cover"):
            Receiver([64]).run(type(n)(**{**vars(n), **fields}))
    with pytest.raises(ValueError, match="verdicts"):
        Receiver([64]).run(n, np.zeros((2, 3), np.uint8))


def test_classes_of_a_file(tmp_path: Any) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("# as at the branch\nvoice ef, cs5\nbulk af11 12  # AF12\n\n")
    found = Classes.read(path)
    assert found.names == ("voice", "bulk", "class-default")
    assert found.table[[46, 40, 10, 12, 0, 63]].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("voice ef\nbulk ef\n", r":2: DSCP ef is in a class already"),
        ("voice\n", r":1: 'voice': give each class once, followed by its DSCPs"),
        ("voice ef\nvoice cs5\n", r":2: 'voice': give each class once"),
        ("voice 64\n", r":1: '64' is no DSCP: give 0 to 63"),
        ("voice loud\n", r":1: 'loud' is no DSCP"),
        ("# nothing\n", r"names no class"),
    ],
)
def test_classes_that_cannot_be(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ReplayLabError, match=message):
        Classes.read(path)
