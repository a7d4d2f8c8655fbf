"""Columns: many arrays that a kernel receives as ONE pointer, to a table of base addresses.

`p.seq[i]` reads like an array access and compiles to a load. A NamedTuple of 40 arrays was measured beside it:
7 us a call and 800 ns a packet (reference counting) against 0.9 us and 24 ns. A column of a structured dtype gives
references: `t.sa_out[s].next_seq += U64_1` is one load, one add, one store.

There are no bounds checks, unless QFP_BOUNDS=1 is set when this module is imported: then every index is compared with
the column's length and a violation traps (the guard tests run such a build in a process of its own).
"""

import functools
import hashlib
import operator
import os
from typing import Any, NoReturn

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin, lower_getattr_generic, lower_setattr_generic
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import NativeValue, intrinsic, models, register_model, unbox
from numba.np.numpy_support import from_dtype

BOUNDS = os.environ.get("QFP_BOUNDS") == "1"
I64 = ir.IntType(64)
PTR = ir.PointerType()


def _digest(fields: tuple) -> str:
    """Types are equal by name; a digest keeps the names of compiled functions short."""
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:10]


class TableType(types.Type):
    """Numba type of a Columns object: its field names and element types are part of the type.

    fixed: byte offsets of fields that lie at a known distance behind the table of addresses itself; these need no
    load of a base address (see Block).
    """

    def __init__(self, name: str, fields: tuple, fixed: tuple = ()):
        self.fields = fields
        self.fixed = dict(fixed)
        self.index = {k: i for i, (k, _) in enumerate(fields)}
        super().__init__(f"Columns<{name}:{_digest((fields, fixed))}>")


class ColumnType(types.Type):
    """`p.seq`: a base address with an element type (or a struct), and the column's number for bounds checks."""

    def __init__(self, element: types.Type):
        self.element = element
        super().__init__(f"Column<{element}>")


class StructType(types.Type):
    """`t.sa[s]`: the address of one row of a structured column."""

    def __init__(self, fields: tuple, size: int):
        self.fields = fields  # (name, numba type or None for a nested array, byte offset)
        self.size = size
        self.where = {f[0]: f for f in fields}
        super().__init__(f"Struct<{size}:{_digest(fields)}>")


def _int_model(cls: type) -> None:
    @register_model(cls)
    class Model(models.PrimitiveModel):
        def __init__(self, dmm: Any, fe_type: Any):
            super().__init__(dmm, fe_type, I64)


for _cls in (TableType, StructType):
    _int_model(_cls)


@register_model(ColumnType)
class ColumnModel(models.StructModel):
    """Base address and length (the length is dead code, and optimised away, without QFP_BOUNDS)."""

    def __init__(self, dmm: Any, fe_type: Any):
        super().__init__(dmm, fe_type, [("base", types.int64), ("size", types.int64)])


@functools.cache
def element_type(dtype: np.dtype) -> types.Type:
    """Numba element type of a column's dtype; structured dtypes become StructType."""
    if dtype.names is None:
        return from_dtype(dtype)
    fields = []
    for name in dtype.names:
        sub, offset = dtype.fields[name][:2]
        fields.append((name, None if sub.subdtype else from_dtype(sub), offset))
    return StructType(tuple(fields), dtype.itemsize)


def table_type(name: str, dtypes: dict[str, Any], fixed: dict[str, int] | None = None) -> TableType:
    """The numba type of Columns with these fields, without having the arrays (signatures are built from it)."""
    return _table_type(name, tuple((k, np.dtype(v)) for k, v in dtypes.items()), tuple((fixed or {}).items()))


@functools.cache
def _table_type(name: str, dtypes: tuple[tuple[str, np.dtype], ...], fixed: tuple[tuple[str, int], ...]) -> TableType:
    return TableType(name, tuple((k, element_type(dtype)) for k, dtype in dtypes), fixed)


class Columns:
    """Arrays under names. `columns.seq` is the numpy array in Python; kernels see the base address.

    Arrays must be C-contiguous and must not be replaced one by one: use `rebind` (it rewrites the address).
    """

    def __init__(self, name: str, arrays: dict[str, np.ndarray]):
        for key, array in arrays.items():
            if not array.flags.c_contiguous:
                raise ValueError(f"column {key} is not contiguous")
        self._names = list(arrays)
        self._index = {name: k for k, name in enumerate(arrays)}
        self._arrays = dict(arrays)
        self._table = np.zeros(2 * len(arrays), np.int64)  # addresses, then lengths
        for key in arrays:
            self._bind(key)
        self._addr = self._table.ctypes.data
        self._numba_type_ = table_type(name, {k: a.dtype for k, a in arrays.items()})

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raises TypeError: a copy would point at memory that is not its own."""
        raise TypeError("columns of qfp cannot be pickled or copied: they hold addresses of memory")

    def _bind(self, key: str) -> None:
        k, array = self._index[key], self._arrays[key]
        self._table[k] = array.ctypes.data
        self._table[len(self._names) + k] = array.size

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["_arrays"][name]
        except KeyError:
            raise AttributeError(name) from None

    def rebind(self, name: str, array: np.ndarray) -> None:
        """Replace one array (same dtype), e.g. when a table grew. No kernel may be running."""
        if array.dtype != self._arrays[name].dtype or not array.flags.c_contiguous:
            raise ValueError(f"column {name}: dtype or layout differs")
        self._arrays[name] = array
        self._bind(name)

    @property
    def address(self) -> int:
        """Address of the table of addresses (what a stage called by address receives)."""
        return self._addr

    def names(self) -> list[str]:
        return list(self._names)


class Block(Columns):
    """Columns of which most lie in one block of memory, at offsets that kernels know when they are compiled.

    The block begins with the table of addresses. `p.seq[i]` is then one access relative to the block, without a load of
    the column's base; GAP bytes lie between columns (the guard tests fill them). Columns of another size than a row's,
    such as the arena, are reached by their addresses as in Columns.
    """

    def __init__(self, name: str, arrays: dict[str, np.ndarray], block: np.ndarray, fixed: dict[str, int]):
        for key, offset in fixed.items():
            if arrays[key].ctypes.data != block.ctypes.data + offset:
                raise ValueError(f"column {key} does not lie where kernels expect it")
        super().__init__(name, arrays)
        self.block = block
        self.fixed = dict(fixed)
        words = block[: self._table.nbytes].view(np.int64)
        words[:] = self._table
        self._table = words
        self._addr = words.ctypes.data
        self._numba_type_ = table_type(name, {k: a.dtype for k, a in arrays.items()}, fixed)

    def rebind(self, name: str, array: np.ndarray) -> None:
        """As Columns.rebind, for what does not lie in the block."""
        if name in self.fixed:
            raise ValueError(f"column {name} lies in the block and cannot be moved")
        super().rebind(name, array)


@unbox(TableType)
def _unbox_table(typ: Any, obj: Any, c: Any) -> NativeValue:
    a = c.pyapi.object_getattr_string(obj, "_addr")
    p = c.pyapi.long_as_voidptr(a)
    c.pyapi.decref(a)
    return NativeValue(c.builder.ptrtoint(p, I64))


@infer_getattr
class _TableAttr(AttributeTemplate):
    key = TableType

    def generic_resolve(self, table: TableType, attr: str) -> types.Type | None:
        for k, element in table.fields:
            if k == attr:
                return ColumnType(element)
        return None


@lower_getattr_generic(TableType)
def _table_getattr(context: Any, builder: Any, typ: Any, val: Any, attr: str) -> Any:
    base = builder.inttoptr(val, PTR)

    def word(k: int) -> Any:
        at = builder.gep(base, [ir.Constant(I64, k)], source_etype=I64)
        v = builder.load(at, typ=I64)
        v.set_metadata("invariant.load", builder.module.add_metadata([]))
        return v

    k = typ.index[attr]
    column = cgutils.create_struct_proxy(ColumnType(typ.fields[k][1]))(context, builder)
    column.base = builder.add(val, ir.Constant(I64, typ.fixed[attr])) if attr in typ.fixed else word(k)
    column.size = word(len(typ.fields) + k) if BOUNDS else ir.Constant(I64, 0)
    return column._getvalue()


@infer_global(operator.getitem)
class _ColumnGet(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        c, i = args
        if isinstance(c, ColumnType) and isinstance(i, types.Integer):
            return signature(c.element, c, types.intp)
        return None


@infer_global(operator.setitem)
class _ColumnSet(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        c, i, _v = args
        if isinstance(c, ColumnType) and isinstance(i, types.Integer):
            return signature(types.none, c, types.intp, c.element)
        return None


def _at(context: Any, builder: Any, ctype: ColumnType, value: Any, i: Any) -> Any:
    column = cgutils.create_struct_proxy(ctype)(context, builder, value)
    if BOUNDS:
        with builder.if_then(builder.icmp_unsigned(">=", i, column.size), likely=False):
            trap = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.trap")
            builder.call(trap, [])
    if isinstance(ctype.element, StructType):
        return builder.add(column.base, builder.mul(i, ir.Constant(I64, ctype.element.size)))
    t = context.data_model_manager[ctype.element].get_data_type()
    return builder.gep(builder.inttoptr(column.base, PTR), [i], source_etype=t, inbounds=True)


@lower_builtin(operator.getitem, ColumnType, types.Integer)
def _column_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    element = sig.args[0].element
    q = _at(context, builder, sig.args[0], *args)
    if isinstance(element, StructType):
        return q
    model = context.data_model_manager[element]
    return model.from_data(builder, builder.load(q, typ=model.get_data_type()))


@lower_builtin(operator.setitem, ColumnType, types.Integer, types.Any)
def _column_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    q = _at(context, builder, sig.args[0], args[0], args[1])
    builder.store(context.data_model_manager[sig.args[0].element].as_data(builder, args[2]), q)
    return context.get_dummy_value()


@infer_getattr
class _StructAttr(AttributeTemplate):
    key = StructType

    def generic_resolve(self, struct: StructType, attr: str) -> types.Type | None:
        field = struct.where.get(attr)
        if field is None:
            return None
        return types.int64 if field[1] is None else field[1]  # a nested array reads as its address


@lower_getattr_generic(StructType)
def _struct_getattr(context: Any, builder: Any, typ: Any, val: Any, attr: str) -> Any:
    _, t, offset = typ.where[attr]
    at = builder.add(val, ir.Constant(I64, offset))
    if t is None:
        return at
    model = context.data_model_manager[t]
    return model.from_data(builder, builder.load(builder.inttoptr(at, PTR), typ=model.get_data_type(), align=1))


@lower_setattr_generic(StructType)
def _struct_setattr(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    typ, t = sig.args
    _, _, offset = typ.where[attr]
    at = builder.inttoptr(builder.add(args[0], ir.Constant(I64, offset)), PTR)
    builder.store(context.data_model_manager[t].as_data(builder, args[1]), at, align=1)  # rows are packed


@intrinsic
def base(typingctx: Any, column: Any) -> Any:
    """Address of element 0 of a column, or of a struct row, for vector loads and stores."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(sig.args[0], StructType):
            return args[0]
        return cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).base

    if isinstance(column, ColumnType | StructType):
        return types.int64(column), codegen
    return None
