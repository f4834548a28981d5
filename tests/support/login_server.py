"""A login server and a hub in one application, with a clock that tests advance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from support.clock import FakeClock
from support.live import Raw, serve
from support.rawsocket import PATIENCE
from support.tokens import issuer_at
from support.world import HEARTBEAT

from roomkey.auth import LoginService, Passwords, Tickets, TicketVerifier, router
from roomkey.guard import revocation_sync
from roomkey.hub import ASGIApp, Hub
from roomkey.stores import Account, Database, SqlAccounts, SqlRevocations, SqlSessions, SqlSingleUseStore
from roomkey.stores.sql import Where

PASSWORD = "correct horse battery"
SECRET = b"for tests only: 32 bytes or more"
NEW_PASSWORD = "a better battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED = CHEAP.hash(PASSWORD)


class LoginServer:
    """One node.

    Args:
        where: its database; several nodes may share one.
        settings: of :class:`LoginService`.
    """

    def __init__(
        self,
        where: Where = None,
        *,
        clock: FakeClock | None = None,
        hub: dict[str, Any] | None = None,
        routes: dict[str, Any] | None = None,
        passwords: Passwords | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.database = Database.at(where)
        self.accounts = settings.pop("accounts", None) or SqlAccounts(self.database)
        self.sessions = SqlSessions(self.database)
        self.single_use = SqlSingleUseStore(self.database)
        self.issuer = issuer_at(self.clock, token_type="at+jwt")
        self.hub = Hub(
            TicketVerifier(self.issuer.verifier(leeway=0), self.single_use),
            revocations=SqlRevocations(self.database),
            clock=self.clock,
            **HEARTBEAT,
            **(hub or {}),
        )
        given = {"secret": SECRET, "clock": self.clock.now, "passwords": passwords or Passwords(hasher=CHEAP)}
        self.logins = LoginService(self.accounts, self.sessions, self.issuer, self.hub.guard, **given | settings)
        tickets = Tickets(self.single_use, clock=self.clock.now)
        self.app = FastAPI()
        self.app.routes.extend(router(self.logins, tickets=tickets, **(routes or {})).routes)  # include_router is slow
        self.asgi = ASGIApp(self.hub, self.app)
        self.http = self.client()
        self.host = ""
        self._sockets: list[Raw] = []

    def client(self, address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
        """Return an HTTP client at some address."""
        transport = httpx.ASGITransport(self.app, client=(address, 1), raise_app_exceptions=False)
        return httpx.AsyncClient(**{"transport": transport, "base_url": "http://login.example"} | options)

    async def login(self, username: str = "ada", password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.http.post("/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post("/auth/refresh", json={"refresh_token": token})

    async def post(self, path: str, tokens: dict[str, Any], **body: Any) -> httpx.Response:
        return await self.http.post(f"/auth/{path}", headers=bearer(tokens), json=body or None)

    async def socket(self, tokens: dict[str, Any]) -> Raw:
        """Return an admitted socket, over the real port."""
        raw = await self.raw()
        reply = await raw.ask({"token": tokens["access_token"]})
        assert reply.startswith("40"), reply
        return raw

    async def raw(self, query: str = "") -> Raw:
        """Return a connection without an admitted socket."""
        raw = await Raw.open(self.host, query=query)
        self._sockets.append(raw)
        return raw

    async def is_good(self, tokens: dict[str, Any]) -> bool:
        """Return True if the access token is still accepted."""
        return (await self.http.get("/auth/sessions", headers=bearer(tokens))).status_code == 200

    async def add_people(self) -> None:
        await self.accounts.add(Account("ada", HASHED, roles=("admin",), rooms=("red",)))
        await self.accounts.add(Account("grace", HASHED))

    async def close(self) -> None:
        for raw in self._sockets:
            await raw.close()
        await self.http.aclose()
        await self.hub.close()
        self.logins.passwords.close()
        await self.database.close()


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@asynccontextmanager
async def running(where: Where = None, *, port: bool = False, **settings: Any) -> AsyncIterator[LoginServer]:
    """One node with two accounts; with ``port``, sockets can be opened.

    It has more time for its store than a real one: on a busy machine an honest answer may take seconds, and no test
    here is about that.
    """
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(revocation_sync, "STORE_SECONDS", PATIENCE)
        made = LoginServer(where, **settings)
        stack.push_async_callback(made.close)
        await made.database.open()
        if isinstance(made.accounts, SqlAccounts) and not await made.accounts.all():
            await made.add_people()
        if port:
            made.host = await stack.enter_async_context(serve(made.asgi))
        yield made
