"""Policy maps: their queues, their marks and policers, and the packets that they let through."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_qos import NaivePolicer, NaiveScheduler
from packets import ip4, ip6, udp
from qos_help import ran

from qfp.batch import Batch
from qfp.config import Configuration, loads
from qfp.config.model import Police
from qfp.qos import (
    Classifier,
    Defaults,
    InputPolicy,
    OutputPort,
    QosError,
    QueuePolicy,
    Scheduler,
    Treatment,
    compile_queues,
    rate_of,
)
from qfp.qos.policy import Element, weigh
from qfp_kernels.drops import Drop
from qfp_kernels.queues import COST_MAX, NEVER, WEIGHTS_MAX

MBIT = 1_000_000
CLASSES = "".join(f"class-map match-all c{k}\n match dscp {k}\n" for k in range(8))


def config(text: str) -> Configuration:
    found = loads(CLASSES + text)
    assert found.ok, found.errors
    return found


def queues(text: str, rate: int = 100 * MBIT) -> dict[str, Element]:
    """Elements by the names on their paths."""
    policy = compile_queues(config(text), "p", rate)
    out: dict[str, Element] = {}
    for each in policy.elements:
        if each.parent >= 0:
            above = policy.elements[each.parent]
            out[(above.name + "/" if above.parent >= 0 else "") + each.name] = each
    return out


def frame(dscp: int, size: int = 1000) -> bytes:
    return ip4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(size - 28)), tos=dscp << 2)


# ------------------------------------------------------------------------------------------ queues of a policy map
@pytest.mark.req("QOS-1")
def test_commands_become_queues() -> None:
    found = queues(
        "policy-map p\n class c1\n  priority level 1 percent 10\n class c2\n  priority level 2\n"
        " class c3\n  bandwidth percent 30\n  queue-limit 7\n"
        " class c4\n  bandwidth percent 20\n  queue-limit 9000 bytes\n"
        " class c5\n  shape average 8000000 16000\n  queue-limit 10 ms\n class c6\n  set dscp 9\n"
    )
    assert list(found) == ["c1", "c2", "c3", "c4", "c5", "class-default"], "c6 has no queue of its own"
    voice, control, third, fourth, fifth, rest = found.values()
    assert (voice.level, voice.cir, voice.cbs, voice.limit) == (1, 10 * MBIT, 2 * MBIT * 10**9, 512)
    assert (control.level, control.cir) == (2, 0)
    assert (third.limit, third.limit_bytes) == (7, NEVER) and fourth.limit_bytes == 9000
    assert (fifth.rate, fifth.burst, fifth.limit_bytes) == (8 * MBIT, 16_000 * 10**9, 10_000)
    assert [each.share for each in (third, fourth, fifth, rest)] == [30, 20, 20, 20], "the rest of 40 % by two"
    assert rest.limit == 100 * MBIT * 50 // (8000 * 1500) == 416


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("class c1\n bandwidth remaining percent 3", [3, 97]),
        ("class c1\n bandwidth remaining ratio 7\nclass c2\n bandwidth remaining ratio 2\nclass c3\n fair-queue",
         [7, 2, 1, 1]),
        ("class c1\n bandwidth 64\nclass c2\n priority 36", [64, 99_900, 99_900]),
        ("class c1\n bandwidth percent 100", [100, 1]),
        ("class c1\n shape average 1000000", [1, 1]),
    ],
)  # fmt: skip
def test_shares(text: str, shares: list[int]) -> None:
    assert [each.share for each in queues("policy-map p\n" + text).values()] == shares


@pytest.mark.parametrize(("rate", "limit"), [(MBIT, 64), (10 * MBIT, 64), (1000 * MBIT, 4166), (10_000 * MBIT, 41_666)])
def test_default_queue_limits_are_those_of_ios_xe(rate: int, limit: int) -> None:
    found = queues("policy-map p\n class c1\n  priority\n", rate)
    assert (found["class-default"].limit, found["c1"].limit) == (limit, 512)
    other = compile_queues(config("policy-map p\n"), "p", rate, Defaults(queue_ms=0, queue_min=5))
    assert other.elements[1].limit == 5


@pytest.mark.req("QOS-1")
def test_a_nested_policy_hangs_below_a_shaper_and_sees_its_rate() -> None:
    found = queues(
        "policy-map child\n class c1\n  priority percent 20\n class c2\n  bandwidth percent 50\n  queue-limit 1 ms\n"
        "policy-map p\n class class-default\n  shape average 8000000\n  service-policy child\n"
    )
    assert list(found) == ["class-default", "class-default/c1", "class-default/c2", "class-default/class-default"]
    top, voice, data, rest = found.values()
    assert (top.rate, top.burst, top.children) == (8 * MBIT, 32_000 * 10**9, [2, 3, 4])
    assert voice.cir == 1_600_000 and data.limit_bytes == 1000 and rest.limit == 64
    assert (data.share, rest.share) == (50, 30)


def test_classes_without_a_queue_wait_in_that_of_class_default() -> None:
    cfg = config(
        "policy-map marks\n class c1\n  set dscp 3\n class c2\n  police 8000\n"
        "policy-map child\n class c1\n  bandwidth percent 5\n class c2\n  set dscp 1\n"
        "policy-map p\n class c5\n  set qos-group 4\n class c3\n  service-policy child\n class c4\n  priority\n"
        "  service-policy marks\n class c6\n  service-policy marks\n"
    )
    policy = compile_queues(cfg, "p", MBIT)
    names = [each.name for each in policy.elements]
    where = {name: names[element] for name, element in zip(policy.classes, policy.queue_of, strict=True)}
    parents = {name: names[policy.elements[k].parent] for name, k in zip(policy.classes, policy.queue_of, strict=True)}
    assert where == {
        "c5": "class-default", "c3/c1": "c1", "c3/c2": "class-default", "c3/class-default": "class-default",
        "c4/c1": "c4", "c4/c2": "c4", "c4/class-default": "c4", "c6/c1": "class-default", "c6/c2": "class-default",
        "c6/class-default": "class-default", "class-default": "class-default",
    }  # fmt: skip
    assert parents["c3/c2"] == "c3" and parents["c6/c2"] == parents["c5"] == "link"
    assert [policy.priority(policy.classes.index(name)) for name in ("c4/c2", "c5")] == [1, 0]


REFUSED = [
    ("class c1\n bandwidth 100001", "promises 100001 of 100000"),
    ("class c1\n priority\n shape average 8000", "has priority and cannot be shaped"),
    ("class c1\n priority\n service-policy child", "cannot have queues"),
    ("class c1\n service-policy none", "policy map 'none' is not defined"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_a_policy_may_not_say(text: str, words: str) -> None:
    child = "policy-map child\n class c2\n  bandwidth percent 5\n"
    with pytest.raises(QosError, match=words):
        compile_queues(loads(CLASSES + child + "policy-map p\n" + text), "p", 100 * MBIT)


@pytest.mark.parametrize(("share", "amount", "words"), [
    ("remaining_ratio", 5, "mixes bandwidth percent and remaining"), ("priority_percent", 41, "promises 101 of 100"),
])  # fmt: skip
def test_what_a_configuration_refuses_a_policy_made_by_hand_may_not_say(share: str, amount: int, words: str) -> None:
    cfg = loads(CLASSES + "policy-map p\nclass c1\n bandwidth percent 60\nclass c2\n")
    cls = cfg.policy_maps["p"].classes[1]
    setattr(cls, share, amount)
    cls.priority = share == "priority_percent"
    with pytest.raises(QosError, match=words):
        compile_queues(cfg, "p", 100 * MBIT)


def test_priority_classes_do_not_spoil_the_weights() -> None:
    text = "policy-map p\n class c1\n  priority percent 33\n class c2\n  bandwidth percent 20\n"
    found = queues(text, 7)  # bit/s: priority has 2 of them
    assert [found[name].weight for name in ("c2", "class-default")] == [7, 18], "20 and 100 - 20 - 200 / 7"
    only = queues("policy-map p\n class class-default\n  priority\n")
    assert only["class-default"].level == 1


def test_a_link_has_a_rate() -> None:
    with pytest.raises(QosError, match="a link of 0 bit/s"):
        compile_queues(config("policy-map p\n"), "p", 0)
    cfg = loads("interface GigabitEthernet0/0/1\ninterface Tunnel1\ninterface gi0/0/2\n bandwidth 512\n")
    assert [rate_of(cfg.interfaces[f"GigabitEthernet0/0/{k}"]) for k in (1, 2)] == [1000 * MBIT, 512_000]
    with pytest.raises(QosError, match="Tunnel1: the rate of its link is not known, add `bandwidth KBPS`"):
        rate_of(cfg.interfaces["Tunnel1"])


@given(st.lists(st.integers(1, 10**6) | st.integers(1, 30), min_size=1, max_size=62))
def test_weights_and_costs_follow_the_shares(numbers: list[int]) -> None:
    made = [Element("", 0, 1, share=Fraction(each)) for each in numbers]
    weigh(made)
    assert sum(each.weight for each in made) <= WEIGHTS_MAX and all(1 <= each.cost <= COST_MAX for each in made)
    for one in made:
        exact = made[0].share / one.share
        assert abs(Fraction(one.cost, made[0].cost) / exact - 1) < Fraction(max(numbers), min(numbers) * COST_MAX) * 2
    if max(numbers) <= 30 and len(numbers) <= 4:
        assert all(one.cost * one.share == made[0].cost * made[0].share for one in made), "not exact"


# ------------------------------------------------------------------------------------------ policers and marks
POLICERS: list[tuple[str, dict[str, Any]]] = [
    ("police 800000 3000", {"cir": 800_000, "cbs": 3000}),
    ("police 999999 2000 4000 conform-action transmit exceed-action set-dscp-transmit 10 violate-action drop",
     {"cir": 999_999, "cbs": 2000, "ebs": 4000}),
    ("police cir 500000 bc 2000 pir 900000 conform-action set-prec-transmit 5 exceed-action set-qos-transmit 9 "
     "violate-action drop", {"cir": 500_000, "cbs": 2000, "pir": 900_000, "ebs": 28_125}),
]  # fmt: skip


@pytest.mark.req("QOS-1")
@pytest.mark.parametrize(("line", "twin"), POLICERS)
@pytest.mark.parametrize("calls", [1, 7])
def test_policers_agree_with_the_twin(line: str, twin: dict[str, int], calls: int) -> None:
    cfg = config(f"policy-map p\n class c1\n  {line}\n")
    treatment = Treatment(Classifier(cfg, "p"), MBIT)
    rng = np.random.default_rng(3)
    ts, length = np.cumsum(rng.integers(0, 10_000_000, 20_000)), rng.integers(40, 1501, 20_000)
    cls = (rng.random(20_000) < 0.1).astype(int)  # a tenth is class-default, which is not policed
    pieces = zip(*(np.array_split(column, calls) for column in (ts, length, cls)), strict=True)
    parts = [treatment.treat(*piece) for piece in pieces]
    got = [np.concatenate([getattr(each, name) for each in parts]) for name in ("policed", "dscp", "qos_group")]
    naive, counts = NaivePolicer(**twin), [[0, 0] for _ in range(3)]
    words = cfg.policy_maps["p"].classes[0].police
    assert words is not None
    for k in range(20_000):
        if cls[k]:
            assert [column[k] for column in got] == [0, -1, -1]
            continue
        colour = naive.colour(int(ts[k]), int(length[k]))
        counts[colour][0] += 1
        counts[colour][1] += int(length[k])
        assert [column[k] for column in got] == action([words.conform, words.exceed, words.violate or "drop"][colour])
    assert all(each[0] for each in counts[: 2 if "ebs" not in twin else 3]), "a colour was never met"
    assert list(treatment.counters()["c1"].values()) == [tuple(each) for each in counts]


def action(words: str) -> list[int]:
    """[policed, dscp, group] of an action."""
    name, _, value = words.partition(" ")
    number = int(value or -1)
    return {
        "drop": [1, -1, -1], "transmit": [0, -1, -1], "set-dscp-transmit": [0, number, -1],
        "set-prec-transmit": [0, 8 * number, -1], "set-qos-transmit": [0, -1, number],
    }[name]  # fmt: skip


def test_policers_of_nested_policies_work_from_the_inside_out() -> None:
    """What the inner one drops, the outer one does not meter; per cents refer to the shaper around."""
    cfg = config(
        "policy-map child\n class c1\n  police cir percent 50\n class c2\n  set dscp 7\n"
        "policy-map p\n class class-default\n  shape average 160000\n  service-policy child\n  police 240000 100000\n"
    )
    treatment = Treatment(Classifier(cfg, "p"), MBIT)
    n = 3000
    treated = treatment.treat(np.arange(n) * 10_000_000, np.full(n, 1000), np.arange(n) % 3)
    counters = treatment.counters()
    inner, outer = counters["class-default/c1"], counters["class-default"]
    assert inner["conform"][0] + inner["exceed"][0] == 1000
    # 80,000 bit/s over the 29.98 s up to the last packet of c1, and a burst of 2500 bytes
    assert inner["conform"][0] == 2500 // 1000 + (29_970 * 80 - 0) // 8000 + (2500 % 1000 + 29_970 * 10 % 1000) // 1000
    assert outer["conform"][0] + outer["exceed"][0] == n - inner["exceed"][0]
    assert treated.policed.sum() == inner["exceed"][0] + outer["exceed"][0]
    assert set(treated.dscp[1::3][treated.policed[1::3] == 0]) == {7}


@pytest.mark.parametrize("line", ["set-dscp-transmit 64", "set-prec-transmit 8", "set-dscp-transmit"])
def test_actions_that_cannot_be(line: str) -> None:
    """The configuration refuses them; a policy made by hand is refused here."""
    assert not loads(f"policy-map p\n class c1\n  police 8000 conform-action {line}\n").ok
    cfg = config("policy-map p\n class c1\n  police 8000\n")
    cfg.policy_maps["p"].classes[0].police = Police(8000, conform=line)
    with pytest.raises(QosError, match=r"policy map 'p': class 'c1': set-.* takes a number from 0 to"):
        Treatment(Classifier(cfg, "p"), MBIT)


@pytest.mark.req("QOS-1")
def test_an_input_policy_marks_groups_and_polices() -> None:
    cfg = config("policy-map p\n class c1\n  set dscp 46\n  set qos-group 3\n class c2\n  police 8000 1014\n"
                 " class c3\n  set precedence 6\n")  # fmt: skip
    frames = [frame(1), frame(2), frame(2), frame(3), ip6("::1", "::2", udp(1, 2), tos=1 << 2), frame(4)]
    passed = InputPolicy(cfg, "p", MBIT).apply(Batch.from_frames(frames, ts=range(6)))
    assert passed.cls.tolist() == [0, 1, 1, 2, 0, 3]
    assert passed.treated.policed.tolist() == [0, 0, 1, 0, 0, 0]
    assert passed.treated.qos_group.tolist() == [3, -1, -1, -1, 3, -1]
    assert passed.batch.frames() == [
        frame(46), frame(2), frame(2), frame(48), ip6("::1", "::2", udp(1, 2), tos=46 << 2), frame(4),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ the whole way out
def naive_columns(policy: QueuePolicy, columns: Any, until: int) -> tuple[list[Any], list[Any]]:
    naive = NaiveScheduler(policy)
    naive.offer(*columns)
    naive.run(until)
    return naive.out, naive.drops


HIERARCHY = (
    "policy-map child\n class c1\n  priority level 1 percent 20\n class c2\n  priority level 2 200\n"
    " class c3\n  bandwidth remaining ratio 5\n  queue-limit 20\n class c4\n  bandwidth remaining ratio 2\n"
    "  shape average 1000000\n class c6\n  set dscp 5\n"
    "policy-map p\n class c7\n  bandwidth remaining ratio 3\n"
    " class c5\n  shape average 3000000\n  service-policy child\n"
    " class class-default\n  shape average 5000000\n  service-policy child\n"
)


@pytest.mark.req("QOS-1", "QOS-2")
@given(st.integers(0, 2**32), st.floats(0.3, 3))
@settings(max_examples=25, deadline=None)
def test_a_configured_hierarchy_agrees_with_the_twin(seed: int, load: float) -> None:
    policy = compile_queues(config(HIERARCHY), "p", 10 * MBIT)
    rng = np.random.default_rng(seed)
    length = rng.integers(40, 1501, 2000)
    ts = np.cumsum(rng.exponential(length.mean() * 800 / load, 2000)).astype(np.int64)
    columns = (ts, length, rng.integers(0, len(policy.classes), 2000))
    assert ran(Scheduler(policy), columns, [], [10**12]) == naive_columns(policy, columns, 10**12)


@pytest.mark.req("QOS-1", "QOS-2")
def test_an_output_port_classifies_polices_marks_and_queues() -> None:
    cfg = config(
        "policy-map p\n class c1\n  priority\n class c2\n  bandwidth remaining ratio 3\n  set dscp 10\n"
        " class c3\n  police 8000 1014\n"
    )
    port = OutputPort(cfg, "p", 8 * MBIT)  # a byte a microsecond
    batch = Batch.from_frames([frame(k) for k in (2, 0, 2, 0, 1, 3, 3, 2)], ts=range(8))
    out = port.offer(batch, row=np.arange(8) * 10)
    assert [f[1] >> 2 for f in out.frames()] == [10, 0, 10, 0, 1, 3, 3, 10]
    gone = port.run()
    assert gone.row[:2].tolist() == [0, 40], "priority goes first behind what is under way"
    assert gone.row.tolist() == [0, 40, 20, 10, 70, 30, 50], "three of c2 for one of class-default"
    assert gone.dropped.row.tolist() == [60] and gone.dropped.cause.tolist() == [int(Drop.POLICED)]
    counters = port.scheduler.counters()
    assert counters["c3"]["police_packets"] == 1 and counters["c3"]["out_packets"] == 1
    plain = OutputPort(cfg, None, 8 * MBIT)
    assert plain.offer(batch) is batch
    assert plain.run().row.tolist() == list(range(8))
