"""ESN near the first turn: a number whose high half would lie below zero was never sent (RFC 4303 appendix A2.2, case
B), and what follows it is not lost."""

from dataclasses import replace
from ipaddress import ip_address

import naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp
from path_help import check_decrypt
from test_dependency_table import LAN
from test_sns import config

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp.router import Router
from qfp.sa import SecurityAssociation

TURN = 2**32
INNER = ip4("10.1.0.5", "10.2.0.7", udp(1, 2, b"data"))


def association(window: int) -> SecurityAssociation:
    return SecurityAssociation(
        proto="esp", spi=0x1100, src=ip_address("203.0.113.1"), dst=ip_address("203.0.113.2"), encr="aes-gcm",
        encr_key=bytes(range(16)), salt=b"salt", esn=True, replay_window=window,
    )  # fmt: skip


def sealed(sa: SecurityAssociation, numbers: list[int]) -> list[bytes]:
    state, inner = naive.State(sa), naive.read_ip(INNER)
    return [naive.seal_tunnel([state], [number], inner, 0, "copy") for number in numbers]


def words(sa: SecurityAssociation, numbers: list[int], batch: int = 0) -> list[str]:
    v = Decryptor([sa], batch=batch).open(Batch.from_frames(sealed(sa, numbers))).verdicts
    return [CAUSE_WORDS[c] if c else VERDICT_WORDS[w] for c, w in zip(v["cause"], v["verdict"], strict=True)]


@pytest.mark.req("AR-2", "AR-3")
@pytest.mark.parametrize("window", [0, 32, 64, 96, 1024, 4096])
@pytest.mark.parametrize("batch", [1, 7, 256, 1024])
def test_a_jump_to_below_zero_is_refused_and_what_follows_is_taken(window: int, batch: int) -> None:
    numbers = [1, 3, 2, TURN - 5, *range(4, 1004)]
    expected = ["forwarded"] * 3 + ["REPLAY"] + ["forwarded"] * 1000
    assert words(association(window), numbers, batch) == expected


@pytest.mark.req("AR-3")
@pytest.mark.parametrize("window", [64, 128, 512, 1024])
def test_the_first_packet_of_all(window: int) -> None:
    """A fresh SA: the numbers that a window's length below zero would have, and the last one above them."""
    edge = TURN - window + 1
    for low, expected in ((TURN - 1, "REPLAY"), (edge, "REPLAY"), (edge - 1, "forwarded"), (1, "forwarded")):
        assert words(association(window), [low]) == [expected], low


@pytest.mark.req("AR-3")
def test_nobody_gets_in_with_a_high_half_of_all_ones() -> None:
    """Sealed with the very number that is inferred, by somebody who has the key."""
    for window in (0, 64):
        sa = association(window)
        assert words(sa, [3, 2**64 - 5, 4]) == ["forwarded", "REPLAY", "forwarded"]
        assert words(replace(sa, seq=2**64 - 9), [2**64 - 5, 2**64 - 1]) == ["forwarded"] * 2  # its own time


@pytest.mark.req("AR-2", "AR-3")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 200), st.integers(TURN - 200, TURN + 200), st.integers(2**64 - 200, 2**64 - 1)),
             min_size=1, max_size=40),
    st.sampled_from([0, 1, 32, 33, 64, 100, 1024]), st.sampled_from([1, 7, 256]), st.sampled_from([0, 5, TURN - 20]),
)  # fmt: skip
def test_numbers_around_both_turns_are_those_of_the_twin(numbers: list[int], window: int, batch: int, top: int) -> None:
    sa = replace(association(window), seq=top)
    check_decrypt([sa], sealed(sa, numbers), batch=batch)


@pytest.mark.req("AR-6")
@pytest.mark.parametrize("batch", [1, 256])
def test_in_a_space_of_its_own(batch: int) -> None:
    """With multi-sn the same holds in every space: 28 bits of its counter travel."""
    text = config(2).replace("transform-set T esp-gcm\n", "transform-set T esp-gcm\n esn\n")
    router = Router.loads(text, batch=batch)
    sa = router.sad.describe(router.sadb.pairs[0].inbound[0])
    inner = naive.read_ip(ip4(*LAN[4], udp(1, 2)))
    space = 1 << 28
    frames = [
        naive.seal_tunnel([naive.State(sa)], [n], inner, 0, "copy")
        for n in (space + 1, space + 3, 2 * space - 5, space + 4, 2 * space + 7)
    ]
    v = router.forward(Batch.from_frames(frames), "gi0/0/0").verdicts
    assert [CAUSE_WORDS[c] for c in v["cause"]] == ["NONE", "NONE", "REPLAY", "NONE", "NONE"]
