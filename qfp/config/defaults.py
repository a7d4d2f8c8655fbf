"""Defaults of the model's fields: what the `no` form of a command goes back to."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, cast


def default_of(section: Any, attribute: str) -> Any:
    """Return the default of a dataclass field."""
    default, factory = _default(cast(Hashable, type(section)), attribute)
    return default if factory is MISSING else factory()


@cache
def _default(kind: Any, attribute: str) -> tuple[Any, Any]:
    for each in fields(kind):
        if each.name == attribute:
            return each.default, each.default_factory
    raise AttributeError(attribute)
