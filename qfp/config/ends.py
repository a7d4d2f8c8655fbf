"""Which addresses a configuration gives to interfaces, peers and the two ends of a tunnel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING, Any

from .model import Address, Address6, Configuration, Interface, Network, Peer, TunnelConfig

if TYPE_CHECKING:
    from .routing import Routing

GRE_MODES = ("gre ip", "gre ipv6")
_UNIVERSAL = 0x02 << 40  # the bit of a MAC address that EUI-64 inverts: 0 = made by IEEE's rules, 1 = local
_FFFE = 0xFFFE << 24


def is_modelled(tunnel: TunnelConfig) -> bool:
    """Whether the tunnel's mode is one that carries packets here."""
    return tunnel.mode in GRE_MODES or tunnel.is_vti or tunnel.is_multipoint


def interface_addresses(config: Configuration, interface: Interface) -> list[IPv4Interface | IPv6Interface]:
    """IPv4 and IPv6 addresses of an interface, in the order of the configuration."""
    six = (eui64(config, interface, each) if each.eui64 else each.interface for each in interface.addresses6)
    return [*interface.addresses4, *six]


def mac_of(config: Configuration, interface: Interface) -> int:
    """The 48-bit MAC address of an interface: `mac-address`, of a subinterface that of its interface.

    A modelled interface has no burnt-in address. One of the local kind is derived from host name and interface name, so
    that it is the same wherever the section stands, and another one on the other router of a link.
    """
    main = interface.name.partition(".")[0]
    for each in (interface, config.interfaces.get(main)):
        if each is not None and each.mac is not None:
            return int(each.mac.replace(".", ""), 16)
    derived = hashlib.sha256(f"{config.hostname}|{main}".encode()).digest()
    return 0x02 << 40 | int.from_bytes(derived[:5])


def eui64(config: Configuration, interface: Interface, address: Address6) -> IPv6Interface:
    """The address with the interface identifier in its low half (RFC 4291 appendix A)."""
    network = address.interface.network
    mac = mac_of(config, interface) ^ _UNIVERSAL
    identifier = (mac >> 24) << 40 | _FFFE | mac & 0xFFFFFF
    return IPv6Interface(f"{network.network_address + identifier}/{network.prefixlen}")


def own_address(config: Configuration, interface: Interface, version: int) -> Address | None:
    """First address of an interface in a family, global scope before link-local."""
    found = [each.ip for each in interface_addresses(config, interface) if each.version == version]
    return min(found, key=lambda each: each.is_link_local) if found else None


def default_peer(entry: Any, config: Configuration) -> Address | None:
    """Address of the peer that an entry goes to at first: the one marked default, else the first. None: not known."""
    peers = getattr(entry, "peers", ())
    if not peers:
        return None
    return peer_address(next((each for each in peers if each.default), peers[0]), config)


def peer_address(peer: Peer, config: Configuration) -> Address | None:
    """Address of one `set peer`, its name resolved; None when the name is not known."""
    if peer.address is not None:
        return peer.address
    return next(iter(config.resolve(peer.hostname or "")), None)


def tunnel_ends(config: Configuration, interface: Interface) -> tuple[Address | None, Address | None]:
    """(source, destination) of a tunnel, names and interfaces resolved; None where one is not known."""
    tunnel = interface.tunnel
    assert tunnel is not None
    peer, local = tunnel.destination, tunnel.source
    if isinstance(peer, str):
        peer = next(iter(config.resolve(peer)), None)
    if isinstance(local, str):
        home = config.interfaces.get(local)
        local = own_address(config, home, peer.version) if home is not None and peer is not None else None
    return local, peer


def own_end(config: Configuration, interface: Interface, version: int) -> Address | None:
    """Source of a tunnel whose destinations are of a family, an interface resolved; None where it is not known."""
    assert interface.tunnel is not None
    local = interface.tunnel.source
    if isinstance(local, str):
        home = config.interfaces.get(local)
        return own_address(config, home, version) if home is not None else None
    return local if local is not None and local.version == version else None


@dataclass(frozen=True)
class PeerWay:
    """A peer of a multipoint tunnel. under: row of the interface by which it is reached, -1 = none; networks: the next
    hops that are mapped to it; multicast: whether multicast is."""

    peer: Address
    under: int
    networks: tuple[Network, ...]
    multicast: bool


def peer_ways(
    config: Configuration, routing: Routing, interface: Interface, row: int
) -> tuple[list[PeerWay], list[Address | str]]:
    """(peers of a multipoint tunnel, row `row` of the interfaces; the NBMA addresses that nothing reaches: no route but
    by the tunnel itself; a name that is not known or an address of the other family, which make no peer)."""
    tunnel = interface.tunnel
    assert tunnel is not None
    version = 6 if tunnel.mode.endswith("ipv6") else 4
    found: dict[Address, PeerWay] = {}
    lost = []
    for named in tunnel.nbma:
        peer = next(iter(config.resolve(named)), None) if isinstance(named, str) else named
        route = routing.lookup(peer, routing.vrfs.get(tunnel.vrf, 0))
        under = route.out_if if route is not None and route.out_if != row else -1
        if peer is None or peer.version != version or under < 0:
            lost.append(named)
        if peer is None or peer.version != version:
            continue
        same = found.get(peer)
        networks = (same.networks if same else ()) + tuple(m.network for m in tunnel.nhrp_maps if m.peer == named)
        multicast = named in tunnel.nhrp_multicast or (same is not None and same.multicast)
        found[peer] = PeerWay(peer, under, networks, multicast)
    return list(found.values()), lost


@dataclass(frozen=True)
class TunnelWay:
    """What a tunnel runs over. under: row of the interface by which its destination is reached, -1 = none; looped: that
    is the tunnel itself; complete: nothing that it needs is missing."""

    local: Address | None
    peer: Address | None
    under: int
    looped: bool
    complete: bool


def tunnel_way(config: Configuration, routing: Routing, interface: Interface, row: int) -> TunnelWay:
    """How a GRE tunnel or a VTI, row `row` of the interfaces, reaches its destination."""
    tunnel = interface.tunnel
    assert tunnel is not None
    local, peer = tunnel_ends(config, interface)
    route = routing.lookup(peer, routing.vrfs.get(tunnel.vrf, 0))
    under = route.out_if if route is not None else -1
    profile = tunnel.protection_profile
    protected = profile in config.profiles or (profile is None and not tunnel.is_vti)
    complete = local is not None and peer is not None and under >= 0 and protected
    return TunnelWay(local, peer, under, under == row, complete)
