"""Key files on the command line: what was left out of one goes to stderr, and into the JSON as `keys_skipped`."""

from pathlib import Path
from typing import Any

from qfp.cli.output import clean, note

SHOWN = 20  # entries left out that stderr names; --json has all


def read(path: Path, strict: bool, allow_null: bool, captures: bool = True) -> Any:
    """The `Keys` of a file. `captures`: for reading captures; a router cannot use SAs with wildcards or ICVs that
    nothing checks, so those are left out as well. Raises KeyFileError."""
    from qfp.trace.keyfile import read_keys

    keys = read_keys(path, allow_null=allow_null, strict=strict)
    if not captures:
        keys = _for_routers(path, keys, strict)
    for error in keys.skipped[:SHOWN]:
        note(f"{error}; left out")
    if len(keys.skipped) > SHOWN:
        note(f"{path}: {len(keys.skipped) - SHOWN} more entries are left out (--json names them)")
    return keys


def _for_routers(path: Path, keys: Any, strict: bool) -> Any:
    from qfp.trace.keyfile import KeyFileError, Keys

    remedy = "use it with decrypt"
    more = [
        KeyFileError(path, pattern.line, 0, "an SA with wildcards opens captures only", remedy)
        for pattern in keys.patterns
    ]
    for sa in keys:
        if sa.unchecked:
            problem = f"SA 0x{sa.spi:08x} has an ICV that nothing checks: it opens captures only"
            more.append(KeyFileError(path, 0, 0, problem, remedy))
    if strict and more:
        raise more[0]
    return Keys([sa for sa in keys if not sa.unchecked], [*keys.skipped, *more])


def skipped_facts(keys: Any) -> list[dict[str, Any]]:
    """What was left out of a key file; none for a run without one."""
    return [
        {"line": error.line, "column": error.column, "problem": clean(error.problem), "remedy": clean(error.remedy)}
        for error in getattr(keys, "skipped", ())
    ]


def note_wildcards(path: Path, opener: Any) -> None:
    """Say where there were more SPIs than SAs with wildcards may become."""
    if opener.wildcards.ended:
        made = opener.wildcards.made
        note(f"{path}: too many SPIs for its wildcards: {made} became SAs, later ones were not looked at")
