"""reassemble: fragments for this router become whole packets, in packet order (PF-7).

Memory is one ring of bytes: a fragment is appended at its head, and when the ring is full the oldest fragments go, with
the datagrams that still waited for them. A flood of fragments that never complete so pushes out its own kind first: a
genuine datagram only has to complete before the ring has turned round once. Datagrams (contexts) stand in a second
ring, so the oldest is known without a search, and in a hash by (source, destination, protocol, identification). A
source may have only so many waiting.

Overlaps end a datagram (RFC 5722; for IPv4 as well), exact duplicates are dropped alone. Bytes of a fragment that was
taken in are `consumed`; when its datagram is lost later, `t.late` counts it under the cause.

This runs before the replay verdict of earlier vectors has fallen, and `commit` may give rows back to the source. So
every word that changes is noted in a journal first, and `undo` puts back what was done for the rows given back. Bytes
of the ring are not noted: SLACK bytes behind the tail stay as they are until the turn of the driver is over.

The same code serves instance 1: fragments that came out of decryption, for GRE. Nothing gives those rows back.
"""

import numpy as np

from qfp_kernels.capture import worst_rows
from qfp_kernels.checksum import header_sum
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.jit import inlined, kernel, outlined, run_step
from qfp_kernels.layout import (
    CTL_FRAME_ROWS,
    CTL_MODE,
    CTL_ROOM,
    CTL_UDP_WHOLE,
    CTL_UNDO,
    CTL_VFR_MASK,
    FRAG_LATER,
    JUMBO,
    JUMBO_OUTER,
    MODE_DECRYPT,
    NOTE_REASSEMBLED,
    PORTS_KNOWN,
    SLOT_EXTRA,
    ST_JUMBO,
    ST_LEFT,
    ST_ROWS,
    ST_RX,
    ST_RX_SEEN,
    STEP_HOLD,
    STRUCTS,
)
from qfp_kernels.local import is_local
from qfp_kernels.move import copy
from qfp_kernels.parse import be16, drop, is_inbound, parse_ip
from qfp_kernels.rows import cut, ingress, jumbo_slot, merge
from qfp_kernels.simd import bswap16i, bswap32i, ld8, ld32, ld64, st8, st16, st32, st64
from qfp_kernels.spd import mix

STAGE_REASSEMBLE = STAGES.index("reassemble")
CONSUMED = np.uint8(Verdict.CONSUMED)
BAD, OVERLAP, DUPLICATE = int(Drop.FRAGMENT_BAD), int(Drop.FRAGMENT_OVERLAP), int(Drop.FRAGMENT_DUPLICATE)
TIMEOUT, FULL, SOURCE = int(Drop.REASSEMBLY_TIMEOUT), int(Drop.REASSEMBLY_FULL), int(Drop.REASSEMBLY_SOURCE)
NO_BUFFERS = int(Drop.NO_BUFFERS)
OUTER, INNER = 0, 1  # instances
INSTANCES = 2
WHOLE, GONE, CUT = 0, 1, 2  # what became of a fragment's row
WAITING = 1
SLACK = 4 << 20  # bytes of the ring that a turn may append, and that stay readable behind the tail
EXPIRE_MAX = 256  # datagrams that one fragment's arrival may expire: the rest follows with the next ones
UNDO_WORDS = 1 << 19
UNDO_MARGIN = 1 << 16  # words that one fragment may note: a thousand datagrams pushed out, of 20 words each
CTX_WORDS, RSM_WORDS, VFR_WORDS = (STRUCTS[n].itemsize // 8 for n in ("rsm_ctx", "rsm", "vfr"))
VFR_TIMEOUT = 30 * 10**9  # ns
VFR_WAYS = 4
# A record of the ring: 48 bytes, then the headers of a first fragment, then payload
R_SIZE, R_CTX, R_NUMBER, R_NEXT, R_OFFSET, R_LENGTH, R_HEAD, RECORD = 0, 8, 16, 24, 32, 36, 40, 48
M16 = np.uint64(0xFFFF)
U1 = np.uint64(1)
SPREAD = np.uint32(0x9E3779B1)  # an odd factor: numbers of policy entries go all over 32 bits


# ------------------------------------------------------------------------------------------------- the journal
@inlined
def _note(t, j, at, words):
    """Keep `words` 64-bit words at an address, before they change."""
    if j != OUTER:
        return
    k = t.ctl[CTL_UNDO]
    for w in range(words):
        t.rsm_undo[k] = at + 8 * w
        t.rsm_undo[k + 1] = np.int64(ld64(at + 8 * w))
        k += 2
    t.ctl[CTL_UNDO] = k


@inlined
def _note_word(t, j, at):
    """Keep the 64-bit word around an address."""
    _note(t, j, at & ~7, 1)


@inlined
def _note_end(t, pos):
    """What was noted since the last such mark was done for the record at this position of the source."""
    k = t.ctl[CTL_UNDO]
    t.rsm_undo[k] = 0
    t.rsm_undo[k + 1] = pos
    t.ctl[CTL_UNDO] = k + 2


@kernel
def begin_turn(t):
    """Nothing that was done so far will be put back: the journal starts anew."""
    t.ctl[CTL_UNDO] = 0
    for j in range(INSTANCES):
        t.rsm[j].turn = t.rsm[j].head


@kernel
def undo(t, pos):
    """Put back all that was done in this turn for records from position `pos` of the source on."""
    k = t.ctl[CTL_UNDO]
    while k > 0:
        k -= 2
        at, kept = t.rsm_undo[k], t.rsm_undo[k + 1]
        if at == 0:
            if kept < pos:
                k += 2
                break
        else:
            st64(at, np.uint64(kept))
    t.ctl[CTL_UNDO] = k


# ------------------------------------------------------------------------------------------- what a fragment says
@inlined
def _fragment_header_at(at):
    """(offset of the IPv6 fragment header, of the octet that names it); `parse` has walked the headers up to it."""
    octet, k = 6, 40
    while np.int64(ld8(at + octet)) != 44:
        octet = k
        k += (np.int64(ld8(at + k + 1)) + 1) * 8
    return k, octet


@inlined
def _describe(p, i):
    """(bytes of headers, payload offset in its packet, payload bytes, more follow, identification) of a fragment."""
    at = base(p.arena) + p.l3[i]
    if p.fam[i] == 4:
        head = np.int64(p.l4[i]) - p.l3[i]
        word = be16(at + 6)
        return head, (word & 0x1FFF) << 3, p.ip_len[i] - head, word & 0x2000 != 0, np.uint32(be16(at + 4))
    k, _ = _fragment_header_at(at)
    word = be16(at + k + 2)
    return k + 8, word & 0xFFF8, p.ip_len[i] - k - 8, word & 1 != 0, bswap32i(ld32(at + k + 4))


@inlined
def _where(t, j, p, i):
    """The rest of a datagram's key: routing table, family, and for IPv4 the protocol (RFC 791; not in RFC 8200).

    What comes out of decryption is told apart by its policy entry too: no peer completes another's datagram.
    """
    proto = np.uint32(p.proto[i]) if p.fam[i] == 4 else np.uint32(0)
    entry = np.uint32(0)
    if j == INNER and p.lv_n[i] > 0:
        entry = np.uint32(t.sa[p.sa[i]].sp + 1) * SPREAD
    place = np.uint32(t.ifs[ingress(p, i)].vrf) << np.uint32(16) | np.uint32(p.fam[i]) << np.uint32(8) | proto
    return np.uint32(entry + place)


@inlined
def _key_hash(p, i, ident, where):
    return mix(p.src0[i], p.src1[i], p.dst0[i], p.dst1[i], np.uint64(ident) << np.uint64(32) | np.uint64(where))


@inlined
def _source_word(t, s, src0, src1):
    """Index in `rsm_src` of the counter of a source; sources share one by chance, and then its limit."""
    h = mix(src0, src1, np.uint64(0), np.uint64(0), U1)
    return s.src_at + np.int64(h & np.uint64(s.src_n - 1))


# ---------------------------------------------------------------------------------------------- the datagrams
@inlined
def _bucket(s, h):
    return s.hash_at + np.int64(h & np.uint64(s.hash_n - 1))


@inlined
def _ctx_hash(c):
    return mix(c.src0, c.src1, c.dst0, c.dst1, np.uint64(c.id) << np.uint64(32) | np.uint64(c.where))


@outlined
def _unlink(t, j, s, row):
    """Take a datagram out of its hash chain and off its source's account; its row is free."""
    c = t.rsm_ctx[row]
    b = _bucket(s, _ctx_hash(c))
    at = np.int64(t.rsm_hash[b])
    if at == row:
        _note_word(t, j, base(t.rsm_hash) + 4 * b)
        t.rsm_hash[b] = c.next
    else:
        while t.rsm_ctx[at].next != row:
            at = np.int64(t.rsm_ctx[at].next)
        _note(t, j, base(t.rsm_ctx[at]), CTX_WORDS)
        t.rsm_ctx[at].next = c.next
    w = _source_word(t, s, c.src0, c.src1)
    _note_word(t, j, base(t.rsm_src) + 2 * w)
    t.rsm_src[w] -= np.uint16(1)
    _note(t, j, base(c), CTX_WORDS)
    c.state = np.int32(0)
    s.waiting -= 1
    s.held -= np.int64(c.count)


@outlined
def _lose(t, j, s, row, cause):
    """Give a datagram up; its fragments are counted under the cause."""
    _note_word(t, j, base(t.late) + 8 * cause)
    t.late[cause] += np.uint64(t.rsm_ctx[row].count)
    _unlink(t, j, s, row)


@inlined
def _expire(t, j, s):
    """Give up what has waited too long; datagrams began in the order of their rows."""
    for _ in range(EXPIRE_MAX):
        if s.ctx_tail >= s.ctx_head:
            return
        row = s.ctx_at + s.ctx_tail % s.ctx_n
        c = t.rsm_ctx[row]
        if c.state == WAITING and c.number == s.ctx_tail:
            if s.now - c.begun <= s.timeout:
                return
            _lose(t, j, s, row, TIMEOUT)
        s.ctx_tail += 1


@inlined
def _find(t, s, p, i, ident, where, h):
    """Row of the datagram that a fragment belongs to, or -1."""
    row = np.int64(t.rsm_hash[_bucket(s, h)])
    while row >= 0:
        c = t.rsm_ctx[row]
        if (
            c.id == ident
            and c.where == where
            and c.src1 == p.src1[i]
            and c.dst1 == p.dst1[i]
            and c.src0 == p.src0[i]
            and c.dst0 == p.dst0[i]
        ):
            return row
        row = np.int64(c.next)
    return np.int64(-1)


@inlined
def _begin(t, j, s, p, i, ident, where, h):
    """A row for a new datagram, or -1 when its source has too many; the oldest one gives way when all are taken."""
    w = _source_word(t, s, p.src0[i], p.src1[i])
    if t.rsm_src[w] >= s.per_source:
        return np.int64(-1)
    row = s.ctx_at + s.ctx_head % s.ctx_n
    c = t.rsm_ctx[row]
    if c.state == WAITING:
        _lose(t, j, s, row, FULL)
    _note_word(t, j, base(t.rsm_src) + 2 * w)
    t.rsm_src[w] += np.uint16(1)
    _note(t, j, base(c), CTX_WORDS)
    b = _bucket(s, h)
    _note_word(t, j, base(t.rsm_hash) + 4 * b)
    c.src0, c.src1, c.dst0, c.dst1 = p.src0[i], p.src1[i], p.dst0[i], p.dst1[i]
    c.id, c.where, c.begun, c.number = ident, where, s.now, s.ctx_head
    c.first, c.last = np.int64(-1), np.int64(-1)
    c.have, c.total, c.count, c.state = np.int32(0), np.int32(-1), np.int32(0), np.int32(WAITING)
    c.next = t.rsm_hash[b]
    t.rsm_hash[b] = np.int32(row)
    s.ctx_head += 1
    s.ctx_tail = max(s.ctx_tail, s.ctx_head - s.ctx_n)
    s.waiting += 1
    return row


# --------------------------------------------------------------------------------------------------- the ring
@inlined
def _at(t, s, pos):
    """Address of a ring position."""
    return base(t.rsm_ring) + s.ring_at + pos % s.ring_size


@inlined
def _i32(at):
    return np.int64(np.int32(ld32(at)))


@outlined
def _make_room(t, j, s, need):
    """Free the oldest bytes until `need` fit in front of them in one piece, and SLACK beside; whoever waits for these
    is lost."""
    to_end = s.ring_size - s.head % s.ring_size
    if to_end < need:  # the record starts at the ring's beginning: what is left is skipped
        need += to_end
    while s.head + need + SLACK > s.tail + s.ring_size and s.tail < s.head:
        at = _at(t, s, s.tail)
        row = np.int64(ld64(at + R_CTX))
        if row >= 0:
            c = t.rsm_ctx[row]
            if c.state == WAITING and c.number == np.int64(ld64(at + R_NUMBER)):
                _lose(t, j, s, row, FULL)
        s.tail += np.int64(ld64(at + R_SIZE))


@inlined
def _record_bytes(head, length):
    return (RECORD + head + length + 15) & ~15


@inlined
def _append(t, s, p, i, row, head, offset, length, size):
    """Put a fragment at the ring's head; returns its position. There is room: see _make_room."""
    to_end = s.ring_size - s.head % s.ring_size
    if to_end < size:
        at = _at(t, s, s.head)
        st64(at + R_SIZE, np.uint64(to_end))
        st64(at + R_CTX, np.uint64(np.int64(-1)))
        s.head += to_end
    pos = s.head
    at = _at(t, s, pos)
    st64(at + R_SIZE, np.uint64(size))
    st64(at + R_CTX, np.uint64(row))
    st64(at + R_NUMBER, np.uint64(t.rsm_ctx[row].number))
    st32(at + R_OFFSET, np.uint32(offset))
    st32(at + R_LENGTH, np.uint32(length))
    kept = head if offset == 0 else 0
    st32(at + R_HEAD, np.uint32(kept))
    packet = base(p.arena) + p.l3[i]
    if kept > 0:
        copy(at + RECORD, packet, kept)
    copy(at + RECORD + kept, packet + head, length)
    s.head += size
    return pos


@inlined
def _place(t, s, c, offset, length):
    """Where a fragment goes in its datagram: (position before it or -1, 0 or why not)."""
    before = np.int64(-1)
    if c.last >= 0 and _i32(_at(t, s, c.last) + R_OFFSET) < offset:
        before = c.last  # in order: the usual case
        after = np.int64(-1)
    else:
        after = c.first
        while after >= 0 and _i32(_at(t, s, after) + R_OFFSET) < offset:
            before = after
            after = np.int64(ld64(_at(t, s, after) + R_NEXT))
    if after >= 0:
        a = _at(t, s, after)
        if _i32(a + R_OFFSET) == offset and _i32(a + R_LENGTH) == length:
            return before, DUPLICATE
        if _i32(a + R_OFFSET) < offset + length:
            return before, OVERLAP
    if before >= 0:
        b = _at(t, s, before)
        if _i32(b + R_OFFSET) + _i32(b + R_LENGTH) > offset:
            return before, OVERLAP
    return before, 0


@inlined
def _wrong_length(t, s, c, end, more):
    """Whether a fragment that ends at `end` contradicts what is known of its datagram's length."""
    if c.total >= 0:
        return end > c.total or (not more and end != c.total)
    if more or c.last < 0:
        return False
    at = _at(t, s, c.last)
    return _i32(at + R_OFFSET) + _i32(at + R_LENGTH) > end


@inlined
def _link(t, j, s, c, pos, before):
    """Enter a fragment into its datagram's list, behind `before`."""
    at = _at(t, s, pos)
    if before < 0:
        st64(at + R_NEXT, np.uint64(c.first))
        c.first = pos
    else:
        b = _at(t, s, before) + R_NEXT
        _note(t, j, b, 1)
        st64(at + R_NEXT, ld64(b))
        st64(b, np.uint64(pos))
    if before == c.last:
        c.last = pos


# -------------------------------------------------------------------------------------------------- the packet
@inlined
def _refuse(p, i, cause):
    drop(p, i, cause, STAGE_REASSEMBLE)
    return GONE


@outlined
def _join(p, t, s, c, i, off, head):
    """Write a whole packet at arena offset `off` and make it row i's packet; a drop cause or 0."""
    arena = base(p.arena)
    first = _at(t, s, c.first)
    kept = head
    if p.fam[i] == 6:
        head -= 8
    copy(arena + off, first + RECORD, head)
    to = arena + off
    if p.fam[i] == 4:
        st16(to + 2, bswap16i(np.uint16(head + c.total)))
        st16(to + 6, bswap16i(np.uint16(be16(to + 6) & 0x4000)))
        st16(to + 10, np.uint16(0))
        st16(to + 10, np.uint16(~header_sum(to, head >> 2) & M16))
    else:
        _, octet = _fragment_header_at(first + RECORD)
        st8(to + octet, ld8(first + RECORD + kept - 8))
        st16(to + 4, bswap16i(np.uint16(head + c.total - 40)))
    pos = c.first
    while pos >= 0:
        at = _at(t, s, pos)
        copy(to + head + _i32(at + R_OFFSET), at + RECORD + _i32(at + R_HEAD), _i32(at + R_LENGTH))
        pos = np.int64(ld64(at + R_NEXT))
    p.notes[i] |= np.uint8(NOTE_REASSEMBLED)
    p.off[i] = off
    return parse_ip(p, i, off, head + c.total)


@inlined
def _budget(p, t, j, i, size):
    """Whether rows and arena have room for a packet of `size` bytes; alone in a vector any packet has."""
    worst = worst_rows(size, t.ctl[CTL_ROOM])
    if j == INNER and t.ctl[CTL_FRAME_ROWS] >= worst:
        worst = 0  # every frame of the vector has these rows already
    heap = JUMBO_OUTER if j == OUTER else JUMBO
    if p.st[ST_LEFT] >= worst and p.st[ST_JUMBO] + size + SLOT_EXTRA <= heap:
        p.st[ST_LEFT] -= worst
        return True
    if j == OUTER and i == 0:
        cut(p, t, 1)  # what comes behind it is given back, and its share of rows with it
        p.st[ST_LEFT] = 0
        return True
    return False


@outlined
def _fail(p, t, j, s, row, i, cause):
    """The datagram is lost with the fragment at hand, which is dropped itself and not counted as lost later."""
    _lose(t, j, s, row, cause)
    t.late[cause] -= U1
    return _refuse(p, i, cause)


@outlined
def _complete(p, t, j, s, row, i):
    """All fragments are there: row i becomes the packet; returns WHOLE, GONE or CUT."""
    c = t.rsm_ctx[row]
    head = _i32(_at(t, s, c.first) + R_HEAD)
    size = head + c.total - (8 if p.fam[i] == 6 else 0)
    if size - (40 if p.fam[i] == 6 else 0) > 65535:
        return _fail(p, t, j, s, row, i, BAD)
    if not _budget(p, t, j, i, size):
        return CUT if j == OUTER else _fail(p, t, j, s, row, i, NO_BUFFERS)
    cause = _join(p, t, s, c, i, jumbo_slot(p, size), head)
    s.merged += np.int64(c.count)
    s.whole += 1
    _unlink(t, j, s, row)
    return WHOLE if cause == 0 else _refuse(p, i, cause)


def hold_row(p, t, which):
    """The step: take the fragment of a row in; returns WHOLE (the row is now the packet), GONE (it has its verdict) or
    CUT. `which`: row, and in bit 32 the instance."""
    i, j = which & 0xFFFFFFFF, which >> 32
    s = t.rsm[j]
    head, offset, length, more, ident = _describe(p, i)
    size = _record_bytes(head if offset == 0 else 0, length)
    if j == OUTER and (t.ctl[CTL_UNDO] > UNDO_WORDS - UNDO_MARGIN or s.head + 2 * size - s.turn > SLACK):
        return CUT
    _note(t, j, base(s), RSM_WORDS)
    s.now = max(s.now, p.ts[i])
    _expire(t, j, s)
    end = offset + length + (head if p.fam[i] == 4 else 0)  # an IPv4 packet's length counts its header
    if length <= 0 or (more and length & 7 != 0) or end > 65535:
        return _refuse(p, i, BAD)
    where = _where(t, j, p, i)
    h = _key_hash(p, i, ident, where)
    _make_room(t, j, s, size)
    row = _find(t, s, p, i, ident, where, h)
    if row >= 0 and s.now - t.rsm_ctx[row].begun > s.timeout:
        _lose(t, j, s, row, TIMEOUT)
        row = np.int64(-1)
    if row < 0:
        row = _begin(t, j, s, p, i, ident, where, h)
        if row < 0:
            return _refuse(p, i, SOURCE)
    c = t.rsm_ctx[row]
    before, wrong = _place(t, s, c, offset, length)
    if wrong == DUPLICATE:
        return _refuse(p, i, DUPLICATE)
    if wrong == 0 and _wrong_length(t, s, c, offset + length, more):
        wrong = OVERLAP
    if wrong == 0 and c.count >= s.per_datagram:
        wrong = FULL
    if wrong != 0:
        _lose(t, j, s, row, wrong)
        return _refuse(p, i, wrong)
    _note(t, j, base(c), CTX_WORDS)
    pos = _append(t, s, p, i, row, head, offset, length, size)
    _link(t, j, s, c, pos, before)
    c.have += np.int32(length)
    c.count += np.int32(1)
    s.held += 1
    if not more:
        c.total = np.int32(offset + length)
    if c.have == c.total:
        return _complete(p, t, j, s, row, i)
    p.verdict[i] = CONSUMED
    p.stage[i] = np.uint8(STAGE_REASSEMBLE)
    return GONE


# ------------------------------------------------------------------------------- ports of fragments in transit
@outlined
def _follow(p, t, i):
    """Virtual reassembly: a later fragment gets the ports of its first one, if that went by before it."""
    _, _, _, _, ident = _describe(p, i)
    where = _where(t, OUTER, p, i)
    h = _key_hash(p, i, ident, where)
    mask = np.uint64(t.ctl[CTL_VFR_MASK])
    later = (p.frag[i] & FRAG_LATER) != 0
    oldest = np.int64(h & mask)
    for way in range(VFR_WAYS):
        k = np.int64((h + np.uint64(way)) & mask)
        v = t.vfr[k]
        fresh = v.used != 0 and p.ts[i] - v.ts <= VFR_TIMEOUT
        ends = (v.src0 ^ p.src0[i]) | (v.src1 ^ p.src1[i]) | (v.dst0 ^ p.dst0[i]) | (v.dst1 ^ p.dst1[i])
        if fresh and v.id == ident and v.where == where and ends == np.uint64(0):
            if later:
                p.sport[i], p.dport[i] = v.sport, v.dport
                p.flags[i] |= np.uint8(PORTS_KNOWN)
                return
            oldest = k
            break
        if v.used == 0 or v.ts < t.vfr[oldest].ts:
            oldest = k
    if later:
        return
    v = t.vfr[oldest]
    _note(t, OUTER, base(v), VFR_WORDS)
    v.src0, v.src1, v.dst0, v.dst1 = p.src0[i], p.src1[i], p.dst0[i], p.dst1[i]
    v.id, v.where, v.ts, v.used = ident, where, p.ts[i], np.uint32(1)
    v.sport, v.dport = p.sport[i], p.dport[i]


# ----------------------------------------------------------------------------------------------------- the stage
@inlined
def _ours(p, t, i):
    """Whether this router is the one to reassemble: what is addressed to it; with key files alone, IPsec."""
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        proto = p.proto[i]
        return proto == 50 or proto == 51 or (proto == 17 and t.ctl[CTL_UDP_WHOLE] != 0)
    return is_local(p, t, i)


@inlined
def _one(p, t, i):
    """WHOLE (a row for the lists), GONE or CUT."""
    if _ours(p, t, i):
        return run_step(p, t, STEP_HOLD, OUTER << 32 | i)
    if t.ctl[CTL_VFR_MASK] >= 0:
        if t.ctl[CTL_UNDO] > UNDO_WORDS - UNDO_MARGIN:
            return CUT
        _follow(p, t, i)
    return WHOLE


def reassemble(p, t, n):
    """Fragments, in order: those for this router until they are whole; the others go on as they are."""
    rx = 0
    p.st[ST_RX_SEEN] += 1  # OUTBOUND's list is made anew by `join`, in order
    for k in range(n):
        i = np.int64(p.fr[k])
        if i >= p.st[ST_ROWS]:
            break  # given back by a cut
        became = _one(p, t, i)
        if became == CUT:
            cut(p, t, i)
            break
        _note_end(t, p.rec_at[i])
        if became == WHOLE and is_inbound(p, t, i):
            p.work[rx] = i
            rx += 1
    p.st[ST_RX] = merge(p.rx, p.st[ST_RX], p.work, rx)
    return n
