"""Modular QoS: class maps, policy maps and their classes (guide chapter 9)."""

from __future__ import annotations

from . import police as _police_words  # adds its kinds of argument
from .arguments import shown
from .grammar import Args, Command, Handler
from .load import Load, assign, describe, flag, keep, keep_with_warning, written
from .model import ClassMap, ClassMatch, ClassPolicy, Configuration, Police, PolicyMap

# Protocols that are told apart here: by the IP version, the protocol number or the port
PROTOCOLS = "ip|ipv6|arp|icmp|tcp|udp|rtp|http|https|dns|ssh|telnet|sip|gre|ipsec|esp|snmp|ntp|bgp|ospf|eigrp|ftp|smtp"
# Conditions of class maps that no packet fulfils here, and commands of classes without effect here
_UNSEEN = (
    "mpls|cos|vlan|input-interface|packet|source-address|destination-address|discard-class|fr-dlci|fr-de|atm-clp"
    "|atm-vci|port-type|application|field|start|flow|metadata|traffic-category|user-group|security-group|ip rtp"
)
_UNMODELLED = (
    "random-detect|compression|netflow-sampler|drop|account|set cos|set cos-inner|set mpls|set discard-class"
    "|set atm-clp|set fr-de|set fr-fecn-becn|set l2|set table|set dscp cos|set dscp tunnel|set dscp qos-group"
    "|set precedence cos|set precedence tunnel|set precedence qos-group|set qos-group dscp|set qos-group precedence"
    "|queue-limit percent|queue-limit cos|queue-limit qos-group|queue-limit discard-class|queue-limit precedence"
    "|shape adaptive|shape fecn-adapt|shape fecn-becn-adapt|shape max-buffers|estimate|log|fair-queue|queue-buffers"
    "|bandwidth qos-reference|police aggregate|priority-queue|trust|admit|measure|flow|monitor|header-compression"
)
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
        family = 4 if "ip" in args.keywords and kind in ("dscp", "precedence") else 0
        condition = ClassMatch(kind, values, "not" in args.keywords, family)
        if args.no:
            load.retain(section.matches, [each for each in section.matches if each != condition])
        else:
            load.add_once(section.matches, condition)

    return handler


def _protocol(load: Load, section: ClassMap, args: Args) -> None:
    """`match protocol`: what NBAR would tell by looking into packets matches nothing here."""
    name = args["name"]
    if name not in PROTOCOLS.split("|") and not args.no:
        load.warn(f"protocol {shown(name)} is not classified here: the condition matches nothing",
                  "NBAR looks into packets; here protocols are told by number and port", column=args.column("name"),
                  )  # fmt: skip
    _match("protocol")(load, section, args)


def _unseen(load: Load, section: ClassMap, args: Args) -> None:
    """A condition that no packet fulfils here, kept as written."""
    words = written(load).split()
    text = " ".join(words[words.index(next(each for each in words if "match".startswith(each.lower()))) + 1 :])
    negate = text.lower().startswith("not ")
    condition = ClassMatch("other", (text.partition(" ")[2] if negate else text,), negate)
    if args.no:
        load.retain(section.matches, [each for each in section.matches if each != condition])
        return
    load.warn(f"'match {condition.values[0]}' is not looked at: the condition matches nothing")
    load.add_once(section.matches, condition)


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
        load.index["policy of", id(known[name])] = policy
    return known[name]


def finish(cfg: Configuration) -> None:
    """Move `class-default` to the end of every policy: it takes what no class before it does."""
    for policy in cfg.policy_maps.values():
        policy.classes.sort(key=lambda each: each.name == "class-default")


def _fits(load: Load, section: ClassPolicy, share: str, amount: int) -> bool:
    """Whether a policy takes a further bandwidth or priority: in one unit, and at most 100 per cent of the link."""
    policy: PolicyMap | None = load.index.get(("policy of", id(section)))
    others = [each for each in policy.classes if each is not section] if policy is not None else []
    for each in others:
        unit = next((word for word in _SHARES if getattr(each, word) is not None), share)
        if share in _SHARES and unit != share:
            load.error(f"class '{each.name}' of this policy has its bandwidth in another unit ({_UNITS[unit]})",
                       "write all in one unit")  # fmt: skip
            return False
    counted = ("remaining_percent",) if share == "remaining_percent" else ("bandwidth_percent", "priority_percent")
    used = sum(getattr(each, word) or 0 for each in others for word in counted)
    if share in counted and used + amount > 100:
        load.error(f"{amount} % is more than the policy has left: its other classes have {used} %",
                   f"at most {100 - used} %")  # fmt: skip
        return False
    return True


def _priority(load: Load, section: ClassPolicy, args: Args) -> None:
    if "percent" in args and not args.no and not _fits(load, section, "priority_percent", args["percent"]):
        return
    section.priority = not args.no
    section.priority_level = args.get("level", 1)
    section.priority_kbps, section.priority_percent = args.get("kbps"), args.get("percent")
    section.priority_burst = args.get("burst")
    if args.no:
        section.priority_level, section.priority_kbps, section.priority_percent = 1, None, None
    elif any(getattr(section, share) is not None for share in _SHARES):
        load.error(f"class '{section.name}' has a bandwidth already: it cannot have priority")


def _bandwidth(load: Load, section: ClassPolicy, args: Args) -> None:
    asked = next((share for share in _SHARES if share in args), None)
    if asked is not None and not args.no and not _fits(load, section, asked, args[asked]):
        return
    for share in _SHARES:
        setattr(section, share, None if args.no else args.get(share))
    if section.priority and not args.no:
        load.error(f"class '{section.name}' has priority already: it cannot have a bandwidth")


def _shape(load: Load, section: ClassPolicy, args: Args) -> None:
    section.shape_bps = None if args.no else args.get("bps")
    section.shape_percent = None if args.no else args.get("percent")
    section.shape_burst = None if args.no else args.get("burst")
    section.shape_excess = None if args.no else args.get("excess")
    section.shape_peak = not args.no and "peak" in args.keywords


def _queue_limit(load: Load, section: ClassPolicy, args: Args) -> None:
    section.queue_limit = None if args.no else args["value"]
    section.queue_limit_unit = "packets" if args.no else args.get("unit", "packets")


def _police(load: Load, section: ClassPolicy, args: Args) -> Police | None:
    if args.no:
        section.police = None
        return None
    rates: dict[str, tuple[int, str]] = args["rates"]
    rate, unit = rates["rate"]
    peak, peak_unit = rates.get("peak", (None, unit))
    percent = unit == "percent"
    bursts = {rates[name][1] for name in ("burst", "excess") if name in rates}
    usual = "packets" if unit in ("pps", "cps") else "bytes"
    if len(bursts) > 1 or peak_unit != unit:
        load.error("the rates and the bursts of a policer are in one unit each", column=args.column("rates"))
        return Police()
    police = section.police = Police(None if percent else rate, rate if percent else None)
    police.packets = unit in ("pps", "cps")
    police.burst, police.excess_burst = (rates[name][0] if name in rates else None for name in ("burst", "excess"))
    police.burst_unit = next(iter(bursts), usual)
    police.peak_rate, police.peak_percent = (None, peak) if percent else (peak, None)
    for colour in ("conform", "exceed", "violate"):
        if colour in args:
            setattr(police, colour, _heeded(load, args[colour], args.column(colour)))
    return police


def _heeded(load: Load, action: str, column: int) -> str:
    """Return an action; say so if packets are only sent for it."""
    if action.partition(" ")[0] not in _police_words.MODELLED:
        load.warn(f"'{action}' is not modelled: the packet is sent unchanged", column=column)
    return action


def _police_action(load: Load, police: Police, args: Args) -> None:
    colour = next(each for each in ("conform", "exceed", "violate") if f"{each}-action" in args.keywords)
    default = {"conform": "transmit", "exceed": "drop", "violate": None}[colour]
    setattr(police, colour, default if args.no else _heeded(load, args[colour], args.column(colour)))


def _keep_unmodelled(load: Load, section: ClassPolicy, args: Args) -> None:
    if not args.no:
        keep_with_warning(load, section, args)


_UNITS = dict(zip(_SHARES, ("kbit/s", "percent", "remaining percent", "remaining ratio"), strict=True))
_COLOUR = {each: f"{each}-action <{each}:police-action>" for each in ("conform", "exceed", "violate")}
_COLOURS = f"[{_COLOUR['conform']}] [{_COLOUR['exceed']}] [{_COLOUR['violate']}]"
_MS = "<burst:1-4000> [ms] [<excess:0-4000> [ms]]"
_CLASS: list[tuple[str, Handler]] = [
    ("priority [level <level:1-2>] [<kbps:1-100000000> [<burst:32-2000000000>] "
     "| percent <percent:1-100> [<burst:32-2000000000>]]", _priority),
    ("bandwidth {<bandwidth_kbps:1-100000000> | percent <bandwidth_percent:1-100> "
     "| remaining percent <remaining_percent:1-100> | remaining ratio <remaining_ratio:1-65536>}", _bandwidth),
    ("shape {average | peak} <bps:8000-100000000000> [<burst:32-2000000000> [<excess:0-2000000000>]]", _shape),
    (f"shape {{average | peak}} percent <percent:1-100> [{_MS}]", _shape),
    ("queue-limit <value:1-64000000> [<unit:packets|bytes|ms|us>]", _queue_limit),
    ("queue-limit {dscp <dscp:dscp> | precedence <precedence:precedence>} <value:1-64000000> "
     "[<unit:packets|bytes|ms|us>]", _keep_unmodelled),
    ("random-detect {dscp <dscp:dscp> | precedence <precedence:precedence>} *", _keep_unmodelled),
    ("set [ip] dscp <value:dscp>", assign("set_dscp")),
    ("set [ip] precedence <value:precedence>", assign("set_precedence")),
    ("set qos-group <value:0-99>", assign("set_qos_group")),
    ("fair-queue", flag("fair_queue")),
    ("service-policy <value:@policy map>", assign("service_policy")),
]  # fmt: skip

COMMANDS = [
    *(Command("global", f"{words} type {kind} *", keep_with_warning, "opaque", "kept")
      for words in ("class-map", "policy-map") for kind in ("inspect", "access-control", "port-filter")),
    *(Command("global", f"{words} type *", keep, "opaque", "kept") for words in ("class-map", "policy-map")),
    Command("global", "class-map [{match-all | match-any}] <name:word>", _class_map, "class-map"),
    Command("class-map", "description [<value:text>]", describe),
    Command("class-map", "match [not] [ip] precedence <values:precedence+>", _match("precedence")),
    Command("class-map", "match [not] [ip] dscp <values:dscp+>", _match("dscp")),
    Command("class-map", "match [not] access-group [name] <name:@class access list>", _match("access-group")),
    Command("class-map", f"match [not] protocol {{<name:{PROTOCOLS}> | <name:word>}}", _protocol),
    Command("class-map", "match [not] protocol attribute *", _unseen),
    Command("class-map", "match [not] protocol <name:word> <how:text>", _unseen),
    Command("class-map", "match [not] qos-group <name:0-99>", _match("qos-group")),
    Command("class-map", "match [not] class-map <name:@class map>", _match("class-map")),
    Command("class-map", "match any", _match("any")),
    *(Command("class-map", f"match [not] {words} *", _unseen) for words in _UNSEEN.split("|")),
    Command("global", "policy-map <name:word>", _policy_map, "policy-map"),
    Command("policy-map", "description [<value:text>]", describe),
    Command("policy-map", "class <name:@class map> [insert-before <before:word>]", _class, "class"),
    *(Command("class", pattern, handler) for pattern, handler in _CLASS),
    Command("class", f"police <rates:police-rates> {_COLOURS}", _police, "police"),
    *(Command("police", pattern, _police_action) for pattern in _COLOUR.values()),
    *(Command("class", f"{word} *", _keep_unmodelled) for word in _UNMODELLED.split("|")),
]  # fmt: skip
