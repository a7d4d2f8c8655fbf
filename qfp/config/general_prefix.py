"""IPv6 general prefixes: an address is the prefix of a name, with bits of its own behind it (guide chapter 9).

    ipv6 general-prefix SITE 2001:db8:100::/48
    interface GigabitEthernet0/0/0
     ipv6 address SITE ::1:0:0:0:1/64          is 2001:db8:100:1::1/64

A prefix that comes by DHCP or from an IPv4 address is not known here; addresses under it are missing, with a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv6Interface, IPv6Network
from typing import Any

from .grammar import Args, Command
from .load import Load, keep
from .model import Address6, Configuration, Interface


@dataclass
class _Names:
    """General prefixes by name, and why others are not known."""

    prefixes: dict[str, list[IPv6Network]]
    unknown: dict[str, str]

    @classmethod
    def of(cls, load: Load) -> _Names:
        found: _Names = load.index.setdefault("general prefixes", cls({}, {}))
        return found


def _define(load: Load, cfg: Configuration, args: Args) -> object:
    names, name = _Names.of(load), args["name"]
    if args.no:
        kept = [each for each in names.prefixes.get(name, ()) if "prefix" in args and each != args["prefix"].network]
        names.prefixes[name] = kept
        names.unknown.pop(name, None)
    elif "prefix" in args:
        names.prefixes.setdefault(name, []).append(args["prefix"].network)
    else:
        names.unknown[name] = "it follows from an IPv4 address"
    return keep(load, cfg, args)


def _by_dhcp(load: Load, interface: Interface, args: Args) -> object:
    _Names.of(load).unknown[args["name"]] = "it comes by DHCP"
    return keep(load, interface, args)


def _address(load: Load, interface: Interface, args: Args) -> None:
    """Put the address in its place among the interface's; `finish` replaces it, as the name may be defined later."""
    entry = Address6(args["bits"], "eui-64" in args.keywords, general=args["general"])
    if args.no:
        load.retain(interface.addresses6, [each for each in interface.addresses6 if each != entry])
        return
    load.add_once(interface.addresses6, entry)
    places = load.index.setdefault("general addresses", {})
    places[interface.name, entry] = (load.statement.line, args.column("general"))


def combined(prefix: IPv6Network, bits: IPv6Interface) -> IPv6Interface:
    """The prefix in front, the other's bits behind it, the other's length.

    Raises ValueError for a length that is shorter than the prefix.
    """
    if bits.network.prefixlen < prefix.prefixlen:
        raise ValueError(f"/{bits.network.prefixlen} is shorter than general prefix {prefix}")
    value = int(prefix.network_address) | int(bits.ip) & int(prefix.hostmask)
    return IPv6Interface((value, bits.network.prefixlen))


def finish(load: Load) -> None:
    """Give every address under a general prefix its value; what is not known is missing."""
    places: dict[Any, tuple[int, int]] = load.index.get("general addresses", {})
    for name in dict.fromkeys(name for name, _ in places):
        interface = load.cfg.interfaces.get(name)
        if interface is None:
            continue
        found: list[Address6] = []
        for entry in interface.addresses6:
            found += [entry] if entry.general is None else _values(load, entry, places[name, entry])
        load.retain(interface.addresses6, found)


def _values(load: Load, entry: Address6, place: tuple[int, int]) -> list[Address6]:
    names = _Names.of(load)
    name, (line, column) = str(entry.general), place
    prefixes = names.prefixes.get(name, [])
    if not prefixes:
        why = names.unknown.get(name, "no 'ipv6 general-prefix' defines it")
        load.warn(f"general prefix '{name}' is not known ({why}): address {entry.interface} under it is missing",
                  "write the address in full", line=line, column=column)  # fmt: skip
    found = []
    for prefix in prefixes:
        try:
            value = combined(prefix, entry.interface)
        except ValueError as wrong:
            load.error(str(wrong), "give the address the longer length", line=line, column=column)
            continue
        if value.ip.is_multicast:
            load.error(f"{value.ip} is a multicast address", line=line, column=column)
        elif entry.eui64 and value.network.prefixlen > 64:
            load.error("eui-64 needs a prefix of at most 64 bits", line=line, column=column)
        else:
            found.append(replace(entry, interface=value, bits=entry.interface))
    return found


COMMANDS = [
    Command("global", "ipv6 general-prefix <name:word> [{<prefix:prefix6> | 6to4 <interface:interface> | 6rd "
            "<interface:interface>}]", _define, verdict="kept"),
    Command("interface", "ipv6 address <general:prefix-name> <bits:prefix6> [{eui-64 | anycast}]", _address),
    Command("interface", "ipv6 dhcp client pd <name:word> [rapid-commit]", _by_dhcp, verdict="kept"),
    Command("interface", "ipv6 dhcp client pd hint <prefix:prefix6>", keep, verdict="kept"),
]  # fmt: skip
