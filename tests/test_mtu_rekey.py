"""A sweep of packet sizes outlasts the lifetime of SAs in packet time, and must not notice: the bands are those of a
router that sends each size alone, whatever the lifetimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import config, qfp
from mtu_help import LAN, fates, reported, tunnel

from qfp.batch import Batch
from qfp.config import loads
from qfp.mtu import SweepFault, datagrams, report, sweep
from qfp.mtu.bands import Line
from qfp.mtu.sweep import Lab
from qfp.router import Router
from qfp.trace import write_trace

SHORT = """crypto ipsec security-association lifetime seconds 120
crypto ipsec security-association lifetime kilobytes 2560
crypto ipsec security-association idle-time 60
"""
DF = ("", "crypto ipsec df-bit clear\n", "crypto ipsec df-bit set\n")
WAYS = {
    "default lifetime": lambda k: tunnel(k),
    **{f"VTI {df}": lambda k, df=df: tunnel(k, head=SHORT + df) for df in DF},
    "VTI over IPv6": lambda k: tunnel(k, "ipsec ipv6", head=SHORT),
    "GRE in tunnel mode": lambda k: tunnel(k, "gre ip", head=SHORT),
    "GRE in transport mode": lambda k: tunnel(k, "gre ip", head=SHORT).replace(" mode tunnel", " mode transport"),
    "GRE cut before encryption": lambda k: tunnel(
        k, "gre ipv6", head=SHORT + "crypto ipsec fragmentation before-encryption"
    ),
    "crypto map, before encryption": lambda k: config(k, extra=SHORT),
    "crypto map, after encryption": lambda k: config(
        k, "esp-aes esp-sha-hmac", SHORT + "crypto ipsec fragmentation after-encryption\n"
    ),
    "AH over ESP": lambda k: config(k, "ah-sha256-hmac esp-aes", SHORT),
}
EDGE = """hostname EDGE
crypto ipsec transform-set TS esp-aes esp-sha-hmac
crypto ipsec profile P
 set transform-set TS
crypto ipsec df-bit clear
crypto ipsec fragmentation before-encryption
interface GigabitEthernet0/0/0
 ip address 192.0.2.10 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
interface Tunnel1
 ip address 169.254.10.2 255.255.255.252
 tunnel source 192.0.2.10
 tunnel destination 203.0.113.5
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
ip route 0.0.0.0 0.0.0.0 192.0.2.1
ip route 10.0.0.0 255.255.0.0 Tunnel1
"""  # of the AWS sample configurations: default lifetime, DF cleared


def by_size(line: Line, first: int, last: int) -> list[Any]:
    """The fate of each size, without what happens to single ones of a band besides."""
    found = {}
    for band in line.bands:
        fate = {name: value for name, value in band["fate"].items() if name != "also"}
        if fate["peer"] is not None:
            fate["peer"] = fate["peer"]["fate"]
        found.update(dict.fromkeys(range(band["first"], band["last"] + 1), fate))
    return [found[size] for size in range(first, last + 1)]


@pytest.mark.req("PF-2", "PF-6", "BASE-7")
@pytest.mark.parametrize("peered", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_over_many_lifetimes_says_what_a_short_one_says(way: str, peered: bool) -> None:
    make = WAYS[way]
    routers = [Router.loads(make(k)) for k in (1, 2) if k == 1 or peered]
    long = report(*routers, sizes=(40, 4000) if peered else (40, 9216))
    near = reported(make(1), make(2) if peered else None, sizes=(1370, 1510))
    a, b = ([by_size(line, 1370, 1510) for path in found.paths for line in path.lines] for found in (long, near))
    assert a == b and len(a) >= 2
    assert all(router.lifetimes.counts == {} for router in routers)


@pytest.mark.parametrize("way", WAYS)
def test_every_sample_is_what_a_router_sends_for_one_datagram_alone(way: str) -> None:
    text = WAYS[way](1)
    (path,) = reported(text, sizes=(40, 9216)).paths
    for line in path.lines:
        for sample in (s for band in line.bands if not band["fate"]["icmp"] for s in band["samples"]):
            sizes, ts = np.array([sample["size"]]), np.array([10**18])
            flow, mtu = path.path.flows[line.family], path.host_mtus[line.family]
            (frames,) = datagrams.build(flow, sizes, bool(line.df), mtu, ts)
            alone = Router.loads(text).forward(frames.batch, path.path.ingress)
            assert alone.packets.length.tolist() == sample["wire"]


@pytest.mark.req("PF-1", "PF-5")
def test_the_default_sweep_agrees_with_a_run_of_the_same_sizes(tmp_path: Path) -> None:
    """With the default lifetime of an hour, `qfp mtu` once said that everything up to 1500 bytes goes whole here."""
    (tmp_path / "edge.cfg").write_text(EDGE)
    answers = [qfp("mtu", tmp_path / "edge.cfg", "--in", LAN, "--json", *more)
               for more in ((), ("--sizes", "1430-1510"))]  # fmt: skip
    assert [said.status for said in answers] == [0, 0]
    for said in answers:
        for line in said.json["paths"][0]["lines"]:
            edges = [(b["first"], b["last"], b["fate"]["router"]) for b in line["bands"]]
            assert edges[0][1:] == (1438, []) and edges[1] == (1439, 1500, ["tunnel mtu"])
            assert line["largest_whole"]["size"] == 1438
    flow = datagrams.Flow(4, *(datagrams.IPv4Address(a) for a in ("10.1.0.10", "10.0.0.10")))
    sizes = np.arange(1430, 1501)
    (frames,) = datagrams.build(flow, sizes, True, 1500, 10**18 + np.arange(len(sizes)) * 60 * 10**9)
    write_trace(tmp_path / "in.pcap", frames.batch)
    run = qfp("run", tmp_path / "edge.cfg", tmp_path / "in.pcap", "--in", LAN, "--verdicts", tmp_path / "v.parquet")
    assert run.status == 0
    import pyarrow.parquet as pq

    sent = pq.read_table(tmp_path / "v.parquet").column("n_out").to_pylist()
    assert sent == [1] * 9 + [2] * 62


def test_the_routers_are_as_they_were() -> None:
    """Numbers, counters, timers and lifetimes: a question leaves no trace."""
    text = WAYS["crypto map, before encryption"]
    asked, other = (Router.loads(text(1)) for _ in range(2))
    report(asked, sizes=(1400, 4000))
    assert report(asked, sizes=(1400, 1500)).facts() == report(other, sizes=(1400, 1500)).facts()
    for name in ("ctl", "sa", "sa_out", "sa_in", "life", "sp", "ifs", "stats", "icmp"):
        np.testing.assert_array_equal(getattr(asked.tables.t, name), getattr(other.tables.t, name))


def test_an_sa_that_has_ended_is_not_revived() -> None:
    config_ = loads(config(1, extra=SHORT))
    router = Router(config_, rekey=False)
    flow = datagrams.Flow(4, *(datagrams.IPv4Address(a) for a in ("10.1.0.10", "10.2.0.10")))
    frames = next(datagrams.build(flow, np.array([100]), False, 1500, np.array([10**18])))
    router.forward(frames.batch, LAN)
    router.advance(10**18 + 200 * 10**9)  # past the hard lifetime, and no peer answers
    (path,) = report(router, sizes=(100, 101)).paths
    assert path.lines == [] and path.path.note == "no source and destination was found that take it"


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """An opener with other keys than the router's."""

    def other(router: Router) -> Any:
        return sweep.Decryptor([], window=0, engine=router.sad.crypto.name)

    monkeypatch.setattr(sweep, "opener", other)


def test_what_cannot_be_read_back_is_an_error_and_never_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blind(monkeypatch)
    with pytest.raises(SweepFault, match=r"0 of 80 payload bytes could be read \(NO_SA\).*a fault of qfp"):
        reported(config(1), sizes=(100, 101))
    (tmp_path / "a.cfg").write_text(config(1))
    said = qfp("mtu", tmp_path / "a.cfg", "--sizes", "100", "--json")
    assert said.status == 1 and "a fault of qfp" in said.err and "paths" not in said.json


def test_a_fragment_that_is_missing_inside_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Lab.open

    def losing(self: Lab, batch: Batch) -> Any:
        if not len(batch):
            return found(self, batch)
        result = found(self, sweep.take(batch, np.arange(len(batch) - 1)))
        result.verdicts = {name: np.concatenate([v, v[-1:]]) for name, v in result.verdicts.items()}
        result.verdicts["n_out"][-1] = 0
        return result

    monkeypatch.setattr(Lab, "open", losing)
    with pytest.raises(SweepFault, match="incomplete"):
        reported(config(1), sizes=(1447, 1460))


@pytest.mark.req("PF-2", "PF-6")
def test_the_sample_scenario_s_default_sweep_says_what_its_readme_says() -> None:
    folder = Path(__file__).parent.parent / "traces" / "mtu"
    found = report(Router.load(folder / "west.cfg"), Router.load(folder / "east.cfg"))
    assert fates(found, 4, True) == [
        (40, 1400, "whole", "whole"), (1401, 1500, "dropped 3/4/1400", "-"),
        (1501, 9216, "host: tunnel mtu", "fragments"),
    ]  # fmt: skip
    assert fates(found, 4, False) == [
        (40, 1400, "whole", "whole"), (1401, 1500, "tunnel mtu", "fragments"),
        (1501, 9216, "host: tunnel mtu", "fragments"),
    ]  # fmt: skip
