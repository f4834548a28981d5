"""How commands speak: one line for an error, words for a time."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NoReturn

import typer

__all__ = ["fail", "iso", "needs", "print_table", "relative", "shown", "span"]


def fail(text: str, code: int = 1) -> NoReturn:
    """Print one line on standard error and exit.

    Args:
        text: what is wrong, and what to do.
        code: 1 for a refusal or a failure, 2 for wrong usage.
    """
    print(text, file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around an import: a missing package becomes the ``pip install`` line that brings it."""
    try:
        yield
    except ImportError as error:
        # Packages of ours that need others say so themselves, with the package that they missed as the cause.
        missed = error.__cause__ if isinstance(error.__cause__, ModuleNotFoundError) else error
        if not isinstance(missed, ModuleNotFoundError) or (missed.name or "roomkey").startswith("roomkey"):
            raise
        fail(f"{missed.name} is missing: pip install 'roomkey[{extra}]'")


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """A number of seconds in words, rounded down: ``14 min``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def relative(seconds: float, now: float) -> str:
    """A time as seen from now: ``in 14 min``, ``3 min ago``."""
    return f"in {span(seconds - now)}" if seconds > now else f"{span(now - seconds)} ago"


def shown(value: object) -> str:
    """A value out of a token, safe for a terminal: text as it is if it is printable, else as JSON in ASCII."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def print_table(rows: list[dict[str, object]]) -> None:
    """Print rows of the same columns; lists in a cell are separated by commas."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        cells = (", ".join(v) if isinstance(v, list) else {True: "yes", False: "no"}.get(v, v) for v in row.values())  # type: ignore[call-overload]
        table.add_row(*(Text(str(cell)) for cell in cells))
    Console().print(table)
