"""A running router gets another configuration (AR-8, USE-2): what goes on, what is made anew, what turns stale."""

from typing import Any

import pytest
from packets import ip4, udp
from test_lifetimes import (
    GRE4,
    INSIDE,
    MAP4,
    OUTSIDE,
    VTI4,
    S,
    back,
    events,
    generations,
    router,
    send,
    text,
    words,
)

from qfp.batch import Batch
from qfp.config import loads
from qfp.router import Router

MULTI = "crypto ipsec security-association multi-sn\n"


def changed(r: Router, ts: int, **options: Any) -> Router:
    me = int(r.config.hostname[1:]) if r.config.hostname else 1
    return r.reconfigured(loads(text(me, **options)), ts * S)


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("case", [MAP4, VTI4, GRE4], ids=["map", "vti", "gre"])
@pytest.mark.parametrize("transform", ["esp-gcm", "ah-sha-hmac esp-aes"])
def test_sessions_go_on(case: Any, transform: str) -> None:
    """The same configuration again, at any moment: numbers, windows, generations, timers and counters are as if
    nothing had happened."""
    plan = [0, 1, 3000, 3401, 3402, 3410, 3435, 6900, 9000]
    runs = []
    for cuts in ((), (2,), (4,), (5, 6), (1, 3, 5, 7)):
        near, far = (router(me, case, kilobytes=40, transform=transform) for me in (1, 2))
        seen = []
        for k, second in enumerate(plan):
            if k in cuts:
                near, far = (r.reconfigured(r.config, second * S) for r in (near, far))
            sent = send(near, [second + 0.01 * j for j in range(25)], size=900)
            got = far.forward(sent.packets, OUTSIDE)
            again = far.forward(sent.packets, OUTSIDE)
            assert set(words(again)) <= {"REPLAY", "NO_SA"}
            seen.append((sent.packets.frames(), words(got)))
        runs.append((seen, near.lifetimes.events, far.lifetimes.events, near.tables.t.verdicts.tolist()))
    assert all(run == runs[0] for run in runs[1:])
    assert {w for _, found in runs[0][0] for w in found} == {"forwarded"} and len(runs[0][1]) > 8


@pytest.mark.req("AR-8")
def test_switched_on_while_sessions_exist() -> None:
    """`multi-sn` on both routers, sessions not cleared: their traffic drops until it is done."""
    near, far = router(1), router(2)
    first = send(near, [0, 1])
    assert words(far.forward(first.packets, OUTSIDE)) == ["forwarded"] * 2
    near, far = changed(near, 10, extra=MULTI), changed(far, 10, extra=MULTI)
    assert words(send(near, [11, 12])) == ["SA_STALE"] * 2
    late = Batch.from_frames(router_wire(3), ts=13 * S)
    assert words(far.forward(late, OUTSIDE)) == ["SA_STALE"], "what was under way from before is dropped too"
    for r in (near, far):
        assert r.clear(20 * S) == 1
    then = send(near, [21, 22])
    assert words(then) == words(far.forward(then.packets, OUTSIDE)) == ["forwarded"] * 2
    assert near.tables.t.sa_out["sns_at"][near.sadb.pairs[0].outbound[0]] >= 0
    assert [e[1] for e in events(near)] == ["stale", "cleared"]


def router_wire(n: int) -> list[bytes]:
    """The packet number n of an SA of the first generation."""
    return send(router(1), list(range(n))).packets.frames()[-1:]


@pytest.mark.req("AR-8")
def test_new_sessions_are_not_stale() -> None:
    """Switched on before anything was sent; and the soft lifetime of a stale session brings a good one, too."""
    fresh = changed(router(1), 10, extra=MULTI)
    assert words(send(fresh, [11])) == ["forwarded"]
    old = router(1)
    send(old, [0])
    stale = changed(old, 10, extra=MULTI)
    assert words(send(stale, [11, 3400, 3401])) == ["SA_STALE"] * 2 + ["forwarded"]


@pytest.mark.req("USE-2")
def test_what_an_entry_no_longer_asks_for_is_gone() -> None:
    """Another transform is another SA; limits that were negotiated stay, new SAs have the new ones."""
    near = router(1)
    first = send(near, [0])
    other = changed(near, 5, transform="esp-aes esp-sha-hmac")
    assert send(other, [6]).packets.frame(0)[20:24] != first.packets.frame(0)[20:24]
    assert other.lifetimes.events == []
    short = "crypto ipsec security-association lifetime seconds 600\n"
    near = changed(router_used(), 5, extra=short)
    assert generations(near, send(near, [6, 3400, 3401, 3401 + 541, 3401 + 542])) == [0, 0, 1, 1, 2]


def router_used() -> Router:
    r = router(1)
    send(r, [0])
    return r


@pytest.mark.req("USE-2", "PF-2")
def test_path_mtus_and_totals_go_on() -> None:
    near = router_used()
    near.path_mtus.on_stop(1, near.sadb.pairs[0].outbound[0], 1300, 1 * S)
    near = near.reconfigured(near.config, 2 * S)
    handle = near.sadb.pairs[0].outbound[0]
    assert near.tables.t.sa["path_mtu"][handle] == 1300
    near.advance(601 * S)
    assert near.tables.t.sa["path_mtu"][handle] == 1500
    assert send(near, [602]).counters["frames_in"] == 2


@pytest.mark.req("USE-2", "PF-3")
def test_fragments_wait_over_a_change() -> None:
    """Half a packet before, half behind."""
    sender = Router.loads(VTI4.config(1).replace("GigabitEthernet0/0/0\n", "GigabitEthernet0/0/0\n ip mtu 800\n", 1))
    data = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(1300)))
    wire = sender.forward(Batch.from_frames([data]), INSIDE).packets.frames()
    assert len(wire) >= 2
    far = router(2, VTI4)
    held = far.forward(Batch.from_frames(wire[:-1], ts=1 * S), OUTSIDE)
    far = far.reconfigured(far.config, 2 * S)
    rest = far.forward(Batch.from_frames(wire[-1:], ts=3 * S), OUTSIDE)
    assert set(words(held)) == {"consumed"} and len(rest.packets) >= 1
    assert words(far.forward(Batch.from_frames([back()], ts=4 * S), INSIDE)) == ["forwarded"]


FIRST = """crypto map M 5 ipsec-isakmp
 set peer 203.0.113.99
 set transform-set T
 match address OTHERS
ip access-list extended OTHERS
 permit ip 10.1.0.0 0.0.255.255 10.77.0.0 0.0.255.255
ip route 10.77.0.0 255.255.0.0 203.0.113.99
"""


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("when", [100, 3600, 3410])
def test_entries_that_have_other_numbers_now(when: int) -> None:
    """Another entry in front moves those behind it, after a rekey too: each goes on with its own SAs, at both ends, and
    the router can be saved."""
    near, far = router(1), router(2)
    for second in (0, 3400, 3405):
        if second < when:
            far.forward(send(near, [second]).packets, OUTSIDE)
    near = near.reconfigured(loads(FIRST + text(1)), when * S)
    near = Router._loaded(near._dumped())
    entries = {want.where: want.sp for want in near.plane.wants}
    t = near.tables.t
    assert entries["crypto map M 5"] != entries["crypto map M 10"]
    for pair in near.sadb.pairs:
        assert int(t.sp["sa_out"][pair.want.sp]) == pair.outbound[0]
        assert {int(t.sa["sp"][h]) for h in (*pair.outbound, *pair.inbound)} == {pair.want.sp}
    sent = send(near, [when + 1])
    assert words(sent) == ["forwarded"]
    assert words(far.forward(sent.packets, OUTSIDE)) == ["forwarded"]
    others = near.forward(Batch.from_frames([ip4("10.1.0.5", "10.77.0.7", udp(1, 2))], ts=(when + 1) * S), INSIDE)
    known = {near.sad.describe(pair.outbound[0]).spi: str(pair.want.peer) for pair in near.sadb.pairs}
    assert known[int(others.verdicts["spi"][0])] == "203.0.113.99"
