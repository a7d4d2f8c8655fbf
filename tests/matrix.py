#!/usr/bin/env python3
"""Every Python at hand, each with the oldest and the newest dependencies that pyproject.toml admits: `make matrix`.

    python3 tests/matrix.py                               all tests with the newest dependencies, smoke with the oldest
    python3 tests/matrix.py --tests smoke                 the smoke set everywhere
    python3 tests/matrix.py --python 3.11 --deps oldest   one cell of the table

Each cell is a virtual environment in a temporary folder, with the project and all its extras installed, and a kernel
cache of its own. The oldest dependencies are the lower bounds themselves, as constraints for pip. Exit status: 0 when
all cells passed, 1 when one did not, or could not be installed, 2 for a wrong question. Needs Python 3.11 alone.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST, NEWEST = "oldest", "newest"
EXTRAS = "dev,diff,report"
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*(?P<bounds>[^;]*?)\s*(;\s*(?P<marker>.*))?$")
LOWER = re.compile(r">=\s*([^,\s]+)")
SUMMARY = re.compile(r"\b\d+ (?:passed|failed|error|errors)\b.* in [\d.]+s")


@dataclass
class Cell:
    """One environment and what became of it."""

    version: str
    python: str
    deps: str
    tests: str
    passed: bool = False
    said: str = "not run"
    seconds: float = 0.0
    versions: list[str] = field(default_factory=list)


def declared(project: dict[str, object]) -> list[str]:
    """Requirements of the project and of its extras, as pyproject.toml writes them."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    found: list[str] = [*project["dependencies"], *(each for group in extras.values() for each in group)]  # type: ignore[misc]
    return [each for each in found if not each.startswith("qfp[")]


def constraints(requirements: Iterable[str]) -> list[str]:
    """Each requirement pinned to its lower bound, with its marker. Raises ValueError for one without a bound."""
    pins = []
    for text in requirements:
        match = REQUIREMENT.match(text.strip())
        bound = LOWER.search(match["bounds"]) if match else None
        if match is None or bound is None:
            raise ValueError(f"pyproject.toml: {text!r} has no lower bound: write name>=version")
        pins.append(f"{match['name']}=={bound[1]}" + (f"; {match['marker']}" if match["marker"] else ""))
    return pins


def names_of(requirements: Iterable[str]) -> list[str]:
    """Names of the packages, once each."""
    return list(dict.fromkeys(match["name"] for match in map(REQUIREMENT.match, requirements) if match))


def at_hand() -> dict[str, str]:
    """Interpreters by version, as .ci/python finds them."""
    done = subprocess.run(["sh", str(TOP / ".ci" / "python"), "--all"], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def environment(cache: Path) -> dict[str, str]:
    """Nothing of the environment that the caller works in gets into the cell."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER", "PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV")
    return {k: v for k, v in os.environ.items() if k not in dropped} | {"QFP_CACHE_DIR": str(cache)}


def run(command: Sequence[str], env: dict[str, str], log: Path, timeout: float) -> int:
    """Run a command from the top of the project, its output to stdout and into `log`; its exit status. timeout: s,
    after which it is killed."""
    with log.open("a", encoding="utf-8") as kept:
        kept.write(f"$ {' '.join(command)}\n")
        child = subprocess.Popen(
            command, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )  # fmt: skip
        assert child.stdout is not None
        alarm = threading.Timer(timeout, child.kill)
        alarm.start()
        try:
            for line in child.stdout:
                kept.write(line)
                sys.stdout.write(line)
                sys.stdout.flush()
        finally:
            alarm.cancel()
            if sys.exc_info()[0] is not None:
                child.kill()
            child.wait()
    return child.returncode


def install(cell: Cell, folder: Path, env: dict[str, str], log: Path, pins: Sequence[str]) -> Path | None:
    """Make the environment; its interpreter, or None when the dependencies cannot be had."""
    if run([cell.python, "-m", "venv", str(folder)], env, log, 300):
        return None
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--only-binary", ":all:"]
    if cell.deps == OLDEST:
        pinned = folder / "oldest.txt"
        pinned.write_text("\n".join(pins) + "\n", encoding="utf-8")
        pip += ["--constraint", str(pinned)]
    failed = run([*pip, "--editable", f".[{EXTRAS}]"], env, log, 1800)
    return None if failed or run([str(python), "-m", "pip", "check"], env, log, 300) else python


def try_cell(cell: Cell, folder: Path, requirements: Sequence[str], jobs: int, timeout: float) -> None:
    """Install and test one cell; what came of it goes into the cell."""
    folder.mkdir()
    log, env, begun = folder / "log", environment(folder / "cache"), time.monotonic()
    python = install(cell, folder / "venv", env, log, constraints(requirements))
    if python is None:
        cell.said = "cannot be installed"
    else:
        command = [str(python), "-m", "pytest", "-p", "no:cacheprovider"]
        # One process for the smoke set: two would compile everything twice, and qfp has a helper for the second core
        command += ["-m", "smoke"] if cell.tests == "smoke" else ["-n", str(jobs)]
        cell.passed = run(command, env, log, timeout) == 0
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if SUMMARY.search(line)]
        cell.said = lines[-1].strip("= ") if lines else "ended without a summary"
        cell.versions = installed(python, requirements, env)
    cell.seconds = time.monotonic() - begun


def installed(python: Path, requirements: Sequence[str], env: dict[str, str]) -> list[str]:
    """`name version` of the packages that pyproject.toml names, as the environment has them."""
    program = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    done = subprocess.run(
        [str(python), "-c", program, *names_of(requirements)], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def report(cells: Sequence[Cell], missing: Sequence[str]) -> None:
    """The table, and the Pythons that were not tried."""
    print("\npython  dependencies  tests  result")
    for cell in cells:
        word = "passed" if cell.passed else "FAILED"
        print(f"{cell.version:<7} {cell.deps:<13} {cell.tests:<6} {word}: {cell.said} ({cell.seconds:.0f} s in all)")
        print(f"        {', '.join(cell.versions)}" if cell.versions else "")
    for version in missing:
        print(f"{version:<7} not tried: no such interpreter is at hand")
    print(f"matrix: {sum(cell.passed for cell in cells)} of {len(cells)} passed", flush=True)


def plan(options: argparse.Namespace, found: dict[str, str]) -> list[Cell]:
    """The cells to try, oldest Python first."""
    deps = (OLDEST, NEWEST) if options.deps == "both" else (options.deps,)
    wanted = options.python or [version for version in VERSIONS if version in found]
    tests = {OLDEST: options.tests or "smoke", NEWEST: options.tests or "all"}
    return [Cell(version, found[version], each, tests[each]) for version in wanted if version in found for each in deps]


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Try every Python at hand with oldest and newest dependencies.")
    parser.add_argument("--python", action="append", choices=VERSIONS, help="only this version; may be repeated")
    parser.add_argument("--deps", choices=(OLDEST, NEWEST, "both"), default="both")
    parser.add_argument("--tests", choices=("all", "smoke"), help="default: all with the newest, smoke with the oldest")
    parser.add_argument("--jobs", type=int, default=2, help="test processes of a cell")
    parser.add_argument("--timeout", type=float, default=3600, help="s for the tests of a cell")
    parser.add_argument("--keep", type=Path, help="a new folder for the environments and logs, which are kept there")
    options = parser.parse_args(words)
    if options.keep and options.keep.exists():
        parser.error(f"--keep {options.keep}: is there already: name a new folder")
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Try the cells; the exit status."""
    options = arguments(words)
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements, found = declared(project), at_hand()
    cells = plan(options, found)
    place = options.keep or Path(tempfile.mkdtemp(prefix="qfp-matrix-"))
    place = place.resolve()
    place.mkdir(parents=True, exist_ok=True)
    try:
        for cell in cells:
            print(f"\n== Python {cell.version}, {cell.deps} dependencies, {cell.tests}: {cell.python}", flush=True)
            folder = place / f"{cell.version}-{cell.deps}"
            try_cell(cell, folder, requirements, options.jobs, options.timeout)
            if options.keep is None:
                shutil.rmtree(folder)
    finally:
        if options.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    report(cells, [version for version in options.python or VERSIONS if version not in found])
    asked_for_none = options.python and any(version not in found for version in options.python)
    return 0 if cells and not asked_for_none and all(cell.passed for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
