"""Migrations bring databases of every version up to date."""

from __future__ import annotations

import sqlite3

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from roomkey.stores import (
    Account,
    Database,
    SqlAccounts,
    probe,
    sql_accounts,
    sql_clients,
    sql_links,
    sql_revocations,
    sql_sessions,
    sql_single_use,
)
from roomkey.stores.migrations import NEWEST
from roomkey.stores.sql import Base

TABLES = (
    sql_accounts,
    sql_clients,
    sql_single_use,
    probe,
    sql_sessions,
    sql_revocations,
    sql_links,
)  # each defines its own


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


async def test_migrations_create_the_tables_of_the_program(where):
    database = Database(where)
    await database.open()
    assert await database.run(lambda connection: connection.run_sync(differences)) == []
    assert (await database.rows(text("SELECT version_num FROM alembic_version")))[0][0] == NEWEST
    await database.close()


async def test_database_without_version_keeps_its_accounts(tmp_path):
    path = tmp_path / "old.sqlite3"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE users (username VARCHAR(150) PRIMARY KEY, password_hash VARCHAR NOT NULL,"
            " roles JSON NOT NULL,"
            " rooms JSON NOT NULL, disabled BOOLEAN NOT NULL, created_at INTEGER NOT NULL)"
        )
        old.execute("""INSERT INTO users VALUES ('ada', 'x', '["admin"]', '[]', 0, 5)""")
    store = SqlAccounts(path)
    await store.open()
    assert await store.find("ada") == Account("ada", "x", roles=("admin",), created_at=5)
    await store.close()


async def test_several_stores_share_one_database(tmp_path):
    database = Database(tmp_path / "db.sqlite3")
    one, two = SqlAccounts(database), SqlAccounts(database)
    await one.open()
    await two.open()
    await one.add(Account("ada", "x", name="Ada Lovelace"))
    found = await two.find("ada")
    assert found is not None
    assert found.name == "Ada Lovelace"
    await database.close()
