"""Sizes in force: MTUs of interfaces and tunnels, path and plaintext MTUs of SAs, written into the tables.

Everything is known here at load: where a tunnel's packets leave, what its SA adds, and so how long a packet may be.
"""

import numpy as np

from qfp.config import Configuration
from qfp.config.ends import tunnel_ends
from qfp.config.model import Interface, TunnelConfig
from qfp.control.mtu import MTU_DEFAULT, fragment_room, link_mtu, overhead, tunnel_mtu
from qfp.control.policy import Want
from qfp.control.sadb import Sadb
from qfp.sizes import LENGTH_MAX
from qfp.tables.interfaces import Interfaces
from qfp.tables.sad import Sad
from qfp.tables.store import Tables
from qfp_kernels.layout import CTL_FRAME_ROWS, CTL_MSS, CTL_ROOM, CTL_TUNS, IF_GRE, IF_VTI
from qfp_kernels.pathmtu import FLOOR4


class Sizes:
    """Fills MTU fields of `ifs` and `sa`. `mtus`: (interface, family) -> bytes. `home(handle)`: MTU of an outbound SA's
    egress interface."""

    SAVED = ("mtus", "_homes", "_tunnel_of", "_mtu_of_map")  # see qfp.checkpoint

    def __init__(self, config: Configuration, tables: Tables, sad: Sad, interfaces: Interfaces, sadb: Sadb):
        self._config, self._t, self._sad, self._interfaces, self._sadb = config, tables.t, sad, interfaces, sadb
        self.mtus: dict[tuple[str, int], int] = {}
        self._homes: dict[int, int] = {}
        self._tunnel_of: dict[int, str] = {}
        self._mtu_of_map: dict[tuple[str, int], int] = {}
        for name, interface in self._config.interfaces.items():
            if interface.tunnel is None:
                self._set(name, *(link_mtu(interface, family) for family in (4, 6)))
        self._associations()
        for name, interface in self._config.interfaces.items():
            if interface.tunnel is not None:
                self._tunnel(name, interface, interface.tunnel)
        self._bounds()

    def _set(self, name: str, mtu4: int, mtu6: int) -> None:
        row = self._interfaces.row[name]
        self.mtus[name, 4], self.mtus[name, 6] = mtu4, mtu6
        self._t.ifs["mtu4"][row], self._t.ifs["mtu6"][row] = mtu4, mtu6

    def _egress(self, row: int, family: int) -> int:
        """MTU of the interface under a tunnel, for its own packets of a family."""
        return self._mtu(int(self._t.ifs["under"][row]), family)

    def _mtu(self, row: int, family: int) -> int:
        names = self._interfaces.names
        return self.mtus.get((names[row], family), LENGTH_MAX) if row >= 0 else LENGTH_MAX

    def _associations(self) -> None:
        """Path MTU of every outbound SA: that of the interface by which its packets leave."""
        gre = dict(zip(self._t.tun["sp"].tolist(), self._t.tun["under"].tolist(), strict=True))
        alike: dict[int, list[int]] = {}  # MTU -> SAs, whose rows are written together
        for pair in self._sadb.pairs:
            if not pair.outbound:
                continue
            handle, want = pair.outbound[0], pair.want
            family = want.peer.version
            if want.tunnel and want.sp in gre and not want.vti:
                mtu = self._mtu(gre[want.sp], family) if gre[want.sp] >= 0 else MTU_DEFAULT
                self._tunnel_of[handle] = want.interface.name
            elif want.tunnel:
                mtu = self._egress(self._interfaces.row[want.interface.name], family)
                self._tunnel_of[handle] = want.interface.name
            else:
                mtu = self._shared_mtu(want, family)
            self._homes[handle] = mtu
            alike.setdefault(mtu, []).append(handle)
        for mtu, handles in alike.items():
            self._sad.set_path_mtu(np.array(handles), mtu)

    def _shared_mtu(self, want: Want, family: int) -> int:
        """The smallest MTU of the interfaces with the crypto map of an SA; asked once for all SAs of a map there."""
        key = (want.interface.name, family)
        if key not in self._mtu_of_map:
            self._mtu_of_map[key] = min(self._shared(want, family))
        return self._mtu_of_map[key]

    def _shared(self, want: Want, family: int) -> list[int]:
        """MTUs of all interfaces with the crypto map of an SA (`local-address` lets several share one)."""
        name = want.interface.crypto_map, want.interface.ipv6_crypto_map
        users = [i for i in self._config.interfaces.values() if (i.crypto_map, i.ipv6_crypto_map) == name]
        cmap = self._config.crypto_maps.get(name[0] or name[1] or "")
        shared = users if cmap is not None and cmap.local_address else [want.interface]
        return [self.mtus.get((i.name, family), LENGTH_MAX) for i in shared]

    def _tunnel(self, name: str, interface: Interface, tunnel: TunnelConfig) -> None:
        """MTUs of a tunnel interface, from its way; the SA of a VTI must know them."""
        row = self._interfaces.row[name]
        kind = int(self._t.ifs["kind"][row])
        _, peer = tunnel_ends(self._config, interface)
        default = LENGTH_MAX
        handles = [h for h, served in self._tunnel_of.items() if served == name]
        if kind == IF_VTI and handles:
            default = int(self._t.sa["plain_mtu"][handles[0]])
        elif kind == IF_GRE and tunnel.is_multipoint:
            mine = self._t.tun["iface"][: int(self._t.ctl[CTL_TUNS])] == row
            families = 6 if tunnel.mode.endswith("ipv6") else 4
            ways = set(self._t.tun["under"][: mine.size][mine].tolist())
            default = min(self._mtu(under, families) for under in ways) - overhead(tunnel)
        elif kind == IF_GRE and peer is not None:
            default = self._egress(row, peer.version) - overhead(tunnel)
        self._set(name, *(tunnel_mtu(interface, family, default) for family in (4, 6)))
        for handle in handles if kind == IF_VTI else ():
            self.set_path_mtu(handle, self._homes[handle])

    def own(self, handle: int) -> int:
        """MTU of the VTI that an SA serves, the smaller of both families; no limit for others."""
        name = self._tunnel_of.get(handle)
        if name is None or int(self._t.ifs["kind"][self._interfaces.row[name]]) != IF_VTI:
            return LENGTH_MAX
        return min(self.mtus[name, 4], self.mtus[name, 6])

    def hand_on(self, old: int, new: int) -> None:
        """An SA follows another: the same way, the same sizes."""
        if old in self._homes:
            self._homes[new] = self._homes.pop(old)
        if old in self._tunnel_of:
            self._tunnel_of[new] = self._tunnel_of.pop(old)
        self._sad.take_way(new, old)

    def home(self, handle: int) -> int:
        """MTU of the interface by which an outbound SA's packets leave."""
        return self._homes[handle]

    def set_path_mtu(self, handle: int, mtu: int) -> None:
        """The way to an SA's peer takes `mtu` bytes from now on, also for the SA that is prepared to follow it."""
        heir = int(self._t.life["heir"][handle])
        self._sad.set_path_mtu(np.array([handle, heir] if heir >= 0 else [handle]), mtu, self.own(handle))

    def _bounds(self) -> None:
        """How small a fragment can get, which bounds how many a vector may need; and what stages must look at all."""
        sa, ifs = self._t.sa, self._t.ifs
        mtus = [mtu for mtu in self.mtus.values() if mtu]
        handles = np.array(list(self._homes), np.int64)
        over = np.where(sa["next"][handles] >= 0, sa["profile"][sa["next"][handles]].astype(np.int64), -1)
        kinds = zip(sa["profile"][handles].tolist(), over.tolist(), self._homes.values(), strict=True)
        for (_, _, home), handle in dict(zip(kinds, self._homes, strict=True)).items():
            mtus += [home, max(68, self._sad.sizing(handle).plaintext_mtu(min(home, FLOOR4)))]
        self._t.ctl[CTL_ROOM] = fragment_room(mtus)
        self._t.ctl[CTL_MSS] = bool((ifs["mss4"] | ifs["mss6"]).any())
        # A frame may be the last fragment of a GRE packet, or expand, to the longest packet there is, which is cut then
        grows = bool(sa["comp"].any()) or self._t.ctl[CTL_TUNS] > 0
        self._t.ctl[CTL_FRAME_ROWS] = 2 + 65535 // int(self._t.ctl[CTL_ROOM]) if grows else 0
