"""`qfp explain` and `Result.explain`: the stages that a frame visited, from the very kernels."""

import numpy as np
import pytest
from cli_help import IN, OUT, config, office, packet, qfp, rewrite

from qfp.batch import Batch
from qfp.explain import ExplainError, state_of
from qfp.router import Router

pytestmark = pytest.mark.req("USE-3")


def stages(facts):
    return [step["stage"] for step in facts["stages"]]


def step(facts, name):
    return next(each for each in facts["stages"] if each["stage"] == name)


def test_a_packet_on_its_way_out(tmp_path):
    o = office(tmp_path)
    facts = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 5, "--json").json
    assert stages(facts) == [
        "walk",
        "parse",
        "spd",
        "forward",
        "sequence",
        "encap",
        "seal",
        "reserve",
        "deliver",
    ]
    assert facts["verdict"] == "forwarded" and facts["seq"] == 4 and facts["first_out"] == 5
    spd = step(facts, "spd")["facts"]
    assert spd["entry"]["where"] == "crypto map M 10" and "10.2.0.0/16" in spd["entry"]["rule"]
    assert spd["route"] == "0.0.0.0/0" and spd["egress"] == "GigabitEthernet0/0/0"
    sizes = step(facts, "encap")["facts"]
    assert sizes["size_before"] == len(packet(3)) and sizes["size_after"] == facts["len_out"]
    assert step(facts, "forward")["facts"] == {"ttl_before": 64, "ttl_after": 63}
    text = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 5).out
    for part in ("crypto map M 10", "number 4 of SA 0", "aes-gcm", "output record 5", "TTL 64 -> 63"):
        assert part in text


def test_a_drop_is_named_in_every_vocabulary(tmp_path):
    o = office(tmp_path)
    o.seal("--export-sas", o / "s.json")
    rewrite(o / "wire.pcapng", o / "bad.pcap", [0, 4, 4, 5], spoil=(3,))
    for args in (("explain", o.b, o / "bad.pcap", "--in", OUT), ("explain", o / "bad.pcap", "--keys", o / "s.json")):
        facts = qfp(*args, "--frame", 2, "--json").json
        drop = step(facts, "commit")["drop"]
        assert (drop["cause"], drop["xe_code"], drop["linux"]) == ("REPLAY", 19, "XfrmInStateSeqError")
        assert drop["xe_name"] == "IN_CD_SW_IPSEC_ANTI_REPLAY_FAIL" and drop["sentence"]
        level = step(facts, "commit")["facts"]["levels"][0]
        assert level["window"] == {
            "size": 64,
            "number": "inside the window, seen before",
            "top_before": 3,
            "top_after": 3,
        }
        text = qfp(*args, "--frame", 2).out
        assert "seen before" in text and "XfrmInStateSeqError" in text and "IOS XE 19" in text
        assert step(qfp(*args, "--frame", 3, "--json").json, "commit")["drop"]["cause"] == "INTEGRITY"


def test_a_frame_that_is_not_there(tmp_path):
    o = office(tmp_path)
    said = qfp("explain", o.a, o.trace, "--in", IN, "--frame", 42)
    assert said.status == 2 and "42 frames" in said.err and "0 to 41" in said.err


@pytest.mark.parametrize(
    "transform",
    ["esp-gcm 256", "ah-sha-hmac esp-aes esp-sha-hmac", "esp-null esp-sha256-hmac", "esp-3des esp-md5-hmac"],
)
def test_explanations_agree_with_the_verdicts_of_the_run(transform):
    a, b = Router.loads(config(1, transform)), Router.loads(config(2, transform))
    frames = [packet(k) for k in range(6)]
    frames[2:2] = [packet(90, ttl=1), b"\x45junk", packet(91, dst="192.0.2.9"), packet(92, dst="10.1.0.1")]
    out = a.forward(Batch.from_frames(frames), IN)
    wire = out.packets.frames()
    wire = [wire[k] for k in (1, 0, 0, 4, 5)] + [wire[6][:-1] + b"\0", wire[7][:60], b"", packet(3)]
    back = b.forward(Batch.from_frames(wire), OUT)
    for router, result, count in ((a, out, len(frames)), (b, back, len(wire))):
        now = state_of(router)
        table = result.verdicts
        for k in range(count):
            facts = result.explain(k)
            for name, key in (("len_out", "len_out"), ("seq", "seq"), ("first_out", "first_out")):
                assert facts[name] == table[key][k], (k, name)
            assert (facts["cause"] or {"cause": None})["cause"] == (
                None if not table["cause"][k] else facts["cause"]["cause"]
            )
            assert (
                facts["verdict"]
                == ["none", "forwarded", "dropped", "consumed", "punted", "bypassed", "queued"][table["verdict"][k]]
            )
            drops = [s["drop"]["cause"] for s in facts["stages"] if "drop" in s]
            assert drops == ([facts["cause"]["cause"]] if facts["cause"] else [])
        tables = state_of(router)["tables"]
        assert all(np.array_equal(now["tables"][name], kept) for name, kept in tables.items())
        assert router.lifetimes.events == [] and len({name for name, _ in tables}) > 20


def test_explaining_an_earlier_result_uses_its_own_state():
    a = Router.loads(config(1))
    first = a.forward(Batch.from_frames([packet(1)]), IN)
    second = a.forward(Batch.from_frames([packet(2), packet(3)]), IN)
    assert [first.explain(0)["seq"], second.explain(1)["seq"], first.explain(0)["seq"]] == [1, 3, 1]
    assert second.explain(1)["first_out"] == 1
    with pytest.raises(IndexError, match="there is no 2"):
        second.explain(2)
    a.tables.changed()
    with pytest.raises(ExplainError, match="run the batch again"):
        second.explain(0)
    assert first.explain(0)["seq"] == 1, "a router's first frames can always be run again"


def test_frames_count_from_0_and_with_a_sign_from_1_as_wireshark(tmp_path):
    o = office(tmp_path)
    args = ("explain", o.a, o.trace, "--in", IN, "--json", "--frame")
    facts = qfp(*args, 5).json
    assert (facts["frame"], facts["number"]) == (5, 6) and qfp(*args, "#6").json == facts
    assert qfp(*args[:-2], "--frame", "#6").out.startswith("frame 5 (#6): ")
    for wrong in ("#0", "-1", "#-1", "5.0", "", "#", "x", "9" * 40):
        said = qfp(*args, wrong)
        assert said.status == 2 and "'#N' to count from 1" in said.err, wrong
    beyond = qfp(*args, "#43")
    assert beyond.status == 2 and "there is no frame 42" in beyond.err


def test_the_first_frames_of_a_cause(tmp_path):
    """Each is what `--frame` says of it: those before it came first."""
    o = office(tmp_path)
    o.seal("--export-sas", o / "s.json")
    rewrite(o / "wire.pcapng", o / "bad.pcap", [0, 1, 1, 4, 0, 5, 4, 1], spoil=(5,))
    router = ("explain", o.b, o / "bad.pcap", "--in", OUT)
    opener = ("explain", o / "bad.pcap", "--keys", o / "s.json")
    for args in (router, opener):
        told = qfp(*args, "--cause", "replay", "--json").json
        assert (told["cause"], told["dropped"]) == ("REPLAY", 4)
        assert [each["frame"] for each in told["frames"]] == [2, 4, 6]
        for each in told["frames"]:
            alone = qfp(*args, "--frame", each["frame"], "--json").json
            assert {name: alone[name] for name in each} == each
        every = qfp(*args, "--cause", "REPLAY", "--count", 9, "--json").json["frames"]
        assert [each["frame"] for each in every] == [2, 4, 6, 7]
        said = qfp(*args, "--cause", "replay", "--count", 2)
        assert said.out.count("REPLAY") >= 2 and "4 frames were dropped for REPLAY: --count shows more" in said.out
        assert said.out.startswith("frame 2 (#3)") and "\n\nframe 4 (#5)" in said.out
        assert qfp(*args, "--cause", "integrity", "--json").json["dropped"] == 1
        none = qfp(*args, "--cause", "NO_ROUTE")
        assert none.status == 0 and "no frame was dropped for NO_ROUTE; dropped were: REPLAY 4, INTEGRITY 1" in none.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cause", "REPLAYS"], "did you mean REPLAY?"),
        (["--cause", "\x1b[31m"], "docs/drops.md lists them"),
        (["--cause", "NONE"], "no cause of a drop has this name"),
        (["--cause", "REPLAY", "--frame", "1"], "explain takes --frame N, or --cause NAME"),
        ([], "explain takes --frame N, or --cause NAME"),
        (["--frame", "1", "--count", "2"], "--count belongs to --cause"),
    ],
)
def test_what_explain_is_asked_wrongly(tmp_path, options, words):
    o = office(tmp_path)
    said = qfp("explain", o.a, o.trace, "--in", IN, *options)
    assert said.status == 2 and words in said.err and "\x1b" not in said.err


def test_a_cause_in_a_damaged_trace(tmp_path):
    """What is in front of the damage is looked at, and it is said where that is."""
    o = office(tmp_path)
    (o / "cut.pcap").write_bytes(o.trace.read_bytes()[:-5])
    said = qfp("explain", o.a, o / "cut.pcap", "--in", IN, "--cause", "TTL_EXPIRED", "--json")
    assert said.status == 0 and said.json["dropped"] == 1 and "frames behind it are not looked at" in said.err
