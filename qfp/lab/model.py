"""What a lab file says, checked and in units of ns, bits a second, bytes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qfp.config import Configuration, loads
from qfp.config.platforms import platform_of
from qfp.config.read import text_of
from qfp.qos.incomplete import leave_out_undefined

QUEUE = 64  # packets that wait for a line, where the file names no limit: a hold queue of a small router
JOURNEYS, SERIES, SUMMARY = "journeys.parquet", "series.parquet", "lab.json"  # files of a lab's folder
RESERVED = (JOURNEYS, SERIES, SUMMARY)
OVERHEAD = 38  # bytes of Ethernet around a packet on the line: preamble, header, FCS, gap


@dataclass(frozen=True)
class End:
    """An interface of a router."""

    router: str
    interface: str

    def __str__(self) -> str:
        return f"{self.router} {self.interface}"


@dataclass(frozen=True)
class EngineSpec:
    """A router's crypto engine: bit/s of IP packets as they come to it, packets/s (0 = no limit of them), and packets
    that may wait for it, of best effort and of low latency (None = as qos/crypto.py says)."""

    rate: int
    packets: int = 0
    queue: int | None = None
    llq: int | None = None


@dataclass(frozen=True)
class RouterSpec:
    """A router: its configuration file, lines that are added to it, and its crypto engine (None = takes no time).
    platform, release, allow_null: see qfp.config.loads; idle_for_all: see Router.reconfigured."""

    config: Path
    add: str = ""
    engine: EngineSpec | None = None
    platform: str | None = None
    release: str | None = None
    allow_null: bool = False
    idle_for_all: bool = False

    def read(self, text: str, name: str) -> Configuration:
        """A configuration of this router; what its policies name and is not defined is left out of them.

        Raises ConfigError for a platform or release that is not known.
        """
        config = loads(text, name, self.platform, self.release, self.allow_null)
        leave_out_undefined(config)
        return config

    def text(self) -> str:
        """The configuration. A closing `end` of the file would hide what is added. Raises ConfigError."""
        return with_lines(text_of(str(self.config))[0], self.add)


@dataclass(frozen=True)
class LinkSpec:
    """A line between two interfaces; everything holds for each direction by itself.

    rate: bits a second, 0 = no serialisation time. delay, jitter: ns; a packet takes delay ± jitter, all equally
    likely, and may so overtake others. loss, duplicate, reorder: probabilities; a reordered packet is late by
    reorder_by ns. mtu: bytes of IP that fit, 0 = all do. queue: packets that may wait for the line, 0 = all.
    overhead: bytes on the line beside the IP packet.
    """

    number: int
    name: str
    ends: tuple[End, End]
    delay: int
    rate: int = 0
    jitter: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by: int = 0
    mtu: int = 0
    queue: int = QUEUE
    overhead: int = OVERHEAD
    down: tuple[tuple[int, int], ...] = ()  # [from, to) in ns

    @property
    def key(self) -> str:
        return f"links[{self.number}]"

    @property
    def least(self) -> int:
        """ns that every packet is on the way at least: how far the far end's past is safe."""
        return self.delay - self.jitter


@dataclass(frozen=True)
class Injection:
    """A trace that arrives at an interface. start: ns of lab time of its first packet; speed: 2.0 is twice as fast."""

    key: str
    trace: Path
    at: End
    start: int = 0
    speed: float = 1.0


@dataclass(frozen=True)
class Tap:
    """A capture: what arrives at (`in`) or leaves by (`out`) an interface, before the line's queue."""

    key: str
    at: End
    file: str
    direction: str = "both"


@dataclass(frozen=True)
class Event:
    """Something that happens to a router at `at` (ns), see qfp.lab.events. what: `add` (lines added to its
    configuration), `config` (another one), `clear` (`crypto sa`; value: the peer, empty = all), `switchover` (value: ns
    of the handover)."""

    key: str
    at: int
    router: str
    what: str
    value: Any

    def text(self, before: str) -> str:
        """The configuration that a router has then. Raises OSError."""
        if self.what == "add":
            return with_lines(before, self.value)
        return str(self.value.read_bytes().decode("utf-8-sig", "replace"))


def with_lines(text: str, lines: str) -> str:
    """A configuration with lines added: a closing `end` would hide them."""
    kept = text.rstrip().splitlines()
    if lines and kept and kept[-1].strip() == "end":
        kept.pop()
    return "\n".join([*kept, lines, ""])


@dataclass(frozen=True)
class LabSpec:
    """A whole lab file."""

    file: str
    seed: int
    routers: dict[str, RouterSpec]
    links: tuple[LinkSpec, ...]
    injections: tuple[Injection, ...]
    taps: tuple[Tap, ...] = ()
    interval: int = 0  # ns of time series, 0 = as series.interval_for says
    events: tuple[Event, ...] = ()  # of routers; those of links stand in `links`

    def modelled(self, platform: str | None = None, release: str | None = None, allow_null: bool = False) -> "LabSpec":
        """The lab with a device for the routers of which the file names none. Raises ConfigError."""
        platform_of(platform, release)
        found = {
            name: replace(each, platform=each.platform or platform, allow_null=allow_null,
                          release=each.release if each.platform is not None else release)
            for name, each in self.routers.items()
        }  # fmt: skip
        return replace(self, routers=found)
