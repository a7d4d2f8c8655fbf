"""Ways that are missing: prefixes to which nothing is sent by another route, because the route of theirs was refused.

Without its own route a packet takes a worse one, past the tunnel or the crypto map that protects it. So the prefix of a
refused route or address is held, and of routes that are not installed for it; where no prefix can be read, every static
route that does not lead into a protected tunnel.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from .arguments import canonical_interface
from .load import Load, Lost
from .model import Interface, Network
from .routing import Routing
from .suspect import any_network, is_address, is_route, largest_network, network_of, protects

Place = tuple[str | None, Network]


class HeldRoutes:
    """Finds the prefixes. heads: refused lines that were to begin an interface."""

    def __init__(self, load: Load, heads: list[Lost]) -> None:
        self.load, self.cfg, self.heads = load, load.cfg, heads

    def check(self) -> None:
        """Prefixes of refused routes and addresses, and of routes that are missing for them."""
        rows = {name: row for row, name in enumerate(self.cfg.interfaces)}
        routing = Routing(self.cfg, rows)
        places = _Places()
        unread: Lost | None = None
        for lost, vrf, network, protected in self._gone(routing):
            if network is not None:
                places.add(vrf, network, lost)
            if protected and (network is None or lost.doubtful):
                unread = unread or lost
        ways = [lost for lost in self.load.lost if lost.mode in ("global", "interface") and (lost.known or lost.opens)]
        for route in routing.unresolved if ways or places.found else ():
            places.add(route.vrf, route.prefix, next(iter(places.found.values()), *ways[:1]))
        self._follow(routing, places)
        if unread is not None:
            self._hold_all(places, unread)
        self._say(places.found)

    def _gone(self, routing: Routing) -> Iterator[tuple[Lost, str | None, Network | None, bool]]:
        """(line, VRF, prefix if it can be read, whether what it led to may be protected) of ways that are missing."""
        for lost in self.load.lost:
            if isinstance(lost.section, Interface) and is_address(lost):
                network = network_of(lost.words[2:3], lost.words[3:4]) if lost.known else any_network(lost.words)
                yield lost, lost.section.vrf, network, lost.section.tunnel is not None or protects(lost.section)
            elif lost.mode == "global" and is_route(lost) and self._leads_past(lost, routing):
                words, vrf = lost.words[2:], None
                if words[:1] == ("vrf",):
                    words, vrf = words[2:], lost.words[3] if len(lost.words) > 3 else None
                known = network_of(words[:1], words[1:2]) or largest_network(words[:1])
                yield lost, vrf, known if lost.known else any_network(words), True
        for lost in self.heads:
            inside = lost.inside
            if isinstance(inside, Interface):
                networks: list[Network] = [each.network for each in inside.addresses4]
                networks += [each.interface.network for each in inside.addresses6]
                yield from ((lost, inside.vrf, network, True) for network in networks)

    def _leads_past(self, lost: Lost, routing: Routing) -> bool:
        """Whether a refused route may have led to where packets are protected: not when its way can be read, and is
        open."""
        words = lost.words
        at = next((k for k, word in enumerate(words) if network_of((word,), words[k + 1 : k + 2])), None)
        if at is None:
            return True
        way = words[at + 1 if "/" in words[at] else at + 2 :][:1]
        if not way or any(map(_is_way, words[words.index(way[0]) + 1 :])):
            return True  # cut short, or two of them: which one was meant cannot be told
        name = canonical_interface(way[0])
        if name is None:
            try:
                route = routing.lookup(ip_address(way[0]))
            except ValueError:
                return True
            name = list(self.cfg.interfaces)[route.out_if] if route is not None else None
        found = self.cfg.interfaces.get(name or "")
        return found is None or found.tunnel is not None or protects(found) or name in self.cfg.held.interfaces

    def _follow(self, routing: Routing, places: _Places) -> None:
        """Routes over next hops to which a worse route leads now."""
        routes = self.cfg.routes if places.found else ()
        waiting = [route for route in routes if route.next_hop is not None and route.interface is None]
        before = -1
        while len(waiting) != before:
            before, left = len(waiting), []
            for route in waiting:
                known = routing.lookup(route.next_hop, routing.vrfs.get(route.home, 0))
                lost = places.holds(route.home, route.next_hop, known.prefix.prefixlen if known is not None else 0)
                if lost is None:
                    left.append(route)
                else:
                    places.add(route.vrf, route.prefix, lost)
            waiting = left

    def _hold_all(self, places: _Places, unread: Lost) -> None:
        """No prefix can be read: any static route that does not lead into a protected tunnel may be a worse one."""
        tunnels = {each.name for each in self.cfg.interfaces.values()
                   if each.tunnel is not None and each.tunnel.protection_profile is not None}  # fmt: skip
        for route in self.cfg.routes:
            if route.interface not in tunnels:
                places.add(route.vrf, route.prefix, unread)

    def _say(self, places: dict[Place, Lost]) -> None:
        self.cfg.held.prefixes += places
        by_line: dict[int, list[str]] = {}
        for (vrf, network), lost in places.items():
            by_line.setdefault(lost.line, []).append(f"{network} in VRF {vrf}" if vrf else str(network))
        for line, networks in by_line.items():
            listed = ", ".join(networks[:4]) + (f" and {len(networks) - 4} more" if len(networks) > 4 else "")
            told = f"nothing is sent to {listed} by another route: line {line} was refused"
            self.load.error(told, "the way that is missing may protect its packets: correct the line", line=line)


def _is_way(word: str) -> bool:
    """Whether a word may be a next hop or an interface."""
    try:
        ip_address(word)
    except ValueError:
        return canonical_interface(word) is not None
    return True


class _Places:
    """Prefixes of VRFs, each with the line for which it is held, and whether one of them holds an address."""

    def __init__(self) -> None:
        self.found: dict[Place, Lost] = {}
        self.lengths: dict[tuple[str | None, int], dict[int, dict[int, Lost]]] = {}

    def add(self, vrf: str | None, network: Network, lost: Lost) -> None:
        if (vrf, network) not in self.found:
            self.found[vrf, network] = lost
            by_length = self.lengths.setdefault((vrf, network.version), {})
            by_length.setdefault(network.prefixlen, {})[int(network.network_address)] = lost

    def holds(self, vrf: str | None, address: Any, least: int) -> Lost | None:
        """The line of a prefix at least `least` bits long around an address, None for none."""
        value, bits = int(address), address.max_prefixlen
        for length, networks in self.lengths.get((vrf, address.version), {}).items():
            lost = networks.get(value >> bits - length << bits - length) if length >= least else None
            if lost is not None:
                return lost
        return None
