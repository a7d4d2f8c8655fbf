"""What nobody uses any more frees its memory at once: no router, decryptor or lab waits for Python's collector."""

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_help import START, config, packet
from test_lab_engine import packet as lab_packet
from test_lab_engine import sites

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.lab import Lab
from qfp.lab.model import Event
from qfp.lab.read import load
from qfp.router import Router
from qfp.upward import upward

PLAIN = [packet(k) for k in range(5)]


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def forwarded(engine: str) -> Any:
    router = Router.loads(config(1), engine=engine)
    router.forward(Batch.from_frames(PLAIN, ts=[START] * len(PLAIN)), "gi0/0/1")
    return router


def decrypted(engine: str) -> Any:
    router = Router.loads(config(1), engine=engine)
    sealed = router.forward(Batch.from_frames(PLAIN, ts=[START] * len(PLAIN)), "gi0/0/1").packets
    decryptor = Decryptor([router.sad.describe(k) for pair in router.sadb.pairs for k in pair.outbound], engine=engine)
    assert decryptor.open(sealed).packets.frames()
    return decryptor


def explained(engine: str) -> Any:
    router = Router.loads(config(1), engine=engine)
    assert router.forward(Batch.from_frames(PLAIN, ts=[START] * len(PLAIN)), "gi0/0/1").explain(1)
    return router


@pytest.mark.parametrize("engine", ["native", "openssl"])
@pytest.mark.parametrize("make", [forwarded, decrypted, explained])
@pytest.mark.usefixtures("uncollected")
def test_it_is_gone_with_its_last_name(make: Callable[[str], Any], engine: str) -> None:
    make(engine)  # the first of a process compiles, and cycles of numba's own keep the frames in which it did
    gc.collect()
    made = make(engine)
    found = weakref.ref(made)
    del made
    assert found() is None


@pytest.mark.usefixtures("uncollected")
def test_a_lab_is_gone_with_its_routers(tmp_path: Path) -> None:
    """One that has run: with links, queues, tunnels and events."""
    spec = load(sites(tmp_path, [lab_packet(mark=k) for k in range(20)], gap=10**5))
    spec = replace(spec, events=(Event("events[0]", 10**6, "a", "clear", ""),))
    Lab(spec).run()
    gc.collect()
    lab = Lab(spec)
    lab.run()
    found = [weakref.ref(lab), *(weakref.ref(node.router) for node in lab.nodes.values())]
    del lab
    assert len(found) == 3 and not any(each() for each in found)


@pytest.mark.usefixtures("uncollected")
def test_what_it_gave_stays() -> None:
    router = forwarded("native")
    result = router.forward(Batch.from_frames(PLAIN, ts=[START] * len(PLAIN)), "gi0/0/1")
    before = result.packets.frames()
    del router
    assert result.packets.frames() == before


def test_a_call_to_what_is_gone_says_so() -> None:
    class Owner:
        def answer(self, n: int) -> int:
            return n + 1

    owner = Owner()
    call = upward(owner.answer)
    assert call(1) == 2
    del owner
    with pytest.raises(ReferenceError, match=r"Owner\.answer .*keep the object"):
        call(1)
