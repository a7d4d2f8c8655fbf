"""The schemes: in which sequence-number space a packet is, and which number it has there.

    plain     one space; the 32 bits in the packet as they stand
    esn       one space; of all 64-bit numbers with these low 32 bits the one nearest to the highest before it. The
              receiver infers the high half from its window (RFC 4303 appendix A2.2); where it infers another number
              than this, the ICV is wrong and the packet lost
    sns       16 spaces (the model of `multi-sn`): as if sender and receiver had used a space a class of traffic. A
              packet's number is its rank: 1 + how many different smaller numbers (of `esn`) its space holds. The
              classes that an SA carries are counted from 0 in their order; class k goes into space k mod 16
    rfc9611   the same with an SA, and so a space, for every class, however many
    selector  in place of these for captures whose number fields hold a selector and a counter: the counter as it stands
              in the space that the selector names

The class of a number is the class of the first packet that carries it, so that a copy with another DSCP is a copy. A
number that was never seen has no class and no rank: in `sns` and `rfc9611` gaps close. An SA that was up before the
capture began starts with an empty window all the same. Senders that share an SA (multicast) are not told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qfp.antireplay.columns import ReplayLabError, Scratch, tallied
from qfp.batch import Array
from qfp.coerce import TextFileError, read_text_file, shown, whole
from qfp.config.arguments import DSCP_NAMES
from qfp_kernels import study as K

SPACES = 16  # of an SA with multi-sn
SPARSE = 64  # numbers a packet above which a bit for every number would be wasteful
SELECTOR_BITS = (1, 8)
TEXT_MAX = 1 << 20  # bytes of a file of classes
NAMES_OF_DSCP = {value: name for name, value in DSCP_NAMES.items()}


@dataclass(frozen=True)
class Classes:
    """Classes of traffic by DSCP of the outer header. table: class of each of the 64 DSCPs."""

    names: tuple[str, ...]
    table: Array

    @classmethod
    def by_dscp(cls) -> Classes:
        """A class for every DSCP."""
        return cls(tuple(NAMES_OF_DSCP.get(k, f"dscp{k}") for k in range(64)), np.arange(64, dtype=np.uint8))

    @classmethod
    def read(cls, path: Path) -> Classes:
        """Classes of a file: a line `NAME DSCP …` each, DSCPs as numbers or names; # starts a comment.

        DSCPs that no line names are a class `class-default`, the last. Raises ReplayLabError.
        """
        try:
            lines = read_text_file(path, TEXT_MAX).splitlines()
        except (OSError, TextFileError) as error:
            why = getattr(error, "strerror", None) or error
            raise ReplayLabError(f"{path}: cannot be read as classes ({why}): give lines `NAME DSCP …`") from None
        names: list[str] = []
        table = np.full(64, 255, np.uint8)
        for number, line in enumerate(lines, 1):
            name, *words = line.partition("#")[0].replace(",", " ").split() or [""]
            if not name:
                continue
            if not words or name in names:
                raise ReplayLabError(f"{path}:{number}: {shown(name)}: give each class once, followed by its DSCPs")
            for word in words:
                table[_free_dscp(path, number, word, table)] = len(names)
            names.append(name)
        if len(names) == 0:
            raise ReplayLabError(f"{path}: names no class: give lines `NAME DSCP …`, as in `voice ef cs5`")
        table[table == 255] = len(names)
        return cls((*names, "class-default"), table)

    def of(self, tos: Array) -> Array:
        """Class of each packet."""
        return np.take(self.table, tos >> 2)


def _free_dscp(path: Path, number: int, word: str, table: Array) -> int:
    value = DSCP_NAMES.get(word.lower(), whole(word, 0, 63))
    if value is None:
        raise ReplayLabError(f"{path}:{number}: {shown(word)} is no DSCP: give 0 to 63, or a name such as ef, af41 or "
                             "cs3")  # fmt: skip
    if table[value] != 255:
        raise ReplayLabError(f"{path}:{number}: DSCP {word} is in a class already: name it once")
    return value


@dataclass(frozen=True)
class Selector:
    """A number field that holds a selector of `bits` bits and a counter. first: the selector is at the top."""

    bits: int
    first: bool = True

    def __post_init__(self) -> None:
        low, high = SELECTOR_BITS
        if not low <= self.bits <= high:
            raise ReplayLabError(f"selector of {self.bits} bits: give {low} to {high}")

    def split(self, seq: Array) -> tuple[Array, Array]:
        """(selectors, counters) of number fields."""
        if self.first:
            return seq >> np.uint32(32 - self.bits), seq & np.uint32((1 << (32 - self.bits)) - 1)
        return seq & np.uint32((1 << self.bits) - 1), seq >> np.uint32(self.bits)


@dataclass(frozen=True)
class Numbering:
    """The packets of one SA under a scheme, one space behind the other, in each in order of arrival.

    spaces: number and classes of each; starts: its first packet, and the end; numbers, state (K.FRESH, AGAIN, ZERO) of
    each packet; order: its row among those of the SA, None = that is the order. ranks: numbers have no gaps.
    """

    scheme: str
    spaces: list[tuple[int, list[int]]]
    starts: Array
    numbers: Array
    state: Array
    order: Array | None = None
    esn: bool = False
    ranks: bool = False


def numberings(
    seq: Array, tos: Array, classes: Classes, selector: Selector | None, scratch: Scratch
) -> Iterator[Numbering]:
    """The packets of an SA, at least one, under every scheme."""
    numbers = _copy(seq, np.uint64, scratch)
    whole = np.array([0, len(seq)], np.int64)
    state = states(numbers, scratch)
    if selector is None:
        state[seq == 0] = K.ZERO
        yield Numbering("plain", [(0, [])], whole, numbers, state)
        yield from _full(seq, tos, classes, scratch)
        return
    space, counter = selector.split(seq)
    yield Numbering("plain", [(0, [])], whole, numbers, np.where(seq == 0, K.ZERO, state).astype(np.uint8))
    state[counter == 0] = K.ZERO
    yield _grouped("selector", space.astype(np.uint8), {}, counter.astype(np.uint64), state, scratch)


def _full(seq: Array, tos: Array, classes: Classes, scratch: Scratch) -> Iterator[Numbering]:
    """The schemes that start from 64-bit numbers."""
    full = scratch.array(len(seq), np.uint64)
    K.unroll(seq, full)
    state = states(full, scratch)
    yield Numbering("esn", [(0, [])], np.array([0, len(seq)], np.int64), full, state, esn=True)
    kind = _followed(classes.of(tos), full, state)
    present = np.flatnonzero(tallied(kind, 64)).tolist()
    place = np.zeros(64, np.uint8)
    place[present] = np.arange(len(present))
    for scheme, count in (("sns", SPACES), ("rfc9611", len(present))):
        held: dict[int, list[int]] = {}
        for k, each in enumerate(present):
            held.setdefault(k % count, []).append(each)
        found = _grouped(scheme, np.take(place % np.uint8(count), kind), held, full, state, scratch)
        ranks = scratch.array(len(seq), np.uint64)
        keys = dense(found.numbers)
        words = (int(keys.max() - keys.min()) >> 6) + 2
        K.rank(found.starts, keys, scratch.array(words, np.uint64), scratch.array(words, np.uint64), ranks)
        yield Numbering(scheme, found.spaces, found.starts, ranks, found.state, found.order, ranks=True)


def _copy(column: Array, dtype: Any, scratch: Scratch) -> Array:
    out = scratch.array(len(column), dtype)
    out[:] = column
    return out


def dense(keys: Array) -> Array:
    """The same keys, or where these are few and far between their ranks: the order stays."""
    if int(keys.max() - keys.min()) <= SPARSE * len(keys) + (1 << 20):
        return keys
    return np.unique(keys, return_inverse=True)[1].astype(np.uint64)


def states(numbers: Array, scratch: Scratch) -> Array:
    """K.FRESH for the first of its number, else K.AGAIN."""
    keys = dense(numbers)
    least = keys.min()
    state = scratch.array(len(keys), np.uint8, zero=True)
    K.mark(keys, least, scratch.array((int(keys.max() - least) >> 6) + 1, np.uint64, zero=True), state)
    return state


def _followed(kind: Array, full: Array, state: Array) -> Array:
    """Classes, those of copies made that of the first of their number."""
    again = full[state == K.AGAIN]
    if len(again):
        copied = np.unique(again)
        K.follow(full, state, copied, np.zeros(len(copied), np.uint8), kind)
    return kind


def _grouped(
    scheme: str, space: Array, held: dict[int, list[int]], numbers: Array, state: Array, scratch: Scratch
) -> Numbering:
    """Packets by space."""
    sizes = tallied(space, 256)
    used = np.flatnonzero(sizes)
    ends = np.cumsum(sizes)
    order = scratch.array(len(space), np.int64)
    K.group(space, ends - sizes, order)
    starts = np.append((ends - sizes)[used], len(space)).astype(np.int64)
    spaces = [(k, held.get(k, [])) for k in used.tolist()]
    return Numbering(scheme, spaces, starts, scratch.take(numbers, order), scratch.take(state, order), order)
