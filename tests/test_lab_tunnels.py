"""Output policies of tunnel interfaces in labs (QOS-1, QOS-2, AR-6): queues before those of the line."""

from pathlib import Path

import numpy as np
import pytest
from cli_help import qfp
from packets import ip4, udp
from test_lab import check_however_it_is_run, ran
from test_lab_events import event, losses, stream
from test_lab_queues import AF31, EF, MULTI

from qfp.batch import Batch
from qfp.lab import Lab
from qfp.trace import write_trace

S = 10**9
QUEUES = """class-map match-all VOICE
 match dscp ef
class-map match-all DATA
 match dscp af31
policy-map CHILD
 class VOICE
  priority
 class DATA
  bandwidth percent 50
policy-map SHAPED
 class class-default
  shape average 1000000
  service-policy CHILD
"""
SITE = """hostname R{me}
crypto ipsec transform-set T esp-gcm
crypto ipsec profile P
 set transform-set T
interface Tunnel0
 ip address 172.31.0.{me} 255.255.255.0
 tunnel source 192.0.2.{me}
 tunnel destination 192.0.2.{far}
 tunnel mode {mode}
{protection}{policy}interface GigabitEthernet0/0/0
 ip address 192.0.2.{me} 255.255.255.0
interface GigabitEthernet0/0/1
 ip address 10.{me}.0.1 255.255.0.0
ip route 10.{far}.0.0 255.255.0.0 Tunnel0
ip route 0.0.0.0 0.0.0.0 192.0.2.{far}
"""
PROTECTED = " tunnel protection ipsec profile P\n"


def site(me: int, mode: str, protection: str, policy: str, extra: str) -> str:
    line = f" service-policy output {policy}\n" * bool(policy)
    return extra + QUEUES + SITE.format(me=me, far=3 - me, mode=mode, protection=protection, policy=line)


def tunnel_lab(
    folder: Path, frames: list[tuple[int, bytes]], mode: str = "ipsec ipv4", policy: str = "SHAPED", extra: str = "",
    events: str = "", link: str = 'rate = "10M"\n',
) -> Path:  # fmt: skip
    protection = "" if mode == "gre ip" else PROTECTED
    mode = mode.removesuffix(" protected")
    for name, me in (("a", 1), ("b", 2)):
        (folder / f"{name}.cfg").write_text(site(me, mode, protection, policy if me == 1 else "", extra))
    frames = sorted(frames, key=lambda each: each[0])
    write_trace(folder / "in.pcap", Batch.from_frames([f for _, f in frames], ts=[ts for ts, _ in frames]))
    path = folder / "lab.toml"
    path.write_text(
        '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n'
        f'[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "5 ms"\n{link}'
        '[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n'
        '[[capture]]\nat = "b gi0/0/1"\ndirection = "out"\nfile = "b.pcap"\n' + events
    )
    return path


def packet(dscp: int, size: int, to: str = "10.2.0.9", port: int = 2) -> bytes:
    return ip4("10.1.0.7", to, udp(1, port, bytes(size - 28)), tos=dscp << 2)


def load(*streams: list[tuple[int, int, int]]) -> list[tuple[int, bytes]]:
    return [(ts, packet(dscp, size)) for each in streams for ts, dscp, size in each]


MODES = ["ipsec ipv4", "gre ip", "gre ip protected"]


@pytest.mark.req("QOS-1", "QOS-2")
@pytest.mark.parametrize("mode", MODES)
def test_a_tunnels_shaper(tmp_path: Path, mode: str) -> None:
    """1 Mbit/s in the tunnel on a line of ten: what goes beside the tunnel is not held up, what goes through it leaves
    at the shaper's rate, voice first."""
    data = [(k, packet(AF31, 1000)) for k in range(60)]
    voice = [(S // 10 + k, packet(EF, 200)) for k in range(3)]
    beside = [(2 * k, packet(0, 500, to="192.0.2.2")) for k in range(20)]
    outcome = ran(tunnel_lab(tmp_path, data + voice + beside, mode))
    rows = outcome.journeys.to_arrow().to_pylist()
    through = sorted(row["end"] for row in rows if row["length"] == 1000)
    outer = {"ipsec ipv4": 1056, "gre ip": 1024, "gre ip protected": 1080}[mode]
    assert len(through) == 60 and {row["state"] for row in rows if row["length"] == 1000} == {"delivered"}
    gaps = np.diff(through)[20:-3]
    assert abs(np.median(gaps) - outer * 8000) < 20_000, (np.median(gaps), outer)
    calls = [row["delay"] for row in rows if row["length"] == 200]
    assert max(calls) < 25_000_000 < min(row["delay"] for row in rows[-30:] if row["length"] == 1000) * 20
    aside = [row for row in rows if row["length"] == 500]
    assert {row["state"] for row in aside} == {"punted"} and max(row["end"] for row in aside) < 20_000_000


@pytest.mark.req("AR-6", "AR-7", "QOS-1")
@pytest.mark.parametrize("mode", [m for m in MODES if m != "gre ip"])
def test_spaces_follow_the_tunnels_queues(tmp_path: Path, mode: str) -> None:
    """The tunnel's policy reorders behind encryption: replay drops with one space, none with one for each queue."""
    traffic = load(stream(0, 3, 300, EF, 200), stream(0, 3, 1500, AF31, 500), stream(0, 3, 500, 0, 900))
    one = ran(tunnel_lab(tmp_path, traffic, mode))
    many = ran(tunnel_lab(tmp_path, traffic, mode, extra=MULTI))
    assert len(losses(one, "REPLAY")) > 20 and losses(many, "REPLAY") == []
    for outcome in (one, many):
        states = [row["cause"] or row["state"] for row in outcome.journeys.to_arrow().to_pylist()]
        assert set(states) <= {"delivered", "TAIL_DROP", "REPLAY"} and len(states) == len(traffic)
        lost = sum(each["lost"].get("TAIL_DROP", 0) for each in outcome.facts["links"] if each["link"] == "a Tunnel0")
        assert lost == states.count("TAIL_DROP") > 0


@pytest.mark.req("USE-2")
@pytest.mark.parametrize("mode", MODES)
def test_the_same_however_it_is_run(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = [(ts, packet(0, 300, to="192.0.2.2")) for ts in range(0, S, 7_000_000)]
    traffic = beside + load(stream(0, 1, 300, EF, 200), stream(0, 1, 1500, AF31, 500))
    check_however_it_is_run(tunnel_lab(tmp_path, traffic, mode), monkeypatch, threads=2)


@pytest.mark.req("USE-2", "QOS-1")
def test_a_tunnels_policy_changes(tmp_path: Path) -> None:
    """Taken off and put on while packets wait: everything arrives once; without it the line is the only queue."""
    traffic = load(stream(0, 2, 900, AF31, 500), stream(0, 2, 200, EF, 200))
    off = event("1 s", "a", 'add = "interface Tunnel0\\n no service-policy output SHAPED"')
    on = event("1500 ms", "a", 'add = "interface Tunnel0\\n service-policy output SHAPED"')
    loop = event("700 ms", "a", 'add = "interface Loopback7\\n ip address 10.7.7.7 255.255.255.255"')
    over = event("1200 ms", "a", 'switchover = "10 ms"')  # there is a place, and nothing asks for queues
    for events in (off, off + on, loop + off, off + over):
        rows = ran(tunnel_lab(tmp_path, traffic, events=events, extra=MULTI)).journeys.to_arrow().to_pylist()
        kinds = {row["cause"] or row["state"] for row in rows}
        assert kinds <= {"delivered", "TAIL_DROP", "REPLAY"} and len(rows) == len(traffic)
        late = [row["delay"] for row in rows if row["length"] == 500 and 1.2 * S < row["ts"] < 1.4 * S]
        assert max(late) < 10_000_000, "nothing is shaped then"


@pytest.mark.req("USE-2")
def test_what_the_command_prints(tmp_path: Path) -> None:
    """A tunnel's queues stand among the links, and what became of SAs below."""
    clear = event("500 ms", "a", 'clear = "crypto sa"')
    done = qfp("lab", tunnel_lab(tmp_path, load(stream(0, 1, 1500, AF31, 500)), events=clear), "-o", tmp_path / "out")
    assert done.status == 0, done.err
    assert "a Tunnel0" in done.out and "a: SAs cleared: 1" in done.out
    assert "b: SAs rekeyed: 1 by peer" in done.out


@pytest.mark.req("QOS-1")
def test_a_tunnel_on_a_link_without_a_rate(tmp_path: Path) -> None:
    """Nothing says what it takes: a warning, and no queues; `bandwidth` says it."""
    path = tunnel_lab(tmp_path, load(stream(0, 1, 1500, AF31, 500)), link="")
    lab = Lab.load(path)
    lab.close()
    assert any("Tunnel0: policy SHAPED does nothing" in each for each in lab.warnings)
    config = path.with_name("a.cfg")
    config.write_text(config.read_text().replace("interface Tunnel0\n", "interface Tunnel0\n bandwidth 1000\n"))
    lost = {row["cause"] for row in ran(path).journeys.to_arrow().to_pylist()}
    assert "TAIL_DROP" in lost
