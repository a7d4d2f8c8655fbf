"""The one table of commands, and the grammar compiled from it."""

from __future__ import annotations

from functools import cache

from . import acl, crypto, groups, interfaces, isakmp, qos, routes, system
from .grammar import Command, Grammar

TABLE: list[Command] = [
    *system.COMMANDS,
    *interfaces.COMMANDS,
    *routes.COMMANDS,
    *acl.COMMANDS,
    *groups.COMMANDS,
    *crypto.COMMANDS,
    *isakmp.COMMANDS,
    *qos.COMMANDS,
]


@cache
def grammar() -> Grammar:
    """Return the compiled grammar; the modes without commands of their own are "opaque" sections."""
    return Grammar(TABLE)
