"""Cases of fragmentation and reassembly: 1500-byte packets over a line of 1500 bytes, which protected ones exceed."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from qfp.batch import Array, Batch
from qfp.bench import traffic
from qfp.bench.paths import INBOUND, OUTBOUND
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM, SPOKE_0, Site
from qfp.bench.track import Track, whole
from qfp.control.mtu import fragment_room
from qfp.tables import reassembly
from qfp_kernels.drops import Verdict
from qfp_kernels.layout import CTL_ROOM, OUT_PCAPNG

SIZE = LINE = 1500  # bytes
JUMBO = 9000
SOURCES = 100_000
FLOOD = 1 << 17  # fragments in a pass: more than the table holds, so that all of them are new again in the next one
WAYS = {  # what happens to a packet: MTU of the line, fragmentation before encryption
    "whole": (JUMBO, True),
    "fragmented before encryption": (LINE, True),
    "fragmented after encryption": (LINE, False),
}


def fragment_cases(packets: int = 0) -> Iterator[Case]:
    """A batch that leaves whole, in two fragments made before encryption, and in two made after it."""
    batch = traffic.load(SIZE, packets or traffic.resident(SIZE), 16)
    for name, (mtu, before) in WAYS.items():
        hub = Site(GCM, 16)
        hub.sad.set_path_mtu(hub.handles, mtu)
        hub.tables.t.sa["before"][hub.handles] = before
        hub.tables.t.ctl[CTL_ROOM] = fragment_room([LINE])
        track = Track(hub, batch, hub.stages(OUT_PCAPNG), kind=OUT_PCAPNG)
        yield Case(Label("", OUTBOUND, GCM, SIZE, 16, hub.engine.vector), partial(_parts, track, f"{SIZE} B {name}"))


def _parts(track: Track, work: str) -> dict[str, float]:
    """ns a packet: from capture to output block, and the path between them alone."""
    ns = whole(track)
    return {f"{work}, capture to output": sum(ns.values()), f"{work}, path": ns["path"]}


def flood_case(fragments: int = FLOOD) -> Case:
    """Fragments for the router itself that never complete, from many sources: what one costs when the table is full."""
    spokes = Site(GCM, 16, sends=False)
    reassembly.build(spokes.tables)
    track = Track(spokes, flood(fragments), spokes.stages(0), expect=Verdict.CONSUMED)
    label = Label("", INBOUND, "", 60, 0, spokes.engine.vector)
    return Case(label, lambda: {"reassembly, flood": whole(track)["path"]})


def flood(count: int) -> Batch:
    """`count` fragments of 60 bytes to a spoke, each of another datagram, from SOURCES sources."""
    rows: Array = np.zeros((count, 60), np.uint8)
    number = np.arange(count)
    source = 0x0B000000 + number % SOURCES
    for at, value in ((0, 0x45), (3, 60), (4, number >> 8 & 255), (5, number & 255), (6, 0x20), (8, 64), (9, 50)):
        rows[:, at] = value
    for k in range(4):
        rows[:, 12 + k] = source >> (24 - 8 * k) & 255
        rows[:, 16 + k] = int(SPOKE_0) >> (24 - 8 * k) & 255
    total = (rows[:, 0:20:2].astype(np.uint32) << 8 | rows[:, 1:20:2]).sum(axis=1)
    total = (total & 0xFFFF) + (total >> 16)
    check = ~(total + (total >> 16)) & 0xFFFF
    rows[:, 10], rows[:, 11] = check >> 8, check & 255
    columns = {
        "offset": number * 60, "length": np.full(count, 60), "wire": np.full(count, 60), "ts": number,
        "in_if": 0 * number, "link": np.full(count, 101), "frame": number,
    }  # fmt: skip
    return Batch(rows.reshape(-1), columns)
