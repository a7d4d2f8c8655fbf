"""forward: the router's own hop. One off the TTL or hop limit, the IPv4 checksum kept right incrementally."""

import numpy as np

from qfp_kernels.checksum import less_one_hop
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.parse import drop
from qfp_kernels.simd import ld16, st8, st16

TTL_EXPIRED = int(Drop.TTL_EXPIRED)
STAGE_FORWARD = STAGES.index("forward")


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
            st8(at + 8, ttl - np.uint8(1))
            st16(at + 10, less_one_hop(ld16(at + 10)))
        else:
            st8(at + 7, ttl - np.uint8(1))
        p.tx[kept] = i
        kept += p.verdict[i] == 0  # what goes out in the clear has its verdict and is done
    return kept
