"""Policies, routes and what goes wrong on the way, against the slow twin: access lists of both families, deny entries,
port operators, fragments, bundles, inbound policy, TTL, and numbers that run out."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import naive
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packets import icmp, ip4, ip6, packet4, packet6, udp
from path_help import ENGINES, Pair, check_decrypt
from test_path_transforms import ENDS, PROTECTIONS, associations, config, plain_packets

from qfp.sa import SecurityAssociation

OFFICE = """hostname A
ipv6 unicast-routing
crypto ipsec transform-set GCM esp-gcm 128
crypto ipsec transform-set OLD ah-sha-hmac esp-aes
 mode tunnel
{extra}
crypto map M 10 ipsec-isakmp
 set peer {peer}
 set transform-set {transform}
 match address FIRST
crypto map M 20 ipsec-isakmp
 set peer 203.0.113.77
 set transform-set GCM
 match address SECOND
crypto map ipv6 M6 10 ipsec-isakmp
 set peer {peer6}
 set transform-set GCM
 match address SIX
interface GigabitEthernet0/0/0
 mtu 9216
 ip address {own} 255.255.255.0
 ipv6 address {own6}/64
 crypto map M
 ipv6 crypto map M6
interface GigabitEthernet0/0/1
 mtu 9216
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
interface GigabitEthernet0/0/2
 mtu 9216
 ip address 192.168.{me}.1 255.255.255.0
ip route 10.0.0.0 255.0.0.0 {peer}
ip route 172.16.0.0 255.240.0.0 192.168.{me}.9
ip route 172.16.5.0 255.255.255.0 {peer} 5
ip route 172.16.5.0 255.255.255.0 192.168.{me}.9 7
ipv6 route fd00::/16 {peer6}
{lists}
"""


def office(me: int, lists: str, transform: str = "GCM", extra: str = "") -> str:
    other = 3 - me
    return OFFICE.format(
        me=me, own=f"203.0.113.{me}", peer=f"203.0.113.{other}", own6=f"2001:db8::{me}", peer6=f"2001:db8::{other}",
        lists=lists, transform=transform, extra=extra,
    )  # fmt: skip


def mirrored(rules: list[tuple[str, str, str, str, str, str]]) -> tuple[str, str]:
    """Access-list lines (action, protocol, source, source port, destination, destination port), and the other end's."""
    here = [" ".join(x for x in (a, p, s, sp, d, dp) if x) for a, p, s, sp, d, dp in rules]
    there = [" ".join(x for x in (a, p, d, dp, s, sp) if x) for a, p, s, sp, d, dp in rules]
    return "\n ".join(here), "\n ".join(there)


HOSTS = ["10.1.0.9", "10.1.3.9", "10.2.0.9", "10.2.3.9", "10.9.9.9", "172.16.5.5", "172.17.1.1", "8.8.8.8",
         "203.0.113.1", "203.0.113.2", "203.0.113.50", "192.168.1.1"]  # fmt: skip
HOSTS6 = ["fd00:1::9", "fd00:1:3::9", "fd00:2::9", "fd00:2:3::9", "fd00:9::9", "2001:db8::1", "2001:db8::2", "2002::1"]
NETS = ["any", "host 10.1.0.9", "host 10.2.3.9", "10.1.0.0 0.0.255.255", "10.2.0.0 0.0.255.255",
        "10.0.0.0 0.255.255.255", "10.0.0.9 0.255.3.0", "172.16.0.0 0.15.255.255"]  # fmt: skip
NETS6 = ["any", "host fd00:1::9", "fd00:1::/32", "fd00:2::/32", "fd00:2:3::/48", "fd00::/16"]
PORTS = ["", "", "eq 53", "neq 53", "range 53 1023", "lt 1024", "gt 1023", "neq 443", "eq 8080"]
LIST4, LIST6 = "ip access-list extended {}\n {}\n", "ipv6 access-list {}\n {}\n"


@st.composite
def rule(draw: st.DrawFn, nets: list[str], everything: str) -> tuple[str, str, str, str, str, str]:
    action = draw(st.sampled_from(["permit", "permit", "deny"]))
    proto = draw(st.sampled_from([everything, everything, "tcp", "udp", "icmp"]))
    ported = proto in ("tcp", "udp")
    port = st.sampled_from(PORTS) if ported else st.just("")
    return action, proto, draw(st.sampled_from(nets)), draw(port), draw(st.sampled_from(nets)), draw(port)


@st.composite
def policies(draw: st.DrawFn) -> tuple[str, str]:
    """The lists of both ends."""
    ends = ["", ""]
    for name, template, nets, word in (("FIRST", LIST4, NETS, "ip"), ("SECOND", LIST4, NETS, "ip"),
                                       ("SIX", LIST6, NETS6, "ipv6")):  # fmt: skip
        for k, text in enumerate(mirrored(draw(st.lists(rule(nets, word), min_size=1, max_size=6)))):
            ends[k] += template.format(name, text)
    return ends[0], ends[1]


@pytest.mark.req("BASE-4", "BASE-8", "BASE-12")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_policy(data: st.DataObject) -> None:
    """Random lists and packets: out of one router, into the other, and clear packets into the other's outside."""
    here, there = data.draw(policies())
    any4, any6 = st.sampled_from(HOSTS), st.sampled_from(HOSTS6)
    packet = st.one_of(packet4(any4, any4), packet4(any4, any4), packet6(any6, any6))
    frames = data.draw(st.lists(packet, min_size=1, max_size=40))
    batch = data.draw(st.sampled_from([1, 7, 0]))
    wire = Pair(office(1, here), batch=batch, engine="native").forward(frames, "gi0/0/1")
    Pair(office(2, there), batch=batch, engine="native").forward([*wire, *frames], "gi0/0/0")


@pytest.mark.req("BASE-4")
def test_deny_goes_on_with_the_next_entry() -> None:
    """Guide chapter 2: a deny leaves the map entry, not the map; what nothing matches goes in the clear."""
    lists = LIST4.format("FIRST", "deny udp any any eq 53\n permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255")
    lists += LIST4.format("SECOND", "permit udp 10.1.0.0 0.0.255.255 any eq 53")
    router = Pair(office(1, lists))
    to = ["10.2.0.9", "10.9.9.9"]
    frames = [ip4("10.1.0.9", d, udp(1, port)) for d in to for port in (53, 54)]
    router.forward(frames, "gi0/0/1")
    peers = [o.data and naive.read_ip(o.data).dst for o in router.outcomes]
    second, first = int(ip_address("203.0.113.77")), int(ip_address("203.0.113.2"))
    assert peers == [second, first, second, int(ip_address("10.9.9.9"))]


@pytest.mark.req("BASE-4", "BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_wrong_policy(engine: str) -> None:
    """A packet that its SA may not carry, and clear packets that must be protected, are dropped."""
    lists1 = LIST4.format("FIRST", "permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255")
    narrow = LIST4.format("FIRST", "permit ip 10.2.0.0 0.0.0.255 10.1.0.0 0.0.255.255")
    sas = associations(dict(PROTECTIONS)["aes-gcm-128/none/16"], 4)
    a = Pair(office(1, lists1), sas, engine=engine)
    b = Pair(office(2, narrow), sas, engine=engine)
    frames = [ip4("10.1.0.9", "10.2.0.9", udp(5, 6)), ip4("10.1.0.9", "10.2.3.9", udp(5, 6))]
    wire = a.forward(frames, "gi0/0/1")
    b.forward([*wire, *frames, ip4("10.1.0.9", "10.2.0.9", icmp(8))], "gi0/0/0")
    causes = [o.cause for o in b.outcomes]
    assert causes == ["NONE", "POLICY_MISMATCH", "NOT_IPSEC", "NONE", "NOT_IPSEC"]
    assert b.outcomes[3].verdict == "bypassed"


@pytest.mark.req("BASE-3", "BASE-4", "BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_bundle_must_be_whole(engine: str) -> None:
    """AH over ESP: ESP alone, AH alone, or the layers of another bundle are not what the policy asks for."""
    lists = [LIST4.format("FIRST", f"permit ip 10.{n}.0.0 0.0.255.255 10.{3 - n}.0.0 0.0.255.255") for n in (1, 2)]
    a = Pair(office(1, lists[0], "OLD"), engine=engine)
    b = Pair(office(2, lists[1], "OLD"), engine=engine)
    frames = [ip4("10.1.0.9", "10.2.0.9", udp(5, 6, bytes(k))) for k in range(6)]
    wire = a.forward(frames, "gi0/0/1")
    stripped = []
    for p in wire[3:]:
        ip = naive.read_ip(p)
        stripped.append(naive.from_transport(ip, p[ip.upper + naive.ah_size(ip) :], 50).data)
    b.forward([*wire[:3], *stripped], "gi0/0/0")
    assert [o.cause for o in b.outcomes] == ["NONE"] * 3 + ["POLICY_MISMATCH"] * 3


@pytest.mark.req("BASE-8", "BASE-12")
@pytest.mark.parametrize("engine", ENGINES)
def test_broken_packets(engine: str) -> None:
    """Every byte of protected packets changed, cut, and lengthened; unknown SPIs; fragments of ESP."""
    sas = associations(dict(PROTECTIONS)["ah over esp: hmac-sha1-96 over gcm"], 4)
    wire = Pair(config(1, 4), sas, engine=engine).forward([ip4("10.1.2.3", "10.2.3.4", udp(1, 2, b"abc"))], "gi0/0/1")
    p = wire[0]
    frames = [p[:k] + bytes([p[k] ^ 1 << k % 8]) + p[k + 1 :] for k in range(len(p))]
    frames += [naive.with_checksum(f[:20]) + f[20:] for f in frames[:20] if f[0] == 0x45]
    frames += [naive.with_length(p[:k]) for k in range(20, len(p))]
    frames += [naive.with_length(p + bytes(k)) for k in (1, 4, 8, 100)]
    frames += [p + bytes(k) for k in (1, 6, 46)]
    check_decrypt(sas, frames, engine=engine)
    Pair(config(2, 4), sas, engine=engine).forward([*frames, p], "gi0/0/0")


def crafted(sa: SecurityAssociation, seq: int, body: bytes) -> bytes:
    """A packet with a good ICV around any body (payload, padding, trailer)."""
    state = naive.State(sa)
    head = sa.spi.to_bytes(4) + (seq & 0xFFFFFFFF).to_bytes(4) + naive.nonce(sa, seq)
    packet = bytearray(head + body + bytes(sa.icv_len))
    state.context.esp_seal(packet, seq >> 32)
    return ip4(str(sa.src), str(sa.dst), bytes(packet), 50, tos=3)


@pytest.mark.req("BASE-8", "BASE-9", "BASE-12")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["tunnel", "transport", None])
def test_any_body_with_a_good_icv(engine: str, mode: Any) -> None:
    """Padding, next header 59, next headers that the mode does not carry, inner packets that are none."""
    sa = replace(associations(dict(PROTECTIONS)["null/hmac-sha256-128"], 4)[0], mode=mode)
    inner = ip4("10.1.2.3", "10.2.3.4", udp(1, 2))  # 28 bytes, not ECN-capable: the outer CE drops it
    capable = ip4("10.1.2.3", "10.2.3.4", udp(1, 2), tos=2)
    bodies = [
        inner + b"\x01\x02\x02\x04", capable + b"\x01\x02\x02\x04", capable + b"\x01\x03\x02\x04",
        capable + b"\x02\x01\x02\x04", capable + bytes(2) + b"\x02\x04", bytes(30) + b"\x00\x3b", b"\x00\x3b" * 2,
        b"\x01\x02\x02\x3b", b"\xff\xff\xff\x04", capable + b"\x01\x02\x02\x29", capable + b"\x01\x02\x02\x11",
        b"\x01\x02\x02\x04", b"E" + bytes(29) + b"\x00\x04", capable + bytes(98) + b"\x00\x04",
        udp(1, 2) + b"\x01\x02\x02\x11",
        bytes(2) + b"\x00\x29", bytes([1, 2, 3, 4, 5, 6, 6, 0x29]),
        udp(9, 9) + bytes(2) + b"\x00\x32",
    ]  # fmt: skip
    frames = [crafted(sa, k + 1, b) for k, b in enumerate(bodies)]
    outcomes = check_decrypt([sa], frames, engine=engine)
    assert {"BAD_PADDING", "NONE"} <= {o.cause for o in outcomes}
    check_decrypt([sa], frames * 2, engine=engine, batch=5)


@pytest.mark.req("BASE-9")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("engine", ENGINES)
def test_ecn_both_ways(engine: str, family: int) -> None:
    """RFC 6040: the inner codepoint is copied out; all sixteen combinations on the way in."""
    sas = associations(dict(PROTECTIONS)["aes-gcm-128/none/16"], family)
    inner = [ip4("10.1.2.3", "10.2.3.4", udp(1, 2), tos=0xB8 | e) for e in range(4)]
    inner += [ip6("fd00:1::5", "fd00:2::6", udp(1, 2), tos=0xB8 | e, label=0xABCDE) for e in range(4)]
    wire = Pair(config(1, family), sas, engine=engine).forward([p for p in inner for _ in range(4)], "gi0/0/1")
    marked = [naive.with_tos(ip := naive.read_ip(p), ip.tos & 0xFC | k % 4) for k, p in enumerate(wire)]
    outcomes = check_decrypt(sas, marked, engine=engine)
    assert [o.cause for o in outcomes].count("ECN_CE") == 2
    assert sum(o.alarms for o in outcomes) == 10


@pytest.mark.req("BASE-4", "BASE-12")
def test_ttl_and_routes() -> None:
    lists = LIST4.format("FIRST", "permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255")
    destinations = ("10.2.0.9", "172.17.1.1", "8.8.8.8", "203.0.113.1", "172.16.5.1")
    frames = [ip4("10.1.0.9", to, udp(1, 2), ttl=ttl) for to in destinations for ttl in (0, 1, 2, 255)]
    frames += [ip6("fd00:1::9", to, udp(1, 2), ttl=ttl) for to in ("fd00:9::1", "2003::1") for ttl in (0, 1, 2)]
    router = Pair(office(1, lists))
    router.forward(frames, "gi0/0/1")
    assert {o.cause for o in router.outcomes} == {"NONE", "TTL_EXPIRED", "NO_ROUTE"}


@pytest.mark.req("AR-1")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["aes-gcm-128/none/16", "aes-cbc/hmac-sha1-96", "ah over esp: hmac-sha1-96 over gcm"])
@pytest.mark.parametrize("esn", [False, True])
def test_numbers_run_out(engine: str, name: str, esn: bool) -> None:
    """The last number is used, the next packet is dropped, and nothing wraps: 2^32 - 1, with ESN 2^64 - 1."""
    top = 2**64 - 1 if esn else 2**32 - 1
    sas = associations(dict(PROTECTIONS)[name], 4, esn=esn, seq=top - 4)
    out = Pair(config(1, 4), sas, engine=engine, batch=3)
    frames = [ip4("10.1.2.3", "10.2.3.4", udp(k, 2)) for k in range(9)]
    wire = out.forward(frames, "gi0/0/1")
    assert [o.cause for o in out.outcomes] == ["NONE"] * 5 + ["SEQ_OVERFLOW"] * 4
    assert [o.seq for o in out.outcomes[:5]] == list(range(top - 4, top + 1))
    out.forward(frames[:2], "gi0/0/1")
    check_decrypt([replace(sa, seq=top - 5) for sa in sas], wire + wire[-1:], engine=engine)


@pytest.mark.req("AR-1", "BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_what_transport_mode_cannot_carry_takes_no_number(engine: str) -> None:
    """Fragments are dropped (RFC 4303 section 3.1.1); the numbers of the rest follow one another."""
    sas = associations(dict(PROTECTIONS)["aes-gcm-128/none/16"], 4, mode="transport")
    whole = ip4("203.0.113.1", "203.0.113.2", udp(1, 2, b"x"))
    cut = ip4("203.0.113.1", "203.0.113.2", udp(1, 2, b"x"), flags=0x2000)
    out = Pair(config(1, 4, True), sas, engine=engine)
    out.forward([whole, cut, whole, cut, cut, whole], "gi0/0/1")
    assert [o.seq for o in out.outcomes if o.verdict == "forwarded"] == [1, 2, 3]


@pytest.mark.req("BASE-9")
@pytest.mark.parametrize("rule", ["copy", "clear", "set"])
def test_df_and_identification(rule: str) -> None:
    """DF by rule; identifications of one pair of ends differ."""
    lists = LIST4.format("FIRST", "permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255")
    router = Pair(office(1, lists, extra=f"crypto ipsec df-bit {rule}"))
    frames = [ip4("10.1.0.9", "10.2.0.9", udp(1, 2), flags=f) for f in (0, 0x4000, 0x2000, 0x4000, 0)]
    wire = router.forward(frames, "gi0/0/1")
    assert [p[6] & 0x40 != 0 for p in wire] == {
        "copy": [False, True, False, True, False], "clear": [False] * 5, "set": [True] * 5,
    }[rule]  # fmt: skip
    assert len({p[4:6] for p in wire}) == 5


@pytest.mark.req("BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_esp_in_esp(engine: str, depth: int) -> None:
    """Tunnels in tunnels, up to four levels; the fifth is one too many."""
    names = ["aes-gcm-128/none/16", "aes-cbc/hmac-sha1-96", "3des-cbc-192/none/0", "null/hmac-sha256-128"]
    names.append("aes-ctr-128/none/0")
    sas = [replace(associations(dict(PROTECTIONS)[n], 4)[0], spi=0x9000 + k) for k, n in enumerate(names[:depth])]
    frames = []
    for k in range(1, 9):
        p = ip4("10.1.2.3", "10.2.3.4", udp(k, 2, bytes(k)), tos=k)
        for sa in sas:
            p = naive.seal_tunnel([naive.State(sa)], [k], naive.read_ip(p), k, "copy")
        frames.append(p)
    outcomes = check_decrypt(sas, frames + frames[:3], engine=engine, batch=5)
    assert [o.cause for o in outcomes[:8]] == ["NONE" if depth <= 4 else "NESTED_TOO_DEEP"] * 8
    check_decrypt(sas[1:], frames, engine=engine)  # the innermost stays closed


@pytest.mark.req("BASE-8", "NAT-3")
@pytest.mark.parametrize("engine", ENGINES)
def test_inner_packets_for_others(engine: str) -> None:
    """IKE, keepalives, ESP and fragments inside a tunnel belong to somebody else: they come out as they are."""
    sa = associations(dict(PROTECTIONS)["aes-gcm-128/none/16"], 4)[0]
    ends = ("10.1.2.3", "10.2.3.4")
    inner = [
        ip4(*ends, udp(4500, 4500, bytes(4) + b"IKE message")), ip4(*ends, udp(4500, 4500, b"\xff")),
        ip4(*ends, bytes(range(1, 60)), 50), ip4(*ends, bytes(range(1, 60)), 50, flags=0x2000), ip4(*ends, b"abc", 50),
        ip4(*ends, bytes(64), 51), ip4(*ends, udp(4500, 9, b"z"), 17),
    ]  # fmt: skip
    state = naive.State(sa)
    frames = [naive.seal_tunnel([state], [k + 1], naive.read_ip(p), k, "copy") for k, p in enumerate(inner)]
    outcomes = check_decrypt([sa], frames, engine=engine)
    assert [o.data for o in outcomes] == inner


@pytest.mark.req("BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_ah_covers_its_padding(engine: str) -> None:
    """RFC 4302 section 3.3.3.2.1: ICV padding may hold anything, and is covered."""
    sa = associations(dict(PROTECTIONS)["ah/hmac-sha256-128"], 6)[0]
    state = naive.State(sa)
    inner = naive.read_ip(ip6("fd00:1::5", "fd00:2::6", udp(1, 2)))
    body = naive.ah_header(state, 1, 41, 6)
    assert len(body) == 32  # 12 + 16, and four of padding
    outer = naive.outer_ip6(sa, inner, 51, len(body) + len(inner.data))
    filled = naive.sign_ah(state, outer + body[:28] + b"\1\2\3\4" + inner.data, 40, 1)
    changed = filled[:69] + b"\0" + filled[70:]
    outcomes = check_decrypt([sa], [changed, filled], engine=engine)
    assert [o.cause for o in outcomes] == ["INTEGRITY", "NONE"]


@pytest.mark.req("BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", [4, 6])
def test_ah_ignores_what_routers_change(engine: str, family: int) -> None:
    """TTL, DSCP, ECN, DF, checksum, flow label and mutable options may change on the way; the rest may not."""
    sa = associations(dict(PROTECTIONS)["ah/hmac-sha1-96"], family, mode="transport")[0]
    frames = plain_packets(True, family)
    wire = Pair(config(1, family, True), [sa], engine=engine).forward(frames, "gi0/0/1")
    changed = []
    for k, p in enumerate(wire):
        ip = naive.read_ip(p)
        p = naive.one_hop(naive.read_ip(naive.with_tos(ip, ip.tos ^ 0x55)))
        if family == 4:
            p = naive.with_length(p[:6] + bytes([p[6] ^ 0x40]) + p[7:])
        else:
            p = p[:2] + bytes([p[2] ^ 0xFF, p[3] ^ k]) + p[4:]
        changed.append(p)
    outcomes = check_decrypt([sa], changed, engine=engine)
    assert {o.verdict for o in outcomes} == {"forwarded"}
    start = 20 if family == 4 else 40
    flipped = [p[:k] + bytes([p[k] ^ 1]) + p[k + 1 :] for p in wire[:6] for k in range(start, len(p))]
    check_decrypt([sa], flipped, engine=engine)


@pytest.mark.req("BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
def test_long_headers_before_ah(engine: str) -> None:
    """Mutable options anywhere in up to 256 bytes of headers; longer ones are refused by name."""
    sa = associations(dict(PROTECTIONS)["ah/hmac-sha1-96"], 6, mode="transport")[0]
    frames = []
    for units in (1, 20, 26, 27, 31):
        option = bytes([0x3E, 8 * units + 4]) + bytes(k & 255 for k in range(8 * units + 4))
        bare = ip6(*ENDS[6], b"", 0)
        frames.append(naive.with_length(bare + bytes([17, units]) + option + udp(1, 2, b"data")))
    out = Pair(config(1, 6, True), [sa], engine=engine)
    wire = out.forward(frames, "gi0/0/1")
    assert [o.cause for o in out.outcomes] == ["NONE"] * 3 + ["AH_HEADERS"] * 2
    outcomes = check_decrypt([sa], wire, engine=engine)
    assert {o.verdict for o in outcomes} == {"forwarded"}
