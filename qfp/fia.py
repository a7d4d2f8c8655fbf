"""START HERE: the feature invocation arrays, the stages in the order in which a packet meets them.

A stage is a function `(p, t, n)` over a list of rows: p are the columns of the workspace, t the tables, and what it
returns is how many rows of its list go on (a row that a stage drops has its verdict and cause, and leaves the list).
Each declaration says which list the stage walks, who explains it, and whether it must run in packet order (serial).
What it reads, writes and may drop follows from its source (contracts.py, docs/stages.md). docs/architecture.md walks a
packet through both arrays.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from qfp_kernels import (
    capture,
    commit,
    compress,
    decap,
    deliver,
    dissect,
    encap,
    forward,
    icmp,
    join,
    lookup,
    parse,
    pathmtu,
    plan,
    queue,
    reassemble,
    seal,
    select,
    sequence,
    spd,
    tunnel,
)
from qfp_kernels.layout import (
    LEVELS,
    LIST_AH,
    LIST_ER,
    LIST_FR,
    LIST_IC,
    LIST_ROWS,
    LIST_RX,
    LIST_SOURCE,
    LIST_TU,
    LIST_TX,
    STEP_CLASSIFY,
    STEP_DISSECT,
    STEP_EXPAND,
    STEP_HOLD,
    STEP_SIZE,
    STEP_THROUGH,
)


@dataclass(frozen=True)
class Stage:
    """One entry of an FIA."""

    name: str
    run: Callable[..., Any]
    walks: int  # LIST_ number
    told_by: str  # module and function of qfp.explain that say what it decided; "" where it decides nothing
    serial: bool = False
    calls: tuple[int, ...] = ()  # STEP_ numbers


# What several stages do to one row is a step: compiled once, called by address.
STEPS: dict[int, Callable[..., Any]] = {
    STEP_CLASSIFY: spd.classify_row,
    STEP_HOLD: reassemble.hold_row,
    STEP_SIZE: plan.size_row,
    STEP_THROUGH: tunnel.through_row,
    STEP_EXPAND: compress.expand_row,
    STEP_DISSECT: dissect.dissect_row,
}

FILL = Stage("fill", capture.fill, LIST_ROWS, "")
PARSE = Stage("parse", parse.parse, LIST_ROWS, "inbound.parse", calls=(STEP_DISSECT,))
REASSEMBLE = Stage("reassemble", reassemble.reassemble, LIST_FR, "inbound.reassemble", serial=True, calls=(STEP_HOLD,))
PATHMTU = Stage("pathmtu", pathmtu.pathmtu, LIST_IC, "inbound.pathmtu", serial=True)
LOOKUP = Stage("lookup", lookup.lookup, LIST_RX, "inbound.lookup")
OPEN = Stage("open", seal.open_, LIST_RX, "inbound.open_")
DECAP = Stage("decap", decap.decap, LIST_RX, "inbound.decap")
COMMIT = Stage("commit", commit.commit, LIST_ROWS, "inbound.commit", serial=True)
SELECT_NESTED = Stage("select", select.select_nested, LIST_RX, "inbound.select")
SELECT = Stage("select", select.select, LIST_ROWS, "inbound.select")
JOIN = Stage("join", join.join, LIST_ROWS, "inbound.join")
SPD = Stage("spd", spd.spd, LIST_TX, "outbound.spd")
TUNNEL = Stage(
    "tunnel", tunnel.tunnel, LIST_TU, "gre.tunnel", serial=True, calls=(STEP_THROUGH, STEP_CLASSIFY, STEP_HOLD)
)
FORWARD = Stage("forward", forward.forward, LIST_TX, "outbound.forward")
SEQUENCE = Stage("sequence", sequence.sequence, LIST_TX, "outbound.sequence", serial=True)
PLAN = Stage("plan", plan.plan, LIST_TX, "outbound.plan", calls=(STEP_SIZE,))
ICMP = Stage(
    "icmp", icmp.icmp, LIST_ER, "outbound.icmp", serial=True, calls=(STEP_CLASSIFY, STEP_SIZE, STEP_THROUGH, STEP_HOLD)
)
QUEUE = Stage("queue", queue.queue, LIST_TX, "outbound.queue")
COMPRESS = Stage("compress", compress.compress, LIST_TX, "outbound.compress", calls=(STEP_EXPAND,))
ENCAP = Stage("encap", encap.encap, LIST_TX, "outbound.encap")
SEAL = Stage("seal", seal.seal, LIST_TX, "outbound.seal")
SEAL_AH = Stage("seal_ah", seal.seal_ah, LIST_AH, "outbound.seal_ah")
RESERVE = Stage("reserve", capture.reserve, LIST_ROWS, "outbound.reserve", serial=True)
DELIVER = Stage("deliver", deliver.deliver, LIST_ROWS, "outbound.deliver", serial=True)

# One level of SA a round: AH over ESP, ESP in ESP. A round without rows costs nothing. The last look-up refuses what is
# nested deeper.
INBOUND = (REASSEMBLE, PATHMTU, *((LOOKUP, OPEN, DECAP) * LEVELS), LOOKUP, COMMIT, JOIN)
SELECTING = (REASSEMBLE, PATHMTU, *((LOOKUP, OPEN, DECAP, SELECT_NESTED) * LEVELS), LOOKUP, SELECT, COMMIT, JOIN)
OUTBOUND = (SPD, TUNNEL, FORWARD, PLAN, ICMP, QUEUE, SEQUENCE, COMPRESS, ENCAP, SEAL, SEAL_AH)


# What a configuration may have no use for, so that it is not even compiled: feature -> stages
FEATURES: dict[str, tuple[Stage, ...]] = {"gre": (TUNNEL,), "lzs": (COMPRESS,), "qos": (QUEUE,)}


def walk(stage: Callable[..., Any]) -> Stage:
    """The first stage: rows from the source's record headers."""
    return Stage("walk", stage, LIST_SOURCE, "inbound.walk", serial=True)


def emit(stage: Callable[..., Any]) -> Stage:
    """The last stage: records into the output block."""
    return Stage("emit", stage, LIST_ROWS, "")


def router(
    source: Callable[..., Any], sink: Callable[..., Any] | None, features: Collection[str] = tuple(FEATURES)
) -> tuple[Stage, ...]:
    """Everything that a router does to a packet, from the capture to the output block. `features`: of FEATURES, those
    that the configuration uses."""
    out = (emit(sink),) if sink is not None else ()
    idle = [stage for name, stages in FEATURES.items() if name not in features for stage in stages]
    outbound = (stage for stage in OUTBOUND if stage not in idle)
    return (walk(source), FILL, PARSE, *INBOUND, *outbound, RESERVE, DELIVER, *out)


def decrypt(source: Callable[..., Any], sink: Callable[..., Any] | None, selectors: bool = False) -> tuple[Stage, ...]:
    """Decryption with key files alone: no routes, and of policies the selectors of SAs, if any has some."""
    out = (emit(sink),) if sink is not None else ()
    # key files do not tell whether an SA has IPComp
    inbound = (replace(s, calls=(STEP_EXPAND,)) if s is DECAP else s for s in (SELECTING if selectors else INBOUND))
    return (walk(source), FILL, PARSE, *inbound, RESERVE, DELIVER, *out)
