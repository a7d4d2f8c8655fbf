"""The forwarding table: prefixes in one hash, one probe a prefix length in use, longest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.tables.store import Tables, words
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_FIB_MASK, CTL_FIBLEN4, CTL_FIBLEN6, STRUCTS
from qfp_kernels.spd import fib_hash

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Route:
    """A resolved route. `local`: the prefix is an address of the router itself."""

    prefix: IPv4Network | IPv6Network
    out_if: int
    vrf: int = 0
    local: bool = False


@kernel
def _insert(t: Any, routes: Array) -> None:
    """Enter rows of FIB_SLOT; a prefix that stands there already is kept (the better route comes first)."""
    mask = np.uint64(t.ctl[CTL_FIB_MASK])
    for k in range(routes.size):
        r = routes[k]
        j = np.int64(fib_hash(r.net0, r.net1, r.vrf, r.plen, r.fam) & mask)
        known = False
        while t.fib[j].out_if != -1 and not known:
            f = t.fib[j]
            known = f.net1 == r.net1 and f.net0 == r.net0 and f.plen == r.plen and f.fam == r.fam and f.vrf == r.vrf
            if not known:
                j = np.int64(np.uint64(j + 1) & mask)
        if not known:
            f = t.fib[j]
            f.net0, f.net1, f.vrf, f.plen, f.fam = r.net0, r.net1, r.vrf, r.plen, r.fam
            f.out_if, f.local = r.out_if, r.local


def build(tables: Tables, routes: Sequence[Route]) -> None:
    """Replace the table by these routes, best first."""
    rows = np.zeros(len(routes), STRUCTS["fib"])
    for k, route in enumerate(routes):
        rows[k]["net0"], rows[k]["net1"] = words(route.prefix.network_address)
        rows[k]["plen"], rows[k]["fam"] = route.prefix.prefixlen, route.prefix.version
        rows[k]["vrf"], rows[k]["out_if"], rows[k]["local"] = route.vrf, route.out_if, route.local
    size = max(16, 1 << (2 * max(1, len(routes))).bit_length())
    empty = np.zeros(size, STRUCTS["fib"])
    empty["out_if"] = -1
    tables.replace("fib", empty)
    tables.t.ctl[CTL_FIB_MASK] = size - 1
    _insert(tables.t, rows)
    _lengths(tables, routes)
    tables.changed()


def _lengths(tables: Tables, routes: Sequence[Route]) -> None:
    """The prefix lengths in use, IPv4 then IPv6, longest first, as masks."""
    rows, counts = [], {4: 0, 6: 0}
    for family, bits in ((4, 32), (6, 128)):
        for plen in sorted({r.prefix.prefixlen for r in routes if r.prefix.version == family}, reverse=True):
            mask = ((1 << plen) - 1) << (bits - plen)
            rows.append((mask >> 64, mask & 0xFFFFFFFFFFFFFFFF, plen, family))
            counts[family] += 1
    table = np.zeros(len(rows), STRUCTS["fiblen"])
    for k, (high, low, plen, family) in enumerate(rows):
        table[k]["mask0"], table[k]["mask1"], table[k]["plen"], table[k]["fam"] = high, low, plen, family
    tables.replace("fiblen", table)
    tables.t.ctl[CTL_FIBLEN4], tables.t.ctl[CTL_FIBLEN6] = counts[4], counts[6]
