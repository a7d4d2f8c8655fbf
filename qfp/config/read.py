"""From the bytes of a configuration file to its text, as terminals and editors leave them."""

from __future__ import annotations

import codecs
from pathlib import Path

from qfp.recognise import HEAD, container, foreign

from .issues import ConfigError, Issue

# Longest first: the mark of UTF-32 begins as that of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_LOOKED_AT = 65536  # bytes that tell text from anything else
# Control characters that no text has: not tab, line ends, backspace, bell, ^C (a banner's delimiter), ^Z or escape.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\a\x03\x1a\x1b\0"))
_MOST_CONTROLS = 1 / 50
_MOST_NULS = 1 / 8


def text_of(name: str) -> tuple[str, list[Issue]]:
    """The text of a configuration file, and what was odd about it.

    UTF-8, UTF-16 and UTF-32 with or without a byte-order mark; any other byte is taken as Latin-1. Line ends may be
    those of any system. Raises ConfigError, which names the file and a remedy, when it cannot be read, is no
    text, or is one of keys or a capture.
    """
    try:
        data = Path(name).read_bytes()
    except (OSError, ValueError) as failed:
        reason = getattr(failed, "strerror", None) or str(failed)
        raise ConfigError(f"{name}: cannot be read: {reason} (give the path of a readable configuration)") from failed
    text = _decoded(data)
    # Its words are looked at as text, whatever the encoding; NUL characters are those of a terminal
    other = container(data) or ("" if text is None else foreign(text[:HEAD].replace("\0", "").encode()))
    if other:
        raise ConfigError(f"{name}: is {other}, not a configuration: nothing of it is shown "
                          "(give a file of IOS-style commands)")  # fmt: skip
    if text is None:
        raise ConfigError(f"{name}: is no text: give the configuration as `show running-config` prints it")
    odd = []
    if "\0" in text:
        odd.append(f"{text.count(chr(0))} NUL characters are left out")
        text = text.replace("\0", "")
    if not text.strip():
        odd.append("the file is empty: it configures nothing")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text, [Issue("warning", name, 0, 0, told, rule="unreadable") for told in odd]


def _decoded(data: bytes) -> str | None:
    """The text that bytes stand for, None for none."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strictly(data[len(mark) :], encoding) if encoding != "utf-8" else _plain(data[len(mark) :])
    head = data[:_LOOKED_AT]
    if head.count(0) > len(head) * _MOST_NULS:
        # UTF-16 without its mark: every other byte of plain English is NUL
        even, odd = head[::2].count(0), head[1::2].count(0)
        encoding = "utf-16-le" if even * 10 < odd else "utf-16-be" if odd * 10 < even else ""
        return _strictly(data, encoding) if encoding else None
    return _plain(data)


def _plain(data: bytes) -> str | None:
    head = data[:_LOOKED_AT]
    if len(head) - len(head.translate(None, _CONTROLS)) > len(head) * _MOST_CONTROLS:
        return None
    return _strictly(data, "utf-8") or data.decode("latin-1")


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
