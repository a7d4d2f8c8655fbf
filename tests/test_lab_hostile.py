"""Lab files, windows and salts that nobody should write: a message with file, key and remedy, and status 2."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from cli_help import office, packet, qfp
from hypothesis import given
from hypothesis import strategies as st

from qfp.batch import Batch
from qfp.coerce import DIGITS_MAX, measure, path_fault, shown, whole
from qfp.lab.read import TIMES
from qfp.trace import write_trace

pytestmark = pytest.mark.req("USE-3")
LAB = """seed = 1
[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
rate = "1M"
delay = "5 ms"
[[inject]]
trace = "in.pcap"
at = "a gi0/0/1"
"""
TAP = '[[capture]]\nat = "b gi0/0/0"\nfile = '
NINES = "9" * 5000
WRONG = {  # what: (old, new, part of the message)
    "seed of thousands of digits": ("seed = 1", f"seed = {NINES}", "syntax"),
    "seed of thousands of hexadecimal digits": ("seed = 1", "seed = 0x" + "f" * 6000, "a number of 24000 bits"),
    "seed below zero": ("seed = 1", "seed = -1", "out of range"),
    "seed not finite": ("seed = 1", "seed = nan", "out of range"),
    "rate of thousands of digits": ('"1M"', f'"{NINES}"', "links[0].rate"),
    "rate of hundreds of digits with a point": ('"1M"', '"' + "9" * 400 + '.0"', "links[0].rate"),
    "delay of hundreds of digits with a point": ('"5 ms"', '"' + "9" * 400 + '.0 s"', "links[0].delay"),
    "rate inf": ('"1M"', "inf", "no such quantity"),
    "rate nan": ('"1M"', "nan", "no such quantity"),
    "rate 1e400": ('"1M"', "1e400", "no such quantity"),
    "rate 1e-300": ('"1M"', "1e-300", "no such quantity"),
    "rate below zero": ('"1M"', "-5", "no such quantity"),
    "rate beyond int64": ('"1M"', '"99999999999G"', "too large"),
    "rate in other digits": ('"1M"', '"١٢٣M"', "no such quantity"),
    "rate as a date": ('"1M"', "2020-01-01", "no such quantity"),
    "rate as a table": ('"1M"', "{a = 1}", "no such quantity"),
    "delay of years": ('"5 ms"', '"99999999999 s"', "too large"),
    "a queue of years": ('rate = "1M"', 'rate = "1"\nqueue = 1048576', "a rate of at least"),
    "delay of nothing": ('"5 ms"', '"0"', "no time at all"),
    "lists in lists": ('"1M"', "[" * 20_000 + "]" * 20_000, "nested too deep"),
    "tables in tables": ("seed = 1", "seed = " + "{a=" * 3000 + "1" + "}" * 3000, "nested too deep"),
    "a dotted key without end": ("seed = 1", ".".join(["a"] * 20_000) + " = 1", "a key of more than 64 parts"),
    "a dotted table without end": ("seed = 1", "[" + ".".join(["routers"] * 20_000) + "]", "more than 64 parts"),
    "a quoted dotted key": ("seed = 1", ".".join(['"a b"'] * 20_000) + " = 1", "more than 64 parts"),
    "a key of thousands of letters": ("seed = 1", "a" * 10_000 + " = 1", "is not a key"),
    "NUL in a path": ('"a.cfg"', '"a\\u0000.cfg"', "holds a NUL character"),
    "a path that is too long": ('"a.cfg"', '"' + "a" * 5000 + '"', "more than 255 bytes"),
    "a folder as configuration": ('"a.cfg"', '"."', "is no file"),
    "a device as configuration": ('"a.cfg"', '"/dev/zero"', "is no file"),
    "a number as configuration": ('"a.cfg"', "5", "is no text"),
    "a table as configuration": ('"a.cfg"', "{}", "is no text"),
    "a platform as number": ('config = "a.cfg"', 'config = "a.cfg"\nengine = {platform = 5}', "is no text"),
    "a platform with NUL": ('config = "a.cfg"', 'config = "a.cfg"\nengine = {platform = "x\\u0000"}', "NUL character"),
    "a platform that nests": ('config = "a.cfg"', 'config = "a.cfg"\nengine = {platform = "deep"}', "nested too deep"),
    "a router named twice": ("[routers.b]", "[routers.a]", "syntax"),
    "a router without name": ("[routers.b]", '[routers.""]', "is no name of a router"),
    "a link to nobody": ('"b gi0/0/0"]', '"c gi0/0/0"]', "there is no router 'c'"),
    "a link of numbers": ('ends = ["a gi0/0/0", "b gi0/0/0"]', "ends = [1, 2]", "is no interface"),
    "a link to itself": ('"b gi0/0/0"]', '"a gi0/0/0"]', "has a link already"),
    "a tap with NUL": ("[[inject]]", TAP + '"a\\u0000b.pcapng"\n[[inject]]', "holds a NUL character"),
    "a tap with a name that is too long": ("[[inject]]", TAP + f'"{"a" * 300}.pcapng"\n[[inject]]', "more than 255"),
    "a tap above its folder": ("[[inject]]", TAP + '".."\n[[inject]]', "is no plain file name"),
    "a tap in another folder": ("[[inject]]", TAP + '"x/y.pcap"\n[[inject]]', "is no plain file name"),
    "a tap of another format": ("[[inject]]", TAP + '"x.txt"\n[[inject]]', "an output ends in"),
    "a tap in place of the journeys": ("[[inject]]", TAP + '"journeys.parquet"\n[[inject]]', "by the lab itself"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = office(tmp_path_factory.mktemp("hostile"), packets=4)
    (made / "deep").write_text("x = " + "[" * 20_000)
    (made / "x.toml").write_text(LAB)
    assert qfp("lab", made / "x.toml").status == 0
    return made


def refused(path: Any, *options: Any) -> str:
    """The message, in bounded time and length; the same as JSON."""
    begun = time.process_time()
    said = qfp("lab", path, "--json", *options)
    assert said.status == said.json["status"] == 2 and time.process_time() - begun < 5
    assert str(path) in said.json["error"] and len(said.json["error"]) < 1000
    return str(said.json["error"])


@pytest.mark.parametrize("what", WRONG)
def test_lab_files_that_cannot_be(made: Any, what: str) -> None:
    old, new, message = WRONG[what]
    assert old in LAB
    (made / "x.toml").write_text(LAB.replace(old, new, 1))
    path = made / ("deep" if "deep" in new else "x.toml")
    assert message in refused(path) if path.name == "x.toml" else message in qfp("lab", made / "x.toml").err


def test_files_that_are_no_lab_files(made: Any, tmp_path: Path) -> None:
    for content, message in (
        (b"", "there is none"), (LAB.encode("utf-16"), "not UTF-8"), (os.urandom(64) + b"\xff", "not UTF-8"),
        (b"#" * (1 << 24) + b"##", "has more than"), (b"\0" * 50, "syntax"),
    ):  # fmt: skip
        (tmp_path / "x.toml").write_bytes(content)
        assert message in refused(tmp_path / "x.toml")
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refused(tmp_path / "pipe")
    assert "is a folder" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "missing")
    assert qfp("lab", "x\0y").status == 2 and qfp("lab", "\udcff").status == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(LAB)
    (tmp_path / "x.toml").chmod(0)
    assert "Permission denied" in refused(tmp_path / "x.toml")


def test_traces_of_centuries(made: Any, tmp_path: Path) -> None:
    """Slowed down, times would not fit into int64."""
    frames = [packet(k) for k in range(2)]
    write_trace(made / "long.parquet", Batch.from_frames(frames, ts=[0, 9 * 10**18]))
    (made / "x.toml").write_text(LAB.replace("in.pcap", "long.parquet") + "speed = 1e-6\n")
    assert "inject[0].speed: the trace would last 285,388,128 years" in refused(made / "x.toml")
    (made / "x.toml").write_text(LAB.replace("in.pcap", "long.parquet") + "speed = 10.0\n")
    assert qfp("lab", made / "x.toml").status == 0


def test_a_tap_that_is_a_folder(made: Any, tmp_path: Path) -> None:
    (made / "x.toml").write_text(LAB + TAP + '"t.pcapng"\n')
    (tmp_path / "out" / "t.pcapng").mkdir(parents=True)
    said = qfp("lab", made / "x.toml", "-o", tmp_path / "out")
    assert said.status == 2 and "is a directory" in said.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["t.pcapng"]


@pytest.mark.parametrize(
    "value", [NINES, "9" * 400 + ".0 s", "nan", "-1", "0", "1e400", "\udcff", "٣ ms", "99999999 s"]
)
def test_intervals_that_cannot_be(made: Any, value: str) -> None:
    (made / "x.toml").write_text(LAB)
    said = qfp("lab", made / "x.toml", f"--interval={value}")
    assert said.status == 2 and "--interval" in said.err and len(said.err) < 400


@pytest.mark.parametrize("value", [NINES, "1-" + NINES, "1-99999999999999", "٣", "²", "-", ",", "1e3", "inf", "\0"])
def test_windows_that_cannot_be(made: Any, value: str) -> None:
    said = qfp("replay-lab", made.trace, f"--windows={value}")
    assert said.status == 2 and "windows" in said.err and len(said.err) < 400
    said = qfp("replay-lab", made.trace, "--windows", ",".join(map(str, range(1, 2000))))
    assert said.status == 2 and "1,999 sizes" in said.err


@pytest.mark.parametrize("value", ["f" * 6000, "0x" + "1" * 300, "²", "1_0", " 5", "\0", ""])
def test_spis_that_cannot_be(made: Any, value: str) -> None:
    said = qfp("replay-lab", made.trace, f"--spi={value}")
    assert said.status == 2 and "spi" in said.err and len(said.err) < 400


def test_salts_of_any_bytes(made: Any, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are a salt like any other; half a surrogate pair cannot come from a command line."""
    assert qfp("strip", made.trace, "-o", tmp_path / "t.parquet", "--salt", "\udcff").status == 0
    said = qfp("strip", made.trace, "-o", tmp_path / "t.parquet", "--salt", "\ud800")
    assert said.status == 2 and "give another" in said.err
    assert qfp("strip", made.trace, "-o", tmp_path / "t.parquet", "--salt", "a\0b").status == 2


@pytest.mark.parametrize("option", ["--seed", "--batch", "--threads", "--frame", "--window"])
@pytest.mark.parametrize("value", [NINES, "-" + NINES, "9" * 30, "nan", "1e400", "²", "\udcff", ""])
def test_numbers_of_options(made: Any, option: str, value: str) -> None:
    command = (
        ["explain", made.a, made.trace, "--in", "gi0/0/1"]
        if option in ("--frame", "--window")
        else ["run", made.a, made.trace, "--in", "gi0/0/1"]
    )
    frame = [] if option != "--window" else ["--frame", "1"]
    said = qfp(*command, *frame, f"{option}={value}")
    assert said.status in (0, 2) and (said.status == 0) == (option == "--seed" and value == "9" * 30)


@given(st.text("0123456789abcfx._ -+٣²\0nsmkGbit/", max_size=60), st.integers(-10, 10), st.integers(0, 1 << 70))
def test_numbers_are_read_within_bounds(text: str, low: int, high: int) -> None:
    found = whole(text, low, high)
    assert found is None or (low <= found <= high and text.lstrip("0") in (str(found), ""))
    amount = measure(text, TIMES)
    assert amount is None or 0 <= amount < 10 ** (DIGITS_MAX + 12)
    assert len(shown(text)) <= 60 and isinstance(path_fault(text), str)


@given(st.integers(0, (1 << 64) - 1))
def test_numbers_of_any_base(value: int) -> None:
    assert whole(str(value), 0, value) == value and whole(str(value), value + 1, 1 << 70) is None
    assert whole(f"{value:x}", 0, value, 16) == whole(hex(value), 0, value, 16) == value
    assert whole("0" * 5000 + str(value), 0, 1 << 64) == value and whole("1" + "0" * 5000, 0, 1 << 64) is None
