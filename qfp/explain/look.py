"""A frame's rows between two stages: its own, and those that leave for it (fragments, ICMP errors)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qfp.control.device import Device
from qfp.explain.words import ICMP, WITH_PORTS, Facts, address, hop_name, protocol
from qfp_kernels.layout import (
    CTL_SNS_BITS,
    CTL_SNS_LSB,
    FRAG,
    FRAG_DF,
    FRAG_LATER,
    IS_ERROR,
    LEVELS,
    ST_AH,
    ST_ROWS,
    ST_RX,
    ST_STOP,
    ST_STOP_A,
    ST_STOP_B,
    ST_TU,
    ST_TX,
    STAT_ICMP_LIMITED,
    STAT_MSS,
)

COLUMNS = (
    "l3", "ip_len", "l4", "fam", "proto", "tos", "ttl", "frag", "sport", "dport", "src0", "src1", "dst0", "dst1",
    "out_if", "sp", "sa", "spi", "seq", "seq2", "sns", "cls", "ip_id", "notes", "lv_n", "c_sa", "c_off",
    "c_len", "c_icv", "c_hi", "c_ok",
    "verdict", "cause", "stage", "first_out", "n_out", "in_if", "cap", "wire", "vif", "flags", "lim", "icmp", "mtu",
    "nxt",
)  # fmt: skip
ICV_SPAN = 64  # bytes from the start of an ICV on, as many as the longest has
HOP, ROUTING, FRAGMENT, OPTIONS, MOBILITY = 0, 43, 44, 60, 135  # IPv6 extension headers


@dataclass(frozen=True)
class Window:
    """Where a number lies in the window of its SA, or in the history of its sequence-number space."""

    top: int
    size: int
    where: str
    refuses: bool
    space: int | None = None
    counter: int = 0  # the number within its space


@dataclass(frozen=True)
class Row:
    """Columns of a row, its packet's bytes, and the levels of SAs that it came through."""

    row: dict[str, int]
    packet: bytes
    levels: tuple[tuple[int, int, int], ...] = ()  # (SA, number, outcome)
    windows: tuple[Window, ...] = ()  # of each level
    job: bytes = b""  # from the ESP header (AH: the IP header) to behind the ICV of the crypto job at hand

    def __getattr__(self, name: str) -> int:
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def at(cls, owner: Device, p: Any, r: int) -> Row:
        """Row r of a workspace as it stands."""
        row = {name: int(getattr(p, name)[r]) for name in COLUMNS}
        here = range(r * LEVELS, r * LEVELS + min(row["lv_n"], LEVELS))
        levels = tuple((int(p.lv_sa[k]), int(p.lv_seq[k]), int(p.lv_ok[k])) for k in here)
        windows = tuple(window_of(owner.tables.t, sa, seq) for sa, seq, _ in levels if sa < owner.sad.rows)
        packet = bytes(p.arena[row["l3"] : row["l3"] + max(0, row["ip_len"])])
        if len(packet) >= 20:  # of a packet that this router made, the column is not what its header says
            row["ttl"] = packet[8] if row["fam"] == 4 else packet[7]
        job = bytes(p.arena[row["c_off"] : max(row["c_off"], row["c_icv"]) + ICV_SPAN])
        return cls(row, packet, levels, windows, job)

    @property
    def is_error(self) -> bool:
        """An ICMP error, or a piece of one."""
        return bool(self.flags & IS_ERROR)

    @property
    def upper(self) -> bytes:
        """From the upper-layer header on."""
        return self.packet[max(0, self.l4 - self.l3) :]


@dataclass(frozen=True)
class Frame:
    """All of it. `rows` by row number, in the order in which they leave; lists hold row numbers."""

    rows: dict[int, Row]
    tx: tuple[int, ...]
    ah: tuple[int, ...]
    inbound: int  # rows on the INBOUND list
    tunnels: int  # rows that enter or leave a GRE tunnel
    stop: tuple[int, int, int]  # STOP_ number and its two arguments
    mss: int  # MSS options lowered so far
    limited: int  # ICMP errors held back by their rate
    entered: tuple[int, ...] = field(repr=False)  # packets into and out of each interface
    left: tuple[int, ...] = field(repr=False)

    @classmethod
    def at(cls, owner: Device, p: Any) -> Frame:
        """The frame alone in workspace `p`."""
        t = owner.tables.t
        rows, r = {0: Row.at(owner, p, 0)}, int(p.more[0]) if int(p.st[ST_ROWS]) else -1
        while r >= 0:
            rows[r] = Row.at(owner, p, r)
            r = int(p.more[r])
        return cls(
            rows, tuple(p.tx[: p.st[ST_TX]].tolist()), tuple(p.ah[: p.st[ST_AH]].tolist()), int(p.st[ST_RX]),
            int(p.st[ST_TU]), (int(p.st[ST_STOP]), int(p.st[ST_STOP_A]), int(p.st[ST_STOP_B])),
            int(t.stats[STAT_MSS]), int(t.stats[STAT_ICMP_LIMITED]),
            tuple(t.ifs["out_packets"].tolist()), tuple(t.ifs["in_packets"].tolist()),
        )  # fmt: skip

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def pieces(self) -> list[int]:
        """Rows of the packet itself, the frame's own first."""
        return [r for r, row in self.rows.items() if r == 0 or not row.is_error]

    def name(self, r: int) -> str:
        """What a row is, where it is not the whole packet: `piece 2`, `ICMP error`."""
        if r != 0 and self.rows[r].is_error:
            errors = [k for k in self.rows if k and self.rows[k].is_error]
            return f"ICMP error, piece {errors.index(r) + 1}" if len(errors) > 1 else "ICMP error"
        pieces = self.pieces
        return f"piece {pieces.index(r) + 1}" if len(pieces) > 1 else ""


# ------------------------------------------------------------------------------------------------- windows
def space_of(t: Any, seq: int) -> tuple[int, int]:
    """(sequence-number space, number in it) of a sequence number whose low half travelled (`qfp_kernels.sns`)."""
    wide, lsb = int(t.ctl[CTL_SNS_BITS]), int(t.ctl[CTL_SNS_LSB])
    bits, low_half = 32 - wide, seq & 0xFFFFFFFF
    if lsb:
        space, low = low_half & (1 << wide) - 1, low_half >> wide
    else:
        space, low = low_half >> bits, low_half & (1 << bits) - 1
    return space, seq >> 32 << bits | low


def window_of(t: Any, sa: int, seq: int) -> Window:
    """Where a number lies (RFC 4303 section 3.4.3). With several spaces: in the history of the one that it names."""
    state = t.sa_in[sa]
    space, number, named = None, seq, ""
    if int(state["sns_at"]) >= 0:
        space, number = space_of(t, seq)
        state, named = t.sns_in[int(state["sns_at"]) + space], f" of space {space}"
    top, size, ring = int(state["top"]), int(state["window"]), int(state["ring"])
    if size == 0:
        return Window(top, size, "not checked", False, space, number)
    if number == 0:
        return Window(top, size, "zero, which is never sent", True, space, number)
    if number > top:
        return Window(top, size, f"above the window{named}", False, space, number)
    if top - number >= size:
        return Window(top, size, f"below the window{named}", True, space, number)
    bit = number & (ring - 1)
    seen = bool(int(t.win[int(state["win_at"]) + (bit >> 6)]) >> (bit & 63) & 1)
    where = f"inside the window{named}, {'seen before' if seen else 'not seen'}"
    return Window(top, size, where, seen, space, number)


# ------------------------------------------------------------------------------------------------- packets
def packet_facts(row: Row) -> Facts:
    """The outermost IP header of a row, and what its upper-layer header names. IPv6 has no DF."""
    facts: Facts = {
        "version": row.fam, "src": str(address(row.fam, row.src0, row.src1)),
        "dst": str(address(row.fam, row.dst0, row.dst1)), "protocol": protocol(row.proto),
        "length": row.ip_len, "ttl": row.ttl, "dscp": row.tos >> 2, "ecn": row.tos & 3,
    }  # fmt: skip
    if not row.frag & FRAG_LATER and len(row.upper) >= 4:
        if row.proto in WITH_PORTS:
            facts |= {"sport": row.sport, "dport": row.dport}
        elif row.proto in ICMP:
            facts |= {"type": row.sport, "code": row.dport}
    if row.frag & FRAG:
        facts["fragment"] = "later" if row.frag & FRAG_LATER else "first"
    if row.fam == 4:
        facts["df"] = bool(row.frag & FRAG_DF)
    return facts


def packet_text(row: Row) -> str:
    """A packet in a sentence."""
    f = packet_facts(row)
    more = f" port {f['sport']} -> {f['dport']}" if "sport" in f else ""
    more += f" type {f['type']} code {f['code']}" if "type" in f else ""
    more += f", {f['fragment']} fragment" if "fragment" in f else ""
    return f"IPv{f['version']} {f['src']} -> {f['dst']} {f['protocol']}{more}, {f['length']} bytes"


def packet_line(f: Facts) -> str:
    """The rest of its facts, for a line of their own."""
    df = "" if "df" not in f else ", DF" if f["df"] else ", no DF"
    return f"{hop_name(f['version'])} {f['ttl']}, DSCP {f['dscp']}, ECN {f['ecn']}{df}"


@dataclass(frozen=True)
class Header:
    """An IP header as it stands in bytes."""

    family: int
    proto: int
    ttl: int
    src: int
    dst: int
    size: int  # with IPv6 extension headers
    length: int  # of the packet


def header_of(packet: bytes) -> Header | None:
    """The IP header at the start of bytes; None where there is none."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        src, dst = int.from_bytes(packet[12:16]), int.from_bytes(packet[16:20])
        length = int.from_bytes(packet[2:4])
        return Header(4, packet[9], packet[8], src, dst, (packet[0] & 15) * 4, length)
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    kind, at = packet[6], 40
    while kind in (HOP, ROUTING, FRAGMENT, OPTIONS, MOBILITY) and len(packet) >= at + 8:
        after = at + (8 if kind == FRAGMENT else (packet[at + 1] + 1) * 8)
        kind, at = packet[at], after
    src, dst = int.from_bytes(packet[8:24]), int.from_bytes(packet[24:40])
    return Header(6, kind, packet[7], src, dst, at, 40 + int.from_bytes(packet[4:6]))
