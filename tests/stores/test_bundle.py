"""All stores of a server, opened in one place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError
from roomkey.stores import Account, Client, Database, LoginSession, MemoryRevocations, RotationResult, Stores

SESSION = LoginSession("s1", "ada", "roomkey", auth_time=100, used_at=100, expires_at=1000)
REVOKED = Revocation("token", "t1", expires_at=1000.0)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    # PostgreSQL ends the transaction of a process that does not continue: a busy machine has more time here.
    monkeypatch.setattr("roomkey.stores.sql.PATIENCE", 60.0)


async def fill(stores: Stores) -> None:
    await stores.accounts.add(Account("ada", "hash"))
    await stores.clients.add(Client("app"))
    await stores.sessions.add(SESSION, "r1")
    await stores.single_use.store("ticket", "v1", {"n": 1}, 1000)
    await stores.revocations.add(REVOKED)


async def check_filled(stores: Stores) -> None:
    assert [account.username for account in await stores.accounts.all()] == ["ada"]
    assert [client.client_id for client in await stores.clients.all()] == ["app"]
    assert await stores.sessions.list_for("ada", 200) == [SESSION]
    assert await stores.sessions.rotate("r1", "r2", 200, 0) is RotationResult.ROTATED
    consumed = await stores.single_use.consume("ticket", "v1", 200)
    assert consumed is not None
    assert (consumed.data, consumed.already_used) == ({"n": 1}, False)
    assert (await stores.revocations.since(0))[0] == [REVOKED]
    assert await stores.find_problem() is None


async def test_stores_keep_everything_in_one_database(where: Path | str) -> None:
    async with Stores.at(where) as stores:
        await fill(stores)
    async with Stores.at(where) as stores:
        await check_filled(stores)


async def test_stores_without_an_argument_are_in_memory() -> None:
    async with Stores.at() as stores, Stores.at() as others:
        await fill(stores)
        await check_filled(stores)
        assert await others.accounts.all() == []


async def test_stores_can_share_a_database_with_others(tmp_path: Path) -> None:
    database = Database(tmp_path / "roomkey.sqlite3")
    async with Stores.at(database) as stores:
        await fill(stores)
        await check_filled(Stores.at(database))


async def test_one_store_can_be_replaced(tmp_path: Path) -> None:
    async with replace(Stores.at(tmp_path / "roomkey.sqlite3"), revocations=MemoryRevocations()) as stores:
        await fill(stores)
    async with Stores.at(tmp_path / "roomkey.sqlite3") as stores:
        assert (await stores.revocations.since(0))[0] == []
        assert await stores.accounts.find("ada") is not None


async def test_stores_reject_another_kind_of_url() -> None:
    with pytest.raises(ConfigError, match="use a file path or a postgresql:// URL"):
        Stores.at("mysql://localhost/db")
