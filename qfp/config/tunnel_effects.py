"""What tunnels ask for that their packets will not get: peers that NHRP would find, SAs that two would share."""

from __future__ import annotations

from .ends import is_modelled, own_end, peer_ways
from .load import Load
from .model import Interface
from .routing import Routing


def check(load: Load) -> None:
    """Report what concerns several tunnels; issues are added to the load."""
    _nhrp(load)
    _same_ends(load)
    _templates(load)


def _templates(load: Load) -> None:
    found = [each for each in load.cfg.interfaces.values() if each.is_template]
    if found:
        names = ", ".join(each.name for each in found)
        load.report("note", f"{names} never comes up by itself: sessions that would be cloned from it (FlexVPN, DVTI, "
                    "EZVPN, PPP) are not modelled",
                    "packets for what is behind them find no route here, and ESP from them no SA",
                    line=found[0].line)  # fmt: skip


def multipoint(load: Load, routing: Routing, interface: Interface, row: int) -> None:
    """Peers of a multipoint tunnel that packets cannot get to."""
    tunnel = interface.tunnel
    assert tunnel is not None
    version = 6 if tunnel.mode.endswith("ipv6") else 4
    if tunnel.source is not None and own_end(load.cfg, interface, version) is None and not interface.shutdown:
        load.warn(f"{interface.name}: line protocol stays down: {tunnel.source} has no IPv{version} address",
                  line=interface.line)  # fmt: skip
    line, _ = load.marked(tunnel, "nhrp_maps") or (interface.line, 1)
    _, lost = peer_ways(load.cfg, routing, interface, row)
    if lost:
        named = ", ".join(map(str, lost[:3])) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        load.warn(f"{interface.name}: no route leads to NBMA address {named}",
                  "packets for the next hops behind it are dropped as NO_ROUTE", line=line)  # fmt: skip
    if len(tunnel.nhrp_multicast) > 1:
        line, _ = load.marked(tunnel, "nhrp_multicast") or (interface.line, 1)
        load.warn(f"{interface.name}: multicast is not copied to {len(tunnel.nhrp_multicast)} peers",
                  "it is dropped as NO_NHRP_MAP; to one peer it goes", line=line)  # fmt: skip


def _nhrp(load: Load) -> None:
    """Said once: NHRP itself is not modelled."""
    found = [each for each in load.cfg.interfaces.values() if each.tunnel is not None and each.tunnel.is_multipoint
             and not each.is_down]  # fmt: skip
    if not found:
        return
    known = ", ".join(f"{each.name}: {len(each.tunnel.nbma) if each.tunnel else 0}" for each in found)
    load.warn(f"dynamic NHRP is not modelled: multipoint tunnels have the peers of their static maps alone ({known})",
              "what goes to others is dropped as NO_NHRP_MAP: add 'ip nhrp map TUNNEL-ADDRESS NBMA-ADDRESS'",
              line=found[0].line)  # fmt: skip


def _same_ends(load: Load) -> None:
    """Two protected tunnels between the same ends: without `shared` each asks for SAs that look like the other's."""
    seen: dict[tuple[object, ...], Interface] = {}
    for interface in load.cfg.interfaces.values():
        tunnel = interface.tunnel
        if tunnel is None or interface.is_down or tunnel.protection_profile is None or not is_modelled(tunnel):
            continue
        for peer in tunnel.nbma if tunnel.is_multipoint else [tunnel.destination]:
            first = seen.setdefault((tunnel.source, peer, tunnel.vrf), interface)
            if first is interface or first.tunnel is None or peer is None or tunnel.source is None:
                continue
            common = {(each.protection_profile, each.shared) for each in (tunnel, first.tunnel)}
            if common != {(tunnel.protection_profile, True)}:
                load.warn(f"{interface.name} is protected between the same ends as {first.name}: {peer} cannot tell "
                          "whose SAs are whose", "give both the same profile and the word 'shared'",
                          line=interface.line)  # fmt: skip
                break
