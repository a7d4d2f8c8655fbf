"""Model to text: what `show running-config` prints, in IOS's order, and what loads to an equal model."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Interface
from typing import Any

from .defaults import default_of
from .lex import mask_secrets
from .model import (
    ClassMap,
    ClassPolicy,
    Configuration,
    IcmpLimits,
    Interface,
    Kept,
    Network,
    PolicyMap,
    TunnelConfig,
    Vrf,
)  # fmt: skip
from .printing_acl import access_lists, object_groups
from .printing_crypto import crypto_lines
from .route_list import PlainRoute, Routes, route_of
from .static_route import StaticRoute

_HEAD = ("version", "service", "boot", "boot-start-marker", "boot-end-marker", "enable", "aaa", "clock", "license")


def render(cfg: Configuration, show_keys: bool = False) -> str:
    """Return the configuration as text. A `!` stands between blocks; the last line is `end`."""
    blocks: list[list[str]] = [
        *(_kept(each, show_keys) for each in cfg.kept if _is_head(each)),
        [f"hostname {cfg.hostname}"] if cfg.hostname != "Router" else [],
        *(_vrf(vrf) for vrf in cfg.vrfs.values()),
        _hosts(cfg),
        ["ipv6 unicast-routing"] if cfg.unicast_routing6 else [],
        _icmp(cfg.icmp),
        _platform(cfg),
        *object_groups(cfg),
        *(_class_map(each) for each in cfg.class_maps.values()),
        *(_policy_map(each) for each in cfg.policy_maps.values()),
        *crypto_lines(cfg, show_keys),
        *(list(_interface(each, show_keys)) for each in cfg.interfaces.values()),
        [_route(route_of(row) if isinstance(row, PlainRoute) else row) for row in Routes.of(cfg.routes).rows()],
        *access_lists(cfg),
        *(_kept(each, show_keys) for each in cfg.kept if not _is_head(each)),
    ]
    return "\n!\n".join("\n".join(block) for block in blocks if block) + "\n!\nend\n"


def _is_head(kept: Kept) -> bool:
    words = kept.text.lower().removeprefix("no ").split()
    return bool(words) and words[0] in _HEAD


def _kept(kept: Kept, show_keys: bool) -> list[str]:
    lines = [kept.text, *kept.children]
    return [*(lines if show_keys else map(mask_secrets, lines)), *kept.block]


def _vrf(vrf: Vrf) -> list[str]:
    rd = [f" rd {vrf.rd}"] if vrf.rd else []
    families = [f" address-family ipv{family}" for family in vrf.families if not vrf.old_style]
    head = f"ip vrf {vrf.name}" if vrf.old_style else f"vrf definition {vrf.name}"
    return [head, *rd, *(f" {line}" for line in vrf.kept), *families]


def _hosts(cfg: Configuration) -> list[str]:
    lines = []
    for name, addresses in cfg.hosts.items():
        for address in addresses:
            lines.append(f"{'ip' if address.version == 4 else 'ipv6'} host {name} {address}")
    return lines


def _icmp(limits: IcmpLimits) -> list[str]:
    """What differs from the defaults; the command without `df` sets both."""
    usual, lines = IcmpLimits(), []
    for words, value, known in (
        ("", limits.unreachable, usual.unreachable),
        (" df", limits.unreachable_df, limits.unreachable),
    ):
        if value != known:
            lines.append(f"ip icmp rate-limit unreachable{words} {value}" if value
                         else f"no ip icmp rate-limit unreachable{words}")  # fmt: skip
    if (limits.interval6, limits.bucket6) != (usual.interval6, usual.bucket6):
        lines.append(f"ipv6 icmp error-interval {limits.interval6} {limits.bucket6}")
    return lines


def _platform(cfg: Configuration) -> list[str]:
    flags = {
        "reassemble transit": cfg.platform.reassemble_transit,
        "arlog-supress": cfg.platform.arlog_suppress,
        "fips-mode": cfg.platform.fips_mode,
        "gdoi accept-both": cfg.platform.gdoi_accept_both,
    }
    groups = [f"platform ipsec llq qos-group {group}" for group in cfg.platform.llq_qos_groups]
    return groups + [f"platform ipsec {words}" for words, on in flags.items() if on]


# --- QoS


def _class_map(found: ClassMap) -> list[str]:
    lines = [f"class-map match-{'any' if found.match_any else 'all'} {found.name}"]
    if found.description:
        lines.append(f" description {found.description}")
    for each in found.matches:
        words = ["match", *(["not"] if each.negate else []), *(["ip"] if each.family == 4 else [])]
        words += [each.kind] if each.kind != "other" else []
        if each.kind == "access-group" and not str(each.values[0]).isdigit():
            words.append("name")
        lines.append(" " + " ".join([*words, *map(str, each.values)]))
    return lines


def _policy_map(policy: PolicyMap) -> list[str]:
    lines = [f"policy-map {policy.name}"]
    if policy.description:
        lines.append(f" description {policy.description}")
    for each in policy.classes:
        lines += [f" class {each.name}", *(f"  {line}" for line in _class(each))]
    return lines


def _class(found: ClassPolicy) -> Iterator[str]:
    if found.priority:
        yield from _priority(found)
    for attribute, words in (
        ("bandwidth_kbps", "bandwidth"),
        ("bandwidth_percent", "bandwidth percent"),
        ("remaining_percent", "bandwidth remaining percent"),
        ("remaining_ratio", "bandwidth remaining ratio"),
        ("set_dscp", "set dscp"),
        ("set_precedence", "set precedence"),
        ("set_qos_group", "set qos-group"),
        ("service_policy", "service-policy"),
    ):
        if getattr(found, attribute) is not None:
            yield f"{words} {getattr(found, attribute)}"
    if found.shape_bps is not None or found.shape_percent is not None:
        yield _shape(found)
    if found.queue_limit is not None:
        yield f"queue-limit {found.queue_limit} {found.queue_limit_unit}"
    if found.fair_queue:
        yield "fair-queue"
    if found.police is not None:
        yield from _police(found)
    yield from (each.text for each in found.kept)


def _shape(found: ClassPolicy) -> str:
    words = ["shape", "peak" if found.shape_peak else "average"]
    words += ["percent", str(found.shape_percent)] if found.shape_percent is not None else [str(found.shape_bps)]
    unit = " ms" if found.shape_percent is not None else ""
    words += [f"{each}{unit}" for each in (found.shape_burst, found.shape_excess) if each is not None]
    return " ".join(words)


def _priority(found: ClassPolicy) -> Iterator[str]:
    level = f" level {found.priority_level}" if found.priority_level != 1 else ""
    if found.priority_percent is not None:
        burst = f" {found.priority_burst}" if found.priority_burst is not None else ""
        yield f"priority{level} percent {found.priority_percent}{burst}"
    else:
        amounts = [amount for amount in (found.priority_kbps, found.priority_burst) if amount is not None]
        yield " ".join([f"priority{level}", *map(str, amounts)])


def _police(found: ClassPolicy) -> Iterator[str]:
    police = found.police
    assert police is not None
    unit = "" if police.burst_unit == "bytes" else f" {police.burst_unit}"
    bursts = (("bc", police.burst), ("be", police.excess_burst))
    if police.packets:
        parts = [f"rate {police.rate} pps", *([f"peak-rate {police.peak_rate} pps"] if police.peak_rate else [])]
    elif police.percent is not None:
        parts = [f"cir percent {police.percent}"]
        parts += [f"pir percent {police.peak_percent}"] if police.peak_percent else []
    else:
        parts = [f"cir {police.rate}", *([f"pir {police.peak_rate}"] if police.peak_rate is not None else [])]
    parts[1:1] = [f"{word} {value}{unit}" for word, value in bursts if value is not None]
    yield " ".join(["police", *parts])
    yield f" conform-action {police.conform}"
    yield f" exceed-action {police.exceed}"
    if police.violate:
        yield f" violate-action {police.violate}"


# --- interfaces


_BINDINGS = (
    ("service_policy_in", "service-policy input {}"),
    ("service_policy_out", "service-policy output {}"),
    ("access_group_in", "ip access-group {} in"),
    ("access_group_out", "ip access-group {} out"),
    ("traffic_filter_in", "ipv6 traffic-filter {} in"),
    ("traffic_filter_out", "ipv6 traffic-filter {} out"),
    ("crypto_map", "crypto map {}"),
    ("ipv6_crypto_map", "ipv6 crypto map {}"),
    ("df_bit", "crypto ipsec df-bit {}"),
    ("fragmentation", "crypto ipsec fragmentation {}-encryption"),
)
_BEFORE = (
    ("description", "description {}"),
    ("bandwidth", "bandwidth {}"),
    ("mac", "mac-address {}"),
    ("mtu", "mtu {}"),
    ("vrf", "vrf forwarding {}"),
    ("unnumbered", "ip unnumbered {}"),
    ("ip_mtu", "ip mtu {}"),
    ("ipv6_mtu", "ipv6 mtu {}"),
    ("tcp_adjust_mss", "ip tcp adjust-mss {}"),
    ("ipv6_tcp_adjust_mss", "ipv6 tcp adjust-mss {}"),
)


def _interface(found: Interface, show_keys: bool) -> Iterator[str]:
    kind = " type tunnel" if found.is_template and found.tunnel != TunnelConfig() else ""
    yield f"interface {found.name}{kind}"
    yield from (f" {line}" for line in _simple(found, _BEFORE))
    if found.vlan is not None:
        inner = f" second-dot1q {found.inner_vlan}" if found.inner_vlan else ""
        yield f" encapsulation dot1q {found.vlan}{inner}{' native' if found.native_vlan else ''}"
    if not found.addresses4 and found.unnumbered is None:
        yield " no ip address"
    for at, address in enumerate(found.addresses4):
        yield f" ip address {address.ip} {address.netmask}{' secondary' if at else ''}"
    lines: list[str] = []
    for entry in found.addresses6:
        shown = f"{entry.general} {entry.bits}" if entry.bits else _address6(entry.interface, entry.link_local)
        line = f" ipv6 address {shown}{' eui-64' if entry.eui64 else ''}"
        if line not in lines:  # one of several addresses under a general prefix
            lines.append(line)
            yield line
    if found.ipv6_enable:
        yield " ipv6 enable"
    if not found.unreachables:
        yield " no ip unreachables"
    if not found.unreachables6:
        yield " no ipv6 unreachables"
    if found.shutdown:
        yield " shutdown"
    if found.tunnel is not None:
        yield from (f" {line}" for line in _tunnel(found.tunnel))
    if found.qos_pre_classify:
        yield " qos pre-classify"
    for kept in found.kept:
        yield from (f" {line}" for line in _kept(kept, show_keys))
    yield from (f" {line}" for line in _simple(found, _BINDINGS))


def _simple(section: Any, table: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Render fields whose default is None."""
    for attribute, pattern in table:
        value = getattr(section, attribute)
        if value is not None:
            yield pattern.format(value)


def _address6(prefix: IPv6Interface, link_local: bool) -> str:
    if link_local and prefix.network.prefixlen == 128:
        return f"{prefix.ip} link-local"
    return str(prefix)


def _tunnel(tunnel: TunnelConfig) -> Iterator[str]:
    yield from _simple(tunnel, (("source", "tunnel source {}"),))
    if tunnel.mode != default_of(tunnel, "mode"):
        yield f"tunnel mode {tunnel.mode}"
    for attribute, pattern in (
        ("destination", "tunnel destination {}"),
        ("key", "tunnel key {}"),
        ("vrf", "tunnel vrf {}"),
        ("ttl", "tunnel ttl {}"),
        ("tos", "tunnel tos {}"),
    ):
        yield from _simple(tunnel, ((attribute, pattern),))
    yield from _nhrp(tunnel)
    for attribute, words in (
        ("checksum", "tunnel checksum"),
        ("sequence", "tunnel sequence-datagrams"),
        ("path_mtu_discovery", "tunnel path-mtu-discovery"),
    ):
        if getattr(tunnel, attribute):
            yield words
    if tunnel.protection_profile is not None:
        how = f" ikev2-profile {tunnel.ikev2_profile}" if tunnel.ikev2_profile else ""
        how += f" isakmp-profile {tunnel.isakmp_profile}" if tunnel.isakmp_profile else ""
        how += " shared" if tunnel.shared else ""
        yield f"tunnel protection ipsec profile {tunnel.protection_profile}{how}"


def _nhrp(tunnel: TunnelConfig) -> Iterator[str]:
    for each in tunnel.nhrp_maps:
        host = each.network.prefixlen == each.network.max_prefixlen
        prefix = str(each.network.network_address) if host and each.network.version == 4 else _prefix(each.network)
        yield f"{'ip' if each.network.version == 4 else 'ipv6'} nhrp map {prefix} {each.peer}"
    yield from (f"ip nhrp map multicast {peer}" for peer in tunnel.nhrp_multicast)


def _prefix(network: Network) -> str:
    if isinstance(network, IPv4Network):
        return f"{network.network_address} {network.netmask}"
    return str(network)


def _route(route: StaticRoute) -> str:
    words = ["ip" if route.family == 4 else "ipv6", "route", *(["vrf", route.vrf] if route.vrf else [])]
    words += [_prefix(route.prefix), *(str(each) for each in (route.interface, route.next_hop) if each is not None)]
    words += ["dhcp"] if route.dhcp else []
    if route.hop_vrf is not None:
        words += ["global"] if route.family == 4 else ["nexthop-vrf", route.hop_vrf or "default"]
    words += [str(route.distance)] if route.distance != default_of(route, "distance") else []
    words += ["tag", str(route.tag)] if route.tag is not None else []
    words += ["name", route.name] if route.name is not None else []
    words += ["track", str(route.track)] if route.track is not None else []
    words += ["multicast"] if route.multicast else []
    return " ".join([*words, *(["permanent"] if route.permanent else [])])
