"""What a router will do with packets that have yet to enter it: which of them need its crypto engine.

The router's own routes, policies and look-up functions are asked, and nothing is changed: no counter, no state. A
packet needs the engine when it is IPsec for the router itself (ESP, AH, ESP in UDP; a later fragment of ESP in UDP
shows no port and is taken for plain), or when the policy of its way out protects it: a crypto map's entry, a VTI, a GRE
tunnel's protection or the crypto map that its GRE packets meet. What is dropped or answered later has needed the engine
all the same; what comes out of decryption and is encrypted again needs it once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.batch import Batch
from qfp.lab.flow import Array
from qfp.qos.headers import headers_of
from qfp_kernels.columns import Columns, base
from qfp_kernels.fib import route
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_NATT, FRAG_LATER, IF_GRE, IF_VTI, SP_PROTECT
from qfp_kernels.simd import ld8, ld32
from qfp_kernels.spd import gre_row, match

GRE, ESP, AH, UDP = 47, 50, 51, 17
TUNNELS_MAX = 4  # as tunnel.TUNNELS_MAX: a way through more of them ends in a drop


@dataclass(frozen=True)
class Ahead:
    """By row: whether it needs the engine, row of the interface that it leaves by (-1 = none), whether the router
    itself sent it, bytes of IP; `headers`: as of qos.headers_of."""

    needs: Array
    out_if: Array
    own: Array
    length: Array
    headers: Array


def ahead(tables: Any, batch: Batch) -> Ahead:
    """Look at the frames of a batch that arrive at the interfaces `in_if`."""
    rows, c = len(batch), batch.columns
    headers = headers_of(batch)
    found: dict[str, Array] = {
        "needs": np.zeros(rows, np.uint8), "own": np.zeros(rows, np.uint8), "out_if": np.full(rows, -1, np.int32),
    }  # fmt: skip
    if rows:
        frames = {name: c[name] for name in ("offset", "length", "in_if")}
        arena = np.ascontiguousarray(batch.arena)
        _look(tables.t, Columns("L", {"head": headers, "arena": arena, **frames, **found}), rows)
    length = np.maximum(batch.wire - headers["l3"], 1)
    return Ahead(found["needs"] != 0, found["out_if"], found["own"] != 0, length, headers)


@kernel
def _look(t: Any, b: Any, rows: int) -> None:
    natt = np.uint16(t.ctl[CTL_NATT])
    for i in range(rows):
        h = b.head[i]
        if h.fam == 0:
            continue
        vrf = t.ifs[b.in_if[i]].vrf
        found = route(t, vrf, h.fam, h.src0, h.src1)
        b.own[i] = np.uint8(found >= 0 and t.adj[found].local != 0)
        found = route(t, vrf, h.fam, h.dst0, h.dst1)
        if found < 0:
            continue
        if t.adj[found].local != 0:
            natted = h.proto == UDP and (h.frag & FRAG_LATER) == 0 and (h.sport == natt or h.dport == natt)
            at = b.offset[i] + h.l3
            inside = natted and _has_esp(base(b.arena) + at, b.length[i] - np.int64(h.l3), h.fam)
            b.needs[i] = np.uint8(h.proto == ESP or h.proto == AH or inside)
            continue
        out, protected = _way(t, h, t.adj[found])
        b.out_if[i], b.needs[i] = np.int32(out), np.uint8(protected)


@kernel
def _has_esp(at: Any, room: Any, fam: Any) -> Any:
    """RFC 3948: what follows the UDP header is ESP, neither IKE (a marker of four zero octets) nor a keepalive."""
    payload = 8 + (np.int64(ld8(at) & 15) * 4 if fam == 4 else 40)
    return room - payload >= 8 and ld32(at + payload) != np.uint32(0)


@kernel
def _way(t: Any, h: Any, adj: Any) -> Any:
    """(physical interface that a packet leaves by, whether it is protected)."""
    src0, src1, dst0, dst1, fam, proto = h.src0, h.src1, h.dst0, h.dst1, h.fam, h.proto
    sport, dport = h.sport, h.dport
    later = (h.frag & FRAG_LATER) != 0
    for _ in range(TUNNELS_MAX + 1):
        out = np.int64(adj.out_if)
        port = t.ifs[out]
        if port.kind != IF_GRE:
            rules = np.int64(port.spd4) if fam == 4 or port.kind == IF_VTI else np.int64(port.spd6)
            sp = np.int64(-1)
            if rules >= 0:
                sp = match(t, rules, src0, src1, dst0, dst1, fam, proto, sport, dport, later)
            way = np.int64(port.under) if port.kind == IF_VTI else out
            return way, sp >= 0 and t.sp[sp].action == SP_PROTECT
        row = gre_row(t, np.int64(port.tun), adj, fam, dst0, dst1)
        if row < 0:
            break
        tun = t.tun[row]
        if tun.sp >= 0:
            return np.int64(tun.under), True
        src0, src1, dst0, dst1, fam, proto = tun.src0, tun.src1, tun.dst0, tun.dst1, tun.fam, np.uint8(GRE)
        sport, dport, later = np.uint16(0), np.uint16(0), False
        found = route(t, np.int32(tun.vrf), fam, dst0, dst1)
        if found < 0 or t.adj[found].local != 0:
            return np.int64(-1), False
        adj = t.adj[found]
    return np.int64(-1), False
