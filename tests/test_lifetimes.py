"""Lifetimes of SAs (BASE-7, IDLE-1 to IDLE-4): limits by time, volume, numbers and idleness, to the packet, at any
vector size; two ends that follow each other without IKE; and the twin of naive_lifetimes.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_lifetimes import End, S
from packets import ip4, udp
from test_dependency_table import LAN, Case

from qfp.batch import Batch
from qfp.cli.facts import run_facts
from qfp.config import loads
from qfp.control.export import exported
from qfp.control.limits import Limits
from qfp.control.timers import Wheel
from qfp.decrypt import Decryptor
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router
from qfp.trace import write_trace
from qfp_kernels.layout import CTL_DUE, NEVER

MAP4 = Case("enabled", "copy", 0, "", "map", 4, 4)
VTI4 = Case("disabled", "copy", 0, "", "vti", 4, 4)
GRE4 = Case("enabled", "copy", 0, "", "gre", 4, 4)
INSIDE, OUTSIDE = "gi0/0/1", "gi0/0/0"
ALL = 1024  # packets of the largest vector


def text(me: int, case: Case = MAP4, extra: str = "", entry: str = "", transform: str = "esp-gcm") -> str:
    """Configuration of router 1 or 2; `entry`: lines of its crypto map entry."""
    found = case.config(me).replace("transform-set T esp-gcm", f"transform-set T {transform}")
    return extra + found.replace(" match address 101\n", f" match address 101\n{entry}", 1)


def router(me: int = 1, case: Case = MAP4, kilobytes: int | None = None, **options: Any) -> Router:
    """`kilobytes`: a lifetime shorter than the configuration language allows."""
    words = {name: options.pop(name) for name in ("extra", "entry", "transform") if name in options}
    config = loads(text(me, case, **words))
    if kilobytes is not None:
        config.ipsec.lifetime_kilobytes = kilobytes
    return Router(config, **options)


def packet(k: int = 0, size: int = 100) -> bytes:
    return ip4(*LAN[4], udp(1, 2, k.to_bytes(4) + bytes(size - 32)))


def back(k: int = 0, size: int = 100) -> bytes:
    return ip4(*LAN[4][::-1], udp(1, 2, k.to_bytes(4) + bytes(size - 32)))


def send(r: Router, ts: Sequence[float], size: int = 100, ingress: str = INSIDE) -> Result:
    """A packet at each of these seconds."""
    frames = [packet(k, size) if ingress == INSIDE else back(k, size) for k in range(len(ts))]
    return r.forward(Batch.from_frames(frames, ts=[round(s * S) for s in ts]), ingress)


def words(result: Result) -> list[str]:
    v = result.verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


def spis(r: Router, generations: int = 12, outbound: bool = True) -> dict[int, int]:
    """Generation by SPI, as both ends derive it."""
    want = r.sadb.pairs[0].want
    return {r.sadb.derive(want, g, outbound)[0].spi: g for g in range(generations)}


def generations(r: Router, result: Result) -> list[int]:
    known = spis(r)
    return [known[int.from_bytes(p[20:24])] for p in result.packets.frames()]


def events(r: Router) -> list[tuple[int, str, str]]:
    return [(e.ts, e.what, e.why) for e in r.lifetimes.events]


# ---------------------------------------------------------------------------------------------------- the rule
@pytest.mark.req("BASE-7")
def test_the_guides_numbers() -> None:
    """Chapter 2, `show platform software ipsec fp active flow`: 3401, 3568 s, 3,962,880 and 4,608,000 kB."""
    limits = router().lifetimes.limits[0]
    assert (limits.soft_seconds, limits.hard_seconds) == (3401, 3568)
    assert (limits.soft_kilobytes, limits.kilobytes) == (3962880, 4608000)
    assert limits.idle is None
    life = router().tables.t.life[0]
    assert (int(life["soft"]), int(life["hard"])) == (3962880 * 1024, 4608000 * 1024)


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize(
    ("extra", "entry", "expected"),
    [
        ("crypto ipsec security-association lifetime seconds 86400\n", "", (86201, 86368, 3962880)),
        ("crypto ipsec security-association lifetime seconds 120\n", "", (84, 88, 3962880)),
        ("crypto ipsec security-association lifetime kilobytes 2560\n", "", (3401, 3568, 2201)),
        ("crypto ipsec security-association lifetime kilobytes disable\n", "", (3401, 3568, None)),
        ("crypto ipsec security-association lifetime seconds 7200\n",
         " set security-association lifetime seconds 600\n set security-association lifetime kilobytes 10000\n",
         (542, 568, 8600)),
        ("", " set security-association lifetime kilobytes disable\n", (3401, 3568, None)),
    ],
)  # fmt: skip
def test_where_limits_come_from(extra: str, entry: str, expected: tuple[Any, ...]) -> None:
    limits = router(extra=extra, entry=entry).lifetimes.limits[0]
    assert (limits.soft_seconds, limits.hard_seconds, limits.soft_kilobytes) == expected


@pytest.mark.req("BASE-7")
def test_a_profile_has_its_own_limits() -> None:
    config = VTI4.config(1).replace(" set transform-set T\n", " set transform-set T\n set security-association "
                                    "lifetime seconds 1000\n", 1)  # fmt: skip
    assert Router.loads(config).lifetimes.limits[0] == Limits(1000, 4608000, None)


# ---------------------------------------------------------------------------------------------------- by time
@pytest.mark.req("BASE-7")
@pytest.mark.parametrize("batch", [1, 7, 256, ALL])
def test_soft_limit_by_time(batch: int) -> None:
    """Lifetimes count from the first packet; the first one not before 3401 s later goes by a new SA."""
    r = router(batch=batch)
    result = send(r, [100, 101, 3500.999999999, 3501, 3502, 6901.999999999, 6902])
    assert generations(r, result) == [0, 0, 0, 1, 1, 1, 2]
    assert result.verdicts["seq"].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert events(r) == [(3501 * S, "rekeyed", "time"), (3531 * S, "deleted", ""), (6902 * S, "rekeyed", "time")]


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize("batch", [1, 7, ALL])
def test_hard_limit_by_time(batch: int) -> None:
    """Without a peer that rekeys: 3568 s after the first packet nothing is sent or accepted."""
    r = router(batch=batch, rekey=False)
    result = send(r, [10, 3411, 3577.999999999, 3578, 9999])
    assert words(result) == ["forwarded"] * 3 + ["SA_EXPIRED"] * 2
    assert events(r) == [(3578 * S, "expired", "time")]
    far = router(2, batch=batch, rekey=False)
    wire = Batch.from_frames(result.packets.frames(), ts=[10 * S, 3577 * S, 3578 * S])
    assert words(far.forward(wire, OUTSIDE)) == ["forwarded", "forwarded", "SA_EXPIRED"]


@pytest.mark.req("BASE-7", "AR-9")
@pytest.mark.parametrize("batch", [1, 7, ALL])
def test_old_inbound_sa_stays_a_while(batch: int) -> None:
    """Late packets with the old SPI are taken for 30 s after the first one with the new; then the SPI is invalid."""
    near = router(1)
    sent = send(near, [0, 1, 2, 3, 4, 3401, 3402]).packets.frames()
    far = router(2, batch=batch)
    order = [0, 5, 1, 6, 2, 3, 4]
    times = [0, 3300, 3301, 3302, 3329.999999999, 3330, 3331]
    got = far.forward(Batch.from_frames([sent[k] for k in order], ts=[round(s * S) for s in times]), OUTSIDE)
    assert words(got) == ["forwarded"] * 5 + ["NO_SA"] * 2
    assert events(far) == [(3300 * S, "rekeyed", "peer"), (3330 * S, "deleted", "")]


@pytest.mark.req("BASE-7")
def test_an_unused_sa_does_not_age() -> None:
    r = router()
    r.advance(50_000 * S)
    assert events(r) == [] and r.tables.t.ctl[CTL_DUE] == NEVER
    assert generations(r, send(r, [60_000])) == [0]


@pytest.mark.req("BASE-7")
def test_time_passes_without_packets() -> None:
    r = router()
    send(r, [0])
    r.advance(3401 * S - 1)
    assert events(r) == []
    r.advance(10_000 * S)
    assert events(r) == [(3401 * S, "rekeyed", "time"), (3568 * S, "deleted", "")]  # the old one, at its hard limit
    assert generations(r, send(r, [10_001])) == [1]


# --------------------------------------------------------------------------------------------------- by volume
def crossing(sizes: Sequence[int], limit: int) -> int:
    """The first packet that comes when at least `limit` bytes have been sent."""
    return int(np.searchsorted(np.cumsum(sizes), limit)) + 1


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 1), (256, 1), (ALL, 1), (ALL, 2), (7, 2)])
def test_soft_limit_by_volume(batch: int, threads: int) -> None:
    """2560 kB: 86 % are 2,254,438 (2201 kB) bytes of plaintext. The packet after them opens the next SA, whatever the
    vector size; several generations in one run."""
    r = router(extra="crypto ipsec security-association lifetime kilobytes 2560\n", batch=batch, threads=threads)
    rng = np.random.default_rng(7)
    sizes = rng.integers(60, 1400, 12_000)
    frames = Batch.from_frames([packet(k, int(n)) for k, n in enumerate(sizes)])
    result = r.forward(frames, INSIDE)
    expected, at = [], 0
    for g in range(9):
        end = min(at + crossing(sizes[at:], 2201 * 1024), len(sizes))
        expected += [g] * (end - at)
        at = end
    assert generations(r, result) == expected and max(expected) >= 3
    assert set(words(result)) == {"forwarded"}
    rekeyed = [e for e in r.lifetimes.events if e.what == "rekeyed"]
    assert len(rekeyed) == max(expected) and {e.why for e in rekeyed} == {"volume"}


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 1), (256, 1), (ALL, 1), (256, 2)])
def test_hard_limit_by_volume(batch: int, threads: int) -> None:
    """Without rekeying: the packet that brings the count to 2560 kB is the last one. Both ends count alike, so that
    everything that was sent is taken: small packets, too, which protection makes half as large again."""
    extra = "crypto ipsec security-association lifetime kilobytes 2560\n"
    near = router(extra=extra, rekey=False, batch=batch, threads=threads)
    sizes = np.random.default_rng(8).integers(60, 1400, 4500)
    result = near.forward(Batch.from_frames([packet(k, int(n)) for k, n in enumerate(sizes)]), INSIDE)
    last = crossing(sizes, 2560 * 1024)
    assert last < len(sizes)
    assert words(result) == ["forwarded"] * last + ["SA_EXPIRED"] * (len(sizes) - last)
    assert [e.what for e in near.lifetimes.events] == ["soft"]
    wire = result.packets.frames()
    far = router(2, extra=extra, rekey=False, batch=batch, threads=threads)
    got = far.forward(Batch.from_frames(wire), OUTSIDE)
    assert words(got) == ["forwarded"] * last
    assert int(near.tables.t.sa_out["bytes"][0]) == int(far.tables.t.sa_in["bytes"][far.sadb.pairs[0].inbound[0]])
    assert words(far.forward(Batch.from_frames(wire[:1]), OUTSIDE)) == ["SA_EXPIRED"]


@pytest.mark.req("BASE-7")
def test_volume_can_be_switched_off() -> None:
    r = router(extra="crypto ipsec security-association lifetime kilobytes disable\n")
    r.tables.t.sa_out["bytes"][0] = 10**13
    assert generations(r, send(r, [0, 1])) == [0, 0]


# -------------------------------------------------------------------------------------------------- by numbers
@pytest.mark.req("BASE-7", "AR-1")
@pytest.mark.parametrize("batch", [1, 7, ALL])
def test_numbers_run_out(batch: int) -> None:
    """Without ESN an SA is rekeyed when 86 % of its 2^32 numbers are used."""
    r = router(batch=batch)
    soft = (2**32 - 1) // 100 * 86
    send(r, [0])
    r.tables.t.sa_out["next_seq"][0] = soft // 2 + 1
    send(r, [0])
    r.tables.t.sa_out["next_seq"][0] = soft - 20
    result = send(r, [0.001 * k for k in range(40)])
    assert generations(r, result) == [0] * 21 + [1] * 19
    assert [int(n) for n in result.verdicts["seq"]] == [*range(soft - 20, soft + 1), *range(1, 20)]
    assert events(r)[0][1:] == ("rekeyed", "numbers")


@pytest.mark.req("BASE-7", "AR-1")
def test_without_rekeying_the_last_number_is_the_last() -> None:
    r = router(rekey=False)
    send(r, [0])
    r.tables.t.sa_out["next_seq"][0] = 2**32 - 3
    assert words(send(r, [0.1 * k for k in range(5)])) == ["forwarded"] * 3 + ["SEQ_OVERFLOW"] * 2


@pytest.mark.req("BASE-7", "AR-6")
@pytest.mark.parametrize("batch", [1, ALL])
def test_each_space_has_its_numbers(batch: int) -> None:
    """With 16 spaces each has 2^28 numbers; 86 % of them in any one ask for a new SA."""
    r = router(extra="crypto ipsec security-association multi-sn\n", batch=batch)
    send(r, [0])
    at = int(r.tables.t.sa_out["sns_at"][0])
    soft = (2**28 - 1) // 100 * 86
    r.tables.t.sns_out[at] = soft // 2 + 1
    send(r, [0])
    r.tables.t.sns_out[at] = soft - 2
    assert generations(r, send(r, [0.1 * k for k in range(6)])) == [0, 0, 0, 1, 1, 1]


# ------------------------------------------------------------------------------------------------------- idle
IDLE = "crypto ipsec security-association idle-time 60\n"


@pytest.mark.req("IDLE-1", "IDLE-2")
@pytest.mark.parametrize("batch", [1, 7, ALL])
def test_an_idle_pair_is_deleted(batch: int) -> None:
    """60 s without a packet in either direction; the next packet begins a new pair. The old SPI is unknown at once."""
    r = router(extra=IDLE, batch=batch)
    result = send(r, [0, 59, 118.999999999, 178.999999999, 200, 260])
    assert generations(r, result) == [0, 0, 0, 1, 1, 2]
    assert [(ts, what) for ts, what, _ in events(r)] == [(178_999_999_999, "idle"), (260 * S, "idle")]
    near, far = router(1), router(2, extra=IDLE, batch=batch)
    wire = send(near, [0, 1, 2]).packets.frames()
    got = far.forward(Batch.from_frames(wire, ts=[0, 59 * S, 119 * S]), OUTSIDE)
    assert words(got) == ["forwarded", "forwarded", "NO_SA"]


@pytest.mark.req("IDLE-1")
def test_where_idle_times_come_from() -> None:
    assert router().lifetimes.limits[0].idle is None
    assert router(extra=IDLE).lifetimes.limits[0].idle == 60
    entry = " set security-association idle-time 600\n"
    assert router(extra=IDLE, entry=entry).lifetimes.limits[0].idle == 600
    assert router(entry=entry).lifetimes.limits[0].idle == 600


@pytest.mark.req("IDLE-2")
def test_traffic_in_either_direction_keeps_a_pair() -> None:
    a, b = router(1, extra=IDLE), router(2, extra=IDLE)
    ends = [(0, "a"), (50, "b"), (100, "a"), (150, "b"), (209, "a")]
    for second, who in ends:
        sender, taker = (a, b) if who == "a" else (b, a)
        frame = packet() if who == "a" else back()
        wire = sender.forward(Batch.from_frames([frame], ts=second * S), INSIDE).packets.frames()
        assert words(taker.forward(Batch.from_frames(wire, ts=second * S), OUTSIDE)) == ["forwarded"]
    assert events(a) == events(b) == []


PEERS = (" set peer 203.0.113.2\n", " set peer 203.0.113.2 default\n set peer 203.0.113.77\n")


@pytest.mark.req("IDLE-3")
@pytest.mark.parametrize("word", ["", " default"])
def test_idleness_leads_back_to_the_default_peer(word: str) -> None:
    from ipaddress import ip_address

    config = (
        text(1)
        .replace(*PEERS)
        .replace(" match address 101\n", f" match address 101\n set security-association idle-time 60{word}\n", 1)
    )
    r = Router.loads(config)
    first, second = (ip_address(a) for a in ("203.0.113.2", "203.0.113.77"))

    def peers(result: Result) -> list[bytes]:
        return [p[16:20] for p in result.packets.frames()]

    assert peers(send(r, [0])) == [first.packed]
    r.lifetimes.use_peer(0, second, 10 * S)
    assert peers(send(r, [11, 12])) == [second.packed] * 2
    assert peers(send(r, [72])) == [first.packed if word else second.packed]
    assert [e.what for e in r.lifetimes.events] == ["peer", "idle"] + ["peer"] * bool(word)


@pytest.mark.req("IDLE-4", "BASE-7")
def test_a_million_timers_cost_nothing_while_nothing_expires() -> None:
    """Until the first deadline nobody is looked at; then all of one second once, and only what is idle comes out."""
    count = 1_000_000
    last = np.zeros(count, np.int64)
    looked: list[int] = []

    def actual(numbers: Any) -> Any:
        looked.append(numbers.size)
        return last[numbers] + 60 * S

    wheel = Wheel(actual)
    wheel.add(np.arange(count), actual(np.arange(count)))
    looked.clear()
    assert wheel.next_due() == 60 * S
    assert wheel.due(60 * S - 1).size == 0 and looked == []
    last[:] = 30 * S + np.arange(count)  # all were used meanwhile, but three
    last[[5, 77, 999_999]] = [0, 1, 2]
    assert wheel.due(60 * S).tolist() == [5]
    assert looked[0] == count and sum(looked) <= count + 3
    assert wheel.next_due() == 60 * S + 1
    assert wheel.due(60 * S + 1).tolist() == [77] and wheel.due(60 * S + 2).tolist() == [999_999]
    assert wheel.next_due() == 90 * S and sum(looked) <= count + 9


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 50)), max_size=40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_wheel_is_a_sorted_list(uses: list[tuple[int, int]], step: int) -> None:
    """Things that are used at times, each due 7.3 s after its last use; against looking at everybody every time."""
    gap = 73 * S // 10
    last: Any = np.zeros(51, np.int64)
    wheel = Wheel(lambda numbers: last[numbers] + gap)
    wheel.add(np.arange(51), last + gap)
    alive = set(range(51))
    todo = sorted((at * S // 10, k) for at, k in uses)
    for now in range(0, 40 * S, step * S // 10):
        while todo and todo[0][0] <= now:
            at, k = todo.pop(0)
            last[k] = max(last[k], at)
        gone = sorted((int(last[k]) + gap, k) for k in alive if last[k] + gap <= now)
        assert wheel.due(now).tolist() == [k for _, k in gone]
        alive -= {k for _, k in gone}


# ------------------------------------------------------------------------------------------- two ends, the twin
@dataclass
class Rig:
    """Two routers and their twins; what each router saw is kept, to be run again as one batch."""

    make: Callable[[int, int, int], Router]
    ends: tuple[End, End]

    def __post_init__(self) -> None:
        self.routers = tuple(self.make(me, 1, 1) for me in (1, 2))
        self.known = [spis(r, 60) for r in self.routers]
        self.seen: tuple[list[Any], list[Any]] = ([], [])
        self.outcome: tuple[list[Any], list[Any]] = ([], [])

    def through(self, who: int, frame: bytes, inside: bool, ts: int) -> tuple[str, bytes]:
        r = self.routers[who]
        row = r.interfaces.row[r.interface(INSIDE if inside else OUTSIDE)]
        self.seen[who].append((frame, ts, row))
        result = r.exchange(Batch.from_frames([frame], ts=ts, in_if=row))
        packets = result.packets.frames()
        self.outcome[who].append((words(result)[0], packets))
        return words(result)[0], packets[0] if packets else b""

    def exchange(self, who: int, k: int, size: int, ts: int, lost: bool) -> None:
        """A packet from one site to the other."""
        expected = self.ends[who].send(ts, size)
        word, wire = self.through(who, packet(k, size) if who == 0 else back(k, size), True, ts)
        if isinstance(expected, str):
            assert word == expected, (k, ts)
            return
        spi, seq = int.from_bytes(wire[20:24]), int.from_bytes(wire[24:28])
        assert (self.known[who][spi], seq) == expected, (k, ts, expected)
        if not lost:
            wanted = self.ends[1 - who].receive(ts + 1000, expected[0], len(wire))
            assert self.through(1 - who, wire, False, ts + 1000)[0] == wanted, (k, ts, expected)

    def check_batches(self) -> None:
        """All that a router saw, in one batch: the same packets at any vector size and number of threads."""
        for who in (0, 1):
            frames, ts, rows = zip(*self.seen[who], strict=True)
            names = self.routers[who].interfaces.names
            for batch, threads in ((1, 1), (7, 1), (256, 1), (ALL, 2)):
                r = self.make(who + 1, batch, threads)
                result = r.exchange(Batch.from_frames(frames, ts=ts, in_if=rows, interfaces=names))
                assert words(result) == [word for word, _ in self.outcome[who]], batch
                assert result.packets.frames() == [p for _, packets in self.outcome[who] for p in packets], batch
                assert r.lifetimes.events == self.routers[who].lifetimes.events


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(60, 1400), st.sampled_from(
        [0, 0, 1000, 10**6, S, 29 * S, 31 * S, 45 * S, 61 * S, 1000 * S, -S, -40 * S]),
        st.integers(0, 9)), max_size=120),
    st.sampled_from([None, 60]), st.booleans(), st.sampled_from([20, 60]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_against_the_twin(steps: list[tuple[int, int, int, int]], idle: int | None, rekey: bool, kb: int) -> None:
    """Random traffic both ways with gaps, losses and times that go back: generations, numbers, causes and events are
    those of the twin, packet by packet, and the same in batches."""

    def make(me: int, batch: int, threads: int) -> Router:
        extra = "crypto ipsec security-association lifetime seconds 1200\n" + (IDLE if idle else "")
        return router(me, kilobytes=kb, extra=extra, batch=batch, threads=threads, rekey=rekey)

    limits = (make(1, 1, 1)).lifetimes.limits[0]
    soft = limits.soft_kilobytes
    assert soft is not None
    near, far = (
        End(limits.soft_seconds * S, limits.hard_seconds * S, idle and idle * S, soft * 1024, kb * 1024, rekey=rekey)
        for _ in (1, 2)
    )
    rig = Rig(make, (near, far))
    now = 1000 * S
    for k, (who, size, gap, luck) in enumerate(steps):
        now += gap
        rig.exchange(who, k, size, now, luck == 0)
    for r, end in zip(rig.routers, rig.ends, strict=True):
        assert [e for e in events(r) if e[1] != "soft"] == end.events
    if steps and all(rig.seen):
        rig.check_batches()


# -------------------------------------------------------------------------------------------- around a rekey
@pytest.mark.req("BASE-7")
@pytest.mark.parametrize("case", [MAP4, VTI4, GRE4], ids=["map", "vti", "gre"])
@pytest.mark.parametrize("transform", ["esp-gcm", "ah-sha-hmac esp-aes", "esp-3des esp-md5-hmac comp-lzs"])
def test_every_way_of_protection_is_rekeyed(case: Case, transform: str) -> None:
    """Volume and time, bundles and compression too; the far router follows and every packet arrives."""
    near, far = (router(me, case, kilobytes=40, transform=transform) for me in (1, 2))
    for start in (0, 4000):
        sent = send(near, [start + 0.01 * k for k in range(120)], size=1000)
        got = far.forward(sent.packets, OUTSIDE)
        assert set(words(sent)) == set(words(got)) == {"forwarded"}
    assert near.sadb.pairs[0].generation == far.sadb.pairs[0].generation >= 6
    again = far.forward(Batch.from_frames([back()], ts=4010 * S), INSIDE)
    assert words(near.forward(again.packets, OUTSIDE)) == ["forwarded"]


@pytest.mark.req("BASE-7")
def test_the_key_file_holds_every_generation() -> None:
    """What a run used can be decrypted afterwards, whatever SAs it went through."""
    near = router(kilobytes=20)
    early = exported(near.plane)
    result = send(near, [0.01 * k for k in range(80)] + [4000 + 0.01 * k for k in range(40)], size=1000)
    assert len(early) == 2
    keys = exported(near.plane)
    opened = Decryptor([sa for sa in keys if sa.direction == "out"]).open(result.packets)
    assert set(words(opened)) == {"forwarded"} and len(opened.packets) == 120
    assert len({sa.spi for sa in keys}) == len(keys) == 2 * (near.sadb.pairs[0].generation + 1)


@pytest.mark.req("BASE-10")
def test_handles_and_memory_of_old_sas_are_used_again() -> None:
    """A thousand rekeys in several runs: tables stay small, keys of old SAs are gone."""
    near = router(kilobytes=20, extra="crypto ipsec security-association multi-sn\n")
    sizes = []
    for k in range(30):
        send(near, [k + 0.001 * j for j in range(120)], size=1000)
        near.advance((k + 1) * 100 * S)
        sizes.append((near.sad.rows, near.tables.t.win.size, near.tables.t.sns_in.size, near.tables.t.sad.size))
    assert near.sadb.pairs[0].generation > 150
    assert sizes[-1] == sizes[10], sizes
    valid = near.tables.t.sa["valid"] == 1
    keys = near.tables.t.keys.reshape(len(near.tables.t.sa), -1) if near.tables.t.keys.size else None
    assert keys is not None and not keys[~valid].any() and keys[valid].any()


@pytest.mark.req("BASE-7")
def test_path_mtu_is_handed_on() -> None:
    """What the network told about the way to the peer holds for the SA that follows, and ages out as before."""
    near = router(kilobytes=40)
    send(near, [0])
    near.path_mtus.on_stop(1, near.sadb.pairs[0].outbound[0], 1300, 1 * S)
    send(near, [2 + 0.001 * k for k in range(60)], size=1000)
    now = near.sadb.pairs[0].outbound[0]
    assert near.sadb.pairs[0].generation == 1 and near.tables.t.sa["path_mtu"][now] == 1300
    near.advance(601 * S)
    assert near.tables.t.sa["path_mtu"][now] == 1500


def test_clearing() -> None:
    """`clear crypto sa`: the next packet begins a new pair; the peer follows."""
    near, far = router(1), router(2)
    first = send(near, [0])
    assert words(far.forward(first.packets, OUTSIDE)) == ["forwarded"]
    assert near.clear(5 * S, "198.51.100.1") == 0 and near.clear(5 * S) == 1
    then = send(near, [6])
    assert generations(near, then) == [1] and words(far.forward(then.packets, OUTSIDE)) == ["forwarded"]
    late = far.forward(Batch.from_frames([back()], ts=7 * S), INSIDE)
    assert words(near.forward(late.packets, OUTSIDE)) == ["forwarded"]


def test_clearing_takes_old_inbound_sas_too() -> None:
    near, far = router(1), router(2)
    wire = send(near, [0, 1, 3401]).packets.frames()
    assert words(far.forward(Batch.from_frames(wire[:1] + wire[2:]), OUTSIDE)) == ["forwarded"] * 2
    far.clear(1 * S)
    assert words(far.forward(Batch.from_frames(wire[1:2], ts=2 * S), OUTSIDE)) == ["NO_SA"]
    far.advance(10_000 * S)
    assert [e.what for e in far.lifetimes.events] == ["rekeyed", "cleared"]


def test_a_key_file_of_manual_and_derived_sas(tmp_path: Path) -> None:
    """Both in one router: what was typed in stands in the file as it was before the run, too."""
    keys = f"esp 4096 cipher {'1a' * 16} authenticator {'2b' * 20}"
    manual = f""" set session-key inbound {keys}
 set session-key outbound {keys}
"""
    acl = "access-list 150 permit ip 10.1.0.0 0.0.255.255 10.3.0.0 0.0.255.255\n"
    config = (
        text(1, transform="esp-aes esp-sha-hmac", extra=acl)
        + f"""crypto map M 20 ipsec-manual
 set peer 203.0.113.2
 set transform-set T
 match address 150
{manual}ip route 10.3.0.0 255.255.0.0 203.0.113.2
"""
    )
    (tmp_path / "r.cfg").write_text(config)
    frames = [packet(), ip4("10.1.0.9", "10.3.0.9", udp(1, 2, b"x"))] * 3
    write_trace(tmp_path / "in.pcap", Batch.from_frames(frames))
    done = qfp("run", tmp_path / "r.cfg", tmp_path / "in.pcap", "--in", INSIDE, "-o", tmp_path / "wire.pcap",
               "--export-sas", tmp_path / "keys.json")  # fmt: skip
    assert done.status == 0, done.err
    opened = qfp("decrypt", tmp_path / "wire.pcap", "--keys", tmp_path / "keys.json", "--window", "64", "--json")
    assert opened.json["verdicts"] == {"forwarded": 6}, opened.json["drops"]


def test_a_peer_with_the_key_file_opens_every_generation() -> None:
    """`--keys` with what `--export-sas` wrote; a bundle too."""
    for transform in ("esp-gcm", "ah-sha-hmac esp-aes"):
        near = router(kilobytes=20, transform=transform)
        sent = send(near, [0.01 * k for k in range(60)], size=1000)
        far = Router(loads(text(2, transform=transform)), keys=exported(near.plane))
        assert words(far.forward(sent.packets, OUTSIDE)) == ["forwarded"] * 60 and near.sadb.pairs[0].generation == 3
        assert not [issue for issue in far.issues if "key file" in issue.message]


def test_sas_of_a_key_file_have_no_lifetime() -> None:
    """Nobody knows when they began."""
    keys = exported(router().plane)
    r = Router(loads(text(1)), keys=keys)
    assert words(send(r, [0, 10**6])) == ["forwarded"] * 2 and r.lifetimes.limits == {}


def test_what_a_run_tells() -> None:
    r = router(kilobytes=20)
    send(r, [0.01 * k for k in range(60)], size=1000)
    facts = run_facts(r, 1.0)
    assert facts["lifetimes"]["rekeyed"] == {"volume": r.sadb.pairs[0].generation}
    assert [sa["direction"] for sa in facts["sas"]].count("out") == 1, "SAs that wait for their time are not listed"
    assert facts["sas"][0].keys() >= {"soft_seconds", "hard_seconds", "soft_kilobytes", "hard_kilobytes"}


@pytest.mark.req("USE-3", "BASE-7")
def test_rekeys_are_explained() -> None:
    """Frames before, at and behind rekeys, and where an SA ends."""
    r = router(kilobytes=20)
    result = send(r, [0.01 * k for k in range(30)] + [3401, 3402], size=1000)
    for k in (0, 17, 18, 19, 29, 30, 31):
        facts = result.explain(k)
        assert facts["seq"] == result.verdicts["seq"][k] and facts["cause"] is None
        told = next(stage for stage in facts["stages"] if stage["stage"] == "sequence")
        assert ("has reached its soft limit (18 packets, 18,000 bytes)" in str(told)) == (k == 18), (k, told)
    ended = router(rekey=False)
    facts = send(ended, [0, 3568]).explain(1)
    assert facts["cause"]["cause"] == "SA_EXPIRED"
    assert "sends nothing more: 1 packet, 100 bytes; its lifetime of 3568 s was over at" in str(facts["stages"])
    far = router(2)
    wire = send(router(1), [0, 3401]).packets.frames()
    got = far.forward(Batch.from_frames(wire, ts=[0, 3000 * S]), OUTSIDE)
    assert "the peer has moved to this SA" in str(got.explain(1)["stages"])
