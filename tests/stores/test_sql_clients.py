"""OAuth clients, in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from roomkey import ConfigError
from roomkey.stores import Client, ClientExists, ClientNotFound, SqlClients

APP = Client(
    "app",
    title="The app",
    redirect_uris=("https://app.example/callback", "http://127.0.0.1:3000/", "com.example.app:/callback"),
    grants=("authorization_code", "refresh_token"),
    scopes=("chat", "profile"),
    first_party=True,
)
SERVICE = Client("service", "0" * 64, grants=("client_credentials",), roles=("bot",), rooms=("lobby",))


@pytest.fixture(params=["sqlite", "postgresql"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlClients]:
    where = tmp_path / "db.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    made = SqlClients(where, clock=lambda: 5.0)
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("grants", [APP.grants, (*APP.grants, "client_credentials")])
def test_client_with_redirect_uris_cannot_have_a_reserved_scope(grants):
    with pytest.raises(ConfigError, match="add a service without a redirect URI"):
        replace(APP, secret_hash="0" * 64, grants=grants, scopes=("chat", "roomkey:admin"))
    assert replace(SERVICE, scopes=("roomkey:admin",)).scopes == ("roomkey:admin",)


async def test_stored_client_with_redirect_uris_loses_reserved_scopes(clients):
    await clients.add(APP)
    stored = r"""UPDATE clients SET scopes = '["chat", "roomkey\:admin"]' WHERE client_id = 'app'"""
    await clients._database.change(text(stored))
    assert (await clients.find("app")).scopes == ("chat",)
    assert [one.scopes for one in await clients.all()] == [("chat",)]


async def test_added_client_is_found_unchanged(clients):
    for client in (SERVICE, APP):
        await clients.add(client)
    assert await clients.find("app") == replace(APP, created_at=5)
    assert await clients.all() == [replace(APP, created_at=5), replace(SERVICE, created_at=5)]
    for nobody in ("App", "", "a\0", "x" * 1000):
        assert await clients.find(nobody) is None


async def test_name_can_be_added_once(clients):
    await clients.add(APP)
    with pytest.raises(ClientExists):
        await clients.add(replace(SERVICE, client_id="app"))
    assert (await clients.find("app")).title == "The app"


async def test_client_can_be_disabled_and_enabled(clients):
    await clients.add(APP)
    for disabled in (True, False):
        await clients.set_disabled("app", disabled)
        assert (await clients.find("app")).disabled is disabled
    with pytest.raises(ClientNotFound):
        await clients.set_disabled("nobody", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "with space"},
        {"grants": ("password",)},
        {"grants": ("client_credentials",)},
        {"grants": ("authorization_code",), "redirect_uris": ()},
        {"redirect_uris": ("/callback",)},
        {"redirect_uris": ("https://app.example/#x",)},
        {"redirect_uris": ("https://app.example/ x",)},
        {"redirect_uris": ("https://äpp.example/",)},
        {"redirect_uris": ("http://app.example/",)},
        {"redirect_uris": ("javascript://x/%0aalert(1)",)},
        {"redirect_uris": ("myapp://callback",)},
        {"redirect_uris": ("https://app.example/\x00x",)},
        {"redirect_uris": ("https://app.example/\x7f",)},
        {"redirect_uris": ("https://evil.example\\.good.example/",)},
        {"redirect_uris": ("https://app.example/?state=1",)},
        {"redirect_uris": ("https://app.example/?x=1&code",)},
        {"scopes": ("a b",)},
        {"scopes": ('a"b',)},
        {"scopes": ("",)},
    ],
)
def test_invalid_client_raises(wrong):
    with pytest.raises(ConfigError):
        replace(APP, **wrong)
