"""A static route."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass
class StaticRoute:
    """A static route: to a next hop, out of an interface, or both."""

    family: int
    prefix: Network
    next_hop: Address | None = None
    interface: str | None = None
    distance: int = 1
    vrf: str | None = None
    name: str | None = None
    tag: int | None = None
    permanent: bool = False
    track: int | None = None  # the number of an object
    dhcp: bool = False  # the next hop comes by DHCP
    multicast: bool = False  # for reverse-path checks of multicast alone
    hop_vrf: str | None = None  # the table of the next hop if another: a VRF, or "" for the global one
    line: int = field(default=0, compare=False)

    @property
    def home(self) -> str | None:
        """The VRF in which the next hop is looked up; None = the global table."""
        return self.vrf if self.hop_vrf is None else self.hop_vrf or None
