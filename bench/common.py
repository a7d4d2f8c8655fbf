"""What the scripts of this folder share: options, and showing rows."""

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from qfp.bench import machine
from qfp.bench.command import FULL, QUICK, Plan, about
from qfp.bench.rows import Row, to_json, to_table

Part = Callable[[Plan, Callable[[str], None]], list[Row]]


def progress(text: str) -> None:
    """Say on stderr what is being measured."""
    print(text, file=sys.stderr)


def script(purpose: str, parts: Sequence[Part]) -> None:
    """Run parts of the bench as the command line asks, and show their rows."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    rows = [row for part in parts for row in part(plan, progress)]
    facts = machine.describe()
    if options.json:
        print(to_json(facts, rows))
    else:
        Console().print(to_table(rows, about(facts)))
