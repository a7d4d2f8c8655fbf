"""Sealing and opening against the slow twin: every algorithm, mode and family, on both engines, byte for byte."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import naive
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packets import HEADERS6, OPTIONS4, ip4, ip6, packet4, packet6, udp
from path_help import ENGINES, Pair, check_decrypt

from qfp.algorithms import CIPHERS, INTEGRITIES
from qfp.sa import SecurityAssociation

ENDS = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8::1", "2001:db8::2")}
BASE = """hostname A
ipv6 unicast-routing
crypto ipsec transform-set T esp-aes esp-sha-hmac
interface GigabitEthernet0/0/1
 mtu 9216
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
interface GigabitEthernet0/0/0
 mtu 9216
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
"""
VTI = (
    BASE
    + """crypto ipsec profile P
 set transform-set T
interface Tunnel0
 ip unnumbered GigabitEthernet0/0/1
 tunnel source {local}
 tunnel destination {peer}
 tunnel mode ipsec ipv{family}
 tunnel protection ipsec profile P
ip route 0.0.0.0 0.0.0.0 Tunnel0
ipv6 route ::/0 Tunnel0
"""
)
MAP4 = """crypto map M4 10 ipsec-isakmp
 set peer {peer}
 set transform-set T
 match address 101
access-list 101 permit ip host {local} host {peer}
"""
MAP6 = """crypto map ipv6 M6 10 ipsec-isakmp
 set peer {peer}
 set transform-set T
 match address SIX
ipv6 access-list SIX
 permit ipv6 host {local} host {peer}
"""


def config(me: int, family: int, transport: bool = False) -> str:
    """Router `me` (1 or 2) of a pair: a VTI over `family`, or (transport) a crypto map from host to host."""
    names = {"me": me, "local": ENDS[family][me - 1], "peer": ENDS[family][2 - me], "family": family}
    if not transport:
        return VTI.format(**names)
    if family == 4:
        return MAP4.format(**names) + BASE.format(**names) + " crypto map M4\n"
    return MAP6.format(**names) + BASE.format(**names) + " ipv6 crypto map M6\n"


def every_protection() -> list[tuple[str, list[dict[str, Any]]]]:
    """(name, fields of the SAs): each cipher with each key and ICV length, each MAC with null and CBC, AH, bundles."""
    out: dict[str, list[dict[str, Any]]] = {}

    def esp(encr: str, size: int, integ: str, icv: int) -> dict[str, Any]:
        return {
            "proto": "esp", "encr": encr, "encr_key": bytes(range(1, size + 1)), "salt": b"salt"[: CIPHERS[encr].salt],
            "integ": integ, "integ_key": bytes(range(7, 7 + INTEGRITIES[integ].key)), "icv_len": icv,
        }  # fmt: skip

    def ah(integ: str) -> dict[str, Any]:
        i = INTEGRITIES[integ]
        return {"proto": "ah", "integ": integ, "integ_key": bytes(range(i.key)), "salt": b"salt"[: i.salt]}

    for c in CIPHERS.values():
        for size in c.key_lengths:
            for integ, icv in [("none", n) for n in c.icvs] or [("hmac-sha256-128", 16), ("none", 0)]:
                out[f"{c.name}-{8 * size}/{integ}/{icv}"] = [esp(c.name, size, integ, icv)]
    for i in INTEGRITIES.values():
        if i.icv:
            out[f"ah/{i.name}"] = [ah(i.name)]
        if i.icv and not i.ah_only:
            for encr in ("null", "aes-cbc"):
                out[f"{encr}/{i.name}"] = [esp(encr, max(CIPHERS[encr].key_lengths), i.name, i.icv)]
    for name, e in (("gcm", esp("aes-gcm", 16, "none", 16)), ("cbc", esp("aes-cbc", 16, "none", 0)),
                    ("3des", esp("3des-cbc", 24, "hmac-md5-96", 12))):  # fmt: skip
        for i in ("hmac-sha1-96", "hmac-sha512-256", "aes-gmac"):
            out[f"ah over esp: {i} over {name}"] = [e, ah(i)]
    return list(out.items())


PROTECTIONS = every_protection()
NAMES = [name for name, _ in PROTECTIONS]


def associations(fields: list[dict[str, Any]], family: int, **more: Any) -> list[SecurityAssociation]:
    """SAs from router 1 to router 2; a bundle shares a name."""
    src, dst = (ip_address(a) for a in ENDS[family])
    bundle = "b" if len(fields) > 1 else None
    return [
        SecurityAssociation(spi=0x1000 + k, src=src, dst=dst, bundle=bundle, allow_null=True, **{**f, **more})
        for k, f in enumerate(fields)
    ]


def plain_packets(transport: bool, family: int) -> list[bytes]:
    """A few packets of each kind that this SA may carry: sizes around blocks, options, extension headers."""
    out = []
    for size in (0, 1, 2, 3, 5, 14, 15, 16, 17, 18, 31, 46, 47, 63, 64, 200, 1379, 1380):
        data = udp(1000 + size, 53, bytes(k & 255 for k in range(size)))
        a, b = ENDS[4] if transport else ("10.1.2.3", "10.2.3.4")
        c, d = ENDS[6] if transport else ("fd00:1::5", "fd00:2::6")
        if family == 4 or not transport:
            out.append(ip4(a, b, data, tos=size & 255, flags=0x4000 * (size & 1), options=OPTIONS4[size % 5]))
        if family == 6 or not transport:
            out.append(ip6(c, d, data, tos=size & 255, label=size * 77, headers=HEADERS6[size % 6]))
    return out


def both_ways(sas: list[SecurityAssociation], family: int, frames: list[bytes], engine: str, **options: Any) -> None:
    """Outbound at router 1, inbound at router 2 and with the Decryptor; each beside its twin."""
    transport = sas[0].mode == "transport"
    out = Pair(config(1, family, transport), sas, engine=engine, **options)
    wire = out.forward(frames, "gi0/0/1")
    assert all(o.verdict in ("forwarded", "dropped") for o in out.outcomes)
    back = Pair(config(2, family, transport), sas, engine=engine, **options)
    back.forward(wire + wire[:2], "gi0/0/0")
    outcomes = check_decrypt(sas, wire, engine=engine, **options)
    assert [o.verdict for o in outcomes] == ["forwarded"] * len(wire)


@pytest.mark.req("BASE-3", "BASE-8", "BASE-9", "AR-1")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("index", range(len(PROTECTIONS)), ids=NAMES)
def test_every_protection(engine: str, index: int) -> None:
    fields = PROTECTIONS[index][1]
    shapes = [("tunnel", 4), ("tunnel", 6), ("transport", 4), ("transport", 6)]
    for k, (mode, family) in enumerate(shapes):
        esn = bool((index + k) & 1)
        sas = associations(fields, family, mode=mode, esn=esn, seq=2**32 - 9 if esn else 0)
        frames = plain_packets(mode == "transport", family)
        wire = Pair(config(1, family, mode == "transport"), sas, engine=engine).forward(frames, "gi0/0/1")
        outcomes = check_decrypt([replace(sa, seq=max(0, sa.seq - 1)) for sa in sas], wire, engine=engine)
        assert [o.verdict for o in outcomes] == ["forwarded"] * len(frames)


@pytest.mark.req("NAT-3", "BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
@pytest.mark.parametrize("name", ["aes-gcm-128/none/16", "aes-cbc/hmac-sha1-96", "null/hmac-sha256-128"])
def test_udp_encapsulation(engine: str, mode: str, name: str) -> None:
    fields = dict(PROTECTIONS)[name]
    sas = associations(fields, 4, mode=mode, natt=(4500, 4500))
    frames = plain_packets(mode == "transport", 4)
    wire = Pair(config(1, 4, mode == "transport"), sas, engine=engine).forward(frames, "gi0/0/1")
    keepalive = ip4(*ENDS[4], udp(4500, 4500, b"\xff"))
    ike = ip4(*ENDS[4], udp(4500, 4500, bytes(4) + b"any IKE message"))
    bare = replace(sas[0], natt=None, spi=0x2000)
    others = Pair(config(1, 4, mode == "transport"), [bare], engine=engine).forward(frames[:1], "gi0/0/1")
    mixed = [keepalive, wire[0], ike, *wire[1:], keepalive, *others]
    check_decrypt(sas, mixed, engine=engine)
    back = Pair(config(2, 4, mode == "transport"), sas, engine=engine)
    back.forward(mixed, "gi0/0/0")
    opened = "punted" if mode == "transport" else "forwarded"
    assert [o.verdict for o in back.outcomes][:3] == ["consumed", opened, "punted"]
    # the same ESP packet without its UDP header does not fit an SA that is encapsulated
    naked = [naive.from_transport(naive.read_ip(p), p[28:], 50).data for p in wire[:3] if p[0] == 0x45]
    back.forward(naked, "gi0/0/0")
    assert {o.cause for o in back.outcomes} == {"ENCAP_MISMATCH"}


@pytest.mark.req("BASE-8", "BASE-9", "AR-1", "AR-2")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_packets_both_ways(data: st.DataObject) -> None:
    """Random packets, protections, modes, families, numbers: forward, open, and forward back."""
    name = data.draw(st.sampled_from(NAMES))
    family = data.draw(st.sampled_from([4, 6]))
    mode = data.draw(st.sampled_from(["tunnel", "tunnel", "transport"]))
    esn = data.draw(st.booleans())
    seq = data.draw(st.sampled_from([0, 5, 2**32 - 4, *([2**32 + 7, 2**33 - 3, 2**64 - 6] if esn else [])]))
    window = data.draw(st.sampled_from([0, 64, 128, 256, 512, 1024]))
    sas = associations(dict(PROTECTIONS)[name], family, mode=mode, esn=esn, seq=seq, replay_window=window)
    four = (st.sampled_from(["10.1.0.9", ENDS[4][0]]), st.sampled_from(["10.2.7.7", ENDS[4][1], "10.2.0.1", "9.9.9.9"]))
    six = (st.sampled_from(["fd00:1::9", ENDS[6][0]]), st.sampled_from(["fd00:2::7", ENDS[6][1], "fd00:2::1"]))
    frames = data.draw(st.lists(st.one_of(packet4(*four), packet6(*six)), min_size=1, max_size=20))
    options = {"engine": data.draw(st.sampled_from(ENGINES)), "batch": data.draw(st.sampled_from([0, 1, 3]))}
    transport = mode == "transport"
    wire = Pair(config(1, family, transport), sas, **options).forward(frames, "gi0/0/1")
    inbound = [replace(sa, seq=max(0, sa.seq - 1)) for sa in sas]
    again = data.draw(st.permutations(wire + wire[: len(wire) // 3]))
    check_decrypt(inbound, again, **options)
    Pair(config(2, family, transport), inbound, **options).forward([*again, *frames[:2]], "gi0/0/0")
