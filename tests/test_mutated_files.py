"""Mutated traces and key files of every type: the contract's exit status, never a traceback, a crash or a hang.

A child process for each type, so that a crash is one failure with a seed; 100 mutations, a thousand with --slow.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TYPES = ("pcap", "pcapng", "pcap.gz", "pcapng.zst", "arrow", "parquet", "json", "esp_sa", "xfrm", "setkey",
         "setkey_c", "tcpdump", "charon", "pluto", "ipsecctl", "wildcards")  # fmt: skip
CHILD = Path(__file__).with_name("mutate.py")


@pytest.mark.parametrize("kind", TYPES)
def test_mutations(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count = 1000 if request.config.getoption("--slow") else 100
    done = subprocess.run(
        [sys.executable, str(CHILD), kind, str(count), str(tmp_path)], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-3000:])
    assert done.stdout.splitlines()[-1].startswith(f"{count} mutations")
