"""`open_source`: a path or a batch becomes a source; the format is recognised by content, never by suffix."""

from __future__ import annotations

import io
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from qfp.batch import Batch
from qfp.recognise import HEAD, foreign, is_configuration
from qfp.trace.compressed import Corrupt, gunzip, plain, unzstd
from qfp.trace.errors import TraceError
from qfp.trace.formats import kind_of
from qfp.trace.source import BatchSource, MappedSource, Source, StreamSource, table_source

Decoder = Callable[[BinaryIO], Iterator[bytes]]
DECODERS: dict[str, Decoder] = {"gzip": gunzip, "zstd": unzstd}
_HEAD = 24  # bytes that recognise any capture
_READS = "pcap, pcapng (each also .gz or .zst), or a trace as Parquet or Arrow file"


def open_source(trace: str | os.PathLike[str] | Batch) -> Source:
    """Source for a trace file or a batch. Raises TraceError, naming file and remedy, when it cannot be one."""
    if isinstance(trace, Batch):
        return BatchSource(trace)
    path = Path(trace)
    try:
        file = path.open("rb", buffering=0)
        mode = os.fstat(file.fileno())
    except IsADirectoryError:
        raise TraceError(f"{path}: is a directory: name a capture file in it") from None
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be opened ({error.strerror}): check its permissions") from None
    try:
        if not stat.S_ISREG(mode.st_mode):
            return _stream(io.BufferedReader(file), plain, str(path), None)
        return _regular(file, path, mode.st_size)
    except BaseException:
        file.close()
        raise


def _regular(file: io.FileIO, path: Path, size: int) -> Source:
    if size == 0:
        raise _empty(path)
    head = os.pread(file.fileno(), _HEAD, 0)
    kind = kind_of(head)
    if kind in ("pcap", "pcapng"):
        try:
            return MappedSource(file, str(path), kind, head)
        except ValueError:  # it was emptied meanwhile
            raise _empty(path) from None
    if kind in ("parquet", "arrow"):
        file.close()
        return table_source(path, kind)
    if kind in DECODERS:
        return _stream(io.BufferedReader(file), DECODERS[kind], str(path), size, kind)
    raise _unknown(str(path), head, "", os.pread(file.fileno(), HEAD, 0))


def _empty(path: Path) -> TraceError:
    return TraceError(f"{path}: is empty: capture the trace again, or check the disk that it was written to")


def _unknown(name: str, head: bytes, inside: str, text: bytes = b"") -> TraceError:
    if is_configuration(text):
        return TraceError(f"{name}: is a configuration, not a capture: give {_READS}")
    if "key" in foreign(text) or "secrets" in foreign(text):
        return TraceError(f"{name}: is {foreign(text)}, not a capture: give {_READS}")
    where = f"what is inside the {inside} data" if inside else "the file"
    return TraceError(f"{name}: {where} starts with {head[:4].hex() or 'nothing'}, which is no capture: give {_READS}")


def _stream(
    file: BinaryIO, decode: Decoder, name: str, size: int | None, inside: str = "",
    owner: BinaryIO | None = None,
) -> Source:  # fmt: skip
    """A source over decoded pieces; a pipe may itself bring compressed data (then `owner` is the pipe)."""
    pieces = decode(file)
    head, trouble = b"", ""
    try:
        while len(head) < _HEAD and (piece := next(pieces, b"")):
            head += piece
    except Corrupt as error:
        trouble = str(error)
    kind = kind_of(head)
    if kind in DECODERS and not inside:
        whole: BinaryIO = io.BufferedReader(_Joined(itertools.chain([head], pieces)))
        return _stream(whole, DECODERS[kind], name, size, kind, file)
    if trouble and len(head) < _HEAD:
        raise TraceError(f"{name}: {trouble}; no record can be read: copy the file again")
    if kind not in ("pcap", "pcapng"):
        raise _unknown(name, head, inside)
    if trouble:
        pieces = _failing(trouble)
    return StreamSource(pieces, name, kind, head, owner or file, size)


def _failing(trouble: str) -> Iterator[bytes]:
    raise Corrupt(trouble)
    yield b""


class _Joined(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            self._left = next(self._pieces, None)  # type: ignore[assignment]
            if self._left is None:
                self._left = b""
                return 0
        part = self._left[: len(buffer)]
        buffer[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)
