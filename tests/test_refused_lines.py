"""A refused line never refuses the file, and never lets out in clear what the file asks to protect."""

from random import Random
from typing import Any

import pytest
from clear_help import BASES, GUIDE, broken, leaks, physical, traffic, ways
from cli_help import IN, config, office, packet, qfp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qfp import Batch, Router
from qfp.config import loads

pytestmark = pytest.mark.req("BASE-1")
OUTSIDE = "GigabitEthernet0/0/0"


def fate(text: str, dst: str = "10.2.0.7") -> str:
    """What became of a packet from the office: its cause, or its verdict."""
    result = Router(loads(text)).forward(Batch.from_frames([packet(0, dst)]), IN)
    (row,) = result.to_arrow().to_pylist()
    return str(row["cause"] or row["verdict"])


# --- the file is not refused


def test_an_error_costs_its_own_section_and_says_so() -> None:
    """The MTU is missing, address and crypto map of the same interface are there."""
    text = config(1).replace(" crypto map M\n", " ip mtu 99999\n crypto map M\n")
    cfg = loads(text)
    assert [i.line for i in cfg.errors] == [10] and "goes without it" in cfg.errors[0].hint
    assert cfg.interfaces[OUTSIDE].crypto_map == "M" and not cfg.held.interfaces
    assert fate(text) == "forwarded"


@pytest.mark.parametrize(
    "head, children",
    [
        ("crypto map M 70000 ipsec-isakmp", " set peer 1.1.1.1\n set transform-set T\n"),
        ("crypto map M 70000 ipsec-isakmp", "set peer 1.1.1.1\nset transform-set T\n"),
        ("interface GigabitEthernet0/0/7 junk", " ip address 10.9.0.1 255.255.0.0\n no shutdown\n"),
        ("ip access-list extended A B", " permit ip any any\n deny ip any any\n"),
        ("class-map match-any c d", " match any\n match ip dscp ef\n"),
        ("policy-map p q", " class c\n  shape average 8000\n"),
        ("unheard of thing", " ip nat inside\n hostname X\n"),
    ],
)
def test_what_a_refused_head_contains_is_not_judged(head: str, children: str) -> None:
    """It is kept, belongs to nothing, and is no global command either."""
    cfg = loads(f"hostname A\n{head}\n{children}hostname B\n")
    assert [i.line for i in cfg.issues if i.severity != "note"] == [2]
    assert [row.verdict for row in cfg.lines][2:4] == ["kept", "kept"] and cfg.hostname == "B"
    assert "2 lines below it have no effect" in cfg.issues[0].hint


def test_keys_below_a_refused_head_stay_masked() -> None:
    ring = "crypto keyring K vrf\n pre-shared-key address 1.1.1.1 key s3cret\n"
    cfg = loads(ring + "crypto isakmp kye s3cret address 0.0.0.0\n")
    assert "s3cret" not in repr(cfg.lines) + repr(cfg.issues)


def test_an_undefined_name_is_a_warning_however_like_another_it_is() -> None:
    """The guide defines profile0 and asks for profile1."""
    text = "crypto ipsec profile profile0\ninterface Tunnel0\n tunnel mode ipsec ipv4\n"
    cfg = loads(text + " tunnel protection ipsec profile profile1\n")
    assert cfg.ok and any("'profile1' is not defined" in i.message for i in cfg.issues)


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("match address 101", "match address 102", "what it should protect leaves GigabitEthernet0/0/0 in clear"),
        (" crypto map M\n", " crypto map N\n", "everything leaves GigabitEthernet0/0/0 in clear"),
        (" set peer 203.0.113.2\n", "", "what access list 101 permits leaves GigabitEthernet0/0/0 in clear"),
        ("set peer 203.0.113.2", "set peer hub", "what access list 101 permits leaves GigabitEthernet0/0/0 in clear"),
    ],
)
def test_what_leaves_in_clear_for_an_undefined_name_is_said(old: str, new: str, told: str) -> None:
    """As on IOS the entry is incomplete, which is what the file says: it is not held down."""
    cfg = loads(config(1).replace(old, new))
    assert cfg.ok and any(told in i.hint for i in cfg.issues), cfg.issues
    assert fate(config(1).replace(old, new)) == "bypassed"


def test_circles_are_cut() -> None:
    """A policy map or class map that contains itself loses the line."""
    text = "policy-map P\n class class-default\n  service-policy P\n"
    text += "class-map match-any C\n match class-map C\n match any\n"
    cfg = loads(text + "interface gi0/0\n service-policy output P\ncrypto ipsec security-association multi-sn\n")
    assert [i.line for i in cfg.errors] == [3, 5]
    assert cfg.policy_maps["P"].classes[0].service_policy is None and len(cfg.class_maps["C"].matches) == 1
    Router(cfg)


# --- what is held down

HELD = {
    "entry head": ("crypto map M 10 ipsec-isakmp", "crypto map M 10 ipsec-isakmp junk"),
    "entry number": ("crypto map M 10 ipsec-isakmp", "crypto map M 0 ipsec-isakmp"),
    "unknown head": ("crypto map M 10 ipsec-isakmp", "crypto mpa M 10 ipsec-isakmp"),
    "peer": ("set peer 203.0.113.2", "set peer 203.0.113.999"),
    "list of the entry": ("match address 101", "match address 101 102"),
    "transform set": ("set transform-set T", "set transform-set"),
    "unknown in the entry": ("match address 101", "mach adress 101"),
    "map of the interface": (" crypto map M\n", " crypto map M junk\n"),
    "unknown on the interface": (" crypto map M\n", " cyrpto map M\n"),
    "permit": ("access-list 101 permit ip 10.1.0.0", "access-list 101 permit ip 10.1.0.300"),
    "action": ("access-list 101 permit ip", "access-list 101 allow ip"),
    "list number": ("access-list 101 permit", "access-list 1O1 permit"),
    "interface": (f"interface {OUTSIDE}", f"interface {OUTSIDE} junk"),
    "unknown interface": (f"interface {OUTSIDE}", f"interfarce {OUTSIDE}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HELD)
def test_a_refused_line_that_protects_holds_down(kind: str) -> None:
    """Its packets are dropped with a cause of their own, and the configuration says why."""
    text = config(1).replace("ip route 0.0.0.0 0.0.0.0", "ip route 10.0.0.0 255.0.0.0")
    text += "interface GigabitEthernet0/0/2\n ip address 198.51.100.1 255.255.255.0\n"
    text += "ip route 0.0.0.0 0.0.0.0 198.51.100.2 250\n"
    assert fate(text) == "forwarded"
    old, new = HELD[kind]
    assert old in text
    cfg = loads(text.replace(old, new))
    assert fate(text.replace(old, new)) == "HELD_DOWN"
    assert any(i.rule == "held-down" and "refused" in i.message for i in cfg.errors)


HARMLESS = {
    "pfs": (" match address 101", " set pfs group99\n match address 101"),
    "lifetime": (" match address 101", " set security-association lifetime seconds 1\n match address 101"),
    "deny": ("access-list 101 permit", "access-list 101 deny ip 10.1.0.300 any\naccess-list 101 permit"),
    "another list": ("access-list 101 permit", "access-list 102 permit junk\naccess-list 101 permit"),
    "another map": ("crypto map M 10", "crypto map N 10 ipsec-isakmp\n set peer 1.2.3\ncrypto map M 10"),
    "service policy": (" crypto map M\n", " crypto map M\n service-policy output\n"),
    "DF bit": (" crypto map M\n", " crypto map M\n crypto ipsec df-bit junk\n"),
    "an open route": ("ip route 0.0.0.0", "ip route 10.9.0.0 255.255.0.0 10.1.0.9 junk\nip route 0.0.0.0"),
    "undoing": (" crypto map M\n", " crypto map M\n no crypto map M junk\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_refused_line_that_protects_nothing_holds_nothing(kind: str) -> None:
    old, new = HARMLESS[kind]
    text = config(1).replace(old, new, 1)
    cfg = loads(text)
    assert cfg.errors and not cfg.held.interfaces, cfg.issues
    assert fate(text) == "forwarded"


@pytest.mark.parametrize("line", [" tunnel protection ipsec profile", " tunnel mode ipsec", " tunnel vrf"])
def test_a_tunnel_that_lost_its_protection_is_held(line: str) -> None:
    text = BASES["vti"].replace(" tunnel protection ipsec profile P\n", line + "\n") if "protection" in line else (
        BASES["vti"].replace(" tunnel mode ipsec ipv4\n", line + "\n"))  # fmt: skip
    assert list(loads(text).held.interfaces) == ["Tunnel0"]


@pytest.mark.parametrize("line", [" tunnel source GigabitEthernet0/0/0\n", "crypto ipsec profile P\n"])
@pytest.mark.req("VTI-1")
def test_an_incomplete_vti_sends_nothing(line: str) -> None:
    """Without a source or a profile it is down: what is routed into it does not leave by the interface below it."""
    text = BASES["vti"].replace(line, "")
    frames = traffic(Random(1), loads(text), 20)
    intact = ways(BASES["vti"], frames, [IN.replace("gi", "GigabitEthernet")])
    assert "protected" in intact.values()
    assert not list(leaks(intact, ways(text, frames, [IN.replace("gi", "GigabitEthernet")])))


def test_nothing_goes_on_that_arrives_at_a_held_interface() -> None:
    """Its VRF may be missing: packets would be routed by another table."""
    text = config(1).replace(" ip address 10.1.0.1", " vrf forwarding RED BLUE\n ip address 10.1.0.1")
    assert loads(text).held.interfaces and fate(text, "198.51.100.9") == "HELD_DOWN"


def test_routes_of_a_vrf_that_is_not_there_are_in_no_other_table() -> None:
    text = config(1) + "ip route vrf RED 10.2.0.0 255.255.0.0 Null0\nip route vrf RED 10.2.0.0 255.255.0.0 10.1.0.9\n"
    assert fate(text) == "forwarded"


def kept_safe(text: str, name: str, seed: int) -> None:
    """Break one line. The rest loads and runs; what the whole text protects is not in clear if a line is refused."""
    cfg = loads(text)
    frames = traffic(Random(1), cfg, 60)
    intact = INTACT.setdefault(name, ways(text, frames, physical(cfg)))
    after = broken(Random(seed), text)
    changed = loads(after)
    known = {i.message for i in cfg.issues}
    refused = changed.errors or [i for i in changed.issues if i.rule == "unknown-command" and i.message not in known]
    found = list(leaks(intact, ways(after, frames, physical(cfg))))
    assert not (refused and found), (after, [str(i) for i in changed.problems], found)


INTACT: dict[str, Any] = {}
ROUNDS = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", BASES)
@ROUNDS
@given(seed=st.integers(0, 2**32))
def test_no_broken_line_lets_out_in_clear(name: str, seed: int) -> None:
    kept_safe(BASES[name], name, seed)


@pytest.mark.parametrize("name", [name for name in GUIDE if name.endswith("-fixed")])
@settings(ROUNDS, max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_no_broken_line_of_the_guide_lets_out_in_clear(name: str, seed: int) -> None:
    kept_safe(GUIDE[name], name, seed)


def test_the_bases_protect_something() -> None:
    """Each property above has packets to lose."""
    for name, text in BASES.items():
        cfg = loads(text)
        assert not cfg.errors
        found = ways(text, traffic(Random(1), cfg, 60), physical(cfg))
        assert "protected" in found.values() and "clear" in found.values(), name


# --- commands


@pytest.fixture
def bad(tmp_path: Any) -> Any:
    """An office whose first router has a refused permit among its lines."""
    made = office(tmp_path)
    made.a.write_text(made.a.read_text() + "access-list 101 permit ip 10.1.0.0 junk any\n")
    return made


def test_run_goes_on_and_reports(bad: Any) -> None:
    said = bad.seal("--json")
    assert said.status == 0 and f"{bad.a}:15:" in said.err
    assert {"error"} <= {each["severity"] for each in said.json["problems"]}
    assert {each["cause"]: each["packets"] for each in said.json["drops"]}["HELD_DOWN"] == 42


@pytest.mark.parametrize("command", ["run", "explain", "mtu", "lab"])
def test_strict_refuses(bad: Any, command: str) -> None:
    (bad / "lab.toml").write_text('[routers.a]\nconfig = "a.cfg"\n[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n')
    line = {
        "run": ["run", bad.a, bad.trace, "--in", IN], "mtu": ["mtu", bad.a, "--sizes", "100-110"],
        "explain": ["explain", bad.a, bad.trace, "--in", IN, "--frame", 0], "lab": ["lab", bad / "lab.toml"],
    }[command]  # fmt: skip
    if command == "mtu":  # which has nothing to sweep where all is held down
        other = bad.a.read_text().replace("access-list 101 permit ip 10.1.0.0 junk", "interface gi0/0/1\n ip mtu junk")
        bad.a.write_text(other)
    said = qfp(*line, "--json")
    assert said.status == 0 and any(each["severity"] == "error" for each in said.json["problems"])
    assert qfp(*line, "--strict").status == 2


def test_explain_names_the_line(bad: Any) -> None:
    said = qfp("explain", bad.a, bad.trace, "--in", IN, "--frame", 0)
    assert f"held down: {OUTSIDE}: line 15 was refused" in said.out


def test_python_says_the_same(bad: Any) -> None:
    from qfp.router import RouterError

    assert Router.load(bad.a).config.errors
    with pytest.raises(RouterError, match=r"a\.cfg:15:"):
        Router.load(bad.a, strict=True)


def test_a_lab_does_without_what_its_policies_lack(tmp_path: Any) -> None:
    """An undefined policy map, class map and access list: the classes that are there are there."""
    made = office(tmp_path, extra="class-map A\n match access-group 150\npolicy-map P\n class A\n  priority 100\n"
                  " class B\n  bandwidth 10\n")  # fmt: skip
    text = made.a.read_text().replace(" crypto map M\n", " crypto map M\n service-policy output P\n")
    made.a.write_text(text.replace(" ip address 10.1.0.1", " service-policy output Q\n ip address 10.1.0.1"))
    (made / "lab.toml").write_text(
        '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\n'
        'rate = "10 M"\ndelay = "1 ms"\n[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n'
    )
    said = qfp("lab", made / "lab.toml", "--json")
    assert said.status == 0 and said.json["journeys"][0]["delivered"] >= 40
    assert any("class map 'B' is not defined" in each["message"] for each in said.json["problems"])
