"""What is raised inside a callback from compiled code ends the run, and what was not done is not counted as done."""

import signal
import threading

import pytest
from cli_help import IN, OUT, START, config, packet

from qfp import naming
from qfp.batch import Batch
from qfp.cli import errors
from qfp.engines import crypto
from qfp.engines.crypto import EngineError
from qfp.engines.kinds import steps
from qfp.router import Router
from qfp_kernels import jit
from qfp_kernels.jit import Callbacks, StageError
from qfp_kernels.layout import JOB_DUE, STAT_IN, STAT_OUT
from qfp_kernels.seal import finish
from qfp_kernels.signals import held_signals

RAISED = [KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device"), MemoryError()]
TRANSFORMS = {"whole": "esp-gcm 128", "mac": "esp-aes esp-sha512-hmac"}


def clear(count: int = 40) -> Batch:
    return Batch.from_frames([packet(k) for k in range(count)], ts=[START + k for k in range(count)])


def router(transform: str = "esp-gcm 128", site: int = 1, **options) -> Router:
    return Router.loads(config(site, transform, ""), **options)


def break_at(monkeypatch, name: str, error: BaseException, at: int = 5) -> None:
    """Let the nth call of a method of the crypto engine raise."""
    real, calls = getattr(crypto.CryptoEngine, name), []

    def method(self, p, i):
        calls.append(i)
        if len(calls) == at:
            raise error
        real(self, p, i)

    monkeypatch.setattr(crypto.CryptoEngine, name, method)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", RAISED, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("step", ["_seal", "_mac", "_open"])
def test_what_a_crypto_step_raises_ends_the_run(monkeypatch, step, error, threads):
    transform = TRANSFORMS["mac" if step == "_mac" else "whole"]
    engine = "native" if step == "_mac" else "openssl"
    batch = clear()
    if step == "_open":
        wire = router(transform).forward(batch, IN).packets
        ours, way, batch = 2, OUT, wire
    else:
        ours, way = 1, IN
    break_at(monkeypatch, step, error)
    r = router(transform, ours, engine=engine, threads=threads)
    with pytest.raises(type(error)) as raised:
        r.forward(batch, way)
    assert raised.value is error
    assert r.tables.t.stats[STAT_OUT] == r.tables.t.stats[STAT_IN] == 0
    with pytest.raises(EngineError, match="make a new router"):
        r.forward(batch, way)


def test_another_error_of_a_crypto_step_names_its_kind_and_no_value(monkeypatch):
    break_at(monkeypatch, "_seal", ValueError("00112233445566778899aabbccddeeff"))
    with pytest.raises(EngineError, match=r"^the openssl engine failed: ValueError$"):
        router(engine="openssl").forward(clear(), IN)


def test_a_callback_that_never_began_ends_the_run(monkeypatch):
    """What an asynchronous exception does before the first instruction of a callback: ctypes answers anything."""
    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)

    def bare(self, body):
        def step(p, t, n):
            raise KeyboardInterrupt

        self._alive.append(jit._PROTOTYPE(step))
        return jit.ctypes.cast(self._alive[-1], jit.ctypes.c_void_p).value

    monkeypatch.setattr(Callbacks, "address", bare)
    wire = router().forward(clear(), IN).packets
    for r, batch, way in ((router(engine="openssl"), clear(), IN), (router(site=2, engine="openssl"), wire, OUT)):
        with pytest.raises((StageError, EngineError), match=r"broken off|nothing of its vector"):
            r.forward(batch, way)
        assert seen and r.tables.t.stats[STAT_OUT] == 0


@pytest.mark.parametrize("error", [*RAISED, ZeroDivisionError()], ids=lambda e: type(e).__name__)
def test_a_stage_that_cannot_be_compiled_ends_the_run(monkeypatch, error):
    """A packet whose TTL ends needs the stage of ICMP errors, which is compiled when the first one comes."""
    r = router()
    real = jit.compile_stage

    def failing(fn):
        if fn.__name__ == "icmp":
            raise error
        return real(fn)

    monkeypatch.setattr(jit, "compile_stage", failing)
    batch = Batch.from_frames([packet(0), packet(1, ttl=1), packet(2)], ts=[START] * 3)
    wanted = StageError if isinstance(error, ZeroDivisionError) else type(error)
    with pytest.raises(wanted):
        r.forward(batch, IN)
    assert r.tables.t.stats[STAT_IN] == 0


def test_what_no_sealer_finished_does_not_leave(monkeypatch):
    """A kind without steps leaves its rows unfinish: that is asked of the row, not believed."""
    monkeypatch.setattr("qfp.engines.kinds.steps", lambda *a: [])
    r = router()
    with pytest.raises(EngineError, match="nothing of its vector was sent"):
        r.forward(clear(), IN)
    assert r.tables.t.stats[STAT_OUT] == 0
    assert (r.engine.workspaces[0].c_ok[:40] == JOB_DUE).all()


def test_every_outbound_kind_marks_what_it_finished():
    """Its last step is one that marks the row (see test_path_transforms, where all of them leave)."""
    marking = {"icv_write", "gcm", "finish", "openssl-esp"}
    for native in (True, False):
        for encr, size in (("null", 0), ("aes-cbc", 16), ("aes-ctr", 32), ("aes-gcm", 24), ("aes-gmac", 16)):
            for integ in ("none", "hmac-sha256-128", "hmac-sha512-256"):
                last = steps("esp", encr, size, integ, True, native)[-1]
                assert getattr(last, "__name__", last) in marking
    assert steps("esp", "aes-cbc", 16, "none", True, True)[-1] is finish
    assert steps("ah", "null", 0, "hmac-sha1-96", True, True)[-1].__name__ == "icv_write"


def test_signals_wait_until_the_block_ends():
    came = []
    before = signal.getsignal(signal.SIGUSR1)

    def handler(number, frame):
        came.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, handler)
    try:
        reached = []
        with pytest.raises(KeyboardInterrupt), held_signals():
            with held_signals():
                signal.raise_signal(signal.SIGUSR1)
                signal.raise_signal(signal.SIGUSR1)
            reached.append(len(came))
        assert reached == [0] and came == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_hold_nothing_back():
    seen = []

    def work():
        with held_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    there = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [there]


def test_a_maker_enters_what_it_compiled():
    made, callbacks = [], Callbacks()
    address = callbacks.maker(finish, made.append)
    jit._PROTOTYPE(address)(0, 0, 0)
    assert made == [jit.compile_stage(finish).address]


def test_files_of_one_command_get_their_names_together(tmp_path):
    a, b = tmp_path / "a.part", tmp_path / "b.part"
    a.write_text("a")
    b.write_text("b")
    with naming.together():
        naming.give_name(a, tmp_path / "a")
        with naming.together():
            naming.give_name(b, tmp_path / "b")
        assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_an_error_leaves_none_of_them(tmp_path):
    a = tmp_path / "a.part"
    a.write_text("a")
    with pytest.raises(ZeroDivisionError), naming.together():
        naming.give_name(a, tmp_path / "a")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_is_asked_before_names_are_given_can_refuse(tmp_path, monkeypatch):
    def refuse():
        raise KeyboardInterrupt

    monkeypatch.setattr(naming, "before", [refuse])
    a = tmp_path / "a.part"
    a.write_text("a")
    with pytest.raises(KeyboardInterrupt), naming.together():
        naming.give_name(a, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_memory_that_ran_out_is_a_message():
    assert errors.status_of(MemoryError()) == errors.WRONG
    assert "memory" in errors.message_of(MemoryError())
