"""The slow twin of a router: routes, policies and the order of things, over the packet functions of `naive`.

Configuration and SAs are given (other tests judge the reader and the keying); what is judged here is what the data
plane does with them: RFC 4301 section 5 and the catalogue's BASE-4, BASE-6, BASE-8, BASE-9.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import naive
from naive import Bad, Inbound, Ip, Outcome, State, read_ip

from qfp.config import Configuration


def port_fits(match: Any, port: int) -> bool:
    """One side of an access-list entry: eq, neq, lt, gt, range."""
    if match is None:
        return True
    named = match.ports or (match.low,)
    if match.op == "eq":
        return port in named
    if match.op == "neq":
        return port not in named
    if match.op == "lt":
        return port <= match.high
    return match.low <= port <= match.high  # gt, range


def ace_fits(ace: Any, family: int, ends: tuple[int, int], ports: tuple[int, int], ip: Ip) -> bool:
    """Whether an access-list entry matches. Later fragments: permits go by addresses alone, denies miss."""
    for (value, mask), address in zip((ace.src, ace.dst), ends, strict=True):
        if (address & mask) != (value & mask):
            return False
    if ip.family != family or ace.protocol not in (None, ip.proto):
        return False
    limits = [ace.icmp_type, ace.icmp_code] if ace.protocol in (1, 58) else [ace.sport, ace.dport]
    if limits == [None, None]:
        return True
    if ip.later:
        return bool(ace.permit)
    if ace.protocol in (1, 58):
        return all(want is None or want == has for want, has in zip(limits, ports, strict=True))
    return port_fits(ace.sport, ports[0]) and port_fits(ace.dport, ports[1])


@dataclass
class Entry:
    """What a crypto map entry's permit rule stands for: its SAs, outermost last outbound."""

    outbound: list[State]
    inbound: list[State]
    vti: bool = False


@dataclass
class Rule:
    ace: Any
    family: int
    entry: Entry | None  # None: a deny


class Policy:
    """A crypto map on an interface: lists of rules, one list a map entry, in order."""

    def __init__(self, lists: list[list[Rule]]):
        self.lists = lists

    def match(self, ip: Ip, ends: tuple[int, int], ports: tuple[int, int]) -> Entry | None:
        """First match; a deny goes on with the next map entry (BASE-4)."""
        for rules in self.lists:
            hit = next((r for r in rules if ace_fits(r.ace, r.family, ends, ports, ip)), None)
            if hit is not None and hit.entry is not None:
                return hit.entry
        return None

    def outbound(self, ip: Ip) -> Entry | None:
        return self.match(ip, ip.ends, (ip.sport, ip.dport))

    def inbound(self, ip: Ip) -> Entry | None:
        """The entry that protects the answer; ICMP type and code do not turn round."""
        ports = (ip.sport, ip.dport) if ip.proto in (1, 58) else (ip.dport, ip.sport)
        return self.match(ip, (ip.dst, ip.src), ports)


class NaiveRouter:
    """The twin of `qfp.Router`, with the SAs of one: they are read from it before it runs."""

    def __init__(self, config: Configuration, router: Any):
        self.config = config
        self._pairs = iter(router.sadb.pairs)
        self._describe = router.sad.describe
        self.routes: list[tuple[Any, int, str, bool]] = []  # prefix, distance, interface, own address?
        self._connected()
        self._static()
        self.idents: dict[tuple[Any, Any], int] = {}
        self.states: list[State] = []
        self.handles: list[tuple[int, State]] = []
        self.tunnels: dict[str, Entry] = {}
        self.policies: dict[tuple[str, int], Policy] = {}
        self.entry_of: dict[int, Entry] = {}  # by id of the inbound state
        for name, interface in config.interfaces.items():
            for family, cmap in ((4, interface.crypto_map), (6, interface.ipv6_crypto_map)):
                if cmap:
                    self.policies[name, family] = self._policy(config.crypto_maps[cmap], family)
            if interface.tunnel is not None:
                self.tunnels[name] = self._entry(vti=True)
        self.inbound = Inbound(self.states, strict_udp=True)

    def _policy(self, cmap: Any, family: int) -> Policy:
        lists = []
        acls = self.config.access_lists if family == 4 else self.config.ipv6_access_lists
        for entry in cmap.entries:
            if entry.peers and entry.acl in acls:
                rules = acls[entry.acl].entries
                lists.append([Rule(ace, family, self._entry() if ace.permit else None) for ace in rules])
        return Policy(lists)

    def _entry(self, vti: bool = False) -> Entry:
        """SAs of the next permit rule or tunnel: the router keeps its pairs in the order of the configuration."""
        pair = next(self._pairs)
        sides = ([State(self._describe(h)) for h in side] for side in (pair.outbound, pair.inbound))
        entry = Entry(*sides, vti=vti)
        self.states += entry.inbound
        handles = [*pair.outbound, *pair.inbound]
        self.handles += list(zip(handles, [*entry.outbound, *entry.inbound], strict=True))
        self.entry_of.update({id(s): entry for s in entry.inbound})
        return entry

    # ---------------------------------------------------------------------------------------------- routes
    def _connected(self) -> None:
        for name, interface in self.config.interfaces.items():
            own = [*interface.addresses4, *(a.interface for a in interface.addresses6)]
            for a in own if not interface.shutdown else []:
                self.routes.append((ip_network((a.ip, a.max_prefixlen)), -1, name, True))
                self.routes.append((a.network, 0, name, False))

    def _static(self) -> None:
        """Routes whose next hop something else reaches; those over other static routes come in a later turn."""
        waiting = list(self.config.routes)
        for _ in range(len(waiting)):
            for r in list(waiting):
                over = self.route(int(r.next_hop), r.next_hop.version) if r.next_hop is not None else (r.interface, 0)
                if over is not None:
                    self.routes.append((r.prefix, r.distance, over[0], False))
                    waiting.remove(r)

    def route(self, destination: int, family: int) -> tuple[str, bool] | None:
        """(interface, is it the router's own address): longest prefix, then distance, then order."""
        address = ip_address(destination.to_bytes(4 if family == 4 else 16))
        fits = [r for r in self.routes if r[0].version == family and address in r[0] and r[1] < 255]
        if not fits:
            return None
        best = min(fits, key=lambda r: (-r[0].prefixlen, r[1]))
        return best[2], best[3]

    def is_local(self, ip: Ip) -> bool:
        found = self.route(ip.dst, ip.family)
        return found is not None and found[1]

    # ---------------------------------------------------------------------------------------------- packets
    def forward(self, frames: list[bytes], ingress: str) -> list[Outcome]:
        return [self.one(frame, ingress) for frame in frames]

    def one(self, frame: bytes, ingress: str) -> Outcome:
        if not frame:
            return Outcome("punted")
        try:
            ip = read_ip(frame)
        except Bad as bad:
            return Outcome("dropped", bad.args[0])
        out = Outcome("", ip=ip)
        if naive.is_protected(ip) and self.is_local(ip):
            out = self.inbound.receive(ip)
        if out.verdict:
            return out
        assert out.ip is not None
        try:
            self._check_policy(out, ingress)
            self._send(out)
        except Bad as bad:
            out.verdict, out.cause, out.data = "dropped", bad.args[0], None
        return out

    def _check_policy(self, out: Outcome, ingress: str) -> None:
        """RFC 4301 section 5.2 step 4: what arrived must have come with all the protection that its policy asks for."""
        ip = out.ip
        assert ip is not None
        policy = self.policies.get((ingress, ip.family))
        wanted = policy.inbound(ip) if policy is not None else None
        if out.chain:
            carried = self.entry_of[id(out.chain[-1])]
            needed = list(reversed(carried.inbound))  # outermost first
            if (wanted is not carried and not carried.vti) or out.chain[-len(needed) :] != needed:
                raise Bad("POLICY_MISMATCH")
        elif wanted is not None and not self._exempt(ip):
            raise Bad("NOT_IPSEC")

    def _exempt(self, ip: Ip) -> bool:
        """IPsec and IKE for the router itself need no protection of their own."""
        ike = ip.proto == naive.UDP and ip.dport in (500, 4500)
        return (ike or ip.proto in (naive.ESP, naive.AH)) and self.is_local(ip)

    def _send(self, out: Outcome) -> None:
        ip = out.ip
        assert ip is not None
        found = self.route(ip.dst, ip.family)
        if found is None:
            raise Bad("NO_ROUTE")
        egress, local = found
        if local:
            out.verdict = "punted"
            return
        policy = self.policies.get((egress, ip.family))
        entry = self.tunnels.get(egress) or (policy.outbound(ip) if policy is not None else None)
        if entry is not None and not entry.outbound:
            raise Bad("NO_SA_OUT")
        ip = read_ip(naive.one_hop(ip))
        if entry is None:
            out.verdict, out.data = "forwarded" if out.chain else "bypassed", ip.data
            return
        out.data = self._protect(out, entry.outbound, ip)
        out.verdict = "forwarded"

    def _protect(self, out: Outcome, sas: list[State], ip: Ip) -> bytes:
        """Seal a packet. Only one that is sent takes numbers (AR-1: 1, 2, 3, …)."""
        sa = sas[0].sa
        if any(s.next_seq > s.high for s in sas):
            raise Bad("SEQ_OVERFLOW")
        seqs = [s.next_seq for s in sas]
        ends = (sa.src, sa.dst)
        ident = self.idents.get(ends, 0)
        if sa.mode == "tunnel":
            data = naive.seal_tunnel(sas, seqs, ip, ident, self.df_rule(sas))
        else:
            naive.check_transport(sa, ip)
            data = naive.seal_transport(sas, seqs, ip)
        self.idents[ends] = ident + 1
        out.spi, out.seq = sas[-1].sa.spi, seqs[-1]
        for s in sas:
            s.next_seq += 1
            s.packets += 1
            s.bytes += len(ip.data)
        return data

    def df_rule(self, sas: list[State]) -> str:
        """Global, or of the interface that the policy is on, which wins (DF-1)."""
        for name, entry in self.tunnels.items():
            if entry.outbound == sas:
                return self.config.interfaces[name].df_bit or self.config.ipsec.df_bit
        for (name, _), policy in self.policies.items():
            if any(r.entry and r.entry.outbound == sas for rules in policy.lists for r in rules):
                return self.config.interfaces[name].df_bit or self.config.ipsec.df_bit
        return self.config.ipsec.df_bit
