"""Routes of a configuration: local addresses, connected networks and static routes, resolved to an egress interface.

BASE-4: longest prefix, then administrative distance, then order. A static route whose next hop no other route reaches,
or only by way of the route itself, is not installed, as on IOS, and is reported.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NamedTuple

from qfp.tables.route import Route

from .ends import interface_addresses
from .model import Address, Configuration, Interface, Network
from .rib import MAX_DISTANCE, NONE, Rib
from .route_list import PlainRoute, Routes
from .static_route import StaticRoute

# Limited broadcast, and multicast whose scope is the node or the link: for the router itself or nobody behind it
NEVER_FORWARDED = tuple(ip_network(n) for n in ("255.255.255.255/32", "224.0.0.0/24", "ff01::/16", "ff02::/16"))


class Adjacency(NamedTuple):
    """Where packets of a prefix go: row of the interface, next hop (None = on the link), whether they end here."""

    out_if: int
    next_hop: Address | None
    local: bool
    family: int


class Forwarding(NamedTuple):
    """What the forwarding table is built from, a column a field: network address, prefix length, 2 * VRF (and 1 more
    for IPv6), row of the adjacencies."""

    networks: list[int]
    lengths: array[int]
    tables: array[int]
    rows: array[int]
    adjacencies: list[Adjacency]


class Routing:
    """Routes of every VRF. `lookup` answers for the control plane what the FIB answers for packets.

    rows: row of each interface by name. unresolved: static routes that are not installed.
    """

    def __init__(self, config: Configuration, rows: dict[str, int]):
        self._config, self._rows = config, rows
        self.vrfs: dict[str | None, int] = {None: 0, **{name: k + 1 for k, name in enumerate(config.vrfs)}}
        self._statics = Routes.of(config.routes)
        self._rib = Rib()
        # the candidates of the RIB in their order: these, then every static route
        self._links = sorted(self._connected(), key=lambda route: not route.local)
        for route in self._links:
            self._rib.add(self._prefix(route.prefix, route.vrf), 0)
        self._out: dict[int, tuple[int, Address | None]] = {}  # candidate -> (row, next hop) where a route says it
        self._static()
        self._rib.resolve()
        self._ends = self._rib.ends()

    def vrf_of(self, interface: Interface) -> int:
        return self.vrfs.get(interface.vrf, 0)

    def _prefix(self, prefix: Network, vrf: int) -> int:
        table = 2 * vrf + (prefix.version == 6)
        return self._rib.prefix(table, prefix.prefixlen, int(prefix.network_address))

    def _connected(self) -> Iterator[Route]:
        for name, interface in self._config.interfaces.items():
            if interface.is_down:
                continue
            row, vrf = self._rows[name], self.vrf_of(interface)
            for net in NEVER_FORWARDED:
                yield Route(net, row, vrf, local=True)
            for address in interface_addresses(self._config, interface):
                yield Route(ip_network((address.ip, address.max_prefixlen)), row, vrf, local=True)
                if address.network.prefixlen < address.max_prefixlen:
                    yield Route(address.network, row, vrf)
                if address.version == 4 and address.network.prefixlen < 31:
                    yield Route(ip_network(address.network.broadcast_address), row, vrf, local=True)
            if interface.ipv6_enable or interface.addresses6:
                yield Route(IPv6Network("fe80::/10"), row, vrf)

    def _static(self) -> None:
        rib = self._rib
        for route in self._statics.rows():
            if isinstance(route, PlainRoute):
                prefix = rib.prefix(route.family == 6, route.length, route.network)
                rib.add(prefix, route.distance, route.hop)
            else:
                self._other(route)

    def _other(self, route: StaticRoute) -> None:
        """A static route that is more than a prefix and a next hop."""
        prefix = self._prefix(route.prefix, self.vrfs.get(route.vrf, 0))
        if route.multicast or route.vrf not in self.vrfs:
            self._rib.add(prefix, MAX_DISTANCE)  # for reverse-path checks, or of no table: never used
            return
        if route.interface is None and route.next_hop is not None:
            table = 2 * self.vrfs.get(route.home, 0) + (route.next_hop.version == 6)
            self._rib.add(prefix, route.distance, int(route.next_hop), table=table)
            return
        interface = self._config.interfaces.get(route.interface or "")
        up = interface is not None and not interface.is_down
        candidate = self._rib.add(prefix, route.distance, up=up)
        if up:
            self._out[candidate] = self._rows[str(route.interface)], route.next_hop

    @property
    def unresolved(self) -> list[StaticRoute]:
        """Static routes that are not installed."""
        first = len(self._links)
        return [self._statics[k - first] for k in range(first, len(self._rib.alive)) if not self._rib.alive[k]]

    def lookup(self, address: Address | None, vrf: int = 0) -> Route | None:
        """Best route to an address, or None."""
        if address is None:
            return None
        prefix = self._rib.longest(2 * vrf + (address.version == 6), int(address))
        return None if prefix == NONE else self._route(self._rib.best[prefix])

    @property
    def routes(self) -> list[Route]:
        """All routes, the better of one prefix first (a table keeps the first); local addresses win."""
        rib, first = self._rib, len(self._links)
        used = [k for k in range(first, len(rib.alive)) if rib.alive[k] and rib.distances[k] < MAX_DISTANCE]
        used.sort(key=rib.distances.__getitem__)
        return [*self._links, *map(self._route, used)]

    def _route(self, candidate: int) -> Route:
        if candidate < len(self._links):
            return self._links[candidate]
        rib, prefix = self._rib, self._rib.prefixes[candidate]
        table, length = rib.tables[prefix], rib.lengths[prefix]
        network = (IPv6Network if table & 1 else IPv4Network)((rib.nets[prefix], length))
        out, hop = self._way(candidate)
        return Route(network, out, table >> 1, next_hop=hop)

    def _way(self, candidate: int) -> tuple[int, Address | None]:
        """(row of the interface, next hop on its link) of a candidate in force.

        A next hop behind another next hop gives way to that one; no next hop means that the destination is on the link.
        """
        if candidate < len(self._links):
            return self._links[candidate].out_if, None
        if candidate in self._out:
            return self._out[candidate]
        last, prefix = self._ends[self._rib.hops[candidate]]
        out, hop = self._way(self._rib.best[prefix])
        if hop is None:
            table, address = self._rib.hop(last)
            hop = IPv6Address(address) if table & 1 else IPv4Address(address)
        return out, hop

    def forwarding(self) -> Forwarding:
        """The best route of every prefix, as columns."""
        rib = self._rib
        into = Forwarding([], array("B"), array("L"), array("L"), [])
        rows: dict[Adjacency, int] = {}
        over: dict[int, int] = {}  # next hop -> row: a million routes have few
        for prefix, best in enumerate(rib.best):
            if best == NONE:
                continue
            hop = rib.hops[best]
            row = over.get(hop, NONE) if hop != NONE else NONE
            if row == NONE:
                local = best < len(self._links) and self._links[best].local
                key = Adjacency(*self._way(best), local, 6 if rib.tables[prefix] & 1 else 4)
                row = rows.setdefault(key, len(rows))
                if hop != NONE:
                    over[hop] = row
            into.networks.append(rib.nets[prefix])
            into.lengths.append(rib.lengths[prefix])
            into.tables.append(rib.tables[prefix])
            into.rows.append(row)
        into.adjacencies.extend(rows)
        return into
