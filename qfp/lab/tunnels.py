"""Output policies of tunnel interfaces: their queues stand before those of the line that a tunnel's packets leave by.

Packets are numbered and encrypted when they come into these queues, and classified as they were before that. Behind
them they wait for the line like others, by their outer header. A tunnel takes what its line takes, or what a shaper in
its policy says. Which tunnel a packet went through is told by its SA, and where it has none by the ends of its GRE
header; what a crypto map has encrypted once more is not told.
"""

from typing import Any

import numpy as np

from qfp.lab.flow import NEVER, Array, Flow, merge_in_order
from qfp.lab.holding import Holding
from qfp.qos.headers import headers_of
from qfp.router import Router
from qfp_kernels.layout import IF_GRE

GRE = 47


class TunnelPort(Holding):
    """The queues of one tunnel interface."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._gone = Flow.empty()  # left the queues, or will have at `ts`

    def offer(self, flow: Flow, seen: Any) -> None:
        """Packets that a router sends through the tunnel, in order of time."""
        self.stats["packets"] += len(flow)
        self.stats["bytes"] += int(flow.batch.length.sum(dtype=np.int64))
        self.admit(flow, seen)

    def release(self, horizon: int) -> Flow:
        """What has left before a time."""
        flow, depart, _ = self.leave(horizon)
        self._gone = merge_in_order([self._gone, flow.at(depart)])
        ready = int(np.searchsorted(self._gone.batch.ts, horizon))
        out, self._gone = self._gone.take(slice(0, ready)), self._gone.take(slice(ready, None))
        return out

    def renumber(self, rows: Array) -> None:
        """Row k of the router's interfaces is now row `rows[k]`."""
        self._held, self._gone = self._held.renumbered(rows), self._gone.renumbered(rows)

    @property
    def next(self) -> int:
        """Nothing leaves before this."""
        gone = int(self._gone.batch.ts[0]) if len(self._gone) else NEVER
        return min(gone, int(self.queues.next))


def tunnels_of(router: Router, packets: Any, sa: Array, with_policy: dict[int, TunnelPort]) -> Array:
    """Row of the tunnel interface, of those with a policy, that each packet went through, -1 = none. `sa`: its SA."""
    t = router.tables.t
    entry = np.where(sa >= 0, t.sa["sp"][np.maximum(sa, 0)], -1)
    out = np.where(entry >= 0, t.sp["tun"][np.maximum(entry, 0)].astype(np.int64), -1)
    plain = [row for row in with_policy if t.ifs["kind"][row] == IF_GRE and t.ifs["tun"][row] >= 0]
    if plain and (sa < 0).any():
        headers = headers_of(packets)
        for row in plain:
            tunnel = t.tun[t.ifs["tun"][row]]
            here = (headers["proto"] == GRE) & (sa < 0)
            for name in ("src0", "src1", "dst0", "dst1"):
                here &= headers[name] == tunnel[name]
            out[here] = row
    known = np.zeros(len(t.ifs) + 1, bool)
    known[list(with_policy)] = True
    return np.where(known[out], out, -1)  # -1 looks at the last one, which is none
