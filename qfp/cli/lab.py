"""`qfp lab`: routers and links from one file, and what became of every packet."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import DONE, CommandError, guarded, issue_facts
from qfp.cli.output import clean, console, note, put_json, table
from qfp.naming import together

Facts = dict[str, Any]
SCHEMA = "qfp-lab/1"
JOURNEY_COLUMNS = ("at", "packets", "delivered", "lost", "consumed", "punted", "delay ms: min", "median", "p99", "max")
LINK_COLUMNS = ("link", "packets", "bytes", "carried", "copies", "most wait ms", "lost")


@guarded
def lab(
    file: Annotated[Path, typer.Argument(metavar="LAB.toml", help="Routers, links, traces, captures, events.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for captures, tables and summary.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="P", help="Draw journeys over time: .svg, .png or .pdf.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="T", help='Of time series: "10 ms"; the default is about 1 %.')
    ] = None,
    engine: o.Engine = None,
    threads: o.Threads = 1,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    json_out: o.Json = False,
) -> int:
    """Run several routers and the links between them on one clock: one row a packet, from ingress to delivery."""
    given = dict(locals())
    from qfp.cli.progress import Bar, compile_note
    from qfp.lab import Lab
    from qfp.lab.model import SUMMARY
    from qfp.lab.read import load

    spec = load(file).modelled(platform, release, allow_null)
    if output is not None and output.exists() and not output.is_dir():
        raise CommandError(f"{output}: is a file: name a folder for the lab's results")
    if spec.taps and output is None:
        note(f"{file}: captures are not written: name a folder with -o")
    if picture is not None:
        from qfp.lab import chart

        chart.check(picture)
    with compile_note():
        made = Lab(spec, engine=engine.value if engine else None, threads=threads, interval=_interval(interval),
                   strict=strict)  # fmt: skip
        for warning in made.warnings:
            note(warning)
        try:
            with Bar(clean(file.name), made.length) as bar:
                outcome = made.run(bar.callback)
        finally:
            made.close()
    problems = [{"router": name, **issue_facts(issue)} for name, issue in made.problems]
    facts = {"schema": SCHEMA, "status": DONE, "lab": str(file), "seed": spec.seed, "problems": problems,
             **outcome.facts}  # fmt: skip
    with together():
        if picture is not None:
            chart.write(picture, outcome.journeys, clean(f"Packets through {file}"))
            facts["picture"] = str(picture)
        if output is not None:
            facts["written"] = _write(output, outcome, facts)
            _home(output, given, spec).write(facts, made.routers, _results(facts["written"]), SUMMARY)
    if json_out:
        put_json(facts)
    else:
        print_lab(facts)
    return DONE


def _home(folder: Path, given: Facts, spec: Any) -> Any:
    """The folder as a home: see qfp.cli.home."""
    from qfp.cli.home import Home

    inputs = {"lab": given["file"], **{f"config of {name}": each.config for name, each in spec.routers.items()},
              **{each.key: Path(each.trace) for each in spec.injections}}  # fmt: skip
    return Home(folder, "lab", given, inputs)


def _results(written: list[str]) -> dict[str, str]:
    """Files that were written, by their names."""
    return {Path(path).name: path for path in written}


def _interval(text: str | None) -> int:
    """ns of `--interval`, 0 = not given. Raises CommandError."""
    from qfp.coerce import measure, shown
    from qfp.lab.read import TIME_MAX, TIMES

    if text is None:
        return 0
    found = measure(text, TIMES)
    if found is None or not 0 < found <= TIME_MAX:
        raise CommandError(f'--interval: {shown(text)} is no length of time: write it like "10 ms"')
    return found


def _write(folder: Path, outcome: Any, facts: Facts) -> list[str]:
    """Captures, one row a packet, and the summary; returns their names."""
    import json

    import pyarrow.parquet as pq

    from qfp.cli.home import own_folder
    from qfp.lab.model import JOURNEYS, SERIES, SUMMARY
    from qfp.trace import write_trace
    from qfp.trace.output import OutputFile

    own_folder(folder, parents=True)
    for name, batch in outcome.taps.items():
        write_trace(folder / name, batch)
    for name, rows in ((JOURNEYS, outcome.journeys), (SERIES, outcome.series)):
        with OutputFile(folder / name) as table, table.complaints():
            pq.write_table(rows.to_arrow(), table.place)
    with OutputFile(folder / SUMMARY) as summary:
        summary.write((json.dumps(facts, indent=2) + "\n").encode())
    return [str(folder / name) for name in (*outcome.taps, JOURNEYS, SERIES, SUMMARY)]


def print_lab(facts: Facts) -> None:
    """Tables of journeys, losses and links; of each router the balance, and what became of SAs."""
    from qfp.cli.summary import balance_line, compression_line, lifetime_lines

    out = console()
    out.print(table("Packets injected", JOURNEY_COLUMNS, [_journey(j) for j in facts["journeys"]]))
    losses = [(j["injected"], loss["where"], loss["cause"], loss["packets"]) for j in facts["journeys"]
              for loss in j["losses"]]  # fmt: skip
    if losses:
        out.print()
        out.print(table("Lost", ("injected at", "lost at", "cause", "packets"), losses, left=3))
    if facts["links"]:
        out.print()
        out.print(table("Links", LINK_COLUMNS, [_link(link) for link in facts["links"]]))
    for name, totals in facts["routers"].items():
        lines = [balance_line(totals["balance"])] if "balance" in totals else []
        lines += lifetime_lines(totals.get("lifetimes", {}))
        lines += [compression_line(totals["compression"])] if "compression" in totals else []
        for line in lines:
            out.print(clean(f"{name}: {line}"))
    for path in [*facts.get("written", ()), *([facts["picture"]] if "picture" in facts else [])]:
        out.print(clean(f"written: {path}"))


def _journey(j: Facts) -> tuple[Any, ...]:
    delay = j.get("delay")
    times = [_ms(delay[k]) for k in ("min", "median", "p99", "max")] if delay else ["-"] * 4
    return (j["injected"], j["packets"], j["delivered"], j["lost"], j["consumed"], j["punted"], *times)


def _link(link: Facts) -> tuple[Any, ...]:
    counts = (link[name] for name in ("packets", "bytes", "carried", "copies"))
    return (link["link"], *counts, _ms(link["wait_max"]), sum(link["lost"].values()))


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3f}"
