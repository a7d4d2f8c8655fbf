"""Interfaces that share a crypto map (DF-2); IPsec profiles with several transform sets, `shared` or not (VTI-5)."""

from pathlib import Path

import pytest
from cli_help import qfp
from hypothesis import given
from hypothesis import strategies as st
from packets import ip4, ip6, udp

from qfp.batch import Batch
from qfp.config import loads, render
from qfp.router import Router, RouterError

DF = 0x40
SHARED = """hostname A
ipv6 unicast-routing
{everywhere}
crypto ipsec transform-set T esp-gcm
crypto map{six} M local-address Loopback0
crypto map{six} M 10 ipsec-isakmp
 set peer {peer}
 set transform-set T
 match address L
interface Loopback0
 ip address 192.0.2.1 255.255.255.255
 ipv6 address 2001:db8::1/128
{interfaces}
interface GigabitEthernet9
 ip address 10.1.0.1 255.255.0.0
ip route 10.2.0.0 255.255.0.0 10.9.0.99
ip route 192.0.2.2 255.255.255.255 10.9.0.99
{lists}
"""
INTERFACE = "interface GigabitEthernet{k}\n ip address 10.9.{k}.1 255.255.255.0\n ipv6 address fd00:{k}::1/64\n{more}"
SETTINGS = ("", "clear", "set", "copy")


def shared(settings: list[str], everywhere: str = "", six: bool = False, local: bool = True) -> str:
    """A configuration whose interfaces 0, 1, … have these df-bit settings; "" says nothing."""
    bind = " ipv6 crypto map M\n" if six else " crypto map M\n"
    interfaces = "\n".join(
        INTERFACE.format(k=k, more=bind + (f" crypto ipsec df-bit {each}\n" if each else ""))
        for k, each in enumerate(settings)
    )
    lists = "ipv6 access-list L\n permit ipv6 any any" if six else "ip access-list extended L\n permit ip any any"
    text = SHARED.format(
        everywhere=f"crypto ipsec df-bit {everywhere}" if everywhere else "!", six=" ipv6" if six else "",
        peer="2001:db8::2" if six else "192.0.2.2", interfaces=interfaces, lists=lists,
    )  # fmt: skip
    return text if local else text.replace(f"crypto map{' ipv6' if six else ''} M local-address Loopback0\n", "")


@pytest.mark.req("DF-2")
@given(
    st.lists(st.sampled_from(SETTINGS), min_size=1, max_size=4), st.sampled_from(SETTINGS), st.booleans(), st.booleans()
)
def test_sharing_interfaces_must_agree(settings: list[str], everywhere: str, six: bool, local: bool) -> None:
    """What holds for each interface counts: its own setting, else the global one, else copy."""
    cfg = loads(shared(settings, everywhere, six, local))
    differ = len({each or everywhere or "copy" for each in settings}) > 1
    errors = [issue for issue in cfg.errors if "differ in df-bit" in issue.message]
    assert len(errors) == (differ and local) and len(cfg.errors) == len(errors)


@pytest.mark.req("DF-2")
def test_the_error_is_at_load_and_names_place_settings_and_remedy(tmp_path: Path) -> None:
    text = shared(["clear", "set", ""])
    (issue,) = loads(text, "a.cfg").errors
    assert "GigabitEthernet0: clear, GigabitEthernet1: set, GigabitEthernet2: copy" in issue.message
    assert text.split("\n")[issue.line - 1] == "interface GigabitEthernet2" and "the same" in issue.hint
    with pytest.raises(RouterError, match="differ in df-bit"):
        Router.loads(text, strict=True)
    assert "GigabitEthernet0 says holds for all" in issue.message
    frame = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(40)), flags=0x4000)
    for settings, df in ((["clear", "set", ""], 0), (["set", "clear"], DF), (["", "clear"], DF)):
        for route in ("10.9.0.99", "10.9.1.99"):
            router = Router.loads(shared(settings).replace("10.9.0.99", route))
            (sent,) = router.forward(Batch.from_frames([frame]), "gi9").packets.frames()
            assert (sent[9], sent[6] & DF) == (50, df), "they share SAs, so that the first interface speaks for all"
    path = tmp_path / "a.cfg"
    path.write_text(text)
    said = qfp("check", path)
    assert said.status == 2 and f"a.cfg:{issue.line}:" in said.err and "differ in df-bit" in said.err
    for other in (shared(["clear", "set"]).replace(" crypto map M\n crypto ipsec df-bit set", ""),
                  shared(["clear", "clear"]), shared(["copy", ""]), shared(["set", ""], "set")):  # fmt: skip
        assert loads(other).ok, "an interface without the map, or the same for all"


@pytest.mark.req("DF-2")
@pytest.mark.parametrize(("setting", "expected"), [("clear", 0), ("set", DF), ("copy", DF)])
def test_the_common_setting_holds_on_the_wire(setting: str, expected: int) -> None:
    """One SPD and one pair of SAs serve both interfaces, so that they could not treat packets differently."""
    router = Router.loads(shared([setting, setting]))
    assert len(router.sadb.pairs) == 1
    frame = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(40)), flags=0x4000)
    for route in ("10.9.0.99", "10.9.1.99"):
        text = shared([setting, setting]).replace("10.9.0.99", route)
        (sent,) = Router.loads(text).forward(Batch.from_frames([frame]), "gi9").packets.frames()
        assert (sent[9], sent[6] & DF) == (50, expected)


# ------------------------------------------------------------------------------------------------------ profiles
SETS = ("esp-gcm 256", "esp-aes esp-sha-hmac", "esp-3des esp-md5-hmac", "ah-sha-hmac", "esp-gmac", "esp-aes 256 "
        "esp-sha512-hmac", "esp-gcm")  # fmt: skip
PROFILE = """hostname R{me}
ipv6 unicast-routing
{sets}
crypto ipsec profile P
 set transform-set {names}
interface GigabitEthernet0
 ip address 192.0.2.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
interface GigabitEthernet1
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 ipv6 address fd00:99::{me}/64
 tunnel source GigabitEthernet0
 tunnel destination {peer}
 tunnel mode {mode}
 tunnel protection ipsec profile P{shared}
ip route 10.{other}.0.0 255.255.0.0 Tunnel0
ipv6 route fd00:{other}::/32 Tunnel0
"""
NAMES = [f"S{k}" for k in range(len(SETS))]
MODES = ("ipsec ipv4", "ipsec ipv6", "gre ip", "gre ipv6")


def profile(names: list[str], me: int = 1, mode: str = "ipsec ipv4", word: str = "") -> str:
    sets = "\n".join(f"crypto ipsec transform-set {name} {each}" for name, each in zip(NAMES, SETS, strict=True))
    other = 3 - me
    peer = f"2001:db8::{other}" if mode.endswith("6") else f"192.0.2.{other}"
    return PROFILE.format(me=me, other=other, sets=sets, names=" ".join(names), peer=peer, mode=mode, shared=word)


def through(names: list[str], mode: str) -> tuple[Router, dict[str, int]]:
    """(near router, verdicts at the far one) of two packets through the tunnel."""
    near, far = (Router.loads(profile(names, me, mode)) for me in (1, 2))
    frames = [ip4("10.1.0.9", "10.2.0.9", udp(1, 2)), ip6("fd00:1::9", "fd00:2::9", udp(1, 2))]
    sent = near.forward(Batch.from_frames(frames), "gi1")
    return near, far.forward(sent.packets, "gi0").counters["verdicts"]


@pytest.mark.req("VTI-5")
@pytest.mark.parametrize("mode", MODES)
def test_a_profile_takes_up_to_six_transform_sets(mode: str) -> None:
    for count in range(1, 7):
        cfg = loads(profile(NAMES[:count], mode=mode))
        assert cfg.ok and cfg.profiles["P"].transform_sets == NAMES[:count]
        assert loads(render(cfg, show_keys=True)) == cfg
    (issue,) = loads(profile(NAMES, mode=mode)).errors
    assert "at most 6" in issue.message
    assert loads(profile(NAMES, mode=mode)).profiles["P"].transform_sets == NAMES[:6]


@pytest.mark.req("VTI-5")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", range(6))
def test_the_first_of_six_protects(mode: str, first: int) -> None:
    """Whichever stands first, SAs are made by it and packets arrive; one that is not defined is passed over."""
    names = NAMES[first:6] + NAMES[:first]
    for listed in (names, ["NONE", *names[:5]]):
        near, verdicts = through(listed, mode)
        assert verdicts == {"forwarded": 2}
        sa = near.sad.describe(near.sadb.pairs[0].outbound[0])
        made = near.config.transform_sets[names[0]]
        assert (sa.proto, sa.encr if sa.proto == "esp" else None) == ("ah" if made.ah else "esp", made.cipher)


@pytest.mark.req("VTI-5")
def test_a_later_line_replaces_the_list_of_a_profile() -> None:
    line = " set transform-set S0 S1 S2"
    cfg = loads(profile(NAMES[:3]).replace(line, f"{line}\n set transform-set S4"))
    assert cfg.profiles["P"].transform_sets == ["S4"]


@pytest.mark.req("VTI-5")
@pytest.mark.parametrize("mode", MODES)
def test_shared_is_refused_for_ipv6_alone(mode: str) -> None:
    text = profile(["S0"], mode=mode, word=" shared")
    cfg = loads(text)
    if mode.endswith("6"):
        (issue,) = cfg.errors
        assert "IPv6 tunnels do not take 'shared'" in issue.message and issue.hint == "remove the word"
        assert "tunnel protection" in text.split("\n")[issue.line - 1]
        return
    assert cfg.ok and cfg.interfaces["Tunnel0"].tunnel.shared and " profile P shared" in render(cfg)
    assert loads(render(cfg, show_keys=True)) == cfg
    packet = Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))])
    assert Router(cfg).forward(packet, "gi1").counters["verdicts"] == {"forwarded": 1}
