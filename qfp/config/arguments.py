"""Kinds of argument that commands take: each recognises its form, then checks the value.

A pattern names a kind as `<name:kind>`. `take` answers None when the word does not look like the kind at all (another
form may), and `Bad` when it does but its value is wrong, which ends the search: `300.1.1.1` is no host name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, ip_address
from typing import Any, NamedTuple

from .lex import MASK, Word
from .quads import MASK_LENGTHS, quad

Address = IPv4Address | IPv6Address


class Taken(NamedTuple):
    """A value and the number of words that it took."""

    value: Any
    words: int = 1


class Bad(NamedTuple):
    """Why a word of the right form is no value of the kind; `at` counts the words of the argument before it."""

    reason: str
    at: int = 0


Taker = Callable[[Sequence[Word], int], "Taken | Bad | None"]


@dataclass(frozen=True)
class Kind:
    """How one kind of argument is read; `free` kinds accept any word, so keywords beside them need full spelling."""

    expects: str
    take: Taker
    free: bool = False
    secret: bool = False
    reference: str = ""
    many: bool = False


# --- numbers ----------------------------------------------------------------------------------------------------

_DIGITS = re.compile(r"[0-9]{1,12}\Z")


def integer(low: int, high: int) -> Kind:
    """A decimal number in a closed range."""

    def take(words: Sequence[Word], at: int) -> Taken | Bad | None:
        text = words[at].text
        if not re.match(r"-?[0-9]+\Z", text, re.ASCII):
            return None
        if not _DIGITS.match(text) or not low <= int(text) <= high:
            return Bad(f"{shown(text)} is outside {low} to {high}")
        return Taken(int(text))

    return Kind(f"a number from {low} to {high}", take)


def choice(*values: str) -> Kind:
    """One of some words; words, not numbers, may be cut short as long as they stay unique (`ipsec-isa`)."""

    def take(words: Sequence[Word], at: int) -> Taken | Bad | None:
        text = words[at].text.lower()
        if text in values:
            return Taken(text)
        meant = [value for value in values if value.startswith(text)] if text[:1].isalpha() else []
        return Taken(meant[0]) if len(meant) == 1 else None

    return Kind(" or ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values), take)


# --- addresses --------------------------------------------------------------------------------------------------

_LIKE_V4 = re.compile(r"[0-9]+(\.[0-9]*)+\Z")
_LIKE_V6 = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\Z")


def shown(text: str) -> str:
    """Return a word as messages quote it: short, and printable."""
    cut = text if len(text) <= 40 else text[:37] + "..."
    return "'" + "".join(char if char.isprintable() else "?" for char in cut) + "'"


def _address(text: str) -> Address | Bad | None:
    try:
        return IPv4Address(quad(text))
    except (ValueError, KeyError):
        pass  # not in the usual writing of IPv4
    if not (_LIKE_V4.match(text) or _LIKE_V6.match(text)):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return Bad(f"{shown(text)} is not an IP address")


def _take_ip4(words: Sequence[Word], at: int) -> Taken | Bad | None:
    found = _address(words[at].text)
    if isinstance(found, IPv6Address):
        return None
    return Taken(found) if isinstance(found, IPv4Address) else found


def _take_ip6(words: Sequence[Word], at: int) -> Taken | Bad | None:
    found = _address(words[at].text)
    if isinstance(found, IPv4Address):
        return None
    return Taken(found) if isinstance(found, IPv6Address) else found


def _take_address(words: Sequence[Word], at: int) -> Taken | Bad | None:
    found = _address(words[at].text)
    return Taken(found) if isinstance(found, IPv4Address | IPv6Address) else found


def _take_mac(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text.lower()
    if not re.match(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}\Z", text):
        return None
    return Bad(f"{shown(text)} is a group address") if int(text[:2], 16) & 1 else Taken(text)


def _take_mask(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text
    usual = MASK_LENGTHS.get(text)
    if usual is not None:
        return Taken(usual)
    found = _address(text)
    if not isinstance(found, IPv4Address):
        return found if isinstance(found, Bad) else None
    inverse = int(found) ^ 0xFFFFFFFF
    if inverse & (inverse + 1):
        value = int(found)
        hint = f" (it is a wildcard: write {IPv4Address(inverse)})" if not value & (value + 1) else ""
        return Bad(f"{shown(text)} is not a network mask: its ones must be on the left{hint}")
    return Taken(IPv4Network((0, text)).prefixlen if int(found) else 0)


def _take_prefix6(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text
    address, slash, length = text.partition("/")
    if not slash or not _LIKE_V6.match(address):
        return None
    try:
        if not re.match(r"[0-9]{1,3}\Z", length, re.ASCII):
            raise ValueError(length)
        return Taken(IPv6Interface((address, int(length))))
    except ValueError:
        return Bad(f"{shown(text)} is not an IPv6 prefix")


def _take_prefix4(words: Sequence[Word], at: int) -> Taken | Bad | None:
    found = _take_prefixed(words, at)
    return Taken(IPv4Interface(words[at].text)) if isinstance(found, Taken) and found.value.version == 4 else None


def _take_vlans(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """A part of a list of VLANs: `200`, `200,300-310`, or the comma and what follows."""
    text = words[at].text
    if not re.match(r"[0-9,-]+\Z", text, re.ASCII):
        return None
    numbers = [int(number) for number in re.findall(r"[0-9]{1,9}", text)]
    if not all(1 <= number <= 4094 for number in numbers):
        return Bad(f"{shown(text)} is outside 1 to 4094")
    return Taken(text)


def _take_slash(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """`/24` as a word of its own."""
    text = words[at].text
    if not re.match(r"/[0-9]+\Z", text, re.ASCII):
        return None
    return Taken(int(text[1:])) if int(text[1:]) <= 32 else Bad(f"{shown(text)} is outside /0 to /32")


def _take_prefixed(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """An address of either family with /LENGTH behind it, as the guide prints for `set peer`."""
    address, slash, length = words[at].text.partition("/")
    found = _address(address) if slash else None
    if not isinstance(found, IPv4Address | IPv6Address):
        return found if isinstance(found, Bad) else None
    if not re.match(r"[0-9]{1,3}\Z", length, re.ASCII) or int(length) > found.max_prefixlen:
        return Bad(f"{shown(words[at].text)} is not an IP prefix")
    return Taken(found)


def _take_endpoint(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text
    found = _address(text)
    if found is None:
        if "/" in text or ":" in text:
            return Bad(f"{shown(text)} is neither an address nor a host name")
        return Taken(text)
    return found if isinstance(found, Bad) else Taken(found)


# --- options of static routes -----------------------------------------------------------------------------------

_ROUTE_VALUES = {"tag": (1, 4294967295), "track": (1, 1000)}


def _take_route_options(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """`[DISTANCE] [global | nexthop-vrf V] [tag N] [track N] [name WORD] [permanent] [multicast]`, in any order."""
    found: dict[str, Any] = {}
    here = at
    while here < len(words):
        text = words[here].text.lower()
        value = words[here + 1].text if here + 1 < len(words) else ""
        word = next((each for each in ("permanent", "multicast", "unicast", "global") if each.startswith(text)), "")
        if text.isdigit() and "distance" not in found:
            taken = integer(1, 255).take(words, here)
            if not isinstance(taken, Taken):
                return Bad(taken.reason if taken else "", here - at)
            found["distance"] = taken.value
            here += 1
            continue
        if word and len(text) > 1:
            found[word] = True
            here += 1
            continue
        name = next((each for each in ("tag", "track", "name", "nexthop-vrf") if each.startswith(text)), "")
        if not name or len(text) < 2:
            return Bad(f"{shown(words[here].text)} is not a distance, tag, track, name, permanent or global", here - at)
        if not value:
            return Bad(f"incomplete command: a value of {name} expected", here - at)
        if name in _ROUTE_VALUES:
            taken = integer(*_ROUTE_VALUES[name]).take(words, here + 1)
            if not isinstance(taken, Taken):
                return Bad(taken.reason if taken else f"{shown(value)} is not a number", here + 1 - at)
            value = taken.value
        found[name] = value
        here += 2
    return Taken(found, here - at)


# --- interfaces -------------------------------------------------------------------------------------------------

INTERFACE_TYPES = (
    "GigabitEthernet", "FastEthernet", "Ethernet", "Serial", "Loopback", "Tunnel", "TenGigabitEthernet",
    "TwentyFiveGigE", "TwoGigabitEthernet", "FiveGigabitEthernet", "FortyGigabitEthernet", "HundredGigE",
    "FourHundredGigE", "AppGigabitEthernet", "Wlan-GigabitEthernet", "Ethernet-Internal", "Port-channel", "Dialer",
    "BDI", "BVI", "Vlan", "VirtualPortGroup", "Virtual-Template", "Virtual-PPP", "Virtual-Access", "Null", "ATM", "POS",
    "Multilink", "Async", "Group-Async", "Cellular", "Fddi", "Hssi", "TokenRing", "BRI", "Dot11Radio", "wlan-ap", "NVI",
    "nve", "pseudowire", "vasileft", "vasiright", "LISP", "MFR", "CEM", "Embedded-Service-Engine", "Service-Engine",
    "Integrated-Service-Engine", "ISM", "SM", "ucse", "Analysis-Module", "GMPLS", "Bluetooth", "overlay", "vmi",
)  # fmt: skip
_USUAL = 5  # the types at the head of the table win over others that share a short form: `f0/0`, `s0/0/0`
_BY_LOWER = {name.lower(): name for name in INTERFACE_TYPES}
_INTERFACE = re.compile(r"([A-Za-z][A-Za-z-]*(?:11Radio)?)([0-9][0-9/.:]*)?\Z")
_NUMBER = re.compile(r"[0-9][0-9/.:]*\Z")


def canonical_interface(text: str) -> str | None:
    """Return the full name of an interface ("gi0/0/1" -> "GigabitEthernet0/0/1"), or None for an unknown type."""
    found = _INTERFACE.match(text)
    if not found:
        return None
    kind, number = found.group(1).lower(), found.group(2) or ""
    full = _BY_LOWER.get(kind)
    if full is None:
        meant = [name for lower, name in _BY_LOWER.items() if lower.startswith(kind)]
        usual = [name for name in meant if name in INTERFACE_TYPES[:_USUAL]]
        full = meant[0] if len(meant) == 1 else (usual[0] if usual else None)
    return None if full is None else full + number


def _take_interface(words: Sequence[Word], at: int) -> Taken | Bad | None:
    name = canonical_interface(words[at].text)
    if name is None:
        return None
    if name in INTERFACE_TYPES and at + 1 < len(words) and _NUMBER.match(words[at + 1].text):
        return Taken(name + words[at + 1].text, 2)
    return Taken(name)


def _take_known_interface(words: Sequence[Word], at: int) -> Taken | Bad | None:
    """Like an interface, but a bare type is not one: a route's next word may be a name."""
    taken = _take_interface(words, at)
    return None if isinstance(taken, Taken) and taken.value in INTERFACE_TYPES else taken


def _take_new_interface(words: Sequence[Word], at: int) -> Taken | Bad | None:
    return _take_interface(words, at) or Taken(words[at].text)


# --- words ------------------------------------------------------------------------------------------------------


def _take_word(words: Sequence[Word], at: int) -> Taken:
    return Taken(words[at].text)


def _take_prefix_name(words: Sequence[Word], at: int) -> Taken | None:
    """A name in front of the bits of an address."""
    text = words[at].text
    return Taken(text) if ":" not in text and "/" not in text else None


def _take_rest(words: Sequence[Word], at: int) -> Taken:
    return Taken(" ".join(word.text for word in words[at:]), len(words) - at)


def _take_hex(words: Sequence[Word], at: int) -> Taken | Bad | None:
    text = words[at].text
    if text == MASK:
        return Taken(b"")
    digits = text[2:] if text[:2].lower() == "0x" else text
    if not re.match(r"[0-9a-fA-F]+\Z", digits) or len(digits) % 2:
        return Bad("a key is written as an even number of hexadecimal digits")
    return Taken(bytes.fromhex(digits))


def many(kind: Kind) -> Kind:
    """One or more of a kind, up to the end of the line; the value is a list of `Taken`-free values."""

    def take(words: Sequence[Word], at: int) -> Taken | Bad | None:
        values = []
        for i in range(at, len(words)):
            taken = kind.take(words, i)
            if not isinstance(taken, Taken):
                return taken or Bad(f"{shown(words[i].text)} is not {kind.expects}")
            values.append(taken.value)
        return Taken(values, len(words) - at)

    return Kind(kind.expects, take, kind.free, kind.secret, kind.reference, many=True)


# --- code points ------------------------------------------------------------------------------------------------

DSCP_NAMES = {
    "default": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56, "ef": 46,
    **{f"af{band}{drop}": 8 * band + 2 * drop for band in range(1, 5) for drop in range(1, 4)},
}  # fmt: skip
PRECEDENCE_NAMES = {
    "routine": 0, "priority": 1, "immediate": 2, "flash": 3, "flash-override": 4, "critical": 5, "internet": 6,
    "network": 7,
}  # fmt: skip


def named_number(names: dict[str, int], high: int, what: str) -> Kind:
    """A number from 0 to `high`, or its name."""

    def take(words: Sequence[Word], at: int) -> Taken | Bad | None:
        text = words[at].text.lower()
        if text in names:
            return Taken(names[text])
        if not _DIGITS.match(text):
            return None
        return Taken(int(text)) if int(text) <= high else Bad(f"{shown(text)} is outside 0 to {high}")

    return Kind(f"{what} (0 to {high}, or its name)", take)


KINDS: dict[str, Kind] = {
    "prefix-name": Kind("the name of a general prefix", _take_prefix_name),
    "word": Kind("a name", _take_word, free=True),
    "text": Kind("text", _take_rest, free=True),
    "secret": Kind("a key", _take_word, free=True, secret=True),
    "hexkey": Kind("a key in hexadecimal", _take_hex, free=True, secret=True),
    "ip4": Kind("an IPv4 address", _take_ip4),
    "ip6": Kind("an IPv6 address", _take_ip6),
    "mac": Kind("a MAC address as H.H.H", _take_mac),
    "mask": Kind("a network mask", _take_mask),
    "prefix6": Kind("an IPv6 prefix", _take_prefix6),
    "prefixed": Kind("an IP prefix", _take_prefixed),
    "prefix4": Kind("an IPv4 prefix", _take_prefix4),
    "slash": Kind("/LENGTH", _take_slash),
    "vlans": Kind("a list of VLANs", _take_vlans),
    "address": Kind("an IP address", _take_address),
    "endpoint": Kind("an IP address or a host name", _take_endpoint, free=True),
    "interface": Kind("an interface", _take_interface, reference="interface"),
    "exit-if": Kind("an interface", _take_known_interface, reference="interface"),
    "new-interface": Kind("an interface", _take_new_interface, free=True),
    "route-options": Kind("a distance, tag, track, name, permanent or global", _take_route_options),
    "dscp": named_number(DSCP_NAMES, 63, "a DSCP"),
    "precedence": named_number(PRECEDENCE_NAMES, 7, "a precedence"),
}


def kind_of(spec: str) -> Kind:
    """Return the kind that a pattern names: a name above, `LOW-HIGH`, `a|b|c`, `@reference`, and `+` for a list."""
    if spec.endswith("+"):
        return many(kind_of(spec[:-1]))
    if spec in KINDS:
        return KINDS[spec]
    if spec.startswith("@"):
        return Kind(f"the name of a {spec[1:]}", _take_word, free=True, reference=spec[1:])
    bounds = re.match(r"([0-9]+)-([0-9]+)\Z", spec)
    if bounds:
        return integer(int(bounds.group(1)), int(bounds.group(2)))
    return choice(*spec.split("|"))
