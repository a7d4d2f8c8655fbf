"""Static routes and VRFs."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Interface
from typing import Any

from .grammar import Args, Command
from .load import Load, keep
from .model import Configuration, Vrf
from .route_list import book_of
from .static_route import StaticRoute


def _route4(load: Load, cfg: Configuration, args: Args) -> None:
    prefix = IPv4Network((args["prefix"], args["mask"]), strict=False)
    if prefix.network_address != args["prefix"]:
        load.warn(
            f"{args['prefix']} has bits beyond its mask: taken as {prefix}",
            f"write {prefix.network_address} {prefix.netmask}",
            column=args.column("prefix"),
        )
    _route(load, cfg, args, StaticRoute(4, prefix))


def _route6(load: Load, cfg: Configuration, args: Args) -> None:
    prefix: IPv6Interface = args["prefix"]
    if prefix.ip != prefix.network.network_address:
        load.warn(f"{prefix} has bits beyond its length: taken as {prefix.network}", column=args.column("prefix"))
    _route(load, cfg, args, StaticRoute(6, prefix.network))


def _route(load: Load, cfg: Configuration, args: Args, route: StaticRoute) -> None:
    options: dict[str, Any] = args.get("options", {})
    route.line = load.statement.line
    route.vrf, route.interface = args.get("vrf"), args.get("interface")
    route.next_hop = args.get("next_hop")
    route.distance, route.tag, route.name = options.get("distance", 1), options.get("tag"), options.get("name")
    route.permanent, route.multicast = "permanent" in options, "multicast" in options
    route.track, route.dhcp = options.get("track"), "dhcp" in args.keywords
    if "global" in options or "nexthop-vrf" in options:
        hop_vrf = options.get("nexthop-vrf", "default")
        route.hop_vrf = "" if hop_vrf == "default" else hop_vrf
    if route.track is not None and not args.no:
        load.warn(f"object {route.track} is taken as up: {route.prefix} stays installed whatever it tracks")
    if route.dhcp and not args.no:
        load.warn("addresses by DHCP are not modelled: " + (
            f"{route.prefix} goes out of {route.interface} without a next hop" if route.interface
            else f"{route.prefix} is not installed"), "write the next hop")  # fmt: skip
    (book_of(load).remove if args.no else book_of(load).add)(route)


def _no_route(load: Load, cfg: Configuration, args: Args) -> None:
    """The `no` form may leave out next hop and interface: all routes to the prefix go."""
    if not args.no:
        load.error("incomplete command: a next hop or an interface expected")
    elif isinstance(args["prefix"], IPv6Interface):
        _route6(load, cfg, args)
    else:
        _route4(load, cfg, args)


def finish(load: Load) -> None:
    """Put the routes that are left into the model, in the order of their lines."""
    load.cfg.routes = book_of(load).routes()
    load.index.pop("routes")


# --- VRFs


def _vrf(old_style: bool) -> Any:
    def handler(load: Load, cfg: Configuration, args: Args) -> Vrf | None:
        if args.no:
            cfg.vrfs.pop(args["name"], None)
            return None
        return cfg.vrfs.setdefault(
            args["name"], Vrf(args["name"], families=[4] if old_style else [], old_style=old_style)
        )

    return handler


def _rd(load: Load, vrf: Vrf, args: Args) -> None:
    vrf.rd = None if args.no else args["value"]


def _family(load: Load, vrf: Vrf, args: Args) -> Vrf:
    family = 6 if "ipv6" in args.keywords else 4
    if vrf.old_style:
        load.error("'ip vrf' is for IPv4 alone", "write vrf definition")
    elif args.no:
        vrf.families[:] = [each for each in vrf.families if each != family]
    elif family not in vrf.families:
        vrf.families.append(family)
        vrf.families.sort()
    return vrf


def _keep_line(load: Load, vrf: Vrf, args: Args) -> None:
    line = " ".join(word.text for word in load.statement.words)
    if line not in vrf.kept:
        vrf.kept.append(line)


_TO4 = "ip route [vrf <vrf:@vrf>] <prefix:ip4> <mask:mask>"
_TO6 = "ipv6 route [vrf <vrf:@vrf>] <prefix:prefix6>"
_HOP4 = "{<next_hop:ip4> | dhcp | <interface:exit-if> [{<next_hop:ip4> | dhcp}]}"
_HOP6 = "{<next_hop:ip6> | <interface:exit-if> [<next_hop:ip6>]}"
COMMANDS = [
    Command("global", f"{_TO4} {_HOP4} [<options:route-options>]", _route4),
    Command("global", _TO4, _no_route),
    Command("global", f"{_TO6} {_HOP6} [<options:route-options>]", _route6),
    Command("global", _TO6, _no_route),
    *(Command("global", f"{family} route {word} *", keep, verdict="kept")
      for family in ("ip", "ipv6") for word in ("static", "profile", "topology")),
    Command("global", "vrf definition <name:word>", _vrf(False), "vrf"),
    Command("global", "ip vrf <name:word>", _vrf(True), "vrf"),
    Command("vrf", "rd <value:word>", _rd),
    Command("vrf", "address-family {ipv4 | ipv6} [unicast]", _family, "vrf-family"),
    *(Command(mode, f"{word} *", _keep_line, verdict="kept")
      for mode in ("vrf", "vrf-family")
      for word in ("description", "route-target", "import", "export", "maximum", "vnet", "vpn", "bgp", "mdt",
                   "route-replicate", "context", "inter-as-hybrid", "label", "protection", "segment-routing", "snmp")),
]  # fmt: skip
