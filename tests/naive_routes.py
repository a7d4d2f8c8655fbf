"""The slow twin of the routing tables: connected and static routes of every VRF, searched one after the other."""

from ipaddress import ip_address, ip_network
from typing import Any

# RFC 919, RFC 5771 section 4, RFC 4291 section 2.7: these end here
LINK_SCOPE = [ip_network(n) for n in ("255.255.255.255/32", "224.0.0.0/24", "ff01::/16", "ff02::/16")]


class Routes:
    """`find` gives (interface, is it the router's own address) by longest prefix, then distance, then order."""

    def __init__(self, config: Any):
        self._config = config
        # prefix, distance, interface (or static route), local, VRF
        self._rows: list[tuple[Any, int, Any, bool, str | None]] = []
        for name, interface in config.interfaces.items():
            if not interface.shutdown:
                self._connected(name, interface)
        self._static()

    def _connected(self, name: str, interface: Any) -> None:
        for net in LINK_SCOPE:
            self._rows.append((net, -1, name, True, interface.vrf))
        for a in [*interface.addresses4, *(a.interface for a in interface.addresses6)]:
            self._rows.append((ip_network((a.ip, a.max_prefixlen)), -1, name, True, interface.vrf))
            self._rows.append((a.network, 0, name, False, interface.vrf))
            if a.version == 4 and a.network.prefixlen < 31:
                self._rows.append((ip_network(a.network.broadcast_address), -1, name, True, interface.vrf))
        if interface.addresses6 or interface.ipv6_enable:
            self._rows.append((ip_network("fe80::/10"), 0, name, False, interface.vrf))

    def _static(self) -> None:
        """Whatever something reaches goes in; what then leads nowhere or back to itself goes out, the last of a circle
        first."""
        connected = list(self._rows)
        self.used: list[Any] = []
        waiting = list(self._config.routes)
        while new := [r for r in waiting if self._over(r) is not None]:
            waiting = [r for r in waiting if not any(r is each for each in new)]
            self.used += new
            self._install(connected)
        for never in (False, True):  # what is never used hangs on the others, and none of them on it
            while bad := self._bad(never):
                self.used = [r for r in self.used if r is not bad]
                self._install(connected)
        self.unresolved = [r for r in self._config.routes if not any(r is each for each in self.used)]

    def _install(self, connected: list[Any]) -> None:
        order = {id(r): k for k, r in enumerate(self._config.routes)}
        self.used.sort(key=lambda r: order[id(r)])
        self._rows = [*connected, *((r.prefix, r.distance, r, False, r.vrf) for r in self.used)]

    def _bad(self, never: bool) -> Any:
        """A static route that may not stay. never: of distance 255."""
        for r in self.used:
            if r.interface is None and (r.distance == 255) == never:
                found = self._longest(int(r.next_hop), r.next_hop.version, r.vrf)
                if found is None or found[0] == r.prefix:
                    return r
        for r in (each for each in self.used if each.distance < 255):
            ring, at = [], r
            while not isinstance(at, str) and at.interface is None and not any(at is each for each in ring):
                ring.append(at)
                at = self._longest(int(at.next_hop), at.next_hop.version, at.vrf)[2]
            if not isinstance(at, str) and at.interface is None and at is r:
                return max(ring, key=lambda each: [id(x) for x in self._config.routes].index(id(each)))
        return None

    def _over(self, r: Any) -> Any:
        """What a static route leads to: an interface, or what reaches its next hop."""
        if r.interface is not None:
            interface = self._config.interfaces.get(r.interface)
            return None if interface is None or interface.shutdown else str(r.interface)
        found = self._longest(int(r.next_hop), r.next_hop.version, r.vrf)
        return None if found is None else found[2]

    def _longest(self, destination: int, family: int, vrf: str | None) -> Any:
        address = ip_address(destination.to_bytes(4 if family == 4 else 16))
        fits = [r for r in self._rows if r[4] == vrf and r[0].version == family and address in r[0] and r[1] < 255]
        return min(fits, key=lambda r: (-r[0].prefixlen, r[1]), default=None)

    def find(self, destination: int, family: int, vrf: str | None) -> tuple[str, bool] | None:
        best = self._longest(destination, family, vrf)
        if best is None:
            return None
        over = best[2]
        while not isinstance(over, str):
            over = self._over(over)
        return over, best[3]

    def hop(self, destination: int, family: int, vrf: str | None) -> Any:
        """Who a packet is handed to on the egress interface's link: the destination itself, if it is there."""
        address = ip_address(destination.to_bytes(4 if family == 4 else 16))
        over = self._longest(destination, family, vrf)[2]
        while not isinstance(over, str):
            address = over.next_hop or address
            over = over.interface or self._longest(int(address), family, over.vrf)[2]
        return address

    def is_local(self, destination: int, family: int, vrf: str | None) -> bool:
        found = self.find(destination, family, vrf)
        return found is not None and found[1]
