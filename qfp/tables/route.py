"""A resolved route, as the control plane hands it to the forwarding table."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


@dataclass(frozen=True)
class Route:
    """A resolved route. `local`: the prefix is an address of the router itself.

    next_hop: the neighbour that packets are handed to; None = the destination is on the egress interface's own link.
    """

    prefix: IPv4Network | IPv6Network
    out_if: int
    vrf: int = 0
    local: bool = False
    next_hop: IPv4Address | IPv6Address | None = None
