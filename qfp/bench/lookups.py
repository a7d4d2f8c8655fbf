"""Cases of single stages: policy and route look-ups, the replay check at every window, a stage that does nothing."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Network

import numpy as np

from qfp import fia
from qfp.batch import Array, Batch
from qfp.bench import loop, prefixes, traffic
from qfp.bench.paths import INBOUND, OUTBOUND, inbound_track, wire_of
from qfp.bench.rows import Label, Row, value_row
from qfp.bench.runner import Case
from qfp.bench.site import GCM, Site, nested_rules
from qfp.bench.track import BenchError, Track, by_stage, whole
from qfp.tables import fib
from qfp.tables.route import Route
from qfp.tables.store import Tables
from qfp_kernels.layout import LIST_TX, OUT_NONE

WINDOWS = (64, 128, 256, 512, 1024)
IDLE = fia.Stage("idle", loop.idle, LIST_TX, "")
IDLE_STAGES = 8  # added at once: one alone would drown in the noise
POLICIES = 1000
SHAPES = 16
ROUTES = 1000
LOOKUPS = 4096
PREFIXES = (100_000, 1_000_000)
SCATTERED = 1 << 19  # addresses that are looked up in a large FIB, so that no cache remembers the answers


def _stage(name: str, work: str, track: Track) -> dict[str, float]:
    return {work: by_stage(track)[name]}


def spd_cases(packets: int = LOOKUPS) -> Iterator[Case]:
    """Stage `spd`: flow cache warm, then a miss for every packet with 1000 entries of one and of 16 mask shapes."""
    warm = Site(GCM, 16)
    batch = traffic.load(64, packets, 16)
    yield _spd(Track(warm, batch, warm.stages(OUT_NONE)), "spd, flow cache warm", 16)
    for work, rules in (
        ("spd, miss, 1000 entries", None),
        (f"spd, miss, 1000 entries of {SHAPES} shapes", nested_rules(POLICIES, SHAPES)),
    ):
        site = Site(GCM, POLICIES, rules=rules)
        flows = np.random.default_rng(3).permutation(packets) % POLICIES if rules is None else np.arange(packets)
        track = Track(site, _distinct(flows), site.stages(OUT_NONE), reset=loop.FORGET_FLOWS)
        yield _spd(track, work, POLICIES)


def _spd(track: Track, work: str, entries: int) -> Case:
    label = Label("", OUTBOUND, GCM, 64, entries, track.router.engine.vector)
    return Case(label, partial(_stage, "spd", work, track))


def _distinct(flows: Array) -> Batch:
    """Packets whose 5-tuples all differ: the source port counts how often the pair of hosts came before."""
    batch = traffic.drawn(64, flows)
    size = 64
    arena = np.concatenate([batch.arena[o : o + size] for o in batch.offset.tolist()])
    frames = arena.reshape(-1, size)
    frames[:, 20:22] = traffic.words16(1024 + np.arange(len(frames)))
    return Batch(arena, {**batch.columns, "offset": np.arange(len(frames)) * size})


def route_case() -> Case:
    """Longest-prefix match over 1000 routes of eight prefix lengths."""
    tables = Tables()
    networks = {IPv4Network((0x0A000000 + (k << 13), 17 + k % 8), strict=False) for k in range(ROUTES)}
    fib.build(tables, [Route(IPv4Network("0.0.0.0/0"), 0), *(Route(n, 1) for n in sorted(networks))])
    dst = 0x0A000000 + np.random.default_rng(5).integers(0, ROUTES << 13, LOOKUPS).astype(np.uint64)
    return _routes("fib, 1000 routes of 8 lengths", tables, 4, (np.zeros_like(dst), dst), 10)


def fib_cases(counts: Sequence[int] = PREFIXES) -> Iterator[Case]:
    """Longest-prefix match over large random tables of either family: see `prefixes` for what is looked up."""
    for family in (4, 6):
        for count in counts:
            rows = prefixes.prefixes(family, count)
            work = f"fib, {count:,} IPv{family} prefixes"
            yield _routes(work, prefixes.install(rows), family, prefixes.destinations(rows, SCATTERED), 1)


def fib_rows(count: int = max(PREFIXES), rounds: int = 1) -> list[Row]:
    """Seconds to build a FIB from an array of prefixes, and bytes of it a prefix."""
    out = []
    for family in (4, 6):
        rows, times = prefixes.prefixes(family, count), []
        for _ in range(rounds):
            start = time.perf_counter()
            tables = prefixes.install(rows)
            times.append(time.perf_counter() - start)
        what = f"{count:,} IPv{family} prefixes"
        out.append(value_row(Label(f"fib, built: {what}"), times, "s"))
        out.append(value_row(Label(f"fib, bytes a prefix: {what}"), [prefixes.table_bytes(tables) / count], "B"))
    return out


def _routes(work: str, tables: Tables, family: int, dst: tuple[Array, Array], passes: int) -> Case:
    """Every address of `dst` looked up: all of them have a route. The table is warm, as far as it fits in a cache."""
    wanted = passes * dst[0].size

    def sample() -> dict[str, float]:
        loop.routes(tables.t, family, *dst, 1)
        start = time.perf_counter_ns()
        found = loop.routes(tables.t, family, *dst, passes)
        taken = time.perf_counter_ns() - start
        if found != wanted:
            raise BenchError(f"{found} of {wanted} addresses had a route")
        return {work: taken / found}

    sample()
    return Case(Label(""), sample)


def replay_cases(packets: int = 4096) -> Iterator[Case]:
    """Stage `commit`, where windows are asked and moved, at every N; packets in order and out of order (AR-4).

    One router serves all N, its windows resized in place: two routers differ more by where their memory lies.
    """
    wire = wire_of(traffic.load(64, packets, 16))
    for how, batch in (("in order", wire), ("out of order", shuffled(wire))):
        track = inbound_track(batch, window=max(WINDOWS))
        for window in WINDOWS:
            sample = partial(_replay, track, window, f"replay check, {how}, N = {window}")
            yield Case(Label("", INBOUND, GCM, 64, 16, track.router.engine.vector), sample)


def _replay(track: Track, window: int, work: str) -> dict[str, float]:
    state = track.router.tables.t.sa_in
    state["window"] = state["ring"] = window
    return _stage("commit", work, track)


def shuffled(batch: Batch, group: int = 32) -> Batch:
    """The rows of a batch out of order within groups, so that no packet is older than the smallest window."""
    rows = len(batch) // group * group
    order = np.random.default_rng(9).permuted(np.arange(rows).reshape(-1, group), axis=1).reshape(-1)
    return Batch(batch.arena, {name: column[order] for name, column in batch.columns.items()})


def idle_case(packets: int = 0) -> Case:
    """What a stage costs that finds nothing to do: the path with eight of them, and without."""
    batch = traffic.load(64, packets or traffic.resident(64), 16)
    tracks = []
    for added in ((), (IDLE,) * IDLE_STAGES):
        hub = Site(GCM, 16)
        stages = list(hub.stages(OUT_NONE))
        at = stages.index(fia.FORWARD)
        stages[at:at] = added
        tracks.append(Track(hub, batch, stages))

    def sample() -> dict[str, float]:
        plain, more = (whole(track)["path"] for track in tracks)
        alone = by_stage(tracks[1])["idle"] / IDLE_STAGES
        return {"idle stage, path with less path without": (more - plain) / IDLE_STAGES, "idle stage, itself": alone}

    return Case(Label("", OUTBOUND, GCM, 64, 16, tracks[0].router.engine.vector), sample)
