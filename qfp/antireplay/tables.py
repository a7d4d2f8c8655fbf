"""Tables of a study: a row an SA, scheme and window; a verdict a packet. Written as they come, for they may be long."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.antireplay.columns import Names, pieces
from qfp.antireplay.crowd import Block
from qfp.antireplay.strip import check_target
from qfp.antireplay.study import VERDICTS, Facts
from qfp.batch import Array
from qfp.trace.output import OutputFile
from qfp_kernels import crowd as C

SCHEMA = "qfp-replay-lab/1"
VERDICT_SCHEMA = "qfp-replay-verdicts/1"
ROWS = 1 << 17  # rows of a table that are written at a time
TABLE = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("spi", "dst", "proto", "scheme")),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("window", "packets", "accepted", "late",
                                                                 "duplicates", "zeros", "loss_free_window")),
        pa.field("gaps", pa.int64()),
    ],
    metadata={"qfp.schema": SCHEMA},
)  # fmt: skip


def rows_of(sas: Sequence[Facts]) -> pa.Table:
    """One row an SA, scheme and window, of facts."""
    rows = [
        {**{k: sa[k] for k in ("spi", "dst", "proto")},
         **{k: s[k] for k in ("scheme", "packets", "duplicates", "zeros", "loss_free_window", "gaps")},
         **drop, "accepted": s["packets"] - s["duplicates"] - s["zeros"] - drop["late"]}
        for sa in sas for s in sa["schemes"] for drop in s["drops"]
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TABLE)


def rows_of_group(names: Names, packets: Array, windows: Array, blocks: Sequence[Block]) -> pa.Table:
    """The same of a group under all schemes. packets: int64[SAs]."""
    count, first = len(packets), blocks[0].first
    cells = (count, len(blocks), len(windows))  # in the order of rows

    def each(column: Any) -> Array:
        return np.ascontiguousarray(np.broadcast_to(column, cells)).reshape(-1)

    def figure(which: int) -> Array:
        return each(np.stack([b.figures[:, which] for b in blocks], 1)[:, :, None])

    words = [names[first + k].words for k in range(count)]
    sa, scheme = each(np.arange(count)[:, None, None]), each(np.arange(len(blocks))[None, :, None])
    late = each(np.stack([b.late.T for b in blocks], 1))
    carried, again, zeros = each(packets[:, None, None]), figure(C.F_DUPLICATES), figure(C.F_ZEROS)
    ranked = each(np.array([b.gaps is None for b in blocks])[None, :, None])
    columns = {
        **{key: pa.array([w[k] for w in words], pa.string()).take(pa.array(sa))
           for k, key in enumerate(("spi", "dst", "proto"))},
        "scheme": pa.array([b.scheme for b in blocks], pa.string()).take(pa.array(scheme)),
        "window": each(windows), "packets": carried, "accepted": carried - again - zeros - late, "late": late,
        "duplicates": again, "zeros": zeros, "loss_free_window": figure(C.F_AGE) + 1,
        "gaps": pa.array(figure(C.F_GAPS), mask=ranked),
    }  # fmt: skip
    return pa.Table.from_arrays([pa.array(columns[name]) for name in TABLE.names], schema=TABLE)


class _Writer:
    """A file of record batches, .parquet or .arrow, that stands when everything went well."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._schema = schema
        parquet = check_target(path) == ".parquet"
        self._out = OutputFile(path)
        self._writer: Any = (
            pq.ParquetWriter(self._out.place, schema) if parquet else pa.ipc.new_file(self._out.place, schema)
        )

    def last(self) -> None:
        """Whatever is to be written yet."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self.last()
            self._out.commit(self._writer.close)
            return
        with contextlib.suppress(OSError):
            self._writer.close()
        self._out.abort()


class RowTable(_Writer):
    """Tables of `rows_of` and `rows_of_group`, one behind the other."""

    def __init__(self, path: Path):
        super().__init__(path, TABLE)
        self._kept: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        self._kept.append(rows)
        if sum(each.num_rows for each in self._kept) >= ROWS:
            self.last()

    def last(self) -> None:
        with self._out.complaints():
            if self._kept:
                self._writer.write_table(pa.concat_tables(self._kept).combine_chunks())
        self._kept = []


class VerdictTable(_Writer):
    """One row a packet: its place among the IPsec headers of the capture, time, SA, number field, and a column
    SCHEME_WINDOW for the verdict of every receiver. SA by SA, in order of arrival.

    SA: its place in order of appearance, in which the other table has them as well.
    """

    def __init__(self, path: Path, schemes: Sequence[str], windows: Sequence[int]):
        self._words = pa.array(VERDICTS, pa.string())
        self._columns = [(scheme, w) for scheme in schemes for w in range(len(windows))]
        kind = pa.dictionary(pa.int8(), pa.string())
        schema = pa.schema(
            [pa.field("packet", pa.int64(), False), pa.field("ts", pa.timestamp("ns"), False),
             pa.field("sa", pa.int32(), False), pa.field("seq", pa.uint32(), False),
             *(pa.field(f"{scheme}_{windows[w]}", kind, False) for scheme, w in self._columns)],
            metadata={"qfp.schema": VERDICT_SCHEMA},
        )  # fmt: skip
        self._kept: dict[str, Array] = {}
        super().__init__(path, schema)

    def scheme(self, name: str, verdicts: Array) -> None:
        """verdicts[window, packet] of the packets at hand: numbers of VERDICTS."""
        self._kept[name] = verdicts

    def packets(self, rows: Array, ts: Array, seq: Array, sa: Array) -> None:
        """Write the packets at hand. sa: int32, place of each one's SA in order of appearance."""
        for part in pieces(len(rows)):
            arrays = [pa.array(rows[part].astype(np.int64)), pa.array(ts[part]).view(pa.timestamp("ns")),
                      pa.array(sa[part]), pa.array(seq[part])]  # fmt: skip
            for scheme, w in self._columns:
                codes = pa.array(self._kept[scheme][w, part].astype(np.int8))
                arrays.append(pa.DictionaryArray.from_arrays(codes, self._words))
            with self._out.complaints():
                self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._kept.clear()
