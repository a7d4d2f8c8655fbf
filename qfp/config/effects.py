"""What a configuration asks for and the data plane leaves out, or does in a way of its own.

`qfp check` and `qfp run` say the same, because both say what is found here, from the configuration alone: nothing is
compiled and no table is built for it. What depends on options of a run (a key file that does not fit) is said there.

Three kinds: what is left out (a warning), what only negotiations by IKE or a lab would heed (a note, and the line
counts as kept), and what is done otherwise than the words say (a warning for less, a note for a choice).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from . import nat_exemption, tunnel_effects, unmodelled
from .defaults import default_of
from .ends import TunnelWay, default_peer, is_modelled, own_address, tunnel_way
from .load import Load
from .model import (
    AccessList,
    Ace,
    ClassMatch,
    Configuration,
    CryptoMap,
    CryptoMapEntry,
    Interface,
    PolicyMap,
    SaPolicy,
    TunnelConfig,
)
from .routing import Routing
from .static_route import StaticRoute

LAB_DOES = "qfp lab does"  # hint of what `qfp run` leaves out and a lab does
NEEDS_IKE = "IKE is not modelled"
_TELLS_DSCP = ("dscp", "precedence", "any", "class-map")
_IP_VERSIONS = ("ip", "ipv6")


class _Unused(NamedTuple):
    """A field of a section that nothing in the data plane looks at."""

    attribute: str
    words: str
    hint: str = ""
    severity: str = "warning"


_GLOBAL = (
    _Unused("ipv4_deny", "'ipv4-deny' has no effect: a deny goes on with the next map entry, as with jump"),
    _Unused("dummy_pps", "no dummy packets are sent"),
    _Unused("dummy_seconds", "no dummy packets are sent"),
    _Unused("ecn", "ECN is combined as RFC 6040 says, whatever 'security-association ecn' asks for"),
    _Unused("nat_udp_encapsulation", "'nat-transparency udp-encapsulation' has no effect", NEEDS_IKE, "note"),
    _Unused("nat_spi_matching", "'nat-transparency spi-matching' has no effect", NEEDS_IKE, "note"),
)  # fmt: skip
_ISAKMP = (
    _Unused("enabled", "'no crypto isakmp enable' has no effect: SAs are derived all the same", NEEDS_IKE),
    _Unused("keepalive", "'crypto isakmp keepalive' has no effect", NEEDS_IKE, "note"),
    _Unused("nat_keepalive", "'crypto isakmp nat keepalive' has no effect: none is sent", NEEDS_IKE, "note"),
    _Unused("invalid_spi_recovery", "'invalid-spi-recovery' has no effect: the sender is not told", NEEDS_IKE, "note"),
)
_PLATFORM = (
    _Unused("reassemble_transit", "'reassemble transit' has no effect: fragments in transit stay as they are"),
    _Unused("fips_mode", "'platform ipsec fips-mode' has no effect: no algorithm is refused for it"),
    _Unused("gdoi_accept_both", "'platform ipsec gdoi accept-both' has no effect: GETVPN is not modelled"),
    _Unused("llq_qos_groups", "'platform ipsec llq' has no effect in qfp run: nothing waits there", LAB_DOES, "note"),
)  # fmt: skip
_INTERFACE = (_Unused("vlan", "no packet is told apart by its VLAN, and none leaves with a tag", "", "note"),)
_VTI = tuple(
    _Unused(name, f"'tunnel {words}' has no effect on a VTI")
    for name, words in (("key", "key"), ("checksum", "checksum"), ("sequence", "sequence-datagrams"), ("ttl", "ttl"),
                        ("tos", "tos"))
)  # fmt: skip
_SHARED = (_Unused("shared", "'shared' has no effect: every VTI has SAs of its own"),)
_ENTRY = (_Unused("reverse_route", "reverse-route adds no route", "add the routes to what the peer protects"),)
_PROFILE = (_Unused("responder_only", "'responder-only' has no effect", NEEDS_IKE, "note"), *_ENTRY)
_TRANSFORM_SET = (
    _Unused("mode_require", "'require' has no effect: what cannot go in transport mode goes in tunnel mode"),
)


def check(load: Load) -> None:
    """Report everything; issues are added to the load."""
    cfg = load.cfg
    routing = Routing(cfg, {name: row for row, name in enumerate(cfg.interfaces)})
    _unused(load)
    _filters(load)
    _left_out(load)
    nat_exemption.check(load)
    for row, interface in enumerate(cfg.interfaces.values()):
        _policies(load, interface)
        if interface.tunnel is not None and not interface.is_template:
            _tunnel(load, routing, interface, row)
    tunnel_effects.check(load)
    _crypto_maps(load)
    _transform_choices(load)
    for route in routing.unresolved:
        _not_installed(load, route)
    _classes(load)


def _not_installed(load: Load, route: StaticRoute) -> None:
    name = route.interface
    if route.dhcp and name is None:
        return  # told where it stands
    if name is None:
        told = f"no route reaches next hop {route.next_hop}: {route.prefix} is not installed"
    elif name.startswith("Null"):
        told = f"routes to {name} are not modelled: {route.prefix} is not installed, another route may take its packets"
    else:
        found = load.cfg.interfaces.get(name)
        why = "is not there" if found is None else "never comes up" if found.is_template else "is shut down"
        told = f"{route.prefix} is not installed: {name} {why}"
    load.warn(told, line=route.line)


# --- fields that nothing looks at


def _unused(load: Load) -> None:
    cfg = load.cfg
    _fields(load, cfg.ipsec, _GLOBAL)
    _fields(load, cfg.isakmp, _ISAKMP)
    _fields(load, cfg.platform, _PLATFORM)
    for interface in cfg.interfaces.values():
        _fields(load, interface, _INTERFACE, interface.line)
        if interface.tunnel is not None and interface.tunnel.is_vti:
            _fields(load, interface.tunnel, (*_SHARED, *_VTI), interface.line)
    for maps in (cfg.crypto_maps, cfg.dynamic_maps):
        for entry in (entry for each in maps.values() for entry in each.entries):
            _fields(load, entry, _ENTRY, entry.line)
            _inside_vrf(load, entry)
    for profile in cfg.profiles.values():
        _fields(load, profile, _PROFILE, profile.line)
    for found in cfg.transform_sets.values():
        _fields(load, found, _TRANSFORM_SET, found.line)


def _filters(load: Load) -> None:
    """Access groups and traffic filters: a kind of their own, though they are read."""
    for interface in load.cfg.interfaces.values():
        for attribute in ("access_group_in", "access_group_out", "traffic_filter_in", "traffic_filter_out"):
            if getattr(interface, attribute) is not None:
                line, column = load.marked(interface, attribute) or (interface.line, 1)
                load.left_out.setdefault(unmodelled.FILTER, {})[line] = column


def _left_out(load: Load) -> None:
    """One issue for each kind of what is kept and not modelled, at the first line of it."""
    for kind, places in load.left_out.items():
        first, *others = lines = sorted(places)
        named = ", ".join(map(str, lines[: unmodelled.LINES_NAMED]))
        more = ", …" if len(lines) > unmodelled.LINES_NAMED else ""
        count = f" ({len(lines)} lines: {named}{more})" if others else ""
        load.report(kind.severity, f"{kind.words} {kind.meaning}{count}", line=first, column=places[first])


def _fields(load: Load, section: Any, unused: tuple[_Unused, ...], line: int = 0) -> None:
    """Report the fields of a section that differ from their defaults."""
    for each in unused:
        if getattr(section, each.attribute) != default_of(section, each.attribute):
            at, column = load.marked(section, each.attribute) or (line, 1)
            load.report(each.severity, each.words, each.hint, line=at, column=column)
            if each.severity == "note":
                load.without_effect.add(at)


def _inside_vrf(load: Load, entry: CryptoMapEntry) -> None:
    profile = load.cfg.isakmp.profiles.get(entry.isakmp_profile or "")
    if profile is not None and profile.vrf is not None:
        line, column = load.place(entry, "ISAKMP profile", profile.name)
        load.warn(f"ISAKMP profile '{profile.name}' does not move traffic into VRF {profile.vrf}",
                  "decrypted packets are routed in the VRF of their interface", line=line, column=column)  # fmt: skip


# --- service policies


def _policies(load: Load, interface: Interface) -> None:
    """Queues, policers and marks stand in labs alone, those of input policies of tunnels nowhere."""
    for name, way in ((interface.service_policy_in, "input"), (interface.service_policy_out, "output")):
        if name is None or name not in load.cfg.policy_maps:
            continue
        line, column = load.marked(interface, f"service_policy_{'in' if way == 'input' else 'out'}") or (0, 0)
        if way == "output":
            told = f"service-policy output {name}: qfp run does not queue, police or mark"
            if load.cfg.ipsec.multi_sn:
                told += ", its queues choose sequence-number spaces"
            load.report("note", told, LAB_DOES, line=line, column=column)
        elif interface.tunnel is not None:
            told = f"service-policy input {name} has no effect on {interface.name}"
            load.warn(told, "neither qfp run nor qfp lab polices or marks what comes out of a tunnel", line=line,
                      column=column)  # fmt: skip
        else:
            told = f"service-policy input {name} has no effect in qfp run: it neither polices nor marks"
            load.warn(told, LAB_DOES, line=line, column=column)


# --- tunnels


def _tunnel(load: Load, routing: Routing, interface: Interface, row: int) -> None:
    tunnel = interface.tunnel
    assert tunnel is not None
    if not is_modelled(tunnel):
        load.warn(f"{interface.name}: tunnel mode {tunnel.mode} is not modelled",
                  "packets routed into it are dropped as UNSUPPORTED_TUNNEL", line=interface.line)  # fmt: skip
        return
    if tunnel.is_multipoint:
        tunnel_effects.multipoint(load, routing, interface, row)
        return
    way = tunnel_way(load.cfg, routing, interface, row)
    if way.looped:
        load.warn(f"{interface.name}: the route to its destination {way.peer} leads into it",
                  "its packets are dropped as TUNNEL_LOOP: give the destination a longer prefix",
                  line=interface.line)  # fmt: skip
    missing = _missing(tunnel, way)
    if missing and not interface.shutdown:
        load.warn(f"{interface.name}: line protocol stays down: {missing}", line=interface.line)


def _missing(tunnel: TunnelConfig, way: TunnelWay) -> str:
    """What an incomplete tunnel lacks, if it is nothing that the checks of references have named."""
    if tunnel.source is None or tunnel.destination is None or way.complete:
        return ""
    if way.peer is None:
        return f"the address of {tunnel.destination} is not known"
    if way.local is None:
        return f"{tunnel.source} has no IPv{way.peer.version} address"
    if way.under < 0:
        return f"no route to its destination {way.peer}"
    return "a VTI needs tunnel protection" if tunnel.protection_profile is None else ""


# --- crypto maps


def _applied(cfg: Configuration) -> Iterator[tuple[CryptoMap, int, Interface]]:
    """(crypto map, family, interface with its local address), each once."""
    seen: set[tuple[str, str]] = set()
    for interface in cfg.interfaces.values():
        for family, name in ((4, interface.crypto_map), (6, interface.ipv6_crypto_map)):
            found = cfg.crypto_maps.get(name or "")
            if found is None:
                continue
            home = cfg.interfaces.get(found.local_address or "", interface)
            if (found.name, home.name) not in seen:
                seen.add((found.name, home.name))
                yield found, family, home


def _crypto_maps(load: Load) -> None:
    cfg = load.cfg
    told: set[tuple[int, str]] = set()
    for found, family, home in _applied(cfg):
        lists = cfg.access_lists if family == 4 else cfg.ipv6_access_lists
        for entry in found.entries:
            where = f"crypto map {found.name} {entry.seq}"
            acl = lists.get(entry.acl or "")
            if entry.dynamic_map:
                _once(load, told, entry.line, f"{where}: a dynamic map has no peer until one calls",
                      "its traffic gets no SA")  # fmt: skip
                continue
            peer = default_peer(entry, cfg)
            if peer is not None and own_address(cfg, home, peer.version) is None:
                _once(load, told, entry.line, f"{where}: {home.name} has no IPv{peer.version} address",
                      "give it one: until then the entry protects nothing")  # fmt: skip
            elif peer is not None and acl is not None:
                _entries(load, told, where, acl)


def _entries(load: Load, told: set[tuple[int, str]], where: str, acl: AccessList) -> None:
    """Conditions in an access list by which no SA is chosen (RFC 4301 4.4.1.1)."""
    for ace in acl.rules:
        words = ace.beyond_selectors
        if words:
            effect = ("this permit entry protects whatever its addresses, protocol and ports match" if ace.permit
                      else "this deny entry exempts nothing")  # fmt: skip
            _once(load, told, ace.line, f"{where}: an SA is not chosen by {_listed(words)}", effect)


def _once(load: Load, told: set[tuple[int, str]], line: int, message: str, hint: str) -> None:
    if (line, message) not in told:
        told.add((line, message))
        load.warn(message, hint, line=line)


def _listed(words: list[str]) -> str:
    *head, last = dict.fromkeys(words)
    return f"{', '.join(head)} or {last}" if head else last


def _transform_choices(load: Load) -> None:
    """With several transform sets IKE would agree on one; auto keying takes the first that there is."""
    cfg = load.cfg
    sections: list[tuple[str, SaPolicy]] = [(f"IPsec profile {each.name}", each) for each in cfg.profiles.values()]
    for found in cfg.crypto_maps.values():
        sections += [(f"crypto map {found.name} {entry.seq}", entry) for entry in found.entries]
    for where, section in sections:
        defined = [name for name in section.transform_sets if name in cfg.transform_sets]
        kinds = {(*each.transforms, each.mode) for each in (cfg.transform_sets[name] for name in defined)}
        if len(kinds) > 1:
            line, column = load.place(section, "transform set", defined[0])
            load.report("note", f"{where} lists {len(defined)} transform sets: auto keying takes '{defined[0]}'",
                        "the other end must put an equal one first, else its packets find NO_SA here",
                        line=line, column=column)  # fmt: skip


# --- classes


def _classes(load: Load) -> None:
    """Conditions of class maps that are not looked at."""
    cfg = load.cfg
    lists = {str(match.values[0]) for each in cfg.class_maps.values() for match in each.matches
             if match.kind == "access-group" and match.values}  # fmt: skip
    for name in sorted(lists):
        for acl in (cfg.access_lists.get(name), cfg.ipv6_access_lists.get(name)):
            for ace in acl.rules if acl is not None else ():
                _class_entry(load, name, ace)
    if not cfg.ipsec.multi_sn:
        return
    used = dict.fromkeys(each.service_policy_out or "" for each in cfg.interfaces.values())
    for policy in (cfg.policy_maps[name] for name in used if name in cfg.policy_maps):
        _unseen(load, policy, set())


def _class_entry(load: Load, name: str, ace: Ace) -> None:
    if ace.others:
        words = _listed([each.split()[0] for each in ace.others])
        load.warn(f"class maps do not look at {words}: this entry of access list {name} matches nothing in them",
                  line=ace.line)  # fmt: skip


def _unseen(load: Load, policy: PolicyMap, seen: set[str]) -> None:
    """Classes whose packets the DSCP alone does not tell: sequence-number spaces go by it (AR-8)."""
    seen.add(policy.name)
    for each in policy.classes:
        child = load.cfg.policy_maps.get(each.service_policy or "")
        if child is not None and child.name not in seen:
            _unseen(load, child, seen)
        found = load.cfg.class_maps.get(each.name)
        kinds = {match.kind for match in found.matches if not _by_dscp(match)} if found else set()
        if kinds:
            line, column = load.place(policy, "class map", each.name)
            load.warn(f"class {each.name} of policy {policy.name} looks at {', '.join(sorted(kinds))}",
                      "its packets share the sequence-number space of class-default: spaces go by DSCP",
                      line=line, column=column)  # fmt: skip


def _by_dscp(match: ClassMatch) -> bool:
    """Whether the DSCP and the IP version alone tell a condition."""
    return match.kind in _TELLS_DSCP or (match.kind == "protocol" and str(match.values[0]) in _IP_VERSIONS)
