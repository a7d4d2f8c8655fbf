"""Multipoint GRE (DMVPN) with static NHRP entries: hub and spokes, against the slow twin (BASE-5)."""

import json
from pathlib import Path
from random import Random

import pytest
from cli_help import qfp
from packets import ip4, ip6, udp
from path_help import Pair
from test_dependency_table import hops
from test_path_gre import gre
from test_tunnels import send, words

from qfp.batch import Batch
from qfp.config import loads, render
from qfp.router import Router
from qfp.trace import write_trace

OUTSIDE = {4: "203.0.113.{}", 6: "2001:db8::{}"}
CONFIG = """hostname R{me}
ipv6 unicast-routing
crypto ipsec transform-set T {transform}
 mode {mode}
crypto ipsec profile P
 set transform-set T
interface GigabitEthernet0/0/0
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
{outside}interface GigabitEthernet0/0/1
 mtu 9216
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 ipv6 address fd77::{me}/64
 ip nhrp network-id 1
 ip nhrp authentication secret
{maps} tunnel source GigabitEthernet0/0/0
 tunnel mode gre multipoint{outer}
{tunnel}{routes}"""
PROTECTED = " tunnel protection ipsec profile P shared\n"
KEY = " tunnel key 7\n"


def entries(peers: list[int], outer: int = 4) -> str:
    """`nhrp map` of both families for spokes by number."""
    nbma = OUTSIDE[outer].format
    return "".join(f" ip nhrp map 172.31.0.{k} {nbma(k)}\n ipv6 nhrp map fd77::{k}/128 {nbma(k)}\n" for k in peers)


def config(me: int, peers: list[int], outer: int = 4, **parts: str) -> str:
    routes = "".join(f"ip route 10.{k}.0.0 255.255.0.0 172.31.0.{k}\nipv6 route fd00:{k}::/32 fd77::{k}\n"
                     for k in (1, 2, 3, 4) if k != me)  # fmt: skip
    known = {"transform": "esp-gcm", "mode": "transport", "outside": "", "tunnel": KEY + PROTECTED, "routes": routes,
             "maps": entries(peers, outer), "outer": "" if outer == 4 else " ipv6"}  # fmt: skip
    return CONFIG.format(me=me, **{**known, **parts})


def four(src: int, dst: int, data: bytes = b"four") -> bytes:
    return ip4(f"10.{src}.0.9", f"10.{dst}.0.9", udp(1, 2, data))


def six(src: int, dst: int) -> bytes:
    return ip6(f"fd00:{src}::9", f"fd00:{dst}::9", udp(1, 2, b"six"))


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("tunnel", [KEY + PROTECTED, "", KEY + " tunnel checksum\n"], ids=["protected", "clear", "sum"])
def test_hub_and_spokes_reach_one_another(outer: int, mode: str, tunnel: str) -> None:
    """Each spoke by the SAs of its own NBMA address, both families, spoke to spoke by way of the hub."""
    through = "ip route 10.0.0.0 255.0.0.0 172.31.0.1\nipv6 route fd00::/16 fd77::1\n"
    hub = Router.loads(config(1, [2, 3], outer, mode=mode, tunnel=tunnel))
    spokes = {k: Router.loads(config(k, [1], outer, mode=mode, tunnel=tunnel, routes=through)) for k in (2, 3)}
    sent = send(hub, four(1, 2), four(1, 3), six(1, 2), six(1, 3)).packets.frames()
    for k, spoke in spokes.items():
        got = send(spoke, *sent[k - 2 :: 2], ingress="gi0/0/0")
        assert got.packets.frames() == [hops(four(1, k), 2), hops(six(1, k), 2)]
        back = send(spoke, four(k, 5 - k), six(k, 1))
        relayed = send(hub, *back.packets.frames(), ingress="gi0/0/0").packets
        assert [hub.interfaces.names[row][-1] for row in relayed.in_if] == ["0", "1"]
        (last,) = send(spokes[5 - k], relayed.frames()[0], ingress="gi0/0/0").packets.frames()
        assert last == hops(four(k, 5 - k), 3)
    pairs = [(p.want.local, p.want.peer) for p in hub.sadb.pairs]
    assert len(set(pairs)) == len(pairs) == (2 if "profile" in tunnel else 0)


def any_frame(r: Random) -> bytes:
    to = r.choice([2, 3, 4, 2, 3])
    size = r.choice([0, 1, 700, 1380, 1400, 1420, 1440, 1500, 3000])
    flags = r.choice([0, 0, 0x4000])
    if r.random() < 0.3:
        dst = r.choice([f"fd00:{to}::9", f"fd77::{to}", "ff0e::5", "fd77:1::5"])
        return ip6("fd00:1::9", dst, udp(1, 2, bytes(size)))
    dst = r.choice([f"10.{to}.0.9", f"172.31.0.{to}", "172.31.0.77", "172.31.0.78", "172.31.0.130", "239.1.2.3",
                    "224.0.0.5"])  # fmt: skip
    return ip4("10.1.0.9", dst, udp(1, 2, bytes(size)), ttl=r.choice([64, 64, 64, 1]), flags=flags)


@pytest.mark.req("BASE-5", "BASE-12")
@pytest.mark.parametrize("seed", range(8))
def test_any_traffic(seed: int) -> None:
    """Next hops with and without an entry, prefixes of next hops of several lengths, multicast, sizes around the MTUs,
    any batch size and number of threads."""
    r = Random(seed)
    outer = r.choice([4, 4, 6])
    nbma = OUTSIDE[outer].format
    maps = entries([2, 3], outer) + f" ip nhrp map 172.31.0.128 255.255.255.128 {nbma(3)}\n"
    maps += f" ip nhrp map 172.31.0.130 {nbma(2)}\n"
    nowhere = "198.51.100.8" if outer == 4 else "2001:db9::8"
    maps += f" ip nhrp map 172.31.0.77 {nowhere}\n" if r.random() < 0.5 else ""
    for k in r.choice([[], [2], [2, 3], [9]]):
        maps += f" ip nhrp map multicast {nbma(k)}\n"
    routes = "ip route 239.0.0.0 255.0.0.0 Tunnel0\nipv6 route ff0e::/16 Tunnel0\nipv6 route fd77:1::/64 fd77::3\n"
    tunnel = r.choice([KEY + PROTECTED, KEY, " tunnel path-mtu-discovery\n" + PROTECTED, " tunnel checksum\n", ""])
    text = config(1, [], outer, maps=maps, tunnel=tunnel, mode=r.choice(["transport", "tunnel"]),
                  outside=r.choice(["", " mtu 1300\n"])) + routes  # fmt: skip
    pair = Pair(text, batch=r.choice([1, 7, 0]), threads=r.choice([1, 2]))
    pair.forward([any_frame(r) for _ in range(120)], "gi0/0/1")
    assert {"NONE", "NO_NHRP_MAP"} <= {o.cause for o in pair.outcomes}


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("batch", [1, 0])
def test_what_comes_from_peers_that_are_not_mapped(batch: int) -> None:
    """In the clear anybody may send to a multipoint tunnel; a protected one takes GRE in its peers' SAs alone, and each
    peer's from that peer."""
    packet = four(2, 1)
    clear = [ip4(f"203.0.113.{k}", "203.0.113.1", gre(0x2000, b"\0\0\0\7", packet), 47) for k in (2, 8)]
    other = ip4("203.0.113.8", "203.0.113.1", gre(0, b"", packet), 47)
    open_ = Pair(config(1, [2, 3], tunnel=KEY), batch=batch)
    open_.forward([*clear, other], "gi0/0/0")
    assert [o.cause for o in open_.outcomes] == ["NONE", "NONE", "GRE_NO_TUNNEL"]
    hub = Pair(config(1, [2, 3], mode="tunnel"), batch=batch)
    sealed = Router.loads(config(2, [1], mode="tunnel"))
    wire = send(sealed, packet).packets.frames()
    hub.forward([*clear, *wire], "gi0/0/0")
    assert [o.cause for o in hub.outcomes] == ["NOT_IPSEC", "NOT_IPSEC", "NONE"]


TWO = """ tunnel source GigabitEthernet0/0/0
 tunnel mode gre multipoint
 tunnel key 7
 tunnel protection ipsec profile P shared
interface Tunnel1
 ip address 172.30.0.{me} 255.255.255.0
 ip nhrp map 172.30.0.{other} 203.0.113.{other}
 tunnel source GigabitEthernet0/0/0
 tunnel mode gre multipoint
 tunnel key 8
 tunnel protection ipsec profile P{shared}
"""


@pytest.mark.req("BASE-5")
def test_two_tunnels_share_their_sas() -> None:
    """Same source, profile and peer with `shared`: one pair of SAs, and the key says whose a packet is."""

    def text(me: int, shared: str = " shared") -> str:
        far = 3 - me
        routes = f"ip route 10.{far}.0.0 255.255.0.0 172.31.0.{far}\n"
        routes += f"ip route 10.{far}.9.0 255.255.255.0 172.30.0.{far}\n"
        whole = config(me, [3 - me], tunnel="", routes=routes)
        head, _, tail = whole.partition(" tunnel source")
        return head + TWO.format(me=me, other=3 - me, shared=shared) + tail.partition("gre multipoint\n")[2]

    a, b = Pair(text(1)), Pair(text(2))
    assert len(a.router.sadb.pairs) == 1
    assert not [i for i in a.router.issues if "shared" in str(i)]
    wire = a.forward([four(1, 2), ip4("10.1.0.9", "10.2.9.9", udp(1, 2))], "gi0/0/1")
    b.forward(wire, "gi0/0/0")
    assert [o.verdict for o in b.outcomes] == ["forwarded"] * 2
    counted = b.router.tables.t.ifs["in_packets"]
    assert [counted[b.router.interfaces.row[name]] for name in ("Tunnel0", "Tunnel1")] == [1, 1]
    told = [i.message for i in loads(text(1, "")).issues if "same ends" in i.message]
    assert len(told) == 1 and told[0].startswith("Tunnel1")


@pytest.mark.req("BASE-5")
def test_forms_of_static_entries() -> None:
    """`nhs … nbma`, masks, host names, `no`, IPv6; what only NHRP itself would use is kept without a word."""
    lines = (" ip nhrp nhs 172.31.0.2 nbma 203.0.113.2 multicast priority 1 cluster 2\n"
             " ip nhrp map 172.31.0.9 203.0.113.9\n no ip nhrp map 172.31.0.9 203.0.113.9\n"
             " ip nhrp map 172.31.0.64 255.255.255.192 far\n"
             " ip nhrp redirect\n"
             " ip nhrp map multicast dynamic\n ip nhrp nhs 172.31.0.2\n ip nhrp holdtime 300\n ip nhrp shortcut\n"
             " ipv6 nhrp nhs fd77::3 nbma 203.0.113.3\n ip nhrp registration no-unique\n ip nhrp nhs fallback 10\n"
             " ip nhrp nhs dynamic nbma 203.0.113.2 multicast\n")  # fmt: skip
    text = config(1, [], maps=lines) + "ip host far 203.0.113.4\nip route 239.0.0.0 255.0.0.0 Tunnel0\n"
    cfg = loads(text)
    tunnel = cfg.interfaces["Tunnel0"].tunnel
    assert tunnel is not None
    assert [(str(m.network), str(m.peer)) for m in tunnel.nhrp_maps] == [
        ("172.31.0.2/32", "203.0.113.2"), ("172.31.0.64/26", "far"), ("fd77::3/128", "203.0.113.3")]  # fmt: skip
    (told,) = [i.message for i in cfg.issues if "nhrp" in i.message.lower()]
    assert told.startswith("dynamic NHRP is not modelled") and told.endswith("(Tunnel0: 3)")
    assert loads(render(cfg, show_keys=True)) == cfg and "secret" not in render(cfg)
    onlink, multicast = (ip4("10.1.0.9", dst, udp(1, 2)) for dst in ("172.31.0.66", "239.1.1.1"))
    frames = [four(1, 2), onlink, six(1, 3), multicast, four(1, 3)]
    router = Router(cfg)
    assert words(send(router, *frames)) == ["forwarded"] * 4 + ["NO_NHRP_MAP"]
    assert {str(p.want.peer) for p in router.sadb.pairs} == {"203.0.113.2", "203.0.113.3", "203.0.113.4"}


@pytest.mark.req("BASE-5")
def test_check_says_what_is_left_out(tmp_path: Path) -> None:
    """One warning for dynamic NHRP however many tunnels there are; NBMA addresses that no route leads to; multicast."""
    maps = entries([2]) + " ip nhrp map 172.31.0.8 198.51.100.8\n"
    maps += "".join(f" ip nhrp map multicast 203.0.113.{k}\n" for k in (2, 3))
    hub = config(1, [2], maps=maps)
    second = ("interface Tunnel5\n ip address 172.29.0.1 255.255.255.0\n tunnel source GigabitEthernet0/0/0\n"
              " tunnel key 9\n tunnel mode gre multipoint\n")  # fmt: skip
    path = tmp_path / "hub.cfg"
    path.write_text(hub + second)
    said = qfp("check", path)
    assert said.status == 0
    assert said.err.count("dynamic NHRP is not modelled") == 1 and "(Tunnel0: 3, Tunnel5: 0)" in said.err
    assert "no route leads to NBMA address 198.51.100.8" in said.err
    assert "multicast is not copied to 2 peers" in said.err
    router = Router.loads(hub)
    assert words(send(router, ip4("10.1.0.9", "172.31.0.8", udp(1, 2)))) == ["NO_ROUTE"]
    assert "198.51.100.8" in {str(pair.want.peer) for pair in router.sadb.pairs}, "it has its SAs all the same"


@pytest.mark.req("BASE-5")
def test_without_a_source_it_is_down() -> None:
    text = config(1, [2]).replace(" tunnel source GigabitEthernet0/0/0\n", " tunnel source Loopback7\n")
    router = Router.loads(text + "interface Loopback7\n")
    assert words(send(router, four(1, 2))) == ["IF_DOWN"]
    assert any("Loopback7 has no IPv4 address" in i.message for i in router.issues)


@pytest.mark.req("BASE-5")
def test_a_reload_keeps_the_numbers_of_peers() -> None:
    """Sequence numbers of GRE are each peer's own and outlive a new configuration with another order of peers."""
    numbered = KEY + " tunnel sequence-datagrams\n"
    old = Router.loads(config(1, [2, 3], tunnel=numbered))
    send(old, four(1, 3), four(1, 3), four(1, 2))
    new = old.reconfigured(loads(config(1, [3, 2], tunnel=numbered)), 10**10)
    later = Batch.from_frames([four(1, 3), four(1, 2)], ts=[10**10 + 1, 10**10 + 2])
    sent = new.forward(later, "gi0/0/1")
    assert [int.from_bytes(f[28:32]) for f in sent.packets.frames()] == [2, 1]


@pytest.mark.req("BASE-5")
def test_mtu_has_a_path_for_every_mapped_peer(tmp_path: Path) -> None:
    """`qfp mtu` of the hub: each peer's own SA and egress; a peer without a route says so."""
    maps = entries([2, 3]) + " ip nhrp map 172.31.0.8 198.51.100.8\n"
    path, spoke = tmp_path / "hub.cfg", tmp_path / "spoke.cfg"
    path.write_text(config(1, [], maps=maps))
    spoke.write_text(config(2, [1]))
    found = json.loads(qfp("mtu", path, "--json").out)["paths"]
    assert {each["peer"] for each in found} >= {"203.0.113.2", "203.0.113.3"}
    said = qfp("mtu", path, "--peer", spoke)
    assert said.status == 0, said.err


HUB = """hostname HUB
crypto ipsec transform-set T esp-gcm
 mode transport
crypto ipsec profile P
 set transform-set T
interface Loopback0
 ip address 192.0.2.1 255.255.255.255
interface GigabitEthernet0
 ip address 203.0.2.1 255.255.255.0
interface GigabitEthernet1
 ip address 203.0.3.1 255.255.255.0
 mtu 1400
interface GigabitEthernet2
 ip address 10.1.0.1 255.255.0.0
interface Tunnel0
 ip address 172.31.0.1 255.255.255.0
 ip nhrp map 172.31.0.2 203.0.2.2
 ip nhrp map 172.31.0.3 203.0.3.2
 tunnel source Loopback0
 tunnel mode gre multipoint
 tunnel key 7
 tunnel protection ipsec profile P
ip route 10.2.0.0 255.255.0.0 172.31.0.2
ip route 10.3.0.0 255.255.0.0 172.31.0.3
"""
SPOKE = """hostname S{k}
crypto ipsec transform-set T esp-gcm
 mode transport
crypto ipsec profile P
 set transform-set T
interface GigabitEthernet0
 ip address 203.0.{k}.2 255.255.255.0
interface GigabitEthernet2
 ip address 10.{k}.0.1 255.255.0.0
interface Tunnel0
 ip address 172.31.0.{k} 255.255.255.0
 ip nhrp nhs 172.31.0.1 nbma 192.0.2.1 multicast
 tunnel source GigabitEthernet0
 tunnel mode gre multipoint
 tunnel key 7
 tunnel protection ipsec profile P
ip route 10.0.0.0 255.0.0.0 172.31.0.1
ip route 0.0.0.0 0.0.0.0 203.0.{k}.1
"""
LAB = """[routers.hub]
config = "hub.cfg"
[routers.s2]
config = "s2.cfg"
[routers.s3]
config = "s3.cfg"
[[links]]
ends = ["hub gi0", "s2 gi0"]
delay = "5 ms"
[[links]]
ends = ["hub gi1", "s3 gi0"]
delay = "5 ms"
[[inject]]
trace = "s2.pcap"
at = "s2 gi2"
[[inject]]
trace = "hub.pcap"
at = "hub gi2"
"""


@pytest.mark.req("BASE-5")
def test_a_lab_of_hub_and_spokes(tmp_path: Path) -> None:
    """Peers behind different links of the hub, each by its own egress interface; spoke to spoke by way of the hub."""
    (tmp_path / "hub.cfg").write_text(HUB)
    for k in (2, 3):
        (tmp_path / f"s{k}.cfg").write_text(SPOKE.format(k=k))
    (tmp_path / "lab.toml").write_text(LAB)
    frames = {"s2": [four(2, 1), four(2, 3), four(2, 3, bytes(1372))], "hub": [four(1, 2), four(1, 3)]}
    for name, each in frames.items():
        write_trace(tmp_path / f"{name}.pcap", Batch.from_frames(each, ts=[10**6 * k for k in range(len(each))]))
    said = qfp("lab", tmp_path / "lab.toml", "-o", tmp_path / "out", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out)
    assert [each["delivered"] for each in found["journeys"]] == [3, 2]
    router = Router.loads(HUB)
    ends = {str(p.want.peer): router.sad.describe(p.outbound[0]) for p in router.sadb.pairs}
    assert set(ends) == {"203.0.2.2", "203.0.3.2"}
    sent = send(router, four(1, 2), four(1, 3), ingress="gi2")
    assert [router.interfaces.names[k] for k in sent.packets.in_if] == ["GigabitEthernet0", "GigabitEthernet1"]
