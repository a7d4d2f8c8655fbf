"""Capture input and output: records become rows, frames enter the arena, packets leave as records.

In travel order:
1. `walk_pcap`, `walk_pcapng`, `walk_batch`: read record headers, one row each, until the vector is full
2. `fill`: copy the frames of the rows into the arena
3. `reserve` (serial): number the packets that leave and reserve their bytes in the output block
4. `emit_pcap`, `emit_pcapng`, `emit_memory`: write them there as raw-IP records, the fragments of what is too long
`copy_pcap`, `copy_pcapng` and `copy_bytes` write frames straight from the source instead (conversion between formats).

What the walk knows lives in `t.walk` (W_ numbers) and `t.links` (L_ numbers), so that it may stop at any record and
may be sent back to an earlier one: set W_POS to `rec_at - W_STREAM` and W_FRAME to `frame` of a row. Formats:
draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Nothing outside [W_BASE, W_BASE + W_END) is ever read.
"""

import numpy as np

from qfp_kernels.atomics import load_acquire
from qfp_kernels.columns import base as base_of
from qfp_kernels.faults import G_LOW, G_SIZE, intact
from qfp_kernels.fragment import piece, pieces, write_piece
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    ARENA,
    CTL_DUE,
    CTL_FRAME_COST,
    CTL_FRAME_ROWS,
    CTL_IN_IF,
    CTL_OUT_KIND,
    CTL_OUT_POS,
    CTL_OUT_SEQ,
    CTL_ROOM,
    CTL_SPAN,
    FRAME_MAX,
    HEADROOM,
    NEVER,
    OUT_MEMORY,
    OUT_PCAP,
    OUT_PCAPNG,
    ROWS_MAX,
    ST_END_FRAME,
    ST_END_POS,
    ST_JUMBO,
    ST_L3_ALIGN,
    ST_LEFT,
    ST_LIMIT,
    ST_OUT_AT,
    ST_OUT_SEQ,
    ST_ROWS,
    ST_SLOT,
    ST_SPARE,
    TAILROOM,
    VECTOR_MAX,
)
from qfp_kernels.move import copy
from qfp_kernels.rows import cut
from qfp_kernels.simd import bswap32i, bswap64i, ld32, ld64, prefetch, st32, st64

# -------------------------------------------------------------------------------------- state of the walk
(
    W_BASE,  # address of the buffer (batch: of its byte arena)
    W_POS,  # next record, bytes from W_BASE (batch: next row)
    W_END,  # valid bytes of the buffer (batch: rows)
    W_FRAME,  # number of the next record
    W_STREAM,  # position of the buffer's first byte in the source (batch: of its first row)
    W_STATUS,  # WALKING, NEED_MORE, END, DAMAGED
    W_EOF,  # 1 = the buffer's end is the source's end
    W_SWAP,  # 1 = big-endian source (pcapng: current section)
    W_SCALE,  # pcap: ns in one unit of the fraction, 1 or 1000
    W_CAP_MAX,  # pcap: largest credible captured length
    W_LINK,  # pcap: link type
    W_CODE,  # damage code, D_ numbers
    W_AT,  # stream position of the damaged record
    W_IFS,  # pcapng: rows of t.links in use
    W_IFS_MAX,  # pcapng: rows of t.links
    W_SEEN,  # pcapng: interfaces described before W_POS
    W_SECTION,  # pcapng: number of the current section, -1 = none yet
    W_SECTION_AT,  # pcapng: stream position of its header
    W_FIRST,  # pcapng: its first interface
    W_B_OFFSET,  # batch: addresses of its columns from here on
    W_B_LENGTH,
    W_B_WIRE,
    W_B_TS,
    W_B_IN_IF,
    W_B_LINK,  # widened to 32 bits
    W_B_FRAME,
    W_DUE_AT,  # DUE: time of the next record, ns
    W_UNTIL,  # the turn ends before a record of this ns; NEVER = it is empty yet
    W_LEFT,  # bytes that SAs may still be charged with in this turn
    W_GUARD,  # record of the mapped file in which the bytes lie (`faults`), 0 = they lie in memory
    W_B_BEHIND,  # batch: address behind those of its columns that lie in the mapped file, 0 = none
    W_LEFT_OUT,  # pcapng: blocks passed over, a word for each of LEFT_OUT_KINDS and one for all others
) = range(32)
W_UNTIMED = W_LEFT_OUT + 4  # pcapng: simple packet blocks, which have no time
W_BEYOND = W_LEFT_OUT + 5  # pcapng: packets whose time does not fit 64-bit ns
W_TOLD = W_LEFT_OUT + 6  # pcapng: stream position up to which these two are counted, whoever goes back
W_N = 40

# DUE: a timer of the control plane comes before the next record; TURN: it belongs to the next turn of the driver
WALKING, NEED_MORE, END, DAMAGED, DUE, TURN = range(6)

(D_NONE, D_TRUNCATED, D_LENGTH, D_TRAILER, D_BYTE_ORDER, D_VERSION, D_INTERFACE, D_CAPLEN, D_OPTION, D_RESOLUTION,
 D_COMPRESSION, D_ROW, D_SHRUNK) = range(13)  # fmt: skip

(
    L_LINK,  # link type
    L_MUL,  # ns = ticks * L_MUL / L_DIV, when L_SHIFT is -1
    L_DIV,
    L_SHIFT,  # ticks a second = 2 ** L_SHIFT; -1 = a power of ten
    L_TOP,  # more ticks than this are beyond 64-bit ns (as unsigned)
    L_OFFSET,  # ns added to every time
    L_SNAP,  # snap length, 0 = none
    L_SECTION,  # number of its section
    L_AT,  # stream position of the interface's block
    L_SWAP,  # byte order of its section
    L_SECTION_AT,  # stream position of its section's header
    L_FIRST,  # first interface of its section
    L_BEYOND,  # 1 = its offset alone is beyond 64-bit ns
) = range(13)
L_N = 16  # words a row of t.links

BLOCK_MAX = 16 << 20  # longer blocks are damage: one credible limit for mapped and for streamed sources
CAP_MAX = 262144  # the longest packet that capture tools write
PCAP_HEADER, EPB_HEADER, EPB_FRAME = 16, 28, 32  # bytes before a packet, and in all without padding
MEMORY_HEADER = 24  # of a record for `qfp.engine.MemorySink`: time 8, frame 8, interface 4, bytes 4

_SHB, _IDB, _PB, _SPB, _EPB = 0x0A0D0D0A, 1, 2, 3, 6
_NRB, _ISB, _DSB = LEFT_OUT_KINDS = 4, 5, 10
_BYTE_ORDER = 0x1A2B3C4D
_AHEAD = 8192  # bytes: the walk would wait for memory at every header, and `fill` needs the bytes anyway
_SECOND = 1_000_000_000
_TS_MAX = (1 << 63) - 1
_SECONDS_MAX = _TS_MAX // _SECOND
_U64_SECOND = np.uint64(_SECOND)
_U64_1 = np.uint64(1)
_U64_32 = np.uint64(32)
_U64_LOW = np.uint64(0xFFFFFFFF)
_U64_SECONDS_MAX = np.uint64(_TS_MAX // _SECOND - 1)


def worst_case(rows: int, size: int, room: int) -> int:
    """Bytes of the output block that `rows` packets of `size` IP bytes in all may need, in any format.

    `room`: payload bytes of the smallest fragment; each repeats at most 60 bytes of headers.
    """
    return rows * (EPB_FRAME + 3) + size + size // room * (EPB_FRAME + 3 + 60)


# ------------------------------------------------------------------------------------------ reading words
@inlined
def _stream(at, size):
    """Prefetch the lines of `size` bytes at an address."""
    for q in range(at, at + size, 64):
        prefetch(q)


@inlined
def _u32(at, swap):
    v = ld32(at)
    if swap != 0:
        v = bswap32i(v)
    return np.int64(v)


@inlined
def _u16(at, swap):
    """16 bits at `at`; four bytes must be readable there."""
    v = np.int64(ld32(at))
    if swap != 0:
        return ((v & 0xFF) << 8) | ((v >> 8) & 0xFF)
    return v & 0xFFFF


# ------------------------------------------------------------------------------------------- rows and slots
@inlined
def _l2_guess(link):
    """Bytes before the IP header that a link type usually has: only alignment depends on it."""
    if link == 1:  # Ethernet
        return 14
    if link == 0 or link == 108:  # BSD loopback
        return 4
    if link == 113:  # Linux cooked
        return 16
    if link == 276:  # Linux cooked, version 2
        return 20
    return 0


@inlined
def _frame_at(slot, link, align):
    """Arena offset of a frame in the slot that starts at `slot`, such that its IP header falls on `align` mod 64."""
    return slot + HEADROOM + ((align - _l2_guess(link) - HEADROOM) & 63)


@inlined
def _slot_end(off, cap):
    """Start of the slot behind a frame of `cap` bytes at `off`."""
    return (off + min(cap, FRAME_MAX) + TAILROOM + 63) & ~63


@inlined
def _short(t, pos, end):
    """The buffer ends before the record does."""
    if t.walk[W_EOF] == 0:
        t.walk[W_STATUS] = NEED_MORE
    elif pos == end:
        t.walk[W_STATUS] = END
    else:
        _damage(t, D_TRUNCATED, pos)


@inlined
def _damage(t, code, pos):
    t.walk[W_STATUS] = DAMAGED
    t.walk[W_CODE] = code
    t.walk[W_AT] = t.walk[W_STREAM] + pos


@inlined
def _row(p, t, k, ts, at, pos, cap, wire, in_if, link, off):
    """Write row k, except its number; `pos` is the record's place in the buffer."""
    p.ts[k] = ts
    p.src_at[k] = at
    p.rec_at[k] = t.walk[W_STREAM] + pos
    p.cap[k] = cap
    p.wire[k] = min(wire, 0x7FFFFFFF)
    given = t.ctl[CTL_IN_IF]
    p.in_if[k] = given if given >= 0 else in_if
    p.link[k] = link
    p.off[k] = off


@inlined
def worst_rows(cap, room):
    """Spare rows that a frame may need: one for an ICMP error, one for every fragment that is cut from it."""
    return 1 if cap <= room else 1 + np.int64(np.uint64(cap) // np.uint64(room))


@inlined
def _walked(p, t, k, slot, pos, frame, left):
    """Where the next vector starts, and what of the workspace this one leaves free."""
    p.st[ST_LEFT] = left
    p.st[ST_SLOT] = slot
    p.st[ST_SPARE] = k
    p.st[ST_JUMBO] = 0
    p.st[ST_END_POS] = t.walk[W_STREAM] + pos
    p.st[ST_END_FRAME] = frame


@outlined
def _ends_turn(t, k, ts, until, left):
    """Whether the vector ends before a record at `ts`: a timer fires before it, or the turn of the driver is over.
    Asked only where one of these may be: at `bound`, the earlier of both times, or later.

    What a packet sets off may have effects `ctl[CTL_SPAN]` ns later, and does it between turns; so no turn is longer.
    `left`: bytes that SAs may still be charged with in this turn; below 0 = none. With rows in the vector the next call
    finds the same again. A turn takes one record at least.
    """
    due = t.ctl[CTL_DUE]
    is_due = ts >= due and due != NEVER
    if not is_due and left >= 0 and (ts < until or until == NEVER):
        return False
    if k == 0:
        t.walk[W_STATUS] = DUE if is_due else TURN
        t.walk[W_DUE_AT] = ts
    return True


@inlined
def _until(until, ts, span):
    """The first ns that is no longer of this turn, with a record at `ts` in it."""
    return min(until, ts + span) if span != NEVER and ts < NEVER - span else until


# ----------------------------------------------------------------------- files that become shorter meanwhile
@outlined
def _kept(p, t, n):
    """How many of n rows come before the first whose bytes the mapped file no longer had when they were read."""
    upto = np.int64(0)
    for i in range(n):
        upto = max(upto, p.src_at[i] + np.int64(p.cap[i]))
    guard = t.walk[W_GUARD]
    end = load_acquire(guard + 8 * G_LOW) + intact(guard, upto, np.int64(0))
    if end >= upto:
        return n
    for i in range(n):
        if p.src_at[i] + np.int64(p.cap[i]) > end:
            return i
    return n


@inlined
def _shrunk(t, pos):
    t.walk[W_STATUS] = WALKING
    _damage(t, D_SHRUNK, pos)


@outlined
def _settle(p, t, k, pos, looked):
    """Rows and next record after a walk over a mapped capture: fewer, and damage, when the file became shorter.

    looked: bytes from `pos` on that decided what the walk said about the record there.
    """
    base, status, guard = t.walk[W_BASE], t.walk[W_STATUS], t.walk[W_GUARD]
    last = status in (DAMAGED, END)
    upto = min(pos + looked, t.walk[W_END])
    whole = intact(guard, base + upto, np.int64(last))
    if whole >= upto and (not last or whole >= pos + looked or whole == load_acquire(guard + 8 * G_SIZE)):
        return k, pos
    while k > 0 and p.src_at[k - 1] + np.int64(p.cap[k - 1]) > base + whole:
        k -= 1
        pos = p.rec_at[k] - t.walk[W_STREAM]
    _shrunk(t, pos)
    return k, pos


@outlined
def _settle_batch(p, t, k, pos):
    """The same for a batch whose frames, and maybe columns, lie in a mapped file."""
    behind, guard = t.walk[W_B_BEHIND], t.walk[W_GUARD]
    kept = _kept(p, t, k) if k > 0 else k
    if behind != 0 and load_acquire(guard + 8 * G_LOW) + intact(guard, behind, np.int64(0)) < behind:
        kept = 0
    if kept < k:
        pos -= k - kept
        _shrunk(t, pos)
    return kept, pos


def kept(p, t, n):
    """How many of the rows 0..n-1 were whole when their bytes were read just now; for readers that do not `fill`."""
    return _kept(p, t, n) if t.walk[W_GUARD] != 0 and n > 0 else n


# ---------------------------------------------------------------------------------------------------- pcap
def walk_pcap(p, t, n):
    """Rows from a pcap file whose header was read (state set by the trace reader). Returns the number of rows."""
    start, pos, end, swap = t.walk[W_BASE], t.walk[W_POS], t.walk[W_END], t.walk[W_SWAP]
    link, scale, frame = t.walk[W_LINK], t.walk[W_SCALE], t.walk[W_FRAME]
    align, limit = p.st[ST_L3_ALIGN], p.st[ST_LIMIT]
    spare, room, each = ROWS_MAX - VECTOR_MAX, t.ctl[CTL_ROOM], t.ctl[CTL_FRAME_ROWS]
    until, left = t.walk[W_UNTIL], t.walk[W_LEFT]
    span, cost = t.ctl[CTL_SPAN], t.ctl[CTL_FRAME_COST]
    earliest, bound = NEVER, min(until, t.ctl[CTL_DUE])
    t.walk[W_STATUS] = WALKING
    k = 0
    slot = 0
    used = 0
    while k < limit:
        if pos + PCAP_HEADER > end:
            _short(t, pos, end)
            break
        at = start + pos
        cap = _u32(at + 8, swap)
        if cap > t.walk[W_CAP_MAX]:
            _damage(t, D_CAPLEN, pos)
            break
        if pos + PCAP_HEADER + cap > end:
            _short(t, pos, end)
            break
        ts = _u32(at, swap) * _SECOND + _u32(at + 4, swap) * scale
        off = _frame_at(used, link, align)
        slot = _slot_end(off, cap)
        worst = worst_rows(cap, room) if each == 0 else each
        full = slot > ARENA or spare < worst
        if (full and k > 0) or ((ts >= bound or left < 0) and _ends_turn(t, k, ts, until, left)):
            break
        used = slot
        spare -= worst
        if ts < earliest:
            earliest, until = ts, _until(until, ts, span)
            bound = min(bound, until)
        left -= 3 * cap + cost
        _row(p, t, k, ts, at + PCAP_HEADER, pos, cap, _u32(at + 12, swap), 0, link, off)
        p.frame[k] = frame + k
        _stream(at + _AHEAD, PCAP_HEADER + cap)
        pos += PCAP_HEADER + cap
        k += 1
    if t.walk[W_GUARD] != 0:
        k, pos = _settle(p, t, k, pos, PCAP_HEADER)
    t.walk[W_POS] = pos
    t.walk[W_FRAME] = frame + k
    t.walk[W_UNTIL], t.walk[W_LEFT] = until, left
    _walked(p, t, k, used, pos, frame + k, spare)
    return k


# -------------------------------------------------------------------------------------------------- pcapng
@inlined
def _rewind(t):
    """Interfaces and byte order as they stand at W_POS, which may lie before where the walk had come to.

    A place to go back to is a packet's, so its section has an interface already, and that row knows the section.
    """
    at = t.walk[W_STREAM] + t.walk[W_POS]
    seen = t.walk[W_SEEN]
    while seen > 0 and t.links[(seen - 1) * L_N + L_AT] >= at:
        seen -= 1
    t.walk[W_SEEN] = seen
    if t.walk[W_SECTION_AT] < at:
        return
    if seen == 0:
        t.walk[W_SECTION] = -1
        t.walk[W_SECTION_AT] = -1
        t.walk[W_FIRST] = 0
        return
    r = (seen - 1) * L_N
    t.walk[W_SECTION] = t.links[r + L_SECTION]
    t.walk[W_SECTION_AT] = t.links[r + L_SECTION_AT]
    t.walk[W_FIRST] = t.links[r + L_FIRST]
    t.walk[W_SWAP] = t.links[r + L_SWAP]


@inlined
def _section_swap(at):
    """Byte order that a section header names: 0 ours, 1 the other, -1 none."""
    if _u32(at + 8, 0) == _BYTE_ORDER:
        return 0
    return 1 if _u32(at + 8, 1) == _BYTE_ORDER else -1


@inlined
def _section(t, at, pos, length):
    """Section header block: byte order, and interfaces count from 0 again. Returns a damage code."""
    if length < 28:
        return D_LENGTH
    swap = _section_swap(at)
    if _u16(at + 12, swap) != 1:
        return D_VERSION
    t.walk[W_SWAP] = swap
    t.walk[W_SECTION] += 1
    t.walk[W_SECTION_AT] = t.walk[W_STREAM] + pos
    t.walk[W_FIRST] = t.walk[W_SEEN]
    return D_NONE


@inlined
def _resolution(t, r, value):
    """if_tsresol: 10**-v, or 2**-v with the top bit set. Returns a damage code."""
    t.links[r + L_MUL] = 1
    t.links[r + L_DIV] = 1
    t.links[r + L_SHIFT] = -1
    t.links[r + L_TOP] = -1
    if value & 0x80:
        t.links[r + L_SHIFT] = value & 0x7F
        return D_NONE if (value & 0x7F) < 64 else D_RESOLUTION
    if value > 27:
        return D_RESOLUTION
    scale = 1
    for _ in range(abs(9 - value)):
        scale *= 10
    if value <= 9:
        t.links[r + L_MUL] = scale
        t.links[r + L_TOP] = _TS_MAX // scale
    else:
        t.links[r + L_DIV] = scale
    return D_NONE


@inlined
def _seconds(at, swap):
    """if_tsoffset: signed seconds."""
    v = ld64(at)
    return np.int64(bswap64i(v) if swap != 0 else v)


@inlined
def _options(t, r, at, stop, swap):
    """Options of an interface block between `at` and `stop`. Returns a damage code."""
    while at + 4 <= stop:
        code = _u16(at, swap)
        size = np.int64(ld32(at) >> np.uint32(16)) if swap == 0 else _u32(at, swap) & 0xFFFF
        if code == 0:
            return D_NONE
        if at + 4 + size > stop:
            return D_OPTION
        if code == 9 and size >= 1:
            bad = _resolution(t, r, np.int64(ld32(at + 4)) & 0xFF)  # four bytes: the closing length lies behind
            if bad != D_NONE:
                return bad
        elif code == 14 and size >= 8:
            seconds = _seconds(at + 4, swap)
            held = max(min(seconds, _SECONDS_MAX), -_SECONDS_MAX)
            t.links[r + L_OFFSET] = held * _SECOND
            t.links[r + L_BEYOND] = held != seconds
        at += 4 + ((size + 3) & ~3)
    return D_NONE


@inlined
def _interface(t, at, pos, length):
    """Interface description block. Returns a damage code, or -1 when t.links is full."""
    seen = t.walk[W_SEEN]
    if seen < t.walk[W_IFS]:  # walked before
        t.walk[W_SEEN] = seen + 1
        return D_NONE
    if length < 20:
        return D_LENGTH
    if seen >= t.walk[W_IFS_MAX]:
        return -1
    swap = t.walk[W_SWAP]
    r = seen * L_N
    t.links[r + L_LINK] = _u16(at + 8, swap)
    t.links[r + L_OFFSET] = t.links[r + L_BEYOND] = 0
    t.links[r + L_SNAP] = _u32(at + 12, swap)
    t.links[r + L_SECTION] = t.walk[W_SECTION]
    t.links[r + L_AT] = t.walk[W_STREAM] + pos
    t.links[r + L_SWAP] = swap
    t.links[r + L_SECTION_AT] = t.walk[W_SECTION_AT]
    t.links[r + L_FIRST] = t.walk[W_FIRST]
    _resolution(t, r, 6)
    bad = _options(t, r, at + 16, at + length - 4, swap)
    if bad == D_NONE:
        t.walk[W_SEEN] = seen + 1
        t.walk[W_IFS] = seen + 1
    return bad


@inlined
def _nanoseconds(t, r, ticks):
    """Time of a packet in ns, held within 64 bits."""
    shift = t.links[r + L_SHIFT]
    if shift < 0:
        if ticks > np.uint64(t.links[r + L_TOP]):
            ns = _TS_MAX
        elif t.links[r + L_DIV] == 1:
            ns = np.int64(ticks * np.uint64(t.links[r + L_MUL]))
        else:
            ns = np.int64(ticks // np.uint64(t.links[r + L_DIV]))
    elif ticks >> np.uint64(shift) > _U64_SECONDS_MAX:
        ns = _TS_MAX
    else:
        u = np.uint64(shift)
        part = ticks & ((_U64_1 << u) - _U64_1)
        # two 32-bit halves, because part * 10**9 needs up to 94 bits; nested floors are exact
        if shift <= 32:
            part = (part * _U64_SECOND) >> u
        else:
            high = (part >> _U64_32) * _U64_SECOND + (((part & _U64_LOW) * _U64_SECOND) >> _U64_32)
            part = high >> (u - _U64_32)
        ns = np.int64((ticks >> u) * _U64_SECOND + part)
    offset = t.links[r + L_OFFSET]
    if offset > 0 and ns > _TS_MAX - offset:
        return _TS_MAX
    return ns + offset


@outlined
def _odd_time(t, pos, untimed):
    """Count a packet without a time, or one whose time is not what the capture says, the first time it is walked."""
    at = t.walk[W_STREAM] + pos
    if at >= t.walk[W_TOLD]:
        t.walk[W_UNTIMED if untimed else W_BEYOND] += 1
        t.walk[W_TOLD] = at + 1


@inlined
def _packet(t, at, kind, length, swap):
    """(damage code, interface, start of data in the block, captured, on the wire) of a packet block."""
    if kind == _SPB:
        if length < 16:
            return D_LENGTH, 0, 12, 0, 0
        wire = _u32(at + 8, swap)
        cap = wire
        if t.walk[W_SEEN] > t.walk[W_FIRST]:
            snap = t.links[t.walk[W_FIRST] * L_N + L_SNAP]
            if snap > 0:
                cap = min(cap, snap)
        return (D_CAPLEN if cap > length - 16 else D_NONE), 0, 12, cap, wire
    if length < EPB_FRAME:
        return D_LENGTH, 0, EPB_HEADER, 0, 0
    interface = _u32(at + 8, swap) if kind == _EPB else _u16(at + 8, swap)
    cap = _u32(at + 20, swap)
    return (D_CAPLEN if cap > length - EPB_FRAME else D_NONE), interface, EPB_HEADER, cap, _u32(at + 24, swap)


@inlined
def _ticks(at, swap):
    return (np.uint64(_u32(at + 12, swap)) << _U64_32) | np.uint64(_u32(at + 16, swap))


@inlined
def _block_length(t, pos, end):
    """Length of the block at `pos`, or 0 after setting the status. A section header is read in its own byte order."""
    at = t.walk[W_BASE] + pos
    if pos + 12 > end:
        _short(t, pos, end)
        return 0
    swap = t.walk[W_SWAP]
    if ld32(at) == np.uint32(_SHB):
        swap = _section_swap(at)
        if swap < 0:
            _damage(t, D_BYTE_ORDER, pos)
            return 0
    length = _u32(at + 4, swap)
    if length < 12 or length & 3 != 0 or length > BLOCK_MAX:
        _damage(t, D_LENGTH, pos)
        return 0
    if pos + length > end:
        _short(t, pos, end)
        return 0
    if _u32(at + length - 4, swap) != length:
        _damage(t, D_TRAILER, pos)
        return 0
    return length


@outlined
def _pass_over(t, kind):
    """Count a block that holds no packet. Whoever goes back to an earlier record counts again."""
    which = 0 if kind == _NRB else 1 if kind == _ISB else 2 if kind == _DSB else 3
    t.walk[W_LEFT_OUT + which] += 1


@inlined
def _looked_at(t, pos, end):
    """Bytes that decide about the block at `pos`: all of it, or its first words when its length is no length."""
    if pos + 12 > end:
        return 12
    length = _u32(t.walk[W_BASE] + pos + 4, t.walk[W_SWAP])
    return length if length >= 12 and length & 3 == 0 and length <= BLOCK_MAX else 12


def walk_pcapng(p, t, n):
    """Rows from a pcapng file, section and interface state kept in t.walk and t.links. Returns the number of rows."""
    _rewind(t)
    start, pos, end = t.walk[W_BASE], t.walk[W_POS], t.walk[W_END]
    align, limit, frame = p.st[ST_L3_ALIGN], p.st[ST_LIMIT], t.walk[W_FRAME]
    spare, room, each = ROWS_MAX - VECTOR_MAX, t.ctl[CTL_ROOM], t.ctl[CTL_FRAME_ROWS]
    until, left = t.walk[W_UNTIL], t.walk[W_LEFT]
    span, cost = t.ctl[CTL_SPAN], t.ctl[CTL_FRAME_COST]
    earliest, bound = NEVER, min(until, t.ctl[CTL_DUE])
    t.walk[W_STATUS] = WALKING
    k, slot, used = 0, 0, 0
    while k < limit:
        length = _block_length(t, pos, end)
        if length == 0:
            break
        at = start + pos
        swap = t.walk[W_SWAP]
        kind = _u32(at, swap)
        code = D_NONE
        if kind in (_EPB, _SPB, _PB):
            code, interface, lead, cap, wire = _packet(t, at, kind, length, swap)
            interface += t.walk[W_FIRST]
            if code == D_NONE and interface >= t.walk[W_SEEN]:
                code = D_INTERFACE
            if code == D_NONE:
                r = interface * L_N
                ts = _nanoseconds(t, r, _ticks(at, swap)) if kind != _SPB else 0  # a simple packet has no time
                off = _frame_at(used, t.links[r + L_LINK], align)
                slot = _slot_end(off, cap)
                worst = worst_rows(cap, room) if each == 0 else each
                full = slot > ARENA or spare < worst
                if (full and k > 0) or ((ts >= bound or left < 0) and _ends_turn(t, k, ts, until, left)):
                    break
                used = slot
                spare -= worst
                if ts < earliest:
                    earliest, until = ts, _until(until, ts, span)
                    bound = min(bound, until)
                left -= 3 * cap + cost
                if kind == _SPB or ts == _TS_MAX or t.links[r + L_BEYOND] != 0:
                    _odd_time(t, pos, kind == _SPB)
                _row(p, t, k, ts, at + lead, pos, cap, wire, interface, t.links[r + L_LINK], off)
                p.frame[k] = frame + k
                _stream(at + _AHEAD, length)
                k += 1
        elif kind == _SHB:
            code = _section(t, at, pos, length)
        elif kind == _IDB:
            code = _interface(t, at, pos, length)
            if code < 0:
                t.walk[W_STATUS] = NEED_MORE
                break
        else:
            _pass_over(t, kind)
        if code != D_NONE:
            _damage(t, code, pos)
            break
        pos += length
    if t.walk[W_GUARD] != 0:
        k, pos = _settle(p, t, k, pos, _looked_at(t, pos, end))
    t.walk[W_POS] = pos
    t.walk[W_FRAME] = frame + k
    t.walk[W_UNTIL], t.walk[W_LEFT] = until, left
    _walked(p, t, k, used, pos, frame + k, spare)
    return k


# --------------------------------------------------------------------------------------------------- batch
def walk_batch(p, t, n):
    """Rows from a batch in memory, whose columns were validated when it was made. Returns the number of rows."""
    start, pos, end = t.walk[W_BASE], t.walk[W_POS], t.walk[W_END]
    align, limit = p.st[ST_L3_ALIGN], p.st[ST_LIMIT]
    spare, room, each = ROWS_MAX - VECTOR_MAX, t.ctl[CTL_ROOM], t.ctl[CTL_FRAME_ROWS]
    until, left = t.walk[W_UNTIL], t.walk[W_LEFT]
    span, cost = t.ctl[CTL_SPAN], t.ctl[CTL_FRAME_COST]
    earliest, bound = NEVER, min(until, t.ctl[CTL_DUE])
    t.walk[W_STATUS] = WALKING
    k = 0
    slot = 0
    used = 0
    while k < limit:
        if pos >= end:
            t.walk[W_STATUS] = END if t.walk[W_EOF] != 0 else NEED_MORE
            break
        cap = np.int64(ld32(t.walk[W_B_LENGTH] + 4 * pos))
        link = np.int64(ld32(t.walk[W_B_LINK] + 4 * pos))
        ts = np.int64(ld64(t.walk[W_B_TS] + 8 * pos))
        off = _frame_at(used, link, align)
        slot = _slot_end(off, cap)
        worst = worst_rows(cap, room) if each == 0 else each
        full = slot > ARENA or spare < worst
        if (full and k > 0) or ((ts >= bound or left < 0) and _ends_turn(t, k, ts, until, left)):
            break
        used = slot
        spare -= worst
        if ts < earliest:
            earliest, until = ts, _until(until, ts, span)
            bound = min(bound, until)
        left -= 3 * cap + cost
        at = start + np.int64(ld64(t.walk[W_B_OFFSET] + 8 * pos))
        wire = np.int64(ld32(t.walk[W_B_WIRE] + 4 * pos))
        in_if = np.int64(np.int32(ld32(t.walk[W_B_IN_IF] + 4 * pos)))
        _row(p, t, k, ts, at, pos, cap, wire, in_if, link, off)
        p.frame[k] = np.int64(ld64(t.walk[W_B_FRAME] + 8 * pos))
        pos += 1
        k += 1
    if t.walk[W_GUARD] != 0:
        k, pos = _settle_batch(p, t, k, pos)
    t.walk[W_POS] = pos
    if k > 0:
        t.walk[W_FRAME] = p.frame[k - 1] + 1
    t.walk[W_UNTIL], t.walk[W_LEFT] = until, left
    _walked(p, t, k, used, pos, t.walk[W_FRAME], spare)
    return k


# -------------------------------------------------------------------------------------------------- frames
def fill(p, t, n):
    """Copy the frames of rows 0..n-1 into their arena slots, FRAME_MAX bytes of each at most.

    Rows that a mapped file no longer had go back to the source, whose walk then ends there.
    """
    arena = base_of(p.arena)
    for i in range(n):
        copy(arena + p.off[i], p.src_at[i], min(np.int64(p.cap[i]), FRAME_MAX))
    if t.walk[W_GUARD] != 0 and n > 0:
        whole = _kept(p, t, n)
        if whole < n:
            cut(p, t, whole)
    return n


# -------------------------------------------------------------------------------------------------- output
@inlined
def _record_size(kind, size):
    if kind == OUT_PCAPNG:
        return EPB_FRAME + ((size + 3) & ~3)
    if kind == OUT_PCAP:
        return PCAP_HEADER + size
    return MEMORY_HEADER + size if kind == OUT_MEMORY else 0


@inlined
def _pcap_head(to, ts, size, wire):
    """Header of a pcap record with ns (little endian). Returns the address behind the record."""
    seconds = ts // _SECOND
    st32(to, np.uint32(seconds))
    st32(to + 4, np.uint32(ts - seconds * _SECOND))
    st32(to + 8, np.uint32(size))
    st32(to + 12, np.uint32(wire))
    return to + PCAP_HEADER + size


@inlined
def _put_pcap(to, ts, at, size, wire):
    """A pcap record. Returns the address behind it."""
    copy(to + PCAP_HEADER, at, size)
    return _pcap_head(to, ts, size, wire)


@inlined
def _epb_frame(to, ts, interface, size, wire):
    """An enhanced packet block without its packet, times in ns: to be called before the packet is written."""
    length = EPB_FRAME + ((size + 3) & ~3)
    st32(to, np.uint32(_EPB))
    st32(to + 4, np.uint32(length))
    st32(to + 8, np.uint32(interface))
    st32(to + 12, np.uint32(ts >> 32))
    st32(to + 16, np.uint32(ts & 0xFFFFFFFF))
    st32(to + 20, np.uint32(size))
    st32(to + 24, np.uint32(wire))
    if size & 3 != 0:
        st32(to + length - 8, np.uint32(0))  # padding, before the packet's own bytes are written over its start
    st32(to + length - 4, np.uint32(length))


@inlined
def _put_pcapng(to, ts, interface, at, size, wire):
    """An enhanced packet block. Returns the address behind it."""
    _epb_frame(to, ts, interface, size, wire)
    copy(to + EPB_HEADER, at, size)
    return to + EPB_FRAME + ((size + 3) & ~3)


@inlined
def _put_memory(to, ts, frame, interface, at, size):
    """A record for the sink in memory. Returns the address behind it."""
    _memory_head(to, ts, frame, interface, size)
    copy(to + MEMORY_HEADER, at, size)
    return to + MEMORY_HEADER + size


@inlined
def _memory_head(to, ts, frame, interface, size):
    st64(to, np.uint64(ts))
    st64(to + 8, np.uint64(frame))
    st32(to + 16, np.uint32(interface))
    st32(to + 20, np.uint32(size))


@outlined
def _reserve_pieces(p, i, kind):
    """Bytes of the output records of a row that is fragmented; its `n_out` is their number."""
    p.n_out[i] = pieces(p, i)
    at, done = 0, 0
    for _ in range(p.n_out[i]):
        head, size = piece(p, i, done)
        at += _record_size(kind, head + size)
        done += size
    return at


@inlined
def _reserve_row(p, i, kind):
    """Bytes of the output records of one row that leaves."""
    if p.lim[i] != 0 and p.ip_len[i] > p.lim[i]:
        return _reserve_pieces(p, i, kind)
    return _record_size(kind, np.int64(p.ip_len[i]))


@outlined
def _reserve_chain(p, i, kind):
    """(records, bytes) of all rows that leave for the frame of row i, itself included."""
    number, at = 0, 0
    r = np.int64(i)
    while r >= 0:
        if p.n_out[r] > 0:
            at += _reserve_row(p, r, kind)
            number += p.n_out[r]
        r = np.int64(p.more[r])
    return number, at


def reserve(p, t, n):
    """Number what the rows send and reserve its bytes: serial, because numbers follow the order of rows."""
    rows, kind = p.st[ST_ROWS], t.ctl[CTL_OUT_KIND]
    number, at = t.ctl[CTL_OUT_SEQ], t.ctl[CTL_OUT_POS]
    p.st[ST_OUT_AT] = at
    p.st[ST_OUT_SEQ] = number
    for i in range(rows):
        if p.more[i] >= 0:
            records, size = _reserve_chain(p, i, kind)
            p.first_out[i] = number if records > 0 else -1
            number += records
            at += size
        elif p.n_out[i] > 0:
            p.first_out[i] = number
            at += _reserve_row(p, i, kind)
            number += p.n_out[i]
        else:
            p.first_out[i] = -1
    t.ctl[CTL_OUT_SEQ] = number
    t.ctl[CTL_OUT_POS] = at
    return n


@inlined
def _put(kind, p, i, to, at, size):
    """One packet of row i as a record of `kind`, which is known when this is compiled. Returns the address behind."""
    if kind == OUT_PCAP:
        return _put_pcap(to, p.ts[i], at, size, size)
    if kind == OUT_PCAPNG:
        return _put_pcapng(to, p.ts[i], max(np.int64(p.out_if[i]), 0), at, size, size)
    return _put_memory(to, p.ts[i], p.frame[i], p.out_if[i], at, size)


@outlined
def _put_pieces(kind, p, i, to):
    """The fragments of row i, each built where its record wants it. Returns the address behind them."""
    done = 0
    for _ in range(p.n_out[i]):
        head, size = piece(p, i, done)
        total = head + size
        if kind == OUT_PCAP:
            write_piece(p, i, to + PCAP_HEADER, done, head, size)
            to = _pcap_head(to, p.ts[i], total, total)
        elif kind == OUT_PCAPNG:
            _epb_frame(to, p.ts[i], max(np.int64(p.out_if[i]), 0), total, total)
            write_piece(p, i, to + EPB_HEADER, done, head, size)
            to += EPB_FRAME + ((total + 3) & ~3)
        else:
            write_piece(p, i, to + MEMORY_HEADER, done, head, size)
            _memory_head(to, p.ts[i], p.frame[i], p.out_if[i], total)
            to += MEMORY_HEADER + total
        done += size
    return to


@inlined
def _emit(kind, p, t):
    """Write the packets of all rows with n_out > 0 where `reserve` said, chains in their order."""
    to = base_of(t.out) + p.st[ST_OUT_AT]
    arena = base_of(p.arena)
    for i in range(p.st[ST_ROWS]):
        r = np.int64(i)
        while r >= 0:
            if p.n_out[r] == 1:
                to = _put(kind, p, r, to, arena + p.l3[r], np.int64(p.ip_len[r]))
            elif p.n_out[r] > 1:
                to = _put_pieces(kind, p, r, to)
            r = np.int64(p.more[r])


def emit_pcap(p, t, n):
    """Raw-IP pcap records."""
    _emit(OUT_PCAP, p, t)
    return n


def emit_pcapng(p, t, n):
    """Enhanced packet blocks; the interface is `out_if`, or 0 where a packet has none."""
    _emit(OUT_PCAPNG, p, t)
    return n


def emit_memory(p, t, n):
    """Records for the sink in memory, with the input frame and the egress interface of each packet."""
    _emit(OUT_MEMORY, p, t)
    return n


# ---------------------------------------------------------------------------------------------- conversion
def copy_pcap(p, t, n):
    """Write the frames of rows 0..n-1 from the source to t.out as pcap records. Returns bytes written."""
    to = base_of(t.out)
    for i in range(n):
        to = _put_pcap(to, p.ts[i], p.src_at[i], np.int64(p.cap[i]), np.int64(p.wire[i]))
    return to - base_of(t.out)


def copy_pcapng(p, t, n):
    """Write them as enhanced packet blocks of interface `out_if`. Returns bytes written."""
    to = base_of(t.out)
    for i in range(n):
        to = _put_pcapng(to, p.ts[i], np.int64(p.out_if[i]), p.src_at[i], np.int64(p.cap[i]), np.int64(p.wire[i]))
    return to - base_of(t.out)


def count_options(p, t, n):
    """How many of rows 0..n-1 of a pcapng file have options (comments, flags, hashes) behind their packet."""
    found = 0
    for i in range(n):
        at = t.walk[W_BASE] + p.rec_at[i] - t.walk[W_STREAM]
        swap = t.links[np.int64(p.in_if[i]) * L_N + L_SWAP]
        kind = _u32(at, swap)
        bare = EPB_FRAME + ((np.int64(p.cap[i]) + 3) & ~3)
        found += kind != _SPB and _u32(at + 4, swap) > bare
    return found


def copy_bytes(p, t, n):
    """Write the bare bytes of the frames, one behind the other. Returns bytes written."""
    to = base_of(t.out)
    for i in range(n):
        size = np.int64(p.cap[i])
        copy(to, p.src_at[i], size)
        to += size
    return to - base_of(t.out)
