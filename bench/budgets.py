"""Budgets of DESIGN section 10 beside rows of a record, as measured and scaled to the reference machine.

The reference machine is the one on which the peers of that section were measured. Speeds of `openssl speed` there and
here, in the same run as everything else, give the machine factor: below 1 where this machine is slower.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

GCM, CBC = "aes-gcm-128", "aes-cbc-128 hmac-sha256-128"
REFERENCE_GCM = {64: 0.18, 256: 0.67, 512: 1.15, 1024: 2.07, 1420: 2.55, 8192: 5.33}  # GB/s, openssl speed
REFERENCE_CBC = 1.79  # GB/s at 8192 bytes
MANY = 100_000
IMIX_BYTES = (7 * 64 + 4 * 576 + 1420) / 12
CLOCK = "clock"


def pick(rows: Sequence[Row], work: str, **wanted: Any) -> Row | None:
    """The first row of a kind of work with these values, or None when it was not measured."""
    keys = {"work": work, **wanted}
    return next((r for r in rows if all(r[k] == v for k, v in keys.items())), None)


def factors(rows: Sequence[Row]) -> dict[Any, float]:
    """Machine factors: by size for GCM, and `clock` from CBC encryption, whose chain of rounds follows the clock."""
    out: dict[Any, float] = {}
    for size, there in REFERENCE_GCM.items():
        row = pick(rows, "peer: openssl speed", transform=GCM, size=size)
        if row:
            out[size] = size / row["ns_per_packet"] / there
    cbc = pick(rows, "peer: openssl speed", transform="aes-cbc-128")
    if cbc:
        out[CLOCK] = cbc["size"] / cbc["ns_per_packet"] / REFERENCE_CBC
    if 256 in out and 512 in out:  # on a straight line over the logarithm of the size
        share = math.log(IMIX_BYTES / 256) / math.log(2)
        out["imix"] = out[256] ** (1 - share) * out[512] ** share
    return out


@dataclass(frozen=True)
class Budget:
    """One goal. value: of the rows, None when not measured. scale: key of `factors`, None where no factor applies.

    at_most: the goal is an upper limit of a time or size (a factor shrinks it); else a lower limit of a speed.
    """

    what: str
    goal: float
    unit: str
    value: Callable[[Sequence[Row]], float | None]
    scale: Any = None
    at_most: bool = True

    def scaled(self, here: float, known: dict[Any, float]) -> float | None:
        """The value as the reference machine would show it, None without a factor."""
        if self.scale is None or self.scale not in known:
            return None
        return here * known[self.scale] if self.at_most else here / known[self.scale]

    def met(self, value: float) -> bool:
        """Whether a value keeps the goal."""
        return value <= self.goal if self.at_most else value >= self.goal


def _field(work: str, field: str = "ns_per_packet", **wanted: Any) -> Callable[[Sequence[Row]], float | None]:
    def value(rows: Sequence[Row]) -> float | None:
        row = pick(rows, work, **wanted)
        return row[field] if row else None

    return value


def _quotient(above: dict[str, Any], below: dict[str, Any]) -> Callable[[Sequence[Row]], float | None]:
    def value(rows: Sequence[Row]) -> float | None:
        a, b = pick(rows, **above), pick(rows, **below)
        return a["ns_per_packet"] / b["ns_per_packet"] if a and b else None

    return value


def _paths(goals: dict[str, tuple[int, int, int]], work: str, transform: str, name: str) -> list[Budget]:
    out = []
    for direction, ns in goals.items():
        for size, goal in zip((64, "imix", 1420), ns, strict=True):
            value = _field(work, direction=direction, transform=transform, size=size, sas=16, engine="native")
            scale = size if transform == GCM else CLOCK
            out.append(Budget(f"{name}, {direction}, {size}", goal, "ns", value, scale))
    return out


def _spread(work: str) -> Callable[[Sequence[Row]], float | None]:
    """Largest over smallest cost by window, of works that begin so."""

    def value(rows: Sequence[Row]) -> float | None:
        costs = [r["ns_per_packet"] for r in rows if r["work"].startswith(f"{work}, N = ")]
        return max(costs) / min(costs) if costs else None

    return value


def _classes(rows: Sequence[Row]) -> float | None:
    """Header rows and classes together."""
    parts = [pick(rows, work) for work in ("classes, header rows", "classes, 8 of DSCP")]
    return sum(r["ns_per_packet"] for r in parts if r) if all(parts) else None


def _many(direction: str) -> Budget:
    def value(rows: Sequence[Row]) -> float | None:
        found = {r["sas"]: r["ns_per_packet"] for r in rows
                 if r["work"] == "path, Zipf 1.1" and r["direction"] == direction}  # fmt: skip
        return found[MANY] / found[16] if MANY in found else None

    return Budget(f"100,000 SAs against 16, {direction}, 64", 1.5, "times", value)


def _threads(direction: str, size: int | str, goal: float) -> Budget:
    same = {"work": "driver, no output", "direction": direction, "size": size}
    value = _quotient({**same, "threads": 1}, {**same, "threads": 2})
    return Budget(f"two threads against one, {direction}, {size}", goal, "times", value, at_most=False)


def _speed(what: str, goal: float, work: str, size: int) -> Budget:
    value = _field(work, "mpps", direction="decrypt", size=size)
    return Budget(what, goal, "M packets/s", value, CLOCK, at_most=False)


def _gigabytes(what: str, goal: float, work: str) -> Budget:
    def value(rows: Sequence[Row]) -> float | None:
        row = pick(rows, work)
        return row["gbit_s"] / 8 if row else None

    return Budget(what, goal, "GB/s", value, CLOCK, at_most=False)


BUDGETS = [
    *_paths({"outbound": (50, 75, 115), "inbound": (55, 80, 120), "decrypt": (55, 80, 120)}, "path", GCM, "path"),
    *_paths({"outbound": (60, 80, 125), "inbound": (65, 90, 130), "decrypt": (65, 90, 130)}, "path, long source", GCM,
            "path, source > 64 MB"),
    *_paths({"outbound": (115, 230, 560)}, "path", CBC, "path, AES-CBC-128 + SHA-256-128"),
    Budget("SPD look-up, flow cache warm", 10, "ns", _field("spd, flow cache warm"), CLOCK),
    Budget("SPD look-up, miss, 1000 entries", 100, "ns", _field("spd, miss, 1000 entries"), CLOCK),
    Budget("SPD look-up, miss, 1000 entries of 16 mask shapes", 100, "ns",
           _field("spd, miss, 1000 entries of 16 shapes"), CLOCK),
    Budget("FIB look-up, 100,000 IPv4 prefixes", 10, "ns", _field("fib, 100,000 IPv4 prefixes"), CLOCK),
    Budget("FIB look-up, 1,000,000 IPv4 prefixes", 25, "ns", _field("fib, 1,000,000 IPv4 prefixes"), CLOCK),
    *(Budget(f"FIB of 1,000,000 {ip} prefixes built", 3, "s", _field(f"fib, built: 1,000,000 {ip} prefixes", "value"),
             CLOCK) for ip in ("IPv4", "IPv6")),
    *(Budget(f"1500 bytes in two fragments against whole, {part}", 1.3, "times", _quotient(
        {"work": f"1500 B fragmented before encryption, {part}"}, {"work": f"1500 B whole, {part}"}))
      for part in ("capture to output", "path")),
    *(Budget(f"queues, 8 classes, load {load}", 40, "ns", _field(f"queues, 8 classes, load {load}"), CLOCK)
      for load in (0.7, 0.98, 1.3)),
    Budget("classes, 8 of DSCP, header rows included", 30, "ns", _classes, CLOCK),
    Budget("added stage that does nothing", 1, "ns", _field("idle stage, path with less path without"), CLOCK),
    Budget("replay check, N = 64 to 1024, dearest over cheapest", 1.15, "times", _spread("replay check, in order")),
    *(Budget(f"replay-lab, {scheme}, one window of {n}", 10, "M packets/s",
             _field(f"replay-lab, {scheme}, N = {n}", "mpps"), CLOCK, at_most=False)
      for scheme in ("plain", "sns") for n in (64, 1024, 8192)),
    *(Budget(f"replay-lab, {scheme}, N = 64 to 8192, dearest over cheapest", 1.15, "times",
             _spread(f"replay-lab, {scheme}")) for scheme in ("plain", "sns")),
    _many("outbound"), _many("inbound"), _many("decrypt"),
    Budget("100,000 SAs set up, outbound", 1, "s", _field("SA set-up", "value", direction="outbound", sas=MANY), CLOCK),
    Budget("100,000 SAs set up, inbound", 1, "s", _field("SA set-up", "value", direction="inbound", sas=MANY), CLOCK),
    Budget("memory of an SA, outbound", 1200, "B", _field("SA memory", "value", direction="outbound", sas=MANY)),
    Budget("memory of an SA, inbound", 1200, "B", _field("SA memory", "value", direction="inbound", sas=MANY)),
    _speed("decrypt, file to file, 64", 5, "file to file, verdicts .parquet", 64),
    _speed("decrypt, file to file, 1420", 1.3, "file to file, verdicts .parquet", 1420),
    _speed("decrypt, file to /dev/null, 1420", 2.5, "file to /dev/null, verdicts .parquet", 1420),
    _gigabytes("capture read", 5, "capture read"),
    _gigabytes("capture written", 2, "capture written"),
    *(_threads(d, size, 1.5 if size == 64 else 1.7) for d in ("outbound", "inbound") for size in (64, "imix", 1420)),
    Budget("lab of two routers, 1420, two threads", 1, "M packets/s",
           _field("lab: encryption, link, decryption", "mpps", threads=2), CLOCK, at_most=False),
    Budget("first result, kernels cached", 2, "s", _field("first result, kernels cached", "value"), CLOCK),
    Budget("first result, kernels not cached", 20, "s", _field("first result, kernels not cached", "value"), CLOCK),
]  # fmt: skip
