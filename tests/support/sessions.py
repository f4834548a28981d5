"""Engine.IO sessions of either engine without a network."""

from __future__ import annotations

from typing import Any

from roomkey.testing.asgi import Polling, WebSocket
from roomkey.testing.servers import Opening, find_entrance


def eio_sids(guard: Any) -> dict[str, Any]:
    """All connections of a guard, by their Engine.IO session's ID."""
    return {connection.host.eio_sid: connection for connection in guard.index.connections}


class Session:
    """One Engine.IO session over a transport of the test kit, with the packets as they are.

    python-socketio handles the packets of one WebSocket one after the other. Its clients here poll, so that a packet
    can arrive while another one waits for a rule.
    """

    def __init__(self, sio: Any) -> None:
        entrance = find_entrance(sio, None, None)
        self._outbox: list[str] = []
        self._guard = entrance.guard
        transport = WebSocket if entrance.server is None else Polling
        self._transport = transport(entrance.app, entrance.path, Opening(), self._arrived, lambda: None)

    def _arrived(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._outbox.append(message)

    async def open(self) -> None:
        await self._transport.open()

    @property
    def eio_sid(self) -> str:
        return self._transport.eio_sid

    async def receive(self, message: str) -> None:
        """Deliver a packet to the server, which reads it in its next turns."""
        await self._transport.send(message, [])

    def sent(self) -> list[str]:
        """Return the packets of the server since the last call."""
        outbox, self._outbox = self._outbox, []
        return outbox

    async def lose(self) -> None:
        await self._transport.close()

    @property
    def closed(self) -> bool:
        return not self._transport.is_open

    def is_known_to_server(self) -> bool:
        return self.eio_sid in eio_sids(self._guard)
