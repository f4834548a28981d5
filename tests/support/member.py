"""A client of python-socketio that remembers what the guard tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio
from socketio.exceptions import ConnectionError as ConnectionFailed


class Member:
    """A client, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.client = socketio.AsyncClient(reconnection=False)
        for event in ("unauthorized", "permissions_changed"):
            self.client.on(event, lambda data, event=event: self.told.append((event, data)))

    async def connect(self, url: str, token: str) -> Member:
        """Connect, and return this member."""
        await self.client.connect(url, auth={"token": token}, transports=["websocket"])
        return self


async def admitted(url: str, token: str) -> Member:
    """Return a member; the server admits nobody before it has read the journal."""
    for _ in range(100):
        try:
            return await Member().connect(url, token)
        except ConnectionFailed:
            await asyncio.sleep(0.05)
    raise AssertionError("never admitted")
