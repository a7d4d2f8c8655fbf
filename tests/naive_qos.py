"""The slow twins of qfp.qos: classes from the configuration's words, queues event by event, time as fractions."""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import ip_address
from struct import unpack_from
from typing import Any

from qfp.config.model import Ace, Configuration
from qfp.qos.policy import QueuePolicy

NS = 10**9
Event = tuple[Any, ...]


# ------------------------------------------------------------------------------------------------- queues
@dataclass
class Packet:
    """One packet: caller's row, ns, bytes, class, place among all arrivals."""

    row: int
    ts: int
    length: int
    cls: int
    order: int


@dataclass
class Node:
    """An element of the policy's tree with what happens in it."""

    number: int
    spec: Any
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    packets: deque[Packet] = field(default_factory=deque)
    tokens: Fraction = Fraction(0)  # bit
    tokens_at: int = 0
    police: Fraction = Fraction(0)  # bit
    police_at: int = 0
    open: bool = False  # something waits in it, and its shaper lets the next of it pass
    start: int = 0  # virtual time
    contends: bool = False  # in the weighted sharing of its parent

    def level(self, wanted: int) -> list[Packet]:
        """First packets of a priority level that wait below, past every shaper between."""
        if not self.children:
            return [self.packets[0]] if self.packets and self.spec.level == wanted else []
        return [p for c in self.children if c.open for p in c.level(wanted)]

    def turn(self) -> "Node":
        """The contending child whose turn it is: not ahead of the mean, and finishing first."""
        contenders = [c for c in self.children if c.contends]
        mean = Fraction(sum(c.spec.weight * c.start for c in contenders), sum(c.spec.weight for c in contenders))
        return min((c for c in contenders if c.start <= mean), key=lambda c: (c.finish(), c.number))

    def normal(self) -> Packet | None:
        """The packet that is next by weighted sharing."""
        if not self.children:
            return self.packets[0] if self.packets and self.spec.level == 0 else None
        return self.turn().normal() if any(c.contends for c in self.children) else None

    def finish(self) -> int:
        packet = self.normal()
        assert packet is not None
        return self.start + packet.length * self.spec.cost

    def candidate(self) -> Packet | None:
        for wanted in (1, 2):
            first = self.level(wanted)
            if first:
                return min(first, key=lambda p: p.order)
        return self.normal()


class NaiveScheduler:
    """The queues of a policy, one event after the other."""

    def __init__(self, policy: QueuePolicy, overhead: int = 0, least: int = 0):
        self.policy, self.overhead, self.least = policy, overhead, least
        self.nodes = [Node(k, spec) for k, spec in enumerate(policy.elements)]
        for node in self.nodes:
            node.children = [self.nodes[k] for k in node.spec.children]
            for child in node.children:
                child.parent = node
            node.tokens, node.police = Fraction(node.spec.burst, NS), Fraction(node.spec.cbs, NS)
        self.free = Fraction(0)  # ns
        self.now = 0
        self.arrivals: deque[tuple[Packet, bool]] = deque()
        self.count = 0
        self.out: list[Event] = []
        self.drops: list[Event] = []

    def offer(self, ts: Any, length: Any, cls: Any, policed: Any = None) -> None:
        for k in range(len(ts)):
            packet = Packet(self.count, int(ts[k]), int(length[k]), int(cls[k]), self.count)
            self.arrivals.append((packet, bool(policed is not None and policed[k])))
            self.count += 1

    def run(self, until: int) -> None:
        while True:
            at = self.next_start()
            if self.arrivals and self.arrivals[0][0].ts < until and (at is None or self.arrivals[0][0].ts <= at):
                self.arrive(*self.arrivals.popleft())
            elif at is not None and at < until:
                self.begin(at)
            else:
                return

    def waiting(self) -> int:
        return sum(len(n.packets) for n in self.nodes)

    def next_start(self) -> int | None:
        """The ns of the next start: the first in which the link is free and something has its tokens."""
        if not self.waiting():
            return None
        at = max(int(self.free), self.now)
        if any(c.open for c in self.nodes[0].children):
            return at
        return max(at, min(self.ready(n) for n in self.nodes if n.spec.rate and n.candidate() and not n.open))

    # --- arrivals

    def arrive(self, packet: Packet, policed: bool) -> None:
        node = self.nodes[self.policy.queue_of[packet.cls]]
        self.now = packet.ts
        full = len(node.packets) >= node.spec.limit
        full |= sum(p.length for p in node.packets) + packet.length > node.spec.limit_bytes
        if policed or not self.conforms(node, packet):
            self.drops.append((packet.row, packet.ts, packet.length, packet.cls, "policed"))
        elif node.packets and full:
            self.drops.append((packet.row, packet.ts, packet.length, packet.cls, "tail"))
        else:
            node.packets.append(packet)
            if len(node.packets) == 1:
                self.upwards(node)

    def conforms(self, node: Node, packet: Packet) -> bool:
        if not node.spec.cir or not self.waiting():
            return True
        grown = node.police + Fraction((packet.ts - node.police_at) * node.spec.cir, NS)
        node.police, node.police_at = min(Fraction(node.spec.cbs, NS), grown), packet.ts
        if node.police < 8 * packet.length:
            return False
        node.police -= 8 * packet.length
        return True

    # --- starts

    def begin(self, at: int) -> None:
        self.now = at
        for node in reversed(self.nodes[1:]):
            self.look(node)
        packet = self.nodes[0].candidate()
        if packet is None:
            return
        node = self.nodes[self.policy.queue_of[packet.cls]]
        path = self.path(node)
        if node.spec.level == 0:
            for each in path:  # the finish time of each is asked before anything below it changes
                each.start = each.finish()
        node.packets.popleft()
        start = self.free if at == int(self.free) else Fraction(at)
        bits = max(Fraction(8 * (packet.length + self.overhead)), Fraction(self.least, NS))
        self.free = start + bits * NS / self.policy.rate
        self.out.append((packet.row, packet.ts, at, int(self.free), packet.length, packet.cls))
        for each in path:
            if each.spec.rate:
                self.refill(each)
                each.tokens -= 8 * packet.length
        self.upwards(node)

    def path(self, node: Node | None) -> list[Node]:
        """From below the link down to a queue."""
        up: list[Node] = []
        while node is not None and node.parent is not None:
            up.append(node)
            node = node.parent
        return up[::-1]

    # --- shapers, and who contends

    def upwards(self, node: Node) -> None:
        for each in reversed(self.path(node)):
            self.look(each)

    def refill(self, node: Node) -> None:
        grown = node.tokens + Fraction((self.now - node.tokens_at) * node.spec.rate, NS)
        node.tokens, node.tokens_at = min(Fraction(node.spec.burst, NS), grown), self.now

    def lacks(self, node: Node) -> Fraction:
        packet = node.candidate()
        assert packet is not None
        return min(Fraction(8 * packet.length), Fraction(node.spec.burst, NS)) - node.tokens

    def ready(self, node: Node) -> int:
        """The first ns in which a shaper has the tokens."""
        return node.tokens_at + max(0, -(-self.lacks(node) * NS // node.spec.rate))

    def look(self, node: Node) -> None:
        """See whether a node may send, and whether it enters or leaves the weighted sharing of its parent."""
        node.open = node.candidate() is not None
        if node.open and node.spec.rate:
            self.refill(node)
            node.open = self.lacks(node) <= 0
        contends = node.open and node.normal() is not None
        if contends and not node.contends:
            assert node.parent is not None
            others = [c for c in node.parent.children if c.contends]
            if not others:  # a new round: the past is forgotten
                for child in node.parent.children:
                    child.start = 0
            else:
                mean = sum(c.spec.weight * c.start for c in others) // sum(c.spec.weight for c in others)
                node.start = max(mean, node.start)
        node.contends = contends


# ------------------------------------------------------------------------------------------------- classes
PORTS_OF = {
    "http": {(6, 80)}, "https": {(6, 443)}, "dns": {(17, 53), (6, 53)}, "ssh": {(6, 22)}, "telnet": {(6, 23)},
    "sip": {(17, 5060), (6, 5060)}, "snmp": {(17, 161), (17, 162)}, "ntp": {(17, 123)}, "bgp": {(6, 179)},
    "ftp": {(6, 20), (6, 21)}, "smtp": {(6, 25)}, "ipsec": {(17, 500), (17, 4500)},
}  # fmt: skip
NUMBERS = {"tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ospf": 89, "eigrp": 88}


@dataclass
class Header:
    """What a class map sees of a raw IP packet."""

    family: int
    tos: int
    protocol: int
    src: int
    dst: int
    later: bool  # a fragment that is not the first
    fragment: bool
    sport: int = -1
    dport: int = -1
    flags: int = 0


def header(packet: bytes) -> Header:
    four = packet[0] >> 4 == 4
    fragment = later = False
    if four:
        word = unpack_from("!H", packet, 6)[0]
        fragment, later = bool(word & 0x3FFF), bool(word & 0x1FFF)
        protocol, at, tos = packet[9], 4 * (packet[0] & 15), packet[1]
        src, dst = packet[12:16], packet[16:20]
    else:
        protocol, at, tos = packet[6], 40, unpack_from("!H", packet)[0] >> 4 & 255
        src, dst = packet[8:24], packet[24:40]
        while protocol in (0, 43, 44, 60, 135) and not later:
            size = 8
            if protocol == 44:
                word = unpack_from("!H", packet, at + 2)[0]
                fragment, later = bool(word & 0xFFF9), bool(word & 0xFFF8)
            else:
                size = 8 * (packet[at + 1] + 1)
            protocol, at = packet[at], at + size
    out = Header(4 if four else 6, tos, protocol, int(ip_address(src)), int(ip_address(dst)), later, fragment)
    if not later and len(packet) >= at + 4:
        if protocol in (6, 17, 132):
            out.sport, out.dport = unpack_from("!HH", packet, at)
        elif protocol in (1, 58):
            out.sport, out.dport = packet[at], packet[at + 1]
    if protocol == 6 and not later and len(packet) >= at + 14:
        out.flags = packet[at + 13]
    return out


def permits(entries: list[Ace], h: Header) -> bool:
    return next((ace.permit for ace in entries if about(ace, h)), False)


def about(ace: Ace, h: Header) -> bool:
    """Whether an entry is about a packet."""
    if ace.others:
        return False
    if any((mine ^ value) & care for mine, (value, care) in ((h.src, ace.src), (h.dst, ace.dst))):
        return False
    if ace.protocol not in (None, h.protocol) or ace.dscp not in (None, h.tos >> 2):
        return False
    if ace.precedence not in (None, h.tos >> 5):
        return False
    deep = [ace.sport, ace.dport, ace.icmp_type, ace.icmp_code, ace.established or None]
    if h.later:
        return ace.permit or all(each is None for each in deep)
    if ace.fragments or (ace.established and not h.flags & 0x14):
        return False
    if ace.icmp_type not in (None, h.sport) or ace.icmp_code not in (None, h.dport):
        return False
    return all(m is None or m.matches(max(p, 0)) for m, p in ((ace.sport, h.sport), (ace.dport, h.dport)))


def matches(cfg: Configuration, name: str, h: Header, group: int) -> bool:
    """Whether a packet belongs to a class."""
    if name == "class-default":
        return True
    found = cfg.class_maps[name]
    results = [
        any(condition(cfg, m.kind, v, m.family, h, group) for v in m.values or (0,)) != m.negate for m in found.matches
    ]
    return any(results) if found.match_any or not results else all(results)


def condition(cfg: Configuration, kind: str, value: Any, family: int, h: Header, group: int) -> bool:
    if kind in ("dscp", "precedence"):
        return value == (h.tos >> 2 if kind == "dscp" else h.tos >> 5) and family in (0, h.family)
    if kind == "qos-group":
        return bool(group == value)
    if kind == "class-map":
        return matches(cfg, value, h, group)
    if kind == "access-group":
        lists = cfg.access_lists if h.family == 4 else cfg.ipv6_access_lists
        return value in lists and permits(lists[value].entries, h)
    if kind == "protocol":
        return protocol(value, h)
    return kind == "any"


def protocol(name: str, h: Header) -> bool:
    if name in ("ip", "ipv6", "arp"):
        return h.family == {"ip": 4, "ipv6": 6, "arp": 0}[name]
    if name == "icmp":
        return h.protocol == (1 if h.family == 4 else 58)
    if name in NUMBERS:
        return h.protocol == NUMBERS[name]
    if name == "rtp":
        return h.protocol == 17 and (h.later or 16384 <= h.dport <= 32767)
    if name == "ipsec" and h.protocol in (50, 51):
        return True
    if h.later:  # the protocol fits: as with access lists, ports that cannot be seen are no obstacle
        return h.protocol in {each for each, _ in PORTS_OF[name]}
    return bool({(h.protocol, h.sport), (h.protocol, h.dport)} & PORTS_OF[name])


def class_of(cfg: Configuration, policy: str, h: Header, group: int, prefix: str = "") -> str:
    """Name of the class that takes a packet, as `parent/child`."""
    for each in [*cfg.policy_maps[policy].classes, None]:
        name = "class-default" if each is None else each.name
        if matches(cfg, name, h, group):
            if each is not None and each.service_policy is not None:
                return class_of(cfg, each.service_policy, h, group, f"{prefix}{name}/")
            return prefix + name
    raise AssertionError


# ------------------------------------------------------------------------------------------------- policers
@dataclass
class NaivePolicer:
    """Token buckets in fractions of an octet: RFC 2697, RFC 2698, or one bucket (pir and ebs None)."""

    cir: int  # bit/s
    cbs: int  # octets
    ebs: int | None = None
    pir: int | None = None
    at: int = 0

    def __post_init__(self) -> None:
        self.c, self.e = Fraction(self.cbs), Fraction(self.ebs or 0)

    def colour(self, ts: int, length: int) -> int:
        grown = Fraction((ts - self.at) * self.cir, 8 * NS)
        over = max(Fraction(0), self.c + grown - self.cbs)
        self.c = min(Fraction(self.cbs), self.c + grown)
        more = over if self.pir is None else Fraction((ts - self.at) * self.pir, 8 * NS)
        self.e, self.at = min(Fraction(self.ebs or 0), self.e + more), ts
        if self.pir is not None and self.e < length:
            return 2
        if self.pir is not None:
            self.e -= length
        if self.c >= length:
            self.c -= length
            return 0
        if self.pir is None and self.ebs is not None:
            if self.e < length:
                return 2
            self.e -= length
        return 1
