"""Object groups: named sets of addresses or services, and the access list entries that they stand in, expanded.

An entry that names groups stands for one entry for every pair of members: `permit object-group WEB object-group A any`.
Members may be groups. Addresses of a group are merged into the fewest prefixes before they are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Network,
    ip_network,
    summarize_address_range,
)
from typing import Any

from .acl import PROTOCOLS, EntryReader, Wrong
from .grammar import Args, Command
from .load import Load, describe, written
from .model import AccessList, Ace, Configuration, GroupMember, Network, ObjectGroup, Service

MOST_ENTRIES = 100_000  # that one access list may expand to
_WITH_PORTS = {"tcp": (6,), "udp": (17,), "tcp-udp": (6, 17), "sctp": (132,)}
_PROTOCOL_WORDS = sorted({*PROTOCOLS, *_WITH_PORTS} - {"icmp"})
_NETWORKS = ("network", "v6-network")


# --- commands ---------------------------------------------------------------------------------------------------


def _group(load: Load, cfg: Configuration, args: Args) -> ObjectGroup | None:
    name = args["name"]
    kind = next(each for each in ("network", "service", "v6-network", "v6-service") if each in args.keywords)
    if args.no:
        cfg.object_groups.pop(name, None)
        return None
    known = cfg.object_groups.setdefault(name, ObjectGroup(name, kind, line=load.statement.line))
    if known.kind != kind:
        load.error(f"object group '{name}' is one of kind {known.kind} already", column=args.column("name"))
        return ObjectGroup(name, kind)
    return known


def _member(load: Load, group: ObjectGroup, args: Args, member: GroupMember) -> None:
    if args.no:
        load.retain(group.members, [each for each in group.members if each.text != member.text])
    else:
        load.add_once(group.members, member)


def _text(load: Load, args: Args) -> str:
    words = written(load)
    return words.partition(" ")[2] if args.no else words


def _nested(load: Load, group: ObjectGroup, args: Args) -> None:
    name = args["name"]
    _member(load, group, args, GroupMember(f"group-object {name}", group=name, line=load.statement.line))


def _network_member(load: Load, group: ObjectGroup, args: Args) -> None:
    """`host A`, `A MASK`, `A /LENGTH`, `range A B`, `any`."""
    networks: tuple[Network, ...]
    if "first" in args:
        first, last = args["first"], args["last"]
        if first.version != last.version or first > last:
            load.error(f"{first} to {last} is no range", "the lower address comes first", column=args.column("last"))
            return
        networks = tuple(summarize_address_range(first, last))
        text = f"range {first} {last}"
    elif "any" in args.keywords:
        networks, text = ((IPv6Network("::/0"),) if group.kind == "v6-network" else (IPv4Network("0.0.0.0/0"),)), "any"
    else:
        networks = (_one_network(args),)
        text = _member_text(networks[0])
    if networks[0].version != (6 if group.kind == "v6-network" else 4):
        load.error(f"{networks[0].network_address} does not belong in an object group of kind {group.kind}")
        return
    _member(load, group, args, GroupMember(text, networks=networks))


def _one_network(args: Args) -> Network:
    if "host" in args:
        return ip_network(args["host"])
    if "prefix6" in args:
        return ip_network(args["prefix6"].network)
    if "prefix4" in args:
        found: IPv4Interface = args["prefix4"]
        return found.network
    return IPv4Network((args["address"], args["mask"] if "mask" in args else args["length"]), strict=False)


def _member_text(network: Network) -> str:
    if network.prefixlen == network.max_prefixlen:
        return f"host {network.network_address}"
    return f"{network.network_address} {network.netmask}" if network.version == 4 else str(network)


def _service_member(load: Load, group: ObjectGroup, args: Args) -> None:
    words = load.statement.words[1:] if args.no else load.statement.words
    try:
        services = tuple(_services(EntryReader(list(words), 6 if group.kind == "v6-service" else 4)))
    except Wrong as wrong:
        load.error(str(wrong), wrong.hint, column=wrong.column)
        return
    _member(load, group, args, GroupMember(_text(load, args), services=services))


def _services(reader: EntryReader) -> Iterator[Service]:
    """Read `tcp source eq 1024 range 80 90`, `icmp echo`, `tcp-udp eq domain`, `89`, `ip`."""
    word = reader.take("a protocol")
    if word == "ip":
        numbers: tuple[int | None, ...] = (None,)
    elif word in _WITH_PORTS:
        numbers = _WITH_PORTS[word]
    else:
        reader.at -= 1
        names = PROTOCOLS if reader.family == 4 else {**PROTOCOLS, "icmp": 58}
        numbers = (reader.number(names, 255, "a protocol"),)
    start = reader.at
    made = [_service(reader, number, start) for number in numbers]
    if reader.more():
        reader.take("")
        raise reader.wrong(f"'{reader.words[reader.at - 1].text}' is not expected here")
    yield from made


def _service(reader: EntryReader, protocol: int | None, start: int) -> Service:
    reader.at = start
    sport = dport = None
    if reader.peek() == "source":
        reader.take("source")
        sport = reader.port(protocol)
    if reader.peek() in ("destination", "eq", "neq", "lt", "gt", "range") or (protocol in (6, 17) and reader.more()):
        if reader.peek() == "destination":
            reader.take("destination")
        dport = reader.port(protocol) or reader.bare_port(protocol)
    ace = Ace(0, True, protocol, (0, 0), (0, 0))
    if protocol in (1, 58):
        reader.icmp(ace)
    return Service(protocol, sport, dport, ace.icmp_type, ace.icmp_code)


# --- expansion --------------------------------------------------------------------------------------------------


def _refuse_circles(load: Load) -> set[tuple[str, str]]:
    """Report groups that contain themselves; return the (group, member) pairs that are left out for it."""
    groups = load.cfg.object_groups
    refused: set[tuple[str, str]] = set()
    done: set[str] = set()
    for start in groups:
        within = {start: iter(groups[start].members)} if start not in done else {}
        while within:
            name = next(reversed(within))
            member = next(within[name], None)
            if member is None:
                done.add(name)
                del within[name]
            elif member.group is None or member.group in done:
                continue
            elif member.group in within:
                refused.add((name, member.group))
                told = f"object group '{member.group}' contains itself by way of '{name}'"
                load.error(told, "take this line away", line=member.line)
            elif member.group in groups:
                within[member.group] = iter(groups[member.group].members)
            else:
                load.warn(f"object group '{member.group}' is not defined", "it adds nothing", line=member.line)
    return refused


def _merged(networks: list[Network]) -> list[tuple[int, int]]:
    """The fewest (value, care mask) pairs that match the same addresses as networks of one family."""
    bits = networks[0].max_prefixlen if networks else 32
    ranges = sorted((int(each.network_address), int(each.broadcast_address)) for each in networks)
    found: list[tuple[int, int]] = []
    full = (1 << bits) - 1
    at = 0
    while at < len(ranges):
        first, last = ranges[at]
        at += 1
        while at < len(ranges) and ranges[at][0] <= last + 1:
            last = max(last, ranges[at][1])
            at += 1
        while first <= last:
            size = min(first & -first or 1 << bits, 1 << (last - first + 1).bit_length() - 1)
            found.append((first, full ^ (size - 1)))
            first += size
    return found


@dataclass
class _Expander:
    """Expands groups of one configuration; `known` holds those that are done, `refused` members that make a circle."""

    load: Load
    refused: set[tuple[str, str]]
    known: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def members(self, name: str) -> tuple[Any, ...]:
        """(value, care mask) pairs or services of a group, those of groups in it included, each once."""
        if name not in self.known:
            networks: list[Network] = []
            services: list[Service] = []
            groups, waiting, seen = self.load.cfg.object_groups, [name], {name}
            while waiting:
                here = waiting.pop()
                for member in groups[here].members if here in groups else ():
                    networks += member.networks
                    services += member.services
                    if member.group and member.group not in seen and (here, member.group) not in self.refused:
                        seen.add(member.group)
                        waiting.append(member.group)
            self.known[name] = (*_merged(networks), *dict.fromkeys(services))
        return self.known[name]

    def usable(self, ace: Ace, name: str, kinds: tuple[str, ...]) -> bool:
        """Whether a group that an entry names is there and of the right kind; what is wrong with it is reported."""
        group = self.load.cfg.object_groups.get(name)
        if group is None:
            told = f"object group '{name}' is not defined: this entry matches nothing"
        elif group.kind not in kinds:
            told = f"object group '{name}' is one of kind {group.kind}: this entry matches nothing"
        elif not self.members(name):
            told = f"object group '{name}' is empty: this entry matches nothing"
        else:
            return True
        self.load.warn(told, f"define object-group {kinds[0]} {name}" if group is None else "", line=ace.line)
        return False

    def expand(self, acl: AccessList, ace: Ace, room: int) -> list[Ace]:
        """The entries that one stands for."""
        networks = ("network",) if acl.family == 4 else ("v6-network",)
        services = ("service",) if acl.family == 4 else ("v6-service",)
        wanted = [(ace.src_group, networks), (ace.dst_group, networks), (ace.service_group, services)]
        if not all(name is None or self.usable(ace, name, kinds) for name, kinds in wanted):
            return []
        src, dst = (self._addresses(name, pair) for name, pair in ((ace.src_group, ace.src), (ace.dst_group, ace.dst)))
        own = Service(ace.protocol, ace.sport, ace.dport, ace.icmp_type, ace.icmp_code)
        served = self.members(ace.service_group) if ace.service_group else (own,)
        if len(src) * len(dst) * len(served) > room:
            told = f"access list {acl.name} expands to more than {MOST_ENTRIES} entries: this one is left out"
            self.load.error(told, "use fewer or wider members", line=ace.line)
            return []
        return [_entry(ace, one, other, service) for service in served for one in src for other in dst]

    def _addresses(self, name: str | None, pair: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        return (pair,) if name is None else self.members(name)


def _entry(ace: Ace, src: tuple[int, int], dst: tuple[int, int], service: Service) -> Ace:
    return Ace(
        ace.line, ace.permit, service.protocol, src, dst, service.sport, service.dport, service.icmp_type,
        service.icmp_code, ace.established, ace.dscp, ace.precedence, ace.fragments, ace.log, ace.sequence, ace.others,
    )  # fmt: skip


def finish(load: Load) -> None:
    """Expand the entries that name groups, in every access list."""
    expander = _Expander(load, _refuse_circles(load))
    for acl in (*load.cfg.access_lists.values(), *load.cfg.ipv6_access_lists.values()):
        if not any(ace.grouped for ace in acl.entries):
            continue
        acl.expanded = []
        for ace in acl.entries:
            room = MOST_ENTRIES - len(acl.expanded)
            acl.expanded += expander.expand(acl, ace, room) if ace.grouped else [ace]


_ADDRESSES = (
    "{any | host <host:address> | range <first:address> <last:address> | <address:ip4> {<mask:mask> | <length:slash>} "
    "| <prefix4:prefix4> | <prefix6:prefix6>}"
)
COMMANDS = [
    Command("global", "object-group {network | v6-network} <name:word>", _group, "group-network"),
    Command("global", "object-group {service | v6-service} <name:word>", _group, "group-service"),
    *(Command(mode, pattern, handler) for mode in ("group-network", "group-service") for pattern, handler in (
        ("description [<value:text>]", describe), ("group-object <name:word>", _nested))),
    Command("group-network", _ADDRESSES, _network_member),
    Command("group-service", "ip", _service_member),
    Command("group-service", "<number:0-255>", _service_member),
    *(Command("group-service", f"{word} *" if word in _WITH_PORTS else word, _service_member)
      for word in _PROTOCOL_WORDS),
    Command("group-service", "icmp *", _service_member),
]  # fmt: skip
