"""What no key file and no configuration may ask for: ESP that protects nothing (RFC 4303 3.2), unless it is allowed by
name, and UDP ports that make neither form of UDP encapsulation (RFC 3948, NAT-3)."""

import json
from pathlib import Path

import pytest
from cli_help import qfp
from packets import ip4, udp

from qfp.batch import Batch
from qfp.cli.diff_command import run_diff
from qfp.config import loads
from qfp.decrypt import Decryptor
from qfp.router import Router, RouterError
from qfp.sa import NATT_ANY, SaError, SecurityAssociation
from qfp.trace import read_trace, write_trace
from qfp.trace.keyfile import KeyFileError, parse_keys, read_keys, write_sas

CONFIG = """hostname A
crypto ipsec transform-set T {transform}
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.{other}
 set transform-set T
 match address L
interface GigabitEthernet0
 ip address 192.0.2.{me} 255.255.255.0
 crypto map M
interface GigabitEthernet1
 ip address 10.{me}.0.1 255.255.0.0
ip route 10.{other}.0.0 255.255.0.0 192.0.2.{other}
ip access-list extended L
 permit ip 10.{me}.0.0 0.0.255.255 10.{other}.0.0 0.0.255.255
"""
NULL = {
    "SA file": '{"sas": [{"proto": "esp", "spi": 256, "encr": "null", "integ": "none"}]}',
    "SA file, nothing said": '{"sas": [{"proto": "esp", "spi": 256}]}',
    "esp_sa": '"IPv4","*","*","0x00000100","NULL","","NULL",""',
    "xfrm": "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x100 reqid 1 mode tunnel\n\tenc ecb(cipher_null) 0x\n",
    "xfrm, digest_null": "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x100 reqid 1 mode tunnel\n"
                         "\tauth digest_null 0x\n\tenc ecb(cipher_null) 0x\n",
}  # fmt: skip


def config(transform: str = "esp-null", me: int = 1) -> str:
    return CONFIG.format(transform=transform, me=me, other=3 - me)


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("text", NULL.values(), ids=NULL.keys())
def test_a_key_file_with_neither_cipher_nor_authentication_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError, match=r"RFC 4303 3\.2.*--allow-null"):
        parse_keys(Path("k"), text.encode())
    (sa,) = parse_keys(Path("k"), text.encode(), allow_null=True)
    assert (sa.encr, sa.integ) == ("null", "none")


@pytest.mark.req("BASE-3")
@pytest.mark.parametrize("transform", ["esp-null", "ah-sha-hmac esp-null", "esp-null comp-lzs"])
def test_a_transform_set_of_esp_null_alone_is_refused(transform: str) -> None:
    """AH around it does not make it ESP that RFC 4303 knows."""
    cfg = loads(config(transform))
    assert [(i.line, "RFC 4303 3.2" in i.message, "--allow-null" in i.hint) for i in cfg.errors] == [(2, True, True)]
    with pytest.raises(RouterError, match="RFC 4303"):
        Router(cfg, strict=True)
    allowed = loads(config(transform), allow_null=True)
    assert allowed.ok and any(i.line == 2 and i.severity == "warning" for i in allowed.issues)
    for with_one in ("esp-null esp-sha256-hmac", "esp-sha-hmac", "esp-aes", "esp-gmac"):
        assert loads(config(with_one)).ok


@pytest.mark.req("BASE-8")
def test_allowed_it_goes_both_ways() -> None:
    """Rekeys and takeovers make such SAs again: they are allowed there as well."""
    near, far = (Router.loads(config(me=me), allow_null=True) for me in (1, 2))
    packets = Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))] * 3, ts=[0, 10**9, 4000 * 10**9])
    sent = near.forward(packets, "gi1")
    assert far.forward(sent.packets, "gi0").counters["verdicts"] == {"forwarded": 3}
    near = near.reconfigured(loads(config(me=1), allow_null=True), 4001 * 10**9)
    sas = [near.sad.describe(handle) for handle in near.sadb.pairs[0].outbound]
    assert Decryptor(sas) is not None and sas[0].encr == "null"


@pytest.mark.req("USE-1", "USE-3")
def test_every_command_has_the_option(tmp_path: Path) -> None:
    cfg, other, trace = tmp_path / "a.cfg", tmp_path / "b.cfg", tmp_path / "in.pcap"
    cfg.write_text(config())
    other.write_text(config(me=2))
    write_trace(trace, Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]))
    wire, keys, lab = tmp_path / "wire.pcap", tmp_path / "s.json", tmp_path / "lab.toml"
    lab.write_text('[routers.a]\nconfig = "a.cfg"\n[[inject]]\ntrace = "in.pcap"\nat = "a gi1"\n')
    commands = [
        ["check", cfg], ["run", cfg, trace, "--in", "gi1", "-o", wire, "--export-sas", keys],
        ["decrypt", wire, "--keys", keys], ["explain", cfg, trace, "--in", "gi1", "--frame", "0"],
        ["explain", wire, "--keys", keys, "--frame", "0"], ["mtu", cfg, "--peer", other, "--sizes", "100-110"],
        ["lab", lab], ["run", cfg, trace, "--in", "gi1", "--keys", keys],
    ]  # fmt: skip
    for command in commands:
        configured = command[1] == cfg or command[0] == "lab"
        said = qfp(*command, *["--strict"] * configured)
        assert (said.status, "RFC 4303 3.2" in said.err, "--allow-null" in said.err) in ((2, True, True),) or (
            not keys.exists() and "s.json" in said.err
        ), (command, said.err)
        assert qfp(*command, "--allow-null").status == 0, command
        assert wire.exists() == keys.exists() == (command[0] != "check")
    facts = qfp("decrypt", wire, "--keys", keys, "--allow-null", "--json").json
    assert facts["verdicts"] == {"forwarded": 1}
    assert run_diff(keys=keys, trace=wire) == 2, "refused by `qfp diff` too"


def sa(**fields: object) -> SecurityAssociation:
    return SecurityAssociation(proto="esp", spi=256, encr="aes-gcm", encr_key=bytes(16), salt=bytes(4), **fields)  # type: ignore[arg-type]


PORTS = [(500, 500), (500, 4500), (4500, 500), (0, 4500), (4500, 0), (65536, 4500), (4500, 70000), (-1, 4500)]


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("ports", PORTS)
def test_ports_that_make_no_udp_encapsulation_are_refused(ports: tuple[int, int]) -> None:
    """500 is IKE's: there the draft's form has eight zero bytes before ESP. 0 and more than 65535 are no ports."""
    with pytest.raises(SaError, match="natt"):
        sa(natt=ports)
    row = {"proto": "esp", "spi": 256, "encr": "aes-gcm", "encr_key": "00" * 16, "salt": "00" * 4,
           "natt": {"sport": ports[0], "dport": ports[1]}}  # fmt: skip
    with pytest.raises(KeyFileError, match=r"k:\d+:\d+: natt"):
        parse_keys(Path("k"), json.dumps({"sas": [row]}).encode())
    xfrm = (
        "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x100 reqid 1 mode tunnel\n"
        f"\taead rfc4106(gcm(aes)) 0x{'00' * 20} 128\n"
        f"\tencap type espinudp sport {ports[0]} dport {ports[1]} addr 0.0.0.0\n"
    )
    with pytest.raises(KeyFileError, match=r"k:\d+"):
        parse_keys(Path("k"), xfrm.encode())


@pytest.mark.req("BASE-11")
def test_two_zeros_are_ports_in_no_file(tmp_path: Path) -> None:
    """That an SA's ports are not known is said in a word, and comes back."""
    row = '{"sas": [{"proto": "esp", "spi": 256, "integ": "hmac-md5-96", "integ_key": "%s", "natt": %s}]}'
    with pytest.raises(KeyFileError, match="port 0 is none"):
        parse_keys(Path("k"), (row % ("00" * 16, '{"sport": 0, "dport": 0}')).encode())
    (any_ports,) = parse_keys(Path("k"), (row % ("00" * 16, '"any"')).encode())
    assert any_ports.natt == NATT_ANY
    write_sas(tmp_path / "s.json", [any_ports, sa(natt=(4500, 12345))])
    assert [each.natt for each in read_keys(tmp_path / "s.json")] == [NATT_ANY, (4500, 12345)]


def test_the_wire_of_a_null_run_reads_back(tmp_path: Path) -> None:
    """What leaves by `esp-null` is ESP all the same: SPI, number, the packet in clear, trailer, no ICV."""
    trace, wire = tmp_path / "in.pcap", tmp_path / "wire.pcap"
    (tmp_path / "a.cfg").write_text(config())
    packet = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, b"seen by all"))
    write_trace(trace, Batch.from_frames([packet]))
    assert qfp("run", tmp_path / "a.cfg", trace, "--in", "gi1", "-o", wire, "--allow-null").status == 0
    assert b"seen by all" in bytes(read_trace(wire).frame(0))
