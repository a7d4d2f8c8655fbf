"""What can only be judged when the whole configuration is known: references, completeness, and what cannot go together.

A name that is not defined leaves what names it incomplete, with a warning, as on IOS (it may be defined later), however
like a defined one it is. What leaves in clear for it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from .ends import default_peer, interface_addresses
from .issues import Issue
from .load import Load
from .model import (
    VTI_OVERLAYS,
    AccessList,
    Address,
    ClassMap,
    ClassPolicy,
    Configuration,
    CryptoMap,
    CryptoMapEntry,
    Interface,
    IsakmpProfile,
    Keyring,
    Network,
    PreSharedKey,
    SaPolicy,
    SessionKey,
    TunnelConfig,
)  # fmt: skip
from .nearest import Nearest
from .route_list import PlainRoute, Routes
from .transforms import KEY_BITS, WEAK, TransformSet

_OTHER_MODES_REFUSED = "tunnel protection is for GRE, multipoint GRE and 'ipsec' modes"
PROTECTED_MODES = ("gre ip", "gre ipv6", "gre multipoint", "gre multipoint ipv6", *VTI_OVERLAYS)


class _Names:
    """Defined names by kind, with an index of each that is made when a name is missing."""

    def __init__(self, load: Load) -> None:
        cfg = load.cfg
        self.load = load
        self.known: dict[str, Iterable[str]] = {
            "transform set": cfg.transform_sets,
            "IPsec profile": cfg.profiles,
            "ISAKMP profile": cfg.isakmp.profiles,
            "crypto map": cfg.crypto_maps,
            "dynamic map": cfg.dynamic_maps,
            "access list": cfg.access_lists,
            "IPv6 access list": cfg.ipv6_access_lists,
            "class map": cfg.class_maps,
            "policy map": cfg.policy_maps,
            "keyring": cfg.isakmp.keyrings,
            "vrf": cfg.vrfs,
            "interface": cfg.interfaces,
        }
        self.indexes: dict[str, Nearest] = {}

    def check(self, section: Any, kind: str, name: str | None, typed: str = "", effect: str = "") -> bool:
        """Tell whether a name is defined; report it if not. `typed` is the kind in the command table, if another."""
        if name is None or name in self.known[kind]:
            return True
        if kind not in self.indexes:
            self.indexes[kind] = Nearest(self.known[kind])
        near = self.indexes[kind].find(name)
        line, column = self.load.place(section, typed or kind, name)
        hint = "; ".join(filter(None, (f"did you mean '{near}'?" if near else "", effect)))
        before, self.load.rule = self.load.rule, "undefined-reference"
        self.load.warn(f"{kind} '{name}' is not defined", hint, line=line, column=column)
        self.load.rule = before
        return False


def check(load: Load) -> None:
    """Run every check; issues are added to the load."""
    names = _Names(load)
    for check_part in (_check_interfaces, _check_maps, _check_profiles, _check_isakmp, _check_qos, _check_routing):
        check_part(load, names)
    _check_circles(load)
    _check_df_bits(load)
    _check_weak(load)
    _check_peers(load)


# --- crypto maps


def _maps(cfg: Configuration) -> Iterator[tuple[CryptoMap, CryptoMapEntry, bool]]:
    for dynamic, maps in ((False, cfg.crypto_maps), (True, cfg.dynamic_maps)):
        for each in maps.values():
            for entry in each.entries:
                yield each, entry, dynamic


def _check_maps(load: Load, names: _Names) -> None:
    cfg = load.cfg
    for owner in cfg.crypto_maps.values():
        _check_local_address(load, names, owner)
        names.check(load.cfg, "ISAKMP profile", owner.isakmp_profile)
    for owner, entry, dynamic in _maps(cfg):
        if entry.dynamic_map is not None:
            names.check(load.cfg, "dynamic map", entry.dynamic_map)
            continue
        _check_sa_policy(names, entry)
        _check_acl(load, names, owner, entry)
        if entry.kind == "gdoi":
            _check_gdoi(load, owner, entry)
        else:
            _check_complete(load, owner, entry, dynamic)
        if entry.kind == "ipsec-manual":
            _check_manual(load, entry)


def _check_local_address(load: Load, names: _Names, owner: CryptoMap) -> None:
    """The interface of `local-address`, by name or by its address."""
    if owner.local_address is None or owner.local_address in load.cfg.interfaces:
        return
    try:
        address = ip_address(owner.local_address)
    except ValueError:
        names.check(load.cfg, "interface", owner.local_address)
        return
    homes = [each for each in load.cfg.interfaces.values()
             if address in [own.ip for own in interface_addresses(load.cfg, each)]]  # fmt: skip
    if homes:
        load.warn(f"crypto map '{owner.name}': local-address {address} is taken as {homes[0].name}, which has it",
                  f"write crypto map {owner.name} local-address {homes[0].name}", line=0)  # fmt: skip
        owner.local_address = homes[0].name
    else:
        load.error(f"crypto map '{owner.name}': no interface has local-address {address}",
                   "name the interface whose address peers see", line=0)  # fmt: skip


def _check_sa_policy(names: _Names, section: SaPolicy) -> None:
    for name in section.transform_sets:
        names.check(section, "transform set", name)
    names.check(section, "ISAKMP profile", section.isakmp_profile)


def _check_acl(load: Load, names: _Names, owner: CryptoMap, entry: CryptoMapEntry) -> None:
    cfg = load.cfg
    kind = "access list" if owner.family == 4 else "IPv6 access list"
    other: dict[str, AccessList] = cfg.ipv6_access_lists if owner.family == 4 else cfg.access_lists
    own: dict[str, AccessList] = cfg.access_lists if owner.family == 4 else cfg.ipv6_access_lists
    if entry.acl is None:
        return
    line, column = load.place(entry, "crypto access list", entry.acl)
    if entry.acl in other and entry.acl not in own:
        load.error(f"'{entry.acl}' is not an {kind}, which this crypto map needs", line=line, column=column)
        load.lose(entry, "crypto-map", line)
    elif entry.acl not in own:
        names.check(entry, kind, entry.acl, "crypto access list", _in_clear(load.cfg, owner, entry))
    elif own[entry.acl].standard:
        told = f"access list {entry.acl} is not an extended one, which a crypto map needs"
        load.error(told, line=line, column=column)
        load.lose(entry, "crypto-map", line)


def _in_clear(cfg: Configuration, owner: CryptoMap, entry: CryptoMapEntry) -> str:
    """What an incomplete entry lets out in clear."""
    users = [each.name for each in cfg.interfaces.values() if owner.name in (each.crypto_map, each.ipv6_crypto_map)]
    if not users:
        return ""
    acl = (cfg.access_lists if owner.family == 4 else cfg.ipv6_access_lists).get(entry.acl or "")
    what = "what it should protect" if acl is None else f"what access list {acl.name} permits"
    return f"{what} leaves {', '.join(users[:4])} in clear"


def _check_complete(load: Load, owner: CryptoMap, entry: CryptoMapEntry, dynamic: bool) -> None:
    missing = [
        what
        for what, there in (
            ("a peer", bool(entry.peers) or dynamic),
            ("a transform set", bool(entry.transform_sets)),
            ("an access list", entry.acl is not None or dynamic),
        )
        if not there
    ]
    if missing:
        clear = "" if missing == ["a transform set"] else _in_clear(load.cfg, owner, entry)
        load.warn(f"entry {entry.seq} of crypto map '{owner.name}' lacks {', '.join(missing)}",
                  "; ".join(filter(None, ("it stays without effect until it is complete", clear))),
                  line=entry.line)  # fmt: skip
    for peer in entry.peers:
        if peer.hostname is not None and not load.cfg.resolve(peer.hostname):
            clear = _in_clear(load.cfg, owner, entry) if default_peer(entry, load.cfg) is None else ""
            hint = "; ".join(filter(None, ("define it with ip host", clear)))
            load.warn(f"host '{peer.hostname}' is not known", hint, line=entry.line)
        if peer.address is not None and peer.address.version != owner.family:
            told = f"peer {peer.address} of crypto map '{owner.name}' is not an IPv{owner.family} address"
            load.error(told, line=entry.line)
            load.lose(entry, "crypto-map", entry.line)


def _check_gdoi(load: Load, owner: CryptoMap, entry: CryptoMapEntry) -> None:
    if load.cfg.ipsec.multi_sn:
        load.error(
            f"crypto map '{owner.name}' uses GETVPN, which cannot go with 'security-association multi-sn'",
            "remove one of the two",
            line=entry.line,
        )
    else:
        load.warn(f"entry {entry.seq} of crypto map '{owner.name}': GETVPN is not modelled", line=entry.line)


def _check_manual(load: Load, entry: CryptoMapEntry) -> None:
    if len(entry.peers) > 1 or len(entry.transform_sets) > 1:
        load.error("an ipsec-manual entry has one peer and one transform set", line=entry.line)
    found = load.cfg.transform_sets.get(entry.transform_sets[0]) if entry.transform_sets else None
    if found is None:
        return
    protos = [proto for proto, used in (("ah", found.ah), ("esp", found.cipher)) if used]
    given = {(each.direction, each.proto): each for each in entry.session_keys}
    for direction in ("inbound", "outbound"):
        for proto in protos:
            keys = given.get((direction, proto))
            if keys is None:
                load.warn(f"entry {entry.seq} lacks its {direction} {proto} session key", line=entry.line)
            elif not keys.masked:
                _check_key_lengths(load, entry, found, keys)


def _check_key_lengths(load: Load, entry: CryptoMapEntry, found: TransformSet, keys: SessionKey) -> None:
    salt = 4 if found.cipher in ("aes-gcm", "aes-gmac") else 0  # RFC 4106 8.1, RFC 4543 3.2: behind the key
    auth = found.ah if keys.proto == "ah" else found.esp_auth
    wanted = {
        "cipher": (found.key_bits // 8 + salt if keys.proto == "esp" else 0, len(keys.cipher_key)),
        "authenticator": (KEY_BITS[auth] // 8 if auth else 0, len(keys.auth_key)),
    }
    for part, (need, have) in wanted.items():
        if need != have:
            load.error(
                f"the {keys.direction} {keys.proto} {part} key of entry {entry.seq} has {have} octets, "
                f"transform set '{found.name}' needs {need}",
                line=entry.line,
            )
    if salt and keys.proto == "esp":
        load.warn("a combined-mode cipher must not be used with fixed keys (RFC 4106 section 1)", line=entry.line)


# --- profiles and interfaces


def _check_profiles(load: Load, names: _Names) -> None:
    for profile in load.cfg.profiles.values():
        _check_sa_policy(names, profile)
        if not profile.transform_sets:
            load.warn(f"IPsec profile '{profile.name}' lacks a transform set", line=profile.line)


def _check_interfaces(load: Load, names: _Names) -> None:
    cfg = load.cfg
    for each in cfg.interfaces.values():
        names.check(each, "vrf", each.vrf)
        names.check(each, "interface", each.unnumbered)
        for policy in (each.service_policy_in, each.service_policy_out):
            names.check(each, "policy map", policy, effect="no policy is applied")
        for acl in (each.access_group_in, each.access_group_out):
            names.check(each, "access list", acl, effect="everything is permitted")
        for acl in (each.traffic_filter_in, each.traffic_filter_out):
            names.check(each, "IPv6 access list", acl, effect="everything is permitted")
        for family, name in ((4, each.crypto_map), (6, each.ipv6_crypto_map)):
            effect = f"everything leaves {each.name} in clear"
            if names.check(each, "crypto map", name, effect=effect) and name is not None:
                _check_map_family(load, each, cfg.crypto_maps[name], family)
        if each.tunnel is not None:
            _check_tunnel(load, names, each, each.tunnel)
    _check_overlap(load)


def _check_map_family(load: Load, interface: Interface, found: CryptoMap, family: int) -> None:
    if found.family != family:
        line, column = load.place(interface, "crypto map", found.name)
        command = "ipv6 crypto map" if found.family == 6 else "crypto map"
        told = f"crypto map '{found.name}' is one for IPv{found.family}"
        load.error(told, f"write {command}", line=line, column=column)
        load.lose(interface, "interface", line)


def _check_tunnel(load: Load, names: _Names, interface: Interface, tunnel: TunnelConfig) -> None:
    if isinstance(tunnel.source, str):
        names.check(interface, "interface", tunnel.source)
    if isinstance(tunnel.destination, str) and not load.cfg.resolve(tunnel.destination):
        load.warn(f"host '{tunnel.destination}' is not known", "define it with ip host", line=interface.line)
    missing = [what for what in ("source", "destination") if getattr(tunnel, what) is None]
    if tunnel.is_multipoint and tunnel.destination is not None:
        load.warn(f"{interface.name}: a multipoint tunnel takes no destination: it has no effect", line=interface.line)
        missing = []
    if tunnel.is_multipoint and "destination" in missing:
        missing.remove("destination")
    if missing and not interface.is_template:
        load.warn(f"{interface.name} lacks its tunnel {' and '.join(missing)}", "it stays down", line=interface.line)
    names.check(interface, "vrf", tunnel.vrf)
    outer = 6 if tunnel.mode.startswith("ipsec ipv6") or tunnel.mode.endswith("ipv6") else 4
    fixed = tunnel.mode in PROTECTED_MODES and tunnel.mode != "ipsec dual-overlay"
    for end in (tunnel.source, tunnel.destination):
        if fixed and not isinstance(end, str | None) and end.version != outer:
            load.error(f"{end} is not an IPv{outer} address, as tunnel mode {tunnel.mode} needs", line=interface.line)
    if tunnel.protection_profile is not None:
        _check_protection(load, names, interface, tunnel)


def _check_protection(load: Load, names: _Names, interface: Interface, tunnel: TunnelConfig) -> None:
    name = tunnel.protection_profile
    line, column = load.place(interface, "IPsec profile", str(name))
    if tunnel.mode not in PROTECTED_MODES:
        load.error(f"tunnel mode {tunnel.mode} cannot be protected", _OTHER_MODES_REFUSED, line=line, column=column)
    if tunnel.shared and tunnel.mode in ("gre ipv6", "ipsec ipv6"):
        load.error("IPv6 tunnels do not take 'shared'", "remove the word", line=line, column=column)
    if not names.check(interface, "IPsec profile", name, effect=f"{interface.name} stays down"):
        return
    for set_name in load.cfg.profiles[str(name)].transform_sets:
        found = load.cfg.transform_sets.get(set_name)
        if tunnel.is_vti and found is not None and found.mode == "transport" and found.line:
            load.warn(f"transform set '{set_name}' has mode transport: {interface.name} uses tunnel mode, as every VTI",
                      "write mode tunnel", line=found.line)  # fmt: skip


def _check_overlap(load: Load) -> None:
    """IOS refuses overlapping addresses in one table; the guide's routers have them, so that it is a warning here."""
    seen: list[tuple[int, int, Interface]] = []
    tables: dict[str | None, list[tuple[int, int, Interface]]] = {}
    for each in load.cfg.interfaces.values():
        for address in each.addresses4:
            first, last = int(address.network.network_address), int(address.network.broadcast_address)
            tables.setdefault(each.vrf, seen if each.vrf is None else []).append((first, last, each))
    for ranges in tables.values():
        ranges.sort(key=lambda found: (found[0], -found[1]))
        widest: tuple[int, int, Interface] | None = None
        for first, last, each in ranges:
            if widest is not None and first <= widest[1] and each is not widest[2]:
                load.warn(f"addresses of {each.name} overlap with those of {widest[2].name}",
                          "the longest prefix, then the earlier interface, is used", line=each.line)  # fmt: skip
            if widest is None or last > widest[1]:
                widest = (first, last, each)


def _check_df_bits(load: Load) -> None:
    """Interfaces that share a crypto map by `local-address` must treat the DF bit alike (DF-2)."""
    cfg = load.cfg
    for owner in cfg.crypto_maps.values():
        if owner.local_address is None:
            continue
        users = [each for each in cfg.interfaces.values() if owner.name in (each.crypto_map, each.ipv6_crypto_map)]
        settings = {each.name: each.df_bit or cfg.ipsec.df_bit for each in users}
        if len(set(settings.values())) > 1:
            told = ", ".join(f"{name}: {value}" for name, value in list(settings.items())[:4])
            load.error(f"interfaces that share crypto map '{owner.name}' differ in df-bit ({told}): their packets share"
                       f" SAs, and what {users[0].name} says holds for all", "give all the same crypto ipsec df-bit",
                       line=users[-1].line)  # fmt: skip


# --- IKE


def _check_isakmp(load: Load, names: _Names) -> None:
    cfg = load.cfg
    for profile in cfg.isakmp.profiles.values():
        names.check(profile, "keyring", profile.keyring)
        names.check(profile, "vrf", profile.vrf)
        _check_local(names, profile)
    for keyring in cfg.isakmp.keyrings.values():
        names.check(cfg, "vrf", keyring.vrf)
        _check_local(names, keyring)
    if not any(address.version == 6 for address in _peer_addresses(cfg)):
        return
    policies = cfg.isakmp.policies.values()
    usable = [policy for policy in policies if policy.authentication == "pre-share"]
    for policy in policies:
        if policy.authentication != "pre-share":
            load.report("warning" if usable else "error",
                        f"policy {policy.priority}: {policy.authentication} cannot be used with IPv6 peers",
                        "write authentication pre-share", line=policy.line)  # fmt: skip


def _check_local(names: _Names, section: Keyring | IsakmpProfile) -> None:
    if isinstance(section.local_address, str):
        names.check(section, "interface", section.local_address)
    names.check(section, "vrf", section.local_vrf)


def _peer_addresses(cfg: Configuration) -> Iterator[Address]:
    """Yield the address of every peer that IKE is to negotiate with."""
    for _, entry, _ in _maps(cfg):
        if entry.kind == "ipsec-isakmp":
            for peer in entry.peers:
                yield from [peer.address] if peer.address is not None else cfg.resolve(str(peer.hostname))
    for each in cfg.interfaces.values():
        if each.tunnel is not None and each.tunnel.protection_profile is not None:
            end = each.tunnel.destination
            if end is not None:
                yield from cfg.resolve(end) if isinstance(end, str) else [end]


class _Prefixes:
    """A set of prefixes that answers whether one of them holds an address, in time that does not grow with the set."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.by_length: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            key = (network.version, network.prefixlen)
            self.by_length.setdefault(key, set()).add(int(network.network_address))

    def add_routes(self, cfg: Configuration) -> None:
        """Add the prefixes of all static routes."""
        for route in Routes.of(cfg.routes).rows():
            if isinstance(route, PlainRoute):
                self.by_length.setdefault((route.family, route.length), set()).add(route.network)
            else:
                network = route.prefix
                key = (network.version, network.prefixlen)
                self.by_length.setdefault(key, set()).add(int(network.network_address))

    def holds(self, address: Address) -> bool:
        width = address.max_prefixlen
        return any(
            version == address.version and int(address) >> (width - length) << (width - length) in found
            for (version, length), found in self.by_length.items()
        )


def _check_peers(load: Load) -> None:
    """Every peer should have a route, and a key if keys are what policies ask for."""
    cfg = load.cfg
    peers = dict.fromkeys(_peer_addresses(cfg))
    if not peers:
        return
    keys: list[PreSharedKey] = [*cfg.isakmp.keys, *(key for ring in cfg.isakmp.keyrings.values() for key in ring.keys)]
    by_name = any(key.hostname for key in keys)
    shared = any(policy.authentication == "pre-share" for policy in cfg.isakmp.policies.values())
    keyed = _Prefixes(key.network for key in keys if key.network is not None)
    connected = [address.network for each in cfg.interfaces.values() for address in each.addresses4]
    connected6 = [address.interface.network for each in cfg.interfaces.values() for address in each.addresses6]
    routed = _Prefixes([*connected, *connected6])
    routed.add_routes(cfg)
    addressed = {4: bool(connected), 6: bool(connected6)}
    for address in peers:
        if shared and not by_name and not keyed.holds(address):
            who = f"{'ipv6 ' if address.version == 6 else ''}{address}"
            load.warn(f"no pre-shared key for peer {address}", f"add crypto isakmp key KEY address {who}", line=0)
        if addressed[address.version] and not routed.holds(address):
            load.warn(f"no route to peer {address}", "add an interface address or a static route", line=0)


def _check_weak(load: Load) -> None:
    """One warning a configuration about weak algorithms, at the first of them."""
    found = [(each.line, weak) for each in load.cfg.transform_sets.values() for weak in each.weak]
    for policy in load.cfg.isakmp.policies.values():
        weak = [policy.encryption.upper()] if policy.encryption in ("des", "3des") else []
        weak += ["MD5"] if policy.hash == "md5" else []
        found += [(policy.line, each) for each in weak]
    if found:
        used = {weak for _, weak in found}
        listed = ", ".join(name for name in dict.fromkeys(WEAK.values()) if name in used)
        load.warn(f"weak algorithms are in use: {listed}", "use esp-aes or esp-gcm with sha256", line=min(found)[0])


# --- QoS and routing


def _leads_to(name: str, goal: str, inner: dict[str, list[str]], seen: set[str]) -> bool:
    """Whether one map contains another, by way of others too."""
    if name == goal:
        return True
    seen.add(name)
    return any(_leads_to(each, goal, inner, seen) for each in inner.get(name, ()) if each not in seen)


def _check_circles(load: Load) -> None:
    """No policy map or class map may contain itself."""
    cfg = load.cfg
    policies = {p.name: [(each, each.service_policy) for each in p.classes if each.service_policy]
                for p in cfg.policy_maps.values()}  # fmt: skip
    maps = {m.name: [(m, str(c.values[0])) for c in m.matches if c.kind == "class-map" and c.values]
            for m in cfg.class_maps.values()}  # fmt: skip
    for kind, found in (("policy map", policies), ("class map", maps)):
        inner = {name: [child for _, child in children] for name, children in found.items()}
        for name, children in found.items():
            for section, child in children:
                if _leads_to(child, name, inner, set()):
                    line, column = load.place(section, kind, child)
                    load.error(f"{kind} '{name}' contains itself", "take this line away", line=line, column=column)
                    _cut(section, child)
                    inner[name] = [each for each in inner[name] if each != child]


def _cut(section: ClassPolicy | ClassMap, child: str) -> None:
    """Leave out the line that closes a circle."""
    if isinstance(section, ClassPolicy):
        section.service_policy = None
    else:
        section.matches[:] = [each for each in section.matches if (each.kind, each.values) != ("class-map", (child,))]
        section.refused = True


def _check_qos(load: Load, names: _Names) -> None:
    cfg = load.cfg
    for policy in cfg.policy_maps.values():
        for each in policy.classes:
            if each.name != "class-default":
                names.check(policy, "class map", each.name)
            names.check(each, "policy map", each.service_policy)
    for class_map in cfg.class_maps.values():
        for condition in class_map.matches:
            name = str(condition.values[0]) if condition.values else None
            if condition.kind == "class-map":
                names.check(class_map, "class map", name)
            elif condition.kind == "access-group" and name not in cfg.ipv6_access_lists:
                names.check(class_map, "access list", name, "class access list", "the class matches nothing")


def _check_routing(load: Load, names: _Names) -> None:
    cfg = load.cfg
    for route in Routes.of(cfg.routes).rows():
        if isinstance(route, PlainRoute):
            continue
        if route.vrf is not None and route.vrf not in cfg.vrfs:
            names.check(cfg, "vrf", route.vrf)
        if route.interface is not None and not route.interface.startswith("Null"):
            names.check(cfg, "interface", route.interface)
    if not cfg.unicast_routing6:
        with6 = [each for each in cfg.interfaces.values() if each.addresses6 or each.ipv6_enable]
        if with6:
            load.warn("IPv6 packets are not routed", "write ipv6 unicast-routing", line=with6[0].line)


# --- two configurations


def pair_issues(one: Configuration, other: Configuration) -> list[Issue]:
    """Return what two routers' configurations have wrong together: tunnels to each other with different MTUs (PF-5)."""
    issues = []
    ends = {(_source(other, each), _destination(other, each)): each for each in _tunnels(other)}
    for each in _tunnels(one):
        peer = ends.get((_destination(one, each), _source(one, each)))
        if peer is None:
            continue
        for what, mine, theirs in (("ip mtu", each.ip_mtu, peer.ip_mtu), ("ipv6 mtu", each.ipv6_mtu, peer.ipv6_mtu)):
            if mine != theirs:
                told = f"{what} of {each.name} is {mine or 'the default'}, that of its peer {other.hostname} "
                told += str(theirs or "the default")
                issues.append(Issue("warning", one.file, each.line, 1, told, "give both ends the same"))
    return issues


def _tunnels(cfg: Configuration) -> list[Interface]:
    return [each for each in cfg.interfaces.values() if each.tunnel and each.tunnel.source and each.tunnel.destination]


def _source(cfg: Configuration, interface: Interface) -> Address | None:
    assert interface.tunnel is not None
    source = interface.tunnel.source
    if not isinstance(source, str):
        return source
    found = cfg.interfaces.get(source)
    if found is None:
        return None
    if interface.tunnel.mode in ("gre ipv6", "ipsec ipv6"):
        return found.addresses6[0].interface.ip if found.addresses6 else None
    return found.addresses4[0].ip if found.addresses4 else None


def _destination(cfg: Configuration, interface: Interface) -> Address | None:
    assert interface.tunnel is not None
    destination = interface.tunnel.destination
    if not isinstance(destination, str):
        return destination
    return next(iter(cfg.resolve(destination)), None)
