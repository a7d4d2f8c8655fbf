"""Make the sample captures again: `python traces/make.py [FOLDER]` (default: this folder).

Every capture comes from the project's own generator and a stated seed, so the same bytes come out on any machine;
tests/test_samples.py compares them with the committed files.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qfp.batch import RAW_IP, Batch
from qfp.trace import packets as P
from qfp.trace import write_trace
from qfp.trace.office import START
from qfp.trace.synth import office_traffic

LAN = "GigabitEthernet0/0/1"
HOST, FAR = bytes([10, 1, 0]), bytes([10, 2, 0])
AF31, MS = 26, 10**6


def branch_office() -> Batch:
    """Five seconds of what the branch's hosts send: seed 2, 1000 frames, about 200 a second."""
    batch = office_traffic(seed=2, packets=1000, direction="out", rate=200)
    return Batch(batch.arena, batch.columns, [LAN])


def busy_line() -> Batch:
    """Five seconds of a busy branch: six calls (200 bytes every 20 ms each), business traffic, and downloads in bursts
    of 20 packets. Protected it nearly fills a line of 2 Mbit/s. Payloads are zeros: they compress."""
    rng = np.random.default_rng(4)
    timed = [(20 * MS * k + 3 * MS * call, 10 + call, 172, P.EF) for k in range(250) for call in range(6)]
    timed += [(int(t), 20 + k % 5, 580, AF31) for k, t in enumerate(np.sort(rng.integers(0, 5000 * MS, 520)))]
    bursts = np.sort(rng.integers(0, 4500 * MS, 14))
    timed += [(int(t) + k * MS // 4, 40, 1300, 0) for t in bursts for k in range(20)]
    timed.sort()
    frames = [P.ip(HOST + bytes([k]), FAR + bytes([k]), 17, P.udp(HOST + bytes([k]), FAR + bytes([k]), 16384, 16384,
              bytes(size)), dscp, ident) for ident, (_, k, size, dscp) in enumerate(timed)]  # fmt: skip
    return Batch.from_frames(frames, [START + t for t, _, _, _ in timed], RAW_IP, interfaces=[LAN])


def figure() -> Batch:
    """The guide's figure: a long packet that keeps the line busy (to the far router, in the clear), 100 data packets,
    two priority packets, 10 us apart."""
    far = bytes([192, 0, 2, 2])
    timed = [(far, 1372, 0), *[(FAR + b"\x09", 172, AF31)] * 100, *[(FAR + b"\x09", 172, P.EF)] * 2]
    frames = [P.ip(HOST + b"\x07", to, 17, P.udp(HOST + b"\x07", to, 1000, 2000, bytes(size)), dscp, k)
              for k, (to, size, dscp) in enumerate(timed)]  # fmt: skip
    return Batch.from_frames(frames, [START + 10_000 * k for k in range(len(frames))], RAW_IP, interfaces=[LAN])


CAPTURES: dict[str, Callable[[], Batch]] = {
    "branch/office.pcapng": branch_office,
    "figure/figure.pcapng": figure,
    "voice/voice.pcapng.zst": busy_line,
}


def main(folder: Path) -> None:
    """Write every capture below `folder`."""
    for name, make in CAPTURES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        batch = make()
        write_trace(path, batch)
        print(f"{path}: {len(batch)} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
