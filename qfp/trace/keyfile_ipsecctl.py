"""`ipsecctl -s sa -k`: what OpenBSD prints of its SAs, with keys.

    esp tunnel from 192.0.2.1 to 192.0.2.2 spi 0xabb5968a auth hmac-sha2-256 enc aes-256 \\
            authkey 0x… \\
            enckey 0x…
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from qfp.sa import NATT_ANY
from qfp.trace.keyfile_book import Book, Unusable, key_bytes, no_cipher, no_integrity, split_key
from qfp.trace.keyfile_names import IPSECCTL_CIPHERS, IPSECCTL_INTEGRITIES
from qfp.trace.keyfile_text import Line

HEAD = re.compile(
    r"\s*(esp|ah|ipcomp|ipip|tcpmd5)\s+(?:(tunnel|transport)\s+)?from\s+(\S+)\s+to\s+(\S+)\s+"
    r"spi\s+0x([0-9A-Fa-f]{1,8})\b"
)
WORD = re.compile(r"\b(auth|enc|authkey|enckey|udpencap(?: port)?)\s+(\S+)")


def recognises(lines: list[Line]) -> bool:
    """Whether an SA begins somewhere."""
    return any(HEAD.match(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The SAs of the output. Raises `KeyFileError` where the reading is strict."""
    for number, text in _entries(lines):
        head = HEAD.match(text)
        assert head is not None
        try:
            book.add(number, **_fields(head, dict(WORD.findall(text))))
        except Unusable as error:
            book.skip(number, error.problem, error.remedy)
        except ValueError:
            book.skip(number, "not an IP address", "give the output as it was printed")


def _entries(lines: list[Line]) -> Iterator[tuple[int, str]]:
    """Each SA's first line, with its keys behind it."""
    number, text = 0, ""
    for line in lines:
        if HEAD.match(line.text):
            if text:
                yield number, text
            number, text = line.number, line.text
        elif text and WORD.search(line.text):
            text = f"{text.rstrip(chr(92))} {line.text}"
    if text:
        yield number, text


def _fields(head: re.Match[str], words: dict[str, str]) -> dict[str, Any]:
    proto, mode, src, dst, spi = head.groups()
    if proto not in ("esp", "ah"):
        raise Unusable(f"an SA of a protocol other than ESP and AH ({proto})", "remove it: qfp opens esp and ah")
    if "authkey" not in words and "enckey" not in words:
        raise Unusable("the key is not there", "print the keys: ipsecctl -s sa -k")
    fields: dict[str, Any] = {"proto": proto, "mode": mode, "spi": int(spi, 16), "src": ip_address(src),
                              "dst": ip_address(dst), "natt": NATT_ANY if proto == "esp" else None}  # fmt: skip
    if "auth" in words:
        integ = IPSECCTL_INTEGRITIES.get(words["auth"])
        if integ is None:
            raise no_integrity(words["auth"], IPSECCTL_INTEGRITIES)
        fields |= {"integ": integ, "integ_key": key_bytes(words.get("authkey", ""))}
    if proto == "esp":
        named = IPSECCTL_CIPHERS.get(words.get("enc", "null"))
        if named is None:
            raise no_cipher(words["enc"], IPSECCTL_CIPHERS)
        key = b"" if named.encr == "null" else key_bytes(words.get("enckey", ""))
        fields |= {"encr": named.encr, **split_key(named.encr, key)}
        if named.icv is not None:
            fields["icv_len"] = named.icv
    return fields
