"""Rows: what a bench reports, with medians and spread over interleaved rounds."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

KEYS = (
    "work", "direction", "transform", "size", "sas", "batch", "threads", "engine", "ns_per_packet", "mpps", "gbit_s",
)  # fmt: skip


@dataclass(frozen=True)
class Label:
    """What was done. size: bytes of an inner IP packet, or `imix`; batch: packets a vector; 0 = does not apply."""

    work: str
    direction: str = ""
    transform: str = ""
    size: int | str = 0
    sas: int = 0
    batch: int = 0
    threads: int = 1
    engine: str = "native"


@dataclass(frozen=True)
class Row:
    """One measured row: median, 10th and 90th percentile of the rounds.

    Work on packets has ns a packet; anything else (set-up, memory, start-up) has `value` in `unit`. gbit_s counts the
    bits of the inner IP packets, for captures those of the file.
    """

    work: str
    direction: str
    transform: str
    size: int | str
    sas: int
    batch: int
    threads: int
    engine: str
    ns_per_packet: float | None
    mpps: float | None
    gbit_s: float | None
    p10: float
    p90: float
    rounds: int
    value: float | None = None
    unit: str = "ns"


def spread(samples: Sequence[float]) -> tuple[float, float, float]:
    """(median, 10th percentile, 90th percentile)."""
    median, low, high = np.percentile(samples, [50, 10, 90]).tolist()
    return median, low, high


def packets_row(label: Label, ns: Sequence[float], packet_bytes: float) -> Row:
    """Row of samples in ns a packet; `packet_bytes`: mean size for gbit_s, 0 = bits mean nothing here."""
    median, low, high = spread(ns)
    mpps = 1e3 / median if median > 0 else None
    gbit = packet_bytes * 8 / median if median > 0 and packet_bytes else None
    return Row(**asdict(label), ns_per_packet=median, mpps=mpps, gbit_s=gbit, p10=low, p90=high, rounds=len(ns))


def value_row(label: Label, values: Sequence[float], unit: str) -> Row:
    """Row of anything that is not ns a packet."""
    median, low, high = spread(values)
    return Row(
        **asdict(label), ns_per_packet=None, mpps=None, gbit_s=None, p10=low, p90=high, rounds=len(values),
        value=median, unit=unit,
    )  # fmt: skip


def as_dicts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows for JSON, numbers rounded to four digits."""
    return [{k: _round(v) for k, v in asdict(row).items()} for row in rows]


def _round(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def to_json(machine: dict[str, Any], rows: Iterable[Row]) -> str:
    """The object that `qfp bench --json` prints."""
    return json.dumps({"machine": machine, "rows": as_dicts(rows)}, indent=1)


def to_table(rows: Iterable[Row], title: str) -> Table:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left")
    for name in ("work", "direction", "transform", "size", "SAs", "threads", "engine"):
        table.add_column(name, no_wrap=name in ("work", "size"))
    for name in ("median", "p10", "p90", "Mpps", "Gbit/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in rows:
        middle = r.ns_per_packet if r.ns_per_packet is not None else r.value
        numbers = [f"{short(middle)} {r.unit}", short(r.p10), short(r.p90), short(r.mpps), short(r.gbit_s)]
        words = [r.work, r.direction, r.transform, str(r.size or ""), str(r.sas or ""), str(r.threads), r.engine]
        table.add_row(*words, *numbers)
    return table


def short(value: float | None) -> str:
    """A number with three digits that count, empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
