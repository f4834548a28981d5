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
from roomkey.cli.stores import with_revocations, with_stores

if TYPE_CHECKING:
    from roomkey.auth.ending import StoredRevocations
    from roomkey.stores import Account, ManagedAccounts, Stores

app = typer.Typer(help="Manage the accounts of roomkey serve.", no_args_is_help=True, rich_markup_mode=None)

Username = Annotated[str, typer.Argument(help="Name of the account.")]
ProviderOption = Annotated[str, typer.Option(help="Name of the provider's table in the settings file.")]
SubjectOption = Annotated[str, typer.Option(help="The user at the provider (sub).")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    username: Username,
    role: RoleOption = None,
    room: RoomOption = None,
    password_stdin: PasswordStdin = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="Allow logins at a provider only.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an account. Asks for the password."""
    with needs("server"):
        from roomkey.stores import Account
        from roomkey.stores.records import NO_PASSWORD, check_name
    check_name(username)
    hashed = NO_PASSWORD if no_password else _hashed(_password(password_stdin))
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
    """Change the password of an account and end its logins. Asks for the password."""
    hashed = _hashed(_password(password_stdin))
    _end_logins(config, database, username, lambda accounts: accounts.set_password(username, hashed))
    typer.echo(f"changed the password of {username} and ended its logins")


@app.command()
def disable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Disable an account and revoke its tokens. Running servers disconnect its sockets."""
    _end_logins(config, database, username, lambda accounts: accounts.set_disabled(username, True))
    typer.echo(f"disabled {username} and revoked its tokens; running servers disconnect its sockets within a second")


@app.command()
def enable(username: Username, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Enable a disabled account."""
    with_stores(read_settings(config, database=database), lambda stores: stores.accounts.set_disabled(username, False))
    typer.echo(f"enabled {username}")


@app.command("set")
def set_rights(
    username: Username,
    role: RoleOption = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Remove all roles.")] = False,
    room: RoomOption = None,
    no_rooms: Annotated[bool, typer.Option("--no-rooms", help="Remove all rooms.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace the roles or the rooms of an account, or both.

    Running servers apply the new rights to connected sockets and existing tokens.
    """
    if (role and no_roles) or (room and no_rooms):
        fail("use either --role or --no-roles, and either --room or --no-rooms", 2)
    roles, rooms = [] if no_roles else role or None, [] if no_rooms else room or None
    if roles is None and rooms is None:
        fail("nothing to replace; use --role, --no-roles, --room or --no-rooms", 2)

    async def change(stores: Stores, revocations: StoredRevocations) -> Account | None:
        await revocations.set_rights(username, roles, rooms)
        return await stores.accounts.find(username)

    account = with_revocations(read_settings(config, database=database), change)
    if account is not None:
        typer.echo(f"{username} has {_in_words('role', account.roles)} and {_in_words('room', account.rooms)}")
    typer.echo("running servers update connected sockets and tokens within a second")


@app.command()
def link(
    username: Username,
    provider: ProviderOption,
    subject: SubjectOption,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Let a user of an OpenID provider log in to an account."""
    issuer, _ = _named_at(config, provider, subject)

    async def work(stores: Stores) -> bool:
        found = await stores.accounts.find(username) is not None
        if found:
            await stores.links.add(issuer, subject, username)
        return found

    if not with_stores(read_settings(config, database=database), work):
        fail(f"no account {username!a}; list the accounts with `roomkey user list`")
    typer.echo(f"linked {subject} of {provider} to {username}")


@app.command()
def unlink(
    provider: ProviderOption, subject: SubjectOption, database: DatabaseOption = None, config: ConfigOption = None
) -> None:
    """Remove the link of a provider's user, and end the logins that began with it."""
    issuer, at_provider = _named_at(config, provider, subject)

    async def work(stores: Stores, revocations: StoredRevocations) -> bool:
        removed = await stores.links.remove(issuer, subject)
        await revocations.revoke_subject(at_provider, issuer)
        return removed

    if not with_revocations(read_settings(config, database=database), work, create=False):
        fail(f"{subject!a} of {provider} has no link; list the links with `roomkey user links`")
    typer.echo(f"removed the link of {subject} of {provider} and ended its logins")


@app.command()
def links(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """List the links of providers' users to accounts."""
    found = with_stores(read_settings(config, database=database), lambda stores: stores.links.all())
    rows: list[dict[str, object]] = [
        {"username": username, "issuer": issuer, "subject": subject} for issuer, subject, username in found
    ]
    print_list(rows, as_json, "no links yet; add one with `roomkey user link NAME --provider …`", print_table)


def _named_at(config: Path | None, name: str, subject: str) -> tuple[str, str]:
    """Return the issuer of a provider, and the subject of its tokens for a user."""
    with needs("server"):
        from roomkey.server.config_file import read_config
        from roomkey.server.providers import load_providers
    providers = load_providers(read_config(config))
    if name not in providers:
        fail(f"no table [providers.{name}] in the settings file; it names {', '.join(providers) or 'none'}")
    table = providers[name]
    return table.issuer, table.subject_of(name, subject)


@app.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """List the accounts."""
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
    print_list(rows, as_json, "no accounts yet; add one with `roomkey user add NAME --room ROOM`", print_table)


def _end_logins(
    config: Path | None, database: str | None, username: str, change: Callable[[ManagedAccounts], Awaitable[None]]
) -> None:
    """Change an account, and end its login sessions."""

    async def work(stores: Stores, revocations: StoredRevocations) -> None:
        await change(stores.accounts)
        await revocations.revoke_subject(username)

    with_revocations(read_settings(config, database=database), work)


def _in_words(what: str, names: Sequence[str]) -> str:
    return f"{what}s {', '.join(names)}" if names else f"no {what}s"


def _password(from_stdin: bool) -> str:
    """Read the password from the terminal or standard input, which keeps it out of process lists and the history."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("cannot ask for the password: standard input is not a terminal; use --password-stdin", 2)
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _hashed(password: str) -> str:
    with needs("server"):
        from roomkey.auth import Passwords
    passwords = Passwords()
    try:
        return asyncio.run(passwords.hash(password))
    finally:
        passwords.close()
