"""How long packets become, and how long they may be: PF-2, and the MTUs of interfaces.

Written from the formats: RFC 4303 section 2 (ESP), RFC 4302 section 2 (AH), RFC 3948 (UDP), RFC 2784 and 2890 (GRE).
"""

from functools import cache
from typing import Any

from naive import Ip

from qfp.sa import SecurityAssociation

DEFAULT_MTU = 1500
LEAST = {4: 68, 6: 1280}  # RFC 791 section 3.2, RFC 8200 section 5
IP_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
SPI_AND_NUMBER = 8
LONGEST = 65535


def esp_size(sa: SecurityAssociation, payload: int) -> int:
    """From SPI to ICV. Payload, padding, pad length and next header fill whole blocks of at least 4 bytes."""
    unit = max(4, sa.block)
    filled = -(-(payload + 2) // unit) * unit
    return SPI_AND_NUMBER + sa.iv_len + filled + sa.icv_len + (UDP_HEADER if sa.natt else 0)


def ah_size(sa: SecurityAssociation, family: int) -> int:
    """Twelve bytes and the ICV, filled up to 32 bits, for IPv6 to 64 (RFC 4302 section 3.3.3.2.1)."""
    unit = 4 if family == 4 else 8
    return -(-(12 + sa.icv_length) // unit) * unit


def protected(sas: tuple[SecurityAssociation, ...], payload: int, family: int) -> int:
    """Bytes behind the IP headers: ESP, AH, or AH over ESP around `payload` bytes."""
    size = payload
    for sa in sas:
        size = esp_size(sa, size) if sa.proto == "esp" else ah_size(sa, family) + size
    return size


@cache
def plaintext_mtu(sas: tuple[SecurityAssociation, ...], path: int) -> int:
    """The longest inner packet (transport mode: packet with the least IP header) that fits `path` bytes outside."""
    first = sas[0]
    assert first.src is not None
    family = first.src.version
    head = IP_HEADER[family]
    transport = head if first.mode == "transport" else 0
    fits = [n for n in range(path + 1) if head + protected(sas, n, family) <= path]
    return transport + max(fits, default=0)


def transport_size(sas: tuple[SecurityAssociation, ...], ip: Ip) -> int:
    """Of exactly this packet: its options and extension headers stay in front."""
    return ip.split + protected(sas, len(ip.data) - ip.split, ip.family)


def interface_mtu(interface: Any, family: int) -> int:
    """`ip mtu` or `ipv6 mtu`, never above `mtu`."""
    whole = interface.mtu or DEFAULT_MTU
    own = interface.ip_mtu if family == 4 else interface.ipv6_mtu
    return min(own or whole, whole)


def gre_overhead(tunnel: Any) -> int:
    """Delivery header, four bytes, and four for each of key, sequence number, checksum."""
    options = (tunnel.key is not None) + bool(tunnel.sequence) + bool(tunnel.checksum)
    return IP_HEADER[6 if tunnel.mode.endswith("ipv6") else 4] + 4 + 4 * options
