"""The folder of compiled kernels: used only when nobody else may write there, and never needed."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_help import ENV, office

from qfp_kernels import cache


@pytest.fixture(autouse=True)
def forget():
    cache.cache_root.cache_clear()
    cache._troubles.clear()
    yield
    cache.cache_root.cache_clear()
    cache._troubles.clear()


def folder(tmp_path: Path, mode: int) -> Path:
    made = tmp_path / "kernels"
    made.mkdir()
    made.chmod(mode)
    return made


def test_a_folder_of_our_own_is_used_and_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("QFP_CACHE_DIR", str(tmp_path / "new"))
    assert cache.cache_root() == tmp_path / "new"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert cache.trouble() is None


def test_a_folder_that_others_may_write_is_not_used(tmp_path, monkeypatch):
    place = folder(tmp_path, 0o777)
    monkeypatch.setenv("QFP_CACHE_DIR", str(place))
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.cache_root() == tmp_path / f"qfp-{os.geteuid()}"
    assert "others may write" in cache.trouble()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user's")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch, mode):
    place = folder(tmp_path, mode)
    os.chown(place, 65534, 65534)
    assert cache.objection(place) is not None
    monkeypatch.delenv("QFP_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope")
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    planted = tmp_path / f"qfp-{os.geteuid()}"
    place.rename(planted)
    assert cache.cache_root() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user's")
def test_a_link_is_used_when_it_is_ours(tmp_path):
    """Whoever made the link says where it leads."""
    link = tmp_path / "link"
    link.symlink_to(folder(tmp_path, 0o700))
    assert cache.objection(link) is None
    os.chown(link, 65534, 65534, follow_symlinks=False)
    assert "not yours" in cache.objection(link)


def test_a_folder_that_others_may_replace_is_not_used(tmp_path):
    above = tmp_path / "above"
    place = above / "kernels"
    place.mkdir(parents=True)
    assert cache.objection(place) is None
    above.chmod(0o777)
    assert "may write in" in cache.objection(place)
    above.chmod(0o1777)  # as /tmp: others cannot rename what is not theirs
    assert cache.objection(place) is None
    above.chmod(0o755)


def run(o, kernels: Path, **options) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "qfp", "convert", str(o.trace), str(o / "out.pcapng")]
    env = {**ENV, "QFP_CACHE_DIR": str(kernels)}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=env, **options)


def test_a_full_disk_costs_a_compilation_and_not_the_run(tmp_path):
    """Files may not grow beyond 8 kB: too little for kernels, enough for the output."""
    o = office(tmp_path, packets=4)
    done = run(o, tmp_path / "kernels",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("could not be kept") == 1
    assert (o / "out.pcapng").exists()
    assert not [p for p in (tmp_path / "kernels").rglob("*") if ".tmp." in p.name]


@pytest.mark.parametrize("keep", [0, 7, 100], ids=["empty", "a few bytes", "half a header"])
def test_a_damaged_entry_is_compiled_again(tmp_path, keep):
    o = office(tmp_path, packets=4)
    kernels = tmp_path / "kernels"
    assert run(o, kernels).returncode == 0
    entries = [p for p in kernels.rglob("*.nb?")]
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:keep])
    hurt = run(o, kernels)
    assert hurt.returncode == 0 and "Traceback" not in hurt.stderr, hurt.stderr
    assert "damaged entry" in hurt.stderr
    healed = run(o, kernels)
    assert healed.returncode == 0 and not healed.stderr
