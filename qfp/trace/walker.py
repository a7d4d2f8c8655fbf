"""Walking a source from Python: a workspace and just enough tables for the capture stages, no router."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qfp.trace.source import Source
from qfp_kernels import capture as C
from qfp_kernels.columns import Columns
from qfp_kernels.dissect import NATT, dissect_row
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import (
    CTL_DUE,
    CTL_IN_IF,
    CTL_MODE,
    CTL_NATT_FROM,
    CTL_ROOM,
    CTL_SPAN,
    FRAME_MAX,
    MODE_DECRYPT,
    NEVER,
    ST_LIMIT,
    STEP_DISSECT,
    STEPS,
    TABLE_TYPES,
    VECTOR_MAX,
    aligned,
    workspace,
)

OUT_BLOCK = 2 << 20  # bytes of the output block, at first


class Walker:
    """Rows of a source, one vector at a time, in `p` (workspace) and `t` (tables)."""

    def __init__(self, source: Source, rows: int = VECTOR_MAX):
        self.source = source
        self.p: Any = workspace(flows=1)
        tables = {name: aligned(1, dtype) for name, dtype in TABLE_TYPES.items()}
        tables["ctl"], tables["steps"] = aligned(64, "i8"), aligned(STEPS, "i8")
        tables["out"] = aligned(OUT_BLOCK, "u1")
        self.t: Any = Columns("T", tables)
        self.t.ctl[CTL_IN_IF], self.t.ctl[CTL_ROOM], self.t.ctl[CTL_DUE] = -1, FRAME_MAX, NEVER
        self.t.ctl[CTL_SPAN] = NEVER
        self.p.st[ST_LIMIT] = rows
        self.rows = 0  # that `run` wrote
        self.rebind(source)

    def look_inside(self) -> None:
        """Have frames searched for ESP and AH as `decrypt` does: behind every link layer, and in tunnels."""
        self.t.ctl[CTL_MODE], self.t.ctl[CTL_NATT_FROM] = MODE_DECRYPT, NATT
        self.t.steps[STEP_DISSECT] = compile_stage(dissect_row).address

    def rebind(self, source: Source) -> None:
        """Walk another source from here on."""
        self.source = source
        source.bind(self.t)
        self._walk = compile_stage(source.walk)

    def __iter__(self) -> Iterator[int]:
        """Number of rows of each vector, until the source ends or is damaged."""
        state = self.source.state
        while True:
            rows = self._walk(self.p, self.t, 0)
            if rows:
                yield rows
            status = state[C.W_STATUS]
            if status in (C.END, C.DAMAGED) or (status == C.NEED_MORE and not self.source.refill(self.t)):
                return

    def intact(self, rows: int) -> int:
        """How many of the first `rows` rows were whole when their bytes were read just now: all of them, unless a
        mapped file became shorter. Then the walk goes on, and ends, at the first that was not."""
        state = self.source.state
        kept = compile_stage(C.kept)(self.p, self.t, rows) if state[C.W_GUARD] else rows
        if kept < rows:
            state[C.W_POS] = self.p.rec_at[kept] - state[C.W_STREAM]
            state[C.W_FRAME] = self.p.frame[kept]
        return kept

    def run(self, stage: Any, rows: int) -> memoryview:
        """Let a `copy_` stage write `rows` rows to the output block: what it wrote, valid until the next call. `rows`
        of the walker are those that it wrote, see `intact`."""
        need = C.worst_case(rows, int(self.p.cap[:rows].sum(dtype="i8")), FRAME_MAX)
        if need > self.t.out.size:
            self.t.rebind("out", aligned(need, "u1"))
        size = compile_stage(stage)(self.p, self.t, rows)
        self.rows = self.intact(rows)
        if self.rows < rows:
            size = compile_stage(stage)(self.p, self.t, self.rows)
        return memoryview(self.t.out)[:size]
