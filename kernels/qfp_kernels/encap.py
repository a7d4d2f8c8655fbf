"""encap: outer headers, IV, padding and trailer around each packet, in place, from the SA's prepared header.

Tunnel mode writes the whole outer header (IP, AH, UDP, ESP) from the SA's template in front of the inner packet, which
never moves, and patches what differs by packet. Transport mode moves the IP header to the left instead and inserts the
rest behind it. Nothing is dropped here: `plan` has let through only what fits. What follows sees only the crypto job:
c_off, c_len, c_icv.
"""

import numpy as np

from qfp_kernels.checksum import fold, header_sum
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Verdict
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import FRAG_DF, JOB_DUE, ST_AH
from qfp_kernels.move import move_left
from qfp_kernels.parse import insertion_point
from qfp_kernels.simd import (
    bswap16i,
    bswap32i,
    bswap64i,
    ld8,
    ld32,
    ld64,
    load128,
    st8,
    st16,
    st32,
    st64,
    store,
)

STAGE_ENCAP = STAGES.index("encap")
FORWARDED = np.uint8(Verdict.FORWARDED)
U8, U16, U32, U48 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(48)
M16 = np.uint64(0xFFFF)
PADDING_LO, PADDING_HI = np.uint64(0x0807060504030201), np.uint64(0x100F0E0D0C0B0A09)  # RFC 4303 2.4: 1, 2, 3 …


@inlined
def _trailer(at, size, block, next_header):
    """Pad `size` bytes to the block with room for two, and write the trailer at their end; returns the new size."""
    pad = -(size + 2) & (block - 1)
    end = at + size
    st64(end, PADDING_LO)
    st64(end + 8, PADDING_HI)
    st8(end + pad, np.uint8(pad))
    st8(end + pad + 1, np.uint8(next_header))
    return size + pad + 2


@inlined
def _nonce(at, sa, seq):
    """The IV field: the 64-bit number (counter modes), or for CBC the block that sealing turns into the IV."""
    if sa.nonce == 1:
        st64(at, bswap64i(seq))
    elif sa.nonce == 2:
        st64(at, np.uint64(0))
        st64(at + 8, bswap64i(seq))
    elif sa.nonce == 3:
        st64(at, bswap64i(seq))


@inlined
def _outer4(p, i, at, sa, total):
    """An outer IPv4 header from the template: DSCP and ECN of the inner one (RFC 6040), length, id, DF, checksum."""
    tos = np.uint64(p.tos[i]) << U8
    df = sa.df == 2 or (sa.df == 0 and (p.frag[i] & FRAG_DF) != 0)
    length, ident = np.uint64(bswap16i(np.uint16(total))), np.uint64(bswap16i(p.ip_id[i]))
    flags = np.uint64(0x0040) if df else np.uint64(0)
    s = fold(np.uint64(sa.csum) + tos + length + ident + flags)
    st64(at, ld64(sa.hdr) | tos | length << U16 | ident << U32 | flags << U48)
    st64(at + 8, ld64(sa.hdr + 8) | (~s & M16) << U16)
    st32(at + 16, ld32(sa.hdr + 16))


@outlined
def _outer6(p, i, at, inner, sa, total):
    """Patch an outer IPv6 header: traffic class, flow label (copied from an inner IPv6 packet), payload length."""
    word = np.uint32(6) << np.uint32(28) | np.uint32(p.tos[i]) << np.uint32(20)
    if sa.copy_label != 0 and p.fam[i] == 6:
        word |= (bswap32i(ld32(inner)) if p.nxt[i] == 0 else np.uint32(p.mtu[i])) & np.uint32(0xFFFFF)
    st32(at, bswap32i(word))
    st16(at + 4, bswap16i(np.uint16(total - 40)))


@outlined
def _ah_fields(p, t, i, at, sa):
    """Number of the AH header of a bundle or of an AH SA at address `at`."""
    seq = p.seq[i] if sa.proto == 51 else p.seq2[i]
    st32(at + 8, bswap32i(np.uint32(seq)))
    outer = t.sa[sa.next] if sa.next >= 0 else sa
    if outer.proto == 51 and outer.nonce == 1:  # AES-GMAC: the IV leads the ICV field (RFC 4543 section 4)
        st64(at + 12, bswap64i(seq))


@inlined
def _job(p, i, s, sa, esp, size):
    """The crypto job of an ESP packet whose header stands at arena offset esp and whose trailer is written."""
    p.c_sa[i] = s
    p.c_off[i] = esp
    p.c_len[i] = size
    p.c_icv[i] = esp + 8 + sa.iv_len + size
    p.c_hi[i] = np.uint32(p.seq[i] >> U32)
    p.c_ok[i] = np.uint8(JOB_DUE)


@inlined
def _tunnel(p, t, i, s, sa):
    """Tunnel mode (RFC 4303 section 3.1.2)."""
    arena = base(p.arena)
    inner = np.int64(p.l3[i])
    size = np.int64(p.ip_len[i])
    hdr = np.int64(sa.hdr_len)
    next_header = 4 if p.fam[i] == 4 else 41
    if p.nxt[i] != 0:
        next_header = np.int64(p.nxt[i])
    esp = sa.proto == 50
    start = inner - hdr - (np.int64(sa.iv_len) if esp else 0)  # AH's IV is part of its header
    if esp:
        size = _trailer(arena + inner, size, np.int64(sa.block), next_header)
        total = hdr + sa.iv_len + size + sa.icv_len
    else:
        total = hdr + size
    at = arena + start
    if sa.fam == 4:
        _outer4(p, i, at, sa, total)
        if hdr == 28:  # IPv4 and ESP, nothing else
            st32(at + 20, ld32(sa.hdr + 20))
        else:
            _template(at + 20, sa.hdr + 20, hdr - 20)
    else:
        _template(at, sa.hdr, hdr)
        _outer6(p, i, at, arena + inner, sa, total)
    if sa.ah_at != 255:
        ah = at + np.int64(sa.ah_at)
        _ah_fields(p, t, i, ah, sa)
        if not esp:
            st8(ah, np.uint8(next_header))
    if sa.natt != 0:
        st16(at + sa.udp_at + 4, bswap16i(np.uint16(total - sa.udp_at)))
    if esp:
        e = start + sa.esp_at
        st32(arena + e + 4, bswap32i(np.uint32(p.seq[i])))
        _nonce(arena + e + 8, sa, p.seq[i])
        _job(p, i, s, sa, e, size)
    p.l3[i] = start
    p.ip_len[i] = total
    if sa.fam == 4:
        p.l4[i] = start + 20
    else:
        p.l4[i] = start + 40


@outlined
def _template(at, hdr, size):
    """Copy a prepared header, at most 96 bytes, without writing behind it (the inner packet stands there)."""
    k = 0
    while size - k >= 16:
        store(at + k, load128(hdr + k))
        k += 16
    while size - k >= 4:
        st32(at + k, ld32(hdr + k))
        k += 4


@outlined
def _transport(p, t, i, s, sa):
    """Transport mode (RFC 4303 section 3.1.1): ESP or AH behind the IP header."""
    arena = base(p.arena)
    l3 = np.int64(p.l3[i])
    split, octet = insertion_point(p, i)
    size = np.int64(p.ip_len[i]) - (split - l3)
    ip = 20 if sa.fam == 4 else 40
    esp = sa.proto == 50
    insert = np.int64(sa.hdr_len) - ip + (np.int64(sa.iv_len) if esp else 0)  # AH, UDP, ESP and IV
    nh_at = arena + octet
    next_header = ld8(nh_at) if p.nxt[i] == 0 else p.nxt[i]
    if esp:
        size = _trailer(arena + split, size, np.int64(sa.block), next_header)
        total = split - l3 + insert + size + sa.icv_len
    else:
        total = split - l3 + insert + size
    st8(nh_at, ld8(sa.hdr + 9) if sa.fam == 4 else ld8(sa.hdr + 6))  # UDP, AH or ESP, as in the template
    move_left(arena + l3, split - l3, insert)
    at = arena + l3 - insert
    _template(arena + split - insert, sa.hdr + ip, np.int64(sa.hdr_len) - ip)
    if sa.fam == 4:
        st16(at + 2, bswap16i(np.uint16(total)))
        st16(at + 10, np.uint16(0))
        st16(at + 10, np.uint16(~header_sum(at, (split - l3) >> 2) & M16))
    else:
        st16(at + 4, bswap16i(np.uint16(total - 40)))
    moved = split - insert - ip  # template offsets count from here
    if sa.ah_at != 255:
        ah = arena + moved + np.int64(sa.ah_at)
        _ah_fields(p, t, i, ah, sa)
        if not esp:
            st8(ah, next_header)
    if sa.natt != 0:
        st16(arena + moved + sa.udp_at + 4, bswap16i(np.uint16(size + insert + sa.icv_len)))
    if esp:
        e = moved + sa.esp_at
        st32(arena + e + 4, bswap32i(np.uint32(p.seq[i])))
        _nonce(arena + e + 8, sa, p.seq[i])
        _job(p, i, s, sa, e, size)
    p.l3[i] = l3 - insert
    p.ip_len[i] = total
    p.l4[i] = split - insert


def encap(p, t, n):
    kept, ahs = 0, 0
    for k in range(n):
        i = p.tx[k]
        s = np.int64(p.sa[i])
        sa = t.sa[s]
        if sa.mode == 0:
            _tunnel(p, t, i, s, sa)
        else:
            _transport(p, t, i, s, sa)
        p.verdict[i] = FORWARDED
        p.stage[i] = np.uint8(STAGE_ENCAP)
        p.n_out[i] = 1
        outer = sa.next if sa.next >= 0 else np.int32(s)
        p.spi[i] = t.sa[outer].spi
        if t.sa[outer].proto == 51:
            p.ah[ahs] = i
            ahs += 1
        if sa.proto == 50:
            p.tx[kept] = i
            kept += 1
    p.st[ST_AH] = ahs
    return kept
