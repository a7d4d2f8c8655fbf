"""The queues of an interface: against the slow twin packet for packet, and against what arithmetic says."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_qos import NaiveScheduler
from qos_help import collect, ran, random_arrivals, random_policy

from qfp.qos.policy import Element, QueuePolicy, flat, nanobits, weigh
from qfp.qos.scheduler import Scheduler
from qfp_kernels import queues as tables
from qfp_kernels.drops import Drop

MBIT = 1_000_000
END = 10**15


def both(policy: QueuePolicy, columns: Any, until: int = END, **more: int) -> tuple[list[Any], list[Any], Scheduler]:
    """What the kernel and the twin make of the same arrivals, which must agree."""
    queues, naive = Scheduler(policy, **more), NaiveScheduler(policy, **more)
    naive.offer(*columns)
    naive.run(until)
    out, drops = ran(queues, columns, [], [until])
    assert out == naive.out
    assert drops == naive.drops
    assert queues.queued == naive.waiting() + len(naive.arrivals)
    return out, drops, queues


# ------------------------------------------------------------------------------------------ the slow twin
@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from([64_000, MBIT, 999_999_937, 10**11]))
@settings(max_examples=150, deadline=None)
def test_random_policies_agree_with_the_twin(seed: int, depth: int, rate: int) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, rate, depth)
    columns = random_arrivals(rng, 300, rate, len(policy.classes), float(rng.choice([0.5, 0.95, 1.5, 4])))
    horizon = int(columns[0][-1] * rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else END
    both(policy, columns, horizon, overhead=int(rng.integers(0, 40)), least=int(rng.choice([0, 4_000_123_456_789])))


@pytest.mark.req("QOS-2")
@pytest.mark.parametrize("seed", range(4))
def test_100_000_packets_agree_with_the_twin(seed: int) -> None:
    """Two levels and six weights with limits; then with shapers and nested queues."""
    rng = np.random.default_rng(seed)
    shares = [(1, 1), (2, 1), (0, 5), (0, 10), (0, 15), (0, 20), (0, 25), (0, 25)]
    policy = flat(100 * MBIT, shares, 64) if seed < 2 else random_policy(rng, 100 * MBIT, 3)
    load = (0.98, 1.3)[seed % 2]
    columns = random_arrivals(rng, 100_000, policy.rate, len(policy.classes), load)
    out, drops, _ = both(policy, columns)
    assert len(out) + len(drops) == 100_000 and drops


@given(st.integers(0, 2**32), st.lists(st.integers(0, 400), max_size=8), st.lists(st.integers(0, 120), max_size=8))
@settings(max_examples=80, deadline=None)
def test_cutting_into_calls_changes_nothing(seed: int, cuts: list[int], per_cent: list[int]) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, MBIT, 2)
    columns = random_arrivals(rng, 400, MBIT, len(policy.classes), 1.5)
    last = int(columns[0][-1])
    horizons = [last * each // 100 for each in per_cent] + [int(columns[0][k]) for k in cuts[:3] if k < 400]
    whole = ran(Scheduler(policy), columns, [], [END])
    assert ran(Scheduler(policy), columns, cuts, [*horizons, END]) == whole


def test_parts_of_a_large_offer_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a cut falls between packets of the same ns."""
    columns = (np.repeat(np.arange(100) * 1000, 10), np.full(1000, 125), np.arange(1000) % 3)
    policy = flat(1000 * MBIT, [(1, 1), (0, 3), (0, 1)], 4)
    whole = ran(Scheduler(policy), columns, [], [END])
    monkeypatch.setattr("qfp.qos.scheduler.PART", 7)
    assert ran(Scheduler(policy), columns, [], [END]) == whole
    assert whole[1], "nothing was dropped: the test is too easy"


# ------------------------------------------------------------------------------------------ time
def test_times_are_exact_over_a_million_packets() -> None:
    """A packet of 1500 bytes takes 4000.000004 ns at 2999999997 bit/s: a million of them take exactly their sum."""
    rate, n = 2_999_999_997, 1_000_000
    queues = Scheduler(flat(rate, [(0, 1)]))
    queues.offer(np.zeros(n, np.int64), np.full(n, 1500), np.zeros(n, np.uint8))
    gone = queues.run()
    exact = [k * 12_000 * 10**9 // rate for k in range(1, n + 1)]
    assert gone.end.tolist() == exact
    assert (gone.start[1:] == gone.end[:-1]).all() and gone.start[0] == 0


def test_an_idle_link_starts_at_the_arrival_and_a_busy_one_does_not_wait() -> None:
    queues = Scheduler(flat(8 * MBIT, [(0, 1)]))  # a byte a microsecond
    queues.offer([0, 500, 500_000], [1000, 1000, 100], [0, 0, 0])
    gone = queues.run()
    assert gone.start.tolist() == [0, 1_000_000, 2_000_000]
    assert gone.end.tolist() == [1_000_000, 2_000_000, 2_100_000]
    queues.offer([9_000_000], [100], [0])
    assert queues.run().start.tolist() == [9_000_000]


def test_what_waits_at_the_horizon_stays_and_a_started_packet_is_told() -> None:
    queues = Scheduler(flat(8 * MBIT, [(0, 1)]))
    queues.offer([0, 0, 5_000_000], [1000, 1000, 1000], [0, 0, 0])
    gone = queues.run(1_000_000)
    assert gone.end.tolist() == [1_000_000] and queues.queued == 2
    gone = queues.run(1_000_001)
    assert gone.start.tolist() == [1_000_000] and gone.end.tolist() == [2_000_000] and queues.busy_until == 2_000_000
    assert queues.queued == 1
    assert queues.run(5_000_000).row.size == 0
    assert queues.run(5_000_001).row.tolist() == [2]


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_nothing_starts_before_next_start(seed: int) -> None:
    """And running just beyond it, again and again, comes to the same end."""
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, MBIT, 2)
    columns = random_arrivals(rng, 120, MBIT, len(policy.classes), 1.5)
    out: list[Any] = []
    drops: list[Any] = []
    queues = Scheduler(policy)
    queues.offer(*columns)
    while queues.next_start < tables.NEVER:
        at = queues.next_start
        collect(queues.run(at), out, drops)
        assert not out or out[-1][2] < at
        before = len(out)
        collect(queues.run(at + 1), out, drops)
        assert all(each[2] == at for each in out[before:])
    assert queues.queued == 0
    assert (out, drops) == ran(Scheduler(policy), columns, [], [END])


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_what_waits_without_shapers_starts_at_next_start(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = random_arrivals(rng, 120, MBIT, 2, 1.5)
    queues = Scheduler(flat(MBIT, [(1, 1), (0, 1)]))
    queues.offer(*columns)
    while queues.queued:
        at = queues.next_start
        assert len(queues.run(at)) == 0
        assert len(queues.run(at + 1)) == 1


# ------------------------------------------------------------------------------------------ priority
@pytest.mark.req("QOS-2")
def test_priority_is_strict_and_never_interrupts() -> None:
    """Level 1 before level 2 before all else, in order of arrival among classes of one level."""
    queues = Scheduler(flat(8 * MBIT, [(0, 1), (2, 1), (1, 1), (1, 1)]))
    ts = np.array([0, 10, 20, 30, 40, 50])
    queues.offer(ts, np.full(6, 1000), [0, 0, 1, 3, 2, 3])
    gone = queues.run()
    assert gone.row.tolist() == [0, 3, 4, 5, 2, 1]
    assert gone.start[1] == 1_000_000, "the packet under way was interrupted"


@pytest.mark.req("QOS-2")
def test_a_packet_behind_priority_traffic_is_displaced_by_rate_times_wait() -> None:
    """R packets/s of priority for a time T push a packet back by R * T places."""
    rate, every, total = 100 * MBIT, 100_000, 5000  # 10,000 packets/s of 1000 bytes: 80 % of the link
    ts = np.arange(total) * every
    queues = Scheduler(flat(rate, [(1, 1), (0, 1)]))
    arrivals = np.concatenate([ts, [0] * 400])
    order = np.argsort(arrivals, kind="stable")
    cls = np.concatenate([np.zeros(total, int), np.ones(400, int)])[order]
    queues.offer(arrivals[order], np.full(total + 400, 1000), cls)
    gone = queues.run()
    for k in np.flatnonzero(gone.cls == 1)[::40]:
        waited = gone.start[k] - gone.arrival[k]
        overtook = np.count_nonzero((gone.cls[:k] == 0) & (gone.arrival[:k] > gone.arrival[k]))
        assert abs(overtook - waited / every) <= 1, (overtook, waited)


def test_a_priority_class_is_held_to_its_rate_only_while_packets_wait() -> None:
    link = 10 * MBIT
    queue = Element("voice", 0, link, 1, cir=MBIT, cbs=nanobits(16_000))
    rest = Element("rest", 0, link)
    policy = QueuePolicy(link, [Element("link", -1, link, children=[1, 2]), queue, rest], ["voice", "rest"], [1, 2])
    ts = np.arange(2000) * 400_000  # 500 bytes each: exactly the link's rate, ten times the class's
    alone = Scheduler(policy)
    alone.offer(ts, np.full(2000, 500), np.zeros(2000, int))
    assert len(alone.run().dropped) == 0
    crowded = Scheduler(policy)
    columns = (np.concatenate([[0] * 2000, ts]), np.full(4000, 500), np.repeat([1, 0], 2000))
    crowded.offer(*columns)
    gone = crowded.run(int(ts[-1]) + 1)
    assert set(gone.dropped.cause.tolist()) == {int(Drop.POLICED)} and set(gone.dropped.cls.tolist()) == {0}
    voice = int((gone.cls == 0).sum())
    assert voice == (16_000 + int(ts[-1]) // 1000) // 4000, "bursts and rate let through another number"


# ------------------------------------------------------------------------------------------ shares
SHARES = [
    ([1, 1, 1, 1], [1000] * 4),
    ([90, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1500] * 11),
    ([50, 25, 13, 7, 5], [64, 1500, 576, 9000, 40]),
    ([1000, 1, 37, 211], [1500, 1500, 200, 1000]),
]


@pytest.mark.req("QOS-2")
@pytest.mark.parametrize(("shares", "lengths"), SHARES)
@pytest.mark.parametrize("busy", [None, 2])
def test_shares_are_within_a_packet_of_the_ideal(shares: list[int], lengths: list[int], busy: int | None) -> None:
    """At every moment of a long backlog, whether all classes wait or the first two alone."""
    served, lengths = len(shares) if busy is None else busy, lengths[:busy]
    policy = flat(1000 * MBIT, [(0, each) for each in shares])
    n = 60_000
    queues = Scheduler(policy)
    cls = np.repeat(np.arange(served), n)
    queues.offer(np.zeros(served * n, np.int64), np.array(lengths)[cls], cls)
    gone = queues.run(40_000_000)
    assert queues.queued > 0 and len(gone) > 2500
    total = np.cumsum(gone.length)
    for k in range(served):
        mine = np.cumsum(np.where(gone.cls == k, gone.length, 0))
        assert mine[-1] < n * lengths[k], "a class ran dry: no long backlog"
        off = mine - total * shares[k] / sum(shares[:served])
        assert off.max() <= lengths[k], f"class {k} ran ahead by {off.max()} bytes"
        assert off.min() >= -max(lengths), f"class {k} fell behind by {-off.min()} bytes"


def test_a_class_that_comes_back_is_owed_nothing() -> None:
    """Nor is one that was served alone punished for it."""
    queues = Scheduler(flat(8 * MBIT, [(0, 1), (0, 1)]))
    queues.offer(np.zeros(3000, np.int64), np.full(3000, 100), np.zeros(3000, int))
    queues.run(100_000_000)  # class 0 alone: 1000 packets
    queues.offer(np.full(1000, 100_000_000), np.full(1000, 100), np.ones(1000, int))
    gone = queues.run(200_000_000)
    assert abs(int((gone.cls == 0).sum()) - int((gone.cls == 1).sum())) <= 1


def test_the_clock_of_shares_is_set_back_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights whose common multiple is too large, and packets enough for the clock to pass REBASE many times."""
    policy = flat(1000 * MBIT, [(0, 997), (0, 991), (0, 983), (0, 1)])
    assert policy.elements[4].cost == tables.COST_MAX
    n = 2000
    columns = (np.zeros(4 * n, np.int64), np.full(4 * n, 9000), np.arange(4 * n) % 4)
    assert n * 9000 * tables.COST_MAX > 20 * tables.REBASE
    both(policy, columns)


def test_work_is_conserved_and_a_class_never_reorders() -> None:
    rng = np.random.default_rng(5)
    for seed in range(10):
        policy = random_policy(np.random.default_rng(seed), 10 * MBIT, 1)
        for each in policy.elements:
            each.rate = 0
        ts, length, cls = random_arrivals(rng, 3000, 10 * MBIT, len(policy.classes), 1.2)
        queues = Scheduler(policy)
        queues.offer(ts, length, cls)
        gone = queues.run()
        for k in range(len(policy.classes)):
            assert (np.diff(gone.row[gone.cls == k]) > 0).all()
        for k in np.flatnonzero(gone.start[1:] > gone.end[:-1]) + 1:
            assert gone.start[k] == gone.arrival[k], "the link was idle while a packet waited"


# ------------------------------------------------------------------------------------------ limits and counters
@pytest.mark.req("QOS-2")
def test_a_full_queue_drops_what_comes_last() -> None:
    policy = flat(8 * MBIT, [(0, 1), (0, 1)], 3)
    policy.elements[2].limit, policy.elements[2].limit_bytes = tables.NEVER, 2500
    queues = Scheduler(policy)
    ts = np.arange(12)
    queues.offer(ts, np.full(12, 1000), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    gone = queues.run()
    assert gone.dropped.row.tolist() == [4, 5, 8, 9, 10, 11], "one is under way, three and two wait"
    assert gone.dropped.ts.tolist() == gone.dropped.row.tolist()
    counters = queues.counters()
    assert counters["queue 0"] == {
        "in_packets": 6, "in_bytes": 6000, "tail_packets": 2, "tail_bytes": 2000, "police_packets": 0,
        "police_bytes": 0, "queued_packets": 0, "out_packets": 4, "queued_bytes": 0, "out_bytes": 4000,
        "queue_depth": 0, "queue_max": 3,
    }  # fmt: skip
    assert counters["queue 1"]["out_packets"] == 2 and counters["queue 1"]["queue_max"] == 2


@given(st.integers(0, 2**32), st.floats(0.1, 1.2))
@settings(max_examples=50, deadline=None)
def test_in_is_departed_plus_dropped_plus_queued(seed: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, MBIT, 2)
    ts, length, cls = random_arrivals(rng, 500, MBIT, len(policy.classes), 2)
    policed = rng.random(500) < 0.1
    queues = Scheduler(policy)
    queues.offer(ts, length, cls, policed=policed)
    horizon = int(ts[-1] * part)
    gone = queues.run(horizon)
    come = int(np.searchsorted(ts, horizon))
    assert len(gone) + len(gone.dropped) + queues.queued == 500
    for k, counts in enumerate(queues.counters().values()):
        mine = cls[:come] == k
        assert counts["in_packets"] == mine.sum() and counts["in_bytes"] == length[:come][mine].sum()
        left = gone.cls == k
        assert counts["out_packets"] == left.sum() and counts["out_bytes"] == gone.length[left].sum()
        lost = gone.dropped.cls == k
        assert counts["tail_packets"] + counts["police_packets"] == lost.sum()
        assert counts["police_packets"] >= (policed[:come] & mine).sum()
        assert counts["queued_packets"] == mine.sum() - lost.sum() - left.sum()


def test_offers_that_cannot_be() -> None:
    queues = Scheduler(flat(MBIT, [(0, 1)]))
    for columns, words in (
        (([5, 4], [10, 10], [0, 0]), "in order of time"),
        (([5], [10], [1]), "1 classes"),
        (([5], [0], [0]), "1 to"),
        (([5], [1 << 17], [0]), "1 to"),
        (([5, 6], [10], [0]), "differ in length"),
        (([-1], [10], [0]), "in order of time"),
    ):
        with pytest.raises(ValueError, match=words):
            queues.offer(*columns)
    queues.run(100)
    with pytest.raises(ValueError, match="in order of time"):
        queues.offer([99], [10], [0])
    queues.offer([100], [10], [0])


# ------------------------------------------------------------------------------------------ shapers
def shaped(rate: int, burst: int, link: int, shares: list[int]) -> QueuePolicy:
    """A shaper over some queues on a faster link."""
    link_, parent = Element("link", -1, link, children=[1]), Element("shape", 0, rate, rate=rate, burst=nanobits(burst))
    queues = [Element(f"q{k}", 1, rate, share=Fraction(each)) for k, each in enumerate(shares)]
    weigh(queues)
    parent.children = list(range(2, 2 + len(queues)))
    return QueuePolicy(link, [link_, parent, *queues], [each.name for each in queues], parent.children)


@pytest.mark.parametrize("burst", [12_000, 100_000])
def test_a_shaper_never_exceeds_rate_times_t_plus_burst(burst: int) -> None:
    """In any interval that begins with a start: not over the whole run alone."""
    rate, n = 7_654_321, 4000
    rng = np.random.default_rng(1)
    length = rng.integers(64, 1501, n)
    ts = np.sort(rng.integers(0, 5 * 10**9, n))
    queues = Scheduler(shaped(rate, burst, 1000 * MBIT, [1]))
    queues.offer(ts, length, np.zeros(n, int))
    gone = queues.run()
    sent = np.concatenate([[0], np.cumsum(gone.length * 8)])
    # bits(i..j) - rate * (t_j - t_i) <= burst for all i <= j: the running minimum makes that one pass
    before = sent[:-1] - rate * gone.start / 1e9
    after = sent[1:] - rate * gone.start / 1e9
    assert (after - np.minimum.accumulate(before)).max() <= burst + 1e-3
    backlog = Scheduler(shaped(rate, burst, 1000 * MBIT, [1]))
    backlog.offer(np.zeros(n, int), np.full(n, 1000), np.zeros(n, int))
    gone = backlog.run()
    last = -(-(n * 8000 - burst) * 10**9 // rate)  # the last packet waits for exactly its tokens
    assert gone.start[-1] == last, "slower than its rate"


def test_a_shaper_over_queues() -> None:
    """Priority and shares below a shaper are as on a link of its rate, but that the link sends each packet faster."""
    link, rate = 1000 * MBIT, 8 * MBIT
    policy = shaped(rate, 8000, link, [1, 3, 1])
    policy.elements[2].level = 1
    n = 3000
    ts = np.concatenate([np.zeros(2 * n, int), np.arange(100) * 10_000_000])
    cls = np.concatenate([np.ones(n, int), np.full(n, 2), np.zeros(100, int)])
    order = np.argsort(ts, kind="stable")
    out, _, _ = both(policy, (ts[order], np.full(2 * n + 100, 1000), cls[order]), 10**9)
    starts = [each[2] for each in out]
    assert min(b - a for a, b in pairwise(starts[2:])) == 1_000_000
    voice = [each[2] - each[1] for each in out if each[5] == 0]
    assert max(voice) <= 1_000_000, "priority waited longer than one packet of the shaper's rate"
    counts = [sum(each[5] == k for each in out) for k in (1, 2)]
    assert abs(counts[0] - 3 * counts[1]) <= 4


@pytest.mark.parametrize("shares", [[1, 1], [3, 1]])
def test_two_shaped_groups_share_what_is_left(shares: list[int]) -> None:
    link = 10 * MBIT
    elements = [Element("link", -1, link, children=[1, 2])]
    for k, share in enumerate(shares):
        elements.append(Element(f"g{k}", 0, link, share=Fraction(share), rate=9 * MBIT, burst=nanobits(24_000)))
    for k in (0, 1):
        elements[1 + k].children = [len(elements), len(elements) + 1]
        leaves = [Element(f"g{k}q{j}", 1 + k, link) for j in (0, 1)]
        weigh(leaves)
        elements += leaves
    weigh(elements[1:3])
    policy = QueuePolicy(link, elements, list("abcd"), [3, 4, 5, 6])
    n = 1000
    columns = (np.zeros(4 * n, int), np.full(4 * n, 1000), np.repeat(np.arange(4), n))
    out, _, _ = both(policy, columns, 800_000_000)
    got = [sum(each[5] == k for each in out) for k in range(4)]
    groups = [got[0] + got[1], got[2] + got[3]]
    assert abs(groups[0] - groups[1] * shares[0] / shares[1]) <= 1 + shares[0] / shares[1]
    assert abs(got[0] - got[1]) <= 1 and abs(got[2] - got[3]) <= 1


def test_the_table_of_waiting_packets_grows() -> None:
    queues = Scheduler(flat(MBIT, [(0, 1)]))
    out: list[Any] = []
    for k in range(5):
        queues.offer(np.full(20_000, k), np.full(20_000, 100), np.zeros(20_000, int))
        collect(queues.run(k + 1), out, [])
    assert queues.queued == 99_999
    collect(queues.run(), out, [])
    assert [each[0] for each in out] == list(range(100_000))
