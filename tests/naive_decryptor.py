"""The slow twin of decryption with key files alone: no routes, no policy."""

from collections.abc import Sequence

from naive import AH, ESP, UDP, Bad, Inbound, Ip, Outcome, State, checksum, read_ip, with_checksum
from naive_dissect import locate
from naive_fragments import Reassembler

from qfp.sa import SecurityAssociation


def completed(packet: bytes) -> bytes:
    """A packet as the network card of its sender would have sent it: checksum and length filled in where they are 0."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        head, total, given = (packet[0] & 15) * 4, int.from_bytes(packet[2:4]), packet[10:12]
        if not 20 <= head < len(packet) <= 65535 or (total and (given != b"\0\0" or not head <= total <= len(packet))):
            return packet
        sized = packet[:2] + (total or len(packet)).to_bytes(2) + packet[4:]
        if given == b"\0\0" or 0 in (checksum(packet[:head]), checksum(sized[:head])):
            return with_checksum(sized[:10] + b"\0\0" + sized[12:head]) + sized[head:]
    bare = len(packet) > 50 and packet[0] >> 4 == 6 and packet[4:6] == b"\0\0"
    if bare and packet[6] not in (0, 43, 44, 59, 60, 135):
        return packet[:4] + (len(packet) - 40).to_bytes(2) + packet[6:]
    return packet


class NaiveDecryptor:
    """The twin of `qfp.decrypt.Decryptor`."""

    def __init__(self, sas: Sequence[SecurityAssociation], keep_clear: bool = False):
        self.states = [State(sa) for sa in sas]
        self.inbound = Inbound(self.states, sources=True)
        self.reassembler = Reassembler()
        self.protocols = (ESP, AH, UDP) if any(sa.natt is not None for sa in sas) else (ESP, AH)
        self.keep_clear = keep_clear

    def one(self, frame: bytes, ts: int = 0) -> Outcome:
        if not frame:
            return Outcome("punted")
        try:
            ip = self._whole(self._found(frame), ts)
        except Bad as bad:
            return Outcome("dropped", bad.args[0])
        if ip is None:
            return Outcome("consumed")
        out = self.inbound.receive(ip)
        if out.verdict:
            return out
        out.verdict = "forwarded" if out.chain else "bypassed"
        assert out.ip is not None
        out.packets = [out.ip.data] if out.chain or self.keep_clear else []
        return out

    def _found(self, frame: bytes) -> Ip:
        """The packet of a frame, or the ESP or AH packet that a tunnel in it carries."""
        frame = completed(frame)
        outer = read_ip(frame)
        inner = locate(101, frame)
        return read_ip(completed(frame[inner.at : inner.at + inner.size])) if inner.found and inner.at else outer

    def _whole(self, ip: Ip, ts: int) -> Ip | None:
        """Fragments of what may be protected are put together: a capture does not say whose they are."""
        if not ip.fragment or ip.proto not in self.protocols:
            return ip
        return self.reassembler.take(ip, ts)

    def open(self, frames: Sequence[bytes]) -> list[Outcome]:
        return [self.one(f) for f in frames]
