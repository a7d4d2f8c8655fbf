"""`qfp explain` case by case: what it names, its options, and that it changes nothing."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import IN, OUT, START, office, packet, qfp, rewrite
from cli_help import config as plain_config
from naive_fragments import by_largest
from packets import ip4, udp
from site_help import Site
from test_lifetimes import INSIDE, OUTSIDE, router, send, text
from test_lifetimes import packet as lives_packet
from test_sns import config as sns_config
from test_sns import packet as sns_packet

from qfp.batch import Batch
from qfp.explain import ExplainError
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.router import Router
from qfp.trace import read_trace, write_trace

pytestmark = pytest.mark.req("USE-3")
S = 10**9


def told(facts: dict[str, Any]) -> dict[str, str]:
    """The sentence of each stage; of the first row where there are several."""
    return {step["stage"]: step["decision"] for step in reversed(facts["stages"])}


@pytest.mark.parametrize("way", ["gre tunnel", "gre transport"])
@pytest.mark.parametrize("family", [4, 6])
def test_protected_gre_names_its_entry_and_sa(way: str, family: int) -> None:
    """Into a protected tunnel and out of one: nothing says that GRE goes in clear."""
    here, there = (Router.loads(Site(way, family).config(me)) for me in (1, 2))
    sent = here.forward(Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]), INSIDE)
    out = told(sent.explain(0))
    ends = ("203.0.113.1", "203.0.113.2") if family == 4 else ("2001:db8::1", "2001:db8::2")
    assert out["spd"] == "route 10.2.0.0/16, goes into Tunnel0"
    assert out["tunnel"].startswith("TTL 64 -> 63, 28 bytes; enters Tunnel0: ") and "SA 0 (SPI 0x" in out["tunnel"]
    assert f"interface Tunnel0: permit gre {ends[0]} -> {ends[1]}" in out["tunnel"]
    assert "made no hop" in out["forward"]
    back = told(there.forward(sent.packets, OUTSIDE).explain(0))
    assert back["spd"].endswith("GRE for this router itself") and "clear" not in out["tunnel"] + back["spd"]
    assert "28 bytes come out of Tunnel0" in back["tunnel"].replace(
        f"{28 + (24 if family == 4 else 44)} bytes", "28 bytes"
    )


def test_ipv6_outside_has_no_identification() -> None:
    for family in (4, 6):
        router = Router.loads(Site("vti", family).config(1))
        result = router.forward(Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]), INSIDE)
        assert ("IP identification" in told(result.explain(0))["sequence"]) == (family == 4)


def test_a_duplicate_is_not_looked_at() -> None:
    a, b = (Router.loads(plain_config(site)) for site in (1, 2))
    wire = a.forward(Batch.from_frames([packet(1)]), IN).packets.frames()
    facts = b.forward(Batch.from_frames(wire * 2), OUT).explain(1)
    level = next(step for step in facts["stages"] if step["stage"] == "commit")["facts"]["levels"][0]
    assert level["icv"] == "not looked at" and "refused before it is opened" in told(facts)["lookup"]


def test_the_deny_that_a_packet_met(tmp_path: Any) -> None:
    """Which entry of which list, and which line of the file; the permit behind it too."""
    lines = plain_config(1).replace(
        "access-list 101 permit", "access-list 101 deny udp any any eq 53\naccess-list 101 permit"
    )
    (tmp_path / "a.cfg").write_text(lines)
    write_trace(tmp_path / "in.pcap", Batch.from_frames([packet(1), ip4("10.1.0.5", "10.2.0.7", udp(1, 2))]))
    number = lines.split("\n").index("access-list 101 deny udp any any eq 53") + 1
    run = [qfp("explain", tmp_path / "a.cfg", tmp_path / "in.pcap", "--in", IN, "--frame", k).out for k in (0, 1)]
    assert f"deny udp any any eq 53 (crypto map M 10, access list 101, a.cfg line {number})" in run[0]
    assert "exempt from protection by" in run[0] and "deny" not in run[1]
    assert f"access list 101, a.cfg line {number + 1})" in run[1]


def test_why_an_sa_follows_another() -> None:
    """Deleted for idleness, rekeyed by time, by volume, cleared: named at every packet of the new SA."""
    idle = router(extra="crypto ipsec security-association idle-time 60\n")
    result = send(idle, [0, 70, 71])
    for k in (1, 2):
        assert "deleted at 1970-01-01 00:01:00" in told(result.explain(k))["sequence"]
        assert "nothing was sent or received for 60 s" in told(result.explain(k))["sequence"]
    timed = send(router(), [0, 3401])
    assert "its soft lifetime of 3401 s was over" in told(timed.explain(1))["sequence"]
    assert "follows" not in told(timed.explain(0))["sequence"]
    loud = send(router(kilobytes=20), [0.01 * k for k in range(20)], size=1000)
    assert "soft limit (18 packets, 18,000 bytes) of volume" in told(loud.explain(18))["sequence"]
    assert "its soft limit of volume was reached" in told(loud.explain(19))["sequence"]
    cleared = router()
    send(cleared, [0])
    cleared.clear(S)
    assert "clear crypto sa" in told(send(cleared, [2]).explain(0))["sequence"]


def test_what_became_of_an_sa_that_is_gone() -> None:
    """A packet on an inbound SA that was deleted, and on an old one that is still taken."""
    a, b = router(), router(2, extra="crypto ipsec security-association idle-time 60\n")
    wire = send(a, [0, 1]).packets.frames()
    gone = b.forward(Batch.from_frames(wire, ts=[0, 100 * S]), OUTSIDE).explain(1)
    assert gone["cause"]["cause"] == "NO_SA" and "nothing was sent or received for 60 s" in told(gone)["lookup"]
    a, b = router(), router(2)
    wire = send(a, [0, 1, 3401]).packets.frames()
    late = b.forward(Batch.from_frames([wire[0], wire[2], wire[1]], ts=[0, 3401 * S, 3402 * S]), OUTSIDE).explain(2)
    assert late["verdict"] == "forwarded" and "an old SA, rekeyed at" in told(late)["lookup"]


def test_queues_and_spaces() -> None:
    result = Router.loads(sns_config(1)).forward(Batch.from_frames([sns_packet(46), sns_packet(26)]), INSIDE)
    said = [told(result.explain(k)) for k in (0, 1)]
    assert said[0]["queue"].startswith("DSCP 46 is class VOICE of OUT on GigabitEthernet0/0/0: queue 0")
    assert said[1]["queue"].endswith("queue 1, sequence-number space 1") and ", space 1" in said[1]["sequence"]


def test_a_fragment_behind_fragments_of_another_turn() -> None:
    """The journal of the frames before does not count for the frame itself."""
    a, b = (Router.loads(plain_config(site)) for site in (1, 2))
    wire = a.forward(Batch.from_frames([packet(k) for k in range(40)]), IN).packets.frames()
    pieces = [piece for k, data in enumerate(wire) for piece in by_largest(data, 68, k)]
    result = b.forward(Batch.from_frames(pieces), OUT)
    for k in range(0, len(pieces), 9):
        facts = result.explain(k)
        assert facts["verdict"] == VERDICT_WORDS[result.verdicts["verdict"][k]], k
    assert any("makes its packet whole" in str(result.explain(k)) for k in range(9))


@pytest.mark.parametrize("batch", [1, 7, 0])
def test_whatever_the_batch_size(batch: int) -> None:
    """Explaining frame n is what the run did with frame n; and the router is as it was."""
    a = Router.loads(text(1), batch=batch)
    frames = [lives_packet(k, 100 + k) for k in range(20)]
    frames[3], frames[9] = b"", ip4("10.1.0.9", "10.2.0.9", udp(1, 2), ttl=1)
    result = a.forward(Batch.from_frames(frames, ts=[k * 400 * S for k in range(20)]), INSIDE)
    events = list(a.lifetimes.events)
    for k in range(20):
        facts, row = result.explain(k), {name: column[k] for name, column in result.verdicts.items()}
        cause = facts["cause"]["cause"] if facts["cause"] else "NONE"
        assert (facts["verdict"], cause) == (VERDICT_WORDS[row["verdict"]], CAUSE_WORDS[row["cause"]])
        assert [facts[n] for n in ("seq", "len_out", "first_out", "n_out")] == [
            row[n] for n in ("seq", "len_out", "first_out", "n_out")
        ]
        assert (facts["spi"] or "0x0") == (f"0x{row['spi']:08x}" if row["spi"] else "0x0")
    assert a.lifetimes.events == events


def test_events_of_sas_survive() -> None:
    """An event that leaves all SAs in their places is still there after an explanation."""
    r = router(rekey=False, kilobytes=20)
    send(r, [0])
    result = send(r, [0.01 * k for k in range(1, 21)], size=1000)
    events = list(r.lifetimes.events)
    assert [event.what for event in events] == ["soft"]
    assert result.explain(18)["verdict"] == "forwarded" and r.lifetimes.events == events


def test_a_result_of_several_interfaces() -> None:
    r = Router.loads(plain_config(1))
    batch = Batch.from_frames([packet(1)])
    batch = Batch(batch.arena, {**batch.columns, "in_if": np.ones(1, np.int32)}, batch.interfaces)
    with pytest.raises(ExplainError, match="several interfaces"):
        r.exchange(batch).explain(0)


# ------------------------------------------------------------------------------------------------- command line
def test_frames_that_are_not_there(tmp_path: Any) -> None:
    o = office(tmp_path)
    for frame, status, word in ((-1, 2, "--frame"), (42, 2, "give 0 to 41"), ("x", 2, "--frame")):
        said = qfp("explain", o.a, o.trace, "--in", IN, "--frame", frame)
        assert said.status == status and word in said.err, (frame, said)


def test_frames_that_are_no_ip(tmp_path: Any) -> None:
    o = office(tmp_path)
    write_trace(tmp_path / "odd.pcap", Batch.from_frames([bytes(12) + b"\x08\x06" + bytes(28), b"\0", b""], link=1))
    for k in range(3):
        said = qfp("explain", o.a, tmp_path / "odd.pcap", "--in", IN, "--frame", k)
        assert said.status == 0 and "no IP packet: handed to the control plane" in said.out, said


def test_damage_before_and_behind_the_frame(tmp_path: Any) -> None:
    """What lies before the damage is explained; what lies behind it is damage, status 3."""
    o = office(tmp_path)
    data = o.trace.read_bytes()
    (tmp_path / "cut.pcap").write_bytes(data[: len(data) - 7])
    count = len(read_trace(o.trace))
    for k, status in ((0, 0), (count - 2, 0), (count - 1, 3), (count + 5, 3)):
        said = qfp("explain", o.a, tmp_path / "cut.pcap", "--in", IN, "--frame", k)
        assert said.status == status and ("damaged" in said.err) == (status == 3), (k, said)


def test_no_rekey_as_in_the_run(tmp_path: Any) -> None:
    """What `qfp run --no-rekey` did can be explained."""
    o = office(tmp_path)
    write_trace(tmp_path / "long.pcap", Batch.from_frames([packet(1), packet(2)], ts=[START, START + 3568 * S]))
    for option, cause in (((), "forwarded"), (("--no-rekey",), "SA_EXPIRED")):
        assert cause in qfp("explain", o.a, tmp_path / "long.pcap", "--in", IN, "--frame", 1, *option).out


def test_columns_of_text(tmp_path: Any) -> None:
    """A blank stands behind each stage's name, `reassemble` too."""
    o = office(tmp_path)
    o.seal()
    wire = read_trace(o / "wire.pcapng").frames()
    pieces = by_largest(wire[0], 68)
    write_trace(tmp_path / "pieces.pcap", Batch.from_frames(pieces))
    said = qfp("explain", o.b, tmp_path / "pieces.pcap", "--in", OUT, "--frame", 0).out
    assert "reassemble a fragment to be put together here: taken in" in said
    assert "on to" not in said, "a fragment is on no list yet"
    rewrite(o / "wire.pcapng", o / "bad.pcap", [0], spoil=(0,))
    assert "the ICV of number 1 of SA" in qfp("explain", o.b, o / "bad.pcap", "--in", OUT, "--frame", 0).out


def test_the_session_of_the_readme() -> None:
    """The lines that README quotes are lines of the command, but for breaks and what is left out."""
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text(encoding="utf-8")
    quoted = readme.split("--frame 760\n")[1].split("\n\n")[0]
    branch = root / "traces" / "branch"
    said = qfp(
        "explain", branch / "branch.cfg", branch / "office.pcapng", "--in", "GigabitEthernet0/0/1", "--frame", 760
    )
    lines = [" ".join(line.split()) for line in said.out.split("\n")]
    wanted = [" ".join(line.split()) for line in re.sub(r"\n {17}", " ", quoted).split("\n")]
    assert len(wanted) == 6 and [line for line in wanted if line not in lines] == []


HUB = """hostname Hub
crypto ipsec transform-set T esp-gcm 128
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.1
 set transform-set T
 match address FIRST
crypto map M 20 ipsec-isakmp
 set peer 203.0.113.3
 set transform-set T
 match address SECOND
interface GigabitEthernet0/0/0
 ip address 203.0.113.2 255.255.255.0
 crypto map M
ip route 0.0.0.0 0.0.0.0 203.0.113.1
ip access-list extended FIRST
 permit ip any 10.1.0.0 0.0.255.255
ip access-list extended SECOND
 permit ip 10.1.0.0 0.0.255.255 10.3.0.0 0.0.255.255
"""


def test_the_sa_that_a_packet_came_by_is_not_the_one_that_it_leaves_by() -> None:
    """From spoke to spoke through a hub: each sentence names its own entry. What came in was told of the other one."""
    spoke = plain_config(1).replace("10.2.0.0 0.0.255.255", "any")
    near, hub = Router.loads(spoke), Router.loads(HUB)
    sent = near.forward(Batch.from_frames([ip4("10.1.0.5", "10.3.0.7", udp(1, 2))]), "gi0/0/1")
    passed = hub.forward(sent.packets, "gi0/0/0")
    assert passed.counters["verdicts"]["forwarded"] == 1
    (spd,) = (step for step in passed.explain(0)["stages"] if step["stage"] == "spd")
    came, left = spd["decision"].split("; route ")
    assert came == "it is what its SA may carry: crypto map M 10: permit ip any -> 10.1.0.0/16"
    assert "crypto map M 20: permit ip 10.1.0.0/16 -> 10.3.0.0/16" in left
