"""``roomkey client``: the applications and services that can request tokens (OAuth 2.0)."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from roomkey.cli.output import fail, iso, needs, print_blocks, print_list
from roomkey.cli.sources import ConfigOption, DatabaseOption, read_settings
from roomkey.cli.stores import with_revocations, with_stores

if TYPE_CHECKING:
    from roomkey.auth.ending import StoredRevocations
    from roomkey.stores import Stores

app = typer.Typer(
    help="Manage OAuth clients: applications and services that request tokens.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Repeatable = list[str] | None

NO_OAUTH = (
    "with the issuer {issuer!r}, roomkey serve has no /oauth/ routes; set issuer to the server's address, such as "
    "https://login.example, in roomkey.toml or ROOMKEY_ISSUER"
)

ClientId = Annotated[str, typer.Argument(help="Name of the client (client_id).")]


@app.command()
def add(
    client_id: ClientId,
    redirect_uri: Annotated[Repeatable, typer.Option(help="Full URI to which users return. Repeatable.")] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Add a web page or an app, which cannot keep a secret.")
    ] = False,
    first_party: Annotated[
        bool,
        typer.Option("--first-party", help="Add your own client, whose tokens contain all roles and rooms of a user."),
    ] = False,
    title: Annotated[str, typer.Option(help="Title that users see when they log in.")] = "",
    scope: Annotated[Repeatable, typer.Option(help="Scope that its tokens can contain. Repeatable.")] = None,
    role: Annotated[Repeatable, typer.Option(help="Role of a service. Repeatable.")] = None,
    room: Annotated[Repeatable, typer.Option(help="Room of a service. Repeatable.")] = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a client and print its secret, which is shown only once.

    With --redirect-uri, users log in through the client (authorization code with PKCE, refresh tokens). Without it, the
    client is a service that requests tokens for itself (client credentials).
    """
    with needs("server"):
        from roomkey.auth.issued_tokens import OWN_CLIENT
        from roomkey.stores import Client
    if public and not redirect_uri:
        fail("a service requires a secret; omit --public, or use --redirect-uri", 2)
    if first_party and not redirect_uri:
        fail("--first-party requires --redirect-uri: users do not log in to a service", 2)
    if client_id == OWN_CLIENT:
        fail(f"{OWN_CLIENT} is the client_id of the server's own logins; choose another name", 2)
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
        _print_secret(made)


@app.command()
def disable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Disable a client and revoke its tokens. Running servers disconnect its sockets."""
    settings = read_settings(config, database=database)
    with_revocations(settings, lambda _, revocations: revocations.disable_client(client_id))
    typer.echo(f"disabled {client_id} and revoked its tokens; running servers disconnect its sockets within a second")


@app.command()
def enable(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Enable a disabled client."""
    with_stores(read_settings(config, database=database), lambda stores: stores.clients.set_disabled(client_id, False))
    typer.echo(f"enabled {client_id}")


@app.command()
def remove(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Remove a client and revoke its tokens. Running servers disconnect its sockets."""

    async def change(stores: Stores, revocations: StoredRevocations) -> None:
        await revocations.disable_client(client_id)
        await stores.clients.remove(client_id)

    with_revocations(read_settings(config, database=database), change)
    typer.echo(f"removed {client_id} and revoked its tokens; running servers disconnect its sockets within a second")


@app.command()
def secret(client_id: ClientId, database: DatabaseOption = None, config: ConfigOption = None) -> None:
    """Replace the secret of a client and print it, which is shown only once. The old secret stops working immediately.

    The client's tokens stay valid. To revoke them, run `roomkey client disable` and then `roomkey client enable`.
    """
    new, its_hash = _new_secret()
    with_stores(read_settings(config, database=database), lambda stores: stores.clients.set_secret(client_id, its_hash))
    typer.echo(f"replaced the secret of {client_id}; the old one no longer works", err=True)
    _print_secret(new)


@app.command("list")
def list_clients(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> None:
    """List the clients."""
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
    print_list(rows, as_json, "no clients yet; add one with `roomkey client add NAME`", print_blocks)


def _new_secret() -> tuple[str, str]:
    """Return a new secret and the hash that is stored."""
    made = secrets.token_urlsafe(32)
    return made, hashlib.sha256(made.encode()).hexdigest()


def _print_secret(made: str) -> None:
    """Print a secret. Only the secret goes to standard output."""
    typer.echo("client secret (shown only once):", err=True)
    typer.echo(made)
