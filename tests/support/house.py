"""The application on a database, with a clock that tests can set back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from support.live import Raw, serve
from support.login_server import CHEAP, HASHED, PASSWORD
from support.oauth import challenge_of
from typer.testing import CliRunner

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.cli.app import app as cli
from roomkey.errors import AuthError
from roomkey.server.app import build
from roomkey.server.settings import Settings
from roomkey.stores import Account, Client, Database, SqlAccounts, SqlClients, Stores

URL = "http://127.0.0.1:8000"
BACK = "https://app.example/back"
KEYS = KeySet([Key.generate("ES256")])


class House:
    """One process, and the credentials that a user may hold."""

    def __init__(self, database: Database, engine: Any) -> None:
        self.database, self.ago = database, 0.0
        self.settings = Settings(engine=engine, admin_api=True, issuer=URL)
        self.clients = SqlClients(database)
        self.product = build(
            self.settings,
            Stores.at(database),
            KEYS,
            passwords=Passwords(hasher=CHEAP),
            clock=lambda: time.time() - self.ago,
        )
        self.guard = self.product.backend.guard
        self.http: httpx.AsyncClient
        self.host = ""

    async def held(self, ago: float) -> dict[str, Any]:
        """Log in this many seconds ago, and return every credential that a user may hold afterwards."""
        self.ago = ago
        login = (await self.http.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
        headers = {"Authorization": f"Bearer {login['access_token']}"}
        ticket = (await self.http.post("/auth/ticket", headers=headers)).json()["ticket"]
        asked = {"response_type": "code", "client_id": "app", "redirect_uri": BACK}
        proof = {"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256"}
        form = asked | proof | {"username": "ada", "password": PASSWORD}
        back = (await self.http.post("/oauth/authorize", data=form)).headers["location"]
        self.ago = 0.0
        raw = await Raw.open(self.host)
        assert (await raw.ask({"token": login["access_token"]})).startswith("40")
        code = back.partition("code=")[2].partition("&")[0]
        return {"headers": headers, "login": login, "ticket": ticket, "code": code, "socket": raw}

    async def ended(self, held: dict[str, Any]) -> set[str]:
        """Return which of these credentials are not valid any more."""
        found = set()
        await held["socket"].sync()
        closed = await held["socket"].is_closed(0.3)
        if not closed and "unauthorized" in str(held["socket"].seen):
            closed = await held["socket"].is_closed()  # the event was sent, so the close follows
        if closed:
            found.add("socket")
        if (await self.http.get("/auth/sessions", headers=held["headers"])).status_code == 401:
            found.add("access token")
        refresh = {"refresh_token": held["login"]["refresh_token"]}
        if (await self.http.post("/auth/refresh", json=refresh)).status_code == 401:
            found.add("refresh token")
        try:
            await self.guard.verify(held["ticket"], source="auth")
        except AuthError:
            found.add("ticket")
        form = {"grant_type": "authorization_code", "client_id": "app", "code": held["code"]}
        form |= {"redirect_uri": BACK, "code_verifier": "v" * 43}
        if (await self.http.post("/oauth/token", data=form)).status_code == 400:
            found.add("code")
        return found

    async def operator(self, method: str, path: str, body: Any) -> httpx.Response:
        """Send a request to the admin API."""
        token = self.product.issuer.issue("ops", scopes=["roomkey:admin"])
        return await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    async def revoke(self, door: str, **names: Any) -> None:
        if door == "guard":
            await self.guard.revoke(**names)
        elif door == "api":
            assert (await self.operator("POST", "/api/revoke", names)).status_code == 200
        else:
            options = [text for name, value in names.items() for text in (f"--{name.replace('_', '-')}", str(value))]
            await self.command("token", "revoke", *options)

    async def command(self, *words: str) -> None:
        """Run a command on the same database."""
        ran = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--database", str(self.database._path)])
        assert ran.exit_code == 0, ran.output

    @classmethod
    @asynccontextmanager
    async def opened(cls, where: Any, engine: Any = "hub") -> AsyncIterator[House]:
        """Open another process on a database, with two accounts and an OAuth client."""
        made = cls(Database(where), engine)
        async with AsyncExitStack() as stack:
            await made.database.open()
            stack.push_async_callback(made.database.close)
            stack.push_async_callback(made.product.close)
            if not await SqlAccounts(made.database).all():
                await SqlAccounts(made.database).add(Account("ada", HASHED, roles=("admin",), rooms=("red", "blue")))
                grants = ("authorization_code", "refresh_token")
                await made.clients.add(Client("app", redirect_uris=(BACK,), grants=grants))
            made.host = await stack.enter_async_context(serve(made.product.asgi))
            made.http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{made.host}"))
            yield made
