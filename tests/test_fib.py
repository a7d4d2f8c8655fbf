"""The FIB against slow twins: a list of routes of which the longest that fits wins, and for large tables numpy."""

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_guard import ROOT, in_bounds_build

from qfp.bench import prefixes
from qfp.router import Router
from qfp.tables import fib
from qfp.tables.route import Route
from qfp.tables.store import Tables, words
from qfp_kernels.fib import route
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_GEN, STRUCTS

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
BITS = {4: 32, 6: 128}
HOPS = 7  # egress interfaces of the twin's routes


# ------------------------------------------------------------------------------------------------- slow twin
def longest(routes: Sequence[Route], vrf: int, address: Address) -> Route | None:
    """The longest prefix that holds the address; of equal ones the first."""
    best = None
    for r in routes:
        fits = r.vrf == vrf and r.prefix.version == address.version and address in r.prefix
        if fits and (best is None or r.prefix.prefixlen > best.prefix.prefixlen):
            best = r
    return best


@kernel
def look(t: Any, vrf: int, family: int, dst0: Any, dst1: Any, out: Any) -> None:
    for k in range(out.size):
        out[k] = route(t, np.uint16(vrf), np.uint8(family), dst0[k], dst1[k])


def found(tables: Tables, vrf: int, family: int, dst0: Any, dst1: Any) -> Any:
    out = np.full(len(dst0), -2, np.int64)
    look(tables.t, vrf, family, dst0, dst1, out)
    return out


def egress(tables: Tables, vrf: int, addresses: Sequence[Address]) -> list[int | None]:
    """Egress interface of each address of one family, None without a route."""
    pairs = np.array([words(a) for a in addresses], np.uint64).reshape(-1, 2)
    rows = found(tables, vrf, addresses[0].version, pairs[:, 0].copy(), pairs[:, 1].copy()).tolist()
    return [int(tables.t.adj["out_if"][row]) if row >= 0 else None for row in rows]


def built(routes: Sequence[Route], vrfs: int = 1) -> Tables:
    tables = Tables()
    fib.build(tables, routes, vrfs)
    return tables


def edges(family: int, networks: Iterable[Network]) -> list[Address]:
    """Both ends of all address space and of every prefix, and the addresses beside and within them."""
    bits, draw = BITS[family], random.Random(1)
    values = {0, 1, (1 << bits) - 1, 1 << bits - 1, *(draw.getrandbits(bits) for _ in range(20))}
    for n in networks:
        if n.version == family:
            first, last = int(n.network_address), int(n.broadcast_address)
            values |= {first - 1, first, draw.randint(first, last), last, last + 1}
    make = IPv4Address if family == 4 else IPv6Address
    return [make(v) for v in sorted(values) if 0 <= v < 1 << bits]


def agrees(routes: Sequence[Route], vrfs: int = 1) -> None:
    """The table gives what the twin gives, for every VRF and at every edge."""
    tables = built(routes, vrfs)
    for vrf in range(vrfs):
        for family in BITS:
            addresses = edges(family, [r.prefix for r in routes])
            wanted = [longest(routes, vrf, a) for a in addresses]
            assert egress(tables, vrf, addresses) == [r and r.out_if for r in wanted]


def to_routes(networks: Iterable[Any], vrf: int = 0) -> list[Route]:
    """Routes of which neighbours lead elsewhere."""
    return [Route(ip_network(n), k % HOPS, vrf) for k, n in enumerate(networks)]


# ------------------------------------------------------------------------------------------ awkward tables
def block(address: str, plen: int) -> Network:
    return ip_network((int(ip_address(address)), plen) if ":" not in address else f"{address}/{plen}", strict=False)


AWKWARD: dict[str, list[Any]] = {
    "default": ["0.0.0.0/0", "::/0"],
    "hosts at both ends": ["0.0.0.0/32", "255.255.255.255/32", "::/128", f"{IPv6Address(2**128 - 1)}/128"],
    "one host": ["198.51.100.77/32"],
    "halves": ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
    "nested": [f"{a}/{n}" for n in range(33) for a in [IPv4Network((0xC0A8FFFF, n), strict=False).network_address]],
    "nested 6": [IPv6Network((2**128 - 1 - 2**60, n), strict=False) for n in range(129)],
    "at the strides": [IPv4Network((0x0A5A5A5A, n), strict=False) for n in (5, 6, 7, 11, 12, 13, 18, 24, 30, 31)],
    "at the strides, from 18": [block("2001:db8:a5a5:5a5a::1", n) for n in range(17, 128, 6)],
    "across the words": [block("2001:db8:0:ffff:8000::", n) for n in range(58, 72)],
    "neighbours": [IPv4Network((0x0A000000 + (k << 8), 24)) for k in range(128)],
    "64 nodes side by side": [IPv4Network(((k << 26) + (1 << 13), 19)) for k in range(64)],
    "a site in IPv6": ["2001:db8:1::/64", "2001:db8:1::9/128", "2001:db8:1:1::/64", "2001:db8:1:2::/63", "fe80::/10"],
    "one long way": ["2001:db8::1/128", "2001:db8::1:1/128", "ff02::5/128"],
    "top": ["240.0.0.0/4", "255.255.255.0/24", "255.255.255.254/31", "ffff::/16", "ffff:ffff::/32"],
    "a hole": ["10.0.0.0/8", "10.64.0.0/10", "10.64.0.0/26", "10.64.0.64/26", "10.64.0.128/25"],
}


@pytest.mark.req("BASE-6")
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_tables(name: str) -> None:
    agrees(to_routes(AWKWARD[name]))


@pytest.mark.req("BASE-6")
def test_awkward_tables_together_and_backwards() -> None:
    """All of them at once, in VRFs of their own and in one: equal prefixes come up again and again."""
    everything = [n for networks in AWKWARD.values() for n in networks]
    agrees(to_routes(everything))
    agrees(to_routes(reversed(everything)))
    apart = [r for vrf, networks in enumerate(AWKWARD.values()) for r in to_routes(networks, vrf)]
    agrees(apart, len(AWKWARD))


@pytest.mark.req("BASE-6")
def test_the_first_of_equal_prefixes_wins() -> None:
    twice = [Route(ip_network("10.0.0.0/8"), 1), Route(ip_network("10.0.0.0/8"), 2), Route(ip_network("::/0"), 3)]
    agrees(twice)
    agrees([*twice[1:], twice[0]])


@pytest.mark.req("BASE-6")
def test_vrfs_do_not_see_one_another() -> None:
    """Three thousand VRFs with a route or two, every third without any."""
    routes = []
    for vrf in range(0, 3000, 3):
        routes.append(Route(IPv4Network((vrf << 16, 16)), vrf, vrf))
        routes.append(Route(IPv6Network((vrf << 112, 16)), vrf + 1, vrf + 1))
    tables = built(routes, 3000)
    for vrf in range(3000):
        same, other = vrf // 3 * 3, (vrf // 3 * 3 + 3) % 3000
        want4 = [vrf if vrf % 3 == 0 else None, None]
        want6 = [vrf if vrf % 3 == 1 else None, None]
        assert egress(tables, vrf, [IPv4Address(same << 16 | 7), IPv4Address(other << 16 | 7)]) == want4
        assert egress(tables, vrf, [IPv6Address(same << 112 | 7), IPv6Address(other << 112 | 7)]) == want6


@pytest.mark.parametrize("tables", [Tables(), built([]), built([], 5)], ids=["never built", "empty", "five VRFs"])
def test_no_routes(tables: Tables) -> None:
    for vrf in range(tables.t.fib_root.size // 2):
        for family in BITS:
            assert egress(tables, vrf, edges(family, [])) == [None] * len(edges(family, []))


# --------------------------------------------------------------------------------------------- random tables
@st.composite
def close_networks(draw: st.DrawFn) -> Network:
    """Prefixes that often touch or hold one another: few different bits, at any length."""
    family = draw(st.sampled_from([4, 6]))
    bits = BITS[family]
    plen = draw(st.integers(0, bits))
    top = draw(st.sampled_from([0, 1, 2, 0b10101, 0xFF, 2**16 - 1]))
    value = draw(st.integers(0, 3)) << bits - 2 ^ top << max(0, plen - 8) ^ draw(st.integers(0, 255)) << bits - plen
    mask = (1 << bits) - (1 << bits - plen)
    return ip_network(((value & mask).to_bytes(bits // 8), plen))


@pytest.mark.req("BASE-6")
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(close_networks(), st.integers(0, 2), st.integers(0, HOPS)), max_size=40))
def test_any_table_gives_the_longest_match(entries: list[tuple[Network, int, int]]) -> None:
    agrees([Route(network, out, vrf) for network, vrf, out in entries], vrfs=4)


def numpy_longest(rows: Any, dst0: Any, dst1: Any) -> Any:
    """Adjacency of each address by a binary search among the prefixes of each length, longest first; -1 = none.

    Prefixes are no longer than 64 bits, as those of `prefixes.prefixes`.
    """
    bits = 32 if rows["fam"][0] == 4 else 64
    net, dst = (rows["net1"], dst1) if bits == 32 else (rows["net0"], dst0)
    out = np.full(dst.size, -1, np.int64)
    for plen in sorted(set(rows["plen"].tolist()), reverse=True):
        these = np.flatnonzero(rows["plen"] == plen)
        these = these[np.argsort(net[these])]
        wanted = dst & np.uint64((1 << bits) - (1 << bits - plen))
        at = np.minimum(np.searchsorted(net[these], wanted), these.size - 1)
        hit = (net[these][at] == wanted) & (out < 0)
        out[hit] = rows["adj"][these][at][hit]
    return out


def addresses_for(rows: Any, count: int) -> tuple[Any, Any]:
    """Destinations as the bench has them, and the first and last addresses of prefixes and those beside them."""
    dst0, dst1 = prefixes.destinations(rows, count)
    some = rows[: count // 4]
    four = rows["fam"][0] == 4
    host = fib.HOST_BITS[some["plen"].astype(int) + (96 if four else 0)]
    first = some["net1"] if four else some["net0"]
    last = first | (host[:, 1] if four else host[:, 0])
    one, most = np.uint64(1), np.uint64(0xFFFFFFFF if four else fib.LOW)
    ends = np.concatenate([first, last, (first - one) & most, (last + one) & most])
    none = np.zeros_like(ends)
    return (np.append(dst0, none), np.append(dst1, ends)) if four else (np.append(dst0, ends), np.append(dst1, none))


@pytest.mark.req("BASE-6")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("count", [1_000_000, *(n - d for n, _ in fib.DIRECT[:-1] for d in (1, 0))])
def test_large_tables(family: int, count: int) -> None:
    """A million prefixes, and sizes on both sides of each step of direct pointing; no default route in them."""
    rows = prefixes.prefixes(family, count + 1)[1:]
    tables = prefixes.install(rows)
    dst0, dst1 = addresses_for(rows, 100_000)
    assert (found(tables, 0, family, dst0, dst1) == (want := numpy_longest(rows, dst0, dst1))).all()
    assert (want >= 0).sum() > min(count, 50_000) and np.unique(want).size > 60  # the twin had something to find


def test_the_order_of_different_prefixes_means_nothing() -> None:
    rows = np.concatenate([prefixes.prefixes(4, 5000), prefixes.prefixes(6, 5000)])
    tables = [prefixes.install(r) for r in (rows, rows[::-1].copy(), np.random.default_rng(1).permutation(rows))]
    for name in fib.FIB_TABLES:
        assert len({getattr(t.t, name).tobytes() for t in tables}) == 1


# ------------------------------------------------------------------------------------------ control plane's side
def test_a_new_table_replaces_the_old_one() -> None:
    tables = built(to_routes(AWKWARD["nested"] + AWKWARD["nested 6"]))
    generation = tables.t.ctl[CTL_GEN]
    fib.build(tables, [Route(ip_network("10.0.0.0/8"), 5)])
    addresses = [IPv4Address("192.168.255.255"), IPv4Address("10.1.2.3")]
    assert egress(tables, 0, addresses) == [None, 5]
    assert egress(tables, 0, [IPv6Address(2**128 - 1)]) == [None]
    assert tables.t.ctl[CTL_GEN] == generation + 1  # what flow caches hold is no longer true


def test_routes_with_one_way_share_an_adjacency() -> None:
    hop, hop6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
    ways = [
        Route(ip_network("10.0.0.0/8"), 3, next_hop=hop), Route(ip_network("10.9.0.0/16"), 3, next_hop=hop),
        Route(ip_network("192.0.2.0/24"), 3), Route(ip_network("192.0.2.9/32"), 3, local=True),
        Route(ip_network("::/0"), 3, next_hop=hop6), Route(ip_network("2001:db8::/64"), 3),
    ]  # fmt: skip
    tables = built([*ways, Route(ip_network("10.0.0.0/8"), 3, vrf=1, next_hop=hop)], vrfs=2)
    seen = tables.t.adj[["out_if", "local", "fam", "hop0", "hop1"]].tolist()
    assert seen == [
        (3, 0, 4, 0, int(hop)), (3, 0, 4, 0, 0), (3, 1, 4, 0, 0), (3, 0, 6, *words(hop6)), (3, 0, 6, 0, 0),
    ]  # fmt: skip


STATIC = """
vrf definition red
 address-family ipv4
vrf definition empty
 address-family ipv4
interface GigabitEthernet0/0
 ip address 192.0.2.9 255.255.255.0
interface GigabitEthernet0/1
 ip address 198.51.100.9 255.255.255.0
 ipv6 address 2001:db8::9/64
interface GigabitEthernet0/2
 vrf forwarding red
 ip address 192.0.2.9 255.255.255.0
ip route vrf red 10.0.0.0 255.0.0.0 192.0.2.33
ip route 10.0.0.0 255.0.0.0 192.0.2.1
ip route 10.1.0.0 255.255.0.0 10.2.2.2
ip route 10.3.0.0 255.255.0.0 GigabitEthernet0/1 198.51.100.7
ip route 172.16.0.0 255.240.0.0 GigabitEthernet0/1
ip route 172.20.0.0 255.255.0.0 172.16.0.5
ipv6 route 2001:db8:5::/48 2001:db8::1
"""


@pytest.mark.req("BASE-6")
@pytest.mark.parametrize(("destination", "vrf", "out", "hop"), [
    ("10.9.9.9", 0, 0, "192.0.2.1"),
    ("10.1.9.9", 0, 0, "192.0.2.1"),  # by way of 10.2.2.2, which is behind 192.0.2.1
    ("10.3.9.9", 0, 1, "198.51.100.7"),
    ("172.16.9.9", 0, 1, None),  # on the link, as the configuration has it
    ("172.20.9.9", 0, 1, "172.16.0.5"),
    ("192.0.2.77", 0, 0, None),
    ("2001:db8:5::5", 0, 1, "2001:db8::1"),
    ("2001:db8::5", 0, 1, None),
    ("10.1.9.9", 1, 2, "192.0.2.33"),
    ("192.0.2.77", 1, 2, None),
])  # fmt: skip
def test_static_routes_lead_to_a_next_hop(destination: str, vrf: int, out: int, hop: str | None) -> None:
    t = Router.loads(STATIC).tables.t
    assert t.fib_root.size == 2 * 3
    dst = ip_address(destination)
    high, low = (np.array([w], np.uint64) for w in words(dst))
    row = np.full(1, -2, np.int64)
    look(t, vrf, dst.version, high, low, row)
    adjacency = t.adj[row[0]]
    assert adjacency["out_if"] == out and adjacency["local"] == 0 and adjacency["fam"] == dst.version
    assert (adjacency["hop0"], adjacency["hop1"]) == (words(ip_address(hop)) if hop else (0, 0))


# -------------------------------------------------------------------------------------------------- errors
def row(**fields: int) -> Any:
    """One good IPv4 row with fields changed."""
    out = np.zeros(3, fib.ROW)
    out["fam"] = 4
    for name, value in fields.items():
        out[name][1] = value
    return out


@pytest.mark.parametrize(("rows", "message"), [
    (row(net1=0x0A000001, plen=8), "prefix row 1: host bits are set"),
    (row(net1=1, plen=31), "host bits are set"),
    (row(fam=6, net0=1 << 63, net1=1, plen=127), "host bits are set"),
    (row(fam=6, net0=1, plen=63), "host bits are set"),
    (row(plen=33), "prefix length is out of range"),
    (row(fam=6, plen=129), "prefix length is out of range"),
    (row(fam=5), "family is neither 4 nor 6"),
    (row(net1=1 << 32, plen=32), "an IPv4 address has 32 bits"),
    (row(net0=1, plen=32), "an IPv4 address has 32 bits"),
    (row(vrf=1), "there are 1 VRFs"),
    (row(adj=2), "there are 2 adjacencies"),
    (np.zeros(1, "u8"), "give rows of fib.ROW"),
])  # fmt: skip
def test_bad_columns_are_refused_and_the_old_table_stays(rows: Any, message: str) -> None:
    tables = built([Route(ip_network("10.0.0.0/8"), 5)])
    generation = tables.t.ctl[CTL_GEN]
    with pytest.raises(ValueError, match=message):
        fib.build_columns(tables, rows, np.zeros(2, STRUCTS["adj"]))
    assert egress(tables, 0, [IPv4Address("10.0.0.1")]) == [5]
    assert tables.t.ctl[CTL_GEN] == generation


def test_a_vrf_that_there_is_not() -> None:
    for vrf in (2, 65536, -1):
        with pytest.raises(ValueError, match=f"10.0.0.0/8: VRF {vrf}: there are 2 VRFs"):
            built([Route(ip_network("10.0.0.0/8"), 5, vrf=vrf)], vrfs=2)
    for vrfs in (0, 65537):
        with pytest.raises(ValueError, match="1 to 65536"):
            built([], vrfs=vrfs)


BOUNDS = """
import sys
sys.path.insert(0, {tests!r})
from qfp_kernels import columns
assert columns.BOUNDS
import test_fib
for networks in test_fib.AWKWARD.values():
    test_fib.agrees(test_fib.to_routes(networks))
for family in (4, 6):
    test_fib.test_large_tables(family, 20_000)
print("within")
"""


@pytest.mark.req("BASE-12")
def test_no_address_leads_outside_the_tables() -> None:
    """The same look-ups in a build that traps an index outside a table."""
    done = in_bounds_build(BOUNDS.format(tests=str(ROOT / "tests")))
    assert done.stdout == "within\n", done.stderr[-2000:] or f"ended by signal {-done.returncode}"
