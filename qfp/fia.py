"""START HERE: the feature invocation arrays, the stages in the order in which a packet meets them.

A stage is a function `(p, t, n)` over a list of rows: p are the columns of the workspace, t the tables, and what it
returns is how many rows of its list go on (a row that a stage drops has its verdict and cause, and leaves the list).
Each declaration says which list the stage walks, whether it must run in packet order (serial), what it reads and
writes, and what it may drop. docs/architecture.md walks a packet through both arrays.
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
from qfp_kernels.drops import Drop
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
    serial: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    drops: tuple[Any, ...] = ()
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

FILL = Stage("fill", capture.fill, LIST_ROWS, reads=("src_at", "cap", "off"), writes=("arena",))
PARSE = Stage(
    "parse", parse.parse, LIST_ROWS, reads=("arena", "cap", "link"),
    writes=("l3", "ip_len", "l4", "fam", "proto", "tos", "ttl", "frag", "sport", "dport", "src1", "dst1"),
    drops=(Drop.TOO_LONG, Drop.CUT_SHORT, Drop.BAD_HEADER, Drop.BAD_CHECKSUM), calls=(STEP_DISSECT,),
)  # fmt: skip
REASSEMBLE = Stage(
    "reassemble", reassemble.reassemble, LIST_FR, serial=True, reads=("frag", "src1", "dst1", "ts"),
    writes=("l3", "ip_len", "verdict", "sport", "dport"),
    drops=(Drop.FRAGMENT_BAD, Drop.FRAGMENT_OVERLAP, Drop.FRAGMENT_DUPLICATE, Drop.REASSEMBLY_FULL,
           Drop.REASSEMBLY_SOURCE),
    calls=(STEP_HOLD,),
)  # fmt: skip
PATHMTU = Stage("pathmtu", pathmtu.pathmtu, LIST_IC, serial=True, reads=("l4",), writes=("st",))
LOOKUP = Stage(
    "lookup", lookup.lookup, LIST_RX, reads=("dst0", "dst1", "l4"), writes=("lv_sa", "lv_seq", "c_off", "c_len"),
    drops=(Drop.NO_SA, Drop.FRAGMENT, Drop.RUNT, Drop.ENCAP_MISMATCH, Drop.NESTED_TOO_DEEP,
           Drop.AH_HEADERS),
)  # fmt: skip
OPEN = Stage("open", seal.open_, LIST_RX, reads=("c_sa", "c_off", "c_len", "c_hi"), writes=("arena", "c_ok"))
DECAP = Stage(
    "decap", decap.decap, LIST_RX, reads=("c_ok",), writes=("l3", "ip_len", "lv_ok"),
    drops=(Drop.BAD_PADDING, Drop.BAD_NEXT_HEADER, Drop.BAD_INNER, Drop.ECN_CE, Drop.COMP_BAD),
)  # fmt: skip
COMMIT = Stage(
    "commit", commit.commit, LIST_ROWS, serial=True, reads=("lv_sa", "lv_seq", "lv_ok"), writes=("verdict",),
    drops=(Drop.REPLAY, Drop.INTEGRITY, Drop.ESN_GUESS),
)  # fmt: skip
SELECT_NESTED = Stage(
    "select", select.select_nested, LIST_RX, reads=("lv_sa", "l3", "c_off"), writes=("mark",),
    drops=(Drop.SELECTOR_MISMATCH,),
)  # fmt: skip
SELECT = Stage("select", select.select, LIST_ROWS, reads=("lv_sa", "mark"), drops=(Drop.SELECTOR_MISMATCH,))
JOIN = Stage("join", join.join, LIST_ROWS, reads=("verdict",), writes=("tx",))
SPD = Stage(
    "spd", spd.spd, LIST_TX, reads=("src1", "dst1", "proto", "sport", "dport"), writes=("out_if", "sp", "sa"),
    drops=spd.DROPS,
)  # fmt: skip
TUNNEL = Stage(
    "tunnel", tunnel.tunnel, LIST_TU, serial=True, reads=("out_if", "l3", "ip_len"),
    writes=("l3", "ip_len", "vif", "tx"),
    drops=(Drop.TUNNEL_LOOP, Drop.GRE_NO_TUNNEL, Drop.GRE_HEADER, Drop.GRE_CHECKSUM, Drop.GRE_SEQUENCE,
           Drop.FRAG_NEEDED, Drop.NO_BUFFERS, *spd.DROPS),
    calls=(STEP_THROUGH, STEP_CLASSIFY, STEP_HOLD),
)  # fmt: skip
FORWARD = Stage(
    "forward", forward.forward, LIST_TX, reads=("ttl", "ip_len"), writes=("ttl", "lim"),
    drops=(Drop.TTL_EXPIRED, Drop.FRAG_NEEDED),
)  # fmt: skip
SEQUENCE = Stage(
    "sequence", sequence.sequence, LIST_TX, serial=True, reads=("sa",), writes=("seq", "seq2", "ip_id"),
    drops=(Drop.SEQ_OVERFLOW,),
)  # fmt: skip
PLAN = Stage(
    "plan", plan.plan, LIST_TX, reads=("sa", "ip_len", "frag"), writes=("tx", "more", "lim"),
    drops=(Drop.FRAG_NEEDED, Drop.OUT_TOO_LONG, Drop.TRANSPORT_FRAGMENT, Drop.TRANSPORT_MISMATCH, Drop.AH_HEADERS,
           Drop.NO_BUFFERS),
    calls=(STEP_SIZE,),
)  # fmt: skip
ICMP = Stage(
    "icmp", icmp.icmp, LIST_ER, serial=True, reads=("icmp", "mtu", "ts"), writes=("tx", "more"),
    calls=(STEP_CLASSIFY, STEP_SIZE),
)  # fmt: skip
QUEUE = Stage("queue", queue.queue, LIST_TX, reads=("out_if", "tos"), writes=("cls",))
COMPRESS = Stage(
    "compress", compress.compress, LIST_TX, reads=("sa", "l3", "ip_len"), writes=("ip_len", "nxt"), calls=(STEP_EXPAND,)
)
ENCAP = Stage(
    "encap", encap.encap, LIST_TX, reads=("sa", "seq", "ip_id"), writes=("l3", "ip_len", "c_off", "c_len", "c_icv")
)
SEAL = Stage("seal", seal.seal, LIST_TX, reads=("c_sa", "c_off", "c_len", "c_hi"), writes=("arena",))
SEAL_AH = Stage("seal_ah", seal.seal_ah, LIST_AH, reads=("l3", "l4", "seq2"), writes=("arena",))
RESERVE = Stage("reserve", capture.reserve, LIST_ROWS, serial=True, reads=("n_out", "ip_len"), writes=("first_out",))
DELIVER = Stage("deliver", deliver.deliver, LIST_ROWS, serial=True, reads=("verdict", "cause"))

# One level of SA a round: AH over ESP, ESP in ESP. A round without rows costs nothing. The last look-up refuses what is
# nested deeper.
INBOUND = (REASSEMBLE, PATHMTU, *((LOOKUP, OPEN, DECAP) * LEVELS), LOOKUP, COMMIT, JOIN)
SELECTING = (REASSEMBLE, PATHMTU, *((LOOKUP, OPEN, DECAP, SELECT_NESTED) * LEVELS), LOOKUP, SELECT, COMMIT, JOIN)
OUTBOUND = (SPD, TUNNEL, FORWARD, PLAN, ICMP, QUEUE, SEQUENCE, COMPRESS, ENCAP, SEAL, SEAL_AH)


# What a configuration may have no use for, so that it is not even compiled: feature -> stages
FEATURES: dict[str, tuple[Stage, ...]] = {"gre": (TUNNEL,), "lzs": (COMPRESS,), "qos": (QUEUE,)}


def walk(stage: Callable[..., Any]) -> Stage:
    """The first stage: rows from the source's record headers."""
    return Stage("walk", stage, LIST_SOURCE, serial=True, writes=("frame", "ts", "src_at", "cap", "wire", "off"))


def emit(stage: Callable[..., Any]) -> Stage:
    """The last stage: records into the output block."""
    return Stage("emit", stage, LIST_ROWS, reads=("l3", "ip_len", "first_out"))


def router(
    source: Callable[..., Any], sink: Callable[..., Any] | None, features: Collection[str] = tuple(FEATURES)
) -> tuple[Stage, ...]:
    """Everything that a router does to a packet, from the capture to the output block. `features`: of FEATURES, those
    that the configuration uses."""
    out = (emit(sink),) if sink is not None else ()
    idle = [stage for name, stages in FEATURES.items() if name not in features for stage in stages]
    outbound = (stage for stage in OUTBOUND if stage not in idle)
    return (walk(source), FILL, PARSE, *INBOUND, *outbound, RESERVE, DELIVER, *out)


def decrypt(
    source: Callable[..., Any], sink: Callable[..., Any] | None, selectors: bool = False
) -> tuple[Stage, ...]:
    """Decryption with key files alone: no routes, and of policies the selectors of SAs, if any has some."""
    out = (emit(sink),) if sink is not None else ()
    # key files do not tell whether an SA has IPComp
    inbound = (replace(s, calls=(STEP_EXPAND,)) if s is DECAP else s for s in (SELECTING if selectors else INBOUND))
    return (walk(source), FILL, PARSE, *inbound, RESERVE, DELIVER, *out)
