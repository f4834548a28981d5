"""Both kinds of client, on both servers, over each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from client.house import House, Person

from roomkey.client import AsyncClient, Client

TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}


@pytest.fixture(params=[AsyncClient, Client], ids=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> type:
    return request.param


@asynccontextmanager
async def meeting(kind: type, engine: str, transport: str) -> AsyncIterator[Callable[..., Any]]:
    """Yield a function that returns a house, and a person who is not connected yet."""
    async with AsyncExitStack() as stack:

        async def leave(place: House, person: Person) -> None:  # the server first: a client waits for its poll
            person.sio.reconnection = False
            place.drop_all()
            await person.stop()

        async def start(
            *, via: Any = None, house: dict[str, Any] | None = None, make: Any = lambda place: {}, **settings: Any
        ) -> Any:
            place = House(engine, via, **(house or {}))
            url = await stack.enter_async_context(place.served())
            person = Person(kind, url, TRANSPORTS[transport], **settings, **make(place))
            stack.push_async_callback(leave, place, person)
            return place, person

        yield start


@pytest_asyncio.fixture(params=["hub+polling", "python-socketio+websocket"])
async def meet(kind: type, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """``await meet(token=…)``: a house, and a person who is not connected yet."""
    async with meeting(kind, *request.param.split("+")) as start:
        yield start


@pytest_asyncio.fixture(params=[f"{engine}+{way}" for engine in ("hub", "python-socketio") for way in TRANSPORTS])
async def meet_anywhere(kind: type, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """The same with each server, over each transport."""
    async with meeting(kind, *request.param.split("+")) as start:
        yield start
