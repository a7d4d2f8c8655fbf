"""Compare: one case through both sides, in three ways.

    seal         qfp seals, the oracle seals with the same IV, number and outer header: equal byte for byte
    oracle opens what qfp sealed: the packet comes back
    qfp opens    what the oracle sealed, with an IV of its own: the packet comes back

Only two things are taken over from qfp's packet, because every sealer may choose them: the IV and the outer IPv4
identification. All else about the outer header is said here anew, from RFC and IOS rules.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from qfp.diff import sides
from qfp.diff.cases import Case
from qfp.diff.client import Job
from qfp.diff.faults import ORACLE_OPENS, QFP_OPENS, SEAL, Fault, fault
from qfp.diff.fields import offset_of
from qfp.diff.packet import Packet
from qfp.sa import SecurityAssociation

TTL, HOP_LIMIT = 255, 64  # of outer headers, as IOS sends them
Outcome = bytes | str


class Judge(Protocol):
    """What is asked: an Oracle."""

    def ask(self, sa: SecurityAssociation, jobs: list[Job]) -> list[Outcome]: ...


@dataclass(frozen=True)
class Difference:
    """One packet on which the two sides disagree. `want` is what the oracle or the original packet says.

    In `both open` the packet is the protected one, otherwise the one before protection.
    `sa.seq` is the packet's number. An outcome is the packet's bytes, or why there is none.
    """

    way: str
    sa: SecurityAssociation
    packet: Packet
    want: Outcome
    got: Outcome


@dataclass
class Report:
    """Outcome of many cases: packets compared, packets skipped by reason, differences."""

    compared: int = 0
    skipped: Counter[Fault] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def outer_header(sa: SecurityAssociation, packet: Packet, ident: int) -> dict[str, Any] | None:
    """The outer header of a tunnel: DSCP and ECN copied (RFC 6040 normal mode), DF copied, IPv6 flow label copied."""
    if sa.mode != "tunnel" or sa.dst is None:
        return None
    common = {"family": sa.dst.version, "src": str(sa.src), "dst": str(sa.dst), "tos": packet.tos}
    if sa.dst.version == 4:
        return {**common, "hops": TTL, "id": ident, "df": packet.dont_fragment}
    return {**common, "hops": HOP_LIMIT, "label": packet.label if packet.family == 6 else 0}


def _iv_of(sa: SecurityAssociation, sealed: Outcome) -> bytes:
    """The IV in a packet that qfp sealed."""
    at = offset_of("IV", sealed, sa) if isinstance(sealed, bytes) else -1
    return sealed[at : at + sa.iv_len] if isinstance(sealed, bytes) and at >= 0 else bytes(sa.iv_len)


def _jobs(sa: SecurityAssociation, packet: Packet, sealed: Outcome, rng: random.Random) -> list[Job]:
    """Seal as qfp did, open what qfp sealed, seal with other choices."""
    sent = packet.forwarded()
    data = sent.build()
    ident = int.from_bytes(sealed[4:6]) if isinstance(sealed, bytes) else 0
    outer, other = outer_header(sa, sent, ident), outer_header(sa, sent, rng.randrange(2**16))
    iv = rng.randbytes(sa.iv_len) if sa.proto == "esp" else b""
    return [
        {"do": "seal", "packet": data, "seq": sa.seq, "iv": _iv_of(sa, sealed), "outer": outer},
        {"do": "open", "packet": sealed if isinstance(sealed, bytes) else data, "seq": sa.seq, "outer": outer},
        {"do": "seal", "packet": data, "seq": sa.seq, "iv": iv, "outer": other},
    ]


@dataclass(frozen=True)
class _Asked:
    """A case that qfp has sealed and the oracle is working on."""

    sas: list[SecurityAssociation]  # with the number of each packet
    packets: list[Packet]
    sealed: list[Outcome]
    answers: Future[list[Outcome]]


def _ask(case: Case, judge: Judge, pool: Executor, report: Report, engine: str | None) -> _Asked | None:
    """Seal the packets that can be compared, and ask the oracle; None when there are none."""
    packets = []
    for packet in case.packets:
        reason = fault(case.sa, packet, SEAL)
        if reason is None:
            packets.append(packet)
        else:
            report.skipped[reason] += 1
    if not packets:
        return None
    sas = [replace(case.sa, seq=case.sa.seq + k) for k in range(len(packets))]
    sealed = sides.seal(case.sa, [p.build() for p in packets], engine)
    rng = random.Random(case.sa.spi)
    jobs = [job for sa, p, s in zip(sas, packets, sealed, strict=True) for job in _jobs(sa, p, s, rng)]
    return _Asked(sas, packets, sealed, pool.submit(judge.ask, case.sa, jobs))


def _judge(asked: _Asked, report: Report, engine: str | None) -> None:
    """Compare in all three ways."""
    answers = asked.answers.result()
    theirs = answers[2::3]
    opened = _open(asked.sas[0], theirs, engine)
    for k, (sa, packet) in enumerate(zip(asked.sas, asked.packets, strict=True)):
        original = packet.forwarded().build()
        for way, want, got in (
            (SEAL, answers[3 * k], asked.sealed[k]),
            (ORACLE_OPENS, original, answers[3 * k + 1] if isinstance(asked.sealed[k], bytes) else original),
            (QFP_OPENS, original, opened[k] if isinstance(theirs[k], bytes) else original),
        ):
            reason = fault(sa, packet, way)
            if reason is not None:
                report.skipped[reason] += 1
            elif want != got:
                report.differences.append(Difference(way, sa, packet, want, got))
    report.compared += len(asked.packets)


def _open(sa: SecurityAssociation, sealed: list[Outcome], engine: str | None) -> list[Outcome]:
    """qfp opens the packets; where there is none, what the oracle said stands."""
    whole = [s for s in sealed if isinstance(s, bytes)]
    opened = iter(sides.open_all(sa, whole, engine) if whole else [])
    return [next(opened) if isinstance(s, bytes) else s for s in sealed]


def compare_all(
    cases: Iterable[Case], judge: Judge, *, engine: str | None = None, stop: Callable[[Report], bool] | None = None
) -> Report:
    """Run cases; `stop` ends the run early. While the oracle works on one case, qfp seals the next.

    Raises OracleError.
    """
    report = Report()
    before: _Asked | None = None
    with ThreadPoolExecutor(1) as pool:
        for case in cases:
            asked = _ask(case, judge, pool, report, engine)
            if before is not None:
                _judge(before, report, engine)
            before = asked
            if stop is not None and stop(report):
                break
        if before is not None:
            _judge(before, report, engine)
    return report
