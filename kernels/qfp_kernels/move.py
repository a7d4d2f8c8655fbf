"""Moving bytes about: copies that touch nothing beyond either end."""

from qfp_kernels.jit import inlined
from qfp_kernels.simd import ld8, ld64, load512, load512n, st8, st64, store, storen


@inlined
def copy(to, at, size):
    """Copy exactly `size` bytes: the last 64 overlap what was copied, so neither side is touched beyond its end.

    The two places must not overlap.
    """
    if size < 64:
        storen(to, load512n(at, size), size)
        return
    last = size - 64
    for k in range(0, last, 64):
        store(to + k, load512(at + k))
    store(to + last, load512(at + last))


@inlined
def move_left(at, size, by):
    """Move `size` bytes at address `at` by `by` bytes to the left; by >= 8, and the places may overlap."""
    k = 0
    while k < size:  # forward order: the destination lies before the source
        if size - k >= 8:
            st64(at + k - by, ld64(at + k))
            k += 8
        else:
            st8(at + k - by, ld8(at + k))
            k += 1
