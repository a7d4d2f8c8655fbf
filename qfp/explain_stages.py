"""The sentence and the facts of each stage, from a frame's row before and after it. See qfp.explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from qfp.stages import STAGE_NAMES
from qfp_kernels import drops
from qfp_kernels.fragment import sent_bytes
from qfp_kernels.layout import (
    CTL_MODE,
    CTL_OUT_SEQ,
    CTL_SNS_BITS,
    CTL_SNS_LSB,
    FRAG,
    FRAG_DF,
    FRAG_LATER,
    IF_GRE,
    IS_ERROR,
    LEVELS,
    MODE_ROUTER,
    PORTS_KNOWN,
    ST_ROWS,
    ST_RX,
    ST_STOP,
    ST_TX,
    STOP_MTU,
)

Facts = dict[str, Any]
Said = tuple[str, Facts]
COLUMNS = (
    "l3", "ip_len", "l4", "fam", "proto", "tos", "ttl", "frag", "sport", "dport", "src0", "src1", "dst0", "dst1",
    "out_if", "sp", "sa", "spi", "seq", "seq2", "ip_id", "notes", "lv_n", "c_sa", "c_len", "c_ok", "verdict", "cause",
    "first_out", "n_out", "in_if", "cap", "wire", "vif", "flags", "lim", "icmp", "mtu", "nxt",
)  # fmt: skip
CHAIN = ("ip_len", "n_out", "flags", "verdict", "cause", "fam", "sport", "dport", "src0", "src1", "dst0", "dst1")
PROTOCOLS = {1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
             58: "icmpv6", 89: "ospf"}  # fmt: skip
LINKS = {1: "Ethernet", 101: "raw IP", 113: "Linux cooked", 228: "raw IPv4", 229: "raw IPv6", 276: "Linux cooked v2"}
LV_OPENED = 1
CONNECTION_BASE = 2000  # IOS prints connection ids as 2000 + flow id


@dataclass(frozen=True)
class Look:
    """A frame's row between two stages, and the inbound windows of its levels."""

    row: dict[str, int]
    levels: tuple[tuple[int, int, int], ...]  # (SA, number, outcome)
    windows: tuple[tuple[int, int, str], ...]  # (top, size, where the number lies) of each level
    inbound: int  # rows of the INBOUND list
    outbound: int  # of the OUTBOUND list
    stop: int = 0  # STOP_ number
    chain: tuple[dict[str, int], ...] = ()  # rows that leave for the frame behind its own: fragments, ICMP errors

    def __getattr__(self, name: str) -> int:
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def at(cls, owner: Any, p: Any) -> Look:
        """Row 0 of a workspace as it stands."""
        row = {name: int(getattr(p, name)[0]) for name in COLUMNS}
        levels = tuple((int(p.lv_sa[k]), int(p.lv_seq[k]), int(p.lv_ok[k])) for k in range(min(row["lv_n"], LEVELS)))
        windows = tuple(window_of(owner.tables.t, sa, seq) for sa, seq, _ in levels if sa < owner.sad.rows)
        return cls(row, levels, windows, int(p.st[ST_RX]), int(p.st[ST_TX]), int(p.st[ST_STOP]), tuple(_chain(p)))

    @property
    def pieces(self) -> list[int]:
        """Bytes of the rows that the packet is cut into, its own first."""
        return [self.ip_len, *(row["ip_len"] for row in self.chain if not row["flags"] & IS_ERROR)]


def _chain(p: Any) -> Iterator[dict[str, int]]:
    """The rows behind row 0, in the order in which they leave."""
    r = int(p.more[0]) if int(p.st[ST_ROWS]) else -1
    while r >= 0:
        yield {name: int(getattr(p, name)[r]) for name in CHAIN}
        r = int(p.more[r])


# ------------------------------------------------------------------------------------------------ vocabulary
def address(family: int, high: Any, low: Any) -> IPv4Address | IPv6Address:
    """An address from its two words."""
    value = int(high) << 64 | int(low)
    return IPv4Address(value) if family == 4 else IPv6Address(value)


def sa_end(family: int, row: Any, side: str) -> str:
    """`src` or `dst` of an SA row; `*` where it is open."""
    high, low = row[side + "0"], row[side + "1"]
    return str(address(family, high, low)) if high or low else "*"


def protocol(number: int) -> str:
    return PROTOCOLS.get(number, str(number))


def moment(ts: int) -> str:
    """ns since 1970 as UTC text, exact to the ns."""
    try:
        whole = datetime.fromtimestamp(ts // 10**9, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ts} ns"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ts % 10**9:09d} UTC"


def network(family: int, pair: tuple[int, int]) -> str:
    """A (value, mask) pair as any, address, prefix, or address and wildcard."""
    value, mask = pair
    bits = 32 if family == 4 else 128
    make: Callable[[int], Any] = IPv4Address if family == 4 else IPv6Address
    wildcard = ~mask & ((1 << bits) - 1)
    if mask == 0:
        return "any"
    if wildcard & (wildcard + 1):
        return f"{make(value)} {make(wildcard)}"
    length = bits - wildcard.bit_length()
    return str(make(value)) if length == bits else f"{make(value)}/{length}"


def selector_text(selector: Any) -> str:
    """Proxy identities as one line."""
    whole = "ip" if selector.family == 4 else "ipv6"
    name = whole if selector.protocol is None else protocol(selector.protocol)
    ends = []
    for pair, ports in ((selector.src, selector.sport), (selector.dst, selector.dport)):
        text = network(selector.family, pair)
        if ports != (0, 65535):
            text += f" port {ports[0]}" if ports[0] == ports[1] else f" ports {ports[0]}-{ports[1]}"
        ends.append(text)
    return f"{name} {ends[0]} -> {ends[1]}"


def interface_name(owner: Any, row: int) -> str:
    names = owner.interfaces.names
    return str(names[row]) if 0 <= row < len(names) else "-"


def cause_facts(number: int) -> Facts:
    """Everything that is known about a drop cause."""
    c = drops.CAUSES[number]
    return {
        "cause": c.name, "stage": c.stage, "sentence": c.sentence, "xe_code": c.xe_code, "xe_name": c.xe_name,
        "linux": c.linux,
    }  # fmt: skip


def sa_facts(owner: Any, handle: int) -> Facts:
    """An SA without its keys."""
    row, profile = owner.tables.t.sa[handle], owner.sad.profiles[int(owner.tables.t.sa["profile"][handle])]
    family = profile.family
    return {
        "handle": handle, "flow_id": int(row["flow_id"]), "conn_id": CONNECTION_BASE + int(row["flow_id"]),
        "proto": profile.proto, "spi": f"0x{int(row['spi']):08x}",
        "src": sa_end(family, row, "src"), "dst": sa_end(family, row, "dst"),
        "mode": profile.mode, "encr": profile.encr, "integ": profile.integ, "icv_len": profile.icv_len,
        "esn": profile.esn, "natt": list(profile.natt) if profile.natt is not None else None,
    }  # fmt: skip


def entry_facts(owner: Any, sp: int) -> Facts | None:
    """An SPD entry: where it is configured, and its rule."""
    for pair in owner.sadb.pairs if hasattr(owner, "sadb") else ():
        if pair.want.sp == sp:
            rule = (
                "any traffic routed into the tunnel" if pair.want.vti else f"permit {selector_text(pair.want.selector)}"
            )
            return {"sp": sp, "where": pair.want.where, "rule": rule, "peer": str(pair.want.peer)}
    return None


def space_of(t: Any, seq: int) -> tuple[int, int]:
    """(sequence-number space, number in it) of a sequence number whose low half travelled (`qfp_kernels.sns`)."""
    wide, lsb = int(t.ctl[CTL_SNS_BITS]), int(t.ctl[CTL_SNS_LSB])
    bits, field = 32 - wide, seq & 0xFFFFFFFF
    space, low = (field & (1 << wide) - 1, field >> wide) if lsb else (field >> bits, field & (1 << bits) - 1)
    return space, seq >> 32 << bits | low


def window_of(t: Any, sa: int, seq: int) -> tuple[int, int, str]:
    """(highest authenticated number, window size, where `seq` lies); RFC 4303 section 3.4.3.

    With multiple sequence-number spaces: of the space that the number names, in numbers of that space.
    """
    state = t.sa_in[sa]
    named = ""
    if int(state["sns_at"]) >= 0:
        space, seq = space_of(t, seq)
        state, named = t.sns_in[int(state["sns_at"]) + space], f" of space {space}"
    top, size, ring = int(state["top"]), int(state["window"]), int(state["ring"])
    if size == 0:
        return top, size, "not checked"
    if seq == 0:
        return top, size, "zero, which is never sent"
    if seq > top:
        return top, size, f"above the window{named}"
    if top - seq >= size:
        return top, size, f"below the window{named}"
    bit = seq & (ring - 1)
    seen = int(t.win[int(state["win_at"]) + (bit >> 6)]) >> (bit & 63) & 1
    return top, size, f"inside the window{named}, {'seen before' if seen else 'not seen'}"


def packet_facts(look: Look) -> Facts:
    """The outermost IP header of a row."""
    facts: Facts = {
        "version": look.fam, "src": str(address(look.fam, look.src0, look.src1)),
        "dst": str(address(look.fam, look.dst0, look.dst1)), "protocol": protocol(look.proto),
        "length": look.ip_len, "ttl": look.ttl, "dscp": look.tos >> 2, "ecn": look.tos & 3,
    }  # fmt: skip
    if look.proto in (6, 17) and not look.frag & FRAG_LATER:
        facts |= {"sport": look.sport, "dport": look.dport}
    if look.frag & FRAG:
        facts["fragment"] = "later" if look.frag & FRAG_LATER else "first"
    if look.fam == 4:
        facts["df"] = bool(look.frag & FRAG_DF)
    return facts


def packet_text(look: Look) -> str:
    f = packet_facts(look)
    ports = f" port {f['sport']} -> {f['dport']}" if "sport" in f else ""
    return f"IPv{f['version']} {f['src']} -> {f['dst']} {f['protocol']}{ports}, {f['length']} bytes"


# ---------------------------------------------------------------------------------------- stages, in order
def _walk(owner: Any, before: Look, after: Look) -> Said:
    return f"read {after.cap} of {after.wire} bytes from the trace", {"captured": after.cap, "wire": after.wire}


def _parse(owner: Any, before: Look, after: Look) -> Said:
    if after.verdict == drops.Verdict.PUNTED:
        return "not an IP packet: handed to the control plane", {}
    if after.cause:
        return "refused", {}
    way = "INBOUND (ESP, AH or UDP port of NAT traversal)" if after.inbound else "OUTBOUND"
    return f"{packet_text(after)}; on to {way}", {"packet": packet_facts(after)}


def _reassemble(owner: Any, before: Look, after: Look) -> Said:
    if after.verdict == drops.Verdict.CONSUMED:
        return "a fragment for this device: taken in, the rest of its packet is not there yet", {}
    if after.cause:
        return "a fragment for this device, refused", {}
    if after.l3 != before.l3:
        facts = {"fragment": before.ip_len, "size": after.ip_len, "packet": packet_facts(after)}
        return f"the last fragment of a packet for this device: {packet_text(after)}", facts
    known = "; its ports are those of its first fragment" if after.flags & PORTS_KNOWN else ""
    return f"a fragment on its way through{known}", {}


def _pathmtu(owner: Any, before: Look, after: Look) -> Said:
    if after.stop == STOP_MTU:
        return "an ICMP error about a packet of ours: its SA learns a smaller path MTU", {}
    return "an ICMP error about a packet's size, which no SA of ours has sent lately: not believed", {}


def _lookup(owner: Any, before: Look, after: Look) -> Said:
    if after.lv_n > before.lv_n:
        sa, seq, _ = after.levels[-1]
        top, size, where = after.windows[-1]
        facts: Facts = {"level": after.lv_n, "sa": sa_facts(owner, sa), "seq": seq}
        facts["window"] = {"top": top, "size": size, "number": where}
        spi = facts["sa"]["spi"]
        return f"SA {sa} (SPI {spi}), number {seq}: {where} (top {top}, size {size})", facts
    if after.verdict == drops.Verdict.CONSUMED:
        return "NAT keepalive (RFC 3948): consumed", {}
    if after.verdict == drops.Verdict.PUNTED:
        return "IKE on the NAT traversal port: handed to the control plane", {}
    if after.cause:
        return f"SPI 0x{after.spi:08x} refused" if after.spi else "refused", {}
    return "not for an SA of this device: goes on as it is", {}


def _open(owner: Any, before: Look, after: Look) -> Said:
    f = sa_facts(owner, after.c_sa)
    algorithm = f["encr"] if f["integ"] == "none" else f"{f['encr']} and {f['integ']}"
    good = "the ICV verifies" if after.c_ok else "the ICV does not verify"
    facts = {"algorithm": algorithm, "engine": owner.sad.crypto.name, "bytes": after.c_len, "icv_ok": bool(after.c_ok)}
    return f"{good} ({algorithm}, {owner.sad.crypto.name} engine)", facts


def _decap(owner: Any, before: Look, after: Look) -> Said:
    if not after.c_ok:
        return "left as it is: its ICV is wrong", {}
    if after.cause:
        return "decapsulated with a fault, which counts if the replay check passes", {}
    facts = {"size_before": before.ip_len, "size_after": after.ip_len, "packet": packet_facts(after)}
    if after.notes & 1:
        facts["ecn_alarm"] = True
    more = "; it is protected again: next level" if after.inbound else ""
    return f"{before.ip_len} bytes become {after.ip_len}: {packet_text(after)}{more}", facts


def _commit(owner: Any, before: Look, after: Look) -> Said | None:
    if not before.levels:
        return None
    facts = {"levels": [_level(owner, before, after, k) for k in range(len(before.levels))]}
    (sa, seq, _), (top, size, where) = before.levels[0], before.windows[0]
    if not after.cause:
        word = "taken in" if after.verdict == drops.Verdict.CONSUMED else "accepted"
        was = f"it was {where}" if size else "no replay check"
        moved = "; the peer has moved to this SA, and so do we" if owner.tables.t.life["coming"][sa] else ""
        return f"number {seq} of SA {sa} {word}: {was}; top {top} -> {after.windows[0][0]}{moved}", facts
    name = drops.CAUSES[after.cause].name
    if after.cause in (drops.Drop.SA_EXPIRED, drops.Drop.SA_STALE):
        t = owner.tables.t
        return f"refused ({name}): SA {sa} takes nothing more: {_spent(t.life[sa], t.sa_in[sa])}", facts
    return f"refused ({name}): number {seq} of SA {sa} is {where} (top {top}, size {size})", facts


def _level(owner: Any, before: Look, after: Look, k: int) -> Facts:
    sa, seq, ok = before.levels[k]
    top, size, where = before.windows[k]
    spi = f"0x{int(owner.tables.t.sa['spi'][sa]):08x}"
    window = {"size": size, "number": where, "top_before": top, "top_after": after.windows[k][0]}
    return {"sa": sa, "spi": spi, "seq": seq, "icv_ok": ok == LV_OPENED, "window": window}


def _join(owner: Any, before: Look, after: Look) -> Said | None:
    if after.cause or before.verdict:
        return None
    if owner.tables.t.ctl[CTL_MODE] == MODE_ROUTER:
        return ("the decapsulated packet goes on to OUTBOUND", {}) if before.levels else None
    if after.n_out:
        return ("written out" if before.levels else "clear packet, kept"), {}
    return "clear packet, not written (--keep-clear would)", {}


def _tunnel(owner: Any, before: Look, after: Look) -> Said:
    if after.cause:
        return f"{before.ip_len} bytes cannot pass the tunnel", {}
    if after.verdict == drops.Verdict.PUNTED:
        return "handed to the control plane", {}
    if after.verdict == drops.Verdict.CONSUMED:
        return "a fragment of a GRE packet: taken in, the rest is not there yet", {}
    facts: Facts = {"size_before": before.ip_len, "sizes": after.pieces, "packet": packet_facts(after)}
    names = owner.interfaces.names
    if before.out_if >= 0 and owner.tables.t.ifs["kind"][before.out_if] == IF_GRE:
        facts["tunnel"] = names[before.out_if]
        cut = f" in {len(after.pieces)} fragments" if len(after.pieces) > 1 else ""
        return f"enters {facts['tunnel']}{cut}: {packet_text(after)}", facts
    facts["tunnel"] = interface_name(owner, after.vif)
    return f"comes out of {facts['tunnel']}: {packet_text(after)}", facts


def _plan(owner: Any, before: Look, after: Look) -> Said | None:
    if after.cause == drops.Drop.FRAG_NEEDED:
        return f"{before.ip_len} bytes, and at most {after.mtu} may be protected here", {"mtu": after.mtu}
    if after.cause:
        return "cannot be protected as it is", {}
    if len(after.pieces) > len(before.pieces):
        sizes = " + ".join(str(size) for size in after.pieces)
        return f"fragmented before encryption: {before.ip_len} bytes become {sizes}", {"sizes": after.pieces}
    if after.lim:
        facts = {"path_mtu": after.lim}
        return f"too long for a path of {after.lim} bytes once protected: fragmented after encryption", facts
    return None


def _icmp(owner: Any, before: Look, after: Look) -> Said:
    error = next((row for row in after.chain if row["flags"] & IS_ERROR), None)
    if error is None:
        return "no ICMP error: rate limit, `no ip unreachables`, or nobody to tell", {}
    to = address(error["fam"], error["dst0"], error["dst1"])
    facts = {"type": error["sport"], "code": error["dport"], "to": str(to), "mtu": after.mtu}
    told = f", MTU {after.mtu}" if after.mtu else ""
    return f"ICMP type {error['sport']} code {error['dport']} to {to}{told}", facts


def _compress(owner: Any, before: Look, after: Look) -> Said | None:
    if not owner.tables.t.sa["comp"][after.sa]:
        return None
    if not after.nxt:
        return f"LZS does not make {before.ip_len} bytes smaller", {}
    sizes = {"size_before": before.ip_len, "size_after": after.ip_len}
    return f"LZS: {before.ip_len} bytes become {after.ip_len}", sizes


def _arrival(owner: Any, before: Look) -> str:
    """What the inbound policy says of a packet that it lets pass."""
    if not before.levels:
        return "came in clear, as the policy allows"
    if not owner.tables.t.sa["checks"][before.sa]:
        return "the SA of a tunnel interface carries any traffic"
    sp = int(owner.tables.t.sa["sp"][before.sa])
    entry = entry_facts(owner, sp)
    return f"it is what its SA may carry: {entry['where'] if entry else sp}"


def _spd(owner: Any, before: Look, after: Look) -> Said:
    if after.cause in (drops.Drop.NOT_IPSEC, drops.Drop.POLICY_MISMATCH):
        return "refused by the inbound policy", {}
    said, facts = _outbound(owner, before, after)
    facts["arrival"] = _arrival(owner, before)
    return f"{facts['arrival']}; {said}" if before.levels else said, facts


def _outbound(owner: Any, before: Look, after: Look) -> Said:
    facts: Facts = {"route": _route(owner, before, after), "egress": interface_name(owner, after.out_if)}
    entry = entry_facts(owner, after.sp) if after.sp >= 0 else None
    facts["entry"] = entry
    if after.verdict == drops.Verdict.PUNTED:
        return "for this router itself: handed to the control plane", facts
    way = f"route {facts['route']}, egress {facts['egress']}" if facts["route"] else "no route"
    if after.cause == drops.Drop.HELD_DOWN:
        facts["held"] = _held(owner, before, facts["egress"])
        return f"held down: {facts['held']}", facts
    if after.cause:
        at = f"; {entry['where']}: {entry['rule']}" if entry else ""
        return f"{way}{at}", facts
    if entry is None:
        return f"{way}; no entry asks for protection: sent in clear", facts
    facts["sa"] = sa_facts(owner, after.sa)
    return f"{way}; {entry['where']}: {entry['rule']}; SA {after.sa} (SPI {facts['sa']['spi']})", facts


def _held(owner: Any, before: Look, egress: str) -> str:
    """Why a packet may not go where it would."""
    held = owner.config.held.interfaces
    name = egress if egress in held else interface_name(owner, before.in_if)
    return f"{name}: {held[name]}" if name in held else "the route of its own was refused"


def _route(owner: Any, before: Look, after: Look) -> str | None:
    """The prefix that the destination matches, as the control plane's copy of the routes has it."""
    vrf = int(owner.tables.t.ifs["vrf"][after.vif if after.vif >= 0 else after.in_if])
    found = owner.routing.lookup(address(before.fam, before.dst0, before.dst1), vrf)
    return None if found is None else f"{found.prefix}{' (local)' if found.local else ''}"


def _forward(owner: Any, before: Look, after: Look) -> Said:
    name = "TTL" if before.fam == 4 else "hop limit"
    if after.cause == drops.Drop.FRAG_NEEDED:
        return f"{before.ip_len} bytes, and the line takes {after.mtu}", {"mtu": after.mtu}
    if after.cause:
        return f"{name} {before.ttl} would reach zero", {"ttl": before.ttl}
    facts: Facts = {"ttl_before": before.ttl, "ttl_after": after.ttl}
    if after.lim:
        facts["mtu"] = after.lim
        return f"{name} {before.ttl} -> {after.ttl}; longer than the line's {after.lim} bytes: fragmented", facts
    return f"{name} {before.ttl} -> {after.ttl}", facts


def _sequence(owner: Any, before: Look, after: Look) -> Said:
    t = owner.tables.t
    if after.cause == drops.Drop.SEQ_OVERFLOW:
        return f"SA {after.sa} has no number left (last {int(t.life['last_seq'][after.sa])})", {}
    if after.cause:
        return f"SA {after.sa} sends nothing more: {_spent(t.life[after.sa], t.sa_out[after.sa])}", {}
    facts = {"sa": after.sa, "seq": after.seq, "ip_id": after.ip_id, "next_seq": int(t.sa_out["next_seq"][after.sa])}
    follows = ""
    if after.sa != before.sa:
        facts["follows"] = before.sa
        follows = f"SA {before.sa} has reached its soft limit ({_spent(t.life[before.sa], t.sa_out[before.sa])}); "
    outer = int(t.sa["next"][after.sa])
    if outer < 0:
        return f"{follows}number {after.seq} of SA {after.sa}, IP identification {after.ip_id}", facts
    facts |= {"ah_sa": outer, "ah_seq": after.seq2}
    return f"{follows}numbers {after.seq} of SA {after.sa} and {after.seq2} of SA {outer} (AH)", facts


def _spent(life: Any, state: Any) -> str:
    """What an SA has carried, and why it ends."""
    if life["stale"]:
        return "it was made before multi-sn was switched, and waits to be cleared"
    return f"{int(state['packets']):,} packets, {int(state['bytes']):,} bytes"


def _encap(owner: Any, before: Look, after: Look) -> Said:
    if after.cause:
        return f"{before.ip_len} bytes cannot be encapsulated", {}
    f = sa_facts(owner, after.sa)
    facts = {
        "size_before": before.ip_len,
        "size_after": after.ip_len,
        "mode": f["mode"],
        "src": f["src"],
        "dst": f["dst"],
    }
    return f"{f['mode']} mode {f['src']} -> {f['dst']}: {before.ip_len} bytes become {after.ip_len}", facts


def _seal(owner: Any, before: Look, after: Look) -> Said:
    f = sa_facts(owner, after.c_sa)
    algorithm = f["encr"] if f["integ"] == "none" else f"{f['encr']} and {f['integ']}"
    return (f"{after.c_len} bytes sealed with {algorithm} ({owner.sad.crypto.name} engine)",
            {"algorithm": algorithm, "engine": owner.sad.crypto.name, "bytes": after.c_len})  # fmt: skip


def _seal_ah(owner: Any, before: Look, after: Look) -> Said:
    f = sa_facts(owner, after.c_sa)
    return (f"AH of SA {after.c_sa} (SPI {f['spi']}): {f['integ']} over {after.ip_len} bytes",
            {"algorithm": f["integ"], "engine": owner.sad.crypto.name, "sa": f})  # fmt: skip


def _reserve(owner: Any, before: Look, after: Look) -> Said | None:
    if after.first_out < 0:
        return None
    records = int(owner.tables.t.ctl[CTL_OUT_SEQ]) - after.first_out
    name = "record" if records == 1 else f"records {after.first_out} to"
    facts = {"first_out": after.first_out, "n_out": records}
    return f"output {name} {after.first_out + records - 1}", facts


def _deliver(owner: Any, before: Look, after: Look) -> Said:
    word = drops.Verdict(after.verdict).name.lower()
    return (f"{word}: {drops.CAUSES[after.cause].name}" if after.cause else word), {}


DECIDERS: dict[str, Callable[[Any, Look, Look], Said | None]] = {
    "walk": _walk, "parse": _parse, "reassemble": _reassemble, "pathmtu": _pathmtu, "tunnel": _tunnel, "icmp": _icmp,
    "compress": _compress, "lookup": _lookup, "open": _open, "decap": _decap, "commit": _commit,
    "join": _join, "spd": _spd, "forward": _forward, "plan": _plan, "sequence": _sequence, "encap": _encap,
    "seal": _seal, "seal_ah": _seal_ah, "reserve": _reserve, "deliver": _deliver,
}  # fmt: skip


def decide(stage: str, owner: Any, before: Look, after: Look) -> Facts | None:
    """What a stage decided: {stage, decision, drop?, …facts}; None where it had nothing to do with the frame."""
    decider = DECIDERS.get(stage)
    said = decider(owner, before, after) if decider else None
    if said is None:
        return None
    text, facts = said
    dropped = after.verdict == drops.Verdict.DROPPED and before.verdict != drops.Verdict.DROPPED
    step: Facts = {"stage": stage, "decision": text}
    if dropped and stage != "deliver":
        step["drop"] = cause_facts(after.cause)
        step["decision"] = f"{text}: {step['drop']['sentence']}" if text else step["drop"]["sentence"]
    return {**step, "facts": facts}


# --------------------------------------------------------------------------------------------------- the frame
def frame_facts(owner: Any, p: Any, batch: Any) -> Facts:
    """Which frame it was."""
    return {
        "frame": int(batch.frame_no[0]), "ts": int(batch.ts[0]), "time": moment(int(batch.ts[0])),
        "link": LINKS.get(int(batch.link[0]), f"link type {int(batch.link[0])}"), "captured": int(batch.length[0]),
        "wire": int(batch.wire[0]), "in_if": interface_name(owner, int(p.in_if[0])),
    }  # fmt: skip


def sent_of(p: Any) -> int:
    """Bytes of IP that left for row 0: its packet or the fragments of it, and the rows behind it."""
    total, r = 0, 0
    while r >= 0:
        if p.n_out[r] > 0:
            total += int(p.ip_len[r]) if p.n_out[r] == 1 else int(sent_bytes(p, r))
        r = int(p.more[r])
    return total


def outcome(owner: Any, p: Any) -> Facts:
    """What became of it: the verdict row in words."""
    cause, sa = int(p.cause[0]), int(p.sa[0])
    sent = sent_of(p)
    bundle = sa >= 0 and int(p.lv_n[0]) == 0 and int(owner.tables.t.sa["next"][sa]) >= 0
    return {
        "verdict": drops.Verdict(int(p.verdict[0])).name.lower(), "cause": cause_facts(cause) if cause else None,
        "stage": STAGE_NAMES[int(p.stage[0])], "out_if": interface_name(owner, int(p.out_if[0])),
        "sa": sa_facts(owner, sa) if sa >= 0 else None, "spi": f"0x{int(p.spi[0]):08x}" if p.spi[0] else None,
        "seq": int((p.seq2 if bundle and p.seq[0] else p.seq)[0]), "len_out": sent,
        "first_out": int(p.first_out[0]),
    }  # fmt: skip
