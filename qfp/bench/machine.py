"""The machine: what it is, one core of it for measuring, and a clock that kernels can read."""

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qfp import __version__
from qfp_kernels import features

PACKAGES = ("numba", "llvmlite", "numpy", "cryptography", "pyarrow")


def describe() -> dict[str, Any]:
    """CPU model, what kernels compile for, cores, versions."""
    return {
        "cpu": cpu_model(),
        "features": features.describe(),
        "target": features.target()[1],
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"qfp": __version__, "python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }


def cpu_model() -> str:
    """Name of the CPU as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Run on one core of those allowed (the last: interrupts tend to go to the first), where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def clock() -> tuple[int, int]:
    """(address of clock_gettime, number of the monotonic clock): a kernel calls it in about 25 ns."""
    function = ctypes.CDLL(None).clock_gettime
    return ctypes.cast(function, ctypes.c_void_p).value or 0, int(time.CLOCK_MONOTONIC)
