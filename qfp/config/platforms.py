"""Which device is modelled, and which of the guide's features it has (guide chapter 2, feature information; AR-11)."""

from __future__ import annotations

import re

from .issues import ConfigError
from .load import Load

Release = tuple[int, int, int]

# Release from which a platform has several sequence-number spaces in an SA; None: never.
MULTI_SN_SINCE: dict[str, Release | None] = {
    "csr1000v": (16, 6, 1),
    "isr4200": (16, 7, 1),
    "isr4300": (16, 7, 1),
    "isr4400": None,
    "asr1000": (16, 8, 1),  # those with an Octeon crypto engine
}
RELEASE: Release = (16, 6, 1)  # the guide's
TRAINS = {16: (1, 12), 17: (1, 18)}  # IOS XE: first and last minor number of each major one
_RELEASE = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})(?:\.([0-9]{1,2})[a-z]?)?\Z")


def release_of(text: str) -> Release:
    """A release such as "16.9", "16.06.01" or "17.3.4a". Raises ConfigError, which lists those known."""
    found = _RELEASE.match(text.strip().lower())
    if found is not None:
        major, minor, build = (int(part or 1) for part in found.groups())
        first, last = TRAINS.get(major, (1, 0))
        if first <= minor <= last:
            return major, minor, build
    known = ", ".join(f"{major}.{first} to {major}.{last}" for major, (first, last) in TRAINS.items())
    raise ConfigError(f"release {text!r} is not known (known: {known}, as in 16.9 or 16.6.1)")


def platform_of(model: str | None, release: str | None) -> tuple[str | None, Release]:
    """The platform's name in small letters, and its release, the guide's unless one is given.

    Raises ConfigError, which lists those known.
    """
    if model is None:
        if release is not None:
            known = ", ".join(MULTI_SN_SINCE)
            told = f"release {release!r} needs a platform beside it: the default one has every feature"
            raise ConfigError(f"{told} (known: {known})")
        return None, RELEASE
    name = model.lower()
    if name not in MULTI_SN_SINCE:
        raise ConfigError(f"platform {model!r} is not known (known: {', '.join(MULTI_SN_SINCE)})")
    return name, RELEASE if release is None else release_of(release)


def has_multi_sn(model: str | None, release: Release = RELEASE) -> bool:
    """Tell whether a device has multi-SNS; `None` is the default platform, which has everything."""
    if model is None:
        return True
    since = MULTI_SN_SINCE[model]
    return since is not None and release >= since


def check_platform(load: Load) -> None:
    """Refuse the lines that the modelled device does not have: they cost themselves, and nothing else."""
    platform, ipsec = load.cfg.platform, load.cfg.ipsec
    platform.transport6 = platform.model is None
    if not platform.transport6:
        _tunnel_only6(load)
    if not ipsec.multi_sn or has_multi_sn(platform.model, platform.release):
        return
    since = MULTI_SN_SINCE[str(platform.model)]
    line, column = load.marked(ipsec, "multi_sn") or (0, 0)
    load.warn(f"platform {platform.model} with release {_shown(platform.release)} refuses "
              "'security-association multi-sn': the line has no effect",
              "no release has it there" if since is None else f"it is there from {_shown(since)} on",
              line=line, column=column)  # fmt: skip
    ipsec.multi_sn = False


def _tunnel_only6(load: Load) -> None:
    """The guide's routers protect IPv6 peers in site-to-site tunnel mode only (chapter 10; VTI-7)."""
    cfg = load.cfg
    used = {name for each in cfg.crypto_maps.values() if each.family == 6
            for entry in each.entries for name in entry.transform_sets}  # fmt: skip
    for interface in cfg.interfaces.values():
        tunnel = interface.tunnel
        if tunnel is not None and not tunnel.is_vti and tunnel.mode.endswith("ipv6"):
            profile = cfg.profiles.get(tunnel.protection_profile or "")
            used.update(profile.transform_sets if profile is not None else ())
    for found in (cfg.transform_sets[name] for name in cfg.transform_sets if name in used):
        if found.mode == "transport":
            told = f"platform {cfg.platform.model} protects IPv6 peers in tunnel mode only"
            load.warn(f"{told}: 'mode transport' of transform set {found.name} has no effect with them",
                      "write mode tunnel", line=found.line)  # fmt: skip


def _shown(release: Release) -> str:
    return ".".join(map(str, release))
