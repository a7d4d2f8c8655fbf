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
    keys: Annotated[Path, typer.Option("--keys", metavar="FILE", help="SA file, Wireshark esp_sa, or ip xfrm state.")],
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
    json_out: o.Json = False,
) -> int:
    """Decrypt a capture with a key file; say what failed and why."""
    from qfp.cli.progress import compile_note
    from qfp.cli.session import Outputs, Session, finish
    from qfp.cli.summary import print_decrypt

    outputs = Outputs(output, verdicts, log)
    outputs.check([trace, keys])
    with compile_note():
        opener = make_decryptor(
            keys, window=window, keep_clear=keep_clear, selectors=selectors, engine=engine, threads=threads,
            batch=batch, allow_null=allow_null,
        )  # fmt: skip
        session = Session(opener, trace, outputs, opener.run, opener.stages)
        try:
            facts = session.execute(json_out)
        finally:
            opener.engine.close()
    status = finish(trace, facts)
    facts = {"schema": SCHEMA, "status": status, "trace": str(trace), "keys": str(keys), "window": window,
             "selectors": opener.selects, **facts}  # fmt: skip
    if json_out:
        put_json(facts)
    else:
        print_decrypt(facts)
    return status


def make_decryptor(keys: Path, *, engine: o.EngineName | None, allow_null: bool = False, **options: Any) -> Any:
    """A decryptor over the SAs of a key file. Raises KeyFileError, EngineError."""
    from qfp.decrypt import Decryptor
    from qfp.trace.keyfile import read_keys

    return Decryptor(read_keys(keys, allow_null=allow_null), engine=engine and engine.value, **options)
