"""Rows of interfaces: policies, VRF, tunnel, and what an interface answers with.

MTUs follow when SAs are known (qfp.control.sizes). An incomplete tunnel is down: a VTI without a policy would send in
clear what is routed into it.
"""

from ipaddress import IPv4Address, IPv6Address

from qfp.config import Configuration
from qfp.config.ends import is_modelled, own_address, own_end, peer_ways, tunnel_way
from qfp.config.model import Interface, TunnelConfig
from qfp.config.routing import Routing
from qfp.control import tunnels
from qfp.control.mtu import df_rule
from qfp.control.policy import PolicyBuilder
from qfp.control.tunnels import IPPROTO_GRE, GreTunnel
from qfp.tables.interfaces import Interfaces
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp_kernels.layout import IF_GRE, IF_HELD, IF_OTHER, IF_PHYSICAL, IF_VTI, PEERS_ONLY

Fields = dict[str, int]


class Ports:
    """Fills `ifs` from a configuration. `gre`: the GRE tunnels that can carry packets. dead_end: the VRF of interfaces
    that are held down, where nothing goes on."""

    def __init__(
        self, config: Configuration, tables: Tables, sad: Sad, interfaces: Interfaces, routing: Routing,
        policy: PolicyBuilder, dead_end: int,
    ):  # fmt: skip
        self._config, self._tables, self._sad = config, tables, sad
        self._interfaces, self._routing, self._policy, self._dead_end = interfaces, routing, policy, dead_end
        self.gre: list[GreTunnel] = []
        for name, row in interfaces.row.items():
            self._fill(config.interfaces[name], row)

    def _fill(self, interface: Interface, row: int) -> None:
        """The row of one interface."""
        host = self._host(interface)
        if interface.name in self._config.held.interfaces:
            self._interfaces.set(row, vrf=self._dead_end, **host, kind=IF_HELD, up=0)
            return
        fields: Fields = {"spd4": -1, "spd6": -1, "up": not interface.is_down}
        if interface.crypto_map:
            fields["spd4"] = self._policy.crypto_map(interface, interface.crypto_map, 4)
        if interface.ipv6_crypto_map:
            fields["spd6"] = self._policy.crypto_map(interface, interface.ipv6_crypto_map, 6)
        if interface.tunnel is not None and not interface.is_template:
            fields |= self._tunnel(interface, interface.tunnel, row, bool(fields["up"]))
        self._interfaces.set(row, vrf=self._routing.vrf_of(interface), **host, **fields)

    def _host(self, interface: Interface) -> Fields:
        """What an interface answers with, and the TCP segments that it lets through."""
        own = {family: own_address(self._config, interface, family) for family in (4, 6)}
        if interface.unnumbered in self._config.interfaces:
            home = self._config.interfaces[interface.unnumbered]
            own = {family: address or own_address(self._config, home, family) for family, address in own.items()}
        own6 = int(own[6] or 0)
        return {
            "own4": int(own[4] or 0), "own6h": own6 >> 64, "own6l": own6 & (2**64 - 1),
            "errors4": interface.unreachables, "errors6": interface.unreachables6,
            "mss4": interface.tcp_adjust_mss or 0, "mss6": interface.ipv6_tcp_adjust_mss or 0,
        }  # fmt: skip

    def _tunnel(self, interface: Interface, tunnel: TunnelConfig, row: int, up: bool) -> Fields:
        """Fields of a tunnel interface."""
        if not is_modelled(tunnel):
            return {"kind": IF_OTHER}
        if tunnel.is_multipoint:
            return self._multipoint(interface, tunnel, row)
        way = tunnel_way(self._config, self._routing, interface, row)
        if way.under >= 0 and self._interfaces.names[way.under] in self._config.held.interfaces:
            return {"kind": IF_HELD, "up": 0}
        entry = self._protection(interface, tunnel, row)
        if entry is None or not way.complete or way.local is None or way.peer is None:
            return {"kind": IF_PHYSICAL, "up": 0}
        if tunnel.is_vti:
            under = -1 if way.looped else way.under
            return {"kind": IF_VTI, "under": under, "up": up and not way.looped, "spd4": entry, "spd6": entry}
        if not up:
            return {"kind": IF_PHYSICAL, "up": 0}
        df = df_rule(self._config, interface)
        id_row = tunnels.id_rows(self._tables, self._sad, way.local, way.peer)
        vrf = self._front_door(tunnel)
        self.gre.append(GreTunnel(row, way.local, way.peer, tunnel, vrf, entry, id_row, df, way.under))
        return {"kind": IF_GRE, "under": way.under, "up": up}

    def _multipoint(self, interface: Interface, tunnel: TunnelConfig, row: int) -> Fields:
        """Fields of a multipoint GRE tunnel; its head and its peers become rows of their own."""
        config = self._config
        any_peer = IPv6Address(0) if tunnel.mode.endswith("ipv6") else IPv4Address(0)
        local = own_end(config, interface, any_peer.version)
        named = tunnel.protection_profile
        profile = config.profiles.get(named or "")
        if interface.shutdown or local is None or (named is not None and profile is None):
            return {"kind": IF_PHYSICAL, "up": 0}
        df, vrf = df_rule(config, interface), self._front_door(tunnel)
        ways, _ = peer_ways(config, self._routing, interface, row)
        home = self._routing.lookup(local, vrf)
        under = next((way.under for way in ways if way.under >= 0), home.out_if if home is not None else -1)
        sp = -1 if profile is None else PEERS_ONLY
        self.gre.append(GreTunnel(row, local, any_peer, tunnel, vrf, sp, 0, df, under, head=True))
        for way in ways:
            if profile is not None:
                sp = self._policy.peer(interface, tunnel, profile, row, IPPROTO_GRE, local, way.peer)
            id_row = tunnels.id_rows(self._tables, self._sad, local, way.peer)
            self.gre.append(GreTunnel(row, local, way.peer, tunnel, vrf, sp, id_row, df, way.under, hops=way.networks,
                                      multicast=way.multicast))  # fmt: skip
        return {"kind": IF_GRE, "under": under}

    def _front_door(self, tunnel: TunnelConfig) -> int:
        """The VRF in which a tunnel's own packets are routed."""
        return self._routing.vrfs.get(tunnel.vrf, 0)

    def _protection(self, interface: Interface, tunnel: TunnelConfig, row: int) -> int | None:
        """SPD of a VTI, SPD entry of a GRE tunnel's protection (-1 without one); None when it is incomplete."""
        if tunnel.is_vti:
            found = self._policy.tunnel(interface, tunnel, row)
        elif tunnel.protection_profile is None:
            return -1
        else:
            found = self._policy.protection(interface, tunnel, row, IPPROTO_GRE)
        return found if found >= 0 else None
