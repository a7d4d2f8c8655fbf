"""Walking bytes in memory for the capture tests: rows as the kernels give them, frames as `fill` copies them."""

import ctypes
import itertools
import mmap
from collections.abc import Iterator

import naive_capture as naive
import numpy as np

from qfp.trace.formats import kind_of
from qfp.trace.source import Source, StreamSource
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import FRAME_MAX


class Guarded:
    """Bytes at the very end (or start) of a mapping whose neighbouring pages cannot be read or written."""

    def __init__(self, data: bytes, at_end: bool = True):
        page = mmap.PAGESIZE
        inner = -(-max(len(data), 1) // page) * page
        self._map = mmap.mmap(-1, inner + 2 * page)
        raw = (ctypes.c_char * len(self._map)).from_buffer(self._map)
        start = ctypes.addressof(raw)
        del raw
        lead = page + (inner - len(data) if at_end else 0)
        self._map[lead : lead + len(data)] = data
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for guard in (start, start + page + inner):
            assert libc.mprotect(guard, page, 0) == 0
        self.address = start + lead
        self._where = slice(lead, lead + len(data))

    def content(self) -> bytes:
        """The bytes as they are now."""
        return self._map[self._where]


class Memory(Source):
    """A capture in memory between guard pages."""

    def __init__(self, data: bytes, at_end: bool = True):
        kind = kind_of(data)
        super().__init__("memory", C.walk_pcap if kind == "pcap" else C.walk_pcapng, len(data))
        self._data = data
        self._guarded = Guarded(data, at_end)
        if kind == "pcap":
            self._start_pcap(data)
        self.state[[C.W_BASE, C.W_END, C.W_EOF]] = self._guarded.address, len(data), 1

    def _peek(self, at: int, size: int) -> bytes:
        return self._data[at : at + size]


def rows_of(walker: Walker, copies: bool = True) -> Iterator[naive.Row]:
    """Rows that the kernels find, their bytes by way of the arena (frames longer than it takes: from the source)."""
    fill = compile_stage(C.fill)
    p = walker.p
    for n in walker:
        if copies:
            for stage in (C.copy_pcap, C.copy_pcapng):
                p.out_if[:n] = 0
                walker.run(stage, n)
        bare = bytes(walker.run(C.copy_bytes, n))
        assert fill(p, walker.t, n) == n
        ends = np.cumsum(p.cap[:n].astype(int))
        for i in range(n):
            cap, off = int(p.cap[i]), int(p.off[i])
            data = bare[ends[i] - cap : ends[i]]
            assert p.arena[off : off + min(cap, FRAME_MAX)].tobytes() == data[:FRAME_MAX]
            yield naive.Row(
                int(p.frame[i]), int(p.ts[i]), int(p.rec_at[i]), int(p.wire[i]), int(p.in_if[i]), int(p.link[i]), data
            )


def walk_bytes(data: bytes, at_end: bool = True) -> naive.Reading:
    """Walk a capture that lies between guard pages, at their end or start."""
    source = Memory(data, at_end)
    return _reading(source, Walker(source))


def walk_pieces(data: bytes, sizes: list[int], buffer: int) -> naive.Reading:
    """Walk a capture that arrives in pieces of these sizes (cyclic), through a rolling buffer."""
    ends = itertools.accumulate(itertools.cycle(sizes))
    cuts = [0, *itertools.takewhile(lambda e: e < len(data), ends), len(data)]
    pieces = (data[a:b] for a, b in itertools.pairwise(cuts))
    head = data[:24]
    source = StreamSource(_after(pieces, len(head)), "pieces", kind_of(head), head, None, None, buffer)
    return _reading(source, Walker(source))


def _after(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    for piece in pieces:
        cut = min(skip, len(piece))
        skip -= cut
        if piece[cut:]:
            yield piece[cut:]


def _reading(source: Source, walker: Walker) -> naive.Reading:
    out = naive.Reading(list(rows_of(walker)))
    if source.damage(walker.t):
        out.damage = (int(source.state[C.W_CODE]), int(source.state[C.W_AT]))
        assert source.damage(walker.t).record == len(out.rows)
    out.interfaces = [{"name": name} for name in source.given_names]
    return out
