"""The slow twin of decryption with key files alone: no routes, no policy."""

from collections.abc import Sequence

from naive import AH, ESP, UDP, Bad, Inbound, Ip, Outcome, State, read_ip
from naive_fragments import Reassembler

from qfp.sa import SecurityAssociation


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
            ip = self._whole(read_ip(frame), ts)
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

    def _whole(self, ip: Ip, ts: int) -> Ip | None:
        """Fragments of what may be protected are put together: a capture does not say whose they are."""
        if not ip.fragment or ip.proto not in self.protocols:
            return ip
        return self.reassembler.take(ip, ts)

    def open(self, frames: Sequence[bytes]) -> list[Outcome]:
        return [self.one(f) for f in frames]
