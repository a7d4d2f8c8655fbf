"""No text makes the reader raise, hang or print what it cannot read back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qfp.config import loads, render
from qfp.config.commands import TABLE, grammar
from qfp.config.grammar import Args, Match, _Search, _straight, expand
from qfp.config.lex import words_of
from qfp.config.tree import TreeReader, walk

pytestmark = pytest.mark.req("BASE-1", "BASE-2")

EXAMPLES = [path.read_text() for path in sorted((Path(__file__).parent / "guide_configs").glob("*.cfg"))]
WORDS = [
    *sorted({word for text in EXAMPLES for word in text.split()}),
    "no", "default", "end", "exit", "!", "0", "-1", "4294967296", "1" * 5000, "::", "/",
    "fe80::1%1", "²", "\x85", "\x00", "^C",
]  # fmt: skip
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(text: str) -> None:
    """Load anything; what loads without errors prints to what loads to the same."""
    cfg = loads(text)
    for each in cfg.issues:
        assert str(each)
    assert [row.line for row in cfg.lines] == list(range(1, text.count("\n") + 2))
    for keys in (True, False):
        printed = loads(render(cfg, show_keys=keys))
        if keys and cfg.ok:
            assert printed == cfg, [str(issue) for issue in printed.issues]


@QUICK
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    check(data.decode("latin-1"))


@QUICK
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    check(text)


@QUICK
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=12).map("\n".join))
def test_words_of_the_guide_in_any_order(text: str) -> None:
    check(text)


@QUICK
@given(st.data())
def test_mutated_examples(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(EXAMPLES)).split("\n")
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        words = lines[at].split()
        action = data.draw(st.sampled_from(["drop", "swap", "no", "cut", "double", "word"]))
        if action == "drop":
            lines[at] = ""
        elif action == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif action == "no":
            lines[at] = "no " + lines[at].strip()
        elif action == "cut":
            lines[at] = " ".join(words[:-1])
        elif action == "double":
            lines.insert(at, lines[at])
        elif words:
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(WORDS))
            lines[at] = " ".join(words)
    check("\n".join(lines))


SAMPLES = {
    "word": ["a", "b", "10", "ipv6", "vrf"], "text": ["x y", "remark"], "secret": ["k3y", "0", "address"],
    "hexkey": ["abcd", "********"], "ip4": ["10.0.0.1", "10.1.0.0"], "mask": ["255.0.0.0", "255.255.255.255"],
    "ip6": ["fe80::1", "2001:db8::1"], "prefix6": ["2001:db8::1/64", "::/0"], "prefixed": ["10.0.0.1/24"],
    "address": ["10.0.0.1", "2001::1"], "endpoint": ["10.0.0.9", "host"], "interface": ["gi0/0", "Tunnel 1"],
    "exit-if": ["gi0/0"], "new-interface": ["gi0/0", "Tunnel1"], "dscp": ["ef", "12"], "precedence": ["3", "critical"],
}  # fmt: skip
FORMS = [(command, tokens) for command in TABLE if command.verdict == "applied" for tokens in expand(command.pattern)]
OPENERS = [form for form in FORMS if form[0].enters]
INSIDE = {command.mode: [form for form in FORMS if form[0].mode == command.mode] for command, _ in FORMS}
ENDS = ["", " ip any any", " tcp any eq 80 any gt 5", " any", " esp-aes 192 esp-sha-hmac", " ah-md5-hmac"]


def written(data: st.DataObject, tokens: tuple[str, ...]) -> str:
    """Draw a line of a form: keywords as they are, arguments from the samples or from their range."""
    words = []
    for token in tokens:
        spec = token[1:-1].partition(":")[2].rstrip("+") if token.startswith("<") else ""
        if not spec:
            words.append("" if token == "*" else token)
        elif spec in SAMPLES:
            words.append(data.draw(st.sampled_from(SAMPLES[spec])))
        elif spec.startswith("@"):
            words.append(data.draw(st.sampled_from(["a", "b", "10"])))
        elif spec.replace("-", "").isdigit():
            words.append(str(data.draw(st.integers(*map(int, spec.split("-"))))))
        else:
            words.append(data.draw(st.sampled_from(spec.split("|"))))
    return data.draw(st.sampled_from(["", "", "", "", "no "])) + " ".join(words)


@QUICK
@given(st.data())
def test_commands_drawn_from_the_table(data: st.DataObject) -> None:
    """Sections of commands in any order, with `no` forms; lines with errors are left out."""
    lines: list[str] = []
    for _ in range(data.draw(st.integers(1, 4))):
        command, tokens = data.draw(st.sampled_from(OPENERS))
        drawn = [written(data, tokens) + data.draw(st.sampled_from(ENDS))]
        inside = INSIDE.get(command.enters, [])
        for _ in range(data.draw(st.integers(0, 4)) if inside else 0):
            drawn.append(
                " " + written(data, data.draw(st.sampled_from(inside))[1]) + data.draw(st.sampled_from(ENDS[:2]))
            )
        drawn.append(written(data, data.draw(st.sampled_from(INSIDE["global"]))[1]))
        for line in drawn:
            if loads("\n".join([*lines, line])).ok:
                lines.append(line)
    check("\n".join(lines))


@pytest.mark.parametrize("mode", sorted({command.mode for command in TABLE}))
def test_every_pattern_is_compiled(mode: str) -> None:
    """The grammar has every mode that a command opens."""
    opened = {command.enters for command in TABLE if command.enters} - {"opaque"}
    assert opened <= {command.mode for command in TABLE}


@pytest.mark.parametrize(
    "line",
    [
        "crypto map m {0} ipsec-isakmp\n set peer 10.0.0.1\n match address a{0}",
        "access-list 101 permit ip host 10.0.0.1 any",
        "nonsense {0} more",
        "interface gi0/0/{0}\n nonsense {0}",
        "ip route 10.0.0.0 255.0.0.0 10.1.1.1 name n{0}",
        "banner motd {0}",
    ],
)
def test_work_is_linear(line: str) -> None:
    """Four times the lines take about four times the work, in lines of code run (16 would be quadratic)."""

    def work(count: int) -> int:
        text = "\n".join(line.format(i + 1) for i in range(count))
        ran = 0

        def step(frame: object, event: str, arg: object) -> object:
            nonlocal ran
            ran += event == "line"
            return step

        before = sys.gettrace()
        sys.settrace(step)  # type: ignore[arg-type]
        try:
            loads(text)
        finally:
            sys.settrace(before)
        return ran

    loads("")  # compile the grammar
    assert work(600) < 5.5 * work(150)


@QUICK
@given(st.data())
def test_going_straight_finds_what_the_search_finds(data: st.DataObject) -> None:
    """Lines of the guide in every mode, with words cut short, exchanged and left out."""
    every = grammar()
    words = data.draw(st.sampled_from(data.draw(st.sampled_from(EXAMPLES)).split("\n"))).split() or ["exit"]
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] = data.draw(st.sampled_from([words[at], words[at][:1], words[at][:3], *WORDS[:: len(WORDS) // 40]]))
    line = words_of(" ".join(words[: data.draw(st.integers(1, len(words)))]))
    for mode, root in every.modes.items():
        for start in range(min(2, len(line) - 1) + 1):
            straight = _straight(root, line, start, Args(line, start == 1))
            search = _Search(line, Args(line, start == 1))
            command = search.walk(root, start)
            if straight is not None:
                assert command is straight.command, (mode, words)
                assert (search.args, vars(search.args)) == (straight.args, vars(straight.args))


def test_nearly_every_line_of_the_guide_goes_straight() -> None:
    """Else nothing is gained by it. What does not: words cut short that only the rest of the line tells."""
    reader = TreeReader(grammar())
    reader.read("\n".join(EXAMPLES))
    lines = [(each.mode, each.words, each.found.args.no) for each in walk(reader.root) if isinstance(each.found, Match)]
    straight = [_straight(grammar().modes[mode], words, int(no), Args(words, no)) for mode, words, no in lines]
    assert len(lines) > 300 and sum(each is not None for each in straight) > 0.95 * len(lines)
