"""Anti-replay windows against plain sets: every window size, a million numbers each, reordered, doubled, forged."""

from ipaddress import ip_address
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp
from path_help import ENGINES, check_decrypt

from qfp.sa import SecurityAssociation
from qfp.tables.sad import Profile, Sad, columns_of
from qfp.tables.store import Tables
from qfp_kernels.jit import kernel
from qfp_kernels.replay import accept, infer, refused

WINDOWS = [64, 128, 256, 512, 1024]
SRC, DST = ip_address("203.0.113.1"), ip_address("203.0.113.2")


@kernel
def _run(t: Any, sa: int, numbers: Any, good: Any, accepted: Any) -> None:
    """Check, then commit where the ICV is good, one number after the other."""
    for k in range(numbers.size):
        state = t.sa_in[sa]
        if not refused(t, state, numbers[k]):
            accepted[k] = good[k]
            if good[k]:
                accept(t, state, numbers[k])


@kernel
def _infer(t: Any, sa: int, low: Any) -> Any:
    return infer(t.sa_in[sa], low)


def association(**more: Any) -> SecurityAssociation:
    fields: dict[str, Any] = {
        "proto": "esp", "spi": 0x1234, "src": SRC, "dst": DST, "encr": "aes-gcm", "encr_key": bytes(range(16)),
        "salt": b"salt", "mode": "tunnel",
    }  # fmt: skip
    return SecurityAssociation(**{**fields, **more})


def inbound(window: int, top: int = 0, esn: bool = False) -> tuple[Any, int]:
    """Tables with one inbound SA."""
    tables = Tables()
    sad = Sad(tables, "openssl")
    sa = association(replay_window=window, seq=top, esn=esn)
    return tables.t, int(sad.install(Profile.of(sa), columns_of([sa]), inbound=True)[0])


def by_sets(numbers: np.ndarray, good: np.ndarray, window: int) -> np.ndarray:
    """What a set and a highest number say."""
    seen: set[int] = set()
    top = 0
    out = np.zeros(len(numbers), bool)
    for k, (n, fine) in enumerate(zip(numbers.tolist(), good.tolist(), strict=True)):
        if n == 0 or n <= top - window or n in seen or not fine:
            continue
        out[k] = True
        seen.add(n)
        top = max(top, n)
    return out


def disordered(count: int, window: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` numbers: mostly rising, displaced by up to 1.3 windows, some doubled, jumps and forgeries among them."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 1, 1, 1, 2, 3, 63, 64, 65, window - 1, window, window + 1, 5000], count,
                       p=[0.3, 0.3, 0.2, 0.1599, 0.03, 0.01, 2e-5, 2e-5, 2e-5, 1e-5, 1e-5, 1e-5, 1e-5])  # fmt: skip
    straight = np.cumsum(steps)
    numbers = straight[np.argsort(np.arange(count) + rng.integers(0, 1 + window * 13 // 10, count), kind="stable")]
    double = rng.random(count) < 0.2
    numbers[double] = np.maximum(0, numbers[double] - rng.integers(0, window + 2, int(double.sum())))
    good = rng.random(count) > 0.05
    numbers[~good] += rng.choice([0, 1, 10**6, 10**9], int((~good).sum()))  # forged, far ahead among them
    return numbers.astype(np.uint64), good


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("window", WINDOWS)
def test_a_million_numbers_against_sets(window: int) -> None:
    numbers, good = disordered(1_000_000, window, window)
    t, sa = inbound(window)
    accepted = np.zeros(len(numbers), bool)
    _run(t, sa, numbers, good, accepted)
    wanted = by_sets(numbers, good, window)
    assert np.array_equal(accepted, wanted), int(np.flatnonzero(accepted != wanted)[0])
    assert int(t.sa_in["top"][sa]) == int(numbers[wanted].max())
    assert len(np.unique(numbers[wanted])) == wanted.sum(), "a number was accepted twice"
    assert 0.3 < wanted.mean() < 0.95


@pytest.mark.req("AR-2", "AR-3")
@pytest.mark.parametrize("window", [1, 2, 31, 32, 33, 63, 65, 100, 1000, 4096])
def test_odd_windows_of_key_files(window: int) -> None:
    numbers, good = disordered(50_000, window, window)
    t, sa = inbound(window)
    accepted = np.zeros(len(numbers), bool)
    _run(t, sa, numbers, good, accepted)
    assert np.array_equal(accepted, by_sets(numbers, good, window))


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("window", WINDOWS)
def test_edges(window: int) -> None:
    """X-N is refused, X-N+1 accepted once; a jump by N and by N-1 keeps nothing and one number."""
    top = 10 * window + 5
    for jump in (1, window - 1, window, window + 1, 2 * window, 2**31):
        numbers = np.array([top, top + jump - window, top + jump, top + jump - window + 1, top], np.uint64)
        numbers = np.concatenate([numbers, numbers[::-1], [top + jump - window, 0]]).astype(np.uint64)
        t, sa = inbound(window)
        accepted = np.zeros(len(numbers), bool)
        good = np.ones(len(numbers), bool)
        _run(t, sa, numbers, good, accepted)
        assert np.array_equal(accepted, by_sets(numbers, good, window)), jump


@pytest.mark.req("AR-4")
def test_a_window_costs_its_bits() -> None:
    """N bits of state an inbound SA (1024: 128 bytes)."""
    for window in WINDOWS:
        tables = Tables()
        sad = Sad(tables, "openssl")
        sas = [association(spi=300 + k, replay_window=window) for k in range(64)]
        rows = sad.install(Profile.of(sas[0]), columns_of(sas), inbound=True)
        at = tables.t.sa_in["win_at"][rows].astype(int)
        assert set(np.diff(np.sort(at))) == {window // 64}


@pytest.mark.req("AR-2", "BASE-8")
@given(st.integers(0, 2**64 - 1), st.sampled_from([0, *WINDOWS]), st.integers(0, 2**32 - 1))
@settings(max_examples=500, deadline=None)
def test_esn_inference(top: int, window: int, low: int) -> None:
    """RFC 4303 appendix A2.2: in the window, or ahead of it by less than 2^32 - N."""
    low_near = (top + low % 4096 - 2048) % 2**32
    sa = association(replay_window=window, esn=True, seq=top)
    t, row = inbound(window, top, esn=True)
    for half in (low, low_near):
        assert int(_infer(t, row, np.uint64(half))) == naive.State(sa).infer(half)


def sealed(sa: SecurityAssociation, numbers: list[int]) -> list[bytes]:
    """One tunnel packet a number, as the slow twin seals them."""
    state = naive.State(sa)
    inner = naive.read_ip(ip4("10.1.0.1", "10.2.0.2", udp(1, 2, b"payload")))
    return [naive.seal_tunnel([state], [n], inner, n, "copy") for n in numbers]


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("engine", ENGINES)
def test_duplicates_in_one_batch(engine: str) -> None:
    """Of copies of one number, exactly one is accepted, wherever they stand."""
    sa = association()
    a = sealed(sa, list(range(1, 41)))
    copies = [p for p in a for _ in range(3)]
    for frames in (a + a + a, copies, a[::-1] + a, [a[5]] * 300):
        outcomes = check_decrypt([sa], frames, engine=engine)
        forwarded = [o.seq for o in outcomes if o.verdict == "forwarded"]
        assert len(forwarded) == len(set(forwarded)) == len(set(frames))


@pytest.mark.req("AR-2", "BASE-8")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("esn", [False, True])
def test_a_forged_number_moves_no_window(engine: str, esn: bool) -> None:
    """Far-ahead forgeries and tampered copies leave the window where it was: all that is genuine still passes."""
    sa = association(esn=esn)
    good = sealed(sa, list(range(1, 101)))
    forged = []
    for k, p in enumerate(good):
        ahead = bytearray(p)
        ahead[24:28] = (0xFFFFFF00 + k).to_bytes(4) if k % 2 else (10**6 + k).to_bytes(4)
        changed = bytearray(p)
        changed[-1 - k % 16] ^= 1
        forged += [bytes(ahead), bytes(changed), p]
    outcomes = check_decrypt([sa], forged, engine=engine)
    assert sum(o.verdict == "forwarded" for o in outcomes) == 100
    assert {o.cause for o in outcomes} <= {"NONE", "INTEGRITY", "ESN_GUESS", "REPLAY"}


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("engine", ENGINES)
def test_replay_outranks_integrity(engine: str) -> None:
    sa = association()
    first = sealed(sa, [7])[0]
    tampered = first[:-1] + bytes([first[-1] ^ 1])
    outcomes = check_decrypt([sa], [tampered, first, tampered, first], engine=engine)
    assert [o.cause for o in outcomes] == ["INTEGRITY", "NONE", "REPLAY", "REPLAY"]


@pytest.mark.req("AR-2")
@pytest.mark.parametrize("engine", ENGINES)
def test_an_imported_highest_number_was_seen(engine: str) -> None:
    """`seq` of an inbound SA is the highest number seen: it is not accepted once more."""
    sa = association(seq=500)
    frames = sealed(association(), [500, 501, 499, 436, 437])
    outcomes = check_decrypt([sa], frames, engine=engine)
    assert [o.cause for o in outcomes] == ["REPLAY", "NONE", "NONE", "REPLAY", "REPLAY"]


@pytest.mark.req("AR-3")
@pytest.mark.parametrize("engine", ENGINES)
def test_disabled_checking(engine: str) -> None:
    sa = association(replay_window=0)
    frames = sealed(sa, [5, 5, 1, 2**32 - 1, 5])
    outcomes = check_decrypt([sa], frames, engine=engine)
    assert [o.verdict for o in outcomes] == ["forwarded"] * 5


@pytest.mark.req("AR-2", "BASE-8")
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_of_numbers(data: st.DataObject) -> None:
    """Random numbers near boundaries, ESN or not, in any batch size: the same as one at a time, with sets."""
    esn = data.draw(st.booleans())
    window = data.draw(st.sampled_from([0, *WINDOWS]))
    start = data.draw(st.sampled_from([0, 100, 2**32 - 70, *([2**32 + 30, 2**33 - 1] if esn else [])]))
    last = 2**64 - 1 if esn else 2**32 - 1
    near = st.integers(max(1, start - 80), min(last, start + 1200))
    numbers = data.draw(st.lists(near, min_size=1, max_size=60))
    sa = association(esn=esn, replay_window=window, seq=max(0, start - 1))
    frames = sealed(association(esn=esn), numbers)
    for k in data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=5)):
        frames[k] = frames[k][:-1] + bytes([frames[k][-1] ^ 1])
    check_decrypt([sa], frames, batch=data.draw(st.sampled_from([1, 2, 7, 0])), engine="native")


@pytest.mark.req("AR-2", "BASE-9", "BASE-12")
@pytest.mark.parametrize("batch", [1, 256])
def test_a_replayed_packet_raises_no_alarm(batch: int) -> None:
    """An ECN alarm (RFC 6040) is a fact about an accepted packet: copies of it are replays, in any batch size."""
    sa = association()
    inner = naive.read_ip(ip4("10.1.0.1", "10.2.0.2", udp(1, 2), tos=0))
    packet = naive.seal_tunnel([naive.State(sa)], [1], inner, 1, "copy")
    odd = naive.with_tos(naive.read_ip(packet), 2)  # outer ECT(0), inner not ECN-capable
    outcomes = check_decrypt([sa], [odd] * 5, batch=batch)
    assert sum(o.alarms for o in outcomes) == 1
