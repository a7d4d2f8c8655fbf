"""lookup: from a protected packet to its SA and its crypto job, one level of nesting at a time.

An SA is found by (SPI, destination, protocol). The early replay check saves opening what will be refused anyway; the
verdict itself falls in `commit`, in packet order.
"""

import numpy as np

from qfp_kernels.awaited import ask
from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    CTL_MODE,
    CTL_NATT,
    CTL_PREFETCH,
    CTL_SAD_MASK,
    CTL_WILD,
    FRAG,
    JOB_DUE,
    LEVELS,
    MODE_DECRYPT,
    SAVE,
    ST_RX0,
)
from qfp_kernels.local import is_local
from qfp_kernels.parse import be16, drop
from qfp_kernels.replay import infer, refused
from qfp_kernels.simd import bswap32i, ld8, ld32, prefetch
from qfp_kernels.sns import infer_space, split
from qfp_kernels.spd import K0, K1, K2

STAGE_LOOKUP = STAGES.index("lookup")
NO_SA, FRAGMENT, RUNT = int(Drop.NO_SA), int(Drop.FRAGMENT), int(Drop.RUNT)
ENCAP_MISMATCH, NESTED = int(Drop.ENCAP_MISMATCH), int(Drop.NESTED_TOO_DEEP)
AH_HEADERS = int(Drop.AH_HEADERS)
PUNTED, CONSUMED = np.uint8(Verdict.PUNTED), np.uint8(Verdict.CONSUMED)
TRANSIT = 255  # not for this router: the packet goes on to OUTBOUND as it is
KEEPALIVE, IKE = 254, 253  # for the router itself, and no job for the openers
U32 = np.uint64(32)
TRAILER = 2
NATT_ANY = 2  # the key file did not say: with and without UDP


@inlined
def sad_hash(dst0, dst1, spi, proto):
    """An SPI is random already: one product each, one round of mixing."""
    h = (np.uint64(spi) | np.uint64(proto) << U32) * K0 ^ dst1 * K1 ^ dst0 * K2
    return h ^ (h >> U32)


@inlined
def _probe(t, dst0, dst1, spi, proto):
    mask = np.uint64(t.ctl[CTL_SAD_MASK])
    j = np.int64(sad_hash(dst0, dst1, spi, proto) & mask)
    while t.sad[j].sa != -1:
        slot = t.sad[j]
        if slot.spi == spi and slot.dst1 == dst1 and slot.dst0 == dst0 and slot.proto == proto and slot.sa >= 0:
            return np.int64(slot.sa)
        j = np.int64(np.uint64(j + 1) & mask)
    return np.int64(-1)


@inlined
def find_sa(t, dst0, dst1, spi, proto):
    """SA handle of (SPI, destination, protocol), or -1; key files may leave the destination open."""
    sa = _probe(t, dst0, dst1, spi, proto)
    if sa < 0 and t.ctl[CTL_WILD] != 0:
        sa = _probe(t, np.uint64(0), np.uint64(0), spi, proto)
    return sa


@outlined
def _udp_payload(at, room):
    """RFC 3948: 0 = ESP follows; KEEPALIVE; IKE (zero marker, or too short for anything else)."""
    if room >= 9 and ld8(at + 8) == 0xFF and be16(at + 4) == 9:
        return KEEPALIVE
    return IKE if room < 16 or ld32(at + 8) == np.uint32(0) else 0


@outlined
def _not_ours(p, t, i, result):
    """`result` for a packet to the router itself; TRANSIT for others. With key files alone: TRANSIT for inner packets,
    and for UDP that is here for its source port alone: without an SA that is no ESP."""
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        only_from = p.proto[i] == 17 and np.int64(p.dport[i]) != t.ctl[CTL_NATT]
        return TRANSIT if p.lv_n[i] > 0 or only_from else result
    return result if is_local(p, t, i) else TRANSIT


@inlined
def _esp_job(p, i, sa, esp, end):
    """Offsets of an ESP packet from arena offset esp to end; returns a drop cause or 0."""
    body = end - esp - 8 - np.int64(sa.iv_len) - np.int64(sa.icv_len)
    if body < TRAILER or body & (np.int64(sa.block) - 1) != 0:  # RFC 4303 section 2.4: at least 4-byte units
        return RUNT
    p.c_off[i] = esp
    p.c_len[i] = body
    p.c_icv[i] = end - sa.icv_len
    return 0


@outlined
def _ah_job(p, i, sa, ah, end, at):
    """Offsets of an AH packet; the header's length is read from the packet: ICVs are padded to 4 or to 8 bytes."""
    size = (np.int64(ld8(at + 1)) + 2) * 4
    if size < 12 + sa.icv_len + sa.iv_len or ah + size > end:
        return RUNT
    if ah - p.l3[i] > SAVE:
        return AH_HEADERS
    p.c_off[i] = p.l3[i]
    p.c_len[i] = end - p.l3[i]
    p.c_icv[i] = ah + 12 + sa.iv_len
    return 0


@outlined
def _in_space(p, t, i, state, low, esn):
    """(sequence number, whether the history of its space refuses it) for an SA with several spaces."""
    space, _ = split(t, low)
    history = t.sns_in[np.int64(state.sns_at) + space]
    seq = infer_space(t, history, esn, low)
    if p.lv_n[i] == 0:
        p.sns[i] = np.uint8(space)
    _, counter = split(t, seq)
    return seq, refused(t, history, counter)


@inlined
def _level(p, t, i, s, low, natt, ah_or_esp, end, at):
    """Record the SA found for this row as its next level; returns a drop cause or 0."""
    sa = t.sa[s]
    if t.ctl[CTL_MODE] != MODE_DECRYPT and sa.natt != NATT_ANY and (sa.natt != 0) != natt:
        return ENCAP_MISMATCH
    cause = _esp_job(p, i, sa, ah_or_esp, end) if sa.proto == 50 else _ah_job(p, i, sa, ah_or_esp, end, at)
    if cause != 0:
        return cause
    state = t.sa_in[s]
    if state.sns_at >= 0:
        seq, no = _in_space(p, t, i, state, np.uint64(low), sa.esn)
    else:
        seq = infer(state, np.uint64(low)) if sa.esn != 0 else np.uint64(low)
        no = refused(t, state, seq)
    k = i * LEVELS + np.int64(p.lv_n[i])
    p.lv_sa[k] = s
    p.lv_seq[k] = seq
    p.lv_len[k] = p.ip_len[i]
    refusal = np.uint8(2) if no else np.uint8(0)
    p.lv_ok[k] = refusal
    p.lv_n[i] += np.uint8(1)
    p.c_sa[i] = s
    p.c_hi[i] = np.uint32(seq >> U32)
    p.c_ok[i] = refusal ^ np.uint8(JOB_DUE)  # JOB_BAD for one that is refused
    p.sa[i] = s
    if k == i * LEVELS:  # verdicts name the outermost SA
        p.spi[i] = sa.spi
        p.seq[i] = seq
    return 0


@outlined
def _fetch(p, t, n):
    """Ask for hash slots, then for the SAs that they name, when there are so many SAs that they lie outside L2."""
    arena, mask = base(p.arena), np.uint64(t.ctl[CTL_SAD_MASK])
    for k in range(n):
        i = p.rx[k]
        at = arena + p.l4[i] + (8 if p.proto[i] == 17 else 4 if p.proto[i] == 51 else 0)
        proto = np.uint8(51) if p.proto[i] == 51 else np.uint8(50)
        p.key[k] = np.uint32(sad_hash(p.dst0[i], p.dst1[i], bswap32i(ld32(at)), proto) & mask)
        prefetch(base(t.sad[p.key[k]]))
    for k in range(n):
        s = t.sad[p.key[k]].sa
        if s >= 0:
            row = base(t.sa[s])
            prefetch(row)
            prefetch(base(t.sa_in[s]))
    for k in range(n):
        s = t.sad[p.key[k]].sa
        if s >= 0:
            prefetch(base(t.win) + 8 * np.int64(t.sa_in[s].win_at))
            if t.sa[s].sp >= 0:
                prefetch(base(t.sp[t.sa[s].sp]))


@outlined
def _without(p, t, i, spi, low, proto):
    """What becomes of a packet whose SPI nobody knows."""
    result = _not_ours(p, t, i, NO_SA)
    if result == NO_SA and p.lv_n[i] == 0:
        p.spi[i] = spi
        p.seq[i] = np.uint64(low)
        ask(p, t, i, spi, proto)
    elif t.ctl[CTL_MODE] == MODE_DECRYPT:
        ask(p, t, i, spi, proto)  # an SA with wildcards may be of inner packets as well, and of any UDP port
    return result


@inlined
def _one(p, t, i):
    """Returns 0 (a job stands), TRANSIT, KEEPALIVE, IKE, or a drop cause.

    An SA that is found names an address of ours; only without one the route must say whose packet it is.
    """
    arena = base(p.arena)
    l4, end = np.int64(p.l4[i]), np.int64(p.l3[i]) + p.ip_len[i]
    natt = p.proto[i] == 17
    if (p.frag[i] & FRAG) != 0:
        return _not_ours(p, t, i, FRAGMENT)
    proto = p.proto[i]
    if natt:
        size = be16(arena + l4 + 4) if end - l4 >= 8 else 0
        if size < 8 or size > end - l4:
            return _not_ours(p, t, i, RUNT)
        end = l4 + size
        kind = _udp_payload(arena + l4, size)
        if kind != 0:
            return _not_ours(p, t, i, kind)
        l4 += 8
        proto = np.uint8(50)
    if end - l4 < (8 if proto == 50 else 12):
        return _not_ours(p, t, i, RUNT)
    at = arena + l4
    spi = bswap32i(ld32(at if proto == 50 else at + 4))
    low = bswap32i(ld32(at + 4 if proto == 50 else at + 8))
    s = find_sa(t, p.dst0[i], p.dst1[i], spi, proto)
    if s < 0:
        return _without(p, t, i, spi, low, proto)
    if p.lv_n[i] >= LEVELS:
        return NESTED
    return _level(p, t, i, s, low, natt, l4, end, at)


@inlined
def _settle(p, i, result):
    """Verdict of a row for which there is no job."""
    if result == KEEPALIVE:
        p.verdict[i] = CONSUMED
    elif result == IKE:
        p.verdict[i] = PUNTED
    elif result != TRANSIT:
        if p.lv_n[i] == 0:
            drop(p, i, result, STAGE_LOOKUP)
        else:
            p.cause[i] = np.uint8(result)  # tentative: `commit` first judges the levels that were opened


def lookup(p, t, n):
    """INBOUND list -> rows with a job for the openers."""
    kept = 0
    if t.ctl[CTL_PREFETCH] != 0:
        _fetch(p, t, n)
    for k in range(n):
        i = np.int64(p.rx[k])
        result = _one(p, t, i)
        if result != 0:
            _settle(p, i, result)
            continue
        if p.lv_n[i] == 1:
            p.rx0[p.st[ST_RX0]] = i
            p.st[ST_RX0] += 1
        if p.lv_ok[i * LEVELS + np.int64(p.lv_n[i]) - 1] == 0:
            p.rx[kept] = i
            kept += 1
    return kept
