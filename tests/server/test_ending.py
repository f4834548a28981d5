"""What a revocation ends, by every door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import CHEAP, HASHED, PASSWORD
from support.oauth import challenge_of
from typer.testing import CliRunner

from roomkey import Key, KeySet
from roomkey.auth.passwords import Passwords
from roomkey.cli.app import app as cli
from roomkey.core.revocations import Revocation
from roomkey.errors import AuthError
from roomkey.server.app import build
from roomkey.server.settings import Settings
from roomkey.stores.accounts import Account, SqlAccounts
from roomkey.stores.clients import Client, SqlClients
from roomkey.stores.one_time import SqlOneTime
from roomkey.stores.sessions import SqlSessions
from roomkey.stores.sql import Database
from roomkey.stores.sql_revocations import SqlRevocations

URL = "http://127.0.0.1:8000"
BACK = "https://app.example/back"
EVERYTHING = {"socket", "access token", "refresh token", "ticket", "code"}


class House:
    """The product over a database, at a time that tests set back, and what a person holds."""

    def __init__(self, database: Database, engine: Any) -> None:
        self.database, self.ago = database, 0.0
        self.settings = Settings(engine=engine, admin_api=True, issuer=URL)
        self.clients = SqlClients(database)
        self.product = build(
            self.settings,
            SqlAccounts(database),
            KeySet([Key.generate("ES256")]),
            revocations=SqlRevocations(database),
            sessions=SqlSessions(database),
            one_time=SqlOneTime(database),
            clients=self.clients,
            passwords=Passwords(hasher=CHEAP),
            clock=lambda: time.time() - self.ago,
        )
        self.guard = self.product.engine.guard
        self.http: httpx.AsyncClient
        self.host = ""

    async def held(self, ago: float) -> dict[str, Any]:
        """Log in so many seconds ago; everything that a person may hold afterwards."""
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
        """What of it is not good any more."""
        found = set()
        await held["socket"].sync()
        if await held["socket"].is_closed(0.3):
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

    async def revoke(self, door: str, **names: Any) -> None:
        if door == "guard":
            await self.guard.revoke(**names)
        elif door == "api":
            token = self.product.issuer.issue("ops", scopes=["roomkey:admin"])
            headers = {"Authorization": f"Bearer {token}"}
            assert (await self.http.post("/api/revoke", json=names, headers=headers)).status_code == 200
        else:
            options = [text for name, value in names.items() for text in (f"--{name.replace('_', '-')}", str(value))]
            command = ["token", "revoke", *options, "--database", str(self.database._path)]
            ran = await asyncio.to_thread(CliRunner().invoke, cli, command)
            assert ran.exit_code == 0, ran.output


@pytest.fixture
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    door = getattr(request, "param", "guard")
    made = House(Database(tmp_path / "roomkey.sqlite3"), "python-socketio" if door == "api" else "hub")
    async with AsyncExitStack() as stack:
        await made.database.open()
        stack.push_async_callback(made.database.close)
        stack.push_async_callback(made.product.close)
        await SqlAccounts(made.database).add(Account("ada", HASHED))
        grants = ("authorization_code", "refresh_token")
        await made.clients.add(Client("app", redirect_uris=(BACK,), grants=grants))
        made.host = await stack.enter_async_context(serve(made.product.asgi))
        made.http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{made.host}"))
        yield made


@pytest.mark.parametrize(("house", "door"), [(door, door) for door in ("guard", "api", "command")], indirect=["house"])
@pytest.mark.parametrize("what", ["subject", "older", "session", "nothing"])
async def test_a_revocation_ends_the_same_by_every_door(house, door, what):
    """Checklist 117: sockets, access tokens, refresh tokens, codes and tickets; of all times and of older ones."""
    old, new = await house.held(10), await house.held(0)
    verified = await house.guard.verify(old["login"]["access_token"])
    names, of_old, of_new = {
        "subject": ({"subject": "ada"}, EVERYTHING, EVERYTHING),
        "older": ({"subject": "ada", "issued_before": verified.issued_at + 5}, EVERYTHING, set()),
        # A code has a login of its own to come.
        "session": ({"session_id": verified.session_id}, EVERYTHING - {"code"}, set()),
        "nothing": ({"subject": "ada", "issued_before": 0}, set(), set()),
    }[what]
    await house.revoke(door, **names)
    if door == "command":
        await asyncio.sleep(1.5)  # the server reads it
    assert await house.ended(old) == of_old
    assert await house.ended(new) == of_new
    for one in (old, new):
        await one["socket"].close()


async def test_a_revocation_by_a_guard_without_logins_ends_refresh_tokens_too(house):
    """Checklist 117: such as one in another process, over the same store."""
    old, new = await house.held(10), await house.held(0)
    before = (await house.guard.verify(old["login"]["access_token"])).issued_at + 5
    revoked = Revocation("subject", "ada", issued_before=before, expires_at=time.time() + 900)
    await SqlRevocations(house.database).add(revoked)
    await asyncio.sleep(1.5)
    assert await house.ended(old) == EVERYTHING
    assert await house.ended(new) == set()
    for one in (old, new):
        await one["socket"].close()
