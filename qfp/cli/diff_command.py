"""The work behind `qfp diff`: cases from a seed, or a capture and a key file; differences shrunk and printed."""

import json
from pathlib import Path
from typing import Any

from qfp.cli.keys import read, skipped_facts
from qfp.diff.capture import clear_cases, compare_opened, ip_packets
from qfp.diff.cases import Case, random_cases
from qfp.diff.client import Oracle, OracleError
from qfp.diff.compare import Difference, Judge, Outcome, Report, compare_all
from qfp.diff.faults import BOTH_OPEN, ORACLE_OPENS, QFP_OPENS, SEAL
from qfp.diff.fields import field_at, first_difference
from qfp.diff.shrink import shrink
from qfp.trace import TraceError, read_trace
from qfp.trace.keyfile import KeyFileError, Keys

EQUAL, DIFFERENT, WRONG_ARGUMENTS = 0, 1, 2
# Whose the two outcomes of a difference are
WHO = {
    SEAL: ("oracle", "qfp"), ORACLE_OPENS: ("original", "oracle"), QFP_OPENS: ("original", "qfp"),
    BOTH_OPEN: ("oracle", "qfp"),
}  # fmt: skip
SHOWN = 5  # differences that are shrunk and printed; the others are counted


class DiffError(ValueError):
    """Arguments that make no comparison; the message says what would."""


def run_diff(
    seed: int = 1, count: int = 1000, keys: str | Path | None = None, trace: str | Path | None = None,
    json_out: bool = False, *, engine: str | None = None, allow_null: bool = False,
    strict_keys: bool = False,
) -> int:  # fmt: skip
    """Compare qfp with the oracle, print the outcome, and return the exit status.

    `count` random packets drawn from `seed`, or, with `keys` and `trace`, the first `count` packets of a capture under
    the SAs of a key file. `json_out`: one JSON object instead of text. `engine`: native, openssl, None = best.
    `allow_null`: take ESP of the key file that neither encrypts nor authenticates. `strict_keys`: refuse a key file of
    which something cannot be used.
    Returns 0 when all are equal, 1 when there are differences, 2 for wrong arguments or when scapy is missing.
    """
    try:
        sas = _sas(keys, trace, allow_null, strict_keys)
        report, found, version = _run(seed, count, sas, trace, engine)
    except (DiffError, OracleError, KeyFileError, TraceError, OSError) as error:
        print(json.dumps({"error": str(error)}) if json_out else f"qfp diff: {error}")
        return WRONG_ARGUMENTS
    facts = described(report, found, version)
    facts["keys_skipped"] = skipped_facts(sas)
    print(json.dumps(facts) if json_out else text(facts))
    return DIFFERENT if report.differences else EQUAL


def _sas(keys: str | Path | None, trace: str | Path | None, allow_null: bool, strict: bool) -> Keys | None:
    """The SAs of a key file; None for random cases. What is left out goes to stderr."""
    if (keys is None) != (trace is None):
        missing = "a capture (trace)" if trace is None else "a key file (keys)"
        raise DiffError(f"{missing} is missing: give both, or neither for random cases")
    found: Keys | None = None if keys is None else read(Path(keys), strict, allow_null, captures=False)
    return found


def _run(
    seed: int, count: int, sas: Keys | None, trace: str | Path | None, engine: str | None
) -> tuple[Report, list[Difference], str]:
    if count < 1:
        raise DiffError(f"count is {count}: compare at least 1 packet")
    if sas is None or trace is None:
        with Oracle() as oracle:
            report = compare_all(random_cases(seed, count), oracle, engine=engine, stop=_enough)
            return report, smallest(report, oracle, engine), oracle.version
    packets = list(ip_packets(read_trace(Path(trace))))[:count]
    with Oracle() as oracle:
        report = compare_all(clear_cases(sas, packets), oracle, engine=engine)
        sealing = smallest(report, oracle, engine)
        before = len(report.differences)
        compare_opened(sas, packets, oracle, report)
        opening = report.differences[before : before + SHOWN]  # recorded packets cannot be made smaller
        return report, [*sealing, *opening], oracle.version


def _enough(report: Report) -> bool:
    return len(report.differences) >= 10 * SHOWN


def _kind(d: Difference) -> tuple[Any, ...]:
    """Differences that probably have one cause: one of each is shown."""
    return d.way, d.sa.proto, d.sa.mode, d.sa.encr, d.sa.integ, d.packet.family


def smallest(report: Report, judge: Judge, engine: str | None) -> list[Difference]:
    """One shrunk difference of each kind, at most SHOWN; kinds that shrink to the same packet are one."""
    kinds = {_kind(d): d for d in reversed(report.differences)}
    shrunk = [shrink(d, judge, engine) for d in list(kinds.values())[::-1][:SHOWN]]
    causes = {(d.way, d.sa.proto, d.sa.mode, d.packet): d for d in reversed(shrunk)}
    return list(causes.values())[::-1]


# ---------------------------------------------------------------------------------------------------- output
def _shown(outcome: Outcome) -> str:
    return outcome.hex() if isinstance(outcome, bytes) else f"none ({outcome})"


def difference_facts(d: Difference) -> dict[str, Any]:
    """One difference: the packet that went in, what came out on both sides, and the first byte that differs."""
    says, said = WHO[d.way]
    facts: dict[str, Any] = {
        "way": d.way, "case": Case(d.sa, ()).name, "spi": d.sa.spi, "seq": d.sa.seq,
        "packet": d.packet.build().hex(), "outcomes": {says: _shown(d.want), said: _shown(d.got)},
    }  # fmt: skip
    if isinstance(d.want, bytes) and isinstance(d.got, bytes):
        at = first_difference(d.want, d.got)
        facts["first_byte"] = at
        facts["field"] = field_at(d.want, at, d.sa if d.way == SEAL else None)
    return facts


def described(report: Report, found: list[Difference], version: str) -> dict[str, Any]:
    """The outcome of a run as plain facts."""
    return {
        "oracle": f"scapy {version}", "compared": report.compared, "differences": len(report.differences),
        "skipped": [
            {"reason": f.name, "algorithm": f.algorithm, "condition": f.condition, "why": f.why, "count": n}
            for f, n in sorted(report.skipped.items(), key=lambda item: item[0].name)
        ],
        "smallest": [difference_facts(d) for d in found],
    }  # fmt: skip


def text(facts: dict[str, Any]) -> str:
    """The facts for reading."""
    lines = [f"{facts['compared']} packets compared with {facts['oracle']}, {facts['differences']} differences"]
    for skip in facts["skipped"]:
        lines.append(f"skipped {skip['count']}: {skip['algorithm']}, {skip['condition']}: {skip['why']}")
    for number, d in enumerate(facts["smallest"], 1):
        lines += [
            "", f"difference {number}: {d['way']}, {d['case']}, SPI 0x{d['spi']:08x}, number {d['seq']}",
            f"  {'packet':10}{d['packet']}", *(f"  {who:10}{outcome}" for who, outcome in d["outcomes"].items()),
        ]  # fmt: skip
        if "field" in d:
            lines.append(f"  first difference at byte {d['first_byte']}: {d['field']}")
    return "\n".join(lines)
