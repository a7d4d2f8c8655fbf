"""Make the sample captures again: `python traces/make.py [FOLDER]` (default: this folder).

Every capture comes from the project's own generator and a stated seed, so the same bytes come out on any machine;
tests/test_samples.py compares them with the committed files.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from qfp.batch import Batch
from qfp.trace import write_trace
from qfp.trace.synth import office_traffic

LAN = "GigabitEthernet0/0/1"


def branch_office() -> Batch:
    """Five seconds of what the branch's hosts send: seed 2, 1000 frames, about 200 a second."""
    batch = office_traffic(seed=2, packets=1000, direction="out", rate=200)
    return Batch(batch.arena, batch.columns, [LAN])


CAPTURES: dict[str, Callable[[], Batch]] = {"branch/office.pcapng": branch_office}


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
