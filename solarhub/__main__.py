"""Entry point of `python -m solarhub`."""

from solarhub.cli import main

main()
