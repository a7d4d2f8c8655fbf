"""No stage reads or writes outside a frame's own bytes, its head-room and its tail-room.

Guard bytes lie around the arena and every other column while random and genuine frames run; what lies there before must
not show in what comes out, and must be there afterwards. A build with QFP_BOUNDS=1, in a process of its own, traps an
index outside a column.
"""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encapsulations import FORMS, esp_packets
from test_damage import random_frames, some_sas
from test_path_batches import disturbed, lists, mixed_frames
from test_path_policy import office

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.result import Result
from qfp.router import Router
from qfp_kernels.layout import GAP

GUARD = 8192  # bytes on both sides of a column
ROOT = Path(__file__).parents[1]


def gaps(columns: Any) -> list[tuple[str, np.ndarray]]:
    """The bytes of the block before each of its columns, and behind the last."""
    out, end = [], 2 * 8 * len(columns.names())
    for name, start in columns.fixed.items():
        out.append((name, columns.block[end:start]))
        end = start + getattr(columns, name).nbytes
    return [*out, ("the end", columns.block[end:])]


def guarded(columns: Any, fill: int) -> list[tuple[str, np.ndarray, int]]:
    """Fill the gaps of the block, and move every other column between guard bytes; what is free in the arena gets the
    fill too."""
    whole = []
    for _, gap in gaps(columns):
        assert gap.size >= GAP
        gap[:] = fill
    for name in columns.names():
        if name in columns.fixed:
            continue
        old = getattr(columns, name)
        raw = np.full(old.nbytes + 2 * GUARD + 64, fill, np.uint8)
        at = GUARD + -(raw.ctypes.data + GUARD) % 64
        middle = raw[at : at + old.nbytes]
        middle[:] = old.reshape(-1).view(np.uint8) if name != "arena" else fill
        columns.rebind(name, middle.view(old.dtype))
        whole.append((name, raw, at))
    return whole


def intact(whole: list[tuple[str, np.ndarray, int]], columns: Any, fill: int) -> None:
    for name, gap in gaps(columns):
        assert (gap == fill).all(), f"written before column {name}"
    for name, raw, at in whole:
        size = getattr(columns, name).nbytes
        assert (raw[:at] == fill).all(), f"written before column {name}"
        assert (raw[at + size :] == fill).all(), f"written behind column {name}"


def outcome(result: Result) -> tuple[Any, ...]:
    return result.packets.frames(), {k: v.tobytes() for k, v in result.verdicts.items()}, result.counters


def encapsulated(count: int, seed: int) -> Batch:
    """Frames of every form that captures hold, cut and changed, all link types mixed."""
    rng = random.Random(seed)
    forms = [rng.choice(FORMS) for _ in range(count)]
    frames = []
    for form in forms:
        frame = bytearray(form.wrap(esp_packets(1)[0]))
        for _ in range(rng.randrange(3)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        frames.append(bytes(frame[: rng.choice([len(frame), rng.randrange(1, len(frame) + 1)])]))
    batch = Batch.from_frames(frames)
    return Batch(batch.arena, {**batch.columns, "link": np.array([form.link for form in forms])}, batch.interfaces)


def traffic() -> list[tuple[Any, Any]]:
    """(a fresh device, what to do with it): decryption, and a router from both sides."""
    clear = Batch.from_frames(mixed_frames(600, 8))
    first = Router.loads(office(1, lists(1), "OLD")).forward(clear, "gi0/0/1")
    wire = Batch.from_frames(disturbed(first.packets.frames(), 9))
    noise = random_frames(20_000, 7)
    return [
        (lambda: Decryptor(some_sas()), lambda d: d.open(noise)),
        (lambda: Decryptor(some_sas()), lambda d: d.open(encapsulated(3000, 11))),
        (lambda: Router.loads(office(1, lists(1), "OLD")), lambda r: r.forward(clear, "gi0/0/1")),
        (lambda: Router.loads(office(2, lists(2), "OLD")), lambda r: r.forward(wire, "gi0/0/0")),
        (lambda: Router.loads(office(2, lists(2))), lambda r: r.forward(noise, "gi0/0/0")),
    ]


@pytest.mark.req("BASE-12")
def test_guard_bytes() -> None:
    """Three fills, the same results, and the guards untouched."""
    for make, run in traffic():
        seen = []
        for fill in (0x00, 0xA5, 0xFF):
            device = make()
            p = device.engine.workspaces[0]
            whole = guarded(p, fill)
            seen.append(outcome(run(device)))
            intact(whole, p, fill)
        assert seen[0] == seen[1] == seen[2], "bytes from outside a frame reached a result"


BOUNDS = """
import sys
sys.path.insert(0, {tests!r})
from qfp_kernels import columns
assert columns.BOUNDS
from test_guard import traffic
for make, run in traffic():
    print(run(make()).counters)
"""


def in_bounds_build(code: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    env = {**os.environ, "QFP_BOUNDS": "1", "PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=900)


@pytest.mark.req("BASE-12")
def test_no_index_outside_a_column() -> None:
    """The same traffic in a build that traps such an index gives the same counters."""
    done = in_bounds_build(BOUNDS.format(tests=str(ROOT / "tests")))
    assert done.returncode == 0, done.stderr[-2000:] or f"ended by signal {-done.returncode}"
    assert done.stdout.splitlines() == [str(run(make()).counters) for make, run in traffic()]


def test_the_bounds_build_traps() -> None:
    """The build above does what it is for."""
    code = "from qfp_kernels.jit import kernel\nfrom qfp_kernels.columns import Columns\nimport numpy as np\n"
    code += "c = Columns('X', {'a': np.zeros(4)})\n"
    code += "import qfp_kernels.drive as d, qfp_kernels.layout as l\n"
    code += "from numba import njit\nf = njit(lambda c, i: c.a[i])\n"
    code += "assert f(c, 3) == 0\nprint('fine', flush=True)\nf(c, 4)\n"
    done = in_bounds_build(code)
    assert done.stdout == "fine\n" and done.returncode < 0, done.stderr[-500:]
