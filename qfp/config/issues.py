"""What can be wrong with a configuration: one record a problem, all of them reported together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Issue:
    """One problem of a configuration: its place, what is wrong, and the remedy.

    `severity` is "error" (the configuration must not be used), "warning" (part of it has no effect or is
    incomplete) or "note". `line` and `column` count from 1; 0 means that the problem belongs to the whole file.
    """

    severity: str
    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {self.severity}: {self.message}{hint}"


class ConfigError(Exception):
    """A configuration that cannot be read or used; `issues` holds every problem found, possibly none."""

    def __init__(self, message: str, issues: Iterable[Issue] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)
