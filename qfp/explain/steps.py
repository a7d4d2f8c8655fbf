"""What each stage decided, as steps; and what became of the frame.

A step: {stage, decision, facts}, with `of` where it is about a piece or an ICMP error and not the whole packet, and
`drop` where the row was dropped.
"""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

from qfp.control.device import Device
from qfp.explain import gre, inbound, intermediate, outbound
from qfp.explain.look import Frame, Row
from qfp.explain.words import LINKS, Facts, Said, cause_facts, interface_name, moment, sa_facts
from qfp.fia import Stage
from qfp.stages import STAGE_NAMES
from qfp_kernels import drops
from qfp_kernels.fragment import sent_bytes
from qfp_kernels.layout import LIST_AH, LIST_TU

Found = list[tuple[int, Said | None]]
DROPPED = int(drops.Verdict.DROPPED)
MODULES = {"gre": gre, "inbound": inbound, "outbound": outbound}


@cache
def explainer(stage: Stage) -> tuple[Callable[..., Any], bool] | None:
    """(who says what a stage decided, whether of each row on its list); None for a stage that decides nothing.

    Of the frame as a whole: `(owner, before, after)` gives a sentence with facts, or a list of them by row; of a row:
    `(owner, before, after, r)`.
    """
    if not stage.told_by:
        return None
    module, name = stage.told_by.split(".")
    found: Callable[..., Any] = getattr(MODULES[module], name)
    return found, len(signature(found).parameters) == 4


def decide(
    stage: Stage, owner: Device, before: Frame, after: Frame, inputs: dict[int, bytes] | None = None
) -> list[Facts]:
    """The steps of a stage; none where it had nothing to do with the frame. inputs: of the ICVs of AH by row; None
    where nobody asks for intermediate values."""
    found = explainer(stage)
    if found is None:
        return []
    say, by_row = found
    said: Found
    if by_row:
        said = [(r, say(owner, before, after, r)) for r in (before.ah if stage.walks == LIST_AH else before.tx)]
    else:
        told = say(owner, before, after)
        said = told if isinstance(told, list) else [(0, told)]  # a drop is told all the same
    if inputs is not None:
        _add_bytes(stage, owner, before, after, said, inputs)
    steps = [_step(stage, before, after, r, each) for r, each in said if each is not None]
    rows = {r for r, each in said if each is not None}
    return _merged(steps) + [
        _step(stage, before, after, r, ("", {})) for r in _dropped(stage, before, after) if r not in rows
    ]


def _add_bytes(
    stage: Stage, owner: Device, before: Frame, after: Frame, said: Found, inputs: dict[int, bytes]
) -> None:  # fmt: skip
    """Intermediate values of each step that has some."""
    for r, each in said:
        values = intermediate.of_stage(stage.name, owner, before, after, r, inputs) if each is not None else None
        if each is not None and values is not None:
            each[1]["bytes_of"] = values


def _merged(steps: list[Facts]) -> list[Facts]:
    """Steps that say the same of several pieces as one."""
    if len(steps) < 2 or any("drop" in step or "of" not in step for step in steps):
        return steps
    same = {(step["decision"], str(step["facts"]), step["of"].rstrip("0123456789")) for step in steps}
    if len(same) > 1:
        return steps
    first, last = steps[0]["of"].rsplit(" ", 1), steps[-1]["of"].rsplit(" ", 1)
    return [{**steps[0], "of": f"{first[0]}s {first[1]} to {last[1]}"}]


def _fell(before: Frame, after: Frame, r: int) -> bool:
    """Whether a row was dropped between two looks."""
    return after.rows[r].verdict == DROPPED and (r not in before.rows or before.rows[r].verdict != DROPPED)


def _dropped(stage: Stage, before: Frame, after: Frame) -> list[int]:
    """Rows of the packet that a stage has dropped; `deliver` only counts them."""
    return [r for r in after.pieces if stage.name != "deliver" and _fell(before, after, r)]


def _step(stage: Stage, before: Frame, after: Frame, r: int, said: Said) -> Facts:
    text, facts = said
    row, name = after.rows[r], (before if stage.name == "plan" else after).name(r)
    found = explainer(stage)
    by_row = found is not None and (found[1] or stage.walks == LIST_TU)
    step: Facts = {"stage": stage.name, "decision": text, **({"of": name} if name and by_row else {})}
    if stage.name != "deliver" and _fell(before, after, r):
        step["drop"] = cause_facts(row.cause, row.stage)
        step["decision"] = f"{text}: {step['drop']['sentence']}" if text else step["drop"]["sentence"]
    return {**step, "facts": facts}


# --------------------------------------------------------------------------------------------------- the frame
def frame_facts(owner: Device, p: Any, batch: Any) -> Facts:
    """Which frame it was: `frame` counts from 0, `number` from 1 as Wireshark does."""
    return {
        "frame": int(batch.frame_no[0]), "number": int(batch.frame_no[0]) + 1,
        "ts": int(batch.ts[0]), "time": moment(int(batch.ts[0])),
        "link": LINKS.get(int(batch.link[0]), f"link type {int(batch.link[0])}"), "captured": int(batch.length[0]),
        "wire": int(batch.wire[0]), "in_if": interface_name(owner, int(p.in_if[0])),
    }  # fmt: skip


def _sent(p: Any) -> tuple[int, int]:
    """(packets, bytes of IP) that left for row 0: its packet or the fragments of it, and the rows behind it."""
    packets, total, r = 0, 0, 0
    while r >= 0:
        if p.n_out[r] > 0:
            packets += int(p.n_out[r])
            total += int(p.ip_len[r]) if p.n_out[r] == 1 else int(sent_bytes(p, r))
        r = int(p.more[r])
    return packets, total


def outcome(owner: Device, p: Any) -> Facts:
    """What became of it: the verdict row in words."""
    row = Row.at(owner, p, 0)
    packets, sent = _sent(p)
    bundle = row.sa >= 0 and int(owner.tables.t.sa["next"][row.sa]) >= 0
    return {
        "verdict": drops.Verdict(row.verdict).name.lower(),
        "cause": cause_facts(row.cause, row.stage) if row.cause else None, "stage": STAGE_NAMES[row.stage],
        "out_if": interface_name(owner, row.out_if), "sa": sa_facts(owner, row.sa) if row.sa >= 0 else None,
        "spi": f"0x{row.spi:08x}" if row.spi else None, "seq": row.seq2 if bundle else row.seq,
        "n_out": packets, "len_out": sent, "first_out": row.first_out,
    }  # fmt: skip
