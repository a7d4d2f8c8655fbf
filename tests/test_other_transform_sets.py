"""Auto keying with several transform sets: which one it took, and what NO_SA at the other end means for it."""

from pathlib import Path

import pytest
from cli_help import qfp
from packets import ip4, udp

from qfp.batch import Batch
from qfp.config import loads
from qfp.trace import write_trace

pytestmark = pytest.mark.req("USE-1")
CONFIG = """hostname R{me}
crypto ipsec transform-set G esp-gcm 256
crypto ipsec transform-set C esp-aes esp-sha-hmac
crypto ipsec transform-set X esp-gcm 256
 mode transport
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.{other}
 set transform-set {sets}
 match address L
interface GigabitEthernet0
 ip address 192.0.2.{me} 255.255.255.0
 crypto map M
interface GigabitEthernet1
 ip address 10.{me}.0.1 255.255.0.0
ip route 10.{other}.0.0 255.255.0.0 192.0.2.{other}
ip access-list extended L
 permit ip 10.{me}.0.0 0.0.255.255 10.{other}.0.0 0.0.255.255
"""


def config(me: int, sets: str) -> str:
    return CONFIG.format(me=me, other=3 - me, sets=sets)


def sent(folder: Path, sets: str, count: int = 3, *options: str) -> Path:
    """What router 1 sends to router 2."""
    (folder / "r1.cfg").write_text(config(1, sets))
    packets = [ip4("10.1.0.9", "10.2.0.9", udp(1, 2))] * count
    write_trace(folder / "in.pcap", Batch.from_frames(packets, ts=[k * 2000 * 10**9 for k in range(count)]))
    said = qfp("run", folder / "r1.cfg", folder / "in.pcap", "--in", "gi1", "-o", folder / "wire.pcap", *options)
    assert said.status == 0
    return folder / "wire.pcap"


def received(folder: Path, sets: str, wire: Path, *options: str):
    (folder / "r2.cfg").write_text(config(2, sets))
    return qfp("run", folder / "r2.cfg", wire, "--in", "gi0", *options, "--json")


def test_another_order_at_the_other_end_is_named(tmp_path: Path) -> None:
    """Also behind a rekey of the sender: packets of its later generations are told, too."""
    said = received(tmp_path, "C G", sent(tmp_path, "G C"))
    assert said.json["verdicts"] == {"dropped": 3} and said.json["drops"][0]["cause"] == "NO_SA"
    (hint,) = said.json["hints"]
    assert hint.startswith("3 packets dropped as NO_SA came by transform set 'G' of crypto map M 10")
    assert "auto keying took 'C' here" in hint
    assert hint in said.err


@pytest.mark.parametrize(
    ("near", "far", "hinted"),
    [("G", "C G", True), ("C X", "G C", True), ("G C", "G C", False), ("C", "G", False), ("X", "G X", False)],
    ids=["one set that is our second", "a set that ends share", "agreed", "one set here: nobody can know", "mode"],
)
def test_only_what_another_set_explains_is_hinted(tmp_path: Path, near: str, far: str, hinted: bool) -> None:
    """Mode transport falls back to tunnel here, so that X makes the SAs of G."""
    said = received(tmp_path, far, sent(tmp_path, near))
    assert len(said.json["hints"]) == hinted


def test_another_seed_is_no_matter_of_transform_sets(tmp_path: Path) -> None:
    said = received(tmp_path, "C G", sent(tmp_path, "G C", 2, "--seed", "5"))
    assert said.json["drops"][0]["cause"] == "NO_SA" and said.json["hints"] == []


def test_the_choice_is_a_note_in_check_and_run(tmp_path: Path) -> None:
    cfg = loads(config(1, "C G"))
    (issue,) = cfg.issues
    assert (issue.severity, issue.line) == ("note", 8) and "auto keying takes 'C'" in issue.message
    assert "NO_SA" in issue.hint
    assert [row.verdict for row in cfg.lines if row.line == 8] == ["applied"]
    assert loads(config(1, "G")).issues == [] and loads(config(1, "G G")).issues == []
    path = tmp_path / "a.cfg"
    path.write_text(config(1, "C G"))
    assert "auto keying takes 'C'" in qfp("check", path).err
