"""Run the server: listen on the port, handle signals, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.run"):
    import uvicorn
    from rich.console import Console

from roomkey import Key, KeySet, Policy
from roomkey.auth import Passwords
from roomkey.errors import ConfigError
from roomkey.hub import Hub, runner
from roomkey.hub.http.uvicorn_private.checks import check_uvicorn
from roomkey.keysets import KeyFolder, environment_key, load_or_create, load_or_create_secret
from roomkey.server import demo as demo_accounts
from roomkey.server import logs
from roomkey.server.app import Application, build
from roomkey.server.providers import Provider
from roomkey.server.request_hardening import MAX_BODY
from roomkey.server.settings import Settings, check_exposure
from roomkey.stores import Stores

__all__ = ["serve"]


def serve(
    settings: Settings,
    *,
    policy: Policy | None = None,
    providers: Mapping[str, Provider] | None = None,
    demo: bool = False,
    credentials_file: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: the settings, from :func:`roomkey.server.settings.load_settings`.
        policy: the rules, from :func:`roomkey.server.policy_file.load_policy`.
        providers: the providers, from :func:`roomkey.server.providers.load_providers`.
        demo: True to use demo accounts, a database and keys that exist only while the server runs.
        credentials_file: a file for the passwords of the demo accounts, for tests.

    Raises:
        ConfigError: the server cannot start. The text is one line that says what to do.
    """
    check_exposure(settings)
    _check_tls(settings)
    listener = listen(settings.host, settings.port)
    logs.configure()
    with contextlib.closing(listener), asyncio.Runner(loop_factory=runner.loop_factory()) as loop:
        loop.run(_serve(settings, policy, providers or {}, listener, demo, credentials_file))


def _config(settings: Settings, application: Application) -> uvicorn.Config:
    options: dict[str, Any] = {
        "log_config": None,
        "proxy_headers": settings.behind_proxy,
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
    }
    if isinstance(application.backend.sio, Hub):
        config = runner.config(application.backend.sio, **options)
        config.app = application.asgi  # with the middleware in front of the hub
        return config
    check_uvicorn()
    return uvicorn.Config(
        application.asgi,
        ws_max_size=MAX_BODY,
        **{**runner.UVICORN_SETTINGS, **options},
    )


def _check_tls(settings: Settings) -> None:
    """Read the certificate as uvicorn will, so that an error is one line."""
    if settings.tls_cert is None:
        return
    for path in (settings.tls_cert, settings.tls_key):
        if path is not None and path.exists() and not path.is_file():  # OpenSSL would block on a named pipe
            raise ConfigError(f"TLS: {path} is not a regular file")
    try:
        # Without this password, OpenSSL would ask for one on the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key, password=""
        )
    except OSError as error:  # includes ssl.SSLError
        raise ConfigError(
            f"TLS: cannot use {settings.tls_cert} and {settings.tls_key}: {error.strerror or error}; "
            "use PEM files, and a key without a password"
        ) from None


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the port is in use or not permitted, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(_listen_error(error, host, port)) from None
    return listener


def _listen_error(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8000
        return f"port {port} is in use; choose another (--port {other}, make serve PORT={other}), or stop that program"
    if error.errno == errno.EACCES:
        return f"port {port} requires special permissions; choose another, such as --port 8000"
    return f"cannot listen on {host} port {port}: {error.strerror}"


async def _serve(
    settings: Settings,
    policy: Policy | None,
    providers: Mapping[str, Provider],
    listener: socket.socket,
    demo: bool,
    credentials_file: Path | None,
) -> None:
    stores = Stores.at(None if demo else settings.database)
    passwords = Passwords()
    people: list[demo_accounts.DemoAccount] = []
    try:
        await stores.open()
        if demo:
            secret = None
            keys: KeySet | KeyFolder = KeySet([Key.generate(settings.algorithm)])
            people = await demo_accounts.add_accounts(stores.accounts, passwords)
        else:
            secret = load_or_create_secret(settings.keys / "refresh.secret")
            keys = _keys(settings)
        rooms = demo_accounts.ROOMS if demo else ()
        application = build(
            settings,
            stores,
            keys,
            policy=policy,
            providers=providers,
            secret=secret,
            passwords=passwords,
            rooms=rooms,
        )
        if credentials_file is not None:
            demo_accounts.write_credentials(credentials_file, people)
        empty = not await stores.accounts.all()
        announce = partial(_announce, settings, listener, people, empty)
        with runner.frozen_heap() as freeze:

            def started() -> None:
                freeze()
                announce()

            await runner.Server(application, _config(settings, application), started).serve(sockets=[listener])
    finally:
        passwords.close()
        await stores.close()


def _keys(settings: Settings) -> KeySet | KeyFolder:
    """Return the key in ``ROOMKEY_KEY``, else the folder, which can be rotated while the server runs."""
    if (key := environment_key(settings.algorithm)) is not None:
        return KeySet([key])
    load_or_create(settings.keys, settings.algorithm)
    return KeyFolder(settings.keys, settings.algorithm, settings.token_lifetime)


def _announce(
    settings: Settings, listener: socket.socket, people: list[demo_accounts.DemoAccount], empty: bool
) -> None:
    console = Console(highlight=False)
    if people:
        demo_accounts.print_table(console, people)
    if empty:
        console.print("No accounts yet. Add one with: roomkey user add NAME --room ROOM", soft_wrap=True, markup=False)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{'https' if settings.has_tls else 'http'}://{host}:{listener.getsockname()[1]}"
    console.print(f"roomkey serves {url} (stop with Ctrl+C)", soft_wrap=True, markup=False)
