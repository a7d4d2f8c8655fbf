"""Issues of configurations in the forms that other tools take: workflow commands of GitHub, and SARIF 2.1.0."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qfp import __version__
from qfp.cli.output import clean

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def told(issue: Any) -> str:
    """The message of an issue with its hint, control characters made visible."""
    return clean(f"{issue.message} ({issue.hint})" if issue.hint else issue.message)


# --- GitHub


def github(issue: Any) -> str:
    """A workflow command: `::error file=F,line=L,col=C,title=RULE::MESSAGE`.

    In a message %, CR and LF are written as %25, %0D and %0A, in a property : and , too.
    """
    places = [("file", _relative(issue.file))]
    places += [("line", str(issue.line)), ("col", str(issue.column))] if issue.line else []
    places.append(("title", f"qfp {issue.rule}"))
    listed = ",".join(f"{name}={_escaped(clean(value), ':,')}" for name, value in places)
    return f"::{_COMMANDS[issue.severity]} {listed}::{_escaped(told(issue))}"


def _escaped(text: str, more: str = "") -> str:
    for char in "%\r\n" + more:  # % first
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _relative(file: str) -> str:
    """A path below the working directory relative to it, any other as it is; with slashes."""
    path = Path(file)
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else path
    return path.as_posix()


# --- SARIF


def sarif(issues: Iterable[Any]) -> dict[str, Any]:
    """A SARIF 2.1.0 log with one run: a rule a kind of problem, a result an issue."""
    from qfp.config.issues import RULES

    names = list(RULES)
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()]
    driver = {"name": "qfp", "version": __version__, "rules": rules}
    return {
        "$schema": _SCHEMA, "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver}, "columnKind": "unicodeCodePoints",
            "results": [_result(issue, names.index(issue.rule)) for issue in issues],
        }],
    }  # fmt: skip


def _result(issue: Any, rule: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(issue.file)}}
    if issue.line:
        place["region"] = {"startLine": issue.line, "startColumn": max(1, issue.column)}
    return {
        "ruleId": issue.rule, "ruleIndex": rule, "level": issue.severity, "message": {"text": told(issue)},
        "locations": [{"physicalLocation": place}],
    }  # fmt: skip


def _uri(file: str) -> str:
    """A path as a URI reference: relative below the working directory, else with its scheme."""
    path = _relative(file)
    if Path(path).is_absolute():
        return "file://" + quote(os.fsencode(path))
    # A colon in the first segment would make a scheme of what stands before it (RFC 3986 section 4.2).
    return quote(os.fsencode(path), safe="/")
