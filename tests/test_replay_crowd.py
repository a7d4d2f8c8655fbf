"""Captures of very many SAs: the same figures as of each alone, in bounded memory and time."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_help import qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4
from replay_help import capture, disordered, esp

from qfp.antireplay import report
from qfp.antireplay.columns import Scratch
from qfp.antireplay.crowd import study_group
from qfp.antireplay.numbers import Classes, Selector, numberings
from qfp.antireplay.report import Report
from qfp.antireplay.study import Receiver, study
from qfp_kernels import crowd as C

WINDOWS = [1, 3, 32, 64, 1000]
NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1), st.integers(2**32 - 40, 2**32 - 1))
STREAM = st.lists(st.tuples(NUMBERS, st.integers(0, 63)), min_size=1, max_size=40)


def compare(streams: list[tuple[Any, Any]], selector: Selector | None = None) -> None:
    """Every figure and verdict of SAs in a group, and of each by itself with the windows of the receiver."""
    starts = np.append(0, np.cumsum([len(seq) for seq, _ in streams])).astype(np.int64)
    seq = np.concatenate([np.asarray(s, np.uint32) for s, _ in streams])
    tos = np.concatenate([np.asarray(d, np.uint8) << 2 for _, d in streams])
    sizes, classes, scratch, receiver = np.array(WINDOWS), Classes.by_dscp(), Scratch(), Receiver(WINDOWS)
    blocks = list(study_group(starts, seq, tos, 0, sizes, classes, selector, True))
    for k in range(len(streams)):
        a, b = starts[k : k + 2]
        for n, block in zip(numberings(seq[a:b], tos[a:b], classes, selector, scratch), blocks, strict=True):
            verdicts = np.empty((len(sizes), b - a), np.uint8)
            facts = study(n, np.zeros(b - a, np.int64), receiver, classes, scratch, verdicts)
            if n.order is not None:
                verdicts[:, n.order] = verdicts.copy()
            assert block.scheme == n.scheme and np.array_equal(block.verdicts[:, a:b], verdicts)
            assert block.late[:, k].tolist() == [drop["late"] for drop in facts["drops"]]
            assert block.figures[k, [C.F_SPACES, C.F_DUPLICATES, C.F_ZEROS, C.F_AGE, C.F_LATE]].tolist() == [
                facts["spaces"], facts["duplicates"], facts["zeros"], facts["loss_free_window"] - 1,
                facts["reordering"]["late"]]  # fmt: skip
            assert (None if block.gaps is None else block.gaps[k]) == facts["gaps"]


@pytest.mark.req("AR-2")
@settings(max_examples=200, deadline=None)
@given(st.lists(STREAM, min_size=1, max_size=5), st.sampled_from([None, Selector(4), Selector(8, False)]))
def test_a_group_has_the_figures_of_each_alone(streams: list[Any], selector: Selector | None) -> None:
    compare([tuple(zip(*stream, strict=True)) for stream in streams], selector)


def test_long_streams_in_a_group() -> None:
    """Sorting by runs and merges, more classes than spaces, a turn of the number field."""
    compare([disordered(n, k, 200, first) for k, (n, first) in enumerate([(3000, 1), (17, 5), (1000, 2**32 - 700)])])


def facts_of(found: Report) -> list[Any]:
    return [{**s, "drops": [d["late"] for d in s["drops"]]} for s in found.totals["schemes"]]


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """300 SAs of 1 to 12 packets, in disorder, with copies and numbers 0."""
    rng = np.random.default_rng(7)
    frames = [esp(int(n), int(rng.integers(0, 64)), 256 + k) for k in range(300)
              for n in rng.integers(0, 40, rng.integers(1, 13))]  # fmt: skip
    return capture(tmp_path / "crowd.pcap", [frames[k] for k in rng.permutation(len(frames))])


@pytest.mark.parametrize("options", [{}, {"windows": (5, 64)}, {"selector": Selector(3)}])
def test_totals_and_tables_do_not_depend_on_how_many_are_reported(crowd: Path, tmp_path: Path, options: Any) -> None:
    """All SAs one by one, none of them but one, 50: the same sums, the same rows."""
    told: list[Any] = []
    for most in (0, 1, 50):
        t, v = tmp_path / f"t{most}.parquet", tmp_path / f"v{most}.parquet"
        found = report(crowd, most=most, table=t, verdicts=v, **options)
        assert len(found.sas) == (most or 300) and found.left_out["sas"] == 300 - len(found.sas)
        assert found.left_out["packets"] == found.totals["packets"] - sum(sa["packets"] for sa in found.sas)
        told.append((found.totals, pq.read_table(t).to_pylist(), pq.read_table(v).to_pylist()))
    assert told[0] == told[1] == told[2]
    assert told[0][1] == report(crowd, most=0, **options).table().to_pylist()


def test_the_busiest_are_reported_and_the_rest_is_counted(crowd: Path) -> None:
    said, every = (qfp("replay-lab", crowd, "--json", "--most", n).json for n in (7, 0))
    assert len(every["sas"]) == 300 and every["left_out"] == {"sas": 0, "packets": 0, "bytes": 0}
    order = sorted(range(300), key=lambda k: (-every["sas"][k]["packets"], k))[:7]
    assert said["sas"] == [every["sas"][k] for k in sorted(order)] and said["left_out"]["sas"] == 293
    text = qfp("replay-lab", crowd, "--most", "30").out
    assert "… and 280 more (the 20 busiest are shown; --json has the 30 busiest, --table all)" in text
    assert f"all 300 SAs: {every['totals']['packets']:,} packets" in text
    assert "--json has them all" in qfp("replay-lab", crowd).out


def flood(path: Path, sas: int) -> Path:
    """One ESP packet an SA, of any SPI and number, in the classic format."""
    packet = ip4("203.0.113.1", "203.0.113.2", bytes(32), 50)
    row = np.frombuffer(struct.pack("<IIII", 1_700_000_000, 0, len(packet), len(packet)) + packet, np.uint8)
    rows = np.tile(row, (sas, 1))
    rows[:, 36:40] = (256 + np.arange(sas)).astype(">u4").view(np.uint8).reshape(sas, 4)
    rows[:, 40:44] = np.random.default_rng(3).integers(0, 256, (sas, 4))
    path.write_bytes(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + rows.tobytes())
    return path


MEASURE = """
import json, resource, sys
from qfp.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit:
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_maxrss * 1024, used.ru_utime + used.ru_stime]), file=sys.stderr)
"""


def cost(*args: object) -> tuple[int, float]:
    """(bytes resident at most, s of CPU) of a command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *map(str, args)], capture_output=True, text=True, check=True)
    size, seconds = json.loads(done.stderr.strip().splitlines()[-1])
    return size, seconds


@pytest.mark.slow
@pytest.mark.parametrize("words", [("replay-lab",), ("replay-lab", "--json"), ("strip", "-o")])
def test_a_million_sas_take_200_bytes_and_10_us_each(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Over what the same command takes for 2,000 SAs, of which 1,000 are reported one by one as well."""
    files = [flood(tmp_path / f"{sas}.pcap", sas) for sas in (2_000, 1_000_000)]
    more = [tmp_path / "t.parquet"] if words[0] == "strip" else []
    cost(words[0], files[0], *words[1:], *more)  # compiles what is not compiled yet
    (before, early), (after, late) = (cost(words[0], file, *words[1:], *more) for file in files)
    assert after - before <= 200 * 1_000_000 and late - early <= 10
