"""The effect of commands on the connected sockets of a server on the same database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import CHEAP, HASHED, PASSWORD

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.server.app import Application, build
from roomkey.server.settings import Settings
from roomkey.stores import Account, Client, Stores


class Running:
    """A product in the test's event loop, and the command line beside it."""

    def __init__(self, product: Application, host: str, http: httpx.AsyncClient, cli: Any) -> None:
        self.product, self.host, self.http, self.cli = product, host, http, cli
        self.sockets: list[Raw] = []

    async def roomkey(self, *arguments: str) -> str:
        """What a command says; it has an event loop of its own."""
        ran = await asyncio.to_thread(self.cli, *arguments)
        assert (ran.code, ran.err) == (0, "")
        return str(ran.out)

    async def socket(self, token: str) -> Raw:
        raw = await Raw.open(self.host)
        self.sockets.append(raw)
        assert (await raw.ask({"token": token})).startswith("40")
        return raw

    async def join(self, raw: Raw, room: str, ack: int) -> Any:
        await raw.event("join-room", room, ack=ack)
        return (await raw.expect_ack(ack))[0]


@pytest.fixture
async def running(here: Path, roomkey: Any) -> AsyncIterator[Running]:
    stores, passwords = Stores.at(here / "roomkey.sqlite3"), Passwords(hasher=CHEAP)
    await stores.accounts.add(Account("ada", HASHED, rooms=("red",)))
    for name in ("app", "bot"):
        await stores.clients.add(Client(name, "0" * 64, grants=("client_credentials",)))
    product = build(
        Settings(),
        stores,
        KeySet([Key.generate("ES256")]),
        passwords=passwords,
    )
    async with serve(product.asgi) as host, httpx.AsyncClient(base_url=f"http://{host}") as http:
        made = Running(product, host, http, roomkey)
        yield made
        for raw in made.sockets:
            await raw.close()
        await product.close()
    passwords.close()
    await stores.close()


@pytest.mark.parametrize("command", ["disable", "remove"])
async def test_client_disable_disconnects_its_sockets(running: Running, tables: Any, command: str) -> None:
    issue = running.product.issuer.issue
    await asyncio.to_thread(tables.log_in, "s1", client_id="app")
    hers = await running.socket(issue("ada", session_id="s1", claims={"client_id": "app"}))
    its_own, others = await running.socket(issue("app")), await running.socket(issue("bot"))
    await running.roomkey("client", command, "app")
    for ended in (hers, its_own):
        assert (await ended.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
        assert await ended.is_closed()
    assert not (await running.join(others, "red", 1))["ok"], "it is still there to be refused"


async def test_user_set_updates_sockets_and_existing_tokens(running: Running) -> None:
    asked = {"username": "ada", "password": PASSWORD}
    tokens = (await running.http.post("/auth/login", json=asked)).json()
    raw = await running.socket(tokens["access_token"])
    assert await running.join(raw, "red", 1) == {"ok": True}

    said = await running.roomkey("user", "set", "ada", "--room", "blue")
    assert said.endswith("running servers update connected sockets and tokens within a second\n")
    assert await raw.expect_event("permissions_changed") == [{"left": ["red"]}]
    assert not (await running.join(raw, "red", 3))["ok"]
    assert await running.join(raw, "blue", 4) == {"ok": True}
