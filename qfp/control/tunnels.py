"""GRE tunnels: from configuration to rows of the `tun` table, with the headers that they put in front of packets."""

from dataclasses import dataclass

import numpy as np

from qfp.config.model import Address, Network, TunnelConfig
from qfp.control.mtu import overhead
from qfp.tables.sad import Sad
from qfp.tables.store import Tables, words
from qfp_kernels.columns import Columns
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_NBMA_MASK, CTL_TUNH_MASK, CTL_TUNS, TABLE_TYPES
from qfp_kernels.spd import nbma_hash
from qfp_kernels.tunnel import GRE_CSUM, GRE_KEY, GRE_SEQ, WITH_CSUM, WITH_KEY, WITH_SEQ, tunnel_hash

TTL_DEFAULT, HOPS_DEFAULT = 255, 64
IPPROTO_GRE = 47
ERRORS, ERROR_ID = 1, 0x8000
DF_RULES = {"copy": 0, "clear": 1, "set": 2}


@dataclass(frozen=True)
class GreTunnel:
    """A GRE tunnel that can carry packets. iface: row of `ifs`. vrf: front-door. sp: SPD entry of its protection.
    under: row of the interface that its own packets leave by.

    A multipoint tunnel is several: first its `head`, whose peer is the unspecified address, then one for each peer,
    with the next hops that NHRP maps to it, and whether multicast goes there.
    """

    iface: int
    local: Address
    peer: Address
    config: TunnelConfig
    vrf: int
    sp: int
    id_row: int
    df: str
    under: int
    head: bool = False
    hops: tuple[Network, ...] = ()
    multicast: bool = False


def options(config: TunnelConfig) -> int:
    """WITH_ bits of a tunnel's configuration."""
    return (
        (WITH_CSUM if config.checksum else 0)
        | (WITH_KEY if config.key is not None else 0)
        | (WITH_SEQ if config.sequence else 0)
    )


def header(tunnel: GreTunnel) -> bytes:
    """Delivery header and GRE header; what differs by packet is zero."""
    c = tunnel.config
    flags = (GRE_CSUM if c.checksum else 0) | (GRE_KEY if c.key is not None else 0) | (GRE_SEQ if c.sequence else 0)
    gre: bytes = flags.to_bytes(2) + bytes(2) + (bytes(4) if c.checksum else b"")
    gre += (c.key.to_bytes(4) if c.key is not None else b"") + (bytes(4) if c.sequence else b"")
    tos = c.tos or 0
    if tunnel.peer.version == 4:
        ends: bytes = tunnel.local.packed + tunnel.peer.packed
        return bytes([0x45, tos, 0, 0, 0, 0, 0, 0, c.ttl or TTL_DEFAULT, IPPROTO_GRE, 0, 0]) + ends + gre
    first = (6 << 28 | tos << 20).to_bytes(4)
    hops = c.ttl or HOPS_DEFAULT
    ends = tunnel.local.packed + tunnel.peer.packed
    return first + bytes([0, 0, IPPROTO_GRE, hops]) + ends + gre


def id_rows(tables: Tables, sad: Sad, local: Address, peer: Address) -> int:
    """Row of `ip_id` for GRE packets between two ends; the row behind it is for errors that this router makes, which
    begin half way round, so that fragments of both kinds do not meet."""
    pair = (*words(local), *words(peer), IPPROTO_GRE)
    first: int = sad.id_row(pair)
    own = sad.id_row((*pair, ERRORS))
    tables.t.ip_id[own] = ERROR_ID
    return first


def numbered(tunnels: list[GreTunnel]) -> bool:
    """Whether a tunnel numbers its packets. An ICMP error takes its number where it is made, when packets behind it
    must not have theirs yet: such a router works packet by packet."""
    return any(tunnel.config.sequence for tunnel in tunnels)


@kernel
def _link(t: Columns, rows: int) -> None:
    """Hang every tunnel into its hash bucket, the first configured one in front."""
    mask = np.uint64(t.ctl[CTL_TUNH_MASK])
    for r in range(rows - 1, -1, -1):
        tun = t.tun[r]
        b = np.int64(tunnel_hash(tun.src0, tun.src1, tun.dst0, tun.dst1, tun.key, tun.vrf) & mask)
        tun.next = t.tunh[b]
        t.tunh[b] = np.int32(r)


def build(tables: Tables, tunnels: list[GreTunnel]) -> None:
    """Fill the tunnel table and its hash; `ifs.tun` of each tunnel's interface names its row."""
    t = tables.t
    tables.fresh("tun", max(1, len(tunnels)))
    heads: dict[int, list[int]] = {}
    for k, tunnel in enumerate(tunnels):
        row, hdr = t.tun[k], header(tunnel)
        row["src0"], row["src1"] = words(tunnel.local)
        row["dst0"], row["dst1"] = words(tunnel.peer)
        row["iface"], row["sp"], row["id_row"], row["vrf"] = tunnel.iface, tunnel.sp, tunnel.id_row, tunnel.vrf
        row["key"], row["options"], row["fam"] = tunnel.config.key or 0, options(tunnel.config), tunnel.peer.version
        row["copy_tos"], row["copy_df"] = tunnel.config.tos is None, tunnel.config.path_mtu_discovery
        row["df"], row["hdr_len"] = DF_RULES[tunnel.df], overhead(tunnel.config)
        row["hdr"][: len(hdr)] = np.frombuffer(hdr, np.uint8)
        row["under"], row["multi"], row["cast"] = tunnel.under, tunnel.head, -1
        if not heads.setdefault(tunnel.iface, []):
            t.ifs["tun"][tunnel.iface] = k
        heads[tunnel.iface].append(k)
    size = max(16, 1 << (2 * max(1, len(tunnels))).bit_length())
    tables.fresh("tunh", size)
    t.tunh[:] = -1
    t.ctl[CTL_TUNH_MASK], t.ctl[CTL_TUNS] = size - 1, len(tunnels)
    _link(t, len(tunnels))
    _map(tables, tunnels, [rows for rows in heads.values() if tunnels[rows[0]].head])


def _map(tables: Tables, tunnels: list[GreTunnel], multipoint: list[list[int]]) -> None:
    """NHRP entries of multipoint tunnels, each given by its rows, the head first. Multicast is not copied: it goes by
    the one peer that is to have it, or not at all."""
    t = tables.t
    lengths: list[tuple[int, int, int]] = []
    entries: list[tuple[int, ...]] = []
    for head, *rows in multipoint:
        hops = {net: k for k in reversed(rows) for net in tunnels[k].hops}  # of equal prefixes the first one counts
        own = sorted({(net.version, net.prefixlen) for net in hops}, key=lambda each: -each[1])
        place = {each: len(lengths) + k for k, each in enumerate(own)}
        t.tun["lens"][head], t.tun["lens_n"][head] = len(lengths), len(own)
        lengths += [(*words(_netmask(*each)), each[0]) for each in own]
        entries += [(*words(net.network_address), head, k, place[net.version, net.prefixlen], -1)
                    for net, k in hops.items()]  # fmt: skip
        casts = [k for k in rows if tunnels[k].multicast]
        t.tun["cast"][head] = casts[0] if len(casts) == 1 else -1
    for name, found in (("nbma_len", lengths), ("nbma", entries)):
        tables.fresh(name, max(1, len(found)))
        for k, values in enumerate(found):
            for field, value in zip(TABLE_TYPES[name].names or (), values, strict=False):
                getattr(t, name)[field][k] = value
    size = 1 << (2 * max(1, len(entries))).bit_length()
    tables.fresh("nbmah", size)
    t.nbmah[:] = -1
    t.ctl[CTL_NBMA_MASK] = size - 1
    _link_maps(t, len(entries))


def _netmask(version: int, length: int) -> int:
    whole = 32 if version == 4 else 128
    return (1 << whole) - (1 << whole - length)


@kernel
def _link_maps(t: Columns, rows: int) -> None:
    """Hang every NHRP entry into its hash bucket."""
    mask = np.uint64(t.ctl[CTL_NBMA_MASK])
    for r in range(rows):
        entry = t.nbma[r]
        b = np.int64(nbma_hash(entry.hop0, entry.hop1, entry.head, entry.len) & mask)
        entry.next = t.nbmah[b]
        t.nbmah[b] = np.int32(r)
