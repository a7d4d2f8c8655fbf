"""Sources: a trace as the walk sees it, with bounded resident memory at any size.

A source owns the state of the walk (`t.walk`, `t.links`). The engine binds it, calls the stage `source.walk`, and on
NEED_MORE calls `refill`, when no row that was walked is needed any more: refilling may move or free its bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.batch import Array, Batch
from qfp.tabular import NAMES, TableError, first_line
from qfp.trace.compressed import Corrupt
from qfp.trace.errors import MESSAGES, Damage, Shrunk, TraceError
from qfp.trace.formats import PCAP_FILE_HEADER, interface_name, pcap_header
from qfp.trace.mapping import Mapping, record_at
from qfp.unpicklable import Unpicklable
from qfp_kernels import capture as C
from qfp_kernels.layout import NEVER, NO_BUDGET, aligned

WINDOW = 64 << 20  # bytes of a mapped file that may be resident
BUFFER = 8 << 20  # bytes of the rolling buffer, at first
ARROW_ROWS = 1 << 16  # rows of a table held at a time
# Words of the walk that belong to this opening of the file: addresses, and how much of it is at hand
_OWN_WORDS = [C.W_BASE, C.W_POS, C.W_END, C.W_STREAM, C.W_EOF, C.W_IFS_MAX, C.W_GUARD, C.W_B_BEHIND,
              *range(C.W_B_OFFSET, C.W_B_FRAME + 1)]  # fmt: skip
# What pyarrow, and the checks of what it returns, raise for files that are not what they say
UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, RuntimeError, OverflowError, MemoryError)


class Source(Unpicklable):
    """A trace being walked. `walk` is the stage to compile and call; use as a context manager to close the file."""

    def __init__(self, name: str, walk: Any, total_bytes: int | None):
        self.name = name
        self.walk = walk
        self.total_bytes = total_bytes  # for progress: the unit of `position`; None = not known
        self.state: Array = aligned(C.W_N, "i8")
        self.links: Array = aligned(16 * C.L_N, "i8")
        self.state[C.W_IFS_MAX] = 16
        self.state[[C.W_SECTION, C.W_SECTION_AT]] = -1
        self.state[C.W_UNTIL], self.state[C.W_LEFT] = NEVER, NO_BUDGET
        self._names: list[str] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back. The buffers of rows that were walked are gone after it."""

    def bind(self, t: Any) -> None:
        """Make this source's state the tables' (Columns) `walk` and `links`."""
        t.rebind("walk", self.state)
        t.rebind("links", self.links)

    def refill(self, t: Any) -> bool:
        """After NEED_MORE: make more of the source available. False when there is nothing more to call the walk for."""
        self._learn_names()
        if self.state[C.W_IFS] == self.state[C.W_IFS_MAX]:
            self.links = np.concatenate([self.links, aligned(self.links.size, "i8")])
            self.state[C.W_IFS_MAX] *= 2
            t.rebind("links", self.links)
            return True
        if self.state[C.W_EOF]:
            return False
        self._more(t)
        return True

    def _more(self, t: Any) -> None:
        raise NotImplementedError

    def damage(self, t: Any) -> Damage | None:
        """Where and why the walk stopped before the source's end, or None."""
        if self.state[C.W_STATUS] != C.DAMAGED:
            return None
        return Damage(int(self.state[C.W_FRAME]), int(self.state[C.W_AT]), MESSAGES[int(self.state[C.W_CODE])])

    def position(self, t: Any) -> int:
        """How far the walk came, in the unit of `total_bytes`."""
        return int(self.state[C.W_STREAM] + self.state[C.W_POS])

    @property
    def frame(self) -> int:
        """Number of the next record, from 0."""
        return int(self.state[C.W_FRAME])

    def place(self) -> dict[str, Any]:
        """Where the walk is, for `go_to`."""
        self._learn_names()
        words = self.state.copy()
        words[_OWN_WORDS] = 0
        return {"at": int(self.state[C.W_STREAM] + self.state[C.W_POS]), "words": words, "links": self.links.copy(),
                "names": list(self._names)}  # fmt: skip

    def go_to(self, place: dict[str, Any]) -> None:
        """Let the walk of a source that was just opened go on from where that of the same trace was.

        Raises TraceError where it has no such place.
        """
        own = self.state[_OWN_WORDS]
        self.state[:], self.links = place["words"], aligned(place["links"].size, "i8")
        self.state[_OWN_WORDS], self.links[:] = own, place["links"]
        self.state[C.W_IFS_MAX] = self.links.size // C.L_N
        self._names = list(place["names"])
        if not self._seek(place["at"]):
            raise TraceError(f"{self.name}: is shorter than when the run began: give the same trace, or begin anew")

    def _seek(self, at: int) -> bool:
        """Go to a position behind the present one; whether there is one."""
        raise NotImplementedError

    @property
    def given_names(self) -> list[str]:
        """Name of each capture interface seen so far; empty where the capture names none."""
        self._learn_names()
        return list(self._names)

    @property
    def interfaces(self) -> list[str]:
        """Name of each capture interface seen so far, by its number; `ifN` where the capture names none."""
        return [name or f"if{i}" for i, name in enumerate(self.given_names)]

    def _learn_names(self) -> None:
        """Names of interfaces found since the last call, read while their blocks are still in the buffer."""
        for row in range(len(self._names), int(self.state[C.W_IFS])):
            link = self.links[row * C.L_N : (row + 1) * C.L_N]
            at = int(link[C.L_AT] - self.state[C.W_STREAM])
            order = "big" if link[C.L_SWAP] else "little"
            length = int.from_bytes(self._peek(at + 4, 4), order)  # type: ignore[arg-type]
            self._names.append(interface_name(self._peek(at, length), bool(link[C.L_SWAP])))

    def _peek(self, at: int, size: int) -> bytes:
        raise NotImplementedError

    def _start_pcap(self, head: bytes) -> None:
        header = pcap_header(head, self.name)
        s = self.state
        s[C.W_POS], s[C.W_SWAP], s[C.W_SCALE] = PCAP_FILE_HEADER, header.swap, header.scale
        s[C.W_LINK], s[C.W_CAP_MAX] = header.link, header.cap_max
        self._names = [""]


class MappedSource(Source):
    """A plain pcap or pcapng file, mapped; pages behind the walk are given back every WINDOW bytes.

    A file that becomes shorter meanwhile is damaged at the first record that it no longer has whole.
    """

    def __init__(self, file: BinaryIO, name: str, kind: str, head: bytes, window: int = WINDOW):
        self.mapping = Mapping(file)
        file.close()
        super().__init__(name, C.walk_pcap if kind == "pcap" else C.walk_pcapng, self.mapping.size)
        self.bytes: Array = self.mapping.bytes
        self._window = window
        self._released = 0
        self.state[C.W_BASE], self.state[C.W_GUARD] = self.mapping.low, self.mapping.record
        if kind == "pcap":
            self._start_pcap(head)
        self.mapping.read_ahead()
        self._show(0)

    def _show(self, behind: int) -> None:
        """Let the walk see one window from `behind` on (the file's last record may need to look past it)."""
        end = min(self.bytes.size, behind + self._window)
        self.state[C.W_END] = max(end, int(self.state[C.W_END]))
        self.state[C.W_EOF] = int(self.state[C.W_END] == self.bytes.size)

    def _more(self, t: Any) -> None:
        done = int(self.state[C.W_POS])
        page = done & -mmap.PAGESIZE
        if page > self._released:
            self.mapping.release(self._released, page)
            self._released = page
        # a record longer than the window moves the end, not the position: always show more than before
        self._show(max(done, int(self.state[C.W_END]) - self._window + mmap.PAGESIZE))

    def _seek(self, at: int) -> bool:
        if at > self.bytes.size:
            return False
        self.state[C.W_POS] = at
        self._released = at & -mmap.PAGESIZE
        self._show(at)
        return True

    def _peek(self, at: int, size: int) -> bytes:
        return self.bytes[at : at + size].tobytes()

    def close(self) -> None:
        self.bytes = np.empty(0, np.uint8)
        self.mapping.close()


class StreamSource(Source):
    """Bytes that come in pieces (decompressed, or from a pipe), through a rolling buffer."""

    def __init__(
        self, pieces: Iterator[bytes], name: str, kind: str, head: bytes, raw: BinaryIO | None, total: int | None,
        buffer: int = BUFFER,
    ):  # fmt: skip
        super().__init__(name, C.walk_pcap if kind == "pcap" else C.walk_pcapng, total)
        self._pieces, self._left, self._raw = pieces, memoryview(head), raw
        self._broken = ""
        self._buffer: Array = np.zeros(buffer, np.uint8)
        self.state[C.W_BASE] = self._buffer.ctypes.data
        if kind == "pcap":
            self._start_pcap(head[:PCAP_FILE_HEADER])
        while self.state[C.W_END] < self.state[C.W_POS]:  # the header itself, in a buffer of any size
            self._fill_buffer()

    def _next_piece(self) -> bool:
        """Another piece in `_left`; False at the end, remembering why when the end is damage."""
        try:
            self._left = memoryview(next(self._pieces))
        except StopIteration:
            return False
        except Corrupt as error:
            self._broken = str(error)
            return False
        except OSError as error:
            self._broken = f"reading failed ({error.strerror})"
            return False
        return True

    def _fill_buffer(self) -> None:
        end = int(self.state[C.W_END])
        if end == self._buffer.size:
            self._buffer = np.concatenate([self._buffer, np.zeros(self._buffer.size, np.uint8)])
            self.state[C.W_BASE] = self._buffer.ctypes.data
        while end < self._buffer.size:
            if not self._left and not self._next_piece():
                self.state[C.W_EOF] = 1
                break
            part = self._left[: self._buffer.size - end]
            self._buffer[end : end + len(part)] = part
            self._left = self._left[len(part) :]
            end += len(part)
        self.state[C.W_END] = end

    def _more(self, t: Any) -> None:
        self._forward()

    def _forward(self) -> None:
        """Bytes behind the walk go, others come."""
        done, end = int(self.state[C.W_POS]), int(self.state[C.W_END])
        self._buffer[: end - done] = self._buffer[done:end].copy()
        self.state[C.W_STREAM] += done
        self.state[C.W_POS], self.state[C.W_END] = 0, end - done
        self._fill_buffer()

    def _seek(self, at: int) -> bool:
        s = self.state
        while s[C.W_STREAM] + s[C.W_END] < at and not s[C.W_EOF]:
            s[C.W_POS] = s[C.W_END]
            self._forward()
        s[C.W_POS] = at - s[C.W_STREAM]
        return bool(s[C.W_POS] <= s[C.W_END])

    def _peek(self, at: int, size: int) -> bytes:
        return self._buffer[at : at + size].tobytes()

    def damage(self, t: Any) -> Damage | None:
        s = self.state
        if self._broken and s[C.W_EOF] and s[C.W_STATUS] in (C.END, C.DAMAGED):
            found = super().damage(t)
            if found is None or s[C.W_CODE] == C.D_TRUNCATED:
                return Damage(int(s[C.W_FRAME]), int(s[C.W_STREAM] + s[C.W_POS]), self._broken)
        return super().damage(t)

    def position(self, t: Any) -> int:
        """Compressed bytes read so far, where the size of the file is known; else bytes walked."""
        if self._raw is None or self.total_bytes is None or self._raw.closed:
            return super().position(t)
        return self._raw.tell()

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()


class BatchSource(Source):
    """A batch in memory, or over a mapped capture."""

    def __init__(self, batch: Batch, name: str = "batch"):
        super().__init__(name, C.walk_batch, len(batch))
        self._names = list(batch.interfaces)
        self._show(batch, 0)
        self.state[C.W_EOF] = 1

    def _show(self, batch: Batch, first_row: int) -> None:
        self._batch = batch
        self._link = batch.link.astype(np.int32)
        s, columns = self.state, batch.columns
        s[C.W_BASE], s[C.W_POS], s[C.W_END] = batch.arena.ctypes.data, 0, len(batch)
        s[C.W_STREAM] = first_row
        s[C.W_B_LINK] = self._link.ctypes.data
        for word, name in (
            (C.W_B_OFFSET, "offset"), (C.W_B_LENGTH, "length"), (C.W_B_WIRE, "wire"), (C.W_B_TS, "ts"),
            (C.W_B_IN_IF, "in_if"), (C.W_B_FRAME, "frame"),
        ):  # fmt: skip
            s[word] = columns[name].ctypes.data
        s[C.W_GUARD], self._low = record_at(batch.arena) if len(batch) else (0, 0)

    def _seek(self, at: int) -> bool:
        self.state[C.W_POS] = at - self.state[C.W_STREAM]
        return bool(self.state[C.W_POS] <= self.state[C.W_END])

    def damage(self, t: Any) -> Damage | None:
        """Where a mapped file became shorter while its frames were read."""
        s = self.state
        if s[C.W_STATUS] != C.DAMAGED:
            return None
        row = int(s[C.W_POS])
        offset = int(self._batch.arena.ctypes.data) - self._low + int(self._batch.offset[row])
        return Damage(int(self._batch.frame_no[row]), offset, MESSAGES[int(s[C.W_CODE])])

    def complete(self, t: Any) -> None:
        """Raises Shrunk when the walk ended before the batch did."""
        damage = self.damage(t)
        if damage is not None:
            raise Shrunk(f"{self.name}: {damage}; nothing of it is given out: read the trace again")


class TableSource(BatchSource):
    """A trace as Parquet or Arrow file, ARROW_ROWS rows or one stored group at a time.

    mapping: the Arrow file, whose memory the groups look at. Raises ValueError and what pyarrow does when the first
    group cannot be read.
    """

    def __init__(
        self, groups: Iterator[pa.RecordBatch], schema: pa.Schema, name: str, rows: int, mapping: Mapping | None
    ):
        self._file = mapping
        self._groups = groups
        self._broken = ""
        first = next(groups, None)
        super().__init__(Batch.from_arrow(schema.empty_table() if first is None else first), name)
        if first is not None:
            self._guard(first)
        self.state[C.W_EOF] = 0
        self.total_bytes = rows

    def _guard(self, group: pa.RecordBatch) -> None:
        """Have the walk ask whether the file still has what it reads of a group; frames that were decompressed or cast
        lie elsewhere already, with their columns."""
        s, file = self.state, self._file
        s[C.W_GUARD] = s[C.W_B_BEHIND] = 0
        if file is None or not file.record:
            return
        columns = [column for name, column in zip(group.schema.names, group.columns, strict=True) if name in NAMES]
        buffers = [buffer for column in columns for buffer in column.buffers() if buffer is not None]
        places = [(b.address, b.address + b.size) for b in buffers if file.low <= b.address < file.low + file.size]
        arena = self._batch.arena.ctypes.data
        if file.low <= arena < file.low + file.size:
            s[C.W_GUARD], self._low = file.record, file.low
            s[C.W_B_BEHIND] = max((end for start, end in places if start != arena), default=0)
        elif self._shrunk():
            raise OSError(MESSAGES[C.D_SHRUNK])
        else:  # columns that are still the file's
            own = {name: column.copy() for name, column in self._batch.columns.items()}
            self._show(Batch(self._batch.arena, own, self._batch.interfaces), int(s[C.W_STREAM]))

    def _shrunk(self) -> bool:
        return self._file is not None and self._file.intact(self._file.size) < self._file.size

    def _more(self, t: Any) -> None:
        done = int(self.state[C.W_STREAM] + self.state[C.W_POS])
        try:
            group = next(self._groups, None)
            if group is not None:
                self._show(Batch.from_arrow(group, done), done)
                self._guard(group)
                return
        except TableError as error:
            self._broken = str(error)
        except UNREADABLE:
            self._broken = MESSAGES[C.D_SHRUNK if self._shrunk() else C.D_ROW]
        self.state[C.W_POS] = self.state[C.W_END] = done - self.state[C.W_STREAM]
        self.state[C.W_EOF] = 1

    def _seek(self, at: int) -> bool:
        while self.state[C.W_STREAM] + self.state[C.W_END] < at and not self.state[C.W_EOF]:
            self.state[C.W_POS] = self.state[C.W_END]
            self._more(None)
        return super()._seek(at)

    def damage(self, t: Any) -> Damage | None:
        """As of any source; where rows cannot be found in the file, the byte is the row's number."""
        s, row = self.state, int(self.state[C.W_STREAM] + self.state[C.W_POS])
        if s[C.W_STATUS] == C.DAMAGED and self._file is not None:  # columns may be zeros: the byte is the file's end
            return Damage(row, self._file.intact(self._file.size), MESSAGES[int(s[C.W_CODE])])
        return Damage(row, row, self._broken) if self._broken and s[C.W_STATUS] == C.END else None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def arrow_file(path: Path) -> tuple[Any, Mapping]:
    """(reader, what it looks at) of an Arrow file. Raises OSError, pa.ArrowException, ValueError."""
    with path.open("rb", buffering=0) as file:
        mapping = Mapping(file)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping.bytes))), mapping


def _table_batches(path: Path, kind: str) -> tuple[Iterator[pa.RecordBatch], pa.Schema, int, Mapping | None]:
    if kind == "parquet":
        file = pq.ParquetFile(path, memory_map=False)
        wanted = [name for name in NAMES if name in file.schema_arrow.names]
        groups = file.iter_batches(batch_size=ARROW_ROWS, columns=wanted)
        return groups, file.schema_arrow, file.metadata.num_rows, None
    reader, mapping = arrow_file(path)
    groups = (reader.get_batch(k) for k in range(reader.num_record_batches))
    pieces = (g.slice(a, ARROW_ROWS) for g in groups for a in range(0, max(g.num_rows, 1), ARROW_ROWS))
    return pieces, reader.schema, -1, mapping


def table_source(path: Path, kind: str) -> TableSource:
    """Open a Parquet or Arrow file that holds a trace. Raises TraceError when it holds something else."""
    try:
        groups, schema, rows, mapping = _table_batches(path, kind)
        return TableSource(groups, schema, str(path), rows, mapping)
    except TableError as error:
        raise TraceError(f"{path}: this {kind} file does not hold a trace: {error}") from None
    except UNREADABLE as error:
        raise TraceError(f"{path}: cannot be read as {kind} ({first_line(error)}): write it again") from None


def name_links(source: Source) -> Sequence[tuple[str, int]]:
    """(name, link type) of each interface that the source has described so far, by number; pcap and pcapng only."""
    names = source.given_names
    if source.walk is C.walk_pcap:
        return [(names[0], int(source.state[C.W_LINK]))]
    if source.walk is C.walk_pcapng:
        return [(name, int(source.links[i * C.L_N + C.L_LINK])) for i, name in enumerate(names)]
    return []
