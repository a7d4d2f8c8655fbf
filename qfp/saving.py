"""What routers and decryptors have in common: they can be saved, restored, pickled, and gone on with."""

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from qfp import checkpoint
from qfp.checkpoint import CheckpointError, Held, Kinds


class Saving(ABC):
    """Base of what a checkpoint holds. KIND: its word for it.

    Its facts are plain values, objects that `kinds` tells, and what the control plane has come to; its tables lie
    beside them (see qfp.checkpoint).
    """

    KIND: ClassVar[str]
    tables: Any
    engine: Any

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that it has come to (see qfp.checkpoint), for `restore`. The file holds keys.

        Raises OSError, CheckpointError for one whose run was broken off, or whose configuration is no text.
        """
        checkpoint.write(path, self._dumped())

    @classmethod
    def restore(cls, path: str | os.PathLike[str]) -> Self:
        """What was saved, as it was then. Raises OSError, CheckpointError."""
        return cls._loaded(checkpoint.read(path), str(path))

    def facts(self) -> Any:
        """All but its tables, for `go_on`. Raises CheckpointError."""
        if self.engine.failed:
            raise CheckpointError("a run was broken off, and the tables are unfinished: make a new one to run again")
        return self._facts()

    @abstractmethod
    def _facts(self) -> Any: ...

    @abstractmethod
    def kinds(self) -> Kinds:
        """How the objects among its facts are told."""

    @classmethod
    @abstractmethod
    def made(cls, held: Held) -> Self:
        """A new one, of the configuration and the options that were told."""

    def go_on(self, held: Held, *path: str) -> None:
        """Let this one, just made, go on from there; its facts stand under `path`. Raises CheckpointError where it was
        made of other things, `threads` and `batch` apart."""
        self._differs(held, *path)
        self._put(held, *path)

    @abstractmethod
    def _differs(self, held: Held, *path: str) -> None: ...

    @abstractmethod
    def _put(self, held: Held, *path: str) -> None: ...

    def __reduce__(self) -> Any:
        """Pickled as it is saved: keys are in it."""
        return type(self)._loaded, (self._dumped(),)

    def _dumped(self) -> bytes:
        return checkpoint.dumps(self.KIND, self.facts(), self.tables.t, self.kinds())

    @classmethod
    def _loaded(cls, data: bytes, name: str = "checkpoint") -> Self:
        held = checkpoint.loads(data, cls.KIND, name)
        made = cls.made(held)
        made._put(held)
        return made


SPEED = ("threads", "batch")  # options on which no result depends


def same(name: str, what: str, now: Any, then: Any) -> None:
    """Raises CheckpointError where two sets of options, or what else a thing is made of, differ."""
    left, right = ({k: v for k, v in each.items() if k not in SPEED} for each in (now, then))
    differ = [key for key in left if left[key] != right.get(key)]
    if differ:
        raise CheckpointError(
            f"{name}: was begun with another {what} ({', '.join(differ)}): give the same, or begin anew"
        )
