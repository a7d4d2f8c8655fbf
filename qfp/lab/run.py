"""Routers and links on one clock, in rounds.

Every packet needs at least `least` ns over a link, so what a router sends can reach another one only that much later.
A round therefore lets every router do everything that arrives before (the earliest waiting packet + the least delay of
all links): whole batches, no router ever sees a packet late, and the outcome does not depend on how many threads run
the routers of a round (conservative synchronisation, Chandy and Misra 1979).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import PathLike
from typing import Any
from weakref import proxy

import numpy as np

from qfp.batch import Batch
from qfp.config import Issue
from qfp.config.effects import LAB_DOES
from qfp.config.ends import interface_addresses
from qfp.lab.errors import LabError
from qfp.lab.events import Events
from qfp.lab.flow import NEVER, Flow, merge_in_order, numbers_in, pick, rows_of
from qfp.lab.ingress import POLICED, Inputs
from qfp.lab.journeys import CONSUMED, PUNTED, STATES, Journeys
from qfp.lab.line import Line
from qfp.lab.model import End, Injection, LabSpec, LinkSpec, RouterSpec
from qfp.lab.node import Node, Round
from qfp.lab.passing import Passed
from qfp.lab.queueing import Fifo, PolicyQueues, PreClassify, Seen, layer2_of
from qfp.lab.read import load
from qfp.lab.series import IN, MOST, OUT, Series, interval_for
from qfp.lab.taps import Taps
from qfp.lab.tunnels import Tunnels
from qfp.qos.port import rate_of
from qfp.result import CAUSE_WORDS
from qfp.router import Router, RouterError
from qfp.trace import read_trace
from qfp.upward import upward
from qfp_kernels.drops import Verdict

LENGTH_MAX = 1 << 60  # ns of a trace in the lab: sums of times stay within int64
YEAR = 365 * 24 * 3600 * 10**9  # ns
ENDED = {int(Verdict.CONSUMED): CONSUMED, int(Verdict.PUNTED): PUNTED}


class Outcome:
    """Results of a run. `journeys`: see Journeys. `series`: see Series. `taps`: captures (Batch) by file. `facts`:
    counts, plain data."""

    def __init__(self, journeys: Journeys, series: Series, taps: dict[str, Batch], facts: dict[str, Any]):
        self.journeys, self.series, self.taps, self.facts = journeys, series, taps, facts


class Lab:
    """A lab ready to run, once. engine: as for Router. threads: routers that run at the same time. interval: ns of time
    series, 0 = as the lab file says. `length`: ns from time zero to the last injected packet. strict: configurations
    with errors are refused. `problems`: errors and warnings of configurations, each with its router's name.

    Raises LabError, and what Router and traces raise.
    """

    def __init__(
        self, spec: LabSpec, *, engine: str | None = None, threads: int = 1, interval: int = 0, strict: bool = False
    ):
        self.spec, self.strict = spec, strict
        self.problems: list[tuple[str, Issue]] = []
        self.threads = max(1, threads)
        self.warnings: list[str] = []
        self.journeys, self.series = Journeys(), Series(1)
        self.nodes = {
            name: Node(name, self._router(name, each, engine), self.series, each.engine)
            for name, each in spec.routers.items()
        }
        self.pre_classified: dict[tuple[str, str], PreClassify] = {}
        self.lines: dict[tuple[str, str], Line] = {}
        self._targets: dict[tuple[str, str], tuple[Node, str]] = {}
        for link in spec.links:
            ends = [(end.router, self._interface(end, f"{link.key}.ends")) for end in link.ends]
            for backwards, (here, there) in enumerate([ends, ends[::-1]]):
                if here in self.lines or here == there:
                    raise LabError(spec.file, f"{link.key}.ends", f"{' '.join(here)} has a link already",
                                   "an interface has one link: give the router another interface")  # fmt: skip
                queues = self.queues(here, link)
                self.lines[here] = Line(link, bool(backwards), queues, spec.seed, self.journeys, self.series)
                self._targets[here] = (self.nodes[there[0]], there[1])
            self._check_subnet(link.name, ends)
        self._direct: dict[tuple[str, str], list[tuple[Flow, Seen | None]]] = {}
        self.tunnels: dict[str, Tunnels] = {}
        for name, node in self.nodes.items():
            self.set_inputs(name)
            rate_at = partial(upward(self._rate_at), name)
            self.tunnels[name] = Tunnels(name, node.router, self.journeys, self.series, rate_at, self.warnings.append)
        self._taps = Taps({tap.file: (tap.at.router, self._interface(tap.at, f"{tap.key}.at"), tap.direction)
                           for tap in spec.taps})  # fmt: skip
        for injection in spec.injections:
            self._inject(injection)
        self.journeys.start()
        self.length = int(self.journeys.columns["ts"].max(initial=0))
        self.series.interval = self._interval(interval or spec.interval)
        self._least = min((link.least for link in spec.links), default=NEVER)
        self._events = Events(proxy(self), spec.events)

    def _interval(self, wanted: int) -> int:
        """ns of time series. Raises LabError."""
        least = -(-self.length // MOST)
        if wanted and wanted < least:
            raise LabError(self.spec.file, "lab.interval", f"{wanted} ns make more than {MOST} intervals",
                           f"give at least \"{least} ns\"")  # fmt: skip
        return wanted or interval_for(self.length)

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> "Lab":
        """From a lab file."""
        return cls(load(str(path)), **options)

    def _router(self, name: str, spec: RouterSpec, engine: str | None) -> Router:
        config = spec.read(spec.text(), str(spec.config))
        router = Router(config, seed=self.spec.seed, engine=engine, strict=self.strict)
        self.problems += [(name, issue) for issue in router.issues if issue.severity != "note"]
        self.warnings += [f"{name}: {issue}" for issue in router.issues if issue.hint != LAB_DOES]
        return router

    def _interface(self, end: End, key: str) -> str:
        """The interface's full name. Raises LabError."""
        router = self.nodes[end.router].router
        try:
            return router.interface(end.interface)
        except RouterError as e:
            raise LabError(self.spec.file, key, f"{end.router}: {e}", "name one of these") from None

    def queues(self, here: tuple[str, str], link: LinkSpec) -> Fifo | PolicyQueues:
        """What packets wait in before a link: the interface's output policy has a say where the link has a rate."""
        router = self.nodes[here[0]].router
        config = router.config
        interface = config.interfaces[here[1]]
        policy = interface.service_policy_out
        if policy is None:
            return Fifo(link.rate, link.queue, link.overhead)
        if not link.rate:
            self.warnings.append(f"link {link.name}: has no rate, so policy {policy} of {' '.join(here)} does nothing")
            return Fifo(link.rate, link.queue, link.overhead)
        self.set_pre_classify(here)
        return PolicyQueues(config, policy, link.rate, link.overhead)

    def _rate_at(self, router: str, interface: str) -> int:
        """bit/s of the link at an interface, 0 = none."""
        line = self.lines.get((router, interface))
        return line.spec.rate if line is not None else 0

    def set_pre_classify(self, here: tuple[str, str]) -> None:
        """Whether the output policy of an interface looks at packets as they came."""
        router = self.nodes[here[0]].router
        self.pre_classified.pop(here, None)
        if pre := PreClassify(router, router.config.interfaces[here[1]]):
            self.pre_classified[here] = pre

    def set_inputs(self, name: str) -> None:
        """Input policies of a router, where anything can come in: at links and injections."""
        node, injections = self.nodes[name], self.spec.injections
        links = {here[1]: line.spec for here, line in self.lines.items() if here[0] == name}
        mine = {interface: link.rate for interface, link in links.items()}
        for each in injections:
            if each.at.router == name:
                mine.setdefault(self._interface(each.at, f"{each.key}.at"), 0)
        for interface, rate in mine.items():
            if node.router.config.interfaces[interface].service_policy_in is not None and not rate:
                mine[interface] = rate_of(node.router.config.interfaces[interface])
        node.inputs = Inputs(node.router, mine, {at: layer2_of(link.overhead) for at, link in links.items()})

    def _check_subnet(self, name: str, ends: list[tuple[str, str]]) -> None:
        """A warning when the IPv4 addresses of a link's ends are not of one subnet: routes will not find each other; or
        when both ends have one address (eui-64 of two routers without a host name, for one)."""
        nets = [
            {each.network for each in self.nodes[router].router.config.interfaces[interface].addresses4}
            for router, interface in ends
        ]
        if nets[0] and nets[1] and not nets[0] & nets[1]:
            self.warnings.append(f"link {name}: its ends have no common IPv4 subnet")
        own = [self._addresses(*end) for end in ends]
        for address in sorted(own[0] & own[1], key=str):
            self.warnings.append(f"link {name}: both ends have the address {address}")

    def _addresses(self, router: str, interface: str) -> set[Any]:
        config = self.nodes[router].router.config
        return {each.ip for each in interface_addresses(config, config.interfaces[interface])}

    def _inject(self, injection: Injection) -> None:
        """A trace's frames at their times, on their way to an interface."""
        name = self._interface(injection.at, f"{injection.key}.at")
        batch = read_trace(injection.trace)
        start = int(batch.ts.min()) if len(batch) else 0
        last = (int(batch.ts.max()) - start) / injection.speed if len(batch) else 0.0
        if last > LENGTH_MAX:
            raise LabError(self.spec.file, f"{injection.key}.speed", f"the trace would last {last / YEAR:,.0f} years",
                           f"give at most {LENGTH_MAX / YEAR:.0f}: cut the trace, or give a larger speed")  # fmt: skip
        ts = injection.start + np.round((batch.ts - start) / injection.speed).astype(np.int64)
        ids = self.journeys.inject(f"{injection.at.router} {name}", batch.frame_no, ts, batch.wire)
        flow = Flow.ordered(Batch(batch.arena, {**batch.columns, "ts": ts}), ids)
        self.nodes[injection.at.router].arrive(flow, name)

    def run(self, progress: Callable[[int], None] | None = None) -> Outcome:
        """Run until nothing is under way. `progress` hears the lab time in ns."""
        with ThreadPoolExecutor(max(1, self.threads - 1)) as pool:
            while (now := min(self._next(), self._events.next)) < NEVER:
                if self._events.next <= now:
                    self._events.apply()
                    continue
                horizon = min([now + self._least, self._events.next, *(node.bound for node in self.nodes.values())])
                if progress:
                    progress(now)
                for node, done in self._round(pool, horizon):
                    self._route(node, done)
                for name, tunnels in self.tunnels.items():
                    if tunnels.ports:
                        self.drain(name, horizon)
                for here in self.lines:
                    self.release(here, horizon)
                self.series.settle()
        return Outcome(self.journeys, self.series, self._taps.batches(), self._facts())

    def drain(self, name: str, horizon: int) -> None:
        """What left a router's tunnels before a time goes to the lines, with what went there directly."""
        names = self.nodes[name].router.interfaces.names
        for port in self.tunnels[name].ports.values():
            flow = port.release(horizon)
            for row in numbers_in(flow.batch.in_if):
                part = flow.take(rows_of(flow.batch.in_if, row))
                self._direct.setdefault((name, names[row]), []).append((part, None))
        for here in [here for here in self._direct if here[0] == name]:
            parts = self._direct.pop(here)
            flow, seen = parts[0]
            if len(parts) > 1:
                seen = Seen.joined([(each.batch, seen) for each, seen in parts])
                flow = merge_in_order([each for each, _ in parts])
                order = np.argsort(flow.batch.ts, kind="stable")
                flow, seen = flow.take(order), None if seen is None else seen.take(order)
            if here in self.lines:
                self.lines[here].offer(flow, seen)
            else:
                self.journeys.delivered(flow.ids, flow.batch.ts, " ".join(here))

    def release(self, here: tuple[str, str], horizon: int) -> None:
        """What a line has sent before a time is on its way."""
        target, interface = self._targets[here]
        target.arrive(self.lines[here].release(horizon), interface)

    def _round(self, pool: ThreadPoolExecutor, horizon: int) -> Iterator[tuple[Node, Round]]:
        """Rounds of routers that do anything before a time, as they are done. The outcome is the same in any order:
        every line has one router that sends, and journeys and series heed no order.

        This thread takes a part too, and goes on with one router's packets while others still run.
        """
        busy = [node for node in self.nodes.values() if node.next < horizon]
        others = [pool.submit(node.run, horizon) if self.threads > 1 else None for node in busy[:-1]]
        for node, other in zip(busy[-1:] + busy[:-1], [None, *others], strict=False):
            done = node.run(horizon) if other is None or other.cancel() else other.result()
            if done is not None:
                yield node, done

    def _next(self) -> int:
        """ns of the next thing that can happen anywhere."""
        times = [node.next for node in self.nodes.values()]
        times += [port.next for tunnels in self.tunnels.values() for port in tunnels.ports.values()]
        return min(times + [line.next for line in self.lines.values()])

    @property
    def routers(self) -> dict[str, Router]:
        """The routers as they are now, by name: an event may have put another one in a place."""
        return {name: node.router for name, node in self.nodes.items()}

    def close(self) -> None:
        """End the routers' threads."""
        for node in self.nodes.values():
            node.close()

    def _route(self, node: Node, done: Round) -> None:
        """What a router's round means: ends of journeys, packets on lines, packets that leave the lab."""
        names = node.router.interfaces.names
        self._taps.see(node.name, "in", names, done.arrived.batch)
        count = self.series.count
        count(node.name, IN, done.arrived.batch.ts, done.arrived.batch.length)
        for lost in done.lost:
            self.journeys.lost(lost.ids, lost.ts, node.name, lost.cause)
            if lost.cause == POLICED:  # the engine counts for itself
                count(node.name, POLICED, lost.ts, lost.length)
        if done.result is None:
            return
        self._record(node, done, done.result)
        packets = done.result.packets
        count(node.name, OUT, packets.ts, packets.length)
        self._taps.see(node.name, "out", names, packets)
        for row, rows in self._direct_rows(node, done, done.result):
            here = (node.name, names[row])
            if here in self.lines:
                flow = Flow(pick(packets, rows), done.ids[rows])
                seen = self._seen(here, done.flow, done.result, rows)
                if self.tunnels[node.name].ports:
                    self._direct.setdefault(here, []).append((flow, seen))  # until `drain`
                else:
                    self.lines[here].offer(flow, seen)
            else:
                self.journeys.delivered(done.ids[rows], packets.ts[rows], " ".join(here))

    def _direct_rows(self, node: Node, done: Round, result: Passed) -> Iterator[tuple[int, Any]]:
        """(interface, rows) of the packets that meet no queues of a tunnel; the others are put there."""
        packets, tunnels = result.packets, self.tunnels[node.name]
        if not tunnels.ports:
            for row in numbers_in(packets.in_if):
                yield row, rows_of(packets.in_if, row)
            return
        sa = result.verdicts["sa"][result.came_from]
        direct = tunnels.take(done.flow, packets, done.ids, result.came_from, sa)
        for row in numbers_in(packets.in_if[direct]):
            yield row, direct[packets.in_if[direct] == row]

    def _seen(self, here: tuple[str, str], flow: Flow, result: Passed, rows: Any) -> Seen | None:
        """What an interface's output policy looks at beside the packets that leave by it."""
        pre = self.pre_classified.get(here)
        if pre is None and flow.groups is None:
            return None
        came_from = result.came_from[rows]
        groups = None if flow.groups is None else flow.groups[came_from]
        if pre is None:
            return Seen(groups=groups)
        return Seen(pick(flow.batch, came_from), pre.rows(result.verdicts["sa"][came_from]), groups)

    def _record(self, node: Node, done: Round, result: Passed) -> None:
        """Journeys that ended in a router."""
        verdicts, ids = result.verdicts, done.flow.ids
        for cause in numbers_in(verdicts["cause"]):
            if cause:
                rows = rows_of(verdicts["cause"], cause)
                self.journeys.lost(ids[rows], verdicts["ts"][rows], node.name, CAUSE_WORDS[cause])
                self.series.count(node.name, CAUSE_WORDS[cause], verdicts["ts"][rows], verdicts["len_in"][rows])
        for verdict in numbers_in(verdicts["verdict"]):
            state = ENDED.get(verdict)
            if state is None:
                continue
            rows = rows_of(verdicts["verdict"], verdict)
            self.journeys.ended(ids[rows], verdicts["ts"][rows], node.name, state)
            self.series.count(node.name, STATES[state], verdicts["ts"][rows], verdicts["len_in"][rows])

    def _facts(self) -> dict[str, Any]:
        routers = {name: node.totals for name, node in self.nodes.items() if node.totals}
        links = [
            {"link": line.name, **line.stats, "classes": line.queues.counters(), "classes_before": line.past}
            for line in self.lines.values()
        ]
        links += [
            {"link": port.name, **port.stats, "classes": port.queues.counters(), "classes_before": port.past}
            for tunnels in self.tunnels.values()
            for port in tunnels.ports.values()
        ]
        return {"journeys": self.journeys.summary(), "links": links, "routers": routers,
                "made_by_routers": dict(self.journeys.made), "interval": self.series.interval}  # fmt: skip
