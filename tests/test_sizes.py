"""Sizes: the MTU arithmetic of devices, and predicted sizes against produced ones (PF-2, PF-3)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_path_transforms import ENDS, PROTECTIONS, associations

from qfp.algorithms import cipher, integrity
from qfp.batch import Batch
from qfp.router import Router
from qfp.sizes import Sizing, fragment_sizes, gre_overhead, mtu_adj, outer_sizes
from qfp.tables.sad import Profile

LONGEST = 9000  # bytes of payload
IP = {4: 20, 6: 40}

# (ESP cipher, bytes of ICV) -> plaintext MTU over 1500 bytes: IPv4, IPv4 with NAT-T, IPv6 outside. Figures of devices
# where they are on record, else computed once by hand from the formats.
DEVICES = [
    ("aes-cbc", 12, 1438, 1422, 1422),
    ("aes-cbc", 16, 1438, 1422, 1406),
    ("aes-cbc", 24, 1422, 1422, 1406),
    ("aes-cbc", 32, 1422, 1406, 1390),
    ("3des-cbc", 12, 1446, 1438, 1430),
    ("des-cbc", 12, 1446, 1438, 1430),
    ("aes-gcm", 16, 1446, 1438, 1426),
    ("aes-gmac", 16, 1446, 1438, 1426),
    ("null", 12, 1458, 1450, 1438),
    ("null", 16, 1454, 1446, 1434),
]


@pytest.mark.req("PF-2")
@pytest.mark.parametrize(("encr", "icv", "v4", "natt", "v6"), DEVICES)
def test_plaintext_mtu_of_devices(encr: str, icv: int, v4: int, natt: int, v6: int) -> None:
    assert Sizing(4, encr, icv).plaintext_mtu(1500) == v4
    assert Sizing(4, encr, icv, natt=True).plaintext_mtu(1500) == natt
    assert Sizing(6, encr, icv).plaintext_mtu(1500) == v6


@pytest.mark.req("PF-2")
def test_plaintext_mtu_of_other_devices() -> None:
    """Transport mode, jumbo frames, AH, and a path of 1480 bytes, all from device outputs."""
    assert Sizing(4, "aes-cbc", 16, transport=True).plaintext_mtu(1500) == 1458
    assert Sizing(6, "aes-cbc", 16, transport=True).plaintext_mtu(1500) == 1446
    assert Sizing(6, "3des-cbc", 12, transport=True).plaintext_mtu(1500) == 1470
    assert Sizing(4, "aes-gcm", 16).plaintext_mtu(9184) == 9130
    assert Sizing(6, "aes-gcm", 16, transport=True, natt=True).plaintext_mtu(1480) == 1438
    assert Sizing(6, None, ah_icv=12, transport=True).plaintext_mtu(1500) == 1476


@pytest.mark.req("PF-2")
def test_mtu_adj() -> None:
    """The largest fragment payload within the plaintext MTU: 1438 -> 1416 in the guide, 1422 -> 1400 on a device."""
    assert [mtu_adj(n) for n in (1438, 1422, 1446, 27, 19, 0)] == [1416, 1400, 1424, 0, 0, 0]


def test_gre_overhead() -> None:
    assert [gre_overhead(4), gre_overhead(6), gre_overhead(4, key=True, checksum=True, sequence=True)] == [24, 44, 36]


SIZINGS = st.builds(
    Sizing, st.sampled_from([4, 6]), st.sampled_from([None, "null", "des-cbc", "aes-cbc", "aes-gcm", "aes-ctr"]),
    st.sampled_from([0, 8, 12, 16, 24, 32]), st.sampled_from([0, 12, 16, 24, 32]), st.booleans(), st.booleans(),
)  # fmt: skip


@pytest.mark.req("PF-2")
@given(SIZINGS, st.integers(576, 65535))
def test_plaintext_mtu_is_the_longest_that_fits(sizing: Sizing, mtu: int) -> None:
    longest = sizing.plaintext_mtu(mtu)
    assert sizing.protected(longest) <= mtu < sizing.protected(longest + 1)


@pytest.mark.req("PF-3")
@given(st.integers(21, 65535), st.integers(68, 9216), st.sampled_from([20, 24, 60]))
def test_fragments_are_few_and_equal(size: int, limit: int, head: int) -> None:
    """No fewer would fit, they are equal to the 8-byte unit, and together they carry the payload."""
    limit, size = max(limit, head + 8), max(size, head + 1)
    found = fragment_sizes(size, limit, head)
    payloads = [n - head for n in found]
    if size <= limit:
        assert found == [size]
        return
    assert max(found) <= limit and sum(payloads) == size - head
    unit = (limit - head) // 8 * 8
    assert len(found) == -(-(size - head) // unit) or len(found) < -(-(size - head) // unit)
    assert len(set(payloads[:-1])) <= 1 and payloads[0] % 8 == 0 and 0 < payloads[-1] <= payloads[0]


@given(st.integers(41, 65535), st.integers(1280, 9216), st.sampled_from([4, 6]))
def test_outer_fragments(size: int, mtu: int, family: int) -> None:
    found = outer_sizes(size, mtu, family)
    head = IP[family] + (8 if family == 6 and len(found) > 1 else 0)
    assert max(found) <= mtu and sum(n - head for n in found) == size - IP[family]
    assert all((n - head) % 8 == 0 for n in found[:-1])


# ------------------------------------------------------------------------------------------ predicted = produced
def every_length(family: int, src: str, dst: str) -> Batch:
    """UDP-less packets (protocol 253) of every payload length 0..LONGEST from src to dst."""
    from ipaddress import ip_address

    head = IP[family]
    length = head + np.arange(LONGEST + 1)
    offset = np.cumsum(length) - length
    arena = np.zeros(int(length.sum()), np.uint8)
    ends = np.frombuffer(ip_address(src).packed + ip_address(dst).packed, np.uint8)
    for k, value in enumerate([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253] if family == 4 else [0x60, 0, 0, 0, 0, 0, 253, 64]):
        arena[offset + k] = value
    at = 2 if family == 4 else 4
    told = length if family == 4 else length - 40
    arena[offset + at], arena[offset + at + 1] = told >> 8, told & 255
    for k, value in enumerate(ends):
        arena[offset + (12 if family == 4 else 8) + k] = value
    if family == 4:
        words = np.stack([arena[offset + k].astype(np.uint32) << 8 | arena[offset + k + 1] for k in range(0, 20, 2)])
        total = words.sum(axis=0)
        total = (total & 0xFFFF) + (total >> 16)
        check = ~(total + (total >> 16)) & 0xFFFF
        arena[offset + 10], arena[offset + 11] = check >> 8, check & 255
    columns = {
        "offset": offset, "length": length, "wire": length, "ts": 0 * length, "in_if": 0 * length,
        "link": np.full(len(length), 101), "frame": np.arange(len(length)),
    }  # fmt: skip
    return Batch(arena, columns)


SITE = """ipv6 unicast-routing
crypto ipsec transform-set T esp-gcm
 mode {mode}
crypto ipsec profile P
 set transform-set T
crypto map {v6}M 10 ipsec-isakmp
 set peer {peer}
 set transform-set T
 match address {acl}
interface Tunnel0
 ip address 172.31.0.1 255.255.255.0
 ipv6 enable
 tunnel source {own}
 tunnel mode ipsec ipv{outer}
 tunnel destination {peer}
 {protection}
interface GigabitEthernet0/0/0
 mtu 9216
 ip address 203.0.113.1 255.255.255.0
 ipv6 address 2001:db8::1/64
 {crypto}
interface GigabitEthernet0/0/1
 mtu 9216
 ip address 10.1.0.1 255.255.0.0
 ipv6 address fd00:1::1/32
ip route 10.2.0.0 255.255.0.0 Tunnel0
ipv6 route fd00:2::/32 Tunnel0
access-list 101 permit ip host 203.0.113.1 host 203.0.113.2
ipv6 access-list SIX
 permit ipv6 host 2001:db8::1 host 2001:db8::2
"""


def site(outer: int, transport: bool) -> str:
    """Tunnel mode: a VTI, which carries both families. Transport mode: a crypto map for traffic between its ends."""
    own, peer = ENDS[outer]
    v6 = "ipv6 " if outer == 6 else ""
    return SITE.format(
        mode="transport" if transport else "tunnel", v6=v6, peer=peer, own=own, outer=outer,
        acl="101" if outer == 4 else "SIX", crypto=f"{v6}crypto map M" if transport else "",
        protection="" if transport else "tunnel protection ipsec profile P",
    )  # fmt: skip


def sizing_of(fields: list[dict[str, Any]], outer: int, transport: bool, natt: bool) -> Sizing:
    """The sizing of a test's SAs, from the names of their algorithms alone."""
    esp = next((f for f in fields if f["proto"] == "esp"), None)
    ah = next((f for f in fields if f["proto"] == "ah"), None)
    ah_icv = integrity(ah["integ"]).icv + integrity(ah["integ"]).iv if ah else 0
    if esp is None:
        return Sizing(outer, None, ah_icv=ah_icv, transport=transport)
    icv = esp["icv_len"] if cipher(esp["encr"]).aead else integrity(esp["integ"]).icv
    return Sizing(outer, esp["encr"], icv, ah_icv, transport, natt)


def shapes() -> list[Any]:
    """One protection of each size, each mode and families, with NAT-T where ESP stands alone."""
    seen: set[tuple[Any, ...]] = set()
    out = []
    for name, fields in PROTECTIONS:
        for transport in (False, True):
            for inner, outer in ((4, 4), (4, 6), (6, 4), (6, 6)):
                for natt in (False, True):
                    alone = len(fields) == 1 and fields[0]["proto"] == "esp"
                    if (transport and inner != outer) or (natt and not alone):
                        continue
                    sizing = sizing_of(fields, outer, transport, natt)
                    if (sizing, inner) not in seen:
                        seen.add((sizing, inner))
                        what = f"{name} {'transport' if transport else 'tunnel'} {inner} in {outer}{' natt' * natt}"
                        out.append(pytest.param(fields, sizing, inner, id=what))
    return out


@pytest.mark.req("PF-2")
@pytest.mark.parametrize(("fields", "sizing", "inner"), shapes())
def test_predicted_is_produced(fields: list[dict[str, Any]], sizing: Sizing, inner: int) -> None:
    """Every payload length 0..9000, every algorithm, mode, family, and NAT-T."""
    more: dict[str, Any] = {"mode": "transport" if sizing.transport else "tunnel"}
    if sizing.natt:
        more["natt"] = (4500, 4500)
    router = Router.loads(site(sizing.family, sizing.transport), keys=associations(fields, sizing.family, **more))
    ends = ENDS[inner] if sizing.transport else {4: ("10.1.0.9", "10.2.0.9"), 6: ("fd00:1::9", "fd00:2::9")}[inner]
    result = router.forward(every_length(inner, *ends), "gi0/0/1")
    assert result.counters["verdicts"] == {"forwarded": LONGEST + 1}
    produced = result.verdicts["len_out"].tolist()
    assert produced == [sizing.protected(IP[inner] + n) for n in range(LONGEST + 1)]
    row = router.tables.t.sa[router.sadb.pairs[0].outbound[0]]
    assert int(row["plain_mtu"]) == sizing.plaintext_mtu(9216), "the table holds what the prediction says"


def test_sizing_knows_its_profile() -> None:
    """The control plane's sizing of an SA is the one made from its transforms."""
    fields = dict(PROTECTIONS)["aes-gcm-128/none/16"]
    assert Profile.of(associations(fields, 4)[0]).sizing() == Sizing(4, "aes-gcm", 16)
