"""The slow twin of the routing tables: connected and static routes of every VRF, searched one after the other."""

from ipaddress import ip_address, ip_network
from typing import Any

# RFC 919, RFC 5771 section 4, RFC 4291 section 2.7: these end here
LINK_SCOPE = [ip_network(n) for n in ("255.255.255.255/32", "224.0.0.0/24", "ff01::/16", "ff02::/16")]


class Routes:
    """`find` gives (interface, is it the router's own address) by longest prefix, then distance, then order."""

    def __init__(self, config: Any):
        self._config = config
        # prefix, distance, interface, local, VRF, next hop
        self._rows: list[tuple[Any, int, str, bool, str | None, Any]] = []
        for name, interface in config.interfaces.items():
            if not interface.shutdown:
                self._connected(name, interface)
        self._static()

    def _connected(self, name: str, interface: Any) -> None:
        for net in LINK_SCOPE:
            self._rows.append((net, -1, name, True, interface.vrf, None))
        for a in [*interface.addresses4, *(a.interface for a in interface.addresses6)]:
            self._rows.append((ip_network((a.ip, a.max_prefixlen)), -1, name, True, interface.vrf, None))
            self._rows.append((a.network, 0, name, False, interface.vrf, None))
            if a.version == 4 and a.network.prefixlen < 31:
                self._rows.append((ip_network(a.network.broadcast_address), -1, name, True, interface.vrf, None))
        if interface.addresses6 or interface.ipv6_enable:
            self._rows.append((ip_network("fe80::/10"), 0, name, False, interface.vrf, None))

    def _static(self) -> None:
        """Routes whose next hop something else reaches; those over other static routes come in a later turn."""
        waiting = list(self._config.routes)
        for _ in range(len(waiting)):
            for r in list(waiting):
                over = self._over(r)
                if over is not None:
                    hop = r.next_hop
                    if r.interface is None:
                        hop = self.hop(int(hop), hop.version, r.vrf)
                    self._rows.append((r.prefix, r.distance, over, False, r.vrf, hop))
                    waiting.remove(r)

    def _over(self, r: Any) -> str | None:
        """The interface that a static route leads to."""
        if r.interface is not None:
            interface = self._config.interfaces.get(r.interface)
            return None if interface is None or interface.shutdown else str(r.interface)
        found = self.find(int(r.next_hop), r.next_hop.version, r.vrf)
        return found[0] if found is not None else None

    def find(self, destination: int, family: int, vrf: str | None) -> tuple[str, bool] | None:
        best = self._best(destination, family, vrf)
        return None if best is None else (best[2], best[3])

    def hop(self, destination: int, family: int, vrf: str | None) -> Any:
        """Who a packet is handed to on the egress interface's link: the destination itself, if it is there."""
        best = self._best(destination, family, vrf)
        assert best is not None
        return best[5] or ip_address(destination.to_bytes(4 if family == 4 else 16))

    def _best(self, destination: int, family: int, vrf: str | None) -> Any:
        address = ip_address(destination.to_bytes(4 if family == 4 else 16))
        fits = [r for r in self._rows if r[4] == vrf and r[0].version == family and address in r[0] and r[1] < 255]
        if not fits:
            return None
        return min(fits, key=lambda r: (-r[0].prefixlen, r[1]))

    def is_local(self, destination: int, family: int, vrf: str | None) -> bool:
        found = self.find(destination, family, vrf)
        return found is not None and found[1]
