"""ns a packet of scapy's ESP with AES-GCM-128: `peer_scapy.py SIZE ROUNDS` prints samples by direction as JSON."""

import json
import logging
import sys
import time

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.ipsec import ESP, SecurityAssociation  # noqa: E402

PACKETS = 40


def main(size: int, rounds: int) -> None:
    """Encrypt and decrypt packets of `size` IP bytes."""
    tunnel = IP(src="198.51.100.1", dst="198.18.0.0")
    sa = SecurityAssociation(ESP, spi=0x1000, crypt_algo="AES-GCM", crypt_key=bytes(20), tunnel_header=tunnel)
    packet = IP(src="10.1.0.0", dst="10.2.0.0") / UDP(sport=1024, dport=40000) / bytes(size - 28)
    packet = IP(bytes(packet))
    samples: dict[str, list[float]] = {"encrypt": [], "decrypt": []}
    for _ in range(rounds):
        start = time.perf_counter_ns()
        sealed = [IP(bytes(sa.encrypt(packet))) for _ in range(PACKETS)]
        middle = time.perf_counter_ns()
        opened = [sa.decrypt(s) for s in sealed]
        end = time.perf_counter_ns()
        if any(bytes(p[UDP]) != bytes(packet[UDP]) for p in opened):
            raise SystemExit("scapy does not open what it sealed")
        samples["encrypt"].append((middle - start) / PACKETS)
        samples["decrypt"].append((end - middle) / PACKETS)
    print(json.dumps(samples))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
