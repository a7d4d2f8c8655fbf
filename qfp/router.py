"""Router: configuration, control plane, tables and engine in one object.

    router = Router.load("branch.cfg")
    result = router.forward(read_trace("office.pcapng"), ingress="GigabitEthernet0/0/1")
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from qfp import fia
from qfp.batch import Batch
from qfp.config import Configuration, Issue, load, loads
from qfp.control.policy import PolicyBuilder
from qfp.control.routing import Routing
from qfp.control.sadb import Sadb
from qfp.engine import ALIGN_OUTBOUND, Engine, MemorySink, Sink
from qfp.engines.crypto import choose
from qfp.result import Result, VerdictStore, collect
from qfp.sa import SecurityAssociation
from qfp.tables import fib
from qfp.tables.interfaces import Interfaces
from qfp.tables.sad import Sad
from qfp.tables.spd import Policies
from qfp.tables.store import Tables
from qfp.trace.source import BatchSource, Source
from qfp_kernels import capture as C
from qfp_kernels.layout import (
    CTL_IN_IF,
    CTL_MODE,
    IF_GRE,
    IF_PHYSICAL,
    IF_VTI,
    MODE_ROUTER,
    OUT_NONE,
    OUT_PCAP,
    OUT_PCAPNG,
)

EMITTERS: dict[int, Any] = {OUT_NONE: None, OUT_PCAP: C.emit_pcap, OUT_PCAPNG: C.emit_pcapng}


class RouterError(ValueError):
    """A request that this router cannot carry out; the message says what would do."""


class Router:
    """A modelled router.

    config: what `qfp.config.load` returned. keying: auto (SAs derived from configuration and seed) or manual (session
    keys only). keys: SAs of a key file, used instead. engine: native, openssl or None for the best there is. threads,
    batch: see Engine. Raises RouterError when the configuration has errors, KeyingError, EngineError.
    """

    def __init__(
        self, config: Configuration, *, keying: str = "auto", keys: Sequence[SecurityAssociation] = (),
        engine: str | None = None, threads: int = 1, batch: int = 0, seed: int = 1,
    ):  # fmt: skip
        if not config.ok:
            bad = [str(i) for i in config.issues if i.severity == "error"]
            raise RouterError("\n".join(bad))
        self.config = config
        self.issues: list[Issue] = list(config.issues)
        self.tables = Tables()
        self.tables.t.ctl[CTL_MODE] = MODE_ROUTER
        self.sad = Sad(self.tables, choose(engine))
        self.interfaces = Interfaces(self.tables, list(config.interfaces))
        self.routing = Routing(config, self.interfaces.row)
        fib.build(self.tables, self.routing.routes, len(self.routing.vrfs))
        self.policies = Policies(self.tables)
        self._builder = PolicyBuilder(config, self.routing, self.policies, self._warn)
        for name, row in self.interfaces.row.items():
            self._interface(config.interfaces[name], row)
        self.policies.build()
        self.sadb = Sadb(config, self.tables, self.sad, self._warn)
        self.sadb.key(self._builder.wants, keying, seed, keys)
        for route in self.routing.unresolved:
            self._warn(route.line, f"no route reaches next hop {route.next_hop}: {route.prefix} is not installed", "")
        self.engine = Engine(self.tables, self.sad, threads, batch)
        self.engine.align(ALIGN_OUTBOUND)

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> "Router":
        """From a configuration file. Raises ConfigError, RouterError."""
        return cls(load(path), **options)

    @classmethod
    def loads(cls, text: str, **options: Any) -> "Router":
        """From the text of a configuration."""
        return cls(loads(text), **options)

    def _warn(self, line: int, message: str, hint: str) -> None:
        self.issues.append(Issue("warning", self.config.file, line, 1, message, hint))

    def _interface(self, interface: Any, row: int) -> None:
        """Row of the interface table: policies, VRF, tunnel."""
        spd4 = spd6 = -1
        if interface.crypto_map:
            spd4 = self._builder.crypto_map(interface, interface.crypto_map, 4)
        if interface.ipv6_crypto_map:
            spd6 = self._builder.crypto_map(interface, interface.ipv6_crypto_map, 6)
        kind, under, up = IF_PHYSICAL, -1, not interface.shutdown
        if interface.tunnel is not None:
            kind = IF_GRE if not interface.tunnel.is_vti else IF_VTI
            _, peer = self._builder.tunnel_ends(interface)
            route = self.routing.lookup(peer, self.routing.vrfs.get(interface.tunnel.vrf, 0))
            under = route.out_if if route is not None and route.out_if != row else -1
            if kind == IF_VTI:
                spd4 = spd6 = self._builder.tunnel(interface)
                up = up and under >= 0 and spd4 >= 0
                if not up and not interface.shutdown:
                    self._warn(interface.line, f"{interface.name}: line protocol stays down",
                               "a VTI needs source, destination, a route to it, and a protection profile")  # fmt: skip
        self.interfaces.set(
            row, spd4=spd4, spd6=spd6, vrf=self.routing.vrf_of(interface), under=under, kind=kind, up=up
        )

    def interface(self, name: str) -> str:
        """The configured interface that a name or an abbreviation means. Raises RouterError, naming those there are."""
        from qfp.config.arguments import canonical_interface

        full = canonical_interface(name) or name
        by_case = {n.lower(): n for n in self.interfaces.names}
        if full.lower() not in by_case:
            known = ", ".join(self.interfaces.names) or "none"
            raise RouterError(f"interface {name!r} is not configured (there are: {known})")
        return by_case[full.lower()]

    def run(
        self, source: Source, ingress: str, sink: Sink, on_verdicts: Any = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """Run a source that arrives at an interface into a sink: the streaming form of `forward`."""
        self.tables.t.ctl[CTL_IN_IF] = self.interfaces.row[self.interface(ingress)]
        stages = fia.router(source.walk, EMITTERS[sink.kind])
        self.engine.run(source, stages, sink, on_verdicts, on_progress)

    def forward(self, batch: Batch, ingress: str) -> Result:
        """Everything that the router does with the frames of a batch arriving at `ingress`, in memory.

        Bad packets become rows of the result, never exceptions. Raises RouterError for an unknown interface.
        """
        from qfp.explain import Origin

        origin = Origin.now(self, self.interfaces.row[self.interface(ingress)])
        sink, store = MemorySink(), VerdictStore()
        self.run(BatchSource(batch), ingress, sink, store.add)
        return collect(self.tables, self.sad, self.interfaces.names, batch, sink, store, origin)
