"""Many tunnels: those that must fare alike are swept once and checked one by one; the answer is that of full sweeps."""

import io
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import config, qfp
from hypothesis import given
from hypothesis import strategies as st
from mtu_help import tunnel

from qfp.cli.progress import Bar
from qfp.config import loads
from qfp.config.routing import Routing
from qfp.mtu import alike, report
from qfp.mtu.sweep import Lab
from qfp.router import Router

WAN, LAN = "GigabitEthernet0/0/0", "GigabitEthernet0/0/1"


def hub(count: int, site: int = 1, mode: str = "ipsec ipv4", own: dict[int, str] | None = None, head: str = "") -> str:
    """Site 1 or 2 with `count` tunnels between pairs of loopbacks. own: further lines of single tunnels."""
    peer = 3 - site
    lines = [
        f"hostname s{site}", head, "crypto ipsec transform-set T esp-gcm 128", " mode tunnel",
        "crypto ipsec profile P", " set transform-set T",
        f"interface {WAN}", f" ip address 203.0.113.{site} 255.255.255.0",
        f"interface {LAN}", f" ip address 10.{site}.0.1 255.255.0.0",
    ]  # fmt: skip
    for k in range(count):
        lines += [
            f"interface Loopback{k}", f" ip address 192.0.{site}.{k + 1} 255.255.255.255",
            f"interface Tunnel{k}", f" ip address 172.16.{k}.{site} 255.255.255.252",
            f" tunnel source Loopback{k}", f" tunnel destination 192.0.{peer}.{k + 1}", f" tunnel mode {mode}",
            " tunnel protection ipsec profile P", (own or {}).get(k, ""),
            f"ip route 10.{peer}.{k}.0 255.255.255.0 Tunnel{k}",
        ]  # fmt: skip
    lines += [f"ip route 0.0.0.0 0.0.0.0 203.0.113.{peer}"]
    return "\n".join(line for line in lines if line) + "\n"


def entries(count: int, site: int = 1) -> str:
    """Site 1 or 2 with a crypto map of `count` entries with one peer: every other one for TCP port 443."""
    text = re.sub(r"access-list.*\n|crypto map M 10(\n .*)*", "", config(site)).replace("\n set peer", "\n!set peer")
    for k in range(count):
        what = ("tcp", " eq 443") if k % 2 else ("ip", "")
        ends = [f"10.{s}.{k}.0 0.0.0.255" for s in (site, 3 - site)]
        text = text.replace("interface GigabitEthernet0/0/0", f"crypto map M {k + 1} ipsec-isakmp\n"
                            f" set peer 203.0.113.{3 - site}\n set transform-set T\n match address A{k}\n"
                            "interface GigabitEthernet0/0/0", 1)  # fmt: skip
        text += f"ip access-list extended A{k}\n permit {what[0]} {ends[0]} {ends[1]}{what[1]}\n"
    return text


def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path swept in full."""
    monkeypatch.setattr(alike, "key", lambda *_: None)


@pytest.mark.parametrize(
    "near, far",
    [
        (hub(5), None),
        (hub(5, 1, "gre ip"), None),
        (hub(4), hub(4, 2)),
        (hub(4, 1, "gre ip", {1: " tunnel key 7"}), hub(4, 2, "gre ip", {1: " tunnel key 7"})),
        (hub(6, own={2: " ip mtu 1400", 4: " ip mtu 1400"}), None),
        (hub(4), hub(4, 2, own={3: " ip mtu 1300"})),
        (hub(3, head="crypto ipsec df-bit clear"), None),
        (entries(6), None),
        (hub(4, 1, "gre ip", {2: " tunnel path-mtu-discovery"}), None),
    ],
)
def test_the_answer_is_that_of_full_sweeps(near: str, far: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def facts() -> dict[str, Any]:
        return report(*(Router.loads(each) for each in (near, far) if each), sizes=(1270, 3100)).facts()

    once = facts()
    assert all(path["note"] is None for path in once["paths"])
    apart(monkeypatch)
    assert once == facts()


def test_only_one_of_those_that_are_alike_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of a further tunnel is a few datagrams: the ends of its bands."""
    sent: list[tuple[str, int]] = []
    found = Lab.sweep

    def counted(self: Lab, path: Any, flow: Any, sizes: Any, df: bool, host_mtu: int) -> Any:
        sent.append((path.tunnel, len(sizes)))
        return found(self, path, flow, sizes, df, host_mtu)

    monkeypatch.setattr(Lab, "sweep", counted)
    report(Router.loads(hub(12, own={7: " ip mtu 1300"})), sizes=(1200, 3000))
    total = {f"Tunnel{k}": sum(n for name, n in sent if name == f"Tunnel{k}") for k in range(12)}
    assert total.pop("Tunnel0") == total.pop("Tunnel7") == 2 * 301 + 1500
    assert set(total.values()) == {6 + 4}  # three bands with DF clear; of those with it set, two are below 1500


def test_a_tunnel_that_fares_differently_is_found_by_its_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with a key that says nothing: the ends of bands are sent, and do not confirm them."""
    text = hub(4, own={1: " ip mtu 1400", 2: " ip mtu 1399", 3: " ip mtu 1401"})
    monkeypatch.setattr(alike, "key", lambda *_: "all the same")
    blind = report(Router.loads(text), sizes=(1300, 1700)).facts()
    apart(monkeypatch)
    assert blind == report(Router.loads(text), sizes=(1300, 1700)).facts()


@pytest.mark.parametrize("name, value", [("plain_mtu", 1000), ("fit", 1000), ("before", 1), ("df", 1), ("natt", 1),
                                         ("icv_len", 12), ("block", 8), ("hdr_len", 40), ("comp", 1)])  # fmt: skip
def test_what_sizes_depend_on_is_in_the_key(name: str, value: int) -> None:
    router = Router.loads(hub(2))
    one, other = report(router, sizes=(100, 101)).paths
    keys = [alike.key(each.path, router, None, {4: 1500}) for each in (one, other)]
    assert keys[0] == keys[1] is not None
    assert alike.key(one.path, router, None, {4: 1400}) != keys[0]
    assert router.tables.t.sa[name][one.path.sa] != value
    router.tables.t.sa[name][one.path.sa] = value
    assert alike.key(one.path, router, None, {4: 1500}) != keys[1]


def test_a_tunnel_under_a_crypto_map_is_by_itself() -> None:
    text = tunnel(1, wan=" crypto map M", routing6=False) + (
        "crypto map M 10 ipsec-isakmp\n set peer 203.0.113.2\n set transform-set T\n match address 101\n"
        "access-list 101 permit ip host 203.0.113.1 host 203.0.113.2\n"
    )
    router = Router.loads(text)
    path = report(router, sizes=(100, 101)).paths[0].path
    assert path.tunnel == "Tunnel0" and alike.key(path, router, None, {4: 1500, 6: 1500}) is None


def test_gre_behind_a_crypto_map_is_swept_with_both_families() -> None:
    """The selector of the entry that carries GRE is not that of the packets inside."""
    text = tunnel(1, "gre ip", wan=" crypto map M", protected=False) + (
        "crypto map M 10 ipsec-isakmp\n set peer 203.0.113.2\n set transform-set T\n match address 101\n"
        "access-list 101 permit gre host 203.0.113.1 host 203.0.113.2\n"
    )
    (path,) = report(Router.loads(text), sizes=(1400, 1450)).paths
    assert [(line.family, line.df) for line in path.lines] == [(4, True), (4, False), (6, None)]


# ------------------------------------------------------------------------------------------ progress, look-ups
def test_progress_goes_up_to_its_end() -> None:
    steps: list[tuple[int, int]] = []
    report(Router.loads(hub(5)), sizes=(100, 101), on_progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, 11)) and {total for _, total in steps} == {10}


def test_a_bar_whose_total_becomes_known_under_way() -> None:
    now = iter(range(100))
    out = io.StringIO()
    with Bar("paths", None, terminal=True, clock=lambda: float(next(now)), file=out) as bar:
        bar.step(1, 10)
        assert bar.shown and bar._bar.tasks[0].total == 10
        bar.step(5, 20)
        assert (bar._bar.tasks[0].completed, bar._bar.tasks[0].total) == (5, 20)


PREFIXES = ("10.0.0.0 255.0.0.0", "10.2.0.0 255.255.0.0", "10.2.3.0 255.255.255.0", "10.2.3.4 255.255.255.255",
            "0.0.0.0 0.0.0.0", "203.0.113.0 255.255.255.128")  # fmt: skip
HOPS = ("203.0.113.9", "203.0.113.10 200", "10.1.0.9", WAN, f"{LAN} 5")


@given(
    st.lists(st.tuples(st.sampled_from(PREFIXES), st.sampled_from(HOPS)), max_size=8),
    st.sampled_from(["10.2.3.4", "10.2.3.5", "10.2.9.9", "10.9.9.9", "203.0.113.1", "203.0.113.77", "203.0.113.200",
                     "127.0.0.1", "8.8.8.8", "fe80::1", "2001:db8::1", "::1"]),
)  # fmt: skip
def test_a_look_up_finds_the_longest_prefix_then_the_nearest_then_the_first(
    routes: list[tuple[str, str]], to: str
) -> None:
    text = f"interface {WAN}\n ip address 203.0.113.1 255.255.255.0\n ipv6 enable\n"
    text += f"interface {LAN}\n ip address 10.1.0.1 255.255.0.0\n"
    text += "".join(f"ip route {prefix} {hop}\n" for prefix, hop in routes)
    cfg, address = loads(text), ip_address(to)
    routing = Routing(cfg, {name: k for k, name in enumerate(cfg.interfaces)})
    fits = [(-r.prefix.prefixlen, k, r) for k, r in enumerate(routing.routes)
            if r.vrf == 0 and r.prefix.version == address.version and address in r.prefix]  # fmt: skip
    assert routing.lookup(address) == (min(fits)[2] if fits else None)


# ------------------------------------------------------------------------------------------ wrong and odd input
@pytest.mark.parametrize("sizes", ["9" * 5000, "9" * 5000 + "-" + "9" * 5000, "5-1", "0", "-1", "70000", "40-70000", "",
                                   "-", "1-", "40--50", "٤٠", "4_0-50", " 40", "40-50\n", "1e3", "0x40"])  # fmt: skip
def test_sizes_that_are_none_end_with_status_2(sizes: str, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(config(1))
    said = qfp("mtu", tmp_path / "a.cfg", "--json", f"--sizes={sizes}")
    assert said.status == 2 and "sizes" in said.json["error"] and len(said.err) < 200


@pytest.mark.parametrize("change", ["shutdown", "no destination"])
def test_a_tunnel_that_is_down_is_said_and_cannot_be_drawn(change: str, tmp_path: Path) -> None:
    text = tunnel(1, own=" shutdown") if change == "shutdown" else re.sub(r" tunnel dest.*\n", "", tunnel(1))
    (tmp_path / "a.cfg").write_text(text)
    said = qfp("mtu", tmp_path / "a.cfg")
    assert said.status == 0 and "not swept: the tunnel is down" in said.out and "black holes" not in said.out
    pytest.importorskip("matplotlib")
    said = qfp("mtu", tmp_path / "a.cfg", "-o", tmp_path / "x.svg")
    assert said.status == 2 and "no size was swept" in said.err and not (tmp_path / "x.svg").exists()


def test_a_family_that_no_size_is_long_enough_for_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(tunnel(1))
    said = qfp("mtu", tmp_path / "a.cfg", "--sizes", "28-40")
    assert said.status == 0 and "no size that was asked for is long enough for its headers" in said.out
    said = qfp("mtu", tmp_path / "a.cfg", "--sizes", "28-40", "--to", "2001:db8:2::9")
    assert said.status == 0 and "28..40" not in said.out


def test_a_drawing_has_one_panel_for_paths_that_fare_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "a.cfg").write_text(hub(90, own={3: " ip mtu 1400"}))
    said = qfp("mtu", tmp_path / "a.cfg", "--sizes", "1390-1460", "-o", tmp_path / "x.svg")
    assert said.status == 0
    assert (tmp_path / "x.svg").read_text().count("everything that is routed into it, and 88 more alike") == 1
    (tmp_path / "a.cfg").write_text(hub(70, own={k: f" ip mtu {1300 + k}" for k in range(70)}))
    said = qfp("mtu", tmp_path / "a.cfg", "--sizes", "1290-1400", "-o", tmp_path / "y.svg")
    assert said.status == 2 and "70 paths that differ are too many for one drawing" in said.err
    assert np.array(sorted(p.name for p in tmp_path.iterdir())).tolist() == ["a.cfg", "x.svg"]
