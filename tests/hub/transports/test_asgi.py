"""WebSockets of another ASGI server, here one that accepts messages as slowly as the test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from roomkey import Issuer
from roomkey.hub import Hub


class Server:
    """An ASGI server: the messages that it passes to the application, and those that it received."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.sent: list[dict[str, object]] = []
        self.takes = asyncio.Event()
        self.takes.set()

    async def send(self, event):
        await asyncio.sleep(0)  # like servers that drain a writer
        await self.takes.wait()
        self.sent.append(event)

    @asynccontextmanager
    async def websocket(self, hub):
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": hub.path,
            "query_string": b"EIO=4&transport=websocket",
            "headers": [],
            "client": ("127.0.0.1", 1),
        }
        self.arrived.put_nowait({"type": "websocket.connect"})
        serving = asyncio.ensure_future(hub.asgi(scope, self.arrived.get, self.send))
        try:
            yield
        finally:
            self.arrived.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await asyncio.wait_for(serving, 20)


@pytest.fixture
async def member():
    """A hub with one admitted client, and the server, which decides when it accepts messages."""
    issuer = Issuer.ephemeral(audience="chat")
    hub, server = Hub(issuer.verifier(), max_unsent=10_000), Server()
    async with server.websocket(hub):
        server.arrived.put_nowait({"type": "websocket.receive", "text": f'40{{"token":"{issuer.issue("ada")}"}}'})
        while len(server.sent) < 3:  # accepted, opened, admitted
            await asyncio.sleep(0)
        yield hub, server
    await hub.close()


async def test_reader_that_keeps_up_is_not_closed(member):
    hub, server = member
    for number in range(500):
        await hub.emit("news", "x" * 80)
        while len(server.sent) < 2 + number and hub.sessions.active:  # it is at most one message late
            await asyncio.sleep(0)
    assert hub.counts["closed: reads too slowly"] == 0
    assert [event["type"] for event in server.sent[3:]] == ["websocket.send"] * (len(server.sent) - 3)


async def test_reader_that_is_too_slow_is_closed(member):
    hub, server = member
    server.takes.clear()
    for _ in range(200):
        await hub.emit("news", "x" * 80)
        await asyncio.sleep(0)
    assert hub.counts["closed: reads too slowly"] == 1
    assert not hub.sessions.active
