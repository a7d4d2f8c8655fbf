"""Bands, black holes and advice of whole configurations: what the data plane does, told by sizes."""

import re
from itertools import pairwise
from typing import Any

import pytest
from cli_help import config
from mtu_help import LAN, fates, hole, pair, reported, tunnel

from qfp.config import loads
from qfp.mtu import MtuError, report
from qfp.mtu.bands import largest_whole, ping
from qfp.mtu.words import hole_words, peer_words, router_words
from qfp.router import Router
from qfp.sizes import Sizing, fragment_sizes, gre_overhead, outer_sizes

GCM = Sizing(4, "aes-gcm", 16)
SMALL = "tunnel mtu"


# ------------------------------------------------------------------------------------------ the case that started it
@pytest.mark.req("PF-2", "PF-6")
def test_the_band_of_opnsense_3674() -> None:
    """A route-based VPN with MTU 1400 over a line of 1500: pings of 1373 to 1472 bytes with DF vanish where ICMP is
    filtered, 1372 passes, and larger ones pass in fragments that the host made."""
    found = pair(own=" ip mtu 1400", sizes=(1300, 3000))
    assert fates(found, 4, True) == [
        (1300, 1400, "whole", "whole"),
        (1401, 1500, "dropped 3/4/1400", "-"),
        (1501, 3000, f"host: {SMALL}", "fragments"),
    ]
    band = hole(found, "needs icmp", 4, True)
    assert (band["first"], band["last"], band["ping"]) == (1401, 1500, [1373, 1472])
    line = next(each for each in found.paths[0].lines if each.df)
    assert ping(4, largest_whole(line) or 0) == 1372
    text = hole_words(band, found.paths[0].facts()["lines"])
    assert "IP packets of 1401..1500 bytes (ping payloads 1373..1472)" in text
    assert "ICMP type 3 code 4 is filtered anywhere on the way back, they vanish" in text
    assert "smaller ones pass, and larger ones pass, in fragments made by the host itself" in text
    assert found.paths[0].advice is not None
    assert found.paths[0].advice["configuration"] == [
        "interface Tunnel0", " ip mtu 1400", " ip tcp adjust-mss 1360", " ipv6 mtu 1446", " ipv6 tcp adjust-mss 1386",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ what there is
@pytest.mark.req("PF-2", "PF-3", "PF-5", "PF-6")
def test_a_crypto_map_fragments_before_encryption_from_1447_on() -> None:
    found = reported(config(1), config(2))
    assert fates(found, 4, True) == [
        (1300, 1446, "whole", "whole"),
        (1447, 1500, "dropped 3/4/1446", "-"),
        (1501, 1700, "host: before encryption", "fragments"),
    ]
    assert fates(found, 4, False) == [
        (1300, 1446, "whole", "whole"),
        (1447, 1500, "before encryption", "fragments"),
        (1501, 1700, "host: before encryption", "fragments"),
    ]
    for sample in found.paths[0].lines[1].bands[1]["samples"]:
        inner = fragment_sizes(sample["size"], 1446)
        assert sample["inner"] == inner and sample["wire"] == [GCM.protected(size) for size in inner]
        assert sample["arrived"] == inner
    assert hole(found, "needs fragments", 4, False)["fragments"] == ["before encryption"]
    assert found.paths[0].advice is not None and found.paths[0].advice["interface"] == LAN
    assert found.paths[0].advice["configuration"] == [f"interface {LAN}", " ip tcp adjust-mss 1406"]


@pytest.mark.req("PF-5")
def test_after_encryption_the_peer_reassembles_before_decryption() -> None:
    found = reported(*(config(site, extra="crypto ipsec fragmentation after-encryption\n") for site in (1, 2)))
    assert fates(found, 4, False)[1:] == [
        (1447, 1500, "after encryption", "reassembled before decryption"),
        (1501, 1700, "host: after encryption", "reassembled before decryption"),
    ]
    for sample in found.paths[0].lines[1].bands[1]["samples"]:
        assert sample["wire"] == outer_sizes(GCM.protected(sample["size"]), 1500, 4)
        assert sample["arrived"] == [sample["size"]]
    text = hole_words(hole(found, "needs fragments", 4, False), found.paths[0].facts()["lines"])
    assert "fragments of the protected packet" in text and "the peer must reassemble them before decryption" in text


@pytest.mark.req("PF-1")
def test_df_bit_clear_takes_away_the_hole_that_needs_icmp() -> None:
    found = reported(*(config(site, extra="crypto ipsec df-bit clear\n") for site in (1, 2)))
    assert fates(found, 4, True) == fates(found, 4, False)
    assert [h["kind"] for h in found.paths[0].black_holes] == ["needs fragments"] * 2
    assert not any(h["kind"] == "needs icmp" for h in found.paths[0].black_holes)


@pytest.mark.req("PF-5")
def test_a_vti_mtu_above_what_fits_gives_fragments_after_encryption() -> None:
    found = pair(own=" ip mtu 1500")
    assert fates(found, 4, False)[:2] == [
        (1300, 1446, "whole", "whole"), (1447, 1500, "after encryption", "reassembled before decryption"),
    ]  # fmt: skip
    assert found.paths[0].advice is not None and " ip mtu 1446" in found.paths[0].advice["configuration"]


@pytest.mark.req("PF-4", "PF-5")
@pytest.mark.parametrize("mode, outer", [("gre ip", 4), ("gre ipv6", 6)])
def test_gre_over_ipsec(mode: str, outer: int) -> None:
    """GRE's own MTU is the line's less its headers, so packets just below it are fragmented after encryption, whatever
    their DF: the delivery header has none."""
    found = pair(mode)
    plain = Sizing(outer, "aes-gcm", 16).plaintext_mtu(1500) - gre_overhead(outer)
    own = 1500 - gre_overhead(outer)
    assert found.paths[0].path.kind == "gre over ipsec"
    after = "after encryption", "reassembled before decryption"
    assert fates(found, 4, True) == [
        (1300, plain, "whole", "whole"),
        (plain + 1, own, *after),
        (own + 1, 1500, f"dropped 3/4/{own}", "-"),
        (1501, 1700, f"host: {SMALL}", "fragments"),
    ]
    assert fates(found, 6, None)[:3] == [
        (1300, plain, "whole", "whole"),
        (plain + 1, own, *after),
        (own + 1, 1500, f"dropped 2/0/{own}", "-"),
    ]
    advice = found.paths[0].advice
    assert advice is not None and advice["largest"] == plain == sum(s["bytes"] for s in advice["arithmetic"])


def test_gre_packets_that_are_fragmented_before_encryption() -> None:
    found = pair("gre ip", head="crypto ipsec fragmentation before-encryption")
    assert fates(found, 4, False)[1] == (1423, 1476, "gre before encryption", "reassembled after decryption")
    assert hole(found, "needs fragments", 4, True)["fragments"] == ["gre before encryption"]


def test_gre_in_a_crypto_map_is_one_path() -> None:
    """The entry that protects the tunnel's own packets is no path of its own."""
    lines = ("crypto map M 10 ipsec-isakmp", " set peer {far}", " set transform-set T", " match address 101")
    protect = "\n".join(lines)

    def site(k: int) -> str:
        text = tunnel(k, "gre ip", wan=" crypto map M", protected=False)
        acl = f"access-list 101 permit gre host 203.0.113.{k} host 203.0.113.{3 - k}\n"
        return text.replace(f"interface {LAN}", protect.format(far=f"203.0.113.{3 - k}") + f"\ninterface {LAN}") + acl

    found = reported(site(1), site(2))
    (only,) = found.paths
    assert (only.path.kind, only.path.where, only.path.protected) == ("gre over ipsec", "interface Tunnel0", True)
    assert fates(found, 4, False)[0] == (1300, 1422, "whole", "whole")


def test_gre_in_the_clear_is_fragmented_at_egress() -> None:
    found = pair("gre ip", own=" ip mtu 1500", protected=False)
    assert found.paths[0].path.kind == "gre" and found.paths[0].sas == []
    assert fates(found, 4, False)[:2] == [(1300, 1476, "whole", "whole"), (1477, 1500, "at egress",
                                          "reassembled before decryption")]  # fmt: skip


@pytest.mark.req("PF-6")
def test_ipv6_inside_and_outside() -> None:
    found = pair("ipsec ipv6", sizes=(1200, 1700))
    assert fates(found, 6, None) == [
        (1200, 1426, "whole", "whole"),
        (1427, 1500, "dropped 2/0/1426", "-"),
        (1501, 1700, "host: dropped 2/0/1426", "-"),
    ]
    band = hole(found, "needs icmp", 6, None)  # a host's fragments are too big for the tunnel as well
    assert (band["first"], band["last"], band["ping"]) == (1427, 1700, [1379, 1652])
    assert "ICMPv6 type 2 code 0" in hole_words(band, found.paths[0].facts()["lines"])
    inner = [sample["inner"] for sample in found.paths[0].lines[1].bands[1]["samples"]]
    assert inner == [fragment_sizes(1427, 1426), fragment_sizes(1500, 1426)]


def test_no_ip_unreachables_makes_a_silent_hole() -> None:
    found = pair(own=" ip mtu 1400", lan=" no ip unreachables")
    assert fates(found, 4, True)[1] == (1401, 1500, "dropped", "-")
    band = hole(found, "silent", 4, True)
    assert (band["first"], band["last"]) == (1401, 1500)
    assert "no ICMP error tells their source" in hole_words(band, found.paths[0].facts()["lines"])


def test_the_peer_s_own_line_to_its_hosts_can_lose_what_arrived() -> None:
    near, far = tunnel(1), tunnel(2, lan=" ip mtu 1300")
    found = reported(near, far)
    assert fates(found, 4, True)[:2] == [(1300, 1300, "whole", "whole"), (1301, 1446, "whole", "lost")]
    band = hole(found, "lost at the peer", 4, True)
    assert (band["first"], band["last"], band["cause"]) == (1301, 1446, "FRAG_NEEDED")
    assert fates(found, 4, False)[1] == (1301, 1446, "whole", "fragments")


def test_a_host_with_another_mtu() -> None:
    found = pair(own=" ip mtu 1400", sizes=(1300, 1700))
    assert fates(found, 4, True)[1][:2] == (1401, 1500)
    found = reported(tunnel(1, own=" ip mtu 1400"), host_mtu=1400)
    assert fates(found, 4, True) == [(1300, 1400, "whole", "-"), (1401, 1700, "host: whole", "-")]
    assert not [h for h in found.paths[0].black_holes if h["family"] == 4]


# ------------------------------------------------------------------------------------------ agreement and advice
TRANSFORMS = [("esp-gcm 128", "", ""), ("esp-aes 256 esp-sha256-hmac", "", ""), ("esp-3des esp-md5-hmac", "", ""),
              ("esp-null esp-sha512-hmac", "", ""), ("ah-sha256-hmac esp-aes", "", "")]  # fmt: skip


@pytest.mark.req("PF-2", "PF-3")
@pytest.mark.parametrize("transform", [t for t, _, _ in TRANSFORMS])
@pytest.mark.parametrize("how", ["before", "after"])
def test_every_fate_is_what_the_sizes_predict(transform: str, how: str) -> None:
    router = Router.loads(config(1, transform, f"crypto ipsec fragmentation {how}-encryption\n"))
    found = report(router, sizes=(1380, 1500))
    sizing = router.sad.sizing(found.paths[0].path.sa)
    plain = sizing.plaintext_mtu(1500)
    assert (
        found.paths[0].sas[0]["plaintext_mtu"]
        == plain
        == sum(step["bytes"] for step in found.paths[0].sas[0]["arithmetic"])
    )
    assert fates(found, 4, True) == [(1380, plain, "whole", "-"), (plain + 1, 1500, f"dropped 3/4/{plain}", "-")]
    assert fates(found, 4, False)[1] == (plain + 1, 1500, f"{how} encryption", "-")
    for sample in found.paths[0].lines[1].bands[1]["samples"]:
        inner = fragment_sizes(sample["size"], plain) if how == "before" else [sample["size"]]
        whole = [sizing.protected(size) for size in inner]
        assert sample["inner"] == inner
        assert sample["wire"] == [piece for size in whole for piece in outer_sizes(size, 1500, 4)]


@pytest.mark.req("PF-5")
@pytest.mark.parametrize("mode", ["ipsec ipv4", "ipsec ipv6", "gre ip", "gre ipv6"])
def test_with_the_recommended_lines_nothing_is_fragmented_after_encryption(mode: str) -> None:
    before = pair(mode, own=" ip mtu 1500\n ipv6 mtu 1500")
    advice = before.paths[0].advice
    assert advice is not None
    after = pair(mode, own="\n".join(advice["configuration"][1:]))
    for line in after.paths[0].lines:
        for band in line.bands:
            assert not {"after encryption", "gre before encryption"} & {*band["fate"]["router"], *band["fate"]["also"]}
    for family, head in (("4", 40), ("6", 60)):
        found = advice["families"][family]
        line = next(each for each in after.paths[0].lines if str(each.family) == family)
        assert largest_whole(line) == found["mtu"] == found["mss"] + head  # so a full TCP segment goes whole


def test_tunnels_with_different_mtus_are_named_and_the_smaller_counts() -> None:
    found = reported(tunnel(1, own=" ip mtu 1440"), tunnel(2, own=" ip mtu 1380"))
    assert [w.message for w in found.warnings] == ["ip mtu of Tunnel0 is 1440, that of its peer s2 1380"]
    advice = found.paths[0].advice
    assert advice is not None and advice["families"]["4"]["mtu"] == 1380 and advice["families"]["4"]["mss"] == 1340


# ------------------------------------------------------------------------------------------ finding paths
def test_a_deny_and_ports_of_a_selector_are_respected() -> None:
    text = re.sub(r"access-list.*\n", "", config(1))
    text += "access-list 101 deny ip 10.1.0.0 0.0.0.15 any\n"
    text += "access-list 101 permit tcp 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255 eq 443\n"
    text += "access-list 101 permit icmp 10.1.0.0 0.0.255.255 host 10.2.0.99\n"
    tcp, icmp = reported(text, sizes=(1400, 1450)).paths
    assert (tcp.path.flows[4].protocol, tcp.path.flows[4].dport) == (6, 443)
    assert not int(tcp.path.flows[4].src) & 0xFFFF < 16
    assert (icmp.path.flows[4].protocol, icmp.path.flows[4].sport, str(icmp.path.flows[4].dst)) == (1, 8, "10.2.0.99")


def test_destinations_and_ingress_narrow_the_paths() -> None:
    text = config(1) + "crypto map M 20 ipsec-isakmp\n set peer 203.0.113.2\n set transform-set T\n match address 102\n"
    text += "access-list 102 permit ip any 192.0.2.0 0.0.0.255\n"
    assert [p.path.where for p in reported(text, sizes=(100, 101)).paths] == ["crypto map M 10", "crypto map M 20"]
    address: Any = loads("interface Loopback0\n ip address 192.0.2.7 255.255.255.255\n").interfaces["Loopback0"]
    to = [address.addresses4[0].ip]
    (only,) = reported(text, sizes=(100, 101), to=to, ingress="gi0/0/1").paths
    assert (only.path.where, only.path.flows[4].dst, only.path.ingress) == ("crypto map M 20", to[0], LAN)


def test_a_path_without_sa_says_so() -> None:
    text = config(1).replace("ipsec-isakmp", "ipsec-manual")
    (only,) = reported(text).paths
    assert only.path.note == "it has no SA: its keys are missing" and only.lines == [] and only.advice is None


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("interface GigabitEthernet0/0/0\n ip address 10.0.0.1 255.0.0.0\n", {}, "nothing is protected"),
        (config(1), {"sizes": (20, 30)}, "give IP sizes from 28 to 65535"),
        (config(1), {"sizes": (200, 100)}, "the smaller first"),
        (config(1), {"host_mtu": 60}, "host MTU 60"),
    ],
)
def test_questions_without_an_answer(text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MtuError, match=message):
        reported(text, **options)


def test_a_second_report_of_the_same_routers_says_the_same() -> None:
    """Packet time goes on, so that ICMP errors are told again."""
    one, other = Router.loads(tunnel(1)), Router.loads(tunnel(2))
    first, second = (report(one, other, sizes=(1400, 1600)).facts() for _ in range(2))
    assert first == second


def test_bands_cover_the_sizes_without_a_gap_and_have_words() -> None:
    for line in pair(sizes=(28, 9300)).paths[0].lines:
        bands = line.bands
        assert (bands[0]["first"], bands[-1]["last"]) == (28 if line.family == 4 else 48, 9300)
        assert all(a["last"] + 1 == b["first"] and a["fate"] != b["fate"] for a, b in pairwise(bands))
        assert all(router_words(line.family, band) and peer_words(band) for band in bands)
