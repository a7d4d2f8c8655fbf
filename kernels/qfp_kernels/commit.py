"""commit: the replay and integrity verdict of every opened level, in packet order. The serial heart of INBOUND (AR-2).

All levels have been opened; nothing has been believed. For each row in order, outermost level first: the window is
asked again (two copies in one vector: exactly one passes), REPLAY outranks INTEGRITY (so that the cause of a tampered
duplicate does not depend on batching), and only a good ICV moves a window.

With ESN the high half was inferred from the window's top before the vector. If earlier rows have moved the top so far
that the inference would now differ, the vector is *cut* at this row: it and what follows is processed again, with the
new top. So results are those of one packet at a time, at any vector size and on any number of threads. (The row at
which a run starts is looked up with nothing in flight, so a run always gets past it.)
"""

import numpy as np

from qfp_kernels.decap import COMP_BAD, DUMMY
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    LEVELS,
    NOTE_ECN,
    NOTE_EXPANDED,
    ST_ASK,
    ST_ASK_ROW,
    ST_ROWS,
    ST_RX0,
    ST_STOP,
    ST_STOP_A,
    ST_STOP_B,
    ST_STOP_TS,
    STAT_DUMMY,
    STOP_SPI,
)
from qfp_kernels.limits import FOLLOW, ended, inbound
from qfp_kernels.parse import drop
from qfp_kernels.replay import M32, U1, accept, infer, refused
from qfp_kernels.rows import cut
from qfp_kernels.sns import infer_space, split

STAGE_COMMIT, STAGE_DECAP = STAGES.index("commit"), STAGES.index("decap")
REPLAY, INTEGRITY, ESN_GUESS = int(Drop.REPLAY), int(Drop.INTEGRITY), int(Drop.ESN_GUESS)
SA_EXPIRED, SA_STALE = int(Drop.SA_EXPIRED), int(Drop.SA_STALE)
CONSUMED = np.uint8(Verdict.CONSUMED)
ONE = np.uint32(1)
REFUSED = 2  # lv_ok of a level that the early check refused


@outlined
def _stale_space(t, state, esn, seq, early):
    """The same for an SA with several sequence-number spaces."""
    space, counter = split(t, seq)
    history = t.sns_in[np.int64(state.sns_at) + space]
    if early and not refused(t, history, counter):
        return True
    return esn != 0 and infer_space(t, history, esn, seq & M32) != seq


@outlined
def _in_space(t, state, seq, good):
    """Verdict of the history of a number's space: whether it refuses it; it moves when the number is good."""
    space, counter = split(t, seq)
    history = t.sns_in[np.int64(state.sns_at) + space]
    if refused(t, history, counter):
        history.replays += ONE
        return True
    if good:
        accept(t, history, counter)
    return False


@outlined
def _stale(p, t, i):
    """Whether what `lookup` read of a window no longer holds: the inferred high half, or an early refusal."""
    for k in range(i * LEVELS, i * LEVELS + np.int64(p.lv_n[i])):
        s = p.lv_sa[k]
        if t.sa_in[s].sns_at >= 0:
            if _stale_space(t, t.sa_in[s], t.sa[s].esn, p.lv_seq[k], p.lv_ok[k] == REFUSED):
                return True
            continue
        if p.lv_ok[k] == REFUSED and not refused(t, t.sa_in[s], p.lv_seq[k]):
            return True
        if t.sa[s].esn != 0 and infer(t.sa_in[s], p.lv_seq[k] & M32) != p.lv_seq[k]:
            return True
    return False


@inlined
def _level(p, t, k):
    """Verdict on one level (index into the lv_ columns): a drop cause, 0 or FOLLOW; a good one moves the window."""
    s = p.lv_sa[k]
    state, seq = t.sa_in[s], p.lv_seq[k]
    i = k // LEVELS
    limited = state.bytes >= state.limit
    if limited and ended(t, s):
        p.sa[i] = s
        return SA_STALE if t.life[s].stale != 0 else SA_EXPIRED
    spaced = state.sns_at >= 0
    if _in_space(t, state, seq, p.lv_ok[k] == 1) if spaced else refused(t, state, seq):
        state.replays += ONE
        p.sa[i] = s  # the SA that refuses, however far look-up came
        return REPLAY
    if p.lv_ok[k] != 1:
        state.bad_icv += ONE
        p.sa[i] = s
        far = t.sa[s].esn != 0 and seq >> np.uint64(32) != state.top >> np.uint64(32)
        return ESN_GUESS if far else INTEGRITY
    if not spaced:
        accept(t, state, seq)
    state.packets += U1
    state.bytes += np.uint64(p.lv_len[k])
    state.last = max(state.last, p.ts[i])
    return inbound(p, t, i, s) if limited else 0


@outlined
def _levels(p, t, i):
    """Verdict on a row with several levels, outermost first."""
    follow = 0
    for k in range(i * LEVELS, i * LEVELS + np.int64(p.lv_n[i])):
        cause = _level(p, t, k)
        if cause > 0:
            return cause
        follow = min(follow, cause)
    return follow


@inlined
def _is_simple(p, t, i):
    """One level whose look-up cannot have gone stale: the usual case."""
    k = i * LEVELS
    return p.lv_n[i] == 1 and p.lv_ok[k] != REFUSED and t.sa[p.lv_sa[k]].esn == 0


@outlined
def _ask(p, t):
    """Stop at the row that the control plane is to be asked about: it is looked up again when that has answered."""
    i, ts = p.st[ST_ASK_ROW], p.ts[p.st[ST_ASK_ROW]]
    cut(p, t, i)
    p.st[ST_STOP], p.st[ST_STOP_A], p.st[ST_STOP_B], p.st[ST_STOP_TS] = STOP_SPI, p.st[ST_ASK], 0, ts


def commit(p, t, n):
    last = p.st[ST_ASK_ROW]
    for k in range(p.st[ST_RX0]):
        i = np.int64(p.rx0[k])
        if i > last:
            break
        if _is_simple(p, t, i):
            cause = _level(p, t, i * LEVELS)
        else:
            if _stale(p, t, i):
                cut(p, t, i)
                return n
            cause = _levels(p, t, i)
        if cause > 0:
            p.notes[i] &= ~np.uint8(NOTE_ECN)  # what a forged or repeated packet said of congestion counts for nothing
            drop(p, i, cause, STAGE_COMMIT)
        elif p.cause[i] == DUMMY:
            p.cause[i] = np.uint8(0)
            p.verdict[i] = CONSUMED
            t.stats[STAT_DUMMY] += U1
        elif p.cause[i] != 0:
            t.life[p.sa[i]].errors += ONE
            if p.cause[i] == COMP_BAD:
                t.life[p.sa[i]].comp_failed += ONE
            drop(p, i, np.int64(p.cause[i]), STAGE_DECAP)
        elif p.notes[i] & NOTE_EXPANDED:
            t.life[p.sa[i]].decompressed += ONE
        if cause == FOLLOW:  # the peer has moved to a new pair of SAs: what comes behind is looked up again
            cut(p, t, i + 1)
            return n
    if last < p.st[ST_ROWS]:
        _ask(p, t)
    return n
