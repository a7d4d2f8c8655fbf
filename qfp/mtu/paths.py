"""Protected paths of a configuration, and for each a flow that really takes it.

Selectors and routes suggest sources and destinations; a datagram of each pair then goes through the data plane, and the
first whose verdict names the path's SA is taken. So a `deny`, an earlier entry or a longer prefix needs no second
implementation here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice
from typing import Any

from qfp.control.policy import Selector, Want
from qfp.control.routing import interface_addresses
from qfp.control.tunnels import GRE_MODES
from qfp.explain.words import selector_text
from qfp.mtu import reading
from qfp.mtu.datagrams import ECHO, GRE, TCP, UDP, Address, Flow
from qfp.router import Router
from qfp.sizes import LENGTH_MAX
from qfp.tables.spd import ANY_PORTS
from qfp_kernels.drops import Verdict

TRIES = 48  # pairs of a source and a destination that are tried for a path
HOSTS = (10, 2, 1, 5, 100, 33, 200, 3)  # places in a network where a host is looked for
OUTSIDE = {4: ip_network("198.18.0.0/15"), 6: ip_network("2001:db8:ffff::/48")}  # RFC 2544, RFC 3849: nobody's


class MtuError(ValueError):
    """A question about MTUs that this configuration cannot answer; the message says what would."""


@dataclass
class Path:
    """A way through the router under one tunnel header. kind: crypto map, vti, gre, gre over ipsec.

    flows: by IP version of what goes in. sa: handle of the outbound SA next to the payload, -1 = none. egress: the
    interface that the protected packets leave by. tunnel: its interface, None behind a crypto map. note: why there is
    no flow. peer_ingress: the peer's interface at which its packets arrive; peer_note: why there is none.
    """

    kind: str
    where: str
    rule: str
    local: Address | None = None
    peer: Address | None = None
    tunnel: str | None = None
    sp: int = -1
    sa: int = -1
    ingress: str = ""
    egress: str = ""
    flows: dict[int, Flow] = field(default_factory=dict)
    note: str | None = None
    peer_ingress: str | None = None
    peer_note: str | None = None
    mtus: dict[int, int] = field(default_factory=dict)  # of the tunnel interface, by family

    @property
    def protected(self) -> bool:
        """Whether IPsec is on it."""
        return self.sa >= 0

    @property
    def gre(self) -> bool:
        """Whether GRE is on it."""
        return self.kind.startswith("gre")

    def tunnel_mtu(self, family: int) -> int:
        """MTU of the tunnel interface, no limit without one."""
        return self.mtus.get(family, LENGTH_MAX)


def find(lab: Any, ingress: str | None = None, to: Sequence[Address] = ()) -> list[Path]:
    """All protected paths, those without a flow with a note. ingress: the interface by which datagrams come in. to:
    destinations; with them only paths that one of these takes. Raises MtuError when there is none."""
    router: Router = lab.router
    if ingress is not None:
        ingress = router.interface(ingress)
    found = [*_tunnels(router), *_maps(router)]
    if not found:
        raise MtuError("the configuration has no crypto map on an interface and no tunnel: nothing is protected")
    for path in found:
        if path.note is None:
            _search(lab, path, ingress, to)
    found = [path for path in found if not _is_carrier(path, found)]
    if to or ingress:
        found = [path for path in found if path.flows]
    if not found:
        asked = "to " + ", ".join(map(str, to)) if to else f"from {ingress}"
        raise MtuError(f"no datagram {asked} takes a protected path: `qfp mtu` without --to and --in lists the paths")
    return found


# ------------------------------------------------------------------------------------------------- which there are
def _maps(router: Router) -> list[Path]:
    """A path for every permit rule of a crypto map."""
    paths = []
    for pair in router.sadb.pairs:
        want: Want = pair.want
        if want.tunnel:
            continue
        rule = selector_text(want.selector)
        path = Path("crypto map", want.where, rule, want.local, want.peer, sp=want.sp, egress=want.interface.name)
        if not pair.outbound:
            path.note = "it has no SA: its keys are missing"
        paths.append(path)
    return paths


def _tunnels(router: Router) -> list[Path]:
    """A path for every VTI and GRE tunnel."""
    paths = []
    for name, interface in router.config.interfaces.items():
        if interface.tunnel is None or not (interface.tunnel.is_vti or interface.tunnel.mode in GRE_MODES):
            continue
        local, peer = router._builder.tunnel_ends(interface)
        kind = "vti" if interface.tunnel.is_vti else "gre"
        path = Path(kind, f"interface {name}", "everything that is routed into it", local, peer, tunnel=name)
        under = int(router.tables.t.ifs["under"][router.interfaces.row[name]])
        path.egress = router.interfaces.names[under] if under >= 0 else name
        path.mtus = {family: router.sizes.mtus[name, family] for family in (4, 6)}
        if not router.tables.t.ifs["up"][router.interfaces.row[name]]:
            path.note = "the tunnel is down"
        paths.append(path)
    return paths


def _is_carrier(path: Path, found: Iterable[Path]) -> bool:
    """Whether a crypto map's entry has nothing to carry but the GRE packets of this router's own tunnels."""
    return not path.flows and path.sp >= 0 and any(other.gre and other.sp == path.sp for other in found)


# ------------------------------------------------------------------------------------------------- a flow for each
def _search(lab: Any, path: Path, ingress: str | None, to: Sequence[Address]) -> None:
    """Find flows for a path by sending a datagram of each candidate."""
    for family in (4, 6):
        for name, flow in islice(_candidates(lab, path, family, ingress, to), TRIES):
            if path.ingress and name != path.ingress:
                continue  # both families of a path by one interface
            if _takes(lab, path, flow, name):
                path.flows[family], path.ingress = flow, name
                break
    if not path.flows and path.note is None:
        path.note = "no source and destination was found that take it"


def _takes(lab: Any, path: Path, flow: Flow, ingress: str) -> bool:
    """Whether a datagram of the flow takes the path; its SA and egress are then known."""
    router: Router = lab.router
    route = router.routing.lookup(flow.dst, _vrf(router, ingress))
    if route is None or route.local:
        return False
    by = router.interfaces.names[route.out_if]
    if by != path.tunnel and (path.tunnel is not None or router.config.interfaces[by].tunnel is not None):
        return False
    result = lab.probe(flow, ingress)
    verdict, sa = int(result.verdicts["verdict"][0]), int(result.verdicts["sa"][0])
    if verdict not in (Verdict.FORWARDED, Verdict.BYPASSED) or not len(result.packets):
        return False
    sp = int(router.tables.t.sa["sp"][sa]) if sa >= 0 else -1
    if path.tunnel is None and sp != path.sp:
        return False
    path.sa, path.sp = sa, sp
    path.egress = router.interfaces.names[int(result.packets.in_if[0])]
    path.kind = "gre over ipsec" if path.gre and sa >= 0 else path.kind
    _meet(lab, path, result.packets)
    return True


def _meet(lab: Any, path: Path, packets: Any) -> None:
    """Where the path's packets arrive at the peer."""
    if lab.peer is None:
        return
    peer: Router = lab.peer
    src, dst = reading.ends(packets, 0)
    owners = [name for name, i in peer.config.interfaces.items()
              if dst in [a.ip for a in interface_addresses(i)] and not i.shutdown]  # fmt: skip
    if not owners:
        path.peer_note = f"the peer's configuration has no interface with {dst}: it is not the other end of this path"
        return
    home = peer.config.interfaces[owners[0]]
    route = peer.routing.lookup(src, peer.routing.vrf_of(home))
    by = peer.interfaces.names[route.out_if] if route is not None else owners[0]
    path.peer_ingress = owners[0] if not owners[0].startswith(("Loopback", "Tunnel")) else by


def _candidates(
    lab: Any, path: Path, family: int, ingress: str | None, to: Sequence[Address]
) -> Iterator[tuple[str, Flow]]:
    """(ingress, flow) pairs that may take a path, the likeliest first."""
    router: Router = lab.router
    selector = next((p.want.selector for p in router.sadb.pairs if p.want.sp == path.sp and not p.want.tunnel), None)
    selector = selector if selector is not None else Selector(family)
    if selector.family != family or (selector.protocol == GRE and selector.hosts() is not None):
        return
    protocol, sport, dport = _ports(selector)
    destinations = list(islice(_destinations(lab, path, selector, to), 12))
    for name in _ingresses(router, path, ingress):
        for src in islice(_sources(router, name, selector), 4):
            for dst in destinations:
                if src != dst:
                    yield name, Flow(family, src, dst, protocol, sport, dport)


def _ports(selector: Selector) -> tuple[int, int, int]:
    """(protocol, source port, destination port): UDP where the selector leaves it open."""
    protocol = selector.protocol if selector.protocol is not None else UDP
    if protocol in ECHO:
        kind = selector.sport[0] if selector.sport != ANY_PORTS else ECHO[protocol]
        return protocol, kind, selector.dport[0] if selector.dport != ANY_PORTS else 0
    usual = 40000 if protocol in (UDP, TCP) else 0
    sport, dport = (usual if low <= usual <= high else low for low, high in (selector.sport, selector.dport))
    return protocol, sport, dport


def _ingresses(router: Router, path: Path, ingress: str | None) -> list[str]:
    """Interfaces by which a host's datagrams may come in: those that face hosts before the egress itself."""
    if ingress is not None:
        return [ingress]
    vrf = router.routing.vrf_of(router.config.interfaces[path.tunnel or path.egress])
    names = [
        name for name, i in router.config.interfaces.items()
        if not i.shutdown and i.tunnel is None and not name.startswith(("Loopback", "Null"))
        and router.routing.vrf_of(i) == vrf and (i.addresses4 or i.addresses6)
    ]  # fmt: skip
    return sorted(names, key=lambda n: (n == path.egress, router.config.interfaces[n].crypto_map is not None))


def _vrf(router: Router, ingress: str) -> int:
    return router.routing.vrf_of(router.config.interfaces[ingress])


def _sources(router: Router, name: str, selector: Selector) -> Iterator[Address]:
    """Sources behind an interface that a selector names: hosts on its link, then what is routed there, then any."""
    interface = router.config.interfaces[name]
    linked = [a.network for a in interface_addresses(interface)
              if a.version == selector.family and not a.is_link_local]  # fmt: skip
    behind = [r.prefix for r in router.routing.routes if r.out_if == router.interfaces.row[name]
              and r.prefix.version == selector.family and not r.local and r.prefix.prefixlen]  # fmt: skip
    for network in (*linked, *behind):
        for address in _within(network, *selector.src):
            if not _is_own(router, address):
                yield address
    if selector.src[1]:
        yield from _within(_everything(selector.family), *selector.src)


def _destinations(lab: Any, path: Path, selector: Selector, to: Sequence[Address]) -> Iterator[Address]:
    """Destinations that a selector names or that are routed into a tunnel: hosts of the peer before any other."""
    if to:
        yield from (a for a in to if a.version == selector.family)
        return
    seen: set[Address] = set()
    for network in _targets(lab, path, selector):
        for address in islice(_within(network, *selector.dst), 3):
            if address not in seen and not _is_own(lab.router, address):
                seen.add(address)
                yield address


def _targets(lab: Any, path: Path, selector: Selector) -> Iterator[Any]:
    """Networks in which to look for a destination."""
    router: Router = lab.router
    if lab.peer is not None:
        for interface in lab.peer.config.interfaces.values():
            if interface.tunnel is None and not interface.shutdown and not interface.crypto_map:
                yield from (a.network for a in interface_addresses(interface)
                            if a.version == selector.family and not a.is_link_local)  # fmt: skip
    row = router.interfaces.row[path.tunnel or path.egress]
    linked = {a.network for a in interface_addresses(router.config.interfaces[path.tunnel or path.egress])}
    routes = [r.prefix for r in router.routing.routes
              if r.out_if == row and not r.local and r.prefix.version == selector.family]  # fmt: skip
    routes.sort(key=lambda prefix: prefix in linked)
    if path.tunnel is None:
        yield _everything(selector.family)
        yield from (prefix for prefix in routes if prefix.prefixlen)
    else:
        for prefix in routes:
            yield prefix if prefix.prefixlen else OUTSIDE[selector.family]


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


def _is_own(router: Router, address: Address) -> bool:
    return any(address == a.ip for i in router.config.interfaces.values() for a in interface_addresses(i))
