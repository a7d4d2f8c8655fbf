"""What tables hold besides configuration: kept, put back, carried over, cleared, as layout.py declares it.

Each field of a table is config, state, counter or scratch there (see KINDS). Whoever needs all of a kind asks here, so
that a field that is added has its place in every copy.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy.typing as npt

from qfp_kernels.layout import COUNTER, LEADS, SCRATCH, STATE, TABLE_KINDS, TABLE_TYPES

Array = npt.NDArray[Any]
KEPT = (STATE, COUNTER)  # what packets change and a run leaves behind
WHOLE = ("life",)  # kept whole for explain: the control plane answers packets in it between two snapshots
LARGE = ("rsm_ctx", "rsm_hash", "rsm_src", "rsm_ring")  # kept only where something is in them
# Counters of SAs and of SPD entries are sums over their lives: clearing those of a run leaves them.
OF_LIVES = ("sa_out", "sa_in", "sns_in", "life", "sp")


def fields(table: str, *kinds: str) -> tuple[str, ...]:
    """The fields of a table that are of these kinds; ("",) for a table without fields that is."""
    return tuple(name for name, kind in TABLE_KINDS[table].items() if kind in kinds)


def tables(*kinds: str) -> tuple[str, ...]:
    """The tables with a field of these kinds."""
    return tuple(name for name in TABLE_TYPES if fields(name, *kinds))


def part(table: Any, field: str) -> Array:
    """A field of all rows of a table; "" = the rows themselves."""
    found: Array = table[field] if field else table
    return found


def _parts(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(table, field) of what is kept of some tables. A table of which nearly all is kept is copied at once."""
    for name in names:
        kept = fields(name, *KEPT)
        every = TABLE_KINDS[name]
        if name in WHOLE or len(kept) == sum(kind != SCRATCH for kind in every.values()):
            yield name, ""
        else:
            yield from ((name, field) for field in kept)


def filled(t: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Those of some tables that are worth a copy: where no fragment ever came, not the ring for them (LARGE)."""
    waiting = bool(t.rsm["head"].any())
    return tuple(name for name in names if waiting or name not in LARGE)


def snapshot(t: Any) -> dict[tuple[str, str], Array]:
    """Copies of everything that packets change, by (table, field)."""
    names = filled(t, tables(*KEPT))
    return {(name, field): part(getattr(t, name), field).copy() for name, field in _parts(names)}


def put_back(t: Any, kept: dict[tuple[str, str], Array]) -> None:
    """Put copies back; rows that were added since keep what they hold."""
    for (name, field), copy in kept.items():
        part(getattr(t, name), field)[: copy.size] = copy


def carry(table: str, new: Any, here: int, old: Any, there: int) -> None:
    """State and counters of row `there` of a table go on in row `here` of another. Fields that lead to other rows
    (LEADS) do not: they mean nothing there."""
    for field in fields(table, *KEPT):
        if field not in LEADS.get(table, ()):
            new[field][here] = old[field][there]


def zero_counters(t: Any) -> None:
    """Start counting from zero, except for what SAs and SPD entries count."""
    for name in tables(COUNTER):
        if name not in OF_LIVES:
            for field in fields(name, COUNTER):
                part(getattr(t, name), field)[:] = 0


def add_counters(t: Any, other: Any) -> None:
    """Add the counters of tables with the same rows: what two runs counted apart."""
    for name in tables(COUNTER):
        for field in fields(name, COUNTER):
            mine, theirs = part(getattr(t, name), field), part(getattr(other, name), field)
            if mine.shape != theirs.shape:
                raise ValueError(f"table {name} has {mine.size} rows here, {theirs.size} there: nothing to add up")
            mine += theirs
