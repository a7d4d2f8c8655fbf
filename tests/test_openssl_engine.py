"""The reference engine against published vectors, and the properties that every engine must have."""

from collections import Counter
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_io import EspVector, Primitive, load_esp_vectors, load_primitives, load_rfc_vectors, zeroed

from qfp.algorithms import CIPHERS, INTEGRITIES
from qfp.engines.openssl import OpensslContext, Plain, aead_of, mac_of
from qfp.sa import SecurityAssociation

AEADS = ("aes-gcm", "chacha20-poly1305", "aes-gmac")
CBCS = ("aes-cbc", "des-cbc", "3des-cbc")


# ---------------------------------------------------------------------------------------------- primitives
def aead_opens(v: Primitive) -> bool:
    """Whether the engine's combined mode opens the vector, to the right text; sealing is checked on the way."""
    aead = aead_of(v.alg, v.key, len(v.tag))
    if v.valid:
        assert aead.encrypt(v.iv, v.text, v.aad) == v.ct + v.tag, v.id
    try:
        return aead.decrypt(v.iv, v.ct + v.tag, v.aad) == v.text
    except InvalidTag:
        return False


def cbc_opens(v: Primitive) -> bool:
    cipher = Plain(v.alg, v.key)
    assert cipher.encrypt(v.iv, v.text) == v.ct, v.id
    return cipher.decrypt(v.iv, v.ct) == v.text


def mac_verifies(v: Primitive) -> bool:
    half = len(v.text) // 2  # in two parts, as the engine gives packet and high half
    return mac_of(v.alg, v.key)(v.text[:half], v.text[half:])[: len(v.tag)] == v.tag


@pytest.mark.req("BASE-3", "BASE-8")
def test_every_primitive_vector() -> None:
    """All 2,127 go through the functions that the engine itself uses; none is skipped."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for v in load_primitives():
        check = aead_opens if v.alg in AEADS else cbc_opens if v.alg in CBCS else mac_verifies
        outcomes["valid" if v.valid else "invalid"] += 1
        if check(v) != v.valid:
            wrong.append(v.id)
    assert wrong == []
    assert outcomes == {"valid": 1153, "invalid": 974}


@pytest.mark.req("BASE-3")
@pytest.mark.parametrize(
    ("message", "tag"),
    [("", "75f0251d528ac01c4573dfd5"), ("000102", "5b376580ae2f19afe7219cee"),
     ("000102030405060708090a0b0c0d0e0f", "d2a246fa349b68a79998a439")],
)  # fmt: skip
def test_xcbc_rfc3566(message: str, tag: str) -> None:
    """RFC 3566 section 4.6, cases 1 to 3: the empty, the padded and the whole last block."""
    key = bytes(range(16))
    assert mac_of("aes-xcbc", key)(bytes.fromhex(message))[:12].hex() == tag


# ------------------------------------------------------------------------------------------------- packets
def check_esp(v: EspVector) -> None:
    sa, context = v.sa, OpensslContext(v.sa)
    packet = bytearray(v.wire)
    assert context.esp_open(packet, v.seq_hi), v.id
    body = slice(8 + sa.iv_len, len(packet) - sa.icv_len)
    assert packet[body] == v.body, v.id
    assert packet[8 : 8 + sa.iv_len] == v.iv
    packet[body.stop :] = bytes(sa.icv_len)
    context.esp_seal(memoryview(packet), v.seq_hi)
    assert packet == v.wire, v.id


def check_ah(v: EspVector) -> None:
    context = OpensslContext(v.sa)
    msg, at, field = zeroed(v.wire, v.sa.icv_length)
    assert context.ah_open(msg, at, field, v.seq_hi), v.id
    assert not context.ah_open(msg, at, field[:-1], v.seq_hi)
    for byte in range(len(field)):
        assert not context.ah_open(msg, at, flipped(field, byte), v.seq_hi), (v.id, byte)
    assert not context.ah_open(flipped(msg, at - 1), at, field, v.seq_hi)
    msg[at : at + v.sa.integrity.iv] = field[: v.sa.integrity.iv]
    assert context.ah_seal(msg, at, v.seq_hi) == field == msg[at : at + len(field)]


def flipped(data: bytes | bytearray, at: int) -> bytearray:
    out = bytearray(data)
    out[at] ^= 1
    return out


@pytest.mark.req("BASE-3", "BASE-8")
def test_packets_of_rfcs() -> None:
    vectors = list(load_rfc_vectors())
    for v in vectors:
        check_esp(v)
    assert len(vectors) == 5


@pytest.mark.req("BASE-3", "BASE-8")
def test_every_published_packet() -> None:
    count: Counter[str] = Counter()
    for v in load_esp_vectors():
        (check_esp if v.sa.proto == "esp" else check_ah)(v)
        count[v.sa.proto] += 1
    assert count == {"esp": 46, "ah": 3}


@pytest.mark.req("BASE-8")
def test_a_tampered_packet_is_refused_and_left_alone() -> None:
    for v in load_esp_vectors():
        if v.sa.proto != "esp" or not v.sa.icv_len:
            continue
        context = OpensslContext(v.sa)
        for at in range(len(v.wire)):
            packet = flipped(v.wire, at)
            before = bytes(packet)
            assert not context.esp_open(packet, v.seq_hi), (v.id, at)
            assert packet == before, (v.id, at)
        for cut in range(len(v.wire)):
            packet = bytearray(v.wire[:cut])
            assert not context.esp_open(packet, v.seq_hi), (v.id, cut)
            assert packet == v.wire[:cut]


@pytest.mark.req("BASE-8")
def test_esn_high_half_is_part_of_the_icv() -> None:
    for v in load_esp_vectors():
        if v.sa.esn:
            assert not OpensslContext(v.sa).esp_open(bytearray(v.wire), v.seq_hi ^ 1), v.id
            with pytest.raises(ValueError, match="ESN"):
                OpensslContext(v.sa).esp_open(bytearray(v.wire), None)


# ---------------------------------------------------------------------------------------------- properties
def every_transform() -> list[SecurityAssociation]:
    """One SA for every cipher, key length and ICV length, and every integrity algorithm beside null and AES-CBC."""
    sas = []
    for c in CIPHERS.values():
        pairs = [("none", icv) for icv in c.icvs] or [("hmac-sha256-128", 16), ("none", 0)]
        for length in c.key_lengths:
            for integ, icv in pairs:
                sas.append(esp(c.name, length, integ, icv))
    for i in INTEGRITIES.values():
        if not i.ah_only:
            sas += [esp(name, max(CIPHERS[name].key_lengths), i.name, i.icv) for name in ("null", "aes-cbc")]
    return sas


def esp(encr: str, length: int, integ: str, icv: int) -> SecurityAssociation:
    return SecurityAssociation(
        proto="esp", spi=0x100, encr=encr, encr_key=bytes(range(1, length + 1)), salt=b"salt"[: CIPHERS[encr].salt],
        integ=integ, integ_key=bytes(range(INTEGRITIES[integ].key)), icv_len=icv, allow_null=True,
    )  # fmt: skip


@pytest.mark.req("BASE-3", "BASE-8")
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_open_after_seal_is_the_identity(data: st.DataObject) -> None:
    sa = replace(data.draw(st.sampled_from(every_transform())), esn=data.draw(st.booleans()))
    blocks = data.draw(st.integers(1, 20))
    body = data.draw(st.binary(min_size=sa.block * blocks, max_size=sa.block * blocks))
    high = data.draw(st.integers(0, 2**32 - 1))
    head = data.draw(st.binary(min_size=8 + sa.iv_len, max_size=8 + sa.iv_len))
    derive = data.draw(st.booleans())
    context = OpensslContext(sa)
    packet = bytearray(head + body + bytes(sa.icv_len))
    context.esp_seal(packet, high, derive)
    sealed = bytes(packet)
    derived = derive and sa.encr.endswith("-cbc")
    assert (sealed[: len(head)] != head) == derived
    assert context.esp_open(packet, high)
    assert packet[len(head) :] == body + sealed[len(head) + len(body) :]
    if sa.icv_len:
        assert not context.esp_open(flipped(sealed, data.draw(st.integers(0, len(sealed) - 1))), high)
        assert context.esp_open(bytearray(sealed), high ^ 1) == (not sa.esn)


@pytest.mark.req("BASE-8")
@pytest.mark.parametrize("name", CBCS)
def test_a_derived_iv_is_the_encrypted_nonce(name: str) -> None:
    sa = esp(name, max(CIPHERS[name].key_lengths), "none", 0)
    block = sa.block
    nonce, body = bytes(range(block)), bytes(range(100, 100 + 2 * block))
    derived, given_iv = bytearray(bytes(8) + nonce + body), bytearray(bytes(8) + nonce + body)
    context = OpensslContext(sa)
    context.esp_seal(derived, None, derive_iv=True)
    iv = Plain(name, sa.encr_key).encrypt(bytes(block), nonce)
    given_iv[8 : 8 + block] = iv
    context.esp_seal(given_iv, None)
    assert derived == given_iv


@pytest.mark.req("BASE-8")
def test_lengths_that_do_not_fit() -> None:
    """Sealing a wrong length is the caller's mistake; opening one is a bad packet."""
    for sa in every_transform():
        context = OpensslContext(sa)
        for size in range(8 + sa.iv_len + sa.icv_len + 2 * sa.block):
            body = size - 8 - sa.iv_len - sa.icv_len
            if body > 0 and body % sa.block == 0:
                continue
            assert not context.esp_open(bytearray(size), None)
            with pytest.raises(ValueError, match="blocks"):
                context.esp_seal(bytearray(size), None)


@pytest.mark.req("BASE-3", "BASE-8")
@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("name", [name for name in INTEGRITIES if name != "none"])
def test_ah_of_every_algorithm(name: str, esn: bool) -> None:
    i = INTEGRITIES[name]
    sa = SecurityAssociation(proto="ah", spi=9, integ=name, integ_key=bytes(range(i.key)), salt=bytes(i.salt), esn=esn)
    context = OpensslContext(sa)
    msg, at = bytearray(b"\x45" + bytes(99)), 32
    msg[at : at + i.iv] = b"\x07" * i.iv
    field = context.ah_seal(msg, at, 5)
    assert len(field) == sa.icv_length == i.iv + i.icv
    assert msg[at : at + len(field)] == field
    msg[at : at + len(field)] = bytes(len(field))
    assert context.ah_open(msg, at, field, 5)
    assert context.ah_open(msg, at, field, 6) == (not esn)
    assert not context.ah_open(msg, at, flipped(field, 0), 5)
    assert not context.ah_open(flipped(msg, 99), at, field, 5)


def test_no_key_in_the_repr() -> None:
    for sa in every_transform():
        text = repr(OpensslContext(sa)) + repr(sa)
        assert sa.encr_key.hex()[:8] not in text or not sa.encr_key
        assert repr(sa.encr_key) not in text or not sa.encr_key
