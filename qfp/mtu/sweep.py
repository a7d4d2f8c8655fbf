"""A sweep: datagrams of every size through the real data plane, and what became of each.

The router's packets are opened with its own keys, so that it shows what lies inside (fragments before encryption), and
sent into the peer, where one is given. Nothing here predicts: qfp.sizes does that, and the tests compare. A sweep is of
one generation of SAs: `Router.held` keeps lifetimes from counting, because a rate limit of ICMP errors makes it last
hours of packet time.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qfp.batch import Array, Batch
from qfp.decrypt import Decryptor
from qfp.engine import MemorySink
from qfp.mtu import datagrams, reading
from qfp.mtu.datagrams import Flow
from qfp.mtu.paths import Path
from qfp.result import VerdictStore, collect
from qfp.router import Router
from qfp.trace.office import START
from qfp.trace.source import BatchSource
from qfp_kernels import drops
from qfp_kernels.drops import Verdict

# What the router did, as bits: a datagram that the host sent in fragments may meet several fates at once.
BY_TUNNEL, BEFORE, GRE_CUT, AFTER, AT_EGRESS, IN_CLEAR, DROPPED, VANISHED = (1 << k for k in range(8))
GONE = DROPPED | VANISHED
FRAGMENTED = BY_TUNNEL | BEFORE | GRE_CUT | AFTER | AT_EGRESS
# What came of it at the peer
AS_FRAGMENTS, PEER_BEFORE, PEER_GRE, PEER_LOST = (1 << k for k in range(4))
NO_ICMP = -1
GAP = 10**9  # ns between datagrams, at least: ICMP errors are rate-limited, 500 ms each by default


class SweepFault(RuntimeError):
    """What a router sent could not be read back, so nothing can be said about it: a fault of qfp."""


@dataclass(frozen=True)
class Lengths:
    """IP lengths of packets, and the datagram of each."""

    owner: Array
    length: Array

    def of(self, k: int) -> list[int]:
        """Lengths of the packets of datagram k, in their order."""
        found: list[int] = self.length[self.owner == k].tolist()
        return found


@dataclass
class Sweep:
    """What became of n datagrams of a flow, one array a field.

    hosts: packets that the host sent for it. ways: bits; lead: those of the host's first packet, which is its longest.
    cause, peer_cause: numbers of drops.CAUSES, 0 = none. icmp: (n, 3) type, code, MTU told; NO_ICMP = there was none.
    peer, peer_lead: bits at the peer; peer is None without one. host, inner, wire, arrived: what the host sent, what
    lies inside of the protected packets, what left for the peer, what the peer delivered. delivered: names of the
    interfaces that these left the peer by.
    """

    sizes: Array
    hosts: Array
    ways: Array
    lead: Array
    cause: Array
    icmp: Array
    peer: Array | None
    peer_lead: Array
    peer_cause: Array
    host: Lengths
    inner: Lengths
    wire: Lengths
    arrived: Lengths
    delivered: tuple[str, ...] = ()


@dataclass
class _Part:
    """One part of a sweep: columns a datagram, lists of (owner, length)."""

    columns: dict[str, Array] = field(default_factory=dict)
    lists: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)


def spacing(routers: list[Router]) -> int:
    """ns between datagrams, so that every drop gets its ICMP error."""
    return max(GAP, *(int(router.tables.t.icmp["interval"].max()) for router in routers))


def latest(router: Router) -> int:
    """The latest time that a router remembers, ns: packet time must not run backwards."""
    t = router.tables.t
    return max(int(t.icmp["since"].max()), int(t.rsm["now"].max()), 0)


def opener(router: Router) -> Decryptor:
    """Opens what a router protects: its outbound SAs as a receiver has them, without a replay check."""
    handles = [handle for pair in router.sadb.pairs for handle in pair.outbound]
    return Decryptor([router.sad.describe(handle) for handle in handles], window=0, engine=router.sad.crypto.name)


class Lab:
    """A router, its peer, and packet time, which goes on from sweep to sweep. Both are `held` by the caller."""

    def __init__(self, router: Router, peer: Router | None = None):
        self.router, self.peer = router, peer
        routers = [router] if peer is None else [router, peer]
        self.gap = spacing(routers)
        self.now = max(START, *(latest(each) + self.gap for each in routers))
        self.number = 0
        self._opener: Decryptor | None = None

    def close(self) -> None:
        """End what the lab started itself."""
        if self._opener is not None:
            self._opener.engine.close()

    def times(self, count: int) -> Array:
        """Times of the next datagrams, ns."""
        got: Array = self.now + self.gap * np.arange(count, dtype=np.int64)
        self.now += self.gap * count
        return got

    def through(self, router: Router, batch: Batch, ingress: str) -> Any:
        """The result of a batch that arrives at an interface. Nothing is kept for `explain`: a sweep has many."""
        batch.columns["in_if"][:] = router.interfaces.row[ingress]
        return router.exchange(batch)

    def open(self, batch: Batch) -> Any:
        """The result of opening what the router protected."""
        if self._opener is None:
            self._opener = opener(self.router)
        own, sink, store = self._opener, MemorySink(), VerdictStore()
        own.run(BatchSource(batch), sink, store.add)
        return collect(own.tables, own.sad, own.interfaces.names, batch, sink, store)

    def probe(self, flow: Flow, ingress: str, size: int = 100) -> Any:
        """The result of one datagram."""
        frames = next(datagrams.build(flow, np.array([max(size, flow.least)]), False, 1500, self.times(1)))
        return self.through(self.router, frames.batch, ingress)

    def sweep(self, path: Path, flow: Flow, sizes: Array, df: bool, host_mtu: int) -> Sweep:
        """Send datagrams of `sizes` IP bytes into a path. host_mtu: of their source."""
        times = self.times(len(sizes))
        parts = []
        for frames in datagrams.build(flow, sizes, df, host_mtu, times, self.number):
            parts.append(self._part(path, flow, frames))
        self.number += len(sizes)
        return _whole(parts, sizes, self.peer is not None and path.peer_ingress is not None)

    # ------------------------------------------------------------------------------------------------- a part
    def _part(self, path: Path, flow: Flow, frames: datagrams.Frames) -> _Part:
        """One part through router, opener and peer. Works a frame (a packet of the host), then a datagram."""
        result = self.through(self.router, frames.batch, path.ingress)
        packets, frame = sent(result)
        found = reading.of_batch(packets)
        error = reading.is_error(packets, found)
        wire, wire_frame = take(packets, ~error), frame[~error]
        cut = found.fragment[~error]
        n = len(frames.owner)
        ways = self._ways(path, result, wire_frame, cut, n)
        part = _Part()
        inner_bits, part.lists["inner"] = self._inside(path, flow, frames, wire, wire_frame, ways)
        ways |= inner_bits
        peer, cause = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if self.peer is not None and path.peer_ingress is not None:
            peer, cause = self._arrive(path, frames, wire, wire_frame, ways, cut, part)
        icmp = _first_errors(reading.errors(packets, found, np.flatnonzero(error)), frame[error], n)
        part.lists["host"] = frames.owner, frames.batch.columns["length"].astype(np.int64)
        part.lists["wire"] = frames.owner[wire_frame], wire.columns["length"].astype(np.int64)
        _by_datagram(part, frames.owner, ways, result.verdicts["cause"].astype(np.int64), icmp, peer, cause)
        return part

    def _ways(self, path: Path, result: Any, wire_frame: Array, cut: Array, n: int) -> Array:
        """Bits of each frame that show from outside."""
        verdict = result.verdicts["verdict"]
        count = np.bincount(wire_frame, minlength=n)
        clear = (verdict == Verdict.BYPASSED) & path.protected
        ways = np.where(clear, IN_CLEAR, 0) | np.where(verdict == Verdict.DROPPED, DROPPED, 0)
        ways |= np.where((count == 0) & (verdict != Verdict.DROPPED), VANISHED, 0)
        outer = np.bincount(wire_frame[cut], minlength=n) > 0
        ways |= np.where(outer & path.protected & ~clear, AFTER, 0)
        ways |= np.where((outer & (not path.protected)) | (clear & (count > 1)), AT_EGRESS, 0)
        return ways.astype(np.int64)

    def _inside(
        self, path: Path, flow: Flow, frames: datagrams.Frames, wire: Batch, wire_frame: Array, ways: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        """(bits of each frame that show inside, lengths of the packets inside). Raises SweepFault."""
        n = len(frames.owner)
        opened, row, unread = wire, np.arange(len(wire)), np.zeros(n, np.int64)
        if path.protected:
            result = self.open(wire)
            opened, row = sent(result)
            np.maximum.at(unread, wire_frame, result.verdicts["cause"].astype(np.int64))
        frame = wire_frame[row]
        found = reading.of_batch(opened)
        bits = np.zeros(n, np.int64)
        if path.gre:
            bits[frame[found.fragment]] |= GRE_CUT if path.protected else 0
            starts, found = reading.inside_gre(opened.arena, found)
            frame = frame[starts]
        _check_read(path, frames, ways, unread, np.bincount(frame, found.payload, n))
        size = frames.batch.columns["length"]
        many = np.bincount(frame, minlength=n) > 1
        bits |= np.where(many, np.where(size > path.tunnel_mtu(flow.family), BY_TUNNEL, BEFORE), 0)
        return bits, (frames.owner[frame], found.length)

    def _arrive(
        self, path: Path, frames: datagrams.Frames, wire: Batch, wire_frame: Array, ways: Array, cut: Array, part: _Part
    ) -> tuple[Array, Array]:
        """(peer bits, peer cause) of each frame; what the peer delivered goes into `part`."""
        assert self.peer is not None and path.peer_ingress is not None
        n = len(frames.owner)
        result = self.through(self.peer, wire, path.peer_ingress)
        packets, row = sent(result)
        found = reading.of_batch(packets)
        good = ~reading.is_error(packets, found)
        frame = wire_frame[row][good]
        before = reading.of_batch(frames.batch)
        got = np.bincount(frame, found.payload[good], n)
        complete = (got == before.payload) & (got > 0)
        pieces = np.bincount(frame, minlength=n)
        cut_now = np.bincount(frame[found.fragment[good]], minlength=n) > 0
        held = np.bincount(wire_frame[result.verdicts["verdict"] == Verdict.CONSUMED], minlength=n) > 0
        outer = np.bincount(wire_frame[cut], minlength=n) > 0
        bits = np.where(complete & ((pieces > 1) | (cut_now & ~before.fragment)), AS_FRAGMENTS, 0)
        bits |= np.where(complete & held & outer & (ways & IN_CLEAR == 0), PEER_BEFORE, 0)
        bits |= np.where(complete & held & (ways & GRE_CUT != 0), PEER_GRE, 0)
        bits |= np.where(~complete & (ways & GONE == 0), PEER_LOST, 0)
        cause = np.zeros(n, np.int64)
        np.maximum.at(cause, wire_frame, result.verdicts["cause"].astype(np.int64))
        part.lists["arrived"] = frames.owner[frame], found.length[good]
        names = packets.columns["in_if"][good]
        part.delivered |= {self.peer.interfaces.names[k] for k in np.unique(names).tolist() if k >= 0}
        return bits, cause


# ------------------------------------------------------------------------------------------------------- pieces
def sent(result: Any) -> tuple[Batch, Array]:
    """(packets that a run sent, the input row of each): a row's packets lie together, in the order of rows."""
    return result.packets, np.repeat(np.arange(len(result.verdicts["n_out"])), result.verdicts["n_out"])


def take(batch: Batch, rows: Array) -> Batch:
    """Some frames of a batch, over the same arena."""
    return Batch(batch.arena, {name: column[rows] for name, column in batch.columns.items()}, batch.interfaces)


def _check_read(path: Path, frames: datagrams.Frames, ways: Array, unread: Array, got: Array) -> None:
    """Every byte that went into the path must be found again inside of what left it protected.

    ways: bits of each frame. unread: why something of it could not be opened, 0 = nothing. got: payload bytes inside.
    Raises SweepFault: a band about packets that nobody could read would be a guess.
    """
    want = reading.of_batch(frames.batch).payload
    bad = np.flatnonzero((ways & (GONE | IN_CLEAR) == 0) & ((unread != 0) | (got != want)))
    if len(bad):
        k = int(bad[0])
        cause = drops.CAUSES[int(unread[k])].name if unread[k] else "incomplete"
        size = int(frames.batch.columns["length"][k])
        raise SweepFault(
            f"{path.where}: of what left for a packet of {size} bytes, {int(got[k])} of {int(want[k])} payload bytes "
            f"could be read ({cause}): this is a fault of qfp, and no answer is given: please report it with the "
            "configuration"
        )


def _first_errors(found: Array, frame: Array, n: int) -> Array:
    """(n, 3): the first ICMP error about each frame."""
    icmp = np.full((n, 3), NO_ICMP, np.int64)
    icmp[frame[::-1]] = found[::-1]
    return icmp


def _by_datagram(
    part: _Part, owner: Array, ways: Array, cause: Array, icmp: Array, peer: Array, peer_cause: Array
) -> None:
    """From frames to datagrams: bits of all frames together, the first ICMP error, the cause of the first drop."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    frames = np.arange(len(owner))
    told = np.minimum.reduceat(np.where(icmp[:, 0] != NO_ICMP, frames, len(owner)), starts)
    picked = np.where((told < len(owner))[:, None], icmp[np.minimum(told, len(owner) - 1)], NO_ICMP)
    part.columns = {
        "hosts": np.diff(starts, append=len(owner)),
        "ways": np.bitwise_or.reduceat(ways, starts),
        "lead": ways[starts],
        "cause": np.maximum.reduceat(cause, starts),
        "icmp": picked,
        "peer": np.bitwise_or.reduceat(peer, starts),
        "peer_lead": peer[starts],
        "peer_cause": np.maximum.reduceat(peer_cause, starts),
    }


def _whole(parts: list[_Part], sizes: Array, with_peer: bool) -> Sweep:
    columns: dict[str, Any] = {name: np.concatenate([p.columns[name] for p in parts]) for name in parts[0].columns}
    none = np.zeros(0, np.int64)

    def lengths(name: str) -> Lengths:
        lists = [p.lists.get(name, (none, none)) for p in parts]
        return Lengths(np.concatenate([a for a, _ in lists]), np.concatenate([b for _, b in lists]))

    peer = columns.pop("peer")
    delivered = tuple(sorted(set().union(*(p.delivered for p in parts))))
    lists: dict[str, Any] = {name: lengths(name) for name in ("host", "inner", "wire", "arrived")}
    return Sweep(sizes=sizes, peer=peer if with_peer else None, delivered=delivered, **columns, **lists)
