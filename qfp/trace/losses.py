"""What of a capture does not go into another file: counted while it is converted, by what the target can hold.

pcapng (draft-ietf-opsawg-pcapng) carries more than packets: comments and other options, names of hosts, statistics,
keys. None of that is copied, least of all decryption secrets; pcap
and tables cannot say everything of interfaces either.
"""

from __future__ import annotations

from collections import Counter

from qfp.trace.source import Source, name_links
from qfp.trace.walker import Walker
from qfp_kernels import capture as C
from qfp_kernels.jit import compile_stage

# kind of block -> what it is; packets, sections and interfaces are counted by what is lost of them
BLOCKS = {4: "name resolution blocks", 5: "interface statistics blocks", 10: "decryption secrets blocks (keys)"}
OTHER = "blocks of other kinds"


class Losses:
    """Counts of what is left out, by words."""

    def __init__(self, form: str):
        self._form = form
        self.counts: Counter[str] = Counter()

    def rows(self, walker: Walker, rows: int) -> None:
        """The rows of a vector, while their blocks are still at hand."""
        if walker.source.walk is C.walk_pcapng:
            found = compile_stage(C.count_options)(walker.p, walker.t, rows)
            self.counts["packets with comments or other options"] += found

    def finish(self, source: Source) -> dict[str, int]:
        """All counts that are not 0."""
        if source.walk is C.walk_pcapng:
            self._blocks(source)
        names = [name for name, _ in name_links(source)] or source.given_names
        if self._form == ".pcap":
            self.counts["names of interfaces"] += sum(bool(name) for name in names)
            if len(names) > 1:
                self.counts["interfaces (their packets are told apart no more)"] += len(names)
        return {words: count for words, count in self.counts.items() if count}

    def _blocks(self, source: Source) -> None:
        for kind, words in BLOCKS.items():
            self.counts[words] += int(source.state[C.W_LEFT_OUT + C.LEFT_OUT_KINDS.index(kind)])
        self.counts[OTHER] += int(source.state[C.W_LEFT_OUT + len(C.LEFT_OUT_KINDS)])
        sections = int(source.state[C.W_SECTION])
        self.counts["sections beyond the first (their interfaces go into one)"] += max(0, sections)


def sentence(losses: dict[str, int]) -> str:
    """For people: `3 name resolution blocks, 1 packets with …`."""
    return ", ".join(f"{count} {words}" for words, count in losses.items())
