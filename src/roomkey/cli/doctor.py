"""``roomkey doctor``: check the setup, and list what a guard on python-socketio cannot prevent."""

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

from roomkey.cli.doctor_app import app_findings
from roomkey.cli.doctor_cluster import clock_finding, cluster_findings
from roomkey.cli.doctor_token import explain
from roomkey.cli.keys import findings
from roomkey.cli.output import fail, needs
from roomkey.cli.provider import describe_issuer, provider_findings
from roomkey.cli.sources import SECRET, ConfigOption, environment_secret
from roomkey.errors import AuthError, ConfigError
from roomkey.keysets.files import KEY
from roomkey.server.config_file import CONFIG_FILE, PROVIDERS, read_config
from roomkey.server.policy_file import load_policy
from roomkey.server.settings import Settings, check_exposure, is_loopback
from roomkey.server.settings_sources import environment_name, load_settings

__all__ = ["doctor"]

Finding = tuple[str, str]  # "ok", "warn" or "fail", and a text

# The libraries that `roomkey serve` uses, by engine.
LIBRARIES = {
    "hub": ("orjson", "uvicorn", "httptools", "uvloop"),
    "python-socketio": ("python-socketio", "python-engineio", "uvicorn", "websockets"),
}

# The remedy for each error of asyncpg or of the network.
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
    "WebSocket compression expands 15 kB to 16 MB in memory. `roomkey serve` disables it; start your own server with "
    "uvicorn's options --ws-per-message-deflate false and --ws-max-size 1000000.",
    "python-socketio reads an oversized polling POST before it rejects it, and leaves a task behind. `roomkey serve` "
    "rejects it by its Content-Length; for your own server, limit bodies in the proxy (client_max_body_size 1m).",
    "A client that can publish on the Redis channel of a client manager can emit to all sockets and disconnect them. "
    "While Redis is unavailable, messages between nodes are lost. Protect Redis with a password, TLS and a private "
    "network.",
)


def doctor(
    config: ConfigOption = None,
    token: Annotated[str | None, typer.Option(help="File with a token to explain; - reads standard input.")] = None,
    room: Annotated[list[str] | None, typer.Option(help="With --token: room to join. Repeatable.")] = None,
    emit: Annotated[
        list[str] | None, typer.Option(help="With --token: emit, as room or room=event. Repeatable.")
    ] = None,
    presence: Annotated[
        list[str] | None, typer.Option(help="With --token: room to ask who is in it. Repeatable.")
    ] = None,
    event: Annotated[list[str] | None, typer.Option(help="With --token: event to send. Repeatable.")] = None,
    namespace: Annotated[str, typer.Option(help="With --token: namespace to connect to.")] = "/",
    issuer: Annotated[
        str | None, typer.Option(help="Show what an OpenID provider offers, and the settings to accept its tokens.")
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="Import your own application, as module:name, and check its guard.")
    ] = None,
) -> None:
    """Check settings, keys, exposure and other nodes.

    The settings are those of roomkey serve, from ROOMKEY_* environment variables and the settings file. Also list what
    a guard on python-socketio cannot prevent.

    With --app, check the guard of your own application. With --token, show what the token allows and which rules
    decide. With --issuer, ask an OpenID provider. Exit status: 1 if a check fails, the token does not allow a request,
    or the provider cannot be used.
    """
    if app is not None and (issuer is not None or token is not None or config is not None):
        fail("--app cannot be used with --config, --token or --issuer", 2)
    if issuer is not None:
        describe_issuer(issuer)
        return
    if token is not None:
        wishes = {"rooms": room or [], "events": event or [], "emits": emit or [], "presence": presence or []}
        verdicts = list(explain(token, config, **wishes, namespace=namespace))
        for allowed, text in verdicts:
            typer.echo(f"{'yes' if allowed else 'no':4}  {text}")
        raise typer.Exit(0 if all(allowed for allowed, _ in verdicts) else 1)
    if room or emit or presence or event:
        fail("--room, --emit, --presence and --event require --token FILE", 2)
    if app is not None and not (app.partition(":")[0] and app.partition(":")[2]):
        fail(f"invalid application {app!r}; write module:name, such as server:sio", 2)
    found = list(_findings(config) if app is None else app_findings(app))
    for level, text in found:
        typer.echo(f"{level:4}  {text}")
    if app is None:
        _print_limits()
    elif found[0][0] == "ok":  # a guard was found
        typer.echo("\n`roomkey doctor` without --app lists what a guard on python-socketio cannot prevent.")
    raise typer.Exit(1 if any(level == "fail" for level, _ in found) else 0)


def _print_limits() -> None:
    typer.echo("\nWhat a guard on python-socketio cannot prevent, and what helps (the hub prevents all but the first):")
    for text in LIMITS:
        typer.echo(f"  - {text}")


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
        yield "ok", "rules: from the settings file" if has_rules else "rules: a token allows the rooms that it names"
    except ConfigError as error:
        yield "fail", str(error)
    used = config or CONFIG_FILE
    yield "ok", f"settings: {used if used.exists() else f'defaults, because {used} does not exist'}"
    yield _libraries(settings.engine)
    try:
        check_exposure(settings)
        who = "this machine only" if is_loopback(settings.host) else "other machines, over TLS"
        yield "ok", f"{settings.host} port {settings.port} can be reached by {who}"
    except ConfigError as error:
        yield "fail", str(error)
    if settings.behind_proxy and not is_loopback(settings.host):
        yield "warn", "other machines can bypass the proxy; set host to 127.0.0.1, or block the port for them"
    if "*" in settings.trusted_proxies:
        yield "fail", "trusted_proxies contains *: every client can claim any address; name the proxies"
    if settings.sockets_url is not None:
        yield "ok", f"tokens that are bound to a key (DPoP): accepted; htu of proofs is {settings.sockets_url}"
    elif file.values.get(PROVIDERS):
        yield "warn", "tokens that a provider binds to a key (DPoP) are rejected; set public_url to accept them"
    yield from findings(settings, time.time())
    yield from provider_findings(file, settings)
    yield from _database(settings)
    yield from cluster_findings(settings)
    if settings.token_lifetime > 86400:
        yield (
            "warn",
            f"tokens, even stolen ones, are valid for {settings.token_lifetime} s; use about 900 s",
        )


def _libraries(engine: str) -> Finding:
    found = {name: _version(name) for name in LIBRARIES[engine]}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return (
            "warn",
            f"engine {engine}: {', '.join(missing)} missing; `roomkey serve` requires pip install 'roomkey[server]'",
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
            yield "warn", f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
    try:
        environment_secret()
    except ConfigError as error:
        yield "fail", str(error)


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database
    if isinstance(path, str):
        if path.startswith(("postgresql://", "postgres://")):
            yield from _postgresql(path, settings.database_name)
        else:
            yield "warn", f"cannot check {settings.database_name}: doctor checks only SQLite files and PostgreSQL"
    elif not path.exists():
        yield "warn", f"no database {path} yet; create it with `roomkey user add NAME --room ROOM`"
    elif os.name == "posix" and path.stat().st_mode & 0o077:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield "fail", f"others can read {path} (mode {mode:04o}), which contains password hashes; run: chmod 600 {path}"
    else:
        yield _accounts(str(path), lambda: _count_sqlite(path))


def _postgresql(url: str, name: str) -> Iterator[Finding]:
    ahead: list[float] = []
    yield _accounts(name, lambda: _count_postgresql(url, ahead))
    if ahead:
        yield clock_finding("the database", ahead[0])
    if not re.match(r"postgresql://(/|localhost|127\.|\[::1\])", name) and "sslmode=verify-" not in url:
        yield "warn", f"the connection to {name} may be unencrypted or intercepted; add ?sslmode=verify-full to its URL"


def _accounts(name: str, count: Callable[[], int]) -> Finding:
    try:
        number = count()
    except (sqlite3.Error, ConfigError, AuthError) as error:
        remedies = (remedy for failure, remedy in REMEDIES.items() if str(error).endswith(failure))
        return "fail", f"cannot read the accounts in {name}: {error}{next(remedies, '')}"
    if number:
        return "ok", f"{number} account(s) in {name}"
    return "warn", f"no accounts in {name} yet; add one with `roomkey user add NAME --room ROOM`"


def _count_sqlite(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM users").fetchone()[0])


def _count_postgresql(url: str, ahead: list[float]) -> int:
    """Return the number of accounts, and append how many seconds the clock of the database is ahead."""
    with needs("server"):
        from sqlalchemy import extract, func, inspect, select, table

        from roomkey.stores import Database

    async def count() -> int:
        database = Database(url)
        try:
            begun = time.time()
            [row] = await database.rows(select(extract("epoch", func.clock_timestamp())))
            ahead.append(float(row[0]) - (begun + time.time()) / 2)
            if not await database.run(lambda made: made.run_sync(lambda here: inspect(here).has_table("users"))):
                return 0
            return int((await database.rows(select(func.count()).select_from(table("users"))))[0][0])
        finally:
            await database.close()

    return asyncio.run(count())
