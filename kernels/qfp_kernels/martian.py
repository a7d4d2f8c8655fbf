"""Addresses that no router forwards: asked once a flow, when `spd` looks it up.

What is for the router itself is not asked: a DHCP client's 0.0.0.0 and duplicate address detection's :: are no martians
there. What the router makes itself is not asked either.
"""

import numpy as np

from qfp_kernels.jit import inlined, outlined

U16, U24, U28, U54, U56 = (np.uint64(k) for k in (16, 24, 28, 54, 56))
NETWORK_0, NETWORK_127 = np.uint64(0), np.uint64(127)
LINK_LOCAL4 = np.uint64(169 << 8 | 254)
CLASS_D, CLASS_E = np.uint64(0xE), np.uint64(0xF)
MULTICAST6, LINK_LOCAL6 = np.uint64(0xFF), np.uint64(0xFE80 >> 6)
U0, U1 = np.uint64(0), np.uint64(1)


@inlined
def _special4(address):
    """Neither source nor destination: network 0 and loopback (RFC 1812 section 5.3.7), link-local (RFC 3927 section
    2.7), class E and limited broadcast (a router's own: not asked)."""
    first = address >> U24
    return first in (NETWORK_0, NETWORK_127) or address >> U16 == LINK_LOCAL4 or address >> U28 == CLASS_E


@inlined
def _special6(high, low):
    """Neither source nor destination: unspecified, loopback, link-local (RFC 4291 sections 2.5.2, 2.5.3, 2.5.6)."""
    return (high == U0 and low <= U1) or high >> U54 == LINK_LOCAL6


@outlined
def is_martian(fam, src0, src1, dst0, dst1):
    """Whether a packet with these ends is not forwarded. Multicast is no source (RFC 1812 section 4.2.2.11, RFC 4291
    section 2.7)."""
    if fam == 4:
        return src1 >> U28 == CLASS_D or _special4(src1) or _special4(dst1)
    return src0 >> U56 == MULTICAST6 or _special6(src0, src1) or _special6(dst0, dst1)
