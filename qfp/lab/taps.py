"""Captures in the lab: what arrived at an interface or left by it."""

from collections.abc import Sequence

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import pick


class Taps:
    """places: file name -> (router, interface, direction). Everything is kept in memory until the end."""

    def __init__(self, places: dict[str, tuple[str, str, str]]):
        self._places = places
        self._seen: dict[str, list[Batch]] = {file: [] for file in places}

    def see(self, router: str, direction: str, interfaces: Sequence[str], batch: Batch) -> None:
        """Packets that cross interfaces of a router; `batch.in_if` says which."""
        for file, (where, interface, wanted) in self._places.items():
            if where == router and wanted in (direction, "both"):
                rows = np.flatnonzero(batch.in_if == interfaces.index(interface))
                if rows.size:
                    self._seen[file].append(pick(batch, rows))

    def batches(self) -> dict[str, Batch]:
        """What each saw, in order of time, as one interface."""
        return {file: self._ordered(file) for file in self._places}

    def _ordered(self, file: str) -> Batch:
        whole = Batch.concat(self._seen[file])
        order = np.argsort(whole.ts, kind="stable")
        columns = {name: column[order] for name, column in whole.columns.items()}
        columns |= {"in_if": np.zeros(order.size, np.int32), "frame": np.arange(order.size)}
        return Batch(whole.arena, columns, [self._places[file][1]])
