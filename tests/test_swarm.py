"""The swarm (tests/swarm.py): a hundred worlds, the same ones each time, as far as two minutes go.

What it found has tests of its own: test_hard_limit_by_volume, test_entries_that_have_other_numbers_now,
test_tables_do_not_depend_on_vectors.
"""

import pytest
import swarm

from qfp.batch import Batch
from qfp.router import Router

MINUTE = 60.0


@pytest.mark.parametrize("first", [1_000, 2_000])
def test_a_minute_of_worlds(first: int) -> None:
    done, wrong = swarm.swarm(first, MINUTE, count=50)
    assert not wrong, "\n".join(f"seed {seed}: {told}" for seed, told in wrong)
    assert done > 5


def test_a_seed_is_a_world() -> None:
    """What happens follows from the seed alone."""
    worlds = [swarm.Pair(3) for _ in range(2)]
    for world in worlds:
        for _ in range(4):
            world.step()
    assert worlds[0].past == worlds[1].past
    assert worlds[0].now == worlds[1].now
    assert repr(worlds[0]) == repr(worlds[1])


def test_faults_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is used twice, a packet that is lost beside the books, and a cast that differs."""
    numbers = swarm.Numbers()
    packet = bytes.fromhex("4500001c00000000ff320000cb007101cb0071020000100000000001")
    with pytest.raises(swarm.Broken, match="twice"):
        numbers.see("a", [packet, packet])
    sent = swarm.Sent()
    sent.add([packet])
    sent.check([packet], set())
    with pytest.raises(swarm.Broken, match="never sent"):
        sent.check([packet[:-1] + b"\2"], set())
    world = swarm.Pair(1)
    forward = Router.forward

    def other(self: Router, batch: Batch, ingress: str) -> object:
        result = forward(self, batch, ingress)
        if self in world.casts[1]:
            result.verdicts["len_out"] = result.verdicts["len_out"] + 1
        return result

    monkeypatch.setattr(Router, "forward", other)
    with pytest.raises(swarm.Broken, match="other verdicts: len_out"):
        for _ in range(9):
            world.step()
