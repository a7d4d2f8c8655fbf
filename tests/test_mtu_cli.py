"""`qfp mtu`: text, bar, drawing and JSON are the same facts; wrong questions end with status 2 and a remedy."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from cli_help import config, qfp
from mtu_help import tunnel

from qfp.cli.mtu import print_mtu
from qfp.config import load
from qfp.mtu import chart, picture
from qfp.router import Router

SAMPLE = Path(__file__).parent.parent / "traces" / "mtu"
NEEDS = ("sizes", "paths", "warnings", "issues", "problems", "config", "peer", "schema", "status")


@pytest.fixture(scope="module")
def sample() -> Any:
    """The facts of the sample scenario."""
    said = qfp("mtu", SAMPLE / "west.cfg", "--peer", SAMPLE / "east.cfg", "--sizes", "1300-1700", "--json")
    assert said.status == 0
    return said.json


@pytest.mark.parametrize("name", ["west.cfg", "east.cfg"])
def test_sample_configurations_load_without_a_complaint(name: str) -> None:
    assert [str(issue) for issue in load(SAMPLE / name).issues] == []
    assert [str(issue) for issue in Router.load(SAMPLE / name).issues] == []


@pytest.mark.req("PF-2", "PF-6")
def test_the_sample_says_what_its_readme_says(sample: Any) -> None:
    assert set(sample) == set(NEEDS) and sample["schema"] == "qfp-mtu/1" and sample["sizes"] == [1300, 1700]
    (path,) = sample["paths"]
    with_df = path["lines"][0]
    assert (with_df["df"], with_df["largest_whole"]) == (True, {"size": 1400, "ping": 1372})
    holes = [(h["kind"], h["df"], h["first"], h["last"], h["ping"]) for h in path["black_holes"]]
    assert holes == [
        ("needs icmp", True, 1401, 1500, [1373, 1472]),
        ("needs fragments", False, 1401, 1700, [1373, 1672]),
    ]
    assert path["advice"]["configuration"] == ["interface Tunnel0", " ip mtu 1400", " ip tcp adjust-mss 1360"]
    assert path["advice"]["largest"] == 1446 == sum(step["bytes"] for step in path["advice"]["arithmetic"])
    assert [(sa["end"], sa["path_mtu"], sa["plaintext_mtu"], sa["mtu_adj"]) for sa in path["sas"]] == [
        ("near", 1500, 1446, 1424), ("far", 1500, 1446, 1424),
    ]  # fmt: skip


def test_text_is_made_from_the_facts_of_json(sample: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = qfp("mtu", SAMPLE / "west.cfg", "--peer", SAMPLE / "east.cfg", "--sizes", "1300-1700")
    assert (said.status, said.err) == (0, "")
    print_mtu(json.loads(json.dumps(sample)))
    assert capsys.readouterr().out == said.out
    for words in ("1401..1500  1373..1472  dropped (FRAG_NEEDED), ICMP type 3 code 4", "largest that goes whole 1400",
                  "IP packets of 1401..1500 bytes (ping payloads 1373..1472)", "ip tcp adjust-mss 1360",
                  "1500 (path MTU) - 20 (outer IPv4 header) - 8 (ESP header) - 8 (IV) - 16 (ICV)"):  # fmt: skip
        assert words in said.out
    assert "\x1b" not in said.out  # no terminal, no colours


def test_the_bar_has_a_letter_for_each_fate_and_a_size_where_it_changes(sample: Any) -> None:
    rows = picture.rows(sample["paths"][0])
    axis = picture.scale(rows, 100)
    assert [row.name for row in rows] == ["IPv4, DF set", picture.AT_PEER, "IPv4, DF clear", picture.AT_PEER]
    assert [[cell.look[0] for cell in row.cells] for row in rows] == [["W", "D", "T"], list("w.f"), ["W", "T", "T"],
                                                                     list("wff")]  # fmt: skip
    assert axis.edges == [1300, 1401, 1501, 1701] and axis.columns[0] == 0 and axis.columns[-1] == 100
    line = picture.ticks(axis)
    assert [line[axis.at(size) :][:4] for size in axis.edges[:-1]] == ["1300", "1401", "1501"]
    assert len(line) == 100 and line.endswith("1700")
    assert [letter for letter, _, _ in picture.legend(rows)] == ["D", "T", "W", "f", "w", "."]


def test_an_axis_of_many_changes_drops_labels_and_keeps_its_length() -> None:
    cells = [picture.Cell(k, k, "whole", False) for k in range(100, 160)]
    axis = picture.scale([picture.Row("x", cells)], 60)
    assert axis.columns == list(range(61)) and len(picture.ticks(axis)) == 60
    single = picture.scale([picture.Row("x", [picture.Cell(100, 100, "whole", False)])], 60)
    assert single.columns == [0, 60] and picture.ticks(single).split() == ["100", "100"]


@pytest.mark.parametrize("suffix, magic", [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_a_drawing(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / f"hole{suffix}"
    args = ("mtu", SAMPLE / "west.cfg", "--sizes", "1390-1510", "-o", target)
    said = qfp(*args)
    assert said.status == 0 and f"picture: {target}" in said.out
    data = target.read_bytes()
    assert data.startswith(magic)
    if suffix == ".svg":
        text = data.decode()
        for words in ("1401", "1501", "DF set", "interface Tunnel0", "dropped, ICMP to the source"):
            assert words in text
        assert qfp(*args, "--json").json["picture"] == str(target)
        assert target.read_bytes() == data  # the same picture again, byte for byte


def test_without_matplotlib_a_drawing_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    target = tmp_path / "hole.png"
    with pytest.raises(chart.MtuError, match=r"pip install 'qfp\[report\]'"):
        chart.write(target, [], "x")
    assert not target.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sizes", "x-y"], "give two IP sizes in bytes, as in 40-9216"),
        (["--sizes", "9000-40"], "the smaller first"),
        (["--sizes", "1-2-3"], "give two IP sizes"),
        (["--to", "nowhere"], "give an IPv4 or IPv6 address"),
        (["--to", "192.0.2.9"], "takes a protected path"),
        (["--in", "gi0/0/9"], "is not configured (there are: GigabitEthernet0/0/0"),
        (["--in", "gi0/0/0"], None),
        (["--host-mtu", "20"], "give 68 to 65535 bytes"),
        (["-o", "hole.gif"], "a picture ends in .svg, .png, .pdf"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: list[str], message: str | None) -> None:
    (tmp_path / "a.cfg").write_text(config(1))
    said = qfp("mtu", tmp_path / "a.cfg", "--json", *options, *(["--sizes", "100"] if message is None else []))
    if message is None:  # a plausible source is looked for behind any interface
        assert said.status == 0 and said.json["paths"][0]["ingress"] == "GigabitEthernet0/0/0"
        return
    assert said.status == 2
    assert message in said.err and message in said.json["error"]


def test_a_peer_that_is_no_peer_and_one_with_another_mtu(tmp_path: Path) -> None:
    a, b = tmp_path / "a.cfg", tmp_path / "b.cfg"
    a.write_text(tunnel(1, own=" ip mtu 1440"))
    b.write_text(tunnel(2, own=" ip mtu 1380"))
    said = qfp("mtu", a, "--peer", a, "--sizes", "100")
    assert said.status == 2 and "is the other end of no path" in said.err
    said = qfp("mtu", a, "--peer", b, "--sizes", "1370-1390")
    assert said.status == 0 and "ip mtu of Tunnel0 is 1440, that of its peer s2 1380" in said.out
    assert " ip mtu 1380" in said.out and "ip tcp adjust-mss 1340" in said.out


def test_a_configuration_with_errors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("interface GigabitEthernet0/0/0\n ip address nonsense\n")
    said = qfp("mtu", tmp_path / "a.cfg", "--json")
    assert said.status == 2 and said.json["issues"]
    assert qfp("mtu", tmp_path / "missing.cfg").status == 2
