"""Entries of crypto access lists with conditions by which no SA is chosen: never less is protected than asked for.

A permit entry matches by its addresses, protocol and ports alone; a deny entry exempts nothing. What leaves is ESP.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import icmp, ip4, ip6, tcp_syn, udp
from path_help import Pair

from qfp.batch import Batch
from qfp.config import loads, render
from qfp.router import Router

pytestmark = pytest.mark.req("BASE-4")

CONFIG = """hostname R{me}
ipv6 unicast-routing
crypto ipsec transform-set T {transform}
crypto map M 10 {kind}
 set peer 203.0.113.{other}
 set transform-set T
 match address L4
{keys}
crypto map ipv6 M6 10 ipsec-isakmp
 set peer 2001:db8::{other}
 set transform-set T
 match address L6
interface GigabitEthernet0/0/0
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
 crypto map M
 ipv6 crypto map M6
interface GigabitEthernet0/0/1
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
ip route 10.{other}.0.0 255.255.0.0 203.0.113.{other}
ipv6 route fd00:{other}::/32 2001:db8::{other}
ip access-list extended L4
{four}
ipv6 access-list L6
{six}
"""
KEYS = (
    " set session-key inbound esp 1001 cipher {k} authenticator {a}\n"
    " set session-key outbound esp 1002 cipher {k} authenticator {a}\n"
).format(k="11" * 16, a="22" * 20)
TCP_WORDS = ("established", "syn", "ack fin", "match-any +syn -ack", "match-all +rst", "psh", "urg")
WORDS4 = ("dscp ef", "dscp 10", "precedence critical", "tos 4", "tos max-reliability", "fragments",
          "option any-options", "time-range WORK", "ttl eq 3", "ttl range 1 9", "reflect BACK",
          "reflect BACK timeout 30", "log dscp ef", "log-input precedence 1")  # fmt: skip
WORDS6 = ("dscp ef", "fragments", "flow-label 5", "routing", "routing-type 2", "dest-option", "dest-option-type 4",
          "mobility", "mobility-type 1", "undetermined-transport", "time-range WORK", "reflect BACK", "auth", "hbh",
          "log dscp cs1")  # fmt: skip


def config(four: str, six: str, me: int = 1, manual: bool = False) -> str:
    kind, keys = ("ipsec-manual", KEYS) if manual else ("ipsec-isakmp", "")
    transform = "esp-aes esp-sha-hmac" if manual else "esp-gcm"
    return CONFIG.format(me=me, other=3 - me, four=f" {four}", six=f" {six}", kind=kind, keys=keys, transform=transform)


def plain4(family: int, protocol: int = 6) -> bytes:
    """A packet that fulfils none of the conditions: a SYN, or UDP, DSCP 0, no option, no fragment, TTL 64."""
    upper = tcp_syn(1460) if protocol == 6 else udp(1000, 80)
    if family == 4:
        return ip4("10.1.0.9", "10.2.0.9", upper, protocol)
    return ip6("fd00:1::9", "fd00:2::9", upper, protocol)


def protocols_of_what_leaves(text: str, *frames: bytes) -> list[int]:
    """IP protocol of each packet that leaves; 50 is ESP."""
    sent = Router.loads(text).forward(Batch.from_frames(list(frames)), "gi0/0/1").packets.frames()
    return [frame[9] if frame[0] >> 4 == 4 else frame[6] for frame in sent]


@pytest.mark.parametrize("manual", [False, True], ids=["auto", "manual"])
@pytest.mark.parametrize("words", [*TCP_WORDS, *WORDS4])
def test_a_permit_entry_protects_what_its_addresses_match(words: str, manual: bool) -> None:
    text = config(f"permit tcp 10.1.0.0 0.0.255.255 any {words}", "permit ipv6 any any", manual=manual)
    assert protocols_of_what_leaves(text, plain4(4)) == [50]


@pytest.mark.parametrize("words", [*TCP_WORDS, *WORDS6])
def test_a_permit_entry_of_ipv6_too(words: str) -> None:
    text = config("permit ip any any", f"permit tcp fd00:1::/32 any {words}")
    assert protocols_of_what_leaves(text, plain4(6)) == [50]


def test_protocol_and_ports_still_count() -> None:
    """Only the words are left out: another protocol or port is sent in clear, as the file says."""
    text = config("permit tcp any any eq 443 established", "permit tcp any any eq 443 dscp ef")
    for family in (4, 6):
        assert protocols_of_what_leaves(text, plain4(family), plain4(family, 17)) == [6, 17]


@pytest.mark.parametrize("words", [*TCP_WORDS, *WORDS4])
def test_a_deny_entry_exempts_nothing(words: str) -> None:
    text = config(f"deny tcp any any {words}\n permit ip 10.1.0.0 0.0.255.255 any", "permit ipv6 any any")
    matching = ip4("10.1.0.9", "10.2.0.9", tcp_syn(1460), 6, tos=0xB8)
    assert protocols_of_what_leaves(text, plain4(4), matching) == [50, 50]


@pytest.mark.parametrize("words", [*TCP_WORDS, *WORDS6])
def test_a_deny_entry_of_ipv6_exempts_nothing(words: str) -> None:
    text = config("permit ip any any", f"deny tcp any any {words}\n permit ipv6 fd00:1::/32 any")
    assert protocols_of_what_leaves(text, plain4(6)) == [50]


def test_an_icmp_type_is_a_selector() -> None:
    """RFC 4301 4.4.1.1 has type and code: they do count, and nobody warns."""
    text = config("permit icmp any any echo", "permit icmp any any echo-request")
    echo, answer = (ip4("10.1.0.9", "10.2.0.9", icmp(kind), 1) for kind in (8, 0))
    assert protocols_of_what_leaves(text, echo, answer) == [50, 1]
    assert not [i for i in loads(text).issues if "SA is not chosen" in i.message]


def test_both_ends_understand_each_other() -> None:
    """Mirrored lists with conditions give the same SAs, also when two entries come to the same selectors: then there is
    one pair of SAs, as there is one proxy identity."""
    for words in ("established", "dscp ef"):
        four = "permit tcp {} {}\n permit tcp {} {} " + words + "\n permit tcp {} {} precedence 3"
        six = four.replace("precedence 3", "flow-label 3")
        here = config(four.format(*["10.1.0.0 0.0.255.255", "10.2.0.0 0.0.255.255"] * 3),
                      six.format(*["fd00:1::/32", "fd00:2::/32"] * 3))  # fmt: skip
        there = config(four.format(*["10.2.0.0 0.0.255.255", "10.1.0.0 0.0.255.255"] * 3),
                       six.format(*["fd00:2::/32", "fd00:1::/32"] * 3), me=2)  # fmt: skip
        near, far = Router.loads(here), Router.loads(there)
        assert len(near.sadb.pairs) == 2
        sent = near.forward(Batch.from_frames([plain4(4), plain4(6)]), "gi0/0/1").packets
        assert far.forward(sent, "gi0/0/0").counters["verdicts"] == {"forwarded": 2}


@pytest.mark.parametrize(
    ("line", "family"),
    [("permit tcp any any established", 4), ("deny ip any any dscp af11 log", 4), ("permit udp any any fragments", 4),
     ("deny tcp any any syn", 4), ("permit ipv6 any any flow-label 9", 6), ("deny ipv6 any any routing", 6)],
)  # fmt: skip
def test_the_warning_names_place_words_and_effect(line: str, family: int) -> None:
    text = config(line if family == 4 else "permit ip any any", line if family == 6 else "permit ipv6 any any")
    cfg = loads(text)
    (issue,) = [i for i in cfg.issues if "SA is not chosen" in i.message]
    at = next(n for n, each in enumerate(text.split("\n"), 1) if each.strip() == line)
    assert (issue.line, issue.severity) == (at, "warning") and cfg.ok
    effect = "this permit entry protects" if line.startswith("permit") else "this deny entry exempts nothing"
    assert issue.hint.startswith(effect)
    assert [row.verdict for row in cfg.lines if row.line == at] == ["warning"]


@pytest.mark.parametrize("words", [*TCP_WORDS, *WORDS4])
def test_entries_print_as_they_were_read(words: str) -> None:
    cfg = loads(f"ip access-list extended L\n permit tcp any any {words}\n")
    assert cfg.ok and loads(render(cfg)) == cfg
    six = loads(f"ipv6 access-list L\n permit tcp any any {WORDS6[len(words) % len(WORDS6)]}\n")
    assert six.ok and loads(render(six)) == six


@pytest.mark.parametrize(
    "line",
    ["udp any any syn", "tcp any any match-any", "tcp any any match-any syn", "ip any any ttl 3", "tcp any any sin",
     "ip any any ttl eq 256", "ip any any tos", "ip any any flow-label 3", "ip any any routing",
     "ip any any time-range"],
)  # fmt: skip
def test_words_that_are_none_are_errors(line: str) -> None:
    assert not loads(f"ip access-list extended L\n permit {line}\n").ok


def test_reflexive_lists_are_said_not_to_work() -> None:
    cfg = loads("ip access-list extended L\n evaluate BACK\n permit ip any any\n")
    assert cfg.ok and "'evaluate BACK' is not modelled" in cfg.issues[0].message


def test_a_class_map_takes_such_an_entry_for_one_that_matches_nothing() -> None:
    text = "class-map C\n match access-group name L\nip access-list extended L\n permit tcp any any ttl eq 3\n"
    (issue,) = loads(text).issues
    assert issue.line == 4 and "class maps do not look at ttl" in issue.message


# ---------------------------------------------------------------------------------------------- against the twin
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["permit", "permit", "deny"]), st.sampled_from(["tcp", "udp", "ip", "icmp"]),
        st.sampled_from(["any", "10.1.0.0 0.0.255.255", "host 10.1.0.9"]), st.sampled_from(["", "eq 80", "gt 500"]),
        st.sampled_from(["", "", "established", "dscp ef", "precedence 5", "fragments", "syn", "ttl lt 9", "tos 2"]),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def entry(parts: tuple[str, ...]) -> str:
    action, protocol, source, port, words = parts
    if protocol in ("ip", "icmp"):
        port = ""
    if words in ("established", "syn") and protocol != "tcp":
        words = "log"
    return " ".join(each for each in (action, protocol, source, "any", port, words) if each)


@settings(max_examples=25)
@given(entries=ENTRIES)
def test_against_the_twin(entries: list[Any]) -> None:
    """Lists with and without conditions, packets that fulfil some of them, fragments too."""
    pair = Pair(config("\n ".join(entry(each) for each in entries), "permit ipv6 any any"))
    body = bytes(range(64))
    frames = [
        ip4(source, "10.2.0.9", body, protocol, tos=tos, flags=fragment, ident=fragment + 7)
        for source in ("10.1.0.9", "10.1.7.7") for protocol in (6, 17, 1)
        for tos, fragment in ((0, 0), (0xB8, 0), (0xA0, 0x2000), (0, 5))
    ]  # fmt: skip
    pair.forward(frames, "gi0/0/1")
