"""A running router gets another configuration: what it has goes on where the new configuration still asks for it.

SAs go on when their entry asks for the same ones (ends, selectors, transforms); with them their numbers, windows,
counters and lifetimes, which stay as they were negotiated. Path MTUs, fragments that wait, limits of ICMP errors,
numbers of GRE tunnels and all counters go on too. What depends on the configuration (routes, policies, queues, MTUs)
is made anew. SAs that were made with one sequence-number space, or with several, before `multi-sn` said otherwise are
stale: their traffic is dropped until they are cleared (guide chapter 2, AR-8).
"""

import numpy as np

from qfp.control.plane import ControlPlane
from qfp.control.policy import Selector, Want
from qfp.control.sadb import Pair
from qfp.tables.state import carry, fields, tables
from qfp_kernels.columns import Columns
from qfp_kernels.layout import COUNTER, STATE

WAITING = ("rsm", "rsm_ctx", "rsm_hash", "rsm_src", "rsm_ring", "vfr")  # fragments: whole, or not at all
WINDOW = ("window", "ring")  # as they were negotiated


def take_over(new: ControlPlane, old: ControlPlane, ts: int, idle_for_all: bool = False) -> None:
    """Let `new` go on with what `old` has at `ts` (ns); `old` is not to be used any more. `idle_for_all`:
    sessions that go on get the new idle time, too (IDLE-5)."""
    known = {_identity(old, k, pair): k for k, pair in enumerate(old.sadb.pairs) if pair.outbound and pair.inbound}
    for k, pair in enumerate(new.sadb.pairs):
        before = known.get(_identity(new, k, pair)) if pair.outbound and pair.inbound else None
        if before is not None:
            _pair(new, k, old, before, ts, idle_for_all)
    entries = {_entry(want): want.sp for want in old.wants}
    for want in new.wants:
        if _entry(want) in entries:
            carry("sp", new.tables.t.sp, want.sp, old.tables.t.sp, entries[_entry(want)])
    new.lifetimes.events[:0] = old.lifetimes.events
    new.lifetimes.counts += old.lifetimes.counts
    _totals(new.tables.t, old.tables.t)
    for name, row in new.interfaces.row.items():
        if name in old.interfaces.row:
            _interface(new.tables.t, row, old.tables.t, old.interfaces.row[name])
    for name in WAITING:
        theirs = getattr(old.tables.t, name)
        if theirs.size == getattr(new.tables.t, name).size:
            new.tables.t.rebind(name, theirs)
    for key, row in old.sad._id_rows.items():
        if key in new.sad._id_rows:
            new.tables.t.ip_id[new.sad._id_rows[key]] = old.tables.t.ip_id[row]
    new.tables.changed()


def _identity(plane: ControlPlane, k: int, pair: Pair) -> tuple[int, ...]:
    """What makes an entry's SAs these and no others: their SPIs, derived from everything they depend on."""
    if k in plane.sadb.derived:
        return tuple(sa.spi for way in (True, False) for sa in plane.sadb.derive(pair.want, 0, way))
    return tuple(int(plane.tables.t.sa["spi"][h]) for h in (*pair.outbound, *pair.inbound))


def _pair(new: ControlPlane, k: int, old: ControlPlane, before: int, ts: int, idle_for_all: bool) -> None:
    """SAs of one entry."""
    theirs = old.sadb.pairs[before]
    if k in new.sadb.derived and theirs.generation:
        new.lifetimes.jump(k, theirs.generation)
    mine = new.sadb.pairs[k]
    for here, there in zip(mine.outbound, theirs.outbound, strict=False):
        outbound_state(new, here, old, there)
    for here, there in zip(mine.inbound, theirs.inbound, strict=False):
        inbound_state(new, here, old, there)
    if k in new.sadb.derived:

        def copy(here: int, there: int) -> None:
            inbound_state(new, here, old, there)

        new.lifetimes.resume(k, old.lifetimes, before, copy, idle_for_all)
        if bool(new.config.ipsec.multi_sn) != bool(old.config.ipsec.multi_sn):
            new.lifetimes.make_stale(k, ts)
    path = old.path_mtus.learned(theirs.outbound[0])
    if path is not None:
        new.path_mtus.learn(mine.outbound[0], *path)


def outbound_state(new: ControlPlane, here: int, old: ControlPlane, there: int) -> None:
    """Numbers and counters of an outbound SA."""
    t, o = new.tables.t, old.tables.t
    carry("sa_out", t.sa_out, here, o.sa_out, there)
    carry("life", t.life, here, o.life, there)
    mine, theirs = int(t.sa_out["sns_at"][here]), int(o.sa_out["sns_at"][there])
    if mine >= 0 and theirs >= 0:
        count = new.sad.spaces
        t.sns_out[mine : mine + count] = o.sns_out[theirs : theirs + count]


def inbound_state(new: ControlPlane, here: int, old: ControlPlane, there: int) -> None:
    """Windows and counters of an inbound SA; a window stays as long as it was negotiated."""
    t, o = new.tables.t, old.tables.t
    carry("life", t.life, here, o.life, there)
    _window(new, "sa_in", here, o, there)
    mine, theirs = int(t.sa_in["sns_at"][here]), int(o.sa_in["sns_at"][there])
    if mine >= 0 and theirs >= 0:
        for k in range(new.sad.spaces):
            _window(new, "sns_in", mine + k, o, theirs + k)


def _window(new: ControlPlane, name: str, here: int, o: Columns, there: int) -> None:
    """State with a bitmap: bits of the same length are needed, so words are found for them."""
    table, theirs = getattr(new.tables.t, name), getattr(o, name)
    size = int(theirs["ring"][there]) // 64
    if int(table["ring"][here]) // 64 != size:
        table["win_at"][here] = new.sad.window_words(1, size)[0]
    carry(name, table, here, theirs, there)
    for field in WINDOW:
        table[field][here] = theirs[field][there]
    to, start = int(table["win_at"][here]), int(theirs["win_at"][there])
    new.tables.t.win[to : to + size] = o.win[start : start + size]


def _entry(want: Want) -> tuple[str, str, Selector]:
    """What makes an SPD entry the same one in another configuration; another peer is no other entry."""
    return want.interface.name, want.where, want.selector


def _totals(t: Columns, o: Columns) -> None:
    """Counters of the whole router, and what is left of the limits on ICMP errors."""
    for name in tables(COUNTER):
        if fields(name, COUNTER) == ("",):
            getattr(t, name)[:] = getattr(o, name)
    for field in fields("icmp", STATE):
        t.icmp[field] = o.icmp[field]


def _interface(t: Columns, row: int, o: Columns, there: int) -> None:
    """Counters of an interface; of a GRE tunnel also its numbers."""
    carry("ifs", t.ifs, row, o.ifs, there)
    mine, theirs = int(t.ifs["tun"][row]), int(o.ifs["tun"][there])
    if mine >= 0 and theirs >= 0:
        carry("tun", t.tun, mine, o.tun, theirs)
    if mine >= 0 and theirs >= 0 and t.tun["multi"][mine]:
        old = {_peer(o.tun[k]): int(k) for k in np.flatnonzero(o.tun["iface"] == there)}
        for k in np.flatnonzero(t.tun["iface"] == row):
            if _peer(t.tun[k]) in old:
                carry("tun", t.tun, int(k), o.tun, old[_peer(t.tun[k])])


def _peer(tunnel: np.void) -> tuple[int, int]:
    return int(tunnel["dst0"]), int(tunnel["dst1"])
