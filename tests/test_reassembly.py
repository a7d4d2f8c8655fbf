"""The reassembly table under attack and at its limits: bounded memory, a cause for every loss, genuine packets come
through, and nothing depends on batches or threads (PF-7, DF's chapter 7 limit)."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import naive
import numpy as np
import pytest
from flood_help import AFTER, SECOND, genuine, second
from packets import ip4, ip6, udp
from test_dependency_table import LAN, OUTER, Case, hops

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.engine import NullSink
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result, counters
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp.tables import reassembly
from qfp.tables.reassembly import Limits
from qfp.trace.source import BatchSource
from qfp_kernels.reassemble import SLACK

MIB = 1 << 20
DST = OUTER[4][1]


def balance(c: dict[str, Any]) -> None:
    """Every fragment that was taken in was put together, lost for a cause, or still waits."""
    outer, lost = c["reassembly"]["outer"], sum(c["reassembly"]["lost"].values())
    completed = outer["whole"]
    assert c["verdicts"].get("consumed", 0) == outer["merged"] - completed + lost + outer["held"]


def under_attack(seconds: int, flooding: int, pairs: int, **options: Any) -> tuple[Router, dict[str, Any]]:
    sender, far = Router.loads(AFTER.config(1)), Router.loads(AFTER.config(2), **options)
    for k in range(seconds):
        batch = second(sender, flooding, pairs, k * SECOND, k)
        far.run(BatchSource(batch), "GigabitEthernet0/0/0", NullSink())
    far.engine.close()
    return far, counters(far.tables)


def check_attack(far: Router, c: dict[str, Any], pairs: int, flooding: int) -> None:
    assert reassembly.memory(far.tables) <= 64 * MIB
    assert c["verdicts"]["forwarded"] >= 0.99 * pairs
    balance(c)
    assert c["frames_in"] == flooding + 2 * pairs


@pytest.mark.req("PF-7", "BASE-12")
@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"batch": 7}])
def test_a_flood(options: dict[str, Any]) -> None:
    """A fifth of the size of the test below: the table fills, and pushes out its oldest."""
    far, c = under_attack(2, 100_000, 1000, **options)
    check_attack(far, c, 2000, 200_000)
    assert c["reassembly"]["lost"]["REASSEMBLY_FULL"] > 100_000


@pytest.mark.slow
@pytest.mark.req("PF-7", "BASE-12")
def test_ten_million_fragments() -> None:
    """10 million fragments in ten seconds, beside 10,000 genuine pairs a second."""
    far, c = under_attack(10, 1_000_000, 10_000)
    check_attack(far, c, 100_000, 10_000_000)


# --------------------------------------------------------------------------------------------------------- limits
def fragments(packet: bytes, *sizes: int) -> list[bytes]:
    """An IPv4 packet cut at these payload sizes, the rest last."""
    head, body = packet[:20], packet[20:]
    out, at = [], 0
    for size in (*sizes, len(body) - sum(sizes)):
        more = 0x2000 if at + size < len(body) else 0
        piece = head[:6] + (more | at // 8).to_bytes(2) + head[8:]
        out.append(naive.with_length(piece + body[at : at + size]))
        at += size
    return out


def far_router(outer: Limits | None = None, **options: Any) -> Router:
    router = Router.loads(AFTER.config(2), **options)
    if outer is not None:
        reassembly.build(router.tables, outer)
    return router


def run(router: Router, frames: list[bytes], ts: list[int] | None = None) -> tuple[Result, list[str]]:
    """The result and, a row, its verdict or cause."""
    result = router.forward(Batch.from_frames(frames, ts=ts or 0), "gi0/0/0")
    v = result.verdicts
    words = [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]
    return result, words


def to_router(ident: int, size: int = 64, src: str = "198.51.100.7", proto: int = 89) -> bytes:
    """A packet for router 2 itself that needs no SA."""
    return ip4(src, DST, bytes(k & 255 for k in range(size)), proto, ident=ident)


SMALL = Limits(ring=SLACK + 16384, datagrams=64, per_source=8, per_datagram=4)


@pytest.mark.req("PF-7")
def test_a_source_has_a_limit() -> None:
    """The ninth unfinished packet of a source is refused; another source's is not; a finished one makes room."""
    router = far_router(SMALL)
    firsts = [fragments(to_router(k), 32)[0] for k in range(9)]
    other = fragments(to_router(1, src="198.51.100.8"), 32)[0]
    last = fragments(to_router(3), 32)[1]
    again = fragments(to_router(8), 32)[0]
    _, words = run(router, [*firsts, other, last, again])
    assert words == ["consumed"] * 8 + ["REASSEMBLY_SOURCE", "consumed", "punted", "consumed"]


@pytest.mark.req("PF-7")
def test_a_packet_has_a_limit() -> None:
    """More fragments than allowed: all of it is given up."""
    pieces = fragments(to_router(1), 8, 8, 8, 8, 8)
    result, words = run(far_router(SMALL), pieces)
    assert words == ["consumed"] * 4 + ["REASSEMBLY_FULL", "consumed"]
    assert result.counters["reassembly"]["lost"] == {"REASSEMBLY_FULL": 4}


@pytest.mark.req("PF-7")
def test_the_table_is_full() -> None:
    """The 65th waiting packet pushes the oldest out, whose fragment counts as lost."""
    router = far_router(SMALL)
    frames = [fragments(to_router(1, src=f"198.51.100.{k}"), 32)[0] for k in range(65)]
    late = [fragments(to_router(1, src=f"198.51.100.{k}"), 32)[1] for k in (0, 1)]
    result, words = run(router, [*frames, late[1], late[0]])
    assert words == ["consumed"] * 65 + ["punted", "consumed"]
    assert result.counters["reassembly"]["lost"] == {"REASSEMBLY_FULL": 1}
    balance(result.counters)


@pytest.mark.req("PF-7")
def test_the_ring_is_full() -> None:
    """The same by bytes."""
    router = far_router(SMALL)
    pieces = [fragments(to_router(1, 2000, src=f"198.51.100.{k}"), 1800) for k in range(10)]
    result, words = run(router, [*(first for first, _ in pieces), pieces[0][1], pieces[9][1]])
    assert words == ["consumed"] * 10 + ["consumed", "punted"]
    assert result.counters["reassembly"]["lost"]["REASSEMBLY_FULL"] >= 1
    balance(result.counters)


@pytest.mark.req("PF-7")
def test_timeout() -> None:
    """30 seconds in packet time: exactly then a packet still completes, a nanosecond later it does not."""
    first, last = fragments(to_router(1), 32)
    limit = 30 * SECOND
    assert run(far_router(), [first, last], [5, 5 + limit])[1] == ["consumed", "punted"]
    result, words = run(far_router(), [first, last], [5, 6 + limit])
    assert words == ["consumed", "consumed"]
    assert result.counters["reassembly"]["lost"] == {"REASSEMBLY_TIMEOUT": 1}
    balance(result.counters)


@pytest.mark.req("PF-7")
def test_malformed_fragments() -> None:
    """Empty, odd, beyond the longest packet."""
    whole = to_router(1)
    first = fragments(whole, 32)[0]
    empty = naive.with_length(first[:20])
    odd = naive.with_length(first[:-1])
    giant = naive.with_length(first[:6] + (0x1FFF).to_bytes(2) + first[8:])
    _, words = run(far_router(), [empty, odd, giant])
    assert words == ["FRAGMENT_BAD"] * 3


@pytest.mark.req("PF-7")
def test_process_switched() -> None:
    """A reassembled packet counts as process-switched on the interface that it came in by, the rest does not."""
    sender, far = Router.loads(AFTER.config(1)), far_router()
    short = sender.forward(Batch.from_frames([ip4(*LAN[4], udp(1, 2))]), "gi0/0/1").packets.frames()
    result, _ = run(far, genuine(sender, 3).frames() + short)
    assert result.counters["verdicts"] == {"forwarded": 4, "consumed": 3}
    assert far.tables.t.ifs["process_in"].tolist() == [3, 0]


# ---------------------------------------------------------------------------------------------- given back rows
def crossing_esn(sa: SecurityAssociation, count: int) -> list[bytes]:
    """Packets around a multiple of 2^32 and far beyond, each in two fragments, shuffled: vectors are cut for ESN while
    fragments of later packets are in the table already."""
    state = naive.State(sa)
    inner = naive.read_ip(ip4("10.1.2.3", "10.2.3.4", udp(1, 2, bytes(200))))
    start = 2**32 - count // 2
    numbers = [*range(start, start + count), *(start + count + 2**31 + 5 * k for k in range(count // 3))]
    rng, pieces = np.random.default_rng(2), []
    for k, n in enumerate(numbers):
        packet = naive.seal_tunnel([state], [n], inner, k, "clear")
        pieces += [(k + float(rng.random()) * 40, piece) for piece in fragments(packet, 128)]
    return [piece for _, piece in sorted(pieces, key=lambda each: each[0])]


@pytest.mark.req("PF-7", "AR-2", "BASE-12")
def test_rows_given_back_are_not_taken_twice() -> None:
    """`commit` cuts vectors for ESN; what reassembly did for the rows behind is put back: the same as one at a time."""
    esn = SecurityAssociation(
        proto="esp", spi=0x1000, src=ip_address("203.0.113.1"), dst=ip_address(DST), mode="tunnel",
        encr="aes-gcm", encr_key=bytes(16), salt=b"salt", esn=True, replay_window=64, seq=2**32 - 200,
    )  # fmt: skip
    frames = crossing_esn(esn, 300)
    runs = []
    for batch, threads in ((1, 1), (7, 2), (256, 1), (256, 2), (1024, 2)):
        d = Decryptor([esn], batch=batch, threads=threads)
        result = d.open(Batch.from_frames(frames))
        d.engine.close()
        assert result.counters["reassembly"]["outer"]["merged"] == len(frames), (batch, threads)
        runs.append((result.packets.frames(), result.counters, {k: v.tobytes() for k, v in result.verdicts.items()}))
    assert all(r == runs[0] for r in runs)
    assert len(runs[0][0]) > 300


@pytest.mark.req("PF-7")
def test_long_packets_in_one_vector() -> None:
    """Fragments that were held earlier complete packets of 64 kB, many in one vector: rows and arena suffice at any
    vector size."""
    pieces = [fragments(to_router(k, 65000, src=f"198.51.100.{k}"), *[8192] * 7) for k in range(40)]
    frames = [p for packet in pieces for p in packet[:-1]] + [packet[-1] for packet in pieces]
    runs = []
    for batch in (1, 40, 1024):
        result, words = run(far_router(batch=batch), frames)
        assert words == ["consumed"] * 280 + ["punted"] * 40
        runs.append(result.counters)
    assert runs[0] == runs[1] == runs[2]


# ----------------------------------------------------------------------------------------------- with keys alone
@pytest.mark.req("PF-7")
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("natt", [False, True])
def test_decrypt_reassembles(outer: int, natt: bool) -> None:
    """`qfp decrypt` opens what was fragmented after encryption; other fragments stay as they are."""
    case = replace(Case("disabled", "copy", 0, "", "vti", outer, 4))
    near = Router.loads(case.config(1))
    sa = near.sad.describe(near.sadb.pairs[0].outbound[0])
    if natt:
        sa = replace(sa, natt=(4500, 4500))
        near = Router.loads(case.config(1), keys=[sa, near.sad.describe(near.sadb.pairs[0].inbound[0])])
    packet = ip4(*LAN[4], udp(1, 2, bytes(1472)))
    wire = near.forward(Batch.from_frames([packet] * 3), "gi0/0/1").packets.frames()
    assert len(wire) == 6
    clear = fragments(ip4("192.0.2.1", "192.0.2.2", bytes(64), 6), 32)
    opener = Decryptor([replace(sa, direction="in", seq=0)], keep_clear=True)
    result = opener.open(Batch.from_frames([*wire[::-1], *clear]))
    assert result.packets.frames() == [hops(packet, 1)] * 3 + clear
    assert result.counters["fragments_seen"] == 8


# ------------------------------------------------------------------------------------------------ ports in transit
@pytest.mark.req("PF-7", "BASE-4")
@pytest.mark.parametrize("family", [4, 6])
def test_later_fragments_have_the_ports_of_their_first(family: int) -> None:
    """An access list with ports: a later fragment is protected as its first one was; one whose first did not come by
    is judged by its addresses."""
    text = Case("enabled", "copy", 0, "", "map", family, family).config(1)
    nets = "10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255"
    text = text.replace(f"permit ip {nets}", f"permit udp {nets} eq 53")
    text = text.replace("permit ipv6 fd00:1::/32 fd00:2::/32", "permit udp fd00:1::/32 fd00:2::/32 eq 53")
    frames = []
    for ident, port in ((1, 53), (2, 54)):
        whole = (ip4(*LAN[4], udp(9, port, bytes(56)), ident=ident) if family == 4 else
                 ip6(*LAN[6], udp(9, port, bytes(56)), headers=[]))  # fmt: skip
        frames += fragments(whole, 32) if family == 4 else fragments6(whole, 32, ident)
    router = Router.loads(text)
    result = router.forward(Batch.from_frames(frames), "gi0/0/1")
    words = [VERDICT_WORDS[v] for v in result.verdicts["verdict"]]
    assert words == ["forwarded", "forwarded", "bypassed", "bypassed"]
    alone = Router.loads(text).forward(Batch.from_frames([frames[3]]), "gi0/0/1")
    assert VERDICT_WORDS[alone.verdicts["verdict"][0]] == "forwarded"


def fragments6(packet: bytes, size: int, ident: int) -> list[bytes]:
    """An IPv6 packet without extension headers, cut in two."""
    head, body = packet[:40], packet[40:]
    out = []
    for at, part, more in ((0, body[:size], 1), (size, body[size:], 0)):
        header = bytes([head[6], 0]) + (at | more).to_bytes(2) + ident.to_bytes(4)
        out.append(naive.with_length(head[:6] + b"\x2c" + head[7:] + header + part))
    return out
