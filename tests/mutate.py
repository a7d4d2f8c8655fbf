"""Child of test_mutated_files: `mutate.py TYPE COUNT FOLDER` runs mutated files through commands, in this process."""

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from cli_help import config, qfp
from packets import ip4, udp
from test_keyfile_dumps import FILES

from qfp.batch import Batch
from qfp.control.export import exported
from qfp.router import Router
from qfp.trace import write_trace
from qfp.trace.keyfile import write_esp_sa, write_sas

XFRM = """src 203.0.113.1 dst 203.0.113.2
 proto esp spi 0x00001000 reqid 1 mode tunnel
 replay-window 64 flag af-unspec esn
 auth-trunc hmac(sha1) 0x000102030405060708090a0b0c0d0e0f10111213 96
 enc cbc(aes) 0x00112233445566778899aabbccddeeff
 anti-replay esn context:
  seq-hi 0x0, seq 0x1, oseq-hi 0x0, oseq 0x5
  replay_window 64, bitmap-length 2
  00000000 00000001
 sel src 10.1.0.0/16 dst 10.2.0.0/16 proto udp
"""
DUMPS = {name: text for name, text in FILES.items() if name not in ("xfrm", "esp_sa")} | {"wildcards": FILES["esp_sa"]}
KEY_FILES = ("json", "esp_sa", "xfrm", *DUMPS)
WORDS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0", b"\0" * 8, b"\xff" * 8]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or replaced by numbers that are good at overflowing; or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(max(1, min(len(out), rng.choice([64, 512, len(out) or 1]))))
        way = rng.randrange(6)
        if way == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif way == 1:
            word = rng.choice(WORDS)
            out[at : at + len(word)] = word
        elif way == 2:
            del out[at : at + rng.choice([1, 4, 100])]
        elif way == 3:
            out[at:at] = out[at : at + rng.choice([1, 4, 100])]
        elif way == 4:
            del out[at:]
        elif out:
            at = at % len(out)
            out[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3 and len(out) > 64:  # tables keep what matters at their end
        at = len(out) - rng.randrange(1, min(len(out), 700))
        out[at : at + 4] = rng.choice(WORDS)[:4]
    return bytes(out)


def main(kind: str, count: int, folder: Path) -> None:
    router = Router.loads(config(1, "esp-aes esp-sha-hmac"))
    frames = [ip4("10.1.0.5", "10.2.0.7", udp(1, k, b"x" * (k * 7 % 300))) for k in range(60)]
    clear = Batch.from_frames(frames, ts=np.arange(60) * 1000, interfaces=["a"])
    sent = router.forward(clear, "gi0/0/1").packets
    (folder / "a.cfg").write_text(config(1))
    write_trace(folder / "wire.pcap", sent)
    path, keys = folder / f"t.{kind}", folder / "keys.json"
    write_sas(keys, exported(router.plane))
    if kind == "json":
        write_sas(path, exported(router.plane))
    elif kind == "esp_sa":
        write_esp_sa(path, exported(router.plane))
    elif kind == "xfrm":
        path.write_text(XFRM)
    elif kind in DUMPS:
        path.write_text(DUMPS[kind])
    else:
        write_trace(path, clear)
    data, rng, seen = path.read_bytes(), random.Random(kind), Counter[int]()
    for k in range(count):
        path.write_bytes(mutated(data, rng))
        if kind in KEY_FILES:
            done = qfp("decrypt", folder / "wire.pcap", "--keys", path, "--json")
            allowed = {0, 2}
        else:
            ways = (("run", folder / "a.cfg", path, "--in", "gi0/0/1", "--json"),
                    ("convert", path, folder / "o.pcapng"),
                    ("decrypt", path, "--keys", keys, "--json"), ("convert", path, folder / "o.parquet"),
                    ("explain", path, "--keys", keys, "--frame", "3"), ("replay-lab", path))  # fmt: skip
            done, allowed = qfp(*ways[k % len(ways)]), {0, 2, 3}
        assert done.status in allowed and "Traceback" not in done.err, (k, done.status, done.out, done.err)
        seen[done.status] += 1
        if k % 100 == 99:
            print(k + 1, dict(seen), flush=True)
    print(f"{count} mutations: {dict(seen)}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
