"""The facts behind `qfp check`: one row a line, with what became of it."""

from __future__ import annotations

from collections import Counter

from .model import Configuration, LineVerdict

VERDICTS = ("applied", "kept", "comment", "warning", "error")


def verdict_rows(cfg: Configuration, *, comments: bool = False) -> list[LineVerdict]:
    """Return the verdict of every line, in order; comments and empty lines only when asked for."""
    return [each for each in cfg.lines if comments or each.verdict != "comment"]


def verdict_counts(cfg: Configuration) -> dict[str, int]:
    """Return how many lines came to which verdict; every verdict is there, if with 0."""
    counted = Counter(each.verdict for each in cfg.lines)
    return {verdict: counted[verdict] for verdict in VERDICTS}
