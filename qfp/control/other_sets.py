"""Which packets found no SA because their sender's auto keying took another transform set of the entry than ours.

IKE would agree on a set that both ends list. Auto keying takes the first one at each end, and everything about an SA is
derived, its SPI too. So trying the other sets tells exactly whether one of them was meant.
"""

from collections import Counter

import numpy as np

from qfp.batch import Array
from qfp.config import TransformSet
from qfp.control.keying import sets_of
from qfp.control.plane import ControlPlane
from qfp_kernels.drops import Drop

AHEAD = 8  # rekeys that the sender may have done of which nothing arrived here
SPIS_MAX = 4096  # different ones that are remembered: what many more SPIs are, is no question of transform sets


def _kind(transform: TransformSet) -> tuple[str, ...]:
    """What of a set goes into the derivation."""
    return (*transform.transforms, transform.mode)


class OtherSets:
    """Takes verdict columns of a router's run (`add`), and says afterwards what it makes of them (`hints`).

    `wanted`: some entry lists several different sets; without, there is nothing to look for.
    """

    def __init__(self, plane: ControlPlane):
        self._plane = plane
        self._entries = []
        for k in sorted(plane.sadb.derived):
            sets = sets_of(plane.sadb.pairs[k].want, plane.config)
            others = [each for each in sets[1:] if _kind(each) != _kind(sets[0])]
            if others:
                self._entries.append((k, sets[0], others))
        self._lost: Counter[int] = Counter()  # packets by SPI

    @property
    def wanted(self) -> bool:
        return bool(self._entries)

    def add(self, columns: dict[str, Array]) -> None:
        """Remember the SPIs of packets that no SA was found for."""
        rows = np.flatnonzero(columns["cause"] == int(Drop.NO_SA))
        if rows.size:
            for spi, count in zip(*np.unique(columns["spi"][rows], return_counts=True), strict=True):
                if len(self._lost) < SPIS_MAX or int(spi) in self._lost:
                    self._lost[int(spi)] += int(count)

    def told(self) -> dict[int, int]:
        """What it has come to, for a checkpoint."""
        return dict(self._lost)

    def go_on(self, told: dict[int, int]) -> None:
        """Go on from there."""
        self._lost = Counter(told)

    def hints(self) -> list[str]:
        """A sentence for each set by which lost packets were sealed."""
        return [
            f"{count:,} packet{'s' if count > 1 else ''} dropped as NO_SA came by transform set '{meant}' of {where}, "
            f"where auto keying took '{taken}' here: list the same set first at both ends"
            for (where, taken, meant), count in self._found().items()
        ]

    def _found(self) -> Counter[tuple[str, str, str]]:
        """Lost packets by (entry, set that was taken, set that was meant)."""
        found: Counter[tuple[str, str, str]] = Counter()
        lost = dict(self._lost)
        if not lost:
            return found
        for k, taken, others in self._entries:
            pair = self._plane.sadb.pairs[k]
            for other in others:
                spis = {
                    sa.spi for generation in range(pair.generation + 1 + AHEAD)
                    for sa in self._plane.sadb.derive(pair.want, generation, False, other)
                }  # fmt: skip
                count = sum(lost.pop(spi, 0) for spi in spis)
                if count:
                    found[pair.want.where, taken.name, other.name] += count
        return found
