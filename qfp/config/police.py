"""Words of policers: rates and bursts with their units, and what becomes of packets of each colour."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .arguments import DSCP_NAMES, KINDS, PRECEDENCE_NAMES, Bad, Kind, Taken, named_number, shown
from .lex import Word

MODELLED = ("transmit", "drop", "set-dscp-transmit", "set-prec-transmit", "set-qos-transmit")
_DSCP, _PRECEDENCE = named_number(DSCP_NAMES, 63, "a DSCP"), named_number(PRECEDENCE_NAMES, 7, "a precedence")
_ACTIONS: dict[str, Kind | None] = {  # and the kind of the value behind each
    "transmit": None, "drop": None, "set-dscp-transmit": _DSCP, "set-dscp-tunnel-transmit": _DSCP,
    "set-prec-transmit": _PRECEDENCE, "set-prec-tunnel-transmit": _PRECEDENCE,
    "set-qos-transmit": named_number({}, 99, "a QoS group"), "set-clp-transmit": None, "set-frde-transmit": None,
    **{f"set-{word}-transmit": named_number({}, 7, "a value")
       for word in ("mpls-exp-imposition", "mpls-exp-topmost", "mpls-exp", "cos", "cos-inner", "discard-class")},
}  # fmt: skip
_COLOURS = ("conform-action", "exceed-action", "violate-action")
_KEYS = {
    "cir": "rate", "rate": "rate", "bc": "burst", "burst": "burst", "conform-burst": "burst", "be": "excess",
    "peak-burst": "excess", "pir": "peak", "peak-rate": "peak",
}  # fmt: skip
_RATE_UNITS, _BURST_UNITS = ("bps", "pps", "cps"), ("bytes", "packets", "ms", "us")
_LOW_HIGH = {
    "bps": (8000, 100_000_000_000), "pps": (1, 100_000_000), "cps": (1, 100_000_000), "percent": (1, 100),
    "bytes": (1000, 512_000_000), "packets": (1, 100_000_000), "ms": (1, 2000), "us": (1, 2_000_000),
}  # fmt: skip


def _take_action(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text.lower()
    meant = [text] if text in _ACTIONS else [name for name in _ACTIONS if name.startswith(text)]
    if len(meant) != 1:
        return None
    kind = _ACTIONS[meant[0]]
    if kind is None:
        return Taken(meant[0])
    if at + 1 == len(words):
        return Bad(f"incomplete command: {kind.expects} expected behind {meant[0]}")
    taken = kind.take(words, at + 1)
    if isinstance(taken, Taken):
        return Taken(f"{meant[0]} {taken.value}", 2)
    return Bad(taken.reason if taken else f"{shown(words[at + 1].text)} is not {kind.expects}", 1)


def _take_rates(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """`cir 8000 bc 1500 pir 9000`, `8000 1500 1500`, `rate 100 pps burst 20 packets`, `cir percent 10 bc 20 ms`.

    The value maps rate, burst, excess and peak to (number, unit).
    """
    found: dict[str, tuple[int, str]] = {}
    here = at
    while here < len(words) and not _is_colour(words[here].text):
        key = _KEYS.get(words[here].text.lower(), "")
        here += bool(key)
        if not key:
            key = next((each for each in ("rate", "burst", "excess") if each not in found), "")
        taken = _amount(words, here, key)
        if isinstance(taken, Bad):
            return Bad(taken.reason, min(here, len(words) - 1) - at)
        found[key] = taken.value
        here += taken.words
    return Taken(found, here - at) if "rate" in found else None


def _is_colour(text: str) -> bool:
    return len(text) > 2 and any(each.startswith(text.lower()) for each in _COLOURS)


def _amount(words: Sequence[Word], at: int, key: str) -> Taken | Bad:
    """A number with its unit, the usual one if none is written."""
    rated = key in ("rate", "peak")
    first = at + 1 if at < len(words) and words[at].text.lower() == "percent" and rated else at
    text = words[first].text if first < len(words) else ""
    if not key or not re.match(r"[0-9]{1,12}\Z", text, re.ASCII):
        what = "a rate" if rated else "a burst"
        return Bad(f"{shown(text)} is not {what}" if text else f"incomplete command: {what} expected")
    unit = words[first + 1].text.lower() if first + 1 < len(words) else ""
    written = unit in (_RATE_UNITS if rated else _BURST_UNITS)
    if first > at:
        unit, written = "percent", False
    elif not written:
        unit = "bps" if rated else "bytes"
    low, high = _LOW_HIGH[unit]
    if not low <= int(text) <= high:
        return Bad(f"{shown(text)} is outside {low} to {high} {unit}")
    return Taken((int(text), unit), first - at + 1 + written)


KINDS["police-action"] = Kind("an action: " + ", ".join(MODELLED), _take_action)
KINDS["police-rates"] = Kind("a rate", _take_rates)
