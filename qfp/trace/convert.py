"""Traces from format to format: `convert`, `read_trace`, `write_trace`, in bounded memory except for what is kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from qfp.batch import COLUMNS, Batch
from qfp.trace.errors import Damage, DamagedTrace, Shrunk
from qfp.trace.losses import Losses
from qfp.trace.opening import open_source
from qfp.trace.output import open_output, suffixes
from qfp.trace.sinks import sink_for
from qfp.trace.source import MappedSource, Source
from qfp.trace.walker import Walker
from qfp_kernels import capture as C

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Converted:
    """What `convert` did."""

    frames: int
    bytes: int  # captured bytes of the frames
    damage: Damage | None  # the source ended here, before its end
    losses: dict[str, int] = field(default_factory=dict)  # what the target does not hold, by words


def convert(source: Path | Batch, target: Path, progress: Callable[[int], None] | None = None) -> Converted:
    """Write a trace to another format, named by the target's suffix; link types, times and interfaces are kept.

    A damaged source gives everything before the damage, which is in the result. `progress` hears `Source.position`.
    Raises TraceError when the source cannot be read, or the target cannot be written or cannot hold the trace.
    """
    form, _ = suffixes(target)
    with open_source(source) as opened, open_output(target) as out:
        walker = Walker(opened)
        sink, losses = sink_for(out, form), Losses(form)
        frames = size = 0
        for rows in walker:
            sink.rows(walker, rows)
            losses.rows(walker, walker.rows)
            frames += walker.rows
            size += int(walker.p.cap[: walker.rows].sum(dtype=np.int64))
            if progress:
                progress(opened.position(walker.t))
        sink.close(walker)
        return Converted(frames, size, opened.damage(walker.t), losses.finish(opened))


def write_trace(path: Path, batch: Batch) -> None:
    """Write a batch to a file of the kind that the suffix names. Raises TraceError."""
    damage = convert(batch, path).damage
    if damage:
        raise Shrunk(f"{path}: {damage}; everything before it was written")


def read_trace(path: Path) -> Batch:
    """All frames of a trace. A plain capture stays where it is, mapped; other formats are held in memory.

    A damaged file gives what comes before the damage, a DamagedTrace warning, and `batch.damage`. Raises TraceError.
    """
    with open_source(path) as source:
        walker = Walker(source)
        batch = _mapped(walker, source) if isinstance(source, MappedSource) else gathered(walker)
        batch.interfaces = tuple(source.given_names) if any(source.given_names) else ()
        damage = source.damage(walker.t)
    if damage:
        batch.damage = str(damage)
        warnings.warn(f"{path}: {damage}; everything before it was read", DamagedTrace, stacklevel=2)
    return batch


def _columns(walker: Walker, rows: int) -> dict[str, np.ndarray]:
    p = walker.p
    kept = {c: getattr(p, c)[:rows].copy() for c in ("wire", "ts", "in_if", "link", "frame")}
    return {**kept, "length": p.cap[:rows].copy(), "offset": p.src_at[:rows].copy()}


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {c: np.concatenate([part[c] for part in parts]) if parts else np.empty(0, d) for c, d in COLUMNS.items()}


def _mapped(walker: Walker, source: MappedSource) -> Batch:
    columns = _joined([_columns(walker, rows) for rows in walker])
    columns["offset"] = columns["offset"] - int(source.state[C.W_BASE])
    return Batch(source.bytes, columns)


def gathered(walker: Walker) -> Batch:
    parts, data, at = [], [], 0
    for rows in walker:
        data.append(bytes(walker.run(C.copy_bytes, rows)))
        columns = _columns(walker, walker.rows)
        size = columns["length"].astype(np.int64)
        columns["offset"] = at + np.cumsum(size) - size
        at += len(data[-1])
        parts.append(columns)
    return Batch(b"".join(data), _joined(parts))


__all__ = ["Converted", "Source", "convert", "read_trace", "write_trace"]
