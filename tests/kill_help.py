"""Commands that are killed at random points and go on with --resume: what comes out must be as if nobody had.

`python tests/kill_help.py --count 100` kills that often and prints what differed; the suite does six.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_help import ENV, IN, START, config, qfp
from packets import ip4, udp

from qfp.batch import Batch
from qfp.trace import convert, write_trace

# Rekeys by volume and time, spaces by queue, fragments both ways: small lifetimes, a policy, an MTU below the packets
EXTRA = """class-map match-any VOICE
 match dscp ef
policy-map OUT
 class VOICE
  priority percent 20
 class class-default
  fair-queue
crypto ipsec security-association lifetime kilobytes 2560
crypto ipsec security-association lifetime seconds 120
crypto ipsec security-association multi-sn
"""
POLICY = "interface GigabitEthernet0/0/0\n service-policy output OUT\n ip mtu 1300\n"
PACKETS = 60_000


@dataclass
class Case:
    """A command, and what it leaves when nobody kills it."""

    name: str
    args: list[str]
    outputs: tuple[str, ...]
    seconds: float = 0.0
    wanted: dict[str, bytes] = field(default_factory=dict)
    told: Any = None


def clear(r: random.Random, count: int) -> Batch:
    """Packets of an office: some too long for the link, some in fragments, some whose time is over, some dscp ef."""
    frames = []
    while len(frames) < count:
        k = len(frames)
        payload = udp(1000 + k % 900, 53, bytes([k & 255]) * r.choice((20, 200, 1200, 1380)))
        end = {"tos": 184 if r.random() < 0.2 else 0, "ident": k & 0xFFFF, "ttl": 1 if r.random() < 0.01 else 64}
        if r.random() < 0.1:
            frames += [ip4("10.1.0.5", "10.2.0.7", payload[:80], 17, flags=0x2000, **end),
                       ip4("10.1.0.5", "10.2.0.7", payload[80:], 17, flags=10, **end)]  # fmt: skip
        else:
            frames.append(ip4("10.1.0.5", "10.2.0.7", payload, 17, **end))
    return Batch.from_frames(frames[:count], ts=[START + k * 10**7 for k in range(count)])


def cases(folder: Path, packets: int = PACKETS) -> list[Case]:
    """The commands that are tried; each is run once without checkpoints for its outputs."""
    r = random.Random(1)
    for site, name in ((1, "a.cfg"), (2, "b.cfg")):
        (folder / name).write_text(config(site, "esp-gcm 128", EXTRA) + POLICY)
    write_trace(folder / "in.pcapng", clear(r, packets))
    for name in ("in.pcap.gz", "in.parquet", "in.arrow"):
        convert(folder / "in.pcapng", folder / name)
    sealed = qfp("run", folder / "a.cfg", folder / "in.pcapng", "--in", IN, "-o", folder / "wire.pcapng",
                 "--export-sas", folder / "keys.json")  # fmt: skip
    assert sealed.status == 0, sealed.err
    convert(folder / "wire.pcapng", folder / "wire.pcapng.zst")

    def run(name: str, trace: str, *options: str) -> Case:
        packets = options[options.index("-o") + 1]
        args = ["run", "a.cfg", trace, "--in", IN, *options, "--verdicts", "v.parquet", "--log", "log.txt",
                "--export-sas", "s.json"]  # fmt: skip
        return Case(name, args, (packets, "v.parquet", "log.txt", "s.json"))

    back = ["run", "b.cfg", "wire.pcapng", "--in", "gi0/0/0", "-o", "o.pcapng", "--verdicts", "v.arrow"]
    opened = ["decrypt", "wire.pcapng.zst", "--keys", "keys.json", "-o", "o.pcap", "--verdicts", "v.parquet"]
    found = [
        run("run pcapng", "in.pcapng", "-o", "o.pcapng"),
        run("run gzip", "in.pcap.gz", "-o", "o.pcap.gz"),
        run("run parquet", "in.parquet", "-o", "o.parquet", "--threads", "2"),
        run("run arrow", "in.arrow", "-o", "o.arrow", "--engine", "openssl"),
        run("run zstd", "in.pcapng", "-o", "o.pcapng.zst", "--batch", "7"),
        Case("run inbound", back, ("o.pcapng", "v.arrow")),
        Case("decrypt", opened, ("o.pcap", "v.parquet")),
    ]
    for case in found:
        said = command(case.args, folder)
        assert said.returncode == 0, said.stderr.decode()
        case.wanted = {name: (folder / name).read_bytes() for name in case.outputs}
        case.told = counters(said.stdout)
        clean(case, folder)
    return found


def command(args: list[str], folder: Path, timeout: float | None = None) -> "subprocess.CompletedProcess[bytes]":
    """A command in a process of its own, killed after `timeout` (then subprocess.TimeoutExpired)."""
    return subprocess.run([sys.executable, "-m", "qfp", *args, "--json"], cwd=folder, env=ENV, capture_output=True,
                          timeout=timeout)  # fmt: skip


def counters(out: bytes) -> Any:
    """All that the JSON of a run counts. Rates and the flow cache depend on how a run went, not on what it did."""
    facts = json.loads(out)
    for name in ("rates", "flow_cache", "checkpoints", "batch", "threads"):
        facts.pop(name, None)
    return facts


def clean(case: Case, folder: Path) -> None:
    """Take a command's outputs away, and what a killed one left beside them."""
    for path in (*(folder / name for name in case.outputs), *folder.glob(".*.part")):
        path.unlink(missing_ok=True)


def strike(case: Case, folder: Path, r: random.Random) -> tuple[int, int, str]:
    """Run a command, kill it until it comes through: (kills, kills that it went on after, what is wrong)."""
    kept = [*case.args, "--every", "5ms"]
    if not case.seconds:
        case.seconds = time.monotonic()
        command([*kept, "--checkpoint", "D"], folder)
        case.seconds = time.monotonic() - case.seconds
        clean(case, folder)
    kills = resumed = 0
    way = "--checkpoint"
    while True:
        try:
            said = command([*kept, way, "D"], folder, r.uniform(0.3, 1.05) * case.seconds if kills < 3 else None)
        except subprocess.TimeoutExpired:
            kills, way = kills + 1, "--resume"
            resumed += (folder / "D" / "checkpoint.qfp").exists()
            continue
        wrong = judge(case, folder, said)
        clean(case, folder)
        return kills, resumed, wrong and f"{case.name}, killed {kills} times: {wrong}"


def judge(case: Case, folder: Path, said: "subprocess.CompletedProcess[bytes]") -> str:
    """What is wrong with the end of a command; empty where nothing is."""
    if said.returncode != 0:
        return f"status {said.returncode}: {said.stderr.decode()[-600:]}"
    differ = [name for name in case.outputs if (folder / name).read_bytes() != case.wanted[name]]
    if differ:
        return f"other bytes than without a kill: {differ}"
    now = counters(said.stdout)
    if now != case.told:
        return f"other counters: {[key for key in now if now[key] != case.told.get(key)]}"
    left = sorted(path.name for path in (folder / "D").iterdir())
    return f"left in the folder: {left}" if left else ""


def campaign(folder: Path, count: int, seed: int, made: list[Case] | None = None) -> tuple[int, int, int, list[str]]:
    """At least `count` kills: (commands, kills, kills that a command went on after, what went wrong)."""
    r = random.Random(seed)
    tried = made or cases(folder)
    done = kills = resumed = 0
    wrong = []
    while kills < count:
        k, on, what = strike(tried[done % len(tried)], folder, r)
        done, kills, resumed = done + 1, kills + k, resumed + on
        if what:
            wrong.append(what)
    return done, kills, resumed, wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked: Any = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        done, kills, resumed, wrong = campaign(Path(folder), asked.count, asked.seed)
    print(*wrong, sep="\n")
    print(f"{kills} kills of {done} commands, {resumed} with a checkpoint to go on from, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
