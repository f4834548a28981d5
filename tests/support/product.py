"""The application in a thread of the test's process, so that a test can use the page and call the guard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from argon2 import PasswordHasher
from support.live import Raw

from roomkey import Key, KeySet, Policy
from roomkey.auth import Passwords
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import runner
from roomkey.server.app import Application, build
from roomkey.server.demo import ROOMS, add_accounts
from roomkey.server.listening import listen
from roomkey.server.providers import Provider
from roomkey.server.run import uvicorn_config
from roomkey.server.settings import Settings
from roomkey.stores import Stores

T = TypeVar("T")
PATIENCE = 20.0


class ProductThread:
    """A running product with the demo's accounts.

    It is served as ``roomkey serve`` serves it, with cheap passwords: a process takes two seconds of CPU to start.
    """

    product: Application
    guard: AsyncioGuard
    url: str

    def __init__(
        self,
        settings: Settings,
        *,
        policy: Policy | None = None,
        providers: Mapping[str, Provider] | None = None,
        **stores: Any,
    ) -> None:
        self._settings = settings
        self._rules: dict[str, Any] = {"policy": policy, "providers": providers}
        self._own_stores = {name: store for name, store in stores.items() if store is not None}
        self._passwords: dict[str, str] = {}
        self._started = threading.Event()
        self._port = 0

    def passwords(self) -> dict[str, str]:
        return self._passwords

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def product_keys(self, number: int) -> Any:
        """Return the key set of the provider with this number."""
        return self.product.providers[number].keys

    async def present(self, token: str) -> tuple[Raw, str]:
        """Connect with a token; return the connection and the answer."""
        raw = await Raw.open(self.url.removeprefix("http://"))
        return raw, await raw.ask({"token": token})

    def token_id(self, subject: str) -> str:
        """Return the ``jti`` of the subject's only socket."""
        [found] = [one.identity for one in self.guard.index if one.identity.subject == subject]
        return str(found.token_id)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        stores = replace(Stores.at(), **self._own_stores)
        await stores.open()
        passwords = Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self._passwords = {one.username: one.password for one in await add_accounts(stores.accounts, passwords)}
        keys = KeySet([Key.generate(self._settings.algorithm)])
        self.product = build(self._settings, stores, keys, passwords=passwords, rooms=ROOMS, **self._rules)
        self.guard = self.product.backend.guard
        with listen("127.0.0.1", self._port) as listener:
            self._port = listener.getsockname()[1]
            self.url = f"http{'s' if self._settings.has_tls else ''}://127.0.0.1:{self._port}"
            config = uvicorn_config(self._settings, self.product)
            self._server = runner.Server(self.product, config, self._started.set)
            await self._server.serve(sockets=[listener])
        passwords.close()
        await stores.close()

    def start(self) -> None:
        """Serve. After :meth:`stop`, serve again on the same port with other keys and passwords."""
        self._started.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    @classmethod
    @contextmanager
    def running(cls, settings: Settings, **stores: Any) -> Iterator[ProductThread]:
        """Start it, and stop it at the end.

        Pass ``policy``, ``providers``, or stores by their name in :class:`Stores`.
        """
        made = cls(settings, **stores)
        made.start()
        yield made
        made.stop()
