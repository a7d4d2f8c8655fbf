"""The control plane of a router: all that is known besides packets, and what fills the tables.

    configuration -> interfaces, routes -> policies -> SAs -> tunnels -> sizes -> lifetimes, path MTUs, timers

It answers the data plane between two turns of the driver: when packets did something to their SAs (`on_told`), when the
driver stopped for an answer (`on_stop`), and when a timer is due (`timers`).
"""

from collections.abc import Sequence
from ipaddress import ip_network

import numpy as np

from qfp.batch import Array
from qfp.config import Configuration, Issue
from qfp.config.pause import uncollected
from qfp.config.routing import Routing
from qfp.control import classes, forwarding, tunnels
from qfp.control.lifetimes import Lifetimes
from qfp.control.pathmtu import PathMtus
from qfp.control.policy import PolicyBuilder, Want
from qfp.control.ports import Ports
from qfp.control.sadb import Sadb
from qfp.control.sizes import Sizes
from qfp.control.timers import Timers
from qfp.sa import SecurityAssociation
from qfp.tables import fib, reassembly
from qfp.tables.interfaces import Interfaces
from qfp.tables.route import Route
from qfp.tables.sad import Sad
from qfp.tables.spd import Policies
from qfp.tables.store import Tables
from qfp.upward import upward
from qfp_kernels.icmp import CLASS_DF, CLASS_TTL, CLASS_UNREACHABLE, CLASS_V6
from qfp_kernels.layout import CTL_GEN, CTL_MODE, CTL_OFFLOAD, CTL_POLICIES, CTL_V6_OFF, HELD, MODE_ROUTER, STAT_IN

MILLISECOND = 10**6  # ns
TTL_INTERVAL, TTL_BURST = 100, 10  # ms for one time exceeded, and how many may come at once: IOS names no limit


class ControlPlane:
    """What a configuration came to, and what has become of it since.

    cipher_engine: the name of a crypto engine. keying, seed, keys, rekey, offload: see qfp.router.Router. Raises
    KeyingError.
    """

    def __init__(
        self, config: Configuration, cipher_engine: str, *, keying: str, seed: int,
        keys: Sequence[SecurityAssociation], rekey: bool, offload: bool,
    ):  # fmt: skip
        self.config = config
        self.issues: list[Issue] = list(config.issues)
        self.tables = Tables()
        t = self.tables.t
        t.ctl[CTL_MODE], t.ctl[CTL_V6_OFF] = MODE_ROUTER, not config.unicast_routing6
        t.ctl[CTL_OFFLOAD] = offload
        with uncollected(len(config.lines)):
            self._policy(cipher_engine)
            self.sadb = Sadb(config, self.tables, self.sad, upward(self._warn))
            self.sadb.key(self.wants, keying, seed, keys)
            self._paths(rekey)
        self._first = int(t.ctl[CTL_GEN])

    # --- set-up

    def _policy(self, cipher_engine: str) -> None:
        """Interfaces, routes and policies; SAs are still to come."""
        self.sad = Sad(self.tables, cipher_engine)
        self.interfaces = Interfaces(self.tables, list(self.config.interfaces))
        self.routing = Routing(self.config, self.interfaces.row)
        self._forward()
        self.policies = Policies(self.tables)
        policy = PolicyBuilder(self.config, self.policies)
        ports = Ports(self.config, self.tables, self.sad, self.interfaces, self.routing, policy, self._dead_end)
        self.policies.build()
        self.gre = ports.gre
        self.wants: list[Want] = policy.wants

    def _paths(self, rekey: bool) -> None:
        """What is known once there are SAs: tunnels, sizes, queues, and what changes with time."""
        t = self.tables.t
        tunnels.build(self.tables, self.gre)
        self.sizes = Sizes(self.config, self.tables, self.sad, self.interfaces, self.sadb)
        reassembly.build(self.tables, ports=bool((t.ace["ports"] != 0).any()))
        self._limits()
        self._classes()
        self.path_mtus = PathMtus(self.tables, self.sizes.set_path_mtu, self.sizes.home)
        self.lifetimes = Lifetimes(self.config, self.tables, self.sad, self.sadb, upward(self._inherit), rekey)
        self.timers = Timers(self.tables, [self.lifetimes, self.path_mtus])

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

    def _classes(self) -> None:
        """Output policies of interfaces: the queue of a packet chooses its sequence-number space."""
        t = self.tables.t
        rows: list[Array] = []
        for name, row in self.interfaces.row.items():
            policy = self.config.policy_maps.get(self.config.interfaces[name].service_policy_out or "")
            if policy is None:
                continue
            t.ifs["policy"][row] = len(rows)
            rows.append(classes.table(self.config, policy))
        if rows:
            self.tables.replace("classes", np.concatenate(rows))
        t.ctl[CTL_POLICIES] = len(rows)

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

    def _warn(self, line: int, message: str, hint: str) -> None:
        self.issues.append(Issue("warning", self.config.file, line, 1, message, hint))

    # --- what is asked of it

    @property
    def packet_by_packet(self) -> bool:
        """Whether a vector may hold one packet only: see tunnels.numbered."""
        return tunnels.numbered(self.gre)

    @property
    def features(self) -> tuple[str, ...]:
        """What the configuration uses of fia.FEATURES."""
        t = self.tables.t
        used = {"gre": bool(self.gre), "lzs": bool(t.sa["comp"].any()), "qos": bool(t.ctl[CTL_POLICIES])}
        return tuple(name for name, on in used.items() if on)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has happened yet."""
        return not self.tables.t.stats[STAT_IN] and int(self.tables.t.ctl[CTL_GEN]) == self._first

    def advance(self, to: int) -> None:
        """Let time pass without packets, up to `to` (ns): timers that are due fire, each at its own time."""
        self.timers.advance(to)

    def clear(self, ts: int, peer: str = "") -> int:
        """`clear crypto sa [peer ADDRESS]` at `ts` (ns); how many pairs there were."""
        self.timers.advance(ts)
        count = self.lifetimes.clear(ts, peer)
        self.timers.arm()
        return count

    def hold(self) -> None:
        """Let no SA be followed or end by its lifetime, and no path MTU be forgotten."""
        self.lifetimes.hold()
        self.path_mtus.hold()
        self.timers.arm()

    # --- what the data plane asks

    def on_told(self) -> None:
        """Packets did something to their SAs."""
        self.lifetimes.on_told()
        self.timers.arm()

    def on_stop(self, why: int, handle: int, value: int, ts: int) -> None:
        """The driver stopped before a packet, for an answer."""
        self.path_mtus.on_stop(why, handle, value, ts)
        self.lifetimes.on_stop(why, handle)
        self.timers.arm()

    def _inherit(self, old: int, new: int) -> None:
        """An outbound SA follows another on the same way."""
        self.sizes.hand_on(old, new)
        self.path_mtus.hand_on(old, new)
