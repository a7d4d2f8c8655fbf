"""MTUs of interfaces, and whether fragmentation comes before or after encryption (guide chapters 3 and 7; PF-5, DF-1).

What is configured holds; the defaults are here:

    physical interface   1500, or `mtu`; `ip mtu` and `ipv6 mtu` no larger
    GRE tunnel           the egress interface's, less the delivery and GRE headers
    VTI                  the plaintext MTU of its SA over the egress interface: what leaves without fragmentation
"""

from qfp.config import Configuration
from qfp.config.model import Interface, SaPolicy, TunnelConfig
from qfp.sizes import MTU_MIN, gre_overhead

MTU_DEFAULT = 1500  # bytes of IP that an Ethernet carries
FRAGMENTATION_PHYSICAL = "before"  # where neither the interface nor the global mode says; tunnels: after (PF-5)
FRAGMENTATION_TUNNEL = "after"
SMALLEST_PAYLOAD = 8  # bytes of a fragment


def link_mtu(interface: Interface, family: int) -> int:
    """Longest packet of a family that leaves a physical interface whole."""
    own = interface.ip_mtu if family == 4 else interface.ipv6_mtu
    whole = interface.mtu or MTU_DEFAULT
    return min(own, whole) if own else whole


def overhead(tunnel: TunnelConfig) -> int:
    """Bytes that a GRE tunnel puts in front of a packet."""
    family = 6 if tunnel.mode.endswith("ipv6") else 4
    return gre_overhead(family, key=tunnel.key is not None, checksum=tunnel.checksum, sequence=tunnel.sequence)


def fragments_before(config: Configuration, interface: Interface) -> bool:
    """`crypto ipsec fragmentation` of an interface, else the global one, else the default of its kind."""
    default = FRAGMENTATION_TUNNEL if interface.tunnel is not None else FRAGMENTATION_PHYSICAL
    return (interface.fragmentation or config.ipsec.fragmentation or default) == "before"


def df_rule(config: Configuration, interface: Interface, settings: SaPolicy | None = None) -> str:
    """`crypto ipsec df-bit`: of the map entry or profile, of the interface, which wins over the global one (DF-1)."""
    own: str | None = settings.df_bit if settings is not None else None
    return own or interface.df_bit or config.ipsec.df_bit


def tunnel_mtu(interface: Interface, family: int, default: int) -> int:
    """`ip mtu` or `ipv6 mtu` of a tunnel interface, else what its way gives; not below what every link must carry."""
    own = interface.ip_mtu if family == 4 else interface.ipv6_mtu
    return max(own or default, MTU_MIN[family])


def fragment_room(mtus: list[int]) -> int:
    """Payload bytes of the smallest fragment that a router with these MTUs can make: bounds how many there are."""
    return max(SMALLEST_PAYLOAD, (min(mtus, default=MTU_DEFAULT) - 60) // 8 * 8)
