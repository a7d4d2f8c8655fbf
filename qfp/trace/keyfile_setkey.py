"""`setkey -D`: what KAME's tool prints of the SAs of a BSD or of racoon; and scripts of `setkey -c`.

    192.0.2.1[4500] 192.0.2.2[4500]
            esp-udp mode=tunnel spi=4352(0x00001100) reqid=0(0x00000000)
            E: aes-cbc  00112233 44556677 8899aabb ccddeeff
            A: hmac-sha1  00010203 04050607 08090a0b 0c0d0e0f 10111213
            seq=0x00000005 replay=4 flags=0x00000000 state=mature

    add 192.0.2.1 192.0.2.2 esp 0x1100 -m tunnel -E rijndael-cbc 0x… -A hmac-sha1 0x…;

`seq` is the last number sent; the receiving side of an SA counts it too. `replay` is in bytes of a bitmap.
"""

import re
import shlex
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from qfp.sa import NATT_ANY, WINDOW_MAX, Address
from qfp.trace.keyfile_book import Book, Unusable, key_bytes, no_cipher, no_integrity, not_hex, split_key
from qfp.trace.keyfile_names import SETKEY_CIPHERS, SETKEY_INTEGRITIES
from qfp.trace.keyfile_text import Line, is_noise

_END = r"([0-9A-Fa-f.:]+)(?:%\S+?)?(?:\[(\w+)\])?"
ENDS = re.compile(rf"\s*{_END}\s+{_END}\s*$")
STATE = re.compile(r"\s*(esp|ah|esp-udp|esp-old|ah-old|ipcomp|tcp)\s+mode=(\w+)\s+spi=(\d+)")
KEY = re.compile(r"\s*([EA]):\s+(\S+)(?:\s+(.*?))?\s*$")
NUMBERS = re.compile(r"\s*seq=(0x[0-9A-Fa-f]{1,16})\s+replay=(\d{1,9})\b.*?(?:\bstate=(\w+))?\s*$")
REST = re.compile(r"\s*(?:created|diff|last|current|allocated|sadb_seq|C|replay|hard)[:=]|\s*policies? |\s*No SAD")
ADD = re.compile(r"\s*add\s+(?:-\S+\s+)*\S+\s+\S+\s+(?:esp|ah|esp-old|ah-old|esp-udp|ipcomp|tcp)\b")
OLD = {"esp-old": "ESP of RFC 1827", "ah-old": "AH of RFC 1826", "ipcomp": "IPComp", "tcp": "TCP MD5"}


@dataclass(repr=False)
class _State:
    """One SA as its lines come in."""

    line: int
    src: str
    dst: str
    ports: tuple[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    bad: bool = False


def recognises(lines: list[Line]) -> bool:
    """Whether there is an SA of a dump, or a command that adds one."""
    return any(STATE.match(line.text) or ADD.match(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The SAs of `setkey -D` and of scripts. Raises `KeyFileError` where the reading is strict."""
    if any(STATE.match(line.text) for line in lines):
        _dump(book, lines)
    else:
        _script(book, lines)


# ------------------------------------------------------------------------------------------------- the dump
def _dump(book: Book, lines: list[Line]) -> None:
    state: _State | None = None
    strange: list[int] = []
    for line in lines:
        ends = ENDS.match(line.text)
        if ends:
            _finish(book, state)
            state = _State(line.number, ends[1], ends[3], (ends[2] or "", ends[4] or ""))
        elif is_noise(line) or REST.match(line.text):
            continue
        elif state is None or not _detail(book, state, line):
            strange.append(line.number)
    _finish(book, state)
    book.strange(strange, "setkey -D")


def _detail(book: Book, state: _State, line: Line) -> bool:
    """One line below the addresses; False = it is none of an SA."""
    head, key, numbers = (expression.match(line.text) for expression in (STATE, KEY, NUMBERS))
    if not (head or key or numbers):
        return False
    if state.bad:
        return True
    try:
        if head:
            _identity(state, head[1], head[2], int(head[3][:12]))
        elif key:
            state.fields |= (_cipher if key[1] == "E" else _integrity)(key[2], _words(key[3] or ""))
        elif numbers:
            sent = int(numbers[1], 16)
            # what is known to be sent: a router goes on above it, and a reader of captures takes no window from it
            state.fields |= {"seq": sent + 1 if sent else 0, "direction": "out" if sent else None}
            state.fields["replay_window"] = min(8 * int(numbers[2]), WINDOW_MAX)
            state.state = numbers[3] or ""
    except Unusable as error:
        state.bad = True
        book.skip(line.number, error.problem, error.remedy, line.column)
    return True


def _words(text: str) -> bytes:
    """A key as groups of hex digits, with `( 128 bits)` or the like behind it."""
    text = re.sub(r"\s*\([^)]*\)\s*$", "", text)
    digits = text.replace(" ", "")
    if not re.fullmatch(r"(?:0x)?(?:[0-9A-Fa-f]{2})+", digits):
        raise not_hex(text)
    return key_bytes(digits)


def _identity(state: _State, proto: str, mode: str, spi: int) -> None:
    if proto in OLD:
        raise Unusable(f"an SA of a protocol other than ESP and AH ({OLD[proto]})", "remove it: qfp opens esp and ah")
    if mode not in ("tunnel", "transport", "any"):
        raise Unusable("an SA of a mode other than tunnel and transport", "give SAs of mode tunnel or transport")
    state.fields.update(proto=proto[:3].rstrip("-"), spi=spi, mode=None if mode == "any" else mode)
    if proto == "esp-udp":
        ports = [int(port) for port in state.ports if re.fullmatch(r"\d{1,5}", port)]
        state.fields["natt"] = tuple(ports) if len(ports) == 2 and 0 not in ports else NATT_ANY


def _finish(book: Book, state: _State | None) -> None:
    if state is None or state.bad:
        return
    fields = state.fields
    if "proto" not in fields:  # two addresses on a line of something else
        return
    if fields["spi"] == 0 or state.state == "larval":
        book.skip(state.line, "a larval SA, whose keys are not agreed yet", "dump the SAs once they are")
    elif fields["proto"] == "esp" and "encr" not in fields:
        book.skip(state.line, "an ESP SA without an E: line", "print the keys: setkey -D as root")
    else:
        try:
            ends = {"src": _address(state.src), "dst": _address(state.dst)}
        except Unusable as error:
            book.skip(state.line, error.problem, error.remedy)
            return
        book.add(state.line, **fields, **ends)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        raise Unusable("not an IP address", "give the addresses as numbers") from None
    return address if int(address) else None


# --------------------------------------------------------------------------------------------- the algorithms
def _cipher(name: str, key: bytes) -> dict[str, Any]:
    named = SETKEY_CIPHERS.get(name)
    if named is None:
        raise no_cipher(name, SETKEY_CIPHERS)
    fields: dict[str, Any] = {"encr": named.encr, **split_key(named.encr, key)}
    return fields if named.icv is None else {**fields, "icv_len": named.icv}


def _integrity(name: str, key: bytes) -> dict[str, Any]:
    integ = SETKEY_INTEGRITIES.get(name)
    if integ is None:
        raise no_integrity(name, SETKEY_INTEGRITIES)
    return {} if integ == "none" else {"integ": integ, "integ_key": key}


# ------------------------------------------------------------------------------------------------ the script
def _script(book: Book, lines: list[Line]) -> None:
    """The `add` commands; each ends in a semicolon."""
    first, text = 0, ""
    for line in lines:
        if ADD.match(line.text) and text.strip():  # a semicolon is missing
            _command(book, first, text)
            text = ""
        first = first if text.strip() else line.number
        pieces = _statements(line.text)
        for piece in pieces[:-1]:
            _command(book, first, text + " " + piece)
            first, text = line.number, ""
        text += " " + pieces[-1]
    _command(book, first, text)


def _statements(text: str) -> list[str]:
    """A line cut at its semicolons, those in quotes left alone, without its comment."""
    pieces = [""]
    quoted = False
    for c in text:
        if c == '"':
            quoted = not quoted
        if c == "#" and not quoted:
            break
        if c == ";" and not quoted:
            pieces.append("")
        else:
            pieces[-1] += c
    return pieces


def _command(book: Book, line: int, text: str) -> None:
    if not ADD.match(text):
        return  # flush, spdadd, … and what stands around a script
    try:
        book.add(line, **_added(shlex.split(text)))
    except Unusable as error:
        book.skip(line, error.problem, error.remedy)
    except ValueError:
        book.skip(line, "a quote that does not end", "close it")


def _added(words: list[str]) -> dict[str, Any]:
    """The fields of an SA from `add [-46n] SRC DST PROTO SPI [options]`."""
    words = words[1:]
    while words and words[0].startswith("-"):
        words.pop(0)
    src, dst, proto, spi, *options = [*words, "", "", "", ""][: max(4, len(words))]
    if proto in OLD:
        raise Unusable(f"an SA of a protocol other than ESP and AH ({OLD[proto]})", "remove it: qfp opens esp and ah")
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|\d{1,10}", spi):
        raise Unusable("not an SPI", "write it in hex, e.g. 0x1000, or in decimal")
    fields: dict[str, Any] = {"proto": proto[:3].rstrip("-"), "spi": int(spi, 0) if spi[1:2] in "xX" else int(spi),
                              "mode": None, "replay_window": 0}  # fmt: skip
    for name, end in (("src", src), ("dst", dst)):
        fields[name] = _address(end.partition("[")[0])
    if proto == "esp-udp":
        fields["natt"] = NATT_ANY
    k = 0
    while k < len(options):
        word, rest = options[k], [*options[k + 1 :], "", ""]
        if word == "-m":
            fields["mode"] = None if rest[0] == "any" else rest[0]
        elif word == "-r" and re.fullmatch(r"\d{1,6}", rest[0]):
            fields["replay_window"] = min(8 * int(rest[0]), WINDOW_MAX)
        elif word == "-esn":
            fields["esn"] = True
        elif word in ("-E", "-A"):
            known, reader = (SETKEY_CIPHERS, _cipher) if word == "-E" else (SETKEY_INTEGRITIES, _integrity)
            plain = rest[0] == "null"
            if rest[0] not in known:
                raise (no_cipher if word == "-E" else no_integrity)(rest[0], known)
            fields |= reader(rest[0], b"" if plain else _typed(rest[1]))
            k += 0 if plain else 1
        k += 1 if word == "-esn" else 2
    if fields["proto"] == "esp" and "encr" not in fields:
        raise Unusable("an ESP SA without -E", "give its cipher and key")
    return fields


def _typed(text: str) -> bytes:
    """A key of a script: hex after 0x, otherwise the characters themselves."""
    return key_bytes(text) if text[:2] in ("0x", "0X") else text.encode()
