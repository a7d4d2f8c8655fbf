"""One count of bytes: shapers, policers and priority classes count the layer 2 frame, IP and 14 bytes on Ethernet; what
the line adds takes time and counts for nothing. Against a token bucket of the test's own."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packets import ip4, udp
from test_lab import SITE, ran

from qfp.batch import Batch
from qfp.config import loads
from qfp.qos import InputPolicy, OutputPort
from qfp.trace import write_trace

MS, NS = 10**6, 10**9
CLASS = "class-map match-all C\n match precedence 1\n"


def packet(size: int, precedence: int = 1, to: str = "10.2.0.9") -> bytes:
    return ip4("10.1.0.7", to, udp(1, 2, bytes(size - 28)), tos=precedence << 5)


def bucket(ts: np.ndarray, size: int, rate: int, burst: int) -> list[bool]:
    """Which packets of `size` bytes conform to `rate` bit/s with `burst` bytes; exact, in units of 1/NS bit."""
    tokens, last, out = 8 * burst * NS, 0, []
    for at in ts.tolist():
        tokens, last = min(8 * burst * NS, tokens + (at - last) * rate), at
        out.append(tokens >= 8 * size * NS)
        tokens -= 8 * size * NS if out[-1] else 0
    return out


@pytest.mark.req("QOS-1")
@pytest.mark.parametrize("ip", [64, 276, 1400])
@pytest.mark.parametrize("ethernet", [False, True])
def test_a_policer_counts_layer_2(ip: int, ethernet: bool) -> None:
    """On the way in and out, whatever link type the frames were captured with."""
    cfg = loads(CLASS + "policy-map P\n class C\n  police 100000 5000\n")
    ts = np.arange(400) * 9 * MS
    head = bytes(12) + b"\x08\x00" if ethernet else b""
    batch = Batch.from_frames([head + packet(ip)] * 400, ts=ts, link=1 if ethernet else 101)
    expected = bucket(ts, ip + 14, 100_000, 5000)
    assert [not p for p in InputPolicy(cfg, "P", 10**6).apply(batch).treated.policed] == expected
    port = OutputPort(cfg, "P", 10**9, overhead=24)
    port.offer(batch)
    assert sorted(port.run().row.tolist()) == np.flatnonzero(expected).tolist()


@pytest.mark.req("QOS-2")
def test_a_priority_class_counts_layer_2() -> None:
    """While others wait, its rate binds: the very packets that a bucket of its burst lets pass."""
    cfg = loads(CLASS + "policy-map P\n class C\n  priority percent 10\n")
    ts = np.sort(np.concatenate([NS + np.arange(800) * 5 * MS, 13 + np.arange(3500) * 2 * MS]))
    mine = (ts - NS) % (5 * MS) == 0
    frames = [packet(276, 1) if one else packet(1000, 0) for one in mine]
    port = OutputPort(cfg, "P", 2_000_000, overhead=24)
    port.offer(Batch.from_frames(frames, ts=ts))
    gone = port.run()
    passed = np.isin(np.flatnonzero(mine), gone.row)
    assert passed.tolist() == bucket(ts[mine], 290, 200_000, 200_000 * 200 // 8000)


@pytest.mark.req("QOS-1", "QOS-2")
@pytest.mark.parametrize("overhead", [0, 24, 100])
def test_a_shaper_counts_layer_2_and_the_line_its_overhead(overhead: int) -> None:
    """Departures are a shaper's rate apart; one alone takes the line's time."""
    cfg = loads(CLASS + "policy-map P\n class C\n  shape average 1000000\n")
    port = OutputPort(cfg, "P", 100_000_000, overhead=overhead)
    port.offer(Batch.from_frames([packet(986)] * 300, ts=0))
    gone = port.run()
    apart = np.diff(gone.start)[-100:]
    assert (apart == 8 * 1000 * 1000).all(), "1000 bytes at 1 Mbit/s"
    assert (gone.end - gone.start == (1000 + overhead) * 80).all()


LAB = """[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
rate = "{rate}"
delay = "1 ms"
{overhead}
[[inject]]
trace = "in.pcap"
at = "a gi0/0/1"
"""


def lab(folder: Path, policy: str, frames: list[bytes], ts: Any, rate: str = "100M", overhead: str = "") -> Any:
    for name, n in (("a", 1), ("b", 2)):
        site = SITE.format(n=n, me=n, peer=3 - n, far=3 - n)
        if name == "a":
            site = CLASS + policy + site.replace(" crypto map M\n", " service-policy output P\n")
        (folder / f"{name}.cfg").write_text(site.replace(" crypto map M\n", ""))
    write_trace(folder / "in.pcap", Batch.from_frames(frames, ts=ts))
    (folder / "lab.toml").write_text(LAB.format(rate=rate, overhead=overhead))
    return ran(folder / "lab.toml")


@pytest.mark.req("QOS-1", "QOS-2")
@pytest.mark.parametrize(
    ("overhead", "header"), [("", 14), ("overhead = 18", 14), ("overhead = 4", 4), ("overhead = 0", 0)]
)
def test_in_a_lab_a_policer_counts_the_links_layer_2(tmp_path: Path, overhead: str, header: int) -> None:
    """Less than an Ethernet header where the link has less."""
    ts = np.arange(400) * 9 * MS
    policy = "policy-map P\n class C\n  police 100000 5000\n"
    outcome = lab(tmp_path, policy, [packet(276)] * 400, ts, overhead=overhead)
    rows = outcome.journeys.to_arrow().to_pylist()
    expected = bucket(ts, 276 + header, 100_000, 5000)
    assert [row["state"] == "delivered" for row in rows] == expected
    [classes] = [line["classes"] for line in outcome.facts["links"] if line["classes"]]
    assert classes["C"]["in_bytes"] == 400 * (276 + header)


@pytest.mark.req("QOS-1", "QOS-2")
def test_in_a_lab_shaper_policer_and_priority_agree(tmp_path: Path) -> None:
    """The same load at the same rate: as many bytes pass, whichever of the three holds it."""
    ts = np.arange(2000) * 2 * MS
    passed = Counter[str]()
    for name, action in (("police", "police 200000 5000"), ("shape", "shape average 200000\n  queue-limit 20 packets")):
        outcome = lab(tmp_path, f"policy-map P\n class C\n  {action}\n", [packet(276)] * 2000, ts)
        passed[name] = sum(row["state"] == "delivered" for row in outcome.journeys.to_arrow().to_pylist())
    whole = 200_000 * 4 / 8 / 290
    assert abs(passed["police"] - whole) < 25 and abs(passed["shape"] - whole) < 45
