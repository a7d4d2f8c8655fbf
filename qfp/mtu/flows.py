"""Flows that may take a path: where hosts are, by what selectors, interfaces and routes of a router say.

What is asked a thousand times for a thousand tunnels is looked up in tables that are made once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice
from typing import Any

from qfp.config.ends import interface_addresses
from qfp.control.policy import Selector
from qfp.mtu.datagrams import ECHO, GRE, TCP, UDP, Address, Flow
from qfp.router import Router
from qfp.tables.spd import ANY_PORTS

HOSTS = (10, 2, 1, 5, 100, 33, 200, 3)  # places in a network where a host is looked for
OUTSIDE = {4: ip_network("198.18.0.0/15"), 6: ip_network("2001:db8:ffff::/48")}  # RFC 2544, RFC 3849: nobody's
SOURCES, DESTINATIONS = 4, 12  # that are tried for a path


class Candidates:
    """(ingress, flow) pairs for the paths of a router. ingress: the only interface by which datagrams may come in. to:
    the only destinations."""

    def __init__(self, router: Router, peer: Router | None, ingress: str | None = None, to: Sequence[Address] = ()):
        self._router, self._ingress, self._to = router, ingress, to
        self._selectors = {p.want.sp: p.want.selector for p in reversed(router.sadb.pairs) if not p.want.tunnel}
        self._own = {a.ip for i in router.config.interfaces.values() for a in interface_addresses(router.config, i)}
        self._routes: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)
        for route in router.routing.routes:
            if not route.local:
                self._routes[route.out_if, route.prefix.version].append(route.prefix)
        self._far = [] if peer is None else [a.network for a in _lans(peer) if not a.is_link_local]
        self._facing: dict[int, list[str]] = {}

    def of(self, path: Any, family: int) -> Iterator[tuple[str, Flow]]:
        """Those for a path, the likeliest first."""
        selector = Selector(family) if path.tunnel else self._selectors[path.sp]
        if selector.family != family or (selector.protocol == GRE and selector.hosts() is not None):
            return
        protocol, sport, dport = _ports(selector)
        destinations = list(islice(self._destinations(path, selector), DESTINATIONS))
        for name in self._ingresses(path) if destinations else ():
            for src in islice(self._sources(name, selector), SOURCES):
                for dst in destinations:
                    if src != dst:
                        yield name, Flow(family, src, dst, protocol, sport, dport)

    def _ingresses(self, path: Any) -> list[str]:
        """Interfaces by which a host's datagrams may come in: those that face hosts before the egress itself."""
        if self._ingress is not None:
            return [self._ingress]
        interfaces = self._router.config.interfaces
        vrf = self._router.routing.vrf_of(interfaces[path.tunnel or path.egress])
        if vrf not in self._facing:
            names = [
                name for name, i in interfaces.items()
                if not i.is_down and i.tunnel is None and not name.startswith(("Loopback", "Null"))
                and self._router.routing.vrf_of(i) == vrf and (i.addresses4 or i.addresses6)
            ]  # fmt: skip
            self._facing[vrf] = sorted(names, key=lambda n: interfaces[n].crypto_map is not None)
        return sorted(self._facing[vrf], key=lambda n: n == path.egress)

    def _sources(self, name: str, selector: Selector) -> Iterator[Address]:
        """Sources behind an interface that a selector names: hosts on its link, then what is routed there, then any."""
        linked = _networks(self._router.config, name, selector.family)
        routed = self._routes[self._router.interfaces.row[name], selector.family]
        for network in (*linked, *(prefix for prefix in routed if prefix.prefixlen)):
            for address in _within(network, *selector.src):
                if address not in self._own:
                    yield address
        if selector.src[1]:
            yield from _within(_everything(selector.family), *selector.src)

    def _destinations(self, path: Any, selector: Selector) -> Iterator[Address]:
        """Destinations that a selector names or that are routed into a tunnel: hosts of the peer before any other."""
        if self._to:
            yield from (a for a in self._to if a.version == selector.family)
            return
        seen: set[Address] = set()
        for network in self._targets(path, selector.family):
            for address in islice(_within(network, *selector.dst), 3):
                if address not in seen and address not in self._own:
                    seen.add(address)
                    yield address

    def _targets(self, path: Any, family: int) -> Iterable[Any]:
        """Networks in which to look for a destination."""
        if path.hops:
            routed = (each for each in self._router.config.routes if each.next_hop is not None)
            yield from (each.prefix for each in routed if any(each.next_hop in net for net in path.hops)
                        and each.family == family and each.prefix.prefixlen)  # fmt: skip
            yield from (network for network in path.hops if network.version == family)
        yield from (network for network in self._far if network.version == family)
        name = path.tunnel or path.egress
        linked = {a.network for a in interface_addresses(self._router.config, self._router.config.interfaces[name])}
        routes = sorted(self._routes[self._router.interfaces.row[name], family], key=lambda prefix: prefix in linked)
        if path.tunnel is None:
            yield _everything(family)
            yield from (prefix for prefix in routes if prefix.prefixlen)
        else:
            for prefix in routes:
                yield prefix if prefix.prefixlen else OUTSIDE[family]


def _lans(peer: Router) -> Iterator[Any]:
    """Addresses of interfaces with hosts behind them."""
    for interface in peer.config.interfaces.values():
        if interface.tunnel is None and not interface.is_down and not interface.crypto_map:
            yield from interface_addresses(peer.config, interface)


def _networks(config: Any, name: str, family: int) -> list[Any]:
    """Networks on the link of an interface."""
    addresses = interface_addresses(config, config.interfaces[name])
    return [a.network for a in addresses if a.version == family and not a.is_link_local]


def _ports(selector: Selector) -> tuple[int, int, int]:
    """(protocol, source port, destination port): UDP where the selector leaves it open."""
    protocol = selector.protocol if selector.protocol is not None else UDP
    if protocol in ECHO:
        kind = selector.sport[0] if selector.sport != ANY_PORTS else ECHO[protocol]
        return protocol, kind, selector.dport[0] if selector.dport != ANY_PORTS else 0
    usual = 40000 if protocol in (UDP, TCP) else 0
    sport, dport = (usual if low <= usual <= high else low for low, high in (selector.sport, selector.dport))
    return protocol, sport, dport


def _everything(family: int) -> Any:
    return OUTSIDE[family].supernet(new_prefix=0)


def _within(network: Any, value: int, mask: int) -> Iterator[Address]:
    """Addresses of a network that a (value, mask) pair covers; where both leave bits open, those of HOSTS."""
    kind: Any = IPv4Address if network.version == 4 else IPv6Address
    base, free = int(network.network_address), int(network.hostmask)
    if (base ^ value) & mask & ~free:
        return
    outside = int(OUTSIDE[network.version].network_address)
    base = base | outside if network.prefixlen == 0 and mask == 0 else base
    open_bits = free & ~mask
    for host in HOSTS if open_bits else (0,):
        address = (base & ~mask) | (value & mask) | _spread(host, open_bits)
        if address in (int(network.network_address), int(network.broadcast_address)) and open_bits.bit_count() > 1:
            continue
        yield kind(address)


def _spread(number: int, bits: int) -> int:
    """Lay the bits of a number into the lowest of `bits`."""
    found, at = 0, 0
    while number and bits >> at:
        if bits >> at & 1:
            found |= (number & 1) << at
            number >>= 1
        at += 1
    return found
