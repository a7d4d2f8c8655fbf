"""What a checkpoint keeps of a router besides its tables, and how it is told: see qfp.checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from qfp.checkpoint import CheckpointError, Kind, Kinds, Value, put_saved, saved
from qfp.config import Configuration, Issue, loads, render
from qfp.config.verdicts import LineVerdicts
from qfp.control.lifetimes import SaEvent
from qfp.control.limits import Limits
from qfp.control.pathmtu import Learned
from qfp.control.plane import ControlPlane
from qfp.control.policy import Selector, Want
from qfp.control.sadb import Pair
from qfp.sa import AddressRange, SecurityAssociation, Selectors
from qfp.sa_pattern import AddressPattern, SaPattern, SpiPattern
from qfp.tables.sad import Profile, Sad

PLANE = ("sad", "sadb", "sizes", "path_mtus", "lifetimes")  # of a router, each with a SAVED
OF_SAS: Kinds = {each.__name__: Kind.by_fields(each)
                 for each in (SecurityAssociation, Selectors, AddressRange, Profile)}  # fmt: skip


class Keeper(Protocol):
    """Something with parts that have a SAVED: a router's control plane, or a decryptor."""

    sad: Sad


ADDRESSES = Kind(AddressPattern, lambda pattern: pattern.text, AddressPattern.parse)
OF_DECRYPTORS: Kinds = {**OF_SAS, "SaPattern": Kind.by_fields(SaPattern), "SpiPattern": Kind.by_fields(SpiPattern),
                        "AddressPattern": ADDRESSES}  # fmt: skip
OF_ROUTERS: Kinds = {**OF_SAS, **{each.__name__: Kind.by_fields(each)
                                  for each in (SaEvent, Limits, Learned, Pair, Issue)}}  # fmt: skip


def told_config(config: Configuration) -> dict[str, Value]:
    """A configuration as text, with what `loads` is to be given besides. Raises CheckpointError for one that was
    changed after it had been read, or made by hand, where its text does not say the same."""
    texts = [config.lines.source()] if isinstance(config.lines, LineVerdicts) else []
    model = config.platform.model
    release = ".".join(map(str, config.platform.release)) if model is not None else None
    told = {"file": config.file, "model": model, "release": release, "allow_null": config.allow_null}
    for text in (*texts, render(config, show_keys=True)):
        if read_config({"text": text, **told}) == config:
            return {"text": text, **told}
    how = "was changed after it had been read, and" if texts else "was made by hand, and"
    raise CheckpointError(f"the configuration {how} no text says the same: make the router of a text to save it")


def read_config(told: dict[str, Value]) -> Configuration:
    """The configuration that was told."""
    return loads(**told)


def kinds_of(plane: ControlPlane) -> Kinds:
    """How objects of a router's control plane are told: what it wants of SPD entries by their places in its policy."""
    wants: list[Want] = plane.wants
    places: dict[tuple[str, str, Selector], list[int]] = {}
    for k, each in enumerate(wants):
        places.setdefault((each.interface.name, each.where, each.selector), []).append(k)

    def plain(want: Want) -> Value:
        known = places.get((want.interface.name, want.where, want.selector), ())
        alike = [k for k in known if replace(wants[k], sp=want.sp, local=want.local, peer=want.peer) == want]
        if not alike:
            raise CheckpointError(f"{want.where} still has SAs of another configuration: clear them, then save")
        place = next((k for k in alike if wants[k].sp == want.sp), alike[0])
        return place, want.sp, want.local, want.peer

    def made(told: Value) -> Want:
        place: int = told[0]
        return replace(wants[place], sp=told[1], local=told[2], peer=told[3])

    return {**OF_ROUTERS, "Want": Kind(Want, plain, made)}


def plane_of(owner: Keeper, parts: Sequence[str] = PLANE) -> dict[str, Value]:
    """What the control plane of a router or a decryptor knows."""
    return {**{name: saved(getattr(owner, name)) for name in parts},
            "ciphers": [list(key) for key in owner.sad.crypto.combinations]}  # fmt: skip


def put_plane(owner: Keeper, told: dict[str, Value], parts: Sequence[str] = PLANE) -> None:
    """Let the control plane of one that was just made know it. Raises CheckpointError."""
    for key in told["ciphers"]:
        owner.sad.crypto.kind(*key)
    if [list(key) for key in owner.sad.crypto.combinations] != told["ciphers"]:
        raise CheckpointError("other ciphers are asked for than were saved: begin anew")
    for name in parts:
        put_saved(getattr(owner, name), told[name])
