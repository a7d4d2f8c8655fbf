"""What a refused line may have been: told by the words that can be read of it.

Whatever cannot be told is taken for what protects: a line of one letter may have been anything. Of a line whose command
is not known at all its other words tell, so that `tunel protection ipsec profile P` is recognised.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface

from .load import Lost
from .model import AccessList, Interface, Network

_NO = ("no", "default")
# What begins a line of an interface that decides where its packets go and how.
_INTERFACE = (("crypto",), ("ipv6", "crypto"), ("tunnel",), ("vrf",), ("ip", "vrf"), ("shutdown",))
_HARMLESS_TUNNEL = ("key", "ttl", "tos", "checksum", "sequence-datagrams", "path-mtu-discovery", "bandwidth", "entropy")
_HARMLESS_CRYPTO = ("df-bit", "fragmentation")  # behind `crypto ipsec`
_HARMLESS_ENTRY = (
    ("description",), ("qos", "pre-classify"), ("reverse-route",), ("set", "pfs"), ("set", "security-association"),
    ("set", "isakmp-profile"), ("set", "ikev2-profile"), ("set", "nat"), ("set", "reverse-route"), ("set", "identity"),
)  # fmt: skip
_HARMLESS_MAP = ("isakmp-profile", "client", "isakmp", "redundancy", "gdoi")  # behind a crypto map's name
_TELLING = frozenset(("crypto", "ipsec", "protection"))


def line_of(lost: Lost) -> str:
    return f"line {lost.line} was refused"


def first_of(found: Iterable[Lost]) -> str:
    return next((line_of(lost) for lost in found), "")


def starts(words: tuple[str, ...], *keywords: str) -> bool:
    """Whether words begin as a command does, cut short or not; a line that ends early may have gone on so."""
    pairs = list(zip(words, keywords, strict=False))
    return bool(pairs) and all(keyword.startswith(word.lower()) for word, keyword in pairs)


def _begins(words: tuple[str, ...], commands: tuple[tuple[str, ...], ...]) -> bool:
    """Whether words begin as one of some commands does, with all its keywords, of which enough is written."""
    return any(len(words) >= len(each) and starts(words, *each) and len(words[len(each) - 1]) > 2 for each in commands)


def undoes(lost: Lost) -> bool:
    return lost.words[:1] != () and lost.words[0].lower() in _NO


def protects(interface: Interface) -> bool:
    """Whether an interface asks for protection."""
    tunnel = interface.tunnel is not None and interface.tunnel.protection_profile is not None
    return tunnel or interface.crypto_map is not None or interface.ipv6_crypto_map is not None


def guards(lost: Lost, names: set[str]) -> bool:
    """Whether a refused line of an interface may have decided how its packets are protected. names: of crypto maps,
    profiles and VRFs. Of a line whose command is not known, its other words tell."""
    words = lost.words
    if not words:
        return True
    if undoes(lost):
        return False
    lower = [word.lower() for word in words]
    if "tunnel".startswith(lower[0]) and len(words) > 1 and lower[1] in _HARMLESS_TUNNEL:
        return False
    if lower[:2] == ["crypto", "ipsec"] and len(words) > 2 and lower[2] in _HARMLESS_CRYPTO:
        return False
    if any(starts(words, *each) for each in _INTERFACE) and (lost.known or len(lower[0]) > 2):
        return True
    return not lost.known and (not _TELLING.isdisjoint(lower) or not names.isdisjoint(words))


def is_address(lost: Lost) -> bool:
    """Whether a refused line of an interface may have been one of its addresses."""
    if not isinstance(lost.section, Interface) or not lost.words or undoes(lost):
        return False
    if lost.known:
        return starts(lost.words, "ip", "address") or starts(lost.words, "ipv6", "address")
    return any_network(lost.words) is not None and ("address" in lost.words or lost.words[0] in ("ip", "ipv6"))


def is_route(lost: Lost) -> bool:
    """Whether a refused line may have been a static route."""
    words = lost.words
    if undoes(lost):
        return False
    if starts(words, "ip", "route") or starts(words, "ipv6", "route"):
        return lost.known or len(words) > 2
    if lost.known:
        return False
    return "route" in words[:2] or (words[:1] in (("ip",), ("ipv6",)) and any_network(words) is not None)


def is_orphan(lost: Lost) -> bool:
    """Whether a line is one of a crypto map's entry or of an access list that stands outside any: its head is lost."""
    lower = tuple(word.lower() for word in lost.words)
    pieces = (("set", "peer"), ("set", "transform-set"), ("match", "address"))
    return not lost.known and lost.mode in ("global", "interface") and (lower[:2] in pieces or lower[:1] == ("permit",))


def is_vrf(lost: Lost) -> bool:
    return lost.opens == "vrf" or starts(lost.words, "vrf", "definition") or starts(lost.words, "ip", "vrf")


def may_permit(words: tuple[str, ...]) -> bool:
    """Whether a refused entry of an access list may have permitted something, or undone a deny."""
    rest = list(word.lower() for word in words)
    undone = bool(rest) and rest[0] in _NO
    rest = rest[undone:]
    rest = rest[2 if rest[:1] == ["sequence"] else 1 if rest and rest[0].isdigit() else 0 :]
    if not rest:
        return True
    if undone:
        return not "permit".startswith(rest[0])
    return not ("deny".startswith(rest[0]) or "remark".startswith(rest[0]))


def is_numbered_entry(lost: Lost, name: str) -> bool:
    """Whether a refused line may be an entry of a numbered access list."""
    words = lost.words
    if not name.isdigit() or undoes(lost):
        return False
    if starts(words[:1], "access-list"):
        number = words[1] if len(words) > 1 else ""
        mine = number == name or not number.isdecimal() or not 0 < int(number[:9]) < 2700
        return mine and may_permit(words[2:])
    return not lost.known and words[1:2] == (name,) and len(words) > 2 and "permit".startswith(words[2].lower())


def is_list(lost: Lost, name: str, found: AccessList | None) -> bool:
    """Whether a refused line may have begun an access list of this name."""
    words = lost.words
    head = starts(words, "ip", "access-list") or starts(words, "ipv6", "access-list") or lost.opens in ("acl", "acl6")
    if not head or undoes(lost):
        return False
    return name in words or found is None or len(words) < 3


# --- prefixes


def network_of(address: tuple[str, ...], mask: tuple[str, ...] = ()) -> Network | None:
    """ADDRESS MASK or PREFIX/LENGTH as a network, None where it cannot be read."""
    try:
        if not address:
            return None
        if "/" in address[0]:
            return IPv6Interface(address[0]).network if ":" in address[0] else IPv4Interface(address[0]).network
        value, ones = int(IPv4Address(address[0])), int(IPv4Address(mask[0] if mask else "")) ^ 0xFFFFFFFF
        return None if ones & (ones + 1) else IPv4Network((value, 32 - ones.bit_length()), strict=False)
    except ValueError:
        return None


def any_network(words: tuple[str, ...]) -> Network | None:
    """The first network in a line."""
    for k, word in enumerate(words):
        found = network_of((word,), words[k + 1 : k + 2])
        if found is not None:
            return found
    return None


def largest_network(address: tuple[str, ...]) -> Network | None:
    """The largest network that begins with an address: that of a route whose mask cannot be read is no larger."""
    try:
        value = int(IPv4Address(address[0] if address else ""))
    except ValueError:
        return None
    zeros = (value & -value).bit_length() - 1 if value else 32
    return IPv4Network((value, 32 - zeros))


# --- lines that decide nothing


def is_harmless_in_entry(lost: Lost) -> bool:
    """Whether a refused line of a crypto map entry does not decide whether packets are protected."""
    return bool(lost.words) and (undoes(lost) or _begins(lost.words, _HARMLESS_ENTRY))


def is_harmless_of_map(word: str) -> bool:
    """Whether a crypto map's setting, the word behind its name, does not decide whether packets are protected."""
    return word in _HARMLESS_MAP
