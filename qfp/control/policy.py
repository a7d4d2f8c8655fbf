"""From crypto maps and tunnel protection to the SPD: rules for the data plane, and what each entry wants protected.

An SPD entry stands for one permit rule of one crypto map entry, as on IOS, where every such rule has its own pair of
SAs (the proxy identities are the rule's addresses, protocol and ports).
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from qfp.config import Configuration
from qfp.config.boxes import port_ranges
from qfp.config.ends import default_peer, own_address, tunnel_ends
from qfp.config.model import CryptoMap, CryptoMapEntry, Interface, IpsecProfile, TunnelConfig
from qfp.tables import spd
from qfp.tables.spd import ANY_PORTS, Policies, Rule
from qfp_kernels.layout import SP_DISCARD, SP_PROTECT

Address = IPv4Address | IPv6Address
Common = tuple[str, str | None, Address, Address, int | None]  # profile, VRF, ends and protocol of shared SAs
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
    settings: CryptoMapEntry | IpsecProfile
    interface: Interface
    where: str  # for messages: crypto map NAME SEQ, or the tunnel
    vti: bool = False
    manual: bool = False
    tunnel: bool = False  # of a tunnel interface, VTI or GRE


@dataclass
class PolicyBuilder:
    """Reads a configuration into `policies` and `wants`. What is incomplete has been reported: see
    qfp.config.effects."""

    config: Configuration
    policies: Policies
    wants: list[Want] = field(default_factory=list)
    spd_of: dict[tuple[str, str], int] = field(default_factory=dict)
    shared: dict[Common, int] = field(default_factory=dict)

    def crypto_map(self, interface: Interface, name: str, family: int) -> int:
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
        self,
        cmap: CryptoMap,
        entry: CryptoMapEntry,
        number: int,
        home: Interface,
        interface: Interface,
        family: int,
        prio: int,
    ) -> list[Rule]:
        """Rules of one crypto map entry; an incomplete entry has none, as on IOS.

        No SA is chosen by conditions such as `established`: a permit entry with one protects all that its addresses,
        protocol and ports say, a deny entry with one exempts nothing. So no less is protected than the file asks.
        """
        where = f"crypto map {cmap.name} {entry.seq}"
        lists = self.config.access_lists if family == 4 else self.config.ipv6_access_lists
        acl = lists.get(entry.acl or "")
        peer, local = self._ends(entry, home)
        if acl is None or peer is None or local is None:
            return []
        rules: list[Rule] = []
        seen: set[tuple[object, ...]] = set()
        for ace in acl.rules:
            ranges = [(sport, dport) for sport in port_ranges(ace, "sport") for dport in port_ranges(ace, "dport")]
            key = (ace.src, ace.dst, ace.protocol, tuple(ranges))
            if key in seen or (not ace.permit and ace.beyond_selectors):
                continue  # an equal entry before it takes all its packets
            seen.add(key)
            row = self.policies.entry(action=SP_PROTECT) if ace.permit else -1
            rules += [
                Rule(acl.family, ace.permit, ace.src, ace.dst, ace.protocol, sport, dport, number, row, prio)
                for sport, dport in ranges
            ]
            prio += 1
            if ace.permit:
                selector = Selector(acl.family, ace.src, ace.dst, ace.protocol, *ranges[-1])
                manual = entry.kind == "ipsec-manual"
                self.wants.append(Want(row, selector, local, peer, entry, interface, where, manual=manual))
        return rules

    def _ends(self, entry: CryptoMapEntry, home: Interface) -> tuple[Address | None, Address | None]:
        """(peer, local) addresses of an entry: the default peer or the first one, and ours of its family."""
        address = default_peer(entry, self.config)
        return address, own_address(self.config, home, address.version) if address is not None else None

    def tunnel(self, interface: Interface, tunnel: TunnelConfig, row: int) -> int:
        """SPD of a protected VTI, row `row` of the interfaces: everything that is routed into it. -1 when the tunnel is
        incomplete."""
        entry = self.protection(interface, tunnel, row, None)
        if entry < 0:
            return -1
        carried = tunnel.overlay
        refused = entry if len(carried) == 2 else self.policies.entry(action=SP_DISCARD)
        rules = [
            Rule(version, True, ANY, ANY, sp=entry if version in carried else refused, prio=k)
            for k, version in enumerate((4, 6))
        ]
        return self.policies.add(spd.columns(rules))

    def protection(self, interface: Interface, tunnel: TunnelConfig, row: int, protocol: int | None) -> int:
        """SPD entry of `tunnel protection` on an interface; -1 when the tunnel is incomplete. `protocol`: 47 for GRE,
        whose SAs carry (tunnel source, tunnel destination, 47) alone (BASE-5)."""
        local, peer = tunnel_ends(self.config, interface)
        profile = self.config.profiles.get(tunnel.protection_profile or "")
        if local is None or peer is None or profile is None:
            return -1
        return self.peer(interface, tunnel, profile, row, protocol, local, peer)

    def peer(
        self, interface: Interface, tunnel: TunnelConfig, profile: IpsecProfile, row: int, protocol: int | None,
        local: Address, peer: Address,
    ) -> int:  # fmt: skip
        """SPD entry of `tunnel protection` for one peer. GRE tunnels with `shared` have one entry for the same profile,
        source and peer, and with it one pair of SAs: the key in the GRE header tells them apart."""
        common = (profile.name, tunnel.vrf, local, peer, protocol)
        shared = tunnel.shared and protocol is not None
        if shared and common in self.shared:
            return self.shared[common]
        entry = self.policies.entry(action=SP_PROTECT)
        if shared:
            self.shared[common] = entry
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
