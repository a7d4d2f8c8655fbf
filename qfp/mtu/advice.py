"""What to configure: MTUs and MSS with which nothing is fragmented after encryption, and the arithmetic behind them."""

from dataclasses import dataclass
from typing import Any

from qfp.algorithms import cipher
from qfp.config.ends import tunnel_ends
from qfp.control.mtu import link_mtu, overhead
from qfp.mtu.paths import Path
from qfp.router import Router
from qfp.sizes import ESP_HEADER, GRE_HEADER, IP_HEADER, MTU_MIN, TRAILER, UDP_HEADER, Sizing, ah_header, mtu_adj

Facts = dict[str, Any]
TCP_HEADER = 20
MSS_MIN = {4: 500, 6: 40}  # what the commands take


@dataclass(frozen=True)
class Association:
    """An outbound SA of a path, at its near or far end."""

    end: str
    router: Router
    handle: int

    @property
    def sizing(self) -> Sizing:
        return self.router.sad.sizing(self.handle)

    def number(self, name: str) -> int:
        """A field of its row."""
        return int(self.router.tables.t.sa[name][self.handle])

    def facts(self) -> Facts:
        """What the show commands tell about it, and how its plaintext MTU comes about."""
        sizing, sa = self.sizing, self.router.sad.describe(self.handle)
        path_mtu, plain = self.number("path_mtu"), self.number("plain_mtu")
        return {
            "end": self.end, "spi": f"0x{sa.spi:08x}", "proto": sa.proto, "encr": sa.encr, "integ": sa.integ,
            "mode": sa.mode, "natt": sizing.natt, "path_mtu": path_mtu, "plaintext_mtu": plain,
            "mtu_adj": mtu_adj(plain), "arithmetic": arithmetic(sizing, path_mtu),
        }  # fmt: skip


def associations(path: Path, router: Router, peer: Router | None) -> list[Association]:
    """Outbound SAs of a path: ours, and the one by which the peer answers."""
    if not path.protected:
        return []
    found = [Association("near", router, path.sa)]
    if peer is not None and path.peer_ingress is not None:
        spi, dst = int(router.tables.t.sa["spi"][path.sa]), router.sad.describe(path.sa).dst
        for pair in peer.sadb.pairs:
            mine = [peer.sad.describe(handle) for handle in pair.inbound]
            if pair.outbound and any(sa.spi == spi and sa.dst == dst for sa in mine):
                found.append(Association("far", peer, pair.outbound[0]))
    return found


def arithmetic(sizing: Sizing, path_mtu: int) -> list[Facts]:
    """Steps from a path MTU to the plaintext MTU; `bytes` of the first is the MTU, of the others what it loses by."""
    head = IP_HEADER[sizing.family]
    steps = [("path MTU", path_mtu), (f"outer IPv{sizing.family} header", -head)]
    if sizing.ah_icv:
        steps.append(("AH with its ICV", -ah_header(sizing.ah_icv, sizing.family)))
    if sizing.encr is not None:
        algorithm = cipher(sizing.encr)
        steps += [("UDP encapsulation", -UDP_HEADER)] if sizing.natt else []
        steps += [("ESP header", -ESP_HEADER), ("IV", -algorithm.iv), ("ICV", -sizing.icv)]
        room = sum(number for _, number in steps)
        steps += [(f"padding to {algorithm.block}", -(room % algorithm.block)), ("pad length, next header", -TRAILER)]
    if sizing.transport:
        steps.append(("transport mode: that is its own header", head))
    return [{"what": what, "bytes": number} for what, number in steps if number]


def _gre_steps(router: Router, path: Path) -> list[Facts]:
    """What GRE adds to the arithmetic of a path."""
    tunnel: Any = router.config.interfaces[str(path.tunnel)].tunnel
    family = 6 if tunnel.mode == "gre ipv6" else 4
    steps = [("GRE delivery header", -IP_HEADER[family]), ("GRE header", -GRE_HEADER)]
    steps.append(("GRE options", -overhead(tunnel) - sum(number for _, number in steps)))
    return [{"what": what, "bytes": number} for what, number in steps if number]


def limit(path: Path, router: Router, found: list[Association]) -> tuple[int, list[Facts]]:
    """(bytes of the longest packet that goes into a path whole and leaves it in one packet, the arithmetic)."""
    if found:
        smallest = min(found, key=lambda sa: sa.number("plain_mtu"))
        steps = arithmetic(smallest.sizing, smallest.number("path_mtu"))
    else:
        family = path.peer.version if path.peer is not None else 4
        steps = [{"what": "egress MTU", "bytes": link_mtu(router.config.interfaces[path.egress], family)}]
    if path.gre:
        steps += _gre_steps(router, path)
    return sum(step["bytes"] for step in steps), steps


def advice(path: Path, router: Router, peer: Router | None, found: list[Association]) -> Facts:
    """The recommendation for a path: for its tunnel interface, or with a crypto map for the interface of the hosts."""
    largest, steps = limit(path, router, found)
    name = path.tunnel or path.ingress
    here = router.config.interfaces[name]
    there = _far_tunnel(path, peer) if path.tunnel else None
    facts: Facts = {"interface": name, "largest": largest, "arithmetic": steps, "families": {}, "notes": []}
    for family in path.flows:
        facts["families"][str(family)] = _family(path, family, largest, here, there)
    facts["configuration"] = _lines(path, facts, here)
    facts["notes"] = _notes(path, facts)
    return facts


def _far_tunnel(path: Path, peer: Router | None) -> Any:
    """The peer's end of a tunnel, or None."""
    if peer is None:
        return None
    for interface in peer.config.interfaces.values():
        if interface.tunnel is not None and tunnel_ends(peer.config, interface) == (path.peer, path.local):
            return interface
    return None


def _family(path: Path, family: int, largest: int, here: Any, there: Any) -> Facts:
    """MTU and MSS of one family: what is configured where it is small enough, else the largest that fits."""
    own = "ip_mtu" if family == 4 else "ipv6_mtu"
    ends = [getattr(end, own) for end in (here, there) if end is not None] if path.tunnel else []
    mtu = max(min([largest, *(value for value in ends if value)]), MTU_MIN[family])
    mss = "tcp_adjust_mss" if family == 4 else "ipv6_tcp_adjust_mss"
    return {
        "mtu": mtu, "mss": max(mtu - IP_HEADER[family] - TCP_HEADER, MSS_MIN[family]), "fits": mtu <= largest,
        "configured_mtu": getattr(here, own), "configured_mss": getattr(here, mss),
        "peer_mtu": getattr(there, own) if there is not None else None,
    }  # fmt: skip


def _lines(path: Path, facts: Facts, here: Any) -> list[str]:
    """The lines to configure. An MTU is only asked of a tunnel: a LAN's is its hosts' as well."""
    lines = []
    for word, commands in (("4", ("ip mtu", "ip tcp adjust-mss")), ("6", ("ipv6 mtu", "ipv6 tcp adjust-mss"))):
        found = facts["families"].get(word)
        if found is None:
            continue
        if path.tunnel:
            lines.append(f"{commands[0]} {found['mtu']}")
        lines.append(f"{commands[1]} {found['mss']}")
    return [f"interface {facts['interface']}", *(" " + line for line in lines)]


def _notes(path: Path, facts: Facts) -> list[str]:
    """What the lines do not say."""
    largest, notes = facts["largest"], []
    if not path.tunnel:
        mtus = ", ".join(f"{'ip' if f == '4' else 'ipv6'} mtu {v['mtu']}" for f, v in facts["families"].items())
        notes.append(
            f"a crypto map has no MTU of its own: what is no TCP stays whole only if its hosts send at most {largest} "
            f"bytes ({mtus} on {facts['interface']}, and the same MTU at every host on it)"
        )
    for word, found in facts["families"].items():
        if not found["fits"]:
            notes.append(
                f"IPv{word}: {found['mtu']} bytes must always be carried, {largest} fit: the longest packets are "
                "fragmented after encryption all the same"
            )
        elif found["mtu"] < largest:
            notes.append(f"IPv{word}: {found['mtu']} is configured and small enough; up to {largest} would be")
    return notes
