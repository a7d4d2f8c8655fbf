"""`check` and `run` say the same: everything that a configuration asks for and the data plane leaves out has a place.

A line that changes nothing is never called applied without another word (BASE-1).
"""

from pathlib import Path

import pytest
from cli_help import qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp

from qfp.batch import Batch
from qfp.config import loads
from qfp.config.effects import LAB_DOES, NEEDS_IKE
from qfp.lab import Lab
from qfp.router import Router
from qfp.trace import write_trace

pytestmark = pytest.mark.req("BASE-1")
GUIDE = sorted((Path(__file__).parent / "guide_configs").glob("*.cfg"))
BASE = """hostname A
crypto ipsec transform-set T esp-gcm 256
crypto ipsec transform-set U esp-aes esp-sha-hmac
crypto ipsec profile P
 set transform-set T
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.2
 set transform-set T
 match address A4
class-map C
 match access-group name A4
policy-map POL
 class C
  priority 64
interface GigabitEthernet0
 ip address 192.0.2.1 255.255.255.0
 crypto map M
interface GigabitEthernet1
 ip address 10.1.0.1 255.255.0.0
interface Tunnel0
 ip address 172.31.0.1 255.255.255.0
 tunnel source GigabitEthernet0
 tunnel destination 192.0.2.9
ip access-list extended A4
 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
ip route 10.2.0.0 255.255.0.0 192.0.2.2
"""
MAP, INSIDE, TUNNEL = " set peer 192.0.2.2", "interface GigabitEthernet1", "interface Tunnel0"
VTI = " tunnel mode ipsec ipv4\n tunnel protection ipsec profile P\n"
# (section, lines put behind its head, the last of them the one in question, severity, words of the message)
CASES = [
    ("", "crypto ipsec ipv4-deny drop", "warning", "'ipv4-deny' has no effect"),
    ("", "crypto ipsec security-association dummy pps 5", "warning", "no dummy packets"),
    ("", "crypto ipsec security-association dummy seconds 5", "warning", "no dummy packets"),
    ("", "crypto ipsec security-association ecn discard", "warning", "RFC 6040"),
    ("", "no crypto ipsec nat-transparency udp-encapsulation", "note", "nat-transparency"),
    ("", "crypto ipsec nat-transparency spi-matching", "note", "nat-transparency"),
    ("", "no crypto isakmp enable", "warning", "isakmp enable"),
    ("", "crypto isakmp keepalive 10", "note", "keepalive"),
    ("", "crypto isakmp nat keepalive 10", "note", "keepalive"),
    ("", "crypto isakmp invalid-spi-recovery", "note", "invalid-spi-recovery"),
    ("", "platform ipsec reassemble transit", "warning", "reassemble transit"),
    ("", "platform ipsec fips-mode", "warning", "fips-mode"),
    ("", "platform ipsec gdoi accept-both", "warning", "gdoi"),
    ("", "platform ipsec llq qos-group 5", "note", "llq"),
    ("", "ip route 10.9.0.0 255.255.0.0 172.16.9.9", "warning", "no route reaches next hop 172.16.9.9"),
    ("", "ip route 10.9.0.0 255.255.0.0 Serial0/1/0", "warning", "10.9.0.0/16 is not installed"),
    ("", "ip route 10.9.0.0 255.255.0.0 Null0", "warning", "10.9.0.0/16 is not installed"),
    (INSIDE, " ip access-group A4 in", "warning", "filters nothing"),
    (INSIDE, " ip access-group A4 out", "warning", "filters nothing"),
    (INSIDE, " ipv6 traffic-filter A6 in", "warning", "filters nothing"),
    (INSIDE, " ipv6 traffic-filter A6 out", "warning", "filters nothing"),
    (INSIDE, " encapsulation dot1q 7", "note", "VLAN"),
    (INSIDE, " service-policy input POL", "warning", "service-policy input POL has no effect in qfp run"),
    (INSIDE, " service-policy output POL", "note", "service-policy output POL: qfp run does not queue"),
    (TUNNEL, " service-policy input POL", "warning", "service-policy input POL has no effect on Tunnel0"),
    (TUNNEL, " service-policy output POL", "note", "service-policy output POL"),
    (TUNNEL, VTI + " tunnel protection ipsec profile P shared", "warning", "'shared' has no effect"),
    (TUNNEL, VTI + " tunnel key 5", "warning", "'tunnel key' has no effect on a VTI"),
    (TUNNEL, VTI + " tunnel checksum", "warning", "'tunnel checksum'"),
    (TUNNEL, VTI + " tunnel sequence-datagrams", "warning", "'tunnel sequence-datagrams'"),
    (TUNNEL, VTI + " tunnel ttl 9", "warning", "'tunnel ttl'"),
    (TUNNEL, VTI + " tunnel tos 9", "warning", "'tunnel tos'"),
    (MAP, " reverse-route", "warning", "reverse-route adds no route"),
    (MAP, " set isakmp-profile IVRF", "warning", "does not move traffic into VRF RED"),
    (MAP, " set transform-set U T", "note", "crypto map M 10 lists 2 transform sets: auto keying takes 'U'"),
    ("crypto ipsec profile P", " set transform-set U T", "note", "IPsec profile P lists 2"),
    ("crypto ipsec profile P", " responder-only", "note", "responder-only"),
    ("crypto ipsec transform-set T esp-gcm 256", " mode transport require", "warning", "'require' has no effect"),
]  # fmt: skip
DEFINED = """ipv6 access-list A6
 permit ipv6 any any
vrf definition RED
crypto isakmp profile IVRF
 vrf RED
 match identity address 1.2.3.4
"""
NAMES = [f"{section}{lines}"[-40:] for section, lines, _, _ in CASES]


def configuration(section: str, lines: str) -> tuple[str, int]:
    """(text, number of the last of the lines)."""
    if not section:
        text = BASE + DEFINED + lines + "\n"
        return text, text.count("\n")
    head, behind = BASE.split(section + "\n", 1)
    text = f"{head}{section}\n{lines.strip(chr(10))}\n"
    if section == "crypto ipsec profile P":
        behind = behind.replace(" set transform-set T\n", "", 1)
    if section == MAP and "transform-set" in lines:
        behind = behind.replace(" set transform-set T\n", "", 1)
    return text + behind + DEFINED, text.count("\n")


@pytest.mark.parametrize(("section", "lines", "severity", "words"), CASES, ids=NAMES)
def test_what_is_left_out_is_said_where_it_stands(section: str, lines: str, severity: str, words: str) -> None:
    text, line = configuration(section, lines)
    cfg = loads(text)
    found = [issue for issue in cfg.issues if words in issue.message]
    assert [(i.severity, i.line) for i in found] == [(severity, line)], [str(i) for i in cfg.issues]
    (verdict,) = [row.verdict for row in cfg.lines if row.line == line]
    unused = severity == "note" and found[0].hint in (NEEDS_IKE, "", LAB_DOES) and "service-policy" not in lines
    assert verdict == ("warning" if severity == "warning" else "kept" if unused else "applied")
    if cfg.ok:
        assert Router(cfg).issues == cfg.issues


@pytest.mark.parametrize(("section", "lines"), [(c[0], c[1]) for c in CASES], ids=NAMES)
def test_the_no_form_takes_it_back(section: str, lines: str) -> None:
    """What is switched off again is not reported."""
    last = lines.strip("\n").rpartition("\n")[2]
    words = last.split()
    back = " ".join(words[1:] if words[0] == "no" else ["no", *words])
    indent = " " * (len(last) - len(last.lstrip()))
    text, line = configuration(section, f"{lines}\n{indent}{back}" if section else f"{lines}\n{back}")
    assert not [i for i in loads(text).issues if i.line in (line - 1, line)]


BROKEN = [
    ("interface Tunnel0\n", "interface Tunnel0\n shutdown\n", None),
    ("tunnel source GigabitEthernet0", "tunnel source GigabitEthernet7", "GigabitEthernet7 has no IPv4 address"),
    ("tunnel destination 192.0.2.9", "tunnel destination 198.51.100.1", "no route to its destination 198.51.100.1"),
    ("tunnel destination 192.0.2.9", "tunnel destination far.example", "the address of far.example is not known"),
    (" tunnel source", " tunnel mode ipsec ipv4\n tunnel source", "a VTI needs tunnel protection"),
    (" tunnel source", " tunnel mode ipip\n tunnel source", "tunnel mode ipip is not modelled"),
    ("ip route 10.2", "ip route 192.0.2.9 255.255.255.255 Tunnel0\nip route 10.2", "leads into it"),
    (" set peer 192.0.2.2", " set peer 2001:db8::2", "GigabitEthernet0 has no IPv6 address"),
    ("crypto map M 10 ipsec-isakmp\n set peer 192.0.2.2",
     "crypto dynamic-map D 5\ncrypto map M 10 ipsec-isakmp dynamic D", "a dynamic map has no peer until one calls"),
    ("ip route 10.2",
     "interface GigabitEthernet2\n shutdown\nip route 9.0.0.0 255.0.0.0 GigabitEthernet2\nip route 10.2",
     "9.0.0.0/8 is not installed: GigabitEthernet2 is shut down"),
    ("hostname A", "hostname A\ncrypto ipsec security-association multi-sn", None),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "words"), BROKEN, ids=[each[1][-30:] for each in BROKEN])
def test_what_is_incomplete_is_said_by_check_as_by_run(old: str, new: str, words: str | None) -> None:
    cfg = loads(BASE.replace(old, new, 1))
    told = [issue for issue in cfg.issues if words is not None and words in issue.message]
    assert len(told) == (words is not None) and all(issue.line for issue in told), [str(i) for i in cfg.issues]
    if cfg.ok:
        assert Router(cfg).issues == cfg.issues


def test_classes_that_the_dscp_does_not_tell() -> None:
    text, _ = configuration(INSIDE, " service-policy output POL")
    text = "crypto ipsec security-association multi-sn\n" + text
    (issue,) = [i for i in loads(text).issues if "looks at access-group" in i.message]
    assert text.split("\n")[issue.line - 1] == " class C"


@pytest.mark.parametrize("path", GUIDE, ids=[path.stem for path in GUIDE])
def test_a_router_of_the_guide_adds_nothing(path: Path) -> None:
    """Whatever is left out of the guide's examples, `check` has said it."""
    cfg = loads(path.read_text())
    assert Router(cfg).issues == cfg.issues


LINES = st.lists(st.sampled_from([c[:2] for c in CASES]), max_size=4)


@settings(max_examples=20)
@given(chosen=LINES, drop=st.lists(st.integers(0, 26), max_size=3))
def test_run_says_what_check_says(chosen: list[tuple[str, str]], drop: list[int]) -> None:
    """Any of these lines together, and lines of the configuration missing."""
    lines = [line for k, line in enumerate(BASE.split("\n")) if k not in drop]
    for section, more in chosen:
        at = lines.index(section) + 1 if section in lines else len(lines) - 1
        lines[at:at] = more.strip("\n").split("\n")
    cfg = loads("\n".join(lines) + DEFINED)
    if cfg.ok:
        assert Router(cfg).issues == cfg.issues


def test_the_command_line_prints_the_same_text(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.cfg", tmp_path / "in.pcap"
    text, _ = configuration(INSIDE, " service-policy input POL")
    text = text.replace(" permit ip 10.1.0.0", " permit tcp 10.1.0.0 0.0.255.255 any established\n permit ip 10.1.0.0")
    path.write_text(text)
    write_trace(trace, Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]))
    checked, ran = qfp("check", path, "--json"), qfp("run", path, trace, "--in", "gi1", "--json")
    assert (checked.status, ran.status) == (0, 0)
    assert checked.json["issues"] == ran.json["issues"] and len(checked.json["issues"]) == 2
    for said in (qfp("check", path), qfp("run", path, trace, "--in", "gi1")):
        for issue in loads(text, str(path)).issues:
            assert str(issue) in said.err


LAB = """[routers.a]
config = "a.cfg"
[[inject]]
trace = "in.pcap"
at = "a gi1"
"""


def test_a_lab_says_what_it_leaves_out_and_not_what_it_does(tmp_path: Path) -> None:
    text, _ = configuration(INSIDE, " service-policy input POL")
    text = text.replace("interface Tunnel0\n", "interface Tunnel0\n service-policy input POL\n")
    (tmp_path / "a.cfg").write_text(text)
    write_trace(tmp_path / "in.pcap", Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]))
    (tmp_path / "lab.toml").write_text(LAB)
    lab = Lab.load(tmp_path / "lab.toml")
    told = [each for each in lab.warnings if "service-policy" in each]
    lab.close()
    assert len(told) == 1 and "service-policy input POL has no effect on Tunnel0" in told[0]


def test_check_needs_neither_compiler_nor_tables() -> None:
    """It must start fast."""
    import subprocess
    import sys

    code = (
        "import sys, qfp.config as c; c.loads(open(sys.argv[1]).read());"
        "print([m for m in ('numba', 'llvmlite', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(GUIDE[0])], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_routes_are_resolved_in_time_that_grows_with_their_number() -> None:
    """10,000 static routes, each behind a next hop that only the longest of many prefixes reaches."""
    import time

    head = "interface GigabitEthernet0\n ip address 10.0.0.1 255.0.0.0\n"
    lines = [f"ip route 20.{k >> 8}.{k & 255}.0 255.255.255.0 10.{k >> 8}.{k & 255}.1" for k in range(10_000)]
    begun = time.process_time()
    cfg = loads(head + "\n".join(lines))
    assert cfg.issues == [] and time.process_time() - begun < 15  # seconds; it was minutes
