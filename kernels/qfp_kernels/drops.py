"""The one list of verdicts and drop causes. docs/drops.md, the show commands and the verdict schema come from it.

Each cause names the stage that finds it, the IOS XE feature drop code and name, the Linux MIB counter, and one
sentence for the person who reads the report.
"""

from dataclasses import dataclass
from enum import IntEnum

STAGES = ("", "parse", "lookup", "join", "decap", "commit", "spd", "forward", "plan", "sequence",
          "encap", "reassemble", "tunnel", "queue")  # fmt: skip


class Verdict(IntEnum):
    """What became of a frame."""

    NONE = 0  # still under way: never seen in a result
    FORWARDED = 1  # protected or decapsulated, and sent
    DROPPED = 2
    CONSUMED = 3  # taken in by the data plane itself (NAT keepalive, dummy packet)
    PUNTED = 4  # handed to the control plane (not IP, IKE, for the router itself)
    BYPASSED = 5  # sent without IPsec
    QUEUED = 6  # still in a queue at the end of the run


@dataclass(frozen=True)
class Cause:
    """One reason to drop."""

    number: int
    name: str
    stage: str
    xe_code: int | None
    xe_name: str
    linux: str
    sentence: str


_ROWS = (
    ("TOO_LONG", "parse", 25, "IN_INFRA_V4_PKT_LEN_TOO_BIG", "XfrmInHdrError",
     "The frame is longer than any IP packet."),
    ("CUT_SHORT", "parse", None, "BadIpLen", "XfrmInBufferError",
     "The capture holds fewer bytes of the packet than its IP header says (snap length), so it cannot be processed."),
    ("BAD_HEADER", "parse", 89, "IN_PKT_IPVER_INVALID", "XfrmInHdrError",
     "An IP header or extension header is malformed: version, header length, or total length (0 from a sender with "
     "segmentation offload: `qfp run --offload` takes it)."),
    ("BAD_CHECKSUM", "parse", None, "BadIpChecksum", "InHdrErrors",
     "The IPv4 header checksum is wrong (0 from a sender that leaves it to its network card: `qfp run --offload` takes "
     "it)."),
    ("TTL_EXPIRED", "forward", None, "Ipv4TtlExpired", "InHdrErrors",
     "TTL or hop limit would reach zero at this router."),
    ("NO_ROUTE", "spd", None, "Ipv4NoRoute", "OutNoRoutes",
     "No route leads to the destination."),
    ("IF_DOWN", "spd", None, "Disabled", "OutDiscards",
     "The interface that it should take is shut down, or its tunnel cannot come up."),
    ("UNSUPPORTED_TUNNEL", "spd", None, "UnconfiguredIpv4Fia", "OutDiscards",
     "The route leads into a tunnel whose own packets would have to go through another tunnel, or whose mode is not "
     "GRE or IPsec."),
    ("NOT_IPSEC", "spd", 8, "IN_US_CL_V4_PKT_FAILED_POLICY", "XfrmInNoPols",
     "A clear packet arrived that the policy says must be protected."),
    ("POLICY_MISMATCH", "spd", 30, "IN_V4_POST_INPUT_POLICY_FAIL", "XfrmInTmplMismatch",
     "The decapsulated packet is not one that its SA may carry."),
    ("POLICY_DROP", "spd", 35, "OUT_V4_PKT_HIT_DENY_DROP_SP", "XfrmOutPolBlock",
     "The policy discards this packet."),
    ("NO_SA_OUT", "spd", 33, "OUT_V4_PKT_HIT_IKE_START_SP", "XfrmOutNoStates",
     "The policy asks for protection, but no SA exists (IKE would be started)."),
    ("SEQ_OVERFLOW", "sequence", 46, "OUT_CD_SW_IPSEC_DETECT_SEQ_OVEFLOW", "XfrmOutStateSeqError",
     "The SA has used its last sequence number; a number is never used twice under one key."),
    ("TRANSPORT_FRAGMENT", "plan", 49, "OUT_PKT_HEADPAD_LEN_ERR", "XfrmOutStateModeError",
     "A fragment cannot be protected in transport mode (RFC 4303 section 3.1.1)."),
    ("TRANSPORT_MISMATCH", "plan", 49, "OUT_PKT_HEADPAD_LEN_ERR", "XfrmOutStateModeError",
     "A transport-mode SA only protects packets between its own two addresses and of its own family."),
    ("OUT_TOO_LONG", "plan", 51, "OUT_INFRA_V4_PKT_LEN_TOO_BIG", "XfrmOutError",
     "With its new headers the packet would exceed 65,535 bytes."),
    ("NO_SA", "lookup", 4, "IN_US_V4_PKT_SA_NOT_FOUND_SPI", "XfrmInNoStates",
     "No SA has this SPI, destination and protocol (invalid SPI)."),
    ("FRAGMENT", "lookup", 70, "IN_V4_PKT_FRAG_ERR", "XfrmInHdrError",
     "A fragment of a packet that is protected inside another protected packet: these are not reassembled."),
    ("RUNT", "lookup", 23, "IN_PKT_HEADPAD_LEN_ERR", "XfrmInHdrError",
     "The packet is too short for the header, IV, trailer and ICV of its SA, or not a multiple of the cipher block."),
    ("ENCAP_MISMATCH", "lookup", 63, "IN_NAT_DEMUX_FAIL", "XfrmInStateMismatch",
     "The packet is UDP-encapsulated and its SA is not, or the reverse."),
    ("REPLAY", "commit", 19, "IN_CD_SW_IPSEC_ANTI_REPLAY_FAIL", "XfrmInStateSeqError",
     "The sequence number was seen before, lies below the window, or is not above zero."),
    ("INTEGRITY", "commit", 62, "IN_CD_SW_IPSEC_MAC_EXCEPTION", "XfrmInStateProtoError",
     "The ICV does not verify: wrong key, changed packet, or (ESN) a lost high half."),
    ("ESN_GUESS", "commit", 62, "IN_CD_SW_IPSEC_MAC_EXCEPTION", "XfrmInStateProtoError",
     "The ICV does not verify, and the number lies outside the window's half, so that the inferred ESN high half "
     "may be the reason."),
    ("BAD_PADDING", "decap", 65, "IN_CD_SW_IPSEC_NH_MISMATCH", "XfrmInStateProtoError",
     "The padding is not 1, 2, 3, … or is longer than the packet."),
    ("BAD_NEXT_HEADER", "decap", 65, "IN_CD_SW_IPSEC_NH_MISMATCH", "XfrmInStateProtoError",
     "The trailer names a next header that the SA's mode does not carry."),
    ("BAD_INNER", "decap", 89, "IN_PKT_IPVER_INVALID", "XfrmInHdrError",
     "What was inside, decrypted or carried by GRE, is no well-formed IP packet."),
    ("ECN_CE", "decap", None, "IpsecInput", "XfrmInHdrError",
     "The outer header says congestion experienced, but the inner packet is not ECN-capable (RFC 6040)."),
    ("NESTED_TOO_DEEP", "lookup", 24, "IN_PKT_PSTATE_TOO_BIG", "XfrmInError",
     "More SAs are nested in this packet than qfp opens, or one lies inside GRE."),
    ("AH_HEADERS", "plan", 49, "OUT_PKT_HEADPAD_LEN_ERR", "XfrmOutError",
     "More than 256 bytes of IP header and extension headers stand in front of AH (inbound: lookup)."),
    ("FRAG_NEEDED", "plan", 48, "OUT_CANNOT_FRAG_DF_SET_PKT", "FragFails",
     "The packet is longer than its way allows and must not be fragmented (DF set, or IPv6)."),
    ("FRAGMENT_BAD", "reassemble", 70, "IN_V4_PKT_FRAG_ERR", "ReasmFails",
     "A fragment that fits no packet: empty, not a multiple of 8 bytes though more follow, or beyond 65,535 bytes."),
    ("FRAGMENT_OVERLAP", "reassemble", 70, "IN_V4_PKT_FRAG_ERR", "ReasmFails",
     "A fragment that overlaps another or contradicts the packet's length; the whole packet is given up (RFC 5722)."),
    ("FRAGMENT_DUPLICATE", "reassemble", 70, "IN_V4_PKT_FRAG_ERR", "ReasmFails",
     "A fragment that is there already; the packet waits on."),
    ("REASSEMBLY_TIMEOUT", "reassemble", 70, "IN_V4_PKT_FRAG_ERR", "ReasmTimeout",
     "The rest of the packet did not come in time."),
    ("REASSEMBLY_FULL", "reassemble", 110, "PKT_BUFFER_UNAVAILABLE", "ReasmFails",
     "The reassembly table was full and this packet the oldest in it, or it came in more fragments than are allowed."),
    ("REASSEMBLY_SOURCE", "reassemble", 110, "PKT_BUFFER_UNAVAILABLE", "ReasmFails",
     "Its source has as many unfinished packets in the reassembly table as one source may have."),
    ("NO_BUFFERS", "tunnel", 110, "PKT_BUFFER_UNAVAILABLE", "OutDiscards",
     "More fragments in one vector than there are buffers for."),
    ("TUNNEL_LOOP", "tunnel", None, "Ipv4RoutingErr", "OutNoRoutes",
     "The way to the tunnel's destination leads through the tunnel itself or to this router, or there are too many "
     "tunnels, one in the other."),
    ("GRE_NO_TUNNEL", "tunnel", None, "UnconfiguredIpv4Fia", "InUnknownProtos",
     "A GRE packet for this router that belongs to no tunnel: addresses, VRF and key decide."),
    ("GRE_HEADER", "tunnel", None, "BadTunnelHeader", "InHdrErrors",
     "A malformed GRE header: version, reserved bits, length, or what it says it carries."),
    ("GRE_CHECKSUM", "tunnel", None, "BadTunnelHeader", "InHdrErrors",
     "The GRE checksum is wrong."),
    ("GRE_SEQUENCE", "tunnel", None, "TunnelDecapErr", "InDiscards",
     "A GRE packet out of order in a tunnel with `tunnel sequence-datagrams`."),
    ("IPV6_ROUTING_OFF", "spd", None, "UnconfiguredIpv6Fia", "InNoRoutes",
     "An IPv6 packet to route, and `ipv6 unicast-routing` is not configured."),
    ("COMP_BAD", "decap", 24, "IN_PKT_PSTATE_TOO_BIG", "XfrmInError",
     "An IPComp header or its compressed bytes are malformed, or the CPI is not that of LZS."),
    ("TAIL_DROP", "queue", None, "TailDrop", "OutDiscards",
     "The queue of its class was full."),
    ("POLICED", "queue", None, "QosPolicing", "OutDiscards",
     "A policer's rate was exceeded: one of its class (`police`), or that of a priority class while packets waited."),
    ("CRYPTO_TAIL_DROP", "queue", None, "IpsecTailDrop", "OutDiscards",
     "The queue before the crypto engine was full."),
    ("SA_EXPIRED", "sequence", 44, "OUT_CD_SW_IPSEC_HARD_EXPIRY", "XfrmOutStateExpired",
     "The SA's lifetime, by time, volume or idleness, is over and no new one exists (inbound: commit, code 18)."),
    ("SA_STALE", "sequence", 32, "OUT_V4_PKT_HIT_INVALID_SA", "XfrmOutStateInvalid",
     "The SA was made before `multi-sn` was switched on or off: its traffic is dropped until it is cleared."),
    ("MARTIAN", "spd", None, "Ipv4Martian", "InAddrErrors",
     "Its source or destination is no address that routers forward: loopback, unspecified, link-local, class E, or a "
     "multicast source (RFC 1812 5.3.7, RFC 3927 2.7, RFC 4291 2.5)."),
    ("SELECTOR_MISMATCH", "decap", 30, "IN_V4_POST_INPUT_POLICY_FAIL", "XfrmInStateMismatch",
     "The decrypted packet lies outside the selectors that the key file states for its SA (RFC 4301 5.2)."),
    ("NO_NHRP_MAP", "spd", None, "Ipv4NoAdj", "OutNoRoutes",
     "The next hop in a multipoint GRE tunnel has no `ip nhrp map` entry (multicast: not exactly one `ip nhrp map "
     "multicast`). Dynamic NHRP is not modelled."),
    ("HELD_DOWN", "spd", None, "Disabled", "OutDiscards",
     "A line of the configuration that asks for protection was refused: the interface or route is held down, because "
     "its packets would leave in clear."),
)  # fmt: skip

CAUSES = (Cause(0, "NONE", "", None, "", "", ""), *(Cause(i + 1, *row) for i, row in enumerate(_ROWS)))
Drop = IntEnum("Drop", {c.name: c.number for c in CAUSES})  # type: ignore[misc]
