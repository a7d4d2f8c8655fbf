"""NAT exemption: rules of `ip nat` that would translate traffic of a crypto map before it is matched.

A packet from an `ip nat inside` interface that leaves by an `ip nat outside` one has its source translated first, and
is then looked up in the crypto map, whose access list names the source as it was: so it leaves in clear, and no line
of the configuration is wrong. The packets are what an entry of the crypto map permits and a rule translates.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from .arguments import canonical_interface
from .boxes import Box, Entry, Filter, Part, entry_of, minus
from .load import Load
from .model import AccessList, Configuration, Interface, Kept, NatRule

NAMED = 3  # sets of packets that a warning names
WORK_MAX = 5 * 10**8  # pairs of entries that are compared
_WHOLE = (0, 0xFFFFFFFF)


class Clause(NamedTuple):
    """A numbered part of a route map. filters: of `match ip address`, None without one; interfaces: of `match
    interface`; exact: it asks for nothing else."""

    permit: bool
    filters: list[Filter] | None
    interfaces: list[str]
    exact: bool

    def matches(self, box: Box) -> list[Part]:
        if self.filters is None:
            return [Part(box, self.exact)]
        parts = [part for each in self.filters for part in each.permitted(box)]
        return [Part(part.box, part.exact and self.exact) for part in parts]


class Exposed(NamedTuple):
    """Packets of a crypto map entry that a rule translates. parts: exact ones surely, others perhaps."""

    where: str
    interface: str
    rule: NatRule
    parts: list[Part]


def check(load: Load) -> None:
    """One warning for each rule and entry, at the rule's line."""
    cfg = load.cfg
    if not cfg.nat.rules or not cfg.nat.roles:
        return
    if _work(cfg) > WORK_MAX:
        load.warn("rules of ip nat are not compared with crypto access lists: there are too many entries",
                  line=cfg.nat.rules[0].line)  # fmt: skip
        return
    for each in exposed(cfg):
        _tell(load, each)


def _tell(load: Load, found: Exposed) -> None:
    sure = all(part.exact for part in found.parts)
    named = ", ".join(str(part.box) for part in found.parts[:NAMED])
    more = f" and {len(found.parts) - NAMED} more" if len(found.parts) > NAMED else ""
    rule, what = found.rule, "translates" if sure else "may translate"
    if rule.route_map is not None:
        remedy = f"let route-map {rule.route_map} deny them first"
    elif rule.static is not None or load.cfg.access_lists[str(rule.acl)].standard:
        remedy = "exempt them by a route-map that denies them"
    else:
        remedy = f"let access list {rule.acl} deny them first"
    load.warn(f"ip nat {what} packets of {found.where} before they are matched: {named}{more}",
              f"a router sends them in clear on {found.interface}, or protects them as another source's; qfp "
              f"translates nothing: {remedy}", line=rule.line)  # fmt: skip


def _work(cfg: Configuration) -> int:
    lists = cfg.access_lists
    crypto = sum(len(lists[entry.acl].entries) for each in cfg.crypto_maps.values() for entry in each.entries
                 if entry.acl in lists)  # fmt: skip
    return crypto * sum(len(acl.entries) for acl in lists.values() if acl.name in _named(cfg))


def _named(cfg: Configuration) -> set[str]:
    """Access lists that rules name, by themselves or by a route map."""
    maps = {each.route_map for each in cfg.nat.rules if each.route_map}
    found = (kept for kept in cfg.kept if _head(kept)[:1] == ["route-map"] and _head(kept)[1] in maps)
    words = [line.split() for kept in found for line in kept.children]
    return {each.acl for each in cfg.nat.rules if each.acl} | {word for line in words for word in line[3:]}


def exposed(cfg: Configuration) -> Iterator[Exposed]:
    """Every crypto map entry on an outside interface with every rule that translates packets of it."""
    known: dict[str, Filter] = {name: Filter.of(acl) for name, acl in cfg.access_lists.items() if name in _named(cfg)}
    elsewhere: dict[str | None, list[Box]] = {}
    own = {(int(each.ip), int(each.ip)) for port in cfg.interfaces.values() for each in port.addresses4}
    maps = {rule.route_map: rule.route_map for rule in cfg.nat.rules}
    clauses = {key: _clauses(cfg, name, known) if name is not None else [] for key, name in maps.items()}
    for interface in cfg.interfaces.values():
        found = cfg.crypto_maps.get(interface.crypto_map or "")
        roles = cfg.nat.roles.get(interface.name, set())
        if found is None or not roles & {"outside", "enable"}:
            continue
        for entry in found.entries:
            acl = cfg.access_lists.get(entry.acl or "")
            if acl is None or entry.dynamic_map:
                continue
            profile = cfg.isakmp.profiles.get(entry.isakmp_profile or found.isakmp_profile or "")
            vrf = profile.vrf if profile is not None and profile.vrf is not None else interface.vrf
            protected: list[Part] | None = None
            for rule in cfg.nat.rules:
                if not _applies(cfg, rule, vrf, roles):
                    continue
                if protected is None:
                    if vrf not in elsewhere:
                        elsewhere[vrf] = _elsewhere(cfg, vrf)
                    asked = _protected(acl, elsewhere[vrf])
                    protected = [each for each in asked if each.box.src not in own]  # its own packets come in nowhere
                parts = _translated(cfg, rule, protected, interface, known, clauses)
                if parts:
                    yield Exposed(f"crypto map {found.name} {entry.seq}", interface.name, rule, parts)


def _applies(cfg: Configuration, rule: NatRule, vrf: str | None, roles: set[str]) -> bool:
    """Whether packets of a VRF can come in where a rule looks, and leave where it looks too."""
    if rule.identity or rule.vrf != vrf or ("enable" if rule.both else "outside") not in roles:
        return False
    return any(_is_inside(cfg, each, rule.both) for each in cfg.interfaces.values() if each.vrf == vrf)


def _is_inside(cfg: Configuration, interface: Interface, both: bool) -> bool:
    return ("enable" if both else "inside") in cfg.nat.roles.get(interface.name, set()) and not interface.is_down


def _protected(acl: AccessList, elsewhere: list[Box]) -> list[Part]:
    """What a crypto access list protects, but for sources that are not inside. As the data plane has it, conditions by
    which no SA is chosen do not narrow a permit entry, and a deny entry with one exempts nothing."""
    entries = []
    for ace in acl.entries:
        if ace.permit or not ace.beyond_selectors:
            each = entry_of(ace)
            entries.append(Entry(each.permit, each.boxes, each.exact or bool(ace.beyond_selectors)))
    denies = any(not each.permit for each in entries)
    asked = Filter(entries) if denies else None
    out: dict[Part, None] = {}
    for each in entries:
        for box in each.boxes if each.permit else ():
            parts = asked.permitted(box) if asked is not None else [Part(box, each.exact)]
            for part in parts:
                out.update(dict.fromkeys(Part(rest, part.exact) for rest in minus([part.box], elsewhere)))
    return list(out)


def _elsewhere(cfg: Configuration, vrf: str | None) -> list[Box]:
    """Sources that do not come in by an inside interface: networks of the others, and static routes out of those. What
    no line places anywhere may come from inside."""
    inside: list[tuple[IPv4Network, str]] = []
    others: list[tuple[IPv4Network, str]] = []
    for interface in cfg.interfaces.values():
        if interface.vrf == vrf and not interface.is_down:
            roles = cfg.nat.roles.get(interface.name, set())
            place = inside if roles & {"inside", "enable"} else others
            place += [(each.network, interface.name) for each in interface.addresses4]
    names = {name for _, name in others}
    for route in cfg.routes:
        if route.family != 4 or route.vrf != vrf or route.prefix.prefixlen == 0:
            continue
        home = route.interface or next((name for net, name in others if route.next_hop in net), None)
        if home in names and isinstance(route.prefix, IPv4Network):
            others.append((route.prefix, str(home)))
    return minus((_sources(net) for net, _ in others), (_sources(net) for net, _ in inside))


def _sources(network: IPv4Network) -> Box:
    return Box((int(network[0]), int(network[-1])), _WHOLE)


def _translated(
    cfg: Configuration, rule: NatRule, protected: list[Part], egress: Interface, known: dict[str, Filter],
    clauses: dict[str | None, list[Clause]],
) -> list[Part]:  # fmt: skip
    """What a rule translates of the packets of an entry that leave by an interface."""
    kept = [each.static for each in cfg.nat.rules if each.identity and each.vrf == rule.vrf and each.static is not None]
    out: dict[Part, None] = {}
    for part in protected:
        boxes = minus([part.box], kept) if rule.static is None else [part.box]
        for box in boxes:
            whole = box if rule.static is None else box.meet(rule.static)
            if whole is None:
                continue
            found = [Part(whole, True)]
            if rule.route_map is not None:
                found = _by_map(clauses[rule.route_map], whole, egress.name)
            elif rule.acl is not None:
                found = known[rule.acl].permitted(whole) if rule.acl in known else []
            out.update(dict.fromkeys(Part(each.box, each.exact and part.exact) for each in found))
    return list(out)


# --- route maps


def _head(kept: Kept) -> list[str]:
    return kept.text.split()


def _clauses(cfg: Configuration, name: str, known: dict[str, Filter]) -> list[Clause]:
    """The parts of a route map in the order of their numbers."""
    found: dict[int, Clause] = {}
    for kept in cfg.kept:
        words = _head(kept)
        if words[:1] != ["route-map"] or len(words) < 2 or words[1] != name:
            continue
        number = int(words[3]) if len(words) > 3 and words[3].isdigit() else 10
        found[number] = _clause("deny".startswith(words[2].lower()) if len(words) > 2 else False, kept.children, known)
    return [found[number] for number in sorted(found)]


def _clause(deny: bool, lines: list[str], known: dict[str, Filter]) -> Clause:
    filters: list[Filter] | None = None
    interfaces: list[str] = []
    exact = True
    for line in lines:
        words = line.split()
        if words[:3] == ["match", "ip", "address"] and words[3:4] != ["prefix-list"]:
            filters = (filters or []) + [known[each] for each in words[3:] if each in known]
        elif words[:2] == ["match", "interface"]:
            interfaces += [canonical_interface(each) or each for each in words[2:]]
        elif words[:1] == ["match"]:
            exact = False
    return Clause(not deny, filters, interfaces, exact)


def _by_map(clauses: list[Clause], box: Box, egress: str) -> list[Part]:
    """What the first clause that matches lets through; no clause, no translation."""
    left, found = [Part(box, True)], []
    for clause in clauses:
        if clause.interfaces and egress not in clause.interfaces:
            continue
        matched = [Part(each.box, each.exact and part.exact) for part in left for each in clause.matches(part.box)]
        if clause.permit:
            found += matched
        sure = [each.box for each in matched if each.exact]
        left = [Part(rest, part.exact) for part in left for rest in minus([part.box], sure)]
        if any(not each.exact for each in matched):
            left = [Part(part.box, False) for part in left]
    return found
