"""The slow twin of the SPD: access lists, crypto maps, and which SAs a packet is for (BASE-4)."""

from dataclasses import dataclass
from typing import Any

from naive import Ip, State

from qfp.control.policy import port_ranges


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


def distinct(entries: list[Any]) -> list[Any]:
    """The entries that choose SAs: a deny with a condition that no SA is chosen by exempts nothing, and of two that
    match the same packets the first one counts."""
    kept: list[Any] = []
    seen = []
    for ace in entries:
        conditional = ace.established or ace.fragments or ace.others or (ace.dscp, ace.precedence) != (None, None)
        what = (ace.src, ace.dst, ace.protocol, port_ranges(ace, "sport"), port_ranges(ace, "dport"))
        if what not in seen and (ace.permit or not conditional):
            kept.append(ace)
            seen.append(what)
    return kept


@dataclass
class Entry:
    """What a crypto map entry's permit rule or a tunnel's protection stands for: its SAs, outermost last outbound."""

    outbound: list[State]
    inbound: list[State]
    settings: Any  # CryptoMapEntry or IpsecProfile
    interface: Any  # that the policy is on
    tunnel: str | None = None  # the interface, when it is of one
    gre: bool = False

    @property
    def transport(self) -> bool:
        return self.outbound[0].sa.mode == "transport"


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
