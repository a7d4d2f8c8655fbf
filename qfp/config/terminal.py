"""What a terminal adds around a configuration: prompts, pagers, the head of `show running-config`, log messages.

A capture of a session is read as the configuration in it. What was typed at a configuration prompt is a command; what
was typed at an exec prompt is none.
"""

from __future__ import annotations

import re

# Lines of the terminal's own. Each alternative begins where the line begins.
_OWN = re.compile(
    r"Building configuration\.\.\.|Current configuration ?:|Using [0-9]+ out of |Uncompressed configuration from |"
    r"Last configuration change|NVRAM config last updated|Load for (five|one) |Time source is |No time source|"
    r"Enter configuration commands, one per line|\[OK\]\s*$|%[A-Z0-9_]+-[0-7]-|%[A-Z0-9_]+-[A-Z0-9_]+-[0-7]-|"
    r"% |%% |\^\s*$|show |[*.]?[A-Z][a-z]{2} +[0-9]+ ([0-9]{4} )?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?( [A-Z]+)?: |"
    r"[*.]?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)? [A-Z]{2,5} [A-Z][a-z]{2} [A-Z][a-z]{2} [0-9]"
)
_PROMPT = re.compile(r"[A-Za-z0-9._/:-]{1,64}(\((?:config|cfg|ca|conf)[A-Za-z0-9-]*\)|\([a-z0-9-]+\))?[#>] ?")
_CONFIGURE = re.compile(r"conf(i|ig|igu|igur|igure)?( t(e|er|erm|ermi|ermin|ermina|erminal)?)?\s*\Z", re.IGNORECASE)
# The pager's word, and what wipes it out: backspaces and blanks, or a carriage return and blanks
_PAGER = re.compile(r"\s*(?:<-+ ?More ?-+>|-+ ?\(?[Mm]ore\)? ?-+)(?:\s*\x08[\x08 ]*\x08|\r *\r| {9,10}(?=\S)|\r)?")


def command_of(line: str) -> str | None:
    """Return the configuration command in a line of a terminal, its indentation kept; None if there is none."""
    if "More" in line or "more" in line:
        line = _PAGER.sub("", line, count=1) if _PAGER.match(line) else line
    if "\x08" in line:
        line = _backspaced(line)
    bare = line.lstrip()
    if not (bare[:1].islower() and bare[:5] != "show ") and _OWN.match(bare):  # nearly all commands are lower case
        return None
    if "#" in line or ">" in line:
        prompt = _PROMPT.match(line)
        if prompt is not None:
            typed = line[prompt.end() :]
            mode = prompt.group(1) or ""
            return typed if mode.startswith(("(config", "(cfg", "(ca", "(conf")) else None
    return line


def begins_configuring(line: str) -> bool:
    """Tell whether a line is `configure terminal`, at a prompt or without one."""
    if "#" not in line and line.lstrip()[:4].lower() != "conf":
        return False
    prompt = _PROMPT.match(line) if "#" in line else None
    return bool(_CONFIGURE.match(line[prompt.end() :] if prompt else line.strip()))


def _backspaced(line: str) -> str:
    """Apply backspaces as a terminal shows them."""
    shown: list[str] = []
    at = 0
    for char in line:
        if char == "\x08":
            at = max(0, at - 1)
        else:
            shown[at : at + 1] = [char]
            at += 1
    return "".join(shown)
