"""Lifetimes of SAs that are derived from the configuration: when they begin, when they are rekeyed, when they end.

An SA pair begins its life with its first packet, in either direction (then a router would have negotiated it). From
there on (guide chapter 2, `show platform software ipsec fp active flow`, BASE-7):

    soft limit   a new pair follows: by time, by bytes sent, or because numbers run out. The old inbound SA stays for
                 OLD_INBOUND more, counted from the first packet of the new pair
    hard limit   the old pair is gone, whatever has come of the new one
    idle time    the pair is deleted before its time (guide chapter 8); the next packet begins a new one

No IKE tells the peer, so what follows is derived, and both ends know it: the inbound SA of the next generation is
always installed, and its first authentic packet says that the peer has moved. Those of later generations are installed
when a packet with their SPI comes (awaited.py), so an end that has missed several finds its peer again. Time limits are
counted at both ends, bytes by the sender. Without `rekey` nothing follows, as when the peer's IKE does not answer: SAs
end at their hard limits.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qfp.batch import Array
from qfp.config import Configuration
from qfp.config.ends import default_peer
from qfp.control.awaited import Awaited
from qfp.control.limits import KILOBYTE, SECOND, SOFT_NUMBERS, Limits
from qfp.control.policy import Address, Want
from qfp.control.sadb import Pair, Sadb
from qfp.control.timers import Entered, Wheel
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp.upward import upward
from qfp_kernels.layout import (
    CTL_BUDGET,
    CTL_FRAME_COST,
    CTL_SPAN,
    CTL_TOLD_IN,
    CTL_TOLD_OUT,
    EV_BORN,
    EV_HALFWAY,
    EV_MOVED,
    EV_SOFT,
    NEVER,
    NO_BUDGET,
    NO_LIMIT,
    STOP_SPI,
)

EVENTS_MAX = 100_000  # kept; more are only counted, so that a long run cannot fill memory
OLD_INBOUND = 30 * SECOND  # "a short period": how long an old inbound SA is kept
FRAME_COST = 1400  # bytes that a frame may make an SA count besides its own, three times: an ICMP error
EXPANDED_COST = 3 * 65535  # the same where packets are decompressed


Lingering = dict[int, list[tuple[int, int]]]
Old = tuple[int, int, int, int]


@dataclass(frozen=True)
class SaEvent:
    """What became of an SA pair, for logs, tables and tests.

    what: rekeyed, idle, expired, soft (limit reached, nothing follows), deleted (an old inbound SA), cleared, peer (the
    entry goes to another one), stale (see take_over). why: time, volume, numbers, peer (it moved first), idle, or
    empty. spi: of the outbound SA that it was (deleted: of the inbound one); generation: the same.
    """

    ts: int
    what: str
    why: str
    pair: int
    peer: str
    spi: int
    generation: int


# What packets change in Lifetimes: births, old inbound SAs, those that linger, what the wheel holds and for whom,
# events with how many there were, counts
State = tuple[Array, list[Old], Lingering, tuple[Entered, Array], tuple[list[SaEvent], int], Counter[tuple[str, str]]]


class Lifetimes:
    """Counts the lifetimes of derived SA pairs and replaces them. `rekey`: whether a new pair can be had. `hand_on(old,
    new)`: called when an outbound SA follows another."""

    SAVED = ("events", "counts", "_birth", "_soft", "_hard", "_idle", "_out", "_in", "limits", "_standing", "past",
             "_coming", "_further", "_old", "_lingering", "_generations", "_wheel", "_entered", "_awaited")  # fmt: skip

    def __init__(
        self, config: Configuration, tables: Tables, sad: Sad, sadb: Sadb, hand_on: Callable[[int, int], None],
        rekey: bool = True,
    ):  # fmt: skip
        self._config, self._tables, self._sad, self._sadb = config, tables, sad, sadb
        self._hand_on, self.rekey = hand_on, rekey
        self._held = False
        self.events: list[SaEvent] = []  # the first EVENTS_MAX
        self.counts: Counter[tuple[str, str]] = Counter()  # of all, by (what, why)
        count = len(sadb.pairs)
        self._birth = np.full(count, NEVER, np.int64)
        self._soft, self._hard, self._idle = (np.full(count, NEVER, np.int64) for _ in range(3))
        self._out, self._in = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.limits: dict[int, Limits] = {}
        self._standing: dict[int, Limits] = {}  # of SAs that were made under another configuration, until they end
        self.past: dict[int, list[tuple[Want, int]]] = {}  # (entry, generation) of SAs that are gone, by pair
        self._coming: dict[int, tuple[int, ...]] = {}  # inbound SAs of a pair's next generation
        self._further: dict[int, dict[int, tuple[int, ...]]] = {}  # and of later ones of which a packet has come
        self._old: list[Old] = []  # heap: ns, pair, inbound SA, its generation of the handle
        self._lingering: Lingering = {}  # old inbound SAs until the new pair is used
        self._generations: dict[tuple[int, str], int] = {}  # the next one with a peer that a pair has left
        self._wheel, self._entered = Wheel(upward(self._deadlines)), np.zeros(count, bool)
        known = sorted(sadb.derived)
        self._begin([(k, sadb.pairs[k]) for k in known])
        self._await_peers(known)
        self._awaited = Awaited(tables, sadb, known if rekey else [])
        self._bounds()

    # ------------------------------------------------------------------------------------------------- set-up
    def _begin(self, pairs: Sequence[tuple[int, Pair]]) -> None:
        """Pairs that no packet has used."""
        for k, pair in pairs:
            self.limits[k] = Limits.of(pair.want.settings, self._config)
            self._current(k, pair)
        self._mark_all([(k, pair.outbound, True, pair.generation) for k, pair in pairs])
        self._mark_all([(k, pair.inbound, False, pair.generation) for k, pair in pairs])

    def limits_of(self, k: int) -> Limits:
        """The limits that hold for the present SAs of pair k."""
        return self._standing.get(k, self.limits[k])

    def _current(self, k: int, pair: Pair) -> None:
        limits = self.limits[k]
        if self._standing.pop(k, None) is not None:
            self._entered[k] = False  # deadlines may now come before the one in the wheel: another one is entered
        self._sadb.pairs[k] = pair
        self._soft[k] = limits.soft_seconds * SECOND if self.rekey else NEVER
        self._hard[k] = limits.hard_seconds * SECOND
        self._idle[k] = NEVER if limits.idle is None else limits.idle * SECOND
        self._out[k], self._in[k] = pair.outbound[0], pair.inbound[0]

    def _mark(self, k: int, handles: tuple[int, ...], outbound: bool, generation: int) -> None:
        """SAs of a generation of pair k, not in use yet. Of a bundle the payload's SA has the limits."""
        self._mark_all([(k, handles, outbound, generation)])

    def _mark_all(self, made: Sequence[tuple[int, tuple[int, ...], bool, int]]) -> None:
        """The same for many: (pair, SAs, outbound, generation), those of equal limits together."""
        alike: dict[tuple[int, int, bool], list[int]] = {}
        life = self._tables.t.life
        for k, handles, outbound, generation in made:
            limits = self.limits[k]
            soft = hard = NO_LIMIT
            if limits.kilobytes is not None and limits.soft_kilobytes is not None:
                soft, hard = limits.soft_kilobytes * KILOBYTE, limits.kilobytes * KILOBYTE
            alike.setdefault((soft, hard, outbound), []).append(handles[0])
            life["pair"][handles[0]] = k
            for handle in handles:
                life["generation"][handle] = generation
        for (soft, hard, outbound), rows in alike.items():
            self._sad.set_limits(np.array(rows), soft, hard, SOFT_NUMBERS if outbound else 100)

    def _await_peers(self, pairs: Sequence[int]) -> None:
        """Install the inbound SAs of the next generation of these pairs."""
        if not self.rekey:
            return
        known = [self._sadb.pairs[k] for k in pairs]
        made = self._sadb.prepare([(pair.want, pair.generation + 1, False) for pair in known])
        for k, handles in zip(pairs, made, strict=True):
            self._coming[k] = handles
            self._tables.t.life["coming"][handles[0]] = 1
        self._mark_all([(k, handles, False, pair.generation + 1)
                        for k, pair, handles in zip(pairs, known, made, strict=True)])  # fmt: skip

    def _bounds(self) -> None:
        """How far a turn of the driver may go, in time and in bytes, so that all it sets off comes after it."""
        if not self.limits:
            return
        t = self._tables.t
        idle = [limits.idle for limits in self.limits.values() if limits.idle is not None]
        soft = [limits.soft_seconds for limits in self.limits.values()]
        volumes = [limits.soft_kilobytes for limits in self.limits.values() if limits.soft_kilobytes is not None]
        t.ctl[CTL_SPAN] = min(OLD_INBOUND, min([*idle, *soft]) * SECOND)
        t.ctl[CTL_BUDGET] = min(volumes) * KILOBYTE // 2 if volumes and self.rekey else NO_BUDGET
        t.ctl[CTL_FRAME_COST] = EXPANDED_COST if t.sa["comp"].any() else FRAME_COST

    # ------------------------------------------------------------------------------------------------- timers
    def _deadlines(self, pairs: Array) -> Array:
        """ns at which something is to be done for each pair, as things stand; NEVER while it is not in use."""
        t = self._tables.t
        birth = self._birth[pairs]
        last = np.maximum(np.maximum(t.sa_out["last"][self._out[pairs]], t.sa_in["last"][self._in[pairs]]), birth)
        ends = np.minimum(_later(birth, self._soft[pairs]), _later(birth, self._hard[pairs]))
        at: Array = np.where(birth == NEVER, NEVER, np.minimum(ends, _later(last, self._idle[pairs])))
        self._entered[pairs] = at != NEVER  # what is at NEVER leaves the wheel
        return at

    def _enter(self, pairs: list[int]) -> None:
        """Pairs that came into use get their timers; one that has one in the wheel keeps it: it is never too late."""
        new = np.array(pairs, np.int64)
        new = np.unique(new[~self._entered[new]])
        self._wheel.add(new, self._deadlines(new))

    def hold(self) -> None:
        """Let no lifetime count from now on: SAs that have not ended stay in use, whatever time and bytes pass. What it
        changes in the tables is for `restore` and its caller to put back."""
        t = self._tables.t
        self._held = True
        going = t.life["hard"] > 0
        for name in ("soft", "hard"):
            t.life[name][going] = NO_LIMIT
        t.life["soft_seq"][going] = t.life["last_seq"][going]
        t.ctl[CTL_SPAN], t.ctl[CTL_BUDGET] = NEVER, NO_BUDGET

    def next_due(self) -> int:
        """ns before which nothing is to be done."""
        if self._held:
            return NEVER
        return min(self._wheel.next_due(), self._old[0][0] if self._old else NEVER)

    def fire(self, now: int) -> None:
        """Do what is due: old inbound SAs go, pairs are rekeyed, deleted or end."""
        while self._old and self._old[0][0] <= now:
            ts, k, handle, generation = heapq.heappop(self._old)
            self._delete_old(ts, k, handle, generation)
        due = list(dict.fromkeys(self._wheel.due(now).tolist()))
        self._entered[due] = False
        soft = [k for k in due if _plus(int(self._birth[k]), int(self._soft[k])) <= now]
        self._move(soft, now, "rekeyed", "time")
        for k in sorted(set(due) - set(soft)):
            birth = int(self._birth[k])
            if _plus(birth, int(self._hard[k])) <= now:
                self._expire(k, now, "expired", "time")
            elif self.rekey:
                self._idle_out(k, now)
            else:
                self._expire(k, now, "idle", "idle")

    def _idle_out(self, k: int, now: int) -> None:
        """Nothing was sent or received for the idle time: the pair goes (IDLE-2). Where the entry says `default`, the
        next connection is to its default peer (IDLE-3)."""
        want = self._sadb.pairs[k].want
        home = default_peer(want.settings, self._config) if getattr(want.settings, "idle_default", False) else None
        self._move([k], now, "idle", "idle", keep_old=False)
        if home is not None and home != want.peer:
            self.use_peer(k, home, now)

    # ------------------------------------------------------------------------- what packets have done to their SAs
    def on_told(self) -> None:
        """Answer what the data plane noted in the last turn, in the order of the packets."""
        t = self._tables.t
        handles = np.concatenate([t.told_out[: t.ctl[CTL_TOLD_OUT]], t.told_in[: t.ctl[CTL_TOLD_IN]]]).tolist()
        t.ctl[CTL_TOLD_OUT] = t.ctl[CTL_TOLD_IN] = 0
        todo: list[tuple[int, int, int]] = []
        for handle in handles:
            life = t.life[handle]
            events = 0 if self._held else int(life["events"])
            life["events"] = 0
            if events & EV_BORN:
                todo.append((int(life["born_at"]), EV_BORN, handle))
            if events & EV_MOVED:
                todo.append((int(life["moved_at"]), EV_MOVED, handle))
            todo += [(NEVER, event, handle) for event in (EV_HALFWAY, EV_SOFT) if events & event]
        born: list[int] = []
        for _, event, handle in sorted(todo):
            k = int(t.life["pair"][handle])
            if k >= 0 and t.sa["valid"][handle]:
                self._answer(k, event, handle, born)
        if born:
            self._enter(born)

    def _answer(self, k: int, event: int, handle: int, born: list[int]) -> None:
        life, pair = self._tables.t.life[handle], self._sadb.pairs[k]
        if event == EV_BORN and handle in (pair.outbound[0], pair.inbound[0]):
            if self._birth[k] == NEVER:
                self._use(k, int(life["born"]), born)
        elif event == EV_BORN and (handle == self._coming.get(k, (-1,))[0] or self._is_further(k, handle)):
            ts = int(life["born"])
            if self._is_further(k, handle):
                self._leap(k, int(life["generation"]))
            self._move([k], ts, "rekeyed", "peer")
            self._use(k, ts, born)
        elif event == EV_MOVED:
            numbers = self._tables.t.sa_out["bytes"][handle] < life["soft"]
            self._move([k], int(life["moved"]), "rekeyed", "numbers" if numbers else "volume")
            self._use(k, int(life["moved"]), born)
        elif event == EV_HALFWAY and handle == pair.outbound[0] and self.rekey:
            self._prepare([k])
        elif event == EV_SOFT and handle == pair.outbound[0]:
            self._note(int(self._tables.t.sa_out["last"][handle]), "soft", "", k)

    def _use(self, k: int, ts: int, born: list[int]) -> None:
        """The pair is in use from `ts` on."""
        self._birth[k] = ts
        born.append(k)
        for handle, generation in self._lingering.pop(k, []):
            heapq.heappush(self._old, (_plus(ts, OLD_INBOUND), k, handle, generation))

    # ---------------------------------------------------------------------------- a peer that has gone on further
    def on_stop(self, why: int, entry: int) -> None:
        """A packet came with an SPI that nobody knows: install its inbound SA, where it is one of a generation to come.
        The packet is then looked up again."""
        found = self._awaited.answer(entry) if why == STOP_SPI else None
        if found is None:
            return
        k, generation = found
        handles = self._sadb.prepare([(self._sadb.pairs[k].want, generation, False)])[0]
        self._mark(k, handles, False, generation)
        self._tables.t.life["coming"][handles[0]] = 1
        self._further.setdefault(k, {})[generation] = handles

    def _is_further(self, k: int, handle: int) -> bool:
        return any(handles[0] == handle for handles in self._further.get(k, {}).values())

    def _leap(self, k: int, generation: int) -> None:
        """The peer has left out generations: that of its packet is the one that follows."""
        t, pair = self._tables.t, self._sadb.pairs[k]
        heir = int(t.life["heir"][pair.outbound[0]])
        for handle in (*self._coming[k], *(self._bundle(heir) if heir >= 0 else ())):
            self._sad.retire(handle)
        t.life["heir"][pair.outbound[0]] = -1
        self._coming[k] = self._further[k].pop(generation)
        self._prepare([k], generation)

    def _forget_further(self, k: int, peer: bool = False) -> None:
        """The generations that may follow are others now, or those with another peer."""
        for handles in self._further.pop(k, {}).values():
            for handle in handles:
                self._sad.retire(handle)
        self._awaited.moved(k, peer)

    # ------------------------------------------------------------------------------------------- pairs come and go
    def _prepare(self, pairs: Sequence[int], generation: int | None = None) -> None:
        """Install the outbound SAs of the next generation, or of a later one; they know what the present ones know of
        the way."""
        life = self._tables.t.life
        known = [self._sadb.pairs[k] for k in pairs if life["heir"][self._out[k]] < 0]
        following = [pair.generation + 1 if generation is None else generation for pair in known]
        made = self._sadb.prepare([(pair.want, g, True) for pair, g in zip(known, following, strict=True)])
        life = self._tables.t.life  # it may have grown
        for pair, g, handles in zip(known, following, made, strict=True):
            self._mark(int(life["pair"][pair.outbound[0]]), handles, True, g)
            self._sad.take_way(handles[0], pair.outbound[0])
            life["heir"][pair.outbound[0]] = handles[0]

    def _move(self, pairs: Sequence[int], ts: int, what: str, why: str, keep_old: bool = True) -> None:
        """The next generation takes the place of these pairs; each begins its life with its first packet."""
        self._prepare(pairs)
        old = [self._sadb.pairs[k] for k in pairs]
        for k in pairs:
            self._note(ts, what, why, k)
            self._succeed(k, ts, keep_old)
            self._forget_further(k)
        self._await_peers(pairs)
        for pair in old:
            for handle in (*pair.outbound, *(() if keep_old else pair.inbound)):
                self._sad.retire(handle)
        self._tables.changed()

    def _succeed(self, k: int, ts: int, keep_old: bool) -> None:
        """The SAs that wait take over from a pair's present ones."""
        t, old = self._tables.t, self._sadb.pairs[k]
        outbound, inbound = self._bundle(int(t.life["heir"][old.outbound[0]])), self._coming.pop(k)
        t.life["heir"][old.outbound[0]] = -1
        t.life["coming"][inbound[0]] = 0
        t.sp["sa_out"][old.want.sp] = outbound[0]
        self.past.setdefault(k, []).append((old.want, old.generation))
        self._hand_on(old.outbound[0], outbound[0])
        ends = _plus(int(self._birth[k]), int(self._hard[k]))
        self._birth[k] = NEVER
        generation = int(t.life["generation"][outbound[0]])
        self._current(k, replace(old, outbound=outbound, inbound=inbound, generation=generation))
        for handle in old.inbound if keep_old else ():
            reused = int(t.sa["generation"][handle])  # of the handle
            self._lingering.setdefault(k, []).append((handle, reused))
            if ends != NEVER:
                heapq.heappush(self._old, (max(ends, ts), k, handle, reused))

    def _bundle(self, handle: int) -> tuple[int, ...]:
        over = int(self._tables.t.sa["next"][handle])
        return (handle, over) if over >= 0 else (handle,)

    def _delete_old(self, ts: int, k: int, handle: int, generation: int) -> None:
        sa = self._tables.t.sa
        if sa["generation"][handle] != generation:
            return
        if self._tables.t.life["pair"][handle] == k:  # of a bundle the payload's SA is named
            self._note(ts, "deleted", "", k, handle)
        self._lingering[k] = [each for each in self._lingering.get(k, []) if each[0] != handle]
        self._sad.retire(handle)

    def _expire(self, k: int, ts: int, what: str, why: str) -> None:
        """No packet more: the SAs stay in their places, because nothing follows them."""
        t, pair = self._tables.t, self._sadb.pairs[k]
        for table, handle in ((t.sa_out, pair.outbound[0]), (t.sa_in, pair.inbound[0])):
            t.life["hard"][handle] = table["limit"][handle] = 0
            t.life["fresh"][handle] = 0
        self._birth[k] = NEVER
        self._note(ts, what, why, k)

    def use_peer(self, k: int, peer: Address, ts: int) -> None:
        """Pair k goes to another peer of its entry from `ts` on: the SAs with the present one are deleted."""
        t, old = self._tables.t, self._sadb.pairs[k]
        self._note(ts, "peer", str(peer), k)
        self.past.setdefault(k, []).append((old.want, old.generation))
        self._generations[k, str(old.want.peer)] = old.generation + 1
        heir = int(t.life["heir"][old.outbound[0]])
        t.life["heir"][old.outbound[0]] = -1
        gone = [*old.inbound, *self._coming.pop(k), *(self._bundle(heir) if heir >= 0 else ())]
        want = replace(old.want, peer=peer)
        generation = self._generations.get((k, str(peer)), 0)
        outbound, inbound = self._sadb.prepare([(want, generation, way) for way in (True, False)])
        self._hand_on(old.outbound[0], outbound[0])
        t.sp["sa_out"][want.sp] = outbound[0]
        self._birth[k] = NEVER
        self._current(k, Pair(want, outbound, inbound, generation))
        self._mark(k, outbound, True, generation)
        self._mark(k, inbound, False, generation)
        self._forget_further(k, peer=True)
        self._await_peers([k])
        for handle in (*old.outbound, *gone):
            self._sad.retire(handle)

    def make_stale(self, k: int, ts: int) -> None:
        """The SAs of a pair were made under settings that hold no longer: they drop what they are given."""
        t, pair = self._tables.t, self._sadb.pairs[k]
        if self._birth[k] == NEVER:
            return  # nobody has used them yet
        for table, handle in ((t.sa_out, pair.outbound[0]), (t.sa_in, pair.inbound[0])):
            t.life["hard"][handle] = table["limit"][handle] = t.life["fresh"][handle] = 0
            t.life["stale"][handle] = 1
        self._note(ts, "stale", "", k)

    def jump(self, k: int, generation: int) -> None:
        """Pair k is of a later generation from the start."""
        t, old = self._tables.t, self._sadb.pairs[k]
        want = old.want
        outbound, inbound = self._sadb.prepare([(want, generation, way) for way in (True, False)])
        self._hand_on(old.outbound[0], outbound[0])
        t.sp["sa_out"][want.sp] = outbound[0]
        coming = self._coming.pop(k, ())
        self._begin([(k, Pair(want, outbound, inbound, generation))])
        self._forget_further(k)
        self._await_peers([k])
        for handle in (*old.outbound, *old.inbound, *coming):
            self._sad.retire(handle)

    def resume(
        self, k: int, other: "Lifetimes", before: int, copy: Callable[[int, int], None], idle_for_all: bool = False
    ) -> None:
        """Pair k goes on as pair `before` of another router's; `copy(handle, theirs)`: state of an inbound SA.
        `idle_for_all`: with the new idle time (IDLE-5)."""
        pair, theirs = self._sadb.pairs[k], other._sadb.pairs[before]
        self._birth[k] = other._birth[before]
        if other._unused(before):  # nothing has been negotiated yet
            self._mark(k, pair.outbound, True, pair.generation)
            self._mark(k, pair.inbound, False, pair.generation)
        else:
            self._keep_limits(k, other, before, idle_for_all)
        for word in (CTL_SPAN, CTL_BUDGET):
            self._tables.t.ctl[word] = min(self._tables.t.ctl[word], other._tables.t.ctl[word])
        # the entry as this configuration has it, with the ends that it had then
        past = other.past.get(before, ())
        self.past[k] = [(replace(pair.want, local=want.local, peer=want.peer), g) for want, g in past]
        if other._tables.t.life["heir"][theirs.outbound[0]] >= 0 and self.rekey:
            self._prepare([k])
        moved: dict[int, int] = {}
        for generation, handles in _old_inbound(other, before).items():
            want = next(want for want, g in self.past[k] if g == generation)
            again = self._sadb.prepare([(want, generation, False)])[0]
            self._mark(k, again, False, generation)
            for mine, handle in zip(again, handles, strict=True):
                copy(mine, handle)
                moved[handle] = mine
        generations = self._tables.t.sa["generation"]
        for ts, j, handle, _ in other._old:
            if j == before and handle in moved:
                heapq.heappush(self._old, (ts, k, moved[handle], int(generations[moved[handle]])))
        lingering = [moved[handle] for handle, _ in other._lingering.get(before, ()) if handle in moved]
        self._lingering[k] = [(handle, int(generations[handle])) for handle in lingering]
        if self._birth[k] != NEVER:
            self._enter([k])

    def _unused(self, k: int) -> bool:
        """Whether no packet has used a pair that could still be used."""
        pair, fresh = self._sadb.pairs[k], self._tables.t.life["fresh"]
        return self._birth[k] == NEVER and bool(fresh[pair.outbound[0]] and fresh[pair.inbound[0]])

    def _keep_limits(self, k: int, other: "Lifetimes", before: int, idle_for_all: bool) -> None:
        """The SAs of a pair have the limits with which they were negotiated."""
        standing = other.limits_of(before)
        for limit in ("_soft", "_hard", *(() if idle_for_all else ("_idle",))):
            getattr(self, limit)[k] = getattr(other, limit)[before]
        self._standing[k] = replace(standing, idle=self.limits[k].idle) if idle_for_all else standing

    def clear(self, ts: int, peer: str = "") -> int:
        """`clear crypto sa`: pairs (those with a peer) are deleted at `ts`; the next packet begins a new one. Returns
        how many there were. Pairs whose SAs cannot be derived anew stay.

        A pair that no packet has used has nothing to be cleared, and keeps its generation: so the ends do not part when
        one of them is cleared again and again. Inbound SAs that it has left go with the others.
        """
        chosen = [k for k in sorted(self.limits) if peer in ("", str(self._sadb.pairs[k].want.peer)) and self.rekey]
        old = [handle for k in chosen for handles in _old_inbound(self, k).values() for handle in handles]
        used = [k for k in chosen if self._birth[k] != NEVER]
        self._move(used, ts, "cleared", "", keep_old=False)
        for k in chosen:
            self._lingering.pop(k, None)
        for handle in old:
            self._sad.retire(handle)
        return len(used)

    def _note(self, ts: int, what: str, why: str, k: int, handle: int | None = None) -> None:
        pair = self._sadb.pairs[k]
        spi = int(self._tables.t.sa["spi"][pair.outbound[0] if handle is None else handle])
        self.counts[what, "" if what == "peer" else why] += 1
        if len(self.events) < EVENTS_MAX:
            self.events.append(SaEvent(ts, what, why, k, str(pair.want.peer), spi, pair.generation))

    def summary(self) -> dict[str, dict[str, int]]:
        """How many pairs met each event, by reason: {"rekeyed": {"time": 2}}. Without a reason the event is named."""
        found: dict[str, dict[str, int]] = {}
        for (what, why), count in self.counts.items():
            found.setdefault(what, {})[why or what] = count
        return found

    # ------------------------------------------------------------------------------------------------- explain
    def state(self) -> State:
        """What packets change here, for `restore`; pairs that were replaced are not brought back."""
        lingering = {k: list(found) for k, found in self._lingering.items()}
        timers = self._wheel.state(), self._entered.copy()
        events = self.events, len(self.events)  # the list only grows, until `restore` puts a shorter one in its place
        return self._birth.copy(), list(self._old), lingering, timers, events, self.counts.copy()

    def restore(self, state: State) -> None:
        """Put it back."""
        birth, old, lingering, (wheel, entered), (events, known), counts = state
        self._held = False
        self._birth[:] = birth
        self._old, self._lingering = list(old), {k: list(found) for k, found in lingering.items()}
        self._wheel.restore(wheel)
        self._entered[:] = entered
        self.counts = counts.copy()
        self.events = events if len(events) == known else events[:known]


def _old_inbound(lifetimes: Lifetimes, k: int) -> dict[int, list[int]]:
    """Old inbound SAs of a pair that have not been deleted yet, by generation, the payload's first."""
    t = lifetimes._tables.t
    listed = {(handle, g) for _, j, handle, g in lifetimes._old if j == k} | set(lifetimes._lingering.get(k, ()))
    found: dict[int, list[int]] = {}
    for handle in sorted((h for h, g in listed if t.sa["generation"][h] == g), key=lambda h: int(t.sa["proto"][h])):
        found.setdefault(int(t.life["generation"][handle]), []).append(handle)
    return found


def _later(at: Array, after: Array) -> Array:
    """at + after, where neither is NEVER; else NEVER."""
    out = np.full(at.shape, NEVER, np.int64)
    np.add(at, after, out=out, where=(at < NEVER - after) & (after != NEVER))
    return out


def _plus(at: int, after: int) -> int:
    return min(at + after, NEVER)
