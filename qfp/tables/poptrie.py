"""Builds the compressed tries of the FIB from sorted prefixes. What they are: `qfp_kernels.fib`.

Prefixes stand in order of address, shorter ones first, so one that lies within another comes after it. A node is then
one walk over the rows that belong to it: a prefix that ends here overwrites the slots that it covers, a longer one
opens a node in its slot, which takes over the leaf that stood there, and the rows of that node follow one another.
Nodes are finished in the order in which they were opened, so the children of one lie in a row. Where the rows agree in
more bits than a node has, a node that compares takes their place.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qfp_kernels.jit import inlined, kernel
from qfp_kernels.layout import FIB_INNER, STRUCTS
from qfp_kernels.simd import leading_zeros

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
COMPARED = 58  # bits at most: the low six hold their number
INNER = np.uint32(FIB_INNER)
U0, U1, U63, U64 = (np.uint64(k) for k in (0, 1, 63, 64))


@inlined
def _window(prefix: Any, depth: int) -> Any:
    """The 64 address bits behind the first `depth` (0 to 127); zeros follow the end."""
    skip = np.uint64(depth)
    if skip < U64:
        return prefix.high << skip | prefix.low >> U1 >> (U63 - skip)
    return prefix.low << (skip - U64)


@kernel
def _room(array: Array, rows: int) -> Array:
    """The array, or a larger one with what it holds."""
    if array.size >= rows:
        return array
    larger = np.empty(max(rows, 2 * array.size), array.dtype)
    for k in range(array.size):  # as a slice it would take two seconds to compile
        larger[k] = array[k]
    return larger


@inlined
def _open(tasks: Array, opened: int, first: int, depth: int, leaf: int) -> Any:
    """Open a node with the prefix `first` below it; returns the entry that leads there."""
    task = tasks[opened]
    task.first, task.last, task.depth, task.leaf = first, first + 1, depth, leaf
    return INNER | np.uint32(opened)


@inlined
def _spread(prefixes: Array, task: Any, bits: int, slots: Array, tasks: Array, opened: int) -> int:
    """Lay the prefixes of a task over 2**bits slots and open the nodes below; returns the number of nodes then."""
    first, last, depth = task.first, task.last, task.depth
    end = depth + bits
    for k in range(first, last):
        prefix = prefixes[k]
        slot = np.int64(_window(prefix, depth) >> U1 >> (U63 - np.uint64(bits)))
        spare = end - np.int64(prefix.plen)
        if spare >= 0:
            for covered in range(slot, slot + (1 << spare)):
                slots[covered] = prefix.leaf
        elif slots[slot] & INNER != 0:
            tasks[np.int64(slots[slot] ^ INNER)].last = k + 1
        else:
            slots[slot] = _open(tasks, opened, k, end, slots[slot])
            opened += 1
    return opened


@inlined
def _in_common(prefixes: Array, task: Any) -> Any:
    """How many bits a node can compare: all of a prefix alone, or those that several share; 0 = less than a stride."""
    first, last = prefixes[task.first], prefixes[task.last - 1]
    behind = np.int64(first.plen) - task.depth  # the first is the shortest if one holds all the others
    if task.last - task.first == 1:
        return min(behind, COMPARED)
    same = leading_zeros(_window(first, task.depth) ^ _window(last, task.depth))
    same = min(same, behind - 1, COMPARED)
    return same if same >= STRIDE else 0


@inlined
def _compare(prefixes: Array, task: Any, bits: int, node: Any, tasks: Array, opened: int) -> int:
    """Write a node that compares, and open the one behind it if need be; returns the number of nodes then."""
    first, last, depth, leaf = task.first, task.last, task.depth, task.leaf
    prefix, unused = prefixes[first], np.uint64(64 - bits)
    node.inner, node.runs = _window(prefix, depth) >> unused << unused | np.uint64(bits), U0
    node.leaf = leaf
    if depth + bits == np.int64(prefix.plen):
        node.node = prefix.leaf
        return opened
    node.node = _open(tasks, opened, first, depth + bits, leaf)
    tasks[opened].last = last
    return opened + 1


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
    node.inner, node.runs = inner, max(runs, U1)  # 64 nodes and no leaf: a run that nobody asks for
    return used


@kernel
def _finish(prefixes: Array, tasks: Array, opened: int) -> tuple[Array, Array]:
    """Write the nodes that are open, and those that are opened meanwhile; returns (`fib_node`, `fib_leaf`)."""
    nodes, leaves = np.empty(max(opened, 1), NODE), np.empty(SLOTS, np.uint32)
    slots = np.empty(SLOTS, np.uint32)
    done, used = 0, 0
    while done < opened:
        tasks = _room(tasks, opened + SLOTS)
        nodes = _room(nodes, opened)
        leaves = _room(leaves, used + SLOTS)
        task, node = tasks[done], nodes[done]
        common = _in_common(prefixes, task)
        if common > 0:
            opened = _compare(prefixes, task, common, node, tasks, opened)
        else:
            for k in range(SLOTS):
                slots[k] = task.leaf
            opened = _spread(prefixes, task, STRIDE, slots, tasks, opened)
            used = _compress(slots, node, leaves, used)
        done += 1
    return nodes[:done], leaves[:used]


@kernel
def grow_tries(prefixes: Array, ends: Array, bits: Array, direct: Array) -> tuple[Array, Array]:
    """Build a trie for each group of prefixes; returns (`fib_node`, `fib_leaf`).

    prefixes: PREFIX rows, group by group, in each ascending by (high, low, plen) without equal ones. ends: int64, row
    behind each group. bits: int64, address bits of each group's part of `direct`. direct: uint32 zeros, 2**bits for
    each group, one behind the other; filled in.
    """
    tasks, whole = np.empty(1, TASK), np.zeros(1, TASK)  # a row alone would not keep its array from being freed
    opened, at, first = 0, 0, 0
    for g in range(ends.size):
        size = 1 << bits[g]
        whole[0].first, whole[0].last = first, ends[g]
        tasks = _room(tasks, opened + min(size, ends[g] - first))
        opened = _spread(prefixes, whole[0], bits[g], direct[at : at + size], tasks, opened)
        at, first = at + size, ends[g]
    nodes, leaves = _finish(prefixes, tasks, opened)
    return nodes, leaves
