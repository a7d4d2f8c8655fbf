"""One pass through every wing, small enough to try a Python or a set of dependencies: `pytest -m smoke`.

Two sites and the traffic between their offices. What each command says of it is checked by value, once each; the
thorough tests of a wing are elsewhere.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_help import IN, OUT, Office, office, packet, qfp, rewrite

from qfp.trace import read_trace
from qfp.trace.keyfile import read_keys

pytestmark = pytest.mark.smoke
LAB = """
seed = 1
[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
name = "line"
ends = ["a gi0/0/0", "b gi0/0/0"]
rate = "10M"
delay = "5 ms"
[[inject]]
trace = "in.pcap"
at = "a gi0/0/1"
[[capture]]
at = "b gi0/0/1"
direction = "out"
file = "delivered.pcapng"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A clear trace of 42 packets, sealed: wire.pcapng, its verdicts and the keys in both formats."""
    made = office(tmp_path_factory.mktemp("site"))
    keys = ("--export-sas", made / "s.json", "--export-esp-sa", made / "esp_sa")
    said = made.seal("--verdicts", made / "v.parquet", *keys)
    assert said.status == 0, said.err
    return made


def test_configurations_are_checked(site: Office) -> None:
    facts = qfp("check", site.a, "--json").json
    assert facts["status"] == 0 and facts["issues"] == []
    wrong = site / "wrong.cfg"
    wrong.write_text(site.a.read_text().replace("ip address 10.1.0.1", "ip address 10.1.0.301"))
    said = qfp("check", wrong)
    assert said.status == 2 and "10.1.0.301" in said.err


def test_captures_are_converted_there_and_back(site: Office) -> None:
    """Every reader and writer: pcap, pcapng, compressed, Parquet, Arrow."""
    for name in ("x.pcapng", "x.pcapng.zst", "x.pcap.gz", "x.parquet", "x.arrow"):
        assert qfp("convert", site.trace, site / name).status == 0
        assert qfp("convert", site / name, site / "back.pcap").status == 0
        assert read_trace(site / "back.pcap") == read_trace(site.trace), name


def test_a_router_seals_and_drops_with_a_reason(site: Office) -> None:
    rows = pq.read_table(site / "v.parquet").to_pydict()
    assert len(rows["verdict"]) == 42 and rows["verdict"].count("forwarded") == 40
    assert [cause for cause in rows["cause"] if cause] == ["TTL_EXPIRED"]
    sealed = [frame for frame in read_trace(site / "wire.pcapng").frames() if frame[9] == 50]
    assert len(sealed) == 40 and packet(3)[20:] not in b"".join(sealed)


def test_the_peer_and_the_keys_alone_open_it(site: Office) -> None:
    facts = qfp("run", site.b, site / "wire.pcapng", "--in", OUT, "-o", site / "there.pcapng", "--json").json
    assert facts["verdicts"]["forwarded"] == 40
    for keys in ("s.json", "esp_sa"):
        opened = qfp("decrypt", site / "wire.pcapng", "--keys", site / keys, "-o", site / "clear.pcapng", "--json")
        assert opened.json["verdicts"]["forwarded"] == 40, keys
        clear = [bytes(frame)[-20:] for frame in read_trace(site / "clear.pcapng").frames()]
        assert packet(3)[-20:] in clear, keys
    assert {sa.spi for sa in read_keys(site / "esp_sa")} <= {sa.spi for sa in read_keys(site / "s.json")}


@pytest.mark.parametrize("engine", ["native", "openssl"])
@pytest.mark.parametrize("transform", ["esp-gcm 256", "esp-aes esp-sha256-hmac", "ah-sha256-hmac esp-aes esp-sha-hmac"])
def test_engines_and_transforms(tmp_path: Path, engine: str, transform: str) -> None:
    made = office(tmp_path, packets=8, transform=transform)
    assert made.seal("--engine", engine).status == 0
    facts = qfp("run", made.b, made / "wire.pcapng", "--in", OUT, "--engine", engine, "--json").json
    assert facts["verdicts"]["forwarded"] == 8 and facts["engine"] == engine


def test_replays_and_forgeries_are_dropped_and_explained(site: Office) -> None:
    rewrite(site / "wire.pcapng", site / "bad.pcap", [0, 4, 4, 5], spoil=(3,))
    facts = qfp("decrypt", site / "bad.pcap", "--keys", site / "s.json", "--json").json
    assert {d["cause"]: d["packets"] for d in facts["drops"]} == {"REPLAY": 1, "INTEGRITY": 1}
    told = qfp("explain", site / "bad.pcap", "--keys", site / "s.json", "--frame", 2, "--json").json
    assert next(step["drop"]["cause"] for step in told["stages"] if step.get("drop")) == "REPLAY"
    out = qfp("explain", site.a, site.trace, "--in", IN, "--frame", 5).out
    assert "crypto map M 10" in out and "seal" in out


def test_two_routers_and_a_line(site: Office) -> None:
    (site / "lab.toml").write_text(LAB)
    facts = qfp("lab", site / "lab.toml", "-o", site / "lab", "--json").json
    assert facts["status"] == 0
    assert len(read_trace(site / "lab" / "delivered.pcapng")) == 40
    assert json.loads((site / "lab" / "lab.json").read_text())["seed"] == 1


def test_sizes_of_packets_through_a_tunnel(site: Office) -> None:
    """Tunnel mode with AES-GCM: 1500 - 20 - 8 - 8 - 16 leaves 1448, of which 2 are the trailer: 1446 (RFC 4303)."""
    said = qfp("mtu", site.a, "--peer", site.b, "--in", IN, "--to", "10.2.0.7", "--sizes", "1400-1500", "--json")
    (path,) = said.json["paths"]
    assert next(line["largest_whole"] for line in path["lines"] if line["df"])["size"] == 1446


def test_windows_tried_on_a_capture(site: Office) -> None:
    facts = qfp("replay-lab", site / "wire.pcapng", "--json").json
    assert [sa["packets"] for sa in facts["sas"]] == [40]
    assert qfp("strip", site / "wire.pcapng", "-o", site / "bare.parquet").status == 0
    assert [sa["packets"] for sa in qfp("replay-lab", site / "bare.parquet", "--json").json["sas"]] == [40]


def test_wrong_input_has_a_status_and_a_remedy(site: Office) -> None:
    assert qfp("run", site.a, site / "none.pcap", "--in", IN).status == 2
    cut = site / "cut.pcap"
    cut.write_bytes(site.trace.read_bytes()[:-7])
    assert qfp("run", site.a, cut, "--in", IN).status == 3


def test_extras_work_where_they_are_installed(site: Office) -> None:
    """Drawing is the extra `report`, comparing with scapy the extra `diff`; a remedy is named without them."""
    for module, words in (
        ("matplotlib", ("replay-lab", site / "wire.pcapng", "-o", site / "windows.svg")),
        ("scapy", ("diff", "--count", 20, "--json")),
    ):
        said: Any = qfp(*words)
        try:
            importlib.import_module(module)
        except ImportError:
            assert said.status == 2 and module in said.err
        else:
            assert said.status == 0, said.err
