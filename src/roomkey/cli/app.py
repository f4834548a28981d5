"""The commands, put together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from roomkey import __version__
from roomkey.cli import client, doctor, keys, token, user
from roomkey.cli.output import fail, needs
from roomkey.cli.sources import DatabaseOption
from roomkey.errors import ConfigError, Unavailable

__all__ = ["app", "run"]

app = typer.Typer(
    name="roomkey",
    help="JSON Web Tokens in charge of Socket.IO connections.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(token.app, name="token")
app.add_typer(keys.app, name="keys")
app.add_typer(user.app, name="user")
app.add_typer(client.app, name="client")
app.command("doctor")(doctor.doctor)


def run() -> None:
    """Run a command; a mistake in settings, or a database out of reach, becomes one line on standard error."""
    try:
        app(prog_name="roomkey")
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except Unavailable as error:
        typer.echo(f"{error}; roomkey doctor looks into it", err=True)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roomkey {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """JSON Web Tokens in charge of Socket.IO connections."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="Settings file; roomkey.toml if there is one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one.")] = None,
    engine: Annotated[str | None, typer.Option(help="hub or python-socketio.")] = None,
    database: DatabaseOption = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of the signing keys.")] = None,
    issuer: Annotated[str | None, typer.Option(help="iss of the tokens.")] = None,
    audience: Annotated[str | None, typer.Option(help="aud of the tokens.")] = None,
    token_lifetime: Annotated[int | None, typer.Option(help="Seconds from login to expiry.")] = None,
    refresh_lifetime: Annotated[int | None, typer.Option(help="Seconds from login to the next one.")] = None,
    rotation_grace: Annotated[int | None, typer.Option(help="Seconds a used refresh token is answered again.")] = None,
    max_token: Annotated[int | None, typer.Option(help="Maximum length of a token, in bytes.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="What new tokens are signed with.")] = None,
    via: Annotated[str | None, typer.Option(help="both, handshake or authenticate.")] = None,
    authenticate_timeout: Annotated[float | None, typer.Option(help="Seconds to present a token.")] = None,
    grace: Annotated[float | None, typer.Option(help="Seconds a socket outlives its token.")] = None,
    warn_before: Annotated[float | None, typer.Option(help="Seconds before a token's end to say so.")] = None,
    sockets_per_subject: Annotated[int | None, typer.Option(help="Connections one subject may have at once.")] = None,
    when_full: Annotated[str | None, typer.Option(help="What one more does: refuse or end_oldest.")] = None,
    events_per_second: Annotated[float | None, typer.Option(help="Events one subject may send per second.")] = None,
    admin_api: Annotated[bool | None, typer.Option("--admin-api", help="Serve /api to operators.")] = None,
    cookies: Annotated[bool | None, typer.Option("--cookies", help="Pages may have tokens in cookies.")] = None,
    cors_origins: Annotated[str | None, typer.Option(help="Other origins that may connect, by commas.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    behind_proxy: Annotated[bool | None, typer.Option("--behind-proxy", help="A proxy speaks TLS.")] = None,
    trusted_proxies: Annotated[str | None, typer.Option(help="Addresses of the proxies, by commas.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Demo accounts; nothing is kept.")] = False,
    demo_credentials_file: Annotated[
        Path | None, typer.Option(help="Write the demo passwords to this new file (mode 0600).")
    ] = None,
) -> None:
    """Serve the login, the guarded Socket.IO server and the page."""
    flags = {name: value for name, value in locals().items() if name not in _NOT_SETTINGS}
    if demo_credentials_file is not None and not demo:
        fail("--demo-credentials-file goes with --demo", 2)
    with needs("server"):
        from roomkey.server.policy_file import load_policy
        from roomkey.server.run import serve as serve_product
        from roomkey.server.settings import load_settings

        settings, policy = load_settings(config, **flags), load_policy(config)
        serve_product(settings, policy=policy, demo=demo, credentials_file=demo_credentials_file)


_NOT_SETTINGS = {"config", "demo", "demo_credentials_file"}
