"""`python -m qfp`."""

from qfp.cli.main import main

main()
