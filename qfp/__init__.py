"""qfp: an IPsec forwarding processor in software, after the Cisco QuantumFlow Processor.

import qfp
router = qfp.Router.load("branch.cfg")
result = router.forward(qfp.read_trace("office.pcapng"), ingress="GigabitEthernet0/0/1")
"""

import sys
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from qfp.version import __version__

if TYPE_CHECKING:  # what type checkers and editors see; `_PLACES` says the same to Python
    from qfp.batch import Batch as Batch
    from qfp.config import Configuration as Configuration
    from qfp.decrypt import Decryptor as Decryptor
    from qfp.decrypt import decrypt as decrypt
    from qfp.result import Result as Result
    from qfp.router import Router as Router
    from qfp.sa import SecurityAssociation as SecurityAssociation
    from qfp.trace import open_source as open_source
    from qfp.trace import read_trace as read_trace
    from qfp.trace import write_trace as write_trace
    from qfp.trace.keyfile import read_keys as read_keys

__all__ = [
    "Batch",
    "Configuration",
    "Decryptor",
    "Result",
    "Router",
    "SecurityAssociation",
    "__version__",
    "decrypt",
    "open_source",
    "read_keys",
    "read_trace",
    "write_trace",
]

_PLACES = {
    "Batch": "qfp.batch",
    "Configuration": "qfp.config",
    "Decryptor": "qfp.decrypt",
    "Result": "qfp.result",
    "Router": "qfp.router",
    "SecurityAssociation": "qfp.sa",
    "decrypt": "qfp.decrypt",
    "open_source": "qfp.trace",
    "read_keys": "qfp.trace.keyfile",
    "read_trace": "qfp.trace",
    "write_trace": "qfp.trace",
}


class _Package(ModuleType):
    """This package: a public name is what `_PLACES` says, also where a module of the package has that name.

    Importing `qfp.decrypt` makes Python bind the module to the package's attribute `decrypt`, over the function. That
    one binding is left out; `from qfp.decrypt import …` finds the module in `sys.modules` as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
# Threads that import modules of one circle (numba has such) wait for each other: Python raises in one of them.
_IMPORTING = RLock()

if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        """Import on first use, so that `qfp --version` does not wait for the compiler."""
        if name not in _PLACES:
            raise AttributeError(f"module 'qfp' has no attribute {name!r}")
        import importlib

        with _IMPORTING:
            value = getattr(importlib.import_module(_PLACES[name]), name)
        globals()[name] = value  # found at once from now on
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
