"""Outputs of a run that may be broken off: they grow as segments, which can be continued where a compressed file or a
table cannot, and become the file that was asked for once they are whole.

A segment is pieces one behind the other: 8 bytes of length, 4 of CRC-32 (both little-endian), then that many bytes. A
checkpoint remembers how long it was; what came later is cut off when the run goes on.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from qfp.batch import Array
from qfp.trace.errors import TraceError
from qfp_kernels.layout import VERDICT_FIELDS

_HEAD = struct.Struct("<QL")


class Segment:
    """One file of pieces. `size`: bytes of it that count, 0 for a new one.

    Raises TraceError when it cannot be written, or is shorter than that. Its owner alone can read it.
    """

    def __init__(self, path: Path, size: int = 0):
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
            if self._file.seek(0, os.SEEK_END) < size:
                self._file.close()
                raise TraceError(f"{path}: is shorter than its checkpoint says: begin anew")
            self._file.truncate(size)
            self._file.seek(size)
        except OSError as error:
            raise self._complaint(error) from None
        self.size = size

    def _complaint(self, error: OSError) -> TraceError:
        return TraceError(f"{self.path}: writing failed ({error.strerror or error}): check the space on its disk")

    def append(self, parts: Iterable[Any]) -> None:
        """Add a piece, given in parts. Raises TraceError."""
        views = [memoryview(part).cast("B") for part in parts]
        crc = 0
        for view in views:
            crc = zlib.crc32(view, crc)
        head = _HEAD.pack(sum(view.nbytes for view in views), crc)
        try:
            for view in (memoryview(head), *views):
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise self._complaint(error) from None
        self.size += len(head) + sum(view.nbytes for view in views)

    def sync(self) -> int:
        """Have the disk hold it; its size. Raises TraceError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._complaint(error) from None
        return self.size

    def pieces(self) -> Iterator[bytes]:
        """All pieces. Raises TraceError for one that is damaged."""
        self._file.seek(0)
        done = 0
        while done < self.size:
            head = self._file.read(_HEAD.size)
            size, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (-1, 0)
            data = self._read(size) if 0 <= size <= self.size - done - _HEAD.size else b""
            if size < 0 or len(data) != size or zlib.crc32(data) != crc:
                raise TraceError(f"{self.path}: is damaged at byte {done}: begin anew, without --resume")
            yield data
            done += _HEAD.size + size

    def _read(self, size: int) -> bytes:
        parts = []
        while size and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give the file back; it stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PacketSegment:
    """Records for a TraceWriter, as the engine forms them for its `kind`."""

    def __init__(self, segment: Segment, kind: int):
        self._segment, self.kind = segment, kind

    def write(self, block: Any) -> None:
        """Take a block of whole records."""
        self._segment.append([block])

    def join(self, writer: Any) -> None:
        """Give a TraceWriter all of it."""
        for block in self._segment.pieces():
            writer.write(block)


class VerdictSegment:
    """Verdict columns for a VerdictWriter."""

    def __init__(self, segment: Segment):
        self._segment = segment

    def write(self, columns: Mapping[str, Array]) -> None:
        """Take rows: one array a field of VERDICT_FIELDS."""
        if len(columns["frame"]):
            self._segment.append(np.ascontiguousarray(columns[f.name], f.dtype) for f in VERDICT_FIELDS)

    def join(self, writer: Any) -> None:
        """Give a VerdictWriter all of it."""
        row = sum(np.dtype(f.dtype).itemsize for f in VERDICT_FIELDS)
        for data in self._segment.pieces():
            rows, columns, at = len(data) // row, {}, 0
            for f in VERDICT_FIELDS:
                columns[f.name] = np.frombuffer(data, f.dtype, rows, at)
                at += columns[f.name].nbytes
            writer.write(columns)
