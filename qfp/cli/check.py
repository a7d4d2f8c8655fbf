"""`qfp check`: what each line of configurations came to. Starts without the compiler.

Status: the worst of all files. 0 = no errors (with --strict no warnings either), 2 = errors, or a file that cannot be
read; the other files are checked all the same.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from qfp.cli import options as o
from qfp.cli.errors import DONE, WRONG, CommandError, guarded, issue_facts, problem_facts
from qfp.cli.output import COLOURS, clean, console, note, put_json, show_issues

SCHEMA = "qfp-check/1"


class Format(StrEnum):
    """What is printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


@dataclass
class Checked:
    """One file: its configuration, or the error for which there is none. issues: all that is to be said of it."""

    path: Path
    cfg: Any
    issues: list[Any]
    error: Exception | None = None

    def status(self, strict: bool) -> int:
        """Exit status of this file alone."""
        bad = ("error", "warning") if strict else ("error",)
        return WRONG if any(issue.severity in bad for issue in self.issues) else DONE


@guarded
def check(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="IOS-style configurations.")],
    problems: Annotated[bool, typer.Option("--problems", help="Only lines that something is wrong with.")] = False,
    form: Annotated[
        Format, typer.Option("--format", help="github: annotations of a workflow; sarif: SARIF 2.1.0.")
    ] = Format.TEXT,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    strict: o.Strict = False,
    json_out: o.Json = False,
) -> int:
    """Say what each line of configurations came to, and all that is wrong with it."""
    if json_out and form not in (Format.TEXT, Format.JSON):
        raise CommandError(f"--json and --format {form.value}: give one of them")
    form = Format.JSON if json_out else form
    checked = [_checked(path, platform, release, allow_null) for path in configs]
    if len(checked) == 1 and checked[0].error is not None and form in (Format.TEXT, Format.JSON):
        return _unreadable(checked[0].error, form)
    status = max(each.status(strict) for each in checked)
    if form is Format.JSON:
        files = [_facts(each, each.status(strict), problems) for each in checked]
        put_json(files[0] if len(files) == 1 else {"schema": SCHEMA, "status": status, "files": files})
    elif form is Format.TEXT:
        for each in checked:
            _show(each, problems)
    else:
        _put_reports(form, checked)
    return status


def _checked(path: Path, platform: str | None, release: str | None, allow_null: bool) -> Checked:
    """Read and check one file. Raises ConfigError for a platform or release that is not known."""
    from qfp.config import ConfigError, Issue, load
    from qfp.config.platforms import platform_of

    platform_of(platform, release)
    try:
        cfg = load(path, platform, release, allow_null)
    except ConfigError as error:
        told = str(error).removeprefix(f"{path}: ")
        return Checked(path, None, [Issue("error", str(path), 0, 0, told, rule="unreadable")], error)
    return Checked(path, cfg, cfg.issues)


def _unreadable(error: Exception, form: Format) -> int:
    """The only file cannot be read: an error of the command, as any other command has it."""
    from qfp.cli.errors import report

    report(error, WRONG, form is Format.JSON)
    return WRONG


# ------------------------------------------------------------------------------------------------------- JSON
def _facts(checked: Checked, status: int, only_problems: bool) -> dict[str, Any]:
    """One file as JSON; without a configuration its `error` says why."""
    from qfp.config.check import verdict_counts

    cfg = checked.cfg
    told: dict[str, Any] = {"schema": SCHEMA, "status": status, "config": str(checked.path), "ok": False}
    issues = {
        "issues": [issue_facts(issue) for issue in checked.issues], "problems": problem_facts(checked.issues),
    }  # fmt: skip
    if cfg is None:
        return {**told, "error": clean(str(checked.error)), **issues, "lines": []}
    return {
        **told, "ok": cfg.ok, "hostname": cfg.hostname, "counts": verdict_counts(cfg), **issues,
        "held": {"interfaces": cfg.held.interfaces,
                 "prefixes": [{"vrf": vrf, "prefix": str(prefix)} for vrf, prefix in cfg.held.prefixes]},
        "lines": [
            {"line": each.line, "text": each.text, "verdict": each.verdict, "command": each.command}
            for each in cfg.lines
            if not only_problems or each.verdict in ("warning", "error")
        ],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- text
def _show(checked: Checked, only_problems: bool) -> None:
    if checked.error is not None:
        note(str(checked.error))
        return
    _print(checked.cfg, checked.path, only_problems)
    issues = checked.issues
    show_issues([issue for issue in issues if issue.severity != "note"] if only_problems else issues)


def _print(cfg: Any, config: Path, only_problems: bool) -> None:
    from rich.text import Text

    from qfp.config.check import VERDICTS, verdict_counts, verdict_rows

    out, rows = console(), verdict_rows(cfg)
    if only_problems:
        rows = [each for each in rows if each.verdict in ("warning", "error")]
    if out.color_system is None:  # rich takes 65 us a line, for no colour
        out.file.writelines(f"{each.line:>5} {each.verdict:<8}{clean(each.text.rstrip())}\n" for each in rows)
    else:
        for each in rows:
            line = Text(f"{each.line:>5} ", style="dim")
            line.append(f"{each.verdict:<8}", style=COLOURS[each.verdict])
            line.append(clean(each.text.rstrip()), style="default")
            out.print(line, soft_wrap=True)
    counts = verdict_counts(cfg)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    out.print(Text(clean(f"{config}: {told}"), style="bold"), soft_wrap=True)


# ---------------------------------------------------------------------------------------------------- for CI
def _put_reports(form: Format, checked: list[Checked]) -> None:
    """Annotations or SARIF on stdout, nothing else."""
    import sys

    from qfp.cli.reports import github, sarif

    issues = [issue for each in checked for issue in each.issues]
    if form is Format.SARIF:
        put_json(sarif(issues))
        return
    for issue in issues:
        sys.stdout.write(github(issue) + "\n")
    sys.stdout.flush()
