"""`qfp explain`: what each stage decided for one frame, and why."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.decrypt import make_decryptor
from qfp.cli.errors import DONE, CommandError, guarded, problem_facts
from qfp.cli.explained import explained, known_cause, of_cause, print_explained
from qfp.cli.output import put_json
from qfp.cli.run import load_config, make_router
from qfp.coerce import shown, whole

SCHEMA = "qfp-explain/1"


@guarded
def explain(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="[CONFIG] TRACE", help="Configuration and trace, or with --keys the trace alone."),
    ],
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="N", help="Record number, from 0; '#N' counts from 1 (Wireshark).")
    ] = None,
    cause: Annotated[
        str | None, typer.Option("--cause", metavar="NAME", help="Instead: the first frames dropped for this cause.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="How many frames of --cause (default: 3).")
    ] = None,
    intermediate: Annotated[
        bool, typer.Option("--bytes", help="Nonce, AAD, padding, input and output of the ICV; no keys.")
    ] = False,
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
    asked = _asked(frame, cause, count)
    from qfp.cli.keys import read, skipped_facts
    from qfp.cli.progress import compile_note

    sas: Any = ()
    with compile_note():
        row, problems = 0, []
        make: Callable[[], Any]
        if len(files) == 2:
            cfg = load_config(files[0], platform, release, allow_null, strict)
            sas = read(keys, strict_keys, cfg.allow_null, captures=False) if keys is not None else ()
            owner = make_router(cfg, keying=keying.value, sas=sas, engine=engine, seed=seed, rekey=rekey)
            problems, make = problem_facts(owner.issues), owner.again
            row = owner.interfaces.row[owner.interface(str(ingress))]
        else:
            assert keys is not None
            sas = read(keys, strict_keys, allow_null)
            make = partial(make_decryptor, sas, window=window, keep_clear=keep_clear, engine=engine)
            owner = make()
        if isinstance(asked, int):
            facts = explained(owner, files[-1], asked, row, intermediate)
        else:
            facts = of_cause(owner, make, files[-1], *asked, row, intermediate)
    if json_out:
        facts["keys_skipped"] = skipped_facts(sas)
        put_json({"schema": SCHEMA, "status": DONE, "trace": str(files[-1]), "problems": problems, **facts})
    else:
        print_explained(facts)
    return DONE


def _asked(frame: str | None, cause: str | None, count: int | None) -> int | tuple[str, int]:
    """The frame, from 0, or the cause and how many of its frames. Raises CommandError."""
    if (frame is None) == (cause is None):
        raise CommandError("explain takes --frame N, or --cause NAME for the first frames that were dropped for it")
    if cause is not None:
        return known_cause(cause), 3 if count is None else count
    if count is not None:
        raise CommandError("--count belongs to --cause: --frame is one frame")
    text = str(frame)
    first = 1 if text.startswith("#") else 0
    found = whole(text[first:], first, 1 << 62)
    if found is None:
        raise CommandError(f"--frame {shown(text)}: give a record number from 0, or '#N' to count from 1 as Wireshark")
    return found - first


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
