"""Selectors that a key file states, at `qfp decrypt` (RFC 4301 section 5.2, step 4): addresses, protocol, ports, in
every combination against a plain statement of the rule; bundles and nested tunnels; the command line; xfrm files."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import naive
import pytest
from cli_help import IN, OUT, config, office, qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, ip6, udp

from qfp import fia
from qfp.batch import Batch
from qfp.contracts import contract
from qfp.control.export import exported
from qfp.decrypt import Decryptor
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.router import Router
from qfp.sa import AddressRange, SecurityAssociation, Selectors
from qfp.trace.keyfile import read_keys

GATE, OTHER_GATE = ip_address("203.0.113.1"), ip_address("203.0.113.2")
SOURCES = ["10.1.0.0", "10.1.0.5", "10.1.255.255", "10.2.0.0", "10.0.255.255", "2001:db8:1::1", "2001:db8:1:ffff::"]
RANGES = [None, "10.1.0.0/16", "10.1.0.5", "10.1.0.5-10.1.255.254", "2001:db8:1::/48", "2001:db8:1::1-2001:db8:1:8::"]


def association(spi: int = 0x1100, selectors: Selectors | None = None, **more: Any) -> SecurityAssociation:
    fields = {"src": GATE, "dst": OTHER_GATE, "encr": "aes-gcm", "encr_key": bytes(range(16)), "salt": b"salt", **more}
    return SecurityAssociation(proto="esp", spi=spi, selectors=selectors, **fields)


def sealed(sa: SecurityAssociation, inner: bytes, seq: int = 1) -> bytes:
    return naive.seal_tunnel([naive.State(sa)], [seq], naive.read_ip(inner), 0, "copy")


def words(sas: list[SecurityAssociation], frames: list[bytes], **options: Any) -> list[str]:
    v = Decryptor(sas, **options).open(Batch.from_frames(frames)).verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


def carries(selectors: Selectors, ip: naive.Ip) -> bool:
    """The rule, as it is written: every selector that is stated names the packet."""
    family = IPv4Address if ip.family == 4 else IPv6Address
    for end, given_range in ((ip.src, selectors.src), (ip.dst, selectors.dst)):
        if given_range is not None and (
            given_range.first.version != ip.family or not given_range.first <= family(end) <= given_range.last
        ):
            return False
    if selectors.protocol not in (None, ip.proto):
        return False
    ports = ((selectors.sport, ip.sport), (selectors.dport, ip.dport))
    return ip.later or all(want is None or want[0] <= has <= want[1] for want, has in ports)


@st.composite
def any_selectors(draw: st.DrawFn) -> Selectors:
    sides = st.sampled_from(RANGES).map(lambda text: text and AddressRange.parse(text))
    ports = st.sampled_from([None, (0, 65535), (53, 53), (1000, 2000), (8, 8)])
    src, dst = draw(sides), draw(sides)
    if src and dst and src.first.version != dst.first.version:
        dst = None
    protocol = draw(st.sampled_from([None, None, 17, 1, 6]))
    return Selectors(src=src, dst=dst, protocol=protocol, sport=draw(ports), dport=draw(ports))


@st.composite
def any_packet(draw: st.DrawFn) -> bytes:
    src = draw(st.sampled_from(SOURCES))
    dst = draw(st.sampled_from([a for a in SOURCES if (":" in a) == (":" in src)]))
    proto = draw(st.sampled_from([17, 6, 1]))
    port = st.sampled_from([0, 8, 53, 999, 1000, 2000, 2001])
    payload = udp(draw(port), draw(port), bytes(12)) if proto != 1 else bytes([draw(st.sampled_from([0, 8])), 0]) * 8
    if ":" in src:
        return ip6(src, dst, payload, 58 if proto == 1 else proto)
    return ip4(src, dst, payload, proto, flags=draw(st.sampled_from([0, 0x2000, 0x0007])))


@pytest.mark.req("USE-3", "BASE-8")
@settings(max_examples=80, deadline=None)
@given(any_selectors(), st.lists(any_packet(), min_size=1, max_size=20), st.sampled_from([1, 7, 256]))
def test_what_an_sa_may_carry(selectors: Selectors, inner: list[bytes], batch: int) -> None:
    sa = association(selectors=selectors)
    frames = [sealed(sa, packet, k + 1) for k, packet in enumerate(inner)]
    expected = ["forwarded" if carries(selectors, naive.read_ip(p)) else "SELECTOR_MISMATCH" for p in inner]
    assert words([sa], frames, batch=batch) == expected
    assert words([sa], frames, batch=batch, selectors=False) == ["forwarded"] * len(inner)


@pytest.mark.req("USE-3")
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
@pytest.mark.parametrize("transform", ["ah-sha-hmac esp-aes", "ah-sha-hmac", "esp-gcm 128"])
def test_a_bundle_is_judged_by_what_comes_out(transform: str, mode: str) -> None:
    """AH over ESP: both SAs have the selectors of the entry, which are about the packet inside."""
    ends = ("10.1.0.5", "10.2.0.7") if mode == "tunnel" else (str(GATE), str(OTHER_GATE))
    text = config(1, transform).replace(" mode tunnel", f" mode {mode}")
    if mode == "transport":
        text = text.replace("10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255", f"host {ends[0]} host {ends[1]}")
    router = Router.loads(text)
    sas = [sa for sa in exported(router.plane) if sa.direction == "out"]
    assert all(sa.selectors is not None for sa in sas) and len(sas) == 1 + ("ah" in transform and "esp" in transform)
    states = [naive.State(sa) for sa in sas]
    seal = naive.seal_tunnel if mode == "tunnel" else naive.seal_transport
    inner = naive.read_ip(ip4(*ends, udp(1, 2, b"data")))
    more = (0, "copy") if mode == "tunnel" else ()
    wire = [seal(states, [k] * len(states), inner, *more) for k in (1, 2)]  # type: ignore[operator]
    assert words(sas, wire) == ["forwarded"] * 2
    elsewhere = Selectors(src=AddressRange.parse("10.7.0.0/16"))
    for k in range(len(sas)):
        narrow = [replace(sa, selectors=elsewhere) if j == k else sa for j, sa in enumerate(sas)]
        assert words(narrow, wire) == ["SELECTOR_MISMATCH"] * 2, sas[k].proto


@pytest.mark.req("USE-3")
def test_of_nested_tunnels_each_is_judged_by_its_own_packet() -> None:
    """The outer SA carries ESP between two other gateways, the inner one a packet of theirs."""
    near, far = "10.1.0.1", "10.2.0.1"
    inner_sa = association(0x2200, Selectors(src=AddressRange.parse("192.168.1.0/24")), src=ip_address(near),
                           dst=ip_address(far))  # fmt: skip
    outer_sa = association(0x1100, Selectors(src=AddressRange.parse(near), dst=AddressRange.parse(far), protocol=50))
    good = sealed(inner_sa, ip4("192.168.1.9", "192.168.2.9", udp(1, 2)), 1)
    bad = sealed(inner_sa, ip4("192.168.3.9", "192.168.2.9", udp(1, 2)), 2)
    wire = [sealed(outer_sa, good, 1), sealed(outer_sa, bad, 2), sealed(outer_sa, ip4(near, far, udp(1, 2)), 3)]
    assert words([outer_sa, inner_sa], wire) == ["forwarded", "SELECTOR_MISMATCH", "SELECTOR_MISMATCH"]
    assert words([replace(outer_sa, selectors=None), inner_sa], wire) == ["forwarded", "SELECTOR_MISMATCH", "forwarded"]
    narrow = replace(outer_sa, selectors=Selectors(src=AddressRange.parse("10.9.0.0/16")))
    assert words([narrow, inner_sa], wire) == ["SELECTOR_MISMATCH"] * 3


@pytest.mark.req("USE-3", "AR-2")
def test_integrity_and_replay_come_first() -> None:
    """A forged or repeated packet has these causes; one that does not fit has moved the window."""
    sa = association(selectors=Selectors(protocol=6))
    wire = sealed(sa, ip4("10.1.0.5", "10.2.0.7", udp(1, 2, b"data")))
    forged = wire[:-1] + bytes([wire[-1] ^ 1])
    assert words([sa], [forged, wire, wire]) == ["INTEGRITY", "SELECTOR_MISMATCH", "REPLAY"]


@pytest.mark.req("USE-3")
def test_at_the_command_line(tmp_path: Path) -> None:
    """Keys say what they are for; --no-selectors opens all the same; the JSON and the cause say so."""
    made = office(tmp_path, packets=6)
    assert made.seal("--export-sas", made / "keys.json").status == 0
    keys = json.loads((made / "keys.json").read_text())
    for sa in keys["sas"]:
        sa["selectors"]["dst" if sa["direction"] == "out" else "src"] = "10.2.0.8/32"
    (made / "narrow.json").write_text(json.dumps(keys))
    good = qfp("decrypt", made / "wire.pcapng", "--keys", made / "keys.json", "--json").json
    assert good["selectors"] is True and good["packets_out"] == 6 and not good["drops"]
    said = qfp("decrypt", made / "wire.pcapng", "--keys", made / "narrow.json", "--json").json
    [drop] = said["drops"]
    assert (drop["cause"], drop["stage"], drop["packets"], drop["linux"]) == (
        "SELECTOR_MISMATCH", "decap", 6, "XfrmInStateMismatch",
    )  # fmt: skip
    free = qfp("decrypt", made / "wire.pcapng", "--keys", made / "narrow.json", "--no-selectors", "--json").json
    assert free["selectors"] is False and free["packets_out"] == 6
    told = qfp("explain", made / "wire.pcapng", "--keys", made / "narrow.json", "--frame", "0")
    assert told.status == 0 and "selectors" in told.out


XFRM = """src 203.0.113.1 dst 203.0.113.2
\tproto esp spi 0x00001100 reqid 1 mode tunnel
\treplay-window 32
\taead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f73616c74 128
\tsel src 10.1.0.0/16 dst 10.2.0.0/16 proto udp dport 53
"""


@pytest.mark.req("USE-3")
def test_xfrm_files_state_them_too(tmp_path: Path) -> None:
    (tmp_path / "state").write_text(XFRM)
    sas = list(read_keys(tmp_path / "state"))
    sa = sas[0]
    inner = [ip4("10.1.0.5", "10.2.0.7", udp(1, 53)), ip4("10.1.0.5", "10.2.0.7", udp(1, 54)),
             ip4("10.3.0.5", "10.2.0.7", udp(1, 53))]  # fmt: skip
    wire = [sealed(sa, p, k + 1) for k, p in enumerate(inner)]
    assert words(sas, wire) == ["forwarded", "SELECTOR_MISMATCH", "SELECTOR_MISMATCH"]


@pytest.mark.req("USE-3")
def test_without_selectors_no_stage_asks() -> None:
    """Only key files that state some pay for them."""
    names = [s.name for s in Decryptor([association()]).stages(naive.read_ip, None)]
    assert "select" not in names
    stated = Decryptor([association(selectors=Selectors(protocol=6))])
    assert [s.name for s in stated.stages(naive.read_ip, None)].count("select") == 5
    assert {s.name for s in fia.SELECTING if "SELECTOR_MISMATCH" in contract(s).drops} == {"select"}


@pytest.mark.req("USE-3")
def test_a_router_and_a_decryptor_say_the_same() -> None:
    sas = exported(Router.loads(config(1)).plane)
    wide = Router.loads(config(1).replace("ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255", "ip any any"),
                        keys=[replace(sa, selectors=None) for sa in sas])  # fmt: skip
    inner = [ip4(src, "10.2.0.7", udp(1, 2, b"x")) for src in ("10.1.0.5", "10.9.0.5")]
    wire = wide.forward(Batch.from_frames(inner), IN).packets
    at_b = Router.loads(config(2), keys=sas).forward(wire, OUT).verdicts["cause"]
    assert [CAUSE_WORDS[c] for c in at_b] == ["NONE", "POLICY_MISMATCH"]
    assert words([sa for sa in sas if sa.direction == "out"], wire.frames()) == ["forwarded", "SELECTOR_MISMATCH"]
