"""Two sites and every way between them against the slow twin: sizes around every limit, DF, options, errors, both ends.

What leaves the first router goes into the second, shuffled, with duplicates: fragments of what was cut after encryption
are put together there, and what was cut before comes out in pieces.
"""

from random import Random

import pytest
from site_help import WAYS, any_site, traffic

MILLISECOND = 10**6
SEEDS = 8


def arrivals(r: Random, count: int) -> list[int]:
    """Times (ns) from bursts to pauses, next to the intervals of the limits on ICMP errors."""
    now, out = 10**18, []
    for _ in range(count):
        now += r.choice([0, 0, 1, 5, 20, 99, 100, 500]) * MILLISECOND
        out.append(now)
    return out


@pytest.mark.req("BASE-6", "BASE-8", "BASE-12", "PF-1", "PF-3", "PF-4", "PF-6", "PF-7", "DF-1")
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("way", WAYS)
def test_there_and_back(way: str, family: int, seed: int) -> None:
    r = Random(f"{way} {family} {seed}")
    site = any_site(r, way, family)
    batch = r.choice([1, 7, 0])
    here, there = site.pair(1, batch=batch), site.pair(2, batch=batch)
    frames = traffic(r, here.twin, 40)
    wire = here.forward(frames, "gi0/0/1", arrivals(r, len(frames)))
    wire += wire[:: r.choice([5, 100])]
    if r.random() < 0.5:
        r.shuffle(wire)
    wire += frames[:5]  # in the clear, where they should not come from
    there.forward(wire, "gi0/0/0", 10**18)
    back = traffic(r, there.twin, 20, me=2)
    here.forward(there.forward(back, "gi0/0/1", 2 * 10**18), "gi0/0/0", 2 * 10**18)
