"""explain: what each stage decided for one frame, and why.

The frames before it are run as usual, because sequence numbers and windows depend on them; the frame itself then goes
through the same compiled stages one at a time, alone in a workspace, and its row is looked at between them. So the
facts are those of the data plane, not of a second implementation. `qfp explain` prints the same facts as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp import fia
from qfp.batch import Batch
from qfp.control.device import Device
from qfp.engine import NullSink
from qfp.explain.intermediate import ah_inputs
from qfp.explain.look import Frame
from qfp.explain.steps import decide, frame_facts, outcome
from qfp.tables import reassembly, state
from qfp.trace.source import BatchSource, Source
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import (
    CTL_CUT_VECTOR,
    CTL_FAILED,
    CTL_GEN,
    CTL_IN_IF,
    CTL_OUT_KIND,
    CTL_OUT_POS,
    CTL_OUT_SEQ,
    CTL_V_ON,
    CTL_VFR_MASK,
    LIST_AH,
    LIST_ER,
    LIST_FR,
    LIST_IC,
    LIST_ROWS,
    LIST_RX,
    LIST_SOURCE,
    LIST_TU,
    LIST_TX,
    OUT_NONE,
    ST_AH,
    ST_CUT_POS,
    ST_ER,
    ST_FR,
    ST_IC,
    ST_ROWS,
    ST_RX,
    ST_STOP,
    ST_STOP_A,
    ST_STOP_B,
    ST_STOP_TS,
    ST_TU,
    ST_TX,
    ST_VECTOR,
    STAT_OUT,
    STOP_NONE,
)
from qfp_kernels.reassemble import begin_turn, undo

Array = npt.NDArray[Any]
CHUNK = 1 << 16  # frames held at a time on the way to the one to explain
KEEPERS = ("path_mtus", "lifetimes")  # of the control plane, with a state of their own
LENGTHS = {
    LIST_RX: ST_RX, LIST_TX: ST_TX, LIST_AH: ST_AH, LIST_FR: ST_FR, LIST_IC: ST_IC, LIST_TU: ST_TU, LIST_ER: ST_ER,
}  # fmt: skip
RETURNS_LENGTH = (LIST_RX, LIST_TX)  # lists whose stages return how many rows stay on them


class ExplainError(ValueError):
    """A frame that cannot be explained: it is not there, or the tables are no longer those of the run."""


@dataclass(frozen=True)
class Origin:
    """What a result came from: the router or decryptor, the ingress row, and the state before its first frame."""

    owner: Device
    ingress: int
    before: dict[str, Any]
    fresh: bool  # nothing had come through the owner, and a new one would be the same

    @classmethod
    def now(cls, owner: Device, ingress: int = 0) -> "Origin":
        """The present state, to be run from again."""
        return cls(owner, ingress, state_of(owner), owner.is_fresh)

    def replica(self) -> Any:
        """An owner as this one was then. Raises ExplainError when there is no way back to that."""
        if not self.fresh:
            raise ExplainError("SAs or policy have changed since this result was made: run the batch again")
        return self.owner.again()


def state_of(owner: Device) -> dict[str, Any]:
    """Copies of all that packets change: "tables", and the state of each of KEEPERS that the owner has."""
    plane = owner.plane
    kept = {name: getattr(plane, name).state() for name in KEEPERS} if plane is not None else {}
    return {"tables": state.snapshot(owner.tables.t), **kept}


def restore(owner: Device, kept: dict[str, Any]) -> None:
    """Put copies back; rows that were added since keep what they hold."""
    t, tables = owner.tables.t, kept["tables"]
    if t.rsm["head"].any() and ("rsm_ring", "") not in tables:
        reassembly.build(owner.tables, ports=bool(tables["ctl", ""][CTL_VFR_MASK] >= 0))
    state.put_back(t, tables)
    for name in KEEPERS:
        if name in kept:
            getattr(owner.plane, name).restore(kept[name])


def explain(result: Any, frame: int, intermediate: bool = False) -> dict[str, Any]:
    """The facts of row `frame` of a result; the router is left as it was. intermediate: see one_frame.

    Raises IndexError for a row that is not there, ExplainError when SAs or policy have changed since the run, unless
    the result is that of a router's first frames, and for results of `exchange`.
    """
    batch = result.source
    if result.origin is None:
        raise ExplainError("the frames of this result came in by several interfaces: send them with `forward` instead")
    origin: Origin = result.origin
    if not 0 <= frame < len(batch):
        raise IndexError(f"the result has {len(batch)} frames, 0 to {len(batch) - 1}: there is no {frame}")
    owner = origin.owner
    if owner.tables.t.ctl[CTL_GEN] != origin.before["tables"]["ctl", ""][CTL_GEN]:
        owner = origin.replica()  # SAs were rekeyed in the run
        _skip(owner, origin.ingress, rows_of(batch, 0, frame))
        return one_frame(owner, origin.ingress, rows_of(batch, frame, frame + 1), 0, intermediate)
    present = state_of(owner)
    try:
        restore(owner, origin.before)
        sent = int(owner.tables.t.stats[STAT_OUT])
        _skip(owner, origin.ingress, rows_of(batch, 0, frame))
        return one_frame(owner, origin.ingress, rows_of(batch, frame, frame + 1), sent, intermediate)
    finally:
        restore(owner, present)


def explain_trace(
    owner: Device, source: Source, frame: int, ingress: int = 0, intermediate: bool = False
) -> dict[str, Any]:
    """The facts of frame `frame` of a trace that arrives at interface row `ingress` of a fresh router or decryptor.
    intermediate: see one_frame.

    Raises ExplainError when the trace has no such frame.
    """
    seen = 0
    for batch in chunks(source):
        if seen + len(batch) <= frame:
            _skip(owner, ingress, batch)
            seen += len(batch)
            continue
        _skip(owner, ingress, rows_of(batch, 0, frame - seen))
        return one_frame(owner, ingress, rows_of(batch, frame - seen, frame - seen + 1), 0, intermediate)
    raise ExplainError(
        f"{source.name}: has {seen} frames, there is no frame {frame} (give 0 to {seen - 1})" if seen
        else f"{source.name}: holds no frame"
    )  # fmt: skip


def rows_of(batch: Batch, first: int, last: int) -> Batch:
    """Rows first to last - 1 over the same arena."""
    return Batch(batch.arena, {name: column[first:last] for name, column in batch.columns.items()}, batch.interfaces)


def chunks(source: Source) -> Iterator[Batch]:
    """The frames of a source, about CHUNK at a time."""
    walker = Walker(source)
    parts: list[Batch] = []
    held = 0
    for rows in walker:
        p, data = walker.p, bytes(walker.run(C.copy_bytes, rows))
        rows = walker.rows
        size = p.cap[:rows].astype(np.int64)
        columns = {name: getattr(p, name)[:rows].copy() for name in ("wire", "ts", "in_if", "link", "frame")}
        columns |= {"offset": np.cumsum(size) - size, "length": size}
        parts.append(Batch(data, columns, source.given_names))
        held += rows
        if held >= CHUNK:
            yield Batch.concat(parts)
            parts, held = [], 0
    if parts:
        yield Batch.concat(parts)


def stages_of(owner: Device, source: Source) -> tuple[fia.Stage, ...]:
    """The FIA that a router or a decryptor runs, without an output."""
    found: tuple[fia.Stage, ...] = owner.stages(source.walk, None)
    return found


def _skip(owner: Device, ingress: int, batch: Batch) -> None:
    """Run the frames before, for their effect on state."""
    if len(batch):
        owner.tables.t.ctl[CTL_IN_IF] = ingress
        source = BatchSource(batch)
        owner.engine.run(source, stages_of(owner, source), NullSink())
        source.complete(owner.tables.t)


def one_frame(
    owner: Device, ingress: int, batch: Batch, sent_before: int = 0, intermediate: bool = False
) -> dict[str, Any]:
    """Run the one frame of a batch stage by stage; its facts. `sent_before`: packets sent before the run began.
    intermediate: with the values between a packet and its ICV (`bytes_of`, see qfp.explain.intermediate)."""
    t, p = owner.tables.t, owner.engine.workspaces[0]
    batch = Batch(batch.frame(0), {**batch.columns, "offset": [0]}, batch.interfaces)  # a file may become shorter
    source = BatchSource(batch)
    if owner.plane is not None:
        owner.plane.advance(int(batch.ts[0]))  # what is due before it
    source.bind(t)
    t.ctl[CTL_IN_IF], t.ctl[CTL_CUT_VECTOR], t.ctl[CTL_V_ON] = ingress, -1, 0
    t.ctl[CTL_OUT_KIND], t.ctl[CTL_OUT_POS] = OUT_NONE, 0
    t.ctl[CTL_OUT_SEQ] = int(t.stats[STAT_OUT]) - sent_before
    begin_turn(t)
    p.st[ST_ROWS], p.st[ST_VECTOR], p.st[ST_STOP] = 0, 0, STOP_NONE
    # `parse` writes these first: until then they are those of a frame before, or zeros
    p.more[0], p.verdict[0], p.cause[0] = -1, 0, 0
    steps: list[dict[str, Any]] = []
    stages = stages_of(owner, source)
    owner.engine.load(stages)
    before = Frame.at(owner, p)
    for stage in stages:
        if not _step(stage, p, t):
            continue
        if t.ctl[CTL_FAILED]:
            owner.sad.crypto.callbacks.raise_kept()
        if p.st[ST_ROWS] == 0 and p.st[ST_STOP] != STOP_NONE and stage.walks != LIST_SOURCE:
            undo(t, int(p.st[ST_CUT_POS]))  # given back until the control plane has answered, as in a run
            assert owner.engine.on_stop is not None  # nothing stops where nobody answers
            owner.engine.on_stop(*(int(p.st[k]) for k in (ST_STOP, ST_STOP_A, ST_STOP_B, ST_STOP_TS)))
            return one_frame(owner, ingress, batch, sent_before, intermediate)
        after = Frame.at(owner, p)
        steps += decide(stage, owner, before, after, ah_inputs(stage.name, owner, p) if intermediate else None)
        before = after
    return {**frame_facts(owner, p, batch), **outcome(owner, p), "stages": steps}


def _step(stage: fia.Stage, p: Any, t: Any) -> bool:
    """Run one stage as `drive` does; False when its list is empty: the frame did not come by."""
    run = compile_stage(stage.run)
    if stage.walks == LIST_SOURCE:
        p.st[ST_ROWS] = run(p, t, 0)
        return True
    if stage.walks == LIST_ROWS:
        run(p, t, int(p.st[ST_ROWS]))
        return True
    where = LENGTHS[stage.walks]
    if p.st[where] == 0:
        return False
    left = run(p, t, int(p.st[where]))
    if stage.walks in RETURNS_LENGTH:
        p.st[where] = left
    return True
