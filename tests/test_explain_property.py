"""Every sentence of `explain` is true: random configurations and packets, each line held against the bytes.

The checker (explain_check.py, explain_clauses.py) parses each line and verifies it from the frame, from what left, and
from naive look-ups of the configuration. A sentence that no pattern knows fails, so none goes unchecked.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import explain_clauses  # noqa: F401  (enters the patterns)
import pytest
from explain_check import Checker, Wrong
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_fragments import by_equal
from naive_router import NaiveRouter
from packets import ip4, ip6, packet4, packet6, udp
from site_help import WAYS, Site, any_site, traffic
from test_lifetimes import packet as lives_packet
from test_lifetimes import text as lives_text
from test_path_gre import KEYED, any_gre, delivered, gre
from test_path_policy import HOSTS, HOSTS6, office, policies
from test_path_transforms import NAMES, PROTECTIONS, associations, config, plain_packets
from test_sns import config as sns_config
from test_sns import packet as sns_packet

from qfp.batch import Batch
from qfp.config import loads
from qfp.decrypt import Decryptor
from qfp.result import Result
from qfp.router import Router

pytestmark = pytest.mark.req("USE-3")
EXAMPLES = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
INSIDE, OUTSIDE = "gi0/0/1", "gi0/0/0"
S = 10**9


class Explained:
    """A router whose every frame is explained and checked."""

    def __init__(self, text: str, long_lived: bool = True, kilobytes: int | None = None, **options: Any):
        read = loads(text)
        if long_lived:
            read.ipsec.lifetime_seconds = 8 * 10**9
        if kilobytes is not None:
            read.ipsec.lifetime_kilobytes = kilobytes
        self.router = Router(read, **options)
        self.twin = NaiveRouter(read, self.router)
        self.checker = Checker(self.router, text, self.twin)

    def forward(self, frames: Sequence[bytes], ingress: str, ts: Sequence[int] | None = None) -> Result:
        result = self.router.forward(Batch.from_frames(frames, ts=ts or [0] * len(frames)), ingress)
        self.checker.check(result)
        return result


@pytest.mark.parametrize("way", WAYS)
@EXAMPLES
@given(seed=st.integers(0, 10**6), family=st.sampled_from([4, 6]))
def test_sites(way: str, seed: int, family: int) -> None:
    """Crypto maps, VTIs and GRE, sizes around every limit, both ends; shuffled, doubled, and in the clear."""
    r = Random(seed)
    site = any_site(r, way, family)
    here, there = Explained(site.config(1)), Explained(site.config(2))
    times = [k * 10**8 for k in range(14)]
    frames = traffic(r, here.twin, 14)
    wire = here.forward(frames, INSIDE, times).packets.frames()[:40]
    wire += wire[::5]
    r.shuffle(wire)
    there.forward([*wire, *frames[:3]], OUTSIDE)


@EXAMPLES
@given(data=st.data())
def test_policies(data: st.DataObject) -> None:
    """Random access lists of both families, deny entries and port operators; bundles."""
    here, there = data.draw(policies())
    transform = data.draw(st.sampled_from(["GCM", "OLD"]))
    a, b = Explained(office(1, here, transform)), Explained(office(2, there, transform))
    any4, any6 = st.sampled_from(HOSTS), st.sampled_from(HOSTS6)
    packets = st.one_of(packet4(any4, any4), packet6(any6, any6))
    frames = data.draw(st.lists(packets, min_size=1, max_size=10))
    wire = a.forward(frames, INSIDE).packets.frames()
    b.forward([*wire, *wire[:2], *frames], OUTSIDE)


def spoiled(r: Random, packets: list[bytes]) -> list[bytes]:
    """Packets doubled, late, damaged, cut, of unknown SPIs, in the clear."""
    out = []
    for packet in packets:
        kind = r.random()
        if kind < 0.15 and len(packet) > 40:
            at = r.randrange(20, len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << r.randrange(8)]) + packet[at + 1 :]
        elif kind < 0.25:
            packet = packet[: r.randrange(len(packet) + 1)]
        out.append(packet)
        if kind > 0.8:
            out.append(r.choice(out))
    return out


@EXAMPLES
@given(data=st.data())
def test_key_files(data: st.DataObject) -> None:
    """Decryption of every protection: AH, bundles, transport, ESN, windows, NAT-T, damage."""
    name = data.draw(st.sampled_from(NAMES))
    mode, esn = data.draw(st.sampled_from(["tunnel", "transport"])), data.draw(st.booleans())
    fields = dict(PROTECTIONS)[name]
    natt = (4500, 4500) if len(fields) == 1 and fields[0]["proto"] == "esp" and data.draw(st.booleans()) else None
    seq = data.draw(st.sampled_from([0, 2**32 - 4])) if esn else 0
    window = data.draw(st.sampled_from([0, 64, 128]))
    sas = associations(fields, 4, mode=mode, esn=esn, seq=seq, replay_window=window, natt=natt)
    frames = plain_packets(mode == "transport", 4)[:12]
    router = Explained(config(1, 4, mode == "transport"), keys=sas)
    wire = router.forward(frames, INSIDE).packets.frames()
    r = Random(data.draw(st.integers(0, 10**6)))
    inbound = [replace(sa, seq=max(0, sa.seq - 1)) for sa in sas]
    d = Decryptor(inbound, keep_clear=data.draw(st.booleans()))
    checker = Checker(d)
    order = spoiled(r, [*wire, *frames[:2], ip4("203.0.113.1", "203.0.113.2", udp(4500, 4500, b"\xff"))])
    checker.check(d.open(Batch.from_frames(order)))


# ------------------------------------------------------------------------------- what happens seldom, by scenario
@EXAMPLES
@given(seed=st.integers(0, 10**6), idle=st.booleans(), volume=st.booleans())
def test_lives(seed: int, idle: bool, volume: bool) -> None:
    """Rekeys by time, volume and idleness, at both ends; what comes on SAs that are gone or old."""
    r = Random(seed)
    options = {"extra": "crypto ipsec security-association idle-time 60\n"} if idle else {}
    there = lives_text(2, **options)
    kilobytes = 4 if volume else None
    a = Explained(lives_text(1, **options), False, kilobytes, rekey=r.random() < 0.9)
    b = Explained(there, False, kilobytes)
    now, times = 0, []
    for _ in range(16):
        now += r.choice([0, S // 10, S, 30 * S, 59 * S, 61 * S, 1700 * S, 3401 * S])
        times.append(now)
    result = a.forward([lives_packet(k, r.choice([100, 1000])) for k in range(16)], INSIDE, times)
    wire = list(zip(result.packets.frames(), result.packets.ts.tolist(), strict=True))
    wire += [(data, ts + r.choice([S, 20 * S, 40 * S])) for data, ts in wire[:3]]
    wire.sort(key=lambda each: each[1])
    b.forward([data for data, _ in wire], OUTSIDE, [ts for _, ts in wire])


@EXAMPLES
@given(seed=st.integers(0, 10**6), transform=st.sampled_from(["esp-gcm", "esp-aes esp-sha-hmac"]))
def test_spaces(seed: int, transform: str) -> None:
    """Several sequence-number spaces: queues out, histories in; shuffled and doubled."""
    r = Random(seed)
    text = [sns_config(me).replace("T esp-gcm", f"T {transform}") for me in (1, 2)]
    a, b = Explained(text[0]), Explained(text[1])
    wire = a.forward([sns_packet(r.choice([46, 26, 40, 0, 8]), k) for k in range(16)], INSIDE).packets.frames()
    r.shuffle(wire)
    b.forward([*wire, *wire[:4]], OUTSIDE)


@EXAMPLES
@given(seed=st.integers(0, 10**6), mode=st.sampled_from(["tunnel", "transport"]))
def test_compression(seed: int, mode: str) -> None:
    """comp-lzs: what gets smaller, what does not, what is too long without; both ends."""
    r = Random(seed)
    site = Site("map" if mode == "tunnel" else "map transport", 4, "esp-aes esp-sha-hmac comp-lzs")
    site.outside.append(f"mtu {r.choice([600, 1500])}")
    a, b = Explained(site.config(1)), Explained(site.config(2))
    ends = ("10.1.0.9", "10.2.0.9") if mode == "tunnel" else ("203.0.113.1", "203.0.113.2")
    fill = r.randbytes(3000)
    frames = [ip4(*ends, udp(1, 2, (bytes(n) if r.random() < 0.5 else fill[:n])), flags=r.choice([0, 0x4000]))
              for n in (0, 20, 70, 90, 200, 560, 1000, 1480, 2000)]  # fmt: skip
    b.forward(a.forward(frames, INSIDE).packets.frames(), OUTSIDE)


@EXAMPLES
@given(seed=st.integers(0, 10**6))
def test_any_gre(seed: int) -> None:
    """GRE headers of every kind: keys, checksums, sequence numbers, fragments, tunnels that are not there."""
    r = Random(seed)
    family, lines = r.choice([4, 6]), r.choice([KEYED, [], KEYED[:1], KEYED[2:]])
    way = r.choice(["gre", "gre", "gre tunnel"])
    router = Explained(Site(way, family, tunnel=lines).config(2))
    frames = [delivered(family, any_gre(r, k), r.choice([0, 1, 2, 3])) for k in range(16)]
    frames += by_equal(frames[0], 100 if family == 4 else 1280)
    router.forward(frames, OUTSIDE)


@EXAMPLES
@given(seed=st.integers(0, 10**6))
def test_fragments(seed: int) -> None:
    """Fragments of protected packets, in any order, with overlaps, duplicates, and some missing; and in transit."""
    r = Random(seed)
    site = Site("map", r.choice([4, 6]), r.choice(["esp-gcm", "ah-sha-hmac esp-aes"]))
    if r.random() < 0.5:
        site.everywhere.append("crypto ipsec fragmentation after-encryption")
    site.outside.append("mtu 1280")
    a, b = Explained(site.config(1)), Explained(site.config(2))
    ends = ("10.1.0.9", "10.2.0.9")
    frames = [ip4(*ends, udp(1, 2, bytes(n))) for n in (1200, 1400, 2000)]
    frames += by_equal(ip4(*ends, udp(5, 6, bytes(3000)), ident=9), 900)
    wire = a.forward(frames, INSIDE).packets.frames()
    wire += r.sample(wire, 3)
    r.shuffle(wire)
    b.forward(wire, OUTSIDE, [k * S for k in range(len(wire))])


LOOP = "\nip route 203.0.113.2 255.255.255.255 Tunnel0\n"
TO_2 = ip4("10.1.0.9", "10.2.0.9", udp(1, 2))
CAUSES = {  # configuration, options, ingress, frame
    "NO_SA_OUT": (Site("map", 4).config(1), {"keying": "manual"}, INSIDE, TO_2),
    "IPV6_ROUTING_OFF": (
        Site("map", 6).config(1).replace("ipv6 unicast-routing", ""), {}, INSIDE,
        ip6("fd00:1::9", "fd00:2::9", udp(1, 2)),
    ),
    "TUNNEL_LOOP": (Site("gre", 4).config(1) + LOOP, {}, INSIDE, TO_2),
    "NESTED_TOO_DEEP": (
        Site("gre", 4).config(2), {}, OUTSIDE,
        delivered(4, gre(0, b"", ip4("10.1.0.9", "10.2.0.1", bytes(40), 50))),
    ),
    "NO_SA": (Site("map", 4).config(2), {}, OUTSIDE, ip4("203.0.113.1", "203.0.113.2", bytes(60), 50)),
    "NOT_IPSEC": (Site("map", 4).config(2), {}, OUTSIDE, TO_2),
    "TRANSPORT_FRAGMENT": (
        Site("map transport", 4).config(1), {}, INSIDE, ip4("203.0.113.1", "203.0.113.2", udp(1, 2), flags=0x2000),
    ),
    "BAD_CHECKSUM": (Site("map", 4).config(1), {}, INSIDE, TO_2[:10] + b"\0\0" + TO_2[12:]),
    "BAD_HEADER": (Site("map", 4).config(1), {}, INSIDE, TO_2[:-5]),
    "NO_ROUTE": (Site("map", 4).config(1), {}, INSIDE, ip4("10.1.0.9", "9.9.9.9", udp(1, 2))),
    "GRE_NO_TUNNEL": (Site("gre", 4).config(2), {}, OUTSIDE, delivered(4, gre(0, b"", TO_2), src="203.0.113.9")),
    "GRE_HEADER": (Site("gre", 4).config(2), {}, OUTSIDE, delivered(4, gre(1, b"", TO_2))),
    "BAD_INNER": (Site("gre", 4).config(2), {}, OUTSIDE, delivered(4, gre(0, b"", b"E"))),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_causes(cause: str) -> None:
    """A drop is told at the stage where it fell, with a reason that holds."""
    text, options, ingress, frame = CAUSES[cause]
    router = Explained(text, **options)
    facts = router.forward([frame], ingress).explain(0)
    drops = [step for step in facts["stages"] if "drop" in step]
    assert facts["cause"]["cause"] == cause and [step["drop"]["cause"] for step in drops] == [cause]
    assert facts["stage"] == drops[0]["drop"]["stage"]


# ------------------------------------------------------------------------------------------- the checker itself
def altered(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The explanation with one number of one sentence raised by one, or one word turned round."""
    turned = {"good": "not good", "OUTBOUND": "INBOUND", "verifies": "does not verify", "goes on in clear": "no route"}
    for k, step in enumerate(facts["stages"]):
        text = step["decision"]
        for found in re.finditer(r"(?<![\w.:/])\d+(?![\w.:/])|(?<=\.)\d+(?=[\s,;:])", text):
            new = text[: found.start()] + str(int(found.group()) + 1) + text[found.end() :]
            yield {**facts, "stages": [*facts["stages"][:k], {**step, "decision": new}, *facts["stages"][k + 1 :]]}
        for word, other in turned.items():
            if word in text:
                new = {**step, "decision": text.replace(word, other, 1)}
                yield {**facts, "stages": [*facts["stages"][:k], new, *facts["stages"][k + 1 :]]}


@pytest.mark.parametrize("way", ["map", "gre tunnel"])
def test_false_sentences_are_noticed(way: str) -> None:
    """The checker is no rubber stamp: what is changed in a true explanation is found, whatever it is."""
    site = Site(way, 4, "ah-sha-hmac esp-aes" if way == "map" else "esp-gcm")
    a, b = Explained(site.config(1)), Explained(site.config(2))
    sent = a.router.forward(Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(99)))]), INSIDE)
    got = b.router.forward(sent.packets, OUTSIDE)
    for each, result in ((a, sent), (b, got)):
        true, count = result.explain(0), 0
        for facts in altered(true):
            each.checker.book.histories.clear()
            with pytest.raises(Wrong):
                each.checker.one(result, 0, facts)
            count += 1
        each.checker.book.histories.clear()
        each.checker.one(result, 0, true)
        assert count > 15, count


def test_a_sentence_that_nobody_knows_fails() -> None:
    site = Site("map", 4)
    a = Explained(site.config(1))
    result = a.router.forward(Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]), INSIDE)
    facts = result.explain(0)
    facts["stages"][-1]["decision"] += "; and all is well"
    with pytest.raises(Wrong, match="no pattern knows"):
        a.checker.one(result, 0, facts)
