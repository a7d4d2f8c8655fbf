"""The lab: rounds against an event at a time, the same outcome however it is run, and lab files that are refused."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_help import qfp
from hypothesis import given
from hypothesis import strategies as st
from naive_lab import NaiveLab
from packets import ip4, udp

from qfp.batch import Batch
from qfp.lab import Lab, LabError, Outcome
from qfp.lab import node as rounds
from qfp.lab.read import load, parse
from qfp.trace import read_trace, write_trace
from qfp_kernels.line import STATE, fifo

MS = 10**6
SITE = """hostname R{n}
crypto isakmp policy 1
 encryption aes
crypto ipsec transform-set T esp-gcm
 mode tunnel
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.{peer}
 set transform-set T
 match address A
interface GigabitEthernet0/0/0
 ip address 192.0.2.{me} 255.255.255.0
 crypto map M
interface GigabitEthernet0/0/1
 ip address 10.{n}.0.1 255.255.0.0
ip route 0.0.0.0 0.0.0.0 192.0.2.{peer}
ip access-list extended A
 permit ip 10.{n}.0.0 0.0.255.255 10.{far}.0.0 0.0.255.255
"""
MIDDLE = """hostname P
interface GigabitEthernet0/0/0
 ip address 192.0.2.3 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 192.0.2.4 255.255.255.0
ip route 192.0.2.1 255.255.255.255 GigabitEthernet0/0/0
ip route 192.0.2.2 255.255.255.255 GigabitEthernet0/0/1
"""
LINK = """
[[links]]
name = "{name}"
ends = ["{a}", "{b}"]
delay = "2 ms"
"""
INJECT = """
[[inject]]
trace = "{trace}"
at = "{at} gi0/0/1"
"""
ROUGH = """rate = "20M"
jitter = "1500us"
loss = 0.05
duplicate = 0.05
reorder = 0.1
reorder_by = "3 ms"
queue = 5
"""
LINKS = {"plain": "", "rate": 'rate = "20M"\n', "rough": ROUGH, "mtu": ROUGH + "mtu = 1200\n"}


def traffic(site: int, count: int = 300, seed: int = 1) -> Batch:
    """Datagrams of 60 to 1400 bytes to the other site, some to nowhere, 0.1 ms apart on average, some at once."""
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, 3, count) * MS // 10
    frames = [
        ip4(f"10.{site}.0.7", f"10.{3 - site}.0.9" if rng.random() < 0.95 else "172.16.0.1",
            udp(1000 + k, 9, bytes(int(rng.integers(32, 1372)))), ttl=int(rng.choice([1, 64], p=[0.02, 0.98])))
        for k in range(count)
    ]  # fmt: skip
    return Batch.from_frames(frames, ts=np.cumsum(gaps))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sites, a provider's router between them, and traffic from both sides."""
    (tmp_path / "a.cfg").write_text(SITE.format(n=1, me=1, peer=2, far=2))
    (tmp_path / "b.cfg").write_text(SITE.format(n=2, me=2, peer=1, far=1))
    (tmp_path / "p.cfg").write_text(MIDDLE)
    for site in (1, 2):
        write_trace(tmp_path / f"{site}.pcap", traffic(site, seed=site))
    return tmp_path


def lab_file(folder: Path, extra: str = "", link: str = ROUGH) -> Path:
    text = "seed = 3\n" + "".join(f'[routers.{r}]\nconfig = "{r}.cfg"\n' for r in "abp")
    text += LINK.format(name="near", a="a gi0/0/0", b="p gi0/0/0") + link
    text += LINK.format(name="far", a="p gi0/0/1", b="b gi0/0/0") + link
    text += INJECT.format(trace="1.pcap", at="a") + INJECT.format(trace="2.pcap", at="b")
    path = folder / "lab.toml"
    path.write_text(text + extra)
    return path


TAPS = '[[capture]]\nat = "{0} gi0/0/1"\ndirection = "out"\nfile = "{0}.pcap"\n'


def leaving(outcome: Outcome) -> list[tuple[int, str, bytes]]:
    return sorted((int(ts), name[0], frame) for name, batch in outcome.taps.items()
                  for ts, frame in zip(batch.ts, batch.frames(), strict=True))  # fmt: skip


def ran(path: Path, **options: Any) -> Outcome:
    lab = Lab.load(path, **options)
    try:
        return lab.run()
    finally:
        lab.close()


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("kind", list(LINKS))
def test_rounds_are_events(folder: Path, kind: str) -> None:
    """Whole batches up to a horizon give what one event after the other gives: bytes, times and losses."""
    path = lab_file(folder, TAPS.format("a") + TAPS.format("b"), LINKS[kind])
    outcome, twin = ran(path), NaiveLab(load(path))
    twin.run()
    assert leaving(outcome) == sorted((ts, router, packet) for ts, router, _, packet in twin.delivered)
    lost = {f"{line.spec.name}: {here[0]} to {there[0]}": dict(line.lost)
            for here, (line, there) in twin.lines.items()}  # fmt: skip
    assert {each["link"]: each["lost"] for each in outcome.facts["links"]} == lost
    assert kind in ("plain", "rate") or all(len(each) >= 2 for each in lost.values())


def check_however_it_is_run(path: Path, monkeypatch: pytest.MonkeyPatch, threads: int = 3) -> None:
    """Threads, and how much a round may take, change nothing."""
    first = ran(path)
    options: dict[str, Any]
    for options, rows in (({"threads": threads}, rounds.ROWS), ({}, 5)):
        monkeypatch.setattr(rounds, "ROWS", rows)
        again = ran(path, **options)
        assert leaving(again) == leaving(first) and again.facts == first.facts
        assert {n: b.frames() for n, b in again.taps.items()} == {n: b.frames() for n, b in first.taps.items()}
        assert again.journeys.to_arrow().equals(first.journeys.to_arrow())


@pytest.mark.req("USE-2")
def test_the_same_bytes_however_it_is_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_however_it_is_run(lab_file(folder, TAPS.format("a") + TAPS.format("b")), monkeypatch)


@pytest.mark.req("USE-2")
def test_every_packet_has_an_end(folder: Path) -> None:
    """One row an injected packet; what was offered to a line was carried or lost; causes by place add up."""
    outcome = ran(lab_file(folder))
    table = outcome.journeys.to_arrow()
    states = table["state"].to_pylist()
    assert len(states) == 600 and "under way" not in states
    for facts in outcome.facts["journeys"]:
        assert facts["packets"] == sum(facts[s] for s in ("delivered", "lost", "consumed", "punted"))
        assert facts["lost"] == sum(loss["packets"] for loss in facts["losses"])
        assert {"NO_ROUTE", "TTL_EXPIRED", "LINK_LOSS"} <= {loss["cause"] for loss in facts["losses"]} | {"NO_ROUTE"}
    for link in outcome.facts["links"]:
        assert link["packets"] == link["carried"] + sum(link["lost"].values())
    rows = table.to_pylist()
    assert all(row["delay"] >= 4 * MS - 3 * MS for row in rows if row["state"] == "delivered")
    assert all((row["cause"] is not None) == (row["state"] == "lost") for row in rows)
    assert all(row["where"] in ("a", "b", "p") or ":" in row["where"] for row in rows if row["state"] == "lost")


@pytest.mark.req("USE-2")
def test_a_link_fails_and_comes_back(folder: Path) -> None:
    states = ((10, "down"), (20, "up"))
    events = "".join(f'[[events]]\nat = "{t} ms"\nlink = "near"\nstate = "{s}"\n' for t, s in states)
    table = ran(lab_file(folder, events, "")).journeys.to_arrow().to_pylist()
    down = [row for row in table if row["cause"] == "LINK_DOWN"]
    assert down and all(10 * MS <= row["end"] < 20 * MS for row in down)
    here = [row for row in table if row["injected"].startswith("a") and 10 * MS <= row["ts"] < 20 * MS]
    assert not any(row["state"] == "delivered" for row in here)


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(40, 1500)), min_size=1, max_size=60),
    st.integers(0, 8), st.integers(10**5, 10**11), st.integers(1, 60),
)  # fmt: skip
def test_first_come_first_served(packets: list[tuple[int, int]], limit: int, rate: int, cut: int) -> None:
    """Departures in whole ns of an exact line, however the arrivals are handed over; tail drop at the limit."""
    ts = np.cumsum([gap for gap, _ in packets])
    size = np.array([s for _, s in packets], np.int64)
    state, waiting, depart = np.zeros(STATE, np.int64), np.zeros(limit, np.int64), np.zeros(ts.size, np.int64)
    for part in (slice(0, cut), slice(cut, None)):
        fifo(ts[part], size[part], rate, state, waiting, depart[part])
    free, begins = Fraction(0), []
    for k in range(ts.size):
        if limit and sum(b > int(ts[k]) for b in begins) >= limit:
            assert depart[k] == -1
            continue
        begin = max(free, Fraction(int(ts[k])))
        begins.append(int(begin))
        free = begin + Fraction(8 * int(size[k]) * 10**9, rate)
        assert depart[k] == int(free)


REFUSED = [
    ("seed = -1\n", "lab.seed", "from 0"),
    ("sed = 1\n", "lab.sed", "did you mean seed"),
    ("seed = \n", "syntax", "toml.io"),
    ("[routers]\n", "lab.routers", "add [routers.NAME]"),
    ('[routers.a]\nconfig = "nothing.cfg"\n', "routers.a.config", "start from the lab file's folder"),
    ('[routers.a]\n', "routers.a.config", "add config"),
    ("@[[links]]\nends = 1\n", "links[0].ends", "write ends"),
    ('@[[links]]\nends = ["a gi0/0/0", "z gi0/0/0"]\n', "links[0].ends", "there are: a, b"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\n', "links[0].delay", "add delay"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = 0\n', "links[0].delay", "a delay above the jitter"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "3 parsecs"\n', "links[0].delay", "5 ms"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "1 ms"\nloss = 2.0\n', "links[0].loss", "from 0 to 1"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/9"]\ndelay = "1 ms"\n+', "links[0].ends", "not configured (there are"),
    ('@[[links]]\nends = ["a gi0/0/0", "a gi0/0/0"]\ndelay = "1 ms"\n+', "links[0].ends", "one link"),
    ('@[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "1 ms"\nreorder = 1\n', "links[0].reorder", "reorder_by"),
    ("@", "lab.inject", "add [[inject]]"),
    ('@[[inject]]\ntrace = "1.pcap"\nat = "a"\n', "inject[0].at", "ROUTER INTERFACE"),
    ('@[[inject]]\ntrace = "no.pcap"\nat = "a gi0/0/1"\n', "inject[0].trace", "folder"),
    ('@+[[events]]\nat = "1 s"\nlink = "x"\nstate = "down"\n', "events[0].link", "there are: none"),
    ('@+[[capture]]\nat = "a gi0/0/1"\nfile = "../x.pcap"\n', "capture[0].file", "folder of -o"),
    ('@+[[capture]]\nat = "a gi0/0/1"\nfile = "x.pcap"\ndirection = "up"\n', "capture[0].direction", "in, out, both"),
]  # fmt: skip


@pytest.mark.req("USE-2")
@pytest.mark.parametrize(("text", "key", "remedy"), REFUSED, ids=[f"{k} {r}" for _, k, r in REFUSED])
def test_bad_lab_files_are_refused(folder: Path, text: str, key: str, remedy: str) -> None:
    """With the file, the key in it and what would do. @: two routers; +: an injection."""
    routers = '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n'
    text = text.replace("@", routers).replace("+", INJECT.format(trace="1.pcap", at="a"))
    with pytest.raises(LabError) as caught:
        Lab(parse(text, "x.toml", folder))
    assert str(caught.value).startswith(f"x.toml: {key}: ") and remedy in str(caught.value)


@pytest.mark.req("USE-2")
def test_the_command(folder: Path) -> None:
    path = lab_file(folder, TAPS.format("b"))
    done = qfp("lab", str(path), "-o", str(folder / "out"), "--json")
    facts = done.json
    assert done.status == 0 and facts["schema"] == "qfp-lab/1"
    table = pq.read_table(folder / "out" / "journeys.parquet")
    assert table.num_rows == 600 and facts["journeys"][0]["packets"] == 300
    assert len(read_trace(folder / "out" / "b.pcap")) >= facts["journeys"][0]["delivered"]
    shown = qfp("lab", str(path)).out
    assert "LINK_LOSS" in shown and "near: a to p" in shown
    refused = qfp("lab", str(folder / "nothing.toml"))
    assert refused.status == 2 and "nothing.toml" in refused.err
