"""A thousand mutations of each kind of text, of tables from `qfp strip`, and of command lines: the contract holds."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_help import IN, OUT, config, office, qfp
from mutation_help import ODD, as_bytes, kept, many, mutated_bytes, mutated_text
from replay_help import as_packets, capture, disordered, esp

CONFIGS = [path.read_text() for path in sorted((Path(__file__).parent / "guide_configs").glob("*.cfg"))]
LAB = """seed = 1
interval = "5 ms"
[routers.a]
config = "a.cfg"
engine = { platform = "engine.toml", queue = 32 }
[routers.b]
config = "b.cfg"
add = "ip cef"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
rate = "10 M"
delay = "5 ms"
jitter = "1 ms"
loss = 0.1
duplicate = 0.05
reorder = 0.1
reorder_by = "3 ms"
mtu = 1400
queue = 16
overhead = 38
[[inject]]
trace = "in.pcap"
at = "a gi0/0/1"
start = "1 ms"
speed = 2.0
[[capture]]
at = "b gi0/0/1"
file = "b.pcapng"
direction = "both"
[[events]]
router = "a"
at = "10 ms"
clear = "crypto sa"
[[events]]
router = "b"
at = "20 ms"
add = "crypto ipsec security-association replay window-size 128"
[[events]]
link = "a-b"
at = "30 ms"
state = "down"
"""
ENGINE = 'rate = "1G"\npackets = "500 k"\nqueue = 64\nllq = 16\n'
SLOW = [pytest.param(0, 100), pytest.param(100, 1000, marks=pytest.mark.slow)]
pytestmark = pytest.mark.req("USE-3")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pair of routers, a capture, its sealed form with keys, a lab, a stripped table."""
    made = office(tmp_path_factory.mktemp("mutations"), packets=12)
    assert made.seal("--export-sas", made / "keys.json").status == 0
    (made / "lab.toml").write_text(LAB)
    (made / "engine.toml").write_text(ENGINE)
    seq, dscp = disordered(300, 1, 40)
    wan = capture(made / "wan.pcapng", [esp(n, d, 256 + k % 7) for k, (n, d) in enumerate(as_packets(seq, dscp))])
    for suffix in ("parquet", "arrow"):
        assert qfp("strip", wan, "-o", made / f"t.{suffix}", "--salt", "s").status == 0
    for line in lines(made):  # right as they are, and everything is compiled
        assert qfp(*line).status == 0, line
    assert qfp("run", made.a, made.trace, "--in", IN).status == 0
    return made


@pytest.mark.parametrize("first, count", SLOW)
def test_configurations(files: Any, first: int, count: int) -> None:
    seeds = [*CONFIGS, config(1), config(2, "esp-aes 256 esp-sha256-hmac")]
    path = files / "x.cfg"

    def one(rng: random.Random, name: str) -> int:
        path.write_bytes(as_bytes(rng, mutated_text(rng, rng.choice(seeds), seeds)))
        if rng.random() < 0.1:
            return kept(["run", path, files.trace, "--in", IN], name)
        return kept(["check", path, *(["--json"] if rng.random() < 0.3 else [])], name)

    assert set(many("configuration", range(first, first + count), one)) >= {0, 2}


@pytest.mark.parametrize("first, count", SLOW)
def test_lab_files(files: Any, first: int, count: int) -> None:
    path = files / "x.toml"

    def one(rng: random.Random, name: str) -> int:
        path.write_bytes(as_bytes(rng, mutated_text(rng, LAB)))
        return kept(["lab", path, *(["-o", files / "out"] if rng.random() < 0.3 else [])], name)

    assert set(many("lab", range(first, first + count), one)) >= {0, 2}
    shutil.rmtree(files / "out", ignore_errors=True)


@pytest.mark.parametrize("first, count", SLOW)
def test_platform_files(files: Any, first: int, count: int) -> None:
    def one(rng: random.Random, name: str) -> int:
        (files / "engine.toml").write_bytes(as_bytes(rng, mutated_text(rng, ENGINE, [LAB])))
        return kept(["lab", files / "lab.toml"], name)

    try:
        assert set(many("platform", range(first, first + count), one)) >= {0, 2}
    finally:
        (files / "engine.toml").write_text(ENGINE)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("first, count", SLOW)
def test_stripped_tables(files: Any, first: int, count: int, suffix: str) -> None:
    data, path = (files / f"t.{suffix}").read_bytes(), files / f"x.{suffix}"

    def one(rng: random.Random, name: str) -> int:
        path.write_bytes(mutated_bytes(rng, data))
        return kept(["replay-lab", path], name)

    many(f"table {suffix}", range(first, first + count), one)


@pytest.mark.parametrize("first, count", SLOW)
def test_classes_of_replay_lab(files: Any, first: int, count: int) -> None:
    text = "voice ef cs5 46\nbulk af11, 3 6 9\n# comment\nrest 0\n"

    def one(rng: random.Random, name: str) -> int:
        (files / "classes").write_bytes(as_bytes(rng, mutated_text(rng, text)))
        return kept(["replay-lab", files / "t.parquet", "--classes", files / "classes"], name)

    assert set(many("classes", range(first, first + count), one)) >= {0, 2}


def lines(f: Any) -> list[list[Any]]:
    """Command lines that are right."""
    return [
        ["run", f.a, f.trace, "--in", IN, "--seed", 3, "--batch", 64, "--threads", 1, "-o", f / "o.pcapng",
         "--verdicts", f / "v.parquet", "--log", f / "log", "--keying", "auto", "--engine", "native"],
        ["decrypt", f / "wire.pcapng", "--keys", f / "keys.json", "--window", 64, "--keep-clear", "-o", f / "o.pcap"],
        ["explain", f.a, f.trace, "--in", IN, "--frame", 3, "--seed", 1],
        ["lab", f / "lab.toml", "--interval", "5 ms", "--threads", 2],
        ["replay-lab", f / "t.parquet", "--windows", "32-512,1000", "--most", 3, "--classes", "dscp", "--table",
         f / "o.arrow", "--verdicts", f / "v.arrow"],
        ["replay-lab", f / "wan.pcapng", "--selector-bits", 4, "--selector-pos", "lsb", "--spi", "0x101"],
        ["strip", f / "wan.pcapng", "-o", f / "o.parquet", "--salt", "salt"],
        ["mtu", f.a, "--sizes", "100-110", "--to", "10.2.0.7"],
        ["check", f.a],
        ["convert", f.trace, f / "o.pcapng"],
    ]  # fmt: skip


@pytest.mark.parametrize("first, count", SLOW)
def test_command_lines(files: Any, first: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of options and arguments replaced, doubled, left out; inputs are copies, for an output may hit them."""
    scratch = files / "line"
    kinds: list[Any] = [*(word for word in ODD if word not in ("/dev/zero", ".")), files.folder, files / "none", OUT,
                        "100000000000", "native", "3-1", "x.pcap", "x.arrow", "x.svg"]  # fmt: skip
    shutil.copytree(files.folder, scratch)
    monkeypatch.chdir(scratch)
    source = type(files)(scratch, scratch / "a.cfg", scratch / "b.cfg", scratch / "in.pcap")
    originals = [path for path in files.folder.iterdir() if path.is_file()]

    def one(rng: random.Random, name: str) -> int:
        for path in originals:
            shutil.copyfile(path, scratch / path.name)
        line = rng.choice(lines(source))
        for _ in range(rng.randint(1, 2)):
            at, kind = rng.randrange(1, len(line)), rng.randrange(8)
            if kind == 0:
                del line[at]
            elif kind == 1:
                line.insert(at, rng.choice(line))
            else:
                line[at] = rng.choice(kinds)
            if len(line) < 2:
                break
        return kept([*line, *(["--json"] if rng.random() < 0.3 else [])], name)

    assert set(many("command line", range(first, first + count), one)) >= {0, 2}
    shutil.rmtree(scratch)
