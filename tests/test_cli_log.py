"""The log of refused packets: wording, limits in virtual time, totals, suppression."""

import numpy as np
import pytest
from cli_help import OUT, START, office, qfp, rewrite

from qfp.control.log import INTERVAL_INVALID_SPI, PacketLog, timestamp
from qfp.router import Router
from qfp_kernels.drops import Drop

pytestmark = pytest.mark.req("AR-5")


def noisy(tmp_path, extra=""):
    """Frames: 10 good ones, 5 replays 40 s apart, a bad ICV, then packets that site 1 itself does not know."""
    o = office(tmp_path, extra=extra)
    o.seal("--export-sas", o / "s.json")
    order = [0, 1, 4, 5, 6, 0, 0, 0, 0, 0, 7]
    rewrite(o / "wire.pcapng", o / "noisy.pcap", order, spoil=(10,), gap=40 * 10**9)
    return o


def test_replays_are_logged_as_the_platform_does(tmp_path):
    o = noisy(tmp_path)
    said = qfp("run", o.b, o / "noisy.pcap", "--in", OUT, "--log", "-")
    lines = [line for line in said.out.splitlines() if line.startswith("*")]
    replay = [line for line in lines if "PKT_REPLAY_ERR" in line]
    # replays at 200, 240, … 360 s: one a minute and SA passes at 200, 280, 360
    assert replay == [
        f"*Nov 14 22:{m:02d}:{s:02d}.000: %CRYPTO-4-PKT_REPLAY_ERR: decrypt: replay check failed connection id=2002"
        for m, s in ((16, 40), (18, 0), (19, 20))
    ]
    assert "src_addr 203.0.113.1, dest_addr 203.0.113.2, SPI 0x" in lines[1] and "%IPSEC-3-REPLAY_ERROR" in lines[1]
    assert "%IOSXE-3-PLATFORM: R0/0: cpp_cp: QFP:0.0 Thread:" in lines[1]
    assert "seq_no=1" in lines[2] and "sns_idx 0" in lines[2]
    assert any("RECVD_PKT_MAC_ERR: decrypt: mac verify failed" in line and "seqno=00000006" in line for line in lines)
    assert any("%IPSEC-3-HMAC_ERROR: IPSec SA receives HMAC error, DP Handle 1, " in line for line in lines)
    assert "5 replay (2 not logged)" in said.out


def test_totals_are_kept_and_json_stays_alone_on_stdout(tmp_path):
    o = noisy(tmp_path)
    said = qfp("run", o.b, o / "noisy.pcap", "--in", OUT, "--log", "-", "--json")
    assert said.json["log"]["packets"]["replay"] == 5 and said.json["log"]["suppressed"]["replay"] == 2
    assert "PKT_REPLAY_ERR" in said.err


def test_arlog_suppress_silences_replays_alone(tmp_path):
    o = noisy(tmp_path, extra="platform ipsec arlog-supress\n")
    facts = qfp("run", o.b, o / "noisy.pcap", "--in", OUT, "--log", o / "log", "--json").json
    text = (o / "log").read_text()
    assert "REPLAY" not in text and "anti-replay" not in text and "MAC_ERR" in text
    assert facts["log"]["packets"]["replay"] == 5 and facts["log"]["suppressed"]["replay"] == 5


@pytest.mark.req("SPI-1")
def test_an_invalid_spi_names_the_packets_own_addresses(tmp_path):
    o = noisy(tmp_path)
    rewrite(o / "wire.pcapng", o / "forged.pcap", [0, 1, 3, 4], gap=25 * 10**9)
    said = qfp("run", o.b, o / "forged.pcap", "--in", OUT, "--seed", 9, "--log", "-")
    lines = [line for line in said.out.splitlines() if line.startswith("*")]
    assert [line[8:20] for line in lines] == ["22:13:20.000", "22:14:35.000"]  # of 0, 25, 50, 75 s
    for line in lines:
        assert ": rec'd IPSEC packet has invalid spi for destaddr=203.0.113.2, prot=50, spi=0x" in line
        assert line.endswith(", srcaddr=203.0.113.1")


def test_decrypt_logs_as_well(tmp_path):
    o = noisy(tmp_path)
    said = qfp("decrypt", o / "noisy.pcap", "--keys", o / "s.json", "--log", o / "log")
    assert said.status == 0 and (o / "log").read_text().count("PKT_REPLAY_ERR") == 3


def test_a_key_file_without_addresses_takes_those_of_the_packet(tmp_path):
    o = noisy(tmp_path)
    text = (o / "s.json").read_text().replace('"203.0.113.1"', '"*"').replace('"203.0.113.2"', '"*"')
    (o / "open.json").write_text(text)
    qfp("decrypt", o / "noisy.pcap", "--keys", o / "open.json", "--log", o / "log")
    assert "src_addr 203.0.113.1, dest_addr 203.0.113.2" in (o / "log").read_text()


def columns(ts, cause, sa):
    n = len(ts)
    return {"ts": np.array(ts, np.int64), "cause": np.array(cause, np.uint8), "sa": np.array(sa, np.int32),
            "frame": np.arange(n), "spi": np.zeros(n, np.uint32), "seq": np.zeros(n, np.uint64),
            "sns": np.zeros(n, np.uint8)}  # fmt: skip


def test_limits_do_not_depend_on_how_columns_are_cut():
    from cli_help import config

    tables = Router.loads(config(1)).tables
    rng = np.random.default_rng(1)
    ts = START + rng.integers(0, 600, 500) * 10**9
    cause = rng.choice([0, int(Drop.REPLAY), int(Drop.NO_SA), int(Drop.INTEGRITY)], 500)
    whole = columns(ts, cause, rng.integers(0, 2, 500))
    seen = []
    for size in (500, 1, 7, 64):
        log = PacketLog(tables)
        for at in range(0, 500, size):
            log.add({name: column[at : at + size] for name, column in whole.items()})
        seen.append([(e.kind.name, e.frame) for e in log.events])
        assert sum(log.totals.values()) == int((cause > 0).sum())
        assert sum(log.suppressed().values()) == sum(log.totals.values()) - len(log.events)
    assert all(each == seen[0] for each in seen)
    due = -1
    for kind, frame in seen[0]:
        if kind == "invalid spi":
            assert ts[frame] >= due
            due = ts[frame] + INTERVAL_INVALID_SPI


def test_hostile_times_are_stamped_all_the_same():
    assert timestamp(-1).startswith("*Dec 31 23:59:59.999")
    assert timestamp(2**63 - 1).startswith("*Apr 11 23:47:16.854")
    assert timestamp(86400 * 10**9 * 1) == "*Jan  2 00:00:00.000"
