"""`qfp run`: a trace through a configured router."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import CommandError, guarded, issue_facts, problem_facts
from qfp.cli.output import note, put_json, show_issues

SCHEMA = "qfp-run/1"


@guarded
def run(
    config: o.ConfigArg,
    trace: o.TraceArg,
    ingress: o.Ingress,
    keying: o.KeyingOption = o.Keying.AUTO,
    keys: o.Keys = None,
    output: o.Output = None,
    verdicts: o.Verdicts = None,
    export_sas: o.ExportSas = None,
    export_esp_sa: o.ExportEspSa = None,
    log: o.Log = None,
    rekey: o.Rekey = True,
    engine: o.Engine = None,
    batch: o.BatchSize = 0,
    threads: o.Threads = 1,
    seed: o.Seed = 1,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    strict_keys: o.StrictKeys = False,
    offload: Annotated[
        bool, typer.Option("--offload", help="Take packets whose sender left checksum or length to its network card.")
    ] = False,
    checkpoint: o.Checkpoint = None,
    every: o.Every = None,
    resume: o.Resume = None,
    save: o.Save = None,
    json_out: o.Json = False,
) -> int:
    """Run a trace through a configured router: packets out, a verdict for each frame, counters."""
    given = dict(locals())
    if keying is o.Keying.IKE:
        raise CommandError(o.IKE_REMEDY)
    cfg = load_config(config, platform, release, allow_null, strict)
    from qfp.cli.continued import asked
    from qfp.cli.home import STATE, home_of
    from qfp.cli.keys import read, skipped_facts
    from qfp.cli.progress import compile_note
    from qfp.cli.session import Outputs, finish
    from qfp.cli.summary import print_run

    outputs = Outputs(output, verdicts, log, _given(sas=export_sas, esp_sa=export_esp_sa), save)
    inputs = _given(config=config, trace=trace, keys=keys)
    outputs.check(list(inputs.values()))
    continued = asked(checkpoint, resume, every, trace)
    sas = read(keys, strict_keys, cfg.allow_null, captures=False) if keys is not None else ()
    with home_of(save, "run", given, inputs) as home, compile_note():
        router = make_router(
            cfg, keying=keying.value, sas=sas, engine=engine, threads=threads, batch=batch, seed=seed, rekey=rekey,
            offload=offload,
        )  # fmt: skip
        name = router.interface(ingress)
        writer = _exporter(router, export_sas, export_esp_sa)
        facts = _through(router, name, trace, outputs, writer, continued, json_out)
        facts = _described(facts, router, config, trace, name, keying.value, seed)
        facts |= {"keys_skipped": skipped_facts(sas), "status": finish(trace, facts)}
        if home is not None:
            home.write(facts, {STATE: router}, outputs.results())
    if json_out:
        put_json(facts)
    else:
        print_run(facts)
    return int(facts["status"])


def _given(**files: Path | None) -> dict[str, Path]:
    """Files that were named, by word."""
    return {word: path for word, path in files.items() if path is not None}


def _through(
    router: Any, name: str, trace: Path, outputs: Any, writer: Any, continued: Any, json_out: bool
) -> dict[str, Any]:
    """Run a trace that arrives at an interface: the facts of the run, with hints at transform sets of the other end,
    which go to stderr too."""
    from qfp.cli.session import Session
    from qfp.control.other_sets import OtherSets

    def through(source: Any, sink: Any, takers: Any, progress: Any) -> None:
        router.run(source, name, sink, takers, progress)

    others = OtherSets(router.plane)
    watch, quiet = others if others.wanted else None, router.config.platform.arlog_suppress
    session = Session(router, trace, outputs, through, router.stages, quiet, writer, watch, name, continued)
    try:
        facts = session.execute(json_out)
    finally:
        router.engine.close()
    facts["hints"] = others.hints()
    for hint in facts["hints"]:
        note(hint)
    return facts


def load_config(
    path: Path, platform: str | None = None, release: str | None = None, allow_null: bool = False, strict: bool = False
) -> Any:
    """A configuration; its issues go to stderr. What has errors in it is missing from what runs.

    strict: a configuration with errors is refused. Raises ConfigError, CommandError.
    """
    from qfp.config import load

    cfg = load(path, platform, release, allow_null)
    show_issues(cfg.issues)
    if strict and not cfg.ok:
        count = len(cfg.errors)
        errors = "1 error" if count == 1 else f"{count} errors"
        raise CommandError(f"{path}: {errors}: correct the lines named above", issues=cfg.issues)
    return cfg


def make_router(cfg: Any, *, sas: Any, engine: o.EngineName | None, **options: Any) -> Any:
    """A router of a configuration with SAs of a key file, if any; what it finds besides goes to stderr.

    Raises KeyingError, EngineError.
    """
    from qfp.router import Router

    router = Router(cfg, keys=sas, engine=engine and engine.value, **options)
    show_issues(router.issues[len(cfg.issues) :])
    return router


def _exporter(router: Any, sas: Path | None, esp_sa: Path | None) -> Any:
    """Writes the key files that were asked for, after the run; None for none."""
    if sas is None and esp_sa is None:
        return None
    from qfp.control.export import exported
    from qfp.trace.keyfile import write_esp_sa, write_sas

    def write() -> None:
        found = exported(router.plane)
        if sas is not None:
            write_sas(sas, found)
        if esp_sa is not None:
            for sentence in write_esp_sa(esp_sa, found):
                note(f"{esp_sa}: {sentence}")

    return write


def _described(facts: Any, router: Any, config: Path, trace: Path, name: str, keying: str, seed: int) -> dict[str, Any]:
    """The facts of a run in the order of the contract."""
    from qfp.cli.facts import spd_facts

    return {
        "schema": SCHEMA, "status": 0, "config": str(config), "trace": str(trace), "ingress": name, "keying": keying,
        "seed": seed, "issues": [issue_facts(issue) for issue in router.issues],
        "problems": problem_facts(router.issues), **facts, "spd": spd_facts(router),
    }  # fmt: skip
