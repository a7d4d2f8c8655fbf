"""Runs that can be broken off at any moment, kill -9 included, and go on later: `--checkpoint DIR`, `--resume DIR`.

DIR holds `checkpoint.qfp` (all that router or decryptor, walk and listeners had come to, see qfp.checkpoint) and the
outputs as segments (qfp.trace.segments). A checkpoint is taken between two turns of the driver: what was made so far is
in the segments, the disk has them, and then the new checkpoint takes the old one's name. So whatever moment a run is
killed at, a whole checkpoint is there, and what the segments have beyond it is cut off. At the end the segments become
the files that were asked for, and DIR is left empty.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from qfp import checkpoint
from qfp.checkpoint import CheckpointError, Held
from qfp.cli.errors import CommandError
from qfp.cli.home import own_folder
from qfp.cli.output import note
from qfp.control.device import Device
from qfp.trace.output import special, suffixes
from qfp.trace.segments import PacketSegment, Segment, VerdictSegment
from qfp.trace.source import MappedSource, Source
from qfp_kernels.layout import OUT_PCAP, OUT_PCAPNG, ST_FLOW_HIT, ST_FLOW_MISS

EVERY = "10s"
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s)\Z")
_CHECKPOINT, _LOCK, _PACKETS, _VERDICTS = "checkpoint.qfp", "lock", "packets.segment", "verdicts.segment"
_PIECE = 1 << 20  # bytes read at a time


class Part(Protocol):
    """Something that listens to verdicts, and what it has come to is plain values."""

    def told(self) -> Any: ...

    def go_on(self, told: Any, /) -> None: ...


def span(text: str) -> float:
    """Seconds of `10s` or `500ms`. Raises CommandError."""
    found = _SPAN.match(text)
    if found is None or float(found[1]) == 0:
        raise CommandError(f"--every {text}: is no time between checkpoints: give one like 10s or 500ms")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def asked(begin: Path | None, resume: Path | None, every: str | None, trace: Path) -> "Continued | None":
    """What the options `--checkpoint`, `--resume` and `--every` ask for. Raises CommandError."""
    if begin is not None and resume is not None:
        raise CommandError("--checkpoint and --resume: give the one to begin, the other to go on")
    place = begin or resume
    if place is None:
        if every is not None:
            raise CommandError("--every: says how often checkpoints are taken: give --checkpoint or --resume as well")
        return None
    if special(trace):
        raise CommandError(f"{trace}: is no file, and cannot be read again where a run goes on: store it first")
    return Continued(place, span(every or EVERY), resume is not None)


class InputDigest:
    """The digest of as much of a trace as a run has read."""

    def __init__(self, path: Path):
        self._file: BinaryIO = path.open("rb")
        self._hash = hashlib.sha256()
        self._done = 0

    def upto(self, count: int) -> dict[str, Any]:
        """Of the first `count` bytes (-1 = all), with the size of the whole. `count` must not fall."""
        size = os.fstat(self._file.fileno()).st_size
        goal = size if count < 0 else count
        while self._done < goal and (piece := self._file.read(min(_PIECE, goal - self._done))):
            self._hash.update(piece)
            self._done += len(piece)
        return {"size": size, "bytes": self._done, "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()


class Continued:
    """One run with checkpoints in a folder. As a context manager: the folder is this run's own meanwhile, and what is
    not needed any more leaves it at the end. It is who looks at the engine's run between two turns (qfp.engine.Pauses).
    """

    def __init__(self, place: Path, every: float, resume: bool):
        self.place, self.every, self._resume = place, every, resume
        self.taken = 0
        self.from_frame: int | None = None  # where an earlier run was gone on with
        self._held: Held | None = None
        self._segments: dict[str, Segment] = {}
        self._input: InputDigest | None = None
        self._lock = -1
        self._due = 0.0

    # --- the folder

    def __enter__(self) -> "Continued":
        own_folder(self.place)
        self._take_lock()
        for left in self.place.glob(".*.tmp"):  # of a checkpoint that was being written when a run was killed
            left.unlink(missing_ok=True)
        return self

    def _take_lock(self) -> None:
        import fcntl

        self._lock = os.open(self.place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise CommandError(f"{self.place}: another run has its checkpoints there: name another folder") from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for segment in self._segments.values():
            segment.close()
        if self._input is not None:
            self._input.close()
        if kind is None:
            for name in (_CHECKPOINT, _PACKETS, _VERDICTS, _LOCK):
                (self.place / name).unlink(missing_ok=True)
        elif (self.place / _CHECKPOINT).exists():
            note(f"{self.place}: has a checkpoint of this run: the same command with --resume {self.place} goes on")
        os.close(self._lock)

    # --- outputs

    def read(self, command: Mapping[str, Any], trace: Path, kind: str) -> None:
        """Find the checkpoint to go on from. command: what must be the same then; kind: of the owner, as a word.

        Raises CheckpointError when it is one of another run; without a whole one says so, and the run begins anew.
        """
        self._command, self._kind = dict(command), f"run of a {kind}"
        self._input = InputDigest(trace)
        file = self.place / _CHECKPOINT
        if self._resume:
            self._held = self._found(file, trace)
        if self._held is None:
            file.unlink(missing_ok=True)  # of another run, whose segments begin anew now

    def _found(self, file: Path, trace: Path) -> Held | None:
        """The checkpoint, where there is a whole one."""
        try:
            held = checkpoint.loads(checkpoint.read(file), self._kind, str(file))
            sizes = held.values({}, "sizes")
            short = [name for name, size in sizes.items() if (self.place / name).stat().st_size < size]
            if short:
                raise CheckpointError(f"{self.place / short[0]}: is shorter than its checkpoint says")
        except (CheckpointError, OSError) as error:
            why = str(error) if isinstance(error, CheckpointError) else f"{file}: {error.strerror}"
            note(f"{why}: the run starts at the beginning")
            return None
        if held.values({}, "command") != self._command:
            raise CheckpointError(f"{file}: is of a run with another ingress or other outputs: give the same command")
        then = held.values({}, "input")
        assert self._input is not None
        if self._input.upto(then["bytes"]) != then:
            raise CheckpointError(f"{file}: is of a run of another trace than {trace}: give the same, or begin anew")
        return held

    def _segment(self, name: str) -> Segment:
        size = self._held.values({}, "sizes")[name] if self._held is not None else 0
        self._segments[name] = Segment(self.place / name, size)
        return self._segments[name]

    def packets(self, path: Path) -> PacketSegment:
        """What takes the packets of an output file."""
        return PacketSegment(self._segment(_PACKETS), OUT_PCAP if suffixes(path)[0] == ".pcap" else OUT_PCAPNG)

    def verdicts(self) -> VerdictSegment:
        """What takes verdicts."""
        return VerdictSegment(self._segment(_VERDICTS))

    # --- the run

    def begin(self, owner: Device, source: Source, parts: Mapping[str, Part]) -> float:
        """Bring owner, source and listeners to where the checkpoint was taken, if there is one, and look at the run
        from now on; the seconds that it had taken until then. Raises CheckpointError."""
        self._owner, self._parts, self._before = owner, parts, 0.0
        owner.engine.pauses = self
        held = self._held
        if held is not None:
            owner.go_on(held, "owner")
            source.go_to(held.values({}, "source"))
            for name, part in parts.items():
                part.go_on(held.values({}, "parts", name))
            owner.engine.go_on(held.values({}, "made"))
            first = owner.engine.workspaces[0].st
            first[ST_FLOW_HIT], first[ST_FLOW_MISS] = held.values({}, "flows")
            self._before, self.from_frame = held.values({}, "seconds"), held.values({}, "frame")
            note(f"{self.place}: goes on at frame {self.from_frame:,}")
        self._begun = time.monotonic()
        self._due = self._begun + self.every
        return float(self._before)

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() >= self._due

    def take(self, source: Source) -> None:
        """Write a checkpoint: segments first. Raises OSError, TraceError, CheckpointError."""
        owner, digest = self._owner, self._input
        assert digest is not None
        place = source.place()
        sizes = {name: segment.sync() for name, segment in self._segments.items()}
        flows = [sum(int(p.st[word]) for p in owner.engine.workspaces) for word in (ST_FLOW_HIT, ST_FLOW_MISS)]
        read = place["at"] if isinstance(source, MappedSource) else -1  # other files are not read in their order
        now = time.monotonic()
        facts = {
            "command": self._command, "input": digest.upto(read),
            "source": place, "frame": source.frame, "made": owner.engine.made, "sizes": sizes, "flows": flows,
            "seconds": self._before + now - self._begun, "parts": {name: p.told() for name, p in self._parts.items()},
            "owner": owner.facts(),
        }  # fmt: skip
        data = checkpoint.dumps(self._kind, facts, owner.tables.t, owner.kinds())
        checkpoint.write(self.place / _CHECKPOINT, data, os.replace)
        with contextlib.suppress(OSError):  # the name itself, where a folder can be synced
            handle = os.open(self.place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        self.taken += 1
        self._due = time.monotonic() + self.every

    def facts(self) -> dict[str, Any]:
        """For the JSON of a run."""
        return {"folder": str(self.place), "taken": self.taken, "resumed_at_frame": self.from_frame}
