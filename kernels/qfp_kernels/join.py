"""join and policy: what INBOUND leaves meets the clear packets again, in order, and the inbound policy is checked.

RFC 4301 section 5.2: a decapsulated packet must be one that its SA may carry, and a clear packet that the policy says
must be protected is dropped.
"""

import numpy as np

from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.jit import inlined
from qfp_kernels.layout import (
    CTL_IN_IF,
    CTL_KEEP_CLEAR,
    CTL_MODE,
    LEVELS,
    MODE_DECRYPT,
    SP_PROTECT,
    ST_ROWS,
    ST_RX_SEEN,
    ST_TX,
)
from qfp_kernels.lookup import is_local
from qfp_kernels.parse import drop
from qfp_kernels.spd import reverse_entry

STAGE_JOIN, STAGE_POLICY = STAGES.index("join"), STAGES.index("policy")
FORWARDED, BYPASSED = np.uint8(Verdict.FORWARDED), np.uint8(Verdict.BYPASSED)
NOT_IPSEC, POLICY_MISMATCH = int(Drop.NOT_IPSEC), int(Drop.POLICY_MISMATCH)


def join(p, t, n):
    """Rows without a verdict become the OUTBOUND list, in row order."""
    rows = p.st[ST_ROWS]
    if p.st[ST_RX_SEEN] > 0:
        k = 0
        for i in range(rows):
            p.tx[k] = i
            k += p.verdict[i] == 0
        p.st[ST_TX] = k
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        keep = np.int32(t.ctl[CTL_KEEP_CLEAR])
        for k in range(p.st[ST_TX]):
            i = p.tx[k]
            opened = p.lv_n[i] > 0
            p.verdict[i] = FORWARDED if opened else BYPASSED
            p.n_out[i] = np.int32(1) if opened else keep
            p.stage[i] = np.uint8(STAGE_JOIN)
        p.st[ST_TX] = 0
    return n


@inlined
def _levels_of(p, t, i, sp):
    """SAs of a policy entry that the packet came through."""
    count = 0
    for k in range(i * LEVELS, i * LEVELS + np.int64(p.lv_n[i])):
        count += t.sa[p.lv_sa[k]].sp == sp
    return count


@inlined
def _exempt(p, t, i):
    """IPsec and IKE for the router itself never match a crypto ACL inbound."""
    proto = p.proto[i]
    ike = proto == 17 and (p.dport[i] == 500 or p.dport[i] == 4500)
    return (ike or proto == 50 or proto == 51) and is_local(p, t, i)


@inlined
def _cause(p, t, i):
    if p.lv_n[i] > 0:
        sa = t.sa[p.sa[i]]
        if sa.sp >= 0 and _levels_of(p, t, i, sa.sp) < t.sp[sa.sp].levels:
            return POLICY_MISMATCH  # a bundle with an SA stripped off proves nothing
        return POLICY_MISMATCH if sa.checks != 0 and reverse_entry(p, t, i) != sa.sp else 0
    if _exempt(p, t, i):
        return 0
    sp = reverse_entry(p, t, i)
    return NOT_IPSEC if sp >= 0 and t.sp[sp].action == SP_PROTECT else 0


@inlined
def _nothing_to_check(p, t):
    """Frames of one ingress interface without a policy, and nothing was decapsulated."""
    ingress = t.ctl[CTL_IN_IF]
    if ingress < 0 or p.st[ST_RX_SEEN] > 0:
        return False
    return t.ifs[ingress].spd4 < 0 and t.ifs[ingress].spd6 < 0


def policy(p, t, n):
    if _nothing_to_check(p, t):
        return n
    kept = 0
    for k in range(n):
        i = p.tx[k]
        cause = _cause(p, t, i)
        if cause != 0:
            drop(p, i, cause, STAGE_POLICY)
            continue
        p.tx[kept] = i
        kept += 1
    return kept
