"""Scheduler: one interface's queues. Packets are offered in order of time, and leave when the link has time for them.

    queues = Scheduler(compile_queues(cfg, "p1", 10_000_000))
    queues.offer(ts, length, cls)
    gone = queues.run(until=5_000_000)        # what left the queues before 5 ms, and what was dropped
    queues.counters(), queues.queued

Nothing here moves bytes: rows are numbers of the caller's. What waits at `until` stays, and the next call goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.batch import Array
from qfp.qos.policy import QueuePolicy, filling
from qfp_kernels import queues as q
from qfp_kernels.columns import Columns
from qfp_kernels.drops import Drop
from qfp_kernels.layout import aligned
from qfp_kernels.schedule import schedule

Rows = npt.ArrayLike
PART = 8192  # arrivals that are handed to the kernel at once: the table of waiting packets stays small
END = q.NEVER - (1 << 60)  # ns: `run()` without a horizon; sums with it do not overflow
ARRIVALS = {"row": "i8", "ts": "i8", "length": "i4", "class": "u1", "fate": "u1"}
DEPARTURES = {"row": "i8", "arrival": "i8", "start": "i8", "end": "i8", "length": "i4", "class": "u1"}
DROPS = {"row": "i8", "ts": "i8", "length": "i4", "class": "u1", "cause": "u1"}


@dataclass(frozen=True)
class Departures:
    """What left, in order: row, ns of arrival, ns in which its first bit and its last bit leave, bytes, class.

    A packet stands here as soon as it has started; `end` may lie behind the horizon.
    """

    row: Array
    arrival: Array
    start: Array
    end: Array
    length: Array
    cls: Array
    dropped: Drops

    def __len__(self) -> int:
        return int(self.row.size)


@dataclass(frozen=True)
class Drops:
    """What was dropped, in order of time; `cause` as numbers of drops.Drop."""

    row: Array
    ts: Array
    length: Array
    cls: Array
    cause: Array

    def __len__(self) -> int:
        return int(self.row.size)


class Scheduler:
    """The queues of one interface.

    Lengths are those of layer 2 frames: everything that counts bytes counts these. overhead: bytes that every packet
    has on the link beyond its length (preamble, gap, FCS); they take time, and count for nothing else. least: what a
    packet takes of the link at least, in nanobits (see queues.py). tail: the drop cause of a full queue.
    """

    def __init__(self, policy: QueuePolicy, overhead: int = 0, least: int = 0, tail: int = int(Drop.TAIL_DROP)):
        if not 0 <= least <= q.BURST_MAX:
            raise ValueError(f"a packet takes 0 to {q.BURST_MAX} nanobits of the link at least")
        self.policy = policy
        self._waiting: list[dict[str, Array]] = []  # offered, not arrived yet
        self._offered = 0
        self._last = 0  # ns of the last row offered
        self._until = 0
        self._q: Any = Columns("Q", self._tables())
        st = self._q.st
        st[q.ST_RATE], st[q.ST_LEAST], st[q.ST_OVERHEAD] = policy.rate, least, overhead
        st[q.ST_SLOT], st[q.ST_WAKE], st[q.ST_ELEMENTS] = -1, q.NEVER, len(policy.elements)
        st[q.ST_SHAPERS] = any(each.rate for each in policy.elements)
        st[q.ST_TAIL], st[q.ST_POLICED] = tail, int(Drop.POLICED)
        self._overhead = overhead

    def offer(self, ts: Rows, length: Rows, cls: Rows, row: Rows | None = None, policed: Rows | None = None) -> None:
        """Packets that arrive: ns, bytes and class of each, in order of time and not before the last horizon.

        row: the caller's numbers, else counted from 0. policed: those that a policer (see treatment.py) drops; they are
        counted here. Raises ValueError on rows that are out of order, too long, or of no class of the policy.
        """
        at = np.asarray(ts, np.int64)
        new: dict[str, Array] = {"ts": at, "length": np.asarray(length), "class": np.asarray(cls)}
        new["row"] = np.arange(self._offered, self._offered + at.size) if row is None else np.asarray(row)
        new["fate"] = np.zeros(at.size, np.uint8) if policed is None else np.asarray(policed)
        if any(each.shape != (at.size,) for each in new.values()):
            raise ValueError("columns of an offer differ in length")
        if not at.size:
            return
        if at[0] < max(self._last, self._until) or (at[1:] < at[:-1]).any() or at[-1] >= END:
            raise ValueError("packets are offered in order of time, and not before what has been run already")
        if new["length"].min() < 1 or new["length"].max() + self._overhead >= q.LENGTH_MAX:
            raise ValueError(f"a packet has 1 to {q.LENGTH_MAX - 1} bytes, overhead included")
        if new["class"].min() < 0 or new["class"].max() >= len(self.policy.classes):
            raise ValueError(f"the policy has {len(self.policy.classes)} classes")
        self._offered += at.size
        self._last = int(at[-1])
        columns = {name: np.ascontiguousarray(new[name], kind) for name, kind in ARRIVALS.items()}
        for k in range(0, at.size, PART):
            self._waiting.append({name: column[k : k + PART] for name, column in columns.items()})

    def run(self, until: int | None = None) -> Departures:
        """Let everything happen that happens before `until` (ns; None: until the queues are empty)."""
        horizon = END if until is None else min(int(until), END)
        coming = sum(int(np.searchsorted(each["ts"], horizon)) for each in self._waiting)
        out = self._results("o", DEPARTURES, coming + int(self._q.st[q.ST_WAITING]))
        lost = self._results("d", DROPS, coming)
        if not coming:
            self._pass(NOTHING, 0, horizon)
        while coming:
            part = self._waiting.pop(0)
            n = min(coming, part["ts"].size)
            coming -= n
            if n < part["ts"].size:
                self._waiting.insert(0, {name: column[n:] for name, column in part.items()})
            self._pass(part, n, int(self._waiting[0]["ts"][0]) if coming else horizon)
        if until is not None:
            self._until = max(self._until, horizon)
        dropped = Drops(*self._taken(lost, q.ST_DROPS))
        row, arrival, start, end, length, cls = self._taken(out, q.ST_OUT)
        return Departures(row, arrival, start, end, length, cls, dropped)

    @property
    def queued(self) -> int:
        """Packets that wait in the queues, those included that have been offered but are still to arrive."""
        return int(self._q.st[q.ST_WAITING]) + sum(each["ts"].size for each in self._waiting)

    @property
    def busy_until(self) -> int:
        """The ns in which the link can take the next packet; of an idle one, that of the last arrival."""
        return int(self._q.st[q.ST_FREE])

    @property
    def free(self) -> int:
        """The first whole ns in which the link is free."""
        return self.busy_until + int(self._q.st[q.ST_REST] > 0)

    def begin(self, free: int) -> None:
        """The link of a fresh scheduler is busy until `free` (ns)."""
        self._q.st[q.ST_FREE] = free

    def waiting(self) -> tuple[Array, Array]:
        """(rows, classes) of the packets in the queues, in order of arrival."""
        found = []
        for element in self._q.el:
            at = int(element["head"]) if element["packets"] else -1
            while at >= 0:
                slot = self._q.slot[at]
                found.append((int(slot["order"]) >> 8, int(slot["row"]), int(slot["order"]) & 255))
                at = int(slot["next"])
        columns = np.array(sorted(found), np.int64).reshape(-1, 3)
        return columns[:, 1], columns[:, 2]

    @property
    def next_start(self) -> int:
        """The first ns in which a packet of those offered may start; queues.NEVER without any.

        None starts earlier. Where shapers or drops are in play, none may start in it either.
        """
        st, link = self._q.st, self._q.el[0]
        free = int(st[q.ST_FREE])
        coming = max(free, int(self._waiting[0]["ts"][0])) if self._waiting else q.NEVER
        if link["pri1"] | link["pri2"] | link["act"]:
            return min(coming, free)
        return min(coming, max(free, int(st[q.ST_WAKE])))

    def counters(self) -> dict[str, dict[str, int]]:
        """What `show policy-map interface` counts, by class.

        Packets and bytes in, out, dropped by cause, and waiting; of its queue, which may be class-default's, the
        packets that wait in it and the most that ever did.
        """
        waits = self._by_class()
        out = {}
        for number, name in enumerate(self.policy.classes):
            row = self._q.cls[number]
            element = self._q.el[self.policy.queue_of[number]]
            mine = {field: int(row[field]) for field in row.dtype.names}
            for k, unit in enumerate(("packets", "bytes")):
                mine[f"queued_{unit}"] = int(waits[number, k])
                left = (f"tail_{unit}", f"police_{unit}", f"queued_{unit}")
                mine[f"out_{unit}"] = mine[f"in_{unit}"] - sum(mine[each] for each in left)
            mine |= {"queue_depth": int(element["packets"]), "queue_max": int(element["max_packets"])}
            out[name] = mine
        return out

    def _by_class(self) -> Array:
        """Packets and bytes that wait, by class."""
        out = np.zeros((len(self.policy.classes), 2), np.int64)
        for element in self._q.el:
            at = int(element["head"]) if element["packets"] else -1
            while at >= 0:
                slot = self._q.slot[at]
                out[int(slot["order"]) & 255] += (1, int(slot["length"]))
                at = int(slot["next"])
        return out

    # --- inside

    def _results(self, prefix: str, columns: dict[str, str], room: int) -> list[Array]:
        """Fresh columns that the kernel writes results to."""
        sizes = [np.dtype(kind).itemsize * room for kind in columns.values()]
        block = np.empty(sum(sizes), np.uint8)  # in one piece: large ones are then mapped in large pages
        out = []
        at = 0
        for (name, kind), size in zip(columns.items(), sizes, strict=True):
            out.append(block[at : at + size].view(kind))
            self._q.rebind(f"{prefix}_{name}", out[-1])
            at += size
        return out

    def _taken(self, columns: list[Array], counter: int) -> list[Array]:
        """The rows that were written; without the memory behind them where that is most of it."""
        n = int(self._q.st[counter])
        self._q.st[counter] = 0
        return [column[:n] if 2 * n >= column.size else column[:n].copy() for column in columns]

    def _pass(self, arrivals: dict[str, Array], n: int, before: int) -> None:
        """The first n rows of a part arrive; the link starts what it can before a time."""
        self._reserve(n)
        for name, column in arrivals.items():
            self._q.rebind(f"a_{name}", column)
        schedule(self._q, n, before)

    def _reserve(self, more: int) -> None:
        """Have free slots for so many arrivals."""
        st = self._q.st
        old = self._q.slot
        free = old.size - int(st[q.ST_WAITING])
        if free >= more:
            return
        size = max(2 * old.size, int(st[q.ST_WAITING]) + more)
        new = aligned(size, old.dtype)
        new[: old.size] = old
        new["next"][old.size :] = np.arange(old.size + 1, size + 1)
        new["next"][-1] = st[q.ST_SLOT]
        st[q.ST_SLOT] = old.size
        self._q.rebind("slot", new)

    def _tables(self) -> dict[str, Array]:
        elements = self.policy.elements
        sizes = {"st": 32, "el": len(elements), "start": len(elements), "tag": len(elements), "slot": 0,
                 "cls": len(self.policy.classes), "queue_of": len(self.policy.classes)}  # fmt: skip
        tables = {name: aligned(sizes.get(name, 0), kind) for name, kind in q.QUEUE_TYPES.items()}
        tables["tag"][:] = q.NEVER
        tables["queue_of"][:] = self.policy.queue_of
        for row, element in zip(tables["el"], elements, strict=True):
            for name in ("parent", "level", "weight", "cost", "rate", "burst", "limit", "limit_bytes", "cir", "cbs"):
                row[name] = getattr(element, name)
            row["first"] = element.children[0] if element.children else 0
            row["count"] = len(element.children)
            row["fill"], row["cfill"] = filling(element.burst, element.rate), filling(element.cbs, element.cir)
            row["tokens"], row["ctokens"] = element.burst, element.cbs
            row["ready"] = q.NEVER
            for name in ("pick", "lead1", "lead2", "head", "tail"):
                row[name] = -1
        return tables


NOTHING = {name: np.zeros(0, kind) for name, kind in ARRIVALS.items()}
