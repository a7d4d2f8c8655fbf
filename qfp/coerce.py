"""What people write, made values at the edge: numbers of any length, texts that become paths, files of any kind.

Everything here takes anything and answers within bounds: Python's `int` raises for more than 4300 digits, and so does
printing such a number; a path may not hold NUL; a file to be read may be a pipe that nobody writes to, or endless.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

DIGITS_MAX = 40  # of a number: more than 128 bits have in decimal, or 64 bits in binary with a prefix
SHOWN_MAX = 60  # characters of a value in a message
NAME_MAX = 255  # bytes of a file name, as file systems have it
_DIGITS = {10: re.compile(r"[0-9]+"), 16: re.compile(r"(?:0[xX])?[0-9A-Fa-f]+")}
_MEASURE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*?)(?:bit/s|bps)?")


class TextFileError(ValueError):
    """A file that cannot be read as text: the message says why, not which."""


def whole(text: str, low: int, high: int, base: int = 10) -> int | None:
    """A whole number of ASCII digits in low .. high, leading zeros and in base 16 a 0x allowed; else None."""
    if _DIGITS[base].fullmatch(text) is None:
        return None
    digits = text.removeprefix("0x").removeprefix("0X").lstrip("0") or "0"
    if len(digits) > DIGITS_MAX:
        return None
    value = int(digits, base)
    return value if low <= value <= high else None


def measure(text: str, units: dict[str, int]) -> int | None:
    """A number with a unit, or alone, in the base unit, rounded; None when it is neither, or beyond any bound."""
    match = _MEASURE.fullmatch(text.strip()) if len(text) <= 4 * DIGITS_MAX else None
    if not match or match[2] not in {"", *units} or len(match[1]) > DIGITS_MAX:
        return None
    unit = units.get(match[2], 1)
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def shown(value: Any) -> str:
    """A value as messages quote it: short, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**DIGITS_MAX:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits somewhere within
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def path_fault(text: str) -> str:
    """Why a text can be no path; empty if it can."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        parts = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return "holds half a surrogate pair"
    return f"has a name of more than {NAME_MAX} bytes" if max(map(len, parts)) > NAME_MAX else ""


def read_text_file(path: Path, most: int) -> str:
    """A regular file of up to `most` bytes as text (UTF-8, with or without its mark). Raises TextFileError, OSError."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise TextFileError("is a folder")
    if not stat.S_ISREG(mode):
        raise TextFileError("is no regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TextFileError(f"has more than {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextFileError(f"byte {error.start} is not UTF-8") from None
