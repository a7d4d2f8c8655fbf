"""Internet checksums (RFC 1071), whole and incremental (RFC 1624)."""

import numpy as np

from qfp_kernels.jit import inlined, outlined
from qfp_kernels.simd import ld8, ld16, ld32, ld64

M16, M32 = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
U16, U32 = np.uint64(16), np.uint64(32)


@inlined
def fold(s):
    """One's-complement sum of a 64-bit accumulator of 16- or 32-bit words, folded to 16 bits."""
    s = (s & M32) + (s >> U32)
    s = (s & M16) + (s >> U16)
    s = (s & M16) + (s >> U16)
    return (s & M16) + (s >> U16)


@inlined
def less_one_hop(checksum):
    """IPv4 checksum, in memory byte order, after the TTL went down by one: it grows by one (RFC 1624, m' = m - 1)."""
    c = np.uint32(checksum) + np.uint32(1)
    return np.uint16(c + np.uint32(c >= np.uint32(0xFFFF)))


@outlined
def header_sum(at, words):
    """Folded sum of `words` 32-bit words, in memory byte order (as all 16-bit values that meet it must be)."""
    s = np.uint64(0)
    for k in range(words):
        s += np.uint64(ld32(at + 4 * k))
    return fold(s)


@inlined
def adjust(checksum, old, new):
    """Checksum after a 16-bit word changed from old to new, all in memory byte order (RFC 1624 equation 3)."""
    return np.uint16(~fold(np.uint64(np.uint16(~checksum)) + np.uint64(np.uint16(~old)) + np.uint64(new)) & M16)


@outlined
def byte_sum(at, size):
    """Folded sum of `size` bytes at any address, in memory byte order; an odd last byte is padded with zero."""
    s = np.uint64(0)
    k = 0
    while k + 8 <= size:
        w = ld64(at + k)
        s += (w & M32) + (w >> U32)
        k += 8
    if k + 4 <= size:
        s += np.uint64(ld32(at + k))
        k += 4
    if k + 2 <= size:
        s += np.uint64(ld16(at + k))
        k += 2
    if k < size:
        s += np.uint64(ld8(at + k))
    return fold(s)
