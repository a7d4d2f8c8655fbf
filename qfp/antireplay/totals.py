"""All SAs together: what every scheme and window loses in sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qfp.antireplay.crowd import Block
from qfp.antireplay.study import Facts, router_window
from qfp.batch import Array
from qfp_kernels import crowd as C


class Totals:
    """Sums over SAs, of facts (`add`) and of groups (`add_group`)."""

    def __init__(self, schemes: Sequence[str], windows: Sequence[int]):
        self._windows = list(windows)
        self._sums = {name: dict.fromkeys(("duplicates", "zeros", "gaps", "late", "age"), 0) for name in schemes}
        self._lost = {name: np.zeros((2, len(self._windows)), np.int64) for name in schemes}  # packets, SAs
        self.sas, self.packets, self.octets = 0, 0, 0

    def add(self, sa: Facts) -> None:
        """One SA."""
        self._carry(1, sa["packets"], sa["bytes"])
        for s in sa["schemes"]:
            lost = np.array([[drop["late"]] for drop in s["drops"]], np.int64)
            self._scheme(s["scheme"], s["duplicates"], s["zeros"], s["gaps"] or 0, s["reordering"]["late"],
                         s["loss_free_window"] - 1, lost)  # fmt: skip

    def add_group(self, blocks: Sequence[Block], packets: int, octets: int) -> None:
        """A group of SAs, a block a scheme."""
        self._carry(len(blocks[0].figures), packets, octets)
        for b in blocks:
            sums = b.figures.sum(axis=0).tolist()
            self._scheme(b.scheme, sums[C.F_DUPLICATES], sums[C.F_ZEROS], sums[C.F_GAPS], sums[C.F_LATE],
                         int(b.figures[:, C.F_AGE].max()), b.late)  # fmt: skip

    def _carry(self, sas: int, packets: int, octets: int) -> None:
        self.sas += sas
        self.packets += packets
        self.octets += octets

    def _scheme(self, name: str, again: int, zeros: int, gaps: int, late: int, age: int, lost: Array) -> None:
        """lost: int64[windows, SAs]."""
        sums = self._sums[name]
        for key, value in (("duplicates", again), ("zeros", zeros), ("gaps", gaps), ("late", late)):
            sums[key] += value
        sums["age"] = max(sums["age"], age)
        self._lost[name] += (lost.sum(axis=1), (lost > 0).sum(axis=1))

    def facts(self, ranked: Sequence[str]) -> Facts:
        """As JSON has it. Of loss-free windows the largest. ranked: schemes without gaps."""
        return {"sas": self.sas, "packets": self.packets, "bytes": self.octets,
                "schemes": [self._told(name, name in ranked) for name in self._sums]}  # fmt: skip

    def _told(self, name: str, ranked: bool) -> Facts:
        sums, least = self._sums[name], self._sums[name]["age"] + 1
        lost = zip(self._windows, *self._lost[name].tolist(), strict=True)
        return {
            "scheme": name, "duplicates": sums["duplicates"], "zeros": sums["zeros"],
            "gaps": None if ranked else sums["gaps"], "late": sums["late"],
            "drops": [{"window": window, "late": late, "sas": sas} for window, late, sas in lost],
            "loss_free_window": least, "router_window": router_window(least),
        }  # fmt: skip
