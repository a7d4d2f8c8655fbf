"""A table of frames, by whoever wrote it: the columns that a trace needs, by name, cast where nothing is lost.

`data` (the frames' bytes) must be there. What else a trace has is taken where it is there and has a default otherwise:

    column   taken from                                             default
    data     binary of any kind, also dictionary-encoded or views   must be there
    ts       integers (ns since 1970 UTC), timestamps of any unit   0
             and zone
    frame    integers                                               number of the row, from 0
    in_if    integers                                               0
    link     integers: LINKTYPE_ number                             101, raw IP
    wire     integers                                               length of `data`

Integers are those of any width, and decimals and floating-point numbers that are whole. Other columns are left alone.
A null, or a value that does not fit, is refused by column and row. Nothing that the file says is believed before it is
checked.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SCHEMA = "qfp-trace/1"
RAW_IP = 101
INTEGERS = {"frame": pa.int64(), "in_if": pa.int32(), "link": pa.uint16(), "wire": pa.int32()}
DATA, TIME = pa.large_binary(), pa.timestamp("ns")
NAMES = ("frame", "ts", "in_if", "link", "wire", "data")
REMEDY = "a trace has a column 'data' of binary type, and may have ts, frame, in_if, link and wire"

Array = npt.NDArray[Any]


class TableError(ValueError):
    """A table that is no trace, or whose values a trace cannot have."""


def columns_of(table: pa.Table | pa.RecordBatch, first: int) -> tuple[Array, dict[str, Array]]:
    """(arena, columns of a Batch) over the buffers of a table; what needs no cast is not copied.

    first: number of the first row, where the table numbers none. Raises TableError, naming column and row.
    """
    _once_each(table.schema)
    given = {name: _column(table, name, first) for name in NAMES if name in table.schema.names}
    arena, offset, length = _frames(given["data"])
    rows = length.size
    columns = {
        "offset": offset, "length": length, "wire": length, "ts": np.zeros(rows, np.int64),
        "in_if": np.zeros(rows, np.int32), "link": np.full(rows, RAW_IP, np.uint16),
        "frame": np.arange(first, first + rows),
    }  # fmt: skip
    for name, array in given.items():
        if name != "data":
            columns[name] = (array.view(pa.int64()) if name == "ts" else array).to_numpy(zero_copy_only=True)
    return arena, columns


def _once_each(schema: pa.Schema) -> None:
    if "data" not in schema.names:
        raise TableError(f"not a trace table: its columns are {', '.join(schema.names) or 'none'} ({REMEDY})")
    for name in NAMES:
        if schema.names.count(name) > 1:
            raise TableError(f"not a trace table: column {name} comes twice")


def _column(table: pa.Table | pa.RecordBatch, name: str, first: int) -> pa.Array:
    """One column as one array of the type that a trace has."""
    column = table.column(name)
    wanted = DATA if name == "data" else TIME if name == "ts" else INTEGERS[name]
    try:
        column.validate(full=column.type != wanted)  # offsets of `data` are checked by Batch, one by one
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
    except (pa.ArrowException, NotImplementedError) as error:
        raise TableError(f"column {name} is damaged ({first_line(error)})") from None
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise TableError(f"column {name} has nulls, the first in row {row}: fill them, or leave the column out")
    if column.type == wanted:
        return column
    if name == "data":
        return _bytes(column)
    return _time(column, first) if name == "ts" else _integers(column, name, wanted, first)


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _bytes(column: pa.Array) -> pa.Array:
    kind = column.type
    views = getattr(pa.types, "is_binary_view", lambda _: False)
    if pa.types.is_fixed_size_binary(kind) or views(kind):
        column = column.cast(pa.binary()) if len(column) else pa.array([], DATA)
    elif not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
        raise TableError(f"column data is of type {kind}, not binary: write the frames' bytes as they are")
    return column.cast(DATA)


def _time(column: pa.Array, first: int) -> pa.Array:
    kind = column.type
    if pa.types.is_timestamp(kind):
        try:
            return column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()).view(TIME)
        except pa.ArrowException:
            raise TableError("column ts has a time before 1677 or after 2262, which ns in 64 bits cannot say") from None
    if pa.types.is_integer(kind):
        return _integers(column, "ts", pa.int64(), first).view(TIME)
    raise TableError(f"column ts is of type {kind}: give timestamps, or integers of ns since 1970 UTC")


def _integers(column: pa.Array, name: str, wanted: pa.DataType, first: int) -> pa.Array:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise TableError(f"column {name} is of type {kind}: give integers")
    try:
        return column.cast(wanted)
    except (pa.ArrowException, NotImplementedError):
        row = first + _misfit(column, wanted)
        raise TableError(f"column {name} has a value in row {row} that {wanted} cannot hold") from None


def _misfit(column: pa.Array, wanted: pa.DataType) -> int:
    """Row of the first value that does not fit, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(column.slice(low, middle - low), wanted)
            low = middle
        except (pa.ArrowException, NotImplementedError):
            high = middle
    return low


def _frames(data: pa.Array) -> tuple[Array, Array, Array]:
    """(arena, offset and length of each frame) over the buffers of a large_binary array."""
    empty = np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    if not len(data):
        return empty
    _, where, content = data.buffers()
    bounds = np.frombuffer(where, np.int64)[data.offset : data.offset + len(data) + 1]
    arena = np.frombuffer(content, np.uint8) if content is not None and content.size else empty[0]
    sizes = np.diff(bounds)
    if int(sizes.min()) < 0 or int(sizes.max()) > np.iinfo(np.int32).max:
        raise TableError("column data is damaged: its offsets do not rise, or a frame is longer than 2 GiB")
    return arena, bounds[:-1], sizes


def interfaces_of(schema: pa.Schema) -> tuple[str, ...]:
    """The interfaces' names in the metadata of a table. Raises TableError when it says something else there."""
    metadata = schema.metadata or {}
    version = metadata.get(b"qfp.schema", SCHEMA.encode())
    if version != SCHEMA.encode() and version.startswith(b"qfp-trace/"):
        raise TableError(f"written by another version of qfp: only {SCHEMA} is read")
    try:
        names = json.loads(metadata.get(b"qfp.interfaces", b"[]"))
        good = isinstance(names, list) and all(isinstance(name, str) for name in names)
        "".join(names if good else ()).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        good = False
    if not good:
        raise TableError("qfp.interfaces in its metadata is no list of names: remove it, or correct it")
    return tuple(names)
