"""The applications in docs/login.md work."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import HASHED, PASSWORD

from roomkey.auth import StandaloneAuthority
from roomkey.errors import RevokedToken
from roomkey.stores import Account

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs" / "login.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")


def blocks_up_to(words: str) -> list[str]:
    """Return the code of the page up to the block that contains these words."""
    [last] = [number for number, block in enumerate(BLOCKS) if words in block]
    return BLOCKS[: last + 1]


@asynccontextmanager
async def running(blocks: list[str]) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Run the application of these blocks with an account; yield its names and its address."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        if "hub = Hub(" in block:
            names.pop("asgi", None)  # every application says what serves it
        exec(compile(block, "login.md", "exec"), names)
    await names["stores"].accounts.add(Account("ada", HASHED, rooms=("red",)))
    async with serve(names["asgi"]) as host:
        yield names, host
    await names["hub"].close()
    await names["stores"].close()


APPLICATIONS = {"tokens": "async def refreshed", "cookies": "cookies=Cookies()))", "tickets": "tickets=Tickets("}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("kind", APPLICATIONS)
async def test_applications_log_in_refresh_admit_to_rooms_and_log_out(kind: str) -> None:
    async with (
        running(blocks_up_to(APPLICATIONS[kind])) as (names, host),
        httpx.AsyncClient(base_url=f"http://{host}") as http,
    ):
        tokens = (await http.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
        tokens = await names["refreshed"](http, tokens)
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        presented = tokens["access_token"]
        if kind == "tickets":
            presented = (await http.post("/auth/ticket", headers=header)).json()["ticket"]
        raw = await Raw.open(host)
        assert (await raw.ask({"token": presented})).startswith("40")
        for ack, (room, allowed) in enumerate([("red", True), ("blue", False)]):
            await raw.event("join-room", room, ack=ack)
            assert (await raw.expect_ack(ack))[0]["ok"] is allowed
        assert (await http.post("/auth/logout", headers=header)).json() == {"sockets": 1}
        assert await raw.is_closed()
        await raw.close()


@pytest.mark.usefixtures("environment")
async def test_own_routes_accept_the_token_until_it_is_revoked() -> None:
    async with (
        running(blocks_up_to("RoomKey(hub)")) as (_, host),
        httpx.AsyncClient(base_url=f"http://{host}") as http,
    ):
        tokens = (await http.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await http.get("/rooms", headers=header)).json() == ["red"]
        nobody = await http.get("/rooms")
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="roomkey"')
        await http.post("/auth/logout", headers=header)
        revoked = await http.get("/rooms", headers=header)
        assert (revoked.status_code, revoked.json()) == (401, {"detail": "jwt revoked"})
        assert revoked.headers["www-authenticate"] == 'Bearer realm="roomkey", error="invalid_token"'
        assert (await http.get("/reports", headers=header)).status_code == 401


@pytest.mark.usefixtures("environment")
async def test_process_on_the_same_database_rejects_revoked_tokens() -> None:
    async with (
        running(blocks_up_to("RoomKey(hub)")) as (names, host),
        httpx.AsyncClient(base_url=f"http://{host}") as http,
    ):
        tokens = (await http.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
        token = tokens["access_token"]
        await http.post("/auth/logout", headers={"Authorization": f"Bearer {token}"})
        verifier = names["issuer"].verifier()
        assert verifier.verify(token, time.time()).subject == "ada", "it reads no database"
        with pytest.raises(RevokedToken):
            await StandaloneAuthority(verifier, names["stores"].revocations).verify(token)
