"""What each stage decided, as steps; and what became of the frame.

A step: {stage, decision, facts}, with `of` where it is about a piece or an ICMP error and not the whole packet, and
`drop` where the row was dropped.
"""

from collections.abc import Callable
from typing import Any

from qfp.control.device import Device
from qfp.explain import gre, inbound, outbound
from qfp.explain.look import Frame, Row
from qfp.explain.words import LINKS, Facts, Said, cause_facts, interface_name, moment, sa_facts
from qfp.stages import STAGE_NAMES
from qfp_kernels import drops
from qfp_kernels.fragment import sent_bytes

Decider = Callable[[Any, Frame, Frame], Said | None]
RowDecider = Callable[[Any, Frame, Frame, int], Said | None]
DROPPED = int(drops.Verdict.DROPPED)
# of the frame as a whole
FRAME: dict[str, Decider] = {
    "walk": inbound.walk, "parse": inbound.parse, "reassemble": inbound.reassemble, "pathmtu": inbound.pathmtu,
    "lookup": inbound.lookup, "open": inbound.open_, "decap": inbound.decap, "select": inbound.select,
    "commit": inbound.commit, "join": inbound.join, "spd": outbound.spd, "icmp": outbound.icmp,
    "reserve": outbound.reserve, "deliver": outbound.deliver,
}  # fmt: skip
# of each row on the list that the stage walks
ROWS: dict[str, RowDecider] = {
    "forward": outbound.forward, "plan": outbound.plan, "queue": outbound.queue, "sequence": outbound.sequence,
    "compress": outbound.compress, "encap": outbound.encap, "seal": outbound.seal, "seal_ah": outbound.seal_ah,
}  # fmt: skip
SILENT = ("fill",)  # copies the frame: there is nothing to decide


def decide(stage: str, owner: Device, before: Frame, after: Frame) -> list[Facts]:
    """The steps of a stage; none where it had nothing to do with the frame."""
    if stage in SILENT:
        return []
    said: list[tuple[int, Said | None]]
    if stage in ROWS:
        walked = before.ah if stage == "seal_ah" else before.tx
        said = [(r, ROWS[stage](owner, before, after, r)) for r in walked]
    elif stage == "tunnel":
        said = list(gre.tunnel(owner, before, after))
    else:
        said = [(0, FRAME[stage](owner, before, after) if stage in FRAME else None)]  # a drop is told all the same
    steps = [_step(stage, before, after, r, each) for r, each in said if each is not None]
    told = {r for r, each in said if each is not None}
    return _merged(steps) + [
        _step(stage, before, after, r, ("", {})) for r in _dropped(stage, before, after) if r not in told
    ]


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


def _dropped(stage: str, before: Frame, after: Frame) -> list[int]:
    """Rows of the packet that a stage has dropped; `deliver` only counts them."""
    return [r for r in after.pieces if stage != "deliver" and _fell(before, after, r)]


def _step(stage: str, before: Frame, after: Frame, r: int, said: Said) -> Facts:
    text, facts = said
    row, name = after.rows[r], (before if stage == "plan" else after).name(r)
    step: Facts = {"stage": stage, "decision": text, **({"of": name} if name and stage in (*ROWS, "tunnel") else {})}
    if stage != "deliver" and _fell(before, after, r):
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
