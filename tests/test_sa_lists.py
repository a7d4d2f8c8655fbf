"""Lists of SAs: which are listed, what each says, and compression wherever SAs or their counters are shown (PF-9)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_help import config, office, qfp
from packets import ip4, udp
from test_lab import SITE

from qfp.batch import Batch
from qfp.cli.facts import run_facts
from qfp.control.export import exported
from qfp.router import Router
from qfp.tables.store import Tables, blank
from qfp.trace import read_trace, write_trace
from qfp.trace.keyfile import read_keys
from qfp_kernels.layout import LEADS

COMP = "esp-aes 128 esp-sha-hmac comp-lzs"


@pytest.mark.req("BASE-12", "BASE-10")
def test_every_installed_sa_is_listed_used_or_not() -> None:
    """The first one too: rows of tables that nobody has taken lead nowhere."""
    router = Router.loads(config(1))
    listed = run_facts(router, 1.0)["sas"]
    assert [(sa["handle"], sa["direction"], sa["packets"]) for sa in listed] == [(0, "out", 0), (1, "in", 0)]
    life = router.tables.t.life
    assert life.size > router.sad.rows and (life["heir"][router.sad.rows :] == -1).all()


@pytest.mark.parametrize("name", sorted(LEADS))
def test_rows_that_nobody_has_taken_lead_nowhere(name: str) -> None:
    tables = Tables()
    tables.grow(name, 100)
    assert (getattr(tables.t, name) == blank(name)).all()
    for field in filter(None, LEADS[name]):
        assert (getattr(tables.t, name)[field] == -1).all()


@pytest.mark.req("PF-9")
def test_compression_stands_in_every_list(tmp_path: Path) -> None:
    """Text and JSON of run and decrypt, the SA file, and the SA's repr."""
    made = office(tmp_path, packets=12, transform=COMP)
    text = made.seal("--export-sas", made / "keys.json", name="wire.pcapng").out
    assert "esp aes-cbc hmac-sha1-96 comp-lzs" in text and "(de)compressed" in text
    run = made.seal("--json", name="again.pcapng").json
    out, back = run["sas"]
    assert (out["comp"], back["comp"]) == ("lzs", "lzs")
    assert out["compressed"] + out["incompressible"] == out["packets"] == 12 and out["compressed"] > 0
    assert (back["decompressed"], back["comp_failed"]) == (0, 0)
    keys = json.loads((made / "keys.json").read_text())["sas"]
    assert [sa["comp"] for sa in keys] == ["lzs", "lzs"]
    assert all("comp-lzs" in repr(sa) for sa in read_keys(made / "keys.json"))
    told = qfp("decrypt", made / "wire.pcapng", "--keys", made / "keys.json")
    assert "comp-lzs" in told.out
    opened = qfp("decrypt", made / "wire.pcapng", "--keys", made / "keys.json", "--json").json
    assert sum(sa["decompressed"] for sa in opened["sas"]) == out["compressed"]


@pytest.mark.req("PF-9")
def test_a_key_file_that_does_not_say_it(tmp_path: Path) -> None:
    """Files of earlier versions, and of others: the counters show it all the same, and routers take their own word."""
    made = office(tmp_path, packets=12, transform=COMP)
    run = made.seal("--export-sas", made / "keys.json", "--json").json
    keys = json.loads((made / "keys.json").read_text())
    for sa in keys["sas"]:
        del sa["comp"]
        sa["seq"] = 0  # a router goes on above the number that the file states: this one begins anew
    (made / "old.json").write_text(json.dumps(keys))
    told = qfp("decrypt", made / "wire.pcapng", "--keys", made / "old.json")
    assert "(de)compressed" in told.out and "comp-lzs" not in told.out
    again = made.seal("--keys", made / "old.json", "--json", name="again.pcapng").json
    assert again["sas"][0]["compressed"] == run["sas"][0]["compressed"] > 0
    assert read_trace(made / "again.pcapng").frames() == read_trace(made / "wire.pcapng").frames()


@pytest.mark.req("PF-9")
def test_nothing_is_said_of_it_where_there_is_none(tmp_path: Path) -> None:
    made = office(tmp_path, packets=4)
    assert "compress" not in made.seal().out
    assert all(sa["comp"] is None for sa in made.seal("--json", name="x.pcap").json["sas"])
    assert all(sa.comp is None for sa in exported(Router.loads(config(1)).plane))


@pytest.mark.req("PF-9", "BASE-12")
def test_a_lab_tells_it_too(tmp_path: Path) -> None:
    for name, n in (("a", 1), ("b", 2)):
        site = SITE.format(n=n, me=n, peer=3 - n, far=3 - n)
        (tmp_path / f"{name}.cfg").write_text(site.replace("transform-set T esp-gcm", f"transform-set T {COMP}"))
    frames = [ip4("10.1.0.7", "10.2.0.9", udp(1, 2, bytes(400) + bytes([k]))) for k in range(6)]
    write_trace(tmp_path / "in.pcap", Batch.from_frames(frames, ts=np.arange(len(frames)) * 10**6))
    (tmp_path / "lab.toml").write_text(
        '[routers.a]\nconfig = "a.cfg"\n[routers.b]\nconfig = "b.cfg"\n'
        '[[links]]\nends = ["a gi0/0/0", "b gi0/0/0"]\ndelay = "5 ms"\n'
        '[[inject]]\ntrace = "in.pcap"\nat = "a gi0/0/1"\n'
    )
    facts: Any = qfp("lab", tmp_path / "lab.toml", "--json").json["routers"]
    compressed = facts["a"]["compression"]["compressed"]
    assert compressed > 0 and facts["b"]["compression"]["decompressed"] == compressed
    assert facts["a"]["balance"]["in"]["frames_in"] == len(frames)
    said = qfp("lab", tmp_path / "lab.toml").out
    assert f"a: comp-lzs: {compressed} compressed" in said and f"a: balance: {len(frames)} in = " in said


@pytest.mark.req("BASE-12")
def test_the_balance_is_printed(tmp_path: Path) -> None:
    made = office(tmp_path, packets=6)
    assert "balance: 8 in + 1 ICMP errors = 8 out + 1 dropped" in made.seal().out
    balance = made.seal("--json", name="x.pcap").json["balance"]
    assert sum(balance["in"].values()) == sum(balance["out"].values()) == 9
