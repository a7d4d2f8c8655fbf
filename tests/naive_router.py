"""The slow twin of a router: the order of things, over the functions of the other `naive` files.

A frame goes down the file: `one`, fragments put together, IPsec, policy, GRE, then `_send`: route, TTL, size,
protection or tunnel. Errors about it follow at the end. Configuration and SAs are given (other tests judge the reader
and the keying); what is judged here is what the data plane does with them: RFC 4301 section 5 and the catalogue's
BASE-4 to BASE-9, PF and DF.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any

import naive
import naive_gre
import naive_icmp
import naive_sizes
from naive import Bad, Inbound, Ip, Outcome, State, read_ip
from naive_fragments import Reassembler, by_equal, by_largest
from naive_gre import GRE
from naive_mss import clamp
from naive_policy import Entry, Policy, Rule, distinct
from naive_routes import Routes
from naive_sizes import LEAST

from qfp.config import Configuration

TUNNELS_MAX = 4  # that a packet may go through, one in the other
GRE_FAMILY = {"gre ip": 4, "gre ipv6": 6}


class Punt(Exception):
    """The packet is for the router itself."""


@dataclass
class Packet:
    """A packet under way. `came`: the interface that it came in by, a tunnel if it came out of one."""

    ip: Ip
    came: str
    own: bool = False  # made by this router
    vrf: str | None = None
    tunnels: int = 0  # that it went into or came out of


class NaiveRouter:
    """The twin of `qfp.Router`, with the SAs of one: they are read from it before it runs."""

    def __init__(self, config: Configuration, router: Any):
        self.config = config
        self._pairs = iter(router.sadb.pairs)
        self._describe = router.sad.describe
        self.routes = Routes(config)
        self.idents: dict[tuple[Any, Any], int] = {}
        self.icmp_ident = self.icmp_ident6 = 0
        self.telling = False
        self.buckets = naive_icmp.buckets(config.icmp)
        self.reassembler = Reassembler()
        self.states: list[State] = []
        self.handles: list[tuple[int, State]] = []
        self.tunnels: dict[str, Entry | None] = {}  # VTIs and GRE tunnels, with what protects them
        self.gre: dict[str, list[naive_gre.Tunnel]] = {}  # by interface; a multipoint one has a tunnel a peer
        self.shared: dict[Any, Entry] = {}
        self.policies: dict[tuple[str, int], Policy] = {}
        self.entry_of: dict[int, Entry] = {}  # by id of the inbound state
        for interface in config.interfaces.values():
            self._interface(interface)
        self.inbound = Inbound(self.states, strict_udp=True)

    # ------------------------------------------------------------------------------------------- configuration
    def _interface(self, interface: Any) -> None:
        for family, cmap in ((4, interface.crypto_map), (6, interface.ipv6_crypto_map)):
            if cmap:
                self.policies[interface.name, family] = self._policy(self.config.crypto_maps[cmap], family, interface)
        if interface.tunnel is not None:
            self._tunnel(interface)

    def _policy(self, cmap: Any, family: int, interface: Any) -> Policy:
        lists = []
        acls = self.config.access_lists if family == 4 else self.config.ipv6_access_lists
        for entry in cmap.entries:
            if entry.peers and entry.acl in acls:
                rules = distinct(acls[entry.acl].entries)
                lists.append(
                    [Rule(ace, family, self._entry(entry, interface) if ace.permit else None) for ace in rules]
                )
        return Policy(lists)

    def _tunnel(self, interface: Any) -> None:
        """A tunnel of a kind that is modelled: source, destination and a route to it make it come up."""
        c = interface.tunnel
        if c.is_multipoint:
            self._multipoint(interface)
            return
        profile = self.config.profiles.get(c.protection_profile or "")
        entry = None
        if profile is not None:
            entry = self._entry(profile, interface, tunnel=interface.name, gre=not c.is_vti)
        self.tunnels[interface.name] = entry
        if c.mode in GRE_FAMILY:
            local = self._source(c)
            up = local is not None and self.routes.find(int(c.destination), c.destination.version, c.vrf) is not None
            tunnel = naive_gre.Tunnel(interface.name, local, c.destination, c, c.vrf, up, entry=entry)
            self.gre[interface.name] = [tunnel]

    def _multipoint(self, interface: Any) -> None:
        """A tunnel to every NBMA address that NHRP entries name, and one from anybody."""
        c = interface.tunnel
        version = 6 if c.mode == "gre multipoint ipv6" else 4
        own = self._own(self.config.interfaces[c.source], version) if isinstance(c.source, str) else int(c.source)
        local = ip_address(own.to_bytes(4 if version == 4 else 16))
        profile = self.config.profiles.get(c.protection_profile or "")
        self.tunnels[interface.name] = None
        found = []
        for peer in dict.fromkeys([*(m.peer for m in c.nhrp_maps), *c.nhrp_multicast]):
            common = (c.protection_profile, c.vrf, local, peer)
            entry = self.shared.get(common) if c.shared else None
            if profile is not None and entry is None:
                entry = self.shared[common] = self._entry(profile, interface, tunnel=interface.name, gre=True)
            hops = tuple(m.network for m in c.nhrp_maps if m.peer == peer)
            found.append(naive_gre.Tunnel(interface.name, local, peer, c, c.vrf, True, entry=entry, hops=hops,
                                          multicast=peer in c.nhrp_multicast))  # fmt: skip
        anyone = ip_address(bytes(4 if version == 4 else 16))
        head = naive_gre.Tunnel(interface.name, local, anyone, c, c.vrf, True, entry=profile and "none", anyone=True)
        self.gre[interface.name] = [*found, head]

    def _peer(self, name: str, ip: Ip, vrf: str | None) -> naive_gre.Tunnel:
        """The tunnel that a packet enters by an interface. Raises Bad."""
        tunnels = self.gre[name]
        if not tunnels[-1].anyone:
            return tunnels[0]
        hop = self.routes.hop(ip.dst, ip.family, vrf)
        if hop.is_multicast:
            fits = [t for t in tunnels if t.multicast]
            fits = fits if len(fits) == 1 else []
        else:
            prefixes = [(net.prefixlen, -k, t) for k, t in enumerate(tunnels) for net in t.hops if hop in net]
            fits = [max(prefixes, key=lambda found: found[:2])[2]] if prefixes else []
        if not fits:
            raise Bad("NO_NHRP_MAP")
        return fits[0]

    def _source(self, c: Any) -> Any:
        """`tunnel source`: an address, or an interface's of the destination's family."""
        if not isinstance(c.source, str):
            return c.source
        own = self._own(self.config.interfaces[c.source], c.destination.version)
        return ip_address(own) if c.destination.version == 4 else IPv6Address(own)

    def _entry(self, settings: Any, interface: Any, **kind: Any) -> Entry:
        """SAs of the next permit rule or tunnel: the router keeps its pairs in the order of the configuration."""
        pair = next(self._pairs)
        sides = ([State(self._describe(h)) for h in side] for side in (pair.outbound, pair.inbound))
        entry = Entry(*sides, settings, interface, **kind)
        self.states += entry.inbound
        handles = [*pair.outbound, *pair.inbound]
        self.handles += list(zip(handles, [*entry.outbound, *entry.inbound], strict=True))
        self.entry_of.update({id(s): entry for s in entry.inbound})
        return entry

    def df_rule(self, interface: Any, settings: Any = None) -> str:
        """Of the entry or profile, of the interface, global: the nearest wins (DF-1)."""
        own = settings.df_bit if settings is not None else None
        return own or interface.df_bit or self.config.ipsec.df_bit

    def before(self, interface: Any) -> bool:
        """Whether fragmentation comes before encryption; off by default on tunnel interfaces (PF-5)."""
        default = "before" if interface.tunnel is None else "after"
        return (interface.fragmentation or self.config.ipsec.fragmentation or default) == "before"

    def mtu(self, name: str, family: int) -> int:
        """MTU of an interface, tunnels included, for packets of a family."""
        interface = self.config.interfaces[name]
        if interface.tunnel is None:
            return naive_sizes.interface_mtu(interface, family)
        own = interface.ip_mtu if family == 4 else interface.ipv6_mtu
        return max(own or self._tunnel_default(name), LEAST[family])

    def _tunnel_default(self, name: str) -> int:
        if name in self.gre:
            first, *more = self.gre[name]
            known = [t for t in (first, *more) if not t.anyone and self.routes.find(int(t.peer), t.family, t.vrf)]
            ways = [self._path(int(t.peer), t.family, t.vrf) for t in known]
            ways = ways or [self._path(int(first.local), first.family, first.vrf)]
            return min(ways) - naive_sizes.gre_overhead(first.config)
        return self.plaintext(self._entry_of_tunnel(name))

    def _entry_of_tunnel(self, name: str) -> Entry:
        entry = self.tunnels[name]
        assert entry is not None
        return entry

    def _path(self, destination: int, family: int, vrf: str | None) -> int:
        """MTU of the interface that leads to an address."""
        found = self.routes.find(destination, family, vrf)
        return self.mtu(found[0], family) if found is not None else naive_sizes.DEFAULT_MTU

    def path_mtu(self, entry: Entry) -> int:
        """What the protected packet may be long: of the interface that it leaves by."""
        sa = entry.outbound[0].sa
        assert sa.dst is not None
        if entry.tunnel is None:
            return self.mtu(entry.interface.name, sa.dst.version)
        return self._path(int(sa.dst), sa.dst.version, entry.interface.tunnel.vrf)

    def plaintext(self, entry: Entry) -> int:
        return naive_sizes.plaintext_mtu(tuple(s.sa for s in entry.outbound), self.path_mtu(entry))

    def is_local(self, packet: Packet) -> bool:
        return self.routes.is_local(packet.ip.dst, packet.ip.family, packet.vrf)

    # -------------------------------------------------------------------------------------------------- inbound
    def forward(self, frames: Sequence[bytes], ingress: str, ts: Sequence[int]) -> list[Outcome]:
        return [self.one(frame, ingress, at) for frame, at in zip(frames, ts, strict=True)]

    def one(self, frame: bytes, ingress: str, ts: int = 0) -> Outcome:
        out = Outcome("")
        if not frame:
            out.verdict = "punted"
            return out
        self.packet: Packet | None = None  # whose fate is being decided
        try:
            self.packet = Packet(read_ip(frame), ingress, vrf=self.config.interfaces[ingress].vrf)
            self._receive(out, ts)
        except Punt:
            out.verdict = "punted"
        except Bad as bad:
            out.verdict, out.cause, out.packets = "dropped", bad.args[0], []
            if self.packet is not None:
                self._tell(out, self.packet, bad, ts)
        return out

    def _receive(self, out: Outcome, ts: int) -> None:
        """Fragments, IPsec and policy, then where the packet goes."""
        if not self._whole(out, ts):
            return
        packet = self.packet
        assert packet is not None
        if naive.is_protected(packet.ip) and self.is_local(packet) and self._open(out, packet):
            return
        self._check_policy(out, packet)
        self._go_on(out, ts)

    def _whole(self, out: Outcome, ts: int, *where: Any) -> bool:
        """Put fragments for the router itself together; False when the rest is not there yet."""
        packet = self.packet
        assert packet is not None
        if not packet.ip.fragment or not self.is_local(packet):
            return True
        ip = self.reassembler.take(packet.ip, ts, packet.vrf, *where)
        if ip is None:
            out.verdict = "consumed"
            return False
        packet.ip = ip
        return True

    def _open(self, out: Outcome, packet: Packet) -> bool:
        """IPsec inbound; True when the packet ends there."""
        opened = self.inbound.receive(packet.ip)
        out.take(opened)
        assert out.ip is not None
        packet.ip = out.ip
        if not out.verdict and out.chain:
            entry = self.entry_of[id(out.chain[-1])]
            if entry.tunnel is not None and not entry.gre:
                self._out_of(packet, entry.tunnel)
        if opened.verdict == "dropped":
            self.packet = None  # nothing is said about what did not open
        return bool(out.verdict)

    def _out_of(self, packet: Packet, tunnel: str) -> None:
        packet.came, packet.vrf = tunnel, self.config.interfaces[tunnel].vrf
        packet.tunnels += 1

    def _check_policy(self, out: Outcome, packet: Packet) -> None:
        """RFC 4301 section 5.2 step 4: what arrived must have come with all the protection that its policy asks for."""
        policy = self.policies.get((packet.came, packet.ip.family))
        wanted = policy.inbound(packet.ip) if policy is not None else None
        if not out.chain:
            if wanted is not None and not self._exempt(packet):
                raise Bad("NOT_IPSEC")
            return
        carried = self.entry_of[id(out.chain[-1])]
        needed = list(reversed(carried.inbound))  # outermost first
        if (carried.tunnel is None and wanted is not carried) or out.chain[-len(needed) :] != needed:
            raise Bad("POLICY_MISMATCH")
        if carried.gre and packet.ip.proto != GRE:
            raise Bad("POLICY_MISMATCH")

    def _exempt(self, packet: Packet) -> bool:
        """IPsec and IKE for the router itself need no protection of their own."""
        ip = packet.ip
        ike = ip.proto == naive.UDP and ip.dport in (500, 4500)
        return (ike or ip.proto in (naive.ESP, naive.AH)) and self.is_local(packet)

    def _go_on(self, out: Outcome, ts: int) -> None:
        """Out of GRE tunnels for as long as there are any, then on the way."""
        packet = self.packet
        assert packet is not None
        while self.gre and packet.ip.proto == GRE and self.is_local(packet):
            if not self._whole(out, ts, *(id(s) for s in out.chain)):
                return
            self._leave_gre(out, packet)
        out.packets = self._send(out, packet)
        out.made = len(out.packets) - 1
        out.verdict = "forwarded" if out.chain or out.protected else "bypassed"

    # ------------------------------------------------------------------------------------------------------ GRE
    def _leave_gre(self, out: Outcome, packet: Packet) -> None:
        """The inner packet comes in by the tunnel interface. Raises Bad, Punt."""
        ip = packet.ip
        gre = naive_gre.read(ip.data[ip.upper :])
        fits = [
            t for tunnels in self.gre.values() for t in tunnels
            if (int(t.local), t.family) == (ip.dst, ip.family) and t.config.key == gre.key
            and t.vrf == packet.vrf and (t.anyone or int(t.peer) == ip.src)
        ]  # fmt: skip
        fits.sort(key=lambda t: t.anyone)
        if not fits:
            raise Bad("GRE_NO_TUNNEL")
        tunnel = fits[0]
        self._check_protection(out, tunnel)
        if not tunnel.up:
            raise Bad("IF_DOWN")
        if not gre.sound:
            raise Bad("GRE_CHECKSUM")
        if gre.protocol not in (naive_gre.IPV4, naive_gre.IPV6):
            raise Punt
        self._check_number(tunnel, gre)
        packet.ip = self._out_of_gre(out, gre, ip.tos)
        self._out_of(packet, tunnel.name)
        if packet.tunnels > TUNNELS_MAX:
            raise Bad("TUNNEL_LOOP")

    def _out_of_gre(self, out: Outcome, gre: naive_gre.Gre, outer_tos: int) -> Ip:
        """Raises Bad."""
        family = 4 if gre.protocol == naive_gre.IPV4 else 6
        try:
            found = read_ip(gre.payload).family
        except Bad:
            raise Bad("BAD_INNER") from None
        if found != family:
            raise Bad("GRE_HEADER")
        try:
            inner, alarm = naive.from_tunnel(gre.payload, 4 if family == 4 else 41, outer_tos)
        except Bad as bad:
            out.alarms += bad.args[1]
            raise
        out.alarms += alarm
        return inner

    def _check_protection(self, out: Outcome, tunnel: naive_gre.Tunnel) -> None:
        """Raises Bad."""
        entry = tunnel.entry
        if entry is None:
            return
        if not out.chain:
            raise Bad("NOT_IPSEC")
        if self.entry_of[id(out.chain[-1])] is not entry:
            raise Bad("POLICY_MISMATCH")

    def _check_number(self, tunnel: naive_gre.Tunnel, gre: naive_gre.Gre) -> None:
        """Raises Bad."""
        if not tunnel.config.sequence or gre.number is None:
            return
        if naive_gre.is_late(gre.number, tunnel.last):
            raise Bad("GRE_SEQUENCE")
        tunnel.last = gre.number

    def _enter_gre(self, out: Outcome, packet: Packet, name: str) -> list[bytes]:
        """Into a tunnel: cut to its MTU, each piece behind a delivery header, which is routed in its turn."""
        tunnel = self._peer(name, packet.ip, packet.vrf)
        tunnel.clear = self.df_rule(self.config.interfaces[name]) == "clear"
        if packet.tunnels >= TUNNELS_MAX:
            raise Bad("TUNNEL_LOOP")
        if self.routes.find(int(tunnel.peer), tunnel.family, tunnel.vrf) is None:
            self.packet = None  # nobody is told what is wrong outside
            raise Bad("NO_ROUTE")
        delivery = []
        for piece in self._pieces_for_gre(packet, tunnel):
            ident = self._ident((tunnel.local, "gre", self.telling), tunnel.peer)
            data = naive_gre.encapsulate(tunnel, read_ip(piece), ident)
            own = Packet(read_ip(data), name, own=True, vrf=tunnel.vrf, tunnels=packet.tunnels + 1)
            delivery.append((own, ident))
        self.packet = delivery[0][0]
        return [p for own, ident in delivery for p in self._send(out, own, tunnel.entry, ident)]

    def _pieces_for_gre(self, packet: Packet, tunnel: naive_gre.Tunnel) -> list[bytes]:
        """Raises Bad."""
        ip = packet.ip
        mtu, size = self.mtu(tunnel.name, ip.family), len(ip.data)
        entry, interface = tunnel.entry, self.config.interfaces[tunnel.name]
        clear = self.df_rule(interface) == "clear"
        if ip.df and not clear and tunnel.config.path_mtu_discovery and entry is not None:
            mtu = max(min(mtu, self.plaintext(entry) - naive_sizes.gre_overhead(tunnel.config)), LEAST[4])
        if ip.family == 6:
            if size > max(mtu, LEAST[6]) and not packet.own:
                raise Bad("FRAG_NEEDED", mtu)
            return by_equal(ip.data, mtu) if size > mtu and packet.own else [ip.data]
        if ip.df and not clear and size > mtu:
            raise Bad("FRAG_NEEDED", mtu)
        return by_equal(ip.data, mtu) if size > mtu else [ip.data]

    def _ident(self, local: Any, peer: Any) -> int:
        """One of the numbers that tell datagrams between two addresses apart."""
        begins = 0x8000 if isinstance(local, tuple) and local[2] else 0  # errors into a tunnel begin half way round
        ident = self.idents.get((local, peer), begins)
        self.idents[local, peer] = ident + 1
        return ident

    # ------------------------------------------------------------------------------------------------- outbound
    def _send(self, out: Outcome, packet: Packet, entry: Entry | None = None, ident: int = 0) -> list[bytes]:
        """Route, TTL, size, protection: what is sent. `entry`, `ident`: of a GRE packet. Raises Bad, Punt."""
        ip = packet.ip
        found = self.routes.find(ip.dst, ip.family, packet.vrf)
        if found is not None and found[1]:
            if packet.own:
                raise Bad("TUNNEL_LOOP")
            raise Punt
        if ip.family == 6 and not packet.own and not self.config.unicast_routing6:
            raise Bad("IPV6_ROUTING_OFF")
        if found is None:
            raise Bad("NO_ROUTE")
        egress = found[0]
        self._check_up(egress)
        if egress in self.gre:
            self._peer(egress, ip, packet.vrf)
        entry = entry or self._entry_for(egress, ip)
        if entry is not None and not entry.outbound:
            raise Bad("NO_SA_OUT")
        if not packet.own:
            hop = read_ip(naive.one_hop(ip))
            self.packet = replace(packet, ip=self._adjusted(out, packet, egress, ip))  # an error quotes it so
            packet = replace(packet, ip=self._adjusted(Outcome(""), packet, egress, hop))
        if egress in self.gre:
            return self._enter_gre(out, packet, egress)
        if entry is None:
            return self._clear(packet, self.mtu(egress, ip.family), ident)
        if entry.tunnel == egress:
            return self._into_vti(out, entry, packet)
        return self._fit(out, entry, packet, ident)

    def _check_up(self, egress: str) -> None:
        """Raises Bad."""
        if egress in self.gre and not self.gre[egress][0].up:
            raise Bad("IF_DOWN")
        if egress in self.tunnels and egress not in self.gre and self.tunnels[egress] is None:
            raise Bad("IF_DOWN")

    def _entry_for(self, egress: str, ip: Ip) -> Entry | None:
        """What protects packets that leave by an interface."""
        if egress in self.gre:
            return None
        if egress in self.tunnels:
            return self.tunnels[egress]
        policy = self.policies.get((egress, ip.family))
        return policy.outbound(ip) if policy is not None else None

    def _adjusted(self, out: Outcome, packet: Packet, egress: str, ip: Ip) -> Ip:
        """The lowest `adjust-mss` of the interfaces that it comes in and leaves by."""
        ends = (self.config.interfaces[packet.came], self.config.interfaces[egress])
        limits = [i.tcp_adjust_mss if ip.family == 4 else i.ipv6_tcp_adjust_mss for i in ends]
        set_ = [n for n in limits if n]
        lower = clamp(ip, min(set_)) if set_ else ip
        out.clamped += lower is not ip
        return lower

    def _clear(self, packet: Packet, mtu: int, ident: int) -> list[bytes]:
        """Without protection: RFC 791 section 2.3; IPv6 is cut by its source alone (RFC 8200 section 4.5)."""
        ip = packet.ip
        if len(ip.data) <= mtu:
            return [ip.data]
        if ip.df and not (ip.family == 6 and packet.own):
            raise Bad("FRAG_NEEDED", mtu)
        return by_largest(ip.data, mtu, ident)

    def _into_vti(self, out: Outcome, entry: Entry, packet: Packet) -> list[bytes]:
        """A VTI has an MTU of its own, above which packets are cut before encryption whatever the state is."""
        ip = packet.ip
        mtu, plaintext = self.mtu(entry.interface.name, ip.family), self.plaintext(entry)
        if len(ip.data) <= mtu or (ip.family == 6 and packet.own):
            return self._fit(out, entry, packet, 0)
        rule = self.df_rule(entry.interface, entry.settings)
        if ip.family == 6 or (ip.df and rule != "clear"):
            raise Bad("FRAG_NEEDED", max(min(mtu, plaintext), LEAST[ip.family]))
        limit = max(min(mtu, plaintext), LEAST[4]) if self.before(entry.interface) else mtu
        pieces = by_equal(ip.data, limit)
        return [p for piece in pieces for p in self._fit(out, entry, replace(packet, ip=read_ip(piece)), 0)]

    def _fit(self, out: Outcome, entry: Entry, packet: Packet, ident: int) -> list[bytes]:
        """Chapter 3 of the guide: cut before encryption, after it, or not at all (PF-1, PF-4)."""
        ip, plaintext = packet.ip, self.plaintext(entry)
        if entry.transport:
            return self._fit_transport(out, entry, packet, plaintext)
        rule, before = self.df_rule(entry.interface, entry.settings), self.before(entry.interface)
        own6 = ip.family == 6 and packet.own  # its source may cut an IPv6 packet to any size
        limit = plaintext if own6 and before else max(plaintext, LEAST[ip.family])
        if len(ip.data) <= limit:
            return self._protect(out, entry, ip)
        if own6:
            cut = before
        elif ip.df and rule != "clear":
            raise Bad("FRAG_NEEDED", limit)
        else:
            cut = before and ip.family == 4
        pieces = by_equal(ip.data, limit, ident) if cut else [ip.data]
        return [p for piece in pieces for p in self._protect(out, entry, read_ip(piece))]

    def _fit_transport(self, out: Outcome, entry: Entry, packet: Packet, plaintext: int) -> list[bytes]:
        ip, sas = packet.ip, tuple(s.sa for s in entry.outbound)
        naive.check_transport(sas[0], ip)
        too_long = naive_sizes.transport_size(sas, ip) > self.path_mtu(entry)
        if too_long and ip.df and not (ip.family == 6 and packet.own):
            raise Bad("FRAG_NEEDED", plaintext)
        return self._protect(out, entry, ip)

    def _protect(self, out: Outcome, entry: Entry, ip: Ip) -> list[bytes]:
        """Seal a packet, and cut it after that if need be. Only one that is sent takes numbers (AR-1: 1, 2, 3, …)."""
        states = entry.outbound
        sa = states[0].sa
        if any(s.next_seq > s.high for s in states):
            raise Bad("SEQ_OVERFLOW")
        seqs = [s.next_seq for s in states]
        ident = self.idents.get((sa.src, sa.dst), 0)
        if entry.transport:
            data = naive.seal_transport(states, seqs, ip)
        else:
            rule = self.df_rule(entry.interface, entry.settings)
            data = naive.seal_tunnel(states, seqs, ip, ident, rule)
        self._ident(sa.src, sa.dst)
        out.protected = True
        out.spi, out.seq = states[-1].sa.spi, seqs[-1]
        for s in states:
            s.next_seq += 1
            s.packets += 1
            s.bytes += len(ip.data)
        path = self.path_mtu(entry)
        return by_largest(data, path, ident) if len(data) > path else [data]

    # --------------------------------------------------------------------------------------------------- errors
    def _own(self, interface: Any, family: int) -> int:
        """The address that an interface answers with: its first one, global before link-local; 0 without one."""
        found = self._addresses(interface, family)
        if not found and interface.unnumbered:
            found = self._addresses(self.config.interfaces[interface.unnumbered], family)
        return min((int(a) for a in found[:1]), default=0)

    def _addresses(self, interface: Any, family: int) -> list[Any]:
        if family == 4:
            return [a.ip for a in interface.addresses4]
        return sorted((a.interface.ip for a in interface.addresses6), key=lambda a: a.is_link_local)

    def _tell(self, out: Outcome, packet: Packet, bad: Bad, ts: int) -> None:
        """The ICMP error about a dropped packet, if there is to be one; it goes its own way through the router."""
        ip, cause = packet.ip, bad.args[0]
        if packet.own or not naive_icmp.may_answer(ip, cause):
            return
        interface = self.config.interfaces[packet.came]
        kind = naive_icmp.MESSAGES[cause][ip.family == 6]
        source = self._own(interface, ip.family)
        if not source or naive_icmp.silenced(interface, ip.family, kind):
            return
        if not self.buckets[naive_icmp.bucket_of(ip.family, cause)].take(ts):
            out.limited = True
            return
        mtu = max(bad.args[1], LEAST[ip.family]) if cause == "FRAG_NEEDED" else 0
        error = self._error(source, ip, kind, mtu)
        try:
            self.telling = True
            error_packet = Packet(read_ip(error), packet.came, own=True, vrf=packet.vrf)
            out.packets = self._send(out, error_packet, ident=self.icmp_ident6 - 1 if ip.family == 6 else 0)
        except Bad:
            return  # nobody is told about an error
        finally:
            self.telling = False
        out.icmp = True
        out.made = len(out.packets) - 1

    def _error(self, source: int, ip: Ip, kind: tuple[int, int], mtu: int) -> bytes:
        if ip.family == 6:
            self.icmp_ident6 += 1
            return naive_icmp.error6(source, ip, kind, mtu)
        self.icmp_ident += 1
        return naive_icmp.error4(source, ip, kind, mtu, self.icmp_ident - 1)
