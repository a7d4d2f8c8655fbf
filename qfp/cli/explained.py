"""What `qfp explain` finds and prints: one frame, or the first frames that were dropped for a cause."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qfp.cli.errors import DAMAGED, CommandError
from qfp.cli.output import clean, console, note
from qfp.coerce import shown

if TYPE_CHECKING:
    from qfp.control.device import Device

Facts = dict[str, Any]


def known_cause(text: str) -> str:
    """The name of a cause, in capitals. Raises CommandError with those that are near."""
    from qfp_kernels.drops import CAUSES

    names = [cause.name for cause in CAUSES if cause.number]
    name = text.upper().replace("-", "_")
    if name in names:
        return name
    near = get_close_matches(name, names, 3, 0.5)
    meant = f"did you mean {' or '.join(near)}?" if near else "docs/drops.md lists them"
    raise CommandError(f"--cause {shown(text)}: no cause of a drop has this name: {meant}")


def explained(owner: "Device", trace: Path, frame: int, ingress: int, intermediate: bool = False) -> Facts:
    """The facts of one frame; a frame behind damage is reported as damage."""
    from qfp.explain import ExplainError, explain_trace
    from qfp.trace import open_source

    with open_source(trace) as source:
        try:
            return explain_trace(owner, source, frame, ingress, intermediate)
        except ExplainError as error:
            damage = source.damage(owner.tables.t)
            if damage is None:
                raise
            raise CommandError(f"{error}; the trace is damaged: {damage}", DAMAGED) from None


def of_cause(
    owner: "Device", make: Callable[[], Any], trace: Path, cause: str, count: int, ingress: int,
    intermediate: bool = False,
) -> Facts:  # fmt: skip
    """{cause, dropped (how many frames were), frames: facts of the first `count`}. Each frame is explained by an owner
    that is made anew: those before it have to come first."""
    dropped, places, causes = _dropped(owner, trace, cause, count, ingress)
    if not dropped:
        others = ", ".join(f"{name} {n:,}" for name, n in causes.items())
        rest = f"; dropped were: {others}" if others else ", nor for another cause"
        note(f"no frame was dropped for {cause}{rest}")
    frames = [explained(make(), trace, k, ingress, intermediate) for k in places]
    return {"cause": cause, "dropped": dropped, "frames": frames}


def _dropped(
    owner: "Device", trace: Path, cause: str, count: int, ingress: int
) -> tuple[int, list[int], dict[str, int]]:
    """(frames dropped for a cause, the first of them by number, frames by cause) of a trace."""
    import numpy as np

    from qfp.engine import NullSink
    from qfp.trace import open_source
    from qfp_kernels.drops import CAUSES
    from qfp_kernels.layout import CTL_IN_IF

    number = next(each.number for each in CAUSES if each.name == cause)
    places: list[int] = []

    def look(columns: dict[str, Any]) -> None:
        found = columns["frame"][np.flatnonzero(columns["cause"] == number)]
        places.extend(found[: count - len(places)].tolist())

    t = owner.tables.t
    with open_source(trace) as source:
        t.ctl[CTL_IN_IF] = ingress
        owner.engine.run(source, owner.stages(source.walk, None), NullSink(), look)
        if (damage := source.damage(t)) is not None:
            note(f"{trace}: {damage}: frames behind it are not looked at")
    by_cause = {each.name: int(t.causes[each.number]) for each in CAUSES if t.causes[each.number]}
    return int(t.causes[number]), places, by_cause


# ------------------------------------------------------------------------------------------------------- text
def print_explained(facts: Facts) -> None:
    """One frame, or those of a cause, each behind an empty line."""
    if "frames" not in facts:
        _print(facts)
        return
    for k, each in enumerate(facts["frames"]):
        if k:
            console().print()
        _print(each)
    if facts["dropped"] > len(facts["frames"]) > 0:
        console().print(f"\n{facts['dropped']:,} frames were dropped for {facts['cause']}: --count shows more")


def _print(facts: Facts) -> None:
    from rich.text import Text

    from qfp.explain import text

    out = console()
    out.print(Text(clean(text.head(facts)), style="bold"), soft_wrap=True)
    for step in facts["stages"]:
        for said in text.lines(step):
            line = Text(f"  {said.stage:<{text.WIDTH}}", style="cyan")
            style = "red" if said.drop else "default" if said.stage else "dim"
            line.append(clean(said.text), style=style)
            out.print(line, soft_wrap=True)
    out.print(Text(clean(text.tail(facts)), style="bold"), soft_wrap=True)
