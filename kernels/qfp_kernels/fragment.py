"""Fragmentation: which packets, before or after encryption, and how.

Before encryption a packet becomes rows of equal size (PF-3), each protected on its own. After encryption it stays one
row and is cut while it is written out (`pieces`, `write_piece`): the copy into the output block happens anyway, so
the second header is all that a fragment costs. A packet that leaves in the clear is cut the same way.
"""

import numpy as np

from qfp_kernels.checksum import fold, header_sum
from qfp_kernels.columns import base
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import FRAG, FRAG_DF, FRAG_LATER, IS_PIECE
from qfp_kernels.move import copy
from qfp_kernels.rows import slot, spare, spare_left
from qfp_kernels.simd import bswap16i, bswap32i, ld8, ld16, ld32, ld64, st8, st16, st32, st64

BEFORE, AFTER, REFUSE = 0, 1, 2
# The guide's dependency table (chapter 3, table 2; PF-1): feature state, `crypto ipsec df-bit`, packet's DF, result.
DEPENDENCY = (
    ("enabled", "clear", 0, BEFORE),
    ("enabled", "clear", 1, BEFORE),
    ("disabled", "clear", 0, AFTER),
    ("disabled", "clear", 1, AFTER),
    ("enabled", "set", 0, BEFORE),
    ("enabled", "set", 1, REFUSE),
    ("disabled", "set", 0, AFTER),
    ("disabled", "set", 1, REFUSE),
    ("enabled", "copy", 0, BEFORE),
    ("enabled", "copy", 1, REFUSE),
    ("disabled", "copy", 0, AFTER),
    ("disabled", "copy", 1, REFUSE),
)
# The same for an IPv6 packet on its way through (PF-6): only its source may fragment it, so it behaves as if DF were
# set; what `clear` allows can only be done to the outer header.
INNER6 = (
    ("enabled", "clear", AFTER),
    ("disabled", "clear", AFTER),
    ("enabled", "set", REFUSE),
    ("disabled", "set", REFUSE),
    ("enabled", "copy", REFUSE),
    ("disabled", "copy", REFUSE),
)
STATES, DF_RULES = ("disabled", "enabled"), ("copy", "clear", "set")  # in the order of their numbers in SA rows


def _index(state: str, df: str, bit: int) -> int:
    return (STATES.index(state) * len(DF_RULES) + DF_RULES.index(df)) * 2 + bit


RULE4 = np.zeros(12, np.uint8)  # [state, df rule, DF]
RULE6 = np.zeros(12, np.uint8)
for _state, _df, _bit, _result in DEPENDENCY:
    RULE4[_index(_state, _df, _bit)] = _result
for _state, _df, _result in INNER6:
    RULE6[_index(_state, _df, 0)] = RULE6[_index(_state, _df, 1)] = _result

MTU_MIN4, MTU_MIN6 = 68, 1280  # RFC 791 section 3.2, RFC 8200 section 5: what every link must carry
MORE, DONT, OFFSET = 0x2000, 0x4000, 0x1FFF
FRAGMENT_HEADER, NEXT_FRAGMENT = 8, 44
M16, M32 = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
U16, U32, U48 = np.uint64(16), np.uint64(32), np.uint64(48)
KEEP0, KEEP1 = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF0000FFFF)  # all but length, fragment word; checksum


@inlined
def rule(fam, before, df, bit):
    """What happens to a packet that is too long: BEFORE, AFTER or REFUSE."""
    k = (np.int64(before) * 3 + np.int64(df)) * 2 + np.int64(bit)
    return np.int64(RULE4[k]) if fam == 4 else np.int64(RULE6[k])


@inlined
def equal(payload, room):
    """(fragments, payload bytes of each but the last): as few as fit `room`, then as equal as 8-byte units allow."""
    unit = room & ~7
    if payload <= 2 * unit:  # into two, the usual case: without a division
        size = ((payload + 1 >> 1) + 7) & ~7
        return (2 if payload > size else 1), size
    n = np.int64(np.uint64(payload + unit - 1) // np.uint64(unit))
    size = (np.int64(np.uint64(payload + n - 1) // np.uint64(n)) + 7) & ~7
    return np.int64(np.uint64(payload + size - 1) // np.uint64(size)), size


# ------------------------------------------------------------------------------------------------ IPv4 headers
@outlined
def later_header(at, ihl):
    """Bytes of the IPv4 header of a later fragment: only options whose copy bit is set go along (RFC 791)."""
    k, size = 20, 20
    while k < ihl:
        kind = np.int64(ld8(at + k))
        if kind == 0:
            break
        length = 1 if kind == 1 else np.int64(ld8(at + k + 1)) if k + 1 < ihl else 0
        if length < 1 or k + length > ihl or (kind != 1 and length < 2):
            break  # a damaged option ends the list
        if kind & 0x80:
            size += length
        k += length
    return (size + 3) & ~3


@outlined
def _later_options(to, at, ihl, size):
    """Write the options of a later fragment, padded with end-of-list."""
    for j in range(20, size):
        st8(to + j, np.uint8(0))
    k, j = 20, 20
    while j < size and k < ihl:
        kind = np.int64(ld8(at + k))
        length = 1 if kind == 1 else np.int64(ld8(at + k + 1))
        if kind & 0x80:
            copy(to + j, at + k, length)
            j += length
        k += length


@inlined
def _patch4(at, ihl, total, word):
    """Length, fragment word and checksum of an IPv4 header."""
    st16(at + 2, bswap16i(np.uint16(total)))
    st16(at + 6, bswap16i(np.uint16(word)))
    st16(at + 10, np.uint16(0))
    st16(at + 10, np.uint16(~header_sum(at, ihl >> 2) & M16))


@inlined
def _plain4(to, at, total, word):
    """Write a header without options from the one at `at`: length, fragment word and checksum anew, in registers."""
    w0 = (ld64(at) & KEEP0) | np.uint64(bswap16i(np.uint16(total))) << U16 | np.uint64(bswap16i(np.uint16(word))) << U48
    w1, w2 = ld64(at + 8) & KEEP1, np.uint64(ld32(at + 16))
    s = fold((w0 & M32) + (w0 >> U32) + (w1 & M32) + (w1 >> U32) + w2)
    st64(to, w0)
    st64(to + 8, w1 | (~s & M16) << U16)
    st32(to + 16, np.uint32(w2))


@inlined
def _header4(to, at, ihl, head, total, word):
    """Write a fragment's header of `head` bytes from the packet's own of `ihl` bytes; they may be the same bytes."""
    if ihl == 20:
        _plain4(to, at, total, word)
    else:
        _with_options(to, at, ihl, head, total, word)


@outlined
def _with_options(to, at, ihl, head, total, word):
    if to != at:
        copy(to, at, 20)
    if head > 20 and to != at:
        if head == ihl:
            copy(to + 20, at + 20, ihl - 20)
        else:
            _later_options(to, at, ihl, head)
    st8(to, np.uint8(0x40 | head >> 2))
    _patch4(to, head, total, word)


@inlined
def _word(at):
    return np.int64(bswap16i(ld16(at + 6)))


# ------------------------------------------------------------------------------------- rows before encryption
@outlined
def split(p, i, limit):
    """Cut row i's packet into rows of equal size, each at most `limit` bytes; the number of rows, 0 = no room for them.

    IPv4, or an IPv6 packet that this router makes itself (then as its source, RFC 8200 section 4.5).
    """
    return _split4(p, i, limit) if p.fam[i] == 4 else _split6(p, i, limit)


@inlined
def _piece_row(p, last, i, head, size):
    """A row behind `last` with a slot for a fragment of row i: (row, arena offset)."""
    c = spare(p, last)
    p.flags[c] |= np.uint8(IS_PIECE)
    p.fam[c] = p.fam[i]
    p.tos[c] = p.tos[i]
    off = slot(p, head + size)
    p.off[c] = off
    p.l3[c] = off
    p.l4[c] = off + head
    p.ip_len[c] = head + size
    return c, off


@inlined
def _split4(p, i, limit):
    arena = base(p.arena)
    at = arena + p.l3[i]
    ihl = np.int64(p.l4[i]) - p.l3[i]
    payload = np.int64(p.ip_len[i]) - ihl
    n, size = equal(payload, limit - ihl)
    if n - 1 > spare_left(p):
        return 0
    word = _word(at)
    df = np.uint8(p.frag[i] & np.uint8(FRAG_DF))
    head = 20 if ihl == 20 else later_header(at, ihl)
    last = np.int64(i)
    for k in range(1, n):
        piece = min(size, payload - k * size)
        c, off = _piece_row(p, last, i, head, piece)
        more = (word & MORE) if k == n - 1 else MORE
        _header4(arena + off, at, ihl, head, head + piece, (word & (DONT | OFFSET)) + (k * size >> 3) | more)
        copy(arena + off + head, at + ihl + k * size, piece)
        p.frag[c] = df | np.uint8(FRAG | FRAG_LATER)
        last = np.int64(c)
    p.ip_len[i] = ihl + min(size, payload)
    p.frag[i] |= np.uint8(FRAG)
    _header4(at, at, ihl, ihl, ihl + min(size, payload), word | (MORE if n > 1 else 0))
    return n


@inlined
def _fragment_header(at, next_header, offset, more, ident):
    st8(at, np.uint8(next_header))
    st8(at + 1, np.uint8(0))
    st16(at + 2, bswap16i(np.uint16(offset | more)))
    st32(at + 4, bswap32i(np.uint32(ident)))


@outlined
def _split6(p, i, limit):
    """An IPv6 packet of our own without extension headers; its identification was given when it was made."""
    arena = base(p.arena)
    at = arena + p.l3[i]
    head = 40 + FRAGMENT_HEADER
    payload = np.int64(p.ip_len[i]) - 40
    n, size = equal(payload, limit - head)
    if n > spare_left(p):
        return 0
    protocol = ld8(at + 6)
    last = np.int64(i)
    for k in range(1, n):
        piece = min(size, payload - k * size)
        c, off = _piece_row(p, last, i, head, piece)
        to = arena + off
        copy(to, at, 40)
        _as_fragment6(to, piece, protocol, k * size, 1 if k < n - 1 else 0, p.ip_id[i])
        copy(to + head, at + 40 + k * size, piece)
        p.frag[c] = np.uint8(FRAG | FRAG_LATER | FRAG_DF)
        last = np.int64(c)
    copy(at - FRAGMENT_HEADER, at, 8)  # the head moves left, in pieces that do not overlap
    for q in range(8, 40, 8):
        copy(at - FRAGMENT_HEADER + q, at + q, 8)
    to = at - FRAGMENT_HEADER
    _as_fragment6(to, min(size, payload), protocol, 0, 1 if n > 1 else 0, p.ip_id[i])
    p.l3[i] -= FRAGMENT_HEADER
    p.ip_len[i] = head + min(size, payload)
    p.frag[i] |= np.uint8(FRAG)
    return n


@inlined
def _as_fragment6(to, piece, protocol, offset, more, ident):
    st16(to + 4, bswap16i(np.uint16(FRAGMENT_HEADER + piece)))
    st8(to + 6, np.uint8(NEXT_FRAGMENT))
    _fragment_header(to + 40, protocol, offset, more, ident)


# ----------------------------------------------------------------------------------- pieces after encryption
@inlined
def _is4(at):
    """Whether the packet at an address is IPv4, as it leaves: the row's columns tell of the packet inside."""
    return ld8(at) >> np.uint8(4) == 4


@inlined
def _fixed(p, i):
    """(bytes that every fragment repeats, in the first; in later ones) of row i's packet."""
    at = base(p.arena) + p.l3[i]
    if _is4(at):
        ihl = np.int64(ld8(at) & np.uint8(15)) * 4
        return ihl, (20 if ihl == 20 else later_header(at, ihl))
    head = np.int64(p.l4[i]) - p.l3[i] + FRAGMENT_HEADER
    return head, head


@inlined
def _repeated(p, i):
    """Bytes of the packet itself that its fragments' headers stand for."""
    at = base(p.arena) + p.l3[i]
    return np.int64(ld8(at) & np.uint8(15)) * 4 if _is4(at) else np.int64(p.l4[i]) - p.l3[i]


@outlined
def piece(p, i, done):
    """(header bytes, payload bytes) of the fragment that starts `done` payload bytes into row i's packet; (0, 0) at
    its end. As large as `lim` lets it be, so that only the last one is shorter."""
    left = np.int64(p.ip_len[i]) - _repeated(p, i) - done
    if left <= 0:
        return 0, 0
    first, later = _fixed(p, i)
    head = first if done == 0 else later
    room = np.int64(p.lim[i]) - head
    return head, (left if left <= room else room & ~7)


@outlined
def pieces(p, i):
    """Fragments that row i's packet leaves in: 1 when it fits."""
    if p.lim[i] == 0 or p.ip_len[i] <= p.lim[i]:
        return 1
    n, done = 0, 0
    while True:
        head, size = piece(p, i, done)
        if head == 0:
            return n
        n += 1
        done += size


@outlined
def sent_bytes(p, i):
    """Bytes of IP that leave for row i: its packet, or the fragments of it."""
    if p.n_out[i] <= 1:
        return np.int64(p.ip_len[i])
    total, done = 0, 0
    for _ in range(p.n_out[i]):
        head, size = piece(p, i, done)
        total += head + size
        done += size
    return total


@outlined
def write_piece(p, i, to, done, head, size):
    """Write one fragment of row i's packet at address `to`: `head` bytes of header, `size` of payload."""
    at = base(p.arena) + p.l3[i]
    repeated = _repeated(p, i)
    left = np.int64(p.ip_len[i]) - repeated - done
    more = left > size
    if _is4(at):
        word = _word(at)
        flag = MORE if more else word & MORE
        _header4(to, at, repeated, head, head + size, (word & (DONT | OFFSET)) + (done >> 3) | flag)
    else:
        copy(to, at, repeated)
        octet = _last_octet(to, repeated)
        _fragment_header(to + repeated, ld8(octet), done, 1 if more else 0, p.ip_id[i])
        st8(octet, np.uint8(NEXT_FRAGMENT))
        st16(to + 4, bswap16i(np.uint16(head + size - 40)))
    copy(to + head, at + repeated + done, size)


@inlined
def _last_octet(at, size):
    """Address of the next-header octet of the last of the IPv6 headers that take `size` bytes at `at`."""
    octet, k = at + 6, 40
    while k < size:
        octet = at + k
        k += (np.int64(ld8(octet + 1)) + 1) * 8
    return octet
