"""Which SA follows which, and why: from what the control plane noted (qfp.control.lifetimes)."""

from typing import Any

from qfp.control.device import Device, plane_of
from qfp.explain.words import Facts, count, moment, sa_name
from qfp_kernels.layout import NO_LIMIT

WHATS = ("rekeyed", "idle", "cleared", "peer")  # events after which a new pair of SAs stands


def _event(owner: Device, pair: int, generation: int, whats: tuple[str, ...]) -> Any:
    """The last event of these kinds that a generation of a pair met; None when nothing is known of it."""
    plane = owner.plane
    events = plane.lifetimes.events if plane is not None else ()
    fits = [e for e in reversed(events) if e.pair == pair and e.generation == generation and e.what in whats]
    if plane is None or not fits:
        return None
    # pairs have other numbers after a change of configuration: the SPI tells whose event it is
    wants = [plane.sadb.pairs[pair].want, *(want for want, g in plane.lifetimes.past.get(pair, ()) if g == generation)]
    spis = {sa.spi for want in wants for sa in plane.sadb.derive(want, generation, True)}
    return next((e for e in fits if e.spi in spis), None)


def _facts(event: Any, owner: Device) -> Facts:
    """An event as facts: `why` in words."""
    limits = owner.plane.lifetimes.limits.get(event.pair) if owner.plane is not None else None
    why = {
        ("rekeyed", "time"): f"its soft lifetime of {limits.soft_seconds} s was over" if limits else "time",
        ("rekeyed", "volume"): "its soft limit of volume was reached",
        ("rekeyed", "numbers"): "its sequence numbers were running out",
        ("rekeyed", "peer"): "the peer moved first",
        ("idle", "idle"): f"nothing was sent or received for {limits.idle} s" if limits else "idle",
        ("cleared", ""): "clear crypto sa",
    }  # fmt: skip
    text = why.get((event.what, event.why), event.what)
    if event.what == "peer":
        text = f"the entry goes to {event.why}"
    what = "deleted" if event.what in ("idle", "cleared", "peer") else event.what
    return {"what": what, "why": event.why or event.what, "reason": text, "spi": f"0x{event.spi:08x}",
            "at": moment(event.ts)}  # fmt: skip


def predecessor(owner: Device, handle: int) -> Facts | None:
    """What became of the SA that this outbound one followed; None when it is the first or nothing was noted."""
    pair, generation = _who(owner, handle)
    if pair < 0 or generation == 0:
        return None
    event = _event(owner, pair, generation - 1, WHATS)
    return None if event is None else _facts(event, owner)


def predecessor_text(owner: Device, handle: int, facts: Facts) -> str:
    return (
        f"{sa_name(owner, handle)} follows the one with SPI {facts['spi']}, {facts['what']} at {facts['at']}: "
        f"{facts['reason']}"
    )


def replaced(owner: Device, handle: int) -> Facts | None:
    """Why an old inbound SA, which is still taken, is no longer the pair's; None when it is."""
    pair, generation = _who(owner, handle)
    coming = bool(owner.tables.t.life["coming"][handle])
    if owner.plane is None or pair < 0 or coming or generation == owner.plane.sadb.pairs[pair].generation:
        return None
    event = _event(owner, pair, generation, WHATS)
    return None if event is None else _end(event, owner)


def _end(event: Any, owner: Device) -> Facts:
    """The same for an inbound SA, whose SPI is not that of the event."""
    facts = _facts(event, owner)
    del facts["spi"]
    return facts


def _who(owner: Device, handle: int) -> tuple[int, int]:
    """(pair, generation) of an SA; pair -1 when it has no lifetime."""
    if owner.plane is None:
        return -1, 0
    life = owner.tables.t.life[handle]
    return int(life["pair"]), int(life["generation"])


def gone(owner: Device, spi: int, proto: str, dst: Any) -> Facts | None:
    """What became of an inbound SA that is no longer there; None when no such one is known."""
    plane = owner.plane
    if plane is None:
        return None
    for pair, past in plane.lifetimes.past.items():
        for want, generation in past:
            same = (sa for sa in plane.sadb.derive(want, generation, False) if sa.spi == spi and sa.proto == proto)
            if any(sa.dst == dst for sa in same):
                event = _event(owner, pair, generation, WHATS)
                return None if event is None else _end(event, owner)
    return None


def spent(life: Any, state: Any) -> str:
    """What an SA has carried."""
    if life["stale"]:
        return "it was made before multi-sn was switched, and waits to be cleared"
    return f"{count(int(state['packets']), 'packet')}, {count(int(state['bytes']), 'byte')}"


def ending(owner: Device, handle: int, state: Any) -> str:
    """Why an SA carries nothing more."""
    life = owner.tables.t.life[handle]
    text = spent(life, state)
    if life["stale"]:
        return text
    pair, generation = _who(owner, handle)
    event = _event(owner, pair, generation, ("expired", "idle")) if pair >= 0 else None
    if event is None:
        return f"{text}: its limit of volume is reached" if int(life["hard"]) not in (0, NO_LIMIT) else text
    limits = plane_of(owner).lifetimes.limits[pair]
    over = f"lifetime of {limits.hard_seconds} s" if event.what == "expired" else f"idle time of {limits.idle} s"
    return f"{text}; its {over} was over at {moment(event.ts)}"


def soft_reason(life: Any, state: Any) -> str:
    """Which soft limit an outbound SA has met."""
    return "numbers" if int(state["bytes"]) < int(life["soft"]) else "volume"
