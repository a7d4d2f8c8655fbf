"""The life of one SA pair at one end, one packet at a time: the obvious version of qfp/control/lifetimes.py and
qfp_kernels/limits.py. Written from their descriptions; knows generations and numbers, no bytes of packets."""

from dataclasses import dataclass, field

S = 10**9
OLD = 30 * S
AHEAD = 8  # generations behind the next one whose packets are known


@dataclass
class End:
    """One end of a pair. Limits: soft, hard, idle in ns, volumes in bytes, numbers a count; None = no limit."""

    soft: int
    hard: int
    idle: int | None = None
    soft_bytes: int | None = None
    hard_bytes: int | None = None
    soft_numbers: int = 2**32
    rekey: bool = True
    generation: int = 0
    birth: int | None = None
    last: int = 0
    sent: int = 0
    number: int = 1
    dead: bool = False
    received: dict[int, int] = field(default_factory=dict)
    old: list[tuple[int, int]] = field(default_factory=list)  # when, generation
    lingering: list[int] = field(default_factory=list)
    events: list[tuple[int, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.received = {0: 0, 1: 0} if self.rekey else {0: 0}

    def advance(self, now: int) -> None:
        """Everything that is due up to `now`."""
        while True:
            due = [(at, 0, g) for at, g in self.old]
            if self.birth is not None:
                due.append((self.birth + self.soft, 1, 0) if self.rekey else (self.birth + self.hard, 2, 0))
                if self.idle is not None:
                    due.append((self.last + self.idle, 3, 0))
            due = sorted(d for d in due if d[0] <= now)
            if not due:
                return
            at, what, g = due[0]
            if what == 0:
                self.old.remove((at, g))
                if g in self.received and g < self.generation:
                    del self.received[g]
                    self.events.append((at, "deleted", ""))
            elif what == 1:
                self.move(at, "rekeyed", "time")
            elif what == 3 and self.rekey:
                self.move(at, "idle", "idle", keep=False)
            else:
                self.dead, self.birth = True, None
                self.events.append((at, "expired", "time") if what == 2 else (at, "idle", "idle"))

    def move(self, at: int, what: str, why: str, keep: bool = True, to: int | None = None) -> None:
        """The next generation, or `to`, takes over, and is not in use yet."""
        self.events.append((at, what, why))
        g = self.generation
        if keep:
            self.lingering.append(g)
            if self.birth is not None:
                self.old.append((max(self.birth + self.hard, at), g))
        else:
            del self.received[g]
        self.generation, self.birth, self.sent, self.number = to or g + 1, None, 0, 1
        for waiting in [n for n in self.received if g < n < self.generation]:
            del self.received[waiting]
        self.received.setdefault(self.generation, 0)
        self.received[self.generation + 1] = 0

    def use(self, at: int) -> None:
        """The first packet of a generation."""
        self.birth = self.last = at
        self.old += [(at + OLD, g) for g in self.lingering]
        self.lingering = []

    def send(self, at: int, size: int) -> tuple[int, int] | str:
        """(generation, number) of a packet, or why there is none."""
        self.advance(at)
        if self.dead or (self.hard_bytes is not None and self.sent >= self.hard_bytes):
            return "SA_EXPIRED"
        if self.birth is None:
            self.use(at)
        volume = self.soft_bytes is not None and self.sent >= self.soft_bytes
        if self.rekey and (volume or self.number > self.soft_numbers):
            self.move(at, "rekeyed", "volume" if volume else "numbers")
            self.use(at)
        self.sent += size
        self.number += 1
        self.last = max(self.last, at)
        return self.generation, self.number - 1

    def receive(self, at: int, generation: int, size: int) -> str:
        """What becomes of a packet that came on an SA of a generation."""
        self.advance(at)
        if self.rekey and self.generation + 1 < generation <= self.generation + 1 + AHEAD:
            self.move(at, "rekeyed", "peer", to=generation)  # the peer has left out some
            self.received[generation] += size
            self.use(at)
            return "forwarded"
        if generation not in self.received:
            return "NO_SA"
        if self.dead or (self.hard_bytes is not None and self.received[generation] >= self.hard_bytes):
            return "SA_EXPIRED"
        self.received[generation] += size
        if generation == self.generation + 1:
            self.move(at, "rekeyed", "peer")
        if generation == self.generation:
            if self.birth is None:
                self.use(at)
            self.last = max(self.last, at)
        return "forwarded"
