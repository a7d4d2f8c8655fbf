"""Many SAs: set-up time, memory, and what 100,000 of them cost a packet against 16."""

from collections.abc import Iterator

from qfp.bench import loop, traffic
from qfp.bench.paths import DECRYPT, INBOUND, OUTBOUND, TRACKS, case, wire_of
from qfp.bench.rows import Label, Row, value_row
from qfp.bench.runner import Case
from qfp.bench.site import GCM, Site
from qfp.bench.track import BenchError, Track, whole
from qfp.tables.store import SA_TABLES
from qfp_kernels.layout import OUT_NONE

MANY = 100_000
SAMPLE_PACKETS = 1 << 18
SHARED_TABLES = ("win", "sad", "ip_id")  # beside SA_TABLES; the flow cache belongs to flows, not to SAs


def scale_cases(many: int = MANY, packets: int = SAMPLE_PACKETS, size: int = 64) -> Iterator[Case]:
    """Whole paths, packets drawn from the flows by Zipf's law with exponent 1.1, flow cache warm."""
    for sas in (16, many):
        batch = traffic.drawn(size, traffic.zipf(sas, packets))
        wire = wire_of(batch, GCM, sas)
        for direction in (OUTBOUND, INBOUND, DECRYPT):
            track = TRACKS[direction](batch if direction == OUTBOUND else wire, GCM, sas)
            yield case(track, direction, GCM, size, sas, suffix=", Zipf 1.1")


def setup_rows(many: int = MANY, rounds: int = 3) -> list[Row]:
    """Seconds to install SAs of either direction and to build the SPD, and bytes an SA."""
    rows = []
    for sends in (True, False):
        sites = [Site(GCM, many, sends) for _ in range(rounds)]
        _used(sites[0])
        direction = OUTBOUND if sends else INBOUND
        label = Label("SA set-up", direction, GCM, 0, many)
        rows.append(value_row(label, [s.times.sas for s in sites], "s"))
        if sends:
            rows.append(value_row(Label("SPD build", "", "", 0, many), [s.times.policies for s in sites], "s"))
        rows.append(value_row(Label("SA memory", direction, GCM, 0, many), [sa_bytes(sites[0])], "B"))
    return rows


def sa_bytes(site: Site) -> float:
    """Bytes that the tables hold an SA, the spare slots of hash tables included."""
    t = site.tables.t
    return float(sum(getattr(t, name).nbytes for name in (*SA_TABLES, *SHARED_TABLES)) / site.sas)


def _used(site: Site) -> None:
    """The last SA is there and works: one packet of its flow goes through. Raises BenchError."""
    if site.sends:
        batch = traffic.drawn(64, [site.sas - 1])
        track = Track(site, batch, site.stages(OUT_NONE), reset=loop.REWIND)
        if whole(track)["path"] <= 0 or site.tables.t.sa_out["next_seq"][site.handles[-1]] < 2:
            raise BenchError("the last SA did not carry its packet")
