"""The facts of a finished run, as JSON has them: counters by cause, interface, SA and SPD entry.

`output` of the same facts as tables is in qfp.cli.summary.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from qfp.control.keying import window_of
from qfp.explain.words import CONNECTION_BASE, address, sa_end, selector_text
from qfp.result import counters
from qfp.sa import AddressRange, SecurityAssociation, Selectors
from qfp_kernels import drops
from qfp_kernels.layout import ST_FLOW_HIT, ST_FLOW_MISS

Facts = dict[str, Any]
IF_COUNTERS = ("in_packets", "in_bytes", "out_packets", "out_bytes", "drops")
ANY_PORTS = (0, 65535)
LOW_WORD = 0xFFFFFFFFFFFFFFFF


def run_facts(owner: Any, seconds: float) -> Facts:
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
        "lifetimes": owner.lifetimes.summary() if hasattr(owner, "lifetimes") else {},
        "flow_cache": {"hits": hits, "misses": misses},
        "engine": owner.sad.crypto.name,
        "batch": engine.vector,
        "threads": engine.threads,
        "rates": rates(totals, seconds),
    }


def rates(totals: Facts, seconds: float) -> Facts:
    """Packets and bits a second, reading and writing included. The only facts that differ from run to run."""
    span = max(seconds, 1e-9)
    return {
        "seconds": round(seconds, 6), "packets_per_second": round(totals["frames_in"] / span),
        "gbit_per_second": round(totals["bytes_in"] * 8 / span / 1e9, 3),
    }  # fmt: skip


def drop_facts(t: Any) -> list[Facts]:
    """Causes that occurred, each with its names elsewhere."""
    return [
        {
            "cause": c.name, "stage": c.stage, "packets": int(t.causes[c.number]),
            "bytes": int(t.cause_bytes[c.number]), "xe_code": c.xe_code, "xe_name": c.xe_name, "linux": c.linux,
            "meaning": c.sentence,
        }
        for c in drops.CAUSES[1:] if t.causes[c.number]
    ]  # fmt: skip


def interface_facts(owner: Any) -> list[Facts]:
    """Counters of every interface."""
    ifs = owner.tables.t.ifs
    return [
        {"name": name, **{field: int(ifs[field][row]) for field in IF_COUNTERS}}
        for row, name in enumerate(owner.interfaces.names)
    ]


def sa_facts(owner: Any) -> list[Facts]:
    """Counters of every SA, in order of their handles; no keys."""
    sad, t = owner.sad, owner.tables.t
    waiting = t.life["coming"] == 1  # those of the next generation are no SAs yet
    heirs = t.life["heir"][t.life["heir"] >= 0]
    waiting[heirs] |= t.life["fresh"][heirs] == 1
    listed = np.flatnonzero((t.sa["valid"] == 1) & ~waiting).tolist()
    return [_sa(sad, t, handle, _limits(owner, int(t.life["pair"][handle]))) for handle in listed]


def _limits(owner: Any, k: int) -> Facts:
    """Lifetimes of pair k, as far as it has some."""
    if k < 0:
        return {}
    limits = owner.lifetimes.limits[k]
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
    }  # fmt: skip
    if outbound:
        out = t.sa_out[handle]
        return {**facts, **{name: int(out[name]) for name in ("packets", "bytes", "errors", "next_seq")}, **limits}
    state = t.sa_in[handle]
    names = ("packets", "bytes", "errors", "replays", "bad_icv", "window", "top")
    return {**facts, **{name: int((t.life[handle] if name == "errors" else state)[name]) for name in names}, **limits}


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


# ------------------------------------------------------------------------------------------------- key export
Standing = dict[tuple[int, bool], list[SecurityAssociation]]


def as_they_stand(router: Any) -> Standing:
    """The SAs that cannot be derived again, by pair and whether they are outbound: see `exported`."""
    return {
        (k, outbound): [router.sad.describe(handle) for handle in (pair.outbound if outbound else pair.inbound)]
        for k, pair in enumerate(router.sadb.pairs) if k not in router.sadb.derived for outbound in (True, False)
    }  # fmt: skip


def exported(router: Any, standing: Standing | None = None) -> list[SecurityAssociation]:
    """Every SA that a router has or had, as it stood before its first packet, keys included, for its peer or for
    decryption.

    standing: what `as_they_stand` said before the run, None = now. A file of SAs that have sent already would make its
    reader take their packets for replays. Selectors are those of the SPD entry, so that a peer with several entries
    finds each one's SAs.
    """
    standing = as_they_stand(router) if standing is None else standing
    found = []
    for k, pair in enumerate(router.sadb.pairs):
        for outbound in (True, False):
            if k not in router.sadb.derived:
                found += _named(router, pair.want, outbound, "", standing[k, outbound])
                continue
            for want, generation in (*router.lifetimes.past.get(k, ()), (pair.want, pair.generation)):
                suffix = f" generation {generation}" if generation else ""
                found += _named(router, want, outbound, suffix, router.sadb.derive(want, generation, outbound))
    return found


def _named(
    router: Any, want: Any, outbound: bool, suffix: str, sas: list[SecurityAssociation]
) -> list[SecurityAssociation]:
    """SAs of one direction of an entry as their reader wants them: window, selectors, name of the bundle."""
    selector = want.selector if outbound else want.selector.reversed()
    name = f"{want.where} entry {want.sp} {'out' if outbound else 'in'}{suffix}"
    if outbound:  # the reader opens these: it wants the window, and 0 as the word for fresh
        window = 0 if want.manual else window_of(want, router.config)
        sas = [replace(sa, replay_window=window, seq=0 if sa.seq == 1 else sa.seq) for sa in sas]
    ends = None if want.vti else selectors_of(selector)
    return [replace(sa, bundle=name if len(sas) > 1 else None, selectors=ends) for sa in sas]


def selectors_of(selector: Any) -> Selectors | None:
    """Proxy identities as the selectors of an SA; None (any) where a wildcard is no range of addresses."""
    ends = []
    for value, mask in (selector.src, selector.dst):
        wildcard = ~mask & ((1 << (32 if selector.family == 4 else 128)) - 1)
        if wildcard & (wildcard + 1):
            return None
        first, last = (address(selector.family, word >> 64, word & LOW_WORD) for word in (value, value | wildcard))
        ends.append(AddressRange(first, last) if mask else None)
    return Selectors(
        src=ends[0], dst=ends[1], protocol=selector.protocol, sport=_ports(selector.sport), dport=_ports(selector.dport)
    )


def _ports(ports: tuple[int, int]) -> tuple[int, int] | None:
    return None if ports == ANY_PORTS else ports
