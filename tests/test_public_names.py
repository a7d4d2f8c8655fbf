"""The public names of the package: what they are in every order of imports, and what a type checker sees of them."""

import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import qfp

PACKAGE = Path(qfp.__file__).parent
LAZY = sorted(set(qfp.__all__) - {"__version__"})


def python(program: str) -> str:
    """What a program prints, in a process that has imported nothing of qfp."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "before",
    [
        "import qfp.decrypt",
        "from qfp.decrypt import Decryptor",
        "from qfp.decrypt import decrypt",
        "import importlib; importlib.import_module('qfp.decrypt')",
        "import qfp; qfp.Decryptor",
        "import qfp; qfp.decrypt; import qfp.decrypt",
        "import qfp.bench.paths",
        "import qfp.cli.decrypt",
        "import qfp.mtu.sweep",
        "from qfp import *",
        "import qfp, importlib, qfp.decrypt; importlib.reload(qfp.sa)",
        "import qfp, importlib, qfp.decrypt; importlib.reload(qfp)",
    ],
)
def test_decrypt_is_the_function_whatever_was_imported_before(before: str) -> None:
    said = python(f"""
        {before}
        import sys, types, qfp
        from qfp import decrypt
        assert isinstance(qfp.decrypt, types.FunctionType) and decrypt is qfp.decrypt
        assert qfp.decrypt is sys.modules["qfp.decrypt"].decrypt
        assert qfp.Decryptor is sys.modules["qfp.decrypt"].Decryptor
        from qfp.decrypt import Decryptor  # the module is found under its own name as ever
        print(Decryptor.__name__)
    """)
    assert said == "Decryptor"


def test_any_public_name_may_be_that_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module of the package that there is: were a function of its name public, importing it would not hide it."""
    names = [path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"]
    assert {"decrypt", "lab", "mtu", "diff", "bench", "explain"} <= set(names)
    for name in names:
        monkeypatch.setitem(qfp._PLACES, name, f"qfp.{name}")
        monkeypatch.setitem(vars(qfp), name, len)
        setattr(qfp, name, types.ModuleType(f"qfp.{name}"))
        assert getattr(qfp, name) is len, name


def test_a_module_without_a_public_namesake_is_an_attribute() -> None:
    import qfp.trace.keyfile

    assert isinstance(qfp.trace, types.ModuleType) and isinstance(qfp.trace.keyfile, types.ModuleType)


def test_whichever_name_is_asked_for_first_all_are_the_same_kind() -> None:
    said = python("""
        import sys, qfp
        seen, names = set(), [n for n in qfp.__all__ if n != "__version__"]
        for k in range(len(names)):
            for module in [m for m in sys.modules if m == "qfp" or m.startswith("qfp.")]:
                del sys.modules[module]
            import qfp
            for name in names[k:] + names[:k]:
                value = getattr(qfp, name)
                seen.add((name, type(value).__name__, value.__module__))
        for row in sorted(seen):
            print(*row)
    """).splitlines()
    assert [row.split()[0] for row in said] == sorted(LAZY)  # one kind and one home each
    assert not [row for row in said if row.split()[1] == "module"]


def test_threads_that_ask_first_get_the_same_object() -> None:
    said = python("""
        import threading, qfp
        names, found, start = [n for n in qfp.__all__] * 6, [], threading.Barrier(6 * len(qfp.__all__))
        def look(name):
            start.wait()
            found.append((name, getattr(qfp, name)))
        threads = [threading.Thread(target=look, args=(name,)) for name in names]
        for t in threads: t.start()
        for t in threads: t.join()
        assert len(found) == len(names)
        print(len(set((name, id(value)) for name, value in found)) == len(qfp.__all__), type(qfp.decrypt).__name__)
    """)
    assert said == "True function"


def test_star_and_dir_name_what_is_public() -> None:
    space: dict[str, object] = {}
    exec("from qfp import *", space)
    assert set(qfp.__all__) == set(space) - {"__builtins__"}
    assert [name for name in dir(qfp) if not name.startswith("__")] == LAZY
    assert set(qfp._PLACES) == set(LAZY)
    assert isinstance(space["decrypt"], types.FunctionType)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'decript'"):
        _ = qfp.decript  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="decript"):
        exec("from qfp import decript", {})
