"""Wireshark's `esp_sa` table: one SA a line, fields in double quotes, separated by commas.

    "IPv4","10.0.0.1","10.0.0.2","0x00000100","AES-CBC [RFC3602]","0x…","HMAC-SHA-256-128 [RFC4868]","0x…"

Later releases append two fields: the length of the sequence number (`32-bit`, `64-bit`) and the high half in hex.
The table knows no mode, no UDP encapsulation and no replay window, so SAs from it are open in the first two
(`mode` None, `natt` NATT_ANY) and do not check for replay, as Wireshark does not.

SPI and addresses may have wildcards. Wireshark compares them as text: `*` alone is anything, in an SPI of ten
characters (`0x12******`) it is a digit. Shorter SPIs that end in `*`, `?`, prefixes and `192.168.*` are what users
write besides.
Wireshark takes the first line that matches; here a whole SPI goes before wildcards, wherever it stands.
`ANY n bit authentication [no checking]`: an ICV of that length is cut off, and nothing checks it.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

from qfp.algorithms import unknown
from qfp.sa import ALGORITHM_DEFAULT, NATT_ANY, Address, SaError, SecurityAssociation
from qfp.sa_pattern import AddressPattern, PatternError, SaPattern, SpiPattern, exactly
from qfp.trace.keyfile_book import Book, Unusable, key_bytes, split_key
from qfp.trace.keyfile_error import KeyFileError
from qfp.trace.keyfile_names import WIRESHARK_AUTHENTICATION, WIRESHARK_ENCRYPTION, WIRESHARK_OLD, Named, wireshark
from qfp.trace.keyfile_text import Line, is_noise

ANY_ICV = re.compile(r"ANY (64|96|128|192|256) bit authentication(?: \[no checking\])?", re.IGNORECASE)
ROW = re.compile(r'\s*"?(?:IPv4|IPv6|Any|\*)"?\s*,', re.IGNORECASE)
IMPLICIT_IV = re.compile(r"\bIIV\b")
FIELDS = ("protocol", "source", "destination", "SPI", "encryption", "encryption key", "authentication",
          "authentication key", "sequence number length", "sequence number high bits")  # fmt: skip
COLUMN_OF = {"src": 1, "dst": 2, "spi": 3, "encr": 4, "encr_key": 5, "salt": 5, "integ": 6, "icv_len": 6,
             "integ_key": 7}  # fmt: skip
FIELD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^",\s][^",]*)')
ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\\'])|.?)', re.DOTALL)


class _Bad(Exception):
    """What is wrong with field number `field` of a line."""

    def __init__(self, field: int, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.field = field
        self.problem = problem
        self.remedy = remedy


# --------------------------------------------------------------------------------------------------- reading
def recognises(lines: list[Line]) -> bool:
    """Whether there is a line of the table."""
    return any(ROW.match(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The SAs of a table; a line for IPv4 and one for IPv6 that differ in nothing else are one SA.

    Raises `KeyFileError` where the reading is strict.
    """
    whole: dict[SecurityAssociation, None] = {}
    for line in lines:
        if is_noise(line):
            continue
        try:
            found = _line(book, line)
        except KeyFileError as error:
            book.refuse(error)
            continue
        if isinstance(found, SaPattern):
            book.add_pattern(found)
        elif found not in whole:
            whole[found] = None
            book.add_sa(line.number, found)


def _line(book: Book, line: Line) -> SecurityAssociation | SaPattern:
    columns: list[int] = []
    try:
        fields = _split(line.text, columns)
        return _association(fields, line.number, book.allow_null)
    except _Bad as bad:
        column = columns[bad.field] + 1 if bad.field < len(columns) else 0
        raise KeyFileError(book.path, line.number, column, bad.problem, bad.remedy) from None
    except SaError as error:
        column = columns[COLUMN_OF.get(error.field, 0)] + 1
        raise KeyFileError.of(book.path, line.number, column, error) from None


def _split(line: str, columns: list[int]) -> list[bytes]:
    """The fields of a line without quotes and escapes; `columns` gets the position of each."""
    fields: list[bytes] = []
    at = len(line) - len(line.lstrip())
    while True:
        columns.append(at)
        match = FIELD.match(line, at)
        if match is None:
            raise _Bad(len(fields), "a field does not begin or end as it should", "put each field in double quotes")
        quoted, bare = match.groups()
        fields.append(_unescape(quoted, len(fields)) if quoted is not None else bare.strip().encode())
        at = match.end()
        rest = line[at:].lstrip()
        if not rest:
            break
        if rest[0] != ",":
            raise _Bad(len(fields) - 1, "text between a field and the next comma", "separate fields by one comma")
        at = len(line) - len(rest[1:].lstrip())
    if len(fields) not in (8, 9, 10):
        raise _Bad(0, f"{len(fields)} fields", f"give 8 to 10: {', '.join(FIELDS)}")
    return fields


def _unescape(text: str, field: int) -> bytes:
    """Bytes of a quoted field: `\\x41` is one byte, `\\"` and `\\\\` stand for themselves."""

    def plain(match: re.Match[bytes]) -> bytes:
        if match[1] is not None:
            return bytes.fromhex(match[1].decode())
        if match[2] is None:
            raise _Bad(field, "a backslash that begins no escape", r"write \x5c for a backslash")
        return match[2]

    return ESCAPE.sub(plain, text.encode("utf-8", "surrogatepass"))


def _association(fields: list[bytes], line: int, allow_null: bool) -> SecurityAssociation | SaPattern:
    words = [field.decode("utf-8", "replace").strip() for field in fields]
    family = _family(words)
    named = _encryption(words[4])
    integ, icv = _authentication(words[6], named)
    key, auth_key = _key(fields[5], 5), _key(fields[7], 7)
    try:
        keys = split_key(named.encr, key)  # the key column holds the key and, behind it, the salt
    except Unusable as bad:
        raise _Bad(5, bad.problem, bad.remedy) from None
    esn, high = _sequence(words)
    whole = not any(set("*?/") & set(word) and word != "*" for word in words[1:4]) and words[3] != "*"
    sa = SecurityAssociation(
        proto="esp", spi=_spi(words[3]) if whole else 1, src=_address(words[1], 1, family) if whole else None,
        dst=_address(words[2], 2, family) if whole else None, mode=None, encr=named.encr, **keys,
        integ=integ, integ_key=auth_key if integ != "none" else b"", icv_len=icv, esn=esn, replay_window=0,
        natt=NATT_ANY, seq=high << 32, allow_null=allow_null,
    )  # fmt: skip
    return sa if whole else _pattern(words, sa, family, line)


def _family(words: list[str]) -> int:
    """4, 6, or 0 for both."""
    family = words[0].casefold()
    if family not in ("ipv4", "ipv6", "any", "*"):
        raise _Bad(0, "the protocol is not one of the table's", "use IPv4, IPv6 or Any")
    return int(family[3:]) if family.startswith("ip") else 0


def _address(word: str, field: int, family: int) -> Address | None:
    if word == "*":
        return None
    try:
        address = ip_address(word)
    except ValueError:
        raise _Bad(field, "not an IP address", "use an address, a prefix, or * for any") from None
    if family and family != address.version:
        raise _Bad(field, "an address of another family than the line", "use IPv4 or IPv6 to match the addresses")
    return address


def _pattern(words: list[str], sa: SecurityAssociation, family: int, line: int) -> SaPattern:
    """A line with wildcards in SPI or addresses."""
    ends = [_wild(words[field], field, family) for field in (1, 2)]
    wild = set("*?") & set(words[3])
    try:
        spi = SpiPattern.parse(words[3]) if wild else SpiPattern(_spi(words[3]), 0xFFFFFFFF)
    except PatternError as error:
        raise _Bad(3, str(error), "write * for any, or eight digits of which some are *: 0x12******") from None
    return SaPattern(sa, spi, ends[0], ends[1], family, line)


def _wild(word: str, field: int, family: int) -> AddressPattern | None:
    if word == "*":
        return None
    if not set("*?/") & set(word):
        _address(word, field, family)
        return exactly(word)
    try:
        return AddressPattern.parse(word)
    except PatternError as error:
        raise _Bad(field, str(error), "use an address, a prefix, 192.168.* or * for any") from None


def _spi(word: str) -> int:
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}", word) is None:
        raise _Bad(3, "not an SPI", "write it in hex, e.g. 0x00000100, or in decimal, or * for any")
    return int(word, 16) if word[:2] in ("0x", "0X") else int(word)


def _encryption(word: str) -> Named:
    known = [named.name for named in WIRESHARK_ENCRYPTION]
    name = wireshark(word, known)
    if name is None:
        if IMPLICIT_IV.search(word):
            raise _Bad(4, "implicit IVs (RFC 8750) are not supported", "use an SA that sends its IV")
        raise _Bad(4, str(unknown("encryption", word, known)), "choose a name from Wireshark's list")
    return WIRESHARK_ENCRYPTION[known.index(name)]


def _authentication(word: str, named: Named) -> tuple[str, int]:
    """The integrity algorithm and the ICV length (bytes, or the default)."""
    unchecked = ANY_ICV.fullmatch(word)
    if unchecked is not None:  # of a combined mode: how older tables, and strongSwan, give the ICV's length
        return "none", int(unchecked[1]) // 8
    table = WIRESHARK_AUTHENTICATION | WIRESHARK_OLD
    name = wireshark(word, [*table])
    if name is None:
        problem = str(unknown("authentication", word, [*WIRESHARK_AUTHENTICATION]))
        raise _Bad(6, problem, "choose a name from Wireshark's list")
    return table[name], ALGORITHM_DEFAULT if named.icv is None else named.icv


def _key(field: bytes, number: int) -> bytes:
    """A key: hex after `0x`, otherwise the characters themselves."""
    if field[:2] not in (b"0x", b"0X"):
        return field
    if field in (b"0x", b"0X"):
        return b""
    try:
        return key_bytes(field.decode("utf-8", "replace"))
    except Unusable as bad:
        raise _Bad(number, bad.problem, bad.remedy) from None


def _sequence(words: list[str]) -> tuple[bool, int]:
    """Whether the SA has ESN, and the high half to begin with."""
    if len(words) == 8:
        return False, 0
    if words[8] not in ("32-bit", "64-bit"):
        raise _Bad(8, "not a length of sequence numbers", "use 32-bit or 64-bit")
    high = words[9] if len(words) > 9 else "0"
    if re.fullmatch(r"(?:0[xX])?[0-9A-Fa-f]{1,8}", high) is None:
        raise _Bad(9, "not a high half", "give up to 8 hex digits, 0 for none")
    esn = words[8] == "64-bit"
    return esn, int(high, 16) if esn else 0


# --------------------------------------------------------------------------------------------------- writing
def render(sas: Iterable[SecurityAssociation], newer: bool) -> tuple[str, list[str]]:
    """The text of a table, and a sentence for each SA that it cannot hold, or not fully."""
    names = {integ: name for name, integ in WIRESHARK_AUTHENTICATION.items()}
    lines: list[str] = []
    notes: list[str] = []
    for sa in sas:
        who = f"{sa.proto} SA 0x{sa.spi:08x}"
        fits = [n for n in WIRESHARK_ENCRYPTION if n.encr == sa.encr and n.icv in (None, sa.icv_len)]
        found = [n for n in fits if newer or not n.newer]
        if sa.proto == "ah":
            notes.append(f"{who} is left out: Wireshark does not check AH")
        elif not found or sa.integ not in names:
            missing = sa.integ if found else sa.encr
            notes.append(f"{who} is left out: the table has no name for {missing}")
        else:
            unchecked = sa.integ == "none" and sa.icv_len and not sa.is_aead
            integ = f"ANY {8 * sa.icv_len} bit authentication [no checking]" if unchecked else names[sa.integ]
            lines += _lines(sa, found[0].name, integ, newer)
            if sa.esn and not newer:
                notes.append(f"{who}: tables of Wireshark 4.0 cannot say ESN, its ICVs will show as incorrect")
    return "".join(line + "\n" for line in lines), notes


def _lines(sa: SecurityAssociation, encryption: str, authentication: str, newer: bool) -> list[str]:
    known = sa.src or sa.dst
    families = [f"IPv{known.version}"] if known is not None else ["IPv4", "IPv6"]
    key, auth_key = _hex(sa.encr_key + sa.salt), _hex(sa.integ_key)
    fields = [str(sa.src or "*"), str(sa.dst or "*"), f"0x{sa.spi:08x}", encryption, key, authentication, auth_key]
    if newer:
        fields += ["64-bit" if sa.esn else "32-bit", f"{sa.seq >> 32 if sa.esn else 0:x}"]
    return [",".join(f'"{field}"' for field in (family, *fields)) for family in families]


def _hex(key: bytes) -> str:
    return f"0x{key.hex()}" if key else ""
