"""SAs with wildcards: a packet with an SPI that nobody knows becomes an SA of its own, with its own window.

The data plane stops at such a packet (qfp_kernels/awaited.py), once for each SPI between two ends; the first pattern in
the file's order that matches gives the SA, and the packet is looked up again. What matches nothing is remembered, pairs
of ends as one. SAs and memory are bounded: a capture of forged SPIs ends the wildcards, and that is said.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from qfp.sa import Address, SecurityAssociation
from qfp.sa_pattern import SaPattern
from qfp.tables.sad import Profile, Sad, columns_of
from qfp.tables.store import Tables
from qfp_kernels import awaited as K
from qfp_kernels.columns import Columns
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_AWAITED

SAS_MAX = 1 << 16  # SAs that wildcards may become
ASKED_MAX = 1 << 16  # SPIs and pairs of ends that match nothing and are remembered
ENTRIES = 4 * ASKED_MAX  # of the table: never more than a quarter full


class Wildcards:
    """The patterns of a key file at work. `ended`: whether a bound was reached; packets of SPIs that come later find no
    SA. `made`: SAs that they became."""

    SAVED = ("_models", "_asked", "made", "ended")  # see qfp.checkpoint

    def __init__(self, tables: Tables, sad: Sad, patterns: Sequence[SaPattern], window: int | None = None):
        self._tables, self._sad = tables, sad
        self._patterns = [p if window is None else replace(p, sa=replace(p.sa, replay_window=window)) for p in patterns]
        self._models: dict[int, int] = {}  # by place of a pattern its first SA, whose key schedules the others copy
        self._asked = 0
        self.made = 0
        self.ended = False
        if patterns:
            tables.fresh("awaited", ENTRIES)
            tables.t.ctl[CTL_AWAITED] = ENTRIES - 1

    def on_stop(self, p: Columns, i: int) -> None:
        """A packet came, row i of a workspace, whose SPI between its ends is new."""
        proto, spi, src, dst = _identity(p, i)
        fits = [pattern for pattern in self._patterns if pattern.matches_ends(src, dst)]
        found = next((pattern for pattern in fits if pattern.spi.matches(spi)), None)
        if found is not None and spi and proto == "esp":
            self._install(found, found.made(src, dst, spi))
        else:
            ends = (p.src0[i], p.src1[i], p.dst0[i], p.dst1[i])
            _remember(self._tables.t, *ends, np.uint32(spi), np.uint8(51 if proto == "ah" else 50), not fits)
            self._asked += 1
        if self.made >= SAS_MAX or self._asked >= ASKED_MAX:
            self.ended = True
            self._tables.t.ctl[CTL_AWAITED] = K.NOT_ASKED

    def _install(self, pattern: SaPattern, sa: SecurityAssociation) -> None:
        place = next(k for k, each in enumerate(self._patterns) if each is pattern)
        model = self._models.get(place, -1)
        handle = self._sad.install(Profile.of(sa), columns_of([sa]), inbound=True, model=model)[0]
        self._models.setdefault(place, int(handle))
        self.made += 1


def _identity(p: Columns, i: int) -> tuple[str, int, Address, Address]:
    """(esp or ah, SPI, source, destination) of a row at the level where it was looked up."""
    at = int(p.l4[i]) + (8 if p.proto[i] == 17 else 4 if p.proto[i] == 51 else 0)
    spi = int.from_bytes(p.arena[at : at + 4].tobytes())
    make: Callable[[int], Address] = IPv6Address if p.fam[i] == 6 else IPv4Address
    src, dst = (int(high) << 64 | int(low) for high, low in ((p.src0[i], p.src1[i]), (p.dst0[i], p.dst1[i])))
    return "ah" if p.proto[i] == 51 else "esp", spi, make(src), make(dst)


@kernel
def _remember(t: Columns, src0: int, src1: int, dst0: int, dst1: int, spi: int, proto: int, pair: bool) -> None:
    """Enter that an SPI, or all of two ends, is of no pattern."""
    ends = K.ends_key(src0, src1, dst0, dst1)
    key = ends if pair else K.spi_key(ends, spi, proto)
    entry = t.awaited[K.find(t, key)]
    entry.key, entry.pair = key, np.int32(K.GONE)
