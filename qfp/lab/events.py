"""What happens to routers while a lab runs: another configuration, `clear crypto sa`, a switchover.

Events come before all packets of their ns. Everything that was to happen before has happened in every router and line.

*Another configuration*: the router goes on with its sessions (qfp.control.takeover). Where it changes the output policy
of an interface, packets that wait keep their class by name; those of a class that is gone are put behind what waits in
class-default, and so are, from then on, packets that would have been theirs (guide chapter 2).

*Switchover* to the second of a redundant pair of forwarding processors (ESP): SAs and numbers are the same in both, but
what waits in the queues of the one that goes is sent on by the other only after the handover, behind what has come
since. So it matters only where packets wait: where more is sent than the line takes.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qfp.config import Configuration
from qfp.config.effects import LAB_DOES
from qfp.lab.errors import LabError
from qfp.lab.flow import NEVER, Array
from qfp.lab.holding import Holding
from qfp.lab.model import Event
from qfp.lab.queueing import Fifo

if TYPE_CHECKING:
    from qfp.lab.run import Lab

READMIT = "readmit"
QOS = ("class_maps", "policy_maps", "access_lists", "ipv6_access_lists")


@dataclass(frozen=True)
class Place:
    """Where packets wait to leave by an interface. fresh: makes its queues as they are configured now, None where
    nothing asks for any; release: lets go on what has left before a time."""

    interface: str
    holding: Holding
    fresh: Callable[[], Any]
    release: Callable[[int], None]

    def change(self, at: int) -> tuple[Array, list[str]]:
        """Its queues anew from `at` on; what waited in the old ones: see Holding.change."""
        return self.holding.change(self.fresh() or Fifo(0, 0, 0), at)


class Events:
    """The events of a lab in order of time. Configurations are read here, so that a bad one is refused at the start.

    Raises LabError.
    """

    def __init__(self, lab: "Lab", events: tuple[Event, ...]):
        self._lab = lab
        self._heap: list[tuple[int, int, str, str, Any]] = []
        self._count = 0
        texts = {name: spec.text() for name, spec in lab.spec.routers.items()}
        for event in sorted(events, key=lambda each: each.at):  # in the order of the file at one time
            payload: Any = event.value
            if event.what in ("add", "config"):
                texts[event.router] = event.text(texts[event.router])
                payload = self._read(event, texts[event.router])
            self._push(event.at, event.router, event.what, payload)

    def _push(self, at: int, router: str, what: str, payload: Any) -> None:
        heapq.heappush(self._heap, (at, self._count, router, what, payload))
        self._count += 1

    def _read(self, event: Event, text: str) -> Configuration:
        """The configuration of an event; it must have every interface that there was."""
        config = self._lab.spec.routers[event.router].read(text, f"{event.router} at {event.at} ns")
        file = self._lab.spec.file
        if self._lab.strict and not config.ok:
            raise LabError(file, event.key, str(config.errors[0]), "the router would refuse it: correct the line")
        gone = [name for name in self._lab.nodes[event.router].router.interfaces.names if name not in config.interfaces]
        if gone:
            raise LabError(file, event.key, f"{gone[0]} is not in the new configuration",
                           "shut it down instead: packets may be on their way to it")  # fmt: skip
        self._lab.problems += [(event.router, issue) for issue in config.problems]
        self._lab.warnings += [f"{event.router}: {issue}" for issue in config.issues
                               if issue.severity != "note" and issue.hint != LAB_DOES]  # fmt: skip
        return config

    @property
    def next(self) -> int:
        """ns of the next event."""
        return self._heap[0][0] if self._heap else NEVER

    def apply(self) -> None:
        """Let the next event happen."""
        at, _, router, what, payload = heapq.heappop(self._heap)
        if what == "clear":
            self._lab.nodes[router].router.clear(at, payload)
        elif what == "switchover":
            self._switchover(router, at, payload)
        elif what == READMIT:
            place, (rows, classes) = payload
            place.holding.readmit(rows, classes, at)
            place.release(at)
        else:
            self._reconfigure(router, at, payload)

    def _places(self, router: str) -> Iterator[Place]:
        """Where packets of a router wait: before lines, and in tunnels."""
        lab = self._lab
        for here, line in lab.lines.items():
            if here[0] == router:
                yield Place(here[1], line, partial(lab.queues, here, line.spec), partial(lab.release, here))
        tunnels = lab.tunnels[router]
        for port in tunnels.ports.values():
            yield Place(port.interface, port, partial(tunnels.queues, port.interface), partial(lab.drain, router))

    def _switchover(self, router: str, at: int, handover: int) -> None:
        for place in self._places(router):
            waiting = place.change(at)
            if len(waiting[0]):
                self._push(at + handover, router, READMIT, (place, waiting))

    def _reconfigure(self, router: str, at: int, config: Configuration) -> None:
        lab, node = self._lab, self._lab.nodes[router]
        old = node.router.config
        rows = node.reconfigure(config, at, lab.spec.routers[router].idle_for_all)
        lab.tunnels[router].follow(node.router, rows)
        same = all(getattr(old, name) == getattr(config, name) for name in QOS)
        if not same or any(_input(old, name) != _input(config, name) for name in old.interfaces):
            lab.set_inputs(router)
        for here in lab.lines:
            if here[0] == router:
                lab.set_pre_classify(here)
        for place in self._places(router):
            before, after = (_output(each, place.interface) for each in (old, config))
            if before != after or (not same and before is not None):
                rows, classes = place.change(at)
                place.holding.readmit(rows, classes, at)
                place.release(at)


def _output(config: Configuration, name: str) -> str | None:
    return config.interfaces[name].service_policy_out if name in config.interfaces else None


def _input(config: Configuration, name: str) -> str | None:
    return config.interfaces[name].service_policy_in if name in config.interfaces else None
