"""strongSwan's log with keys (`chd = 4`): charon prints those of each child SA as it derives them.

    15[ENC] parsed QUICK_MODE response 2061703506 [ HASH SA No ID ID ]
    15[CHD]   using AES_CBC for encryption
    15[CHD]   using HMAC_SHA2_256_128 for integrity
    15[CHD] encryption initiator key => 32 bytes @ 0x7f3bc4002a10
    15[CHD]    0: 81 D4 …  ................
    15[CHD] adding inbound ESP SA
    15[CHD]   SPI 0x8d4d1118, src 10.9.0.2 dst 10.9.0.1

Everything about one child comes from one thread. Whose key is whose: the end that was answered is the initiator.
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from qfp.sa import NATT_ANY, Address
from qfp.trace.keyfile_book import Book, Unusable, no_cipher, no_integrity, not_hex, split_key
from qfp.trace.keyfile_names import CHARON_CIPHERS, CHARON_INTEGRITIES
from qfp.trace.keyfile_text import Line

ENTRY = re.compile(r"(?:^|.*?[ :>])(\d{2,3})\[([A-Z]{3})\d?\] ?(.*)$")
MESSAGE = re.compile(r"(parsed|generating) (?:QUICK_MODE|IKE_AUTH|CREATE_CHILD_SA) (request|response)")
USING = re.compile(r"\s*using (\S+) for (encryption|integrity)")
KEY = re.compile(r"(encryption|integrity) (initiator|responder) key => (\d{1,3}) bytes")
HEX = re.compile(r"\s*(\d+): ((?:[0-9A-Fa-f]{2}(?: |$)){1,16})")
ADDING = re.compile(r"adding (inbound|outbound) (ESP|AH) SA")
SPI = re.compile(r"\s*SPI 0x([0-9A-Fa-f]{1,8}), src ([0-9A-Fa-f.:]+)(?:%\S+)?(?:\[\d+\])? dst ([0-9A-Fa-f.:]+)")
ESTABLISHED = re.compile(r"CHILD_SA .*established with SPIs ([0-9a-f]{1,8})_i ([0-9a-f]{1,8})_o")
PROPOSAL = re.compile(r"selected proposal: (ESP|AH):(\S+)")
REMEDY = "log with chd = 4, or use the save-keys plugin"


@dataclass(repr=False)
class _Child:
    """What a thread said of the child SA that it is setting up."""

    line: int = 0
    initiator: bool = True
    proto: str = "ESP"
    encr: str = ""
    integ: str = ""
    esn: bool = False
    keys: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)
    filling: tuple[str, str] | None = None
    adding: str = ""
    ends: dict[str, tuple[int, Address | None, Address | None]] = field(default_factory=dict)  # inbound, outbound


def recognises(lines: list[Line]) -> bool:
    """Whether charon wrote it, with or without keys."""
    return any(KEY.search(line.text) or ADDING.search(line.text) or ESTABLISHED.search(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The child SAs of a log. Raises `KeyFileError` where the reading is strict."""
    threads: dict[str, _Child] = {}
    for line in lines:
        entry = ENTRY.match(line.text)
        thread, text = (entry[1], entry[3]) if entry else ("", line.text.strip())
        if not entry and len(threads) == 1:
            thread = next(iter(threads))  # a dump whose other lines have no prefix
        child = threads.setdefault(thread, _Child())
        if _heard(book, child, line.number, text):
            threads[thread] = _Child(initiator=child.initiator)


def _heard(book: Book, child: _Child, line: int, text: str) -> bool:
    """One entry of a thread; True = the child is complete."""
    dump = HEX.match(text) if child.filling else None
    if dump:
        _fill(child, int(dump[1][:6]), dump[2])
        return False
    child.filling = None
    message, using, key = MESSAGE.search(text), USING.match(text), KEY.search(text)
    if message:
        child.initiator = message[2] == ("response" if message[1] == "parsed" else "request")
    elif using and using[2] == "encryption":
        child.encr, child.line = using[1], child.line or line
    elif using:
        child.integ, child.line = using[1], child.line or line
    elif key:
        child.filling = (key[1], key[2])
        child.sizes[child.filling], child.keys[child.filling] = int(key[3]), b""
        child.line = child.line or line
    return _placed(book, child, line, text)


def _fill(child: _Child, at: int, digits: str) -> None:
    assert child.filling is not None
    have, size = child.keys[child.filling], child.sizes[child.filling]
    if at == len(have):  # the text column behind the bytes may look like more of them
        child.keys[child.filling] = have + bytes.fromhex(digits)[: min(16, size - len(have))]


def _placed(book: Book, child: _Child, line: int, text: str) -> bool:
    """Where a child's SAs run, and by what proposal."""
    adding, spi, done, proposal = ADDING.search(text), SPI.match(text), ESTABLISHED.search(text), PROPOSAL.search(text)
    if proposal:
        child.proto, child.esn = proposal[1], not re.search(r"/NO_EXT_SEQ", proposal[2]) and "EXT_SEQ" in proposal[2]
    elif adding:
        child.adding, child.proto = adding[1], adding[2]
    elif spi and child.adding:
        try:
            child.ends[child.adding] = int(spi[1], 16), ip_address(spi[2]), ip_address(spi[3])
        except ValueError:
            book.skip(line, "not an IP address", "give the log as it was written")
        if len(child.ends) == 2:
            _finish(book, child, line)
            return True
    elif done and (child.keys or child.line):
        child.ends = {"inbound": (int(done[1], 16), None, None), "outbound": (int(done[2], 16), None, None)}
        _finish(book, child, line)
        return True
    elif done and int(done[1], 16) not in book.spis:
        book.skip(line, "a child SA whose keys were not logged", REMEDY)
    return False


def _finish(book: Book, child: _Child, line: int) -> None:
    """Both SAs of a child."""
    book.spis |= {spi for spi, _, _ in child.ends.values()}
    if not child.keys:
        book.skip(child.line or line, "a child SA whose keys were not logged", REMEDY)
        return
    for way, (spi, src, dst) in child.ends.items():
        sender = "initiator" if (way == "outbound") == child.initiator else "responder"
        try:
            fields = _algorithms(child, sender)
        except Unusable as error:
            book.skip(child.line, error.problem, error.remedy)
            continue
        book.add(child.line, spi=spi, src=src, dst=dst, mode=None, natt=None if child.proto == "AH" else NATT_ANY,
                 esn=child.esn, replay_window=32, **fields)  # fmt: skip


def _algorithms(child: _Child, sender: str) -> dict[str, Any]:
    """The fields of what one end sends. Raises Unusable."""
    fields: dict[str, Any] = {"proto": child.proto.lower()}
    encr, integ = (_key(child, part, sender) for part in ("encryption", "integrity"))
    if child.proto == "ESP":
        named = CHARON_CIPHERS.get(child.encr or "NULL")
        if named is None:
            raise no_cipher(child.encr, CHARON_CIPHERS)
        fields |= {"encr": named.encr, **split_key(named.encr, encr)}
        if named.icv is not None:
            fields["icv_len"] = named.icv
    if child.integ:
        if child.integ not in CHARON_INTEGRITIES:
            raise no_integrity(child.integ, CHARON_INTEGRITIES)
        fields |= {"integ": CHARON_INTEGRITIES[child.integ], "integ_key": integ}
    elif integ:
        raise Unusable("a key of integrity without its algorithm", "log with chd = 4 from before the SA came up")
    return fields


def _key(child: _Child, part: str, sender: str) -> bytes:
    key, size = child.keys.get((part, sender), b""), child.sizes.get((part, sender), 0)
    if len(key) != size:
        raise not_hex("") if not key else Unusable(f"{len(key)} of {size} bytes of a key", "give the whole log")
    return key
