"""Text to tree to model: what `load` and `loads` do."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

from . import acl, crypto, effects, general_prefix, groups, held, qos, references, refused, routes, whole_map
from .commands import grammar
from .grammar import Failure, Match
from .lex import MASK, mask_columns, mask_secrets
from .load import Load
from .model import AccessList, Configuration, Kept
from .pause import uncollected
from .platforms import check_platform, platform_of
from .read import text_of
from .tree import Statement, TreeReader, walk
from .verdicts import LineVerdicts

# Kept commands that `show running-config` prints before all others.
_FIRST = ("version", "service", "boot", "boot-start-marker", "boot-end-marker", "enable", "aaa", "clock", "license")
_MOST_HINTS = 200  # a file that is no configuration at all gets no hint on every line


def load(
    path: str | PathLike[str], model: str | None = None, release: str | None = None, allow_null: bool = False
) -> Configuration:
    """Read a configuration file; bad content becomes `issues`. The other parameters are those of `loads`.

    Raises ConfigError, which names the file and a remedy, when the file cannot be read, or is one of keys or a capture,
    and as `loads` does.
    """
    name = fspath(path)
    text, odd = text_of(name)
    cfg = loads(text, file=name, model=model, release=release, allow_null=allow_null)
    cfg.issues[:0] = odd
    return cfg


def loads(
    text: str, file: str = "<text>", model: str | None = None, release: str | None = None, allow_null: bool = False
) -> Configuration:
    """Read a configuration from text; `file` names it in messages. Never raises, whatever the text: a line that is
    refused is missing from what runs, with an error among `issues`; see qfp.config.held for what it protected.

    model, release: the device that is modelled, such as "isr4300", and its release, such as "16.9" (the default is the
    guide's); None is a device with every feature (AR-11). allow_null: take ESP that neither encrypts nor authenticates.
    Raises ConfigError for a model or release that is not known.
    """
    with uncollected(text.count("\n")):
        return _loads(text, file, model, release, allow_null)


def _loads(text: str, file: str, model: str | None, release: str | None, allow_null: bool) -> Configuration:
    state = Load(file)
    state.cfg.platform.model, state.cfg.platform.release = platform_of(model, release)
    state.cfg.allow_null = allow_null
    reader = TreeReader(grammar())
    root = reader.read(text)
    verdicts = LineVerdicts(text.count("\n") + 1)
    _apply(state, root, state.cfg, "", verdicts)
    _finish(state)
    if reader.after_end:
        told = f"behind 'end', {len(reader.after_end)} lines are no commands: they are left out"
        state.report("note", told, "commands belong before 'end'", line=reader.after_end[0])
    state.cfg.issues = sorted(state.issues, key=lambda issue: (issue.line or 1 << 60, issue.column))
    _judge(verdicts, state)
    verdicts.seal(text)
    state.cfg.lines = verdicts
    return state.cfg


def _finish(state: Load) -> None:
    cfg = state.cfg
    for each in (acl.finish, crypto.finish, qos.finish):
        each(cfg)
    general_prefix.finish(state)
    whole_map.finish(state)
    routes.finish(state)
    groups.finish(state)
    crypto.use_default_set(state)
    cfg.kept.sort(key=lambda kept: _order(kept))
    state.rule = "platform"
    check_platform(state)
    state.rule = "consistency"
    references.check(state)
    state.rule = "no-effect"
    effects.check(state)
    state.rule = "held-down"
    held.check(state)


def _order(kept: Kept) -> int:
    words = kept.text.lower().removeprefix("no ").split()
    return 0 if words and words[0] in _FIRST else 1


# --- applying the tree


def _apply(state: Load, parent: Statement, section: Any, path: str, verdicts: LineVerdicts) -> None:
    """Apply the statements of a section, and of the sections that they open."""
    for statement in parent.children:
        state.statement = statement
        found = statement.found
        inner: Any = None
        here = path
        verdict, text = "comment", statement.text
        if statement.run is not None:
            statement.run.apply(state, section)
            verdicts.add(statement.line, "applied", _under(path, statement), count=statement.run.count)
            continue
        if statement.kind == "raw":
            verdict, text = "kept", mask_secrets(text)
            _keep_raw(section, statement, statement.indent - parent.indent)
        elif statement.kind == "leave":
            verdict = "applied"
        elif isinstance(found, Match):
            verdict, text = found.command.verdict, _masked(statement, found)
            here = _under(path, statement)
            inner = _handle(state, parent, section, found)
            state.remember(section if section is not None else state.cfg, found.args)
        elif isinstance(found, Failure):
            verdict, text = _report(state, statement, section, found), _cut(statement, found)
            refused.note(state, parent, section, found)
        _judged(verdicts, statement, verdict, text, here)
        if isinstance(found, Failure):
            _pass_over(statement, verdicts)
        elif statement.children:
            _apply(state, statement, inner, here, verdicts)


def _judged(verdicts: LineVerdicts, statement: Statement, verdict: str, text: str, path: str) -> None:
    """Give a statement its verdict, and the lines of its block theirs. text: the line as it may be shown."""
    masked = text if statement.cut or text != statement.text else None
    verdicts.add(statement.line, verdict, path, masked)
    if statement.block:
        verdicts.add(statement.line + 1, "kept", path, count=len(statement.block))


def _under(path: str, statement: Statement) -> str:
    """The path of commands of a statement that is one."""
    assert isinstance(statement.found, Match)
    pattern = statement.found.command.pattern
    return f"{path} > {pattern}" if path else pattern


def _handle(state: Load, parent: Statement, section: Any, found: Match) -> Any:
    """Let a command have its effect; one that is refused for its values is noted."""
    errors = state.errors
    if isinstance(section, AccessList):
        refused.note_groups(state, section)
    inner = found.command.handler(state, section, found.args)
    if state.errors > errors:
        refused.note(state, parent, section, found)
    return inner


def _pass_over(head: Statement, verdicts: LineVerdicts) -> None:
    """What a refused head contains is kept unread: it belongs to nothing, and nothing is said of its lines. No run of
    lines read together stands there, because those are global commands."""
    for statement in walk(head):
        found = statement.found
        if statement.kind == "comment":
            verdict, text = "comment", statement.text
        elif isinstance(found, Match):
            verdict, text = "kept", mask_secrets(_masked(statement, found))
        else:
            verdict = "kept"
            text = _cut(statement, found) if isinstance(found, Failure) else mask_secrets(statement.text)
        _judged(verdicts, statement, verdict, text, "")


def _keep_raw(section: Any, statement: Statement, indent: int) -> None:
    """Keep a line that nobody reads, `indent` characters further in than the head of its section."""
    if isinstance(section, Kept):
        text = " ".join(word.text for word in statement.words)
        section.children.append(" " * max(1, indent) + text)
        section.children += statement.block


def _masked(statement: Statement, match: Match) -> str:
    if match.args.secrets:
        return mask_columns(statement.text, match.args.secrets)
    return mask_secrets(statement.text) if match.command.verdict == "kept" else statement.text


def _cut(statement: Statement, failure: Failure) -> str:
    if failure.secret:
        return statement.text[: failure.secret - 1] + MASK
    words = statement.words
    if len(words) > 3 and words[0].text.lower().startswith("cr") and words[1].text.lower().startswith("isa"):
        # A misspelt `crypto isakmp key` has its key behind a word that nobody knows.
        return statement.text[: words[3].column - 1] + MASK
    return mask_secrets(statement.text)


def _report(state: Load, statement: Statement, section: Any, failure: Failure) -> str:
    """Report a line that is no command; an unknown word leaves the line without effect, the rest is an error."""
    severity = "warning" if failure.reason == "unknown" else "error"
    key = "hints given"
    state.index[key] = state.index.get(key, 0) + 1
    hints = []
    if state.index[key] <= _MOST_HINTS:
        typed = " ".join(word.text for word in statement.words[:3])
        hints.append(failure.hint(grammar().heads.get(statement.mode, ()), typed))
    hints.append(refused.missing(section, statement, failure))
    state.rule = "unknown-command" if failure.reason == "unknown" else "syntax"
    state.report(severity, failure.message, "; ".join(filter(None, hints)), column=failure.column)
    state.rule = "value"
    return severity


def _judge(verdicts: LineVerdicts, state: Load) -> None:
    """Let the gravest issue of a line decide its verdict."""
    worst = dict.fromkeys(state.without_effect, "kept")
    for issue in state.cfg.issues:
        if issue.severity == "error" or (issue.severity == "warning" and worst.get(issue.line) != "error"):
            worst[issue.line] = issue.severity
    for line, verdict in worst.items():
        verdicts.judge(line, verdict)
