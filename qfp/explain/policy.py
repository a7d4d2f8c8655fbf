"""Routes, crypto map entries and access-list entries that a packet met.

The rules are searched one after the other, as the configuration has them, beside what the data plane decided: its
decision is told, and the entry that stands for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qfp.config.boxes import port_ranges
from qfp.config.printing_acl import entry_text
from qfp.control.device import Device, plane_of
from qfp.explain.look import Row
from qfp.explain.words import ICMP, Facts, address, interface_name, sa_facts, sa_name, selector_text
from qfp_kernels import drops
from qfp_kernels.layout import FRAG_LATER, FROM_GRE, IF_GRE, IF_VTI, ORIGIN, PORTS_KNOWN

LOW = 0xFFFFFFFFFFFFFFFF
IPSEC = (50, 51)


@dataclass(frozen=True)
class Header:
    """What a rule is compared with."""

    family: int
    src: int
    dst: int
    proto: int
    sport: int
    dport: int
    later: bool  # a later fragment whose ports nobody knows

    @classmethod
    def of(cls, row: Row) -> "Header":
        later = bool(row.frag & FRAG_LATER) and not row.flags & PORTS_KNOWN
        src, dst = row.src0 << 64 | row.src1, row.dst0 << 64 | row.dst1
        return cls(row.fam, src, dst, row.proto, row.sport, row.dport, later)

    def turned(self) -> "Header":
        """The packet that answers it; ICMP type and code do not turn round."""
        ports = (self.sport, self.dport) if self.proto in ICMP else (self.dport, self.sport)
        return Header(self.family, self.dst, self.src, self.proto, *ports, self.later)


# --------------------------------------------------------------------------------------------------- routes
def vrf_of(owner: Device, row: Row) -> int:
    """Routing table of a packet from outside."""
    return int(owner.tables.t.ifs["vrf"][row.vif if row.vif >= 0 else row.in_if])


def route_of(owner: Device, row: Row, vrf: int) -> Any:
    """The route that a row's destination takes, as the control plane's copy of the table has it; None without one."""
    return plane_of(owner).routing.lookup(address(row.fam, row.dst0, row.dst1), vrf)


def route_text(route: Any) -> str | None:
    return None if route is None else f"{route.prefix}{' (local)' if route.local else ''}"


# -------------------------------------------------------------------------------------------- SPD entries
def entry_facts(owner: Device, sp: int) -> Facts | None:
    """An SPD entry: where it is configured, and its rule."""
    for pair in owner.plane.sadb.pairs if owner.plane is not None else ():
        if pair.want.sp == sp:
            return {"sp": sp, "where": pair.want.where, "rule": _rule(owner, pair.want), "peer": str(pair.want.peer)}
    return None


def _rule(owner: Device, want: Any) -> str:
    """What an entry protects; one that stands for several ranges of ports (`neq`) in the words of its list."""
    if want.vti:
        return "any traffic routed into the tunnel"
    if not want.tunnel:
        for rules in plane_of(owner).policies.spds:
            mine = rules[(rules["sp"] == want.sp) & (rules["permit"] != 0)]
            if len(mine) > 1:
                cmap = plane_of(owner).config.crypto_maps[want.where.split()[2]]
                return str(_ace_facts(owner, cmap, mine[0]).get("entry", "permit"))
    return f"permit {selector_text(want.selector)}"


def _crypto_map(owner: Device, port: int, family: int) -> Any:
    """The crypto map on an interface (row) for a family; None without one."""
    interface = plane_of(owner).config.interfaces[interface_name(owner, port)]
    name = interface.crypto_map if family == 4 else interface.ipv6_crypto_map
    return plane_of(owner).config.crypto_maps.get(name or "")


def _fits(rule: Any, h: Header) -> bool:
    """Whether a rule matches; a later fragment has no ports: permits go by the rest, denies miss."""
    for side, value in (("src", h.src), ("dst", h.dst)):
        want, mask = (int(rule[k][0]) << 64 | int(rule[k][1]) for k in (side, side + "_mask"))
        if (value ^ want) & mask:
            return False
    if int(rule["fam"]) != h.family or not (rule["any_proto"] or int(rule["proto"]) == h.proto):
        return False
    ranges = [tuple(map(int, rule[side])) for side in ("sport", "dport")]
    if ranges == [(0, 65535)] * 2:
        return True
    if h.later:
        return bool(rule["permit"])
    return all(low <= port <= high for (low, high), port in zip(ranges, (h.sport, h.dport), strict=True))


def _walk(rules: Any, h: Header) -> Iterator[Any]:
    """The rules that decide, in order: denies, each of which ends its crypto map entry, then a permit if one fits."""
    start = 0
    for rule in rules:
        if int(rule["entry"]) < start or not _fits(rule, h):
            continue
        yield rule
        if rule["permit"]:
            return
        start = int(rule["entry"]) + 1


def _ace_facts(owner: Device, cmap: Any, rule: Any) -> Facts:
    """The access-list entry that a rule stands for: text, list, file and line."""
    entry = cmap.entries[int(rule["entry"])]
    family = int(rule["fam"])
    lists = plane_of(owner).config.access_lists if family == 4 else plane_of(owner).config.ipv6_access_lists
    acl = lists[entry.acl]
    facts: Facts = {"map": f"crypto map {cmap.name} {entry.seq}", "acl": acl.name}
    ace = next((each for each in acl.entries if _same(each, rule)), None)
    if ace is not None:
        facts |= {"entry": entry_text(ace, acl.family, acl.standard), "line": ace.line,
                  "file": Path(plane_of(owner).config.file).name}  # fmt: skip
    return facts


def _same(ace: Any, rule: Any) -> bool:
    """Whether a rule was made from an access-list entry: the first with the same words is the one that counts."""
    pairs = [(int(rule[k][0]) << 64 | int(rule[k][1])) for k in ("src", "src_mask", "dst", "dst_mask")]
    if bool(rule["permit"]) != ace.permit or pairs != [*ace.src, *ace.dst]:
        return False
    if not ace.permit and (ace.established or ace.fragments or ace.dscp is not None or ace.precedence is not None):
        return False  # exempts nothing
    if ace.protocol != (None if rule["any_proto"] else int(rule["proto"])):
        return False
    return all(tuple(map(int, rule[side])) in port_ranges(ace, side) for side in ("sport", "dport"))


def met(owner: Device, port: int, h: Header) -> tuple[list[Facts], Facts | None]:
    """(denies that a packet meets in the crypto map of an interface, the permit that takes it)."""
    cmap = _crypto_map(owner, port, h.family)
    spd = int(owner.tables.t.ifs["spd4" if h.family == 4 else "spd6"][port])
    if cmap is None or spd < 0:
        return [], None
    denies: list[Facts] = []
    for rule in _walk(plane_of(owner).policies.spds[spd], h):
        facts = _ace_facts(owner, cmap, rule)
        if rule["permit"]:
            return denies, facts
        denies.append(facts)
    return denies, None


def ace_text(facts: Facts) -> str:
    """An access-list entry in a sentence."""
    place = f"{facts['map']}, access list {facts['acl']}"
    return f"{facts['entry']} ({place}, {facts['file']} line {facts['line']})" if "entry" in facts else f"({place})"


# --------------------------------------------------------------------------------------- what decided outbound
def way_of(owner: Device, row: Row, vrf: int) -> tuple[str, Facts, Any]:
    """(sentence about route and egress, facts, route) of a row that was looked up."""
    route = route_of(owner, row, vrf)
    facts: Facts = {"route": route_text(route)}
    if row.out_if >= 0:
        facts["egress"] = interface_name(owner, row.out_if)
    if route is None:
        return "no route", facts, route
    into = int(route.out_if)
    if route.local:
        return f"route {facts['route']}", facts, route
    if plane_of(owner).config.interfaces[interface_name(owner, into)].tunnel is not None:
        facts["tunnel"] = interface_name(owner, into)
        out = ""
        if row.out_if == into:
            facts.pop("egress", None)  # the tunnel is
        elif row.out_if >= 0:
            out = f", egress {facts['egress']}"
        return f"route {facts['route']}, goes into {facts['tunnel']}{out}", facts, route
    out = f", egress {facts['egress']}" if row.out_if >= 0 else ""
    return f"route {facts['route']}{out}", facts, route


def outbound(owner: Device, row: Row, vrf: int) -> tuple[str, Facts]:
    """What the look-up came to for a row: route, egress, policy entry and SA."""
    way, facts, route = way_of(owner, row, vrf)
    if row.verdict == drops.Verdict.PUNTED:
        return f"{way}: for this router itself, handed to the control plane", facts
    if row.cause and row.cause != drops.Drop.NO_SA_OUT:
        return way, facts
    if route is None or route.local:
        return way, facts
    if row.sp < 0:
        return _no_entry(owner, row, route, way, facts)
    entry = entry_facts(owner, row.sp)
    facts["entry"] = entry
    said = f"{way}; {entry['where']}: {entry['rule']}" if entry else f"{way}; SPD entry {row.sp}"
    if int(owner.tables.t.sp["tun"][row.sp]) < 0:
        denies, permit = met(owner, int(route.out_if), Header.of(row))
        facts |= {"denies": denies} if denies else {}
        facts |= {"permit": permit} if permit else {}
    if row.sa < 0:
        return said, facts
    facts["sa"] = sa_facts(owner, row.sa)
    return f"{said}; {sa_name(owner, row.sa)}", facts


def _no_entry(owner: Device, row: Row, route: Any, way: str, facts: Facts) -> tuple[str, Facts]:
    """No entry takes the packet: a GRE tunnel does, or it goes on in clear."""
    if int(owner.tables.t.ifs["kind"][route.out_if]) == IF_GRE:
        return way, facts
    end = "goes on as it is" if row.proto in IPSEC else "goes on in clear"
    if _crypto_map(owner, int(route.out_if), row.fam) is None:
        return f"{way}, which has no crypto map for IPv{row.fam}: {end}", facts
    denies, _ = met(owner, int(route.out_if), Header.of(row))
    if denies:
        facts["denies"] = denies
        return f"{way}; exempt from protection by {', '.join(map(ace_text, denies))}: {end}", facts
    return f"{way}; no entry asks for protection: {end}", facts


# ----------------------------------------------------------------------------------------------- on arrival
def arrival(owner: Device, row: Row) -> tuple[str, Facts]:
    """What the inbound policy says of a packet that it lets pass (RFC 4301 section 5.2)."""
    t = owner.tables.t
    if row.flags & ORIGIN:
        return "", {}
    if not row.levels:
        return "came in clear, as the policy allows", {}
    if row.flags & FROM_GRE:
        return "", {}
    sp = int(t.sa["sp"][row.levels[-1][0]])  # not of row.sa: it may go on by another one
    if sp < 0:
        return "its SA belongs to no entry", {}
    tun = int(t.sp["tun"][sp])
    entry = entry_facts(owner, sp)
    where = entry["where"] if entry else f"SPD entry {sp}"
    if tun >= 0 and int(t.ifs["kind"][tun]) == IF_VTI:
        return f"the SA of {interface_name(owner, tun)} carries any traffic", {}
    return f"it is what its SA may carry: {where}: {entry['rule'] if entry else ''}", {}


MARTIAN = "an address that no router forwards"


def held(owner: Device, row: Row) -> tuple[str, Facts]:
    """Why a packet may not go where it would (see qfp.config.held)."""
    interfaces = plane_of(owner).config.held.interfaces
    names = [interface_name(owner, k) for k in (row.out_if, row.vif, row.in_if) if k >= 0]
    name = next((name for name in names if name in interfaces), None)
    why = f"{name}: {interfaces[name]}" if name is not None else "the route of its own was refused"
    return f"held down: {why}", {"held": why}


def refusal(owner: Device, row: Row) -> tuple[str, Facts]:
    """Why the inbound policy refuses a packet."""
    port = row.vif if row.vif >= 0 else row.in_if
    _, permit = met(owner, port, Header.of(row).turned())
    name = interface_name(owner, port)
    if row.cause == drops.Drop.NOT_IPSEC:
        if permit is None:
            return f"refused by the inbound policy of {name}", {}
        return f"refused by {name}: what comes in must be protected by {ace_text(permit)}", {"permit": permit}
    sp = int(owner.tables.t.sa["sp"][row.sa]) if row.sa >= 0 else -1
    entry = entry_facts(owner, sp) if sp >= 0 else None
    levels = int(owner.tables.t.sp["levels"][sp]) if sp >= 0 else 0
    facts: Facts = {"entry": entry}
    came = sum(int(owner.tables.t.sa["sp"][sa]) == sp for sa, _, _ in row.levels)
    if came < levels:
        return f"came through {came} of {levels} SAs of {entry['where'] if entry else sp}", facts
    may = f"its SA may carry {entry['where']}: {entry['rule']}" if entry else "its SA belongs to no entry"
    if permit is None:
        return f"{may}; the policy of {name} has no entry for this packet", facts
    facts["permit"] = permit
    return f"{may}; the policy of {name} has {ace_text(permit)} for this packet", facts
