"""`qfp replay-lab`: which replay window a capture needs; `qfp strip`: its numbers without its packets. No keys."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import DAMAGED, DONE, CommandError, guarded
from qfp.cli.output import busiest, clean, complain, console, note, put_json, table
from qfp.coerce import shown, whole
from qfp.naming import together

Facts = dict[str, Any]
BAR = 40  # columns of the longest bar
BLOCKS = " ▁▂▃▄▅▆▇█"
SIZE_MAX = 1 << 20  # packets of a window, as in antireplay/study.py
SIZES_MAX = 1024  # windows that are tried at a time
STRIP_SCHEMA = "qfp-strip/1"
HISTOGRAMS = (
    ("extent", "reorder extent, packets since the first larger number"),
    ("delay_ns", "late by, since the first larger number arrived"),
    ("bursts", "bursts, late packets in a row"),
)
Source = Annotated[
    Path, typer.Argument(metavar="CAPTURE", help="pcap, pcapng (also .gz, .zst), Parquet, Arrow, or from qfp strip.")
]


@guarded
def replay_lab(
    source: Source,
    windows: Annotated[
        str, typer.Option("--windows", metavar="N,…", help="Window sizes; A-B stands for A and its doublings up to B.")
    ] = "32-8192",
    spi: Annotated[
        list[str] | None, typer.Option("--spi", metavar="HEX", help="Only this SPI; may be given several times.")
    ] = None,
    classes: Annotated[
        str, typer.Option("--classes", metavar="FILE|dscp", help="Traffic classes: lines `NAME DSCP …`, or every DSCP.")
    ] = "dscp",
    selector_bits: Annotated[
        int | None,
        typer.Option("--selector-bits", metavar="N", help="The number fields hold a selector of N bits and a counter."),
    ] = None,
    selector_pos: Annotated[
        str, typer.Option("--selector-pos", metavar="msb|lsb", help="Where the selector is.")
    ] = "msb",
    picture: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PICTURE", help="Draw it: .svg, .png or .pdf.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option("--verdicts", metavar="V", help="One row a packet: .parquet or .arrow.")
    ] = None,
    most: Annotated[
        int,
        typer.Option("--most", metavar="N", min=0, help="SAs that are reported one by one, the busiest; 0 is all."),
    ] = 1000,
    rows: Annotated[
        Path | None, typer.Option("--table", metavar="T", help="One row an SA, scheme and window: .parquet or .arrow.")
    ] = None,
    json_out: o.Json = False,
) -> int:
    """Try every replay window on a capture, with one sequence-number space and with many. Needs no keys."""
    sizes, spis = _windows(windows), [_spi(text) for text in spi or []]
    from qfp.antireplay import SCHEMA, chart, report
    from qfp.cli.progress import Bar, compile_note

    named = {"picture": picture, "verdicts": verdicts, "table": rows}
    _check_outputs(source, named)
    if picture is not None:
        chart.check(picture)
    with compile_note(helper=False), together():
        with Bar(clean(source.name), _total(source)) as bar:
            found = report(source, windows=sizes, spis=spis, classes=None if classes == "dscp" else Path(classes),
                           selector=_selector(selector_bits, selector_pos), most=most, verdicts=verdicts,
                           table=rows, progress=bar.callback)  # fmt: skip
        if picture is not None:
            chart.write(picture, found.sas, found.totals["sas"], clean(f"Replay windows for {source}"))
    facts = {"schema": SCHEMA, "status": DONE if found.damage is None else DAMAGED, "source": str(source),
             **found.facts(), "outputs": {k: str(path) for k, path in named.items() if path is not None}}  # fmt: skip
    _tell_damage(source, facts["damage"], "studied")
    _tell(source, found.remarks)
    if json_out:
        put_json(facts)
    else:
        print_lab(facts)
    return int(facts["status"])


@guarded
def strip(
    source: Annotated[Path, typer.Argument(metavar="CAPTURE", help="pcap, pcapng (also .gz, .zst), Parquet or Arrow.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="TABLE", help="Ends in .parquet or .arrow.")],
    salt: Annotated[
        str | None, typer.Option("--salt", metavar="TEXT", help="Key of the hashes, secret; the default is random.")
    ] = None,
    json_out: o.Json = False,
) -> int:
    """Write what `replay-lab` needs of a capture, to be shared: no address, no SPI, no payload."""
    from qfp.antireplay import strip as write
    from qfp.antireplay.report import besides
    from qfp.antireplay.strip import STRIPPED
    from qfp.cli.progress import Bar, compile_note

    _check_outputs(source, {"table": output})
    with compile_note(helper=False), Bar(clean(source.name), _total(source)) as bar:
        found = write(source, output, salt, bar.callback)
    damage = None if found.damage is None else vars(found.damage)
    _tell_damage(source, damage, "written")
    capture, remarks = besides(found)
    _tell(source, remarks)
    status = DONE if damage is None else DAMAGED
    if json_out:
        put_json({"schema": STRIP_SCHEMA, "status": status, "source": str(source), "target": str(output),
                  "rows": len(found), "sas": len(found.names), "packets": vars(found.counts),
                  "columns": STRIPPED.names, "damage": damage, "capture": capture})  # fmt: skip
    else:
        columns = ", ".join(STRIPPED.names)
        typer.echo(clean(f"{output}: {len(found):,} rows of {_sas(len(found.names))}; columns {columns}"))
    return status


def _total(source: Path) -> int | None:
    """Of the progress bar. Raises TraceError."""
    from qfp.antireplay.strip import is_stripped
    from qfp.trace import open_source
    from qfp.trace.output import special

    if is_stripped(source) or special(source):  # a pipe can be opened once
        return None
    with open_source(source) as opened:
        return opened.total_bytes


def _check_outputs(source: Path, named: dict[str, Path | None]) -> None:
    from qfp.cli.session import Outputs

    files = {word: path for word, path in named.items() if path is not None}
    Outputs(keys=files).check([source])


def _tell_damage(source: Path, damage: Facts | None, what: str) -> None:
    if damage is not None:
        where = f"record {damage['record']} at byte {damage['offset']}"
        message = f"{source}: damaged at {where}: {damage['message']}; everything before it was {what}"
        complain(clean(message), style="yellow")


def _tell(source: Path, remarks: list[str]) -> None:
    for remark in remarks:
        note(f"{source}: {remark}")


def _windows(text: str) -> list[int]:
    """Sizes of `64,1024` or `32-8192`. Raises CommandError."""
    sizes: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = (whole(end, 1, SIZE_MAX) for end in (first, last if dash else first))
        if low is None or high is None or low > high:
            raise CommandError(f"--windows {shown(text)}: give packets, as in 64,1000 or 32-8192 (32 and its "
                               f"doublings); give sizes from 1 to {SIZE_MAX}")  # fmt: skip
        while low <= high:
            sizes.append(low)
            low *= 2
    if len(set(sizes)) > SIZES_MAX:
        raise CommandError(f"--windows: {len(set(sizes)):,} sizes: give at most {SIZES_MAX}")
    return sizes


def _spi(text: str) -> int:
    """An SPI, or the hash of one. Raises CommandError."""
    value = whole(text.removeprefix("#"), 1, (1 << 64) - 1, 16)
    if value is None:
        raise CommandError(f"--spi {shown(text)}: give it in hexadecimal, as in 0x4954c4d2 (for a stripped table: its "
                           "hash)")  # fmt: skip
    return value


def _selector(bits: int | None, where: str) -> Any:
    """Raises CommandError, ReplayLabError."""
    from qfp.antireplay.numbers import Selector

    if where not in ("msb", "lsb"):
        raise CommandError(f"--selector-pos {shown(where)}: give msb (the selector is at the top) or lsb")
    return None if bits is None else Selector(bits, where == "msb")


# ------------------------------------------------------------------------------------------------------- text
def print_lab(facts: Facts) -> None:
    """The answer as text; the facts are those of `--json`."""
    out = console()
    p = facts["packets"]
    line = f"{p['frames']:,} frames, {p['headers']:,} ESP and AH headers, {_sas(facts['totals']['sas'])}"
    for key, words in (("later_fragments", "later fragments, which carry no header"),
                       ("cut_short", "captured too short to see the header"), ("other", "other packets")):  # fmt: skip
        line += f"; {p[key]:,} {words}" if p[key] else ""
    _say(out, line)
    shown, _ = busiest(facts["sas"])
    for sa in shown:
        _print_sa(out, sa)
    if len(shown) < facts["totals"]["sas"]:
        _print_others(out, facts, len(shown))
    for word, name in facts["outputs"].items():
        _say(out, f"{word}: {name}")


def _say(out: Any, text: str, style: str = "") -> None:
    from rich.text import Text

    out.print(Text(clean(text), style=style), soft_wrap=True)


def _print_sa(out: Any, sa: Facts) -> None:
    title = f"{sa['proto']} {sa['spi']} to {sa['dst']}: {sa['packets']:,} packets, {sa['bytes']:,} bytes"
    if sa["packets_per_second"] is not None:
        title += f", {_short(sa['packets_per_second'])} packets/s, {_short(sa['bits_per_second'])} bits/s"
    out.print()
    _say(out, title, "bold")
    _say(out, "  classes: " + ", ".join(f"{c['class']} {c['packets']:,}" for c in sa["classes"]))
    sizes = [drop["window"] for drop in sa["schemes"][0]["drops"]]
    columns = ["scheme", "spaces", "duplicates", "gaps", "late", "loss-free N", *(f"N={w}" for w in sizes), "drops"]
    rows = [[s["scheme"], s["spaces"], s["duplicates"], s["gaps"], s["reordering"]["late"], s["loss_free_window"],
             *(drop["late"] for drop in s["drops"]), _spark(s)] for s in sa["schemes"]]  # fmt: skip
    out.print(table("", columns, rows))
    if sa["schemes"][0]["zeros"]:
        _say(out, f"  {sa['schemes'][0]['zeros']:,} packets carry number 0, which every window refuses", "yellow")
    _print_advice(out, sa["schemes"])
    _print_reordering(out, sa["schemes"][0])


def _print_others(out: Any, facts: Facts, shown: int) -> None:
    """How many SAs are not shown, and the sums over all."""
    totals = facts["totals"]
    where = (
        f"--json has the {len(facts['sas']):,} busiest, --table all"
        if facts["left_out"]["sas"]
        else "--json has them all"
    )
    out.print()
    _say(out, f"… and {totals['sas'] - shown:,} more (the {shown:,} busiest are shown; {where})")
    out.print()
    _say(out, f"all {_sas(totals['sas'])}: {totals['packets']:,} packets, {totals['bytes']:,} bytes", "bold")
    columns = ["scheme", "duplicates", "gaps", "late", "loss-free N",
               *(f"N={drop['window']}" for drop in totals["schemes"][0]["drops"]), "drops"]  # fmt: skip
    rows = [[s["scheme"], s["duplicates"], s["gaps"], s["late"], s["loss_free_window"],
             *(drop["late"] for drop in s["drops"]), _spark({**s, "packets": totals["packets"]})]
            for s in totals["schemes"]]  # fmt: skip
    out.print(table("", columns, rows))


def _spark(scheme: Facts) -> Any:
    """Drops by window, a block each, by the logarithm: the lowest block is one packet."""
    from math import log2

    from rich.text import Text

    most = log2(max(2, scheme["packets"]))
    lost = [drop["late"] for drop in scheme["drops"]]
    return Text("".join(BLOCKS[1 + round((len(BLOCKS) - 2) * log2(k) / most) if k else 0] for k in lost))


def _print_advice(out: Any, schemes: list[Facts]) -> None:
    """What to configure, on this router."""
    plain, many = schemes[0], schemes[2] if len(schemes) > 2 else None
    if plain["loss_free_window"] == 1:
        _say(out, "  in order: any window will do", "green")
        return
    if plain["router_window"] is not None:
        _say(out, f"  crypto ipsec security-association replay window-size {plain['router_window']}", "green")
        return
    text = f"  one space needs a window of {plain['loss_free_window']:,}, more than the router takes (1,024)"
    if many is not None and many["router_window"] is not None and many["loss_free_window"] < plain["loss_free_window"]:
        text += f"; with a space a class (multi-sn) {many['router_window']} will do"
    _say(out, text, "yellow")


def _print_reordering(out: Any, scheme: Facts) -> None:
    """Histograms of the first scheme: the numbers as they travel."""
    found = scheme["reordering"]
    if not found["late"]:
        return
    three = found["n_reordering"]["three_or_more"]
    _say(out, f"  {scheme['scheme']}: {found['late']:,} packets late ({100 * found['ratio']:.3g} %), "
              f"{three:,} of them 3-reordered or more; largest age {found['age']['max']:,} numbers")  # fmt: skip
    for key, words in HISTOGRAMS:
        h = found[key]
        unit = _time if key == "delay_ns" else _count
        _say(out, f"  {words}: median {unit(h['median'])}, 99 % {unit(h['p99'])}, at most {unit(h['max'])}")
        most = max(b["count"] for b in h["bins"])
        labels = [_span(b, unit) for b in h["bins"]]
        width = max(map(len, labels))
        for b, label in zip(h["bins"], labels, strict=True):
            bar = "█" * max(1, round(BAR * b["count"] / most))
            _say(out, f"    {label:>{width}}  {bar} {b['count']:,}")


def _span(b: Facts, unit: Any) -> str:
    return unit(b["from"]) if b["from"] == b["to"] else f"{unit(b['from'])} to {unit(b['to'])}"


def _count(value: int) -> str:
    return f"{value:,}"


def _time(ns: int) -> str:
    """A duration with three digits that count."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


def _sas(count: int) -> str:
    return "1 SA" if count == 1 else f"{count:,} SAs"


def _short(value: float) -> str:
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
