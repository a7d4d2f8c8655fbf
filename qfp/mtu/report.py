"""The whole answer about a router: paths, sweeps, bands, black holes, advice; as an object and as JSON."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.config.issues import Issue
from qfp.config.references import pair_issues
from qfp.explain.words import protocol
from qfp.mtu import alike, bands
from qfp.mtu.advice import advice, associations
from qfp.mtu.bands import Line
from qfp.mtu.datagrams import Address
from qfp.mtu.paths import MtuError, Path, find
from qfp.mtu.sweep import Lab
from qfp.router import Router
from qfp.sizes import LENGTH_MAX, MTU_MIN

Facts = dict[str, Any]
SCHEMA = "qfp-mtu/1"
SIZES = (40, 9216)  # IP bytes that are swept by default: up to the largest MTU that an interface takes
LEAST = 28  # bytes of IPv4 and UDP headers


@dataclass(frozen=True)
class PathReport:
    """One path: its bands a family and DF, black holes, SAs and the recommendation."""

    path: Path
    host_mtus: dict[int, int]
    lines: list[Line]
    black_holes: list[Facts]
    sas: list[Facts]
    advice: Facts | None
    delivered: tuple[str, ...]

    def facts(self) -> Facts:
        """As JSON has it."""
        p = self.path
        return {
            "where": p.where, "kind": p.kind, "rule": p.rule, "tunnel": p.tunnel, "note": p.note,
            "ingress": p.ingress or None, "egress": p.egress or None, "local": text(p.local), "peer": text(p.peer),
            "peer_ingress": p.peer_ingress, "peer_egress": list(self.delivered), "peer_note": p.peer_note,
            "sas": self.sas, "lines": [self._line(line) for line in self.lines], "black_holes": self.black_holes,
            "advice": self.advice,
        }  # fmt: skip

    def _line(self, line: Line) -> Facts:
        flow = self.path.flows[line.family]
        whole = bands.largest_whole(line)
        largest = None if whole is None else {"size": whole, "ping": bands.ping(line.family, whole)}
        return {
            "family": line.family, "df": line.df, "src": str(flow.src), "dst": str(flow.dst),
            "protocol": protocol(flow.protocol), "host_mtu": self.host_mtus[line.family], "largest_whole": largest,
            "bands": line.bands,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What `report` found. sizes: first and last IP size. warnings: what two configurations have wrong together."""

    sizes: tuple[int, int]
    paths: list[PathReport]
    warnings: list[Issue]

    def facts(self) -> Facts:
        """As JSON has it (schema qfp-mtu/1), without what the command line adds."""
        return {
            "sizes": list(self.sizes), "paths": [path.facts() for path in self.paths],
            "warnings": [str(issue) for issue in self.warnings],
        }  # fmt: skip


def text(value: Any) -> str | None:
    return None if value is None else str(value)


def report(
    router: Router, peer: Router | None = None, *, sizes: tuple[int, int] = SIZES, ingress: str | None = None,
    to: Sequence[Address] = (), host_mtu: int | None = None, on_progress: Callable[[int, int], None] | None = None,
) -> Report:  # fmt: skip
    """Sweep every protected path of a router. It and its peer are left as they were.

    peer: the other end; what comes out goes through it as well. sizes: first and last IP size in bytes. ingress, to:
    only paths for datagrams that come in by this interface, to these addresses. host_mtu: of the hosts (default: that
    of the ingress interface). on_progress(steps done, all): a path found is one, a
    path swept another. Raises MtuError, RouterError, SweepFault.
    """
    _check(sizes, host_mtu)
    steps = _Steps(on_progress)
    lab = Lab(router, peer)
    with ExitStack() as held:
        held.callback(lab.close)
        for each in {id(r): r for r in (router, peer) if r is not None}.values():
            held.enter_context(each.held())
        paths = find(lab, ingress, to, steps.found)
        if peer is not None and not any(path.peer_ingress for path in paths):
            raise MtuError(f"the peer's configuration ({peer.config.file or peer.config.hostname}) is the other end of "
                           f"no path: {paths[0].peer_note or paths[0].note}")  # fmt: skip
        made: list[PathReport] = []
        swept: dict[Hashable, list[Line]] = {}
        for path in paths:
            made.append(_path(lab, path, sizes, host_mtu, swept))
            steps.swept(len(made), len(paths))
    return Report(sizes, made, pair_issues(router.config, peer.config) if peer is not None else [])


class _Steps:
    """Progress in two rounds, of finding paths and of sweeping those that there are."""

    def __init__(self, tell: Callable[[int, int], None] | None):
        self._tell, self._count = tell, 0

    def found(self, done: int, total: int) -> None:
        self._count = total
        if self._tell is not None:
            self._tell(done, 2 * total)

    def swept(self, done: int, total: int) -> None:
        if self._tell is not None:
            self._tell(self._count + self._count * done // total, 2 * self._count)


def _check(sizes: tuple[int, int], host_mtu: int | None) -> None:
    if not LEAST <= sizes[0] <= sizes[1] <= LENGTH_MAX:
        raise MtuError(f"sizes {sizes[0]}-{sizes[1]}: give IP sizes from {LEAST} to {LENGTH_MAX}, the smaller first")
    if host_mtu is not None and not MTU_MIN[4] <= host_mtu <= LENGTH_MAX:
        raise MtuError(f"host MTU {host_mtu}: give {MTU_MIN[4]} to {LENGTH_MAX} bytes")


def _path(
    lab: Lab, path: Path, sizes: tuple[int, int], host_mtu: int | None, swept: dict[Hashable, list[Line]]
) -> PathReport:
    """Sweep one path: every size, or the ends of the bands of one in `swept` that must fare alike."""
    mtus: dict[int, int] = {}
    for family in path.flows:
        mtu = host_mtu if host_mtu is not None else lab.router.sizes.mtus[path.ingress, family]
        mtus[family] = max(mtu, MTU_MIN[family])
    delivered: set[str] = set()
    key = alike.key(path, lab.router, lab.peer, mtus) if path.flows else None
    lines = _confirmed(lab, path, swept[key], mtus, delivered) if key in swept else None
    if lines is None:
        lines = [each for family in path.flows for each in _lines(lab, path, family, sizes, mtus[family], delivered)]
        if key is not None:
            swept.setdefault(key, lines)
    sas = associations(path, lab.router, lab.peer)
    told = advice(path, lab.router, lab.peer, sas) if path.flows else None
    return PathReport(path, mtus, lines, bands.black_holes(lines), [sa.facts() for sa in sas], told,
                      tuple(sorted(delivered)))  # fmt: skip


def _confirmed(
    lab: Lab, path: Path, pattern: list[Line], mtus: dict[int, int], delivered: set[str]
) -> list[Line] | None:
    """The lines of a path, if the ends of the bands of `pattern` fare there as the bands say."""
    lines: list[Line] = []
    for family, flow in path.flows.items():
        mine = [line for line in pattern if line.family == family]
        sizes = np.array(bands.edges(mine), np.int64)
        clear = [lab.sweep(path, flow, sizes, False, mtus[family])] if len(sizes) else []
        low = sizes[sizes <= mtus[family]]
        kept = [lab.sweep(path, flow, low, True, mtus[family])] if len(low) and family == 4 else []
        for line in mine:
            own = bands.confirmed(line, [*clear, *(kept if line.df else ())])
            if own is None:
                return None
            lines.append(own)
        delivered.update(name for each in (*clear, *kept) for name in each.delivered)
    return lines


def _lines(lab: Lab, path: Path, family: int, sizes: tuple[int, int], mtu: int, delivered: set[str]) -> list[Line]:
    """The lines of a family: IPv4 with DF clear and set, IPv6. What the host fragments itself is swept once."""
    flow = path.flows[family]
    every = np.arange(max(sizes[0], flow.least), sizes[1] + 1)
    low, high = every[every <= mtu], every[every > mtu]

    def swept(part: Any, df: bool) -> list[Any]:
        found = [lab.sweep(path, flow, part, df, mtu)] if len(part) else []
        delivered.update(name for each in found for name in each.delivered)
        return found

    above = swept(high, False)
    if family == 6:
        return [bands.line(family, None, swept(low, False) + above)]
    return [bands.line(family, df, swept(low, df) + above) for df in (True, False)]
