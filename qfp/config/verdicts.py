"""The verdict of every line, as columns: a LineVerdict is made when somebody asks for it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

VERDICTS = ("applied", "kept", "comment", "warning", "error")
_CODES = {name: code for code, name in enumerate(VERDICTS)}


@dataclass(frozen=True)
class LineVerdict:
    """What became of one line: "applied", "kept", "comment", "warning" or "error"; keys in `text` are masked.

    `command` is the path of commands that the line came under, the innermost last.
    """

    line: int
    text: str
    verdict: str
    command: str


class _Hidden(dict[int, str]):
    """Lines with keys by position, as they were. Nothing shows them."""

    def __repr__(self) -> str:
        return f"{len(self)} lines with keys"


class LineVerdicts(Sequence[LineVerdict]):
    """The verdicts of all lines of a text, in their order. Filled in while the lines are applied, then `seal`ed."""

    def __init__(self, lines: int) -> None:
        self._codes = bytearray([_CODES["comment"]]) * lines
        self._commands = array("I", [0]) * lines
        self._numbers = {"": 0}  # of commands
        self._names: list[str] = [""]
        self._masked: dict[int, str] = {}  # by position
        self._hidden = _Hidden()
        self._text = ""
        self._ends = array("Q")

    def add(self, line: int, verdict: str, command: str, masked: str | None = None, count: int = 1) -> None:
        """Judge a line, or several that follow it; `masked`: its text where keys are masked in it."""
        number = self._numbers.setdefault(command, len(self._numbers))
        if number == len(self._names):
            self._names.append(command)
        first = line - 1
        if count == 1:
            self._codes[first], self._commands[first] = _CODES[verdict], number
        else:
            self._codes[first : first + count] = bytes([_CODES[verdict]]) * count
            self._commands[first : first + count] = array("I", [number]) * count
        if masked is not None:
            self._masked[first] = masked

    def judge(self, line: int, verdict: str) -> None:
        """Change the verdict of a line that there is."""
        if 1 <= line <= len(self):
            self._codes[line - 1] = _CODES[verdict]

    def seal(self, text: str) -> None:
        """Take over the text of the lines, without its keys."""
        lines = text.split("\n")
        if "\r" in text:
            lines = [line.rstrip("\r") for line in lines]
        for position, masked in self._masked.items():
            self._hidden[position], lines[position] = lines[position], masked
        self._masked = {}
        end = 0
        for line in lines:
            end += len(line)
            self._ends.append(end)
        self._text = "".join(lines)

    def source(self) -> str:
        """The text that was read, keys and all."""
        starts = [0, *self._ends]
        lines = [self._text[starts[k] : starts[k + 1]] for k in range(len(self))]
        for position, line in self._hidden.items():
            lines[position] = line
        return "\n".join(lines)

    def counts(self) -> dict[str, int]:
        """How many lines came to which verdict."""
        return {name: self._codes.count(code) for code, name in enumerate(VERDICTS)}

    def _at(self, position: int) -> LineVerdict:
        start = self._ends[position - 1] if position else 0
        text = self._text[start : self._ends[position]]
        return LineVerdict(position + 1, text, VERDICTS[self._codes[position]], self._names[self._commands[position]])

    @overload
    def __getitem__(self, index: int) -> LineVerdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[LineVerdict]: ...
    def __getitem__(self, index: int | slice) -> LineVerdict | list[LineVerdict]:
        if isinstance(index, slice):
            return [self._at(position) for position in range(len(self))[index]]
        return self._at(range(len(self))[index])

    def __iter__(self) -> Iterator[LineVerdict]:
        return map(self._at, range(len(self)))

    def __len__(self) -> int:
        return len(self._codes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LineVerdicts | list):
            return NotImplemented
        return len(self) == len(other) and all(mine == each for mine, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LineVerdicts({len(self)} lines)"
