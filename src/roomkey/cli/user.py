"""``roomkey user``: the accounts of ``roomkey serve``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roomkey.cli.output import fail, iso, needs, print_list, print_table
from roomkey.cli.sources import ConfigOption, DatabaseOption, RoleOption, RoomOption, read_settings
from roomkey.cli.stores import revoking, with_stores

if TYPE_CHECKING:
    from roomkey.auth.ending import StoredRevocations
    from roomkey.stores import Account, ManagedAccounts, Stores

app = typer.Typer(help="The accounts of roomkey serve.", no_args_is_help=True, rich_markup_mode=None)

Username = Annotated[str, typer.Argument(help="The name to log in with.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    username: Username,
    role: RoleOption = None,
    room: RoomOption = None,
    password_stdin: PasswordStdin = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an account; the password is asked for."""
    with needs("server"):
        from roomkey.stores import Account
        from roomkey.stores.records import check_name
    check_name(username)
    hashed = _hashed(_password(password_stdin))
    account = Account(username, hashed, roles=tuple(role or ()), rooms=tuple(room or ()))
    with_stores(read_settings(config, database=database), lambda stores: stores.accounts.add(account))
    typer.echo(f"added {username}")


@app.command()
def passwd(
    username: Username,
    password_stdin: PasswordStdin = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Change a password, and end the logins made with the old one; the new one is asked for."""
    hashed = _hashed(_password(password_stdin))
    _end_logins(config, database, username, lambda accounts: accounts.set_password(username, hashed))
    typer.echo(f"changed the password of {username} and ended the logins there were")


@app.command()
def disable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Refuse logins, and revoke the tokens that were handed out: running servers end their sockets."""
    _end_logins(config, database, username, lambda accounts: accounts.set_disabled(username, True))
    typer.echo(f"disabled {username} and revoked the tokens: running servers end the sockets within a second")


@app.command()
def enable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Allow logins again."""
    with_stores(read_settings(config, database=database), lambda stores: stores.accounts.set_disabled(username, False))
    typer.echo(f"enabled {username}")


@app.command("set")
def set_rights(
    username: Username,
    role: RoleOption = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Take all roles away.")] = False,
    room: RoomOption = None,
    no_rooms: Annotated[bool, typer.Option("--no-rooms", help="Take all rooms away.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace the roles, the rooms, or both; what is not given stays.

    Running servers change live sockets, and read the tokens that were handed out with the new rights.
    """
    if (role and no_roles) or (room and no_rooms):
        fail("--role or --no-roles, --room or --no-rooms, not both", 2)
    roles, rooms = [] if no_roles else role or None, [] if no_rooms else room or None
    if roles is None and rooms is None:
        fail("say what to replace: --role, --no-roles, --room, --no-rooms", 2)

    async def change(stores: Stores, revocations: StoredRevocations) -> Account | None:
        await revocations.set_rights(username, roles, rooms)
        return await stores.accounts.find(username)

    now_is = revoking(read_settings(config, database=database), change)
    if now_is is not None:
        typer.echo(f"{username} has {_in_words('role', now_is.roles)} and {_in_words('room', now_is.rooms)}")
    typer.echo("running servers update connected sockets and tokens within a second")


@app.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the accounts."""
    accounts = with_stores(read_settings(config, database=database), lambda stores: stores.accounts.all())
    rows: list[dict[str, object]] = [
        {
            "username": one.username,
            "name": one.name,
            "roles": list(one.roles),
            "rooms": list(one.rooms),
            "disabled": one.disabled,
            "created_at": iso(one.created_at),
        }
        for one in accounts
    ]
    print_list(rows, as_json, "no accounts yet: roomkey user add NAME --room ROOM", print_table)


def _end_logins(
    config: Path | None, database: str | None, username: str, change: Callable[[ManagedAccounts], Awaitable[None]]
) -> None:
    """Change an account, and end its login sessions."""

    async def work(stores: Stores, revocations: StoredRevocations) -> None:
        await change(stores.accounts)
        await revocations.revoke_subject(username)

    revoking(read_settings(config, database=database), work)


def _in_words(what: str, names: Sequence[str]) -> str:
    return f"{what}s {', '.join(names)}" if names else f"no {what}s"


def _password(from_stdin: bool) -> str:
    """The password, from where no list of processes and no shell history shows it."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password: use --password-stdin", 2)
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _hashed(password: str) -> str:
    with needs("server"):
        from roomkey.auth import Passwords
    passwords = Passwords()
    try:
        return asyncio.run(passwords.hash(password))
    finally:
        passwords.close()
