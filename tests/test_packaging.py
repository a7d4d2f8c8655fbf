"""What is installed: all packages and the types are in the wheel, the source distribution has all that tests need, and
a strict type checker knows what a program gets of qfp."""

import ast
import fnmatch
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import matrix
import pytest
from distributions import TOP, build

import qfp

PROGRAM = """
import qfp
from qfp import Decryptor, Router, decrypt, read_trace
from qfp.config import Issue

router = qfp.Router.load("branch.cfg", seed=7)
trace: qfp.Batch = qfp.read_trace("office.pcapng")
result = router.forward(trace, ingress="GigabitEthernet0/0/1")
reveal_type(qfp.decrypt)
reveal_type(qfp.read_keys("sas.json"))
reveal_type(router)
reveal_type(router.issues)
reveal_type(result)
reveal_type(result.packets)
reveal_type(result.counters)
reveal_type(qfp.Decryptor(qfp.read_keys("sas.json")).open(trace))
reveal_type(qfp.__version__)


def first(issues: list[Issue]) -> str:
    return issues[0].message


print(first(router.issues), len(result.packets), decrypt, Decryptor, Router, read_trace)
"""
WRONG = """
import qfp

qfp.Router.load(1)
qfp.Ruoter
qfp.read_trace("x").frams()
qfp.decrypt.Decryptor
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution and wheel of this tree."""
    return build(tmp_path_factory.mktemp("dist"))


def modules(folder: Path, top: Path) -> set[str]:
    """Python files of a folder, from the folder that is on the path."""
    return {path.relative_to(top).as_posix() for path in folder.rglob("*.py")}


def test_every_module_and_the_mark_of_types_are_in_the_wheel(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    wanted = modules(TOP / "qfp", TOP) | modules(TOP / "kernels" / "qfp_kernels", TOP / "kernels")
    assert {name for name in names if name.endswith(".py")} == wanted
    assert "qfp/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"qfp", "qfp_kernels", f"qfp-{qfp.__version__}.dist-info"}


def test_every_folder_of_modules_is_a_package() -> None:
    """A folder without __init__.py is left out of wheels."""
    for top in (TOP / "qfp", TOP / "kernels" / "qfp_kernels"):
        bare = {path.parent for path in top.rglob("*.py") if not (path.parent / "__init__.py").exists()}
        assert not bare


def test_the_version_is_written_once(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == qfp.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert "version" not in tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_source_distribution_has_all_that_tests_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "pyproject.toml", "README.md", "CONTRIBUTING.md", "LICENSE", ".ci/run", ".ci/python"}
    for folder in ("tests", "traces", "bench", "docs", "kernels", "qfp"):
        wanted |= {path.relative_to(TOP).as_posix() for path in (TOP / folder).rglob("*") if path.is_file()}
    left_out = ("*__pycache__*", "bench/data/*", "*.egg-info/*", "*/.*_cache/*", "*/.hypothesis/*")
    wanted = {name for name in wanted if not any(fnmatch.fnmatch(name, pattern) for pattern in left_out)}
    assert wanted - names == set()
    assert not [name for name in names if "__pycache__" in name]


# ------------------------------------------------------------------------------------------------------ types
@pytest.fixture(scope="module")
def user(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody who has installed the wheel, beside the packages of this environment: its interpreter."""
    folder = tmp_path_factory.mktemp("user")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    zipfile.ZipFile(built[1]).extractall(site)
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    return folder / "venv" / "bin" / "python"


def mypy(user: Path, program: str) -> str:
    """What mypy --strict says of a program of that user."""
    source = user.parents[2] / "program.py"
    source.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(source.parent / "cache"),
         "--python-executable", str(user), source.name],
        cwd=source.parent, env={"PATH": ""}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_a_strict_checker_knows_the_types_of_the_installed_package(user: Path) -> None:
    said = mypy(user, PROGRAM)
    assert "error" not in said, said
    types = re.findall(r'Revealed type is "(.*)"', said)
    wanted = (
        r"def \(batch: qfp\.batch\.Batch, .*-> qfp\.result\.Result",
        r"qfp\.trace\.keyfile_book\.Keys", r"qfp\.router\.Router",
        r"list\[qfp\.config\.issues\.Issue\]", r"qfp\.result\.Result", r"qfp\.batch\.Batch", r"dict\[.*str, .*\]",
        r"qfp\.result\.Result", r"str",
    )  # fmt: skip
    assert len(types) == len(wanted), said
    for found, pattern in zip(types, wanted, strict=True):
        assert re.search(pattern, found), (pattern, found)


def test_a_strict_checker_finds_mistakes(user: Path) -> None:
    lines = [int(line) for line in re.findall(r"program\.py:(\d+): error", mypy(user, WRONG))]
    assert lines == [4, 5, 6, 7]


def test_the_names_for_checkers_are_those_for_python() -> None:
    tree = ast.parse(Path(qfp.__file__).read_text(encoding="utf-8"))
    (guard,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imported = {a.name: n.module for n in guard.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported == qfp._PLACES


# ----------------------------------------------------------------------------------------------------- bounds
def test_constraints_are_the_lower_bounds_with_their_markers() -> None:
    given = ["numpy>=2.0,<3; python_version < '3.13'", "rich >= 13.8", "x[y]<2,>=1.5"]
    assert matrix.constraints(given) == ["numpy==2.0; python_version < '3.13'", "rich==13.8", "x==1.5"]
    for wrong in ("typer", "typer<1", "typer; python_version < '3'"):
        with pytest.raises(ValueError, match="no lower bound"):
            matrix.constraints([wrong])


def test_every_dependency_has_a_bound_for_every_python() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = matrix.constraints(matrix.declared(project))
    assert {pin.split("==")[0] for pin in pins} >= {"numpy", "numba", "llvmlite", "cryptography", "scapy", "pytest"}
    for name in {pin.split("==")[0] for pin in pins}:
        markers = [pin.partition("; ")[2] for pin in pins if pin.startswith(f"{name}==")]
        for version in matrix.VERSIONS:
            holds = [not m or eval(m.replace("python_version", repr(version))) for m in markers]
            assert sum(holds) >= 1, (name, version)


def test_the_matrix_fails_where_a_cell_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell that fails, one interpreter that is not at hand: status 1, and both are said."""

    def outcome(cell: matrix.Cell, *_: object) -> None:
        cell.passed, cell.said = cell.deps == matrix.NEWEST, "7 passed in 1.00s"

    monkeypatch.setattr(matrix, "at_hand", lambda: {"3.11": "python3.11"})
    monkeypatch.setattr(matrix, "try_cell", lambda cell, folder, *rest: (folder.mkdir(), outcome(cell)))
    assert matrix.main([]) == 1
    said = capsys.readouterr().out
    assert "3.11    oldest        smoke  FAILED" in said and "3.11    newest        all    passed" in said
    assert "3.14    not tried: no such interpreter is at hand" in said and "1 of 2 passed" in said
    assert matrix.main(["--deps", "newest"]) == 0
    assert matrix.main(["--deps", "newest", "--python", "3.12"]) == 1  # asked for, and not there


def test_interpreters_of_pyenv_are_found_off_the_path(tmp_path: Path) -> None:
    """The newest patch release of each version; names with blanks; what does not run is passed by."""
    root = tmp_path / "my pyenv"
    for version, works in (("3.12.3", True), ("3.12.11", True), ("3.13.0", False)):
        python = root / "versions" / version / "bin" / "python"
        python.parent.mkdir(parents=True)
        wanted = version.rpartition(".")[0]
        python.write_text(f'#!/bin/sh\n[ {int(works)} = 1 ] && [ "$3" = {wanted} ]\n')
        python.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "PYENV_ROOT": str(root), "HOME": str(tmp_path)}
    command = ["sh", str(TOP / ".ci" / "python"), "--all"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    if "3.12" in found and found["3.12"].startswith(str(tmp_path)):
        assert found["3.12"] == str(root / "versions" / "3.12.11" / "bin" / "python")
    else:
        assert Path("/usr/bin/python3.12").exists()  # the system's own comes first
    assert not found.get("3.13", "").startswith(str(tmp_path))
