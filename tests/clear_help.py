"""Configurations that protect, lines broken at random, and which packets leave in clear."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from random import Random

from packets import ip4, ip6, udp

from qfp import Batch, Router
from qfp.config import Configuration, loads

# Every one has a worse way past its protection: a default route out of an interface that protects nothing.
HEAD = """hostname A
ipv6 unicast-routing
crypto ipsec transform-set T esp-gcm 256
 mode tunnel
crypto ipsec profile P
 set transform-set T
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
 ipv6 address fd00:1::1/32
interface GigabitEthernet0/0/2
 ip address 198.51.100.1 255.255.255.0
 ipv6 address 2001:db8:9::1/64
"""
TAIL = """ip route 0.0.0.0 0.0.0.0 198.51.100.2 200
ip route 10.0.0.0 255.0.0.0 198.51.100.2
ipv6 route ::/0 2001:db8:9::2 200
ipv6 route fd00::/16 2001:db8:9::2
"""
OUTSIDE = """interface GigabitEthernet0/0/0
 ip address 203.0.113.1 255.255.255.0
 ipv6 address 2001:db8::1/64
"""
BASES = {
    "named list": f"""{HEAD}crypto map M 10 ipsec-isakmp
 set peer 203.0.113.2
 set transform-set T
 match address SITES
crypto map M 20 ipsec-isakmp
 set peer 203.0.113.3
 set transform-set T
 match address MORE
{OUTSIDE} crypto map M
ip access-list extended SITES
 deny tcp 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255 eq 22
 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
ip access-list extended MORE
 permit ip any 10.3.0.0 0.0.255.255
 permit udp 10.1.0.0 0.0.255.255 10.4.0.0 0.0.255.255
ip route 0.0.0.0 0.0.0.0 203.0.113.254
ip route 10.2.0.0 255.254.0.0 203.0.113.254
ip route 10.4.0.0 255.255.0.0 203.0.113.254
{TAIL}""",
    "numbered list": f"""{HEAD}ip host hub 203.0.113.2
interface Loopback0
 ip address 192.0.2.1 255.255.255.255
crypto map M local-address Loopback0
crypto map M 10 ipsec-isakmp
 description the other site
 set peer hub
 set transform-set T
 set pfs group14
 match address 101
{OUTSIDE} crypto map M
 description outside
access-list 101 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
access-list 101 permit ip 10.1.0.0 0.0.255.255 host 10.3.0.9
ip route 10.2.0.0 255.255.0.0 203.0.113.254
ip route 10.3.0.0 255.255.0.0 GigabitEthernet0/0/0 203.0.113.254
{TAIL}""",
    "vti": f"""{HEAD}{OUTSIDE}interface Tunnel0
 ip address 172.16.0.1 255.255.255.252
 ipv6 address fd00:99::1/64
 tunnel source GigabitEthernet0/0/0
 tunnel destination 203.0.113.2
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
ip route 10.2.0.0 255.255.0.0 Tunnel0
ip route 10.3.0.0 255.255.0.0 172.16.0.2
ipv6 route fd00:2::/32 Tunnel0
{TAIL}""",
    "gre": f"""{HEAD}{OUTSIDE}interface Tunnel0
 ip address 172.16.0.1 255.255.255.252
 ip mtu 1400
 tunnel source 203.0.113.1
 tunnel destination 203.0.113.2
 tunnel key 7
 tunnel protection ipsec profile P
ip route 10.2.0.0 255.255.0.0 172.16.0.2
ip route 10.3.0.0 255.255.0.0 Tunnel0
{TAIL}""",
    "gre under a map": f"""{HEAD}crypto map M 10 ipsec-isakmp
 set peer 203.0.113.2
 set transform-set T
 match address 102
{OUTSIDE} crypto map M
interface Tunnel0
 ip address 172.16.0.1 255.255.255.252
 tunnel source GigabitEthernet0/0/0
 tunnel destination 203.0.113.2
access-list 102 permit gre host 203.0.113.1 host 203.0.113.2
ip route 10.2.0.0 255.255.0.0 Tunnel0
{TAIL}""",
    "ipv6": f"""{HEAD}crypto map ipv6 M6 10 ipsec-isakmp
 set peer 2001:db8::2
 set transform-set T
 match address SITES6
{OUTSIDE} ipv6 crypto map M6
ipv6 access-list SITES6
 permit ipv6 fd00:1::/32 fd00:2::/32
 sequence 30 permit udp fd00:1::/32 fd00:3::/32
ipv6 route fd00:2::/31 2001:db8::2
{TAIL}""",
    "vrf": f"""{HEAD}vrf definition RED
 address-family ipv4
interface GigabitEthernet0/0/3
 vrf forwarding RED
 ip address 10.1.0.1 255.255.0.0
{OUTSIDE}interface Tunnel0
 vrf forwarding RED
 ip address 172.16.0.1 255.255.255.252
 tunnel source GigabitEthernet0/0/0
 tunnel destination 203.0.113.2
 tunnel mode ipsec ipv4
 tunnel protection ipsec profile P
ip route vrf RED 10.2.0.0 255.255.0.0 Tunnel0
ip route vrf RED 0.0.0.0 0.0.0.0 Tunnel0
{TAIL}""",
}
GUIDE = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "guide_configs").glob("*.cfg"))}
JUNK = ("xyzzy", "-1", "10.1.0.300", "255.0.255.0", "99999999999", "::1::", "no-such", "10.7.0.0/99", "x/y", "²", "#")
UDP, GRE, IN_CLEAR = 17, 47, (17, 47)


def broken(rng: Random, text: str) -> str:
    """One line of a text broken: a word replaced, cut, doubled or misspelt, or the line cut or indented wrongly."""
    lines = text.split("\n")
    at = rng.choice([k for k, line in enumerate(lines) if line.strip() and not line.strip().startswith("!")])
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    words = lines[at].split()
    k = rng.randrange(len(words))
    how = rng.choice(("junk", "junk", "cut", "words", "double", "more", "slip", "indent"))
    if how == "junk":
        words[k] = rng.choice(JUNK)
    elif how == "words":
        words = words[: k or 1]
    elif how == "double":
        words.insert(k, words[k])
    elif how == "more":
        words.append(rng.choice(JUNK))
    elif how == "slip" and len(words[k]) > 1:
        cut = rng.randrange(len(words[k]))
        words[k] = words[k][:cut] + rng.choice("qxz7") + words[k][cut + 1 :]
    elif how == "indent":
        indent = rng.choice(("", " ", "   "))
    line = indent + " ".join(words)
    if how == "cut":
        line = line[: rng.randrange(len(indent) + 1, len(line) + 1)]
    lines[at] = line
    return "\n".join(lines)


def traffic(rng: Random, cfg: Configuration, count: int) -> list[bytes]:
    """UDP packets between hosts of the networks that a configuration names."""
    nets4 = {int(route.prefix.network_address) for route in cfg.routes if route.family == 4}
    nets6 = {int(route.prefix.network_address) for route in cfg.routes if route.family == 6}
    for interface in cfg.interfaces.values():
        nets4 |= {int(each.network.network_address) for each in interface.addresses4}
        nets6 |= {int(each.interface.network.network_address) for each in interface.addresses6}
    for acl in cfg.access_lists.values():
        nets4 |= {side[0] for ace in acl.entries for side in (ace.src, ace.dst)}
    for acl in cfg.ipv6_access_lists.values():
        nets6 |= {side[0] for ace in acl.entries for side in (ace.src, ace.dst)}
    frames = []
    for make, nets, width in ((ip4, nets4, 4), (ip6, nets6, 16)):
        pool = sorted(nets - {0})
        for _ in range(count if pool else 0):
            src, dst = (_text(rng.choice(pool) + rng.choice((0, 2, 9)), width) for _ in "sd")
            frames.append(make(src, dst, udp(rng.choice((500, 1000)), rng.choice((22, 80)), bytes(8))))
    return frames


def _text(value: int, width: int) -> str:
    return str(ip_address((value % (1 << 8 * width)).to_bytes(width)))


def ways(text: str, frames: Sequence[bytes], ingress: Sequence[str]) -> dict[tuple[str, int], str]:
    """What became of each frame at each interface: "clear", "protected", or "" where neither left the router."""
    cfg = loads(text)
    found = {}
    for name in ingress:
        if name not in cfg.interfaces:
            continue
        router = Router(cfg, keying="auto")
        result = router.forward(Batch.from_frames(frames), name)
        for frame, packet in zip(result.came_from, result.packets.frames(), strict=True):
            protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
            if protocol in IN_CLEAR:
                found[name, int(frame)] = "clear"
            elif protocol in (50, 51):
                found.setdefault((name, int(frame)), "protected")
        router.engine.close()
    return found


def leaks(intact: dict[tuple[str, int], str], after: dict[tuple[str, int], str]) -> Iterator[tuple[str, int]]:
    """Packets that were protected and are in clear."""
    return (key for key, way in intact.items() if way == "protected" and after.get(key) == "clear")


def physical(cfg: Configuration) -> list[str]:
    return [name for name in cfg.interfaces if re.match(r"(Gigabit|Fast)?Ethernet|Serial", name)]
