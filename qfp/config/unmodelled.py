"""What touches the data path and is not modelled: one warning a kind, that says what it means for the results.

A kind is told by the command that a line is, not by its text, so abbreviations are the same. Lines of the control plane
alone (routing protocols, AAA, SNMP, route maps, …) have no kind and are kept without a word.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

LINES_NAMED = 5


class Kind(NamedTuple):
    """What a warning says: what there is, and what it means for packets here."""

    words: str
    meaning: str
    severity: str = "warning"


NAT = Kind("address translation (ip nat)", "is not modelled: packets keep their addresses")
FIREWALL = Kind("firewalls (zones, inspection)", "are not modelled: they drop nothing")
PBR = Kind("policy based routing", "is not modelled: packets follow the routing table alone")
GATEWAY = Kind("first-hop redundancy (HSRP, VRRP, GLBP)",
               "is not modelled: virtual addresses are not the router's own, it decrypts nothing there")  # fmt: skip
LEARNT = Kind("addresses from DHCP, PPP or router advertisements",
              "are not known: the interface has no such address, no network and no route by it, and neither crypto "
              "maps nor tunnels can start from it")  # fmt: skip
SOURCE = Kind("checks of source addresses (verify unicast)", "are not modelled: they drop nothing")
WCCP = Kind("WCCP redirection", "is not modelled: packets follow the routing table")
BRIDGE = Kind("bridging (bridge groups, service instances, cross connects)",
              "is not modelled: frames are routed, or are nobody's")  # fmt: skip
MPLS = Kind("MPLS", "is not modelled: no label is pushed, popped or followed")
MULTICAST = Kind("multicast routing (PIM)", "is not modelled: multicast follows unicast routes and is never copied")
RATE = Kind("rate limits of interfaces", "are not modelled: they drop nothing")
FILTER = Kind("an access group or traffic filter", "filters nothing: every packet passes")
SESSION = Kind("PPP and PPPoE sessions", "are not modelled: the interface is up, its MTU what `mtu` or `ip mtu` says")
GETVPN = Kind("GETVPN", "is not modelled: its group has no SAs")
IKE = Kind("IKEv2 and identities", "have no effect: IKE is not modelled, SAs are derived", "note")

# The words that a pattern in the command table begins with -> its kind; the longest beginning counts
_BY_COMMAND: dict[str, dict[str, Kind | None]] = {
    "interface": {
        "ip nat": NAT, "ipv6 nat": NAT, "nat64": NAT, "ip inspect": FIREWALL, "ipv6 inspect": FIREWALL,
        "zone-member": FIREWALL, "ip ips": FIREWALL, "ip auth-proxy": FIREWALL, "ip admission": FIREWALL,
        "ip policy": PBR, "ipv6 policy": PBR, "ip vrf select": PBR, "ip vrf receive": PBR, "standby": GATEWAY,
        "vrrp": GATEWAY, "glbp": GATEWAY, "ip address dhcp": LEARNT, "ip address negotiated": LEARNT,
        "ip address pool": LEARNT, "ipv6 address autoconfig": LEARNT, "ipv6 address dhcp": LEARNT, "ip verify": SOURCE,
        "ipv6 verify": SOURCE, "ip wccp": WCCP, "ipv6 wccp": WCCP, "bridge-group": BRIDGE, "xconnect": BRIDGE,
        "service instance": BRIDGE, "bridge-domain": BRIDGE, "mpls": MPLS, "ip pim": MULTICAST, "ipv6 pim": MULTICAST,
        "rate-limit": RATE, "ppp": SESSION, "pppoe": SESSION, "pppoe-client": SESSION, "crypto gdoi": GETVPN,
        "encapsulation": None,
    },
    "global": {
        "ip nat": NAT, "ipv6 nat": NAT, "nat64": NAT, "zone": FIREWALL, "zone-pair": FIREWALL, "ip inspect": FIREWALL,
        "ipv6 inspect": FIREWALL, "ip wccp": WCCP, "ipv6 wccp": WCCP, "bridge": BRIDGE, "bridge-domain": BRIDGE,
        "l2vpn": BRIDGE, "ip multicast-routing": MULTICAST, "ip pim": MULTICAST, "ipv6 pim": MULTICAST,
        "multicast": MULTICAST, "crypto ikev2": IKE, "crypto identity": IKE, "ip local policy": PBR,
        "ipv6 local policy": PBR,
        **dict.fromkeys(("router", "ipv6 router", "route-map", "parameter-map", "class", "ip prefix-list",
                         "ipv6 prefix-list", "ip as-path", "ip policy-list", "ip community-list",
                         "ip extcommunity-list",
                         "ip local", "ipv6 local", "ip nhrp", "standby", "l2tp-class", "crypto logging", "crypto mib",
                         "crypto call", "crypto ssl", "crypto xauth", "crypto wui", "crypto gkm")),
    },
}  # fmt: skip


@cache
def kind_of(mode: str, pattern: str, told: bool) -> Kind | None:
    """The kind of a command that is kept. told: whether it changes packets, so that one without a kind is its own."""
    table = _BY_COMMAND.get(mode, {})
    head = [word for word in pattern.split() if word[0] not in "<[{*"]
    for count in range(len(head), 0, -1):
        words = " ".join(head[:count])
        if words in table:
            return table[words]
    if not told or not head:
        return None
    return Kind(f"'{' '.join(head)}'", "is kept but not interpreted: it has no effect in qfp")
