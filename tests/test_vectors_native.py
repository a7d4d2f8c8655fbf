"""The native engine's kernels against published vectors, called on a hand-made workspace (no router around them)."""

import hashlib
import hmac as std_hmac
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
from naive_decryptor import NaiveDecryptor
from vectors_io import SHARED, EspVector, Primitive, association, load_esp_vectors, load_json, load_primitives

from qfp.decrypt import Decryptor
from qfp.engines.openssl import Plain, aead_of
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.sa import SecurityAssociation
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp.trace import read_trace
from qfp_kernels import features, gcm, hmac, seal
from qfp_kernels.jit import compile_stage
from qfp_kernels.layout import CTL_FAILED, ST_RX, ST_TX, ST_WORK, VECTOR_MAX, workspace

pytestmark = [
    pytest.mark.req("BASE-3", "BASE-8"),
    pytest.mark.skipif(not features.NATIVE, reason="this CPU has no AES instructions"),
]
CELL = 4096  # bytes of arena for one packet
HEAD = 128
MACS = {"hmac-sha1": ("hmac-sha1-96", hmac.sha1, hashlib.sha1),
        "hmac-sha256": ("hmac-sha256-128", hmac.sha256, hashlib.sha256)}  # fmt: skip


class Bench:
    """Tables and a workspace; rows are given packets and sent through one crypto stage together."""

    def __init__(self, engine: str = "native") -> None:
        self.tables = Tables()
        self.sad = Sad(self.tables, engine)
        self.t = self.tables.t
        self.p = workspace()
        self.sad.crypto.attach(self.p)
        self.n = 0

    def put(self, handle: int, packet: bytes, high: int) -> None:
        """Lay an ESP packet (SPI .. ICV) into the next row."""
        p, i, row = self.p, self.n, self.t.sa[handle]
        assert len(packet) + HEAD + 128 <= CELL, len(packet)
        at = i * CELL % (p.arena.size - CELL) // CELL * CELL + HEAD
        p.arena[at : at + len(packet)] = np.frombuffer(packet, np.uint8)
        p.c_sa[i], p.c_off[i], p.c_hi[i], p.c_ok[i] = handle, at, high, 2
        p.c_icv[i] = at + len(packet) - int(row["icv_len"])
        p.c_len[i] = p.c_icv[i] - at - 8 - int(row["iv_len"])
        p.rx[i] = p.tx[i] = p.work[i] = i
        self.n += 1

    def run(self, outbound: bool) -> None:
        self.p.st[ST_RX] = self.p.st[ST_TX] = self.n
        compile_stage(seal.seal if outbound else seal.open_)(self.p, self.t, self.n)
        assert self.t.ctl[CTL_FAILED] == 0

    def packet(self, i: int, size: int) -> bytes:
        return self.p.arena[self.p.c_off[i] : self.p.c_off[i] + size].tobytes()


ROWS = 96  # packets a bench: within the arena, and several groups of 16 lanes


def in_groups(items: list[Any]) -> list[list[Any]]:
    return [items[k : k + ROWS] for k in range(0, len(items), ROWS)]


# --------------------------------------------------------------------------------------------------- ESP packets
Sealed = tuple[SecurityAssociation, bytes, int]  # SA, packet from SPI to ICV, high half of its number


def run_esp(vectors: list[Sealed], outbound: bool, engine: str) -> list[tuple[bool, bytes]]:
    """(ICV good, packet afterwards) of each (SA, packet, high half); ESP packets of all kinds in one vector."""
    out = []
    for group in in_groups(vectors):
        bench = Bench(engine)
        for sa, packet, high in group:
            bench.put(bench.sad.add(replace(sa, dst=None, src=None), inbound=not outbound), packet, high)
        bench.run(outbound)
        out += [(bool(bench.p.c_ok[i]), bench.packet(i, len(v[1]))) for i, v in enumerate(group)]
    return out


def before_sealing(v: EspVector) -> bytes:
    """What the sealer must find: payload and trailer clear; for CBC the block whose encryption is the vector's IV."""
    iv = v.iv
    if v.sa.encr.endswith("-cbc"):
        iv = Plain(v.sa.encr, v.sa.encr_key).decrypt(bytes(len(iv)), iv)
    return v.wire[:8] + iv + v.body + bytes(v.sa.icv_len)


@pytest.mark.parametrize("engine", ["native", "openssl"])
def test_published_packets_open_and_seal(engine: str) -> None:
    """Every ESP packet of esp_rfc.json and esp_ah_dpdk.json, both ways, and none opens with one bit changed."""
    vectors = [v for v in load_esp_vectors() if v.sa.proto == "esp"]
    opened = run_esp([(v.sa, v.wire, v.seq_hi) for v in vectors], False, engine)
    for v, (good, packet) in zip(vectors, opened, strict=True):
        assert good and packet[8 + v.sa.iv_len :][: len(v.body)] == v.body, v.id
    sealed = run_esp([(v.sa, before_sealing(v), v.seq_hi) for v in vectors], True, engine)
    for v, (_, packet) in zip(vectors, sealed, strict=True):
        assert packet == v.wire, v.id
    flipped = [
        (v.sa, v.wire[:at] + bytes([v.wire[at] ^ 0x40]) + v.wire[at + 1 :], v.seq_hi)
        for v in vectors if v.sa.icv_len for at in (0, 4, 8, len(v.wire) // 2, len(v.wire) - 1)
    ]  # fmt: skip
    assert not any(good for good, _ in run_esp(flipped, False, engine))


# ---------------------------------------------------------------------------------------------- combined modes
def as_esp(v: Primitive) -> Sealed | None:
    """An AES-GCM vector as an ESP packet, where it has the shape of one: 12 bytes of IV, 8 or 12 of AAD, a tag."""
    if v.alg != "aes-gcm" or len(v.iv) != 12 or len(v.aad) not in (8, 12) or len(v.tag) not in (8, 12, 16):
        return None
    if not v.text and not v.ct:
        return None
    esn = len(v.aad) == 12
    sa = SecurityAssociation(
        proto="esp", spi=1, encr="aes-gcm", encr_key=v.key, salt=v.iv[:4], icv_len=len(v.tag), esn=esn
    )
    return sa, v.aad[:4] + v.aad[-4:] + v.iv[4:] + v.ct + v.tag, int.from_bytes(v.aad[4:8]) if esn else 0


def test_gcm_vectors() -> None:
    """GCM vectors in the shape of ESP go through the sealers and openers, invalid ones included."""
    chosen = [(v, packet) for v in load_primitives() if (packet := as_esp(v)) is not None]
    opened = run_esp([packet for _, packet in chosen], False, "native")
    for (v, (sa, wire, _)), (good, packet) in zip(chosen, opened, strict=True):
        assert good == v.valid, v.id
        assert not good or packet[16 : len(wire) - sa.icv_len] == v.text, v.id
    valid = [(v, p) for v, p in chosen if v.valid]
    sealed = run_esp([(sa, w[:16] + v.text + bytes(sa.icv_len), hi) for v, (sa, w, hi) in valid], True, "native")
    for (v, (_, wire, _)), (_, packet) in zip(valid, sealed, strict=True):
        assert packet == wire, v.id
    assert len(valid) >= 5, "the vectors hold too few packets of ESP's shape"


def test_gcm_vectors_of_any_aad() -> None:
    """What GCM encrypts does not depend on its AAD: the text of every valid vector, with a header of ESP before it.

    The ciphertext must be the vector's; the tag that goes with the header is asked of the reference.
    """
    vectors = [v for v in load_primitives() if v.alg == "aes-gcm" and v.valid and len(v.iv) == 12 and v.text]
    head = bytes.fromhex("0000000100000002")
    rows = []
    for v in vectors:
        sa = SecurityAssociation(proto="esp", spi=1, encr="aes-gcm", encr_key=v.key, salt=v.iv[:4])
        rows.append((sa, head + v.iv[4:] + v.text + bytes(16), 0))
    for v, (_, packet) in zip(vectors, run_esp(rows, True, "native"), strict=True):
        whole = aead_of("aes-gcm", v.key).encrypt(v.iv, v.text, head)
        assert packet[16:] == whole and whole[:-16] == v.ct, v.id
    assert len(vectors) >= 50


def macs_of(vectors: list[Primitive], stage: Any, associate: Any) -> list[bytes]:
    """The MAC that a kernel computes over each vector's message."""
    out = []
    for group in in_groups(vectors):
        bench = Bench()
        p = bench.p
        for i, v in enumerate(group):
            message = v.aad if v.alg == "aes-gmac" else v.text
            handle = bench.sad.add(associate(v), inbound=True)
            at = i * CELL + HEAD
            assert len(message) + HEAD + 64 <= CELL, v.id
            p.arena[at : at + len(message)] = np.frombuffer(message, np.uint8)
            p.arena[at - 8 : at] = np.frombuffer((v.iv[4:12] or bytes(8)).ljust(8, b"\0"), np.uint8)
            p.c_sa[i], p.m_off[i], p.m_len[i], p.c_iv[i], p.work[i] = handle, at, len(message), at - 8, i
        p.st[ST_WORK] = 0
        compile_stage(stage)(p, bench.t, len(group))
        out += [p.mac[64 * i : 64 * i + 32].tobytes() for i in range(len(group))]
    return out


@pytest.mark.parametrize("alg", MACS)
def test_hmac_vectors(alg: str) -> None:
    """Every HMAC vector; a key longer than the block is hashed first (RFC 2104 section 2)."""
    name, stage, digest = MACS[alg]

    def associate(v: Primitive) -> SecurityAssociation:
        key = v.key if len(v.key) <= 64 else digest(v.key).digest()
        key = key or bytes(1)  # HMAC fills keys up with zeros: none at all is a zero
        return SecurityAssociation(proto="ah", spi=1, integ=name, integ_key=key)

    vectors = [v for v in load_primitives() if v.alg == alg]
    assert vectors
    for v, mac in zip(vectors, macs_of(vectors, stage, associate), strict=True):
        assert std_hmac.compare_digest(mac[: len(v.tag)], v.tag) == v.valid, v.id


def test_gmac_vectors() -> None:
    """Every GMAC vector, and every GCM vector without text, that has the nonce length of IPsec."""
    fits = ("aes-gmac", "aes-gcm")
    vectors = [v for v in load_primitives() if v.alg in fits and len(v.iv) == 12 and not v.text and not v.ct]
    vectors = [replace(v, alg="aes-gmac") for v in vectors if len(v.tag) <= 16]
    assert vectors

    def associate(v: Primitive) -> SecurityAssociation:
        return SecurityAssociation(proto="ah", spi=1, integ="aes-gmac", integ_key=v.key, salt=v.iv[:4])

    for v, mac in zip(vectors, macs_of(vectors, gcm.gmac, associate), strict=True):
        assert (mac[: len(v.tag)] == v.tag) == v.valid, v.id


def test_cbc_vectors() -> None:
    """Every CBC vector (all are valid): opened as they are; sealed with the block whose encryption is the IV.

    Those of PKCS #5 name the text without its padding.
    """

    def whole(v: Primitive) -> Primitive:
        pad = len(v.ct) - len(v.text)
        return replace(v, text=v.text + bytes([pad]) * pad)

    vectors = [v for v in load_primitives() if v.alg.endswith("-cbc")]
    assert vectors and all(v.valid for v in vectors)
    vectors = [whole(v) for v in vectors]

    def sa(v: Primitive) -> SecurityAssociation:
        return SecurityAssociation(proto="esp", spi=1, encr=v.alg, encr_key=v.key)

    head = bytes(8)
    opened = run_esp([(sa(v), head + v.iv + v.ct, 0) for v in vectors], False, "native")
    for v, (good, packet) in zip(vectors, opened, strict=True):
        assert good and packet == head + v.iv + v.text, v.id
    blocks = [Plain(v.alg, v.key).decrypt(bytes(len(v.iv)), v.iv) for v in vectors]
    sealed = run_esp([(sa(v), head + b + v.text, 0) for v, b in zip(vectors, blocks, strict=True)], True, "native")
    for v, (_, packet) in zip(vectors, sealed, strict=True):
        assert packet == head + v.iv + v.ct, v.id


def test_ah_packets() -> None:
    """The published AH packets open and, from the same packet and number, are signed to the same bytes."""
    from qfp.batch import Batch

    vectors = [v for v in load_esp_vectors() if v.sa.proto == "ah"]
    assert vectors
    for v in vectors:
        for engine in ("native", "openssl"):
            sa = replace(v.sa, replay_window=0, mode=v.sa.mode, src=None, dst=None)
            result = Decryptor([sa], engine=engine).open(Batch.from_frames([v.wire]))
            twin = NaiveDecryptor([sa]).open([v.wire])[0]
            assert twin.verdict == "forwarded", v.id
            assert result.packets.frames() == [twin.data], (v.id, result.counters)


# ------------------------------------------------------------------------------------------------------ captures
def manifest() -> list[dict[str, Any]]:
    return list(json.loads((SHARED / "captures/manifest.json").read_text())["captures"]) if SHARED.exists() else []


def digest_of(payloads: list[bytes]) -> str:
    """The manifest's digest: lengths and bytes of the decrypted payloads, in order."""
    return hashlib.sha256(b"".join(len(p).to_bytes(4) + p for p in payloads)).hexdigest()


def payload_of(row: dict[str, Any], packet: bytes) -> bytes:
    """The ESP payload of a decrypted packet: in transport mode what follows the IP header."""
    return packet[naive.read_ip(packet).upper :] if row["mode"] == "transport" else packet


@pytest.mark.parametrize("engine", ["native", "openssl"])
@pytest.mark.parametrize("capture", manifest(), ids=lambda c: c["id"])
def test_captures(engine: str, capture: dict[str, Any]) -> None:
    """Every capture of the manifest: how many packets open, and what was in them, packet by packet and SA by SA."""
    load_json("captures/manifest.json")
    rows = capture.get("sas", [])
    sas = [association(r["sa"], mode=r["mode"]) for r in rows]
    batch = read_trace(SHARED / "captures" / capture["file"])
    assert len(batch) == capture["frames"]
    d = Decryptor(sas, engine=engine)
    result = d.open(batch)
    v = result.verdicts
    forwarded = v["verdict"] == VERDICT_WORDS.index("forwarded")
    of_sa = {h: r for h, r in zip(d.handles, rows, strict=True)}
    payloads = [
        payload_of(of_sa[int(sa)], p) for sa, p in zip(v["sa"][forwarded], result.packets.frames(), strict=True)
    ]
    assert len(payloads) == capture["expect"]["decrypted"]
    if "plain_sha256" in capture["expect"]:
        assert digest_of(payloads) == capture["expect"]["plain_sha256"]
    for handle, row in of_sa.items():
        mine = [p for p, sa in zip(payloads, v["sa"][forwarded], strict=True) if sa == handle]
        assert len(mine) == row["expect"]["decrypted"] and digest_of(mine) == row["expect"]["plain_sha256"]
        assert int(v["seq"][forwarded & (v["sa"] == handle)].max()) == row["expect"]["last_seq"]
    causes = Counter(CAUSE_WORDS[c] for c in v["cause"][v["cause"] > 0])
    cut = {"CUT_SHORT"} if (batch.wire > batch.length).any() else set()
    assert set(causes) <= (cut if rows else cut | {"NO_SA"})


@pytest.mark.parametrize("engine", ["native", "openssl"])
@pytest.mark.parametrize("capture", [c for c in manifest() if "nested" in c], ids=lambda c: c["id"])
def test_nested_captures(engine: str, capture: dict[str, Any]) -> None:
    """With the inner SA given too, both levels open."""
    nested = capture["nested"]
    fields = {k: v for k, v in nested["sa"].items() if v != "*"}
    sas = [association(r["sa"], mode=r["mode"]) for r in capture["sas"]]
    inner = association(fields, mode=nested.get("mode", "tunnel"))
    result = Decryptor([*sas, inner], engine=engine).open(read_trace(SHARED / "captures" / capture["file"]))
    frames = result.packets.frames()
    row = {"mode": nested.get("mode", "tunnel")}
    assert len(frames) == nested["expect"]["decrypted"]
    assert digest_of([payload_of(row, p) for p in frames]) == nested["expect"]["plain_sha256"]


def test_rows_fit() -> None:
    """The bench above lays its rows side by side."""
    assert workspace().arena.size > ROWS * CELL and ROWS <= VECTOR_MAX
