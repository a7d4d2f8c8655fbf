"""police: markings and policers of a policy's classes, over rows in time order.

Independent of the queues, so an input policy is this and nothing else. `set` comes first, then the policers from the
innermost policy outwards; what a policer sets replaces what `set` said. A packet that one of them drops is not metered
by those around it. Tokens are nanobits: a policer of r bit/s gets r of them in a nanosecond, and nothing is rounded.
"""

import numpy as np

from qfp_kernels.jit import inlined, kernel
from qfp_kernels.queues import FATE_POLICED, FATE_SEND, NANO, POLICE_ONE, POLICE_TWO_RATES

CONFORM, EXCEED, VIOLATE = 0, 1, 2
SEND, POLICED = np.uint8(FATE_SEND), np.uint8(FATE_POLICED)


@kernel
def police(m, n):
    """Fill r_fate, r_dscp and r_group of n rows."""
    for i in range(n):
        cls = np.int64(m.r_class[i])
        m.r_fate[i] = SEND
        m.r_dscp[i] = np.int16(m.set_dscp[cls])
        m.r_group[i] = np.int16(m.set_group[cls])
        length = np.int64(m.r_length[i])
        b = m.policer[cls]
        while b >= 0:
            bucket = m.bucket[b]
            size = bucket.each if bucket.each != 0 else length * NANO
            c = m.colour[3 * b + colour(bucket, size, m.r_ts[i])]
            c.packets += 1
            c.bytes += length
            if c.drop != 0:
                m.r_fate[i] = POLICED
                break
            if c.dscp >= 0:
                m.r_dscp[i] = np.int16(c.dscp)
            if c.group >= 0:
                m.r_group[i] = np.int16(c.group)
            b = bucket.outer


@inlined
def colour(b, size, now):
    """The colour of a packet of `size` nanobits, whose tokens are taken."""
    refill(b, now)
    if b.kind == POLICE_TWO_RATES:  # RFC 2698 section 3, colour-blind: the peak rate is asked first
        if b.e < size:
            return VIOLATE
        b.e -= size
        if b.c < size:
            return EXCEED
        b.c -= size
        return CONFORM
    if b.c >= size:
        b.c -= size
        return CONFORM
    if b.kind == POLICE_ONE:
        return EXCEED
    if b.e >= size:  # RFC 2697 section 3
        b.e -= size
        return EXCEED
    return VIOLATE


@inlined
def refill(b, now):
    passed = now - b.at
    b.at = now
    if b.kind == POLICE_TWO_RATES:
        b.c = b.cbs if passed >= b.cfill else min(b.cbs, b.c + passed * b.cir)
        b.e = b.ebs if passed >= b.efill else min(b.ebs, b.e + passed * b.pir)
        return
    b.c += min(passed, b.cfill + b.efill) * b.cir
    over = max(b.c - b.cbs, np.int64(0))  # RFC 2697: what the first bucket cannot hold goes into the second
    b.c -= over
    b.e = min(b.ebs, b.e + over)
