"""Sentences of `tunnel`: what comes out of GRE tunnels, what goes into them, and where it goes from there."""

from collections.abc import Iterator

from qfp.control.device import Device
from qfp.explain import policy
from qfp.explain.look import Frame, Header, Row, header_of, packet_facts, packet_text
from qfp.explain.words import Facts, Said, hop_name, interface_name, sa_facts, sa_name
from qfp_kernels import drops
from qfp_kernels.layout import FROM_GRE, IF_GRE, ORIGIN

Drop, Verdict = drops.Drop, drops.Verdict
GRE = 47
CHECKSUM, KEY, SEQUENCE = 0x8000, 0x2000, 0x1000


def _layers(packet: bytes) -> Iterator[tuple[Header, int, bytes]]:
    """(delivery header, key, what is inside) of the GRE layers of a packet, the outermost first."""
    while True:
        header = header_of(packet)
        if header is None or header.proto != GRE or len(packet) < header.size + 4:
            return
        flags = int.from_bytes(packet[header.size : header.size + 2])
        at = header.size + 4 + 4 * bool(flags & CHECKSUM)
        key = int.from_bytes(packet[at : at + 4]) if flags & KEY else 0
        packet = packet[at + 4 * bool(flags & KEY) + 4 * bool(flags & SEQUENCE) :]
        yield header, key, packet


def _tunnel_of(owner: Device, near: int, far: int, key: int, among: set[int]) -> int:
    """Interface row of the tunnel with these ends and this key."""
    for tun in owner.tables.t.tun:
        ends = (int(tun["src0"]) << 64 | int(tun["src1"]), int(tun["dst0"]) << 64 | int(tun["dst1"]))
        if ends == (near, far) and int(tun["key"]) == key and int(tun["iface"]) in among:
            return int(tun["iface"])
    return -1


def _moved(before: tuple[int, ...], after: tuple[int, ...]) -> set[int]:
    return {k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}


def tunnel(owner: Device, before: Frame, after: Frame) -> list[tuple[int, Said]]:
    """(row, sentence) of the frame's packet, and of each piece of it that enters a tunnel."""
    entered, left = _moved(before.entered, after.entered), _moved(before.left, after.left)
    found = [(0, _first(owner, before, after, entered, left))]
    found += [(r, _enters(owner, after.rows[r], entered)) for r in after.rows
              if r not in before.rows and not after.rows[r].is_error]  # fmt: skip
    return found


def _first(owner: Device, before: Frame, after: Frame, entered: set[int], left: set[int]) -> Said:
    was, row = before.first, after.first
    if row.verdict == Verdict.CONSUMED:
        return "a fragment of a GRE packet: taken in, the rest is not there yet", {}
    parts: list[str] = []
    facts: Facts = {}
    if left:
        said, facts = _leaves(owner, was, row, left)
        parts.append(said)
    into = row.flags & ORIGIN
    if into:
        said, more = _enters(owner, row, entered)
        return "; ".join([*parts, said]), facts | more
    if drops.STAGES[row.stage] == "tunnel" and (row.cause or row.verdict == Verdict.PUNTED):
        said, more = _ends(owner, was, row, left)
        return "; ".join([*parts, said]), facts | more
    if row.cause == Drop.TTL_EXPIRED:
        parts.append(f"{hop_name(row.fam)} {row.ttl} would reach zero at {interface_name(owner, row.out_if)}")
        return "; ".join(parts), facts | {"ttl": row.ttl, "tunnel": interface_name(owner, row.out_if)}
    if row.cause in (Drop.NOT_IPSEC, Drop.POLICY_MISMATCH):
        said, more = policy.refusal(owner, row)
    elif row.cause == Drop.MARTIAN:
        said, more = policy.MARTIAN, {}
    elif row.cause == Drop.HELD_DOWN:
        said, more = policy.held(owner, row)
    else:
        said, more = policy.outbound(owner, row, policy.vrf_of(owner, row))
    return "; ".join([*parts, said]), facts | more


def _leaves(owner: Device, was: Row, row: Row, left: set[int]) -> Said:
    """The packet came out of tunnels, the outermost first."""
    rows = [_tunnel_of(owner, header.dst, header.src, key, left) for header, key, _ in _layers(was.packet)]
    names = [interface_name(owner, k) for k in rows if k >= 0]
    names = names if len(names) == len(left) else [interface_name(owner, k) for k in sorted(left)]
    facts: Facts = {"left": names, "size_before": was.ip_len}
    if row.flags & FROM_GRE and not row.flags & ORIGIN:
        facts["packet"] = packet_facts(row)
        return f"{was.ip_len} bytes come out of {' and '.join(names)}: {packet_text(row)}", facts
    return f"{was.ip_len} bytes come out of {' and '.join(names)}", facts


def _enters(owner: Device, row: Row, entered: set[int]) -> Said:
    """A row that is the GRE packet of a tunnel now: the hop of what is inside, its header, its policy."""
    t = owner.tables.t
    names: list[str] = []
    inside = None
    for header, key, inner in _layers(row.packet):
        into = _tunnel_of(owner, header.src, header.dst, key, entered)
        if into < 0:
            break
        names.insert(0, interface_name(owner, into))
        inside = header_of(inner)
    facts: Facts = {"entered": names, "packet": packet_facts(row)}
    said = ""
    if inside is not None:
        facts |= {"ttl_before": inside.ttl + 1, "ttl_after": inside.ttl, "size_inside": inside.length}
        said = f"{hop_name(inside.family)} {inside.ttl + 1} -> {inside.ttl}, {inside.length} bytes; "
    said += f"enters {' and '.join(names)}: {packet_text(row)}, outer {hop_name(row.fam)} {row.ttl}"
    if row.cause and drops.STAGES[row.stage] == "tunnel" and row.cause != Drop.NO_SA_OUT:
        return said, facts
    tun = int(t.sp["tun"][row.sp]) if row.sp >= 0 else -1
    if tun < 0 or int(t.ifs["kind"][tun]) != IF_GRE:
        way, more = policy.outbound(owner, row, _front_door(owner, entered))
        return f"{said}; {way}", facts | more
    entry = policy.entry_facts(owner, row.sp)
    facts |= {"entry": entry, "egress": interface_name(owner, row.out_if)}
    said += f"; egress {facts['egress']}" + (f"; {entry['where']}: {entry['rule']}" if entry else "")
    if row.sa < 0:
        return said, facts
    facts["sa"] = sa_facts(owner, row.sa)
    return f"{said}; {sa_name(owner, row.sa)}", facts


def _front_door(owner: Device, entered: set[int]) -> int:
    """Routing table in which the packets of the tunnels that were entered are routed."""
    rows = [tun for tun in owner.tables.t.tun if int(tun["iface"]) in entered]
    return int(rows[-1]["vrf"]) if rows else 0


def _ends(owner: Device, was: Row, row: Row, left: set[int]) -> Said:
    """The packet ends in this stage."""
    if row.verdict == Verdict.PUNTED:
        return "GRE that carries neither IPv4 nor IPv6 (a keepalive): handed to the control plane", {}
    if row.cause == Drop.FRAG_NEEDED:
        name = interface_name(owner, row.out_if)
        return f"{row.ip_len} bytes, and {name} takes {row.mtu}", {"size": row.ip_len, "mtu": row.mtu, "tunnel": name}
    if row.cause in (Drop.NOT_IPSEC, Drop.POLICY_MISMATCH):
        return "the tunnel is protected, and this GRE packet did not come by its SA", {}
    if row.cause == Drop.IF_DOWN and row.out_if >= 0:
        name = interface_name(owner, row.out_if)
        return f"{name} is down", {"tunnel": name}
    return "refused", {}
