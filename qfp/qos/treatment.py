"""Treatment: what a policy does to packets beside queueing them. Marks and policers, in order of time.

An input policy is a `Classifier` and a `Treatment`; an output policy has a `Scheduler` behind them (see port.py). State
is carried from call to call: tokens and counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Array
from qfp.config.model import ClassPolicy, Police
from qfp.qos.classes import Classifier, Leaf
from qfp.qos.errors import QosError
from qfp.qos.policy import Defaults, filling, nanobits
from qfp_kernels import queues as q
from qfp_kernels.columns import Columns
from qfp_kernels.layout import aligned
from qfp_kernels.police import police

COLOURS = ("conform", "exceed", "violate")
_PACKET = 10**9  # tokens that a packet takes where packets are counted: a rate of 1 packet/s brings as many in a second


@dataclass(frozen=True)
class Treated:
    """By row: policed (1 = dropped), DSCP and QoS group that it gets (-1 = stays as it is)."""

    policed: Array
    dscp: Array
    qos_group: Array


class Treatment:
    """Markings and policers of a policy's classes. rate: bit/s of the link, for policers in per cent.

    Raises QosError on actions that cannot be carried out.
    """

    def __init__(self, classifier: Classifier, rate: int, defaults: Defaults | None = None):
        self.classes = classifier.classes
        self._defaults = defaults or Defaults()
        self._buckets: list[Any] = []
        self._colours: list[Any] = []
        self._of: dict[tuple[str, ...], int] = {}  # policer of a path of class names
        policer = [self._policer(leaf, len(leaf.path), rate) for leaf in self.classes]
        sizes = {"bucket": max(1, len(self._buckets)), "colour": max(3, len(self._colours))}
        sizes |= {name: len(self.classes) for name in ("policer", "set_dscp", "set_group")}
        tables = {name: aligned(sizes.get(name, 0), kind) for name, kind in q.TREAT_TYPES.items()}
        for name, rows in (("bucket", self._buckets), ("colour", self._colours)):
            for k, row in enumerate(rows):
                for field, value in row.items():
                    tables[name][k][field] = value
        tables["policer"][:] = policer
        tables["set_dscp"][:] = [_set(leaf, _dscp) for leaf in self.classes]
        tables["set_group"][:] = [_set(leaf, lambda each: each.set_qos_group) for leaf in self.classes]
        self._m: Any = Columns("M", tables)

    def treat(self, ts: Array, length: Array, cls: Array) -> Treated:
        """ns, bytes and class of rows in order of time, over all calls."""
        rows = len(cls)
        columns: dict[str, Array] = {
            "r_ts": np.ascontiguousarray(ts, np.int64), "r_length": np.ascontiguousarray(length, np.int32),
            "r_class": np.ascontiguousarray(cls, np.uint8), "r_fate": np.zeros(rows, np.uint8),
            "r_dscp": np.zeros(rows, np.int16), "r_group": np.zeros(rows, np.int16),
        }  # fmt: skip
        for name, column in columns.items():
            self._m.rebind(name, column)
        police(self._m, rows)
        return Treated(columns["r_fate"], columns["r_dscp"], columns["r_group"])

    def counters(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Of each policer, by the class that it stands in: (packets, bytes) of each colour."""
        out = {}
        for path, number in self._of.items():
            rows = self._m.colour[3 * number : 3 * number + 3]
            counts = [(int(row["packets"]), int(row["bytes"])) for row in rows]
            out["/".join(path)] = dict(zip(COLOURS, counts, strict=True))
        return out

    def _policer(self, leaf: Leaf, upto: int, rate: int) -> int:
        """Number of the innermost policer on the first `upto` steps of a class's path, -1 = none."""
        if upto == 0:
            return -1
        cls = leaf.path[upto - 1]
        if cls.police is None:
            return self._policer(leaf, upto - 1, rate)
        names = tuple(each.name for each in leaf.path[:upto])
        if names not in self._of:
            outer = self._policer(leaf, upto - 1, rate)
            self._of[names] = len(self._buckets)
            where = f"policy map '{leaf.policies[upto - 1].name}': class '{cls.name}'"
            self._buckets.append(_bucket(cls.police, sees(leaf.path[: upto - 1], rate), outer, self._defaults))
            self._colours += [_action(word, where) for word in _words(cls.police)]
        return self._of[names]


def sees(path: tuple[ClassPolicy, ...], rate: int) -> int:
    """Bit/s that a class sees behind the shapers of the classes around it."""
    for cls in path:
        if cls.shape_percent is not None:
            rate = max(1, rate * cls.shape_percent // 100)
        elif cls.shape_bps is not None:
            rate = min(rate, cls.shape_bps)
    return rate


def _dscp(cls: ClassPolicy) -> int | None:
    return cls.set_dscp if cls.set_precedence is None else 8 * cls.set_precedence


def _set(leaf: Leaf, what: Any) -> int:
    """What the innermost class that says anything sets, -1 = nothing."""
    return next((what(cls) for cls in reversed(leaf.path) if what(cls) is not None), -1)


def _bucket(p: Police, seen: int, outer: int, d: Defaults) -> dict[str, int]:
    """Buckets of a policer: one; two of one rate (RFC 2697), with an action for violating packets; two of two rates."""
    cir = p.rate if p.rate is not None else max(1, seen * (p.percent or 100) // 100)
    peak = p.peak_rate if p.peak_percent is None else max(1, seen * p.peak_percent // 100)
    kind, pir = q.POLICE_ONE, cir
    if peak is not None:
        kind, pir = q.POLICE_TWO_RATES, peak
    elif p.violate is not None:
        kind = q.POLICE_SINGLE_RATE
    cbs, ebs = (_bucket_size(p, burst, rate, d) for burst, rate in ((p.burst, cir), (p.excess_burst, pir)))
    return {
        "kind": kind, "cir": cir, "pir": pir, "cbs": cbs, "ebs": ebs, "cfill": filling(cbs, cir),
        "efill": filling(ebs, pir), "c": cbs, "e": ebs, "outer": outer,
        "each": _PACKET if p.packets else 0,
    }  # fmt: skip


def _bucket_size(p: Police, burst: int | None, rate: int, d: Defaults) -> int:
    """Tokens of a full bucket, nanobits; where packets are counted, each takes 10^9."""
    if p.packets:
        return min((burst or max(1, rate * d.police_burst_ms // 1000)) * _PACKET, q.BURST_MAX)
    if not burst:
        return nanobits(8 * max(d.police_burst_min, rate * d.police_burst_ms // 8000))
    times, parts = {"ms": (rate, 1000), "us": (rate, 10**6)}.get(p.burst_unit, (8, 1))
    return nanobits(max(8, burst * times // parts))


def _words(p: Police) -> tuple[str, str, str]:
    return p.conform, p.exceed, p.violate or ("drop" if p.peak_rate or p.peak_percent else p.exceed)


def _action(word: str, where: str) -> dict[str, int]:
    """Row of a colour: `transmit`, `drop`, or `set-... N`."""
    name, _, value = word.partition(" ")
    row = {"drop": int(name == "drop"), "dscp": -1, "group": -1, "packets": 0, "bytes": 0}
    if name in ("transmit", "drop"):
        return row
    number = int(value) if value else -1
    field, high, times = {
        "set-dscp-transmit": ("dscp", 63, 1), "set-prec-transmit": ("dscp", 7, 8), "set-qos-transmit": ("group", 99, 1),
    }.get(name, ("dscp", -1, 1))  # fmt: skip
    if high < 0:
        return row  # qfp.config says that it is sent unchanged
    if not 0 <= number <= high:
        raise QosError(f"{where}: {name} takes a number from 0 to {high}")
    return row | {field: times * number}
