"""Kernels of the bench: run vectors like `drive` does, reading a clock wherever the segment of the stages changes."""

from typing import Any

import numpy as np

from qfp_kernels.capture import W_END, W_FRAME, W_POS, W_STATUS, WALKING
from qfp_kernels.drive import run_stage
from qfp_kernels.fib import route
from qfp_kernels.jit import call, kernel
from qfp_kernels.layout import (
    CTL_FIA_N,
    CTL_GEN,
    CTL_OUT_POS,
    ST_ROWS,
    ST_VECTOR,
)
from qfp_kernels.reassemble import begin_turn

SEGMENTS = 64  # accumulators that `lap` has
TURN = 4  # vectors that share an output block, as in Engine
REWIND, FORGET_WINDOWS, FORGET_FLOWS = 0, 1, 2  # bits of `reset`
SECOND = 1_000_000_000


@kernel
def _begin(t: Any, reset: int, sas: int, words: int) -> None:
    """Back to the first record; windows as before the first packet, and an empty flow cache, where asked for."""
    t.walk[W_POS] = 0
    t.walk[W_FRAME] = 0
    t.walk[W_STATUS] = WALKING
    if reset & FORGET_WINDOWS != 0:
        for s in range(sas):
            t.sa_in[s].top = np.uint64(0)
        for k in range(words):
            t.win[k] = np.uint64(0)
    if reset & FORGET_FLOWS != 0:
        t.ctl[CTL_GEN] += 1


@kernel
def lap(
    p: Any, t: Any, passes: int, reset: int, sas: int, words: int, segment: Any, ns: Any, stamp: Any, stamp_at: int,
    clock: int, which: int,
) -> int:  # fmt: skip
    """Run the bound batch `passes` times on this thread; returns packets.

    segment[k]: accumulator of stage k; ns[segment] grows by the time spent there. sas, words: rows of sa_in and of win
    to reset. stamp: int64[2] at address stamp_at, where the clock writes seconds and ns.
    """
    packets = 0
    for _ in range(passes):
        _begin(t, reset, sas, words)
        vector = 0
        while t.walk[W_POS] < t.walk[W_END]:
            if vector % TURN == 0:
                t.ctl[CTL_OUT_POS] = 0
                begin_turn(t)
            p.st[ST_VECTOR] = vector
            p.st[ST_ROWS] = 0
            vector += 1
            at = segment[0]
            call(clock, which, stamp_at, 0)
            then = stamp[0] * SECOND + stamp[1]
            for k in range(t.ctl[CTL_FIA_N]):
                if segment[k] != at:
                    call(clock, which, stamp_at, 0)
                    now = stamp[0] * SECOND + stamp[1]
                    ns[at] += now - then
                    at, then = segment[k], now
                run_stage(p, t, k)
            call(clock, which, stamp_at, 0)
            ns[at] += stamp[0] * SECOND + stamp[1] - then
            packets += p.st[ST_ROWS]
    return packets


def idle(p: Any, t: Any, n: int) -> int:
    """A stage that finds nothing to do: it looks at one column of every row on its list and keeps them all."""
    kept = 0
    for k in range(n):
        i = p.tx[k]
        p.tx[kept] = i
        kept += p.fam[i] != 0
    return kept


@kernel
def routes(t: Any, family: int, dst0: Any, dst1: Any, passes: int) -> int:
    """Look every address (two uint64 arrays) up `passes` times; returns how many had a route."""
    found = 0
    for _ in range(passes):
        for k in range(dst1.size):
            found += route(t, np.uint16(0), np.uint8(family), dst0[k], dst1[k]) >= 0
    return found
