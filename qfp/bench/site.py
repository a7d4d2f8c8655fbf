"""The router of the benches, built from columns: one SPD entry and one SA a flow, sixteen or 100,000 of them.

The hub's inside network is 10.1/16, the spokes have 10.2/16, spoke k is 198.18.0.0 + k, flow k is the pair of hosts k
(see `traffic`). All traffic goes from the hub to the spokes: the hub's site seals it, and one site that stands for all
spokes at once opens it.
"""

import time
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

import numpy as np

from qfp import fia
from qfp.algorithms import cipher, integrity
from qfp.batch import Array, Batch
from qfp.engine import ALIGN_OUTBOUND, Engine, MemorySink
from qfp.engines.crypto import choose
from qfp.result import Result, VerdictStore, collect
from qfp.router import EMITTERS
from qfp.sa import SecurityAssociation
from qfp.tables import fib
from qfp.tables.interfaces import Interfaces
from qfp.tables.route import Route
from qfp.tables.sad import Profile, SaColumns, Sad
from qfp.tables.spd import RULE, Policies
from qfp.tables.store import Tables
from qfp.trace.source import BatchSource
from qfp_kernels.capture import walk_batch
from qfp_kernels.layout import CTL_IN_IF, CTL_MODE, KEYS, MODE_ROUTER

OUTSIDE, INSIDE = 0, 1
NAMES = ["GigabitEthernet0/0/0", "GigabitEthernet0/0/1"]
HUB_ADDRESS = IPv4Address("198.51.100.1")
SPOKE_0 = IPv4Address("198.18.0.0")
HOSTS = 65536  # flows above have another source port
FIRST_SPI = 0x1000
LAST_PORT = 65535


def _esp(encr: str, key: int, integ: str = "none", mac_key: int = 0) -> Profile:
    icv = cipher(encr).icv or integrity(integ).icv
    return Profile("esp", "tunnel", encr, key, integ, mac_key, icv, False, 4)


GCM = "aes-gcm-128"
CBC = "aes-cbc-128 hmac-sha256-128"
TRANSFORMS = {
    GCM: _esp("aes-gcm", 16),
    "aes-gcm-256": _esp("aes-gcm", 32),
    "aes-gmac-128": _esp("aes-gmac", 16),
    CBC: _esp("aes-cbc", 16, "hmac-sha256-128", 32),
    "aes-cbc-128 hmac-sha1-96": _esp("aes-cbc", 16, "hmac-sha1-96", 20),
    "aes-ctr-128 hmac-sha256-128": _esp("aes-ctr", 16, "hmac-sha256-128", 32),
    "null hmac-sha1-96": _esp("null", 0, "hmac-sha1-96", 20),
    "ah hmac-sha256-128": replace(_esp("null", 0, "hmac-sha256-128", 32), proto="ah"),
}


def _words(values: Array) -> Array:
    """uint64[n, 2] of IPv4 addresses."""
    return np.stack([np.zeros(len(values), np.uint64), values.astype(np.uint64)], axis=1)


def sa_columns(profile: Profile, sas: int, window: int = 64, first_entry: int = -1) -> SaColumns:
    """n SAs from the hub to its spokes. Keys follow from their number alone, so both ends have the same."""
    number = np.arange(sas)
    keys = np.zeros((sas, KEYS), np.uint8)
    random = np.random.default_rng(7).integers(0, 256, (sas, KEYS), np.uint8)
    salt = cipher(profile.encr).salt or integrity(profile.integ).salt
    for at, size in ((0, profile.key_len), (32, salt), (48, profile.integ_key_len)):
        keys[:, at : at + size] = random[:, at : at + size]
    return SaColumns(
        spi=(FIRST_SPI + number).astype(np.uint32), src=_words(np.full(sas, int(HUB_ADDRESS))),
        dst=_words(int(SPOKE_0) + number), keys=keys, seq=np.zeros(sas, np.uint64), window=window,
        sp=first_entry + number if first_entry >= 0 else -1,
    )  # fmt: skip


def host_rules(sas: int, hub: bool = True) -> Array:
    """RULE rows: flow k is protected by SPD entry k. Source and destination as this end sees its own traffic."""
    number = np.arange(sas)
    rules = np.zeros(sas, RULE)
    sides = ("src", "dst") if hub else ("dst", "src")
    for side, net in zip(sides, (0x0A010000, 0x0A020000), strict=True):
        rules[side] = _words(net + number % HOSTS)
        rules[side + "_mask"] = (2**64 - 1, 2**64 - 1)
    rules["sport"] = rules["dport"] = (0, LAST_PORT)
    if sas > HOSTS:
        rules["sport" if hub else "dport"] = (1024 + number // HOSTS)[:, np.newaxis]
    rules["fam"], rules["any_proto"], rules["permit"] = 4, 1, 1
    rules["sp"] = rules["prio"] = number
    return rules


def nested_rules(entries: int, shapes: int) -> Array:
    """RULE rows of `shapes` different masks, the last of which match the flows of `traffic`: a policy that grew."""
    rules = host_rules(entries)
    shape = np.arange(entries) * shapes // entries
    narrow = shape < shapes - 1
    mask = np.uint64(0xFFFFFFFF) << (shape % 16).astype(np.uint64) & np.uint64(0xFFFFFFFF)
    rules["src"][narrow, 1] = (0xAC100000 + 256 * np.arange(entries))[narrow]  # 172.16/12: none of the flows
    rules["src_mask"][narrow, 1] = mask[narrow]
    wide = ~narrow
    rules["src"][wide, 1], rules["src_mask"][wide, 1] = 0x0A010000, 0xFFFF0000
    rules["dst"][wide, 1], rules["dst_mask"][wide, 1] = 0x0A020000, 0xFFFF0000
    return rules


@dataclass
class Times:
    """Seconds that building took: SAs of one direction, and the SPD."""

    sas: float = 0.0
    policies: float = 0.0


class Site:
    """One end of `sas` tunnels as a router: tables, engine, and the FIA of a router over them.

    sends: the hub with outbound SAs, else the spokes with inbound ones. rules: a policy other than one host pair an
    entry.
    """

    def __init__(
        self, transform: str = GCM, sas: int = 16, sends: bool = True, *, window: int = 64,
        engine: str | None = None, threads: int = 1, batch: int = 0, rules: Array | None = None,
    ):  # fmt: skip
        self.profile = TRANSFORMS[transform]
        self.transform, self.sas, self.sends = transform, sas, sends
        self.times = Times()
        self.tables = Tables()
        t = self.tables.t
        t.ctl[CTL_MODE] = MODE_ROUTER
        self.sad = Sad(self.tables, choose(engine))
        self.interfaces = Interfaces(self.tables, NAMES)
        fib.build(self.tables, self._routes())
        self._policies(rules)
        self._associations(window)
        self.interfaces.set(OUTSIDE, spd4=0)
        t.ctl[CTL_IN_IF] = INSIDE if sends else OUTSIDE
        self.engine = Engine(self.tables, self.sad, threads, batch)
        self.engine.align(ALIGN_OUTBOUND)

    def _routes(self) -> list[Route]:
        inside = "10.1.0.0/16" if self.sends else "10.2.0.0/16"
        local = f"{HUB_ADDRESS}/32" if self.sends else "198.18.0.0/15"
        return [
            Route(IPv4Network(local), OUTSIDE, local=True), Route(IPv4Network(inside), INSIDE),
            Route(IPv4Network("0.0.0.0/0"), OUTSIDE),
        ]  # fmt: skip

    def _policies(self, rules: Array | None) -> None:
        start = time.perf_counter()
        policies = Policies(self.tables)
        self.first_entry = policies.entry(self.sas if rules is None else len(rules))
        policies.add(host_rules(self.sas, self.sends) if rules is None else rules)
        policies.build()
        self.times.policies = time.perf_counter() - start

    def _associations(self, window: int) -> None:
        columns = sa_columns(self.profile, self.sas, window, self.first_entry)
        t = self.tables.t
        start = time.perf_counter()
        self.handles = self.sad.install(self.profile, columns, inbound=not self.sends)
        self.times.sas = time.perf_counter() - start
        if self.sends:
            entries = np.arange(self.first_entry, t.sp.size)
            t.sp["sa_out"][entries] = self.handles[entries % self.sas]
        else:
            t.sa["checks"][self.handles] = 1  # the policy of what was opened is checked, as for crypto maps

    def stages(self, kind: int) -> tuple[fia.Stage, ...]:
        """The FIA for a batch in memory and an output kind."""
        return fia.router(walk_batch, EMITTERS[kind])

    def forward(self, batch: Batch) -> Result:
        """Everything that the router does with a batch, as `Router.forward`."""
        sink, store = MemorySink(), VerdictStore()
        self.engine.run(BatchSource(batch), self.stages(sink.kind), sink, store.add)
        return collect(self.tables, self.sad, self.interfaces.names, batch, sink, store)

    def keys(self) -> list[SecurityAssociation]:
        """The SAs as a key file would hold them, windows fresh."""
        return [replace(self.sad.describe(int(h)), seq=0, replay_window=64) for h in self.handles]
