"""What is held down: whatever would leave in clear because a line that asks for its protection was refused.

A refused line costs its own object and the rest runs. That must not send in clear what the file asks to protect, so the
notes of refused lines (`Load.lost`) are held against everything that protects:

    a line of an interface   its `crypto map`, `tunnel protection`, tunnel mode, VRF: the interface is down
    a crypto map             a line of an entry, an entry's head: every interface with this map is down
    an access list           an entry that may permit: every interface with a crypto map by this list is down
    a route, an address      packets may take a worse route, past the tunnel: nothing is sent by such a route

An undefined name is no refused line: there the file itself asks for nothing, as on IOS (see qfp.config.references).
"""

from __future__ import annotations

from typing import Any

from .ends import default_peer, own_address
from .held_routes import HeldRoutes
from .load import Load, Lost
from .model import AccessList, CryptoMap, CryptoMapEntry, Interface
from .suspect import (
    first_of,
    guards,
    is_address,
    is_harmless_in_entry,
    is_harmless_of_map,
    is_list,
    is_numbered_entry,
    is_orphan,
    is_vrf,
    line_of,
    may_permit,
    protects,
    starts,
)


def check(load: Load) -> None:
    """Decide what is held down, into `cfg.held`, with an error for each."""
    if load.lost:
        _Judge(load).check()


class _Judge:
    """Holds what was lost against what protects."""

    def __init__(self, load: Load) -> None:
        self.load, self.cfg = load, load.cfg
        cfg = load.cfg
        self.top = [lost for lost in load.lost if lost.mode == "global"]
        self.of: dict[int, list[Lost]] = {}
        for lost in load.lost:
            self.of.setdefault(id(lost.section), []).append(lost)
        self.names = {*cfg.crypto_maps, *cfg.profiles, *cfg.vrfs}
        self.rings = [lost for lost in load.lost if starts(lost.head, "object-group") or
                      (lost.mode == "global" and starts(lost.words, "object-group"))]  # fmt: skip
        self.heads = [lost for lost in self.top if lost.opens == "interface" or starts(lost.words, "interface")]
        self.orphans = [lost for lost in load.lost if is_orphan(lost)]
        self.maps: dict[tuple[str, int], str] = {}
        self.lists: dict[tuple[str, int], str] = {}

    def _lines(self, section: Any) -> list[Lost]:
        return self.of.get(id(section), [])

    def check(self) -> None:
        for name, interface in self.cfg.interfaces.items():
            why = self._interface(interface)
            if why and not interface.shutdown:
                self.cfg.held.interfaces[name] = why
                self.load.error(f"{name} is held down: {why}", "its packets would leave in clear: correct the line",
                                line=interface.line)  # fmt: skip
        lost = [each.inside for each in self.heads if each.inside is None or protects(each.inside)]
        if self.cfg.held.interfaces or lost or any(map(protects, self.cfg.interfaces.values())):
            HeldRoutes(self.load, self.heads).check()

    # --- interfaces

    def _interface(self, interface: Interface) -> str:
        """Why an interface is held down, "" if it is not."""
        for lost in self._lines(interface):
            if guards(lost, self.names):
                return line_of(lost)
        for family, name in ((4, interface.crypto_map), (6, interface.ipv6_crypto_map)):
            if name is not None and (why := self._map(interface, name, family)):
                return why
        if interface.vrf is not None and interface.vrf not in self.cfg.vrfs:
            return first_of(lost for lost in self.top if is_vrf(lost) or interface.vrf in lost.words)
        return ""

    # --- crypto maps

    def _map(self, interface: Interface, name: str, family: int) -> str:
        found = self.cfg.crypto_maps.get(name)
        key = (name, family)
        if key not in self.maps:
            entries = found.entries if found is not None else []
            reasons = [self._heads(name, found), *(self._entry(entry, family) for entry in entries)]
            self.maps[key] = next(filter(None, reasons), "")
        if self.maps[key] or found is None:
            return self.maps[key]
        return next(filter(None, (self._ends(found, entry, interface) for entry in found.entries)), "")

    def _heads(self, name: str, found: CryptoMap | None) -> str:
        """A refused line that was to begin an entry of a map, or may have been."""
        for lost in self.top:
            if lost.opens != "crypto-map" and not starts(lost.words, "crypto", "map"):
                continue
            if len(lost.words) > 1 and not "map".startswith(lost.words[1].lower()) and name not in lost.words:
                continue  # of a dynamic map, or of something else
            at = 3 if lost.words[2:3] == ("ipv6",) else 2
            if any(map(is_harmless_of_map, lost.words[at + 1 : at + 2])):
                continue
            named = lost.words[at] if len(lost.words) > at else ""
            if name in lost.words or named not in self.cfg.crypto_maps:  # whose name is not known may be this one's
                return line_of(lost)
        return first_of(lost for lost in self.orphans if lost.words[0].lower() != "permit")

    def _entry(self, entry: CryptoMapEntry, family: int) -> str:
        if entry.dynamic_map is not None:
            return ""
        for lost in self._lines(entry):
            if not is_harmless_in_entry(lost):
                return line_of(lost)
        return self._list(entry.acl, family) if entry.acl is not None else ""

    def _ends(self, owner: CryptoMap, entry: CryptoMapEntry, interface: Interface) -> str:
        """Whether an entry lacks an address of one of its ends for a refused line."""
        if entry.dynamic_map is not None or not entry.peers:
            return ""
        peer = default_peer(entry, self.cfg)
        if peer is None:
            names = {each.hostname for each in entry.peers}
            return first_of(lost for lost in self.top
                          if starts(lost.words, "ip", "host") or not names.isdisjoint(lost.words))  # fmt: skip
        home = self.cfg.interfaces.get(owner.local_address or "", interface)
        if own_address(self.cfg, home, peer.version) is not None:
            return ""
        if owner.local_address is not None and owner.local_address not in self.cfg.interfaces:
            return first_of(self.heads)
        return first_of(filter(is_address, self._lines(home)))

    # --- access lists

    def _list(self, name: str, family: int) -> str:
        key = (name, family)
        if key not in self.lists:
            self.lists[key] = self._list_of(name, family)
        return self.lists[key]

    def _list_of(self, name: str, family: int) -> str:
        lists = self.cfg.access_lists if family == 4 else self.cfg.ipv6_access_lists
        found = lists.get(name)
        for lost in self._lines(found) if found is not None else ():
            if may_permit(lost.words):
                return line_of(lost)
        for lost in self.top:
            if is_numbered_entry(lost, name) or is_list(lost, name, found):
                return line_of(lost)
        if found is None:
            return first_of(lost for lost in self.orphans if lost.words[0].lower() == "permit")
        return self._groups(found)

    def _groups(self, found: AccessList) -> str:
        """A refused line of an object group that an entry of the list names."""
        used = self.load.index.get(("object groups", id(found)), ())
        for lost in self.rings if used else ():
            names = lost.head[1:] if starts(lost.head, "object-group") else lost.words[1:]
            if len(names) < 2 or any(name in words for name in names for words in used):
                return line_of(lost)
        return ""
