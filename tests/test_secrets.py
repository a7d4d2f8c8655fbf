"""Keys stay where they are: files of keys given as something else, temporary files, objects with keys, key files."""

import copy
import json
import os
import pickle
import stat
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cli_help import config, qfp
from packets import ip4, udp

from qfp.algorithms import CIPHERS, INTEGRITIES
from qfp.batch import Batch
from qfp.config import ConfigError, load, loads
from qfp.control.export import exported
from qfp.decrypt import Decryptor
from qfp.router import Router
from qfp.sa import SecurityAssociation
from qfp.trace import TraceError, write_trace
from qfp.trace.keyfile import read_keys, write_esp_sa, write_sas
from qfp.trace.output import OutputFile

KEY = "00112233445566778899aabbccddeeff"
INSIDE, OUTSIDE = "GigabitEthernet0/0/1", "GigabitEthernet0/0/0"
SECRET_FILES = {
    "esp_sa": '"IPv4","192.0.2.1","203.0.113.2","0x1000","AES-CBC [RFC3602]",'
              f'"0x{KEY}","HMAC-SHA-1-96 [RFC2404]","0x{KEY}"\n',
    "json": json.dumps({"sas": [{"proto": "esp", "spi": 4096, "encr_key": KEY}]}, indent=2),
    "xfrm": f"src 192.0.2.1 dst 203.0.113.2\n\tproto esp spi 0x1000 reqid 1 mode tunnel\n\tenc cbc(aes) 0x{KEY}\n",
    "script": f"ip xfrm state add src 192.0.2.1 dst 203.0.113.2 proto esp spi 1 enc 'cbc(aes)' 0x{KEY}\n",
    "setkey": f"add 192.0.2.1 203.0.113.2 esp 0x1000 -E aes-cbc 0x{KEY};\n",
    "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n-----END RSA PRIVATE KEY-----\n",
    "openssh": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY}\n",
    "ipsec.secrets": f'192.0.2.1 203.0.113.2 : PSK "{KEY}"\n',
    "swanctl": f"secrets {{\n  ike-1 {{\n    secret = {KEY}\n  }}\n}}\n",
    "ikev2": f'0011223344556677,8899aabbccddeeff,{KEY},{KEY},"AES-CBC-128",{KEY},{KEY},"HMAC_SHA1_96"\n',
    "ikev1": f"0011223344556677,{KEY}\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", SECRET_FILES)
@pytest.mark.parametrize("before", ["", "# saved by hand\n\n", "\ufeff"])
def test_a_file_of_keys_is_no_configuration_and_not_shown(kind: str, before: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_text((before if kind != "json" else "") + SECRET_FILES[kind])
    for words in (("check", path), ("check", path, "--json"), ("run", path, path, "--in", "gi0/0/1", "--json")):
        done = qfp(*words)
        assert done.status == 2 and "not a configuration" in done.out + done.err
        assert KEY[:12] not in done.out + done.err


def test_captures_and_configurations_in_each_others_place(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(config(1))
    for suffix in (".pcap", ".pcapng", ".pcap.gz", ".pcapng.zst", ".parquet", ".arrow"):
        path = tmp_path / f"t{suffix}"
        write_trace(path, Batch.from_frames([ip4("10.1.0.5", "10.2.0.7", udp(1, 2, b"x"))]))
        with pytest.raises(ConfigError, match="not a configuration"):
            load(path)
    done = qfp("decrypt", tmp_path / "t.pcap", "--keys", tmp_path / "a.cfg")
    assert done.status == 2 and "is a configuration, not a key file" in done.err
    done = qfp("convert", tmp_path / "a.cfg", tmp_path / "o.pcap")
    assert done.status == 2 and "is a configuration, not a capture" in done.err


def test_a_configuration_that_quotes_keys_is_still_one(tmp_path: Path) -> None:
    quoted = f"hostname a\nbanner motd ^\n{SECRET_FILES['xfrm']}^\n"
    (tmp_path / "a.cfg").write_text(quoted)
    assert load(tmp_path / "a.cfg").hostname == "a"


@pytest.mark.parametrize("line", [f"0x{KEY}", f"sesion-key inbound esp 256 cipher {KEY}", KEY, " ".join([KEY[:8]] * 4)])
def test_digits_of_keys_are_masked_in_messages(line: str) -> None:
    cfg = loads(f"hostname a\n{line}\n")
    said = "".join(str(issue) for issue in cfg.issues) + "".join(each.text for each in cfg.lines)
    assert KEY[:8] not in said and cfg.issues


# ------------------------------------------------------------------------------------------------------- files
def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    target = tmp_path / "o.pcap"
    for guess in range(os.getpid() - 50, os.getpid() + 50):
        (tmp_path / f".o.pcap.{guess}.part").symlink_to(victim)
    write_trace(target, Batch.from_frames([b"x"]))
    assert victim.read_text() == "precious" and not target.is_symlink()
    with OutputFile(target) as out:
        name = next(p for p in tmp_path.iterdir() if p.name.endswith(".part") and not p.is_symlink())
        assert len(name.name) > len(".o.pcap..part") + 12 and out.place.stat().st_ino == name.stat().st_ino
    assert not [p for p in tmp_path.glob(".*.part") if not p.is_symlink()]


def test_modes_and_links_of_outputs(tmp_path: Path) -> None:
    """Outputs follow the umask, key files are their owner's alone; a link stays one."""
    keys = exported(Router.loads(config(1)).plane)
    real = tmp_path / "real"
    for write, mode in ((lambda p: write_trace(p, Batch.from_frames([b"x"])), 0o640),
                        (lambda p: write_sas(p, keys), 0o600), (lambda p: write_esp_sa(p, keys), 0o600)):  # fmt: skip
        link = tmp_path / "link.pcap"
        link.symlink_to(real)
        before = os.umask(0o027)
        try:
            write(link)
        finally:
            os.umask(before)
        assert stat.S_IMODE(real.stat().st_mode) == mode and link.is_symlink()
        link.unlink()
        real.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_of_another_user_in_a_shared_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "o.pcap").symlink_to(tmp_path / "victim")
    os.lchown(tmp_path / "o.pcap", 12345, 12345)
    with pytest.raises(TraceError, match="link of another user"):
        write_trace(tmp_path / "o.pcap", Batch.from_frames([b"x"]))


# ----------------------------------------------------------------------------------------------------- objects
def test_parts_that_hold_keys_and_addresses_are_not_pickled() -> None:
    """Routers, results and decryptors are, as they are saved: see test_checkpoint."""
    router = Router.loads(config(1))
    result = router.forward(frames(3), INSIDE)
    opener = Decryptor(exported(router.plane))
    assert b"K123" not in repr((router, result, opener)).encode()
    for each in (router.engine, router.tables, router.tables.t, router.sad, opener.engine):
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                way(each)


# --------------------------------------------------------------------------------------------------- key files
def frames(count: int) -> Batch:
    made = [ip4("10.1.0.5", "10.2.0.7", udp(1, k, b"x" * k)) for k in range(count)]
    return Batch.from_frames(made, ts=np.arange(count))


def identities(packets: Batch) -> list[bytes]:
    """SPI, sequence number and IV of each ESP packet."""
    return [packet[20:36] for packet in packets.frames()]


@pytest.mark.parametrize(
    ("transform", "extra"),
    [("esp-gcm", ""), ("esp-gcm 256", ""), ("esp-aes esp-sha-hmac", ""), ("ah-sha-hmac esp-aes", ""), ("esp-gmac", ""),
     ("esp-gcm", "crypto ipsec security-association multi-sn\n"), ("esp-gcm\n esn", ""),
     ("esp-aes esp-sha-hmac\n esn", "")],
)  # fmt: skip
def test_a_run_continued_from_its_key_file_repeats_no_number(transform: str, extra: str, tmp_path: Path) -> None:
    """Run, export, run, export, run; the peer, and a reader of the captures, open everything with the last file."""
    text = extra + config(1, transform)
    router, seen, wires = Router.loads(text), [], []
    assert [sa.esn for sa in exported(router.plane)] == ["esn" in transform] * len(exported(router.plane))
    for _ in range(3):
        result = router.forward(frames(40), INSIDE)
        assert len(result.packets) == 40
        wires.append(result.packets)
        seen += [p[20:44] for p in result.packets.frames()]
        write_sas(tmp_path / "keys", exported(router.plane))
        router = Router.loads(text, keys=read_keys(tmp_path / "keys"))
    assert len(set(seen)) == 120
    opened = Decryptor(read_keys(tmp_path / "keys"), window=64).open(Batch.concat(wires[:1]))
    assert len(opened.packets) == 40


KEYED = {"aes-ctr": ("aes-ctr", 16, "hmac-sha1-96"), "aes-ccm": ("aes-ccm", 16, "none"),
         "chacha20-poly1305": ("chacha20-poly1305", 32, "none"), "aes-gcm": ("aes-gcm", 16, "none"),
         "aes-cbc": ("aes-cbc", 16, "hmac-sha256-128")}  # fmt: skip


def pair(name: str, esn: bool, seq: int) -> list[SecurityAssociation]:
    """The SAs of both directions of Site1 and Site2, of which `seq` numbers are used up, as Site1 would write them."""
    encr, size, integ = KEYED[name]
    salt, key = CIPHERS[encr].salt, INTEGRITIES[integ].key
    ends = ip_address("203.0.113.1"), ip_address("203.0.113.2")
    return [
        SecurityAssociation(
            proto="esp", spi=0x1000 + k, src=ends[k], dst=ends[1 - k], encr=encr, encr_key=bytes([k + 1]) * size,
            salt=bytes([k + 1]) * salt, integ=integ, integ_key=bytes([k + 1]) * key, esn=esn, seq=seq + 1 - k,
            direction="in" if k else "out",
        )
        for k in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize(("esn", "seq"), [(False, 0), (True, 0), (True, 2**32 - 60), (True, 2**33 + 5)])
@pytest.mark.parametrize("whose", ["own", "one file"])
def test_both_ends_continued_from_key_files(name: str, esn: bool, seq: int, whose: str, tmp_path: Path) -> None:
    """Three runs of both directions, each end from its own file, or both from that of the first; ESN crosses 2^32."""
    near_file, far_file = tmp_path / "near", tmp_path / "far"
    write_sas(near_file, pair(name, esn, seq))
    write_sas(far_file, pair(name, esn, seq))
    there, back = [], []
    for _ in range(3):
        near = Router.loads(config(1), keys=read_keys(near_file))
        far = Router.loads(config(2), keys=read_keys(far_file if whose == "own" else near_file))
        out = near.forward(frames(40), INSIDE).packets
        assert len(far.forward(out, OUTSIDE).packets) == 40
        home = [ip4("10.2.0.7", "10.1.0.5", udp(1, k, b"y" * k)) for k in range(40)]
        answer = far.forward(Batch.from_frames(home, ts=np.arange(40)), INSIDE).packets
        assert len(near.forward(answer, OUTSIDE).packets) == 40
        there.append(out)
        back.append(answer)
        write_sas(near_file, exported(near.plane))
        write_sas(far_file, exported(far.plane))
    for wires in (there, back):
        assert len({each for packets in wires for each in identities(packets)}) == 120
    numbers = [int.from_bytes(each[4:8]) for packets in there for each in identities(packets)]
    assert numbers == [(seq + k) % 2**32 for k in range(1, 121)]
    opened = Decryptor(read_keys(near_file), window=64).open(Batch.concat([*there, *back]))
    assert len(opened.packets) == 240


def test_the_other_end_goes_on_above_what_was_received() -> None:
    """A file of the receiving end, used to send: its highest number seen was sent already."""
    near, far = Router.loads(config(1)), Router.loads(config(2))
    sent = near.forward(frames(20), INSIDE).packets
    far.forward(sent, OUTSIDE)
    again = Router.loads(config(1), keys=exported(far.plane))
    assert not set(identities(again.forward(frames(20), INSIDE).packets)) & set(identities(sent))
