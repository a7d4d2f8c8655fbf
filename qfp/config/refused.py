"""Lines that are refused: what each belonged to, and what is missing without it.

An error costs its own object. The line is left out, the rest of its section stands, and a section whose head is refused
is missing as a whole. What was lost is noted here; qfp.config.held asks these notes what may not leave in clear.
"""

from __future__ import annotations

import itertools
from typing import Any

from .commands import grammar
from .grammar import Failure, Match
from .load import Load, Lost
from .model import (
    AccessList,
    ClassMap,
    ClassPolicy,
    CryptoMapEntry,
    Interface,
    IpsecProfile,
    IsakmpProfile,
    Keyring,
    TunnelConfig,
)
from .transforms import TransformSet
from .tree import LOST, Statement, walk

# Modes that lines below a refused head are held against where the head does not tell which it was.
_GUESSES = ("acl", "acl6", "crypto-map", "interface", "profile")
_MOST_LINES = 200  # that are looked at below one refused head
_NAMED: dict[type, str] = {
    AccessList: "access list", ClassMap: "class map", ClassPolicy: "class", Interface: "interface",
    IpsecProfile: "IPsec profile", IsakmpProfile: "ISAKMP profile", Keyring: "keyring", TransformSet: "transform set",
}  # fmt: skip


def missing(section: Any, statement: Statement, failure: Failure) -> str:
    """What the configuration goes without for a line that is no command, "" where the line itself says all."""
    below = sum(each.kind in ("command", "raw") for each in walk(statement))
    if below:
        return f"the {'line' if below == 1 else f'{below} lines'} below it {'has' if below == 1 else 'have'} no effect"
    if failure.reason == "unknown":
        return ""
    return f"{name_of(section)} goes without it" if name_of(section) else ""


def name_of(section: Any) -> str:
    """A section as messages name it; "" for what has no name."""
    if isinstance(section, CryptoMapEntry):
        return f"entry {section.seq}"
    kind = _NAMED.get(type(section), "")
    return f"{kind} {section.name}" if kind else ""


def note(state: Load, parent: Statement, section: Any, found: Match | Failure) -> None:
    """Note that the present line is refused, as a command that is not known or for its values."""
    statement = state.statement
    if isinstance(section, ClassMap):
        section.refused = True
    secret = found.secret if isinstance(found, Failure) else min((w.column for w in found.args.secrets), default=0)
    words = tuple(word.text for word in statement.words if not secret or word.column < secret)
    head = tuple(word.text for word in parent.words)
    known = isinstance(found, Match) or found.reason != "unknown"
    opens = _opens(statement) if isinstance(found, Failure) else ""
    inside = _read(state, statement) if opens == "interface" else None
    doubtful = isinstance(found, Match)
    state.lost.append(Lost(statement.line, words, statement.mode, section, head, known, opens, inside, doubtful))


def note_groups(state: Load, section: AccessList) -> None:
    """Note which object groups an entry of an access list names: the words behind `object-group`."""
    words = [word.text for word in state.statement.words]
    named = {after for word, after in itertools.pairwise(words) if word.lower() == "object-group"}
    if named:
        state.index.setdefault(("object groups", id(section)), []).append(named)


def _opens(statement: Statement) -> str:
    """Mode of the section that a refused line was to open, by its head or by what stands below it."""
    if statement.opens != LOST:
        return statement.opens if statement.children else ""
    lines = [each for each in statement.children if each.kind == "raw"][:_MOST_LINES]
    first = lines[0].words[0].text.lower() if lines else ""
    for mode in _GUESSES if lines else ():
        if first not in grammar().modes[mode].short and first not in ("permit", "deny") and not first.isdecimal():
            continue
        if all(isinstance(grammar().match(mode, each.words), Match) for each in lines):
            return mode
    return ""


def _read(state: Load, head: Statement) -> Interface:
    """The interface below a refused head, applied to nothing: its addresses tell which routes are missing."""
    inside = Interface("", tunnel=TunnelConfig(), line=head.line)
    issues, errors, statement = state.issues, state.errors, state.statement
    state.issues = []
    for child in head.children[:_MOST_LINES]:
        found = child.found if child.found is not None else grammar().match("interface", child.words or head.words)
        if child.words and isinstance(found, Match) and found.command.mode == "interface":
            state.statement = child
            found.command.handler(state, inside, found.args)
    state.issues, state.errors, state.statement = issues, errors, statement
    return inside
