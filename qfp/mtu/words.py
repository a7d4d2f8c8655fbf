"""Fates, black holes and advice as sentences: what the command prints, made from the facts that `--json` gives."""

from typing import Any

from qfp.mtu.bands import FRAGMENTED, ICMP_WORD, INNER, PEER, WAYS, arrives, line_name
from qfp_kernels import drops

Facts = dict[str, Any]
NAMES = {word: name for _, word, name in (*WAYS, *PEER)}
MEANINGS = {c.name: c.sentence for c in drops.CAUSES}
WHO = {
    "inner": "fragments of the inner packet, which the far host reassembles: the network and the firewalls behind the "
             "peer must pass them",
    "gre before encryption": "fragments of the GRE packet, each encrypted: the peer must reassemble them after "
                             "decryption",
    "after encryption": "fragments of the protected packet: the network and the firewalls between the routers must "
                        "pass them, and the peer must reassemble them before decryption",
    "at egress": "fragments of the outer packet: the network and the firewalls between the routers must pass them, and "
                 "the peer must reassemble them",
}  # fmt: skip


def span(first: int, last: int) -> str:
    """A range of sizes."""
    return str(first) if first == last else f"{first}..{last}"


def icmp_words(family: int, icmp: Facts | None) -> str:
    """An ICMP error: type, code, name, MTU."""
    if icmp is None:
        return "no ICMP error"
    told = f", MTU {icmp['mtu']}" if icmp["mtu"] is not None else ""
    return f"{ICMP_WORD[family]} type {icmp['type']} code {icmp['code']} ({icmp['name']}{told})"


def router_words(family: int, band: Facts) -> str:
    """What this router does with the datagrams of a band."""
    fate = band["fate"]
    if "dropped" in fate["router"]:
        said = f"dropped ({fate['cause']}), {icmp_words(family, fate['icmp'])}"
    elif fate["router"]:
        said = " and ".join(NAMES[word] for word in fate["router"])
    else:
        said = "whole"
    if fate["also"]:
        said += f", some of the last {' and '.join(NAMES[word] for word in fate['also'])}"
    if fate["host"] == "fragments":
        said = f"the host's fragments: {said}"
    return said + (f": {pieces(band)}" if {*fate["router"], *fate["also"]} & set(FRAGMENTED) else "")


def pieces(band: Facts) -> str:
    """Into which sizes, at the ends of a band: what lies inside, then what is on the wire."""
    return " .. ".join(_piece_words(sample) for sample in band["samples"])


def _piece_words(sample: Facts) -> str:
    inner, wire = sample["inner"], sample["wire"]
    if inner in ([], sample["host"]) or inner == wire:
        return f"{sample['size']} in {_sum(wire)}"
    return f"{_sum(inner)} in {_sum(wire)}"


def _sum(lengths: list[int]) -> str:
    """1400+120, and for many the first and the last."""
    if len(lengths) > 4:
        return f"{lengths[0]}+{lengths[1]}+…+{lengths[-1]} ({len(lengths)})"
    return "+".join(map(str, lengths))


def peer_words(band: Facts) -> str:
    """What becomes of it at the peer."""
    peer = band["fate"]["peer"]
    if peer is None:
        return "-"
    if "lost" in peer["fate"]:
        return f"lost ({peer['cause'] or 'never complete'})"
    if not peer["fate"]:
        return "delivered whole" if band["fate"]["host"] == "whole" else "delivered as the host's fragments"
    words = [NAMES[word] for word in peer["fate"]]
    words += [] if "fragments" in peer["fate"] or band["fate"]["host"] == "fragments" else ["delivered whole"]
    also = f"; some of the last {' and '.join(NAMES[word] for word in peer['also'])}" if peer["also"] else ""
    return ", ".join(words) + also


# ------------------------------------------------------------------------------------------------- black holes
def hole_words(hole: Facts, lines: list[Facts]) -> str:
    """One black hole, plainly."""
    kind = "ping payloads" if hole["ping"][0] != hole["ping"][1] else "ping payload"
    family = hole["family"]
    sizes = f"IP packets of {span(hole['first'], hole['last'])} bytes ({kind} {span(*hole['ping'])})"
    head = f"{line_name(family, hole['df'])}: {sizes}"
    if hole["kind"] == "needs icmp":
        icmp = hole["icmp"]
        name = f"{ICMP_WORD[family]} type {icmp['type']} code {icmp['code']}"
        told = f"{head} are dropped, and {icmp_words(family, icmp)} tells their source. If {name} is filtered anywhere"
        return f"{told} on the way back, they vanish{_others(hole, lines)}"
    if hole["kind"] == "needs fragments":
        who = dict.fromkeys("inner" if word in INNER else word for word in hole["fragments"])
        return f"{head} only get through as " + "; and as ".join(WHO[word] for word in who)
    if hole["kind"] == "in clear":
        return f"{head} leave unprotected"
    place = "at the peer" if hole["kind"] == "lost at the peer" else "here, and no ICMP error tells their source"
    meaning = MEANINGS.get(hole["cause"] or "", "They never arrive complete.").partition(":")[0].rstrip(".")
    return f"{head} are lost {place}: {hole['cause'] or 'incomplete'} ({meaning})"


def _others(hole: Facts, lines: list[Facts]) -> str:
    """What becomes of smaller and of larger ones, as far as they were swept."""
    found = next(each for each in lines if (each["family"], each["df"]) == (hole["family"], hole["df"]))
    below = [b for b in found["bands"] if b["last"] < hole["first"] and arrives(b)]
    above = [b for b in found["bands"] if b["first"] > hole["last"] and arrives(b)]
    said = ["smaller ones pass"] if below else []
    if above:
        own = all(b["fate"]["host"] == "fragments" for b in above)
        said.append("larger ones pass, in fragments made by the host itself" if own else "larger ones pass")
    return f": {', and '.join(said)}" if said else ""
