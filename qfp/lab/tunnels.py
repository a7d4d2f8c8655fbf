"""Output policies of tunnel interfaces: their queues stand before those of the line that a tunnel's packets leave by.

Packets are numbered and encrypted when they come into these queues, and classified as they were before that. Behind
them they wait for the line like others, by their outer header. A tunnel takes what its line takes, or what a shaper in
its policy says. Which tunnel a packet went through is told by its SA, and where it has none by the ends of its GRE
header; what a crypto map has encrypted once more is not told.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from qfp.lab.flow import NEVER, Array, Flow, merge_in_order, pick
from qfp.lab.holding import Holding
from qfp.lab.journeys import Journeys
from qfp.lab.queueing import PolicyQueues, Seen
from qfp.lab.series import Series
from qfp.qos.headers import headers_of
from qfp.qos.port import KBIT
from qfp.router import Router
from qfp_kernels.layout import IF_GRE

GRE = 47


class TunnelPort(Holding):
    """The queues of one tunnel interface."""

    def __init__(self, interface: str, *args: Any):
        super().__init__(*args)
        self.interface = interface
        self.stats |= {"carried": 0, "copies": 0}
        self._gone = Flow.empty()  # left the queues, or will have at `ts`

    def offer(self, flow: Flow, seen: Any) -> None:
        """Packets that a router sends through the tunnel, in order of time."""
        self.stats["packets"] += len(flow)
        self.stats["bytes"] += int(flow.batch.length.sum(dtype=np.int64))
        self.admit(flow, seen)

    def release(self, horizon: int) -> Flow:
        """What has left before a time."""
        flow, depart, _ = self.leave(horizon)
        self.stats["carried"] += len(flow)
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


class Tunnels:
    """The ports of a router's tunnel interfaces that have output policies, by row. rate_at(interface): bit/s of the
    link there, 0 = none; warn: takes what is incomplete."""

    def __init__(self, name: str, router: Router, journeys: Journeys, series: Series,
                 rate_at: Callable[[str], int], warn: Callable[[str], None]):  # fmt: skip
        self._name, self._journeys, self._series = name, journeys, series
        self._rate_at, self._warn = rate_at, warn
        self.ports: dict[int, TunnelPort] = {}
        self.follow(router)

    def follow(self, router: Router, rows: Array | None = None) -> None:
        """The router is another one, with another configuration; row k of its interfaces is now row `rows[k]`. Ports
        that are there stay."""
        self._router = router
        known = {port.interface: port for port in self.ports.values()}
        self.ports = {}
        if rows is not None:
            for port in known.values():
                port.renumber(rows)
        for interface, row in router.interfaces.row.items():
            place = known.get(interface)
            if place is None and (queues := self.queues(interface)) is not None:
                place = TunnelPort(interface, f"{self._name} {interface}", queues, self._journeys, self._series)
            if place is not None:
                self.ports[row] = place

    def queues(self, interface: str) -> PolicyQueues | None:
        """The queues of a tunnel interface's output policy; None where it has none, or nothing says its rate."""
        config = self._router.config.interfaces[interface]
        if config.tunnel is None or config.service_policy_out is None:
            return None
        interfaces = self._router.interfaces
        under = int(self._router.tables.t.ifs["under"][interfaces.row[interface]])
        rate = (self._rate_at(interfaces.names[under]) if under >= 0 else 0) or (config.bandwidth or 0) * KBIT
        if not rate:
            self._warn(f"{self._name} {interface}: policy {config.service_policy_out} does nothing, as neither its "
                       "link nor `bandwidth` says how much the tunnel takes")  # fmt: skip
            return None
        return PolicyQueues(self._router.config, config.service_policy_out, rate, 0)

    def take(self, came: Flow, packets: Any, ids: Array, came_from: Array, sa: Array) -> Array:
        """Put packets that a router sends into the queues of their tunnels; returns the rows that go through none.

        came: frames as they came into the router; came_from: its row of each packet; sa: SA of each packet, -1 = none.
        """
        through = self._of(packets, sa)
        for row, port in self.ports.items():
            rows = np.flatnonzero(through == row)
            if rows.size:
                origin = came_from[rows]
                groups = None if came.groups is None else came.groups[origin]
                seen = Seen(pick(came.batch, origin), np.ones(rows.size, bool), groups)
                port.offer(Flow(pick(packets, rows), ids[rows]), seen)
        return np.flatnonzero(through < 0)

    def _of(self, packets: Any, sa: Array) -> Array:
        """Row of the tunnel interface that has a port, of each packet; -1 = none."""
        t = self._router.tables.t
        entry = np.where(sa >= 0, t.sa["sp"][np.maximum(sa, 0)], -1)
        out = np.where(entry >= 0, t.sp["tun"][np.maximum(entry, 0)].astype(np.int64), -1)
        plain = [row for row in self.ports if t.ifs["kind"][row] == IF_GRE and t.ifs["tun"][row] >= 0]
        if plain and (sa < 0).any():
            headers = headers_of(packets)
            for row in plain:
                for tunnel in t.tun[t.tun["iface"] == row]:  # a multipoint tunnel has a row a peer
                    here = (headers["proto"] == GRE) & (sa < 0)
                    for name in ("src0", "src1", "dst0", "dst1"):
                        here &= headers[name] == tunnel[name]
                    out[here] = row
        known = np.zeros(len(t.ifs) + 1, bool)
        known[list(self.ports)] = True
        return np.where(known[out], out, -1)  # -1 looks at the last one, which is none
