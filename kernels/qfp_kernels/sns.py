"""Multiple sequence-number spaces in one SA (guide chapter 2; AR-6): QoS behind encryption reorders between queues,
never within one, so packets of one queue share a space and each space has a history of its own at the receiver.

The 32-bit field holds a selector, which names the space, and the low bits of that space's counter. How wide the
selector is and where it stands are parameters (`ctl[CTL_SNS_BITS]`, `ctl[CTL_SNS_LSB]`): 4 bits at the top, for 16
spaces, is what the guide's outputs and caution lead to. With ESN the counter is longer than its bits in the packet:
the rest is inferred in each space as RFC 4303 appendix A2.2 does it for the whole number, and stands in the high
half of the sequence number, so that a number (and the nonce made of it) is never used twice. The mechanism is
described in US patent 9,667,650.
"""

import numpy as np

from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import CTL_SNS_BITS, CTL_SNS_LSB

U0, U1, U32 = np.uint64(0), np.uint64(1), np.uint64(32)
M32 = np.uint64(0xFFFFFFFF)


@inlined
def counter_bits(t):
    """Bits of a space's counter that travel in the packet."""
    return np.uint64(32 - t.ctl[CTL_SNS_BITS])


@inlined
def spaces(t):
    return np.int64(1) << t.ctl[CTL_SNS_BITS]


@outlined
def compose(t, space, counter):
    """The sequence number of packet `counter` of a space: what travels in the low half, the rest above it."""
    bits = counter_bits(t)
    low = counter & ((U1 << bits) - U1)
    field = low << np.uint64(t.ctl[CTL_SNS_BITS]) | np.uint64(space)
    if t.ctl[CTL_SNS_LSB] == 0:
        field = np.uint64(space) << bits | low
    return (counter >> bits) << U32 | field


@outlined
def split(t, seq):
    """(space, counter) of a sequence number; the low half is what travelled."""
    bits, field = counter_bits(t), seq & M32
    if t.ctl[CTL_SNS_LSB] == 0:
        space, low = field >> bits, field & ((U1 << bits) - U1)
    else:
        space, low = field & np.uint64(spaces(t) - 1), field >> np.uint64(t.ctl[CTL_SNS_BITS])
    return np.int64(space), (seq >> U32) << bits | low


@outlined
def take(t, sns_at, space, esn):
    """The next sequence number of a space, 0 when it has none left (RFC 4303 section 3.3.3, in each space)."""
    at = np.int64(sns_at) + space
    counter = t.sns_out[at]
    bits = counter_bits(t)
    last = (U1 << (bits + U32)) - U1 if esn else (U1 << bits) - U1
    if counter == U0 or counter > last:
        return U0
    t.sns_out[at] = counter + U1
    return compose(t, space, counter)


@outlined
def infer_space(t, state, esn, seq):
    """The sequence number whose low half travelled, its counter's high part inferred from the space's history."""
    space, low = split(t, seq & M32)
    if esn == 0:
        return seq & M32
    bits = counter_bits(t)
    size = U1 << bits
    window = max(np.uint64(state.window), U1)
    top_low, high = state.top & (size - U1), state.top >> bits
    bottom = (top_low - window + U1) & (size - U1)
    if top_low >= window - U1:  # the window lies within one turn of the bits
        high = high if low >= bottom else high + U1
    else:
        high = high - U1 if low >= bottom else high  # below zero: refused, see replay
    return compose(t, space, high << bits | low)
