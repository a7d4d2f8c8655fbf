"""Sentences of the stages up to `join`: what was read, and what became of it as it was opened."""

from typing import Any

from qfp.control.device import Device
from qfp.explain import lives
from qfp.explain.look import Frame, Row, packet_facts, packet_text
from qfp.explain.words import Facts, Said, address, algorithm, engine_name, profile_of, protocol, sa_facts, sa_name
from qfp_kernels import drops
from qfp_kernels.decap import DUMMY
from qfp_kernels.layout import (
    CTL_MODE,
    CTL_VFR_MASK,
    FRAG,
    MODE_ROUTER,
    NOTE_ECN,
    NOTE_EXPANDED,
    PORTS_KNOWN,
    STOP_MTU,
)

Drop, Verdict = drops.Drop, drops.Verdict
ESP, AH, UDP = 50, 51, 17
OPENED, REFUSED = 1, 2  # lv_ok
ENDED = (Drop.SA_EXPIRED, Drop.SA_STALE)


def _decrypts(owner: Device) -> bool:
    """With key files alone: no routes, no policy."""
    return bool(owner.tables.t.ctl[CTL_MODE] != MODE_ROUTER)


def walk(owner: Device, before: Frame, after: Frame) -> Said:
    row = after.first
    return f"read {row.cap} of {row.wire} bytes from the trace", {"captured": row.cap, "wire": row.wire}


def parse(owner: Device, before: Frame, after: Frame) -> Said:
    row = after.first
    if row.verdict == Verdict.PUNTED:
        return "no IP packet: handed to the control plane", {}
    if row.cause:
        return "refused", {}
    facts = {"packet": packet_facts(row)}
    if row.frag & FRAG:
        return packet_text(row), facts
    way = "INBOUND (ESP, AH or UDP port of NAT traversal)" if after.inbound else "OUTBOUND"
    return f"{packet_text(row)}; on to {way}", facts


# ---------------------------------------------------------------------------------------------- fragments, errors
def reassemble(owner: Device, before: Frame, after: Frame) -> Said | None:
    was, row = before.first, after.first
    if row.verdict == Verdict.CONSUMED:
        return "a fragment to be put together here: taken in, the rest of its packet is not there yet", {}
    if row.cause in (Drop.BAD_HEADER, Drop.CUT_SHORT, Drop.BAD_CHECKSUM):
        return "the last fragment of a packet whose headers are malformed", {}
    if row.cause:
        return "a fragment to be put together here, refused", {}
    if row.l3 != was.l3:
        facts = {"fragment": was.ip_len, "size": row.ip_len, "packet": packet_facts(row)}
        return f"a fragment of {was.ip_len} bytes makes its packet whole: {packet_text(row)}", facts
    if row.flags & PORTS_KNOWN:
        ports = {"sport": row.sport, "dport": row.dport}
        return f"a fragment on its way through; port {row.sport} -> {row.dport}, as its first fragment said", ports
    if owner.tables.t.ctl[CTL_VFR_MASK] < 0:
        return "a fragment that is not put together here", {}
    return "a fragment on its way through", {}


def pathmtu(owner: Device, before: Frame, after: Frame) -> Said:
    kind, sa, mtu = after.stop
    if kind == STOP_MTU:
        was = int(owner.tables.t.sa["path_mtu"][sa])
        facts = {"sa": sa_facts(owner, sa), "path_mtu": mtu, "was": was}
        return (
            f"an ICMP error about a packet of {sa_name(owner, sa)}: the SA learns a smaller path MTU, {was} -> {mtu}, "
            "for the packets behind this one"
        ), facts
    return "an ICMP error about a packet's size: it makes no path MTU of an SA of ours smaller", {}


# ------------------------------------------------------------------------------------------------------- lookup
def _outermost(owner: Device, row: Row) -> Facts:
    """SPI and protocol of what a row's packet carries, from its bytes."""
    upper, proto = row.upper, row.proto
    if proto == UDP:
        upper, proto = upper[8:], ESP
    at = 0 if proto == ESP else 4
    if proto not in (ESP, AH) or len(upper) < at + 4:
        return {}
    return {"proto": protocol(proto), "spi": f"0x{int.from_bytes(upper[at : at + 4]):08x}",
            "dst": str(address(row.fam, row.dst0, row.dst1))}  # fmt: skip


def lookup(owner: Device, before: Frame, after: Frame) -> Said:
    was, row = before.first, after.first
    if row.lv_n > was.lv_n:
        return _found(owner, row)
    if row.verdict == Verdict.CONSUMED:
        return "NAT keepalive (RFC 3948): consumed", {}
    if row.verdict == Verdict.PUNTED:
        short = len(row.upper) < 16
        what = "too short for ESP on the NAT traversal port" if short else "IKE on the NAT traversal port"
        return f"{what}: handed to the control plane", {}
    if row.cause != was.cause:
        return _unfit(owner, row)
    if was.lv_n:
        return "what was inside is not for an SA of this device: goes on as it is", {}
    return "not for an SA of this device: goes on as it is", {}


def _found(owner: Device, row: Row) -> Said:
    sa, seq, outcome = row.levels[-1]
    w = row.windows[-1]
    facts: Facts = {"level": row.lv_n, "sa": sa_facts(owner, sa), "seq": seq, "window": _window(w)}
    early = "; refused before it is opened" if outcome == REFUSED else ""
    said = f"{sa_name(owner, sa)}, {_number(seq, w)}: {w.where} (top {w.top}, size {w.size}){early}"
    if life := lives.replaced(owner, sa):
        facts["replaced"] = life
        said += f"; an old SA, {life['what']} at {life['at']}: {life['reason']}"
    return said, facts


def _unfit(owner: Device, row: Row) -> Said:
    """No SA, or not one that can open it. Inside another SA this is tentative until `commit`."""
    facts = _outermost(owner, row)
    what = f"{facts['proto']} SPI {facts['spi']} to {facts['dst']}" if facts else "what it carries"
    if row.lv_n:
        name = drops.CAUSES[row.cause].name
        return f"inside: {what} is refused ({name}), once the SAs around it have been judged", facts
    said = f"{what} refused"
    if row.cause == Drop.NO_SA and facts:
        life = lives.gone(owner, int(facts["spi"], 16), facts["proto"], address(row.fam, row.dst0, row.dst1))
        if life is not None:
            facts["gone"] = life
            said += f": its SA was {life['what']} at {life['at']}, {life['reason']}"
    return said, facts


def _window(w: Any) -> Facts:
    facts: Facts = {"top": w.top, "size": w.size, "number": w.where}
    return facts if w.space is None else {**facts, "space": w.space, "counter": w.counter}


def _number(seq: int, w: Any) -> str:
    """A sequence number; with several spaces, which one of its space it is."""
    return f"number {seq}" if w.space is None else f"number {seq} ({w.counter} of its space)"


# ------------------------------------------------------------------------------------------------- open, decap
def open_(owner: Device, before: Frame, after: Frame) -> Said:
    row = after.first
    profile = profile_of(owner, row.c_sa)
    engine, how = engine_name(owner, row.c_sa, False), algorithm(owner, row.c_sa)
    facts: Facts = {"algorithm": how, "engine": engine, "bytes": row.c_len}
    if not profile.icv_len:
        return f"{row.c_len} bytes opened ({how}, {engine} engine); the SA has no ICV", facts
    facts["icv_ok"] = bool(row.c_ok)
    good = "the ICV verifies" if row.c_ok else "the ICV does not verify"
    return f"{good} ({how} over {row.c_len} bytes, {engine} engine)", facts


def decap(owner: Device, before: Frame, after: Frame) -> Said:
    was, row = before.first, after.first
    if not row.c_ok:
        return "left as it is: its ICV is wrong", {}
    if row.cause == DUMMY:
        return "a dummy packet (next header 59, RFC 4303 2.6), if the replay check passes", {}
    if row.cause != was.cause:
        name = drops.CAUSES[row.cause].name
        return f"its inside is at fault ({name}), which counts if the replay check passes", {"fault": name}
    facts: Facts = {"size_before": was.ip_len, "size_after": row.ip_len, "packet": packet_facts(row)}
    notes = ""
    if row.notes & NOTE_EXPANDED and not was.notes & NOTE_EXPANDED:
        facts["expanded"] = True
        notes += ", expanded by LZS"
    if row.notes & NOTE_ECN and not was.notes & NOTE_ECN:
        facts["ecn_alarm"] = True
        notes += ", with an alarming pair of ECN codepoints (RFC 6040)"
    more = "; a further SA is looked for" if after.inbound else ""
    return f"{was.ip_len} bytes become {row.ip_len}{notes}: {packet_text(row)}{more}", facts


# ----------------------------------------------------------------------------------------------------- select
def select(owner: Device, before: Frame, after: Frame) -> Said | None:
    """What the selectors of a key file say; nothing where they let the packet through or there are none."""
    was, row = before.first, after.first
    if row.cause != Drop.SELECTOR_MISMATCH or was.cause == row.cause:
        return None
    return f"the selectors of {sa_name(owner, row.sa)} do not name it, which counts if the replay check passes", {
        "sa": row.sa
    }


# ------------------------------------------------------------------------------------------------- commit, join
def commit(owner: Device, before: Frame, after: Frame) -> Said | None:
    was, row = before.first, after.first
    if not was.levels:
        return None
    judged = _judged(was, row)
    facts: Facts = {"levels": [_level(owner, was, row, k, judged) for k in range(len(was.levels))]}
    stage = drops.STAGES[row.stage]
    if row.cause and stage == "commit":
        return _refused(owner, was, row, judged), facts
    said = "; ".join(_accepted(owner, was, row, k) for k in range(len(was.levels)))
    if row.verdict == Verdict.CONSUMED and not was.verdict:
        return f"{said}; a dummy packet: consumed", facts
    return (f"{said}; then what was found inside counts", facts) if row.cause else (said, facts)


def _judged(was: Row, row: Row) -> int:
    """How many levels were judged, outermost first: all, or up to the one that was refused."""
    if not row.cause or drops.STAGES[row.stage] != "commit":
        return len(was.levels)
    bad = [k for k, (sa, _, ok) in enumerate(was.levels)
           if sa == row.sa and (row.cause in ENDED or ok != OPENED or was.windows[k].refuses)]  # fmt: skip
    return (bad[0] if bad else len(was.levels) - 1) + 1


def _level(owner: Device, was: Row, row: Row, k: int, judged: int) -> Facts:
    sa, seq, outcome = was.levels[k]
    window = {**_window(was.windows[k]), "top_before": was.windows[k].top, "top_after": row.windows[k].top}
    del window["top"]
    word = "good" if outcome == OPENED else "not looked at" if outcome == REFUSED else "not good"
    if not profile_of(owner, sa).icv_len:
        word = "none"
    verified = {"good": True, "not good": False}.get(word)  # None: not looked at, or there is none
    return {"sa": sa, "spi": f"0x{int(owner.tables.t.sa['spi'][sa]):08x}", "seq": seq, "icv": word,
            "icv_ok": verified, "judged": k < judged, "window": window}  # fmt: skip


def _accepted(owner: Device, was: Row, row: Row, k: int) -> str:
    (sa, seq, _), w = was.levels[k], was.windows[k]
    first = owner.tables.t.life["coming"][sa]
    moved = "; the peer has moved to this SA, and so do we" if first else ""
    how = f"it was {w.where}" if w.size else "no replay check"
    return f"{_number(seq, w)} of {sa_name(owner, sa)} accepted: {how}; top {w.top} -> {row.windows[k].top}{moved}"


def _refused(owner: Device, was: Row, row: Row, judged: int) -> str:
    name = drops.CAUSES[row.cause].name
    (sa, seq, _), w = was.levels[judged - 1], was.windows[judged - 1]
    t = owner.tables.t
    number = f"{_number(seq, w)} of {sa_name(owner, sa)}"
    if row.cause in ENDED:
        return f"refused ({name}): {sa_name(owner, sa)} takes nothing more: {lives.ending(owner, sa, t.sa_in[sa])}"
    if row.cause == Drop.REPLAY:
        return f"refused ({name}): {number} is {w.where} (top {w.top}, size {w.size})"
    return f"refused ({name}): the ICV of {number} is wrong"


def join(owner: Device, before: Frame, after: Frame) -> Said | None:
    was, row = before.first, after.first
    if row.cause or was.verdict:
        return None
    if not _decrypts(owner):
        return ("the decapsulated packet goes on to OUTBOUND", {}) if was.levels else None
    if row.n_out:
        return ("written out" if was.levels else "clear packet, kept"), {}
    return "clear packet, not written (--keep-clear would)", {}
