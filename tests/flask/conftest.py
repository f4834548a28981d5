"""A Flask application with a RoomKey, a clock that only the test moves, and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_socketio import SocketIO
from support.clock import FakeClock
from support.live import Raw
from support.tokens import issuer_at
from support.wsgi_thread import serve

from roomkey.flask import RoomKey


class Site:
    """An application, and what its tests need."""

    def __init__(self, clock: FakeClock, socketio_options: dict[str, Any], settings: dict[str, Any]) -> None:
        self.clock = clock
        self.issuer = issuer_at(clock)
        self.app = Flask("site")
        self.app.secret_key = "the key of Flask's own session"
        self.socketio = SocketIO(self.app, async_mode="threading", **socketio_options)
        verifier = settings.pop("verifier", None) or self.issuer.verifier()
        self.roomkey = RoomKey(self.app, self.socketio, verifier, clock=clock, **settings)
        self.servers = ExitStack()
        self.address = ""
        self.clients: list[Raw] = []

    def serve(self, app: Flask) -> str:
        """Serve an application until the test ends."""
        return self.servers.enter_context(serve(app))

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await asyncio.to_thread(self.roomkey.guard.close)
        await asyncio.to_thread(self.servers.close)

    @property
    def http(self) -> FlaskClient:
        return self.app.test_client()

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    def bearer(self, subject: str = "ada", **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(subject, **claims)}"}


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """``site(socketio={…}, via=…)``: an application with these settings of its server and its RoomKey."""
    made: list[Site] = []

    def make(*, socketio: dict[str, Any] | None = None, **settings: Any) -> Site:
        made.append(Site(FakeClock(), socketio or {}, settings))
        return made[-1]

    yield make
    for each in made:
        each.roomkey.guard.close()


@pytest.fixture
async def running() -> AsyncIterator[Callable[..., Awaitable[Site]]]:
    """``await running(…)``: the same, served on a port. Handlers can be added afterwards."""
    made: list[Site] = []

    async def make(*, socketio: dict[str, Any] | None = None, **settings: Any) -> Site:
        made.append(Site(FakeClock(), socketio or {}, settings))
        made[-1].address = made[-1].serve(made[-1].app)
        return made[-1]

    yield make
    for each in made:
        await each.close()
