"""From errors to messages and exit statuses.

    0    done
    1    done, and a comparison or check that the user asked for failed
    2    wrong arguments, configuration, key file or output
    3    the input was damaged: everything intact was processed
    130  interrupted (143 terminated), 141 whoever read the output went away

Expected errors become one message on stderr that names file, line and remedy; with `--json` the same as an object on
stdout. Anything else is a fault of qfp and keeps its traceback.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer

from qfp.cli import signals
from qfp.cli.output import TOLD, clean, complain, put_json
from qfp.cli.progress import compile_note

DONE, FAILED, WRONG, DAMAGED, BROKEN_PIPE = 0, 1, 2, 3, 141

# By module and name: an error whose module was never imported cannot have been raised, and importing it here would make
# every start wait for the compiler.
EXPECTED = (
    ("qfp.config.issues", "ConfigError"),
    ("qfp.router", "RouterError"),
    ("qfp.trace.keyfile_error", "KeyFileError"),
    ("qfp.trace.errors", "TraceError"),
    ("qfp.control.sadb", "KeyingError"),
    ("qfp.engines.crypto", "EngineError"),
    ("qfp_kernels.jit", "StageError"),
    ("qfp.sa", "SaError"),
    ("qfp.explain", "ExplainError"),
    ("qfp.mtu.paths", "MtuError"),
    ("qfp.antireplay.columns", "ReplayLabError"),
    ("qfp.lab.errors", "LabError"),
    ("qfp.lab.errors", "PictureError"),
    ("qfp.qos.errors", "QosError"),
    ("qfp.checkpoint", "CheckpointError"),
)
Command = TypeVar("Command", bound=Callable[..., Any])


class CommandError(Exception):
    """Something that the command line itself refuses. `issues`: those of a configuration, shown already."""

    def __init__(self, message: str, status: int = WRONG, issues: Sequence[Any] = ()):
        super().__init__(message)
        self.status = status
        self.issues = issues


def status_of(error: BaseException) -> int | None:
    """Exit status of an expected error; None for a fault of qfp."""
    if isinstance(error, CommandError):
        return error.status
    asked = signals.came()
    if asked is not None or isinstance(error, KeyboardInterrupt):  # whatever the signal set off on its way
        return asked or signals.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, (OSError, MemoryError)):
        return WRONG
    shrunk = getattr(sys.modules.get("qfp.trace.errors"), "Shrunk", None)
    if shrunk is not None and isinstance(error, shrunk):
        return DAMAGED
    for module, name in EXPECTED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return WRONG
    return None


def message_of(error: BaseException) -> str:
    """One message, with control characters made visible."""
    asked = signals.came()
    if asked is not None or isinstance(error, KeyboardInterrupt):
        return signals.WORDS[asked or signals.INTERRUPTED]
    if isinstance(error, MemoryError):
        return "there is not enough memory for this: try fewer --threads, a smaller --batch, or parts of the input"
    if isinstance(error, BrokenPipeError):
        return "whoever read the output went away before its end"
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return clean(f"{error.filename}: {reason}: check the path and its permissions" if error.filename else reason)
    return clean(str(error))


def guarded(command: Command) -> Command:
    """Wrap a command: expected errors end in a message and the exit status of the contract."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        TOLD.clear()
        try:
            _refuse_nul(options)
            with compile_note(helper=False):
                status = command(*args, **options)
            if not signals.done():
                signals.check()
        except (typer.Exit, typer.Abort):
            raise
        except BaseException as error:
            known = status_of(error)
            if known is None:
                raise
            report(error, known, bool(options.get("json_out")))
            raise typer.Exit(known) from None
        raise typer.Exit(status or DONE)

    return run  # type: ignore[return-value]


def _refuse_nul(options: dict[str, Any]) -> None:
    """No path may hold NUL, and no other argument means anything with it. Raises CommandError."""
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str | os.PathLike) and "\0" in str(each):
                shown = clean(str(each))[:60]
                raise CommandError(f"{name.replace('_', '-')}: {shown} holds a NUL character: leave it out")


def report(error: BaseException, status: int, json_out: bool) -> None:
    """Tell stderr, and stdout where JSON was asked for."""
    message = message_of(error)
    if status == BROKEN_PIPE:
        silence()
    with contextlib.suppress(BrokenPipeError):
        complain(message)
        if json_out and status not in (BROKEN_PIPE, *signals.STATUS.values()):
            issues = getattr(error, "issues", ()) or TOLD
            put_json({"status": status, "error": message, "issues": [issue_facts(i) for i in issues]})


def issue_facts(issue: Any) -> dict[str, Any]:
    """An issue of a configuration as JSON."""
    return {name: getattr(issue, name) for name in ("severity", "file", "line", "column", "message", "hint")}


def problem_facts(issues: Sequence[Any]) -> list[dict[str, Any]]:
    """The errors and warnings among issues as JSON: whatever is not as the configuration says."""
    return [issue_facts(issue) for issue in issues if issue.severity != "note"]


def silence() -> None:
    """Let nothing more go to a stdout that nobody reads (Python would complain once more at its end)."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
