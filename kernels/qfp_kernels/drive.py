"""drive: run the stages of an FIA over vector after vector, on one thread or several.

Each thread owns a workspace. Serial stages hold a ticket: the vectors pass it in order, so numbers, windows and outputs
do not depend on threads; everything else runs at the same time. A ticket is one 64-byte line; waiting is a short spin,
because a vector takes tens of microseconds.

A cut (see `commit`) ends the run early: vectors behind the cut one are abandoned before they change any state, and the
engine calls again from the row that was given back. A failure (ctl[CTL_FAILED]) abandons whatever is under way, and the
engine raises: nothing leaves that a stage did not finish.
"""

import os

import numpy as np
from numba.core import types

from qfp_kernels.atomics import fetch_add, load_acquire, store_release
from qfp_kernels.columns import base
from qfp_kernels.jit import call, inlined, kernel, made, outlined
from qfp_kernels.layout import (
    CTL_CUT_VECTOR,
    CTL_FAILED,
    CTL_FIA_N,
    CTL_LAST,
    CTL_NEXT,
    CTL_OUT_LIMIT,
    CTL_OUT_POS,
    LIST_AH,
    LIST_FR,
    LIST_IC,
    LIST_ROWS,
    LIST_RX,
    LIST_SOURCE,
    LIST_TU,
    LIST_TX,
    ST_AH,
    ST_ER,
    ST_FR,
    ST_IC,
    ST_ROWS,
    ST_RX,
    ST_TU,
    ST_TX,
    ST_VECTOR,
    STEPS,
)

SPIN = 2000  # polls of a few ns: longer than a serial stage takes
TICKET_STRIDE = 8  # int64 words: a cache line each


if os.name == "posix":
    yield_core = types.ExternalFunction("sched_yield", types.int32())
else:

    @kernel
    def yield_core():
        """Nothing to call here: keep spinning."""
        return np.int32(0)


@kernel
def _wait(at, vector):
    """Wait until the ticket at this address admits the vector: spin a little, then let others have the core.

    Without the second part a waiting thread can spend the time slice that the ticket's holder needs.
    """
    turns = 0
    while load_acquire(at) != vector:
        turns += 1
        if turns > SPIN:
            yield_core()


@outlined
def _run_rare(p, t, k, which):
    """Stages over lists that are empty for most vectors."""
    at = ST_FR if which == LIST_FR else ST_IC if which == LIST_IC else ST_TU if which == LIST_TU else ST_ER
    if p.st[at] > 0 and made(p, t, t.fia, k, STEPS + k):
        call(t.fia[k], p, t, p.st[at])


@inlined
def run_stage(p, t, k):
    """Stage k of the FIA over its list; a stage whose list is empty is not called."""
    which = t.fia_list[k]
    if which == LIST_SOURCE:
        p.st[ST_ROWS] = call(t.fia[k], p, t, 0)
    elif which == LIST_ROWS:
        call(t.fia[k], p, t, p.st[ST_ROWS])
    elif which == LIST_RX:
        if p.st[ST_RX] > 0:
            p.st[ST_RX] = call(t.fia[k], p, t, p.st[ST_RX])
    elif which == LIST_TX:
        if p.st[ST_TX] > 0:
            p.st[ST_TX] = call(t.fia[k], p, t, p.st[ST_TX])
    elif which == LIST_AH:
        if p.st[ST_AH] > 0:
            call(t.fia[k], p, t, p.st[ST_AH])
    else:
        _run_rare(p, t, k, which)


@kernel
def drive(p, t):
    """Vectors, as long as ctl[CTL_NEXT] < ctl[CTL_LAST] and the source has rows; returns vectors begun here."""
    ctl, tickets = base(t.ctl), base(t.ticket)
    begun = 0
    count = t.ctl[CTL_FIA_N]
    while True:
        vector = fetch_add(ctl + 8 * CTL_NEXT, np.int64(1))
        if vector >= t.ctl[CTL_LAST]:
            return begun
        begun += 1
        p.st[ST_VECTOR] = vector
        p.st[ST_ROWS] = 0
        holding = np.int64(-1)
        for k in range(count):
            ticket = t.fia_serial[k]
            if ticket != holding:
                if holding >= 0:
                    store_release(tickets + 8 * TICKET_STRIDE * holding, vector + 1)
                if ticket >= 0:
                    _wait(tickets + 8 * TICKET_STRIDE * ticket, vector)
                holding = ticket
            cut = load_acquire(ctl + 8 * CTL_CUT_VECTOR)
            if (cut >= 0 and vector > cut) or t.ctl[CTL_FAILED] != 0:
                continue  # abandoned: pass the tickets on, touch nothing
            run_stage(p, t, k)
            if t.fia_list[k] == LIST_SOURCE and p.st[ST_ROWS] == 0:
                t.ctl[CTL_LAST] = 0  # the source is empty, or wants more bytes
        if holding >= 0:
            store_release(tickets + 8 * TICKET_STRIDE * holding, vector + 1)
        if t.ctl[CTL_OUT_POS] > t.ctl[CTL_OUT_LIMIT] and t.ctl[CTL_LAST] > 1:
            t.ctl[CTL_LAST] = 1  # the output block is full enough: no vector more is begun
        if t.ctl[CTL_FAILED] != 0:
            t.ctl[CTL_LAST] = 0
