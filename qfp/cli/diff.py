"""`qfp diff`: the same packets through qfp and through a reference library."""

from pathlib import Path
from typing import Annotated

import typer

from qfp.cli import options as o
from qfp.cli.errors import guarded


@guarded
def diff(
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the cases.")] = 1,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Packets to compare.")] = 1000,
    keys: o.Keys = None,
    trace: Annotated[Path | None, typer.Option("--trace", metavar="TRACE", help="A capture instead of cases.")] = None,
    allow_null: o.AllowNull = False,
    strict_keys: o.StrictKeys = False,
    json_out: o.Json = False,
) -> int:
    """Compare qfp with scapy's IPsec byte for byte, shrinking to the smallest case that differs (exit status 1)."""
    from qfp.cli.diff_command import run_diff

    found = run_diff(
        seed, count, str(keys) if keys else None, str(trace) if trace else None, json_out, allow_null=allow_null,
        strict_keys=strict_keys,
    )  # fmt: skip
    return int(found)
