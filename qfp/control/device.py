"""What a router and a decryptor have in common: what explain, the command line and reports may ask of either."""

from typing import Protocol

from qfp.checkpoint import Held, Kinds, Value
from qfp.control.plane import ControlPlane
from qfp.engine import Engine
from qfp.fia import Stage
from qfp.tables.interfaces import Interfaces
from qfp.tables.sad import Sad
from qfp.tables.store import Tables


class Device(Protocol):
    """Tables, SAs, interfaces and an engine that runs packets through them. plane: the control plane; None where key
    files are all there is."""

    tables: Tables
    sad: Sad
    interfaces: Interfaces
    engine: Engine

    @property
    def KIND(self) -> str:
        """Its word in messages and checkpoints."""

    @property
    def plane(self) -> ControlPlane | None: ...

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has happened to it, and `again` makes one like it."""

    def again(self) -> "Device":
        """One as this was at first."""

    def stages(self, walk: object, emitter: object) -> tuple[Stage, ...]:
        """The FIA between a source's walk and an emitter."""

    def facts(self) -> Value: ...

    def kinds(self) -> Kinds: ...

    def go_on(self, held: Held, *path: str) -> None: ...


def plane_of(device: Device) -> ControlPlane:
    """The control plane of one that has a configuration."""
    assert device.plane is not None, "only routers have one"
    return device.plane
