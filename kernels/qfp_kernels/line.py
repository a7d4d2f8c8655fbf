"""A line that sends one packet after the other, with a queue of limited length before it: departure times."""

from typing import Any

import numpy as np

from qfp_kernels.jit import kernel

FREE, REST, NEXT = range(3)  # state: ns when the line is free; rest of the last division, in 1/rate ns; ring position
STATE = 3
BIT_NS = 8 * 10**9  # bits a byte, ns a second


@kernel
def fifo(ts: Any, size: Any, rate: int, state: Any, waiting: Any, depart: Any) -> None:
    """First come, first served.

    ts: int64[n], ns, not falling; size: int64[n], bytes on the line; rate: bits/s, 0 = packets take no time. state:
    int64[STATE] and waiting: int64[limit], both zero at first, go from call to call. depart: int64[n] gets the ns at
    which the last bit is sent, -1 where as many packets as `waiting` has room for wait already (tail drop). Times are
    whole ns; what a division leaves is carried on, so that a busy line sends exactly at its rate.
    """
    limit = waiting.size
    for i in range(ts.size):
        at = np.int64(0)
        if limit > 0:
            at = state[NEXT] % limit
            if state[NEXT] >= limit and waiting[at] > ts[i]:
                depart[i] = -1
                continue
        if state[FREE] < ts[i]:
            state[FREE], state[REST] = ts[i], 0
        if limit > 0:
            waiting[at] = state[FREE]  # when it begins to be sent, and no longer waits
            state[NEXT] += 1
        if rate > 0:
            bits = size[i] * BIT_NS + state[REST]
            state[FREE] += bits // rate
            state[REST] = bits % rate
        depart[i] = state[FREE]
