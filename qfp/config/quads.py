"""IPv4 addresses and masks in their usual writing as numbers: a tenth of what `ipaddress` takes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

_OCTETS = {str(value): value for value in range(256)}


def quad(text: str) -> int:
    """The number of an IPv4 address in its usual writing. Raises ValueError or KeyError for anything else."""
    first, second, third, fourth = text.split(".")
    return _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]


def dotted(value: int) -> str:
    """An IPv4 address in its usual writing."""
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def written(address: IPv4Address | IPv6Address) -> str:
    """What `str(address)` is."""
    return dotted(int(address)) if address.version == 4 else str(address)


# Length of every network mask
MASK_LENGTHS = {dotted((0xFFFFFFFF << 32 - length) & 0xFFFFFFFF): length for length in range(33)}
