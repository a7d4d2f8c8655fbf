"""Lines as routers print them and people type them: each loads to what IOS XE means by it, and prints back the same."""

from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest

from qfp.config import Configuration, loads, render
from qfp.config.commands import grammar
from qfp.config.grammar import Match
from qfp.config.lex import words_of
from qfp.config.routing import Routing


def again(text: str) -> Configuration:
    """Load a text, and see that what it prints loads to the same."""
    cfg = loads(text)
    assert loads(render(cfg, show_keys=True)) == cfg
    return cfg


def problems(cfg: Configuration) -> list[str]:
    return [str(issue) for issue in cfg.issues if issue.severity != "note"]


# --- addresses and links ----------------------------------------------------------------------------------------


def test_secondary_addresses_are_printed_before_the_primary_one() -> None:
    cfg = again("""interface Loopback0
 ip address 10.0.1.1 255.255.255.0 secondary
 ip address 10.0.2.1 255.255.255.0 secondary
 ip address 10.0.0.1 255.255.255.0
""")
    assert cfg.interfaces["Loopback0"].addresses4 == [
        IPv4Interface(each) for each in ("10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24")
    ]
    assert not problems(cfg)
    moved = again("""interface gi0
 ip address 10.0.1.1 255.255.255.0 secondary
 ip address 10.0.0.1 255.255.255.0
 ip address 10.0.9.1 255.255.255.0
""")
    assert [str(each) for each in moved.interfaces["GigabitEthernet0"].addresses4] == ["10.0.9.1/24", "10.0.1.1/24"]


@pytest.mark.parametrize(("line", "tags"), [
    ("encapsulation dot1q 100", (100, None, False)),
    ("encapsulation dot1Q 100 native", (100, None, True)),
    ("encapsulation dot1Q 100 second-dot1q 200", (100, "200", False)),
    ("encapsulation dot1Q 100 second-dot1q 200,300-310", (100, "200,300-310", False)),
    ("encap dot1q 100 second-dot1q any", (100, "any", False)),
])  # fmt: skip
def test_tags_in_tags(line: str, tags: tuple[Any, ...]) -> None:
    port = again(f"interface gi0/0/1.5\n {line}\n").interfaces["GigabitEthernet0/0/1.5"]
    assert (port.vlan, port.inner_vlan, port.native_vlan) == tags


def test_a_wildcard_where_a_mask_belongs_is_refused_with_the_mask() -> None:
    (issue,) = loads("interface gi0\n ip address 10.0.0.1 0.0.0.255\n").issues
    assert issue.severity == "error" and "write 255.255.255.0" in issue.message


def test_a_netmask_where_a_wildcard_belongs_is_a_warning_with_the_wildcard() -> None:
    cfg = loads("access-list 101 permit ip 10.0.0.0 255.255.0.0 any\naccess-list 5 permit 10.0.0.0 255.255.255.0\n")
    assert [issue.hint for issue in cfg.issues] == ["write 0.0.255.255", "write 0.0.0.255"]
    assert cfg.access_lists["101"].entries[0].src == (0, 0xFFFF), "taken as it stands"
    assert not loads("access-list 5 permit 10.0.0.0 0.0.0.255\naccess-list 6 permit 0.0.0.0 255.255.255.255\n").issues


@pytest.mark.parametrize(("short", "full"), [
    ("f0/0", "FastEthernet0/0"), ("s0/0/0:0", "Serial0/0/0:0"), ("e0/1", "Ethernet0/1"), ("l0", "Loopback0"),
    ("te0/0/1.12", "TenGigabitEthernet0/0/1.12"), ("po1", None), ("Dot11Radio0", "Dot11Radio0"),
    ("g1", "GigabitEthernet1"),
])  # fmt: skip
def test_short_interface_types(short: str, full: str | None) -> None:
    cfg = loads(f"interface {short}\n")
    assert list(cfg.interfaces) == [full or short]


# --- static routes ----------------------------------------------------------------------------------------------

ROUTES = [
    ("192.0.2.1 track 1", {"track": 1}),
    ("192.0.2.1 name BACKUP 250 track 7", {"name": "BACKUP", "distance": 250, "track": 7}),
    ("192.0.2.1 250 name BACKUP permanent", {"name": "BACKUP", "distance": 250, "permanent": True}),
    ("192.0.2.1 permanent tag 5 200", {"tag": 5, "distance": 200, "permanent": True}),
    ("gi0 192.0.2.1 tag 5", {"interface": "GigabitEthernet0", "tag": 5}),
    ("gi0 dhcp 254", {"interface": "GigabitEthernet0", "dhcp": True, "distance": 254, "next_hop": None}),
    ("dhcp", {"dhcp": True, "next_hop": None}),
    ("192.0.2.1 multicast", {"multicast": True}),
    ("Null0 254 permanent", {"interface": "Null0", "distance": 254, "permanent": True, "next_hop": None}),
]  # fmt: skip


@pytest.mark.parametrize(("rest", "wanted"), ROUTES)
def test_static_routes_in_any_order(rest: str, wanted: dict[str, Any]) -> None:
    cfg = again(f"interface gi0\n ip address 192.0.2.9 255.255.255.0\nip route 10.0.0.0 255.0.0.0 {rest}\n")
    (route,) = cfg.routes
    usual = {"next_hop": ip_address("192.0.2.1"), "interface": None, "distance": 1, "tag": None, "name": None,
             "track": None, "permanent": False, "dhcp": False, "multicast": False}  # fmt: skip
    assert {name: getattr(route, name) for name in usual} == usual | wanted
    assert not cfg.errors


def test_a_next_hop_in_the_global_table() -> None:
    cfg = again("""vrf definition X
 address-family ipv4
 exit-address-family
 address-family ipv6
 exit-address-family
ipv6 unicast-routing
interface gi0
 ip address 192.0.2.9 255.255.255.0
 ipv6 address 2001:db8::1/64
ip route vrf X 10.0.0.0 255.0.0.0 192.0.2.1 global
ip route vrf X 10.0.0.0 255.0.0.0 198.51.100.1
ip route 10.0.0.0 255.0.0.0 192.0.2.1 multicast
ipv6 route vrf X 2001:db8:9::/48 2001:db8::2 nexthop-vrf default name SIX 5
""")
    assert cfg.vrfs["X"].families == [4, 6]
    routing = Routing(cfg, {"GigabitEthernet0": 0})
    found = routing.lookup(ip_address("10.1.1.1"), 1)
    assert found is not None and (found.out_if, str(found.next_hop)) == (0, "192.0.2.1")
    assert routing.lookup(ip_address("2001:db8:9::1"), 1) is not None
    assert routing.lookup(ip_address("10.1.1.1"), 0) is None, "a multicast route forwards nothing"
    assert [str(each.next_hop) for each in routing.unresolved] == ["198.51.100.1"]


@pytest.mark.parametrize(("rest", "words"), [
    ("192.0.2.1 300", "'300' is outside 1 to 255"), ("192.0.2.1 tag", "a value of tag expected"),
    ("192.0.2.1 5 here", "'here' is not a distance, tag"), ("192.0.2.1 track x", "'x' is not a number"),
])  # fmt: skip
def test_wrong_options_of_routes_are_pointed_at(rest: str, words: str) -> None:
    (issue,) = loads(f"ip route 10.0.0.0 255.0.0.0 {rest}\n").issues
    assert issue.severity == "error" and words in issue.message
    assert issue.column >= len("ip route 10.0.0.0 255.0.0.0 192.0.2.1 ")


# --- IPsec and IKE ----------------------------------------------------------------------------------------------

PEER = """interface gi0
 ip address 192.0.2.9 255.255.255.0
 crypto map M
ip access-list extended A
 permit ip 10.0.0.0 0.255.255.255 any
"""


@pytest.mark.parametrize(("line", "local", "vrf"), [
    ("local-address 192.0.2.10", ip_address("192.0.2.10"), None),
    ("local-address 192.0.2.10 X", ip_address("192.0.2.10"), "X"),
    ("local-address gi0", "GigabitEthernet0", None), ("local-address GigabitEthernet0 X", "GigabitEthernet0", "X"),
    ("local-address 2001:db8::1", ip_address("2001:db8::1"), None),
])  # fmt: skip
def test_local_address_by_address_and_interface(line: str, local: Any, vrf: str | None) -> None:
    cfg = again(f"vrf definition X\ninterface gi0\ncrypto keyring K\n {line}\ncrypto isakmp profile P\n {line}\n")
    for section in (cfg.isakmp.keyrings["K"], cfg.isakmp.profiles["P"]):
        assert (section.local_address, section.local_vrf) == (local, vrf)
    assert not cfg.errors


def test_local_address_of_a_crypto_map_by_address_is_its_interface() -> None:
    cfg = again(PEER + "crypto map M local-address 192.0.2.9\ncrypto map M 1 ipsec-isakmp\n")
    assert cfg.crypto_maps["M"].local_address == "GigabitEthernet0"
    assert any("write crypto map M local-address GigabitEthernet0" in issue.hint for issue in cfg.issues)
    nowhere = loads(PEER + "crypto map M local-address 192.0.2.8\ncrypto map M 1 ipsec-isakmp\n")
    assert [issue.message for issue in nowhere.errors] == ["crypto map 'M': no interface has local-address 192.0.2.8"]


KEYS = [
    ("address 0.0.0.0", IPv4Network("0.0.0.0/0")), ("address 0.0.0.0 0.0.0.0", IPv4Network("0.0.0.0/0")),
    ("address 192.0.2.1", IPv4Network("192.0.2.1/32")),
    ("address 192.0.2.0 255.255.255.0", IPv4Network("192.0.2.0/24")),
    ("address 192.0.2.0/24", IPv4Network("192.0.2.0/24")), ("address ipv6 ::/0", IPv6Network("::/0")),
    ("address ipv6 2001:db8::2", IPv6Network("2001:db8::2/128")),
    ("address 2001:db8::2", IPv6Network("2001:db8::2/128")),
    ("address ipv6 2001:db8:: 32", IPv6Network("2001:db8::/32")),
]  # fmt: skip


@pytest.mark.parametrize(("who", "network"), KEYS)
def test_whom_a_key_is_for(who: str, network: Any) -> None:
    cfg = again(f"crypto isakmp key SECRET {who}\ncrypto keyring K\n pre-shared-key {who} key SECRET\n")
    assert [key.network for key in (*cfg.isakmp.keys, *cfg.isakmp.keyrings["K"].keys)] == [network, network]


def test_a_wildcard_key_serves_every_peer_and_the_remedy_of_a_missing_one_is_a_command() -> None:
    tunnel = """crypto isakmp policy 1
 encryption aes
 authentication pre-share
ipv6 unicast-routing
crypto ipsec transform-set T esp-aes esp-sha-hmac
crypto ipsec profile P
 set transform-set T
interface gi0
 ipv6 address 2001:db8::1/64
interface tunnel0
 ipv6 enable
 tunnel source gi0
 tunnel destination 2001:db8::2
 tunnel mode ipsec ipv6
 tunnel protection ipsec profile P
"""
    assert not problems(loads(tunnel + "crypto isakmp key K address ipv6 ::/0\n"))
    cfg = loads(tunnel + "crypto isakmp key K address 0.0.0.0\n")
    (missing,) = [issue for issue in cfg.issues if "no pre-shared key" in issue.message]
    mended = loads(tunnel + missing.hint.removeprefix("add ") + "\n")
    assert not problems(mended)


def test_a_peer_with_its_prefix_length_as_a_word() -> None:
    text = "crypto isakmp peer address ipv6 2001:db8::1{} \n set aggressive-mode client-endpoint ipv6 2001:db8::1\n"
    assert again(text.format(" 128")) == again(text.format("/128"))


REVERSE = ["", " static", " remote-peer 192.0.2.1", " remote-peer 192.0.2.1 gateway", " remote-peer 192.0.2.1 static",
           " tag 7", " tag 7 static", " remote-peer 192.0.2.1 192.0.2.7"]  # fmt: skip


@pytest.mark.parametrize("how", REVERSE)
@pytest.mark.parametrize("head", ["crypto map M 10 ipsec-isakmp", "crypto dynamic-map D 10", "crypto ipsec profile P"])
def test_reverse_route(head: str, how: str) -> None:
    cfg = again(f"{head}\n reverse-route{how}\n set reverse-route tag 5\n set reverse-route distance 20\n")
    maps = [*cfg.crypto_maps.values(), *cfg.dynamic_maps.values()]
    (section,) = [*(entry for each in maps for entry in each.entries), *cfg.profiles.values()]
    assert section.reverse_route and section.reverse_route_how == how.strip()
    assert section.reverse_route_sets == ["tag 5", "distance 20"]
    assert not cfg.errors


PROTECTION = [
    ("", (None, None, False)), (" shared", (None, None, True)), (" ikev2-profile IK", ("IK", None, False)),
    (" isakmp-profile IS", (None, "IS", False)), (" shared ikev2-profile IK", ("IK", None, True)),
    (" ikev2-profile IK shared", ("IK", None, True)),
]  # fmt: skip


@pytest.mark.parametrize(("how", "wanted"), PROTECTION)
def test_tunnel_protection(how: str, wanted: tuple[Any, ...]) -> None:
    cfg = again(f"""crypto isakmp profile IS
crypto ipsec profile P
interface Tunnel1
 tunnel path-mtu-discovery age-timer 15
 tunnel protection ipsec profile P{how}
""")
    tunnel = cfg.interfaces["Tunnel1"].tunnel
    assert tunnel is not None and tunnel.protection_profile == "P" and tunnel.path_mtu_discovery
    assert (tunnel.ikev2_profile, tunnel.isakmp_profile, tunnel.shared) == wanted
    assert not cfg.errors


def test_without_a_transform_set_the_default_one_is_used() -> None:
    cfg = again(
        PEER
        + """crypto map M 10 ipsec-isakmp
 set peer 192.0.2.1
 match address A
crypto map M 20 ipsec-isakmp
crypto dynamic-map D 5
crypto ipsec profile Q
interface Tunnel1
 tunnel protection ipsec profile default
"""
    )
    built_in = cfg.transform_sets["default"]
    assert (built_in.cipher, built_in.key_bits, built_in.esp_auth) == ("aes-cbc", 128, "hmac-sha1-96")
    assert built_in.mode == "transport" and not built_in.mode_require, "tunnel mode where transport mode cannot be"
    complete, incomplete = cfg.crypto_maps["M"].entries
    assert complete.transform_sets == cfg.profiles["Q"].transform_sets == ["default"]
    assert cfg.profiles["default"].transform_sets == cfg.dynamic_maps["D"].entries[0].transform_sets == ["default"]
    assert incomplete.transform_sets == []
    assert "default" not in loads(PEER + "crypto map M 10 ipsec-isakmp\n set transform-set NONE\n").transform_sets
    own = loads("crypto ipsec transform-set default esp-gcm 256\ncrypto ipsec profile Q\n")
    assert own.transform_sets["default"].cipher == "aes-gcm"


# --- short forms and refused words ------------------------------------------------------------------------------

SHORT = [
    ("int g0/0\n ip addr 10.0.0.1 255.255.255.0\n no sh\n",
     "interface GigabitEthernet0/0\n ip address 10.0.0.1 255.255.255.0\n"),
    ("cry map M 10 ipsec-isa\n set pe 10.0.0.2\n ma add 100\n",
     "crypto map M 10 ipsec-isakmp\n set peer 10.0.0.2\n match address 100\n"),
    ("cry isa pol 10\n enc aes 256\n auth pre\n gr 14\n",
     "crypto isakmp policy 10\n encryption aes 256\n authentication pre-share\n group 14\n"),
    ("int tu0\n tun so g0/0\n tun dest 10.0.0.2\n tun mode ips ipv4\n tun pro ips prof P\n",
     "interface Tunnel0\n tunnel source GigabitEthernet0/0\n tunnel destination 10.0.0.2\n tunnel mode ipsec ipv4\n"
     " tunnel protection ipsec profile P\n"),
    ("access-l 100 per ip an ho 10.0.0.1\n", "access-list 100 permit ip any host 10.0.0.1\n"),
    ("ip rou 0.0.0.0 0.0.0.0 10.0.0.2\nipv6 rou ::/0 2001:db8::1\n",
     "ip route 0.0.0.0 0.0.0.0 10.0.0.2\nipv6 route ::/0 2001:db8::1\n"),
    ("ip access-l ext X\n per tcp any any eq 22\nip rou 0.0.0.0 0.0.0.0 10.0.0.2\n",
     "ip access-list extended X\n permit tcp any any eq 22\nip route 0.0.0.0 0.0.0.0 10.0.0.2\n"),
]  # fmt: skip


@pytest.mark.parametrize(("short", "full"), SHORT)
def test_short_forms(short: str, full: str) -> None:
    assert again(short) == again(full)
    assert not loads(short).errors


@pytest.mark.parametrize(("text", "words"), [
    ("crypto ipsec security-association replay window-size 65", "64, 128, 256, 512 or 1024"),
    ("crypto map M 1 ipsec-isakmp\n set security-association replay window-size 2048", "64, 128, 256, 512 or 1024"),
    ("crypto map M 1 ipsec-isakmp\n set pfs group3", "group1, group2, group5, group14"),
    ("crypto isakmp policy 1\n group 3", "1, 2, 5, 14, 15, 16, 19, 20, 21 or 24"),
    ("crypto isakmp policy 1\n hash sha1", "sha, sha256, sha384, sha512 or md5"),
    ("crypto isakmp policy 1\n encryption aes 512", "128, 192 or 256"),
    ("crypto ipsec df-bit clean", "clear, set or copy"),
])  # fmt: skip
def test_what_may_stand_at_a_refused_word_is_named(text: str, words: str) -> None:
    assert words in loads(text).errors[0].message


def test_every_remedy_that_is_a_command_is_taken() -> None:
    text = (
        PEER
        + """crypto map M local-address 192.0.2.9
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.1/32
 set peer 2001:db8::7
 match address B
crypto map ipv6 S 10 ipsec-isakmp
interface gi1
 crypto map S
 ipv6 address 2001:db8::1/64
interface Tunnel1
 tunnel mode ipsec ipv6
 tunnel destination 2001:db8:1::2
 tunnel protection ipsec profile P shared
crypto ipsec transform-set T esp-des
 mode transport
crypto ipsec profile P
 set transform-set T
interface Tunnel2
 tunnel mode ipsec ipv4
 tunnel destination 192.0.2.77
 tunnel protection ipsec profile P
crypto isakmp policy 1
crypto isakmp policy 2
 authentication pre-share
ip vrf V
 address-family ipv6
access-list 5 permit 10.0.0.0 255.255.255.0
"""
    )
    hints = {issue.hint for issue in loads(text).issues}
    told = [hint.partition(" ")[2] for hint in hints if hint.startswith(("write ", "add crypto"))]
    commands = [each for each in told if not each.startswith(("0.", "vrf definition"))]
    assert len(commands) >= 6, hints
    for command in commands:
        matches = [grammar().match(mode, words_of(command)) for mode in grammar().modes]
        assert any(isinstance(found, Match) for found in matches), command
