"""The slow twin of the capture walk: pcap and pcapng in plain Python, one obvious step after the other.

Also builders of captures for the tests, in either byte order.
"""

import struct
from dataclasses import dataclass, field
from fractions import Fraction

from qfp_kernels import capture as C

TS_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class Row:
    frame: int
    ts: int
    rec_at: int
    wire: int
    in_if: int
    link: int
    data: bytes


@dataclass
class Reading:
    rows: list[Row] = field(default_factory=list)
    damage: tuple[int, int] | None = None  # (damage code, byte position)
    interfaces: list[dict] = field(default_factory=list)


class Damaged(Exception):
    pass


def read(data: bytes) -> Reading:
    """All intact records of a capture whose first bytes name it."""
    out = Reading()
    try:
        if data[:4] == b"\n\r\r\n":
            _pcapng(data, out)
        else:
            _pcap(data, out)
    except Damaged as error:
        out.damage = error.args
    return out


def _pcap(data: bytes, out: Reading) -> None:
    order = "<" if struct.unpack_from("<I", data)[0] in (0xA1B2C3D4, 0xA1B23C4D) else ">"
    magic, _, _, _, _, snap, link = struct.unpack_from(order + "IHHiIII", data)
    scale = 1000 if magic == 0xA1B2C3D4 else 1
    most = min(max(snap, C.CAP_MAX), C.BLOCK_MAX)
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            raise Damaged(C.D_TRUNCATED, at)
        seconds, part, cap, wire = struct.unpack_from(order + "IIII", data, at)
        if cap > most:
            raise Damaged(C.D_CAPLEN, at)
        if at + 16 + cap > len(data):
            raise Damaged(C.D_TRUNCATED, at)
        ts = seconds * 10**9 + part * scale
        frame = data[at + 16 : at + 16 + cap]
        out.rows.append(Row(len(out.rows), ts, at, min(wire, 2**31 - 1), 0, link & 0xFFFF, frame))
        at += 16 + cap


def _pcapng(data: bytes, out: Reading) -> None:
    at, order, first = 0, "<", 0
    while at < len(data):
        if at + 12 > len(data):
            raise Damaged(C.D_TRUNCATED, at)
        section = data[at : at + 4] == b"\n\r\r\n"
        own = order
        if section:
            orders = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
            if data[at + 8 : at + 12] not in orders:
                raise Damaged(C.D_BYTE_ORDER, at)
            own = orders[data[at + 8 : at + 12]]
        kind, length = struct.unpack_from(own + "II", data, at)
        if length < 12 or length % 4 or length > C.BLOCK_MAX:
            raise Damaged(C.D_LENGTH, at)
        if at + length > len(data):
            raise Damaged(C.D_TRUNCATED, at)
        if struct.unpack_from(own + "I", data, at + length - 4)[0] != length:
            raise Damaged(C.D_TRAILER, at)
        block = data[at : at + length]
        if section:
            if length < 28:
                raise Damaged(C.D_LENGTH, at)
            if struct.unpack_from(own + "H", block, 12)[0] != 1:
                raise Damaged(C.D_VERSION, at)
            order, first = own, len(out.interfaces)
        elif kind == 1:
            out.interfaces.append(_interface(block, order, at))
        elif kind in (2, 3, 6):
            _packet(block, kind, order, at, first, out)
        at += length


def _interface(block: bytes, order: str, at: int) -> dict:
    if len(block) < 20:
        raise Damaged(C.D_LENGTH, at)
    link, _, snap = struct.unpack_from(order + "HHI", block, 8)
    found = {"link": link, "snap": snap, "unit": Fraction(1, 10**6), "offset": 0, "name": ""}
    body, k = block[16:-4], 0
    while k + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, k)
        value = body[k + 4 : k + 4 + size]
        if code == 0:
            break
        if k + 4 + size > len(body):
            raise Damaged(C.D_OPTION, at)
        if code == 2:
            found["name"] = value.decode("utf-8", "replace")
        if code == 9 and size:
            found["unit"] = Fraction(1, 2 ** (value[0] & 127)) if value[0] & 128 else Fraction(1, 10 ** value[0])
            if found["unit"] < Fraction(1, 10**27) if value[0] < 128 else value[0] & 127 > 63:
                raise Damaged(C.D_RESOLUTION, at)
        if code == 14 and size >= 8:
            seconds = struct.unpack_from(order + "q", value)[0]
            found["offset"] = max(min(seconds, 9223372036), -9223372036) * 10**9
        k += 4 + size + -size % 4
    return found


def _packet(block: bytes, kind: int, order: str, at: int, first: int, out: Reading) -> None:
    known = out.interfaces[first:]
    if len(block) < (16 if kind == 3 else 32):
        raise Damaged(C.D_LENGTH, at)
    if kind == 3:
        wire = struct.unpack_from(order + "I", block, 8)[0]
        snap = known[0]["snap"] if known else 0
        interface, cap, lead, room = 0, min(wire, snap or wire), 12, len(block) - 16
    else:
        interface = struct.unpack_from(order + ("I" if kind == 6 else "H"), block, 8)[0]
        high, low, cap, wire = struct.unpack_from(order + "IIII", block, 12)
        lead, room = 28, len(block) - 32
    if cap > room:
        raise Damaged(C.D_CAPLEN, at)
    if interface >= len(known):
        raise Damaged(C.D_INTERFACE, at)
    link = known[interface]
    ts = 0 if kind == 3 else _time(high << 32 | low, link)
    row = Row(len(out.rows), ts, at, min(wire, 2**31 - 1), first + interface, link["link"], block[lead : lead + cap])
    out.rows.append(row)


def _time(ticks: int, link: dict) -> int:
    ns = int(ticks * link["unit"] * 10**9)
    # the walk stops counting at the last whole second below 2**63 ns for binary units
    if link["unit"].denominator & (link["unit"].denominator - 1) == 0 and ticks * link["unit"] >= TS_MAX // 10**9:
        ns = TS_MAX
    ns = min(ns, TS_MAX)
    return min(ns + link["offset"], TS_MAX)


# ------------------------------------------------------------------------------------------------ builders
def pcap(frames: list[bytes], order: str = "<", nano: bool = True, link: int = 101, snap: int = 65535) -> bytes:
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link)
    for k, f in enumerate(frames):
        out += struct.pack(order + "IIII", 1000 + k, 7 * k, len(f), len(f) + k) + f
    return out


def block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def option(code: int, value: bytes, order: str) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def shb(order: str) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def idb(order: str, link: int = 1, snap: int = 0, res: int | None = None, offset: int = 0, name: str = "") -> bytes:
    body = struct.pack(order + "HHI", link, 0, snap)
    body += option(2, name.encode(), order) if name else b""
    body += option(9, bytes([res]), order) if res is not None else b""
    body += option(14, struct.pack(order + "q", offset), order) if offset else b""
    return block(1, body + option(0, b"", order), order)


def epb(order: str, interface: int, ticks: int, data: bytes, wire: int | None = None) -> bytes:
    size = len(data) if wire is None else wire
    body = struct.pack(order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), size) + data
    return block(6, body, order)


def pb(order: str, interface: int, ticks: int, data: bytes) -> bytes:
    head = struct.pack(order + "HHIIII", interface, 3, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data, order)


def spb(order: str, data: bytes, wire: int | None = None) -> bytes:
    return block(3, struct.pack(order + "I", len(data) if wire is None else wire) + data, order)
