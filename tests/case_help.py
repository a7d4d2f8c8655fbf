"""The cases of tests/cases: packets from text, routers, and what came out as text."""

import re
from collections.abc import Iterable
from pathlib import Path

from packets import ip4, ip6, udp

from qfp.batch import Batch
from qfp.result import CAUSE_WORDS, VERDICT_WORDS, Result
from qfp.router import Router

FOLDER = Path(__file__).parent / "cases"
LINE = re.compile(r"(?P<ms>[0-9.]+) +(?P<src>\S+) +(?P<dst>\S+) +udp (?P<sport>\d+) (?P<dport>\d+), (?P<size>\d+) bytes"
                  r"(?P<words>(?:,? *(?:df|dscp \d+|ttl \d+))*)$")  # fmt: skip
COUNTED = ("packets_out", "icmp_sent", "fragments_made", "mss_adjusted", "ecn_alarms")


class CaseError(ValueError):
    """A line of `in.txt` that is no packet."""


def packets_of(text: str) -> Batch:
    """Packets of an `in.txt`. Raises CaseError."""
    frames, times = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.match(line.strip())
        if found is None:
            raise CaseError(f"line {number} is no packet: {line}")
        frames.append(_packet(found, len(frames)))
        times.append(round(float(found["ms"]) * 10**6))
    return Batch.from_frames(frames, ts=times)


def _packet(found: "re.Match[str]", number: int) -> bytes:
    words = found["words"]
    ttl = int(m[1]) if (m := re.search(r"ttl (\d+)", words)) else 64
    tos = int(m[1]) << 2 if (m := re.search(r"dscp (\d+)", words)) else 0
    six = ":" in found["src"]
    room = int(found["size"]) - (40 if six else 20) - 8
    if room < 0:
        raise CaseError(f"{found['size']} bytes are too few")
    payload = udp(int(found["sport"]), int(found["dport"]), bytes(k & 255 for k in range(room)))
    if six:
        return ip6(found["src"], found["dst"], payload, tos=tos, ttl=ttl)
    return ip4(
        found["src"], found["dst"], payload, tos=tos, ttl=ttl, flags=0x4000 if "df" in words else 0, ident=number
    )


def told(name: str, result: Result) -> list[str]:
    """A result as text: a line a frame, one a packet, one a counter."""
    lines = [f"[{name}]"]
    v, sent = result.verdicts, result.packets.frames()
    ports = result.packets.in_if.tolist()
    at = 0
    for k in range(len(result.source)):
        cause = CAUSE_WORDS[v["cause"][k]]
        why = f" {cause}" if v["cause"][k] else ""
        spi = f", SPI 0x{int(v['spi'][k]):08x} number {int(v['seq'][k])}" if v["spi"][k] else ""
        lines.append(f"frame {k}: {VERDICT_WORDS[v['verdict'][k]]}{why}{spi}")
        for _ in range(int(v["n_out"][k])):
            lines.append(f"  {result.interfaces[ports[at]]}, {len(sent[at])} bytes: {sent[at].hex()}")
            at += 1
    counted = [f"{word} {result.counters[word]}" for word in COUNTED if result.counters[word]]
    drops = [f"{word} {count}" for word, count in result.counters["drops"].items() if count]
    return [*lines, "counters: " + ", ".join(counted + drops), ""]


def arrived(sent: Result, places: Iterable[int] | None) -> Batch:
    """What arrives at the other router, 1 ms later, of what left by the outside interface."""
    packets, outside = sent.packets, sent.interfaces.index("GigabitEthernet0/0/0")
    rows = zip(packets.frames(), packets.ts.tolist(), packets.in_if.tolist(), strict=True)
    left = [(frame, ts) for frame, ts, port in rows if port == outside]
    kept = [left[k] for k in places] if places is not None else left
    times, now = [], 0
    for _, ts in kept:
        now = max(now, ts + 10**6)
        times.append(now)
    return Batch.from_frames([frame for frame, _ in kept], ts=times)


def out_of(folder: Path) -> str:
    """What a case comes to, as `out.txt` has it."""
    sent = Router.load(folder / "a.cfg").forward(packets_of((folder / "in.txt").read_text()), "gi0/0/1")
    lines = told("a", sent)
    if (folder / "b.cfg").exists():
        line = folder / "line.txt"
        places = map(int, line.read_text().split()) if line.exists() else None
        lines += told("b", Router.load(folder / "b.cfg").forward(arrived(sent, places), "gi0/0/0"))
    return "\n".join(lines)
