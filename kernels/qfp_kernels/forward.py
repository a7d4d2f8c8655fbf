"""forward: the router's own hop. One off the TTL or hop limit, the IPv4 checksum kept right incrementally."""

import numpy as np

from qfp_kernels.checksum import adjust
from qfp_kernels.columns import base
from qfp_kernels.drops import Drop
from qfp_kernels.parse import drop
from qfp_kernels.simd import ld8, ld16, st8, st16

TTL_EXPIRED = int(Drop.TTL_EXPIRED)
STAGE_FORWARD = 8


def forward(p, t, n):
    arena = base(p.arena)
    kept = 0
    for k in range(n):
        i = p.tx[k]
        at = arena + p.l3[i]
        ttl = p.ttl[i]
        if ttl <= 1:
            drop(p, i, TTL_EXPIRED, STAGE_FORWARD)
            continue
        p.ttl[i] = ttl - np.uint8(1)
        if p.fam[i] == 4:
            old = ld16(at + 8)  # TTL and protocol: the TTL is the low byte in memory order
            st8(at + 8, ttl - np.uint8(1))
            st16(at + 10, adjust(ld16(at + 10), old, old - np.uint16(1)))
        else:
            st8(at + 7, ttl - np.uint8(1))
        p.tx[kept] = i
        kept += p.verdict[i] == 0  # what goes out in the clear has its verdict and is done
    return kept
