"""`qfp explain`: what each stage decided for one frame, and why."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.decrypt import make_decryptor
from qfp.cli.errors import DAMAGED, DONE, CommandError, guarded, problem_facts
from qfp.cli.output import clean, console, put_json
from qfp.cli.run import load_config, make_router

SCHEMA = "qfp-explain/1"


@guarded
def explain(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="[CONFIG] TRACE", help="Configuration and trace, or with --keys the trace alone."),
    ],
    frame: Annotated[int, typer.Option("--frame", metavar="N", min=0, help="Record number, from 0.")],
    ingress: Annotated[str | None, typer.Option("--in", metavar="IFACE", help="Interface at which it arrives.")] = None,
    keys: o.Keys = None,
    keying: o.KeyingOption = o.Keying.AUTO,
    window: o.Window = None,
    keep_clear: o.KeepClear = False,
    rekey: o.Rekey = True,
    engine: o.Engine = None,
    seed: o.Seed = 1,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    strict_keys: o.StrictKeys = False,
    json_out: o.Json = False,
) -> int:
    """Say what each stage decided for one frame: the frames before it are run first, because state depends on them."""
    _check(files, ingress, keys, keying)
    from qfp.cli.keys import read, skipped_facts
    from qfp.cli.progress import compile_note

    sas: Any = ()
    with compile_note():
        row, problems = 0, []
        if len(files) == 2:
            cfg = load_config(files[0], platform, release, allow_null, strict)
            sas = read(keys, strict_keys, cfg.allow_null, captures=False) if keys is not None else ()
            owner = make_router(cfg, keying=keying.value, sas=sas, engine=engine, seed=seed, rekey=rekey)
            problems = problem_facts(owner.issues)
            row = owner.interfaces.row[owner.interface(str(ingress))]
        else:
            assert keys is not None
            sas = read(keys, strict_keys, allow_null)
            owner = make_decryptor(sas, window=window, keep_clear=keep_clear, engine=engine)
        facts = _explained(owner, files[-1], frame, row)
    if json_out:
        facts["keys_skipped"] = skipped_facts(sas)
        put_json({"schema": SCHEMA, "status": DONE, "trace": str(files[-1]), "problems": problems, **facts})
    else:
        _print(facts)
    return DONE


def _check(files: list[Path], ingress: str | None, keys: Path | None, keying: o.Keying) -> None:
    """Refuse combinations that mean nothing. Raises CommandError."""
    if keying is o.Keying.IKE:
        raise CommandError(o.IKE_REMEDY)
    if len(files) > 2:
        raise CommandError("explain takes a configuration and a trace, or with --keys a trace alone")
    if len(files) == 2 and ingress is None:
        raise CommandError("explain with a configuration needs --in IFACE: the interface at which the trace arrives")
    if len(files) == 1 and keys is None:
        raise CommandError("explain needs a configuration before the trace, or --keys FILE")


def _explained(owner: Any, trace: Path, frame: int, ingress: int) -> dict[str, Any]:
    """The facts of one frame; a frame behind damage is reported as damage."""
    from qfp.explain import ExplainError, explain_trace
    from qfp.trace import open_source

    with open_source(trace) as source:
        try:
            return explain_trace(owner, source, frame, ingress)
        except ExplainError as error:
            damage = source.damage(owner.tables.t)
            if damage is None:
                raise
            raise CommandError(f"{error}; the trace is damaged: {damage}", DAMAGED) from None


# ------------------------------------------------------------------------------------------------------- text
def _print(facts: dict[str, Any]) -> None:
    from rich.text import Text

    from qfp.explain import text

    out = console()
    out.print(Text(clean(text.head(facts)), style="bold"), soft_wrap=True)
    for step in facts["stages"]:
        for said in text.lines(step):
            line = Text(f"  {said.stage:<{text.WIDTH}}", style="cyan")
            style = "red" if said.drop else "default" if said.stage else "dim"
            line.append(clean(said.text), style=style)
            out.print(line, soft_wrap=True)
    out.print(Text(clean(text.tail(facts)), style="bold"), soft_wrap=True)
