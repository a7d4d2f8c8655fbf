"""VerdictWriter: the verdict columns of the data plane as a Parquet or Arrow file, one row an input frame."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.batch import Array
from qfp.trace.errors import TraceError
from qfp.trace.output import TABLES, OutputFile, special, suffixes
from qfp_kernels.layout import VERDICT_FIELDS

SCHEMA = "qfp-verdicts/1"
GROUP = 1 << 20  # rows of a group
NONE = "-"  # the word for no interface
_INTERFACES = ("in_if", "out_if")
_CODES = ("verdict", "cause", "stage")
WORDS = (*_INTERFACES, *_CODES)  # columns that are written as words


def _field(name: str, dtype: str) -> pa.Field:
    if name in _INTERFACES:
        kind = pa.dictionary(pa.int32(), pa.string())
    elif name in _CODES:
        kind = pa.dictionary(pa.int8(), pa.string())
    elif name == "ts":
        kind = pa.timestamp("ns")
    else:
        kind = pa.from_numpy_dtype(np.dtype(dtype))
    return pa.field(name, kind, nullable=name == "cause")


VERDICT_SCHEMA = pa.schema([_field(f.name, f.dtype) for f in VERDICT_FIELDS], metadata={"qfp.schema": SCHEMA})


def dictionaries(words: Mapping[str, Sequence[str]]) -> dict[str, pa.Array]:
    """Dictionaries of the columns that are written as words; an interface column begins with the word for none."""
    return {
        name: pa.array([NONE, *words[name]] if name in _INTERFACES else list(words[name]), pa.string())
        for name in WORDS
    }


def record_batch(columns: Mapping[str, Array], known: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Verdict columns (numpy, numbers) as a batch of VERDICT_SCHEMA (words). Raises ValueError on unknown numbers."""
    arrays = [_array(f.name, columns[f.name], known) for f in VERDICT_FIELDS]
    return pa.RecordBatch.from_arrays(arrays, schema=VERDICT_SCHEMA)


def verdict_table(columns: Mapping[str, Array], words: Mapping[str, Sequence[str]]) -> pa.Table:
    """Verdict columns in memory as a table of VERDICT_SCHEMA; `words` as for VerdictWriter."""
    return pa.Table.from_batches([record_batch(columns, dictionaries(words))])


def _array(name: str, column: Array, known: Mapping[str, pa.Array]) -> pa.Array:
    if name in _INTERFACES:
        return _words(name, column + np.int32(1), None, known[name])  # -1 becomes the first word
    if name in _CODES:
        return _words(name, column, column != 0 if name == "cause" else None, known[name])
    kind = VERDICT_SCHEMA.field(name).type
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(np.ascontiguousarray(column))], 0)


def _words(name: str, codes: Array, valid: Array | None, known: pa.Array) -> pa.Array:
    if len(codes) and (int(codes.max()) >= len(known) or (codes.dtype.kind == "i" and int(codes.min()) < 0)):
        raise ValueError(f"verdict column {name} holds a number without a word: {int(codes.max())}")
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.DictionaryArray.from_buffers(
        VERDICT_SCHEMA.field(name).type,
        len(codes),
        [bits, pa.py_buffer(np.ascontiguousarray(codes))],
        known,
        0 if valid is None else -1,
    )


class VerdictWriter:
    """Writes verdicts to `path` (.parquet or .arrow; tables that are no regular file, like /dev/null, are Parquet).

    `words` gives the names behind the numbers of the columns `in_if`, `out_if`, `verdict`, `cause` and `stage`, by
    index; an interface of -1 is written as "-", a cause of 0 as null. As a context manager: a complete file gets its
    name, a failed one is deleted. Raises TraceError when the file cannot be written, ValueError on unknown numbers.
    """

    def __init__(self, path: str | os.PathLike[str], words: Mapping[str, Sequence[str]]):
        form = self._form(path)
        self._dictionaries = dictionaries(words)
        self._out = OutputFile(path)
        self._held = 0
        self._rows = 0
        self._group = {f.name: np.empty(GROUP, f.dtype) for f in VERDICT_FIELDS}
        if form == ".parquet":
            self._writer: Any = pq.ParquetWriter(
                self._out.place, VERDICT_SCHEMA, compression="none", use_dictionary=list(WORDS), write_statistics=False
            )
        else:
            self._writer = pa.ipc.new_file(self._out.place, VERDICT_SCHEMA)

    @staticmethod
    def _form(path: str | os.PathLike[str]) -> str:
        if special(Path(path)):
            return Path(path).suffix if Path(path).suffix in TABLES else TABLES[0]
        form, pack = suffixes(path)
        if form not in TABLES or pack:
            raise TraceError(f"{path}: verdicts are written as {' or '.join(TABLES)}: change the suffix")
        return form

    @property
    def rows(self) -> int:
        """Rows written so far, those held back included."""
        return self._rows

    def write(self, columns: Mapping[str, Array]) -> None:
        """Append rows: one array a field of VERDICT_FIELDS, all of one length. They may be reused at once.

        How many come at a time makes no difference to the file.
        """
        size = len(columns["frame"])
        self._rows += size
        done = 0
        while done < size:
            part = min(GROUP - self._held, size - done)
            for name, kept in self._group.items():
                kept[self._held : self._held + part] = columns[name][done : done + part]
            self._held += part
            done += part
            if self._held == GROUP:
                self._flush()

    def _flush(self) -> None:
        batch = record_batch({name: kept[: self._held] for name, kept in self._group.items()}, self._dictionaries)
        with self._out.complaints():
            self._writer.write_table(pa.Table.from_batches([batch]), GROUP)
        self._held = 0

    def close(self) -> None:
        """Complete the file and give it its name."""
        self._out.commit(self._finish)

    def _finish(self) -> None:
        if self._held:
            self._flush()
        self._writer.close()

    def abort(self) -> None:
        """Delete what was written."""
        with contextlib.suppress(OSError):  # the disk may be full
            self._writer.close()
        self._out.abort()

    def __enter__(self) -> VerdictWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
