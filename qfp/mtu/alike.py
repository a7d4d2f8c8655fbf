"""Which paths must fare alike: everything that the fate of a size can depend on, as a key.

Paths with equal keys run through the same rows of the same tables, but for fields that say who is who. So one of them
is swept size by size, and of each other one only the ends of every band are sent: what comes out must confirm the band,
or that path is swept in full as well. A field is left out of the key only by naming it here.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np

from qfp.mtu.datagrams import ECHO, Address
from qfp.mtu.paths import Path
from qfp.router import Router
from qfp.tables.state import fields
from qfp.tables.store import words
from qfp_kernels.layout import CONFIG, STATE

ADDRESSES = {"src0", "src1", "dst0", "dst1"}
# Fields that tell one SA, interface, policy entry or tunnel from another, or lead to a row that is in the key.
IDENTITY: dict[str, set[str]] = {
    "sa": ADDRESSES | {"spi", "generation", "sp", "next", "udp_sport", "udp_dport", "id_row", "csum", "flow_id", "hdr"},
    "ifs": {"own4", "own6h", "own6l", "spd4", "spd6", "tun"},
    "sp": {"sa_out", "tun"},
    "tun": ADDRESSES | {"iface", "sp", "id_row", "key", "next_seq", "top_seq", "started", "next", "hdr"},
}  # fmt: skip
FIELDS = {
    table: [name for name in fields(table, CONFIG, STATE) if name not in who] for table, who in IDENTITY.items()
}  # counters are of no account
WHETHER = {"own4": 0, "own6h": 0, "own6l": 0, "spd4": -1, "spd6": -1}  # of `ifs`: only whether there is one counts


def key(path: Path, router: Router, peer: Router | None, host_mtus: dict[int, int]) -> Hashable | None:
    """What sizes of a path depend on; None for one that must be swept by itself.

    host_mtus: by family. An SA that compresses is by itself, because its sizes depend on what it sent before; so is a
    tunnel within a tunnel or a crypto map.
    """
    t, rows = router.tables.t, router.interfaces.row
    if path.protected and t.sa["comp"][path.sa]:
        return None
    if path.tunnel is not None:
        egress = t.ifs[rows[path.egress]]
        nested = path.kind == "vti" and max(egress["spd4"], egress["spd6"]) >= 0
        if nested or t.ifs["under"][rows[path.tunnel]] != rows[path.egress] or egress["under"] >= 0:
            return None
    far = _far(path, router, peer)
    if far is None:
        return None
    flows = [(family, *_flow(path, family, router), host_mtus[family]) for family in path.flows]
    tunnel = () if path.tunnel is None else (_interface(router, path.tunnel), _gre(router, path.tunnel, path.peer))
    entry = _row(t.sp, "sp", path.sp) if path.sp >= 0 else ()
    near = rows[path.ingress], rows[path.egress], _interface(router, path.ingress), _interface(router, path.egress)
    return path.kind, tuple(flows), near, tunnel, entry, _associations(router, path.sa), far


def _row(array: Any, table: str, k: int) -> tuple[Any, ...]:
    return tuple(array[name][k].item() for name in FIELDS[table])


def _interface(router: Router, name: str) -> tuple[Any, ...]:
    """The row of an interface."""
    ifs, k = router.tables.t.ifs, router.interfaces.row[name]
    return *_row(ifs, "ifs", k), *(bool(ifs[word][k] != none) for word, none in WHETHER.items())


def _gre(router: Router, name: str, end: Address | None) -> tuple[Any, ...]:
    """The row of a GRE tunnel, of a multipoint one that of the peer at this end."""
    t, row = router.tables.t, router.interfaces.row[name]
    k = int(t.ifs["tun"][row])
    if k >= 0 and t.tun["multi"][k]:
        high, low = words(end)
        k = int(np.flatnonzero((t.tun["iface"] == row) & (t.tun["dst0"] == high) & (t.tun["dst1"] == low))[0])
    return _row(t.tun, "tun", k) if k >= 0 else ()


def _associations(router: Router, handle: int) -> tuple[Any, ...]:
    """The rows of an SA and of those over it."""
    found = []
    while handle >= 0:
        found.append(_row(router.tables.t.sa, "sa", handle))
        handle = int(router.tables.t.sa["next"][handle])
    return tuple(found)


def _flow(path: Path, family: int, router: Router) -> tuple[Any, ...]:
    """A flow but for its ends: its protocol, and where an error about it goes."""
    flow = path.flows[family]
    vrf = router.routing.vrf_of(router.config.interfaces[path.ingress])
    back = router.routing.lookup(flow.src, vrf)
    return flow.protocol, flow.sport if flow.protocol in ECHO else 0, back and (back.out_if, back.local)


def _far(path: Path, router: Router, peer: Router | None) -> tuple[Any, ...] | None:
    """What the peer adds; empty where it is not asked, None where it is and its part is not plain to see."""
    if peer is None or path.peer_ingress is None:
        return ()
    t, sa = peer.tables.t, router.tables.t.sa
    top = path.sa
    while path.protected and sa["next"][top] >= 0:
        top = int(sa["next"][top])
    same = [t.sa[name] == sa[name][top] for name in ("spi", "proto", "dst0", "dst1")] if path.protected else []
    found = np.flatnonzero(np.logical_and.reduce([*same, t.sa["valid"] == 1])) if same else np.zeros(0, np.int64)
    if path.protected and len(found) != 1:
        return None
    inbound = [_row(t.sa, "sa", int(k)) for k in found]
    entries = [_row(t.sp, "sp", int(t.sa["sp"][k])) for k in found if t.sa["sp"][k] >= 0]
    tunnel = path.peer_tunnel
    if path.tunnel is not None and tunnel is None:
        return None
    home = peer.config.interfaces[tunnel or path.peer_ingress]
    ways = []
    for flow in path.flows.values():
        route = peer.routing.lookup(flow.dst, peer.routing.vrf_of(home))
        if route is None:
            return None
        name = peer.interfaces.names[route.out_if]
        ways.append((route.out_if, route.local, _interface(peer, name)))
    ends = (_interface(peer, tunnel), _gre(peer, tunnel, path.local)) if tunnel is not None else ()
    return peer.interfaces.row[path.peer_ingress], _interface(peer, path.peer_ingress), *inbound, *entries, ends, *ways
