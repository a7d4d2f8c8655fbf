"""Ends that have missed generations of each other's SAs find each other again by the first packet that arrives, and
SPIs that nobody knows do not reach the control plane one by one."""

from ipaddress import ip_address
from typing import Any

import pytest
from packets import ip4
from test_lifetimes import GRE4, INSIDE, MAP4, OUTSIDE, VTI4, S, events, router, send, words

from qfp.batch import Batch
from qfp.control.awaited import AHEAD
from qfp.explain import explain_trace
from qfp.router import Router
from qfp.trace.source import BatchSource
from qfp_kernels.layout import STOP_SPI


def missed(near: Router, times: int, start: int = 10) -> list[bytes]:
    """`times` clears, a packet that is lost before each; then the packets of the generation that is left."""
    for k in range(times):
        send(near, [start + k])
        near.clear((start + k) * S + S // 2)
    return send(near, [start + times + k for k in range(3)]).packets.frames()


def into(far: Router, wire: list[bytes], at: int) -> list[str]:
    return words(far.forward(Batch.from_frames(wire, ts=[at * S + k * S for k in range(len(wire))]), OUTSIDE))


def stops(far: Router) -> list[int]:
    """What the control plane is asked from now on."""
    asked: list[int] = []
    answer = far.engine.on_stop
    assert answer is not None

    def on_stop(why: int, a: int, b: int, ts: int) -> None:
        asked.append(why)
        answer(why, a, b, ts)

    far.engine.on_stop = on_stop
    return asked


@pytest.mark.req("BASE-7")
def test_clearing_twice_with_nothing_between_is_clearing_once() -> None:
    near, far = router(1), router(2)
    assert into(far, send(near, [0]).packets.frames(), 0) == ["forwarded"]
    assert [far.clear(k * S) for k in (2, 3, 4)] == [1, 0, 0]
    assert near.clear(5 * S) == 1
    assert into(far, send(near, [6, 7]).packets.frames(), 6) == ["forwarded"] * 2
    assert [what for _, what, _ in events(far)] == ["cleared"]


@pytest.mark.req("BASE-7")
def test_a_pair_that_nobody_used_keeps_its_generation() -> None:
    near = router(1)
    assert near.clear(S) == 0 and near.sadb.pairs[0].generation == 0 and not near.lifetimes.events


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize("case", [MAP4, VTI4, GRE4], ids=["map", "vti", "gre"])
@pytest.mark.parametrize("transform", ["esp-gcm", "ah-sha-hmac esp-aes"])
@pytest.mark.parametrize("times", [1, 2, 3, AHEAD + 1, AHEAD + 2])
def test_a_peer_that_was_cleared_many_times_is_found(case: Any, transform: str, times: int) -> None:
    """In both directions, and whatever was installed for generations between is gone."""
    near, far = router(1, case, transform=transform), router(2, case, transform=transform)
    assert into(far, send(near, [0]).packets.frames(), 0) == ["forwarded"]
    wire = missed(near, times)
    rows = int((far.tables.t.sa["valid"] == 1).sum())
    if times > AHEAD + 1:
        assert into(far, wire, 100) == ["NO_SA"] * 3
        return
    assert into(far, wire, 100) == ["forwarded"] * 3
    assert far.sadb.pairs[0].generation == near.sadb.pairs[0].generation == times
    answer = send(far, [103], ingress=INSIDE)
    assert words(near.forward(answer.packets, OUTSIDE)) == ["forwarded"]
    far.advance(200 * S)  # old inbound SAs are gone
    assert int((far.tables.t.sa["valid"] == 1).sum()) == rows


@pytest.mark.req("BASE-7")
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 1), (256, 1), (1024, 2)])
def test_the_same_packets_pass_at_any_vector_size(batch: int, threads: int) -> None:
    near = router(1)
    first = send(near, [0]).packets.frames()
    later = [missed(near, 3, 10), missed(near, 4, 20), missed(near, 2, 40)]
    frames = [*first, *later[0], later[1][0], *later[0], *later[1][1:], *first, *later[2]]
    far = router(2, batch=batch, threads=threads)
    result = far.forward(Batch.from_frames(frames, ts=[S + k for k in range(len(frames))]), OUTSIDE)
    assert words(result) == (
        ["forwarded"] * 5 + ["REPLAY"] * 3 + ["forwarded"] * 2 + ["REPLAY"] + ["forwarded"] * 3
    )  # old inbound SAs are still there
    assert [what for _, what, _ in events(far)] == ["rekeyed"] * 3


@pytest.mark.req("BASE-7", "AR-2")
def test_only_an_authentic_packet_moves_a_pair() -> None:
    near, far = router(1), router(2)
    assert into(far, send(near, [0]).packets.frames(), 0) == ["forwarded"]
    wire = missed(near, 3)
    spoilt = [frame[:-1] + bytes([frame[-1] ^ 1]) for frame in wire]
    assert into(far, spoilt, 100) == ["INTEGRITY"] * 3 and far.sadb.pairs[0].generation == 0
    assert not far.lifetimes.events
    assert into(far, wire, 110) == ["forwarded"] * 3 and far.sadb.pairs[0].generation == 3


def forged(far: Router, count: int, strangers: bool) -> list[bytes]:
    """ESP with SPIs that nobody knows, from the peer, and from strangers too."""
    ends = far.tables.t.sa[far.sadb.pairs[0].inbound[0]]
    peer, own = (".".join(str(b) for b in int(ends[name]).to_bytes(4)) for name in ("src1", "dst1"))
    sources = [f"192.0.2.{k % 250}" if strangers and k % 2 else peer for k in range(count)]
    return [ip4(src, own, (0x5000 + k).to_bytes(4) + bytes(40), 50) for k, src in enumerate(sources)]


@pytest.mark.req("BASE-7", "IDLE-4")
def test_forged_spis_do_not_reach_the_control_plane() -> None:
    """Once for the table, once for the peer: not for each, and not for strangers."""
    far = router(2)
    frames = forged(far, 5000, strangers=True)
    asked = stops(far)
    result = far.forward(Batch.from_frames(frames), OUTSIDE)
    assert words(result) == ["NO_SA"] * 5000 and asked == [STOP_SPI] * 2
    assert int(far.tables.t.sa["valid"].sum()) == int(router(2).tables.t.sa["valid"].sum())
    far.forward(Batch.from_frames(frames), OUTSIDE)
    assert asked == [STOP_SPI] * 2


@pytest.mark.req("BASE-7")
def test_nothing_is_derived_where_no_peer_can_rekey() -> None:
    far = router(2, rekey=False)
    asked = stops(far)
    assert into(far, forged(far, 10, strangers=False), 0) == ["NO_SA"] * 10 and not asked


@pytest.mark.req("BASE-7")
def test_the_packet_of_a_later_generation_is_explained() -> None:
    near, far = router(1), router(2)
    into(far, send(near, [0]).packets.frames(), 0)
    wire = missed(near, 3)
    source = BatchSource(Batch.from_frames(wire, ts=100 * S))
    assert explain_trace(far, source, 1, far.interfaces.row[far.interface(OUTSIDE)])["verdict"] == "forwarded"


HUB = """crypto ipsec transform-set T esp-gcm
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.9
 set transform-set T
 match address A
interface GigabitEthernet0
 ip address 198.51.100.1 255.255.255.0
 crypto map M
ip route 0.0.0.0 0.0.0.0 198.51.100.2
"""


def hub(peers: int) -> Router:
    """A router with many peers, none of which has sent anything."""
    entries = "".join(
        f"crypto map M {k + 20} ipsec-isakmp\n set peer 192.0.2.{k}\n set transform-set T\n match address B{k}\n"
        for k in range(1, peers + 1)
    )
    lists = "ip access-list extended A\n permit ip any host 10.9.9.9\n" + "".join(
        f"ip access-list extended B{k}\n permit ip any host 10.9.0.{k}\n" for k in range(1, peers + 1)
    )
    return Router.loads(HUB.replace("interface", entries + "interface", 1) + lists)


@pytest.mark.req("BASE-7", "IDLE-4")
def test_forged_packets_of_many_peers_are_answered_once_each() -> None:
    """However often they come, in whatever order: and what is derived takes bounded memory."""
    router = hub(60)
    asked = stops(router)
    frames = [
        ip4(f"192.0.2.{1 + k % 60}", "198.51.100.1", (0x9000 + k).to_bytes(4) + bytes(40), 50) for k in range(3000)
    ]
    assert words(router.forward(Batch.from_frames(frames), "gi0")) == ["NO_SA"] * 3000
    assert len(asked) <= 1 + 2 * 60  # the table grows once on the way
    before = len(asked)
    router.forward(Batch.from_frames(frames[::-1]), "gi0")
    assert len(asked) == before
    pairs = len(router.sadb.pairs)
    assert router.tables.t.awaited.nbytes <= 16 * 8 * (1 + AHEAD) * pairs


@pytest.mark.req("IDLE-3")
def test_of_another_peer_other_generations_are_awaited() -> None:
    """What the peer that was left would send proves nothing, and is asked about once."""
    near, far = router(1), router(2)
    into(far, send(near, [0]).packets.frames(), 0)
    wire = missed(near, 3)
    forged_once = forged(far, 1, strangers=False)
    assert into(far, forged_once, 50) == ["NO_SA"]  # derives what the peer may send
    far.lifetimes.use_peer(0, ip_address("198.51.100.77"), 60 * S)
    asked = stops(far)
    assert into(far, wire, 100) == ["NO_SA"] * 3 and far.sadb.pairs[0].generation == 0
    assert len(asked) <= 3
