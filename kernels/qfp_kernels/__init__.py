"""Packet kernels of qfp: numba over columns. Start at `layout` (what a packet row is), then one file a stage."""
