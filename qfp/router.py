"""Router: configuration, control plane, tables and engine in one object.

router = Router.load("branch.cfg")
result = router.forward(read_trace("office.pcapng"), ingress="GigabitEthernet0/0/1")
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from qfp import checkpoint, fia
from qfp.batch import Batch
from qfp.config import Configuration, Issue, load, loads
from qfp.control import kept
from qfp.control.plane import ControlPlane
from qfp.control.takeover import take_over
from qfp.engine import ALIGN_OUTBOUND, Engine, MemorySink, Sink
from qfp.engines.crypto import choose
from qfp.result import Result, VerdictStore, collect
from qfp.sa import SecurityAssociation
from qfp.saving import Saving, same
from qfp.trace.source import BatchSource, Source
from qfp.upward import upward
from qfp_kernels import capture as C
from qfp_kernels.layout import (
    CTL_IN_IF,
    OUT_MEMORY,
    OUT_NONE,
    OUT_PCAP,
    OUT_PCAPNG,
)

EMITTERS: dict[int, Any] = {
    OUT_NONE: None, OUT_PCAP: C.emit_pcap, OUT_PCAPNG: C.emit_pcapng, OUT_MEMORY: C.emit_memory,
}  # fmt: skip
GROWTH = 128  # bytes that a packet may grow by in a result, record header and all, before its memory does


class RouterError(ValueError):
    """A request that this router cannot carry out; the message says what would do."""


class Router(Saving):
    """A modelled router.

    config: what `qfp.config.load` returned. keying: auto (SAs derived from configuration and seed) or manual (session
    keys only). keys: SAs of a key file, used instead. engine: native, openssl or None for the best there is. threads,
    batch: see Engine; one packet at a time where a GRE tunnel has sequence numbers. rekey: False = no peer answers a
    rekey, so SAs end at their hard limits. seed: of all that is derived. strict: a configuration with errors is
    refused; without, what is refused in it is missing, and what would leave in clear for that is held down. offload:
    IPv4 packets with a checksum or total length of 0, and IPv6 packets without a payload length, are taken as their
    sender's network card would have completed them. Raises RouterError, KeyingError, EngineError.
    """

    KIND = "router"

    def __init__(
        self, config: Configuration, *, keying: str = "auto", keys: Sequence[SecurityAssociation] = (),
        engine: str | None = None, threads: int = 1, batch: int = 0, seed: int = 1, rekey: bool = True,
        strict: bool = False, offload: bool = False,
    ):  # fmt: skip
        if strict and not config.ok:
            raise RouterError("\n".join(str(issue) for issue in config.errors))
        self._told: dict[str, Any] = {}  # the configuration as a checkpoint tells it, once that has been asked for
        self._options: dict[str, Any] = {
            "keying": keying, "keys": keys, "engine": engine, "threads": threads, "batch": batch, "seed": seed,
            "rekey": rekey, "strict": strict, "offload": offload,
        }  # fmt: skip
        plane = ControlPlane(config, choose(engine), keying=keying, seed=seed, keys=keys, rekey=rekey, offload=offload)
        self.plane, self.config, self.tables, self.sad = plane, plane.config, plane.tables, plane.sad
        self.interfaces, self.routing, self.policies = plane.interfaces, plane.routing, plane.policies
        self.sadb, self.sizes = plane.sadb, plane.sizes
        self.lifetimes, self.path_mtus = plane.lifetimes, plane.path_mtus
        if plane.packet_by_packet:
            threads = batch = 1
        self.features = plane.features
        self.engine = Engine(plane.tables, plane.sad, threads, batch)
        self.engine.align(ALIGN_OUTBOUND)
        self.engine.on_told, self.engine.on_due = upward(plane.on_told), plane.timers.advance
        self.engine.on_stop = upward(plane.on_stop)

    @property
    def issues(self) -> list[Issue]:
        """Those of the configuration, and what the control plane found besides."""
        return self.plane.issues

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, model: str | None = None, release: str | None = None,
        allow_null: bool = False, **options: Any,
    ) -> "Router":  # fmt: skip
        """From a configuration file. model, release, allow_null: see qfp.config.loads; the others are the class's, with
        them `strict`: without it a configuration with errors is no reason to raise.

        Raises ConfigError, RouterError.
        """
        return cls(load(path, model, release, allow_null), **options)

    @classmethod
    def loads(
        cls, text: str, *, model: str | None = None, release: str | None = None, allow_null: bool = False,
        **options: Any,
    ) -> "Router":  # fmt: skip
        """From the text of a configuration; parameters and errors as for `load`."""
        return cls(loads(text, model=model, release=release, allow_null=allow_null), **options)

    def _facts(self) -> Any:
        self._told = self._told or kept.told_config(self.config)
        options = {**self._options, "keys": list(self._options["keys"])}
        return {"config": self._told, "options": options, "plane": kept.plane_of(self.plane), "issues": self.issues}

    def kinds(self) -> checkpoint.Kinds:
        """How the objects of the control plane are told."""
        return kept.kinds_of(self.plane)

    @classmethod
    def made(cls, held: checkpoint.Held) -> "Router":
        """A router of the configuration and the options of a checkpoint."""
        return cls(kept.read_config(held.values({}, "config")), **held.values(kept.OF_SAS, "options"))

    def _differs(self, held: checkpoint.Held, *path: str) -> None:
        self._told = self._told or kept.told_config(self.config)
        own = {**self._options, "keys": list(self._options["keys"])}
        named = {"file": None}  # it may lie elsewhere now
        same(held.name, "configuration", self._told | named, held.values({}, *path, "config") | named)
        same(held.name, "set of options", own, held.values(kept.OF_SAS, *path, "options"))

    def _put(self, held: checkpoint.Held, *path: str) -> None:
        kept.put_plane(self.plane, held.values(kept.kinds_of(self.plane), *path, "plane"))
        self.plane.issues[:] = held.values(kept.OF_ROUTERS, *path, "issues")
        held.put(self.tables.t)

    def again(self) -> "Router":
        """A router as this one was at first."""
        return Router(self.config, **self._options)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has happened to the router yet."""
        return self.plane.is_fresh

    def reconfigured(self, config: Configuration, ts: int, *, idle_for_all: bool = False) -> "Router":
        """A router with another configuration that goes on from `ts` (ns) with what this one has: see
        qfp.control.takeover. This one ends.

        idle_for_all: a new idle time holds for all SAs from now on, as the guide's chapter 8 can be read; otherwise for
        those that are created afterwards, as lifetimes do, and `clear` brings it to all (IDLE-5).
        """
        self.advance(ts)
        new = Router(config, **self._options)
        take_over(new.plane, self.plane, ts, idle_for_all)
        new.plane.timers.arm()
        self.engine.close()
        return new

    @contextmanager
    def held(self) -> Iterator[None]:
        """The router as it stands, for a question about sizes: while it is asked no SA is followed or ends by its
        lifetime and no path MTU is forgotten, however long it takes and however much is sent. Afterwards the router is
        as it was before, numbers and counters included: what it sealed meanwhile must not leave the process."""
        from qfp.explain import restore, state_of

        before = state_of(self)
        try:
            self.plane.hold()
            yield
        finally:
            restore(self, before)

    def advance(self, to: int) -> None:
        """Let time pass without packets, up to `to` (ns): timers that are due fire, each at its own time."""
        self.plane.advance(to)

    def clear(self, ts: int, peer: str = "") -> int:
        """`clear crypto sa [peer ADDRESS]` at `ts` (ns): SAs are deleted, and the next packet begins new ones. Returns
        how many pairs there were."""
        return self.plane.clear(ts, peer)

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
        self.engine.run(source, self.stages(source.walk, EMITTERS[sink.kind]), sink, on_verdicts, on_progress)

    def stages(self, walk: Any, emitter: Any) -> tuple[fia.Stage, ...]:
        """The FIA of this router between a source's walk and an emitter."""
        return fia.router(walk, emitter, self.features)

    def forward(self, batch: Batch, ingress: str) -> Result:
        """Everything that the router does with the frames of a batch arriving at `ingress`, in memory.

        Bad packets become rows of the result, never exceptions. Raises RouterError for an unknown interface.
        """
        from qfp.explain import Origin

        row = self.interfaces.row[self.interface(ingress)]
        return self._through(batch, row, Origin.now(self, row))

    def exchange(self, batch: Batch) -> Result:
        """The same for frames that arrive at several interfaces: `batch.in_if` are rows of `interfaces`.

        Its result cannot be explained frame by frame. Raises RouterError when a row is not there.
        """
        if len(batch) and not 0 <= batch.in_if.min() <= batch.in_if.max() < len(self.interfaces.names):
            raise RouterError(f"a frame arrives at an interface that is not there (rows: {len(self.interfaces.names)})")
        return self._through(batch, -1, None)

    def _through(self, batch: Batch, row: int, origin: Any) -> Result:
        self.tables.t.ctl[CTL_IN_IF] = row
        expected = int(batch.length.sum(dtype=np.int64)) + len(batch) * GROWTH
        sink, store, source = MemorySink(expected), VerdictStore(), BatchSource(batch)
        self.engine.run(source, self.stages(source.walk, EMITTERS[sink.kind]), sink, store.add)
        source.complete(self.tables.t)
        return collect(self.tables, self.sad, self.interfaces.names, batch, sink, store, origin)
