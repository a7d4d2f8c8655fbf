"""The whole answer about a capture: every SA under every scheme; as an object, as JSON and as tables."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qfp.antireplay.columns import Name, Observed, Progress, ReplayLabError, Scratch, observe, pieces, tallied
from qfp.antireplay.numbers import Classes, Selector, numberings
from qfp.antireplay.strip import check_target, is_stripped, read
from qfp.antireplay.study import DOUBLINGS, VERDICTS, Facts, Receiver, checked, study
from qfp.batch import Array
from qfp.trace.errors import Damage
from qfp.trace.output import OutputFile

SCHEMA = "qfp-replay-lab/1"
VERDICT_SCHEMA = "qfp-replay-verdicts/1"
TABLE = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("spi", "dst", "proto", "scheme")),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("window", "packets", "accepted", "late",
                                                                 "duplicates", "zeros", "loss_free_window")),
        pa.field("gaps", pa.int64()),
    ],
    metadata={"qfp.schema": SCHEMA},
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What `report` found. sas: the facts of each SA, in order of appearance."""

    packets: Facts
    windows: list[int]
    classes: str
    sas: list[Facts]
    damage: Damage | None

    def facts(self) -> Facts:
        """As JSON has it (schema qfp-replay-lab/1), without what the command line adds."""
        return {
            "packets": self.packets, "windows": self.windows, "classes": self.classes,
            "damage": None if self.damage is None else vars(self.damage), "sas": self.sas,
        }  # fmt: skip

    def table(self) -> pa.Table:
        """One row an SA, scheme and window."""
        rows = [
            {**{k: sa[k] for k in ("spi", "dst", "proto")},
             **{k: s[k] for k in ("scheme", "packets", "duplicates", "zeros", "loss_free_window", "gaps")},
             **drop, "accepted": s["packets"] - s["duplicates"] - s["zeros"] - drop["late"]}
            for sa in self.sas for s in sa["schemes"] for drop in s["drops"]
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=TABLE)


def report(
    source: str | Path, *, windows: Sequence[int] = DOUBLINGS, spis: Sequence[int] = (), classes: Path | None = None,
    selector: Selector | None = None, verdicts: Path | None = None, table: Path | None = None,
    progress: Progress = None, scratch: Scratch | None = None,
) -> Report:  # fmt: skip
    """Study a capture, or a table of `qfp strip`. What is damaged is studied as far as it is whole.

    windows: sizes to try. spis: only these (of a table: their hashes). classes: a file, None = by DSCP. selector: the
    number fields hold a selector and a counter. verdicts, table: files to write, .parquet or .arrow. Raises
    ReplayLabError, TraceError.
    """
    sizes = checked(windows)
    known = Classes.by_dscp() if classes is None else Classes.read(classes)
    for target in (verdicts, table):
        if target is not None:
            check_target(target)
    path = Path(source)
    found = (read if is_stripped(path) else observe)(path, progress, scratch)
    chosen = _chosen(path, found, spis)
    receiver = Receiver(sizes)
    with contextlib.ExitStack() as stack:
        names = ("plain", "esn", "sns", "rfc9611") if selector is None else ("plain", "selector")
        taker = None if verdicts is None else stack.enter_context(VerdictTable(verdicts, names, sizes))
        sas = [_one(found, sa, receiver, known, selector, taker) for sa in chosen]
        made = Report(asdict(found.counts), sizes, "dscp" if classes is None else "file", sas, found.damage)
        if table is not None:
            _write_table(table, made.table())
    return made


def _chosen(path: Path, found: Observed, spis: Sequence[int]) -> list[int]:
    """The SAs to study. Raises ReplayLabError for an SPI that none has."""
    wanted = [k for k, name in enumerate(found.names) if not spis or name.spi in spis]
    missing = set(spis) - {name.spi for name in found.names}
    if missing:
        there = ", ".join(sorted({name.words[0] for name in found.names})[:16]) or "none"
        raise ReplayLabError(f"{path}: carries no SPI {', '.join(f'0x{s:08x}' for s in sorted(missing))}; "
                             f"there are: {there}")  # fmt: skip
    return wanted


def _one(
    found: Observed, sa: int, receiver: Receiver, classes: Classes, selector: Selector | None,
    taker: VerdictTable | None,
) -> Facts:  # fmt: skip
    """The facts of one SA."""
    rows = found.rows_of(sa)
    seq, tos, ts = (found.of(sa, name, rows) for name in ("seq", "tos", "ts"))
    told = _about(found.names[sa], ts, found.of(sa, "len", rows), tos, classes)
    schemes = []
    for n in numberings(seq, tos, classes, selector, found.scratch):
        kept = None
        if taker is not None:
            kept = found.scratch.array(len(receiver.sizes) * len(rows), np.uint8).reshape(len(receiver.sizes), -1)
        schemes.append(study(n, ts, receiver, classes, found.scratch, kept))
        if taker is not None and kept is not None:
            taker.scheme(n.scheme, _as_arrived(kept, n.order, found.scratch))
    if taker is not None:
        taker.sa(rows, ts, seq)
    return {**told, "schemes": schemes}


def _as_arrived(verdicts: Array, order: Array | None, scratch: Scratch) -> Array:
    """Verdicts of a numbering's packets in the order of the SA's."""
    if order is None:
        return verdicts
    out = scratch.array(verdicts.size, np.uint8).reshape(verdicts.shape)
    for row, given in zip(out, verdicts, strict=True):
        row[order] = given
    return out


def _about(name: Name, ts: Array, size: Array, tos: Array, classes: Classes) -> Facts:
    """What an SA carried. Rates are None where all packets have one time."""
    spi, dst, proto = name.words
    first, last, octets = int(ts.min()), int(ts.max()), int(size.sum(dtype=np.int64))
    seconds = (last - first) / 1e9
    counts = tallied(classes.of(tos), len(classes.names))
    return {
        "spi": spi, "dst": dst, "proto": proto, "packets": len(ts), "bytes": octets, "first_ts": first, "last_ts": last,
        "packets_per_second": (len(ts) - 1) / seconds if seconds else None,
        "bits_per_second": octets * 8 / seconds if seconds else None,
        "classes": [{"class": classes.names[k], "packets": int(counts[k])} for k in np.flatnonzero(counts).tolist()],
    }  # fmt: skip


def _write_table(target: Path, rows: pa.Table) -> None:
    with OutputFile(target) as out, out.complaints():
        if check_target(target) == ".parquet":
            pq.write_table(rows, out.place)
        else:
            with pa.ipc.new_file(out.place, rows.schema) as writer:
                writer.write_table(rows)


class VerdictTable:
    """One row a packet: its place among the IPsec headers of the capture, time, SA (place in the report's list),
    number field, and a column SCHEME_WINDOW for the verdict of every receiver. SA by SA, in order of arrival."""

    def __init__(self, path: Path, schemes: Sequence[str], windows: Sequence[int]):
        self._words = pa.array(VERDICTS, pa.string())
        self._columns = [(scheme, w) for scheme in schemes for w in range(len(windows))]
        kind = pa.dictionary(pa.int8(), pa.string())
        self._schema = pa.schema(
            [pa.field("packet", pa.int64(), False), pa.field("ts", pa.timestamp("ns"), False),
             pa.field("sa", pa.int32(), False), pa.field("seq", pa.uint32(), False),
             *(pa.field(f"{scheme}_{windows[w]}", kind, False) for scheme, w in self._columns)],
            metadata={"qfp.schema": VERDICT_SCHEMA},
        )  # fmt: skip
        self._kept: dict[str, Array] = {}
        self._sas = 0
        parquet = check_target(path) == ".parquet"
        self._out = OutputFile(path)
        self._writer: Any = (
            pq.ParquetWriter(self._out.place, self._schema) if parquet
            else pa.ipc.new_file(self._out.place, self._schema)
        )  # fmt: skip

    def scheme(self, name: str, verdicts: Array) -> None:
        """verdicts[window, packet] of the present SA's packets: numbers of VERDICTS."""
        self._kept[name] = verdicts

    def sa(self, rows: Array, ts: Array, seq: Array) -> None:
        """Write the present SA's packets."""
        for part in pieces(len(rows)):
            count = len(rows[part])
            arrays = [pa.array(rows[part]), pa.array(ts[part]).view(pa.timestamp("ns")),
                      pa.array(np.full(count, self._sas, np.int32)), pa.array(seq[part])]  # fmt: skip
            for scheme, w in self._columns:
                codes = pa.array(self._kept[scheme][w, part].astype(np.int8))
                arrays.append(pa.DictionaryArray.from_arrays(codes, self._words))
            with self._out.complaints():
                self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._kept.clear()
        self._sas += 1

    def __enter__(self) -> VerdictTable:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self._out.commit(self._writer.close)
            return
        with contextlib.suppress(OSError):
            self._writer.close()
        self._out.abort()
