"""NAT exemption: which packets of a crypto map a rule of `ip nat` translates, against one packet at a time (BASE-4)."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cli_help import qfp
from hypothesis import given, settings
from hypothesis import strategies as st

from qfp.config import Configuration, loads
from qfp.config.boxes import Box, address_ranges, minus
from qfp.config.nat_exemption import exposed

CONFIG = """crypto ipsec transform-set T esp-gcm
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.2
 set transform-set T
 match address VPN
interface GigabitEthernet0
 ip address 203.0.113.1 255.255.255.0
{outside} crypto map M
interface GigabitEthernet1
 ip address 192.168.1.1 255.255.255.0
{inside}ip route 0.0.0.0 0.0.0.0 203.0.113.2
ip access-list extended VPN
{vpn}{rules}"""
OUTSIDE, INSIDE = " ip nat outside\n", " ip nat inside\n"
OVERLOAD = "ip nat inside source list NAT interface GigabitEthernet0 overload\n"
VPN = " permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255\n"


def config(rules: str, vpn: str = VPN, outside: str = OUTSIDE, inside: str = INSIDE) -> Configuration:
    return loads(CONFIG.format(rules=rules, vpn=vpn, outside=outside, inside=inside))


def told(cfg: Configuration) -> list[str]:
    assert not cfg.errors, [str(i) for i in cfg.errors]
    return [i.message for i in cfg.issues if "before they are matched" in i.message]


# --- the slow twin: one packet after the other, entry by entry

Packet = tuple[int, int, int, int, int]


def matches(ace: Any, packet: Packet) -> bool:
    src, dst, proto, sport, dport = packet
    if any((address ^ value) & mask for address, (value, mask) in ((src, ace.src), (dst, ace.dst))):
        return False
    if ace.protocol is not None and ace.protocol != proto:
        return False
    return all(match is None or match.matches(port) for match, port in ((ace.sport, sport), (ace.dport, dport)))


def permits(acl: Any, packet: Packet) -> bool:
    return next((ace.permit for ace in acl.entries if matches(ace, packet)), False)


def by_map(clauses: list[tuple[bool, list[Any]]], packet: Packet) -> bool:
    """Clauses of (permit, access lists; none = everything): the first one that matches decides."""
    for permit, lists in clauses:
        if not lists or any(permits(acl, packet) for acl in lists):
            return permit
    return False


# --- small spaces

ADDRESSES = st.sampled_from(["any", "host 10.0.0.1", "host 10.0.0.6", "10.0.0.0 0.0.0.3", "10.0.0.4 0.0.0.3",
                             "10.0.0.1 0.0.0.6", "10.0.0.0 0.0.0.5", "10.0.0.2 0.0.0.5",
                             "10.0.0.2 0.0.0.1"])  # fmt: skip
PORTS = st.sampled_from(["", "eq 1", "neq 2", "range 1 2", "gt 1", "lt 3", "eq 1 3"])


@st.composite
def entries(draw: Any) -> str:
    action, protocol = draw(st.sampled_from(["permit", "deny"])), draw(st.sampled_from(["ip", "tcp", "udp", "icmp"]))
    src, dst = draw(ADDRESSES), draw(ADDRESSES)
    sport, dport = (draw(PORTS), draw(PORTS)) if protocol in ("tcp", "udp") else ("", "")
    return f" {action} {protocol} {src} {sport} {dst} {dport}\n"


LISTS = st.lists(entries(), min_size=1, max_size=5).map("".join)
SPACE = [(10 << 24 | src, 10 << 24 | dst, proto, sport, dport)
         for src, dst, proto in product(range(8), range(8), (1, 6, 17))
         for sport, dport in (product((1, 2, 3), (1, 2, 3)) if proto != 1 else [(8, 0)])]  # fmt: skip


def inside(box: Box, packet: Packet) -> bool:
    return all(low <= value <= high for (low, high), value in zip(box, packet, strict=True))


@settings(deadline=None, max_examples=60)
@given(LISTS, LISTS)
def test_lists_against_every_packet(vpn: str, nat: str) -> None:
    """Denies of both lists, first match, wildcards whose free bits stand apart, ports and protocols: the packets that
    are named are those that both let through, no more and no less."""
    cfg = config(f"ip access-list extended NAT\n{nat}{OVERLOAD}", vpn)
    boxes = [part for each in exposed(cfg) for part in each.parts]
    assert all(part.exact for part in boxes)
    crypto, translated = cfg.access_lists["VPN"], cfg.access_lists["NAT"]
    for packet in SPACE:
        wanted = permits(crypto, packet) and permits(translated, packet)
        assert any(inside(part.box, packet) for part in boxes) == wanted, packet


@settings(deadline=None, max_examples=40)
@given(LISTS, st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("ABC"), max_size=2)), min_size=1, max_size=3),
       st.lists(LISTS, min_size=3, max_size=3))  # fmt: skip
def test_route_maps_against_every_packet(vpn: str, parts: list[tuple[bool, list[str]]], lists: list[str]) -> None:
    """Clauses that permit and deny, with several lists, or with none, which take everything; numbers in any order."""
    text = "".join(f"ip access-list extended {name}\n{each}" for name, each in zip("ABC", lists, strict=True))
    for k, (permit, names) in reversed(list(enumerate(parts))):
        text += f"route-map RM {'permit' if permit else 'deny'} {10 * k + 5}\n"
        text += f" match ip address {' '.join(names)}\n" if names else " set metric 5\n"
    cfg = config(text + "ip nat inside source route-map RM interface GigabitEthernet0 overload\n", vpn)
    boxes = [part.box for each in exposed(cfg) for part in each.parts]
    clauses = [(permit, [cfg.access_lists[name] for name in names]) for permit, names in parts]
    for packet in SPACE:
        wanted = permits(cfg.access_lists["VPN"], packet) and by_map(clauses, packet)
        assert any(inside(box, packet) for box in boxes) == wanted, packet


RANGES = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (min(pair), max(pair)))
BOXES = st.builds(Box, RANGES, RANGES, RANGES, RANGES, RANGES)


@given(BOXES, st.lists(BOXES, max_size=3))
def test_difference_of_boxes(box: Box, others: list[Box]) -> None:
    """The parts do not overlap, and hold what is in the box and in none of the others."""
    left = minus([box], others)
    for packet in product(range(5), repeat=5):
        wanted = inside(box, packet) and not any(inside(each, packet) for each in others)
        assert sum(inside(part, packet) for part in left) == wanted


@given(st.integers(0, 255), st.integers(0, 255))
def test_wildcards_as_ranges(value: int, wildcard: int) -> None:
    ranges, exact = address_ranges(value & ~wildcard, ~wildcard & 0xFFFFFFFF)
    assert exact
    found = {address for low, high in ranges for address in range(low, high + 1)}
    assert found == {address for address in range(256) if not (address ^ value) & ~wildcard & 0xFF}


# --- what the fault looks like in real configurations


@pytest.mark.req("BASE-4")
@pytest.mark.parametrize(
    ("rules", "packets"),
    [("access-list 1 permit 10.0.0.0 0.255.255.255\nip nat inside source list 1 interface gi0 overload\n",
      "ip 10.1.0.0/16 10.2.0.0/16"),
     ("ip access-list extended NAT\n permit ip 10.1.0.0 0.0.255.255 any\n" + OVERLOAD, "ip 10.1.0.0/16 10.2.0.0/16"),
     ("ip access-list extended NAT\n deny ip any 10.2.0.0 0.0.127.255\n permit ip any any\n" + OVERLOAD,
      "ip 10.1.0.0/16 10.2.128.0/17"),
     ("ip access-list extended NAT\n permit ip 10.1.0.0 0.0.255.255 any\n deny ip any any\n" + OVERLOAD,
      "ip 10.1.0.0/16 10.2.0.0/16"),
     ("ip access-list extended NAT\n permit tcp any any eq 80\n" + OVERLOAD, "tcp 10.1.0.0/16 10.2.0.0/16 port 80"),
     ("ip nat inside source static 10.1.0.5 203.0.113.9\n", "ip 10.1.0.5 10.2.0.0/16"),
     ("ip nat ins so stat tcp 10.1.0.6 www 203.0.113.9 80 extendable\n", "tcp 10.1.0.6 port 80 10.2.0.0/16"),
     ("ip nat inside source static network 10.1.4.0 203.0.113.0 /24\n", "ip 10.1.4.0/24 10.2.0.0/16"),
     ("ip nat inside source static network 10.1.4.0 203.0.113.0 255.255.255.0 extendable\n",
      "ip 10.1.4.0/24 10.2.0.0/16"),
     ("access-list 101 permit ip any any\nroute-map RM permit 10\n match ip address 101\n match interface Gi0\n"
      "ip nat pool P 203.0.113.20 203.0.113.30 prefix-length 24\nip nat inside source route-map RM pool P overload\n",
      "ip 10.1.0.0/16 10.2.0.0/16")],
)  # fmt: skip
def test_the_fault_is_found_and_its_packets_are_named(rules: str, packets: str) -> None:
    (message,) = told(config(rules))
    assert message == f"ip nat translates packets of crypto map M 10 before they are matched: {packets}"


EXEMPT = "ip access-list extended NAT\n deny ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255\n permit ip any any\n"
ALL = "ip access-list extended NAT\n permit ip any any\n"
HIT = "ip 10.1.0.0/16 10.2.0.0/16"


@pytest.mark.req("BASE-4")
@pytest.mark.parametrize(
    ("rules", "parts"),
    [(EXEMPT + OVERLOAD, {}),
     (ALL + OVERLOAD, {"outside": ""}),
     (ALL + OVERLOAD, {"inside": ""}),
     ("access-list 1 permit 172.16.0.0 0.0.255.255\nip nat inside source list 1 interface gi0 overload\n", {}),
     (ALL + OVERLOAD, {"vpn": " permit ip 203.0.113.0 0.0.0.255 10.2.0.0 0.0.255.255\n"}),
     (ALL + OVERLOAD, {"vpn": " permit gre host 192.168.1.1 host 203.0.113.2\n"}),
     (ALL + OVERLOAD + "no " + OVERLOAD, {}),
     (ALL + OVERLOAD.replace(" overload", " vrf RED overload") + "vrf definition RED\n", {}),
     ("ip nat inside source static 10.1.0.5 10.1.0.5\n", {}),
     ("ip nat inside source static 172.16.0.5 203.0.113.9\n", {}),
     (ALL + "route-map RM deny 5\n match ip address VPN\nroute-map RM permit 10\n match ip address NAT\n"
      "ip nat inside source route-map RM interface gi0 overload\n", {}),
     ("ip access-list extended NAT\n deny ip any 10.2.0.0 0.0.255.255\n permit ip any any\nroute-map RM permit 10\n"
      " match ip address NAT\nip nat inside source static 10.1.0.5 203.0.113.9 route-map RM\n", {}),
     (ALL + "route-map RM permit 10\n match ip address NAT\n match interface GigabitEthernet1\n"
      "ip nat inside source route-map RM interface gi0 overload\n", {}),
     (ALL + "ip nat source list NAT interface gi0 overload\n", {}),
     (ALL + OVERLOAD + "interface gi2\n ip address 10.1.0.1 255.255.0.0\n", {}),
     (ALL + OVERLOAD + "interface gi2\n ip address 10.77.0.1 255.255.0.0\n"
      "ip route 10.1.0.0 255.255.0.0 10.77.0.9\n", {})],
    ids=["deny first", "no outside", "no inside", "other sources", "translated already", "own packets", "no", "vrf",
         "identity", "another host", "map denies", "static by map", "another egress", "other domain",
         "source is not inside", "route is not inside"],
)  # fmt: skip
def test_no_false_alarm(rules: str, parts: dict[str, str]) -> None:
    assert told(config(rules, **parts)) == []


@pytest.mark.req("BASE-4")
def test_an_identity_rule_exempts_its_host_from_dynamic_rules() -> None:
    (message,) = told(config(ALL + OVERLOAD + "ip nat inside source static network 10.1.0.0 10.1.0.0 /17\n"))
    assert message.endswith(": ip 10.1.128.0/17 10.2.0.0/16")


@pytest.mark.req("BASE-4")
def test_nat_between_virtual_interfaces() -> None:
    """`ip nat enable` is inside and outside in one; its rules have no `inside`."""
    enabled = " ip nat enable\n"
    rules = ALL + "ip nat source list NAT interface gi0 overload\n"
    assert [m.endswith(HIT) for m in told(config(rules, outside=enabled, inside=enabled))] == [True]


@pytest.mark.req("BASE-4")
@pytest.mark.parametrize(
    "entry",
    [" permit tcp any any established\n", " permit ip 0.170.170.0 255.85.85.255 any\n",
     " deny ip any any dscp ef\n permit ip any any\n"],
)  # fmt: skip
def test_what_boxes_cannot_say_is_told_as_possible(entry: str) -> None:
    """Conditions beyond the five fields, and wildcards with too many free bits apart: the alarm says `may`."""
    messages = told(config(f"ip access-list extended NAT\n{entry}{OVERLOAD}"))
    assert len(messages) == 1 and "may translate" in messages[0]


@pytest.mark.req("BASE-4")
def test_check_names_it_and_many_entries_are_compared_in_time(tmp_path: Path) -> None:
    """At the rule's line, with a remedy; thousands of exempted sites among which one was forgotten."""
    sites = [f"10.2.{k >> 8}.{k & 255}" for k in range(3000)]
    vpn = "".join(f" permit ip 10.1.0.0 0.0.255.255 host {site}\n" for site in sites)
    nat = "".join(f" deny ip 10.1.0.0 0.0.255.255 host {site}\n" for site in sites if site != "10.2.7.7")
    text = CONFIG.format(rules=f"ip access-list extended NAT\n{nat} permit ip any any\n{OVERLOAD}", vpn=vpn,
                         outside=OUTSIDE, inside=INSIDE)  # fmt: skip
    path = tmp_path / "r.cfg"
    path.write_text(text)
    said = qfp("check", path)
    line = text[: text.index("ip nat inside source")].count("\n") + 1
    assert said.status == 0
    assert f"r.cfg:{line}:1: warning: ip nat translates packets of crypto map M 10" in said.err
    assert "ip 10.1.0.0/16 10.2.7.7 (" in said.err and "let access list NAT deny them first" in said.err
