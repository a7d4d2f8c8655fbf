"""From the routes of a configuration to the forwarding table, as columns: no object a route."""

import numpy as np

from qfp.config.routing import Forwarding
from qfp.tables import fib
from qfp.tables.store import Tables, words
from qfp_kernels.layout import STRUCTS

LOW = 0xFFFFFFFFFFFFFFFF


def build(tables: Tables, forwarding: Forwarding, vrfs: int) -> None:
    """Replace the forwarding table of all `vrfs` VRFs."""
    count = len(forwarding.networks)
    rows = np.zeros(count, fib.ROW)
    table = np.frombuffer(forwarding.tables, f"u{forwarding.tables.itemsize}") if count else np.zeros(0, np.uint64)
    rows["net1"] = np.fromiter((network & LOW for network in forwarding.networks), np.uint64, count)
    if (table & 1).any():
        rows["net0"] = np.fromiter((network >> 64 for network in forwarding.networks), np.uint64, count)
    rows["adj"], rows["plen"] = forwarding.rows, forwarding.lengths
    rows["vrf"], rows["fam"] = table >> 1, np.where(table & 1, 6, 4)
    adjacencies = np.zeros(len(forwarding.adjacencies), STRUCTS["adj"])
    for k, each in enumerate(forwarding.adjacencies):
        hop = words(each.next_hop) if each.next_hop is not None else (0, 0)
        adjacencies[["hop0", "hop1", "out_if", "local", "fam"]][k] = (*hop, each.out_if, each.local, each.family)
    fib.build_columns(tables, rows, adjacencies, vrfs)
