"""What became of every injected packet, from its first interface to where it left the lab or was lost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from qfp.lab.flow import Array

SCHEMA = "qfp-journeys/1"
STATES = ("under way", "delivered", "lost", "consumed", "punted")
UNDER_WAY, DELIVERED, LOST, CONSUMED, PUNTED = range(5)


class Journeys:
    """One row an injected packet.

    A packet is delivered when any packet that it became (a copy, a fragment, what was put together from fragments)
    leaves by an interface without a link; the first time counts. Else it is lost where the last of them was lost, else
    a router consumed it (a fragment that went into a packet that left with its last one) or punted it.
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._injections: list[str] = []
        self.columns: dict[str, Array] = {}
        self._parts: list[dict[str, Array]] = []
        self.made: dict[str, int] = {"delivered": 0, "lost": 0}  # packets that routers made themselves

    def _name(self, word: str) -> int:
        return self._names.setdefault(word, len(self._names))

    def inject(self, where: str, frames: Array, ts: Array, length: Array) -> Array:
        """Rows for the packets of a trace: their ids."""
        first = sum(part["ts"].size for part in self._parts)
        self._parts.append({
            "injected": np.full(ts.size, self._name(where), np.int32), "frame": frames, "ts": ts, "length": length,
        })  # fmt: skip
        return np.arange(first, first + ts.size)

    def start(self) -> None:
        """After the last `inject`: room for outcomes."""
        names = ("injected", "frame", "ts", "length")
        self.columns = {n: np.concatenate([part[n] for part in self._parts]) for n in names}
        rows = self.columns["ts"].size
        self.columns |= {
            "state": np.zeros(rows, np.uint8), "where": np.full(rows, -1, np.int32),
            "cause": np.full(rows, -1, np.int32), "end": np.full(rows, -1, np.int64),
            "copies": np.zeros(rows, np.int32),
        }  # fmt: skip

    def _mark(self, ids: Array, ts: Array, state: int, where: str, cause: int, over: Sequence[int]) -> None:
        """Give packets a state unless they have one that counts more."""
        c = self.columns
        free = np.isin(c["state"][ids], over)
        ids, ts = ids[free], ts[free]
        c["state"][ids], c["where"][ids], c["cause"][ids], c["end"][ids] = state, self._name(where), cause, ts

    def delivered(self, ids: Array, ts: Array, where: str) -> None:
        """Packets that left the lab, in order of time."""
        known = ids >= 0
        self.made["delivered"] += int(ids.size - known.sum())
        ids, ts = ids[known], ts[known]
        np.add.at(self.columns["copies"], ids, 1)
        first = np.unique(ids, return_index=True)[1]
        self._mark(ids[first], ts[first], DELIVERED, where, -1, (UNDER_WAY, LOST, CONSUMED, PUNTED))

    def lost(self, ids: Array, ts: Array, where: str, cause: str) -> None:
        """Packets that were dropped."""
        known = ids >= 0
        self.made["lost"] += int(ids.size - known.sum())
        self._mark(ids[known], ts[known], LOST, where, self._name(cause), (UNDER_WAY, LOST, CONSUMED, PUNTED))

    def ended(self, ids: Array, ts: Array, where: str, state: int) -> None:
        """Packets that a router took for itself."""
        known = ids >= 0
        self._mark(ids[known], ts[known], state, where, -1, (UNDER_WAY, CONSUMED, PUNTED))

    def to_arrow(self) -> pa.Table:
        """injected, frame, ts, length, state, where, cause, end (ts of delivery or loss), delay (ns), copies."""
        c, words = self.columns, pa.array(list(self._names), pa.string())

        def named(column: Array) -> Any:
            return words.take(pa.array(np.where(column < 0, 0, column), mask=column < 0))

        done = c["end"] < 0
        return pa.table(
            {
                "injected": named(c["injected"]), "frame": c["frame"], "ts": c["ts"], "length": c["length"],
                "state": pa.array(STATES).take(pa.array(c["state"])), "where": named(c["where"]),
                "cause": named(c["cause"]), "end": pa.array(c["end"], mask=done),
                "delay": pa.array(c["end"] - c["ts"], mask=done | (c["state"] != DELIVERED)), "copies": c["copies"],
            }
        ).replace_schema_metadata({"qfp.schema": SCHEMA})  # fmt: skip

    def summary(self) -> list[dict[str, Any]]:
        """By place of injection: packets, delivered, lost by place and cause, delays in ns."""
        table, names = self.columns, list(self._names)
        out = []
        for number in dict.fromkeys(table["injected"].tolist()):
            rows = table["injected"] == number
            facts: dict[str, Any] = {"injected": names[number], "packets": int(rows.sum())}
            for state, word in enumerate(STATES):
                facts[word.replace(" ", "_")] = int((rows & (table["state"] == state)).sum())
            gone = np.flatnonzero(rows & (table["state"] == LOST))
            pairs, counts = np.unique(np.stack([table["where"][gone], table["cause"][gone]], 1), axis=0,
                                      return_counts=True)  # fmt: skip
            facts["losses"] = [
                {"where": names[a], "cause": names[b], "packets": int(n)}
                for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)
            ]
            there = rows & (table["state"] == DELIVERED)
            delays = np.sort(table["end"][there] - table["ts"][there])
            if delays.size:
                facts["delay"] = {"min": int(delays[0]), "median": int(delays[delays.size // 2]),
                                  "p99": int(delays[delays.size * 99 // 100]), "max": int(delays[-1])}  # fmt: skip
            out.append(facts)
        return out
