"""`qfp run` and `qfp decrypt`: outputs, summaries, key exchange between runs."""

import json
import stat

import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from cli_help import OUT, office, packet, qfp, rewrite

from qfp.trace import read_trace
from qfp.trace.keyfile import read_keys

pytestmark = pytest.mark.req("USE-1", "USE-3")
COUNTS = ("frames_in", "bytes_in", "packets_out", "bytes_out", "verdicts", "drops", "interfaces", "sas", "spd",
          "flow_cache", "engine", "batch", "threads", "rates", "issues", "outputs", "damage", "status", "schema",
          "config", "trace", "ingress", "keying", "seed")  # fmt: skip


def test_a_run_writes_packets_verdicts_and_keys(tmp_path):
    o = office(tmp_path)
    said = o.seal(
        "--verdicts", o / "v.parquet", "--export-sas", o / "s.json", "--export-esp-sa", o / "esp_sa", "--json"
    )
    facts = said.json
    assert said.status == 0 and set(COUNTS) <= set(facts)
    assert facts["frames_in"] == 42 and facts["packets_out"] == 42, "an ICMP error goes back for the TTL"
    assert facts["verdicts"] == {"forwarded": 40, "dropped": 1, "bypassed": 1}
    assert [(d["cause"], d["packets"]) for d in facts["drops"]] == [("TTL_EXPIRED", 1)]
    assert facts["drops"][0]["meaning"].startswith("TTL or hop limit")
    inside, outside = facts["interfaces"][1], facts["interfaces"][0]
    assert (inside["in_packets"], inside["drops"], outside["out_packets"]) == (42, 1, 41)
    assert facts["spd"][0]["packets"] == 40 and facts["spd"][0]["rule"] == "ip 10.1.0.0/16 -> 10.2.0.0/16"
    assert facts["flow_cache"]["hits"] + facts["flow_cache"]["misses"] == 43
    out = next(sa for sa in facts["sas"] if sa["direction"] == "out")
    assert (out["packets"], out["next_seq"], out["peer"]) == (40, 41, "203.0.113.2")
    assert len(read_trace(o / "wire.pcapng")) == 42
    table = pq.read_table(o / "v.parquet")
    assert table.num_rows == 42 and table["cause"].to_pylist()[2] == "TTL_EXPIRED"
    for name in ("s.json", "esp_sa"):
        assert stat.S_IMODE((o / name).stat().st_mode) == 0o600


def test_the_summary_is_text_without_json(tmp_path):
    said = office(tmp_path).seal()
    for part in ("42 frames in", "TTL_EXPIRED", "TTL or hop limit", "203.0.113.2", "crypto map M 10", "packets/s"):
        assert part in said.out
    assert said.status == 0


def test_the_peer_and_the_decryptor_read_the_exported_keys(tmp_path):
    o = office(tmp_path)
    o.seal("--export-sas", o / "s.json", "--seed", 7)
    back = qfp(
        "run", o.b, o / "wire.pcapng", "--in", OUT, "--keys", o / "s.json", "-o", o / "back.pcapng", "--json"
    ).json
    opened = qfp("decrypt", o / "wire.pcapng", "--keys", o / "s.json", "-o", o / "inner.pcapng", "--json").json
    assert back["verdicts"]["forwarded"] == 40 and opened["verdicts"]["forwarded"] == 40
    assert next(sa for sa in back["sas"] if sa["direction"] == "in")["window"] == 64
    inner = read_trace(o / "inner.pcapng").frames()
    sent = read_trace(o.trace).frames()
    assert [f[20:] for f in inner] == [f[20:] for k, f in enumerate(sent) if k not in (2, 3)]
    with_seed = qfp("run", o.b, o / "wire.pcapng", "--in", OUT, "--seed", 7, "--json").json
    other_seed = qfp("run", o.b, o / "wire.pcapng", "--in", OUT, "--seed", 8, "--json").json
    assert with_seed["verdicts"] == back["verdicts"]
    assert {d["cause"] for d in other_seed["drops"]} == {"NO_SA"}


@pytest.mark.req("BASE-3")
def test_a_bundle_is_exported_with_a_common_name(tmp_path):
    o = office(tmp_path, transform="ah-sha-hmac esp-aes esp-sha-hmac")
    o.seal("--export-sas", o / "s.json")
    sas = read_keys(o / "s.json")
    assert sorted(sa.proto for sa in sas) == ["ah", "ah", "esp", "esp"]
    names = {sa.bundle for sa in sas}
    assert len(names) == 2 and all(sum(sa.bundle == name for sa in sas) == 2 for name in names)
    back = qfp("run", o.b, o / "wire.pcapng", "--in", OUT, "--keys", o / "s.json", "--json").json
    assert back["verdicts"]["forwarded"] == 40


def test_each_entry_of_a_policy_finds_its_own_exported_sas(tmp_path):
    o = office(tmp_path)
    for path, near, far in ((o.a, 1, 2), (o.b, 2, 1)):
        rule = "access-list 101 permit {} 10.{}.0.0 0.0.255.255 10.{}.0.0 0.0.255.255\n"
        text = path.read_text()
        text = text[: text.index("access-list 101")] + rule.format("tcp", near, far) + rule.format("udp", near, far)
        path.write_text(text)
    facts = o.seal("--export-sas", o / "s.json", "--json").json
    assert [e["packets"] for e in facts["spd"]] == [0, 40]
    back = qfp("run", o.b, o / "wire.pcapng", "--in", OUT, "--keys", o / "s.json", "--json").json
    assert back["verdicts"]["forwarded"] == 40 and not back["issues"]


@pytest.mark.parametrize("options", [("--batch", 1), ("--batch", 7), ("--threads", 2), ("--engine", "openssl")])
def test_batch_threads_and_engine_change_nothing(tmp_path, options):
    o = office(tmp_path)
    first = o.seal("--verdicts", o / "v.parquet", "--json").json
    other = o.seal("--verdicts", o / "w.parquet", "--json", *options, name="other.pcapng").json
    assert (o / "wire.pcapng").read_bytes() == (o / "other.pcapng").read_bytes()
    assert (o / "v.parquet").read_bytes() == (o / "w.parquet").read_bytes()
    for part in ("verdicts", "drops", "interfaces", "sas", "spd"):
        assert first[part] == other[part]


def test_a_second_run_is_byte_identical(tmp_path):
    o = office(tmp_path)
    names = ("wire.pcapng", "v.arrow", "s.json", "esp_sa", "log")
    options = ("--verdicts", o / "v.arrow", "--export-sas", o / "s.json", "--export-esp-sa", o / "esp_sa",
               "--log", o / "log", "--json")  # fmt: skip
    facts, kept = [], []
    for _ in range(2):
        facts.append(o.seal(*options).json)
        kept.append({name: (o / name).read_bytes() for name in names})
        facts[-1].pop("rates")
    assert facts[0] == facts[1] and kept[0] == kept[1]
    assert pyarrow.ipc.open_file(o / "v.arrow").read_all().num_rows == 42


@pytest.mark.parametrize("suffix", ["pcap", "pcapng", "pcapng.gz", "parquet", "arrow"])
def test_the_output_follows_its_suffix(tmp_path, suffix):
    o = office(tmp_path)
    assert o.seal(name=f"out.{suffix}").status == 0
    assert len(read_trace(o / f"out.{suffix}")) == 42


@pytest.mark.req("BASE-1")
def test_warnings_name_file_line_and_column(tmp_path):
    o = office(tmp_path, extra="crypto map M 20 ipsec-isakmp\n set peer 203.0.113.9\n match address 199\n")
    said = o.seal("--json")
    assert said.status == 0
    assert f"{o.a}:10:" in said.err and ": warning: " in said.err
    assert any(i["line"] == 10 and i["severity"] == "warning" for i in said.json["issues"])


def test_a_configuration_with_errors_is_refused_when_asked(tmp_path):
    o = office(tmp_path)
    o.a.write_text(o.a.read_text().replace("203.0.113.1 255.255.255.0", "203.0.113.1 255.0.255.0"))
    said = o.seal("--json", "--strict")
    assert said.status == 2 and said.json["status"] == 2
    assert f"{o.a}:9:" in said.err and ": error: " in said.err and "correct the lines named above" in said.err
    assert 9 in [i["line"] for i in said.json["issues"] if i["severity"] == "error"]
    assert not (o / "wire.pcapng").exists()


def test_ike_is_refused_until_it_is_built(tmp_path):
    said = office(tmp_path).seal("--keying", "ike")
    assert said.status == 2 and "not built yet" in said.err and "--keying auto" in said.err


def test_manual_keying_takes_session_keys_only(tmp_path):
    said = office(tmp_path).seal("--keying", "manual", "--json")
    assert said.status == 0 and {d["cause"] for d in said.json["drops"]} == {"NO_SA_OUT"}


def test_a_wrong_interface_names_those_there_are(tmp_path):
    o = office(tmp_path)
    said = qfp("run", o.a, o.trace, "--in", "gi0/0/9")
    assert said.status == 2 and "GigabitEthernet0/0/1" in said.err


def sealed(tmp_path):
    o = office(tmp_path)
    o.seal("--export-sas", o / "s.json")
    return o


def test_decrypt_says_what_failed_and_why(tmp_path):
    o = sealed(tmp_path)
    rewrite(o / "wire.pcapng", o / "bad.pcap", [0, 1, 1, 4, 5, 3], spoil=(4,))
    said = qfp("decrypt", o / "bad.pcap", "--keys", o / "s.json", "--verdicts", o / "v.parquet", "--json")
    assert said.status == 0
    assert said.json["verdicts"] == {"forwarded": 3, "dropped": 2, "bypassed": 1}
    assert {d["cause"]: d["packets"] for d in said.json["drops"]} == {"REPLAY": 1, "INTEGRITY": 1}
    assert next(sa for sa in said.json["sas"] if sa["packets"])["replays"] == 1
    text = qfp("decrypt", o / "bad.pcap", "--keys", o / "s.json").out
    assert "REPLAY" in text and "The ICV does not verify" in text


def test_window_and_keep_clear(tmp_path):
    o = sealed(tmp_path)
    rewrite(o / "wire.pcapng", o / "twice.pcap", [0, 0, 3, 1])
    args = ("decrypt", o / "twice.pcap", "--keys", o / "s.json", "-o", o / "out.pcap", "--json")
    assert qfp(*args).json["packets_out"] == 2
    assert qfp(*args, "--window", 0).json["packets_out"] == 3
    assert qfp(*args, "--window", 0, "--keep-clear").json["packets_out"] == 4
    assert read_trace(o / "out.pcap").frame(2)[20:] == packet(91, dst="192.0.2.9")[20:]


def test_decrypt_engine_batch_threads(tmp_path):
    o = sealed(tmp_path)
    seen = set()
    for options in ((), ("--engine", "openssl"), ("--batch", 3), ("--threads", 2)):
        said = qfp("decrypt", o / "wire.pcapng", "--keys", o / "s.json", "-o", o / "x.pcapng", "--json", *options)
        assert said.status == 0
        seen.add((o / "x.pcapng").read_bytes())
    assert len(seen) == 1


def test_wireshark_keys_open_the_capture(tmp_path):
    o = office(tmp_path)
    o.seal("--export-esp-sa", o / "esp_sa")
    assert qfp("decrypt", o / "wire.pcapng", "--keys", o / "esp_sa", "--json").json["verdicts"]["forwarded"] == 40


def test_ah_is_said_not_to_fit_wiresharks_table(tmp_path):
    o = office(tmp_path, transform="ah-sha-hmac")
    said = o.seal("--export-esp-sa", o / "esp_sa", "--json")
    assert said.status == 0 and "AH" in said.err
    json.loads(said.out)
