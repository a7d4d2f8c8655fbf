"""Two routers with one way of protection between their sites, and traffic for it whose sizes lie around every limit."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from packets import HEADERS6, OPTIONS4, icmp, ip4, ip6, tcp_syn, udp
from path_help import Pair

OUTER = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8::1", "2001:db8::2")}
WAYS = ("map", "map transport", "vti", "gre", "gre tunnel", "gre transport", "gre map", "gre map transport")
TRANSFORMS = (
    "esp-gcm", "esp-aes esp-sha-hmac", "ah-sha-hmac", "ah-sha256-hmac esp-3des esp-md5-hmac",
    "esp-null esp-sha512-hmac",
)  # fmt: skip
CONFIG = """hostname R{me}
ipv6 unicast-routing
{everywhere}
crypto ipsec transform-set T {transform}
 mode {mode}
crypto ipsec profile P
 set transform-set T
{entry}
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.{other}
 set transform-set T
 match address {acl}
{entry}
crypto map ipv6 M6 10 ipsec-isakmp
 set peer 2001:db8::{other}
 set transform-set T
 match address {acl}
{entry}
interface GigabitEthernet0/0/0
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
{outside}
interface GigabitEthernet0/0/1
 mtu 9216
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
{inside}
{tunnel}
ip route 10.{other}.0.0 255.255.0.0 {way4}
ipv6 route fd00:{other}::/32 {way6}
ip access-list extended SITES
 permit ip 10.{me}.0.0 0.0.255.255 10.{other}.0.0 0.0.255.255
ip access-list extended ENDS
 permit ip host 203.0.113.{me} host 203.0.113.{other}
ipv6 access-list SITES
 permit ipv6 fd00:{me}::/32 fd00:{other}::/32
ipv6 access-list ENDS
 permit ipv6 host 2001:db8::{me} host 2001:db8::{other}
"""
TUNNEL = """interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 ipv6 address fd00:99::{me}/64
 tunnel source {own}
 tunnel destination {peer}
 tunnel mode {mode}
"""


@dataclass
class Site:
    """Settings of both routers; lists are lines of the sections that they stand in."""

    way: str
    family: int
    transform: str = "esp-gcm"
    everywhere: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    tunnel: list[str] = field(default_factory=list)

    @property
    def has_tunnel(self) -> bool:
        return not self.way.startswith("map")

    def config(self, me: int) -> str:
        other = 3 - me
        own, peer = OUTER[self.family][me - 1], OUTER[self.family][2 - me]
        outside = list(self.outside)
        if "map" in self.way:
            outside.append("crypto map M" if self.family == 4 else "ipv6 crypto map M6")
        way4, way6 = ("Tunnel0", "Tunnel0") if self.has_tunnel else (f"203.0.113.{other}", f"2001:db8::{other}")
        return CONFIG.format(
            me=me, other=other, transform=self.transform, way4=way4, way6=way6, tunnel=self._tunnel(me, own, peer),
            mode="transport" if "transport" in self.way else "tunnel", everywhere="\n".join(self.everywhere),
            acl="SITES" if self.way == "map" else "ENDS", entry=_lines(self.entry), outside=_lines(outside),
            inside=_lines(self.inside),
        )  # fmt: skip

    def _tunnel(self, me: int, own: str, peer: str) -> str:
        if not self.has_tunnel:
            return ""
        mode = f"ipsec ipv{self.family}" if self.way == "vti" else "gre ip" if self.family == 4 else "gre ipv6"
        lines = list(self.tunnel)
        if self.way in ("vti", "gre tunnel", "gre transport"):
            lines.append("tunnel protection ipsec profile P")
        return TUNNEL.format(me=me, own=own, peer=peer, mode=mode) + _lines(lines)

    def pair(self, me: int, **options: Any) -> Pair:
        return Pair(self.config(me), **options)


def _lines(lines: list[str]) -> str:
    return "\n".join(f" {line}" for line in lines)


def any_site(r: Random, way: str, family: int) -> Site:
    """Settings at random."""
    site = Site(way, family, r.choice(TRANSFORMS))
    for section in (site.everywhere, site.tunnel if site.has_tunnel else site.outside):
        if r.random() < 0.5:
            section.append(f"crypto ipsec fragmentation {r.choice(['before', 'after'])}-encryption")
        if r.random() < 0.5:
            section.append(f"crypto ipsec df-bit {r.choice(['copy', 'clear', 'set'])}")
    if r.random() < 0.2:
        site.entry.append(f"set security-association dfbit {r.choice(['copy', 'clear', 'set'])}")
    _outside_settings(site, r)
    _tunnel_settings(site, r)
    _icmp_settings(site, r)
    return site


def _outside_settings(site: Site, r: Random) -> None:
    if r.random() < 0.7:
        site.outside.append(f"mtu {r.choice([1280, 1400, 1500, 1501, 1507, 2000, 600, 9216])}")
    if r.random() < 0.3:
        site.outside.append(f"ip mtu {r.choice([68, 100, 576, 1300, 1499, 3000])}")
    if r.random() < 0.2:
        site.outside.append(f"ipv6 mtu {r.choice([1280, 1400, 3000])}")
    if r.random() < 0.2:
        site.inside.append(f"ip tcp adjust-mss {r.choice([536, 1360])}")


def _tunnel_settings(site: Site, r: Random) -> None:
    if not site.has_tunnel:
        return
    if r.random() < 0.4:
        site.tunnel.append(f"ip mtu {r.choice([68, 300, 1280, 1400, 1476, 1500, 2000])}")
    if r.random() < 0.4:
        site.tunnel.append(f"ipv6 mtu {r.choice([1280, 1400, 1500, 2000])}")
    if r.random() < 0.3:
        site.tunnel.append(f"ip tcp adjust-mss {r.choice([536, 1360])}")
        site.tunnel.append(f"ipv6 tcp adjust-mss {r.choice([536, 1340])}")
    if site.way != "vti":
        lines = ("tunnel key 77", "tunnel checksum", "tunnel sequence-datagrams", "tunnel path-mtu-discovery",
                 "tunnel ttl 9", "tunnel tos 184")  # fmt: skip
        site.tunnel += [line for line in lines if r.random() < 0.3]


def _icmp_settings(site: Site, r: Random) -> None:
    if r.random() < 0.2:
        site.inside.append("no ip unreachables")
    if r.random() < 0.1:
        site.inside.append("no ipv6 unreachables")
    if r.random() < 0.6:
        site.everywhere.append(r.choice(["no ip icmp rate-limit unreachable", "ip icmp rate-limit unreachable df 10",
                                         "ip icmp rate-limit unreachable 20"]))  # fmt: skip
    if r.random() < 0.5:
        site.everywhere.append(f"ipv6 icmp error-interval {r.choice([0, 5, 50])} {r.choice([1, 3, 20])}")


def size(r: Random, limits: list[int]) -> int:
    """Bytes of a packet: mostly next to one of the limits; long ones where they do not come to hundreds of pieces."""
    kind = r.random()
    if kind < 0.7:
        return max(60, r.choice(limits) + r.randint(-10, 10))
    if kind < 0.97 or min(limits) < 400:
        return r.randint(60, 3000)
    return r.choice([9000, 20000, 65400, 65535])


def packet(r: Random, family: int, ends: tuple[str, str], limits: list[int]) -> bytes:
    """A packet of a size next to the limits, with DF, options, headers, TTL and upper layer at random."""
    whole = size(r, limits)
    ttl = r.choice([64] * 12 + [2, 1, 0])
    tos = r.choice([0, 1, 2, 0xB8, 0xBB])
    if family == 4:
        flags = r.choice([0] * 4 + [0x4000] * 3 + [0x2000, 0x00B9, 0x20B9, 0x6000])
        options = r.choice(OPTIONS4) if r.random() < 0.3 else b""
        room = whole - 20 - len(options)
        proto, payload = upper(r, room // 8 * 8 if flags & 0x2000 else room)
        return ip4(*ends, payload, proto, tos=tos, ttl=ttl, flags=flags, options=options, ident=r.randint(0, 65535))
    headers = r.choice([*HEADERS6, [(44, b"\0\x01\0\0\0\x07")]]) if r.random() < 0.3 else []
    bare = len(ip6(*ends, b"", headers=headers))
    proto, payload = upper(r, whole - bare)
    return ip6(*ends, payload, 58 if proto == 1 else proto, tos=tos, ttl=ttl, headers=headers, label=r.randint(0, 99))


def upper(r: Random, room: int) -> tuple[int, bytes]:
    room = max(0, room)
    fill = bytes(k * 7 & 255 for k in range(256)) * (room // 256 + 1)
    kind = r.random()
    if kind < 0.15:
        return 6, (tcp_syn(r.choice([536, 1000, 1460, 9000]), odd=r.random() < 0.5) + fill)[:room]
    if kind < 0.25:
        return 1, icmp(r.choice([0, 3, 8, 11, 128, 2]), 0, fill)[:room]
    return 17, (udp(r.randint(1, 9), 53) + fill)[:room]


def traffic(r: Random, twin: Any, count: int, me: int = 1) -> list[bytes]:
    """Packets from inside router `me`, mostly to the other site."""
    limits = all_limits(twin)
    other = 3 - me
    to4 = [f"10.{other}.0.9"] * 6 + [f"10.{other}.0.1", f"10.{me}.0.1", f"203.0.113.{other}", "9.9.9.9", "224.1.1.1"]
    to6 = [f"fd00:{other}::9"] * 6 + [f"fd00:{other}::1", f"fd00:{me}::1", f"2001:db8::{other}", "2003::9", "ff1e::1"]
    from4 = [f"10.{me}.0.9"] * 9 + ["127.0.0.1", f"203.0.113.{me}"]
    from6 = [f"fd00:{me}::9"] * 9 + ["::1", f"2001:db8::{me}"]
    out = []
    for _ in range(count):
        family = r.choice([4, 4, 6])
        ends = (r.choice(from4), r.choice(to4)) if family == 4 else (r.choice(from6), r.choice(to6))
        if r.random() < 0.3:
            ends = OUTER[family] if me == 1 else OUTER[family][::-1]
        out.append(packet(r, family, ends, limits))
    return out


def all_limits(twin: Any) -> list[int]:
    """MTUs of interfaces and tunnels, plaintext MTUs, and what IP itself sets."""
    limits = {576, 1280}
    for name in twin.config.interfaces:
        limits |= {twin.mtu(name, family) for family in (4, 6)}
    limits |= {twin.plaintext(entry) for entry in twin.entry_of.values()}
    return sorted(n - k for n in limits for k in (0, 24) if n < 4000)
