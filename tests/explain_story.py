"""What bytes say of a frame on its own: what was in it, level by level, and what left. No kernel has a say here.

The functions are those of the slow twins: headers, windows, opening, putting fragments together.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import naive
import naive_gre
import naive_lzs
from naive import Bad, Ip, State, read_ip
from naive_fragments import Reassembler

from qfp.sa import SecurityAssociation

IPCOMP, GRE, ETHERNET = 108, 47, 1
SPACE_BITS = 28  # of a number, with several sequence-number spaces


@dataclass
class Level:
    """One SA that was found for a packet. `icv`: good, not good, none; `inner`: what it becomes, None with a fault."""

    handle: int
    sa: SecurityAssociation
    seq: int
    body: int  # bytes between IV and ICV (AH: of the packet)
    packet: Ip
    icv: str
    inner: Ip | None = None
    fault: str = ""  # a cause, or `dummy`
    expanded: bool = False
    alarm: bool = False


@dataclass
class History:
    """What one window has seen: of an SA, or of one of its sequence-number spaces."""

    size: int
    top: int = 0
    seen: set[int] = field(default_factory=set)

    def where(self, number: int, named: str) -> tuple[str, bool]:
        """(in words, whether it is refused)."""
        if not self.size:
            return "not checked", False
        if number == 0:
            return "zero, which is never sent", True
        if number > self.top:
            return f"above the window{named}", False
        if number <= self.top - self.size:
            return f"below the window{named}", True
        seen = number in self.seen
        return f"inside the window{named}, {'seen before' if seen else 'not seen'}", seen

    def take(self, number: int) -> None:
        self.seen.add(number)
        self.top = max(self.top, number)


class Book:
    """What is known of the SAs of a router or decryptor: made before the run, asked after it."""

    def __init__(self, owner: Any):
        self.owner = owner
        config = getattr(owner, "config", None)
        self.multi = bool(config is not None and config.ipsec.multi_sn)
        self.first = {h: owner.sad.describe(h) for h in self._handles()}
        self.histories: dict[tuple[int, int, int], History] = {}

    def _handles(self) -> list[int]:
        return [h for h in range(self.owner.sad.rows) if self.owner.tables.t.sa["valid"][h]]

    @cached_property
    def sas(self) -> dict[int, SecurityAssociation]:
        """By handle, all that there were in the run; numbers as at first."""
        found = dict(self.first)
        derived = self._derived() if self.owner.sad.rows > len(found) else {}
        for h in range(self.owner.sad.rows):
            found.setdefault(h, derived.get(self.owner.sad.describe(h).spi) or self.owner.sad.describe(h))
        return found

    def _derived(self) -> dict[int, SecurityAssociation]:
        """SAs of later generations by SPI: rows of those that are gone hold no keys."""
        sadb = self.owner.sadb
        return {sa.spi: replace(sa, seq=0, direction="out" if out else "in")
                for pair in sadb.pairs for g in range(pair.generation + 2) for out in (True, False)
                for sa in sadb.derive(pair.want, g, out)}  # fmt: skip

    def history(self, handle: int, sa: SecurityAssociation, space: int) -> History:
        key = (handle, sa.spi, space)
        if key not in self.histories:
            size = sa.replay_window
            if self.multi and size:
                size = max(16, size // 4)
            seen = {sa.seq} if sa.seq else set()
            self.histories[key] = History(size, sa.seq, seen)
        return self.histories[key]

    def split(self, seq: int) -> tuple[int, int]:
        """(space, number in it); space 0 and the number itself without several."""
        if not self.multi:
            return 0, seq
        low = seq & 0xFFFFFFFF
        return low >> SPACE_BITS, (seq >> 32 << SPACE_BITS) | low & (1 << SPACE_BITS) - 1

    def infer(self, handle: int, sa: SecurityAssociation, low: int) -> int:
        """RFC 4303 appendix A2.2."""
        if not sa.esn:
            return low
        assert not self.multi
        state = State(sa)
        state.top = self.history(handle, sa, 0).top
        return state.infer(low)


def link_stripped(frame: bytes, link: int) -> bytes | None:
    """IP behind the link layer; None where there is none."""
    if link != ETHERNET:
        return frame or None
    return frame[14:] if frame[12:14] in (b"\x08\x00", b"\x86\xdd") and len(frame) > 14 else None


def find(sas: dict[int, SecurityAssociation], ip: Ip, proto: int, spi: int) -> list[int]:
    """Handles of the SAs that a packet may be for."""
    name = "esp" if proto == naive.ESP else "ah"
    fits = [h for h, sa in sas.items() if sa.spi == spi and sa.proto == name]
    exact = [h for h in fits if sas[h].dst is not None
             and (sas[h].dst.version, int(sas[h].dst)) == (ip.family, ip.dst)]  # fmt: skip
    return exact or [h for h in fits if sas[h].dst is None]


def header_of(ip: Ip) -> tuple[int, int, int, int, int]:
    """(protocol, SPI, number as it travels, first byte, end) of the ESP or AH header. Raises Bad."""
    proto, _, start, end = naive.locate(ip)
    at = start + (4 if proto == naive.AH else 0)
    return proto, int.from_bytes(ip.data[at : at + 4]), int.from_bytes(ip.data[at + 4 : at + 8]), start, end


def open_level(book: Book, handle: int, sa: SecurityAssociation, ip: Ip, seq: int, comp: bool) -> Level:
    """Open one level with a given number. Raises Bad where there is nothing to open."""
    _, _, _, start, end = header_of(ip)
    state = State(sa)
    esp = sa.proto == "esp"
    if esp:
        body = naive.open_esp(state, ip.data[start:end], seq)
        size = end - start - 8 - sa.iv_len - sa.icv_len
        level = Level(handle, sa, seq, size, ip, "good" if body is not None else "not good")
    else:
        good = naive.open_ah(state, ip, seq)
        body = b"" if good else None
        level = Level(handle, sa, seq, len(ip.data), ip, "good" if good else "not good")
    if not sa.icv_len:
        level.icv = "none"
    if body is None:
        return level
    try:
        _inside(level, sa, ip, body, esp, comp)
    except Bad as bad:
        level.fault, level.inner = bad.args[0], None
    return level


def _inside(level: Level, sa: SecurityAssociation, ip: Ip, body: bytes, esp: bool, comp: bool) -> None:
    payload, next_header = naive.strip_trailer(body) if esp else (ip.data[ip.upper + naive.ah_size(ip) :],
                                                                 ip.data[ip.upper])  # fmt: skip
    if next_header == naive.NO_NEXT:
        level.fault = "dummy"
        return
    if next_header == IPCOMP and comp:
        expanded = naive_lzs.expand(payload[4:], 65535) if payload[2:4] == b"\0\x03" and len(payload) > 4 else None
        if expanded is None:
            raise Bad("COMP_BAD")
        payload, next_header, level.expanded = expanded, payload[0], True
    inner = next_header in (4, 41)
    if sa.mode == "tunnel" and not inner and next_header not in (naive.ESP, naive.AH):
        raise Bad("BAD_NEXT_HEADER")
    if inner and sa.mode != "transport":
        level.inner, level.alarm = naive.from_tunnel(payload, next_header, ip.tos)
    else:
        level.inner = naive.from_transport(ip, payload, next_header)


@dataclass
class Sent:
    """A packet that left, put together where it left in fragments: the SAs around it, outermost first, what they
    protect, and what is in GRE tunnels in that."""

    packet: Ip
    levels: list[Level]
    layers: list[Ip]  # what is inside, the outermost first: one IP packet a GRE tunnel, the payload last
    records: list[int]  # sizes of the records that carried it

    @property
    def inner(self) -> Ip:
        return self.layers[0]

    @property
    def last(self) -> Ip:
        return self.layers[-1]


def sent_packets(book: Book, packets: list[bytes]) -> list[Sent]:
    """Output records of one frame as packets."""
    out: list[Sent] = []
    reassembler, sizes, waiting = Reassembler(), [], []
    for data in packets:
        ip = read_ip(data)
        sizes.append(len(data))
        if ip.fragment and hasattr(book.owner, "config") and not _clear(book, ip):
            waiting.append(ip)
            try:
                whole = reassembler.take(ip, 0, None)
            except Bad:  # two packets of one identification
                whole = None
            if whole is None:
                continue
            ip, waiting = whole, []
        out.append(_sent(book, ip, sizes))
        sizes = []
    return out + [Sent(ip, [], [ip], [len(ip.data)]) for ip in waiting]


def _clear(book: Book, ip: Ip) -> bool:
    """Whether a fragment is one of a packet that this router did not make."""
    config = book.owner.config
    own = {int(a.ip) for i in config.interfaces.values() for a in i.addresses4}
    own |= {int(a.interface.ip) for i in config.interfaces.values() for a in i.addresses6}
    return ip.src not in own


def _sent(book: Book, ip: Ip, sizes: list[int]) -> Sent:
    sas, levels, inner = book.sas, [], ip
    while naive.is_protected(inner) and not inner.fragment:
        try:
            proto, spi, low, _, _ = header_of(inner)
        except Bad:
            break
        fits = [h for h in find(sas, inner, proto, spi) if sas[h].direction == "out"]
        if not fits:
            break
        level = open_level(book, fits[0], sas[fits[0]], inner, _whole(book, fits[0], low), True)
        levels.append(level)
        if level.inner is None:
            break
        inner = level.inner
    layers = [inner]
    while layers[-1].proto == GRE and _own(book, layers[-1]):
        try:
            layers.append(read_ip(naive_gre.read(layers[-1].data[layers[-1].upper :]).payload))
        except Bad:
            break
    return Sent(ip, levels, layers, list(sizes))


def _whole(book: Book, handle: int, low: int) -> int:
    """A number of ours with its high half."""
    out = book.owner.tables.t.sa_out[handle]
    high = (int(out["next_seq"]) - 1) >> 32 if book.sas[handle].esn else 0
    if high and low > (int(out["next_seq"]) - 1) & 0xFFFFFFFF:
        high -= 1
    return high << 32 | low


def _own(book: Book, ip: Ip) -> bool:
    return any((int(t["src0"]) << 64 | int(t["src1"])) == ip.src for t in book.owner.tables.t.tun)
