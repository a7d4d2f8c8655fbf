"""From crypto maps and tunnel protection to the SPD: rules for the data plane, and what each entry wants protected.

An SPD entry stands for one permit rule of one crypto map entry, as on IOS, where every such rule has its own pair of
SAs (the proxy identities are the rule's addresses, protocol and ports).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Any

from qfp.config import Configuration
from qfp.control.routing import Routing, interface_addresses
from qfp.tables import spd
from qfp.tables.spd import ANY_PORTS, Policies, Rule
from qfp_kernels.layout import SP_PROTECT

Address = IPv4Address | IPv6Address
ANY = (0, 0)


@dataclass(frozen=True)
class Selector:
    """Proxy identities of an entry, as the local end sees them: (value, mask) pairs, inclusive port ranges."""

    family: int
    src: tuple[int, int] = ANY
    dst: tuple[int, int] = ANY
    protocol: int | None = None
    sport: tuple[int, int] = ANY_PORTS
    dport: tuple[int, int] = ANY_PORTS

    def reversed(self) -> "Selector":
        """The same traffic in the other direction."""
        return Selector(self.family, self.dst, self.src, self.protocol, self.dport, self.sport)

    def hosts(self) -> tuple[int, int] | None:
        """(source, destination) when both are single addresses, else None."""
        whole = 2**32 - 1 if self.family == 4 else 2**128 - 1
        return (self.src[0], self.dst[0]) if self.src[1] == self.dst[1] == whole else None


@dataclass
class Want:
    """An SPD entry that needs SAs: what keying works from."""

    sp: int
    selector: Selector
    local: Address
    peer: Address
    settings: Any  # CryptoMapEntry or IpsecProfile
    interface: Any
    where: str  # for messages: crypto map NAME SEQ, or the tunnel
    vti: bool = False
    manual: bool = False
    tunnel: bool = False  # of a tunnel interface, VTI or GRE


@dataclass
class PolicyBuilder:
    """Reads a configuration into `policies` and `wants`; `warn(line, message, hint)` takes what is incomplete."""

    config: Configuration
    routing: Routing
    policies: Policies
    warn: Callable[[int, str, str], None]
    wants: list[Want] = field(default_factory=list)
    spd_of: dict[tuple[str, str], int] = field(default_factory=dict)

    def crypto_map(self, interface: Any, name: str, family: int) -> int:
        """SPD of a crypto map on an interface; its number. The same map on two interfaces has its SAs twice, unless
        `local-address` makes them share (then one SPD serves both)."""
        cmap = self.config.crypto_maps.get(name)
        if cmap is None:
            return -1
        key = (name, "" if cmap.local_address else interface.name)
        if key in self.spd_of:
            return self.spd_of[key]
        home = self.config.interfaces.get(cmap.local_address, interface) if cmap.local_address else interface
        rules: list[Rule] = []
        for number, entry in enumerate(cmap.entries):
            rules += self._entry(cmap, entry, number, home, interface, family, len(rules))
        self.spd_of[key] = self.policies.add(spd.columns(rules))
        return self.spd_of[key]

    def _entry(
        self, cmap: Any, entry: Any, number: int, home: Any, interface: Any, family: int, prio: int
    ) -> list[Rule]:
        """Rules of one crypto map entry; an incomplete entry has none, as on IOS."""
        where = f"crypto map {cmap.name} {entry.seq}"
        lists = self.config.access_lists if family == 4 else self.config.ipv6_access_lists
        acl = lists.get(entry.acl or "")
        peer, local = self._ends(entry, home, where)
        if acl is None or peer is None or local is None:
            if entry.dynamic_map:
                self.warn(entry.line, f"{where}: a dynamic map has no peer until one calls", "its traffic gets no SA")
            return []
        rules = []
        for ace in acl.entries:
            if ace.established or ace.fragments or ace.dscp is not None or ace.precedence is not None:
                self.warn(ace.line, f"{where}: an SA is not chosen by established, fragments, dscp or precedence",
                          "this entry of the access list is left out")  # fmt: skip
                continue
            selector = Selector(acl.family, ace.src, ace.dst, ace.protocol)
            row = self.policies.entry(action=SP_PROTECT) if ace.permit else -1
            for sport in port_ranges(ace, "sport"):
                for dport in port_ranges(ace, "dport"):
                    rules.append(
                        Rule(acl.family, ace.permit, ace.src, ace.dst, ace.protocol, sport, dport, number, row, prio)
                    )
                    selector = Selector(acl.family, ace.src, ace.dst, ace.protocol, sport, dport)
            prio += 1
            if ace.permit:
                manual = entry.kind == "ipsec-manual"
                self.wants.append(Want(row, selector, local, peer, entry, interface, where, manual=manual))
        return rules

    def _ends(self, entry: Any, home: Any, where: str) -> tuple[Address | None, Address | None]:
        """(peer, local) addresses of an entry: the default peer or the first one, and ours of its family."""
        if not entry.peers:
            return None, None
        address = default_peer(entry, self.config)
        if address is None:
            self.warn(entry.line, f"{where}: the peer's name is not known", "add an `ip host` line")
            return None, None
        local = own_address(home, address.version)
        if local is None:
            self.warn(entry.line, f"{where}: {home.name} has no IPv{address.version} address", "give it one")
        return address, local

    def tunnel(self, interface: Any, row: int) -> int:
        """SPD of a protected VTI, row `row` of the interfaces: everything that is routed into it. -1 when the tunnel is
        incomplete."""
        entry = self.protection(interface, row, None)
        if entry < 0:
            return -1
        rules = [Rule(4, True, ANY, ANY, sp=entry, prio=0), Rule(6, True, ANY, ANY, sp=entry, prio=1)]
        return self.policies.add(spd.columns(rules))

    def protection(self, interface: Any, row: int, protocol: int | None) -> int:
        """SPD entry of `tunnel protection` on an interface; -1 when the tunnel is incomplete. `protocol`: 47 for GRE,
        whose SAs carry (tunnel source, tunnel destination, 47) alone (BASE-5)."""
        local, peer = self.tunnel_ends(interface)
        profile = self.config.profiles.get(interface.tunnel.protection_profile or "")
        if local is None or peer is None or profile is None:
            return -1
        entry = self.policies.entry(action=SP_PROTECT)
        self.policies.tables.t.sp["tun"][entry] = row
        whole = 2**32 - 1 if peer.version == 4 else 2**128 - 1
        selector = Selector(peer.version)
        if protocol is not None:
            selector = Selector(peer.version, (int(local), whole), (int(peer), whole), protocol)
        where = f"interface {interface.name}"
        self.wants.append(
            Want(entry, selector, local, peer, profile, interface, where, vti=protocol is None, tunnel=True)
        )
        return entry

    def tunnel_ends(self, interface: Any) -> tuple[Address | None, Address | None]:
        """(source, destination) of a tunnel, names and interfaces resolved; None where one is not known."""
        tunnel = interface.tunnel
        peer = tunnel.destination
        if isinstance(peer, str):
            peer = next(iter(self.config.hosts.get(peer, [])), None)
        local = tunnel.source
        if isinstance(local, str):
            home = self.config.interfaces.get(local)
            local = own_address(home, peer.version) if home is not None and peer is not None else None
        return local, peer


def default_peer(entry: Any, config: Configuration) -> Address | None:
    """Address of the peer that an entry goes to at first: the one marked default, else the first. None: not known."""
    peers = getattr(entry, "peers", ())
    if not peers:
        return None
    return peer_address(next((p for p in peers if p.default), peers[0]), config)


def peer_address(peer: Any, config: Configuration) -> Address | None:
    """Address of one `set peer`, its name resolved; None when the name is not known."""
    known = config.hosts.get(peer.hostname or "", [])
    return peer.address if peer.address is not None else next(iter(known), None)


def own_address(interface: Any, version: int) -> Address | None:
    """First address of an interface in a family, global scope before link-local."""
    found = [a.ip for a in interface_addresses(interface) if a.version == version]
    return min(found, key=lambda a: a.is_link_local) if found else None


def port_ranges(ace: Any, side: str) -> list[tuple[int, int]]:
    """Inclusive port ranges of one side of a rule; ICMP type and code stand in the place of ports."""
    if ace.protocol in (1, 58):
        value = ace.icmp_type if side == "sport" else ace.icmp_code
        return [ANY_PORTS] if value is None else [(value, value)]
    match = getattr(ace, side)
    if match is None:
        return [ANY_PORTS]
    if match.op == "eq":
        return [(p, p) for p in (match.ports or (match.low,))]
    if match.op == "neq":
        holes = sorted(match.ports or (match.low,))
        edges = [-1, *holes, 65536]
        return [(a + 1, b - 1) for a, b in pairwise(edges) if a + 1 <= b - 1]
    return [(match.low, match.high)]
