"""Every configuration that the guide prints: loads, says what is missing, and survives printing and reading back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from qfp.config import Configuration, Peer, Secret, load, loads, render
from qfp.config.effects import LAB_DOES, NEEDS_IKE

FOLDER = Path(__file__).parent / "guide_configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.cfg"))

# What the examples lack, as parts of messages; twins that end in -fixed lack nothing.
WARNINGS = {
    "ch02_global_window": ["weak algorithms are in use: DES, MD5"],
    "ch02_map_windows": [
        "weak algorithms",
        "no pre-shared key for peer 192.168.1.3",
        "no route to peer 192.168.1.3",
        "no pre-shared key for peer 192.168.1.4",
        "no route to peer 192.168.1.4",
    ],
    "ch04_router_a": [
        "weak algorithms",
        "FastEthernet0/1 overlap with those of FastEthernet0/0",
        "no route reaches next hop 10.2.0.1",
        "10.3.3.3 has bits",
    ],
    "ch04_router_b": [
        "weak algorithms",
        "FastEthernet1/1 overlap with those of FastEthernet1/0",
        "no route reaches next hop 10.2.0.1",
    ],
    "ch05_periodic_dpd": ["access list '101' is not defined", "no route to peer 10.2.80.209"],
    "ch05_peers": ["transform set 'txfm' is not defined", "access list '101' is not defined"],
    "ch06_nat_keepalive": ["weak algorithms", "a NAT device may forget", "access list '101' is not defined"],
    "ch07_df_bit": [
        "weak algorithms",
        "access list '101'",
        "access list '102'",
        "interface FastEthernet has no number",
    ],
    "ch08_idle_global": [],
    "ch08_idle_map": ["lacks a peer, a transform set, an access list"],
    "ch09_crypto_llq": [
        "'address' does not belong in set peer",
        "transform set 'ESP-3DES-SHA'",
        "IPv6 access list '102'",
        "IPv6 packets are not routed",
    ],
    "ch09_preclassify_map": [
        "IPv6 access list 'ACL_IPV6_1'",
        "transform set 'set1'",
        "IPv6 packets are not routed",
        "policy map 'policy1'",
    ],
    "ch09_preclassify_tunnel": [
        "IPv6 packets are not routed",
        "policy map 'policy1'",
        "lacks its tunnel source and destination",
        "IPsec profile 'greprof'",
    ],
    "ch09_llq_groups": [
        "GigabitEthernet0/2/0 has no IPv6 address",
        "a peer takes no prefix length",
        "transform set 'aes-192'",
        "IPv6 access list '102'",
        "an IPv6 address is missing",
        "service-policy input p2 has no effect in qfp run",
        "IPv6 packets are not routed",
        "policy map 'p1'",
    ],
    "ch10_vti": [
        "IPv6 packets are not routed",
        "line protocol stays down: Ethernet2/0 has no IPv6 address",
        "interface 'Ethernet2/0'",
        "no route to peer 3ffe:2002::",
    ],
}
WEAK_TWINS = (
    "ch02_map_windows", "ch04_router_a", "ch04_router_b", "ch06_nat_keepalive", "ch07_df_bit", "ch09_crypto_llq",
)  # fmt: skip


def guide(name: str) -> Configuration:
    """Load one of the examples."""
    return load(FOLDER / f"{name}.cfg")


def without_keys(value: Any) -> Any:
    """Copy a model with every key and kept line's text left out, so that a masked print can be compared."""
    if isinstance(value, Secret | bytes):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        if type(value).__name__ == "Kept":
            return len(value.text.split()), len(value.children)  # type: ignore[attr-defined]
        return [
            without_keys(getattr(value, each.name)) for each in fields(value) if each.compare and each.name != "masked"
        ]
    if isinstance(value, dict):
        return {key: without_keys(each) for key, each in value.items()}
    return [without_keys(each) for each in value] if isinstance(value, list) else value


@pytest.mark.req("BASE-1", "BASE-2")
@pytest.mark.parametrize("name", NAMES)
def test_loads_without_errors(name: str) -> None:
    cfg = guide(name)
    assert cfg.ok, [str(issue) for issue in cfg.errors]


@pytest.mark.req("BASE-2")
@pytest.mark.parametrize("name", sorted(WARNINGS))
def test_says_what_is_missing(name: str) -> None:
    warnings = [issue.message for issue in guide(name).issues if issue.severity == "warning"]
    assert len(warnings) == len(WARNINGS[name]), warnings
    for expected, message in zip(WARNINGS[name], warnings, strict=True):
        assert expected in message


@pytest.mark.req("BASE-2")
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-fixed")])
def test_twins_lack_nothing(name: str) -> None:
    expected = ["weak"] if name.removesuffix("-fixed") in WEAK_TWINS else []
    found = [issue for issue in guide(name).issues if issue.hint not in (NEEDS_IKE, LAB_DOES)]
    assert [issue.message[:4] for issue in found] == expected


@pytest.mark.req("BASE-2")
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    cfg = guide(name)
    assert loads(render(cfg, show_keys=True)) == cfg
    masked = loads(render(cfg))
    assert masked.ok
    assert without_keys(masked) == without_keys(cfg)
    assert loads(render(masked, show_keys=True)) == masked


@pytest.mark.req("BASE-2")
@pytest.mark.parametrize("name", NAMES)
def test_keys_are_masked(name: str) -> None:
    cfg = guide(name)
    secrets = [key.key for key in cfg.isakmp.keys] + [
        key.key for ring in cfg.isakmp.keyrings.values() for key in ring.keys
    ]
    shown = render(cfg) + repr(cfg) + repr(cfg.isakmp) + repr(cfg.kept) + "".join(map(str, cfg.issues))
    shown += "".join(row.text for row in cfg.lines if row.verdict != "comment")
    words = shown.split()
    for secret in [*secrets, "$1$4GZB$L2Y0mnenOCNAu0jgFxebT/", "$1$KxKv$cbqKsZtQTLJLGNP.tErFZl"]:
        assert str(secret) not in words


@pytest.mark.req("BASE-1")
@pytest.mark.parametrize("name", NAMES)
def test_indentation_does_not_matter(name: str) -> None:
    """Children of sections that are kept unread are the exception: nothing but indentation tells them."""
    text = (FOLDER / f"{name}.cfg").read_text()
    flat = "\n".join(line.strip() for line in text.splitlines() if line.strip() != "shutdown" or name[:4] != "ch04")
    text = "\n".join(line for line in text.splitlines() if line.strip() != "shutdown" or name[:4] != "ch04")
    assert loads(flat) == loads(text)


def test_anti_replay_global() -> None:
    cfg = guide("ch02_global_window")
    assert cfg.hostname == "VPN-Gateway1"
    assert cfg.ipsec.replay_window == 1024
    assert cfg.transform_sets["basic"].cipher == "des-cbc"
    assert cfg.transform_sets["basic"].esp_auth == "hmac-md5-96"
    (entry,) = cfg.crypto_maps["mymap"].entries
    assert (entry.seq, entry.acl, entry.replay_window) == (10, "101", None)
    assert cfg.interfaces["Serial11/0"].crypto_map == "mymap"
    (ace,) = cfg.access_lists["101"].entries
    assert ace.permit and ace.protocol is None
    assert ace.src == (int(IPv4Address("192.168.1.0")), 0xFFFFFF00)
    assert cfg.access_lists["101"].remarks[0].text == "Crypto ACL"
    assert cfg.routes[0].prefix == ip_network("0.0.0.0/0")


@pytest.mark.req("AR-3")
def test_anti_replay_per_entry() -> None:
    cfg = guide("ch02_map_windows")
    assert [(entry.seq, entry.replay_window) for entry in cfg.crypto_maps["ETH0"].entries] == [
        (17, 0),
        (18, None),
        (19, None),
    ]
    assert cfg.ipsec.replay_window == 64
    assert [kept.text for kept in cfg.kept if kept.text.startswith("line vty")] == ["line vty 0 4"]
    assert next(kept for kept in cfg.kept if kept.text == "line vty 0 4").children == [" password ww", " logi"]


@pytest.mark.req("BASE-3")
def test_bundle_of_ah_and_esp() -> None:
    for name in ("ch04_router_a", "ch04_router_b"):
        cfg = guide(name)
        found = cfg.transform_sets["auth2"]
        assert found.transforms == ["ah-sha-hmac", "esp-des", "esp-sha-hmac"]
        assert (found.ah, found.cipher, found.esp_auth) == ("hmac-sha1-96", "des-cbc", "hmac-sha1-96")
        assert (found.key_bits, found.mode, found.comp_lzs) == (64, "tunnel", False)
        assert cfg.isakmp.invalid_spi_recovery
        assert cfg.isakmp.policies[1].lifetime == 180
        assert cfg.isakmp.keys[0].key_type == 0
    assert cfg.interfaces["FastEthernet1/3"].shutdown
    assert not cfg.interfaces["FastEthernet1/0"].shutdown


@pytest.mark.req("BASE-1")
def test_dead_peer_detection() -> None:
    cfg = guide("ch05_peers")
    alive = cfg.isakmp.keepalive
    assert alive is not None and (alive.interval, alive.retry, alive.periodic) == (10, 2, True)
    assert cfg.crypto_maps["green"].entries[0].peers == [Peer(IPv4Address(f"10.0.0.{i}")) for i in (1, 2, 3)]
    policy = guide("ch05_periodic_dpd").isakmp.policies[1]
    assert (policy.encryption, policy.key_bits, policy.authentication, policy.group) == ("aes", 128, "pre-share", 14)
    assert guide("ch05_periodic_dpd").isakmp.keys[0].network == ip_network("10.2.80.0/24")


@pytest.mark.req("BASE-1")
def test_nat_keepalive() -> None:
    assert guide("ch06_nat_keepalive").isakmp.nat_keepalive == 20


@pytest.mark.req("BASE-1")
def test_df_bit() -> None:
    cfg = guide("ch07_df_bit")
    assert cfg.ipsec.df_bit == "clear"
    assert [each.df_bit for each in cfg.interfaces.values()] == ["copy", None, None]
    assert "crypto ipsec df-bit clear" in render(cfg).splitlines()
    assert " crypto ipsec df-bit copy" in render(cfg).splitlines()


@pytest.mark.req("BASE-1")
def test_idle_timers() -> None:
    assert guide("ch08_idle_global").ipsec.idle_time == 600
    assert guide("ch08_idle_map").crypto_maps["test"].entries[0].idle_time == 600
    entry = guide("ch08_idle_map-fixed").crypto_maps["test"].entries[0]
    assert entry.idle_default and entry.peers[0].default and not entry.peers[1].default


@pytest.mark.req("BASE-1")
def test_quality_of_service() -> None:
    cfg = guide("ch09_crypto_llq")
    assert cfg.class_maps["c1"].matches[0].values == (0, 1, 2, 3)
    first, second = cfg.policy_maps["p1"].classes
    assert first.priority and first.priority_percent == 10 and second.remaining_percent == 3
    port = cfg.interfaces["GigabitEthernet0/0/1"]
    assert (port.service_policy_out, port.ipv6_crypto_map) == ("p1", "CMAP_1")
    assert cfg.crypto_maps["CMAP_1"].family == 6
    assert cfg.crypto_maps["CMAP_1"].entries[0].peers[0].address == IPv6Address("2001:DB8:FFFF::1")
    assert guide("ch09_preclassify_map").crypto_maps["CM_V6"].entries[0].qos_pre_classify
    tunnel = guide("ch09_preclassify_tunnel").interfaces["Tunnel1"]
    assert tunnel.qos_pre_classify and tunnel.ipv6_mtu == 1400
    assert tunnel.tunnel is not None and tunnel.tunnel.protection_profile == "greprof"
    groups = guide("ch09_llq_groups-fixed")
    assert groups.platform.llq_qos_groups == [1, 49]
    assert [each.set_qos_group for each in groups.policy_maps["p1"].classes] == [20, 49, 77]
    assert groups.crypto_maps["cmap"].entries[0].lifetime_seconds == 600


@pytest.mark.req("BASE-1")
def test_virtual_tunnel_interface() -> None:
    cfg = guide("ch10_vti")
    port = cfg.interfaces["Tunnel0"]
    assert port.ipv6_enable and port.addresses6[0].eui64
    tunnel = port.tunnel
    assert tunnel is not None
    assert (tunnel.source, tunnel.mode, tunnel.protection_profile) == ("Ethernet2/0", "ipsec ipv6", "profile0")
    assert tunnel.destination == IPv6Address("3FFE:2002::A8BB:CCFF:FE01:2C02")
    assert cfg.profiles["profile0"].transform_sets == ["Trans1"]
    assert cfg.isakmp.keepalive is not None and (cfg.isakmp.keepalive.interval, cfg.isakmp.keepalive.retry) == (30, 30)


@pytest.mark.req("AR-3")
def test_single_commands_of_the_steps() -> None:
    cfg = guide("steps")
    assert cfg.ipsec.replay_window == 0 and cfg.ipsec.multi_sn and not cfg.ipsec.nat_udp_encapsulation
    assert cfg.crypto_maps["ETH0"].entries[0].replay_window == 0
    assert cfg.interfaces["Tunnel0"].ip_mtu == 1500
    policy = cfg.isakmp.policies[15]
    assert (policy.hash, policy.group, policy.encryption, policy.lifetime) == ("md5", 2, "3des", 43200)
    assert cfg.isakmp.peers[0].client_endpoint == "ipv6 3ffe:2002::a8bb:ccff:fe01:2c02"
    assert cfg.isakmp.profiles["profile1"].self_identity == "address ipv6"
    hints = [issue.hint for issue in cfg.issues if "set-transform-set" in issue.message]
    assert hints == ["did you mean 'set transform-set'?"]


def test_equality_sees_every_field() -> None:
    cfg = guide("ch10_vti")
    assert replace(cfg.ipsec, replay_window=128) != cfg.ipsec
