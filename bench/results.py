"""RESULTS.md from one record of the history."""

from collections.abc import Iterable, Sequence
from typing import Any

from budgets import BUDGETS, CLOCK, REFERENCE_CBC, REFERENCE_GCM, Row, factors, pick

from qfp.bench.rows import short

SIZES = (64, "imix", 1420)
# ns a packet on the reference machine (DESIGN section 10)
VPP = {"outbound": {64: 59, 1420: 143}, "inbound": {64: 81, 1420: 160}}


def table(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in body]
    return "\n".join(lines)


def number(row: Row | None, unit: bool = False) -> str:
    """Median and spread of a row, a dash when it was not measured."""
    if row is None:
        return "-"
    middle = row["ns_per_packet"] if row["ns_per_packet"] is not None else row["value"]
    spread = f" ({short(row['p10'])} to {short(row['p90'])})" if row["rounds"] > 1 else ""
    return f"{short(middle)}{' ' + row['unit'] if unit else ''}{spread}"


def factor_section(rows: Sequence[Row], known: dict[Any, float]) -> str:
    """Speeds of openssl here and there."""
    body = []
    for size, there in [*REFERENCE_GCM.items(), (CLOCK, REFERENCE_CBC)]:
        if size in known:
            what = f"aes-128-gcm, {size} B" if size != CLOCK else "aes-128-cbc encryption, 8192 B (`clock`)"
            body.append((what, f"{known[size] * there:.3g}", there, f"{known[size]:.2f}"))
    if "imix" in known:
        body.append(("aes-128-gcm, IMIX (between 256 and 512 B)", "", "", f"{known['imix']:.2f}"))
    return table(("openssl speed", "here, GB/s", "reference, GB/s", "machine factor"), body)


def budget_section(rows: Sequence[Row], known: dict[Any, float]) -> str:
    """Every goal with what was measured, absolute and scaled."""
    body = []
    for b in BUDGETS:
        here = b.value(rows)
        bound = f"{'≤' if b.at_most else '≥'} {short(b.goal)} {b.unit}"
        if here is None:
            body.append((b.what, bound, "not measured", "", "", ""))
            continue
        scaled = b.scaled(here, known)
        words = [_verdict(b.met(here)), "no factor applies" if scaled is None else _verdict(b.met(scaled))]
        body.append((b.what, bound, short(here), words[0], short(scaled), words[1]))
    return table(("work", "budget", "measured here", "here", "scaled to the reference", "scaled"), body)


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def path_section(rows: Sequence[Row]) -> str:
    """Whole paths by transform and direction; source and sink of GCM beside them."""
    body = []
    seen = dict.fromkeys((r["transform"], r["direction"], r["engine"]) for r in rows if r["work"] == "path")
    for transform, direction, engine in seen:
        for work in ("path", "source", "sink"):
            if work != "path" and transform != "aes-gcm-128":
                continue
            for suffix in ("", ", long source"):
                cells = [pick(rows, work + suffix, transform=transform, direction=direction, size=s, engine=engine)
                         for s in SIZES]  # fmt: skip
                if any(cells):
                    body.append((work + suffix, direction, transform, engine, *map(number, cells)))
    return table(("work", "direction", "transform", "engine", "64 B", "IMIX", "1420 B"), body)


def stage_section(rows: Sequence[Row]) -> str:
    """Stages by direction at 64 and 1420 bytes."""
    names = dict.fromkeys(r["work"] for r in rows if r["work"].startswith("stage "))
    columns = [(d, s) for d in ("outbound", "inbound", "decrypt") for s in (64, 1420)]
    body = [
        (name.removeprefix("stage "), *(_plain(pick(rows, name, direction=d, size=s)) for d, s in columns))
        for name in names
    ]
    return table(("stage", *(f"{d} {s}" for d, s in columns)), body)


def _plain(row: Row | None) -> str:
    return "-" if row is None else short(row["ns_per_packet"])


def other_section(rows: Sequence[Row], prefixes: Sequence[str]) -> str:
    """Rows of some kinds of work, as they are."""
    body = [
        (r["work"], r["direction"], r["size"] or "", r["sas"] or "", r["threads"], r["engine"], number(r, True),
         short(r["mpps"]), short(r["gbit_s"]))
        for r in rows
        if r["work"].startswith(tuple(prefixes))
    ]  # fmt: skip
    head = ("work", "direction", "size", "SAs", "threads", "engine", "median (p10 to p90)", "Mpps", "Gbit/s")
    return table(head, body)


def ratio_section(rows: Sequence[Row]) -> str:
    """qfp's whole path against the peers of this run, and against VPP's figures on the reference machine."""
    known, body = factors(rows), []
    for direction, vpp in VPP.items():
        for size, theirs in vpp.items():
            own = pick(rows, "path", direction=direction, transform="aes-gcm-128", size=size, engine="native")
            if own is None:
                continue
            mine = own["ns_per_packet"]
            for r in rows if direction == "outbound" else ():
                if r["work"].startswith("peer: ") and r["size"] == size and r["transform"] == "aes-gcm-128":
                    what = f"{r['engine']}, {r['work'].removeprefix('peer: ')}, {r['direction']}"
                    body.append((size, what, short(r["ns_per_packet"]), direction, f"{r['ns_per_packet'] / mine:,.1f}"))
            if size in known:
                what = "VPP, on the reference machine, against the scaled path"
                body.append((size, what, theirs, direction, f"{theirs / (mine * known[size]):.2f}"))
    return table(("bytes", "peer", "ns a packet", "path of qfp", "times that"), body)


def render(record: dict[str, Any]) -> str:
    """The whole document."""
    rows, machine = record["rows"], record["machine"]
    known = factors(rows)
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    head = f"""# Results

Generated by `python bench/record.py` from the newest line of `bench/history/`; not edited by hand.

Commit {record["commit"]}, {record["date"]}, {machine["cpu"]} ({machine["features"]}, {machine["cores"]} cores),
{versions}.

Medians (10th to 90th percentile of the rounds), ns a packet, one process on one core; cases were sampled in turns, in
one run. *Path* is parse to deliver over a warm workspace, as VPP is measured without its packet generator; *source* is
walk and fill, *sink* reserve and emit. Sizes are bytes of the inner IP packet; IMIX is 7:4:1 of 64, 576 and 1420.
Whatever was timed was checked to do its work: bytes against the other crypto engine, verdicts of every packet.
"""
    scale = """`openssl speed` in this run, against the reference machine of DESIGN section 10, for which the budgets
were set. A time here multiplied by the factor is the time *scaled to the reference*: GCM paths by the factor of their
size, everything else by `clock`. A scaled figure is an estimate."""
    parts = [
        head, "## The machine against the reference", scale, factor_section(rows, known),
        "## Budgets", budget_section(rows, known),
        "## Peers", ratio_section(rows), other_section(rows, ["peer: "]),
        "## Whole paths", path_section(rows),
        "## Stages", "Medians in ns a packet; `-` where a path has no such stage.", stage_section(rows),
        "## Look-ups, replay check, idle stage", other_section(rows, ["spd,", "fib,", "replay", "idle"]),
        "## Many SAs", other_section(rows, ["path, Zipf", "SA ", "SPD build"]),
        "## Threads", other_section(rows, ["driver"]),
        "## Files and start-up", other_section(rows, ["file", "capture", "memory copy", "first result"]),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"
