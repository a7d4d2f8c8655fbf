"""Fragments against the slow twin: any cuts, duplicates, overlaps, lies about lengths, and time; and the property that
whatever is cut, encrypted, disturbed, decrypted and put together is what it was."""

from contextlib import suppress
from itertools import pairwise
from random import Random

import naive
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_fragments import Reassembler, cut4, cut6
from packets import OPTIONS4, ip4, ip6, udp
from path_help import Pair
from site_help import OUTER, WAYS, Site

SECOND = 10**9


def random_sizes(r: Random, payload: int) -> list[int]:
    """Sizes of pieces at any multiples of 8."""
    cuts = sorted({8 * r.randint(1, max(1, payload // 8 - 1)) for _ in range(r.randint(1, 5))})
    edges = [0, *(c for c in cuts if c < payload), payload]
    return [b - a for a, b in pairwise(edges)]


def pieces(r: Random, packet: bytes) -> list[bytes]:
    if packet[0] >> 4 == 6:
        return cut6(packet, random_sizes(r, len(packet) - 40), r.randint(0, 9))
    return cut4(packet, random_sizes(r, len(packet) - (packet[0] & 15) * 4))


def damaged(r: Random, piece: bytes) -> bytes:
    """Another offset, flag or length."""
    at = 6 if piece[0] >> 4 == 4 else 42
    where = int.from_bytes(piece[at : at + 2])
    unit, more = (1, 0x2000) if at == 6 else (8, 1)
    kind = r.randint(0, 4)
    if kind == 0:
        where ^= more
    elif kind == 1:
        where += unit * r.choice([1, 2, 5])
    elif kind == 2 and where & 0x1FFF8:
        where -= unit
    elif kind == 3:
        where |= 0x1FFF if at == 6 else 0xFFF8
    piece = piece[:at] + (where & 0xFFFF).to_bytes(2) + piece[at + 2 :]
    return naive.with_length(piece[: len(piece) - r.choice([0, 1, 8])] if kind == 4 else piece)


def fragments(r: Random, family: int, count: int) -> list[bytes]:
    """Fragments of GRE, of ESP that nobody knows, and of UDP for the router, mixed; some missing, double or damaged."""
    out = []
    src, dst = OUTER[family]
    for k in range(count):
        data = bytes(j * (k + 1) & 255 for j in range(r.choice([17, 64, 200, 1000])))
        inner = ip4("10.1.0.9", "10.2.0.9", udp(k, 53, data))
        payload, proto = r.choice([(b"\0\0\x08\0" + inner, 47), (data + bytes(16), 50), (udp(1, 2, data), 17)])
        if family == 4:
            packet = ip4(src, dst, payload, proto, ident=r.randint(0, 9), options=r.choice(OPTIONS4), tos=k & 255)
        else:
            packet = ip6(src, dst, payload, proto, tos=k & 255)
        some = pieces(r, packet)
        r.shuffle(some)
        some = [damaged(r, p) if r.random() < 0.05 else p for p in some if r.random() < 0.97]
        out += some + [p for p in some if r.random() < 0.05]
    close = sorted(range(len(out)), key=lambda k: k + r.randint(0, 12))
    return [out[k] for k in close]


@pytest.mark.req("PF-7", "BASE-12")
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("family", [4, 6])
def test_any_fragments(family: int, seed: int) -> None:
    """Into a GRE tunnel's end, at times that let some of them wait too long."""
    r = Random(seed)
    router = Site("gre", family).pair(2, batch=r.choice([1, 7, 0]))
    frames = fragments(r, family, 60)
    now, times = 10**18, []
    for _ in frames:
        now += r.choice([0, 0, SECOND, r.choice([0, 29, 31]) * SECOND])
        times.append(now)
    router.forward(frames, "gi0/0/0", times)
    causes = {o.cause for o in router.outcomes}
    assert "NONE" in causes


@pytest.mark.req("PF-7")
@pytest.mark.parametrize("family", [4, 6])
def test_every_cause_of_a_bad_fragment(family: int) -> None:
    """The random ones of all seeds together meet every cause that a single fragment can have."""
    seen: set[str] = set()
    for seed in range(20):
        r = Random(seed)
        twin = Site("gre", family).pair(2).twin
        frames = fragments(r, family, 60)
        seen |= {o.cause for o in twin.forward(frames, "GigabitEthernet0/0/0", [0] * len(frames))}
    assert {"FRAGMENT_BAD", "FRAGMENT_DUPLICATE", "FRAGMENT_OVERLAP"} <= seen


def whole(packets: list[bytes]) -> list[bytes]:
    """What the host behind the second router makes of what it gets; plain GRE hands it duplicates too."""
    host = Reassembler()
    out = []
    for ip in map(naive.read_ip, packets):
        with suppress(naive.Bad):
            got = host.take(ip, 0) if ip.fragment else ip
            out += [got.data] if got is not None else []
    return out


@pytest.mark.req("PF-1", "PF-3", "PF-7", "BASE-8")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_cut_becomes_whole_again(data: st.DataObject) -> None:
    """Any size, MTU and way: the original bytes, two hops older."""
    ways = [w for w in WAYS if w != "map transport"]  # ends at the second router itself
    way = data.draw(st.sampled_from(ways))
    family = data.draw(st.sampled_from([4, 6])) if way != "map" else 4  # a crypto map is for packets of its own family
    mtu = data.draw(st.one_of(st.integers(576, 1600), st.just(9216)) if family == 4 else st.integers(1280, 1600))
    state = data.draw(st.sampled_from(["before", "after"]))
    everywhere = [f"crypto ipsec fragmentation {state}-encryption",
                  "crypto ipsec security-association replay window-size 1024"]  # fmt: skip
    site = Site(way, family, outside=[f"mtu {mtu}"], everywhere=everywhere)
    size = data.draw(st.one_of(st.integers(20, 3000), st.integers(20, 65000), st.sampled_from([65400, 65535])))
    r = Random(data.draw(st.integers(0, 999)))
    filled = r.randbytes(size - 20)
    packet = ip4("10.1.0.9", "10.2.0.9", filled, 99, ident=r.randint(0, 65535), tos=r.randint(0, 255) & 0xFE)
    here, there = site.pair(1), site.pair(2)
    wire = here.forward([packet], "gi0/0/1")
    wire += [p for p in wire if r.random() < 0.2]
    r.shuffle(wire)
    got = there.forward(wire, "gi0/0/0")
    if here.outcomes[0].verdict == "dropped":
        assert here.outcomes[0].cause == "OUT_TOO_LONG"
        return
    older = naive.one_hop(naive.read_ip(naive.one_hop(naive.read_ip(packet))))
    assert set(whole(got)) == {older}


TWO_PEERS = """hostname B
crypto ipsec transform-set T esp-gcm
crypto ipsec profile P
 set transform-set T
interface GigabitEthernet0/0/0
 ip address 203.0.113.2 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 10.2.0.1 255.255.0.0
interface Tunnel1
 ip address 172.31.1.2 255.255.255.0
 tunnel source 203.0.113.2
 tunnel destination 203.0.113.1
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
interface Tunnel2
 ip address 172.31.2.2 255.255.255.0
 tunnel source 203.0.113.2
 tunnel destination 203.0.113.9
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
interface Tunnel3
 ip address 172.31.3.2 255.255.255.0
 tunnel source 172.31.1.2
 tunnel destination 172.31.1.1
"""


@pytest.mark.req("PF-7", "BASE-8")
def test_fragments_of_two_peers_do_not_mix() -> None:
    """What one peer's SA carried must not be completed by what another peer sent (RFC 4301 section 7)."""
    router = Pair(TWO_PEERS)
    inner = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(100)))
    packet = ip4("172.31.1.1", "172.31.1.2", b"\0\0\x08\0" + inner, 47, ident=5)
    peers = [naive.State(entry.inbound[0].sa) for entry in router.twin.entry_of.values()]
    halves = cut4(packet, [64, len(packet) - 84])
    frames = [
        naive.seal_tunnel([peer], [1], naive.read_ip(half), 1, "copy") for peer, half in zip(peers, halves, strict=True)
    ]
    router.forward(frames, "gi0/0/0")
    assert [o.verdict for o in router.outcomes] == ["consumed", "consumed"]
