"""The committed captures, configurations and generated pages are those that the project makes now."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from qfp.config import load
from qfp.router import Router
from qfp.trace import read_trace

TOP = Path(__file__).parent.parent
BRANCH = TOP / "traces" / "branch"


def script(path: str) -> ModuleType:
    """A script of the project, imported from its file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, TOP / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_captures_come_from_the_generator(tmp_path: Path) -> None:
    make = script("traces/make.py")
    make.main(tmp_path)
    for name in make.CAPTURES:
        made, kept = tmp_path / name, TOP / "traces" / name
        same = read_trace(made) == read_trace(kept) if name.endswith(".zst") else made.read_bytes() == kept.read_bytes()
        assert same, f"{name}: run traces/make.py"


def test_every_capture_has_a_recipe() -> None:
    found = {str(p.relative_to(TOP / "traces")) for p in (TOP / "traces").rglob("*.pcapng*")}
    assert found == set(script("traces/make.py").CAPTURES)


@pytest.mark.parametrize("page", ["drops.md", "columns.md"])
def test_generated_pages_are_current(page: str) -> None:
    made = script("docs/generate.py").PAGES[page]() + "\n"
    assert made == (TOP / "docs" / page).read_text(encoding="utf-8"), f"docs/{page}: run `make docs`"


@pytest.mark.req("BASE-1")
@pytest.mark.parametrize("name", ["branch.cfg", "hq.cfg"])
def test_sample_configurations_load_without_a_complaint(name: str) -> None:
    """Neither has anything to say but that keepalives are IKE's."""
    issues = load(BRANCH / name).issues
    assert [(each.severity, each.message) for each in issues] == [("note", "'crypto isakmp keepalive' has no effect")]
    assert Router.load(BRANCH / name).issues == issues


def voice(frame: bytes) -> bool:
    """Whether an Ethernet frame carries an IP packet marked EF."""
    if frame[12:14] == b"\x08\x00":
        return frame[15] >> 2 == 46
    return frame[12:14] == b"\x86\xdd" and (frame[14] << 8 | frame[15]) >> 6 & 63 == 46


@pytest.mark.req("BASE-3", "BASE-4", "BASE-8", "BASE-12")
def test_branch_to_head_office_and_back_out_of_the_tunnel() -> None:
    """The scenario of `make demo`: what head office delivers is what the branch's hosts sent, TTL apart."""
    office = read_trace(BRANCH / "office.pcapng")
    branch = Router.load(BRANCH / "branch.cfg").forward(office, ingress="GigabitEthernet0/0/1")
    hq = Router.load(BRANCH / "hq.cfg").forward(branch.packets, ingress="GigabitEthernet0/0/0")
    assert sum(hq.counters["verdicts"].values()) == len(branch.packets)
    assert hq.counters["verdicts"]["forwarded"] == branch.counters["verdicts"]["forwarded"] > 500
    sent = {int(f): bytes(office.frame(f))[14:] for f in branch.verdicts["frame"][branch.verdicts["n_out"] > 0]}
    for (row, before), after in zip(sent.items(), hq.packets.frames(), strict=True):
        start = 8 if before[0] >> 4 == 6 else 12  # of the addresses; what stands before, TTL and checksum, may change
        assert after[start:] == before[start : len(after)], f"frame {row}"
    assert sum(map(voice, office.frames())) > 100
    kinds = {frame[14] >> 4 for frame in office.frames() if voice(frame)}
    assert kinds == {4, 6}


def test_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "traces").symlink_to(TOP / "traces")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), space)
    assert (tmp_path / "wire.pcapng").stat().st_size > 100_000
    assert space["verdicts"].num_rows == 1000  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "traces/branch/README.md", "docs/architecture.md"])
def test_links_and_files_that_pages_name_exist(page: str) -> None:
    text = (TOP / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [link for link in links if not ((TOP / page).parent / link).exists()]
    assert missing == []
