"""The modelled device and its release (AR-11), from the command line, in labs and from Python: a line that the device
does not have costs itself and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from cli_help import qfp
from packets import ip4, udp

from qfp.batch import Batch
from qfp.config import ConfigError, load, loads, render
from qfp.config.platforms import MULTI_SN_SINCE, release_of
from qfp.lab import Lab
from qfp.lab.errors import LabError
from qfp.router import Router
from qfp.trace import write_trace

pytestmark = pytest.mark.req("AR-11")
CONFIG = """hostname A
crypto ipsec security-association multi-sn
crypto ipsec transform-set T esp-gcm
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.2
 set transform-set T
 match address L
interface GigabitEthernet0
 ip address 192.0.2.1 255.255.255.0
 crypto map M
interface GigabitEthernet1
 ip address 10.1.0.1 255.255.0.0
ip route 10.2.0.0 255.255.0.0 192.0.2.2
ip access-list extended L
 permit ip 10.1.0.0 0.0.255.255 10.2.0.0 0.0.255.255
"""
# platform, release, whether it has several sequence-number spaces: the guide's feature information
DEVICES = [
    ("csr1000v", None, True), ("csr1000v", "16.6.1", True), ("csr1000v", "16.5", False), ("isr4200", "16.6.4", False),
    ("isr4200", "16.7.1", True), ("isr4300", None, False), ("isr4300", "16.7", True), ("ISR4300", "16.9", True),
    ("isr4300", "17.3.4a", True), ("isr4400", "16.6.1", False), ("isr4400", "17.9", False),
    ("asr1000", "16.7.3", False), ("asr1000", "16.08.01", True), (None, None, True),
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    config, trace = tmp_path / "a.cfg", tmp_path / "in.pcap"
    config.write_text(CONFIG)
    write_trace(trace, Batch.from_frames([ip4("10.1.0.9", "10.2.0.9", udp(1, 2))]))
    return config, trace


def options(platform: str | None, release: str | None) -> list[str]:
    return [*(["--platform", platform] if platform else []), *(["--release", release] if release else [])]


@pytest.mark.parametrize(("platform", "release", "there"), DEVICES)
def test_a_refused_line_costs_itself(files: Any, platform: str | None, release: str | None, there: bool) -> None:
    config, trace = files
    checked = qfp("check", config, *options(platform, release), "--json").json
    ran = qfp("run", config, trace, "--in", "gi1", *options(platform, release), "--json").json
    assert checked["issues"] == ran["issues"] and (checked["status"], ran["status"]) == (0, 0)
    assert [line["verdict"] for line in checked["lines"] if line["line"] == 2] == ["applied" if there else "warning"]
    assert [(i["line"], i["severity"]) for i in checked["issues"]] == ([] if there else [(2, "warning")])
    assert ran["verdicts"] == {"forwarded": 1}
    router = Router.load(config, model=platform, release=release)
    assert router.config.ipsec.multi_sn is there
    assert (int(router.tables.t.sa_out["sns_at"][router.sadb.pairs[0].outbound[0]]) >= 0) is there


def test_every_command_that_reads_a_configuration_takes_them(files: Any, tmp_path: Path) -> None:
    config, trace = files
    lab = tmp_path / "lab.toml"
    lab.write_text('[routers.a]\nconfig = "a.cfg"\n[[inject]]\ntrace = "in.pcap"\nat = "a gi1"\n')
    for command in (
        ["check", config], ["run", config, trace, "--in", "gi1"],
        ["explain", config, trace, "--in", "gi1", "--frame", 0],
        ["mtu", config, "--sizes", "100-110"], ["lab", lab],
    ):  # fmt: skip
        said = qfp(*command, "--platform", "isr4400")
        assert said.status == 0 and "isr4400 with release 16.6.1 refuses 'security-association multi-sn'" in said.err
        assert "no release has it there" in said.err
        assert "refuses" not in qfp(*command, "--platform", "isr4300", "--release", "16.9").err
        for wrong, known in (
            (["--platform", "toaster"], "csr1000v, isr4200, isr4300, isr4400, asr1000"),
            (["--platform", "isr4300", "--release", "9"], "16.1 to 16.12, 17.1 to 17.18"),
            (["--platform", "isr4300", "--release", "16.13"], "16.1 to 16.12"),
            (["--release", "16.9"], "needs a platform"),
        ):
            said = qfp(*command, *wrong)
            assert said.status == 2 and known in said.err and "Traceback" not in said.err, (command, wrong)


def test_routers_of_a_lab_may_differ(files: Any, tmp_path: Path) -> None:
    """What the lab file says of a router goes before the command line; an engine's `platform` is another thing."""
    text = """[routers.a]
config = "a.cfg"
{a}
[routers.b]
config = "a.cfg"
[routers.a.engine]
platform = "engine.toml"
[[inject]]
trace = "in.pcap"
at = "a gi1"
"""
    (tmp_path / "engine.toml").write_text('rate = "1 G"\n')
    lab = tmp_path / "lab.toml"
    lab.write_text(text.format(a='platform = "isr4300"\nrelease = "16.9"'))
    told = qfp("lab", lab, "--platform", "isr4400").err
    assert "b: " in told and "a: " not in told.replace(str(tmp_path), "")
    for wrong in ('platform = "toaster"', 'platform = "isr4300"\nrelease = "x"', 'release = "16.9"'):
        lab.write_text(text.format(a=wrong))
        with pytest.raises(LabError, match="known"):
            Lab.load(lab)
        assert qfp("lab", lab).status == 2


def test_from_python() -> None:
    for read in (loads, lambda text, **device: Router.loads(text, **device).config):
        assert read(CONFIG, model="isr4300", release="16.9").platform.release == (16, 9, 1)
        with pytest.raises(ConfigError, match=r"platform 'toaster' is not known.*csr1000v"):
            read(CONFIG, model="toaster")
        with pytest.raises(ConfigError, match=r"release 'x' is not known \(known: 16\.1 to 16\.12"):
            read(CONFIG, model="isr4300", release="x")
    assert set(MULTI_SN_SINCE) == {"csr1000v", "isr4200", "isr4300", "isr4400", "asr1000"}


def test_a_configuration_that_was_refused_a_line_prints_without_it(files: Any) -> None:
    cfg = load(files[0], model="isr4400")
    assert "multi-sn" not in render(cfg) and loads(render(cfg), model="isr4400") == cfg


@pytest.mark.parametrize(
    ("text", "release"),
    [("16.9", (16, 9, 1)), ("16.06.01", (16, 6, 1)), (" 17.3.4a", (17, 3, 4)), ("17.18.2", (17, 18, 2))],
)
def test_releases_as_people_write_them(text: str, release: tuple[int, int, int]) -> None:
    assert release_of(text) == release


@pytest.mark.parametrize(
    "text", ["", "16", "16.", "16.13", "16.0", "15.5.3", "18.1", "16.9.1.2", "16.9.x", "a.b", "1" * 50]
)
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        release_of(text)
