"""Commands on the stores that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roomkey.cli.output import fail, needs

if TYPE_CHECKING:
    from roomkey.auth.ending import StoredRevocations
    from roomkey.server.settings import Settings
    from roomkey.stores import Stores

__all__ = ["with_revocations", "with_stores"]

_Result = TypeVar("_Result")


def with_stores(settings: Settings, action: Callable[[Stores], Awaitable[_Result]], *, create: bool = True) -> _Result:
    """Run an action on the stores. If a name is taken or unknown, the command fails with one line.

    Args:
        settings: the settings that name the database.
        action: what to do.
        create: False to fail if the file is missing: no server would read what the command writes to a new one.

    Raises:
        ConfigError: the database cannot be used.
        Unavailable: PostgreSQL does not respond.
    """
    with needs("server"):
        import sqlalchemy  # noqa: F401

        from roomkey.stores import AccountExists, AccountNotFound, ClientExists, ClientNotFound, LinkExists, Stores
    if not create and isinstance(settings.database, Path) and not settings.database.exists():
        where = "go to the server's folder, or pass --database or --config; a demo has none"
        fail(f"no database {settings.database}; {where}")

    async def work() -> _Result:
        async with Stores.at(settings.database) as stores:
            return await action(stores)

    try:
        return asyncio.run(work())
    except (AccountExists, AccountNotFound, ClientExists, ClientNotFound, LinkExists) as error:
        fail(str(error))


def with_revocations(
    settings: Settings, action: Callable[[Stores, StoredRevocations], Awaitable[_Result]], *, create: bool = True
) -> _Result:
    """Run an action that revokes, as :func:`with_stores` does. Running servers on the database follow.

    Args:
        settings: the settings of those servers.
        action: what to do.
        create: as for :func:`with_stores`.
    """
    with needs("server"):
        from roomkey.auth.ending import StoredRevocations

    return with_stores(
        settings, lambda stores: action(stores, StoredRevocations(stores, settings.issuer)), create=create
    )
