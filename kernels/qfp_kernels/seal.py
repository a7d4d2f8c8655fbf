"""seal and open: hand the rows to the crypto kernels, grouped by algorithm and sorted by length.

A *kind* is one algorithm combination in one direction: up to four stages that run over the work list one after the
other (`t.seal` and `t.open` hold their addresses), e.g. CBC, MAC input, HMAC lanes, ICV. Lockstep kernels want 16
packets of one kind and of like length, longest first: two counting passes over an 18-bit key, 5 to 6 ns a packet. A
vector of one parallel kind (GCM) needs no sorting at all.
"""

import numpy as np

from qfp_kernels.jit import call, inlined, outlined
from qfp_kernels.layout import CTL_FAILED, FAILED_CRYPTO, JOB_DONE, JOB_DUE, ROWS_MAX, ST_WORK

KIND_STEPS = 4
LENGTH_BITS, RADIX_BITS = 12, 9
RADIX = 1 << RADIX_BITS
LENGTH_MASK = (1 << LENGTH_BITS) - 1
RADIX_MASK = np.uint32(RADIX - 1)
LOCKSTEP = 0x80  # bit of a kind's number: its kernels take packets side by side, so length matters


@inlined
def sort_key(kind, length):
    """Kind in the high bits; then the longest first, in units of 16 bytes."""
    return np.uint32(kind & 63) << np.uint32(LENGTH_BITS) | np.uint32(LENGTH_MASK - min(length >> 4, LENGTH_MASK))


@outlined
def _pass(p, n, shift, src, dst):
    """One stable counting pass over 9 bits of the key, from one half of work/key to the other."""
    count = np.zeros(RADIX, np.int32)
    for k in range(n):
        count[np.int64((p.key[src + k] >> np.uint32(shift)) & RADIX_MASK)] += 1
    at = np.int32(0)
    for b in range(RADIX):
        at, count[b] = at + count[b], at
    for k in range(n):
        b = np.int64((p.key[src + k] >> np.uint32(shift)) & RADIX_MASK)
        to = np.int64(dst + count[b])
        count[b] += 1
        p.work[to] = p.work[src + k]
        p.key[to] = p.key[src + k]


@outlined
def _run(p, t, addresses, kind, first, n):
    """The stages of one kind over work[first : first + n]."""
    p.st[ST_WORK] = first
    for step in range(KIND_STEPS):
        address = addresses[(kind & 63) * KIND_STEPS + step]
        if address != 0 and call(address, p, t, n) != n:  # a callback that raised answers something else
            t.ctl[CTL_FAILED] = FAILED_CRYPTO
            return


@inlined
def dispatch(p, t, addresses, n):
    """Run every kind that occurs among work[0 : n], whose `key` holds sort_key and whose SAs name their kind."""
    kind = np.int64(t.sa[p.c_sa[p.work[0]]].sealer)
    same = True
    for k in range(1, n):
        if np.int64(t.sa[p.c_sa[p.work[k]]].sealer) != kind:
            same = False
            break
    if same and kind & LOCKSTEP == 0:
        _run(p, t, addresses, kind, 0, n)
        return
    for k in range(n):
        i = p.work[k]
        p.key[k] = sort_key(np.int64(t.sa[p.c_sa[i]].sealer), np.int64(p.c_len[i]))
    _pass(p, n, 0, 0, ROWS_MAX)
    _pass(p, n, RADIX_BITS, ROWS_MAX, 0)
    first = 0
    while first < n:
        kind = np.int64(p.key[first] >> np.uint32(LENGTH_BITS))
        last = first + 1
        while last < n and np.int64(p.key[last] >> np.uint32(LENGTH_BITS)) == kind:
            last += 1
        _run(p, t, addresses, kind, first, last - first)
        first = last


def finish(p, t, n):
    """The last step of a kind without an ICV."""
    first = p.st[ST_WORK]
    for w in range(first, first + n):
        p.c_ok[p.work[w]] = np.uint8(JOB_DONE)
    return n


def seal(p, t, n):
    """OUTBOUND: encrypt and authenticate the ESP packets."""
    if n == 0:
        return n
    for k in range(n):
        p.work[k] = p.tx[k]
    dispatch(p, t, t.seal, n)
    return n


def seal_ah(p, t, n):
    """OUTBOUND: the AH of rows that have one, after their ESP is sealed."""
    if n == 0:
        return n
    for k in range(n):
        i = p.ah[k]
        sa = t.sa[p.sa[i]]
        esp = sa.proto == 50
        p.work[k] = i
        p.c_sa[i] = sa.next if esp else p.sa[i]
        outer = t.sa[p.c_sa[i]]
        p.c_off[i] = p.l3[i]
        p.c_len[i] = p.ip_len[i]
        p.c_icv[i] = p.l4[i] + 12 + outer.iv_len
        p.c_hi[i] = np.uint32((p.seq2[i] if esp else p.seq[i]) >> np.uint64(32))
        p.c_ok[i] = np.uint8(JOB_DUE)
    dispatch(p, t, t.seal, n)
    return n


def open_(p, t, n):
    """INBOUND: verify and decrypt the jobs that `lookup` found; `c_ok` says which are good."""
    if n == 0:
        return n
    for k in range(n):
        p.work[k] = p.rx[k]
    dispatch(p, t, t.open, n)
    return n
