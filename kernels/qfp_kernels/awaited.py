"""awaited: SAs of generations to come that are not installed, found by the packets that use them.

Nothing tells a router that its peer has left several generations of SAs behind (it was cleared more than once while its
packets were lost). The SPIs of the next ones can be derived, but not for every packet with an SPI that nobody knows. So
one hash table says, of such a packet, whether the control plane is to be asked:

    by its two ends              of some pair of SAs, whose coming SPIs have, or have not, been derived
    by ends, SPI and protocol    one of these SPIs: its SA is installed now, and the packet is looked up again

With key files alone the table says instead what was asked already: ends, or ends, SPI and protocol, of which no SA with
wildcards is. All others are asked about, so Python sees each pair of ends, and each of their SPIs, once.

A forged packet costs two probes, and Python is asked once for each pair of ends. What is installed proves nothing yet:
the SA's first authentic packet does, as for the next generation, which is always there.
"""

import numpy as np

from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import CTL_AWAITED, CTL_MODE, MODE_DECRYPT, ST_ASK, ST_ASK_ROW
from qfp_kernels.spd import mix

NOT_ASKED, NOT_BUILT = -2, -1  # ctl[CTL_AWAITED] without a table; else its mask
NOBODY, BUILD, PACKET = -1, -2, -3  # in place of an entry; PACKET: about the packet itself
ENDS_NEW, ENDS_DERIVED, GONE = -1, -2, -3  # `pair` of entries that are no SPIs
U0, U1, U32 = np.uint64(0), np.uint64(1), np.uint64(32)


@inlined
def ends_key(src0, src1, dst0, dst1):
    return mix(src0, src1, dst0, dst1, U0) | U1  # 0 = an empty entry


@inlined
def spi_key(ends, spi, proto):
    return mix(ends, np.uint64(spi), np.uint64(proto), U0, U1) | U1


@inlined
def find(t, key):
    """Entry with this key, or the empty one where it would go."""
    mask = np.uint64(t.ctl[CTL_AWAITED])
    k = np.int64((key >> U32) & mask)
    while t.awaited[k].key != key and t.awaited[k].key != U0:
        k = np.int64(np.uint64(k + 1) & mask)
    return k


@inlined
def _entry(p, t, i, spi, proto):
    """Entry to ask about for a packet with an SPI that nobody knows, NOBODY or BUILD."""
    state = t.ctl[CTL_AWAITED]
    if state < 0:
        return np.int64(BUILD if state == NOT_BUILT else NOBODY)
    ends = ends_key(p.src0[i], p.src1[i], p.dst0[i], p.dst1[i])
    k = find(t, ends)
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        asked = t.awaited[k].key != U0 or t.awaited[find(t, spi_key(ends, spi, proto))].key != U0
        return np.int64(NOBODY if asked else PACKET)
    if t.awaited[k].key == U0:
        return np.int64(NOBODY)
    if t.awaited[k].pair == ENDS_NEW:
        return k
    k = find(t, spi_key(ends, spi, proto))
    return np.int64(NOBODY) if t.awaited[k].key == U0 or t.awaited[k].pair == GONE else k


@outlined
def ask(p, t, i, spi, proto):
    """Note the first row of the vector that the control plane is to be asked about: `commit` stops there."""
    if i < p.st[ST_ASK_ROW]:
        k = _entry(p, t, i, spi, proto)
        if k != NOBODY:
            p.st[ST_ASK_ROW], p.st[ST_ASK] = i, k
