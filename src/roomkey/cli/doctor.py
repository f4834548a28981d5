"""``roomkey doctor``: is this set up well, and what can no guard on python-socketio close?"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from roomkey.cli.explain import explain
from roomkey.cli.keys import findings
from roomkey.cli.output import fail, needs
from roomkey.cli.sources import SECRET, ConfigOption, environment_secret
from roomkey.errors import AuthError, ConfigError
from roomkey.keysets.files import KEY
from roomkey.server.config_file import CONFIG_FILE, read_config
from roomkey.server.policy_file import load_policy
from roomkey.server.settings import Settings, check_exposure, environment_name, is_loopback, load_settings

__all__ = ["doctor"]

Finding = tuple[str, str]  # "ok", "warn" or "fail", and a text

# What speaks Socket.IO in `roomkey serve`, and what speaks HTTP and WebSocket beneath it.
LIBRARIES = {
    "hub": ("picows", "orjson", "uvicorn", "httptools", "uvloop"),
    "python-socketio": ("python-socketio", "python-engineio", "uvicorn", "websockets"),
}

# What to do about a PostgreSQL that cannot be used, by the error that asyncpg or the network raises.
REMEDIES = {
    "ConnectionRefusedError": "; no server listens there: start PostgreSQL, or correct the host and port",
    "FileNotFoundError": "; there is no Unix socket: start PostgreSQL, or correct the host",
    "gaierror": "; cannot find the host: correct its name",
    "InvalidCatalogNameError": "; the database does not exist: run createdb",
    "InvalidAuthorizationSpecificationError": "; the server refuses this user: run createuser, or correct pg_hba.conf",
    "InvalidPasswordError": "; the password is wrong or missing: set PGPASSFILE or PGPASSWORD",
    "InsufficientPrivilegeError": "; this user cannot create tables: run GRANT CREATE ON SCHEMA public",
}

LIMITS = (
    "A Socket.IO session id alone continues a polling session that was opened without a token in a header, cookie or "
    "query, or with a token in a header that the client does not repeat (python-socketio's client, on the same "
    "network). roomkey does not log it. Give polling clients the Authorization header, use "
    "session_binding='address', or serve WebSocket only (transports=['websocket']). On the hub, you can also use "
    "session_binding='cookie'.",
    "A client that never reads makes its send queue grow: bound it in the proxy.",
    "WebSocket compression lets 15 kB become 16 MB in memory: `roomkey serve` has it off; in a server of your own, "
    "start uvicorn with --ws-per-message-deflate false and --ws-max-size 1000000.",
    "python-socketio reads an oversize polling POST before it refuses it, and leaves a task behind: `roomkey serve` "
    "refuses it by its Content-Length; in a server of your own, limit bodies in the proxy (client_max_body_size 1m).",
    "Whoever can publish on the Redis channel of a client manager can emit to everybody and disconnect anybody, and "
    "with Redis down messages between nodes are lost: give Redis a password, TLS and a network of its own.",
)


def doctor(
    config: ConfigOption = None,
    token: Annotated[
        str | None, typer.Option(help="File with a token, - for standard input: what does it open?")
    ] = None,
    room: Annotated[list[str] | None, typer.Option(help="With --token: may it enter? May be repeated.")] = None,
    emit: Annotated[list[str] | None, typer.Option(help="With --token: room or room=event; may it emit?")] = None,
    event: Annotated[list[str] | None, typer.Option(help="With --token: may it send this event?")] = None,
    namespace: Annotated[str, typer.Option(help="With --token: where.")] = "/",
) -> None:
    """Check settings, keys and exposure, and say what a guard on python-socketio cannot close. Exit code 1: fix it.

    With --token: which rules decide about it. Exit code 1: something is denied.
    """
    if token is not None:
        verdicts = list(
            explain(token, config, rooms=room or [], events=event or [], emits=emit or [], namespace=namespace)
        )
        for allowed, text in verdicts:
            typer.echo(f"{'yes' if allowed else 'no':4}  {text}")
        raise typer.Exit(0 if all(allowed for allowed, _ in verdicts) else 1)
    if room or emit or event:
        fail("--room, --emit and --event go with --token FILE", 2)
    found = list(_findings(config))
    for level, text in found:
        typer.echo(f"{level:4}  {text}")
    typer.echo(
        "\nWhat no guard on python-socketio can close, and the setting that helps (the hub closes all but the first):"
    )
    for text in LIMITS:
        typer.echo(f"  - {text}")
    raise typer.Exit(1 if any(level == "fail" for level, _ in found) else 0)


def _findings(config: Path | None) -> Iterator[Finding]:
    yield from _environment(Settings.model_fields)
    try:
        file = read_config(config)
        settings = load_settings(file)
    except ConfigError as error:
        yield "fail", str(error)
        return
    try:
        has_rules = load_policy(file) is not None
        yield "ok", "rules: those of the settings file" if has_rules else "rules: a token opens the rooms it names"
    except ConfigError as error:
        yield "fail", str(error)
    used = config or CONFIG_FILE
    yield "ok", f"settings: {used if used.exists() else f'defaults, there is no {used}'}"
    yield _libraries(settings.engine)
    try:
        check_exposure(settings)
        who = "this machine only" if is_loopback(settings.host) else "other machines, over TLS"
        yield "ok", f"{settings.host} port {settings.port} is reached by {who}"
    except ConfigError as error:
        yield "fail", str(error)
    if settings.behind_proxy and not is_loopback(settings.host):
        yield "warn", "behind a proxy, yet others can pass it by: let host be 127.0.0.1, or close the port to them"
    if "*" in settings.trusted_proxies:
        yield "fail", "trusted_proxies holds *: anybody can claim any address; name the proxies"
    yield from findings(settings, time.time())
    yield from _database(settings)
    if settings.token_lifetime > 86400:
        yield "warn", f"tokens live {settings.token_lifetime} s: a stolen one is good for as long; 900 is usual"


def _libraries(engine: str) -> Finding:
    found = {name: _version(name) for name in LIBRARIES[engine]}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return (
            "warn",
            f"engine {engine}: {', '.join(missing)} missing, `roomkey serve` needs pip install 'roomkey[server]'",
        )
    return "ok", f"engine {engine}: {', '.join(f'{name} {version}' for name, version in found.items())}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _environment(known: Iterable[str]) -> Iterator[Finding]:
    names = {environment_name(name) for name in known} | {SECRET, KEY}
    for name in os.environ:
        if name.upper().startswith("ROOMKEY_") and name.upper() not in names:
            near = difflib.get_close_matches(name.upper(), names, 1)
            yield "warn", f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "")
    try:
        environment_secret()
    except ConfigError as error:
        yield "fail", str(error)


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database
    if isinstance(path, str):
        yield from _postgresql(path, settings.database_name)
    elif not path.exists():
        yield "warn", f"no database {path} yet: roomkey user add NAME --room ROOM"
    elif os.name == "posix" and path.stat().st_mode & 0o077:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield "fail", f"{path} can be read by others (mode {mode:04o}), and holds password hashes: chmod 600 {path}"
    else:
        yield _accounts(str(path), lambda: _count_sqlite(path))


def _postgresql(url: str, name: str) -> Iterator[Finding]:
    yield _accounts(name, lambda: _count_postgresql(url))
    if not re.match(r"postgresql://(/|localhost|127\.|\[::1\])", name) and "sslmode=verify-" not in url:
        yield "warn", f"{name} may be reached unencrypted or be another one: add ?sslmode=verify-full to its URL"


def _accounts(name: str, count: Callable[[], int]) -> Finding:
    try:
        number = count()
    except (sqlite3.Error, ConfigError, AuthError) as error:
        remedies = (remedy for failure, remedy in REMEDIES.items() if str(error).endswith(failure))
        return "fail", f"cannot read the accounts in {name}: {error}{next(remedies, '')}"
    if number:
        return "ok", f"{number} account(s) in {name}"
    return "warn", f"no account in {name} yet: roomkey user add NAME --room ROOM"


def _count_sqlite(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM users").fetchone()[0])


def _count_postgresql(url: str) -> int:
    with needs("server"):
        from sqlalchemy import func, inspect, select, table

        from roomkey.stores import Database

    async def count() -> int:
        database = Database(url)
        try:
            if not await database.run(lambda made: made.run_sync(lambda here: inspect(here).has_table("users"))):
                return 0
            return int((await database.rows(select(func.count()).select_from(table("users"))))[0][0])
        finally:
            await database.close()

    return asyncio.run(count())
