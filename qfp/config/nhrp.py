"""Static NHRP entries of a tunnel interface: who is behind which next hop (`ip nhrp map`, `ip nhrp nhs … nbma`).

What NHRP would learn is not modelled: registrations and resolutions of spokes leave no entry.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from .grammar import Args, Command
from .load import Load, keep
from .model import Interface, NhrpMap, TunnelConfig


def _tunnel(load: Load, interface: Interface, args: Args) -> TunnelConfig | None:
    """The tunnel of the section; on another interface an entry is kept, as IOS keeps it there without a use."""
    if interface.tunnel is None:
        keep(load, interface, args)
    return interface.tunnel


def _add(load: Load, items: list[Any], item: Any, no: bool) -> None:
    if no:
        load.retain(items, [each for each in items if each != item])
    else:
        load.add_once(items, item)


def _network(args: Args) -> IPv4Network | IPv6Network:
    if "prefix" in args:
        found: IPv6Network = args["prefix"].network
        return found
    if "mask" in args:
        return IPv4Network((int(args["address"]), str(args["mask"])), strict=False)
    return ip_network(args["address"])


def _map(load: Load, interface: Interface, args: Args) -> None:
    tunnel = _tunnel(load, interface, args)
    if tunnel is not None:
        _add(load, tunnel.nhrp_maps, NhrpMap(_network(args), args["peer"]), args.no)
        load.mark(tunnel, "nhrp_maps")


def _multicast(load: Load, interface: Interface, args: Args) -> None:
    tunnel = _tunnel(load, interface, args)
    if tunnel is not None:
        _add(load, tunnel.nhrp_multicast, args["peer"], args.no)
        load.mark(tunnel, "nhrp_multicast")


def _server(load: Load, interface: Interface, args: Args) -> None:
    """`nhs A nbma B [multicast]` is `map A B` and `map multicast B` in one."""
    tunnel = _tunnel(load, interface, args)
    if tunnel is None:
        return
    _add(load, tunnel.nhrp_maps, NhrpMap(_network(args), args["peer"]), args.no)
    if "multicast" in args.keywords:
        _add(load, tunnel.nhrp_multicast, args["peer"], args.no)


_NHS = "nbma <peer:endpoint> [multicast] [priority <priority:0-255>] [cluster <cluster:0-10>]"
COMMANDS = [
    Command("interface", "ip nhrp map <address:ip4> {<peer:endpoint> | <mask:mask> <peer:endpoint>}", _map),
    Command("interface", "ipv6 nhrp map <prefix:prefix6> <peer:endpoint>", _map),
    Command("interface", f"ip nhrp nhs <address:ip4> {_NHS}", _server),
    Command("interface", f"ipv6 nhrp nhs <address:ip6> {_NHS}", _server),
    *(Command("interface", f"{family} nhrp map multicast <peer:endpoint>", _multicast) for family in ("ip", "ipv6")),
    *(Command("interface", f"{family} nhrp nhs <address:address>", keep, verdict="kept") for family in ("ip", "ipv6")),
    # What a spoke asks, and how; what would be learned by it is said once by `effects`.
    *(Command("interface", f"{family} nhrp {words}*", keep, verdict="kept")
      for family in ("ip", "ipv6")
      for words in ("", "map multicast dynamic ", "map group ", "nhs dynamic ", "nhs fallback ", "nhs cluster ")),
]  # fmt: skip
