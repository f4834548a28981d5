"""What only the SQL store of OAuth clients does, in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from roomkey.stores import Client, SqlClients

APP = Client(
    "app",
    redirect_uris=("https://app.example/callback",),
    grants=("authorization_code",),
    scopes=("chat",),
)


@pytest.fixture
async def clients(where: Path | str) -> AsyncIterator[SqlClients]:
    made = SqlClients(where, clock=lambda: 5.0)
    await made.open()
    yield made
    await made.close()


async def test_clock_dates_new_clients(clients):
    await clients.add(APP)
    assert (await clients.find("app")).created_at == 5


async def test_stored_client_with_redirect_uris_loses_reserved_scopes(clients):
    await clients.add(APP)
    stored = r"""UPDATE clients SET scopes = '["chat", "roomkey\:admin"]' WHERE client_id = 'app'"""
    await clients._database.change(text(stored))
    assert (await clients.find("app")).scopes == ("chat",)
    assert [one.scopes for one in await clients.all()] == [("chat",)]
