"""Shrink: from a packet on which the two sides disagree to the smallest one that still shows it.

Greedy: the first simpler packet that still differs in the same way becomes the packet, until none is left.
"""

from collections.abc import Iterator
from dataclasses import replace

from qfp.diff.cases import Case
from qfp.diff.compare import Difference, Judge, compare_all
from qfp.diff.packet import Packet
from qfp.sa import SecurityAssociation

TRIES = 600
PLAIN_ADDRESSES = {4: (0xC0000201, 0xC0000202), 6: (0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2)}


def _option_items(options: bytes) -> Iterator[bytes]:
    """The options of an IPv4 header one by one, each filled up to 4 bytes with no-ops; malformed ones end the walk."""
    at = 0
    while at < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 or at + 1 >= len(options) else max(2, options[at + 1])
        item = options[at : at + size]
        yield item + b"\x01" * (-len(item) % 4)
        at += size


def _zeroed(payload: bytes) -> Iterator[bytes]:
    """The payload with all, halves, quarters … of its bytes set to zero."""
    piece = len(payload)
    while piece >= 1:
        for at in range(0, len(payload), piece):
            if any(payload[at : at + piece]):
                yield payload[:at] + bytes(min(piece, len(payload) - at)) + payload[at + piece :]
        piece //= 2


def simpler(packet: Packet, transport: bool) -> Iterator[Packet]:
    """Simpler packets, the boldest steps first. In transport mode the addresses belong to the SA."""
    size = len(packet.payload)
    cut = size
    while cut >= 1:
        yield replace(packet, payload=packet.payload[: size - cut])
        cut //= 2
    yield replace(packet, options=b"")
    for item in _option_items(packet.options):
        yield replace(packet, options=item)
    for k in range(len(packet.extensions)):
        yield replace(packet, extensions=packet.extensions[:k] + packet.extensions[k + 1 :])
    yield replace(packet, protocol=253)
    yield replace(packet, tos=0)
    yield replace(packet, fragment=0)
    yield replace(packet, ident=0)
    yield replace(packet, label=0)
    yield replace(packet, hops=64)
    if not transport:
        src, dst = PLAIN_ADDRESSES[packet.family]
        yield replace(packet, src=src, dst=dst)
    for payload in _zeroed(packet.payload):
        yield replace(packet, payload=payload)


def _candidates(sa: SecurityAssociation, packet: Packet) -> Iterator[tuple[SecurityAssociation, Packet]]:
    if sa.seq != 1:
        yield replace(sa, seq=1), packet
    for smaller in simpler(packet, sa.mode == "transport"):
        if smaller != packet:
            yield sa, smaller


def shrink(found: Difference, judge: Judge, engine: str | None = None, tries: int = TRIES) -> Difference:
    """The smallest difference of the same way that at most `tries` comparisons find. Raises OracleError."""
    while True:
        for sa, packet in _candidates(found.sa, found.packet):
            tries -= 1
            if tries < 0:
                return found
            report = compare_all([Case(sa, (packet,))], judge, engine=engine)
            same = next((d for d in report.differences if d.way == found.way), None)
            if same is not None:
                found = same
                break
        else:
            return found
