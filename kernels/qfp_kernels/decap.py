"""decap: strip what was opened (trailer, ESP, AH, UDP, outer header), and find the packet inside.

Runs before `commit`, on bytes only: a cause found here is tentative until the replay and integrity verdict has fallen,
which outranks it.
"""

import numpy as np

from qfp_kernels.checksum import adjust, header_sum
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.jit import inlined, outlined, run_step
from qfp_kernels.layout import (
    CTL_FAILED,
    CTL_MODE,
    FAILED_CRYPTO,
    HEADROOM,
    JOB_DONE,
    JOB_DUE,
    LEVELS,
    MODE_DECRYPT,
    NOTE_ECN,
    ST_ARG,
    ST_RESULT,
    STEP_EXPAND,
)
from qfp_kernels.move import copy
from qfp_kernels.parse import is_inbound, next_header_at, parse_ip
from qfp_kernels.simd import bswap16i, ld8, ld16, ld64, st8, st16

STAGE_DECAP = STAGES.index("decap")
BAD_PADDING, BAD_NEXT_HEADER = int(Drop.BAD_PADDING), int(Drop.BAD_NEXT_HEADER)
BAD_INNER, ECN_CE, COMP_BAD = int(Drop.BAD_INNER), int(Drop.ECN_CE), int(Drop.COMP_BAD)
IPCOMP = 108
DUMMY = 200  # next header 59: consumed, not dropped (RFC 4303 section 2.6)
M16 = np.uint64(0xFFFF)
COUNTING = np.uint64(0x0807060504030201)
TUNNEL, TRANSPORT = 0, 1
DROP_IT = 5  # not a codepoint
# RFC 6040 figure 4: [inner][outer] -> the codepoint that goes on; + 8 = a combination worth an alarm
ECN = np.array(
    [[0, 0 + 8, 0 + 8, DROP_IT + 8], [1, 1, 1 + 8, 3], [2, 1, 2, 3], [3, 3 + 8, 3, 3]], np.uint8
)  # rows: Not-ECT, ECT(1), ECT(0), CE; columns the same, as the two bits count: 00, 01, 10, 11


@outlined
def _long_padding_ok(at, pad):
    wrong = np.uint8(0)
    for k in range(pad):
        wrong |= ld8(at - pad + k) ^ np.uint8(k + 1)
    return wrong == 0


@inlined
def _padding_ok(at, pad, body):
    """Pad bytes count 1, 2, 3 … (RFC 4303 section 2.4); `at` is the address of the pad-length octet."""
    if pad + 2 > body:
        return False
    if pad == 0:
        return True
    if pad <= 8:  # in one word: its upper `pad` bytes
        shift = np.uint64(64 - 8 * pad)
        return ld64(at - 8) >> shift == (COUNTING << shift) >> shift
    return _long_padding_ok(at, pad)


@outlined
def combine_ecn(p, i, off, outer):
    """Egress ECN of a tunnel (RFC 6040): write the inner codepoint; returns (drop cause or 0, alarm)."""
    at = base(p.arena) + off
    inner = p.tos[i] & np.uint8(3)
    rule = ECN[inner, outer]
    code = rule & np.uint8(7)
    alarm = rule >= 8
    if code == DROP_IT:
        return ECN_CE, alarm
    if code != inner:
        if p.fam[i] == 4:
            old = ld16(at)
            tos = (p.tos[i] & np.uint8(0xFC)) | code
            st8(at + 1, tos)
            st16(at + 10, adjust(ld16(at + 10), old, ld16(at)))
        else:
            st8(at + 1, (ld8(at + 1) & np.uint8(0xCF)) | (code << np.uint8(4)))
        p.tos[i] = (p.tos[i] & np.uint8(0xFC)) | code
    return 0, alarm


@inlined
def _from_tunnel(p, t, i, at, room):
    """The inner packet of a tunnel becomes the row's packet; returns a cause or 0."""
    outer = p.tos[i] & np.uint8(3)
    if parse_ip(p, i, at, room) != 0:
        return BAD_INNER
    if outer == p.tos[i] & np.uint8(3):
        return 0  # what nearly every packet says: nothing to combine
    cause, alarm = combine_ecn(p, i, at, outer)
    p.notes[i] |= np.uint8(NOTE_ECN if alarm else 0)
    return cause


@outlined
def _move_right(at, size, by):
    """Move `size` bytes at address `at` by `by` bytes to the right, last byte first."""
    for k in range(size - 1, -1, -1):
        st8(at + by + k, ld8(at + k))


@inlined
def _whole(p, i, at, head, size):
    """Length and checksum of a header of `head` bytes at arena offset `at`, before `size` bytes; a cause or 0."""
    to = base(p.arena) + at
    total = head + size
    if p.fam[i] == 4:
        st16(to + 2, bswap16i(np.uint16(total)))
        st16(to + 10, np.uint16(0))
        st16(to + 10, np.uint16(~header_sum(to, head >> 2) & M16))
    else:
        st16(to + 4, bswap16i(np.uint16(total - 40)))
    return BAD_INNER if total - (0 if p.fam[i] == 4 else 40) > 65535 or parse_ip(p, i, at, total) != 0 else 0


@outlined
def _from_transport(p, i, header_end, payload, size, next_header):
    """The IP header moves right, up to the payload of `size` bytes at arena offset `payload`; cause or 0."""
    arena = base(p.arena)
    l3 = np.int64(p.l3[i])
    by = payload - header_end
    st8(arena + next_header_at(p, i), np.uint8(next_header))
    _move_right(arena + l3, header_end - l3, by)
    return _whole(p, i, l3 + by, header_end - l3, size)


@outlined
def _from_elsewhere(p, i, header_end, payload, size, next_header):
    """The same for a payload that was decompressed, and stands in a slot with head-room of its own."""
    arena = base(p.arena)
    l3 = np.int64(p.l3[i])
    head = header_end - l3
    if head > HEADROOM:
        return COMP_BAD
    st8(arena + next_header_at(p, i), np.uint8(next_header))
    copy(arena + payload - head, arena + l3, head)
    p.off[i] = payload
    return _whole(p, i, payload - head, head, size)


@inlined
def _strip(p, t, i, sa):
    """Undo one level whose ICV verified; returns a cause, DUMMY or 0."""
    arena = base(p.arena)
    l4 = np.int64(p.l4[i])
    if sa.proto == 51:
        payload = l4 + (np.int64(ld8(arena + l4 + 1)) + 2) * 4
        size = np.int64(p.l3[i]) + p.ip_len[i] - payload
        next_header = np.int64(ld8(arena + l4))
    else:
        payload = np.int64(p.c_off[i]) + 8 + sa.iv_len
        body = np.int64(p.c_len[i])
        last = arena + payload + body - 2
        pad = np.int64(ld8(last))
        next_header = np.int64(ld8(last + 1))
        if not _padding_ok(last, pad, body):
            return BAD_PADDING
        size = body - 2 - pad
    if next_header == 59:
        return DUMMY
    moved = next_header == IPCOMP and (sa.comp != 0 or t.ctl[CTL_MODE] == MODE_DECRYPT)
    if moved:
        p.st[ST_ARG], p.st[ST_RESULT] = payload, size
        payload = run_step(p, t, STEP_EXPAND, i)
        if payload < 0:
            return COMP_BAD
        size, next_header = p.st[ST_RESULT], p.st[ST_ARG]
    inner = next_header == 4 or next_header == 41
    if sa.mode == TUNNEL and not inner and next_header != 50 and next_header != 51:
        return BAD_NEXT_HEADER
    if inner and sa.mode != TRANSPORT:
        cause = _from_tunnel(p, t, i, payload, size)
        want = 4 if next_header == 4 else 6
        return BAD_NEXT_HEADER if cause == 0 and p.fam[i] != want else cause
    if moved:
        return _from_elsewhere(p, i, l4, payload, size, next_header)
    return _from_transport(p, i, l4, payload, size, next_header)


@inlined
def _count_bundle(p, t, level):
    """An AH over this ESP counts what the ESP counts, as at the other end: neither reaches its volume first."""
    over, sa = t.sa[p.lv_sa[level - 1]], t.sa[p.lv_sa[level]]
    if over.proto == 51 and sa.proto == 50 and over.sp == sa.sp:
        p.lv_len[level - 1] = p.lv_len[level]


def decap(p, t, n):
    """INBOUND list after opening -> rows whose inner packet is protected again (the next level)."""
    kept = 0
    for k in range(n):
        i = np.int64(p.rx[k])
        level = i * LEVELS + np.int64(p.lv_n[i]) - 1
        p.lv_ok[level] = p.c_ok[i]
        if p.c_ok[i] != JOB_DONE:
            if p.c_ok[i] == JOB_DUE:  # nobody looked at its ICV: it is neither good nor bad
                t.ctl[CTL_FAILED] = FAILED_CRYPTO
            continue
        cause = _strip(p, t, i, t.sa[p.lv_sa[level]])
        if cause != 0:
            p.cause[i] = np.uint8(cause)
            continue
        p.lv_len[level] = p.ip_len[i]
        if p.lv_n[i] > 1:
            _count_bundle(p, t, level)
        if is_inbound(p, t, i):
            p.rx[kept] = i
            kept += 1
    return kept
