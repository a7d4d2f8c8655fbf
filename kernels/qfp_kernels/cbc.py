"""AES-CBC (RFC 3602) and AES-CTR (RFC 3686) over the work list.

CBC chains within a packet, so sealing takes 16 packets in lockstep, lane = packet, longest first. The IV is not given:
`encap` leaves the packet's number in the IV field, and chaining starts there from zero, so the first ciphertext block,
which is the IV, is E_k(number): unpredictable without the key, and never the same twice (SP 800-38A appendix C).
Opening is parallel within the packet and needs no lanes.

Context row: 0 round keys (encryption outbound and for CTR, decryption for CBC inbound), 240 CTR salt.
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.jit import outlined
from qfp_kernels.lanes import decrypt_rounds, encrypt_lanes, gather_blocks, scatter_blocks, shift_in
from qfp_kernels.layout import CONTEXT, ST_WORK
from qfp_kernels.simd import (
    aes_rounds,
    aesdeclast,
    aesenc,
    aesenclast,
    bcast512,
    bcast_keys,
    load128,
    load512,
    loads512,
    low64,
    set128,
    st64,
    store,
    stores512,
    xor,
    zero128,
    zero512,
)

AT_SALT = 240  # in the context row: CTR's nonce and round key 0 in one
AT_KEYS = 0  # of the 16 lanes' schedules in scratch: 15 rounds x 4 vectors
AT_IDLE = 15 * 256  # where lanes that have ended read and write: 16 bytes x up to RUN/16 blocks
AT_POINTERS = AT_IDLE + 1024
RUN = 512  # bytes after which ended lanes are pointed at the same idle place again
FEW = 5  # so few packets are quicker one after the other than in lockstep
U32 = np.uint64(32)


@outlined
def _chain(c, rounds, q, size):
    """One packet, block after block."""
    s = zero128()
    j = 0
    while j < size:
        s = s ^ load128(q + j) ^ load128(c)
        for r in range(1, rounds):
            s = aesenc(s, load128(c + 16 * r))
        s = aesenclast(s, load128(c + 16 * rounds))
        store(q + j, s)
        j += 16


def _make_seal(rounds):
    def cbc_seal(p, t, n):
        arena, ctxs = base(p.arena), base(t.ctx)
        scratch = base(p.scratch)
        keys, idle, at = scratch + AT_KEYS, scratch + AT_IDLE, scratch + AT_POINTERS
        left = np.empty(16, np.int64)
        first = p.st[ST_WORK]
        k = 0
        while k < n:
            m = min(16, n - k)
            if m <= FEW:
                for w in range(first + k, first + k + m):
                    i = p.work[w]
                    _chain(ctxs + np.int64(p.c_sa[i]) * CONTEXT, rounds, arena + p.c_off[i] + 8, p.c_len[i] + 16)
                break
            for lane in range(16):
                if lane < m:
                    i = p.work[first + k + lane]
                    st64(at + 8 * lane, np.uint64(arena + p.c_off[i] + 8))
                    st64(at + 128 + 8 * lane, np.uint64(ctxs + np.int64(p.c_sa[i]) * CONTEXT))
                    left[lane] = p.c_len[i] + 16
                else:
                    st64(at + 8 * lane, np.uint64(idle))
                    st64(at + 128 + 8 * lane, np.uint64(ctxs))
                    left[lane] = 0
            for r in range(rounds + 1):
                stores512(keys + 256 * r, gather_blocks(at + 128, 16 * r))
            zero = zero512()
            s = (zero, zero, zero, zero)
            j = 0
            active = m
            while active > 0:
                stop = min(left[active - 1], j + RUN)  # the shortest active lane
                for lane in range(active, 16):
                    st64(at + 8 * lane, np.uint64(idle - j))
                while j < stop:
                    s = encrypt_lanes(xor(s, gather_blocks(at, j)), keys, rounds)
                    scatter_blocks(at, j, s)
                    j += 16
                while active > 0 and left[active - 1] <= j:
                    active -= 1
            k += m
        return n

    return cbc_seal


def _make_open(nkeys):
    def cbc_open(p, t, n):
        arena, ctxs = base(p.arena), base(t.ctx)
        first = p.st[ST_WORK]
        for w in range(first, first + n):
            i = p.work[w]
            if p.c_ok[i] == 0:
                continue
            q = arena + p.c_off[i] + 24
            size = np.int64(p.c_len[i])
            ks = bcast_keys(ctxs + np.int64(p.c_sa[i]) * CONTEXT, nkeys)
            carry = bcast512(load128(q - 16))
            j = 0
            while j + 256 <= size:
                d = loads512(q + j, 4)
                s = decrypt_rounds(xor(d, ks[0]), ks)
                before = (shift_in(d[0], carry), shift_in(d[1], d[0]), shift_in(d[2], d[1]), shift_in(d[3], d[2]))
                carry = d[3]
                stores512(q + j, aesdeclast(s, xor(before, ks[nkeys - 1])))
                j += 256
            while j < size:
                d0 = load512(q + j)
                s0 = decrypt_rounds(d0 ^ ks[0], ks)
                s0 = aesdeclast(s0, shift_in(d0, carry) ^ ks[nkeys - 1])
                carry = d0
                store(q + j, s0)  # the last one runs over the ICV, which has been verified, into the tail-room
                j += 64
        return n

    return cbc_open


def _make_ctr(nkeys):
    def ctr(p, t, n):
        arena, ctxs, counters = base(p.arena), base(t.ctx), base(t.counters)
        first = p.st[ST_WORK]
        for w in range(first, first + n):
            i = p.work[w]
            if p.c_ok[i] == 0:
                continue
            c = ctxs + np.int64(p.c_sa[i]) * CONTEXT
            q = arena + p.c_off[i] + 16
            size = np.int64(p.c_len[i])
            ks = bcast_keys(c, nkeys)
            iv = low64(load128(q - 8))
            # RFC 3686 section 4: nonce, IV, count
            counter0 = bcast512(set128(iv << U32, iv >> U32) ^ load128(c + AT_SALT))
            j = 0
            while j + 256 <= size:
                s = aes_rounds(xor(loads512(counters + j, 4), counter0), ks)
                stores512(q + j, aesenclast(s, xor(loads512(q + j, 4), ks[nkeys - 1])))
                j += 256
            while j < size:
                s0 = aes_rounds(load512(counters + j) ^ counter0, ks)
                store(q + j, aesenclast(s0, load512(q + j) ^ ks[nkeys - 1]))
                j += 64
        return n

    return ctr


SEAL = {16: _make_seal(10), 24: _make_seal(12), 32: _make_seal(14)}
OPEN = {16: _make_open(11), 24: _make_open(13), 32: _make_open(15)}
CTR = {16: _make_ctr(11), 24: _make_ctr(13), 32: _make_ctr(15)}
