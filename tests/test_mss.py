"""`ip tcp adjust-mss`: SYNs get a lower MSS on their way through, whichever way they go, checksum right."""

import struct

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ip4, ip6
from test_dependency_table import LAN, Case

from qfp.batch import Batch
from qfp.router import Router

SYN, ACK = 2, 16
VTI = Case("disabled", "copy", 0, "", "vti", 4, 4)


def tcp_sum(src: bytes, dst: bytes, segment: bytes) -> int:
    """Checksum over the pseudo header and the segment; 0 when it is right."""
    pseudo = (
        src + dst + struct.pack(">II", len(segment), 6)
        if len(src) == 16
        else src + dst + struct.pack(">BBH", 0, 6, len(segment))
    )
    whole = pseudo + segment
    return naive.checksum(whole + b"\0" * (len(whole) & 1))


def syn(options: bytes, flags: int = SYN, family: int = 4, data: bytes = b"") -> bytes:
    """A TCP segment with these options, padded to words, between the two LANs."""
    options += b"\0" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", 40000, 443, 1, 0, (20 + len(options)) // 4 << 4, flags, 65535, 0, 0)
    segment = head + options + data
    make = ip4 if family == 4 else ip6
    ends = [naive.read_ip(make(*LAN[family], b"", 6)).data[a:b] for a, b in
            (((12, 16), (16, 20)) if family == 4 else ((8, 24), (24, 40)))]  # fmt: skip
    segment = segment[:16] + struct.pack(">H", tcp_sum(*ends, segment)) + segment[18:]
    assert tcp_sum(*ends, segment) == 0
    return make(*LAN[family], segment, 6)


def router(inside: str = "", tunnel: str = "") -> Router:
    text = VTI.config(1).replace(" ip mtu 1500\n", f" ip mtu 1400\n{tunnel}")
    return Router.loads(text.replace(" ipv6 address fd00:1::1/32\n", f" ipv6 address fd00:1::1/32\n{inside}"))


def through(sender: Router, packet: bytes) -> bytes:
    """The packet as router 2 delivers it."""
    wire = sender.forward(Batch.from_frames([packet]), "gi0/0/1").packets
    return Router.loads(VTI.config(2)).forward(wire, "gi0/0/0").packets.frame(0)


def segment_of(packet: bytes) -> bytes:
    ip = naive.read_ip(packet)
    a, b = ((12, 16), (16, 20)) if ip.family == 4 else ((8, 24), (24, 40))
    assert tcp_sum(packet[a[0] : a[1]], packet[b[0] : b[1]], packet[ip.upper :]) == 0, "checksum"
    return packet[ip.upper :]


MSS = b"\x02\x04\x05\xb4"  # 1460


@pytest.mark.req("PF-2")
@pytest.mark.parametrize("where", ["inside", "tunnel"])
@pytest.mark.parametrize("before", [b"", b"\x01", b"\x01\x01\x03\x03\x07", b"\x08\x0a" + bytes(8)])
def test_lowered(where: str, before: bytes) -> None:
    """On the interface that it comes in by or the tunnel that it leaves by, at even and odd places."""
    packet = syn(before + MSS + b"\x04\x02")
    got = segment_of(through(router(**{where: " ip tcp adjust-mss 1360\n"}), packet))
    assert got[20:] == (before + b"\x02\x04\x05\x50\x04\x02").ljust(len(got) - 20, b"\0")


@pytest.mark.req("PF-2")
def test_the_smaller_of_both_counts_and_nothing_is_raised() -> None:
    both = router(inside=" ip tcp adjust-mss 1300\n", tunnel=" ip tcp adjust-mss 1360\n")
    assert segment_of(through(both, syn(MSS)))[22:24] == (1300).to_bytes(2)
    low = syn(b"\x02\x04\x02\x00")
    assert segment_of(through(both, low))[22:24] == b"\x02\x00"
    assert both.forward(Batch.from_frames([low]), "gi0/0/1").counters["mss_adjusted"] == 1


@pytest.mark.req("PF-2")
def test_other_segments_stay() -> None:
    """No SYN, no option, the other family, a fragment, damaged options."""
    changing = router(inside=" ip tcp adjust-mss 1360\n")
    damaged = [b"\x02\x03\x05\xb4", b"\x02\x00" + MSS, b"\x01\x02"]
    for packet in (syn(MSS, ACK), syn(b""), syn(MSS, family=6), *map(syn, damaged)):
        assert segment_of(through(changing, packet)) == packet[naive.read_ip(packet).upper :]
    v6 = router(inside=" ipv6 tcp adjust-mss 1220\n")
    assert segment_of(through(v6, syn(MSS, family=6)))[22:24] == (1220).to_bytes(2)
    assert segment_of(through(v6, syn(MSS)))[22:24] == b"\x05\xb4"


def clamped(segment: bytes, limit: int) -> bytes:
    """The obvious twin: walk the options, lower the first MSS option, leave everything else but the checksum."""
    end = min((segment[12] >> 4) * 4, len(segment))
    k = 20
    while k + 1 < end:
        kind, length = segment[k], 1 if segment[k] == 1 else segment[k + 1]
        if kind == 0 or (kind != 1 and length < 2) or k + length > end:
            return segment
        if (kind, length) == (2, 4):
            value = min(int.from_bytes(segment[k + 2 : k + 4]), limit)
            return segment[: k + 2] + value.to_bytes(2) + segment[k + 4 :]
        k += length
    return segment


@given(st.binary(max_size=40), st.integers(0, 15), st.integers(0, 8))
def test_any_options(options: bytes, words: int, data: int) -> None:
    """Whatever stands where options do, and whatever the data offset says."""
    packet = bytearray(syn(options, data=bytes(data)))
    packet[32] = words << 4
    got = SHARED.forward(Batch.from_frames([bytes(packet)]), "gi0/0/1").packets.frame(0)[20:]
    wanted = clamped(bytes(packet[20:]), 1360)
    assert got[:16] + got[18:] == wanted[:16] + wanted[18:]
    before, after = (tcp_sum(bytes(packet[12:16]), bytes(packet[16:20]), s) for s in (bytes(packet[20:]), got))
    assert before == after, "a checksum stays as right or as wrong as it was"


SHARED = Router.loads(
    VTI.config(1)
    .replace("Tunnel0\nipv6 route", "203.0.113.2\nipv6 route")
    .replace(" ipv6 address fd00:1::1/32\n", " ipv6 address fd00:1::1/32\n ip tcp adjust-mss 1360\n")
)  # sends clear
