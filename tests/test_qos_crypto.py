"""The crypto engine's queues, and the queueing that the guide's examples of chapter 9 state."""

from pathlib import Path

import numpy as np
import pytest
from packets import ip6, udp

from qfp.batch import Batch
from qfp.config import Configuration, load
from qfp.qos import BEST_EFFORT, LLQ, Classifier, CryptoQueue, InputPolicy, OutputPort, compile_queues, headers_of
from qfp.qos.port import rate_of
from qfp_kernels.drops import Drop

FOLDER = Path(__file__).parent / "guide_configs"
GBIT = 10**9
EF, CS6 = 46, 48


def guide(name: str) -> Configuration:
    return load(FOLDER / f"ch09_{name}-fixed.cfg")


def packets(precedences: list[int], size: int = 1000) -> Batch:
    frames = [ip6("2001:db8:9::1", "2001:db8:a::1", udp(1, 2, bytes(size - 48)), tos=p << 5) for p in precedences]
    return Batch.from_frames(frames)


# ------------------------------------------------------------------------------------------ the engine
@pytest.mark.req("QOS-3")
def test_a_packet_takes_the_engine_for_the_longer_of_bits_and_packets() -> None:
    engine = CryptoQueue(8 * 10**9, 1_000_000)  # a byte a nanosecond, a packet a microsecond
    engine.offer([0, 0, 0], [100, 1000, 1500], [BEST_EFFORT] * 3)
    assert engine.run().end.tolist() == [1000, 2000, 3500]
    third = CryptoQueue(8 * 10**9, 3_000_000)
    third.offer(np.zeros(3_000_000, int), np.full(3_000_000, 64), np.zeros(3_000_000, int))
    third.scheduler._q.el["limit"] = 10**7
    assert third.run().end[:3].tolist() == [333, 666, 1000]


@pytest.mark.req("QOS-3")
def test_the_low_latency_queue_overtakes_before_encryption() -> None:
    engine = CryptoQueue(8_000_000)
    engine.offer([0, 1, 2, 3, 4], np.full(5, 1000), [BEST_EFFORT, BEST_EFFORT, LLQ, BEST_EFFORT, LLQ])
    gone = engine.run()
    assert gone.row.tolist() == [0, 2, 4, 1, 3]
    assert gone.start.tolist() == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_a_full_engine_queue_has_a_cause_of_its_own() -> None:
    engine = CryptoQueue(8_000_000, limit=2, llq_limit=2)
    engine.offer([0] * 8, np.full(8, 1000), [BEST_EFFORT] * 5 + [LLQ] * 3)
    gone = engine.run()
    assert gone.dropped.row.tolist() == [2, 3, 4, 7]
    assert set(gone.dropped.cause.tolist()) == {int(Drop.CRYPTO_TAIL_DROP)}
    assert gone.row.tolist() == [5, 6, 0, 1]
    assert engine.scheduler.counters()["best effort"]["tail_packets"] == 3


@pytest.mark.req("QOS-3")
def test_what_enters_the_low_latency_queue() -> None:
    """Priority classes of the egress policy; the router's own control packets, but nobody else's; QoS groups."""
    cfg = guide("crypto_llq")
    egress = compile_queues(cfg, "p1", GBIT)
    engine = CryptoQueue(GBIT, llq_groups=[1, 49], egress=egress)
    cls, tos = np.array([0, 1, 2, 2, 2, 2]), np.array([0, 0, CS6 << 2, CS6 << 2, 56 << 2, EF << 2])
    own = np.array([0, 0, 1, 0, 1, 1])
    assert engine.queue_of(cls, own=own, tos=tos).tolist() == [LLQ, BEST_EFFORT, LLQ, BEST_EFFORT, LLQ, BEST_EFFORT]
    groups = np.array([0, 1, 2, 49, 50, 48], np.uint8)
    assert engine.queue_of(None, groups).tolist() == [1, LLQ, 1, LLQ, 1, 1]
    with pytest.raises(ValueError, match="give classes, QoS groups or TOS octets"):
        engine.queue_of(None)


# ------------------------------------------------------------------------------------------ the guide's examples
@pytest.mark.req("QOS-3")
def test_example_crypto_llq() -> None:
    """`priority percent 10` for precedence 0 to 3, `bandwidth remaining percent 3` for 5 to 7; an IPv6 crypto map."""
    cfg = guide("crypto_llq")
    interface = cfg.interfaces["GigabitEthernet0/0/1"]
    assert interface.service_policy_out == "p1" and rate_of(interface) == GBIT
    policy = compile_queues(cfg, "p1", rate_of(interface))
    voice, data, rest = policy.elements[1:]
    assert (voice.name, voice.level, voice.cir) == ("c1", 1, GBIT // 10)
    assert (data.name, data.share, rest.share) == ("c2", 3, 97)
    batch = packets([5, 4, 0, 3, 6, 1])
    cls = Classifier(cfg, "p1").classify(headers_of(batch))
    assert [policy.classes[k] for k in cls] == ["c2", "class-default", "c1", "c1", "c2", "c1"]
    engine = CryptoQueue(8_000_000, egress=policy)
    engine.offer(batch.ts, batch.wire, engine.queue_of(cls))
    assert engine.run().row.tolist() == [2, 3, 5, 0, 1, 4], "precedence 0 to 3 is encrypted first"
    port = OutputPort(cfg, "p1", 8_000_000)
    many = packets([5] * 1000 + [4] * 1000)
    port.scheduler._q.el["limit"] = 10_000
    port.offer(many)
    gone = port.run(100 * 10**6)  # a hundred packets
    assert abs((gone.cls == 1).sum() - 3) <= 1, "3 % of what priority leaves"


@pytest.mark.req("QOS-5")
def test_example_qos_groups() -> None:
    """Groups 1 and 49 are of low latency: precedence 5 coming in on 0/2/7, and all that comes in on 0/2/0."""
    cfg = guide("llq_groups")
    groups = {}
    for name in ("GigabitEthernet0/2/7", "GigabitEthernet0/2/0"):
        attached = cfg.interfaces[name].service_policy_in
        assert attached is not None
        passed = InputPolicy(cfg, attached, GBIT).apply(packets([5, 2, 4, 3, 0]))
        groups[name] = np.maximum(passed.treated.qos_group, 0)
    assert groups["GigabitEthernet0/2/7"].tolist() == [49, 0, 20, 77, 0]
    assert groups["GigabitEthernet0/2/0"].tolist() == [1] * 5
    assert cfg.platform.llq_qos_groups == [1, 49]
    engine = CryptoQueue(8_000_000, llq_groups=cfg.platform.llq_qos_groups)
    queue = engine.queue_of(None, groups["GigabitEthernet0/2/7"])
    assert queue.tolist() == [LLQ] + [BEST_EFFORT] * 4
    assert engine.queue_of(None, groups["GigabitEthernet0/2/0"]).tolist() == [LLQ] * 5
    engine.offer(np.zeros(5, int), np.full(5, 1000), queue[::-1])
    assert engine.run().row.tolist() == [4, 0, 1, 2, 3]


@pytest.mark.parametrize("name", ["preclassify_map", "preclassify_tunnel"])
def test_examples_of_pre_classify(name: str) -> None:
    """`priority percent 20` for EF. With header rows from before encryption the inner DSCP decides, though the outer
    header, which the far end sees, does not carry it."""
    cfg = guide(name)
    interface = next(each for each in cfg.interfaces.values() if each.service_policy_out)
    rate = rate_of(interface)
    policy = compile_queues(cfg, "policy1", rate)
    assert (policy.elements[1].level, policy.elements[1].cir) == (1, rate // 5)
    inner = packets([0, 0, 0])
    inner = Batch.from_frames([inner.frame(0), ip6("::1", "::2", udp(1, 2), tos=EF << 2), inner.frame(2)])
    outer = Batch.from_frames([ip6("2001:db8:ffff::2", "2001:db8:ffff::1", bytes(1000), 50)] * 3)
    for headers, order in ((headers_of(inner), [1, 0, 2]), (None, [0, 1, 2])):
        port = OutputPort(cfg, "policy1", 8_000_000)
        port.offer(outer, headers)
        assert port.run().row.tolist() == order
