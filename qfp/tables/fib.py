"""The forwarding table: routes and prefixes, checked, put in order and built into one trie a VRF and family."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.tables import poptrie
from qfp.tables.route import Route
from qfp.tables.store import Tables, words
from qfp_kernels.layout import STRUCTS

Array = npt.NDArray[Any]

ROW = np.dtype([
    ("net0", "u8"), ("net1", "u8"),  # network address as everywhere: IPv4 in net1 alone
    ("adj", "u4"),  # row of `adj`
    ("vrf", "u2"), ("plen", "u1"), ("fam", "u1"),
])  # fmt: skip
# (least prefixes, address bits of direct pointing), largest first: a few bytes a prefix. 12 and 18 let the node behind
# them end at /24, where most prefixes of the Internet's table end.
DIRECT = ((16_384, 18), (1024, 12), (128, 8), (0, 0))
FIB_TABLES = ("fib_root", "fib_direct", "fib_node", "fib_leaf")
ADJACENCIES_MAX = poptrie.INNER - 1
LOW = 0xFFFFFFFFFFFFFFFF
HOST_BITS = np.array([divmod((1 << 128 - plen) - 1, LOW + 1) for plen in range(129)], np.uint64)  # by prefix length


def build(tables: Tables, routes: Sequence[Route], vrfs: int = 1) -> None:
    """Replace the table of all `vrfs` VRFs by these routes, best first: of equal prefixes the first one counts.

    Raises ValueError for a VRF that there is not.
    """
    rows = np.zeros(len(routes), ROW)
    known: dict[tuple[Any, ...], int] = {}
    for k, r in enumerate(routes):
        if not 0 <= r.vrf < vrfs:
            raise ValueError(f"{r.prefix}: VRF {r.vrf}: there are {vrfs} VRFs")
        hop = words(r.next_hop) if r.next_hop is not None else (0, 0)
        adjacency = known.setdefault((*hop, r.out_if, r.local, r.prefix.version), len(known))
        rows[k] = (*words(r.prefix.network_address), adjacency, r.vrf, r.prefix.prefixlen, r.prefix.version)
    adjacencies = np.zeros(len(known), STRUCTS["adj"])
    for k, values in enumerate(known):
        for name, value in zip(("hop0", "hop1", "out_if", "local", "fam"), values, strict=True):
            adjacencies[name][k] = value
    build_columns(tables, rows, adjacencies, vrfs)


def build_columns(tables: Tables, rows: Array, adjacencies: Array | None = None, vrfs: int = 1) -> None:
    """Replace the table of all `vrfs` VRFs by prefixes in an array of dtype ROW, best first, as `build`.

    adjacencies: the new table `adj`, else it stays. Raises ValueError for rows of another dtype, host bits that are
    set, and a family, prefix length, VRF or adjacency that there is not; the old table then stays.
    """
    adj = tables.t.adj if adjacencies is None else adjacencies
    if adj.size > ADJACENCIES_MAX:
        raise ValueError(f"{adj.size} adjacencies: there may be {ADJACENCIES_MAX}")
    _check(rows, adj.size, vrfs)
    prefixes, group = _in_order(rows)
    ends = np.searchsorted(group, np.arange(2 * vrfs), side="right")
    bits = _direct_bits(np.diff(ends, prepend=0))
    direct = np.zeros(int((1 << bits).sum()), np.uint32)
    nodes, leaves = poptrie.grow_tries(prefixes, ends, bits, direct)
    roots = np.zeros(2 * vrfs, STRUCTS["fib_root"])
    roots["bits"] = bits
    roots["direct"][1:] = (1 << bits).cumsum()[:-1]
    for name, table in (
        ("adj", adj), ("fib_root", roots), ("fib_direct", direct), ("fib_node", nodes), ("fib_leaf", leaves),
    ):  # fmt: skip
        tables.replace(name, table)
    tables.changed()


def _check(rows: Array, adjacencies: int, vrfs: int) -> None:
    """Kernels check nothing: whatever would lead them astray is refused here."""
    if rows.dtype != ROW:
        raise ValueError(f"prefixes of dtype {rows.dtype}: give rows of fib.ROW")
    if not 1 <= vrfs <= 1 << 16:
        raise ValueError(f"{vrfs} VRFs: there may be 1 to 65536")
    four = rows["fam"] == 4
    for wrong, what in (
        (~four & (rows["fam"] != 6), "the family is neither 4 nor 6"),
        (rows["plen"] > np.where(four, 32, 128), "the prefix length is out of range"),
        (rows["vrf"] >= vrfs, f"there are {vrfs} VRFs"),
        (rows["adj"] >= adjacencies, f"there are {adjacencies} adjacencies"),
        (four & ((rows["net0"] != 0) | (rows["net1"] >> np.uint64(32) != 0)), "an IPv4 address has 32 bits"),
    ):
        _refuse(wrong, what)
    host = HOST_BITS[rows["plen"].astype(np.intp) + np.where(four, 96, 0)]
    _refuse((rows["net0"] & host[:, 0] | rows["net1"] & host[:, 1]) != 0, "host bits are set behind the prefix length")


def _refuse(wrong: Array, what: str) -> None:
    if wrong.any():
        raise ValueError(f"prefix row {int(wrong.argmax())}: {what}")


def _in_order(rows: Array) -> tuple[Array, Array]:
    """(PREFIX rows as the builder wants them, group of each): group is 2 * VRF, and 1 more for IPv6."""
    four = rows["fam"] == 4
    high = np.where(four, rows["net1"] << np.uint64(32), rows["net0"])
    low = np.where(four, np.uint64(0), rows["net1"])
    group = 2 * rows["vrf"].astype(np.int64) + ~four
    order = np.lexsort((rows["plen"], low, high, group))  # stable: the best of equal prefixes stays in front
    prefixes = np.empty(len(rows), poptrie.PREFIX)
    prefixes["high"], prefixes["low"], prefixes["plen"] = high[order], low[order], rows["plen"][order]
    prefixes["leaf"] = rows["adj"][order] + np.uint32(1)
    group = group[order]
    again = np.zeros(len(rows), bool)
    again[1:] = group[1:] == group[:-1]
    for name in ("high", "low", "plen"):
        again[1:] &= prefixes[name][1:] == prefixes[name][:-1]
    return prefixes[~again], group[~again]


def _direct_bits(counts: Array) -> Array:
    """Address bits of direct pointing for tries of so many prefixes."""
    least, bits = np.array(DIRECT).T
    chosen: Array = bits[(counts[:, None] >= least).argmax(axis=1)]
    return chosen
