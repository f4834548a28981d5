"""``roomkey serve --demo``: three accounts with random passwords, which exist only while the server runs."""

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

__all__ = ["ROOMS", "DemoAccount", "add_accounts", "print_table", "write_credentials"]

ROOMS = ("red", "blue", "green")

_PEOPLE = (("ada", ("admin",), ()), ("grace", (), ("red", "blue")), ("linus", (), ("red",)))
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look alike


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A demo account with its password, which is shown once."""

    username: str
    password: str
    roles: tuple[str, ...]
    rooms: tuple[str, ...]


async def add_accounts(accounts: ManagedAccounts, passwords: Passwords) -> list[DemoAccount]:
    """Add the demo accounts, each with a random password of about 59 bits."""
    people = [DemoAccount(name, _password(), roles, rooms) for name, roles, rooms in _PEOPLE]
    for one in people:
        hashed = await passwords.hash(one.password)
        await accounts.add(Account(one.username, hashed, roles=one.roles, rooms=one.rooms))
    return people


def print_table(console: Console, people: list[DemoAccount]) -> None:
    """Print the accounts and their passwords."""
    table = Table(title="Demo accounts, valid until this server stops", title_justify="left")
    for heading in ("Username", "Password", "Can join"):
        table.add_column(heading, no_wrap=True)
    for one in people:
        rooms = "every room (role admin)" if "admin" in one.roles else ", ".join(one.rooms)
        table.add_row(one.username, one.password, rooms)
    console.print(table)


def write_credentials(path: Path, people: list[DemoAccount]) -> None:
    """Write ``{username: password}`` as JSON with mode 0600, for tests.

    Raises:
        ConfigError: the file exists.
    """
    write_private(path, json.dumps({one.username: one.password for one in people}).encode())


def _password() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
