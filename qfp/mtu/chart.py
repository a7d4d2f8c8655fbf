"""The picture of paths as a drawing: SVG, PNG or PDF. matplotlib is an extra, and imported when it is asked for."""

from pathlib import Path
from typing import Any

from qfp import drawing
from qfp.mtu import picture
from qfp.mtu.paths import MtuError

Facts = dict[str, Any]
WIDTH, LABEL = 1000, 60  # units of the stretched axis, and what a label takes of them
INCHES, ROW_INCHES, HEAD_INCHES, LEGEND_INCHES = 11.0, 0.42, 0.7, 1.2
HATCH = "///"


def suffix_of(target: Path) -> str:
    """The kind of drawing. Raises MtuError for another than those there are."""
    return drawing.suffix_of(target, MtuError)


def library() -> Any:
    """matplotlib. Raises MtuError when it is not installed."""
    return drawing.library(MtuError)


def write(target: Path, paths: list[Facts], title: str) -> None:
    """Draw the paths that were swept into a file. Raises MtuError, TraceError."""
    swept = [path for path in paths if path["lines"]]
    drawing.write(target, lambda matplotlib: draw(matplotlib, swept, title), MtuError)


def draw(matplotlib: Any, paths: list[Facts], title: str) -> Any:
    """The figure: one panel a path, one legend."""
    panels = [picture.rows(path) for path in paths]
    heights = [HEAD_INCHES + ROW_INCHES * len(rows) for rows in panels]
    figure = matplotlib.figure.Figure(figsize=(INCHES, LEGEND_INCHES + sum(heights)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, path, rows in zip(axes, paths, panels, strict=True):
        _panel(panel, path, rows)
    axes[-1].set_xlabel("bytes of the IP packet (stretched where something changes)")
    handles = _handles(matplotlib.patches.Patch, [cell for rows in panels for row in rows for cell in row.cells])
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panel(panel: Any, path: Facts, rows: list[picture.Row]) -> None:
    axis = picture.scale(rows, WIDTH, LABEL)
    for k, row in enumerate(rows):
        for cell in row.cells:
            _cell(panel, axis, -k, cell)
    panel.set_title(f"{path['where']}: {path['rule']}", loc="left")
    panel.set_yticks([-k for k in range(len(rows))], [row.name.strip() for row in rows])
    panel.set_xticks(axis.columns, [*map(str, axis.edges[:-1]), str(axis.edges[-1] - 1)])
    panel.tick_params(axis="y", length=0)
    panel.set_xlim(0, WIDTH)
    panel.set_ylim(0.5 - len(rows), 0.5)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _cell(panel: Any, axis: picture.Scale, y: int, cell: picture.Cell) -> None:
    letter, _, colour, _ = cell.look
    left, right = axis.at(cell.first), axis.at(cell.last + 1)
    hatch = HATCH if cell.host else None
    panel.barh(y, right - left, left=left, height=0.8, color=colour, edgecolor="white", hatch=hatch, linewidth=0.8)
    box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.25"}
    panel.text((left + right) / 2, y, letter, ha="center", va="center_baseline", fontweight="bold", bbox=box)


def _handles(patch: Any, cells: list[picture.Cell]) -> list[Any]:
    """What letters, colours and hatches mean."""
    looks = dict.fromkeys(cell.look for cell in cells)
    found = [patch(color=colour, label=f"{letter}  {meaning}") for letter, _, colour, meaning in looks]
    if any(cell.host for cell in cells):
        found.append(patch(facecolor="white", edgecolor="grey", hatch=HATCH, label="in fragments of the host's making"))
    return found
