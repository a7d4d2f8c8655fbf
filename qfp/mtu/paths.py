"""Protected paths of a configuration, and for each a flow that really takes it.

Selectors and routes suggest sources and destinations; a datagram of each pair then goes through the data plane, and the
first whose verdict names the path's SA is taken. So a `deny`, an earlier entry or a longer prefix needs no second
implementation here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from qfp.config.ends import GRE_MODES, interface_addresses, own_end, peer_ways, tunnel_ends
from qfp.config.model import Interface, Network
from qfp.control.policy import Want
from qfp.explain.words import selector_text
from qfp.mtu import reading
from qfp.mtu.datagrams import Address, Flow
from qfp.mtu.flows import Candidates
from qfp.router import Router
from qfp.sizes import LENGTH_MAX
from qfp_kernels.drops import Verdict

TRIES = 48  # pairs of a source and a destination that are tried for a path


class MtuError(ValueError):
    """A question about MTUs that this configuration cannot answer; the message says what would."""


@dataclass
class Path:
    """A way through the router under one tunnel header. kind: crypto map, vti, gre, gre over ipsec.

    flows: by IP version of what goes in. sa: handle of the outbound SA next to the payload, -1 = none. egress: the
    interface that the protected packets leave by. tunnel: its interface, None behind a crypto map. note: why there is
    no flow. peer_ingress: the peer's interface at which its packets arrive; peer_note: why there is none.
    peer_tunnel: the peer's end of the tunnel. hops: of a multipoint tunnel, the next hops that are mapped to the peer.
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
    peer_tunnel: str | None = None
    mtus: dict[int, int] = field(default_factory=dict)  # of the tunnel interface, by family
    hops: tuple[Network, ...] = ()

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


def find(
    lab: Any, ingress: str | None = None, to: Sequence[Address] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:  # fmt: skip
    """All protected paths, those without a flow with a note. ingress: the interface by which datagrams come in. to:
    destinations; with them only paths that one of these takes. on_progress(done, total): after every path. Raises
    MtuError when there is none."""
    router: Router = lab.router
    if ingress is not None:
        ingress = router.interface(ingress)
    found = [*_tunnels(router), *_maps(router)]
    if not found:
        held = [f"{name} is held down: {why}" for name, why in router.config.held.interfaces.items()]
        bare = "the configuration has no crypto map on an interface and no tunnel: nothing is protected"
        raise MtuError(held[0] if held else bare)
    candidates, ends = Candidates(router, lab.peer, ingress, to), _ends(lab.peer)
    tunnels = _tunnels_of(lab.peer)
    for k, path in enumerate(found):
        path.peer_tunnel = tunnels.get((path.peer, path.local)) if path.tunnel is not None else None
        if path.note is None:
            _search(lab, path, candidates, ends)
        if on_progress is not None:
            on_progress(k + 1, len(found))
    carriers = {path.sp for path in found if path.gre and path.sp >= 0}
    found = [path for path in found if not _is_carrier(path, carriers)]
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
        if interface.tunnel is None or interface.is_template:
            continue
        if interface.tunnel.is_multipoint:
            paths += _peers(router, name, interface)
            continue
        if not (interface.tunnel.is_vti or interface.tunnel.mode in GRE_MODES):
            continue
        local, peer = tunnel_ends(router.config, interface)
        kind = "vti" if interface.tunnel.is_vti else "gre"
        path = Path(kind, f"interface {name}", "everything that is routed into it", local, peer, tunnel=name)
        under = int(router.tables.t.ifs["under"][router.interfaces.row[name]])
        path.egress = router.interfaces.names[under] if under >= 0 else name
        path.mtus = {family: router.sizes.mtus[name, family] for family in (4, 6)}
        if not router.tables.t.ifs["up"][router.interfaces.row[name]]:
            path.note = "the tunnel is down"
        paths.append(path)
    return paths


def _peers(router: Router, name: str, interface: Interface) -> list[Path]:
    """A path for every mapped peer of a multipoint tunnel."""
    row = router.interfaces.row[name]
    ways, _ = peer_ways(router.config, router.routing, interface, row)
    paths = []
    for way in ways:
        local = own_end(router.config, interface, way.peer.version)
        rule = f"everything that is routed to {', '.join(map(str, way.networks[:3])) or 'it'}"
        path = Path("gre", f"interface {name}", rule, local, way.peer, tunnel=name, hops=way.networks)
        path.egress = router.interfaces.names[way.under] if way.under >= 0 else name
        path.mtus = {family: router.sizes.mtus[name, family] for family in (4, 6)}
        if not router.tables.t.ifs["up"][row]:
            path.note = "the tunnel is down"
        elif way.under < 0:
            path.note = f"no route leads to {way.peer}"
        elif not way.networks:
            path.note = "only multicast is mapped to it"
        paths.append(path)
    return paths


def _is_carrier(path: Path, carriers: set[int]) -> bool:
    """Whether a crypto map's entry has nothing to carry but the GRE packets of this router's own tunnels. carriers:
    entries that do carry these."""
    return not path.flows and path.tunnel is None and path.sp in carriers


# ------------------------------------------------------------------------------------------------- a flow for each
def _search(lab: Any, path: Path, candidates: Candidates, ends: dict[Address, str]) -> None:
    """Find flows for a path by sending a datagram of each candidate. ends: addresses of the peer."""
    for family in (4, 6):
        for name, flow in islice(candidates.of(path, family), TRIES):
            if path.ingress and name != path.ingress:
                continue  # both families of a path by one interface
            if _takes(lab, path, flow, name, ends):
                path.flows[family], path.ingress = flow, name
                break
    if not path.flows and path.note is None:
        path.note = "no source and destination was found that take it"


def _takes(lab: Any, path: Path, flow: Flow, ingress: str, ends: dict[Address, str]) -> bool:
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
    if path.hops and reading.ends(result.packets, 0)[1] != path.peer:
        return False
    path.sa, path.sp = sa, sp
    path.egress = router.interfaces.names[int(result.packets.in_if[0])]
    path.kind = "gre over ipsec" if path.gre and sa >= 0 else path.kind
    _meet(lab.peer, path, result.packets, ends)
    return True


def _ends(peer: Router | None) -> dict[Address, str]:
    """Addresses of the peer, each with the first interface that has it."""
    found: dict[Address, str] = {}
    if peer is None:
        return found
    for name, interface in peer.config.interfaces.items():
        if not interface.is_down:
            for address in interface_addresses(peer.config, interface):
                found.setdefault(address.ip, name)
    return found


def _tunnels_of(peer: Router | None) -> dict[tuple[Address | None, Address | None], str]:
    """The peer's tunnels by (its own end, the other)."""
    found: dict[tuple[Address | None, Address | None], str] = {}
    if peer is None:
        return found
    for name, interface in peer.config.interfaces.items():
        if interface.tunnel is not None and interface.tunnel.is_multipoint:
            for way in peer_ways(peer.config, peer.routing, interface, peer.interfaces.row[name])[0]:
                found.setdefault((own_end(peer.config, interface, way.peer.version), way.peer), name)
        elif interface.tunnel is not None:
            found.setdefault(tunnel_ends(peer.config, interface), name)
    return found


def _meet(peer: Router | None, path: Path, packets: Any, ends: dict[Address, str]) -> None:
    """Where the path's packets arrive at the peer."""
    if peer is None:
        return
    src, dst = reading.ends(packets, 0)
    owner = ends.get(dst)
    if owner is None:
        path.peer_note = f"the peer's configuration has no interface with {dst}: it is not the other end of this path"
        return
    home = peer.config.interfaces[owner]
    route = peer.routing.lookup(src, peer.routing.vrf_of(home))
    by = peer.interfaces.names[route.out_if] if route is not None else owner
    path.peer_ingress = owner if not owner.startswith(("Loopback", "Tunnel")) else by


def _vrf(router: Router, ingress: str) -> int:
    return router.routing.vrf_of(router.config.interfaces[ingress])
