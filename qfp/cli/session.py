"""A trace on its way through a router or a decryptor into the outputs that were asked for: what run and decrypt share.

Outputs are temporary until the whole trace went through; an error, or Ctrl-C, leaves nothing under their names.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qfp.cli.continued import Continued
from qfp.cli.errors import DAMAGED, DONE, CommandError
from qfp.cli.facts import Facts, run_facts
from qfp.cli.home import VERDICTS
from qfp.cli.output import clean, complain, note
from qfp.cli.progress import Bar
from qfp.control.device import Device
from qfp.control.log import PacketLog, packet_views
from qfp.control.other_sets import OtherSets
from qfp.engine import NullSink
from qfp.naming import together
from qfp.result import words
from qfp.router import EMITTERS
from qfp.trace import TraceWriter, VerdictWriter, open_source
from qfp.trace.noted import Noted
from qfp.trace.output import OutputFile, special, suffixes
from qfp.trace.segments import VerdictSegment
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
    home: Path | None = None  # a folder that has verdicts too (qfp.cli.home)

    def named(self) -> dict[str, str]:
        """Outputs by word, as the summary names them."""
        files = {"packets": self.packets, "verdicts": self.verdicts, "log": self.log, **self.keys, "home": self.home}
        return {word: str(path) for word, path in files.items() if path is not None}

    @property
    def tables(self) -> list[Path]:
        """Files of verdicts."""
        return [path for path in (self.verdicts, self.home and self.home / VERDICTS) if path]

    def results(self) -> dict[str, str]:
        """Files by word, those in a home included, for its manifest."""
        held = {} if self.home is None else {"saved_verdicts": str(self.home / VERDICTS)}
        return {**{word: name for word, name in self.named().items() if word != "home"}, **held}

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

    owner: Device
    trace: Path
    outputs: Outputs
    run: Callable[..., None]
    stages: Callable[..., Any]
    suppress_replay: bool = False
    write_keys: Callable[[], None] | None = None
    watch: OtherSets | None = None  # another one who wants verdict columns
    ingress: str = ""
    continued: Continued | None = None
    _segment: VerdictSegment | None = None

    def execute(self, log_to_stderr: bool) -> Facts:
        """Run everything; the facts of the summary. Raises TraceError, CheckpointError and what `run` raises."""
        log = PacketLog(self.owner.tables, self.suppress_replay) if self.outputs.log else None
        with self.continued or contextlib.nullcontext(), together(), contextlib.ExitStack() as stack:
            sink, table = self._takers(stack)
            log_file = stack.enter_context(OutputFile(self.outputs.log)) if log and self.outputs.log != STDOUT else None  # type: ignore[arg-type]
            source = stack.enter_context(open_source(self.trace))
            seconds = self._run(stack, source, sink, table, log)
            damage = source.damage(self.owner.tables.t)
            facts = run_facts(self.owner, seconds)
            noted = Noted.of(self.owner.tables.t.noted, source)
            if self.continued:
                self._join(sink)
                facts["checkpoints"] = self.continued.facts()
            if log:
                facts["log"] = {"packets": log.totals, "suppressed": log.suppressed()}
                self._write_log(log, log_file, log_to_stderr)
            if self.write_keys:
                self.write_keys()
        facts["outputs"] = self.outputs.named()
        facts["capture"] = capture_facts(self.trace, noted, facts)
        facts["damage"] = None
        if damage is not None:
            facts["damage"] = {"record": damage.record, "offset": damage.offset, "message": damage.message}
        return facts

    def _takers(self, stack: contextlib.ExitStack) -> tuple[Any, Any]:
        """What takes packets, and what takes verdicts (None = nobody): the files themselves, or their segments."""
        outputs, names = self.outputs, self.owner.interfaces.names
        if self.continued is None:
            sink: Any = stack.enter_context(TraceWriter(outputs.packets, names)) if outputs.packets else NullSink()
            tables = [stack.enter_context(VerdictWriter(path, words(names))) for path in outputs.tables]
            return sink, _each([table.write for table in tables])
        for writer in self._writers(trial=True):  # what cannot be written is said now, not at the end
            writer.abort()
        command = {"ingress": self.ingress, "packets": outputs.packets and suffixes(outputs.packets)[0] == ".pcap",
                   "verdicts": bool(outputs.tables), "log": outputs.log is not None}  # fmt: skip
        self.continued.read(command, self.trace, self.owner.KIND)
        sink = self.continued.packets(outputs.packets) if outputs.packets else NullSink()
        self._segment = self.continued.verdicts() if outputs.tables else None
        return sink, self._segment and self._segment.write

    def _writers(self, trial: bool = False) -> Iterator[Any]:
        """Writers of the packets and the verdicts that were asked for; trial: but those of pipes and devices, which
        would take even a header for good."""
        names, packets = self.owner.interfaces.names, self.outputs.packets
        if packets and not (trial and special(packets)):
            yield TraceWriter(packets, names)
        for path in self.outputs.tables:
            if not (trial and special(path)):
                yield VerdictWriter(path, words(names))

    def _join(self, sink: Any) -> None:
        """Segments become the files that were asked for."""
        parts = [*([sink] if self.outputs.packets else []), *[self._segment] * len(self.outputs.tables)]
        for part, writer in zip(parts, self._writers(), strict=True):
            with writer:
                part.join(writer)

    def _run(self, stack: contextlib.ExitStack, source: Any, sink: Any, table: Any, log: PacketLog | None) -> float:
        """The trace goes through; the seconds that it took, without those in which kernels were compiled."""
        owner, before = self.owner, 0.0
        watches = [each for each in (log, self.watch) if each]
        takers = [*([table] if table else []), *(each.add for each in watches)]
        owner.engine.load(self.stages(source.walk, EMITTERS[sink.kind]))
        bar = stack.enter_context(Bar(clean(self.trace.name), source.total_bytes))
        begun, compiling = time.perf_counter(), WATCH.seconds()
        if self.continued:
            parts = {"log": log, "sets": self.watch}
            before = self.continued.begin(owner, source, {name: part for name, part in parts.items() if part})
        self.run(source, sink, _each(takers), bar.callback)
        return before + time.perf_counter() - begun - (WATCH.seconds() - compiling)

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
