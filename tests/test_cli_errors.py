"""Exit statuses, hostile and missing files, outputs left untouched, no key on any stream."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from cli_help import IN, OUT, office, packet, qfp

from qfp.cli import errors, output
from qfp.trace.keyfile import read_keys

pytestmark = pytest.mark.req("USE-1")
HOSTILE = [
    b"",
    b"\0" * 100,
    b"\xff" * 64,
    b"{" * 5000,
    b"\xd4\xc3\xb2\xa1",
    b"\n\r\r\n" + b"\0" * 30,
    b"[1,2]",
    b"\x1f\x8b\x08",
]


COMMAND = [sys.executable, "-m", "qfp"]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def child(*args, env=ENV):
    """The command in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, timeout=120, env=env)


@pytest.mark.parametrize("content", HOSTILE)
def test_hostile_files_end_in_a_message(tmp_path, content):
    o = office(tmp_path)
    hostile = o / "hostile"
    hostile.write_bytes(content)
    calls = [
        ("run", o.a, hostile, "--in", IN, "-o", o / "out.pcapng"),
        ("run", hostile, o.trace, "--in", IN, "-o", o / "out.pcapng"),
        ("run", o.a, o.trace, "--in", IN, "--keys", hostile, "-o", o / "out.pcapng"),
        ("decrypt", o.trace, "--keys", hostile, "-o", o / "out.pcapng"),
        ("convert", hostile, o / "out.pcapng"),
        ("explain", o.a, hostile, "--in", IN, "--frame", 0),
    ]
    for call in calls:
        (o / "out.pcapng").write_bytes(b"kept")
        said = qfp(*call)
        assert said.status in (2, 3), call
        assert said.err.strip() and "Traceback" not in said.err
        if said.status == 2:
            assert (o / "out.pcapng").read_bytes() == b"kept"
            assert str(hostile) in said.err or "interface" in said.err


def test_hostile_configurations_are_checked(tmp_path):
    for k, content in enumerate(HOSTILE):
        path = tmp_path / f"{k}.cfg"
        path.write_bytes(content)
        assert qfp("check", path).status in (0, 2)
        json.loads(qfp("check", path, "--json").out)


def test_missing_files_name_themselves(tmp_path):
    o = office(tmp_path)
    gone = o / "gone"
    for call in (
        ("run", gone, o.trace, "--in", IN), ("run", o.a, gone, "--in", IN), ("check", gone),
        ("run", o.a, o.trace, "--in", IN, "--keys", gone), ("decrypt", gone, "--keys", gone),
        ("convert", gone, o / "x.pcap"), ("explain", o.a, gone, "--in", IN, "--frame", 0),
        ("run", o.a, o.trace, "--in", IN, "-o", gone / "x.pcap"),
        ("run", o.a, o.trace, "--in", IN, "--export-sas", gone / "s.json"),
        ("run", o.a, o.trace, "--in", IN, "--verdicts", gone / "v.parquet"),
        ("run", o.a, o.trace, "--in", IN, "--log", gone / "log"),
    ):  # fmt: skip
        said = qfp(*call)
        assert said.status == 2 and str(gone) in said.err, call
        as_json = qfp(*call, "--json")
        assert as_json.json["status"] == 2 and str(gone) in as_json.json["error"]


@pytest.mark.parametrize(
    "options",
    [("--batch", "-1"), ("--threads", "0"), ("--threads", "65"), ("--engine", "gpu"), ("--keying", "x"),
     ("--seed", "-1"), ("-o", "out.txt"), ("--verdicts", "v.csv"), ("--nothing",)],
)  # fmt: skip
def test_wrong_arguments_are_status_2(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    o = office(tmp_path)
    said = qfp("run", o.a, o.trace, "--in", IN, *options)
    assert said.status == 2 and said.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cfg", "b.cfg", "in.pcap"]


def test_missing_options_are_status_2(tmp_path):
    o = office(tmp_path)
    for call in (("run", o.a, o.trace), ("decrypt", o.trace), ("explain", o.a, o.trace, "--in", IN), ("nothing",),
                 ("explain", o.trace, "--frame", 0), ("explain", o.a, o.trace, "--frame", 0),
                 ("decrypt", o.trace, "--keys", o.a, "--window", 5000)):  # fmt: skip
        assert qfp(*call).status == 2, call


def test_an_output_never_replaces_an_input_or_another_output(tmp_path):
    o = office(tmp_path)
    before = o.trace.read_bytes()
    (o / "link.pcap").symlink_to(o.trace)
    for options in (("-o", o.trace), ("-o", o / "link.pcap"), ("--export-sas", o.a),
                    ("--export-sas", o / "x", "--export-esp-sa", o / "x"),
                    ("--verdicts", o / "x.arrow", "-o", o / "x.arrow")):  # fmt: skip
        said = qfp("run", o.a, o.trace, "--in", IN, *options)
        assert said.status == 2 and "choose another name" in said.err
    assert qfp("convert", o.trace, o.trace).status == 2
    assert o.trace.read_bytes() == before and not (o / "x").exists()


def test_damaged_input_is_processed_up_to_the_damage(tmp_path):
    o = office(tmp_path)
    whole = o.trace.read_bytes()
    o.trace.write_bytes(whole[:-5])
    said = o.seal("--verdicts", o / "v.parquet", "--export-sas", o / "s.json", "--json")
    assert said.status == 3 and said.json["status"] == 3
    damage = said.json["damage"]
    assert damage["record"] == 41 and damage["offset"] == len(whole) - 16 - len(packet(39))
    assert f"record 41, byte {damage['offset']}" in said.err
    assert said.json["frames_in"] == 41 and (o / "wire.pcapng").exists() and (o / "v.parquet").exists()
    wire = (o / "wire.pcapng").read_bytes()
    (o / "wire.pcapng").write_bytes(wire[:-9])
    opened = qfp("decrypt", o / "wire.pcapng", "--keys", o / "s.json", "-o", o / "in2.pcap")
    assert opened.status == 3 and "damaged at record 40" in opened.err and (o / "in2.pcap").exists()
    assert qfp("convert", o / "wire.pcapng", o / "c.pcap", "--json").json["damage"]["record"] == 40
    assert qfp("explain", o / "wire.pcapng", "--keys", o / "s.json", "--frame", 39).status == 0
    beyond = qfp("explain", o / "wire.pcapng", "--keys", o / "s.json", "--frame", 40)
    assert beyond.status == 3 and "damaged" in beyond.err


def test_an_error_on_the_way_leaves_outputs_untouched(tmp_path, monkeypatch):
    o = office(tmp_path)
    names = ("wire.pcapng", "v.parquet", "s.json", "log")
    for name in names:
        (o / name).write_bytes(b"old")
    options = ("--verdicts", o / "v.parquet", "--export-sas", o / "s.json", "--log", o / "log")
    from qfp.engine import Engine

    for error, status in ((KeyboardInterrupt(), 130), (OSError(28, "No space left on device", "disk"), 2)):

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(Engine, "_hand_over", fail)
        said = o.seal(*options)
        assert said.status == status and "Traceback" not in said.err and said.err
        assert all((o / name).read_bytes() == b"old" for name in names)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_lost_packet_is_a_fault_and_no_summary(tmp_path, monkeypatch):
    """BASE-12: a run whose packets do not add up must not look like one that does."""
    from qfp.result import CountError

    def lost(tables):
        raise CountError("lost")

    monkeypatch.setattr("qfp.cli.facts.counters", lost)
    o = office(tmp_path)
    with pytest.raises(CountError):
        o.seal()
    assert not (o / "wire.pcapng").exists()


def test_no_key_reaches_any_stream_or_other_file(tmp_path):
    key = "000102030405060708090a0b0c0d0e0f"
    extra = "crypto isakmp key hunter2secret address 203.0.113.2\ncrypto keyring K\n"
    extra += f" pre-shared-key address 0.0.0.0 0.0.0.0 key {key}\n"
    o = office(tmp_path, extra=extra)
    options = (
        "--verdicts",
        o / "v.parquet",
        "--export-sas",
        o / "s.json",
        "--export-esp-sa",
        o / "esp_sa",
        "--log",
        "-",
    )
    seen = [o.seal(*options), o.seal(*options, "--json")]
    seen += [qfp("check", o.a), qfp("check", o.a, "--json")]
    seen += [qfp("decrypt", o / "wire.pcapng", "--keys", o / "s.json", *more) for more in ((), ("--json",))]
    seen += [qfp("explain", o.a, o.trace, "--in", IN, "--frame", 5, *more) for more in ((), ("--json",))]
    seen += [qfp("explain", o / "wire.pcapng", "--keys", o / "s.json", "--frame", 5, "--json")]
    broken = (o / "s.json").read_text().replace('"esp"', '"exp"')
    (o / "broken.json").write_text(broken)
    seen.append(qfp("decrypt", o / "wire.pcapng", "--keys", o / "broken.json"))
    assert seen[-1].status == 2
    secrets = [b"hunter2secret", key.encode(), bytes.fromhex(key)]
    for sa in read_keys(o / "s.json"):
        secrets += [part for k in (sa.encr_key, sa.integ_key) if k for part in (k, k.hex().encode(), repr(k).encode())]
    texts = [said.out.encode() + said.err.encode() for said in seen]
    texts += [(o / name).read_bytes() for name in ("wire.pcapng", "v.parquet")]
    for text in texts:
        assert not any(secret.lower() in text.lower() for secret in secrets)


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path):
    o = office(tmp_path, extra="crypto \x1b[31mred \x9b2J\n")
    name = o / "evil\x1b[2J.pcap"
    for said in (qfp("check", o.a), o.seal(), qfp("decrypt", name, "--keys", o.a)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said.out + said.err)
    assert "\\x1b" in qfp("check", o.a).out
    assert output.clean("a\nb\x07") == "a\nb\\x07"


def test_every_expected_error_has_a_status():
    assert errors.status_of(KeyboardInterrupt()) == 130
    assert errors.status_of(BrokenPipeError()) == 141
    assert errors.status_of(PermissionError(13, "Permission denied", "x")) == 2
    assert errors.status_of(ZeroDivisionError()) is None
    import importlib

    for module, name in errors.EXPECTED:
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


# --------------------------------------------------------------------------------------- in a process of its own
def test_version_help_and_check_start_without_the_compiler(tmp_path):
    o = office(tmp_path)
    for args in (["--version"], ["--help"], ["run", "--help"], ["check", str(o.a)], ["check", str(o.a), "--json"]):
        code = (
            "import sys\nfrom qfp.cli.start import main\nsys.argv = ['qfp', *sys.argv[1:]]\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            "heavy = {'numba', 'llvmlite', 'pyarrow', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
        )
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, timeout=60, env=ENV)
        assert done.returncode == 0, done.stderr


def test_the_module_runs(tmp_path):
    done = child("--version")
    assert done.returncode == 0 and re.fullmatch(rb"qfp \d+\.\d+\.\d+\n", done.stdout)
    o = office(tmp_path)
    bad = child("decrypt", o.trace, "--keys", o / "gone")
    assert bad.returncode == 2 and b"Traceback" not in bad.stderr and not bad.stdout


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    o = office(tmp_path)
    shell = f'"{sys.executable}" -m qfp check "{o.a}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, env=ENV)
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    assert done.returncode in (0, 141)


def test_a_pipe_is_read_and_written(tmp_path):
    o = office(tmp_path)
    o.seal()
    command = [*COMMAND, "run", str(o.a), "/dev/stdin", "--in", IN, "-o", "/dev/null", "--json"]
    with o.trace.open("rb") as file:
        cat = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
        done = subprocess.run(command, stdin=cat.stdout, capture_output=True, timeout=120, env=ENV)
        cat.stdout.close()
        cat.wait()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["packets_out"] == 42


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_behind(tmp_path, number, status):
    o = office(tmp_path)
    pipe = o / "pipe"
    os.mkfifo(pipe)
    command = [*COMMAND, "run", str(o.a), str(pipe), "--in", IN, "-o", str(o / "out.pcapng")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    with pipe.open("wb", buffering=0) as out:
        out.write(o.trace.read_bytes()[:500])
        waited = time.monotonic() + 60
        while not list(tmp_path.glob(".out.pcapng*")) and running.poll() is None and time.monotonic() < waited:
            time.sleep(0.05)
        time.sleep(0.5)  # until it waits for the pipe: a signal just before a blocking read is seen after it
        running.send_signal(number)
        try:
            _, err = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == status, err
    assert b"Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cfg", "b.cfg", "in.pcap", "pipe"]


def test_the_first_compilation_is_told(tmp_path):
    o = office(tmp_path)
    env = {**ENV, "QFP_CACHE_DIR": str(tmp_path / "cache")}
    first = child("convert", o.trace, o / "x.pcapng", env=env)
    again = child("convert", o.trace, o / "x.pcapng", env=env)
    assert first.returncode == again.returncode == 0
    assert first.stderr.count(b"compiling kernels, once") == 1
    assert not again.stderr


def test_a_bar_appears_at_a_terminal_after_a_second():
    import io

    from qfp.cli.progress import Bar

    now = [0.0]
    screen = io.StringIO()
    with Bar("[x] trace", 100, terminal=True, clock=lambda: now[0], file=screen) as bar:
        bar.callback(10)
        assert not bar.shown and not screen.getvalue()
        now[0] = 1.5
        bar.callback(50)
        assert bar.shown
    assert "[x] trace" in screen.getvalue()
    assert Bar("x", 1, terminal=False).callback is None


def test_the_way_back_is_not_open_in_the_clear(tmp_path):
    """A clear packet from outside that the policy wants protected is dropped, and the summary names the cause."""
    o = office(tmp_path)
    said = qfp("run", o.b, o.trace, "--in", OUT, "--json")
    assert "NOT_IPSEC" in {d["cause"] for d in said.json["drops"]}
