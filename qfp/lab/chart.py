"""Journeys as a drawing: what became of the packets of each moment, and how long the delivered ones took."""

from pathlib import Path
from typing import Any

import numpy as np

from qfp import drawing
from qfp.lab.errors import PictureError
from qfp.lab.flow import Array
from qfp.lab.journeys import DELIVERED, LOST, Journeys

BINS = 100
POINTS = 20_000  # delivered packets that are drawn, evenly chosen
INCHES = (10.0, 6.0)
DELIVERED_COLOUR, OTHER_COLOUR = "#b8c4d0", "#e6e6e6"
LOST_COLOURS = ("#b2182b", "#2166ac", "#fdb863", "#67c7d8", "#762a83", "#1b7837")


def check(target: Path) -> None:
    """Refuse what cannot be drawn, before any work. Raises PictureError."""
    drawing.suffix_of(target, PictureError)
    drawing.library(PictureError)


def write(target: Path, journeys: Journeys, title: str) -> None:
    """Draw journeys into a file. Raises PictureError, TraceError."""
    drawing.write(target, lambda matplotlib: draw(matplotlib, journeys, title), PictureError)


def draw(matplotlib: Any, journeys: Journeys, title: str) -> Any:
    """The figure."""
    figure = matplotlib.figure.Figure(figsize=INCHES, layout="constrained")
    figure.suptitle(title)
    upper, lower = figure.subplots(2, 1, sharex=True)
    _ends(upper, journeys)
    _delays(lower, journeys)
    lower.set_xlabel("lab time of injection, s")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    for panel in (upper, lower):
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure


def stacks(journeys: Journeys) -> tuple[Array, dict[str, Array]]:
    """(edges of time bins in ns, packets of each bin by what became of them: delivered, other, then causes of loss)."""
    c = journeys.columns
    edges = np.linspace(c["ts"].min(), c["ts"].max() + 1, BINS + 1) if c["ts"].size else np.arange(BINS + 1)
    state, out = c["state"], {}
    rest = (state != DELIVERED) & (state != LOST)
    groups = {"delivered": state == DELIVERED} | ({"for a router": rest} if rest.any() else {})
    lost = np.flatnonzero(state == LOST)
    causes, counts = np.unique(c["cause"][lost], return_counts=True)
    for cause in causes[np.argsort(-counts, kind="stable")].tolist():
        groups[journeys.word(cause)] = (state == LOST) & (c["cause"] == cause)
    for name, rows in groups.items():
        out[name] = np.histogram(c["ts"][rows], edges)[0]
    return edges, out


def _ends(panel: Any, journeys: Journeys) -> None:
    edges, groups = stacks(journeys)
    base = np.zeros(BINS)
    colours = iter(LOST_COLOURS * (1 + len(groups) // len(LOST_COLOURS)))
    fixed = {"delivered": DELIVERED_COLOUR, "for a router": OTHER_COLOUR}
    for name, counts in groups.items():
        label = f"{name}: {int(counts.sum()):,}"
        colour = fixed.get(name) or next(colours)
        panel.bar(edges[:-1] / 1e9, counts, np.diff(edges) / 1e9, bottom=base, align="edge", color=colour, label=label)
        base += counts
    panel.set_ylabel("packets injected")


def _delays(panel: Any, journeys: Journeys) -> None:
    c = journeys.columns
    rows = np.flatnonzero(c["state"] == DELIVERED)
    rows = rows[:: max(1, rows.size // POINTS)]
    panel.plot(c["ts"][rows] / 1e9, (c["end"][rows] - c["ts"][rows]) / 1e6, ".", markersize=1.5, color="#2166ac",
               rasterized=True)  # fmt: skip
    panel.set_ylabel("delay of the delivered, ms")
    panel.set_ylim(bottom=0)
