"""`ip xfrm state`: what Linux prints of its SAs, also with `-s`. Keys must be shown, so not with `nokeys`.

    src 10.0.0.1 dst 10.0.0.2
            proto esp spi 0x00000100 reqid 1 mode tunnel
            replay-window 32 flag af-unspec
            aead rfc4106(gcm(aes)) 0x<key, then salt> 128
            encap type espinudp sport 4500 dport 4500 addr 0.0.0.0

An SA begins with `src`; every other line begins with a word that says what it is about. A word that is not in the
tables is refused, because a misread line would make another SA of it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from qfp.algorithms import CIPHERS, unsupported
from qfp.sa import Address, AddressRange, SaError, SecurityAssociation, Selectors
from qfp.trace.keyfile_error import KeyFileError

CIPHER_NAMES = {
    "ecb(cipher_null)": "null",
    "cipher_null": "null",
    "cbc(des)": "des-cbc",
    "cbc(des3_ede)": "3des-cbc",
    "cbc(aes)": "aes-cbc",
    "rfc3686(ctr(aes))": "aes-ctr",
    "rfc4106(gcm(aes))": "aes-gcm",
    "rfc4543(gcm(aes))": "aes-gmac",
    "rfc4309(ccm(aes))": "aes-ccm",
    "rfc7539esp(chacha20,poly1305)": "chacha20-poly1305",
}
# (name, bits of the ICV) -> ours; Linux cuts hmac(sha256) to 96 bits where nothing is said
INTEG_NAMES = {
    ("hmac(md5)", 96): "hmac-md5-96",
    ("hmac(sha1)", 96): "hmac-sha1-96",
    ("hmac(sha256)", 96): "hmac-sha256-96",
    ("hmac(sha256)", 128): "hmac-sha256-128",
    ("hmac(sha384)", 192): "hmac-sha384-192",
    ("hmac(sha512)", 256): "hmac-sha512-256",
    ("xcbc(aes)", 96): "aes-xcbc-96",
    ("cmac(aes)", 96): "aes-cmac-96",
}
INTEG_BITS = {"hmac(sha384)": 192, "hmac(sha512)": 256}
SHORT_NAMES = {"md5": "hmac(md5)", "sha1": "hmac(sha1)", "sha256": "hmac(sha256)", "sha384": "hmac(sha384)",
               "sha512": "hmac(sha512)", "aes": "cbc(aes)", "des": "cbc(des)", "des3_ede": "cbc(des3_ede)"}  # fmt: skip
IP_PROTOCOLS = {"icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
                "ipv6-icmp": 58, "ospf": 89, "sctp": 132}  # fmt: skip
# Lines that say nothing about how a packet is protected: marks, lifetimes, statistics, hardware offload
IGNORED = {"mark", "output-mark", "if_id", "lastused", "lifetime", "limit:", "expire", "stats:", "security", "tfcpad",
           "crypto", "pcpu-num", "add", "coa", "extra_flag", "nat_keepalive_interval"}  # fmt: skip


class _Bad(Exception):
    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


@dataclass(repr=False)
class _State:
    """One SA as its lines come in."""

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    window: int = 0
    seq: dict[str, int] = field(default_factory=dict)  # seq, seq-hi, oseq, oseq-hi
    said: set[str] = field(default_factory=set)  # first words seen: a second `enc` is an error


# ---------------------------------------------------------------------------------------------- the lines
def parse(path: Path, lines: list[str], allow_null: bool = False) -> list[SecurityAssociation]:
    """The SAs of the output of `ip xfrm state`. Raises `KeyFileError`."""
    sas: list[SecurityAssociation] = []
    state: _State | None = None
    for number, line in enumerate([*lines, "src"], 1):  # a last `src` ends the last SA
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "src":
                if state is not None:
                    sas.append(_finish(path, state, allow_null))
                state = _State(number)
                if number <= len(lines):
                    _ends(state, words)
            elif state is not None:
                _detail(state, words)
        except _Bad as bad:
            column = len(line) - len(line.lstrip()) + 1
            raise KeyFileError(path, number, column, bad.problem, bad.remedy) from None
        except SaError as error:
            raise KeyFileError.of(path, number, 0, error) from None
    return sas


def _finish(path: Path, state: _State, allow_null: bool) -> SecurityAssociation:
    """The SA of all its lines."""
    fields = state.fields
    if "proto" not in fields:
        raise KeyFileError(path, state.line, 0, "the SA has no line with proto and spi", "give the whole output")
    if fields["proto"] == "esp" and "encr" not in fields:
        problem = "an ESP SA without an enc or aead line"
        raise KeyFileError(path, state.line, 0, problem, "print the keys: ip xfrm state, without nokeys")
    esn = fields.get("esn", False)
    out = state.seq.get("oseq", 0) | (state.seq.get("oseq-hi", 0) << 32 if esn else 0)
    seen = state.seq.get("seq", 0) | (state.seq.get("seq-hi", 0) << 32 if esn else 0)
    seq = out + 1 if out or fields.get("direction") == "out" else seen  # Linux keeps the last number sent
    try:
        return SecurityAssociation(**fields, seq=seq, replay_window=state.window, allow_null=allow_null)
    except SaError as error:
        raise KeyFileError.of(path, state.line, 0, error) from None


def _detail(state: _State, words: list[str]) -> None:
    """One line below `src … dst …`."""
    word = words[0]
    if word in IGNORED or (word[0].isdigit() and "(" in word) or re.fullmatch(r"[0-9a-f]{8}", word):
        return  # counters such as `0(bytes), 0(packets)`, and the words of a bitmap
    reader = READERS.get(word)
    if reader is None:
        raise _Bad("a line of a kind that is not known", "give the output of ip xfrm state as it was printed")
    if word in ONCE and word in state.said:
        raise _Bad(f"a second {word} line in one SA", "remove one, or begin a new SA with src")
    state.said.add(word)
    reader(state, words)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """`name value name value …`, with the `(…)` that -s appends and trailing commas taken off."""
    plain = [word.split("(")[0].rstrip(",") for word in words if not word.startswith("(")]
    yield from zip(plain[::2], plain[1::2], strict=False)


def _ends(state: _State, words: list[str]) -> None:
    given = dict(zip(words[::2], words[1::2], strict=False))
    for name in ("src", "dst"):
        state.fields[name] = _address(name, given.get(name, ""))


def _address(name: str, text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        raise _Bad(f"{name} is not an IP address", "begin an SA with: src ADDRESS dst ADDRESS") from None
    return address if int(address) else None  # 0.0.0.0 and :: are Linux's "any"


def _number(text: str) -> int:
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}|[0-9]{1,20}", text) is None:
        raise _Bad("a number is missing or malformed", "give it in decimal or with 0x")
    return int(text, 16) if text.startswith("0x") else int(text)


def _identity(state: _State, words: list[str]) -> None:
    """`proto esp spi 0x… reqid 1 mode tunnel`."""
    given = dict(_pairs(words))
    proto, mode = given.get("proto"), given.get("mode")
    if proto not in ("esp", "ah"):
        raise _Bad("an SA of a protocol other than ESP and AH", "remove it: qfp opens esp and ah")
    if mode not in ("tunnel", "transport"):
        raise _Bad("an SA of a mode other than tunnel and transport", "remove it, or use mode tunnel or transport")
    state.fields.update(proto=proto, mode=mode, spi=_number(given.get("spi", "")))


def _replay(state: _State, words: list[str]) -> None:
    """`replay-window 32 seq 0x00000000 flag af-unspec esn (0x…)`."""
    if "failed" in words:
        return  # a counter of -s, `replay-window 0 replay 0 failed 0`
    state.window = max(state.window, _number(words[1] if len(words) > 1 else ""))
    if "flag" in words and "esn" in words[words.index("flag") :]:
        state.fields["esn"] = True


def _flags(state: _State, words: list[str]) -> None:
    if "esn" in words:
        state.fields["esn"] = True


def _context(state: _State, words: list[str]) -> None:
    """`anti-replay context: seq 0x1, oseq 0x0, bitmap 0x…`; the ESN form has its numbers on the next lines."""
    numbers = words[words.index("context:") + 1 :] if "context:" in words else []
    _sequence(state, numbers)


def _sequence(state: _State, words: list[str]) -> None:
    """`seq-hi 0x0, seq 0x1, oseq-hi 0x0, oseq 0x5`."""
    for name, value in _pairs(words):
        if name in ("seq", "seq-hi", "oseq", "oseq-hi"):
            state.seq[name] = _number(value)


def _window(state: _State, words: list[str]) -> None:
    """`replay_window 128, bitmap-length 4`."""
    state.window = _number(words[1].rstrip(",") if len(words) > 1 else "")


def _direction(state: _State, words: list[str]) -> None:
    if words[1:2] not in (["in"], ["out"]):
        raise _Bad("a direction other than in and out", "use dir in or dir out")
    state.fields["direction"] = words[1]


def _encap(state: _State, words: list[str]) -> None:
    """`encap type espinudp sport 4500 dport 4500 addr 0.0.0.0`."""
    given = dict(_pairs(words[1:]))
    if given.get("type") != "espinudp":
        raise _Bad("an encapsulation other than espinudp", "remove the SA: qfp opens RFC 3948 only")
    ports = _number(given.get("sport", "")), _number(given.get("dport", ""))
    if 0 in ports:
        raise _Bad("UDP port 0 is none", "give sport and dport, usually 4500")
    state.fields["natt"] = ports


def _selector(state: _State, words: list[str]) -> None:
    """`sel src 10.1.0.0/16 dst 10.2.0.0/16 proto udp sport 53 dport 53 dev eth0`."""
    given = dict(zip(words[1::2], words[2::2], strict=False))
    ends = {name: _network(given.get(name)) for name in ("src", "dst")}
    proto = given.get("proto")
    ports = {name: _number(given[name]) for name in ("sport", "dport") if name in given}
    spans = {name: (port, port) for name, port in ports.items()}
    number = None if proto is None else IP_PROTOCOLS[proto] if proto in IP_PROTOCOLS else _number(proto)
    found = Selectors(protocol=number, src=ends["src"], dst=ends["dst"], **spans)
    state.fields["selectors"] = None if found == Selectors() else found


def _network(text: str | None) -> AddressRange | None:
    return None if text is None or text.endswith("/0") else AddressRange.parse(text)


# ----------------------------------------------------------------------------------------- the algorithms
def _algorithm(words: list[str]) -> tuple[str, bytes, int | None]:
    """Name, key and bits of ICV of `enc NAME 0xKEY`, `auth-trunc NAME 0xKEY BITS`, `aead NAME 0xKEY BITS`."""
    parts = [word for word in words[1:] if not word.startswith("(") and word != "bits)"]
    if not parts:
        raise _Bad("an algorithm is missing", "give its name and key")
    name = SHORT_NAMES.get(parts[0], parts[0])
    if unsupported(name) is not None:
        raise _Bad(f"{unsupported(name)} is not supported", "remove the SA")
    text = parts[1] if len(parts) > 1 else "0x"
    if re.fullmatch(r"0x(?:[0-9A-Fa-f]{2})*", text) is None:
        raise _Bad("the key is not hex", "print the keys: ip xfrm state, without nokeys")
    return name, bytes.fromhex(text[2:]), _number(parts[2]) if len(parts) > 2 else None


def _cipher(state: _State, words: list[str]) -> None:
    """`enc` and `aead` lines; the salt stands behind the key."""
    name, key, bits = _algorithm(words)
    encr = CIPHER_NAMES.get(name)
    if encr is None or CIPHERS[encr].aead != (words[0] == "aead"):
        problem = f"the algorithm of {words[0]} is not known or not one of its kind"
        raise _Bad(problem, f"known: {', '.join(CIPHER_NAMES)}")
    if "encr" in state.fields:
        raise _Bad("an SA with two ciphers", "keep one of enc and aead")
    salt = CIPHERS[encr].salt
    cut = max(len(key) - salt, 0)
    if salt and cut not in CIPHERS[encr].key_lengths:
        raise _Bad(f"{len(key)} bytes of key for {encr}", f"give the key and, behind it, {salt} bytes of salt")
    state.fields.update(encr=encr, encr_key=key[:cut], salt=key[cut:])
    if bits is not None and CIPHERS[encr].aead:
        state.fields["icv_len"] = _whole_bytes(bits)


def _integrity(state: _State, words: list[str]) -> None:
    """`auth` and `auth-trunc` lines."""
    name, key, bits = _algorithm(words)
    if name in ("digest_null", "ecb(digest_null)"):
        return
    bits = bits if words[0] == "auth-trunc" and bits is not None else INTEG_BITS.get(name, 96)
    integ = INTEG_NAMES.get((name, bits))
    if integ is None:
        known = ", ".join(f"{n} {b}" for n, b in INTEG_NAMES)
        raise _Bad("the integrity algorithm, or its ICV length, is not known", f"known: {known}")
    if "integ" in state.fields:
        raise _Bad("an SA with two integrity algorithms", "keep one of auth and auth-trunc")
    state.fields.update(integ=integ, integ_key=key)


def _whole_bytes(bits: int) -> int:
    if bits % 8:
        raise _Bad("the ICV is not a whole number of bytes", "give its length in bits: 64, 96 or 128")
    return bits // 8


READERS: dict[str, Callable[[_State, list[str]], None]] = {
    "proto": _identity,
    "replay-window": _replay,
    "flag": _flags,
    "enc": _cipher,
    "aead": _cipher,
    "auth": _integrity,
    "auth-trunc": _integrity,
    "anti-replay": _context,
    "seq-hi": _sequence,
    "seq": _sequence,
    "replay_window": _window,
    "encap": _encap,
    "sel": _selector,
    "dir": _direction,
}
ONCE = ("proto", "enc", "aead", "auth", "auth-trunc", "encap", "sel")
