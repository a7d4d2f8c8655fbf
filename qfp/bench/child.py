"""Measurements in processes of their own: threads (which may use every core) and start-up.

`python -m qfp.bench.child THREADS ROUNDS PACKETS` prints the rows of `threads.thread_rows` as JSON.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import qfp
import qfp_kernels
from qfp.bench.files import wire_file
from qfp.bench.rows import Label, Row, as_dicts, value_row
from qfp.bench.site import GCM, Site
from qfp.bench.threads import thread_rows
from qfp.bench.track import BenchError
from qfp.trace.keyfile import write_sas

PACKETS = 64
COMMAND = "from qfp.cli.start import main; main()"
LIMIT = 300.0  # s


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that imports the same qfp as this process."""
    homes = [str(Path(str(package.__file__)).parent.parent) for package in (qfp, qfp_kernels)]
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*homes, *([known] if known else [])]), **more}


def run(arguments: list[str], **more: str) -> str:
    """Standard output of `python ARGUMENTS`. Raises BenchError when it fails."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BenchError(f"a process of the bench ended with status {done.returncode}: {last[0]}")
    return done.stdout


def threads_in_child(threads: int, rounds: int, packets: int) -> list[Row]:
    """Rows of a process that runs on every core."""
    text = run(["-m", "qfp.bench.child", str(threads), str(rounds), str(packets)])
    return [Row(**row) for row in json.loads(text)]


def start_rows(folder: Path, rounds: int, cold: bool) -> list[Row]:
    """Seconds from starting `qfp decrypt` to its end, on a capture of 64 packets; cold: kernels are compiled too."""
    capture, keys = folder / "start.pcapng", folder / "start.json"
    wire_file(capture, 64, PACKETS)
    write_sas(keys, Site(GCM, 16).keys())
    rows = []
    if cold:
        empty = folder / "kernels"
        empty.mkdir()
        taken = _start(capture, keys, folder, QFP_CACHE_DIR=str(empty))
        rows.append(value_row(Label("first result, kernels not cached", "decrypt", GCM, 64), [taken], "s"))
    _start(capture, keys, folder)  # fills the cache
    seconds = [_start(capture, keys, folder) for _ in range(rounds)]
    rows.append(value_row(Label("first result, kernels cached", "decrypt", GCM, 64), seconds, "s"))
    return rows


def _start(capture: Path, keys: Path, folder: Path, **more: str) -> float:
    out = folder / "start-clear.pcapng"
    start = time.perf_counter()
    text = run(["-c", COMMAND, "decrypt", str(capture), "--keys", str(keys), "-o", str(out), "--json"], **more)
    taken = time.perf_counter() - start
    if f'"forwarded": {PACKETS}' not in text:
        raise BenchError("`qfp decrypt` did not open the packets of the bench")
    return taken


def main(arguments: list[str]) -> None:
    """Print rows as JSON."""
    threads, rounds, packets = (int(a) for a in arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent may be pinned
    print(json.dumps(as_dicts(thread_rows(threads, rounds, packets))))


if __name__ == "__main__":
    main(sys.argv[1:])
