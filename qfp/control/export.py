"""SAs of a router as a key file for whoever reads its packets, or goes on in its place."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from qfp.control.keying import window_of
from qfp.control.plane import ControlPlane
from qfp.control.policy import Selector, Want
from qfp.sa import Address, AddressRange, SecurityAssociation, Selectors
from qfp.tables.spd import ANY_PORTS


def exported(plane: ControlPlane) -> list[SecurityAssociation]:
    """Every SA that a control plane has or had, keys included, the newest of each entry first.

    An outbound SA states the number that it would send next, so that whoever goes on with the file never repeats one;
    those of earlier generations are used up. An inbound one states the highest number seen. Readers of captures take
    neither for the state of a window: see `SecurityAssociation.as_captured`. Selectors are those of the SPD entry, so
    that a peer with several entries finds each one's SAs.
    """
    found = []
    for k, pair in enumerate(plane.sadb.pairs):
        for outbound in (True, False):
            now = [plane.sad.describe(handle) for handle in (pair.outbound if outbound else pair.inbound)]
            if k not in plane.sadb.derived:
                found += _named(plane, pair.want, outbound, "", now)
                continue
            generations = (*plane.lifetimes.past.get(k, ()), (pair.want, pair.generation))
            for want, generation in reversed(generations):
                suffix = f" generation {generation}" if generation else ""
                sas = plane.sadb.derive(want, generation, outbound)
                if generation == pair.generation and len(now) == len(sas):
                    sas = [replace(sa, seq=state.seq) for sa, state in zip(sas, now, strict=True)]
                elif outbound:
                    sas = [replace(sa, seq=sa.seq_limit) for sa in sas]
                found += _named(plane, want, outbound, suffix, sas)
    return found


def _named(
    plane: ControlPlane, want: Want, outbound: bool, suffix: str, sas: list[SecurityAssociation]
) -> list[SecurityAssociation]:
    """SAs of one direction of an entry as their reader wants them: window, selectors, name of the bundle."""
    selector = want.selector if outbound else want.selector.reversed()
    name = f"{want.where} entry {want.sp} {'out' if outbound else 'in'}{suffix}"
    if outbound:  # the reader opens these: it wants the window, and 0 as the word for fresh
        window = 0 if want.manual else window_of(want, plane.config)
        sas = [replace(sa, replay_window=window, seq=0 if sa.seq == 1 else sa.seq) for sa in sas]
    ends = None if want.vti else selectors_of(selector)
    return [replace(sa, bundle=name if len(sas) > 1 else None, selectors=ends) for sa in sas]


def selectors_of(selector: Selector) -> Selectors | None:
    """Proxy identities as the selectors of an SA; None (any) where a wildcard is no range of addresses."""
    ends = []
    for value, mask in (selector.src, selector.dst):
        wildcard = ~mask & ((1 << (32 if selector.family == 4 else 128)) - 1)
        if wildcard & (wildcard + 1):
            return None
        made: Callable[[int], Address] = IPv4Address if selector.family == 4 else IPv6Address
        ends.append(AddressRange(made(value), made(value | wildcard)) if mask else None)
    return Selectors(
        src=ends[0], dst=ends[1], protocol=selector.protocol, sport=_ports(selector.sport), dport=_ports(selector.dport)
    )


def _ports(ports: tuple[int, int]) -> tuple[int, int] | None:
    return None if ports == ANY_PORTS else ports
