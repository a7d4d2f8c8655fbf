"""A lab of two routers: encryption, a link, decryption; one thread, and two."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from qfp.batch import Batch
from qfp.bench import traffic
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM
from qfp.bench.track import BenchError
from qfp.lab import Lab
from qfp.trace import write_trace

SIZE = 1420
GAP = 1000  # ns between packets: with a link of 5 ms, 5000 packets a round
WORK = "lab: encryption, link, decryption"
SITE = """crypto isakmp policy 1
crypto ipsec transform-set T esp-gcm
crypto map M 10 ipsec-isakmp
 set peer 192.0.2.{far}
 set transform-set T
 match address A
interface GigabitEthernet0/0/0
 ip address 192.0.2.{n} 255.255.255.0
 crypto map M
interface GigabitEthernet0/0/1
 ip address 10.{n}.255.1 255.255.0.0
ip route 10.{far}.0.0 255.255.0.0 192.0.2.{far}
ip access-list extended A
 permit ip 10.{n}.0.0 0.0.255.255 10.{far}.0.0 0.0.255.255
"""
FILE = """[routers.a]
config = "a.cfg"
[routers.b]
config = "b.cfg"
[[links]]
ends = ["a gi0/0/0", "b gi0/0/0"]
delay = "5 ms"
[[inject]]
trace = "in.pcap"
at = "a gi0/0/1"
"""


def lab_cases(folder: Path, packets: int) -> Iterator[Case]:
    """Each sample runs a lab once; setting it up is not counted."""
    for name, n, far in (("a", 1, 2), ("b", 2, 1)):
        (folder / f"{name}.cfg").write_text(SITE.format(n=n, far=far))
    few = traffic.load(SIZE, traffic.resident(SIZE), 16)
    again = np.arange(packets) % len(few)
    columns = {name: column[again] for name, column in few.columns.items()}
    write_trace(folder / "in.pcap", Batch(few.arena, {**columns, "ts": np.arange(packets) * GAP}))
    (folder / "lab.toml").write_text(FILE)
    label = Label("", transform=GCM, size=SIZE, sas=1)
    for threads in (1, 2):

        def sample(threads: int = threads) -> dict[str, float]:
            lab = Lab.load(folder / "lab.toml", threads=threads)
            begun = time.perf_counter_ns()
            outcome = lab.run()
            ns = time.perf_counter_ns() - begun
            lab.close()
            if outcome.facts["journeys"][0]["delivered"] != packets:
                raise BenchError("lab: packets are missing")
            return {WORK: ns / packets}

        yield Case(replace(label, threads=threads), sample, SIZE)
