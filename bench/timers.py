"""What lifetimes and idle timers of a million SAs cost (IDLE-4, BASE-7).

The same packets through the same SAs, with no limits and with all of them armed (time, volume, idle), in turns; then
what the wheel does when a second comes in which a million deadlines stand, of which none, or all, have come. Run as
`python bench/timers.py [SAS]`, alone on a core.
"""

import sys
import time
from statistics import median
from typing import Any

import numpy as np

from qfp.bench import machine, traffic
from qfp.bench.site import GCM, Site
from qfp.control.lifetimes import FRAME_COST, OLD_INBOUND
from qfp.control.limits import SECOND, SOFT_NUMBERS
from qfp.control.timers import Wheel
from qfp.engine import NullSink
from qfp.trace.source import BatchSource
from qfp_kernels.layout import CTL_BUDGET, CTL_DUE, CTL_FRAME_COST, CTL_SPAN, NEVER, NO_BUDGET, NO_LIMIT, OUT_NONE

ROUNDS = 15
PACKETS = 1 << 18
IDLE = 3600 * SECOND  # none falls due while packets are timed
HARD = 4_608_000 * 1024


def arm(site: Site, on: bool, due: int) -> None:
    """Limits on all SAs, or on none."""
    t = site.tables.t
    t.sa_out["limit"][site.handles] = HARD * 43 // 100 if on else NO_LIMIT
    t.ctl[CTL_SPAN], t.ctl[CTL_BUDGET] = (OLD_INBOUND, HARD * 43 // 100) if on else (NEVER, NO_BUDGET)
    t.ctl[CTL_FRAME_COST], t.ctl[CTL_DUE] = (FRAME_COST, due) if on else (0, NEVER)


def ns_a_packet(site: Site, batch: Any) -> float:
    """One pass of the batch, output thrown away."""
    source = BatchSource(batch)
    stages = site.stages(OUT_NONE)
    site.engine.load(stages)
    start = time.perf_counter_ns()
    site.engine.run(source, stages, NullSink())
    return (time.perf_counter_ns() - start) / len(batch)


def main(count: int) -> None:
    """Measure and print."""
    site = Site(GCM, count)
    t, handles = site.tables.t, site.handles
    site.sad.set_limits(handles, HARD * 86 // 100, HARD, SOFT_NUMBERS)
    t.life["fresh"][handles] = 0
    wheel = Wheel(lambda numbers: t.sa_out["last"][handles[numbers]] + IDLE)
    start = time.perf_counter()
    wheel.add(np.arange(count), np.full(count, IDLE))
    print(f"{count:,} timers armed in {time.perf_counter() - start:.3f} s")
    batch = traffic.drawn(64, traffic.zipf(count, PACKETS))
    with machine.pinned():
        figures: dict[bool, list[float]] = {False: [], True: []}
        for k in range(2 * ROUNDS + 2):
            on = (k + k // 2) % 2 == 1
            arm(site, on, wheel.next_due())
            sample = ns_a_packet(site, batch)
            if k >= 2:
                figures[on].append(sample)
        off, on_ = median(figures[False]), median(figures[True])
        print(f"64 bytes, AES-GCM, Zipf over {count:,} SAs: {off:.1f} ns a packet without limits, {on_:.1f} with all "
              f"armed (ratio {on_ / off:.3f})")  # fmt: skip
        t.sa_out["last"][handles] = SECOND * 1800
        start = time.perf_counter()
        none = wheel.due(IDLE)
        print(f"the second of {count:,} deadlines comes, all SAs were used: {len(none)} due, "
              f"{1000 * (time.perf_counter() - start):.1f} ms")  # fmt: skip
        start = time.perf_counter()
        gone = wheel.due(IDLE + 1800 * SECOND)
        print(f"and now they were not: {len(gone):,} due, {1000 * (time.perf_counter() - start):.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
