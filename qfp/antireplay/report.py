"""The whole answer about a capture: every SA under every scheme; as an object, as JSON and as tables."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from qfp.antireplay.columns import Name, Observed, Progress, ReplayLabError, Scratch, observe, tallied
from qfp.antireplay.crowd import PACKETS_MAX, RANKED, groups, study_group
from qfp.antireplay.numbers import Classes, Selector, numberings
from qfp.antireplay.strip import check_target, is_stripped, read
from qfp.antireplay.study import DOUBLINGS, Facts, Receiver, checked, study
from qfp.antireplay.tables import SCHEMA, RowTable, VerdictTable, rows_of, rows_of_group
from qfp.antireplay.totals import Totals
from qfp.batch import Array
from qfp.trace.errors import Damage

__all__ = ["MOST", "SCHEMA", "Report", "report"]

SCHEMES = ("plain", "esn", "sns", "rfc9611")
MOST = 1000  # SAs that are reported one by one, where nobody asks for more: facts take 30 kB an SA


@dataclass(frozen=True)
class Report:
    """What `report` found. sas: the facts of each SA, in order of appearance, of very many the busiest; left_out: how
    many are not among them; totals: of all; capture: what it held besides."""

    packets: Facts
    windows: list[int]
    classes: str
    sas: list[Facts]
    left_out: Facts
    totals: Facts
    damage: Damage | None
    capture: Facts
    remarks: list[str]  # what of that is remarkable, as sentences

    def facts(self) -> Facts:
        """As JSON has it (schema qfp-replay-lab/1), without what the command line adds."""
        return {
            "packets": self.packets, "windows": self.windows, "classes": self.classes,
            "damage": None if self.damage is None else vars(self.damage), "sas": self.sas, "left_out": self.left_out,
            "totals": self.totals, "capture": self.capture,
        }  # fmt: skip

    def table(self) -> pa.Table:
        """One row an SA, scheme and window, of `sas`."""
        return rows_of(self.sas)


def report(
    source: str | Path, *, windows: Sequence[int] = DOUBLINGS, spis: Sequence[int] = (), classes: Path | None = None,
    selector: Selector | None = None, most: int = MOST, verdicts: Path | None = None, table: Path | None = None,
    progress: Progress = None, scratch: Scratch | None = None,
) -> Report:  # fmt: skip
    """Study a capture, or a table of `qfp strip`. What is damaged is studied as far as it is whole.

    windows: sizes to try. spis: only these (of a table: their hashes). classes: a file, None = by DSCP. selector: the
    number fields hold a selector and a counter. most: SAs that are reported one by one, the busiest; 0 = all; totals
    and tables have all anyhow. verdicts, table: files to write, .parquet or .arrow. Raises ReplayLabError, TraceError.
    """
    sizes = checked(windows)
    known = Classes.by_dscp() if classes is None else Classes.read(classes)
    for target in (verdicts, table):
        if target is not None:
            check_target(target)
    path = Path(source)
    found = (read if is_stripped(path) else observe)(path, progress, scratch)
    chosen = _chosen(path, found, spis)
    with contextlib.ExitStack() as stack:
        names = SCHEMES if selector is None else ("plain", "selector")
        taker = None if verdicts is None else stack.enter_context(VerdictTable(verdicts, names, sizes))
        rows = None if table is None else stack.enter_context(RowTable(table))
        made = _Study(found, Receiver(sizes), known, selector, Totals(names, sizes), taker, rows)
        sas = made.run(chosen, most or len(chosen))
    totals = made.totals.facts(RANKED)
    left_out = {"sas": totals["sas"] - len(sas), **{key: totals[key] - sum(sa[key] for sa in sas)
                                                    for key in ("packets", "bytes")}}  # fmt: skip
    return Report(asdict(found.counts), sizes, "dscp" if classes is None else "file", sas, left_out, totals,
                  found.damage, *besides(found))  # fmt: skip


def besides(found: Observed) -> tuple[Facts, list[str]]:
    """What a capture held besides ESP and AH: facts, and what of them is remarkable as sentences."""
    c = found.counts
    there = bool(c.headers or c.later_fragments or c.cut_short)
    remarks = found.noted.sentences() + ([] if there else ["holds no ESP or AH"])
    return {**found.noted.facts(), "esp_or_ah": there}, remarks


def _chosen(path: Path, found: Observed, spis: Sequence[int]) -> Array:
    """The SAs to study, ascending. Raises ReplayLabError for an SPI that none has."""
    if not spis:
        return np.arange(len(found.names))
    wanted = np.array(spis, np.uint64)
    missing = wanted[~np.isin(wanted, found.names.spi)]
    if len(missing):
        some = np.unique(found.names.spi, return_index=True)[1][:16].tolist()
        there = ", ".join(found.names[k].words[0] for k in some) or "none"
        raise ReplayLabError(f"{path}: carries no SPI {', '.join(f'0x{s:08x}' for s in sorted(missing.tolist()))}; "
                             f"there are: {there}")  # fmt: skip
    return np.flatnonzero(np.isin(found.names.spi, wanted))


@dataclass
class _Study:
    """SAs in order of appearance: the busiest and the very long ones each for itself, the others in groups."""

    found: Observed
    receiver: Receiver
    classes: Classes
    selector: Selector | None
    totals: Totals
    verdicts: VerdictTable | None
    rows: RowTable | None

    def run(self, chosen: Array, most: int) -> list[Facts]:
        """The facts of the `most` busiest SAs; all go into totals and tables."""
        packets = np.diff(self.found.starts)[chosen]
        shown = np.zeros(len(chosen), bool)
        shown[np.argsort(-packets, kind="stable")[:most]] = True
        alone = np.flatnonzero(shown | (packets > PACKETS_MAX))
        sas, done = [], 0
        for place in [*alone.tolist(), len(chosen)]:
            self._groups(chosen[done:place], done)
            if place < len(chosen):
                facts = self._one(int(chosen[place]), place)
                self.totals.add(facts)
                if self.rows is not None:
                    self.rows.add(rows_of([facts]))
                if shown[place]:
                    sas.append(facts)
            done = place + 1
        return sas

    def _one(self, sa: int, place: int) -> Facts:
        """The facts of one SA. place: in order of appearance among those that were chosen."""
        found = self.found
        rows = found.rows_of(sa)
        seq, tos, ts = (found.of(name, rows) for name in ("seq", "tos", "ts"))
        told = _about(found.names[sa], ts, found.of("len", rows), tos, self.classes)
        schemes = []
        for n in numberings(seq, tos, self.classes, self.selector, found.scratch):
            kept = None
            if self.verdicts is not None:
                sizes = self.receiver.sizes
                kept = found.scratch.array(len(sizes) * len(rows), np.uint8).reshape(len(sizes), -1)
            schemes.append(study(n, ts, self.receiver, self.classes, found.scratch, kept))
            if self.verdicts is not None and kept is not None:
                self.verdicts.scheme(n.scheme, _as_arrived(kept, n.order, found.scratch))
        if self.verdicts is not None:
            self.verdicts.packets(rows, ts, seq, np.full(len(rows), place, np.int32))
        return {**told, "schemes": schemes}

    def _groups(self, sas: Array, place: int) -> None:
        """Others, into totals and tables. place: of the first."""
        found, sizes = self.found, self.receiver.sizes
        for first, end in groups(found, sas, len(sizes)):
            rows = found.rows_of(first, end)
            starts = found.starts[first : end + 1] - found.starts[first]
            seq, tos, size = (found.of(name, rows) for name in ("seq", "tos", "len"))
            blocks = []
            for block in study_group(starts, seq, tos, first, sizes, self.classes, self.selector,
                                     self.verdicts is not None):  # fmt: skip
                blocks.append(block)
                if self.verdicts is not None:
                    self.verdicts.scheme(block.scheme, block.verdicts)
            packets = np.diff(starts)
            self.totals.add_group(blocks, len(rows), int(size.sum(dtype=np.int64)))
            if self.rows is not None:
                self.rows.add(rows_of_group(found.names, packets, sizes, blocks))
            if self.verdicts is not None:
                sa = np.repeat(np.arange(place, place + end - first, dtype=np.int32), packets)
                self.verdicts.packets(rows, found.of("ts", rows), seq, sa)
            place += end - first


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
