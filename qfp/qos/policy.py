"""A policy map on a link of some rate, as the tables of its queues.

The tree of queues follows the policy map: the link's children are the classes that have a queue, and where such a
class has a `service-policy` with queues of its own, those stand below it. A class without any command that makes a
queue (priority, bandwidth, shape, queue-limit, fair-queue) is counted by itself and waits in class-default's queue, as
on IOS.

Choices, each a field of `Defaults` where it is a number:

- Shares. `bandwidth` in kbit/s or per cent is the class's weight; all queues without one share alike what the others
  and the priority classes have not taken, at least 1 % of the whole. `bandwidth remaining percent` is the same with
  nothing taken by priority. `bandwidth remaining ratio`: queues without one have ratio 1. One policy uses one of these
  (IOS refuses a mix). Weights divide what priority leaves in a proportion, whatever of the link that is.
- Priority queues of a level, wherever in the tree they stand, are served as one queue in order of arrival, and before
  everything else. They take no part in weighted sharing.
- `priority` with a rate polices the class to it while packets wait anywhere on the link; burst: 200 ms of the rate.
- Queue limits: 50 ms of 1500-byte packets but at least 64 packets, for priority queues 512 packets (Cisco, "QoS:
  Congestion Management", IOS XE 16.12, queue depth). `ms` and `us` are taken at the rate that the class sees. A queue
  that is empty takes any packet.
- Per cents, and rates that a class sees: of the nearest shaper above, else of the link.
- Shapers: a burst of 4 ms of the rate unless given. `police`: 250 ms, at least 1500 bytes; a second bucket the same.
- `fair-queue` is a plain queue: flows within a class are not told apart.
- Weights are reduced by their common divisor; where that leaves numbers too large for exact virtual time (see
  queues.py), shares are off by less than a millionth part for weights up to 1 : 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from qfp.config.model import ClassPolicy, Configuration, PolicyMap
from qfp.qos.classes import DEFAULT, Classifier, classes_of, policy_map
from qfp.qos.errors import QosError
from qfp_kernels.queues import BURST_MAX, CHILDREN_MAX, COST_MAX, LENGTH_MAX, NANO, NEVER, WEIGHTS_MAX

RATE_MAX = 10**12  # bit/s
KBIT = 1000


@dataclass(frozen=True)
class Defaults:
    """What a policy map leaves open."""

    queue_ms: int = 50
    queue_packet: int = 1500  # bytes
    queue_min: int = 64  # packets
    priority_queue: int = 512  # packets
    priority_burst_ms: int = 200
    shape_burst_ms: int = 4
    police_burst_ms: int = 250
    police_burst_min: int = 1500  # bytes
    rest_percent: int = 1  # what queues without a bandwidth have together at least


@dataclass
class Element:
    """A node of the tree: the link, an inner class, or a queue (no children). Rates in bit/s, bursts in nanobits."""

    name: str
    parent: int
    sees: int  # bit/s: what per cents below it, and its queue limit, refer to
    level: int = 0
    share: Fraction = Fraction(1)  # among its siblings
    weight: int = 1
    cost: int = 1
    rate: int = 0
    burst: int = 0
    limit: int = NEVER  # packets
    limit_bytes: int = NEVER
    cir: int = 0
    cbs: int = 0
    children: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class QueuePolicy:
    """The queues of a policy on a link: elements in the order of the kernel, and the queue of each class."""

    rate: int  # bit/s
    elements: list[Element]
    classes: list[str]
    queue_of: list[int]

    def priority(self, cls: int) -> int:
        """Priority level of a class, 0 = none."""
        return self.elements[self.queue_of[cls]].level


def compile_queues(
    cfg: Configuration, policy: str, rate: int, defaults: Defaults | None = None, classifier: Classifier | None = None
) -> QueuePolicy:
    """The queues of a policy map on a link of `rate` bit/s; classes are numbered as by `Classifier`.

    Raises QosError.
    """
    if not 0 < rate <= RATE_MAX:
        raise QosError(f"a link of {rate} bit/s: rates are 1 to {RATE_MAX}")
    classifier = classifier or Classifier(cfg, policy)
    tree = _Tree(cfg, rate, defaults or Defaults())
    tree.grow(0, policy_map(cfg, policy), ())
    classes = [leaf.name for leaf in classifier.classes]
    queue_of = [tree.queue_of(tuple(each.name for each in leaf.path)) for leaf in classifier.classes]
    return QueuePolicy(rate, tree.elements, classes, queue_of)


def flat(rate: int, levels_and_shares: Sequence[tuple[int, int]], limit: int = NEVER) -> QueuePolicy:
    """Queues that are no policy map: (priority level, share) of each, all with the same limit in packets."""
    link = Element("link", -1, rate, children=list(range(1, len(levels_and_shares) + 1)))
    queues = [
        Element(f"queue {k}", 0, rate, level, Fraction(share), limit=limit)
        for k, (level, share) in enumerate(levels_and_shares)
    ]
    weigh([each for each in queues if each.level == 0])
    names = [each.name for each in queues]
    return QueuePolicy(rate, [link, *queues], names, list(range(1, len(queues) + 1)))


def has_queues(policy: PolicyMap) -> bool:
    """Whether a policy map makes queues, or only polices and marks."""
    return any(_makes_queue(each) for each in policy.classes)


def _makes_queue(cls: ClassPolicy) -> bool:
    named = (cls.bandwidth_kbps, cls.bandwidth_percent, cls.remaining_percent, cls.remaining_ratio, cls.shape_bps,
             cls.shape_percent, cls.queue_limit)  # fmt: skip
    return cls.priority or cls.fair_queue or any(each is not None for each in named)


class _Tree:
    """Grows the tree breadth first, so that children of an element stand side by side behind it."""

    def __init__(self, cfg: Configuration, rate: int, defaults: Defaults):
        self.cfg, self.defaults = cfg, defaults
        self.elements = [Element("link", -1, rate)]
        self.at: dict[tuple[str, ...], int] = {}  # path of class names -> element

    def grow(self, top: int, policy: PolicyMap, path: tuple[str, ...]) -> None:
        todo = [(top, policy, path)]
        while todo:
            parent, policy, path = todo.pop(0)
            for cls in self._children(parent, policy, path):
                nested = self._nested(cls, policy)
                if nested is not None:
                    todo.append((self.at[(*path, cls.name)], nested, (*path, cls.name)))

    def queue_of(self, path: tuple[str, ...]) -> int:
        """The queue of a class: its own, that of class-default beside it, or that of the class around it."""
        for upto in range(len(path), 0, -1):
            for name in (path[upto - 1], DEFAULT):
                found = self.at.get((*path[: upto - 1], name))
                if found is not None and not self.elements[found].children:
                    return found
        raise AssertionError(path)

    def _children(self, parent: int, policy: PolicyMap, path: tuple[str, ...]) -> list[ClassPolicy]:
        classes = [each for each in classes_of(policy) if self._queued(each)]
        if len(classes) > CHILDREN_MAX:
            raise QosError(f"policy map '{policy.name}' has more than {CHILDREN_MAX} queues")
        made = []
        for cls in classes:
            number = self.at[(*path, cls.name)] = len(self.elements)
            self.elements[parent].children.append(number)
            element = self._element(cls, policy, parent)
            self.elements.append(element)
            made.append(element)
        _share(policy, classes, made, self.elements[parent].sees, self.defaults)
        weigh([each for each in made if each.level == 0])
        return classes

    def _queued(self, cls: ClassPolicy) -> bool:
        if cls.name == DEFAULT or _makes_queue(cls):
            return True
        return cls.service_policy is not None and has_queues(policy_map(self.cfg, cls.service_policy))

    def _nested(self, cls: ClassPolicy, policy: PolicyMap) -> PolicyMap | None:
        """The policy whose queues stand below a class, None if it has none."""
        if cls.service_policy is None or not has_queues(policy_map(self.cfg, cls.service_policy)):
            return None
        if cls.priority:
            raise QosError(
                f"policy map '{policy.name}': class '{cls.name}' has priority, so policy map '{cls.service_policy}' "
                "below it cannot have queues: leave it police and set"
            )
        return policy_map(self.cfg, cls.service_policy)

    def _element(self, cls: ClassPolicy, policy: PolicyMap, parent: int) -> Element:
        above = self.elements[parent].sees
        out = Element(cls.name, parent, above)
        shape = cls.shape_bps
        if cls.shape_percent is not None:
            shape = max(1, above * cls.shape_percent // 100)
        if shape is not None:
            if cls.priority:
                raise QosError(
                    f"policy map '{policy.name}': class '{cls.name}' has priority and cannot be shaped: use `police`"
                )
            out.rate, burst = self._shaper(cls, shape)
            out.burst = nanobits(burst)
            out.sees = min(above, out.rate)
        if cls.priority:
            self._priority(cls, out)
        self._limit(cls, out)
        return out

    def _shaper(self, cls: ClassPolicy, rate: int) -> tuple[int, int]:
        """(bit/s, bits of the bucket) of a shaper. Bc and Be of a percentage are milliseconds of the rate.

        An interval may send Be beyond Bc: what earlier ones left with `average`, every time with `peak`, whose rate is
        CIR * (1 + Be / Bc) therefore.
        """
        parts = (1000, rate) if cls.shape_percent is not None else (1, 1)
        committed, excess = (
            None if each is None else each * parts[1] // parts[0] for each in (cls.shape_burst, cls.shape_excess)
        )
        committed = committed or max(1, rate * self.defaults.shape_burst_ms // 1000)
        if cls.shape_peak:
            excess = committed if excess is None else excess
            return min(RATE_MAX, rate + rate * excess // committed), committed + excess
        return rate, committed + (excess or 0)

    def _priority(self, cls: ClassPolicy, out: Element) -> None:
        out.level = cls.priority_level
        if cls.priority_kbps is not None:
            out.cir = cls.priority_kbps * KBIT
        elif cls.priority_percent is not None:
            out.cir = max(1, out.sees * cls.priority_percent // 100)
        burst = out.cir * self.defaults.priority_burst_ms // 1000
        out.cbs = nanobits(burst if cls.priority_burst is None else 8 * cls.priority_burst)

    def _limit(self, cls: ClassPolicy, out: Element) -> None:
        d, sees = self.defaults, max(1, out.sees)
        if cls.queue_limit is None:
            packets = sees * d.queue_ms // (8000 * d.queue_packet)
            out.limit = d.priority_queue if cls.priority else max(d.queue_min, packets)
        elif cls.queue_limit_unit == "packets":
            out.limit = cls.queue_limit
        elif cls.queue_limit_unit == "bytes":
            out.limit_bytes = cls.queue_limit
        else:
            parts = 8 * (1000 if cls.queue_limit_unit == "ms" else 10**6)
            out.limit_bytes = max(1, sees * cls.queue_limit // parts)


def _share(policy: PolicyMap, classes: list[ClassPolicy], made: list[Element], sees: int, d: Defaults) -> None:
    """Shares of the queues of one policy map; see the top of the file."""
    kinds = {
        kind
        for cls in classes
        for kind in ("bandwidth_kbps", "bandwidth_percent", "remaining_percent", "remaining_ratio")
        if getattr(cls, kind) is not None
    }
    if len(kinds) > 1:
        words = " and ".join(sorted(each.replace("_", " ") for each in kinds))
        raise QosError(f"policy map '{policy.name}' mixes {words}: use one of them in all of its classes")
    kind = next(iter(kinds), "")
    given = [getattr(cls, kind) if kind else None for cls in classes]
    if kind in ("", "remaining_ratio"):
        shares = [Fraction(each or 1) for each in given]
    else:
        whole = Fraction(sees, KBIT) if kind == "bandwidth_kbps" else Fraction(100)
        taken = Fraction(sum(each or 0 for each in given))
        if kind != "remaining_percent":
            taken += sum((Fraction(each.cir, sees) * whole for each in made if each.cir), Fraction(0))
        if taken > whole:
            raise QosError(f"policy map '{policy.name}' promises {float(taken):g} of {float(whole):g}: promise less")
        without = sum(each is None and not cls.priority for each, cls in zip(given, classes, strict=True))
        rest = max(whole - taken, whole * d.rest_percent / 100) / max(1, without)
        shares = [rest if each is None else Fraction(each) for each in given]
    for element, share in zip(made, shares, strict=True):
        element.share = share


def weigh(siblings: list[Element]) -> None:
    """Whole weights, and costs inversely proportional to them, from the shares of an element's weighted children."""
    if not siblings:
        return
    shares = [each.share for each in siblings]
    scale = math.lcm(*(each.denominator for each in shares))
    numbers = [int(each * scale) for each in shares]
    divisor = math.gcd(*numbers)
    numbers = [each // divisor for each in numbers]
    common, least = math.lcm(*numbers), min(numbers)
    exact = common // least <= COST_MAX
    shrink = max(Fraction(1), Fraction(sum(numbers), WEIGHTS_MAX - len(numbers)))
    for element, number in zip(siblings, numbers, strict=True):
        element.cost = common // number if exact else max(1, round(Fraction(COST_MAX * least, number)))
        element.weight = max(1, int(number / shrink))


def nanobits(bits: int) -> int:
    """A burst as the kernels count it: at least a byte, at most BURST_MAX."""
    return max(NANO, min(bits * 10**9, BURST_MAX))


def filling(burst: int, rate: int) -> int:
    """ns in which a bucket fills, even if it is owed a packet of the greatest length."""
    return -(-(burst + LENGTH_MAX * NANO) // rate) if rate else 0
