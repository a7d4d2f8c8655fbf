"""Builds the compressed tries of the FIB from sorted prefixes. What they are: `qfp_kernels.fib`.

Prefixes stand in order of address, shorter ones first, so one that lies within another comes after it. A node is then
one walk over the rows that belong to it: a prefix that ends here overwrites the slots that it covers, a longer one
opens a node in its slot, which takes over the leaf that stood there, and the rows of that node follow one another.
Nodes are finished in the order in which they were opened, so the children of one lie in a row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qfp_kernels.jit import inlined, kernel
from qfp_kernels.layout import FIB_INNER, STRUCTS

Array = npt.NDArray[Any]

PREFIX = np.dtype([
    ("high", "u8"), ("low", "u8"),  # network address, its first bit the highest of `high` in either family
    ("leaf", "u4"),  # as in table `fib_leaf`
    ("plen", "u1"),  # bits
])  # fmt: skip
TASK = np.dtype([
    ("first", "i8"), ("last", "i8"),  # rows of the prefixes that end below this node
    ("depth", "i8"),  # address bits in front of it
    ("leaf", "u4"),  # of the longest prefix that covers all of it
])  # fmt: skip
NODE = STRUCTS["fib_node"]
STRIDE = 6  # bits of a node
SLOTS = 1 << STRIDE
INNER = np.uint32(FIB_INNER)
U0, U1, U63, U64 = (np.uint64(k) for k in (0, 1, 63, 64))


@inlined
def _slot(prefix: Any, depth: int, bits: int) -> Any:
    """The `bits` (0 to 63) address bits behind the first `depth` (0 to 127); zeros follow the end."""
    skip = np.uint64(depth)
    if skip < U64:
        word = prefix.high << skip | prefix.low >> U1 >> (U63 - skip)
    else:
        word = prefix.low << (skip - U64)
    return np.int64(word >> U1 >> (U63 - np.uint64(bits)))


@kernel
def _room(array: Array, rows: int) -> Array:
    """The array, or a larger one with what it holds."""
    if array.size >= rows:
        return array
    larger = np.empty(max(rows, 2 * array.size), array.dtype)
    larger[: array.size] = array
    return larger


@inlined
def _spread(prefixes: Array, task: Any, bits: int, slots: Array, tasks: Array, opened: int) -> int:
    """Lay the prefixes of a task over 2**bits slots and open the nodes below; returns the number of nodes then."""
    first, last, depth = task.first, task.last, task.depth
    end = depth + bits
    for k in range(first, last):
        prefix = prefixes[k]
        slot = _slot(prefix, depth, bits)
        spare = end - np.int64(prefix.plen)
        if spare >= 0:
            slots[slot : slot + (1 << spare)] = prefix.leaf
        elif slots[slot] & INNER != 0:
            tasks[np.int64(slots[slot] ^ INNER)].last = k + 1
        else:
            below = tasks[opened]
            below.first, below.last, below.depth, below.leaf = k, k + 1, end, slots[slot]
            slots[slot] = INNER | np.uint32(opened)
            opened += 1
    return opened


@inlined
def _compress(slots: Array, node: Any, leaves: Array, used: int) -> int:
    """Write a node and its leaves from its 64 slots; returns the number of leaves then."""
    inner, runs = U0, U0
    node.node, node.leaf = 0, used
    for k in range(SLOTS):
        bit = U1 << np.uint64(k)
        if slots[k] & INNER != 0:
            if inner == U0:
                node.node = slots[k] ^ INNER
            inner |= bit
        elif runs == U0 or slots[k] != leaves[used - 1]:
            runs |= bit
            leaves[used] = slots[k]
            used += 1
    node.inner, node.runs = inner, runs
    return used


@kernel
def grow_tries(prefixes: Array, ends: Array, bits: Array, direct: Array) -> tuple[Array, Array]:
    """Build a trie for each group of prefixes; returns (`fib_node`, `fib_leaf`).

    prefixes: PREFIX rows, group by group, in each ascending by (high, low, plen) without equal ones. ends: int64, row
    behind each group. bits: int64, address bits of each group's part of `direct`. direct: uint32 zeros, 2**bits for
    each group, one behind the other; filled in.
    """
    tasks = np.empty(1, TASK)
    opened, at, first = 0, 0, 0
    for g in range(ends.size):
        size = 1 << bits[g]
        tasks = _room(tasks, opened + min(size, ends[g] - first) + 1)
        whole = tasks[tasks.size - 1]  # a row that no node has yet
        whole.first, whole.last, whole.depth = first, ends[g], 0
        opened = _spread(prefixes, whole, bits[g], direct[at : at + size], tasks, opened)
        at, first = at + size, ends[g]
    nodes, leaves = np.empty(max(opened, 1), NODE), np.empty(SLOTS, np.uint32)
    slots = np.empty(SLOTS, np.uint32)
    done, used = 0, 0
    while done < opened:
        tasks = _room(tasks, opened + SLOTS)
        nodes = _room(nodes, opened)
        leaves = _room(leaves, used + SLOTS)
        slots[:] = tasks[done].leaf
        opened = _spread(prefixes, tasks[done], STRIDE, slots, tasks, opened)
        used = _compress(slots, nodes[done], leaves, used)
        done += 1
    return nodes[:done], leaves[:used]
