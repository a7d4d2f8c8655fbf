"""The fixed parts of capture files: pcap file header, pcapng section and interface blocks, names in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from qfp.trace.errors import TraceError
from qfp_kernels.capture import BLOCK_MAX, CAP_MAX

PCAP_FILE_HEADER = 24  # bytes
_MICRO, _NANO, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_SECTION = b"\x0a\x0d\x0d\x0a"
PARQUET, ARROW, GZIP, ZSTD = b"PAR1", b"ARROW1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SNAP = 262144


@dataclass(frozen=True)
class PcapHeader:
    """What a pcap file header says."""

    swap: int  # 1 = written in the other byte order
    scale: int  # ns in one unit of the fraction
    link: int  # LINKTYPE_ number, FCS bits removed
    cap_max: int  # largest credible captured length, bytes


def kind_of(head: bytes) -> str:
    """Format that the first bytes of a file announce: pcap, pcapng, parquet, arrow, gzip, zstd, or nothing."""
    for magic, kind in ((_SECTION, "pcapng"), (PARQUET, "parquet"), (ARROW, "arrow"), (GZIP, "gzip"), (ZSTD, "zstd")):
        if head.startswith(magic):
            return kind
    if len(head) >= 4 and (head[0] & 0xF0, head[1:4]) == (0x50, b"\x2a\x4d\x18"):
        return "zstd"  # a skippable frame
    known = (_MICRO, _NANO, _MODIFIED)
    if len(head) >= 4 and (struct.unpack_from("<I", head)[0] in known or struct.unpack_from(">I", head)[0] in known):
        return "pcap"
    return ""


def pcap_header(head: bytes, name: str) -> PcapHeader:
    """Read a pcap file header. Raises TraceError when it is cut short, of another version or variant."""
    if len(head) < PCAP_FILE_HEADER:
        raise TraceError(f"{name}: ends inside its 24-byte pcap file header: copy or capture the file again")
    order = "<" if struct.unpack_from("<I", head)[0] in (_MICRO, _NANO, _MODIFIED) else ">"
    magic, major, _minor, _zone, _figs, snap, link = struct.unpack_from(order + "IHHiIII", head)
    if magic == _MODIFIED:
        raise TraceError(
            f"{name}: modified pcap (magic a1b2cd34, longer record headers) is not read: "
            "convert it with `editcap -F pcapng IN OUT`"
        )
    if major != 2:
        raise TraceError(f"{name}: pcap version {major} is not read, only 2: convert it with `editcap -F pcap IN OUT`")
    scale = 1 if magic == _NANO else 1000
    return PcapHeader(int(order == ">"), scale, link & 0xFFFF, min(max(snap, CAP_MAX), BLOCK_MAX))


def write_pcap_header(link: int) -> bytes:
    """pcap file header, little endian, ns."""
    return struct.pack("<IHHiIII", _NANO, 2, 4, 0, 0, SNAP, link)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def section_block() -> bytes:
    """Section header block, little endian, length of the section not said."""
    body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, b"qfp") + _option(0, b"")
    return _block(0x0A0D0D0A, body)


def interface_block(name: str, link: int) -> bytes:
    """Interface description block: name (when there is one), times in ns."""
    named = _option(2, name.encode()[:65000]) if name else b""
    return _block(1, struct.pack("<HHI", link, 0, SNAP) + named + _option(9, b"\x09") + _option(0, b""))


def interface_name(block: bytes, swapped: bool) -> str:
    """if_name of an interface description block that the walk accepted; empty when it has none."""
    order = ">" if swapped else "<"
    at, stop = 16, len(block) - 4
    while at + 4 <= stop:
        code, size = struct.unpack_from(order + "HH", block, at)
        if code == 0:
            break
        if code == 2:
            return block[at + 4 : at + 4 + size].rstrip(b"\0").decode("utf-8", "replace")
        at += 4 + size + (-size % 4)
    return ""
