"""Anti-replay windows (RFC 4303 section 3.4.3, appendix A): check before opening, commit after a good ICV.

A number whose high half would lie below zero was never sent: it is inferred as 2^64 less, and refused for that.

The window is a ring of exactly N bits: bit `number mod N`. Moving the top clears the bits that the new numbers take
over, so an in-order packet touches one word at every N and there is no spare word. State moves only in `commit`, which
is serial and in packet order; the check before opening is an early exit and never decides alone.
"""

import numpy as np

from qfp_kernels.jit import inlined, outlined

U0, U1, U6, U32, U63 = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(32), np.uint64(63)
M32 = np.uint64(0xFFFFFFFF)
ALL = ~np.uint64(0)
ESN_DEFAULT_WINDOW = np.uint64(64)  # for inference when checking is disabled


@inlined
def infer(sa_in, low):
    """Full 64-bit number from the low half, relative to the window's top (RFC 4303 appendix A2.2); modulo 2^64 where it
    would lie below zero, as it may near the first turn."""
    window = np.uint64(sa_in.window)
    if window == U0:
        window = ESN_DEFAULT_WINDOW
    top_low, top_high = sa_in.top & M32, sa_in.top >> U32
    bottom = (top_low - window + U1) & M32
    if top_low >= window - U1:  # the window lies within one subspace
        high = top_high if low >= bottom else top_high + U1
    else:  # it spans two
        high = top_high - U1 if low >= bottom else top_high
    return (high << U32) | low


@inlined
def refused(t, sa_in, seq):
    """Whether the window refuses this number now: zero, below it, too old, or seen."""
    top = sa_in.top
    if seq - top - U1 < M32:  # ahead: a branch of its own, because nearly all numbers are
        return False
    if seq > top:
        return True  # no inference leads so far ahead: it lies below zero
    window = np.uint64(sa_in.window)
    if window == U0:
        return False
    if seq == U0:
        return True
    if top - seq >= window:
        return True
    bit = seq & (np.uint64(sa_in.ring) - U1)
    return (t.win[np.int64(sa_in.win_at) + np.int64(bit >> U6)] >> (bit & U63)) & U1 != U0


@inlined
def accept(t, sa_in, seq):
    """Mark a number that `refused` let pass, moving the top if it is the highest."""
    window = np.uint64(sa_in.window)
    if window == U0:
        sa_in.top = max(sa_in.top, seq)
        return
    at = np.int64(sa_in.win_at)
    ring = np.uint64(sa_in.ring)
    mask = ring - U1
    top = sa_in.top
    if seq > top:
        ahead = seq - top
        if ahead >= ring:
            for k in range(np.int64(ring >> U6)):
                t.win[at + k] = U0
        elif ahead > U1:
            _clear(t, at, (top + U1) & mask, seq & mask, np.int64(ring >> U6) - 1)
        else:
            bit = seq & mask
            t.win[at + np.int64(bit >> U6)] &= ~(U1 << (bit & U63))
        sa_in.top = seq
    bit = seq & mask
    t.win[at + np.int64(bit >> U6)] |= U1 << (bit & U63)


@outlined
def _clear(t, at, first, last, word_mask):
    """Clear the ring's bits first .. last (inclusive, possibly round the end; fewer than N of them)."""
    w, end = np.int64(first >> U6), np.int64(last >> U6)
    head = ALL << (first & U63)
    tail = ALL >> (U63 - (last & U63))
    if w == end and first <= last:
        t.win[at + w] &= ~(head & tail)
        return
    t.win[at + w] &= ~head
    w = (w + 1) & word_mask
    while w != end:
        t.win[at + w] = U0
        w = (w + 1) & word_mask
    t.win[at + end] &= ~tail
