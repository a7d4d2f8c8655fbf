"""What a file is that was given where another was meant: keys or a capture for a configuration, and so on.

Only the first bytes decide, and nothing of them is ever part of an answer.
"""

from __future__ import annotations

import re

HEAD = 1 << 16  # bytes that are enough
_MAGIC = (
    (b"\x0a\x0d\x0d\x0a", "a pcapng capture"), (b"\xd4\xc3\xb2\xa1", "a pcap capture"),
    (b"\xa1\xb2\xc3\xd4", "a pcap capture"), (b"\x4d\x3c\xb2\xa1", "a pcap capture"),
    (b"\xa1\xb2\x3c\x4d", "a pcap capture"), (b"\x34\xcd\xb2\xa1", "a pcap capture"),
    (b"\xa1\xb2\xcd\x34", "a pcap capture"), (b"\x1f\x8b", "gzip data"), (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"PAR1", "a Parquet file"), (b"ARROW1", "an Arrow file"), (b"PK\x03\x04", "a zip archive"), (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"), (b"\x7fELF", "a program"),
)  # fmt: skip
_HEX = rb"0x[0-9A-Fa-f]{8,}"
# (expression, what it is): searched in the text's lines; comments before the first line do not matter
_SECRETS = (
    (rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY", "a private key"),
    (rb"^-----BEGIN [A-Z0-9 ]*-----", "a certificate or key in PEM"),
    (rb"^PuTTY-User-Key-File", "a private key"),
    (rb"^(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+) AAAA", "an SSH key"),
    (rb'^\s*"?(?:IPv4|IPv6|\*)"?\s*,', "a key file (Wireshark's esp_sa)"),
    (rb"^\s*src \S+ dst \S+", "a key file (ip xfrm state)"),
    (rb"^\s*(?:proto (?:esp|ah)|comp) spi ", "a key file (ip xfrm state)"),
    (rb"^\s*(?:auth(?:-trunc)?|enc|aead) \S+ " + _HEX, "a key file (ip xfrm state)"),
    (rb"^\s*(?:ip(?: -\S+)* xfrm|ip xfrm) state ", "a script of ip xfrm commands"),
    (rb"^\s*add (?:-\S+ )*\S+ \S+ (?:esp|ah|ipcomp)(?:-\S+)? ", "a key file (setkey)"),
    (rb"^\s*(?:esp|ah|esp-udp|ipcomp) mode=\w+ spi=\d", "a key file (setkey -D)"),
    (rb"^\s*(?:0x[0-9A-Fa-f]+|\d+)@[0-9A-Fa-f.:]+\s+[\w-]+:\S", "a key file (tcpdump -E)"),
    (rb"^\s*esp (?:tunnel|transport) from \S+ to \S+ spi 0x", "a key file (ipsecctl)"),
    (rb"(?:encryption|integrity) (?:initiator|responder) key => ", "a log of strongSwan with keys"),
    (rb"^.*(?:our  keymat|KEYMAT computed)", "a log of Libreswan with keys"),
    (rb"^\s*(?:local\s+crypto endpt|current outbound spi)\b", "the output of show crypto ipsec sa, which has no keys"),
    (rb"^.*(?:INSTALLED, (?:TUNNEL|TRANSPORT)|Security Associations \(\d+ up)", "a status of strongSwan, without keys"),
    (rb"^000 (?:#\d+: |\"|using kernel)", "a status of Libreswan, without keys"),
    (rb"^006 #\d+: ", "a traffic status of Libreswan, without keys"),
    (rb"^\s*\[\d+\] sa \d+ .*spi ", "the output of VPP's show ipsec sa"),
    (rb"^.*\bSPI=0x\S+ .*(?:auth|enc)-key=|^.*\bspi=0x\S+ src-address=", "the output of RouterOS's installed-sa"),
    (rb"^[^#\n]*:\s*(?:PSK|RSA|ECDSA|EAP|XAUTH|PIN|NTLM|PKCS8|PKCS12|P12)\b", "a file of secrets (ipsec.secrets)"),
    (rb"^\s*(?:connections|secrets|pools|authorities)\s*\{", "a file of strongSwan (swanctl.conf)"),
    (rb"^\s*(?:conn|config|ca) \S+\s*\n\s+\w+\s*=", "a file of strongSwan or Libreswan (ipsec.conf)"),
    (rb'^\s*"?[0-9A-Fa-f]{16}"?\s*,\s*"?[0-9A-Fa-f]{16,}', "a key file (Wireshark's IKE decryption table)"),
    (rb"^(?:CLIENT_RANDOM|CLIENT_\w+_SECRET|SERVER_\w+_SECRET|EXPORTER_SECRET|RSA) [0-9a-fA-F]", "a TLS key log"),
    (rb"^\[Interface\]\s*$", "a file of WireGuard"),
)  # fmt: skip
_JSON_KEYS = re.compile(rb'"(?:sas|spi|encr_key|integ_key|salt)"\s*:')
_COMPILED = [(re.compile(expression, re.MULTILINE), what) for expression, what in _SECRETS]
# A configuration has these among its first lines, whatever it may quote in a banner or description
_CONFIGURATION = re.compile(
    rb"^(?:!|hostname |interface \S|crypto (?:isakmp|ipsec|map|ikev2|dynamic-map|keyring) |access-list \d|version \d|"
    rb"ip route )",
    re.MULTILINE,
)


def container(data: bytes) -> str:
    """What the magic number of a file says that it is; empty when it has none."""
    return next((what for magic, what in _MAGIC if data.startswith(magic)), "")


def binary(data: bytes) -> str:
    """What the first bytes of a file that is no text show that it is; empty for text."""
    return container(data) or ("a binary file" if b"\0" in data[:HEAD] else "")


def foreign(data: bytes) -> str:
    """What the first bytes of a file given as a configuration show that it is instead; empty when nothing does."""
    what = container(data)
    if what:
        return what
    head = data.removeprefix(b"\xef\xbb\xbf")[:HEAD].replace(b"\r", b"")
    if head.lstrip()[:1] in (b"{", b"["):
        return "a key file (JSON)" if _JSON_KEYS.search(head) else "a JSON file" if head.lstrip()[:1] == b"{" else ""
    if b"\0" in data[:HEAD]:
        return "a binary file"
    if _CONFIGURATION.search(head):
        return ""
    return next((what for expression, what in _COMPILED if expression.search(head)), "")


def is_configuration(data: bytes) -> bool:
    """Whether a file given for something else looks like a configuration."""
    return b"\0" not in data[:HEAD] and bool(_CONFIGURATION.search(data[:HEAD].replace(b"\r", b"")))
