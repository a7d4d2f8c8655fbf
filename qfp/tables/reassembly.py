"""The reassembly tables: their memory and limits. What happens in them is qfp_kernels.reassemble.

Two instances: fragments of protected and GRE packets in front of decryption, where anybody can send them, and fragments
of GRE packets that came out of decryption. All memory together stays below 64 MiB, and is touched only when used.
"""

from dataclasses import dataclass

import numpy as np

from qfp.tables.store import Tables
from qfp_kernels.layout import CTL_VFR_MASK
from qfp_kernels.reassemble import INNER, OUTER, SLACK, UNDO_WORDS

SECOND = 10**9  # ns


@dataclass(frozen=True)
class Limits:
    """Limits of one instance. ring: bytes for fragments. datagrams: that may wait, a power of two. timeout: ns
    (RFC 1122 section 3.3.2 asks for 60 to 120 s of a host, RFC 8200 for 60 s; IOS takes 30 s). per_source: datagrams of
    one source. per_datagram: fragments of one."""

    ring: int
    datagrams: int
    timeout: int = 30 * SECOND
    per_source: int = 256
    per_datagram: int = 256


OUTER_LIMITS = Limits(ring=40 << 20, datagrams=1 << 16)
INNER_LIMITS = Limits(ring=(4 << 20) + SLACK, datagrams=1 << 12)
VFR_ROWS = 1 << 14


def build(tables: Tables, outer: Limits = OUTER_LIMITS, inner: Limits = INNER_LIMITS, ports: bool = False) -> None:
    """Empty reassembly tables. `ports`: some rule looks at ports, so fragments in transit want those of their first."""
    both = {OUTER: outer, INNER: inner}
    t = tables.t
    ring = datagrams = hashes = sources = 0
    for j, limits in both.items():
        row = t.rsm[j]
        for name in t.rsm.dtype.names or ():
            t.rsm[name][j] = 0
        values = {
            "ring_at": ring, "ring_size": limits.ring, "ctx_at": datagrams, "ctx_n": limits.datagrams,
            "hash_at": hashes, "hash_n": 2 * limits.datagrams, "src_at": sources, "src_n": 2 * limits.datagrams,
            "timeout": limits.timeout, "per_source": limits.per_source, "per_datagram": limits.per_datagram,
            "now": np.iinfo(np.int64).min,
        }  # fmt: skip
        for name, value in values.items():
            row[name] = value
        ring += limits.ring
        datagrams += limits.datagrams
        hashes += 2 * limits.datagrams
        sources += 2 * limits.datagrams
    tables.fresh("rsm_ring", ring)
    tables.fresh("rsm_ctx", datagrams)
    tables.fresh("rsm_hash", hashes)
    t.rsm_hash[:] = -1
    tables.fresh("rsm_src", sources)
    tables.fresh("rsm_undo", UNDO_WORDS)
    if ports:
        tables.fresh("vfr", VFR_ROWS)
        t.ctl[CTL_VFR_MASK] = VFR_ROWS - 1


def memory(tables: Tables) -> int:
    """Bytes that the reassembly tables may take, at most."""
    names = ("rsm_ring", "rsm_ctx", "rsm_hash", "rsm_src", "rsm_undo")
    return sum(int(getattr(tables.t, name).nbytes) for name in names)
