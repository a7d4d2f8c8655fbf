"""Key files as people hold them: dumps of each kind open real packets, whatever pasting put around them.

The packets are sealed by the reference engine from keys that stand here, so no reader is its own witness.
"""

import gzip
import json
import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cli_help import config, qfp
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import ip4, udp
from test_keyfiles import pcap, sealed_packet
from vectors_io import SHARED

from qfp.batch import Batch
from qfp.decrypt import Decryptor, decrypt
from qfp.sa import NATT_ANY, SecurityAssociation
from qfp.trace import read_trace, write_trace
from qfp.trace.keyfile import KeyFileError, Keys, parse_keys, read_keys

HERE = Path("keys")
NEAR, FAR = ip_address("203.0.113.1"), ip_address("203.0.113.2")
KEY16, KEY20, KEY32 = bytes(range(16)), bytes(range(0x40, 0x54)), bytes(range(0x80, 0xA0))
SALT = b"\xa0\xa1\xa2\xa3"
CBC = SecurityAssociation(proto="esp", spi=0xC1000001, src=NEAR, dst=FAR, encr="aes-cbc", encr_key=KEY16,
                          integ="hmac-sha1-96", integ_key=KEY20)  # fmt: skip
SHA256 = replace(CBC, spi=0xC1000002, encr_key=KEY32, integ="hmac-sha256-128", integ_key=KEY32, icv_len=16)
GCM = SecurityAssociation(proto="esp", spi=0xC1000003, src=NEAR, dst=FAR, encr="aes-gcm", encr_key=KEY16, salt=SALT)
CHACHA = SecurityAssociation(proto="esp", spi=0xC1000004, src=NEAR, dst=FAR, encr="chacha20-poly1305", encr_key=KEY32,
                             salt=SALT)  # fmt: skip
CCM = SecurityAssociation(proto="esp", spi=0xC1000005, src=NEAR, dst=FAR, encr="aes-ccm", encr_key=KEY16, salt=SALT[:3])
ALL = (CBC, SHA256, GCM, CHACHA, CCM)


def read(text: str, strict: bool = False) -> Keys:
    return parse_keys(HERE, text.encode(), strict=strict)


def wire(sa: SecurityAssociation) -> bytes:
    """A packet of an SA, with its header checksum."""
    packet = sealed_packet(sa)
    return packet if packet[0] >> 4 == 6 else ip4(str(sa.src), str(sa.dst), packet[20:], 50)


def opened(text: str, *sas: SecurityAssociation, strict: bool = False) -> int:
    """How many of one packet of each SA a key file opens."""
    packets = Batch.from_frames([wire(sa) for sa in sas])
    return len(decrypt(packets, read(text, strict)).packets)


def words(key: bytes, sep: str = " ", size: int = 4) -> str:
    return sep.join(key[k : k + size].hex() for k in range(0, len(key), size))


# -------------------------------------------------------------------------------------------- ip xfrm state
XFRM_ALGORITHMS = {
    CBC: f"auth-trunc hmac(sha1) 0x{KEY20.hex()} 96\n\tenc cbc(aes) 0x{KEY16.hex()}",
    SHA256: f"auth-trunc hmac(sha256) 0x{KEY32.hex()} 128\n\tenc cbc(aes) 0x{KEY32.hex()}",
    GCM: f"aead rfc4106(gcm(aes)) 0x{(KEY16 + SALT).hex()} 128",
    CHACHA: f"aead rfc7539esp(chacha20,poly1305) 0x{(KEY32 + SALT).hex()} 128",
    CCM: f"aead seqiv(rfc4309(ccm(aes))) 0x{(KEY16 + SALT[:3]).hex()} 128",
}


def xfrm(sa: SecurityAssociation, more: str = "") -> str:
    return (
        f"src {sa.src} dst {sa.dst}\n\tproto esp spi 0x{sa.spi:08x} reqid 1 mode tunnel\n"
        f"\treplay-window 32 flag af-unspec\n\t{XFRM_ALGORITHMS[sa]}\n{more}"
        "\tanti-replay context: seq 0x0, oseq 0x0, bitmap 0x00000000\n\tsel src 0.0.0.0/0 dst 0.0.0.0/0 \n"
    )


DUMP = "".join(xfrm(sa) for sa in ALL)


@pytest.mark.req("BASE-11")
def test_ip_xfrm_state_of_every_cipher() -> None:
    assert opened(DUMP, *ALL, strict=True) == len(ALL)


UNUSABLE = {
    "larval": ("\tproto esp spi 0x00000000 reqid 1 mode tunnel\n\treplay-window 0 \n", "larval"),
    "no keys": ("\tproto esp spi 0x00000007 reqid 1 mode tunnel\n\treplay-window 0\n", "without an enc or aead"),
    "ipcomp": ("\tproto comp spi 0x0000a3b1 reqid 2 mode tunnel\n\tcomp deflate \n", "IPComp"),
    "ipip": ("\tproto 4 spi 0xcb007101 reqid 0(0x00000000) mode tunnel\n", "IP in IP"),
    "ip6ip": ("\tproto 41 spi 0xcb007101 reqid 0 mode tunnel\n", "IPv6 in IP"),
    "route2": ("\tproto route2 spi 0x00000000 reqid 0 mode ro\n\tcoa 2001:db8::9\n", "Mobile IPv6"),
    "hao": ("\tproto hao spi 0x00000000 reqid 0 mode ro\n\tcoa 2001:db8::9\n", "Mobile IPv6"),
    "beet": ("\tproto esp spi 0x7 reqid 0 mode beet\n\tenc cbc(aes) 0x" + "11" * 16 + "\n", "beet"),
    "espintcp": ("\tproto esp spi 0x7 reqid 0 mode tunnel\n\tenc cbc(aes) 0x" + "11" * 16
                 + "\n\tencap type espintcp sport 4500 dport 4500 addr 0.0.0.0\n", "espintcp"),
    "short key": ("\tproto esp spi 0x7 reqid 0 mode tunnel\n\tenc cbc(aes) 0x" + "11" * 15 + "\n", "15 bytes"),
    "short aead key": ("\tproto esp spi 0x7 mode tunnel\n\taead rfc4106(gcm(aes)) 0x" + "11" * 16 + " 128\n",
                       "16 bytes"),
    "the same again": (f"\tproto esp spi 0x{CBC.spi:08x} reqid 1 mode tunnel\n\t{XFRM_ALGORITHMS[CBC]}\n", "of line 1"),
    **{name: (f"\tproto esp spi 0x7 mode tunnel\n\tenc cbc({name}) 0x{'11' * 16}\n", f"{name} is not supported")
       for name in ("camellia", "serpent", "twofish", "blowfish", "cast5")},
    **{key: (f"\tproto esp spi 0x7 mode tunnel\n\taead rfc4106(gcm(aes)) {key} 128\n", "redacted")
       for key in ("<redacted>", "[redacted]", "0x***", "********", "0x[hash:a1b2c3]", "0xXXXXXXXX", "REDACTED",
                   "<<Keys hidden>>", "(redacted)", "xxxxxxxxxxxx", "0x...")},
}  # fmt: skip


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("first", [False, True])
def test_what_cannot_be_used_is_left_out_with_its_reason(kind: str, first: bool) -> None:
    lines, reason = UNUSABLE[kind]
    odd = f"src {NEAR} dst {FAR}\n{lines}"
    first = first and kind != "the same again"
    text = odd + DUMP if first else DUMP + odd
    keys = read(text)
    assert len(keys) == len(ALL) and opened(text, *ALL) == len(ALL)
    (error,) = keys.skipped
    assert reason in error.problem and "1111" not in str(error)
    at = 1 if first else DUMP.count("\n") + 1
    assert at <= error.line <= at + odd.count("\n")
    with pytest.raises(KeyFileError, match=re.escape(reason)):
        read(text, strict=True)
    if kind != "the same again":
        with pytest.raises(KeyFileError, match=re.escape(reason)):
            read(odd)


@pytest.mark.req("BASE-11")
def test_a_file_in_which_nothing_can_be_used_says_all_reasons() -> None:
    odd = "".join(f"src {NEAR} dst {FAR}\n{UNUSABLE[kind][0]}" for kind in ("larval", "ipcomp", "camellia"))
    with pytest.raises(KeyFileError) as caught:
        read(odd)
    for reason in ("line 1: ", "larval", "IPComp", "camellia is not supported"):
        assert reason in caught.value.problem


def around(before: str, after: str) -> str:
    return before + DUMP + after


SHAPES = {
    "prompt": around("root@gw:~# ip xfrm state\n", "root@gw:~# \n"),
    "prompt in brackets": around("[root@gw ~]# ip -s xfrm state\n", "[root@gw ~]# exit\n"),
    "dollar": around("$ sudo ip xfrm state\n", "$\n"),
    "router": around("gw# ip xfrm state\n", "\n\ngw#\n"),
    "sudo": around("sudo ip xfrm state\n", ""),
    "mail": "".join(f"> {line}\n" for line in DUMP.splitlines()),
    "mail twice": "".join(f">> {line}\n" for line in DUMP.splitlines()),
    "mail spaced": "".join(f"> > {line}\n" for line in DUMP.splitlines()),
    "indented": "".join(f"        {line}\n" for line in DUMP.splitlines()),
    "CRLF": DUMP.replace("\n", "\r\n"),
    "BOM": "\ufeff" + DUMP,
    "blank lines": DUMP.replace("\n", "\n\n"),
    "colours": re.sub(r"(0x[0-9a-f]+)", "\x1b[36m\\1\x1b[0m", DUMP.replace("src", "\x1b[1msrc\x1b[0m")),
    "no tabs": DUMP.replace("\t", ""),
    "NBSP": DUMP.replace("\t", "\xa0\xa0"),
    "timestamps": "".join(f"[2024-01-02 03:04:05] {line}\n" for line in DUMP.splitlines()),
    "ISO times": "".join(f"2024-01-02T03:04:05.678Z {line}\n" for line in DUMP.splitlines()),
    "one line": "".join(xfrm(sa).rstrip("\n").replace("\n", "\\") + "\n" for sa in ALL),
    "wrapped keys": re.sub(r"(hmac\(sha\d+\)) ", r"\1\n", DUMP),
    "monitor": DUMP.replace("src 203", "Updated src 203"),
    "deleted": DUMP.replace("src 203", "Deleted src 203"),
    "policies behind": DUMP + "src 10.1.0.0/24 dst 10.2.0.0/24 \n\tdir out priority 375423 \n"
                       f"\ttmpl src {NEAR} dst {FAR}\n\t\tproto esp spi 0xc1000001 reqid 1 mode tunnel\n",
    "newer attributes": "".join(xfrm(sa, "\tmark 0x1/0xffffffff\n\toutput-mark 0x2/0xff\n\tif_id 0x2a\n"
                                "\tlastused 2024-01-01 00:00:00\n\tsecurity context root:object_r:ipsec_spd_t:s0\n"
                                "\tcrypto offload parameters: dev eth0 dir in\n\ttfcpad 0\n\tdir in\n"
                                "\tnat_keepalive_interval 20\n\tpcpu-num 1\n") for sa in ALL),
    "statistics": "".join(xfrm(sa) + "\tlifetime config:\n\t  limit: soft (INF)(bytes), hard (INF)(bytes)\n"
                          "\t  expire add: soft 0(sec), hard 0(sec)\n\tlifetime current:\n\t  0(bytes), 0(packets)\n"
                          "\t  add 2024-01-01 00:00:00 use 2024-01-01 00:00:00\n\tstats:\n"
                          "\t  replay-window 0 replay 0 failed 0\n" for sa in ALL),
}  # fmt: skip


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_a_pasted_dump(shape: str) -> None:
    keys = read(SHAPES[shape], strict=True)
    assert [sa.spi for sa in keys] == [sa.spi for sa in ALL] and not keys.skipped
    assert opened(SHAPES[shape], *ALL) == len(ALL)


NOISE = st.text(st.characters(exclude_characters="\n\0\\", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.req("BASE-11")
def test_utf_16_as_a_windows_console_saves_it() -> None:
    assert len(parse_keys(HERE, DUMP.encode("utf-16"))) == len(ALL)


@pytest.mark.req("BASE-11")
@given(st.lists(NOISE, max_size=3), st.lists(NOISE, max_size=3))
@settings(max_examples=150, deadline=None)
def test_noise_around_a_dump_never_changes_its_sas(before: list[str], after: list[str]) -> None:
    def noise(line: str) -> str:
        return "- " + line  # no word of a dump's own in front

    text = "".join(noise(line) + "\n" for line in before) + DUMP + "".join(noise(line) + "\n" for line in after)
    assert list(read(text)) == list(read(DUMP))


@pytest.mark.req("BASE-11")
def test_a_dump_made_after_the_capture_opens_it() -> None:
    """The numbers of a dump are those of an end: a reader's window does not begin there."""
    text = xfrm(CBC).replace("context: seq 0x0,", "context: seq 0x3e8,") + xfrm(GCM).replace("oseq 0x0", "oseq 0x3e8")
    first, second = read(text)
    assert (first.direction, first.seq, second.direction, second.seq) == ("in", 1000, "out", 1001)
    assert opened(text, CBC, GCM) == 2


@pytest.mark.req("BASE-11")
def test_scripts_of_ip_xfrm_state_add() -> None:
    text = (
        f"#!/bin/sh\nsudo ip xfrm state add src {NEAR} dst {FAR} proto esp spi 0x{CBC.spi:x} reqid 1 mode tunnel "
        f"auth-trunc 'hmac(sha1)' 0x{KEY20.hex()} 96 enc 'cbc(aes)' 0x{KEY16.hex()}\n"
        f"ip x s add proto esp src {NEAR} dst {FAR} \\\n  spi {GCM.spi} mode tunnel \\\n"
        "  encap espinudp 4500 4500 0.0.0.0 "
        f'aead "rfc4106(gcm(aes))" 0x{(KEY16 + SALT).hex()} 128 sel src 10.0.0.0/8 dst 10.0.0.0/8\n'
        f"ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out tmpl src {NEAR} dst {FAR} proto esp mode tunnel\n"
    )
    first, second = read(text, strict=True)
    assert (first.encr_key, first.integ_key, first.spi) == (KEY16, KEY20, CBC.spi)
    assert (second.natt, second.salt, second.spi) == ((4500, 4500), SALT, GCM.spi) and second.selectors is not None
    assert opened(text, CBC) == 1


# --------------------------------------------------------------------------------------------------- setkey
SETKEY = f"""gw# setkey -D
{NEAR} {FAR}
\tesp mode=tunnel spi={CBC.spi}(0x{CBC.spi:08x}) reqid=0(0x00000000)
\tE: rijndael-cbc  {words(KEY16)}
\tA: hmac-sha1  {words(KEY20)}
\tseq=0x00000005 replay=4 flags=0x00000000 state=mature
\tcreated: Nov 20 10:36:12 2003\tcurrent: Nov 20 10:36:41 2003
\tdiff: 29(s)\thard: 30(s)\tsoft: 24(s)
\tlast:                     \thard: 0(s)\tsoft: 0(s)
\tcurrent: 0(bytes)\thard: 0(bytes)\tsoft: 0(bytes)
\tallocated: 0\thard: 0\tsoft: 0
\tsadb_seq=3 pid=511 refcnt=0
{NEAR} {FAR}
\tesp mode=any spi={SHA256.spi}(0x{SHA256.spi:08x}) reqid=1(0x00000001)
\tE: aes-cbc  {words(KEY32)}
\tA: hmac-sha256  {words(KEY32)}
\tseq=0x00000000 replay=0 flags=0x00000000 state=dying
\tsadb_seq=2 pid=511 refcnt=0
{NEAR} {FAR}
\tesp mode=tunnel spi={GCM.spi}(0x{GCM.spi:08x}) reqid=100(0x00000064)
\tE: aes-gcm-16  {words(KEY16 + SALT)}
\tseq=0x00000000 replay=0 flags=0x00000040 state=mature
\tsadb_seq=1 pid=511 refcnt=1
{NEAR}[4500] {FAR}[4500]
\tesp-udp mode=tunnel spi=9(0x00000009) reqid=0(0x00000000)
\tE: 3des-cbc  {words(bytes(range(24)))}
\tA: hmac-md5  {words(KEY16)}
\tseq=0x00000000 replay=4 flags=0x00000000 state=mature
\tsadb_seq=0 pid=511 refcnt=0
"""


@pytest.mark.req("BASE-11")
def test_setkey_dumps() -> None:
    cbc, sha, gcm, natt = read(SETKEY, strict=True)
    assert (cbc.mode, cbc.replay_window, cbc.direction, cbc.seq) == ("tunnel", 32, "out", 6)
    assert (sha.mode, sha.integ, gcm.salt, natt.natt) == (None, "hmac-sha256-128", SALT, (4500, 4500))
    assert opened(SETKEY, CBC, SHA256, GCM) == 3


@pytest.mark.req("BASE-11")
def test_setkey_dumps_with_sas_that_cannot_be_used() -> None:
    odd = (
        f"{FAR} {NEAR}\n\tesp mode=tunnel spi=0(0x00000000) reqid=0(0x00000000)\n"
        "\tseq=0x00000000 replay=0 flags=0x00000000 state=larval\n"
        f"{FAR} {NEAR}\n\tesp mode=tunnel spi=7(0x00000007) reqid=0(0x00000000)\n\tE: blowfish-cbc  11111111 11111111\n"
        f"{FAR} {NEAR}\n\tipcomp mode=tunnel spi=7(0x00000007) reqid=0(0x00000000)\n\tC: deflate no entity\n"
        f"{FAR} {NEAR}\n\tesp mode=tunnel spi=8(0x00000008) reqid=0(0x00000000)\n\tE: aes-cbc  [redacted]\n"
    )
    keys = read(odd + SETKEY)
    assert len(keys) == 4 and opened(odd + SETKEY, CBC, SHA256, GCM) == 3
    reasons = " ".join(error.problem for error in keys.skipped)
    assert len(keys.skipped) == 4 and "1111" not in reasons
    for word in ("larval", "blowfish is not supported", "IPComp", "redacted"):
        assert word in reasons


@pytest.mark.req("BASE-11")
def test_setkey_scripts() -> None:
    text = (
        "#!/usr/sbin/setkey -f\nflush;\nspdflush;\n"
        f"add -n4 {NEAR} {FAR} esp 0x{CBC.spi:x} -m tunnel -r 8\n\t-E rijndael-cbc 0x{KEY16.hex()}\n"
        f"\t-A hmac-sha1 0x{KEY20.hex()} ; # ours\n"
        f'add {FAR} {NEAR} esp 4352 -E 3des-cbc "cle1_cle1_crik_crok_cle1" -A hmac-md5 "0123456789abcdef"; '
        f"add {NEAR} {FAR} esp 7 -E twofish-cbc 0x{'11' * 16};\n"
        f"add {NEAR} {FAR} ipcomp 7 -C deflate;\n"
        f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/{NEAR}-{FAR}/require;\n"
    )
    keys = read(text)
    assert [(sa.spi, sa.mode, sa.replay_window) for sa in keys] == [(CBC.spi, "tunnel", 64), (4352, None, 0)]
    assert keys[1].encr_key == b"cle1_cle1_crik_crok_cle1"
    assert [error.problem.split(" (")[-1] for error in keys.skipped] == ["twofish is not supported", "IPComp)"]
    assert opened(text, CBC) == 1


# ------------------------------------------------------------------------------------- tcpdump -E, ipsecctl
@pytest.mark.req("BASE-11")
def test_the_secrets_of_tcpdump() -> None:
    """Without integrity keys: 12 bytes are cut off unchecked. The last line is of every other SPI."""
    other = replace(CBC, spi=0x77, encr_key=KEY32)
    text = (
        f"# for tcpdump -E 'file secrets'\n0x{CBC.spi:08x}@{FAR} aes-128-cbc-hmac96:0x{KEY16.hex()}\n"
        f"0x00000009@2001:db8::1 3des-cbc-hmac96:cle1_cle1_crik_crok_cle1\n"
        f"ikev2 I 0x0011223344556677 0x8899aabbccddeeff sha1:0x{'11' * 20} aes128:0x{'11' * 16}\n"
        f"0x7@{FAR} cast128-cbc:0x{'11' * 16}\naes256-cbc-hmac96:0x{KEY32.hex()}\n"
    )
    keys = read(text)
    assert [(sa.spi, sa.encr, sa.integ, sa.icv_len, sa.unchecked) for sa in keys] == [
        (CBC.spi, "aes-cbc", "none", 12, True), (9, "3des-cbc", "none", 12, True)
    ]  # fmt: skip
    assert [error.line for error in keys.skipped] == [4, 5] and len(keys.patterns) == 1
    assert opened(text, CBC, other) == 2
    assert opened(f"0x{CBC.spi:08x}@{FAR} aes-128-cbc-hmac96:0x{KEY16.hex()},0x9@{FAR} 3des:0x{'11' * 24}", CBC) == 1


@pytest.mark.req("BASE-11")
def test_openbsd() -> None:
    text = (
        f"server1# ipsecctl -s sa -k\nesp tunnel from {NEAR} to {FAR} spi 0x{SHA256.spi:08x} auth hmac-sha2-256 "
        f"enc aes-256 \\\n\tauthkey 0x{KEY32.hex()} \\\n\tenckey 0x{KEY32.hex()}\n"
        f"esp tunnel from {NEAR} to {FAR} spi 0x{GCM.spi:08x} enc aes-128-gcm \\\n\tenckey 0x{(KEY16 + SALT).hex()}\n"
        f"esp tunnel from {FAR} to {NEAR} spi 0x00000007 auth hmac-sha2-256 enc aes-256\n"
    )
    keys = read(text)
    assert opened(text, SHA256, GCM) == 2 and [error.line for error in keys.skipped] == [7]


# ------------------------------------------------------------------------------------------------ daemons' logs
def dump_of(label: str, key: bytes, prefix: str) -> str:
    """A chunk as charon prints it: 16 bytes a line, the characters behind."""
    lines = [f"{prefix}{label} => {len(key)} bytes @ 0x7f3bc4002a10"]
    for k in range(0, len(key), 16):
        part = key[k : k + 16]
        shown = "".join(chr(c) if 32 <= c < 127 else "." for c in part)
        lines.append(f"{prefix}{k:4}: {words(part, ' ', 1).upper():47}  {shown}")
    return "\n".join(lines) + "\n"


def charon(initiator: bool, prefix: str = "Nov 20 10:36:41 gw charon[511]: 15[CHD] ", spis: bool = True) -> str:
    """The log of an end at 203.0.113.1, whose own packets are SHA256's; the other end's are of SPI 0x8d4d1118."""
    enc = prefix.replace("CHD", "ENC")
    ours, theirs = ("initiator", "responder") if initiator else ("responder", "initiator")
    word = "response" if initiator else "request"
    back = KEY32[::-1]
    where = (
        f"{prefix}adding inbound ESP SA\n{prefix}  SPI 0x8d4d1118, src {FAR} dst {NEAR}\n"
        f"{prefix}adding outbound ESP SA\n{prefix}  SPI 0x{SHA256.spi:08x}, src {NEAR} dst {FAR}\n"
    )
    return (
        f"{enc}parsed CREATE_CHILD_SA {word} 4 [ SA No TSi TSr ]\n"
        f"{prefix.replace('CHD', 'CFG')}selected proposal: ESP:AES_CBC_256/HMAC_SHA2_256_128/NO_EXT_SEQ\n"
        f"{prefix}  using AES_CBC for encryption\n{prefix}  using HMAC_SHA2_256_128 for integrity\n"
        + dump_of("initiator SA seed", KEY20, prefix)
        + dump_of(f"encryption {ours} key", KEY32, prefix) + dump_of(f"encryption {theirs} key", back, prefix)
        + dump_of(f"integrity {ours} key", KEY32, prefix) + dump_of(f"integrity {theirs} key", back, prefix)
        + (where if spis else "")
        + f"{prefix.replace('CHD', 'IKE')}CHILD_SA k{{1}} established with SPIs 8d4d1118_i {SHA256.spi:08x}_o and TS "
        "10.1.0.0/24 === 10.2.0.0/24\n"
    )  # fmt: skip


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("prefix", ["Nov 20 10:36:41 gw charon[511]: 15[CHD] ", "1796051785.133 15[CHD] ", "15[CHD] ",
                                    "2024-01-02T03:04:05 15[CHD] ", "Tue, 2024-01-02 03:04 15[CHD] "])  # fmt: skip
@pytest.mark.parametrize("spis", [True, False])
def test_strongswan_logs(initiator: bool, prefix: str, spis: bool) -> None:
    text = "00[DMN] Starting IKE charon daemon\n" + charon(initiator, prefix, spis)
    back = replace(SHA256, spi=0x8D4D1118, src=FAR, dst=NEAR, encr_key=KEY32[::-1], integ_key=KEY32[::-1])
    assert opened(text, SHA256, back, strict=True) == 2


@pytest.mark.req("BASE-11")
def test_strongswan_logs_without_keys_say_so() -> None:
    for text in (charon(True, spis=False), charon(True)):
        without = "\n".join(line for line in text.splitlines() if "=>" not in line and not re.search(r"  +\d+: ", line))
        with pytest.raises(KeyFileError, match="keys were not logged"):
            read(without)


def pluto(ours: bytes, peers: bytes, spi_in: int, spi_out: int, xfrm: str, v1: bool) -> str:
    names = ("  KEYMAT computed:", "  Peer KEYMAT computed:") if v1 else ("our  keymat", "peer keymat")
    log = "Nov 20 10:36:41 gw pluto[511]: "

    def lines(name: str, key: bytes) -> str:
        rows = [key[k : k + 16] for k in range(0, len(key), 16)]
        text = ["  ".join(words(row[k : k + 4], " ", 1) for k in range(0, len(row), 4)) for row in rows]
        return f"{log}| {name}\n" + "".join(f"{log}|   {line}\n" for line in text)

    return (
        f"{log}| ESP KEYMAT\n" + lines(names[0], ours) + lines(names[1], peers)
        + f"{log}| install_ipsec_sa() for #2: inbound and outbound\n"
        + f'{log}"west-east" #2: STATE_QUICK_I2: sent QI2, IPsec SA established tunnel mode '
        + f"{{ESP=>0x{spi_out:08x} <0x{spi_in:08x} xfrm={xfrm} NATOA=none NATD=none DPD=passive}}\n"
    )  # fmt: skip


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("v1", [True, False])
def test_libreswan_logs(v1: bool) -> None:
    text = pluto(b"\x11" * 36, KEY16 + KEY20, 7, CBC.spi, "AES_128-HMAC_SHA1", v1)
    text += pluto(KEY16 + SALT, b"\x11" * 20, GCM.spi, 8, "AES_GCM_16_128-NONE", v1)
    text += pluto(b"\x11" * 64, KEY32 + KEY32, 9, SHA256.spi, "AES_CBC_256-HMAC_SHA2_256_128", v1)
    assert opened(text, CBC, GCM, SHA256, strict=True) == 3
    with pytest.raises(KeyFileError, match="keys were not logged"):
        read("\n".join(line for line in text.splitlines() if "| " not in line))


# -------------------------------------------------------------------------------------------- esp_sa: wildcards
def row(spi: str = "*", src: str = str(NEAR), dst: str = str(FAR), family: str = "IPv4", **more: str) -> str:
    fields = {"enc": "AES-CBC [RFC3602]", "key": f"0x{KEY16.hex()}", "auth": "HMAC-SHA-1-96 [RFC2404]",
              "auth_key": f"0x{KEY20.hex()}"} | more  # fmt: skip
    return ",".join(f'"{field}"' for field in (family, src, dst, spi, *fields.values())) + "\n"


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("text", "count"),
    [
        (row(), 3), (row("0x*"), 3), (row("0xc1******"), 3), (row("0xC1??????"), 3), (row("0xc1*"), 3),
        (row("0xc100001*"), 2), (row("0xc1000010"), 1), (row("0xc2*"), 0), (row(src="*"), 3), (row(dst="*"), 3),
        (row(src="*", dst="*"), 3), (row(src="203.0.*"), 3), (row(src="203.0.113.*", dst="203.0.113.0/24"), 3),
        (row("0xc1000010", src="203.0.*.*"), 1), (row(dst="203.*.113.?"), 3), (row(dst="203.0.114.*"), 0),
        (row(src="203.0.113.2"), 0), (row(family="Any"), 3), (row(family="IPv6", src="*", dst="*"), 0),
        (row("0xc2*") + row("0xc100001?"), 2),
    ],
)  # fmt: skip
def test_wildcards_of_the_table(text: str, count: int) -> None:
    sas = [replace(CBC, spi=spi) for spi in (0xC1000010, 0xC1000011, 0xC1000020)]
    assert opened(text, *sas, strict=True) == count


@pytest.mark.req("BASE-11")
def test_wildcards_of_ipv6() -> None:
    near, far = ip_address("2001:db8::1"), ip_address("2001:db8:0:1::2")
    for pattern in ("2001:db8:*", "2001:db8:0:1::2", "2001:db8::/32", "2001:db8:0:1:*", "*"):
        text = row(src="2001:db8::?", dst=pattern, family="IPv6")
        assert opened(text, replace(CBC, src=near, dst=far)) == 1, pattern
    assert opened(row(src="*", dst="2001:db9:*", family="IPv6"), replace(CBC, src=near, dst=far)) == 0


@pytest.mark.req("BASE-11", "USE-3")
@pytest.mark.parametrize("batch", [1, 7, 256])
@pytest.mark.parametrize("threads", [1, 2])
def test_wildcards_open_what_whole_sas_open(batch: int, threads: int) -> None:
    """Each SPI has a window of its own, and verdicts do not depend on where vectors end. One SPI has its own line."""
    sas = [replace(CBC, spi=0xC1000000 + k % 9 + 1) for k in range(60)] + [replace(GCM, spi=0xC1000099)] * 2
    frames = Batch.from_frames([wire(sa) for sa in sas] * 2)
    gcm = row("0xc1000099", enc="AES-GCM with 16 octet ICV [RFC4106]", key=f"0x{(KEY16 + SALT).hex()}", auth="NULL",
              auth_key="")  # fmt: skip
    wild, whole = row() + gcm, "".join(row(f"0x{0xC1000000 + k:08x}") for k in range(1, 10)) + gcm
    found = [Decryptor(read(text), window=64, batch=batch, threads=threads).open(frames) for text in (wild, whole)]
    assert found[0].packets.frames() == found[1].packets.frames() and len(found[0].packets) == 10
    drops = [sum(row["packets"] for row in each.drops.to_pylist() if row["cause"] == "REPLAY") for each in found]
    assert drops == [114, 114]


@pytest.mark.req("BASE-11")
def test_wildcards_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("qfp.control.wildcards.SAS_MAX", 5)
    sas = [replace(CBC, spi=0x1000 + k) for k in range(20)]
    assert opened(row(), *sas) == 5
    (tmp_path / "x.pcap").write_bytes(pcap([wire(sa) for sa in sas]))
    (tmp_path / "esp_sa").write_text(row())
    done = qfp("decrypt", tmp_path / "x.pcap", "--keys", tmp_path / "esp_sa")
    assert done.status == 0 and "too many SPIs for its wildcards: 5 became SAs" in done.err
    monkeypatch.setattr("qfp.control.wildcards.ASKED_MAX", 3)
    assert opened(row("0x00002*"), *sas, replace(CBC, spi=0x2000)) == 0  # three strangers ended it


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("engine", ["native", "openssl"])
@pytest.mark.parametrize(("bits", "integ"), [(96, "hmac-sha1-96"), (128, "hmac-sha256-128"), (192, "hmac-sha384-192"),
                                             (256, "hmac-sha512-256")])  # fmt: skip
def test_icvs_that_nothing_checks(bits: int, integ: str, engine: str) -> None:
    sa = replace(CBC, integ=integ, icv_len=bits // 8)
    wrong = bytearray(wire(sa))
    wrong[-1] ^= 1
    keys = read(row(f"0x{CBC.spi:x}", auth=f"ANY {bits} bit authentication [no checking]", auth_key=""), strict=True)
    assert keys[0].unchecked and keys[0].icv_len == bits // 8
    packets = Batch.from_frames([wire(sa), bytes(wrong)])
    assert len(decrypt(packets, keys, engine=engine).packets) == 2


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("enc", "auth"),
    [("aes-cbc [rfc3602]", "hmac-sha-1-96 [rfc2404]"), ("AES-CBC", "HMAC-SHA-1-96"),
     ("AES-CBC [RFC3602]", "HMAC-SHA1-96 [RFC2404]")],
)  # fmt: skip
def test_names_as_hands_and_old_releases_write_them(enc: str, auth: str) -> None:
    assert opened(row(enc=enc, auth=auth), CBC, strict=True) == 1


# ------------------------------------------------------------------------------------------------ the commands
@pytest.mark.req("BASE-11", "USE-3")
def test_what_is_left_out_is_said_and_strict_keys_refuses(tmp_path: Path) -> None:
    odd = f"src {NEAR} dst {FAR}\n{UNUSABLE['camellia'][0]}"
    (tmp_path / "keys").write_text(odd + DUMP)
    (tmp_path / "x.pcap").write_bytes(pcap([wire(sa) for sa in ALL]))
    for words_ in (("decrypt", tmp_path / "x.pcap"), ("explain", tmp_path / "x.pcap", "--frame", "1")):
        done = qfp(*words_, "--keys", tmp_path / "keys", "--json")
        assert done.status == 0 and "keys:3:2: camellia is not supported" in done.err
        (left,) = done.json["keys_skipped"]
        assert (left["line"], left["column"], left["problem"]) == (3, 2, "camellia is not supported")
        assert "1111" not in done.err + done.out
        refused = qfp(*words_, "--keys", tmp_path / "keys", "--strict-keys")
        assert refused.status == 2 and "camellia" in refused.err
        (tmp_path / "good").write_text(DUMP)
        assert qfp(*words_, "--keys", tmp_path / "good", "--strict-keys", "--json").json["keys_skipped"] == []


@pytest.mark.req("BASE-11")
def test_a_router_takes_no_sa_that_only_opens_captures(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(config(1))
    write_trace(tmp_path / "t.pcap", Batch.from_frames([ip4("10.1.0.5", "10.2.0.7", udp(1, 2, b"x"))]))
    keys = row() + row("0x9", auth="ANY 96 bit authentication [no checking]", auth_key="")
    keys += row("0x7", src=str(FAR), dst=str(NEAR))
    (tmp_path / "keys").write_text(keys)
    words_ = ("run", tmp_path / "a.cfg", tmp_path / "t.pcap", "--in", "gi0/0/1", "--keys", tmp_path / "keys", "--json")
    done = qfp(*words_)
    assert done.status == 0 and len(done.json["keys_skipped"]) == 2 and done.json["verdicts"]["dropped"] == 1
    assert qfp(*words_, "--strict-keys").status == 2


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("src 10.1.0.0/24 dst 10.2.0.0/24\n\tdir out priority 1\n", "holds no SA"),
        ("interface: Gi0/0\n    Crypto map tag: M, local addr 203.0.113.1\n   local  crypto endpt.: 203.0.113.1\n",
         "show crypto ipsec sa"),
        ("c: #1, ESTABLISHED, IKEv1, 2b83_i*\n  k: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_CBC-256\n", "status of"),
        ('000 using kernel interface: xfrm\n000 "west-east": 10.1.0.0/16===192.0.2.1\n', "Libreswan"),
        ('006 #2: "west-east", type=ESP, add_time=1234567890, inBytes=336\n', "Libreswan"),
        ("0011223344556677,8899aabbccddeeff," + "11" * 16 + "\n", "IKE decryption table"),
        ("CLIENT_RANDOM " + "11" * 32 + " " + "11" * 48 + "\n", "TLS key log"),
    ],
)  # fmt: skip
def test_outputs_without_keys_are_named(text: str, what: str) -> None:
    with pytest.raises(KeyFileError, match=what):
        read(text)


# -------------------------------------------------------------------------------------------------- truncation
SCRIPT = f"add {NEAR} {FAR} esp 0x9 -m tunnel -E aes-cbc 0x{KEY16.hex()}\n -A hmac-sha1 0x{KEY20.hex()}; # ours\n"
FILES = {"xfrm": DUMP, "setkey": SETKEY, "charon": charon(True),
         "pluto": pluto(KEY32, KEY32, 1, 2, "AES_128-HMAC_MD5", True),
         "setkey_c": SCRIPT, "esp_sa": row() + row("0x9"), "tcpdump": f"0x9@{FAR} aes-128-cbc-hmac96:0x{KEY16.hex()}\n",
         "ipsecctl": f"esp tunnel from {NEAR} to {FAR} spi 0x9 enc aes\n\tenckey 0x{KEY16.hex()}\n"}  # fmt: skip


@pytest.mark.req("BASE-11")
@given(st.sampled_from(list(FILES)), st.data())
@settings(max_examples=300, deadline=None)
def test_truncated_and_damaged_files_end_in_keys_or_one_error(kind: str, data: st.DataObject) -> None:
    text = FILES[kind]
    at = data.draw(st.integers(0, len(text)))
    rest = text[at + data.draw(st.integers(0, 40)) :] if data.draw(st.booleans()) else ""
    text = text[:at] + data.draw(st.sampled_from(["", "\n", " ", "x", "9" * 30, '"', "\\", ";", "é", "=>"])) + rest
    try:
        assert all(error.remedy for error in read(text).skipped)
    except KeyFileError as error:
        assert error.remedy and KEY16.hex()[:8] not in str(error) and KEY32.hex()[:8] not in str(error)


def test_keys_are_a_list_with_what_was_left_out() -> None:
    keys = read(DUMP + f"src {NEAR} dst {FAR}\n{UNUSABLE['larval'][0]}")
    assert isinstance(keys, list) and isinstance(keys, Keys) and isinstance(keys.skipped[0], KeyFileError)
    assert keys.patterns == () and NATT_ANY == (0, 0) and read_keys is not None


# --------------------------------------------------------------------------------------------- recorded exchanges
IKE = SHARED.parent / "ike" / "recorded"


@pytest.mark.req("BASE-11", "USE-3")
@pytest.mark.parametrize(
    ("case", "end"),
    [*((case, end) for case in ("qm-aes128-sha1-modp2048", "qm-aes256-sha256", "qm-aes128gcm16", "qm-3des-sha1",
                                "rekey-child", "mm-v6", "am-aes128-sha1-modp2048") for end in "AB"),
     ("nat-a-behind", "A")],  # the capture is A's: B knows another address of A
)  # fmt: skip
def test_recorded_logs_open_the_recorded_packets(case: str, end: str) -> None:
    """What the daemons said, with the keys that they logged in their places, opens every ESP packet of the capture."""
    if not (IKE / case / f"{end}.log").exists():
        pytest.skip(f"{IKE / case} is absent")
    keys = json.loads(gzip.decompress((IKE / case / "keys.json.gz").read_bytes()))[end]
    labels = re.compile(r"(?:encryption|integrity) (?:initiator|responder) key")
    chunks = [(each["label"], bytes.fromhex(each["hex"])) for each in keys if labels.fullmatch(each["label"])]
    lines = []
    for line in (IKE / case / f"{end}.log").read_text().splitlines():
        if "adding inbound ESP SA" in line:
            prefix, many = line[: line.index("adding")], 2 if "GCM" in "".join(lines[-4:]) else 4
            lines += [dump_of(label, key, prefix).rstrip("\n") for label, key in chunks[:many]]
            chunks = chunks[many:]
        lines.append(line)
    assert not chunks
    capture = read_trace(IKE / case / "a.pcap")
    result = decrypt(capture, read("\n".join(lines)))
    causes = {each["cause"]: each["packets"] for each in result.drops.to_pylist()}
    assert len(result.packets) > 0 and not {"NO_SA", "BAD_ICV"} & set(causes), causes
