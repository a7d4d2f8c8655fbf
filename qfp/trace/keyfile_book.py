"""What a reader of key files collects: SAs, SAs with wildcards, and a reason for each one that cannot be used."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qfp.algorithms import CIPHERS, INTEGRITIES, unknown, unsupported
from qfp.sa import SaError, SecurityAssociation
from qfp.sa_pattern import SaPattern
from qfp.trace.keyfile_error import KeyFileError

REASONS_MAX = 5  # reasons in the error of a file in which nothing can be used
_MASKED = re.compile(r"[<\[(*]|\bredact|\bhidden|\bmask|\.{3}|(?i:0x)?[xX]{4,}|-{3}|\bremoved\b", re.IGNORECASE)


class Keys(list[SecurityAssociation]):
    """The SAs of a key file. `skipped`: one error for each entry that cannot be used; it names the line and holds no
    key. `patterns`: entries with wildcards, which stand for the SAs of all SPIs and addresses that they match."""

    def __init__(
        self, sas: Iterable[SecurityAssociation] = (), skipped: Iterable[KeyFileError] = (),
        patterns: Iterable[SaPattern] = (),
    ) -> None:  # fmt: skip
        super().__init__(sas)
        self.skipped = tuple(skipped)
        self.patterns = tuple(patterns)


class Book:
    """The SAs of one file as its reader finds them. `strict`: the first entry that cannot be used ends the reading."""

    def __init__(self, path: Path, strict: bool = False, allow_null: bool = False) -> None:
        self.path, self.strict, self.allow_null = path, strict, allow_null
        self.patterns: list[SaPattern] = []
        self._sas: list[SecurityAssociation] = []
        self._skipped: list[KeyFileError] = []
        self._lines: dict[tuple[Any, ...], int] = {}
        self.spis: set[int] = set()  # of entries that were used or skipped

    def skip(self, line: int, problem: str, remedy: str, column: int = 0) -> None:
        """Leave out what begins at a line. Raises KeyFileError where the reading is strict."""
        self.refuse(KeyFileError(self.path, line, column, problem, remedy))

    def refuse(self, error: KeyFileError) -> None:
        """As `skip`, with the error made already."""
        if self.strict:
            raise error
        self._skipped.append(error)

    def take(self, sa: SecurityAssociation) -> None:
        """An SA as it is, whatever stands in the file besides."""
        self._sas.append(sa)

    def add(self, line: int, **fields: Any) -> None:
        """An SA with these fields, which begins at a line; skipped where it cannot be one."""
        self.spis.add(fields["spi"])
        try:
            sa = SecurityAssociation(**fields, allow_null=self.allow_null)
        except SaError as error:
            self.refuse(KeyFileError.of(self.path, line, 0, error))
            return
        self.add_sa(line, sa)

    def add_sa(self, line: int, sa: SecurityAssociation) -> None:
        """An SA, unless there is one of the same SPI, destination and protocol: dumps repeat SAs."""
        key = (sa.proto, sa.spi, sa.dst)
        if key in self._lines:
            self.skip(line, f"an SA of the SPI, destination and protocol of line {self._lines[key]}, which serves",
                      "keep one of them")  # fmt: skip
            return
        self._lines[key] = line
        self._sas.append(sa)

    def add_pattern(self, pattern: SaPattern) -> None:
        """An entry with wildcards."""
        self.patterns.append(pattern)

    def strange(self, lines: list[int], what: str) -> None:
        """Lines that belong to nothing that the format has, as one entry."""
        if lines:
            count = f"{len(lines)} lines that are" if len(lines) > 1 else "a line that is"
            self.skip(lines[0], f"{count} not of {what}", f"give {what} as it was printed")

    def keys(self) -> Keys:
        """What was found. Raises KeyFileError where there are entries and none of them can be used."""
        if not self._sas and not self.patterns and self._skipped:
            raise self._nothing()
        return Keys(self._sas, self._skipped, self.patterns)

    def _nothing(self) -> KeyFileError:
        first, *others = sorted(self._skipped, key=lambda error: error.line)
        if not others:
            return first
        reasons = "; ".join(f"line {error.line}: {error.problem}" for error in (first, *others)[:REASONS_MAX])
        more = len(others) + 1 - REASONS_MAX
        problem = f"nothing in it can be used: {reasons}" + (f"; and {more} more" if more > 0 else "")
        return KeyFileError(self.path, 0, 0, problem, first.remedy)


class Unusable(Exception):
    """Why an entry cannot be used, and what would be right."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def not_hex(text: str) -> Unusable:
    """The error of a key that is not hex; most often somebody took it out."""
    if not text or text in ("0x", "0X"):
        return Unusable("the key is not there", "print the keys: they may need root, or another option")
    if _MASKED.search(text):
        return Unusable("the key is redacted, not hex", "give the dump with its keys")
    return Unusable("the key is not hex", "give an even number of hex digits")


def key_bytes(text: str) -> bytes:
    """A key in hex, with or without 0x. Raises Unusable."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", digits) is None:
        raise not_hex(text)
    return bytes.fromhex(digits)


def split_key(encr: str, key: bytes) -> dict[str, Any]:
    """Key and, behind it, salt of a cipher as fields of an SA. Raises Unusable."""
    cipher = CIPHERS[encr]
    cut = max(len(key) - cipher.salt, 0)
    if cipher.salt and cut not in cipher.key_lengths:
        remedy = f"give the key and, behind it, {cipher.salt} bytes of salt"
        raise Unusable(f"{len(key)} bytes of key for {encr}", remedy)
    return {"encr_key": key[:cut], "salt": key[cut:]}


def no_cipher(name: str, known: Iterable[str]) -> Unusable:
    """The error of a cipher that is not known, or known and not supported."""
    family = unsupported(name)
    if family is not None:
        return Unusable(f"{family} is not supported", f"supported: {', '.join(CIPHERS)}")
    return Unusable(str(unknown("encryption", name, list(known))), "choose a supported algorithm")


def no_integrity(name: str, known: Iterable[str]) -> Unusable:
    """The error of an integrity algorithm that is not known, or known and not supported."""
    family = unsupported(name)
    if family is not None:
        return Unusable(f"{family} is not supported", f"supported: {', '.join(INTEGRITIES)}")
    return Unusable(str(unknown("authentication", name, list(known))), "choose a supported algorithm")
