"""What handlers of commands share: the configuration being built, where to report, and the commonest handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .defaults import default_of
from .grammar import Args, Handler, Match
from .issues import Issue
from .lex import mask_keys
from .model import Configuration, Kept
from .tree import Statement
from .unmodelled import Kind, kind_of


@dataclass(frozen=True)
class Lost:
    """A line that was refused, and what it belonged to: what qfp.config.held judges.

    words: as typed, keys left out; mode: of the section in which it stands; section: that section, None where its head
    was refused too; head: words of the section's head. known: whether its command is one that there is, so that it is
    an error. opens: mode of the section that it was to open, "" for none; inside: that section as far as it could be
    read, applied to nothing. doubtful: its values are refused, so that none of them can be believed.
    """

    line: int
    words: tuple[str, ...]
    mode: str
    section: Any
    head: tuple[str, ...] = ()
    known: bool = True
    opens: str = ""
    inside: Any = None
    doubtful: bool = False


class Load:
    """The state of one load.

    `places` remembers where a section named something, so that checks after the load can point at it, `marks` which
    line set a field;
    `index` finds entries of lists by whatever their family of commands calls them.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.cfg = Configuration(file=file)
        self.issues: list[Issue] = []
        self.statement = Statement(0, "", [], "command")
        self.places: dict[tuple[int, str, str], tuple[Any, int, int]] = {}
        self.marks: dict[tuple[int, str], tuple[Any, int, int]] = {}
        self.without_effect: set[int] = set()  # lines that are read and heeded by nothing
        self.index: dict[Any, Any] = {}
        self.left_out: dict[Kind, dict[int, int]] = {}  # line -> column
        self.lost: list[Lost] = []
        self.errors = 0
        self.rule = "value"  # of SARIF, for what is reported at present

    def report(
        self, severity: str, message: str, hint: str = "", *, line: int | None = None, column: int | None = None
    ) -> None:
        """Add an issue, at the present line unless told otherwise."""
        if line is None:
            line = self.statement.line
            column = column or (self.statement.words[0].column if self.statement.words else 0)
        place = line, column or (1 if line else 0)
        self.errors += severity == "error"
        self.issues.append(Issue(severity, self.file, *place, mask_keys(message), mask_keys(hint), self.rule))

    def error(self, message: str, hint: str = "", *, line: int | None = None, column: int | None = None) -> None:
        """Report something that is refused: it is missing from what runs."""
        self.report("error", message, hint, line=line, column=column)

    def lose(self, section: Any, mode: str, line: int) -> None:
        """Note that a section cannot be used as it stands, for an error that the whole configuration shows."""
        self.lost.append(Lost(line, (), mode, section))

    def warn(self, message: str, hint: str = "", *, line: int | None = None, column: int | None = None) -> None:
        """Report something that leaves part of the configuration without effect."""
        self.report("warning", message, hint, line=line, column=column)

    def leave_out(self, told: bool) -> None:
        """Note that the present line is one of a kind that is not modelled; see unmodelled.kind_of."""
        found = self.statement.found
        kind = kind_of(found.command.mode, found.command.pattern, told) if isinstance(found, Match) else None
        if kind is not None:
            self.left_out.setdefault(kind, {})[self.statement.line] = self.statement.words[0].column

    def add_once(self, items: list[Any], item: Any) -> None:
        """Append to a list what is not in it yet; the time does not grow with the list."""
        seen: set[Any] | None = self.index.get(("seen", id(items)))
        if seen is None:
            seen = self.index["seen", id(items)] = set(items)
        if item not in seen:
            seen.add(item)
            items.append(item)

    def retain(self, items: list[Any], kept: list[Any]) -> None:
        """Make a list hold just what is kept of it."""
        items[:] = kept
        self.index.pop(("seen", id(items)), None)

    def remember(self, section: Any, args: Args) -> None:
        """Note where a section's command names other things."""
        for kind, name, column in args.places:
            self.places[id(section), kind, name] = (section, self.statement.line, column)

    def mark(self, section: Any, attribute: str) -> None:
        """Note that the present line sets a field."""
        words = self.statement.words
        self.marks[id(section), attribute] = (section, self.statement.line, words[0].column if words else 1)

    def marked(self, section: Any, attribute: str) -> tuple[int, int] | None:
        """Line and column of the line that set a field."""
        found = self.marks.get((id(section), attribute))
        return found[1:] if found is not None else None

    def place(self, section: Any, kind: str, name: str) -> tuple[int, int]:
        """Return line and column at which a section (or else the global mode) named something; (0, 0) if nowhere."""
        found = self.places.get((id(section), kind, name)) or self.places.get((id(self.cfg), kind, name))
        return (found[1], found[2]) if found else (0, 0)


def assign(attribute: str, argument: str = "value") -> Handler:
    """A handler that stores one argument in a field of the section; `no` restores the default."""

    def handler(load: Load, section: Any, args: Args) -> None:
        setattr(section, attribute, default_of(section, attribute) if args.no else args[argument])
        load.mark(section, attribute)

    return handler


def flag(attribute: str, on: bool = True) -> Handler:
    """A handler that switches a field of the section on, or off with `no`."""

    def handler(load: Load, section: Any, args: Args) -> None:
        setattr(section, attribute, on != args.no)
        load.mark(section, attribute)

    return handler


def describe(load: Load, section: Any, args: Args) -> None:
    """A handler of `description`; without a text there is none."""
    section.description = None if args.no else args.get("value")


def below(part: str, handler: Handler) -> Handler:
    """Apply a handler to a part of the section: `below("tunnel", assign("mode"))`."""

    def descend(load: Load, section: Any, args: Args) -> Any:
        return handler(load, getattr(section, part), args)

    return descend


def written(load: Load) -> str:
    """Return the present line with single spaces."""
    return " ".join(word.text for word in load.statement.words)


def keep(load: Load, section: Any, args: Args) -> Kept:
    """Keep a command that has no effect on the data plane here, and open its section if it has one. Where it would have
    one on a router, it is counted among its kind."""
    if not args.no:
        load.leave_out(told=False)
    kept = Kept(written(load), block=list(load.statement.block))
    into = section.kept if hasattr(section, "kept") else section.children
    into.append(kept if not isinstance(section, Kept) else " " + kept.text)
    return kept


def _named(load: Load) -> str:
    words = load.statement.words
    return " ".join(word.text for word in words[: 3 if words[0].text.lower() == "no" else 2])


def keep_with_warning(load: Load, section: Any, args: Args) -> Kept:
    """Keep a command that does have an effect on a router, but none here: one warning for all lines of its kind."""
    if not args.no:
        load.leave_out(told=True)
    return keep(load, section, args)


def not_modelled(load: Load, section: Any, args: Args) -> None:
    """Say that a command known to IOS has no effect here; it is not kept."""
    load.warn(f"'{_named(load)}' is not modelled: it has no effect in qfp")
