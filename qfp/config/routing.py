"""Routes of a configuration: local addresses, connected networks and static routes, resolved to an egress interface.

BASE-4: longest prefix, then administrative distance, then order. A static route whose next hop no other route reaches
is not installed, as on IOS, and is reported.
"""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

from qfp.tables.route import Route

from .ends import interface_addresses
from .model import Address, Configuration, Interface, StaticRoute

# Limited broadcast, and multicast whose scope is the node or the link: for the router itself or nobody behind it
NEVER_FORWARDED = tuple(ip_network(n) for n in ("255.255.255.255/32", "224.0.0.0/24", "ff01::/16", "ff02::/16"))
RECURSION = 8  # static routes over static routes, at most
MAX_DISTANCE = 255


class Routing:
    """Routes of every VRF. `lookup` answers for the control plane what the FIB answers for packets.

    rows: row of each interface by name. unresolved: static routes that are not installed.
    """

    def __init__(self, config: Configuration, rows: dict[str, int]):
        self._config, self._rows = config, rows
        self.vrfs: dict[str | None, int] = {None: 0, **{name: k + 1 for k, name in enumerate(config.vrfs)}}
        self.unresolved: list[StaticRoute] = []
        self._candidates: list[tuple[int, Route]] = []  # (distance, route) in the order of the configuration
        # (VRF, IP version, prefix length) -> network -> the best candidate; lengths in falling order
        self._best_of: dict[tuple[int, int, int], dict[int, tuple[int, Route]]] = {}
        self._lengths: dict[tuple[int, int], list[int]] = {}
        self._connected()
        self._static()
        self.routes = self._best()

    def vrf_of(self, interface: Interface) -> int:
        return self.vrfs.get(interface.vrf, 0)

    def _add(self, distance: int, route: Route) -> None:
        prefix = route.prefix
        self._candidates.append((distance, route))
        table, length = (route.vrf, prefix.version), prefix.prefixlen
        found = self._best_of.get((*table, length))
        if found is None:
            found = self._best_of[(*table, length)] = {}
            self._lengths[table] = sorted([*self._lengths.get(table, ()), length], reverse=True)
        network = int(prefix.network_address)
        if network not in found or distance < found[network][0]:
            found[network] = (distance, route)

    def _connected(self) -> None:
        for name, interface in self._config.interfaces.items():
            if interface.is_down:
                continue
            row, vrf = self._rows[name], self.vrf_of(interface)
            for net in NEVER_FORWARDED:
                self._add(0, Route(net, row, vrf, local=True))
            for address in interface_addresses(self._config, interface):
                self._add(0, Route(ip_network((address.ip, address.max_prefixlen)), row, vrf, local=True))
                if address.network.prefixlen < address.max_prefixlen:
                    self._add(0, Route(address.network, row, vrf))
                if address.version == 4 and address.network.prefixlen < 31:
                    broadcast = ip_network(address.network.broadcast_address)
                    self._add(0, Route(broadcast, row, vrf, local=True))
            if interface.ipv6_enable or interface.addresses6:
                self._add(0, Route(IPv6Network("fe80::/10"), row, vrf))

    def _static(self) -> None:
        # Multicast routes are for reverse-path checks; those of a VRF that is not there are of no table
        waiting = [route for route in self._config.routes if not route.multicast and route.vrf in self.vrfs]
        for _ in range(RECURSION):
            left = []
            for route in waiting:
                way = self._egress(route)
                if way is None:
                    left.append(route)
                elif route.distance < MAX_DISTANCE:
                    out, hop = way
                    self._add(route.distance, Route(route.prefix, out, self.vrfs.get(route.vrf, 0), next_hop=hop))
            if not left or len(left) == len(waiting):
                break
            waiting = left
        else:
            left = waiting
        self.unresolved = left

    def _egress(self, route: StaticRoute) -> tuple[int, Address | None] | None:
        """(row of the interface, next hop on its link) of a static route; None when nothing reaches its next hop (yet).

        A next hop behind another next hop gives way to that one; no next hop means that the destination is on the link.
        """
        if route.interface is not None:
            interface = self._config.interfaces.get(route.interface)
            if interface is None or interface.is_down:
                return None
            return self._rows[route.interface], route.next_hop
        home = route.vrf if route.hop_vrf is None else route.hop_vrf or None
        found = self.lookup(route.next_hop, self.vrfs.get(home, 0))
        if found is None or found.prefix == route.prefix:
            return None
        return found.out_if, route.next_hop if found.next_hop is None else found.next_hop

    def lookup(self, address: Address | None, vrf: int = 0) -> Route | None:
        """Best route to an address among those known, or None."""
        if address is None:
            return None
        table, value, bits = (vrf, address.version), int(address), address.max_prefixlen
        for length in self._lengths.get(table, ()):
            found = self._best_of[(*table, length)].get(value >> bits - length << bits - length)
            if found is not None:
                return found[1]
        return None

    def _best(self) -> list[Route]:
        """All routes, the better of one prefix first (the table keeps the first); local addresses win."""
        order = sorted(
            range(len(self._candidates)),
            key=lambda k: (not self._candidates[k][1].local, self._candidates[k][0], k),
        )
        return [self._candidates[k][1] for k in order]
