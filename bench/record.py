"""Run all benches, append one line to bench/history/, and write RESULTS.md from it.

python bench/record.py             everything, about five minutes; the machine should do nothing else
python bench/record.py --render    only write RESULTS.md anew from the newest line
"""

import argparse
import datetime
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from common import progress
from peers import scapy_rows, tshark_rows
from results import render

from qfp.bench import machine
from qfp.bench.command import FULL, QUICK, Plan, measure
from qfp.bench.rows import as_dicts

ROOT = Path(__file__).parent.parent
HISTORY = Path(__file__).parent / "history"


def commit() -> str:
    """The commit that was measured, with `+changes` when the checkout differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    name = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "qfp", "kernels")
    return name + ("+changes" if changed else "")


def record(plan: Plan) -> dict[str, Any]:
    """Measure everything: one line of the history."""
    begun = datetime.datetime.now(datetime.UTC)
    rows = measure(plan, progress)
    for part in (scapy_rows, tshark_rows):
        rows += part(plan, progress)
    facts = machine.describe()
    return {"date": f"{begun:%Y-%m-%d %H:%M} UTC", "commit": commit(), "machine": facts, "rows": as_dicts(rows)}


def history_of(facts: dict[str, Any]) -> Path:
    """The history file of a machine."""
    words = f"{facts['cpu']} {facts['features']} {facts['cores']} cores"
    return HISTORY / (re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") + ".jsonl")


def newest() -> dict[str, Any]:
    """The newest line of all histories. Raises SystemExit when there is none."""
    lines = [line for path in HISTORY.glob("*.jsonl") for line in path.read_text().splitlines()]
    if not lines:
        raise SystemExit("bench/history is empty: run bench/record.py without --render")
    return max((json.loads(line) for line in lines), key=lambda r: r["date"])


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds: to try the script, not to record")
    parser.add_argument("--output", type=Path, default=ROOT / "RESULTS.md", help="where the document goes")
    options = parser.parse_args()
    if options.quick:
        options.output.write_text(render(record(QUICK)))
        return
    if not options.render:
        line = record(FULL)
        HISTORY.mkdir(exist_ok=True)
        with history_of(line["machine"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
    options.output.write_text(render(newest()))


if __name__ == "__main__":
    main()
