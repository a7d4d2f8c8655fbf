"""How long SAs last: the rule (BASE-7, IDLE-1), from a configuration to numbers."""

from dataclasses import dataclass

from qfp.config import Configuration
from qfp.config.model import SaPolicy

SECOND = 10**9  # ns
KILOBYTE = 1024
RESERVE = 32  # s that the hard limit lies before the configured lifetime
SOFT_BEFORE = 167  # s that the soft limit lies before the hard one; in proportion where that is under 3568 s
SOFT_VOLUME = 86  # per cent of the hard limit in bytes
SOFT_NUMBERS = 86  # per cent of the sequence numbers, or of each space's


@dataclass(frozen=True)
class Limits:
    """Lifetimes of an SA pair. seconds: as configured; kilobytes, idle (s): None = no limit."""

    seconds: int
    kilobytes: int | None
    idle: int | None

    @classmethod
    def of(cls, settings: SaPolicy, config: Configuration) -> "Limits":
        """Those of a crypto map entry or profile, else the global ones."""
        own, ipsec = settings, config.ipsec
        seconds = ipsec.lifetime_seconds if own.lifetime_seconds is None else own.lifetime_seconds
        volume = ipsec.lifetime_kilobytes if own.lifetime_kilobytes is None else own.lifetime_kilobytes
        idle = ipsec.idle_time if own.idle_time is None else own.idle_time
        return cls(seconds, None if volume == "disable" else int(volume), idle)

    @property
    def hard_seconds(self) -> int:
        return self.seconds - RESERVE

    @property
    def soft_seconds(self) -> int:
        """3401 of 3568."""
        return self.hard_seconds - min(SOFT_BEFORE, self.hard_seconds * SOFT_BEFORE // 3568)

    @property
    def soft_kilobytes(self) -> int | None:
        """3,962,880 of 4,608,000."""
        return None if self.kilobytes is None else self.kilobytes * SOFT_VOLUME // 100
