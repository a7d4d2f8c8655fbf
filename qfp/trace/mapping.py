"""A file as memory. What it no longer has, because it became shorter meanwhile, reads as zeros and is noticed.

Where mappings cannot be watched (see qfp_kernels.faults) such a read ends the process, as it does everywhere else.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from qfp_kernels import faults

Array = npt.NDArray[Any]
_here: dict[int, tuple[int, int]] = {}  # record -> addresses of the first byte and behind the last


def _gone(record: int, fd: int) -> None:
    _here.pop(record, None)
    faults.forget(record)
    os.close(fd)


class Mapping:
    """A file, mapped to read. `bytes`: uint8. `record`: what kernels ask with, 0 = not watched.

    The memory stays as long as an array looks at it, and is watched as long. Raises OSError, and ValueError for an
    empty file.
    """

    def __init__(self, file: BinaryIO):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes: Array = np.frombuffer(self._map, np.uint8)
        self.size = self.bytes.size
        self.low: int = self.bytes.ctypes.data
        fd = os.dup(file.fileno())
        self.record = faults.watch(self.low, self.size, fd)
        if self.record:
            _here[self.record] = self.low, self.low + self.size
        self._end = weakref.finalize(self._map, _gone, self.record, fd)
        self._end.atexit = False

    def intact(self, upto: int) -> int:
        """Bytes that are the file's, when those up to `upto` were read just now: fewer than that when it shrank."""
        return intact(self.record, self.low + upto) if self.record else self.size

    def release(self, first: int, last: int) -> None:
        """Let the kernel have pages back that were read; they may be read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def read_ahead(self) -> None:
        """The file is going to be read from its start to its end."""
        if hasattr(mmap, "MADV_SEQUENTIAL"):
            self._map.madvise(mmap.MADV_SEQUENTIAL)

    def close(self) -> None:
        """Give the file back; arrays that still look at it keep it."""
        self.bytes = np.empty(0, np.uint8)
        with contextlib.suppress(BufferError):  # a batch still looks at it: unmapped with that
            self._map.close()
            self._end()


def intact(record: int, upto: int) -> int:
    """The same of a record, up to an address."""
    return int(faults.intact_bytes(record, upto))


def record_at(array: Array) -> tuple[int, int]:
    """(record, address of the first byte) of the mapping that an array looks into; zeros when it is no such array."""
    at = array.ctypes.data
    for record, (low, high) in list(_here.items()):
        if low <= at < high:
            return record, low
    return 0, 0
