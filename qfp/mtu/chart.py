"""The picture of paths as a drawing: SVG, PNG or PDF. matplotlib is an extra, and imported when it is asked for."""

from pathlib import Path
from typing import Any

from qfp import drawing
from qfp.mtu import picture
from qfp.mtu.paths import MtuError

Facts = dict[str, Any]
Panel = tuple[str, list[picture.Row]]  # its title, its rows
PANELS_MAX = 64  # of a drawing: laying out more takes minutes, and nobody could read it
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
    library()
    panels = _panels([path for path in paths if any(line["bands"] for line in path["lines"])])
    if not panels:
        raise MtuError(f"{target}: no size was swept, so there is nothing to draw: the answer without -o says why")
    if len(panels) > PANELS_MAX:
        raise MtuError(f"{target}: {len(panels)} paths that differ are too many for one drawing ({PANELS_MAX} fit): "
                       "choose some with --to or --in")  # fmt: skip
    drawing.write(target, lambda matplotlib: draw(matplotlib, panels, title), MtuError)


def _panels(paths: list[Facts]) -> list[Panel]:
    """One panel for all paths whose sizes fare the same, named by the first."""
    found: dict[tuple[picture.Row, ...], list[Facts]] = {}
    for path in paths:
        found.setdefault(tuple(picture.rows(path)), []).append(path)
    panels = []
    for rows, (first, *others) in found.items():
        more = f", and {len(others)} more alike" if others else ""
        panels.append((f"{first['where']}: {first['rule']}{more}", list(rows)))
    return panels


def draw(matplotlib: Any, panels: list[Panel], title: str) -> Any:
    """The figure: its panels, one legend."""
    heights = [HEAD_INCHES + ROW_INCHES * len(rows) for _, rows in panels]
    figure = matplotlib.figure.Figure(figsize=(INCHES, LEGEND_INCHES + sum(heights)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (name, rows) in zip(axes, panels, strict=True):
        _panel(axis, name, rows)
    axes[-1].set_xlabel("bytes of the IP packet (stretched where something changes)")
    handles = _handles(matplotlib.patches.Patch, [cell for _, rows in panels for row in rows for cell in row.cells])
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panel(panel: Any, name: str, rows: list[picture.Row]) -> None:
    axis = picture.scale(rows, WIDTH, LABEL)
    for k, row in enumerate(rows):
        for cell in row.cells:
            _cell(panel, axis, -k, cell)
    panel.set_title(name, loc="left")
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
