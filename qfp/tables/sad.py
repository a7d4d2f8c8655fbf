"""The SA database: handles, configuration, outbound and inbound state, crypto contexts, and the look-up by SPI.

SAs are installed by the hundred thousand, so everything here works on columns; one SA is a column of length one. No
Python object is kept for an SA: `describe` rebuilds its SecurityAssociation from the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.algorithms import cipher, integrity
from qfp.engines.crypto import CryptoEngine
from qfp.sa import NATT_ANY, SecurityAssociation
from qfp.sizes import LENGTH_MAX, Sizing
from qfp.tables.headers import NO_AH, Shape, constant_sum, templates
from qfp.tables.store import SA_TABLES, Tables, blank, words
from qfp.unpicklable import Unpicklable
from qfp.upward import upward
from qfp_kernels import contexts, sha
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CONTEXT, CTL_SAD_MASK, CTL_SAD_OUT_MASK, CTL_SNS_BITS, CTL_WILD, KEYS, NO_LIMIT
from qfp_kernels.lookup import sad_hash

Array = npt.NDArray[Any]
MODES = {"tunnel": 0, "transport": 1, None: 2}
MODE_NAMES = {v: k for k, v in MODES.items()}
NATT_CODES = {None: 0, NATT_ANY: 2}
DF_RULES = {"copy": 0, "clear": 1, "set": 2}
HMAC_BLOCKS = {"hmac-sha1-96": (sha.sha1_block, sha.SHA1_INIT), "hmac-sha256-96": (sha.sha256_block, sha.SHA256_INIT),
               "hmac-sha256-128": (sha.sha256_block, sha.SHA256_INIT)}  # fmt: skip
PADS_AT = 256  # in a context row
NONCE_NONE, NONCE_COUNTER, NONCE_BLOCK16, NONCE_BLOCK8 = range(4)
FIRST_FLOW_ID = 1
# The history of a sequence-number space is shorter than the SA's window (guide chapter 2): scheduling no longer
# reorders within it, only the network does.
SNS_HISTORY_SHARE, SNS_HISTORY_MIN = 4, 16


def history_of(window: int) -> int:
    """Packets of history in each sequence-number space of an SA with this replay window; 0 = no check."""
    return max(SNS_HISTORY_MIN, window // SNS_HISTORY_SHARE) if window else 0


@dataclass(frozen=True)
class Profile:
    """What SAs of one transform have in common: algorithms and how packets are built."""

    proto: str
    mode: str | None
    encr: str
    key_len: int
    integ: str
    integ_key_len: int
    icv_len: int
    esn: bool
    family: int
    natt: tuple[int, int] | None = None
    df: str = "copy"
    before: bool = True  # fragment before encryption
    comp: bool = False  # IPComp with LZS
    sns: bool = False  # several sequence-number spaces

    @classmethod
    def of(
        cls, sa: SecurityAssociation, df: str = "copy", before: bool = True, comp: bool = False, sns: bool = False
    ) -> "Profile":
        """The profile of one SA. An SA without addresses counts as IPv4 (only its destination look-up differs)."""
        address = sa.dst or sa.src
        family = address.version if address is not None else 4
        return cls(
            sa.proto, sa.mode, sa.encr, len(sa.encr_key), sa.integ, len(sa.integ_key), sa.icv_len, sa.esn, family,
            sa.natt, df, before, comp or sa.comp is not None, sns,
        )  # fmt: skip

    @property
    def iv_len(self) -> int:
        return cipher(self.encr).iv if self.proto == "esp" else integrity(self.integ).iv

    def sizing(self, ah_icv: int = 0) -> Sizing:
        """How SAs of this profile change a packet's length; `ah_icv`: ICV field of an AH over them."""
        transport = self.mode == "transport"
        if self.proto == "ah":
            return Sizing(self.family, None, ah_icv=self.icv_len + self.iv_len, transport=transport)
        return Sizing(self.family, self.encr, self.icv_len, ah_icv, transport, self.natt is not None)

    @property
    def nonce(self) -> int:
        """How `encap` fills the IV field."""
        if self.encr == "aes-cbc":
            return NONCE_BLOCK16
        if self.encr in ("des-cbc", "3des-cbc"):
            return NONCE_BLOCK8
        return NONCE_COUNTER if self.iv_len else NONCE_NONE

    @property
    def aes_key(self) -> int:
        """Bytes of the AES key that native kernels use, 0 = none."""
        if self.proto == "ah":
            return self.integ_key_len if self.integ == "aes-gmac" else 0
        return self.key_len if self.encr.startswith("aes-") else 0


@dataclass(frozen=True)
class Wanted:
    """An SA to install with others. over: place among them of the AH SA over it, outbound; -1 = none."""

    sa: SecurityAssociation
    profile: Profile
    inbound: bool
    over: int = -1


@dataclass
class SaColumns:
    """n SAs of one profile. src, dst: uint64[n, 2] words; keys: uint8[n, KEYS] (cipher 0, salt 32, MAC 48)."""

    spi: Array
    src: Array
    dst: Array
    keys: Array
    seq: Array
    window: int = 64
    sp: Any = -1


def key_row(encr_key: bytes, salt: bytes, integ_key: bytes) -> Array:
    """One row of the `keys` table."""
    row = np.zeros(KEYS, np.uint8)
    for at, part in ((0, encr_key), (32, salt), (48, integ_key)):
        row[at : at + len(part)] = np.frombuffer(part, np.uint8)
    return row


def columns_of(sas: Sequence[SecurityAssociation]) -> SaColumns:
    """SAs of one profile and window as columns. An open address is all zeros."""

    def pair(address: Any) -> tuple[int, int]:
        return words(address) if address is not None else (0, 0)

    return SaColumns(
        spi=np.array([sa.spi for sa in sas], np.uint32),
        src=np.array([pair(sa.src) for sa in sas], np.uint64),
        dst=np.array([pair(sa.dst) for sa in sas], np.uint64),
        keys=np.stack([key_row(sa.encr_key, sa.salt, sa.integ_key) for sa in sas]),
        seq=np.array([sa.seq for sa in sas], np.uint64),
        window=sas[0].replay_window,
    )


@kernel
def _insert(t: Any, table: Any, mask_at: int, rows: Array) -> int:
    """Enter rows into an SPI hash; returns how many were there already (same SPI, destination, protocol)."""
    mask = np.uint64(t.ctl[mask_at])
    double = 0
    for k in range(rows.size):
        sa = t.sa[rows[k]]
        j = np.int64(sad_hash(sa.dst0, sa.dst1, sa.spi, sa.proto) & mask)
        free = np.int64(-1)
        while table[j].sa != -1:
            slot = table[j]
            if slot.sa == -2 and free < 0:
                free = j
            if slot.sa >= 0 and slot.spi == sa.spi and slot.dst1 == sa.dst1 and slot.dst0 == sa.dst0:
                double += slot.proto == sa.proto
            j = np.int64(np.uint64(j + 1) & mask)
        slot = table[free if free >= 0 else j]
        slot.dst0, slot.dst1, slot.spi, slot.proto = sa.dst0, sa.dst1, sa.spi, sa.proto
        slot.sa = np.int32(rows[k])
    return double


@kernel
def _insert_in(t: Any, rows: Array) -> int:
    return int(_insert(t, t.sad, CTL_SAD_MASK, rows))


@kernel
def _insert_out(t: Any, rows: Array) -> int:
    return int(_insert(t, t.sad_out, CTL_SAD_OUT_MASK, rows))


@kernel
def _remove(t: Any, table: Any, mask_at: int, row: int) -> None:
    """Mark the hash slot of a row as deleted (a probe goes on past it)."""
    mask = np.uint64(t.ctl[mask_at])
    sa = t.sa[row]
    j = np.int64(sad_hash(sa.dst0, sa.dst1, sa.spi, sa.proto) & mask)
    while table[j].sa != -1:
        if table[j].sa == row:
            table[j].sa = np.int32(-2)
            return
        j = np.int64(np.uint64(j + 1) & mask)


@kernel
def _remove_both(t: Any, row: int) -> None:
    _remove(t, t.sad, CTL_SAD_MASK, row)
    _remove(t, t.sad_out, CTL_SAD_OUT_MASK, row)


def _enter(tables: Tables, name: str, mask_at: int, rows: Array, count: int) -> int:
    """Enter rows into the hash `name`, which holds `count` rows and grows as needed; returns the new count."""
    t, insert = tables.t, _insert_in if name == "sad" else _insert_out
    count += len(rows)
    old = getattr(t, name)
    if 2 * count > old.size:
        known = old["sa"][old["sa"] >= 0].astype(np.int64)
        live = len(known) + len(rows)
        spacing = 2 if live == count else 4  # slots of SAs that are gone count no more; room for as many again
        count = live
        size = max(64, 1 << (spacing * live - 1).bit_length())
        empty = np.zeros(size, old.dtype)
        empty["sa"] = -1
        tables.replace(name, empty)
        t.ctl[mask_at] = size - 1
        insert(t, known)
    insert(t, rows)
    return count


class Pool:
    """Rows of a table, handed out in blocks. `used`: rows that there must be."""

    SAVED = ("used", "_free")  # see qfp.checkpoint

    def __init__(self) -> None:
        self.used = 0
        self._free: dict[int, list[int]] = {}

    def take(self, n: int, size: int) -> Array:
        """First rows of n blocks of `size` rows, int64[n]: those that were given back, then fresh ones."""
        free = self._free.get(size, [])
        again = [free.pop() for _ in range(min(n, len(free)))]
        fresh = self.used + np.arange(n - len(again), dtype=np.int64) * size
        self.used += len(fresh) * size
        return np.concatenate([np.array(again, np.int64), fresh])

    def give(self, at: int, size: int) -> None:
        """Take a block back."""
        if size:
            self._free.setdefault(size, []).append(at)


class Sad(Unpicklable):
    """Allocates SA handles and fills every table that hangs on them."""

    SAVED = ("profiles", "rows", "_free", "_retired", "_windows", "_inbound", "_outbound", "_spaces_in", "_spaces_out",
             "_id_rows", "_seed")  # fmt: skip

    def __init__(self, tables: Tables, engine: str):
        self._tables = tables
        self.profiles: list[Profile] = []
        self.crypto = CryptoEngine(engine, tables, upward(self.describe))
        self.rows = 0
        self._free: list[int] = []
        self._retired: list[int] = []
        self._windows = Pool()  # words of `win`
        self._inbound = self._outbound = 0
        self._spaces_in, self._spaces_out = Pool(), Pool()  # rows of `sns_in`, words of `sns_out`
        self._id_rows: dict[tuple[int, ...], int] = {}
        self._seed = 0

    @property
    def spaces(self) -> int:
        """Sequence-number spaces of an SA that has several."""
        return 1 << int(self._tables.t.ctl[CTL_SNS_BITS])

    @property
    def table(self) -> Array:
        """The rows of the `sa` table (a view)."""
        rows: Array = self._tables.t.sa[: self.rows]
        return rows

    # ------------------------------------------------------------------------------------------- install
    def install(
        self, profile: Profile, cols: SaColumns, inbound: bool, over: Array | None = None, rows: Array | None = None,
        model: int = -1,
    ) -> Array:  # fmt: skip
        """Add n SAs; returns their handles (int64[n]). `over`: handles of the AH SAs of bundles, outbound. `rows`:
        handles that were allocated for them. `model`: handle of an SA of the same keys and algorithms, whose schedules
        are copied instead of computed (3 ms for one HMAC); -1 = none."""
        if rows is None:
            rows = self._allocate(len(cols.spi))
        self._configure(profile, cols, rows, inbound)
        if model >= 0:
            self._copy_keys(rows, model)
        else:
            self._keys(profile, cols, rows, inbound)
        t = self._tables.t
        if profile.sns:
            self._spaces(cols, rows, inbound)
        if inbound:
            self._inbound_state(cols, rows)
            self._index(rows)
        else:
            self._headers(profile, cols, rows, over)
            self.set_path_mtu(rows, LENGTH_MAX)
            self._outbound = _enter(self._tables, "sad_out", CTL_SAD_OUT_MASK, rows, self._outbound)
            t.sa_out["next_seq"][rows] = np.maximum(cols.seq, 1)
            t.sa_out["last_seq"][rows] = t.life["last_seq"][rows] = self._last_number(profile)
        t.life["soft_seq"][rows] = t.life["last_seq"][rows]
        self._tables.changed()
        return rows

    def add(
        self, sa: SecurityAssociation, inbound: bool, df: str = "copy", over: int = -1, *, before: bool = True,
        comp: bool = False, sns: bool = False,
    ) -> int:  # fmt: skip
        """Install one SA; returns its handle."""
        outer = np.array([over], np.int64) if over >= 0 else None
        return int(self.install(Profile.of(sa, df, before, comp, sns), columns_of([sa]), inbound, outer)[0])

    def add_all(self, wanted: Sequence[Wanted]) -> Array:
        """Install SAs of any kinds, those of one kind together; returns their handles, int64, in order."""
        rows = self._allocate(len(wanted))
        groups: dict[tuple[bool, Profile, int, bool], list[int]] = {}
        for k, each in enumerate(wanted):
            groups.setdefault((each.over >= 0, each.profile, each.sa.replay_window, each.inbound), []).append(k)
        for bundled, profile, window, inbound in sorted(groups, key=lambda each: each[0]):  # bundles last
            members = groups[bundled, profile, window, inbound]
            over = rows[[wanted[k].over for k in members]] if bundled else None
            self.install(profile, columns_of([wanted[k].sa for k in members]), inbound, over, rows[members])
        return rows

    def _last_number(self, profile: Profile) -> int:
        """The largest sequence number of an outbound SA; with several spaces the largest count in one."""
        bits = (64 if profile.esn else 32) - (int(self._tables.t.ctl[CTL_SNS_BITS]) if profile.sns else 0)
        return (1 << bits) - 1

    def set_limits(self, rows: Array, soft: int, hard: int, soft_share: int) -> None:
        """Lifetimes in bytes of SAs that no packet has used yet, and per cent of their numbers that are used before a
        new SA is asked for; NO_LIMIT = none. They count as not in use until their first packet."""
        t = self._tables.t
        t.life["soft"][rows], t.life["hard"][rows], t.life["fresh"][rows] = soft, hard, 1
        t.life["soft_seq"][rows] = t.life["last_seq"][rows] // np.uint64(100) * np.uint64(soft_share)
        t.sa_out["limit"][rows] = t.sa_in["limit"][rows] = 0

    def sizing(self, handle: int) -> Sizing:
        """How an outbound SA, and the AH SA over it if it has one, change a packet's length."""
        sa = self._tables.t.sa
        over = int(sa["next"][handle])
        ah_icv = int(sa["icv_len"][over]) + int(sa["iv_len"][over]) if over >= 0 else 0
        return self.profiles[int(sa["profile"][handle])].sizing(ah_icv)

    def set_path_mtu(self, rows: Array, mtu: int, own: int = LENGTH_MAX) -> None:
        """The way to the peer of outbound SAs takes packets of `mtu` bytes; `own`: MTU of the tunnel interface of which
        they are."""
        sa, rows = self._tables.t.sa, np.atleast_1d(rows)
        over = sa["next"][rows]
        ah = np.where(over >= 0, sa["profile"][over].astype(np.int64), -1)  # NumPy 2.5 takes no -1 among unsigned ones
        kinds = np.stack([sa["profile"][rows], ah])
        _, first, which = np.unique(kinds, axis=1, return_index=True, return_inverse=True)
        plain = np.array([self.sizing(int(rows[k])).plaintext_mtu(mtu) for k in first])[which.reshape(-1)]
        sa["path_mtu"][rows], sa["plain_mtu"][rows], sa["fit"][rows] = mtu, plain, np.minimum(plain, own)

    def take_way(self, new: int, old: int) -> None:
        """An outbound SA has the way of another to the peer: the same MTUs."""
        sa = self._tables.t.sa
        for name in ("path_mtu", "plain_mtu", "fit"):
            sa[name][new] = sa[name][old]

    def add_inbound(self, sas: Sequence[SecurityAssociation]) -> list[int]:
        """Install the SAs of a key file for decryption, those of one profile together; returns handles in order."""
        groups: dict[tuple[Profile, int], list[int]] = {}
        for k, sa in enumerate(sas):
            groups.setdefault((Profile.of(sa), sa.replay_window), []).append(k)
        handles = [-1] * len(sas)
        for (profile, _), members in groups.items():
            rows = self.install(profile, columns_of([sas[k] for k in members]), inbound=True)
            for k, row in zip(members, rows.tolist(), strict=True):
                handles[k] = row
        return handles

    def _allocate(self, n: int) -> Array:
        """Rows from the free list, then fresh ones; each gets a new generation, so that no stale handle fits."""
        reused = [self._free.pop() for _ in range(min(n, len(self._free)))]
        fresh = range(self.rows, self.rows + n - len(reused))
        self.rows += len(fresh)
        for name in SA_TABLES:
            self._tables.grow(name, self.rows)
        rows = np.array([*reused, *fresh], np.int64)
        t = self._tables.t
        for name in ("sa_out", "sa_in", "life"):
            getattr(t, name)[rows] = blank(name)
        for table, name in ((t.sa_out, "limit"), (t.sa_in, "limit"), (t.life, "soft"), (t.life, "hard")):
            table[name][rows] = NO_LIMIT
        t.sa["generation"][rows] += 1
        return rows

    def _configure(self, profile: Profile, cols: SaColumns, rows: Array, inbound: bool) -> None:
        if profile not in self.profiles:
            self.profiles.append(profile)
        encr, integ = cipher(profile.encr), integrity(profile.integ)
        kind_key = profile.aes_key if profile.proto == "ah" else profile.key_len
        values = {
            "spi": cols.spi, "src0": cols.src[:, 0], "src1": cols.src[:, 1], "dst0": cols.dst[:, 0],
            "dst1": cols.dst[:, 1], "proto": 50 if profile.proto == "esp" else 51, "mode": MODES[profile.mode],
            "fam": profile.family, "valid": 1, "iv_len": profile.iv_len, "block": encr.block,
            "icv_len": profile.icv_len, "esn": profile.esn, "natt": NATT_CODES.get(profile.natt, 1),
            "df": DF_RULES[profile.df], "nonce": profile.nonce,
            "rounds": profile.aes_key // 4 + 6, "next": -1, "sp": cols.sp, "copy_label": 1, "checks": 0,
            "sealer": self.crypto.kind(profile.proto, profile.encr, kind_key, integ.name, not inbound),
            "flow_id": rows + FIRST_FLOW_ID, "profile": self.profiles.index(profile), "ah_at": NO_AH,
            "before": profile.before, "comp": profile.comp,
        }  # fmt: skip
        if profile.natt is not None:
            values["udp_sport"], values["udp_dport"] = profile.natt
        sa = self._tables.t.sa
        for name, value in values.items():
            sa[name][rows] = value

    def _keys(self, profile: Profile, cols: SaColumns, rows: Array, inbound: bool) -> None:
        t = self._tables.t
        t.keys.reshape(-1, KEYS)[rows] = cols.keys
        if self.crypto.name != "native":
            return
        ctx = t.ctx.reshape(-1, CONTEXT)
        ctx[rows] = 0
        if profile.proto == "ah" and profile.aes_key:  # GMAC's key is the integrity key: move it where AES looks
            t.keys.reshape(-1, KEYS)[rows, :32] = cols.keys[:, 48:80]
        if profile.aes_key:
            schedule = contexts.SCHEDULE_ENCRYPT
            if profile.encr in ("aes-gcm", "aes-gmac") or profile.proto == "ah":
                schedule = contexts.SCHEDULE_GCM
            elif profile.encr == "aes-cbc" and inbound:
                schedule = contexts.SCHEDULE_DECRYPT
            contexts.build(t, rows, schedule, profile.aes_key // 4)
        if profile.integ in HMAC_BLOCKS:
            block, init = HMAC_BLOCKS[profile.integ]
            padded = np.zeros((len(rows), 64), np.uint8)
            padded[:, : profile.integ_key_len] = cols.keys[:, 48 : 48 + profile.integ_key_len]
            for at, state in zip((PADS_AT, PADS_AT + 32), sha.hmac_pads(padded, block, init), strict=True):
                ctx[rows, at : at + 4 * state.shape[1]] = np.ascontiguousarray(state).view(np.uint8)

    def _copy_keys(self, rows: Array, model: int) -> None:
        for name, size in (("keys", KEYS), ("ctx", CONTEXT)):
            table = getattr(self._tables.t, name).reshape(-1, size)
            table[rows] = table[model]

    def _headers(self, profile: Profile, cols: SaColumns, rows: Array, over: Array | None) -> None:
        sa = self._tables.t.sa
        esp = profile.proto == "esp"
        icv, ah_spi = 0, np.zeros(len(rows), np.uint32)
        if over is not None:
            icv = int(sa["icv_len"][over[0]]) + int(sa["iv_len"][over[0]])
            ah_spi = sa["spi"][over]
            sa["next"][rows] = over
        elif not esp:
            icv, ah_spi = profile.icv_len + profile.iv_len, cols.spi
        shape = Shape(profile.family, esp, icv, profile.natt is not None and esp)
        hdr = templates(shape, cols.src, cols.dst, cols.spi, ah_spi, profile.natt or (0, 0))
        sa["hdr"][rows] = hdr
        sa["csum"][rows] = constant_sum(hdr) if profile.family == 4 else 0
        for name in ("hdr_len", "esp_at", "udp_at", "ah_at"):
            sa[name][rows] = shape.length if name == "hdr_len" else getattr(shape, name)
        if not esp:
            sa["iv_len"][rows] = profile.iv_len
        self._identifications(cols, rows)

    def _identifications(self, cols: SaColumns, rows: Array) -> None:
        """One IPv4 identification counter a (source, destination): RFC 6864 wants it unique by pair."""
        pairs = np.concatenate([cols.src, cols.dst], axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        known = np.array([self.id_row(tuple(p)) for p in unique.tolist()], np.int64)
        self._tables.t.sa["id_row"][rows] = known[inverse.reshape(-1)]

    def id_row(self, pair: tuple[int, ...]) -> int:
        """Row of the identification counter of a (source, destination) pair, as four words."""
        row = self._id_rows.setdefault(pair, len(self._id_rows))
        self._tables.grow("ip_id", len(self._id_rows))
        return row

    def _spaces(self, cols: SaColumns, rows: Array, inbound: bool) -> None:
        """Sequence-number spaces of new SAs: their next numbers, or their histories."""
        t, count = self._tables.t, self.spaces
        pool = self._spaces_in if inbound else self._spaces_out
        at = pool.take(len(rows), count)
        each = (at[:, None] + np.arange(count)).reshape(-1)
        self._tables.grow("sns_in" if inbound else "sns_out", pool.used)
        (t.sa_in if inbound else t.sa_out)["sns_at"][rows] = at
        if not inbound:
            t.sns_out[each] = np.repeat(np.maximum(cols.seq, 1), count)  # no space goes on below another's last number
            return
        window = history_of(cols.window)
        ring = max(64, 1 << (window - 1).bit_length()) if window else 0
        for name, value in (("top", 0), ("window", window), ("ring", ring), ("replays", 0)):
            t.sns_in[name][each] = value
        t.sns_in["win_at"][each] = self.window_words(len(each), ring // 64)

    def window_words(self, n: int, size: int) -> Array:
        """First words of n empty bitmaps of `size` words."""
        at = self._windows.take(n, size)
        self._tables.grow("win", self._windows.used)
        for k in range(size):
            self._tables.t.win[at + k] = 0
        return at

    def _inbound_state(self, cols: SaColumns, rows: Array) -> None:
        t = self._tables.t
        t.sa_in["top"][rows] = cols.seq
        t.sa_in["window"][rows] = cols.window
        ring = max(64, 1 << (cols.window - 1).bit_length()) if cols.window else 0
        t.sa_in["ring"][rows] = ring
        at = self.window_words(len(rows), ring // 64)
        t.sa_in["win_at"][rows] = at
        if ring:  # the highest number that was seen is not new
            seen = np.flatnonzero(cols.seq > 0)
            bit = cols.seq[seen] % np.uint64(ring)
            t.win[at[seen] + (bit >> np.uint64(6)).astype(np.int64)] |= np.uint64(1) << (bit & np.uint64(63))

    def _index(self, rows: Array) -> None:
        self._inbound = _enter(self._tables, "sad", CTL_SAD_MASK, rows, self._inbound)
        t = self._tables.t
        if bool(((t.sa["dst0"][rows] | t.sa["dst1"][rows]) == 0).any()):
            t.ctl[CTL_WILD] = 1

    # -------------------------------------------------------------------------------------- free, describe
    def free(self, handle: int, generation: int) -> None:
        """Give a handle back. Raises KeyError when it was freed before (the generation differs)."""
        sa = self._tables.t.sa
        if not 0 <= handle < self.rows or not sa["valid"][handle] or sa["generation"][handle] != generation:
            raise KeyError(f"SA handle {handle} generation {generation} is not in use")
        self._end(handle)
        self._free.append(handle)

    def retire(self, handle: int) -> None:
        """End an SA in the middle of a run: its handle is given to no other SA before `recycle`, because verdicts name
        it."""
        self._end(handle)
        self._retired.append(handle)

    def recycle(self) -> None:
        """The handles of retired SAs may be used again."""
        self._free += self._retired
        self._retired.clear()

    def _end(self, handle: int) -> None:
        t = self._tables.t
        _remove_both(t, handle)
        t.sa["valid"][handle] = 0
        t.sa["generation"][handle] += 1
        for name, size in (("keys", KEYS), ("ctx", CONTEXT)):
            getattr(t, name)[handle * size : (handle + 1) * size] = 0  # keys do not outlive their SA
        self._give_back(handle)
        self._tables.changed()

    def _give_back(self, handle: int) -> None:
        """Windows and sequence-number spaces of an SA serve later ones."""
        t, count = self._tables.t, self.spaces
        state, spaces = t.sa_in[handle], int(t.sa_out["sns_at"][handle])
        self._windows.give(int(state["win_at"]), int(state["ring"]) // 64)
        if spaces >= 0:
            self._spaces_out.give(spaces, count)
        if state["sns_at"] >= 0:
            first = int(state["sns_at"])
            for history in t.sns_in[first : first + count]:
                self._windows.give(int(history["win_at"]), int(history["ring"]) // 64)
            self._spaces_in.give(first, count)
        state["ring"], state["sns_at"], t.sa_out["sns_at"][handle] = 0, -1, -1

    def describe(self, handle: int) -> SecurityAssociation:
        """The SA of a handle as a record, keys included (for export and the openssl engine)."""
        t = self._tables.t
        row = t.sa[handle]
        profile = self.profiles[int(row["profile"])]
        keys = t.keys[handle * KEYS : (handle + 1) * KEYS].tobytes()
        encr, integ = cipher(profile.encr), integrity(profile.integ)
        outbound = bool(row["hdr_len"])
        return SecurityAssociation(
            proto="esp" if profile.proto == "esp" else "ah",
            spi=int(row["spi"]),
            src=_address(profile.family, row["src0"], row["src1"]),
            dst=_address(profile.family, row["dst0"], row["dst1"]),
            mode=MODE_NAMES[int(row["mode"])],  # type: ignore[arg-type]
            encr=profile.encr,
            encr_key=keys[: profile.key_len],
            salt=keys[32 : 32 + (encr.salt or integ.salt)],
            integ=profile.integ,
            integ_key=keys[48 : 48 + profile.integ_key_len],
            icv_len=profile.icv_len,
            esn=profile.esn,
            replay_window=0 if outbound else int(t.sa_in["window"][handle]),
            natt=profile.natt,
            allow_null=True,  # what was let in may be described
            comp="lzs" if profile.comp else None,
            seq=self._number(handle, outbound),
            direction="out" if outbound else "in",
        )

    def _number(self, handle: int, outbound: bool) -> int:
        """The next number to send, or the highest seen; with several spaces the highest of them all."""
        t = self._tables.t
        state, spaces = (t.sa_out, t.sns_out) if outbound else (t.sa_in, t.sns_in["top"])
        first = int(state["sns_at"][handle])
        if first >= 0:
            return int(spaces[first : first + self.spaces].max())
        return int(state["next_seq" if outbound else "top"][handle])


def _address(family: int, high: Any, low: Any) -> IPv4Address | IPv6Address | None:
    value = int(high) << 64 | int(low)
    if value == 0:
        return None
    return IPv4Address(value) if family == 4 else IPv6Address(value)
