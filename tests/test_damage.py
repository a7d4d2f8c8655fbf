"""Any bytes as frames and as captures: every frame gets one verdict, and nothing raises."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp
from path_help import ENGINES, check_decrypt
from test_path_batches import lists
from test_path_policy import office
from test_path_transforms import PROTECTIONS, associations, config

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.engine import NullSink
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp.trace.source import BatchSource

PCAP_START = b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(12) + b"\x65\0\0\0"
PCAPNG_START = b"\n\r\r\n\x1c\0\0\0\x4d\x3c\x2b\x1a\1\0\0\0" + b"\xff" * 8 + b"\x1c\0\0\0"
LINKS = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 147, 9]
NAMES = ["aes-gcm-128/none/16", "aes-cbc/hmac-sha1-96", "ah/hmac-sha256-128", "3des-cbc-192/hmac-sha256-128/16",
         "ah over esp: hmac-sha1-96 over cbc"]  # fmt: skip


def some_sas() -> list[SecurityAssociation]:
    """SAs of several kinds to one destination, told apart by SPI; one takes any destination."""
    out = []
    for k, name in enumerate(NAMES):
        for sa in associations(dict(PROTECTIONS)[name], 4):
            fields = {f: getattr(sa, f) for f in sa.__slots__} | {"spi": 0x100 * (k + 1) + (sa.proto == "ah")}
            fields |= {"dst": None, "src": None} if k == 1 else {}
            out.append(SecurityAssociation(**fields))
    return out


def random_frames(count: int, seed: int) -> Batch:
    """Random bytes, half of them under a plausible IPv4 or IPv6 header of ESP, AH or NAT-T for SAs that exist."""
    rng = np.random.default_rng(seed)
    length = rng.choice([0, 1, 19, 20, 21, 27, 28, 36, 40, 41, 48, 60, 64, 80, 100, 128, 200, 300], count)
    ends = np.cumsum(length)
    arena = rng.integers(0, 256, int(ends[-1]), np.uint8)
    start = ends - length
    head4 = np.frombuffer(ip4("203.0.113.1", "203.0.113.2", b"", 50), np.uint8)
    for fake, proto in ((0, 50), (1, 51), (2, 17), (3, 41), (4, 4)):
        rows = np.flatnonzero((length >= 28) & (np.arange(count) % 10 == fake))
        at = start[rows]
        for k in range(20):
            arena[at + k] = head4[k]
        arena[at + 2], arena[at + 3], arena[at + 9] = length[rows] >> 8, length[rows] & 255, proto
        _checksums(arena, at)
        arena[at + 20], arena[at + 21] = 0, 0
        arena[at + 22] = rng.integers(1, 6, len(rows))
        arena[at + 23] = rng.integers(0, 2, len(rows))
    six = start[(length >= 60) & (np.arange(count) % 10 == 5)]
    arena[six], arena[six + 4], arena[six + 5] = 0x60, 0, rng.integers(0, 60, len(six))
    arena[six + 6] = rng.choice([0, 43, 44, 50, 51, 60, 17, 135], len(six))
    link = np.where(np.arange(count) % 3 == 0, rng.choice(LINKS, count), 101)
    columns = {"offset": start, "length": length, "wire": length, "ts": np.arange(count), "in_if": np.zeros(count),
               "link": link, "frame": np.arange(count)}  # fmt: skip
    return Batch(arena, columns)


def _checksums(arena: np.ndarray, at: np.ndarray) -> None:
    """Right IPv4 checksums, all rows at once."""
    total = sum(arena[at + k].astype(np.int64) << (0 if k & 1 else 8) for k in range(20) if k not in (10, 11))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    arena[at + 10], arena[at + 11] = total >> 8, total & 255


def survive(batch: Batch, engine: str) -> None:
    """Through a decryptor and both sides of a router; the counters account for every frame (they check themselves)."""
    result = Decryptor(some_sas(), engine=engine).open(batch)
    assert result.counters["frames_in"] == len(batch) == len(result.verdicts["frame"])
    assert result.verdicts["verdict"].min() > 0
    router = Router.loads(office(2, lists(2)), engine=engine)
    for ingress in ("gi0/0/0", "gi0/0/1"):
        result = router.forward(batch, ingress)
        assert (result.verdicts["verdict"] > 0).all()


@pytest.mark.req("BASE-12")
def test_200_thousand_random_frames() -> None:
    batch = random_frames(200_000, 5)
    survive(batch, "native")
    survive(random_frames(5_000, 6), "openssl")


@pytest.mark.req("BASE-12")
@pytest.mark.slow
def test_10_million_random_frames() -> None:
    d = Decryptor(some_sas())
    router = Router.loads(office(2, lists(2)))
    for k in range(10):
        batch = random_frames(1_000_000, 100 + k)
        d.run(BatchSource(batch), NullSink())
        router.run(BatchSource(batch), "gi0/0/0", NullSink())
    for tables in (d.tables, router.tables):
        assert int(tables.t.verdicts.sum()) == 10_000_000 and int(tables.t.verdicts[0]) == 0


@pytest.mark.req("BASE-8", "BASE-12")
@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=12), st.sampled_from(ENGINES), st.booleans())
def test_any_bytes_as_frames(frames: list[bytes], engine: str, dressed: bool) -> None:
    """The same verdicts as the slow twin's."""
    if dressed:
        frames = [ip4("203.0.113.1", "203.0.113.2", b"\0\0\1\0" + f, 50 + (len(f) & 1)) for f in frames]
    check_decrypt(some_sas(), frames, engine=engine)


@pytest.mark.req("BASE-8", "BASE-12")
@pytest.mark.parametrize("seed", range(3))
def test_mutated_packets(seed: int) -> None:
    """Genuine packets with bytes changed, removed, doubled and cut, at any place, headers made right or not."""
    rng = random.Random(seed)
    frames = []
    for name in NAMES:
        sas = associations(dict(PROTECTIONS)[name], 4)
        router = Router.loads(config(1, 4), keys=sas)
        clear = [ip4("10.1.2.3", "10.2.3.4", udp(k, 2, bytes(k))) for k in range(40)]
        for p in router.forward(Batch.from_frames(clear), "gi0/0/1").packets.frames():
            q = bytearray(p)
            for _ in range(rng.randint(0, 3)):
                at = rng.randrange(len(q))
                kind = rng.randrange(4)
                if kind == 0:
                    q[at] = rng.randrange(256)
                elif kind == 1:
                    del q[at : at + rng.randint(1, 4)]
                elif kind == 2:
                    q[at:at] = q[at : at + rng.randint(1, 8)]
                else:
                    q = q[: max(20, at)]
                q = q if len(q) > 20 else bytearray(p)
            frames.append(bytes(q))
        check_decrypt(sas, frames)
        frames.clear()


@pytest.mark.req("USE-3")
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", PCAP_START, PCAPNG_START]))
def test_any_bytes_as_a_capture(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    """A capture of any bytes is refused by name or read as far as it is whole."""
    from qfp.trace import TraceError, open_source

    path = Path(tmp_path_factory.mktemp("any")) / "any.pcap"
    path.write_bytes(head + data)
    d = Decryptor(some_sas())
    try:
        d.run(open_source(path), NullSink())
    except TraceError as error:
        assert str(path) in str(error)
    assert int(d.tables.t.verdicts[0]) == 0
