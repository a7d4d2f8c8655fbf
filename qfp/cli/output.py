"""What commands print: messages on stderr, tables or one JSON object on stdout.

Text from files (configuration lines, interface names, paths) may hold anything: `clean` makes control characters
visible, so that no file can speak to the terminal.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 160  # columns when stdout is no terminal: nothing is cut
ROWS_MAX = 20  # rows of a table of SAs or SPD entries, the busiest first
COLOURS = {
    "error": "bold red", "warning": "yellow", "note": "cyan", "applied": "green", "kept": "blue", "comment": "dim",
}  # fmt: skip


def clean(text: str) -> str:
    """Text with control characters (C0, C1, escape sequences, line separators) as \\xNN; newlines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "replace").decode() for c in text)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command (rich would end the process with status 1)."""
        raise BrokenPipeError


def console(err: bool = False) -> Console:
    """A console on the present stdout or stderr; wide where that is no terminal."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else WIDTH
    return _Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=err)


def complain(message: str, style: str = "bold red") -> None:
    """A message on stderr."""
    line = Text("qfp: ", style=style)
    line.append(message, style="default")
    console(err=True).print(line)


def note(message: str) -> None:
    """Something to know, on stderr."""
    complain(clean(message), style="cyan")


def put_json(facts: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(facts, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


TOLD: list[Any] = []  # issues that this command has shown: an error that follows has its reason among them


def show_issues(issues: Iterable[Any]) -> None:
    """Issues of a configuration on stderr, one a line: FILE:LINE:COLUMN: severity: message (hint)."""
    issues = list(issues)
    TOLD.extend(issues)
    out = console(err=True)
    if out.color_system is None:
        out.file.writelines(clean(str(issue)) + "\n" for issue in issues)
        return
    for issue in issues:
        text = Text(clean(str(issue)))
        word = f": {issue.severity}: "
        at = text.plain.find(word)
        if at >= 0:
            text.stylize(COLOURS.get(issue.severity, ""), at + 2, at + len(word) - 2)
        out.print(text)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Table:
    """A table; the first `left` columns are text, the others numbers (but a last column of text stays left)."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for k, name in enumerate(columns):
        made.add_column(name, justify="left" if k < left or name in TEXT_COLUMNS else "right", overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


TEXT_COLUMNS = ("meaning", "rule", "command", "text", "stage")


def cell(value: Any) -> Text:
    """A table cell: thousands are set apart, nothing is a dash."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    if isinstance(value, Text):
        return value
    return Text(clean(str(value)))


def busiest(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The rows with most packets, in their own order, and a line about the others."""
    if len(rows) <= ROWS_MAX:
        return list(rows), ""
    order = sorted(range(len(rows)), key=lambda k: (-rows[k]["packets"], k))[:ROWS_MAX]
    return [rows[k] for k in sorted(order)], f"… and {len(rows) - ROWS_MAX} more (--json has them all)"
