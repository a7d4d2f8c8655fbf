"""Libreswan's log with keys (`plutodebug=crypt,private`, old ones `private`): pluto dumps the material of an IPsec SA.

    | ESP KEYMAT
    |   KEYMAT computed:
    |   1b 5e c6 7a  …                                      (IKEv1; IKEv2: `our  keymat`, `peer keymat`)
    |   Peer KEYMAT computed:
    |   90 0d f0 0d  …
    "west-east" #2: … IPsec SA established tunnel mode {ESP=>0x38c53504 <0xbcb3fdf5 xfrm=AES_CBC_128-HMAC_SHA1_96 …}

Ours is what comes in, by the SPI after `<`. The key of the cipher stands first, its salt and the integrity key behind.
"""

import re
from dataclasses import dataclass
from typing import Any

from qfp.algorithms import CIPHERS, INTEGRITIES
from qfp.sa import NATT_ANY
from qfp.trace.keyfile_book import Book, Unusable, no_cipher, no_integrity, split_key
from qfp.trace.keyfile_names import PLUTO_INTEGRITIES, pluto
from qfp.trace.keyfile_text import Line

DUMP = re.compile(r"\|\s*(?:our  ?keymat|(?P<peer>peer keymat|Peer KEYMAT computed)|KEYMAT computed)\b:?\s*(.*)$")
HEX = re.compile(r"\|\s*((?:[0-9a-f]{2}\s*){1,16})$")
ESTABLISHED = re.compile(
    r"(tunnel|transport) mode \{(ESP|AH)(?:/NAT|/ESN|inUDP|inTCP)*=>0x([0-9a-f]{1,8})\s+<0x([0-9a-f]{1,8})\s+"
    r"xfrm=([^\s-]+)-(\S+)"
)
REMEDY = "log with plutodebug=crypt,private, or give ip xfrm state"


@dataclass(repr=False)
class _Material:
    """Keys of the IPsec SA that is being set up, as far as they were dumped."""

    ours: bytes = b""
    peers: bytes = b""
    filling: str = ""


def recognises(lines: list[Line]) -> bool:
    """Whether pluto wrote it, with or without keys."""
    return any(DUMP.search(line.text) or ESTABLISHED.search(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The IPsec SAs of a log. Raises `KeyFileError` where the reading is strict."""
    material = _Material()
    for line in lines:
        dump, more, done = DUMP.search(line.text), HEX.search(line.text), ESTABLISHED.search(line.text)
        if dump:
            material.filling = "peers" if dump["peer"] else "ours"
            setattr(material, material.filling, b"")
            more = HEX.search("|" + dump[2]) if dump[2] else None
        if more and material.filling:
            digits = bytes.fromhex("".join(more[1].split()))
            setattr(material, material.filling, getattr(material, material.filling) + digits)
        elif not dump:
            material.filling = ""
        if done:
            _established(book, line.number, done, material)
            material = _Material()


def _established(book: Book, line: int, done: re.Match[str], material: _Material) -> None:
    """Both SAs of a line that says that they are there."""
    if not material.ours and not material.peers:
        book.skip(line, "an IPsec SA whose keys were not logged", REMEDY)
        return
    for spi, key in ((done[4], material.ours), (done[3], material.peers)):
        try:
            fields = _algorithms(done[2], done[5], done[6], key)
        except Unusable as error:
            book.skip(line, error.problem, error.remedy)
            continue
        natt = None if done[2] == "AH" else NATT_ANY
        book.add(line, spi=int(spi, 16), mode=done[1], natt=natt, esn="/ESN" in done[0], replay_window=32, **fields)


def _algorithms(proto: str, cipher: str, integrity: str, key: bytes) -> dict[str, Any]:
    """The fields of one direction. Raises Unusable."""
    integ = PLUTO_INTEGRITIES.get(integrity.rstrip("},"))
    if integ is None:
        raise no_integrity(integrity, PLUTO_INTEGRITIES)
    size = INTEGRITIES[integ].key
    rest, integ_key = (key[: len(key) - size], key[len(key) - size :]) if size else (key, b"")
    fields: dict[str, Any] = {"proto": proto.lower(), "integ": integ, "integ_key": integ_key}
    if proto == "AH":
        return fields
    named, stated, _ = pluto(cipher)
    if named is None:
        raise no_cipher(cipher, ("AES_CBC_128", "AES_CTR_128", "AES_GCM_16_128", "AES_CCM_16_128", "3DES_CBC"))
    wanted = stated + CIPHERS[named.encr].salt
    if stated and len(rest) != wanted:
        raise Unusable(f"{len(rest)} bytes of key for {named.encr}", f"it takes {wanted} with its salt")
    fields |= {"encr": named.encr, **split_key(named.encr, rest)}
    return fields if named.icv is None else {**fields, "icv_len": named.icv}
