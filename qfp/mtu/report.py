"""The whole answer about a router: paths, sweeps, bands, black holes, advice; as an object and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qfp.config.issues import Issue
from qfp.config.references import pair_issues
from qfp.explain.words import protocol
from qfp.mtu import bands
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
    """Sweep every protected path of a router. Its state goes on: SAs have sent what was swept.

    peer: the other end; what comes out goes through it as well. sizes: first and last IP size in bytes. ingress, to:
    only paths for datagrams that come in by this interface, to these addresses. host_mtu: of the hosts (default: that
    of the ingress interface). on_progress(done, total): after every sweep. Raises MtuError, RouterError.
    """
    _check(sizes, host_mtu)
    lab = Lab(router, peer)
    try:
        paths = find(lab, ingress, to)
        if peer is not None and not any(path.peer_ingress for path in paths):
            raise MtuError(f"the peer's configuration ({peer.config.file or peer.config.hostname}) is the other end of "
                           f"no path: {paths[0].peer_note or paths[0].note}")  # fmt: skip
        total = sum(len(path.flows) for path in paths)
        made = []
        for path in paths:
            made.append(_path(lab, path, sizes, host_mtu))
            if on_progress is not None:
                on_progress(sum(len(each.path.flows) for each in made), total)
    finally:
        lab.close()
    return Report(sizes, made, pair_issues(router.config, peer.config) if peer is not None else [])


def _check(sizes: tuple[int, int], host_mtu: int | None) -> None:
    if not LEAST <= sizes[0] <= sizes[1] <= LENGTH_MAX:
        raise MtuError(f"sizes {sizes[0]}-{sizes[1]}: give IP sizes from {LEAST} to {LENGTH_MAX}, the smaller first")
    if host_mtu is not None and not MTU_MIN[4] <= host_mtu <= LENGTH_MAX:
        raise MtuError(f"host MTU {host_mtu}: give {MTU_MIN[4]} to {LENGTH_MAX} bytes")


def _path(lab: Lab, path: Path, sizes: tuple[int, int], host_mtu: int | None) -> PathReport:
    """Sweep one path."""
    lines: list[Line] = []
    mtus: dict[int, int] = {}
    delivered: set[str] = set()
    for family in path.flows:
        mtu = host_mtu if host_mtu is not None else lab.router.sizes.mtus[path.ingress, family]
        mtus[family] = max(mtu, MTU_MIN[family])
        lines += _lines(lab, path, family, sizes, mtus[family], delivered)
    sas = associations(path, lab.router, lab.peer)
    told = advice(path, lab.router, lab.peer, sas) if path.flows else None
    return PathReport(path, mtus, lines, bands.black_holes(lines), [sa.facts() for sa in sas], told,
                      tuple(sorted(delivered)))  # fmt: skip


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
