"""The router's log: IOS messages about packets that the data plane refused (AR-5, SPI-1).

Verdict columns go in, chunk by chunk and in order; events come out, rate-limited in the packets' own time. What is
suppressed is counted all the same. Lines are worded as the platform words them:

    replay       %CRYPTO-4-PKT_REPLAY_ERR, %IPSEC-3-REPLAY_ERROR of the forwarding processor, and its detail line
    integrity    %CRYPTO-4-RECVD_PKT_MAC_ERR and %IPSEC-3-HMAC_ERROR
    invalid SPI  %CRYPTO-4-RECVD_PKT_INV_SPI
    not IPsec    %CRYPTO-4-RECVD_PKT_NOT_IPSEC

A verdict row does not hold the addresses of a packet: `Event.wants_packet` says that the frame must be looked at
again, which the reader of the trace does (few frames, because events are rate-limited).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from qfp.batch import Array
from qfp.checkpoint import Value
from qfp.tables.store import Tables
from qfp.trace.walker import Walker
from qfp_kernels.columns import Columns
from qfp_kernels.drops import Drop
from qfp_kernels.layout import CTL_MODE, CTL_NATT, CTL_NATT_FROM, CTL_OFFLOAD, CTL_UDP_WHOLE, MODE_ROUTER

SECOND = 10**9  # ns
INTERVAL_INVALID_SPI = 60 * SECOND  # as IOS: one a minute, whatever the SPI
INTERVAL_NOT_IPSEC = 60 * SECOND  # the same
INTERVAL_REPLAY = 60 * SECOND  # one a minute and SA: a noisy SA does not silence the others
INTERVAL_INTEGRITY = 60 * SECOND  # the same
LOOKED_AT_BY = (CTL_MODE, CTL_NATT, CTL_NATT_FROM, CTL_OFFLOAD, CTL_UDP_WHOLE)  # words of `ctl` that `parse` asks
EVENTS_MAX = 100_000  # events kept; more are only counted, so that hostile timestamps cannot fill memory
CONNECTION_BASE = 2000  # connection id = 2000 + flow id
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PLATFORM = "%IOSXE-3-PLATFORM: R0/0: cpp_cp: QFP:0.0 Thread:000 TS:{ts:020d} "


@dataclass(frozen=True)
class Kind:
    """A kind of event: the drop causes behind it, its least distance in ns, and whether each SA has its own."""

    name: str
    causes: tuple[int, ...]
    interval: int
    each_sa: bool


REPLAY = Kind("replay", (int(Drop.REPLAY),), INTERVAL_REPLAY, True)
INTEGRITY = Kind("integrity", (int(Drop.INTEGRITY), int(Drop.ESN_GUESS)), INTERVAL_INTEGRITY, True)
INVALID_SPI = Kind("invalid spi", (int(Drop.NO_SA),), INTERVAL_INVALID_SPI, False)
NOT_IPSEC = Kind("not ipsec", (int(Drop.NOT_IPSEC),), INTERVAL_NOT_IPSEC, False)
KINDS = (REPLAY, INTEGRITY, INVALID_SPI, NOT_IPSEC)


@dataclass(frozen=True)
class PacketView:
    """Addresses and protocol of a packet's outermost header."""

    src: str
    dst: str
    protocol: int


UNKNOWN = PacketView("unknown", "unknown", 0)


@dataclass(frozen=True)
class Event:
    """One event to log. src, dst: of the SA, None where it has none (then the packet's are needed)."""

    kind: Kind
    frame: int
    ts: int
    sa: int
    flow_id: int
    spi: int
    seq: int
    sns: int
    src: str | None
    dst: str | None

    @property
    def wants_packet(self) -> bool:
        """Whether the lines need the packet's own header."""
        return self.src is None or self.dst is None


_EVENT = tuple(f.name for f in fields(Event))


def timestamp(ts: int) -> str:
    """ns since 1970 as IOS stamps a log line: UTC, ms, an asterisk because no clock was set."""
    try:
        t = datetime.fromtimestamp(ts // SECOND, UTC)
    except (ValueError, OverflowError, OSError):
        t = datetime.fromtimestamp(0, UTC)
    return f"*{MONTHS[t.month - 1]} {t.day:2d} {t:%H:%M:%S}.{ts % SECOND // 10**6:03d}"


def lines(event: Event, packet: PacketView = UNKNOWN) -> list[str]:
    """The lines of one event. `packet` stands in for addresses that the SA does not fix."""
    stamp = timestamp(event.ts)
    src, dst = event.src or packet.src, event.dst or packet.dst
    conn, spi = CONNECTION_BASE + event.flow_id, event.spi
    platform = PLATFORM.format(ts=max(event.ts, 0))
    ends = f"DP Handle {event.sa}, src_addr {src}, dest_addr {dst}, SPI 0x{spi:x}"
    if event.kind is REPLAY:
        texts = [
            f"%CRYPTO-4-PKT_REPLAY_ERR: decrypt: replay check failed connection id={conn}",
            f"{platform}%IPSEC-3-REPLAY_ERROR: IPSec SA receives anti-replay error, {ends}",
            f"{platform}anti-replay drop on sa=0x{event.sa:x}, src {src} dst {dst}, spi {spi}/(0x{spi:x}), "
            f"sns_idx {event.sns}, seq_no={event.seq}",
        ]
    elif event.kind is INTEGRITY:
        texts = [
            f"%CRYPTO-4-RECVD_PKT_MAC_ERR: decrypt: mac verify failed for connection id={conn} "
            f"spi={spi:08X} seqno={event.seq & 0xFFFFFFFF:08X}",
            f"{platform}%IPSEC-3-HMAC_ERROR: IPSec SA receives HMAC error, {ends}",
        ]
    elif event.kind is INVALID_SPI:
        texts = [
            f"%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr={dst}, "
            f"prot={packet.protocol}, spi=0x{spi:X}({spi}), srcaddr={src}"
        ]
    else:
        texts = [
            f"%CRYPTO-4-RECVD_PKT_NOT_IPSEC: Rec'd packet not an IPSEC packet. (ip) vrf/dest_addr= /{dst}, "
            f"src_addr= {src}, prot= {packet.protocol}"
        ]
    return [f"{stamp}: {text}" for text in texts]


@dataclass
class PacketLog:
    """Collects events from verdict columns. `suppress_replay`: `platform ipsec arlog-supress` is configured.

    events: what is to be logged, in packet order. totals: packets of each kind, logged or not.
    """

    tables: Tables
    suppress_replay: bool = False
    events: list[Event] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=lambda: {kind.name: 0 for kind in KINDS})
    _next: dict[tuple[str, int], int] = field(default_factory=dict)
    _fresh: list[Event] = field(default_factory=list)  # of the chunk at hand

    def add(self, columns: Mapping[str, Array]) -> None:
        """Take in verdict columns (they may be reused afterwards)."""
        cause = columns["cause"]
        if not cause.any():
            return
        for kind in KINDS:
            rows = np.flatnonzero(np.isin(cause, kind.causes))
            self.totals[kind.name] += len(rows)
            if len(rows) and not (kind is REPLAY and self.suppress_replay):
                self._due(kind, columns, rows)
        self.events += sorted(self._fresh, key=lambda event: event.frame)
        self._fresh.clear()

    def _due(self, kind: Kind, columns: Mapping[str, Array], rows: Array) -> None:
        """The events of a kind that its rate limit lets through, SA by SA."""
        handles = columns["sa"][rows] if kind.each_sa else np.full(len(rows), -1, np.int32)
        order = np.argsort(handles, kind="stable")
        borders = np.flatnonzero(np.diff(handles[order])) + 1
        for mine in np.split(rows[order], borders):
            key = (kind.name, int(columns["sa"][mine[0]]) if kind.each_sa else -1)
            ts = columns["ts"][mine]
            at = 0
            while at < len(mine) and len(self.events) + len(self._fresh) < EVENTS_MAX:
                due = self._next.get(key, -(1 << 63))
                if ts[at] < due:  # skip to the next that is late enough: turns once an event, not once a packet
                    late = ts[at:] >= due
                    at += int(np.argmax(late)) if late.any() else len(mine)
                    continue
                self._next[key] = min(int(ts[at]) + kind.interval, (1 << 63) - 1)
                self._fresh.append(self._event(kind, columns, int(mine[at])))
                at += 1

    def _event(self, kind: Kind, columns: Mapping[str, Array], row: int) -> Event:
        sa = int(columns["sa"][row]) if kind.each_sa else -1
        src = dst = None
        flow_id = 0
        if sa >= 0:
            entry = self.tables.t.sa[sa]
            flow_id = int(entry["flow_id"])
            src, dst = (_address(entry, side) for side in ("src", "dst"))
        number = {name: int(columns[name][row]) for name in ("frame", "ts", "spi", "seq", "sns")}
        return Event(kind, sa=sa, flow_id=flow_id, src=src, dst=dst, **number)

    def told(self) -> dict[str, Value]:
        """What it has come to, as plain values for a checkpoint."""
        rows = [(event.kind.name, *(getattr(event, name) for name in _EVENT[1:])) for event in self.events]
        return {"events": rows, "totals": self.totals, "next": self._next}

    def go_on(self, told: dict[str, Value]) -> None:
        """Go on from there."""
        kinds = {kind.name: kind for kind in KINDS}
        self.events = [Event(kinds[name], *rest) for name, *rest in told["events"]]
        self.totals, self._next = told["totals"], told["next"]

    def wanted(self) -> list[int]:
        """Frames whose headers the lines need, ascending."""
        return sorted(event.frame for event in self.events if event.wants_packet)

    def lines(self, packets: Mapping[int, PacketView] | None = None) -> list[str]:
        """All lines, in order. `packets`: headers of the `wanted` frames."""
        known = packets or {}
        return [line for event in self.events for line in lines(event, known.get(event.frame, UNKNOWN))]

    def suppressed(self) -> dict[str, int]:
        """Packets of each kind that were not logged."""
        logged: dict[str, int] = {kind.name: 0 for kind in KINDS}
        for event in self.events:
            logged[event.kind.name] += 1
        return {name: total - logged[name] for name, total in self.totals.items()}


def _address(entry: np.void, side: str) -> str | None:
    """An SA's address, None where it is open."""
    value = int(entry[side + "0"]) << 64 | int(entry[side + "1"])
    if value == 0:
        return None
    return str(IPv4Address(value) if entry["fam"] == 4 else IPv6Address(value))


def packet_views(walker: Walker, frames: Iterable[int], tables: Tables | None = None) -> dict[int, PacketView]:
    """Headers of some frames (ascending) of a trace: walks until the last of them.

    `walker`: qfp.trace.walker.Walker over a fresh source. `tables`: of the run (Tables), None = a router's: where it
    looked for the packet of a frame.
    """
    from qfp_kernels import capture, parse
    from qfp_kernels.jit import compile_stage

    wanted = set(frames)
    views: dict[int, PacketView] = {}
    if not wanted:
        return views
    p, t = walker.p, walker.t
    walker.look_inside()
    if tables is None:
        t.ctl[CTL_MODE] = MODE_ROUTER
    else:
        for word in LOOKED_AT_BY:
            t.ctl[word] = tables.t.ctl[word]
    for rows in walker:
        first, last = int(p.frame[0]), int(p.frame[rows - 1])
        here = [f for f in wanted if first <= f <= last]
        if here:
            compile_stage(capture.fill)(p, t, rows)
            rows = walker.intact(rows)
            compile_stage(parse.parse)(p, t, rows)
            for row in np.flatnonzero(np.isin(p.frame[:rows], here)).tolist():
                views[int(p.frame[row])] = _view(p, row)
        if last >= max(wanted):
            break
    return views


def _view(p: Columns, row: int) -> PacketView:
    family = int(p.fam[row])
    if family == 0:
        return UNKNOWN
    kind = IPv4Address if family == 4 else IPv6Address
    ends = [str(kind(int(high[row]) << 64 | int(low[row]))) for high, low in ((p.src0, p.src1), (p.dst0, p.dst1))]
    return PacketView(ends[0], ends[1], int(p.proto[row]))
