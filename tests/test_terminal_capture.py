"""Captures of a session, and sections that are kept: what is configuration in them, and what belongs where."""

import pytest

from qfp.config import Configuration, loads, render

PLAIN = """version 15.2
hostname R1
interface GigabitEthernet0/0
 ip address 10.0.0.1 255.255.255.0
 no shutdown
ip route 0.0.0.0 0.0.0.0 10.0.0.2
end
"""


def again(text: str) -> Configuration:
    cfg = loads(text)
    assert loads(render(cfg, show_keys=True)) == cfg
    return cfg


def warned(text: str) -> list[str]:
    return [str(issue) for issue in loads(text).issues if issue.severity != "note"]


BEFORE = [
    "R1#show running-config", "R1#sh run", "R1>", "Building configuration...", "", "Current configuration : 1234 bytes",
    "Load for five secs: 1%/0%; one minute: 1%; five minutes: 1%",
    "Time source is NTP, 12:13:14.123 UTC Mon Mar 1 2021", "Using 1234 out of 524288 bytes",
    "! Last configuration change at 12:13:14 UTC Mon Mar 1 2021 by me", "R1#terminal length 0",
    "*Mar  1 00:00:01.123: %SYS-5-CONFIG_I: Configured from console by console",
    "*12:13:14.123 UTC Mon Mar 1 2021", "*Sep 14 11:16:34.359: GDOI:INFRA:(0): GDOI DB", "show running-config",
    "% Invalid input detected at '^' marker.", "        ^", "site/r-1.lab#show run | no-more",
]  # fmt: skip


@pytest.mark.parametrize("line", BEFORE)
def test_what_a_terminal_prints_before_a_configuration(line: str) -> None:
    assert loads(f"\n{line}\n{PLAIN}") == loads(PLAIN) and not warned(f"\n{line}\n{PLAIN}")


@pytest.mark.parametrize("pager", [
    " --More-- \b\b\b\b\b\b\b\b\b         \b\b\b\b\b\b\b\b\b", "--More--\r        \r", " --More--         ",
    "<--- More --->\r", " --More-- \b\b\b\b\b\b\b\b\b\b",
])  # fmt: skip
def test_pagers(pager: str) -> None:
    paged = PLAIN.replace(" ip address", pager + " ip address").replace("ip route", pager + "ip route")
    assert loads(paged) == loads(PLAIN) and not warned(paged)


def test_log_messages_between_lines() -> None:
    message = "*Mar  1 00:00:01.123: %LINK-3-UPDOWN: Interface Serial0, changed state to up"
    text = PLAIN.replace(" no shut", f"{message}\n no shut")
    assert loads(text) == loads(PLAIN) and not warned(text)


def test_a_session_typed_at_configuration_prompts() -> None:
    typed = """R1#configure terminal
Enter configuration commands, one per line.  End with CNTL/Z.
R1(config)#version 15.2
R1(config)#hostname R1
R1(config)#interface GigabitEthernet0/0
R1(config-if)#ip address 10.0.0.1 255.255.255.0
R1(config-if)#do show ip interface brief
R1(config-if)#no shutdown
R1(config-if)#exit
R1(config)#ip route 0.0.0.0 0.0.0.0 10.0.0.2
R1(config)#end
R1#
"""
    assert loads(typed) == loads(PLAIN) and not warned(typed)


def test_what_follows_end_is_said_once_and_changes_nothing() -> None:
    more = (
        PLAIN
        + """
R1#show crypto ipsec sa
interface: GigabitEthernet0/0
    Crypto map tag: M, local addr 10.0.0.1
   protected vrf: (none)
     in use settings ={Tunnel, }
     replay detection support: Y
     Status: ACTIVE(ACTIVE)
crypo map M 10 ipsec-isakmp
"""
    )
    cfg = loads(more)
    assert cfg == loads(PLAIN)
    (issue,) = cfg.issues
    assert issue.severity == "note" and issue.message.startswith("behind 'end', 7 lines are no commands")
    onward = loads(PLAIN + "configure terminal\ninterface GigabitEthernet0/1\n ip adress 1.1.1.1 255.0.0.0\nipp foo\n")
    assert "GigabitEthernet0/1" in onward.interfaces
    assert [issue.line for issue in onward.issues] == [10, 11], "what is configured again is judged again"
    assert loads(PLAIN + "interface GigabitEthernet0/1\n mtu 1400\n").interfaces["GigabitEthernet0/1"].mtu == 1400


# --- sections that are kept -------------------------------------------------------------------------------------

KEPT = {
    "router bgp": """router bgp 65000
 bgp log-neighbor-changes
 neighbor 10.0.0.2 remote-as 65001
 !
 address-family ipv4
  neighbor 10.0.0.2 activate
  exit-address-family
 !
 address-family vpnv4
  neighbor 10.0.0.2 send-community extended
 exit-address-family
 !
 address-family ipv4 vrf X
  redistribute connected
 exit-address-family
""",
    "router eigrp": """router eigrp NAMED
 !
 address-family ipv4 unicast autonomous-system 1
  !
  af-interface default
   passive-interface
  exit-af-interface
  !
  topology base
   redistribute static
  exit-af-topology
  network 10.0.0.0
  eigrp router-id 1.1.1.1
 exit-address-family
""",
    "not indented": """router bgp 65000
neighbor 10.0.0.2 remote-as 65001
address-family ipv4
neighbor 10.0.0.2 activate
exit
network 10.0.0.0
exit
""",
    "dhcp pool": "ip dhcp pool LAN\n network 10.0.0.0 255.255.255.0\n default-router 10.0.0.1\n lease 2 12 30\n",
    "ip sla": "ip sla 1\n icmp-echo 10.0.0.2 source-ip 10.0.0.1\n  frequency 10\nip sla schedule 1 life forever\n",
    "certificates": """crypto pki certificate chain TP
 certificate self-signed 01
  3082032A 30820212 A0030201 02020101 300D0609
  2A864886 F70D0101 05050030
  \tquit
 certificate ca 02
  30820212 A0030201
  quit
""",
    "event manager": """event manager applet A
 event timer watchdog time 60
 action 1.0 cli command "enable"
 action 2.0 cli command "configure terminal"
 action 3.0 cli command "interface gi0/0"
""",
    "line": "line vty 0 4\n exec-timeout 0 0\n privilege level 15\n absolute-timeout 5\n no vacant-message\n",
    "service instance": """interface GigabitEthernet0/2
 no ip address
 service instance 10 ethernet
  encapsulation dot1q 10
  rewrite ingress tag pop 1 symmetric
  bridge-domain 10
""",
    "flow": "flow record F\n match ipv4 source address\nflow monitor M\n record F\n cache entries 9\n",
    "key chain": "key chain K\n key 1\n  key-string 7 0822455D0A16\n   accept-lifetime 00:00:00 Jan 1 2000 infinite\n",
    "redundancy": "redundancy\n mode sso\n application redundancy\n  group 1\n   name G\n",
    "defaults of releases": """mmi polling-interval 60
no mmi auto-configure
no mmi pvc
mmi snmp-timeout 180
ipv6 ioam timestamp
ip bgp-community new-format
subscriber templating
memory free low-watermark processor 69016
memory-size iomem 5
diagnostic bootup level minimal
spanning-tree extend system-id
license udi pid CSR1000V sn 9FZTC4RQPJZ
multilink bundle-name authenticated
no network-clock-participate slot 1
""",
    "other class maps": """class-map type control match-all C
 match start
policy-map type control P
 class type control C event session-start
  1 authenticate
class-map type stack match-all S
 match field IP protocol eq 6 next TCP
""",
    "kept below an interface": """interface Serial0/0
 clns route-cache
 encapsulation frame-relay
 frame-relay interface-dlci 100
  class SHAPE
""",
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
def test_children_of_kept_sections_are_kept(kind: str) -> None:
    text = KEPT[kind] + "interface GigabitEthernet0/9\n mtu 1400\n"
    cfg = again(text)
    assert not [str(issue) for issue in cfg.issues if "unknown" in issue.message or issue.severity == "error"]
    assert cfg.interfaces["GigabitEthernet0/9"].mtu == 1400, "the next section is its own"
    shown = render(cfg, show_keys=True)
    for line in KEPT[kind].splitlines():
        words = line.split()
        if words and words[0] not in ("!", "exit", "quit"):
            assert " ".join(words) in " ".join(shown.split()), line


def test_a_vlan_of_a_service_instance_is_not_the_interfaces() -> None:
    assert again(KEPT["service instance"]).interfaces["GigabitEthernet0/2"].vlan is None


@pytest.mark.parametrize("text", [
    "banner motd ^C\n{}\n^C\n", "banner login #\n{}\n#\n", "banner exec ^Chello\n{}\nbye ^C\n",
    'banner incoming "\n{}\n"\n', "aaa authentication banner ^C\n{}\n^C\n", "macro name M\n{}\n@\n",
    "line con 0\n vacant-message ^C\n{}\n^C\n login\n", "banner motd \x03\n{}\n\x03\n",
])  # fmt: skip
def test_texts_between_delimiters_are_not_commands(text: str) -> None:
    cfg = again(text.format("interface GigabitEthernet0/7\n ip address 1.1.1.1 255.0.0.0\nnonsense") + "hostname H\n")
    assert cfg.hostname == "H" and not cfg.interfaces and not cfg.issues


def test_a_misspelt_line_is_still_found() -> None:
    text = "service timestamps log\ninterface GigabitEthernet0/0\n ip adress 1.1.1.1 255.0.0.0\n duplex full\n"
    cfg = loads(text + "iip route 0.0.0.0 0.0.0.0 1.1.1.2\n")
    assert [issue.line for issue in cfg.issues] == [3, 5] and all("unknown" in each.message for each in cfg.issues)


def test_exit_address_family_leaves_a_vrfs_family_alone() -> None:
    cfg = again("vrf definition X\n rd 1:1\n !\n address-family ipv4\n exit-address-family\n !\n address-family ipv6\n"
                " exit-address-family\n description here\n")  # fmt: skip
    assert cfg.vrfs["X"].families == [4, 6] and cfg.vrfs["X"].kept == ["description here"]
