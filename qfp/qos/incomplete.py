"""Policies that name what is not defined, made usable: what is incomplete is left out, as IOS refuses to add it."""

from __future__ import annotations

from qfp.config.model import ClassMap, ClassMatch, Configuration

DEFAULT = "class-default"


def leave_out_undefined(cfg: Configuration) -> None:
    """Take out of a configuration, in place, what its policies cannot do: classes without a class map, policies that
    are not there, and conditions on what is not there, without which a class that matches all of them matches nothing.

    The configuration has a warning for each already.
    """
    for class_map in cfg.class_maps.values():
        kept = [match for match in class_map.matches if _there(cfg, match)]
        class_map.refused |= len(kept) < len(class_map.matches)
        class_map.matches[:] = kept
    for policy in cfg.policy_maps.values():
        policy.classes[:] = [each for each in policy.classes if each.name == DEFAULT or each.name in cfg.class_maps]
        for each in policy.classes:
            if each.service_policy not in cfg.policy_maps:
                each.service_policy = None
    for interface in cfg.interfaces.values():
        if interface.service_policy_in not in cfg.policy_maps:
            interface.service_policy_in = None
        if interface.service_policy_out not in cfg.policy_maps:
            interface.service_policy_out = None


def _there(cfg: Configuration, match: ClassMatch) -> bool:
    """Whether what a condition names is defined."""
    if match.kind not in ("access-group", "class-map") or not match.values:
        return True
    name = str(match.values[0])
    maps: dict[str, ClassMap] = cfg.class_maps
    return name in maps if match.kind == "class-map" else name in cfg.access_lists or name in cfg.ipv6_access_lists
