"""The slow twin of the data plane: one obvious function a step, over bytes, written from the RFCs alone.

A packet goes down the file: `read_ip`, windows, `open_esp` or `open_ah`, `from_tunnel` or `from_transport` inbound;
`seal_tunnel` or `seal_transport` outbound. Keyed transforms are the reference engine's (openssl). No batching, no
cache, no offsets that outlive a function: what it says is what the kernels must produce, byte for byte.
`naive_router` adds routes and policies.
"""

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from qfp.engines.openssl import OpensslContext
from qfp.sa import SecurityAssociation

TCP, UDP, ICMP, ICMP6, ESP, AH, NO_NEXT = 6, 17, 1, 58, 50, 51, 59
WITH_PORTS = (TCP, UDP, 33, 132, 136)  # DCCP, SCTP, UDP-Lite
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, MOBILITY = 0, 43, 44, 60, 135
NATT_PORT = 4500
ESN_SPAN = 64  # inference without a window acts as if there were the default one
LEVELS = 4  # nested SAs that are opened
AH_HEADERS_MAX = 256  # bytes of headers before AH, a limit of qfp's own (docs/drops.md)


class Bad(Exception):
    """The packet ends here: args are the name of the cause."""


# ------------------------------------------------------------------------------------------------------ headers
@dataclass
class Ip:
    """A packet as bytes, and what its headers say. Offsets count from its first byte."""

    data: bytes
    family: int
    tos: int
    ttl: int
    src: int
    dst: int
    proto: int  # upper layer
    upper: int  # where that starts
    names_upper: int  # where the octet that names it stands
    split: int  # where transport mode inserts (RFC 4303 3.1.1: behind hop-by-hop, routing and fragment headers)
    names_split: int
    fragment: bool
    later: bool  # a fragment, and not the first
    df: bool
    sport: int = 0
    dport: int = 0

    @property
    def ends(self) -> tuple[int, int]:
        return self.src, self.dst


NEVER_FORWARDED = [
    ip_network(net) for net in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "240.0.0.0/4", "::/128", "::1/128",
                                "fe80::/10")
]  # fmt: skip


def is_martian(ip: Ip) -> bool:
    """RFC 1812 section 5.3.7, RFC 3927 section 2.7, RFC 4291 sections 2.5 and 2.7."""
    src, dst = ((IPv4Address if ip.family == 4 else IPv6Address)(end) for end in ip.ends)
    return src.is_multicast or any(end in net for end in (src, dst) for net in NEVER_FORWARDED)


def checksum(header: bytes) -> int:
    """RFC 1071 of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(header: bytes) -> bytes:
    """The IPv4 header with its checksum right."""
    bare = header[:10] + b"\0\0" + header[12:]
    return bare[:10] + struct.pack("!H", checksum(bare)) + bare[12:]


def read_ip(data: bytes) -> Ip:
    """Check an IP packet; bytes behind its end are cut off. Raises Bad."""
    version = data[0] >> 4 if data else 0
    if version not in (4, 6):
        raise Bad("BAD_HEADER")
    ip = read_ip4(data) if version == 4 else read_ip6(data)
    rest = ip.data[ip.upper :]
    if not ip.later and len(rest) >= 4:
        if ip.proto in WITH_PORTS:
            ip.sport, ip.dport = struct.unpack("!HH", rest[:4])
        elif ip.proto in (ICMP, ICMP6):
            ip.sport, ip.dport = rest[0], rest[1]
    return ip


def read_ip4(data: bytes) -> Ip:
    if len(data) < 20:
        raise Bad("BAD_HEADER")
    size, total, flags = (data[0] & 15) * 4, int.from_bytes(data[2:4]), int.from_bytes(data[6:8])
    if size < 20 or total < size or total > len(data):
        raise Bad("BAD_HEADER")
    if checksum(data[:size]) != 0:
        raise Bad("BAD_CHECKSUM")
    return Ip(
        data[:total], 4, tos=data[1], ttl=data[8], src=int.from_bytes(data[12:16]), dst=int.from_bytes(data[16:20]),
        proto=data[9], upper=size, names_upper=9, split=size, names_split=9, fragment=flags & 0x3FFF != 0,
        later=flags & 0x1FFF != 0, df=flags & 0x4000 != 0,
    )  # fmt: skip


def read_ip6(data: bytes) -> Ip:
    if len(data) < 40 or 40 + int.from_bytes(data[4:6]) > len(data):
        raise Bad("BAD_HEADER")
    data = data[: 40 + int.from_bytes(data[4:6])]
    ip = Ip(
        data, 6, tos=int.from_bytes(data[:2]) >> 4 & 255, ttl=data[7], src=int.from_bytes(data[8:24]),
        dst=int.from_bytes(data[24:40]), proto=data[6], upper=40, names_upper=6, split=40, names_split=6,
        fragment=False, later=False, df=True,  # IPv6 routers do not fragment
    )  # fmt: skip
    for _ in range(8):
        if ip.proto not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, MOBILITY) or ip.later:
            break
        header = data[ip.upper :]
        if len(header) < 8:
            raise Bad("BAD_HEADER")
        size = 8 if ip.proto == FRAGMENT else 8 * (header[1] + 1)
        if len(header) < size:
            raise Bad("BAD_HEADER")
        if ip.proto == FRAGMENT:
            where = int.from_bytes(header[2:4])
            ip.fragment, ip.later = where & 0xFFF9 != 0, where & 0xFFF8 != 0
        if ip.proto in (HOP_BY_HOP, ROUTING, FRAGMENT):
            ip.names_split, ip.split = ip.upper, ip.upper + size
        ip.names_upper, ip.proto, ip.upper = ip.upper, header[0], ip.upper + size
    return ip


def with_length(data: bytes) -> bytes:
    """The packet with length field and (IPv4) checksum as its bytes are."""
    if data[0] >> 4 == 6:
        return data[:4] + struct.pack("!H", len(data) - 40) + data[6:]
    size = (data[0] & 15) * 4
    return with_checksum(data[:2] + struct.pack("!H", len(data)) + data[4:size]) + data[size:]


def one_hop(ip: Ip) -> bytes:
    """TTL or hop limit one less. Raises Bad."""
    if ip.ttl <= 1:
        raise Bad("TTL_EXPIRED")
    if ip.family == 6:
        return ip.data[:7] + bytes([ip.ttl - 1]) + ip.data[8:]
    return with_length(ip.data[:8] + bytes([ip.ttl - 1]) + ip.data[9:])


# --------------------------------------------------------------------------------------------------- SA, window
@dataclass
class State:
    """An SA and what it has seen: the numbers themselves, in a set."""

    sa: SecurityAssociation
    top: int = 0
    seen: set[int] = field(default_factory=set)
    next_seq: int = 1
    packets: int = 0
    bytes: int = 0
    replays: int = 0
    bad_icv: int = 0

    def __post_init__(self) -> None:
        self.context = OpensslContext(self.sa)
        self.top = self.sa.seq
        self.next_seq = max(1, self.sa.seq)
        if self.sa.seq:
            self.seen.add(self.sa.seq)  # "highest seen": it was

    @property
    def high(self) -> int:
        """The last number that may be used (RFC 4303 section 3.3.3: it never cycles)."""
        return 2**64 - 1 if self.sa.esn else 2**32 - 1

    def infer(self, low: int) -> int:
        """RFC 4303 appendix A2.2: the number with this low half in the 2^32 that begin at the window's bottom,
        which may lie below zero."""
        if not self.sa.esn:
            return low
        bottom = self.top - (self.sa.replay_window or ESN_SPAN) + 1
        return (bottom + (low - bottom) % 2**32) % 2**64

    def refuses(self, seq: int) -> bool:
        """RFC 4303 section 3.4.3. Zero is never sent (section 3.3.3), and no number below it."""
        if seq > self.top + 2**32:
            return True  # it lies below zero
        if not self.sa.replay_window:
            return False
        return seq == 0 or seq <= self.top - self.sa.replay_window or seq in self.seen

    def accept(self, seq: int) -> None:
        self.seen.add(seq)
        self.top = max(self.top, seq)
        if len(self.seen) > 3 * self.sa.replay_window + 64:
            self.seen = {s for s in self.seen if s > self.top - self.sa.replay_window}


# ------------------------------------------------------------------------------------------------------ inbound
def open_esp(state: State, esp: bytes, seq: int) -> bytes | None:
    """Payload, padding and trailer of an ESP packet (SPI .. ICV); None = bad ICV. Raises Bad."""
    sa = state.sa
    body = len(esp) - 8 - sa.iv_len - sa.icv_len
    if body < 2 or body % sa.block:
        raise Bad("RUNT")
    buffer = bytearray(esp)
    if not state.context.esp_open(buffer, seq >> 32):
        return None
    return bytes(buffer[8 + sa.iv_len : 8 + sa.iv_len + body])


def strip_trailer(body: bytes) -> tuple[bytes, int]:
    """(payload, next header); RFC 4303 section 2.4: pad bytes count 1, 2, 3. Raises Bad."""
    pad, next_header = body[-2], body[-1]
    if pad + 2 > len(body) or body[len(body) - 2 - pad : -2] != bytes(range(1, pad + 1)):
        raise Bad("BAD_PADDING")
    return body[: len(body) - 2 - pad], next_header


IMMUTABLE_OPTIONS = (0, 1, 130, 133, 134, 148, 149)  # RFC 4302 appendix A1


def without_mutable4(header: bytes) -> bytes:
    out = bytearray(header)
    out[1] = out[6] = out[7] = out[8] = out[10] = out[11] = 0
    k = 20
    while k < len(out) and out[k] != 0:
        size = 1 if out[k] == 1 or k + 1 >= len(out) else max(2, out[k + 1])
        if out[k] not in IMMUTABLE_OPTIONS:
            out[k : k + size] = bytes(len(out[k : k + size]))
        k += size
    return bytes(out)


def without_mutable6(headers: bytes) -> bytes:
    out = bytearray(headers)
    out[0:4], out[7] = b"\x60\0\0\0", 0
    kind, k = out[6], 40
    while k < len(out):
        size = 8 if kind == FRAGMENT else 8 * (out[k + 1] + 1)
        j = k + 2
        while kind in (HOP_BY_HOP, DESTINATION) and j < k + size:
            if out[j] == 0:  # Pad1
                j += 1
                continue
            length = out[j + 1] if j + 1 < k + size else 0
            last = min(j + 2 + length, k + size)
            if out[j] & 0x20:
                out[j + 2 : last] = bytes(max(0, last - j - 2))
            j += 2 + length
        kind, k = out[k], k + size
    return bytes(out)


def without_mutable(headers: bytes) -> bytes:
    """RFC 4302 section 3.3.3.1: headers before AH with what routers may change set to zero."""
    return without_mutable4(headers) if headers[0] >> 4 == 4 else without_mutable6(headers)


def ah_size(ip: Ip) -> int:
    return (ip.data[ip.upper + 1] + 2) * 4


def open_ah(state: State, ip: Ip, seq: int) -> bool:
    """Whether the ICV verifies. ICV padding is covered as it came (RFC 4302 section 3.3.3.2.1). Raises Bad."""
    at = ip.upper + 12
    size = state.sa.icv_length
    if ah_size(ip) < 12 + size or ip.upper + ah_size(ip) > len(ip.data):
        raise Bad("RUNT")
    if ip.upper > AH_HEADERS_MAX:
        raise Bad("AH_HEADERS")
    msg = without_mutable(ip.data[: ip.upper]) + ip.data[ip.upper : at] + bytes(size) + ip.data[at + size :]
    return state.context.ah_open(msg, at, ip.data[at : at + size], seq >> 32)


# RFC 6040 figure 4, by name. Values: the codepoint that goes on, and whether the combination is worth an alarm
NOT_ECT, ECT1, ECT0, CE = range(4)
EGRESS: dict[tuple[int, int], tuple[int | None, bool]] = {
    (NOT_ECT, NOT_ECT): (NOT_ECT, False), (NOT_ECT, ECT0): (NOT_ECT, True),
    (NOT_ECT, ECT1): (NOT_ECT, True), (NOT_ECT, CE): (None, True),
    (ECT0, NOT_ECT): (ECT0, False), (ECT0, ECT0): (ECT0, False), (ECT0, ECT1): (ECT1, False), (ECT0, CE): (CE, False),
    (ECT1, NOT_ECT): (ECT1, False), (ECT1, ECT0): (ECT1, True), (ECT1, ECT1): (ECT1, False), (ECT1, CE): (CE, False),
    (CE, NOT_ECT): (CE, False), (CE, ECT0): (CE, False), (CE, ECT1): (CE, True), (CE, CE): (CE, False),
}  # fmt: skip


def with_tos(ip: Ip, tos: int) -> bytes:
    if ip.family == 4:
        return with_length(ip.data[:1] + bytes([tos]) + ip.data[2:])
    word = int.from_bytes(ip.data[:2]) & 0xF00F | tos << 4
    return struct.pack("!H", word) + ip.data[2:]


def from_tunnel(payload: bytes, next_header: int, outer_tos: int) -> tuple[Ip, bool]:
    """The inner packet, and whether its ECN combination is worth an alarm. Raises Bad (args: cause, alarm)."""
    try:
        inner = read_ip(payload)
    except Bad:
        raise Bad("BAD_INNER") from None
    code, alarm = EGRESS[inner.tos & 3, outer_tos & 3]
    if code is None:
        raise Bad("ECN_CE", True)
    if inner.family != (4 if next_header == 4 else 6):
        raise Bad("BAD_NEXT_HEADER", alarm)
    return (read_ip(with_tos(inner, inner.tos & 0xFC | code)) if code != inner.tos & 3 else inner), alarm


def from_transport(ip: Ip, payload: bytes, next_header: int) -> Ip:
    """The packet with ESP or AH (and UDP) taken out. Raises Bad."""
    head = bytearray(ip.data[: ip.upper])
    head[ip.names_upper] = next_header
    try:
        return read_ip(with_length(bytes(head) + payload))
    except Bad:
        raise Bad("BAD_INNER") from None


# ----------------------------------------------------------------------------------------------------- outbound
def nonce(sa: SecurityAssociation, seq: int) -> bytes:
    """What stands in the IV field before sealing: the number, as wide as the field."""
    width = sa.iv_len
    return seq.to_bytes(max(8, width))[-width:] if width else b""


def seal_esp(state: State, seq: int, payload: bytes, next_header: int) -> bytes:
    """ESP from SPI to ICV around a payload (RFC 4303 section 2)."""
    sa = state.sa
    pad = -(len(payload) + 2) % sa.block
    body = payload + bytes(range(1, pad + 1)) + bytes([pad, next_header])
    head = struct.pack("!II", sa.spi, seq & 0xFFFFFFFF) + nonce(sa, seq)
    packet = bytearray(head + body + bytes(sa.icv_len))
    state.context.esp_seal(packet, seq >> 32, derive_iv=True)
    return bytes(packet)


def udp_around(sa: SecurityAssociation, esp: bytes) -> bytes:
    """RFC 3948 section 2.1: ports, length, checksum zero."""
    return struct.pack("!HHHH", *sa.natt, 8 + len(esp), 0) + esp if sa.natt else esp


def ah_header(state: State, seq: int, next_header: int, family: int) -> bytes:
    """AH with its ICV still zero; padded to 4 bytes over IPv4, to 8 over IPv6 (RFC 4302 section 3.3.3.2.1)."""
    sa = state.sa
    unit = 4 if family == 4 else 8
    size = -(-(12 + sa.icv_length) // unit) * unit
    gmac_iv = seq.to_bytes(8) if sa.integrity.iv else b""
    head = struct.pack("!BBHII", next_header, size // 4 - 2, 0, sa.spi, seq & 0xFFFFFFFF) + gmac_iv
    return head + bytes(size - len(head))


def sign_ah(state: State, packet: bytes, at: int, seq: int) -> bytes:
    """The packet, whose AH header starts at `at`, with its ICV."""
    msg = bytearray(without_mutable(packet[:at]) + packet[at:])
    field_ = state.context.ah_seal(msg, at + 12, seq >> 32)
    return packet[: at + 12] + field_ + packet[at + 12 + len(field_) :]


def outer_ip4(sa: SecurityAssociation, ip: Ip, proto: int, size: int, ident: int, df_rule: str) -> bytes:
    """RFC 4301 section 5.1.2.1: DSCP and ECN of the inner packet; DF by rule; TTL as IOS."""
    df = {"copy": ip.df, "clear": False, "set": True}[df_rule]
    head = struct.pack("!BBHHHBBH", 0x45, ip.tos, 20 + size, ident & 0xFFFF, 0x4000 if df else 0, 255, proto, 0)
    return with_checksum(head + sa.src.packed + sa.dst.packed)


def outer_ip6(sa: SecurityAssociation, ip: Ip, proto: int, size: int) -> bytes:
    """RFC 4301 section 5.1.2.2; the flow label is that of an inner IPv6 packet."""
    label = int.from_bytes(ip.data[1:4]) & 0xFFFFF if ip.family == 6 else 0
    return struct.pack("!IHBB", 6 << 28 | ip.tos << 20 | label, size, proto, 64) + sa.src.packed + sa.dst.packed


def seal_tunnel(sas: list[State], seqs: list[int], ip: Ip, ident: int, df_rule: str) -> bytes:
    """Tunnel mode: ESP, or AH, or AH over ESP, behind one outer header. Raises Bad."""
    first = sas[0].sa
    family = first.src.version
    protocol = 4 if ip.family == 4 else 41
    inside = ip.data
    if first.proto == "esp":
        inside = udp_around(first, seal_esp(sas[0], seqs[0], inside, protocol))
        protocol = UDP if first.natt else ESP
    ah = sas[-1] if sas[-1].sa.proto == "ah" else None
    if ah is not None:
        inside = ah_header(ah, seqs[-1], protocol, family) + inside
        protocol = AH
    limit = 65515 if family == 4 else 65535
    if len(inside) > limit:
        raise Bad("OUT_TOO_LONG")
    if family == 4:
        outer = outer_ip4(first, ip, protocol, len(inside), ident, df_rule)
    else:
        outer = outer_ip6(first, ip, protocol, len(inside))
    return sign_ah(ah, outer + inside, len(outer), seqs[-1]) if ah is not None else outer + inside


def check_transport(sa: SecurityAssociation, ip: Ip) -> None:
    """Raises Bad where transport mode cannot carry the packet (RFC 4303 section 3.1.1)."""
    if ip.fragment:
        raise Bad("TRANSPORT_FRAGMENT")
    if ip.family != sa.src.version or ip.ends != (int(sa.src), int(sa.dst)):
        raise Bad("TRANSPORT_MISMATCH")


def seal_transport(sas: list[State], seqs: list[int], ip: Ip) -> bytes:
    """Transport mode: the headers stay, ESP or AH (or both) go in at `split`. Raises Bad."""
    first = sas[0].sa
    head, inside = bytearray(ip.data[: ip.split]), ip.data[ip.split :]
    protocol = head[ip.names_split]
    if first.proto == "esp":
        inside = udp_around(first, seal_esp(sas[0], seqs[0], inside, protocol))
        protocol = UDP if first.natt else ESP
    ah = sas[-1] if sas[-1].sa.proto == "ah" else None
    if ah is not None:
        inside = ah_header(ah, seqs[-1], protocol, ip.family) + inside
        protocol = AH
    head[ip.names_split] = protocol
    if ah is not None and len(head) > AH_HEADERS_MAX:
        raise Bad("AH_HEADERS")
    if len(head) + len(inside) > (65535 if ip.family == 4 else 65575):
        raise Bad("OUT_TOO_LONG")
    packet = with_length(bytes(head) + inside)
    return sign_ah(ah, packet, ip.split, seqs[-1]) if ah is not None else packet


# ------------------------------------------------------------------------------------------------ what came of it
@dataclass
class Outcome:
    """What became of one frame. `seq` and `spi` are those of the outermost SA, None where nothing is promised."""

    verdict: str
    cause: str = "NONE"
    packets: list[bytes] = field(default_factory=list)  # what was sent for it, an ICMP error about it included
    spi: int | None = None
    seq: int | None = None
    alarms: int = 0
    ip: Ip | None = None
    chain: list[State] = field(default_factory=list)  # SAs that were opened, outermost first
    protected: bool = False  # on the way out
    icmp: bool = False
    limited: bool = False  # an ICMP error was due and not sent
    made: int = 0  # packets more than there were, by fragmentation
    clamped: int = 0  # segment sizes that were lowered

    @property
    def data(self) -> bytes | None:
        """The packet that was sent, where there is one at most."""
        assert len(self.packets) < 2
        return self.packets[0] if self.packets else None

    def take(self, opened: "Outcome") -> None:
        """Go on with what came of opening the packet."""
        self.verdict, self.cause, self.ip, self.chain = opened.verdict, opened.cause, opened.ip, opened.chain
        self.spi, self.seq, self.alarms = opened.spi, opened.seq, opened.alarms


def is_protected(ip: Ip, sources: bool = False) -> bool:
    """ESP, AH, or UDP to the NAT-T port (RFC 3948); `sources`: or from it."""
    if ip.proto == UDP and not ip.later:
        return ip.dport == NATT_PORT or (sources and ip.sport == NATT_PORT)
    return ip.proto in (ESP, AH)


def locate(ip: Ip) -> tuple[int, bool, int, int]:
    """(50 or 51, in UDP?, first byte, last byte + 1) of the ESP or AH header. Raises Bad: a cause or a verdict."""
    if ip.fragment:
        raise Bad("FRAGMENT")
    proto, start, end, udp = ip.proto, ip.upper, len(ip.data), ip.proto == UDP
    if udp:
        if end - start < 8:
            raise Bad("RUNT")
        length = int.from_bytes(ip.data[start + 4 : start + 6])
        if length == 9 and ip.data[start + 8 : start + 9] == b"\xff":
            raise Bad("consumed")  # NAT keepalive
        if ip.data[start + 8 : start + 12] == bytes(4) or end - start < 16:
            raise Bad("punted")  # IKE behind the non-ESP marker
        proto, start, end = ESP, start + 8, min(end, start + length) if length >= 16 else end
    if end - start < (8 if proto == ESP else 12):
        raise Bad("RUNT")
    return proto, udp, start, end


@dataclass
class Inbound:
    """Opens packets with a set of SAs; `strict_udp`: an SA must be used with the encapsulation that it names;
    `sources`: the NAT-T port as source is looked at too, and makes ESP of what an SA is known for."""

    states: list[State]
    strict_udp: bool = False
    sources: bool = False

    def find(self, ip: Ip, proto: int, spi: int) -> State | None:
        """(SPI, destination, protocol); an SA without a destination takes what no exact one does."""
        name = "esp" if proto == ESP else "ah"
        fits = [s for s in self.states if s.sa.spi == spi and s.sa.proto == name]
        exact = [s for s in fits if s.sa.dst is not None and (s.sa.dst.version, int(s.sa.dst)) == (ip.family, ip.dst)]
        return next(iter(exact or [s for s in fits if s.sa.dst is None]), None)

    def receive(self, ip: Ip) -> Outcome:
        """All levels of a packet, outermost first. `ip` of the outcome is what is left; verdict "" = goes on."""
        out = Outcome("", ip=ip)
        while is_protected(ip, self.sources):
            perhaps = ip.proto == UDP and ip.dport != NATT_PORT
            try:
                proto, udp, start, end = locate(ip)
                spi, low = struct.unpack("!II", ip.data[start + (4 if proto == AH else 0) :][:8])
                state = self.find(ip, proto, spi)
            except Bad as bad:
                if out.chain or perhaps:
                    return out  # an inner packet for somebody else
                return _ended(out, bad.args[0])
            if state is None:
                if not out.chain and not perhaps:
                    out.spi, out.seq = spi, low
                    return _ended(out, "NO_SA")
                return out
            try:
                done = self._level(out, state, ip, (udp, start, end), low)
            except Bad as bad:
                out.alarms += bad.args[1] if len(bad.args) > 1 else 0
                return _ended(out, bad.args[0])
            if done:
                return out
            assert out.ip is not None
            ip = out.ip
        return out

    def _level(self, out: Outcome, state: State, ip: Ip, where: tuple[bool, int, int], low: int) -> bool:
        """Open one level into `out`; True when the packet ends here. Raises Bad."""
        udp, start, end = where
        if len(out.chain) >= LEVELS:
            raise Bad("NESTED_TOO_DEEP")
        if self.strict_udp and (state.sa.natt is not None) != udp:
            raise Bad("ENCAP_MISMATCH")
        seq = state.infer(low)
        esp = state.sa.proto == "esp"
        body = open_esp(state, ip.data[start:end], seq) if esp else open_ah(state, ip, seq)
        if not out.chain:
            out.spi, out.seq = state.sa.spi, seq
        if state.refuses(seq):
            state.replays += 1
            raise Bad("REPLAY")
        if body is None or body is False:
            state.bad_icv += 1
            raise Bad("ESN_GUESS" if state.sa.esn and seq >> 32 != state.top >> 32 else "INTEGRITY")
        state.accept(seq)
        state.packets += 1
        state.bytes += len(ip.data)
        out.chain.append(state)
        if isinstance(body, bytes):
            payload, next_header = strip_trailer(body)
        else:
            payload, next_header = ip.data[ip.upper + ah_size(ip) :], ip.data[ip.upper]
        done = self._decapsulate(out, state.sa, ip, payload, next_header)
        if not done:
            assert out.ip is not None
            _counted_as_sent(out, len(ip.data), len(out.ip.data))
        return done

    def _decapsulate(self, out: Outcome, sa: SecurityAssociation, ip: Ip, payload: bytes, next_header: int) -> bool:
        if next_header == NO_NEXT:  # RFC 4303 section 2.6
            out.verdict = "consumed"
            return True
        inner = next_header in (4, 41)
        if sa.mode == "tunnel" and not inner and next_header not in (ESP, AH):
            raise Bad("BAD_NEXT_HEADER")
        if inner and sa.mode != "transport":
            out.ip, alarm = from_tunnel(payload, next_header, ip.tos)
            out.alarms += alarm
        else:
            out.ip = from_transport(ip, payload, next_header)
        return False


def _counted_as_sent(out: Outcome, whole: int, inside: int) -> None:
    """Volume is counted as the sender counts it, without the protection; an AH counts what the ESP of its bundle
    counts. whole: bytes of the packet, which the last level has counted."""
    state = out.chain[-1]
    state.bytes += inside - whole
    over = out.chain[-2] if len(out.chain) > 1 else None
    if over is not None and (over.sa.proto, state.sa.proto) == ("ah", "esp") and over.sa.bundle == state.sa.bundle:
        over.bytes += inside - whole  # it had counted the ESP packet


def _ended(out: Outcome, why: str) -> Outcome:
    if why in ("consumed", "punted"):
        out.verdict = why
    else:
        out.verdict, out.cause = "dropped", why
    return out


def totals(outcomes: list[Outcome]) -> dict[str, Any]:
    """Verdicts, drops and bytes of a run, to compare with the counters of a result."""
    verdicts: dict[str, int] = {}
    drops: dict[str, int] = {}
    for o in outcomes:
        verdicts[o.verdict] = verdicts.get(o.verdict, 0) + 1
        if o.verdict == "dropped":
            drops[o.cause] = drops.get(o.cause, 0) + 1
    sent = [p for o in outcomes for p in o.packets]
    return {
        "verdicts": verdicts, "drops": drops, "packets_out": len(sent), "bytes_out": sum(map(len, sent)),
        "ecn_alarms": sum(o.alarms > 0 for o in outcomes), "icmp_sent": sum(o.icmp for o in outcomes),
        "icmp_limited": sum(o.limited for o in outcomes), "fragments_made": sum(o.made for o in outcomes),
        "mss_adjusted": sum(o.clamped for o in outcomes),
    }  # fmt: skip
