"""The house: who may import whom, how long a function may be, what the kernels may use, what the wheel must hold."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
ROOTS = {"qfp": TOP / "qfp", "qfp_kernels": TOP / "kernels" / "qfp_kernels"}
LINES_MOST = 65
# Bottom to top. What stands on a line may import that line and those above it in this list, and nothing below it.
FLOORS = [
    "qfp_kernels",
    "version naming upward unpicklable coerce recognise algorithms sizes stages sa sa_pattern fia",
    "batch tabular trace",
    "engines tables",
    "config",
    "engine checkpoint saving contracts qos drawing antireplay",
    "control",
    "explain",
    "result",
    "router",
    "decrypt",
    "lab mtu diff",
    "bench",
    "cli",
    "__main__",
]
OF_KERNELS = {"numpy", "numba", "llvmlite"}


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for package, root in ROOTS.items():
        for file in sorted(root.rglob("*.py")):
            parts = [package, *file.relative_to(root).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """What a module imports, wherever in it; not what only type checkers see."""
    tree = tree_of(module)
    branches = [each for each in ast.walk(tree) if isinstance(each, ast.If)]
    hidden = [each.body for each in branches if "TYPE_CHECKING" in ast.unparse(each.test)]
    unseen = {id(inner) for body in hidden for part in body for inner in ast.walk(part)}
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for each in ast.walk(tree):
        if id(each) in unseen:
            continue
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - each.level + 1] if each.level else []
            base = ".".join([*above, *([each.module] if each.module else [])])
            yield from (f"{base}.{alias.name}" for alias in each.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Module -> modules of the house that it imports."""
    found = {}
    for module in modules():
        targets = set()
        for name in imports(module):
            while name and name not in modules():
                name = name.rpartition(".")[0]
            targets.add(name)
        found[module] = targets - {module, ""}
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import one another, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_ones: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        open_ones.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in open_ones:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = open_ones.index(node)
            if len(open_ones) - at > 1:
                found.append(sorted(open_ones[at:]))
            del open_ones[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def floor(module: str) -> int:
    name = "qfp_kernels" if module.startswith("qfp_kernels") else module.split(".")[1] if "." in module else ""
    places = [k for k, line in enumerate(FLOORS) if name in line.split()]
    assert len(places) == 1 or not name, f"{module} stands on no floor: give {name} one"
    return places[0] if places else -1  # `qfp` itself imports its parts when they are asked for


def test_modules_import_no_circle() -> None:
    assert circles(arrows()) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_nothing_imports_from_a_floor_above() -> None:
    upward = [f"{module} -> {other}" for module, others in arrows().items() for other in sorted(others)
              if floor(module) >= 0 and floor(other) > floor(module)]  # fmt: skip
    assert upward == []


def test_kernels_use_numpy_and_the_compiler_alone() -> None:
    for module in modules():
        if module.startswith("qfp_kernels"):
            for name in imports(module):
                first = name.partition(".")[0]
                assert first in OF_KERNELS | {"qfp_kernels"} or first in sys.stdlib_module_names, (module, name)


def test_no_function_is_longer_than_a_page() -> None:
    long = [f"{module}.{each.name}: {each.end_lineno - each.lineno + 1} lines" for module in modules()
            for each in ast.walk(tree_of(module)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            and (each.end_lineno or 0) - each.lineno >= LINES_MOST]  # fmt: skip
    assert long == []


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
def test_every_folder_of_modules_is_a_package(root: Path) -> None:
    """So that the wheel holds it: test_packaging looks into the wheel."""
    for file in root.rglob("*.py"):
        assert (file.parent / "__init__.py").exists(), file.parent
    assert (ROOTS["qfp"] / "py.typed").exists()
