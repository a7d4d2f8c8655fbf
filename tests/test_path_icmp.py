"""Errors that a router sends, beside the slow twin: to whom, about what, from which address, and how often."""

from random import Random

import naive
import pytest
from packets import icmp, ip4, ip6, udp
from path_help import Pair

MILLISECOND = 10**6
CONFIG = """hostname A
ipv6 unicast-routing
{limits}
interface GigabitEthernet0/0/0
 mtu 1300
 ip address 203.0.113.1 255.255.255.0
 ipv6 address 2001:db8::1/64
interface GigabitEthernet0/0/1
 ip address 10.1.0.1 255.255.0.0
 ip address 10.7.0.1 255.255.0.0 secondary
 ipv6 address fe80::1 link-local
 ipv6 address fd00:1::1/32
{inside}
interface Tunnel9
 ip address 172.31.9.1 255.255.255.0
ip route 9.0.0.0 255.0.0.0 203.0.113.9
ip route 10.2.0.0 255.255.0.0 Tunnel9
ipv6 route 2009::/16 2001:db8::9
ipv6 route fd00:2::/32 Tunnel9
"""


def router(limits: str = "", inside: str = "", **options: int) -> Pair:
    return Pair(CONFIG.format(limits=limits, inside=inside), **options)


def offenders(r: Random) -> bytes:
    """A packet that an error is due about, or nearly so."""
    to4 = r.choice(["9.9.9.9", "8.8.8.8", "10.2.0.9", "224.1.1.1", "239.0.0.1"])
    to6 = r.choice(["2009::9", "2008::8", "fd00:2::9", "ff1e::1", "ff05::2"])
    from4 = r.choice(
        ["10.1.0.9"] * 6 + ["0.0.0.1", "127.0.0.1", "224.0.0.9", "255.255.255.255", "240.0.0.1", "8.8.8.1"]
    )
    from6 = r.choice(["fd00:1::9"] * 6 + ["::", "::1", "ff02::1", "fe80::9", "2008::1"])
    ttl, size = r.choice([0, 1, 1, 2, 64]), r.choice([0, 10, 547, 548, 549, 1231, 1233, 1400, 3000])
    data = bytes(k & 255 for k in range(size))
    if r.random() < 0.5:
        body, proto = r.choice([(udp(1, 2, data), 17), (icmp(r.randint(0, 20), 0, data), 1), (b"", 1), (data, 6)])
        return ip4(from4, to4, body, proto, ttl=ttl, flags=r.choice([0, 0x4000, 0x2000, 0x00B9, 0x4001]))
    body, proto = r.choice([(udp(1, 2, data), 17), (icmp(r.randint(0, 140), 0, data), 58), (b"", 58), (data, 6)])
    headers = r.choice([[], [], [(0, bytes([1, 4, 0, 0, 0, 0]))], [(44, b"\0\x01\0\0\0\x07")], [(44, b"\1\0\0\0\0\7")]])
    return ip6(from6, to6, body, proto, ttl=ttl, headers=headers)


@pytest.mark.req("BASE-6", "PF-6", "BASE-12")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("inside", ["", " no ip unreachables", " no ipv6 unreachables"])
def test_any_offender(seed: int, inside: str) -> None:
    r = Random(f"{seed} {inside}")
    pair = router("no ip icmp rate-limit unreachable\nipv6 icmp error-interval 0", inside, batch=r.choice([1, 7, 0]))
    frames = [offenders(r) for _ in range(150)]
    pair.forward(frames, "gi0/0/1", [k * 100 * MILLISECOND for k in range(len(frames))])
    assert {"TTL_EXPIRED", "NO_ROUTE", "IF_DOWN"} <= {o.cause for o in pair.outcomes}
    assert sum(o.icmp for o in pair.outcomes) > 5


LIMITS = [
    "",
    "ip icmp rate-limit unreachable 100",
    "ip icmp rate-limit unreachable df 1\nipv6 icmp error-interval 7 3",
    "no ip icmp rate-limit unreachable df",
    "ipv6 icmp error-interval 0\nip icmp rate-limit unreachable 33",
]


@pytest.mark.req("BASE-6")
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("seed", range(3))
def test_how_often(limits: str, seed: int) -> None:
    """Bursts, pauses and times next to the ends of intervals; in one run and in several."""
    r = Random(f"{seed} {limits}")
    pair = router(limits, batch=r.choice([1, 7, 0]))
    now = 10**18
    limited = 0
    for _ in range(3):
        frames, times = [offenders(r) for _ in range(150)], []
        for _ in frames:
            now += r.choice([0, 0, 1, MILLISECOND, 7 * MILLISECOND, 33 * MILLISECOND - 1, 100 * MILLISECOND,
                             500 * MILLISECOND]) if r.random() < 0.3 else 0  # fmt: skip
            times.append(now)
        pair.forward(frames, "gi0/0/1", times)
        limited += sum(o.limited for o in pair.outcomes)
    assert limited


@pytest.mark.req("BASE-6")
def test_the_clock_of_a_bucket() -> None:
    """One unreachable in 500 ms from the moment that the first was sent; whole intervals only; ten expiries at once."""
    pair = router()
    at = [0, 1, 499, 500, 501, 999, 1000, 1700, 2000, 2199, 2200]  # ms
    lost = ip4("10.1.0.9", "8.8.8.8", udp(1, 2))
    pair.forward([lost] * len(at), "gi0/0/1", [t * MILLISECOND for t in at])
    sent = [t for t, o in zip(at, pair.outcomes, strict=True) if o.icmp]
    assert sent == [0, 500, 1000, 1700, 2200]
    old = ip4("10.1.0.9", "9.9.9.9", udp(1, 2), ttl=1)
    pair.forward([old] * 30, "gi0/0/1", 5000 * MILLISECOND)
    assert [o.icmp for o in pair.outcomes] == [True] * 10 + [False] * 20
    pair.forward([old] * 3, "gi0/0/1", [5099 * MILLISECOND, 5100 * MILLISECOND, 5100 * MILLISECOND])
    assert [o.icmp for o in pair.outcomes] == [False, True, False]


@pytest.mark.req("BASE-6")
def test_what_an_error_says() -> None:
    """Field by field, for those who do not trust a twin."""
    pair = router()
    frames = [ip4("10.1.0.9", "9.9.9.9", bytes(1400), 17, flags=0x4000, tos=0x2E, ttl=9),
              ip6("fd00:1::9", "2009::9", bytes(1400), 17, ttl=9)]  # fmt: skip
    four, six = (naive.read_ip(p) for p in pair.forward(frames, "gi0/0/1"))
    assert (len(four.data), four.tos, four.ttl, four.df, four.proto) == (576, 0xC0, 255, False, 1)
    assert four.data[20:22] == b"\3\4" and four.data[24:28] == (1300).to_bytes(4)
    assert four.data[28:] == frames[0][:548]
    assert (len(six.data), six.tos, six.ttl, six.proto) == (1280, 0xC0, 255, 58)
    assert six.data[40:42] == b"\2\0" and six.data[44:48] == (1300).to_bytes(4)
    assert six.data[48:] == frames[1][:1232]
