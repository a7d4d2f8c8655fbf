"""Cases of QoS: header rows, classes, and an interface's queues with eight classes below, at and above its rate."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from qfp.batch import Batch
from qfp.bench import traffic
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.track import BenchError
from qfp.config import loads
from qfp.qos import Classifier, Scheduler, compile_queues, headers_of

PACKETS = 1 << 17  # enough that no branch predictor learns the arrivals
RATE = 1_000_000_000  # bit/s
LOADS = (0.7, 0.98, 1.3)
DSCPS = (46, 34, 26, 18, 10, 32, 24)  # of seven classes; class-default is the eighth
SHARES = ("priority level 1", "priority level 2", *(f"bandwidth remaining ratio {k}" for k in (25, 20, 15, 10, 5)))


def policy_text() -> str:
    """Eight classes by DSCP: two priority levels, five ratios, class-default; 64 packets each."""
    maps = "".join(f"class-map c{k}\n match dscp {dscp}\n" for k, dscp in enumerate(DSCPS))
    classes = "".join(f" class c{k}\n  {share}\n  queue-limit 64\n" for k, share in enumerate(SHARES))
    return f"{maps}policy-map p\n{classes} class class-default\n  queue-limit 64\n"


def queue_cases(packets: int = PACKETS) -> Iterator[Case]:
    """Each sample works through all packets once."""
    cfg = loads(policy_text())
    classifier = Classifier(cfg, "p")
    batch = _marked(traffic.load(64, packets, 16))
    headers = headers_of(batch)
    yield Case(Label("", size=64), partial(_classes, classifier, batch, headers))
    rng = np.random.default_rng(1)
    length = rng.integers(64, 1501, packets)
    cls = rng.integers(0, len(classifier.classes), packets)
    policy = compile_queues(cfg, "p", RATE)
    for load in LOADS:
        ts = np.cumsum(rng.exponential(length.mean() * 8e9 / RATE / load, packets)).astype(np.int64)
        work = f"queues, 8 classes, load {load}"

        def sample(ts: np.ndarray = ts, work: str = work) -> dict[str, float]:
            queues = Scheduler(policy)
            begun = time.perf_counter_ns()
            queues.offer(ts, length, cls)
            gone = queues.run()
            ns = time.perf_counter_ns() - begun
            if len(gone) + len(gone.dropped) != packets:
                raise BenchError(f"{work}: packets are missing")
            return {work: ns / packets}

        yield Case(Label(""), sample)


def _marked(batch: Batch) -> Batch:
    """The same packets with the DSCPs of the classes in turn (checksums are not looked at here)."""
    arena = batch.arena.copy()
    values = np.array([*DSCPS, 0], np.uint8) << 2
    arena[batch.offset + 1] = values[np.random.default_rng(2).integers(0, len(values), len(batch))]
    return Batch(arena, batch.columns)


def _classes(classifier: Classifier, batch: Batch, headers: np.ndarray) -> dict[str, float]:
    begun = time.perf_counter_ns()
    headers_of(batch)
    read = time.perf_counter_ns()
    cls = classifier.classify(headers)
    done = time.perf_counter_ns()
    if np.bincount(cls, minlength=8).min() == 0:
        raise BenchError("classes: one is never met")
    return {"classes, header rows": (read - begun) / len(batch), "classes, 8 of DSCP": (done - read) / len(batch)}
