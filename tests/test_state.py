"""layout.py says of every field whether it is configuration, state, a counter or scratch: it is so, and follows."""

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from cli_help import IN, OUT, START, config, packet
from site_help import WAYS, any_site, traffic
from test_lifetimes import INSIDE, OUTSIDE, S, router, send

from qfp.batch import Batch
from qfp.config import loads
from qfp.decrypt import Decryptor
from qfp.explain import restore, state_of
from qfp.router import Router
from qfp.tables import state
from qfp_kernels.layout import CONFIG, COUNTER, KINDS, SCRATCH, STATE, TABLE_KINDS, TABLE_TYPES

# The control plane's answers to packets, which are configuration to the kernels: new SAs, and where they are entered.
ANSWERS = {
    "sa", "sa_out", "sa_in", "life", "ctx", "keys", "sad", "sad_out", "awaited", "sp", "sns_in",
}  # fmt: skip
# Declared, and not seen to change here: what the control plane has taken note of again when a run ends, what other
# settings or captures move (the tests named), and what only a full ring or a used-up number does.
ELSEWHERE = {
    ("life", "events"): "noted and cleared", ("life", "moved"): "noted and cleared",
    ("life", "moved_at"): "noted and cleared",
    ("life", "errors"): "numbers used up", ("sa_out", "errors"): "numbers used up", ("rsm", "tail"): "a full ring",
    ("sa_out", "compressed"): "test_ipcomp", ("sa_out", "incompressible"): "test_ipcomp",
    ("life", "decompressed"): "test_ipcomp", ("life", "comp_failed"): "test_ipcomp",
    ("life", "stale"): "test_reconfigured", ("noted", ""): "test_encapsulations", ("vfr", ""): "test_path_fragments",
    ("sns_out", ""): "test_sns", ("sns_in", "top"): "test_sns", ("sns_in", "replays"): "test_sns",
    ("late", ""): "test_path_fragments", ("pieces", ""): "test_path_fragments",
}  # fmt: skip


def changed(before: dict[tuple[str, str], Any], t: Any) -> set[tuple[str, str]]:
    """The (table, field) pairs, of those in `before`, that are no longer as they were."""
    return {key for key, kept in before.items()
            if not np.array_equal(state.part(getattr(t, key[0]), key[1])[: kept.size], kept)}  # fmt: skip


def everything(t: Any, *kinds: str) -> dict[tuple[str, str], Any]:
    """Copies of all fields of some kinds, CONFIG among them where it is asked for."""
    return {(name, field): state.part(getattr(t, name), field).copy()
            for name in TABLE_TYPES for field in state.fields(name, *(kinds or (CONFIG, *state.KEPT)))}  # fmt: skip


def test_every_field_is_of_a_kind() -> None:
    assert set(TABLE_KINDS) == set(TABLE_TYPES)
    for name, dtype in TABLE_TYPES.items():
        kinds = TABLE_KINDS[name]
        assert set(kinds.values()) <= set(KINDS)
        assert set(kinds) in ({""}, set(dtype.names or ()) - {"spare"}), name


def sites() -> Iterator[tuple[Router, list[bytes], list[int], str]]:
    """Routers without rekeys, and what they get: both ends, all ways, fragments and ICMP errors."""
    for k, way in enumerate(WAYS):
        r = Random(f"state {way}")
        site = any_site(r, way, 4 if k % 2 else 6)
        clear = traffic(r, site.pair(1).twin, 250)
        times = sorted(r.randint(0, 2 * 10**9) for _ in clear)
        near, far = (Router.loads(site.config(me), rekey=False) for me in (1, 2))
        wire = Router.loads(site.config(1), rekey=False).forward(Batch.from_frames(clear, ts=times), "gi0/0/1")
        frames = wire.packets.frames()
        yield near, clear, times, "gi0/0/1"
        yield far, [f[:-1] + bytes([f[-1] ^ 1]) for f in frames[40:60]] + frames + frames[:40], [], "gi0/0/0"


def test_packets_change_what_is_declared_and_nothing_else() -> None:
    """And what is declared does change: a word that no packet bears out is wrong too."""
    moved: set[tuple[str, str]] = set()
    for device, frames, times, ingress in sites():
        t = device.tables.t
        before = everything(t, CONFIG, STATE, COUNTER)
        size = {name: getattr(t, name).size for name in TABLE_TYPES}
        ts = times or [2 * 10**9] * len(frames)
        device.forward(Batch.from_frames(frames, ts=ts), ingress)
        now = changed(before, t)
        moved |= now
        wrong = {(name, field) for name, field in now if TABLE_KINDS[name][field] == CONFIG and name not in ANSWERS}
        assert not wrong
        assert {name for name in TABLE_TYPES if getattr(t, name).size != size[name]} <= ANSWERS | set(
            state.tables(SCRATCH)
        )
    near, far = router(1), router(2)
    for device, ingress in ((near, INSIDE), (far, OUTSIDE)):
        before = everything(device.tables.t, STATE, COUNTER)
        for second in (0, 3400, 3500, 3700):
            sent = send(near, [second])
            if device is far:
                device.forward(sent.packets, ingress)
        moved |= changed(before, device.tables.t)
    declared = {(name, field) for name in TABLE_TYPES for field in state.fields(name, STATE, COUNTER)}
    assert not set(ELSEWHERE) - declared
    assert declared - moved == set(ELSEWHERE)


def test_kept_and_put_back() -> None:
    """Explain's snapshot is everything that packets change: put back, the same packets have the same fate."""
    for device, frames, times, ingress in list(sites())[:6]:
        batch = Batch.from_frames(frames, ts=times or [2 * 10**9] * len(frames))
        half = len(frames) // 2
        device.forward(Batch.from_frames(frames[:half], ts=batch.ts[:half].tolist()), ingress)
        kept = state_of(device)
        first = device.forward(batch, ingress)
        restore(device, kept)
        again = device.forward(batch, ingress)
        assert again.packets.frames() == first.packets.frames() and again.counters == first.counters
        assert all(np.array_equal(again.verdicts[name], column) for name, column in first.verdicts.items())


@pytest.mark.req("USE-2")
def test_every_counter_goes_on_in_another_configuration() -> None:
    """Those of SPD entries too, also where another peer or transform means other SAs."""
    near, far = Router.loads(config(1)), Router.loads(config(2))
    sent = near.forward(Batch.from_frames([packet(k) for k in range(30)], ts=[START] * 30), IN)
    far.forward(Batch.from_frames([*sent.packets.frames()[:9], b"junk"], ts=[START] * 10), OUT)
    for device in (near, far):
        before = {(name, field): state.part(getattr(device.tables.t, name), field).sum()
                  for name in state.tables(COUNTER) for field in state.fields(name, COUNTER)}  # fmt: skip
        assert device.tables.t.sp["packets"].sum() == (30 if device is near else 0)
        after = device.reconfigured(device.config, START + S).tables.t
        assert {key: state.part(getattr(after, key[0]), key[1]).sum() for key in before} == before
    other = near.reconfigured(loads(config(1, "esp-aes esp-sha-hmac")), START + S).tables.t
    assert other.sp["packets"].tolist() == near.tables.t.sp["packets"].tolist() and other.sa_out["packets"].sum() == 0
    moved = near.reconfigured(loads(config(1).replace("203.0.113.2", "203.0.113.9")), START + S).tables.t
    assert moved.sp["packets"].sum() == 30
    gone = near.reconfigured(loads(config(1).replace("10.2.0.0 0.0.255.255", "10.2.4.0 0.0.3.255")), START + S)
    assert gone.tables.t.sp["packets"].sum() == 0, "other selectors are another entry"


def test_counters_are_cleared_and_added_up() -> None:
    """Two halves of a run, counted apart by routers that know each other's state, are the whole."""
    frames = [packet(k) for k in range(40)] + [b"junk", packet(3, ttl=1), packet(4, dst="192.0.2.9")]
    whole, near = Router.loads(config(1)), Router.loads(config(1))
    whole.forward(Batch.from_frames(frames, ts=[START] * 43), IN)
    near.forward(Batch.from_frames(frames[:21], ts=[START] * 21), IN)
    first = Router.loads(config(1)).tables.t
    state.add_counters(first, near.tables.t)
    lives = {name: getattr(near.tables.t, name).copy() for name in state.OF_LIVES}
    state.zero_counters(near.tables.t)
    assert not near.tables.t.verdicts.any() and not near.tables.t.ifs["in_packets"].any()
    assert all(np.array_equal(getattr(near.tables.t, name), kept) for name, kept in lives.items())
    near.forward(Batch.from_frames(frames[21:], ts=[START] * 22), IN)
    for name in state.OF_LIVES:
        for field in state.fields(name, COUNTER):
            state.part(getattr(first, name), field)[:] = 0
    state.add_counters(first, near.tables.t)
    for name in state.tables(COUNTER):
        for field in state.fields(name, COUNTER):
            mine, theirs = (state.part(getattr(t, name), field) for t in (first, whole.tables.t))
            assert np.array_equal(mine, theirs), (name, field)


def test_counters_of_other_tables_are_not_added() -> None:
    small, large = Router.loads(config(1)), Router.loads(config(1) + "interface Loopback0\n")
    with pytest.raises(ValueError, match="table ifs has 2 rows here, 3 there"):
        state.add_counters(small.tables.t, large.tables.t)


def test_a_decryptor_keeps_the_same() -> None:
    near = Router.loads(config(1))
    sent = near.forward(Batch.from_frames([packet(k) for k in range(20)], ts=[START] * 20), IN).packets
    device: Any = Decryptor([near.sad.describe(near.sadb.pairs[0].outbound[0])])
    kept = state.snapshot(device.tables.t)
    first = device.open(sent)
    state.put_back(device.tables.t, kept)
    again = device.open(sent)
    assert first.counters == again.counters and again.packets.frames() == first.packets.frames()
