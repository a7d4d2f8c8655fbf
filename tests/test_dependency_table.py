"""The guide's dependency table (chapter 3, table 2; PF-1): 12 rows, each with a crypto map, a VTI and a protected GRE
tunnel, over IPv4 and IPv6, packets in and packets out at both ends; and the rules for IPv6 inside beside them.

tests/cases/dependency/golden.json holds digests of all packets of every case: `QFP_UPDATE=1` writes it anew.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import naive
import pytest
from packets import ip4, ip6, udp

from qfp.batch import Batch
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router
from qfp.sizes import Sizing, fragment_sizes, outer_sizes

GOLDEN = Path(__file__).parent / "cases" / "dependency" / "golden.json"
# As the guide prints it: feature state, df-bit, DF of the packet, result.
TABLE = [
    ("enabled", "clear", 0, "before"), ("enabled", "clear", 1, "before"),
    ("disabled", "clear", 0, "after"), ("disabled", "clear", 1, "after"),
    ("enabled", "set", 0, "before"), ("enabled", "set", 1, "dropped"),
    ("disabled", "set", 0, "after"), ("disabled", "set", 1, "dropped"),
    ("enabled", "copy", 0, "before"), ("enabled", "copy", 1, "dropped"),
    ("disabled", "copy", 0, "after"), ("disabled", "copy", 1, "dropped"),
]  # fmt: skip
INNER6 = [(state, df, 1, "after" if df == "clear" else "dropped")
          for state in ("enabled", "disabled") for df in ("clear", "set", "copy")]  # fmt: skip
OUTER = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8::1", "2001:db8::2")}
LAN = {4: ("10.1.0.9", "10.2.0.9"), 6: ("fd00:1::9", "fd00:2::9")}
MTU = 1500
GRE = {4: 24, 6: 44}
CONFIG = """hostname R{me}
ipv6 unicast-routing
crypto ipsec transform-set T esp-gcm
crypto ipsec profile P
 set transform-set T
crypto map M 10 ipsec-isakmp
 set peer 203.0.113.{other}
 set transform-set T
 match address 101
crypto map ipv6 M6 10 ipsec-isakmp
 set peer 2001:db8::{other}
 set transform-set T
 match address SIX
{tunnel}interface GigabitEthernet0/0/0
 ip address 203.0.113.{me} 255.255.255.0
 ipv6 address 2001:db8::{me}/64
{outside}interface GigabitEthernet0/0/1
 ip address 10.{me}.0.1 255.255.0.0
 ipv6 address fd00:{me}::1/32
ip route 10.{other}.0.0 255.255.0.0 {way4}
ipv6 route fd00:{other}::/32 {way6}
access-list 101 permit ip 10.{me}.0.0 0.0.255.255 10.{other}.0.0 0.0.255.255
ipv6 access-list SIX
 permit ipv6 fd00:{me}::/32 fd00:{other}::/32
"""
TUNNEL = """interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 ipv6 enable
 ip mtu {mtu}
 ipv6 mtu {mtu}
 tunnel source {own}
 tunnel mode {mode}
 tunnel destination {peer}
 tunnel path-mtu-discovery
 tunnel protection ipsec profile P
"""


@dataclass(frozen=True)
class Case:
    """One row of the table, with one way of protection."""

    state: str
    df: str
    bit: int
    result: str
    way: str  # map, vti, gre
    outer: int
    inner: int

    @property
    def name(self) -> str:
        return f"{self.way} {self.inner} in {self.outer}: {self.state}, df-bit {self.df}, DF {self.bit}"

    def config(self, me: int) -> str:
        """Router 1 or 2. The settings stand on the interface that protects."""
        word = "before" if self.state == "enabled" else "after"
        settings = f" crypto ipsec df-bit {self.df}\n crypto ipsec fragmentation {word}-encryption\n"
        own, peer = OUTER[self.outer] if me == 1 else OUTER[self.outer][::-1]
        tunnel = outside = ""
        if self.way == "map":
            outside = settings + (" crypto map M\n" if self.outer == 4 else " ipv6 crypto map M6\n")
        else:
            mode = f"ipsec ipv{self.outer}" if self.way == "vti" else "gre ip" if self.outer == 4 else "gre ipv6"
            tunnel = TUNNEL.format(me=me, mtu=self.size, own=own, peer=peer, mode=mode) + settings
        gateway = {4: f"203.0.113.{3 - me}", 6: f"2001:db8::{3 - me}"}
        way4, way6 = ("Tunnel0", "Tunnel0") if tunnel else (gateway[4], gateway[6])
        return CONFIG.format(me=me, other=3 - me, tunnel=tunnel, outside=outside, way4=way4, way6=way6)

    @property
    def size(self) -> int:
        """Bytes of the packet: with GRE its delivery packet is as long as the line's MTU."""
        return MTU - (GRE[self.outer] if self.way == "gre" else 0)

    @property
    def sizing(self) -> Sizing:
        return Sizing(self.outer, "aes-gcm", 16)

    def packet(self) -> bytes:
        src, dst = LAN[self.inner]
        head = 28 if self.inner == 4 else 48
        data = udp(1000, 2000, bytes(k * 7 & 255 for k in range(self.size - head)))
        if self.inner == 6:
            return ip6(src, dst, data)
        return ip4(src, dst, data, ident=4711, flags=0x4000 * self.bit)


CASES = [Case(*row, way, outer, 4) for way in ("map", "vti", "gre") for outer in (4, 6) for row in TABLE
         if (way, outer) != ("map", 6)]  # fmt: skip
CASES += [Case(*row, way, outer, 6) for way in ("map", "vti") for outer in (4, 6) for row in INNER6
          if (way, outer) != ("map", 4)]  # fmt: skip


def wire_of(result: Result) -> list[bytes]:
    """Packets that left by the outside interface."""
    names = result.packets.interfaces
    return [p for p, row in zip(result.packets.frames(), result.packets.in_if, strict=True)
            if names[row] == "GigabitEthernet0/0/0"]  # fmt: skip


def digest(packets: list[bytes]) -> str:
    return hashlib.sha256(b"".join(len(p).to_bytes(4) + p for p in packets)).hexdigest()[:16]


def fields(data: bytes) -> tuple[int, bool, bool, int]:
    """(offset, more follow, DF, header bytes) of an IPv4 packet."""
    word = int.from_bytes(data[6:8])
    return (word & 0x1FFF) * 8, bool(word & 0x2000), bool(word & 0x4000), (data[0] & 15) * 4


def whole(pieces: list[bytes]) -> bytes:
    """IPv4 fragments put together, in any order: the obvious way."""
    first = next(p for p in pieces if fields(p)[0] == 0)
    body = bytearray()
    for p in sorted(pieces, key=lambda p: fields(p)[0]):
        assert fields(p)[0] == len(body)
        body += p[fields(p)[3] :]
    head = bytearray(first[: fields(first)[3]])
    head[6] &= 0x40
    return naive.with_length(bytes(head) + bytes(body))


def hops(packet: bytes, count: int) -> bytes:
    for _ in range(count):
        packet = naive.one_hop(naive.read_ip(packet))
    return packet


def check_before(case: Case, packet: bytes, wire: list[bytes], arrived: list[bytes]) -> None:
    """Equal pieces of what IPsec protects, each protected alone; the far router passes them on as they are."""
    limit = case.sizing.plaintext_mtu(MTU)
    if case.way == "gre":  # the GRE packet is what is fragmented; the far router puts it together and strips it
        if case.outer == 4:
            wanted = [case.sizing.protected(n) for n in fragment_sizes(MTU, limit)]
        else:  # a fragment header goes with each piece
            wanted = [case.sizing.protected(n) for n in fragment_sizes(MTU + 8, limit, 48)]
        assert [len(p) for p in wire] == wanted
        assert arrived == [hops(packet, 2)]
        return
    sizes = fragment_sizes(case.size, limit)
    assert [len(p) for p in wire] == [case.sizing.protected(n) for n in sizes]
    assert [len(p) for p in arrived] == sizes
    assert whole(arrived) == hops(packet, 2)


def check_after(case: Case, packet: bytes, wire: list[bytes], arrived: list[bytes]) -> None:
    """One protected packet, cut on the outside; the far router reassembles before decryption."""
    protected = case.sizing.protected(MTU)
    assert [len(p) for p in wire] == outer_sizes(protected, MTU, case.outer)
    if case.outer == 4:
        set_outside = case.df == "set" or (case.df == "copy" and case.bit == 1)
        assert [fields(p)[2] for p in wire] == [set_outside] * len(wire)
    assert arrived == [hops(packet, 2)]


def check_dropped(case: Case, packet: bytes, result: Result) -> None:
    """The source is told the MTU, with the packet as it came."""
    (error,) = result.packets.frames()
    limit = case.sizing.plaintext_mtu(MTU)
    mtu = limit - (GRE[case.outer] if case.way == "gre" else 0)
    ip = naive.read_ip(error)
    body = error[ip.upper :]
    if case.inner == 4:
        assert (ip.proto, body[0], body[1], int.from_bytes(body[6:8])) == (1, 3, 4, mtu)
        assert naive.checksum(body) == 0 and len(error) == 576
    else:
        assert (ip.proto, body[0], body[1], int.from_bytes(body[4:8])) == (58, 2, 0, mtu)
        assert len(error) == 1280
    assert body[8:] == packet[: len(body) - 8]
    assert ip.dst == naive.read_ip(packet).src


@pytest.mark.req("PF-1", "PF-3", "PF-6", "PF-7", "DF-1", "BASE-5", "VTI-1")
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_row(case: Case) -> None:
    packet = case.packet()
    near, far = Router.loads(case.config(1)), Router.loads(case.config(2))
    result = near.forward(Batch.from_frames([packet]), "gi0/0/1")
    verdict = VERDICT_WORDS[result.verdicts["verdict"][0]], CAUSE_WORDS[result.verdicts["cause"][0]]
    wire = wire_of(result)
    arrived = far.forward(Batch.from_frames(wire), "gi0/0/0").packets.frames() if wire else []
    if case.result == "dropped":
        assert verdict == ("dropped", "FRAG_NEEDED") and not wire
        check_dropped(case, packet, result)
    else:
        assert verdict == ("forwarded", "NONE")
        (check_before if case.result == "before" else check_after)(case, packet, wire, arrived)
    told = {"sent": digest(result.packets.frames()), "arrived": digest(arrived)}
    golden(case.name, told)


def golden(name: str, told: dict[str, Any]) -> None:
    """Compare with the record, or write it."""
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("QFP_UPDATE"):
        known[name] = told
        GOLDEN.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    assert known[name] == told


@pytest.mark.req("PF-1")
def test_the_table_is_the_guides() -> None:
    """The data that the kernels look up is this table."""
    from qfp_kernels.fragment import AFTER, BEFORE, DEPENDENCY, REFUSE

    words = {BEFORE: "before", AFTER: "after", REFUSE: "dropped"}
    assert [(s, d, b, words[r]) for s, d, b, r in DEPENDENCY] == TABLE


@pytest.mark.req("PF-5")
@pytest.mark.parametrize("way", ["map", "vti"])
def test_defaults(way: str) -> None:
    """Before encryption on a physical interface, after it on a tunnel; the global command changes both, the interface
    wins."""
    case = Case("enabled", "copy", 0, "", way, 4, 4)
    bare = "".join(line for line in case.config(1).splitlines(keepends=True) if "crypto ipsec fragm" not in line)
    for extra, wanted in (("", way == "map"), ("before", True), ("after", False)):
        text = bare + (f"crypto ipsec fragmentation {extra}-encryption\n" if extra else "")
        router = Router.loads(text)
        assert bool(router.tables.t.sa["before"][router.sadb.pairs[0].outbound[0]]) == wanted
    router = Router.loads(case.config(1) + "crypto ipsec fragmentation after-encryption\n")
    assert router.tables.t.sa["before"][router.sadb.pairs[0].outbound[0]] == 1


@pytest.mark.req("PF-5")
def test_configured_on_the_decrypting_side_alone() -> None:
    """Changes nothing: the far end's setting does not touch what it receives."""
    case = Case("disabled", "copy", 0, "after", "map", 4, 4)
    far = Case("enabled", "copy", 0, "before", "map", 4, 4)
    wire = Router.loads(case.config(1)).forward(Batch.from_frames([case.packet()]), "gi0/0/1").packets
    got = [Router.loads(c.config(2)).forward(wire, "gi0/0/0").packets.frames() for c in (case, far)]
    assert got[0] == got[1] == [hops(case.packet(), 2)]


@pytest.mark.req("PF-4")
def test_transport_mode_is_never_fragmented_before() -> None:
    """Even where the feature is enabled."""
    text = Case("enabled", "clear", 0, "", "map", 4, 4).config(1)
    text = text.replace("transform-set T esp-gcm", "transform-set T esp-gcm\n mode transport")
    hosts = "access-list 101 permit ip host 203.0.113.1 host 203.0.113.2\n"
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("access-list")) + hosts
    packet = ip4(*OUTER[4], udp(1, 2, bytes(1472)))
    result = Router.loads(text).forward(Batch.from_frames([packet]), "gi0/0/1")
    protected = Sizing(4, "aes-gcm", 16, transport=True).protected(1500)
    assert [len(p) for p in result.packets.frames()] == outer_sizes(protected, MTU, 4)
