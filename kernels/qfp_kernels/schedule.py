"""schedule: the queues of one interface, from arrivals in time order to departures and drops.

The link takes one packet after the other and is never idle while one may be sent. Whenever it is free it takes, in this
order: the oldest packet of priority level 1, the oldest of level 2, the turn of the weighted queues.

Weighted sharing is by virtual time. A queue's next packet starts at S and finishes at F = S + length * cost, where cost
is inversely proportional to the queue's share. The mean of S over the queues that wait, weighted by their shares, is
how far all of them together have come; of those that are not ahead of it, the smallest F goes first. So a queue is
never more than a packet ahead of its share, nor behind it (eligible, and earliest finish: worst-case fair weighted
queueing, Bennett and Zhang 1996; the mean as clock: Stoica and Abdel-Wahab 1995). Equal F: the class that stands first.

A packet's length is that of its layer 2 frame: queues, shapers and policers count it alike. What the line adds beside
(preamble, FCS, gap) only takes time of the link.

Time is exact. The link's is whole ns and a rest in units of 1/rate ns; tokens are nanobits (see queues.py). A start is
decided at the ns that its time is cut to, when all that arrived in or before that ns is in the queues. A result depends
on the arrivals alone, not on how they are cut into calls.
"""

import numpy as np

from qfp_kernels.jit import inlined, kernel, outlined
from qfp_kernels.queues import (
    NANO,
    NEVER,
    REBASE,
    ST_DROPS,
    ST_ELEMENTS,
    ST_FREE,
    ST_LEAST,
    ST_ORDER,
    ST_OUT,
    ST_OVERHEAD,
    ST_POLICED,
    ST_RATE,
    ST_REST,
    ST_SHAPERS,
    ST_SLOT,
    ST_TAIL,
    ST_WAITING,
    ST_WAKE,
    TAG_SHIFT,
)
from qfp_kernels.simd import ctz64

ONE = np.int64(1)
LAST = np.int64(NEVER)


@kernel
def schedule(q, n, until):
    """The first n arrivals, and all starts before `until` (ns); an arrival in the ns of a start comes before it.

    No arrival may be later than `until`, nor earlier than what was run before. The columns of results must hold all
    that may leave.
    """
    k = 0
    while True:
        due = next_start(q)
        if k < n and q.a_ts[k] <= due:
            arrive(q, k)
            k += 1
        elif due < until:
            start(q, due)
        else:
            q.st[ST_ORDER] += n
            return


@inlined
def next_start(q):
    """The ns in which the link can take the next packet of those that wait, NEVER without any."""
    link = q.el[0]
    if link.pri1 | link.pri2 | link.act != 0:
        return q.st[ST_FREE]
    return max(q.st[ST_FREE], q.st[ST_WAKE])  # all that waits, waits for tokens


@inlined
def idle_until(q, now):
    """The link was idle up to `now`, if it was free before: what it starts next, it starts on the whole ns."""
    if q.st[ST_FREE] < now:
        q.st[ST_FREE] = now
        q.st[ST_REST] = 0


# ------------------------------------------------------------------------------------------------- a packet arrives
@inlined
def arrive(q, k):
    """Arrival k joins its queue, or is dropped."""
    cls = np.int64(q.a_class[k])
    length = np.int64(q.a_length[k])
    now = q.a_ts[k]
    counters = q.cls[cls]
    counters.in_packets += 1
    counters.in_bytes += length
    idle_until(q, now)
    e = q.queue_of[cls]
    x = q.el[e]
    if q.a_fate[k] != 0 or (x.cir != 0 and not conforms(q, x, length, now)):
        counters.police_packets += 1
        counters.police_bytes += length
        drop(q, k, q.st[ST_POLICED])
        return
    if x.packets != 0 and (x.packets >= x.limit or x.bytes + length > x.limit_bytes):
        counters.tail_packets += 1
        counters.tail_bytes += length
        drop(q, k, q.st[ST_TAIL])
        return
    append(q, x, k, cls, length)
    if x.packets == 1:
        show_head(x, e)
        settle(q, e, now)


@outlined
def conforms(q, x, length, now):
    """Whether a priority queue keeps its rate; while nothing waits it need not, and pays no tokens."""
    if q.st[ST_WAITING] == 0:
        return True
    passed = now - x.ctokens_at
    x.ctokens = x.cbs if passed >= x.cfill else min(x.cbs, x.ctokens + passed * x.cir)
    x.ctokens_at = now
    if x.ctokens < length * NANO:
        return False
    x.ctokens -= length * NANO
    return True


@inlined
def drop(q, k, cause):
    d = q.st[ST_DROPS]
    q.d_row[d] = q.a_row[k]
    q.d_ts[d] = q.a_ts[k]
    q.d_length[d] = q.a_length[k]
    q.d_class[d] = q.a_class[k]
    q.d_cause[d] = np.uint8(cause)
    q.st[ST_DROPS] = d + 1


@inlined
def append(q, x, k, cls, length):
    """Put arrival k at the end of queue x."""
    s = q.st[ST_SLOT]
    slot = q.slot[s]
    q.st[ST_SLOT] = np.int64(slot.next)
    slot.row = q.a_row[k]
    slot.order = (q.st[ST_ORDER] + k) << 8 | cls
    slot.ts = q.a_ts[k]
    slot.length = np.int32(length)
    slot.next = np.int32(-1)
    if x.packets == 0:
        x.head = s
    else:
        q.slot[x.tail].next = np.int32(s)
    x.tail = s
    x.packets += 1
    x.bytes += length
    x.max_packets = max(x.max_packets, x.packets)
    q.st[ST_WAITING] += 1


# ------------------------------------------------------------------------------------------------- a packet leaves
@inlined
def start(q, due):
    """The link takes a packet at `due`, unless all still wait for tokens."""
    if q.st[ST_WAKE] <= due:
        idle_until(q, due)
        wake(q, due)
    link = q.el[0]
    if link.pri1 != 0:
        send(q, oldest(q, link, link.pri1, True), due)
    elif link.pri2 != 0:
        send(q, oldest(q, link, link.pri2, False), due)
    elif link.act != 0:
        e = q.el[turn(q, link)].pick
        charge(q, e)
        send(q, e, due)


@inlined
def send(q, e, due):
    """The first packet of queue e occupies the link from `due` on."""
    x = q.el[e]
    s = x.head
    slot = q.slot[s]
    length = np.int64(slot.length)
    cls = slot.order & 255
    x.head = np.int64(slot.next)
    x.packets -= 1
    x.bytes -= length
    q.st[ST_WAITING] -= 1
    o = q.st[ST_OUT]
    q.st[ST_OUT] = o + 1
    q.o_row[o] = slot.row
    q.o_arrival[o] = slot.ts
    q.o_length[o] = slot.length
    q.o_class[o] = np.uint8(cls)
    q.o_start[o] = due
    q.o_end[o] = occupy(q, length)
    slot.next = np.int32(q.st[ST_SLOT])
    q.st[ST_SLOT] = s
    if q.st[ST_SHAPERS] != 0:
        pay(q, e, length, due)
    if x.packets != 0 and x.parent == 0 and x.rate == 0:  # the usual case: it stays where it is
        if x.level == 0:
            length = np.int64(q.slot[x.head].length)
            q.tag[e] = (q.start[e] + length * x.cost) << TAG_SHIFT | (e - q.el[0].first)
        return
    show_head(x, e)
    settle(q, e, due)


@inlined
def occupy(q, length):
    """Make the link busy with a packet; returns the ns in which its last bit leaves."""
    work = q.st[ST_REST] + max((length + q.st[ST_OVERHEAD]) * NANO, q.st[ST_LEAST])
    rate = q.st[ST_RATE]
    took = np.int64(np.uint64(work) // np.uint64(rate))
    q.st[ST_FREE] += took
    q.st[ST_REST] = work - took * rate
    return q.st[ST_FREE]


# ------------------------------------------------------------------------------------------------- who is next
@inlined
def oldest(q, x, mask, first):
    """Of the children in a mask, the queue whose first packet arrived before the others'."""
    best, order = np.int64(-1), LAST
    while mask != 0:
        child = q.el[x.first + np.int64(ctz64(np.uint64(mask)))]
        e = child.lead1 if first else child.lead2
        mine = q.slot[q.el[e].head].order
        if mine < order:
            best, order = e, mine
        mask &= mask - 1
    return best


@inlined
def turn(q, x):
    """The child of x that is next by weighted sharing; there is one in `act`.

    One after the other, not as a vector: what the last packet wrote would have to leave the store buffer before a
    vector load could read it, 10 ns a packet.
    """
    best = LAST
    first, sum_w, sum_ws = x.first, x.sum_w, x.sum_ws
    mask = x.act
    while mask != 0:
        e = first + np.int64(ctz64(np.uint64(mask)))
        tag = q.tag[e]
        best = min(best, tag if q.start[e] * sum_w <= sum_ws else LAST)
        mask &= mask - 1
    return first + (best & ((1 << TAG_SHIFT) - 1))


@inlined
def charge(q, e):
    """Move the virtual times of queue e and of the elements above it behind the packet that they send."""
    while e != 0:
        x = q.el[e]
        p = q.el[x.parent]
        finish = q.tag[e] >> TAG_SHIFT
        p.sum_ws += x.weight * (finish - q.start[e])
        q.start[e] = finish
        if finish > REBASE:
            rebase(q, x.parent)
        e = x.parent


@outlined
def rebase(q, parent):
    """Set the clock of an element's children back: only differences mean something, and products must fit 63 bits."""
    p = q.el[parent]
    least = LAST
    for e in range(p.first, p.first + p.count):
        if q.tag[e] != LAST:
            least = min(least, q.start[e])
    for e in range(p.first, p.first + p.count):
        q.start[e] = max(q.start[e] - least, np.int64(0))
        if q.tag[e] != LAST:
            q.tag[e] -= least << TAG_SHIFT
    p.sum_ws -= p.sum_w * least


# ------------------------------------------------------------------------------- who may send: from a queue upwards
@inlined
def show_head(x, e):
    """Say of queue e whether it has a packet, at its level."""
    mine = e if x.packets != 0 else np.int64(-1)
    if x.level == 0:
        x.pick = mine
    elif x.level == 1:
        x.lead1 = mine
    else:
        x.lead2 = mine


@inlined
def settle(q, e, now):
    """What waits in e has changed, or its tokens: tell the elements above, up to the link."""
    update(q, e, now)
    e = q.el[e].parent
    while e != 0:
        look_below(q, q.el[e])
        update(q, e, now)
        e = q.el[e].parent


@inlined
def update(q, e, now):
    """Tell the parent of e what e may send."""
    x = q.el[e]
    p = q.el[x.parent]
    child = e - p.first
    bit = ONE << child
    opened = x.rate == 0 or has_tokens(q, x, now)
    if x.level != 0 or x.count != 0:
        p.pri1 = p.pri1 | bit if opened and x.lead1 >= 0 else p.pri1 & ~bit
        p.pri2 = p.pri2 | bit if opened and x.lead2 >= 0 else p.pri2 & ~bit
    if opened and x.pick >= 0:
        if p.act & bit == 0:
            enter(q, x, p, e, bit)
        length = np.int64(q.slot[q.el[x.pick].head].length)
        q.tag[e] = (q.start[e] + length * x.cost) << TAG_SHIFT | child
    elif p.act & bit != 0:
        p.act &= ~bit
        p.sum_ws -= x.weight * q.start[e]
        p.sum_w -= x.weight
        q.tag[e] = LAST


@inlined
def enter(q, x, p, e, bit):
    """Child e of p waits for its turn from now on: no earlier than the mean of the others, nor than its own past."""
    at = np.int64(0)
    if p.act == 0:
        p.round += 1
        p.sum_ws = 0
        p.sum_w = 0
    else:
        at = np.int64(np.uint64(p.sum_ws) // np.uint64(p.sum_w))
    if x.seen == p.round:
        at = max(at, q.start[e])
    x.seen = p.round
    q.start[e] = at
    p.act |= bit
    p.sum_ws += x.weight * at
    p.sum_w += x.weight


@outlined
def look_below(q, p):
    """Which queues of an inner element are next, at each level."""
    p.lead1 = oldest(q, p, p.pri1, True)
    p.lead2 = oldest(q, p, p.pri2, False)
    p.pick = q.el[turn(q, p)].pick if p.act != 0 else np.int64(-1)


# ------------------------------------------------------------------------------------------------- shapers
@inlined
def refill(x, now):
    passed = now - x.tokens_at
    x.tokens = x.burst if passed >= x.fill else min(x.burst, x.tokens + passed * x.rate)
    x.tokens_at = now


@outlined
def has_tokens(q, x, now):
    """Whether the shaper of x lets the next packet pass now; if not, note when it will.

    A packet needs tokens for its length, one that is longer than the burst a full bucket.
    """
    x.ready = LAST
    e = x.lead1 if x.lead1 >= 0 else (x.lead2 if x.lead2 >= 0 else x.pick)
    if e < 0:
        return False
    refill(x, now)
    length = np.int64(q.slot[q.el[e].head].length)
    lacks = min(length * NANO, x.burst) - x.tokens
    if lacks <= 0:
        return True
    x.ready = now + (lacks + x.rate - 1) // x.rate
    q.st[ST_WAKE] = min(q.st[ST_WAKE], x.ready)
    return False


@outlined
def pay(q, e, length, now):
    """Take the tokens of a packet out of every shaper between its queue and the link."""
    while e != 0:
        x = q.el[e]
        if x.rate != 0:
            refill(x, now)
            x.tokens -= length * NANO
        e = x.parent


@outlined
def wake(q, now):
    """Let those send whose shapers have the tokens now: children before their parents, whom it may concern too."""
    for e in range(q.st[ST_ELEMENTS] - 1, 0, -1):
        x = q.el[e]
        if x.ready <= now:
            x.ready = LAST
            if x.count != 0:
                look_below(q, x)
            update(q, e, now)
            q.el[x.parent].ready = now
    q.el[0].ready = LAST
    q.st[ST_WAKE] = LAST
    for e in range(1, q.st[ST_ELEMENTS]):
        q.st[ST_WAKE] = min(q.st[ST_WAKE], q.el[e].ready)
