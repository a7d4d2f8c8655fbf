"""Router: configuration, control plane, tables and engine in one object.

router = Router.load("branch.cfg")
result = router.forward(read_trace("office.pcapng"), ingress="GigabitEthernet0/0/1")
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_network
from os import PathLike
from typing import Any

import numpy as np

from qfp import checkpoint, fia
from qfp.batch import Batch
from qfp.config import Configuration, Issue, load, loads
from qfp.config.ends import is_modelled, own_address, own_end, peer_ways, tunnel_way
from qfp.config.pause import uncollected
from qfp.config.routing import Routing
from qfp.control import classes, forwarding, kept, tunnels
from qfp.control.lifetimes import Lifetimes
from qfp.control.mtu import df_rule
from qfp.control.pathmtu import PathMtus
from qfp.control.policy import PolicyBuilder
from qfp.control.sadb import Sadb
from qfp.control.sizes import Sizes
from qfp.control.takeover import take_over
from qfp.control.timers import Timers
from qfp.control.tunnels import IPPROTO_GRE, GreTunnel
from qfp.engine import ALIGN_OUTBOUND, Engine, MemorySink, Sink
from qfp.engines.crypto import choose
from qfp.result import Result, VerdictStore, collect
from qfp.sa import SecurityAssociation
from qfp.saving import Saving, same
from qfp.tables import fib, reassembly
from qfp.tables.interfaces import Interfaces
from qfp.tables.route import Route
from qfp.tables.sad import Sad
from qfp.tables.spd import Policies
from qfp.tables.store import Tables
from qfp.trace.source import BatchSource, Source
from qfp.upward import upward
from qfp_kernels import capture as C
from qfp_kernels.icmp import CLASS_DF, CLASS_TTL, CLASS_UNREACHABLE, CLASS_V6
from qfp_kernels.layout import (
    CTL_GEN,
    CTL_IN_IF,
    CTL_MODE,
    CTL_OFFLOAD,
    CTL_POLICIES,
    CTL_V6_OFF,
    HELD,
    IF_GRE,
    IF_HELD,
    IF_OTHER,
    IF_PHYSICAL,
    IF_VTI,
    MODE_ROUTER,
    OUT_MEMORY,
    OUT_NONE,
    OUT_PCAP,
    OUT_PCAPNG,
    PEERS_ONLY,
    STAT_IN,
)

EMITTERS: dict[int, Any] = {
    OUT_NONE: None, OUT_PCAP: C.emit_pcap, OUT_PCAPNG: C.emit_pcapng, OUT_MEMORY: C.emit_memory,
}  # fmt: skip
MILLISECOND = 10**6  # ns
GROWTH = 128  # bytes that a packet may grow by in a result, record header and all, before its memory does
TTL_INTERVAL, TTL_BURST = 100, 10  # ms for one time exceeded, and how many may come at once: IOS names no limit


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
        self.config = config
        self._told: dict[str, Any] = {}  # the configuration as a checkpoint tells it, once that has been asked for
        self._options: dict[str, Any] = {
            "keying": keying, "keys": keys, "engine": engine, "threads": threads, "batch": batch, "seed": seed,
            "rekey": rekey, "strict": strict, "offload": offload,
        }  # fmt: skip
        self.issues: list[Issue] = list(config.issues)
        self.tables = Tables()
        t = self.tables.t
        t.ctl[CTL_MODE], t.ctl[CTL_V6_OFF] = MODE_ROUTER, not config.unicast_routing6
        t.ctl[CTL_OFFLOAD] = offload
        with uncollected(len(config.lines)):
            self._policy(config, engine)
            self.sadb.key(self._builder.wants, keying, seed, keys)
            self._paths(config, threads, batch, rekey)
        self._first = int(t.ctl[CTL_GEN])

    def _policy(self, config: Configuration, engine: str | None) -> None:
        """Interfaces, routes and policies; SAs are still to come."""
        self.sad = Sad(self.tables, choose(engine))
        self.interfaces = Interfaces(self.tables, list(config.interfaces))
        self.routing = Routing(config, self.interfaces.row)
        self._forward()
        self.policies = Policies(self.tables)
        self._builder = PolicyBuilder(config, self.policies)
        self._gre: list[GreTunnel] = []
        for name, row in self.interfaces.row.items():
            self._interface(config.interfaces[name], row)
        self.policies.build()
        self.sadb = Sadb(config, self.tables, self.sad, upward(self._warn))

    def _paths(self, config: Configuration, threads: int, batch: int, rekey: bool) -> None:
        """What is known once there are SAs: tunnels, sizes, queues; the driver, and who answers it."""
        t = self.tables.t
        tunnels.build(self.tables, self._gre)
        self.sizes = Sizes(self)
        reassembly.build(self.tables, ports=bool((t.ace["ports"] != 0).any()))
        self._limits()
        self._classes()
        if tunnels.numbered(self._gre):
            threads = batch = 1
        self.engine = Engine(self.tables, self.sad, threads, batch)
        self.engine.align(ALIGN_OUTBOUND)
        self.features = tuple(self._features())
        self.path_mtus = PathMtus(self.tables, self.sizes.set_path_mtu, self.sizes.home)
        self.lifetimes = Lifetimes(config, self.tables, self.sad, self.sadb, upward(self._hand_on), rekey)
        self._timers = Timers(self.tables, [self.lifetimes, self.path_mtus])
        self.engine.on_told, self.engine.on_due = upward(self._on_told), self._timers.advance
        self.engine.on_stop = upward(self._on_stop)

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
        return {"config": self._told, "options": options, "plane": kept.plane_of(self), "issues": self.issues}

    def kinds(self) -> checkpoint.Kinds:
        """How the objects of the control plane are told."""
        return kept.kinds_of(self)

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
        kept.put_plane(self, held.values(kept.kinds_of(self), *path, "plane"))
        self.issues = held.values(kept.OF_ROUTERS, *path, "issues")
        held.put(self.tables.t)

    def _warn(self, line: int, message: str, hint: str) -> None:
        self.issues.append(Issue("warning", self.config.file, line, 1, message, hint))

    @property
    def _dead_end(self) -> int:
        """The VRF of interfaces that are held down: nothing that arrives there goes on."""
        return len(self.routing.vrfs)

    def _forward(self) -> None:
        """Fill in the forwarding table."""
        if self.config.held:
            fib.build(self.tables, self._held_and_routes(), len(self.routing.vrfs) + 1)
        else:
            forwarding.build(self.tables, self.routing.forwarding(), len(self.routing.vrfs))

    def _held_and_routes(self) -> list[Route]:
        """Routes, in front of them those by which nothing is sent: see qfp.config.held."""
        held = self.config.held
        out = [Route(network, HELD, self.routing.vrfs.get(vrf, 0)) for vrf, network in held.prefixes]
        if held.interfaces:
            out += [Route(ip_network(prefix), HELD, self._dead_end) for prefix in ("0.0.0.0/0", "::/0")]
        return out + self.routing.routes

    def _interface(self, interface: Any, row: int) -> None:
        """Row of the interface table: policies, VRF, tunnel. MTUs follow when SAs are known."""
        if interface.name in self.config.held.interfaces:
            self.interfaces.set(row, vrf=self._dead_end, **self._host(interface), kind=IF_HELD, up=0)
            return
        spd4 = spd6 = -1
        if interface.crypto_map:
            spd4 = self._builder.crypto_map(interface, interface.crypto_map, 4)
        if interface.ipv6_crypto_map:
            spd6 = self._builder.crypto_map(interface, interface.ipv6_crypto_map, 6)
        fields = {"spd4": spd4, "spd6": spd6, "up": not interface.is_down}
        if interface.tunnel is not None and not interface.is_template:
            fields |= self._tunnel(interface, row, fields)
        self.interfaces.set(row, vrf=self.routing.vrf_of(interface), **self._host(interface), **fields)

    def _host(self, interface: Any) -> dict[str, int]:
        """What an interface answers with, and the TCP segments that it lets through."""
        own = {family: own_address(self.config, interface, family) for family in (4, 6)}
        if interface.unnumbered in self.config.interfaces:
            home = self.config.interfaces[interface.unnumbered]
            own = {family: address or own_address(self.config, home, family) for family, address in own.items()}
        own6 = int(own[6] or 0)
        return {
            "own4": int(own[4] or 0), "own6h": own6 >> 64, "own6l": own6 & (2**64 - 1),
            "errors4": interface.unreachables, "errors6": interface.unreachables6,
            "mss4": interface.tcp_adjust_mss or 0, "mss6": interface.ipv6_tcp_adjust_mss or 0,
        }  # fmt: skip

    def _tunnel(self, interface: Any, row: int, fields: dict[str, int]) -> dict[str, int]:
        """Fields of a tunnel interface. An incomplete one is down."""
        if not is_modelled(interface.tunnel):
            return {"kind": IF_OTHER}
        if interface.tunnel.is_multipoint:
            return self._multipoint(interface, row)
        way = tunnel_way(self.config, self.routing, interface, row)
        if way.under >= 0 and self.interfaces.names[way.under] in self.config.held.interfaces:
            return {"kind": IF_HELD, "up": 0}
        entry = self._protection(interface, row)
        up = bool(fields["up"]) and way.complete and entry is not None
        if entry is None or not way.complete:  # without a policy a VTI would send what is routed into it in clear
            return {"kind": IF_PHYSICAL, "up": 0}
        if interface.tunnel.is_vti:
            spd = -1 if entry is None else entry
            under = -1 if way.looped else way.under
            return {"kind": IF_VTI, "under": under, "up": up and not way.looped, "spd4": spd, "spd6": spd}
        if not up:
            return {"kind": IF_PHYSICAL, "up": 0}
        df = df_rule(self.config, interface)
        id_row = tunnels.id_rows(self.tables, self.sad, way.local, way.peer)
        vrf = self.routing.vrfs.get(interface.tunnel.vrf, 0)
        gre = GreTunnel(row, way.local, way.peer, interface.tunnel, vrf, entry, id_row, df, way.under)
        self._gre.append(gre)
        return {"kind": IF_GRE, "under": way.under, "up": up}

    def _multipoint(self, interface: Any, row: int) -> dict[str, int]:
        """Fields of a multipoint GRE tunnel; its head and its peers become rows of their own."""
        tunnel = interface.tunnel
        any_peer = IPv6Address(0) if tunnel.mode.endswith("ipv6") else IPv4Address(0)
        local = own_end(self.config, interface, any_peer.version)
        profile = tunnel.protection_profile
        if interface.shutdown or local is None or (profile is not None and profile not in self.config.profiles):
            return {"kind": IF_PHYSICAL, "up": 0}
        df, vrf = df_rule(self.config, interface), self.routing.vrfs.get(tunnel.vrf, 0)
        ways, _ = peer_ways(self.config, self.routing, interface, row)
        home = self.routing.lookup(local, vrf)
        under = next((way.under for way in ways if way.under >= 0), home.out_if if home is not None else -1)
        sp = -1 if profile is None else PEERS_ONLY
        self._gre.append(GreTunnel(row, local, any_peer, tunnel, vrf, sp, 0, df, under, head=True))
        for way in ways:
            if profile is not None:
                sp = self._builder.peer(interface, row, IPPROTO_GRE, local, way.peer)
            id_row = tunnels.id_rows(self.tables, self.sad, local, way.peer)
            self._gre.append(GreTunnel(row, local, way.peer, tunnel, vrf, sp, id_row, df, way.under, hops=way.networks,
                                       multicast=way.multicast))  # fmt: skip
        return {"kind": IF_GRE, "under": under}

    def _protection(self, interface: Any, row: int) -> int | None:
        """SPD of a VTI, SPD entry of a GRE tunnel's protection (-1 without one); None when it is incomplete."""
        if interface.tunnel.is_vti:
            found = self._builder.tunnel(interface, row)
            return found if found >= 0 else None
        if interface.tunnel.protection_profile is None:
            return -1
        found = self._builder.protection(interface, row, IPPROTO_GRE)
        return found if found >= 0 else None

    def _classes(self) -> None:
        """Output policies of interfaces: the queue of a packet chooses its sequence-number space."""
        t = self.tables.t
        rows: list[Any] = []
        for name, row in self.interfaces.row.items():
            policy = self.config.policy_maps.get(self.config.interfaces[name].service_policy_out or "")
            if policy is None:
                continue
            t.ifs["policy"][row] = len(rows)
            rows.append(classes.table(self.config, policy))
        if rows:
            self.tables.replace("classes", np.concatenate(rows))
        t.ctl[CTL_POLICIES] = len(rows)

    def _hand_on(self, old: int, new: int) -> None:
        """An outbound SA follows another on the same way."""
        self.sizes.hand_on(old, new)
        self.path_mtus.hand_on(old, new)

    def _on_told(self) -> None:
        self.lifetimes.on_told()
        self._timers.arm()

    def _on_stop(self, why: int, handle: int, value: int, ts: int) -> None:
        self.path_mtus.on_stop(why, handle, value, ts)
        self.lifetimes.on_stop(why, handle)
        self._timers.arm()

    def again(self) -> "Router":
        """A router as this one was at first."""
        return Router(self.config, **self._options)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has happened to the router yet."""
        return not self.tables.t.stats[STAT_IN] and self.tables.t.ctl[CTL_GEN] == self._first

    def reconfigured(self, config: Configuration, ts: int, *, idle_for_all: bool = False) -> "Router":
        """A router with another configuration that goes on from `ts` (ns) with what this one has: see
        qfp.control.takeover. This one ends.

        idle_for_all: a new idle time holds for all SAs from now on, as the guide's chapter 8 can be read; otherwise for
        those that are created afterwards, as lifetimes do, and `clear` brings it to all (IDLE-5).
        """
        self.advance(ts)
        new = Router(config, **self._options)
        take_over(new, self, ts, idle_for_all)
        new._timers.arm()
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
            self.lifetimes.hold()
            self.path_mtus.hold()
            self._timers.arm()
            yield
        finally:
            restore(self, before)

    def advance(self, to: int) -> None:
        """Let time pass without packets, up to `to` (ns): timers that are due fire, each at its own time."""
        self._timers.advance(to)

    def clear(self, ts: int, peer: str = "") -> int:
        """`clear crypto sa [peer ADDRESS]` at `ts` (ns): SAs are deleted, and the next packet begins new ones. Returns
        how many pairs there were."""
        self._timers.advance(ts)
        count = self.lifetimes.clear(ts, peer)
        self._timers.arm()
        return count

    def _limits(self) -> None:
        """Rate limits of ICMP errors."""
        limits = self.config.icmp
        values = {
            CLASS_UNREACHABLE: (limits.unreachable, 1), CLASS_DF: (limits.unreachable_df, 1),
            CLASS_TTL: (TTL_INTERVAL, TTL_BURST), CLASS_V6: (limits.interval6, limits.bucket6),
        }  # fmt: skip
        for row, (interval, burst) in values.items():
            self.tables.t.icmp["interval"][row] = interval * MILLISECOND
            self.tables.t.icmp["burst"][row] = burst

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

    def _features(self) -> Iterator[str]:
        """What the configuration uses of fia.FEATURES."""
        if self._gre:
            yield "gre"
        if self.tables.t.sa["comp"].any():
            yield "lzs"
        if self.tables.t.ctl[CTL_POLICIES]:
            yield "qos"

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
