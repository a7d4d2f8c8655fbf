"""The one table of commands, and the grammar compiled from it."""

from __future__ import annotations

from functools import cache

from . import acl, crypto, general_prefix, groups, interfaces, isakmp, nat, nhrp, qos, routes, system, whole_map
from .grammar import Command, Grammar

TABLE: list[Command] = [
    *system.COMMANDS,
    *interfaces.COMMANDS,
    *nhrp.COMMANDS,
    *general_prefix.COMMANDS,
    *nat.COMMANDS,
    *routes.COMMANDS,
    *acl.COMMANDS,
    *groups.COMMANDS,
    *crypto.COMMANDS,
    *whole_map.COMMANDS,
    *isakmp.COMMANDS,
    *qos.COMMANDS,
]


@cache
def grammar() -> Grammar:
    """Return the compiled grammar; the modes without commands of their own are "opaque" sections."""
    return Grammar(TABLE)
