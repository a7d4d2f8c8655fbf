"""What a stage reads, writes and drops is derived from its source: run, it changes nothing else."""

from random import Random
from typing import Any

import numpy as np
import pytest
from cli_help import config, packet
from packets import ip4, udp
from site_help import WAYS, any_site, traffic

from qfp import fia
from qfp.batch import Batch
from qfp.contracts import Contract, contract
from qfp.decrypt import Decryptor
from qfp.explain.replay import LENGTHS, RETURNS_LENGTH, stages_of
from qfp.explain.steps import explainer
from qfp.router import Router
from qfp.stages import STAGE_NAMES
from qfp.tables import state
from qfp.trace.source import BatchSource
from qfp_kernels import capture
from qfp_kernels.drops import Drop, Verdict
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import (
    CTL_CUT_VECTOR,
    CTL_IN_IF,
    CTL_OUT_KIND,
    CTL_OUT_POS,
    CTL_V_ON,
    LIST_ROWS,
    LIST_SOURCE,
    PACKET_FIELDS,
    ST_CUT_VECTOR,
    ST_ROWS,
    ST_SPARE,
    ST_STOP,
    ST_VECTOR,
    TABLE_TYPES,
)
from qfp_kernels.reassemble import begin_turn

EVERY = dict.fromkeys((*fia.router(capture.walk_batch, capture.emit_memory), fia.SELECT_NESTED, fia.SELECT))
BY_ROW = [f for f in PACKET_FIELDS if f.per_row]
DROPPED = int(Verdict.DROPPED)
ADDRESSES = ("seal", "open", "fia", "steps", "makers")  # of stages: entered when one is compiled
# An inbound packet's levels fail in stages that run side by side, and the verdict falls in `commit`, in packet order.
JUDGED_LATER = {"commit": {"open", "decap", "lookup", "select"}}


def look(p: Any, t: Any) -> dict[str, Any]:
    """Copies of all columns and tables, but for what belongs to the driver."""
    kept: dict[str, Any] = {f.name: getattr(p, f.name).copy() for f in BY_ROW}
    kept |= {name: getattr(p, name).copy() for name in ("st", "scratch", "lzs", "flow")}
    rows = int(p.st[ST_SPARE])
    kept["arena"] = p.arena[: int(p.off[:rows].max(initial=0)) + 70_000].copy() if rows else p.arena[:0].copy()
    names = (name for name in TABLE_TYPES if name not in (*state.LARGE, *ADDRESSES, "out"))
    return kept | {f"table {name}": getattr(t, name).copy() for name in names}


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name, array in after.items()
            if not np.array_equal(array[: before[name].size], before[name][: array.size])}  # fmt: skip


def step(stage: fia.Stage, p: Any, t: Any) -> bool:
    """Run a stage as the driver does; False where its list is empty."""
    run = compile_stage(stage.run)
    if stage.walks == LIST_SOURCE:
        p.st[ST_ROWS] = run(p, t, 0)
        return True
    count = int(p.st[ST_ROWS] if stage.walks == LIST_ROWS else p.st[LENGTHS[stage.walks]])
    if not count:
        return False
    left = run(p, t, count)
    if stage.walks in RETURNS_LENGTH:
        p.st[LENGTHS[stage.walks]] = left
    return True


def held(owner: Any, frames: list[bytes], ingress: int, met: dict[str, Contract]) -> None:
    """One vector, stage by stage: each changes what its contract says, and drops as it says."""
    t, p = owner.tables.t, owner.engine.workspaces[0]
    source = BatchSource(Batch.from_frames(frames, ts=[10**9 + k for k in range(len(frames))]))
    source.bind(t)
    t.ctl[CTL_IN_IF], t.ctl[CTL_CUT_VECTOR], t.ctl[CTL_V_ON], t.ctl[CTL_OUT_KIND] = ingress, -1, 0, 0
    t.ctl[CTL_OUT_POS] = 0
    stages = stages_of(owner, source)
    owner.engine.load(stages)
    begin_turn(t)
    p.st[ST_ROWS], p.st[ST_VECTOR], p.st[ST_STOP], p.st[ST_CUT_VECTOR] = 0, 0, 0, -1
    before = look(p, t)
    for stage in stages:
        if not step(stage, p, t):
            continue
        after = look(p, t)
        found = contract(stage)
        moved = changes(before, after) - {"st"}
        allowed = found.writes | {f"table {name}" for name in found.tables_written}
        assert moved <= allowed, (stage.name, moved - allowed)
        mine = met.setdefault(stage.name, Contract())
        mine.writes |= {name for name in moved if not name.startswith("table ")}
        rows = np.flatnonzero((after["verdict"] == DROPPED) & (before["verdict"] != DROPPED))
        for i in rows[rows < p.st[ST_SPARE]].tolist():
            mine.drops.add(Drop(int(p.cause[i])).name)
            said = STAGE_NAMES[p.stage[i]]
            assert said == stage.name or said in JUDGED_LATER.get(stage.name, ()), (stage.name, said, p.cause[i])
        assert mine.drops <= found.drops, (stage.name, mine.drops - found.drops)
        before = after
        if p.st[ST_CUT_VECTOR] >= 0 or p.st[ST_STOP]:
            return


def test_stages_change_what_their_contracts_say() -> None:
    met: dict[str, Contract] = {}
    for k, way in enumerate(WAYS):
        r = Random(f"contracts {way}")
        site = any_site(r, way, 4 if k % 2 else 6)
        clear = traffic(r, site.pair(1).twin, 200)
        near, far = (Router.loads(site.config(me), rekey=False) for me in (1, 2))
        sealed = Router.loads(site.config(1), rekey=False).forward(Batch.from_frames(clear), "gi0/0/1").packets.frames()
        held(near, [*clear, b"junk", b""], near.interfaces.row["GigabitEthernet0/0/1"], met)
        forged = [each[:-1] + bytes([each[-1] ^ 1]) for each in sealed[:20]]
        held(far, [*forged, *sealed, *sealed[20:40]], far.interfaces.row["GigabitEthernet0/0/0"], met)
    near = Router.loads(config(1))
    wire = near.forward(Batch.from_frames([packet(k) for k in range(40)]), "gi0/0/1").packets.frames()
    opener = Decryptor([near.sad.describe(near.sadb.pairs[0].outbound[0])])
    held(opener, [*wire, wire[3], ip4("1.1.1.1", "2.2.2.2", udp(1, 2))], 0, met)
    assert len(met) >= 20
    assert {"REPLAY", "INTEGRITY"} <= met["commit"].drops and "TTL_EXPIRED" in met["forward"].drops


def test_every_cause_is_some_stages_or_said_to_be_another_wings() -> None:
    """Causes of queues, labs and crypto engines are not the FIA's."""
    mine = {name for stage in EVERY for name in contract(stage).drops}
    others = {each.name for each in Drop} - mine - {"NONE"}
    assert others == OTHERS


def test_a_stage_names_the_steps_that_it_calls() -> None:
    """Else a router without another stage that names them could not call them. What decompresses is named by `compress`
    in routers, which have both or neither, and by `decap` with key files."""
    for stage in fia.decrypt(capture.walk_batch, None) + tuple(EVERY):
        named = set(stage.calls) | (set(fia.COMPRESS.calls) if stage is fia.DECAP else set())
        assert (contract(stage).calls if stage is not fia.COMPRESS else contract(fia.DECAP).calls) == named, stage.name


OTHERS = {"TAIL_DROP", "POLICED", "CRYPTO_TAIL_DROP"}


@pytest.mark.parametrize(
    ("stage", "writes", "drops"),
    [
        (fia.PARSE, {"l3", "l4", "src1", "dst1", "tr_at", "fr", "ic", "rx", "tx"}, {"BAD_CHECKSUM", "CUT_SHORT"}),
        (fia.SEQUENCE, {"seq", "seq2", "ip_id", "sns"}, {"SEQ_OVERFLOW", "SA_EXPIRED", "SA_STALE"}),
        (fia.COMMIT, {"verdict", "cause"}, {"REPLAY", "INTEGRITY", "SA_EXPIRED", "SA_STALE"}),
        (fia.SPD, {"out_if", "sp", "sa", "flow"}, {"NO_ROUTE", "HELD_DOWN", "MARTIAN"}),
        (fia.SEAL, {"arena", "c_ok"}, set()),
        (fia.FILL, {"arena"}, set()),
    ],
)
def test_what_is_known_of_some(stage: fia.Stage, writes: set[str], drops: set[str]) -> None:
    """Through helpers, addresses, tuples of constants, ciphers that are called by address."""
    found = contract(stage)
    assert writes <= found.writes and drops <= found.drops
    assert "sa_out" in contract(fia.SEQUENCE).tables_written and "sa" not in contract(fia.SEQUENCE).tables_written
    assert contract(fia.JOIN).drops == set() and "arena" not in contract(fia.COMMIT).writes


def test_every_stage_has_somebody_who_explains_it() -> None:
    """Only stages that decide nothing have none: `fill` copies, `emit` writes records."""
    walk, emit = capture.walk_batch, capture.emit_memory
    stages = {*fia.router(walk, emit), *fia.decrypt(walk, emit, selectors=True)}
    assert {stage.name for stage in stages if explainer(stage) is None} == {"fill", "emit"}
    assert all(callable(found[0]) for stage in stages if (found := explainer(stage)) is not None)
