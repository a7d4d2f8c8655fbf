"""`qfp bench`: the plan of what is measured, and how it is shown."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from qfp.bench import fragments, labs, lookups, machine, paths, peers, queues, rows, scale, windows
from qfp.bench.child import start_rows, threads_in_child
from qfp.bench.files import capture_cases, copy_case, decrypt_cases, run_case, workspace
from qfp.bench.rows import Row
from qfp.bench.runner import interleaved
from qfp.bench.site import CBC, GCM
from qfp.bench.track import BenchError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured. Rounds of cases, packets of files, and which of the slow parts."""

    rounds: int
    slow_rounds: int  # of cases that take a tenth of a second and more
    transforms: tuple[str, ...]
    packets: int  # in a file
    many: int  # SAs of the large set
    sizes: tuple[int, ...]  # of openssl speed
    long: bool  # also sources larger than 64 MB, all sizes by stage, kernels not cached


QUICK = Plan(7, 2, (GCM, CBC), 200_000, 10_000, (64, 1420), False)
FULL = Plan(25, 5, paths.ALL_TRANSFORMS, 1_000_000, scale.MANY, (64, 256, 512, 1024, 1420, 8192), True)


def quiet(_: str) -> None:
    """Say nothing."""


def path_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """Whole paths of every transform; then over a long source."""
    with machine.pinned():
        say("whole paths")
        directions = paths.DIRECTIONS if plan.long else paths.DIRECTIONS[:2]
        cases = list(paths.path_cases(transforms=plan.transforms, directions=directions))
        out = interleaved([*cases, *paths.engine_cases()], plan.rounds)
        if plan.long:
            say("whole paths, long source")
            out += interleaved(list(paths.long_cases()), plan.slow_rounds * 2)
    return out


def stage_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """Every stage, an idle one, look-ups, the replay check, fragments, the windows of `qfp replay-lab`."""
    with machine.pinned():
        say("stages and look-ups")
        sizes: tuple[int | str, ...] = (64, "imix", 1420) if plan.long else (64,)
        cases = list(paths.stage_cases(sizes))
        cases += [*lookups.spd_cases(), lookups.route_case(), lookups.idle_case(), *lookups.replay_cases()]
        cases += [*lookups.fib_cases(), *fragments.fragment_cases(), fragments.flood_case(), *windows.window_cases()]
        cases += queues.queue_cases()
        return interleaved(cases, plan.rounds) + lookups.fib_rows(rounds=plan.slow_rounds)


def scale_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """Many SAs against sixteen; set-up and memory."""
    with machine.pinned():
        say(f"{plan.many:,} SAs")
        cases = list(scale.scale_cases(plan.many, scale.SAMPLE_PACKETS if plan.long else 1 << 16))
        return interleaved(cases, plan.slow_rounds) + scale.setup_rows(plan.many, 3 if plan.long else 1)


def file_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """File to file, and start-up."""
    with workspace() as folder:
        say("file to file")
        with machine.pinned():
            cases = [*decrypt_cases(folder, plan.packets), run_case(folder, plan.packets)]
            cases += [*capture_cases(folder, plan.packets // 4), copy_case()]
            cases.append(windows.column_case(folder / "wire-64.pcapng", plan.packets, 64))
            for case in cases:
                case.sample()  # pages that the machine never touched write at a fraction of the speed
            out = interleaved(cases, plan.slow_rounds)
        say("start-up")
        return out + start_rows(folder, plan.slow_rounds, cold=plan.long)


def thread_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """Two threads against one, where there are two cores."""
    if machine.describe()["cores"] < 2:
        return []
    say("threads")
    return threads_in_child(2, plan.rounds if plan.long else 5, plan.packets // 4)


def lab_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """A lab of two routers, one thread and two."""
    with workspace() as folder:
        say("lab")
        cases = list(labs.lab_cases(folder, plan.packets // 4))
        for case in cases:
            case.sample()
        return interleaved(cases, plan.slow_rounds)


def peer_rows(plan: Plan, say: Say = quiet) -> list[Row]:
    """Libraries that do the crypto work one call a packet."""
    with machine.pinned():
        say("peers")
        return interleaved(list(peers.library_cases()), plan.rounds)


PARTS: tuple[Callable[[Plan, Say], list[Row]], ...] = (
    path_rows, stage_rows, thread_rows, scale_rows, peer_rows, file_rows, lab_rows,
)  # fmt: skip


def measure(plan: Plan, say: Say = quiet) -> list[Row]:
    """Everything of a plan. Raises BenchError when something that was timed did not do its work.

    `openssl speed` runs after every part of a full plan: the machine is judged by all of the time that it was used.
    """
    out: list[Row] = []
    openssl = list(peers.openssl_cases(plan.sizes))
    for number, part in enumerate(PARTS):
        out += part(plan, say)
        if plan.long or number == 0:
            with machine.pinned():
                interleaved(openssl, 1)
    return out + [row for case in openssl for row in case.rows()]


def about(facts: dict[str, Any]) -> str:
    """One line on the machine."""
    return f"{facts['cpu']}, {facts['features']}, {facts['cores']} cores, numba {facts['versions']['numba']}"


def run_bench(quick: bool, json_out: bool) -> int:
    """Measure and print: a table, or one JSON object. Exit status 0, or 1 when a check of what was timed failed."""
    facts = machine.describe()
    console = Console(stderr=True)
    begun = time.perf_counter()
    say: Say = quiet if json_out else lambda text: console.print(f"{time.perf_counter() - begun:5.1f} s  {text}")
    try:
        measured = measure(QUICK if quick else FULL, say)
    except BenchError as error:
        console.print(f"qfp bench: {error}", markup=False)
        return 1
    if json_out:
        sys.stdout.write(rows.to_json(facts, measured) + "\n")
    else:
        Console().print(rows.to_table(measured, about(facts)))
    return 0
