"""The benches on tiny sizes: rows have the schema, and nothing is timed that does not do its work. Never a timing."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qfp.batch import Batch
from qfp.bench import (
    child,
    command,
    files,
    fragments,
    labs,
    lookups,
    paths,
    peers,
    queues,
    run_bench,
    scale,
    threads,
    track,
    traffic,
    windows,
)
from qfp.bench.rows import KEYS, Label, Row, as_dicts, packets_row, to_json, to_table, value_row
from qfp.bench.runner import Case, interleaved
from qfp.bench.site import GCM, TRANSFORMS, Site, host_rules, nested_rules
from qfp.bench.track import BenchError, Track, by_stage, whole
from qfp.trace import synth
from qfp_kernels.layout import OUT_NONE, ST_FLOW_HIT, ST_FLOW_MISS

sys.path.append(str(Path(__file__).parent.parent / "bench"))
import budgets
import results

TINY = 96  # packets
FEW = command.Plan(1, 1, (GCM,), TINY, 32, (64, 1420), False)


@pytest.fixture(scope="module", autouse=True)
def short_samples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(track, "SAMPLE_NS", 1e4)
        yield


def once(cases: Any) -> list[Row]:
    return interleaved(list(cases), 1)


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Every kind of row but those of other processes, from as few packets as will do."""
    rows = once([*paths.path_cases(packets=TINY, transforms=(GCM, budgets.CBC)), *paths.long_cases(packets=TINY)])
    rows += once([*paths.stage_cases((64, 1420), packets=TINY), *lookups.spd_cases(1024), *lookups.replay_cases(TINY)])
    rows += once([lookups.idle_case(TINY), lookups.route_case(), *lookups.fib_cases()])
    rows += once([*fragments.fragment_cases(TINY), fragments.flood_case(), *windows.window_cases(TINY)])
    rows += once(queues.queue_cases(4096))
    rows += once(labs.lab_cases(tmp_path_factory.mktemp("lab"), TINY))
    rows += once(scale.scale_cases(budgets.MANY, TINY))
    rows += scale.setup_rows(budgets.MANY, 1) + lookups.fib_rows()
    return rows + threads.thread_rows(2, 1, 4 * TINY)


@pytest.fixture(scope="module")
def file_rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("bench")
    cases = [*files.decrypt_cases(folder, TINY), files.run_case(folder, TINY), *files.capture_cases(folder, TINY)]
    cases.append(windows.column_case(folder / "wire-64.pcapng", TINY, 64))
    return once(cases) + child.start_rows(folder, 1, cold=False)


@pytest.mark.req("USE-4")
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_paths_of_every_transform_do_their_work(transform: str) -> None:
    batch = traffic.load("imix", TINY, 16)
    paths.check_outbound(transform, 16, batch)
    paths.check_inbound(transform, 16, batch)
    rows = once(paths.path_cases(sizes=(64,), transforms=(transform,), packets=TINY))
    wanted = {(w, d) for w in ("path", "source", "sink") for d in paths.DIRECTIONS}
    assert {(r.work, r.direction) for r in rows} == wanted


@pytest.mark.req("USE-4")
def test_rows_have_the_schema(many_rows: list[Row], file_rows: list[Row]) -> None:
    text = json.loads(to_json({"cpu": "x"}, many_rows + file_rows))
    assert set(text) == {"machine", "rows"}
    for row in text["rows"]:
        assert list(row)[: len(KEYS)] == list(KEYS)
        assert row["work"] and row["rounds"] >= 1 and row["p10"] <= row["p90"]
        assert (row["ns_per_packet"] is None) == (row["value"] is not None)
        assert row["size"] == "imix" or isinstance(row["size"], int)
    assert to_table(many_rows, "title").row_count == len(many_rows)


@pytest.mark.req("USE-4")
def test_the_sum_of_stages_is_everything(many_rows: list[Row]) -> None:
    names = [r.work for r in many_rows if r.work.startswith("stage ") and r.direction == "outbound" and r.size == 64]
    assert names[:3] == ["stage walk", "stage fill", "stage parse"] and names[-1] == "stage emit"
    assert {"stage spd", "stage encap", "stage seal"} <= set(names)


@pytest.mark.req("USE-4")
def test_every_budget_finds_its_rows(many_rows: list[Row], file_rows: list[Row]) -> None:
    rows = as_dicts(many_rows + file_rows)
    cold = value_row(Label("first result, kernels not cached"), [9.0], "s")
    rows += as_dicts([cold])
    missing = [b.what for b in budgets.BUDGETS if b.value(rows) is None]
    assert missing == []


@pytest.mark.req("AR-4")
def test_every_window_size_is_measured(many_rows: list[Row]) -> None:
    works = {r.work for r in many_rows if r.work.startswith("replay check")}
    assert works == {f"replay check, {how}, N = {n}" for how in ("in order", "out of order") for n in lookups.WINDOWS}


def speed_row(size: int, gigabytes: float, transform: str = GCM) -> Row:
    label = Label("peer: openssl speed", "encrypt", transform, size, 1, engine="openssl")
    return packets_row(label, [size / gigabytes], size)


@pytest.mark.req("USE-4")
def test_results_scale_by_the_machine_factor() -> None:
    path = Label("path", "outbound", GCM, 64, 16, 256)
    half = [speed_row(s, there / 2) for s, there in budgets.REFERENCE_GCM.items()]
    half.append(speed_row(8192, budgets.REFERENCE_CBC / 2, "aes-cbc-128"))
    machine = {"cpu": "x", "features": "y", "cores": 2, "versions": {"qfp": "0"}}
    record = {"commit": "c", "date": "d", "machine": machine, "rows": as_dicts([*half, packets_row(path, [90.0], 64)])}
    known = budgets.factors(record["rows"])
    assert known["imix"] == pytest.approx(0.5, rel=1e-3) and known[budgets.CLOCK] == pytest.approx(0.5, rel=1e-3)
    text = results.render(record)
    assert "| path, outbound, 64 | ≤ 50 ns | 90 | **missed** | 45 | met |" in text
    assert "| path, inbound, 64 | ≤ 55 ns | not measured |" in text
    assert text.endswith("\n") and "None" not in text


def test_a_speed_is_scaled_the_other_way() -> None:
    budget = next(b for b in budgets.BUDGETS if b.what == "capture read")
    assert budget.scaled(3.0, {budgets.CLOCK: 0.5}) == 6.0
    assert budget.met(5.0) and not budget.met(4.9)


@pytest.mark.req("USE-4")
def test_wrong_packets_are_never_timed() -> None:
    batch = traffic.load(64, TINY, 16)
    wire = paths.wire_of(batch)
    openers = paths.inbound_track(wire)
    arena = wire.arena.copy()
    arena[int(wire.offset[5]) + 50] ^= 1  # within the ciphertext
    bad = Batch(arena, wire.columns)
    with pytest.raises(BenchError, match="INTEGRITY"):
        paths.inbound_track(bad)
    openers.reset = 0  # windows keep their marks: the second pass is a replay
    with pytest.raises(BenchError, match="REPLAY"):
        whole(openers)
    with pytest.raises(BenchError, match="1 of 2"):
        paths.compare([b"a", b"b"], [b"a", b"c"], "test")


def test_one_hop_keeps_the_checksum() -> None:
    for frame in traffic.load(64, 40, 4).frames():
        head = np.frombuffer(paths.one_hop(frame)[:20], ">u2").astype(np.int64).sum()
        assert (head & 0xFFFF) + (head >> 16) == 0xFFFF


def test_drawn_packets_are_those_of_synth() -> None:
    flows = np.array([3, 3, 70_000, 0])
    batch = traffic.drawn(64, flows)
    for frame, flow in zip(batch.frames(), flows.tolist(), strict=True):
        assert int.from_bytes(frame[14:16]) == int.from_bytes(frame[18:20]) == flow % 65536
        assert int.from_bytes(frame[20:22]) == 1024 + flow // 65536
    like = {f[12:24] for f in synth.uniform(64, 64, flows=4).frames()}
    assert batch.frame(0)[12:24] in like
    result = Site(GCM, 4).forward(traffic.drawn(64, [0, 1, 2, 3]))
    assert sorted(result.verdicts["sa"].tolist()) == [0, 1, 2, 3]


def test_zipf_prefers_few_flows_and_repeats_itself() -> None:
    draws = traffic.zipf(1000, 20_000)
    assert np.array_equal(draws, traffic.zipf(1000, 20_000))
    counts = np.sort(np.bincount(draws, minlength=1000))[::-1]
    assert draws.max() < 1000 and counts[0] > 10 * counts[100] and counts[:200].sum() > counts[200:].sum()


def test_flows_beyond_the_hosts_have_their_own_entries() -> None:
    rules = host_rules(70_000)
    assert rules["sport"][65_536].tolist() == [1025, 1025] and rules["sport"][0].tolist() == [1024, 1024]
    hub = Site(GCM, 70_000)
    result = hub.forward(traffic.drawn(64, [0, 65_536, 69_999]))
    assert hub.tables.t.sa["spi"][result.verdicts["sa"]].tolist() == [0x1000, 0x1000 + 65_536, 0x1000 + 69_999]


def test_nested_policy_has_its_shapes_and_matches_the_flows() -> None:
    hub = Site(GCM, 1000, rules=nested_rules(1000, 16))
    assert len(hub.tables.t.tup) == 16
    assert set(hub.forward(traffic.load(64, TINY, 16)).verdicts["verdict"].tolist()) == {1}


@pytest.mark.parametrize("work", ["spd, miss, 1000 entries", "spd, miss, 1000 entries of 16 shapes"])
def test_a_miss_is_a_miss(work: str) -> None:
    case = next(c for c in lookups.spd_cases(1024) if work in c.sample())
    timed = case.sample.args[2]  # type: ignore[attr-defined]
    state = timed.router.engine.workspaces[0].st
    before = state[[ST_FLOW_HIT, ST_FLOW_MISS]].copy()
    timed.run(timed.each(), 2)
    assert (state[[ST_FLOW_HIT, ST_FLOW_MISS]] - before).tolist() == [0, 2048]


def test_an_idle_stage_keeps_every_packet() -> None:
    hub = Site(GCM, 16)
    stages = [*hub.stages(OUT_NONE)]
    stages[8:8] = [lookups.IDLE]
    batch = traffic.load(64, TINY, 16)
    assert by_stage(Track(hub, batch, stages))["idle"] >= 0


def test_rounds_go_back_and_forth() -> None:
    seen: list[str] = []

    def take(name: str) -> dict[str, float]:
        seen.append(name)
        return {name: 1.0}

    cases = [Case(Label(""), lambda n=n: take(n)) for n in "ab"]  # type: ignore[misc]
    rows = interleaved(cases, 3)
    assert "".join(seen) == "abbaab" and [r.rounds for r in rows] == [3, 3]


def test_peers_do_their_work() -> None:
    rows = once(peers.library_cases((64,)))
    assert {r.transform for r in rows} == {GCM, "hmac-sha256-128"}


def test_openssl_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    assert list(peers.openssl_cases()) == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peers, "openssl_version", lambda: None)
    monkeypatch.setattr(traffic, "resident", lambda _: TINY)
    monkeypatch.setattr(command, "QUICK", FEW)
    monkeypatch.setattr(command, "PARTS", (command.path_rows, command.scale_rows, command.peer_rows))
    yield


@pytest.mark.req("USE-4")
def test_the_command_prints_one_object_or_a_table(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench(True, True) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["machine"]["cores"] >= 1 and found["machine"]["versions"]["qfp"]
    assert {"path", "SA memory", "peer: one call a packet"} <= {r["work"] for r in found["rows"]}
    assert printed.err == ""
    assert run_bench(True, False) == 0
    assert "SA set-up" in capsys.readouterr().out


def test_a_failed_check_is_status_1(small: None, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def broken(plan: command.Plan, say: command.Say) -> list[Row]:
        raise BenchError("packets went astray")

    monkeypatch.setattr(command, "PARTS", (broken,))
    assert run_bench(True, True) == 1
    assert "packets went astray" in capsys.readouterr().err


def test_a_child_that_fails_is_told() -> None:
    with pytest.raises(BenchError, match="status 3"):
        child.run(["-c", "import sys; sys.exit(3)"])


def test_threads_run_in_a_process_of_their_own() -> None:
    rows = child.threads_in_child(2, 1, 4 * TINY)
    assert {(r.size, r.threads) for r in rows} == {(s, n) for s in traffic.SIZES for n in (1, 2)}
