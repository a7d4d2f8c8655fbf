"""Every sentence of `explain` against the frame, the packets that left, and the verdict row.

A line is read clause by clause: each clause has a pattern, and a check of what it claims. What no pattern knows fails.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import explain_story as story
import naive
import naive_icmp
from explain_story import Book, Level, Sent
from naive import Bad, Ip, read_ip
from naive_fragments import Reassembler
from naive_routes import Routes

from qfp.explain import text
from qfp.explain.words import PROTOCOLS, moment
from qfp.result import CAUSE_WORDS, VERDICT_WORDS
from qfp_kernels import drops

NUMBERS = {name: number for number, name in PROTOCOLS.items()}
ADDRESS = r"[0-9a-f.:]+"
PACKET = (
    rf"IPv(?P<fam>[46]) (?P<src>{ADDRESS}) -> (?P<dst>{ADDRESS}) (?P<proto>\w+)(?: port (?P<sport>\d+) -> "
    r"(?P<dport>\d+))?(?: type (?P<type>\d+) code (?P<code>\d+))?(?:, (?P<frag>first|later) fragment)?, "
    r"(?P<size>\d+) bytes"
)
SA = r"SA (?P<sa>\d+) \(SPI (?P<spi>0x[0-9a-f]{8})\)"
NUMBER = r"number (?P<seq>\d+)(?: \((?P<counter>\d+) of its space\))?"
WHERE = (
    r"(?P<where>not checked|zero, which is never sent|"
    r"(?:above|below|inside) the window[\w ]*(?:, seen before|, not seen)?)"
)
ACE = (
    r"(?P<entry>(?:permit|deny) [^(]+) \((?P<map>crypto map \S+ \d+), access list (?P<acl>\S+), "
    r"(?P<file>\S+) line (?P<line>\d+)\)"
)
RULE = r"(?P<at>crypto map \S+ \d+|interface \S+): (?P<rule>permit [^;]+|any traffic routed into the tunnel)"
CLAUSES: dict[str, list[tuple[re.Pattern[str], Callable[..., None]]]] = {}


def clause(stages: str, pattern: str) -> Callable[[Any], Any]:
    """A sentence part of these stages, up to a separator or the end."""

    def enter(check: Any) -> Any:
        for stage in stages.split():
            CLAUSES.setdefault(stage, []).append((re.compile(pattern + r"(?=; |: |$)"), check))
        return check

    return enter


class Wrong(AssertionError):
    """A claim that does not hold, or a sentence that nobody knows."""


def hold(claim: Any, *shown: Any) -> None:
    if not claim:
        raise Wrong(" | ".join(map(str, shown)))


class Checker:
    """Checks the explanations of a result, frame by frame in order. Make it before the run; `lines`: the text of the
    configuration, `twin`: a NaiveRouter of it."""

    def __init__(self, owner: Any, lines: str = "", twin: Any = None):
        self.owner, self.book, self.twin = owner, Book(owner), twin
        self.config = getattr(owner, "config", None)
        self.routes = Routes(self.config) if self.config is not None else None
        self.lines = lines.split("\n")
        self.reassembler = Reassembler()
        self.gre_reassembler = Reassembler()
        self.seen: set[str] = set()  # clauses that were met: see test_explain_property

    # ------------------------------------------------------------------------------------------------ one frame
    def check(self, result: Any) -> None:
        """Every frame of a result."""
        for k in range(len(result.verdicts["frame"])):
            try:
                self.one(result, k, result.explain(k))
            except Wrong as wrong:
                self.on_wrong(wrong)

    def one(self, result: Any, k: int, facts: dict[str, Any]) -> None:
        """One explanation of frame k. Raises Wrong."""
        v = result.verdicts
        self.result, self.frame, self.facts = result, k, facts
        self.row = {name: column[k] for name, column in v.items()}
        records = result.packets.frames()
        first = int(self.row["first_out"]) - int(v["first_out"][v["first_out"] >= 0].min(initial=2**62))
        self._begin(records[first : first + int(self.row["n_out"])] if self.row["n_out"] else [])
        self._lines()

    def on_wrong(self, wrong: Wrong) -> None:
        """Show the explanation beside what is wrong with it."""
        shown = "\n".join(f"{line.stage:<11}{line.text}" for step in self.facts["stages"] for line in text.lines(step))
        raise Wrong(f"frame {self.frame}: {wrong}\n{shown}\n{text.tail(self.facts)}") from None

    def _begin(self, mine: list[bytes]) -> None:
        batch = self.result.source
        self.data = batch.frame(self.frame)
        self.link, self.wire = int(batch.link[self.frame]), int(batch.wire[self.frame])
        self.ts = int(batch.ts[self.frame])
        bare = story.link_stripped(self.data, self.link)
        self.cur: Any = None
        self.cause = ""
        if bare is not None:
            try:
                self.cur = read_ip(bare)
            except Bad as bad:
                self.cause = bad.args[0]
        self.levels: list[Level] = []
        self.said: list[tuple[int, int]] = []  # (handle, number) of levels that `lookup` told
        self.records = mine
        self.sent: list[Sent] = story.sent_packets(self.book, mine)
        self.errors = [s for s in self.sent if is_error_of(s.last, self)]
        self.truth: list[dict[str, Any]] = []
        self.entered: list[int] = []  # bytes of what went into tunnels
        self.judged = self.arriving = self.ports_known = False
        self.vif: str | None = None
        self.shown = self.inner = self.cur
        if self.config is not None:
            self.vrf = self.config.interfaces[self.came].vrf

    def _lines(self) -> None:
        self._line("head", text.head(self.facts))
        for step in self.facts["stages"]:
            self.step = step
            told = text.lines(step)
            decision = step["decision"]
            if "drop" in step:
                sentence = step["drop"]["sentence"]
                hold(decision.endswith(sentence), "drop without its sentence", decision)
                self._drop(step["drop"])
                decision = decision.removesuffix(sentence).removesuffix(": ")
            of = f"{step['of']}: " if "of" in step else ""
            hold(told[0].text == of + step["decision"], told[0].text)
            self._line(step["stage"], decision)
            for line in told[1:]:
                self._line("detail", line.text)
            check_facts(step, told)
        told = [step["drop"]["cause"] for step in self.facts["stages"] if "drop" in step]
        hold(bool(told) == (self.cause_word != "NONE"), "drops", told, self.cause_word)
        self._line("tail", text.tail(self.facts))

    def _drop(self, drop: dict[str, Any]) -> None:
        name = CAUSE_WORDS[int(self.row["cause"])]
        stage = drops.STAGES[int(self.row["stage"])]
        last = [s["drop"] for s in self.facts["stages"] if "drop" in s][-1]
        hold(last is not drop or (drop["cause"], drop["stage"]) == (name, stage), drop, name, stage)

    def _line(self, stage: str, line: str) -> None:
        """Clause by clause. A tail or detail is one clause."""
        rest = line
        while rest:
            for pattern, check in CLAUSES.get(stage, ()):
                found = pattern.match(rest)
                if found is None:
                    continue
                self.seen.add(f"{stage}: {check.__name__}")
                try:
                    check(self, found)
                except (StopIteration, LookupError) as error:  # what it names is not there
                    raise Wrong(f"{found.group()} | {type(error).__name__}: {error}") from error
                rest = re.sub(r"^(?:; |: )", "", rest[found.end() :])
                break
            else:
                raise Wrong(f"no pattern knows: {stage!r} {rest!r} in {line!r}")

    # ---------------------------------------------------------------------------------------------------- facts
    @property
    def verdict(self) -> str:
        return VERDICT_WORDS[int(self.row["verdict"])]

    @property
    def cause_word(self) -> str:
        return CAUSE_WORDS[int(self.row["cause"])]

    @property
    def decrypts(self) -> bool:
        return self.config is None

    def sa_is(self, m: Any) -> Any:
        """The SA that a clause names; its SPI is right."""
        sa = self.book.sas[int(m["sa"])]
        hold(sa.spi == int(m["spi"], 16), m.group(), hex(sa.spi))
        return sa

    def packet_is(self, m: Any, ip: Ip) -> None:
        """A PACKET clause against a packet."""
        hold(ip is not None, m.group(), "no packet")
        proto = NUMBERS.get(m["proto"]) if not m["proto"].isdigit() else int(m["proto"])
        said = (int(m["fam"]), int(ip_address(m["src"])), int(ip_address(m["dst"])), proto, int(m["size"]))
        hold(said == (ip.family, ip.src, ip.dst, ip.proto, len(ip.data)), m.group(), ip)
        upper = ip.data[ip.upper :]
        there = not ip.later and len(upper) >= 4
        ports = there and ip.proto in naive.WITH_PORTS
        hold((m["sport"] is not None) == ports, "ports", m.group())
        hold(not ports or (int(m["sport"]), int(m["dport"])) == (ip.sport, ip.dport), m.group(), ip)
        hold((m["type"] is not None) == (there and ip.proto in (1, 58)), "type", m.group())
        hold(m["type"] is None or (int(m["type"]), int(m["code"])) == (ip.sport, ip.dport), m.group())
        hold(m["frag"] == ("later" if ip.later else "first" if ip.fragment else None), "fragment", m.group())
        self.shown = ip

    def interface_of(self, ip: Ip) -> tuple[str, bool, Any] | None:
        """(interface, local, prefix) of the best route."""
        best = self.routes._longest(ip.dst, ip.family, self.vrf)
        found = self.routes.find(ip.dst, ip.family, self.vrf)
        return None if best is None or found is None else (*found, best[0])

    @property
    def came(self) -> str:
        return str(self.result.interfaces[int(self.row["in_if"])])

    def outs(self) -> Iterator[Sent]:
        """What left of the packet itself."""
        yield from (s for s in self.sent if s not in self.errors)


def is_error_of(ip: Ip, c: Checker) -> bool:
    """An ICMP error that this router made (and not one that it forwards)."""
    if ip.proto not in (1, 58) or c.decrypts or not (ip.later or naive_icmp.is_error(ip)):
        return False
    own = {int(a) for i in c.config.interfaces.values() for a in addresses(i)}
    return ip.src in own and ip.ttl == 255


def addresses(interface: Any) -> list[Any]:
    return [a.ip for a in interface.addresses4] + [a.interface.ip for a in interface.addresses6]


def check_facts(step: dict[str, Any], told: list[Any]) -> None:
    """Text and JSON say the same: every fact stands in the lines, every number of the lines in the facts."""
    shown = " ".join(line.text for line in told).replace(",", "")
    for name, value in leaves(step["facts"]):
        if (
            isinstance(value, bool)
            or value in (None, "null", "none")
            or name in ("level", "sp", "why", "version", "fault", "length", "n_out")
        ):
            continue
        hold(str(value).replace(",", "") in shown, "a fact that the text does not tell", name, value, shown)
    known = {str(v) for _, v in leaves(step)}
    words = " ".join(known).replace(",", "")
    for number in re.findall(r"(?<![\w.:/])\d+(?![\w.:/])", shown):
        hold(
            number in words or number in ("1", "2", "3948", "59", "4303", "6040") or "of" in step,
            "not in JSON",
            number,
            shown,
        )


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, key)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each, name)
    else:
        yield name, value


# ------------------------------------------------------------------------------------------------- head and tail
@clause("head", r"frame (\d+) \(#(\d+)\): (.+), (\d+) of (\d+) bytes, (.+ UTC|\d+ ns), in (\S+)")
def head(c: Checker, m: Any) -> None:
    link = {1: "Ethernet", 101: "raw IP"}.get(c.link)
    said = (int(m[1]), m[3], int(m[4]), int(m[5]), m[6], m[7])
    in_if = c.result.interfaces[int(c.row["in_if"])]
    hold(said == (c.frame, link, len(c.data), c.wire, moment(c.ts), in_if), m.group())
    hold(int(m[2]) == c.frame + 1, m.group())


TAIL = (
    r"(?P<verdict>\w+)(?: at (?P<stage>\w+): (?P<cause>\w+)\. (?P<sentence>.*?\.))??"
    r"(?:(?:: (?P<left>\d+) bytes| (?P<same>\d+) bytes)(?: in (?P<packets>\d+) packets)?(?: left all the same)?"
    r"(?: out of (?P<out>\S+?))?, output records? (?P<first>\d+)(?: to (?P<last>\d+))?)?"
    r"(?: \((?:SA (?P<sa>\d+))?(?:, )?(?:SPI (?P<spi>\S+), number (?P<seq>\d+))?\))?$"
)


@clause("tail", TAIL)
def tail(c: Checker, m: Any) -> None:
    row = c.row
    hold(m["verdict"] == c.verdict, m.group(), c.verdict)
    hold((m["cause"] or "NONE") == c.cause_word, m.group(), c.cause_word)
    hold(m["stage"] is None or m["stage"] == drops.STAGES[int(row["stage"])], m.group())
    size = int(m["left"] or m["same"] or 0)
    hold(size == int(row["len_out"]) == sum(map(len, c.records)), m.group(), [len(r) for r in c.records])
    if c.records:
        first = int(m["first"])
        last = int(m["last"] or first)
        hold((first, last - first + 1) == (int(row["first_out"]), len(c.records)), m.group())
    if m["out"] is not None:
        hold(c.result.interfaces[int(row["out_if"])] == m["out"], m.group())
    hold((-1 if m["sa"] is None else int(m["sa"])) == int(row["sa"]), m.group(), row["sa"])
    if m["spi"] is not None:
        hold((int(m["spi"], 16), int(m["seq"])) == (int(row["spi"]), int(row["seq"])), m.group(), row)
    else:
        hold(row["spi"] == 0, m.group())


@clause("walk", r"read (\d+) of (\d+) bytes from the trace")
def walk(c: Checker, m: Any) -> None:
    hold((int(m[1]), int(m[2])) == (len(c.data), c.wire), m.group())


@clause("deliver", r"(forwarded|consumed|punted|bypassed|dropped)")
def deliver(c: Checker, m: Any) -> None:
    hold(m[1] == c.verdict, m.group())


@clause("deliver", r"([A-Z_0-9]+)")
def deliver_cause(c: Checker, m: Any) -> None:
    hold(m[1] == c.cause_word, m.group())


@clause("reserve", r"output records? (\d+)(?: to (\d+))?")
def reserve(c: Checker, m: Any) -> None:
    first = int(m[1])
    hold(
        (first, int(m[2] or first)) == (int(c.row["first_out"]), int(c.row["first_out"]) + len(c.records) - 1),
        m.group(),
    )


@clause("reserve", r"the ICMP error")
def reserve_error(c: Checker, m: Any) -> None:
    hold(c.sent and all(out in c.errors or out.inner.fragment for out in c.sent), m.group())


# ------------------------------------------------------------------------------------------------------- details
@clause("detail", r"(TTL|hop limit) (\d+), DSCP (\d+), ECN (\d+)(, DF|, no DF)?$")
def packet_detail(c: Checker, m: Any) -> None:
    ip = c.shown
    df = None if ip.family == 6 else ", DF" if ip.df else ", no DF"
    said = (m[1], int(m[2]), int(m[3]), int(m[4]), m[5])
    hold(said == ("TTL" if ip.family == 4 else "hop limit", ip.ttl, ip.tos >> 2, ip.tos & 3, df), m.group(), ip)


@clause("detail", r"at (\w+): cause (\w+); IOS XE (?:(\d+) )?(\S+); Linux (\w+)$")
def cause_detail(c: Checker, m: Any) -> None:
    cause = next(x for x in drops.CAUSES if x.name == m[2])
    hold((m[4], m[5]) == (cause.xe_name, cause.linux), m.group())
    hold((None if m[3] is None else int(m[3])) == cause.xe_code, m.group())


SA_DETAIL = (
    rf"SA (?P<sa>\d+) \(connection (\d+), flow (\d+)\): (esp|ah) (?P<spi>0x\w{{8}}) ({ADDRESS}|\*) -> ({ADDRESS}|\*), "
    r"(\w+) mode, ([^,]+), ICV of (\d+) bytes(, ESN)?(?:, UDP (\d+) -> (\d+))?$"
)


@clause("detail", SA_DETAIL)
def sa_detail(c: Checker, m: Any) -> None:
    sa = c.sa_is(m)
    hold(int(m[2]) == 2000 + int(m[3]), m.group())
    ends = tuple("*" if a is None else str(a) for a in (sa.src, sa.dst))
    how = sa.integ if sa.proto == "ah" else sa.encr if sa.integ == "none" else f"{sa.encr} {sa.integ}"
    said = (m[4], (m[6], m[7]), m[8], m[9], int(m[10]), bool(m[11]))
    hold(said == (sa.proto, ends, sa.mode or "any", how, sa.icv_len or sa.icv_length, sa.esn), m.group(), sa)
    hold((m[12] is not None) == (sa.natt is not None), m.group())
    hold(m[12] is None or (int(m[12]), int(m[13])) == tuple(sa.natt), m.group())


@clause("detail", r"SPD entry (\d+): (.+), (permit .+|any traffic routed into the tunnel), peer (\S+)$")
def entry_detail(c: Checker, m: Any) -> None:
    pair = next(p for p in c.owner.sadb.pairs if p.want.sp == int(m[1]))
    hold((m[2], m[4]) == (pair.want.where, str(pair.want.peer)), m.group())


@clause("detail", rf"met {ACE}$")
def met_detail(c: Checker, m: Any) -> None:
    ace_stands(c, m)


@clause("detail", r"(came in clear, as the policy allows|it is what its SA may carry: .+|"
        r"the SA of \S+ carries any traffic|its SA belongs to no entry)$")  # fmt: skip
def arrival_detail(c: Checker, m: Any) -> None:
    hold(m[1].startswith("came in clear") == (not c.levels), m.group())


@clause("detail", rf"{SA}: {NUMBER} {WHERE}(?:, number (?P<own>\d+) of space (?P<space>\d+))?, (?P<icv>no ICV|ICV "
        r"(?:good|not good|not looked at))(?P<unjudged>, not judged)?, window of (?P<size>\d+), top (?P<top>\d+) -> "
        r"(?P<after>\d+)$")  # fmt: skip
def level_detail(c: Checker, m: Any) -> None:
    c.sa_is(m)
    truth = next(t for t in c.truth if t["sa"] == int(m["sa"]) and t["seq"] == int(m["seq"]))
    hold((m["where"], int(m["size"]), int(m["top"])) == (truth["where"], truth["size"], truth["top"]), m.group(), truth)
    hold(int(m["after"]) == truth["after"], m.group(), truth)
    hold(m["icv"] == truth["icv"], m.group(), truth)
    hold((m["unjudged"] is None) == truth["judged"], m.group(), truth)
    if m["space"] is not None:
        hold((int(m["space"]), int(m["own"])) == c.book.split(int(m["seq"])), m.group())


def ace_stands(c: Checker, m: Any) -> None:
    """The line of the file says what the clause says."""
    line = c.lines[int(m["line"]) - 1].strip()
    said = f"access-list {m['acl']} {m['entry']}" if line.startswith("access-list") else m["entry"]
    hold(re.sub(r"^\d+ ", "", line) == said, m.group(), line)
