"""limits: the lifetimes of SAs, where packets meet them (RFC 4301 section 4.4.2.1, BASE-7).

Every SA has one number of bytes (`limit`, outbound also a sequence number, `last_seq`) at which these functions are
asked; below it a packet costs one comparison. What they find, in the order of an SA's life:

    not in use yet   the first packet: `born`, from which lifetimes are counted
    half way         the control plane prepares the SA that will follow (outbound: `life.heir`)
    soft limit       from this packet on the heir sends, in the same vector: so the change falls between the same two
                     packets at any vector size. Without an heir: told, and the SA goes on
    hard limit       no packet more: SA_EXPIRED

A turn of the driver never charges an SA with more than half its soft limit (`CTL_BUDGET`), so an heir is there before
it is needed. Inbound, the first packet on an SA of the next generation ends the run behind it: the peer has moved, and
so do we, before the next packet is looked at.
"""

import numpy as np

from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    CTL_TOLD_IN,
    CTL_TOLD_OUT,
    EV_BORN,
    EV_HALFWAY,
    EV_MOVED,
    EV_SOFT,
)

ENDED = -1
FOLLOW = -1
U1 = np.uint64(1)


@inlined
def number_of(t, s, space):
    """The number that the next packet of an outbound SA takes, or its count within a sequence-number space."""
    at = np.int64(t.sa_out[s].sns_at)
    return t.sa_out[s].next_seq if at < 0 else t.sns_out[at + space]


@inlined
def at_limit(t, s, number):
    out = t.sa_out[s]
    return out.bytes >= out.limit or number > out.last_seq


@inlined
def _tell(t, told, count, s, event):
    """Note what happened to an SA, in the list of its direction (`told`, of which ctl[count] entries are in use)."""
    if t.life[s].events == 0:
        told[t.ctl[count]] = np.int32(s)
        t.ctl[count] += 1
    t.life[s].events |= np.uint8(event)


@inlined
def _born(p, t, i, s):
    t.life[s].fresh = np.uint8(0)
    t.life[s].born, t.life[s].born_at = p.ts[i], p.frame[i]


@inlined
def _halfway(t, s, number):
    """Towards the soft limits: half of them first, then themselves."""
    out, life = t.sa_out[s], t.life[s]
    if out.bytes >= life.soft >> U1 or number > life.soft_seq >> U1:
        _tell(t, t.told_out, CTL_TOLD_OUT, s, EV_HALFWAY)
        out.limit, out.last_seq = life.soft, life.soft_seq
    else:
        out.limit, out.last_seq = life.soft >> U1, life.soft_seq >> U1


@outlined
def outbound(p, t, i, s, space):
    """The SA that sends row i in the place of s, which is at one of its limits; ENDED when no packet may be sent."""
    while True:
        out, life = t.sa_out[s], t.life[s]
        number = number_of(t, s, space)
        if life.fresh != 0:
            _born(p, t, i, s)
            _tell(t, t.told_out, CTL_TOLD_OUT, s, EV_BORN)
        if out.bytes >= life.hard:
            return np.int64(ENDED)
        if out.bytes < life.soft and number <= life.soft_seq:
            _halfway(t, s, number)
            return s
        if life.heir < 0:
            _tell(t, t.told_out, CTL_TOLD_OUT, s, EV_SOFT)
            out.limit, out.last_seq = life.hard, life.last_seq
            return s
        if life.moved_at < 0:
            life.moved, life.moved_at = p.ts[i], p.frame[i]
            _tell(t, t.told_out, CTL_TOLD_OUT, s, EV_MOVED)
        s = np.int64(life.heir)
        if not at_limit(t, s, number_of(t, s, space)):
            return s


@outlined
def ended(t, s):
    """Whether an inbound SA, which is at its limit, accepts no packet more."""
    return t.sa_in[s].bytes >= t.life[s].hard


@outlined
def inbound(p, t, i, s):
    """An inbound SA that was at its limit has accepted row i: 0, or FOLLOW when the peer uses the next SA by this."""
    life = t.life[s]
    t.sa_in[s].limit = life.hard
    if life.fresh == 0:
        return 0
    _born(p, t, i, s)
    _tell(t, t.told_in, CTL_TOLD_IN, s, EV_BORN)
    return FOLLOW if life.coming != 0 else 0
