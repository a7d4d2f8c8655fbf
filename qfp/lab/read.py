"""A lab file (TOML) to a LabSpec. Everything that is wrong is refused with file, key and remedy."""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from qfp.coerce import SHOWN_MAX, TextFileError, measure, path_fault, read_text_file, shown
from qfp.config import ConfigError
from qfp.config.platforms import platform_of
from qfp.lab.errors import LabError
from qfp.lab.model import (
    OVERHEAD,
    QUEUE,
    RESERVED,
    End,
    EngineSpec,
    Event,
    Injection,
    LabSpec,
    LinkSpec,
    RouterSpec,
    Tap,
)
from qfp.qos.crypto import least_of
from qfp.qos.policy import RATE_MAX
from qfp.trace.errors import TraceError
from qfp.trace.output import suffixes
from qfp_kernels.queues import BURST_MAX

TIMES = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
RATES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
DIRECTIONS = ("in", "out", "both")
TIME_MAX = 10**6 * 10**9  # ns, eleven days: far from the ends of int64


PACKET_BITS = 8 * (65535 + 256)  # of the largest packet with the largest overhead
WAIT_MAX = 1 << 55  # ns that a packet may wait for a line, about a year: sums over many hops stay within int64
TEXT_MAX = 1 << 24  # bytes of a lab file: tens of thousands of routers
KEY_PARTS = 64  # of a dotted key; tomllib takes time with their square
_PART = r"""(?:(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?:{_PART}[ \t]*+\.[ \t]*+){{{KEY_PARTS},}}")


class Section:
    """A table of the file, whose keys are taken one by one."""

    def __init__(self, file: str, key: str, values: Any):
        self.file, self.key = file, key
        if not isinstance(values, dict):
            self.fail("", "is no table", f"write [{key}] or [[{key}]] with keys below it")
        self._left: dict[str, Any] = dict(values)
        self._known: list[str] = []

    def fail(self, name: str, message: str, remedy: str) -> NoReturn:
        raise LabError(self.file, f"{self.key}.{name}" if name else self.key, message, remedy)

    def take(self, name: str, default: Any = None) -> Any:
        self._known.append(name)
        return self._left.pop(name, default)

    def has(self, name: str) -> bool:
        """Whether a key that is known is there."""
        self._known.append(name)
        return name in self._left

    def text(self, name: str, default: str | None = None) -> str:
        value = self.take(name, default)
        if value is None:
            self.fail(name, "is missing", f'add {name} = "..."')
        if not isinstance(value, str) or not value:
            self.fail(name, f"{shown(value)} is no text", "write it in quotes")
        return str(value)

    def path(self, name: str, folder: Path) -> Path:
        """A file that is there; relative paths start from `folder`."""
        text = self.text(name)
        if fault := path_fault(text):
            self.fail(name, f"{shown(text)} {fault}", "name a file")
        path = folder / text
        if not path.is_file():
            self.fail(name, f"{path} is no file", "paths start from the lab file's folder")
        return path

    def number(self, name: str, default: float, low: float, high: float) -> Any:
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, type(default) | int) or not low <= value <= high:
            self.fail(name, f"{shown(value)} is out of range", f"give a number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """A switch, off unless it is there."""
        value = self.take(name, False)
        if not isinstance(value, bool):
            self.fail(name, f"{shown(value)} is neither", "give true or false")
        return bool(value)

    def quantity(
        self, name: str, units: dict[str, int], example: str, default: Any = None, high: int = TIME_MAX
    ) -> int:
        """A number with a unit ("5 ms", "10M"); whole numbers are taken in the base unit."""
        value = self.take(name, default)
        if value is None:
            self.fail(name, "is missing", f'add {name} = "{example}"')
        found = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str | float):  # inf, nan and 1e300 are none
            found = measure(str(value), units)
        if found is None or found < 0:
            self.fail(name, f"{shown(value)} is no such quantity", f'write it like "{example}"')
        if found > high:
            self.fail(name, f"{shown(value)} is too large", f"at most {high} in the smallest unit")
        return found

    def time(self, name: str, default: Any = None) -> int:
        return self.quantity(name, TIMES, "5 ms", default)

    def tables(self, name: str, needed: bool = False) -> list["Section"]:
        values = self.take(name, [])
        if not isinstance(values, list):
            self.fail(name, "is no list of tables", f"write [[{name}]] with two brackets")
        if needed and not values:
            self.fail(name, "there is none", f"add [[{name}]]")
        return [Section(self.file, f"{name}[{k}]", each) for k, each in enumerate(values)]

    def only(self, *known: str) -> None:
        """Refuse other keys than these."""
        for name in self._left:
            if name not in known:
                near = difflib.get_close_matches(name[:SHOWN_MAX], known, 1)
                self.fail(shown_key(name), "is not a key of a lab file here",
                          f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")  # fmt: skip

    def done(self) -> None:
        """Refuse what nobody asked for."""
        self.only(*self._known)


def shown_key(name: str) -> str:
    """A key as messages name it."""
    return name if len(name) <= SHOWN_MAX else name[: SHOWN_MAX - 3] + "..."


def load(path: str | Path) -> LabSpec:
    """Read a lab file; paths in it start from its folder. Raises LabError, OSError."""
    return parse(_text(Path(path)), str(path), Path(path).parent)


def parse(text: str, file: str, folder: Path) -> LabSpec:
    """A lab file's text. Raises LabError, OSError."""
    top = Section(file, "lab", _toml(text, file))
    top.only("seed", "interval", "routers", "links", "inject", "capture", "events")
    seed, interval = top.number("seed", 1, 0, 2**63 - 1), top.time("interval", 0)
    routers = _routers(top, folder)
    links = [_link(each, k, routers) for k, each in enumerate(top.tables("links"))]
    links, events = _events(top, links, routers, folder)
    injections = [_injection(each, routers, folder) for each in top.tables("inject", needed=True)]
    taps = [_tap(each, routers) for each in top.tables("capture")]
    _distinct(top, links, taps)
    return LabSpec(file, seed, routers, tuple(links), tuple(injections), tuple(taps), interval, events)


def _text(path: Path) -> str:
    try:
        return read_text_file(path, TEXT_MAX)
    except TextFileError as e:
        raise LabError(str(path), "file", str(e), "give a TOML file, saved as UTF-8") from None


def _toml(text: str, file: str) -> dict[str, Any]:
    if (long := _LONG_KEY.search(text)) is not None:
        line = text.count("\n", 0, long.start()) + 1
        raise LabError(file, f"line {line}", f"a key of more than {KEY_PARTS} parts", "write tables")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise LabError(file, "syntax", "lists or tables are nested too deep", "a lab file needs three levels") from None
    except ValueError as e:  # of tomllib, and of `int` for thousands of digits
        raise LabError(file, "syntax", str(e)[:200], "see toml.io for how TOML is written") from None


def _routers(top: Section, folder: Path) -> dict[str, RouterSpec]:
    found = Section(top.file, "routers", top.take("routers", {}))
    if not found._left:
        top.fail("routers", "there is none", 'add [routers.NAME] with config = "FILE"')
    routers = {}
    for name in list(found._left):
        each = Section(top.file, f"routers.{shown_key(name)}", found.take(name))
        if not name or not name.isprintable() or name.split() != [name]:
            each.fail("", f"{shown(name)} is no name of a router", "use a word without blanks: [routers.NAME]")
        config, add = each.path("config", folder), each.text("add", "!")
        engine = each.take("engine")
        platform, release = (each.text(word) if each.has(word) else None for word in ("platform", "release"))
        _device(each, platform, release)
        idle_for_all = each.flag("idle_for_all")
        each.done()
        section = Section(top.file, f"routers.{name}.engine", engine) if engine is not None else None
        spent = _engine(section, folder) if section is not None else None
        routers[name] = RouterSpec(config, add, spent, platform, release, idle_for_all=idle_for_all)
    return routers


def _device(section: Section, platform: str | None, release: str | None) -> None:
    """Refuse a platform or release that is not known, or a release alone."""
    try:
        platform_of(platform, release)
    except ConfigError as error:
        section.fail("release" if platform is None else "platform", str(error), "as --platform and --release take them")


def there_are(names: Iterable[str]) -> str:
    """Which names there are, as a remedy; of many the first."""
    some = [shown_key(name) for name in names]
    return f"there are: {', '.join(some[:16]) or 'none'}{', …' if len(some) > 16 else ''}"


def _engine(section: Section, folder: Path) -> EngineSpec:
    """A crypto engine; what a platform file says holds where the section says nothing itself."""
    kept: dict[str, Any] = {}
    if section.has("platform"):
        path = section.path("platform", folder)
        kept = _capacity(Section(str(path), "platform", _toml(_text(path), str(path))))
    kept |= _capacity(section)
    if "rate" not in kept:
        section.fail("rate", "is missing", 'add rate = "1 G", or a platform file that has it')
    spec = EngineSpec(**kept)
    if least_of(spec.rate, spec.packets) > BURST_MAX:
        section.fail("packets", f"{spec.packets} packets/s are too few for {spec.rate} bit/s",
                     f"give at least {-(-spec.rate * 10**9 // BURST_MAX)}")  # fmt: skip
    return spec


def _capacity(section: Section) -> dict[str, Any]:
    """What a section says of an engine."""
    out: dict[str, Any] = {}
    for name, example, low, high in (("rate", "1 G", 1, RATE_MAX), ("packets", "500 k", 1, RATE_MAX)):
        if section.has(name):
            out[name] = section.quantity(name, RATES, example, high=high)
            if out[name] < low:
                section.fail(name, "is nothing", f"give at least {low}, or leave the engine out")
    for name in ("queue", "llq"):
        if section.has(name):
            out[name] = section.number(name, 1, 1, 2**20)
    section.done()
    return out


def _end(section: Section, name: str, value: Any, routers: dict[str, RouterSpec]) -> End:
    parts = value.split(None, 1) if isinstance(value, str) else []
    if len(parts) != 2:
        section.fail(name, f"{shown(value)} is no interface", 'write "ROUTER INTERFACE"')
    if parts[0] not in routers:
        section.fail(name, f"there is no router {shown(parts[0])}", there_are(routers))
    return End(parts[0], parts[1])


def _link(section: Section, number: int, routers: dict[str, RouterSpec]) -> LinkSpec:
    ends = section.take("ends")
    if not isinstance(ends, list) or len(ends) != 2:
        section.fail("ends", f"{shown(ends)} are not two interfaces", 'write ends = ["A gi0/0/0", "B gi0/0/0"]')
    a, b = (_end(section, "ends", each, routers) for each in ends)
    link = LinkSpec(
        number, section.text("name", f"{a.router}-{b.router}"), (a, b), section.time("delay"),
        section.quantity("rate", RATES, "10 M", 0), section.time("jitter", 0),
        float(section.number("loss", 0.0, 0, 1)), float(section.number("duplicate", 0.0, 0, 1)),
        float(section.number("reorder", 0.0, 0, 1)), section.time("reorder_by", 0),
        section.number("mtu", 0, 0, 65535), section.number("queue", QUEUE, 0, 2**20),
        section.number("overhead", OVERHEAD, 0, 256),
    )  # fmt: skip
    section.done()
    if link.least <= 0:
        section.fail("delay", "a packet may take no time at all, and two routers could answer each other without end",
                     "give a delay above the jitter, if only 1 us")  # fmt: skip
    if link.rate and (link.queue + 1) * PACKET_BITS * 10**9 > WAIT_MAX * link.rate:
        slowest = -(-(link.queue + 1) * PACKET_BITS * 10**9 // WAIT_MAX)
        section.fail("queue", f"{link.queue} packets would wait for more than a year at {link.rate} bit/s",
                     f"give a shorter queue, or a rate of at least {slowest}")  # fmt: skip
    if link.reorder > 0 and link.reorder_by == 0:
        section.fail("reorder", "reordered packets are late by nothing", 'add reorder_by = "2 ms"')
    return link


def _router_event(section: Section, routers: dict[str, RouterSpec], folder: Path) -> Event:
    router, at = section.text("router"), section.time("at")
    if router not in routers:
        section.fail("router", f"there is no router {shown(router)}", there_are(routers))
    found = [name for name in ("add", "config", "clear", "switchover") if section.has(name)]
    if len(found) != 1:
        section.fail("", f"says {' and '.join(found) or 'nothing'} of router {router}",
                     "give one of add, config, clear, switchover")  # fmt: skip
    what = found[0]
    read: dict[str, Any] = {"switchover": section.time, "config": lambda name: section.path(name, folder)}
    value = read.get(what, section.text)(what)
    section.done()
    if what == "clear":
        match = re.fullmatch(r"(?:clear\s+)?crypto\s+sa(?:\s+peer\s+(\S+))?", value.strip())
        if match is None:
            section.fail("clear", f"{shown(value)} is not known", 'write "crypto sa" or "crypto sa peer ADDRESS"')
        value = match[1] or ""
    return Event(section.key, at, router, what, value)


def _events(
    top: Section, links: list[LinkSpec], routers: dict[str, RouterSpec], folder: Path
) -> tuple[list[LinkSpec], tuple[Event, ...]]:
    """Links with the times at which events take them down; events of routers."""
    states: dict[str, list[tuple[int, str]]] = {}
    events: list[Event] = []
    for each in top.tables("events"):
        if each.has("router"):
            events.append(_router_event(each, routers, folder))
            continue
        name, at, state = each.text("link"), each.time("at"), each.text("state")
        if name not in [link.name for link in links]:
            each.fail("link", f"there is no link {shown(name)}", there_are([x.name for x in links]))
        if state not in ("up", "down"):
            each.fail("state", f"{shown(state)} is no state", 'write "up" or "down"')
        each.done()
        states.setdefault(name, []).append((at, state))
    out = []
    for link in links:
        down, since = [], None
        for at, state in sorted(states.get(link.name, [])):
            if state == "down" and since is None:
                since = at
            elif state == "up" and since is not None:
                down.append((since, at))
                since = None
        if since is not None:
            down.append((since, 2**62))
        out.append(replace(link, down=tuple(down)))
    return out, tuple(events)


def _injection(section: Section, routers: dict[str, RouterSpec], folder: Path) -> Injection:
    trace, at = section.path("trace", folder), _end(section, "at", section.take("at"), routers)
    start, speed = section.time("start", 0), float(section.number("speed", 1.0, 1e-6, 1e6))
    section.done()
    return Injection(section.key, trace, at, start, speed)


def _tap(section: Section, routers: dict[str, RouterSpec]) -> Tap:
    at, file = _end(section, "at", section.take("at"), routers), section.text("file")
    direction = section.text("direction", "both")
    if direction not in DIRECTIONS:
        section.fail("direction", f"{shown(direction)} is none", f"one of {', '.join(DIRECTIONS)}")
    fault = path_fault(file) or ("is no plain file name" if Path(file).name != file or file == ".." else "")
    if fault:
        section.fail("file", f"{shown(file)} {fault}", "captures go to the folder of -o")
    if file in RESERVED:
        section.fail("file", f"{file} is written by the lab itself", "choose another name")
    try:
        suffixes(file)
    except TraceError as e:
        section.fail("file", str(e), "change the suffix")
    section.done()
    return Tap(section.key, at, file, direction)


def _distinct(top: Section, links: list[LinkSpec], taps: list[Tap]) -> None:
    for what, names in (("links", [x.name for x in links]), ("capture", [x.file for x in taps])):
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            top.fail(what, f"{shown(twice[0])} is named twice", "give each a name of its own")
