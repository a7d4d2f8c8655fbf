"""Events of routers in labs (USE-2): other configurations, `clear`, switchovers; and the three situations in which the
guide sees replay drops or invalid SPIs (AR-9), told by where each packet was lost and when."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_lab import NaiveLab
from test_lab import SITE, TAPS, lab_file, leaving, ran, traffic
from test_lab import folder as folder  # a fixture
from test_lab_queues import AF31, EF, MULTI, POLICY, packet

from qfp.batch import Batch
from qfp.lab import Lab, LabError
from qfp.lab.read import load
from qfp.trace import write_trace

S = 10**9
EVENT = '[[events]]\nat = "{at}"\nrouter = "{router}"\n{what}\n'


def event(at: str, router: str, what: str) -> str:
    return EVENT.format(at=at, router=router, what=what)


# ------------------------------------------------------------------------------------ against the naive lab
@pytest.mark.req("USE-2")
def test_events_between_packets(folder: Path) -> None:
    """Configurations that change, sessions that are cleared: rounds give what one event after the other gives."""
    text = (
        event("3 ms", "a", 'add = "no ip route 0.0.0.0 0.0.0.0 192.0.2.2"')
        + event("5 ms", "a", 'add = "ip route 0.0.0.0 0.0.0.0 192.0.2.2"')
        + event("8 ms", "a", 'clear = "crypto sa"')
        + event("9 ms", "b", 'clear = "clear crypto sa peer 192.0.2.1"')
        + event("11 ms", "b", 'add = "interface Loopback0\\n ip address 10.9.9.9 255.255.255.255"')
        + event("12 ms", "a", 'add = "crypto ipsec security-association multi-sn"')
        + event("15 ms", "a", 'clear = "crypto sa"')
    )
    path = lab_file(folder, TAPS.format("a") + TAPS.format("b") + text)
    outcome, twin = ran(path), NaiveLab(load(path))
    twin.run()
    assert leaving(outcome) == sorted((ts, router, frame) for ts, router, _, frame in twin.delivered)
    causes = {row["cause"] for row in outcome.journeys.to_arrow().to_pylist()}
    assert {"NO_ROUTE", "SA_STALE"} <= causes
    again = ran(path, threads=3)
    assert leaving(again) == leaving(outcome) and again.journeys.to_arrow().equals(outcome.journeys.to_arrow())


# -------------------------------------------------------------------------------------------- over a slow line
def branch(
    path: Path, traffic: list[tuple[int, int, int]], events: str = "", rate: str = "2M", policy: str = POLICY,
    extra: str = MULTI,
) -> Path:  # fmt: skip
    """A lab of two sites over a line with an output policy. traffic: (ns, DSCP, bytes)."""
    traffic = sorted(traffic)
    for name, n in (("a", 1), ("b", 2)):
        site = SITE.format(n=n, me=n, peer=3 - n, far=3 - n)
        site = site.replace(" crypto map M\n", " crypto map M\n service-policy output OUT\n")
        (path / f"{name}.cfg").write_text(policy + extra + site)
    frames = Batch.from_frames([packet(dscp, size) for _, dscp, size in traffic], ts=[ts for ts, _, _ in traffic])
    write_trace(path / "in.pcap", frames)
    lab = path / "lab.toml"
    lab.write_text(
        '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n'
        f'[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\nrate = "{rate}"\ndelay = "5 ms"\n'
        '[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n' + events
    )
    return lab


def stream(start: float, stop: float, kbps: int, dscp: int, size: int) -> list[tuple[int, int, int]]:
    """Packets of one kind at a steady rate."""
    step = size * 8 * 1_000_000 // kbps
    return [(ts, dscp, size) for ts in range(int(start * S), int(stop * S), step)]


def losses(outcome: Any, cause: str) -> list[float]:
    """Seconds at which packets were lost for a cause."""
    return sorted(row["end"] / S for row in outcome.journeys.to_arrow().to_pylist() if row["cause"] == cause)


SHARES = """class-map match-all VOICE
 match dscp ef
class-map match-all DATA
 match dscp af31
class-map match-all BULK
 match dscp af11
policy-map OUT
 class VOICE
  priority
 class DATA
  bandwidth percent 30
 class BULK
  bandwidth percent 20
 class class-default
  bandwidth percent 30
"""
AF11 = 10
VOICES = stream(0, 6, 300, EF, 200)
REMOVED = [*VOICES, *stream(0, 6, 2000, AF31, 800), *stream(0, 6, 200, AF11, 400), *stream(0, 6, 300, 0, 1000)]
ADDED = [*VOICES, *stream(0, 6, 300, AF11, 400), *stream(0, 6, 2000, 0, 1000)]
FULL = [*VOICES, *stream(0, 6, 1000, AF31, 800), *stream(0, 6, 1000, AF11, 400), *stream(0, 6, 1500, 0, 1000)]
REMOVE = event("2 s", "a", 'add = "policy-map OUT\\n no class DATA"')
ADD = event("2 s", "a", 'add = "class-map match-all NEW\\n match dscp af21\\npolicy-map OUT\\n no class DATA\\n'
            ' no class BULK\\n class NEW\\n  bandwidth percent 10\\n class DATA\\n  bandwidth percent 30\\n'
            ' class BULK\\n  bandwidth percent 20"')  # fmt: skip


@pytest.mark.req("AR-9")
@pytest.mark.parametrize(("change", "traffic"), [(REMOVE, REMOVED), (ADD, ADDED)], ids=["removed", "added"])
def test_a_class_comes_or_goes_while_packets_wait(tmp_path: Path, change: str, traffic: Any) -> None:
    """Spaces follow classes: after the change a queue that is short numbers in a space whose earlier packets still wait
    in a long one. Drops end within 2 s, none after; without the change there are none."""
    assert losses(ran(branch(tmp_path, traffic, policy=SHARES)), "REPLAY") == []
    outcome = ran(branch(tmp_path, traffic, change, policy=SHARES))
    lost = losses(outcome, "REPLAY")
    assert lost and lost[0] >= 2 and lost[-1] < 4, lost[-1:]
    before = next(each["classes_before"] for each in outcome.facts["links"] if each["link"].endswith("a to b"))
    assert [each["until"] for each in before] == [2 * S]


@pytest.mark.req("AR-9")
def test_a_switchover_of_redundant_processors(tmp_path: Path) -> None:
    """Over-subscribed in all spaces: what waited is sent behind what came since, and is too old by then, for a moment.
    On a line that has room nothing waits, and nothing is lost."""
    over = event("2 s", "a", 'switchover = "100 ms"')
    assert losses(ran(branch(tmp_path, FULL, policy=SHARES)), "REPLAY") == []
    lost = losses(ran(branch(tmp_path, FULL, over, policy=SHARES)), "REPLAY")
    assert lost and lost[0] >= 2 and lost[-1] < 4
    over = event("2000300 us", "a", 'switchover = "100 ms"')  # between packets
    assert losses(ran(branch(tmp_path, FULL, over, rate="1G", policy=SHARES)), "REPLAY") == []


@pytest.mark.req("AR-9", "BASE-7")
def test_late_packets_of_the_old_sa_after_a_rekey(tmp_path: Path) -> None:
    """Data waits 40 s in its queue while voice goes on by the new SA: 30 s after that the old SPI is invalid."""
    traffic = [*stream(0, 975, 8, EF, 200), *stream(921, 922.9, 2000, AF31, 1000)]
    lifetime = MULTI + "crypto ipsec security-association lifetime seconds 1000\n"  # soft after 923 s, hard after 968
    outcome = ran(branch(tmp_path, traffic, rate="100k", extra=lifetime))
    lost = losses(outcome, "NO_SA")
    assert lost and min(lost) >= 923 + 30 and losses(outcome, "REPLAY") == []
    rows = outcome.journeys.to_arrow().to_pylist()
    assert all(row["where"] == "b" and row["length"] > 900 for row in rows if row["cause"] == "NO_SA")
    assert {row["state"] for row in rows if row["length"] < 300} == {"delivered"}, "voice never stops"


@pytest.mark.req("AR-8")
def test_multi_sn_switched_on_while_sessions_exist(tmp_path: Path) -> None:
    """Both routers get it at 1 s; what exists drops until both are cleared at 3 s."""
    on = "".join(event("1 s", r, 'add = "crypto ipsec security-association multi-sn"') for r in "ab")
    clear = "".join(event("3 s", r, 'clear = "crypto sa"') for r in "ab")
    outcome = ran(branch(tmp_path, stream(0, 5, 300, EF, 500), on + clear, extra=""))
    rows = outcome.journeys.to_arrow().to_pylist()
    words = [(row["ts"] / S, row["cause"] or row["state"]) for row in rows]
    assert all(word == ("SA_STALE" if 1 <= ts < 3 else "delivered") for ts, word in words if not 0.98 < ts < 1)
    assert sum(word == "SA_STALE" for _, word in words) > 100


@pytest.mark.req("USE-2", "QOS-2")
def test_queues_keep_what_waits(tmp_path: Path) -> None:
    """A policy that is replaced by one with other shares, or taken off: everything still arrives, once, in order."""
    traffic = [*stream(0, 2, 300, EF, 200), *stream(0, 2, 800, 0, 1000)]
    wider = event("1 s", "a", 'add = "policy-map OUT\\n class DATA\\n  bandwidth percent 50"')
    off = event("1 s", "a", 'add = "interface gi0/0/0\\n no service-policy output OUT"')
    for change in (wider, off, off + event("1500 ms", "a", 'add = "interface gi0/0/0\\n service-policy output OUT"')):
        outcome = ran(branch(tmp_path, traffic, change))
        rows = outcome.journeys.to_arrow().to_pylist()
        assert {row["state"] for row in rows} == {"delivered"} and {row["copies"] for row in rows} == {1}
        ends = np.array([row["end"] for row in rows if row["length"] > 900])
        assert (np.diff(ends) > 0).all() and len(ends) == 200


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.req("USE-2")
@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        (event("1 s", "x", 'clear = "crypto sa"'), "events[0].router", "there is no router 'x'"),
        (event("1 s", "a", 'clear = "ip route"'), "events[0].clear", "write \"crypto sa\""),
        (event("1 s", "a", ""), "events[0]", "give one of add, config, clear, switchover"),
        (event("1 s", "a", 'clear = "crypto sa"\nadd = "hostname X"'), "events[0]", "says add and clear"),
        (event("1 s", "a", 'config = "missing.cfg"'), "events[0].config", "is no file"),
        (event("1 s", "a", 'add = "crypto ipsec transform-set T esp-rot13"'), "events[0]", "correct the line"),
        (event("1 s", "a", 'config = "b.cfg"\nstate = "up"'), "events[0].state", "is not a key"),
        (event("1 s", "a", 'config = "small.cfg"'), "events[0]", "GigabitEthernet0/0/1 is not in the new"),
        (event("soon", "a", 'clear = "crypto sa"'), "events[0].at", "no such quantity"),
    ],
)  # fmt: skip
def test_events_that_are_refused(tmp_path: Path, text: str, key: str, says: str) -> None:
    (tmp_path / "small.cfg").write_text("interface gi0/0/0\n ip address 192.0.2.1 255.255.255.0\n")
    path = branch(tmp_path, [(0, 0, 100)], text)
    with pytest.raises(LabError) as caught:
        Lab.load(path, strict=True)
    assert key in str(caught.value) and says in str(caught.value), caught.value


@pytest.mark.req("USE-2")
def test_another_file(tmp_path: Path) -> None:
    """`config`: the router goes on with another file, its sessions with it."""
    path = branch(tmp_path, stream(0, 2, 100, 0, 500), event("1 s", "a", 'config = "new.cfg"'))
    (tmp_path / "new.cfg").write_text((tmp_path / "a.cfg").read_text() + "ip route 198.51.100.0 255.255.255.0 Null0\n")
    outcome = ran(path)
    assert {row["state"] for row in outcome.journeys.to_arrow().to_pylist()} == {"delivered"}
    assert outcome.facts["routers"]["a"]["frames_in"] == 50


@pytest.mark.req("USE-2", "BASE-7", "IDLE-2")
def test_sas_age_in_labs(folder: Path) -> None:
    """Packets a minute apart on average, 5 % lost: soft limits after 234 s, idle pairs deleted after 60 s, at both ends
    by what each has seen. Rounds give what one event after the other gives."""
    limits = "crypto ipsec security-association idle-time 60\ncrypto ipsec security-association lifetime seconds 300\n"
    for name in "ab":
        config = folder / f"{name}.cfg"
        config.write_text(limits + config.read_text())
    for site in (1, 2):
        batch = traffic(site, seed=site)
        write_trace(folder / f"{site}.pcap", Batch(batch.arena, {**batch.columns, "ts": batch.ts * 500_000}))
    path = lab_file(folder, TAPS.format("a") + TAPS.format("b"))
    outcome, twin = ran(path), NaiveLab(load(path))
    twin.run()
    assert leaving(outcome) == sorted((ts, router, frame) for ts, router, _, frame in twin.delivered)
    for name in "ab":
        told = outcome.facts["routers"][name]["lifetimes"]
        assert told == twin.routers[name].lifetimes.summary()
        assert told["idle"]["idle"] > 5 and told["rekeyed"]["time"] > 5 and told["rekeyed"]["peer"] > 0, told
