"""BASE-12: what came in and was made equals what went out and ended, checked against the records themselves: the
packets that left, told apart by their bytes, and the verdict rows. Over random configurations of fragmentation, tunnels
and bundles, with SAs that end in the middle of a packet's fragments."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_fragments import cut4
from packets import ip4, ip6, udp

from qfp.batch import Batch
from qfp.cli.summary import balance_line
from qfp.decrypt import Decryptor
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router

IN = "gi1"
OWN, OUTSIDE = "10.1.0.1", "192.0.2.1"
TRANSFORMS = ("esp-gcm 128", "esp-aes 128 esp-sha-hmac", "ah-sha256-hmac esp-aes 128", "ah-sha256-hmac",
              "esp-aes 128 esp-sha-hmac comp-lzs")  # fmt: skip
WAYS = ("map", "vti", "gre", "protected")
SECOND = 10**9


@dataclass(frozen=True)
class Plan:
    """One configuration and what ends its first outbound SA: after so many packets, or so many bytes."""

    transform: str
    way: str
    mtu: int
    own_mtu: int
    fragmentation: str
    df: str
    packets_left: int | None
    bytes_left: int | None
    unreachables: bool

    @property
    def text(self) -> str:
        profile = "crypto ipsec profile P\n set transform-set T\n" if self.way in ("vti", "protected") else ""
        mode = "tunnel mode ipsec ipv4" if self.way == "vti" else "tunnel mode gre ip"
        protection = " tunnel protection ipsec profile P\n" if profile else ""
        tunnel = f"""interface Tunnel0
 ip address 172.16.0.1 255.255.255.252
 ip mtu {self.own_mtu}
 tunnel source {OUTSIDE}
 tunnel destination 192.0.2.2
 {mode}
{protection}"""
        inside = "192.0.2.2" if self.way == "map" else "Tunnel0"
        return f"""crypto ipsec transform-set T {self.transform}
crypto ipsec fragmentation {self.fragmentation}
crypto ipsec df-bit {self.df}
{profile}crypto map M 10 ipsec-isakmp
 set peer 192.0.2.2
 set transform-set T
 match address 101
{tunnel if self.way != "map" else ""}interface GigabitEthernet0
 ip address {OUTSIDE} 255.255.255.252
 ip mtu {self.mtu}
{" crypto map M" if self.way == "map" else ""}
interface GigabitEthernet1
 ip address {OWN} 255.255.0.0
{"" if self.unreachables else " no ip unreachables"}
ip icmp rate-limit unreachable 1
ip icmp rate-limit unreachable DF 1
ip route 10.2.0.0 255.255.0.0 {inside}
ip route 10.3.0.0 255.255.0.0 192.0.2.2
access-list 101 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
"""

    def router(self, batch: int, limited: bool = True) -> Router:
        router = Router.loads(self.text, batch=batch, rekey=False)
        if limited and router.sadb.pairs:
            self._limit(router)
        return router

    def _limit(self, router: Router) -> None:
        """Let SAs end soon: as if most of their numbers, or of their volume, had been used."""
        t = router.tables.t
        for handle in router.sadb.pairs[0].outbound:
            if self.packets_left is not None:
                t.sa_out["next_seq"][handle] = 2**32 - self.packets_left
                t.sa_out["last_seq"][handle] = t.life["soft_seq"][handle] = 2**32 - 1
        if self.bytes_left is not None:
            router.sad.set_limits(router.sadb.pairs[0].outbound[0], self.bytes_left, self.bytes_left, 100)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    mtu = draw(st.sampled_from([300, 576, 1000, 1400, 1500]))
    end = draw(st.sampled_from(["none", "numbers", "numbers", "volume"]))
    return Plan(
        draw(st.sampled_from(TRANSFORMS)), draw(st.sampled_from(WAYS)), mtu, draw(st.sampled_from([200, 500, 1400])),
        f"{draw(st.sampled_from(['before', 'after']))}-encryption", draw(st.sampled_from(["copy", "clear", "set"])),
        draw(st.integers(0, 40)) if end == "numbers" else None,
        draw(st.integers(0, 20_000)) if end == "volume" else None, draw(st.booleans()),
    )  # fmt: skip


def one(r: Random, k: int, keepalives: Counter[str]) -> list[bytes]:
    """A packet of some kind, or its fragments."""
    kind = r.choice(["data", "data", "data", "data", "clear", "ttl", "own", "fragments", "keepalive", "bad", "six"])
    data = bytes([k & 255]) * r.choice([8, 100, 555, 1300, 1472, 3000, 4000])
    if kind == "fragments":  # of a packet for the router itself; the last one or another may be missing
        some = cut4(ip4("10.1.0.9", OWN, udp(9, 9, data + bytes(100)), ident=k), [64, 64, len(data) + 108 - 128])
        return [piece for piece in some if r.random() < 0.9]
    if kind == "keepalive":
        keepalives[kind] += 1
        return [ip4("10.1.0.9", OWN, udp(4500, 4500, b"\xff"))]
    if kind == "bad":
        return [b"\x45" + bytes(30)]
    if kind == "six":
        return [ip6("2001:db8::1", "2001:db8:2::1", udp(1, 2, data[:500]))]
    to = {"own": OWN, "clear": "10.3.0.9"}.get(kind, "10.2.0.9")
    return [ip4("10.1.0.9", to, udp(7, 9, data), ttl=1 if kind == "ttl" else 64, flags=r.choice([0, 0, 0x4000]))]


def is_error(packet: bytes) -> bool:
    """An ICMP error of the router's, to a host behind it: in the clear, and never in fragments there."""
    return packet[9] == 1 and packet[12:16] == bytes([10, 1, 0, 1]) and packet[20] in (3, 11)


def counted(result: Result) -> tuple[Counter[str], list[int], list[int]]:
    """Verdicts; of each frame, the packets of its own that left, and the errors about it."""
    verdicts = Counter(VERDICT_WORDS[v] for v in result.verdicts["verdict"])
    own, errors = [0] * len(result.source), [0] * len(result.source)
    for row, packet in zip(result.came_from.tolist(), result.packets.frames(), strict=True):
        (errors if is_error(packet) else own)[row] += 1
    return verdicts, own, errors


def check(result: Result, keepalives: int) -> None:
    """The balance against the records."""
    balance, counters = result.counters["balance"], result.counters
    verdicts, own, errors = counted(result)
    came, went = balance["in"], balance["out"]
    assert sum(came.values()) == sum(went.values())
    assert came["frames_in"] == len(result.source) and went["packets_out"] == len(result.packets)
    assert came["icmp_sent"] == sum(errors) and max(errors, default=0) <= 1
    assert (went["dropped"], went["punted"]) == (verdicts["dropped"], verdicts["punted"])
    fragments = went["merged"] + went["fragments_waiting"] + went["fragments_lost"]
    assert went["consumed"] == keepalives and verdicts["consumed"] == fragments + keepalives
    lost = result.verdicts["cause"] != 0
    through = [n for n, gone in zip(own, lost, strict=True) if not gone and n]
    partly = sum(n for n, gone in zip(own, lost, strict=True) if gone)
    # Of a packet that went through: fragments less one. Of one that was lost: those that left before, as one of those
    # that were lost counts as the packet.
    assert came["fragments_made"] - went["pieces_dropped"] == sum(n - 1 for n in through) + partly
    assert counters["pieces_dropped"] == went["pieces_dropped"]
    assert sum(counters["drops"].values()) == verdicts["dropped"]


@pytest.mark.req("BASE-12", "PF-3", "AR-1")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans(), st.integers(0, 2**32), st.sampled_from([1, 7, 256]))
def test_every_packet_is_accounted_for(plan: Plan, seed: int, batch: int) -> None:
    r, keepalives = Random(seed), Counter[str]()
    frames = [frame for k in range(40) for frame in one(r, k, keepalives)]
    source = Batch.from_frames(frames, ts=[SECOND + k * 10**7 for k in range(len(frames))])
    result = plan.router(batch).forward(source, IN)
    check(result, keepalives["keepalive"])
    again = plan.router(0).forward(source, IN)
    assert again.counters == result.counters and again.packets == result.packets
    if plan.way == "map" and plan.fragmentation == "before-encryption" and plan.df == "clear":
        whole = counted(plan.router(0, limited=False).forward(source, IN))[1]
        _pieces(result, whole)


def _pieces(result: Result, whole: list[int]) -> None:
    """Where all is fragmented before encryption: fragments that an unlimited router sends for a packet are those that
    this one sent and those that it lost."""
    _, own, _ = counted(result)
    names = [CAUSE_WORDS[cause] for cause in result.verdicts["cause"]]
    gone = [k for k, name in enumerate(names) if name in ("SEQ_OVERFLOW", "SA_EXPIRED")]
    assert result.counters["pieces_dropped"] == sum(whole[k] - own[k] - 1 for k in gone)


@pytest.mark.req("BASE-12")
def test_pieces_of_one_packet_are_counted_by_cause() -> None:
    """The SA has three numbers left: for both fragments of the first packet, and one of the second."""
    plan = Plan("esp-aes 128 esp-sha-hmac", "map", 1500, 1400, "before-encryption", "copy", 3, None, True)
    long = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(1472)))
    result = plan.router(0).forward(Batch.from_frames([long] * 4), IN)
    balance = result.counters["balance"]
    assert balance["in"] == {"frames_in": 4, "icmp_sent": 0, "fragments_made": 4, "fragments_before": 0}
    assert {k: v for k, v in balance["out"].items() if v} == {"packets_out": 3, "dropped": 3, "pieces_dropped": 2}
    assert balance_line(balance) == (
        "balance: 4 in + 4 by fragmentation = 3 out + 3 dropped + 2 more fragments of these"
    )


@pytest.mark.req("BASE-12", "USE-3")
@pytest.mark.parametrize("keep", [True, False])
def test_decrypt_accounts_for_clear_packets(keep: bool) -> None:
    clear = [ip4("10.1.0.9", "10.2.0.9", udp(1, k)) for k in range(5)]
    result = Decryptor([], keep_clear=keep).open(Batch.from_frames([*clear, b""]))
    out: Any = result.counters["balance"]["out"]
    assert (out["packets_out"], out["not_written"], out["punted"]) == ((5, 0, 1) if keep else (0, 5, 1))
