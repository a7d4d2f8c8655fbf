"""UDP on port 4500: at a router the destination port alone makes it ESP (RFC 3948 section 2.1); a capture holds both
directions, so key files look at either port, and by the source port only an SPI that they know makes it ESP."""

from dataclasses import replace
from ipaddress import ip_address

import naive
import pytest
from cli_help import OUT, config
from packets import ip4, udp
from path_help import check_decrypt

from qfp.batch import Batch
from qfp.control.export import exported
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.router import Router
from qfp.sa import SecurityAssociation

OWN, PEER = "203.0.113.2", "203.0.113.1"
INNER = ip4("10.1.0.5", "10.2.0.7", udp(1, 2, b"data"))


def natted(sa: SecurityAssociation, sport: int, dport: int, seq: int = 1) -> bytes:
    sa = replace(sa, natt=(4500, 4500))
    packet = naive.seal_tunnel([naive.State(sa)], [seq], naive.read_ip(INNER), 0, "copy")
    return packet[:20] + sport.to_bytes(2) + dport.to_bytes(2) + packet[24:]  # as a NAT would; no UDP checksum


def words(router: Router, frames: list[bytes]) -> list[str]:
    v = router.forward(Batch.from_frames(frames), OUT).verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


@pytest.mark.req("BASE-8")
def test_at_a_router_the_destination_port_decides() -> None:
    sas = [replace(sa, natt=(4500, 4500)) for sa in exported(Router.loads(config(1)).plane)]
    router = Router.loads(config(2), keys=sas)
    sa = next(sa for sa in sas if str(sa.dst) == OWN)
    assert words(router, [natted(sa, 4500, 4500), natted(sa, 1025, 4500, 2)]) == ["forwarded"] * 2
    for dport in (4501, 161, 53, 500, 4499):
        assert words(router, [natted(sa, 4500, dport, 3)]) == ["punted"], dport
    stray = [ip4(PEER, OWN, udp(4500, dport, b"\xab" * 40)) for dport in (161, 53)]
    assert words(router, stray) == ["punted"] * 2
    assert words(router, [ip4(PEER, OWN, udp(53, 4500, b"\xab" * 40))]) == ["NO_SA"]


def association(sport: int, dport: int) -> SecurityAssociation:
    return SecurityAssociation(
        proto="esp", spi=0x1100, src=ip_address(PEER), dst=ip_address(OWN), encr="aes-gcm", encr_key=bytes(range(16)),
        salt=b"salt", natt=(sport, dport),
    )  # fmt: skip


@pytest.mark.req("USE-3", "BASE-8")
@pytest.mark.parametrize("ports", [(4500, 4500), (4500, 31111), (31111, 4500), (0, 0)])
def test_key_files_open_both_directions(ports: tuple[int, int]) -> None:
    """The responder's packets go from port 4500 to whatever port a NAT gave the initiator."""
    sa = association(*ports)
    frames = [natted(sa, 4500, 31111, 1), natted(sa, 31111, 4500, 2), natted(sa, 4500, 4500, 3)]
    found = Decrypted(sa, frames)
    assert found.words == ["forwarded"] * 3


class Decrypted:
    """What a decryptor makes of frames."""

    def __init__(self, sa: SecurityAssociation, frames: list[bytes]):
        from qfp.decrypt import Decryptor

        v = Decryptor([sa]).open(Batch.from_frames(frames)).verdicts
        self.words = [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


@pytest.mark.req("USE-3")
def test_what_a_source_port_makes_of_others() -> None:
    """From port 4500 to a server, without an SPI that is known: clear, not an unknown SA."""
    sa = association(4500, 4500)
    others = [ip4(PEER, OWN, udp(4500, 53, b"\xab" * 40)), ip4(PEER, OWN, udp(4500, 161, b"\xab" * 4)[:9])]
    outcomes = check_decrypt([sa], [*others, natted(sa, 4500, 1025)])
    assert [o.verdict for o in outcomes] == ["bypassed", "bypassed", "forwarded"]
    assert Decrypted(sa, [ip4(PEER, OWN, udp(53, 4500, b"\xab" * 40))]).words == ["NO_SA"]
