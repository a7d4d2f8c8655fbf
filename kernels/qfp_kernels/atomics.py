"""Atomic 64-bit words, by address: what the threads of the driver share."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

I64 = ir.IntType(64)
PTR = I64.as_pointer()  # atomics want to know what they point at


@intrinsic
def load_acquire(typingctx: Any, at: Any) -> Any:
    """64-bit load that later loads and stores do not overtake."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], PTR), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store_release(typingctx: Any, at: Any, value: Any) -> Any:
    """64-bit store that earlier loads and stores do not overtake."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], PTR), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fetch_add(typingctx: Any, at: Any, value: Any) -> Any:
    """Atomic add; returns the value before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(args[0], PTR), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def fetch_umin(typingctx: Any, at: Any, value: Any) -> Any:
    """Atomic unsigned minimum (-1 counts as the largest); returns the value before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("umin", builder.inttoptr(args[0], PTR), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen
