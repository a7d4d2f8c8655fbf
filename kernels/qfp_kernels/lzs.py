"""LZS compression as IPComp uses it (RFC 2395; the format is that of RFC 1974 and ANSI X3.241).

A stream of bits, first bit = most significant bit of the first byte:

    literal     0, 8 bits of the byte
    match       1, offset, length: copy `length` bytes that begin `offset` bytes back (they may overlap their copy)
    offset      1, 7 bits for 1 to 127; 0, 11 bits for up to 2047
    length      2 to 4: 00 01 10; 5 to 7: 1100 1101 1110; 8 and more: 1111, then nibbles that add up to length - 8,
                each but the last 1111 (23 is 1111 1111 0000)
    end marker  110000000, a 7-bit offset of 0; then zero bits up to a byte

Every datagram is a stream of its own: no history is carried over (RFC 2395 section 2.1), so packets may be lost, and
any order and any number of threads gives the same bytes.

`compress` is greedy and looks at two candidates for a position: the latest one with the same four bytes, and with the
same two. Chains of four candidates and every position of a match entered, measured on text in 1400-byte packets, gave
0.551 of the size for 7.5 ns a byte; this gives 0.577 for 4.9 ns.

Its work area is SCRATCH_BYTES, zeroed when it is allocated and never again: tables of the latest position of a hash, as
position numbers that run on from packet to packet. What earlier packets left behind is older than the packet's first
position and thereby too far away to be a candidate: no clearing, whatever the packet's size.
"""

import numpy as np

from qfp_kernels.jit import inlined, kernel, outlined
from qfp_kernels.simd import bswap64i, ctz64, ld8, ld32, ld64, load128, st8, st32, st64, store

REACH = 2047  # largest offset
SLOTS_LOG2 = 11  # of each table
TRIAL = 320  # bytes after which a packet that grows is given up: the counting bytes of a ping repeat after 256

AT_NEXT = 0  # u64: number of the next packet's first position, 0 = fresh
AT_FOURS = 64  # u32 a slot: latest position that begins with these four bytes, or others of the same hash
AT_TWOS = AT_FOURS + (4 << SLOTS_LOG2)  # u32 a slot: the same for two bytes
SCRATCH_BYTES = AT_TWOS + (4 << SLOTS_LOG2)
POSITIONS = 1 << 32  # position numbers are kept in 32 bits

ZERO = np.uint64(0)
U3, U4, U9, U13, U32 = (np.uint64(k) for k in (3, 4, 9, 13, 32))
U51, U55, U60, U62, U63, U64 = (np.uint64(k) for k in (51, 55, 60, 62, 63, 64))
M4, M7, M8, M11, M32 = (np.uint64((1 << k) - 1) for k in (4, 7, 8, 11, 32))
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplicative hashing
FOUR, TWO = np.uint64(32), np.uint64(48)  # shifts that leave so many bytes of a word
TO_SLOT = np.uint64(64 - SLOTS_LOG2)
END_MARKER = np.uint64(0b110000000)
NEAR, FAR = np.uint64(0b11 << 7), np.uint64(0b10 << 11)  # a match's first bit with the kind of its offset
LENGTHS = np.uint64(0x8765444433332222)  # nibble k: the length that the four bits k begin
NIBBLE = 15  # what a nibble 1111 of a length adds


# ------------------------------------------------------------------------------------------------ bits out
@inlined
def _flush(acc, bits, to, n, room):
    """Write the whole bytes of the low `bits` bits of acc (1 to 64) at to + n: the new n, or -1 without room."""
    left = acc << (U64 - np.uint64(bits))
    whole = bits >> 3
    if n + 8 <= room:  # the bytes behind the whole ones are rewritten by the next call
        st64(to + n, bswap64i(left))
        return n + whole
    if n + whole > room:
        return -1
    for k in range(whole):
        st8(to + n + k, np.uint8(left >> np.uint64(56 - 8 * k)))
    return n + whole


@outlined
def _put_long(acc, bits, rest, to, n, room):
    """Nibbles for the rest of a length; up to 7 bits wait in acc. Returns (acc, bits, n), up to 11 bits wait."""
    while rest >= 8 * NIBBLE and n >= 0:
        acc = (acc << U32) | M32
        n = _flush(acc, bits + 32, to, n, room)
        rest -= 8 * NIBBLE
    ones = rest // NIBBLE
    if ones > 0 and n >= 0:
        width = np.uint64(4 * ones)
        acc = (acc << width) | ((np.uint64(1) << width) - np.uint64(1))
        bits += 4 * ones
        n = _flush(acc, bits, to, n, room)
        bits &= 7
    return (acc << U4) | np.uint64(rest - NIBBLE * ones), bits + 4, n


@inlined
def _put_match(acc, bits, offset, length, to, n, room):
    """A match; up to 7 bits wait in acc, before and after. Returns (acc, bits, n), n = -1 without room."""
    near = offset < 128
    acc = (acc << (U9 if near else U13)) | np.uint64(offset) | (NEAR if near else FAR)
    bits += 9 if near else 13
    if length < 8:
        short = length < 5
        code = length - 2 if short else length + 7
        acc = (acc << np.uint64(2 if short else 4)) | np.uint64(code)
        bits += 2 if short else 4
    else:
        acc = (acc << U4) | M4
        n = _flush(acc, bits + 4, to, n, room)
        acc, bits, n = _put_long(acc, (bits + 4) & 7, length - 8, to, n, room)
    if n >= 0:
        n = _flush(acc, bits, to, n, room)
    return acc, bits & 7, n


@inlined
def _put_literal(acc, bits, byte, to, n, room):
    """A literal; as _put_match."""
    acc = (acc << U9) | byte
    return acc, (bits + 9) & 7, _flush(acc, bits + 9, to, n, room)


@inlined
def _finish(at, i, size, acc, bits, to, n, room):
    """The last bytes, too few for an 8-byte load, as literals; the end marker; zero bits up to a byte."""
    while i < size:
        acc, bits, n = _put_literal(acc, bits, np.uint64(ld8(at + i)), to, n, room)
        if n < 0:
            return -1
        i += 1
    bits += 9
    fill = -bits & 7
    return _flush(((acc << U9) | END_MARKER) << np.uint64(fill), bits + fill, to, n, room)


# --------------------------------------------------------------------------------------- finding repetitions
@inlined
def _open_tables(scratch, size):
    """Number of the packet's first position; that of the next packet's is put down."""
    first = max(np.int64(ld64(scratch + AT_NEXT)), 1)
    if first + size >= POSITIONS:  # once in 4 GiB of input
        for k in range(AT_FOURS, SCRATCH_BYTES, 8):
            st64(scratch + k, ZERO)
        first = 1
    st64(scratch + AT_NEXT, np.uint64(first + size))
    return first


@inlined
def _latest(table, word, shift, pos):
    """Distance from position number `pos`, which begins with `word`, to the latest of the same hash; pos is entered."""
    slot = table + 4 * np.int64(((word << shift) * SPREAD) >> TO_SLOT)
    back = pos - np.int64(ld32(slot))
    st32(slot, np.uint32(pos))
    return back


@inlined
def _candidates(scratch, word, pos):
    """Distances to the latest positions with the same four bytes and with the same two; pos is entered."""
    return _latest(scratch + AT_FOURS, word, FOUR, pos), _latest(scratch + AT_TWOS, word, TWO, pos)


@inlined
def _equal(here, word, back):
    """How many of the 8 bytes of `word`, which lies at `here`, also lie `back` bytes before: 0 to 8."""
    return np.int64(ctz64(ld64(here - back) ^ word) >> U3)


@inlined
def _longer(here, word, four, two, reach):
    """(length up to 8, offset) of the longer of two candidates; (0, 0) where both are out of reach."""
    four = four if four <= reach else 0
    two = two if two <= reach else 0
    by_four = _equal(here, word, four) if four > 0 else 0
    by_two = _equal(here, word, two) if two > 0 else 0
    return (by_four, four) if by_four > by_two else (by_two, two)


@inlined
def _extend(here, back, left):
    """Length of a match of which 8 bytes are known to be equal; `left` bytes lie before the end of the packet."""
    n = 8
    while n + 8 <= left:
        same = _equal(here + n, ld64(here + n), back)
        n += same
        if same < 8:
            return n
    while n < left and ld8(here + n) == ld8(here + n - back):
        n += 1
    return n


@kernel
def compress(at, size, to, room, scratch):
    """Compress `size` bytes at `at` into at most `room` bytes at `to`; the size there, or -1 where it does not fit.

    at, to, scratch: int64 addresses of memory that does not overlap; scratch: SCRATCH_BYTES, zeroed before its first
    use. Sizes in bytes, below 2^31. Reads nothing outside the input and writes nothing outside `room` (of which bytes
    behind the returned size may have been written). Also -1 as soon as TRIAL bytes and more have grown by a
    sixteenth: ciphertext and packed media would have to be read to their end to be sure, and be sent as they are.
    """
    first = _open_tables(scratch, size)
    acc, bits = ZERO, 0  # up to 7 bits that fill no byte yet
    i, n = 0, 0
    while i + 8 <= size:
        here = at + i
        word = ld64(here)
        four, two = _candidates(scratch, word, first + i)
        length, offset = _longer(here, word, four, two, min(i, REACH))
        if length < 2:
            acc, bits, n = _put_literal(acc, bits, word & M8, to, n, room)
            i += 1
            if n < 0 or (i >= TRIAL and 16 * n > 17 * i):
                return -1
            continue
        if length == 8:
            length = _extend(here, offset, size - i)
        acc, bits, n = _put_match(acc, bits, offset, length, to, n, room)
        if n < 0:
            return -1
        i += length
        if i + 7 <= size:  # of a match's positions the first and the last are entered: all of them cost 1 ns a byte
            _candidates(scratch, ld64(at + i - 1), first + i - 1)
    return _finish(at, i, size, acc, bits, to, n, room)


# ------------------------------------------------------------------------------------------------- bits in
@inlined
def _refill(acc, bits, at, p, size):
    """Top acc up, whose first `bits` bits are unread, from at + p on: (acc, bits, p), 56 bits or more or all there are.

    The 8-byte load also brings bits that are not counted; the next load brings the same ones again.
    """
    if p + 8 <= size:
        return acc | (bswap64i(ld64(at + p)) >> np.uint64(bits)), bits | 56, p + ((63 - bits) >> 3)
    while bits <= 56 and p < size:
        acc |= np.uint64(ld8(at + p)) << np.uint64(56 - bits)
        bits += 8
        p += 1
    return acc, bits, p


@outlined
def _long_length(acc, bits, at, p, size, most):
    """Nibbles behind the first 1111 of a length: (acc, bits, p, length); more than `most` where the input ends.

    Stops at the first nibble that makes the length larger than `most`.
    """
    length = 8
    while length <= most:
        if bits < 32:
            acc, bits, p = _refill(acc, bits, at, p, size)
        if bits >= 32 and acc >> U32 == M32:
            acc <<= U32
            bits -= 32
            length += 8 * NIBBLE
            continue
        if bits < 4:
            return acc, bits, p, most + 1
        nibble = np.int64(acc >> U60)
        acc <<= U4
        bits -= 4
        length += nibble
        if nibble < NIBBLE:
            break
    return acc, bits, p, length


@inlined
def _copy(dst, offset, length, spare):
    """Copy `length` bytes to dst from `offset` before it; up to 15 more are written, none beyond `spare`."""
    k, far = 0, offset
    if offset < 16 and offset < length:  # a pattern: once enough is written, a multiple of its period lies 16 back
        far = offset * ((15 + offset) // offset)
        while k < min(length, far - offset):
            st8(dst + k, ld8(dst + k - offset))
            k += 1
    while k < length and k + 16 <= spare:
        store(dst + k, load128(dst + k - far))
        k += 16
    while k < length:
        st8(dst + k, ld8(dst + k - offset))
        k += 1


@kernel
def expand(at, size, to, room):
    """Expand the stream of `size` bytes at `at` into at most `room` bytes at `to`; the size there, or -1 if damaged.

    at, to: int64 addresses of memory that does not overlap; sizes in bytes, below 2^31. Damaged: no end marker, an
    offset of 0 in 11 bits or to before the first byte, more than `room` bytes. What follows the end marker is padding
    of any length and content (RFC 2395 section 2.3). Whatever the stream: reads nothing outside it, writes nothing
    outside `room` (of which bytes behind the returned size may have been written), takes O(size + room) steps.
    """
    acc, bits, p, n = ZERO, 0, 0, 0
    while True:
        acc, bits, p = _refill(acc, bits, at, p, size)
        while acc >> U63 == ZERO and bits >= 9 and n < room:
            st8(to + n, np.uint8(acc >> U55))
            acc <<= U9
            bits -= 9
            n += 1
        if bits < 17 and p < size:  # 17: the longest match, but for the nibbles of lengths of 8 and more
            continue
        if acc >> U63 == ZERO:  # more than there is room for, or the input has ended
            return -1
        near = acc >> U62 == U3
        offset = np.int64((acc >> U55) & M7 if near else (acc >> U51) & M11)
        width = 9 if near else 13
        bits -= width
        if offset == 0:
            return n if near and bits >= 0 else -1
        acc <<= np.uint64(width)
        lead = acc >> U60
        length = np.int64((LENGTHS >> (U4 * lead)) & M4)
        width = 2 if length < 5 else 4
        acc <<= np.uint64(width)
        bits -= width
        if bits < 0:
            return -1
        if length == 8:
            acc, bits, p, length = _long_length(acc, bits, at, p, size, room - n)
        if offset > n or length > room - n:
            return -1
        _copy(to + n, offset, length, room - n)
        n += length
