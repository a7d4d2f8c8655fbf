"""Where the oracle is known to be wrong, or to choose otherwise than qfp may: skipped with the reason, and counted.

Published packets (RFC vectors, recorded captures) decide about these; they are in tests/vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qfp.diff.oracle_names import ORACLE_CIPHERS, ORACLE_INTEGRITIES
from qfp.diff.packet import DESTINATION, FRAGMENT, ROUTING, Packet
from qfp.sa import SecurityAssociation

ESP, AH = 50, 51
SEAL, ORACLE_OPENS, QFP_OPENS = "seal", "oracle opens", "qfp opens"  # the ways of comparing, see compare.py


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


def _late_destination(sa: SecurityAssociation, packet: Packet) -> bool:
    """Destination options that no routing header follows: RFC 4303 3.1.1 lets the sender choose."""
    kinds = [kind for kind, _ in packet.extensions]
    routed = ROUTING in kinds
    return _transport6(sa, packet) and DESTINATION in kinds and not (routed and DESTINATION in kinds[kinds.index(43) :])


def _short_tag(sa: SecurityAssociation, _: Packet) -> bool:
    return sa.encr in ("aes-gcm", "aes-gmac", "chacha20-poly1305") and sa.icv_len != 16


def _holds_esp(sa: SecurityAssociation, packet: Packet) -> bool:
    return sa.proto == "ah" and packet.protocol == ESP


def _natt_extensions(sa: SecurityAssociation, packet: Packet) -> bool:
    return sa.natt is not None and _transport6(sa, packet) and bool(packet.extensions)


def _unknown(sa: SecurityAssociation, _: Packet) -> bool:
    return sa.encr not in ORACLE_CIPHERS or sa.integ not in ORACLE_INTEGRITIES


FAULTS = (
    Fault("unknown algorithm", "HMAC-SHA-256-96, AES-XCBC-96, AES-GMAC in AH", "always",
          "scapy does not have it", _unknown),
    Fault("short tag", "AES-GCM, ChaCha20-Poly1305", "ICV of 8 or 12 bytes",
          "scapy's tag is always 16 bytes, so that crypt_icv_size is wrong both ways (#4903)", _short_tag),
    Fault("fragment", "all", "transport mode, fragment",
          "scapy protects fragments; RFC 4303 section 3.1.1 has only whole packets protected in transport mode",
          lambda sa, packet: sa.mode == "transport" and packet.is_fragment),
    Fault("fragment header", "all", "transport mode, IPv6 fragment header",
          "scapy puts ESP and AH before it; RFC 4303 section 3.1.1 behind it",
          lambda sa, packet: _transport6(sa, packet) and FRAGMENT in [kind for kind, _ in packet.extensions]),
    Fault("destination options", "all", "transport mode, IPv6 destination options without a routing header before them",
          "scapy puts ESP and AH behind them, qfp before: RFC 4303 section 3.1.1 allows both", _late_destination),
    Fault("nat-t extensions", "all", "NAT-T in transport mode, IPv6 extension headers",
          "scapy leaves 50 as next header of the last extension header, though UDP follows", _natt_extensions),
    Fault("ah over esp", "AH", "the packet under AH holds ESP (bundles too)",
          "scapy signs the ESP header that it finds, not the AH packet", _holds_esp),
    Fault("payload as extension", "all", "opening in transport mode, IPv6 extension headers",
          "scapy reads the payload as another header of the first one's kind and fails on short ones",
          lambda sa, packet: _transport6(sa, packet) and bool(packet.extensions), ORACLE_OPENS),
)  # fmt: skip


def fault(sa: SecurityAssociation, packet: Packet, way: str) -> Fault | None:
    """The first reason not to compare this packet under this SA in this way, or None."""
    return next((f for f in FAULTS if f.only in (None, way) and f.applies(sa, packet)), None)
