"""Text to a tree of statements.

Sections are recognised by what commands mean, not by how far they are indented: a line belongs to the innermost open
section whose grammar knows it. Indentation decides only where the grammar leaves a choice: the children of sections
that qfp does not interpret, and commands that exist both in a section and globally (`crypto ipsec df-bit`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .grammar import Failure, Grammar, Match
from .lex import Word, indent_of, words_of
from .plain import RUNS, Run

GLOBAL = "global"
OPAQUE = "opaque"  # the mode of sections whose children are kept unread
_LONGEST_BANNER = 1000  # lines

# What a terminal adds around `show running-config`.
_TERMINAL = re.compile(
    r"Building configuration\.\.\.|Current configuration ?:|Using [0-9]+ out of |Last configuration change|"
    r"[A-Za-z0-9._-]+(\([a-z0-9-]+\))?[#>] *(show run.*|sh run.*|)$"
)


@dataclass
class Statement:
    """One line: its words, what the grammar made of it, and the statements of the section that it opens.

    `found` is None for comments and for the unread children of an opaque section; `kind` tells which
    ("command", "comment", "raw", "leave").
    """

    line: int
    text: str
    words: list[Word]
    kind: str
    found: Match | Failure | None = None
    children: list[Statement] = field(default_factory=list)
    block: list[str] = field(default_factory=list)  # raw lines of a banner
    mode: str = GLOBAL  # of the section in which the statement stands
    run: Run | None = None  # the line and those behind it, read together; `found` is then that of the first

    @property
    def indent(self) -> int:
        """How far the line is indented."""
        return self.words[0].column - 1 if self.words else indent_of(self.text)


@dataclass
class _Open:
    """A section that is open: its mode, the statement that opened it, and how it has been written so far."""

    mode: str
    head: Statement
    child_indent: int | None = None  # of the first child
    separated: bool = False  # a `!` came since the last child


class TreeReader:
    """Reads lines one by one and hangs each into the tree."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.root = Statement(0, "", [], "command")
        self.stack = [_Open(GLOBAL, self.root)]
        self.unterminated: set[str] = set()
        # What equal lines came to: every second line of a large configuration stands there already
        self._words: dict[str, list[Word]] = {}
        self._known: dict[tuple[str, str], Match | Failure] = {}

    def read(self, text: str) -> Statement:
        """Return the tree of a whole configuration; its root stands for the global mode."""
        lines = text.split("\n")
        number = 0
        while number < len(lines):
            number += self._run(lines, number) or self._line(lines, number)
        return self.root

    def _run(self, lines: list[str], at: int) -> int:
        """Hang a run of plain lines of the innermost section, if one begins here; return how many lines it took."""
        section = self.stack[-1]
        read = RUNS.get(section.mode)
        run = read(lines, at) if read is not None else None
        if run is None:
            return 0
        statement = Statement(at + 1, "", words_of(lines[at]), "command", run=run)
        statement.found = self.grammar.match(section.mode, statement.words)
        if not isinstance(statement.found, Match):
            return 0
        self._hang(statement, len(self.stack) - 1)
        return run.count

    def _line(self, lines: list[str], at: int) -> int:
        """Hang one statement; return how many lines it took."""
        text = lines[at].rstrip("\r")
        words = self._words.get(text)
        if words is None:
            words = self._words[text] = words_of(text)
        statement = Statement(at + 1, text, words, "comment")
        if not words or words[0].text.startswith("!") or self._from_terminal(text):
            self._comment(statement)
            return 1
        if words[0].text.lower() in ("exit", "quit", "end", "exit-address-family") and len(words) == 1:
            statement.kind = "leave"
            self._leave(statement)
            return 1
        statement.kind = "command"
        self._command(statement)
        return 1 + self._banner(statement, lines, at)

    def _from_terminal(self, text: str) -> bool:
        likely = text[0] in "BCUL" or "#" in text or ">" in text
        return likely and self.stack[-1].mode != OPAQUE and bool(_TERMINAL.match(text))

    def _comment(self, statement: Statement) -> None:
        self.stack[-1].head.children.append(statement)
        if statement.words and not statement.indent:
            for section in self.stack:
                section.separated = True

    def _leave(self, statement: Statement) -> None:
        self.stack[-1].head.children.append(statement)
        if statement.words[0].text.lower() == "end":
            del self.stack[1:]
        elif len(self.stack) > 1:
            self.stack.pop()

    def _command(self, statement: Statement) -> None:
        """Find the innermost open section that knows the line, or else where it came closest to a command."""
        nearest: tuple[int, Failure] | None = None
        for depth in range(len(self.stack) - 1, -1, -1):
            section = self.stack[depth]
            if section.mode == OPAQUE:
                if statement.indent > section.head.indent:
                    statement.kind = "raw"
                    return self._hang(statement, depth)
                continue
            found = self._match(section.mode, statement)
            if isinstance(found, Match):
                if depth and self._rather_global(section, statement, found):
                    continue
                if found.args.shortened and nearest is not None and nearest[1].reason == "malformed":
                    break  # `mac-address 1.2` is a bad one of an interface, not a global `mac-address-table`
                statement.found = found
                return self._hang(statement, depth)
            if nearest is None or found.depth > nearest[1].depth:
                nearest = (depth, found)
        self._unknown(statement, nearest)

    def _match(self, mode: str, statement: Statement) -> Match | Failure:
        """What the grammar makes of a line in a mode. Equal lines share it, unless it holds a list or a dictionary."""
        key = (mode, statement.text)
        found = self._known.get(key)
        if found is None:
            found = self.grammar.match(mode, statement.words)
            values = () if isinstance(found, Failure) else found.args.values()
            if not any(type(value) in (list, dict) for value in values):
                self._known[key] = found
        return found

    def _rather_global(self, section: _Open, statement: Statement, found: Match) -> bool:
        """Tell whether a command that a section knows was meant for the global mode, which knows it too.

        It was if it is written further out than the section's other commands or behind a separating `!`, or if it is
        a command of the section only as an abbreviation (`ipv6 route` for `ipv6 router`) and a global one in full.
        """
        if statement.indent > section.head.indent:
            return False
        outdented = section.child_indent is not None and statement.indent < section.child_indent
        if not (outdented or section.separated or found.args.shortened):
            return False
        outer = self.grammar.match(GLOBAL, statement.words)
        if not isinstance(outer, Match):
            return False
        return outdented or section.separated or outer.args.shortened == 0

    def _unknown(self, statement: Statement, nearest: tuple[int, Failure] | None) -> None:
        """Hang a line that no open section knows below the section that it was written for."""
        depth, failure = nearest or (0, Failure(0, statement.words[0].column, "unknown", "unknown command"))
        if failure.depth <= self._start(statement):
            depth = len(self.stack) - 1
            while depth and self._outside(self.stack[depth], statement):
                depth -= 1
            again = self.grammar.match(self.stack[depth].mode, statement.words)
            failure = again if isinstance(again, Failure) else failure
        statement.found = failure
        self._hang(statement, depth)

    @staticmethod
    def _start(statement: Statement) -> int:
        return 1 if statement.words[0].text.lower() in ("no", "default") else 0

    @staticmethod
    def _outside(section: _Open, statement: Statement) -> bool:
        if section.mode == OPAQUE:
            return True
        outdented = section.child_indent is not None and statement.indent < section.child_indent
        return outdented or (section.separated and statement.indent <= section.head.indent)

    def _hang(self, statement: Statement, depth: int) -> None:
        del self.stack[depth + 1 :]
        section = self.stack[depth]
        section.head.children.append(statement)
        statement.mode = section.mode
        section.separated = False
        if section.child_indent is None:
            section.child_indent = statement.indent
        if isinstance(statement.found, Match) and statement.found.command.enters and not statement.found.args.no:
            self.stack.append(_Open(statement.found.command.enters, statement))

    def _banner(self, statement: Statement, lines: list[str], at: int) -> int:
        """Take the lines of a banner up to its delimiter; return how many."""
        words = statement.words
        if words[0].text.lower() != "banner" or len(words) < 2:
            return 0
        rest = statement.text[words[-1].column - 1 :] if len(words) == 2 else statement.text[words[2].column - 1 :]
        mark = "^C" if rest.startswith("^C") else rest[:1]
        if rest.count(mark) > 1 or mark in self.unterminated:
            return 0
        for number in range(at + 1, min(len(lines), at + 1 + _LONGEST_BANNER)):
            if mark in lines[number]:
                statement.block = [line.rstrip("\r") for line in lines[at + 1 : number + 1]]
                return number - at
        self.unterminated.add(mark)
        return 0


def walk(root: Statement) -> Iterator[Statement]:
    """Yield every statement below a statement, in the order of their lines."""
    for statement in root.children:
        yield statement
        yield from walk(statement)
