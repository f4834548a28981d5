"""The command line: ``roomkey``, or ``python -m roomkey``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 refused or failed (one line on standard error), 2 wrong usage."""
    try:
        from roomkey.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "roomkey").startswith("roomkey"):
            raise
        extra = "server" if {"serve", "user", "client"}.intersection(sys.argv[1:2]) else "cli"
        sys.exit(f"{error.name} is missing: pip install 'roomkey[{extra}]'")
    run()
