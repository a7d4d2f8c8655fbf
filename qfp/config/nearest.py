"""Finding the name that was probably meant, in time that does not grow with the number of names known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 64


class Nearest:
    """An index of names that answers with one that differs by a single slip (a letter more, less, other or swapped).

    Two words one slip apart share a form with one letter deleted, so that a dictionary of such forms suffices.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._forms: dict[str, str] = {}
        for name in names:
            if len(name) <= _LONGEST:
                for form in _forms(name):
                    self._forms.setdefault(form, name)

    def find(self, word: str) -> str | None:
        """Return a known name one slip away from `word`, or None. Numbers are never taken for slips."""
        if word.isdigit() or not 3 <= len(word) <= _LONGEST:
            return None
        return next((self._forms[form] for form in _forms(word) if form in self._forms), None)


def _forms(word: str) -> list[str]:
    lower = word.lower()
    return [lower, *(lower[:i] + lower[i + 1 :] for i in range(len(lower)))]


def similar(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like `word`; slower than `Nearest`, for short lists of commands."""
    if len(word) > _LONGEST:
        return None
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
