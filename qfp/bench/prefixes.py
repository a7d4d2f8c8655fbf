"""Large FIBs from a seed: prefixes with about the lengths of the Internet's tables, and destinations for them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.bench.site import OUTSIDE
from qfp.tables import fib
from qfp.tables.store import Tables
from qfp_kernels.layout import STRUCTS

Array = npt.NDArray[Any]
U32 = np.uint64(32)

# Prefixes of each length, in a thousand: a made-up mix in which /24 and /48 prevail, as in the Internet's tables
LENGTHS: dict[int, dict[int, float]] = {
    4: {12: 0.3, 13: 0.6, 14: 1.2, 15: 2, 16: 14, 17: 8, 18: 14, 19: 25, 20: 43, 21: 50, 22: 110, 23: 100, 24: 632},
    6: {28: 1, 29: 22, 30: 3, 32: 115, 33: 12, 34: 10, 36: 48, 38: 10, 40: 125, 42: 18, 44: 115, 46: 24, 47: 20,
        48: 470, 56: 3, 64: 4},
}  # fmt: skip
HOPS = 256  # adjacencies that the prefixes lead to
BLOCK = 8  # IPv6: prefixes in one allocation of /32, in the mean


def _networks(family: int, plen: Array, rng: np.random.Generator) -> Array:
    """Network addresses (IPv6: their high words) of these lengths: anywhere in IPv4, in allocations below 2000::/3."""
    bits = np.uint64(32 if family == 4 else 64)
    if family == 4:
        address = rng.integers(0, 1 << 32, plen.size, dtype=np.uint64)
    else:
        blocks = rng.integers(1 << 29, 1 << 30, max(1, plen.size // BLOCK), dtype=np.uint64)
        address = rng.choice(blocks, plen.size) << U32 | rng.integers(0, 1 << 32, plen.size, dtype=np.uint64)
    return address >> (bits - plen) << (bits - plen)


def prefixes(family: int, count: int, seed: int = 1) -> Array:
    """Rows of fib.ROW: `count` different prefixes in no order, a default route among them."""
    rng = np.random.default_rng(seed)
    lengths = np.array(list(LENGTHS[family]), np.uint64)
    share = np.array(list(LENGTHS[family].values()))
    net, plen = np.zeros((2, 1), np.uint64)  # the default route, which stays in front
    while net.size < count:
        more = rng.choice(lengths, count, p=share / share.sum())
        net, plen = np.append(net, _networks(family, more, rng)), np.append(plen, more)
        order = np.lexsort((plen, net))
        again = (np.diff(net[order]) == 0) & (np.diff(plen[order]) == 0)
        net, plen = (column[order[np.append(True, ~again)]] for column in (net, plen))
    chosen = np.append(0, rng.permutation(np.arange(1, net.size))[: count - 1])
    rows = np.zeros(count, fib.ROW)
    rows["net1" if family == 4 else "net0"], rows["plen"] = net[chosen], plen[chosen]
    rows["fam"], rows["adj"] = family, rng.integers(0, HOPS, count)
    return rows


def destinations(rows: Array, count: int, seed: int = 2) -> tuple[Array, Array]:
    """(high words, low words) of addresses: IPv4 uniform over all there are, IPv6 uniform over the prefixes."""
    rng = np.random.default_rng(seed)
    if rows["fam"][0] == 4:
        return np.zeros(count, np.uint64), rng.integers(0, 1 << 32, count, dtype=np.uint64)
    within = rng.choice(rows, count)
    host = fib.HOST_BITS[within["plen"]]
    words = rng.integers(0, 1 << 64, (2, count), dtype=np.uint64)
    return within["net0"] | words[0] & host[:, 0], within["net1"] | words[1] & host[:, 1]


def install(rows: Array) -> Tables:
    """Tables with a FIB of these prefixes."""
    adjacencies = np.zeros(HOPS, STRUCTS["adj"])
    adjacencies["out_if"], adjacencies["fam"], adjacencies["hop1"] = OUTSIDE, rows["fam"][0], 1 + np.arange(HOPS)
    tables = Tables()
    fib.build_columns(tables, rows, adjacencies)
    return tables


def table_bytes(tables: Tables) -> int:
    """Bytes of a FIB."""
    return sum(getattr(tables.t, name).nbytes for name in fib.FIB_TABLES)
