"""CryptoQueue: the crypto engine as a link with two queues, low latency and best effort (guide chapter 9).

The engine has a capacity in bit/s and one in packets/s; a packet takes it for the longer of length/rate and 1/packets.
The low-latency queue goes first. Into it go packets of the egress policy's priority classes, of the QoS groups of
`platform ipsec llq qos-group`, and the router's own control packets (PAK priority: precedence 6 and 7).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qfp.batch import Array
from qfp.qos.policy import Defaults, QueuePolicy, flat
from qfp.qos.scheduler import Departures, Rows, Scheduler
from qfp_kernels.drops import Drop

LLQ, BEST_EFFORT = 0, 1
CONTROL_DSCP = 48  # CS6, and above


def least_of(bits_per_second: int, packets_per_second: int) -> int:
    """Nanobits of the engine that a packet takes at least; 0 packets/s is no limit of packets."""
    return -(-bits_per_second * 10**9 // packets_per_second) if packets_per_second else 0


class CryptoQueue:
    """Packets before the engine: offered in order of time, they leave in the order in which they are encrypted.

    limit, llq_limit: packets of the best-effort and of the low-latency queue; the guide names none, so best effort has
    the default of a class queue at the engine's rate, and the low-latency queue that of a priority queue.
    """

    def __init__(
        self,
        bits_per_second: int,
        packets_per_second: int = 0,
        llq_groups: Iterable[int] = (),
        egress: QueuePolicy | None = None,
        limit: int | None = None,
        llq_limit: int | None = None,
    ):
        policy = flat(bits_per_second, [(1, 1), (0, 1)])
        d = Defaults()
        best = max(d.queue_min, bits_per_second * d.queue_ms // (8000 * d.queue_packet))
        policy.elements[1 + LLQ].limit = d.priority_queue if llq_limit is None else llq_limit
        policy.elements[1 + BEST_EFFORT].limit = best if limit is None else limit
        policy.classes[:] = ["llq", "best effort"]
        least = least_of(bits_per_second, packets_per_second)
        self.scheduler = Scheduler(policy, tail=int(Drop.CRYPTO_TAIL_DROP), least=least)
        self.set_groups(llq_groups)
        levels = [egress.priority(k) for k in range(len(egress.classes))] if egress is not None else []
        self._priority = np.array(levels, int) > 0

    def set_groups(self, llq_groups: Iterable[int]) -> None:
        """QoS groups of low latency (`platform ipsec llq qos-group`)."""
        self._groups = np.zeros(256, bool)
        self._groups[list(llq_groups)] = True

    def queue_of(
        self, cls: Array | None, qos_group: Array | None = None, own: Array | None = None, tos: Array | None = None,
        priority: Array | None = None,
    ) -> Array:  # fmt: skip
        """LLQ or BEST_EFFORT of each row.

        cls: its class in the egress policy. own: whether the router made it itself; tos: the octet of its header.
        priority: instead of cls, whether its class has priority, for a router with several egress policies.
        """
        parts = [] if priority is None else [np.asarray(priority, bool)]
        if cls is not None and self._priority.size:
            parts.append(self._priority[cls])
        if qos_group is not None:
            parts.append(self._groups[qos_group])
        if own is not None and tos is not None:
            parts.append(np.asarray(own, bool) & (np.asarray(tos) >> 2 >= CONTROL_DSCP))
        if not parts:
            raise ValueError("nothing tells which packets are of low latency: give classes, QoS groups or TOS octets")
        return np.where(np.logical_or.reduce(parts), LLQ, BEST_EFFORT)

    def offer(self, ts: Rows, length: Rows, queue: Rows, row: Rows | None = None) -> None:
        """Packets that come to the engine: ns, bytes, queue of each, in order of time."""
        self.scheduler.offer(ts, length, queue, row)

    def run(self, until: int | None = None) -> Departures:
        """See Scheduler.run: `start` and `end` are those of a packet's encryption."""
        return self.scheduler.run(until)
