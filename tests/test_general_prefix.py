"""IPv6 general prefixes (BASE-13), `ipv6 crypto map` as a mode (QOS-7), IPv6 peers of IKE (VTI-7)."""

from ipaddress import IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ip6, udp
from test_tunnels import send, words

from qfp.config import Configuration, loads, render
from qfp.config.general_prefix import combined
from qfp.router import Router

PORT = "interface GigabitEthernet0\n"


def addresses(cfg: Configuration) -> list[str]:
    return [str(each.interface) for each in cfg.interfaces["GigabitEthernet0"].addresses6]


@pytest.mark.req("BASE-13")
@pytest.mark.parametrize(
    ("prefix", "bits", "result"),
    [("2001:db8::/32", "0:0:0:1::1/64", "2001:db8:0:1::1/64"),
     ("2001:db8:100::/48", "::1:0:0:0:1/64", "2001:db8:100:1::1/64"),
     ("2001:db8:100::/48", "2001:db8:ffff:7::9/64", "2001:db8:100:7::9/64"),
     ("2001:db8:1:2::/64", "::5/64", "2001:db8:1:2::5/64"),
     ("2001:db8::/33", "0:0:ffff::1/48", "2001:db8:7fff::1/48"), ("2001:db8::7/128", "::9/128", "2001:db8::7/128")],
)  # fmt: skip
def test_the_prefix_stands_before_bits_of_its_own(prefix: str, bits: str, result: str) -> None:
    """Bits of the address that the prefix covers do not count."""
    text = f"ipv6 general-prefix my-prefix {prefix}\n{PORT} ipv6 address my-prefix {bits}\n"
    cfg = loads(text)
    assert not cfg.errors and addresses(cfg) == [result]
    assert f" ipv6 address my-prefix {IPv6Interface(bits)}\n" in render(cfg) and loads(render(cfg)) == cfg


@given(st.integers(0, 2**128 - 1), st.integers(0, 128), st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_every_combination(value: int, short: int, bits: int, more: int) -> None:
    """Bit by bit: from the prefix up to its length, from the address behind it."""
    length = min(128, short + more)
    prefix = IPv6Network((value, short), strict=False)
    found = combined(prefix, IPv6Interface((bits, length)))
    assert found.network.prefixlen == length
    for k in range(128):
        source = value if k < short else bits
        assert (int(found.ip) ^ source) >> (127 - k) & 1 == 0


@pytest.mark.req("BASE-13")
def test_order_and_several_prefixes() -> None:
    """The name may be defined later, and twice, as while a site is renumbered; addresses keep their places."""
    text = (f"{PORT} ipv6 address 2001:db8:9::1/64\n ipv6 address SITE ::1:0:0:0:1/64\n ipv6 address 2001:db8:8::1/64\n"
            " ipv6 address SITE ::2:0:0:0:0/64 eui-64\n"
            "ipv6 general-prefix SITE 2001:db8:1::/48\nipv6 general-prefix SITE 2001:db8:2::/48\n")  # fmt: skip
    cfg = loads(text)
    assert addresses(cfg)[:4] == ["2001:db8:9::1/64", "2001:db8:1:1::1/64", "2001:db8:2:1::1/64", "2001:db8:8::1/64"]
    assert [each.eui64 for each in cfg.interfaces["GigabitEthernet0"].addresses6] == [False] * 4 + [True] * 2
    assert loads(render(cfg)) == cfg and not cfg.errors
    gone = loads(text + f"{PORT} no ipv6 address SITE ::1:0:0:0:1/64\nno ipv6 general-prefix SITE 2001:db8:1::/48\n")
    assert addresses(gone) == ["2001:db8:9::1/64", "2001:db8:8::1/64", "2001:db8:2:2::/64"]


@pytest.mark.req("BASE-13")
@pytest.mark.parametrize(
    ("line", "why"),
    [("", "no 'ipv6 general-prefix' defines it"), ("ipv6 general-prefix P 6to4 Loopback0\n", "an IPv4 address"),
     ("interface gi1\n ipv6 dhcp client pd P\n", "it comes by DHCP")],
)  # fmt: skip
def test_an_unknown_prefix_costs_its_address(line: str, why: str) -> None:
    """A warning at the address's line; the interface's other addresses stay, and packets find them."""
    text = f"ipv6 unicast-routing\n{PORT} ipv6 address P ::1:0:0:0:1/64\n ipv6 address 2001:db8:9::1/64\n{line}"
    cfg = loads(text)
    (told,) = [i for i in cfg.issues if "general prefix" in i.message]
    assert (told.severity, told.line, told.column) == ("warning", 3, 15) and why in told.message
    assert addresses(cfg) == ["2001:db8:9::1/64"]
    assert words(send(Router(cfg), ip6("2001:db8:9::9", "2001:db8:9::1", udp(1, 2)), ingress="gi0")) == ["punted"]


@pytest.mark.req("BASE-13")
def test_packets_for_an_address_under_a_general_prefix() -> None:
    """It is the router's own, its network connected; a length shorter than the prefix's costs the address."""
    text = ("ipv6 unicast-routing\nipv6 general-prefix P 2001:db8:100::/48\n"
            f"{PORT} ipv6 address P ::1:0:0:0:1/64\ninterface gi1\n ipv6 address P ::2:0:0:0:1/64\n")  # fmt: skip
    router = Router.loads(text)
    source = "2001:db8:100:1::9"
    frames = [ip6(source, dst, udp(1, 2)) for dst in ("2001:db8:100:1::1", "2001:db8:100:2::7", "2001:db8:100:3::7")]
    assert words(send(router, *frames, ingress="gi0")) == ["punted", "bypassed", "NO_ROUTE"]
    short = loads(text + f"{PORT} ipv6 address P ::1/40\n")
    assert [i.message for i in short.errors] == ["/40 is shorter than general prefix 2001:db8:100::/48"]
    assert len(addresses(short)) == 1
    assert short.interfaces["GigabitEthernet0"].addresses6[0].interface.ip == IPv6Address("2001:db8:100:1::1")


MAP = "crypto map ipv6 CM_V6 10 ipsec-isakmp\n set peer 2001:db8::2\ncrypto map ipv6 CM_V6 20 ipsec-isakmp\n"


@pytest.mark.req("QOS-7")
def test_the_guides_steps_for_pre_classify_on_a_crypto_map() -> None:
    """`ipv6 crypto map NAME` opens a mode in the global configuration; all entries get what is said there."""
    steps = "ipv6 crypto map CM_V6\n qos pre-classify\n"
    for text in (steps + MAP, MAP + steps, MAP + steps + "hostname X\n"):
        cfg = loads(text)
        assert not [i for i in cfg.issues if "unknown" in i.message]
        assert [entry.qos_pre_classify for entry in cfg.crypto_maps["CM_V6"].entries] == [True, True]
        assert loads(render(cfg)) == cfg
    undone = loads(MAP + steps + "ipv6 crypto map CM_V6\n no qos pre-classify\n")
    assert not any(entry.qos_pre_classify for entry in undone.crypto_maps["CM_V6"].entries)
    (told,) = [i for i in loads(steps).issues if "CM_V6" in i.message]
    assert told.severity == "warning" and "is not defined" in told.message and (told.line, told.column) == (1, 17)


@pytest.mark.req("VTI-7")
@pytest.mark.parametrize("form", ["2001:db8::1 128", "2001:db8::1/128", "2001:db8::1"])
def test_the_length_of_an_ipv6_peer_is_a_word_of_its_own(form: str) -> None:
    cfg = loads(f"crypto isakmp peer address ipv6 {form}\n set aggressive-mode client-endpoint ipv6 2001:db8::1\n")
    assert not cfg.issues
    (peer,) = cfg.isakmp.peers
    assert str(peer.network) == "2001:db8::1/128" and peer.client_endpoint == "ipv6 2001:db8::1"
    assert loads(render(cfg, show_keys=True)) == cfg


@pytest.mark.req("VTI-7")
def test_siblings_take_the_length_so_too() -> None:
    """Keys, keyrings and identities; a wrong length is told at its place."""
    text = ("crypto isakmp key K address ipv6 2001:db8:1:: 48\ncrypto keyring R\n"
            " pre-shared-key address ipv6 2001:db8:2:: 64 key K\ncrypto isakmp profile P\n"
            " match identity address ipv6 2001:db8:3:: 56\n")  # fmt: skip
    cfg = loads(text)
    assert not cfg.errors
    assert str(cfg.isakmp.keys[0].network) == "2001:db8:1::/48"
    assert str(cfg.isakmp.keyrings["R"].keys[0].network) == "2001:db8:2::/64"
    assert str(cfg.isakmp.profiles["P"].matches[0].network) == "2001:db8:3::/56"
    assert loads("crypto isakmp peer address ipv6 2001:db8::1 129\n").errors


TRANSPORT = """hostname R{me}
ipv6 unicast-routing
crypto ipsec transform-set T esp-gcm
 mode transport
crypto map ipv6 M 10 ipsec-isakmp
 set peer 2001:db8::{other}
 set transform-set T
 match address ENDS
interface GigabitEthernet0/0/0
 ipv6 address 2001:db8::{me}/64
 ipv6 crypto map M
interface GigabitEthernet0/0/1
 ipv6 address 2001:db8:{me}::1/64
ipv6 access-list ENDS
 permit ipv6 host 2001:db8::{me} host 2001:db8::{other}
"""


@pytest.mark.req("VTI-7")
@pytest.mark.parametrize(("model", "mode"), [(None, "transport"), ("isr4300", "tunnel"), ("asr1000", "tunnel")])
def test_transport_mode_over_ipv6_and_devices_without(model: str | None, mode: str) -> None:
    """Works in both directions; the guide's routers have site-to-site tunnel mode only, which is said."""
    a, b = (Router.loads(TRANSPORT.format(me=me, other=3 - me), model=model) for me in (1, 2))
    assert a.sad.describe(a.sadb.pairs[0].outbound[0]).mode == mode
    packet = ip6("2001:db8::1", "2001:db8::2", udp(1, 2, b"x"))
    sent = send(a, packet)
    assert words(sent) == ["forwarded"]
    assert words(send(b, *sent.packets.frames(), ingress="gi0/0/0")) == ["punted"]
    told = [i for i in a.config.issues if "tunnel mode only" in i.message]
    assert [i.severity for i in told] == ([] if model is None else ["warning"])
