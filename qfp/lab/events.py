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
from functools import partial
from typing import TYPE_CHECKING, Any

from qfp.config import Configuration, loads
from qfp.lab.errors import LabError
from qfp.lab.flow import NEVER
from qfp.lab.holding import Holding
from qfp.lab.model import Event
from qfp.lab.queueing import Fifo

if TYPE_CHECKING:
    from qfp.lab.run import Lab

READMIT = "readmit"
QOS = ("class_maps", "policy_maps", "access_lists", "ipv6_access_lists")


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
        config = loads(text, f"{event.router} at {event.at} ns")
        file = self._lab.spec.file
        if not config.ok:
            raise LabError(file, event.key, str(config.errors[0]), "the router would refuse it: correct the line")
        gone = [name for name in self._lab.nodes[event.router].router.interfaces.names if name not in config.interfaces]
        if gone:
            raise LabError(file, event.key, f"{gone[0]} is not in the new configuration",
                           "shut it down instead: packets may be on their way to it")  # fmt: skip
        self._lab.warnings += [f"{event.router}: {issue}" for issue in config.issues if issue.severity == "warning"]
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
            place, release, (rows, classes) = payload
            place.readmit(rows, classes, at)
            release(at)
        else:
            self._reconfigure(router, at, payload)

    def _places(self, router: str) -> Iterator[tuple[Holding, Callable[[], Any], Callable[[int], None]]]:
        """Where packets of a router wait: lines and tunnels; what makes their queues anew, and what lets go on."""
        lab = self._lab
        for here, line in lab.lines.items():
            if here[0] == router:
                yield line, partial(lab.queues, here, line.spec), partial(lab.release, here)
        for port in lab.tunnels[router].ports.values():
            yield port, partial(lab.tunnels[router].queues, port.interface), partial(lab.drain, router)

    def _switchover(self, router: str, at: int, handover: int) -> None:
        for place, fresh, release in self._places(router):
            waiting = place.change(fresh(), at)
            if len(waiting[0]):
                self._push(at + handover, router, READMIT, (place, release, waiting))

    def _reconfigure(self, router: str, at: int, config: Configuration) -> None:
        lab, node = self._lab, self._lab.nodes[router]
        old = node.router.config
        rows = node.reconfigure(config, at)
        lab.tunnels[router].follow(node.router, rows)
        same = all(getattr(old, name) == getattr(config, name) for name in QOS)
        if not same or any(_input(old, name) != _input(config, name) for name in old.interfaces):
            lab.set_inputs(router)
        for here in lab.lines:
            if here[0] == router:
                lab.set_pre_classify(here)
        changed = {name: _output(old, name) != _output(config, name) for name in old.interfaces}
        for place, fresh, release in list(self._places(router)):
            interface = next(name for name in changed if self._stands_at(place, router, name))
            if changed[interface] or (not same and _output(old, interface) is not None):
                rows, classes = place.change(fresh() or Fifo(0, 0, 0), at)
                place.readmit(rows, classes, at)
                release(at)

    def _stands_at(self, place: Holding, router: str, interface: str) -> bool:
        """Whether packets wait in a place to leave by an interface."""
        return self._lab.lines.get((router, interface)) is place or place.name == f"{router} {interface}"


def _output(config: Configuration, name: str) -> str | None:
    return config.interfaces[name].service_policy_out if name in config.interfaces else None


def _input(config: Configuration, name: str) -> str | None:
    return config.interfaces[name].service_policy_in if name in config.interfaces else None
