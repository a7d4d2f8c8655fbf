"""`ipv6 crypto map NAME` in the global mode: what the guide's steps say of a whole crypto map (chapter 9, QOS-7)."""

from __future__ import annotations

from dataclasses import dataclass

from .grammar import Args, Command
from .load import Load, flag
from .model import Configuration


@dataclass
class WholeMap:
    """What is said of all entries of an IPv6 crypto map."""

    qos_pre_classify: bool = False


def _enter(load: Load, cfg: Configuration, args: Args) -> WholeMap:
    found: tuple[WholeMap, int, int]
    place = (load.statement.line, args.column("name"))
    found = load.index.setdefault("whole maps", {}).setdefault(args["name"], (WholeMap(), *place))
    if args.no:
        found[0].qos_pre_classify = False
    return found[0]


def finish(load: Load) -> None:
    """Apply it to the entries, those that the configuration defines later included."""
    for name, (found, line, column) in load.index.get("whole maps", {}).items():
        cmap = load.cfg.crypto_maps.get(name)
        if cmap is None or cmap.family != 6:
            load.warn(f"IPv6 crypto map '{name}' is not defined", f"write crypto map ipv6 {name} SEQ ipsec-isakmp",
                      line=line, column=column)  # fmt: skip
            continue
        for entry in cmap.entries:
            entry.qos_pre_classify = entry.qos_pre_classify or found.qos_pre_classify


COMMANDS = [
    Command("global", "ipv6 crypto map <name:word>", _enter, "whole-map"),
    Command("whole-map", "qos pre-classify", flag("qos_pre_classify")),
]
