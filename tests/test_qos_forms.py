"""Lines of class maps and policy maps as routers print them: what they mean, and that they print back the same."""

from typing import Any

import numpy as np
import pytest
from packets import ip4, udp

from qfp.batch import Batch
from qfp.config import Configuration, loads, render
from qfp.config.arguments import DSCP_NAMES
from qfp.config.model import ClassPolicy, Police
from qfp.qos import Classifier, headers_of
from qfp.qos.policy import compile_queues
from qfp.qos.treatment import Treatment
from qfp_kernels.queues import NANO

MBIT = 10**6
SECOND = 10**9


def again(text: str) -> Configuration:
    cfg = loads(text)
    assert loads(render(cfg, show_keys=True)) == cfg
    return cfg


def policy(lines: str, issues: int = 0) -> ClassPolicy:
    """The class of a policy with some lines, which has so many warnings."""
    cfg = again("class-map match-any C\n match dscp ef\npolicy-map P\n class C\n" + lines)
    assert len([issue for issue in cfg.issues if issue.severity != "note"]) == issues and not cfg.errors
    return cfg.policy_maps["P"].classes[0]


SHAPES = [
    ("average 1000000", (1_000_000, None, None, None, False)),
    ("average 1000000 10000", (1_000_000, None, 10_000, None, False)),
    ("average 1000000 10000 0", (1_000_000, None, 10_000, 0, False)),
    ("average 1000000 10000 5000", (1_000_000, None, 10_000, 5000, False)),
    ("peak 1000000 10000 5000", (1_000_000, None, 10_000, 5000, True)),
    ("average percent 20", (None, 20, None, None, False)),
    ("average percent 20 300 ms", (None, 20, 300, None, False)),
    ("average percent 20 300 ms 100 ms", (None, 20, 300, 100, False)),
    ("peak percent 20 300", (None, 20, 300, None, True)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), SHAPES)
def test_shapers(line: str, wanted: tuple[Any, ...]) -> None:
    found = policy(f"  shape {line}\n")
    names = ("shape_bps", "shape_percent", "shape_burst", "shape_excess", "shape_peak")
    assert tuple(getattr(found, name) for name in names) == wanted


@pytest.mark.req("QOS-1")
@pytest.mark.parametrize(("line", "rate", "bits"), [
    ("average 1000000 10000 0", 1_000_000, 10_000), ("average 1000000 10000 5000", 1_000_000, 15_000),
    ("average 1000000", 1_000_000, 4000), ("peak 1000000 10000 5000", 1_500_000, 15_000),
    ("peak 1000000 10000", 2_000_000, 20_000), ("average percent 10 300 ms", 1_000_000, 300_000),
    ("average percent 10 300 ms 100 ms", 1_000_000, 400_000),
])  # fmt: skip
def test_rate_and_bucket_of_a_shaper(line: str, rate: int, bits: int) -> None:
    cfg = loads(f"class-map C\n match dscp ef\npolicy-map P\n class C\n  shape {line}\n")
    element = next(each for each in compile_queues(cfg, "P", 10 * MBIT).elements if each.name == "C")
    assert (element.rate, element.burst) == (rate, bits * SECOND)


POLICERS = [
    ("8000", Police(8000)), ("cir 8000", Police(8000)), ("rate 8000", Police(8000)), ("rate 8000 bps", Police(8000)),
    ("8000 1500 3000", Police(8000, burst=1500, excess_burst=3000)),
    ("cir 8000 bc 1500 be 3000", Police(8000, burst=1500, excess_burst=3000)),
    ("cir 8000 bc 1500 pir 9000 be 3000", Police(8000, burst=1500, excess_burst=3000, peak_rate=9000)),
    ("rate 8000 bps burst 1500 bytes peak-rate 9000 bps peak-burst 3000 bytes",
     Police(8000, burst=1500, excess_burst=3000, peak_rate=9000)),
    ("rate 1000 pps", Police(1000, packets=True, burst_unit="packets")),
    ("rate 1000 pps burst 20 packets", Police(1000, burst=20, packets=True, burst_unit="packets")),
    ("rate percent 10", Police(percent=10)), ("cir percent 10", Police(percent=10)),
    ("cir percent 10 bc 20 ms be 30 ms pir percent 40",
     Police(percent=10, burst=20, excess_burst=30, peak_percent=40, burst_unit="ms")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), POLICERS)
def test_policers(line: str, wanted: Police) -> None:
    assert policy(f"  police {line}\n").police == wanted


@pytest.mark.parametrize("name", DSCP_NAMES)
def test_every_dscp_name_wherever_a_dscp_may_stand(name: str) -> None:
    number = DSCP_NAMES[name]
    cfg = again(f"""class-map match-any C
 match dscp {name}
 match ip dscp {name} 1
policy-map P
 class C
  set dscp {name}
  police 8000 conform-action set-dscp-transmit {name} exceed-action set-dscp-transmit {name}
   violate-action set-dscp-transmit {name}
  queue-limit dscp {name} 20 packets
  random-detect dscp {name} 20 40 10
ip access-list extended A
 permit ip any any dscp {name}
""")
    found = cfg.policy_maps["P"].classes[0]
    assert found.police is not None and found.set_dscp == number
    assert {found.police.conform, found.police.exceed, found.police.violate} == {f"set-dscp-transmit {number}"}
    assert [match.values for match in cfg.class_maps["C"].matches] == [(number,), (number, 1)]
    assert cfg.access_lists["A"].entries[0].dscp == number and not cfg.errors
    kept = [f"queue-limit dscp {name} 20 packets", f"random-detect dscp {name} 20 40 10"]
    assert [each.text for each in found.kept] == kept


@pytest.mark.parametrize(("words", "action"), [
    ("transmit", "transmit"), ("drop", "drop"), ("set-dscp-transmit af12", "set-dscp-transmit 12"),
    ("set-prec-transmit critical", "set-prec-transmit 5"), ("set-qos-transmit 7", "set-qos-transmit 7"),
    ("set-mpls-exp-imposition-transmit 3", None), ("set-cos-transmit 5", None), ("set-clp-transmit", None),
])  # fmt: skip
def test_actions_on_one_line_and_on_lines_of_their_own(words: str, action: str | None) -> None:
    for text in (f"  police 8000 exceed-action {words}\n", f"  police 8000\n   exceed-action {words}\n",
                 f"  police cir 8000 bc 1500\n   conform-action transmit\n   exceed-action {words}\n"):  # fmt: skip
        found = policy(text, issues=action is None).police
        assert found is not None and (found.conform, found.exceed) == ("transmit", action or words)


@pytest.mark.parametrize("line", [
    "police 100", "police 8000 burst", "police cir 8000 bc 1", "police rate 8000 pps burst 20 bytes x",
    "police 8000 conform-action set-dscp-transmit af55", "police 8000 conform-action set-dscp-transmit 64",
    "police cir percent 101", "police cir percent 10 pir 9000", "set dscp af55", "queue-limit dscp af55 4",
    "random-detect dscp af55 1 2", "shape average percent 101", "bandwidth remaining ratio 0",
])  # fmt: skip
def test_wrong_values_are_errors(line: str) -> None:
    (issue,) = loads(f"class-map C\n match dscp ef\npolicy-map P\n class C\n  {line}\n").issues
    assert issue.severity == "error"


@pytest.mark.req("QOS-1")
@pytest.mark.parametrize("calls", [1, 5])
def test_a_policer_of_packets_counts_packets(calls: int) -> None:
    """A bucket of 20 packets that fills with 1000 a second, whatever their length."""
    cfg = loads("class-map C\n match dscp ef\npolicy-map P\n class C\n  police rate 1000 pps burst 20 packets\n")
    treatment = Treatment(Classifier(cfg, "P"), MBIT)
    rng = np.random.default_rng(5)
    ts, length = np.cumsum(rng.integers(0, 1_600_000, 5000)), rng.integers(40, 9000, 5000)
    pieces = zip(*(np.array_split(column, calls) for column in (ts, length, np.zeros(5000, int))), strict=True)
    policed = np.concatenate([treatment.treat(*piece).policed for piece in pieces])
    tokens, before, wanted = 20 * SECOND, 0, []
    for now in ts.tolist():
        tokens, before = min(20 * SECOND, tokens + 1000 * (now - before)), now
        wanted.append(tokens < SECOND)
        tokens -= 0 if wanted[-1] else SECOND
    assert policed.tolist() == wanted and 100 < sum(wanted) < 4900


def test_a_burst_in_milliseconds_is_one_of_the_rate() -> None:
    cfg = loads("class-map C\n match dscp ef\npolicy-map P\n class C\n  police cir percent 10 bc 200 ms\n")
    treatment = Treatment(Classifier(cfg, "P"), 10 * MBIT)  # 1 Mbit/s: 200 ms are 25,000 octets
    sizes = np.array([25_000, 1, 24_000])
    assert treatment.treat(np.array([0, 0, 192_000_000]), sizes, np.zeros(3, int)).policed.tolist() == [0, 1, 0]
    assert NANO == 8 * SECOND


# --- class maps -------------------------------------------------------------------------------------------------

UNSEEN = [
    "protocol rip", "protocol attribute category voice-and-video", 'protocol http url "*.x"', "cos 3", "vlan 5",
    "mpls experimental topmost 5", "ip rtp 16384 16383", "input-interface GigabitEthernet0/0", "packet length min 100",
    "source-address mac 0011.2233.4455", "application telepresence-media",
]  # fmt: skip


@pytest.mark.parametrize("words", UNSEEN)
def test_what_is_not_looked_at_matches_nothing_and_the_rest_of_the_map_works(words: str) -> None:
    cfg = again(f"class-map match-any C\n match {words}\n match dscp ef\n"
                f"class-map match-all D\n match {words}\n match dscp ef\n"
                f"class-map match-all N\n match not {words}\n match dscp ef\npolicy-map P\n class D\n class C\n"
                "policy-map Q\n class N\n")  # fmt: skip
    assert len(cfg.issues) == 3 and all("matches nothing" in issue.message for issue in cfg.issues)
    assert all(words in match.values[0] or words == f"protocol {match.values[0]}"
               for match in cfg.class_maps["C"].matches if match.kind != "dscp")  # fmt: skip
    head = headers_of(Batch.from_frames([ip4("10.0.0.1", "10.0.0.2", udp(1, 2, b"x"), tos=46 << 2)]))
    assert Classifier(cfg, "P").classify(head).tolist() == [1], "class C, by its DSCP"
    assert Classifier(cfg, "Q").classify(head).tolist() == [0], "nothing is what is not looked at"


# --- bandwidth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "words"), [
    ("bandwidth percent 60", "bandwidth percent 60", "60 % is more than the policy has left"),
    ("priority percent 50", "bandwidth percent 51", "51 % is more"),
    ("bandwidth percent 50", "priority percent 51", "51 % is more"),
    ("bandwidth remaining percent 60", "bandwidth remaining percent 41", "41 % is more"),
    ("bandwidth percent 60", "bandwidth 1000", "another unit (percent)"),
    ("bandwidth 1000", "bandwidth percent 1", "another unit (kbit/s)"),
    ("bandwidth remaining ratio 5", "bandwidth remaining percent 5", "another unit (remaining ratio)"),
    ("bandwidth percent 60", "bandwidth remaining percent 5", "another unit (percent)"),
])  # fmt: skip
def test_a_policy_takes_one_unit_and_at_most_all_of_the_link(first: str, second: str, words: str) -> None:
    cfg = loads(f"class-map A\nclass-map B\npolicy-map P\n class A\n  {first}\n class B\n  {second}\n  set dscp ef\n")
    (issue,) = cfg.issues
    assert issue.severity == "error" and words in issue.message and issue.line == 7
    refused = cfg.policy_maps["P"].classes[1]
    assert refused == ClassPolicy("B", set_dscp=46), "the line is refused, the rest of the class stays"


def test_what_fits_is_taken_and_may_be_changed() -> None:
    cfg = again("""class-map A
class-map B
policy-map P
 class A
  bandwidth percent 60
  bandwidth percent 70
 class B
  priority percent 30 5000
""")
    assert not cfg.issues
    assert [each.bandwidth_percent for each in cfg.policy_maps["P"].classes] == [70, None]
    assert cfg.policy_maps["P"].classes[1].priority_burst == 5000
