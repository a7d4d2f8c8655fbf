"""Routes of a configuration: local addresses, connected networks and static routes, resolved to an egress interface.

BASE-4: longest prefix, then administrative distance, then order. A static route whose next hop no other route reaches
is not installed, as on IOS, and is reported.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network, ip_network
from typing import Any

from qfp.config import Configuration
from qfp.tables.fib import Route

Address = IPv4Address | IPv6Address
# Limited broadcast, and multicast whose scope is the node or the link: for the router itself or nobody behind it
NEVER_FORWARDED = tuple(ip_network(n) for n in ("255.255.255.255/32", "224.0.0.0/24", "ff01::/16", "ff02::/16"))
RECURSION = 8  # static routes over static routes, at most
MAX_DISTANCE = 255


def interface_addresses(interface: Any) -> list[Any]:
    """IPv4 and IPv6 interface addresses that need no interface identifier to be known."""
    return [*interface.addresses4, *(a.interface if not a.eui64 else eui64(interface, a) for a in interface.addresses6)]


def eui64(interface: Any, address: Any) -> IPv6Interface:
    """The address with the interface identifier in its low half (RFC 4291 appendix A).

    A modelled interface has no burnt-in MAC address: 02:00:00 and three bytes of its position stand for one.
    """
    network = address.interface.network
    number = max(0, interface.line) & 0xFFFFFF
    mac = (0x020000 << 24) | number
    identifier = ((mac >> 24) ^ 0x020000) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
    return IPv6Interface(f"{network.network_address + identifier}/{network.prefixlen}")


class Routing:
    """Routes of every VRF. `lookup` answers for the control plane what the FIB answers for packets."""

    def __init__(self, config: Configuration, rows: dict[str, int]):
        self._config, self._rows = config, rows
        self.vrfs: dict[str | None, int] = {None: 0, **{name: k + 1 for k, name in enumerate(config.vrfs)}}
        self.unresolved: list[Any] = []
        self._candidates: list[tuple[int, Route]] = []
        # (VRF, family) -> prefix length -> network -> the best of its routes, with its distance
        self._best_of: dict[tuple[int, int], dict[int, dict[int, tuple[int, Route]]]] = {}
        self._connected()
        self._static()
        self.routes = self._best()

    def _add(self, distance: int, route: Route) -> None:
        """One route more. Of those to one prefix the nearest counts, of equals the first."""
        self._candidates.append((distance, route))
        prefix = route.prefix
        lengths = self._best_of.setdefault((route.vrf, prefix.version), {})
        same = lengths.setdefault(prefix.prefixlen, {})
        key = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        if key not in same or distance < same[key][0]:
            same[key] = distance, route

    def vrf_of(self, interface: Any) -> int:
        return self.vrfs.get(interface.vrf, 0)

    def _connected(self) -> None:
        for name, interface in self._config.interfaces.items():
            if interface.shutdown:
                continue
            row, vrf = self._rows[name], self.vrf_of(interface)
            for net in NEVER_FORWARDED:
                self._add(0, Route(net, row, vrf, local=True))
            for address in interface_addresses(interface):
                host = ip_network((address.ip, address.max_prefixlen))
                self._add(0, Route(host, row, vrf, local=True))
                if address.network.prefixlen < address.max_prefixlen:
                    self._add(0, Route(address.network, row, vrf))
                if address.version == 4 and address.network.prefixlen < 31:
                    broadcast = ip_network(address.network.broadcast_address)
                    self._add(0, Route(broadcast, row, vrf, local=True))
            if interface.ipv6_enable or interface.addresses6:
                self._add(0, Route(IPv6Network("fe80::/10"), row, vrf))

    def _static(self) -> None:
        waiting = list(self._config.routes)
        for _ in range(RECURSION):
            left = []
            for route in waiting:
                way = self._egress(route)
                if way is None:
                    left.append(route)
                elif route.distance < MAX_DISTANCE:
                    out, hop = way
                    vrf = self.vrfs.get(route.vrf, 0)
                    self._add(route.distance, Route(route.prefix, out, vrf, next_hop=hop))
            if not left or len(left) == len(waiting):
                break
            waiting = left
        else:
            left = waiting
        self.unresolved = left

    def _egress(self, route: Any) -> tuple[int, Address | None] | None:
        """(row of the interface, next hop on its link) of a static route; None when nothing reaches its next hop (yet).

        A next hop behind another next hop gives way to that one; no next hop means that the destination is on the link.
        """
        if route.interface is not None:
            interface = self._config.interfaces.get(route.interface)
            if interface is None or interface.shutdown:
                return None
            return self._rows[route.interface], route.next_hop
        found = self.lookup(route.next_hop, self.vrfs.get(route.vrf, 0))
        if found is None or found.prefix == route.prefix:
            return None
        return found.out_if, route.next_hop if found.next_hop is None else found.next_hop

    def lookup(self, address: Address | None, vrf: int = 0) -> Route | None:
        """Best route to an address among those known, or None."""
        if address is None:
            return None
        lengths, value = self._best_of.get((vrf, address.version), {}), int(address)
        for length in sorted(lengths, reverse=True):
            found = lengths[length].get(value >> (address.max_prefixlen - length))
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
