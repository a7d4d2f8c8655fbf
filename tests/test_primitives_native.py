"""Every AES-GCM and GMAC vector through the native engine's own primitives: key schedule, AES rounds, GHASH, contexts.

The packet kernels only take the AAD that ESP has (test_vectors_native.py runs those); here the same primitives are put
together in the textbook way, so that vectors with any AAD are judged too, the invalid ones included.
"""

from typing import Any

import numpy as np
import pytest
from vectors_io import Primitive, load_primitives

from qfp_kernels import features
from qfp_kernels.aes import encrypt_block
from qfp_kernels.gcm import AT_H1, gcm_context, ghash_mul
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CONTEXT, aligned
from qfp_kernels.simd import bswap32i, bswap128, high64, load128, low64, set128, store

BLOCK = 16
pytestmark = pytest.mark.skipif(not features.NATIVE, reason="this CPU has no AES instructions")


@kernel
def textbook_gcm(ctx: Any, key: Any, iv: Any, aad: Any, text: Any, sizes: Any, out: Any, tag: Any, seal: bool) -> None:
    """NIST SP 800-38D section 7 over buffers padded to whole blocks; sizes: bytes of key, AAD, text."""
    at = ctx.ctypes.data
    gcm_context(at, key.ctypes.data, sizes[0] // 4, np.uint64(0))
    rounds = sizes[0] // 4 + 6
    h = load128(at + AT_H1)
    nonce = load128(iv.ctypes.data)  # 12 bytes and zeros
    zero = np.uint64(0)
    acc = set128(zero, zero)
    for k in range(0, (sizes[1] + 15) // 16 * 16, 16):
        acc = ghash_mul(h, acc ^ bswap128(load128(aad.ctypes.data + k)))
    for k in range(0, (sizes[2] + 15) // 16 * 16, 16):
        count = np.uint64(bswap32i(np.uint32(k // 16 + 2))) << np.uint64(32)
        stream = encrypt_block(at, rounds, set128(low64(nonce), high64(nonce) | count))
        store(out.ctypes.data + k, load128(text.ctypes.data + k) ^ stream)
        for j in range(max(0, sizes[2] - k), 16):
            out[k + j] = 0
        hashed = out.ctypes.data if seal else text.ctypes.data
        acc = ghash_mul(h, acc ^ bswap128(load128(hashed + k)))
    lengths = set128(np.uint64(sizes[2] * 8), np.uint64(sizes[1] * 8))
    acc = ghash_mul(h, acc ^ lengths)
    one = np.uint64(0x01000000) << np.uint64(32)
    mask = encrypt_block(at, rounds, set128(low64(nonce), high64(nonce) | one))
    store(tag.ctypes.data, bswap128(acc) ^ mask)


def padded(data: bytes) -> np.ndarray:
    """Bytes with zeros to a whole block, and one block at least."""
    room = max(BLOCK, -(-len(data) // BLOCK) * BLOCK)
    return np.frombuffer(bytearray(data.ljust(room, b"\0")), np.uint8)


def native(v: Primitive, text: bytes, seal: bool) -> tuple[bytes, bytes]:
    """(text out, tag) of a vector's key, IV and AAD over `text`."""
    ctx, tag, data = aligned(CONTEXT, "u1"), np.zeros(BLOCK, np.uint8), padded(text)
    out = np.zeros_like(data)
    sizes = np.array([len(v.key), len(v.aad), len(text)], np.int64)
    key = np.frombuffer(bytearray(v.key.ljust(32, b"\0")), np.uint8)
    textbook_gcm(ctx, key, padded(v.iv), padded(v.aad), data, sizes, out, tag, seal)
    return out[: len(text)].tobytes(), tag.tobytes()


@pytest.mark.req("BASE-3", "BASE-8")
@pytest.mark.parametrize("alg", ["aes-gcm", "aes-gmac"])
def test_every_vector(alg: str) -> None:
    """Valid ones: text and tag both ways; invalid ones: the tag is another. None is left out."""
    vectors = [v for v in load_primitives() if v.alg == alg]
    assert {len(v.iv) for v in vectors} == {12} and {len(v.tag) for v in vectors} == {BLOCK}
    assert any(not v.valid for v in vectors) and any(v.valid for v in vectors)
    for v in vectors:
        opened, tag = native(v, v.ct, seal=False)
        assert (tag == v.tag) == v.valid, v.id
        if v.valid:
            assert opened == (v.text if alg == "aes-gcm" else b""), v.id
            text = v.text if alg == "aes-gcm" else b""
            assert native(v, text, seal=True) == (v.ct, v.tag), v.id
