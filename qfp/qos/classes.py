"""Class maps and the classes of a policy, compiled for the `classify` kernel.

    classifier = Classifier(configuration, "p1")
    classifier.classify(headers_of(batch))       # class of each row, numbers into classifier.classes

Classes are asked in the order of the policy map; those of a nested policy stand in the place of the class that it is
attached to. `class-default` ends every policy, written or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from qfp.batch import Array
from qfp.config.acl import PROTOCOLS
from qfp.config.boxes import port_ranges
from qfp.config.model import AccessList, Ace, ClassMap, ClassMatch, ClassPolicy, Configuration, PolicyMap, PortMatch
from qfp.qos import sets
from qfp.qos.errors import QosError
from qfp.qos.sets import Terms
from qfp.tables.spd import ANY_PORTS
from qfp_kernels import classify as kernels
from qfp_kernels.columns import Columns
from qfp_kernels.layout import aligned

DEFAULT = "class-default"
CLASSES_MAX = 255  # a class is one byte
CONDITIONS_MAX = 64  # bits of a word
TCP, UDP = 6, 17
PLAIN = {  # protocols that are an IP version or a protocol number: (families, numbers)
    "ip": ((4,), range(256)), "ipv6": ((6,), range(256)), "arp": ((0,), (kernels.ARP,)), "tcp": ((4, 6), (TCP,)),
    "udp": ((4, 6), (UDP,)), "gre": ((4, 6), (47,)), "esp": ((4, 6), (50,)), "ospf": ((4, 6), (89,)),
    "eigrp": ((4, 6), (88,)),
}  # fmt: skip
# What IOS recognises by looking into packets is recognised by the protocol's port here, on either side.
PORTS = {
    "http": ((TCP, 80),), "https": ((TCP, 443),), "dns": ((UDP, 53), (TCP, 53)), "ssh": ((TCP, 22),),
    "telnet": ((TCP, 23),), "sip": ((UDP, 5060), (TCP, 5060)), "snmp": ((UDP, 161), (UDP, 162)), "ntp": ((UDP, 123),),
    "bgp": ((TCP, 179),), "ftp": ((TCP, 20), (TCP, 21)), "smtp": ((TCP, 25),),
}  # fmt: skip
RTP = (16384, 32767)  # UDP ports, as `match ip rtp 16384 16383`; to any of them


# ------------------------------------------------------------------------------------------------- classes
@dataclass(frozen=True)
class Leaf:
    """A class of a policy that no nested policy divides further: the classes on the way to it, the outermost first."""

    path: tuple[ClassPolicy, ...]
    policies: tuple[PolicyMap, ...]
    terms: Terms = field(repr=False)

    @property
    def name(self) -> str:
        """As in `parent/child`."""
        return "/".join(each.name for each in self.path)


def policy_map(cfg: Configuration, name: str) -> PolicyMap:
    """The policy map of a name; raises QosError when there is none."""
    found = cfg.policy_maps.get(name)
    if found is None:
        raise QosError(f"policy map '{name}' is not defined: add `policy-map {name}`")
    return found


def classes_of(policy: PolicyMap) -> list[ClassPolicy]:
    """The classes in order, class-default last, even where it is not written."""
    rest = [each for each in policy.classes if each.name == DEFAULT] or [ClassPolicy(DEFAULT)]
    return [each for each in policy.classes if each.name != DEFAULT] + rest


class Classifier:
    """The classes of a policy map, ready to sort packets into. Raises QosError."""

    def __init__(self, cfg: Configuration, policy: str):
        self._cfg = cfg
        self._lists: dict[tuple[str, str], int] = {}
        self._maps: dict[str, Terms] = {}
        self.classes: list[Leaf] = list(self._leaves(policy_map(cfg, policy), (), (), sets.ALWAYS))
        if len(self.classes) > CLASSES_MAX:
            raise QosError(f"policy map '{policy}' has more than {CLASSES_MAX} classes, nested ones included")
        self.tables = self._compile()

    def classify(self, headers: Array, qos_group: Array | None = None) -> Array:
        """Class of each header row, uint8. qos_group: the rows' QoS groups, uint8, 0 = none."""
        rows = len(headers)
        result = np.zeros(rows, np.uint8)
        if rows:
            group = np.zeros(rows, np.uint8) if qos_group is None else np.ascontiguousarray(qos_group, np.uint8)
            if group.size != rows:
                raise ValueError(f"{group.size} QoS groups for {rows} packets")
            columns = Columns("C", {"head": headers, "group": group, **self.tables, "cls": result})
            kernels.classify(columns, rows, self.tables["term"].size)
        return result

    def _leaves(
        self, policy: PolicyMap, path: tuple[ClassPolicy, ...], policies: tuple[PolicyMap, ...], upper: Terms
    ) -> Iterator[Leaf]:
        if policy in policies:
            raise QosError(f"policy map '{policy.name}' contains itself: take one `service-policy` away")
        for each in classes_of(policy):
            mine = sets.all_of([upper, self._terms_of(each.name)])
            here, through = (*path, each), (*policies, policy)
            if each.service_policy is None:
                yield Leaf(here, through, mine)
            else:
                yield from self._leaves(policy_map(self._cfg, each.service_policy), here, through, mine)

    # --- class maps

    def _terms_of(self, name: str, within: tuple[str, ...] = ()) -> Terms:
        if name == DEFAULT:
            return sets.ALWAYS
        if name in within:
            raise QosError(f"class map '{name}' contains itself: take one `match class-map` away")
        if name not in self._maps:
            found = self._cfg.class_maps.get(name)
            if found is None:
                raise QosError(f"class map '{name}' is not defined: add `class-map {name}`")
            self._maps[name] = self._terms(found, (*within, name))
        return self._maps[name]

    def _terms(self, class_map: ClassMap, within: tuple[str, ...]) -> Terms:
        """Of a whole class map; one without conditions has no packets, nor has one that lost one of all it asks for."""
        if class_map.refused and not class_map.match_any:
            return sets.NEVER
        parts = [self._condition(each, within) for each in class_map.matches]
        return sets.any_of(parts) if class_map.match_any or not parts else sets.all_of(parts)

    def _condition(self, match: ClassMatch, within: tuple[str, ...]) -> Terms:
        found = sets.any_of(self._value(match, value, within) for value in match.values or (0,))
        return sets.negated(found) if match.negate else found

    def _value(self, match: ClassMatch, value: int | str, within: tuple[str, ...]) -> Terms:
        families = (4,) if match.family == 4 else (4, 6)
        if match.kind == "dscp":
            return (sets.Term(tos=sets.by_family([int(value)], sets.DSCPS, families)),)
        if match.kind == "precedence":
            return (sets.Term(tos=sets.by_family(range(8 * int(value), 8 * int(value) + 8), sets.DSCPS, families)),)
        if match.kind == "qos-group":
            return (sets.Term(group=1 << int(value)),)
        if match.kind == "class-map":
            return self._terms_of(str(value), within)
        if match.kind == "access-group":
            return self._listed("access-group", str(value))
        if match.kind == "protocol":
            return self._protocol(str(value))
        return sets.ALWAYS if match.kind == "any" else sets.NEVER

    def _protocol(self, name: str) -> Terms:
        if name in PLAIN:
            families, numbers = PLAIN[name]
            return (sets.Term(proto=sets.by_family(numbers, sets.PROTOCOLS, families)),)
        if name == "icmp":
            four, six = (sets.by_family([n], sets.PROTOCOLS, [f]) for n, f in ((1, 4), (58, 6)))
            return (sets.Term(proto=four | six),)
        if name not in PORTS and name not in ("rtp", "ipsec"):
            return sets.NEVER  # NBAR would know it by its payload
        return self._listed("protocol", name)

    def _listed(self, kind: str, name: str) -> Terms:
        number = self._lists.setdefault((kind, name), len(self._lists))
        if number >= CONDITIONS_MAX:
            raise QosError(f"a policy may look at {CONDITIONS_MAX} access lists at most")
        return (sets.Term(lists=frozenset({(number, True)})),)

    # --- tables

    def _compile(self) -> dict[str, Array]:
        bits: dict[tuple[str, int], int] = {}
        terms = [(term, number) for number, leaf in enumerate(self.classes) for term in leaf.terms]
        table = aligned(len(terms), kernels.CLASSIFY_TYPES["term"])
        for row, (term, number) in zip(table, terms, strict=True):
            for name, whole in (("tos", sets.ANY_TOS), ("proto", sets.ANY_PROTO), ("group", sets.ANY_GROUP)):
                values = getattr(term, name)
                if values != whole:
                    bit = bits.setdefault((name, values), len(bits))
                    if bit >= CONDITIONS_MAX:
                        raise QosError(f"a policy may have {CONDITIONS_MAX} different conditions at most")
                    row["mask"] |= np.uint64(1 << bit)
            row["want"], row["cls"] = row["mask"], number
            row["lists"] = sum(1 << k for k, _ in term.lists)
            row["permits"] = sum(1 << k for k, wanted in term.lists if wanted)
        return {**_bit_tables(bits), "term": table, **self._list_tables()}

    def _list_tables(self) -> dict[str, Array]:
        rows: list[Any] = []
        lists = aligned(max(1, len(self._lists)), kernels.CLASSIFY_TYPES["list"])
        for (kind, name), number in self._lists.items():
            for family in (4, 6):
                entries = _port_entries(name) if kind == "protocol" else self._entries(name, family)
                lists[number][f"first{family}"] = len(rows)
                rows += [one for ace in entries for one in _ace_rows(ace, family)]
                lists[number][f"n{family}"] = len(rows) - int(lists[number][f"first{family}"])
        table = aligned(max(1, len(rows)), kernels.CLASSIFY_TYPES["ace"])
        for k, row in enumerate(rows):
            for name, value in row.items():
                table[k][name] = value
        return {"list": lists, "ace": table}

    def _entries(self, name: str, family: int) -> list[Ace]:
        four, six = self._cfg.access_lists.get(name), self._cfg.ipv6_access_lists.get(name)
        if four is None and six is None:
            raise QosError(f"access list '{name}' is not defined: add it, or take `match access-group` away")
        found: AccessList | None = four if family == 4 else six
        return found.rules if found is not None else []


def _bit_tables(bits: dict[tuple[str, int], int]) -> dict[str, Array]:
    """For every value of each header field, the bits of the conditions that it fulfils."""
    tables = {
        "tos": np.zeros((4, sets.DSCPS), np.uint64), "proto": np.zeros((4, sets.PROTOCOLS), np.uint64),
        "group": np.zeros((1, 256), np.uint64),
    }  # fmt: skip
    for (name, values), bit in bits.items():
        size = sets.GROUPS if name == "group" else tables[name].shape[1]
        for k in range(values.bit_length()):
            if values >> k & 1:
                # as the kernel numbers families: 0 = not IP, 2 = IPv4, 3 = IPv6
                tables[name][(0, 2, 3)[k // size], k % size] |= np.uint64(1 << bit)
    return {f"{name}_bits": table.reshape(-1) for name, table in tables.items()}


def _port_entries(name: str) -> list[Ace]:
    """A protocol that is known by its ports, as an access list."""
    if name == "rtp":
        return [Ace(0, True, UDP, (0, 0), (0, 0), dport=PortMatch("range", *RTP))]
    out = []
    if name == "ipsec":
        out += [Ace(0, True, PROTOCOLS[each], (0, 0), (0, 0)) for each in ("esp", "ahp")]
    for protocol, port in ((UDP, 500), (UDP, 4500)) if name == "ipsec" else PORTS[name]:
        at = PortMatch("eq", port, port, (port,))
        out += [Ace(0, True, protocol, (0, 0), (0, 0), at), Ace(0, True, protocol, (0, 0), (0, 0), None, at)]
    return out


def _ace_rows(ace: Ace, family: int) -> Iterator[dict[str, int]]:
    """Rows of the kernel's table for one entry: one a pair of port ranges; none where a condition cannot be told."""
    if ace.others:
        return
    low = (1 << 64) - 1
    row: dict[str, int] = {}
    for side, (value, care) in (("s", ace.src), ("d", ace.dst)):
        name = "src" if side == "s" else "dst"
        row |= {f"{name}0": value >> 64, f"{name}1": value & low}
        row |= {f"{side}mask0": care >> 64, f"{side}mask1": care & low}
    for name in ("dscp", "precedence"):
        row[name] = -1 if getattr(ace, name) is None else getattr(ace, name)
    row |= {"proto": -1 if ace.protocol is None else ace.protocol, "permit": ace.permit}
    row |= {"established": ace.established, "fragments": ace.fragments}
    for sport, dport in product(port_ranges(ace, "sport"), port_ranges(ace, "dport")):
        deep = sport != ANY_PORTS or dport != ANY_PORTS or ace.established
        ports = {"sport_lo": sport[0], "sport_hi": sport[1], "dport_lo": dport[0], "dport_hi": dport[1]}
        yield {**row, **ports, "deep": int(deep)}
