"""What was observed of ESP and AH: one row a header, in arrays that lie in memory, or in temporary files when long."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import numpy as np

from qfp.batch import Array
from qfp.trace import open_source
from qfp.trace.errors import Damage
from qfp.trace.noted import Noted
from qfp.trace.walker import Walker
from qfp_kernels import observe as K
from qfp_kernels.columns import Columns
from qfp_kernels.dissect_words import SPACES
from qfp_kernels.layout import ST_NOTED, aligned
from qfp_kernels.study import group, tally

CHUNK = 1 << 18  # rows that are collected before they are put away
IN_MEMORY = 1 << 24  # rows above which arrays lie in temporary files: 21 bytes a row, and 8 for the order
PROTOCOLS = {K.ESP: "esp", K.AH: "ah"}
Progress = Callable[[int], None] | None


class ReplayLabError(Exception):
    """A study that cannot be made: the message says what to change."""


@dataclass(frozen=True)
class Name:
    """An SA as an observer knows it: numbers, or with `hashed` the hashes that `qfp strip` put in their place."""

    spi: int
    dst: int
    proto: int
    family: int  # 0 = hashed

    @property
    def words(self) -> tuple[str, str, str]:
        """SPI, destination, protocol."""
        proto = PROTOCOLS[self.proto]
        if self.family == 0:
            return f"#{self.spi:016x}", f"#{self.dst:016x}", proto
        address = IPv4Address(self.dst) if self.family == 4 else IPv6Address(self.dst)
        return f"0x{self.spi:08x}", str(address), proto

    @property
    def packed(self) -> bytes:
        """The destination's bytes."""
        return self.dst.to_bytes(4 if self.family == 4 else 16)


class Names:
    """The names of SAs by number: four columns, for there may be millions."""

    def __init__(self, dst0: Array, dst1: Array, spi: Array, kind: Array):
        self.dst0, self.dst1, self.spi, self.kind = dst0, dst1, spi, kind

    def __len__(self) -> int:
        return len(self.spi)

    def __getitem__(self, sa: int) -> Name:
        kind = int(self.kind[sa])
        return Name(int(self.spi[sa]), int(self.dst0[sa]) << 64 | int(self.dst1[sa]), kind >> 8, kind & 255)

    def __iter__(self) -> Iterator[Name]:
        return (self[sa] for sa in range(len(self)))

    @property
    def protos(self) -> Array:
        """uint8: IP protocol of each."""
        return (self.kind >> 8).astype(np.uint8)


@dataclass
class Counts:
    """What a capture held. frames: all; later: fragments without a header; short: header not captured; other: no ESP or
    AH. An AH header in front of an ESP header makes two rows of one frame."""

    frames: int = 0
    headers: int = 0
    later_fragments: int = 0
    cut_short: int = 0
    other: int = 0


class Scratch:
    """Arrays that may be too long for memory: above `limit` elements they lie in files that have no name."""

    def __init__(self, limit: int = IN_MEMORY):
        self.limit = limit

    def array(self, size: int, dtype: Any, zero: bool = False) -> Array:
        if size <= self.limit:
            return np.zeros(size, dtype) if zero else np.empty(size, dtype)
        with tempfile.TemporaryFile(prefix="qfp-") as file:
            return np.memmap(file, dtype, "w+", shape=(size,)).view(np.ndarray)

    def take(self, values: Array, rows: Array) -> Array:
        """values[rows]."""
        out = self.array(len(rows), values.dtype)
        for part in pieces(len(rows)):  # numpy would make a copy of all row numbers that are no int64
            np.take(values, rows[part], out=out[part], mode="clip")
        return out


def tallied(keys: Array, size: int) -> Array:
    """int64[size]: how often each key occurs (numpy would copy the keys)."""
    counts = np.zeros(size, np.int64)
    tally(keys, counts)
    return counts


class Gathered:
    """One growing column."""

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        self.parts: list[Array] = []
        self.file: Any = None

    def add(self, rows: Array) -> None:
        if self.file is None:
            self.parts.append(rows.copy())
        else:
            self.file.write(rows.tobytes())

    def spill(self) -> None:
        """From here on into a file, together with what there is."""
        self.file = tempfile.TemporaryFile(prefix="qfp-")  # noqa: SIM115 (closed in `array`)
        for part in self.parts:
            self.file.write(part.tobytes())
        self.parts = []

    def array(self, rows: int) -> Array:
        """All rows; what was collected is given up on the way, so that it is not in memory twice."""
        if self.file is None:
            whole, at = np.empty(rows, self.dtype), 0
            for k, part in enumerate(self.parts):
                whole[at : at + len(part)] = part
                at += len(part)
                self.parts[k] = part[:0].copy()
            return whole
        with self.file:
            self.file.flush()
            return np.memmap(self.file, self.dtype, "r+", shape=(rows,)).view(np.ndarray)


class Observer:
    """Collects rows: kernels write into the columns of `o`, `put_away` makes room again."""

    def __init__(self, scratch: Scratch | None = None):
        self.scratch = scratch or Scratch()
        room = CHUNK + K.LEVELS * 1024
        sizes = {name: room if name in K.ROW_COLUMNS else 1 << 12 for name in K.OBSERVED}
        sizes["ctl"] = K.O_N
        sizes["slots"] = 1 << 13
        self.o: Any = Columns("O", {name: aligned(sizes[name], dtype) for name, dtype in K.OBSERVED.items()})
        self.o.ctl[K.O_MASK] = sizes["slots"] - 1
        self.kept = {name: Gathered(K.OBSERVED[name]) for name in K.ROW_COLUMNS}
        self.rows = 0
        self.noted = np.zeros(SPACES << 16, np.int64)  # frames by what was not looked into: see qfp.trace.noted

    def room_for(self, sas: int) -> None:
        """Make sure that so many SAs more can be named."""
        wanted = int(self.o.ctl[K.O_SAS]) + sas
        size = self.o.sa_spi.size
        if wanted <= size:
            return
        while size < wanted:
            size *= 2
        for name in ("sa_dst0", "sa_dst1", "sa_spi", "sa_kind"):
            old = getattr(self.o, name)
            new = aligned(size, old.dtype)
            new[: old.size] = old
            self.o.rebind(name, new)
        self.o.rebind("slots", aligned(2 * size, "i4"))
        self.o.ctl[K.O_MASK] = 2 * size - 1
        K.rehash(self.o)

    def observe(self, walker: Walker, rows: int) -> None:
        """Rows for the ESP and AH headers of a walker's `rows` frames, as far as these were whole."""
        ctl = self.o.ctl
        before = ctl.copy()
        self._observe(walker, rows)
        whole = walker.intact(rows)
        if whole < rows:  # a mapped file became shorter: once more, without what it no longer has
            ctl[:] = before
            self.o.slots[:] = 0
            K.rehash(self.o)
            self._observe(walker, whole)
        count = int(walker.p.st[ST_NOTED])
        if count:
            np.add.at(self.noted, walker.p.noted[:count], 1)

    def _observe(self, walker: Walker, rows: int) -> None:
        done = K.observe(walker.p, walker.t, self.o, 0, rows)
        if done < rows:  # the first frame that needs more than the usual headers
            walker.look_inside()
            K.observe(walker.p, walker.t, self.o, done, rows)

    def put_away(self, least: int = CHUNK) -> None:
        """Take the rows out of the columns, if there are `least` of them."""
        rows = int(self.o.ctl[K.O_ROWS])
        if rows < least:
            return
        for name, column in self.kept.items():
            column.add(getattr(self.o, name)[:rows])
        before = self.rows
        self.rows += rows
        if before <= self.scratch.limit < self.rows:
            for column in self.kept.values():
                column.spill()
        self.o.ctl[K.O_ROWS] = 0

    def observed(self, counts: Counts, damage: Damage | None) -> Observed:
        """Everything that was collected."""
        self.put_away(1)
        counts.headers = self.rows
        columns = {name: column.array(self.rows) for name, column in self.kept.items()}
        return Observed(columns, self._names(), counts, damage, self.scratch)

    def _names(self) -> Names:
        count = int(self.o.ctl[K.O_SAS])
        return Names(*(getattr(self.o, f"sa_{c}")[:count].copy() for c in ("dst0", "dst1", "spi", "kind")))


@dataclass
class Observed:
    """Rows in the order of the capture (columns ts, seq, len, tos, sa) and the SAs that they belong to."""

    columns: dict[str, Array]
    names: Names
    counts: Counts
    damage: Damage | None
    scratch: Scratch
    noted: Noted = field(default_factory=Noted)  # what the capture held besides
    _order: Array | None = field(default=None, repr=False)
    _starts: Array | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.columns["sa"])

    @property
    def starts(self) -> Array:
        """int64[SAs + 1]: where the rows of each SA begin among rows that are ordered by SA, and the end."""
        if self._starts is None:
            sizes = tallied(self.columns["sa"], len(self.names))
            self._starts = np.zeros(len(sizes) + 1, np.int64)
            np.cumsum(sizes, out=self._starts[1:])
        return self._starts

    def rows_of(self, sa: int, end: int | None = None) -> Array:
        """Row numbers of an SA, ascending; with `end` those of SAs sa .. end - 1, one SA behind the other."""
        starts = self.starts
        if self._order is None:
            keys = self.columns["sa"]
            self._order = self.scratch.array(len(keys), np.uint32 if len(keys) <= 1 << 32 else np.int64)
            group(keys, starts[:-1].copy(), self._order)
        return self._order[int(starts[sa]) : int(starts[sa + 1 if end is None else end])]

    def of(self, name: str, rows: Array) -> Array:
        """A column of the SAs of which `rows_of` gave the rows."""
        if len(self.names) == 1:
            return self.columns[name]
        return self.scratch.take(self.columns[name], rows)


def observe(path: Path, progress: Progress = None, scratch: Scratch | None = None) -> Observed:
    """The ESP and AH headers of a capture. A damaged one gives what comes before the damage. Raises TraceError."""
    observer = Observer(scratch)
    with open_source(path) as source:
        walker = Walker(source)
        for rows in walker:
            observer.room_for(rows * K.LEVELS)
            observer.observe(walker, rows)
            observer.put_away()
            if progress is not None:
                progress(source.position(walker.t))
        damage, noted = source.damage(walker.t), Noted.of(observer.noted, source)
    ctl = observer.o.ctl
    counts = Counts(
        frames=int(ctl[K.O_FRAMES]), later_fragments=int(ctl[K.O_LATER]), cut_short=int(ctl[K.O_SHORT]),
        other=int(ctl[K.O_OTHER]),
    )  # fmt: skip
    found = observer.observed(counts, damage)
    found.noted = noted
    return found


def pieces(size: int, step: int = CHUNK) -> Iterator[slice]:
    """Slices that cover `size` rows."""
    return (slice(a, min(a + step, size)) for a in range(0, size, step))
