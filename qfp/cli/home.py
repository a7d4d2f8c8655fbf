"""The home of a run, `--save DIR`: what was asked, what came out, and what the router or decryptor is now.

    manifest.json     command, options, versions, digests of all that went in (no copy of it), names of what came out
    verdicts.parquet  a row an input frame (docs/columns.md); of a lab journeys.parquet and series.parquet
    summary.json      what `--json` prints: all counters; of a lab lab.json
    state.qfp         a checkpoint of the router or decryptor after the last frame (docs/lifetimes.md), with keys; of a
                      lab one a router, NAME.qfp

All get their names together, with the other outputs of the command.
"""

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qfp import checkpoint
from qfp.cli.errors import CommandError
from qfp.cli.output import note
from qfp.naming import together
from qfp.trace.output import OutputFile, special
from qfp.version import __version__
from qfp_kernels.cache import others_may_write

SCHEMA = "qfp-home/1"
MANIFEST, VERDICTS, SUMMARY, STATE = "manifest.json", "verdicts.parquet", "summary.json", "state"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")  # names of states that are names of files
LIBRARIES = ("numpy", "numba", "llvmlite", "cryptography", "pyarrow")


class Home:
    """One folder. inputs: word -> file that went in."""

    def __init__(self, place: Path, command: str, options: Mapping[str, Any], inputs: Mapping[str, Path]):
        self.place, self._command = place, command
        self._options = {name: _plain(value) for name, value in options.items() if value is not None}
        self._inputs = dict(inputs)

    def write(self, facts: Any, states: Mapping[str, Any], results: Mapping[str, str], summary: str = SUMMARY) -> None:
        """Write all but the verdicts. facts: of the summary. states: name -> router or decryptor; one whose
        configuration no text tells is left out, and that is said. results: word -> file that came out, this folder's
        own included. Raises OSError, TraceError."""
        kept = {}
        for k, (name, owner) in enumerate(states.items()):
            file = f"{name}.qfp" if _PLAIN.match(name) else f"state-{k}.qfp"
            try:
                owner.save(self.place / file)
            except checkpoint.CheckpointError as error:
                note(f"{self.place}: no state of {name} is kept: {error}")
                continue
            kept[name] = file
        if summary == SUMMARY:
            self._put(SUMMARY, facts)
        inputs = {word: described(path) for word, path in self._inputs.items()}
        libraries = {"qfp": __version__, "python": platform.python_version(), **{n: version(n) for n in LIBRARIES}}
        self._put(MANIFEST, {
            "schema": SCHEMA, "command": self._command, "options": self._options, "status": facts["status"],
            "versions": libraries, "byteorder": sys.byteorder, "layout": checkpoint.layout_digest(), "inputs": inputs,
            "results": dict(results), "summary": summary, "states": kept,
        })  # fmt: skip

    def _put(self, name: str, facts: Any) -> None:
        with OutputFile(self.place / name) as out:
            out.write((json.dumps(facts, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def home_of(
    place: Path | None, command: str, options: Mapping[str, Any], inputs: Mapping[str, Path]
) -> Iterator[Home | None]:
    """A home where one was asked for; outputs of the block get their names together. Raises CommandError."""
    with together():
        if place is not None:
            own_folder(place)
        yield None if place is None else Home(place, command, options, inputs)


def own_folder(place: Path, parents: bool = False) -> None:
    """Make a folder where it is missing, for its owner alone. Raises CommandError where keys must not be put."""
    try:
        place.mkdir(mode=0o700, parents=parents, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{place}: cannot be made ({error.strerror}): name a folder") from None
    if hasattr(os, "geteuid") and others_may_write(place.stat()):
        raise CommandError(f"{place}: others may write there, and keys will be in it: name a folder of yours")


def described(path: Path) -> dict[str, Any]:
    """Name, size and digest of a file; of one that cannot be read twice its name. Raises OSError."""
    if special(path):
        return {"path": str(path), "bytes": None, "sha256": None}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": str(path), "bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def _plain(value: Any) -> Any:
    """An option as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
