"""Key files: SAs read from the three formats that people have, and written in the two that qfp exports.

    SA file       JSON, `{"sas": [ … ]}`: the project's own, and the only one that says everything   keyfile_json
    esp_sa        Wireshark's table of ESP SAs; strongSwan's save-keys writes the same               keyfile_esp_sa
    ip xfrm state what Linux prints                                                                  keyfile_xfrm

The format is recognised by content, never by name. Whatever the bytes, reading ends in a list or a `KeyFileError`.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from qfp.naming import give_name
from qfp.recognise import foreign, is_configuration
from qfp.sa import SecurityAssociation
from qfp.trace import keyfile_esp_sa, keyfile_json, keyfile_xfrm
from qfp.trace.keyfile_error import KeyFileError
from qfp.trace.output import special

__all__ = ["KeyFileError", "read_keys", "write_esp_sa", "write_sas"]


def read_keys(path: str | Path, *, allow_null: bool = False) -> list[SecurityAssociation]:
    """The SAs of a key file, in the order of the file. `allow_null`: take ESP that neither encrypts nor authenticates.

    Raises `KeyFileError`, which names file, line, column and remedy, and no key.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise KeyFileError(path, 0, 0, f"cannot be read: {reason}", "check the name and its permissions") from None
    return parse_keys(path, data, allow_null)


def parse_keys(path: Path, data: bytes, allow_null: bool = False) -> list[SecurityAssociation]:
    """The SAs in the bytes of a key file; `path` is for messages only. `allow_null`: see `read_keys`.

    Raises `KeyFileError`.
    """
    other = foreign(data)
    if other and "key file" not in other and "JSON" not in other:
        raise KeyFileError(path, 0, 0, f"is {other}, not a key file", "give an SA file, esp_sa, or ip xfrm state")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KeyFileError(path, line, 0, "not text in UTF-8", "give a key file, not a capture") from None
    if text.lstrip().startswith(("{", "[")):
        return keyfile_json.parse(path, text, allow_null)
    lines = text.split("\n")  # not splitlines: a form feed or U+2028 is no line end to an editor
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
    if first is None:
        raise KeyFileError(path, 0, 0, "holds no SA", "give a file of keys")
    if lines[first].split()[0] == "src":
        return keyfile_xfrm.parse(path, lines, allow_null)
    if "," in lines[first]:
        return keyfile_esp_sa.parse(path, lines, allow_null)
    remedy = "give an SA file (JSON), Wireshark's esp_sa, or the output of ip xfrm state"
    if is_configuration(data):
        raise KeyFileError(path, 0, 0, "is a configuration, not a key file", remedy)
    raise KeyFileError(path, first + 1, 0, "not a key file of a known format", remedy)


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
