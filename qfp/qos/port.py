"""Service policies where they are attached: on the way in, and on the way out of an interface."""

from __future__ import annotations

from dataclasses import dataclass

from qfp.batch import Array, Batch
from qfp.config.model import Configuration, Interface
from qfp.qos.classes import Classifier
from qfp.qos.errors import QosError
from qfp.qos.headers import LAYER2, headers_of, layer2_lengths, mark
from qfp.qos.policy import Defaults, compile_queues, flat
from qfp.qos.scheduler import Departures, Scheduler
from qfp.qos.treatment import Treated, Treatment

MEGABIT, KBIT = 1_000_000, 1000
# Bit/s of interfaces without a `bandwidth` command, by the beginning of their names.
RATES = {"Ethernet": 10, "FastEthernet": 100, "GigabitEthernet": 1000, "TwoGigabitEthernet": 2500,
         "TenGigabitEthernet": 10_000, "HundredGigE": 100_000}  # fmt: skip


@dataclass(frozen=True)
class Passed:
    """What an input policy did: class of each row, what became of it, and the batch with its marks."""

    cls: Array
    treated: Treated
    batch: Batch


class InputPolicy:
    """A `service-policy input`: classes, marks, policers; no queues. layer2: bytes of the interface's frames before
    IP, which policers count."""

    def __init__(
        self, cfg: Configuration, policy: str, rate: int, defaults: Defaults | None = None, layer2: int = LAYER2
    ):
        self.classifier = Classifier(cfg, policy)
        self.treatment = Treatment(self.classifier, rate, defaults)
        self._layer2 = layer2

    def apply(self, batch: Batch, qos_group: Array | None = None) -> Passed:
        """Classify, police and mark the frames of a batch, in order of time; rows that are policed stay in it."""
        headers = headers_of(batch)
        cls = self.classifier.classify(headers, qos_group)
        treated = self.treatment.treat(batch.ts, layer2_lengths(batch, headers, self._layer2), cls)
        return Passed(cls, treated, mark(batch, headers, treated.dscp))


class OutputPort:
    """An interface's queues with its `service-policy output`; without one a single queue, first in, first out.

    layer2: bytes of the interface's frames before IP, which everything counts that counts bytes. overhead: bytes that
    the line adds to a frame (preamble, FCS, gap).
    """

    def __init__(
        self, cfg: Configuration, policy: str | None, rate: int, defaults: Defaults | None = None, overhead: int = 0,
        layer2: int = LAYER2,
    ):  # fmt: skip
        d = defaults or Defaults()
        self._layer2 = layer2
        if policy is None:
            packets = max(d.queue_min, rate * d.queue_ms // (8000 * d.queue_packet))
            self.classifier, self.treatment = None, None
            self.scheduler = Scheduler(flat(rate, [(0, 1)], packets), overhead)
            return
        self.classifier = Classifier(cfg, policy)
        self.treatment = Treatment(self.classifier, rate, d)
        self.scheduler = Scheduler(compile_queues(cfg, policy, rate, d, self.classifier), overhead)

    def offer(
        self, batch: Batch, headers: Array | None = None, qos_group: Array | None = None, row: Array | None = None
    ) -> Batch:
        """Packets that reach the interface, in order of time (`batch.ts`); returns the batch with its marks.

        headers: header rows by which they are classified, where these are not the packets' own (`qos pre-classify`:
        those from before encryption). Marks are written into the packets themselves.
        """
        own = headers_of(batch)
        length = layer2_lengths(batch, own, self._layer2)
        if self.classifier is None or self.treatment is None:
            self.scheduler.offer(batch.ts, length, batch.ts * 0, row)
            return batch
        cls = self.classifier.classify(own if headers is None else headers, qos_group)
        treated = self.treatment.treat(batch.ts, length, cls)
        self.scheduler.offer(batch.ts, length, cls, row, treated.policed)
        return mark(batch, own, treated.dscp)

    def run(self, until: int | None = None) -> Departures:
        """See Scheduler.run."""
        return self.scheduler.run(until)


def rate_of(interface: Interface) -> int:
    """Bit/s of an interface: its `bandwidth`, else what its name says. Raises QosError where neither does."""
    if interface.bandwidth:
        return interface.bandwidth * KBIT
    kind = interface.name.rstrip("0123456789/.:")
    if kind not in RATES:
        raise QosError(f"interface {interface.name}: the rate of its link is not known, add `bandwidth KBPS`")
    return RATES[kind] * MEGABIT
