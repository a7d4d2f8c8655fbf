"""The facts of a finished run, as JSON has them: counters by cause, interface, SA and SPD entry.

`output` of the same facts as tables is in qfp.cli.summary.
"""

from typing import Any

import numpy as np

from qfp.control.device import Device, plane_of
from qfp.explain.words import CONNECTION_BASE, sa_end, selector_text
from qfp.result import counters
from qfp_kernels import drops
from qfp_kernels.layout import ST_FLOW_HIT, ST_FLOW_MISS

Facts = dict[str, Any]
IF_COUNTERS = ("in_packets", "in_bytes", "out_packets", "out_bytes", "drops")
# Of SAs. `incompressible`: packets that comp-lzs did not make smaller; `comp_failed`: that could not be expanded.
OUT_COUNTERS = ("packets", "bytes", "errors", "next_seq", "compressed", "incompressible")
IN_COUNTERS = ("packets", "bytes", "errors", "replays", "bad_icv", "window", "top", "decompressed", "comp_failed")
COMPRESSION = "lzs"


def run_facts(owner: Device, seconds: float) -> Facts:
    """Everything that was counted. Raises CountError when a frame is unaccounted for (BASE-12)."""
    totals = counters(owner.tables)
    totals.pop("drops")
    engine = owner.engine
    hits, misses = (sum(int(p.st[word]) for p in engine.workspaces) for word in (ST_FLOW_HIT, ST_FLOW_MISS))
    return {
        **totals,
        "drops": drop_facts(owner.tables.t),
        "interfaces": interface_facts(owner),
        "sas": sa_facts(owner),
        "lifetimes": owner.plane.lifetimes.summary() if owner.plane is not None else {},
        "flow_cache": {"hits": hits, "misses": misses},
        "engine": owner.sad.crypto.name,
        "batch": engine.vector,
        "threads": engine.threads,
        "rates": rates(totals, seconds),
    }


def rates(totals: Facts, seconds: float) -> Facts:
    """Packets and bits a second, reading and writing included, compiling not. The only facts that differ from run to
    run. seconds: of the run, without those in which kernels were compiled or loaded."""
    span = max(seconds, 1e-9)
    return {
        "seconds": round(seconds, 6), "packets_per_second": round(totals["frames_in"] / span),
        "gbit_per_second": round(totals["bytes_in"] * 8 / span / 1e9, 3),
    }  # fmt: skip


def drop_facts(t: Any) -> list[Facts]:
    """Causes that occurred, each with its names elsewhere; `pieces`: fragments of its packets that were dropped beyond
    the one that counts as the packet."""
    return [
        {
            "cause": c.name, "stage": c.stage, "packets": int(t.causes[c.number]),
            "pieces": int(t.pieces[c.number]), "bytes": int(t.cause_bytes[c.number]), "xe_code": c.xe_code,
            "xe_name": c.xe_name, "linux": c.linux, "meaning": c.sentence,
        }
        for c in drops.CAUSES[1:] if t.causes[c.number] or t.pieces[c.number]
    ]  # fmt: skip


def interface_facts(owner: Device) -> list[Facts]:
    """Counters of every interface."""
    ifs = owner.tables.t.ifs
    return [
        {"name": name, **{field: int(ifs[field][row]) for field in IF_COUNTERS}}
        for row, name in enumerate(owner.interfaces.names)
    ]


def sa_facts(owner: Device) -> list[Facts]:
    """Counters of every SA, in order of their handles; no keys."""
    sad, t = owner.sad, owner.tables.t
    waiting = t.life["coming"] == 1  # those of the next generation are no SAs yet
    known = t.sa["valid"] == 1
    heirs = t.life["heir"][known & (t.life["heir"] >= 0)]
    waiting[heirs] |= t.life["fresh"][heirs] == 1
    listed = np.flatnonzero(known & ~waiting).tolist()
    return [_sa(sad, t, handle, _limits(owner, int(t.life["pair"][handle]))) for handle in listed]


def _limits(owner: Device, k: int) -> Facts:
    """Lifetimes of pair k, as far as it has some."""
    if k < 0:
        return {}
    limits = plane_of(owner).lifetimes.limits_of(k)
    return {
        "soft_seconds": limits.soft_seconds, "hard_seconds": limits.hard_seconds,
        "soft_kilobytes": limits.soft_kilobytes, "hard_kilobytes": limits.kilobytes, "idle_seconds": limits.idle,
    }  # fmt: skip


def _sa(sad: Any, t: Any, handle: int, limits: Facts) -> Facts:
    row = t.sa[handle]
    profile = sad.profiles[int(row["profile"])]
    outbound = bool(row["hdr_len"])
    src, dst = (sa_end(profile.family, row, side) for side in ("src", "dst"))
    facts: Facts = {
        "handle": handle, "conn_id": CONNECTION_BASE + int(row["flow_id"]), "proto": profile.proto,
        "spi": int(row["spi"]), "direction": "out" if outbound else "in", "src": src, "dst": dst,
        "peer": dst if outbound else src, "mode": profile.mode, "encr": profile.encr, "integ": profile.integ,
        "comp": COMPRESSION if row["comp"] else None,
    }  # fmt: skip
    tables = (t.sa_out[handle],) if outbound else (t.sa_in[handle], t.life[handle])
    for name in OUT_COUNTERS if outbound else IN_COUNTERS:
        facts[name] = int(next(table[name] for table in tables if name in table.dtype.names))
    return {**facts, **limits}


def spd_facts(router: Any) -> list[Facts]:
    """Counters of every SPD entry that asks for protection."""
    sp = router.tables.t.sp
    return [
        {
            "sp": pair.want.sp, "where": pair.want.where,
            "rule": "tunnel" if pair.want.vti else selector_text(pair.want.selector), "peer": str(pair.want.peer),
            "outbound_sas": list(pair.outbound), "inbound_sas": list(pair.inbound),
            **{name: int(sp[name][pair.want.sp]) for name in ("packets", "bytes", "drops")},
        }
        for pair in router.sadb.pairs
    ]  # fmt: skip
