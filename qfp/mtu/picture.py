"""The picture of a path: one row a family and DF, sizes along it, a letter and a colour a fate.

Nearly everything of interest lies in a hundred of nine thousand sizes. So the axis is stretched: every stretch of sizes
in which no row changes gets room for its label, and the rest is shared out by the logarithm of their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Any

from qfp.mtu.bands import line_name

Facts = dict[str, Any]
LABEL = 6  # columns that a size and a gap take
# Word of a fate -> letter, colour at a terminal, colour of a drawing (told apart without red and green), what it is
ROUTER = {
    "silent": ("X", "red", "#b2182b", "dropped, no ICMP"),
    "vanished": ("X", "red", "#b2182b", "not sent on"),
    "dropped": ("D", "yellow", "#fdb863", "dropped, ICMP to the source"),
    "in clear": ("C", "bright_red", "#f768a1", "sent in the clear"),
    "after encryption": ("A", "magenta", "#9970ab", "fragmented after encryption"),
    "at egress": ("E", "bright_magenta", "#c2a5cf", "fragmented at egress"),
    "gre before encryption": ("G", "bright_blue", "#4393c3", "GRE packet fragmented before encryption"),
    "before encryption": ("B", "blue", "#2166ac", "fragmented before encryption"),
    "tunnel mtu": ("T", "cyan", "#67c7d8", "fragmented by the tunnel's ip mtu"),
    "whole": ("W", "green", "#a6dba0", "whole"),
}
PEER = {
    "lost": ("x", "red", "#b2182b", "lost at the peer"),
    "fragments": ("f", "blue", "#2166ac", "delivered as fragments"),
    "reassembled before decryption": ("r", "magenta", "#9970ab", "reassembled before decryption"),
    "reassembled after decryption": ("g", "bright_blue", "#4393c3", "reassembled after decryption"),
    "delivered": ("w", "green", "#a6dba0", "delivered as sent"),
    "nothing": (".", "bright_black", "#e0e0e0", "nothing sent"),
}
AT_PEER = "  at the peer"


@dataclass(frozen=True)
class Cell:
    """A stretch of a row: sizes first..last share `fate`, a key of ROUTER or PEER. host: sent in fragments."""

    first: int
    last: int
    fate: str
    host: bool

    @property
    def look(self) -> tuple[str, str, str, str]:
        """Letter, colour at a terminal, colour of a drawing, meaning."""
        return ROUTER[self.fate] if self.fate in ROUTER else PEER[self.fate]


@dataclass(frozen=True)
class Row:
    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Scale:
    """Where sizes lie: edges[k] starts at columns[k]; the last edge is behind the last size."""

    edges: list[int]
    columns: list[int]

    def at(self, size: int) -> int:
        """First column of a size that is an edge."""
        return self.columns[self.edges.index(size)]


def rows(path: Facts) -> list[Row]:
    """The rows of a path's facts: of lines of which a size was swept."""
    found = []
    for line in path["lines"]:
        if not line["bands"]:
            continue
        found.append(Row(line_name(line["family"], line["df"]), tuple(_router_cell(band) for band in line["bands"])))
        if any(band["fate"]["peer"] for band in line["bands"]):
            found.append(Row(AT_PEER, tuple(_peer_cell(band) for band in line["bands"])))
    return found


def _router_cell(band: Facts) -> Cell:
    fate = band["fate"]
    words = ["silent" if w == "dropped" and fate["icmp"] is None else w for w in fate["router"]]
    worst = next((word for word in ROUTER if word in words), "whole")
    return Cell(band["first"], band["last"], worst, fate["host"] == "fragments")


def _peer_cell(band: Facts) -> Cell:
    peer = band["fate"]["peer"]
    worst = "nothing" if peer is None else next((word for word in PEER if word in peer["fate"]), "delivered")
    return Cell(band["first"], band["last"], worst, band["fate"]["host"] == "fragments")


def scale(found: list[Row], width: int, label: int = LABEL) -> Scale:
    """The stretched axis, `width` columns long."""
    edges = sorted({edge for row in found for cell in row.cells for edge in (cell.first, cell.last + 1)})
    weights = [log2(b - a + 1) for a, b in pairwise(edges)]
    least = min(label, width // max(1, len(weights)))
    spare = width - least * len(weights)
    total, columns = 0.0, [0]
    for k, weight in enumerate(weights):
        total += weight
        columns.append(least * (k + 1) + round(spare * total / sum(weights)))
    return Scale(edges, columns)


def ticks(axis: Scale) -> str:
    """The line of sizes below the rows: every edge that has room, and the last size."""
    last = str(axis.edges[-1] - 1)
    room = axis.columns[-1] - len(last)
    said = ""
    for size, column in zip(axis.edges[:-1], axis.columns[:-1], strict=True):
        if column >= len(said) + (column > 0) and column + len(str(size)) < room:
            said = said.ljust(column) + str(size)
    return said.ljust(max(room, len(said) + 1)) + last


def legend(found: list[Row]) -> list[tuple[str, str, str]]:
    """(letter, colour, meaning) of the fates that occur."""
    used = {cell.fate for row in found for cell in row.cells}
    looks = [look for word, look in (*ROUTER.items(), *PEER.items()) if word in used]
    return [(letter, colour, meaning) for letter, colour, _, meaning in looks]
