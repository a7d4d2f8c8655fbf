"""Calls from what is owned to its owner, without keeping the owner.

A router holds its tables, engine and timers, and they call it back. Were the callbacks ordinary bound methods, a router
that nobody uses any more would stay, with megabytes of tables, until Python's collector came by: it counts objects, not
bytes, and a program that makes many routers would hold gigabytes of them.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakMethod

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def upward(method: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """A bound method whose object is not kept by whoever holds this. Raises ReferenceError once that object is gone."""
    found = WeakMethod(method)

    def call(*given: Given.args, **named: Given.kwargs) -> Answer:
        owner = found()
        if owner is None:
            raise ReferenceError(f"{method_name} was called after its object had gone: keep the object")
        return owner(*given, **named)

    method_name = getattr(method, "__qualname__", "a method")
    return call
