"""The other side of `qfp diff`: scapy's IPsec layer as a program that answers JSON lines.

A program of its own, run by file name and never imported: scapy is GPL-2, the package is not. It reads one request a
line from standard input and writes one answer a line:

    {"sa": {…}, "jobs": [{"do": "seal", "packet": hex, "seq": n, "iv": hex, "outer": {…}}, {"do": "open", …}]}
    {"results": [{"packet": hex} | {"error": text}, …]}

The first line that it writes says {"scapy": version}, or {"missing": module} when scapy is not installed.
"""

import json
import sys
from importlib import import_module
from typing import Any

CIPHERS = {
    "null": "NULL", "des-cbc": "DES", "3des-cbc": "3DES", "aes-cbc": "AES-CBC", "aes-ctr": "AES-CTR",
    "aes-gcm": "AES-GCM", "aes-gmac": "AES-NULL-GMAC", "aes-ccm": "AES-CCM",
    "chacha20-poly1305": "CHACHA20-POLY1305",
}  # fmt: skip
INTEGRITIES = {
    "none": "NULL", "hmac-md5-96": "HMAC-MD5-96", "hmac-sha1-96": "HMAC-SHA1-96", "hmac-sha256-128": "SHA2-256-128",
    "hmac-sha384-192": "SHA2-384-192", "hmac-sha512-256": "SHA2-512-256", "aes-cmac-96": "AES-CMAC-96",
}  # fmt: skip
AEAD = ("aes-gcm", "aes-gmac", "aes-ccm", "chacha20-poly1305")


class Scapy:
    """The few names of scapy that are used. Raises ImportError."""

    def __init__(self) -> None:
        self.version = str(import_module("scapy").VERSION)
        self.IP = import_module("scapy.layers.inet").IP
        self.UDP = import_module("scapy.layers.inet").UDP
        self.IPv6 = import_module("scapy.layers.inet6").IPv6
        self.ipsec = import_module("scapy.layers.ipsec")


def parse(scapy: Scapy, packet: str) -> Any:
    """A packet from its hex."""
    data = bytes.fromhex(packet)
    return (scapy.IP if data[0] >> 4 == 4 else scapy.IPv6)(data)


def outer_header(scapy: Scapy, outer: dict[str, Any]) -> Any:
    """The tunnel header that the request asks for."""
    if outer["family"] == 4:
        flags = "DF" if outer["df"] else 0
        return scapy.IP(
            src=outer["src"], dst=outer["dst"], tos=outer["tos"], ttl=outer["hops"], id=outer["id"], flags=flags
        )
    return scapy.IPv6(src=outer["src"], dst=outer["dst"], tc=outer["tos"], hlim=outer["hops"], fl=outer["label"])


def association(scapy: Scapy, sa: dict[str, Any], outer: dict[str, Any] | None, seq: int) -> Any:
    """scapy's SA for one packet. The ESN half is set here: scapy cannot take 0 as an argument of encrypt."""
    esp = sa["proto"] == "esp"
    options: dict[str, Any] = {"auth_algo": INTEGRITIES[sa["integ"]], "auth_key": bytes.fromhex(sa["integ_key"])}
    if esp:
        options["crypt_algo"] = CIPHERS[sa["encr"]]
        options["crypt_key"] = bytes.fromhex(sa["encr_key"] + sa["salt"])
        if sa["encr"] in AEAD:
            options["crypt_icv_size"] = sa["icv_len"]
    if sa["natt"]:
        options["nat_t_header"] = scapy.UDP(sport=sa["natt"][0], dport=sa["natt"][1])
    if outer is not None:
        options["tunnel_header"] = outer_header(scapy, outer)
    proto = scapy.ipsec.ESP if esp else scapy.ipsec.AH
    return scapy.ipsec.SecurityAssociation(
        proto, spi=sa["spi"], seq_num=seq & 0xFFFFFFFF, esn_en=sa["esn"], esn=seq >> 32, **options
    )


def work(scapy: Scapy, sa: dict[str, Any], job: dict[str, Any]) -> dict[str, str]:
    """Do one job."""
    packet = parse(scapy, job["packet"])
    theirs = association(scapy, sa, job.get("outer"), job["seq"])
    if job["do"] == "seal":
        out = theirs.encrypt(packet, iv=bytes.fromhex(job["iv"])) if sa["proto"] == "esp" else theirs.encrypt(packet)
    else:
        out = theirs.decrypt(packet)
    return {"packet": bytes(out).hex()}


def answer(scapy: Scapy, request: dict[str, Any]) -> dict[str, Any]:
    """Do all jobs of a request. What scapy raises is an answer too."""
    results = []
    for job in request["jobs"]:
        try:
            results.append(work(scapy, request["sa"], job))
        except Exception as error:
            results.append({"error": type(error).__name__})
    return {"results": results}


def main() -> int:
    """Answer until standard input ends."""
    try:
        scapy = Scapy()
    except ImportError as error:
        print(json.dumps({"missing": error.name or "scapy"}), flush=True)
        return 2
    print(json.dumps({"scapy": scapy.version}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(scapy, json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
