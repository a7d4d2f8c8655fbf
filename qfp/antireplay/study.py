"""One SA under one scheme: what every window loses, which window loses nothing, and how packets are out of order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from qfp.antireplay.columns import ReplayLabError, Scratch, pieces, tallied
from qfp.antireplay.numbers import Classes, Numbering
from qfp.batch import Array
from qfp_kernels import study as K
from qfp_kernels.columns import Columns
from qfp_kernels.layout import aligned, struct

Facts = dict[str, Any]
DOUBLINGS = tuple(32 << k for k in range(9))  # windows that are tried by default: 32 to 8192
WINDOW_MAX = 1 << 20
ROUTER_WINDOWS = (64, 128, 256, 512, 1024)  # that `replay window-size` takes
STATE = struct([("top", "u8"), ("window", "u4"), ("win_at", "u4"), ("ring", "u4")])  # what replay.py asks of an SA
VERDICTS = ("accepted", "late", "duplicate", "zero")  # by K.ACCEPTED, K.LATE, 1 + K.AGAIN, 1 + K.ZERO
POWERS = np.int64(1) << np.arange(63, dtype=np.int64)
HURTS = 3  # duplicate acknowledgements that make TCP send again: n-reordering from here on hurts (RFC 4737 section 5.4)


class Receiver:
    """The windows of a receiver, for kernels."""

    def __init__(self, windows: Sequence[int]):
        self.sizes = np.array(checked(windows), np.int64)
        ring = max(64, 1 << (int(self.sizes.max()) - 1).bit_length())
        self.t: Any = Columns("R", {"sa_in": aligned(1, STATE), "win": aligned(ring // 64, "u8")})

    def run(self, n: Numbering, verdicts: Array | None = None) -> Array:
        """late[window, space] of a numbering; `verdicts` (uint8[windows, packets]) is filled in the numbering's order.

        The one place where the arrays that kernels take are checked. Raises ValueError.
        """
        size = len(n.numbers)
        kept = np.empty((0, 0), np.uint8) if verdicts is None else verdicts
        for name, array, dtype, shape in (
            ("starts", n.starts, "i8", (len(n.spaces) + 1,)), ("numbers", n.numbers, "u8", (size,)),
            ("state", n.state, "u1", (size,)),
            ("verdicts", kept, "u1", kept.shape if verdicts is None else (len(self.sizes), size)),
        ):  # fmt: skip
            if array.dtype != np.dtype(dtype) or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(f"{name}: {array.dtype}{array.shape}, not contiguous {dtype}{shape}")
        if n.starts[0] != 0 or n.starts[-1] != size or (np.diff(n.starts) < 0).any():
            raise ValueError("spaces do not cover the packets in order")
        late = np.zeros((len(self.sizes), len(n.spaces)), np.int64)
        if K.windows(self.t, n.starts, n.numbers, n.state, self.sizes, n.esn, late, kept):
            raise AssertionError("a window took a number twice")
        return late


def checked(windows: Sequence[int]) -> list[int]:
    """Windows, ascending, each once. Raises ReplayLabError."""
    wanted = sorted(set(windows))
    if not wanted or wanted[0] < 1 or wanted[-1] > WINDOW_MAX:
        raise ReplayLabError(f"windows {', '.join(map(str, wanted)) or '(none)'}: give sizes from 1 to {WINDOW_MAX}")
    return wanted


def router_window(least: int) -> int | None:
    """The smallest window that a router takes and that is not smaller than `least`; None: it takes none so large."""
    return next((w for w in ROUTER_WINDOWS if w >= least), None)


def study(
    n: Numbering, ts: Array, receiver: Receiver, classes: Classes, scratch: Scratch, verdicts: Array | None = None
) -> Facts:
    """The facts of a scheme. ts: of the SA's packets, in their order, ns."""
    late = receiver.run(n, verdicts)
    starts, numbers, times = _fresh(n, ts, scratch)
    found = _reordered(starts, numbers, times, scratch)
    oldest = np.zeros(len(n.spaces), np.int64)
    for part in pieces(len(found["at"])):
        np.maximum.at(oldest, np.searchsorted(starts, found["at"][part], "right") - 1, found["age"][part])
    sizes = np.diff(n.starts)
    by_space = [
        {"space": k, "classes": [classes.names[c] for c in held], "packets": int(sizes[s]),
         "duplicates": int((n.state[n.starts[s] : n.starts[s + 1]] == K.AGAIN).sum()),
         "late": late[:, s].tolist(), "loss_free_window": int(oldest[s]) + 1}
        for s, (k, held) in enumerate(n.spaces)
    ]  # fmt: skip
    least = int(oldest.max()) + 1
    drops = zip(receiver.sizes.tolist(), late.sum(axis=1).tolist(), strict=True)
    kinds = tallied(n.state, 3).tolist()
    return {
        "scheme": n.scheme, "packets": len(n.numbers), "spaces": len(n.spaces),
        "duplicates": kinds[K.AGAIN], "zeros": kinds[K.ZERO], "gaps": None if n.ranks else _gaps(starts, numbers),
        "drops": [{"window": window, "late": lost} for window, lost in drops],
        "loss_free_window": least, "router_window": router_window(least),
        "reordering": _reordering(found, len(numbers)),  # the last to look at `found`: it spoils the order
        "by_space": by_space if n.order is not None else [],
    }  # fmt: skip


def _fresh(n: Numbering, ts: Array, scratch: Scratch) -> tuple[Array, Array, Array]:
    """(starts, numbers, times) of the packets whose number never came before."""
    times = ts if n.order is None else scratch.take(ts, n.order)
    count = int(tallied(n.state, 3)[K.FRESH])
    if count == len(n.numbers):
        return n.starts, n.numbers, times
    starts = np.zeros(len(n.starts), np.int64)
    kept = scratch.array(count, np.uint64), scratch.array(count, np.int64)
    K.fresh_only(n.starts, n.numbers, n.state, times, starts, *kept)
    return starts, *kept


def _gaps(starts: Array, numbers: Array) -> int:
    """Numbers between the smallest and the largest of each space that were never seen."""
    seen = [numbers[a:b] for a, b in pairwise(starts.tolist()) if b > a]
    return sum(int(each.max()) - int(each.min()) + 1 - len(each) for each in seen)


def _reordered(starts: Array, numbers: Array, times: Array, scratch: Scratch) -> dict[str, Array]:
    """Of every late packet what `K.reorder` finds."""
    size = len(numbers)
    if size >= 1 << 32:
        raise ReplayLabError(f"an SA with {size} packets: cut the capture, 2^32 are too many")
    count = K.count_late(starts, numbers)
    found = {name: scratch.array(count, np.int64) for name in ("at", "age", "extent", "delay", "n")}
    K.reorder(starts, numbers, times, scratch.array(size, np.uint32), scratch.array(size, np.uint32), *found.values())
    return found


def _reordering(found: dict[str, Array], packets: int) -> Facts:
    """RFC 4737 in numbers. ratio: section 4.1."""
    count = len(found["age"])
    three = sum(int((found["n"][part] >= HURTS).sum()) for part in pieces(count))
    bursts = found["at"][: K.runs(found["at"])]  # the first packet of a space is never late: no run crosses over
    return {
        "late": count, "ratio": count / packets if packets else 0.0, "age": histogram(found["age"]),
        "extent": histogram(found["extent"]), "delay_ns": histogram(found["delay"]),
        "n_reordering": {**histogram(found["n"]), "three_or_more": three}, "bursts": histogram(bursts),
    }  # fmt: skip


def histogram(values: Array) -> Facts:
    """Count, median, 99th percentile, largest, and how many lie between powers of two (both ends included).

    The values are left in another order.
    """
    if len(values) == 0:
        return {"count": 0, "median": None, "p99": None, "max": None, "bins": []}
    ranks = [(len(values) - 1) // 2, (99 * len(values) + 99) // 100 - 1]
    values.partition(ranks)
    counts = np.zeros(len(POWERS) + 1, np.int64)
    for part in pieces(len(values)):
        counts += np.bincount(np.searchsorted(POWERS, values[part], "right"), minlength=len(counts))
    bins = [{"from": (1 << k) >> 1, "to": (1 << k) - 1, "count": int(c)} for k, c in enumerate(counts.tolist()) if c]
    median, p99 = (int(values[rank]) for rank in ranks)
    return {"count": len(values), "median": median, "p99": p99, "max": int(values.max()), "bins": bins}
