"""The commands of ``roomkey``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from roomkey import __version__
from roomkey.cli import client, doctor, keys, token, user
from roomkey.cli.serve import serve
from roomkey.errors import ConfigError, Unavailable

__all__ = ["app", "run"]

app = typer.Typer(
    name="roomkey",
    help="Secure Socket.IO connections with JSON Web Tokens.",
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
app.command("serve")(serve)


def run() -> None:
    """Run a command. An invalid setting or an unavailable database becomes one line on standard error."""
    try:
        app(prog_name="roomkey")
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except Unavailable as error:
        typer.echo(f"{error}; run `roomkey doctor` to find the cause", err=True)
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
    """Secure Socket.IO connections with JSON Web Tokens."""
