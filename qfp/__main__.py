"""`python -m qfp`."""

from qfp.cli.start import main

main()
