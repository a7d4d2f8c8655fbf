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
    engine: o.Engine = None,
    seed: o.Seed = 1,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    json_out: o.Json = False,
) -> int:
    """Say what each stage decided for one frame: the frames before it are run first, because state depends on them."""
    _check(files, ingress, keys, keying)
    from qfp.cli.progress import compile_note

    with compile_note():
        row, problems = 0, []
        if len(files) == 2:
            cfg = load_config(files[0], platform, release, allow_null, strict)
            owner = make_router(cfg, keying=keying.value, keys=keys, engine=engine, seed=seed)
            problems = problem_facts(owner.issues)
            row = owner.interfaces.row[owner.interface(str(ingress))]
        else:
            assert keys is not None
            owner = make_decryptor(keys, window=window, keep_clear=keep_clear, engine=engine, allow_null=allow_null)
        facts = _explained(owner, files[-1], frame, row)
    if json_out:
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

    out = console()
    head = f"frame {facts['frame']}: {facts['link']}, {facts['captured']} of {facts['wire']} bytes, {facts['time']}"
    out.print(Text(clean(f"{head}, in {facts['in_if']}"), style="bold"), soft_wrap=True)
    for step in facts["stages"]:
        line = Text(f"  {step['stage']:<9}", style="cyan")
        line.append(clean(step["decision"]), style="red" if "drop" in step else "default")
        out.print(line, soft_wrap=True)
        for text in _details(step):
            out.print(Text(f"           {clean(text)}", style="dim"), soft_wrap=True)
    out.print(Text(clean(_verdict(facts)), style="bold"), soft_wrap=True)


def _details(step: dict[str, Any]) -> list[str]:
    """Further lines of a stage: its cause by other names, its SA, its entry, its window."""
    found = []
    facts = step["facts"]
    if "drop" in step:
        found.append(_names(step["drop"]))
    if sa := facts.get("sa"):
        found.append(_sa(sa) if isinstance(sa, dict) else f"SA {sa}")
    if entry := facts.get("entry"):
        found.append(f"SPD entry {entry['sp']}: {entry['where']}, {entry['rule']}, peer {entry['peer']}")
    for level in facts.get("levels", ()):
        w = level["window"]
        icv = "good" if level["icv_ok"] else "not good"
        found.append(
            f"SA {level['sa']} (SPI {level['spi']}): number {level['seq']} {w['number']}, ICV {icv}, "
            f"window of {w['size']}, top {w['top_before']} -> {w['top_after']}"
        )
    return found


def _names(drop: dict[str, Any]) -> str:
    code = f"{drop['xe_code']} " if drop["xe_code"] is not None else ""
    return f"cause {drop['cause']}; IOS XE {code}{drop['xe_name']}; Linux {drop['linux']}"


def _sa(sa: dict[str, Any]) -> str:
    algorithms = sa["encr"] if sa["integ"] == "none" else f"{sa['encr']} {sa['integ']}"
    esn = ", ESN" if sa["esn"] else ""
    return (
        f"SA {sa['handle']} (connection {sa['conn_id']}): {sa['proto']} {sa['spi']} {sa['src']} -> {sa['dst']}, "
        f"{sa['mode'] or 'any'} mode, {algorithms}{esn}"
    )


def _verdict(facts: dict[str, Any]) -> str:
    if facts["cause"]:
        return f"{facts['verdict']} at {facts['stage']}: {facts['cause']['cause']}. {facts['cause']['sentence']}"
    if facts["len_out"] and facts["out_if"] == "-":
        return f"{facts['verdict']}: {facts['len_out']} bytes, output record {facts['first_out']}"
    if facts["len_out"]:
        return (
            f"{facts['verdict']}: {facts['len_out']} bytes out of {facts['out_if']}, output record {facts['first_out']}"
        )
    return str(facts["verdict"])
