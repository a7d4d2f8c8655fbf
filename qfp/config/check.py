"""The facts behind `qfp check`: one row a line, with what became of it."""

from __future__ import annotations

from collections import Counter

from .model import Configuration
from .verdicts import VERDICTS, LineVerdict, LineVerdicts

__all__ = ["VERDICTS", "verdict_counts", "verdict_rows"]


def verdict_rows(cfg: Configuration, *, comments: bool = False) -> list[LineVerdict]:
    """Return the verdict of every line, in order; comments and empty lines only when asked for."""
    return [each for each in cfg.lines if comments or each.verdict != "comment"]


def verdict_counts(cfg: Configuration) -> dict[str, int]:
    """Return how many lines came to which verdict; every verdict is there, if with 0."""
    if isinstance(cfg.lines, LineVerdicts):
        return cfg.lines.counts()
    counted = Counter(each.verdict for each in cfg.lines)
    return {verdict: counted[verdict] for verdict in VERDICTS}
