"""`qfp check`, `qfp convert`, and what `qfp bench` and `qfp diff` hand on."""

import pytest
from cli_help import office
from cli_help import qfp as qfp_command

from qfp.trace import read_trace


@pytest.mark.req("BASE-1")
def test_check_gives_each_line_a_verdict(tmp_path):
    o = office(tmp_path, extra="line vty 0 4\nunheard of\n")
    said = qfp_command("check", o.a)
    assert said.status == 0
    assert "applied" in said.out and "kept" in said.out and "1 warning" in said.out
    assert f"{o.a}:9:" in said.err and ": warning: " in said.err
    facts = qfp_command("check", o.a, "--json").json
    assert facts["ok"] and facts["counts"]["warning"] == 1 and facts["hostname"] == "Site1"
    assert [each["line"] for each in facts["lines"]] == sorted(each["line"] for each in facts["lines"])
    assert facts["issues"][0]["line"] == 9


@pytest.mark.req("BASE-1")
def test_check_refuses_errors_and_reports_them_all(tmp_path):
    path = tmp_path / "bad.cfg"
    path.write_text("interface GigabitEthernet0/0/0\n ip address 300.1.1.1 255.0.0.0\n ip address 1.1.1.1 1.2.3.4\n")
    said = qfp_command("check", path)
    assert said.status == 2 and f"{path}:2:" in said.err and f"{path}:3:" in said.err
    facts = qfp_command("check", path, "--json")
    assert facts.status == 2 and len(facts.json["issues"]) >= 2 and not facts.json["ok"]


@pytest.mark.req("USE-1")
@pytest.mark.parametrize("suffix", ["pcapng", "pcap.gz", "parquet", "arrow"])
def test_convert_there_and_back(tmp_path, suffix):
    o = office(tmp_path)
    there = qfp_command("convert", o.trace, o / f"x.{suffix}", "--json")
    assert there.status == 0 and there.json["frames"] == 42 and there.json["damage"] is None
    back = qfp_command("convert", o / f"x.{suffix}", o / "back.pcap")
    assert back.status == 0 and "42 frames" in back.out
    assert read_trace(o / "back.pcap").frames() == read_trace(o.trace).frames()


@pytest.mark.req("USE-4", "USE-5")
def test_bench_and_diff_hand_their_options_on(tmp_path, monkeypatch):
    import qfp.bench
    from qfp.cli import diff_command

    seen = []
    monkeypatch.setattr(qfp.bench, "run_bench", lambda *args: seen.append(args) or 0)
    monkeypatch.setattr(diff_command, "run_diff", lambda *args, **more: seen.append((*args, *more.values())) or 1)
    assert qfp_command("bench", "--quick", "--json").status == 0
    assert qfp_command("diff", "--seed", 5, "--count", 9, "--keys", "k", "--trace", "t").status == 1
    assert qfp_command("diff", "--json", "--allow-null").status == 1
    assert seen == [(True, True), (5, 9, "k", "t", False, False, False), (1, 1000, None, None, True, True, False)]
