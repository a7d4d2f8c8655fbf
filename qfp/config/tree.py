"""Text to a tree of statements.

Sections are recognised by what commands mean, not by how far they are indented: a line belongs to the innermost open
section whose grammar knows it. Indentation decides only where the grammar leaves a choice: the children of sections
that qfp does not interpret, and commands that exist both in a section and globally (`crypto ipsec df-bit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .grammar import Failure, Grammar, Match
from .lex import Word, indent_of, words_of
from .plain import RUNS, Run
from .terminal import begins_configuring, command_of

GLOBAL = "global"
OPAQUE = "opaque"  # the mode of sections whose children are kept unread
LOST = "lost"  # of sections whose head was refused, and whose head does not tell what they are
# First words and modes of commands that say what is protected. As on IOS they are global wherever they stand: none may
# vanish in a section that nobody reads because it is indented.
_PROTECTING_WORDS = ("interface", "crypto", "ip", "ipv6", "access-list")
_PROTECTING_MODES = ("interface", "crypto-map", "acl", "acl6", "profile", "transform-set")
_PROTECTING_PATTERNS = ("access-list ", "ip route ", "ipv6 route ")
_BANNERS = ("motd", "login", "exec", "incoming", "slip-ppp", "prompt-timeout", "config-save")
_LONGEST_BANNER = 1000  # lines

# Commands inside sections that are kept unread which open a section of their own, left by `exit` or `quit`
_INNER = ("address-family", "af-interface", "topology", "certificate")


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
    opens: str = ""  # mode of the section that a refused line was to open: its own, or LOST
    cut: bool = False  # the line has a terminal's own around its `text`
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
    inner: int = 0  # sections open inside one that is kept unread, where indentation does not show them


class TreeReader:
    """Reads lines one by one and hangs each into the tree."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.root = Statement(0, "", [], "command")
        self.stack = [_Open(GLOBAL, self.root)]
        self.unterminated: set[str] = set()
        self.keepers: list[Statement] = []  # kept commands above the present line, each further in than the last
        self.ended = False  # `end` came: a terminal may print anything from there on
        self.after_end: list[int] = []  # lines behind `end` that are no commands
        # What equal lines came to: every second line of a large configuration stands there already
        self._typed: dict[str, tuple[str | None, list[Word]]] = {}
        self._known: dict[tuple[str, str], Match | Failure] = {}
        # What first words came to that begin nothing in a mode: each head of a section is tried in the one before it
        self._strangers: dict[tuple[str, Word], Failure] = {}

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
        typed, words = self._read(text)
        if typed is None:
            self._comment(Statement(at + 1, text, words, "comment"))
            self.ended = self.ended and not begins_configuring(text)
            return 1
        statement = Statement(at + 1, typed, words, "command", cut=typed is not text)
        if len(words) == 1 and self._leaves(statement, words[0].text.lower()):
            return 1
        self._command(statement)
        return 1 + self._block(statement, lines, at)

    def _read(self, text: str) -> tuple[str | None, list[Word]]:
        """The command in a line of a terminal, None for none, and its words."""
        found = self._typed.get(text)
        if found is None:
            typed = command_of(text)
            words = words_of(typed) if typed is not None else []
            if not words or words[0].text[0] == "!" or words[0].text.lower() == "do" or begins_configuring(typed or ""):
                typed, words = None, words_of(text)
            found = self._typed[text] = typed, words
        return found

    def _comment(self, statement: Statement) -> None:
        self.stack[-1].head.children.append(statement)
        if statement.text[:1] == "!":
            self.keepers.clear()
            for section in self.stack:
                section.separated = True

    def _leaves(self, statement: Statement, word: str) -> bool:
        """Hang a line that leaves a section, if it is one. `exit-address-family` and its like leave no more than that.

        `quit` behind a certificate, and `exit` further in than the head, stand inside a section that is kept unread.
        """
        if word not in ("exit", "quit", "end") and not word.startswith("exit-"):
            return False
        top = self.stack[-1]
        inside = word != "end" and (statement.indent > top.head.indent or top.inner > 0 or word[4:5] == "-")
        if top.mode == OPAQUE and inside:
            top.inner = max(0, top.inner - 1)
            statement.kind = "raw"
            self._hang(statement, len(self.stack) - 1)
            return True
        statement.kind = "leave"
        top.head.children.append(statement)
        if word == "end":
            del self.stack[1:]
            self.keepers.clear()
            self.ended = True
        elif len(self.stack) > 1 and (word[4:5] != "-" or top.mode.endswith("-family")):
            self.stack.pop()
        return True

    def _command(self, statement: Statement) -> None:
        """Find the innermost open section that knows the line, or else where it came closest to a command."""
        nearest: tuple[int, Failure] | None = None
        for depth in range(len(self.stack) - 1, -1, -1):
            section = self.stack[depth]
            if section.mode in (OPAQUE, LOST):
                if statement.indent > section.head.indent and not self._is_outer(depth, statement):
                    statement.kind = "raw"
                    return self._hang(statement, depth)
                continue
            found = self._match(section.mode, statement)
            if isinstance(found, Match):
                if depth and self._rather_global(section, statement, found):
                    continue
                if not depth and self.ended and found.args.shortened:
                    return self._printed(statement)
                if found.args.shortened and nearest is not None and self._was_malformed(nearest[1], statement):
                    break  # `mac-address 1.2` is a bad one of an interface, not a global `mac-address-table`
                statement.found = found
                inner = len(self.stack) - 1
                if not depth and found.command.verdict == "kept" and self._written_inside(statement):
                    return self._hang(statement, inner, enter=False)
                return self._hang(statement, depth)
            if nearest is None or found.depth > nearest[1].depth:
                nearest = (depth, found)
        self._unknown(statement, nearest)

    def _is_outer(self, depth: int, statement: Statement) -> bool:
        """Whether an indented line belongs to the section around an unread one all the same."""
        outer = self.stack[depth - 1].mode
        if self.stack[depth].mode == LOST and outer not in (GLOBAL, OPAQUE, LOST):
            return isinstance(self.grammar.match(outer, statement.words), Match)
        if statement.words[0].text.lower() not in _PROTECTING_WORDS:
            return False
        found = self.grammar.match(GLOBAL, statement.words)
        if not isinstance(found, Match) or found.args.no or found.args.shortened:
            return False
        command = found.command
        return command.enters in _PROTECTING_MODES or command.pattern.startswith(_PROTECTING_PATTERNS)

    def _match(self, mode: str, statement: Statement) -> Match | Failure:
        """What the grammar makes of a line in a mode. Equal lines share it, unless it holds a list or a dictionary."""
        key = (mode, statement.text)
        first = (mode, statement.words[0])
        found = self._known.get(key) or self._strangers.get(first)
        if found is None:
            found = self.grammar.match(mode, statement.words)
            if isinstance(found, Failure) and not found.depth and found.reason == "unknown":
                self._strangers[first] = found
                return found
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
        if not isinstance(outer, Match):  # a malformed `ip route` is no `ip route-cache` either
            typed = " ".join(word.text.lower() for word in statement.words[:2]) + " "
            return found.args.shortened > 0 and typed.startswith(_PROTECTING_PATTERNS)
        return outdented or section.separated or outer.args.shortened == 0

    def _unknown(self, statement: Statement, nearest: tuple[int, Failure] | None) -> None:
        """Hang a line that no open section knows below the section that it was written for."""
        depth, failure = nearest or (0, Failure(0, statement.words[0].column, "unknown", "unknown command"))
        if self._kept_with_its_head(statement, failure):
            return
        if self._outside(self.stack[depth], statement):  # it stands further out: what it is there counts
            outer = self.grammar.match(GLOBAL, statement.words)
            if isinstance(outer, Failure) and outer.depth > self._start(statement):
                depth, failure = 0, outer
        if failure.depth <= self._start(statement):
            depth = len(self.stack) - 1
            while depth and self._outside(self.stack[depth], statement):
                depth -= 1
            again = self.grammar.match(self.stack[depth].mode, statement.words)
            failure = again if isinstance(again, Failure) else failure
        if self.ended and not depth:
            return self._printed(statement)
        statement.found = failure
        self._hang(statement, depth)
        if not self._start(statement):
            opens = self.grammar.would_open(self.stack[depth].mode, statement.words)
            statement.opens = LOST if opens in ("", OPAQUE) else opens
            self.stack.append(_Open(statement.opens, statement))

    def _printed(self, statement: Statement) -> None:
        """Hang what a terminal printed behind the configuration."""
        statement.kind = "comment"
        self.after_end.append(statement.line)
        del self.stack[1:]
        self.root.children.append(statement)

    def _kept_with_its_head(self, statement: Statement, failure: Failure) -> bool:
        """Hang a line that no section knows below the kept command that it stands under, if there is one.

        That is a section that is kept unread, whether its children are indented or not, or a kept command further out.
        """
        top = self.stack[-1]
        flat = top.child_indent is None or top.child_indent <= top.head.indent
        if top.mode == OPAQUE and not top.separated and flat and statement.indent >= top.head.indent:
            statement.kind = "raw"
            self._hang(statement, len(self.stack) - 1)
            top.inner += statement.words[0].text.lower() in _INNER
            return True
        while self.keepers and self.keepers[-1].indent >= statement.indent:
            self.keepers.pop()
        if self.keepers and failure.depth <= self._start(statement):
            statement.kind = "raw"
            self.keepers[-1].children.append(statement)
            return True
        return False

    def _was_malformed(self, failure: Failure, statement: Statement) -> bool:
        return failure.reason == "malformed" and failure.depth > self._start(statement)

    @staticmethod
    def _start(statement: Statement) -> int:
        return 1 if statement.words[0].text.lower() in ("no", "default") else 0

    @staticmethod
    def _outside(section: _Open, statement: Statement) -> bool:
        if section.mode in (OPAQUE, LOST):
            return True
        outdented = section.child_indent is not None and statement.indent < section.child_indent
        return outdented or (section.separated and statement.indent <= section.head.indent)

    def _written_inside(self, statement: Statement) -> bool:
        """Whether a kept global command stands among the indented commands of an interface, as one of its own."""
        top = self.stack[-1]
        least = statement.indent if top.child_indent is None else top.child_indent
        indented = statement.indent >= least > top.head.indent
        return top.mode == "interface" and indented and not top.separated

    def _hang(self, statement: Statement, depth: int, enter: bool = True) -> None:
        del self.stack[depth + 1 :]
        section = self.stack[depth]
        while self.keepers and self.keepers[-1].indent >= statement.indent:
            self.keepers.pop()
        if isinstance(statement.found, Match) and statement.found.command.verdict == "kept":
            self.keepers.append(statement)
        section.head.children.append(statement)
        statement.mode = section.mode
        section.separated = False
        if section.child_indent is None:
            section.child_indent = statement.indent
        if not enter or not isinstance(statement.found, Match) or statement.found.args.no:
            return
        if statement.found.command.enters:
            self.stack.append(_Open(statement.found.command.enters, statement))

    def _block(self, statement: Statement, lines: list[str], at: int) -> int:
        """Take the lines of a banner, a macro or another text up to its delimiter; return how many."""
        mark = _delimiter(statement)
        if not mark or mark in self.unterminated:
            return 0
        for number in range(at + 1, min(len(lines), at + 1 + _LONGEST_BANNER)):
            if mark in lines[number]:
                statement.block = [line.rstrip("\r") for line in lines[at + 1 : number + 1]]
                return number - at
        self.unterminated.add(mark)
        return 0


def _delimiter(statement: Statement) -> str:
    """Return what ends the text that a line begins; "" if it begins none, or ends it itself.

    `banner` takes any character, which `show running-config` prints as ^C; so do messages of lines, menus and AAA.
    """
    words, text = statement.words, statement.text
    head = words[0].text.lower()
    if head == "banner" and len(words) > 1:
        if words[-1].text.lower() in _BANNERS:
            return ""  # a kind of banner without its text is no delimiter
        rest = text[words[-1].column - 1 :] if len(words) == 2 else text[words[2].column - 1 :]
        mark = "^C" if rest.startswith("^C") else rest[:1]
        return "" if rest.count(mark) > 1 else mark
    if head == "macro" and len(words) == 3 and words[1].text.lower() == "name":
        return "@"
    mark = "^C" if "^C" in text else "\x03"
    return mark if text.count(mark) == 1 and head != "description" else ""


def walk(root: Statement) -> Iterator[Statement]:
    """Yield every statement below a statement, in the order of their lines."""
    for statement in root.children:
        yield statement
        yield from walk(statement)
