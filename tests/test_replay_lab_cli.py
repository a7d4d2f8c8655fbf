"""`qfp replay-lab` and `qfp strip`: what is read from packets, files in and out, the text, wrong questions."""

import importlib
import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import naive_capture
import naive_replay as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from capture_help import Memory
from cli_help import START, office, qfp, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, ip6, udp
from replay_help import DST6, SCHEMES, SPI, SRC, ah, as_packets, capture, disordered, esp, natt
from test_damage import random_frames

from qfp.antireplay import columns, report, strip
from qfp.antireplay.columns import Observed, Observer, Scratch
from qfp.batch import Batch
from qfp.cli.replay_lab import print_lab
from qfp.trace import read_trace, write_trace
from qfp.trace.walker import Walker
from qfp_kernels import observe as K

CAPTURES = Path(__file__).parents[2] / "shared" / "vectors" / "captures"
FACTS = {"schema", "status", "source", "packets", "windows", "classes", "damage", "sas", "left_out", "totals",
         "capture", "outputs"}  # fmt: skip


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of two SAs, one far out of order."""
    seq, dscp = disordered(3000, 1, 400)
    frames = [esp(n, d) for n, d in as_packets(seq, dscp)]
    frames[100:100] = [esp(k, 46, SPI + 1, DST6) for k in range(1, 41)]
    return capture(tmp_path_factory.mktemp("wan") / "wan.pcapng", frames)


# ------------------------------------------------------------------------------------------- reading packets
def rows_of(found: Observed) -> list[tuple[Any, ...]]:
    names = [name.words for name in found.names]
    c = found.columns
    return [
        (names[sa][2], names[sa][1], int(names[sa][0], 16), seq, size, tos)
        for sa, seq, size, tos in zip(*(c[k].tolist() for k in ("sa", "seq", "len", "tos")), strict=True)
    ]


def compare(found: Observed, frames: list[bytes]) -> None:
    """Rows and counts as the twin has them."""
    told = [naive.observed(frame, len(frame)) for frame in frames]
    assert rows_of(found) == [row for each in told if not isinstance(each, str) for row in each]
    c = found.counts
    assert c.frames == len(frames)
    assert (c.later_fragments, c.cut_short, c.other) == tuple(told.count(w) for w in ("later", "short", "other"))


def kinds_of_packets() -> list[bytes]:
    """Every kind that is told apart."""
    body = struct.pack("!II", 0x1234, 9) + bytes(20)
    return [
        esp(1), esp(2, 46), esp(3, dst=DST6), ah(4), natt(5), ah(6, inner=esp(7)[20:], next_header=50),
        ah(8, inner=ah(9)[20:], next_header=51), ip4(SRC, "203.0.113.9", body, 50, options=b"\x94\x04\0\0"),
        ip4(SRC, "203.0.113.9", body, 50, flags=0x2000), ip4(SRC, "203.0.113.9", body, 50, flags=0x2000 | 99),
        ip4(SRC, "203.0.113.9", body, 17, flags=7), ip4(SRC, "203.0.113.9", body, 6, flags=7),
        ip6("2001:db8::1", DST6, body, 50, headers=[(0, bytes(6)), (60, bytes(6)), (44, b"\0\0\0\1\0\7")]),
        ip6("2001:db8::1", DST6, body, 50, headers=[(44, b"\1\0\0\0\0\7")]),
        ip4(SRC, "203.0.113.9", udp(4500, 4500, b"\xff")), ip4(SRC, "203.0.113.9", udp(500, 4500, bytes(4) + body)),
        ip4(SRC, "203.0.113.9", udp(500, 500, body)), ip4(SRC, "203.0.113.9", bytes(4) + body, 50),
        ip4(SRC, "203.0.113.9", body[:7], 50) + bytes(30), b"\x45", b"", b"\x60" + bytes(60), b"\x95" + bytes(60),
    ]  # fmt: skip


def test_every_kind_of_packet(tmp_path: Path) -> None:
    frames = kinds_of_packets()
    found = columns.observe(capture(tmp_path / "kinds.pcap", frames))
    compare(found, frames)
    assert len(found) == 12 and found.counts.later_fragments == 3  # two bundles; fragments of ESP, UDP and IPv6 ESP
    assert [name.words[0] for name in found.names][:2] == ["0x4954c4d2", "0x4954c4d2"]


def test_packets_of_which_only_headers_were_captured(tmp_path: Path) -> None:
    """Every length that a packet may be cut to, in a file that ends there."""
    for size in range(90):
        frames = [frame[:size] for frame in kinds_of_packets()]
        found = columns.observe(capture(tmp_path / "cut.pcap", frames))
        compare(found, frames)


@pytest.mark.req("BASE-12")
def test_random_frames(tmp_path: Path) -> None:
    batch = random_frames(20_000, 12)
    raw = Batch(batch.arena, {**batch.columns, "link": np.full(len(batch), 101)})
    write_trace(tmp_path / "any.pcap", raw)
    compare(columns.observe(tmp_path / "any.pcap"), raw.frames())
    write_trace(tmp_path / "any.pcapng", batch)
    found = columns.observe(tmp_path / "any.pcapng")  # of all link types
    assert found.counts.frames == len(batch)


@pytest.mark.req("BASE-12")
@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans(), st.sampled_from([0, 1, 101, 108, 113, 276]))
def test_nothing_is_read_outside_a_capture(rng: random.Random, at_end: bool, link: int) -> None:
    """Frames between pages that cannot be read: whatever their headers say, nothing behind the last is looked at."""
    frames = []
    for frame in kinds_of_packets():
        data = bytearray(frame[: rng.randrange(len(frame) + 1)])
        for _ in range(rng.randrange(3) if data else 0):
            data[rng.randrange(len(data))] = rng.choice([0, 4, 5, 6, 43, 44, 50, 51, 255])
        frames.append(bytes(data))
    rng.shuffle(frames)
    walker, observer = Walker(Memory(naive_capture.pcap(frames, link=link), at_end)), Observer()
    for rows in walker:
        observer.room_for(rows * K.LEVELS)
        observer.observe(walker, rows)
    assert int(observer.o.ctl[K.O_FRAMES]) == len(frames)
    if link == 101:
        assert int(observer.o.ctl[K.O_ROWS]) == sum(len(t) for t in (naive.observed(f, len(f)) for f in frames)
                                                    if not isinstance(t, str))  # fmt: skip


def test_ethernet_vlan_and_thousands_of_sas(tmp_path: Path) -> None:
    """The table of SAs grows; each keeps its number."""
    frames = [bytes(12) + b"\x81\0\0\7\x08\0" + esp(1 + k // 9000, spi=256 + k % 9000) for k in range(18_000)]
    write_trace(tmp_path / "many.pcap", Batch.from_frames(frames, link=1))
    found = columns.observe(tmp_path / "many.pcap")
    assert [name.spi for name in found.names] == list(range(256, 9256))
    assert found.columns["sa"].tolist() == [k % 9000 for k in range(18_000)]
    assert found.rows_of(8999).tolist() == [8999, 17_999]


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"{CAPTURES} is absent")
def test_real_captures_hold_what_their_manifest_says(tmp_path: Path) -> None:
    for entry in json.loads((CAPTURES / "manifest.json").read_text())["captures"]:
        path = CAPTURES / entry["file"]
        found = columns.observe(path)
        assert found.counts.frames == entry["frames"], path
        if "esp_frames" in entry:
            esp_rows = [row for row in rows_of(found) if row[0] == "esp"]
            assert len(esp_rows) + found.counts.cut_short == entry["esp_frames"], path
        numbers: dict[tuple[Any, ...], list[int]] = {}
        for _, dst, spi, seq, _, _ in rows_of(found):
            numbers.setdefault((dst, spi), []).append(seq)
        for row in entry.get("sas", []):
            sa, expect = row["sa"], row["expect"]
            if "first_seq" in expect and "last_seq" in expect:
                seen = numbers[sa["dst"], sa["spi"]]
                assert seen[0] <= expect["first_seq"] and seen[-1] >= expect["last_seq"], (path, sa["spi"])


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"{CAPTURES} is absent")
def test_real_captures_are_studied_and_stripped(tmp_path: Path) -> None:
    for path in sorted(CAPTURES.glob("*/*.pcap*")):
        whole = qfp("replay-lab", path, "--json")
        assert whole.status == 0, path
        for sa in whole.json["sas"]:
            assert sa["schemes"][0]["packets"] == sa["packets"] == sum(c["packets"] for c in sa["classes"])
        table = tmp_path / "t.parquet"
        assert qfp("strip", path, "-o", table).status == 0
        assert nameless(qfp("replay-lab", table, "--json").out) == nameless(whole.out), path


@pytest.mark.req("AR-2")
def test_what_the_study_foretells_happens_to_packets_with_keys(tmp_path: Path) -> None:
    """`qfp decrypt` drops as many packets of a disordered capture as the study says, at every window."""
    o = office(tmp_path, packets=400)
    assert o.seal("--export-sas", o / "s.json").status == 0
    rng = np.random.default_rng(3)
    ours = [k for k, frame in enumerate(read_trace(o / "wire.pcapng").frames()) if frame[9] == 50]
    order = np.argsort(np.arange(len(ours)) + rng.integers(0, 150, len(ours)), kind="stable").tolist()
    rewrite(o / "wire.pcapng", o / "late.pcapng", [ours[k] for k in order + order[:40]])
    for window in (32, 64, 100, 128, 256):
        opened = qfp("decrypt", o / "late.pcapng", "--keys", o / "s.json", "--window", window, "--json").json
        (sa,) = qfp("replay-lab", o / "late.pcapng", "--windows", window, "--json").json["sas"]
        plain = sa["schemes"][0]
        assert opened["verdicts"]["forwarded"] == len(order) - plain["drops"][0]["late"]
        assert plain["duplicates"] == 40 and (plain["drops"][0]["late"] > 0) == (window < plain["loss_free_window"])


# -------------------------------------------------------------------------------------------------- stripping
def nameless(text: str) -> str:
    """JSON without the names of SAs and of the file: nothing else may differ, byte for byte."""
    return re.sub(r'"(spi|dst|source)": "[^"]*"', r'"\1"', text)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("options", [(), ("--selector-bits", "4"), ("--windows", "50,1000")])
def test_a_stripped_table_gives_the_same_answer(wan: Path, tmp_path: Path, suffix: str, options: Any) -> None:
    table = tmp_path / f"t{suffix}"
    said = qfp("strip", wan, "-o", table, "--salt", "pepper")
    assert said.status == 0 and "3,040 rows of 2 SAs; columns ts, spi, dst, proto, seq, len, tos" in said.out
    packets, rows = qfp("replay-lab", wan, "--json", *options), qfp("replay-lab", table, "--json", *options)
    assert packets.status == rows.status == 0
    assert nameless(packets.out) == nameless(rows.out) and packets.out != rows.out
    chosen = rows.json["sas"][1]
    assert re.fullmatch("#[0-9a-f]{16}", chosen["spi"])
    one = qfp("replay-lab", table, "--json", "--spi", chosen["spi"], *options).json
    assert one["sas"] == [chosen]


def test_a_stripped_table_names_nobody(wan: Path, tmp_path: Path) -> None:
    """Neither addresses nor SPIs are in it, in any byte order; the salt decides the hashes, a random one differs."""
    seen = {}
    for name, salt in (("a", ("--salt", "x")), ("b", ("--salt", "x")), ("c", ("--salt", "y")), ("d", ()), ("e", ())):
        path = tmp_path / f"{name}.arrow"
        assert qfp("strip", wan, "-o", path, *salt).status == 0
        table = pa.ipc.open_file(path).read_all()
        assert table.schema.names == ["ts", "spi", "dst", "proto", "seq", "len", "tos"]
        seen[name] = (table["spi"].to_pylist(), table["dst"].to_pylist())
        data = path.read_bytes()
        assert not {0x4954C4D2, 0x4954C4D3} & set(seen[name][0])
        for secret in (bytes([203, 0, 113]), b"\x49\x54\xc4", b"\xc4\x54\x49", bytes.fromhex("20010db8")):
            assert secret not in data
    assert seen["a"] == seen["b"] and len({seen[k][0][0] for k in "acde"}) == 4
    assert len({seen[k][1][0] for k in "acde"}) == 4


def test_equal_spis_of_different_destinations_cannot_be_told_to_be_equal(tmp_path: Path) -> None:
    frames = [esp(1), esp(1, dst="203.0.113.7"), ah(1)]
    assert qfp("strip", capture(tmp_path / "x.pcap", frames), "-o", tmp_path / "t.arrow").status == 0
    table = pa.ipc.open_file(tmp_path / "t.arrow").read_all()
    assert len(set(table["spi"].to_pylist())) == 3 and len(set(table["dst"].to_pylist())) == 2
    assert len(report(tmp_path / "t.arrow").sas) == 3


def test_json_of_strip(wan: Path, tmp_path: Path) -> None:
    said = qfp("strip", wan, "-o", tmp_path / "t.parquet", "--json").json
    assert said["schema"] == "qfp-strip/1" and (said["rows"], said["sas"], said["damage"]) == (3040, 2, None)
    assert pq.read_schema(tmp_path / "t.parquet").metadata[b"qfp.schema"] == b"qfp-strip/1"


# ---------------------------------------------------------------------------------------------------- answers
def test_json(wan: Path) -> None:
    said = qfp("replay-lab", wan, "--json").json
    assert set(said) == FACTS and said["schema"] == "qfp-replay-lab/1" and said["status"] == 0
    assert said["windows"] == [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    assert said["packets"] == {"frames": 3040, "headers": 3040, "later_fragments": 0, "cut_short": 0, "other": 0}
    first, second = said["sas"]
    assert (first["spi"], first["dst"], first["proto"]) == ("0x4954c4d2", "203.0.113.2", "esp")
    assert (second["spi"], second["dst"], second["packets"]) == ("0x4954c4d3", "2001:db8::2", 40)
    assert (second["first_ts"], second["packets_per_second"]) == (START + 100 * 10**6, 1000.0)
    assert [s["scheme"] for s in first["schemes"]] == list(SCHEMES)
    assert second["schemes"][0]["router_window"] == 64 and second["schemes"][0]["loss_free_window"] == 1


def test_text_is_made_from_the_facts_of_json(wan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = qfp("replay-lab", wan)
    facts = qfp("replay-lab", wan, "--json").json
    print_lab(facts)
    assert capsys.readouterr().out == said.out
    plain = facts["sas"][0]["schemes"][0]
    for text in ("3,040 frames, 3,040 ESP and AH headers, 2 SAs", "esp 0x4954c4d2 to 203.0.113.2: 3,000 packets",
                 "N=8192", f"  {plain['loss_free_window']:,}  ", "reorder extent", "late by", "bursts", "█", "▇",
                 "one space needs a window of", "in order: any window will do"):  # fmt: skip
        assert text in said.out, text
    assert "\x1b" not in said.out


def test_advice(tmp_path: Path) -> None:
    frames = [esp(2001, 46), esp(2002, 46), *(esp(n) for n in range(1, 2001))]
    said = qfp("replay-lab", capture(tmp_path / "y.pcap", [esp(n) for n in [*range(2, 90), 1]]))
    assert "crypto ipsec security-association replay window-size 128" in said.out
    said = qfp("replay-lab", capture(tmp_path / "x.pcap", frames))
    assert "one space needs a window of 2,002, more than the router takes (1,024)" in said.out
    assert "with a space a class (multi-sn) 64 will do" in said.out


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_tables(wan: Path, tmp_path: Path, suffix: str) -> None:
    """A verdict a packet and receiver, as the twin has it; a row an SA, scheme and window, as JSON has it."""
    v, t = tmp_path / f"v{suffix}", tmp_path / f"t{suffix}"
    said = qfp("replay-lab", wan, "--windows", "64,100", "--verdicts", v, "--table", t, "--json")
    assert said.status == 0 and said.json["outputs"] == {"verdicts": str(v), "table": str(t)}
    read = pq.read_table if suffix == ".parquet" else lambda p: pa.ipc.open_file(p).read_all()
    rows = read(v)
    assert rows.num_rows == 3040 and sorted(rows["packet"].to_pylist()) == list(range(3040))
    seq, dscp = disordered(3000, 1, 400)
    first = rows.filter(pa.compute.equal(rows["sa"], 0))
    assert first["seq"].to_pylist() == seq.tolist()
    for scheme in SCHEMES:
        for window in (64, 100):
            wanted = naive.verdicts(as_packets(seq, dscp), scheme, window)
            assert first[f"{scheme}_{window}"].to_pylist() == wanted
    table = read(t).to_pylist()
    wanted = [(sa["spi"], s["scheme"], d["window"], d["late"]) for sa in said.json["sas"] for s in sa["schemes"]
              for d in s["drops"]]  # fmt: skip
    assert [(r["spi"], r["scheme"], r["window"], r["late"]) for r in table] == wanted and len(table) == 16
    assert all(r["accepted"] + r["late"] + r["duplicates"] + r["zeros"] == r["packets"] for r in table)


def test_classes_of_a_file_share_spaces(wan: Path, tmp_path: Path) -> None:
    path = tmp_path / "classes"
    path.write_text("voice ef cs5 cs6\nbulk af11 3 6 9\n")
    said = qfp("replay-lab", wan, "--classes", path, "--json").json
    assert said["classes"] == "file"
    assert {c["class"] for c in said["sas"][0]["classes"]} == {"voice", "bulk", "class-default"}
    assert said["sas"][0]["schemes"][2]["spaces"] == 3


@pytest.mark.parametrize("suffix, magic", [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_a_drawing(wan: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / f"drops{suffix}"
    said = qfp("replay-lab", wan, "-o", target)
    assert said.status == 0 and f"picture: {target}" in said.out
    data = target.read_bytes()
    assert data.startswith(magic)
    if suffix == ".svg":
        for text in ("plain", "rfc9611", "8192", "0x4954c4d2 to 203.0.113.2", "packets dropped"):
            assert text in data.decode()
        assert qfp("replay-lab", wan, "-o", target).status == 0 and target.read_bytes() == data


def test_many_sas_are_shown_in_part(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    frames = [esp(n, spi=256 + k) for k in range(30) for n in range(1, 3 + k)]
    said = qfp("replay-lab", capture(tmp_path / "x.pcap", frames), "-o", tmp_path / "x.svg")
    assert "… and 10 more" in said.out and "(8 of 30 SAs)" in (tmp_path / "x.svg").read_text()


def test_captures_in_pieces_and_in_files(wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, arrays in temporary files: the same answer."""
    whole = report(wan).facts()
    assert report(wan, scratch=Scratch(700)).facts() == whole
    monkeypatch.setattr(columns, "CHUNK", 256)
    assert report(wan, scratch=Scratch(700)).facts() == whole


def test_nothing_to_study(tmp_path: Path) -> None:
    said = qfp("replay-lab", capture(tmp_path / "x.pcap", [ip4(SRC, "203.0.113.9", udp(1, 2, b"x"))]), "--json")
    assert said.status == 0 and said.json["sas"] == [] and said.json["packets"]["other"] == 1
    target = tmp_path / "x.parquet"
    assert qfp("strip", tmp_path / "x.pcap", "-o", target).status == 0
    assert qfp("replay-lab", target, "--json").json["packets"] == said.json["packets"]
    text = qfp("replay-lab", target, "--verdicts", tmp_path / "v.parquet", "--table", tmp_path / "t.parquet")
    assert text.status == 0 and "0 SAs; 1 other packets" in text.out
    assert pq.read_table(tmp_path / "v.parquet").num_rows == pq.read_table(tmp_path / "t.parquet").num_rows == 0


# ----------------------------------------------------------------------------------------------------- damage
@pytest.mark.req("USE-3")
@pytest.mark.parametrize("command", ["replay-lab", "strip"])
def test_a_damaged_capture_is_studied_as_far_as_it_is_whole(wan: Path, tmp_path: Path, command: str) -> None:
    bad = tmp_path / "bad.pcapng"
    bad.write_bytes(wan.read_bytes()[:-30])
    extra = ("-o", tmp_path / "t.arrow") if command == "strip" else ()
    said = qfp(command, bad, *extra, "--json")
    assert said.status == said.json["status"] == 3
    assert re.search(r"damaged at record 3039 at byte \d+: the file ends inside this record", said.err)
    assert said.json["damage"]["record"] == 3039 and said.json["packets"]["headers"] == 3039
    if command == "strip":
        assert len(pa.ipc.open_file(tmp_path / "t.arrow").read_all()) == 3039


@pytest.mark.req("USE-3")
@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_a_capture(tmp_path_factory: pytest.TempPathFactory, data: bytes, headed: bool) -> None:
    path = tmp_path_factory.mktemp("any") / "any.pcap"
    path.write_bytes((b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(12) + b"\x65\0\0\0" if headed else b"") + data)
    assert qfp("replay-lab", path, "--windows", "64").status in (0, 2, 3)


@pytest.mark.req("USE-3")
def test_damaged_tables(wan: Path, tmp_path: Path) -> None:
    """Rows before a page that cannot be read; what is no table of ours; nulls, protocols, versions that cannot be."""
    good = tmp_path / "t.parquet"
    assert qfp("strip", wan, "-o", good).status == 0
    data = bytearray(good.read_bytes())
    data[200:1200] = bytes(1000)
    (tmp_path / "bad.parquet").write_bytes(data)
    said = qfp("replay-lab", tmp_path / "bad.parquet", "--json")
    assert said.status == 3 and "the row group cannot be decoded" in said.err
    assert said.json["damage"]["record"] == said.json["packets"]["headers"] == 0
    (tmp_path / "half.parquet").write_bytes(data[:900])
    assert qfp("replay-lab", tmp_path / "half.parquet").status == 2
    table = pq.read_table(good)
    for change, message in (
        (lambda t: t.set_column(3, t.schema.field(3), [pa.array([6] * 3040, pa.uint8())]), "protocols other than 50"),
        (lambda t: t.drop_columns(["tos"]), "its columns are"),
        (lambda t: t.replace_schema_metadata({"qfp.schema": "qfp-strip/9"}), "reads tables of qfp-strip/1 only"),
        (lambda t: t.replace_schema_metadata({"qfp.schema": "qfp-strip/1"}), "the counts in its metadata are missing"),
        (lambda t: t.replace_schema_metadata({"other": "x"}), "does not hold a trace"),
    ):
        pq.write_table(change(table), tmp_path / "odd.parquet")
        said = qfp("replay-lab", tmp_path / "odd.parquet", "--json")
        assert said.status == 2 and message in said.json["error"], message


@pytest.mark.req("USE-3")
def test_names_of_columns_that_are_no_text(wan: Path, tmp_path: Path) -> None:
    """A Parquet schema damaged in a name: pyarrow raises UnicodeDecodeError, not an error of its own."""
    strip(wan, tmp_path / "t.parquet", salt="s")
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data.replace(b"proto", b"\x80roto"))
    assert qfp("replay-lab", tmp_path / "t.parquet").status == 2


# ------------------------------------------------------------------------------------------------ wrong words
@pytest.mark.parametrize(
    "options, message",
    [
        (["--windows", "x"], "give packets, as in 64,1000 or 32-8192"),
        (["--windows", ""], "give packets"),
        (["--windows", "64,,128"], "give packets"),
        (["--windows", "0"], "give packets"),
        (["--windows", "64-32"], "give packets"),
        (["--windows", "64-"], "give packets"),
        (["--windows", "9999999"], "give sizes from 1 to 1048576"),
        (["--spi", "cucumber"], "give it in hexadecimal"),
        (["--spi", "0"], "give it in hexadecimal"),
        (["--spi", "0x77"], "carries no SPI 0x00000077; there are: 0x4954c4d2, 0x4954c4d3"),
        (["--selector-bits", "0"], "selector of 0 bits: give 1 to 8"),
        (["--selector-bits", "9"], "selector of 9 bits: give 1 to 8"),
        (["--selector-bits", "4", "--selector-pos", "middle"], "give msb"),
        (["--classes", "missing.txt"], "cannot be read as classes"),
        (["--verdicts", "v.pcap"], "a table is written as .parquet or .arrow"),
        (["--table", "t.parquet.gz"], "leave .gz off"),
        (["-o", "x.gif"], "a picture ends in .svg, .png, .pdf"),
        (["--table", "t.arrow", "--verdicts", "t.arrow"], "choose another name"),
    ],
)
def test_wrong_arguments(wan: Path, options: list[str], message: str, tmp_path: Path,
                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = qfp("replay-lab", wan, "--json", *options)
    assert said.status == 2
    assert message in said.err.replace("\n", " ") and message in said.json["error"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_of_strip(wan: Path, tmp_path: Path) -> None:
    for target, message in (
        (tmp_path / "t.pcap", "a table is written as"),
        (tmp_path / "no" / "t.arrow", "cannot be written"),
        (wan, "is the input as well"),
    ):
        said = qfp("strip", wan, "-o", target)
        assert said.status == 2 and message in said.err.replace("\n", " ")
    assert qfp("strip", wan, "-o", tmp_path / "t.arrow").status == 0
    said = qfp("strip", tmp_path / "t.arrow", "-o", tmp_path / "u.arrow")
    assert said.status == 2 and "it holds no packets to strip" in said.err
    assert qfp("strip", tmp_path / "missing.pcap", "-o", tmp_path / "u.arrow").status == 2
    assert qfp("replay-lab", tmp_path).status == 2


def test_without_matplotlib_a_drawing_is_refused_before_any_work(wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    said = qfp("replay-lab", wan, "-o", "x.png")
    assert said.status == 2 and "pip install 'qfp[report]'" in said.err.replace("\n", " ")


def test_the_python_interface(wan: Path, tmp_path: Path) -> None:
    found = report(wan, windows=(64, 1024))
    assert found.sas[0]["schemes"][0]["drops"][0]["window"] == 64 and found.table().num_rows == 16
    assert len(strip(wan, tmp_path / "t.parquet", salt="s")) == 3040
