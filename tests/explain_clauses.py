"""What each clause of a stage claims, and how that is held against the bytes: see explain_check."""

from ipaddress import ip_address, ip_network
from typing import Any

import explain_story as story
import naive
import naive_gre
import naive_icmp
from explain_check import ACE, ADDRESS, NUMBER, NUMBERS, PACKET, RULE, SA, WHERE, Checker, ace_stands, clause, hold
from naive import Bad, Ip, State, read_ip
from naive_policy import ace_fits

from qfp_kernels import drops

GRE = 47
ENGINE = (
    r"\((?P<how>[\w-]+(?: and [\w-]+)?)(?: over (?P<bytes>\d+) bytes)?, "
    r"(?P<engine>native|openssl|native, ICV by openssl) engine\)"
)
NATIVE = ("aes-gcm", "aes-gmac", "aes-cbc", "aes-ctr", "null")
NATIVE_MACS = ("none", "hmac-sha1-96", "hmac-sha256-96", "hmac-sha256-128")


# ---------------------------------------------------------------------------------------------- parse, reassemble
@clause("parse", "no IP packet")
def no_ip(c: Checker, m: Any) -> None:
    hold(c.verdict == "punted" and story.link_stripped(c.data, c.link) is None, "it is one")


@clause("parse lookup spd tunnel", "handed to the control plane")
def punted(c: Checker, m: Any) -> None:
    hold(c.verdict == "punted", "not punted")


@clause("parse", "refused")
def parse_refused(c: Checker, m: Any) -> None:
    hold(c.cause and c.cause == c.cause_word, c.cause, c.cause_word)


@clause("parse", PACKET)
def parsed(c: Checker, m: Any) -> None:
    c.packet_is(m, c.cur)
    hold("on to" in c.step["decision"] or c.cur.fragment, "a whole packet goes on")


@clause("parse", r"on to (INBOUND|OUTBOUND)(?: \(ESP, AH or UDP port of NAT traversal\))?")
def on_to(c: Checker, m: Any) -> None:
    hold(not c.cur.fragment, "a fragment goes on to no list")
    natt = c.cur.proto == 17 and 4500 in (c.cur.dport, c.cur.sport)
    hold(c.cur.proto in (50, 51) or natt or m[1] == "OUTBOUND", m.group())
    hold(c.cur.proto not in (50, 51) or m[1] == "INBOUND", m.group())


def is_ours(c: Checker) -> bool:
    """Whether fragments like the frame are put together here."""
    if c.decrypts:
        natt = any(sa.natt is not None for sa in c.book.first.values())
        return c.cur.proto in (50, 51) or (c.cur.proto == 17 and natt)
    found = c.interface_of(c.cur)
    return found is not None and found[1]


@clause("reassemble", "a fragment to be put together here")
def ours(c: Checker, m: Any) -> None:
    hold(c.cur.fragment and is_ours(c), m.group())


@clause("reassemble", "a fragment to be put together here, refused")
def ours_refused(c: Checker, m: Any) -> None:
    ours(c, m)
    hold(c.verdict == "dropped", c.verdict)
    try:
        c.reassembler.take(c.cur, c.ts, None)
        hold(c.cause_word.startswith("REASSEMBLY"), c.cause_word)
    except Bad as bad:
        hold(bad.args[0] == c.cause_word, bad.args[0], c.cause_word)


@clause("reassemble", "taken in, the rest of its packet is not there yet")
def taken_in(c: Checker, m: Any) -> None:
    hold(c.verdict == "consumed" and c.reassembler.take(c.cur, c.ts, None) is None, m.group())


@clause("reassemble", r"a fragment of (\d+) bytes makes its packet whole")
def whole(c: Checker, m: Any) -> None:
    hold(int(m[1]) == len(c.cur.data) and is_ours(c), m.group())
    c.cur = c.reassembler.take(c.cur, c.ts, None)
    hold(c.cur is not None, "not whole")


@clause("reassemble decap", PACKET)
def whole_packet(c: Checker, m: Any) -> None:
    c.packet_is(m, c.cur)


@clause("reassemble", "a fragment on its way through|a fragment that is not put together here")
def through(c: Checker, m: Any) -> None:
    hold(c.cur.fragment and not is_ours(c), m.group())


@clause("reassemble", r"port (\d+) -> (\d+), as its first fragment said")
def ports_known(c: Checker, m: Any) -> None:
    batch = c.result.source
    before = [read_ip(batch.frame(k)) for k in range(c.frame) if batch.frame(k)[:1] in (b"E", b"F", b"\x60")]
    ident = c.cur.data[4:6] if c.cur.family == 4 else None
    fits = [ip for ip in before if ip.ends == c.cur.ends and ip.fragment and not ip.later
            and (ident is None or ip.data[4:6] == ident)]  # fmt: skip
    hold(any((ip.sport, ip.dport) == (int(m[1]), int(m[2])) for ip in fits) and c.cur.later, m.group())
    c.cur.sport, c.cur.dport, c.ports_known = int(m[1]), int(m[2]), True


@clause("pathmtu", "an ICMP error about a packet's size|it makes no path MTU of an SA of ours smaller")
def no_news(c: Checker, m: Any) -> None:
    about = (c.cur.proto, c.cur.sport, c.cur.dport)
    hold(about == (1, 3, 4) or (c.cur.proto, c.cur.sport) == (58, 2), about)


@clause("pathmtu", rf"an ICMP error about a packet of {SA}")
def about_ours(c: Checker, m: Any) -> None:
    sa = c.sa_is(m)
    hold(sa.direction == "out" and sa.spi.to_bytes(4) in c.cur.data, m.group())


@clause("pathmtu", r"the SA learns a smaller path MTU, (\d+) -> (\d+), for the packets behind this one")
def learns(c: Checker, m: Any) -> None:
    at = c.cur.upper + (6 if c.cur.family == 4 else 4)
    told = int.from_bytes(c.cur.data[at : c.cur.upper + 8])
    hold(int(m[2]) < int(m[1]) and int(m[2]) == max(told, 576 if c.cur.family == 4 else 1280), m.group(), told)


# ------------------------------------------------------------------------------------------- lookup, open, decap
@clause("lookup", rf"{SA}, {NUMBER}: {WHERE} \(top (?P<top>\d+), size (?P<size>\d+)\)")
def found(c: Checker, m: Any) -> None:
    handle, seq, sa = int(m["sa"]), int(m["seq"]), c.sa_is(m)
    _, spi, low, _, _ = story.header_of(c.cur)
    hold(sa.spi == spi and seq & 0xFFFFFFFF == low, m.group(), hex(spi), low)
    hold(sa.dst is None or int(sa.dst) == c.cur.dst, m.group())
    if not c.book.multi:
        hold(seq == c.book.infer(handle, sa, low), m.group(), "inferred")
    space, own = c.book.split(seq)
    hold((m["counter"] is not None) == c.book.multi, m.group())
    hold(m["counter"] is None or int(m["counter"]) == own, m.group(), own)
    window = c.book.history(handle, sa, space)
    where, refuses = window.where(own, f" of space {space}" if c.book.multi else "")
    hold((m["where"], int(m["top"]), int(m["size"])) == (where, window.top, window.size), m.group(), where, window)
    level = story.open_level(c.book, handle, sa, c.cur, seq, True)
    c.levels.append(level)
    icv = "no ICV" if level.icv == "none" else "ICV not looked at" if refuses else f"ICV {level.icv}"
    c.truth.append({"sa": handle, "seq": seq, "own": own, "where": where, "size": window.size, "top": window.top,
                    "after": window.top, "icv": icv, "judged": False, "refuses": refuses, "window": window,
                    "good": level.icv != "not good"})  # fmt: skip
    early = "refused before it is opened" in c.step["decision"]
    hold(early == refuses, m.group(), "early refusal", refuses)


@clause("lookup", "refused before it is opened")
def early(c: Checker, m: Any) -> None:
    hold(c.truth[-1]["refuses"], m.group())


@clause("lookup", r"an old SA, (rekeyed|deleted) at (?P<at>.+?UTC|\d+ ns): (?P<reason>[^;]+)")
def old_sa(c: Checker, m: Any) -> None:
    hold(any(event_is(c, e, m) for e in c.owner.lifetimes.events), m.group())


def event_is(c: Checker, event: Any, m: Any) -> bool:
    from qfp.explain.words import moment

    return moment(event.ts) == m["at"] and event.ts <= c.ts


@clause("lookup", r"NAT keepalive \(RFC 3948\)")
def keepalive(c: Checker, m: Any) -> None:
    hold(c.cur.data[c.cur.upper + 8 : c.cur.upper + 9] == b"\xff", m.group())


@clause("lookup", "consumed")
def consumed(c: Checker, m: Any) -> None:
    hold(c.verdict == "consumed", c.verdict)


@clause("lookup", "(IKE|too short for ESP) on the NAT traversal port")
def ike(c: Checker, m: Any) -> None:
    payload = c.cur.data[c.cur.upper + 8 :]
    hold(payload[:4] == bytes(4) if m[1] == "IKE" else len(payload) < 8, m.group())


@clause("lookup", rf"(?P<inside>inside: )?(?P<proto>esp|ah) SPI (?P<spi>0x\w{{8}}) to (?P<dst>{ADDRESS}) "
        r"(?:refused|is refused \((?P<cause>\w+)\), once the SAs around it have been judged)")  # fmt: skip
def unfit(c: Checker, m: Any) -> None:
    proto = c.cur.proto
    at = c.cur.upper + (8 if proto == 17 else 4 if proto == 51 else 0)
    hold(c.cur.data[at : at + 4] == int(m["spi"], 16).to_bytes(4), m.group())
    hold(("ah" if proto == 51 else "esp", int(ip_address(m["dst"]))) == (m["proto"], c.cur.dst), m.group())
    hold(bool(m["inside"]) == bool(c.levels), m.group())


@clause(
    "lookup",
    r"(?:inside: )?what it carries (?:refused|is refused \((?P<cause>\w+)\), once the SAs around it have been judged)",
)
def unreadable(c: Checker, m: Any) -> None:
    hold(c.cause_word in ("RUNT", "FRAGMENT") or c.levels, c.cause_word)


@clause("lookup", r"its SA was (rekeyed|deleted) at (?P<at>.+?UTC|\d+ ns), (?P<reason>[^;]+)")
def its_sa_was(c: Checker, m: Any) -> None:
    hold(c.cause_word == "NO_SA" and any(event_is(c, e, m) for e in c.owner.lifetimes.events), m.group())


@clause("lookup", "(not|what was inside is not) for an SA of this device")
def transit(c: Checker, m: Any) -> None:
    hold((m[1] != "not") == bool(c.levels), m.group())


@clause("lookup spd tunnel", "goes on as it is")
def as_it_is(c: Checker, m: Any) -> None:
    hold(c.cur.proto in (50, 51, 17), c.cur.proto)


def crypto_is(c: Checker, m: Any, sa: Any, size: int) -> None:
    """Algorithms, who runs them, and over how many bytes."""
    how = sa.integ if sa.proto == "ah" else sa.encr if sa.integ == "none" else f"{sa.encr} and {sa.integ}"
    hold(m["how"] == how, m.group(), how)
    native = c.owner.sad.crypto.name == "native"
    mac = sa.integ in (*NATIVE_MACS, "aes-gmac") if sa.proto == "ah" else sa.integ in NATIVE_MACS
    engine = "native" if native and mac else "native, ICV by openssl" if native and sa.proto == "esp" else "openssl"
    if not native or (sa.proto == "esp" and sa.encr not in NATIVE):
        engine = "openssl"
    hold(m["engine"] == engine, m.group(), engine)
    hold(m["bytes"] is None or int(m["bytes"]) == size, m.group(), size)


@clause("open", rf"the ICV (?P<no>verifies|does not verify) {ENGINE}")
def icv(c: Checker, m: Any) -> None:
    level = c.levels[-1]
    hold((m["no"] == "verifies") == (level.icv == "good"), m.group(), level.icv)
    crypto_is(c, m, level.sa, level.body)


@clause("open", rf"(?P<bytes>\d+) bytes opened {ENGINE.replace('(?P<bytes>', '(?P<more>')}")
def opened(c: Checker, m: Any) -> None:
    crypto_is(c, m, c.levels[-1].sa, c.levels[-1].body)


@clause("open", "the SA has no ICV")
def no_icv(c: Checker, m: Any) -> None:
    hold(c.levels[-1].icv == "none", m.group())


@clause("decap", "left as it is|its ICV is wrong")
def left(c: Checker, m: Any) -> None:
    hold(c.levels[-1].icv == "not good", m.group())


@clause("decap", r"a dummy packet \(next header 59, RFC 4303 2\.6\), if the replay check passes")
def dummy(c: Checker, m: Any) -> None:
    hold(c.levels[-1].fault == "dummy", c.levels[-1].fault)


@clause("decap", r"its inside is at fault \((\w+)\), which counts if the replay check passes")
def fault(c: Checker, m: Any) -> None:
    hold(c.levels[-1].fault == m[1] or (m[1] == "SELECTOR_MISMATCH"), m.group(), c.levels[-1].fault)


@clause(
    "decap", r"(\d+) bytes become (\d+)(, expanded by LZS)?(, with an alarming pair of ECN codepoints \(RFC 6040\))?"
)
def becomes(c: Checker, m: Any) -> None:
    level = c.levels[-1]
    hold(level.inner is not None and int(m[1]) == len(c.cur.data), m.group(), level.fault)
    hold((bool(m[3]), bool(m[4])) == (level.expanded, level.alarm), m.group(), level.expanded, level.alarm)
    c.cur = level.inner
    hold(int(m[2]) == len(c.cur.data), m.group(), len(c.cur.data))


@clause("decap", "a further SA is looked for")
def further(c: Checker, m: Any) -> None:
    hold(naive.is_protected(c.cur), m.group())


@clause("select", rf"the selectors of {SA} do not name it, which counts if the replay check passes")
def not_named(c: Checker, m: Any) -> None:
    named = c.sa_is(m).selectors
    hold(named is not None and c.cur is not None, m.group(), named)


@clause("spd tunnel", "an address that no router forwards")
def martian(c: Checker, m: Any) -> None:
    hold(c.verdict == "dropped" and c.cause_word == "MARTIAN" and naive.is_martian(c.cur), m.group(), c.cause_word)


# ------------------------------------------------------------------------------------------------- commit, join
def judge(c: Checker) -> None:
    """Which levels are judged, and what the windows become."""
    if c.judged:
        return
    c.judged = True
    ended = c.cause_word in ("SA_EXPIRED", "SA_STALE") and drops.STAGES[int(c.row["stage"])] == "commit"
    for t in c.truth:
        t["judged"] = True
        if (ended and t["sa"] == int(c.row["sa"])) or t["refuses"] or not t["good"]:
            return
        if t["window"].size:
            t["window"].take(t["own"])
        t["window"].top = max(t["window"].top, t["own"])
        t["after"] = t["window"].top


@clause("commit", rf"{NUMBER} of {SA} accepted")
def accepted(c: Checker, m: Any) -> None:
    judge(c)
    truth = next(t for t in c.truth if (t["sa"], t["seq"]) == (int(m["sa"]), int(m["seq"])))
    c.sa_is(m)
    hold(truth["judged"] and not truth["refuses"] and truth["good"], m.group(), truth)
    c.this = truth


@clause("commit", rf"(?:it was {WHERE}|no replay check)")
def it_was(c: Checker, m: Any) -> None:
    hold((m["where"] or "not checked") == c.this["where"], m.group(), c.this)


@clause("commit", r"top (\d+) -> (\d+)")
def top(c: Checker, m: Any) -> None:
    hold((int(m[1]), int(m[2])) == (c.this["top"], c.this["after"]), m.group(), c.this)


@clause("commit", "the peer has moved to this SA, and so do we")
def moved(c: Checker, m: Any) -> None:
    hold(c.this["top"] == 0 and any(e.what == "rekeyed" and e.why == "peer" and e.ts == c.ts
                                    for e in c.owner.lifetimes.events), m.group())  # fmt: skip


@clause("commit", "a dummy packet")
def dummy_taken(c: Checker, m: Any) -> None:
    hold(c.levels[-1].fault == "dummy" and c.verdict == "consumed", m.group())


@clause("commit", "consumed")
def dummy_consumed(c: Checker, m: Any) -> None:
    hold(c.verdict == "consumed", c.verdict)


@clause("commit", "then what was found inside counts")
def inside_counts(c: Checker, m: Any) -> None:
    hold(c.verdict == "dropped" and drops.STAGES[int(c.row["stage"])] == "decap", c.row)


@clause(
    "commit", rf"refused \((?P<cause>REPLAY)\): {NUMBER} of {SA} is {WHERE} \(top (?P<top>\d+), size (?P<size>\d+)\)"
)
def replayed(c: Checker, m: Any) -> None:
    judge(c)
    t = [t for t in c.truth if t["judged"]][-1]
    c.sa_is(m)
    said = (m["cause"], int(m["sa"]), int(m["seq"]), m["where"], int(m["top"]), int(m["size"]))
    hold(said == (c.cause_word, t["sa"], t["seq"], t["where"], t["top"], t["size"]) and t["refuses"], m.group(), t)


@clause("commit", rf"refused \((?P<cause>INTEGRITY|ESN_GUESS)\): the ICV of {NUMBER} of {SA} is wrong")
def forged(c: Checker, m: Any) -> None:
    judge(c)
    t = [t for t in c.truth if t["judged"]][-1]
    hold((m["cause"], int(m["sa"]), int(m["seq"])) == (c.cause_word, t["sa"], t["seq"]) and not t["good"], m.group(), t)


@clause("commit", rf"refused \((?P<cause>SA_EXPIRED|SA_STALE)\): {SA} takes nothing more")
def takes_nothing(c: Checker, m: Any) -> None:
    judge(c)
    hold(m["cause"] == c.cause_word and int(m["sa"]) == int(c.row["sa"]), m.group())
    c.sa_is(m)


@clause("commit sequence", r"([\d,]+) packets?, ([\d,]+) bytes?")
def carried(c: Checker, m: Any) -> None:
    before = [k for k in range(c.frame) if int(c.result.verdicts["sa"][k]) == int(c.row["sa"])
              and c.result.verdicts["verdict"][k] == 1]  # fmt: skip
    hold(int(m[1].replace(",", "")) <= 3 * len(before) + 1, m.group(), before)


@clause("commit sequence", r"its (lifetime|idle time) of (\d+) s was over at (?P<at>.+?UTC|\d+ ns)")
def was_over(c: Checker, m: Any) -> None:
    limits = next(iter(c.owner.lifetimes.limits.values()))
    hold(int(m[2]) == (limits.seconds - 32 if m[1] == "lifetime" else limits.idle), m.group(), limits)
    hold(any(event_is(c, e, m) for e in c.owner.lifetimes.events), m.group())


@clause(
    "commit sequence",
    "its limit of volume is reached|it was made before multi-sn was switched, and waits to be cleared",
)
def volume_over(c: Checker, m: Any) -> None:
    hold(c.cause_word in ("SA_EXPIRED", "SA_STALE"), c.cause_word)


@clause("join", "the decapsulated packet goes on to OUTBOUND")
def goes_on(c: Checker, m: Any) -> None:
    hold(c.levels and not c.decrypts, m.group())


@clause("join", "(written out|clear packet, kept|clear packet, not written \\(--keep-clear would\\))")
def written(c: Checker, m: Any) -> None:
    hold(bool(c.levels) == (m[1] == "written out") and bool(c.records) == (m[1] != m[1].split(",")[0] + ", not written "
         "(--keep-clear would)"), m.group())  # fmt: skip
    hold(not c.records or c.records == [c.cur.data], m.group())


# ------------------------------------------------------------------------------------- routes and policies
@clause(
    "spd tunnel",
    r"route (\S+?)( \(local\))?(?:, goes into (\S+?))?(?:, egress (\S+?))?(, which has no crypto map for IPv[46])?",
)
def route(c: Checker, m: Any) -> None:
    best = c.interface_of(c.cur)
    hold(best is not None and (str(best[2]), best[1]) == (m[1], bool(m[2])), m.group(), best)
    interface = c.config.interfaces[best[0]]
    hold((m[3] is not None) == (interface.tunnel is not None and not best[1]), m.group(), best)
    hold(m[3] is None or m[3] == best[0], m.group(), best)
    c.egress = best[0]
    if m[4] is not None:
        out = best[0]
        if m[3] is not None:
            out = c.twin.routes.find(int(interface.tunnel.destination), interface.tunnel.destination.version,
                                     interface.tunnel.vrf)[0]  # fmt: skip
        hold(m[4] == out, m.group(), out)
    if m[5] is not None:
        hold(int(m[5][-1]) == c.cur.family, m.group())
        hold(not (interface.crypto_map if c.cur.family == 4 else interface.ipv6_crypto_map), m.group())


def peer_of(c: Checker, name: str) -> Any:
    """The destination of a tunnel, its name resolved."""
    found = c.config.interfaces[name].tunnel.destination
    return c.config.hosts[found][0] if isinstance(found, str) else found


@clause("spd tunnel", "no route")
def no_route(c: Checker, m: Any) -> None:
    hold(c.interface_of(c.cur) is None, m.group())


@clause("spd tunnel", "for this router itself, handed to the control plane")
def for_us(c: Checker, m: Any) -> None:
    hold(c.verdict == "punted" and c.interface_of(c.cur)[1], m.group())


@clause("spd", "GRE for this router itself")
def gre_for_us(c: Checker, m: Any) -> None:
    hold(c.cur.proto == GRE and c.interface_of(c.cur)[1], m.group())


def walk_policy(c: Checker, interface: str, ip: Ip, turned: bool = False) -> tuple[list[tuple[str, Any]], Any]:
    """(denies met: (map entry, ACE), (map entry, ACE) of the permit or None) in the crypto map of an interface."""
    conf = c.config.interfaces[interface]
    name = conf.crypto_map if ip.family == 4 else conf.ipv6_crypto_map
    cmap = c.config.crypto_maps.get(name or "")
    lists = c.config.access_lists if ip.family == 4 else c.config.ipv6_access_lists
    ends, ports = ip.ends, (ip.sport, ip.dport)
    if turned:
        ends = ends[::-1]
        ports = ports if ip.proto in (1, 58) else ports[::-1]
    denies = []
    if c.ports_known:
        ip = naive.read_ip(ip.data)
        ip.later = False
    for entry in cmap.entries if cmap is not None else ():
        if not entry.peers or entry.acl not in lists:
            continue
        hit = next((a for a in lists[entry.acl].entries if ace_fits(a, ip.family, ends, ports, ip)), None)
        if hit is not None and hit.permit:
            return denies, (f"crypto map {cmap.name} {entry.seq}", hit)
        if hit is not None:
            denies.append((f"crypto map {cmap.name} {entry.seq}", hit))
    return denies, None


@clause("spd tunnel", "it is what its SA may carry")
def may_carry(c: Checker, m: Any) -> None:
    hold(c.levels, m.group())
    c.arriving = True


@clause("spd tunnel", r"the SA of (\S+) carries any traffic")
def any_traffic(c: Checker, m: Any) -> None:
    hold(c.levels and c.config.interfaces[m[1]].tunnel.is_vti, m.group())
    sa = c.levels[-1].sa
    hold(sa.src is not None and int(sa.src) == int(peer_of(c, m[1])), m.group())
    c.vrf = c.config.interfaces[m[1]].vrf


@clause("spd tunnel", "its SA belongs to no entry")
def no_entry_sa(c: Checker, m: Any) -> None:
    hold(c.levels, m.group())


@clause("spd tunnel", rf"(?:its SA may carry )?{RULE}")
def rule(c: Checker, m: Any) -> None:
    arriving, c.arriving = c.arriving or m.group().startswith("its SA"), False
    if m["at"].startswith("interface"):
        conf = c.config.interfaces[m["at"].split()[1]]
        hold((m["rule"] == "any traffic routed into the tunnel") == conf.tunnel.is_vti, m.group())
        if not conf.tunnel.is_vti:
            tunnel = c.twin.gre[m["at"].split()[1]][0]
            hold(m["rule"] == f"permit gre {tunnel.local} -> {tunnel.peer}", m.group(), tunnel)
        return
    if m.group().startswith("its SA"):
        return  # what it may carry; the packet is something else
    port = c.vif or c.came if arriving else c.egress
    _, permit = walk_policy(c, port, c.cur, turned=arriving)
    hold(permit is not None and permit[0] == m["at"], m.group(), permit)
    rule_covers(c, m["rule"], permit[1], arriving)


def rule_covers(c: Checker, said: str, ace: Any, turned: bool) -> None:
    """The rule's text is that of the entry: networks, protocol, ports."""
    if " -> " not in said:
        hold(said in c.lines[ace.line - 1], said, c.lines[ace.line - 1])
        return
    proto, rest = said.removeprefix("permit ").split(" ", 1)
    sides = rest.split(" -> ")
    hold(proto in ("ip", "ipv6") if ace.protocol is None else NUMBERS.get(proto, proto) == ace.protocol, said, ace)
    ends = c.cur.ends[::-1] if turned else c.cur.ends
    for side, end, (value, mask) in zip(sides, ends, (ace.src, ace.dst), strict=True):
        name = side.split(" port")[0]
        hold((end & mask) == (value & mask), said, ace)
        if name == "any":
            hold(mask == 0, said, ace)
        elif " " not in name:
            net = ip_network(name)
            hold((int(net.network_address), int(net.netmask)) == (value & mask, mask), said, ace)


@clause("spd tunnel icmp", SA)
def by_sa(c: Checker, m: Any) -> None:
    sa = c.sa_is(m)
    hold(sa.direction == "out", m.group(), sa)
    if c.sent and c.step["stage"] != "icmp" and c.step.get("of") is None and list(c.outs()):
        used = {level.handle for out in c.outs() for level in out.levels}
        later = {s["facts"].get("sa") for s in c.facts["stages"] if s["stage"] == "sequence"}
        hold(used & {int(m["sa"]), *(h for h in later if isinstance(h, int))}, m.group(), used)


@clause("spd tunnel", r"exempt from protection by (.+?\))(?=: goes)")
def exempt(c: Checker, m: Any) -> None:
    import re

    denies, permit = walk_policy(c, c.egress, c.cur)
    said = [re.match(ACE, part) for part in re.split(r"(?<=\)), ", m[1])]
    hold(permit is None and len(denies) == len(said), m.group(), denies, permit)
    for one, (at, ace) in zip(said, denies, strict=True):
        hold(one is not None and (one["map"], int(one["line"])) == (at, ace.line), m.group(), ace)
        ace_stands(c, one)


@clause("spd tunnel", "no entry asks for protection")
def nothing_asked(c: Checker, m: Any) -> None:
    hold(walk_policy(c, c.egress, c.cur) == ([], None), m.group())


@clause("spd tunnel", "goes on in clear")
def in_clear(c: Checker, m: Any) -> None:
    outs = list(c.outs())
    dropped = c.verdict == "dropped"  # what left all the same is the ICMP error about it, which may be protected
    hold(dropped or not any(out.levels for out in outs), m.group(), "it left protected")
    hold(outs or c.verdict in ("dropped",), m.group(), c.verdict)


@clause("spd tunnel", r"refused by the inbound policy of (\S+)|the policy of (\S+) has no entry for this packet")
def refused_by(c: Checker, m: Any) -> None:
    hold(c.cause_word in ("NOT_IPSEC", "POLICY_MISMATCH"), c.cause_word)


@clause("spd tunnel", rf"refused by (?P<port>\S+): what comes in must be protected by {ACE}")
def must_be_protected(c: Checker, m: Any) -> None:
    hold(c.cause_word == "NOT_IPSEC" and not (c.levels and not c.vif), m.group())
    _, permit = walk_policy(c, m["port"], c.cur, turned=True)
    hold(permit is not None and permit[0] == m["map"] and permit[1].line == int(m["line"]), m.group(), permit)
    ace_stands(c, m)


@clause("spd tunnel", rf"the policy of (?P<port>\S+) has {ACE} for this packet")
def has_other(c: Checker, m: Any) -> None:
    _, permit = walk_policy(c, m["port"], c.cur, turned=True)
    hold(c.cause_word == "POLICY_MISMATCH" and permit is not None and permit[1].line == int(m["line"]), m.group())


@clause("spd tunnel", r"came through (\d+) of (\d+) SAs of (crypto map \S+ \d+|interface \S+)")
def not_whole(c: Checker, m: Any) -> None:
    hold(c.cause_word == "POLICY_MISMATCH" and int(m[1]) == len(c.levels) < int(m[2]), m.group())


# ----------------------------------------------------------------------------------------------------- tunnels
@clause("tunnel", r"(\d+) bytes come out of (\S+?)(?: and (\S+?))*")
def come_out(c: Checker, m: Any) -> None:
    hold(int(m[1]) == len(c.cur.data) or c.cur.fragment, m.group())
    if c.cur.fragment:
        c.cur = c.gre_reassembler.take(c.cur, c.ts, None) or c.cur
    for name in m.group().split("come out of ")[1].split(" and "):
        tunnel = c.twin.gre[name][0]
        hold((int(tunnel.peer), int(tunnel.local)) == c.cur.ends, m.group(), c.cur.ends)
        gre = naive_gre.read(c.cur.data[c.cur.upper :])
        try:
            c.cur, _ = naive.from_tunnel(gre.payload, 4 if gre.protocol == naive_gre.IPV4 else 41, c.cur.tos)
        except Bad as bad:
            hold(bad.args[0] == c.cause_word, bad.args)
            c.cur = read_ip(gre.payload)
        c.vif, c.vrf = name, c.config.interfaces[name].vrf


@clause("tunnel", rf"{PACKET}(?:, outer (?P<name>TTL|hop limit) (?P<ttl>\d+))?")
def tunnel_packet(c: Checker, m: Any) -> None:
    if m["ttl"] is None:
        c.packet_is(m, c.cur)
        return
    outs = [
        layer
        for out in c.outs()
        for layer in out.layers[:-1]
        if not any(layer.fragment for o in c.outs() for layer in o.layers)
    ]
    tunnel = c.twin.gre[c.into][0]
    ends = (int(ip_address(m["src"])), int(ip_address(m["dst"])))
    hold(ends == (int(tunnel.local), int(tunnel.peer)) and m["proto"] == "gre", m.group())
    c.entered.append(int(m["size"]))
    hold(int(m["ttl"]) == (tunnel.config.ttl or (255 if tunnel.family == 4 else 64)), m.group())
    if outs:
        fits = [ip for ip in outs if ip.ends == ends and len(ip.data) == int(m["size"])]
        hold(fits and {ip.ttl for ip in fits} == {int(m["ttl"])}, m.group(), outs)
        c.cur = c.shown = fits[0]
        index = int(c.step["of"].split()[1]) - 1 if "of" in c.step else 0
        c.cur = c.shown = fits[index] if index < len(fits) else fits[0]
    else:
        size = int(m["size"])
        tos = c.inner.tos if tunnel.config.tos is None else tunnel.config.tos
        clear = c.twin.df_rule(c.config.interfaces[c.into]) == "clear"
        copied = tunnel.config.path_mtu_discovery and c.inner.family == 4 and c.inner.df and not clear
        df = m["fam"] == "6" or copied
        c.cur = c.shown = Ip(bytes(size), int(m["fam"]), tos, int(m["ttl"]), *ends, GRE, 20, 9, 20, 9, False,
                             False, bool(df))  # fmt: skip
        c.made_up = True
    c.vrf = tunnel.vrf


@clause("tunnel", r"(TTL|hop limit) (\d+) -> (\d+), (\d+) bytes")
def inner_hop(c: Checker, m: Any) -> None:
    inner = c.inner if c.step.get("of") else c.cur
    c.inner = inner
    hold((m[1], int(m[2])) == ("TTL" if inner.family == 4 else "hop limit", inner.ttl), m.group(), inner.ttl)
    hold(int(m[3]) == inner.ttl - 1, m.group())
    cut = any(layer.fragment for out in c.outs() for layer in out.layers)
    sizes = [] if cut else [len(out.last.data) for out in c.outs() if len(out.layers) > 1]
    hold(int(m[4]) in sizes or not sizes, m.group(), sizes)
    hold(all(out.last.ttl == int(m[3]) for out in c.outs() if len(out.layers) > 1 and not cut), m.group())


@clause("tunnel", r"enters (\S+?)(?: and \S+?)*?(?: and (\S+?))?")
def enters(c: Checker, m: Any) -> None:
    c.into = m[2] or m[1]
    hold(c.into in c.twin.gre, m.group())
    best = c.interface_of(c.inner)
    hold((best is not None and best[0] == m[1]) or c.step.get("of", "piece 1") != "piece 1", m.group(), best)


@clause("tunnel", r"egress (\S+)")
def egress(c: Checker, m: Any) -> None:
    tunnel = c.twin.gre[c.into][0]
    under = c.twin.routes.find(int(tunnel.peer), tunnel.family, tunnel.vrf)
    hold(under is not None and under[0] == m[1], m.group(), under)


@clause("tunnel", r"GRE that carries neither IPv4 nor IPv6 \(a keepalive\)")
def keepalive_gre(c: Checker, m: Any) -> None:
    kind = naive_gre.read(c.cur.data[c.cur.upper :]).protocol
    hold(kind not in (naive_gre.IPV4, naive_gre.IPV6), m.group())


@clause("tunnel", "the tunnel is protected, and this GRE packet did not come by its SA")
def unprotected(c: Checker, m: Any) -> None:
    hold(c.cause_word in ("NOT_IPSEC", "POLICY_MISMATCH"), c.cause_word)


@clause("tunnel", "refused")
def tunnel_refused(c: Checker, m: Any) -> None:
    hold(c.verdict == "dropped", c.verdict)


@clause("tunnel", r"(\d+) bytes, and (\S+) takes (\d+)")
def tunnel_takes(c: Checker, m: Any) -> None:
    hold(c.cause_word == "FRAG_NEEDED" and int(m[1]) == len(c.cur.data) > int(m[3]), m.group(), len(c.cur.data))
    error_tells(c, int(m[3]))


def error_tells(c: Checker, mtu: int) -> None:
    """The ICMP error, if one was sent, names this MTU."""
    for ip in (sent.last for sent in c.errors if not sent.last.later):
        at = ip.upper + (6 if ip.family == 4 else 4)
        hold(int.from_bytes(ip.data[at : ip.upper + 8]) == mtu, mtu)


@clause("tunnel", r"(\S+) is down")
def is_down(c: Checker, m: Any) -> None:
    hold(c.cause_word == "IF_DOWN" and m[1] in c.config.interfaces, m.group())


@clause("tunnel", r"(TTL|hop limit) (\d+) would reach zero at (\S+)")
def tunnel_zero(c: Checker, m: Any) -> None:
    hold(c.cause_word == "TTL_EXPIRED" and int(m[2]) == c.cur.ttl <= 1, m.group(), c.cur.ttl)


@clause("tunnel", "a fragment of a GRE packet|taken in, the rest is not there yet")
def gre_fragment(c: Checker, m: Any) -> None:
    hold(c.verdict == "consumed" and c.cur.fragment and c.cur.proto == GRE, m.group())
    if m.group().startswith("taken"):
        c.gre_reassembler.take(c.cur, c.ts, None)


# ------------------------------------------------------------------------------------------------- hop, sizes
@clause("forward", r"(TTL|hop limit) (\d+) -> (\d+)")
def hop(c: Checker, m: Any) -> None:
    hold((m[1], int(m[2])) == ("TTL" if c.cur.family == 4 else "hop limit", c.cur.ttl), m.group(), c.cur.ttl)
    hold(int(m[3]) == c.cur.ttl - 1, m.group())
    hold(all(out.inner.ttl == int(m[3]) for out in c.outs()), m.group(), [o.inner.ttl for o in c.outs()])


@clause("forward", r"outer (TTL|hop limit) (\d+): this router's own packet has made no hop")
def no_hop(c: Checker, m: Any) -> None:
    outs = [out.layers[0] for out in c.outs() if len(out.layers) > 1]
    hold(int(m[2]) == c.cur.ttl and c.cur.proto == GRE, m.group())
    hold(all(ip.ttl == int(m[2]) for ip in outs), m.group())


@clause("forward", r"(TTL|hop limit) (\d+) would reach zero")
def reach_zero(c: Checker, m: Any) -> None:
    hold(c.cause_word == "TTL_EXPIRED" and int(m[2]) == c.cur.ttl <= 1, m.group(), c.cur.ttl)


@clause("forward", "the MSS of TCP is lowered")
def mss(c: Checker, m: Any) -> None:
    hold(c.cur.proto == 6, m.group())
    hold(all(out.last.data[out.last.upper :] != c.cur.data[c.cur.upper :] for out in c.outs()), m.group())


@clause("forward", r"longer than the line's (\d+) bytes")
def longer(c: Checker, m: Any) -> None:
    import re

    entered = [step["decision"] for step in c.facts["stages"] if step["stage"] == "tunnel" and "of" in c.step
               and step.get("of") == c.step["of"]]  # fmt: skip
    said = [re.search(r" gre, (\d+) bytes", each) for each in entered]  # of several pieces `cur` is the last one's
    size = int(said[0][1]) if said and said[0] else len(c.cur.data)
    hold(size > int(m[1]) and max(map(len, c.records)) <= int(m[1]), m.group(), size)


@clause("forward", "fragmented")
def fragmented(c: Checker, m: Any) -> None:
    hold(len(c.records) > 1, m.group())


@clause("forward", r"(\d+) bytes, and the line takes (\d+)")
def line_takes(c: Checker, m: Any) -> None:
    hold(c.cause_word == "FRAG_NEEDED" and int(m[1]) == len(c.cur.data) > int(m[2]), m.group())


@clause("plan", r"(\d+) bytes, and at most (\d+) may be protected here")
def at_most(c: Checker, m: Any) -> None:
    hold(c.cause_word == "FRAG_NEEDED" and int(m[1]) == len(c.cur.data) > int(m[2]), m.group(), len(c.cur.data))
    error_tells(c, int(m[2]))


@clause("plan", r"(\d+) bytes are too long for a path of (\d+) bytes once protected")
def under_least(c: Checker, m: Any) -> None:
    hold(c.cause_word == "FRAG_NEEDED" and int(m[1]) == len(c.cur.data), m.group(), len(c.cur.data))


@clause("plan", "cannot be protected as it is")
def unprotectable(c: Checker, m: Any) -> None:
    hold(c.verdict == "dropped", c.verdict)


@clause("plan", r"fragmented before encryption: (\d+) bytes become (\d+(?: \+ \d+)+)")
def before_encryption(c: Checker, m: Any) -> None:
    sizes = [int(n) for n in m[2].split(" + ")]
    if "of" not in c.step or c.step["of"] == "piece 1":
        hold(int(m[1]) in (len(c.cur.data), *c.entered), m.group(), len(c.cur.data), c.entered)
    have = [len(out.inner.data) for out in c.sent]
    hold(not have or all(n in have for n in sizes) or c.verdict == "dropped", m.group(), have)


@clause("plan", r"too long for a path of (\d+) bytes once protected")
def too_long(c: Checker, m: Any) -> None:
    cut = [out for out in c.sent if len(out.records) > 1]
    hold(not c.sent or (cut and all(max(out.records) <= int(m[1]) < len(out.packet.data) for out in cut))
         or "compression" in c.step["decision"], m.group(), [o.records for o in c.sent])  # fmt: skip


@clause("plan", "fragmented after encryption(?: if compression does not make it fit)?")
def after_encryption(c: Checker, m: Any) -> None:
    hold(c.sent, m.group())


# ------------------------------------------------------------------------------------------------- ICMP errors
@clause(
    "icmp",
    rf"ICMP type (\d+) code (\d+) to ({ADDRESS}?)(?:, MTU (\d+))?(?:, egress (?P<out>\S+?))?"
    r"(?:, by (?P<by>SA \d+ \(SPI \w+\)))?",
)
def icmp_error(c: Checker, m: Any) -> None:
    if "cannot be sent" in c.step["decision"] or "not sent" in c.step["decision"]:
        hold(not c.errors, m.group())
        return
    if any(out.inner.fragment and out.inner.proto == GRE for out in c.sent):
        return  # it left in a tunnel, and in pieces
    hold(len(c.errors) >= 1, m.group(), "no error left")
    ip = c.errors[0].last
    hold((int(m[1]), int(m[2]), int(ip_address(m[3]))) == (ip.sport, ip.dport, ip.dst), m.group(), ip)
    if m[4] is not None:
        error_tells(c, int(m[4]))
    hold(bool(m["by"]) == bool(c.errors[0].levels), m.group())


@clause("icmp", r"cannot be sent \((\w+)\)|to this router itself, not sent")
def lost_error(c: Checker, m: Any) -> None:
    hold(not c.errors, m.group())


@clause("icmp", "no ICMP error")
def silent(c: Checker, m: Any) -> None:
    hold(not c.errors, m.group())


@clause("icmp", "the rate limit holds it back")
def rate_limit(c: Checker, m: Any) -> None:
    hold(c.result.counters["icmp_limited"] and naive_icmp.may_answer(c.cur, c.cause_word), m.group())


@clause("icmp", r"(\S+) has no IPv([46]) address to send it from")
def no_address(c: Checker, m: Any) -> None:
    conf = c.config.interfaces[m[1]]
    hold(not (conf.addresses4 if m[2] == "4" else conf.addresses6), m.group())


@clause("icmp", r"(\S+) has no unreachables configured")
def no_unreachables(c: Checker, m: Any) -> None:
    conf = c.config.interfaces[m[1]]
    hold(not (conf.unreachables if c.cur.family == 4 else conf.unreachables6), m.group())


@clause("icmp", "this router made the packet itself")
def made_here(c: Checker, m: Any) -> None:
    every = c.config.interfaces.values()
    own = {int(each.ip) for conf in every for each in conf.addresses4}
    own |= {int(each.interface.ip) for conf in every for each in conf.addresses6}
    hold(c.cur.src in own, m.group(), c.cur.src)


@clause("icmp", "none is sent about an error, a later fragment, or a packet that is not from one host")
def not_about(c: Checker, m: Any) -> None:
    hold(not naive_icmp.may_answer(c.cur, c.cause_word), m.group())


# ------------------------------------------------------------------------------------------- queues and numbers
@clause("queue", r"DSCP (\d+) is class (\S+) of (\S+) on (\S+)")
def queue(c: Checker, m: Any) -> None:
    hold(int(m[1]) == c.cur.tos >> 2, m.group(), c.cur.tos)
    hold(m[3] == c.config.interfaces[m[4]].service_policy_out, m.group())
    c.class_named = m[2]


@clause("queue", r"queue (\d+)(?:, sequence-number space (\d+))?")
def queue_number(c: Checker, m: Any) -> None:
    names = [each.name for each in c.config.policy_maps[next(
        i.service_policy_out for i in c.config.interfaces.values() if i.service_policy_out)].classes]  # fmt: skip
    names = [name for name in names if name != "class-default"] + ["class-default"]
    hold(names[int(m[1])] == c.class_named, m.group(), names)
    hold((m[2] is not None) == (c.book.multi and bool(c.sent and c.sent[0].levels)), m.group())
    if m[2] is not None:
        number = c.sent[0].levels[0].seq
        hold(int(m[2]) == c.book.split(number)[0], m.group(), hex(number))


def protected(c: Checker, handle: int, seq: int) -> tuple[story.Sent, story.Level]:
    """What left with this number of this SA."""
    for out in c.sent:
        for level in out.levels:
            if level.handle == handle and level.seq == seq:
                return out, level
    hold(False, f"nothing left with number {seq} of SA {handle}", [(x.handle, x.seq) for o in c.sent for x in o.levels])
    raise AssertionError


@clause(
    "sequence", r"number (?P<seq>\d+) of SA (?P<sa>\d+)(?:, space (?P<space>\d+))?(?:, IP identification (?P<id>\d+))?"
)
def number(c: Checker, m: Any) -> None:
    out, level = protected(c, int(m["sa"]), int(m["seq"]))
    hold(len(out.levels) == 1, m.group(), "a bundle")
    ident_is(c, m, out, level)


@clause("sequence", r"numbers (?P<seq>\d+) of SA (?P<sa>\d+) and (?P<seq2>\d+) of SA (?P<sa2>\d+) \(AH\)"
        r"(?:, space (?P<space>\d+))?(?:, IP identification (?P<id>\d+))?")  # fmt: skip
def numbers(c: Checker, m: Any) -> None:
    out, level = protected(c, int(m["sa"]), int(m["seq"]))
    outer = protected(c, int(m["sa2"]), int(m["seq2"]))
    hold(outer[0] is out and outer[1].sa.proto == "ah", m.group())
    ident_is(c, m, out, level)


def ident_is(c: Checker, m: Any, out: story.Sent, level: story.Level) -> None:
    c.current = out
    wanted = out.packet.family == 4 and level.sa.mode == "tunnel"
    hold((m["id"] is not None) == wanted, m.group(), out.packet.family, level.sa.mode)
    hold(not wanted or int(m["id"]) == int.from_bytes(out.packet.data[4:6]), m.group())
    hold((m["space"] is not None) == c.book.multi, m.group())
    hold(m["space"] is None or int(m["space"]) == c.book.split(level.seq)[0], m.group())
    c.said.append((level.handle, level.seq))


@clause(
    "sequence", r"SA (?P<sa>\d+) has reached its soft limit \(([\d,]+) packets?, ([\d,]+) bytes?\) of (volume|numbers)"
)
def soft(c: Checker, m: Any) -> None:
    life, out = c.owner.tables.t.life[int(m["sa"])], c.owner.tables.t.sa_out[int(m["sa"])]
    said = (int(m[2].replace(",", "")), int(m[3].replace(",", "")))
    hold(said == (int(out["packets"]), int(out["bytes"])), m.group(), out)
    hold((m[4] == "volume") == (int(out["bytes"]) >= int(life["soft"])), m.group())


@clause(
    "sequence", rf"{SA} follows the one with SPI (?P<old>0x\w{{8}}), (?P<what>rekeyed|deleted) at (?P<at>.+?UTC|\d+ ns)"
)
def follows(c: Checker, m: Any) -> None:
    sa = c.sa_is(m)
    pair = next(k for k, p in enumerate(c.owner.sadb.pairs) if p.want.peer == sa.dst)
    want = c.owner.sadb.pairs[pair].want
    chain = [c.owner.sadb.derive(want, g, True)[0].spi for g in range(40)]
    hold(chain.index(sa.spi) == chain.index(int(m["old"], 16)) + 1, m.group(), "not the next generation")
    c.event = next(e for e in c.owner.lifetimes.events if e.spi == int(m["old"], 16)
                   and e.what in ("rekeyed", "idle", "cleared") and event_is(c, e, m))  # fmt: skip
    hold((c.event.what == "rekeyed") == (m["what"] == "rekeyed"), m.group(), c.event)
    c.old = int(m["old"], 16)


def times_of(c: Checker, spi: int) -> list[int]:
    """When packets left with an SPI before this frame (outermost SA)."""
    v = c.result.verdicts
    return [int(v["ts"][k]) for k in range(c.frame) if int(v["spi"][k]) == spi and v["n_out"][k]]


@clause("sequence", r"nothing was sent or received for (\d+) s")
def idle(c: Checker, m: Any) -> None:
    last = times_of(c, c.old)[-1]
    hold(c.event.ts == last + int(m[1]) * 10**9 <= c.ts, m.group(), c.event, last)


@clause("sequence", r"its soft lifetime of (\d+) s was over")
def by_time(c: Checker, m: Any) -> None:
    first = times_of(c, c.old)[0]
    hold(c.event.ts == first + int(m[1]) * 10**9 <= c.ts and c.event.why == "time", m.group(), c.event, first)


@clause(
    "sequence",
    "(its soft limit of volume was reached|its sequence numbers were running out|clear crypto sa|the peer moved first)",
)
def by_other(c: Checker, m: Any) -> None:
    why = {"its soft limit of volume was reached": "volume", "its sequence numbers were running out": "numbers",
           "the peer moved first": "peer", "clear crypto sa": ""}[m[1]]  # fmt: skip
    hold(c.event.why == why, m.group(), c.event)


@clause("sequence", rf"{SA} sends nothing more")
def sends_nothing(c: Checker, m: Any) -> None:
    c.sa_is(m)
    hold(c.cause_word in ("SA_EXPIRED", "SA_STALE") and int(c.row["sa"]) == int(m["sa"]), m.group())


@clause("sequence", r"(?:space (\d+) of )?SA (\d+) has no number left")
def no_number(c: Checker, m: Any) -> None:
    hold(c.cause_word == "SEQ_OVERFLOW" and int(c.row["sa"]) == int(m[2]), m.group())
    hold((m[1] is not None) == c.book.multi, m.group())


# ---------------------------------------------------------------------------------------------- headers, sealing
def this_row(c: Checker) -> story.Sent:
    """What left for the row that the step is about: rows take numbers in the order of their sentences."""
    of = c.step.get("of", "")
    stage = c.step["stage"]
    mine = [s for s in c.facts["stages"] if s["stage"] == stage]
    place = next(k for k, s in enumerate(mine) if s is c.step)
    if "pieces" in of:
        place = int(of.split()[-3]) - 1  # of equal ones the first stands for all
    wanted = c.said if stage != "seal_ah" else [x for x in c.said]
    hold(place < len(wanted), of, "more rows than numbers", len(wanted))
    return protected(c, *wanted[place])[0]


@clause("compress", r"LZS: (\d+) bytes become (\d+)")
def lzs(c: Checker, m: Any) -> None:
    out = this_row(c)
    level = out.levels[-1]
    hold(level.expanded and int(m[1]) == len(out.inner.data) > int(m[2]), m.group(), len(out.inner.data))
    state = State(level.sa)
    _, _, _, start, end = story.header_of(level.packet)
    payload, kind = naive.strip_trailer(naive.open_esp(state, level.packet.data[start:end], level.seq) or b"")
    head = out.inner.split if level.sa.mode == "transport" else 0
    hold(kind == 108 and int(m[2]) == len(payload) + head, m.group(), len(payload))


@clause("compress", r"LZS leaves (\d+) bytes as they are: under 90 bytes of payload, or not made smaller")
def lzs_not(c: Checker, m: Any) -> None:
    out = this_row(c)
    hold(not out.levels[-1].expanded and int(m[1]) == len(out.inner.data), m.group())


@clause("encap", rf"(tunnel|transport) mode ({ADDRESS}) -> ({ADDRESS}?)(?:, outer (TTL|hop limit) (\d+))?"
        r"(?:, in UDP (\d+) -> (\d+))?: (\d+) bytes become (\d+)")  # fmt: skip
def encap(c: Checker, m: Any) -> None:
    out = this_row(c)
    ip, level = out.packet, out.levels[-1]
    ends = tuple(int(ip_address(a)) for a in (m[2], m[3]))
    hold((m[1], ends) == (level.sa.mode, ip.ends), m.group(), ip)
    hold((m[4] is not None) == (m[1] == "tunnel"), m.group())
    hold(m[5] is None or int(m[5]) == ip.ttl, m.group(), ip.ttl)
    hold((m[6] is not None) == (ip.proto == 17), m.group())
    hold(m[6] is None or (int(m[6]), int(m[7])) == (ip.sport, ip.dport), m.group())
    inner = len(out.inner.data)
    hold((inner == int(m[8]) or level.expanded) and int(m[9]) == len(ip.data), m.group(), inner, len(ip.data))


@clause("seal", r"(?P<bytes>\d+) bytes sealed with (?P<how>\S+(?: and \S+)?) \((?P<engine>[^)]+) engine\)")
def seal(c: Checker, m: Any) -> None:
    level = this_row(c).levels[-1]
    crypto_is(c, m, level.sa, level.body)


@clause("seal_ah", rf"AH of {SA}: (?P<how>\S+) over (?P<bytes>\d+) bytes \((?P<engine>[^)]+) engine\)")
def seal_ah(c: Checker, m: Any) -> None:
    out = this_row(c)
    level = out.levels[0]
    hold(level.sa.proto == "ah" and level.handle == int(m["sa"]), m.group())
    c.sa_is(m)
    crypto_is(c, m, level.sa, len(out.packet.data))
