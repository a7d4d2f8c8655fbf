"""compress: IPComp with LZS between the numbers and ESP (RFC 3173, 2395), for SAs that have it (PF-9).

Sizes were planned for the packet as it was, and what does not get smaller goes uncompressed, so a packet only ever
shrinks. `expand_row` is the reverse, a step of `decap`.
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.drops import Drop
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    ARENA_ALL,
    CTL_FRAME_ROWS,
    JUMBO,
    NOTE_COMPRESSED,
    NOTE_EXPANDED,
    NOTE_INCOMPRESSIBLE,
    SLOT_EXTRA,
    ST_ARG,
    ST_JUMBO,
    ST_RESULT,
    ST_SLOT,
)
from qfp_kernels.lzs import compress as lzs_compress
from qfp_kernels.lzs import expand as lzs_expand
from qfp_kernels.move import copy
from qfp_kernels.parse import be16, insertion_point
from qfp_kernels.rows import jumbo_slot
from qfp_kernels.simd import bswap16i, bswap32i, ld8, ld32, st8, st16

COMP_BAD = int(Drop.COMP_BAD)
IPCOMP, HEADER = 108, 4
CPI_LZS = 3  # the well-known one (RFC 2395 section 3): nothing is negotiated here
WORTH = 90  # bytes: shorter payloads hardly ever get smaller (RFC 2395 section 2.3)
LONGEST = 65535


@inlined
def _squeeze(p, at, size):
    """Compress `size` bytes at an address in place, behind an IPComp header's space; the new size, or -1."""
    to = base(p.arena) + p.st[ST_SLOT]
    if size < WORTH or p.st[ST_SLOT] + size > ARENA_ALL:
        return -1
    got = lzs_compress(at, size, to, size - HEADER - 1, base(p.lzs))
    if got < 0:
        return -1
    copy(at + HEADER, to, got)
    return got + HEADER


@outlined
def _one(p, i, sa):
    arena = base(p.arena)
    at, octet = np.int64(p.l3[i]), np.int64(0)
    next_header = np.uint8(4 if p.fam[i] == 4 else 41)
    if sa.mode != 0:
        at, octet = insertion_point(p, i)
        next_header = ld8(arena + octet)
    label = np.int64(bswap32i(ld32(arena + p.l3[i]))) & 0xFFFFF
    head = at - p.l3[i]
    size = _squeeze(p, arena + at, np.int64(p.ip_len[i]) - head)
    if size < 0:
        p.notes[i] |= np.uint8(NOTE_INCOMPRESSIBLE)
        return
    st8(arena + at, next_header)
    st8(arena + at + 1, np.uint8(0))
    st16(arena + at + 2, bswap16i(np.uint16(CPI_LZS)))
    p.ip_len[i] = head + size
    p.nxt[i] = np.uint8(IPCOMP)
    p.mtu[i] = np.int32(label)  # the outer header may want the flow label, which is compressed now
    p.notes[i] |= np.uint8(NOTE_COMPRESSED)


def compress(p, t, n):
    if t.ctl[CTL_FRAME_ROWS] == 0:
        return n
    for k in range(n):
        i = np.int64(p.tx[k])
        sa = t.sa[p.sa[i]]
        if sa.comp != 0:
            _one(p, i, sa)
    return n


def expand_row(p, t, i):
    """The step: undo IPComp of st[ST_RESULT] bytes at arena offset st[ST_ARG]. Returns the arena offset of the payload,
    -1 = malformed; its bytes are in st[ST_RESULT] then, its next header in st[ST_ARG].

    A stream expands into at most a packet's length, and into memory of its own.
    """
    none = np.int64(-1)
    at, size = p.st[ST_ARG], p.st[ST_RESULT]
    arena = base(p.arena)
    room = min(LONGEST, JUMBO - SLOT_EXTRA - p.st[ST_JUMBO], ARENA_ALL - SLOT_EXTRA - p.st[ST_SLOT])
    if size <= HEADER or be16(arena + at + 2) != CPI_LZS or room <= 0:
        return none
    before, jumbo = p.st[ST_SLOT], p.st[ST_JUMBO]
    off = jumbo_slot(p, room)
    got = np.int64(lzs_expand(arena + at + HEADER, size - HEADER, arena + off, room))
    p.st[ST_SLOT], p.st[ST_JUMBO] = before, jumbo  # take no more than what it became
    if got < 0:
        return none
    jumbo_slot(p, got)
    p.notes[i] |= np.uint8(NOTE_EXPANDED)
    p.st[ST_ARG], p.st[ST_RESULT] = np.int64(ld8(arena + at)), got
    return off
