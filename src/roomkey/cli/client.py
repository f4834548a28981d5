"""``roomkey client``: the applications and services that may ask for tokens (OAuth 2.0)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from roomkey.cli.output import fail, iso, needs, print_table
from roomkey.cli.sources import ConfigOption, DatabaseOption

if TYPE_CHECKING:
    from roomkey.stores.clients import SqlClients

app = typer.Typer(
    help="Applications and services that may ask for tokens.", no_args_is_help=True, rich_markup_mode=None
)

_Result = TypeVar("_Result")
Names = list[str] | None

ClientId = Annotated[str, typer.Argument(help="client_id: the client's name.")]


@app.command()
def add(
    client_id: ClientId,
    redirect_uri: Annotated[Names, typer.Option(help="Where people come back to, in full; may be repeated.")] = None,
    public: Annotated[bool, typer.Option("--public", help="A page or an app, which can keep no secret.")] = False,
    title: Annotated[str, typer.Option(help="What people read when they let it in.")] = "",
    scope: Annotated[Names, typer.Option(help="What its tokens may hold; may be repeated.")] = None,
    role: Annotated[Names, typer.Option(help="A role of a service; may be repeated.")] = None,
    room: Annotated[Names, typer.Option(help="A room of a service; may be repeated.")] = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a client, and print its secret once.

    With --redirect-uri people log in to it (authorization code with PKCE, and refresh tokens); without, it is a service
    that gets tokens for itself (client credentials).
    """
    with needs("server"):
        from roomkey.stores.clients import Client
    if public and not redirect_uri:
        fail("a service needs a secret: leave --public out, or give --redirect-uri", 2)
    secret = None if public else secrets.token_urlsafe(32)
    client = Client(
        client_id,
        hashlib.sha256(secret.encode()).hexdigest() if secret is not None else None,
        title=title,
        redirect_uris=tuple(redirect_uri or ()),
        grants=("authorization_code", "refresh_token") if redirect_uri else ("client_credentials",),
        scopes=tuple(scope or ()),
        roles=tuple(role or ()),
        rooms=tuple(room or ()),
    )
    _run(config, database, lambda clients: clients.add(client))
    typer.echo(f"added {client_id}", err=True)
    if secret is not None:
        typer.echo("its secret, which is not shown again:", err=True)
        typer.echo(secret)


@app.command()
def disable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Give it no tokens any more; those that it has run out."""
    _run(config, database, lambda clients: clients.set_disabled(client_id, True))
    typer.echo(f"disabled {client_id}")


@app.command()
def enable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Give it tokens again."""
    _run(config, database, lambda clients: clients.set_disabled(client_id, False))
    typer.echo(f"enabled {client_id}")


@app.command("list")
def list_clients(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the clients."""
    rows: list[dict[str, object]] = [
        {
            "client_id": one.client_id,
            "kind": "public" if one.secret_hash is None else "confidential",
            "grants": list(one.grants),
            "redirect_uris": list(one.redirect_uris),
            "scopes": list(one.scopes),
            "disabled": one.disabled,
            "created_at": iso(one.created_at),
        }
        for one in _run(config, database, lambda clients: clients.all())
    ]
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        print_table(rows)
    else:
        typer.echo("no clients yet: roomkey client add NAME", err=True)


def _run(config: Path | None, database: str | None, action: Callable[[SqlClients], Awaitable[_Result]]) -> _Result:
    """Do one thing with the clients of the settings."""
    with needs("server"):
        from roomkey.server.settings import load_settings
        from roomkey.stores.clients import ClientExists, ClientNotFound, SqlClients
    settings = load_settings(config, database=database)

    async def with_clients() -> _Result:
        clients = SqlClients(settings.database)
        try:
            return await action(clients)
        finally:
            await clients.close()

    try:
        return asyncio.run(with_clients())
    except (ClientExists, ClientNotFound) as error:
        fail(str(error))
