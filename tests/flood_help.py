"""Floods of fragments that never complete, and genuine fragmented packets beside them, as batches."""

from typing import Any

import numpy as np
from packets import ip4, udp
from test_dependency_table import LAN, OUTER, Case

from qfp.batch import Batch
from qfp.router import Router

SECOND = 10**9
SOURCES = 100_000
AFTER = Case("disabled", "copy", 0, "", "map", 4, 4)
HEAD = 20


def flood(count: int, rng: Any, payload: int = 40) -> Any:
    """uint8[count, 20 + payload]: ESP fragments to router 2 from SOURCES sources, overlapping and at random offsets."""
    rows = np.zeros((count, HEAD + payload), np.uint8)
    size, source = HEAD + payload, 0x0B000000 + rng.integers(0, SOURCES, count)
    ident, offset = rng.integers(0, 8, count), rng.integers(0, 1000, count)
    for at, value in ((0, 0x45), (2, size >> 8), (3, size & 255), (4, ident >> 8), (5, ident & 255),
                      (6, 0x20 | offset >> 8), (7, offset & 255), (8, 64), (9, 50)):  # fmt: skip
        rows[:, at] = value
    for k in range(4):
        rows[:, 12 + k] = source >> (24 - 8 * k) & 255
    rows[:, 16:20] = [int(x) for x in OUTER[4][1].split(".")]
    words = rows[:, :HEAD].reshape(count, 10, 2).astype(np.uint32)
    total = (words[:, :, 0] << 8 | words[:, :, 1]).sum(axis=1)
    total = (total & 0xFFFF) + (total >> 16)
    check = ~(total + (total >> 16)) & 0xFFFF
    rows[:, 10], rows[:, 11] = check >> 8, check & 255
    return rows


def genuine(sender: Router, count: int) -> Batch:
    """`count` packets of 1500 bytes, protected and then fragmented into two each."""
    packet = ip4(*LAN[4], udp(1, 2, bytes(1472)))
    wire = sender.forward(Batch.from_frames([packet] * count), "gi0/0/1").packets
    assert len(wire) == 2 * count
    return wire


def second(sender: Router, flooding: int, pairs: int, start: int, seed: int) -> Batch:
    """One second from `start` (ns): both spread evenly, a pair's fragments one microsecond apart."""
    rows, wire = flood(flooding, np.random.default_rng(seed)), genuine(sender, pairs)
    size = rows.shape[1]
    at = np.repeat(np.linspace(0, SECOND, pairs, endpoint=False), 2) + np.tile([0, 1000], pairs)
    ts = np.concatenate([np.linspace(0, SECOND, flooding, endpoint=False), at]).astype(np.int64)
    order = np.argsort(ts, kind="stable")
    offset = np.concatenate([np.arange(flooding) * size, rows.size + wire.offset])
    length = np.concatenate([np.full(flooding, size), wire.length])
    n = len(order)
    columns = {
        "offset": offset[order], "length": length[order], "wire": length[order], "ts": ts[order] + start,
        "in_if": np.zeros(n), "link": np.full(n, 101), "frame": np.arange(n),
    }  # fmt: skip
    return Batch(np.concatenate([rows.reshape(-1), wire.arena]), columns)
