"""Conditions of class maps as an algebra: any combination of them becomes a list of terms, one of which must hold.

A term is a set of (family, DSCP) pairs, a set of (family, protocol) pairs, a set of QoS groups, and lists that must or
must not permit the packet. Sets are bit vectors, so `and`, `or` and `not` of anything but lists fold away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from qfp.qos.errors import QosError

FAMILIES = (0, 4, 6)  # 0: not IP
DSCPS, PROTOCOLS, GROUPS = 64, 256, 100
TERMS_MAX = 512


def _full(values: int) -> int:
    return (1 << values) - 1


ANY_TOS, ANY_PROTO, ANY_GROUP = _full(3 * DSCPS), _full(3 * PROTOCOLS), _full(GROUPS)


@dataclass(frozen=True)
class Term:
    """A conjunction. `tos` and `proto` are sets by family, in the order of FAMILIES; lists: (number, must permit)."""

    tos: int = ANY_TOS
    proto: int = ANY_PROTO
    group: int = ANY_GROUP
    lists: frozenset[tuple[int, bool]] = frozenset()

    @property
    def possible(self) -> bool:
        """Whether any packet can fulfil it."""
        contradicts = any((number, not wanted) in self.lists for number, wanted in self.lists)
        return bool(self.tos and self.proto and self.group) and not contradicts


Terms = tuple[Term, ...]
ALWAYS: Terms = (Term(),)
NEVER: Terms = ()


def by_family(values: Iterable[int], size: int, families: Iterable[int]) -> int:
    """Set of the values, of so many, in each of the families."""
    one = 0
    for value in values:
        one |= 1 << value
    return sum(one << size * FAMILIES.index(family) for family in families)


def any_of(parts: Iterable[Terms]) -> Terms:
    """The union: terms that differ in one set only become one."""
    out: list[Term] = []
    for term in (t for part in parts for t in part):
        if not term.possible:
            continue
        for k, known in enumerate(out):
            merged = _merged(known, term)
            if merged is not None:
                out[k] = merged
                break
        else:
            out.append(term)
    if len(out) > TERMS_MAX:
        raise QosError(f"a class map comes to more than {TERMS_MAX} combinations of conditions: nest and negate less")
    return tuple(out)


def _merged(one: Term, other: Term) -> Term | None:
    same = [getattr(one, name) == getattr(other, name) for name in ("tos", "proto", "group")]
    if one.lists != other.lists or sum(same) < 2:
        return None
    return replace(one, tos=one.tos | other.tos, proto=one.proto | other.proto, group=one.group | other.group)


def all_of(parts: Iterable[Terms]) -> Terms:
    """The intersection."""
    out: Terms = ALWAYS
    for part in parts:
        out = any_of([tuple(_both(a, b) for a in out for b in part)])
    return out


def _both(a: Term, b: Term) -> Term:
    return Term(a.tos & b.tos, a.proto & b.proto, a.group & b.group, a.lists | b.lists)


def negated(terms: Terms) -> Terms:
    """What fulfils none of the terms."""
    return all_of(any_of([_parts_negated(term)]) for term in terms)


def _parts_negated(term: Term) -> Terms:
    return (
        Term(tos=ANY_TOS & ~term.tos),
        Term(proto=ANY_PROTO & ~term.proto),
        Term(group=ANY_GROUP & ~term.group),
        *(Term(lists=frozenset({(number, not wanted)})) for number, wanted in term.lists),
    )
