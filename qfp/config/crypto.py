"""IPsec commands: globals, transform sets, crypto maps, dynamic maps, profiles (guide chapters 2, 3, 5 to 10)."""

from __future__ import annotations

from .arguments import shown
from .grammar import Args, Command, Handler
from .lex import MASK
from .load import Load, assign, below, describe, flag, keep_with_warning, written
from .model import (
    Configuration,
    CryptoMap,
    CryptoMapEntry,
    IpsecGlobals,
    IpsecProfile,
    Kept,
    Peer,
    SaPolicy,
    SessionKey,
)
from .nearest import similar
from .transforms import AEAD, CANONICAL, TRANSFORMS, TransformSet

PFS_GROUPS = (1, 2, 5, 14, 15, 16, 19, 20, 21, 24)
DEFAULT_WINDOW = 64
_MOST_TRANSFORMS = 4
_MOST_SETS = 6
_DEFAULT_SET = "default"  # also the name of IOS's built-in profile


# --- transform sets


def _transform_set(load: Load, cfg: Configuration, args: Args) -> TransformSet | None:
    name = args["name"]
    if args.no:
        cfg.transform_sets.pop(name, None)
        return None
    known = cfg.transform_sets.get(name)
    if "transforms" not in args:
        return _without_transforms(load, known, args)
    transforms = _transforms(load, args)
    if transforms is None:
        return TransformSet(name)  # takes the sub-commands, is not defined
    if known is None:
        known = cfg.transform_sets[name] = TransformSet(name)
    known.transforms, known.line = transforms, load.statement.line
    return known


def _without_transforms(load: Load, known: TransformSet | None, args: Args) -> TransformSet:
    if known is None:
        load.error("incomplete command: a transform expected", "such as esp-aes esp-sha-hmac")
    return known or TransformSet(args["name"])


def _transforms(load: Load, args: Args) -> list[str] | None:
    """Read `ah-sha-hmac esp-aes 256 ...` into canonical spellings; None if that makes no set."""
    found: list[str] = []
    roles: dict[str, str] = {}
    sizes: tuple[int, ...] = ()  # key sizes that may come next
    for word in load.statement.words[-len(args["transforms"]) :]:
        text = word.text.lower()
        if text in map(str, sizes):
            found[-1] += "" if text == "128" else f" {text}"
            sizes = ()
            continue
        name = _transform_name(text)
        if name is None:
            near = similar(text, TRANSFORMS)
            hint = f"did you mean '{near}'?" if near else ""
            load.error(f"{shown(text)} is not a transform", hint, column=word.column)
            return None
        role, sizes = TRANSFORMS[name].role, TRANSFORMS[name].sizes
        if role in roles:
            load.error(f"'{name}' cannot go with '{roles[role]}' in one set", column=word.column)
            return None
        roles[role] = name
        found.append(CANONICAL.get(name, name))
    return found if _combine(load, args, found, roles) else None


def _transform_name(text: str) -> str | None:
    if text in TRANSFORMS:
        return text
    meant = [name for name in TRANSFORMS if name.startswith(text)] if len(text) > 3 else []
    return meant[0] if len(meant) == 1 else None


def _combine(load: Load, args: Args, found: list[str], roles: dict[str, str]) -> bool:
    """Check that transforms go together."""
    column = args.column("transforms")
    cipher = TRANSFORMS[roles["cipher"]].algorithm if "cipher" in roles else None
    if len(found) > _MOST_TRANSFORMS:
        load.error(f"a transform set has at most {_MOST_TRANSFORMS} transforms", column=column)
        return False
    if cipher in AEAD and "auth" in roles:
        load.error(f"'{roles['cipher']}' authenticates already: '{roles['auth']}' cannot go with it", column=column)
        return False
    if set(roles) == {"comp"}:
        load.error("comp-lzs needs an ESP or AH transform beside it", column=column)
        return False
    if cipher == "null" and "auth" not in roles and not load.cfg.allow_null:
        # RFC 4303 3.2: confidentiality or integrity must be there; AH around it does not make it so
        load.error(f"transform set '{args['name']}' neither encrypts nor authenticates in ESP (RFC 4303 3.2)",
                   "add an authentication such as esp-sha256-hmac, or allow it with --allow-null",
                   column=column)  # fmt: skip
        return False
    if cipher == "null" and "auth" not in roles:
        load.warn(f"transform set '{args['name']}' neither encrypts nor authenticates in ESP (RFC 4303 3.2)",
                  "allowed by --allow-null: whoever knows the SPI can write its packets", column=column)  # fmt: skip
    elif cipher not in (None, *AEAD) and not {"auth", "ah"} & set(roles):
        load.report("note", f"transform set '{args['name']}' encrypts without authentication", column=column)
    return True


def _mode(load: Load, section: TransformSet, args: Args) -> None:
    section.mode = "tunnel" if args.no or "value" not in args else args["value"]
    section.mode_require = not args.no and "require" in args.keywords
    load.mark(section, "mode_require")


# --- settings that are global, or of an entry or a profile


def _replay(load: Load, section: IpsecGlobals | SaPolicy, args: Args) -> None:
    """Window size and disable replace each other, whichever comes later (AR-3)."""
    default = DEFAULT_WINDOW if isinstance(section, IpsecGlobals) else None
    if "disable" in args.keywords:
        # `no ... replay disable` turns checking on, and does not touch a window that is set.
        if not args.no:
            section.replay_window = 0
        elif not section.replay_window:
            section.replay_window = default
    elif args.no:
        section.replay_window = default
    else:
        section.replay_window = int(args.get("size", DEFAULT_WINDOW))


def _lifetime(load: Load, section: IpsecGlobals | SaPolicy, args: Args) -> None:
    everywhere = isinstance(section, IpsecGlobals)
    neither = not args.keywords & {"seconds", "days", "kilobytes"}
    if args.no and (neither or args.keywords & {"seconds", "days"}):
        section.lifetime_seconds = 3600 if everywhere else None
    if args.no and (neither or "kilobytes" in args.keywords):
        section.lifetime_kilobytes = 4608000 if everywhere else None
    if args.no:
        return
    if "kilobytes" in args.keywords:
        section.lifetime_kilobytes = args.get("kilobytes", "disable")
    else:
        section.lifetime_seconds = args["seconds"] if "seconds" in args else args["days"] * 86400


def _idle(load: Load, section: IpsecGlobals | SaPolicy, args: Args) -> None:
    section.idle_time = None if args.no else args["seconds"]
    if isinstance(section, SaPolicy):
        section.idle_default = not args.no and "default" in args.keywords


def _nat_transparency(load: Load, ipsec: IpsecGlobals, args: Args) -> None:
    attribute = "nat_spi_matching" if "spi-matching" in args.keywords else "nat_udp_encapsulation"
    setattr(ipsec, attribute, not args.no)
    load.mark(ipsec, attribute)


# --- crypto maps


def _family(args: Args) -> int:
    return 6 if "ipv6" in args.keywords else 4


def _map(load: Load, cfg: Configuration, args: Args) -> CryptoMap:
    name, family = args["name"], _family(args)
    found = cfg.crypto_maps.setdefault(name, CryptoMap(name, family))
    if found.family != family:
        load.error(f"crypto map '{name}' is one for IPv{found.family} already", column=args.column("name"))
    return found


def _drop_entry(load: Load, maps: dict[str, CryptoMap], args: Args) -> None:
    """`no crypto map NAME [SEQ]`."""
    name, seq = args.get("name"), args.get("seq")
    found = maps.get(str(name))
    if found is None:
        return
    found.entries[:] = [entry for entry in found.entries if seq is not None and entry.seq != seq]
    if not found.entries:
        del maps[found.name]
    for key in [key for key in load.index if isinstance(key, tuple) and key[:2] == (id(maps), name)]:
        if seq is None or key[2] == seq:
            del load.index[key]


def _entry(load: Load, maps: dict[str, CryptoMap], owner: CryptoMap, seq: int) -> tuple[CryptoMapEntry, bool]:
    """Find or make an entry; the flag tells that it is new."""
    key = (id(maps), owner.name, seq)
    found: CryptoMapEntry | None = load.index.get(key)
    if found is not None:
        return found, False
    found = load.index[key] = CryptoMapEntry(seq=seq, line=load.statement.line)
    owner.entries.append(found)
    return found, True


def _map_entry(load: Load, cfg: Configuration, args: Args) -> CryptoMapEntry | None:
    if args.no:
        _drop_entry(load, cfg.crypto_maps, args)
        return None
    entry, new = _entry(load, cfg.crypto_maps, _map(load, cfg, args), args["seq"])
    kind = next((kind for kind in _KINDS if kind in args.keywords), entry.kind)
    if not new and kind != entry.kind:
        load.error(f"entry {entry.seq} of crypto map '{args['name']}' is {entry.kind}", "remove it first")
    elif new:
        entry.kind = kind
    entry.dynamic_map = args.get("dynamic", entry.dynamic_map)
    return entry


def _dynamic_entry(load: Load, cfg: Configuration, args: Args) -> CryptoMapEntry | None:
    if args.no:
        _drop_entry(load, cfg.dynamic_maps, args)
        return None
    owner = cfg.dynamic_maps.setdefault(args["name"], CryptoMap(args["name"], _family(args)))
    return _entry(load, cfg.dynamic_maps, owner, args["seq"])[0]


def _map_setting(attribute: str) -> Handler:
    def handler(load: Load, cfg: Configuration, args: Args) -> None:
        if not args.no or args["name"] in cfg.crypto_maps:
            setattr(_map(load, cfg, args), attribute, None if args.no else str(args["value"]))

    return handler


def _profile(load: Load, cfg: Configuration, args: Args) -> IpsecProfile | None:
    if args.no:
        cfg.profiles.pop(args["name"], None)
        return None
    return cfg.profiles.setdefault(args["name"], IpsecProfile(name=args["name"], line=load.statement.line))


def finish(cfg: Configuration) -> None:
    """Sort the entries of every map by sequence number."""
    for each in (*cfg.crypto_maps.values(), *cfg.dynamic_maps.values()):
        each.entries.sort(key=lambda entry: entry.seq)
    for name in [name for name, each in cfg.crypto_maps.items() if each == CryptoMap(name, each.family)]:
        del cfg.crypto_maps[name]


def use_default_set(load: Load) -> None:
    """Give IOS's built-in transform set to profiles and complete map entries that name none.

    IOS negotiates `esp-aes esp-sha-hmac` for them, in transport mode where the traffic allows it, else in tunnel mode.
    `tunnel protection ipsec profile default` needs no profile of that name either: IOS has one built in.
    """
    cfg = load.cfg
    protecting = {each.tunnel.protection_profile for each in cfg.interfaces.values() if each.tunnel}
    if _DEFAULT_SET in protecting:
        cfg.profiles.setdefault(_DEFAULT_SET, IpsecProfile(name=_DEFAULT_SET))
    lacking: list[tuple[str, CryptoMapEntry | IpsecProfile]] = [
        (f"IPsec profile '{each.name}'", each) for each in cfg.profiles.values() if not each.transform_sets
    ]
    for dynamic, maps in ((False, cfg.crypto_maps), (True, cfg.dynamic_maps)):
        lacking += [
            (f"entry {entry.seq} of crypto map '{owner.name}'", entry)
            for owner in maps.values()
            for entry in owner.entries
            if not entry.transform_sets and entry.kind == "ipsec-isakmp" and not entry.dynamic_map
            and (dynamic or (entry.peers and entry.acl is not None))
        ]  # fmt: skip
    for where, section in lacking:
        section.transform_sets.append(_DEFAULT_SET)
        load.report("note", f"{where} names no transform set: the default one is used (esp-aes esp-sha-hmac)",
                    "write set transform-set NAME", line=section.line)  # fmt: skip
    named = {name for each in cfg.profiles.values() for name in each.transform_sets}
    for maps in (cfg.crypto_maps, cfg.dynamic_maps):
        named |= {name for owner in maps.values() for entry in owner.entries for name in entry.transform_sets}
    if _DEFAULT_SET in named and _DEFAULT_SET not in cfg.transform_sets:
        cfg.transform_sets[_DEFAULT_SET] = TransformSet(_DEFAULT_SET, ["esp-aes", "esp-sha-hmac"], mode="transport")


# --- inside an entry or a profile


def _set_peer(load: Load, entry: CryptoMapEntry, args: Args) -> None:
    found = args.get("prefixed", args.get("peer"))
    if args.no:
        gone = {id(each) for each in entry.peers if found in (None, each.address, each.hostname)}
        entry.peers[:] = [each for each in entry.peers if id(each) not in gone]
        load.index.pop(("peers", id(entry)), None)
        return
    if "address" in args.keywords:
        load.warn("'address' does not belong in set peer: taken as the peer's address", "write set peer ADDRESS")
    if "prefixed" in args:
        column = args.column("prefixed")
        load.warn(f"a peer takes no prefix length: taken as {found}", f"write set peer {found}", column=column)
    default, dynamic = "default" in args.keywords, "dynamic" in args.keywords
    if isinstance(found, str):
        peer = Peer(hostname=found, dynamic=dynamic, default=default)
    elif dynamic:
        load.error("'dynamic' is for host names", column=args.column("peer"))
        return
    else:
        peer = Peer(address=found, default=default)
    known = load.index.get(("peers", id(entry)))
    if known is None:
        known = load.index["peers", id(entry)] = {each.address or each.hostname: each for each in entry.peers}
    if found in known:
        vars(known[found]).update(vars(peer))
    else:
        known[found] = peer
        entry.peers.append(peer)


def _set_transform_set(load: Load, section: SaPolicy, args: Args) -> None:
    """A line replaces a profile's list, and adds to a crypto map entry's (the guide: by repeating this command)."""
    names: list[str] = args.get("names", [])
    if args.no:
        section.transform_sets[:] = [each for each in section.transform_sets if names and each not in names]
        return
    if isinstance(section, IpsecProfile):
        section.transform_sets.clear()
    section.transform_sets += [each for each in dict.fromkeys(names) if each not in section.transform_sets]
    if len(section.transform_sets) > _MOST_SETS:
        load.error(f"at most {_MOST_SETS} transform sets", column=args.column("names"))
        del section.transform_sets[_MOST_SETS:]


def _pfs(load: Load, section: SaPolicy, args: Args) -> None:
    section.pfs = None if args.no else int(str(args.get("group", "group1")).removeprefix("group"))


def _match_address(load: Load, entry: CryptoMapEntry, args: Args) -> None:
    if not args.no and "acl" not in args:
        load.error("incomplete command: an access list expected")
        return
    entry.acl = None if args.no else args["acl"]


def _session_key(load: Load, entry: CryptoMapEntry, args: Args) -> None:
    proto = "ah" if "ah" in args.keywords else "esp"
    direction = "inbound" if "inbound" in args.keywords else "outbound"
    entry.session_keys[:] = [each for each in entry.session_keys if (each.direction, each.proto) != (direction, proto)]
    if args.no:
        return
    if entry.kind != "ipsec-manual":
        load.error("session keys are for ipsec-manual entries")
        return
    masked = any(word.text == MASK for word in args.secrets)
    if masked:
        load.warn("the session key is masked: no SA can be made from it", "print the configuration with its keys")
    key = SessionKey(direction, proto, args["spi"], args.get("cipher", b""), args.get("auth", b""), masked)
    entry.session_keys.append(key)


def _reverse_route(load: Load, section: SaPolicy, args: Args) -> None:
    """`reverse-route [static | remote-peer A [gateway] | tag N]`: routes that qfp does not add, kept as written."""
    section.reverse_route = not args.no
    section.reverse_route_how = "" if args.no else written(load).partition(" ")[2]
    load.mark(section, "reverse_route")


def _set_reverse_route(load: Load, section: SaPolicy, args: Args) -> None:
    what = written(load).partition("reverse-route ")[2]
    word = what.partition(" ")[0]
    section.reverse_route_sets[:] = [each for each in section.reverse_route_sets if each.partition(" ")[0] != word]
    if not args.no:
        section.reverse_route_sets.append(what)


def _keep_unmodelled(load: Load, section: SaPolicy, args: Args) -> None:
    if not args.no:
        keep_with_warning(load, section, args)


def _gdoi_group(load: Load, cfg: Configuration, args: Args) -> Kept | None:
    if args.no:
        return None
    load.warn("GETVPN groups are kept but not interpreted")
    kept = Kept(" ".join(word.text for word in load.statement.words))
    cfg.gdoi_groups.append(kept)
    return kept


_SHARED: list[tuple[str, Handler]] = [
    ("set transform-set <names:@transform set+>", _set_transform_set),
    ("set pfs [<group:" + "|".join(f"group{number}" for number in PFS_GROUPS) + ">]", _pfs),
    ("set security-association lifetime {seconds <seconds:120-2592000> | days <days:1-30> "
     "| kilobytes {<kilobytes:2560-4294967295> | disable}}", _lifetime),
    ("set security-association idle-time <seconds:60-86400> [default]", _idle),
    ("set security-association replay {disable | window-size [<size:64|128|256|512|1024>]}", _replay),
    ("set security-association dfbit <value:clear|set|copy>", assign("df_bit")),
    ("set isakmp-profile <value:@ISAKMP profile>", assign("isakmp_profile")),
    ("description [<value:text>]", describe),
    ("reverse-route [static] [remote-peer <hop:address> [{gateway | static}]] [tag <tag:1-4294967295>] [static]",
     _reverse_route),
    ("reverse-route {remote-peer <hop:address> <gateway:address> | remote-peer <how:word>}", _reverse_route),
    ("set reverse-route {tag <tag:1-4294967295> | distance <distance:1-255> | gateway <hop:address>}",
     _set_reverse_route),
    *((f"{words} *", _keep_unmodelled) for words in
      ("set security-association level", "set ikev2-profile", "set identity", "set nat", "set mixed-mode", "set ip",
       "set security-policy", "set client", "set aggressive-mode", "set vrf", "set security-association flow-mode",
       "set security-association ecn", "set security-association dummy", "set reverse-route", "set mode", "set dfbit",
       "set tunnel-mode", "set isakmp-policy")),
]  # fmt: skip

_ENTRY: list[tuple[str, Handler]] = [
    *_SHARED,
    ("set peer [address] {<prefixed:prefixed> | <peer:endpoint>} [dynamic] [default]", _set_peer),
    ("set session-key {inbound | outbound} {ah <spi:256-4294967295> <auth:hexkey> "
     "| esp <spi:256-4294967295> [cipher <cipher:hexkey>] [authenticator <auth:hexkey>]}", _session_key),
    ("match address [<acl:@crypto access list>]", _match_address),
    ("qos pre-classify", flag("qos_pre_classify")),
    ("set group <value:word>", assign("group")),
]  # fmt: skip

_MAP = "crypto map [ipv6] <name:word>"
_KINDS = ("ipsec-isakmp", "ipsec-manual", "gdoi")
_GLOBALS: list[tuple[str, Handler]] = [
    ("security-association replay {disable | window-size [<size:64|128|256|512|1024>]}", _replay),
    ("security-association lifetime {seconds <seconds:120-2592000> | days <days:1-30> "
     "| kilobytes {<kilobytes:2560-4294967295> | disable}}", _lifetime),
    ("security-association idle-time <seconds:60-86400>", _idle),
    ("security-association multi-sn", flag("multi_sn")),
    ("security-association dummy pps <value:0-25>", assign("dummy_pps")),
    ("security-association dummy seconds <value:1-3600>", assign("dummy_seconds")),
    ("security-association ecn <value:discard|propagate>", assign("ecn")),
    ("df-bit <value:clear|set|copy>", assign("df_bit")),
    ("ipv4-deny <value:clear|drop|jump>", assign("ipv4_deny")),
    ("nat-transparency {udp-encapsulation | spi-matching}", _nat_transparency),
]  # fmt: skip

COMMANDS = [
    *(Command("global", f"crypto ipsec {pattern}", below("ipsec", handler)) for pattern, handler in _GLOBALS),
    Command("global", "crypto ipsec transform-set <name:word> [<transforms:word+>]", _transform_set, "transform-set"),
    Command("transform-set", "mode {<value:tunnel> | <value:transport> [require]}", _mode),
    Command("transform-set", "esn", flag("esn")),
    Command("global", "crypto ipsec profile <name:word>", _profile, "profile"),
    *(Command("profile", pattern, handler) for pattern, handler in _SHARED),
    Command("profile", "responder-only", flag("responder_only")),
    Command("global", f"{_MAP} <seq:1-65535> [{{{' | '.join(_KINDS)}}}]", _map_entry, "crypto-map"),
    Command("global", f"{_MAP} <seq:1-65535> ipsec-isakmp dynamic <dynamic:@dynamic map>", _map_entry,
            "crypto-map"),
    Command("global", f"{_MAP} local-address {{<value:interface> | <value:address>}}", _map_setting("local_address")),
    Command("global", f"{_MAP} isakmp-profile <value:@ISAKMP profile>", _map_setting("isakmp_profile")),
    *(Command("global", f"{_MAP} {word} *", keep_with_warning, verdict="kept")
      for word in ("client", "isakmp", "gdoi", "redundancy", "ipsec-isakmp")),
    Command("global", "crypto {dynamic-map | ipv6 dynamic-map} <name:word> <seq:1-65535>", _dynamic_entry,
            "crypto-map"),
    *(Command("crypto-map", pattern, handler) for pattern, handler in _ENTRY),
    Command("global", "crypto gdoi group [ipv6] <name:word>", _gdoi_group, "opaque", "kept"),
]  # fmt: skip
