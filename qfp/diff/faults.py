"""Where the oracle is no judge: known to be wrong, or free to choose otherwise. Skipped with the reason, and counted.

Published packets (RFC vectors, recorded captures) decide about these; they are in tests/vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qfp.diff.oracle_names import ORACLE_CIPHERS, ORACLE_INTEGRITIES
from qfp.diff.packet import DESTINATION, FRAGMENT, ROUTING, Packet
from qfp.sa import SecurityAssociation

ESP, UDP = 50, 17
NATT_PORT = 4500
COMMON_OPTIONS = (1, 7, 0x44, 0x5E, 0x82, 0x83, 0x85, 0x86, 0x94)  # RFC 791, 1108, 2113, CIPSO, experimental
LONGEST = 65535 - 256  # a packet that fits with any protection
# The ways of comparing: see compare.py and capture.py
SEAL, ORACLE_OPENS, QFP_OPENS, BOTH_OPEN = "seal", "oracle opens", "qfp opens", "both open"


@dataclass(frozen=True)
class Fault:
    """One reason not to compare: whose algorithm, under which condition, and why the oracle is no judge there."""

    name: str
    algorithm: str
    condition: str
    why: str
    applies: Callable[[SecurityAssociation, Packet], bool]
    only: str | None = None  # the one way of comparing that it spoils, None = all


def _transport6(sa: SecurityAssociation, packet: Packet) -> bool:
    return sa.mode == "transport" and packet.family == 6


def _lone_destination(sa: SecurityAssociation, packet: Packet) -> bool:
    """Destination options without a routing header: RFC 4303 3.1.1 lets the sender choose."""
    kinds = [kind for kind, _ in packet.extensions]
    return _transport6(sa, packet) and DESTINATION in kinds and ROUTING not in kinds


def _short_tag(sa: SecurityAssociation, _: Packet) -> bool:
    return sa.encr in ("aes-gcm", "aes-gmac", "chacha20-poly1305") and sa.icv_len != 16


def _holds_esp(sa: SecurityAssociation, packet: Packet) -> bool:
    ports = packet.payload[:2], packet.payload[2:4]
    in_udp = packet.protocol == UDP and NATT_PORT.to_bytes(2) in ports
    return sa.proto == "ah" and (packet.protocol == ESP or in_udp)


def _natt_extensions(sa: SecurityAssociation, packet: Packet) -> bool:
    return sa.natt is not None and _transport6(sa, packet) and bool(packet.extensions)


def _odd_options(sa: SecurityAssociation, packet: Packet) -> bool:
    """Options that are malformed, or that nobody sends."""
    at, options = 0, packet.options
    while at < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 else int.from_bytes(options[at + 1 : at + 2])
        if options[at] not in COMMON_OPTIONS or size < 1 or at + size > len(options) or (options[at] != 1 and size < 2):
            break
        at += size
    return sa.mode == "transport" and any(options[at:])


def _segments_left(sa: SecurityAssociation, packet: Packet) -> bool:
    routed = (body for kind, body in packet.extensions if kind == ROUTING)
    return sa.proto == "ah" and _transport6(sa, packet) and any(body[3] for body in routed)


def _odd_port(sa: SecurityAssociation, _: Packet) -> bool:
    return sa.natt is not None and NATT_PORT not in sa.natt


def _unknown(sa: SecurityAssociation, _: Packet) -> bool:
    return sa.encr not in ORACLE_CIPHERS or sa.integ not in ORACLE_INTEGRITIES


FAULTS = (
    Fault("open ends", "all", "the SA has no addresses or no mode", "nothing can be sealed with it",
          lambda sa, _: sa.src is None or sa.dst is None or sa.mode is None, SEAL),
    Fault("hop limit", "all", "TTL or hop limit 0 or 1", "a router drops the packet; scapy does not forward",
          lambda _, packet: packet.hops <= 1, SEAL),
    Fault("too long", "all", "packet above 65,279 bytes", "scapy does not refuse what outgrows an IP packet",
          lambda _, packet: len(packet.build()) > LONGEST, SEAL),
    Fault("unknown algorithm", "HMAC-SHA-256-96, AES-XCBC-96, AES-GMAC in AH", "always",
          "scapy does not have it", _unknown),
    Fault("short tag", "AES-GCM, ChaCha20-Poly1305", "ICV of 8 or 12 bytes",
          "scapy's tag is always 16 bytes, so that crypt_icv_size is wrong both ways (#4903)", _short_tag),
    Fault("fragment", "all", "transport mode, fragment",
          "scapy protects fragments; RFC 4303 section 3.1.1 has only whole packets protected in transport mode",
          lambda sa, packet: sa.mode == "transport" and packet.is_fragment),
    Fault("odd options", "all", "transport mode, IPv4 options that are malformed or in nobody's use",
          "scapy fails on them, or clears bytes behind the end of the list", _odd_options),
    Fault("fragment header", "all", "transport mode, IPv6 fragment header",
          "scapy puts ESP and AH before it; RFC 4303 section 3.1.1 behind it",
          lambda sa, packet: _transport6(sa, packet) and FRAGMENT in [kind for kind, _ in packet.extensions]),
    Fault("destination options", "all", "transport mode, IPv6 destination options without a routing header",
          "scapy puts ESP and AH behind them, qfp before: RFC 4303 section 3.1.1 allows both", _lone_destination),
    Fault("nat-t extensions", "all", "NAT-T in transport mode, IPv6 extension headers",
          "scapy leaves 50 as next header of the last extension header, though UDP follows", _natt_extensions),
    Fault("ah over esp", "AH", "the packet under AH holds ESP, or UDP on port 4500 (bundles too)",
          "scapy signs the ESP header that it finds, not the AH packet", _holds_esp),
    Fault("payload as extension", "all", "opening in transport mode, IPv6 extension headers",
          "scapy reads the payload as another header of the first one's kind and fails on short ones",
          lambda sa, packet: _transport6(sa, packet) and bool(packet.extensions), ORACLE_OPENS),
    Fault("under way", "AH", "opening, IPv6 routing header with segments left",
          "the ICV covers the header as the last receiver sees it (RFC 4302 section 3.3.3.1.2), and the packet is not "
          "there yet", _segments_left, QFP_OPENS),
    Fault("nat-t port", "all", "opening, UDP ports other than 4500", "scapy finds ESP on port 4500 only", _odd_port,
          ORACLE_OPENS),
)  # fmt: skip


def fault(sa: SecurityAssociation, packet: Packet, way: str) -> Fault | None:
    """The first reason not to compare this packet under this SA in this way, or None."""
    return next((f for f in FAULTS if f.only in (None, way) and f.applies(sa, packet)), None)
