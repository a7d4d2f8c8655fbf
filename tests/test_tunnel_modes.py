"""Forms of tunnels beside the guide's four: overlays of a VTI, IKEv2 profiles, modes that carry nothing (BASE-5)."""

import pytest
from packets import ip4, udp
from test_dependency_table import hops
from test_tunnels import UNICAST, both, config, send, words

from qfp.config import loads, render
from qfp.config.interfaces import TUNNEL_MODES
from qfp.router import Router

PROTECTED = " tunnel protection ipsec profile P\n"


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize(
    ("mode", "outer", "carried"),
    [("ipsec dual-overlay", 4, (4, 6)), ("ipsec dual-overlay", 6, (4, 6)), ("ipsec ipv4 v6-overlay", 4, (6,)),
     ("ipsec ipv6 v4-overlay", 6, (4,))],
)  # fmt: skip
def test_overlays_of_a_vti(mode: str, outer: int, carried: tuple[int, ...]) -> None:
    """A mixed overlay carries the other family alone: what else is routed into it is dropped, never sent in clear."""
    a, b = (Router.loads(config(me, mode, outer)) for me in (1, 2))
    wanted = [p for p, family in zip(UNICAST, (4, 6), strict=True) if family in carried]
    assert both(a, b, *wanted) == [hops(p, 2) for p in wanted]
    sent = words(send(a, *UNICAST))
    assert sent == ["forwarded" if family in carried else "POLICY_DROP" for family in (4, 6)]
    assert not a.config.errors and loads(render(a.config)) == a.config


@pytest.mark.req("BASE-5")
def test_every_mode_of_the_command_parses() -> None:
    """Unprotected, a mode that is not modelled is one warning for its interface, and its packets are dropped."""
    modelled = {m for m in TUNNEL_MODES if m.split()[0] in ("gre", "ipsec")}
    for mode in TUNNEL_MODES:
        cfg = loads(f"interface Tunnel3\n tunnel mode {mode}\n")
        assert not cfg.errors and cfg.interfaces["Tunnel3"].tunnel.mode == mode  # type: ignore[union-attr]
        assert any("is not modelled" in i.message and mode in i.message for i in cfg.issues) == (mode not in modelled)
        short = " ".join(word[:5] for word in mode.split())
        assert not loads(f"interface Tunnel3\n tunnel mode {short}\n").errors
    assert words(send(Router.loads(config(1, "ipv6ip 6to4", tunnel="")), *UNICAST)) == ["UNSUPPORTED_TUNNEL"] * 2


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("mode", ["ipip", "ipv6ip", "mpls traffic-eng", "vxlan ipv4", "udp ip"])
def test_protection_of_other_modes_is_refused(mode: str) -> None:
    (error,) = loads(config(1, mode)).errors
    assert f"tunnel mode {mode} cannot be protected" in error.message


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("words_", ["ikev2-profile IK", "ikev2-profile IK shared", "shared ikev2-profile IK"])
def test_protection_with_an_ikev2_profile(words_: str) -> None:
    """It protects as it would without one; the profile is a note, as that of a crypto map entry; the age timer of path
    MTU discovery is taken."""
    more = f" tunnel protection ipsec profile P {words_}\n tunnel path-mtu-discovery age-timer 15\n"
    a, b = (Router.loads(config(me, "gre ip", tunnel=more)) for me in (1, 2))
    assert both(a, b, *UNICAST) == [hops(p, 2) for p in UNICAST]
    tunnel = a.config.interfaces["Tunnel0"].tunnel
    assert tunnel is not None and tunnel.ikev2_profile == "IK" and tunnel.shared == ("shared" in words_)
    assert [i.severity for i in a.config.issues if "ikev2-profile" in i.message] == ["note"]
    assert loads(render(a.config)) == a.config


@pytest.mark.req("BASE-5")
def test_interfaces_of_every_type_have_addresses() -> None:
    """Whatever an interface is called, its address is its own and its network is connected."""
    names = ("Port-channel1.10", "Multilink1", "Serial0/1/0:0", "ATM0/1/0.1", "Cellular0/2/0", "nve1", "Vlan10", "BVI1",
             "BDI5", "Dialer1", "Virtual-Access2", "Virtual-PPP1", "Embedded-Service-Engine0/0", "pseudowire1",
             "AppGigabitEthernet1/0/1", "TwentyFiveGigE1/0/1", "HundredGigE0/1/0", "LISP0", "Group-Async1", "MFR1",
             "BRI0", "Async0/0/0", "wlan-ap0", "Wlan-GigabitEthernet0/1/0", "Service-Engine0", "Dot11Radio0/1.10",
             "vasileft1", "vasiright1", "ucse1/0", "ISM0/0")  # fmt: skip
    inside = "interface gi0\n ip address 10.200.0.1 255.255.0.0\n"
    for k, name in enumerate(names):
        cfg = loads(f"interface {name}\n ip address 10.{k}.0.1 255.255.255.0\n{inside}")
        assert not [i for i in cfg.issues], (name, [str(i) for i in cfg.issues])
        own = ip4("10.200.0.9", f"10.{k}.0.1", udp(1, 2))
        assert words(send(Router(cfg), own, ingress="gi0")) == ["punted"], name


TEMPLATE = """interface Virtual-Template1 type tunnel
 ip unnumbered GigabitEthernet0/0/0
 tunnel source GigabitEthernet0/0/0
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
interface Virtual-Template2
 ip address 10.77.0.1 255.255.255.0
 peer default ip address pool X
"""


@pytest.mark.req("BASE-5")
def test_a_virtual_template_never_comes_up() -> None:
    """FlexVPN, DVTI, EZVPN: sessions would be cloned from it. One note for all, no route, and the rest runs."""
    text = config(1, "gre ip") + TEMPLATE + "ip route 10.78.0.0 255.255.0.0 Virtual-Template1\n"
    a, b = Router.loads(text), Router.loads(config(2, "gre ip"))
    assert both(a, b, *UNICAST) == [hops(p, 2) for p in UNICAST]
    told = [i for i in a.config.issues if "never comes up by itself" in i.message]
    assert len(told) == 1 and told[0].severity == "note" and "Virtual-Template2" in told[0].message
    frames = [ip4("10.1.0.9", dst, udp(1, 2)) for dst in ("10.77.0.1", "10.77.0.9", "10.78.0.1")]
    assert words(send(a, *frames)) == ["NO_ROUTE"] * 3
    assert loads(render(a.config)) == a.config
    assert len(a.sadb.pairs) == 1 and not a.config.errors
    undefined = loads(text.replace("crypto ipsec profile P", "crypto ipsec profile Q"))
    assert sum("IPsec profile 'P' is not defined" in i.message for i in undefined.issues) == 2
