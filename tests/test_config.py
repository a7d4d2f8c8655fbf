"""Reading configurations: words, sections, values, what is reported where, and printing back."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_network
from pathlib import Path

import pytest

from qfp.config import ConfigError, Configuration, PortMatch, load, loads, pair_issues, render
from qfp.config.check import verdict_counts, verdict_rows

pytestmark = pytest.mark.req("BASE-1")


def issues_of(text: str, severity: str = "error") -> list[str]:
    """Messages of one severity, as printed."""
    return [str(issue) for issue in loads(text, file="x.cfg").issues if issue.severity == severity]


def again(text: str) -> Configuration:
    """Load, check that printing and loading gives the same, return the model."""
    cfg = loads(text)
    assert cfg.ok, [str(issue) for issue in cfg.issues]
    printed = loads(render(cfg, show_keys=True))
    assert printed.ok, [str(issue) for issue in printed.issues]
    assert printed == cfg
    return cfg


# --- places and remedies ----------------------------------------------------------------------------------------


def test_issue_names_place_and_remedy() -> None:
    text = "crypto ipsec transform-set auth2 esp-aes\ncrypto map m 1 ipsec-isakmp\n set transform-set auth3\n"
    told = "x.cfg:3:20: warning: transform set 'auth3' is not defined (did you mean 'auth2'?)"
    assert told in issues_of(text, "warning")


def test_unlike_name_is_a_warning() -> None:
    text = "crypto map m 1 ipsec-isakmp\n set transform-set strong\n"
    assert "x.cfg:2:20: warning: transform set 'strong' is not defined" in issues_of(text, "warning")


def test_all_problems_together() -> None:
    cfg = loads("hostname\ninterface gi0/0\n ip address 10.0.0.300 255.0.0.0\n ip mtu 20\ncrypto isakmp keepalive\n")
    assert [(each.line, each.column) for each in cfg.issues if each.severity == "error"] == [
        (1, 9),
        (3, 13),
        (4, 9),
        (5, 24),
    ]
    assert not cfg.ok


@pytest.mark.parametrize(
    ("line", "place", "hint"),
    [
        ("set transfrom-set a", "2:5", "did you mean 'transform-set'?"),
        ("set-peer 10.0.0.1", "2:1", "did you mean 'set peer'?"),
        ("no match adress 101", "2:10", "did you mean 'address'?"),
    ],
)
def test_unknown_command_names_the_nearest(line: str, place: str, hint: str) -> None:
    found = [each for each in loads(f"crypto map m 1 ipsec-isakmp\n{line}").issues if "unknown" in each.message]
    assert [(each.severity, f"{each.line}:{each.column}", each.hint) for each in found] == [("warning", place, hint)]


@pytest.mark.parametrize(
    "text",
    [
        "crypto isakmp keepalive 5",
        "crypto isakmp keepalive 10 61",
        "crypto isakmp nat keepalive 4",
        "crypto ipsec security-association idle-time 59",
        "crypto ipsec security-association replay window-size 100",
        "crypto ipsec security-association lifetime seconds 119",
        "crypto ipsec df-bit keep",
        "crypto isakmp policy 10001",
        "platform ipsec llq qos-group 100",
        "ip route 10.0.0.0 255.0.255.0 10.1.1.1",
        "ip route 10.0.0.0 255.0.0.0",
        "access-list 101 permit ip 10.0.0.0 any",
        "access-list 101 permit tcp any eq 70000 any",
        "access-list 101 permit udp any any established",
        "access-list 101 allow ip any any",
        "ipv6 access-list a\n permit ipv6 2001:db8::/129 any",
        "crypto map m 1 ipsec-isakmp\n set peer 300.1.1.1",
        "crypto map m 1 ipsec-isakmp\n set pfs group3",
        "crypto map m 1 ipsec-isakmp\n match address",
        "crypto ipsec transform-set a esp-aes esp-3des",
        "crypto ipsec transform-set a esp-gcm esp-sha-hmac",
        "crypto ipsec transform-set a esp-foo",
        "crypto ipsec transform-set a comp-lzs",
        "interface gi0/0\n ip address 10.0.0.0 255.0.0.0",
        "interface gi0/0\n ipv6 address fe80::1",
        "interface gi0/0\n tunnel mode gre ip",
        "interface tunnel0\n tunnel mode gre wrong",
        "policy-map p\n class class-default\n  priority\n  bandwidth 10",
        "hostname a b",
    ],
)
def test_malformed_arguments_are_errors(text: str) -> None:
    assert issues_of(text)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.cfg: cannot be read: .*give the path"):
        load("nowhere.cfg")


def test_latin_1_file(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_bytes("interface gi0/0\n description Köln\n".encode("latin-1"))
    assert load(path).interfaces["GigabitEthernet0/0"].description == "Köln"


# --- words and sections -----------------------------------------------------------------------------------------


def test_abbreviations_and_case() -> None:
    short = again("INT gi0/0/1\n ip addr 10.0.0.1 255.255.255.0\n shut\ncry isa pol 5\n encr aes 256\n auth pre\n")
    port = short.interfaces["GigabitEthernet0/0/1"]
    assert port.shutdown and port.addresses4 == [IPv4Interface("10.0.0.1/24")]
    assert (short.isakmp.policies[5].key_bits, short.isakmp.policies[5].authentication) == (256, "pre-share")
    assert "'i' is ambiguous" in issues_of("i gi0/0")[0]


def test_interface_in_two_words() -> None:
    assert list(loads("interface Ethernet 2/0\ninterface Tunnel 7\n").interfaces) == ["Ethernet2/0", "Tunnel7"]


def test_no_forms() -> None:
    text = """
crypto ipsec df-bit set
no crypto ipsec df-bit
crypto isakmp policy 3
 group 14
 no group
no crypto isakmp invalid-spi-recovery
crypto map m 1 ipsec-isakmp
 set peer 10.0.0.1
 set peer 10.0.0.2
 no set peer 10.0.0.1
 set pfs
 no set pfs
crypto map m 2 ipsec-isakmp
no crypto map m 2
interface gi0/0
 ip address 10.0.0.9 255.0.0.0
 no ip address
 ip mtu 1400
 no ip mtu
ip route 10.9.0.0 255.255.0.0 10.0.0.1
no ip route 10.9.0.0 255.255.0.0
access-list 5 permit any
no access-list 5
"""
    cfg = again(text)
    assert cfg.ipsec.df_bit == "copy" and cfg.isakmp.policies[3].group == 1
    (entry,) = cfg.crypto_maps["m"].entries
    assert [peer.label for peer in entry.peers] == ["10.0.0.2"] and entry.pfs is None
    port = cfg.interfaces["GigabitEthernet0/0"]
    assert port.addresses4 == [] and port.ip_mtu is None
    assert cfg.routes == [] and cfg.access_lists == {}


def test_global_command_behind_a_section() -> None:
    """The same words mean the section's setting inside it, and the global one behind it."""
    inside = loads("interface gi0/0\ncrypto ipsec df-bit set\n")
    assert (inside.interfaces["GigabitEthernet0/0"].df_bit, inside.ipsec.df_bit) == ("set", "copy")
    for between in ("!\n", " shutdown\n", "exit\n"):
        behind = loads(f"interface gi0/0\n{between}crypto ipsec df-bit set\n")
        assert (behind.interfaces["GigabitEthernet0/0"].df_bit, behind.ipsec.df_bit) == (None, "set")


def test_global_command_is_not_an_abbreviation_of_an_interface_command() -> None:
    cfg = again("interface gi0/0\nipv6 route 2001:db8::/32 2001:db8:1::1\nip route 10.0.0.0 255.0.0.0 Null0\n")
    assert len(cfg.routes) == 2


def test_kept_commands_and_banner() -> None:
    text = "banner motd ^C\n  crypto map is no command here\n^C\nline vty 0 4\n login\n"
    text += "voice service voip\n foo bar\nhostname x\n"
    cfg = again(text)
    assert cfg.hostname == "x" and cfg.crypto_maps == {}
    assert [row.verdict for row in verdict_rows(cfg)] == ["kept"] * 7 + ["applied"]


def test_verdicts() -> None:
    cfg = loads("! note\nhostname a\nip http server\nfrobnicate\nmtu 5\ncrypto isakmp key s3cr3t address 1.2.3.4\n")
    assert [row.verdict for row in cfg.lines][:6] == ["comment", "applied", "kept", "warning", "warning", "applied"]
    assert "s3cr3t" not in "".join(row.text for row in cfg.lines)
    assert verdict_counts(cfg) == {"applied": 2, "kept": 1, "comment": 2, "warning": 2, "error": 0}


@pytest.mark.parametrize(
    "line",
    [
        "crypto isakmp key s3cr3t adress 1.2.3.4",
        "crypto isakmp key two s3cr3t address 1.2.3.4",
        "crypto isakmp key 0 s3cr3t",
        "crypto keyring k\n pre-shared-key address 1.2.3.4 key s3cr3t more",
        "crypto isakmp kye s3cr3t address 1.2.3.4\nusername a password s3cr3t",
        "username a secret 5 s3cr3t\nenable password s3cr3t\nsnmp-server community s3cr3t RO",
        "crypto ikev2 keyring k\n peer a\n  pre-shared-key local s3cr3t\n  pre-shared-key s3cr3t",
        "snmp-server user u g v3 auth sha s3cr3t priv aes 128 s3cr3t",
        "crypto map m 1 ipsec-manual\n set session-key inbound esp 300 cipher s3cr3t",
    ],
)
def test_keys_are_never_shown(line: str) -> None:
    cfg = loads(line)
    shown = "".join(map(str, cfg.issues)) + render(cfg) + repr(cfg) + repr(vars(cfg))
    assert "s3cr3t" not in shown


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.req("BASE-4")
def test_access_lists() -> None:
    text = """
ip access-list extended vpn
 remark first
 permit tcp 10.1.0.0 0.0.255.255 range 1000 2000 host 10.2.0.1 eq www 443 established log
 deny udp any neq isakmp any gt 1023
 15 permit gre any any dscp ef
 permit icmp any any echo
 permit 47 any any fragments
access-list 10 permit 10.0.0.0 0.0.0.255
access-list 10 deny host 10.0.0.1
ipv6 access-list six
 permit tcp 2001:DB8:1::/64 any lt 10
 sequence 5 deny ipv6 host 2001:DB8::1 any
"""
    cfg = again(text)
    entries = cfg.access_lists["vpn"].entries
    assert [ace.sequence for ace in entries] == [10, 15, 20, 30, 40]
    web, gre, udp, echo, raw = entries
    assert web.sport == PortMatch("range", 1000, 2000) and web.dport == PortMatch("eq", 80, 443, (80, 443))
    assert web.established and web.log == "log" and web.protocol == 6
    assert gre.dscp == 46 and gre.protocol == 47 and raw.fragments
    assert udp.sport is not None and udp.dport is not None and not udp.permit
    assert udp.sport.matches(501) and not udp.sport.matches(500)
    assert udp.dport.matches(1024) and not udp.dport.matches(1023)
    assert (echo.icmp_type, echo.icmp_code) == (8, None)
    assert cfg.access_lists["10"].standard
    six = cfg.ipv6_access_lists["six"].entries
    assert [ace.sequence for ace in six] == [5, 10]
    assert six[1].src == (int(IPv6Address("2001:db8:1::")), ((1 << 64) - 1) << 64)


@pytest.mark.req("BASE-3")
@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ("esp-aes 256 esp-sha256-hmac", (None, "aes-cbc", 256, "hmac-sha256-128", False)),
        ("esp-256-aes esp-sha-hmac", (None, "aes-cbc", 256, "hmac-sha1-96", False)),
        ("esp-aes 128 esp-sha384-hmac", (None, "aes-cbc", 128, "hmac-sha384-192", False)),
        ("ah-sha512-hmac", ("hmac-sha512-256", None, 0, None, False)),
        ("ah-sha-hmac esp-gcm 192 comp-lzs", ("hmac-sha1-96", "aes-gcm", 192, None, True)),
        ("esp-gmac", (None, "aes-gmac", 128, None, False)),
        ("esp-null esp-md5-hmac", (None, "null", 0, "hmac-md5-96", False)),
        ("esp-sha512-hmac", (None, "null", 0, "hmac-sha512-256", False)),
    ],
)
def test_transform_sets(transforms: str, expected: tuple[object, ...]) -> None:
    found = again(f"crypto ipsec transform-set t {transforms}\n mode transport require\n").transform_sets["t"]
    assert (found.ah, found.cipher, found.key_bits, found.esp_auth, found.comp_lzs) == expected
    assert (found.mode, found.mode_require) == ("transport", True)


@pytest.mark.req("BASE-3")
def test_weak_algorithms_warn_once() -> None:
    text = "".join(
        f"crypto ipsec transform-set t{i} esp-{name}\n" for i, name in enumerate(("des", "3des", "aes", "des"))
    )
    weak = [each for each in issues_of(text, "warning") if "weak" in each]
    assert len(weak) == 1 and "DES, 3DES" in weak[0]


@pytest.mark.req("AR-3")
@pytest.mark.parametrize(
    ("lines", "window"),
    [
        (["window-size"], 64), (["window-size 512"], 512), (["disable"], 0), (["disable", "window-size 256"], 256),
        (["window-size 256", "disable"], 0), (["disable", "window-size"], 64),
    ],
)  # fmt: skip
def test_replay_window(lines: list[str], window: int) -> None:
    whole = "\n".join(f"crypto ipsec security-association replay {line}" for line in lines)
    assert again(whole).ipsec.replay_window == window
    entry = "\n".join(f" set security-association replay {line}" for line in lines)
    assert again(f"crypto dynamic-map d 1\n{entry}\n").dynamic_maps["d"].entries[0].replay_window == window
    assert again(f"crypto ipsec profile p\n{entry}\n").profiles["p"].replay_window == window


@pytest.mark.req("AR-11")
def test_multi_sn_needs_platform_and_no_gdoi() -> None:
    switch = "crypto ipsec security-association multi-sn\n"
    assert loads(switch).ok and loads(switch, model="csr1000v").ok
    refused = loads(switch, model="isr4400")
    assert refused.ok and not refused.ipsec.multi_sn and "refuses" in refused.issues[0].message
    assert "GETVPN" in issues_of(switch + "crypto map g 1 gdoi\n set group x\n")[0]


@pytest.mark.req("BASE-1")
def test_globals() -> None:
    text = """
crypto ipsec security-association lifetime seconds 7200
crypto ipsec security-association lifetime kilobytes disable
crypto ipsec security-association idle-time 90
crypto ipsec security-association dummy pps 5
crypto ipsec fragmentation after-encryption
crypto ipsec df-bit clear
crypto ipsec ipv4-deny drop
no crypto ipsec nat-transparency udp-encapsulation
crypto isakmp keepalive 30 5 on-demand
crypto isakmp identity hostname
crypto isakmp aggressive-mode disable
platform ipsec arlog-supress
ip host far 10.0.0.1 10.0.0.2
ip host far 10.0.0.3
"""
    cfg = again(text)
    ipsec = cfg.ipsec
    assert (ipsec.lifetime_seconds, ipsec.lifetime_kilobytes, ipsec.fragmentation) == (7200, "disable", "after")
    assert (ipsec.ipv4_deny, ipsec.nat_udp_encapsulation, ipsec.dummy_pps) == ("drop", False, 5)
    assert "on-demand" not in render(cfg) and not cfg.isakmp.aggressive_mode
    assert cfg.platform.arlog_suppress and len(cfg.resolve("FAR")) == 3
    defaults = loads("").ipsec
    assert (defaults.lifetime_seconds, defaults.lifetime_kilobytes, defaults.df_bit) == (3600, 4608000, "copy")


@pytest.mark.req("BASE-1")
def test_ike() -> None:
    text = """
vrf definition red
 rd 1:1
 address-family ipv4
 exit-address-family
crypto keyring ring vrf red
 pre-shared-key address 10.0.0.0 255.0.0.0 key one
 pre-shared-key hostname far key 0 two
 pre-shared-key address ipv6 2001:db8::/32 key three
crypto isakmp policy 7
crypto isakmp key 6 hidden hostname other no-xauth
crypto isakmp profile prof accounting list1
 keyring ring
 vrf red
 self-identity user-fqdn a@b
 match identity address 10.0.0.0 255.0.0.0 red
 match identity host domain example.org
 match identity group g
 keepalive 20 retry 3
 initiate mode aggressive
crypto isakmp peer address 10.0.0.9
 set aggressive-mode password four
 set aggressive-mode client-endpoint fqdn far
"""
    cfg = again(text)
    policy = cfg.isakmp.policies[7]
    assert (policy.encryption, policy.hash, policy.group, policy.authentication, policy.lifetime) == (
        "des", "sha", 1, "rsa-sig", 86400)  # fmt: skip
    ring = cfg.isakmp.keyrings["ring"]
    assert ring.vrf == "red" and [key.network for key in ring.keys] == [
        ip_network("10.0.0.0/8"),
        None,
        ip_network("2001:db8::/32"),
    ]
    assert cfg.isakmp.keys[0].no_xauth and cfg.isakmp.keys[0].key_type == 6
    assert [each.kind for each in cfg.isakmp.profiles["prof"].matches] == ["address", "host domain", "group"]
    assert cfg.isakmp.peers[0].client_endpoint == "fqdn far" and cfg.vrfs["red"].families == [4]


@pytest.mark.req("BASE-11")
def test_manual_keys() -> None:
    head = "crypto ipsec transform-set t esp-aes esp-sha-hmac\ncrypto map m 1 ipsec-manual\n set transform-set t\n"
    keys = "".join(
        f" set session-key {way} esp 300 cipher {'ab' * 16} authenticator {'cd' * 20}\n"
        for way in ("inbound", "outbound")
    )
    cfg = again(head + keys)
    key = cfg.crypto_maps["m"].entries[0].session_keys[0]
    assert (key.direction, key.proto, key.spi, key.cipher_key) == ("inbound", "esp", 300, b"\xab" * 16)
    assert "abab" not in repr(key) + render(cfg) and "abab" in render(cfg, show_keys=True)
    assert loads(render(cfg)).ok
    assert "has 15 octets" in issues_of(head + keys.replace("ab" * 16, "ab" * 15))[0]


@pytest.mark.req("BASE-1")
def test_tunnels() -> None:
    head = "crypto ipsec transform-set t esp-gcm\n mode transport\ncrypto ipsec profile p\n set transform-set t\n"
    body = "interface Tunnel1\n tunnel source 10.0.0.1\n tunnel destination 10.0.0.2\n tunnel key 5\n"
    for mode in ("gre ip", "ipsec ipv4"):
        cfg = again(f"{head}{body} tunnel mode {mode}\n tunnel protection ipsec profile p shared\n")
        assert cfg.interfaces["Tunnel1"].tunnel is not None and cfg.interfaces["Tunnel1"].tunnel.mode == mode
        assert any("uses tunnel mode" in each.message for each in cfg.issues) == (mode == "ipsec ipv4")
    for mode in ("ipip", "ipv6ip 6to4", "mpls"):
        assert (
            "cannot be protected"
            in issues_of(f"{head}{body} tunnel mode {mode}\n tunnel protection ipsec profile p\n")[0]
        )
    six = body.replace("10.0.0.", "2001:db8::")
    assert "shared" in issues_of(f"{head}{six} tunnel mode ipsec ipv6\n tunnel protection ipsec profile p shared\n")[0]
    many = " ".join(f"t{i}" for i in range(7))
    assert "at most 6" in issues_of(f"crypto ipsec profile p\n set transform-set {many}\n")[0]


@pytest.mark.req("BASE-1")
def test_shared_map_needs_one_df_bit() -> None:
    text = "crypto map m local-address lo0\ninterface lo0\n"
    text += "interface gi0/0\n crypto map m\ninterface gi0/1\n crypto map m\n"
    assert not issues_of(text)
    assert "differ in df-bit" in issues_of(text + " crypto ipsec df-bit set\n")[0]


@pytest.mark.req("BASE-1")
def test_tunnel_mtus_of_two_routers() -> None:
    one = loads("interface tu0\n tunnel source 10.0.0.1\n tunnel destination 10.0.0.2\n ip mtu 1400\n", file="one.cfg")
    other = loads("hostname far\ninterface gi0/0\n ip address 10.0.0.2 255.0.0.0\ninterface tu5\n tunnel source gi0/0\n"
                  " tunnel destination 10.0.0.1\n")  # fmt: skip
    assert "ip mtu of Tunnel0 is 1400, that of its peer far the default" in str(pair_issues(one, other)[0])
    assert pair_issues(one, one) == []


@pytest.mark.req("BASE-1")
def test_routes() -> None:
    text = """
interface gi0/0
ip route 10.0.0.0 255.0.0.0 gi0/0 10.1.1.1 200 tag 5 name west permanent
ip route vrf red 0.0.0.0 0.0.0.0 10.1.1.1
ipv6 route 2001:db8::/32 gi0/0 fe80::1 7
vrf definition red
"""
    cfg = again(text)
    first, second, third = cfg.routes
    assert (first.interface, first.next_hop, first.distance) == ("GigabitEthernet0/0", IPv4Address("10.1.1.1"), 200)
    assert second.vrf == "red" and third.distance == 7 and third.family == 6


@pytest.mark.req("BASE-1")
def test_policies() -> None:
    text = """
class-map match-any voice
 match dscp ef 40
 match ip precedence critical
 match access-group name vpn
 match access-group 101
 match protocol ipv6
 match qos-group 5
 match not class-map data
class-map data
 match any
policy-map child
 class class-default
  fair-queue
 class voice
  priority level 1 500 2000
policy-map p
 description edge
 class voice
  priority level 2 percent 20
  police cir 8000000 bc 16000 conform-action transmit exceed-action set-dscp-transmit 8
  set dscp af31
 class data
  bandwidth remaining ratio 4
  queue-limit 100 packets
 class class-default
  shape average 1000000 8000
  set precedence 3
  service-policy child
interface gi0/0
 service-policy output p
access-list 101 permit ip any any
"""
    cfg = again(text)
    voice, data, rest = cfg.policy_maps["p"].classes
    assert (voice.priority_level, voice.priority_percent, voice.set_dscp) == (2, 20, 26)
    assert voice.police is not None and (voice.police.burst, voice.police.exceed) == (16000, "set-dscp-transmit 8")
    assert (data.remaining_ratio, data.queue_limit) == (4, 100)
    assert (rest.shape_bps, rest.shape_burst, rest.service_policy) == (1000000, 8000, "child")
    assert [each.name for each in cfg.policy_maps["child"].classes] == ["voice", "class-default"]
    assert cfg.class_maps["voice"].matches[1].family == 4 and cfg.class_maps["voice"].matches[6].negate


@pytest.mark.req("BASE-2")
def test_every_interface_setting_is_printed() -> None:
    text = """
interface Loopback0
interface GigabitEthernet0/0
 description to the west
 bandwidth 1000
 mtu 9000
 encapsulation dot1q 12 second-dot1q 7
 vrf forwarding red
 ip address 10.0.0.1 255.255.255.0
 ip address 10.0.1.1 255.255.255.0 secondary
 ip mtu 1400
 ipv6 mtu 1380
 ip tcp adjust-mss 1360
 ipv6 tcp adjust-mss 1340
 ipv6 address fe80::5 link-local
 ipv6 address 2001:db8::1/64
 ipv6 enable
 mac-address 0011.2233.4455
 no ip unreachables
 ip access-group 101 in
 ip access-group 102 out
 ipv6 traffic-filter a in
 ipv6 traffic-filter b out
 crypto map m
 ipv6 crypto map n
 crypto ipsec df-bit set
 crypto ipsec fragmentation before-encryption
 service-policy input p
 service-policy output q
 qos pre-classify
 ip ospf cost 5
interface Tunnel0
 ip unnumbered Loopback0
 tunnel source Loopback0
 tunnel destination far
 tunnel mode gre ip
 tunnel key 1
 tunnel checksum
 tunnel sequence-datagrams
 tunnel vrf red
 tunnel ttl 64
 tunnel tos 32
 tunnel path-mtu-discovery
"""
    cfg = again(text)
    port = cfg.interfaces["GigabitEthernet0/0"]
    unset = {name for name, value in vars(port).items() if value in (None, [], False) and name not in ("unreachables",)}
    assert unset == {"shutdown", "unnumbered", "tunnel", "native_vlan"}
    tunnel = cfg.interfaces["Tunnel0"].tunnel
    assert tunnel is not None and None not in (tunnel.key, tunnel.vrf, tunnel.ttl, tunnel.tos)


@pytest.mark.req("QOS-1", "BASE-1")
@pytest.mark.parametrize(
    "text",
    [
        "class-map A\n match class-map B\nclass-map B\n match class-map A\n",
        "policy-map A\n class class-default\n  service-policy A\n",
        "policy-map A\n class class-default\n  service-policy B\n"
        "policy-map B\n class class-default\n  service-policy A\n",
    ],
)
def test_maps_that_contain_themselves_are_errors(text: str) -> None:
    cfg = loads(text)
    assert not cfg.ok and all("contains itself" in str(each) for each in cfg.errors)
    apart = loads(text.replace(" match class-map A\n", "").replace("  service-policy A\n", ""))
    assert apart.ok and not apart.errors
