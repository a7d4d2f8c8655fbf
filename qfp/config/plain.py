"""Lines that come by the hundred thousand, read without the grammar.

A run is a stretch of lines of one plain form behind each other. It is read here only as far as the grammar would read
it to the same meaning: anything unusual in a line (an abbreviation, another word, bits beyond the mask, a number out of
range) ends the run, and the line goes the general way, with its own problems reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from socket import AF_INET6, inet_pton
from typing import Any, Protocol

from .quads import MASK_LENGTHS, quad
from .route_list import PlainRows, book_of

_TAIL = r"(?: ([1-9][0-9]{0,2}))? *\r*\Z"
_ROUTE4 = re.compile(r"ip route ([0-9.]+) ([0-9.]+) ([0-9.]+)" + _TAIL).match
_ROUTE6 = re.compile(r"ipv6 route ([0-9a-fA-F:]+)/(0|[1-9][0-9]{0,2}) ([0-9a-fA-F:]+)" + _TAIL).match


class Run(Protocol):
    """Lines that were read together: how many, and what they do to the model."""

    @property
    def count(self) -> int: ...

    def apply(self, load: Any, section: Any) -> None: ...


class RouteRun:
    """Static routes that say a prefix, a next hop and perhaps a distance."""

    def __init__(self, rows: PlainRows) -> None:
        self.rows = rows

    @property
    def count(self) -> int:
        return len(self.rows)

    def apply(self, load: Any, section: Any) -> None:
        """Add the routes to those that have been read."""
        book_of(load).add_plain(self.rows)


def route_run(lines: list[str], at: int) -> RouteRun | None:
    """The plain static routes from a line on, of the first one's family; None when that line is none."""
    head = lines[at]
    if head.startswith("ip route "):
        read, rows = _row4, PlainRows(4)
    elif head.startswith("ipv6 route "):
        read, rows = _row6, PlainRows(6)
    else:
        return None
    line = at
    try:
        while line < len(lines) and read(lines[line], rows, line + 1):
            line += 1
    except (ValueError, KeyError, OSError):
        pass  # an address, a mask or a length that is none: the grammar says what is wrong with it
    return RouteRun(rows) if len(rows) else None


def _row4(text: str, rows: PlainRows, line: int) -> bool:
    """Read a line into a row; False when it is not plain."""
    found = _ROUTE4(text)
    if not found:
        return False
    prefix, mask, hop, distance = found.groups()
    network, length, cost = quad(prefix), MASK_LENGTHS[mask], int(distance or 1)
    if network << length & 0xFFFFFFFF or cost > 255:
        return False
    rows.add(network, length, quad(hop), cost, line)
    return True


def _row6(text: str, rows: PlainRows, line: int) -> bool:
    found = _ROUTE6(text)
    if not found:
        return False
    prefix, bits, hop, distance = found.groups()
    network, length, cost = int.from_bytes(inet_pton(AF_INET6, prefix)), int(bits), int(distance or 1)
    if length > 128 or network & (1 << 128 - length) - 1 or cost > 255:
        return False
    rows.add(network, length, int.from_bytes(inet_pton(AF_INET6, hop)), cost, line)
    return True


# By the mode of the innermost section
RUNS: dict[str, Callable[[list[str], int], Run | None]] = {"global": route_run}
