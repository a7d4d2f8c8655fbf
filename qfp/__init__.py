"""qfp: an IPsec forwarding processor in software, after the Cisco QuantumFlow Processor.

    import qfp
    router = qfp.Router.load("branch.cfg")
    result = router.forward(qfp.read_trace("office.pcapng"), ingress="GigabitEthernet0/0/1")
"""

from typing import Any

__version__ = "0.1.0"

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
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `qfp --version` does not wait for the compiler."""
    if name not in _PLACES:
        raise AttributeError(f"module 'qfp' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
