"""Run the server in one process: listen on the port, handle signals, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from roomkey.hub.http.acceptor import Load
from roomkey.hub.http.uvicorn_private.checks import check_uvicorn
from roomkey.keysets import KeyFolder, environment_key, load_or_create, load_or_create_secret
from roomkey.server import demo as demo_accounts
from roomkey.server import logs
from roomkey.server.app import Application, build
from roomkey.server.cluster import make_cluster
from roomkey.server.draining import Drain
from roomkey.server.listening import listen, shown_url
from roomkey.server.providers import Provider
from roomkey.server.request_hardening import MAX_BODY
from roomkey.server.settings import Settings, check_exposure, missing_on_other_machines
from roomkey.stores import Stores

__all__ = ["Worker", "run_worker", "serve"]


@dataclass(frozen=True, slots=True)
class Worker:
    """What is different in a process that serves the port together with others.

    Attributes:
        load: compares its connections with those of the others.
        others: returns how many nodes take over its clients when it stops, of the other live nodes of the cluster.
        started: called with the server when it serves.
        prepares: True for the first process, which creates accounts of the demo and announces them.
        number: its number, from 1; its successor has the same.
        folder: the private folder of the workers; its name is random.
        slot: its number among all processes of the parent; unlike ``number``, no two have the same.
    """

    load: Load
    others: Callable[[int], int]
    started: Callable[[runner.Server, Drain], None]
    prepares: bool
    number: int
    folder: Path
    slot: int


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
        settings: the settings, from :func:`roomkey.server.settings_sources.load_settings`.
        policy: the rules, from :func:`roomkey.server.policy_file.load_policy`.
        providers: the providers, from :func:`roomkey.server.providers.load_providers`.
        demo: True to use demo accounts, a database and keys that exist only while the server runs.
        credentials_file: a file for the passwords of the demo accounts, for tests.

    Raises:
        ConfigError: the server cannot start. The text is one line that says what to do.
    """
    check_exposure(settings)
    _check_tls(settings)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        logs.configure()
        logs.warn(missing_on_other_machines(settings))
        _run(_Process(settings, policy, providers or {}, listener, demo, credentials_file))


def run_worker(
    settings: Settings,
    worker: Worker,
    listener: socket.socket,
    *,
    policy: Policy | None = None,
    providers: Mapping[str, Provider] | None = None,
    demo: bool = False,
    credentials_file: Path | None = None,
) -> None:
    """Serve in a process of several, until the parent says so. Database and keys are files, also those of a demo.

    The settings can be newer than the socket, which the parent keeps: so its address counts, and not theirs.

    The arguments are those of :func:`serve`.
    """
    check_exposure(settings.model_copy(update={"host": listener.getsockname()[0]}))
    _check_tls(settings)
    _run(_Process(settings, policy, providers or {}, listener, demo, credentials_file, worker))


def _run(process: _Process) -> None:
    with asyncio.Runner(loop_factory=runner.loop_factory()) as loop:
        loop.run(process.serve())


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


def uvicorn_config(settings: Settings, application: Application) -> uvicorn.Config:
    """Return uvicorn's configuration for the application."""
    options: dict[str, Any] = {
        "log_config": None,
        "proxy_headers": settings.behind_proxy,
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
    }
    if isinstance(application.backend.sio, Hub):
        # The middleware is in front of the hub. Its headers are also those of requests that do not pass through it.
        config = runner.config(application.backend.sio, poll_headers=application.asgi.headers, **options)
        config.app = application.asgi
        return config
    check_uvicorn()
    return uvicorn.Config(
        application.asgi,
        ws_max_size=MAX_BODY,
        **{**runner.UVICORN_SETTINGS, **options},
    )


def _keys(settings: Settings, *, demo: bool = False) -> KeySet | KeyFolder:
    """Return the key in ``ROOMKEY_KEY``, else the folder, which can be rotated while the server runs."""
    if not demo and (key := environment_key(settings.algorithm)) is not None:
        return KeySet([key])
    load_or_create(settings.keys, settings.algorithm)
    return KeyFolder(settings.keys, settings.algorithm, settings.token_lifetime)


@dataclass(frozen=True, slots=True)
class _Process:
    """One process that serves, alone or with others."""

    settings: Settings
    policy: Policy | None
    providers: Mapping[str, Provider]
    listener: socket.socket
    demo: bool
    credentials_file: Path | None
    worker: Worker | None = None

    async def serve(self) -> None:
        """Serve until the stop."""
        worker = self.worker
        cluster = make_cluster(self.settings, *(() if worker is None else (worker.folder, worker.slot)))
        stores = Stores.at(None if self._is_in_memory else self.settings.database)
        passwords = Passwords()
        try:
            await stores.open()
            people = await self._add_people(stores, passwords)
            secret, keys = self._secrets()
            drain = self._drain()
            application = build(
                self.settings,
                stores,
                keys,
                policy=self.policy,
                providers=self.providers,
                secret=secret,
                passwords=passwords,
                rooms=demo_accounts.ROOMS if self.demo else (),
                problem=drain.problem,
                cluster=cluster,
                worker=str(worker.number) if worker is not None else "1",
                machine=worker.folder.name if worker is not None else "",
            )
            empty = self._prepares and not await stores.accounts.all()
            await self._serve(application, drain, lambda: self._announce(people, empty))
        finally:
            passwords.close()
            await stores.close()

    async def _serve(self, application: Application, drain: Drain, announce: Callable[[], None]) -> None:
        config = uvicorn_config(self.settings, application)
        if isinstance(hub := application.backend.sio, Hub):
            drain.sessions = lambda: list(hub.sessions.active.values())
            drain.others = lambda: self._others(hub)
            await hub.open()
        with runner.frozen_heap() as freeze:

            def started() -> None:
                freeze()
                announce()
                if self.worker is not None:
                    self.worker.started(server, drain)

            load = self.worker.load if self.worker is not None else None
            server = runner.Server(application, config, started, draining=drain, load=load)
            await server.serve(sockets=[self.listener])

    def _others(self, hub: Hub) -> int:
        """Return how many other nodes take over the clients of this one."""
        cluster = hub.application.cluster
        live = 0 if cluster is None else len(cluster.node.live)
        return live if self.worker is None else self.worker.others(live)

    @property
    def _is_in_memory(self) -> bool:
        return self.demo and self.worker is None

    @property
    def _prepares(self) -> bool:
        return self.worker is None or self.worker.prepares

    async def _add_people(self, stores: Stores, passwords: Passwords) -> list[demo_accounts.DemoAccount]:
        if not (self.demo and self._prepares):
            return []
        people = await demo_accounts.add_accounts(stores.accounts, passwords)
        if self.credentials_file is not None:
            demo_accounts.write_credentials(self.credentials_file, people)
        return people

    def _secrets(self) -> tuple[bytes | None, KeySet | KeyFolder]:
        """Return the secret of the refresh tokens and the keys of the access tokens."""
        settings = self.settings
        if self._is_in_memory:
            return None, KeySet([Key.generate(settings.algorithm)])
        return load_or_create_secret(settings.keys / "refresh.secret"), _keys(settings, demo=self.demo)

    def _drain(self) -> Drain:
        settings = self.settings
        return Drain(
            delay=settings.drain_delay,
            longest=settings.drain_period,
            timeout=settings.drain_timeout,
        )

    def _announce(self, people: list[demo_accounts.DemoAccount], empty: bool) -> None:
        """Print what the operator needs to know. With several processes, the parent prints the URL."""
        console = Console(highlight=False)
        if people:
            demo_accounts.print_table(console, people)
        if empty:
            text = "No accounts yet. Add one with: roomkey user add NAME --room ROOM"
            console.print(text, soft_wrap=True, markup=False)
        if self.worker is None:
            text = f"roomkey serves {shown_url(self.settings, self.listener)} (stop with Ctrl+C)"
            console.print(text, soft_wrap=True, markup=False)
