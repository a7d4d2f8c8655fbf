"""Result: what a run made of a batch. Packets out, verdicts, counters, and why."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qfp.batch import RAW_IP, Batch
from qfp.engine import MemorySink
from qfp.stages import STAGE_NAMES
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp_kernels import drops
from qfp_kernels.capture import MEMORY_HEADER
from qfp_kernels.jit import kernel
from qfp_kernels.layout import (
    CTL_KEEP_CLEAR,
    CTL_MODE,
    CTL_OUT_SEQ,
    MODE_ROUTER,
    STAT_DUMMY,
    STAT_ECN_ALARM,
    STAT_FRAGMENTS,
    STAT_HELD_BEFORE,
    STAT_ICMP,
    STAT_ICMP_LIMITED,
    STAT_ICMP_LOST,
    STAT_IN,
    STAT_IN_BYTES,
    STAT_MADE,
    STAT_MSS,
    STAT_OUT,
    STAT_OUT_BYTES,
    VERDICT_FIELDS,
)
from qfp_kernels.reassemble import INNER, OUTER

Array = npt.NDArray[Any]
VERDICT_WORDS = [v.name.lower() for v in drops.Verdict]
CAUSE_WORDS = [c.name for c in drops.CAUSES]
DROPS_SCHEMA = pa.schema(
    [("cause", pa.string()), ("stage", pa.string()), ("sa", pa.int32()), ("packets", pa.int64()), ("bytes", pa.int64()),
     ("meaning", pa.string())]
)  # fmt: skip
STATS = {
    "frames_in": STAT_IN, "bytes_in": STAT_IN_BYTES, "packets_out": STAT_OUT, "bytes_out": STAT_OUT_BYTES,
    "fragments_seen": STAT_FRAGMENTS, "ecn_alarms": STAT_ECN_ALARM, "dummies": STAT_DUMMY,
    "fragments_made": STAT_MADE, "icmp_sent": STAT_ICMP, "icmp_lost": STAT_ICMP_LOST,
    "icmp_limited": STAT_ICMP_LIMITED, "mss_adjusted": STAT_MSS, "fragments_before": STAT_HELD_BEFORE,
}  # fmt: skip
CAME = ("frames_in", "icmp_sent", "fragments_made", "fragments_before")
REASSEMBLIES = {"outer": OUTER, "inner": INNER}


def words(interfaces: Sequence[str]) -> dict[str, Sequence[str]]:
    """The words behind the numbers of the verdict columns."""
    return {
        "in_if": interfaces, "out_if": interfaces, "verdict": VERDICT_WORDS, "cause": CAUSE_WORDS,
        "stage": STAGE_NAMES,
    }  # fmt: skip


class VerdictStore:
    """Keeps verdict columns in memory."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Array]] = []

    def add(self, columns: dict[str, Array]) -> None:
        self._parts.append({name: column.copy() for name, column in columns.items()})

    def columns(self) -> dict[str, Array]:
        """All rows, one array a field of VERDICT_FIELDS."""
        return {
            f.name: np.concatenate([p[f.name] for p in self._parts]) if self._parts else np.empty(0, f.dtype)
            for f in VERDICT_FIELDS
        }


class CountError(AssertionError):
    """A packet was lost without a verdict: a fault of qfp, never of its input."""


def counters(tables: Tables) -> dict[str, Any]:
    """Totals of a run: frames by verdict, drops by cause, bytes, what reassembly holds.

    Checks BASE-12: every frame that came in has exactly one verdict, and what came in, was generated and was made by
    fragmentation equals what went out and what ended here; `balance` has the terms. Raises CountError.
    """
    t = tables.t
    by_verdict = {v.name.lower(): int(t.verdicts[v]) for v in drops.Verdict if t.verdicts[v]}
    by_cause = {c.name: int(t.causes[c.number]) for c in drops.CAUSES if t.causes[c.number]}
    stats = {name: int(t.stats[k]) for name, k in STATS.items()}
    if sum(by_verdict.values()) != stats["frames_in"] or by_verdict.get("none"):
        raise CountError(f"{stats['frames_in']} frames came in, verdicts are {by_verdict}")
    if sum(by_cause.values()) != by_verdict.get("dropped", 0):
        raise CountError(f"{by_verdict.get('dropped', 0)} drops, causes are {by_cause}")
    held = reassembly_counters(t)
    terms = _balance(t, stats, by_verdict, held)
    came, went = (sum(terms[side].values()) for side in ("in", "out"))
    if came != went or min(terms["out"].values()) < 0:
        raise CountError(f"{came} packets came in or were made, {went} went out or ended: {terms}")
    return {**stats, "pieces_dropped": terms["out"]["pieces_dropped"], "verdicts": by_verdict, "drops": by_cause,
            "reassembly": held, "balance": terms}  # fmt: skip


def _balance(t: Any, stats: dict[str, int], verdicts: dict[str, int], held: dict[str, Any]) -> dict[str, Any]:
    """Where packets came from and where they went: the sums of both sides are equal (BASE-12).

    in: frames_in, icmp_sent (errors that this router made and sent), fragments_made (packets more than there were),
    fragments_before (waiting when counting began anew, see `zero_counters`).
    out: packets_out; dropped (frames) and pieces_dropped (further fragments of these); punted; merged (fragments that
    became part of a packet), fragments_waiting and fragments_lost (taken in, and lost later); consumed (keepalives,
    dummies); not_written (clear packets that `decrypt` leaves out).
    """
    parts = [held[word] for word in REASSEMBLIES]
    merged = sum(part["merged"] - part["whole"] for part in parts)
    waiting, lost = sum(part["held"] for part in parts), sum(held["lost"].values())
    out = {
        "packets_out": stats["packets_out"], "dropped": verdicts.get("dropped", 0),
        "pieces_dropped": int(t.pieces.sum()), "punted": verdicts.get("punted", 0), "merged": merged,
        "fragments_waiting": waiting, "fragments_lost": lost,
        "consumed": verdicts.get("consumed", 0) + stats["fragments_before"] - merged - waiting - lost,
    }  # fmt: skip
    if t.ctl[CTL_MODE] != MODE_ROUTER:
        out["not_written"] = 0 if t.ctl[CTL_KEEP_CLEAR] else verdicts.get("bypassed", 0)
    return {"in": {name: stats[name] for name in CAME}, "out": out}


def reassembly_counters(t: Any) -> dict[str, Any]:
    """What became of fragments that were taken in (verdict consumed): put together, lost later by cause, waiting."""
    lost = {c.name: int(t.late[c.number]) for c in drops.CAUSES if t.late[c.number]}
    rows = {word: {name: int(t.rsm[name][j]) for name in ("held", "waiting", "merged", "whole")}
            for word, j in REASSEMBLIES.items()}  # fmt: skip
    return {**rows, "lost": lost}


class Result:
    """Outcome of `Router.forward` and `decrypt`.

    `packets`: what was sent (Batch, raw IP). `verdicts`: one array a field, one row an input frame. `counters`: see
    `counters`. `came_from`: int64, the row of `source` that each packet sent stems from. `drops`: Arrow table of
    causes. `source`: the batch that went in. `origin`: what `explain` starts from.
    """

    def __init__(self, packets: Batch, verdicts: dict[str, Array], totals: dict[str, Any], tables: Any, sad: Sad,
                 interfaces: Sequence[str], source: Batch, came_from: Array, origin: Any = None):  # fmt: skip
        self.packets = packets
        self.came_from = came_from
        self.verdicts = verdicts
        self.counters = totals
        self.interfaces = tuple(interfaces)
        self.source = source
        self.origin = origin
        self._tables, self._sad = tables, sad

    def __reduce__(self) -> Any:
        """Pickled with the router or decryptor that it came from, as that is now: keys are in it."""
        if self.origin is None:
            raise TypeError("a result of frames from several interfaces cannot be pickled: pickle its router, and take "
                            "what you need of it (result.packets, result.verdicts, result.counters)")  # fmt: skip
        columns = (self.packets, self.verdicts, self.counters)
        return _unpickled, (columns, self.interfaces, self.source, self.came_from, self.origin)

    def __repr__(self) -> str:
        return f"Result({len(self.verdicts['frame'])} frames in, {len(self.packets)} packets out)"

    @property
    def drops(self) -> pa.Table:
        """Drops by cause, stage and SA: cause, stage, sa, packets, bytes, and what the cause means."""
        v = self.verdicts
        dropped = v["cause"] > 0
        keys = np.stack([v[n][dropped].astype(np.int64) for n in ("cause", "stage", "sa")], axis=1)
        unique, inverse, packets = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        size = np.bincount(inverse.reshape(-1), v["len_in"][dropped], len(unique)).astype(np.int64)
        return pa.table(
            {
                "cause": [CAUSE_WORDS[k] for k in unique[:, 0]],
                "stage": [STAGE_NAMES[k] for k in unique[:, 1]],
                "sa": unique[:, 2].astype(np.int32),
                "packets": packets,
                "bytes": size,
                "meaning": [drops.CAUSES[k].sentence for k in unique[:, 0]],
            },
            schema=DROPS_SCHEMA,
        )

    def to_arrow(self) -> pa.Table:
        """The verdict table, with words."""
        from qfp.trace.verdicts import verdict_table

        return verdict_table(self.verdicts, words(self.interfaces))

    def write(self, path: Any) -> None:
        """Write the packets to a capture or table by suffix."""
        from qfp.trace import write_trace

        write_trace(path, self.packets)

    def explain(self, frame: int, *, intermediate: bool = False) -> dict[str, Any]:
        """What was decided for one input frame, and why: the same facts that `qfp explain` prints. intermediate: with
        nonce, AAD, padding, input and output of the ICV, as `--bytes` has them."""
        from qfp.explain import explain

        return explain(self, frame, intermediate)

    def frame_bytes(self, frame: int) -> bytes:
        """The input frame of a row."""
        return self.source.frame(frame)

    def association(self, handle: int) -> Any:
        """The SA of a handle (its repr shows no keys)."""
        return self._sad.describe(handle)


def collect(
    tables: Tables, sad: Sad, interfaces: Sequence[str], source: Batch, sink: MemorySink, store: VerdictStore,
    origin: Any = None,
) -> Result:  # fmt: skip
    """Put a finished run together."""
    verdicts = store.columns()
    packets = _packets(sink, int(tables.t.ctl[CTL_OUT_SEQ]), interfaces)
    came_from = np.repeat(np.arange(len(source)), verdicts["n_out"])  # records are written in the order of rows
    return Result(packets, verdicts, counters(tables), tables, sad, interfaces, source, came_from, origin)


@kernel
def _index(block: Any, size: int, columns: Any) -> int:
    """Columns (offset, length, ts, interface, frame) of the records of a memory sink's block; returns how many."""
    at, n = np.int64(0), 0
    while at < size:
        words = block[at : at + MEMORY_HEADER]
        columns[2, n] = words[0:8].view(np.int64)[0]
        columns[4, n] = words[8:16].view(np.int64)[0]
        columns[3, n] = words[16:20].view(np.int32)[0]
        length = np.int64(words[20:24].view(np.int32)[0])
        columns[0, n], columns[1, n] = at + MEMORY_HEADER, length
        at += MEMORY_HEADER + length
        n += 1
    return n


def index_records(block: Array, count: int) -> Array:
    """int64[5, count]: offset, length, ns, interface, input frame of the records of a memory sink."""
    found = np.zeros((5, count), np.int64)
    _index(block, block.size, found)
    return found


def _packets(sink: MemorySink, count: int, interfaces: Sequence[str]) -> Batch:
    """The `count` records of a memory sink as a batch: `in_if` is the interface that each left by."""
    block = sink.records
    offset, length, ts, left_by, _ = index_records(block, count)
    columns = {
        "offset": offset, "length": length, "wire": length, "ts": ts, "in_if": left_by,
        "link": np.full(count, RAW_IP), "frame": np.arange(count),
    }  # fmt: skip
    return Batch(block, columns, interfaces)


def _unpickled(
    columns: tuple[Any, ...], interfaces: Sequence[str], source: Batch, came_from: Array, origin: Any
) -> Result:
    """A result that was pickled."""
    packets, verdicts, totals = columns
    owner = origin.owner
    return Result(packets, verdicts, totals, owner.tables, owner.sad, interfaces, source, came_from, origin)
