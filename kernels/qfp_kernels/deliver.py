"""deliver: the last look at every row, in order: counters, and one verdict row a frame.

What leaves for a frame may be several rows (fragments, an ICMP error) and several packets a row. A frame of which a
piece was lost counts as dropped, with that piece's cause (the last one's); further pieces that were lost are counted
apart (`pieces`), so that what came in and was made equals what went out and was lost, packet for packet.
"""

import numpy as np

from qfp_kernels.drops import STAGES, Verdict
from qfp_kernels.fragment import sent_bytes
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    CTL_FAILED,
    CTL_ROWS,
    CTL_V_ON,
    CTL_V_POS,
    FAILED_UNSEALED,
    IS_ERROR,
    IS_PIECE,
    JOB_DUE,
    LEVELS,
    NOTE_COMPRESSED,
    NOTE_ECN,
    NOTE_FRAGMENT,
    NOTE_INCOMPRESSIBLE,
    NOTE_REASSEMBLED,
    ST_NOTED,
    ST_ROWS,
    ST_SPARE,
    STAT_ECN_ALARM,
    STAT_FRAGMENTS,
    STAT_ICMP,
    STAT_ICMP_LOST,
    STAT_IN,
    STAT_IN_BYTES,
    STAT_MADE,
    STAT_OUT,
    STAT_OUT_BYTES,
)

DROPPED = int(Verdict.DROPPED)
SPD, FORWARD, PLAN, TUNNEL, QUEUE = (STAGES.index(name) for name in ("spd", "forward", "plan", "tunnel", "queue"))
U0, U1, ONE = np.uint64(0), np.uint64(1), np.uint32(1)


@inlined
def _forget_unnumbered(p, i):
    """Which SA a packet would have gone by is not told: whether that one or the next depends, until it has a number, on
    where its vector began. The one that opened it, or numbered it, is."""
    stage, opened = np.int64(p.stage[i]), np.int64(p.lv_n[i])
    unnumbered = stage in (SPD, FORWARD, PLAN, TUNNEL, QUEUE) and (opened > 0 or p.seq[i] == U0)
    if p.sa[i] >= 0 and unnumbered:
        p.sa[i] = p.lv_sa[i * LEVELS + opened - 1] if opened > 0 else np.int32(-1)


@outlined
def _dropped(p, t, i, wire):
    _forget_unnumbered(p, i)
    cause = np.int64(p.cause[i])
    t.causes[cause] += U1
    t.cause_bytes[cause] += wire
    t.ifs[p.in_if[i]].drops += U1
    if p.sp[i] >= 0:
        t.sp[p.sp[i]].drops += U1


@inlined
def _out(p, t, i, sent):
    """Count the packets of row i that left, `sent` bytes in all."""
    packets = np.uint64(p.n_out[i])
    t.stats[STAT_OUT] += packets
    t.stats[STAT_OUT_BYTES] += sent
    if p.out_if[i] >= 0:
        port = t.ifs[p.out_if[i]]
        port.out_packets += packets
        port.out_bytes += sent


@inlined
def _entry(p, t, i, wire):
    if p.sp[i] >= 0:
        entry = t.sp[p.sp[i]]
        entry.packets += U1
        entry.bytes += wire


@inlined
def _noted(p, t, i):
    """What a row's notes count, at its SA and in the statistics."""
    notes = p.notes[i]
    t.stats[STAT_ECN_ALARM] += np.uint64(notes & NOTE_ECN)
    t.stats[STAT_FRAGMENTS] += np.uint64((notes & NOTE_FRAGMENT) >> 1)
    if notes & NOTE_REASSEMBLED:
        t.ifs[p.in_if[i]].process_in += U1
    if notes & (NOTE_COMPRESSED | NOTE_INCOMPRESSIBLE) and p.sa[i] >= 0 and p.n_out[i] > 0:
        if notes & NOTE_COMPRESSED:
            t.sa_out[p.sa[i]].compressed += ONE
        else:
            t.sa_out[p.sa[i]].incompressible += ONE


@inlined
def _several(p, t, i, wire):
    """A frame for which other rows than its own, or several packets, leave: (packets, bytes) of all of them."""
    packets, total, made, lost = np.int64(0), U0, np.int64(-1), np.int64(0)
    first_sent = np.int64(-1)
    r = np.int64(i)
    while r >= 0:
        error = (p.flags[r] & IS_ERROR) != 0
        piece = (p.flags[r] & IS_PIECE) != 0
        if p.n_out[r] > 0:
            sent = np.uint64(p.ip_len[r]) if p.n_out[r] == 1 else np.uint64(sent_bytes(p, r))
            _out(p, t, r, sent)
            packets += p.n_out[r]
            total += sent
            if error:
                t.stats[STAT_ICMP] += U0 if piece else U1
                made += p.n_out[r] - (0 if piece else 1)
            elif first_sent < 0:
                first_sent = r
        elif error and not piece:
            t.stats[STAT_ICMP_LOST] += U1
        if not error:
            made += max(np.int64(p.n_out[r]), 1)
            if p.verdict[r] == DROPPED:
                if lost > 0:
                    t.pieces[np.int64(p.cause[i])] += U1  # of a piece before it
                lost += 1
                p.verdict[i], p.cause[i], p.stage[i] = p.verdict[r], p.cause[r], p.stage[r]
        if r != i and p.notes[r] != 0:
            _noted(p, t, r)
        r = np.int64(p.more[r])
    if first_sent >= 0:
        _entry(p, t, first_sent, wire)
    t.stats[STAT_MADE] += np.uint64(made)
    return packets, total


@inlined
def _came_in(t, port, packets, size):
    if packets > U0:
        t.ifs[port].in_packets += packets
        t.ifs[port].in_bytes += size


@inlined
def _verdict_row(p, t, i, v, packets, sent):
    t.v_frame[v] = p.frame[i]
    t.v_ts[v] = p.ts[i]
    t.v_in_if[v] = p.in_if[i]
    t.v_out_if[v] = p.out_if[i]
    t.v_verdict[v] = p.verdict[i]
    t.v_cause[v] = p.cause[i]
    t.v_stage[v] = p.stage[i]
    t.v_sa[v] = p.sa[i]
    t.v_spi[v] = p.spi[i]
    bundle = p.sa[i] >= 0 and t.sa[p.sa[i]].next >= 0  # outbound, AH over ESP: the verdict names AH's number
    t.v_seq[v] = p.seq2[i] if bundle else p.seq[i]
    t.v_sns[v] = p.sns[i]
    t.v_len_in[v] = np.uint32(p.wire[i])
    t.v_len_out[v] = np.uint32(sent)
    t.v_first_out[v] = p.first_out[i]
    t.v_n_out[v] = packets


@inlined
def _unsealed(p):
    """Whether a row's job is still due. Rows without one hold another value."""
    found = np.uint8(0)
    for i in range(p.st[ST_SPARE]):
        found |= p.c_ok[i]
    return found & np.uint8(JOB_DUE) != 0


@outlined
def _count_noted(p, t, rows):
    """What was noted about the rows that are still here: see dissect.note."""
    for k in range(p.st[ST_NOTED]):
        if p.noted_row[k] < rows:
            t.noted[p.noted[k]] += U1


def deliver(p, t, n):
    if _unsealed(p):
        t.ctl[CTL_FAILED] = FAILED_UNSEALED
        return np.int64(0)
    rows = p.st[ST_ROWS]
    v = t.ctl[CTL_V_POS]
    keep = t.ctl[CTL_V_ON] != 0
    t.stats[STAT_IN] += np.uint64(rows)
    ingress, run, run_bytes, total = np.int32(-1), U0, U0, U0
    for i in range(rows):
        wire = np.uint64(p.wire[i])
        packets, sent = np.int64(p.n_out[i]), U0
        if p.in_if[i] != ingress:  # frames of one interface come in runs: count a run in registers
            _came_in(t, ingress, run, run_bytes)
            ingress, run, run_bytes = p.in_if[i], U0, U0
        run += U1
        run_bytes += wire
        total += wire
        if p.more[i] >= 0 or packets > 1:
            packets, sent = _several(p, t, i, wire)
        elif packets == 1:
            sent = np.uint64(p.ip_len[i])
            _out(p, t, i, sent)
            _entry(p, t, i, wire)
        verdict = np.int64(p.verdict[i])
        t.verdicts[verdict] += U1
        if verdict == DROPPED:
            _dropped(p, t, i, wire)
        if p.notes[i] != 0:
            _noted(p, t, i)
        if keep:
            _verdict_row(p, t, i, v + i, packets, sent)
    _came_in(t, ingress, run, run_bytes)
    if p.st[ST_NOTED] != 0:
        _count_noted(p, t, rows)
    t.stats[STAT_IN_BYTES] += total
    if keep:
        t.ctl[CTL_V_POS] = v + rows
    t.ctl[CTL_ROWS] += rows
    return n
