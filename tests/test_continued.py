"""Runs that are broken off and go on from a checkpoint end as those that were not: bytes, verdicts, counters."""

import fcntl
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_help import IN, config, packet, qfp
from kill_help import EXTRA, POLICY, campaign, cases, clear, counters

from qfp.batch import Batch
from qfp.cli import continued
from qfp.cli.continued import Continued
from qfp.decrypt import Decryptor
from qfp.result import counters as counters_of
from qfp.router import Router
from qfp.trace import convert, write_trace
from qfp.trace.errors import TraceError
from qfp.trace.segments import Segment
from qfp_kernels.layout import STAT_IN

PACKETS = 9000


class Broken(Exception):
    """The moment at which a run ends."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continued")
    for site, name in ((1, "a.cfg"), (2, "b.cfg")):
        (folder / name).write_text(config(site, "esp-gcm 128", EXTRA) + POLICY)
    write_trace(folder / "in.pcapng", clear(Random(7), PACKETS))
    for name in ("in.pcap", "in.pcap.gz", "in.pcapng.zst", "in.parquet", "in.arrow"):
        convert(folder / "in.pcapng", folder / name)
    made = qfp("run", folder / "a.cfg", folder / "in.pcapng", "--in", IN, "-o", folder / "wire.pcapng",
               "--export-sas", folder / "keys.json")  # fmt: skip
    assert made.status == 0, made.err
    return folder


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A look at every turn; the run ends behind the checkpoint that `at` names, if it names one."""
    plan = {"at": 0, "taken": 0}
    take = Continued.take

    def taken(self: Continued, source: Any) -> None:
        take(self, source)
        plan["taken"] += 1
        if plan["taken"] == plan["at"]:
            raise Broken

    monkeypatch.setattr(Continued, "take", taken)
    monkeypatch.setattr(Continued, "due", lambda self: True)

    def break_at(number: int) -> None:
        plan.update(at=number, taken=0)

    yield break_at


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def both(tmp_path: Path, breaking: Any, command: list[Any], outputs: dict[str, str], at: list[int]) -> None:
    """The command whole, and broken off behind several checkpoints: the same files and the same counters."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()

    def options(place: Path) -> list[Any]:
        return [each for option, name in outputs.items() for each in (option, place / name)]

    plain = qfp(*command, *options(whole), "--json")
    assert plain.status == 0, plain.err
    way = "--checkpoint"
    for number in at:
        breaking(number)
        with pytest.raises(Broken):
            qfp(*command, *options(parts), way, tmp_path / "D")
        assert not results(parts), "nothing stands under a final name"
        way = "--resume"
    breaking(0)
    ended = qfp(*command, *options(parts), way, tmp_path / "D", "--json")
    assert ended.status == 0, ended.err
    assert results(parts) == results(whole)
    theirs, ours = counters(plain.out.encode()), counters(ended.out.encode())
    assert {**ours, "outputs": 0, "trace": 0} == {**theirs, "outputs": 0, "trace": 0}
    assert ended.json["checkpoints"]["resumed_at_frame"] > 0
    assert not list((tmp_path / "D").iterdir())


RUN = {"-o": "o.pcapng", "--verdicts": "v.parquet", "--log": "log.txt", "--export-sas": "s.json"}


@pytest.mark.parametrize(
    ("trace", "output", "options"),
    [
        ("in.pcapng", "o.pcapng", ()),
        ("in.pcap", "o.pcap", ("--batch", "3")),
        ("in.pcap.gz", "o.pcap.gz", ("--engine", "openssl")),
        ("in.pcapng.zst", "o.pcapng.zst", ("--threads", "2")),
        ("in.parquet", "o.parquet", ()),
        ("in.arrow", "o.arrow", ()),
    ],
)
def test_run_of_any_format(files: Path, tmp_path: Path, breaking: Any, trace: str, output: str, options: Any) -> None:
    """Rekeys by time and volume, a space a queue, fragments that wait, ICMP errors with their limits."""
    outputs = {**RUN, "-o": output, "--verdicts": "v.arrow" if output == "o.arrow" else "v.parquet"}
    command = ["run", files / "a.cfg", files / trace, "--in", IN, *options]
    both(tmp_path, breaking, command, outputs, at=[2, 1, 3])


def test_what_comes_from_the_other_end(files: Path, tmp_path: Path, breaking: Any) -> None:
    command = ["run", files / "b.cfg", files / "wire.pcapng", "--in", "gi0/0/0"]
    both(tmp_path, breaking, command, RUN, at=[1, 2])


def test_decrypt(files: Path, tmp_path: Path, breaking: Any) -> None:
    command = ["decrypt", files / "wire.pcapng", "--keys", files / "keys.json", "--keep-clear"]
    both(tmp_path, breaking, command, {"-o": "o.pcap", "--verdicts": "v.arrow", "--log": "l"}, at=[3, 1])


def test_the_rest_may_run_in_other_vectors_and_threads(files: Path, tmp_path: Path, breaking: Any) -> None:
    args = ["run", files / "a.cfg", files / "in.pcapng", "--in", IN, "-o"]
    assert qfp(*args, tmp_path / "whole.pcapng").status == 0
    breaking(2)
    with pytest.raises(Broken):
        qfp(*args, tmp_path / "part.pcapng", "--checkpoint", tmp_path / "D", "--batch", 5)
    breaking(0)
    assert qfp(*args, tmp_path / "part.pcapng", "--resume", tmp_path / "D", "--threads", 2).status == 0
    assert (tmp_path / "part.pcapng").read_bytes() == (tmp_path / "whole.pcapng").read_bytes()


def test_tables_do_not_depend_on_vectors(files: Path, tmp_path: Path) -> None:
    """Nor does what a dropped packet's row says: which SA it would have gone by does, so no SA is named."""
    made = []
    for batch in (1, 7, 256, 1024):
        place = tmp_path / str(batch)
        place.mkdir()
        for form in ("parquet", "arrow"):
            told = qfp("run", files / "a.cfg", files / "in.pcapng", "--in", IN, "--batch", batch,
                       "-o", place / f"o.{form}", "--verdicts", place / f"v.{form}")  # fmt: skip
            assert told.status == 0, told.err
        made.append(results(place))
    assert all(each == made[0] for each in made)
    rows = pq.read_table(tmp_path / "7" / "v.parquet", columns=["cause", "sa"]).to_pylist()
    assert {row["sa"] for row in rows if row["cause"] == "TTL_EXPIRED"} == {-1}


# ---------------------------------------------------------------------------------------------- what is refused
@pytest.fixture
def begun(files: Path, tmp_path: Path, breaking: Any) -> list[Any]:
    """A run that was broken off; its command without the folder."""
    for name in ("a.cfg", "in.pcapng"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    args = ["run", tmp_path / "a.cfg", tmp_path / "in.pcapng", "--in", IN, "-o", tmp_path / "o.pcapng"]
    breaking(2)
    with pytest.raises(Broken):
        qfp(*args, "--checkpoint", tmp_path / "D")
    breaking(0)
    return args


def test_another_run_is_refused(files: Path, tmp_path: Path, begun: list[Any]) -> None:
    """Each leaves the checkpoint as it was, so that the right command goes on afterwards."""
    resume = ["--resume", tmp_path / "D"]

    def refused(args: list[Any], why: str) -> None:
        said = qfp(*args, *resume)
        assert said.status == 2
        assert why in said.err
        assert "goes on" in said.err.splitlines()[-2] or "goes on" in said.err

    refused([*begun, "--seed", "9"], "another set of options (seed)")
    refused([*begun, "--verdicts", tmp_path / "v.parquet"], "other outputs")
    refused([*begun[:4], "gi0/0/0", *begun[5:]], "another ingress")
    refused([*begun[:-1], tmp_path / "o.pcap"], "other outputs")
    other = tmp_path / "other.cfg"
    other.write_text((tmp_path / "a.cfg").read_text().replace("seconds 120", "seconds 130"))
    refused([begun[0], other, *begun[2:]], "another configuration (text)")
    trace = tmp_path / "other.pcapng"
    trace.write_bytes((tmp_path / "in.pcapng").read_bytes().replace(b"\x0a\x02\x00\x07", b"\x0a\x02\x00\x08", 1))
    refused([*begun[:2], trace, *begun[3:]], "another trace")
    trace.write_bytes((tmp_path / "in.pcapng").read_bytes()[:5000])
    refused([*begun[:2], trace, *begun[3:]], "another trace")
    assert qfp(*begun, *resume).status == 0


def test_the_same_files_elsewhere_are_the_same(tmp_path: Path, begun: list[Any]) -> None:
    for name in ("a.cfg", "in.pcapng"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    moved = ["run", tmp_path / "moved-a.cfg", tmp_path / "moved-in.pcapng", *begun[3:]]
    said = qfp(*moved, "--resume", tmp_path / "D")
    assert said.status == 0
    assert "goes on at frame" in said.err


@pytest.mark.parametrize("harm", ["missing", "damaged", "segment", "folder", "before the first"])
def test_without_a_whole_checkpoint_a_run_begins_anew(tmp_path: Path, begun: list[Any], harm: str) -> None:
    file = tmp_path / "D" / "checkpoint.qfp"
    if harm == "missing":
        file.unlink()
    elif harm == "damaged":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif harm == "segment":
        with (tmp_path / "D" / "packets.segment").open("r+b") as segment:
            segment.truncate(100)
    elif harm == "folder":
        (tmp_path / "D").rename(tmp_path / "E")
    else:
        (tmp_path / "D" / "checkpoint.qfp").unlink()
        (tmp_path / "D" / ".left.tmp").write_bytes(b"half of one")
    said = qfp(*begun, "--resume", tmp_path / "D")
    assert said.status == 0
    assert "starts at the beginning" in said.err
    assert qfp(*begun[:-1], tmp_path / "plain.pcapng").status == 0
    assert (tmp_path / "o.pcapng").read_bytes() == (tmp_path / "plain.pcapng").read_bytes()
    assert not list((tmp_path / "D").iterdir())


def test_a_damaged_segment_is_found_when_it_is_joined(tmp_path: Path, begun: list[Any]) -> None:
    with (tmp_path / "D" / "packets.segment").open("r+b") as segment:
        segment.seek(3000)
        byte = segment.read(1)
        segment.seek(3000)
        segment.write(bytes([byte[0] ^ 1]))
    said = qfp(*begun, "--resume", tmp_path / "D")
    assert said.status == 2
    assert "is damaged at byte" in said.err
    assert not (tmp_path / "o.pcapng").exists()


def test_a_new_run_forgets_an_older_checkpoint(tmp_path: Path, begun: list[Any], monkeypatch: Any) -> None:
    """Killed before its own first checkpoint, it must not go on with that of another run."""

    def broken(self: Continued, *_: Any) -> float:
        raise Broken

    with monkeypatch.context() as patched:
        patched.setattr(Continued, "begin", broken)
        with pytest.raises(Broken):
            qfp(*begun, "--checkpoint", tmp_path / "D")
    assert not (tmp_path / "D" / "checkpoint.qfp").exists()
    assert "starts at the beginning" in qfp(*begun, "--resume", tmp_path / "D").err


def test_one_run_at_a_time(tmp_path: Path, begun: list[Any]) -> None:
    with (tmp_path / "D" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = qfp(*begun, "--resume", tmp_path / "D")
    assert said.status == 2
    assert "another run has its checkpoints there" in said.err


def test_nobody_else_reads_or_writes_them(tmp_path: Path, begun: list[Any]) -> None:
    assert (tmp_path / "D").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "D").iterdir())
    (tmp_path / "D").chmod(0o777)
    said = qfp(*begun, "--resume", tmp_path / "D")
    assert said.status == 2
    assert "others may write there" in said.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--checkpoint", "D", "--resume", "D"), "give the one to begin, the other to go on"),
        (("--every", "1s"), "give --checkpoint or --resume as well"),
        (("--checkpoint", "D", "--every", "10"), "is no time between checkpoints"),
        (("--checkpoint", "D", "--every", "0s"), "is no time between checkpoints"),
        (("--checkpoint", "D", "--every", "1h"), "is no time between checkpoints"),
        (("--checkpoint", "a.cfg"), "cannot be made"),
        (("--checkpoint", "none/such"), "cannot be made"),
    ],
)
def test_wrong_options(files: Path, tmp_path: Path, monkeypatch: Any, options: Any, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.cfg").write_bytes((files / "a.cfg").read_bytes())
    said = qfp("run", "a.cfg", files / "in.pcapng", "--in", IN, *options)
    assert said.status == 2
    assert why in said.err


def test_a_pipe_cannot_be_gone_on_with(files: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = qfp("run", files / "a.cfg", tmp_path / "pipe", "--in", IN, "--checkpoint", tmp_path / "D")
    assert said.status == 2
    assert "cannot be read again" in said.err


def test_what_cannot_be_written_is_said_at_once(files: Path, tmp_path: Path) -> None:
    said = qfp("run", files / "a.cfg", files / "in.pcapng", "--in", IN, "-o", tmp_path / "no" / "o.pcapng",
               "--checkpoint", tmp_path / "D")  # fmt: skip
    assert said.status == 2
    assert "cannot be written" in said.err


def test_a_pipe_gets_the_packets_once(files: Path, tmp_path: Path) -> None:
    """Whether an output can be written is tried beforehand, but not at what takes every byte for good."""
    args = ["run", files / "a.cfg", files / "in.pcapng", "--in", IN, "-o"]
    assert qfp(*args, tmp_path / "plain.pcapng").status == 0
    os.mkfifo(tmp_path / "out.pcapng")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "out.pcapng").read_bytes()))
    reader.start()
    said = qfp(*args, tmp_path / "out.pcapng", "--checkpoint", tmp_path / "D")
    reader.join(timeout=60)
    assert said.status == 0, said.err
    assert got == [(tmp_path / "plain.pcapng").read_bytes()]


def test_without_outputs(files: Path, tmp_path: Path) -> None:
    said = qfp("run", files / "a.cfg", files / "in.pcapng", "--in", IN, "--checkpoint", tmp_path / "D", "--every",
               "0.5ms", "--json")  # fmt: skip
    assert said.status == 0
    assert said.json["checkpoints"]["taken"] > 0
    assert said.json["checkpoints"]["resumed_at_frame"] is None


def test_spans() -> None:
    assert [continued.span(text) for text in ("10s", "500ms", "0.5s", "1.5ms")] == [10, 0.5, 0.5, 0.0015]


# ---------------------------------------------------------------------------------------------------- segments
def test_segments(tmp_path: Path) -> None:
    with Segment(tmp_path / "s") as segment:
        segment.append([b"one", b"", memoryview(b" piece")])
        size = segment.sync()
        segment.append([b"lost"])
        assert list(segment.pieces()) == [b"one piece", b"lost"]
    with Segment(tmp_path / "s", size) as segment:
        segment.append([b"two"])
        assert list(segment.pieces()) == [b"one piece", b"two"]
        assert segment.sync() == (tmp_path / "s").stat().st_size
    with pytest.raises(TraceError, match="shorter"):
        Segment(tmp_path / "s", 1000)
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(TraceError, match="writing failed"):
        Segment(tmp_path / "link")


@pytest.mark.skipif(sys.platform != "linux", reason="kill -9 and folders are tried as Linux has them")
def test_killed_at_random_points(tmp_path: Path) -> None:
    """Six kills of commands in processes of their own; `python tests/kill_help.py --count 100` does the rest."""
    made = cases(tmp_path, packets=20_000)
    _, kills, _, wrong = campaign(tmp_path, 6, seed=11, made=[made[k] for k in (0, 2, 5, 6)])
    assert not wrong
    assert kills >= 6


def test_a_clock_decides_when(tmp_path: Path, monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr(continued.time, "monotonic", lambda: now[0])
    run = Continued(tmp_path, 10.0, False)
    run._due = now[0] + run.every
    assert not run.due()
    now[0] = 110.0
    assert run.due()


def test_a_batch_without_checkpoints_is_as_ever(files: Path, tmp_path: Path) -> None:
    write_trace(tmp_path / "in.pcap", Batch.from_frames([packet(0)]))
    said = qfp("run", files / "a.cfg", tmp_path / "in.pcap", "--in", IN, "--json")
    assert "checkpoints" not in said.json


# ---------------------------------------------------------------------------------------------------- a run's home
def test_a_run_has_a_home(files: Path, tmp_path: Path) -> None:
    """What a later command wants to know of it, and the router as it is now."""
    home = tmp_path / "H"
    said = qfp("run", files / "a.cfg", files / "in.pcapng", "--in", IN, "-o", tmp_path / "o.pcapng", "--save", home,
               "--verdicts", tmp_path / "v.parquet", "--seed", 3, "--json")  # fmt: skip
    assert said.status == 0, said.err
    manifest = json.loads((home / "manifest.json").read_text())
    assert json.loads((home / "summary.json").read_text()) == said.json
    assert (home / "verdicts.parquet").read_bytes() == (tmp_path / "v.parquet").read_bytes()
    assert manifest["command"] == "run"
    assert manifest["options"]["seed"] == 3
    assert manifest["inputs"]["trace"]["sha256"] == hashlib.sha256((files / "in.pcapng").read_bytes()).hexdigest()
    assert manifest["inputs"]["config"]["bytes"] == (files / "a.cfg").stat().st_size
    assert manifest["results"] == {"packets": str(tmp_path / "o.pcapng"), "verdicts": str(tmp_path / "v.parquet"),
                                   "saved_verdicts": str(home / "verdicts.parquet")}  # fmt: skip
    router = Router.restore(home / manifest["states"]["state"])
    assert counters_of(router.tables)["verdicts"] == said.json["verdicts"]
    assert home.stat().st_mode & 0o077 == 0
    assert (home / "state.qfp").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in home.iterdir()) == sorted([*HOME, "state.qfp"])


def test_a_decryption_has_one_too_and_its_checkpoints_may_be_there(files: Path, tmp_path: Path, breaking: Any) -> None:
    home = tmp_path / "H"
    args = ["decrypt", files / "wire.pcapng", "--keys", files / "keys.json", "--save", home, "--batch", 7]
    breaking(2)
    with pytest.raises(Broken):
        qfp(*args, "--checkpoint", home)
    assert sorted(path.name for path in home.iterdir()) == ["checkpoint.qfp", "lock", "verdicts.segment"]
    breaking(0)
    assert qfp(*args, "--resume", home).status == 0
    assert sorted(path.name for path in home.iterdir()) == sorted([*HOME, "state.qfp"])
    plain = qfp("decrypt", files / "wire.pcapng", "--keys", files / "keys.json", "--verdicts", tmp_path / "v.parquet")
    assert plain.status == 0
    assert (home / "verdicts.parquet").read_bytes() == (tmp_path / "v.parquet").read_bytes()
    Decryptor.restore(home / "state.qfp")


HOME = ("manifest.json", "summary.json", "verdicts.parquet")


def test_nothing_of_a_home_is_there_when_a_run_fails(files: Path, tmp_path: Path) -> None:
    said = qfp("run", files / "a.cfg", tmp_path / "none.pcap", "--in", IN, "--save", tmp_path / "H")
    assert said.status == 2
    assert not list((tmp_path / "H").iterdir())
    (tmp_path / "H").chmod(0o777)
    said = qfp("run", files / "a.cfg", files / "in.pcapng", "--in", IN, "--save", tmp_path / "H")
    assert said.status == 2
    assert "others may write there" in said.err


def test_a_labs_folder_is_a_home_with_a_state_a_router(files: Path, tmp_path: Path) -> None:
    lab = LAB.replace("A.cfg", str(files / "a.cfg")).replace("B.cfg", str(files / "b.cfg"))
    (tmp_path / "lab.toml").write_text(lab.replace("IN", str(files / "in.pcapng")))
    said = qfp("lab", tmp_path / "lab.toml", "-o", tmp_path / "H", "--json")
    assert said.status == 0, said.err
    manifest = json.loads((tmp_path / "H" / "manifest.json").read_text())
    assert manifest["command"] == "lab"
    assert manifest["summary"] == "lab.json"
    assert set(manifest["results"]) == {"journeys.parquet", "series.parquet", "lab.json"}
    assert set(manifest["inputs"]) == {"lab", "config of a", "config of b", "inject[0]"}
    for name in "ab":
        router = Router.restore(tmp_path / "H" / manifest["states"][name])
        told = said.json["routers"][name]["balance"]["in"]
        assert int(router.tables.t.stats[STAT_IN]) == told["frames_in"] > 0
        assert (tmp_path / "H" / f"{name}.qfp").stat().st_mode & 0o077 == 0


LAB = """
[routers.a]
config = "A.cfg"
[routers.b]
config = "B.cfg"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
delay = "1 ms"
[[inject]]
at = "a gi0/0/1"
trace = "IN"
"""
