"""qfp against scapy, byte for byte: the full matrix, random packets, and properties (USE-5)."""

import random
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qfp.cli.diff_command import described, text
from qfp.diff.cases import ENDS, NATT_PORTS, Case, algorithms, make_sa, matrix, random_cases, random_packet
from qfp.diff.client import Oracle
from qfp.diff.compare import Difference, Report, compare_all
from qfp.diff.packet import DF, ROUTING, Packet

ALGORITHMS = list(algorithms())


def source_routed(d: Difference) -> bool:
    """AH over a routing header that still has segments to visit."""
    routed = [body for kind, body in d.packet.extensions if kind == ROUTING]
    return d.sa.proto == "ah" and d.sa.mode == "transport" and any(body[3] for body in routed)


def check(report: Report, oracle: Oracle) -> None:
    """No difference but the one that has a test of its own below; a failure shows packets in hex."""
    found = [d for d in report.differences if not source_routed(d)]
    assert not found, text(described(report, found[:3], oracle.version))


@pytest.mark.req("USE-5", "BASE-8", "BASE-9", "NAT-3")
@pytest.mark.parametrize("part", range(4))
def test_every_combination(oracle: Oracle, part: int) -> None:
    """Algorithms x modes x outer families x ESN x NAT-T; a tunnel carries an IPv6 and an IPv4 packet."""
    report = compare_all(islice(matrix(7, 2), part, None, 4), oracle)
    assert report.compared > 500
    check(report, oracle)


@pytest.mark.req("USE-5", "BASE-8")
@pytest.mark.parametrize("engine", ["native", "openssl"])
def test_random_packets(oracle: Oracle, engine: str) -> None:
    """Bursts under one SA, all sizes, options and extension headers; both engines."""
    report = compare_all(random_cases(11, 500), oracle, engine=engine)
    assert report.compared > 350
    check(report, oracle)


@pytest.mark.req("USE-5")
def test_groups_of_many_lengths(oracle: Oracle) -> None:
    """40 packets of mixed length under one SA: the lockstep kernels fill, refill and empty their lanes."""
    rng = random.Random(5)
    rows = [r for r in ALGORITHMS if r[1] in ("aes-cbc", "null") and r[3] in ("hmac-sha1-96", "hmac-sha256-128")]
    for row in rows:
        sa = make_sa(rng, *row, mode="tunnel", outer=4, esn=True, natt=None, seq=2**32 - 20)
        packets = tuple(random_packet(rng, rng.choice((4, 6)), size=rng.randrange(1500)) for _ in range(40))
        check(compare_all([Case(sa, packets)], oracle), oracle)


@pytest.mark.req("USE-5", "BASE-8", "BASE-9")
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_size_and_header(oracle: Oracle, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(ALGORITHMS))
    family, outer = data.draw(st.sampled_from((4, 6))), data.draw(st.sampled_from((4, 6)))
    natt = data.draw(st.sampled_from((None, NATT_PORTS))) if row[0] == "esp" else None
    esn = data.draw(st.booleans())
    seq = data.draw(st.integers(1, 2**64 - 1 if esn else 2**32 - 1))
    transport = data.draw(st.booleans())
    src, dst = (int(a) for a in ENDS[outer if transport else family])
    packet = Packet(
        outer if transport else family, src, dst, 253, data.draw(st.binary(max_size=2000)),
        tos=data.draw(st.integers(0, 255)), hops=data.draw(st.integers(2, 255)),
        ident=data.draw(st.integers(0, 65535)), label=data.draw(st.integers(0, 2**20 - 1)),
        fragment=data.draw(st.sampled_from((0, DF))),
    )  # fmt: skip
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    mode = "transport" if transport else "tunnel"
    sa = make_sa(rng, *row, mode=mode, outer=outer, esn=esn, natt=natt, seq=seq)
    check(compare_all([Case(sa, (packet,))], oracle), oracle)


@pytest.mark.req("BASE-8")
def test_ah_over_a_routing_header_with_segments_left(oracle: Oracle) -> None:
    """RFC 4302 section 3.3.3.1.2: mutable but predictable; signed as it will arrive."""
    sa = make_sa(random.Random(1), "ah", "null", 0, "hmac-sha256-128", 16, mode="transport", outer=6, esn=False,
                 natt=None)  # fmt: skip
    src, dst = (int(a) for a in ENDS[6])
    routing = bytes([0, 2, 0, 1]) + bytes(4) + (0x20010DB8 << 96 | 9).to_bytes(16)
    packet = Packet(6, src, dst, 253, b"data", extensions=((ROUTING, routing),))
    report = compare_all([Case(sa, (packet,))], oracle)
    assert not report.differences


@pytest.mark.req("USE-3")
@pytest.mark.parametrize("payload", [b"\x11\x94\x11\x94\x00\x09\x00\x00\xff", b"\x11\x94\x11\x94\x00\x10" + bytes(10)])
def test_what_was_on_port_4500_inside_a_tunnel(oracle: Oracle, payload: bytes) -> None:
    """A keepalive or an IKE message of somebody else travels through the tunnel, and comes out of it."""
    sa = make_sa(random.Random(1), *ALGORITHMS[0], mode="tunnel", outer=4, esn=False, natt=None)
    report = compare_all([Case(sa, (Packet(4, 0x0A000001, 0x0A000002, 17, payload),))], oracle)
    assert not report.differences
