"""AH (RFC 4302): the MAC input is the packet itself with its mutable fields and its ICV set to zero.

`ah_input` saves the header, clears what routers may change (section 3.3.3.1) and names the span; the MAC kernels run
over it; `ah_restore` puts the header back. With ESN the high half stands behind the packet while the MAC is computed.
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import SAVE, ST_WORK
from qfp_kernels.parse import HEADERS_MAX
from qfp_kernels.simd import bswap32i, ld8, ld64, load128, st8, st16, st32, st64, store


@inlined
def _immutable(kind):
    """IPv4 options that arrive as they were sent (RFC 4302 appendix A1): end, no-op, the three security options,
    router alert, sender directed multi-destination."""
    return kind in (0, 1, 130, 133, 134, 148, 149)


@outlined
def _clear4(at, size):
    """TOS, flags and offset, TTL, checksum, and mutable options of an IPv4 header of `size` bytes."""
    st8(at + 1, np.uint8(0))
    st16(at + 6, np.uint16(0))
    st8(at + 8, np.uint8(0))
    st16(at + 10, np.uint16(0))
    k = 20
    while k < size:
        kind = np.int64(ld8(at + k))
        if kind == 0:
            break
        step = 1 if kind == 1 or k + 1 >= size else max(np.int64(ld8(at + k + 1)), 2)
        if not _immutable(kind):
            for j in range(k, min(k + step, size)):
                st8(at + j, np.uint8(0))
        k += step


@inlined
def _arrived(at, routing, step):
    """A type 0 routing header and the destination as the last receiver will see them (RFC 4302 3.3.3.1.2)."""
    last = routing + step - 16
    final0, final1 = ld64(last), ld64(last + 8)
    k = last
    while k > routing + 8:
        st64(k, ld64(k - 16))
        st64(k + 8, ld64(k - 8))
        k -= 16
    st64(routing + 8, ld64(at + 24))
    st64(routing + 16, ld64(at + 32))
    st64(at + 24, final0)
    st64(at + 32, final1)
    st8(routing + 3, np.uint8(0))


@outlined
def _clear6(at, size):
    """Class, flow label, hop limit; options of hop-by-hop and destination headers whose change bit is set."""
    st32(at, np.uint32(0x60))
    st8(at + 7, np.uint8(0))
    nh = np.int64(ld8(at + 6))
    k = 40
    for _ in range(HEADERS_MAX):
        if k + 8 > size:
            return
        step = 8 if nh == 44 else (np.int64(ld8(at + k + 1)) + 1) * 8
        if nh == 0 or nh == 60:
            j = k + 2
            while j < k + step:
                if ld8(at + j) == 0:  # Pad1
                    j += 1
                    continue
                length = np.int64(ld8(at + j + 1)) if j + 1 < k + step else 0
                if ld8(at + j) & np.uint8(0x20):  # may change en route: its data counts as zero
                    for m in range(j + 2, min(j + 2 + length, k + step)):
                        st8(at + m, np.uint8(0))
                j += 2 + length
        if nh == 43 and ld8(at + k + 2) == 0 and ld8(at + k + 3) != 0 and 24 <= step <= size - k:
            _arrived(at, at + k, step)
        nh = np.int64(ld8(at + k))
        k += step


@inlined
def _headers_size(p, i):
    """Bytes of IP header with options or extension headers, up to AH."""
    return np.int64(p.l4[i]) - p.l3[i]


def ah_input(p, t, n):
    """Save and clear mutable fields, clear the ICV field, and set m_off, m_len for the MAC kernels."""
    arena, saves, macs = base(p.arena), base(p.save), base(p.mac)
    first = p.st[ST_WORK]
    for w in range(first, first + n):
        i = np.int64(p.work[w])
        sa = t.sa[p.c_sa[i]]
        at, size = arena + p.l3[i], min(_headers_size(p, i), SAVE)
        for k in range(0, size, 16):
            store(saves + SAVE * i + k, load128(at + k))
        if ld8(at) >> 4 == 4:
            _clear4(at, size)
        else:
            _clear6(at, size)
        icv = arena + p.c_icv[i]
        store(macs + 64 * i + 32, load128(icv))
        store(macs + 64 * i + 48, load128(icv + 16))
        for k in range(icv, icv + np.int64(sa.icv_len)):  # not its padding, which counts as it was sent
            st8(k, np.uint8(0))
        p.c_iv[i] = p.l4[i] + 12
        p.m_off[i] = p.l3[i]
        p.m_len[i] = p.c_len[i]
        if sa.esn != 0:
            st32(at + p.c_len[i], bswap32i(p.c_hi[i]))
            p.m_len[i] += 4
    return n


def ah_restore(p, t, n):
    """The header as it was."""
    arena, saves = base(p.arena), base(p.save)
    first = p.st[ST_WORK]
    for w in range(first, first + n):
        i = np.int64(p.work[w])
        at, size = arena + p.l3[i], min(_headers_size(p, i), SAVE)
        for k in range(size):
            st8(at + k, ld8(saves + SAVE * i + k))
    return n
