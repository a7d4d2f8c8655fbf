"""A trace on its way through a router or a decryptor into the outputs that were asked for: what run and decrypt share.

Outputs are temporary until the whole trace went through; an error, or Ctrl-C, leaves nothing under their names.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qfp.cli.errors import DAMAGED, DONE, CommandError
from qfp.cli.facts import Facts, run_facts
from qfp.cli.output import clean, complain, note
from qfp.cli.progress import Bar
from qfp.control.log import PacketLog, packet_views
from qfp.engine import NullSink
from qfp.naming import together
from qfp.result import words
from qfp.router import EMITTERS
from qfp.trace import TraceWriter, VerdictWriter, open_source
from qfp.trace.noted import Noted
from qfp.trace.output import OutputFile, special
from qfp.trace.walker import Walker
from qfp_kernels.compiletime import WATCH

STDOUT = "-"


@dataclass
class Outputs:
    """Files that were asked for; None = not."""

    packets: Path | None = None
    verdicts: Path | None = None
    log: str | None = None
    keys: dict[str, Path] = field(default_factory=dict)  # word for the summary -> file

    def named(self) -> dict[str, str]:
        """Outputs by word, as the summary names them."""
        files = {"packets": self.packets, "verdicts": self.verdicts, "log": self.log, **self.keys}
        return {word: str(path) for word, path in files.items() if path is not None}

    def check(self, inputs: Sequence[Path]) -> None:
        """Refuse an output that would replace an input or another output. Raises CommandError."""
        taken = {os.path.realpath(path): "the input" for path in inputs}
        for word, name in self.named().items():
            if name == STDOUT or special(Path(name)):
                continue
            place = os.path.realpath(name)
            if place in taken:
                raise CommandError(f"{name}: is {taken[place]} as well: choose another name for the {word}")
            taken[place] = f"the output of {word}"


@dataclass
class Session:
    """One run. `owner`: Router or Decryptor; `run`: its `run` with the ingress bound; `stages`: its FIA."""

    owner: Any
    trace: Path
    outputs: Outputs
    run: Callable[..., None]
    stages: Callable[..., Any]
    suppress_replay: bool = False
    write_keys: Callable[[], None] | None = None
    watch: Callable[[Any], None] | None = None  # another one who wants verdict columns

    def execute(self, log_to_stderr: bool) -> Facts:
        """Run everything; the facts of the summary. Raises TraceError and what `run` raises."""
        owner, outputs = self.owner, self.outputs
        names = owner.interfaces.names
        log = PacketLog(owner.tables, self.suppress_replay) if outputs.log else None
        with together(), contextlib.ExitStack() as stack:
            sink: Any = stack.enter_context(TraceWriter(outputs.packets, names)) if outputs.packets else NullSink()
            table = stack.enter_context(VerdictWriter(outputs.verdicts, words(names))) if outputs.verdicts else None
            log_file = stack.enter_context(OutputFile(outputs.log)) if log and outputs.log != STDOUT else None  # type: ignore[arg-type]
            source = stack.enter_context(open_source(self.trace))
            takers = [taker for taker in (table and table.write, log and log.add, self.watch) if taker]
            owner.engine.load(self.stages(source.walk, EMITTERS[sink.kind]))
            bar = stack.enter_context(Bar(clean(self.trace.name), source.total_bytes))
            begun, compiling = time.perf_counter(), WATCH.seconds()
            self.run(source, sink, _each(takers), bar.callback)
            seconds = time.perf_counter() - begun - (WATCH.seconds() - compiling)
            damage = source.damage(owner.tables.t)
            facts = run_facts(owner, seconds)
            noted = Noted.of(owner.tables.t.noted, source)
            if log:
                facts["log"] = {"packets": log.totals, "suppressed": log.suppressed()}
                self._write_log(log, log_file, log_to_stderr)
            if self.write_keys:
                self.write_keys()
        facts["outputs"] = outputs.named()
        facts["capture"] = capture_facts(self.trace, noted, facts)
        facts["damage"] = None
        if damage is not None:
            facts["damage"] = {"record": damage.record, "offset": damage.offset, "message": damage.message}
        return facts

    def _write_log(self, log: PacketLog, file: OutputFile | None, to_stderr: bool) -> None:
        views = {}
        if log.wanted() and not special(self.trace):  # a pipe cannot be read twice: its addresses stay unknown
            with open_source(self.trace) as again:
                views = packet_views(Walker(again), log.wanted(), self.owner.tables)
        text = "".join(line + "\n" for line in log.lines(views))
        if file is not None:
            file.write(text.encode())
        else:
            print(text, end="", file=sys.stderr if to_stderr else sys.stdout)


def capture_facts(trace: Path, noted: Noted, facts: Facts) -> Facts:
    """What the capture held besides: facts of JSON, the remarkable of them told on stderr. A router does not look into
    tunnels, so that is no fact of its run."""
    found = noted.facts()
    for sentence in noted.sentences():
        note(f"{trace}: {sentence}")
    if "not_written" in facts["balance"]["out"]:
        found["esp_or_ah"] = holds_ipsec(facts)
        if not found["esp_or_ah"]:
            note(f"{trace}: holds no ESP or AH")
    else:
        del found["not_looked_into"]
    return found


def holds_ipsec(facts: Facts) -> bool:
    """Whether a decryptor saw a packet of ESP or AH: opened, refused, or waiting for fragments."""
    refused = any(drop["stage"] != "parse" for drop in facts["drops"])
    taken = facts["balance"]["out"]
    opened = facts["verdicts"].get("forwarded", 0) or any(sa["packets"] for sa in facts["sas"])
    return bool(opened or refused or taken["merged"] or taken["fragments_waiting"] or taken["fragments_lost"])


def _each(takers: list[Any]) -> Any:
    """One callback for all who want verdict columns; None for none."""
    if len(takers) < 2:
        return takers[0] if takers else None

    def give(columns: Any) -> None:
        for taker in takers:
            taker(columns)

    return give


def finish(trace: Path, facts: Facts) -> int:
    """Exit status of a run; damage is told on stderr."""
    if facts["damage"] is None:
        return DONE
    d = facts["damage"]
    complain(clean(
        f"{trace}: damaged at record {d['record']}, byte {d['offset']}: {d['message']}; "
        "everything before it was processed"
    ), style="yellow")  # fmt: skip
    return DAMAGED
