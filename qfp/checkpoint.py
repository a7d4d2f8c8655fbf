"""Checkpoints: all that a router or a decryptor has come to, as a file, and an object that goes on from there.

    router.save("branch.qfp")
    router = qfp.Router.restore("branch.qfp")

A router is made again from its configuration and its options; what packets, timers and the control plane have changed
since comes out of the file: the tables that layout.py declares as state or counters, those in which the control plane
answers packets (SAs), and of each object of the control plane the attributes that its class names in SAVED. Tables that
follow from the configuration alone are not kept, but compared.

The file is a plain .npz without pickled objects. It holds keys: its owner alone may read it, and one that others may
write, or another user owns, is refused. A digest finds damage; one that somebody forged is as good as a program of his,
so do not take one from strangers. Another release, whose tables have other columns, does not read it.
"""

import hashlib
import io
import json
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.naming import give_name
from qfp.tables import state
from qfp.version import __version__
from qfp_kernels.layout import CONFIG, COUNTER, STATE, TABLE_KINDS, TABLE_TYPES, aligned

Array = npt.NDArray[Any]
Value = Any  # what a checkpoint holds: plain values, arrays, addresses, and objects that Kinds tell
SCHEMA = "qfp-checkpoint/1"
# Tables of configuration in which the control plane answers packets: SAs come and go while a router runs.
ANSWERED = ("ctx", "keys", "sad", "sad_out", "awaited", "sel_of", "sel")
PLAIN = (bool, int, float, str, type(None))


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read: names the file and what to do."""


# --- values


@dataclass(frozen=True)
class Kind:
    """How objects of a class are told: `plain` makes values of one, `made` the object of these."""

    of: type
    plain: Callable[[Any], Any]
    made: Callable[[Any], Any]

    @classmethod
    def by_fields(cls, of: type) -> "Kind":
        """A dataclass, by the fields that its constructor takes."""
        return cls(of, lambda value: {f.name: getattr(value, f.name) for f in fields(value) if f.init},
                   lambda told: of(**told))  # fmt: skip


Kinds = Mapping[str, Kind]  # by name


class Packer:
    """Values as JSON, arrays beside it."""

    def __init__(self, kinds: Kinds, arrays: list[Array]):
        self._kinds, self.arrays = kinds, arrays

    def pack(self, value: Any) -> Any:
        """JSON that `unpack` reads back. Raises TypeError for what no checkpoint holds."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, PLAIN) and type(value) in PLAIN:
            return value
        if isinstance(value, list):
            return [self.pack(each) for each in value]
        return {_word(value): self._parts(value)}

    def _parts(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
            return len(self.arrays) - 1
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, IPv4Address | IPv6Address):
            return str(value)
        if isinstance(value, dict):
            return [[self.pack(key), self.pack(each)] for key, each in value.items()]
        if isinstance(value, tuple | set):
            return [self.pack(each) for each in (sorted(value) if isinstance(value, set) else value)]
        for name, kind in self._kinds.items():
            if type(value) is kind.of:
                return [name, self.pack(kind.plain(value))]
        raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")

    def unpack(self, value: Any) -> Any:
        """The value of JSON that `pack` made."""
        if isinstance(value, list):
            return [self.unpack(each) for each in value]
        if not isinstance(value, dict):
            return value
        ((word, inner),) = value.items()
        make: dict[str, Callable[[Any], Any]] = {
            "array": lambda k: self.arrays[k],
            "bytes": bytes.fromhex,
            "address": ip_address,
            "dict": lambda rows: {self.unpack(key): self.unpack(each) for key, each in rows},
            "counter": lambda rows: Counter({self.unpack(key): self.unpack(each) for key, each in rows}),
            "tuple": lambda parts: tuple(map(self.unpack, parts)),
            "set": lambda parts: set(map(self.unpack, parts)),
            "object": lambda told: self._kinds[told[0]].made(self.unpack(told[1])),
        }
        return make[word](inner)


def _word(value: Any) -> str:
    """What kind of value stands behind it."""
    words = ((np.ndarray, "array"), (bytes, "bytes"), (IPv4Address, "address"), (IPv6Address, "address"),
             (Counter, "counter"), (dict, "dict"), (tuple, "tuple"), (set, "set"))  # fmt: skip
    return next((word for kind, word in words if isinstance(value, kind)), "object")


# --- tables


def kept_tables() -> tuple[str, ...]:
    """Tables that a checkpoint may hold, whole: those that packets change, and those in which SAs are entered."""
    return tuple(name for name in TABLE_TYPES if state.fields(name, STATE, COUNTER) or name in ANSWERED)


def built(t: Any) -> str:
    """A digest of the tables that follow from the configuration alone."""
    total = hashlib.sha256()
    for name in TABLE_TYPES:
        if name not in kept_tables() and set(TABLE_KINDS[name].values()) == {CONFIG} and name != "counters":
            total.update(name.encode() + getattr(t, name).tobytes())
    return total.hexdigest()


def put_tables(t: Any, arrays: Mapping[str, Array]) -> None:
    """Tables of a checkpoint in the place of those of a router that was just made."""
    for name, array in arrays.items():
        fresh = aligned(array.size, TABLE_TYPES[name])
        fresh[:] = array
        t.rebind(name, fresh)


def layout_digest() -> str:
    """Of all that a table's bytes mean."""
    told = [(name, str(dtype.descr), sorted(TABLE_KINDS[name].items())) for name, dtype in TABLE_TYPES.items()]
    return hashlib.sha256(repr(told).encode()).hexdigest()


# --- attributes


def saved(thing: Any) -> dict[str, Any]:
    """The attributes that the class of an object names in SAVED; objects among them that have a SAVED of their own as
    theirs."""
    found = {name: getattr(thing, name) for name in thing.SAVED}
    return {name: saved(value) if hasattr(value, "SAVED") else value for name, value in found.items()}


def put_saved(thing: Any, values: Mapping[str, Any]) -> None:
    """Give an object that was just made the attributes of another one."""
    for name, value in values.items():
        old = getattr(thing, name)
        if hasattr(old, "SAVED"):
            put_saved(old, value)
        elif isinstance(old, np.ndarray) and old.shape == value.shape:
            old[:] = value
        else:
            setattr(thing, name, value)


# --- files


def dumps(kind: str, facts: Any, t: Any, kinds: Kinds) -> bytes:
    """A checkpoint as bytes."""
    packer = Packer(kinds, [])
    packed = packer.pack(facts)
    head = {"schema": SCHEMA, "version": __version__, "layout": layout_digest(), "kind": kind, "built": built(t)}
    arrays = {f"table.{name}": getattr(t, name) for name in state.filled(t, kept_tables())}
    arrays |= {f"value.{k}": array for k, array in enumerate(packer.arrays)}
    arrays["facts"] = np.frombuffer(json.dumps({**head, "facts": packed}).encode(), np.uint8)
    arrays["digest"] = np.frombuffer(_digest(arrays), np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


@dataclass
class Held:
    """What a checkpoint holds. `facts` are still packed: `values(kinds)` unpacks them, or a part of them."""

    name: str
    facts: Any
    tables: dict[str, Array]
    built: str
    arrays: list[Array]

    def values(self, kinds: Kinds, *path: str) -> Any:
        """The facts, or those under some names."""
        packed = self.facts
        for name in path:
            packed = next(value for key, value in packed["dict"] if key == name)
        return Packer(kinds, self.arrays).unpack(packed)

    def put(self, t: Any) -> None:
        """Tables in the place of those of an object that was just made of the same. Raises CheckpointError."""
        if built(t) != self.built:
            raise CheckpointError(f"{self.name}: this configuration makes other tables than were saved: begin anew")
        put_tables(t, self.tables)


def loads(data: bytes, kind: str, name: str = "checkpoint") -> Held:
    """What the bytes of a checkpoint hold. Raises CheckpointError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            arrays = {key: held[key] for key in held.files}
        told = arrays.pop("digest").tobytes()
        head = json.loads(arrays["facts"].tobytes())
    except Exception as error:  # zipfile, zlib and numpy raise what they like at damaged files
        raise CheckpointError(f"{name}: is no checkpoint of qfp, or a damaged one: take another") from error
    if told != _digest(arrays):
        raise CheckpointError(f"{name}: is damaged: its digest is not that of its contents")
    if head.get("schema") != SCHEMA or head.get("layout") != layout_digest():
        raise CheckpointError(f"{name}: is of qfp {head.get('version')}, with other tables: run that release")
    if head["kind"] != kind:
        raise CheckpointError(f"{name}: is of a {head['kind']}, not of a {kind}")
    tables = {key[6:]: array for key, array in arrays.items() if key.startswith("table.")}
    for table, array in tables.items():
        if table not in kept_tables() or array.dtype != TABLE_TYPES[table] or array.ndim != 1:
            raise CheckpointError(f"{name}: holds a table {table!r} that no checkpoint has")
    values = [arrays[f"value.{k}"] for k in range(sum(key.startswith("value.") for key in arrays))]
    return Held(name, head["facts"], tables, head["built"], values)


def _digest(arrays: Mapping[str, Array]) -> bytes:
    total = hashlib.sha256()
    for key in sorted(arrays):
        total.update(f"{key} {arrays[key].dtype.descr} {arrays[key].shape}".encode())
        total.update(np.ascontiguousarray(arrays[key]).tobytes())
    return total.digest()


def write(path: str | os.PathLike[str], data: bytes, give: Callable[[Path, Path], None] = give_name) -> None:
    """Write a checkpoint: readable by its owner alone, whole or not at all. give: how it gets its name.

    Raises OSError.
    """
    target = os.path.realpath(path)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(target))  # exclusive, 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        give(Path(temporary), Path(target))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a checkpoint. Raises OSError, CheckpointError for a file that others may have written."""
    with open(path, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise CheckpointError(f"{path}: is no file: give a checkpoint that qfp wrote")
        if hasattr(os, "getuid") and (facts.st_uid not in (os.getuid(), 0) or facts.st_mode & 0o022):
            raise CheckpointError(f"{path}: others may write it, and it is trusted as a program is")
        return file.read()
