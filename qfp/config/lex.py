"""Lines to words. A word knows its column, so that every message can point at it."""

from __future__ import annotations

import re
from typing import NamedTuple

_WORD = re.compile(r"\S+")
_tuple = tuple.__new__  # Word(...) takes twice the time, and there are ten million words in a million lines

MASK = "********"
# Words after which IOS prints a key or password; a digit in between is the kind of encoding (0, 5, 6, 7, 8, 9).
_SECRET_AFTER = re.compile(
    r"\b(pre-shared-key\s+(?:local|remote)|auth\s+sha|priv\s+(?:3?des|aes\s+[0-9]+)|"
    r"password|secret|key-string|(?<!-)community|authenticator|cipher|passphrase|md5|"
    r"session-key\s+\S+\s+ah\s+\S+|authentication-key|"
    r"(?:nhrp|standby(?:\s+[0-9]+)?|(?:vrrp|glbp)\s+[0-9]+)\s+authentication(?:\s+text)?(?!\s+(?:md5|text)\b)|"
    r"key(?!\s+(?:chain|generate|[0-9]+\s*$)))(\s+[0-9])?(\s+)(\S+)",
    re.IGNORECASE,
)


# Digits of a key, wherever they stand: 64 bits and more, also in words of 32 bits
_KEY_LIKE = re.compile(
    r"(?<![0-9A-Za-z])(?:0[xX][0-9A-Fa-f]{12,}|[0-9A-Fa-f]{16,}|(?:[0-9A-Fa-f]{8}[ :_-]){2,}[0-9A-Fa-f]{8})"
    r"(?![0-9A-Za-z])"
)
_QUOTED = re.compile(r"'(?:0[xX])?[0-9A-Fa-f]{8,}'")  # a word of a key that is written in groups


class Word(NamedTuple):
    """One word of a line; `column` counts from 1."""

    text: str
    column: int


def words_of(line: str) -> list[Word]:
    """Split a line at white space."""
    return [_tuple(Word, (found.group(), found.start() + 1)) for found in _WORD.finditer(line)]


def indent_of(line: str) -> int:
    """Return how many white-space characters a line begins with."""
    return len(line) - len(line.lstrip())


def mask_secrets(line: str) -> str:
    """Replace what looks like a key or a password in a line that the grammar did not interpret."""
    return _KEY_LIKE.sub(MASK, _SECRET_AFTER.sub(_masked, line))


def mask_keys(text: str) -> str:
    """Replace what looks like the digits of a key, in a message."""
    return _QUOTED.sub(f"'{MASK}'", _KEY_LIKE.sub(MASK, text))


def _masked(found: re.Match[str]) -> str:
    return f"{found.group(1)}{found.group(2) or ''}{found.group(3)}{MASK}"


def mask_columns(line: str, spans: list[Word]) -> str:
    """Replace the given words of a line by the mask."""
    for word in sorted(spans, key=lambda each: each.column, reverse=True):
        start = word.column - 1
        line = line[:start] + MASK + line[start + len(word.text) :]
    return line
