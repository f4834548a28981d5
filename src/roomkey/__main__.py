"""``python -m roomkey``."""

from roomkey.cli import main

main()
