"""``roomkey serve --demo``: three accounts that exist only while it runs, with passwords made at its start."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from roomkey.extras import needs

with needs("server", "roomkey.server.demo"):
    from rich.console import Console
    from rich.table import Table

from roomkey.auth import Passwords
from roomkey.keysets.files import write_private
from roomkey.stores import Account, ManagedAccounts

__all__ = ["ROOMS", "Credentials", "add_accounts", "print_table", "write_credentials"]

ROOMS = ("red", "blue", "green")

_PEOPLE = (("ada", ("admin",), ()), ("grace", (), ("red", "blue")), ("linus", (), ("red",)))
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no letters that look alike


@dataclass(frozen=True, slots=True)
class Credentials:
    """One demo account and its password, in the clear to be shown once."""

    username: str
    password: str
    roles: tuple[str, ...]
    rooms: tuple[str, ...]


async def add_accounts(accounts: ManagedAccounts, passwords: Passwords) -> list[Credentials]:
    """Make the demo accounts, each with a random password of about 59 bits."""
    made = [Credentials(name, _password(), roles, rooms) for name, roles, rooms in _PEOPLE]
    for one in made:
        hashed = await passwords.hash(one.password)
        await accounts.add(Account(one.username, hashed, roles=one.roles, rooms=one.rooms))
    return made


def print_table(console: Console, people: list[Credentials]) -> None:
    """Show who may log in."""
    table = Table(title="Demo accounts, until this server stops", title_justify="left")
    for heading in ("Username", "Password", "May enter"):
        table.add_column(heading, no_wrap=True)
    for one in people:
        rooms = "every room (role admin)" if "admin" in one.roles else ", ".join(one.rooms)
        table.add_row(one.username, one.password, rooms)
    console.print(table)


def write_credentials(path: Path, people: list[Credentials]) -> None:
    """Write ``{username: password}`` as JSON with mode 0600, for tests.

    Raises:
        ConfigError: the file exists.
    """
    write_private(path, json.dumps({one.username: one.password for one in people}).encode())


def _password() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
