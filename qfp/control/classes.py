"""Output policies as tables: which queue a packet of each DSCP falls into, policies within classes included.

The data plane knows a packet's queue before it gives it a sequence number, and looks at the DSCP alone for it (see
qfp_kernels.queue). Conditions on anything else match nothing here, which qfp.config.effects reports.
"""

import numpy as np

from qfp.batch import Array
from qfp.config import Configuration
from qfp.config.model import ClassMatch, ClassPolicy, PolicyMap
from qfp.qos.classes import classes_of
from qfp_kernels.layout import CLASSES_ROW

DEFAULT = "class-default"
PROTOCOL_FAMILY = {"ip": 4, "ipv6": 6}


def _condition(config: Configuration, match: ClassMatch, family: int, dscp: int) -> bool:
    """Whether one condition of a class map holds for all packets of a family and DSCP."""
    if match.family and match.family != family:
        held = False
    elif match.kind == "dscp":
        held = dscp in match.values
    elif match.kind == "precedence":
        held = dscp >> 3 in match.values
    elif match.kind == "protocol":
        held = PROTOCOL_FAMILY.get(str(match.values[0])) == family
    elif match.kind == "class-map":
        held = matches(config, str(match.values[0]), family, dscp)
    else:
        held = match.kind == "any"
    return bool(held != match.negate)


def matches(config: Configuration, name: str, family: int, dscp: int) -> bool:
    """Whether a class map takes packets of a family and DSCP."""
    found = config.class_maps.get(name)
    if found is None or not found.matches or (found.refused and not found.match_any):
        return False
    held = [_condition(config, match, family, dscp) for match in found.matches]
    return any(held) if found.match_any else all(held)


def _children(config: Configuration, each: ClassPolicy) -> PolicyMap | None:
    """The policy within a class, None without one."""
    return config.policy_maps.get(each.service_policy or "")  # none contains itself: qfp.config refuses that


def queues(config: Configuration, policy: PolicyMap) -> int:
    """How many queues a policy has, those of policies within its classes one by one."""
    children = [_children(config, each) for each in classes_of(policy)]
    return sum(queues(config, child) if child is not None else 1 for child in children)


def queue_names(config: Configuration, policy: PolicyMap) -> list[str]:
    """Names of a policy's queues by number: that of the class, behind those of the classes around it."""
    names: list[str] = []
    for each in classes_of(policy):
        child = _children(config, each)
        inner = queue_names(config, child) if child is not None else []
        names += [f"{each.name}/{name}" for name in inner] or [each.name]
    return names


def queue_of(config: Configuration, policy: PolicyMap, family: int, dscp: int) -> int:
    """Number of the queue that packets of a family and DSCP wait in, in the order of the policy's classes (and of those
    within them), which is that of `show policy-map interface`."""
    classes = classes_of(policy)
    taken = [each for each in classes if each.name != DEFAULT and matches(config, each.name, family, dscp)]
    mine = taken[0] if taken else next(each for each in classes if each.name == DEFAULT)
    first = 0
    for each in classes:
        child = _children(config, each)
        if each is mine:
            return first + (queue_of(config, child, family, dscp) if child is not None else 0)
        first += queues(config, child) if child is not None else 1
    raise AssertionError("a class of the policy")


def table(config: Configuration, policy: PolicyMap) -> Array:
    """uint8[CLASSES_ROW]: number of the queue of each family and DSCP; see `queue_of`."""
    out = np.empty(CLASSES_ROW, np.uint8)
    for half, family in enumerate((4, 6)):
        for dscp in range(64):
            out[half * 64 + dscp] = queue_of(config, policy, family, dscp)
    return out
