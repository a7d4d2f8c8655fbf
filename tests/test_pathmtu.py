"""Path MTU: ICMP errors about our own protected packets are believed as far as RFC 4301 section 8 asks, and age out."""

import struct
from ipaddress import ip_address

import naive
import numpy as np
import pytest
from packets import ip4, ip6, udp
from test_dependency_table import LAN, OUTER, Case

from qfp.batch import Batch
from qfp.control.pathmtu import AGE
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router
from qfp.sizes import Sizing

SECOND = 10**9
MAP4 = Case("enabled", "copy", 0, "", "map", 4, 4)
VTI6 = Case("disabled", "copy", 0, "", "vti", 6, 4)
SIZINGS = {4: Sizing(4, "aes-gcm", 16), 6: Sizing(6, "aes-gcm", 16)}


def told(quoted: bytes, mtu: int, reporter: str | None = None, keep: int = 200) -> bytes:
    """The ICMP error of a router on the way about a packet of ours."""
    quote = quoted[:keep]
    family = quoted[0] >> 4
    to = OUTER[family][0]
    if family == 4:
        body = struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + quote
        body = body[:2] + struct.pack(">H", naive.checksum(body + b"\0" * (len(body) & 1))) + body[4:]
        return ip4(reporter or "192.0.2.9", to, body, 1)
    return ip6(reporter or "2001:db8:9::9", to, struct.pack(">BBHI", 2, 0, 0, mtu) + quote, 58)


def clear(size: int, flags: int = 0) -> bytes:
    return ip4(*LAN[4], udp(1, 2, bytes(size - 28)), flags=flags)


def run(router: Router, frames: list[bytes], ingress: list[int], ts: list[int]) -> Result:
    """Frames that come in by several interfaces."""
    names = [n for n in router.interfaces.names if n.startswith("Giga")]
    rows = [router.interfaces.row[names[k]] for k in ingress]
    return router.exchange(Batch.from_frames(frames, ts=ts, in_if=rows))


def sent_one(case: Case) -> tuple[Router, bytes]:
    """A router that has sent one packet, and that packet."""
    router = Router.loads(case.config(1))
    return router, router.forward(Batch.from_frames([clear(1000)]), "gi0/0/1").packets.frame(0)


def path_mtu(router: Router) -> tuple[int, int]:
    row = router.tables.t.sa[router.sadb.pairs[0].outbound[0]]
    return int(row["path_mtu"]), int(row["plain_mtu"])


@pytest.mark.req("PF-2", "PF-6")
@pytest.mark.parametrize("case", [MAP4, VTI6], ids=["crypto map", "VTI over IPv6"])
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_from_the_next_packet_on(case: Case, batch: int) -> None:
    """An error in the middle of a batch counts for all packets behind it and for none before it."""
    _, packet = sent_one(case)
    family = case.outer
    frames = [clear(1300)] * 5 + [told(packet, 1300)] + [clear(1300)] * 5
    router = Router.loads(case.config(1), batch=batch)
    router.forward(Batch.from_frames([clear(1000)]), "gi0/0/1")
    result = run(router, frames, [1] * 5 + [0] + [1] * 5, list(range(11)))
    assert path_mtu(router) == (1300, SIZINGS[family].plaintext_mtu(1300))
    sizes = result.verdicts["n_out"].tolist()
    assert sizes == [1] * 5 + [0] + [2] * 5
    assert VERDICT_WORDS[result.verdicts["verdict"][5]] == "punted"
    assert [h.mtu for h in router.path_mtus.history] == [1300]


@pytest.mark.req("PF-6")
def test_df_packets_learn_of_it() -> None:
    """The source of a packet with DF is told what is left of the smaller path."""
    router, packet = sent_one(MAP4)
    result = run(router, [told(packet, 1200), clear(1300, 0x4000)], [0, 1], [0, SECOND])
    assert CAUSE_WORDS[result.verdicts["cause"][1]] == "FRAG_NEEDED"
    error = result.packets.frame(0)
    assert int.from_bytes(error[26:28]) == SIZINGS[4].plaintext_mtu(1200)


@pytest.mark.req("PF-2")
def test_ages_out() -> None:
    """After ten minutes the interface's MTU is tried again; a later error about the same SA starts the time anew."""
    router, packet = sent_one(MAP4)
    run(router, [told(packet, 1300)], [0], [0])
    run(router, [told(packet, 1200)], [0], [100 * SECOND])
    run(router, [clear(1000)], [1], [AGE])
    assert path_mtu(router)[0] == 1200, "the first error's time is over, the second one's not"
    frames = [clear(1440)] * 3
    result = run(router, frames, [1, 1, 1], [AGE + 100 * SECOND - 1, AGE + 100 * SECOND, AGE + 101 * SECOND])
    assert result.verdicts["n_out"].tolist() == [2, 1, 1]
    assert path_mtu(router)[0] == 1500 and [h.told for h in router.path_mtus.history] == [True, True, False]


def tampered(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


@pytest.mark.req("PF-2")
def test_what_cannot_have_been_ours_is_not_believed() -> None:
    """Other addresses, another SPI, a number not sent lately, an MTU that is no smaller, a quote that is cut short."""
    router, packet = sent_one(MAP4)
    wrong = [
        told(tampered(packet, 23), 1200),  # SPI
        told(tampered(packet, 24), 1200),  # sequence number: far from what was sent
        told(packet[:12] + ip_address("203.0.113.7").packed + packet[16:], 1200),  # not our address
        told(packet[:16] + ip_address("203.0.113.9").packed + packet[20:], 1200),  # not the peer's
        told(packet, 1500), told(packet, 9000), told(packet, 1200, keep=27),
    ]  # fmt: skip
    run(router, wrong, [0] * len(wrong), list(range(len(wrong))))
    assert path_mtu(router)[0] == 1500 and not router.path_mtus.history


@pytest.mark.req("PF-2")
def test_floors_and_old_routers() -> None:
    """No MTU below 576 (1280 for IPv6) is believed; a router that tells none means the next plateau (RFC 1191)."""
    for case, mtu, wanted in ((MAP4, 68, 576), (VTI6, 600, 1280)):
        router, packet = sent_one(case)
        run(router, [told(packet, mtu)], [0], [0])
        assert path_mtu(router)[0] == wanted
    router = Router.loads(MAP4.config(1))
    big = router.forward(Batch.from_frames([clear(1446)]), "gi0/0/1").packets.frame(0)
    assert len(big) == 1500
    run(router, [told(big, 0)], [0], [0])
    assert path_mtu(router)[0] == 1492


@pytest.mark.req("PF-2", "BASE-12")
def test_random_errors_and_explain() -> None:
    """Any bytes behind the ICMP header leave the SA alone; a result that learned can be explained afterwards."""
    router, packet = sent_one(MAP4)
    rng = np.random.default_rng(5)
    noise = [ip4("192.0.2.9", OUTER[4][0], bytes([3, 4]) + rng.bytes(int(rng.integers(0, 80))), 1) for _ in range(300)]
    run(router, noise, [0] * len(noise), list(range(len(noise))))
    assert path_mtu(router)[0] == 1500
    result = router.forward(Batch.from_frames([told(packet, 1300), clear(1446)], ts=[1, 2]), "gi0/0/0")
    said = {step["stage"]: step["decision"] for step in result.explain(0)["stages"]}
    assert "smaller path MTU" in said["pathmtu"]
    assert path_mtu(router)[0] == 1300 and len(router.path_mtus.history) == 1
