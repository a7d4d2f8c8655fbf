"""What can be wrong with a configuration: one record a problem, all of them reported together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SEVERITIES = ("error", "warning", "note")
RULES = {
    "syntax": "A line is a command of IOS written wrongly: it is refused.",
    "unknown-command": "A line is no command that qfp knows: it has no effect.",
    "value": "A command or one of its values is refused, or taken otherwise than it is written.",
    "platform": "The device that is modelled does not have this.",
    "undefined-reference": "A name is not defined: what names it is incomplete, as on IOS.",
    "consistency": "Parts of the configuration do not go together, or something is incomplete.",
    "no-effect": "Something is asked for that the data plane does not do, or does otherwise.",
    "held-down": "A refused line asks for protection: what it would let out in clear is held down.",
    "unreadable": "The file cannot be read as a configuration.",
}


@dataclass(frozen=True)
class Issue:
    """One problem of a configuration: its place, what is wrong, and the remedy.

    `severity` is "error" (something is refused: it is missing from what runs), "warning" (part of it has no effect or
    is incomplete) or "note". `line` and `column` count from 1; 0 means that the problem belongs to the whole file.
    `rule` is the kind of problem, one of RULES.
    """

    severity: str
    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    rule: str = field(default="value", compare=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {self.severity}: {self.message}{hint}"


class ConfigError(Exception):
    """A configuration that cannot be read or used; `issues` holds every problem found, possibly none."""

    def __init__(self, message: str, issues: Iterable[Issue] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)
