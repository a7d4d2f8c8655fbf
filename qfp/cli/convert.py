"""`qfp convert`: a trace from format to format."""

from pathlib import Path
from typing import Annotated

import typer

from qfp.cli import options as o
from qfp.cli.errors import DAMAGED, DONE, guarded
from qfp.cli.output import clean, complain, note, put_json

SCHEMA = "qfp-convert/1"


@guarded
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="pcap, pcapng (also .gz, .zst), Parquet or Arrow.")],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="Ends in .pcap, .pcapng (.gz, .zst), .parquet, .arrow.")
    ],
    json_out: o.Json = False,
) -> int:
    """Write a trace in another format; times, link types and interfaces are kept."""
    from qfp.cli.progress import Bar, compile_note
    from qfp.cli.session import Outputs
    from qfp.trace import open_source
    from qfp.trace.convert import convert as write
    from qfp.trace.losses import sentence

    Outputs(packets=target).check([source])
    with open_source(source) as opened:
        total = opened.total_bytes
    with compile_note(), Bar(clean(source.name), total) as bar:
        done = write(source, target, bar.callback)
    if done.damage is not None:
        complain(clean(f"{source}: damaged at {done.damage}; everything before it was written"), style="yellow")
    if done.losses:
        note(f"{target}: does not hold {sentence(done.losses)} of {source}")
    status = DONE if done.damage is None else DAMAGED
    if json_out:
        damage = done.damage and vars(done.damage)
        put_json({"schema": SCHEMA, "status": status, "source": str(source), "target": str(target),
                  "frames": done.frames, "bytes": done.bytes, "damage": damage, "left_out": done.losses})  # fmt: skip
    else:
        typer.echo(clean(f"{target}: {done.frames} frames, {done.bytes} bytes"))
    return status
