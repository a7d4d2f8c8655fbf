"""Header rows: what class maps look at in a frame, as columns; and DSCPs written into frames."""

from __future__ import annotations

import numpy as np

from qfp.batch import Array, Batch
from qfp_kernels import classify as kernels
from qfp_kernels.columns import Columns
from qfp_kernels.layout import aligned, struct

HEADER = struct(kernels.HEADER)
LAYER2 = 14  # bytes of an Ethernet header, which policies count and captures of IP do not have


def layer2_lengths(batch: Batch, headers: Array, layer2: int = LAYER2) -> Array:
    """int64: bytes of each frame at an interface with `layer2` bytes of header, whatever link type it was captured
    with; `headers` are its header rows. What is not IP counts as it is."""
    ip = batch.wire.astype(np.int64) - headers["l3"]
    return np.where(headers["fam"] == 0, batch.wire, ip + layer2)


def headers_of(batch: Batch) -> Array:
    """Header rows (classify.HEADER) of a batch's frames: what class maps look at.

    Keep those of the packets before encryption and classify by them afterwards: that is `qos pre-classify`.
    """
    rows = len(batch)
    head = aligned(max(rows, 1), HEADER)[:rows]
    if rows:
        kernels.read_headers(_frames(batch, head), rows)
    return head


def _frames(batch: Batch, head: Array) -> Columns:
    c = batch.columns
    arena = np.ascontiguousarray(batch.arena)
    frames: dict[str, Array] = {"arena": arena, "offset": c["offset"], "length": c["length"], "link": c["link"]}
    return Columns("H", {**frames, "head": head})


def mark(batch: Batch, headers: Array, dscp: Array) -> Batch:
    """Write DSCPs (negative: none) into frames and their header rows, with the checksum of IPv4.

    In place where the batch's memory can be written, else in a copy: returns the batch that has them.
    """
    if not (dscp >= 0).any():
        return batch
    if not batch.arena.flags.writeable or not batch.arena.flags.c_contiguous:
        batch = Batch(batch.arena.copy(), batch.columns, batch.interfaces)
    values = Columns("D", {"r_dscp": np.ascontiguousarray(dscp, np.int16)})
    kernels.mark(_frames(batch, headers), values, len(batch))
    return batch
