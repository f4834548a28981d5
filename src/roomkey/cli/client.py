"""``roomkey client``: the applications and services that may ask for tokens (OAuth 2.0)."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from roomkey.cli.output import fail, iso, needs, print_blocks, print_list
from roomkey.cli.sources import ConfigOption, DatabaseOption, read_settings
from roomkey.cli.stores import revoking, with_stores

if TYPE_CHECKING:
    from roomkey.auth.ending import StoredRevocations
    from roomkey.stores import Stores

app = typer.Typer(
    help="Applications and services that may ask for tokens.", no_args_is_help=True, rich_markup_mode=None
)

Names = list[str] | None

NO_OAUTH = (
    "with the issuer {issuer!r}, roomkey serve has no /oauth/ routes; set issuer to the server's address, such as "
    "https://login.example, in roomkey.toml or ROOMKEY_ISSUER"
)

ClientId = Annotated[str, typer.Argument(help="client_id: the client's name.")]


@app.command()
def add(
    client_id: ClientId,
    redirect_uri: Annotated[Names, typer.Option(help="Where people come back to, in full; may be repeated.")] = None,
    public: Annotated[bool, typer.Option("--public", help="A page or an app, which can keep no secret.")] = False,
    first_party: Annotated[
        bool, typer.Option("--first-party", help="Your own client: its tokens contain all roles and rooms of a user.")
    ] = False,
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
        from roomkey.auth.issued_tokens import OWN_CLIENT
        from roomkey.stores import Client
    if public and not redirect_uri:
        fail("a service needs a secret: leave --public out, or give --redirect-uri", 2)
    if first_party and not redirect_uri:
        fail("--first-party requires --redirect-uri: users do not log in to a service", 2)
    if client_id == OWN_CLIENT:
        fail(f"{OWN_CLIENT} is the client_id of the server's own logins: choose another name", 2)
    made, its_hash = (None, None) if public else _new_secret()
    client = Client(
        client_id,
        its_hash,
        title=title,
        redirect_uris=tuple(redirect_uri or ()),
        grants=("authorization_code", "refresh_token") if redirect_uri else ("client_credentials",),
        scopes=tuple(scope or ()),
        roles=tuple(role or ()),
        rooms=tuple(room or ()),
        first_party=first_party,
    )
    settings = read_settings(config, database=database)
    with_stores(settings, lambda stores: stores.clients.add(client))
    typer.echo(f"added {client_id}", err=True)
    if not settings.serves_oauth:
        typer.echo(NO_OAUTH.format(issuer=settings.issuer), err=True)
    if made is not None:
        _tell_secret(made)


@app.command()
def disable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Give it no tokens any more, and revoke those that it has: running servers end their sockets."""
    settings = read_settings(config, database=database)
    revoking(settings, lambda _, revocations: revocations.disable_client(client_id))
    typer.echo(f"disabled {client_id} and revoked its tokens: running servers end their sockets within a second")


@app.command()
def enable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Give it tokens again."""
    with_stores(read_settings(config, database=database), lambda stores: stores.clients.set_disabled(client_id, False))
    typer.echo(f"enabled {client_id}")


@app.command()
def remove(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Forget it, and revoke the tokens that it has: running servers end their sockets."""

    async def change(stores: Stores, revocations: StoredRevocations) -> None:
        await revocations.disable_client(client_id)
        await stores.clients.remove(client_id)

    revoking(read_settings(config, database=database), change)
    typer.echo(f"removed {client_id} and revoked its tokens: running servers end their sockets within a second")


@app.command()
def secret(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Make a new secret, and print it once; the one before stops working at once.

    Tokens that it has stay good: roomkey client disable ends them, and roomkey client enable lets it ask for new ones.
    """
    new, its_hash = _new_secret()
    with_stores(read_settings(config, database=database), lambda stores: stores.clients.set_secret(client_id, its_hash))
    typer.echo(f"changed the secret of {client_id}: the one before does not work any more", err=True)
    _tell_secret(new)


@app.command("list")
def list_clients(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the clients."""
    clients = with_stores(read_settings(config, database=database), lambda stores: stores.clients.all())
    rows: list[dict[str, object]] = [
        {
            "client_id": one.client_id,
            "title": one.title,
            "kind": "public" if one.secret_hash is None else "confidential",
            "grants": list(one.grants),
            "redirect_uris": list(one.redirect_uris),
            "scopes": list(one.scopes),
            "roles": list(one.roles),
            "rooms": list(one.rooms),
            "first_party": one.first_party,
            "disabled": one.disabled,
            "created_at": iso(one.created_at),
        }
        for one in clients
    ]
    print_list(rows, as_json, "no clients yet: roomkey client add NAME", print_blocks)


def _new_secret() -> tuple[str, str]:
    """A secret, and what is kept of it."""
    made = secrets.token_urlsafe(32)
    return made, hashlib.sha256(made.encode()).hexdigest()


def _tell_secret(made: str) -> None:
    """Print a secret; nothing else goes to standard output."""
    typer.echo("its secret, which is not shown again:", err=True)
    typer.echo(made)
