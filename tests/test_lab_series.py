"""Time series of a lab: sums by interval against journeys, links and a slow count; the bar; the interval."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_help import qfp
from hypothesis import given
from hypothesis import strategies as st
from test_lab import folder as folder  # a fixture
from test_lab import lab_file, ran
from test_lab_engine import MS, random_lab

from qfp.lab import Lab, LabError
from qfp.lab import node as rounds
from qfp.lab import series as made
from qfp.lab.read import parse
from qfp.lab.series import IN, OUT, QUEUED, Series, interval_for


def totals(table: Any) -> Counter[tuple[str, str | None, str]]:
    out: Counter[tuple[str, str | None, str]] = Counter()
    for row in table.to_pylist():
        if row["event"] != QUEUED:
            out[row["where"], row["queue"], row["event"]] += row["packets"]
    return out


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("seed", [1, 2])
def test_series_add_up(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all intervals they are the counters of links, engines and routers; however the lab is run."""
    path = random_lab(tmp_path, seed)
    outcome = ran(path)
    table = outcome.series.to_arrow()
    found = totals(table)
    for link in outcome.facts["links"]:
        name = link["link"]
        assert found[name, None, IN] + found[name, None, "LINK_MTU"] == link["packets"]
        assert {e for w, _, e in found if w == name and e not in (IN, OUT)} == set(link["lost"])
        assert all(found[name, None, cause] == n for cause, n in link["lost"].items())
        assert found[name, None, OUT] - found[name, None, "LINK_LOSS"] == link["carried"]
    for router in "ab":
        facts = outcome.facts["routers"][router]
        dropped = {e: n for (w, _, e), n in found.items() if w == router and e.isupper()}
        assert dropped == facts["drops"] and found[router, None, OUT] == facts["packets_out"]
        engine = f"{router} crypto engine"
        lost = 0
        for queue, counts in facts["engine"]["queues"].items():
            assert [found[engine, queue, e] for e in (IN, OUT)] == [counts["in_packets"], counts["out_packets"]]
            lost += found[engine, queue, "CRYPTO_TAIL_DROP"]
        assert found[router, None, IN] == facts["frames_in"] + lost and lost > 0
    monkeypatch.setattr(rounds, "ROWS", 7)
    monkeypatch.setattr(made, "PENDING", 10)
    assert ran(path, threads=2).series.to_arrow().equals(table)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=30),
    st.integers(1, 30), st.randoms(),
)  # fmt: skip
def test_depth(packets: list[tuple[int, int, int]], interval: int, random: Any) -> None:
    """What waits at the end of every interval, counted packet by packet."""
    series = Series(interval)
    random.shuffle(packets)
    for some in (packets[::2], packets[1::2]):
        came, stay, size = np.array(some, np.int64).reshape(-1, 3).T
        series.waited("q", "", came, came + stay, size)
        series.settle(everything=True)
    rows = {row["ts"]: (row["packets"], row["bytes"]) for row in series.to_arrow().to_pylist()
            if row["event"] == QUEUED}  # fmt: skip
    for start in range(0, 200, interval):
        here = [size for came, stay, size in packets if came < start + interval <= came + stay]
        assert rows.get(start, (0, 0)) == (len(here), sum(here))


@pytest.mark.parametrize(
    ("length", "interval"),
    [(0, MS), (100 * MS, MS), (101 * MS, 2 * MS), (10**9, 10 * MS), (60 * 10**9, 10**9), (21 * 10**9, 500 * MS)],
)
def test_default_interval(length: int, interval: int) -> None:
    assert interval_for(length) == interval


@pytest.mark.req("USE-2")
def test_the_command_writes_series(folder: Path) -> None:
    path = lab_file(folder)
    assert qfp("lab", str(path), "-o", str(folder / "out"), "--interval", "3 ms").status == 0
    table = pq.read_table(folder / "out" / "series.parquet")
    assert table.schema.metadata[b"qfp.interval"] == b"3000000"
    assert set(np.diff(sorted(set(table["ts"].to_pylist())))) == {3 * MS}
    assert table.schema.names == ["ts", "where", "queue", "event", "packets", "bytes"]
    assert {"QUEUE_FULL", "LINK_LOSS", IN, OUT, QUEUED} <= set(table["event"].to_pylist())
    path.write_text('interval = "20 ms"\n' + path.read_text())
    assert qfp("lab", str(path), "--json").json["interval"] == 20 * MS
    refused = qfp("lab", str(path), "--interval", "soon")
    assert refused.status == 2 and "10 ms" in refused.err


def test_bad_intervals_are_refused(folder: Path) -> None:
    text = lab_file(folder).read_text().replace('1.pcap"', '1.pcap"\nstart = "100 s"')
    for value, remedy in (('"soon"', "5 ms"), ("1", "give at least")):
        with pytest.raises(LabError, match=remedy) as caught:
            Lab(parse(f"interval = {value}\n{text}\n", "x", folder))
        assert str(caught.value).startswith("x: lab.interval: ")


@pytest.mark.req("USE-2")
def test_progress(tmp_path: Path) -> None:
    """Lab time, never backwards, up to the last injection and a little more."""
    lab = Lab.load(random_lab(tmp_path, 1))
    seen: list[int] = []
    lab.run(seen.append)
    lab.close()
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] >= lab.length > 0
