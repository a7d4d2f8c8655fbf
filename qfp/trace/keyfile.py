"""Key files: SAs read from the formats that people have, and written in the two that qfp exports.

    SA file         JSON, `{"sas": [ … ]}`: the project's own, and the only one that says everything   keyfile_json
    esp_sa          Wireshark's table of ESP SAs; strongSwan's save-keys writes the same               keyfile_esp_sa
    ip xfrm state   what Linux prints, and scripts of `ip xfrm state add`                              keyfile_xfrm
    setkey          `setkey -D` of BSDs and racoon, and scripts of `setkey -c`                         keyfile_setkey
    tcpdump -E      the file of secrets                                                                keyfile_tcpdump
    charon          strongSwan's log with `chd = 4`                                                    keyfile_charon
    pluto           Libreswan's log with `plutodebug=crypt,private`                                    keyfile_pluto
    ipsecctl        OpenBSD's `ipsecctl -s sa -k`                                                      keyfile_ipsecctl

The format is recognised by content, never by name. What cannot be used is left out, with a reason in
`Keys.skipped`. Whatever the bytes, reading ends in `Keys` or a `KeyFileError`.
"""

import codecs
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from qfp.naming import give_name
from qfp.recognise import binary, foreign, is_configuration
from qfp.sa import SecurityAssociation
from qfp.trace import (
    keyfile_charon,
    keyfile_esp_sa,
    keyfile_ipsecctl,
    keyfile_json,
    keyfile_pluto,
    keyfile_setkey,
    keyfile_tcpdump,
    keyfile_xfrm,
)
from qfp.trace.keyfile_book import Book, Keys
from qfp.trace.keyfile_error import KeyFileError
from qfp.trace.keyfile_text import Line, cleaned, is_noise
from qfp.trace.output import special

__all__ = ["KeyFileError", "Keys", "read_keys", "write_esp_sa", "write_sas"]

# In this order: a row of the table may quote anything, a log nearly everything
READERS = (keyfile_esp_sa, keyfile_xfrm, keyfile_setkey, keyfile_ipsecctl, keyfile_charon, keyfile_pluto,
           keyfile_tcpdump)  # fmt: skip
JSON = re.compile(r"\s*(?:\{|\[\s*(?:[\[\]{\"]|$))")  # [root@gw ~]# is a prompt
REMEDY = "give an SA file (JSON), Wireshark's esp_sa, or what ip xfrm state, setkey -D or a daemon's log prints"


def read_keys(path: str | Path, *, allow_null: bool = False, strict: bool = False) -> Keys:
    """The SAs of a key file, in the order of the file.

    `allow_null`: take ESP that neither encrypts nor authenticates. Entries that cannot be used (no keys, unknown
    algorithms, wrong lengths) are left out: `skipped` of the list says which and why. `strict`: the first of them is
    an error.

    Raises `KeyFileError`, which names file, line, column and remedy, and no key: for files that cannot be read or hold
    nothing that can be used, and with `strict`.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise KeyFileError(path, 0, 0, f"cannot be read: {reason}", "check the name and its permissions") from None
    return parse_keys(path, data, allow_null, strict)


def parse_keys(path: Path, data: bytes, allow_null: bool = False, strict: bool = False) -> Keys:
    """The SAs in the bytes of a key file; `path` is for messages only. Other arguments, and errors: see `read_keys`."""
    text = _text(path, data)
    book = Book(path, strict, allow_null)
    if JSON.match(text):
        keyfile_json.parse(book, text)
        return book.keys()
    lines = cleaned(text)
    reader = next((reader for reader in READERS if reader.recognises(lines)), None)
    if reader is None:
        raise _unknown(path, data, lines)
    reader.parse(book, lines)
    keys = book.keys()
    if not keys and not keys.patterns:
        raise KeyFileError(path, 0, 0, "holds no SA", "give a file of keys")
    return keys


def _text(path: Path, data: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark. Raises `KeyFileError`."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    other = "" if wide else binary(data)
    if other:
        raise KeyFileError(path, 0, 0, f"is {other}, not a key file", REMEDY)
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KeyFileError(path, line, 0, "not text in UTF-8", "give a key file, not a capture") from None


def _unknown(path: Path, data: bytes, lines: list[Line]) -> KeyFileError:
    """The error of a text that no reader knows."""
    first = next((line for line in lines if not is_noise(line)), None)
    other = foreign(data) or ("a configuration" if is_configuration(data) else "")
    if other:
        return KeyFileError(path, 0, 0, f"is {other}, not a key file", REMEDY)
    if first is None:
        return KeyFileError(path, 0, 0, "holds no SA", "give a file of keys")
    return KeyFileError(path, first.number, 0, "not a key file of a known format", REMEDY)


def write_sas(path: str | Path, sas: Iterable[SecurityAssociation]) -> None:
    """Write the project's SA file, one SA a line. It holds keys: only its owner may read it (mode 0600).

    Raises `KeyFileError` where the file cannot be written.
    """
    _replace(Path(path), keyfile_json.render(sas))


def write_esp_sa(path: str | Path, sas: Iterable[SecurityAssociation], *, newer: bool = False) -> list[str]:
    """Write Wireshark's `esp_sa` table, so that tshark opens what was sealed; mode 0600.

    `newer` adds the sequence-number columns of later releases, without which an ESN packet's ICV cannot be checked,
    and the names that only they know (ChaCha20-Poly1305). Wireshark 4.0 has eight columns and none of these.
    Returns one sentence for each SA that the table cannot hold (AH, and algorithms that Wireshark does not know) or
    not fully. Raises `KeyFileError` where the file cannot be written.
    """
    text, notes = keyfile_esp_sa.render(sas, newer)
    _replace(Path(path), text)
    return notes


def _replace(path: Path, text: str) -> None:
    """Write to a temporary name beside `path`, then rename: nobody ever sees half a file. Devices and pipes get the
    text itself; a symbolic link stays, and what it leads to is replaced."""
    temporary = ""
    try:
        if special(path):
            path.write_bytes(text.encode())
            return
        target = os.path.realpath(path)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(target))  # exclusive, 0600
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        give_name(Path(temporary), Path(target))
    except (OSError, ValueError) as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise KeyFileError(path, 0, 0, f"cannot be written: {reason}", "check the folder and its permissions") from None
