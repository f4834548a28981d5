"""``roomkey user``: the accounts of ``roomkey serve``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from roomkey.cli.output import fail, iso, needs, print_table
from roomkey.cli.revoke import keep
from roomkey.cli.sources import ConfigOption, DatabaseOption
from roomkey.core.revocations import Revocation

if TYPE_CHECKING:
    from roomkey.stores.accounts import SqlAccounts

app = typer.Typer(help="The accounts of roomkey serve.", no_args_is_help=True, rich_markup_mode=None)

_Result = TypeVar("_Result")

Username = Annotated[str, typer.Argument(help="The name to log in with.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    username: Username,
    role: Annotated[list[str] | None, typer.Option(help="A role; may be repeated.")] = None,
    room: Annotated[list[str] | None, typer.Option(help="A room; may be repeated.")] = None,
    password_stdin: PasswordStdin = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an account; the password is asked for."""
    with needs("server"):
        from roomkey.stores.accounts import Account, check_name
    check_name(username)
    hashed = _hashed(_password(password_stdin))
    account = Account(username, hashed, roles=tuple(role or ()), rooms=tuple(room or ()))
    _run(config, database, lambda accounts: accounts.add(account))
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
    _run(config, database, lambda accounts: accounts.set_password(username, hashed))
    _revoke_all(config, database, username)
    typer.echo(f"changed the password of {username} and ended the logins there were")


@app.command()
def disable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Refuse logins, and revoke the tokens that were handed out: running servers end their sockets."""
    _run(config, database, lambda accounts: accounts.set_disabled(username, True))
    _revoke_all(config, database, username)
    typer.echo(f"disabled {username} and revoked the tokens: running servers end the sockets within a second")


@app.command()
def enable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Allow logins again."""
    _run(config, database, lambda accounts: accounts.set_disabled(username, False))
    typer.echo(f"enabled {username}")


@app.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the accounts."""
    accounts = _run(config, database, lambda accounts: accounts.all())
    rows = [
        {
            "username": one.username,
            "roles": list(one.roles),
            "rooms": list(one.rooms),
            "disabled": one.disabled,
            "created_at": iso(one.created_at),
        }
        for one in accounts
    ]
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        print_table(rows)
    else:
        typer.echo("no accounts yet: roomkey user add NAME --room ROOM", err=True)


def _run(config: Path | None, database: str | None, action: Callable[[SqlAccounts], Awaitable[_Result]]) -> _Result:
    """Do one thing with the accounts of the settings."""
    with needs("server"):
        from roomkey.server.settings import load_settings
        from roomkey.stores.accounts import AccountExists, AccountNotFound, SqlAccounts
    settings = load_settings(config, database=database)

    async def with_accounts() -> _Result:
        accounts = SqlAccounts(settings.database)
        try:
            await accounts.open()
            return await action(accounts)
        finally:
            await accounts.close()

    try:
        return asyncio.run(with_accounts())
    except (AccountExists, AccountNotFound) as error:
        fail(str(error))


def _revoke_all(config: Path | None, database: str | None, username: str) -> None:
    """End all logins of a person, and the sockets that their tokens hold open."""
    with needs("server"):
        from roomkey.server.settings import MAX_TOKEN_LIFETIME, load_settings
    settings, now = load_settings(config, database=database), time.time()
    until = now + MAX_TOKEN_LIFETIME
    keep(settings, Revocation.of(subject=username, issuer=settings.issuer, expires_at=until, now=now))


def _password(from_stdin: bool) -> str:
    """The password, from where no list of processes and no shell history shows it."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password: use --password-stdin", 2)
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _hashed(password: str) -> str:
    with needs("server"):
        from roomkey.auth.passwords import Passwords
    passwords = Passwords()
    try:
        return asyncio.run(passwords.hash(password))
    finally:
        passwords.close()
