"""Pairs of routers for the sweeps of packet sizes, and looking at what a report says."""

from typing import Any

from qfp.mtu import Report, report
from qfp.router import Router

WAN, LAN = "GigabitEthernet0/0/0", "GigabitEthernet0/0/1"


def tunnel(site: int, mode: str = "ipsec ipv4", *, own: str = "", head: str = "", wan: str = "", lan: str = "",
           transform: str = "esp-gcm 128", protected: bool = True, routing6: bool = True) -> str:  # fmt: skip
    """Site 1 or 2 with a tunnel: LANs 10.SITE/16 and 2001:db8:SITE::/48. own, wan, lan, head: further lines of the
    tunnel, of the interfaces, of the global mode."""
    peer = 3 - site
    far = f"2001:DB8:F::{peer}" if mode.endswith("ipv6") else f"203.0.113.{peer}"
    lines = [
        f"hostname s{site}", "ipv6 unicast-routing" if routing6 else "", head,
        f"crypto ipsec transform-set T {transform}", " mode tunnel",
        "crypto ipsec profile P", " set transform-set T",
        f"interface {WAN}", f" ip address 203.0.113.{site} 255.255.255.0", f" ipv6 address 2001:DB8:F::{site}/64", wan,
        f"interface {LAN}", f" ip address 10.{site}.0.1 255.255.0.0", f" ipv6 address 2001:DB8:{site}::1/48", lan,
        "interface Tunnel0", f" ip address 10.255.0.{site} 255.255.255.252", " ipv6 enable", own,
        f" tunnel source {WAN}", f" tunnel destination {far}", f" tunnel mode {mode}",
        " tunnel protection ipsec profile P" if protected else "",
        f"ip route 10.{peer}.0.0 255.255.0.0 Tunnel0", f"ipv6 route 2001:DB8:{peer}::/48 Tunnel0",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line) + "\n"


def reported(one: str, other: str | None = None, **options: Any) -> Report:
    """The report about two configurations."""
    options = {"sizes": (1300, 1700), **options}
    return report(Router.loads(one), Router.loads(other) if other is not None else None, **options)


def pair(mode: str = "ipsec ipv4", *, sizes: tuple[int, int] = (1300, 1700), **lines: Any) -> Report:
    """The report about two sites that are configured alike."""
    return reported(tunnel(1, mode, **lines), tunnel(2, mode, **lines), sizes=sizes)


def fates(found: Report, family: int, df: bool | None, path: int = 0) -> list[tuple[Any, ...]]:
    """Bands of a line as (first, last, what the router did, what came at the peer)."""
    line = next(each for each in found.paths[path].lines if (each.family, each.df) == (family, df))
    return [(b["first"], b["last"], *outcome(b["fate"])) for b in line.bands]


def outcome(fate: dict[str, Any]) -> tuple[str, str]:
    """A band's fate as two words."""
    router = "+".join(fate["router"]) or "whole"
    if fate["icmp"] is not None:
        router += f" {fate['icmp']['type']}/{fate['icmp']['code']}/{fate['icmp']['mtu']}"
    peer = "-" if fate["peer"] is None else "+".join(fate["peer"]["fate"]) or "whole"
    return f"host: {router}" if fate["host"] == "fragments" else router, peer


def hole(found: Report, kind: str, family: int, df: bool | None) -> dict[str, Any]:
    """The one black hole of a kind and line."""
    (one,) = (h for h in found.paths[0].black_holes if (h["kind"], h["family"], h["df"]) == (kind, family, df))
    return one
