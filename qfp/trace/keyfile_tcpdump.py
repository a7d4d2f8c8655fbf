"""The file of `tcpdump -E "file NAME"`: one secret a line, by SPI and destination.

    0x00001001@203.0.113.2 aes-128-cbc-hmac96:0x00112233445566778899aabbccddeeff
    3des-cbc-hmac96:0x…                                     of all SPIs for which there is no other line
    ikev2 I 0x<SPIi> 0x<SPIr> sha1:0x… aes128:0x…           of IKE: left out

It has no integrity keys: with `-hmac96` the last 12 bytes are cut off, and nothing checks them.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from qfp.sa import NATT_ANY, SaError, SecurityAssociation
from qfp.sa_pattern import SaPattern, SpiPattern
from qfp.trace.keyfile_book import Book, Unusable, key_bytes, no_cipher, split_key
from qfp.trace.keyfile_names import tcpdump
from qfp.trace.keyfile_text import Line, is_noise

NAMES = ("des-cbc", "3des-cbc", "aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "none")
SECRET = re.compile(
    r"\s*(?:(0[xX][0-9A-Fa-f]{1,8}|\d{1,10})@([0-9A-Fa-f.:]+)[ \t]+)?([A-Za-z0-9][A-Za-z0-9_-]*):(\S+)\s*$"
)
CIPHER = re.compile(r"(?:3?des|aes|blowfish|bf|cast|cast128|camellia|rc3|none|null)[\w-]*", re.IGNORECASE)
IKE = re.compile(r"\s*ikev2\s+[IR]\s+0x", re.IGNORECASE)


def recognises(lines: list[Line]) -> bool:
    """Whether there is a line `SPI@ADDRESS ALGORITHM:SECRET`, or of a cipher and its secret alone."""
    return any(IKE.match(line.text) or any(map(_secret, _parts(line.text))) for line in lines)


def _secret(text: str) -> re.Match[str] | None:
    found = SECRET.match(text)
    return found if found and (found[1] or CIPHER.fullmatch(found[3])) else None


def _parts(text: str) -> Iterator[str]:
    """The secrets of a line: an argument of -E may have several, with commas between them."""
    yield from re.split(r",(?=\s*(?:0[xX][0-9A-Fa-f]+|\d+)@)", text)


def parse(book: Book, lines: list[Line]) -> None:
    """The SAs of the file. Raises `KeyFileError` where the reading is strict."""
    strange: list[int] = []
    for line in lines:
        if IKE.match(line.text):
            book.skip(line.number, "keys of an IKE SA, which open no ESP", "give those of its ESP SAs")
            continue
        for part in _parts(line.text):
            found = _secret(part)
            if found:
                _entry(book, line.number, found)
            elif not is_noise(line):
                strange.append(line.number)
    book.strange(strange, "a file of tcpdump -E")


def _entry(book: Book, line: int, found: re.Match[str]) -> None:
    try:
        fields = _fields(found[3], found[4])
        if found[1] is None:
            sa = SecurityAssociation(proto="esp", spi=1, **fields, allow_null=book.allow_null)
            book.add_pattern(SaPattern(sa, SpiPattern(0, 0), None, None, 0, line))
            return
        spi = int(found[1], 16) if found[1][:2] in ("0x", "0X") else int(found[1])
        book.add(line, proto="esp", spi=spi, dst=ip_address(found[2]), **fields)
    except (Unusable, SaError) as error:
        book.skip(line, error.problem, error.remedy)
    except ValueError:
        book.skip(line, "not an IP address", "write SPI@ADDRESS ALGORITHM:SECRET")


def _fields(name: str, secret: str) -> dict[str, Any]:
    encr, icv = tcpdump(name)
    if encr is None:
        raise no_cipher(name, NAMES)
    key = key_bytes(secret) if secret[:2] in ("0x", "0X") else secret.encode()
    keys = {} if encr == "null" else split_key(encr, key)
    return {"mode": None, "encr": encr, **keys, "icv_len": icv, "replay_window": 0, "natt": NATT_ANY}
