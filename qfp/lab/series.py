"""Time series of a lab: what came, left, waited and was lost in each interval, by router, engine, link and queue.

Whoever knows counts, in any order; sums are made in between and when the lab has run. So series depend on the packets
alone, and not on rounds or threads.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from qfp.lab.flow import Array
from qfp_kernels.jit import kernel

SCHEMA = "qfp-series/1"
IN, OUT, QUEUED = "in", "out", "queued"
INTERVALS = 100  # about so many during the injections, where nobody says how long one is
LEAST = 10**6  # ns of an interval that is chosen here
MOST = 10**6  # intervals during the injections
PENDING = 1 << 18  # packets that are summed up at once

Key = tuple[str, str, str]  # place, queue ("" = the place itself), event


def interval_for(length: int) -> int:
    """ns of an interval for so many ns of injections: 1, 2 or 5 times a power of ten, one millisecond at least."""
    step = LEAST
    while True:
        for interval in (step, 2 * step, 5 * step):
            if length <= INTERVALS * interval:
                return interval
        step *= 10


class Series:
    """Sums by place, queue and event over intervals of `interval` ns."""

    def __init__(self, interval: int):
        self.interval = interval
        self._pending: list[tuple[Key, Array, Array]] = []
        self._rows = 0
        self._sums: dict[Key, list[Array]] = {}

    def count(self, place: str, event: str, ts: Array, length: Array, queue: str = "") -> None:
        """Packets to which something happens: ns and bytes of each, in any order. Any thread may call."""
        if ts.size:
            self._pending.append(((place, queue, event), ts, length))
            self._rows += ts.size

    def waited(self, place: str, queue: str, ts: Array, until: Array, length: Array) -> None:
        """Packets that came into a queue at `ts`, and left it or were lost before it at `until`. What they left for is
        counted besides."""
        self.count(place, IN, ts, length, queue)
        self.count(place, QUEUED, until, length, queue)

    def settle(self, everything: bool = False) -> None:
        """Sum up what is pending, where it is much. One thread calls, while no other counts."""
        if not everything and self._rows < PENDING:
            return
        pending, self._pending, self._rows = self._pending, [], 0
        by_key: dict[Key, list[tuple[Array, Array]]] = {}
        for key, ts, length in pending:
            by_key.setdefault(key, []).append((ts, length))
        for key, parts in by_key.items():
            at = np.concatenate([part[0] for part in parts], dtype=np.int64)
            size = np.concatenate([part[1] for part in parts], dtype=np.int64)
            sums = np.empty((3, at.size), np.int64)
            runs = _tally(at, size, self.interval, sums)
            self._sums.setdefault(key, []).append(sums[:, :runs].copy())

    def to_arrow(self) -> pa.Table:
        """ts (ns, start of the interval), where, queue (null: the place itself), event, packets, bytes.

        Only what is more than nothing. The rows with event `queued` are what waits or is being sent when the interval
        ends; all others are what happened in it.
        """
        self.settle(everything=True)
        rows: list[tuple[Key, Array]] = []
        for key, parts in self._sums.items():
            if key[2] != QUEUED:
                rows.append((key, _joined(parts)))
            else:
                came = _joined(self._sums[(*key[:2], IN)])
                rows.append((key, _depths(came, _joined(parts))))
        table = np.concatenate([sums for _, sums in rows], axis=1) if rows else np.empty((3, 0), np.int64)
        names = sorted({word for key, _ in rows for word in key})
        number = {word: k for k, word in enumerate(names)}
        which = [np.repeat([number[key[k]] for key, _ in rows], [sums.shape[1] for _, sums in rows]).astype(np.int64)
                 for k in range(3)]  # fmt: skip
        order = np.lexsort((which[2], which[1], which[0], table[0]))
        where, queue, event = (part[order] for part in which)
        words = pa.array(names, pa.string())
        no_queue = queue == number.get("", -1)
        return pa.table(
            {
                "ts": table[0][order] * self.interval, "where": words.take(pa.array(where)),
                "queue": words.take(pa.array(queue, mask=no_queue)), "event": words.take(pa.array(event)),
                "packets": table[1][order], "bytes": table[2][order],
            }
        ).replace_schema_metadata({"qfp.schema": SCHEMA, "qfp.interval": str(self.interval)})  # fmt: skip


@kernel
def _tally(ts: Any, length: Any, interval: int, sums: Any) -> int:
    """Runs of packets of one interval: its number, packets, bytes; returns how many runs there are."""
    runs, start, stop = -1, np.int64(0), np.int64(0)
    for i in range(ts.size):
        if ts[i] < start or ts[i] >= stop:
            runs += 1
            number = ts[i] // interval
            start, stop = number * interval, (number + 1) * interval
            sums[0, runs], sums[1, runs], sums[2, runs] = number, 0, 0
        sums[1, runs] += 1
        sums[2, runs] += length[i]
    return runs + 1


def _joined(parts: list[Array]) -> Array:
    """One column an interval, in order."""
    every = np.concatenate(parts, axis=1)
    numbers, where = np.unique(every[0], return_inverse=True)
    out = np.zeros((3, numbers.size), np.int64)
    out[0] = numbers
    for row in (1, 2):
        np.add.at(out[row], where, every[row])
    return out


def _depths(came: Array, left: Array) -> Array:
    """What is in a queue at the end of each interval, where anything is; intervals without events are filled in."""
    change = _joined([came, left * np.array([[1], [-1], [-1]])])
    number, packets, size = change[0], np.cumsum(change[1]), np.cumsum(change[2])
    lasts = np.diff(number, append=number[-1] + 1) * (packets > 0)
    first = np.repeat(np.cumsum(lasts) - lasts, lasts)
    return np.stack([np.repeat(number, lasts) + np.arange(first.size) - first, np.repeat(packets, lasts),
                     np.repeat(size, lasts)])  # fmt: skip
