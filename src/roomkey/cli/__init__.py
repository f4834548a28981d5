"""The command line: ``roomkey``, or ``python -m roomkey``. Its only public name is :func:`main`."""

from __future__ import annotations

import sys

from roomkey.cli.missing import missing_package

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 success, 1 refused or failed (one line on standard error), 2 wrong usage."""
    try:
        from roomkey.cli.app import run
    except ImportError as error:
        package = missing_package(error)
        if package is None:
            raise
        extra = "server" if {"serve", "user", "client"}.intersection(sys.argv[1:2]) else "cli"
        sys.exit(f"{package} is missing: pip install 'roomkey[{extra}]'")
    run()
