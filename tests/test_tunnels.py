"""Tunnels between two routers: VTIs and GRE, multicast, VRFs, loops, and what stays down (BASE-5, BASE-6, VTI-1)."""

import naive
import pytest
from packets import ip4, ip6, udp
from test_dependency_table import LAN, OUTER, hops

from qfp.batch import Batch
from qfp.config import render
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router

BASE = """hostname R{me}
ipv6 unicast-routing
crypto ipsec transform-set T {transforms}
crypto ipsec profile P
 set transform-set T
{extra}interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 ipv6 address fd77::{me}/64
 tunnel source {own}
 tunnel mode {mode}
 tunnel destination {peer}
{tunnel}interface GigabitEthernet0/0/0
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
{outside}interface GigabitEthernet0/0/1
{inside} ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
{routes}"""
ROUTES = "ip route 10.{o}.0.0 255.255.0.0 Tunnel0\nipv6 route fd00:{o}::/32 Tunnel0\n"
PROTECTED = " tunnel protection ipsec profile P\n"


def config(me: int, mode: str, outer: int = 4, **parts: str) -> str:
    own, peer = OUTER[outer] if me == 1 else OUTER[outer][::-1]
    known = {"transforms": "esp-gcm", "extra": "", "tunnel": PROTECTED, "outside": "", "inside": "",
             "routes": ROUTES.format(o=3 - me), "own": own, "peer": peer}  # fmt: skip
    return BASE.format(me=me, mode=mode, **{**known, **parts})


def words(result: Result) -> list[str]:
    v = result.verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


def send(router: Router, *frames: bytes, ingress: str = "gi0/0/1", gap: int = 10**9) -> Result:
    return router.forward(Batch.from_frames(frames, ts=[gap * k for k in range(len(frames))]), ingress)


def both(a: Router, b: Router, *frames: bytes) -> list[bytes]:
    sent = send(a, *frames)
    names = sent.packets.interfaces
    wire = [p for p, k in zip(sent.packets.frames(), sent.packets.in_if, strict=True) if names[k].endswith("0/0/0")]
    return send(b, *wire, ingress="gi0/0/0").packets.frames()


MODES = [("ipsec ipv4", 4), ("ipsec ipv6", 6), ("gre ip", 4), ("gre ipv6", 6)]
UNICAST = [ip4(*LAN[4], udp(1, 2, b"four")), ip6(*LAN[6], udp(1, 2, b"six"))]
MULTICAST = [ip4(LAN[4][0], "239.1.2.3", udp(1, 2, b"four")), ip6(LAN[6][0], "ff0e::123", udp(1, 2, b"six"))]


@pytest.mark.req("VTI-1", "BASE-5")
@pytest.mark.parametrize(("mode", "outer"), MODES)
@pytest.mark.parametrize("transforms", ["ah-sha-hmac esp-aes", "ah-sha256-hmac", "esp-gcm 256", "esp-aes esp-sha-hmac"])
def test_unicast_and_multicast(mode: str, outer: int, transforms: str) -> None:
    """ESP, AH, and the guide's AH over ESP: both families inside, multicast where a route leads it into the tunnel."""
    routes = "ip route 239.0.0.0 255.0.0.0 {0}\nipv6 route ff0e::/16 {0}\n"
    a, b = (
        Router.loads(config(me, mode, outer, transforms=transforms, routes=ROUTES.format(o=3 - me) + more))
        for me, more in ((1, routes.format("Tunnel0")), (2, routes.format("GigabitEthernet0/0/1")))
    )
    assert both(a, b, *UNICAST, *MULTICAST) == [hops(p, 2) for p in (*UNICAST, *MULTICAST)]


@pytest.mark.req("VTI-1", "BASE-6")
def test_multicast_of_the_link_stays_there() -> None:
    a = Router.loads(config(1, "ipsec ipv6", 6))
    frames = [ip4(LAN[4][0], "224.0.0.5", b"", 89), ip6(LAN[6][0], "ff02::5", b"", 89)]
    assert words(send(a, *frames)) == ["punted", "punted"]


@pytest.mark.req("VTI-6", "BASE-6")
def test_ipv6_needs_unicast_routing() -> None:
    """Without the command the router takes IPv6 for itself, and forwards none."""
    text = config(1, "ipsec ipv4").replace("ipv6 unicast-routing\n", "")
    router = Router.loads(text)
    own = ip6(LAN[6][0], "fd00:1::1", udp(1, 2))
    assert words(send(router, *UNICAST, own)) == ["forwarded", "IPV6_ROUTING_OFF", "punted"]


@pytest.mark.req("VTI-6")
def test_eui64_and_link_local_addresses() -> None:
    """A tunnel between eui-64 addresses works; an interface with nothing but `ipv6 enable` has its link-local route."""
    text = config(1, "ipsec ipv6", 6, outside=" ipv6 enable\n", own="GigabitEthernet0/0/0")
    a = Router.loads(text.replace("2001:db8::1/64", "2001:db8::/64 eui-64"))
    own = a.sad.describe(a.sadb.pairs[0].outbound[0]).src
    assert str(own).startswith("2001:db8::") and int(own) >> 24 & 0xFFFF == 0xFFFE
    b = Router.loads(config(2, "ipsec ipv6", 6, peer=str(own)))
    assert both(a, b, *UNICAST) == [hops(p, 2) for p in UNICAST]
    assert "fe80::/10" in {str(r.prefix) for r in a.routing.routes}


@pytest.mark.req("VTI-6", "PF-6")
def test_ipv6_mtu_of_a_tunnel() -> None:
    """`ipv6 mtu` is IPv6's alone; the source of what is longer is told it."""
    a = Router.loads(config(1, "ipsec ipv6", 6, tunnel=PROTECTED + " ipv6 mtu 1300\n"))
    packet = ip6(*LAN[6], udp(1, 2, bytes(1253)))
    result = send(a, packet, ip4(*LAN[4], udp(1, 2, bytes(1372))))
    assert words(result) == ["FRAG_NEEDED", "forwarded"]
    assert int.from_bytes(result.packets.frame(0)[44:48]) == 1300


VRFS = "".join(f"vrf definition {name}\n address-family ipv4\n" for name in ("IN", "OUT"))


@pytest.mark.req("BASE-5", "BASE-6")
def test_names_and_vrfs() -> None:
    """The destination is a host name; LAN and tunnel live in one VRF, the tunnel's own packets in another."""

    def text(me: int, mode: str) -> str:
        o = 3 - me
        return config(
            me, mode, extra=VRFS + f"ip host far 203.0.113.{o}\n", peer="far", tunnel=PROTECTED + " tunnel vrf OUT\n",
            outside=" vrf forwarding OUT\n", inside=" vrf forwarding IN\n",
            routes=f"ip route vrf IN 10.{o}.0.0 255.255.0.0 Tunnel0\n",
        ).replace("interface Tunnel0\n", "interface Tunnel0\n vrf forwarding IN\n")  # fmt: skip

    for mode in ("ipsec ipv4", "gre ip"):
        a, b = (Router.loads(text(me, mode)) for me in (1, 2))
        assert both(a, b, UNICAST[0]) == [hops(UNICAST[0], 2)], mode
        stray = send(a, UNICAST[0], ingress="gi0/0/0")  # the outside VRF has no way to 10.2/16
        assert words(stray) == ["NO_ROUTE"], mode


@pytest.mark.req("BASE-5")
def test_icmp_errors_go_back_through_the_tunnel() -> None:
    """A packet whose TTL ends behind the tunnel: the error comes from the tunnel interface, protected."""
    for mode in ("ipsec ipv4", "gre ip"):
        a, b = Router.loads(config(1, mode)), Router.loads(config(2, mode))
        wire = send(a, ip4(*LAN[4], udp(1, 2), ttl=2)).packets.frames()
        answer = send(b, *wire, ingress="gi0/0/0")
        assert words(answer) == ["TTL_EXPIRED"]
        (error,) = send(a, *answer.packets.frames(), ingress="gi0/0/0").packets.frames()
        ip = naive.read_ip(error)
        assert (ip.proto, error[ip.upper], naive.read_ip(UNICAST[0]).src) == (1, 11, ip.dst)
        assert error[12:16] == bytes([172, 31, 0, 2])


def status(text: str) -> tuple[list[str], list[str]]:
    """(verdicts of two packets into the tunnel, warnings about it)."""
    router = Router.loads(text)
    warnings = [str(i) for i in router.issues if "Tunnel0" in str(i)]
    return words(send(router, *UNICAST)), warnings


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize(
    ("change", "cause"),
    [(("tunnel source 203.0.113.1", "tunnel source Loopback9"), "IF_DOWN"),
     (("tunnel destination 203.0.113.2\n", ""), "IF_DOWN"),
     (("profile P\n set", "profile Q\n set"), "IF_DOWN"),
     (("tunnel destination 203.0.113.2", "tunnel destination 192.0.2.9"), "IF_DOWN")],
    ids=["no source", "no destination", "no profile", "no route"],
)  # fmt: skip
def test_incomplete_tunnels_stay_down(change: tuple[str, str], cause: str) -> None:
    got, warnings = status(config(1, "gre ip").replace(*change))
    assert got == [cause, cause] and any("stays down" in w for w in warnings)


@pytest.mark.req("BASE-5")
def test_other_modes_carry_nothing() -> None:
    got, _ = status(config(1, "ipip", tunnel=""))
    assert got == ["UNSUPPORTED_TUNNEL"] * 2


@pytest.mark.req("BASE-6")
def test_loops_end() -> None:
    """A route to the destination through the tunnel itself, through another one and back, and a destination that is
    the router's own address."""
    to = "ip route 203.0.113.{} 255.255.255.255 Tunnel{}\n"
    got, warnings = status(config(1, "gre ip", tunnel="", routes=ROUTES.format(o=2) + to.format(2, 0)))
    assert got == ["TUNNEL_LOOP"] * 2 and any("leads into it" in w for w in warnings)
    second = "interface Tunnel1\n ip address 172.31.1.1 255.255.255.0\n tunnel source 203.0.113.1\n"
    ring = config(1, "gre ip", tunnel="", extra=second + " tunnel destination 203.0.113.3\n",
                  routes=ROUTES.format(o=2) + to.format(2, 1) + to.format(3, 0))  # fmt: skip
    assert status(ring)[0] == ["TUNNEL_LOOP"] * 2
    own = config(1, "gre ip", tunnel="", peer="10.1.0.1")
    assert status(own)[0] == ["TUNNEL_LOOP"] * 2


@pytest.mark.req("BASE-5")
def test_gre_in_gre() -> None:
    """A tunnel whose destination lies behind another tunnel: two GRE headers, stripped one after the other."""

    def text(me: int) -> str:
        o = 3 - me
        outer = (f"interface Tunnel1\n ip address 172.31.1.{me} 255.255.255.0\n tunnel source 203.0.113.{me}\n"
                 f" tunnel destination 203.0.113.{o}\n tunnel key 77\n"
                 f"interface Loopback0\n ip address 192.168.0.{me} 255.255.255.255\n")  # fmt: skip
        return config(me, "gre ip", tunnel="", extra=outer, own=f"192.168.0.{me}", peer=f"192.168.0.{o}",
                      routes=ROUTES.format(o=o) + f"ip route 192.168.0.{o} 255.255.255.255 Tunnel1\n")  # fmt: skip

    a, b = Router.loads(text(1)), Router.loads(text(2))
    wire = send(a, *UNICAST).packets.frames()
    assert [len(w) - len(u) for w, u in zip(wire, UNICAST, strict=True)] == [24 + 28] * 2
    assert send(b, *wire, ingress="gi0/0/0").packets.frames() == [hops(p, 2) for p in UNICAST]


@pytest.mark.req("BASE-5")
def test_protection_is_asked_for() -> None:
    """A protected tunnel takes neither clear GRE nor anything but its own GRE out of its SA."""
    a, b = Router.loads(config(1, "gre ip")), Router.loads(config(2, "gre ip"))
    bare = Router.loads(config(1, "gre ip", tunnel=""))
    clear = send(bare, UNICAST[0]).packets.frames()
    assert words(send(b, *clear, ingress="gi0/0/0")) == ["NOT_IPSEC"]
    vti = Router.loads(config(1, "ipsec ipv4"), keys=[a.sad.describe(a.sadb.pairs[0].outbound[0])])
    assert words(send(b, *send(vti, UNICAST[0]).packets.frames(), ingress="gi0/0/0")) == ["POLICY_MISMATCH"]


@pytest.mark.req("DF-1", "DF-3")
def test_the_guides_df_example() -> None:
    """Global clear, one interface copy: a packet with DF that is too long is fragmented by the other interface and
    refused by this one."""
    from test_config_guide import FOLDER

    text = (FOLDER / "ch07_df_bit-fixed.cfg").read_text()
    router = Router.loads(text)
    frames = [ip4("10.7.0.9", f"10.7.{net}.9", udp(1, 2, bytes(1472)), flags=0x4000) for net in (1, 2)]
    assert words(send(router, *frames, ingress="Loopback0")) == ["FRAG_NEEDED", "forwarded"]
    shown = render(router.config)
    assert "crypto ipsec df-bit clear\n" in shown and " crypto ipsec df-bit copy\n" in shown


def test_explain() -> None:
    """Explain names the tunnel that a packet enters and leaves."""
    a, b = Router.loads(config(1, "gre ip")), Router.loads(config(2, "gre ip"))
    sent = send(a, UNICAST[0])
    told = {s["stage"]: s["decision"] for s in sent.explain(0)["stages"]}
    assert told["tunnel"].startswith("TTL 64 -> 63, 32 bytes; enters Tunnel0: IPv4 203.0.113.1 -> 203.0.113.2 gre")
    got = send(b, *sent.packets.frames(), ingress="gi0/0/0")
    told = {s["stage"]: s["decision"] for s in got.explain(0)["stages"]}
    assert "come out of Tunnel0: IPv4 10.1.0.9 -> 10.2.0.9 udp" in told["tunnel"]
