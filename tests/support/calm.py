"""Nothing escapes: a fixture for tests that send a server what no honest client sends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest


def complaints(records: list[logging.LogRecord]) -> list[str]:
    """What stands in a log as an error or with a traceback; test clients' own logs do not count."""
    return [
        f"{entry.name}: {entry.getMessage()} {entry.exc_info or ''}"
        for entry in records
        if (entry.levelno >= logging.ERROR or entry.exc_info)
        and entry.name.split(".")[0] not in ("websockets", "httpx", "httpcore")
    ]


def escaped_from(context: dict[str, Any]) -> bool:
    """True for what the server let escape; an HTTP connection that aiohttp's client leaves open is the client's own."""
    return not context.keys() & {"client_connection", "client_session"}


@asynccontextmanager
async def calmly(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Fails if an exception reaches the running event loop or the log."""
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
    """The same for a whole test."""
    async with calmly(caplog):
        yield
