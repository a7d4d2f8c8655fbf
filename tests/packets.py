"""Packets to order, for tests: plain bytes, no library."""

import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st
from naive import checksum, with_checksum

OPTIONS4 = [
    b"",
    b"\x94\x04\0\0",  # router alert: immutable for AH
    b"\x07\x07\x04\0\0\0\0\x01",  # record route: mutable
    b"\x44\x0c\x05\0\0\0\0\0\0\0\0\0",  # timestamp
    b"\x01\x01\x82\x04\x03\x04\0\0",  # no-ops, security, end
]
HEADERS6 = [
    [],
    [(0, bytes([5, 2, 0, 0, 1, 0]))],  # hop-by-hop: router alert, PadN
    [(0, bytes([0x3E, 4, 1, 2, 3, 4]))],  # an option that may change en route
    [(60, bytes([1, 4, 0, 0, 0, 0]))],  # destination options
    [(0, bytes([1, 4, 0, 0, 0, 0])), (60, bytes([0x1E, 2, 9, 9, 0, 0])), (43, bytes([4, 0, 0, 0, 0, 0]))],
    [(44, b"\0\0\0\0\0\x07")],  # an atomic fragment
]


def ip4(
    src: str, dst: str, payload: bytes, proto: int = 17, *, tos: int = 0, ttl: int = 64, flags: int = 0,
    options: bytes = b"", ident: int = 7,
) -> bytes:  # fmt: skip
    size = 20 + len(options)
    words = (0x40 | size // 4, tos, size + len(payload), ident, flags, ttl, proto, 0)
    head = struct.pack("!BBHHHBBH", *words) + ip_address(src).packed + ip_address(dst).packed
    return with_checksum(head + options) + payload


def ip6(
    src: str, dst: str, payload: bytes, proto: int = 17, *, tos: int = 0, ttl: int = 64, label: int = 0,
    headers: Any = (),
) -> bytes:  # fmt: skip
    """`headers`: (protocol, what follows the next-header octet; the length octet is put in, but for fragments)."""
    chain = b""
    kinds = [kind for kind, _ in headers] + [proto]
    for (_, body), after in zip(headers, kinds[1:], strict=True):
        chain += bytes([after, 0]) + body
    head = struct.pack("!IHBB", 6 << 28 | tos << 20 | label, len(chain) + len(payload), kinds[0], ttl)
    return head + ip_address(src).packed + ip_address(dst).packed + chain + payload


def udp(sport: int, dport: int, data: bytes = b"") -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def tcp_syn(mss: int, odd: bool = False) -> bytes:
    """A SYN with an MSS option, on request at an odd place."""
    options = (b"\x01" if odd else b"\x01\x01") + struct.pack("!BBH", 2, 4, mss) + bytes(3 if odd else 2)
    return struct.pack("!HHIIBBHHH", 1024, 80, 1, 0, (20 + len(options)) // 4 << 4, 2, 8192, 0x1234, 0) + options


def icmp(kind: int, code: int = 0, data: bytes = b"") -> bytes:
    head = bytes([kind, code, 0, 0]) + data
    return head[:2] + struct.pack("!H", checksum(head + bytes(len(head) % 2))) + head[4:]


@st.composite
def upper(draw: st.DrawFn) -> tuple[int, bytes]:
    """(protocol, its header and data)."""
    data = draw(st.binary(max_size=24)) + bytes(draw(st.sampled_from([0, 0, 1, 13, 100, 555, 1400])))
    port = st.sampled_from([0, 53, 80, 443, 500, 1023, 1024, 8080, 65535])
    proto = draw(st.sampled_from([17, 17, 6, 1, 47, 132]))
    if proto == 1:
        return 1, icmp(draw(st.sampled_from([0, 3, 8, 11])), 0, data)
    return proto, struct.pack("!HH", draw(port), draw(port)) + bytes(4) + data


@st.composite
def packet4(draw: st.DrawFn, src: st.SearchStrategy[str], dst: st.SearchStrategy[str], plain: bool = False) -> bytes:
    proto, payload = draw(upper())
    flags = draw(st.sampled_from([0, 0x4000] if plain else [0, 0, 0x4000, 0x2000, 0x00B9, 0x20B9]))
    return ip4(
        draw(src), draw(dst), payload, proto, tos=draw(st.integers(0, 255)), flags=flags,
        ttl=draw(st.sampled_from([64, 64, 255, 2, 1, 0])), options=draw(st.sampled_from(OPTIONS4)),
    )  # fmt: skip


@st.composite
def packet6(draw: st.DrawFn, src: st.SearchStrategy[str], dst: st.SearchStrategy[str], plain: bool = False) -> bytes:
    proto, payload = draw(upper())
    headers = draw(st.sampled_from(HEADERS6 if plain else [*HEADERS6, [(44, b"\0\x01\0\0\0\x07")]]))
    return ip6(
        draw(src), draw(dst), payload, 58 if proto == 1 else proto, tos=draw(st.integers(0, 255)),
        ttl=draw(st.sampled_from([64, 64, 255, 2, 1, 0])), label=draw(st.integers(0, 2**20 - 1)), headers=headers,
    )  # fmt: skip
