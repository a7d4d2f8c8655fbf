"""deliver: the last look at every row, in order: counters, and one verdict row a frame."""

import numpy as np

from qfp_kernels.drops import Verdict
from qfp_kernels.jit import inlined
from qfp_kernels.layout import (
    CTL_ROWS,
    CTL_V_ON,
    CTL_V_POS,
    ST_FRAGMENTS,
    ST_ROWS,
    STAT_ECN_ALARM,
    STAT_FRAGMENTS,
    STAT_IN,
    STAT_IN_BYTES,
    STAT_OUT,
    STAT_OUT_BYTES,
)

DROPPED = int(Verdict.DROPPED)
U1 = np.uint64(1)


@inlined
def _count(p, t, i, wire, sent):
    """Counters by interface, SPD entry, cause and verdict."""
    inside = t.ifs[p.in_if[i]]
    inside.in_packets += U1
    inside.in_bytes += wire
    verdict = np.int64(p.verdict[i])
    t.verdicts[verdict] += U1
    sp = p.sp[i]
    if verdict == DROPPED:
        cause = np.int64(p.cause[i])
        t.causes[cause] += U1
        t.cause_bytes[cause] += wire
        inside.drops += U1
        if sp >= 0:
            t.sp[sp].drops += U1
        return
    if p.n_out[i] > 0:
        t.stats[STAT_OUT] += np.uint64(p.n_out[i])
        t.stats[STAT_OUT_BYTES] += sent
        if p.out_if[i] >= 0:
            t.ifs[p.out_if[i]].out_packets += np.uint64(p.n_out[i])
            t.ifs[p.out_if[i]].out_bytes += sent
        if sp >= 0:
            t.sp[sp].packets += U1
            t.sp[sp].bytes += wire


@inlined
def _verdict_row(p, t, i, v, sent):
    t.v_frame[v] = p.frame[i]
    t.v_ts[v] = p.ts[i]
    t.v_in_if[v] = p.in_if[i]
    t.v_out_if[v] = p.out_if[i]
    t.v_verdict[v] = p.verdict[i]
    t.v_cause[v] = p.cause[i]
    t.v_stage[v] = p.stage[i]
    t.v_sa[v] = p.sa[i]
    t.v_spi[v] = p.spi[i]
    bundle = p.sa[i] >= 0 and p.lv_n[i] == 0 and t.sa[p.sa[i]].next >= 0
    t.v_seq[v] = p.seq2[i] if bundle else p.seq[i]
    t.v_sns[v] = p.sns[i]
    t.v_len_in[v] = np.uint32(p.wire[i])
    t.v_len_out[v] = np.uint32(sent)
    t.v_first_out[v] = p.first_out[i]
    t.v_n_out[v] = p.n_out[i]


def deliver(p, t, n):
    rows = p.st[ST_ROWS]
    v = t.ctl[CTL_V_POS]
    keep = t.ctl[CTL_V_ON] != 0
    t.stats[STAT_IN] += np.uint64(rows)
    t.stats[STAT_FRAGMENTS] += np.uint64(p.st[ST_FRAGMENTS])
    for i in range(rows):
        wire = np.uint64(p.wire[i])
        sent = np.uint64(p.ip_len[i]) if p.n_out[i] > 0 else np.uint64(0)
        t.stats[STAT_IN_BYTES] += wire
        t.stats[STAT_ECN_ALARM] += np.uint64(p.alarm[i])
        _count(p, t, i, wire, sent)
        if keep:
            _verdict_row(p, t, i, v + i, sent)
    if keep:
        t.ctl[CTL_V_POS] = v + rows
    t.ctl[CTL_ROWS] += rows
    return n
