"""The migrations of the tables, in order (Alembic; internal)."""

from __future__ import annotations

from pathlib import Path

from roomkey.extras import needs

with needs("sql", "roomkey.stores.migrations"):
    from sqlalchemy import Connection, inspect, text

__all__ = ["NEWEST", "upgrade"]

NEWEST = "0006"
"""The version of the tables that this program requires."""


def upgrade(connection: Connection) -> None:
    """Bring the tables of a database up to date, in the transaction of this connection.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database failed, or a newer program created it.
    """
    if _version(connection) == NEWEST:  # the usual case; loading Alembic takes long
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
