"""Compiling kernels: told once a command, whatever compiles and where, and no part of a rate."""

import time
from pathlib import Path
from typing import Any

import numba
import pytest
import typer
from cli_help import IN, office, qfp

from qfp.cli import compiling, progress
from qfp.cli.errors import guarded
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp_kernels.compiletime import WATCH, CompileTime

NOTE = "compiling kernels, once for this machine"


def compile_something() -> float:
    """Compile a kernel that nobody has compiled before; s that it took."""

    def kernel(x):
        total = 0
        for k in range(x):
            total += k * k
        return total

    begun = time.perf_counter()
    assert numba.njit(kernel)(4) == 14
    return time.perf_counter() - begun


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def test_time_of_nested_and_simultaneous_compilations_counts_once() -> None:
    clock = Clock()
    watch = CompileTime(clock)
    watch.enter()  # a stage,
    clock.now += 1
    watch.enter()  # a helper that it calls, or another thread that waits for the compiler
    clock.now += 2
    assert watch.seconds() == 3.0  # as it stands while the compiler is held
    watch.leave()
    clock.now += 4
    watch.leave()
    clock.now += 8
    assert watch.seconds() == 7.0
    watch.enter()
    clock.now += 16
    watch.leave()
    assert watch.seconds() == 23.0


def test_numbas_compiler_moves_the_clock() -> None:
    before, begun = WATCH.seconds(), time.perf_counter()
    took = compile_something()
    assert 0.5 * took < WATCH.seconds() - before <= time.perf_counter() - begun
    before = WATCH.seconds()
    time.sleep(0.01)
    assert WATCH.seconds() == before


@pytest.mark.parametrize("command", ["run", "decrypt"])
def test_the_rate_leaves_out_what_is_compiled_in_the_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the first fragment of a trace has its stage compiled: the run is as fast as the next one."""
    o = office(tmp_path)
    o.seal("--export-sas", o / "keys.json")
    words = {
        "run": ["run", o.a, o.trace, "--in", IN],
        "decrypt": ["decrypt", o / "wire.pcapng", "--keys", o / "keys.json"],
    }
    owner: Any = {"run": Router, "decrypt": Decryptor}[command]
    plain, took = owner.run, []

    def slow(self: Any, *args: Any, **options: Any) -> None:
        begun = time.perf_counter()
        plain(self, *args, **options)
        took.extend([sum(compile_something() for _ in range(4)), time.perf_counter() - begun])

    monkeypatch.setattr(owner, "run", slow)
    said = qfp(*words[command], "--json")
    compiled, whole = took
    rates = said.json["rates"]
    assert 0 < rates["seconds"] <= whole - 0.5 * compiled
    frames = said.json["frames_in"]
    assert rates["packets_per_second"] == pytest.approx(frames / rates["seconds"], rel=0.01)


def ended(command: Any) -> int:
    """Status of a guarded command."""
    with pytest.raises(typer.Exit) as exit:
        guarded(command)()
    return exit.value.exit_code


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Starts of the helper process, which is not started."""
    started: list[int] = []
    monkeypatch.setattr(compiling, "start", lambda: started.append(1))
    return started


def test_a_command_tells_it_once_wherever_it_compiles(helpers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks one after the other (routers of a lab), one in the other, and what is compiled outside of any."""

    def command() -> int:
        for _ in range(2):
            with progress.compile_note():
                compile_something()
                with progress.compile_note(helper=False):
                    compile_something()
        compile_something()
        return 0

    for _ in range(2):  # the next command tells it anew
        assert ended(command) == 0
        assert capsys.readouterr().err.count(NOTE) == 1
    assert len(helpers) == 2


def test_a_command_without_blocks_tells_it_too(helpers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        compile_something()
        return 0

    ended(command)
    assert capsys.readouterr().err.count(NOTE) == 1
    assert not helpers  # it helps with the stages of a router only


def test_a_command_that_fails_leaves_no_listener(helpers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        with progress.compile_note():
            raise OSError("no")

    assert ended(command) == 2
    assert WATCH.on_compile is None
    capsys.readouterr()
    compile_something()  # as a library does: nothing is said
    assert capsys.readouterr().err == ""


def test_nothing_is_told_where_nothing_is_compiled(helpers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(lambda: 0) == 0
    assert capsys.readouterr().err == "" and not helpers
