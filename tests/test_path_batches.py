"""Bytes, verdicts and counters do not depend on the batch size or the threads, ESN boundaries included."""

from random import Random
from typing import Any

import naive
import numpy as np
import pytest
from naive_decryptor import NaiveDecryptor
from packets import HEADERS6, OPTIONS4, ip4, ip6, udp
from path_help import ENGINES
from site_help import WAYS, any_site, traffic
from test_path_policy import LIST4, LIST6, office
from test_path_transforms import PROTECTIONS, associations

from qfp.batch import Batch
from qfp.decrypt import Decryptor
from qfp.result import Result
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp_kernels.layout import JOB_DUE

SHAPES = [(batch, threads) for batch in (1, 7, 256, 1024) for threads in (1, 2)]


def mixed_frames(count: int, seed: int) -> list[bytes]:
    """Traffic of all kinds from inside router 1: protected, clear, without route, broken, not IP."""
    rng = np.random.default_rng(seed)
    hosts = ["10.2.0.9", "10.2.3.9", "10.9.9.9", "172.17.1.1", "8.8.8.8", "203.0.113.1"]
    out = []
    for k in range(count):
        data = udp(int(rng.integers(1, 5)), 53, bytes(int(rng.choice([0, 1, 18, 100, 576, 1400]))))
        if k % 7 == 3:
            out.append(ip6("fd00:1::9", "fd00:2::9", data, tos=k & 255, headers=HEADERS6[k % 6]))
        else:
            flags = [0, 0x4000, 0x2000, 0x00B9][k % 4 if k % 5 == 0 else 0]
            ttl = 1 if k % 53 == 0 else 64
            out.append(ip4("10.1.0.9", hosts[int(rng.integers(0, 6)) if k % 3 == 0 else 0], data, tos=k & 255, ttl=ttl,
                           flags=flags, options=OPTIONS4[k % 5] if k % 11 == 0 else b""))  # fmt: skip
        if k % 41 == 0:
            out[-1] = out[-1][: int(rng.integers(0, len(out[-1])))]
    return out


def facts(result: Result, tables: Any) -> dict[str, Any]:
    """All that a run leaves behind, as bytes."""
    t = tables.t
    out = {name: column.tobytes() for name, column in result.verdicts.items()}
    out["frames"] = result.packets.frames()
    out["counters"] = result.counters
    for name in ("sa_out", "sa_in", "sp", "ifs", "ip_id", "win", "causes", "cause_bytes", "verdicts", "stats"):
        out[f"table {name}"] = getattr(t, name).tobytes()
    return out


def same(runs: list[dict[str, Any]]) -> None:
    for run, shape in zip(runs, SHAPES, strict=True):
        different = [name for name in run if run[name] != runs[0][name]]
        assert not different, (shape, different)


def lists(me: int) -> str:
    other = 3 - me
    four = f"permit ip 10.{me}.0.0 0.0.255.255 10.{other}.0.0 0.0.255.255"
    return LIST4.format("FIRST", four) + LIST6.format("SIX", f"permit ipv6 fd00:{me}::/32 fd00:{other}::/32")


@pytest.mark.req("AR-1", "AR-2", "BASE-12")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transform", ["GCM", "OLD"])
def test_routers(engine: str, transform: str) -> None:
    count = 3000 if engine == "native" else 600
    clear = mixed_frames(count, 1)
    there: list[dict[str, Any]] = []
    back: list[dict[str, Any]] = []
    for batch, threads in SHAPES:
        a = Router.loads(office(1, lists(1), transform), engine=engine, batch=batch, threads=threads)
        sent = a.forward(Batch.from_frames(clear), "gi0/0/1")
        there.append(facts(sent, a.tables))
        b = Router.loads(office(2, lists(2), transform), engine=engine, batch=batch, threads=threads)
        wire = disturbed(sent.packets.frames(), 2)
        back.append(facts(b.forward(Batch.from_frames(wire), "gi0/0/0"), b.tables))
        a.engine.close()
        b.engine.close()
    same(there)
    same(back)


def disturbed(frames: list[bytes], seed: int) -> list[bytes]:
    """Reordered within 200 places, a tenth doubled, a tenth with a changed byte, some fragments between."""
    rng = np.random.default_rng(seed)
    order = np.argsort(np.arange(len(frames)) + rng.integers(0, 200, len(frames)), kind="stable")
    out = []
    for k in order.tolist():
        p = frames[k]
        out.append(p)
        if rng.random() < 0.1:
            out.append(frames[max(0, k - int(rng.integers(0, 100)))])
        if rng.random() < 0.1:
            at = int(rng.integers(20, len(p))) if len(p) > 20 else 0
            out.append(p[:at] + bytes([p[at] ^ 1]) + p[at + 1 :])
        if rng.random() < 0.03:
            out.append(ip4("203.0.113.1", "203.0.113.2", bytes(32), 50, flags=0x2000))
    return out


def crossing(sa: SecurityAssociation, engine: str) -> list[bytes]:
    """Packets around a multiple of 2^32, reordered and forged, so that high halves must be inferred anew."""
    state = naive.State(sa)
    inner = naive.read_ip(ip4("10.1.2.3", "10.2.3.4", udp(1, 2, b"data"), tos=1))
    start = 2**32 - 700
    count = 1400 if engine == "native" else 900
    numbers = np.arange(start, start + count)
    far = [start + count + 2**31 + k for k in range(0, 3000, 3)][:300]
    frames = [naive.seal_tunnel([state], [int(n)], inner, 0, "copy") for n in [*numbers, *far]]
    return disturbed(frames, 3)


@pytest.mark.req("AR-2", "BASE-8", "BASE-12")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("window", [0, 64, 1024])
def test_esn_at_the_boundary(engine: str, window: int) -> None:
    """Vectors are cut where the high half changes; nothing of that shows, not even in a counter."""
    fields = dict(PROTECTIONS)["aes-gcm-128/none/16"]
    sa = associations(fields, 4, esn=True, replay_window=window, seq=2**32 - 701)[0]
    frames = crossing(sa, engine)
    runs = []
    for batch, threads in SHAPES:
        d = Decryptor([sa], engine=engine, batch=batch, threads=threads)
        runs.append(facts(d.open(Batch.from_frames(frames)), d.tables))
        d.engine.close()
    same(runs)
    twin = NaiveDecryptor([sa])
    assert [o.data for o in twin.open(frames) if o.data is not None] == runs[0]["frames"]
    assert len(runs[0]["frames"]) > 300


@pytest.mark.req("BASE-12")
def test_jobs_of_abandoned_vectors_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector behind a cut is abandoned with jobs that are due: rows that have no job take its places afterwards.

    Whether a vector is under way when another one is cut depends on the threads' luck, so what it leaves is put there.
    """
    sa = associations(dict(PROTECTIONS)["aes-gcm-128/none/16"], 4, esn=True, replay_window=64, seq=2**32 - 701)[0]
    frames = crossing(sa, "native")
    for k in range(len(frames) - 1, 0, -3):
        frames.insert(k, ip4("10.1.2.3", "10.2.3.4", udp(1, 2, b"clear")))
    wanted = facts((whole := Decryptor([sa])).open(Batch.from_frames(frames)), whole.tables)
    cut = Decryptor([sa], batch=64)
    resume, cuts = cut.engine._resume, []

    def resumed(st: Any) -> None:
        cuts.append(cut.engine.workspaces[0].c_ok.fill(JOB_DUE))
        resume(st)

    monkeypatch.setattr(cut.engine, "_resume", resumed)
    assert facts(cut.open(Batch.from_frames(frames)), cut.tables) == wanted and len(cuts) > 2


@pytest.mark.req("BASE-6", "BASE-12", "PF-1", "PF-7")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", [4, 6])
def test_sites(way: str, family: int) -> None:
    """Fragments before and after encryption, tunnels, reassembly and ICMP errors, at the same times."""
    r = Random(f"{way} {family}")
    site = any_site(r, way, family)
    clear = traffic(r, site.pair(1).twin, 400)
    times = sorted(r.randint(0, 2 * 10**9) for _ in clear)
    there: list[dict[str, Any]] = []
    back: list[dict[str, Any]] = []
    for batch, threads in SHAPES:
        a = Router.loads(site.config(1), batch=batch, threads=threads)
        sent = a.forward(Batch.from_frames(clear, ts=times), "gi0/0/1")
        there.append(facts(sent, a.tables))
        b = Router.loads(site.config(2), batch=batch, threads=threads)
        wire = disturbed(there[0]["frames"], 5)
        back.append(facts(b.forward(Batch.from_frames(wire, ts=10**6 * np.arange(len(wire))), "gi0/0/0"), b.tables))
        a.engine.close()
        b.engine.close()
    same(there)
    same(back)


@pytest.mark.req("AR-1", "BASE-12")
def test_a_run_in_pieces() -> None:
    """A batch given at once or in pieces leaves the same bytes."""
    clear = mixed_frames(1500, 4)
    whole = Router.loads(office(1, lists(1))).forward(Batch.from_frames(clear), "gi0/0/1").packets.frames()
    router = Router.loads(office(1, lists(1)))
    pieces: list[bytes] = []
    for k in range(0, len(clear), 97):
        pieces += router.forward(Batch.from_frames(clear[k : k + 97]), "gi0/0/1").packets.frames()
    assert pieces == whole
