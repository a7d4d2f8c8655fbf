"""What became of every injected packet, from its first interface to where it left the lab or was lost."""

from typing import Any

import numpy as np
import pyarrow as pa

from qfp.lab.flow import Array, numbers_in

SCHEMA = "qfp-journeys/1"
STATES = ("under way", "delivered", "lost", "consumed", "punted")
UNDER_WAY, DELIVERED, LOST, CONSUMED, PUNTED = range(5)
RANK = np.array([0, 4, 3, 1, 2])  # of each state: what counts more


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

    def word(self, number: int) -> str:
        """The place or cause behind a number of the columns `injected`, `where` and `cause`."""
        return list(self._names)[number]

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

    def _mark(self, ids: Array, ts: Array, state: int, where: str, cause: str | None) -> None:
        """Give packets a state unless they have one that counts more: a delivery before a loss, a loss before being
        taken in; of two deliveries the first, of two losses the last. No order of calls changes the outcome."""
        c, place = self.columns, self._name(where)
        why = -1 if cause is None else self._name(cause)
        ids, ts = self._one_each(ids, ts, state == DELIVERED)
        old, end = c["state"][ids], c["end"][ids]
        better = RANK[state] > RANK[old]
        same = old == state
        better |= same & ((ts < end) if state == DELIVERED else (ts > end))
        for k in np.flatnonzero(same & (ts == end)).tolist():  # at the same ns: by name
            better[k] = self._said(place, why) > self._said(int(c["where"][ids[k]]), int(c["cause"][ids[k]]))
        ids, ts = ids[better], ts[better]
        c["state"][ids], c["where"][ids], c["cause"][ids], c["end"][ids] = state, place, why, ts

    def _one_each(self, ids: Array, ts: Array, first: bool) -> tuple[Array, Array]:
        """The first or last time of each packet."""
        if (ids[1:] > ids[:-1]).all():
            return ids, ts
        order = np.lexsort((ts if first else -ts, ids))
        ids, ts = ids[order], ts[order]
        head = np.ones(ids.size, bool)
        head[1:] = ids[1:] != ids[:-1]
        return ids[head], ts[head]

    def _said(self, place: int, cause: int) -> tuple[str, str]:
        words = list(self._names)
        return words[place], words[cause] if cause >= 0 else ""

    def delivered(self, ids: Array, ts: Array, where: str) -> None:
        """Packets that left the lab, in order of time."""
        ids, ts = self._known(ids, ts, "delivered")
        if (ids[1:] > ids[:-1]).all():
            self.columns["copies"][ids] += 1
        else:
            np.add.at(self.columns["copies"], ids, 1)
        self._mark(ids, ts, DELIVERED, where, None)

    def lost(self, ids: Array, ts: Array, where: str, cause: str) -> None:
        """Packets that were dropped."""
        self._mark(*self._known(ids, ts, "lost"), LOST, where, cause)

    def ended(self, ids: Array, ts: Array, where: str, state: int) -> None:
        """Packets that a router took for itself."""
        self._mark(*self._known(ids, ts), state, where, None)

    def _known(self, ids: Array, ts: Array, what: str | None = None) -> tuple[Array, Array]:
        """Without packets that routers made, which are counted as `what`."""
        known = ids >= 0
        if known.all():
            return ids, ts
        if what is not None:
            self.made[what] += int(ids.size - known.sum())
        return ids[known], ts[known]

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
        for number in numbers_in(table["injected"]):
            rows = table["injected"] == number
            facts: dict[str, Any] = {"injected": names[number], "packets": int(rows.sum())}
            for state, word in enumerate(STATES):
                facts[word.replace(" ", "_")] = int((rows & (table["state"] == state)).sum())
            gone = np.flatnonzero(rows & (table["state"] == LOST))
            pairs, counts = np.unique(np.stack([table["where"][gone], table["cause"][gone]], 1), axis=0,
                                      return_counts=True)  # fmt: skip
            facts["losses"] = sorted(
                ({"where": names[a], "cause": names[b], "packets": n}
                 for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)),
                key=lambda loss: (-loss["packets"], loss["where"], loss["cause"]),
            )  # fmt: skip
            there = rows & (table["state"] == DELIVERED)
            delays = np.sort(table["end"][there] - table["ts"][there])
            if delays.size:
                facts["delay"] = {"min": int(delays[0]), "median": int(delays[delays.size // 2]),
                                  "p99": int(delays[delays.size * 99 // 100]), "max": int(delays[-1])}  # fmt: skip
            out.append(facts)
        return out
