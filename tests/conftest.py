"""Requirement ids: `@pytest.mark.req("AR-3")` says which rows of the catalogue a test proves.

`pytest --req-report` prints which ids are proven (every test that cites them passed), which have a failing or a
skipped test, and which no test cites. An id is as well proven as its tests are complete: the report counts, it does not
judge. The ids come from the catalogue beside the project where it is there, else from the tests.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("qfp", deadline=None)  # no test is timed: the first example may compile, machines are shared
settings.load_profile("qfp")
pytest.register_assert_rewrite("path_help")

CATALOGUE = Path(__file__).parents[2] / "shared" / "SPEC.md"
ROW = re.compile(r"^\| ([A-Z]+-\d+) \|", re.MULTILINE)
CITED: dict[str, set[str]] = defaultdict(set)  # id -> tests
OUTCOME: dict[str, str] = {}  # test -> worst outcome of its phases
WORST = ("passed", "skipped", "failed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--req-report", action="store_true", help="print which requirement ids are proven")
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too (minutes)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; runs with --slow only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow"))
        for marker in item.iter_markers("req"):
            for name in marker.args:
                if not isinstance(name, str) or not re.fullmatch(r"[A-Z]+-\d+", name):
                    raise pytest.UsageError(f"{item.nodeid}: {name!r} is not a requirement id (write AR-3)")
                CITED[name].add(item.nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    before = OUTCOME.get(report.nodeid, "passed")
    OUTCOME[report.nodeid] = max(before, report.outcome, key=WORST.index)


def catalogue_ids() -> list[str]:
    """Ids in the catalogue's order; without the catalogue those that tests cite."""
    if CATALOGUE.exists():
        return ROW.findall(CATALOGUE.read_text(encoding="utf-8"))
    return sorted(CITED, key=lambda name: (name.split("-")[0], int(name.split("-")[1])))


def state_of(name: str) -> str:
    """proven, failed, skipped (in part), not run, or no test."""
    outcomes = {OUTCOME.get(test, "not run") for test in CITED.get(name, ())}
    if not outcomes:
        return "no test"
    for bad in ("failed", "not run", "skipped"):
        if bad in outcomes:
            return bad
    return "proven"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--req-report"):
        return
    names = catalogue_ids()
    states = {name: state_of(name) for name in names}
    terminalreporter.section("requirements")
    for state in ("proven", "skipped", "failed", "not run", "no test"):
        group = [name for name in names if states[name] == state]
        if group:
            terminalreporter.write_line(f"{state} ({len(group)}): {' '.join(group)}")
    unknown = sorted(set(CITED) - set(names))
    if unknown:
        terminalreporter.write_line(f"cited but not in the catalogue ({len(unknown)}): {' '.join(unknown)}")
    proven = sum(s == "proven" for s in states.values())
    terminalreporter.write_line(f"{proven} of {len(names)} proven")
