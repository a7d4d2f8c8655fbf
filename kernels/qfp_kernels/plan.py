"""plan: sizes. What fits goes on, what is too long is fragmented before or after encryption or refused, by the table.

Everything that can go wrong in `encap` is predicted here from sizes and headers, exactly, before a number is given: a
number that no packet carries would leave a gap in the SA's sequence, and its bytes would count against the lifetime
(AR-1). The SA's row holds `fit`, the longest inner packet that goes on as it is, so a packet that fits costs one
comparison. The rules are data: fragment.DEPENDENCY.
"""

import numpy as np

from qfp_kernels.drops import STAGES, Drop
from qfp_kernels.forward import mtu_of
from qfp_kernels.fragment import AFTER, BEFORE, MTU_MIN4, MTU_MIN6, REFUSE, rule, split
from qfp_kernels.jit import inlined, outlined, run_step
from qfp_kernels.layout import ERR_BIG, FRAG, FRAG_DF, IF_VTI, ORIGIN, SAVE, ST_SPARE, STEP_SIZE
from qfp_kernels.parse import drop, insertion_point, owe

STAGE_PLAN = STAGES.index("plan")
OUT_TOO_LONG, AH_HEADERS = int(Drop.OUT_TOO_LONG), int(Drop.AH_HEADERS)
TRANSPORT_FRAGMENT, TRANSPORT_MISMATCH = int(Drop.TRANSPORT_FRAGMENT), int(Drop.TRANSPORT_MISMATCH)
FRAG_NEEDED, NO_BUFFERS = int(Drop.FRAG_NEEDED), int(Drop.NO_BUFFERS)
IP_MAX = 65535
CLEAR = 1  # `df` of an SA row


@inlined
def protected_size(sa, payload):
    """Bytes of `payload` bytes once padded, with IV, trailer and ICV (AH adds nothing but its header)."""
    if sa.proto != 50:
        return payload
    block = np.int64(sa.block)
    return np.int64(sa.iv_len) + ((payload + 2 + block - 1) & ~(block - 1)) + np.int64(sa.icv_len)


@inlined
def _ip_header(sa):
    return 20 if sa.fam == 4 else 40


@inlined
def _least(p, i):
    return MTU_MIN4 if p.fam[i] == 4 else MTU_MIN6


@inlined
def _own_mtu(p, t, i):
    """MTU of the VTI that the packet leaves by, by family; no limit behind a crypto map."""
    tun = np.int64(t.sp[p.sp[i]].tun) if p.sp[i] >= 0 else np.int64(-1)
    if tun < 0 or t.ifs[tun].kind != IF_VTI:
        return np.int64(IP_MAX)
    return max(mtu_of(t, tun, p.fam[i]), _least(p, i))


@inlined
def _what(p, i, sa, plain, own):
    """BEFORE, AFTER or REFUSE for a packet of tunnel mode that is longer than the VTI's MTU or than `plain`."""
    if p.fam[i] == 6 and (p.flags[i] & ORIGIN) != 0:  # this router is the packet's source and may fragment it
        return BEFORE if sa.before != 0 else AFTER
    if p.ip_len[i] > own:  # fragmentation by the interface's MTU, as without IPsec, but for `df-bit clear`
        held = p.fam[i] == 6 or ((p.frag[i] & FRAG_DF) != 0 and sa.df != CLEAR)
        return REFUSE if held else BEFORE
    if p.ip_len[i] <= plain:
        return AFTER  # shorter than what every link must carry: only the outer packet is fragmented (RFC 2473 7.1)
    return rule(p.fam[i], sa.before, sa.df, (p.frag[i] & FRAG_DF) != 0)


@inlined
def _tunnel(p, t, i, sa):
    """A long packet of tunnel mode: rows for its fragments, or in `lim` where the outer packet is cut; a cause or 0."""
    own = _own_mtu(p, t, i)
    if p.ip_len[i] <= min(own, np.int64(sa.plain_mtu)):
        return 0
    source = p.fam[i] == 6 and (p.flags[i] & ORIGIN) != 0  # who may fragment it to any size
    plain = np.int64(sa.plain_mtu) if source else max(np.int64(sa.plain_mtu), _least(p, i))
    what = _what(p, i, sa, plain, own)
    if what == REFUSE:
        owe(p, i, ERR_BIG, min(plain, own))
        return FRAG_NEEDED
    p.lim[i] = np.int32(sa.path_mtu)
    if what == BEFORE:
        limit = min(plain, own) if sa.before != 0 or p.ip_len[i] <= own else own
        return 0 if split(p, i, limit) > 0 else NO_BUFFERS
    total = np.int64(sa.hdr_len) + protected_size(sa, np.int64(p.ip_len[i]))
    return OUT_TOO_LONG if total > IP_MAX else 0


@outlined
def _transport(p, i, sa):
    """Transport mode protects whole packets only, so what is too long is fragmented after encryption (PF-4)."""
    if (p.frag[i] & FRAG) != 0:
        return TRANSPORT_FRAGMENT
    ends = (p.src0[i] ^ sa.src0) | (p.src1[i] ^ sa.src1) | (p.dst0[i] ^ sa.dst0) | (p.dst1[i] ^ sa.dst1)
    if p.fam[i] != sa.fam or ends != np.uint64(0):
        return TRANSPORT_MISMATCH
    at, _ = insertion_point(p, i)
    head = at - p.l3[i]
    if sa.ah_at != 255 and head > SAVE:
        return AH_HEADERS
    total = head + np.int64(sa.hdr_len) - _ip_header(sa) + protected_size(sa, np.int64(p.ip_len[i]) - head)
    too_long = total - (0 if sa.fam == 4 else 40) > IP_MAX
    if total <= np.int64(sa.path_mtu):
        return OUT_TOO_LONG if too_long else 0
    if (p.frag[i] & FRAG_DF) != 0 and not (sa.fam == 6 and (p.flags[i] & ORIGIN) != 0):
        owe(p, i, ERR_BIG, max(np.int64(sa.plain_mtu), _least(p, i)))
        return FRAG_NEEDED
    p.lim[i] = np.int32(sa.path_mtu)
    return OUT_TOO_LONG if too_long else 0


def size_row(p, t, i):
    """The step for a packet that may be too long for tunnel mode as it is, or is of transport mode: 1 = goes on.

    Rows that are cut from it stand behind it in its frame's chain.
    """
    sa = t.sa[p.sa[i]]
    cause = _transport(p, i, sa) if sa.mode != 0 else _tunnel(p, t, i, sa)
    if cause != 0:
        drop(p, i, cause, STAGE_PLAN)
        return 0
    return 1


@outlined
def _with_pieces(p, n, first):
    """Put the rows from `first` on, which were cut from rows of the list, behind these; returns its new length."""
    total = n + p.st[ST_SPARE] - first
    to = total
    for k in range(n - 1, -1, -1):
        i = p.tx[k]
        child = np.int64(p.more[i])
        count = 0
        r = child
        while r >= first:
            count += 1
            r = np.int64(p.more[r])
        to -= count + 1
        for c in range(count):  # they were made one after the other
            p.tx[to + 1 + c] = np.int32(child + c)
        p.tx[to] = i
    return total


def plan(p, t, n):
    kept = 0
    first = p.st[ST_SPARE]
    for k in range(n):
        i = np.int64(p.tx[k])
        p.tx[kept] = i
        sa = t.sa[p.sa[i]]
        if sa.mode == 0 and p.ip_len[i] <= np.int64(sa.fit):
            kept += 1
        else:
            kept += run_step(p, t, STEP_SIZE, i)
    return _with_pieces(p, kept, first) if p.st[ST_SPARE] != first else kept
