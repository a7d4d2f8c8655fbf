"""AES key schedules (FIPS 197 section 5.2) as kernels: set-up of 100,000 SAs must not be Python work."""

import numpy as np

from qfp_kernels.jit import inlined, outlined
from qfp_kernels.simd import aesenc, aesenclast, aesimc, ld32, load128, low64, set128, st32, store

U32 = np.uint64(32)


@inlined
def sub_word(w):
    """SubBytes of four bytes. With four equal columns ShiftRows changes nothing, so one AESENCLAST does it."""
    x = np.uint64(w) | (np.uint64(w) << U32)
    zero = np.uint64(0)
    return np.uint32(low64(aesenclast(set128(x, x), set128(zero, zero))) & np.uint64(0xFFFFFFFF))


@outlined
def expand_key(key_at, words, out_at):
    """Write the round keys of a `words` * 4 byte key at address key_at to out_at; returns the number of rounds."""
    rounds = words + 6
    for i in range(words):
        st32(out_at + 4 * i, ld32(key_at + 4 * i))
    rcon = np.uint32(1)
    w = ld32(out_at + 4 * (words - 1))
    for i in range(words, 4 * (rounds + 1)):
        if i % words == 0:
            w = sub_word((w >> np.uint32(8)) | (w << np.uint32(24))) ^ rcon  # RotWord, bytes little-endian
            rcon = (rcon << np.uint32(1)) ^ (np.uint32(0x11B) if rcon & np.uint32(0x80) else np.uint32(0))
        elif words == 8 and i % words == 4:
            w = sub_word(w)
        w ^= ld32(out_at + 4 * (i - words))
        st32(out_at + 4 * i, w)
    return rounds


@outlined
def invert_keys(keys_at, rounds):
    """Round keys for AESDEC in place: reversed, the middle ones through InvMixColumns (FIPS 197 section 5.3.5)."""
    lo, hi = 0, rounds
    while lo < hi:
        a, b = load128(keys_at + 16 * lo), load128(keys_at + 16 * hi)
        if lo > 0:
            a, b = aesimc(a), aesimc(b)
        store(keys_at + 16 * lo, b)
        store(keys_at + 16 * hi, a)
        lo += 1
        hi -= 1
    if lo == hi:
        store(keys_at + 16 * lo, aesimc(load128(keys_at + 16 * lo)))


@inlined
def encrypt_block(keys_at, rounds, x):
    """One block under round keys in memory (set-up and single blocks; bulk work keeps its keys in registers)."""
    x = x ^ load128(keys_at)
    for r in range(1, rounds):
        x = aesenc(x, load128(keys_at + 16 * r))
    return aesenclast(x, load128(keys_at + 16 * rounds))
