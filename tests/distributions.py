"""Wheel and source distribution of this tree: `make dist` builds both and tries the one with the tests of the other.

python tests/distributions.py FOLDER
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
MADE = {".git", ".venv", "out", "build", "dist", "bench/data"}  # by git, make and the benches
CACHES = shutil.ignore_patterns("*.egg-info", "__pycache__", ".hypothesis", ".*_cache", ".cache")
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"


def build(out: Path) -> tuple[Path, Path]:
    """Source distribution, and the wheel that is built from it, into a folder. Needs setuptools, and no network.

    Nothing is written into this tree. Raises RuntimeError with what setuptools said.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="qfp-dist-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(TOP, tree, ignore=_left_out)
        source = out / _built("sdist", tree, out)
        wheel = out / _built("wheel", unpacked(source, Path(name) / "source"), out)
    return source, wheel


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What of a folder of this tree is no part of it."""
    made = {name for name in names if str((Path(folder) / name).relative_to(TOP)) in MADE}
    return made | CACHES(folder, names)


def unpacked(source: Path, folder: Path) -> Path:
    """The tree in a source distribution."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def _built(kind: str, tree: Path, out: Path) -> str:
    """Name of what setuptools builds of a tree."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(out)], cwd=tree, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{kind} cannot be built:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def trial(source: Path, wheel: Path) -> int:
    """Exit status of the source distribution's smoke set against the wheel, in a fresh environment."""
    with tempfile.TemporaryDirectory(prefix="qfp-dist-") as name:
        folder = Path(name)
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"QFP_CACHE_DIR": str(folder / "cache")}
        bin = folder / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        wanted = f"qfp[dev,diff] @ {wheel.as_uri()}"
        subprocess.run([bin / "python", "-m", "pip", "install", "--quiet", wanted], env=env, check=True)
        # pytest, not `python -m pytest`: the packages are the wheel's, not those of the folder it runs in
        tests = [str(bin / "pytest"), "-m", "smoke", "-p", "no:cacheprovider"]
        return subprocess.run(tests, cwd=unpacked(source, folder / "source"), env=env, check=False).returncode


def main(words: list[str]) -> int:
    """Build into a folder and try; the exit status."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    source, wheel = build(Path(words[0]))
    print(source, wheel, sep="\n", flush=True)
    return trial(source, wheel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
