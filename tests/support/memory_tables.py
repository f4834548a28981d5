"""The tables of databases in memory: creating them with Alembic takes longer than most tests that need them."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["copy_tables"]

CREATED = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


def copy_tables() -> None:
    """Let Alembic create the tables of the first database in memory, and copy them to the later ones.

    Databases in files and on PostgreSQL are not affected. Neither are processes that tests start.
    """
    sql: Any = sys.modules.get("roomkey.stores.sql")
    if sql is None:  # no test uses it
        return
    migrate = sql.upgrade
    statements: list[str] = []

    def upgrade(connection: Any) -> None:
        if connection.dialect.name != "sqlite" or connection.engine.url.database is not None:
            migrate(connection)
        elif statements:
            for statement in statements:
                connection.exec_driver_sql(statement)
        else:
            migrate(connection)
            created = connection.exec_driver_sql(CREATED)
            [version] = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
            statements[:] = [*created.scalars(), f"INSERT INTO alembic_version VALUES ('{version}')"]

    sql.upgrade = upgrade
