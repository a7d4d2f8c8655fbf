"""plan: what cannot be protected is dropped here, before a number is given to it.

A number that no packet carries would leave a gap in the SA's sequence, and its bytes would count against the lifetime
(AR-1). So everything that can go wrong in `encap` is predicted from sizes and headers, exactly.
"""

import numpy as np

from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import FRAG, SAVE
from qfp_kernels.parse import drop, insertion_point

STAGE_PLAN = STAGES.index("plan")
OUT_TOO_LONG, AH_HEADERS = int(Drop.OUT_TOO_LONG), int(Drop.AH_HEADERS)
TRANSPORT_FRAGMENT, TRANSPORT_MISMATCH = int(Drop.TRANSPORT_FRAGMENT), int(Drop.TRANSPORT_MISMATCH)
IP_MAX = 65535
SURELY_FITS = IP_MAX - 512  # no combination of headers, padding and ICV adds more


@inlined
def protected_size(sa, payload):
    """Bytes of `payload` bytes once padded, with IV, trailer and ICV (AH adds nothing but its header)."""
    if sa.proto != 50:
        return payload
    block = np.int64(sa.block)
    return np.int64(sa.iv_len) + ((payload + 2 + block - 1) & ~(block - 1)) + np.int64(sa.icv_len)


@inlined
def _ip_header(sa):
    return 20 if sa.fam == 4 else 40


@outlined
def _tunnel(p, i, sa):
    total = np.int64(sa.hdr_len) + protected_size(sa, np.int64(p.ip_len[i]))
    return OUT_TOO_LONG if total > IP_MAX else 0


@outlined
def _transport(p, i, sa):
    if (p.frag[i] & FRAG) != 0:
        return TRANSPORT_FRAGMENT
    ends = (p.src0[i] ^ sa.src0) | (p.src1[i] ^ sa.src1) | (p.dst0[i] ^ sa.dst0) | (p.dst1[i] ^ sa.dst1)
    if p.fam[i] != sa.fam or ends != np.uint64(0):
        return TRANSPORT_MISMATCH
    split, _ = insertion_point(p, i)
    head = split - p.l3[i]
    if sa.ah_at != 255 and head > SAVE:
        return AH_HEADERS
    total = head + np.int64(sa.hdr_len) - _ip_header(sa) + protected_size(sa, np.int64(p.ip_len[i]) - head)
    return OUT_TOO_LONG if total - (0 if sa.fam == 4 else 40) > IP_MAX else 0


def plan(p, t, n):
    kept = 0
    for k in range(n):
        i = p.tx[k]
        sa = t.sa[p.sa[i]]
        cause = 0
        if sa.mode != 0:
            cause = _transport(p, i, sa)
        elif p.ip_len[i] > SURELY_FITS:
            cause = _tunnel(p, i, sa)
        if cause != 0:
            drop(p, i, cause, STAGE_PLAN)
            continue
        p.tx[kept] = i
        kept += 1
    return kept
