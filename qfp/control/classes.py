"""Output policies as tables: which class, and so which queue, a packet of each DSCP falls into.

The data plane knows a packet's queue before it gives it a sequence number, and looks at the DSCP alone for it (see
qfp_kernels.queue). Conditions on anything else match nothing here, which is reported.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.config import Configuration
from qfp_kernels.layout import CLASSES_ROW

Array = npt.NDArray[Any]
DEFAULT = "class-default"
BY_DSCP = ("dscp", "precedence", "any", "class-map", "protocol")
PROTOCOL_FAMILY = {"ip": 4, "ipv6": 6}


def _condition(config: Configuration, match: Any, family: int, dscp: int) -> bool:
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
    if found is None or not found.matches:
        return False
    held = [_condition(config, match, family, dscp) for match in found.matches]
    return any(held) if found.match_any else all(held)


def table(config: Configuration, policy: Any) -> Array:
    """uint8[CLASSES_ROW]: number of the class, in the policy's order, of each family and DSCP; what no class takes has
    the number of class-default, which comes last where the policy does not name it."""
    names = [each.name for each in policy.classes]
    rest = names.index(DEFAULT) if DEFAULT in names else len(names)
    out = np.full(CLASSES_ROW, rest, np.uint8)
    for half, family in enumerate((4, 6)):
        for dscp in range(64):
            hit = next((k for k, n in enumerate(names) if n != DEFAULT and matches(config, n, family, dscp)), rest)
            out[half * 64 + dscp] = hit
    return out


def unseen(config: Configuration, policy: Any, warn: Callable[[int, str, str], None]) -> None:
    """Report classes whose packets the DSCP alone does not tell."""
    for each in policy.classes:
        found = config.class_maps.get(each.name)
        kinds = {match.kind for match in found.matches if match.kind not in BY_DSCP} if found else set()
        if kinds:
            warn(0, f"class {each.name} of policy {policy.name} looks at {', '.join(sorted(kinds))}",
                 "its packets share the sequence-number space of class-default: spaces go by DSCP")  # fmt: skip
