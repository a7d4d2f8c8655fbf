"""TraceWriter: takes the engine's output blocks, which already are records, and puts them into a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from qfp.trace.formats import interface_block, section_block, write_pcap_header
from qfp.trace.output import open_output, suffixes
from qfp.trace.sinks import TableSink
from qfp.trace.source import Source
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.layout import OUT_PCAP, OUT_PCAPNG

RAW_IP = 101


class TraceWriter:
    """A trace that grows by whole records, in the format that the suffix of `path` names.

    `interfaces`: names of the router's interfaces; a record's interface number is its index. `link`: their link type.
    `kind` (OUT_PCAP, OUT_PCAPNG) says how the blocks given to `write` must be formed; tables (.parquet, .arrow) take
    pcapng blocks. Targets that are no regular files (/dev/null, pipes) get pcapng unless their name says otherwise.
    As a context manager: complete files get their name, failed ones are deleted. Raises TraceError.
    """

    def __init__(self, path: str | os.PathLike[str], interfaces: Sequence[str], link: int = RAW_IP):
        form, _ = suffixes(path)
        self.kind = OUT_PCAP if form == ".pcap" else OUT_PCAPNG
        if self.kind == OUT_PCAP:
            self.header = write_pcap_header(link)
        else:
            self.header = section_block() + b"".join(interface_block(name, link) for name in interfaces)
        self._out = open_output(path)
        self._table: _TableWriter | None = None
        if form in (".parquet", ".arrow"):
            self._table = _TableWriter(TableSink(self._out, form == ".parquet", interfaces))
        self.write(self.header)

    @property
    def written(self) -> int:
        """Bytes given to the operating system so far."""
        return self._out.written

    def write(self, block: Any) -> None:
        """Append a buffer of whole records of `kind`."""
        if self._table:
            self._table.write(block)
        else:
            self._out.write(block)

    def close(self) -> None:
        """Complete the file and give it its name."""
        self._out.commit(self._table.close if self._table else None)

    def abort(self) -> None:
        """Delete what was written."""
        self._out.abort()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _BlockSource(Source):
    """Blocks of pcapng as the engine forms them, one at a time; they share one section."""

    def __init__(self) -> None:
        super().__init__("output", C.walk_pcapng, None)
        self._block: Any = np.empty(0, np.uint8)
        self.state[C.W_EOF] = 1

    def show(self, block: Any) -> None:
        """Walk this block next."""
        s = self.state
        s[C.W_STREAM] += s[C.W_END]
        self._block = np.frombuffer(block, np.uint8)
        s[C.W_BASE], s[C.W_POS], s[C.W_END] = self._block.ctypes.data, 0, self._block.size

    def _peek(self, at: int, size: int) -> bytes:
        return bytes(self._block[at : at + size])


class _TableWriter:
    """Turns blocks into table rows."""

    def __init__(self, sink: TableSink):
        self._source = _BlockSource()
        self._walker = Walker(self._source)
        self._sink = sink

    def write(self, block: Any) -> None:
        self._source.show(block)
        for rows in self._walker:
            self._sink.rows(self._walker, rows)
        damage = self._source.damage(self._walker.t)
        if damage:
            raise ValueError(f"the block is not made of whole pcapng blocks: {damage}")

    def close(self) -> None:
        self._sink.close(self._walker)
