"""Checkpoints: a router or decryptor that was saved and restored is the one that was not, in every byte and handle."""

import copy
import itertools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from cli_help import IN, START, config, packet
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp
from path_help import ENGINES
from site_help import WAYS, any_site, traffic
from test_lifetimes import GRE4, MAP4, OUTSIDE, VTI4, S, router, send, text

from qfp import checkpoint
from qfp.batch import Batch
from qfp.checkpoint import CheckpointError
from qfp.config import loads
from qfp.control import kept
from qfp.control.kept import PLANE
from qfp.decrypt import PARTS, Decryptor
from qfp.engines.crypto import EngineError
from qfp.result import Result
from qfp.router import Router
from qfp.trace.keyfile import read_keys, write_sas

# Attributes that an object has again when it is made of the same configuration, or that hold nothing between runs.
MADE_ANEW = {
    "Sad": {"_tables", "crypto"},
    "Pool": set(),
    "Sadb": {"_config", "_tables", "_sad", "_warn", "_seed", "_comp"},
    "Sizes": {"_t", "_config", "_sad", "_interfaces", "_sadb"},
    "PathMtus": {"_t", "_resize", "_home", "_held"},
    "Lifetimes": {"_config", "_tables", "_sad", "_sadb", "_hand_on", "rekey", "_held"},
    "Wheel": {"_actual"},
    "Awaited": {"_tables", "_sadb", "_pairs"},
    "Wildcards": {"_tables", "_sad", "_patterns"},
}


def again(thing: Any) -> Any:
    """What was saved and restored."""
    return type(thing)._loaded(thing._dumped())


def outcome(result: Result) -> dict[str, Any]:
    return {"frames": result.packets.frames(), "counters": result.counters,
            **{name: column.tolist() for name, column in result.verdicts.items()}}  # fmt: skip


def cut(frames: list[bytes], times: list[int], r: Random, parts: int) -> list[Batch]:
    places = [0, *sorted(r.sample(range(1, len(frames)), parts - 1)), len(frames)]
    return [Batch.from_frames(frames[a:b], ts=times[a:b]) for a, b in itertools.pairwise(places)]


# ------------------------------------------------------------------------------------------ the same afterwards
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("way", WAYS)
def test_all_ways_of_protection(way: str, family: int) -> None:
    """With fragments that wait, path MTUs that were learned, GRE numbers, limits on ICMP errors."""
    r = Random(f"checkpoint {way} {family}")
    site = any_site(r, way, family)
    clear = traffic(r, site.pair(1).twin, 240)
    times = sorted(r.randint(0, 3 * 10**9) for _ in clear)
    plain, saved = ([Router.loads(site.config(me)) for me in (1, 2)] for _ in range(2))
    for batch in cut(clear, times, r, 5):
        sent = [side[0].forward(batch, "gi0/0/1") for side in (plain, saved)]
        assert outcome(sent[0]) == outcome(sent[1])
        wire = [side[1].forward(each.packets, "gi0/0/0") for side, each in zip((plain, saved), sent, strict=True)]
        assert outcome(wire[0]) == outcome(wire[1])
        saved = [again(device) for device in saved]
    for one, other in zip(plain, saved, strict=True):
        for name in checkpoint.kept_tables():
            if name != "ctl":
                assert np.array_equal(getattr(one.tables.t, name), getattr(other.tables.t, name)), name


def volumes(monkeypatch: pytest.MonkeyPatch, kilobytes: int | None) -> None:
    """Lifetimes smaller than a text may say, which `router` sets by hand, in what is read again too."""
    read = kept.read_config

    def changed(told: dict[str, Any]) -> Any:
        found = read(told)
        if kilobytes is not None:
            found.ipsec.lifetime_kilobytes = kilobytes
        return found

    monkeypatch.setattr(kept, "read_config", changed)


MULTI, IDLE = (f"crypto ipsec security-association {each}\n" for each in ("multi-sn", "idle-time 60"))


@pytest.mark.parametrize("options", [{"extra": IDLE}, {"kilobytes": 40}, {"extra": MULTI}])
@pytest.mark.parametrize(
    ("case", "transform"),
    [(MAP4, "esp-gcm"), (VTI4, "ah-sha-hmac esp-aes"), (GRE4, "esp-gcm")],
    ids=["map", "vti", "gre"],
)
def test_rekeys_timers_and_events(
    case: Any, transform: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved at any moment: before and after a soft limit, while old inbound SAs linger, after `clear`."""
    volumes(monkeypatch, options.get("kilobytes"))
    plan = [0, 1, 3000, 3401, 3402, 3410, 3435, 6900, 7000, 9000, 14000]
    runs = []
    for keeps in (False, True):
        near, far = (router(me, case, transform=transform, **options) for me in (1, 2))
        seen = []
        for k, second in enumerate(plan):
            sent = send(near, [second + 0.01 * j for j in range(25)], size=900)
            got = far.forward(sent.packets, OUTSIDE)
            replayed = far.forward(sent.packets, OUTSIDE)
            seen += [outcome(sent), outcome(got), outcome(replayed)]
            if k == 6:
                near.clear((second + 1) * S)
            if keeps:
                near, far = again(near), again(far)
        runs.append((seen, near.lifetimes.events, far.lifetimes.events, near.issues, near.lifetimes.summary()))
    assert runs[0] == runs[1] and len(runs[0][1]) > 2


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_threads_and_batches(engine: str) -> None:
    frames = [packet(k % 50, ttl=1 if k % 17 == 0 else 64) for k in range(300)]
    wanted = None
    for threads, batch in ((1, 0), (2, 64)):
        device = Router.loads(config(1), engine=engine, threads=threads, batch=batch)
        found = []
        for k in range(0, 300, 60):
            found.append(outcome(device.forward(Batch.from_frames(frames[k : k + 60], ts=[START] * 60), IN)))
            device = again(device)
        wanted = wanted or found
        assert found == wanted
        assert (device.engine.threads, device.sad.crypto.name) == (threads, engine)


def test_keys_of_a_file_and_options_go_along(tmp_path: Path) -> None:
    near = Router.loads(config(1))
    handles = [k for pair in near.sadb.pairs for k in (*pair.outbound, *pair.inbound)]
    write_sas(tmp_path / "sas.json", [near.sad.describe(k) for k in handles])
    keys = read_keys(tmp_path / "sas.json")
    options: dict[str, Any] = {"keys": keys, "rekey": False, "seed": 9, "offload": True, "keying": "auto"}
    first = Router.loads(config(1), **options)
    second = again(first)
    assert second._options == {**first._options, "keys": list(keys)}
    batch = Batch.from_frames([packet(k) for k in range(5)], ts=[START] * 5)
    assert outcome(first.forward(batch, IN)) == outcome(second.forward(batch, IN))


def test_explain_and_changes_go_on_from_there() -> None:
    near = Router.loads(config(1))
    near.forward(Batch.from_frames([packet(k) for k in range(5)], ts=[START] * 5), IN)
    other = again(near)
    batch = Batch.from_frames([packet(9)], ts=[START + S])
    assert near.forward(batch, IN).explain(0) == other.forward(batch, IN).explain(0)
    clear = loads(config(1, extra="crypto ipsec df-bit clear\n"))
    changed = [each.reconfigured(clear, START + 2 * S) for each in (near, other)]
    assert outcome(changed[0].forward(batch, IN)) == outcome(changed[1].forward(batch, IN))
    assert again(changed[0]).tables.t.sp["packets"].tolist() == changed[0].tables.t.sp["packets"].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random traffic over hours, saved at random moments: numbers, rekeys, idle times and counters are as if not."""
    r = Random(seed)
    volumes(monkeypatch, 60)
    extra = r.choice(["", "crypto ipsec security-association idle-time 120\n"])
    plain, saved = ([router(me, extra=extra, kilobytes=60) for me in (1, 2)] for _ in range(2))
    second = 0.0
    for _ in range(12):
        second += r.choice([0.5, 20, 100, 1700, 3400, 4000])
        times = [second + 0.01 * k for k in range(r.randint(1, 40))]
        found = []
        for near, far in (plain, saved):
            sent = send(near, times, size=700)
            found.append((outcome(sent), outcome(far.forward(sent.packets, OUTSIDE))))
        assert found[0] == found[1]
        if r.random() < 0.5:
            k = r.randint(0, 1)
            saved[k] = again(saved[k])


# ------------------------------------------------------------------------------------------ decryptors, pickles
def test_decryptors(tmp_path: Path) -> None:
    near = Router.loads(config(1))
    sent = near.forward(Batch.from_frames([packet(k) for k in range(60)], ts=[START] * 60), IN).packets.frames()
    sa = near.sad.describe(near.sadb.pairs[0].outbound[0])
    wild = tmp_path / "esp_sa"
    wild.write_text(f'"IPv4","*","*","*","AES-GCM [RFC4106]","0x{(sa.encr_key + sa.salt).hex()}","NULL",""\n')
    for keys in ([sa], read_keys(wild)):
        plain = Decryptor(keys, window=128, keep_clear=True)
        saved = again(plain)
        for k in range(0, 60, 20):
            wire = [*sent[k : k + 20], *sent[:10], b"junk", ip4("10.1.1.1", "10.2.2.2", udp(1, 2))]
            found = [outcome(each.open(Batch.from_frames(wire))) for each in (plain, saved)]
            assert found[0] == found[1]
            saved = again(saved)
        assert saved.wildcards.made == plain.wildcards.made == (not isinstance(keys, list) or keys != [sa])


def test_pickles_and_copies_are_as_good() -> None:
    ways: list[Callable[[Any], Any]] = [lambda each: pickle.loads(pickle.dumps(each)), copy.copy, copy.deepcopy]
    for way in ways:
        near = Router.loads(config(1))
        batch = Batch.from_frames([packet(k) for k in range(9)], ts=[START] * 9)
        result = near.forward(batch, IN)
        other = way(near)
        assert other is not near and outcome(other.forward(batch, IN)) == outcome(near.forward(batch, IN))
        twin = way(result)
        assert outcome(twin) == outcome(result) and twin.explain(4) == result.explain(4)
        assert twin.to_arrow().equals(result.to_arrow())
        opener = Decryptor([near.sad.describe(near.sadb.pairs[0].outbound[0])])
        opener.open(result.packets)
        assert outcome(way(opener).open(result.packets)) == outcome(opener.open(result.packets))


# ------------------------------------------------------------------------------------------------ what is kept
def parts_of(thing: Any, names: tuple[str, ...]) -> list[Any]:
    """Objects of an owner, and theirs, that say what of them is kept."""
    found = [each for each in (getattr(thing, name) for name in names) if hasattr(each, "SAVED")]
    return [*found, *(inner for each in found for inner in parts_of(each, each.SAVED))]


def test_every_attribute_is_kept_or_made_anew() -> None:
    """One that is added to a class of the control plane has to be named, in SAVED or here."""
    near, opener = Router.loads(config(1)), Decryptor([])
    for thing in (*parts_of(near, PLANE), *parts_of(opener, PARTS)):
        assert set(vars(thing)) == set(thing.SAVED) | MADE_ANEW[type(thing).__name__], type(thing).__name__


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    near = Router.loads(config(1))
    path = tmp_path / "a.qfp"
    near.save(path)
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(tmp_path) == ["a.qfp"]
    with np.load(path, allow_pickle=False) as held:
        assert len([held[name] for name in held.files]) > 20
    assert Router.restore(path).config == near.config
    path.chmod(0o620)
    with pytest.raises(CheckpointError, match="others may write it"):
        Router.restore(path)


# -------------------------------------------------------------------------------------------------- wrong input
def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    near = Router.loads(config(1))
    data = near._dumped()
    for wrong in (b"", b"junk", data[:-50], data[: len(data) // 2], b"PK\x03\x04" + bytes(200)):
        (tmp_path / "x").write_bytes(wrong)
        with pytest.raises(CheckpointError, match="no checkpoint of qfp, or a damaged one"):
            Router.restore(tmp_path / "x")
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CheckpointError, match="is of a router, not of a decryptor"):
        Decryptor.restore(tmp_path / "x")
    with pytest.raises(CheckpointError, match="is no file"):
        Router.restore("/dev/null")
    with pytest.raises(FileNotFoundError):
        Router.restore(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        near.save(tmp_path / "nothing" / "x")


@given(st.data())
@settings(max_examples=60)
def test_any_damage_is_found(data: st.DataObject) -> None:
    whole = bytearray(SAVED)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = checkpoint.loads(bytes(whole), "router")
    except CheckpointError as error:
        assert "K123" not in str(error)
    else:  # a byte that says nothing, as the time of a member of the archive
        assert {name: table.tobytes() for name, table in found.tables.items()} == TABLES


SAVED = Router.loads(config(1, extra="crypto isakmp key K123 address 203.0.113.2\n"))._dumped()
TABLES = {name: table.tobytes() for name, table in checkpoint.loads(SAVED, "router").tables.items()}


def test_another_release_does_not_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "layout_digest", lambda: "of other columns")
    with pytest.raises(CheckpointError, match=r"is of qfp 0\.1\.0, with other tables"):
        Router._loaded(SAVED)


def test_configurations_that_are_no_text() -> None:
    made = loads(config(1))
    made.ipsec.lifetime_seconds = 300
    assert again(Router(made)).config == made, "it prints to a text that says the same"
    made.ipsec.lifetime_seconds = 7
    with pytest.raises(CheckpointError, match="was changed after it had been read, and no text says the same"):
        Router(made)._dumped()
    odd = "hostname A\ninterface GigabitEthernet0/0/0\n ip address nonsense\n crypto isakmp key K123 address 1.2.3.4\n"
    for given_text in (odd, odd.replace("\n", "\r\n"), "\ufeff" + odd, config(1) + "end\njunk behind it\n"):
        first = Router.loads(given_text)
        assert again(first).config == first.config
        assert [str(each) for each in again(first).issues] == [str(each) for each in first.issues]
    assert "K123" not in repr(first) + repr(first.config) + repr(first.config.lines)


def test_a_run_that_was_broken_off_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Router.loads(config(1), engine="openssl")

    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(type(device.sad.crypto), "context", broken)
    with pytest.raises((MemoryError, EngineError)):
        device.forward(Batch.from_frames([packet(1)], ts=[START]), IN)
    with pytest.raises(CheckpointError, match="was broken off"):
        device._dumped()


def test_sas_of_another_configuration_are_said() -> None:
    """Old inbound SAs that linger were made by an entry that is gone: nothing tells how to make them again."""
    near, far = router(1), router(2)
    for second in (0, 3402):
        far.forward(send(near, [second]).packets, OUTSIDE)
    other = far.reconfigured(loads(text(2, transform="esp-aes esp-sha-hmac")), 3403 * S)
    saved = again(other)
    assert outcome(saved.forward(Batch.from_frames([b"x"]), OUTSIDE)) == outcome(
        other.forward(Batch.from_frames([b"x"]), OUTSIDE))  # fmt: skip
