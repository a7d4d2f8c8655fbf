"""Which generations of SAs a peer may have gone on to, besides the next one: their SPIs, derived when a packet comes
that may be of theirs. See qfp_kernels/awaited.py for what the data plane asks.

Nothing is derived or kept for peers that send no unknown SPI; for the others 16 bytes an SPI, and as much again and
twice as free room. What is derived stays, so the peers of many forged packets are derived once and not again and again.
"""

from collections.abc import Sequence

import numpy as np

from qfp.batch import Array
from qfp.control.sadb import Sadb
from qfp.tables.store import Tables
from qfp_kernels import awaited as K
from qfp_kernels.columns import Columns
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_AWAITED

AHEAD = 8  # generations beyond the next one, which is installed
PROTOCOLS = {"esp": 50, "ah": 51}
LEAST = 64  # entries


class Awaited:
    """The table `awaited`. pairs: numbers of the pairs in `sadb` that are derived."""

    SAVED = ("_ends", "_lacks", "_upto", "_used")  # see qfp.checkpoint

    def __init__(self, tables: Tables, sadb: Sadb, pairs: Sequence[int]):
        self._tables, self._sadb = tables, sadb
        self._pairs = np.array(pairs, np.int64)
        self._ends = np.zeros(0, np.uint64)  # key of the ends of each of them, once there is a table
        self._lacks = np.ones(len(pairs), bool)  # whether SPIs to come are not derived
        self._upto = np.zeros(len(pairs), np.int64)  # generations that are
        self._used = 0
        tables.t.ctl[CTL_AWAITED] = K.NOT_BUILT if len(pairs) else K.NOT_ASKED

    def answer(self, entry: int) -> tuple[int, int] | None:
        """What the data plane asks of an entry: a pair and the generation whose inbound SA it wants; None = it knows
        more now."""
        if entry == K.BUILD:
            self._build()
            return None
        found = self._tables.t.awaited[entry]
        k, generation = int(found["pair"]), int(found["generation"])
        if k == K.ENDS_NEW:
            self._derive(entry)
            return None
        pair = self._sadb.pairs[k]
        if generation > pair.generation + 1 and self._key(k, generation) == found["key"]:
            return k, generation
        found["pair"] = K.GONE  # it is not of a generation to come any more, or of another peer
        return None

    def moved(self, k: int, peer: bool = False) -> None:
        """Pair k is of another generation, or has another peer: other SPIs may come."""
        if self._tables.t.ctl[CTL_AWAITED] < 0:
            return
        at = self._place(k)
        self._lacks[at] = True
        if peer:
            self._ends[at], self._upto[at] = self._keys(self._pairs[at : at + 1])[0], 0
        self._enter(self._ends[at], K.ENDS_NEW, 0)

    def _build(self) -> None:
        """The ends of all pairs."""
        self._ends = self._keys(self._pairs)
        self._renew(0)

    def _renew(self, more: int) -> None:
        """A table with the ends of all pairs, of which nothing is derived, and room for `more` entries."""
        ends = np.unique(self._ends)
        size = max(LEAST, 1 << (4 * (len(ends) + more) - 1).bit_length())
        self._tables.fresh("awaited", size)
        self._tables.t.ctl[CTL_AWAITED], self._used = size - 1, len(ends)
        self._lacks[:], self._upto[:] = True, 0
        _fill(self._tables.t, ends, K.ENDS_NEW)

    def _keys(self, pairs: Array) -> Array:
        """Keys of the ends of pairs: what their peers send has these."""
        handles = np.array([self._sadb.pairs[k].inbound[0] for k in pairs.tolist()], np.int64)
        keys = np.zeros(len(pairs), np.uint64)
        _ends_of(self._tables.t, handles, keys)
        return keys

    def _derive(self, entry: int) -> None:
        """Enter the SPIs to come of all pairs with these ends, as far as they are not there."""
        t = self._tables.t
        ends = t.awaited["key"][entry]
        lacking = np.flatnonzero((self._ends == ends) & self._lacks)
        if 2 * (self._used + AHEAD * lacking.size) > t.awaited.size:
            self._renew(AHEAD * len(self._pairs))  # for all there are: no peer takes another one's room
            lacking = np.flatnonzero(self._ends == ends)
        self._enter(ends, K.ENDS_DERIVED, 0)
        for at, k in zip(lacking.tolist(), self._pairs[lacking].tolist(), strict=True):
            last = self._sadb.pairs[k].generation + 1 + AHEAD
            for generation in range(max(last - AHEAD, int(self._upto[at])) + 1, last + 1):
                self._enter(self._key(k, generation), k, generation)
            self._lacks[at], self._upto[at] = False, last

    def _key(self, k: int, generation: int) -> np.uint64:
        """Key of the SPI that the peer of pair k would use in a generation."""
        proto, spi = self._sadb.spi_of(self._sadb.pairs[k].want, generation)
        return np.uint64(_spi_key(self._ends[self._place(k)], spi, PROTOCOLS[proto]))

    def _place(self, k: int) -> int:
        """Where pair k stands in the columns."""
        return int(np.searchsorted(self._pairs, k))

    def _enter(self, key: np.uint64, pair: int, generation: int) -> None:
        self._used += int(_put(self._tables.t, np.uint64(key), pair, generation))


@kernel
def _ends_of(t: Columns, handles: Array, keys: Array) -> None:
    for k in range(handles.size):
        sa = t.sa[handles[k]]
        keys[k] = K.ends_key(sa.src0, sa.src1, sa.dst0, sa.dst1)


@kernel
def _fill(t: Columns, ends: Array, pair: int) -> None:
    for k in range(ends.size):
        entry = t.awaited[K.find(t, ends[k])]
        entry.key, entry.pair = ends[k], np.int32(pair)


@kernel
def _put(t: Columns, key: np.uint64, pair: int, generation: int) -> int:
    """Enter or change an entry; 1 = it is new."""
    entry = t.awaited[K.find(t, key)]
    new = entry.key == np.uint64(0)
    entry.key, entry.pair, entry.generation = key, np.int32(pair), np.uint32(generation)
    return 1 if new else 0


@kernel
def _spi_key(ends: np.uint64, spi: int, proto: int) -> int:
    return K.spi_key(ends, spi, proto)  # type: ignore[no-any-return]
