"""``roomkey keys``: make keys, rotate them, and see what each is doing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from roomkey import Key
from roomkey.cli.output import fail, iso, relative, span
from roomkey.cli.sources import AlgorithmOption, ConfigOption, read_settings, seconds
from roomkey.errors import ConfigError
from roomkey.keysets.files import KEY, environment_key, key_path, load_key_files, make_folder, save_key, write_private
from roomkey.keysets.folder import remove_retired
from roomkey.keysets.folder import rotate as make_next
from roomkey.keysets.rotation import PUBLISH_BEFORE, KeyPlan, State, plan

if TYPE_CHECKING:
    from roomkey.server.settings import Settings

__all__ = ["app", "findings"]

app = typer.Typer(help="Make keys, rotate them, see what each is doing.", no_args_is_help=True, rich_markup_mode=None)

MAX_AHEAD = 30 * 86400

WORDS = {"next": "signs from ", "signing": "until ", "retiring": "accepted until "}
"""What stands in front of the time at which a state ends."""


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
        folder = read_settings(config).keys
        if any(algorithm in file.key.algorithms for file in load_key_files(folder)):
            fail(f"there is a key for {algorithm} in {folder} already: roomkey keys rotate makes the one after it")
        make_folder(folder)
        out = key_path(folder, key)
    if pem:
        write_private(out, key.to_pem(private=True))
    else:
        save_key(key, out)
    _tell_made(key, out, pem)


@app.command()
def rotate(
    algorithm: AlgorithmOption = None,
    publish_before: Annotated[
        str, typer.Option(help="How long it is published before it signs; 0 in an emergency.")
    ] = f"{PUBLISH_BEFORE // 60}m",
    remove: Annotated[
        bool, typer.Option("--remove-retired", help="Delete the keys that are not accepted any more.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Make the server's next key: published now, signing soon. The one before it is accepted until its last token has
    expired. Running servers see it within seconds."""
    # Whole seconds, as in the key's file.
    settings, now, ahead = read_settings(config, algorithm=algorithm), int(time.time()), seconds(publish_before)
    if not 0 <= ahead <= MAX_AHEAD:
        fail(f"--publish-before takes 0 to {span(MAX_AHEAD)}", 2)
    planned = make_next(settings.keys, settings.algorithm, now, lifetime=settings.token_lifetime, publish_before=ahead)
    *others, made = planned
    _tell_made(made.file.key, made.file.path)
    typer.echo(f"it {_begins(made, now)}", err=True)
    if others and ahead < PUBLISH_BEFORE / 2 and made.file.key.kty != "oct":
        typer.echo("who still holds an older JWK Set refuses its tokens until fetching it again", err=True)
    if remove:
        for file in remove_retired(planned):
            typer.echo(f"deleted {file.path}", err=True)


def _begins(made: KeyPlan, now: float) -> str:
    if made.state is State.NEXT and made.until is not None:
        return f"signs from {iso(made.until)} ({relative(made.until, now)})"
    return "signs from now on"


def _tell_made(key: Key, path: Path, pem: bool = False) -> None:
    """Say where a new key is; its public half alone goes to standard output."""
    typer.echo(f"kid {key.kid}, private key in {path}", err=True)
    if key.kty == "oct":
        typer.echo("a shared secret has no public half: give a copy of the file to whoever verifies", err=True)
    else:
        typer.echo(key.to_pem().decode().rstrip() if pem else json.dumps(key.to_jwk()))


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    algorithm: AlgorithmOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what each of the server's keys is doing: next, signing, retiring, retired; unused with its algorithm."""
    settings, now = read_settings(config, algorithm=algorithm), time.time()
    rows = list(_rows(settings, now))
    if as_json:
        printable = [row._asdict() | {"until": None if row.until is None else iso(row.until)} for row in rows]
        typer.echo(json.dumps(printable))
    elif not rows:
        typer.echo(f"no keys in {settings.keys}; roomkey keys new makes one, and roomkey serve its first", err=True)
    else:
        wide = max(len(row.algorithm) for row in rows)
        for row in rows:
            typer.echo(f"{row.kid}  {row.algorithm:{wide}}  {row.state:8}  {_words(row, now)}".rstrip())


class _Row(NamedTuple):
    kid: str
    algorithm: str
    state: str
    until: float | None


def _rows(settings: Settings, now: float) -> Iterator[_Row]:
    files = load_key_files(settings.keys)
    used = [file for file in files if settings.algorithm in file.key.algorithms]
    for one in plan(used, now, settings.token_lifetime):
        yield _Row(one.file.key.kid, settings.algorithm, one.state.value, one.until)
    for file in files:
        if file not in used:
            yield _Row(file.key.kid, ", ".join(file.key.algorithms), "unused", None)


def _words(row: _Row, now: float) -> str:
    if row.until is None:
        return ""
    return f"{WORDS[row.state]}{iso(row.until)} ({relative(row.until, now)})"


def findings(settings: Settings, now: float) -> Iterator[tuple[str, str]]:
    """What ``roomkey doctor`` has to say about the keys.

    Args:
        settings: of the server.
        now: seconds since the epoch.

    Yields:
        ``ok``, ``warn`` or ``fail``, and a text.
    """
    try:
        if (key := environment_key(settings.algorithm)) is not None:
            yield "ok", f"the key in {KEY}, {key.kid}, signs with {settings.algorithm}"
            return
        rows = list(_rows(settings, now))
    except ConfigError as error:
        yield "fail", f"{error} (a server that runs goes on with the keys that it has)"
        return
    if all(row.state == "unused" for row in rows):
        yield "warn", f"no key for {settings.algorithm} in {settings.keys}; the first `roomkey serve` makes one"
    for row in rows:
        if row.state == State.SIGNING:
            yield "ok", f"{len(rows)} key(s) in {settings.keys}; {row.kid} signs with {settings.algorithm}"
        elif row.until is not None:
            yield "ok", f"key {row.kid} is {row.state}: {_words(row, now)}"
    if any(row.state == State.RETIRED for row in rows):
        yield "ok", "retired keys can be deleted with the next rotation: roomkey keys rotate --remove-retired"
