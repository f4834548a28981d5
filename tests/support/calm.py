"""A fixture for hostile tests: no exception may reach the event loop or the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest


def complaints(records: list[logging.LogRecord]) -> list[str]:
    """Return log records that are errors or have a traceback, except those of the test clients."""
    return [
        f"{entry.name}: {entry.getMessage()} {entry.exc_info or ''}"
        for entry in records
        if (entry.levelno >= logging.ERROR or entry.exc_info)
        and entry.name.split(".")[0] not in ("websockets", "httpx", "httpcore")
    ]


def escaped_from(context: dict[str, Any]) -> bool:
    """Return True for an exception of the server, and False for a connection that aiohttp's client left open."""
    return not context.keys() & {"client_connection", "client_session"}


@asynccontextmanager
async def calmly(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Fail if an exception reaches the running event loop or the log."""
    escaped: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: escaped.append(context))
    yield
    loop.set_exception_handler(None)
    found = [context for context in escaped if escaped_from(context)]
    assert found == [], found
    written = complaints(caplog.get_records("call"))
    assert written == [], written


@pytest.fixture
async def calm(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Fail if an exception of the test reaches the event loop or the log."""
    async with calmly(caplog):
        yield
