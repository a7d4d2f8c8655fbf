"""Batch: frames in memory, a byte arena and one numpy column a property, Arrow in and out without copying.

The arena may be a mapped capture file: a batch never moves frames to where it wants them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qfp.tabular import RAW_IP as RAW_IP
from qfp.tabular import SCHEMA, columns_of, interfaces_of

COLUMNS: dict[str, str] = {  # name -> dtype; meanings as in qfp_kernels.layout
    "offset": "i8",  # byte of the arena where the frame starts
    "length": "i4",  # bytes captured
    "wire": "i4",  # bytes that were on the wire
    "ts": "i8",  # ns since 1970-01-01 UTC
    "in_if": "i4",  # interface of the capture, from 0
    "link": "u2",  # LINKTYPE_ number
    "frame": "i8",  # record number in the source
}

ARROW_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("ts", pa.timestamp("ns"), nullable=False),
        pa.field("in_if", pa.int32(), nullable=False),
        pa.field("link", pa.uint16(), nullable=False),
        pa.field("wire", pa.int32(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)

Array = npt.NDArray[Any]


def arrow_schema(interfaces: Sequence[str]) -> pa.Schema:
    """Schema of a trace as a table: its version and the interfaces' names are in the metadata."""
    return ARROW_SCHEMA.with_metadata({"qfp.schema": SCHEMA, "qfp.interfaces": json.dumps(list(interfaces))})


class Batch:
    """Frames with their columns (see COLUMNS); each column is a numpy array of `len(batch)` elements.

    `arena` is a uint8 array or any buffer of bytes. Raises ValueError when a column's length differs or a frame
    lies outside the arena.
    """

    offset: Array
    length: Array
    wire: Array
    ts: Array
    in_if: Array
    link: Array
    frame_no: Array

    def __init__(self, arena: Any, columns: dict[str, Any], interfaces: Sequence[str] = ()):
        self.arena: Array = arena if isinstance(arena, np.ndarray) else np.frombuffer(arena, np.uint8)
        self.columns: dict[str, Array] = {
            name: np.ascontiguousarray(columns[name], dtype) for name, dtype in COLUMNS.items()
        }
        self.interfaces = tuple(interfaces)
        self.damage: str | None = None  # where reading stopped, when the source was damaged
        rows = self.columns["offset"].size
        if any(c.shape != (rows,) for c in self.columns.values()):
            raise ValueError("the columns of a batch differ in length")
        start, size = self.columns["offset"], self.columns["length"]
        if rows and (start.min() < 0 or size.min() < 0 or (start > self.arena.size - size.astype(np.int64)).any()):
            raise ValueError("a frame lies outside the batch's arena")

    def __getattr__(self, name: str) -> Array:
        columns = self.__dict__.get("columns", {})
        if name == "frame_no":  # the column `frame`: that name is the method
            name = "frame"
        if name in columns:
            return columns[name]  # type: ignore[no-any-return]
        raise AttributeError(name)

    def __len__(self) -> int:
        return int(self.columns["offset"].size)

    def __repr__(self) -> str:
        return f"Batch({len(self)} frames, {int(self.columns['length'].sum(dtype=np.int64))} bytes)"

    def __eq__(self, other: object) -> bool:
        """Same frames, byte for byte, and same columns; where the bytes lie and interface names do not matter."""
        if not isinstance(other, Batch):
            return NotImplemented
        names = [c for c in COLUMNS if c != "offset"]
        if len(self) != len(other) or any(not np.array_equal(self.columns[c], other.columns[c]) for c in names):
            return False
        return all(self.view(i) == other.view(i) for i in range(len(self)))

    __hash__ = None  # type: ignore[assignment]

    def view(self, i: int) -> memoryview:
        """Bytes of frame i, not copied; of a file that becomes shorter later they are zeros."""
        start = int(self.columns["offset"][i])
        return memoryview(self.arena.data)[start : start + int(self.columns["length"][i])]

    def frame(self, i: int) -> bytes:
        """Bytes of frame i. Raises Shrunk when they lay in a capture file that has become shorter."""
        data = bytes(self.view(i))
        self._check_file(i, i + 1)
        return data

    def frames(self) -> list[bytes]:
        """Bytes of all frames. Raises Shrunk, as `frame`."""
        found = [bytes(self.view(i)) for i in range(len(self))]
        self._check_file(0, len(self))
        return found

    def _check_file(self, first: int, last: int) -> None:
        """Whether rows first to last - 1, read just now, were still those of the capture file that the arena maps."""
        from qfp.trace import mapping

        record, low = mapping.record_at(self.arena) if last > first else (0, 0)
        if not record:
            return
        ends = self.columns["offset"][first:last] + self.columns["length"][first:last]
        start = self.arena.ctypes.data
        whole = mapping.intact(record, start + int(ends.max())) - (start - low)
        if whole < ends.max():
            from qfp.trace.errors import MESSAGES, Damage, Shrunk
            from qfp_kernels.capture import D_SHRUNK

            row = first + int(np.argmax(ends > whole))
            at = int(self.columns["offset"][row]) + start - low
            raise Shrunk(f"batch: {Damage(int(self.columns['frame'][row]), at, MESSAGES[D_SHRUNK])}")

    @classmethod
    def from_frames(
        cls,
        frames: Iterable[bytes],
        ts: int | Sequence[int] | Array = 0,
        link: int | Sequence[int] | Array = RAW_IP,
        in_if: int | Sequence[int] | Array = 0,
        interfaces: Sequence[str] = (),
    ) -> Batch:
        """Batch of these frames, complete as captured, numbered from 0; a single ts, link or in_if holds for all."""
        parts = list(frames)
        rows = len(parts)
        length = np.fromiter((len(f) for f in parts), np.int64, rows)
        ends = np.cumsum(length)
        columns = {
            "offset": ends - length,
            "length": length,
            "wire": length,
            "ts": np.broadcast_to(np.asarray(ts, np.int64), rows),
            "in_if": np.broadcast_to(np.asarray(in_if, np.int32), rows),
            "link": np.broadcast_to(np.asarray(link, np.uint16), rows),
            "frame": np.arange(rows),
        }
        return cls(np.frombuffer(b"".join(parts), np.uint8), columns, interfaces)

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Batch:
        """One batch behind the other, as they are numbered; interface names are those of the first that has any."""
        if len(batches) == 1:
            return batches[0]
        if not batches:
            return cls.from_frames([])
        starts = np.cumsum([0] + [b.arena.size for b in batches])
        columns = {name: np.concatenate([b.columns[name] for b in batches]) for name in COLUMNS}
        columns["offset"] = np.concatenate([b.columns["offset"] + s for b, s in zip(batches, starts, strict=False)])
        names = next((b.interfaces for b in batches if b.interfaces), ())
        arena = np.concatenate([b.arena for b in batches])
        for batch in batches:
            batch._check_file(0, len(batch))
        return cls(arena, columns, names)

    def compact(self) -> Batch:
        """The same frames one behind the other in an arena of their own; itself where that is so already."""
        start, size = self.columns["offset"], self.columns["length"]
        if len(self) == 0 or np.array_equal(start[1:], start[:-1] + size[:-1]):
            return self
        whole = memoryview(self.arena.data)
        ends = start + size
        data = b"".join([whole[a:b] for a, b in zip(start.tolist(), ends.tolist(), strict=True)])
        self._check_file(0, len(self))
        total = np.cumsum(size, dtype=np.int64)
        return Batch(data, {**self.columns, "offset": total - size}, self.interfaces)

    def to_arrow(self) -> pa.Table:
        """Table of ARROW_SCHEMA. Frames that lie one behind the other are not copied."""
        b = self.compact()
        start, size = b.columns["offset"], b.columns["length"]
        stop = [int(start[-1]) + int(size[-1])] if len(b) else [0]
        offsets = np.append(start, stop).astype(np.int64)
        data = pa.Array.from_buffers(
            pa.large_binary(), len(b), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(b.arena))]
        )
        arrays = [pa.array(b.columns[n]) for n in ("frame", "ts", "in_if", "link", "wire")]
        arrays[1] = arrays[1].view(pa.timestamp("ns"))
        return pa.Table.from_arrays([*arrays, data], schema=arrow_schema(self.interfaces))

    @classmethod
    def from_arrow(cls, table: pa.Table | pa.RecordBatch, first: int = 0) -> Batch:
        """Batch over the buffers of a table: one that `to_arrow` made, or any with a column `data` (qfp.tabular lists
        what is taken and the defaults). Several chunks are joined, and what has another type is cast: that is copied.

        first: number of the first frame, where the table numbers none. Raises ValueError, naming column and row, when
        the table is no trace.
        """
        arena, columns = columns_of(table, first)
        return cls(arena, columns, interfaces_of(table.schema))
