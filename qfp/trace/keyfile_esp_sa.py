"""Wireshark's `esp_sa` table: one SA a line, fields in double quotes, separated by commas.

    "IPv4","10.0.0.1","10.0.0.2","0x00000100","AES-CBC [RFC3602]","0x…","HMAC-SHA-256-128 [RFC4868]","0x…"

Later releases append two fields: the length of the sequence number (`32-bit`, `64-bit`) and the high half in hex.
The table knows no mode, no UDP encapsulation and no replay window, so SAs from it are open in the first two
(`mode` None, `natt` NATT_ANY) and do not check for replay, as Wireshark does not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from qfp.algorithms import CIPHERS, unknown
from qfp.sa import ALGORITHM_DEFAULT, NATT_ANY, Address, SaError, SecurityAssociation
from qfp.trace.keyfile_error import KeyFileError


@dataclass(frozen=True)
class Named:
    """An encryption name of the table, and what it says."""

    name: str
    encr: str
    icv: int | None  # None = the table's authentication column says
    newer: bool = False  # only known to releases after 4.0


ENCRYPTION = (
    Named("NULL", "null", None),
    Named("TripleDES-CBC [RFC2451]", "3des-cbc", None),
    Named("AES-CBC [RFC3602]", "aes-cbc", None),
    Named("AES-CTR [RFC3686]", "aes-ctr", None),
    Named("DES-CBC [RFC2405]", "des-cbc", None),
    Named("AES-GCM with 8 octet ICV [RFC4106]", "aes-gcm", 8),
    Named("AES-GCM with 12 octet ICV [RFC4106]", "aes-gcm", 12),
    Named("AES-GCM with 16 octet ICV [RFC4106]", "aes-gcm", 16),
    Named("AES-GCM [RFC4106]", "aes-gcm", None),
    Named("ChaCha20 with Poly1305 [RFC7634]", "chacha20-poly1305", 16, newer=True),
)
AUTHENTICATION = {
    "NULL": "none",
    "HMAC-MD5-96 [RFC2403]": "hmac-md5-96",
    "HMAC-SHA-1-96 [RFC2404]": "hmac-sha1-96",
    "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]": "hmac-sha256-96",
    "HMAC-SHA-256-128 [RFC4868]": "hmac-sha256-128",
    "HMAC-SHA-384-192 [RFC4868]": "hmac-sha384-192",
    "HMAC-SHA-512-256 [RFC4868]": "hmac-sha512-256",
}
ANY_ICV = re.compile(r"ANY (\d{2,3}) bit authentication \[no checking\]")
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
def parse(path: Path, lines: list[str], allow_null: bool = False) -> list[SecurityAssociation]:
    """The SAs of a table; a line for IPv4 and one for IPv6 that differ in nothing else are one SA.

    Raises `KeyFileError`.
    """
    sas: dict[SecurityAssociation, None] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            sas[_line(path, number, line, allow_null)] = None
    return list(sas)


def _line(path: Path, number: int, line: str, allow_null: bool) -> SecurityAssociation:
    columns: list[int] = []
    try:
        fields = _split(line.rstrip(), columns)
        return _association(fields, allow_null)
    except _Bad as bad:
        column = columns[bad.field] + 1 if bad.field < len(columns) else 0
        raise KeyFileError(path, number, column, bad.problem, bad.remedy) from None
    except SaError as error:
        raise KeyFileError.of(path, number, columns[COLUMN_OF.get(error.field, 0)] + 1, error) from None


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
    if len(fields) not in (8, 10):
        raise _Bad(0, f"{len(fields)} fields", f"give 8, or 10 with the last two: {', '.join(FIELDS)}")
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


def _association(fields: list[bytes], allow_null: bool) -> SecurityAssociation:
    words = [field.decode("utf-8", "replace") for field in fields]
    src, dst = _family(words)
    named = _encryption(words[4])
    integ, icv = _authentication(words[6], named)
    key, auth_key = _key(fields[5], 5), _key(fields[7], 7)
    salt = CIPHERS[named.encr].salt  # the key column holds the key and, behind it, the salt
    cut = max(len(key) - salt, 0)
    if salt and cut not in CIPHERS[named.encr].key_lengths:
        raise _Bad(5, f"{len(key)} bytes of key for {named.encr}", f"give the key and, behind it, {salt} bytes of salt")
    esn, high = _sequence(words)
    return SecurityAssociation(
        proto="esp", spi=_spi(words[3]), src=src, dst=dst, mode=None, encr=named.encr,
        encr_key=key[:cut], salt=key[cut:],
        integ=integ, integ_key=auth_key if integ != "none" else b"", icv_len=icv, esn=esn, replay_window=0,
        natt=NATT_ANY, seq=high << 32, allow_null=allow_null,
    )  # fmt: skip


def _family(words: list[str]) -> tuple[Address | None, Address | None]:
    family = words[0].casefold()
    if family not in ("ipv4", "ipv6", "any"):
        raise _Bad(0, "the protocol is not one of the table's", "use IPv4, IPv6 or Any")
    src, dst = _address(words[1], 1), _address(words[2], 2)
    for field, address in ((1, src), (2, dst)):
        if address is not None and family != "any" and family != f"ipv{address.version}":
            raise _Bad(field, "an address of another family than the line", "use IPv4 or IPv6 to match the addresses")
    return src, dst


def _address(word: str, field: int) -> Address | None:
    if word == "*":
        return None
    try:
        return ip_address(word)
    except ValueError:
        partial = "*" in word or "/" in word
        problem = "an address with a wildcard or mask in it" if partial else "not an IP address"
        raise _Bad(field, problem, "use a whole address, or * for any") from None


def _spi(word: str) -> int:
    if "*" in word:
        raise _Bad(3, "an SPI with a wildcard: an SA is found by its SPI", "write one line for each SPI, e.g. 0x100")
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}", word) is None:
        raise _Bad(3, "not an SPI", "write it in hex, e.g. 0x00000100, or in decimal")
    return int(word, 16) if word[:2] in ("0x", "0X") else int(word)


def _encryption(word: str) -> Named:
    found = next((named for named in ENCRYPTION if named.name == word), None)
    if found is None:
        if IMPLICIT_IV.search(word):
            raise _Bad(4, "implicit IVs (RFC 8750) are not supported", "use an SA that sends its IV")
        known = [named.name for named in ENCRYPTION]
        raise _Bad(4, str(unknown("encryption", word, known)), "choose a name from Wireshark's list")
    return found


def _authentication(word: str, named: Named) -> tuple[str, int]:
    """The integrity algorithm and the ICV length (bytes, or the default)."""
    unchecked = ANY_ICV.fullmatch(word)
    aead = CIPHERS[named.encr].aead
    if unchecked is not None and aead:
        # how older tables, and strongSwan, give the ICV length of "AES-GCM [RFC4106]"
        return "none", int(unchecked[1]) // 8
    if unchecked is not None:
        raise _Bad(6, "an ICV that nothing checks", "name the integrity algorithm and its key: qfp checks every ICV")
    integ = AUTHENTICATION.get(word)
    if integ is None:
        known = [*AUTHENTICATION]
        raise _Bad(6, str(unknown("authentication", word, known)), "choose a name from Wireshark's list")
    return integ, ALGORITHM_DEFAULT if named.icv is None else named.icv


def _key(field: bytes, number: int) -> bytes:
    """A key: hex after `0x`, otherwise the characters themselves."""
    if field[:2] not in (b"0x", b"0X"):
        return field
    digits = field[2:]
    if re.fullmatch(rb"(?:[0-9A-Fa-f]{2})*", digits) is None:
        raise _Bad(number, "not hex", "give an even number of hex digits after 0x")
    return bytes.fromhex(digits.decode())


def _sequence(words: list[str]) -> tuple[bool, int]:
    """Whether the SA has ESN, and the high half to begin with."""
    if len(words) == 8:
        return False, 0
    if words[8] not in ("32-bit", "64-bit"):
        raise _Bad(8, "not a length of sequence numbers", "use 32-bit or 64-bit")
    if re.fullmatch(r"(?:0[xX])?[0-9A-Fa-f]{1,8}", words[9]) is None:
        raise _Bad(9, "not a high half", "give up to 8 hex digits, 0 for none")
    esn = words[8] == "64-bit"
    return esn, int(words[9], 16) if esn else 0


# --------------------------------------------------------------------------------------------------- writing
def render(sas: Iterable[SecurityAssociation], newer: bool) -> tuple[str, list[str]]:
    """The text of a table, and a sentence for each SA that it cannot hold, or not fully."""
    names = {integ: name for name, integ in AUTHENTICATION.items()}
    lines: list[str] = []
    notes: list[str] = []
    for sa in sas:
        who = f"{sa.proto} SA 0x{sa.spi:08x}"
        found = [n for n in ENCRYPTION if n.encr == sa.encr and n.icv in (None, sa.icv_len) and (newer or not n.newer)]
        if sa.proto == "ah":
            notes.append(f"{who} is left out: Wireshark does not check AH")
        elif not found or sa.integ not in names:
            missing = sa.integ if found else sa.encr
            notes.append(f"{who} is left out: the table has no name for {missing}")
        else:
            lines += _lines(sa, found[0].name, names[sa.integ], newer)
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
