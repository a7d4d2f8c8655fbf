"""sequence: number every packet of every SA, in packet order. The serial heart of OUTBOUND (AR-1).

Everything that depends on order is given here, before a byte is sealed, so that bytes do not depend on vector size or
threads: the sequence numbers of all SAs of a bundle and the identification of the outer IPv4 header.
"""

import numpy as np

from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.jit import inlined
from qfp_kernels.limits import ENDED, at_limit, number_of, outbound
from qfp_kernels.parse import drop
from qfp_kernels.sns import spaces, take

SEQ_OVERFLOW, SA_EXPIRED, SA_STALE = int(Drop.SEQ_OVERFLOW), int(Drop.SA_EXPIRED), int(Drop.SA_STALE)
STAGE_SEQUENCE = STAGES.index("sequence")
U1, ONE = np.uint64(1), np.uint32(1)


@inlined
def _next(t, sa, space):
    """The SA's next number, or 0 when it has none left: no number is used twice under one key (RFC 4303 3.3.3)."""
    out = t.sa_out[sa]
    if out.sns_at >= 0:
        return take(t, out.sns_at, space, t.sa[sa].esn != 0)
    seq = out.next_seq
    if seq > out.last_seq or seq == np.uint64(0):
        return np.uint64(0)
    out.next_seq = seq + U1  # after 2^64-1 this is 0: exhausted
    return seq


def sequence(p, t, n):
    kept = 0
    for k in range(n):
        i = p.tx[k]
        s = np.int64(p.sa[i])
        space = np.int64(0)
        if t.sa_out[s].sns_at >= 0:  # one queue, one space
            space = np.int64(p.cls[i]) & (spaces(t) - 1)
            p.sns[i] = np.uint8(space)
        if at_limit(t, s, number_of(t, s, space)):
            s = outbound(p, t, i, s, space)
            if s == ENDED:
                t.sa_out[p.sa[i]].errors += ONE
                drop(p, i, SA_STALE if t.life[p.sa[i]].stale != 0 else SA_EXPIRED, STAGE_SEQUENCE)
                continue
            p.sa[i] = np.int32(s)
        sa = t.sa[s]
        seq = _next(t, s, space)
        outer = np.int64(sa.next)
        seq2 = _next(t, outer, space) if outer >= 0 and seq != np.uint64(0) else U1
        if seq == np.uint64(0) or seq2 == np.uint64(0):
            t.sa_out[s].errors += ONE
            drop(p, i, SEQ_OVERFLOW, STAGE_SEQUENCE)
            continue
        size = np.uint64(p.ip_len[i])
        t.sa_out[s].packets += U1
        t.sa_out[s].bytes += size
        t.sa_out[s].last = max(t.sa_out[s].last, p.ts[i])
        if outer >= 0:
            t.sa_out[outer].packets += U1
            t.sa_out[outer].bytes += size
        p.seq[i] = seq
        p.seq2[i] = seq2
        ident = t.ip_id[sa.id_row]
        t.ip_id[sa.id_row] = ident + np.uint32(1)
        p.ip_id[i] = np.uint16(ident)
        p.tx[kept] = i
        kept += 1
    return kept
