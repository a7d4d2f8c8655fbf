"""Object groups in access lists: what an entry that names them stands for, and which packets it protects."""

import time
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp

from qfp.batch import Batch
from qfp.config import Configuration, loads, render
from qfp.config.groups import MOST_ENTRIES
from qfp.config.model import Ace
from qfp.router import Router

NETWORKS = """object-group network SERVERS
 description where they are
 host 10.1.0.1
 10.2.0.0 255.255.0.0
 10.3.0.0 /24
 range 10.4.0.5 10.4.0.6
 group-object MORE
object-group network MORE
 10.9.0.0 255.255.255.0
"""
SERVICES = """object-group service WEB
 description what they offer
 tcp eq www
 tcp source gt 1023 range 8080 8081
 tcp-udp eq domain
 udp 500
 tcp destination eq 443
 icmp echo
 esp
 89
 group-object REST
object-group service REST
 udp lt 10
"""


def again(text: str) -> Configuration:
    cfg = loads(text)
    assert loads(render(cfg, show_keys=True)) == cfg
    return cfg


def permits(rules: list[Ace], protocol: int, src: str, dst: str, sport: int = 0, dport: int = 0) -> bool:
    """The slow way through a list: first match wins, nothing is permitted at its end."""
    for ace in rules:
        address = ((int(ip_address(src)), ace.src), (int(ip_address(dst)), ace.dst))
        ports = ((sport, ace.sport), (dport, ace.dport))
        if (
            ace.protocol in (None, protocol)
            and all(value & care == wanted for value, (wanted, care) in address)
            and all(match is None or match.matches(port) for port, match in ports)
        ):
            return ace.permit
    return False


@pytest.mark.parametrize(("address", "inside"), [
    ("10.1.0.1", True), ("10.1.0.2", False), ("10.2.255.1", True), ("10.3.0.9", True), ("10.3.1.0", False),
    ("10.4.0.4", False), ("10.4.0.5", True), ("10.4.0.6", True), ("10.4.0.7", False), ("10.9.0.7", True),
])  # fmt: skip
def test_networks(address: str, inside: bool) -> None:
    cfg = again(NETWORKS + "ip access-list extended A\n permit ip object-group SERVERS any\n")
    assert not cfg.issues
    assert permits(cfg.access_lists["A"].rules, 6, address, "1.1.1.1") is inside


@pytest.mark.parametrize(("protocol", "ports", "inside"), [
    (6, (5, 80), True), (6, (5, 81), False), (6, (5, 8080), False), (6, (2000, 8081), True), (6, (1, 53), True),
    (17, (1, 53), True), (17, (1, 500), True), (17, (1, 501), False), (6, (1, 443), True), (50, (0, 0), True),
    (51, (0, 0), False), (89, (0, 0), True), (17, (1, 9), True), (17, (1, 10), False),
])  # fmt: skip
def test_services(protocol: int, ports: tuple[int, int], inside: bool) -> None:
    cfg = again(SERVICES + "ip access-list extended A\n permit object-group WEB any any\n")
    assert not cfg.issues
    assert permits(cfg.access_lists["A"].rules, protocol, "1.1.1.1", "2.2.2.2", *ports) is inside


def test_an_echo_of_a_service_group_is_that_message_alone() -> None:
    rules = loads(SERVICES + "ip access-list extended A\n permit object-group WEB any any\n").access_lists["A"].rules
    assert [(ace.icmp_type, ace.icmp_code) for ace in rules if ace.protocol == 1] == [(8, None)]


def test_every_pair_of_members_and_the_order_of_entries() -> None:
    cfg = again(
        NETWORKS
        + SERVICES
        + """ip access-list extended A
 deny object-group WEB object-group SERVERS object-group MORE log
 permit tcp object-group MORE eq 5 object-group SERVERS range 7 9
 permit ip host 10.1.0.1 any
"""
    )
    acl = cfg.access_lists["A"]
    assert len(acl.entries) == 3 and len(acl.rules) == 10 * 6 * 1 + 6 + 1, "10.2 and 10.3.0 stay two prefixes"
    assert [ace.sequence for ace in acl.rules] == sorted(ace.sequence for ace in acl.rules)
    assert not permits(acl.rules, 6, "10.1.0.1", "10.9.0.1", 9, 80)
    assert permits(acl.rules, 6, "10.1.0.1", "10.8.0.1", 9, 80)
    assert permits(acl.rules, 6, "10.9.0.1", "10.2.3.4", 5, 8)
    assert all(ace.log == "log" and not ace.permit for ace in acl.rules[:60])


def test_ipv6_groups() -> None:
    cfg = again("""object-group v6-network SIX
 2001:db8::/32
 host 2001:db9::1
ipv6 access-list A
 permit ipv6 object-group SIX any
""")
    assert len(cfg.ipv6_access_lists["A"].rules) == 2 and not cfg.issues


def test_a_group_in_itself_is_refused_and_the_rest_serves() -> None:
    cfg = loads("""object-group network A
 host 10.0.0.1
 group-object B
object-group network B
 host 10.0.0.2
 group-object A
ip access-list extended X
 permit ip object-group B any
""")
    assert [(issue.severity, issue.line) for issue in cfg.issues] == [("error", 6)]
    assert permits(cfg.access_lists["X"].rules, 6, "10.0.0.2", "1.1.1.1")


@pytest.mark.parametrize(("group", "told"), [
    ("", "object group 'G' is not defined: this entry matches nothing"),
    ("object-group network G\n", "object group 'G' is empty: this entry matches nothing"),
    ("object-group service G\n tcp\n", "object group 'G' is one of kind service: this entry matches nothing"),
    ("object-group network G\n group-object NONE\n", "object group 'NONE' is not defined"),
])  # fmt: skip
def test_groups_that_are_not_there(group: str, told: str) -> None:
    cfg = loads(group + "ip access-list extended X\n permit ip object-group G any\n permit tcp any any\n")
    assert told in [issue.message for issue in cfg.issues] and not cfg.errors
    assert len(cfg.access_lists["X"].rules) == 1, "the other entry stays"


def test_large_products_are_refused_and_long_chains_are_not_slow() -> None:
    chain = "".join(
        f"object-group network G{k}\n host 10.{k // 200}.{k % 200}.1\n group-object G{k + 1}\n group-object G{k + 1}\n"
        for k in range(1500)
    )
    start = time.perf_counter()
    cfg = loads(chain + "object-group network G1500\n host 1.1.1.1\nip access-list extended X\n"
                " permit ip object-group G0 object-group G0\n permit ip object-group G0 any\n")  # fmt: skip
    assert time.perf_counter() - start < 20
    (issue,) = cfg.issues
    assert issue.severity == "error" and f"more than {MOST_ENTRIES} entries" in issue.message
    assert len(cfg.access_lists["X"].rules) == 1501


_MEMBERS = st.one_of(
    st.integers(0, 255).map(lambda k: (f"host 10.0.0.{k}", ip_network(f"10.0.0.{k}/32"))),
    st.tuples(st.integers(0, 255), st.integers(24, 32)).map(
        lambda pair: (
            f"{ip_network((IPv4Address(0x0A000000 + pair[0]), pair[1]), strict=False).network_address} /{pair[1]}",
            ip_network((IPv4Address(0x0A000000 + pair[0]), pair[1]), strict=False),
        )
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(_MEMBERS, min_size=1, max_size=12))
def test_merged_members_match_what_each_of_them_does(members: list[tuple[str, Any]]) -> None:
    text = "object-group network G\n" + "".join(f" {line}\n" for line, _ in members)
    rules = again(text + "ip access-list extended X\n permit ip object-group G any\n").access_lists["X"].rules
    for k in range(256):
        address = f"10.0.0.{k}"
        assert permits(rules, 6, address, "1.1.1.1") == any(ip_address(address) in network for _, network in members)
    assert len(rules) <= len({network for _, network in members})


def test_packets_of_the_groups_are_protected_and_others_are_not() -> None:
    cfg = loads(
        NETWORKS
        + """object-group service WEB
 udp eq domain
 group-object MORE-WEB
object-group service MORE-WEB
 udp range 5000 5001
crypto ipsec transform-set T esp-gcm
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.2
 set transform-set T
 match address A
interface GigabitEthernet0/0
 ip address 192.0.2.1 255.255.255.0
 crypto map M
interface GigabitEthernet0/1
 ip address 172.16.0.1 255.255.0.0
ip access-list extended A
 permit object-group WEB any object-group SERVERS
ip route 10.0.0.0 255.0.0.0 192.0.2.2
"""
    )
    router = Router(cfg)
    sent = [("10.1.0.1", 53), ("10.1.0.2", 53), ("10.2.7.7", 5001), ("10.2.7.7", 5002), ("10.9.0.200", 5000),
            ("10.4.0.7", 53)]  # fmt: skip
    frames = [ip4("172.16.0.9", to, udp(1024, port, b"x")) for to, port in sent]
    result = router.forward(Batch.from_frames(frames), "GigabitEthernet0/1")
    protocols = [frame[9] for frame in result.packets.frames()]
    assert protocols == [50, 17, 50, 17, 50, 17]
