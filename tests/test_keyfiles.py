"""Key files: the three formats, what is refused and how it is said, and tshark as a reader of what we write."""

import json
import re
import shutil
import stat
import struct
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_io import SHARED, association, load_json

from qfp.algorithms import CIPHERS, INTEGRITIES, AlgorithmError, cipher, integrity
from qfp.engines.openssl import OpensslContext
from qfp.sa import IKE_PORT, NATT_ANY, AddressRange, SaError, SecurityAssociation, Selectors
from qfp.trace.keyfile import KeyFileError, parse_keys, read_keys, write_esp_sa, write_sas

HERE = Path("keys")
SECRET = "deadbeefcafe0123456789abcdef4242"
ESP_KEY = bytes.fromhex(SECRET)


def read(text: str) -> list[SecurityAssociation]:
    """NULL without authentication is let in: test_null_and_ports.py has what becomes of it otherwise."""
    return parse_keys(HERE, text.encode(), allow_null=True)


def fails(text: str | bytes) -> KeyFileError:
    with pytest.raises(KeyFileError) as caught:
        parse_keys(HERE, text if isinstance(text, bytes) else text.encode(), strict=True)
    assert not leaks(str(caught.value))
    return caught.value


def leaks(message: str) -> bool:
    """Whether eight digits of the secret stand anywhere in a message."""
    return any(SECRET[at : at + 8] in message.lower() for at in range(len(SECRET) - 7))


# ------------------------------------------------------------------------------------- algorithms and the SA
@pytest.mark.req("BASE-3")
def test_the_registry_is_consistent() -> None:
    assert [c.number for c in CIPHERS.values()] == list(range(9))
    assert [i.number for i in INTEGRITIES.values()] == list(range(10))
    for c in CIPHERS.values():
        assert c.block % 4 == 0 and (c.icv in c.icvs if c.aead else c.icv == 0)
    for i in INTEGRITIES.values():
        assert i.key in i.key_lengths and (i.icv > 0) == (i.name != "none")


@pytest.mark.req("BASE-3")
@pytest.mark.parametrize("name", ["blowfish-cbc", "twofish-cbc", "cast5-cbc", "camellia-cbc", "serpent", "TWOFISH-CBC"])
def test_ciphers_that_are_not_there_are_refused_by_name(name: str) -> None:
    with pytest.raises(AlgorithmError, match=rf"(?i){name[:4]}\w* is not supported"):
        cipher(name)
    with pytest.raises(SaError, match="is not supported"):
        SecurityAssociation(proto="esp", spi=1, encr=name)


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(AlgorithmError, match="did you mean 'aes-gcm'"):
        cipher("aes-gcn")
    with pytest.raises(AlgorithmError) as caught:
        integrity(SECRET)
    assert not leaks(str(caught.value))


def sa(**more: object) -> SecurityAssociation:
    base = {"proto": "esp", "spi": 0x100, "encr": "aes-cbc", "encr_key": ESP_KEY, "integ": "hmac-sha256-128",
            "integ_key": bytes(32)}  # fmt: skip
    return SecurityAssociation(**(base | more))  # type: ignore[arg-type]


@pytest.mark.req("BASE-3")
@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("spi", {"spi": 0}), ("spi", {"spi": 2**32}), ("spi", {"spi": True}), ("proto", {"proto": "gre"}),
        ("mode", {"mode": "beet"}), ("encr", {"encr": "aes"}), ("encr_key", {"encr_key": bytes(15)}),
        ("encr_key", {"encr": "null"}), ("integ_key", {"integ_key": b""}), ("integ_key", {"integ_key": bytes(65)}),
        ("salt", {"salt": bytes(4)}), ("salt", {"encr": "aes-ctr", "salt": bytes(3)}), ("icv_len", {"icv_len": 12}),
        ("icv_len", {"icv_len": 0}), ("integ", {"encr": "aes-gcm", "salt": bytes(4)}),
        ("integ", {"integ": "aes-gmac", "integ_key": bytes(16), "salt": bytes(4)}), ("encr", {"proto": "ah"}),
        ("integ", {"proto": "ah", "encr": "null", "encr_key": b"", "integ": "none", "integ_key": b""}),
        ("esn", {"esn": 1}), ("replay_window", {"replay_window": -1}), ("seq", {"seq": 2**32 + 1}),
        ("seq", {"seq": 2**64, "esn": True}), ("natt", {"natt": (4500, 70000)}), ("natt", {"natt": 4500}),
        ("natt", {"natt": (0, 4500)}), ("natt", {"natt": (4500, 0)}), ("natt", {"natt": (500, 500)}),
        ("dst", {"src": ip_address("::1"), "dst": ip_address("10.0.0.1")}), ("src", {"src": "10.0.0.1"}),
        ("direction", {"direction": "up"}), ("bundle", {"bundle": 7}), ("encr_key", {"encr_key": SECRET}),
    ],
)  # fmt: skip
def test_an_sa_that_cannot_work_is_refused(field: str, more: dict[str, object]) -> None:
    with pytest.raises(SaError) as caught:
        sa(**more)
    assert caught.value.field == field and caught.value.remedy and not leaks(str(caught.value))


@pytest.mark.req("BASE-3")
def test_lengths_of_an_sa() -> None:
    cbc, gcm = sa(), sa(encr="aes-gcm", salt=bytes(4), integ="none", integ_key=b"", icv_len=8)
    assert (cbc.iv_len, cbc.icv_length, cbc.block, cbc.esp_overhead, cbc.is_aead) == (16, 16, 16, 42, False)
    assert (gcm.iv_len, gcm.icv_length, gcm.block, gcm.esp_overhead, gcm.is_aead) == (8, 8, 4, 26, True)
    ah = sa(proto="ah", encr="null", encr_key=b"", integ="aes-gmac", integ_key=bytes(16), salt=bytes(4))
    assert (ah.icv_len, ah.icv_length, ah.ah_header(4), ah.ah_header(6), ah.esp_overhead) == (16, 24, 36, 40, 0)
    assert sa(spi=10).spi == 10  # reserved by IANA, used by real captures
    assert not leaks(repr(cbc)) and repr(ESP_KEY) not in repr(cbc)


# ---------------------------------------------------------------------------------------------- the SA file
@st.composite
def associations(draw: st.DrawFn) -> SecurityAssociation:
    """Any SA that the checks let through."""
    ah = draw(st.booleans())
    c = CIPHERS["null"] if ah else draw(st.sampled_from(list(CIPHERS.values())))
    pool = [i for i in INTEGRITIES.values() if (i.name != "none" if ah else not i.ah_only)]
    i = INTEGRITIES["none"] if c.aead else draw(st.sampled_from(pool))
    size, keyed = draw(st.sampled_from(c.key_lengths)), draw(st.sampled_from(list(i.key_lengths)))
    salt = c.salt or i.salt
    address = st.none() | (st.ip_addresses(v=4) if draw(st.booleans()) else st.ip_addresses(v=6))
    esn = draw(st.booleans())
    port, udp_port = st.integers(0, 65535), st.integers(1, 65535).filter(lambda number: number != IKE_PORT)
    span = st.none() | st.tuples(port, port).map(lambda p: (min(p), max(p)))
    ends = st.none() | st.lists(st.ip_addresses(v=4), min_size=2, max_size=2).map(lambda a: AddressRange(*sorted(a)))
    selectors = Selectors(src=draw(ends), dst=draw(ends), protocol=draw(st.none() | st.integers(0, 255)),
                          sport=draw(span), dport=draw(span))  # fmt: skip
    return SecurityAssociation(
        proto="ah" if ah else "esp", spi=draw(st.integers(1, 2**32 - 1)), src=draw(address), dst=draw(address),
        mode=draw(st.sampled_from(["tunnel", "transport", None])), encr=c.name,
        encr_key=draw(st.binary(min_size=size, max_size=size)), salt=draw(st.binary(min_size=salt, max_size=salt)),
        integ=i.name, integ_key=draw(st.binary(min_size=keyed, max_size=keyed)),
        icv_len=draw(st.sampled_from(c.icvs or (i.icv,))), esn=esn, replay_window=draw(st.integers(0, 4096)),
        natt=draw(st.none() | st.just(NATT_ANY) | st.tuples(udp_port, udp_port)),
        seq=draw(st.integers(0, 2**64 - 1 if esn else 2**32)),
        selectors=draw(st.none() | st.just(selectors)), bundle=draw(st.none() | st.text()),
        direction=draw(st.sampled_from(["in", "out", None])), allow_null=True,
    )  # fmt: skip


@pytest.mark.req("BASE-11")
@given(st.lists(associations(), max_size=4))
@settings(max_examples=150, deadline=None)
def test_an_sa_file_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, sas: list[SecurityAssociation]
) -> None:
    path = tmp_path_factory.mktemp("sa") / "sas.json"
    write_sas(path, sas)
    assert read_keys(path, allow_null=True) == sas
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["sas.json"]


ROW = {"proto": "esp", "spi": 256, "src": "10.0.0.1", "dst": "10.0.0.2", "mode": "tunnel", "encr": "aes-cbc",
       "encr_key": SECRET, "integ": "hmac-sha1-96", "integ_key": "00" * 20}  # fmt: skip


def sa_file(**more: object) -> str:
    return json.dumps({"sas": [ROW | more]}, indent=1)


@pytest.mark.req("BASE-11")
def test_an_sa_file_with_little_in_it() -> None:
    (got,) = read(sa_file())
    assert got == sa(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2"), integ="hmac-sha1-96", integ_key=bytes(20))
    row = {"proto": "ah", "spi": 9, "encr": None, "integ": "hmac-md5-96", "integ_key": "0x" + SECRET}
    (ah,) = read(json.dumps({"sas": [row]}))
    assert (ah.encr, ah.integ_key, ah.mode, ah.src) == ("null", ESP_KEY, None, None)
    (sel,) = read(sa_file(selectors={"src": "10.1.0.0/16", "dst": "10.2.0.1-10.2.0.9", "dport": 53, "sport": "1-9"}))
    src, dst = AddressRange.parse("10.1.0.0/16"), AddressRange.parse("10.2.0.1-10.2.0.9")
    assert sel.selectors == Selectors(src=src, dst=dst, dport=(53, 53), sport=(1, 9))
    assert read('{"sas": []}') == []


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"encr_kye": SECRET}, "unknown key 'encr_kye'"), ({"encr_key": SECRET[:-2]}, "encr_key: 15 bytes for aes-cbc"),
        ({"encr_key": SECRET[:-1]}, "encr_key: not hex"), ({"encr_key": SECRET[:-2] + "zz"}, "encr_key: not hex"),
        ({"encr_key": 12}, "encr_key: not hex"), ({"encr": SECRET}, "encr: the name given"), ({"encr": 3}, "encr: "),
        ({"encr": "camellia-cbc"}, "camellia is not supported"), ({"spi": "256"}, "spi: out of range"),
        ({"src": SECRET}, "src: not an IP address"), ({"src": 7}, "src: not an IP address"), ({"mode": []}, "mode: "),
        ({"natt": {"sport": 4500}}, "natt: not a pair"), ({"natt": {"port": 4500}}, "unknown key 'port' in natt"),
        ({"natt": 4500}, "natt: not an object"),
        ({"selectors": {"source": "::/0"}}, "unknown key 'source' in selectors"),
        ({"selectors": {"src": "10.0.0.300"}}, "selectors: "), ({"selectors": {"dport": "x"}}, "selectors: "),
        ({"selectors": {"protocol": "udp"}}, "selectors: "), ({"selectors": []}, "selectors: "),
        ({"replay_window": 10**6}, "replay_window: out of range"), ({"esn": "yes"}, "esn: "),
    ],
)  # fmt: skip
def test_a_wrong_sa_file_names_the_place(more: dict[str, object], named: str) -> None:
    text = sa_file(**more)
    error = fails(text)
    assert named in error.problem and error.remedy
    (key,) = more
    line = text.split("\n")[error.line - 1]
    inner = re.search(r"'(\w+)' in (natt|selectors)", error.problem)
    assert line[error.column - 1 :].startswith(f'"{inner[1] if inner else key}"')
    assert str(error).startswith(f"keys:{error.line}:{error.column}: ")


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("text", "place", "named"),
    [
        ("", "keys: ", "holds no SA"), ("# nothing\n", "keys: ", "holds no SA"), ("{", "keys:1:2: ", "not JSON"),
        ("[]", "keys:1:1: ", "one object"), ('{"sas": {}}', "keys:1:9: ", "not an array"),
        ("{}", "keys:1:1: ", "no key"),
        ('{"sas": [\n 3]}', "keys:2:2: ", "an SA is an object"),
        ('{"sas": [{"proto": "esp"}]}', "keys:1:10: ", "no spi"),
        ('{"sas": [], "sas": []}', "keys:1:13: ", "twice"), ('{"sa": []}', "keys:1:2: ", "unknown key 'sa'"),
        ("[" * 100_000, "keys:1:1: ", "too deep"), ('{"sas": ' + "9" * 5000 + "}", "keys:1:1: ", "too long"),
        ("hello", "keys:1: ", "not a key file"), (b"\xd4\xc3\xb2\xa1\n\xff", "keys: ", "is a pcap capture"),
        (b"ok,\n\n\xff", "keys:3: ", "not text"),
    ],
)  # fmt: skip
def test_what_is_no_key_file(text: str | bytes, place: str, named: str) -> None:
    error = fails(text)
    assert str(error).startswith(place) and named in str(error)


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, Path("a\0b")):
        with pytest.raises(KeyFileError, match="cannot be read"):
            read_keys(path)
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_sas(tmp_path / "absent" / "sas.json", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_sas(tmp_path / "folder", [])
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


# --------------------------------------------------------------------------------------------------- esp_sa
def uat(**more: str) -> str:
    fields = {"family": "IPv4", "src": "10.0.0.1", "dst": "10.0.0.2", "spi": "0x00000100", "enc": "AES-CBC [RFC3602]",
              "key": "0x" + SECRET, "auth": "HMAC-SHA-256-128 [RFC4868]", "auth_key": "0x" + "00" * 32}  # fmt: skip
    return ",".join(f'"{field}"' for field in (fields | more).values())


@pytest.mark.req("BASE-11")
def test_esp_sa_lines() -> None:
    header = "# This file is automatically generated, DO NOT MODIFY.\n"
    (got,) = read(header + uat() + "\n")
    ends = {"src": ip_address("10.0.0.1"), "dst": ip_address("10.0.0.2")}
    assert got == sa(**ends, mode=None, natt=NATT_ANY, replay_window=0)
    gcm = {"enc": "AES-GCM with 16 octet ICV [RFC4106]", "key": f"0x{SECRET}01020304", "auth": "NULL", "auth_key": ""}
    (got,) = read(uat(**gcm, sn="64-bit", high="0000002a"))
    assert (got.encr_key, got.salt, got.icv_len, got.esn, got.seq) == (ESP_KEY, b"\1\2\3\4", 16, True, 42 << 32)
    (got,) = read(uat(**gcm, sn="32-bit", high="0"))
    assert not got.esn
    for bits in (64, 96, 128):  # strongSwan's way to tell the ICV of a combined mode
        (got,) = read(uat(**gcm | {"enc": "AES-GCM [RFC4106]", "auth": f"ANY {bits} bit authentication [no checking]"}))
        assert got.icv_len == bits // 8
    (got,) = read(uat(src="*", dst="*", spi="256", key="aescbcencryption", auth_key=r"a\x22\"\\b c"))
    assert (got.src, got.dst, got.spi) == (None, None, 256)
    assert (got.encr_key, got.integ_key) == (b"aescbcencryption", b'a""\\b c')
    assert read("IPv4 , 10.0.0.1,10.0.0.2, 0x100 ,NULL,, NULL ,\n".replace(",,", ',"",').replace(" ,\n", ' ,""\n'))


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("more", "field", "named"),
    [
        ({"spi": "12*"}, 3, "not an SPI"), ({"spi": "0x1?"}, 3, "eight digits"), ({"spi": "x"}, 3, "not an SPI"),
        ({"spi": "0"}, 3, "out of range"), ({"src": "10.a*"}, 1, "wildcard"), ({"dst": "10.0.0.0/99"}, 2, "prefix"),
        ({"src": "::1"}, 1, "family"), ({"family": "IPv5"}, 0, "protocol"), ({"key": "0x" + SECRET[1:]}, 5, "not hex"),
        ({"key": "0x" + SECRET[2:]}, 5, "15 bytes"), ({"auth": "MAC-RIPEMD-160-96 [RFC2857]"}, 6, "ripemd is not"),
        ({"auth": "ANY 97 bit authentication [no checking]"}, 6, "not known"), ({"auth": SECRET}, 6, "not known"),
        ({"enc": "TWOFISH-CBC"}, 4, "twofish is not supported"), ({"enc": "0x" + SECRET}, 4, "not known"),
        ({"enc": "AES-GCM with IIV and 16 octet ICV [RFC4106 & RFC8750]"}, 4, "implicit"),
        ({"enc": "AES-CBC [RFC3603]"}, 4, "did you mean"),
        ({"enc": "AES-CTR [RFC3686]"}, 5, "16 bytes of key for aes-ctr"),
        ({"auth_key": "a\\qb"}, 7, "backslash"), ({"more": "1"}, 8, "length"),
        ({"sn": "16-bit", "high": "0"}, 8, "length"),
        ({"sn": "64-bit", "high": "x"}, 9, "high half"), ({"src": SECRET}, 1, "not an IP address"),
        ({"enc": "AES-GCM with 8 octet ICV [RFC4106]", "key": f"0x{SECRET}00000000"}, 6, "makes the ICV itself"),
    ],
)  # fmt: skip
def test_a_wrong_esp_sa_line_names_the_place(more: dict[str, str], field: int, named: str) -> None:
    line = uat(**more)
    error = fails(uat() + "\n" + line + "\n")
    assert named in error.problem and error.remedy
    assert (error.line, line[: error.column - 1].count('",')) == (2, field)


@pytest.mark.req("BASE-11")
def test_broken_esp_sa_lines() -> None:
    for broken in ('"IPv4","10.0.0.1', '"IPv4" x,"y"', '"IPv4",,"y"', '"IPv4",'):
        assert fails(broken).line == 1


@pytest.mark.req("BASE-11")
@given(st.lists(associations(), max_size=4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_an_esp_sa_table_reads_back(
    tmp_path_factory: pytest.TempPathFactory, sas: list[SecurityAssociation], newer: bool
) -> None:
    path = tmp_path_factory.mktemp("uat") / "esp_sa"
    notes = write_esp_sa(path, sas, newer=newer)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    left_out = [note for note in notes if "left out" in note]
    expect: dict[object, SecurityAssociation] = {}  # the first of equal SPI and destination serves
    for one in sas:
        if not any(f"{one.proto} SA 0x{one.spi:08x} " in note for note in left_out):
            esn = one.esn and newer
            seq = one.seq >> 32 << 32 if esn else 0
            plain = {"selectors": None, "bundle": None, "direction": None, "mode": None, "natt": NATT_ANY}
            expect.setdefault((one.spi, one.dst), replace(one, **plain, esn=esn, seq=seq, replay_window=0))
    assert (read_keys(path, allow_null=True) if expect else []) == list(expect.values())


# -------------------------------------------------------------------------------------------- ip xfrm state
XFRM = f"""\
src 192.0.2.1 dst 192.0.2.2
\tproto esp spi 0xc1000001 reqid 1 mode tunnel
\treplay-window 0 flag af-unspec esn
\tmark 0x1/0xffffffff
\taead rfc4106(gcm(aes)) 0x{SECRET}0a0b0c0d 96
\tencap type espinudp sport 4500 dport 4501 addr 0.0.0.0
\tlastused 2024-01-01 00:00:00
\tanti-replay esn context:
\t seq-hi 0x0, seq 0x0, oseq-hi 0x1, oseq 0x5
\t replay_window 128, bitmap-length 4
\t 00000000 00000000 00000000 00000000
\tdir out
src 192.0.2.2 dst 192.0.2.1
\tproto esp spi 0x00000064(100) reqid 1(0x00000001) mode transport
\treplay-window 32 seq 0x00000000 flag  (0x00000000)
\tauth-trunc hmac(sha256) 0x{"11" * 32} (256 bits) 128
\tenc cbc(aes) 0x{SECRET} (128 bits)
\tanti-replay context: seq 0x7, oseq 0x0, bitmap 0x0000007f
\tsel src 192.0.2.2/32 dst 192.0.2.1/32 proto udp sport 53 dport 5353 uid 0
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\t  expire add: soft 0(sec), hard 0(sec)
\tlifetime current:
\t  0(bytes), 0(packets)
\t  add 2024-01-01 00:00:00 use -
\tstats:
\t  replay-window 900 replay 0 failed 0
src 2001:db8::1 dst ::
\tproto ah spi 0x00000200 reqid 0 mode transport
\treplay-window 0
\tauth hmac(sha1) 0x{"22" * 20}
\tsel src ::/0 dst ::/0
"""


@pytest.mark.req("BASE-11")
def test_ip_xfrm_state() -> None:
    out, back, ah = read(XFRM)
    assert (out.spi, out.mode, out.encr, out.icv_len, out.esn) == (0xC1000001, "tunnel", "aes-gcm", 12, True)
    assert (out.encr_key, out.salt, out.natt) == (ESP_KEY, b"\x0a\x0b\x0c\x0d", (4500, 4501))
    assert (out.seq, out.replay_window, out.direction, out.selectors) == (2**32 + 6, 128, "out", None)
    assert (back.spi, back.mode, back.encr, back.integ, back.icv_len) == (
        100,
        "transport",
        "aes-cbc",
        "hmac-sha256-128",
        16,
    )
    assert (back.seq, back.replay_window, back.esn, back.natt) == (7, 32, False, None)
    assert back.selectors is not None and (back.selectors.protocol, back.selectors.dport) == (17, (5353, 5353))
    assert (ah.proto, ah.integ, ah.encr, ah.dst, ah.selectors) == ("ah", "hmac-sha1-96", "null", None, None)


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize("name", ["aes-gcm", "aes-gmac", "aes-ccm", "chacha20-poly1305", "aes-ctr", "aes-cbc", "null"])
def test_ip_xfrm_state_ciphers(name: str) -> None:
    linux = {"aes-gcm": "aead rfc4106(gcm(aes))", "aes-gmac": "aead rfc4543(gcm(aes))",
             "aes-ccm": "aead rfc4309(ccm(aes))", "chacha20-poly1305": "aead rfc7539esp(chacha20,poly1305)",
             "aes-ctr": "enc rfc3686(ctr(aes))", "aes-cbc": "enc cbc(aes)",
             "null": "enc ecb(cipher_null)"}[name]  # fmt: skip
    c = CIPHERS[name]
    key = bytes(range(max(c.key_lengths))) + b"salt"[: c.salt]
    text = f"src 1.1.1.1 dst 2.2.2.2\n proto esp spi 0x9 reqid 0 mode tunnel\n {linux} 0x{key.hex()}" + " 128" * c.aead
    (got,) = read(text)
    assert (got.encr, got.encr_key + got.salt, got.salt) == (name, key, b"salt"[: c.salt])
    assert got.icv_len == (16 if c.aead else 0)


@pytest.mark.req("BASE-11")
@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ("aead rfc4106(gcm(aes))", "aead morus", 5, "is not known"),
        (f"0x{SECRET}0a", "<<Keys hidden>> ", 5, "not hex"),
        ("enc cbc(aes)", "enc cbc(camellia)", 17, "camellia is not supported"), ("mode tunnel", "mode beet", 2, "mode"),
        ("proto ah", "proto comp", 29, "protocol"), ("espinudp", "espintcp", 6, "espinudp"),
        ("0a0b0c0d", "0a", 5, "of key"),
        ("src 192.0.2.1 dst", "src 192.0.2 dst", 1, "src is not an IP address"), ("dir out", "dir up", 12, "direction"),
        (" 128\n", " 200\n", 16, "integrity algorithm"), ("\tencap", "\tencapp", 6, "not of ip xfrm state"),
        ("spi 0xc1000001", "spi 0x0", 1, "spi: out of range"),
        ("\tenc cbc", "\tauth-trunc cbc", 17, "second auth-trunc"),
        (" 96\n", " 97\n", 5, "whole number"), ("proto udp", "proto nix", 19, "number"),
    ],
)  # fmt: skip
def test_a_wrong_ip_xfrm_state_names_the_place(old: str, new: str, line: int, named: str) -> None:
    assert old in XFRM
    error = fails(XFRM.replace(old, new, 1))
    assert (named in error.problem, error.line) == (True, line), str(error)


@pytest.mark.req("BASE-11")
def test_an_esp_state_without_keys() -> None:
    text = re.sub(r"\t(aead|enc) .*\n", "", XFRM)
    assert fails(text).problem.startswith("an ESP SA without an enc or aead line")


# ------------------------------------------------------------------------------------------- any text at all
@pytest.mark.req("BASE-11")
@given(st.binary() | st.text().map(lambda t: t.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_sas_or_one_error(data: bytes) -> None:
    try:
        parse_keys(HERE, data)
    except KeyFileError as error:
        assert error.remedy


@pytest.mark.req("BASE-11")
@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damaged_key_files_end_in_sas_or_one_error(data: st.DataObject) -> None:
    """Cuts, insertions and swaps in good files, without a digit of a key in the message."""
    text = data.draw(st.sampled_from([sa_file(natt={"sport": 1, "dport": 2}, selectors={"src": "::/0"}), uat(), XFRM]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        size = data.draw(st.integers(0, 12))
        text = (
            text[:at]
            + data.draw(st.sampled_from(['"', ",", "0", "\\", "{", "[", " ", "\n", "x", "9" * 30, "é"]))
            + text[at + size :]
        )
    try:
        parse_keys(HERE, text.encode())
    except KeyFileError as error:
        assert error.remedy and not leaks(str(error))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
    st.sampled_from(list(ROW)),
)
@settings(max_examples=200, deadline=None)
def test_any_json_value_in_any_field(value: object, name: str) -> None:
    try:
        read(sa_file(**{name: value}))
    except KeyFileError as error:
        assert error.remedy


# ------------------------------------------------------------------------------------- tshark as the reader
TSHARK = shutil.which("tshark")
INNER = bytes.fromhex("4500001c000000004011f96a0a0100010a020001") + bytes.fromhex("0035003500080000")


def udp_packet() -> bytes:
    """A 28-byte IPv4/UDP packet, 10.1.0.1 to 10.2.0.1."""
    head = bytearray(INNER)
    head[10:12] = b"\0\0"
    total = sum(struct.unpack(">10H", head[:20]))
    head[10:12] = (0xFFFF - (total + (total >> 16)) & 0xFFFF).to_bytes(2)
    return bytes(head)


def sealed_packet(one: SecurityAssociation) -> bytes:
    """`udp_packet` in tunnel mode, under the SA: an IPv4 or IPv6 packet."""
    inner = udp_packet()
    pad = -(len(inner) + 2) % one.block
    body = inner + bytes(range(1, pad + 1)) + bytes([pad, 4])
    iv = bytes(range(0x30, 0x30 + one.iv_len))
    esp = bytearray(one.spi.to_bytes(4) + b"\0\0\0\1" + iv + body + bytes(one.icv_len))
    OpensslContext(one).esp_seal(esp, None)
    assert one.src is not None and one.dst is not None
    if one.src.version == 6:
        return b"\x60\0\0\0" + len(esp).to_bytes(2) + b"\x32\x40" + one.src.packed + one.dst.packed + esp
    return b"\x45\0" + (20 + len(esp)).to_bytes(2) + b"\0\0\0\0\x40\x32\0\0" + one.src.packed + one.dst.packed + esp


def pcap(packets: list[bytes]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    return head + b"".join(struct.pack("<IIII", n, 0, len(p), len(p)) + p for n, p in enumerate(packets))


def tshark_sas() -> list[SecurityAssociation]:
    """An SA of each cipher with each integrity algorithm that Wireshark 4.0 knows, IPv4 and IPv6 in turn."""
    sas = []
    for c in CIPHERS.values():
        for size in c.key_lengths:
            for integ, icv in [("none", n) for n in c.icvs] or [
                (i.name, i.icv) for i in INTEGRITIES.values() if not i.ah_only
            ]:
                n = len(sas) + 1
                net = "2001:db8::" if n % 2 else "192.0.2."
                sas.append(SecurityAssociation(
                    proto="esp", spi=0x1000 + n, src=ip_address(f"{net}1"), dst=ip_address(f"{net}2"), encr=c.name,
                    encr_key=bytes(range(n % 50, n % 50 + size)), salt=b"salt"[: c.salt], integ=integ, icv_len=icv,
                    integ_key=bytes(range(INTEGRITIES[integ].key)), allow_null=True,
                ))  # fmt: skip
    return sas


@pytest.mark.req("BASE-11", "USE-3")
@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
def test_tshark_opens_what_the_table_describes(tmp_path: Path) -> None:
    """Every name of the table is one that tshark takes, and every packet opens with a correct ICV."""
    sas = tshark_sas()
    notes = write_esp_sa(tmp_path / "esp_sa", sas)
    # 4.0 has no name for these
    unknown = {"aes-gmac", "aes-ccm", "chacha20-poly1305", "aes-xcbc-96", "aes-cmac-96"}
    held = [one for one in sas if one.encr not in unknown and one.integ not in unknown]
    assert len(notes) == len(sas) - len(held)
    (tmp_path / "x.pcap").write_bytes(pcap([sealed_packet(one) for one in held]))
    table = [f"uat:esp_sa:{line}" for line in (tmp_path / "esp_sa").read_text().splitlines()]
    options = ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE", *table]
    command = [str(TSHARK), "-r", str(tmp_path / "x.pcap"), "-T", "fields", "-e", "esp.spi", "-e", "udp.srcport",
               "-e", "esp.icv_good", *[word for option in options for word in ("-o", option)]]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "nvalid" not in done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(int(spi, 16), port) for spi, port, _ in rows] == [(one.spi, "53") for one in held]
    for one, (_, _, good) in zip(held, rows, strict=True):
        assert good in ("1", "True") or not one.icv_len, one


@pytest.mark.req("BASE-11", "USE-3")
def test_the_sas_of_the_published_captures_survive_both_files(tmp_path: Path) -> None:
    """The manifest's SAs, through the SA file and through the table."""
    if not (SHARED / "captures" / "manifest.json").exists():
        pytest.skip(f"{SHARED / 'captures'} is absent")
    rows = [row["sa"] for c in load_json("captures/manifest.json")["captures"] for row in c.get("sas", [])]
    sas = [association(row, mode=None, natt=NATT_ANY, replay_window=0) for row in rows]
    assert len(sas) == 35
    write_sas(tmp_path / "sas.json", sas)
    assert read_keys(tmp_path / "sas.json", allow_null=True) == sas
    assert write_esp_sa(tmp_path / "esp_sa", sas) == []
    first: dict[object, SecurityAssociation] = {}
    for sa in sas:  # two captures have SPI and destination in common: the table's first line serves
        first.setdefault((sa.spi, sa.dst), sa)
    assert read_keys(tmp_path / "esp_sa", allow_null=True) == list(first.values())
