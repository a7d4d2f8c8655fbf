"""What touches the data path and is not modelled is one warning a kind; what only the control plane does is silent."""

import pytest

from qfp.config import loads, render

HEAD = "interface gi0\n ip address 203.0.113.1 255.255.255.0\n"
KINDS = {
    "address translation": [" ip nat inside\n", "ip nat inside source list 1 interface gi0 overload\n",
                            "ip nat pool P 203.0.113.5 203.0.113.6 netmask 255.255.255.0\n"],
    "firewalls": [" zone-member security IN\n", "zone security IN\n",
                  "zone-pair security Z source IN destination OUT\n service-policy type inspect PM\n",
                  " ip inspect FW in\n", "ip inspect name FW tcp\n"],
    "policy based routing": [" ip policy route-map PBR\n", "ip local policy route-map PBR\n",
                             " ipv6 policy route-map X\n"],
    "first-hop redundancy": [" standby 1 ip 203.0.113.9\n standby 1 priority 110\n", " vrrp 1 ip 203.0.113.9\n",
                             " glbp 1 ip 203.0.113.9\n"],
    "addresses from DHCP": [" ip address dhcp\n", " ip address negotiated\n", " ipv6 address dhcp\n",
                            " ipv6 address autoconfig\n"],
    "access group or traffic filter": [" ip access-group 101 in\n ip access-group 102 out\n",
                                       " ipv6 traffic-filter X in\n"],
    "checks of source addresses": [" ip verify unicast source reachable-via rx\n",
                                   " ipv6 verify unicast reverse-path\n"],
    "WCCP": [" ip wccp 61 redirect in\n"],
    "bridging": [" bridge-group 1\n", "bridge irb\n", " xconnect 10.0.0.1 5 encapsulation mpls\n",
                 " service instance 10 ethernet\n  encapsulation dot1q 10\n  bridge-domain 10\n"],
    "MPLS": [" mpls ip\n"],
    "multicast routing": [" ip pim sparse-mode\n", "ip multicast-routing\n"],
    "rate limits": [" rate-limit input 8000 2000 2000 conform-action transmit exceed-action drop\n"],
}  # fmt: skip


def of_kind(text: str, kind: str) -> list[str]:
    cfg = loads(text)
    assert not cfg.errors, [str(i) for i in cfg.errors]
    return [str(i) for i in cfg.issues if i.severity == "warning" and kind in i.message]


@pytest.mark.req("BASE-1")
@pytest.mark.parametrize("kind", KINDS)
def test_one_warning_a_kind_wherever_its_lines_are(kind: str) -> None:
    """Each line alone is told, at its place; all together, on three interfaces, are one warning with a count."""
    for lines in KINDS[kind]:
        text = HEAD + lines
        (told,) = of_kind(text, kind)
        assert told.startswith("<text>:3:"), told
    inside = "".join(each for each in KINDS[kind] if each.startswith(" "))
    everywhere = "".join(each for each in KINDS[kind] if not each.startswith(" "))
    text = "".join(f"interface gi{k}\n ip address 10.{k}.0.1 255.255.255.0\n{inside}" for k in range(3)) + everywhere
    (told,) = of_kind(text, kind)
    assert " lines: 3, " in told, told


@pytest.mark.req("BASE-1")
def test_lines_that_are_taken_back_are_no_kind() -> None:
    lines = ("ip nat inside", "standby 1 ip", "ip policy route-map PBR", "mpls ip", "ip pim sparse-mode")
    cfg = loads(HEAD + "".join(f" no {line}\n" for line in lines))
    assert not [i for i in cfg.issues if "not modelled" in i.message]


CONTROL = """aaa new-model
aaa authentication login default local
snmp-server community public RO
router bgp 65000
 neighbor 10.0.0.1 remote-as 65001
 address-family ipv4
  network 10.0.0.0
 exit-address-family
router ospf 1
 network 10.0.0.0 0.255.255.255 area 0
router eigrp X
ipv6 router ospf 1
 router-id 1.1.1.1
ip prefix-list PL seq 5 permit 10.0.0.0/8
ipv6 prefix-list PL seq 5 permit ::/0
ip as-path access-list 1 permit ^$
ip community-list standard C permit 65000:1
ip local pool POOL 10.9.0.1 10.9.0.9
parameter-map type inspect global
 log dropped-packets enable
route-map RM permit 10
 match ip address prefix-list PL
 set metric 5
track 1 ip sla 1
"""


@pytest.mark.req("BASE-1")
def test_the_control_plane_is_kept_without_noise() -> None:
    cfg = loads(CONTROL + HEAD)
    assert [str(i) for i in cfg.issues] == []
    assert loads(render(cfg, show_keys=True)) == cfg


@pytest.mark.req("BASE-1")
def test_commands_without_a_kind_are_one_warning_each() -> None:
    """However many interfaces have it."""
    text = "".join(f"interface Tunnel{k}\n tunnel source 10.0.0.1\n tunnel destination 10.9.9.{k}\n"
                   " tunnel bandwidth transmit 1000\n" for k in range(4))  # fmt: skip
    told = [i.message for i in loads(text).issues if "tunnel bandwidth" in i.message]
    assert len(told) == 1 and "(4 lines" in told[0]
    assert told[0].startswith("'tunnel bandwidth' is kept but not interpreted")
