"""GRE tunnels: from configuration to rows of the `tun` table, with the headers that they put in front of packets."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qfp.control.mtu import overhead
from qfp.tables.store import Tables, words
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CTL_TUNH_MASK, CTL_TUNS
from qfp_kernels.tunnel import GRE_CSUM, GRE_KEY, GRE_SEQ, WITH_CSUM, WITH_KEY, WITH_SEQ, tunnel_hash

Array = npt.NDArray[Any]
TTL_DEFAULT, HOPS_DEFAULT = 255, 64
IPPROTO_GRE = 47
ERRORS, ERROR_ID = 1, 0x8000
DF_RULES = {"copy": 0, "clear": 1, "set": 2}


@dataclass(frozen=True)
class GreTunnel:
    """A GRE tunnel that can carry packets. iface: row of `ifs`. vrf: front-door. sp: SPD entry of its protection."""

    iface: int
    local: Any
    peer: Any
    config: Any
    vrf: int
    sp: int
    id_row: int
    df: str


def options(config: Any) -> int:
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


def id_rows(tables: Tables, sad: Any, local: Any, peer: Any) -> int:
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
def _link(t: Any, rows: int) -> None:
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
    for k, tunnel in enumerate(tunnels):
        row, hdr = t.tun[k], header(tunnel)
        row["src0"], row["src1"] = words(tunnel.local)
        row["dst0"], row["dst1"] = words(tunnel.peer)
        row["iface"], row["sp"], row["id_row"], row["vrf"] = tunnel.iface, tunnel.sp, tunnel.id_row, tunnel.vrf
        row["key"], row["options"], row["fam"] = tunnel.config.key or 0, options(tunnel.config), tunnel.peer.version
        row["copy_tos"], row["copy_df"] = tunnel.config.tos is None, tunnel.config.path_mtu_discovery
        row["df"], row["hdr_len"] = DF_RULES[tunnel.df], overhead(tunnel.config)
        row["hdr"][: len(hdr)] = np.frombuffer(hdr, np.uint8)
        t.ifs["tun"][tunnel.iface] = k
    size = max(16, 1 << (2 * max(1, len(tunnels))).bit_length())
    tables.fresh("tunh", size)
    t.tunh[:] = -1
    t.ctl[CTL_TUNH_MASK], t.ctl[CTL_TUNS] = size - 1, len(tunnels)
    _link(t, len(tunnels))
