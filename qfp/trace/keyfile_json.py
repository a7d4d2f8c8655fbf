"""The project's SA file: JSON, `{"sas": [ {proto, spi, src, dst, …}, … ]}`. Unknown keys are refused by name, and cost
their SA; wrong syntax costs the file.

Keys and salt are hex; addresses are text, `*` or null for any; ports are a number or `"LOW-HIGH"`. Only `proto` and
`spi` must be there. An absent `mode` means that the next header decides.
"""

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from qfp.sa import NATT_ANY, Address, AddressRange, PortRange, SaError, SecurityAssociation, Selectors
from qfp.trace.keyfile_book import Book
from qfp.trace.keyfile_error import KeyFileError

KEYS = ("proto", "spi", "src", "dst", "mode", "encr", "encr_key", "salt", "integ", "integ_key", "icv_len", "esn",
        "replay_window", "natt", "comp", "seq", "selectors", "bundle", "direction")  # fmt: skip
HEX_KEYS = ("encr_key", "salt", "integ_key")
SELECTOR_KEYS = ("src", "dst", "protocol", "sport", "dport")
DECODER = json.JSONDecoder()
NOT_BLANK = re.compile(r"[^ \t\n\r]")


# --------------------------------------------------------------------------------------------------- reading
class Source:
    """The text of a file, and where in it a position lies."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def error(self, at: int, problem: str, remedy: str) -> KeyFileError:
        """An error at a position of the text."""
        line = self.text.count("\n", 0, at) + 1
        return KeyFileError(self.path, line, at - self.text.rfind("\n", 0, at), problem, remedy)

    def skip(self, at: int) -> int:
        """The position of the next character that is not white space."""
        found = NOT_BLANK.search(self.text, at)
        return found.start() if found else len(self.text)

    def values(self, at: int) -> Iterator[tuple[int, Any]]:
        """Position and value of each element of the array at `at`, whose syntax is known to be right."""
        at = self.skip(at + 1)
        while self.text[at] != "]":
            value, end = DECODER.raw_decode(self.text, at)
            yield at, value
            at = self.skip(end)
            at = self.skip(at + 1) if self.text[at] == "," else at

    def members(self, at: int) -> Iterator[tuple[int, str, int, Any]]:
        """Position and name, position and value of each member of the object at `at`, syntax known to be right."""
        at = self.skip(at + 1)
        while self.text[at] != "}":
            name, end = DECODER.raw_decode(self.text, at)
            start = self.skip(self.skip(end) + 1)
            value, end = DECODER.raw_decode(self.text, start)
            yield at, name, start, value
            at = self.skip(end)
            at = self.skip(at + 1) if self.text[at] == "," else at


def parse(book: Book, text: str) -> None:
    """The SAs of an SA file. Raises `KeyFileError` for what is no SA file, or where the reading is strict."""
    source = Source(book.path, text)
    try:
        json.loads(text)  # the whole syntax first, so that what follows need not check it
        _file(book, source)
    except json.JSONDecodeError as error:
        raise source.error(error.pos, f"not JSON: {error.msg}", "correct the syntax") from None
    except KeyFileError:
        raise
    except (RecursionError, ValueError):  # ValueError: an integer of thousands of digits
        raise source.error(0, "not an SA file: nested too deep, or a number too long", 'write {"sas": [ … ]}') from None


def _file(book: Book, source: Source) -> None:
    start = source.skip(0)
    if source.text[start] != "{":
        raise source.error(start, "an SA file is one object", 'write {"sas": [ … ]}')
    for _, name, value_at, value in _checked(source, start, ("sas",), "the file"):
        if not isinstance(value, list):
            raise source.error(value_at, f"{name} is not an array", 'write {"sas": [ … ]}')
        for at, sa in source.values(value_at):
            try:
                book.take(_association(source, at, sa, book.allow_null))
            except KeyFileError as error:
                book.refuse(error)
        return
    raise source.error(start, "there is no key 'sas'", 'write {"sas": [ … ]}')


def _checked(source: Source, at: int, known: tuple[str, ...], where: str) -> list[tuple[int, str, int, Any]]:
    """The members of an object. Raises `KeyFileError` for a name that is not in `known`, or that comes twice."""
    seen: set[str] = set()
    members = list(source.members(at))
    for name_at, name, _, _ in members:
        if name not in known:
            raise source.error(name_at, f"unknown key {_shown(name)} in {where}", f"known: {', '.join(known)}")
        if name in seen:
            raise source.error(name_at, f"key {name!r} comes twice in {where}", "remove one")
        seen.add(name)
    return members


def _shown(name: str) -> str:
    """A name for a message; what is far too long for a name stays out of it."""
    return ascii(name) if len(name) <= 24 else "with a very long name"


def _association(source: Source, at: int, value: Any, allow_null: bool) -> SecurityAssociation:
    if not isinstance(value, dict):
        raise source.error(at, "an SA is an object", 'write {"proto": "esp", "spi": …, …}')
    fields: dict[str, Any] = {"mode": None, "allow_null": allow_null}
    places: dict[str, int] = {}
    for name_at, name, value_at, given in _checked(source, at, KEYS, "an SA"):
        places[name] = name_at
        try:
            fields[name] = _field(source, name, value_at, given)
        except SaError as error:
            raise source.error(name_at, f"{error.field}: {error.problem}", error.remedy) from None
    for name in ("proto", "spi"):
        if name not in fields:
            raise source.error(at, f"the SA has no {name}", f"give {name}")
    try:
        return SecurityAssociation(**fields)
    except SaError as error:
        raise source.error(places.get(error.field, at), f"{error.field}: {error.problem}", error.remedy) from None


def _field(source: Source, name: str, at: int, value: Any) -> Any:
    """One field's value as `SecurityAssociation` takes it; what is left unconverted is checked there."""
    if name in HEX_KEYS:
        return _hex(name, value)
    if name in ("src", "dst"):
        return _address(name, value)
    if name == "selectors" and value is not None:
        return _selectors(source, at, value)
    if name == "natt" and value is not None:
        return _natt(source, at, value)
    if name in ("encr", "integ") and value is None:
        return "null" if name == "encr" else "none"
    return value


def _hex(field: str, value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        digits = value[2:] if value[:2] in ("0x", "0X") else value
        if digits.isascii() and (not digits or digits.isalnum()):  # fromhex would take spaces
            try:
                return bytes.fromhex(digits)
            except ValueError:
                pass
    raise SaError(field, "not hex", "give the bytes as an even number of hex digits, in quotes")


def _address(field: str, value: Any) -> Address | None:
    if value is None or value == "*":
        return None
    if isinstance(value, str):
        try:
            return ip_address(value)
        except ValueError:
            pass
    raise SaError(field, "not an IP address", "use an IPv4 or IPv6 address, or * for any")


def _selectors(source: Source, at: int, value: Any) -> Selectors:
    if not isinstance(value, dict):
        raise SaError("selectors", "not an object", "give src, dst, protocol, sport and dport, or null")
    given = {name: item for _, name, _, item in _checked(source, at, SELECTOR_KEYS, "selectors")}
    ends = {name: _range(given.get(name)) for name in ("src", "dst")}
    ports = {name: _ports(given.get(name)) for name in ("sport", "dport")}
    protocol = given.get("protocol")
    if protocol is not None and (not isinstance(protocol, int) or isinstance(protocol, bool)):
        raise SaError("selectors", "protocol is not a number", "use 0 to 255, or null for any")
    return Selectors(protocol=protocol, src=ends["src"], dst=ends["dst"], sport=ports["sport"], dport=ports["dport"])


def _range(value: Any) -> AddressRange | None:
    if value is None or value == "*":
        return None
    if not isinstance(value, str):
        raise SaError("selectors", "an address is not text", "write a prefix, an address, or FIRST-LAST")
    return AddressRange.parse(value)


def _ports(value: Any) -> PortRange | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, str):
        low, _, high = value.partition("-")
        if all(p.isascii() and p.isdigit() and len(p) <= 5 for p in (low, high)):
            return int(low), int(high)
    raise SaError("selectors", "a port is neither a number nor a range", 'write 80, "1024-65535", or null for any')


def _natt(source: Source, at: int, value: Any) -> tuple[Any, Any]:
    if value == "any":
        return NATT_ANY
    if not isinstance(value, dict):
        raise SaError("natt", "not an object", 'give sport and dport, usually 4500, "any" or null')
    given = {name: item for _, name, _, item in _checked(source, at, ("sport", "dport"), "natt")}
    ports = given.get("sport"), given.get("dport")
    if ports == NATT_ANY:
        raise SaError("natt", "port 0 is none", 'give sport and dport, usually 4500, "any" or null')
    return ports


# --------------------------------------------------------------------------------------------------- writing
def render(sas: Iterable[SecurityAssociation]) -> str:
    """The text of an SA file: one SA a line, all fields, in the order of the contract."""
    rows = ",\n".join("  " + json.dumps(_row(sa)) for sa in sas)
    return '{"sas": [\n' + rows + ("\n" if rows else "") + "]}\n"


def _row(sa: SecurityAssociation) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(sa, name) for name in KEYS}
    row.update({name: row[name].hex() for name in HEX_KEYS})
    row.update(src=str(sa.src or "*"), dst=str(sa.dst or "*"), natt=None, selectors=None)
    if sa.natt is not None:
        row["natt"] = "any" if sa.natt == NATT_ANY else {"sport": sa.natt[0], "dport": sa.natt[1]}
    if sa.selectors is not None:
        sel = sa.selectors
        ends = {"src": sel.src and str(sel.src), "dst": sel.dst and str(sel.dst)}
        row["selectors"] = ends | {"protocol": sel.protocol, "sport": _span(sel.sport), "dport": _span(sel.dport)}
    return row


def _span(ports: PortRange | None) -> int | str | None:
    if ports is None:
        return None
    return ports[0] if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"
