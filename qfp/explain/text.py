"""Lines of `qfp explain`: the same facts that its JSON has."""

from dataclasses import dataclass
from typing import Any

from qfp.explain import intermediate
from qfp.explain.look import packet_line
from qfp.explain.policy import ace_text

Facts = dict[str, Any]
WIDTH = 11  # of the column of stages, blank included: `reassemble` is the longest


@dataclass(frozen=True)
class Line:
    """A line: the stage's name (empty: a detail), the text, and whether it tells a drop."""

    stage: str
    text: str
    drop: bool = False


def head(facts: Facts) -> str:
    """Which frame it was."""
    return (
        f"frame {facts['frame']} (#{facts['number']}): {facts['link']}, {facts['captured']} of {facts['wire']} bytes, "
        f"{facts['time']}, in {facts['in_if']}"
    )


def lines(step: Facts) -> list[Line]:
    """A step: its sentence, then what else is known."""
    of = f"{step['of']}: " if "of" in step else ""
    more = [text for text in details(step) if text.removeprefix("met ") not in step["decision"]]
    return [Line(step["stage"], of + step["decision"], "drop" in step), *(Line("", text) for text in more)]


def details(step: Facts) -> list[str]:
    """Further lines of a step: its cause by other names, its packet, SA, entries, windows."""
    found = []
    facts = step["facts"]
    if "drop" in step:
        found.append(_names(step["drop"]))
    if packet := facts.get("packet"):
        found.append(packet_line(packet))
    if isinstance(sa := facts.get("sa"), dict):
        found.append(_sa(sa))
    if entry := facts.get("entry"):
        found.append(f"SPD entry {entry['sp']}: {entry['where']}, {entry['rule']}, peer {entry['peer']}")
    found += [f"met {ace_text(each)}" for each in facts.get("denies", ())]
    if permit := facts.get("permit"):
        found.append(f"met {ace_text(permit)}")
    if facts.get("arrival"):
        found.append(facts["arrival"])
    found += [_level(level) for level in facts.get("levels", ())]
    return found + intermediate.lines(facts.get("bytes_of", {}))


def _level(level: Facts) -> str:
    w = level["window"]
    icv = "no ICV" if level["icv"] == "none" else f"ICV {level['icv']}"
    space = f", number {w['counter']} of space {w['space']}" if "space" in w else ""
    unjudged = "" if level["judged"] else ", not judged"
    return (
        f"SA {level['sa']} (SPI {level['spi']}): number {level['seq']} {w['number']}{space}, {icv}{unjudged}, "
        f"window of {w['size']}, top {w['top_before']} -> {w['top_after']}"
    )


def _names(drop: Facts) -> str:
    code = f"{drop['xe_code']} " if drop["xe_code"] is not None else ""
    return f"at {drop['stage']}: cause {drop['cause']}; IOS XE {code}{drop['xe_name']}; Linux {drop['linux']}"


def _sa(sa: Facts) -> str:
    algorithms = sa["encr"] if sa["integ"] == "none" else f"{sa['encr']} {sa['integ']}"
    if sa["proto"] == "ah":
        algorithms = sa["integ"]
    esn = ", ESN" if sa["esn"] else ""
    natt = f", UDP {sa['natt'][0]} -> {sa['natt'][1]}" if sa["natt"] is not None else ""
    return (
        f"SA {sa['handle']} (connection {sa['conn_id']}, flow {sa['flow_id']}): {sa['proto']} {sa['spi']} {sa['src']} "
        f"-> {sa['dst']}, {sa['mode'] or 'any'} mode, {algorithms}, ICV of {sa['icv_len']} bytes{esn}{natt}"
    )


def tail(facts: Facts) -> str:
    """What became of it."""
    said = str(facts["verdict"])
    if facts["cause"]:
        said += f" at {facts['stage']}: {facts['cause']['cause']}. {facts['cause']['sentence']}"
    if facts["n_out"]:
        said += _left(facts)
    sa = [f"SA {facts['sa']['handle']}"] if facts["sa"] else []
    number = [f"SPI {facts['spi']}", f"number {facts['seq']}"] if facts["spi"] else []
    return f"{said} ({', '.join(sa + number)})" if sa + number else said


def _left(facts: Facts) -> str:
    """The packets that left."""
    count, first = facts["n_out"], facts["first_out"]
    size, records = f"{facts['len_out']} bytes", f"output record {first}"
    if count > 1:
        size, records = f"{size} in {count} packets", f"output records {first} to {first + count - 1}"
    if facts["cause"]:
        return f" {size} left all the same, {records}"
    way = f" out of {facts['out_if']}" if facts["out_if"] != "-" else ""
    return f": {size}{way}, {records}"
