"""spd: egress interface, policy entry and SA of each clear packet, from the flow cache or by the full look-up.

The inbound policy is checked in the same look-up: a decapsulated packet must be one that its SA may carry, and a clear
packet that should have come in protected is dropped (RFC 4301 section 5.2).

Rules that compare the same bits of the header form a *tuple* (RFC 4301's selectors as tuple space): one hash probe
finds every rule of a tuple that may match, so a policy of 1000 host or subnet pairs costs one probe, not 1000 compares.
Tuples are visited in order of their best rule and the search ends when no better rule can come. First match wins; a
`deny` goes on with the next crypto map entry (guide chapter 2; BASE-4), which is a second search from `resume` on.

The flow cache in front remembers the whole outcome (inbound check, egress, entry, SA) for a 5-tuple and the entry of
the SA that it came through: one 64-byte line a flow. A line
from before the last table change carries an older generation and misses.
"""

import numpy as np

from qfp_kernels.columns import base
from qfp_kernels.drops import STAGES, Drop, Verdict
from qfp_kernels.fib import route
from qfp_kernels.jit import inlined, outlined
from qfp_kernels.layout import (
    CTL_GEN,
    CTL_NBMA_MASK,
    CTL_PREFETCH,
    CTL_SPDH_MASK,
    CTL_TUNS,
    CTL_V6_OFF,
    ERR_HOST,
    ERR_NO_ROUTE,
    FRAG,
    FRAG_LATER,
    FROM_GRE,
    IF_GRE,
    IF_HELD,
    IF_OTHER,
    IF_PHYSICAL,
    IF_VTI,
    LEVELS,
    LINE,
    ORIGIN,
    PORTS_KNOWN,
    SP_BYPASS,
    SP_DISCARD,
    SP_GRE,
    SP_HELD,
    SP_LOCAL,
    SP_MARTIAN,
    SP_MISMATCH,
    SP_NO_PEER,
    SP_NO_ROUTE,
    SP_NO_SA,
    SP_NOT_IPSEC,
    SP_PROTECT,
    SP_TUNNEL,
    SP_UNSUPPORTED,
    SP_V6_OFF,
    ST_FLOW_HIT,
    ST_FLOW_MASK,
    ST_FLOW_MISS,
    ST_TU,
    ST_TX,
)
from qfp_kernels.martian import is_martian
from qfp_kernels.parse import drop, owe
from qfp_kernels.rows import ingress
from qfp_kernels.simd import prefetch

NO_RULE = np.uint32(0xFFFFFFFF)
K0, K1, K2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
K3, K4 = np.uint64(0xE7037ED1A0B428DB), np.uint64(0x8EBC6AF09C88C6E3)
U_ODD = np.uint64(0x5851F42D4C957F2D)
U8, U16, U24, U29, U32, U48 = (np.uint64(k) for k in (8, 16, 24, 29, 32, 48))
STAGE_SPD = STAGES.index("spd")
BYPASSED, FORWARDED = np.uint8(Verdict.BYPASSED), np.uint8(Verdict.FORWARDED)
PUNTED = np.uint8(Verdict.PUNTED)
WAYS = 4  # lines probed for one flow
GRE = 47
DROPS = (Drop.NO_ROUTE, Drop.POLICY_DROP, Drop.NO_SA_OUT, Drop.UNSUPPORTED_TUNNEL, Drop.IF_DOWN, Drop.NOT_IPSEC,
         Drop.POLICY_MISMATCH, Drop.IPV6_ROUTING_OFF, Drop.MARTIAN, Drop.NO_NHRP_MAP,
         Drop.HELD_DOWN)  # fmt: skip
(NO_ROUTE, POLICY_DROP, NO_SA_OUT, UNSUPPORTED, IF_DOWN, NOT_IPSEC, POLICY_MISMATCH,
 IPV6_ROUTING_OFF, MARTIAN, NO_NHRP_MAP, HELD_DOWN) = (int(d) for d in DROPS)  # fmt: skip


@inlined
def mix(a, b, c, d, e):
    """64-bit hash of five words: five products that do not wait for one another, then one round of mixing."""
    h = (a * K0) ^ ((b ^ U_ODD) * K1) ^ (c * K2) ^ ((d ^ U_ODD) * K3) ^ (e * K4)
    h ^= h >> U32
    h *= K1
    return h ^ (h >> U29)


@inlined
def rule_hash(src0, src1, dst0, dst1, spd, tuple_no, proto):
    """Bucket hash of a rule's masked values (the control plane builds the table with this very function)."""
    return mix(src0, src1, dst0, dst1, np.uint64(spd) << U32 | np.uint64(tuple_no) << U8 | np.uint64(proto))


@outlined
def match(t, spd, src0, src1, dst0, dst1, fam, proto, sport, dport, later):
    """First matching permit rule of an SPD, deny rules honoured: its SPD entry, or -1."""
    first = np.int64(t.spd[spd].tuples)
    count = np.int64(t.spd[spd].n)
    mask = np.uint64(t.ctl[CTL_SPDH_MASK])
    start = np.uint32(0)
    while True:
        best, rule = NO_RULE, np.int64(-1)
        for k in range(first, first + count):
            tup = t.tup[k]
            if tup.prio >= best:
                break  # tuples stand in order of their best rule
            if tup.fam != fam:
                continue
            a0, a1, b0, b1 = src0 & tup.src0, src1 & tup.src1, dst0 & tup.dst0, dst1 & tup.dst1
            exact = proto if tup.proto != 0 else np.uint8(0)
            r = np.int64(t.spdh[np.int64(rule_hash(a0, a1, b0, b1, spd, k, exact) & mask)])
            while r >= 0:
                ace = t.ace[r]
                if ace.prio >= best:
                    break
                if (
                    ace.prio >= start
                    and ace.tuple == k
                    and ace.src1 == a1
                    and ace.dst1 == b1
                    and ace.src0 == a0
                    and ace.dst0 == b0
                    and (tup.proto == 0 or ace.proto == proto)
                ):
                    hit = True
                    if ace.ports != 0:
                        if later:  # no ports to look at: a permit matches on addresses alone, a deny does not
                            hit = ace.permit != 0
                        else:
                            hit = ace.sport_lo <= sport <= ace.sport_hi and ace.dport_lo <= dport <= ace.dport_hi
                    if hit:
                        best, rule = ace.prio, r
                        break
                r = np.int64(ace.next)
        if rule < 0:
            return np.int64(-1)
        if t.ace[rule].permit != 0:
            return np.int64(t.ace[rule].sp)
        start = t.ace[rule].resume


@inlined
def _inbound_ok(p, t, i, via, later, local):
    """The inbound policy (RFC 4301 section 5.2): 0, or what is wrong.

    What came through an SA must be traffic of that SA's entry; clear packets that the ingress interface's policy says
    must be protected are refused, but for IPsec and IKE to the router itself. What came out of a GRE tunnel was judged
    as GRE; its tunnel interface may have a policy of its own.
    """
    port = t.ifs[ingress(p, i)]
    rules = np.int64(port.spd4) if p.fam[i] == 4 else np.int64(port.spd6)
    opened = p.lv_n[i] > 0 and (p.flags[i] & FROM_GRE) == 0
    if opened and via >= 0 and t.sp[via].tun >= 0:  # a VTI carries anything, the SA of a GRE tunnel its GRE
        gre = t.ifs[t.sp[via].tun].kind == IF_GRE
        return SP_MISMATCH if gre and not (local and p.proto[i] == GRE) else 0
    if opened and (via < 0 or t.sa[p.sa[i]].checks == 0):
        return 0
    if rules < 0:
        return SP_MISMATCH if opened else 0
    proto = p.proto[i]
    ike = proto == 17 and (p.dport[i] == 500 or p.dport[i] == 4500)
    if not opened and local and (ike or proto == 50 or proto == 51):
        return 0
    sport, dport = p.dport[i], p.sport[i]
    if proto == 1 or proto == 58:  # ICMP type and code do not turn round
        sport, dport = p.sport[i], p.dport[i]
    sp = match(t, rules, p.dst0[i], p.dst1[i], p.src0[i], p.src1[i], p.fam[i], proto, sport, dport, later)
    if opened:
        return 0 if sp == via else SP_MISMATCH
    return SP_NOT_IPSEC if sp >= 0 and t.sp[sp].action == SP_PROTECT else 0


@inlined
def vrf_of(p, t, i):
    """Routing table of a packet: that of the interface it came in by; a packet of our own carries it."""
    return np.uint16(p.vrf[i]) if p.flags[i] & ORIGIN else np.uint16(t.ifs[ingress(p, i)].vrf)


@outlined
def _decide(p, t, i, line, via, later):
    """The full look-up, written into a flow line."""
    line.sp, line.sa, line.out_if = np.int32(-1), np.int32(-1), np.int16(-1)
    f = route(t, vrf_of(p, t, i), p.fam[i], p.dst0[i], p.dst1[i])
    local = f >= 0 and t.adj[f].local != 0
    if (p.flags[i] & ORIGIN) == 0:
        wrong = _inbound_ok(p, t, i, via, later, local)
        if wrong != 0:
            line.action = np.uint8(wrong)
            return
    if local:
        line.action = np.uint8(SP_GRE if p.proto[i] == GRE and t.ctl[CTL_TUNS] > 0 else SP_LOCAL)
        return
    if (p.flags[i] & ORIGIN) == 0:
        if is_martian(p.fam[i], p.src0[i], p.src1[i], p.dst0[i], p.dst1[i]):
            line.action = np.uint8(SP_MARTIAN)
            return
        if p.fam[i] == 6 and t.ctl[CTL_V6_OFF] != 0:
            line.action = np.uint8(SP_V6_OFF)
            return
    if f < 0:
        line.action = np.uint8(SP_NO_ROUTE)
        return
    _outbound(p, t, i, line, t.adj[f], later)


@inlined
def nbma_hash(hop0, hop1, head, length):
    """Bucket hash of an `ip nhrp map` entry: its prefix, its tunnel's head, its row of `nbma_len`."""
    return mix(hop0, hop1, np.uint64(head), np.uint64(length), U_ODD)


@outlined
def peer_row(t, head, fam, hop0, hop1, multicast):
    """Row of `tun` by which a multipoint tunnel reaches a next hop: the longest prefix of its maps, or -1."""
    tun = t.tun[head]
    if multicast:
        return np.int64(tun.cast)
    for k in range(np.int64(tun.lens), np.int64(tun.lens) + np.int64(tun.lens_n)):
        length = t.nbma_len[k]
        if length.fam != fam:
            continue
        a0, a1 = hop0 & length.mask0, hop1 & length.mask1
        r = np.int64(t.nbmah[np.int64(nbma_hash(a0, a1, head, k) & np.uint64(t.ctl[CTL_NBMA_MASK]))])
        while r >= 0:
            entry = t.nbma[r]
            if entry.len == k and entry.head == head and entry.hop0 == a0 and entry.hop1 == a1:
                return np.int64(entry.tun)
            r = np.int64(entry.next)
    return np.int64(-1)


@inlined
def gre_row(t, head, adj, fam, dst0, dst1):
    """Row of `tun` by which a packet enters the GRE tunnel `head`, or -1. A multipoint tunnel asks who the next hop is;
    on the tunnel's own network that is the destination."""
    if t.tun[head].multi == 0:
        return np.int64(head)
    onlink = (adj.hop0 | adj.hop1) == 0
    multicast = onlink and ((dst1 >> 28) == 0xE if fam == 4 else (dst0 >> 56) == 0xFF)
    return peer_row(t, head, fam, dst0 if onlink else adj.hop0, dst1 if onlink else adj.hop1, multicast)


@inlined
def _outbound(p, t, i, line, adj, later):
    """What the egress interface asks for: a tunnel, protection, or nothing."""
    out = np.int64(adj.out_if)
    line.out_if = np.int16(out)
    if out < 0:  # HELD
        line.action = np.uint8(SP_HELD)
        return
    port = t.ifs[out]
    if port.kind == IF_HELD:
        line.action = np.uint8(SP_HELD)
        return
    if port.kind == IF_GRE:
        line.sp = np.int32(gre_row(t, np.int64(port.tun), adj, p.fam[i], p.dst0[i], p.dst1[i]))
        line.action = np.uint8(SP_TUNNEL if line.sp >= 0 else SP_NO_PEER)
        return
    if port.kind == IF_OTHER:
        line.action = np.uint8(SP_UNSUPPORTED)
        return
    rules = np.int64(port.spd4) if p.fam[i] == 4 or port.kind == IF_VTI else np.int64(port.spd6)
    if port.kind == IF_VTI:
        if port.under >= 0 and t.ifs[port.under].kind != IF_PHYSICAL:
            line.action = np.uint8(SP_UNSUPPORTED)
            return
        line.out_if = np.int16(port.under)
    sp = np.int64(-1)
    if rules >= 0:
        sp = match(
            t, rules, p.src0[i], p.src1[i], p.dst0[i], p.dst1[i], p.fam[i], p.proto[i], p.sport[i], p.dport[i], later
        )
    if sp < 0:
        line.action = np.uint8(SP_BYPASS)
        return
    line.sp = np.int32(sp)
    line.action = t.sp[sp].action
    if line.action == SP_PROTECT:
        line.sa = t.sp[sp].sa_out
        if line.sa < 0:
            line.action = np.uint8(SP_NO_SA)


@inlined
def _key_where(p, i):
    """The rest of a flow's key: where it came in, or that the router made it and for which routing table."""
    if p.flags[i] & ORIGIN:
        return np.uint32(0x80000000) | np.uint32(p.vrf[i])
    gre = np.uint32(0x40000000) if p.flags[i] & FROM_GRE else np.uint32(0)
    return np.uint32(ingress(p, i)) | gre


@inlined
def _ports_word(p, i):
    """Everything of a flow's key but its addresses."""
    frag = np.uint64(p.frag[i] & (FRAG | FRAG_LATER))
    return (
        np.uint64(p.sport[i]) << U48
        | np.uint64(p.dport[i]) << U32
        | np.uint64(p.proto[i]) << U24
        | np.uint64(p.fam[i]) << U16
        | frag << U8
    )


@inlined
def _flow_hash(p, i, ports):
    return mix(p.src0[i], p.src1[i], p.dst0[i], p.dst1[i], ports ^ np.uint64(_key_where(p, i)))


@inlined
def flow_line(p, t, i, via):
    """The cache line of this flow: (line, found). Not found: an old line, emptied for the caller to fill."""
    ports = _ports_word(p, i)
    src0, src1, dst0, dst1, where = p.src0[i], p.src1[i], p.dst0[i], p.dst1[i], _key_where(p, i)
    generation = np.uint32(t.ctl[CTL_GEN])
    mask = np.uint64(p.st[ST_FLOW_MASK])
    h = _flow_hash(p, i, ports)
    for way in range(WAYS):
        line = p.flow[np.int64((h + np.uint64(way)) & mask)]
        if line.gen != generation:
            break
        if (
            line.src1 == src1
            and line.dst1 == dst1
            and line.ports == ports
            and line.where == where
            and line.via == via
            and line.src0 == src0
            and line.dst0 == dst0
        ):
            return line, True
    else:
        line = p.flow[np.int64((h + (h >> U48) % np.uint64(WAYS)) & mask)]  # all taken: evict one of them
    line.src0, line.src1, line.dst0, line.dst1 = src0, src1, dst0, dst1
    line.ports, line.where, line.via, line.gen = ports, where, via, generation
    return line, False


@outlined
def _refuse(p, i, action):
    """Drop by a decision's number."""
    cause = NO_ROUTE
    if action == SP_MISMATCH:
        cause = POLICY_MISMATCH
    elif action == SP_NOT_IPSEC:
        cause = NOT_IPSEC
    elif action == SP_NO_SA:
        cause = NO_SA_OUT
    elif action == SP_UNSUPPORTED:
        cause = UNSUPPORTED
    elif action == SP_DISCARD:
        cause = POLICY_DROP
    elif action == SP_V6_OFF:
        cause = IPV6_ROUTING_OFF
    elif action == SP_MARTIAN:
        cause = MARTIAN
    elif action == SP_NO_PEER:
        cause = NO_NHRP_MAP
    elif action == SP_HELD:
        cause = HELD_DOWN
    else:
        owe(p, i, ERR_NO_ROUTE, 0)
    drop(p, i, cause, STAGE_SPD)


DONE, KEEP, TUNNEL = 0, 1, 2  # what becomes of a row: it has its verdict; it stays on the list; a tunnel is next


@inlined
def _apply(p, t, i, line):
    """Act on a decision; returns DONE, KEEP or TUNNEL."""
    p.out_if[i] = line.out_if
    p.sp[i] = line.sp
    action = line.action
    if action == SP_PROTECT:
        p.sa[i] = line.sa
        return KEEP
    p.stage[i] = np.uint8(STAGE_SPD)
    if action == SP_BYPASS:
        if t.ifs[line.out_if].up == 0:
            owe(p, i, ERR_HOST, 0)
            drop(p, i, IF_DOWN, STAGE_SPD)
            return DONE
        p.verdict[i] = BYPASSED if p.lv_n[i] == 0 else FORWARDED
        p.n_out[i] = 1
        return KEEP  # `forward` takes it from here
    if action in (SP_TUNNEL, SP_GRE):
        p.tun[i], p.sp[i] = line.sp, np.int32(-1)
        return TUNNEL
    if action == SP_LOCAL:
        p.verdict[i] = PUNTED
    else:
        _refuse(p, i, action)
    return DONE


@outlined
def _whole(p, t, i, via):
    """Whether the packet came through every SA of its entry's bundle: with one stripped off it proves nothing."""
    count = 0
    for k in range(i * LEVELS, i * LEVELS + np.int64(p.lv_n[i])):
        count += t.sa[p.lv_sa[k]].sp == via
    return count >= t.sp[via].levels


@inlined
def classify(p, t, i):
    """Route, policy and SA of one row: (DONE, KEEP or TUNNEL; found in the flow cache; its line)."""
    via = np.int32(-1)
    if p.lv_n[i] > 0 and (p.flags[i] & (ORIGIN | FROM_GRE)) == 0:
        via = t.sa[p.sa[i]].sp
        if via >= 0:
            if t.sp[via].levels > 1 and not _whole(p, t, i, via):
                drop(p, i, POLICY_MISMATCH, STAGE_SPD)
                return DONE, False, p.flow[0]
            tun = np.int32(t.sp[via].tun)
            if tun >= 0 and t.ifs[tun].kind == IF_VTI:  # GRE is stripped first
                p.vif[i] = tun
    line, found = flow_line(p, t, i, via)
    if not found:
        later = (p.frag[i] & FRAG_LATER) != 0 and (p.flags[i] & PORTS_KNOWN) == 0
        _decide(p, t, i, line, via, later)
    return _apply(p, t, i, line), found, line


def classify_row(p, t, i):
    """The step for a packet that a tunnel or an ICMP error made: DONE, KEEP or TUNNEL."""
    became, found, _ = classify(p, t, i)
    p.st[ST_FLOW_HIT] += found
    p.st[ST_FLOW_MISS] += not found
    return became


@outlined
def _fetch_lines(p, n):
    """Ask for the flow lines of the whole list, when there are so many flows that they lie outside L2."""
    mask = np.uint64(p.st[ST_FLOW_MASK])
    for k in range(n):
        i = p.tx[k]
        prefetch(base(p.flow) + LINE * np.int64(_flow_hash(p, i, _ports_word(p, i)) & mask))


@inlined
def _fetch_sa(t, line):
    """Ask for what later stages want of this packet's SA: configuration, state, policy entry."""
    row = base(t.sa[line.sa])
    prefetch(row)
    prefetch(row + LINE)
    prefetch(row + 2 * LINE)
    prefetch(base(t.sa_out[line.sa]))
    prefetch(base(t.sp[line.sp]))


def spd(p, t, n):
    kept, tunnels, hits = 0, 0, 0
    far = t.ctl[CTL_PREFETCH] != 0
    if far:
        _fetch_lines(p, n)
    for k in range(n):
        i = np.int64(p.tx[k])
        became, found, line = classify(p, t, i)
        hits += found
        p.tx[kept] = i
        kept += became == KEEP
        if became == TUNNEL:
            p.tu[tunnels] = i
            tunnels += 1
        if far and line.sa >= 0:
            _fetch_sa(t, line)
    p.st[ST_FLOW_HIT] += hits
    p.st[ST_FLOW_MISS] += n - hits
    p.st[ST_TU] = tunnels
    p.st[ST_TX] = kept
    return kept
