"""A new global idle time on a router that runs (IDLE-5): whom it holds for, through `reconfigured` and in a lab."""

from typing import Any

import pytest
from test_lifetimes import IDLE, S, events, packet, router, send, text, words

from qfp.batch import Batch
from qfp.cli.facts import sa_facts
from qfp.config import loads
from qfp.lab import Lab
from qfp.router import Router
from qfp.trace import write_trace

pytestmark = pytest.mark.req("IDLE-5")
LONG = IDLE.replace("60", "600")


def changed(r: Router, ts: float, **how: Any) -> Router:
    """The same router with a global idle time of 60 s from `ts` on."""
    return r.reconfigured(loads(text(1, extra=IDLE)), round(ts * S), **how)


def idle_seconds(r: Router) -> set[Any]:
    return {sa["idle_seconds"] for sa in sa_facts(r)}


@pytest.mark.parametrize("before", ["", LONG], ids=["none", "600 s"])
def test_sessions_keep_the_idle_time_that_they_were_made_with(before: str) -> None:
    r = router(extra=before)
    assert words(send(r, [0])) == ["forwarded"]
    r = changed(r, 10)
    r.advance(200 * S)
    assert events(r) == [] and idle_seconds(r) == {600 if before else None}
    if before:
        r.advance(601 * S)
        assert events(r) == [(600 * S, "idle", "idle")]


@pytest.mark.parametrize("before", ["", LONG], ids=["none", "600 s"])
def test_clear_crypto_sa_brings_it_to_all(before: str) -> None:
    r = router(extra=before)
    send(r, [0])
    r = changed(r, 10)
    assert r.clear(20 * S) == 1 and idle_seconds(r) == {60}
    assert words(send(r, [30])) == ["forwarded"]
    r.advance(200 * S)
    assert events(r) == [(20 * S, "cleared", ""), (90 * S, "idle", "idle")]


def test_sas_of_a_rekey_have_it() -> None:
    r = router()
    send(r, [0])
    r = changed(r, 10)
    send(r, [3402])  # the pair was rekeyed at 3401 s; this packet is the first of the new one
    r.advance(3500 * S)
    found = [e[:2] for e in events(r) if e[1] != "deleted"]
    assert found == [(3401 * S, "rekeyed"), (3462 * S, "idle")]


def test_a_pair_that_nobody_has_used_is_created_afterwards() -> None:
    """No SA exists before its first packet: neither from the start, nor after `clear crypto sa`."""
    r = changed(router(extra=LONG), 10)
    send(r, [20])
    r.advance(100 * S)
    assert events(r) == [(80 * S, "idle", "idle")]
    r = router(extra=LONG)
    send(r, [0])
    r.clear(5 * S)
    r = changed(r, 10)
    send(r, [20])
    r.advance(100 * S)
    assert [e[:2] for e in events(r)] == [(5 * S, "cleared"), (80 * S, "idle")]


def test_lifetimes_of_a_pair_that_nobody_has_used_are_the_new_ones() -> None:
    """The same holds for lifetimes, volume too."""
    r = router()
    extra = "crypto ipsec security-association lifetime seconds 600\n"
    extra += "crypto ipsec security-association lifetime kilobytes 2560\n"
    r = r.reconfigured(loads(text(1, extra=extra)), 10 * S)
    assert {(sa["hard_seconds"], sa["hard_kilobytes"]) for sa in sa_facts(r)} == {(568, 2560)}
    out = r.sadb.pairs[0].outbound[0]
    assert int(r.tables.t.life["hard"][out]) == 2560 * 1024
    send(r, [20])
    r.advance(700 * S)
    assert events(r)[0] == ((20 + r.lifetimes.limits[0].soft_seconds) * S, "rekeyed", "time")


def test_idle_for_all_is_the_other_reading_of_the_guide() -> None:
    """The guide: the idle time is for all SAs. The named parameter does so; last packets count, not the change."""
    r = router(extra=LONG)
    send(r, [0, 30])
    r = changed(r, 50, idle_for_all=True)
    assert idle_seconds(r) == {60}
    r.advance(200 * S)
    assert events(r) == [(90 * S, "idle", "idle")]


LAB = """seed = 1
[routers.r1]
config = "r1.cfg"
{option}
[[inject]]
trace = "t.pcap"
at = "r1 gi0/0/1"
[[events]]
at = "1 s"
router = "r1"
add = "crypto ipsec security-association idle-time 60"
{clear}
"""
CLEAR = '[[events]]\nat = "2 s"\nrouter = "r1"\nclear = "crypto sa"\n'


@pytest.mark.parametrize(
    ("option", "clear", "idle"),
    [("", "", {}), ("", CLEAR, {}), ("idle_for_all = true", "", {"idle": 1})],
    ids=["sessions go on as they were", "cleared", "for all"],
)
def test_events_of_a_lab(tmp_path: Any, option: str, clear: str, idle: dict[str, int]) -> None:
    """Packets at 0, 3 and 100 s: with 60 s the pair of the packet at 3 s is idle before the one at 100 s comes."""
    (tmp_path / "r1.cfg").write_text(text(1))
    write_trace(tmp_path / "t.pcap", Batch.from_frames([packet()] * 3, ts=[0, 3 * S, 100 * S]))
    (tmp_path / "lab.toml").write_text(LAB.format(option=option, clear=clear))
    lab = Lab.load(tmp_path / "lab.toml")
    found = lab.run().facts["routers"]["r1"].get("lifetimes", {})
    lab.close()
    wanted = {"cleared": {"cleared": 1}, "idle": {"idle": 1}} if clear else {"idle": idle} if idle else {}
    assert found == wanted
