"""Cases: an SA and packets for it. `matrix` walks every combination once, `random_cases` draws them from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product
from typing import Any, Literal

from qfp.algorithms import CIPHERS, INTEGRITIES, cipher, integrity
from qfp.diff.oracle_names import ORACLE_CIPHERS, ORACLE_INTEGRITIES
from qfp.diff.packet import DESTINATION, DF, FRAGMENT, HOP_BY_HOP, ROUTING, Packet
from qfp.sa import SecurityAssociation

Proto = Literal["esp", "ah"]
Mode = Literal["tunnel", "transport"]
Address = IPv4Address | IPv6Address
ENDS: dict[int, tuple[Address, Address]] = {
    4: (IPv4Address("203.0.113.1"), IPv4Address("198.51.100.7")),
    6: (IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:2::7")),
}
NATT_PORTS = (4500, 4500)
UNNAMED_PROTOCOL = 253  # RFC 3692: for experiments, so no dissector has an opinion about the payload
# IPv4 options (type, data): the first three arrive unchanged, routers write into the others (RFC 4302 appendix A1)
OPTIONS4 = (
    b"\x01", b"\x94\x04\x00\x00", b"\x82\x0b" + bytes(range(9)), b"\x07\x0b\x04" + bytes(8),
    b"\x44\x0c\x05\x00" + bytes(8), b"\x5e\x06abcd",
)  # fmt: skip
# IPv6 options: PadN, experimental, and one whose data may change on the way (bit 0x20)
OPTIONS6 = (b"\x01\x02\x00\x00", b"\x1e\x04abcd", b"\x3e\x08changing")
SIZES = (0, 1, 2, 3, 5, 13, 14, 15, 16, 17, 31, 46, 64, 95, 128, 257, 576, 1400, 1480)


@dataclass(frozen=True)
class Case:
    """An SA (its `seq` is the number of the first packet) and the packets that it seals, one number after the other."""

    sa: SecurityAssociation
    packets: tuple[Packet, ...]

    @property
    def name(self) -> str:
        """The SA in a few words."""
        sa = self.sa
        what = f"{sa.encr}-{8 * len(sa.encr_key)}/{sa.integ} icv {sa.icv_len}" if sa.proto == "esp" else sa.integ
        outer = sa.dst.version if sa.dst is not None else "any"
        words = [sa.proto, sa.mode or "any mode", what, f"over IPv{outer}"]
        return " ".join(words + ["esn"] * sa.esn + ["nat-t"] * (sa.natt is not None))


# ------------------------------------------------------------------------------------------------------- SAs
def algorithms() -> Iterator[tuple[Proto, str, int, str, int]]:
    """(protocol, cipher, key bytes, integrity, ICV bytes) of everything that both sides know."""
    for name in ORACLE_CIPHERS:
        for key in CIPHERS[name].key_lengths:
            if CIPHERS[name].aead:
                yield from (("esp", name, key, "none", icv) for icv in CIPHERS[name].icvs)
            else:
                yield from (("esp", name, key, i, INTEGRITIES[i].icv) for i in ORACLE_INTEGRITIES)
    yield from (("ah", "null", 0, i, INTEGRITIES[i].icv) for i in ORACLE_INTEGRITIES if i != "none")


def make_sa(
    rng: random.Random, proto: Proto, encr: str, key: int, integ: str, icv: int, *, mode: Mode, outer: int,
    esn: bool, natt: tuple[int, int] | None, seq: int = 1,
) -> SecurityAssociation:  # fmt: skip
    """An SA with keys from the generator."""
    src, dst = ENDS[outer]
    return SecurityAssociation(
        proto=proto, spi=rng.randrange(256, 2**32), src=src, dst=dst, mode=mode, encr=encr,
        encr_key=rng.randbytes(key), salt=rng.randbytes(cipher(encr).salt), integ=integ,
        integ_key=rng.randbytes(integrity(integ).key), icv_len=icv, esn=esn, natt=natt, seq=seq, replay_window=64,
        allow_null=True,
    )  # fmt: skip


def _first_number(rng: random.Random, esn: bool, packets: int) -> int:
    """Where numbering starts: at the boundaries that bite, or anywhere."""
    top = (2**64 if esn else 2**32) - packets
    places = [1, rng.randrange(1, 2**32 - packets), top]
    if esn:
        places += [2**32 - 1, 2**32, rng.randrange(1, top)]
    return rng.choice(places)


# --------------------------------------------------------------------------------------------------- packets
def _address(rng: random.Random, width: int) -> int:
    """Any address that routers forward, as source and as destination."""
    while True:
        found = ip_address(rng.randbytes(width))
        never = found.is_multicast or found.is_loopback or found.is_link_local or found.is_unspecified
        if not never and (width == 16 or 1 <= int(found) >> 24 < 240):
            return int(found)


def _options4(rng: random.Random) -> bytes:
    chosen = b""
    for option in rng.sample(OPTIONS4, rng.randrange(1, 4)):
        if len(chosen) + len(option) <= 40:
            chosen += option
    return chosen + b"\x01" * (-len(chosen) % 4)


def _options6(rng: random.Random) -> bytes:
    """An options header: the next-header byte is left open."""
    body = b"".join(rng.sample(OPTIONS6, rng.randrange(1, 3)))
    room = -(2 + len(body)) % 8
    padding = b"" if room == 0 else b"\0" if room == 1 else bytes([1, room - 2]) + bytes(room - 2)
    whole = b"\0\0" + body + padding
    return bytes([0, len(whole) // 8 - 1]) + whole[2:]


def _extensions(rng: random.Random) -> tuple[tuple[int, bytes], ...]:
    out = []
    if rng.random() < 0.6:
        out.append((HOP_BY_HOP, _options6(rng)))
    if rng.random() < 0.5:
        left = rng.randrange(2)
        out.append((ROUTING, bytes([0, 2, 0, left]) + bytes(4) + ENDS[6][1].packed))
    if rng.random() < 0.2:
        out.append((FRAGMENT, b"\0\0" + rng.choice((b"\0\0", b"\0\x01", b"\x05\x40")) + rng.randbytes(4)))
    if rng.random() < 0.4:
        out.append((DESTINATION, _options6(rng)))
    return tuple(out)


def _upper(rng: random.Random, size: int) -> tuple[int, bytes]:
    """Protocol and payload: UDP, TCP or ICMP with plausible headers, or bytes that nothing can read."""
    kind = rng.choice((1, 6, 17, UNNAMED_PROTOCOL))
    data = rng.randbytes(size)
    if kind == 17 and size >= 8:
        ports = rng.randrange(5000, 60000), rng.randrange(5000, 60000)
        return 17, ports[0].to_bytes(2) + ports[1].to_bytes(2) + size.to_bytes(2) + data[6:]
    if kind == 6 and size >= 20:
        return 6, data[:12] + b"\x50\x18" + data[14:]
    if kind == 1 and size >= 8:
        return 1, b"\x08\x00" + data[2:]
    return UNNAMED_PROTOCOL, data


def random_packet(
    rng: random.Random, family: int, ends: tuple[Address, Address] | None = None, size: int | None = None
) -> Packet:
    """A packet with random header fields. `ends`: its addresses (for transport mode), else any."""
    width = 4 if family == 4 else 16
    src, dst = (int(a) for a in ends) if ends else (_address(rng, width) for _ in range(2))
    protocol, payload = _upper(rng, rng.choice(SIZES) if size is None else size)
    common: dict[str, Any] = {"tos": rng.randrange(256), "hops": rng.randrange(2, 256)}
    if family == 6:
        label, chain = rng.randrange(2**20), _extensions(rng) if rng.random() < 0.4 else ()
        return Packet(6, src, dst, protocol, payload, label=label, extensions=chain, **common)
    fragment = rng.choice((0, DF, DF, 0x2000, 0x00B9)) if rng.random() < 0.3 else rng.choice((0, DF))
    options = _options4(rng) if rng.random() < 0.3 else b""
    return Packet(
        4, src, dst, protocol, payload, ident=rng.randrange(2**16), fragment=fragment, options=options, **common
    )


def _packets(rng: random.Random, mode: Mode, outer: int, count: int, inner: int | None = None) -> tuple[Packet, ...]:
    if mode == "transport":
        return tuple(random_packet(rng, outer, ENDS[outer]) for _ in range(count))
    return tuple(random_packet(rng, inner or rng.choice((4, 6))) for _ in range(count))


# ----------------------------------------------------------------------------------------------------- cases
def matrix(seed: int, packets: int) -> Iterator[Case]:
    """Every algorithm with every mode, outer family, ESN and NAT-T setting; tunnels carry both families."""
    rng = random.Random(seed)
    for row, mode, outer, esn, natt in product(algorithms(), ("tunnel", "transport"), (4, 6), (False, True), (0, 1)):
        if natt and row[0] == "ah":
            continue  # AH covers the addresses that a NAT changes: it is never encapsulated (RFC 3948 section 1)
        how: Mode = "tunnel" if mode == "tunnel" else "transport"
        ports = NATT_PORTS if natt else None
        seq = _first_number(rng, esn, packets)
        sa = make_sa(rng, *row, mode=how, outer=outer, esn=esn, natt=ports, seq=seq)
        inner = [6, 4] * packets
        yield Case(sa, tuple(_packets(rng, how, outer, 1, inner[k])[0] for k in range(packets)))


def random_cases(seed: int, count: int, burst: int = 8) -> Iterator[Case]:
    """`count` packets in cases of up to `burst`, everything about them drawn from the seed."""
    rng = random.Random(seed)
    rows = list(algorithms())
    while count > 0:
        packets = min(count, rng.randrange(1, burst + 1))
        row = rng.choice(rows)
        mode: Mode = "transport" if rng.random() < 0.5 else "tunnel"
        outer, esn = rng.choice((4, 6)), rng.random() < 0.5
        natt = None
        if row[0] == "esp" and rng.random() < 0.4:
            natt = rng.choice((NATT_PORTS, (rng.randrange(1024, 65536), 4500)))
        seq = _first_number(rng, esn, packets)
        sa = make_sa(rng, *row, mode=mode, outer=outer, esn=esn, natt=natt, seq=seq)
        yield Case(sa, _packets(rng, mode, outer, packets))
        count -= packets
