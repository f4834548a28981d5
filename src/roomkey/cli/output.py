"""The output of commands: one line for an error, words for a time, tables."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from typing import NoReturn

import typer

from roomkey.cli.missing import missing_package

__all__ = ["fail", "iso", "needs", "print_blocks", "print_list", "print_table", "printable", "relative", "span"]

LINE = 80
"""The width of a terminal, in characters, that output must fit."""


def fail(text: str, code: int = 1) -> NoReturn:
    """Print one line on standard error and exit.

    Args:
        text: what is wrong and what to do.
        code: the exit status: 1 for a failure, 2 for wrong usage.
    """
    print(text, file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Wrap an import: if a package is missing, print the command that installs it, and exit."""
    try:
        yield
    except ImportError as error:
        package = missing_package(error)
        if package is None:
            raise
        fail(f"{package} is missing: pip install 'roomkey[{extra}]'")


def iso(seconds: float) -> str:
    """Format seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """Format a number of seconds in words, rounded down: ``14 min``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def relative(seconds: float, now: float) -> str:
    """Format a time relative to now: ``in 14 min``, ``3 min ago``."""
    return f"in {span(seconds - now)}" if seconds > now else f"{span(now - seconds)} ago"


def printable(value: object) -> str:
    """Make a value safe for a terminal: printable text stays as it is, everything else becomes JSON in ASCII."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


Rows = list[dict[str, object]]


def print_list(rows: Rows, as_json: bool, nothing: str, show: Callable[[Rows], None]) -> None:
    """Print rows that have the same columns.

    Args:
        rows: the rows, whose values are texts, lists of texts and bools.
        as_json: print one JSON array, which is empty if there are no rows.
        nothing: the text for standard error if there are no rows.
        show: the function that prints rows for people.
    """
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        show(rows)
    else:
        typer.echo(nothing, err=True)


def print_table(rows: Rows) -> None:
    """Print a line for each row, without the columns that are empty in all of them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    names = [name for name in rows[0] if any(row[name] not in ("", []) for row in rows)]
    for name in names:
        # Names are folded, never cut, so that they can be copied.
        short = isinstance(rows[0][name], bool) or name.endswith("_at")
        table.add_column(name, overflow="fold", no_wrap=short)
    for row in rows:
        table.add_row(*(Text(", ".join(_words(row[name]))) for name in names))
    Console().print(table)


def print_blocks(rows: Rows) -> None:
    """Print a block for each row, with the first column as its heading and without empty values."""
    width = max(map(len, rows[0])) + 2
    for row in rows:
        heading, *others = ((name, _words(value)) for name, value in row.items() if value)
        typer.echo(heading[1][0])
        for name, words in others:
            together = ", ".join(words)
            lines = [together] if 2 + width + len(together) <= LINE else words
            for label, line in zip_longest([name], lines, fillvalue=""):
                typer.echo(f"  {label:{width}}{line}")


def _words(value: object) -> list[str]:
    """Return the words of a cell, safe for a terminal."""
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return [printable(one) for one in value] if isinstance(value, list) else [printable(value)]
