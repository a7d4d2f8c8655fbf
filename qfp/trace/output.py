"""Output files: written under a temporary name beside the target and renamed when complete, or deleted on an error."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard

from qfp.naming import give_name
from qfp.trace.errors import TraceError

CAPTURES = (".pcap", ".pcapng")
TABLES = (".parquet", ".arrow")
PACKERS = (".gz", ".zst")


def suffixes(path: str | os.PathLike[str]) -> tuple[str, str]:
    """(format, compression) suffixes of an output; both empty for targets that are no regular files, like /dev/null.

    Raises TraceError for a suffix that names no format that can be written.
    """
    name = Path(path)
    pack = name.suffix.lower() if name.suffix.lower() in PACKERS else ""
    form = (name.with_suffix("") if pack else name).suffix.lower()
    if form in CAPTURES or (form in TABLES and not pack):
        return form, pack
    if not form and special(name):
        return "", ""
    if form in TABLES:
        raise TraceError(f"{name}: {form} files are not compressed as a whole: leave {pack} off")
    raise TraceError(
        f"{name}: an output ends in {', '.join((*CAPTURES, *TABLES))} (captures also with .gz or .zst), "
        f"not in '{form or name.name}'"
    )


def special(path: Path) -> bool:
    """Whether the target exists and is neither regular file nor folder: a device, a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _link_of_others(path: Path) -> bool:
    """Whether a name is a link that somebody else put into a folder for everybody, such as /tmp: it may lead anywhere
    (the rule of Linux's fs.protected_symlinks)."""
    try:
        link, folder = path.lstat(), path.parent.stat()
    except OSError:
        return False
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    return bool(stat.S_ISLNK(link.st_mode) and shared and link.st_uid not in (os.geteuid(), folder.st_uid))


class OutputFile:
    """A file being written, unbuffered. As a context manager it commits, or aborts on an exception.

    Until `commit` the bytes go to a fresh file beside the target, with a name that nobody can guess, or straight to a
    target that is no regular file (a device, a pipe). Where the target is a symbolic link, what it leads to is replaced
    and the link stays; a link of somebody else in a folder for everybody is refused. Raises TraceError.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._direct = special(self.path)
        target = Path(os.path.realpath(self.path))
        self._target = target
        hidden = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
        self._place = self.path if self._direct else hidden
        if target.is_dir():
            raise TraceError(f"{self.path}: is a directory: name a file in it")
        if not self._direct and _link_of_others(self.path):
            raise TraceError(f"{self.path}: is a link of another user in a shared folder: choose another name")
        flags = os.O_WRONLY | (0 if self._direct else os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0))
        try:
            self._fd = os.open(self._place, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise TraceError(
                f"{self.path}: cannot be written ({error.strerror}): check that its folder exists and may be written"
            ) from None
        self.written = 0

    @property
    def place(self) -> Path:
        """The open file for writers that want a path: by its descriptor, so that nobody can put another there."""
        by_number = Path(f"/dev/fd/{self._fd}")
        return self._place if self._direct or not by_number.exists() else by_number

    def write(self, data: Any) -> None:
        """Write all bytes of a buffer. Raises TraceError, e.g. when the disk is full."""
        view = memoryview(data).cast("B")
        while view:
            with self.complaints():
                count = os.write(self._fd, view)
            view = view[count:]
            self.written += count

    @contextlib.contextmanager
    def complaints(self) -> Iterator[None]:
        """Errors of the operating system while writing, as TraceError; a reader that went away stays what it is."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
            raise TraceError(f"{self.path}: writing failed ({why}): check the space on its disk") from None

    def commit(self, last: Callable[[], object] | None = None) -> None:
        """Do the last writes, close, and give the file its name (see `naming`); delete it when any of that fails."""
        try:
            with self.complaints():
                if last:
                    last()
                self._close()
                if not self._direct:
                    give_name(self._place, self._target)
        except BaseException:
            self.abort()
            raise

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def abort(self) -> None:
        """Close and delete what was written."""
        self._close()
        if not self._direct:
            self._place.unlink(missing_ok=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


class PackedFile(OutputFile):
    """The same, compressed: `pack` is .gz or .zst."""

    def __init__(self, path: str | os.PathLike[str], pack: str):
        super().__init__(path)
        self._packer: Any = (
            zlib.compressobj(6, wbits=31) if pack == ".gz" else zstandard.ZstdCompressor(level=3).compressobj()
        )

    def write(self, data: Any) -> None:
        super().write(self._packer.compress(data))

    def commit(self, last: Callable[[], object] | None = None) -> None:
        """The same, after what the packer holds back."""

        def all_of_it() -> None:
            if last:
                last()
            OutputFile.write(self, self._packer.flush())

        super().commit(all_of_it)


def open_output(path: str | os.PathLike[str]) -> OutputFile:
    """OutputFile for a path, compressing when its last suffix says so."""
    pack = suffixes(path)[1]
    return PackedFile(path, pack) if pack else OutputFile(path)
