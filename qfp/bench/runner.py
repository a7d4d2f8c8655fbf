"""The runner: cases in interleaved rounds, so that whatever is compared was measured in the same minutes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from qfp.bench.rows import Label, Row, packets_row

Sampler = Callable[[], dict[str, float]]


@dataclass
class Case:
    """Something to sample. `sample` returns ns a packet by kind of work; each becomes a row with that `work`."""

    label: Label
    sample: Sampler
    packet_bytes: float = 0.0
    suffix: str = ""  # appended to the work of each row
    samples: dict[str, list[float]] = field(default_factory=dict)

    def take(self) -> None:
        """One more sample."""
        for work, ns in self.sample().items():
            self.samples.setdefault(work, []).append(ns)

    def rows(self) -> list[Row]:
        """Rows of the samples taken so far."""
        return [
            packets_row(replace(self.label, work=f"{work}{self.suffix}"), ns, self.packet_bytes)
            for work, ns in self.samples.items()
        ]


def interleaved(cases: Sequence[Case], rounds: int, tick: Callable[[], None] = lambda: None) -> list[Row]:
    """Sample every case once a round, back and forth (A B C, C B A): a drift of the machine hits all alike."""
    for number in range(rounds):
        order: Iterable[Case] = cases if number % 2 == 0 else reversed(cases)
        for case in order:
            case.take()
            tick()
    return [row for case in cases for row in case.rows()]
