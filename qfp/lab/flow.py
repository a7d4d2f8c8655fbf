"""Packets on their way: frames in order of time, and the injected packet that each stems from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.batch import COLUMNS, Batch

Array = npt.NDArray[Any]
NEVER = 2**62  # ns


def numbers_in(column: Array) -> list[int]:
    """The different values of a column of small numbers, rising; faster than np.unique where there are few."""
    if not column.size:
        return []
    low, high = int(column.min()), int(column.max())
    return [low] if low == high else np.unique(column).tolist()


def rows_of(column: Array, value: int) -> Any:
    """Rows with a value, for `pick` and for columns: all of them as a slice, so that nothing is copied."""
    here = column == value
    return slice(None) if here.all() else np.flatnonzero(here)


def pick(batch: Batch, rows: Any) -> Batch:
    """These rows of a batch (index array or slice), over the part of its arena that they need."""
    if isinstance(rows, slice) and rows == slice(None):
        return batch
    columns = {name: batch.columns[name][rows] for name in COLUMNS}
    start = columns["offset"]
    if start.size == 0:
        return Batch(np.empty(0, np.uint8), columns, batch.interfaces)
    low, high = int(start.min()), int((start + columns["length"]).max())
    return Batch(batch.arena[low:high], {**columns, "offset": start - low}, batch.interfaces)


@dataclass(frozen=True)
class Flow:
    """`batch`: frames in order of `ts` (ns of lab time). `ids`: int64, the injected packet, -1 = a router made it.
    `groups`: uint8, QoS group that an input policy gave, 0 = none; None where no policy has been met."""

    batch: Batch
    ids: Array
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @classmethod
    def empty(cls) -> "Flow":
        return cls(Batch.from_frames([]), np.empty(0, np.int64))

    @classmethod
    def ordered(cls, batch: Batch, ids: Array) -> "Flow":
        """Sorted by time; packets of one time stay in order."""
        if len(batch) and np.any(batch.ts[1:] < batch.ts[:-1]):
            order = np.argsort(batch.ts, kind="stable")
            return cls(pick(batch, order), ids[order])
        return cls(batch, ids)

    def renumbered(self, rows: Array) -> "Flow":
        """The flow at a router where row k of the interfaces is now row `rows[k]`."""
        columns = {**self.batch.columns, "in_if": rows[self.batch.in_if]}
        return Flow(Batch(self.batch.arena, columns), self.ids, self.groups)

    def take(self, rows: Any) -> "Flow":
        return Flow(pick(self.batch, rows), self.ids[rows], None if self.groups is None else self.groups[rows])

    def at(self, ts: Array) -> "Flow":
        """The same packets at other times."""
        batch = Batch(self.batch.arena, {**self.batch.columns, "ts": ts}, self.batch.interfaces)
        return Flow(batch, self.ids, self.groups)


def merge_in_order(flows: Sequence[Flow]) -> Flow:
    """Flows one behind the other."""
    full = [flow for flow in flows if len(flow)]
    if len(full) < 2:
        return full[0] if full else Flow.empty()
    groups = None
    if any(flow.groups is not None for flow in full):
        groups = np.concatenate([np.zeros(len(f), np.uint8) if f.groups is None else f.groups for f in full])
    return Flow(Batch.concat([flow.batch for flow in full]), np.concatenate([flow.ids for flow in full]), groups)


def merge(flows: Sequence[Flow]) -> Flow:
    """Several flows as one; at one time the lower interface (`in_if`) comes first, then the earlier flow."""
    full = [flow for flow in flows if len(flow)]
    whole = merge_in_order(full)
    if len(full) < 2:
        return whole
    batch = whole.batch
    order = np.lexsort((batch.in_if, batch.ts))
    groups = None if whole.groups is None else whole.groups[order]
    ordered = Batch(batch.arena, {n: batch.columns[n][order] for n in COLUMNS}, batch.interfaces)
    return Flow(ordered, whole.ids[order], groups)
