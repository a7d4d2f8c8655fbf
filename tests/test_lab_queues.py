"""QoS behind encryption in a lab: what overtakes, what a replay window makes of it, and what number spaces do."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packets import ip4, udp
from test_lab import SITE, leaving, ran

from qfp.batch import Batch
from qfp.lab import Lab
from qfp.lab.read import load
from qfp.trace import write_trace

TOP = Path(__file__).parent.parent
VOICE = TOP / "traces" / "voice"
POLICY = """class-map match-all VOICE
 match dscp ef
class-map match-all DATA
 match dscp af31
policy-map OUT
 class VOICE
  priority
 class DATA
  bandwidth percent 30
  queue-limit 512 packets
"""
MULTI = "crypto ipsec security-association multi-sn\n"
EF, AF31 = 46, 26


def packet(dscp: int, size: int = 200, to: str = "10.2.0.9") -> bytes:
    return ip4("10.1.0.7", to, udp(1, 2, bytes(size - 28)), tos=dscp << 2)


def figure(folder: Path, voice: int, multi: tuple[bool, bool] = (False, False), extra: str = "") -> Path:
    """The guide's figure: while the line is busy, 100 packets of data are enqueued, then `voice` priority packets."""
    for name, n, on in (("a", 1, multi[0]), ("b", 2, multi[1])):
        site = SITE.format(n=n, me=n, peer=3 - n, far=3 - n).replace(" crypto map M\n", f" crypto map M\n{extra}")
        (folder / f"{name}.cfg").write_text(POLICY + MULTI * on + site)
    busy = [packet(0, 1400, "192.0.2.2")]  # for the far router, in clear: it takes no number
    frames = busy + [packet(AF31)] * 100 + [packet(EF)] * voice
    write_trace(folder / "in.pcap", Batch.from_frames(frames, ts=np.arange(len(frames)) * 10_000))
    path = folder / "lab.toml"
    path.write_text(
        '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n'
        '[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\nrate = "1M"\ndelay = "5 ms"\n'
        '[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n'
        '[[capture]]\nat = "b gi0/0/0"\ndirection = "in"\nfile = "line.pcap"\n'
        '[[capture]]\nat = "b gi0/0/1"\ndirection = "out"\nfile = "b.pcap"\n'
    )
    return path


def numbers(batch: Batch) -> list[int]:
    """Sequence numbers of the ESP packets of a capture."""
    return [int.from_bytes(frame[24:28]) for frame in batch.frames() if frame[9] == 50]


def states(outcome: Any) -> list[str]:
    """What became of the protected packets, by number: 1 is the first."""
    return [row["cause"] or row["state"] for row in outcome.journeys.to_arrow().to_pylist()[1:]]


@pytest.mark.req("AR-7", "QOS-2")
@pytest.mark.parametrize(("voice", "lowest"), [(1, 38), (2, 39)])
def test_the_guides_figure(tmp_path: Path, voice: int, lowest: int) -> None:
    """101 and 102 leave before 1. After 101 the window is 38 to 101, after 102 39 to 102: what is below is lost."""
    path = figure(tmp_path, voice, extra=" service-policy output OUT\n")
    outcome = ran(path)
    assert numbers(outcome.taps["line.pcap"]) == [*range(101, 101 + voice), *range(1, 101)]
    assert states(outcome) == ["REPLAY"] * (lowest - 1) + ["delivered"] * (100 + voice - lowest + 1)


@pytest.mark.req("AR-7")
def test_the_figure_without_queues_or_with_spaces(tmp_path: Path) -> None:
    """One queue never reorders; with spaces at both ends the same order on the line loses nothing."""
    plain = ran(figure(tmp_path, 2))
    assert numbers(plain.taps["line.pcap"]) == list(range(1, 65)), "one queue of 64 packets: the rest is tail dropped"
    assert Counter(states(plain)) == {"delivered": 64, "QUEUE_FULL": 38}
    path = figure(tmp_path, 2, (True, True), " service-policy output OUT\n")
    spaced = ran(path)
    assert [n >> 28 for n in numbers(spaced.taps["line.pcap"])] == [0, 0] + [1] * 100
    assert set(states(spaced)) == {"delivered"}


@pytest.mark.req("AR-8")
def test_spaces_on_one_side_only(tmp_path: Path) -> None:
    """The numbers of other spaces lie far above or below the window of a receiver that knows one space."""
    one = states(ran(figure(tmp_path, 2, (True, False), " service-policy output OUT\n")))
    assert one == ["delivered"] * 100 + ["delivered"] * 2, "space 0 first, then space 1: numbers only rise"
    other = states(ran(figure(tmp_path, 2, (False, True), " service-policy output OUT\n")))
    history = 16  # of each space at the receiver; the sender has one space, and 101 and 102 come first
    assert other == ["REPLAY"] * (102 - history) + ["delivered"] * history


@pytest.mark.req("QOS-4")
def test_pre_classification(tmp_path: Path) -> None:
    """Classes that look at ports see them with `qos pre-classify` on the crypto map only."""
    text = "access-list 120 permit udp any any eq 2\n"
    for pre in (False, True):
        path = figure(tmp_path, 2, extra=" service-policy output OUT\n")
        config = path.with_name("a.cfg")
        made = config.read_text().replace(" match dscp ef\n", " match access-group 120\n")
        made = made.replace("ip access-list", text + "ip access-list")
        config.write_text(made.replace(" set peer", " qos pre-classify\n set peer" if pre else " set peer"))
        lab = Lab.load(path)
        try:
            outcome = lab.run()
        finally:
            lab.close()
        classes = outcome.facts["links"][0]["classes"]
        assert classes["VOICE"]["in_packets"] == (103 if pre else 1), "the packet in clear shows its port to all"


@pytest.mark.req("QOS-1")
def test_policers_and_marks(tmp_path: Path) -> None:
    """`police` drops with a cause, `set` changes the outer header alone."""
    path = figure(tmp_path, 2, (True, True), " service-policy output OUT\n")
    config = path.with_name("a.cfg")
    limits = "  police 8000 conform-action transmit exceed-action drop\n  set dscp af11\n"
    config.write_text(config.read_text().replace("  bandwidth percent 30\n", "  bandwidth percent 30\n" + limits))
    outcome = ran(path)
    found = Counter(states(outcome))
    assert found["POLICED"] > 90 and found["POLICED"] + found["delivered"] == 102
    wire = [frame[1] >> 2 for frame in outcome.taps["line.pcap"].frames() if frame[9] == 50]
    assert set(wire) == {EF, 10}, "AF11 outside"
    inside = {frame[1] >> 2 for frame in outcome.taps["b.pcap"].frames()}
    assert inside == {EF, AF31}


@pytest.mark.req("AR-6", "AR-7", "QOS-2")
@pytest.mark.parametrize("threads", [1, 2])
def test_voice_over_a_busy_line(threads: int) -> None:
    """The sample scenario: hundreds of replay drops with one space, none with sixteen, nothing else lost in either."""
    losses = {}
    for name in ("one-space", "sixteen-spaces"):
        facts = ran(VOICE / f"{name}.toml", threads=threads).facts
        losses[name] = {(loss["where"], loss["cause"]): loss["packets"] for loss in facts["journeys"][0]["losses"]}
        assert facts["journeys"][0]["packets"] == 2300
    assert losses == {"one-space": {("hq", "REPLAY"): 254}, "sixteen-spaces": {}}


@pytest.mark.req("QOS-1")
def test_a_policy_needs_a_rate(tmp_path: Path) -> None:
    path = figure(tmp_path, 1, extra=" service-policy output OUT\n")
    path.write_text(path.read_text().replace('rate = "1M"\n', ""))
    lab = Lab(load(path))
    lab.close()
    assert any("has no rate" in warning for warning in lab.warnings)
    assert len(leaving(ran(path))) > 100


@pytest.mark.req("AR-6", "AR-7")
def test_the_figure_as_a_sample() -> None:
    """traces/figure: 1 to 38 are lost, in order, and none with sixteen spaces."""
    folder = TOP / "traces" / "figure"
    outcome = ran(folder / "one-space.toml")
    assert numbers(outcome.taps["line.pcapng"]) == [101, 102, *range(1, 101)]
    assert states(outcome) == ["REPLAY"] * 38 + ["delivered"] * 64
    assert set(states(ran(folder / "sixteen-spaces.toml"))) == {"delivered"}


@pytest.mark.req("AR-7", "QOS-2")
@pytest.mark.parametrize("dscp", [EF, AF31, 0])
def test_a_single_class_never_reorders(tmp_path: Path, dscp: int) -> None:
    """Twice what the line takes, all in one queue: tail drops, and not one replay drop; the rest is delivered."""
    path = figure(tmp_path, 1, extra=" service-policy output OUT\n")
    rng = np.random.default_rng(dscp)
    frames = [packet(dscp, int(size)) for size in rng.integers(60, 1400, 1500)]
    write_trace(tmp_path / "in.pcap", Batch.from_frames(frames, ts=np.cumsum(rng.integers(0, 6_000_000, 1500))))
    lost = Counter(row["cause"] or row["state"] for row in ran(path).journeys.to_arrow().to_pylist())
    assert set(lost) == {"delivered", "TAIL_DROP"} and sum(lost.values()) == 1500 and lost["delivered"] > 500
