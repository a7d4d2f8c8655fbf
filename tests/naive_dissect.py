"""The slow twin of the walk through link layers and tunnels: one function a header, bytes in, bytes out.

A layer takes the bytes from its header on and returns (next layer, bytes from there on, cut to what the layer says that
it carries). `locate` follows them to ESP, AH or UDP on port 4500.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IP_TYPES = {0x0800, 0x86DD}
VLANS = {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
FAMILIES = {2, 10, 24, 28, 30}
QUIET = {1, 2, 6, 17, 33, 46, 58, 59, 88, 89, 103, 112, 132, 136}
DEPTH = 24


class Stop(Exception):
    """The walk ends without a packet: why, None = the frame holds no IP by its nature."""


@dataclass(frozen=True)
class Located:
    """found: ESP, AH or UDP 4500; at: offset of its IP header; first: of the outermost IP header, -1 = none; size:
    bytes that the packet may take; why: a word and a number, or None."""

    found: bool
    at: int
    size: int
    first: int
    why: Any = None


class Part(bytes):
    """Bytes of a frame that know where they start in it."""

    start = 0

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        if not isinstance(key, slice):
            return got
        part = Part(got)
        part.start = self.start + key.indices(len(self))[0]
        return part


def big(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise Stop("cut")
    return int.from_bytes(data[at : at + size])


def little(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise Stop("cut")
    return int.from_bytes(data[at : at + size], "little")


Next = tuple[Any, bytes]


# ------------------------------------------------------------------------------------------------ link layers
def by_type(kind: int, rest: bytes) -> Next:
    return ("llc", rest[:kind]) if kind <= 1500 else (("ethertype", kind), rest)


def ethernet(d: bytes) -> Next:
    return by_type(big(d, 12, 2), d[14:])


def plausible(d: bytes) -> bool:
    """Whether an Ethernet frame that carries IP may begin here."""
    if len(d) < 14:
        return False
    kind, byte = int.from_bytes(d[12:14]), d[14] if len(d) > 14 else None
    if kind in IP_TYPES:
        return byte is not None and byte >> 4 == (4 if kind == 0x0800 else 6)
    if kind == 0x8864:
        return byte == 0x11
    return kind in {0x8100, 0x88A8, 0x9100, 0x8847, 0x0806}


def llc(d: bytes) -> Next:
    saps, control = big(d, 0, 2), big(d, 2, 1)
    if control == 3 and saps == 0xAAAA:
        return "snap", d[3:]
    if control == 3 and saps == 0x0606:
        return "ip", d[3:]
    if control == 3 and saps == 0xFEFE and len(d) > 3:
        return ("nlpid", d[3]), d[4:]
    raise Stop(("llc", saps))


def snap(d: bytes) -> Next:
    oui, pid = big(d, 0, 3), big(d, 3, 2)
    if oui in (0, 0xF8):
        return ("ethertype", pid), d[5:]
    if oui == 0x80C2 and pid in (1, 7):
        return "ethernet", d[5:] if plausible(d[5:]) else d[7:]
    raise Stop(("llc", 0xAAAA))


def token_ring(d: bytes) -> Next:
    return "llc", d[14 + (big(d, 14, 1) & 31 if big(d, 8, 1) & 0x80 else 0 * big(d, 14, 1)) :]


def ppp(d: bytes) -> Next:
    d = d[2:] if d[:2] == b"\xff\x03" else d
    short = big(d, 0, 1) & 1
    kind = d[0] if short else big(d, 0, 2)
    if kind >= 0x8000:
        raise Stop(None)
    return ("ppp", kind), d[1 if short else 2 :]


def ppp_hdlc(d: bytes) -> Next:
    return ("ppp", d) if d[:1] not in (b"\x0f", b"\x8f") else by_type(big(d, 2, 2), d[4:])


def multilink(d: bytes) -> Next:
    if big(d, 0, 1) & 0xC0 != 0xC0 or len(d) <= 4:
        raise Stop(("ppp", 0x3D))
    return "ppp", d[4:]


def bridged(d: bytes) -> Next:
    if d[1:2] != b"\1":
        raise Stop(("ppp", 0x31))
    return "ethernet", d[2:]


def frame_relay(d: bytes) -> Next:
    size = next((n for n in (2, 3) if n > len(d) or d[n - 1] & 1), 4)
    d = d[size:]
    if big(d, 0, 1) != 3:
        return ("ethertype", big(d, 0, 2)), d[2:]
    d = d[2:] if d[1:2] == b"\0" else d[1:]
    return ("nlpid", big(d, 0, 1)), d[1:]


def family(number: int, rest: bytes) -> Next:
    if number not in FAMILIES:
        raise Stop(("family", number & 0xFFFF))
    return "ip", rest


def either(d: bytes) -> int:
    return little(d, 0, 4) if little(d, 0, 4) <= 0xFFFF else big(d, 0, 4)


def cooked(hardware: int, kind: int, rest: bytes) -> Next:
    if hardware in (801, 802, 803):
        return ("link", {801: 105, 802: 119, 803: 127}[hardware]), rest
    return ("llc", rest) if kind == 4 else (("ethertype", kind), rest)


def hardware_of(d: bytes, at: int) -> int:
    return int.from_bytes(d[at : at + 2]) if at + 2 <= len(d) else -1


def nflog(d: bytes) -> Next:
    d = d[4:]
    order = big if little(d, 2, 2) & 0x3FFF > 255 else little
    for _ in range(64):
        size, kind = order(d, 0, 2), order(d, 2, 2)
        if size < 4:
            break
        if kind & 0x3FFF == 9:
            return "ip", d[4:size]
        d = d[size + 3 & ~3 :]
    raise Stop("malformed")


def sized(size: int, least: int, link: int, d: bytes) -> Next:
    if size < least:
        raise Stop("malformed")
    return ("link", link & 0xFFFF), d[size:]


def radiotap(d: bytes) -> Next:
    size = little(d, 2, 2)
    if size < 8:
        raise Stop("malformed")
    head, words, at = d[:size], [], 4
    while not words or (words[-1] >> 31 and len(words) < 9):
        word = int.from_bytes(head[at : at + 4], "little") if at + 4 <= len(head) else 0
        words.append(word)
        at += 4
    pad = False
    if words[0] & 2:
        at = (at + 7 & ~7) + 8 if words[0] & 1 else at
        pad = at < len(head) and bool(head[at] & 0x20)
    return ("padded" if pad else ("link", 105)), d[size:]


def prism(d: bytes) -> Next:
    if len(d) >= 4 and big(d, 0, 4) >> 12 == 0x80211:
        return "avs", d
    size = little(d, 4, 4) if len(d) >= 8 else 0
    return sized(size if size <= 0xFFFF else big(d, 4, 4), 8, 105, d)


def wlan(d: bytes, padded: bool = False) -> Next:
    control, flags = big(d, 0, 1), big(d, 1, 1)
    if control & 0x0C != 8 or control & 0x40:
        raise Stop(None)
    if flags & 0x40:
        raise Stop("encrypted")
    size = 30 if flags & 3 == 3 else 24
    together = False
    if control & 0x80:
        together = bool(big(d, size, 1) & 0x80)
        size += 6 if flags & 0x80 else 2
    size = size + 3 & ~3 if padded else size
    if together:
        return "llc", d[size + 14 : size + 14 + big(d, size + 12, 2)]
    return "llc", d[size:]


# ---------------------------------------------------------------------------------------------------- tunnels
def pppoe(d: bytes) -> Next:
    size = big(d, 4, 2)
    if d[:2] != b"\x11\0":
        raise Stop(None)
    return "ppp", d[6 : 6 + size]


def mpls(d: bytes) -> Next:
    for _ in range(16):
        bottom = big(d, 0, 4) >> 8 & 1
        d = d[4:]
        if bottom:
            break
    else:
        raise Stop(("ethertype", 0x8847))
    version = d[0] >> 4 if d else -1
    if version == 4:
        total = int.from_bytes(d[2:4]) if len(d) >= 4 else -1
        return ("ethernet" if plausible(d) and (total < 20 or total > len(d)) else "ip"), d
    if version == 6:
        return "ip", d
    if version == 0 and plausible(d[4:]):
        return "ethernet", d[4:]
    if plausible(d):
        return "ethernet", d
    raise Stop(None if version == 1 else ("ethertype", 0x8847))


def gre(d: bytes) -> Next:
    flags, kind = big(d, 0, 2), big(d, 2, 2)
    if flags & 7 == 1:
        size = int.from_bytes(d[4:6]) if len(d) >= 6 else 0
        if size == 0:
            raise Stop(None)
        start = 8 + 4 * bool(flags & 0x1000) + 4 * bool(flags & 0x80)
        return "ppp", d[start : start + size]
    if flags & 0x4007:
        raise Stop(("protocol", 47))
    d = d[4 + 4 * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000)) :]
    if kind == 0:
        raise Stop(None)
    if kind == 0x88BE:
        return "ethernet", d[8:] if flags & 0x1000 else d
    if kind == 0x883E:
        return "ip", d if d and d[0] >> 4 == 4 else d[4:]
    return ("ethertype", kind), d


def erspan3(d: bytes) -> Next:
    word = big(d, 8, 4)
    rest = d[20 if word & 1 else 12 :]
    kind = word >> 10 & 31
    if kind not in (0, 2):
        raise Stop(("ethertype", 0x22EB))
    return ("ethernet" if kind == 0 else "ip"), rest


def vxlan(d: bytes) -> Next:
    big(d, 3, 1)
    if not d[0] & 8:
        raise Stop(("udp", 4789))
    return (("next", d[3]) if d[0] & 4 else "ethernet"), d[8:]


def nsh(d: bytes) -> Next:
    kind, size = big(d, 3, 1), (d[1] & 63) * 4
    if size < 8:
        raise Stop("malformed")
    return ("next", kind), d[size:]


def geneve(d: bytes) -> Next:
    kind = big(d, 2, 2)
    if d[0] >> 6:
        raise Stop(("udp", 6081))
    return ("ethertype", kind), d[8 + 4 * (d[0] & 63) :]


def gtpu(d: bytes) -> Next:
    size = big(d, 2, 2)
    if d[0] & 0xF0 != 0x30 or d[1] != 255:
        raise Stop(None)
    d = d[: 8 + size]
    at = 12 if d[0] & 7 else 8
    more = d[11] if d[0] & 4 and len(d) > 11 else 0
    for _ in range(16):
        if not more:
            break
        if at >= len(d) or d[at] == 0:
            raise Stop("malformed")
        at += 4 * d[at]
        more = d[at - 1] if at <= len(d) else 0
    rest = d[at:]
    if rest and rest[0] >> 4 in (4, 6):
        return "ip", rest
    if plausible(rest):
        return "ethernet", rest
    raise Stop(("udp", 2152))


def tzsp(d: bytes) -> Next:
    kind = big(d, 2, 2)
    if d[1] > 1:
        raise Stop(None)
    d = d[4:]
    for _ in range(256):
        tag = big(d, 0, 1)
        d = d[1:] if tag <= 1 else d[2 + (d[1] if len(d) > 1 else 0) :]
        if tag == 1:
            break
    if kind in (18, 119, 127):
        return ("link", {18: 105, 119: 119, 127: 163}[kind]), d
    if kind != 1:
        raise Stop(("udp", 37008))
    return "ethernet", d


def session(d: bytes) -> Next:
    for skip in (0, 4, 8, 12):
        if plausible(d[skip:]):
            return "ethernet", d[skip:]
    raise Stop(("protocol", 115))


def l2tp3(d: bytes) -> Next:
    if big(d, 0, 4) == 0:
        raise Stop(None)
    return session(d[4:])


def l2tp(d: bytes) -> Next:
    flags = big(d, 0, 2)
    if flags & 0x8000:
        raise Stop(None)
    if flags & 15 == 3:
        return session(d[8:])
    if flags & 15 != 2:
        raise Stop(("udp", 1701))
    d = d[6 + 2 * bool(flags & 0x4000) + 4 * bool(flags & 0x800) :]
    if flags & 0x200:
        d = d[2 + (int.from_bytes(d[:2]) if len(d) >= 2 else 0) :]
    return "ppp", d


def teredo(d: bytes) -> Next:
    if d[:2] == b"\0\1":
        d = d[13 + (d[2] if len(d) > 2 else 0) + (d[3] if len(d) > 3 else 0) :]
    if d[:2] == b"\0\0":
        d = d[8:]
    if big(d, 0, 1) >> 4 != 6:
        raise Stop(None)
    return "ip", d


def capwap(d: bytes) -> Next:
    word = big(d, 0, 4)
    if word >> 24 or word & 0x80:
        raise Stop(("udp", 5247))
    if word & 8:
        raise Stop(None)
    return (("link", 105) if word & 0x100 else "ethernet"), d[4 * (word >> 19 & 31) :]


@dataclass(frozen=True)
class Skip:
    """So many bytes of no interest, then another layer."""

    count: int
    layer: str


def typed(before: int, after: int) -> Callable[[bytes], Next]:
    """An EtherType or length at `before`; what it names at `after`."""
    return lambda d: by_type(big(d, before, 2), d[after:])


LAYERS: dict[Any, Skip | Callable[[bytes], Next]] = {
    "ethernet": ethernet, "llc": llc, "snap": snap, "ppp": ppp, "avs": lambda d: sized(big(d, 4, 4), 8, 105, d),
    "padded": lambda d: wlan(d, True),
    ("link", 0): lambda d: family(either(d), d[4:]), ("link", 108): lambda d: family(either(d), d[4:]),
    ("link", 1): ethernet, ("link", 240): Skip(4, "ethernet"), ("link", 241): Skip(12, "ethernet"),
    ("link", 274): Skip(8, "ethernet"), ("link", 6): token_ring, ("link", 8): Skip(16, "ip"),
    ("link", 10): Skip(13, "llc"), ("link", 100): llc, ("link", 122): Skip(16, "llc"), ("link", 123): Skip(4, "llc"),
    ("link", 138): typed(16, 18), ("link", 242): typed(40, 44), ("link", 9): ppp_hdlc, ("link", 50): ppp_hdlc,
    ("link", 51): pppoe, ("link", 166): lambda d: ("ppp", d[2 if d[1:2] == b"\3" else 1 :]),
    ("link", 204): Skip(1, "ppp"), ("link", 104): typed(2, 4), ("link", 205): typed(3, 5), ("link", 107): frame_relay,
    ("link", 206): lambda d: frame_relay(d[1:]), ("link", 219): mpls,
    **{("link", n): Skip(0, "ip") for n in (12, 14, 101, 228, 229)},
    ("link", 105): wlan, ("link", 119): prism, ("link", 127): radiotap,
    ("link", 163): lambda d: sized(big(d, 4, 4), 8, 105, d),
    ("link", 192): lambda d: sized(little(d, 2, 2), 8, little(d, 4, 4) if len(d) >= 8 else 0, d),
    ("link", 109): lambda d: family(either(d), d[12:]),
    ("link", 117): lambda d: family(big(d, 1, 1), d[d[0] + 3 & ~3 :]),
    ("link", 113): lambda d: cooked(hardware_of(d, 2), big(d, 14, 2), d[16:]),
    ("link", 276): lambda d: cooked(hardware_of(d, 8), big(d, 0, 2), d[20:]),
    ("link", 149): lambda d: sized(little(d, 0, 4), 12, little(d, 8, 4), d),
    ("link", 258): lambda d: sized(little(d, 0, 4), 12, little(d, 8, 4), d), ("link", 239): nflog,
    ("ethertype", 0x0800): Skip(0, "ip"), ("ethertype", 0x86DD): Skip(0, "ip"),
    **{("ethertype", n): typed(2, 4) for n in VLANS},
    ("ethertype", 0x8864): pppoe, ("ethertype", 0x8847): mpls, ("ethertype", 0x8848): mpls,
    ("ethertype", 0x6558): ethernet, ("ethertype", 0x88E7): Skip(4, "ethernet"), ("ethertype", 0x8909): typed(6, 8),
    ("ethertype", 0x893F): typed(6, 8), ("ethertype", 0x8926): typed(4, 6), ("ethertype", 0x880B): ppp,
    ("ethertype", 0x22EB): erspan3, ("ethertype", 0x894F): nsh,
    **{("protocol", n): Skip(0, "ip") for n in (4, 41, 94)},
    ("protocol", 47): gre, ("protocol", 97): Skip(2, "ethernet"), ("protocol", 115): l2tp3, ("protocol", 137): mpls,
    ("udp", 1701): l2tp, ("udp", 2152): gtpu, ("udp", 3544): teredo, ("udp", 4341): Skip(8, "ip"), ("udp", 4754): gre,
    ("udp", 4789): vxlan, ("udp", 4790): vxlan, ("udp", 8472): vxlan, ("udp", 5247): capwap, ("udp", 6081): geneve,
    ("udp", 6635): mpls, ("udp", 37008): tzsp,
    ("ppp", 0x21): Skip(0, "ip"), ("ppp", 0x57): Skip(0, "ip"), ("ppp", 0x281): mpls, ("ppp", 0x283): mpls,
    ("ppp", 0x3D): multilink, ("ppp", 0x31): bridged,
    ("nlpid", 0xCC): Skip(0, "ip"), ("nlpid", 0x8E): Skip(0, "ip"), ("nlpid", 0x80): snap, ("nlpid", 0xCF): ppp,
    ("next", 1): Skip(0, "ip"), ("next", 2): Skip(0, "ip"), ("next", 3): ethernet, ("next", 4): nsh, ("next", 5): mpls,
}  # fmt: skip
ONLY_SAID = {("udp", 6343), ("udp", 51820)}


# --------------------------------------------------------------------------------------------------------- IP
def ip_header(d: bytes) -> tuple[int, int, int, bytes]:
    """(protocol, bytes of headers, fragment: 0 none, 1 first, 2 later, the packet)."""
    version = big(d, 0, 1) >> 4
    if version == 4:
        if len(d) < 20:
            raise Stop("cut")
        size, total = (d[0] & 15) * 4, big(d, 2, 2)
        if size < 20 or 0 < total < size:
            raise Stop("malformed")
        word = big(d, 6, 2)
        return d[9], size, 2 if word & 0x1FFF else 1 if word & 0x2000 else 0, d[: total or len(d)]
    if version != 6:
        raise Stop("malformed")
    if len(d) < 40:
        raise Stop("cut")
    total, proto, k, fragment = big(d, 4, 2), d[6], 40, 0
    d = d[: 40 + total] if total else d
    for _ in range(8):
        if proto not in (0, 43, 44, 60, 135):
            break
        if k + 8 > len(d):
            raise Stop("cut")
        if proto == 44:
            word = big(d, k + 2, 2)
            fragment = 2 if word & 0xFFF8 else word & 1
        size = 8 if proto == 44 else 8 * (1 + d[k + 1])
        proto, k = d[k], k + size
        if fragment == 2:
            break
    return proto, k, fragment, d


def upper(proto: int, d: bytes) -> Any:
    """What an IP payload is: found, or the next layer."""
    if proto in (17, 6):
        ports = [big(d, 0, 2), big(d, 2, 2)]
        if 4500 in ports:
            if proto == 17:
                return "found"
            raise Stop(("tcp", 4500))
        for port in reversed(ports):
            if proto == 17 and (("udp", port) in LAYERS or ("udp", port) in ONLY_SAID):
                if len(d) < 6 or big(d, 4, 2) < 8:
                    break
                return ("udp", port)
        raise Stop(None)
    if proto in QUIET:
        raise Stop(None)
    return ("protocol", proto)


def locate(link: int, frame: bytes) -> Located:
    """Where a capture's frame holds ESP, AH or UDP on port 4500."""
    layer: Any = ("link", link)
    rest, first, partial = Part(frame), -1, None
    try:
        for _ in range(DEPTH):
            if layer != "ip" and layer not in LAYERS:
                raise Stop(layer)
            take = LAYERS.get(layer)
            if isinstance(take, Skip):
                rest, take = rest[take.count :], LAYERS.get(take.layer)
            if not rest:
                raise Stop("cut")
            if take is not None:
                assert callable(take)
                layer, rest = take(rest)
                continue
            here = rest
            proto, size, fragment, packet = ip_header(rest)
            first = here.start if first < 0 else first
            if proto not in (50, 51):
                if fragment == 2:
                    raise Stop(None if proto in QUIET else ("fragment", proto))
                layer = upper(proto, packet[size:])
                rest = packet[size + (8 if proto == 17 else 0) :]
            if proto in (50, 51) or layer == "found":
                if partial is not None:
                    raise Stop(("fragment", partial))
                return Located(True, here.start, len(here), first)
            partial = proto if fragment and partial is None else partial
        raise Stop("deep")
    except Stop as stop:
        return Located(False, -1, 0, first, stop.args[0])
