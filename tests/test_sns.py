"""Multiple sequence-number spaces (AR-6 to AR-8): numbers, histories, ESN, overflow, and both ends not agreeing."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ip4, udp
from test_dependency_table import LAN, Case, hops

from qfp.batch import Batch
from qfp.config import loads
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router
from qfp.tables.sad import history_of
from qfp_kernels.layout import CTL_SNS_BITS, CTL_SNS_LSB

MAP4 = Case("enabled", "copy", 0, "", "map", 4, 4)
POLICY = """class-map match-all VOICE
 match dscp ef
class-map match-any DATA
 match dscp af31 af32
 match precedence 5
policy-map OUT
 class VOICE
  priority 1000
 class DATA
  bandwidth 2000
 class class-default
  fair-queue
"""
EF, AF31, CS5, BE = 46, 26, 40, 0
SPACES = {EF: 0, AF31: 1, CS5: 1, BE: 2, 8: 2}


def config(me: int, multi: bool = True, extra: str = "", policy: str = POLICY) -> str:
    text = MAP4.config(me).replace(" crypto map M\n", " crypto map M\n service-policy output OUT\n")
    return policy + "crypto ipsec security-association multi-sn\n" * multi + extra + text


def packet(dscp: int, k: int = 0) -> bytes:
    return ip4(*LAN[4], udp(1, 2, k.to_bytes(4)), tos=dscp << 2)


def send(router: Router, dscps: list[int]) -> Result:
    return router.forward(Batch.from_frames([packet(d, k) for k, d in enumerate(dscps)]), "gi0/0/1")


def number(wire: bytes) -> int:
    return int.from_bytes(wire[24:28])


def words(result: Result) -> list[str]:
    v = result.verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


@pytest.mark.req("AR-6")
def test_a_queue_a_space() -> None:
    """Selector in the top four bits, a counter from 1 in each space; the verdict names the space."""
    dscps = [EF, BE, AF31, EF, CS5, 8, EF]
    router = Router.loads(config(1))
    result = send(router, dscps)
    wire = [number(p) for p in result.packets.frames()]
    assert [n >> 28 for n in wire] == [SPACES[d] for d in dscps] == result.verdicts["sns"].tolist()
    assert [n & 0xFFFFFFF for n in wire] == [1, 1, 1, 2, 2, 2, 3]
    assert [int(s) & 0xFFFFFFFF for s in result.verdicts["seq"]] == wire
    far = Router.loads(config(2))
    got = far.forward(result.packets, "gi0/0/0")
    assert got.packets.frames() == [hops(packet(d, k), 2) for k, d in enumerate(dscps)]
    assert got.verdicts["sns"].tolist() == [SPACES[d] for d in dscps]


@pytest.mark.req("AR-6")
@pytest.mark.parametrize(("bits", "lsb"), [(4, 1), (2, 0), (3, 1)])
def test_width_and_place_are_parameters(bits: int, lsb: int) -> None:
    ends = [Router.loads(config(me)) for me in (1, 2)]
    for router in ends:
        router.tables.t.ctl[CTL_SNS_BITS], router.tables.t.ctl[CTL_SNS_LSB] = bits, lsb
    result = send(ends[0], [EF, AF31, BE, BE])
    wire = [number(p) for p in result.packets.frames()]
    found = [(n & (1 << bits) - 1, n >> bits) if lsb else (n >> 32 - bits, n & (1 << 32 - bits) - 1) for n in wire]
    assert found == [(0, 1), (1, 1), (2, 1), (2, 2)]
    assert words(ends[1].forward(result.packets, "gi0/0/0")) == ["forwarded"] * 4


@dataclass
class NaiveSpaces:
    """The obvious receiver: a set of numbers seen and the highest one, a space."""

    window: int
    tops: dict[int, int] = field(default_factory=dict)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def takes(self, space: int, counter: int) -> bool:
        top = self.tops.get(space, 0)
        if counter == 0 or (space, counter) in self.seen or counter <= top - self.window:
            return False
        self.tops[space] = max(top, counter)
        self.seen.add((space, counter))
        return True


def scheduled(dscps: list[int], hold: int, rng: Any) -> list[int]:
    """Order in which packets leave when voice overtakes: everything else waits behind up to `hold` later packets."""
    key = [k if d == EF else k + int(rng.integers(0, hold)) for k, d in enumerate(dscps)]
    last: dict[int, int] = {}
    for k, d in enumerate(dscps):  # within a queue nothing overtakes
        key[k] = max(key[k], last.get(SPACES[d], 0))
        last[SPACES[d]] = key[k]
    return sorted(range(len(dscps)), key=lambda k: (key[k], k))


@pytest.mark.req("AR-6", "AR-7")
@pytest.mark.parametrize("window", [64, 128, 1024])
def test_scheduling_alone_loses_nothing(window: int) -> None:
    """The order that strict priority makes: drops with one space, none with sixteen."""
    rng = np.random.default_rng(1)
    dscps = rng.choice([EF, EF, EF, AF31, BE], 6000).tolist()
    extra = f"crypto ipsec security-association replay window-size {window}\n"
    lost = {}
    for multi in (False, True):
        a, b = (Router.loads(config(me, multi, extra)) for me in (1, 2))
        wire = send(a, dscps).packets.frames()
        order = scheduled(dscps, 3 * window, np.random.default_rng(2))
        got = b.forward(Batch.from_frames([wire[k] for k in order]), "gi0/0/0")
        lost[multi] = got.counters["drops"].get("REPLAY", 0)
    assert lost[False] > 100 and lost[True] == 0


@pytest.mark.req("AR-6")
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_histories_against_the_twin(batch: int) -> None:
    """Reordering and duplicates by the network, in every space: shorter histories, each on its own."""
    rng = np.random.default_rng(3)
    dscps = rng.choice([EF, AF31, BE], 3000).tolist()
    wire = send(Router.loads(config(1)), dscps).packets.frames()
    order = np.argsort(np.arange(3000) + rng.integers(0, 120, 3000), kind="stable").tolist()
    order = [k for j in order for k in ([j, j] if rng.random() < 0.1 else [j])]
    frames = [wire[k] for k in order]
    twin = NaiveSpaces(history_of(64))
    wanted = [twin.takes(number(f) >> 28, number(f) & 0xFFFFFFF) for f in frames]
    router = Router.loads(config(2), batch=batch)
    got = words(router.forward(Batch.from_frames(frames), "gi0/0/0"))
    assert got == ["forwarded" if w else "REPLAY" for w in wanted]
    late = sum(w == "REPLAY" for w in got)
    assert late > sum(order.count(k) - 1 for k in set(order)), "some are not duplicates but late"
    assert int(router.tables.t.sns_in["replays"].sum()) == late


@pytest.mark.req("AR-8")
def test_on_one_side_only() -> None:
    """The other router drops: with many spaces at the sender a plain receiver jumps to the highest selector and refuses
    all others; with one space at the sender the receiver's shorter history is all there is."""
    dscps = [BE, EF, AF31, EF, AF31, EF] * 50
    wire = send(Router.loads(config(1, multi=True)), dscps).packets
    got = words(Router.loads(config(2, multi=False)).forward(wire, "gi0/0/0"))
    assert [w == "forwarded" for w in got] == [d == BE for d in dscps], "space 2 is the highest that is used"
    rng = np.random.default_rng(4)
    plain = send(Router.loads(config(1, multi=False)), dscps).packets.frames()
    order = scheduled(dscps, 40, rng)
    there = Router.loads(config(2, multi=True)).forward(Batch.from_frames([plain[k] for k in order]), "gi0/0/0")
    twin = NaiveSpaces(history_of(64))
    wanted = [twin.takes(0, number(plain[k])) for k in order]
    assert [w == "forwarded" for w in words(there)] == wanted and not all(wanted)


@pytest.mark.req("AR-6")
def test_a_space_is_explained() -> None:
    """`explain` names the space and its history, and leaves all of them as they were."""
    wire = send(Router.loads(config(1)), [EF, BE, BE]).packets.frames()
    b = Router.loads(config(2))
    result = b.forward(Batch.from_frames([wire[0], wire[2], wire[1], wire[1]]), "gi0/0/0")
    before = b.tables.t.sns_in.copy()
    told = [str(result.explain(frame)) for frame in range(4)]
    assert "above the window of space 0" in told[0]
    assert "inside the window of space 2, not seen" in told[2] and "of space 2, seen before" in told[3]
    assert np.array_equal(b.tables.t.sns_in, before)


@pytest.mark.req("AR-6", "BASE-7")
@pytest.mark.parametrize("esn", [False, True])
def test_a_space_runs_out(esn: bool) -> None:
    """Without ESN a space ends with the largest number its 28 bits hold, and the others go on; with ESN it goes on, and
    the receiver infers what does not travel."""
    extra = "crypto ipsec transform-set T esp-gcm\n esn\n" if esn else ""
    texts = [config(me).replace("crypto ipsec transform-set T esp-gcm\n", "") for me in (1, 2)] if esn else None
    a, b = (Router.loads(extra + (texts[me - 1] if texts else config(me))) for me in (1, 2))
    top = 2**28 - 1
    a.tables.t.sns_out[0] = top - 2
    histories = b.tables.t.sns_in
    histories["top"][0] = top - 3
    result = send(a, [EF] * 5 + [BE])
    assert words(result) == ["forwarded"] * 3 + (["forwarded"] * 2 if esn else ["SEQ_OVERFLOW"] * 2) + ["forwarded"]
    got = b.forward(result.packets, "gi0/0/0")
    assert set(words(got)) == {"forwarded"}
    if esn:
        assert [number(p) & 0xFFFFFFF for p in result.packets.frames()[:5]] == [top - 2, top - 1, top, 0, 1]
        assert int(histories["top"][0]) == top + 2
        assert [int(s) >> 32 for s in result.verdicts["seq"][:5]] == [0, 0, 0, 1, 1]


@given(st.integers(0, 2**60 - 1), st.integers(0, 15), st.sampled_from([(4, 0), (4, 1), (2, 0), (5, 1)]))
def test_compose_and_split(counter: int, space: int, shape: tuple[int, int]) -> None:
    from qfp_kernels.sns import compose, split

    bits, lsb = shape
    SHARED.tables.t.ctl[CTL_SNS_BITS], SHARED.tables.t.ctl[CTL_SNS_LSB] = bits, lsb
    space &= (1 << bits) - 1
    counter &= (1 << 64 - bits) - 1  # what 32 bits of ESN and the bits in the packet hold
    seq = compose(SHARED.tables.t, np.int64(space), np.uint64(counter))
    assert split(SHARED.tables.t, np.uint64(seq)) == (space, counter)


SHARED = Router.loads(config(1))


@pytest.mark.req("AR-6")
def test_what_the_dscp_does_not_tell_is_reported() -> None:
    text = POLICY.replace(" match dscp ef\n", " match access-group 101\n")
    router = Router.loads(config(1, policy=text))
    assert any("class VOICE" in str(issue) and "access-group" in str(issue) for issue in router.issues)
    assert send(router, [EF, BE]).verdicts["sns"].tolist() == [1, 2], "EF has precedence 5"


@pytest.mark.req("AR-8")
def test_getvpn_is_refused() -> None:
    text = "crypto ipsec security-association multi-sn\ncrypto map G 10 gdoi\n set group X\n"
    assert any("multi" in str(issue).lower() for issue in loads(text).errors)


NESTED = """policy-map INNER
 class VOICE
  priority 1000
 class DATA
  bandwidth 2000
policy-map OUT
 class BULK
  shape average 2000000
  service-policy INNER
 class class-default
  shape average 8000000
  service-policy INNER
"""


@pytest.mark.req("AR-6", "QOS-1")
def test_queues_of_policies_within_classes() -> None:
    """A shaper with a policy under it, as IOS users write it: each queue below has its space, in the order in which the
    queues of labs stand."""
    from qfp.control.classes import queue_of, queues
    from qfp.qos.classes import Classifier
    from qfp.qos.headers import headers_of

    maps = POLICY.split("policy-map")[0] + "class-map match-any BULK\n match precedence 1\n match dscp ef\n"
    cfg = loads(maps + NESTED)
    policy = cfg.policy_maps["OUT"]
    assert queues(cfg, policy) == 6
    found = [queue_of(cfg, policy, 4, dscp) for dscp in range(64)]
    classifier = Classifier(cfg, "OUT")
    assert len(classifier.classes) == 6
    assert found == classifier.classify(headers_of(Batch.from_frames([packet(d) for d in range(64)]))).tolist()
    assert (found[EF], found[AF31], found[BE], found[8]) == (0, 4, 5, 2)
    router = Router.loads(config(1, policy=maps + NESTED))
    assert [number(p) >> 28 for p in send(router, [EF, AF31, BE, 8]).packets.frames()] == [0, 4, 5, 2]
