"""The tables of one interface's queues: what `schedule` and `police` work on, each field with unit and meaning.

A policy is a tree of *elements*. Element 0 is the link; its children are the queues of the policy, or inner elements
that hold the queues of a nested policy. The children of an element stand side by side, behind their parent. Amounts of
data that meet a rate are counted in nanobits (1e-9 bit), because a rate of r bit/s gives exactly r of them in a
nanosecond: tokens are whole numbers, and nothing is ever rounded.
"""

import numpy as np

from qfp_kernels.layout import struct

NEVER = 2**63 - 1  # ns
NANO = 8_000_000_000  # nanobits of a byte
CHILDREN_MAX = 62  # bits of a mask in a signed word
LENGTH_MAX = 1 << 17  # bytes of a packet with its overhead, exclusive
COST_MAX = 1 << 28  # of one byte in virtual time
WEIGHTS_MAX = 1 << 14  # sum of the weights of an element's children
TAG_SHIFT = 6  # bits of a tag below the finish time, for the number of the child
REBASE = 1 << 47  # virtual time at which an element's clock is set back; times WEIGHTS_MAX it still fits 63 bits

ELEMENT = [  # a queue (no children) or an inner element
    # what is configured
    ("parent", "i8"),  # element, -1 = this is the link
    ("first", "i8"), ("count", "i8"),  # its children
    ("level", "i8"),  # 1, 2 priority; 0 weighted
    ("weight", "i8"),  # among its siblings, for their mean
    ("cost", "i8"),  # virtual time of one byte: inversely proportional to the share
    ("rate", "i8"),  # bit/s of the shaper, 0 = none
    ("burst", "i8"), ("fill", "i8"),  # of the shaper: nanobits; ns in which it fills from empty
    ("limit", "i8"), ("limit_bytes", "i8"),  # of the queue: packets, bytes
    ("cir", "i8"),  # bit/s to which a priority queue is held while packets wait, 0 = not held
    ("cbs", "i8"), ("cfill", "i8"),  # of that policer: nanobits; ns in which it fills from empty
    # weighted sharing among the children
    ("act", "i8"),  # mask of children that may send and are not of a priority level
    ("pri1", "i8"), ("pri2", "i8"),  # masks of children with something of level 1, 2 that may be sent
    ("sum_ws", "i8"), ("sum_w", "i8"),  # over the children in `act`: weight times start, weight
    ("round", "i8"),  # counts the times at which no child was in `act`: start times of older rounds mean nothing
    # this element among its siblings
    ("seen", "i8"),  # round of the parent in which `start` was set
    ("pick", "i8"),  # queue below it whose turn it is, weighted; -1 = none
    ("lead1", "i8"), ("lead2", "i8"),  # queue below it with the oldest packet of level 1, 2; -1 = none
    ("tokens", "i8"), ("tokens_at", "i8"),  # of the shaper: nanobits at a time in ns
    ("ready", "i8"),  # ns at which the shaper will have the tokens, NEVER = it does not wait for any
    ("ctokens", "i8"), ("ctokens_at", "i8"),  # of the priority policer
    # the queue
    ("head", "i8"), ("tail", "i8"),  # slots of its first and last packet, -1 = empty
    ("packets", "i8"), ("bytes", "i8"),  # that wait
    ("max_packets", "i8"),  # the most that ever waited
]  # fmt: skip

SLOT = [  # a packet that waits
    ("row", "i8"),  # the caller's number
    ("order", "i8"),  # place among all arrivals << 8 | class
    ("ts", "i8"),  # ns of its arrival
    ("length", "i4"),  # bytes
    ("next", "i4"),  # slot behind it in its queue, or in the list of free ones; -1 = none
]  # fmt: skip

CLASS = [  # counters of a class, for `show policy-map interface`
    ("in_packets", "i8"), ("in_bytes", "i8"),
    ("tail_packets", "i8"), ("tail_bytes", "i8"),  # dropped: the queue was full
    ("police_packets", "i8"), ("police_bytes", "i8"),  # dropped by a policer
]  # fmt: skip

BUCKETS = [  # a policer
    ("kind", "i8"),  # POLICE_ number
    ("cir", "i8"), ("pir", "i8"),  # bit/s
    ("cbs", "i8"), ("ebs", "i8"),  # nanobits of the first and of the second bucket
    ("cfill", "i8"), ("efill", "i8"),  # ns in which each fills from empty
    ("c", "i8"), ("e", "i8"),  # tokens, nanobits
    ("at", "i8"),  # ns at which that was so
    ("outer", "i8"),  # policer that is asked behind this one, -1 = none
    ("each", "i8"),  # tokens that a packet takes whatever its length, nanobits; 0 = by its length
]  # fmt: skip

COLOUR = [  # what a policer does with a colour: three rows a policer, conform, exceed, violate
    ("drop", "i8"),  # 1 = drop
    ("dscp", "i8"), ("group", "i8"),  # what is set, -1 = nothing
    ("packets", "i8"), ("bytes", "i8"),
]  # fmt: skip

BURST_MAX = 2 * 10**18  # nanobits of any bucket: sums of two, and of what comes in meanwhile, fit 63 bits

POLICE_ONE, POLICE_SINGLE_RATE, POLICE_TWO_RATES = range(3)  # one bucket; RFC 2697; RFC 2698
FATE_SEND, FATE_POLICED = 0, 1

(ST_FREE, ST_REST, ST_RATE, ST_LEAST, ST_OVERHEAD, ST_WAITING, ST_ORDER, ST_SLOT, ST_WAKE, ST_SHAPERS, ST_OUT,
 ST_DROPS, ST_TAIL, ST_POLICED, ST_ELEMENTS) = range(15)  # fmt: skip
STATE = {  # `st`, one number each
    ST_FREE: "ns in which the link can take a packet, or could since the last arrival",
    ST_REST: "and the rest of it, in units of 1/rate ns",
    ST_RATE: "bit/s of the link",
    ST_LEAST: "nanobits that a packet takes of the link at least",
    ST_OVERHEAD: "bytes that every packet has on the link beyond its length",
    ST_WAITING: "packets that wait in all queues",
    ST_ORDER: "arrivals so far",
    ST_SLOT: "first free slot, -1 = none",
    ST_WAKE: "ns at which a shaper is to be looked at next, NEVER = none waits",
    ST_SHAPERS: "1 = the policy has shapers",
    ST_OUT: "departures so far in this run",
    ST_DROPS: "drops so far in this run",
    ST_TAIL: "number of the drop cause of a full queue",
    ST_POLICED: "number of the drop cause of a policer",
    ST_ELEMENTS: "elements",
}

QUEUE_TYPES = {
    "st": np.dtype("i8"),
    "el": struct(ELEMENT),
    "start": np.dtype("i8"),  # by element: virtual time at which its next packet starts
    "tag": np.dtype("i8"),  # by element: finish time << TAG_SHIFT | number of the child; NEVER = not in `act`
    "slot": struct(SLOT),
    "cls": struct(CLASS),
    "queue_of": np.dtype("i8"),  # by class: its queue's element
    "a_row": np.dtype("i8"), "a_ts": np.dtype("i8"), "a_length": np.dtype("i4"),  # arrivals, by time
    "a_class": np.dtype("u1"), "a_fate": np.dtype("u1"),  # FATE_ number
    "o_row": np.dtype("i8"), "o_arrival": np.dtype("i8"), "o_start": np.dtype("i8"), "o_end": np.dtype("i8"),
    "o_length": np.dtype("i4"), "o_class": np.dtype("u1"),  # departures
    "d_row": np.dtype("i8"), "d_ts": np.dtype("i8"), "d_length": np.dtype("i4"),
    "d_class": np.dtype("u1"), "d_cause": np.dtype("u1"),  # drops
}  # fmt: skip

TREAT_TYPES = {  # what `police` works on
    "bucket": struct(BUCKETS),
    "colour": struct(COLOUR),
    "policer": np.dtype("i8"),  # by class: its policer, -1 = none
    "set_dscp": np.dtype("i8"), "set_group": np.dtype("i8"),  # by class: what `set` says, -1 = nothing
    "r_ts": np.dtype("i8"), "r_length": np.dtype("i4"), "r_class": np.dtype("u1"),  # rows, by time
    "r_fate": np.dtype("u1"),  # FATE_ number
    "r_dscp": np.dtype("i2"), "r_group": np.dtype("i2"),  # what the row gets, -1 = stays as it is
}  # fmt: skip
