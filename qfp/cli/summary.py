"""The summaries of run and decrypt as tables; the facts are those of `--json`."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qfp.cli.output import busiest, clean, console, table

Facts = dict[str, Any]
LIFETIME_WORDS = {"idle": "deleted as idle", "deleted": "deleted after a rekey", "soft": "that could not be rekeyed",
                  "peer": "moved to another peer"}  # fmt: skip
SA_COLUMNS = ("SPI", "dir", "peer", "algorithms", "packets", "bytes", "replays", "bad ICV", "errors")
# Outbound: made smaller or not; inbound: expanded, or malformed
COMPRESSION_COLUMNS = ("(de)compressed", "not / failed")
CAME = {
    "frames_in": "in", "icmp_sent": "ICMP errors", "fragments_made": "by fragmentation",
    "fragments_before": "fragments that waited before",
}  # fmt: skip
WENT = {
    "packets_out": "out", "dropped": "dropped", "pieces_dropped": "more fragments of these", "punted": "punted",
    "merged": "merged by reassembly", "fragments_waiting": "waiting for fragments", "fragments_lost": "fragments lost",
    "consumed": "consumed", "not_written": "clear, not written",
}  # fmt: skip


def lifetime_lines(lifetimes: Facts) -> list[str]:
    """What became of SAs, a line an event."""
    return [
        f"SAs {LIFETIME_WORDS.get(what, what)}: "
        + ", ".join(f"{count:,} by {why}" if why != what else f"{count:,}" for why, count in reasons.items())
        for what, reasons in lifetimes.items()
    ]


def balance_line(balance: Facts) -> str:
    """Where packets came from = where they went."""
    sides = [
        " + ".join(f"{balance[side][name]:,} {word}" for name, word in words.items() if balance[side].get(name))
        for side, words in (("in", CAME), ("out", WENT))
    ]
    return f"balance: {sides[0] or '0 in'} = {sides[1] or '0 out'}"


def compression_line(counts: Facts) -> str:
    """Packets of all SAs of a router."""
    return (
        f"comp-lzs: {counts['compressed']:,} compressed, {counts['incompressible']:,} not, "
        f"{counts['decompressed']:,} decompressed, {counts['comp_failed']:,} failed"
    )


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
        out.print(_drops(facts["drops"]))
    for made, more in tables:
        if made is not None:
            out.print(made)
        if more:
            out.print(Text(more, style="dim"))
    for word, path in facts["outputs"].items():
        out.print(Text(clean(f"{word}: {path}")), soft_wrap=True)


def _drops(drops: list[Facts]) -> Any:
    """By cause; where packets were dropped in several fragments, how many fragments more."""
    pieces = any(d["pieces"] for d in drops)
    columns = ("cause", "stage", "packets", *(("pieces",) if pieces else ()), "bytes", "meaning")
    rows = [
        (d["cause"], d["stage"], d["packets"], *((d["pieces"],) if pieces else ()), d["bytes"], d["meaning"])
        for d in drops
    ]
    return table("drops", columns, rows)


def _lines(facts: Facts) -> list[str]:
    verdicts = ", ".join(f"{count:,} {word}" for word, count in facts["verdicts"].items()) or "none"
    rates, cache = facts["rates"], facts["flow_cache"]
    found = [
        f"{facts['frames_in']:,} frames in ({facts['bytes_in']:,} bytes), {facts['packets_out']:,} packets out "
        f"({facts['bytes_out']:,} bytes)",
        f"verdicts: {verdicts}",
        balance_line(facts["balance"]),
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
        ("icmp_lost", "ICMP errors dropped on their way"),
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
    compresses = any(_compression(sa) for sa in kept)
    rows = []
    for sa in kept:
        row = (f"0x{sa['spi']:08x}", sa["direction"], sa["peer"], _algorithms(sa), sa["packets"], sa["bytes"],
               sa.get("replays"), sa.get("bad_icv"), sa["errors"])  # fmt: skip
        rows.append((*row, *(_compression(sa) or (None, None))) if compresses else row)
    columns = SA_COLUMNS + (COMPRESSION_COLUMNS if compresses else ())
    return (table("security associations", columns, rows, left=4) if rows else None), more


def _algorithms(sa: Facts) -> str:
    """`esp aes-cbc hmac-sha1-96 comp-lzs`."""
    encr = [] if sa["proto"] == "ah" else [sa["encr"]]
    integ = [] if sa["integ"] == "none" else [sa["integ"]]
    comp = [f"comp-{sa['comp']}"] if sa["comp"] else []
    return " ".join([sa["proto"], *encr, *integ, *comp])


def _compression(sa: Facts) -> tuple[int, int] | None:
    """Counters of an SA that compresses, or that has received what was; a key file does not always say."""
    names = ("compressed", "incompressible") if sa["direction"] == "out" else ("decompressed", "comp_failed")
    counts = sa[names[0]], sa[names[1]]
    return counts if sa["comp"] or any(counts) else None


def _spd(entries: list[Facts]) -> tuple[Any, str]:
    kept, more = busiest(entries)
    rows = [(e["where"], e["rule"], e["peer"], e["packets"], e["bytes"], e["drops"]) for e in kept]
    return (
        table("policy", ("entry", "rule", "peer", "packets", "bytes", "drops"), rows, left=3) if rows else None
    ), more
