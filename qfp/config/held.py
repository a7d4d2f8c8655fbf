"""What is held down: whatever would leave in clear because a line that asks for its protection was refused.

A refused line costs its own object and the rest runs. That must not send in clear what the file asks to protect, so the
notes of refused lines (`Load.lost`) are held against everything that protects:

    a line of an interface   its `crypto map`, `tunnel protection`, tunnel mode, VRF: the interface is down
    a crypto map             a line of an entry, an entry's head: every interface with this map is down
    an access list           an entry that may permit: every interface with a crypto map by this list is down
    a route, an address      packets may take a worse route, past the tunnel: nothing is sent by such a route

An undefined name is no refused line: there the file itself asks for nothing, as on IOS (see qfp.config.references).
Whatever cannot be told is taken for what protects: a line of one letter may have been anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface
from typing import Any

from .arguments import canonical_interface
from .ends import default_peer, own_address
from .load import Load, Lost
from .model import AccessList, Configuration, CryptoMap, CryptoMapEntry, Interface, Network
from .routing import RECURSION, Routing

_NO = ("no", "default")
# What begins a line of an interface that decides where its packets go and how.
_INTERFACE = (("crypto",), ("ipv6", "crypto"), ("tunnel",), ("vrf",), ("ip", "vrf"), ("shutdown",))
_HARMLESS_TUNNEL = ("key", "ttl", "tos", "checksum", "sequence-datagrams", "path-mtu-discovery", "bandwidth", "entropy")
_HARMLESS_CRYPTO = ("df-bit", "fragmentation")  # behind `crypto ipsec`
_HARMLESS_ENTRY = (
    ("description",), ("qos", "pre-classify"), ("reverse-route",), ("set", "pfs"), ("set", "security-association"),
    ("set", "isakmp-profile"), ("set", "ikev2-profile"), ("set", "nat"), ("set", "reverse-route"), ("set", "identity"),
)  # fmt: skip
_HARMLESS_MAP = ("isakmp-profile", "client", "isakmp", "redundancy", "gdoi")  # behind a crypto map's name
_TELLING = frozenset(("crypto", "ipsec", "protection"))
Place = tuple[str | None, Network]


def check(load: Load) -> None:
    """Decide what is held down, into `cfg.held`, with an error for each."""
    if load.lost:
        _Judge(load).check()


class _Judge:
    """Holds what was lost against what protects."""

    def __init__(self, load: Load) -> None:
        self.load, self.cfg = load, load.cfg
        cfg = load.cfg
        self.top = [lost for lost in load.lost if lost.mode == "global"]
        self.of: dict[int, list[Lost]] = {}
        for lost in load.lost:
            self.of.setdefault(id(lost.section), []).append(lost)
        self.names = {*cfg.crypto_maps, *cfg.profiles, *cfg.vrfs}
        self.rings = [lost for lost in load.lost if _starts(lost.head, "object-group") or
                      (lost.mode == "global" and _starts(lost.words, "object-group"))]  # fmt: skip
        self.heads = [lost for lost in self.top if lost.opens == "interface" or _starts(lost.words, "interface")]
        self.orphans = [lost for lost in load.lost if _orphan(lost)]
        self.maps: dict[tuple[str, int], str] = {}
        self.lists: dict[tuple[str, int], str] = {}

    def _lines(self, section: Any) -> list[Lost]:
        return self.of.get(id(section), [])

    def check(self) -> None:
        for name, interface in self.cfg.interfaces.items():
            why = self._interface(interface)
            if why and not interface.shutdown:
                self.cfg.held.interfaces[name] = why
                self.load.error(f"{name} is held down: {why}", "its packets would leave in clear: correct the line",
                                line=interface.line)  # fmt: skip
        if self.cfg.held.interfaces or self.heads or any(map(_protects, self.cfg.interfaces.values())):
            self._routes()

    # --- interfaces

    def _interface(self, interface: Interface) -> str:
        """Why an interface is held down, "" if it is not."""
        for lost in self._lines(interface):
            if _guards(lost, self.names):
                return _line(lost)
        for family, name in ((4, interface.crypto_map), (6, interface.ipv6_crypto_map)):
            if name is not None and (why := self._map(interface, name, family)):
                return why
        if interface.vrf is not None and interface.vrf not in self.cfg.vrfs:
            return _first(lost for lost in self.top if lost.opens == "vrf" or _vrf_head(lost) or interface.vrf in lost.words)
        return ""

    # --- crypto maps

    def _map(self, interface: Interface, name: str, family: int) -> str:
        found = self.cfg.crypto_maps.get(name)
        key = (name, family)
        if key not in self.maps:
            entries = found.entries if found is not None else []
            reasons = [self._heads(name, found), *(self._entry(entry, family) for entry in entries)]
            self.maps[key] = next(filter(None, reasons), "")
        if self.maps[key] or found is None:
            return self.maps[key]
        return next(filter(None, (self._ends(found, entry, interface) for entry in found.entries)), "")

    def _heads(self, name: str, found: CryptoMap | None) -> str:
        """A refused line that was to begin an entry of a map, or may have been."""
        for lost in self.top:
            if lost.opens != "crypto-map" and not _starts(lost.words, "crypto", "map"):
                continue
            if len(lost.words) > 1 and not "map".startswith(lost.words[1].lower()) and name not in lost.words:
                continue  # of a dynamic map, or of something else
            at = 3 if lost.words[2:3] == ("ipv6",) else 2
            if lost.words[at + 1 : at + 2] and lost.words[at + 1] in _HARMLESS_MAP:
                continue
            named = lost.words[at] if len(lost.words) > at else ""
            if name in lost.words or named not in self.cfg.crypto_maps:  # whose name is not known may be this one's
                return _line(lost)
        return _first(lost for lost in self.orphans if lost.words[0].lower() != "permit")

    def _entry(self, entry: CryptoMapEntry, family: int) -> str:
        if entry.dynamic_map is not None:
            return ""
        for lost in self._lines(entry):
            if not lost.words or (not _undoes(lost) and not _begins(lost.words, _HARMLESS_ENTRY)):
                return _line(lost)
        return self._list(entry.acl, family) if entry.acl is not None else ""

    def _ends(self, owner: CryptoMap, entry: CryptoMapEntry, interface: Interface) -> str:
        """Whether an entry lacks an address of one of its ends for a refused line."""
        if entry.dynamic_map is not None or not entry.peers:
            return ""
        peer = default_peer(entry, self.cfg)
        if peer is None:
            names = {each.hostname for each in entry.peers}
            return _first(lost for lost in self.top
                          if _starts(lost.words, "ip", "host") or not names.isdisjoint(lost.words))  # fmt: skip
        home = self.cfg.interfaces.get(owner.local_address or "", interface)
        if own_address(self.cfg, home, peer.version) is not None:
            return ""
        if owner.local_address is not None and owner.local_address not in self.cfg.interfaces:
            return _first(self.heads)
        return _first(filter(_address, self._lines(home)))

    # --- access lists

    def _list(self, name: str, family: int) -> str:
        key = (name, family)
        if key not in self.lists:
            self.lists[key] = self._list_of(name, family)
        return self.lists[key]

    def _list_of(self, name: str, family: int) -> str:
        lists = self.cfg.access_lists if family == 4 else self.cfg.ipv6_access_lists
        found = lists.get(name)
        for lost in self._lines(found) if found is not None else ():
            if _may_permit(lost.words):
                return _line(lost)
        for lost in self.top:
            if _numbered(lost, name) or _head_of_list(lost, name, found):
                return _line(lost)
        if found is None:
            return _first(lost for lost in self.orphans if lost.words[0].lower() == "permit")
        return self._groups(found)

    def _groups(self, found: AccessList) -> str:
        """A refused line of an object group that an entry of the list names."""
        used = self.load.index.get(("object groups", id(found)), ())
        for lost in self.rings if used else ():
            names = lost.head[1:] if _starts(lost.head, "object-group") else lost.words[1:]
            if len(names) < 2 or any(name in words for name in names for words in used):
                return _line(lost)
        return ""

    # --- routes

    def _routes(self) -> None:
        """Prefixes of refused routes and addresses, and of routes that are missing for them."""
        rows = {name: row for row, name in enumerate(self.cfg.interfaces)}
        routing = Routing(self.cfg, rows)
        places = _Places()
        unread: Lost | None = None
        for lost, vrf, network, protected in self._gone(routing):
            if network is not None:
                places.add(vrf, network, lost)
            if protected and (network is None or lost.doubtful):
                unread = unread or lost
        ways = [lost for lost in self.load.lost if lost.mode in ("global", "interface") and (lost.known or lost.opens)]
        for route in routing.unresolved if ways or places.found else ():
            places.add(route.vrf, route.prefix, next(iter(places.found.values()), *ways[:1]))
        self._follow(routing, places)
        if unread is not None:
            self._hold_all(places, unread)
        self._say(places.found)

    def _gone(self, routing: Routing) -> Iterator[tuple[Lost, str | None, Network | None, bool]]:
        """(line, VRF, prefix where it can be read, whether what it led to may be protected) of ways that are missing."""
        for lost in self.load.lost:
            if isinstance(lost.section, Interface) and _address(lost):
                network = _network(lost.words[2:3], lost.words[3:4]) if lost.known else _anywhere(lost.words)
                yield lost, lost.section.vrf, network, lost.section.tunnel is not None or _protects(lost.section)
            elif lost.mode == "global" and _route(lost) and self._leads_past(lost, routing):
                words, vrf = lost.words[2:], None
                if words[:1] == ("vrf",):
                    words, vrf = words[2:], lost.words[3] if len(lost.words) > 3 else None
                network = _network(words[:1], words[1:2]) or _largest(words[:1]) if lost.known else _anywhere(words)
                yield lost, vrf, network, True
        for lost in self.heads:
            inside = lost.inside
            if isinstance(inside, Interface):
                for address in (*inside.addresses4, *(each.interface for each in inside.addresses6)):
                    yield lost, inside.vrf, address.network, True

    def _leads_past(self, lost: Lost, routing: Routing) -> bool:
        """Whether a refused route may have led to where packets are protected: not when its way can be read, and is
        open."""
        words = lost.words
        at = next((k for k, word in enumerate(words) if _network((word,), words[k + 1 : k + 2])), None)
        if at is None:
            return True
        way = words[at + 1 if "/" in words[at] else at + 2 :][:1]
        if not way:
            return True
        name = canonical_interface(way[0])
        if name is None:
            try:
                route = routing.lookup(ip_address(way[0]))
            except ValueError:
                return True
            name = list(self.cfg.interfaces)[route.out_if] if route is not None else None
        found = self.cfg.interfaces.get(name or "")
        return found is None or found.tunnel is not None or _protects(found) or name in self.cfg.held.interfaces

    def _follow(self, routing: Routing, places: _Places) -> None:
        """Routes over next hops to which a worse route leads now."""
        waiting = [route for route in self.cfg.routes if route.next_hop is not None and route.interface is None]
        for _ in range(RECURSION):
            left = []
            for route in waiting:
                known = routing.lookup(route.next_hop, routing.vrfs.get(route.vrf, 0))
                lost = places.holds(route.vrf, route.next_hop, known.prefix.prefixlen if known is not None else 0)
                if lost is None:
                    left.append(route)
                else:
                    places.add(route.vrf, route.prefix, lost)
            if len(left) == len(waiting):
                break
            waiting = left

    def _hold_all(self, places: _Places, unread: Lost) -> None:
        """No prefix can be read: any static route that does not lead into a protected tunnel may be a worse one."""
        tunnels = {each.name for each in self.cfg.interfaces.values()
                   if each.tunnel is not None and each.tunnel.protection_profile is not None}  # fmt: skip
        for route in self.cfg.routes:
            if route.interface not in tunnels:
                places.add(route.vrf, route.prefix, unread)

    def _say(self, places: dict[Place, Lost]) -> None:
        self.cfg.held.prefixes += places
        by_line: dict[int, list[str]] = {}
        for (vrf, network), lost in places.items():
            by_line.setdefault(lost.line, []).append(f"{network} in VRF {vrf}" if vrf else str(network))
        for line, networks in by_line.items():
            listed = ", ".join(networks[:4]) + (f" and {len(networks) - 4} more" if len(networks) > 4 else "")
            told = f"nothing is sent to {listed} by another route: line {line} was refused"
            self.load.error(told, "its packets may be protected on the way that is missing: correct the line", line=line)


class _Places:
    """Prefixes of VRFs, each with the line for which it is held, and whether one of them holds an address."""

    def __init__(self) -> None:
        self.found: dict[Place, Lost] = {}
        self.lengths: dict[tuple[str | None, int], dict[int, dict[int, Lost]]] = {}

    def add(self, vrf: str | None, network: Network, lost: Lost) -> None:
        if (vrf, network) not in self.found:
            self.found[vrf, network] = lost
            by_length = self.lengths.setdefault((vrf, network.version), {})
            by_length.setdefault(network.prefixlen, {})[int(network.network_address)] = lost

    def holds(self, vrf: str | None, address: Any, least: int) -> Lost | None:
        """The line of a prefix at least `least` bits long around an address, None for none."""
        value, bits = int(address), address.max_prefixlen
        for length, networks in self.lengths.get((vrf, address.version), {}).items():
            lost = networks.get(value >> bits - length << bits - length) if length >= least else None
            if lost is not None:
                return lost
        return None


# --- what a refused line may have been


def _line(lost: Lost) -> str:
    return f"line {lost.line} was refused"


def _first(found: Iterable[Lost]) -> str:
    return next((_line(lost) for lost in found), "")


def _starts(words: tuple[str, ...], *keywords: str) -> bool:
    """Whether words begin as a command does, cut short or not; a line that ends early may have gone on so."""
    pairs = list(zip(words, keywords, strict=False))
    return bool(pairs) and all(keyword.startswith(word.lower()) for word, keyword in pairs)


def _begins(words: tuple[str, ...], commands: tuple[tuple[str, ...], ...]) -> bool:
    """Whether words begin as one of some commands does, with all its keywords, of which enough is written."""
    return any(len(words) >= len(each) and _starts(words, *each) and len(words[len(each) - 1]) > 2 for each in commands)


def _undoes(lost: Lost) -> bool:
    return lost.words[:1] != () and lost.words[0].lower() in _NO


def _protects(interface: Interface) -> bool:
    """Whether an interface asks for protection."""
    tunnel = interface.tunnel is not None and interface.tunnel.protection_profile is not None
    return tunnel or interface.crypto_map is not None or interface.ipv6_crypto_map is not None


def _guards(lost: Lost, names: set[str]) -> bool:
    """Whether a refused line of an interface may have decided how its packets are protected. names: of crypto maps,
    profiles and VRFs. Of a line whose command is not known, its other words tell."""
    words = lost.words
    if not words:
        return True
    if _undoes(lost):
        return False
    lower = [word.lower() for word in words]
    if "tunnel".startswith(lower[0]) and len(words) > 1 and lower[1] in _HARMLESS_TUNNEL:
        return False
    if lower[:2] == ["crypto", "ipsec"] and len(words) > 2 and lower[2] in _HARMLESS_CRYPTO:
        return False
    if any(_starts(words, *each) for each in _INTERFACE) and (lost.known or len(lower[0]) > 2):
        return True
    return not lost.known and (not _TELLING.isdisjoint(lower) or not names.isdisjoint(words))


def _address(lost: Lost) -> bool:
    """Whether a refused line of an interface may have been one of its addresses."""
    if not isinstance(lost.section, Interface) or not lost.words or _undoes(lost):
        return False
    if lost.known:
        return _starts(lost.words, "ip", "address") or _starts(lost.words, "ipv6", "address")
    return _anywhere(lost.words) is not None and ("address" in lost.words or lost.words[0] in ("ip", "ipv6"))


def _route(lost: Lost) -> bool:
    """Whether a refused line may have been a static route."""
    words = lost.words
    if _undoes(lost):
        return False
    if _starts(words, "ip", "route") or _starts(words, "ipv6", "route"):
        return lost.known or len(words) > 2
    if lost.known:
        return False
    return "route" in words[:2] or (words[:1] in (("ip",), ("ipv6",)) and _anywhere(words) is not None)


def _orphan(lost: Lost) -> bool:
    """Whether a line is one of a crypto map's entry or of an access list that stands outside any: its head is lost."""
    lower = tuple(word.lower() for word in lost.words)
    pieces = (("set", "peer"), ("set", "transform-set"), ("match", "address"))
    return not lost.known and lost.mode in ("global", "interface") and (lower[:2] in pieces or lower[:1] == ("permit",))


def _vrf_head(lost: Lost) -> bool:
    return _starts(lost.words, "vrf", "definition") or _starts(lost.words, "ip", "vrf")


def _may_permit(words: tuple[str, ...]) -> bool:
    """Whether a refused entry of an access list may have permitted something, or undone a deny."""
    rest = list(word.lower() for word in words)
    undone = bool(rest) and rest[0] in _NO
    rest = rest[undone:]
    rest = rest[2 if rest[:1] == ["sequence"] else 1 if rest and rest[0].isdigit() else 0 :]
    if not rest:
        return True
    if undone:
        return not "permit".startswith(rest[0])
    return not ("deny".startswith(rest[0]) or "remark".startswith(rest[0]))


def _numbered(lost: Lost, name: str) -> bool:
    """Whether a refused line may be an entry of a numbered access list."""
    words = lost.words
    if not name.isdigit() or _undoes(lost):
        return False
    if _starts(words[:1], "access-list"):
        number = words[1] if len(words) > 1 else ""
        mine = number == name or not number.isdecimal() or not 0 < int(number[:9]) < 2700
        return mine and _may_permit(words[2:])
    return not lost.known and words[1:2] == (name,) and len(words) > 2 and "permit".startswith(words[2].lower())


def _head_of_list(lost: Lost, name: str, found: AccessList | None) -> bool:
    """Whether a refused line may have begun an access list of this name."""
    words = lost.words
    head = _starts(words, "ip", "access-list") or _starts(words, "ipv6", "access-list") or lost.opens in ("acl", "acl6")
    if not head or _undoes(lost):
        return False
    return name in words or found is None or len(words) < 3


# --- prefixes


def _network(address: tuple[str, ...], mask: tuple[str, ...] = ()) -> Network | None:
    """ADDRESS MASK or PREFIX/LENGTH as a network, None where it cannot be read."""
    try:
        if not address:
            return None
        if "/" in address[0]:
            return ip_interface(address[0]).network
        value, ones = int(IPv4Address(address[0])), int(IPv4Address(mask[0] if mask else "")) ^ 0xFFFFFFFF
        return None if ones & (ones + 1) else ip_interface((value, 32 - ones.bit_length())).network
    except ValueError:
        return None


def _anywhere(words: tuple[str, ...]) -> Network | None:
    """The first network in a line."""
    return next(filter(None, (_network((word,), words[k + 1 : k + 2]) for k, word in enumerate(words))), None)


def _largest(address: tuple[str, ...]) -> Network | None:
    """The largest network that begins with an address: that of a route whose mask cannot be read is no larger."""
    try:
        value = int(IPv4Address(address[0] if address else ""))
    except ValueError:
        return None
    zeros = (value & -value).bit_length() - 1 if value else 32
    return IPv4Network((value, 32 - zeros))
