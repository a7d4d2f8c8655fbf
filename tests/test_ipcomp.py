"""comp-lzs on the path: IPComp inside ESP, both directions, never larger, counters, and what is malformed (PF-9)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from naive_lzs import compress as naive_compress
from naive_lzs import expand as naive_expand
from packets import HEADERS6, OPTIONS4, ip4, ip6, udp
from test_dependency_table import LAN, OUTER, Case, hops

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.engines.openssl import OpensslContext
from qfp.result import CAUSE_WORDS, Result
from qfp.router import Router
from qfp.sizes import Sizing

TEXT = b"the quick brown fox jumps over the lazy dog; " * 40
VTI = Case("disabled", "copy", 0, "", "vti", 4, 4)
VTI6 = Case("disabled", "copy", 0, "", "vti", 6, 4)


def with_lzs(text: str) -> str:
    return text.replace("transform-set T esp-gcm\n", "transform-set T esp-gcm comp-lzs\n")


def pair(case: Case, **options: Any) -> tuple[Router, Router]:
    return tuple(Router.loads(with_lzs(case.config(me)), **options) for me in (1, 2))  # type: ignore[return-value]


def payloads() -> list[bytes]:
    noise = np.random.default_rng(3).bytes(1300)
    return [TEXT[:n] for n in (0, 1, 60, 61, 62, 63, 89, 90, 91, 400, 1300)] + [noise[:90], noise, bytes(1300)]


def frames() -> list[bytes]:
    out = [ip4(*LAN[4], udp(1, 2, data), tos=k, ident=k, options=OPTIONS4[k % 5]) for k, data in enumerate(payloads())]
    return out + [ip6(*LAN[6], udp(1, 2, data), tos=k, label=k, headers=HEADERS6[k % 6])
                  for k, data in enumerate(payloads())]  # fmt: skip


def sa_counters(router: Router, inbound: bool, *names: str) -> list[int]:
    pair = router.sadb.pairs[0]
    table = router.tables.t.life if inbound else router.tables.t.sa_out
    return [int(table[name][(pair.inbound if inbound else pair.outbound)[0]]) for name in names]


@pytest.mark.req("PF-9")
@pytest.mark.parametrize("case", [VTI, VTI6], ids=["over IPv4", "over IPv6"])
@pytest.mark.parametrize("engine", ["native", "openssl"])
def test_both_ways(case: Case, engine: str) -> None:
    near, far = pair(case, engine=engine)
    packets = frames()
    sent = near.forward(Batch.from_frames(packets), "gi0/0/1")
    sizing = Sizing(case.outer, "aes-gcm", 16)
    plain = [sizing.protected(len(p)) for p in packets]
    sizes = [len(p) for p in sent.packets.frames()]
    assert all(a <= b for a, b in zip(sizes, plain, strict=True)), "never larger"
    smaller = sum(a < b for a, b in zip(sizes, plain, strict=True))
    packed, unpacked = sa_counters(near, False, "compressed", "incompressible")
    assert packed >= smaller > 8 and packed + unpacked == len(packets)
    arrived = far.forward(sent.packets, "gi0/0/0")
    assert arrived.packets.frames() == [hops(p, 2) for p in packets]
    assert sa_counters(far, True, "decompressed", "comp_failed") == [packed, 0]
    opened = Decryptor([replace(near.sad.describe(near.sadb.pairs[0].outbound[0]), direction="in", seq=0)])
    assert opened.open(sent.packets).packets.frames() == [hops(p, 1) for p in packets], "with the key file alone"


@pytest.mark.req("PF-9")
def test_the_flow_label_survives() -> None:
    """The outer header's label is that of the packet, which is compressed by then."""
    near, _ = pair(VTI6)
    packet = ip6(*LAN[6], udp(1, 2, TEXT[:1000]), label=0xABCDE)
    sent = near.forward(Batch.from_frames([packet]), "gi0/0/1").packets.frame(0)
    assert int.from_bytes(sent[:4]) & 0xFFFFF == 0xABCDE


def transport(me: int) -> str:
    """A crypto map in transport mode between the two routers."""
    text = with_lzs(Case("enabled", "copy", 0, "", "map", 4, 4).config(me))
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("access-list"))
    ends = OUTER[4] if me == 1 else OUTER[4][::-1]
    hosts = "access-list 101 permit ip host {} host {}\n".format(*ends)
    return kept.replace("comp-lzs\n", "comp-lzs\n mode transport\n", 1) + hosts


@pytest.mark.req("PF-9")
def test_transport_mode() -> None:
    near, far = (Router.loads(transport(me)) for me in (1, 2))
    packets = [ip4(*OUTER[4], udp(1, 2, data), options=OPTIONS4[k % 5]) for k, data in enumerate(payloads())]
    sent = near.forward(Batch.from_frames(packets), "gi0/0/1")
    got = far.forward(sent.packets, "gi0/0/0")
    assert sa_counters(near, False, "compressed")[0] >= 3
    assert set(got.counters["verdicts"]) == {"punted"}, "it is for router 2 itself"
    opened = Decryptor([replace(near.sad.describe(near.sadb.pairs[0].outbound[0]), direction="in", seq=0)])
    assert opened.open(sent.packets).packets.frames() == [hops(p, 1) for p in packets]


@pytest.mark.req("PF-9")
def test_fragmented_before_it_is_compressed() -> None:
    """Sizes are those without compression; each fragment is compressed on its own."""
    case = Case("enabled", "copy", 0, "before", "map", 4, 4)
    near, far = pair(case)
    packet = ip4(*LAN[4], udp(1, 2, (TEXT * 2)[:1472]), ident=9)
    sent = near.forward(Batch.from_frames([packet]), "gi0/0/1")
    assert sent.verdicts["n_out"].tolist() == [2] and max(len(p) for p in sent.packets.frames()) < 400
    got = far.forward(sent.packets, "gi0/0/0").packets.frames()
    assert [len(p) for p in got] == [764, 756]
    assert sa_counters(near, False, "compressed") == [2]


def sealed(body: bytes, seq: int = 1, **options: Any) -> tuple[Router, bytes]:
    """A far router, and an ESP packet to it whose payload is any bytes."""
    _, far = pair(VTI, **options)
    sa = replace(far.sad.describe(far.sadb.pairs[0].inbound[0]), direction="out")
    pad = -(len(body) + 2) % 4
    head = sa.spi.to_bytes(4) + seq.to_bytes(4) + seq.to_bytes(8)
    esp = bytearray(head + body + bytes(range(1, pad + 1)) + bytes([pad, 108]) + bytes(16))
    OpensslContext(sa).esp_seal(esp, None)
    return far, ip4(*OUTER[4], bytes(esp), 50)


def ipcomp(data: bytes, next_header: int = 4, cpi: int = 3) -> bytes:
    return bytes([next_header, 0]) + cpi.to_bytes(2) + data


def open_one(body: bytes) -> tuple[Router, Result]:
    far, packet = sealed(body)
    return far, far.forward(Batch.from_frames([packet]), "gi0/0/0")


@pytest.mark.req("PF-9")
def test_what_another_implementation_compressed() -> None:
    """The slow twin's streams open, and it opens ours."""
    inner = ip4("10.1.0.9", "10.2.0.9", udp(1, 2, TEXT[:1200]))
    _, result = open_one(ipcomp(naive_compress(inner)))
    assert result.packets.frames() == [hops(inner, 1)]
    near, _ = pair(VTI)
    wire = near.forward(Batch.from_frames([inner]), "gi0/0/1").packets.frame(0)
    sa = replace(near.sad.describe(near.sadb.pairs[0].outbound[0]), direction="in", seq=0)
    esp = bytearray(wire[20:])
    assert OpensslContext(sa).esp_open(esp, None)
    body = bytes(esp[16:-16])
    pad, next_header = body[-2], body[-1]
    assert next_header == 108 and body[:4] == bytes([4, 0, 0, 3])
    assert naive_expand(body[4 : len(body) - 2 - pad], 65535) == hops(inner, 1)


@pytest.mark.req("PF-9")
@pytest.mark.parametrize(
    "body",
    [b"", b"\x04", b"\x04\0\0\x03", ipcomp(b"\xff" * 40), ipcomp(naive_compress(b"x" * 200)[:-2]),
     ipcomp(naive_compress(b"E" * 100), cpi=4), ipcomp(naive_compress(bytes(70000)))],
    ids=["nothing", "cut header", "no data", "damaged", "no end", "another CPI", "longer than a packet"],
)  # fmt: skip
def test_malformed(body: bytes) -> None:
    far, result = open_one(body)
    assert CAUSE_WORDS[result.verdicts["cause"][0]] == "COMP_BAD"
    assert sa_counters(far, True, "decompressed", "comp_failed", "errors") == [0, 1, 1]


@pytest.mark.req("PF-9")
def test_an_sa_without_it_refuses_it() -> None:
    """Nothing is decompressed that was not agreed on; inner packets that are none are BAD_INNER."""
    far, packet = sealed(ipcomp(naive_compress(ip4("10.1.0.9", "10.2.0.9", udp(1, 2, TEXT[:500])))))
    far.tables.t.sa["comp"][:] = 0
    result = far.forward(Batch.from_frames([packet]), "gi0/0/0")
    assert CAUSE_WORDS[result.verdicts["cause"][0]] == "BAD_NEXT_HEADER"
    _, result = open_one(ipcomp(naive_compress(b"E" * 300)))
    assert CAUSE_WORDS[result.verdicts["cause"][0]] == "BAD_INNER"


@pytest.fixture(scope="module")
def bombs() -> list[bytes]:
    """Small frames that become the longest packets, with text between; frames of a hub's spoke."""
    longest = ipcomp(naive_compress(ip4("10.1.0.9", "10.2.0.9", udp(1, 2, bytes(65507)))))
    text = ipcomp(naive_compress(ip4("10.1.0.9", "10.2.0.9", udp(1, 2, TEXT[:600]))))
    return [sealed(longest if k % 3 else text, k + 1)[1] for k in range(40)] * 5


@pytest.mark.req("PF-9", "BASE-12")
@pytest.mark.parametrize(("batch", "threads"), [(7, 2), (256, 1), (1024, 2)])
def test_any_batch(bombs: list[bytes], batch: int, threads: int) -> None:
    """Bytes and counters are those of one packet at a time; what becomes too long for the LAN leaves as fragments."""
    runs = []
    for options in ({"batch": 1}, {"batch": batch, "threads": threads}):
        far = Router.loads(with_lzs(VTI.config(2)), **options)
        result = far.forward(Batch.from_frames(bombs), "gi0/0/0")
        runs.append((result.packets.frames(), result.counters, far.tables.t.sa_in.tobytes()))
        far.engine.close()
    assert runs[0] == runs[1]
    assert runs[0][1]["drops"] == {"REPLAY": 160} and runs[0][1]["bytes_out"] > 26 * 65000
