"""GRE against the slow twin: any header, keys, checksums, sequence numbers, tunnels in tunnels, VRFs."""

import struct
from random import Random

import naive
import pytest
from naive_gre import even
from packets import ip4, ip6, udp
from path_help import Pair
from site_help import OUTER, Site

KEYED = ["tunnel key 77", "tunnel checksum", "tunnel sequence-datagrams"]


def gre(flags: int, words: bytes, inner: bytes, kind: int = 0x0800, reserved: int = 0) -> bytes:
    """A GRE packet whose checksum, if it has one, is right."""
    if not flags & 0x8000:
        return struct.pack("!HH", flags, kind) + words + inner
    bare = struct.pack("!HHHH", flags, kind, 0, reserved) + words + inner
    return bare[:4] + struct.pack("!H", naive.checksum(even(bare))) + bare[6:]


def delivered(family: int, payload: bytes, tos: int = 0, src: str | None = None) -> bytes:
    """From router 1 to router 2."""
    ends = (src or OUTER[family][0], OUTER[family][1])
    return ip4(*ends, payload, 47, tos=tos) if family == 4 else ip6(*ends, payload, 47, tos=tos)


def inner(r: Random) -> tuple[bytes, int]:
    """A packet for the other site, and its ether type."""
    if r.random() < 0.7:
        return ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(r.randint(0, 40))), tos=r.randint(0, 255)), 0x0800
    return ip6("fd00:1::9", "fd00:2::9", udp(1, 2, bytes(r.randint(0, 40))), tos=r.randint(0, 255)), 0x86DD


def any_gre(r: Random, number: int) -> bytes:
    """Mostly what the tunnel takes, with one thing wrong here and there."""
    packet, kind = inner(r)
    flags = 0xB000 if r.random() < 0.7 else r.choice([0, 0x2000, 0x3000, 0x8000, 0xA000])
    if r.random() < 0.1:
        flags ^= 1 << r.randint(0, 15)
    words = struct.pack("!I", r.choice([77] * 8 + [78, 0])) if flags & 0x2000 else b""
    words += struct.pack("!I", number % 2**32) if flags & 0x1000 else b""
    kind = r.choice([kind] * 12 + [0x0800, 0x86DD, 0x8847, 0])
    data = gre(flags, words, packet, kind, r.choice([0, 0, 5]))
    if r.random() < 0.1:
        data = data[: r.randint(0, len(data))]
    if r.random() < 0.1 and data:
        at = r.randint(0, len(data) - 1)
        data = data[:at] + bytes([data[at] ^ 1 << r.randint(0, 7)]) + data[at + 1 :]
    return data


@pytest.mark.req("BASE-5", "BASE-9", "BASE-12")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("lines", [KEYED, [], KEYED[:1], KEYED[2:]], ids=["all", "none", "key", "sequence"])
@pytest.mark.parametrize("seed", range(4))
def test_any_header(family: int, lines: list[str], seed: int) -> None:
    r = Random(f"{seed} {lines}")
    router = Site("gre", family, tunnel=lines).pair(2, batch=r.choice([1, 7, 0]))
    number, frames = r.choice([0, 2**31 - 5, 2**32 - 20]), []
    for _ in range(80):
        number += r.choice([1] * 6 + [0, -1, 3, 2**31 - 1, 2**31, 2**31 + 1])
        source = r.choice([None] * 15 + ["203.0.113.9" if family == 4 else "2001:db8::9"])
        frames.append(delivered(family, any_gre(r, number), r.choice([0, 1, 2, 3]), source))
    router.forward(frames, "gi0/0/0")
    assert {"NONE", "GRE_NO_TUNNEL"} <= {o.cause for o in router.outcomes}


@pytest.mark.req("BASE-5")
def test_every_bit_of_the_flags() -> None:
    """RFC 2784 section 2.3: bits 1, 4, 5 and the version refuse, 6 to 12 are ignored."""
    packet = ip4("10.1.0.9", "10.2.0.9", udp(1, 2))
    frames = [delivered(4, gre(1 << k, b"", packet)) for k in range(16) if k not in (12, 13)]
    router = Site("gre", 4).pair(2)
    router.forward(frames, "gi0/0/0")
    assert [o.cause for o in router.outcomes] == ["GRE_HEADER"] * 3 + ["NONE"] * 7 + ["GRE_HEADER"] * 3 + ["NONE"]


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("step", [1, 2, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 0])
def test_sequence_numbers_turn_over(step: int) -> None:
    """RFC 2890 section 2.2: the last number and the 2^31 - 1 before it are late, all others are not."""
    packet = ip4("10.1.0.9", "10.2.0.9", udp(1, 2))
    numbers = [5, (5 + step) % 2**32]
    frames = [delivered(4, gre(0x1000, struct.pack("!I", n), packet)) for n in numbers]
    router = Site("gre", 4, tunnel=["tunnel sequence-datagrams"]).pair(2)
    router.forward(frames, "gi0/0/0")
    late = "GRE_SEQUENCE" if step == 0 or step > 2**31 else "NONE"
    assert [o.cause for o in router.outcomes] == ["NONE", late]


@pytest.mark.req("BASE-4", "BASE-5")
@pytest.mark.parametrize("way", ["gre tunnel", "gre transport"])
@pytest.mark.parametrize("family", [4, 6])
def test_protection_is_asked_for(way: str, family: int) -> None:
    """GRE in the clear for a protected tunnel, and something else than GRE through the tunnel's SA."""
    site = Site(way, family)
    here, there = site.pair(1), site.pair(2)
    packet = ip4("10.1.0.9", "10.2.0.9", udp(1, 2))
    wire = here.forward([packet], "gi0/0/1")
    entry = here.twin.tunnels["Tunnel0"]
    ends = OUTER[family]
    other = naive.read_ip(ip4(*ends, udp(1, 2)) if family == 4 else ip6(*ends, udp(1, 2)))
    seal = naive.seal_transport if entry.transport else lambda s, n, p: naive.seal_tunnel(s, n, p, 9, "copy")
    wire.append(seal(entry.outbound, [2], other))
    there.forward([*wire, delivered(family, gre(0, b"", packet))], "gi0/0/0")
    assert [o.cause for o in there.outcomes] == ["NONE", "POLICY_MISMATCH", "NOT_IPSEC"]


CHAIN = """hostname A
ipv6 unicast-routing
interface GigabitEthernet0/0/0
 ip address 203.0.113.1 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
{tunnels}
ip route 0.0.0.0 0.0.0.0 Tunnel{top}
"""


def chain(depth: int) -> str:
    """Tunnels one in the other: Tunnel0 leaves by the wire, each other one by the one below it."""
    tunnels = ""
    for k in range(depth):
        tunnels += f"interface Tunnel{k}\n ip address 172.16.{k}.1 255.255.255.0\n ip mtu 1400\n"
        below = f"172.16.{k - 1}" if k else "203.0.113"
        tunnels += f" tunnel source {below}.1\n tunnel destination {below}.2\n"
    return CHAIN.format(tunnels=tunnels, top=depth - 1)


@pytest.mark.req("BASE-5")
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_tunnels_in_tunnels(depth: int) -> None:
    router = Pair(chain(depth))
    sizes = [20, 100, 1300] if depth > 4 else [20, 100, 1300, 1372, 1400, 1401, 3000]
    frames = [ip4("10.1.0.9", "9.9.9.9", bytes(n - 20), 99, flags=f) for n in sizes for f in (0, 0x4000)]
    router.forward(frames, "gi0/0/1")
    causes = {o.cause for o in router.outcomes}
    assert ("TUNNEL_LOOP" in causes) == (depth > 4)


FRONT = """hostname A
ipv6 unicast-routing
vrf definition FRONT
 address-family ipv4
vrf definition INSIDE
 address-family ipv4
 address-family ipv6
interface GigabitEthernet0/0/0
 vrf forwarding FRONT
 ip address 203.0.113.{me} 255.255.255.0
interface GigabitEthernet0/0/1
 vrf forwarding INSIDE
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
interface GigabitEthernet0/0/2
 ip address 10.{me}.0.1 255.255.0.0
interface Tunnel0
 vrf forwarding INSIDE
 ip unnumbered GigabitEthernet0/0/1
 ipv6 enable
 tunnel source GigabitEthernet0/0/0
 tunnel destination 203.0.113.{other}
 tunnel vrf FRONT
ip route vrf INSIDE 10.{other}.0.0 255.255.0.0 Tunnel0
ipv6 route vrf INSIDE fd00:{other}::/32 Tunnel0
ip route 10.{other}.0.0 255.255.0.0 10.{me}.0.77
"""


@pytest.mark.req("BASE-5", "BASE-6")
def test_front_door_vrf() -> None:
    """Packets, tunnel and errors each in their own routing table; errors with the address that the tunnel borrows."""
    here, there = (Pair(FRONT.format(me=me, other=3 - me)) for me in (1, 2))
    frames = [ip4("10.1.0.9", to, udp(1, 2), ttl=t) for to in ("10.2.0.9", "10.2.0.1", "9.9.9.9") for t in (1, 2, 64)]
    frames += [ip6("fd00:1::9", to, udp(1, 2), ttl=t) for to in ("fd00:2::9", "2003::1") for t in (2, 64)]
    wire = here.forward(frames, "gi0/0/1")
    back = there.forward([p for p in wire if naive.read_ip(p).proto == 47], "gi0/0/0")
    assert any(naive.read_ip(p).proto == 47 for p in back)  # errors about what came out of the tunnel go back into it
    here.forward(frames, "gi0/0/2")
    here.forward(wire, "gi0/0/1")
