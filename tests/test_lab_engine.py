"""The crypto engine in a lab: a capacity, what overtakes before encryption, and the guide's examples of chapter 9."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_lab import NaiveLab
from packets import ip4, ip6, udp
from test_lab import INJECT, LINK, LINKS, MIDDLE, SITE, check_however_it_is_run, leaving, ran

from qfp.batch import Batch
from qfp.lab import Lab, LabError
from qfp.lab.ahead import ahead
from qfp.lab.read import load, parse
from qfp.router import Router
from qfp.trace import write_trace

US, MS = 1000, 10**6
EF, CS6, CS1 = 46, 48, 8
FOLDER = Path(__file__).parent / "guide_configs"
POLICY = """class-map match-all VOICE
 match dscp ef
policy-map OUT
 class VOICE
  priority
"""
OUTPUT = " crypto map M\n service-policy output OUT\n"


def packet(site: int = 1, dscp: int = 0, size: int = 1000, far: str = "", mark: int = 0) -> bytes:
    """To the other site. mark: the source port, by which it is known again."""
    return ip4(f"10.{site}.0.7", far or f"10.{3 - site}.0.9", udp(mark, 9, bytes(size - 28)), tos=dscp << 2)


def sites(folder: Path, frames: list[bytes], gap: int = 0, engine: str = "", link: str = "") -> Path:
    """Two sites, their link without a rate, frames that arrive at the first, and an engine there."""
    for name, n in (("a", 1), ("b", 2)):
        (folder / f"{name}.cfg").write_text(POLICY + SITE.format(n=n, me=n, peer=3 - n, far=3 - n).replace(
            " crypto map M\n", OUTPUT))  # fmt: skip
    write_trace(folder / "in.pcap", Batch.from_frames(frames, ts=np.arange(len(frames)) * gap))
    path = folder / "lab.toml"
    path.write_text(
        f'[routers.a]\nconfig = "a.cfg"\n{engine}[routers.b]\nconfig = "b.cfg"\n'
        f'[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "5 ms"\n{link}'
        '[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n'
        '[[capture]]\nat = "a gi0/0/0"\ndirection = "out"\nfile = "line.pcap"\n'
    )
    return path


def engine_of(name: str, **keys: Any) -> str:
    return f"[routers.{name}.engine]\n" + "".join(f"{key} = {value!r}\n" for key, value in keys.items())


# ------------------------------------------------------------------------------------------ against the twin
def traffic(site: int, seed: int, count: int = 200) -> Batch:
    """A third voice; some of it to nowhere, for the other router itself, or without TTL; bursts and pauses."""
    rng = np.random.default_rng(seed)
    ends = [f"10.{3 - site}.0.9"] * 7 + ["172.16.0.1", f"192.0.2.{3 - site}", "192.0.2.77"]
    frames = [
        ip4(f"10.{site}.0.7", str(rng.choice(ends)), udp(1000 + k, 9, bytes(int(rng.integers(32, 1372)))),
            tos=int(rng.choice([0, 0, EF << 2])), ttl=int(rng.choice([1, 64], p=[0.03, 0.97])))
        for k in range(count)
    ]  # fmt: skip
    return Batch.from_frames(frames, ts=np.cumsum(rng.integers(0, 4, count) * 50 * US))


def random_lab(folder: Path, seed: int) -> Path:
    """Two sites with engines of their own and a provider's router between them."""
    rng = np.random.default_rng(seed)
    text = f"seed = {seed}\n" + '[routers.p]\nconfig = "p.cfg"\n'
    (folder / "p.cfg").write_text(MIDDLE)
    for name, n in (("a", 1), ("b", 2)):
        site = POLICY + SITE.format(n=n, me=n, peer=3 - n, far=3 - n).replace(" crypto map M\n", OUTPUT)
        (folder / f"{name}.cfg").write_text(site)
        keys: dict[str, Any] = {"rate": f"{rng.integers(10, 50)}M", "queue": int(rng.integers(1, 20))}
        keys |= {"llq": int(rng.integers(1, 8))} | ({"packets": int(rng.integers(3000, 50000))} if seed % 2 else {})
        text += f'[routers.{name}]\nconfig = "{name}.cfg"\n' + engine_of(name, **keys)
        write_trace(folder / f"{n}.pcap", traffic(n, 10 * seed + n))
        text += INJECT.format(trace=f"{n}.pcap", at=name)
        text += f'[[capture]]\nat = "{name} gi0/0/1"\ndirection = "out"\nfile = "{name}.pcap"\n'
    kinds = ["plain", "rough", "mtu"]  # a rate would make the output policy's queues, which the twin has not
    link = LINKS[kinds[seed % 3]].replace('rate = "20M"\n', "")
    for name, a, b in (("near", "a gi0/0/0", "p gi0/0/0"), ("far", "p gi0/0/1", "b gi0/0/0")):
        text += LINK.format(name=name, a=a, b=b) + link
    path = folder / "lab.toml"
    path.write_text(text)
    return path


def low(router: str, frame: bytes) -> bool:
    return router in "ab" and frame[9] == 17 and frame[1] >> 2 == EF


@pytest.mark.req("QOS-3", "USE-2")
@pytest.mark.parametrize("seed", range(6))
def test_rounds_are_events(tmp_path: Path, seed: int) -> None:
    """Whole batches through the queues of an engine give what one event after the other gives: bytes, times, losses."""
    path = random_lab(tmp_path, seed)
    outcome, twin = ran(path), NaiveLab(load(path), low)
    twin.run()
    assert leaving(outcome) == sorted((ts, router, packet) for ts, router, _, packet in twin.delivered)
    lost = {name: sum(each["tail_packets"] for each in outcome.facts["routers"][name]["engine"]["queues"].values())
            for name in "ab"}  # fmt: skip
    assert lost == {name: each.lost for name, each in twin.engines.items()} and min(lost.values()) > 0


@pytest.mark.req("QOS-3", "USE-2")
def test_the_same_bytes_however_it_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_however_it_is_run(random_lab(tmp_path, 1), monkeypatch)


# ------------------------------------------------------------------------------------------ by calculation
@pytest.mark.req("QOS-3")
def test_low_latency_waits_for_one_packet_at_most(tmp_path: Path) -> None:
    """An engine of 8 Mbit/s, offered twice that: 1000 bytes of best effort each 0.5 ms, 200 of voice each 5 ms."""
    frames = []
    for k in range(400):
        frames += [packet()] if k % 10 else [packet(dscp=EF, size=200)]
    outcome = ran(sites(tmp_path, frames, 500 * US, engine_of("a", rate="8M", queue=50)))
    rows = outcome.journeys.to_arrow().to_pylist()
    voice = [row for row in rows if row["length"] == 200]
    assert all(row["state"] == "delivered" for row in voice)
    waits = [row["delay"] - 5 * MS - 200 * US for row in voice]  # less link and its own time in the engine
    assert min(waits) >= 0 and 0 < max(waits) <= 1000 * US
    rest = [row["delay"] - 5 * MS - 1000 * US for row in rows if row["length"] == 1000 and row["delay"] is not None]
    assert max(rest) > 40 * MS, "while the others wait for a whole queue"


@pytest.mark.req("QOS-3")
def test_every_packet_is_accounted_for(tmp_path: Path) -> None:
    """What came to the engine left it or was dropped there, by queue and in the journeys."""
    frames = [packet(dscp=EF if k % 4 == 0 else 0) for k in range(300)] + [packet(far="192.0.2.2")] * 9
    outcome = ran(sites(tmp_path, frames, 300 * US, engine_of("a", rate="8M", queue=20, llq=3)))
    found = outcome.facts["routers"]["a"]["engine"]
    queues = found["queues"]
    assert found["packets"] == 300 == sum(queues[name]["in_packets"] for name in queues)
    assert all(each["queued_packets"] == 0 for each in queues.values())
    gone = sum(each["tail_packets"] for each in queues.values())
    states = Counter(row["cause"] or row["state"] for row in outcome.journeys.to_arrow().to_pylist())
    assert states == {"CRYPTO_TAIL_DROP": gone, "delivered": 300 - gone, "punted": 9} and gone > 100
    assert queues["llq"]["tail_packets"] == 0, "one in four at a third of the capacity"


@pytest.mark.req("QOS-3")
def test_nothing_that_overtakes_in_the_engine_is_a_replay(tmp_path: Path) -> None:
    """200 packets wait, 100 of voice overtake them: numbers are given behind the queue, so they rise on the line. (The
    same queues behind encryption lose most of the 200: test_lab_queues.)"""
    frames = [packet(mark=1, size=200)] * 200 + [packet(mark=2, dscp=EF, size=200)] * 100
    outcome = ran(sites(tmp_path, frames, US, engine_of("a", rate="1M", queue=300)))
    numbers = [int.from_bytes(frame[24:28]) for frame in outcome.taps["line.pcap"].frames()]
    assert numbers == list(range(1, 301))
    marks = [frame[1] >> 2 for frame in outcome.taps["line.pcap"].frames()]
    assert marks == [0] + [EF] * 100 + [0] * 199
    assert {row["state"] for row in outcome.journeys.to_arrow().to_pylist()} == {"delivered"}


@pytest.mark.req("QOS-3")
def test_decryption_takes_the_engine_too(tmp_path: Path) -> None:
    """1000 bytes are 1052 outside: the far engine needs 1.052 ms for each; packets in the clear pass it by."""
    frames = [packet()] * 5 + [packet(far="192.0.2.2", size=40)]
    path = sites(tmp_path, frames, 0)
    path.write_text(path.read_text() + engine_of("b", rate="8M", packets=10**6))
    rows = ran(path).journeys.to_arrow().to_pylist()
    outer = len(ran(path).taps["line.pcap"].frames()[0])
    assert [row["delay"] for row in rows[:5]] == [5 * MS + outer * US * k for k in range(1, 6)]
    assert rows[5]["state"] == "punted" and rows[5]["end"] == 5 * MS


@pytest.mark.req("QOS-3")
def test_packets_a_second(tmp_path: Path) -> None:
    rows = ran(sites(tmp_path, [packet(size=100)] * 10, 0, engine_of("a", rate="1G", packets="10k"))).journeys
    assert rows.columns["end"].tolist() == [5 * MS + 100 * US * k for k in range(1, 11)]


@pytest.mark.req("QOS-3")
def test_control_packets_of_the_router_itself(tmp_path: Path) -> None:
    """A trace that has packets from the router's own address: precedence 6 and 7 are of low latency; anybody else's,
    and its own of other precedence, are not."""
    own = [ip4("10.1.0.1", "10.2.0.9", udp(1, 9), tos=dscp << 2) for dscp in (CS1, CS6, 56)]
    frames = [packet(), packet(), packet(dscp=CS6), *own]
    outcome = ran(sites(tmp_path, frames, 0, engine_of("a", rate="8M")))
    marks = [frame[1] >> 2 for frame in outcome.taps["line.pcap"].frames()]
    assert marks == [CS6, 56, 0, 0, CS6, CS1]


@pytest.mark.req("QOS-3")
def test_what_needs_the_engine() -> None:
    """Against what the router then does: a site with a crypto map, a VTI, GRE plain and protected, NAT-T, IPv6."""
    base = """ipv6 unicast-routing
crypto isakmp policy 1
crypto ipsec transform-set T esp-gcm
crypto ipsec profile P
 set transform-set T
interface GigabitEthernet0/0/0
 ip address 192.0.2.1 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
 ipv6 address 2001:db8:1::1/64
"""
    for k, (mode, protected) in enumerate([("ipsec ipv4", True), ("gre ip", True), ("gre ip", False)], 1):
        base += f"interface Tunnel{k}\n ip address 10.99.{k}.1 255.255.255.0\n tunnel source GigabitEthernet0/0/0\n"
        base += f" tunnel destination 192.0.2.{10 + k}\n tunnel mode {mode}\n"
        base += f" ipv6 address 2001:db8:99:{k}::1/64\n" + " tunnel protection ipsec profile P\n" * protected
        base += f"ip route 10.{100 + k}.0.0 255.255.0.0 Tunnel{k}\nipv6 route 2001:db8:{100 + k}::/64 Tunnel{k}\n"
    router = Router.loads(base)
    frames = [ip4("10.1.0.7", f"10.{net}.0.9", udp(1, 2, bytes(20))) for net in (101, 102, 103, 1, 200)]
    frames += [ip6("2001:db8:1::7", f"2001:db8:{net}::9", udp(1, 2, bytes(20))) for net in (101, 102, 103, 1)]
    row = router.interfaces.row["GigabitEthernet0/0/1"]
    batch = Batch.from_frames(frames, in_if=row)
    seen, result = ahead(router.tables, batch), router.exchange(batch)
    assert seen.needs.tolist() == (result.verdicts["sa"] >= 0).tolist()
    assert seen.needs.tolist() == [True, True, False, False, False, True, True, False, False]
    sent = result.verdicts["n_out"] > 0
    assert seen.out_if[sent].tolist() == result.verdicts["out_if"][sent].tolist()
    own = "192.0.2.1"
    natted = [udp(4500, 4500, body) for body in (b"\x12\x34\x56\x78" + bytes(12), bytes(16), b"\xff")]
    inbound = [ip4("192.0.2.9", own, bytes(40), proto) for proto in (50, 51, 89)]
    inbound += [ip4("192.0.2.9", own, body) for body in natted] + [ip4("192.0.2.9", "10.1.0.7", bytes(40), 50)]
    wan = Batch.from_frames(inbound, in_if=router.interfaces.row["GigabitEthernet0/0/0"])
    assert ahead(router.tables, wan).needs.tolist() == [True, True, False, True, False, False, False]


# ------------------------------------------------------------------------------------------ the guide's examples
def six(source: str, to: str, precedence: int = 0, dscp: int | None = None, mark: int = 0) -> bytes:
    return ip6(source, to, udp(mark, 2, bytes(952)), tos=precedence << 5 if dscp is None else dscp << 2)


def example(folder: Path, name: str, inject: dict[str, list[bytes]], out: str, extra: str = "!", rate: str = "",
            engine: str = "") -> tuple[list[int], Any]:  # fmt: skip
    """Run an example of the guide with a router behind it: DSCPs on the line in order, and the outcome."""
    (folder / "far.cfg").write_text("interface GigabitEthernet0/0/0\n ipv6 address 2001:db8:ffff::9/64\n")
    config = FOLDER / f"ch09_{name}-fixed.cfg"
    text = f'[routers.r]\nconfig = "{config}"\nadd = """{extra}"""\n{engine}[routers.far]\nconfig = "far.cfg"\n'
    text += f'[[links]]\nends = ["r {out}", "far gi0/0/0"]\ndelay = "1 ms"\n{rate}'
    text += '[[capture]]\nat = "far gi0/0/0"\ndirection = "in"\nfile = "line.pcap"\n'
    for k, (at, frames) in enumerate(inject.items()):
        write_trace(folder / f"{k}.pcap", Batch.from_frames(frames, ts=np.arange(len(frames))))
        text += f'[[inject]]\ntrace = "{k}.pcap"\nat = "r {at}"\n'
    (folder / "lab.toml").write_text(text)
    outcome = ran(folder / "lab.toml")
    return [(int.from_bytes(frame[:2]) >> 6) & 63 for frame in outcome.taps["line.pcap"].frames()], outcome


@pytest.mark.req("QOS-3", "QOS-6")
def test_example_crypto_llq(tmp_path: Path) -> None:
    """Priority for precedence 0 to 3: these are encrypted first, behind the one that is under way."""
    frames = [six("2001:db8:9::7", "2001:db8:a::1", p) for p in (5, 4, 0, 3, 6, 1)]
    marks, outcome = example(tmp_path, "crypto_llq", {"gi0/0/2": frames}, "gi0/0/1", engine=engine_of("r", rate="8M"))
    assert [mark >> 3 for mark in marks] == [5, 0, 3, 1, 4, 6]
    queues = outcome.facts["routers"]["r"]["engine"]["queues"]
    assert (queues["llq"]["in_packets"], queues["best effort"]["in_packets"]) == (3, 3)


@pytest.mark.req("QOS-5", "QOS-6")
def test_example_qos_groups(tmp_path: Path) -> None:
    """The input policy gives precedence 5 group 49, which is of low latency; 20 and 77 are not."""
    frames = [six("2001:db8:ffff:1::5", "2001:db8:ffff:3::1", p) for p in (4, 3, 2, 5, 0, 5)]
    run = {"gi0/2/7": frames}
    marks, _ = example(tmp_path, "llq_groups", run, "gi0/2/0", engine=engine_of("r", rate="8M"))
    assert [mark >> 3 for mark in marks] == [4, 5, 5, 3, 2, 0]
    without, _ = example(tmp_path, "llq_groups", run, "gi0/2/0", "no platform ipsec llq qos-group 49\n",
                         engine=engine_of("r", rate="8M"))  # fmt: skip
    assert [mark >> 3 for mark in without] == [4, 3, 2, 5, 0, 5]


@pytest.mark.req("QOS-4", "QOS-6")
@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("name", ["preclassify_map", "preclassify_tunnel"])
def test_examples_of_pre_classify(tmp_path: Path, name: str, pre: bool) -> None:
    """The class looks at ports here, which nobody sees outside: the inner header decides with `qos pre-classify`."""
    tunnel = name.endswith("tunnel")
    ends = ("2001:db8:9::7", "2001:db8:a::1")
    extra = "class-map match-any voice\n no match dscp ef\n match access-group name PORT\n"
    extra += "ipv6 access-list PORT\n permit udp any eq 7 any\n"
    if tunnel:
        extra += "interface GigabitEthernet0/0/2\n ipv6 address 2001:DB8:9::1/64\nipv6 route 2001:DB8:A::/64 Tunnel1\n"
    if not pre:
        extra += "interface Tunnel1\n no qos pre-classify\n" if tunnel else (
            "crypto map ipv6 CM_V6 10 ipsec-isakmp\n no qos pre-classify\n")  # fmt: skip
    frames = [six(*ends, dscp=k, mark=7 if k in (3, 5) else 1) for k in range(6)]
    out = "gi1/1/2" if tunnel else "gi0/0/1"
    marks, _ = example(tmp_path, name, {"gi0/0/2": frames}, out, extra, 'rate = "8M"\n')
    assert marks == ([0, 3, 5, 1, 2, 4] if pre else [0, 1, 2, 3, 4, 5])


@pytest.mark.req("QOS-1")
def test_input_policies_police_and_mark(tmp_path: Path) -> None:
    path = sites(tmp_path, [packet()] * 20, 0)
    text = path.with_name("a.cfg").read_text() + "policy-map IN\n class class-default\n  set dscp af11\n"
    text += "  police 8000 2028 conform-action transmit exceed-action drop\n"
    text += "interface GigabitEthernet0/0/1\n service-policy input IN\n"
    path.with_name("a.cfg").write_text(text)
    outcome = ran(path)
    assert Counter(states(outcome)) == {"delivered": 2, "POLICED": 18}
    assert [frame[1] >> 2 for frame in outcome.taps["line.pcap"].frames()] == [10, 10]


def states(outcome: Any) -> list[str]:
    return [row["cause"] or row["state"] for row in outcome.journeys.to_arrow().to_pylist()]


# ------------------------------------------------------------------------------------------ lab files
def test_a_platform_file(tmp_path: Path) -> None:
    (tmp_path / "asr.toml").write_text('rate = "2G"\npackets = "500k"\nqueue = 7\n')
    path = sites(tmp_path, [packet()], 0, engine_of("a", platform="asr.toml", queue=9))
    engine = load(path).routers["a"].engine
    assert engine is not None
    assert (engine.rate, engine.packets, engine.queue, engine.llq) == (2 * 10**9, 500_000, 9, None)


REFUSED = [
    ({}, "routers.a.engine.rate", "add rate ="),
    ({"rate": "fast"}, "routers.a.engine.rate", "1 G"),
    ({"rate": 0}, "routers.a.engine.rate", "leave the engine out"),
    ({"rate": "1G", "packets": "0"}, "routers.a.engine.packets", "at least 1"),
    ({"rate": "1000G", "packets": 1}, "routers.a.engine.packets", "at least 500"),
    ({"rate": "1G", "queue": 0}, "routers.a.engine.queue", "from 1 to"),
    ({"rate": "1G", "llq": "many"}, "routers.a.engine.llq", "from 1 to"),
    ({"rate": "1G", "lll": 3}, "routers.a.engine.lll", "did you mean llq"),
    ({"platform": "no.toml"}, "routers.a.engine.platform", "start from the lab file's folder"),
    ({"platform": "asr.toml"}, "platform.rat", "did you mean rate"),
]  # fmt: skip


@pytest.mark.req("QOS-3", "USE-2")
@pytest.mark.parametrize(("keys", "key", "remedy"), REFUSED, ids=[f"{k} {r}" for _, k, r in REFUSED])
def test_bad_engines_are_refused(tmp_path: Path, keys: dict[str, Any], key: str, remedy: str) -> None:
    (tmp_path / "asr.toml").write_text('rat = "2G"\n')
    path = sites(tmp_path, [packet()], 0, engine_of("a", **keys))
    with pytest.raises(LabError) as caught:
        Lab(parse(path.read_text(), "x.toml", tmp_path))
    assert f": {key}: " in str(caught.value) and remedy in str(caught.value)
