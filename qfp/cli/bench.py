"""`qfp bench`: throughput of the stages and of the whole path."""

from typing import Annotated

import typer

from qfp.cli import options as o
from qfp.cli.errors import guarded


@guarded
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer sizes and rounds; ends within 40 s.")] = False,
    json_out: o.Json = False,
) -> int:
    """Measure the whole path and the stages: ns a packet, packets and bits a second."""
    from qfp.bench import run_bench
    from qfp.cli.progress import compile_note

    with compile_note():
        return int(run_bench(quick, json_out))
