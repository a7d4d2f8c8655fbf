"""`qfp mtu`: which packet sizes get through an IPsec path, how, and which vanish."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import DONE, FAILED, CommandError, guarded, issue_facts, problem_facts
from qfp.cli.output import clean, console, put_json, table
from qfp.cli.run import load_config, make_router
from qfp.coerce import shown, whole

Facts = dict[str, Any]
MARGIN = 24  # columns beside the bar: names of rows
BAR_MIN, BAR_MAX = 48, 130
SA_COLUMNS = ("SA", "end", "algorithms", "mode", "path mtu", "plaintext mtu", "mtu_adj")


@guarded
def mtu(
    config: o.ConfigArg,
    peer: Annotated[
        Path | None, typer.Option("--peer", metavar="CONFIG", help="The other end: what comes out goes through it too.")
    ] = None,
    ingress: Annotated[
        str | None, typer.Option("--in", metavar="IFACE", help="Interface by which the hosts' packets come in.")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="ADDRESS", help="Destination; may be given several times.")
    ] = None,
    sizes: Annotated[str, typer.Option("--sizes", metavar="A-B", help="IP sizes to sweep, bytes.")] = "40-9216",
    host_mtu: Annotated[
        int | None,
        typer.Option("--host-mtu", metavar="N", help="MTU of the hosts; the default is the ingress interface's."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PICTURE", help="Draw it: .svg, .png or .pdf.")
    ] = None,
    engine: o.Engine = None,
    seed: o.Seed = 1,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    json_out: o.Json = False,
) -> int:
    """Sweep packet sizes through every IPsec path: what is fragmented where, which sizes vanish, what to configure."""
    asked = {"sizes": _sizes(sizes), "ingress": ingress, "to": _addresses(to or []), "host_mtu": host_mtu}
    device = platform, release, allow_null, strict
    cfg, far_cfg = load_config(config, *device), load_config(peer, *device) if peer is not None else None
    from qfp.cli.progress import compile_note
    from qfp.cli.session import Outputs
    from qfp.mtu import chart

    Outputs(packets=picture).check([path for path in (config, peer) if path is not None])
    if picture is not None:
        chart.suffix_of(picture)
        chart.library()
    with compile_note():
        router = make_router(cfg, sas=(), engine=engine, seed=seed)
        far = make_router(far_cfg, sas=(), engine=engine, seed=seed) if far_cfg is not None else None
        try:
            found = _swept(router, far, config, asked)
        finally:
            for each in (router, far):
                if each is not None:
                    each.engine.close()
    from qfp.mtu import SCHEMA

    facts = {"schema": SCHEMA, "status": DONE, "config": str(config), "peer": str(peer) if peer else None,
             "issues": [issue_facts(issue) for issue in router.issues],
             "problems": problem_facts([*router.issues, *(far.issues if far is not None else [])]),
             **found}  # fmt: skip
    if picture is not None:
        chart.write(picture, facts["paths"], clean(f"Packet sizes through {config}"))
        facts["picture"] = str(picture)
    if json_out:
        put_json(facts)
    else:
        print_mtu(facts)
    return DONE


def _swept(router: Any, far: Any, config: Path, asked: Facts) -> Facts:
    """The facts of all paths, with a bar on long work."""
    from qfp.cli.progress import Bar
    from qfp.mtu import SweepFault, report

    with Bar(clean(config.name), None) as bar:
        try:
            return dict(report(router, far, on_progress=bar.callback and bar.step, **asked).facts())
        except SweepFault as error:
            raise CommandError(str(error), FAILED) from error


def _sizes(text: str) -> tuple[int, int]:
    """First and last size of A-B. Raises CommandError."""
    first, dash, last = text.partition("-")
    low, high = (whole(end, 0, 1 << 32) for end in (first, last if dash else first))
    if low is None or high is None:
        raise CommandError(f"--sizes {shown(text)}: give two IP sizes in bytes, as in 40-9216, or one")
    return low, high


def _addresses(texts: list[str]) -> tuple[Any, ...]:
    try:
        return tuple(ip_address(text) for text in texts)
    except ValueError as error:
        raise CommandError(f"--to: {error}: give an IPv4 or IPv6 address") from None


# ------------------------------------------------------------------------------------------------------- text
def print_mtu(facts: Facts) -> None:
    """The answer as text; the facts are those of `--json`."""
    out = console()
    for path in facts["paths"]:
        _say(out, f"{path['where']}: {path['rule']}", "bold")
        if path["note"] is not None:
            _say(out, f"  not swept: {path['note']}", "yellow")
            continue
        _print_path(out, path)
    for warning in facts["warnings"]:
        _say(out, warning, "yellow")
    if "picture" in facts:
        _say(out, f"picture: {facts['picture']}")


def _say(out: Any, text: str, style: str = "") -> None:
    from rich.text import Text

    out.print(Text(clean(text), style=style), soft_wrap=True)


def _print_path(out: Any, path: Facts) -> None:
    way = f"  in at {path['ingress']}, out at {path['egress']}, {path['local']} -> {path['peer']}"
    if path["peer_ingress"]:
        way += f"; at the peer in at {path['peer_ingress']}, out at {', '.join(path['peer_egress']) or '-'}"
    _say(out, way)
    if path["peer_note"]:
        _say(out, f"  {path['peer_note']}", "yellow")
    if path["sas"]:
        out.print(table("", SA_COLUMNS, [_sa_row(sa) for sa in path["sas"]], left=4))
    for line in path["lines"]:
        _print_line(out, line)
    _print_bar(out, path)
    _print_holes(out, path)
    _print_advice(out, path["advice"])


def _sa_row(sa: Facts) -> tuple[Any, ...]:
    names = sa["encr"] if sa["integ"] == "none" else f"{sa['encr']} {sa['integ']}"
    algorithms = f"esp {names}" if sa["proto"] == "esp" else f"ah {sa['integ']}"
    mode = sa["mode"] + (", UDP" if sa["natt"] else "")
    end = "ours" if sa["end"] == "near" else "the peer's"
    return sa["spi"], end, algorithms, mode, sa["path_mtu"], sa["plaintext_mtu"], sa["mtu_adj"]


def _print_line(out: Any, line: Facts) -> None:
    from qfp.mtu.bands import line_name
    from qfp.mtu.words import peer_words, router_words, span

    title = f"{line_name(line['family'], line['df'])}: {line['protocol']} {line['src']} -> {line['dst']}, "
    title += f"hosts' MTU {line['host_mtu']}"
    if line["largest_whole"]:
        title += f"; largest that goes whole {line['largest_whole']['size']}, ping {line['largest_whole']['ping']}"
    if not line["bands"]:
        _say(out, f"  {title}: no size that was asked for is long enough for its headers", "yellow")
        return
    columns = ["IP bytes", "ping", "at this router"]
    peer = any(band["fate"]["peer"] for band in line["bands"])
    rows = []
    for band in line["bands"]:
        row = [span(band["first"], band["last"]), span(*band["ping"]), router_words(line["family"], band)]
        rows.append([*row, peer_words(band)] if peer else row)
    out.print(table(title, [*columns, "at the peer"] if peer else columns, rows, left=len(columns) + 1))


def _print_bar(out: Any, path: Facts) -> None:
    """The stretched bar: letters, coloured at a terminal."""
    from rich.text import Text

    from qfp.mtu.picture import legend, rows, scale, ticks

    found = rows(path)
    if not found:
        return
    axis = scale(found, max(BAR_MIN, min(BAR_MAX, out.width - MARGIN)))
    for row in found:
        text = Text("  " + row.name.ljust(MARGIN - 4) + "  ")
        for cell in row.cells:
            letter, colour, _, _ = cell.look
            width = axis.at(cell.last + 1) - axis.at(cell.first)
            text.append(("/" + letter * (width - 1)) if cell.host else letter * width, style=f"black on {colour}")
        out.print(text, soft_wrap=True)
    out.print(Text(" " * MARGIN + ticks(axis)), soft_wrap=True)
    looks = legend(found)
    if any(cell.host for row in found for cell in row.cells):
        looks.append(("/", "default", "in fragments of the host's making"))
    for letter, colour, meaning in looks:
        out.print(Text(" " * MARGIN).append(f"{letter} ", style=f"bold {colour}").append(meaning), soft_wrap=True)


def _print_holes(out: Any, path: Facts) -> None:
    from qfp.mtu.words import hole_words

    none = "no black holes: every size that was swept goes through whole"
    _say(out, "black holes" if path["black_holes"] else none, "bold")
    for hole in path["black_holes"]:
        style = "yellow" if hole["kind"].startswith("needs") else "red"
        _say(out, f"  {hole_words(hole, path['lines'])}", style)


def _print_advice(out: Any, advice: Facts) -> None:
    _say(out, "recommendation", "bold")
    for line in advice["configuration"]:
        _say(out, f"    {line}", "green")
    steps = advice["arithmetic"]
    sums = f"{steps[0]['bytes']} ({steps[0]['what']})"
    for step in steps[1:]:
        sums += f" {'-' if step['bytes'] < 0 else '+'} {abs(step['bytes'])} ({step['what']})"
    _say(out, f"  largest packet that stays one packet: {sums} = {advice['largest']}")
    for family, found in advice["families"].items():
        header = {"4": 20, "6": 40}[family]
        _say(out, f"  IPv{family}: MSS {found['mtu']} - {header + 20} (IP and TCP headers) = {found['mss']}")
    for note in advice["notes"]:
        _say(out, f"  {note}")
