"""Random policies and arrivals for the tests of queues."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from qfp.qos.policy import Element, QueuePolicy, nanobits, weigh
from qfp.qos.scheduler import Scheduler
from qfp_kernels.drops import CAUSES
from qfp_kernels.queues import NEVER

Array = Any
CAUSE_WORDS = {"TAIL_DROP": "tail", "POLICED": "policed", "CRYPTO_TAIL_DROP": "crypto"}


def random_policy(rng: np.random.Generator, rate: int, depth: int = 2) -> QueuePolicy:
    """A tree of queues: levels, shares, shapers, limits and policers as they come."""
    elements = [Element("link", -1, rate)]
    todo = [(0, depth)]
    while todo:
        parent, left = todo.pop(0)
        made = []
        for _ in range(int(rng.integers(1, 7))):
            number = len(elements)
            elements[parent].children.append(number)
            one = Element(f"e{number}", parent, rate, share=Fraction(int(rng.choice([1, 2, 3, 7, 10, 25, 60]))))
            inner = left > 1 and rng.random() < 0.4
            if rng.random() < 0.3:
                one.rate, one.burst = int(rng.integers(rate // 20, rate)), nanobits(int(rng.integers(800, 40_000)))
            if inner:
                todo.append((number, left - 1))
            else:
                _leaf(rng, one, rate)
            elements.append(one)
            made.append(one)
        weigh(made)
    leaves = [k for k, each in enumerate(elements) if not each.children]
    queue_of = [int(each) for each in rng.permutation(leaves)] + [leaves[0]]
    return QueuePolicy(rate, elements, [f"c{k}" for k in range(len(queue_of))], queue_of)


def _leaf(rng: np.random.Generator, one: Element, rate: int) -> None:
    if one.rate == 0 and rng.random() < 0.35:
        one.level = int(rng.integers(1, 3))
        if rng.random() < 0.5:
            one.cir, one.cbs = int(rng.integers(rate // 50, rate)), nanobits(int(rng.integers(8000, 60_000)))
    one.limit = int(rng.choice([1, 2, 5, 20, 64, NEVER]))
    if rng.random() < 0.3:
        one.limit_bytes = int(rng.integers(1, 9000))


def random_arrivals(
    rng: np.random.Generator, n: int, rate: int, classes: int, load: float
) -> tuple[Array, Array, Array]:
    """ns, bytes and class of n packets; several may come in one ns, and in bursts."""
    length = rng.choice([40, 64, 200, 576, 1420, 1500], n) if rng.random() < 0.5 else rng.integers(1, 9000, n)
    gaps = rng.exponential(length.mean() * 8e9 / rate / load, n)
    gaps[rng.random(n) < 0.3] = 0
    return np.cumsum(gaps).astype(np.int64), length, rng.integers(0, classes, n)


def ran(
    queues: Scheduler, columns: tuple[Array, ...], cuts: list[int], horizons: list[int]
) -> tuple[list[Any], list[Any]]:
    """(departures, drops) as tuples, with arrivals offered in pieces and run to horizons as soon as that may be."""
    out: list[Any] = []
    drops: list[Any] = []
    bounds = sorted({0, *cuts, len(columns[0])})
    todo = sorted(horizons)
    for first, last in pairwise(bounds):
        queues.offer(*(column[first:last] for column in columns))
        coming = int(columns[0][last]) if last < len(columns[0]) else todo[-1]
        while todo and todo[0] <= coming:
            collect(queues.run(todo.pop(0)), out, drops)
    for horizon in todo:
        collect(queues.run(horizon), out, drops)
    return out, drops


def collect(gone: Any, out: list[Any], drops: list[Any]) -> None:
    columns = (gone.row, gone.arrival, gone.start, gone.end, gone.length, gone.cls)
    out += zip(*(column.tolist() for column in columns), strict=True)
    lost = gone.dropped
    words = [CAUSE_WORDS[CAUSES[k].name] for k in lost.cause.tolist()]
    drops += zip(*(c.tolist() for c in (lost.row, lost.ts, lost.length, lost.cls)), words, strict=True)
