"""`qfp check` of several files, its forms for other tools, and files as editors and terminals leave them."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli_help import config, qfp

from qfp.config import ConfigError, load, loads
from qfp.config.issues import RULES

pytestmark = pytest.mark.req("BASE-1")
WARNS = "hostname W\nunheard of\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """good.cfg, warns.cfg and bad.cfg in the working directory, and one that is not there."""
    monkeypatch.chdir(tmp_path)
    Path("good.cfg").write_text(config(1))
    Path("warns.cfg").write_text(WARNS)
    Path("bad.cfg").write_text("interface gi0/0\n bandwidth a:b,c%\n")
    return tmp_path


@pytest.mark.parametrize(
    "names, strict, status",
    [("good", (), 0), ("warns", (), 0), ("warns", ("--strict",), 2), ("good warns", (), 0), ("good bad", (), 2),
     ("bad good", (), 2), ("good nope", (), 2), ("nope good", ("--strict",), 2), ("nope", (), 2)],
)  # fmt: skip
def test_the_status_is_the_worst_of_all_files(files, names, strict, status):
    paths = [f"{name}.cfg" for name in names.split()]
    for form in ("text", "json", "github", "sarif"):
        assert qfp("check", *paths, *strict, "--format", form).status == status


def test_one_file_keeps_its_form_and_several_have_one_each(files):
    one = qfp("check", "bad.cfg", "--json").json
    assert one["config"] == "bad.cfg" and one["issues"] == one["problems"] and "files" not in one
    found = qfp("check", "good.cfg", "nope.cfg", "bad.cfg", "--json").json
    assert [each["config"] for each in found["files"]] == ["good.cfg", "nope.cfg", "bad.cfg"]
    assert [each["status"] for each in found["files"]] == [0, 2, 2] and found["status"] == 2
    assert found["files"][2] == one and "cannot be read" in found["files"][1]["error"]


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_checked(files):
    said = qfp("check", "nope.cfg", "bad.cfg")
    assert "nope.cfg: cannot be read" in said.err and "bad.cfg:2:" in said.err and "bad.cfg: 1 applied" in said.out


def test_only_lines_with_problems(files):
    said = qfp("check", "warns.cfg", "--problems")
    assert "unheard" in said.out and "hostname" not in said.out
    assert [each["line"] for each in qfp("check", "warns.cfg", "--problems", "--json").json["lines"]] == [2]


def test_annotations_of_a_workflow(files):
    """Percent signs and line ends are escaped in messages, colons and commas in properties too."""
    Path("a,b:c%.cfg").write_text("unheard 100%\n")
    said = qfp("check", "a,b:c%.cfg", "bad.cfg", "nope.cfg", "--format", "github")
    lines = said.out.splitlines()
    assert lines[0].startswith("::warning file=a%2Cb%3Ac%25.cfg,line=1,col=1,title=qfp unknown-command::")
    assert lines[1].startswith("::error file=bad.cfg,line=2,col=12,title=qfp syntax::'a:b,c%25' is not")
    assert lines[2].startswith("::error file=nope.cfg,title=qfp unreadable::cannot be read")
    assert not said.err


def test_sarif(files):
    """Rules, levels, locations and regions as SARIF 2.1.0 has them; URIs relative to the working directory."""
    Path("odd #1.cfg").write_text(WARNS)
    log = qfp("check", files / "odd #1.cfg", "bad.cfg", "nope.cfg", "--format", "sarif").json
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0" and [rule["id"] for rule in rules] == list(RULES)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [unquote(place["artifactLocation"]["uri"]) for place in places] == ["odd #1.cfg", "bad.cfg", "nope.cfg"]
    assert places[0] == {"artifactLocation": {"uri": "odd%20%231.cfg"}, "region": {"startLine": 2, "startColumn": 1}}
    assert "region" not in places[2]


def test_a_file_elsewhere_has_its_whole_uri(tmp_path, files, monkeypatch):
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    log = qfp("check", tmp_path / "bad.cfg", "--format", "sarif").json
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == (tmp_path / "bad.cfg").as_uri()


def test_two_forms_at_once_are_refused(files):
    assert qfp("check", "good.cfg", "--json", "--format", "sarif").status == 2


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
def test_no_form_shows_a_key(files, form):
    Path("k.cfg").write_text("crypto isakmp kye s3cret address 1.2.3.4\ncrypto isakmp key s3cret address 1.2.3\n")
    said = qfp("check", "k.cfg", "good.cfg", "--format", form)
    assert "s3cret" not in said.out + said.err


# --- encodings

TEXT = "hostname Café\ninterface GigabitEthernet0/0\n description naïve 100 €\n ip address 10.0.0.1 255.0.0.0\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    text = TEXT.replace("€", "E") if encoding == "latin-1" else TEXT
    (tmp_path / "x.cfg").write_bytes(text.replace("\n", end).encode(encoding))
    cfg = load(tmp_path / "x.cfg")
    assert not cfg.issues and cfg == loads(text)


def test_nul_characters_of_a_terminal_are_left_out(tmp_path):
    (tmp_path / "x.cfg").write_bytes(TEXT.encode() * 5 + b"\0\0\0")
    (issue,) = load(tmp_path / "x.cfg").issues
    assert issue.severity == "warning" and "3 NUL characters" in issue.message


def test_an_empty_file_is_said_to_be(tmp_path):
    (tmp_path / "x.cfg").write_text("\n \n")
    assert [issue.message for issue in load(tmp_path / "x.cfg").issues] == ["the file is empty: it configures nothing"]


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 9, bytes(4000), b"\xff\xfe\x00\xd8x", b"\x1f\x8b\x08" + bytes(range(30)) * 9]
)
def test_what_is_no_text_is_one_message(tmp_path, data):
    (tmp_path / "x.cfg").write_bytes(data)
    with pytest.raises(ConfigError, match=r"is (no text|gzip data)"):
        load(tmp_path / "x.cfg")
    said = qfp("check", tmp_path / "x.cfg", "--json")
    assert said.status == 2 and json.loads(said.out)["issues"] == [] and said.err.count("\n") == 1
