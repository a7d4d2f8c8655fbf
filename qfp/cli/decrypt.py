"""`qfp decrypt`: a capture and a key file, no configuration."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import guarded
from qfp.cli.output import put_json

SCHEMA = "qfp-decrypt/1"


@guarded
def decrypt(
    trace: o.TraceArg,
    keys: Annotated[Path, typer.Option("--keys", metavar="FILE", help=o.KEYS_HELP)],
    output: o.Output = None,
    verdicts: o.Verdicts = None,
    window: o.Window = None,
    keep_clear: o.KeepClear = False,
    selectors: o.Selectors = True,
    log: o.Log = None,
    engine: o.Engine = None,
    batch: o.BatchSize = 0,
    threads: o.Threads = 1,
    allow_null: o.AllowNull = False,
    strict_keys: o.StrictKeys = False,
    checkpoint: o.Checkpoint = None,
    every: o.Every = None,
    resume: o.Resume = None,
    save: o.Save = None,
    json_out: o.Json = False,
) -> int:
    """Decrypt a capture with a key file; say what failed and why."""
    given = dict(locals())
    from qfp.cli.continued import asked
    from qfp.cli.home import STATE, home_of
    from qfp.cli.keys import note_wildcards, read, skipped_facts
    from qfp.cli.progress import compile_note
    from qfp.cli.session import Outputs, Session, finish
    from qfp.cli.summary import print_decrypt

    outputs = Outputs(output, verdicts, log, home=save)
    outputs.check([trace, keys])
    continued = asked(checkpoint, resume, every, trace)
    sas = read(keys, strict_keys, allow_null)
    with home_of(save, "decrypt", given, {"trace": trace, "keys": keys}) as home, compile_note():
        opener = make_decryptor(
            sas, window=window, keep_clear=keep_clear, selectors=selectors, engine=engine, threads=threads, batch=batch
        )
        session = Session(opener, trace, outputs, opener.run, opener.stages, continued=continued)
        try:
            facts = session.execute(json_out)
        finally:
            opener.engine.close()
        facts = {
            "schema": SCHEMA, "status": finish(trace, facts), "trace": str(trace), "keys": str(keys),
            "keys_skipped": skipped_facts(sas), "window": window, "selectors": opener.selects, **facts,
        }  # fmt: skip
        if home is not None:
            home.write(facts, {STATE: opener}, outputs.results())
    note_wildcards(keys, opener)
    if json_out:
        put_json(facts)
    else:
        print_decrypt(facts)
    return int(facts["status"])


def make_decryptor(sas: Any, *, engine: o.EngineName | None, **options: Any) -> Any:
    """A decryptor over the SAs of a key file. Raises EngineError."""
    from qfp.decrypt import Decryptor

    return Decryptor(sas, engine=engine and engine.value, **options)
