"""The SADB of a router: SPD entries get their SAs, by whichever keying was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qfp.config import Configuration
from qfp.control import keying
from qfp.control.mtu import df_rule, fragments_before
from qfp.control.policy import Want
from qfp.sa import SaError, SecurityAssociation
from qfp.tables.sad import Sad
from qfp.tables.store import Tables

KEYINGS = ("auto", "manual")


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


class Sadb:
    """Installs SAs for SPD entries and knows which belongs to which."""

    def __init__(self, config: Configuration, tables: Tables, sad: Sad, warn: Callable[[int, str, str], None]):
        self._config, self._tables, self._sad, self._warn = config, tables, sad, warn
        self._seed = 0
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
        for want in wants:
            found = [self._choose(want, how, given, outbound) for outbound in (True, False)]
            taken.update(id(sa) for direction in found for sa in direction)
            outbound = self._install(want, found[0], inbound=False)
            if outbound:
                self._tables.t.sp["sa_out"][want.sp] = outbound[0]
            inbound = self._install(want, found[1], inbound=True)
            if outbound and inbound and not given and not want.manual:
                self.derived.add(len(self.pairs))
            self.pairs.append(Pair(want, outbound, inbound))
        spare = sum(id(sa) not in taken for sa in given)
        if spare:
            self._warn(0, f"{spare} of {len(given)} SAs of the key file serve no entry of the policy",
                       "their addresses must be those of a crypto map's or tunnel's two ends")  # fmt: skip

    def derive(self, want: Want, generation: int, outbound: bool) -> list[SecurityAssociation]:
        """The SAs of one direction of an entry that is keyed automatically, as both ends derive them."""
        return keying.auto(want, self._config, self._seed, outbound, generation)

    def prepare(self, want: Want, generation: int, outbound: bool) -> tuple[int, ...]:
        """Install SAs of a later generation; no packet is sent by them yet. Returns their handles."""
        return self._install(want, self.derive(want, generation, outbound), not outbound)

    def _choose(
        self, want: Want, how: str, given: Sequence[SecurityAssociation], outbound: bool
    ) -> list[SecurityAssociation]:
        if given:
            return keying.from_file(want, given, outbound)
        if not want.manual and how == "manual":
            return []
        try:
            if want.manual:
                return keying.manual(want, self._config, outbound)
            return self.derive(want, 0, outbound)
        except SaError as error:
            self._warn(want.settings.line, str(error), "")
            return []

    def _compresses(self, want: Want) -> bool:
        """Whether the entry's transform set has comp-lzs in front of ESP (PF-9)."""
        sets = (self._config.transform_sets.get(name) for name in want.settings.transform_sets)
        return next((found.comp_lzs for found in sets if found is not None), False)

    def _install(self, want: Want, sas: list[SecurityAssociation], inbound: bool) -> tuple[int, ...]:
        """Tables of one direction of an entry. A bundle is ESP first, then the AH over it."""
        if not sas:
            return ()
        t = self._tables.t
        comp, sns = sas[0].proto == "esp" and self._compresses(want), self._config.ipsec.multi_sn
        if inbound:
            handles = [self._sad.add(sa, inbound=True, comp=comp and sa.proto == "esp", sns=sns) for sa in sas]
            t.sp["levels"][want.sp] = len(handles)
            for handle in handles:
                t.sa["sp"][handle] = want.sp
                t.sa["checks"][handle] = not want.tunnel  # what a tunnel's SA may carry, its interface says
            return tuple(handles)
        df = df_rule(self._config, want.interface, want.settings)
        before = fragments_before(self._config, want.interface)
        over = self._sad.add(sas[1], inbound=False, df=df, before=before, sns=sns) if len(sas) > 1 else -1
        first = self._sad.add(sas[0], inbound=False, df=df, over=over, before=before, comp=comp, sns=sns)
        t.sa["sp"][[h for h in (first, over) if h >= 0]] = want.sp
        return (first, over) if over >= 0 else (first,)
