"""The engine: owns the workspaces and runs traces through an FIA, vector by vector.

`Engine.run` is the only loop over packets in Python, and it turns once for several vectors: the driver runs them in
compiled code, then the output block and the verdict rows are handed on.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from qfp.engines.crypto import EngineError
from qfp.fia import STEPS, Stage
from qfp.tables import reassembly, state
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp.trace.source import Source
from qfp.unpicklable import Unpicklable
from qfp_kernels import capture as C
from qfp_kernels.drive import TICKET_STRIDE, drive
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import (
    ARENA_ALL,
    CTL_BUDGET,
    CTL_CUT_VECTOR,
    CTL_FAILED,
    CTL_FIA_N,
    CTL_LAST,
    CTL_NEXT,
    CTL_OUT_KIND,
    CTL_OUT_LIMIT,
    CTL_OUT_POS,
    CTL_OUT_SEQ,
    CTL_PREFETCH,
    CTL_ROOM,
    CTL_TOLD_IN,
    CTL_TOLD_OUT,
    CTL_V_ON,
    CTL_V_POS,
    FAILED_UNSEALED,
    JOB_BAD,
    LIST_ER,
    LIST_FR,
    LIST_IC,
    LIST_TU,
    NEVER,
    OUT_MEMORY,
    ROWS_MAX,
    SLOT_EXTRA,
    ST_CUT_FRAME,
    ST_CUT_POS,
    ST_CUT_VECTOR,
    ST_FLOW_MASK,
    ST_L3_ALIGN,
    ST_LIMIT,
    ST_STOP,
    ST_STOP_A,
    ST_STOP_B,
    ST_STOP_TS,
    STAT_HELD_BEFORE,
    STOP_NONE,
    VECTOR,
    VECTOR_MAX,
    VERDICT_FIELDS,
    aligned,
    workspace,
)
from qfp_kernels.layout import STEPS as STEPS_MAX
from qfp_kernels.reassemble import begin_turn, undo
from qfp_kernels.signals import held_signals

Array = npt.NDArray[Any]
VECTORS_A_TURN = 64  # that the driver runs, at most, before Python looks in
OUT_BLOCK = 1 << 20  # bytes of output after which it looks in earlier: recycled, so mostly in the cache
VERDICT_ROWS = 1 << 16
RARE_LISTS = (LIST_FR, LIST_IC, LIST_TU, LIST_ER)  # their stages are compiled when a packet needs them
FAR_SAS = 512  # with more SAs, contexts and state no longer stay in L2 and are prefetched (1 to 4 ns with fewer)
FLOWS_MIN, FLOWS_MAX = 1 << 14, 1 << 18
# Where the IP header lies on a 64-byte line, so that the ESP header starts one: 16 bytes of it precede the inner packet
# outbound; inbound the outer header of 20 bytes precedes it.
ALIGN_OUTBOUND, ALIGN_INBOUND = 16, 44


class Sink(Protocol):
    """Takes blocks of whole records; `kind` is an OUT_ number."""

    kind: int

    def write(self, block: Any) -> None: ...


class Pauses(Protocol):
    """Who may look at a run between two turns: `due` asks whether to, then `take` finds all output handed over."""

    def due(self) -> bool: ...

    def take(self, source: Source) -> None: ...


class MemorySink:
    """Keeps the records, with frame and egress interface of each packet. expected: bytes to make room for at first."""

    kind = OUT_MEMORY

    def __init__(self, expected: int = 0) -> None:
        self._buffer: Array = np.empty(expected, np.uint8)
        self._size = 0

    def write(self, block: Any) -> None:
        end = self._size + len(block)
        if end > self._buffer.size:
            larger = np.empty(max(end, 2 * self._buffer.size), np.uint8)
            larger[: self._size] = self._buffer[: self._size]
            self._buffer = larger
        self._buffer[self._size : end] = np.frombuffer(block, np.uint8)
        self._size = end

    @property
    def records(self) -> Array:
        """uint8: the records, one behind the other."""
        return self._buffer[: self._size]


class NullSink:
    """Packets are built and thrown away."""

    kind = 0  # OUT_NONE

    def write(self, block: Any) -> None:
        pass


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Blocks:
    """Hands output blocks to a sink from a thread of its own, in order, while the driver fills the other block.

    Writing a block to a file costs as much as making it, and the system call needs no lock of Python's. Sinks in memory
    and single-core machines get their blocks at once.
    """

    def __init__(self, t: Any, sink: Sink):
        self._t, self._sink = t, sink
        direct = sink.kind == 0 or isinstance(sink, MemorySink) or cores() < 2
        self._pool = None if direct else ThreadPoolExecutor(1)
        self._spare: Array = t.out if direct else aligned(t.out.size, "u1")
        self._pending: Future[None] | None = None

    def send(self, size: int) -> None:
        """Write the first `size` bytes of t.out; the table gets the other block. Raises what the last write raised."""
        if self._pool is None:
            self._sink.write(memoryview(self._t.out)[:size])
            return
        self.settle()
        full = self._t.out
        self._t.rebind("out", self._spare)
        self._spare = full
        self._pending = self._pool.submit(self._sink.write, memoryview(full)[:size])

    def settle(self) -> None:
        """Wait for the block that is being written. Raises what the write raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            if self._pool is not None:
                self._pool.shutdown()


class Engine(Unpicklable):
    """Workspaces, driver and the loop over a source. `batch`: packets a vector (1..VECTOR_MAX, 0 = the default)."""

    def __init__(self, tables: Tables, sad: Sad, threads: int = 1, batch: int = 0):
        if not 1 <= threads <= 64:
            raise ValueError("threads must be 1 to 64")
        if batch < 0:
            raise ValueError("batch must not be negative")
        self.tables, self.sad = tables, sad
        self.t = tables.t
        if not self.t.rsm_ring.size:
            reassembly.build(tables)  # kernels write there whoever put the tables together
        self.threads = threads
        self.vector = min(batch or VECTOR, VECTOR_MAX)
        flows = min(max(FLOWS_MIN, 1 << (2 * max(1, tables.t.sp.size)).bit_length()), FLOWS_MAX)
        self.workspaces = [workspace(flows) for _ in range(threads)]
        for p in self.workspaces:
            p.st[ST_LIMIT] = self.vector
            p.st[ST_FLOW_MASK] = flows - 1
            sad.crypto.attach(p)
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._makers: dict[tuple[str, int, Any], int] = {}
        self._loaded: Sequence[Stage] | None = None
        self._failed = False
        # The control plane's answers: to a stop (STOP_ number, two arguments, ns), to a timer that is due (ns), and to
        # what packets did to their SAs (ctl[CTL_TOLD_OUT], ctl[CTL_TOLD_IN])
        self.on_stop: Callable[[int, int, int, int], None] | None = None
        self.on_due: Callable[[int], None] | None = None
        self.on_told: Callable[[], None] | None = None
        self.pauses: Pauses | None = None
        self._made_before: int | None = None

    @property
    def failed(self) -> bool:
        """Whether a run was broken off inside a step: the tables are not what a finished turn leaves."""
        return self._failed

    @property
    def made(self) -> int:
        """Packets that the present run, or the last one, has made."""
        return int(self.t.ctl[CTL_OUT_SEQ])

    def go_on(self, made: int) -> None:
        """Let the next run be the rest of one that had made so many packets: it counts on, and no handle of an SA that
        ended in the part before is given away anew."""
        self._made_before = made

    def align(self, offset: int) -> None:
        """Where fill puts IP headers on a 64-byte line (speed only)."""
        for p in self.workspaces:
            p.st[ST_L3_ALIGN] = offset

    def load(self, stages: Sequence[Stage]) -> None:
        """Compile the stages and what they call (or take it from the cache) and enter the addresses into the tables."""
        t = self.t
        ticket = -1
        for k, stage in enumerate(stages):
            if stage.walks in RARE_LISTS:
                self._later("fia", k, stage.run)
            else:
                t.fia[k] = compile_stage(stage.run).address
            t.fia_list[k] = stage.walks
            for number in stage.calls:
                self._later("steps", number, STEPS[number])
            if stage.serial and (k == 0 or not stages[k - 1].serial):
                ticket += 1
            t.fia_serial[k] = ticket if stage.serial else -1
        t.ctl[CTL_FIA_N] = len(stages)
        self._loaded = stages

    def _later(self, table: str, k: int, run: Callable[..., Any]) -> None:
        """Enter a stage that few packets need: it is compiled when the first one comes."""
        key = (table, k, run)
        if key not in self._makers:
            entries = getattr(self.t, table)

            def enter(address: int) -> None:
                entries[k] = address

            self._makers[key] = self.sad.crypto.callbacks.maker(run, enter)
        getattr(self.t, table)[k] = 0
        self.t.makers[k if table == "steps" else STEPS_MAX + k] = self._makers[key]

    def run(
        self,
        source: Source,
        stages: Sequence[Stage],
        sink: Sink,
        on_verdicts: Callable[[dict[str, Array]], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Run a whole source. `on_verdicts` receives verdict columns (views, valid until it returns)."""
        if self._failed:
            raise EngineError("an earlier run ended inside a step and left its tables unfinished: make a new router")
        t = self.t
        source.bind(t)
        made, self._made_before = self._made_before, None
        if made is None:
            self.sad.recycle()
        if stages is not self._loaded:  # a lab runs the same ones a thousand times
            self.load(stages)
        self._outputs(sink, on_verdicts is not None)
        t.ctl[CTL_OUT_SEQ] = made or 0
        t.ctl[CTL_FAILED] = 0
        with Blocks(t, sink) as blocks:
            self._turns(source, blocks, on_verdicts, on_progress)
        if on_verdicts:
            self._hand_over(on_verdicts)

    def _turns(
        self, source: Source, blocks: "Blocks", on_verdicts: Callable[[dict[str, Array]], None] | None,
        on_progress: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        """Turns of the driver until the source ends."""
        t = self.t
        while True:
            self._drive()
            if t.ctl[CTL_OUT_POS] and self._wants_room():
                blocks.send(int(t.ctl[CTL_OUT_POS]))
                t.ctl[CTL_OUT_POS] = 0
            if on_verdicts and t.ctl[CTL_V_POS] >= VERDICT_ROWS:
                self._hand_over(on_verdicts)
            if on_progress:
                on_progress(source.position(t))
            if self._finished(source):
                break
            if self.pauses is not None and self.pauses.due():
                self._pause(self.pauses, source, blocks, on_verdicts)

    def _pause(
        self, pauses: Pauses, source: Source, blocks: "Blocks",
        on_verdicts: Callable[[dict[str, Array]], None] | None,
    ) -> None:  # fmt: skip
        """Hand over all that the turns so far have made, and let somebody look."""
        t = self.t
        if t.ctl[CTL_OUT_POS]:
            blocks.send(int(t.ctl[CTL_OUT_POS]))
            t.ctl[CTL_OUT_POS] = 0
        blocks.settle()
        if on_verdicts:
            self._hand_over(on_verdicts)
        pauses.take(source)

    def _wants_room(self) -> bool:
        """Whether the output block is to be handed on: it is full, or the source is not done with its next packets at
        once. Turns that end early, for timers and cuts, go on filling it."""
        t = self.t
        early = t.ctl[CTL_CUT_VECTOR] >= 0 or t.walk[C.W_STATUS] in (C.TURN, C.DUE)
        return bool(not early or t.ctl[CTL_OUT_POS] > t.ctl[CTL_OUT_LIMIT])

    def _outputs(self, sink: Sink, verdicts: bool) -> None:
        t = self.t
        block = 1
        if sink.kind:
            size = ARENA_ALL + ROWS_MAX * SLOT_EXTRA
            block = OUT_BLOCK + (self.threads + 1) * C.worst_case(ROWS_MAX, size, int(t.ctl[CTL_ROOM]))
        if t.out.size < block:
            t.rebind("out", aligned(block, "u1"))
        t.ctl[CTL_OUT_KIND], t.ctl[CTL_OUT_POS] = sink.kind, 0
        t.ctl[CTL_OUT_LIMIT] = OUT_BLOCK
        t.ctl[CTL_PREFETCH] = self.sad.rows > FAR_SAS
        t.ctl[CTL_V_ON], t.ctl[CTL_V_POS] = verdicts, 0
        if verdicts:
            for f in VERDICT_FIELDS:
                self.tables.grow("v_" + f.name, VERDICT_ROWS + VECTORS_A_TURN * VECTOR_MAX)

    def _drive(self) -> None:
        """One turn: up to VECTORS_A_TURN vectors, on all threads."""
        t = self.t
        t.ctl[CTL_NEXT], t.ctl[CTL_LAST], t.ctl[CTL_CUT_VECTOR] = 0, VECTORS_A_TURN, -1
        t.ticket[::TICKET_STRIDE] = 0
        waiting = int((t.rsm["head"] - t.rsm["tail"]).sum())  # bytes that a fragment to come may complete
        t.walk[C.W_UNTIL], t.walk[C.W_LEFT] = NEVER, max(0, int(t.ctl[CTL_BUDGET]) - waiting)
        begin_turn(t)
        for p in self.workspaces:
            p.st[ST_CUT_VECTOR], p.st[ST_STOP] = -1, STOP_NONE
        with held_signals():
            self._drive_all()
        if t.ctl[CTL_FAILED]:
            self._fail()

    def _drive_all(self) -> None:
        if self._pool is None:
            drive(self.workspaces[0], self.t)
            return
        others: list[Future[Any]] = []
        try:
            others.extend(self._pool.submit(drive, p, self.t) for p in self.workspaces[1:])
            drive(self.workspaces[0], self.t)
        finally:
            for other in others:
                other.result()

    def _fail(self) -> None:
        """End a run in which a step was broken off: its rows were abandoned, so the tables are not what a finished turn
        leaves, and nobody may go on with them."""
        self._failed = True
        if self.t.ctl[CTL_FAILED] == FAILED_UNSEALED:
            raise EngineError("a packet that was to be sealed was not (a fault of qfp): nothing of its vector was sent")
        self.sad.crypto.callbacks.raise_kept()

    def _finished(self, source: Source) -> bool:
        t = self.t
        if self.on_told is not None and (t.ctl[CTL_TOLD_OUT] or t.ctl[CTL_TOLD_IN]):
            self.on_told()
        if t.ctl[CTL_CUT_VECTOR] >= 0:  # rows were given back: start again at the first of them
            self._resume(next(p.st for p in self.workspaces if p.st[ST_CUT_VECTOR] == t.ctl[CTL_CUT_VECTOR]))
            return False
        if t.walk[C.W_STATUS] == C.DUE and self.on_due is not None:
            self.on_due(int(t.walk[C.W_DUE_AT]))
            return False
        if t.walk[C.W_STATUS] == C.TURN:
            return False
        if t.ctl[CTL_LAST] != 0:
            return False
        return t.walk[C.W_STATUS] != C.NEED_MORE or not source.refill(t)

    def _resume(self, st: Array) -> None:
        """Go back to where a vector was cut, and let the control plane do what it was cut for."""
        t = self.t
        undo(t, int(st[ST_CUT_POS]))
        t.walk[C.W_POS] = st[ST_CUT_POS] - t.walk[C.W_STREAM]
        t.walk[C.W_FRAME] = st[ST_CUT_FRAME]
        t.walk[C.W_STATUS] = C.WALKING
        if st[ST_STOP] != STOP_NONE and self.on_stop is not None:
            self.on_stop(*(int(st[k]) for k in (ST_STOP, ST_STOP_A, ST_STOP_B, ST_STOP_TS)))
        for p in self.workspaces:  # vectors behind the cut were abandoned with jobs that nobody will do
            p.c_ok[:] = JOB_BAD

    def _hand_over(self, on_verdicts: Callable[[dict[str, Array]], None]) -> None:
        rows = int(self.t.ctl[CTL_V_POS])
        on_verdicts({f.name: getattr(self.t, "v_" + f.name)[:rows] for f in VERDICT_FIELDS})
        self.t.ctl[CTL_V_POS] = 0

    def close(self) -> None:
        """End the worker threads."""
        if self._pool is not None:
            self._pool.shutdown()


def zero_counters(tables: Tables) -> None:
    """Start counting from zero: interfaces, causes, verdicts, statistics (not those of SAs and SPD entries)."""
    t = tables.t
    state.zero_counters(t)
    t.stats[STAT_HELD_BEFORE] = t.rsm["held"].sum()  # fragments that wait now came in, as far as what follows can tell
