"""Frames through a router, for labs: what Router.exchange does, into memory that is used again.

A lab calls a router for a few thousand packets at a time, so what `exchange` spends on each result counts: the copy out
of the engine's output block, memory that is fresh every time (the system clears it first), the search for the records'
headers. Here the engine's output block is a part of the result's memory, which goes back when nobody holds packets in
it any more; and where a packet leaves is taken from the verdicts, unless several left for one frame.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import RAW_IP, Batch
from qfp.engine import OUT_BLOCK, MemorySink
from qfp.lab.flow import Array
from qfp.result import index_records
from qfp.router import EMITTERS, GROWTH, Router
from qfp.trace.source import BatchSource
from qfp_kernels.capture import MEMORY_HEADER, walk_batch
from qfp_kernels.layout import CTL_IN_IF, CTL_OUT_LIMIT, CTL_OUT_SEQ, CTL_TUNS, OUT_MEMORY

TOLD = ("ts", "verdict", "cause", "sa", "out_if", "len_in", "len_out", "n_out")  # verdict columns that labs look at
KEPT = 4  # buffers of a router. Each is as large as the engine wants a block to be; what is not written takes no memory
FREE = 3  # references to a buffer that nobody uses: the list, the loop, and the one that asks


@dataclass(frozen=True)
class Passed:
    """`packets`: what was sent (raw IP, `in_if`: the interface that each left by). `verdicts`: columns of TOLD, one row
    an input frame. `came_from`: the input row of each packet sent."""

    packets: Batch
    verdicts: dict[str, Array]
    came_from: Array


class Buffers:
    """A few byte arrays, each used again as soon as no view of it is left."""

    def __init__(self) -> None:
        self._all: list[Array] = []

    def take(self, size: int) -> Array | None:
        """One of at least `size` bytes; None while all of them are in use."""
        for buffer in self._all:
            if buffer.size >= size and sys.getrefcount(buffer) == FREE:
                return buffer
        self._all = [buffer for buffer in self._all if sys.getrefcount(buffer) > FREE or buffer.size >= size]
        if len(self._all) == KEPT:
            return None
        self._all.append(np.empty(size, np.uint8))
        return self._all[-1]


class InPlace(MemorySink):
    """The engine's output block is the free part of a buffer, so that records are where they stay.

    `block`: the engine's own, as large as it wants one. Where it is not content with ours, or while packets are held in
    all buffers, records are copied out of it.
    """

    def __init__(self, t: Any, buffers: Buffers, expected: int):
        super().__init__()
        self._t, self.block = t, t.out
        self._expected = expected + expected // 4
        found = buffers.take(self._expected + self.block.size)
        if found is None:
            self._buffer = np.empty(self._expected, np.uint8)
        else:
            self._buffer = found
            t.rebind("out", found)

    def write(self, block: Any) -> None:
        out, end = self._t.out, self._size + len(block)
        if out.ctypes.data != self._buffer.ctypes.data + self._size:  # not ours
            self.block = out
            super().write(block)
            return
        self._size = end
        spare = self._buffer.size - end - self.block.size  # beyond what the engine wants of a block
        self._t.rebind("out", self._buffer[end:] if spare >= 0 else self.block)
        self._t.ctl[CTL_OUT_LIMIT] = OUT_BLOCK + max(0, spare)  # bytes after which the engine looks in

    def close(self) -> None:
        """The engine gets its own block back."""
        self._t.rebind("out", self.block)


class Verdicts:
    """Keeps the verdict columns that labs look at."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Array]] = []

    def add(self, columns: dict[str, Array]) -> None:
        self._parts.append({name: columns[name].copy() for name in TOLD})

    def columns(self) -> dict[str, Array]:
        if len(self._parts) == 1:
            return self._parts[0]
        return {name: np.concatenate([part[name] for part in self._parts]) for name in TOLD}


class Passage:
    """A router, called again and again."""

    def __init__(self, router: Router):
        self.router = router
        self._stages = router.stages(walk_batch, EMITTERS[OUT_MEMORY])
        self._buffers = Buffers()

    def close(self) -> None:
        """Give memory back that waits to be used again."""
        self._buffers = Buffers()

    def exchange(self, batch: Batch) -> Passed:
        """Everything that the router does with frames that arrive at the interfaces `batch.in_if`, one at least."""
        router = self.router
        t = router.tables.t
        t.ctl[CTL_IN_IF] = -1
        expected = int(batch.length.sum(dtype=np.int64)) + len(batch) * GROWTH
        sink, verdicts, source = InPlace(t, self._buffers, expected), Verdicts(), BatchSource(batch)
        try:
            router.engine.run(source, self._stages, sink, verdicts.add)
            source.complete(t)
        finally:
            sink.close()
        told = verdicts.columns()
        packets = _packets(t, sink.records, told, router.interfaces.names)
        came_from = np.arange(len(batch)) if (told["n_out"] == 1).all() else np.repeat(
            np.arange(len(batch)), told["n_out"])  # fmt: skip
        return Passed(packets, told, came_from)


def _packets(t: Any, records: Array, told: dict[str, Array], interfaces: Any) -> Batch:
    """Records as a batch."""
    sent, count = told["n_out"], int(t.ctl[CTL_OUT_SEQ])
    simple = t.ctl[CTL_TUNS] == 0 and not (sent > 1).any() and not (sent[told["cause"] != 0] != 0).any()
    if simple:  # one packet, by the interface of the verdict: nothing to read
        rows = slice(None) if count == sent.size else np.flatnonzero(sent)
        length, ts, left_by = (told[name][rows] for name in ("len_out", "ts", "out_if"))
        offset = np.cumsum(length + np.int64(MEMORY_HEADER)) - length
    if not simple or (int(offset[-1]) + int(length[-1]) if count else 0) != records.size:
        offset, length, ts, left_by, _ = index_records(records, count)
    columns = {
        "offset": offset, "length": length, "wire": length, "ts": ts, "in_if": left_by,
        "link": np.full(count, RAW_IP, np.uint16), "frame": np.arange(count),
    }  # fmt: skip
    return Batch(records, columns, interfaces)
