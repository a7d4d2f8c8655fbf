"""The security policy database: rules in order, packed into tuples and hash chains for the look-up kernel.

Rules come as columns, so that a policy of 100,000 entries is built in a fraction of a second. Rules of one tuple
compare the same bits of addresses and protocol; a chain holds the rules of a tuple with equal compared values, best
first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.tables.store import Tables
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_SPDH_MASK, SP_PROTECT, STRUCTS
from qfp_kernels.spd import rule_hash

Array = npt.NDArray[Any]
ANY_PORTS = (0, 65535)
RULE = np.dtype(
    [("src", "u8", 2), ("src_mask", "u8", 2), ("dst", "u8", 2), ("dst_mask", "u8", 2), ("sport", "u2", 2),
     ("dport", "u2", 2), ("fam", "u1"), ("proto", "u1"), ("any_proto", "u1"), ("permit", "u1"), ("entry", "u4"),
     ("sp", "i4"), ("prio", "u4")]
)  # fmt: skip


@dataclass
class Rule:
    """One rule. src, dst: (value, mask) with mask bits that must match; ports are inclusive ranges.

    `entry` numbers the crypto map entry that the rule belongs to: a deny goes on behind it. `sp`: row of the SPD entry
    (permit rules). Rules that stand for one access-list entry (`neq`, several ports) share `prio`.
    """

    family: int
    permit: bool
    src: tuple[int, int]
    dst: tuple[int, int]
    protocol: int | None = None
    sport: tuple[int, int] = ANY_PORTS
    dport: tuple[int, int] = ANY_PORTS
    entry: int = 0
    sp: int = -1
    prio: int = 0


def columns(rules: Sequence[Rule]) -> Array:
    """Rules as a RULE array."""
    out = np.zeros(len(rules), RULE)
    low = 0xFFFFFFFFFFFFFFFF
    for k, r in enumerate(rules):
        for name, (value, mask) in (("src", r.src), ("dst", r.dst)):
            out[k][name] = (value >> 64, value & low)
            out[k][name + "_mask"] = (mask >> 64, mask & low)
        out[k]["sport"], out[k]["dport"] = r.sport, r.dport
        out[k]["fam"], out[k]["permit"], out[k]["entry"] = r.family, r.permit, r.entry
        out[k]["proto"], out[k]["any_proto"] = r.protocol or 0, r.protocol is None
        out[k]["sp"], out[k]["prio"] = r.sp, r.prio
    return out


@kernel
def _chain(t: Any, first: int, last: int, spd: int) -> None:
    """Hang rules first..last-1, which stand in ascending prio, into their chains from the back."""
    mask = np.uint64(t.ctl[CTL_SPDH_MASK])
    for r in range(last - 1, first - 1, -1):
        a = t.ace[r]
        b = np.int64(rule_hash(a.src0, a.src1, a.dst0, a.dst1, spd, np.int64(a.tuple), a.proto) & mask)
        a.next = t.spdh[b]
        t.spdh[b] = np.int32(r)


@dataclass
class Policies:
    """All SPDs of a router. `add` them, add entries with `entry`, then `build` once."""

    tables: Tables
    spds: list[Array] = field(default_factory=list)
    entries: int = 0

    def entry(self, count: int = 1, action: int = SP_PROTECT) -> int:
        """Allocate SPD entries (rows of `sp`); returns the first row."""
        first = self.entries
        self.entries += count
        self.tables.grow("sp", self.entries)
        self.tables.t.sp["sa_out"][first : self.entries] = -1
        self.tables.t.sp["action"][first : self.entries] = action
        self.tables.t.sp["tun"][first : self.entries] = -1
        return first

    def add(self, rules: Array) -> int:
        """Add an SPD of RULE rows in ascending prio; returns its number."""
        self.spds.append(rules)
        return len(self.spds) - 1

    def build(self) -> None:
        """Write rules, tuples and chains of all SPDs."""
        total = sum(len(r) for r in self.spds)
        size = max(16, 1 << (2 * max(1, total)).bit_length())
        self.tables.replace("spdh", np.full(size, -1, np.int32))
        self.tables.t.ctl[CTL_SPDH_MASK] = size - 1
        aces: list[Array] = []
        tuples: list[Array] = []
        spds = np.zeros(max(1, len(self.spds)), STRUCTS["spd"])
        for k, rules in enumerate(self.spds):
            spds[k]["tuples"] = sum(len(x) for x in tuples)
            ace, tup = _pack(rules, int(spds[k]["tuples"]))
            spds[k]["n"] = len(tup)
            aces.append(ace)
            tuples.append(tup)
        self.tables.replace("spd", spds)
        self.tables.replace("tup", _join(tuples, "tup"))
        self.tables.replace("ace", _join(aces, "ace"))
        at = 0
        for k, ace in enumerate(aces):
            _chain(self.tables.t, at, at + len(ace), k)
            at += len(ace)
        self.tables.changed()


def _join(parts: list[Array], name: str) -> Array:
    return np.concatenate(parts) if parts else np.zeros(1, STRUCTS[name])


def _pack(rules: Array, tuple_base: int) -> tuple[Array, Array]:
    """ACE and TUPLE rows of one SPD; tuple numbers count from tuple_base."""
    shape = np.zeros(len(rules), [("k", "u8", 5)])["k"]
    shape[:, 0:2], shape[:, 2:4] = rules["src_mask"], rules["dst_mask"]
    shape[:, 4] = rules["fam"].astype(np.uint64) << np.uint64(1) | (rules["any_proto"] == 0)
    unique, inverse = np.unique(shape, axis=0, return_inverse=True)
    best = np.full(len(unique), 2**32 - 1, np.uint32)
    np.minimum.at(best, inverse.reshape(-1), rules["prio"])
    order = np.argsort(best, kind="stable")  # tuples in order of their best rule: the search may end early
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    tup = np.zeros(len(unique), STRUCTS["tup"])
    for k, name in enumerate(("src0", "src1", "dst0", "dst1")):
        tup[name] = unique[order, k]
    tup["fam"], tup["proto"] = unique[order, 4] >> np.uint64(1), unique[order, 4] & np.uint64(1)
    tup["prio"] = best[order]
    return _aces(rules, rank[inverse.reshape(-1)] + tuple_base), tup


def _aces(rules: Array, tuple_of: Array) -> Array:
    ace = np.zeros(len(rules), STRUCTS["ace"])
    for side in ("src", "dst"):
        value = rules[side] & rules[side + "_mask"]
        ace[side + "0"], ace[side + "1"] = value[:, 0], value[:, 1]
    for side in ("sport", "dport"):
        ace[side + "_lo"], ace[side + "_hi"] = rules[side][:, 0], rules[side][:, 1]
    everything = (rules["sport"] == ANY_PORTS).all(axis=1) & (rules["dport"] == ANY_PORTS).all(axis=1)
    ace["ports"] = ~everything
    ace["proto"] = np.where(rules["any_proto"] != 0, 0, rules["proto"])
    ace["permit"], ace["sp"], ace["prio"], ace["tuple"] = rules["permit"], rules["sp"], rules["prio"], tuple_of
    ace["resume"] = _resume(rules)
    return ace


def _resume(rules: Array) -> Array:
    """First prio behind each rule's crypto map entry."""
    if not len(rules):
        return np.zeros(0, np.uint32)
    last = {int(e): int(p) for e, p in zip(rules["entry"], rules["prio"], strict=True)}  # ascending: the last stays
    return np.array([last[int(e)] + 1 for e in rules["entry"]], np.uint32)
