"""A swarm of random worlds, with invariants checked while they run: `python -m tests.swarm --seed N --minutes M`.

A world is two sites with one way of protection, small lifetimes, and losses, doubles and disorder on their line; or a
lab with links, queues, crypto engines and events. What happens in it (traffic both ways, time that passes, `clear
crypto sa`, another configuration, a router that is saved and restored) follows from its seed alone, and the world of
`--seed N --count 1` is the same again. What must hold in each:

- no number twice under one key;
- what comes in goes out or is counted as lost, at every router (each result checks its balance);
- what both ends know of an SA is the same, and no packet that nobody touched fails its ICV or finds no SA;
- a packet that is delivered is one that was sent;
- other vectors, threads, crypto engines, and a checkpoint in between, change nothing.
"""

# ruff: noqa: E402
import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]  # for `python -m tests.swarm`

import numpy as np
from naive import with_checksum
from site_help import WAYS, any_site, traffic
from test_lab import ran
from test_lab_engine import random_lab

from qfp import engine as driver
from qfp.batch import Batch
from qfp.config import loads
from qfp.result import CAUSE_WORDS, Result
from qfp.router import Router

S = 10**9
ESP, AH, UDP, NATT = 50, 51, 17, 4500
INSIDE, OUTSIDE = "gi0/0/1", "gi0/0/0"
OWN_IDS = 0xA000  # routers number GRE packets from 0 on and errors from 0x8000 on
EXTENSIONS = (0, 43, 60)  # IPv6 headers in front of ESP and AH
LIVES = ("crypto ipsec security-association lifetime kilobytes 2560",
         "crypto ipsec security-association lifetime seconds 120",
         "crypto ipsec security-association idle-time 60",
         "crypto ipsec security-association replay window-size 1024",
         "crypto ipsec security-association replay disable",
         "crypto ipsec security-association multi-sn")  # fmt: skip


class Broken(AssertionError):
    """An invariant that does not hold."""


def hold(what: bool, *told: Any) -> None:
    if not what:
        raise Broken(" ".join(map(str, told)))


# --------------------------------------------------------------------------------------------------- invariants
def upper(packet: bytes) -> tuple[int, int, bool]:
    """(protocol, where it begins, whether it is a later fragment) behind the IP header and its extensions."""
    if packet[0] >> 4 == 4:
        return packet[9], 4 * (packet[0] & 15), (packet[6] & 31 or packet[7]) != 0
    protocol, at = packet[6], 40
    while protocol in (*EXTENSIONS, 44) and at + 8 <= len(packet):
        if protocol == 44:
            if int.from_bytes(packet[at + 2 : at + 4]) >> 3:
                return packet[at], at + 8, True
            protocol, at = packet[at], at + 8
        else:
            protocol, at = packet[at], at + 8 * (packet[at + 1] + 1)
    return protocol, at, False


def renumbered(packet: bytes, number: int) -> bytes:
    """An IPv4 packet with another identification: equal ones, lost in parts, would mix (RFC 4963)."""
    if packet[0] >> 4 != 4:
        return packet
    size = 4 * (packet[0] & 15)
    head = packet[:4] + (number & 0xFFFF).to_bytes(2) + packet[6:10] + bytes(2) + packet[12:size]
    return with_checksum(head) + packet[size:]


class Numbers:
    """What was sent under which SPI. Two packets with one number under one key end the world."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, bytes]] = set()

    def see(self, where: str, packets: list[bytes]) -> None:
        for packet in packets:
            protocol, at, later = upper(packet)
            if later or protocol not in (ESP, AH):
                continue
            head = packet[at : at + 8] if protocol == ESP else packet[at + 4 : at + 12]
            key = (where, protocol, head)
            hold(key not in self._seen, where, "sent the number", head[4:].hex(), "under SPI", head[:4].hex(), "twice")
            self._seen.add(key)


class Sent:
    """What was sent between two addresses, and whether a packet that came is of it."""

    def __init__(self) -> None:
        self._payloads: dict[tuple[bytes, int], set[bytes]] = {}

    def add(self, packets: list[bytes]) -> None:
        for packet in packets:
            key, payload = self._parts(packet)
            self._payloads.setdefault(key, set()).add(payload)

    @staticmethod
    def _parts(packet: bytes) -> tuple[tuple[bytes, int], bytes]:
        protocol, at, _ = upper(packet)
        ends = slice(12, 20) if packet[0] >> 4 == 4 else slice(8, 40)
        return (packet[ends], protocol), packet[at:]

    def check(self, packets: list[bytes], own: set[bytes]) -> None:
        """own: addresses of routers, whose errors nobody sent. Of TCP the MSS may have been lowered."""
        for packet in packets:
            key, payload = self._parts(packet)
            source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
            known = self._payloads.get(key, set())
            if source in own or key[1] == 6 or payload in known:
                continue
            hold(any(payload in each for each in known), "delivered, and never sent:", packet.hex()[:200])


def same(a: Result, b: Result, what: str) -> None:
    """Two runs of the same frames."""
    hold(a.packets.frames() == b.packets.frames(), what, "sends other packets")
    for name, column in a.verdicts.items():
        hold(np.array_equal(column, b.verdicts[name]), what, "has other verdicts:", name)
    hold(a.counters == b.counters, what, "counts otherwise")


def agree(near: Router, far: Router) -> None:
    """What one end sends by, the other one knows alike, as far as it knows it."""
    t, o = near.tables.t, far.tables.t
    inbound = {int(o.sa["spi"][h]): h for pair in far.sadb.pairs for h in pair.inbound}
    for pair in near.sadb.pairs:
        for handle in pair.outbound:
            other = inbound.get(int(t.sa["spi"][handle]))
            if other is None:
                continue
            mine, theirs = near.sad.describe(handle), far.sad.describe(other)
            for name in ("proto", "encr", "encr_key", "salt", "integ", "integ_key", "icv_len", "esn"):
                hold(getattr(mine, name) == getattr(theirs, name), "both ends differ in", name, "of SPI", hex(mine.spi))


# ------------------------------------------------------------------------------------------------ a pair of sites
class Pair:
    """Two routers, played by several casts that differ in what must make no difference."""

    def __init__(self, seed: int):
        self.r = Random(f"pair {seed}")
        r = self.r
        self.site = any_site(r, r.choice(WAYS), r.choice([4, 6]))
        if any(word in self.site.transform for word in ("esp", "ah")) and r.random() < 0.8:
            self.site.everywhere += [line for line in LIVES if r.random() < 0.4]
        other = {"batch": r.choice([1, 3, 64]), "threads": r.choice([1, 2]), "engine": r.choice([None, "openssl"])}
        self.casts = [[Router.loads(self.site.config(me), **options) for me in (1, 2)] for options in ({}, other)]
        self.other = other
        self.now = 0
        self.numbers, self.sent = Numbers(), Sent()
        self.twin = {me: self.site.pair(me).twin for me in (1, 2)}
        self.own = self._own()
        self.past: list[str] = []
        self.parted = False  # one end was cleared alone: the other one goes on by SAs that are gone there (guide, AR-9)

    def __repr__(self) -> str:
        return f"{self.site}, beside it {self.other}"

    def _own(self) -> set[bytes]:
        ends = [a.ip.packed for router in self.casts[0] for interface in router.config.interfaces.values()
                for a in (*interface.addresses4, *(each.interface for each in interface.addresses6))]  # fmt: skip
        return set(ends)

    def step(self) -> None:
        """Something happens."""
        act = self.r.choice([self.talk] * 6 + [self.wait, self.clear, self.change, self.restore])
        self.past.append(act.__name__)
        try:
            act()
            self._both_know()
        except Broken as error:
            raise Broken(f"{error}\n  in {self!r}\n  after {', '.join(self.past)}") from None

    def _both_know(self) -> None:
        for near, far in self.casts:
            agree(near, far)
            agree(far, near)

    def talk(self) -> None:
        """Packets of one side go to the other, through a line that loses, doubles and disorders them."""
        r, me = self.r, self.r.choice([0, 1])
        frames = traffic(r, self.twin[me + 1], r.choice([1, 5, 40, 120, 400]), me + 1)
        if len(frames) == 400 and r.random() < 0.5:  # more than a small lifetime by volume
            frames = [renumbered(frames[k % 100], OWN_IDS + k) for k in range(3000)]
        times = self._times(len(frames), r.choice([0, 10**6, 10**8, 2 * S]))
        self.past[-1] += f" {me + 1} ({len(frames)}, to {times[-1] / S})"
        self.sent.add(frames)
        sealed = self._through(me, INSIDE, Batch.from_frames(frames, ts=times))
        self.numbers.see(f"router {me + 1}", sealed.packets.frames())
        line = self._line(sealed.packets)
        if len(line):
            opened = self._through(1 - me, OUTSIDE, line)
            causes = {CAUSE_WORDS[c] for c in opened.verdicts["cause"].tolist() if c}
            wrong = causes & {"INTEGRITY", "SA_EXPIRED", *(() if self._may_part() else ("NO_SA",))}
            hold(not wrong, "untouched packets were refused:", wrong)
            self.sent.check(self._inside(opened), self.own)
            self.numbers.see(f"router {2 - me}", opened.packets.frames())
            if len(back := self._line(opened.packets)):  # errors, and what that router sends on by the other SA
                again = self._through(me, OUTSIDE, back)
                self.numbers.see(f"router {me + 1}", again.packets.frames())

    def _may_part(self) -> bool:
        """Whether one end may be ahead of the other for losses, without IKE to tell that: where it saw nothing for its
        idle time, where hardly 4 s lie between its soft and its hard limit; or where it was cleared alone."""
        idle = any(router.lifetimes.counts["idle", "idle"] for router in self.casts[0])
        return self.parted or idle or LIVES[1] in self.site.everywhere

    def _inside(self, result: Result) -> list[bytes]:
        name = "GigabitEthernet0/0/1"
        row = self.casts[0][0].interfaces.row[name]
        return [
            f for f, port in zip(result.packets.frames(), result.packets.in_if.tolist(), strict=True) if port == row
        ]

    def _times(self, count: int, gap: int) -> list[int]:
        times = []
        for _ in range(count):
            self.now += self.r.randint(0, gap) if gap else 0
            times.append(self.now)
        return times

    def _through(self, me: int, ingress: str, batch: Batch) -> Result:
        results = [cast[me].forward(batch, ingress) for cast in self.casts]
        same(results[0], results[1], f"router {me + 1} with {self.other}")
        return results[0]

    def _line(self, packets: Batch) -> Batch:
        """What arrives of what was sent."""
        r, out = self.r, self.casts[0][0].interfaces.row["GigabitEthernet0/0/0"]
        rows = zip(packets.ts.tolist(), packets.frames(), packets.in_if.tolist(), strict=True)
        kept = [(ts, frame) for ts, frame, port in rows if port == out and r.random() > 0.05]
        kept += [each for each in kept if r.random() < 0.03]
        late = r.choice([0, 0, 10**6, 2 * 10**7])
        line = sorted((ts + 10**6 + r.randint(0, late), frame) for ts, frame in kept)
        self.now = max(self.now, line[-1][0]) if line else self.now
        return Batch.from_frames([frame for _, frame in line], ts=[ts for ts, _ in line])

    def wait(self) -> None:
        """Time passes."""
        self.now += self.r.choice([S, 30 * S, 100 * S, 400 * S, 4000 * S])
        for cast in self.casts:
            for router in cast:
                router.advance(self.now)

    def clear(self) -> None:
        """`clear crypto sa` at one end, or both."""
        ends = self.r.choice([[0], [1], [0, 1]])
        self.past[-1] += f" {[me + 1 for me in ends]} at {self.now / S}"
        for me in ends:
            for cast in self.casts:
                cast[me].clear(self.now)
        # where all that was sent was lost, one end has used a pair that the other one has not, and clears that alone
        known = [[pair.generation for pair in router.sadb.pairs] for router in self.casts[0]]
        self.parted = len(ends) == 1 or known[0] != known[1]

    def change(self) -> None:
        """Another configuration of one end."""
        r, me = self.r, self.r.choice([0, 1])
        text = self.site.config(me + 1) + r.choice(
            ["interface GigabitEthernet0/0/0\n ip mtu 1400\n", "interface GigabitEthernet0/0/1\n no ip unreachables\n",
             "crypto ipsec df-bit copy\n", "crypto ipsec security-association idle-time 90\n", ""]
        )  # fmt: skip
        config = loads(text)
        for cast in self.casts:
            cast[me] = cast[me].reconfigured(config, self.now)
        self.twin[me + 1] = self.site.pair(me + 1).twin

    def restore(self) -> None:
        """A router of the second cast is saved, and another one goes on from there."""
        me = self.r.choice([0, 1])
        router = self.casts[1][me]
        self.casts[1][me] = type(router)._loaded(router._dumped())


def pair(seed: int) -> str:
    """A world of two sites; what it was."""
    world = Pair(seed)
    for _ in range(world.r.randint(4, 14)):
        world.step()
    return f"{world.site.way} {world.site.family}"


# -------------------------------------------------------------------------------------------------------- a lab
EVENTS = ('clear = "crypto sa"', 'add = "crypto ipsec security-association multi-sn"', 'add = "no crypto map M 20"',
          'add = "crypto ipsec df-bit clear"',
          'add = "policy-map OUT\\n class VOICE\\n  priority percent 20"')  # fmt: skip
TAP = '[[capture]]\nat = "{0} gi0/0/{1}"\ndirection = "out"\nfile = "{0}{1}.pcap"\n'


def lab(seed: int) -> str:
    """A world of three routers, links and events; what it was."""
    r = Random(f"lab {seed}")
    with tempfile.TemporaryDirectory() as name:
        path = random_lab(Path(name), seed)
        text = path.read_text() + "".join(TAP.format(router, 0) for router in "ab")
        for _ in range(r.randint(0, 3)):
            text += f'[[events]]\nat = "{r.randint(0, 40)} ms"\nrouter = "{r.choice("ab")}"\n{r.choice(EVENTS)}\n'
        for state, at in (("down", r.randint(1, 20)), ("up", r.randint(21, 40))) if r.random() < 0.4 else ():
            text += f'[[events]]\nat = "{at} ms"\nlink = "near"\nstate = "{state}"\n'
        path.write_text(text)
        outcome = ran(path)
        numbers = Numbers()
        for router in "ab":
            numbers.see(router, outcome.taps[f"{router}0.pcap"].frames())
        for journey in outcome.facts["journeys"]:
            ends = sum(journey[word] for word in ("delivered", "lost", "consumed", "punted"))
            hold(ends == journey["packets"], "packets that came to no end:", journey)
        _as_before(path, outcome, r)
    return f"lab with {text.count('[[events]]')} events"


def _as_before(path: Path, outcome: Any, r: Random) -> None:
    """Threads, vectors and the crypto engine change nothing."""
    usual = driver.VECTOR
    try:
        driver.VECTOR = r.choice([1, 7, 64])
        again = ran(path, threads=r.choice([1, 2]), engine=r.choice([None, "openssl"]))
    finally:
        driver.VECTOR = usual
    for name, batch in outcome.taps.items():
        other = again.taps[name]
        hold(batch.frames() == other.frames(), name, "has other packets")
        hold(np.array_equal(batch.ts, other.ts), name, "has other times")
    hold(outcome.facts["journeys"] == again.facts["journeys"], "other journeys")


# ------------------------------------------------------------------------------------------------------- the swarm
def world(seed: int) -> str:
    """The world of a seed; what it was. Raises what went wrong in it."""
    return lab(seed) if seed % 4 == 0 else pair(seed)


def swarm(seed: int, seconds: float, count: int | None = None) -> tuple[int, list[tuple[int, str]]]:
    """Worlds from `seed` on, for a time or up to a number: (how many, (seed, what went wrong))."""
    begun, done, wrong = time.monotonic(), 0, []
    while (count is None or done < count) and time.monotonic() - begun < seconds:
        try:
            world(seed + done)
        except Exception:
            wrong.append((seed + done, traceback.format_exc()))
        done += 1
    return done, wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--count", type=int)
    asked = parser.parse_args(argv)
    done, wrong = swarm(asked.seed, 60 * asked.minutes, asked.count)
    for seed, told in wrong:
        print(f"seed {seed}:\n{told}")
    print(f"{done} worlds from seed {asked.seed} on, {len(wrong)} in which something did not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
