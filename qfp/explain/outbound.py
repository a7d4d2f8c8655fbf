"""Sentences of the stages behind `join`: where a packet goes, by which SA, how long it is, what leaves.

Most of these stages work on rows: the packet, its pieces, an ICMP error. Each row has a sentence of its own.
"""

from qfp.control import classes
from qfp.control.device import Device, plane_of
from qfp.explain import lives, policy
from qfp.explain.look import Frame, Row, header_of
from qfp.explain.words import (
    Facts,
    Said,
    address,
    algorithm,
    engine_name,
    hop_name,
    interface_name,
    profile_of,
    sa_facts,
    sa_name,
)
from qfp_kernels import drops
from qfp_kernels.compress import WORTH
from qfp_kernels.layout import CTL_OUT_SEQ, CTL_SNS_BITS, ERR_BIG, ERR_TTL, ORIGIN

Drop, Verdict = drops.Drop, drops.Verdict
GRE, UDP, ICMP, ICMP6 = 47, 17, 1, 58


# --------------------------------------------------------------------------------------------------------- spd
def spd(owner: Device, before: Frame, after: Frame) -> Said:
    row = after.first
    if row.cause in (Drop.NOT_IPSEC, Drop.POLICY_MISMATCH):
        return policy.refusal(owner, row)
    if row.cause == Drop.MARTIAN:
        return policy.MARTIAN, {}
    if row.cause == Drop.HELD_DOWN:
        return policy.held(owner, row)
    said, facts = policy.outbound(owner, row, policy.vrf_of(owner, row))
    if after.tunnels and "tunnel" not in facts:
        said += ": GRE for this router itself"
    arrival, more = policy.arrival(owner, row)
    facts |= {"arrival": arrival} | more
    return (f"{arrival}; {said}" if row.levels and not row.cause else said), facts


# ----------------------------------------------------------------------------------------------- hop and sizes
def forward(owner: Device, before: Frame, after: Frame, r: int) -> Said:
    was, row = before.rows[r], after.rows[r]
    name = hop_name(was.fam)
    if row.cause == Drop.TTL_EXPIRED:
        return f"{name} {was.ttl} would reach zero", {"ttl": was.ttl}
    facts: Facts = {"ttl_before": was.ttl, "ttl_after": row.ttl}
    hop = f"{name} {was.ttl} -> {row.ttl}"
    if was.flags & ORIGIN:
        facts, hop = {"ttl": row.ttl}, f"outer {name} {row.ttl}: this router's own packet has made no hop"
    if row.cause == Drop.FRAG_NEEDED:
        mtu = int(owner.tables.t.ifs["mtu4" if was.fam == 4 else "mtu6"][row.out_if])
        return f"{hop}; {was.ip_len} bytes, and the line takes {mtu}", {**facts, "mtu": mtu, "size": was.ip_len}
    if after.mss > before.mss and r == before.tx[0]:
        facts["mss_lowered"] = True
        hop += "; the MSS of TCP is lowered"
    if row.lim and row.verdict:
        facts["mtu"] = row.lim
        return f"{hop}; longer than the line's {row.lim} bytes: fragmented", facts
    return hop, facts


def plan(owner: Device, before: Frame, after: Frame, r: int) -> Said | None:
    was, row = before.rows[r], after.rows[r]
    if row.cause == Drop.FRAG_NEEDED:
        if was.ip_len > row.mtu:
            sizes = {"size": was.ip_len, "mtu": row.mtu}
            return f"{was.ip_len} bytes, and at most {row.mtu} may be protected here", sizes
        path = int(owner.tables.t.sa["path_mtu"][row.sa])  # under what every link must carry, of which errors tell
        return f"{was.ip_len} bytes are too long for a path of {path} bytes once protected", {
            "size": was.ip_len, "path_mtu": path,
        }  # fmt: skip
    if row.cause:
        return "cannot be protected as it is", {}
    pieces = [row.ip_len, *(after.rows[k].ip_len for k in _new_behind(before, after, r))]
    if len(pieces) > 1:
        text = " + ".join(map(str, pieces))
        return f"fragmented before encryption: {was.ip_len} bytes become {text}", {"size": was.ip_len, "sizes": pieces}
    if not row.lim:
        return None
    comp = owner.tables.t.sa["comp"][row.sa]
    end = "fragmented after encryption" + (" if compression does not make it fit" if comp else "")
    return f"too long for a path of {row.lim} bytes once protected: {end}", {"path_mtu": row.lim}


def _new_behind(before: Frame, after: Frame, r: int) -> list[int]:
    """Rows that were made behind row r."""
    order = list(after.rows)
    found = []
    for k in order[order.index(r) + 1 :]:
        if k in before.rows or (k != 0 and after.rows[k].is_error and not after.rows[r].is_error):
            break
        found.append(k)
    return found


# --------------------------------------------------------------------------------------------------- ICMP errors
def icmp(owner: Device, before: Frame, after: Frame) -> Said:
    made = [row for r, row in after.rows.items() if r and row.is_error and r not in before.rows]
    if not made:
        return _silence(owner, before, after)
    error = made[0]
    header, packet = header_of(error.packet), error.packet
    while header is not None and header.proto == GRE:  # it is in a tunnel already
        packet = packet[header.size + _gre_size(packet[header.size :]) :]
        header = header_of(packet)
    assert header is not None and header.proto in (ICMP, ICMP6)
    kind, code = packet[header.size], packet[header.size + 1]
    to = str(address(header.family, header.dst >> 64, header.dst & policy.LOW))
    facts: Facts = {"type": kind, "code": code, "to": to}
    said = f"ICMP type {kind} code {code} to {to}"
    if (header.family, kind, code) in ((4, 3, 4), (6, 2, 0)):
        at = header.size + (6 if header.family == 4 else 4)
        facts["mtu"] = int.from_bytes(packet[at : header.size + 8])
        said += f", MTU {facts['mtu']}"
    if error.verdict == Verdict.DROPPED:
        facts["lost"] = drops.CAUSES[error.cause].name
        return f"{said}: cannot be sent ({facts['lost']})", facts
    if error.verdict == Verdict.PUNTED:
        return f"{said}: to this router itself, not sent", facts
    facts["egress"] = interface_name(owner, error.out_if)
    if error.sa >= 0:
        facts["sa"] = sa_facts(owner, error.sa)
        return f"{said}, egress {facts['egress']}, by {sa_name(owner, error.sa)}", facts
    return f"{said}, egress {facts['egress']}", facts


def _gre_size(upper: bytes) -> int:
    flags = upper[0] << 8
    return 4 + 4 * bool(flags & 0x8000) + 4 * bool(flags & 0x2000) + 4 * bool(flags & 0x1000)


def _silence(owner: Device, before: Frame, after: Frame) -> Said:
    """Why nobody is told."""
    if after.limited > before.limited:
        return "no ICMP error: the rate limit holds it back", {}
    row = next(row for row in before.rows.values() if row.icmp)
    at = row.vif if row.vif >= 0 else row.in_if
    port, name = owner.tables.t.ifs[at], interface_name(owner, at)
    if row.fam == 4:
        silent, own = not port["errors4"] and row.icmp != ERR_TTL, bool(port["own4"])
    else:
        silent, own = not port["errors6"] and row.icmp not in (ERR_TTL, ERR_BIG), bool(port["own6h"] or port["own6l"])
    if not own:
        return f"no ICMP error: {name} has no IPv{row.fam} address to send it from", {}
    if silent:
        return f"no ICMP error: {name} has no unreachables configured", {}
    if row.flags & ORIGIN:
        return "no ICMP error: this router made the packet itself", {}
    return "no ICMP error: none is sent about an error, a later fragment, or a packet that is not from one host", {}


# ------------------------------------------------------------------------------------------- queues and numbers
def queue(owner: Device, before: Frame, after: Frame, r: int) -> Said | None:
    t, row = owner.tables.t, after.rows[r]
    tun = int(t.sp["tun"][row.sp]) if row.sp >= 0 else -1
    port = tun if tun >= 0 and t.ifs["policy"][tun] >= 0 else row.out_if
    if port < 0 or t.ifs["policy"][port] < 0:
        return None
    name = interface_name(owner, port)
    config = plane_of(owner).config
    found = config.policy_maps[config.interfaces[name].service_policy_out or ""]
    named = classes.queue_names(config, found)[row.cls]
    facts: Facts = {"policy": found.name, "interface": name, "class": named, "queue": row.cls, "dscp": row.tos >> 2}
    said = f"DSCP {row.tos >> 2} is class {named} of {found.name} on {name}: queue {row.cls}"
    if row.sa >= 0 and int(t.sa_out["sns_at"][row.sa]) >= 0:
        facts["space"] = row.cls & ((1 << int(t.ctl[CTL_SNS_BITS])) - 1)
        said += f", sequence-number space {facts['space']}"
    return said, facts


def sequence(owner: Device, before: Frame, after: Frame, r: int) -> Said:
    was, row = before.rows[r], after.rows[r]
    t = owner.tables.t
    if row.cause == Drop.SEQ_OVERFLOW:
        where = f"space {row.sns} of SA {row.sa}" if int(t.sa_out["sns_at"][row.sa]) >= 0 else f"SA {row.sa}"
        return f"{where} has no number left", {}
    if row.cause:
        return f"{sa_name(owner, row.sa)} sends nothing more: {lives.ending(owner, row.sa, t.sa_out[row.sa])}", {}
    facts: Facts = {"sa": row.sa, "seq": row.seq}
    said = f"number {row.seq} of SA {row.sa}"
    outer = int(t.sa["next"][row.sa])
    if outer >= 0:
        facts |= {"ah_sa": outer, "ah_seq": row.seq2}
        said = f"numbers {row.seq} of SA {row.sa} and {row.seq2} of SA {outer} (AH)"
    if int(t.sa_out["sns_at"][row.sa]) >= 0:
        facts["space"] = row.sns
        said += f", space {row.sns}"
    if profile_of(owner, row.sa).family == 4 and profile_of(owner, row.sa).mode == "tunnel":
        facts["ip_id"] = row.ip_id  # IPv6 has none, and transport mode keeps the packet's own
        said += f", IP identification {row.ip_id}"
    return _followed(owner, was, row, said, facts)


def _followed(owner: Device, was: Row, row: Row, said: str, facts: Facts) -> Said:
    """Why it is this SA, where it is not the first of its pair."""
    t = owner.tables.t
    if row.sa != was.sa:
        life, state = t.life[was.sa], t.sa_out[was.sa]
        reason = lives.soft_reason(life, state)
        facts |= {"follows": was.sa, "limit": reason, "packets": int(state["packets"]), "bytes": int(state["bytes"])}
        carried = lives.spent(life, state)
        return f"SA {was.sa} has reached its soft limit ({carried}) of {reason}; {said}", facts
    before = lives.predecessor(owner, row.sa)
    if before is None:
        return said, facts
    facts["predecessor"] = before
    return f"{said}; {lives.predecessor_text(owner, row.sa, before)}", facts


# ------------------------------------------------------------------------------------------------------ headers
def compress(owner: Device, before: Frame, after: Frame, r: int) -> Said | None:
    was, row = before.rows[r], after.rows[r]
    if not owner.tables.t.sa["comp"][row.sa]:
        return None
    sizes = {"size_before": was.ip_len, "size_after": row.ip_len}
    if row.nxt:
        return f"LZS: {was.ip_len} bytes become {row.ip_len}", sizes
    return f"LZS leaves {was.ip_len} bytes as they are: under {WORTH} bytes of payload, or not made smaller", {
        "size": was.ip_len, "worth": WORTH,
    }  # fmt: skip


def encap(owner: Device, before: Frame, after: Frame, r: int) -> Said:
    was, row = before.rows[r], after.rows[r]
    f = sa_facts(owner, row.sa)
    facts: Facts = {"size_before": was.ip_len, "size_after": row.ip_len, "mode": f["mode"], "src": f["src"],
                    "dst": f["dst"]}  # fmt: skip
    said = f"{f['mode']} mode {f['src']} -> {f['dst']}"
    header = header_of(row.packet)
    if header is not None and f["mode"] == "tunnel":
        facts["outer_ttl"] = header.ttl
        said += f", outer {hop_name(header.family)} {header.ttl}"
    if header is not None and header.proto == UDP and f["natt"] is not None:
        facts["udp"] = [int.from_bytes(row.upper[k : k + 2]) for k in (0, 2)]
        said += f", in UDP {facts['udp'][0]} -> {facts['udp'][1]}"
    return f"{said}: {was.ip_len} bytes become {row.ip_len}", facts


def seal(owner: Device, before: Frame, after: Frame, r: int) -> Said:
    row = after.rows[r]
    how, engine = algorithm(owner, row.c_sa), engine_name(owner, row.c_sa, True)
    return (f"{row.c_len} bytes sealed with {how} ({engine} engine)",
            {"algorithm": how, "engine": engine, "bytes": row.c_len})  # fmt: skip


def seal_ah(owner: Device, before: Frame, after: Frame, r: int) -> Said:
    row = after.rows[r]
    how, engine = algorithm(owner, row.c_sa), engine_name(owner, row.c_sa, True)
    return (f"AH of {sa_name(owner, row.c_sa)}: {how} over {row.ip_len} bytes ({engine} engine)",
            {"algorithm": how, "engine": engine, "bytes": row.ip_len, "sa": sa_facts(owner, row.c_sa)})  # fmt: skip


# ------------------------------------------------------------------------------------------------------- output
def reserve(owner: Device, before: Frame, after: Frame) -> Said | None:
    row = after.first
    if row.first_out < 0:
        return None
    records = int(owner.tables.t.ctl[CTL_OUT_SEQ]) - row.first_out
    facts: Facts = {"first_out": row.first_out, "n_out": records}
    sent = [each for each in after.rows.values() if each.n_out > 0]
    what = ": the ICMP error" if all(each.is_error for each in sent[0:]) and not row.n_out else ""
    if records == 1:
        return f"output record {row.first_out}{what}", facts
    return f"output records {row.first_out} to {row.first_out + records - 1}{what}", facts


def deliver(owner: Device, before: Frame, after: Frame) -> Said:
    row = after.first
    word = Verdict(row.verdict).name.lower()
    return (f"{word}: {drops.CAUSES[row.cause].name}" if row.cause else word), {}
