"""The summaries of run and decrypt as tables; the facts are those of `--json`."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qfp.cli.output import busiest, clean, console, table

Facts = dict[str, Any]
LIFETIME_WORDS = {"idle": "deleted as idle", "deleted": "deleted after a rekey", "soft": "that could not be rekeyed",
                  "peer": "moved to another peer"}  # fmt: skip
SA_COLUMNS = ("SPI", "dir", "peer", "algorithms", "packets", "bytes", "replays", "bad ICV", "errors")


def lifetime_lines(lifetimes: Facts) -> list[str]:
    """What became of SAs, a line an event."""
    return [
        f"SAs {LIFETIME_WORDS.get(what, what)}: "
        + ", ".join(f"{count:,} by {why}" if why != what else f"{count:,}" for why, count in reasons.items())
        for what, reasons in lifetimes.items()
    ]


def print_run(facts: Facts) -> None:
    """The summary of a run."""
    title = f"{facts['trace']} through {facts['config']}, in at {facts['ingress']}"
    _print(title, facts, [_interfaces(facts), _sas(facts["sas"]), _spd(facts["spd"])])


def print_decrypt(facts: Facts) -> None:
    """The summary of a decryption."""
    _print(f"{facts['trace']} with the keys of {facts['keys']}", facts, [_sas(facts["sas"])])


def _print(title: str, facts: Facts, tables: Sequence[Any]) -> None:
    out = console()
    out.print(Text(clean(title), style="bold"), soft_wrap=True)
    for line in _lines(facts):
        out.print(Text(clean(line)), soft_wrap=True)
    if facts["drops"]:
        rows = [(d["cause"], d["stage"], d["packets"], d["bytes"], d["meaning"]) for d in facts["drops"]]
        out.print(table("drops", ("cause", "stage", "packets", "bytes", "meaning"), rows))
    for made, more in tables:
        if made is not None:
            out.print(made)
        if more:
            out.print(Text(more, style="dim"))
    for word, path in facts["outputs"].items():
        out.print(Text(clean(f"{word}: {path}")), soft_wrap=True)


def _lines(facts: Facts) -> list[str]:
    verdicts = ", ".join(f"{count:,} {word}" for word, count in facts["verdicts"].items()) or "none"
    rates, cache = facts["rates"], facts["flow_cache"]
    found = [
        f"{facts['frames_in']:,} frames in ({facts['bytes_in']:,} bytes), {facts['packets_out']:,} packets out "
        f"({facts['bytes_out']:,} bytes)",
        f"verdicts: {verdicts}",
        f"{rates['packets_per_second']:,} packets/s, {rates['gbit_per_second']} Gbit/s in {rates['seconds']:.3f} s; "
        f"engine {facts['engine']}, {facts['threads']} thread{'s' if facts['threads'] > 1 else ''}, "
        f"vectors of {facts['batch']}",
    ]
    if cache["hits"] + cache["misses"]:
        found.append(f"flow cache: {cache['hits']:,} hits, {cache['misses']:,} misses")
    if "log" in facts:
        told = ", ".join(f"{n:,} {kind} ({facts['log']['suppressed'][kind]:,} not logged)"
                         for kind, n in facts["log"]["packets"].items() if n)  # fmt: skip
        found.append(f"log: {told or 'nothing to log'}")
    for name, what in (
        ("fragments_seen", "fragments seen"),
        ("ecn_alarms", "ECN alarms"),
        ("dummies", "dummies consumed"),
        ("fragments_made", "packets more by fragmentation"),
        ("icmp_sent", "ICMP errors sent"),
        ("icmp_limited", "ICMP errors not sent: rate limit"),
        ("mss_adjusted", "TCP SYNs with a lower MSS"),
    ):
        if facts.get(name):
            found.append(f"{facts[name]:,} {what}")
    for where, c in (("", facts["reassembly"]["outer"]), (" after decryption", facts["reassembly"]["inner"])):
        if c["merged"] or c["held"]:
            found.append(
                f"reassembly{where}: {c['merged']:,} fragments became {c['whole']:,} packets, {c['held']:,} wait"
            )
    found += lifetime_lines(facts["lifetimes"])
    lost = facts["reassembly"]["lost"]
    if lost:
        told = ", ".join(f"{count:,} {cause}" for cause, count in lost.items())
        found.append(f"fragments lost after they were taken in: {told}")
    return found


def _interfaces(facts: Facts) -> tuple[Any, str]:
    rows = [tuple(each.values()) for each in facts["interfaces"]]
    return table("interfaces", ("name", "in", "bytes in", "out", "bytes out", "drops"), rows), ""


def _sas(sas: list[Facts]) -> tuple[Any, str]:
    kept, more = busiest(sas)
    rows = []
    for sa in kept:
        algorithms = sa["encr"] if sa["integ"] == "none" else f"{sa['encr']} {sa['integ']}"
        names = f"{sa['proto']} {algorithms}" if sa["proto"] == "esp" else f"ah {sa['integ']}"
        rows.append((f"0x{sa['spi']:08x}", sa["direction"], sa["peer"], names, sa["packets"], sa["bytes"],
                     sa.get("replays"), sa.get("bad_icv"), sa["errors"]))  # fmt: skip
    return (table("security associations", SA_COLUMNS, rows, left=4) if rows else None), more


def _spd(entries: list[Facts]) -> tuple[Any, str]:
    kept, more = busiest(entries)
    rows = [(e["where"], e["rule"], e["peer"], e["packets"], e["bytes"], e["drops"]) for e in kept]
    return (
        table("policy", ("entry", "rule", "peer", "packets", "bytes", "drops"), rows, left=3) if rows else None
    ), more
