"""`ip nat`: which packets a rule would translate. Nothing is translated here; what is read serves one question of
`check`: whether a rule takes packets away from a crypto map, which IOS asks behind NAT.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from itertools import pairwise

from .acl import PORTS_COMMON, PORTS_TCP, PORTS_UDP
from .boxes import ANY_PORTS, ANY_PROTOCOL, Box
from .grammar import Args, Command
from .load import Load, keep, keep_with_warning
from .model import Configuration, Interface, NatRule

_PROTOCOLS = {"tcp": 6, "udp": 17, "esp": 50}
_WHOLE = 0xFFFFFFFF


def _role(load: Load, interface: Interface, args: Args) -> None:
    """`ip nat inside`, `outside`, `enable` (which is both) on an interface."""
    if not args.no:
        keep_with_warning(load, interface, args)
    for role in ("inside", "outside", "enable"):
        if role in args.keywords:
            roles = load.cfg.nat.roles.setdefault(interface.name, set())
            (roles.discard if args.no else roles.add)(role)


def _rule(load: Load, cfg: Configuration, args: Args) -> object:
    """A rule that translates sources of packets from inside to outside; `no` takes it back."""
    rest = str(args.get("rest", "")).split()
    if "static" in args.keywords:
        found = _static(rest)
    else:
        way = {"route_map": args["map"]} if "map" in args else {"acl": args["acl"]}
        found = NatRule(0, **way)
    if found is not None:
        options = dict(pairwise(rest))
        found = replace(found, line=load.statement.line, vrf=options.get("vrf"), both="inside" not in args.keywords,
                        route_map=found.route_map or options.get("route-map"))  # fmt: skip
        if args.no:
            cfg.nat.rules[:] = [each for each in cfg.nat.rules if each != found]
        else:
            cfg.nat.rules.append(found)
    return keep_with_warning(load, cfg, args)


def _static(words: list[str]) -> NatRule | None:
    """`[tcp | udp | esp | network] LOCAL …`; None for what cannot be read, or what maps an address to itself."""
    kind = words[0].lower() if words else ""
    rest = words[1:] if kind in (*_PROTOCOLS, "network") else words
    try:
        local = int(IPv4Address(rest[0]))
        size = 1
        if kind == "network":
            length = rest[2].lstrip("/")
            mask = _WHOLE << 32 - int(length) & _WHOLE if length.isdigit() else int(IPv4Address(length))
            local, size = local & mask, (~mask & _WHOLE) + 1
        ports = ANY_PORTS
        if kind in ("tcp", "udp"):
            names = {**PORTS_COMMON, **(PORTS_TCP if kind == "tcp" else PORTS_UDP)}
            port = names[rest[1]] if rest[1] in names else int(rest[1])
            ports = (port, port)
        protocol = (_PROTOCOLS[kind], _PROTOCOLS[kind]) if kind in _PROTOCOLS else ANY_PROTOCOL
        same = kind not in _PROTOCOLS and rest[1] == rest[0]
        return NatRule(0, static=Box((local, local + size - 1), (0, _WHOLE), protocol, ports), identity=same)
    except (AddressValueError, IndexError, ValueError):
        return None


# `ip nat *` would forbid to cut `inside` short, so the words are all there
_OTHERS = (
    "create|dns|log|map|numbering|outside|piggyback-support|pool|port-map|portmap|refresh|scalability|service|settings"
    "|sip-sbc|stateful|switchover|translation|inside destination"
)
COMMANDS = [
    *(Command("interface", f"ip nat {role}", _role, verdict="kept") for role in ("inside", "outside", "enable")),
    *(Command("global", f"ip nat {domain}source {what}", _rule, "opaque", "kept")
      for domain in ("inside ", "")
      for what in ("list <acl:word> [<rest:text>]", "route-map <map:word> [<rest:text>]", "static <rest:text>")),
    *(Command("global", f"ip nat {words} *", keep_with_warning, "opaque", "kept") for words in _OTHERS.split("|")),
    *(Command("interface", f"ip nat {words} *", keep, verdict="kept") for words in ("log", "allow-static-host")),
]  # fmt: skip
