"""`ip xfrm state`: what Linux prints of its SAs, also with `-s`, `-d` and `-o`, and of `ip xfrm monitor`; scripts of
`ip xfrm state add`. Keys must be shown, so not with `nokeys`.

    src 10.0.0.1 dst 10.0.0.2
            proto esp spi 0x00000100 reqid 1 mode tunnel
            replay-window 32 flag af-unspec
            aead rfc4106(gcm(aes)) 0x<key, then salt> 128
            encap type espinudp sport 4500 dport 4500 addr 0.0.0.0

An SA begins with `src`; every other line begins with a word that says what it is about. Lines of other kinds are left
out and said; but one that holds a key costs its SA, because without it another SA would come out.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from qfp.algorithms import CIPHERS, unsupported
from qfp.sa import WINDOW_MAX, Address, AddressRange, SaError, Selectors
from qfp.trace.keyfile_book import Book, Unusable, not_hex, split_key
from qfp.trace.keyfile_names import LINUX_BITS, LINUX_CIPHERS, LINUX_INTEGRITIES, linux
from qfp.trace.keyfile_text import Line, is_noise

IP_PROTOCOLS = {"icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
                "ipv6-icmp": 58, "ospf": 89, "sctp": 132}  # fmt: skip
# What `proto` may name besides: states that come with SAs and hold no key
OTHERS = {"comp": "IPComp", "4": "IP in IP", "ipip": "IP in IP", "ipencap": "IP in IP", "41": "IPv6 in IP",
          "ipv6": "IPv6 in IP", "route2": "Mobile IPv6 (route2)", "hao": "Mobile IPv6 (hao)"}  # fmt: skip
# Lines that say nothing about how a packet is protected: marks, lifetimes, statistics, hardware offload
IGNORED = {"mark", "output-mark", "if_id", "lastused", "lifetime", "limit:", "expire", "stats:", "security", "tfcpad",
           "crypto", "pcpu-num", "add", "coa", "extra_flag", "nat_keepalive_interval", "uid", "use", "set-mark",
           "replay-seq", "replay-oseq", "encap-addr", "comp", "offload", "current", "hard", "soft"}  # fmt: skip
HEAD = re.compile(r"\s*(?:(?:Deleted|Updated|Expired)\s+)?src\s+\S+\s+dst\s")
POLICY = re.compile(r"\s*src\s+\S+/\d+\s+dst\s+\S+/\d+(?:\s|$)")
SCRIPT = re.compile(
    r"\s*(?:\S*[#$%]\s+)?(?:sudo\s+)?(?:/\S*/)?ip(?:\s+-\S+)*\s+x(?:f|fr|frm)?\s+s(?:ta?|tate?|a)?\s+"
    r"(?:a(?:dd)?|u(?:pdate)?)\s"
)
KEYED = re.compile(r"\b(?:0x)?[0-9A-Fa-f]{16,}\b")
CONTINUED = re.compile(r"\s*(?:(?:0x)?[0-9A-Fa-f]{8,}(?:\s+\d+)?|\(?\d{2,3}(?: bits\))?(?: \d+)?)\s*$")


@dataclass(repr=False)
class _State:
    """One SA as its lines come in."""

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    window: int = 0
    seq: dict[str, int] = field(default_factory=dict)  # seq, seq-hi, oseq, oseq-hi
    said: set[str] = field(default_factory=set)  # first words seen: a second `enc` is an error
    bad: bool = False  # it cannot be used, and that was said


# ---------------------------------------------------------------------------------------------- the lines
def recognises(lines: list[Line]) -> bool:
    """Whether an SA begins somewhere, or a command adds one."""
    return any(HEAD.match(line.text) or SCRIPT.match(line.text) for line in lines)


def parse(book: Book, lines: list[Line]) -> None:
    """The SAs of the output of `ip xfrm state`. Raises `KeyFileError` where the reading is strict."""
    state: _State | None = None
    strange: list[int] = []
    for line in _logical(lines):
        if HEAD.match(line.text):
            _finish(book, state)
            state = _State(line.number, bad=POLICY.match(line.text) is not None)  # policies hold no keys
            _read(book, state, line, _ends)
        elif is_noise(line):
            continue
        elif state is not None and (state.bad or _is_detail(line.text)):
            _read(book, state, line, _detail)
        elif state is not None and line.text[0].isspace() and KEYED.search(line.text):
            _read(book, state, line, _misread)
        else:
            strange.append(line.number)
    _finish(book, state)
    book.strange(strange, "ip xfrm state")


def _logical(lines: list[Line]) -> Iterator[Line]:
    """Lines as `ip xfrm state` prints them: one-line forms and commands are cut up, wrapped keys joined."""
    held: Line | None = None
    for line in _joined(lines):
        script = SCRIPT.match(line.text)
        pieces = _command(line.text[script.end() :]) if script else line.text.split("\\")
        for piece in pieces:
            if not piece.strip():
                continue
            if held is not None and CONTINUED.match(piece) and _wants_more(held.text):
                held = Line(held.number, f"{held.text.rstrip()} {piece.strip()}")
                continue
            if held is not None:
                yield held
            held = Line(line.number, piece)
    if held is not None:
        yield held


def _joined(lines: list[Line]) -> Iterator[Line]:
    """Commands whole: a shell goes on behind a backslash at the end of a line."""
    begun: Line | None = None
    for line in lines:
        if begun is not None:
            line = Line(begun.number, f"{begun.text[:-1]} {line.text}")
        if line.text.endswith("\\") and SCRIPT.match(line.text):
            begun = line
            continue
        begun = None
        yield line
    if begun is not None:
        yield begun


def _wants_more(text: str) -> bool:
    """Whether a line with an algorithm lacks its key, or its bits."""
    words = text.split()
    if words[0] not in ("enc", "auth", "auth-trunc", "aead"):
        return False
    return len(words) < (3 if words[0] in ("enc", "auth") else 4) and words[1:2] != ["ecb(cipher_null)"]


def _command(text: str) -> list[str]:
    """The parameters of `ip xfrm state add` as lines of its output."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an open quote
        words = text.split()
    given: dict[str, str] = {"mode": "transport"}
    lines: list[str] = []
    sizes = {"enc": 2, "auth": 2, "auth-trunc": 3, "aead": 3, "encap": 4}
    k = 0
    while k < len(words):
        word, size = words[k], sizes.get(words[k], 1)
        rest = words[k + 1 : k + 1 + size]
        if word in ("src", "dst", "proto", "spi", "mode", "reqid"):
            given[word] = rest[0] if rest else ""
        elif word == "encap" and len(rest) == 4:
            lines.append(f"encap type {rest[0]} sport {rest[1]} dport {rest[2]} addr {rest[3]}")
        elif word == "sel":
            rest = words[k + 1 :]
            end = next((n for n, each in enumerate(rest) if each in sizes or each in ("limit", "encap")), len(rest))
            rest = rest[:end]
            lines.append(" ".join(("sel", *rest)))
        elif word in sizes or word in ("replay-window", "flag", "dir"):
            lines.append(" ".join((word, *rest)))
        k += 1 + len(rest)
    head = f"src {given.get('src', '::')} dst {given.get('dst', '::')} "  # an address of zeros is Linux's "any"
    return [head, f"proto {given.get('proto', '?')} spi {given.get('spi', '0')} mode {given['mode']}", *lines]


def _read(book: Book, state: _State, line: Line, reader: Callable[[_State, list[str]], None]) -> None:
    """A line into an SA; where that fails the SA is skipped as a whole."""
    if state.bad:
        return
    try:
        reader(state, line.text.split())
    except (Unusable, SaError) as error:
        state.bad = True
        book.skip(line.number, error.problem, error.remedy, line.column)


def _finish(book: Book, state: _State | None) -> None:
    """The SA of all its lines."""
    if state is None or state.bad:
        return
    fields = state.fields
    if "proto" not in fields:
        book.skip(state.line, "the SA has no line with proto and spi", "give the whole output")
    elif fields["spi"] == 0:
        problem = "spi: out of range: a larval SA, whose keys are not agreed yet"
        book.skip(state.line, problem, "dump the SAs once they are")
    elif fields["proto"] == "esp" and "encr" not in fields:
        problem = "an ESP SA without an enc or aead line: larval, or printed without keys"
        book.skip(state.line, problem, "print the keys: ip xfrm state, without nokeys")
    else:
        numbers = _numbers(state)
        book.add(state.line, **(fields | numbers), replay_window=min(state.window, WINDOW_MAX))


def _numbers(state: _State) -> dict[str, Any]:
    """The SA's number, and its direction: only the sending side of an SA counts `oseq`, only the other one `seq`."""
    esn = state.fields.get("esn", False)
    out = state.seq.get("oseq", 0) | (state.seq.get("oseq-hi", 0) << 32 if esn else 0)
    seen = state.seq.get("seq", 0) | (state.seq.get("seq-hi", 0) << 32 if esn else 0)
    direction = state.fields.get("direction") or ("out" if out else "in" if seen else None)
    return {"direction": direction, "seq": out + 1 if direction == "out" else seen}  # Linux keeps the last number sent


def _is_detail(text: str) -> bool:
    word = text.split()[0]
    return word in READERS or word in IGNORED or _is_counter(text)


def _is_counter(text: str) -> bool:
    """`0(bytes), 0(packets)`, and the words of a bitmap."""
    word = text.split()[0]
    return (word[0].isdigit() and "(" in word) or re.fullmatch(r"(?:[0-9a-f]{8}\s*)+", text.strip()) is not None


def _detail(state: _State, words: list[str]) -> None:
    """One line below `src … dst …`."""
    word = words[0]
    reader = READERS.get(word)
    if reader is None:
        return
    if word in ONCE and word in state.said:
        raise Unusable(f"a second {word} line in one SA", "remove one, or begin a new SA with src")
    state.said.add(word)
    reader(state, words)


def _misread(state: _State, words: list[str]) -> None:
    raise Unusable("a line of a kind that is not known, with a key in it", "give the output as it was printed")


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """`name value name value …`, with the `(…)` that -s appends and trailing commas taken off."""
    plain = [word.split("(")[0].rstrip(",") for word in words if not word.startswith("(")]
    yield from zip(plain[::2], plain[1::2], strict=False)


def _ends(state: _State, words: list[str]) -> None:
    words = words[words.index("src") :]
    given = dict(zip(words[::2], words[1::2], strict=False))
    for name in ("src", "dst"):
        state.fields[name] = _address(name, given.get(name, ""))


def _address(name: str, text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        raise Unusable(f"{name} is not an IP address", "begin an SA with: src ADDRESS dst ADDRESS") from None
    return address if int(address) else None  # 0.0.0.0 and :: are Linux's "any"


def _number(text: str) -> int:
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}|[0-9]{1,20}", text) is None:
        raise Unusable("a number is missing or malformed", "give it in decimal or with 0x")
    return int(text, 16) if text.startswith("0x") else int(text)


def _identity(state: _State, words: list[str]) -> None:
    """`proto esp spi 0x… reqid 1 mode tunnel`."""
    given = dict(_pairs(words))
    proto, mode = given.get("proto", ""), given.get("mode")
    if proto not in ("esp", "ah"):
        what = f" ({OTHERS[proto]})" if proto in OTHERS else ""
        raise Unusable(f"an SA of a protocol other than ESP and AH{what}", "remove it: qfp opens esp and ah")
    if mode not in ("tunnel", "transport"):
        what = f": {mode}" if mode in ("beet", "ro", "in_trigger", "iptfs") else ""
        raise Unusable(f"an SA of a mode other than tunnel and transport{what}", "give SAs of mode tunnel or transport")
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
        raise Unusable("a direction other than in and out", "use dir in or dir out")
    state.fields["direction"] = words[1]


def _encap(state: _State, words: list[str]) -> None:
    """`encap type espinudp sport 4500 dport 4500 addr 0.0.0.0`."""
    given = dict(_pairs(words[1:]))
    kind = given.get("type", "")
    if kind != "espinudp":
        what = f": {kind}" if kind in ("espintcp", "espinudp-nonike") else ""
        raise Unusable(f"an encapsulation other than espinudp{what}", "remove the SA: qfp opens RFC 3948 only")
    ports = _number(given.get("sport", "")), _number(given.get("dport", ""))
    if 0 in ports:
        raise Unusable("UDP port 0 is none", "give sport and dport, usually 4500")
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
    parts = [word for word in words[1:] if not re.fullmatch(r"\(\d+|bits\)|\(\d+\)", word)]
    if not parts:
        raise Unusable("an algorithm is missing", "give its name and key")
    name = linux(parts[0].strip("'\""))
    if unsupported(name) is not None:
        raise Unusable(f"{unsupported(name)} is not supported", "remove the SA")
    text = parts[1] if len(parts) > 1 else "0x"
    if re.fullmatch(r"0x(?:[0-9A-Fa-f]{2})*", text) is None:
        raise not_hex(text)
    return name, bytes.fromhex(text[2:]), _number(parts[2]) if len(parts) > 2 else None


def _cipher(state: _State, words: list[str]) -> None:
    """`enc` and `aead` lines; the salt stands behind the key."""
    name, key, bits = _algorithm(words)
    encr = LINUX_CIPHERS.get(name)
    if encr is None or CIPHERS[encr].aead != (words[0] == "aead"):
        problem = f"the algorithm of {words[0]} is not known or not one of its kind"
        raise Unusable(problem, f"known: {', '.join(LINUX_CIPHERS)}")
    if "encr" in state.fields:
        raise Unusable("an SA with two ciphers", "keep one of enc and aead")
    if not key and encr != "null":
        raise not_hex("")
    state.fields.update(encr=encr, **split_key(encr, key))
    if bits is not None and CIPHERS[encr].aead:
        state.fields["icv_len"] = _whole_bytes(bits)


def _integrity(state: _State, words: list[str]) -> None:
    """`auth` and `auth-trunc` lines."""
    name, key, bits = _algorithm(words)
    if name in ("digest_null", "ecb(digest_null)"):
        return
    if name in LINUX_CIPHERS:  # old releases print the key of a combined mode so
        raise Unusable("a combined mode as an integrity algorithm", "give the output of a newer iproute2")
    bits = bits if words[0] == "auth-trunc" and bits is not None else LINUX_BITS.get(name, 96)
    integ = LINUX_INTEGRITIES.get((name, bits))
    if integ is None:
        known = ", ".join(f"{n} {b}" for n, b in LINUX_INTEGRITIES)
        raise Unusable("the integrity algorithm, or its ICV length, is not known", f"known: {known}")
    if not key:
        raise not_hex("")
    if words[0] == "auth" and "auth-trunc" in state.said:
        return  # some releases print both; the second has the length
    state.fields.update(integ=integ, integ_key=key)


def _whole_bytes(bits: int) -> int:
    if bits % 8:
        raise Unusable("the ICV is not a whole number of bytes", "give its length in bits: 64, 96 or 128")
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
