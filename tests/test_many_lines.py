"""Configurations of many lines: plain ones are read in runs and kept as columns, and mean what they mean one by one."""

import copy
import json
import os
import subprocess
import sys
import tracemalloc
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cli_help import qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_routes import Routes as NaiveRoutes
from test_fib import egress

from qfp.config import Configuration, StaticRoute, load, loads, render
from qfp.config import plain as plain_module
from qfp.config.check import verdict_counts
from qfp.config.pause import LINES_MIN as LARGE
from qfp.config.pause import uncollected
from qfp.config.quads import MASK_LENGTHS, dotted, quad
from qfp.config.route_list import PlainRoute, Routes
from qfp.config.routing import Routing
from qfp.control import forwarding
from qfp.sa import SecurityAssociation
from qfp.tables import fib
from qfp.tables.store import Tables

HEAD = """hostname R
interface GigabitEthernet0/0/0
 ip address 10.0.0.1 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 192.0.2.1 255.255.255.0
 ipv6 address 2001:db8::1/64
"""


def by_grammar(text: str) -> Configuration:
    """A configuration whose every line goes through the grammar."""
    runs = dict(plain_module.RUNS)
    plain_module.RUNS.clear()
    try:
        return loads(text)
    finally:
        plain_module.RUNS.update(runs)


# --------------------------------------------------------------------------------- runs mean what lines mean
WORDS = st.sampled_from([
    "10.1.0.0", "10.1.2.0", "10.1.2.3", "0.0.0.0", "192.0.2.2", "192.0.2.77", "192.0.2.300", "010.1.0.0", "1.2.3",
    "10.1.0.0.", "255.255.0.0", "255.255.255.0", "255.255.255.255", "255.0.255.0", "0.0.0.255", "2001:db8:1::/48",
    "2001:db8:1::1/48", "2001:db8::2", "::/0", "::1::2", "2001:db8:1::/129", "::ffff:1.2.3.4", "fe80::1%1", "1", "01",
    "200", "255", "256", "name", "permanent", "Null0", "GigabitEthernet0/0/1", "tag", "x", "١", "vrf",
])  # fmt: skip
PREFIX4 = st.sampled_from(["10.1.0.0 255.255.0.0", "10.1.2.0 255.255.255.0", "0.0.0.0 0.0.0.0", "10.1.2.3 255.255.0.0"])
HOP4 = st.sampled_from(["192.0.2.2", "192.0.2.3", "10.1.2.3", "10.9.9.9", "Null0", "GigabitEthernet0/0/0"])
LINE = st.one_of(
    st.tuples(st.sampled_from(["", "no "]), PREFIX4, HOP4, st.sampled_from(["", " 7", " 255", " name N"]))
    .map(lambda p: f"{p[0]}ip route {p[1]} {p[2]}{p[3]}"),
    st.tuples(st.sampled_from(["ip route ", "ipv6 route ", "ip rou ", "no ip route ", " ip route ", "ip  route "]),
              st.lists(WORDS, max_size=5), st.sampled_from(["", " ", "\r", " \r", "\t"]))
    .map(lambda p: p[0] + " ".join(p[1]) + p[2]),
    st.sampled_from(["!", "", "interface GigabitEthernet0/0/7", " description x", "router bgp 1", " neighbor 1.1.1.1",
                     "no ip route 10.1.0.0 255.255.0.0", "ipv6 route 2001:db8:1::/48 2001:db8::2",
                     "ipv6 route 2001:DB8:1:0::/48 2001:db8::3 9", "no ipv6 route 2001:db8:1::/48"]),
)  # fmt: skip


def same(one: Configuration, other: Configuration) -> None:
    assert one == other
    assert list(one.lines) == list(other.lines)
    assert one.issues == other.issues
    assert [(each, each.line) for each in one.routes] == [(each, each.line) for each in other.routes]
    assert render(one) == render(other)


@settings(max_examples=300)
@given(st.lists(LINE, max_size=14))
def test_lines_that_are_read_in_runs_mean_what_they_mean_one_by_one(lines: list[str]) -> None:
    text = HEAD + "\n".join(lines)
    same(loads(text), by_grammar(text))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_lines_are_in_fact_read_in_runs(end: str) -> None:
    lines = [f"ip route 10.{k}.0.0 255.255.0.0 192.0.2.2" for k in range(50)]
    found = loads((HEAD + "\n".join(lines)).replace("\n", end)).routes
    assert isinstance(found, Routes)
    plain = [isinstance(row, PlainRoute) for row in found.rows()]
    assert plain == [False, *[True] * 49]  # the first line ends the section before it


def test_a_line_in_a_section_is_not_read_as_a_global_one() -> None:
    """What stands under a section that is kept unread is no route."""
    text = HEAD + "router bgp 1\n ip route 10.1.0.0 255.255.0.0 192.0.2.2\nip route 10.2.0.0 255.255.0.0 192.0.2.2\n"
    same(loads(text), by_grammar(text))


@given(st.integers(0, 2**32 - 1))
def test_the_usual_writing_of_addresses(value: int) -> None:
    assert quad(dotted(value)) == value == int(ip_address(dotted(value)))


@pytest.mark.parametrize("text", ["1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.", "", "1..2.3", "1.2.3.-4"])
def test_no_other_writing_is_an_address(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        quad(text)


def test_every_mask_and_no_other() -> None:
    assert sorted(MASK_LENGTHS.values()) == list(range(33)) and MASK_LENGTHS["255.255.254.0"] == 23


# ----------------------------------------------------------------------------------------- a list of routes
def routes_of(count: int) -> Routes:
    found = loads(HEAD + "".join(f"ip route 10.{k}.0.0 255.255.0.0 192.0.2.{k + 2} 9\n" for k in range(count))).routes
    assert isinstance(found, Routes)
    return found


ACTIONS = ["get", "set", "del", "insert", "append", "slice", "pop", "cut"]


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(-9, 9)), max_size=12))
def test_routes_behave_as_the_list_of_their_objects(actions: list[tuple[str, int]]) -> None:
    routes, twin = routes_of(4), list(routes_of(4))
    spare = list(routes_of(12))[8:]
    for what, at in actions:
        for each in (routes, twin):
            one = copy.copy(spare[at % 4])
            if what in ("get", "set", "del", "pop") and not -len(each) <= at < len(each):
                with pytest.raises(IndexError):
                    each[at]
            elif what == "get":
                each[at].distance = 77
            elif what == "set":
                each[at] = one
            elif what == "del":
                del each[at]
            elif what == "pop":
                each.pop(at)
            elif what == "insert":
                each.insert(at, one)
            elif what == "append":
                each.append(one)
            elif what == "slice":
                each[at:3] = [one, one]
            else:
                del each[at::2]
    assert routes == twin and twin == routes and len(routes) == len(twin) and list(routes) == twin
    assert routes[1:] == twin[1:] and all(each in routes and routes.index(each) == twin.index(each) for each in twin)


def test_an_object_stays_what_was_made_of_it() -> None:
    routes = routes_of(3)
    assert routes[1] is routes[1]
    routes[1].distance = 200
    assert [each.distance for each in routes] == [9, 200, 9] and routes != routes_of(3)


def test_an_empty_list_of_routes() -> None:
    assert loads(HEAD).routes == [] and loads(HEAD).routes == [] and not loads(HEAD).routes
    assert repr(routes_of(2)) == "Routes(2 static routes)" and routes_of(2) != "x"


def test_a_configuration_takes_a_plain_list_of_routes() -> None:
    cfg = loads(HEAD)
    cfg.routes = [StaticRoute(4, r.prefix, r.next_hop) for r in routes_of(2)]
    assert loads(render(cfg)).routes == cfg.routes
    assert [str(r.prefix) for r in routing_of(cfg).routes][-2:] == ["10.0.0.0/16", "10.1.0.0/16"]


# --------------------------------------------------------------------------------------- verdicts as columns
def test_verdicts_are_a_sequence_and_hold_no_key() -> None:
    text = "crypto isakmp key S3cret address 192.0.2.9\n!\nbogus\n" + "ip route 10.1.0.0 255.255.0.0 192.0.2.2\n" * 3
    cfg = loads(text)
    rows = list(cfg.lines)
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 7] and cfg.lines == rows and cfg.lines[-1] == rows[-1]
    assert cfg.lines[1:3] == rows[1:3] and repr(cfg.lines) == "LineVerdicts(7 lines)"
    assert sum(verdict_counts(cfg).values()) == 7
    cfg.lines, columns = rows, cfg.lines
    assert verdict_counts(cfg) == columns.counts()  # type: ignore[attr-defined]
    assert "S3cret" not in str(vars(columns))
    with pytest.raises(IndexError):
        columns[7]


# ------------------------------------------------------------------------------------- next hops of next hops
NETS = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "20.0.0.0/8", "20.1.0.0/16",
        "30.0.0.0/8"]  # fmt: skip
HOPS = ["192.0.2.2", "10.1.2.3", "10.1.9.9", "10.9.9.9", "20.1.1.1", "20.9.9.9", "30.1.1.1", "99.9.9.9", "Null0",
        "GigabitEthernet0/0/0", "GigabitEthernet0/0/1 192.0.2.9"]  # fmt: skip
STATIC = st.tuples(st.sampled_from(NETS), st.sampled_from(HOPS), st.sampled_from(["", " 5", " 255", " name N"]))


def with_routes(rows: list[tuple[str, str, str]]) -> Configuration:
    lines = []
    for net, hop, rest in rows:
        address, length = net.split("/")
        lines.append(f"ip route {address} {next(m for m, n in MASK_LENGTHS.items() if n == int(length))} {hop}{rest}")
    return loads(HEAD + "\n".join(lines))


def routing_of(cfg: Configuration) -> Routing:
    return Routing(cfg, {name: k for k, name in enumerate(cfg.interfaces)})


@pytest.mark.req("BASE-4")
@settings(max_examples=300)
@given(st.lists(STATIC, max_size=8))
def test_static_routes_over_static_routes_as_the_slow_twin_finds_them(rows: list[tuple[str, str, str]]) -> None:
    cfg = with_routes(rows)
    routing, twin, names = routing_of(cfg), NaiveRoutes(cfg), list(cfg.interfaces)
    assert [(each, each.line) for each in routing.unresolved] == [(each, each.line) for each in twin.unresolved]
    for address in ("10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "20.1.1.1", "20.9.9.9", "30.0.0.1", "99.9.9.9"):
        found, there = routing.lookup(ip_address(address)), twin.find(int(ip_address(address)), 4, None)
        assert (found and names[found.out_if], found and found.local) == (there or (None, None))


@given(st.lists(STATIC.filter(lambda row: row[2] != " 5"), max_size=8, unique_by=lambda row: row[0]), st.randoms())
def test_the_order_of_lines_means_nothing_where_no_circle_is(rows: list[tuple[str, str, str]], random: Any) -> None:
    """Each prefix once, and a route of a circle goes by its place: without circles no order is left."""
    other = list(rows)
    random.shuffle(other)
    one, two = routing_of(with_routes(rows)), routing_of(with_routes(other))
    if not {str(each.prefix) for each in one.unresolved} ^ {str(each.prefix) for each in two.unresolved}:
        assert {(str(r.prefix), r.out_if, r.next_hop) for r in one.routes} == {
            (str(r.prefix), r.out_if, r.next_hop) for r in two.routes}  # fmt: skip


def told(cfg: Configuration) -> list[str]:
    return [issue.message for issue in cfg.issues if "not installed" in issue.message]


@pytest.mark.req("BASE-4")
@pytest.mark.parametrize(
    ("rows", "gone"),
    [
        ([("10.0.0.0/8", "192.0.2.2", ""), ("20.0.0.0/8", "10.9.9.9", ""), ("30.0.0.0/8", "20.9.9.9", "")], []),
        ([("30.0.0.0/8", "20.9.9.9", ""), ("20.0.0.0/8", "10.9.9.9", ""), ("10.0.0.0/8", "192.0.2.2", "")], []),
        ([("20.0.0.0/8", "20.9.9.9", "")], ["20.0.0.0/8"]),
        ([("0.0.0.0/0", "192.0.2.2", ""), ("20.0.0.0/8", "20.9.9.9", "")], ["20.0.0.0/8"]),
        (
            [("0.0.0.0/0", "192.0.2.2", ""), ("20.0.0.0/8", "10.9.9.9", ""), ("10.0.0.0/8", "20.9.9.9", "")],
            ["10.0.0.0/8"],
        ),
        ([("20.0.0.0/8", "10.9.9.9", ""), ("10.0.0.0/8", "20.9.9.9", "")], ["20.0.0.0/8", "10.0.0.0/8"]),
    ],
    ids=["a chain", "a chain backwards", "over itself", "over itself beside a default", "a circle", "hung in the air"],
)
def test_what_leads_back_to_itself_is_not_installed_and_said(rows: list[tuple[str, str, str]], gone: list[str]) -> None:
    """IOS: a static route that would resolve its own next hop is self-recursive and stays out of the table."""
    found = told(with_routes(rows))
    assert len(found) == len(gone) and all(net in message for net, message in zip(gone, found, strict=True))


def test_a_chain_of_thousands_is_followed() -> None:
    """Each over the one before, the first of them last in the file."""

    def at(k: int) -> str:
        return dotted((11 << 24) + k * 256)

    lines = [f"ip route {at(k)} 255.255.255.0 {at(k - 1)[:-1]}9" for k in range(3000, 0, -1)]
    cfg = loads(HEAD + "\n".join([*lines, f"ip route {at(0)} 255.255.255.0 192.0.2.2"]))
    found = routing_of(cfg).lookup(ip_address(at(3000)[:-1] + "5"))
    assert not told(cfg) and found is not None and (found.out_if, str(found.next_hop)) == (1, "192.0.2.2")


@pytest.mark.req("BASE-4")
@settings(max_examples=40, deadline=None)
@given(st.lists(STATIC, max_size=8))
def test_columns_and_objects_build_equal_forwarding_tables(rows: list[tuple[str, str, str]]) -> None:
    routing = routing_of(with_routes(rows))
    by_columns, by_objects = Tables(), Tables()
    forwarding.build(by_columns, routing.forwarding(), len(routing.vrfs))
    fib.build(by_objects, routing.routes, len(routing.vrfs))
    asked: Any = [*map(ip_address, (
        "10.1.2.3", "10.1.2.4", "10.1.9.9", "10.0.0.255", "20.1.1.1", "30.0.0.1", "192.0.2.1", "224.0.0.5",
        "2001:db8::7", "fe80::1", "ff02::1",
    ))]  # fmt: skip
    assert egress(by_columns, 0, asked) == egress(by_objects, 0, asked)


# ------------------------------------------------------------------------------------------------ SAs, pause
def test_a_derived_sa_is_what_a_checked_one_is() -> None:
    common: dict[str, Any] = {"proto": "esp", "encr": "aes-cbc", "integ": "hmac-sha256-128", "direction": "in"}
    a, b, c = (ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    kind = SecurityAssociation(spi=256, src=a, dst=b, encr_key=bytes(16), integ_key=bytes(32), **common)
    made = kind.keyed(700, b, c, b"k" * 16, b"", b"m" * 32)
    assert made == SecurityAssociation(spi=700, src=b, dst=c, encr_key=b"k" * 16, integ_key=b"m" * 32, **common)
    assert kind.spi == 256 and made.icv_len == 16


def test_the_collector_is_as_it_was_before() -> None:
    import gc

    with pytest.raises(KeyError), uncollected(LARGE):
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected(LARGE):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with uncollected(LARGE - 1):
        assert gc.isenabled(), "a small configuration is not worth what is kept meanwhile"


# ------------------------------------------------------------------------------------------ time and memory
def route_lines(count: int) -> str:
    lines = (f"ip route {dotted((11 << 24) + k * 256)} 255.255.255.0 192.0.2.{2 + k % 200}\n" for k in range(count))
    return "".join(lines)


def test_a_plain_route_keeps_less_than_150_bytes() -> None:
    """Line, verdict and route; while it is read less than 600."""
    text = HEAD + route_lines(20_000)
    loads(HEAD)
    tracemalloc.start()
    cfg = loads(text)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cfg.routes) == 20_000 and kept / 20_000 < 150 and peak / 20_000 < 600


CHILD = """
import json, resource, sys, time
from qfp.config import load
from qfp.router import Router
start = time.process_time()
router = (Router.load if sys.argv[1] == "router" else load)(sys.argv[2])
config = router.config if sys.argv[1] == "router" else router
print(json.dumps({"seconds": time.process_time() - start, "routes": len(config.routes),
                  "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def child(what: str, text: str, tmp_path: Path) -> dict[str, Any]:
    """What a process of its own takes to load a configuration; processor time, because others may use the machine."""
    (tmp_path / "a.cfg").write_text(text)
    run = subprocess.run([sys.executable, "-c", CHILD, what, str(tmp_path / "a.cfg")], capture_output=True, text=True,
                         env=dict(os.environ), check=True)  # fmt: skip
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seconds", "size"), [(10_000, 3, 512), (100_000, 8, 512), (1_000_000, 60, 1024)])
def test_routes_load_in_time_and_memory(count: int, seconds: float, size: int, tmp_path: Path) -> None:
    """Twice, because the first process may have kernels to compile."""
    child("router", HEAD + route_lines(1000), tmp_path)
    found = child("router", HEAD + route_lines(count), tmp_path)
    assert found["routes"] == count and found["seconds"] < seconds and found["MiB"] < size


def peers(count: int) -> str:
    """A crypto map with an entry, an access list and a key for each peer."""
    text = "crypto isakmp policy 10\n authentication pre-share\ncrypto ipsec transform-set T esp-aes esp-sha256-hmac\n"
    for k in range(count):
        peer = f"198.18.{k >> 8}.{k & 255}" if k else "198.19.0.1"
        text += f"crypto isakmp key K{k} address {peer}\ncrypto map M {k + 1} ipsec-isakmp\n set peer {peer}\n"
        text += f" set transform-set T\n match address A{k}\nip access-list extended A{k}\n"
        text += f" permit ip 10.0.0.0 0.0.0.255 11.{k >> 8}.{k & 255}.0 0.0.0.255\n"
    return text + "interface GigabitEthernet0/0/0\n ip address 203.0.113.1 255.255.255.0\n crypto map M\n"


@pytest.mark.slow
def test_ten_thousand_peers_load_in_time(tmp_path: Path) -> None:
    child("router", peers(10), tmp_path)
    assert child("router", peers(10_000), tmp_path)["seconds"] < 6


# ---------------------------------------------------------------------------------------------------- check
def test_check_prints_the_same_lines_with_colour_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "description [bold]x[/bold] :smile: \x1b[31m \u6f22\u5b57 " + "y" * 300
    (tmp_path / "a.cfg").write_text(HEAD + f" {odd}\nbogus\tword  \n" + route_lines(3))
    said = qfp("check", tmp_path / "a.cfg")
    lines = [line for line in said.out.splitlines() if line[:5].strip().isdigit()]
    rows = [row for row in load(tmp_path / "a.cfg").lines if row.verdict != "comment"]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.startswith(f"{row.line:>5} {row.verdict:<8}") and "\x1b" not in line and "\t" not in line
    assert "y" * 300 in said.out and "[bold]x[/bold] :smile:" in said.out and "\\x1b[31m" in said.out
