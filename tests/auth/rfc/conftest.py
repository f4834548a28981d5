"""One server for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from support.oauth import Desk
from support.rfc import Served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> AsyncIterator[Desk]:
    """The OAuth routes, with a clock that tests advance."""
    async with Desk.opened() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Served]:
    """The whole application, with the current time."""
    async with Served.opened() as opened:
        yield opened
