"""Many SAs at once, each of few packets: the figures of `study` as columns, where facts of each would fill memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.antireplay.columns import Observed
from qfp.antireplay.numbers import SPACES, Classes, Selector
from qfp.batch import Array
from qfp_kernels import crowd as C
from qfp_kernels import study as K

PACKETS_MAX = 1 << 16  # of an SA that is studied together with others
ROWS = 1 << 16  # packets of a group, more or less: its arrays stay in the cache
CELLS = 1 << 20  # figures of all windows of a group
RANKED = ("sns", "rfc9611")  # schemes whose numbers are ranks: they have no gaps


@dataclass(frozen=True)
class Block:
    """A scheme over a group of SAs, `first` being the first of them.

    figures: int64[SAs, C.F_N]; late: int64[windows, SAs]; verdicts: uint8[windows, packets], no rows = not asked for.
    """

    scheme: str
    first: int
    figures: Array
    late: Array
    verdicts: Array

    @property
    def gaps(self) -> Array | None:
        """int64[SAs], None where numbers are ranks."""
        return None if self.scheme in RANKED else self.figures[:, C.F_GAPS]


def groups(found: Observed, sas: Array, windows: int) -> Iterator[tuple[int, int]]:
    """SAs, ascending, as runs first .. end - 1 that are studied together. Nobody has more than PACKETS_MAX packets."""
    most = max(1, CELLS // windows)
    packets = max(1, min(ROWS, (16 * CELLS) // windows))
    k = 0
    while k < len(sas):
        first = int(sas[k])
        run = int(np.searchsorted(sas[k : k + most] - np.arange(k, min(k + most, len(sas))), first - k, "right"))
        reach = int(np.searchsorted(found.starts, found.starts[first] + packets, "right")) - 1
        size = max(1, min(run, reach - first))
        yield first, first + size
        k += size


def study_group(
    starts: Array, seq: Array, tos: Array, first: int, sizes: Array, classes: Classes, selector: Selector | None,
    verdicts: bool,
) -> Iterator[Block]:  # fmt: skip
    """A group under every scheme of `numberings`, in its order.

    starts: int64[SAs + 1], from 0: rows of each SA; seq (uint32), tos (uint8): of the rows; sizes: int64, windows.
    """
    work = _Work(starts, first, sizes, verdicts)
    numbers = seq.astype(np.uint64)
    state = work.states(numbers)
    state[seq == 0] = K.ZERO
    yield work.block("plain", numbers, state)
    if selector is not None:
        space, counter = selector.split(seq)
        keys = space.astype(np.uint64) << C.SPACE_BIT | counter
        state = work.states(keys)
        state[counter == 0] = K.ZERO
        yield work.block("selector", keys, state)
        return
    C.unrolled(starts, seq, numbers)
    state = work.states(numbers)
    yield work.block("esn", numbers, state)
    kind = classes.of(tos)
    C.follow(starts, work.order, state, kind)
    for scheme, spaces in (("sns", SPACES), ("rfc9611", C.SPACES_MAX)):
        keys = np.empty_like(numbers)
        C.place(starts, kind, spaces, numbers, keys)
        C.arrange(starts, keys, work.order, work.spare)
        C.rank(starts, work.order, keys)
        yield work.block(scheme, keys, state)


class _Work:
    """Arrays of a group."""

    def __init__(self, starts: Array, first: int, sizes: Array, verdicts: bool):
        self.starts, self.first, self.sizes = starts, first, sizes
        rows = int(starts[-1])
        self.order, self.spare = np.empty(rows, np.int64), np.empty(rows, np.int64)
        self._shape = (len(sizes), rows) if verdicts else (0, 0)

    def states(self, keys: Array) -> Array:
        """State of each row; `order` is by key."""
        state = np.empty(len(keys), np.uint8)
        C.arrange(self.starts, keys, self.order, self.spare)
        C.copies(self.starts, keys, self.order, state)
        return state

    def block(self, scheme: str, keys: Array, state: Array) -> Block:
        """The figures; `order` is by key."""
        count = len(self.starts) - 1
        figures, late = np.empty((count, C.F_N), np.int64), np.empty((len(self.sizes), count), np.int64)
        verdicts: Any = np.empty(self._shape, np.uint8)
        C.spread(self.starts, self.order, keys, state, figures)
        C.ages(self.starts, keys, state, self.sizes, figures, late, verdicts)
        return Block(scheme, self.first, figures, late, verdicts)
