"""qfp: an IPsec forwarding processor in software."""

__version__ = "0.1.0"
