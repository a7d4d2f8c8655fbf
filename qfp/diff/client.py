"""The oracle as qfp sees it: a child process that answers requests, one line each way."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from qfp.sa import SecurityAssociation

PROGRAM = Path(__file__).with_name("oracle_process.py")
REMEDY = "pip install qfp[diff]"
Job = dict[str, Any]


class OracleError(RuntimeError):
    """The oracle cannot be used; the message says what to do."""


def described(sa: SecurityAssociation) -> dict[str, Any]:
    """An SA as the oracle's requests carry it."""
    return {
        "proto": sa.proto, "spi": sa.spi, "mode": sa.mode, "encr": sa.encr, "encr_key": sa.encr_key.hex(),
        "salt": sa.salt.hex(), "integ": sa.integ, "integ_key": sa.integ_key.hex(), "icv_len": sa.icv_len,
        "esn": sa.esn, "natt": sa.natt,
    }  # fmt: skip


class Oracle:
    """A running oracle; a context manager. Raises OracleError when it cannot be started (scapy missing).

    `version` is that of scapy. `command` replaces the program, for tests.
    """

    def __init__(self, command: list[str] | None = None) -> None:
        # -P: the folder of the program must not come first on the path of a foreign library
        arguments = command or [sys.executable, "-P", str(PROGRAM)]
        try:
            self._child = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            raise OracleError(f"the oracle cannot be started: {error.strerror}") from None
        assert self._child.stdin is not None and self._child.stdout is not None
        self._to: IO[str] = self._child.stdin
        self._from: IO[str] = self._child.stdout
        hello = self._read()
        if "scapy" not in hello:
            self.close()
            raise OracleError(f"the reference library is not installed: no module {hello.get('missing')!r} ({REMEDY})")
        self.version = str(hello["scapy"])

    def _read(self) -> dict[str, Any]:
        line = self._from.readline()
        if not line:
            self.close()
            raise OracleError(f"the oracle ended unexpectedly (exit status {self._child.returncode}); {REMEDY}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def ask(self, sa: SecurityAssociation, jobs: list[Job]) -> list[bytes | str]:
        """Results of the jobs in order: the packet, or the name of what scapy raised. Raises OracleError.

        Jobs: {"do": "seal" | "open", "packet": bytes, "seq": 64-bit number, "iv": bytes, "outer": header or None}.
        """
        lines = [{k: v.hex() if isinstance(v, bytes) else v for k, v in job.items()} for job in jobs]
        with suppress(BrokenPipeError):  # the read below says that it ended
            self._to.write(json.dumps({"sa": described(sa), "jobs": lines}) + "\n")
            self._to.flush()
        results = self._read()["results"]
        return [bytes.fromhex(r["packet"]) if "packet" in r else str(r["error"]) for r in results]

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
