"""Capture: the packets of a trace through the SAs of a key file.

A clear packet becomes a case of every SA that may carry it; a protected one is opened by both sides.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.diff.cases import Case, Mode
from qfp.diff.client import Job
from qfp.diff.compare import Difference, Judge, Outcome, Report
from qfp.diff.faults import BOTH_OPEN, NATT_PORT, ORACLE_OPENS, fault
from qfp.diff.packet import Packet, PacketError
from qfp.diff.sides import outcomes
from qfp.sa import NATT_ANY, AddressRange, PortRange, SecurityAssociation

LINK_HEADERS = {101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 0: 4, 108: 4, 113: 16, 276: 20}
ETHERNET, TAGS = 1, (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
TCP, UDP, ESP, AH = 6, 17, 50, 51
Numbered = tuple[int, Packet, bytes]  # frame number, packet, its bytes


def ip_packets(batch: Batch) -> Iterator[Numbered]:
    """The IP packets of a batch, without link headers; frames that hold none are passed over."""
    for k in range(len(batch)):
        frame, link = batch.frame(k), int(batch.link[k])
        at = LINK_HEADERS.get(link, -1)
        if link == ETHERNET:
            at = 12
            while frame[at : at + 2] in TAGS:
                at += 4
            at += 2
        try:
            packet = Packet.parse(frame[at:] if at >= 0 else b"")
        except PacketError:
            continue
        yield k, packet, frame[at:]


def spi_of(packet: Packet, natt: bool) -> int | None:
    """The SPI of a protected packet; `natt`: of one in UDP."""
    start = {ESP: 0, AH: 4, UDP: 8 if natt else -1}.get(packet.protocol, -1)
    if start < 0 or packet.is_fragment or len(packet.payload) < start + 8:
        return None
    return int.from_bytes(packet.payload[start : start + 4])


def is_protected(packet: Packet) -> bool:
    """ESP, AH, or what NAT-T carries: never sealed again."""
    natt = packet.protocol == UDP and NATT_PORT.to_bytes(2) in (packet.payload[:2], packet.payload[2:4])
    return natt or packet.protocol in (ESP, AH)


def _within(ports: PortRange | None, value: int | None) -> bool:
    return ports is None or (value is not None and ports[0] <= value <= ports[1])


def _covers(area: AddressRange | None, packet: Packet, address: int) -> bool:
    return area is None or (area.first.version == packet.family and int(area.first) <= address <= int(area.last))


def carries(sa: SecurityAssociation, packet: Packet) -> bool:
    """Whether an SA may carry a clear packet: its selectors, and in transport mode its two ends."""
    if sa.mode == "transport" and packet.addresses() != (sa.src, sa.dst):
        return False
    s = sa.selectors
    if s is None:
        return True
    ports: tuple[int | None, int | None] = (None, None)
    if packet.protocol in (TCP, UDP) and len(packet.payload) >= 4:
        ports = int.from_bytes(packet.payload[:2]), int.from_bytes(packet.payload[2:4])
    return (
        _covers(s.src, packet, packet.src) and _covers(s.dst, packet, packet.dst)
        and s.protocol in (None, packet.protocol) and _within(s.sport, ports[0]) and _within(s.dport, ports[1])
    )  # fmt: skip


def clear_cases(sas: Iterable[SecurityAssociation], packets: list[Numbered]) -> Iterator[Case]:
    """Clear packets under each SA, as many as it has numbers for."""
    for sa in sas:
        natt = None if sa.natt == NATT_ANY else sa.natt
        first = max(1, sa.seq)
        room = (2**64 if sa.esn else 2**32) - first
        chosen = [p for _, p, _ in packets if not is_protected(p) and carries(sa, p)][:room]
        if chosen:
            yield Case(replace(sa, natt=natt, seq=first), tuple(chosen))


def _mine(sa: SecurityAssociation, packet: Packet) -> bool:
    """Whether a protected packet is this SA's."""
    protocol = ESP if sa.proto == "esp" else AH
    if packet.protocol != protocol and not (packet.protocol == UDP and sa.natt is not None and sa.proto == "esp"):
        return False
    return spi_of(packet, sa.natt is not None) == sa.spi and sa.dst in (None, packet.addresses()[1])


def _under(sa: SecurityAssociation, packet: Packet) -> Packet:
    """What the SA protects, as far as it can be seen: AH shows its next header."""
    return replace(packet, protocol=packet.payload[0]) if sa.proto == "ah" else packet


def compare_opened(sas: Iterable[SecurityAssociation], packets: list[Numbered], judge: Judge, report: Report) -> None:
    """Both sides open the protected packets; both refusing one counts as agreement. Raises OracleError."""
    for sa in sas:
        mine = []
        for _, packet, data in packets:
            if not _mine(sa, packet):
                continue
            mode: Mode = sa.mode or "transport"  # the one with more faults
            reason = fault(replace(sa, mode=mode), _under(sa, packet), ORACLE_OPENS)
            if reason is None:
                mine.append((packet, data))
            else:
                report.skipped[reason] += 1
        if mine:
            _open_one(sa, mine, judge, report)


def _open_one(sa: SecurityAssociation, mine: list[tuple[Packet, bytes]], judge: Judge, report: Report) -> None:
    result = Decryptor([sa], window=0).open(Batch.from_frames(data for _, data in mine))
    got = outcomes(result)
    numbers = [int(n) for n in result.verdicts["seq"]]
    # scapy only wants to know that there is a tunnel header, not which
    header: Job = {"family": 4, "src": "0.0.0.0", "dst": "0.0.0.0", "tos": 0, "hops": 64, "id": 0, "df": False}
    outers: list[Job | None] = [None] if sa.mode == "transport" else [header] if sa.mode == "tunnel" else [header, None]
    jobs: list[Job] = [
        {"do": "open", "packet": data, "seq": seq, "outer": outer}
        for (_, data), seq in zip(mine, numbers, strict=True)
        for outer in outers
    ]
    answers = judge.ask(sa, jobs)
    for k, (packet, _) in enumerate(mine):
        wants: list[Outcome] = answers[k * len(outers) : (k + 1) * len(outers)]
        refused = isinstance(got[k], str) and any(isinstance(want, str) for want in wants)
        if got[k] not in wants and not refused:
            numbered = replace(sa, seq=numbers[k])
            report.differences.append(Difference(BOTH_OPEN, numbered, packet, wants[0], got[k]))
        report.compared += 1
