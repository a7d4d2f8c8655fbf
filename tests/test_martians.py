"""What no router forwards (RFC 1812 5.3.7, RFC 3927 2.7, RFC 4291 2.5), what is not of that kind, and what is for the
router itself."""

from dataclasses import replace
from typing import Any

import pytest
from cli_help import IN, OUT, config
from naive import State, read_ip, seal_tunnel
from packets import ip4, ip6, udp

from qfp.batch import Batch
from qfp.control.export import exported
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.router import Router

SIX = """ipv6 unicast-routing
interface GigabitEthernet0/0/0
 ipv6 address 2001:db8::1/64
interface GigabitEthernet0/0/1
 ipv6 address 2001:db8:1::1/64
ipv6 route ::/0 2001:db8::2
"""
GOOD4, GOOD6 = "10.1.0.5", "2001:db8:1::5"
TO4, TO6 = "198.18.0.9", "2001:db8:9::9"
NEVER = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.255.254", "240.0.0.1",
         "255.255.255.254", "::", "::1", "fe80::1", "febf::1"]  # fmt: skip
MULTICAST = ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"]
NEIGHBOURS = ["1.0.0.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0", "223.255.255.255",
              "::2", "fec0::1", "fe7f::1", "2001:db8:ff::"]  # fmt: skip


def udp_between(src: str, dst: str) -> bytes:
    return (ip6 if ":" in src else ip4)(src, dst, udp(1, 2, b"data"))


def words(router: Router, frames: list[bytes], ingress: str = IN) -> list[str]:
    v = router.forward(Batch.from_frames(frames), ingress).verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.loads(config(1) + SIX)


def other_end(address: str) -> tuple[str, str]:
    return (GOOD6, TO6) if ":" in address else (GOOD4, TO4)


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("address", [*NEVER, *MULTICAST, "255.255.255.255"])
def test_sources(router: Router, address: str) -> None:
    """Twice: the second packet meets what the first one's look-up left."""
    assert words(router, [udp_between(address, other_end(address)[1])] * 2) == ["MARTIAN"] * 2


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("address", NEVER)
def test_destinations(router: Router, address: str) -> None:
    assert words(router, [udp_between(other_end(address)[0], address)] * 2) == ["MARTIAN"] * 2


@pytest.mark.parametrize("address", NEIGHBOURS)
def test_addresses_beside_them_are_forwarded(router: Router, address: str) -> None:
    good, to = other_end(address)
    assert words(router, [udp_between(address, to), udp_between(good, address)]) == ["bypassed"] * 2


@pytest.mark.parametrize(("src", "dst"), [
    ("0.0.0.0", "255.255.255.255"), ("0.0.0.0", "10.1.0.1"), ("169.254.7.7", "10.1.0.1"), ("127.0.0.1", "10.1.0.1"),
    ("10.1.0.5", "224.0.0.5"), ("::", "ff02::1:ff00:1"), ("fe80::5", "ff02::2"), ("fe80::5", "2001:db8:1::1"),
])  # fmt: skip
def test_what_is_for_the_router_itself_is_punted_as_before(router: Router, src: str, dst: str) -> None:
    """A DHCP client, duplicate address detection, routing protocols, neighbours."""
    assert words(router, [udp_between(src, dst)]) == ["punted"]


@pytest.mark.req("BASE-11")
def test_no_icmp_error_is_sent_about_them(router: Router) -> None:
    result = router.forward(Batch.from_frames([udp_between("127.0.0.1", TO4), udp_between(GOOD4, "127.0.0.1")]), IN)
    assert len(result.packets) == 0


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("src", ["127.0.0.1", "10.1.0.5"])
def test_a_decrypted_packet_is_judged_too(src: str) -> None:
    """Where the policy would let anything through, forwarding does not."""
    wide = [text.replace("10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255", "any any").replace(
        "10.2.0.0 0.0.255.255 10.1.0.0 0.0.255.255", "any any") for text in (config(1), config(2))]  # fmt: skip
    a = Router.loads(wide[0])
    sas: list[Any] = [replace(sa, selectors=None) for sa in exported(a.plane)]
    wire = a.forward(Batch.from_frames([udp_between(GOOD4, "10.2.0.7")]), IN).packets
    assert len(wire) == 1
    out = next(sa for sa in sas if sa.direction == "out")
    forged = seal_tunnel([State(out)], [9], read_ip(udp_between(src, "10.2.0.7")), 0, "copy")
    expected = "MARTIAN" if src.startswith("127") else "forwarded"
    assert words(Router.loads(wide[1]), [forged], OUT) == [expected]
