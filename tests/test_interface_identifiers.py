"""EUI-64 addresses (VTI-6, RFC 4291 appendix A): from `mac-address`, else from host name and interface name."""

from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ip6, udp

from qfp.batch import Batch
from qfp.config import Configuration, loads, render
from qfp.config.ends import interface_addresses, mac_of
from qfp.lab import Lab
from qfp.router import Router
from qfp.trace import write_trace

pytestmark = pytest.mark.req("VTI-6")
CONFIG = """hostname {host}
ipv6 unicast-routing
interface GigabitEthernet0
 {mac}
 ipv6 address 2001:db8:5::/64 eui-64
interface GigabitEthernet1
 ipv6 address 2001:db8:6::/64 eui-64
interface GigabitEthernet1.7
 ipv6 address 2001:db8:7::/64 eui-64
"""


LAB = """[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
ends = ["a gi0", "b gi0"]
delay = "1 ms"
[[inject]]
trace = "in.pcap"
at = "a gi1"
"""


def config(host: str = "A", mac: str = "no shutdown", before: str = "") -> Configuration:
    return loads(before + CONFIG.format(host=host, mac=mac))


def address(cfg: Configuration, name: str = "GigabitEthernet0") -> str:
    return str(interface_addresses(cfg, cfg.interfaces[name])[0])


def test_a_configured_mac_address_is_used() -> None:
    """As IOS makes it: the universal bit inverted, ff:fe in the middle."""
    cfg = config(mac="mac-address 0011.2233.4455")
    assert cfg.issues == [] and address(cfg) == "2001:db8:5:0:211:22ff:fe33:4455/64"
    assert address(config(mac="mac-address 0200.0000.000A")) == "2001:db8:5::ff:fe00:a/64"
    assert address(config(mac="mac-address 0011.2233.4455\n no mac-address")) == address(config())


@given(st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1))
def test_every_mac_address(mac: bytes) -> None:
    text = mac.hex()
    got = ip_interface(address(config(mac=f"mac-address {text[:4]}.{text[4:8]}.{text[8:]}"))).ip
    assert got.packed[8:] == bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


@pytest.mark.parametrize("before", ["! a comment\n", "\n" * 500, "ip domain name x\n", "interface Loopback0\n!\n"])
def test_where_a_section_stands_does_not_matter(before: str) -> None:
    assert address(config(before=before)) == address(config())


def test_a_printed_configuration_is_the_same_router() -> None:
    for cfg in (config(), config(mac="mac-address 0011.2233.4455")):
        again = loads(render(cfg))
        assert again == cfg
        for name in cfg.interfaces:
            assert address(again, name) == address(cfg, name)
    assert " mac-address 0011.2233.4455" in render(cfg).split("\n")


def test_routers_and_interfaces_differ() -> None:
    cfgs = [config(host) for host in ("A", "B", "a", "R1", "R2")]
    macs = {mac_of(cfg, cfg.interfaces[f"GigabitEthernet{k}"]) for cfg in cfgs for k in (0, 1)}
    assert len(macs) == 10
    assert all(mac >> 40 & 3 == 2 for mac in macs), "of the local kind, and of no group"


def test_a_subinterface_has_the_address_of_its_interface() -> None:
    cfg = config()
    one, seven = (ip_interface(address(cfg, f"GigabitEthernet1{end}")).ip for end in ("", ".7"))
    assert int(one) & 2**64 - 1 == int(seven) & 2**64 - 1
    cfg = loads(CONFIG.format(host="A", mac="").replace("interface GigabitEthernet1\n", "interface GigabitEthernet1\n"
                " mac-address 0011.2233.4455\n"))  # fmt: skip
    assert address(cfg, "GigabitEthernet1.7") == "2001:db8:7:0:211:22ff:fe33:4455/64"


@pytest.mark.parametrize("mac", ["0011.2233", "0011.2233.445g", "00:11:22:33:44:55", "0111.2233.4455", "1.2.3"])
def test_what_is_no_mac_address_of_an_interface(mac: str) -> None:
    cfg = config(mac=f"mac-address {mac}")
    assert [(i.line, i.severity) for i in cfg.issues] == [(4, "error")]


@pytest.mark.parametrize(("hosts", "told"), [("AB", 0), ("AA", 1)])
def test_a_lab_tells_two_ends_with_one_address(tmp_path: Path, hosts: str, told: int) -> None:
    for name, host in zip("ab", hosts, strict=True):
        (tmp_path / f"{name}.cfg").write_text(CONFIG.format(host=host, mac="no shutdown"))
    packet = ip6("2001:db8:6::99", "2001:db8:5::1", udp(1, 2))
    write_trace(tmp_path / "in.pcap", Batch.from_frames([packet]))
    (tmp_path / "lab.toml").write_text(LAB)
    lab = Lab.load(tmp_path / "lab.toml")
    found = [each for each in lab.warnings if "both ends have the address 2001:db8:5:" in each]
    lab.close()
    assert len(found) == told


def test_two_routers_on_one_link_talk() -> None:
    """The same file but for the host name: neither takes the other's packets for its own."""
    a, b = (Router(config(host)) for host in "AB")
    mine, theirs = (str(ip_interface(address(config(host))).ip) for host in "AB")
    assert ip_address(mine) != ip_address(theirs)
    to_b = Batch.from_frames([ip6("2001:db8:6::99", theirs, udp(1, 2))])
    assert a.forward(to_b, "gi1").counters["verdicts"] == {"bypassed": 1}
    assert b.forward(to_b, "gi0").counters["verdicts"] == {"punted": 1}
