"""Cases of `qfp replay-lab`: windows over columns in memory, numbers of spaces, and columns from a capture."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from qfp.antireplay.columns import Scratch, observe
from qfp.antireplay.numbers import Classes, Numbering, numberings
from qfp.antireplay.study import Receiver
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.track import BenchError

PACKETS = 1_000_000
SIZES = (64, 1024, 8192)
CLASSES, REACH = 16, 32  # traffic classes; packets by which a packet is late at most: no window loses any
LAB = "replay-lab"


def _timed(work: str, packets: int, run: Callable[[], int]) -> dict[str, float]:
    """ns a packet of one run, which returns how many packets it lost."""
    start = time.perf_counter_ns()
    lost = run()
    taken = time.perf_counter_ns() - start
    if lost:
        raise BenchError(f"{work}: {lost} packets were lost")
    return {work: taken / packets}


def _lost(receiver: Receiver, n: Numbering) -> int:
    return int(receiver.run(n).sum())


def window_cases(packets: int = PACKETS) -> Iterator[Case]:
    """Every packet through one window, at three sizes, in one space and in 16; and the ranks within 16 spaces."""
    rng = np.random.default_rng(12)
    order = np.argsort(np.arange(packets) + rng.integers(0, REACH, packets), kind="stable")
    seq = (order + 1).astype(np.uint32)
    tos = (rng.integers(0, CLASSES, packets) * 8).astype(np.uint8)
    scratch = Scratch()
    made = {n.scheme: n for n in numberings(seq, tos, Classes.by_dscp(), None, scratch)}
    for scheme in ("plain", "sns"):
        for size in SIZES:
            run = partial(_lost, Receiver([size]), made[scheme])
            yield Case(Label(""), partial(_timed, f"{LAB}, {scheme}, N = {size}", packets, run))

    def number() -> int:
        return packets - sum(len(n.numbers) for n in numberings(seq, tos, Classes.by_dscp(), None, scratch)) // 4

    yield Case(Label(""), partial(_timed, f"{LAB}, numbers of all schemes", packets, number))


def column_case(source: Path, packets: int, size: int) -> Case:
    """Numbers, times and lengths out of a capture of ESP packets."""

    def run() -> int:
        return packets - len(observe(source))

    return Case(Label("", size=size), partial(_timed, f"{LAB}, columns from a capture", packets, run))
