"""`qfp check`: what each line of a configuration came to. Starts without the compiler."""

from pathlib import Path
from typing import Any

from qfp.cli import options as o
from qfp.cli.errors import DONE, WRONG, guarded, issue_facts
from qfp.cli.output import COLOURS, clean, console, put_json, show_issues

SCHEMA = "qfp-check/1"


@guarded
def check(
    config: o.ConfigArg,
    platform: o.Platform = None,
    release: o.Release = None,
    allow_null: o.AllowNull = False,
    json_out: o.Json = False,
) -> int:
    """Say what each line of a configuration came to, and all that is wrong with it."""
    from qfp.config import load
    from qfp.config.check import verdict_counts

    cfg = load(config, platform, release, allow_null)
    status = DONE if cfg.ok else WRONG
    if json_out:
        put_json(
            {
                "schema": SCHEMA, "status": status, "config": str(config), "ok": cfg.ok, "hostname": cfg.hostname,
                "counts": verdict_counts(cfg), "issues": [issue_facts(issue) for issue in cfg.issues],
                "lines": [
                    {"line": each.line, "text": each.text, "verdict": each.verdict, "command": each.command}
                    for each in cfg.lines
                ],
            }
        )  # fmt: skip
        return status
    _print(cfg, config)
    show_issues(cfg.issues)
    return status


def _print(cfg: Any, config: Path) -> None:
    from rich.text import Text

    from qfp.config.check import VERDICTS, verdict_counts, verdict_rows

    out, rows = console(), verdict_rows(cfg)
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
