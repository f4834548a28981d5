"""``roomkey keys``: generate keys, rotate them and list their states."""

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
from roomkey.keysets.rotation import PUBLISH_BEFORE, KeyPlan, KeyState, plan

if TYPE_CHECKING:
    from roomkey.server.settings import Settings

__all__ = ["app", "findings"]

app = typer.Typer(help="Generate, rotate and list the server's keys.", no_args_is_help=True, rich_markup_mode=None)

MAX_AHEAD = 30 * 86400

WORDS = {"next": "signs from ", "signing": "until ", "retiring": "accepted until "}
"""The words before the time at which a state ends."""


@app.command()
def new(
    algorithm: Annotated[str, typer.Option(help="Algorithm of the key.")] = "ES256",
    out: Annotated[Path | None, typer.Option(help="New file. Default: a file in the server's folder of keys.")] = None,
    pem: Annotated[bool, typer.Option("--pem", help="Write PEM instead of JWK; requires --out.")] = False,
    config: ConfigOption = None,
) -> None:
    """Generate a private key (file mode 0600) and print its public key. Existing files are not overwritten."""
    if pem and out is None:
        fail("--pem requires --out", 2)
    key = Key.generate(algorithm)
    if pem and key.kty == "oct":
        fail(f"cannot write a key for {algorithm} as PEM: it is a shared secret; omit --pem", 2)
    if out is None:
        folder = read_settings(config).keys
        if any(algorithm in file.key.algorithms for file in load_key_files(folder)):
            fail(f"{folder} already has a key for {algorithm}; create the next one with `roomkey keys rotate`")
        make_folder(folder)
        out = key_path(folder, key)
    if pem:
        write_private(out, key.to_pem(private=True))
    else:
        save_key(key, out)
    _print_new_key(key, out, pem)


@app.command()
def rotate(
    algorithm: AlgorithmOption = None,
    publish_before: Annotated[
        str, typer.Option(help="Time from publication to the first signature, such as 10m; 0 in an emergency.")
    ] = f"{PUBLISH_BEFORE // 60}m",
    remove: Annotated[
        bool, typer.Option("--remove-retired", help="Delete the keys that are no longer accepted.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Generate the server's next key. It is published now and signs later.

    The server accepts the previous key until the last token of that key has expired. Running servers find the new key
    within seconds.
    """
    # Whole seconds, as in the key's file.
    settings, now, ahead = read_settings(config, algorithm=algorithm), int(time.time()), seconds(publish_before)
    if not 0 <= ahead <= MAX_AHEAD:
        fail(f"--publish-before must be between 0 and {span(MAX_AHEAD)}", 2)
    planned = make_next(settings.keys, settings.algorithm, now, lifetime=settings.token_lifetime, publish_before=ahead)
    *others, made = planned
    _print_new_key(made.file.key, made.file.path)
    typer.echo(f"it {_begins(made, now)}", err=True)
    if others and ahead < PUBLISH_BEFORE / 2 and made.file.key.kty != "oct":
        typer.echo("a verifier with an older JWK Set rejects its tokens until it fetches the set again", err=True)
    if remove:
        for file in remove_retired(planned):
            typer.echo(f"deleted {file.path}", err=True)


def _begins(made: KeyPlan, now: float) -> str:
    if made.state is KeyState.NEXT and made.until is not None:
        return f"signs from {iso(made.until)} ({relative(made.until, now)})"
    return "signs from now on"


def _print_new_key(key: Key, path: Path, pem: bool = False) -> None:
    """Print where a new key is. Only its public key goes to standard output."""
    typer.echo(f"kid {key.kid}, private key in {path}", err=True)
    if key.kty == "oct":
        typer.echo("a shared secret has no public key: copy the file to each server that verifies tokens", err=True)
    else:
        typer.echo(key.to_pem().decode().rstrip() if pem else json.dumps(key.to_jwk()))


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    algorithm: AlgorithmOption = None,
    config: ConfigOption = None,
) -> None:
    """List the server's keys and their states: next, signing, retiring, retired or, for other algorithms, unused."""
    settings, now = read_settings(config, algorithm=algorithm), time.time()
    rows = list(_rows(settings, now))
    if as_json:
        printable = [row._asdict() | {"until": None if row.until is None else iso(row.until)} for row in rows]
        typer.echo(json.dumps(printable))
    elif not rows:
        typer.echo(f"no keys in {settings.keys}; create one with `roomkey keys new` or `roomkey serve`", err=True)
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
    """Check the keys, for ``roomkey doctor``.

    Args:
        settings: the settings of the server.
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
        yield "fail", f"{error} (a running server keeps using the keys that it has read)"
        return
    if all(row.state == "unused" for row in rows):
        yield "warn", f"no key for {settings.algorithm} in {settings.keys}; the first `roomkey serve` creates one"
    for row in rows:
        if row.state == KeyState.SIGNING:
            yield "ok", f"{len(rows)} key(s) in {settings.keys}; {row.kid} signs with {settings.algorithm}"
        elif row.until is not None:
            yield "ok", f"key {row.kid} is {row.state}: {_words(row, now)}"
    if any(row.state == KeyState.RETIRED for row in rows):
        yield "ok", "there are retired keys; the next rotation can delete them: `roomkey keys rotate --remove-retired`"
