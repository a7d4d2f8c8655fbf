"""Longest-prefix match: from a destination to its adjacency, in a multiway trie with population counts.

After Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable Software IP Routing Table
Lookup", SIGCOMM 2015. The first bits of an address index an array (direct pointing); from there on every node takes
six bits. A node has no array of 64 slots: its children stand in a row, and so do its leaves, equal neighbours once, and
counting the ones of a bit vector up to a slot says which of them is meant. Prefixes are pushed down to the leaves when
the table is built, so the first leaf is the answer and no way leads back.

Not in the paper: where all prefixes below agree in many bits, as they do in IPv6, one node compares up to 58 bits and
knows where to go in either case, in place of a chain of nodes with one child each. A million IPv6 prefixes take 32 to
34 bytes each in place of 56 to 100, and a look-up 36 to 84 ns in place of 146 to 180 (below allocations, scattered).

`qfp.tables.fib` builds the tables so that every address ends at a leaf of its (VRF, family), within the tables.
"""

import numpy as np

from qfp_kernels.jit import inlined
from qfp_kernels.layout import FIB_COUNT, FIB_INNER
from qfp_kernels.simd import popcount

INNER, COUNT = np.uint32(FIB_INNER), np.uint64(FIB_COUNT)
U1, U2, U6, U32, U58, U63, U64 = (np.uint64(k) for k in (1, 2, 6, 32, 58, 63, 64))


@inlined
def advance(high, low, bits):
    """The two words of an address, `bits` (0 to 63) to the left: zeros follow its end."""
    return high << bits | low >> U1 >> (U63 - bits), low << bits


@inlined
def route(t, vrf, fam, dst0, dst1):
    """Longest-prefix match of a destination (two uint64) in a VRF: row of `adj`, or -1 without a route."""
    high, low = dst0, dst1
    if fam == 4:
        high, low = dst1 << U32, np.uint64(0)  # either family starts at the highest bit
    root = t.fib_root[2 * np.int64(vrf) + (fam != 4)]
    bits = np.uint64(root.bits)
    entry = t.fib_direct[np.int64(root.direct) + np.int64(high >> U1 >> (U63 - bits))]
    while entry & INNER != 0:
        high, low = advance(high, low, bits)  # those that led here
        node = t.fib_node[np.int64(entry ^ INNER)]
        if node.runs == 0:
            bits = node.inner & COUNT
            entry = node.node if (high ^ node.inner) >> (U64 - bits) == 0 else node.leaf
            continue
        bits, slot = U6, high >> U58
        upto = (U2 << slot) - U1  # ones for this slot and those before it
        if node.inner >> slot & U1 == 0:
            return np.int64(t.fib_leaf[np.int64(node.leaf) + popcount(node.runs & upto) - 1]) - 1
        entry = INNER | np.uint32(np.int64(node.node) + popcount(node.inner & upto) - 1)
    return np.int64(entry) - 1
