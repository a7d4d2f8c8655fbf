"""Cases: whole paths and their stages, outbound, inbound and with key files alone. What is timed is checked first."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from qfp import fia
from qfp.batch import Batch
from qfp.bench import loop, traffic
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM, TRANSFORMS, Site
from qfp.bench.track import BenchError, Track, by_stage, whole
from qfp.decrypt import Decryptor
from qfp.router import EMITTERS
from qfp_kernels.capture import walk_batch
from qfp_kernels.layout import OUT_NONE, OUT_PCAPNG

OUTBOUND, INBOUND, DECRYPT = "outbound", "inbound", "decrypt"
DIRECTIONS = (OUTBOUND, INBOUND, DECRYPT)
CHECKED = 48  # packets whose bytes are compared
Measure = Callable[[Track], dict[str, float]]


def one_hop(frame: bytes) -> bytes:
    """An IPv4 packet without options as the next router sends it: TTL one lower, checksum anew."""
    head = bytearray(frame[:20])
    head[8] -= 1
    head[10:12] = b"\0\0"
    total = sum(int.from_bytes(head[k : k + 2]) for k in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF - ((total & 0xFFFF) + (total >> 16))).to_bytes(2)
    return bytes(head) + frame[20:]


def first(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch, over the same arena."""
    return Batch(batch.arena, {name: column[:rows] for name, column in batch.columns.items()}, batch.interfaces)


def check_outbound(transform: str, sas: int, batch: Batch, engine: str | None = None) -> None:
    """What the hub sends opens, with the other crypto engine, to what came in. Raises BenchError."""
    site = Site(transform, sas, engine=engine)
    some = first(batch, CHECKED)
    other = "native" if site.sad.crypto.name == "openssl" else "openssl"
    opened = Decryptor(site.keys(), engine=other).open(site.forward(some).packets)
    compare(opened.packets.frames(), [one_hop(f) for f in some.frames()], f"outbound {transform}")


def check_inbound(transform: str, sas: int, batch: Batch) -> None:
    """What the spokes send on is what the hub was given, two hops older. Raises BenchError."""
    some = first(batch, CHECKED)
    wire = Site(transform, sas).forward(some).packets
    arrived = Site(transform, sas, sends=False).forward(wire).packets
    compare(arrived.frames(), [one_hop(one_hop(f)) for f in some.frames()], f"inbound {transform}")


def compare(got: Sequence[bytes], wanted: Sequence[bytes], what: str) -> None:
    """Raises BenchError where two lists of packets differ."""
    if list(got) != list(wanted):
        bad = sum(a != b for a, b in zip(got, wanted, strict=False))
        raise BenchError(f"{what}: {bad} of {len(wanted)} packets are wrong, {len(got)} came out")


def outbound_track(batch: Batch, transform: str = GCM, sas: int = 16, kind: int = OUT_NONE, **site: Any) -> Track:
    """The hub seals a batch."""
    hub = Site(transform, sas, **site)
    return Track(hub, batch, hub.stages(kind), kind=kind)


def wire_of(batch: Batch, transform: str = GCM, sas: int = 16) -> Batch:
    """The batch as the hub sends it."""
    return Site(transform, sas).forward(batch).packets


def inbound_track(wire: Batch, transform: str = GCM, sas: int = 16, kind: int = OUT_NONE, **site: Any) -> Track:
    """The spokes open what `wire_of` made, and send it on."""
    spokes = Site(transform, sas, sends=False, **site)
    return Track(spokes, wire, spokes.stages(kind), kind=kind, reset=loop.FORGET_WINDOWS)


def decrypt_track(wire: Batch, transform: str = GCM, sas: int = 16, kind: int = OUT_NONE, **options: Any) -> Track:
    """The same with the SAs alone, as `qfp decrypt`."""
    opener = Decryptor(Site(transform, sas).keys(), **options)
    return Track(opener, wire, fia.decrypt(walk_batch, EMITTERS[kind]), kind=kind, reset=loop.FORGET_WINDOWS)


TRACKS: dict[str, Callable[..., Track]] = {OUTBOUND: outbound_track, INBOUND: inbound_track, DECRYPT: decrypt_track}


def case(track: Track, direction: str, transform: str, size: int | str, sas: int, measure: Measure = whole,
         suffix: str = "") -> Case:  # fmt: skip
    """A case of a track."""
    engine = track.router.engine
    label = Label("", direction, transform, size, sas, engine.vector, engine.threads, track.router.sad.crypto.name)
    return Case(label, partial(measure, track), traffic.mean_bytes(size), suffix)


def path_cases(
    sizes: Sequence[int | str] = traffic.SIZES, transforms: Sequence[str] = (GCM,),
    directions: Sequence[str] = DIRECTIONS, sas: int = 16, packets: int = 0,
) -> Iterator[Case]:  # fmt: skip
    """Whole paths over a warm workspace, no output kept. packets: of the batch, 0 = as many as stay in cache."""
    for transform in transforms:
        for size in sizes:
            batch = traffic.load(size, packets or traffic.resident(size), sas)
            check_outbound(transform, sas, batch)
            check_inbound(transform, sas, batch)
            wire = wire_of(batch, transform, sas)
            for direction in directions:
                track = TRACKS[direction](batch if direction == OUTBOUND else wire, transform, sas)
                yield case(track, direction, transform, size, sas)


def long_cases(
    sizes: Sequence[int | str] = traffic.SIZES, directions: Sequence[str] = DIRECTIONS, sas: int = 16, packets: int = 0
) -> Iterator[Case]:
    """The same over a source larger than 64 MB, and packets leave as pcapng records."""
    for size in sizes:
        batch = traffic.load(size, packets or traffic.long(size), sas)
        wire = wire_of(batch, GCM, sas)
        for direction in directions:
            track = TRACKS[direction](batch if direction == OUTBOUND else wire, GCM, sas, OUT_PCAPNG)
            yield case(track, direction, GCM, size, sas, suffix=", long source")


def stage_cases(
    sizes: Sequence[int | str] = traffic.SIZES, directions: Sequence[str] = DIRECTIONS, sas: int = 16, packets: int = 0
) -> Iterator[Case]:
    """Every stage of the paths, with pcapng output."""
    for size in sizes:
        batch = traffic.load(size, packets or traffic.resident(size), sas)
        wire = wire_of(batch, GCM, sas)
        for direction in directions:
            track = TRACKS[direction](batch if direction == OUTBOUND else wire, GCM, sas, OUT_PCAPNG)
            yield case(track, direction, GCM, size, sas, _named_stages)


def _named_stages(track: Track) -> dict[str, float]:
    return {f"stage {name}": ns for name, ns in by_stage(track).items()}


def engine_cases(packets: int = 0) -> Iterator[Case]:
    """The whole path with the openssl engine: one call of the library a packet."""
    for size in (64, 1420):
        batch = traffic.load(size, packets or 512, 16)
        check_outbound(GCM, 16, batch, "openssl")
        yield case(outbound_track(batch, engine="openssl"), OUTBOUND, GCM, size, 16)


ALL_TRANSFORMS = tuple(TRANSFORMS)
