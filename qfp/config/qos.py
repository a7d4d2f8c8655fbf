"""Modular QoS: class maps, policy maps and their classes (guide chapter 9)."""

from __future__ import annotations

from .grammar import Args, Command, Handler
from .load import Load, assign, flag, not_modelled
from .model import ClassMap, ClassMatch, ClassPolicy, Configuration, Police, PolicyMap

_PROTOCOLS = "ip|ipv6|arp|icmp|tcp|udp|rtp|http|https|dns|ssh|telnet|sip|gre|ipsec|esp|snmp|ntp|bgp|ospf|eigrp|ftp|smtp"
_ACTION = "transmit|drop|set-dscp-transmit|set-prec-transmit|set-qos-transmit"
_SHARES = ("bandwidth_kbps", "bandwidth_percent", "remaining_percent", "remaining_ratio")


# --- class maps


def _class_map(load: Load, cfg: Configuration, args: Args) -> ClassMap | None:
    if args.no:
        cfg.class_maps.pop(args["name"], None)
        return None
    found = cfg.class_maps.setdefault(args["name"], ClassMap(args["name"]))
    found.match_any = "match-any" in args.keywords or (found.match_any and "match-all" not in args.keywords)
    return found


def _match(kind: str) -> Handler:
    def handler(load: Load, section: ClassMap, args: Args) -> None:
        values = tuple(args["values"]) if "values" in args else ()
        if "name" in args:
            values = (args["name"],)
        family = 4 if "ip" in args.keywords else 0
        condition = ClassMatch(kind, values, "not" in args.keywords, family)
        if args.no:
            load.retain(section.matches, [each for each in section.matches if each != condition])
        else:
            load.add_once(section.matches, condition)

    return handler


# --- policy maps


def _policy_map(load: Load, cfg: Configuration, args: Args) -> PolicyMap | None:
    if args.no:
        cfg.policy_maps.pop(args["name"], None)
        return None
    return cfg.policy_maps.setdefault(args["name"], PolicyMap(args["name"]))


def _class(load: Load, policy: PolicyMap, args: Args) -> ClassPolicy | None:
    name = args["name"]
    known: dict[str, ClassPolicy] = load.index.setdefault(("classes", id(policy)), {})
    if args.no:
        gone = known.pop(name, None)
        policy.classes[:] = [each for each in policy.classes if each is not gone]
        return None
    if name not in known:
        known[name] = ClassPolicy(name)
        policy.classes.append(known[name])
    return known[name]


def finish(cfg: Configuration) -> None:
    """Move `class-default` to the end of every policy: it takes what no class before it does."""
    for policy in cfg.policy_maps.values():
        policy.classes.sort(key=lambda each: each.name == "class-default")


def _priority(load: Load, section: ClassPolicy, args: Args) -> None:
    section.priority = not args.no
    section.priority_level = args.get("level", 1)
    section.priority_kbps, section.priority_percent = args.get("kbps"), args.get("percent")
    section.priority_burst = args.get("burst")
    if args.no:
        section.priority_level, section.priority_kbps, section.priority_percent = 1, None, None
    elif any(getattr(section, share) is not None for share in _SHARES):
        load.error(f"class '{section.name}' has a bandwidth already: it cannot have priority")


def _bandwidth(load: Load, section: ClassPolicy, args: Args) -> None:
    for share in _SHARES:
        setattr(section, share, None if args.no else args.get(share))
    if section.priority and not args.no:
        load.error(f"class '{section.name}' has priority already: it cannot have a bandwidth")


def _shape(load: Load, section: ClassPolicy, args: Args) -> None:
    section.shape_bps = None if args.no else args.get("bps")
    section.shape_percent = None if args.no else args.get("percent")
    section.shape_burst = None if args.no else args.get("burst")


def _queue_limit(load: Load, section: ClassPolicy, args: Args) -> None:
    section.queue_limit = None if args.no else args["value"]
    section.queue_limit_unit = "packets" if args.no else args.get("unit", "packets")


def _police(load: Load, section: ClassPolicy, args: Args) -> Police | None:
    if args.no:
        section.police = None
        return None
    police = section.police = Police(args.get("rate"), args.get("percent"))
    police.burst, police.excess_burst = args.get("burst"), args.get("excess")
    police.peak_rate = args.get("peak")
    for colour in ("conform", "exceed", "violate"):
        if colour in args:
            setattr(police, colour, _action(args, colour))
    return police


def _action(args: Args, colour: str) -> str:
    value = args.get(colour + "_value")
    return str(args[colour]) if value is None else f"{args[colour]} {value}"


def _police_action(load: Load, police: Police, args: Args) -> None:
    colour = next(each for each in ("conform", "exceed", "violate") if f"{each}-action" in args.keywords)
    default = {"conform": "transmit", "exceed": "drop", "violate": None}[colour]
    setattr(police, colour, default if args.no else _action(args, colour))


_COLOUR = {each: f"{each}-action <{each}:{_ACTION}> [<{each}_value:0-99>]" for each in ("conform", "exceed", "violate")}
_COLOURS = f"[{_COLOUR['conform']} [{_COLOUR['exceed']} [{_COLOUR['violate']}]]]"
_BPS = "8000-100000000000"
_BURST = "1000-512000000"
_CLASS: list[tuple[str, Handler]] = [
    ("priority [level <level:1-2>] [<kbps:1-100000000> [<burst:32-2000000000>] | percent <percent:1-100>]", _priority),
    ("bandwidth {<bandwidth_kbps:1-100000000> | percent <bandwidth_percent:1-100> "
     "| remaining percent <remaining_percent:1-100> | remaining ratio <remaining_ratio:1-1000>}", _bandwidth),
    ("shape average {<bps:8000-100000000000> | percent <percent:1-100>} [<burst:32-2000000000>]", _shape),
    ("queue-limit <value:1-64000000> [<unit:packets|bytes|ms|us>]", _queue_limit),
    ("set [ip] dscp <value:dscp>", assign("set_dscp")),
    ("set [ip] precedence <value:precedence>", assign("set_precedence")),
    ("set qos-group <value:0-99>", assign("set_qos_group")),
    ("fair-queue", flag("fair_queue")),
    ("service-policy <value:@policy map>", assign("service_policy")),
]  # fmt: skip

COMMANDS = [
    Command("global", "class-map [{match-all | match-any}] <name:word>", _class_map, "class-map"),
    Command("class-map", "description <value:text>", assign("description")),
    Command("class-map", "match [not] [ip] precedence <values:precedence+>", _match("precedence")),
    Command("class-map", "match [not] [ip] dscp <values:dscp+>", _match("dscp")),
    Command("class-map", "match [not] access-group [name] <name:@class access list>", _match("access-group")),
    Command("class-map", f"match [not] protocol <name:{_PROTOCOLS}>", _match("protocol")),
    Command("class-map", "match [not] qos-group <name:0-99>", _match("qos-group")),
    Command("class-map", "match [not] class-map <name:@class map>", _match("class-map")),
    Command("class-map", "match any", _match("any")),
    Command("global", "policy-map <name:word>", _policy_map, "policy-map"),
    Command("policy-map", "description <value:text>", assign("description")),
    Command("policy-map", "class <name:@class map>", _class, "class"),
    *(Command("class", pattern, handler) for pattern, handler in _CLASS),
    Command("class", f"police [cir] <rate:{_BPS}> [[bc] <burst:{_BURST}> [[be] <excess:{_BURST}>]] [pir <peak:{_BPS}>] "
            + _COLOURS, _police, "police"),
    Command("class", f"police rate <rate:{_BPS}> bps [burst <burst:{_BURST}> bytes] {_COLOURS}", _police, "police"),
    Command("class", f"police {{cir | rate}} percent <percent:1-100> {_COLOURS}", _police, "police"),
    *(Command("police", pattern, _police_action) for pattern in _COLOUR.values()),
    *(Command("class", f"{word} *", not_modelled)
      for word in ("random-detect", "compression", "netflow-sampler", "drop", "account", "set cos", "set mpls",
                   "set discard-class")),
]  # fmt: skip
