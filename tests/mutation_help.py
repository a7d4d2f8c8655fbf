"""Seeded mutations of files and command lines, and the contract that every command keeps whatever it is given.

    for case in range(first, first + count):
        rng = random.Random(f"{kind} {case}")      # a failing case is named by kind and number alone
        kept(lambda: command(*mutated), f"{kind} {case}")

Bytes are changed in place, cut, doubled and inserted; texts also by words and lines, with words that break parsers.
Nothing is saved: the number gives the case back.
"""

import random
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from typer.testing import CliRunner

from qfp.cli.main import app

STATUSES = (0, 1, 2, 3)  # of the contract; 130 and more are for signals
SECONDS = 20.0  # of one case: far more than any needs, on a busy machine too
ODD = (
    "9" * 5000, "-1", "0", "1", "4294967295", "4294967296", "9223372036854775808", "99999999999999999999", "٣", "²",
    "\u202e", "\x00", "\x1b[2J", "é", "\udcff", "%s", "{}", "[", "[" * 3000, '"', "'", "\\", "no", "!", "^", "=", ".",
    "-", "255.255.255.255", "0.0.0.0", "::", "::/0", "1.2.3.4.5", "10.0.0.0/33", "fe80::1%eth0", "0x" + "f" * 300,
    "a" * 3000, "\t", "\x0c", "\u2028", "\r", "1e9", "1e400", "1e-300", "nan", "inf", "-inf", "00", "+1", "1_000",
    "true", "{a=" * 500, "1979-05-27T07:32:00Z", '"""', "a." * 3000 + "a", "..", "/", "/dev/null", "/dev/zero", ".", "",
)  # fmt: skip


class Hang(BaseException):
    """A case took longer than SECONDS. No Exception: nothing that is tried may take it for its own."""


@contextmanager
def at_most(seconds: float) -> Any:
    """Raise Hang in the block when it takes longer."""

    def ring(number: int, frame: Any) -> None:
        raise Hang(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def mutated_bytes(rng: random.Random, data: bytes, most: int = 6) -> bytes:
    """Bytes with a few changes: bits, values at the edges, cuts, repeats, insertions."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at, size = rng.randrange(len(out) + 1), rng.choice([1, 2, 4, 8, 64, 1000])
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + size] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * min(size, len(out) - at)
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at : at + size]
        elif kind == 4:
            out[at:at] = rng.randbytes(min(size, 64))
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def mutated_text(rng: random.Random, text: str, donors: Sequence[str] = (), most: int = 4) -> str:
    """A text with a few changes to its words and lines. donors: texts of which lines are taken."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(lines))
        words = lines[at].split(" ")
        place, kind, spot = rng.randrange(len(words)), rng.randrange(11), rng.randint(0, len(lines[at]))
        if kind == 0:
            words[place] = rng.choice(ODD)
        elif kind == 1:
            del words[place]
        elif kind == 2:
            words.insert(place, rng.choice(words))
        if kind < 3:
            lines[at] = " ".join(words)
        elif kind == 3:
            lines.insert(at, rng.choice(lines))
        elif kind == 4 and len(lines) > 1:
            del lines[at]
        elif kind == 5:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 6:
            lines[at] = " " * rng.choice([0, 1, 2, 50]) + lines[at].strip()
        elif kind == 7:
            lines[at] = "no " + lines[at].strip()
        elif kind == 8:
            lines[at] = lines[at][:spot] + rng.choice(ODD) + lines[at][spot:]
        elif kind == 9 and donors:
            lines[at] = rng.choice(rng.choice(donors).split("\n"))
        elif kind == 10:
            lines[at] = lines[at][:spot] + lines[at][spot + rng.randint(1, 9) :]
    return "\n".join(lines)


def as_bytes(rng: random.Random, text: str) -> bytes:
    """A text as a file holds it: UTF-8 mostly."""
    data = text.encode("utf-8", "surrogateescape")
    kind = rng.randrange(25)
    if kind == 0:
        return text.encode("utf-16", "surrogatepass")
    return mutated_bytes(rng, data, 2) if kind < 3 else data


def kept(args: Sequence[Any], case: str, seconds: float = SECONDS) -> int:
    """Run a command line; its exit status. Fails, naming the case, for a traceback, a hang, or any other status."""
    try:
        with at_most(seconds):
            said = CliRunner().invoke(app, [str(arg) for arg in args])
    except Hang as hang:
        raise AssertionError(f"{case}: {hang}: {[str(arg)[:80] for arg in args]}") from None
    error = said.exception
    if error is not None and not isinstance(error, SystemExit):
        where = "".join(traceback.format_exception(error)[-4:])
        raise AssertionError(f"{case}: {[str(arg)[:80] for arg in args]}\n{where[-3000:]}") from None
    assert said.exit_code in STATUSES, f"{case}: status {said.exit_code}: {said.stderr[-300:]}"
    assert said.exit_code != 2 or said.stderr.strip() or said.stdout.strip(), f"{case}: refused without a word"
    return said.exit_code


def many(kind: str, cases: range, one: Callable[[random.Random, str], int]) -> dict[int, int]:
    """`one` with the generator and the name of every case; how often each status came. Every failure is told."""
    statuses: dict[int, int] = {}
    failed: list[str] = []
    for number in cases:
        name = f"{kind} {number}"
        try:
            status = one(random.Random(name), name)
            statuses[status] = statuses.get(status, 0) + 1
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, f"{len(failed)} of {len(cases)}:\n\n" + "\n\n".join(failed[:8])
    return statuses
