"""Class maps: against the slow twin on random packets, and one by one; DSCPs written into packets."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_qos import class_of, header
from packets import icmp, ip4, ip6, packet4, packet6, udp

from qfp.batch import Batch
from qfp.config import Configuration, loads
from qfp.qos import Classifier, QosError, headers_of, mark

LISTS = """
access-list 10 permit 10.0.0.0 0.255.255.255
ip access-list extended WEB
 deny tcp host 10.1.0.1 any eq 80
 permit tcp any any eq 80 443
 permit udp any range 5000 5100 any neq 7
 permit icmp any any echo
 permit tcp any any established
 permit ip any any dscp cs3
 deny ip any any precedence 7
 permit ip any any fragments
ipv6 access-list WEB
 permit udp 2001:db8::/32 any gt 1000
 permit tcp any eq 22 any
 permit icmp any any echo-request
ipv6 access-list SIX
 permit ipv6 any host 2001:db8::5
"""
MAPS = """
class-map match-all both
 match dscp ef af41 af42
 match access-group name WEB
class-map match-any either
 match ip precedence 5 6
 match protocol dns
 match qos-group 7
class-map match-all inner
 match not protocol tcp
 match access-group 10
class-map match-any nested
 match class-map inner
 match not class-map either
class-map match-all six
 match protocol ipv6
 match not access-group name SIX
class-map match-all marked
 match ip dscp 0 8 16 24
 match not access-group name WEB
class-map match-all empty
class-map match-any apps
 match protocol ssh
 match protocol rtp
 match protocol ipsec
 match protocol icmp
class-map match-all all
 match any
"""
POLICIES = """
policy-map flat
 class both
 class either
 class empty
 class six
 class marked
 class nested
 class apps
policy-map child
 class apps
 class marked
policy-map tree
 class six
  service-policy child
 class both
 class class-default
  service-policy flat
policy-map whole
 class all
"""
EF, CS6 = 46, 48


@pytest.fixture(scope="module")
def cfg() -> Configuration:
    found = loads(LISTS + MAPS + POLICIES)
    assert found.ok, found.errors
    return found


def names(cfg: Configuration, policy: str, frames: list[bytes], group: Any = None, **link: Any) -> list[str]:
    classifier = Classifier(cfg, policy)
    classes = classifier.classify(headers_of(Batch.from_frames(frames, **link)), group)
    return [classifier.classes[k].name for k in classes]


ADDRESS4 = st.sampled_from(["10.1.0.1", "10.200.3.4", "192.0.2.9", "11.0.0.0"])
ADDRESS6 = st.sampled_from(["2001:db8::5", "2001:db8:1::9", "2001:dead::1"])
DATA = st.integers(0, 30).map(bytes)
PORTS = st.sampled_from([7, 22, 53, 80, 443, 500, 4999, 5000, 5100, 16384, 32767, 32768, 1000, 1001])


@st.composite
def common(draw: st.DrawFn) -> bytes:
    """A packet with values that the class maps look at."""
    proto = draw(st.sampled_from([1, 6, 17, 47, 50, 51, 58, 132]))
    ports = draw(PORTS).to_bytes(2, "big") + draw(PORTS).to_bytes(2, "big")
    if proto in (1, 58):
        ports = bytes([draw(st.sampled_from([0, 8, 128, 129])), 0, 0, 0])
    payload = ports + bytes(9) + bytes([draw(st.sampled_from([0, 0x02, 0x10, 0x04]))]) + draw(DATA)
    payload = payload[: draw(st.sampled_from([3, 8, 13, 14, 40]))]
    tos = draw(st.sampled_from([0, EF << 2, 34 << 2, 24 << 2, 0xE0, 0xC3, 40 << 2]))
    if draw(st.booleans()):
        flags = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x0003, 0x2003]))
        return ip4(draw(ADDRESS4), draw(ADDRESS4), payload, proto, tos=tos, flags=flags)
    fragment = (44, bytes([0, draw(st.sampled_from([0, 1, 9])), 0, 0, 0, 7]))
    chain = draw(st.sampled_from([[], [fragment], [(0, bytes([1, 4, 0, 0, 0, 0])), fragment]]))
    return ip6(draw(ADDRESS6), draw(ADDRESS6), payload, proto, tos=tos, headers=chain)


@pytest.mark.req("QOS-1")
@given(st.lists(st.tuples(common() | packet4(ADDRESS4, ADDRESS4) | packet6(ADDRESS6, ADDRESS6),
                          st.sampled_from([0, 7, 99])), min_size=1, max_size=60),
       st.sampled_from(["flat", "tree", "child", "whole"]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_classes_agree_with_the_twin(packets: list[tuple[bytes, int]], policy: str) -> None:
    cfg = loads(LISTS + MAPS + POLICIES)
    frames, groups = [each[0] for each in packets], np.array([each[1] for each in packets], np.uint8)
    expected = [class_of(cfg, policy, header(frame), int(group)) for frame, group in packets]
    assert names(cfg, policy, frames, groups) == expected


def test_every_class_of_the_twin_test_is_met(cfg: Configuration) -> None:
    """So that agreement means something: fixed packets that reach each class of the flat policy but the empty one."""
    frames = [
        ip4("10.9.0.1", "10.0.0.2", udp(5000, 9), tos=EF << 2),
        ip4("192.0.2.9", "10.0.0.2", udp(9, 53)),
        ip6("2001:db8::1", "2001:db8::6", udp(1, 2)),
        ip4("192.0.2.9", "10.0.0.2", udp(1, 9), tos=24 << 2)[:-8] + bytes(8),
        ip4("192.0.2.9", "10.0.0.2", udp(1, 9), tos=16 << 2),
        ip4("10.0.0.1", "10.0.0.2", udp(1, 9), tos=1 << 2),
        ip6("2001:db8::1", "2001:db8::5", udp(1, 53)),
    ]
    got = names(cfg, "flat", frames)
    assert got == ["both", "either", "six", "nested", "marked", "nested", "either"]


ONE: list[tuple[str, bytes, bool]] = [
    ("match dscp ef", ip4("1.1.1.1", "2.2.2.2", b"", tos=EF << 2 | 3), True),
    ("match dscp ef", ip6("::1", "::2", b"", tos=EF << 2 | 3), True),
    ("match ip dscp ef", ip6("::1", "::2", b"", tos=EF << 2), False),
    ("match not dscp ef", ip4("1.1.1.1", "2.2.2.2", b"", tos=EF << 2), False),
    ("match precedence 5 6 7", ip6("::1", "::2", b"", tos=0xE0), True),
    ("match precedence 5 6 7", ip6("::1", "::2", b"", tos=0x9F), False),
    ("match protocol ip", ip6("::1", "::2", b""), False),
    ("match protocol gre", ip6("::1", "::2", b"", 47), True),
    ("match protocol icmp", ip4("1.1.1.1", "2.2.2.2", icmp(8), 1), True),
    ("match protocol icmp", ip4("1.1.1.1", "2.2.2.2", icmp(8), 58), False),
    ("match protocol esp", ip4("1.1.1.1", "2.2.2.2", bytes(8), 50), True),
    ("match protocol ipsec", ip4("1.1.1.1", "2.2.2.2", udp(4500, 9)), True),
    ("match any", ip4("1.1.1.1", "2.2.2.2", b""), True),
    ("match qos-group 0", ip4("1.1.1.1", "2.2.2.2", b""), True),
]


@pytest.mark.req("QOS-1")
@pytest.mark.parametrize(("line", "packet", "expected"), ONE)
def test_one_condition(line: str, packet: bytes, expected: bool) -> None:
    cfg = loads(f"class-map c\n {line}\npolicy-map p\n class c\n")
    assert cfg.ok
    frame = bytes(12) + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet
    tagged = frame[:12] + b"\x81\0\0\x05" + frame[12:]
    for frames, link in (([packet], 101), ([frame], 1), ([tagged], 1)):
        assert (names(cfg, "p", frames, link=link) == ["c"]) is expected


def test_frames_that_are_no_ip_packets() -> None:
    cfg = loads("class-map a\n match protocol arp\nclass-map n\n match not dscp ef\npolicy-map p\n class a\n class n\n")
    frames = [bytes(12) + b"\x08\x06" + bytes(28), bytes(12) + b"\x88\xcc" + bytes(40), b"", bytes(14)]
    assert names(cfg, "p", frames, link=1) == ["a", "n", "n", "n"]
    short = ip4("1.1.1.1", "2.2.2.2", b"")[:19], ip6("::1", "::2", b"")[:39]
    assert headers_of(Batch.from_frames(short))["fam"].tolist() == [0, 0]


@given(st.lists(st.binary(max_size=90), max_size=40), st.sampled_from([1, 101, 0, 113, 276]))
def test_any_bytes_have_a_class(frames: list[bytes], link: int) -> None:
    cfg = loads(LISTS + MAPS + POLICIES)
    assert len(names(cfg, "tree", frames, link=link)) == len(frames)


# ------------------------------------------------------------------------------------------ what is refused
REFUSED = [
    ("policy-map p\n class c\n", "class map 'c' is not defined: add `class-map c`"),
    ("class-map c\n match access-group 12\npolicy-map p\n class c\n", "access list '12' is not defined"),
    ("", "policy map 'p' is not defined: add `policy-map p`"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_cannot_be_compiled(text: str, words: str) -> None:
    with pytest.raises(QosError, match=words):
        Classifier(loads(text), "p")


def test_a_configuration_made_by_hand_may_not_contain_itself() -> None:
    """From text it cannot: the line that closes the circle is refused, see test_refused_lines."""
    text = "class-map c\n match any\nclass-map d\n match class-map c\npolicy-map p\n class d\n"
    for name in ("class map 'c'", "policy map 'p'"):
        cfg = loads(text)
        assert Classifier(cfg, "p")
        if name.startswith("class"):
            cfg.class_maps["c"].matches[:] = [replace(cfg.class_maps["d"].matches[0], values=("d",))]
            name = "class map 'd'"
        else:
            cfg.policy_maps["p"].classes[0].service_policy = "p"
        with pytest.raises(QosError, match=f"{name} contains itself"):
            Classifier(cfg, "p")


def test_a_column_of_groups_must_fit() -> None:
    with pytest.raises(ValueError, match="1 QoS groups for 2 packets"):
        names(loads("policy-map p\n"), "p", [b"", b""], np.zeros(1, np.uint8))


# ------------------------------------------------------------------------------------------ marking
def marked() -> Iterator[tuple[bytes, bytes]]:
    for before in (0, 0xFF, EF << 2 | 1):
        after = CS6 << 2 | before & 3
        yield tuple(ip4("10.1.0.1", "10.2.0.5", udp(1, 2), tos=t, ident=9) for t in (before, after))  # type: ignore[misc]
        yield tuple(ip6("2001:db8::1", "::2", udp(1, 2), tos=t, label=0xABCDE) for t in (before, after))  # type: ignore[misc]


@pytest.mark.req("QOS-1")
def test_marking_writes_octet_and_checksum_and_nothing_else() -> None:
    pairs = list(marked())
    frames = [frame for frame, _ in pairs] + [pairs[0][0], b"\0\0"]
    batch = Batch.from_frames(frames)
    headers = headers_of(batch)
    dscp = np.array([CS6] * len(pairs) + [-1, CS6])
    out = mark(batch, headers, dscp)
    assert out.frames() == [frame for _, frame in pairs] + frames[-2:]
    assert batch.frames() == frames, "the memory was read-only: what was given must stay as it was"
    assert (headers["tos"][: len(pairs)] >> 2 == CS6).all()
    mutable = Batch(np.array(batch.arena), batch.columns)
    assert mark(mutable, headers_of(mutable), dscp) is mutable
    assert mutable.frames() == out.frames()


@given(st.lists(common(), min_size=1, max_size=20), st.integers(0, 63))
def test_marked_checksums_are_those_of_a_whole_sum(frames: list[bytes], dscp: int) -> None:
    from naive import checksum

    batch = Batch.from_frames(frames)
    for frame in mark(batch, headers_of(batch), np.full(len(frames), dscp)).frames():
        assert header(frame).tos >> 2 == dscp
        assert frame[0] >> 4 == 6 or checksum(frame[:20]) == 0
