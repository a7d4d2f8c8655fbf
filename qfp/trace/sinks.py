"""Sinks: the formats that walked rows can be written to. Each takes one vector at a time and keeps none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.batch import Batch, arrow_schema
from qfp.trace.errors import TraceError
from qfp.trace.formats import interface_block, section_block, write_pcap_header
from qfp.trace.output import OutputFile
from qfp.trace.source import name_links
from qfp.trace.walker import Walker
from qfp_kernels import capture as C

GROUP_ROWS = 1 << 20  # rows of a stored group, at most
GROUP_BYTES = 64 << 20  # and bytes of frames, about
_YEAR_2106 = (1 << 32) * 1_000_000_000


def _check_times(walker: Walker, rows: int, top: int, path: Any, remedy: str) -> None:
    ts = walker.p.ts[:rows]
    bad = (ts < 0) | (ts >= top) if top else ts < 0
    if bad.any():
        row = int(np.argmax(bad))
        raise TraceError(
            f"{path}: record {int(walker.p.frame[row])} is stamped {int(ts[row])} ns since 1970, "
            f"which this format cannot hold: {remedy}"
        )


def _cut(rows: Batch, first: int, last: int) -> Batch:
    """Some of the rows, over the same bytes."""
    return Batch(rows.arena, {name: column[first:last] for name, column in rows.columns.items()})


class PcapSink:
    """pcap, ns: one link type for the whole file."""

    def __init__(self, out: OutputFile):
        self._out = out
        self._link = -1

    def rows(self, walker: Walker, rows: int) -> None:
        link = walker.p.link[:rows]
        if self._link < 0:
            self._begin(int(link[0]))
        if (link != self._link).any():
            other = int(link[link != self._link][0])
            raise TraceError(
                f"{self._out.path}: a pcap file has one link type, and the trace has {self._link} and {other}: "
                "write .pcapng instead"
            )
        _check_times(walker, rows, _YEAR_2106, self._out.path, "write .parquet instead")
        self._out.write(walker.run(C.copy_pcap, rows))

    def _begin(self, link: int) -> None:
        self._link = link
        self._out.write(write_pcap_header(link))

    def close(self, walker: Walker) -> None:
        if self._link < 0:
            known = name_links(walker.source)
            self._begin(known[0][1] if known else 101)


class PcapngSink:
    """pcapng, ns, one section; interfaces keep their numbers and names where the source numbers them."""

    def __init__(self, out: OutputFile):
        self._out = out
        self._numbers: dict[tuple[int, int], int] = {}  # (interface, link type) of the source -> interface here
        self._known = 0
        out.write(section_block())

    def _add(self, key: tuple[int, int], name: str) -> None:
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._out.write(interface_block(name, key[1]))

    def _declare(self, walker: Walker) -> None:
        links = name_links(walker.source)
        for number in range(self._known, len(links)):
            self._add((number, links[number][1]), links[number][0])
        self._known = len(links)

    def rows(self, walker: Walker, rows: int) -> None:
        self._declare(walker)
        p = walker.p
        keys = (p.in_if[:rows].astype(np.int64) << 16) | p.link[:rows]
        names = walker.source.given_names
        for key in np.unique(keys).tolist():
            number, link = key >> 16, key & 0xFFFF
            self._add((number, link), names[number] if 0 <= number < len(names) else "")
            p.out_if[:rows][keys == key] = self._numbers[number, link]
        _check_times(walker, rows, 0, self._out.path, "write .parquet instead")
        self._out.write(walker.run(C.copy_pcapng, rows))

    def close(self, walker: Walker) -> None:
        self._declare(walker)


class TableSink:
    """Parquet or Arrow file of ARROW_SCHEMA, in groups of bounded size.

    The schema is written first, so interfaces that a capture only describes behind the first group stay unnamed.
    """

    def __init__(self, out: OutputFile, parquet: bool, names: Sequence[str] = ()):
        self._out, self._parquet, self._names = out, parquet, list(names)
        self._parts: list[Batch] = []
        self._rows = self._bytes = 0
        self._writer: Any = None

    def rows(self, walker: Walker, rows: int) -> None:
        p = walker.p
        data = bytes(walker.run(C.copy_bytes, rows))
        rows = walker.rows
        size = p.cap[:rows].astype(np.int64)
        columns = {"offset": np.cumsum(size) - size, "length": size, "frame": p.frame[:rows].copy()}
        columns |= {c: getattr(p, c)[:rows].copy() for c in ("wire", "ts", "in_if", "link")}
        left = Batch(data, columns)
        while len(left):
            left = self._take(walker, left)

    def _take(self, walker: Walker, rows: Batch) -> Batch:
        """Take rows up to the end of a group, and return those behind it: where groups end does not depend on the
        vectors in which rows come."""
        ends = np.cumsum(rows.length, dtype=np.int64)
        fits = int(np.searchsorted(ends, GROUP_BYTES - self._bytes)) + 1  # the row that reaches the bytes is in
        count = min(len(rows), fits, GROUP_ROWS - self._rows)
        self._parts.append(_cut(rows, 0, count))
        self._rows += count
        self._bytes += int(ends[count - 1])
        if self._rows == GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush(walker)
        return _cut(rows, count, len(rows))

    def _flush(self, walker: Walker) -> None:
        with self._out.complaints():
            if self._writer is None:
                self._schema = arrow_schema(self._names or walker.source.given_names)
                self._writer = self._open(self._schema)
            if self._parts:
                table = Batch.concat(self._parts).to_arrow()
                self._writer.write_table(table.replace_schema_metadata(self._schema.metadata))
        self._parts, self._rows, self._bytes = [], 0, 0

    def _open(self, schema: pa.Schema) -> Any:
        if self._parquet:
            return pq.ParquetWriter(self._out.place, schema, compression="none", use_dictionary=False)
        return pa.ipc.new_file(self._out.place, schema)

    def close(self, walker: Walker) -> None:
        if self._parts or self._writer is None:
            self._flush(walker)
        self._writer.close()


def sink_for(out: OutputFile, form: str, names: Sequence[str] = ()) -> PcapSink | PcapngSink | TableSink:
    """Sink of a format suffix."""
    if form == ".pcap":
        return PcapSink(out)
    if form in (".parquet", ".arrow"):
        return TableSink(out, form == ".parquet", names)
    return PcapngSink(out)
