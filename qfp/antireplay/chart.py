"""Drops against window size as a drawing: a panel an SA, a line a scheme."""

from pathlib import Path
from typing import Any

from qfp import drawing
from qfp.antireplay.columns import ReplayLabError

Facts = dict[str, Any]
PANELS = 8  # SAs that are drawn: those that lose most, then the busiest
INCHES, PANEL_INCHES, LEGEND_INCHES = 9.0, 2.6, 0.9
LINES = {  # colour, mark, line, width: told apart without red and green, in grey, and where one lies on the other
    "plain": ("#b2182b", "o", "-", 4.0), "esn": ("#fdb863", "s", "--", 1.5), "sns": ("#2166ac", "^", "-", 4.0),
    "rfc9611": ("#67c7d8", "v", "--", 1.5), "selector": ("#2166ac", "^", "-", 4.0),
}  # fmt: skip


def check(target: Path) -> None:
    """Refuse what cannot be drawn, before any work. Raises ReplayLabError."""
    drawing.suffix_of(target, ReplayLabError)
    drawing.library(ReplayLabError)


def worst(sas: list[Facts]) -> list[Facts]:
    """The SAs that are drawn, in their order."""
    order = sorted(range(len(sas)), key=lambda k: (-sas[k]["schemes"][0]["drops"][0]["late"], -sas[k]["packets"], k))
    return [sas[k] for k in sorted(order[:PANELS])]


def write(target: Path, sas: list[Facts], total: int, title: str) -> None:
    """Draw SAs, out of `total`, into a file. Raises ReplayLabError, TraceError."""
    shown = worst(sas)
    if len(shown) < total:
        title += f" ({len(shown)} of {total} SAs)"
    drawing.write(target, lambda matplotlib: draw(matplotlib, shown, title), ReplayLabError)


def draw(matplotlib: Any, sas: list[Facts], title: str) -> Any:
    """The figure."""
    height = LEGEND_INCHES + PANEL_INCHES * max(1, len(sas))
    figure = matplotlib.figure.Figure(figsize=(INCHES, height), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(max(1, len(sas)), 1, squeeze=False)[:, 0]
    for panel, sa in zip(axes, sas, strict=False):
        _panel(panel, sa)
    axes[-1].set_xlabel("window N (of each space)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _panel(panel: Any, sa: Facts) -> None:
    sizes = [drop["window"] for drop in sa["schemes"][0]["drops"]]
    for scheme in sa["schemes"]:
        colour, mark, line, width = LINES[scheme["scheme"]]
        lost = [drop["late"] for drop in scheme["drops"]]
        panel.plot(sizes, lost, color=colour, marker=mark, markersize=4 + width, linestyle=line, linewidth=width,
                   label=scheme["scheme"])  # fmt: skip
        if sizes[0] <= scheme["loss_free_window"] <= sizes[-1]:
            panel.axvline(scheme["loss_free_window"], color=colour, linestyle=":", linewidth=width / 2)
    panel.set_xscale("log", base=2)
    panel.set_yscale("symlog", linthresh=1)
    panel.set_ylim(0, 2 * max(1, *(drop["late"] for scheme in sa["schemes"] for drop in scheme["drops"])))
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.set_ylabel("packets dropped")
    least = ", ".join(f"{scheme['scheme']} {scheme['loss_free_window']:,}" for scheme in sa["schemes"])
    title = f"{sa['proto']} {sa['spi']} to {sa['dst']}, {sa['packets']:,} packets"
    panel.set_title(f"{title}; smallest window without loss (dotted): {least}", loc="left", fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
