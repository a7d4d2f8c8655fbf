"""The lines of a dump without what pasting and terminals put around them: mail quoting, colours, times, prompts."""

import re
from dataclasses import dataclass

_ESCAPES = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|[\x00\x07\x08\x0f]"
)
_QUOTES = re.compile(r"\s*(?:>\s?)+")
_TIMES = re.compile(
    r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?:?\s+"  # ISO 8601, ts, ip -ts monitor
    r"|\[\s*\d+\.\d+\]\s+"  # dmesg
    r"|(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? (?!\d{4})"  # syslog
)
_HOST = re.compile(r"[\w.-]+ [\w./-]+(?:\[\d+\])?: ")  # behind the time of a line of syslog
# A shell's prompt with or without a command, and commands without prompt
_PROMPT = re.compile(
    r"(?:[\[(]?[\w.~:@/+-]{0,64}(?:[@:~ ][\w.~:@/ +-]{0,64})?[\])]?\s?[#$%]|[\w.-]{1,64}>)(?:\s.*)?$"
    r"|(?:sudo|doas|su|exit|logout|Timestamp:|script|ip|setkey|tcpdump|ipsecctl|ipsec|swanctl|journalctl|cat|less|date)(?![\w-]|\s*[:=]).*$"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its number from 1, and its text."""

    number: int
    text: str

    @property
    def column(self) -> int:
        """Where its first word begins, from 1, as far as nothing was taken off."""
        return len(self.text) - len(self.text.lstrip()) + 1


def cleaned(text: str) -> list[Line]:
    """The lines of a text that are not blank, without escape sequences, mail quoting and times in front."""
    lines = []
    for number, raw in enumerate(text.split("\n"), 1):  # not splitlines: a form feed is no line end to an editor
        line = _ESCAPES.sub("", raw).replace("\xa0", " ").rstrip()
        quoted = _QUOTES.match(line)
        if quoted:
            line = line[quoted.end() :]
        stamped = _TIMES.match(line)
        if stamped:
            line = line[stamped.end() :]
            host = _HOST.match(line)
            line = line[host.end() :] if host else line
        if line.strip():
            lines.append(Line(number, line))
    return lines


def is_noise(line: Line) -> bool:
    """Whether a line is a comment, a prompt or a command: nothing that a dump could have meant."""
    text = line.text.strip()
    return text.startswith("#") or _PROMPT.match(text) is not None
