"""``roomkey keys``: make keys, and see which there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from roomkey import Key
from roomkey.cli.output import fail, needs
from roomkey.cli.sources import ConfigOption
from roomkey.keysets.files import key_path, load_keys, make_folder, save_key, write_private

app = typer.Typer(help="Make keys, and see which there are.", no_args_is_help=True, rich_markup_mode=None)


def _folder(config: Path | None) -> Path:
    with needs("cli"):
        from roomkey.server.settings import load_settings
    return load_settings(config).keys


@app.command()
def new(
    algorithm: Annotated[str, typer.Option(help="What it signs with.")] = "ES256",
    out: Annotated[Path | None, typer.Option(help="A new file; the server's folder of keys if absent.")] = None,
    pem: Annotated[bool, typer.Option("--pem", help="PEM instead of JWK; needs --out.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make a private key (mode 0600), print its public half. An existing file is never overwritten."""
    if pem and out is None:
        fail("--pem needs --out", 2)
    key = Key.generate(algorithm)
    if pem and key.kty == "oct":
        fail(f"a key for {algorithm} is a shared secret and has no PEM form; leave --pem out", 2)
    if out is None:
        folder = _folder(config)
        make_folder(folder)
        out = key_path(folder, key)
    if pem:
        write_private(out, key.to_pem(private=True))
    else:
        save_key(key, out)
    typer.echo(f"kid {key.kid}, private key in {out}", err=True)
    if key.kty == "oct":
        typer.echo("a shared secret has no public half: give a copy of the file to whoever verifies", err=True)
    else:
        typer.echo(key.to_pem().decode().rstrip() if pem else json.dumps(key.to_jwk()))


@app.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """Show the server's keys, the newest first: the newest for its algorithm signs."""
    folder = _folder(config)
    keys = load_keys(folder)
    if not keys:
        typer.echo(f"no keys in {folder}; roomkey keys new makes one, and roomkey serve its first", err=True)
    for key in keys:
        typer.echo(f"{key.kid}  {key.kty:3}  {', '.join(key.algorithms)}")
