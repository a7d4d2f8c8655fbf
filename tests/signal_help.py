"""Commands in processes of their own that get a signal at a seeded point, and what must hold afterwards.

`python tests/signal_help.py --count 200` tries that many points and prints what failed; the suite tries twelve.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_help import IN, START, config, packet, qfp

from qfp.batch import Batch
from qfp.trace import write_trace

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
TAKEN = 1 << (signal.SIGTERM - 1)  # bit of SigCgt once the command has its handlers
LAB = """
[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
delay = "1 ms"
[[inject]]
at = "a gi0/0/1"
trace = "in.pcap"
[[capture]]
at = "b gi0/0/0"
file = "wire.pcapng"
"""
RESULTS = tuple(f"out/{name}" for name in ("journeys.parquet", "series.parquet", "lab.json", "wire.pcapng"))


@dataclass
class Case:
    """A command, with the output files that it makes when it is left alone."""

    name: str
    args: list[str]
    outputs: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # that it takes from its handlers to its end
    wanted: dict[str, bytes] = field(default_factory=dict)


def cases(folder: Path, packets: int = 3000) -> list[Case]:
    """The commands that are tried, on small inputs in `folder`; each is run once for its outputs and its time."""
    for site, name in ((1, "a.cfg"), (2, "b.cfg")):
        (folder / name).write_text(config(site, "esp-gcm 128", ""))
    frames = [packet(k % 900, ttl=1 if k % 100 == 7 else 64) for k in range(packets)]
    write_trace(folder / "in.pcap", Batch.from_frames(frames, ts=[START + k * 10**6 for k in range(packets)]))
    (folder / "lab.toml").write_text(LAB)
    run = ["run", "a.cfg", "in.pcap", "--in", IN, "-o", "o.pcapng", "--verdicts", "v.parquet", "--export-sas", "s.json"]
    made = qfp("run", folder / "a.cfg", folder / "in.pcap", "--in", IN, "-o", folder / "wire.pcapng",
               "--export-sas", folder / "keys.json")  # fmt: skip
    assert made.status == 0, made.err
    decrypt = ["decrypt", "wire.pcapng", "--keys", "keys.json", "-o", "o.pcapng", "--verdicts", "v.parquet"]
    files = ("o.pcapng", "v.parquet")
    cold = {"QFP_CACHE_DIR": str(folder / "cold")}
    all_of_them = [
        Case("run native", run, (*files, "s.json")),
        Case("run openssl", [*run, "--engine", "openssl"], (*files, "s.json")),
        Case("run threads", [*run, "--engine", "openssl", "--threads", "2"], (*files, "s.json")),
        Case("run cold", run, (*files, "s.json"), cold),
        Case("decrypt native", decrypt, files),
        Case("decrypt openssl", [*decrypt, "--engine", "openssl"], files),
        Case("lab", ["lab", "lab.toml", "-o", "out"], RESULTS),
        Case("lab openssl", ["lab", "lab.toml", "-o", "out", "--engine", "openssl"], RESULTS),
    ]
    for case in all_of_them:
        process = begin(case, folder)
        begun = time.monotonic()
        _, err = process.communicate(timeout=300)
        case.seconds = time.monotonic() - begun
        assert process.returncode == 0, err
        case.wanted = {name: (folder / name).read_bytes() for name in case.outputs}
        clean(case, folder)
    return all_of_them


def begin(case: Case, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a command and wait until it has taken the signals."""
    process = subprocess.Popen([sys.executable, "-m", "qfp", *case.args], cwd=folder, env={**ENV, **case.env},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = next((line for line in status.read_text().splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
        if int(caught.split()[1], 16) & TAKEN:
            break
        time.sleep(0.002)
    return process


def clean(case: Case, folder: Path) -> None:
    """Take a command's outputs, and the kernels that a cold one compiled, away."""
    for name in case.outputs:
        (folder / name).unlink(missing_ok=True)
    for place in (folder / "cold", folder / "out"):
        subprocess.run(["rm", "-rf", str(place)], check=True)


def strike(case: Case, folder: Path, rng: random.Random) -> tuple[str, str]:
    """Run a command, send it a signal at a random point: (how it ended, what is wrong with that)."""
    number = rng.choice(list(SIGNALS))
    after = rng.uniform(0, 1.1) * case.seconds
    process = begin(case, folder)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hung", f"{case.name}: still there 120 s after {number.name} at {after:.3f} s"
    wrong = judge(case, folder, process.returncode, number, err.decode())
    clean(case, folder)
    ended = "done" if process.returncode == 0 else "ended"
    return ended, f"{case.name}, {number.name} at {after:.3f} s: {wrong}" if wrong else ""


def judge(case: Case, folder: Path, status: int, number: signal.Signals, err: str) -> str:
    """What is wrong with how a command ended; empty where nothing is."""
    there = {name: (folder / name).read_bytes() for name in case.outputs if (folder / name).exists()}
    left = [p.name for p in folder.rglob(".*.part")] + [p.name for p in folder.rglob("*.tmp")]
    if "Traceback" in err or "Exception ignored" in err:
        return f"status {status} and on stderr: {err[-600:]}"
    if left and not any("cold" in name for name in left):
        return f"temporary files stayed: {left}"
    if status == 0:
        return "" if same(there, case.wanted) else f"status 0, and other outputs than without a signal: {list(there)}"
    if status != SIGNALS[number]:
        return f"status {status}: {err[-600:]}"
    return f"status {status}, but these stand under their final names: {list(there)}" if there else ""


def same(there: dict[str, bytes], wanted: dict[str, bytes]) -> bool:
    """Equal outputs; a summary names times that differ."""
    return there.keys() == wanted.keys() and all(
        there[name] == wanted[name] for name in wanted if not name.endswith(".json")
    )


def campaign(folder: Path, count: int, seed: int, made: list[Case] | None = None) -> tuple[Counter[str], list[str]]:
    """`count` points: how often commands ended how, and what went wrong."""
    rng = random.Random(seed)
    tried = made or cases(folder)
    ends: Counter[str] = Counter()
    wrong = []
    for k in range(count):
        ended, what = strike(tried[k % len(tried)], folder, rng)
        ends[ended] += 1
        if what:
            wrong.append(what)
    return ends, wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked: Any = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        ends, wrong = campaign(Path(folder), asked.count, asked.seed)
    print(*wrong, sep="\n")
    print(f"{asked.count} signals: {ends['ended']} ended the command, {ends['done']} came too late, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
