"""START HERE: the feature invocation arrays, the stages in the order in which a packet meets them.

A stage is a function `(p, t, n)` over a list of rows: p are the columns of the workspace, t the tables, and what it
returns is how many rows of its list go on (a row that a stage drops has its verdict and cause, and leaves the list).
Each declaration says which list the stage walks, whether it must run in packet order (serial), what it reads and
writes, and what it may drop. docs/architecture.md walks a packet through both arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qfp_kernels import capture, commit, decap, deliver, encap, forward, join, lookup, parse, plan, seal, sequence, spd
from qfp_kernels.drops import Drop
from qfp_kernels.layout import LEVELS, LIST_AH, LIST_ROWS, LIST_RX, LIST_SOURCE, LIST_TX


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


FILL = Stage("fill", capture.fill, LIST_ROWS, reads=("src_at", "cap", "off"), writes=("arena",))
PARSE = Stage(
    "parse", parse.parse, LIST_ROWS, reads=("arena", "cap", "link"),
    writes=("l3", "ip_len", "l4", "fam", "proto", "tos", "ttl", "frag", "sport", "dport", "src1", "dst1"),
    drops=(Drop.TOO_LONG, Drop.CUT_SHORT, Drop.BAD_HEADER, Drop.BAD_CHECKSUM),
)  # fmt: skip
LOOKUP = Stage(
    "lookup", lookup.lookup, LIST_RX, reads=("dst0", "dst1", "l4"), writes=("lv_sa", "lv_seq", "c_off", "c_len"),
    drops=(Drop.NO_SA, Drop.FRAGMENT, Drop.RUNT, Drop.ENCAP_MISMATCH, Drop.NESTED_TOO_DEEP,
           Drop.AH_HEADERS),
)  # fmt: skip
OPEN = Stage("open", seal.open_, LIST_RX, reads=("c_sa", "c_off", "c_len", "c_hi"), writes=("arena", "c_ok"))
DECAP = Stage(
    "decap", decap.decap, LIST_RX, reads=("c_ok",), writes=("l3", "ip_len", "lv_ok"),
    drops=(Drop.BAD_PADDING, Drop.BAD_NEXT_HEADER, Drop.BAD_INNER, Drop.ECN_CE),
)  # fmt: skip
COMMIT = Stage(
    "commit", commit.commit, LIST_ROWS, serial=True, reads=("lv_sa", "lv_seq", "lv_ok"), writes=("verdict",),
    drops=(Drop.REPLAY, Drop.INTEGRITY, Drop.ESN_GUESS),
)  # fmt: skip
JOIN = Stage("join", join.join, LIST_ROWS, reads=("verdict",), writes=("tx",))
SPD = Stage(
    "spd", spd.spd, LIST_TX, reads=("src1", "dst1", "proto", "sport", "dport"), writes=("out_if", "sp", "sa"),
    drops=spd.DROPS,
)  # fmt: skip
FORWARD = Stage("forward", forward.forward, LIST_TX, reads=("ttl",), writes=("ttl",), drops=(Drop.TTL_EXPIRED,))
SEQUENCE = Stage(
    "sequence", sequence.sequence, LIST_TX, serial=True, reads=("sa",), writes=("seq", "seq2", "ip_id"),
    drops=(Drop.SEQ_OVERFLOW,),
)  # fmt: skip
PLAN = Stage(
    "plan", plan.plan, LIST_TX, reads=("sa", "ip_len", "frag"),
    drops=(Drop.OUT_TOO_LONG, Drop.TRANSPORT_FRAGMENT, Drop.TRANSPORT_MISMATCH, Drop.AH_HEADERS),
)  # fmt: skip
ENCAP = Stage(
    "encap", encap.encap, LIST_TX, reads=("sa", "seq", "ip_id"), writes=("l3", "ip_len", "c_off", "c_len", "c_icv")
)
SEAL = Stage("seal", seal.seal, LIST_TX, reads=("c_sa", "c_off", "c_len", "c_hi"), writes=("arena",))
SEAL_AH = Stage("seal_ah", seal.seal_ah, LIST_AH, reads=("l3", "l4", "seq2"), writes=("arena",))
RESERVE = Stage("reserve", capture.reserve, LIST_ROWS, serial=True, reads=("n_out", "ip_len"), writes=("first_out",))
DELIVER = Stage("deliver", deliver.deliver, LIST_ROWS, serial=True, reads=("verdict", "cause"))

# One level of SA a round: AH over ESP, ESP in ESP. A round without rows costs nothing. The last look-up refuses what is
# nested deeper.
INBOUND = (*((LOOKUP, OPEN, DECAP) * LEVELS), LOOKUP, COMMIT, JOIN)
OUTBOUND = (SPD, FORWARD, PLAN, SEQUENCE, ENCAP, SEAL, SEAL_AH)


def walk(stage: Callable[..., Any]) -> Stage:
    """The first stage: rows from the source's record headers."""
    return Stage("walk", stage, LIST_SOURCE, serial=True, writes=("frame", "ts", "src_at", "cap", "wire", "off"))


def emit(stage: Callable[..., Any]) -> Stage:
    """The last stage: records into the output block."""
    return Stage("emit", stage, LIST_ROWS, reads=("l3", "ip_len", "first_out"))


def router(source: Callable[..., Any], sink: Callable[..., Any] | None) -> tuple[Stage, ...]:
    """Everything that a router does to a packet, from the capture to the output block."""
    out = (emit(sink),) if sink is not None else ()
    return (walk(source), FILL, PARSE, *INBOUND, *OUTBOUND, RESERVE, DELIVER, *out)


def decrypt(source: Callable[..., Any], sink: Callable[..., Any] | None) -> tuple[Stage, ...]:
    """Decryption with key files alone: no routes, no policy."""
    out = (emit(sink),) if sink is not None else ()
    return (walk(source), FILL, PARSE, *INBOUND, RESERVE, DELIVER, *out)
