"""The command grammar: patterns compiled into one parse graph a mode, as IOS does it.

A pattern is text: `set peer <peer:endpoint> [dynamic] [default]`. Words are keywords, which may be cut short as long as
they stay unique at that place, or the rest of the line tells which is meant; `<name:kind>` is an argument; `[...]` is
optional; `{a | b}` is a choice; `*` takes the rest of the line, if any. `no` before a command undoes it, and may then
stop early where only one command is left.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .arguments import Bad, Kind, Taken, kind_of, shown
from .lex import Word
from .nearest import similar

# Called with (load, section, arguments); returns the new section when the command opens one.
Handler = Callable[[Any, Any, "Args"], Any]


@dataclass(frozen=True)
class Command:
    """One command: the mode in which it is typed, its pattern, what it does, the mode it opens, and its verdict."""

    mode: str
    pattern: str
    handler: Handler
    enters: str = ""
    verdict: str = "applied"


class Args(dict[str, Any]):
    """The arguments of one command line by name, where each was, and whether the line began with `no`."""

    def __init__(self, words: Sequence[Word], no: bool) -> None:
        super().__init__()
        self.words = words
        self.no = no
        self.keywords: set[str] = set()
        self.columns: dict[str, int] = {}
        self.places: list[tuple[str, str, int]] = []  # (reference kind, name, column)
        self.secrets: list[Word] = []
        self.shortened = 0  # keywords that were cut short

    def enter(self, name: str, kind: Kind, word: Word, taken: Taken, used: Sequence[Word]) -> None:
        """Enter an argument that was taken from the words `used`, of which `word` is the first."""
        self[name], self.columns[name] = taken.value, word.column
        if kind.secret:
            self.secrets.append(word)
        if kind.reference:
            names = [(each.text, each.column) for each in used] if kind.many else [(taken.value, word.column)]
            self.places += [(kind.reference, text, column) for text, column in names]

    def column(self, name: str) -> int:
        """Return the column of an argument, or of the line's first word."""
        return self.columns.get(name, self.words[0].column)


@dataclass
class Match:
    """A line that is a command."""

    command: Command
    args: Args


@dataclass
class Failure:
    """A line that is no command of a mode: how far it was one, and why not.

    `reason` is "unknown" (no such keyword), "ambiguous", "malformed" (an argument), "incomplete" or "trailing".
    """

    depth: int
    column: int
    reason: str
    message: str
    expected: tuple[str, ...] = ()
    word: str = ""
    secret: int = 0  # column of the first key on the line, 0 without one: messages quote nothing from there on

    def hint(self, heads: Iterable[str] = (), line: str = "") -> str:
        """Name the nearest word that could stand there, or else the nearest of a mode's commands."""
        if self.secret:
            return ""
        near = similar(self.word, self.expected)
        if near is None and self.reason == "unknown":
            words = line.split()
            near = next(filter(None, (similar(" ".join(words[:count]), heads) for count in (1, 2, 3))), None)
        return f"did you mean '{near}'?" if near else ""


_AMBIGUOUS = "\0"
_REST = "*"


@dataclass
class Node:
    """A place in the graph: keywords and arguments that may follow, and the command that may end here."""

    keywords: dict[str, Node] = field(default_factory=dict)
    arguments: dict[tuple[str, str], tuple[Kind, Node]] = field(default_factory=dict)
    command: Command | None = None
    only: Command | None = None  # the one command that every path from here ends in, if there is one
    names: tuple[str, ...] | None = None  # of what may follow, once it has been asked for
    short: dict[str, str] = field(default_factory=dict)  # every prefix of a keyword -> keyword, or _AMBIGUOUS

    def finish(self) -> Command | None:
        """Fill in `short` and `only`, below first; return `only`."""
        below = [node.finish() for node in self.keywords.values()]
        below += [node.finish() for _, node in self.arguments.values()]
        ends = [*below, self.command] if self.command else below
        # What is only kept does not stand in the way: `no ip address` undoes the address, `ip address dhcp` or not.
        applied = [end for end in ends if end is None or end.verdict == "applied"] or ends
        self.only = applied[0] if len({end.handler if end else None for end in applied}) == 1 else None
        if not any(kind.free for kind, _ in self.arguments.values()):
            for keyword in self.keywords:
                for cut in range(1, len(keyword)):
                    prefix = keyword[:cut]
                    self.short[prefix] = _AMBIGUOUS if prefix in self.short else keyword
        self.short.update({keyword: keyword for keyword in self.keywords})
        return self.only

    def expected(self) -> tuple[str, ...]:
        """Return what may follow, for messages."""
        if self.names is None:
            self.names = (*self.keywords, *(kind.expects for kind, _ in self.arguments.values()))
        return self.names


class Grammar:
    """All modes, compiled from one table of commands."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.modes: dict[str, Node] = {}
        self.heads: dict[str, dict[str, None]] = {}  # the leading keywords of each mode's commands, for hints
        # Commands that open a section, by mode and first keyword: their keywords and the mode of the section.
        self.openers: dict[tuple[str, str], dict[tuple[str, ...], str]] = {}
        for command in commands:
            root = self.modes.setdefault(command.mode, Node())
            for tokens in expand(command.pattern):
                _add(root, tokens, command)
                head = tuple(itertools.takewhile(lambda token: token[0] not in "<*", tokens))
                self.heads.setdefault(command.mode, {})[" ".join(head)] = None
                if command.enters and head:
                    self.openers.setdefault((command.mode, head[0]), {})[head] = command.enters
        for root in self.modes.values():
            root.finish()

    def would_open(self, mode: str, words: Sequence[Word]) -> str:
        """The mode of the section that a refused line was to open, "" where its keywords do not tell."""
        typed = [word.text.lower() for word in words]
        best, modes = 0, set[str]()
        first = self.modes[mode].short.get(typed[0], _AMBIGUOUS)
        for head, enters in self.openers.get((mode, first), {}).items():
            pairs = zip(typed, head, strict=False)
            count = sum(1 for _ in itertools.takewhile(lambda pair: pair[1].startswith(pair[0]), pairs))
            if count > best:
                best, modes = count, set()
            if count == best:
                modes.add(enters)
        return modes.pop() if best and len(modes) == 1 else ""

    def match(self, mode: str, words: Sequence[Word]) -> Match | Failure:
        """Read one line as a command of a mode. Never raises."""
        root = self.modes[mode]
        no = words[0].text.lower() in ("no", "default") and words[0].text.lower() not in root.keywords
        start = 1 if no else 0
        if start == len(words):
            return Failure(0, words[0].column, "incomplete", "incomplete command")
        found = _straight(root, words, start, Args(words, no))
        if found is not None:
            return found
        search = _Search(words, Args(words, no))
        command = search.walk(root, start)
        return Match(command, search.args) if command else search.failure


def _straight(node: Node, words: Sequence[Word], at: int, args: Args) -> Match | None:
    """What a search finds that never has to step back, as it is with nearly all lines; None where it would have to."""
    while at < len(words):
        word = words[at]
        typed = word.text.lower()
        full = node.short.get(typed)
        if full is not None:
            if full == _AMBIGUOUS:
                return None
            args.keywords.add(full)
            args.shortened += full != typed
            node, at = node.keywords[full], at + 1
            continue
        for (name, _), (kind, after) in node.arguments.items():
            taken = kind.take(words, at)
            if isinstance(taken, Taken):
                args.enter(name, kind, word, taken, words[at : at + taken.words])
                node, at = after, at + taken.words
                break
            if taken is not None:
                return None
        else:
            return None
    command = node.command or (node.only if args.no else None)
    return Match(command, args) if command is not None else None


class _Search:
    """One walk through the graph, keyword first, then arguments in the table's order, stepping back where it must."""

    def __init__(self, words: Sequence[Word], args: Args) -> None:
        self.words = words
        self.args = args
        self.failure = Failure(-1, words[0].column, "unknown", "unknown command")

    def walk(self, node: Node, at: int) -> Command | None:
        if at == len(self.words):
            return self._end(node, at)
        word = self.words[at]
        full = node.short.get(word.text.lower())
        if full == _AMBIGUOUS and len(word.text) > 1:
            full = self._meant(node, at) or full
        if full and full != _AMBIGUOUS:
            found = self._keyword(node.keywords[full], full, at)
            if found:
                return found
        for (name, _), (kind, after) in node.arguments.items():
            if name == _REST and full:
                continue  # a keyword was meant: what is wrong behind it is an error, not something to keep
            found = self._argument(name, kind, after, at)
            if found or (self.failure.depth == at and self.failure.reason == "malformed"):
                return found
        self._no_way(node, at, ambiguous=full == _AMBIGUOUS)
        return None

    def _meant(self, node: Node, at: int) -> str | None:
        """Return the one keyword, of several that a word may be short for, by which the rest of the line is a command.

        Commands that are applied go before those that are only kept: `ipv6 rou ::/0 ...` is no `ipv6 router`. Where
        all do the same it does not matter which it is.
        """
        typed = self.words[at].text.lower()
        found: dict[str, Command] = {}
        for keyword in (each for each in node.keywords if each.startswith(typed)):
            command = _Search(self.words, Args(self.words, self.args.no)).walk(node.keywords[keyword], at + 1)
            if command:
                found[keyword] = command
        applied = {keyword: command for keyword, command in found.items() if command.verdict == "applied"}
        meant = applied or found
        return next(iter(meant)) if len({command.handler for command in meant.values()}) == 1 else None

    def _keyword(self, after: Node, full: str, at: int) -> Command | None:
        args = self.args
        added, short = full not in args.keywords, full != self.words[at].text.lower()
        args.keywords.add(full)
        args.shortened += short
        found = self.walk(after, at + 1)
        if not found:
            args.shortened -= short
            if added:
                args.keywords.discard(full)
        return found

    def _end(self, node: Node, at: int) -> Command | None:
        found = node.command or (node.only if self.args.no else None)
        if not found:
            last = self.words[-1]
            expected = node.expected()
            wanted = f": {_listed(expected)} expected" if expected else ""
            column = last.column + len(last.text)
            self._fail(Failure(at, column, "incomplete", "incomplete command" + wanted, secret=self._secret()))
        return found

    def _argument(self, name: str, kind: Kind, after: Node, at: int) -> Command | None:
        taken = kind.take(self.words, at)
        word = self.words[at]
        if isinstance(taken, Bad):
            column = self.words[at + taken.at].column
            self._fail(Failure(at, column, "malformed", taken.reason, secret=self._secret(kind, word)))
        if not isinstance(taken, Taken):
            return None
        args = self.args
        kept = len(args.places), len(args.secrets)
        args.enter(name, kind, word, taken, self.words[at : at + taken.words])
        found = self.walk(after, at + taken.words)
        if not found:
            del args.places[kept[0] :], args.secrets[kept[1] :]
            args.pop(name, None)
        return found

    def _secret(self, kind: Kind | None = None, word: Word | None = None) -> int:
        columns = [each.column for each in self.args.secrets]
        if kind and word and kind.secret:
            columns.append(word.column)
        return min(columns, default=0)

    def _no_way(self, node: Node, at: int, ambiguous: bool) -> None:
        if at <= self.failure.depth:
            return
        word = self.words[at]
        secret = self._secret()
        named = "this word" if secret else shown(word.text)
        expected = node.expected()
        if ambiguous:
            meant = [keyword for keyword in node.keywords if keyword.startswith(word.text.lower())]
            failure = Failure(at, word.column, "ambiguous", f"{named} is ambiguous: {_listed(meant)}")
        elif node.command:
            told = f": {_listed(expected)} may stand here" if expected else ""
            failure = Failure(at, word.column, "trailing", f"{named} is not expected here{told}", expected)
        elif node.arguments:
            failure = Failure(at, word.column, "malformed", f"{named} is not {_listed(expected)}", expected)
        else:
            failure = Failure(at, word.column, "unknown", f"unknown command word {named}", expected)
        failure.word, failure.secret = word.text, secret
        self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        if failure.depth > self.failure.depth:
            self.failure = failure


def _listed(expected: Iterable[str]) -> str:
    names = list(expected)
    shown_names = names[:8] + (["..."] if len(names) > 8 else [])
    return " or ".join([", ".join(shown_names[:-1]), shown_names[-1]] if len(shown_names) > 1 else shown_names)


# --- patterns ---------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[][{}|]|<[^>]+>|[^\s<>\[\]{}|]+")


def expand(pattern: str) -> list[tuple[str, ...]]:
    """Return every plain token sequence that a pattern stands for."""
    tokens = _TOKEN.findall(pattern)
    sequences, rest = _alternatives(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"unbalanced pattern: {pattern}")
    return sequences


def _alternatives(tokens: list[str], at: int) -> tuple[list[tuple[str, ...]], int]:
    """Read `a | b | c` up to a closing bracket or the end."""
    found: list[tuple[str, ...]] = []
    branch: list[tuple[str, ...]] = [()]
    while at < len(tokens) and tokens[at] not in "]}":
        token = tokens[at]
        if token == "|":
            found, branch = found + branch, [()]
            at += 1
            continue
        if token in ("[", "{"):
            inner, at = _alternatives(tokens, at + 1)
            options = [*inner, ()] if token == "[" else inner
        else:
            options = [(token,)]
        branch = [before + option for before, option in itertools.product(branch, options)]
        at += 1
    return found + branch, at


def _add(root: Node, tokens: tuple[str, ...], command: Command) -> None:
    node = root
    for token in tokens:
        if token == "*":
            node.command = node.command or command
            name, spec = _REST, "text"
        elif token.startswith("<"):
            name, _, spec = token[1:-1].partition(":")
        else:
            node = node.keywords.setdefault(token, Node())
            continue
        node = node.arguments.setdefault((name, spec), (kind_of(spec), Node()))[1]
    if node.command and node.command.handler is not command.handler:
        raise ValueError(f"two commands for {' '.join(tokens)}")
    node.command = command
