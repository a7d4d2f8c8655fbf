"""AES-GCM (RFC 4106) and AES-GMAC (RFC 4543) over the work list.

Packet at `c_off`:  SPI(4) seq(4) IV(8) | c_len bytes | ICV.
The lattice of 64-byte vectors is laid 16 bytes early, at the ESP header: lane 0 of the first vector is the header,
whose keystream block (counter 1) is just E(J0), the tag mask, and whose GHASH slot is just the AAD block. So header,
tag mask and data are one uniform stream of 1 + ceil(c_len / 16) blocks, with no special case.

Stores at a packet's end are whole vectors, into the tail-room: masked ones cost several times as much on some CPUs.
Bulk: 4 vectors (16 blocks) in flight, with the GHASH of 4 vectors woven between the AES rounds of 4 others (sealing:
the previous ciphertext; opening: the current one). One vector at a time for the last 256 bytes. Packets need no
interleaving: out-of-order execution overlaps them.

Context row: 0 round keys; behind the last one the salt block xored with round key 0 (with AES-128 that is three cache
lines); 256 powers H^17 .. H^1 (times x, as in Gueron and Kounavis), then zeros up to CONTEXT.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from qfp_kernels.aes import encrypt_block, expand_key
from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import CONTEXT, CTL_PREFETCH, JOB_DONE, LINE, ST_WORK
from qfp_kernels.simd import (
    I8,
    I64,
    aes_rounds,
    aesenclast,
    bcast512,
    bcast_keys,
    bswap32i,
    bswap128,
    clmul00,
    clmul01,
    clmul10,
    clmul11,
    emit_x86,
    fold128,
    high64,
    int_to_ptr,
    keepn,
    lane0,
    lanes_type,
    load128,
    load512,
    load512n,
    loads512,
    low64,
    prefetch,
    pshufb,
    set128,
    setlane0,
    store,
    storen,
    stores512,
    swap64,
    v512,
    xor,
    xorall,
    zero512,
    zext512,
)

AHEAD = 8  # packets
SHORT = 96  # bytes; a packet of up to so many uses the three lowest lines of powers
POWERS = 17  # 16 data blocks and the length block
AT_POWERS = 256
AT_H16 = AT_POWERS + 16 * (POWERS - 16)
AT_H1 = AT_POWERS + 16 * (POWERS - 1)
assert AT_POWERS + 16 * POWERS + 64 <= CONTEXT  # a vector load at H^1 reads 48 bytes of zeros behind it

POLY = np.uint64(0xC200000000000000)
M32 = np.uint64(0xFFFFFFFF)
U1, U32, U63 = np.uint64(1), np.uint64(32), np.uint64(63)

# Counter blocks 1, 2, 3 … big-endian in the last word (table `counters`): 66 kB, a 1500-byte packet touches 1.5.
COUNTERS = np.zeros((4112, 4), np.uint32)
COUNTERS[:, 3] = (np.arange(4112) + 1).astype(">u4").view(np.uint32)
# The shuffle that moves the IV, bytes 8..15 of the header, to bytes 4..11 of the counter block (0x80 = zero).
IV_SHUFFLE_LO = np.uint64(int.from_bytes(bytes([128] * 4 + [8, 9, 10, 11]), "little"))
IV_SHUFFLE_HI = np.uint64(int.from_bytes(bytes([12, 13, 14, 15] + [128] * 4), "little"))


@inlined
def ghash_mul(a, b):
    """Product in GF(2^128), both operands bit-reflected and one of them times x."""
    poly = set128(U1, POLY)
    lo, hi = clmul00(a, b), clmul11(a, b)
    mi = clmul01(a, b) ^ clmul10(a, b) ^ swap64(lo) ^ clmul10(lo, poly)
    return hi ^ swap64(mi) ^ clmul10(mi, poly)


@inlined
def gcm_context(ctx_at, key_at, words, salt):
    """Fill a context row from a key of `words` * 4 bytes and the salt as a little-endian number."""
    rounds = expand_key(key_at, words, ctx_at)
    zero = np.uint64(0)
    h = bswap128(encrypt_block(ctx_at, rounds, set128(zero, zero)))
    lo, hi = low64(h), high64(h)
    carry = hi >> U63
    hi = (hi << U1) | (lo >> U63)
    lo = lo << U1
    if carry != zero:
        hi ^= POLY
        lo ^= U1
    h1 = set128(lo, hi)
    power = h1
    for i in range(POWERS):
        store(ctx_at + AT_POWERS + 16 * (POWERS - 1 - i), power)
        power = ghash_mul(h1, power)
    store(ctx_at + 16 * (rounds + 1), set128(np.uint64(salt), zero) ^ load128(ctx_at))


@intrinsic
def aes_ghash(typingctx, s, ks, x, powers_at):
    """AES middle rounds of s, with the GHASH products of x and the powers woven in -> (s0..s3, lo, mi, hi)."""
    n = s.count
    ret = types.UniTuple(v512, n + 3)

    def codegen(context, builder, sig, args):
        enc = emit_x86("llvm.x86.aesni.aesenc")
        multiply = {i: emit_x86("llvm.x86.pclmulqdq", imm=((I8, i),)) for i in (0, 1, 16, 17)}
        xs = [builder.extract_value(args[0], i) for i in range(n)]
        sums = {}

        def product(i, imm):
            at = builder.add(args[3], ir.Constant(I64, 64 * i))
            h = builder.load(int_to_ptr(builder, at), typ=lanes_type(512), align=1)
            r = multiply[imm](builder, 512, builder.extract_value(args[2], i), h)
            part = {0: 0, 1: 1, 16: 1, 17: 2}[imm]
            sums[part] = builder.xor(sums[part], r) if part in sums else r

        work = [(i, imm) for i in range(n) for imm in (0, 1, 16, 17)]
        rounds = ks.count - 2
        done = 0
        for r in range(1, rounds + 1):
            k = builder.extract_value(args[1], r)
            for i in range(n):
                xs[i] = enc(builder, 512, xs[i], k)
            want = len(work) * r // rounds
            for w in work[done:want]:
                product(*w)
            done = want
        agg = cgutils.get_null_value(context.get_value_type(ret))
        for i, v in enumerate([*xs, sums[0], sums[1], sums[2]]):
            agg = builder.insert_value(agg, v, i)
        return agg

    return ret(s, ks, x, types.int64), codegen


@inlined
def reduce(lo, mi, hi, poly):
    """The three partial products, folded over the lanes and reduced by the polynomial."""
    mi = mi ^ swap64(lo) ^ clmul10(lo, poly)
    hi = hi ^ swap64(mi) ^ clmul10(mi, poly)
    return fold128(hi)


@inlined
def ghash16(x, ctx, poly):
    """GHASH of 16 blocks in 4 vectors with H^16 .. H^1."""
    h = loads512(ctx + AT_H16, 4)
    mi = xorall(clmul01(x, h)) ^ xorall(clmul10(x, h))
    return zext512(reduce(xorall(clmul00(x, h)), mi, xorall(clmul11(x, h)), poly))


@inlined
def finish_tag(p, i, icv_len, tag, at, received, seal):
    """Write the ICV (sealing) or compare it in constant time (opening)."""
    if seal:
        if icv_len == 16:
            store(at, tag)
        else:
            storen(at, tag, icv_len)  # RFC 4106 section 6: 8- and 12-byte ICVs are the leading bytes
        p.c_ok[i] = np.uint8(JOB_DONE)
    else:
        d = tag ^ received if icv_len == 16 else keepn(tag ^ received, icv_len)
        p.c_ok[i] = np.uint8((low64(d) | high64(d)) == np.uint64(0))


@outlined
def fetch_context(ctx, keys, size):
    """Ask for a context that will be needed in a few packets (measured: 229 to 137 ns with 100,000 SAs at 1420 B).

    A short packet uses the keys and the lowest powers of H only.
    """
    for k in range(0, keys, LINE):
        prefetch(ctx + k)
    for k in range(AT_POWERS if size > SHORT else AT_H1 - 2 * LINE, AT_H1 + LINE, LINE):
        prefetch(ctx + k)


@inlined
def _associated_data(p, i, sa, hdr):
    """What the header's lane adds to GHASH to become the AAD block, and the AAD's length in bits."""
    if sa.esn == 0:
        iv_only = set128(np.uint64(0), ~np.uint64(0))
        return zext512(bswap128(hdr & iv_only)), np.uint64(64)  # cancels the IV: the AAD is SPI, seq
    word = low64(hdr)  # RFC 4106 section 5: the AAD is SPI, seq high, seq low
    hi = np.uint64(bswap32i(p.c_hi[i])) << U32
    return zext512(bswap128(hdr ^ set128((word & M32) | hi, word >> U32))), np.uint64(96)


@inlined
def _seal_bulk(q, left, c, ct, counter0, ks, acc, hdr, poly):
    """16 blocks at a time while more than 16 are left -> (acc, tag mask, bytes done)."""
    d = loads512(q, 4)
    s = aesenclast(aes_rounds(xor(loads512(ct, 4), counter0), ks), xor(d, ks[-1]))
    mask = lane0(s[0]) ^ hdr
    s = (setlane0(s[0], hdr), s[1], s[2], s[3])
    stores512(q, s)
    x = bswap128(s)
    j = 256
    while left - j > 256:
        d = loads512(q + j, 4)
        x = (x[0] ^ acc, x[1], x[2], x[3])
        r = aes_ghash(xor(loads512(ct + j, 4), counter0), ks, x, c + AT_H16)
        s = aesenclast((r[0], r[1], r[2], r[3]), xor(d, ks[-1]))
        stores512(q + j, s)
        acc = zext512(reduce(r[4], r[5], r[6], poly))
        x = bswap128(s)
        j += 256
    return ghash16((x[0] ^ acc, x[1], x[2], x[3]), c, poly), mask, j


@inlined
def _open_bulk(q, left, c, ct, counter0, ks, acc, hdr, poly):
    """As _seal_bulk, but what is hashed is what is read."""
    mask = hdr
    j = 0
    while left - j > 256:
        d = loads512(q + j, 4)
        x = bswap128(d)
        x = (x[0] ^ acc, x[1], x[2], x[3])
        r = aes_ghash(xor(loads512(ct + j, 4), counter0), ks, x, c + AT_H16)
        s = aesenclast((r[0], r[1], r[2], r[3]), xor(d, ks[-1]))
        if j == 0:
            mask = lane0(s[0]) ^ hdr
            s = (setlane0(s[0], hdr), s[1], s[2], s[3])
        stores512(q + j, s)
        acc = zext512(reduce(r[4], r[5], r[6], poly))
        j += 256
    return acc, mask, j


@inlined
def _tail(q, j, total, c, ct, counter0, ks, acc, mask, hdr, aad_bits, poly, seal):
    """The last 16 blocks at most, one vector at a time, then the length block -> tag."""
    lengths = zext512(set128(np.uint64((total - 16) * 8), aad_bits))
    h = load512(c + AT_H1)
    lo = clmul00(lengths, h)
    mi = clmul01(lengths, h) ^ clmul10(lengths, h)
    hi = clmul11(lengths, h)
    left = total - j
    powers = c + AT_POWERS + 16 * (POWERS - 1 - ((left + 15) >> 4)) - j
    while True:
        d = load512(q + j)  # whole vectors at the end too: tail-room takes what is too much
        s = aesenclast(aes_rounds(counter0 ^ load512(ct + j), ks), d ^ ks[-1])
        if j == 0:
            mask = lane0(s) ^ hdr
            s = setlane0(s, hdr)
        store(q + j, s)
        x = bswap128(keepn(s if seal else d, left)) ^ acc
        h = load512(powers + j)
        lo = lo ^ clmul00(x, h)
        mi = mi ^ clmul01(x, h) ^ clmul10(x, h)
        hi = hi ^ clmul11(x, h)
        left -= 64
        if left <= 0:
            break
        acc = zero512()
        j += 64
    return bswap128(reduce(lo, mi, hi, poly)) ^ mask


def _make(nkeys, seal):
    def gcm(p, t, n):
        arena, ctxs, ct = base(p.arena), base(t.ctx), base(t.counters)
        poly = bcast512(set128(U1, POLY))
        shuffle = set128(IV_SHUFFLE_LO, IV_SHUFFLE_HI)
        first = p.st[ST_WORK]
        far = t.ctl[CTL_PREFETCH] != 0
        for w in range(first, first + n):
            i = p.work[w]
            if far and w + AHEAD < first + n:
                soon = p.work[w + AHEAD]
                fetch_context(ctxs + np.int64(p.c_sa[soon]) * CONTEXT, 16 * nkeys + 16, p.c_len[soon])
            sa = t.sa[p.c_sa[i]]
            c = ctxs + np.int64(p.c_sa[i]) * CONTEXT
            q = arena + np.int64(p.c_off[i])
            total = np.int64(p.c_len[i]) + 16  # the header's lane counts as the first block
            ks = bcast_keys(c, nkeys)
            hdr = load128(q)
            counter0 = bcast512(pshufb(hdr, shuffle) ^ load128(c + 16 * nkeys))
            acc, aad_bits = _associated_data(p, i, sa, hdr)
            received = load128(q + total)  # before the last vector is stored over it
            mask, j = hdr, 0
            if total > 256:
                if seal:
                    acc, mask, j = _seal_bulk(q, total, c, ct, counter0, ks, acc, hdr, poly)
                else:
                    acc, mask, j = _open_bulk(q, total, c, ct, counter0, ks, acc, hdr, poly)
            tag = _tail(q, j, total, c, ct, counter0, ks, acc, mask, hdr, aad_bits, poly, seal)
            finish_tag(p, i, np.int64(sa.icv_len), tag, q + total, received, seal)
        return n

    return gcm


SEAL = {16: _make(11, True), 24: _make(13, True), 32: _make(15, True)}
OPEN = {16: _make(11, False), 24: _make(13, False), 32: _make(15, False)}


def gmac(p, t, n):
    """GMAC of the m_len bytes at m_off, nonce = salt and the 8 bytes at c_iv; the tag goes to the row's `mac`."""
    arena, ctxs, macs = base(p.arena), base(t.ctx), base(p.mac)
    poly = bcast512(set128(U1, POLY))
    first = p.st[ST_WORK]
    for w in range(first, first + n):
        i = p.work[w]
        c = ctxs + np.int64(p.c_sa[i]) * CONTEXT
        q = arena + np.int64(p.m_off[i])
        size = np.int64(p.m_len[i])
        iv = low64(load128(arena + np.int64(p.c_iv[i])))
        one = np.uint64(0x01000000) << U32  # counter 1, big-endian in the last word
        rounds = np.int64(t.sa[p.c_sa[i]].rounds)
        j0 = set128(iv << U32, (iv >> U32) | one) ^ load128(c + 16 * (rounds + 1)) ^ load128(c)
        mask = encrypt_block(c, rounds, j0)
        acc = zero512()
        left, j = size, 0
        while left > 256:
            x = bswap128(loads512(q + j, 4))
            acc = ghash16((x[0] ^ acc, x[1], x[2], x[3]), c, poly)
            j += 256
            left -= 256
        lengths = zext512(set128(np.uint64(0), np.uint64(size * 8)))
        h = load512(c + AT_H1)
        lo = clmul00(lengths, h)
        mi = clmul01(lengths, h) ^ clmul10(lengths, h)
        hi = clmul11(lengths, h)
        powers = c + AT_POWERS + 16 * (POWERS - 1 - ((left + 15) >> 4)) - j
        while left > 0:
            x0 = bswap128(load512n(q + j, min(left, 64))) ^ acc
            h0 = load512(powers + j)
            lo = lo ^ clmul00(x0, h0)
            mi = mi ^ clmul01(x0, h0) ^ clmul10(x0, h0)
            hi = hi ^ clmul11(x0, h0)
            acc = zero512()
            left -= 64
            j += 64
        store(macs + 64 * np.int64(i), bswap128(reduce(lo, mi, hi, poly)) ^ mask)
    return n
