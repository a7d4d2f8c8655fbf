"""The same crypto work by others, in the same run: `openssl speed`, `cryptography` and hashlib, one call a packet."""

import hmac
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM

CALLS = 2000
SIZES = (64, 1420)
CBC = "aes-cbc-128"
ENCRYPT = "encrypt"


def openssl_version() -> str | None:
    """`openssl 3.0.19`, or None without the program."""
    program = shutil.which("openssl")
    if program is None:
        return None
    text = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"OpenSSL (\S+)", text)
    return f"openssl {found[1]}" if found else None


def openssl_speed(algorithm: str, size: int) -> float:
    """ns a call of `openssl speed -evp`, measured by it for one second. Raises ValueError for unreadable output."""
    command = ["openssl", "speed", "-mr", "-evp", algorithm, "-bytes", str(size), "-seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"^\+F:\d+:[^:]+:([0-9.]+)", done.stdout, re.MULTILINE)
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"`{' '.join(command)}` printed no speed")
    return size * 1e9 / float(found[1])


def openssl_cases(sizes: tuple[int, ...] = SIZES, cbc_size: int = 8192) -> Iterator[Case]:
    """openssl's GCM by size, and its CBC encryption, whose chain of rounds follows the clock alone."""
    name = openssl_version()
    if name is None:
        return
    jobs = [("aes-128-gcm", GCM, size) for size in sizes] + ([("aes-128-cbc", CBC, cbc_size)] if cbc_size else [])
    for algorithm, transform, size in jobs:

        def sample(algorithm: str = algorithm, size: int = size) -> dict[str, float]:
            return {"peer: openssl speed": openssl_speed(algorithm, size)}

        yield Case(Label("", ENCRYPT, transform, size, 1, engine=name), sample, size)


def _calls(work: str, call: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return {work: (time.perf_counter_ns() - start) / CALLS}


def library_cases(sizes: tuple[int, ...] = SIZES) -> Iterator[Case]:
    """`cryptography` AES-GCM and the interpreter's HMAC-SHA-256, one call a packet."""
    name = f"cryptography {version('cryptography')}"
    gcm, nonce, header, key = AESGCM(bytes(16)), bytes(12), bytes(8), bytes(32)
    for size in sizes:
        packet = bytes(size)
        if gcm.decrypt(nonce, gcm.encrypt(nonce, packet, header), header) != packet:
            raise ValueError("cryptography does not open what it sealed")
        seal = partial(gcm.encrypt, nonce, packet, header)
        mac = partial(hmac.digest, key, packet, "sha256")
        for transform, engine, call in ((GCM, name, seal), ("hmac-sha256-128", "hashlib", mac)):
            label = Label("", ENCRYPT, transform, size, 1, engine=engine)
            yield Case(label, partial(_calls, "peer: one call a packet", call), size)
