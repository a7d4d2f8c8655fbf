"""The SADB of a router: SPD entries get their SAs, by whichever keying was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qfp.config import Configuration, TransformSet
from qfp.control import keying
from qfp.control.mtu import df_rule, fragments_before
from qfp.control.policy import Want
from qfp.sa import SaError, SecurityAssociation
from qfp.tables.sad import Profile, Sad, Wanted
from qfp.tables.store import Tables

KEYINGS = ("auto", "manual")
Job = tuple[Want, list[SecurityAssociation], bool]  # SAs of one direction of an entry; whether it is the inbound one


class KeyingError(ValueError):
    """A keying that cannot be used with this configuration."""


@dataclass(frozen=True)
class Pair:
    """SAs of one SPD entry: handles, the payload's SA first; empty where there are none. `generation`: how often they
    were rekeyed."""

    want: Want
    outbound: tuple[int, ...]
    inbound: tuple[int, ...]
    generation: int = 0


def _at_this_end(sa: SecurityAssociation, inbound: bool) -> SecurityAssociation:
    """An SA of the other end's key file as it is here: what that end sends next this one has not received, and what it
    received last this one has sent."""
    if inbound and sa.direction == "out":
        return sa.as_captured()
    if not inbound and sa.direction == "in" and 0 < sa.seq < sa.seq_limit:
        return replace(sa, seq=sa.seq + 1)
    return sa


class Sadb:
    """Installs SAs for SPD entries and knows which belongs to which."""

    SAVED = ("pairs", "derived")  # see qfp.checkpoint

    def __init__(self, config: Configuration, tables: Tables, sad: Sad, warn: Callable[[int, str, str], None]):
        self._config, self._tables, self._sad, self._warn = config, tables, sad, warn
        self._seed = 0
        self._comp: dict[tuple[str, ...], bool] = {}  # whether IPComp comes first, by names of transform sets
        self.pairs: list[Pair] = []
        self.derived: set[int] = set()  # pairs whose SAs are derived, and can be derived anew

    def key(self, wants: Sequence[Want], how: str, seed: int, given: Sequence[SecurityAssociation] = ()) -> None:
        """Give every SPD entry its SAs. `how`: auto or manual; SAs `given` by a key file come first where they fit.

        Manual entries always use their session keys. Entries that stay without SAs are reported through `warn`.
        Raises KeyingError for another keying.
        """
        if how not in KEYINGS:
            raise KeyingError(f"keying {how!r} is not available (use {' or '.join(KEYINGS)})")
        self._seed = seed
        taken: set[int] = set()
        jobs: list[Job] = []
        more: list[Job] = []
        for want in wants:
            for inward in (False, True):
                groups = keying.from_file(want, given, not inward) if given else [self._choose(want, how, not inward)]
                jobs.append((want, groups[0] if groups else [], inward))
                more += [(want, group, True) for group in groups[1:] if inward]
                taken.update(id(sa) for group in groups for sa in group)
        handles = self._install(jobs)
        self._install(more)  # a key file's SAs of other generations: the peer may send by them
        for want, outbound, inbound in zip(wants, handles[::2], handles[1::2], strict=True):
            if outbound:
                self._tables.t.sp["sa_out"][want.sp] = outbound[0]
            if outbound and inbound and not given and not want.manual:
                self.derived.add(len(self.pairs))
            self.pairs.append(Pair(want, outbound, inbound))
        spare = sum(id(sa) not in taken for sa in given)
        if spare:
            self._warn(0, f"{spare} of {len(given)} SAs of the key file serve no entry of the policy",
                       "their addresses must be those of a crypto map's or tunnel's two ends")  # fmt: skip

    def derive(
        self, want: Want, generation: int, outbound: bool, transform: TransformSet | None = None
    ) -> list[SecurityAssociation]:
        """The SAs of one direction of an entry that is keyed automatically, as both ends derive them. `transform`: by
        another set than the entry's first."""
        return keying.auto(want, self._config, self._seed, outbound, generation, transform)

    def spi_of(self, want: Want, generation: int) -> tuple[str, int]:
        """(esp or ah, SPI) of what the peer's packets of a generation carry outermost."""
        return keying.outermost(want, self._config, self._seed, generation)

    def prepare(self, wanted: Sequence[tuple[Want, int, bool]]) -> list[tuple[int, ...]]:
        """Install SAs of later generations: (entry, generation, outbound); no packet is sent by them yet. Returns the
        handles of each."""
        return self._install([(want, self.derive(want, g, outbound), not outbound) for want, g, outbound in wanted])

    def _choose(self, want: Want, how: str, outbound: bool) -> list[SecurityAssociation]:
        if not want.manual and how == "manual":
            return []
        try:
            if want.manual:
                return keying.manual(want, self._config, outbound)
            return self.derive(want, 0, outbound)
        except keying.IncompleteError:
            return []
        except SaError as error:
            self._warn(want.settings.line, str(error), "")
            return []

    def _compresses(self, want: Want) -> bool:
        """Whether the entry's transform set has comp-lzs in front of ESP (PF-9)."""
        names = tuple(want.settings.transform_sets)
        if names not in self._comp:
            sets = (self._config.transform_sets.get(name) for name in names)
            self._comp[names] = next((found.comp_lzs for found in sets if found is not None), False)
        return self._comp[names]

    def _install(self, jobs: Sequence[Job]) -> list[tuple[int, ...]]:
        """Tables of one direction of each entry. A bundle is ESP first, then the AH over it."""
        wanted: list[Wanted] = []
        places: list[list[int]] = []
        for want, sas, inbound in jobs:
            order = sas if inbound else sas[::-1]  # outbound the AH SA comes first: the ESP SA leads to it
            first = len(wanted)
            wanted += [self._wanted(want, sa, inbound) for sa in order]
            here = list(range(first, len(wanted)))
            if not inbound and len(sas) > 1:
                wanted[-1] = replace(wanted[-1], over=first)
            places.append(here if inbound else here[::-1])
        rows = self._sad.add_all(wanted)
        found = [tuple(rows[here].tolist()) for here in places]
        for (want, _, inbound), handles in zip(jobs, found, strict=True):
            self._belong(want, handles, inbound)
        return found

    def _wanted(self, want: Want, sa: SecurityAssociation, inbound: bool) -> Wanted:
        comp, sns = sa.proto == "esp" and self._compresses(want), self._config.ipsec.multi_sn
        sa = _at_this_end(sa, inbound)
        if inbound:
            return Wanted(sa, Profile.of(sa, comp=comp, sns=sns), True)
        df = df_rule(self._config, want.interface, want.settings)
        before = fragments_before(self._config, want.interface)
        return Wanted(sa, Profile.of(sa, df, before, comp, sns), False)

    def _belong(self, want: Want, handles: tuple[int, ...], inbound: bool) -> None:
        """The SPD entry of SAs."""
        t = self._tables.t
        for handle in handles:
            t.sa["sp"][handle] = want.sp
            if inbound:
                t.sa["checks"][handle] = not want.tunnel  # what a tunnel's SA may carry, its interface says
        if inbound and handles:
            t.sp["levels"][want.sp] = len(handles)
