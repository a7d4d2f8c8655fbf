"""Differential test (USE-5): the same packets through qfp and through a reference library, byte for byte.

The reference is scapy's IPsec layer. It is GPL-2, so it runs as a program of its own (`oracle_process.py`) that this
package starts and talks to over pipes, and never imports.
"""
